//! The directory of an open store: what every part of the engine needs to know to touch its files.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::batch::Change;
use crate::dictionary::Dictionaries;
use crate::error::{Error, ErrorKind, Result};
use crate::expiry::{Expiries, StoreTime};
use crate::files::{DataFile, FileSet, Table};
use crate::fs::{Access, Clock, File, Fs, write_all_at};
use crate::header::FileKind;
use crate::keydir::Keydir;
use crate::name;
use crate::options::{Index, Options};
use crate::place::Place;
use crate::range::OrderedKeys;
use crate::record::Record;
use crate::snapshot::Snapshots;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, lock};

/// What stands for the identity of a store that has no file yet, to who only reads.
pub(crate) const UNKNOWN_STORE: [u8; 16] = [0; 16];

/// An open store's directory, files and keydir.
#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) path: PathBuf,
    pub(crate) fs: Arc<dyn Fs>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) options: Options,
    /// Whether files are mapped.
    pub(crate) mapped: bool,
    /// Whether somebody else writes: nothing in the directory is changed.
    pub(crate) read_only: bool,
    pub(crate) store_id: [u8; 16],
    pub(crate) files: FileSet,
    pub(crate) keydir: Keydir,
    /// Beside the keydir, if keys are to be found in order.
    pub(crate) ordered: Option<OrderedKeys>,
    pub(crate) snapshots: Snapshots,
    pub(crate) time: StoreTime,
    pub(crate) expiries: Expiries,
    pub(crate) dictionaries: Dictionaries,
    pub(crate) closed: AtomicBool,
    budget_warned: AtomicBool,
    /// Files that are to be opened, and may lose their names before that.
    held: Mutex<HashMap<PathBuf, Arc<dyn File>>>,
}

/// A record of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) place: Place,
    pub(crate) len: u64,
    pub(crate) seq: u64,
    pub(crate) expires_ms: u64,
}

impl Found {
    pub(crate) fn of(place: Place, record: &Record<'_>) -> Self {
        let Record { len, seq, expires_ms, .. } = *record;
        Self { place, len: len as u64, seq, expires_ms }
    }
}

/// What the keydir knows of a key.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lookup {
    /// Its newest record, expired or not.
    pub(crate) found: Option<Found>,
    /// Another key of the same hash is there.
    pub(crate) collides: bool,
}

impl Directory {
    /// Without any files yet.
    pub(crate) fn new(
        path: &Path,
        options: Options,
        store_id: [u8; 16],
        mapped: bool,
        read_only: bool,
    ) -> Self {
        Self {
            path: path.to_owned(),
            fs: options.fs.clone(),
            clock: options.clock.clone(),
            mapped,
            read_only,
            store_id,
            files: FileSet::new(),
            keydir: options.shard_bits.map_or_else(Keydir::new, Keydir::with_shard_bits),
            ordered: (options.index == Index::Ordered).then(OrderedKeys::default),
            snapshots: Snapshots::default(),
            time: StoreTime::new(options.clock.clone()),
            expiries: Expiries::default(),
            dictionaries: Dictionaries::default(),
            closed: AtomicBool::new(false),
            budget_warned: AtomicBool::new(false),
            held: Mutex::default(),
            options,
        }
    }

