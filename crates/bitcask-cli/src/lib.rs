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
mod shell;
mod terminal;
mod text;
mod transfer;
mod words;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse_from(cli::with_old_forms(std::env::args_os()));
    let ended = match cli.command {
        Command::Shell(_) => shell::run(cli.globals),
        command => commands::run(cli.globals, command).map(ExitCode::from),
    };
    ended.unwrap_or_else(|failure| failure.tell())
}
