//! Transactions: reads of one moment, and changes that are made only if what was read is still so.
//!
//! A transaction reads from a snapshot, over which its own changes lie. It remembers the sequence number of every
//! record that it read, and of every key that it did not find that there was none ([`ReadSet`]). When its closure is done
//! the changes go in as one batch, on the condition that nothing of what was read has changed
//! ([`Engine::commit_if`]). The condition is checked with the writer locked, so the transaction is as good as
//! one that ran alone, at the moment of its commit: *serializable*, in the order of the log, and no write skew. If the
//! condition does not hold, the closure runs again on a new snapshot.
//!
//! No lock is held while the closure runs. Whenever a transaction has to begin again somebody else's change was made,
//! so there is always progress, if not for each: hence the bound on retries.
//!
//! A transaction that changes nothing needs no check: its snapshot is one moment.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Deref, RangeBounds};
use std::sync::Arc;

use crate::batch::Change;
use crate::db::Bitcask;
use crate::directory::Directory;
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::expiry::Expiry;
use crate::files::Table;
use crate::range::{Bounds, is_empty, owned, prefix_bounds};
use crate::read::GETS_AT_ONCE;
use crate::snapshot::Snapshot;
use crate::stats::count;
use crate::sync::yield_now;
use crate::value::Value;

/// Retries beyond which each waits no longer than the one before.
const LONGEST_WAIT: u32 = 7;

/// How a transaction is run, see [`Bitcask::transaction_with`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionOptions {
    /// How often it may begin again because of a conflict, before that is an error. The default is 100.
    pub retries: u32,
}

impl Default for TransactionOptions {
    fn default() -> Self {
        Self { retries: 100 }
    }
}

/// Reads and changes that belong together, see [`Bitcask::transaction`].
pub struct Transaction<'a> {
    engine: Reach<'a>,
    snapshot: Snapshot,
    reads: ReadSet,
    /// By key: of two changes to one key the later wins.
    writes: BTreeMap<Vec<u8>, Write>,
}

/// How a transaction reaches its store. It does not keep it open.
enum Reach<'a> {
    Borrowed(&'a Engine),
    Shared(Arc<Engine>),
}

impl Deref for Reach<'_> {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        match self {
            Self::Borrowed(engine) => engine,
            Self::Shared(engine) => engine,
        }
    }
}

/// What is to become of a key.
#[derive(Debug)]
enum Write {
    Put { value: Vec<u8>, expires_ms: u64 },
    Delete,
}

/// What a transaction has read, and must find unchanged when it commits.
///
/// A range is remembered with its bounds, or a key that is new within it would go unnoticed.
#[derive(Debug, Default)]
struct ReadSet {
    keys: BTreeMap<Vec<u8>, Seen>,
    ranges: Vec<SeenRange>,
}

/// A range as it was read: the keys that were there, in order, with their versions.
#[derive(Debug)]
struct SeenRange {
    bounds: Bounds,
    found: Vec<(Vec<u8>, u64)>,
}

/// A key as it was read. The version is the sequence number of its record, or 0 if it was not there.
#[derive(Clone, Copy, Debug)]
struct Seen {
    hash: u64,
    version: u64,
}

