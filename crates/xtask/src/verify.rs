//! All that CI checks. Only build output is written: in the target directory, and in a temporary directory
//! for each example.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;

use crate::python::Scratch;
use crate::{cargo, tidy};

pub(crate) const HELP: &str = "\
Checks all that CI checks, stopping at the first failure. Writes nothing but build output.

Usage: cargo xtask verify

Steps:
  fmt         the code is formatted
  clippy      no warnings
  tidy        our own rules: cargo xtask tidy --help
  test        all tests, doctests included
  schedules   interleavings of threads, explored by a scheduler
  doc         no warnings, no dead links
  examples    they build
  example     each example of the engine, in an empty directory
  python      the wheel, in a virtual environment below target/: tests, doctests, types

Of tests only summaries are shown, and the counts of crash states they went through; of a step of tests that
fails, everything.

Example:
  cargo xtask verify
";

/// What is shown of a step's output.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    All,
    /// Everything if it fails, else nothing.
    IfFailed,
    /// Everything if it fails, else summaries; standard error, where cargo says what it does, as it comes.
    /// At least one test must have run.
    Tests,
}

struct Step {
    name: &'static str,
    /// The arguments of cargo.
    args: Vec<String>,
    env: Option<(&'static str, &'static str)>,
    /// Where it runs, if not in the root.
    dir: Option<PathBuf>,
    shown: Shown,
    /// What to do when it fails.
    mend: &'static str,
}

impl Step {
    fn new(name: &'static str, args: &str, shown: Shown, mend: &'static str) -> Self {
        let args = args.split(' ').map(str::to_owned).collect();
        Self { name, args, env: None, dir: None, shown, mend }
    }

    /// The command as it could be typed.
    fn line(&self) -> String {
        let env = self.env.map(|(name, value)| format!("{name}={value} ")).unwrap_or_default();
        format!("{env}cargo {}", self.args.join(" "))
    }

    fn run(&self, root: &Path) -> Result<(), String> {
        let mut command = cargo();
        command.args(&self.args).envs(self.env).current_dir(self.dir.as_deref().unwrap_or(root));
        if let Some(target) = env::var_os("CARGO_TARGET_DIR") {
            // Relative, it would lead into the directory of an example.
            command.env("CARGO_TARGET_DIR", root.join(target));
        }
        // Set, it makes tests rewrite what they should compare.
        command.env_remove("UPDATE_GOLDENFILES");
        let failed = |e| format!("{}: {e}", self.line());
        let status = match self.shown {
            Shown::All => command.status().map_err(failed)?,
            Shown::IfFailed => run_quietly(&mut command).map_err(failed)?,
            Shown::Tests => {
                let (status, passed) = run_tests(&mut command).map_err(failed)?;
                if status.success() && passed == 0 {
                    return Err(format!("{}: no test ran", self.line()));
                }
                status
            }
        };
        if status.success() {
            return Ok(());
        }
        Err(format!(
            "step `{}` failed ({status}): {}\nto mend it: {}",
            self.name,
            self.line(),
            self.mend
        ))
    }
}

