//! Looking at a store: what its process tells, and where no process has it open, what the files say.

use std::path::{Path, PathBuf};

use bitcask::{Options, ReadOnly, Result, Stats};

/// The process that has the store open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) id: u32,
    pub(crate) program: String,
    /// When it told, milliseconds since 1970.
    pub(crate) at_ms: u64,
}

/// What was seen in one look.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    /// None if no process has the store open.
    pub(crate) process: Option<Process>,
    /// None while a process has told nothing yet. Without a process nothing in it was counted.
    pub(crate) stats: Option<Stats>,
}

/// Where looks come from.
pub(crate) struct Source {
    dir: PathBuf,
    /// Held while no process has the store open: opening reads every hint. Not longer, for it would keep the space of
    /// files that the process merges away.
    reader: Option<ReadOnly>,
}

impl Source {
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), reader: None }
    }

    pub(crate) fn look(&mut self) -> Result<Look> {
        if let Some(in_use) = bitcask::in_use(&self.dir)? {
            self.reader = None;
            let (id, program, at_ms) = (in_use.process, in_use.program, in_use.at_ms);
            let process = Some(Process { id, program, at_ms });
            return Ok(Look { process, stats: in_use.stats });
        }
        let reader = match self.reader.take() {
            Some(reader) => {
                reader.refresh()?;
                reader
            }
            None => Options::new().open_read_only(&self.dir)?,
        };
        let stats = reader.stats();
        self.reader = Some(reader);
        Ok(Look { process: None, stats: Some(stats) })
    }
}
