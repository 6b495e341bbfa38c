//! The one error type of the crate: what kind, what was being done, where, and why.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What the caller can do about an [`Error`].
///
/// | kind          | what to do                                            | exit code |
/// |---------------|-------------------------------------------------------|-----------|
/// | `Invalid`     | fix the call                                          | 2         |
/// | `Locked`      | wait for the process that has the store open          | 3         |
/// | `Unsupported` | upgrade the program                                   | 4         |
/// | `Corrupt`     | restore a backup, or `repair` the store               | 5         |
/// | `Io`          | look at the disk; reads may go on                     | 6         |
/// | `Poisoned`    | reopen: an earlier write or sync failed               | 7         |
/// | `Full`        | free space or merge, then try again: nothing was lost | 8         |
/// | `Conflict`    | try again, or touch fewer keys at a time              | 9         |
/// | `Gone`        | begin anew with a snapshot, and watch from there      | 10        |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The call cannot succeed as it is: a limit, an option, or a closed store.
    Invalid,
    /// Another process (or another handle of this one) has the store open.
    Locked,
    /// Written by a newer version of the program.
    Unsupported,
    /// Bytes that had been durable are damaged.
    Corrupt,
    /// The operating system refused.
    Io,
    /// An earlier write or sync failed, so nothing more is written through this handle.
    Poisoned,
    /// The disk is full, or the memory budget used up. The operation changed nothing.
    Full,
    /// Others changed what a transaction had read, again and again. It changed nothing.
    Conflict,
    /// History that was asked for was merged away.
    Gone,
}

impl ErrorKind {
    /// The exit code of the command line for this kind.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Invalid => 2,
            Self::Locked => 3,
            Self::Unsupported => 4,
            Self::Corrupt => 5,
            Self::Io => 6,
            Self::Poisoned => 7,
            Self::Full => 8,
            Self::Conflict => 9,
            Self::Gone => 10,
        }
    }

    /// What to do about it, in a sentence.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Invalid => "fix the call",
            Self::Locked => "wait for the process that has the store open, or close it there",
            Self::Unsupported => "open the store with the version of the program that wrote it",
            Self::Corrupt => {
                "nothing was changed; restore the named file from a backup, or close the store and repair it"
            }
            Self::Io => {
                "look at the disk and its permissions; what was acknowledged is not affected"
            }
            Self::Poisoned => "reopen the store: it recovers what is on the disk",
            Self::Full => {
                "free space on the disk, or delete and merge, or raise the memory budget if that is what is used up; then try again"
            }
            Self::Conflict => "try again, or touch fewer keys at a time",
            Self::Gone => "read everything from a snapshot, then watch from its sequence number on",
        }
    }
}

/// An error from the store: a [kind](ErrorKind), what was being done, where, and why.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    what: String,
    path: Option<PathBuf>,
    offset: Option<u64>,
    key: Option<Vec<u8>>,
    source: Option<io::Error>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
        let what = what.into();
        Self(Box::new(Inner { kind, what, path: None, offset: None, key: None, source: None }))
    }

    pub(crate) fn invalid(what: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, what)
    }

    /// A refusal of the operating system while `what` was done to `path`.
    pub(crate) fn io(what: impl Into<String>, path: &Path, source: io::Error) -> Self {
        let full =
            matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        let mut error =
            Self::new(if full { ErrorKind::Full } else { ErrorKind::Io }, what).at(path);
        error.0.source = Some(source);
        error
    }

    /// A refusal of the caller's own reader.
    pub(crate) fn reader(source: io::Error) -> Self {
        let mut error = Self::new(ErrorKind::Io, "the reader of the value failed");
        error.0.source = Some(source);
        error
    }

    pub(crate) fn corrupt(what: impl Into<String>, path: &Path, offset: u64) -> Self {
        Self::new(ErrorKind::Corrupt, what).at(path).at_offset(offset)
    }

    pub(crate) fn at(mut self, path: &Path) -> Self {
        self.0.path = Some(path.to_owned());
        self
    }

    pub(crate) fn at_offset(mut self, offset: u64) -> Self {
        self.0.offset = Some(offset);
        self
    }

    pub(crate) fn of_key(mut self, key: &[u8]) -> Self {
        self.0.key = Some(key.to_owned());
        self
    }

    /// What happened, without where.
    pub(crate) fn what(&self) -> &str {
        &self.0.what
    }

    /// Whether a file was not there.
    pub(crate) fn is_not_found(&self) -> bool {
        self.0.source.as_ref().is_some_and(|e| e.kind() == io::ErrorKind::NotFound)
    }

    pub(crate) fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.0.kind = kind;
        self
    }

    /// What the caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The file it happened in.
    pub fn path(&self) -> Option<&Path> {
        self.0.path.as_deref()
    }

    /// The offset in that file.
    pub fn offset(&self) -> Option<u64> {
        self.0.offset
    }

    /// The key that was asked for.
    pub fn key(&self) -> Option<&[u8]> {
        self.0.key.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.what)?;
        if let Some(path) = &self.0.path {
            write!(f, ": {}", path.display())?;
        }
        if let Some(offset) = self.0.offset {
            write!(f, " at offset {offset}")?;
        }
        if let Some(key) = &self.0.key {
            let shown = key.get(..64).unwrap_or(key);
            let more = if shown.len() < key.len() { "..." } else { "" };
            write!(f, " (key \"{}\"{more})", shown.escape_ascii())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)?;
        match &self.0.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_ref().map(|e| e as _)
    }
}
