//! Commands on keys and values.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::text::{Encoding, parse_ttl};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bitcask --db ./database set mykey myvalue
  bitcask --db ./database set photo --file photo.jpg
  bitcask --db ./database set photo - < photo.jpg
  bitcask --db ./database set session abc --ttl 30m
  bitcask --db ./database set lock me --if-absent
  bitcask --db ./database set counter 8 --compare 7
  bitcask --db ./database set -- -key -value")]
pub(crate) struct Set {
    /// Where to store it
    #[arg(allow_negative_numbers = true)]
    pub(crate) key: OsString,
    /// What to store; `-` reads it from standard input, to its end and as it is
    #[arg(
        allow_negative_numbers = true,
        required_unless_present = "file",
        conflicts_with = "file"
    )]
    pub(crate) value: Option<OsString>,
    /// Store what is in a file, of any length
    #[arg(long, value_name = "PATH")]
    pub(crate) file: Option<PathBuf>,
    /// Let it expire after so long: 90s, 15m, 2h, 7d
    #[arg(long, value_name = "TIME", value_parser = parse_ttl)]
    pub(crate) ttl: Option<Duration>,
    /// Only if the key is not there; exits with 1 if it is
    #[arg(long, conflicts_with_all = ["compare", "file"])]
    pub(crate) if_absent: bool,
    /// Only if this is the value that is there; exits with 1 if it is not
    #[arg(long, value_name = "VALUE", conflicts_with = "file")]
    pub(crate) compare: Option<OsString>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
On a terminal a line feed follows the value; elsewhere nothing does. Exits with 1 if there is no
such key. A key with a NUL byte cannot be an argument: type it in `bitcask shell`, as \"a\\x00b\".

Examples:
  bitcask --db ./database get mykey
  bitcask --db ./database get photo > photo.jpg
  bitcask --db ./database get photo --output photo.jpg
  bitcask --db ./database get mykey --json --format hex")]
