//! Files of Redis and Valkey: strings with their expiry become [`Incoming`], all else is stepped over and counted.
//!
//! An RDB file is a snapshot: it gives puts only. An AOF is a log of commands, often behind an RDB preamble, often
//! cut into several files by a manifest; some commands need the value that is there, so its reader asks the
//! [`Target`]. Commands are believed to have succeeded in their server, for only such are logged.
//!
//! What a log sets with an expiry was alive while the log went on: it may be read, changed, or made to stay by a later
//! command, also if its time has passed by now, or passes while the import goes on. So nothing expires before the end
//! of the log. Until then the target is in a state that must not count, and an import that fails leaves it there.
//!
//! Nothing in the files is trusted: lengths are checked against limits, and memory grows with the bytes that are there,
//! not with what a length says.

mod aof;
mod commands;
#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod fuzz;
mod lzf;
#[cfg(test)]
mod made;
mod manifest;
mod rdb;
mod report;
mod sink;
mod source;

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader};
use std::ops::ControlFlow;
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

    /// Gives every key that has an expiry, and makes the change that comes back. The first error ends it.
    fn change_expiring(
        &mut self,
        change: &mut dyn FnMut(Vec<u8>, Current) -> std::result::Result<Incoming, Error>,
    ) -> std::result::Result<(), Error>;
}

/// Is told how many bytes of all files are read, and says whether to go on.
pub(crate) type Watch<'a> = &'a mut dyn FnMut(u64) -> ControlFlow<()>;

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

/// Why an import ended early.
#[derive(Debug)]
pub(crate) enum Error {
    /// The bytes at `offset` are not what must be there.
    Damaged { file: PathBuf, offset: u64, what: String },
    /// A sound file that this reader cannot follow.
    Unsupported { file: PathBuf, offset: u64, what: String },
    /// It is not clear which file of the directory is meant.
    NoChoice { dir: PathBuf, what: &'static str },
    /// The operating system refused.
    Io { file: PathBuf, offset: u64, source: io::Error },
    /// The store refused.
    Target(bitcask::Error),
    /// Who watched wants no more.
    Stopped,
}

impl Error {
    /// What the caller can do about it.
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::Damaged { .. } => ErrorKind::Corrupt,
            Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::NoChoice { .. } | Self::Stopped => ErrorKind::Invalid,
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
            Self::NoChoice { dir, what } => write!(f, "{what}: {}", dir.display()),
            Self::Io { file, offset, .. } => {
                write!(f, "cannot read: {} at offset {offset}", file.display())
            }
            Self::Target(error) => error.fmt(f),
            Self::Stopped => f.write_str("stopped"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Target(error) => error.source(),
            Self::Damaged { .. }
            | Self::Unsupported { .. }
            | Self::NoChoice { .. }
            | Self::Stopped => None,
        }
    }
}

impl From<bitcask::Error> for Error {
    fn from(error: bitcask::Error) -> Self {
        Self::Target(error)
    }
}

type Result<T> = std::result::Result<T, Error>;

/// Larger than that of the standard library: a file is read once, from its beginning to its end.
const BUFFER_LEN: usize = 256 << 10;

type OpenFile = Source<BufReader<File>>;

/// What is to be imported, opened and looked at: the usual mistakes show before there is a store.
#[derive(Debug)]
pub(crate) struct Files {
    first: OpenFile,
    rest: Vec<PathBuf>,
    bytes: u64,
}

impl Files {
    /// An RDB file.
    pub(crate) fn rdb(path: &Path) -> Result<Self> {
        let mut opened = Self::open(vec![path.into()])?;
        rdb::look(&mut opened.first)?;
        Ok(opened)
    }

    /// An append-only file: the file, a manifest of several, or the directory with the manifest.
    pub(crate) fn aof(path: &Path) -> Result<Self> {
        let mut opened = Self::open(manifest::files(path)?)?;
        aof::look(&mut opened.first)?;
        Ok(opened)
    }

    fn open(mut paths: Vec<PathBuf>) -> Result<Self> {
        let rest = paths.split_off(1);
        // There is one at least.
        let first = paths.swap_remove(0);
        let mut bytes = 0_u64;
        for path in std::iter::once(&first).chain(&rest) {
            let failed = |source| Error::Io { file: path.clone(), offset: 0, source };
            bytes = bytes.saturating_add(path.metadata().map_err(failed)?.len());
        }
        Ok(Self { first: open(&first)?, rest, bytes })
    }

    /// In all files; of a pipe it is not known.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// Imports an RDB file. What it had given before an error stands. The report is of use after an error, too.
pub(crate) fn import_rdb(
    files: Files,
    options: &Options,
    target: &mut dyn Target,
    report: &mut Report,
    watch: Watch<'_>,
) -> Result<()> {
    let mut source = files.first;
    let mut sink = Sink::for_snapshot(target, *options, report, watch);
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

/// Imports an append-only file. When it is done, and after damage, what came before it stands. After any other error
/// the target is in no state that counts. The report is of use after an error, too.
pub(crate) fn import_aof(
    files: Files,
    options: &Options,
    target: &mut dyn Target,
    report: &mut Report,
    watch: Watch<'_>,
) -> Result<()> {
    let mut sink = Sink::for_log(target, *options, report, watch);
    let replayed = replay(files, &mut sink);
    settled(replayed, sink)
}

fn settled(replayed: Result<()>, sink: Sink<'_>) -> Result<()> {
    if matches!(replayed, Ok(()) | Err(Error::Damaged { .. })) {
        sink.settle()?;
    }
    replayed
}

fn replay(files: Files, sink: &mut Sink<'_>) -> Result<()> {
    let mut replay = Replay::default();
    let Files { first, rest, .. } = files;
    let (mut source, mut rest) = (first, rest.iter());
    loop {
        let next = rest.next();
        // Each file begins in database 0, as Redis loads them.
        replay.begin_file();
        let tail = if next.is_none() { Tail::MayBeTorn } else { Tail::Whole };
        aof::read(&mut source, tail, &mut replay, sink)?;
        sink.end_file(source.offset());
        let Some(next) = next else { return Ok(()) };
        source = open(next)?;
    }
}

fn open(path: &Path) -> Result<OpenFile> {
    let failed = |source| Error::Io { file: path.into(), offset: 0, source };
    let file = File::open(path).map_err(failed)?;
    Ok(Source::new(path, BufReader::with_capacity(BUFFER_LEN, file)))
}
