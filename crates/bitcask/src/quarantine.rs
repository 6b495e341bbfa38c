//! Where damaged files go: `quarantine` in the store's directory. Nothing there is ever changed, or removed, by us.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::fs::Fs;
use crate::name::QUARANTINE_NAME;

/// The quarantine of a store.
#[derive(Debug)]
pub(crate) struct Quarantine<'a> {
    fs: &'a dyn Fs,
    dir: &'a Path,
    path: PathBuf,
    taken: BTreeSet<OsString>,
}

impl<'a> Quarantine<'a> {
    /// Makes the directory if need be.
    pub(crate) fn open(fs: &'a dyn Fs, dir: &'a Path) -> Result<Self> {
        let path = dir.join(QUARANTINE_NAME);
        fs.create_dir(&path).map_err(|e| Error::io("cannot create the directory", &path, e))?;
        let entries =
            fs.list(&path).map_err(|e| Error::io("cannot list the directory", &path, e))?;
        let taken = entries.into_iter().map(|entry| entry.name).collect();
        Ok(Self { fs, dir, path, taken })
    }

    /// Moves data files, and then their hints, so that a crash at any time leaves each in one place or in both. Hints go
    /// last, because they tell what was in the data. Gives where they are now.
    pub(crate) fn take(&mut self, data: &[PathBuf], hints: &[PathBuf]) -> Result<Vec<PathBuf>> {
        let mut moved = Vec::new();
        for from in data.iter().chain(hints) {
            let to = self.free_name(from);
            self.fs.link(from, &to).map_err(|e| Error::io("cannot link", &to, e))?;
            moved.push(to);
        }
        self.sync(&self.path)?;
        for files in [data, hints].into_iter().filter(|files| !files.is_empty()) {
            for from in files {
                self.fs.remove(from).map_err(|e| Error::io("cannot remove", from, e))?;
            }
            self.sync(self.dir)?;
        }
        Ok(moved)
    }

    /// The name of the file, or one like it if an earlier repair took that.
    fn free_name(&mut self, from: &Path) -> PathBuf {
        let name = from.file_name().expect("a file of the store has a name");
        let mut free = name.to_owned();
        let mut n = 1;
        while !self.taken.insert(free.clone()) {
            free = name.to_owned();
            free.push(format!(".{n}"));
            n += 1;
        }
        self.path.join(free)
    }

    fn sync(&self, dir: &Path) -> Result<()> {
        self.fs.sync_dir(dir).map_err(|e| Error::io("cannot sync the directory", dir, e))
    }
}
