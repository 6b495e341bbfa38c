//! The store: open, get, put, delete, write, iterate, merge, close. Reads like the paper. What goes beyond it stands with
//! its own subject: `update.rs`, `transaction.rs`, `stream.rs`, `typed.rs`.

use std::fmt;
use std::ops::{ControlFlow, RangeBounds};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use crate::batch::{Change, WriteBatch};
use crate::checkpoint::{CheckpointProgress, CheckpointReport};
use crate::engine::Engine;
use crate::error::Result;
use crate::expiry::Expiry;
use crate::iter::{Iter, Keys};
use crate::merge::{MergeProgress, MergeReport};
use crate::options::Options;
use crate::page::{Cursor, Page, Prefix};
use crate::range::Range;
use crate::read::Moment;
use crate::readonly::ReadOnly;
use crate::record::NEVER;
use crate::recovery::Recovery;
use crate::snapshot::Snapshot;
use crate::stats::{Stats, count};
use crate::sync::{Mutex, lock};
use crate::value::Value;
use crate::verify::{VerifyOptions, VerifyProgress, VerifyReport};
use crate::watch::Watch;

/// A store: a persistent map from keys to values, both any bytes.
///
/// Cheap to clone; clones and threads share one store. It is closed by [`close`](Self::close), or when the
/// last clone is dropped.
///
/// ```
/// use bitcask::Bitcask;
/// # let dir = std::env::temp_dir().join(format!("bitcask-doc-hello-{}", std::process::id()));
///
/// let db = Bitcask::open(&dir)?;
/// db.put(b"mykey", b"myvalue")?;
/// assert_eq!(db.get(b"mykey")?.as_deref(), Some(&b"myvalue"[..]));
/// assert!(db.delete(b"mykey")?);
/// assert!(!db.contains(b"mykey")?);
/// db.close()?;
/// # std::fs::remove_dir_all(&dir).ok();
/// # Ok::<(), bitcask::Error>(())
/// ```
#[derive(Clone)]
pub struct Bitcask(Arc<Handle>);

/// What clones share: dropping the last one closes the store.
struct Handle {
    engine: Arc<Engine>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Bitcask {
    /// Opens the store in `dir`, creating it if need be, with the default [`Options`].
    ///
    /// # Errors
    /// See [`Options::open`].
    pub fn open(dir: impl AsRef<Path>) -> Result<Self> {
        Options::new().open(dir)
    }

    /// Opens the store in `dir` to read it, beside the process that writes to it.
    ///
    /// ```
    /// # use bitcask::Bitcask;
    /// # let dir = std::env::temp_dir().join(format!("bitcask-doc-readonly-{}", std::process::id()));
    /// let writer = Bitcask::open(&dir)?;
    /// writer.put(b"k", b"1")?;
    /// let reader = Bitcask::open_read_only(&dir)?; // in another process, as a rule
    /// writer.put(b"k", b"2")?;
    /// assert_eq!(reader.get(b"k")?.unwrap(), "1");
    /// reader.refresh()?;
    /// assert_eq!(reader.get(b"k")?.unwrap(), "2");
    /// # drop(writer);
    /// # std::fs::remove_dir_all(&dir).ok();
    /// # Ok::<(), bitcask::Error>(())
    /// ```
    ///
    /// # Errors
    /// See [`Options::open_read_only`].
    pub fn open_read_only(dir: impl AsRef<Path>) -> Result<ReadOnly> {
        Options::new().open_read_only(dir)
    }

    pub(crate) fn open_with(path: &Path, options: Options) -> Result<Self> {
        let engine = Arc::new(Engine::open(path, options)?);
        let threads = if engine.dir.options.threads { engine.start_threads() } else { Vec::new() };
        Ok(Self(Arc::new(Handle { engine, threads: Mutex::new(threads) })))
    }

    /// The value stored under `key`, if there is one.
    ///
    /// # Errors
    /// `Corrupt` if its record is damaged: never a wrong value. `Io`; `Invalid` once the store is closed.
    pub fn get(&self, key: &[u8]) -> Result<Option<Value>> {
        self.engine()?.get(key)
    }

    /// The values stored under many keys, in their order: faster than one get after another, because
    /// their cache misses overlap.
    ///
    /// # Errors
    /// As [`get`](Self::get), for the first key that has one.
    pub fn get_many<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<Vec<Option<Value>>> {
        self.engine()?.get_many(keys)
    }

    /// Whether a value is stored under `key`. Reads the record's key, not its value.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn contains(&self, key: &[u8]) -> Result<bool> {
        let engine = self.engine()?;
        let dir = &engine.dir;
        dir.contains(key, Moment::NOW)
    }