pub(crate) struct Get {
    /// Where it is stored
    #[arg(allow_negative_numbers = true)]
    pub(crate) key: OsString,
    /// No line feed behind it on a terminal, or in the shell, either
    #[arg(long)]
    pub(crate) raw: bool,
    /// Write the value to a file
    #[arg(long, short, value_name = "PATH")]
    pub(crate) output: Option<PathBuf>,
    /// How key and value are written with --json
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Encoding,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Exits with 1 if none of the keys was there. A key with a NUL byte cannot be an argument: type it
in `bitcask shell`, or in a line of `bitcask batch`, as \"a\\x00b\".

Examples:
  bitcask --db ./database del mykey
  bitcask --db ./database del a b c
  bitcask --db ./database del --prefix session: --yes")]
pub(crate) struct Del {
    /// What to delete
    #[arg(required_unless_present = "prefix", value_name = "KEY", allow_negative_numbers = true)]
    pub(crate) keys: Vec<OsString>,
    /// Delete all keys that begin with this
    #[arg(long, conflicts_with = "keys")]
    pub(crate) prefix: Option<OsString>,
    /// Do not ask
    #[arg(long, short, requires = "prefix")]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Exits with 1 if one of them is not there.

Examples:
  bitcask --db ./database exists mykey
  bitcask --db ./database exists a b c")]
pub(crate) struct Exists {
    /// What to look for
    #[arg(required = true, value_name = "KEY", allow_negative_numbers = true)]
    pub(crate) keys: Vec<OsString>,
}

/// Which keys.
#[derive(Debug, Args)]
pub(crate) struct Keys {
    /// Only keys that begin with this
    #[arg(long)]
    pub(crate) prefix: Option<OsString>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Without --from, --to, --ordered or --reverse keys come in no order, and cost the least: order
needs every key of the store in memory first. With --limit, a cursor is told on standard error
if there is more.

Examples:
  bitcask --db ./database scan
  bitcask --db ./database scan --prefix user: --limit 10
  bitcask --db ./database scan --from a --to b --json
  bitcask --db ./database scan --keys-only --reverse")]
pub(crate) struct Scan {
    #[command(flatten)]
    pub(crate) keys: Keys,
    /// The first key, or what comes after it
    #[arg(long, value_name = "KEY")]
    pub(crate) from: Option<OsString>,
    /// The end, which is not included
    #[arg(long, value_name = "KEY")]
    pub(crate) to: Option<OsString>,
    /// In the order of keys
    #[arg(long)]
    pub(crate) ordered: bool,
    /// From the last to the first
    #[arg(long, conflicts_with = "cursor")]
    pub(crate) reverse: bool,
    /// At most so many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: Option<u64>,
    /// Go on where a scan ended that told this cursor
    #[arg(long, conflicts_with_all = ["from", "to"])]
    pub(crate) cursor: Option<String>,
    /// No values
    #[arg(long)]
    pub(crate) keys_only: bool,
    /// How keys and values are written
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Encoding,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bitcask --db ./database count
  bitcask --db ./database count --prefix user:")]
pub(crate) struct Count {
    #[command(flatten)]
    pub(crate) keys: Keys,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Prints seconds, or `never`. Exits with 1 if there is no such key.

Examples:
  bitcask --db ./database ttl session")]
pub(crate) struct Ttl {
    /// Whose
    #[arg(allow_negative_numbers = true)]
    pub(crate) key: OsString,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Exits with 1 if there is no such key.

Examples:
  bitcask --db ./database expire session 30m
  bitcask --db ./database expire session never")]
pub(crate) struct Expire {
    /// Whose
    #[arg(allow_negative_numbers = true)]
    pub(crate) key: OsString,
    /// After how long (90s, 15m, 2h, 7d), or `never`
    #[arg(value_name = "TIME", value_parser = When::parse)]
    pub(crate) when: When,
}

#[derive(Debug, Args)]
#[command(after_help = "\
A key that is not there counts as 0. Prints the sum.

Examples:
  bitcask --db ./database incr visits
  bitcask --db ./database incr visits 10
  bitcask --db ./database incr visits -3")]
pub(crate) struct Incr {
    /// Where the number is
    #[arg(allow_negative_numbers = true)]
    pub(crate) key: OsString,
    /// What to add
    #[arg(allow_negative_numbers = true, default_value_t = 1)]
    pub(crate) by: i64,
}

#[derive(Debug, Args)]
#[command(after_help = "\
A path leads into the document: $.user.tags[0], or as a JSON pointer /user/tags/0. Without one
it is all of it.

Examples:
  bitcask --db ./database json set user:1 '{\"name\":\"Ada\",\"tags\":[]}'
  bitcask --db ./database json set user:1 '$.name' '\"Grace\"'
  bitcask --db ./database json get user:1 '$.name'
  bitcask --db ./database json del user:1 '$.tags'")]
pub(crate) struct Json {
    #[command(subcommand)]
    pub(crate) command: JsonCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum JsonCommand {
    /// Stores a document, or puts a value into one
    #[command(
        allow_missing_positional = true,
        after_help = "\
Without PATH the value is stored as it is given, whatever was there before. With one, all else in
the document stays as it is, byte for byte; objects that the path leads through are made, and a list
can be made longer by one. When the key expires stays as it was, in both cases.

Examples:
  bitcask --db ./database json set user:1 '{\"name\":\"Ada\",\"tags\":[]}'
  bitcask --db ./database json set user:1 '$.name' '\"Grace\"'
  bitcask --db ./database json set user:1 /tags/0 - < tag.json"
    )]
    Set {
        /// Where the document is stored
        #[arg(allow_negative_numbers = true)]
        key: OsString,
        /// Where in it
        #[arg(allow_negative_numbers = true)]
        path: Option<String>,
        /// What to store, as JSON; `-` reads it from standard input
        #[arg(allow_negative_numbers = true)]
        value: OsString,
    },
    /// Prints a document, or a part of it
    #[command(after_help = "\
Parts come on lines of their own, with --json all on one line. Exits with 1 if nothing is there.

Examples:
  bitcask --db ./database json get user:1
  bitcask --db ./database json get user:1 '$.tags[0]'
  bitcask --db ./database json get user:1 /tags/0 --json")]
    Get {
        /// Where the document is stored
        #[arg(allow_negative_numbers = true)]
        key: OsString,
        /// Where in it
        path: Option<String>,
    },
    /// Takes a part out of a document
    #[command(after_help = "\
All else in the document stays as it is, byte for byte, and so does when the key expires. Exits
with 1 if nothing is there.

Examples:
  bitcask --db ./database json del user:1 '$.tags[0]'
  bitcask --db ./database json del user:1 /name")]
    Del {
        /// Where the document is stored
        #[arg(allow_negative_numbers = true)]
        key: OsString,
        /// Where in it
        path: String,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "\
Each line is a change: `set KEY VALUE`, `set KEY VALUE ttl TIME` or `del KEY`. Words that hold
spaces stand in double quotes, in which \\\" \\\\ \\n \\r \\t \\xNN and \\u{N} are understood. Empty
lines, and what follows #, are skipped.

Examples:
  bitcask --db ./database batch changes.txt
  printf 'set a 1\\ndel b\\n' | bitcask --db ./database batch -")]
pub(crate) struct Batch {
    /// The file; `-` is standard input
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Begins with what happens from now on, or with --from at a sequence number, 1 for all that is
still there. Ctrl-C ends it.

Examples:
  bitcask --db ./database watch
  bitcask --db ./database watch --prefix user: --json
  bitcask --db ./database watch --from 1 --count 10")]
pub(crate) struct Watch {
    #[command(flatten)]
    pub(crate) keys: Keys,
    /// Begin with this sequence number
    #[arg(long, value_name = "SEQ")]
    pub(crate) from: Option<u64>,
    /// End after so many changes
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,
    /// How keys and values are written
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Encoding,
}

/// When a key is to expire.
#[derive(Clone, Copy, Debug)]
pub(crate) enum When {
    Never,
    After(Duration),
}

impl When {
    fn parse(text: &str) -> Result<Self, String> {
        if text == "never" { Ok(Self::Never) } else { parse_ttl(text).map(Self::After) }
    }
}