fn run_quietly(command: &mut Command) -> std::io::Result<ExitStatus> {
    let output = command.output()?;
    if !output.status.success() {
        print!("{}", String::from_utf8_lossy(&output.stdout));
        eprint!("{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(output.status)
}

/// Runs a `cargo test` and shows what [`is_summary`] says as it comes. If it fails, everything else follows,
/// and then the names of failed tests once more, to be found at the end.
fn run_tests(command: &mut Command) -> std::io::Result<(ExitStatus, u64)> {
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let output = child.stdout.take().expect("it was piped");
    let (mut all, mut failed, mut passed) = (String::new(), String::new(), 0);
    for line in BufReader::new(output).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        if is_summary(&line) {
            println!("{line}");
        }
        passed += passed_count(&line);
        if line.starts_with("test ") && line.ends_with("FAILED") {
            writeln!(failed, "{line}").expect("a string takes any text");
        }
        writeln!(all, "{line}").expect("a string takes any text");
    }
    let status = child.wait()?;
    if status.success() {
        println!("tests passed: {passed}");
    } else {
        print!("---- everything the tests printed ----\n{all}---- failed ----\n{failed}");
    }
    Ok((status, passed))
}

fn is_summary(line: &str) -> bool {
    line.starts_with("test result:") || line.starts_with("crash states:")
}

/// The count in `test result: ok. 3 passed; ...`; 0 for any other line.
fn passed_count(line: &str) -> u64 {
    let counted = line.strip_prefix("test result:").and_then(|rest| rest.split_once(" passed"));
    let count = counted.and_then(|(before, _)| before.rsplit(' ').next());
    count.and_then(|count| count.parse().ok()).unwrap_or(0)
}

pub(crate) fn run(root: &Path) -> Result<(), String> {
    let started = Instant::now();
    let mut count = 0;
    let before_tidy = [
        Step::new("fmt", "fmt --all --check", Shown::All, "cargo xtask fix"),
        Step::new(
            "clippy",
            "clippy --workspace --all-targets --features bitcask/serde --locked -- -D warnings",
            Shown::All,
            "cargo xtask fix, then by hand what is left",
        ),
    ];
    for step in &before_tidy {
        timed(&step.line(), || step.run(root))?;
        count += 1;
    }
    timed("cargo xtask tidy", || tidy::run(root))?;
    count += 1;
    for step in after_tidy() {
        timed(&step.line(), || step.run(root))?;
        count += 1;
    }
    let build = build_examples();
    timed(&build.line(), || build.run(root))?;
    count += 1;
    for name in examples(root)? {
        run_example(root, &name)?;
        count += 1;
    }
    count += python(root)?;
    println!("\nverify: {count} steps passed in {:.0} s", started.elapsed().as_secs_f64());
    Ok(())
}

/// Builds and tests the Python package; gives how many steps that took.
pub(crate) fn python(root: &Path) -> Result<usize, String> {
    let scratch = Scratch::new(root);
    let mut count = 0;
    let mut run = |step: &crate::python::Step| {
        count += 1;
        timed(&step.line(), || step.run())
    };
    scratch.environment().iter().try_for_each(&mut run)?;
    run(&scratch.build()?)?;
    scratch.test()?.iter().try_for_each(&mut run)?;
    Ok(count)
}

/// Shows a step's command before it, and its time after it.
fn timed(line: &str, step: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    println!("\n$ {line}");
    let started = Instant::now();
    step()?;
    println!("-- {:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}

fn after_tidy() -> [Step; 3] {
    [
        Step::new(
            "test",
            "test --workspace --features bitcask/serde --locked -- --show-output",
            Shown::Tests,
            "cargo test NAME, for each that failed; docs/style.md says how tests are made",
        ),
        Step::new(
            "schedules",
            "test --locked -p bitcask --features shuttle --test schedules -- --show-output",
            Shown::Tests,
            "cargo test -p bitcask --features shuttle --test schedules NAME",
        ),
        Step {
            env: Some(("RUSTDOCFLAGS", "-Dwarnings")),
            ..Step::new(
                "doc",
                "doc --workspace --no-deps --features bitcask/serde --locked",
                Shown::All,
                "by hand",
            )
        },
    ]
}

/// All at once, which is faster than one after the other.
fn build_examples() -> Step {
    let mend = "cargo build -p bitcask --examples";
    Step::new("examples", "build -q --locked -p bitcask --examples", Shown::IfFailed, mend)
}

/// The names of the engine's examples, in order; there are some.
fn examples(root: &Path) -> Result<Vec<String>, String> {
    let dir = root.join("crates/bitcask/examples");
    let entries = fs::read_dir(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(|e| format!("{}: {e}", dir.display()))?.file_name();
        names.extend(name.to_str().and_then(|name| name.strip_suffix(".rs")).map(str::to_owned));
    }
    names.sort();
    if names.is_empty() { Err(format!("{}: no examples", dir.display())) } else { Ok(names) }
}

/// Runs an example in an empty directory, which is left behind if the example fails.
fn run_example(root: &Path, name: &str) -> Result<(), String> {
    let dir = env::temp_dir().join(format!("bitcask-example-{name}-{}", std::process::id()));
    let failed = |e| format!("{}: {e}", dir.display());
    fs::create_dir(&dir).map_err(failed)?;
    let manifest = root.join("Cargo.toml");
    let mut step =
        Step::new("example", "run -q --locked", Shown::IfFailed, "run it in an empty directory");
    let manifest = manifest.to_string_lossy();
    let more =
        ["--manifest-path", &manifest, "-p", "bitcask", "--features", "serde", "--example", name];
    step.args.extend(more.map(str::to_owned));
    step.dir = Some(dir.clone());
    timed(&step.line(), || step.run(root))
        .map_err(|e| format!("{e}\nit ran in {}", dir.display()))?;
    fs::remove_dir_all(&dir).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_and_crash_states_are_shown() {
        assert!(is_summary("test result: ok. 3 passed; 0 failed"));
        assert!(is_summary("crash states: 1200 of batch"));
        assert!(!is_summary("test a ... ok"));
        assert!(!is_summary("a test result: none"));
    }

    #[test]
    fn passed_tests_are_counted() {
        assert_eq!(passed_count("test result: ok. 12 passed; 1 failed; 0 ignored"), 12);
        assert_eq!(passed_count("test result: FAILED. 0 passed; 1 failed"), 0);
        assert_eq!(passed_count("crash states: 5 passed"), 0);
    }

    #[test]
    fn a_step_shows_the_command_as_it_could_be_typed() {
        let line = after_tidy()[2].line();
        assert_eq!(
            line,
            "RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps --features bitcask/serde --locked"
        );
    }

    #[test]
    fn a_failed_command_says_how_to_mend_it() {
        let step = Step::new("nothing", "no-such-command-of-cargo", Shown::IfFailed, "do this");
        let error = step.run(Path::new(".")).expect_err("cargo has no such command");
        assert!(error.contains("`nothing` failed") && error.ends_with("do this"), "{error}");
    }
}