    /// The hash by which the keydir and hint files know a key. The seed is the store's, so that nobody can
    /// prepare keys that collide.
    pub(crate) fn hash(&self, key: &[u8]) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.store_id;
        let seed = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        xxh3_64_with_seed(key, seed) & self.options.hash_mask
    }

    /// Finds the newest record of `key`, without a look at its value.
    pub(crate) fn lookup(&self, table: &Table, hash: u64, key: &[u8]) -> Result<Lookup> {
        let mut lookup = Lookup::default();
        let mut scratch = Vec::new();
        for place in self.keydir.candidates(hash).iter() {
            let file = table.file(place);
            let record = file.record_unchecked(place, &mut scratch)?;
            if record.key == key {
                lookup.found = Some(Found::of(place, &record));
                continue;
            }
            // Another key, or damage to this one: the checksum tells.
            let other = file.record(place, &mut scratch)?;
            lookup.collides |= self.hash(other.key) == hash;
        }
        Ok(lookup)
    }

    /// Writes a file under a temporary name, makes it durable, and only then gives it its name. How every hint is
    /// published; merged files follow the same steps.
    pub(crate) fn publish(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let file = self.create_temporary(path)?;
        let temporary = name::temporary_path(path);
        write_all_at(&*file, bytes, 0)
            .and_then(|()| file.sync())
            .and_then(|()| self.fs.rename(&temporary, path))
            .and_then(|()| self.fs.sync_dir(&self.path))
            .map_err(|e| {
                // Ignored: what is left of it is swept when the store is opened.
                drop(self.fs.remove(&temporary));
                Error::io("cannot write", path, e)
            })
    }

    /// An empty file that will be published as `path`.
    pub(crate) fn create_temporary(&self, path: &Path) -> Result<Box<dyn File>> {
        let temporary = name::temporary_path(path);
        let failed = |e| Error::io("cannot create", &temporary, e);
        match self.fs.open(&temporary, Access::Create) {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                self.fs.remove(&temporary).map_err(failed)?;
                self.fs.open(&temporary, Access::Create).map_err(failed)
            }
            result => result.map_err(failed),
        }
    }

    pub(crate) fn open_file(&self, path: &Path) -> Result<Box<dyn File>> {
        if self.read_only
            && let Some(file) = lock(&self.held).get(path)
        {
            return Ok(Box::new(file.clone()));
        }
        self.fs.open(path, Access::Read).map_err(|e| Error::io("cannot open", path, e))
    }

    /// Keeps a file so that it can be opened from now on, whatever becomes of its name.
    pub(crate) fn hold(&self, path: PathBuf) -> Result<()> {
        let file = self.open_file(&path)?.into();
        lock(&self.held).insert(path, file);
        Ok(())
    }

    pub(crate) fn let_go(&self) {
        lock(&self.held).clear();
    }

    pub(crate) fn data_path(&self, kind: FileKind, id: u64) -> PathBuf {
        name::data_path(&self.path, kind, id)
    }

    pub(crate) fn hint_path(&self, id: u64) -> PathBuf {
        name::hint_path(&self.path, id)
    }

    pub(crate) fn dictionary_path(&self, id: u32) -> PathBuf {
        name::dictionary_path(&self.path, id)
    }

    /// The identity that files of the store have, if that is known.
    pub(crate) fn known_store_id(&self) -> Option<[u8; 16]> {
        (self.store_id != UNKNOWN_STORE).then_some(self.store_id)
    }

    #[inline]
    pub(crate) fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) { Err(self.is_closed()) } else { Ok(()) }
    }

    #[cold]
    fn is_closed(&self) -> Error {
        Error::invalid("the store is closed").at(&self.path)
    }

    /// Bytes of memory that the keydir and the ordered index take.
    pub(crate) fn index_memory(&self) -> u64 {
        self.keydir.memory() + self.ordered.as_ref().map_or(0, OrderedKeys::memory)
    }

    /// Whether `more` bytes of memory, and what is there, are within the budget.
    pub(crate) fn check_budget(&self, more: u64) -> Result<()> {
        let Some(budget) = self.options.memory_budget else { return Ok(()) };
        let (taken, keys) = (self.index_memory(), self.keydir.len());
        let wanted = taken.saturating_add(more);
        if wanted > budget / 10 * 9 && !self.budget_warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(keys, taken, budget, "the memory budget is nearly used up");
        }
        if wanted <= budget {
            return Ok(());
        }
        let what = format!("{keys} keys take {taken} bytes of memory, and the budget is {budget}");
        Err(Error::new(ErrorKind::Full, what).at(&self.path))
    }

    /// Whether the keys that `changes` add are within the budget. Others need no memory.
    #[inline]
    pub(crate) fn check_growth(&self, changes: &[Change<'_>], hashes: &[u64]) -> Result<()> {
        if self.options.memory_budget.is_none() {
            return Ok(());
        }
        self.check_growth_of(changes, hashes)
    }

    #[inline(never)]
    fn check_growth_of(&self, changes: &[Change<'_>], hashes: &[u64]) -> Result<()> {
        let (table, mut more) = (self.files.guard(), 0);
        for (change, &hash) in changes.iter().zip(hashes) {
            let adds = !matches!(change, Change::Delete { .. })
                && self.lookup(&table, hash, change.key())?.found.is_none();
            if adds {
                more += self.keydir.growth()
                    + change.key().len() as u64 * self.ordered.iter().len() as u64;
            }
        }
        if more > 0 { self.check_budget(more) } else { Ok(()) }
    }

    /// Keys that are there at `time_ms`. The writer is locked if any may be due: it may be dropped just now, between
    /// the two counts.
    pub(crate) fn len(&self, time_ms: u64) -> u64 {
        let due = self.expiries.due_count(time_ms);
        // Whoever counts is told that what is due has expired.
        if due > 0 {
            self.time.had_passed(time_ms, time_ms);
        }
        self.keydir.len().saturating_sub(due)
    }

    /// Has the keydir say that the newest record of a key is at `place`, and not where it was `found`; false if it
    /// is not there any more, because merge moved it. The writer is locked, as for all that follow.
    #[inline]
    pub(crate) fn put_in(
        &self,
        hash: u64,
        key: &[u8],
        found: Option<Found>,
        (place, seq): (Place, u64),
        expires_ms: u64,
    ) -> bool {
        let Some(old) = found else {
            self.keydir.insert(hash, place);
            if let Some(ordered) = &self.ordered {
                ordered.insert(key);
            }
            self.expiries.add(expires_ms, hash);
            return true;
        };
        let replaced = self
            .snapshots
            .keep(hash, old, seq, |keep| self.keydir.replace(hash, old.place, place, keep));
        if replaced {
            self.expiries.remove(old.expires_ms, hash);
            self.expiries.add(expires_ms, hash);
        }
        replaced
    }

    /// Takes a key out of the keydir, in the change numbered `seq`; false if it is not where it was `found`.
    #[inline]
    pub(crate) fn take_out(&self, hash: u64, key: &[u8], found: Found, seq: u64) -> bool {
        let removed = self.snapshots.keep(hash, found, seq, |keep| {
            let removed = self.keydir.remove(hash, found.place, keep);
            if let (true, Some(ordered)) = (removed, &self.ordered) {
                // A snapshot may see an earlier record of the key, if not this one.
                ordered.remove(key, seq, self.snapshots.any());
            }
            removed
        });
        if removed {
            self.expiries.remove(found.expires_ms, hash);
        }
        removed
    }

    /// Counts the record at `place` as dead.
    pub(crate) fn bury(&self, table: &Table, found: Found) {
        let file: &Arc<DataFile> = table.file(found.place);
        file.add_dead(found.len);
    }
}
