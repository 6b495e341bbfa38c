//! The open store: how a change gets in, how a value gets out.
//!
//! [`Engine::commit_if`] is the only way a change enters. `durable.rs`, `keeper.rs` and `merge.rs` are further parts of the
//! engine, each with its own story.

use std::path::Path;
use std::sync::Arc;

use crate::batch::{BATCH_BYTES_MAX, BATCH_LEN_MAX, Change};
use crate::directory::{Directory, Lookup};
use crate::durable::Durable;
use crate::error::{Error, ErrorKind, Result};
use crate::files::Table;
use crate::fs::Lock;
use crate::in_use;
use crate::keeper::Keeper;
use crate::name::LOCK_NAME;
use crate::options::{Durability, IoMode, Options};
use crate::place::Place;
use crate::read::{GETS_AT_ONCE, Moment};
use crate::record::Flags;
use crate::recovery::{self, Recovery};
use crate::snapshot::Snapshot;
use crate::stats::{Counters, Stats, count};
use crate::survey::{self, Listing};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, lock};
use crate::value::Value;
use crate::writer::Writer;

/// One in this many puts and gets is timed.
const SAMPLE: u64 = 64;

/// The open store, shared with its background threads.
#[derive(Debug)]
pub(crate) struct Engine {
    // Set at open.
    pub(crate) dir: Arc<Directory>,
    pub(crate) recovery: Recovery,

