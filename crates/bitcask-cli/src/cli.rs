//! What can be typed: commands, options, and their help. Knows nothing of the store.

mod bench;
mod care;
mod data;
mod line;
mod transfer;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub(crate) use bench::{Bench, Safety, Workload};
pub(crate) use care::{
    Backup, Completions, Inspect, Man, Merge, Repair, Restore, Stats, Top, Verify,
};
pub(crate) use data::{
    Batch, Count, Del, Exists, Expire, Get, Incr, Json, JsonCommand, Scan, Set, Ttl, Watch, When,
};
pub(crate) use line::{Line, LineCommand, Shell, Switch};
pub(crate) use transfer::{Export, Import, Source};

use crate::text::parse_size;

const AFTER_HELP: &str = "\
Examples:
  bitcask --db ./database set mykey myvalue
  bitcask --db ./database get mykey
  BITCASK_DB=./database bitcask stats

Exit codes:
  0  done                      6  the operating system refused
  1  absent, or found wanting  7  an earlier write failed
  2  invalid, or no store      8  the disk is full
  3  the store is in use       9  others were faster
  4  a newer version's store  10  history was merged away
  5  a file is damaged       130  interrupted";

/// A key-value store in a directory, safe against crashes.
#[derive(Debug, Parser)]
#[command(name = "bitcask", version, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) globals: Globals,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Over the options that every command has.
const EVERYWHERE: &str = "Options of all commands";

// No doc comment: clap would show it in place of what the program is.
#[derive(Clone, Debug, Args)]
pub(crate) struct Globals {
    /// The directory of the store (-db is understood too)
    #[arg(long, value_name = "DIR", env = "BITCASK_DB", global = true, help_heading = EVERYWHERE)]
    pub(crate) db: Option<PathBuf>,

    /// Print JSON instead of text
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    pub(crate) json: bool,

    /// Say nothing but data, reports and errors: no notes, no progress
    #[arg(long, short, global = true, help_heading = EVERYWHERE)]
    pub(crate) quiet: bool,

    /// Whether what is printed is followed by what the next command prints.
    #[arg(skip)]
    pub(crate) in_shell: bool,
}

/// What to do with the store. Keys and values are any bytes that an argument can have.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Stores a value under a key, in place of what was there; creates the store if need be
    Set(Set),
    /// Prints the value of a key, byte by byte as it is
    Get(Get),
    /// Deletes keys
    Del(Del),
    /// Says how many of the keys are there
    Exists(Exists),
    /// Prints keys and their values, one a line
    Scan(Scan),
    /// Counts keys
    Count(Count),
    /// Says when a key expires
    Ttl(Ttl),
    /// Sets when a key expires
    Expire(Expire),
    /// Adds to a number that is stored as text
    Incr(Incr),
    /// Stores and reads JSON documents, and parts of them
    Json(Json),
    /// Makes all changes of a file, or none of them
    Batch(Batch),
    /// Prints changes as they happen
    Watch(Watch),
    /// Shows the store's files, with their live and dead bytes
    Stats(Stats),
    /// Shows live what another process does with the store
    Top(Top),
    /// Gives back the space of values that were replaced or deleted
    Merge(Merge),
    /// Reads and checks every record, hint and dictionary
    Verify(Verify),
    /// Shows what is in the store's files, byte for byte where it lies
    Inspect(Inspect),
    /// Saves all that checks out of a damaged store
    Repair(Repair),
    /// Copies the store to another directory, consistent and openable
    Backup(Backup),
    /// Makes a store from a backup
    Restore(Restore),
    /// Writes keys and values as a stream, to a file or a pipe
    Export(Export),
    /// Takes in what other programs, and other stores, have written
    Import(Import),
    /// Measures how fast a store is here, on one that it makes and removes
    Bench(Bench),
    /// Reads commands line by line, from a terminal or a pipe
    Shell(Shell),
    /// Prints a script that completes commands in a shell
    Completions(Completions),
    /// Prints the manual page of the program, or of a command
    Man(Man),
}

/// What a command may read or write a second.
fn parse_rate(text: &str) -> Result<u64, String> {
    const RATE_MIN: u64 = 1024;
    let rate = parse_size(text)?;
    if rate < RATE_MIN { Err("a rate is at least 1K".into()) } else { Ok(rate) }
}

/// The arguments with `-db`, as it was once written, replaced by `--db`. Behind `--` there are no options.
pub(crate) fn with_old_forms(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut options_end = false;
    args.map(|arg| {
        options_end |= arg == "--";
        let is_old = arg == "-db" || arg.as_encoded_bytes().starts_with(b"-db=");
        if options_end || !is_old {
            return arg;
        }
        let mut new = OsString::from("-");
        new.push(arg);
        new
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_examples() {
        for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let name = command.get_name();
            assert!(
                after.contains(&format!("bitcask --db ./database {name}"))
                    || after.contains(&format!("bitcask {name}")),
                "{name}: {after}"
            );
        }
    }

    #[test]
    fn the_old_option_is_understood_and_data_is_left_alone() {
        let check = |old: &[&str], new: &[&str]| {
            let args = old.iter().map(OsString::from);
            assert_eq!(with_old_forms(args), new);
        };
        check(&["bitcask", "-db", "d", "get", "k"], &["bitcask", "--db", "d", "get", "k"]);
        check(&["bitcask", "get", "k", "-db=d"], &["bitcask", "get", "k", "--db=d"]);
        check(&["bitcask", "set", "--", "-db", "-db="], &["bitcask", "set", "--", "-db", "-db="]);
        check(&["bitcask", "set", "db", "-dbx"], &["bitcask", "set", "db", "-dbx"]);
    }
}
