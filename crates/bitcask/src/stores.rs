//! Several stores, each in a directory of its own below one.
//!
//! A process can open as many stores as it likes without this. It keeps one handle to each, by name, so that parts of a
//! program that want the same store need not know of each other: the second open would be `Locked`.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::db::Bitcask;
use crate::error::{Error, Result};
use crate::fs::Entry;
use crate::name::Name;
use crate::options::Options;
use crate::sync::{Mutex, lock};

/// Bytes in a name: what file systems take.
const NAME_LEN_MAX: usize = 255;

/// A store that was opened. The lock is held while it is being opened or closed: who wants the same store waits.
type Slot = Arc<Mutex<Option<Bitcask>>>;

/// Stores by name, below one directory.
///
/// ```
/// use bitcask::{Options, Stores};
/// # let dir = std::env::temp_dir().join(format!("bitcask-doc-stores-{}", std::process::id()));
///
/// let stores = Stores::new(&dir, Options::new());
/// stores.open("users")?.put(b"ann", b"1")?;
/// stores.open("pages")?.put(b"home", b"2")?;
/// assert_eq!(stores.open("users")?.get(b"ann")?.unwrap(), "1");
/// assert_eq!(stores.names()?, ["pages", "users"]);
/// stores.close_all()?;
/// # std::fs::remove_dir_all(&dir).ok();
/// # Ok::<(), bitcask::Error>(())
/// ```
pub struct Stores {
    root: PathBuf,
    options: Options,
    slots: Mutex<HashMap<String, Slot>>,
}

impl Stores {
    /// Stores below `root`, all opened with `options`. Touches nothing yet.
    pub fn new(root: impl AsRef<Path>, options: Options) -> Self {
        Self { root: root.as_ref().to_owned(), options, slots: Mutex::default() }
    }

    /// The store `name`, opened if it is not open. It stays open until somebody closes it ([`Bitcask::close`],
    /// [`close_all`](Self::close_all)), or this and all handles to it are dropped; once closed, this opens it anew.
    ///
    /// # Errors
    /// `Invalid` if the name is empty, longer than 255 bytes, begins with a dot, or has a slash, a backslash or a control
    /// character; as [`Options::open`].
    pub fn open(&self, name: &str) -> Result<Bitcask> {
        check_name(name)?;
        let slot = lock(&self.slots).entry(name.to_owned()).or_default().clone();
        let mut slot = lock(&slot);
        if let Some(db) = slot.take() {
            if db.engine().is_ok() {
                return Ok(slot.insert(db).clone());
            }
            // Whoever closes it may not be done. What it failed at, it said there.
            drop(db.close());
        }
        let db = self.options.clone().open(self.root.join(name))?;
        Ok(slot.insert(db).clone())
    }

    /// The names of the stores there, open or not, in order.
    ///
    /// # Errors
    /// `Io`.
    pub fn names(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in self.list(&self.root)? {
            let Some(name) = entry.name.to_str().filter(|name| check_name(name).is_ok()) else {
                continue;
            };
            // One that nothing was written to has at least the file for the lock.
            let entries = self.list(&self.root.join(name))?;
            if entries.iter().any(|entry| Name::of(&entry.name) != Name::Foreign) {
                names.push(name.to_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Closes all that are open, also for those who have handles to them.
    ///
    /// # Errors
    /// The first that a store failed at. All are closed all the same.
    pub fn close_all(&self) -> Result<()> {
        // Slots stay: who waits in one for a store to be closed opens it in the same one.
        let slots: Vec<_> = lock(&self.slots).values().cloned().collect();
        let close = |slot: &Slot| lock(slot).take().map_or(Ok(()), |db| db.close());
        slots.iter().map(close).fold(Ok(()), Result::and)
    }

    /// What is in a directory; nothing if it is none.
    fn list(&self, dir: &Path) -> Result<Vec<Entry>> {
        use std::io::ErrorKind::{NotADirectory, NotFound};
        match self.options.fs.list(dir) {
            Err(e) if matches!(e.kind(), NotADirectory | NotFound) => Ok(Vec::new()),
            result => result.map_err(|e| Error::io("cannot list the directory", dir, e)),
        }
    }
}

fn check_name(name: &str) -> Result<()> {
    let is_bad = |c: char| matches!(c, '/' | '\\') || c.is_control();
    if name.is_empty()
        || name.len() > NAME_LEN_MAX
        || name.starts_with('.')
        || name.contains(is_bad)
    {
        let what = format!(
            "{name:?} cannot name a store: 1 to {NAME_LEN_MAX} bytes, no slash, \
            backslash or control character, no dot at the beginning"
        );
        return Err(Error::invalid(what));
    }
    Ok(())
}

impl fmt::Debug for Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stores").field("root", &self.root).finish_non_exhaustive()
    }
}
