//! The program as users run it: the real binary, each time in a directory of its own.
#![expect(clippy::unwrap_used, reason = "clippy takes only functions with #[test] for tests")]

mod bench;
mod failures;
mod import;
mod inspect;
mod json;
mod resume;
mod shell;
mod store;
mod top;
mod transcript;
mod transfer;

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A directory that is gone when the test ends. Commands run in it.
struct Scene(PathBuf);

/// What a command left behind.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    stdout: Vec<u8>,
    stderr: String,
}

impl Scene {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("bitcask-cli-{name}-{}", std::process::id()));
        // Ignored: there usually is none.
        drop(fs::remove_dir_all(&path));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bitcask"));
        command.args(args).current_dir(&self.0).env_remove("BITCASK_DB");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs `bitcask` with the words of a line.
    fn run(&self, line: &str) -> Ran {
        run(&mut self.command(line.split(' ')))
    }

    /// Runs `bitcask` with the words of a line, which must succeed in silence, and gives what it prints.
    #[track_caller]
    fn ok(&self, line: &str) -> String {
        let ran = self.run(line);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{line}");
        String::from_utf8(ran.stdout).unwrap()
    }

    /// Runs `bitcask` with the words of a line, which must fail with this code and message and print nothing.
    #[track_caller]
    fn fails(&self, line: &str, code: i32, stderr: &str) {
        let ran = self.run(line);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(code), stderr), "{line}");
        assert!(ran.stdout.is_empty(), "{line}: {ran:?}");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Changes the bytes of a file.
    fn edit(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = fs::read(self.path(name)).unwrap();
        change(&mut bytes);
        fs::write(self.path(name), bytes).unwrap();
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // Ignored: at worst a directory stays behind.
        drop(fs::remove_dir_all(&self.0));
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: output.stdout,
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

fn run(command: &mut Command) -> Ran {
    command.output().unwrap().into()
}

fn run_with_input(command: &mut Command, input: &[u8]) -> Ran {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap().into()
}

/// The names in a directory.
fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}
