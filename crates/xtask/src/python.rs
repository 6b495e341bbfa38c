//! The Python package: its wheel is built, installed into a virtual environment below the target directory, and tested there.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the environment needs, by name: from the index that pip is set up for.
const PACKAGES: [&str; 4] = ["maturin", "pytest", "mypy", "msgpack"];

/// One command.
pub(crate) struct Step {
    program: PathBuf,
    args: Vec<OsString>,
    dir: PathBuf,
    /// Where cargo builds, if not where it does by itself.
    target: Option<PathBuf>,
    mend: &'static str,
}

impl Step {
    fn new(program: &Path, dir: &Path, args: &[&str], mend: &'static str) -> Self {
        let args = args.iter().map(OsString::from).collect();
        Self { program: program.to_owned(), args, dir: dir.to_owned(), target: None, mend }
    }

    /// The command as it could be typed.
    pub(crate) fn line(&self) -> String {
        let words = self.args.iter().map(|arg| arg.to_string_lossy());
        let program = self.program.to_string_lossy();
        [program].into_iter().chain(words).collect::<Vec<_>>().join(" ")
    }

    pub(crate) fn run(&self) -> Result<(), String> {
        let mut command = Command::new(&self.program);
        command.args(&self.args).current_dir(&self.dir);
        // What is set for another Python would mislead this one.
        command.env_remove("PYTHONPATH").env_remove("PYTHONHOME");
        command.envs(self.target.iter().map(|target| ("CARGO_TARGET_DIR", target)));
        let status = command.status().map_err(|e| self.failed(&e.to_string()))?;
        if status.success() { Ok(()) } else { Err(self.failed(&status.to_string())) }
    }

    fn failed(&self, why: &str) -> String {
        format!("step `python` failed ({why}): {}\nto mend it: {}", self.line(), self.mend)
    }
}

/// What is built where.
pub(crate) struct Scratch {
    root: PathBuf,
    package: PathBuf,
    target: Option<PathBuf>,
    top: PathBuf,
}

impl Scratch {
    pub(crate) fn new(root: &Path) -> Self {
        // Relative, it would lead into the directory of the package.
        let target = env::var_os("CARGO_TARGET_DIR").map(|target| root.join(target));
        let (root, package) = (root.to_owned(), root.join("crates/bitcask-python"));
        let top = target.clone().unwrap_or_else(|| root.join("target")).join("python");
        Self { root, package, target, top }
    }

    fn python(&self) -> PathBuf {
        self.top.join("venv/bin/python")
    }

    fn wheels(&self) -> PathBuf {
        self.top.join("wheels")
    }

    /// An environment with what it needs; one that is there is brought up to that.
    pub(crate) fn environment(&self) -> [Step; 2] {
        let system = env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
        let venv = self.top.join("venv");
        let venv = venv.to_string_lossy();
        let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
        let packages = [&install[..], &PACKAGES].concat();
        [
            Step::new(
                Path::new(&system),
                &self.root,
                &["-m", "venv", &venv],
                "apt-get install python3-venv; or PYTHON=python3.x for another Python",
            ),
            Step::new(&self.python(), &self.root, &packages, "look at the network, and at pip"),
        ]
    }

    /// The wheel, by the settings of a development build, which takes a third of the time.
    pub(crate) fn build(&self) -> Result<Step, String> {
        let wheels = self.wheels();
        // Ignored: there usually is none.
        drop(fs::remove_dir_all(&wheels));
        fs::create_dir_all(&wheels).map_err(|e| format!("{}: {e}", wheels.display()))?;
        let (python, wheels) = (self.python(), wheels.to_string_lossy().into_owned());
        let interpreter = python.to_string_lossy();
        let build = ["-m", "maturin", "build", "--quiet", "--locked", "--out", &wheels];
        let args = [&build[..], &["--interpreter", &interpreter]].concat();
        let step = Step::new(&python, &self.package, &args, "cargo build -p bitcask-python");
        Ok(Step { target: self.target.clone(), ..step })
    }

    /// The wheel that was built is installed, and all tests are run: doctests and types are among them.
    pub(crate) fn test(&self) -> Result<[Step; 2], String> {
        let wheel = self.wheel()?;
        let (python, wheel) = (self.python(), wheel.to_string_lossy());
        let quiet = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
        let this = ["--no-index", "--no-deps", "--force-reinstall", &wheel];
        let tests = ["-m", "pytest", "-q", "-p", "no:cacheprovider"];
        Ok([
            Step::new(&python, &self.root, &[&quiet[..], &this].concat(), "look at pip"),
            Step::new(
                &python,
                &self.package,
                &tests,
                "in crates/bitcask-python, with that python: -m pytest -k NAME",
            ),
        ])
    }

    fn wheel(&self) -> Result<PathBuf, String> {
        let dir = self.wheels();
        let entries = fs::read_dir(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let wheel = paths.find(|path| path.extension().is_some_and(|end| end == "whl"));
        let name = wheel.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy());
        match name {
            Some(name) if name.contains("-abi3-") => {}
            Some(name) => return Err(format!("{name} is not for all Pythons: it lacks abi3")),
            None => return Err(format!("{}: maturin left no wheel", dir.display())),
        }
        wheel.ok_or_else(|| "a name has its path".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_shows_the_command_as_it_could_be_typed() {
        let step = Step::new(Path::new("python3"), Path::new("."), &["-m", "venv", "x"], "do this");
        assert_eq!(step.line(), "python3 -m venv x");
    }

    #[test]
    fn a_failed_command_says_how_to_mend_it() {
        let step = Step::new(Path::new("no-such-python"), Path::new("."), &[], "do this");
        let error = step.run().expect_err("there is no such program");
        assert!(error.contains("no-such-python") && error.ends_with("do this"), "{error}");
    }
}
