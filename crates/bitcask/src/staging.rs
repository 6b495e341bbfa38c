//! Where a checkpoint goes, and how it gets there in one step.
//!
//! A checkpoint is built in a *staging* directory beside its target. When all of it is durable, the two change names, and
//! what then has the name of the staging directory, the checkpoint before, is removed. So at every moment the target is
//! a whole checkpoint.
//!
//! - What a crash leaves in the staging directory is removed by the next checkpoint. It may be the old checkpoint, whose
//!   exchange is not durable yet: therefore the directory above is synced before anything in it is removed.
//! - Only directories whose files all have names of ours, and none of another store, are ever replaced or removed.
//! - The old checkpoint is locked meanwhile, so that no process opens it, and the new one with it: both have the one
//!   lock file. That they can is also what shows, before anything is copied, that the target is no mount point, which
//!   could not be exchanged.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use crate::directory::Directory;
use crate::engine::lock_directory;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{Fs, Lock};
use crate::name::{self, LOCK_NAME};
use crate::survey::{Listing, store_id};

/// Names and lengths of the files in a directory.
pub(crate) type Files = BTreeMap<OsString, u64>;

/// A checkpoint that is being built.
#[derive(Debug)]
pub(crate) struct Staging<'a> {
    dir: &'a Directory,
    /// Where it is to be.
    pub(crate) target: PathBuf,
    /// Where it is built.
    pub(crate) path: PathBuf,
    /// Where both are.
    parent: PathBuf,
    /// What the target holds now, if it is there.
    pub(crate) old: Option<Files>,
    locks: Vec<Box<dyn Lock>>,
    /// Whether the target had no lock file before.
    lock_is_new: bool,
}

impl<'a> Staging<'a> {
    /// An empty directory for a checkpoint of `dir`. Changes nothing if the target is refused.
    pub(crate) fn prepare(dir: &'a Directory, target: &Path) -> Result<Self> {
        let (target, exists) = resolve(&*dir.fs, target)?;
        let path = name::staging_path(&target);
        let parent = target.parent().zip(path);
        let (parent, path) = parent.ok_or_else(|| no_directory(&target))?;
        let failed = |e| Error::io("cannot find the directory", &dir.path, e);
        let store = dir.fs.canonical(&dir.path).map_err(failed)?;
        if target.starts_with(&store) || store.starts_with(&target) || store.starts_with(&path) {
            let what = "a checkpoint cannot be in the directory of the store, nor around it";
            return Err(Error::invalid(what).at(&target));
        }
        let parent = parent.to_owned();
        let (old, locks, lock_is_new) = (None, Vec::new(), false);
        let mut staging = Self { dir, target, path, parent, old, locks, lock_is_new };
        if exists {
            // Looked at before the lock, which leaves its file there, and after it.
            let before = staging.replaceable(&staging.target)?;
            staging.locks.push(lock_directory(&dir.options, &staging.target)?);
            staging.old = Some(staging.replaceable(&staging.target)?);
            staging.lock_is_new = !before.contains_key(OsStr::new(LOCK_NAME));
        }
        for new in [&staging.parent, &staging.path] {
            let failed = |e| Error::io("cannot create the directory", new, e);
            dir.fs.create_dir(new).map_err(failed)?;
        }
        staging.clear()?;
        Ok(staging)
    }

    /// The files in `path`, if all of them are this store's or could be.
    fn replaceable(&self, path: &Path) -> Result<Files> {
        let fs = &self.dir.fs;
        let entries = fs.list(path).map_err(|e| match e.kind() {
            io::ErrorKind::NotADirectory => no_directory(path),
            _ => Error::io("cannot list the directory", path, e),
        })?;
        let files = entries.iter().map(|entry| (entry.name.clone(), entry.len)).collect();
        let listing = Listing::of(entries);
        if let Some(foreign) = listing.foreign.first() {
            let what = "the directory for the checkpoint holds something else";
            return Err(Error::invalid(what).at(&path.join(foreign)));
        }
        match store_id(&**fs, path, &listing)? {
            Some(other) if other != self.dir.store_id => {
                let what = "the directory for the checkpoint holds another store";
                Err(Error::invalid(what).at(path))
            }
            // A crash leaves files without a header in a staging directory, but not in a checkpoint.
            None if listing.holds_store() && path == self.target => {
                let what = "the directory for the checkpoint holds data files of unknown origin";
                Err(Error::invalid(what).at(path))
            }
            _ => Ok(files),
        }
    }

