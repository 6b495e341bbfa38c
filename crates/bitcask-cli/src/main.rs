//! `bitcask`: a store from the command line.
//!
//! Data goes to standard output, everything else to standard error. The exit code is 0 if it was done, 1 if
//! what was asked for is not there, and otherwise that of the error's kind: see `bitcask --help`.

mod bench;
mod cli;
mod commands;
mod failure;
mod incoming;
mod output;
mod pace;
mod redis;
mod riak;
mod terminal;
mod text;
mod transfer;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse_from(cli::with_old_forms(std::env::args_os()));
    match commands::run(cli) {
        Ok(outcome) => outcome.into(),
        Err(failure) if failure.is_silent() => ExitCode::SUCCESS,
        Err(failure) => {
            output::to_stderr(&failure);
            failure.exit_code()
        }
    }
}
