//! The open store: how a change gets in, how a value gets out.
//!
//! [`Engine::commit`] is the only way a change enters. `durable.rs`, `keeper.rs` and `merge.rs` are further parts of the
//! engine, each with its own story.

use std::path::Path;

use crate::batch::Change;
use crate::directory::{Directory, Lookup};
use crate::durable::Durable;
use crate::error::{Error, ErrorKind, Result};
use crate::files::{FileSet, Table};
use crate::fs::Lock;
use crate::header::FileKind;
use crate::keeper::Keeper;
use crate::keydir::Keydir;
use crate::name::LOCK_NAME;
use crate::options::{Durability, IoMode, Options};
use crate::place::Place;
use crate::record::record_len;
use crate::recovery::{self, Listing, Recovery};
use crate::stats::{Counters, FileStats, Stats, count};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Mutex, lock};
use crate::value::Value;
use crate::writer::Writer;

/// One in this many puts and gets is timed.
const SAMPLE: u64 = 64;
/// Gets that `get_many` has under way at once.
const GETS_AT_ONCE: usize = 16;
/// The open store, shared with its background threads.
#[derive(Debug)]
pub(crate) struct Engine {
    // Set at open.
    pub(crate) dir: Directory,
    pub(crate) recovery: Recovery,

    // Own synchronisation.
    pub(crate) durable: Durable,
    pub(crate) stats: Counters,
    pub(crate) keeper: Keeper,
    closed: AtomicBool,

    // Locks; their order is in ARCHITECTURE.md.
    pub(crate) writer: Mutex<Writer>,
    process_lock: Mutex<Option<Box<dyn Lock>>>,
}

impl Engine {
    pub(crate) fn open(path: &Path, options: Options) -> Result<Self> {
        let fs = options.fs.clone();
        let listing = match fs.list(path) {
            Ok(entries) => Listing::of(entries),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Listing::default(),
            Err(e) => return Err(Error::io("cannot list the directory", path, e)),
        };
        if options.error_if_exists && listing.holds_store() {
            return Err(Error::invalid("the directory holds a store already").at(path));
        }
        if !options.create_if_missing && !listing.holds_store() {
            return Err(Error::invalid("the directory holds no store").at(path));
        }
        fs.create_dir(path).map_err(|e| Error::io("cannot create the directory", path, e))?;
        let process_lock = lock_directory(&options, path)?;
        // What was listed before the lock may have changed.
        let entries = fs.list(path).map_err(|e| Error::io("cannot list the directory", path, e))?;
        let listing = Listing::of(entries);

        let dir = Directory {
            path: path.to_owned(),
            mapped: choose_io(&options, path)?,
            store_id: recovery::store_id(&*fs, path, &listing)?.unwrap_or_else(|| fs.random()),
            files: FileSet::new(),
            keydir: options.shard_bits.map_or_else(Keydir::new, Keydir::with_shard_bits),
            clock: options.clock.clone(),
            fs,
            options,
        };
        let (writer, recovery, unsealed) = recovery::recover(&dir, &listing)?;
        tracing::info!(dir = %path.display(), keys = dir.keydir.len(),
            scanned = recovery.scanned_files, hinted = recovery.hinted_files, "opened");
        let engine = Self {
            dir,
            recovery,
            durable: Durable::default(),
            stats: Counters::default(),
            keeper: Keeper::default(),
            closed: AtomicBool::new(false),
            writer: Mutex::new(writer),
            process_lock: Mutex::new(Some(process_lock)),
        };
        engine.queue_for_sealing(unsealed);
        Ok(engine)
    }

    /// The newest value of a key.
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Value>> {
        let started = self.sample(self.dir.files.count_gets(1));
        let hash = self.dir.hash(key);
        let value = self.read(&self.dir.files.guard(), hash, key);
        if let Some(started) = started {
            self.stats.get_ns.record(self.dir.clock.monotonic_ns() - started);
        }
        value
    }

    /// The newest values of many keys.
    pub(crate) fn get_many<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<Vec<Option<Value>>> {
        self.dir.files.count_gets(keys.len() as u64);
        let mut values = Vec::with_capacity(keys.len());
        for keys in keys.chunks(GETS_AT_ONCE) {
            self.read_at_once(keys, &mut values)?;
        }
        Ok(values)
    }

