//! The commands of this repository: `cargo xtask --help`.
//!
//! `verify` is exactly what CI runs. It and `tidy` only read; `fix` is the one command that writes.
//! There are no dependencies, so that a fresh clone gets to its first answer quickly.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "printing is what these commands do"
)]

mod python;
mod tidy;
mod verify;

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const HELP: &str = "\
Checks and mends this repository.

Usage: cargo xtask <command>

Commands:
  verify   All that CI checks, stopping at the first failure. Writes nothing but build output.
  fix      Applies what clippy suggests, then formats. Writes.
  tidy     Only the checks of our own rules, in a second. Writes nothing.
  python   Only the Python package: its wheel, built and tested below target/.

Examples:
  cargo xtask verify          before a commit
  cargo xtask fix             when verify stopped at fmt or clippy
  cargo xtask tidy            after a change to documents
  cargo xtask tidy --help     the rules, and how to make an exception
";

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args[..] {
        ["verify"] => root().and_then(|root| verify::run(&root)),
        ["fix"] => root().and_then(|root| fix(&root)),
        ["tidy"] => root().and_then(|root| tidy::run(&root)),
        ["python"] => root().and_then(|root| verify::python(&root).map(drop)),
        ["verify", "--help" | "-h"] => show(verify::HELP),
        ["tidy", "--help" | "-h"] => show(&tidy::help()),
        ["--help" | "-h" | "help"] | ["fix", "--help" | "-h"] => show(HELP),
        [] => {
            eprint!("{HELP}");
            return ExitCode::from(2);
        }
        _ => {
            eprintln!("error: no such command: cargo xtask {}\n\n{HELP}", args.join(" "));
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error}");
            ExitCode::FAILURE
        }
    }
}

fn show(text: &str) -> Result<(), String> {
    print!("{text}");
    Ok(())
}

/// The directory of the workspace: the nearest one upwards that has this crate in it.
fn root() -> Result<PathBuf, String> {
    let here = env::current_dir().map_err(|e| format!("the current directory: {e}"))?;
    let found = here.ancestors().find(|dir| dir.join("crates/xtask/Cargo.toml").is_file());
    found.map(Path::to_owned).ok_or_else(|| "not inside the repository: go there first".to_owned())
}

/// The cargo that runs us, so that a toolchain chosen on the command line is kept.
fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Formats last, because what clippy writes is not always formatted; and formats even if clippy fails.
fn fix(root: &Path) -> Result<(), String> {
    let clippy = "clippy --workspace --all-targets --fix --allow-dirty --allow-staged";
    let mut failed = Vec::new();
    for line in [clippy, "fmt --all"] {
        println!("$ cargo {line}");
        let status = cargo().args(line.split(' ')).current_dir(root).status();
        if !status.map_err(|e| format!("cargo {line}: {e}"))?.success() {
            failed.push(format!("`cargo {line}` failed"));
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
}