    /// Empties the staging directory, but for a lock.
    fn clear(&mut self) -> Result<()> {
        let mut leftover = self.replaceable(&self.path)?;
        if self.old.is_none() {
            self.locks.push(lock_directory(&self.dir.options, &self.path)?);
            leftover = self.replaceable(&self.path)?;
            leftover.remove(OsStr::new(LOCK_NAME));
        }
        if !leftover.is_empty() {
            // See the module's story.
            self.sync(&self.parent)?;
            self.remove_files(leftover.into_keys())?;
        }
        if self.old.is_some() { self.share_lock().inspect_err(|_| self.discard()) } else { Ok(()) }
    }

    /// Gives the staging directory the lock file of the target.
    fn share_lock(&mut self) -> Result<()> {
        let fs = &self.dir.fs;
        let [old, new] = [&self.target, &self.path].map(|dir| dir.join(LOCK_NAME));
        match fs.link(&old, &new) {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == io::ErrorKind::CrossesDevices => {
                if self.lock_is_new {
                    // Ignored: a lock file does no harm.
                    drop(fs.remove(&old));
                }
                Err(self.not_exchangeable(e))
            }
            Err(e) if cannot_link(&e) => {
                self.locks.push(lock_directory(&self.dir.options, &self.path)?);
                Ok(())
            }
            Err(e) => Err(Error::io("cannot link", &new, e)),
        }
    }

    /// Has the staging directory, all files in which are durable, take the place of the target.
    pub(crate) fn publish(self) -> Result<()> {
        let fs = &self.dir.fs;
        let exchanged = self.sync(&self.path).and_then(|()| match &self.old {
            None => fs
                .rename(&self.path, &self.target)
                .map_err(|e| Error::io("cannot create the directory", &self.target, e)),
            Some(_) => {
                fs.exchange_dirs(&self.path, &self.target).map_err(|e| self.not_exchangeable(e))
            }
        });
        exchanged.inspect_err(|_| self.discard())?;
        // If this fails, a crash may bring the old one back: it must be left whole.
        self.sync(&self.parent)?;
        if self.old.is_some() {
            self.discard();
        }
        Ok(())
    }

    /// Removes the staging directory. What cannot be removed goes with the next checkpoint.
    pub(crate) fn discard(&self) {
        let fs = &self.dir.fs;
        let removed = self
            .replaceable(&self.path)
            .and_then(|files| self.remove_files(files.into_keys()))
            .and_then(|()| {
                let failed = |e| Error::io("cannot remove the directory", &self.path, e);
                fs.remove_dir(&self.path).map_err(failed)
            });
        if let Err(e) = removed {
            tracing::warn!(error = ?e, "cannot remove what is left of a checkpoint");
        }
    }

    fn remove_files(&self, names: impl Iterator<Item = OsString>) -> Result<()> {
        for path in names.map(|name| self.path.join(name)) {
            self.dir.fs.remove(&path).map_err(|e| Error::io("cannot remove", &path, e))?;
        }
        Ok(())
    }

    fn sync(&self, path: &Path) -> Result<()> {
        let failed = |e| Error::io("cannot sync the directory", path, e);
        self.dir.fs.sync_dir(path).map_err(failed)
    }

    fn not_exchangeable(&self, e: io::Error) -> Error {
        use io::ErrorKind::{CrossesDevices, InvalidInput, ResourceBusy, Unsupported};
        if !matches!(e.kind(), CrossesDevices | InvalidInput | ResourceBusy | Unsupported) {
            return Error::io("cannot exchange the directories", &self.target, e);
        }
        let what = "this directory cannot be exchanged for another in one step; if it is a mount point, choose a \
                    directory inside it, else one that is not there yet";
        Error::io(what, &self.target, e).with_kind(ErrorKind::Invalid)
    }
}

/// Whether a hard link was refused because it is one: a copy may do.
pub(crate) fn cannot_link(e: &io::Error) -> bool {
    use io::ErrorKind::{CrossesDevices, PermissionDenied, TooManyLinks, Unsupported};
    matches!(e.kind(), CrossesDevices | PermissionDenied | TooManyLinks | Unsupported)
}

fn no_directory(path: &Path) -> Error {
    Error::invalid("this is not the path of a directory").at(path)
}

/// The one path of a directory that may not exist yet, and whether it does.
fn resolve(fs: &dyn Fs, target: &Path) -> Result<(PathBuf, bool)> {
    let mut missing = Vec::new();
    let mut at = target;
    loop {
        let here = if at.as_os_str().is_empty() { Path::new(".") } else { at };
        match fs.canonical(here) {
            Ok(mut path) => {
                path.extend(missing.iter().rev());
                return Ok((path, missing.is_empty()));
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let parts = at.parent().zip(at.file_name());
                let (parent, name) = parts.ok_or_else(|| no_directory(target))?;
                missing.push(name);
                at = parent;
            }
            Err(e) => return Err(Error::io("cannot find the directory", target, e)),
        }
    }
}
