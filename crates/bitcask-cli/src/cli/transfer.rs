//! Commands that move data in and out.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::data::Keys;
use super::parse_rate;
use crate::text::Encoding;
use crate::transfer::Format;

#[derive(Debug, Args)]
#[command(after_help = "\
Works beside a process that has the store open: what is written is the store at one moment.
Binary is the fastest and smallest, and has checksums; jsonl and csv are for other programs, and
hold any bytes, too.

Examples:
  bitcask --db ./database export --to jsonl documents.jsonl
  bitcask --db ./database export --to csv --prefix user: > users.csv
  bitcask --db ./database export --to binary | ssh host bitcask --db ./copy import --from binary")]
pub(crate) struct Export {
    /// The format
    #[arg(long, value_enum)]
    pub(crate) to: Format,
    /// The file; `-` is standard output
    #[arg(default_value = "-")]
    pub(crate) path: PathBuf,
    #[command(flatten)]
    pub(crate) keys: Keys,
    /// How keys and values are written in jsonl and csv
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Encoding,
    /// Write at most so many bytes a second: 20M
    #[arg(long, value_name = "SIZE", value_parser = parse_rate)]
    pub(crate) rate: Option<u64>,
}

/// What an import reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Source {
    /// A JSON object a line, as `export` writes it
    Jsonl,
    /// A header with the columns key, value and expires_ms, and a row for each key
    Csv,
    /// What `export --to binary` writes
    Binary,
    /// A directory that Riak's Bitcask left (one partition)
    Riak,
    /// A Redis append-only file, its manifest, or the directory of both
    Aof,
    /// A Redis snapshot
    Rdb,
}

#[derive(Debug, Args)]
#[command(after_help = "\
What cannot be taken is kept in a file, and nothing else is lost: PATH.rejected (or .rejected.2,
if there is one already), or --rejects.
An import of a file that was interrupted goes on with --resume. So it is with jsonl, csv, binary.

Of Redis, string keys are taken, with their expiry; other types are counted and told. Of Riak,
records that check out behind damaged ones are taken, and what was skipped is told.
riak and aof go into a new store: DIR must not be there, or be empty, and is a store when all is
imported. Until then it is DIR.partial, which is removed on Ctrl-C, and can be if the import was
killed.
The partitions of a Riak node are replicas of one another, and which has the newer value only
Riak can tell: import each into a store of its own.
rdb goes into any store: its keys replace what is there, and those that have expired delete it.

Examples:
  bitcask --db ./database import --from jsonl documents.jsonl
  bitcask --db ./database import --from jsonl documents.jsonl --resume
  bitcask --db ./database import --from riak /var/lib/riak/bitcask/0 --riak-keys
  bitcask --db ./database import --from aof /var/lib/redis/appendonlydir
  bitcask --db ./database import --from rdb dump.rdb --redis-db all")]
pub(crate) struct Import {
    /// What it is
    #[arg(long, value_enum)]
    pub(crate) from: Source,
    /// The file or directory; without it, or with `-`, jsonl, csv and binary are standard input
    #[arg(default_value = "-", hide_default_value = true)]
    pub(crate) path: PathBuf,
    /// How keys and values are written in jsonl and csv
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Encoding,
    /// Read at most so many bytes a second: 20M
    #[arg(long, value_name = "SIZE", value_parser = parse_rate)]
    pub(crate) rate: Option<u64>,
    /// Go on where an import of this file was interrupted
    #[arg(long)]
    pub(crate) resume: bool,
    /// Where lines are kept that cannot be taken
    #[arg(long, value_name = "PATH")]
    pub(crate) rejects: Option<PathBuf>,
    /// Take Riak's keys apart, into type/bucket/key
    #[arg(long)]
    pub(crate) riak_keys: bool,
    /// What expiry_secs was in Riak: values older than that have expired
    #[arg(long, value_name = "N")]
    pub(crate) expiry_secs: Option<u64>,
    /// Which numbered database of Redis, or `all`, with keys behind db0: and so on
    #[arg(long, value_name = "N", default_value = "0", value_parser = parse_databases)]
    pub(crate) redis_db: crate::redis::Databases,
}

fn parse_databases(text: &str) -> Result<crate::redis::Databases, String> {
    if text == "all" {
        return Ok(crate::redis::Databases::All);
    }
    text.parse().map(crate::redis::Databases::One).map_err(|e| format!("a number, or `all`: {e}"))
}