    /// Keydir, then record, confirmed.
    fn read(&self, table: &Table, hash: u64, key: &[u8]) -> Result<Option<Value>> {
        let mut scratch = Vec::new();
        for place in self.dir.keydir.candidates(hash).iter() {
            if let Some(value) = self.read_at(table, place, key, &mut scratch)? {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// The value at `place`, if the record there is the key's.
    fn read_at(
        &self,
        table: &Table,
        place: Place,
        key: &[u8],
        scratch: &mut Vec<u8>,
    ) -> Result<Option<Value>> {
        let file = table.file(place);
        let record = if self.dir.options.verify_reads {
            file.record(place, scratch)
        } else {
            file.record_unchecked(place, scratch)
        };
        let record = record.map_err(|e| e.of_key(key))?;
        Ok((record.key == key).then(|| Value::new(record.value)))
    }

    /// A few gets together: first every slot of the keydir is fetched, then every record, then all are read.
    fn read_at_once<K: AsRef<[u8]>>(
        &self,
        keys: &[K],
        values: &mut Vec<Option<Value>>,
    ) -> Result<()> {
        let mut hashes = [0; GETS_AT_ONCE];
        for (key, hash) in keys.iter().zip(&mut hashes) {
            *hash = self.dir.hash(key.as_ref());
            self.dir.keydir.prefetch_shard(*hash);
        }
        hashes.iter().take(keys.len()).for_each(|&hash| self.dir.keydir.prefetch(hash));
        let table = self.dir.files.guard();
        let mut candidates: [_; GETS_AT_ONCE] = std::array::from_fn(|_| None);
        for ((_, &hash), found) in keys.iter().zip(&hashes).zip(&mut candidates) {
            let places = self.dir.keydir.candidates(hash);
            places.iter().for_each(|place| table.file(place).prefetch(place));
            *found = Some(places);
        }
        let mut scratch = Vec::new();
        for (key, places) in keys.iter().zip(candidates.iter().flatten()) {
            let mut value = None;
            for place in places.iter() {
                value = self.read_at(&table, place, key.as_ref(), &mut scratch)?;
                if value.is_some() {
                    break;
                }
            }
            values.push(value);
        }
        Ok(())
    }

    /// The only way a change enters the store: log, then keydir, then disk.
    ///
    /// A reader may see a change before it is durable; whoever made it is told only after. Gives false if it was one
    /// delete and there was nothing to delete.
    pub(crate) fn commit(&self, changes: &[Change<'_>], hashes: &[u64]) -> Result<bool> {
        hashes.iter().take(GETS_AT_ONCE).for_each(|&hash| self.dir.keydir.prefetch(hash));
        let dir = &self.dir;
        let mut writer = lock(&self.writer);
        // Checked with the lock held: whoever had it before may have closed or poisoned it.
        self.check_open()?;
        writer.check()?;
        let seq_before = writer.next_seq;
        let started = self.sample(seq_before);
        if let [Change::Delete { key }] = changes
            && dir.lookup(&dir.files.guard(), hashes[0], key)?.found.is_none()
        {
            return Ok(false);
        }
        if writer.make_room(dir, changes)? {
            self.keeper.nudge();
        }

        let table = dir.files.guard();
        let mut one = None;
        let batch = match changes {
            [_] => Vec::new(),
            _ => self.lookup_batch(&table, changes, hashes)?,
        };
        let collides = |index: usize| match (batch.get(index), &one) {
            (Some(lookup), _) | (None, Some(lookup)) => Ok(lookup.collides),
            (None, None) => {
                let lookup = dir.lookup(&table, hashes[index], changes[index].key())?;
                Ok(one.insert(lookup).collides)
            }
        };
        let first = writer.append(dir.clock.wall_ms(), changes, collides)?;
        if let Err(e) = self.publish(&table, &writer, changes, hashes, one, first) {
            // The log has what the keydir has not.
            return Err(writer.poison(e));
        }
        drop(table);

        let seq = writer.next_seq - 1;
        let must_wait = self.must_wait(&mut writer, seq_before, seq);
        if self.makes_ready()
            && let Some(ahead) = writer.take_ahead()
        {
            self.keeper.ask_ahead(ahead);
        }
        drop(writer);
        self.count(changes);
        if must_wait {
            self.sync_through(seq)?;
        }
        if let Some(started) = started {
            self.stats.put_ns.record(dir.clock.monotonic_ns() - started);
        }
        Ok(true)
    }

    /// What the keydir knows of the keys of a batch. A hash that comes twice counts as a collision: that is always
    /// safe to say.
    fn lookup_batch(
        &self,
        table: &Table,
        changes: &[Change<'_>],
        hashes: &[u64],
    ) -> Result<Vec<Lookup>> {
        let mut sorted = hashes.to_vec();
        sorted.sort_unstable();
        let twice: Vec<u64> =
            sorted.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
        let lookup = |(change, &hash): (&Change<'_>, &u64)| {
            let mut lookup = self.dir.lookup(table, hash, change.key())?;
            lookup.collides |= twice.binary_search(&hash).is_ok();
            Ok(lookup)
        };
        changes.iter().zip(hashes).map(lookup).collect()
    }

    /// Tells the keydir of appended records, the first of which is at `first`. `one` is what is known of the key, if
    /// there is one change.
    fn publish(
        &self,
        table: &Table,
        writer: &Writer,
        changes: &[Change<'_>],
        hashes: &[u64],
        one: Option<Lookup>,
        first: Place,
    ) -> Result<()> {
        let mut place = first;
        for (change, &hash) in changes.iter().zip(hashes) {
            let len = record_len(change.key().len(), change.value().len());
            // In a batch, an earlier change may have been to this key: look it up now.
            let mut lookup = match one {
                Some(lookup) => lookup,
                None => self.dir.lookup(table, hash, change.key())?,
            };
            while !self.publish_one(table, change, hash, lookup, place) {
                // Merge has moved the old record since it was looked up.
                lookup = self.dir.lookup(table, hash, change.key())?;
            }
            if let (Change::Delete { .. }, Some(active)) = (change, writer.active()) {
                active.tombstones.fetch_add(len, Ordering::Relaxed);
            }
            place = place.after(len);
        }
        Ok(())
    }

    /// Gives false if the old record is no longer where `lookup` found it.
    fn publish_one(
        &self,
        table: &Table,
        change: &Change<'_>,
        hash: u64,
        lookup: Lookup,
        place: Place,
    ) -> bool {
        let keydir = &self.dir.keydir;
        let done = match (change, lookup.found) {
            (Change::Put { .. }, None) => {
                keydir.insert(hash, place);
                true
            }
            (Change::Put { .. }, Some(old)) => keydir.replace(hash, old.place, place),
            (Change::Delete { .. }, None) => true,
            (Change::Delete { .. }, Some(old)) => keydir.remove(hash, old.place),
        };
        if done && let Some(old) = lookup.found {
            self.dir.bury(table, old);
        }
        done
    }

    /// Whether the durability asks that a write waits for a sync.
    fn must_wait(&self, writer: &mut Writer, first: u64, last: u64) -> bool {
        match self.dir.options.durability {
            Durability::Always => true,
            Durability::Os => false,
            Durability::Interval(limit) => {
                // Looked at now and then: the clock costs as much as the rest of this function's callers do.
                let look = writer.waits_for_nothing() || last / SAMPLE != (first - 1) / SAMPLE;
                let limit_ns = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
                look && writer.waits_too_long(self.dir.clock.monotonic_ns(), limit_ns)
            }
        }
    }

    pub(crate) fn sync_all(&self) -> Result<()> {
        let (seq, unsynced) = {
            let writer = lock(&self.writer);
            writer.check()?;
            (writer.next_seq - 1, writer.has_unsynced())
        };
        if unsynced { self.sync_through(seq) } else { Ok(()) }
    }

    pub(crate) fn check_limits(&self, change: &Change<'_>) -> Result<()> {
        let options = &self.dir.options;
        if change.key().len() > options.key_len_max {
            return Err(Error::invalid(format!(
                "the key is {} bytes long, at most {} are allowed",
                change.key().len(),
                options.key_len_max
            )));
        }
        if change.value().len() as u64 > options.value_len_max {
            return Err(Error::invalid(format!(
                "the value is {} bytes long, at most {} are allowed",
                change.value().len(),
                options.value_len_max
            )));
        }
        Ok(())
    }

    pub(crate) fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::invalid("the store is closed").at(&self.dir.path));
        }
        Ok(())
    }

    fn sample(&self, n: u64) -> Option<u64> {
        n.is_multiple_of(SAMPLE).then(|| self.dir.clock.monotonic_ns())
    }

    fn count(&self, changes: &[Change<'_>]) {
        let deletes =
            changes.iter().filter(|change| matches!(change, Change::Delete { .. })).count() as u64;
        let puts = changes.len() as u64 - deletes;
        if puts > 0 {
            count(&self.stats.puts, puts);
        }
        if deletes > 0 {
            count(&self.stats.deletes, deletes);
        }
    }

    /// Closes the store; background threads are gone.
    pub(crate) fn close(&self) -> Result<()> {
        // A merge in another thread sees that the keeper stopped, and ends.
        let _merging = self.keeper.wait_for_merge();
        let result = {
            let writer = lock(&self.writer);
            if self.closed.swap(true, Ordering::AcqRel) {
                return Ok(());
            }
            writer.check()
        };
        let result = result.and_then(|()| self.close_log());
        lock(&self.process_lock).take();
        tracing::info!(dir = %self.dir.path.display(), "closed");
        result
    }

    /// Syncs, writes that down in the log and syncs that. The next open then knows that all is well.
    fn close_log(&self) -> Result<()> {
        self.sync_all()?;
        lock(&self.writer).mark_end(&self.dir)?;
        self.sync_all()?;
        self.seal_finished();
        // All is durable. Without a hint the next open takes longer, and that is all.
        if let Err(e) = self.hint_active() {
            tracing::warn!(error = ?e, "cannot write the hint of the active file");
        }
        Ok(())
    }

    pub(crate) fn stats(&self) -> Stats {
        let (active, seq, poisoned) = {
            let writer = lock(&self.writer);
            let active = writer.active().map(|file| file.id);
            let poisoned = writer.check().err().map(|e| e.to_string());
            (active, writer.next_seq - 1, poisoned)
        };
        let files = self.dir.files.files().into_iter().map(|file| FileStats {
            id: file.id,
            path: file.path.clone(),
            merged: file.kind == FileKind::Merged,
            active: active == Some(file.id),
            sealed: file.sealed.load(Ordering::Acquire),
            bytes: file.len.load(Ordering::Acquire),
            dead_bytes: file.dead.load(Ordering::Relaxed),
            tombstone_bytes: file.tombstones.load(Ordering::Relaxed),
        });
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            keys: self.dir.keydir.len(),
            keydir_bytes: self.dir.keydir.memory(),
            seq,
            mapped: self.dir.mapped,
            files: files.collect(),
            pinned_files: self.dir.files.pinned().iter().map(|file| file.path.clone()).collect(),
            foreign: self.recovery.foreign.clone(),
            poisoned,
            puts: load(&self.stats.puts),
            deletes: load(&self.stats.deletes),
            gets: self.dir.files.gets(),
            batches: load(&self.stats.batches),
            syncs: load(&self.stats.syncs),
            merges: load(&self.stats.merges),
            reclaimed_bytes: load(&self.stats.reclaimed),
            merge: self.keeper.progress(),
            merge_paused: self.keeper.is_paused(),
            put_latency: self.stats.put_ns.snapshot(),
            get_latency: self.stats.get_ns.snapshot(),
            sync_latency: self.stats.sync_ns.snapshot(),
        }
    }
}

fn lock_directory(options: &Options, path: &Path) -> Result<Box<dyn Lock>> {
    let lock_path = path.join(LOCK_NAME);
    let program = std::env::current_exe().ok();
    let program = program.as_deref().and_then(Path::file_name).unwrap_or_default();
    let holder = format!("process {} ({})", std::process::id(), program.to_string_lossy());
    match options.fs.lock(&lock_path, &holder) {
        Ok(Ok(lock)) => Ok(lock),
        Ok(Err(holder)) => {
            let holder = if holder.is_empty() { "another process" } else { &holder };
            Err(Error::new(ErrorKind::Locked, format!("the store is in use by {holder}")).at(path))
        }
        Err(e) => Err(Error::io("cannot lock", &lock_path, e)),
    }
}

/// Whether to map files.
fn choose_io(options: &Options, path: &Path) -> Result<bool> {
    if options.io == IoMode::Plain {
        return Ok(false);
    }
    let safe = options
        .fs
        .reserves_blocks(path)
        .map_err(|e| Error::io("cannot tell the kind of file system", path, e))?;
    if options.io == IoMode::Mapped && !safe {
        return Err(Error::invalid(
            "invalid option io: this file system does not keep reserved blocks, so a full disk could end \
             the process; use Auto or Plain",
        )
        .at(path));
    }
    Ok(safe)
}
