//! Files of Redis and Valkey: strings with their expiry become [`Incoming`], all else is stepped over and counted.
//!
//! An RDB file is a snapshot: it gives puts only. An AOF is a log of commands, often behind an RDB preamble, often
//! cut into several files by a manifest; some commands need the value that is there, so its reader asks the
//! [`Target`]. Commands are believed to have succeeded in their server, for only such are logged.
//!
//! What a log sets with an expiry that has passed by now was alive while the log went on: it may be read, changed, or
//! made to stay by a later command. Such a key is put with an expiry of a day from now, and deleted at the end if
//! its time is still over. Only the keys of those are kept in memory.
//!
//! Nothing in the files is trusted: lengths are checked against limits, and memory grows with the bytes that are there,
//! not with what a length says.

mod aof;
#[cfg(test)]
mod build;
mod commands;
#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod fuzz;
mod lzf;
mod manifest;
mod rdb;
mod report;
mod sink;
mod source;

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use bitcask::ErrorKind;

pub(crate) use report::Report;

use crate::incoming::Incoming;
use aof::Tail;
use commands::Replay;
use sink::Sink;
use source::Source;

/// Where an import goes. It shows what this import has made of it: a key that was in the store before, and that the
/// import has not touched, is not there, for it was not there for Redis.
pub(crate) trait Target {
    /// The value of a key, and when it expires, in milliseconds since 1970.
    fn get(&mut self, key: &[u8]) -> bitcask::Result<Option<Current>>;

    /// Makes one change.
    fn apply(&mut self, change: Incoming) -> bitcask::Result<()>;

    /// Deletes every key with this prefix that the import has put: `FLUSHDB`. The empty prefix is that of all.
    fn clear(&mut self, prefix: &[u8]) -> bitcask::Result<()>;
}

/// What a key holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Current {
    pub(crate) value: Vec<u8>,
    /// Milliseconds since 1970; none: never.
    pub(crate) expires_ms: Option<u64>,
}

/// Which of the numbered databases are imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Databases {
    /// This one, with its keys as they are. What is in others is counted.
    One(u64),
    /// All, each key behind its database: `db0:key`. Also those of 0, or a key of its own could look like one of
    /// another.
    All,
}

/// How to import.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) databases: Databases,
    /// What time it is, in milliseconds since 1970: what has expired by now is left out.
    pub(crate) now_ms: u64,
}

/// Why an import ended early. What it had given by then stands.
#[derive(Debug)]
pub(crate) enum Error {
    /// The bytes at `offset` are not what must be there.
    Damaged { file: PathBuf, offset: u64, what: String },
    /// A sound file that this reader cannot follow.
    Unsupported { file: PathBuf, offset: u64, what: String },
    /// The operating system refused.
    Io { file: PathBuf, offset: u64, source: io::Error },
    /// The store refused.
    Target(bitcask::Error),
}

impl Error {
    /// What the caller can do about it.
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::Damaged { .. } => ErrorKind::Corrupt,
            Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::Io { .. } => ErrorKind::Io,
            Self::Target(error) => error.kind(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged { file, offset, what } => {
                write!(f, "damaged: {} at offset {offset}: {what}", file.display())
            }
            Self::Unsupported { file, offset, what } => {
                write!(f, "not supported: {} at offset {offset}: {what}", file.display())
            }
            Self::Io { file, offset, .. } => {
                write!(f, "cannot read: {} at offset {offset}", file.display())
            }
            Self::Target(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Target(error) => error.source(),
            Self::Damaged { .. } | Self::Unsupported { .. } => None,
        }
    }
}

impl From<bitcask::Error> for Error {
    fn from(error: bitcask::Error) -> Self {
        Self::Target(error)
    }
}

type Result<T> = std::result::Result<T, Error>;

/// Imports an RDB file. The report is of use after an error, too.
pub(crate) fn import_rdb(
    path: &Path,
    options: &Options,
    target: &mut dyn Target,
    report: &mut Report,
) -> Result<()> {
    let mut source = open(path)?;
    let mut sink = Sink::for_snapshot(target, *options, report);
    rdb::read(&mut source, &mut sink)?;
    let end = source.offset();
    let left = source.skip_rest()?;
    if left > 0 {
        let what = format!(
            "{left} bytes after the end of the snapshot were left out: if they are commands, import the file as an AOF"
        );
        sink.notice(source.file(), end, what);
    }
    Ok(())
}

/// Imports an append-only file: the file, a manifest of several, or the directory with the manifest. The report is of
/// use after an error, too.
pub(crate) fn import_aof(
    path: &Path,
    options: &Options,
    target: &mut dyn Target,
    report: &mut Report,
) -> Result<()> {
    let files = manifest::files(path)?;
    let mut sink = Sink::for_log(target, *options, report);
    let replayed = replay(&files, &mut sink);
    // After an error, too: what was held beyond its time must not stay.
    let settled = sink.settle();
    replayed.and(settled)
}

fn replay(files: &[PathBuf], sink: &mut Sink<'_>) -> Result<()> {
    let mut replay = Replay::default();
    for (index, path) in files.iter().enumerate() {
        // Each file begins in database 0, as Redis loads them.
        replay.begin_file();
        let is_last = index + 1 == files.len();
        let tail = if is_last { Tail::MayBeTorn } else { Tail::Whole };
        aof::read(&mut open(path)?, tail, &mut replay, sink)?;
    }
    Ok(())
}

/// Larger than that of the standard library: a file is read once, from its beginning to its end.
const BUFFER_LEN: usize = 256 << 10;

fn open(path: &Path) -> Result<Source<BufReader<File>>> {
    let failed = |source| Error::Io { file: path.into(), offset: 0, source };
    let file = File::open(path).map_err(failed)?;
    Ok(Source::new(path, BufReader::with_capacity(BUFFER_LEN, file)))
}