impl Bitcask {
    /// Runs `f` as a transaction: all its reads are of one moment, and its changes are made together, at one moment
    /// at which all that it read is still so. As if nobody else did anything meanwhile.
    ///
    /// No lock is held while `f` runs. If something that it read has changed when it is done, it is called again, on what
    /// is there then; so whatever else it does, it may do more than once. If it returns an error (or
    /// panics), nothing is changed. It should go through the [`Transaction`] only: other calls to the store are not part of
    /// it, and a change that they make to what it reads is a conflict like any other.
    ///
    /// ```
    /// use bitcask::{Bitcask, Error};
    /// # let dir = std::env::temp_dir().join(format!("bitcask-doc-transaction-{}", std::process::id()));
    /// # let db = Bitcask::open(&dir)?;
    ///
    /// #[derive(Debug)]
    /// enum Refused {
    ///     NoFunds,
    ///     Store(Error),
    /// }
    ///
    /// impl From<Error> for Refused {
    ///     fn from(e: Error) -> Self {
    ///         Self::Store(e)
    ///     }
    /// }
    ///
    /// fn transfer(db: &Bitcask, from: &[u8], to: &[u8], cents: u64) -> Result<(), Refused> {
    ///     db.transaction(|tx| {
    ///         let mut balance = |account: &[u8]| -> Result<u64, Error> {
    ///             let value = tx.get(account)?;
    ///             Ok(value.map_or(0, |value| str::from_utf8(&value).unwrap().parse().unwrap()))
    ///         };
    ///         let (payer, payee) = (balance(from)?, balance(to)?);
    ///         let rest = payer.checked_sub(cents).ok_or(Refused::NoFunds)?;
    ///         tx.put(from, rest.to_string())?;
    ///         tx.put(to, (payee + cents).to_string())?;
    ///         Ok(())
    ///     })
    /// }
    ///
    /// db.put(b"ann", b"100")?;
    /// transfer(&db, b"ann", b"bob", 70).unwrap();
    /// assert!(matches!(transfer(&db, b"ann", b"bob", 70), Err(Refused::NoFunds)));
    /// assert_eq!(db.get(b"ann")?.unwrap(), "30");
    /// assert_eq!(db.get(b"bob")?.unwrap(), "70");
    /// # drop(db);
    /// # std::fs::remove_dir_all(&dir).ok();
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// What `f` returns; `Conflict` if others were faster a hundred times; as [`put`](Self::put) and
    /// [`write`](Self::write).
    pub fn transaction<T, E: From<Error>>(
        &self,
        f: impl FnMut(&mut Transaction<'_>) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        self.transaction_with(&TransactionOptions::default(), f)
    }

    /// As [`transaction`](Self::transaction), with a choice of how often it may begin again.
    ///
    /// # Errors
    /// As [`transaction`](Self::transaction).
    pub fn transaction_with<T, E: From<Error>>(
        &self,
        options: &TransactionOptions,
        mut f: impl FnMut(&mut Transaction<'_>) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        let mut conflicts = 0;
        loop {
            let mut transaction = Transaction::over(Reach::Borrowed(self.engine()?));
            let result = f(&mut transaction)?;
            let Some(key) = transaction.try_commit()? else { return Ok(result) };
            if conflicts == options.retries {
                return Err(conflict(&key, conflicts).into());
            }
            conflicts += 1;
            wait_after(conflicts);
        }
    }

    /// Begins a transaction that is not tied to a closure, for callers that cannot give one, as those in another language. It
    /// is for the caller to [commit](Transaction::commit) it, and to begin another if that is a conflict. Dropped, it
    /// has changed nothing.
    ///
    /// ```
    /// # use bitcask::{Bitcask, ErrorKind};
    /// # let dir = std::env::temp_dir().join(format!("bitcask-doc-begin-{}", std::process::id()));
    /// # let db = Bitcask::open(&dir)?;
    /// let mut transaction = db.begin()?;
    /// assert_eq!(transaction.get(b"k")?, None);
    /// transaction.put("k", "1")?;
    /// db.put(b"k", b"2")?;
    /// assert_eq!(transaction.commit().unwrap_err().kind(), ErrorKind::Conflict);
    /// assert_eq!(db.get(b"k")?.unwrap(), "2");
    /// # drop(db);
    /// # std::fs::remove_dir_all(&dir).ok();
    /// # Ok::<(), bitcask::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Invalid` once the store is closed.
    pub fn begin(&self) -> Result<Transaction<'static>> {
        Ok(Transaction::over(Reach::Shared(self.engine()?.clone())))
    }
}

fn conflict(key: &[u8], retries: u32) -> Error {
    let mut what = "others changed what the transaction had read".to_owned();
    if retries > 0 {
        what.push_str(&format!(", after {retries} retries too"));
    }
    Error::new(ErrorKind::Conflict, what).of_key(key)
}

/// Lets others finish: the longer, the more often that was needed.
fn wait_after(conflicts: u32) {
    for _ in 0..1_u32 << conflicts.min(LONGEST_WAIT) {
        std::hint::spin_loop();
    }
    if conflicts > 1 {
        yield_now();
    }
}

impl<'a> Transaction<'a> {
    fn over(engine: Reach<'a>) -> Self {
        let snapshot = engine.snapshot("transaction");
        Self { engine, snapshot, reads: ReadSet::default(), writes: BTreeMap::new() }
    }

    /// The value stored under `key`, if there is one: what this transaction put there, or else what was there when it
    /// began.
    ///
    /// # Errors
    /// As [`Bitcask::get`].
    pub fn get(&mut self, key: &[u8]) -> Result<Option<Value>> {
        if let Some(write) = self.writes.get(key) {
            return Ok(self.written(write).map(Value::new));
        }
        let dir = self.snapshot.dir();
        dir.check_open()?;
        let hash = dir.hash(key);
        let current = dir.current(hash, key, self.snapshot.moment())?;
        self.reads.remember(key, Seen { hash, version: current.version });
        Ok(current.value)
    }

