//! `bitcask`: a store from the command line.
//!
//! Data goes to standard output, everything else to standard error. The exit code is 0 if it was done, 1 if
//! what was asked for is not there, and otherwise that of the error's kind: see `bitcask --help`.
//!
//! A library, so that the Python package can run the same program.

mod bench;
mod cli;
mod commands;
mod failure;
#[cfg(test)]
mod fuzzing;
mod incoming;
mod outfile;
mod output;
mod pace;
mod redis;
mod riak;
mod shell;
mod terminal;
mod text;
mod time;
mod top;
mod transfer;
mod words;

use std::ffi::OsString;

use clap::Parser;

use crate::cli::{Cli, Command};

/// The code that the program ends with. That of the standard library cannot be read, which Python has to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitCode(u8);

impl ExitCode {
    /// It was done.
    pub const SUCCESS: Self = Self(0);
    /// What was asked for is not there.
    pub const FAILURE: Self = Self(1);

    /// The code as a number.
    pub fn number(self) -> u8 {
        self.0
    }
}

impl From<u8> for ExitCode {
    fn from(number: u8) -> Self {
        Self(number)
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code.0)
    }
}

/// Runs the program with these arguments, the first of which is its name. Ends the process if they cannot be
/// understood, or ask for help.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = Cli::parse_from(cli::with_old_forms(args.into_iter()));
    let ended = match cli.command {
        Command::Shell(_) => shell::run(cli.globals),
        command => commands::run(&cli.globals, command).map(ExitCode::from),
    };
    ended.unwrap_or_else(|failure| failure.tell())
}