    /// Stores `value` under `key`, replacing what was there.
    ///
    /// When it returns, the write survives the death of the process; [`Durability`](crate::Durability) says when it survives a
    /// power loss.
    ///
    /// # Errors
    /// `Invalid` if key or value are too long; `Full`: nothing was changed; `Poisoned` after an
    /// earlier failure; `Io`; `Corrupt` if a damaged record may be of this key.
    pub fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.put_until(key, value, NEVER)
    }

    /// Stores `value` under `key`, to expire after a [`Duration`](std::time::Duration) or at a
    /// [`SystemTime`](std::time::SystemTime). From then on the key is gone, as if it had been deleted.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use bitcask::{Bitcask, Expiry};
    /// # let dir = std::env::temp_dir().join(format!("bitcask-doc-ttl-{}", std::process::id()));
    /// # let db = Bitcask::open(&dir)?;
    /// db.put_with(b"session", b"ann", Duration::from_secs(600))?;
    /// assert!(matches!(db.expires_at(b"session")?, Some(Expiry::At(_))));
    /// db.persist(b"session")?;
    /// assert_eq!(db.expires_at(b"session")?, Some(Expiry::Never));
    /// # drop(db);
    /// # std::fs::remove_dir_all(&dir).ok();
    /// # Ok::<(), bitcask::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn put_with(&self, key: &[u8], value: &[u8], expiry: impl Into<Expiry>) -> Result<()> {
        let expires_ms = expiry.into().to_ms(&self.engine()?.dir.time);
        self.put_until(key, value, expires_ms)
    }

    fn put_until(&self, key: &[u8], value: &[u8], expires_ms: u64) -> Result<()> {
        let engine = self.engine()?;
        let change = Change::put(key, value, expires_ms);
        engine.check_limits(&change)?;
        let mut packed = None;
        let change = engine.dir.pack(change, &mut packed);
        engine.commit(&[change], &[engine.dir.hash(key)])?;
        Ok(())
    }

    /// Deletes `key`, and says whether it was there.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn delete(&self, key: &[u8]) -> Result<bool> {
        let engine = self.engine()?;
        let change = Change::Delete { key };
        engine.check_limits(&change)?;
        engine.commit(&[change], &[engine.dir.hash(key)])
    }

    /// Makes all changes of a batch, or none of them.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn write(&self, batch: &WriteBatch) -> Result<()> {
        let engine = self.engine()?;
        let changes = batch.changes(&engine.dir.time);
        engine.check_batch(&changes)?;
        if changes.is_empty() {
            return Ok(());
        }
        let mut packed = Vec::new();
        let changes = engine.dir.pack_all(changes, &mut packed);
        let hashes: Vec<_> = changes.iter().map(|change| engine.dir.hash(change.key())).collect();
        engine.commit(&changes, &hashes)?;
        count(&engine.stats.batches, 1);
        Ok(())
    }

    /// How many keys there are.
    ///
    /// # Errors
    /// `Invalid` once the store is closed.
    pub fn len(&self) -> Result<u64> {
        Ok(self.engine()?.len())
    }

    /// Whether there is no key.
    ///
    /// # Errors
    /// `Invalid` once the store is closed.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// The store as it is now, to be read at leisure while writes go on.
    ///
    /// ```
    /// # use bitcask::Bitcask;
    /// # let dir = std::env::temp_dir().join(format!("bitcask-doc-snapshot-{}", std::process::id()));
    /// # let db = Bitcask::open(&dir)?;
    /// db.put(b"k", b"old")?;
    /// let snapshot = db.snapshot()?;
    /// db.put(b"k", b"new")?;
    /// assert_eq!(snapshot.get(b"k")?.unwrap(), "old");
    /// assert_eq!(db.get(b"k")?.unwrap(), "new");
    /// # drop(snapshot);
    /// # drop(db);
    /// # std::fs::remove_dir_all(&dir).ok();
    /// # Ok::<(), bitcask::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Invalid` once the store is closed.
    pub fn snapshot(&self) -> Result<Snapshot> {
        Ok(self.engine()?.snapshot("snapshot"))
    }

    /// The changes to keys that begin with `prefix`, in order, from the sequence number `from_seq` on: those that were made,
    /// then those that will be made, as they happen.
    ///
    /// To follow everything, read a [snapshot](Self::snapshot) and then watch from `snapshot.seq() + 1` on. Merge takes history
    /// away: a watcher that falls behind, or asks for what is long past, is told so (`Gone`) and has to
    /// begin with a snapshot again. What a watcher sees may not be durable yet.
    ///
    /// ```
    /// # use bitcask::{Bitcask, Changed};
    /// # let dir = std::env::temp_dir().join(format!("bitcask-doc-watch-{}", std::process::id()));
    /// # let db = Bitcask::open(&dir)?;
    /// let mut watch = db.watch(b"user:", db.seq()? + 1)?;
    /// db.put(b"user:1", b"ann")?;
    /// db.put(b"page:1", b"home")?;
    /// db.delete(b"user:1")?;
    /// let event = watch.next().unwrap()?;
    /// assert_eq!(event.key, b"user:1");
    /// assert_eq!(watch.next().unwrap()?.change, Changed::Delete);
    /// assert_eq!(watch.try_next()?, None);
    /// # drop(db);
    /// # std::fs::remove_dir_all(&dir).ok();
    /// # Ok::<(), bitcask::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Gone` if changes from `from_seq` on were merged away; `Io`; `Invalid` once the store is closed.
    pub fn watch(&self, prefix: &[u8], from_seq: u64) -> Result<Watch> {
        Watch::new(self.engine()?.dir.clone(), prefix, from_seq)
    }

    /// The largest sequence number given: changes have them, and marks of the log.
    ///
    /// # Errors
    /// `Invalid` once the store is closed.
    pub fn seq(&self) -> Result<u64> {
        Ok(lock(&self.engine()?.writer).next_seq - 1)
    }

    /// The identity of the store: random, the same in all of its files and in its checkpoints. It is settled with the
    /// first change, and anew once all was deleted and merged away. So whoever has seen it, and the
    /// [`seq`](Self::seq) of then, knows a store that lacks what he saw.
    ///
    /// # Errors
    /// `Invalid` once the store is closed.
    pub fn store_id(&self) -> Result<[u8; 16]> {
        Ok(self.engine()?.dir.store_id)
    }

    /// All keys that are there now, each once, in no order. Runs on a [snapshot](Self::snapshot): what changes
    /// meanwhile does not show. An error ends the iteration.
    pub fn keys(&self) -> Keys {
        Keys(self.iter())
    }

    /// All keys with their values, as they are now, each once, in no order. See [`keys`](Self::keys).
    pub fn iter(&self) -> Iter {
        Iter::new(self.0.engine.snapshot("iterator"))
    }

    /// Keys with their values, in the order of the keys' bytes, as they are now. Needs
    /// [`Index::Ordered`](crate::Index).
    ///
    /// ```
    /// # use bitcask::{Index, Options};
    /// # let dir = std::env::temp_dir().join(format!("bitcask-doc-range-{}", std::process::id()));
    /// let db = Options::new().index(Index::Ordered).open(&dir)?;
    /// for key in ["apple", "banana", "cherry", "date"] {
    ///     db.put(key.as_bytes(), b"")?;
    /// }
    /// let keys: Vec<_> = db.range("b".."d")?.map(|entry| Ok(entry?.0)).collect::<Result<_, bitcask::Error>>()?;
    /// assert_eq!(keys, [b"banana".to_vec(), b"cherry".to_vec()]);
    /// let last = db.range::<str>(..)?.next_back().unwrap()?;
    /// assert_eq!(last.0, b"date");
    /// # drop(db);
    /// # std::fs::remove_dir_all(&dir).ok();
    /// # Ok::<(), bitcask::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Invalid` if the store was opened without an ordered index.
    pub fn range<K: AsRef<[u8]> + ?Sized>(&self, bounds: impl RangeBounds<K>) -> Result<Range> {
        self.engine()?.snapshot("range").range(bounds)
    }

    /// All keys that begin with `prefix`, with their values, as they are now. In order with an ordered index. Without
    /// one they come in no order, and every key of the store is read for it.
    pub fn prefix(&self, prefix: &[u8]) -> Prefix {
        self.0.engine.snapshot("range").prefix(prefix)
    }

    /// At most `limit` keys that begin with `prefix`, with their values, and where to go on. A key that is there all the time
    /// is met exactly once; one that comes or goes between two pages may be met or not. Without an ordered index the order
    /// is that of hashes, and a prefix saves no work.
    ///
    /// ```
    /// # let dir = std::env::temp_dir().join(format!("bitcask-doc-scan-{}", std::process::id()));
    /// # let db = bitcask::Bitcask::open(&dir)?;
    /// let mut cursor = None;
    /// loop {
    ///     let page = db.scan(b"user:", cursor.as_ref(), 100)?;
    ///     // page.entries
    ///     cursor = page.next;
    ///     if cursor.is_none() {
    ///         break;
    ///     }
    /// }
    /// # drop(db);
    /// # std::fs::remove_dir_all(&dir).ok();
    /// # Ok::<(), bitcask::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Invalid` if it is no cursor, or one of an ordered scan and there is no ordered index; as [`get`](Self::get).
    pub fn scan(&self, prefix: &[u8], from: Option<&Cursor>, limit: usize) -> Result<Page> {
        self.engine()?.snapshot("scan").scan(prefix, from, limit)
    }

    /// The first key in order, with its value.
    ///
    /// # Errors
    /// As [`range`](Self::range) and [`get`](Self::get).
    pub fn first(&self) -> Result<Option<(Vec<u8>, Value)>> {
        self.range::<[u8]>(..)?.next().transpose()
    }

    /// The last key in order, with its value.
    ///
    /// # Errors
    /// As [`range`](Self::range) and [`get`](Self::get).
    pub fn last(&self) -> Result<Option<(Vec<u8>, Value)>> {
        self.range::<[u8]>(..)?.next_back().transpose()
    }

    /// Folds all keys and values into one, in no order.
    ///
    /// ```
    /// # use bitcask::Bitcask;
    /// # let dir = std::env::temp_dir().join(format!("bitcask-doc-fold-{}", std::process::id()));
    /// # let db = Bitcask::open(&dir)?;
    /// db.put(b"a", b"xyz")?;
    /// let bytes = db.fold(0, |sum, key, value| sum + key.len() + value.len())?;
    /// assert_eq!(bytes, 4);
    /// # drop(db);
    /// # std::fs::remove_dir_all(&dir).ok();
    /// # Ok::<(), bitcask::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn fold<T>(&self, init: T, mut f: impl FnMut(T, &[u8], &[u8]) -> T) -> Result<T> {
        let mut folded = init;
        for entry in self.iter() {
            let (key, value) = entry?;
            folded = f(folded, &key, &value);
        }
        Ok(folded)
    }

    /// Returns when everything written so far would survive a power loss.
    ///
    /// # Errors
    /// `Poisoned` or `Io`: what was not durable before may never be.
    pub fn sync(&self) -> Result<()> {
        let engine = self.engine()?;
        engine.sync_all()
    }

    /// Gives back the space of dead records, in all files where there are any, the active one included. Puts and
    /// gets go on meanwhile.
    ///
    /// # Errors
    /// `Full` if there is no space for one merged file; `Corrupt` if a file is damaged (it is left as
    /// it is); `Poisoned`; `Io`.
    pub fn merge(&self) -> Result<MergeReport> {
        self.merge_with(|_| ControlFlow::Continue(()))
    }

    /// As [`merge`](Self::merge), and tells how far it is, after each MiB or so. `Break` stops it; what is done
    /// is done. The callback must not merge or close the store itself: it would wait for this merge.
    ///
    /// # Errors
    /// As [`merge`](Self::merge).
    pub fn merge_with(
        &self,
        mut progress: impl FnMut(&MergeProgress) -> ControlFlow<()>,
    ) -> Result<MergeReport> {
        self.engine()?.merge_everything(&mut progress)
    }

    /// Makes the directory `target` a backup of the store as it is now, which can be opened at once as a store of its own.
    /// Puts and gets go on meanwhile; merges wait.
    ///
    /// On the file system of the store this takes hardly any time or space: all but the end of the log are hard links.
    /// (The bytes are then on the disk once. Against the loss of the disk, make the checkpoint on another.) On another
    /// file system files are copied, those that an earlier checkpoint in the same place has excepted.
    ///
    /// The target is replaced in one step: whatever happens, it is a whole checkpoint, the old one or the new. It is built
    /// beside it, in `.NAME.checkpoint`, and if there was one before, there must be space for both. Changes that somebody
    /// made in the old one are gone with it.
    ///
    /// ```
    /// # use bitcask::Bitcask;
    /// # let dir = std::env::temp_dir().join(format!("bitcask-doc-checkpoint-{}", std::process::id()));
    /// # let (dir, backup) = (dir.join("store"), dir.join("backup"));
    /// let db = Bitcask::open(&dir)?;
    /// db.put(b"a", b"old")?;
    /// db.checkpoint(&backup)?;
    /// db.put(b"a", b"new")?;
    ///
    /// let copy = Bitcask::open(&backup)?;
    /// assert_eq!(copy.get(b"a")?.unwrap(), "old");
    /// copy.close()?;
    /// db.checkpoint(&backup)?;
    /// assert_eq!(Bitcask::open(&backup)?.get(b"a")?.unwrap(), "new");
    /// # drop(db);
    /// # std::fs::remove_dir_all(dir.parent().unwrap()).ok();
    /// # Ok::<(), bitcask::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Invalid` if the target is this store, in it or around it, holds anything but a checkpoint of this store, or is a mount
    /// point; `Locked` if it is open; `Full`; `Poisoned`; `Io`; `Corrupt` if a file that must be copied is too short. The
    /// target is then as it was before; only after an `Io` while its new name is made durable, it may be either.
    pub fn checkpoint(&self, target: impl AsRef<Path>) -> Result<CheckpointReport> {
        self.checkpoint_with(target, |_| ControlFlow::Continue(()))
    }

    /// As [`checkpoint`](Self::checkpoint), and tells how far it is, after each file and each MiB copied. `Break` stops it and
    /// leaves the target as it was. The callback must not merge, make a checkpoint or close the store itself: it
    /// would wait for this one.
    ///
    /// # Errors
    /// As [`checkpoint`](Self::checkpoint).
    pub fn checkpoint_with(
        &self,
        target: impl AsRef<Path>,
        mut progress: impl FnMut(&CheckpointProgress) -> ControlFlow<()>,
    ) -> Result<CheckpointReport> {
        self.engine()?.checkpoint(target.as_ref(), &mut progress)
    }

    /// Stops merges, background and explicit, until [`resume_merge`](Self::resume_merge). A merge that is running
    /// waits.
    pub fn pause_merge(&self) {
        self.0.engine.keeper.pause();
    }

    /// Lets merges go on.
    pub fn resume_merge(&self) {
        self.0.engine.keeper.resume();
    }

    /// Reads every record and every hint from the disk, and checks them. Reads, writes and merges go on
    /// meanwhile, and nothing is changed.
    ///
    /// Damage is no error: it is in the report, all of it. What to do about it: restore a backup, or close the store and
    /// [`repair`](crate::repair) it.
    ///
    /// ```
    /// # use bitcask::Bitcask;
    /// # let dir = std::env::temp_dir().join(format!("bitcask-doc-verify-{}", std::process::id()));
    /// # let db = Bitcask::open(&dir)?;
    /// db.put(b"key", b"value")?;
    /// let report = db.verify()?;
    /// assert!(report.is_clean());
    /// for damage in &report.damage {
    ///     println!("{} at {}: {}", damage.path.display(), damage.from, damage.what);
    /// }
    /// # drop(db);
    /// # std::fs::remove_dir_all(&dir).ok();
    /// # Ok::<(), bitcask::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Io`, if a file cannot be opened, or the disk fails otherwise than by not giving some bytes (which
    /// is damage); `Invalid` once the store is closed.
    pub fn verify(&self) -> Result<VerifyReport> {
        self.verify_with(&VerifyOptions::new(), |_| ControlFlow::Continue(()))
    }

    /// As [`verify`](Self::verify), not faster than asked for, and tells how far it is, at least once a mebibyte. `Break`
    /// stops it, as does closing the store; the report then tells of what was read.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub fn verify_with(
        &self,
        options: &VerifyOptions,
        mut progress: impl FnMut(&VerifyProgress) -> ControlFlow<()>,
    ) -> Result<VerifyReport> {
        self.engine()?.verify(options, &mut progress)
    }

    /// Sizes, counters and latencies.
    ///
    /// # Errors
    /// `Invalid` once the store is closed.
    pub fn stats(&self) -> Result<Stats> {
        Ok(self.engine()?.stats())
    }

    /// What opening the store found.
    pub fn recovery(&self) -> &Recovery {
        &self.0.engine.recovery
    }

    /// Makes everything durable and lets other processes open the store. Called again, it does nothing.
    ///
    /// # Errors
    /// What kept something from becoming durable. The store is closed all the same.
    pub fn close(&self) -> Result<()> {
        self.0.close()
    }

    /// Does once what background threads would do.
    ///
    /// # Errors
    /// The first thing that failed.
    #[cfg(feature = "testing")]
    pub fn tick(&self) -> Result<()> {
        let engine = self.engine()?;
        engine.drop_expired()?;
        engine.note_time()?;
        engine.sync_all()?;
        engine.seal_finished();
        engine.merge_if_worthwhile().map(|_| ())
    }

    pub(crate) fn engine(&self) -> Result<&Arc<Engine>> {
        self.0.engine.check_open()?;
        Ok(&self.0.engine)
    }
}

impl fmt::Debug for Bitcask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bitcask").field("dir", &self.0.engine.dir.path).finish_non_exhaustive()
    }
}

impl Handle {
    fn close(&self) -> Result<()> {
        self.engine.keeper.stop();
        for thread in lock(&self.threads).drain(..) {
            if thread.join().is_err() {
                tracing::error!("a background thread panicked");
            }
        }
        self.engine.close()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Err(e) = self.close() {
            tracing::error!(error = ?e, "closing the store failed");
        }
    }
}
