//! The binary: what is in the library, run with the arguments of the process.

use std::process::ExitCode;

fn main() -> ExitCode {
    bitcask_cli::run(std::env::args_os()).into()
}