    /// The values stored under many keys, in their order, as [`get`](Self::get) gives them; faster than one after another.
    ///
    /// # Errors
    /// As [`Bitcask::get`].
    pub fn get_many<K: AsRef<[u8]>>(&mut self, keys: &[K]) -> Result<Vec<Option<Value>>> {
        let mut values = Vec::with_capacity(keys.len());
        for keys in keys.chunks(GETS_AT_ONCE) {
            let dir = self.snapshot.dir();
            keys.iter().for_each(|key| dir.keydir.prefetch(dir.hash(key.as_ref())));
            for key in keys {
                values.push(self.get(key.as_ref())?);
            }
        }
        Ok(values)
    }

    /// Whether a value is stored under `key`.
    ///
    /// # Errors
    /// As [`Bitcask::get`].
    pub fn contains(&mut self, key: &[u8]) -> Result<bool> {
        if let Some(write) = self.writes.get(key) {
            return Ok(self.written(write).is_some());
        }
        let dir = self.snapshot.dir();
        dir.check_open()?;
        let hash = dir.hash(key);
        let found = dir.find(&dir.files.guard(), hash, key, self.snapshot.moment())?;
        self.reads.remember(key, Seen { hash, version: found.map_or(0, |found| found.seq) });
        Ok(found.is_some())
    }

    /// The keys within some bounds with their values, in order, as [`get`](Self::get) gives them. Needs
    /// [`Index::Ordered`](crate::Index).
    ///
    /// All of the range counts as read: a change of it, or a key that is new in it, is a conflict. So it should
    /// be no larger than need be.
    ///
    /// # Errors
    /// As [`Bitcask::range`].
    pub fn range<K: AsRef<[u8]> + ?Sized>(
        &mut self,
        bounds: impl RangeBounds<K>,
    ) -> Result<Vec<(Vec<u8>, Value)>> {
        self.read_range(owned(&bounds))
    }

    /// The keys that begin with `prefix`, with their values; as [`range`](Self::range).
    ///
    /// # Errors
    /// As [`Bitcask::range`].
    pub fn prefix(&mut self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Value)>> {
        self.read_range(prefix_bounds(prefix))
    }

    fn read_range(&mut self, bounds: Bounds) -> Result<Vec<(Vec<u8>, Value)>> {
        let dir = self.snapshot.dir();
        dir.check_open()?;
        let (mut entries, mut found) = (BTreeMap::new(), Vec::new());
        dir.each_key_within(bounds.clone(), |key| {
            let current = dir.current(dir.hash(&key), &key, self.snapshot.moment())?;
            if let Some(value) = current.value {
                found.push((key.clone(), current.version));
                entries.insert(key, value);
            }
            Ok(())
        })?;
        if !is_empty(&bounds) {
            for (key, write) in self.writes.range(bounds.clone()) {
                match self.written(write) {
                    Some(value) => entries.insert(key.clone(), Value::new(value)),
                    None => entries.remove(key),
                };
            }
        }
        self.reads.ranges.push(SeenRange { bounds, found });
        Ok(entries.into_iter().collect())
    }

    /// Stores `value` under `key`, when the transaction commits.
    ///
    /// # Errors
    /// `Invalid` if key or value are too long.
    pub fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Result<()> {
        self.put_with(key, value, Expiry::Never)
    }

    /// The same, to expire at some time. A [`Duration`](std::time::Duration) counts from now, not from the commit.
    ///
    /// # Errors
    /// `Invalid` if key or value are too long.
    pub fn put_with(
        &mut self,
        key: impl Into<Vec<u8>>,
        value: impl Into<Vec<u8>>,
        expiry: impl Into<Expiry>,
    ) -> Result<()> {
        let expires_ms = expiry.into().to_ms(&self.engine.dir.time);
        self.write(key.into(), Write::Put { value: value.into(), expires_ms })
    }

    /// Deletes `key`, if it is there, when the transaction commits. That alone does not count as reading it; who
    /// wants to know whether it is there asks [`contains`](Self::contains) first.
    ///
    /// # Errors
    /// `Invalid` if the key is too long.
    pub fn delete(&mut self, key: impl Into<Vec<u8>>) -> Result<()> {
        self.write(key.into(), Write::Delete)
    }

    fn write(&mut self, key: Vec<u8>, write: Write) -> Result<()> {
        self.engine.check_limits(&write.as_change(&key))?;
        self.writes.insert(key, write);
        Ok(())
    }

