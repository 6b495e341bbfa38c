//! What went wrong, as the user is told: `error: <what>: <where>`, its causes, and what to do about it.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::Path;

use bitcask::ErrorKind;

use crate::ExitCode;
use crate::terminal::INTERRUPTED_CODE;

/// The end of a command that could not do what it was asked to.
#[derive(Debug)]
pub(crate) struct Failure {
    what: String,
    causes: Vec<String>,
    help: Option<Cow<'static, str>>,
    kind: ErrorKind,
    is_silent: bool,
    /// Instead of the kind's.
    code: Option<u8>,
}

impl Failure {
    fn new(what: impl Into<String>, kind: ErrorKind) -> Self {
        let what = what.into();
        Self { what, causes: Vec::new(), help: None, kind, is_silent: false, code: None }
    }

    /// No directory was given.
    pub(crate) fn no_directory() -> Self {
        Self::invalid("no store was given").advise("pass --db DIR, or set BITCASK_DB")
    }

    /// What was asked for cannot be.
    pub(crate) fn invalid(what: impl Into<String>) -> Self {
        Self::new(what, ErrorKind::Invalid).advise(ErrorKind::Invalid.advice())
    }

    /// A file outside the store could not be read or written.
    pub(crate) fn file(what: &str, path: &Path, source: &io::Error) -> Self {
        Self::stdio(&format!("{what}: {}", path.display()), source)
    }

    /// Somebody pressed Ctrl-C. Says what was done.
    pub(crate) fn interrupted(done: impl Into<String>) -> Self {
        let failure = Self::new(format!("interrupted: {}", done.into()), ErrorKind::Invalid);
        Self { code: Some(INTERRUPTED_CODE), ..failure }
    }

    /// What another error says, and its causes.
    pub(crate) fn of(error: &dyn StdError, kind: ErrorKind) -> Self {
        let mut causes = Vec::new();
        let mut source = error.source();
        while let Some(cause) = source {
            causes.push(cause.to_string());
            source = cause.source();
        }
        Self { causes, ..Self::new(error.to_string(), kind) }
    }

    /// It in a line, for what goes on all the same.
    pub(crate) fn said(&self) -> String {
        let causes = self.causes.iter().map(|cause| format!(": {cause}"));
        [self.what.clone()].into_iter().chain(causes).collect()
    }

    /// What was done before it went wrong.
    pub(crate) fn after(mut self, done: impl fmt::Display) -> Self {
        self.what = format!("{}; {done}", self.what);
        self
    }

    /// Where it happened.
    pub(crate) fn in_file(mut self, path: &Path) -> Self {
        self.what = format!("{}: {}", self.what, path.display());
        self
    }

    /// Who read our output has gone away, and has all that it wanted.
    pub(crate) fn nobody_listens() -> Self {
        Self { is_silent: true, ..Self::new("", ErrorKind::Io) }
    }

    /// Tells the user, and gives the code to exit with.
    pub(crate) fn tell(&self) -> ExitCode {
        if self.is_silent {
            return ExitCode::SUCCESS;
        }
        crate::output::to_stderr(self);
        self.exit_code()
    }

    /// Standard input or output failed.
    pub(crate) fn stdio(what: &str, source: &io::Error) -> Self {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        let is_full = matches!(source.kind(), StorageFull | QuotaExceeded);
        let kind = if is_full { ErrorKind::Full } else { ErrorKind::Io };
        Self { causes: vec![source.to_string()], ..Self::new(what, kind) }
    }

    /// Other advice than the error's kind gives.
    pub(crate) fn advise(mut self, help: impl Into<Cow<'static, str>>) -> Self {
        self.help = Some(help.into());
        self
    }

    fn exit_code(&self) -> ExitCode {
        self.code.unwrap_or_else(|| self.kind.exit_code()).into()
    }
}

impl From<bitcask::Error> for Failure {
    fn from(error: bitcask::Error) -> Self {
        Self { help: Some(error.kind().advice().into()), ..Self::of(&error, error.kind()) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.what)?;
        for cause in &self.causes {
            write!(f, "\ncaused by: {cause}")?;
        }
        match &self.help {
            Some(help) => write!(f, "\nhelp: {help}"),
            None => Ok(()),
        }
    }
}
