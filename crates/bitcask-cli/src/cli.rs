//! What can be typed: commands, options, and their help. Knows nothing of the store.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

const AFTER_HELP: &str = "\
Examples:
  bitcask --db ./database set mykey myvalue
  bitcask --db ./database get mykey
  BITCASK_DB=./database bitcask stats

Exit codes:
  0  done                     5  a file of the store is damaged
  1  no such key              6  the operating system refused
  2  invalid, or no store     7  an earlier write failed
  3  the store is in use      8  the disk is full
  4  a newer version's store  9  others were faster";

const AFTER_SET: &str = "\
Examples:
  bitcask --db ./database set mykey myvalue
  bitcask --db ./database set photo - < photo.jpg
  bitcask --db ./database set -- -key -value
  printf - | bitcask --db ./database set dash -";

const AFTER_GET: &str = "\
Examples:
  bitcask --db ./database get mykey
  bitcask --db ./database get --raw photo > photo.jpg";

const AFTER_DEL: &str = "\
Exits with 1 if none of the keys was there.

Examples:
  bitcask --db ./database del mykey
  bitcask --db ./database del a b c";

const AFTER_MERGE: &str = "\
Examples:
  bitcask --db ./database merge
  bitcask --db ./database merge --json";

const AFTER_STATS: &str = "\
Examples:
  bitcask --db ./database stats
  bitcask --db ./database stats --json";

/// A key-value store in a directory, safe against crashes.
#[derive(Debug, Parser)]
#[command(name = "bitcask", version, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    /// The directory of the store (-db is understood too)
    #[arg(long, value_name = "DIR", env = "BITCASK_DB", global = true)]
    pub(crate) db: Option<PathBuf>,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do with the store. Keys and values are any bytes that an argument can have.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Stores a value under a key, replacing what was there; creates the store if there is none
    #[command(after_help = AFTER_SET)]
    Set {
        /// Where to store it
        #[arg(allow_negative_numbers = true)]
        key: OsString,
        /// What to store; `-` reads it from standard input, to its end and as it is
        #[arg(allow_negative_numbers = true)]
        value: OsString,
    },
    /// Prints the value of a key, and a line feed
    #[command(after_help = AFTER_GET)]
    Get {
        /// Where it is stored
        #[arg(allow_negative_numbers = true)]
        key: OsString,
        /// Print the value's bytes and nothing else, no line feed
        #[arg(long)]
        raw: bool,
    },
    /// Deletes keys
    #[command(after_help = AFTER_DEL)]
    Del {
        /// What to delete
        #[arg(required = true, value_name = "KEY", allow_negative_numbers = true)]
        keys: Vec<OsString>,
    },
    /// Gives back the space of values that were replaced or deleted
    #[command(after_help = AFTER_MERGE)]
    Merge {
        /// Print what was done as JSON
        #[arg(long)]
        json: bool,
    },
    /// Shows the store's files, with their live and dead bytes
    #[command(after_help = AFTER_STATS)]
    Stats {
        /// Print JSON, with exact numbers
        #[arg(long)]
        json: bool,
    },
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