    /// The value that a change of this transaction leaves.
    fn written<'w>(&self, write: &'w Write) -> Option<&'w [u8]> {
        match write {
            Write::Put { value, expires_ms } => {
                let gone = self.engine.dir.has_expired(*expires_ms, self.snapshot.moment());
                (!gone).then_some(value)
            }
            Write::Delete => None,
        }
    }

    /// Makes the changes of a transaction that [`Bitcask::begin`] began.
    ///
    /// # Errors
    /// `Conflict` if something that it read has changed since: nothing was changed, and it can be tried again from the
    /// beginning. As [`Bitcask::write`].
    pub fn commit(self) -> Result<()> {
        self.try_commit()?.map_or(Ok(()), |key| Err(conflict(&key, 0)))
    }

    /// Makes the changes; or gives a key that it read and that has changed since, and changes nothing.
    fn try_commit(self) -> Result<Option<Vec<u8>>> {
        let Self { engine, snapshot, reads, writes } = self;
        let changed = Self::make(&engine, snapshot, &reads, &writes)?;
        let counted = match changed {
            None => &engine.stats.transactions,
            Some(_) => &engine.stats.conflicts,
        };
        count(counted, 1);
        Ok(changed)
    }

    fn make(
        engine: &Engine,
        snapshot: Snapshot,
        reads: &ReadSet,
        writes: &BTreeMap<Vec<u8>, Write>,
    ) -> Result<Option<Vec<u8>>> {
        // What the changes replace need not be kept for it.
        drop(snapshot);
        let dir = &*engine.dir;
        let changes: Vec<_> = writes
            .iter()
            .filter(|(key, write)| !(write.deletes() && reads.saw_nothing_at(key)))
            .map(|(key, write)| write.as_change(key))
            .collect();
        if changes.is_empty() {
            return Ok(None);
        }
        engine.check_batch(&changes)?;
        let mut packed = Vec::new();
        let changes = dir.pack_all(changes, &mut packed);
        let hashes: Vec<_> = changes.iter().map(|change| dir.hash(change.key())).collect();
        reads.prefetch(dir);
        let mut changed = None;
        // That it made no change, because there is nothing to delete, is no conflict.
        engine.commit_if(&changes, &hashes, || {
            changed = reads.changed_key(dir, &dir.files.guard())?;
            Ok(changed.is_none())
        })?;
        Ok(changed)
    }
}

impl fmt::Debug for Transaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction")
            .field("seq", &self.snapshot.seq())
            .field("reads", &self.reads.keys.len())
            .field("writes", &self.writes.len())
            .finish_non_exhaustive()
    }
}

impl Write {
    fn as_change<'a>(&'a self, key: &'a [u8]) -> Change<'a> {
        match self {
            Self::Put { value, expires_ms } => Change::put(key, value, *expires_ms),
            Self::Delete => Change::Delete { key },
        }
    }

    fn deletes(&self) -> bool {
        matches!(self, Self::Delete)
    }
}

impl ReadSet {
    /// Reads of one moment see one version of a key, however often they read it.
    fn remember(&mut self, key: &[u8], seen: Seen) {
        if !self.keys.contains_key(key) {
            self.keys.insert(key.to_owned(), seen);
        }
    }

    fn saw_nothing_at(&self, key: &[u8]) -> bool {
        self.keys.get(key).is_some_and(|seen| seen.version == 0)
    }

    /// Starts the cache misses of the check, which the writer would wait for.
    fn prefetch(&self, dir: &Directory) {
        self.keys.values().take(GETS_AT_ONCE).for_each(|seen| dir.keydir.prefetch(seen.hash));
    }

    /// A key that is not as it was read. The writer is locked.
    fn changed_key(&self, dir: &Directory, table: &Table) -> Result<Option<Vec<u8>>> {
        for (key, seen) in &self.keys {
            if dir.version(table, seen.hash, key)? != seen.version {
                return Ok(Some(key.clone()));
            }
        }
        for range in &self.ranges {
            if let Some(key) = range.changed_key(dir, table)? {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }
}

impl SeenRange {
    fn changed_key(&self, dir: &Directory, table: &Table) -> Result<Option<Vec<u8>>> {
        let (mut left, mut changed) = (self.found.iter(), None);
        dir.each_key_within(self.bounds.clone(), |key| {
            if changed.is_none() {
                let version = dir.version(table, dir.hash(&key), &key)?;
                // Not there: a key that was deleted while a snapshot lived.
                if version != 0 && left.next() != Some(&(key.clone(), version)) {
                    changed = Some(key);
                }
            }
            Ok(())
        })?;
        Ok(changed.or_else(|| left.next().map(|(key, _)| key.clone())))
    }
}