    // Own synchronisation.
    pub(crate) durable: Durable,
    pub(crate) stats: Counters,
    pub(crate) keeper: Keeper,

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
            Err(e) => return Err(survey::cannot_list(path, e)),
        };
        let is_unwanted = |listing: &Listing| options.error_if_exists && listing.holds_store();
        let unwanted = || Error::invalid("the directory holds a store already").at(path);
        if is_unwanted(&listing) {
            return Err(unwanted());
        }
        if !options.create_if_missing && !listing.holds_store() {
            return Err(Error::invalid("the directory holds no store").at(path));
        }
        fs.create_dir(path).map_err(|e| Error::io("cannot create the directory", path, e))?;
        let process_lock = lock_directory(&options, path)?;
        // What was listed before the lock may have changed.
        let entries = fs.list(path).map_err(|e| Error::io("cannot list the directory", path, e))?;
        let listing = Listing::of(entries);
        if is_unwanted(&listing) {
            return Err(unwanted());
        }
        listing.check_whole(path)?;

        let mapped = choose_io(&options, path)?;
        let store_id = survey::store_id(&*fs, path, &listing)?.unwrap_or_else(|| fs.random());
        let dir = Directory::new(path, options, store_id, mapped, false);
        let (writer, recovery, unsealed) = recovery::recover(&dir, &listing)?;
        dir.dictionaries.load(&dir, &listing.dictionaries);
        tracing::info!(dir = %path.display(), keys = dir.keydir.len(),
            scanned = recovery.scanned_files, hinted = recovery.hinted_files, "opened");
        let engine = Self {
            dir: Arc::new(dir),
            recovery,
            durable: Durable::default(),
            stats: Counters::default(),
            keeper: Keeper::default(),
            writer: Mutex::new(writer),
            process_lock: Mutex::new(Some(process_lock)),
        };
        engine.queue_for_sealing(unsealed);
        Ok(engine)
    }

    /// The newest value of a key.
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Value>> {
        let dir = &*self.dir;
        let started = self.sample(dir.files.count_gets(1));
        let value = dir.get(key, Moment::NOW);
        if let Some(started) = started {
            self.stats.get_ns.record(dir.clock.monotonic_ns() - started);
        }
        value
    }

    /// The newest values of many keys.
    pub(crate) fn get_many<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<Vec<Option<Value>>> {
        self.dir.files.count_gets(keys.len() as u64);
        self.dir.get_many(keys, Moment::NOW)
    }

    /// The store as it is now.
    pub(crate) fn snapshot(&self, what: &'static str) -> Snapshot {
        let writer = lock(&self.writer);
        Snapshot::take(&self.dir, writer.next_seq - 1, what)
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> u64 {
        let dir = &self.dir;
        let time_ms = dir.time.now_ms();
        let _writer = (dir.expiries.next_due_ms() <= time_ms).then(|| lock(&self.writer));
        dir.len(time_ms)
    }

    /// [`Self::commit_if`] without a condition.
    pub(crate) fn commit(&self, changes: &[Change<'_>], hashes: &[u64]) -> Result<bool> {
        self.commit_if(changes, hashes, || Ok(true))
    }

    /// The only way a change enters the store: log, then keydir, then disk.
    ///
    /// A reader may see a change before it is durable; whoever made it is told only after. Gives false, and changes
    /// nothing, if the condition does not hold when it is this change's turn, or if it is one delete and there is
    /// nothing to delete.
    pub(crate) fn commit_if(
        &self,
        changes: &[Change<'_>],
        hashes: &[u64],
        condition: impl FnOnce() -> Result<bool>,
    ) -> Result<bool> {
        hashes.iter().take(GETS_AT_ONCE).for_each(|&hash| self.dir.keydir.prefetch(hash));
        let dir = &*self.dir;
        let mut writer = lock(&self.writer);
        // Checked with the lock held: whoever had it before may have closed or poisoned it.
        self.check_open()?;
        writer.check()?;
        let seq_before = writer.next_seq;
        writer.commits += 1;
        let started = self.sample(writer.commits);
        if !condition()? {
            return Ok(false);
        }
        if let [Change::Delete { key }] = changes
            && dir.find(&dir.files.guard(), hashes[0], key, Moment::NOW)?.is_none()
        {
            return Ok(false);
        }
        dir.check_growth(changes, hashes)?;
        let finished = match changes {
            [change @ Change::Staged { staged, .. }] => {
                let lookup = dir.lookup(&dir.files.guard(), hashes[0], change.key())?;
                let collides = if lookup.collides { Flags::COLLIDES } else { Flags::NONE };
                writer.adopt(dir, change, staged, collides).map(|()| true)
            }
            _ => writer.make_room(dir, changes),
        };
        if finished? {
            self.keeper.nudge();
        }

        let table = dir.files.guard();
        match (changes, hashes) {
            ([change], &[hash]) => self.append_one(&mut writer, &table, change, hash)?,
            _ => self.append_batch(&mut writer, &table, changes, hashes)?,
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

    /// Appends a change, and tells the keydir. What that knows of the key is asked for while the change is being copied.
    #[inline]
    fn append_one(
        &self,
        writer: &mut Writer,
        table: &Table,
        change: &Change<'_>,
        hash: u64,
    ) -> Result<()> {
        let dir = &*self.dir;
        let mut known = None;
        let place = writer.append(dir, std::slice::from_ref(change), |_| {
            Ok(known.insert(dir.lookup(table, hash, change.key())?).collides)
        })?;
        let seq = writer.next_seq - 1;
        // From here on an error means that the log has what the keydir has not.
        let lookup = known.expect("it was asked for");
        let published = self.publish(table, (change, hash), lookup, (place, seq));
        published.map_err(|e| writer.poison(e))?;
        if let (Change::Delete { .. }, Some(active)) = (change, writer.active()) {
            active.tombstones.fetch_add(change.record_len(), Ordering::Relaxed);
        }
        Ok(())
    }

    /// The same for many changes.
    fn append_batch(
        &self,
        writer: &mut Writer,
        table: &Table,
        changes: &[Change<'_>],
        hashes: &[u64],
    ) -> Result<()> {
        let dir = &*self.dir;
        let lookups = self.lookup_batch(table, changes, hashes)?;
        let mut place = writer.append(dir, changes, |index| Ok(lookups[index].collides))?;
        let first_seq = writer.next_seq - changes.len() as u64;
        for ((change, &hash), seq) in changes.iter().zip(hashes).zip(first_seq..) {
            // An earlier change may have been to this key: look it up now.
            let published = dir
                .lookup(table, hash, change.key())
                .and_then(|lookup| self.publish(table, (change, hash), lookup, (place, seq)));
            published.map_err(|e| writer.poison(e))?;
            let len = change.record_len();
            if let (Change::Delete { .. }, Some(active)) = (change, writer.active()) {
                active.tombstones.fetch_add(len, Ordering::Relaxed);
            }
            place = place.after(len);
        }
        Ok(())
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

    /// Tells the keydir of a change that was appended at `place`, and of whose key it knows what `lookup` says.
    #[inline(always)]
    fn publish(
        &self,
        table: &Table,
        (change, hash): (&Change<'_>, u64),
        mut lookup: Lookup,
        place: (Place, u64),
    ) -> Result<()> {
        while !self.try_publish(table, (change, hash), &lookup, place) {
            // Merge has moved the old record since it was looked up.
            lookup = self.dir.lookup(table, hash, change.key())?;
        }
        Ok(())
    }

    /// Gives false if the old record is no longer where `lookup` found it.
    #[inline]
    fn try_publish(
        &self,
        table: &Table,
        (change, hash): (&Change<'_>, u64),
        lookup: &Lookup,
        (place, seq): (Place, u64),
    ) -> bool {
        let dir = &*self.dir;
        let done = match (change, lookup.found) {
            (Change::Put { key, expires_ms, .. } | Change::Staged { key, expires_ms, .. }, old) => {
                dir.put_in(hash, key, old, (place, seq), *expires_ms)
            }
            (Change::Delete { .. }, None) => true,
            (Change::Delete { key }, Some(old)) => dir.take_out(hash, key, old, seq),
        };
        if done && let Some(old) = lookup.found {
            dir.bury(table, old);
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

    #[inline]
    pub(crate) fn check_limits(&self, change: &Change<'_>) -> Result<()> {
        self.check_lengths(change.key().len(), change.value().len() as u64)
    }

    #[inline]
    pub(crate) fn check_lengths(&self, key_len: usize, value_len: u64) -> Result<()> {
        let Options { key_len_max, value_len_max, .. } = self.dir.options;
        if key_len > key_len_max {
            Err(too_long("key", key_len as u64, key_len_max as u64))
        } else if value_len > value_len_max {
            Err(too_long("value", value_len, value_len_max))
        } else {
            Ok(())
        }
    }

    /// Checks that changes can be made as one batch.
    pub(crate) fn check_batch(&self, changes: &[Change<'_>]) -> Result<()> {
        if changes.len() > BATCH_LEN_MAX {
            return Err(Error::invalid("the batch has more than 2^28 changes"));
        }
        let mut bytes = 0;
        for change in changes {
            self.check_limits(change)?;
            bytes += change.record_len();
        }
        if bytes > BATCH_BYTES_MAX {
            return Err(Error::invalid("the batch is larger than 8 GiB"));
        }
        Ok(())
    }

    pub(crate) fn check_open(&self) -> Result<()> {
        self.dir.check_open()
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
        let _training = lock(&self.dir.dictionaries.training);
        let result = {
            let writer = lock(&self.writer);
            if self.dir.closed.swap(true, Ordering::AcqRel) {
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
        // The next opening may then not know how late it was, and that is all.
        if let Err(e) = self.drop_expired().and_then(|()| self.note_time()) {
            tracing::warn!(error = ?e, "cannot write down what time it is");
        }
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

    /// Tells other processes what this one counts.
    pub(crate) fn tell(&self, stats: &Stats) -> std::io::Result<()> {
        let text = in_use::told(self.dir.clock.wall_ms(), stats);
        lock(&self.process_lock).as_ref().map_or(Ok(()), |lock| lock.tell(&text))
    }

    pub(crate) fn stats(&self) -> Stats {
        let (active, seq, poisoned) = {
            let writer = lock(&self.writer);
            let active = writer.active().map(|file| file.id);
            let poisoned = writer.check().err().map(|e| e.to_string());
            (active, writer.next_seq - 1, poisoned)
        };
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            poisoned,
            puts: load(&self.stats.puts),
            deletes: load(&self.stats.deletes),
            batches: load(&self.stats.batches),
            transactions: load(&self.stats.transactions),
            conflicts: load(&self.stats.conflicts),
            syncs: load(&self.stats.syncs),
            merges: load(&self.stats.merges),
            reclaimed_bytes: load(&self.stats.reclaimed),
            merge: self.keeper.progress(),
            merge_paused: self.keeper.is_paused(),
            put_latency: self.stats.put_ns.snapshot(),
            get_latency: self.stats.get_ns.snapshot(),
            sync_latency: self.stats.sync_ns.snapshot(),
            foreign: self.recovery.foreign.clone(),
            keys: self.len(),
            ..Stats::of(&self.dir, seq, active)
        }
    }
}

#[cold]
fn too_long(what: &str, len: u64, max: u64) -> Error {
    Error::invalid(format!("the {what} is {len} bytes long, at most {max} are allowed"))
}

pub(crate) fn lock_directory(options: &Options, path: &Path) -> Result<Box<dyn Lock>> {
    let lock_path = path.join(LOCK_NAME);
    match options.fs.lock(&lock_path, &in_use::holder()) {
        Ok(Ok(lock)) => Ok(lock),
        Ok(Err(holder)) => {
            let holder = if holder.is_empty() { "another process" } else { holder.trim_end() };
            Err(Error::new(ErrorKind::Locked, format!("the store is in use by {holder}")).at(path))
        }
        Err(e) => Err(Error::io("cannot lock", &lock_path, e)),
    }
}

/// Whether to map files.
pub(crate) fn choose_io(options: &Options, path: &Path) -> Result<bool> {
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
