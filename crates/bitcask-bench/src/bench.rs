//! What every benchmark is given: a directory, how many keys, how many rounds; and stores filled with them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::ScopedJoinHandle;

use bitcask::Bitcask;

use crate::Result;
use crate::bare::Bare;
use crate::keys::{VALUE_LEN, key, value};

/// The setting of a run.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) dir: FreshDir,
    pub(crate) keys: u64,
    pub(crate) rounds: usize,
}

impl Bench {
    /// An empty directory, gone with the value. Drop what uses it first.
    pub(crate) fn fresh(&self) -> Result<FreshDir> {
        FreshDir::new(self.dir.path())
    }

    /// The bare operations, with all keys put.
    pub(crate) fn bare(&self, dir: &FreshDir) -> Result<Bare> {
        let path = dir.path().join("records");
        let mut bare = Bare::create(&path, self.keys, self.keys, VALUE_LEN)?;
        let value = value(VALUE_LEN);
        (0..self.keys).for_each(|n| bare.put(&key(n), &value));
        Ok(bare)
    }
}

/// Puts the keys with these numbers.
pub(crate) fn put_all(db: &Bitcask, numbers: impl IntoIterator<Item = u64>) -> Result<()> {
    let value = value(VALUE_LEN);
    for n in numbers {
        db.put(&key(n), &value)?;
    }
    Ok(())
}

/// What a thread gave. A panic in it goes on here.
pub(crate) fn join<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// A directory that was not there before, removed when dropped.
#[derive(Debug)]
pub(crate) struct FreshDir(PathBuf);

impl FreshDir {
    pub(crate) fn new(parent: &Path) -> Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("bitcask-bench-{}-{count}", std::process::id()));
        fs::create_dir(&path).map_err(|e| format!("cannot create {}: {e}", path.display()))?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for FreshDir {
    fn drop(&mut self) {
        // Ignored: what is left behind is in a directory for temporary files.
        drop(fs::remove_dir_all(&self.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_directory_is_removed_with_all_in_it() {
        let dir = FreshDir::new(&std::env::temp_dir()).unwrap();
        let path = dir.path().to_owned();
        fs::write(path.join("file"), "text").unwrap();
        drop(dir);
        assert!(!path.exists());
    }
}
