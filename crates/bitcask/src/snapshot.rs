//! Snapshots: the store as it was at one sequence number.
//!
//! A snapshot is a number, [`Moment`]. Nothing is copied when it is taken. While it lives, a change that takes a
//! record out of the keydir leaves the record's place beside it, if the newest snapshot sees the record
//! ([`Snapshots::keep`]). So a snapshot costs memory only for what changes, once for each key; and merge moves what
//! is kept as it moves everything else, so no file is held back.
//!
//! What is kept is listed with the newest snapshot that sees it. When that one ends, what the next older one
//! sees, too, is handed down to it; the rest is let go. So the work of ending a snapshot is no more than was done while it
//! lived.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeBounds;
use std::sync::Arc;
use std::thread::Thread;

use crate::directory::{Directory, Found};
use crate::error::Result;
use crate::expiry::Expiry;
use crate::iter::{Iter, Keys};
use crate::keydir::{Keydir, Lifetime};
use crate::page::{Cursor, Page, Prefix};
use crate::range::{OrderedKeys, Range, owned};
use crate::read::Moment;
use crate::stats::SnapshotStats;
use crate::stream::ValueReader;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, lock};
use crate::value::Value;

/// The snapshots of a store that live.
#[derive(Debug, Default)]
pub(crate) struct Snapshots {
    /// The largest sequence number that one of them sees, or 0.
    newest: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next_id: u64,
    /// By sequence number and id.
    living: BTreeMap<(u64, u64), Living>,
}

#[derive(Debug)]
struct Living {
    holder: Holder,
    kept: Vec<KeptRecord>,
}

/// Who holds a snapshot, for `stats`.
#[derive(Debug)]
struct Holder {
    what: &'static str,
    thread: Thread,
    since_ms: u64,
}

/// A record that is kept, by what the keydir knows it by.
#[derive(Debug)]
struct KeptRecord {
    hash: u64,
    born: u64,
    bytes: u64,
}

impl Snapshots {
    /// Whether there may be any; if not, nothing is kept.
    pub(crate) fn any(&self) -> bool {
        self.newest.load(Ordering::Acquire) > 0
    }

    /// Takes the record at `found` out of the keydir, by `take_out`, which is told whether a snapshot sees it. The
    /// writer is locked: no snapshot comes meanwhile.
    pub(crate) fn keep(
        &self,
        hash: u64,
        found: Found,
        died: u64,
        take_out: impl FnOnce(Option<Lifetime>) -> bool,
    ) -> bool {
        if found.seq > self.newest.load(Ordering::Relaxed) {
            return take_out(None);
        }
        // Held until the keydir has it, or the snapshot could end in between and nobody would let go of it.
        let mut state = lock(&self.state);
        let newest = state.living.last_entry().filter(|living| living.key().0 >= found.seq);
        let Some(mut newest) = newest else { return take_out(None) };
        let taken = take_out(Some(Lifetime { born: found.seq, died }));
        if taken {
            newest.get_mut().kept.push(KeptRecord { hash, born: found.seq, bytes: found.len });
        }
        taken
    }

    /// Begins a snapshot. The writer is locked: `seq` is the largest number there is.
    fn begin(&self, seq: u64, holder: Holder) -> u64 {
        let mut state = lock(&self.state);
        state.next_id += 1;
        let id = state.next_id;
        state.living.insert((seq, id), Living { holder, kept: Vec::new() });
        self.newest.fetch_max(seq, Ordering::Release);
        id
    }

    /// Ends a snapshot, and lets go of what only it saw.
    fn end(&self, seq: u64, id: u64, keydir: &Keydir, ordered: Option<&OrderedKeys>) {
        // Held to the end: the next snapshot comes after, and what is kept for it stays.
        let mut state = lock(&self.state);
        let Some(ended) = state.living.remove(&(seq, id)) else { return };
        let mut older = state.living.range_mut(..(seq, id)).next_back();
        for record in ended.kept {
            match &mut older {
                Some((key, older)) if key.0 >= record.born => older.kept.push(record),
                _ => keydir.forget(record.hash, record.born),
            }
        }
        // Last: who finds that there is no snapshot may count on it that nothing is kept (`merge.rs` does).
        let newest = state.living.last_key_value().map_or(0, |(&(seq, _), _)| seq);
        self.newest.store(newest, Ordering::Release);
        let oldest = state.living.first_key_value().map(|(&(oldest, _), _)| oldest);
        if let Some(ordered) = ordered.filter(|_| oldest.is_none_or(|oldest| oldest > seq)) {
            ordered.forget_ghosts(oldest);
        }
    }

    /// Bytes of all records that are kept.
    pub(crate) fn kept_bytes(&self) -> u64 {
        let state = lock(&self.state);
        state.living.values().flat_map(|living| &living.kept).map(|record| record.bytes).sum()
    }

    pub(crate) fn stats(&self) -> Vec<SnapshotStats> {
        let state = lock(&self.state);
        let stats = state.living.iter().map(|(&(seq, _), living)| SnapshotStats {
            seq,
            holder: living.holder.what.to_owned(),
            thread: living.holder.thread.name().unwrap_or_default().to_owned(),
            since_ms: living.holder.since_ms,
            kept_records: living.kept.len() as u64,
            kept_bytes: living.kept.iter().map(|record| record.bytes).sum(),
        });
        stats.collect()
    }
}

/// The store as it was at one moment, see [`Bitcask::snapshot`](crate::Bitcask::snapshot).
///
/// Cheap to clone; it ends when the last clone, and the last iterator over it, is dropped. What had not expired at
/// its moment does not expire within it.
#[derive(Clone)]
pub struct Snapshot(Arc<Held>);

struct Held {
    dir: Arc<Directory>,
    moment: Moment,
    id: u64,
    len: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        let Directory { snapshots, keydir, ordered, .. } = &*self.dir;
        snapshots.end(self.moment.seq, self.id, keydir, ordered.as_ref());
    }
}

impl Snapshot {
    /// A snapshot at `seq`, the largest sequence number of a change that is in the keydir. No change is under way.
    pub(crate) fn take(dir: &Arc<Directory>, seq: u64, what: &'static str) -> Self {
        let time_ms = dir.time.now_ms();
        let holder = Holder { what, thread: std::thread::current(), since_ms: time_ms };
        let len = dir.len(time_ms);
        let id = dir.snapshots.begin(seq, holder);
        let moment = Moment { seq, time_ms: Some(time_ms) };
        Self(Arc::new(Held { dir: dir.clone(), moment, id, len }))
    }

    pub(crate) fn dir(&self) -> &Directory {
        &self.0.dir
    }

    pub(crate) fn moment(&self) -> Moment {
        self.0.moment
    }

    /// The value that was stored under `key`, if there was one.
    ///
    /// # Errors
    /// As [`Bitcask::get`](crate::Bitcask::get).
    pub fn get(&self, key: &[u8]) -> Result<Option<Value>> {
        let dir = self.dir();
        dir.check_open()?;
        dir.get(key, self.moment())
    }

    /// The values that were stored under many keys, in their order.
    ///
    /// # Errors
    /// As [`Bitcask::get`](crate::Bitcask::get).
    pub fn get_many<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<Vec<Option<Value>>> {
        self.dir().check_open()?;
        self.dir().get_many(keys, self.moment())
    }

    /// Whether a value was stored under `key`.
    ///
    /// # Errors
    /// As [`Bitcask::get`](crate::Bitcask::get).
    pub fn contains(&self, key: &[u8]) -> Result<bool> {
        let dir = self.dir();
        dir.check_open()?;
        dir.contains(key, self.moment())
    }

    /// When `key` expires; none if it was not there.
    ///
    /// # Errors
    /// As [`Bitcask::get`](crate::Bitcask::get).
    pub fn expires_at(&self, key: &[u8]) -> Result<Option<Expiry>> {
        self.dir().check_open()?;
        self.dir().expires_at(key, self.moment())
    }

    /// Reads the value that was stored under `key`, as [`Bitcask::get_reader`](crate::Bitcask::get_reader).
    ///
    /// # Errors
    /// As [`Bitcask::get`](crate::Bitcask::get).
    pub fn get_reader(&self, key: &[u8]) -> Result<Option<ValueReader>> {
        self.dir().check_open()?;
        self.dir().reader(key, self.moment())
    }

    /// How many keys there were.
    pub fn len(&self) -> u64 {
        self.0.len
    }

    /// Whether there was none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The sequence number of the last change that it sees.
    pub fn seq(&self) -> u64 {
        self.moment().seq
    }

    /// All keys with their values, each once, in no order.
    pub fn iter(&self) -> Iter {
        Iter::new(self.clone())
    }

    /// All keys, each once, in no order.
    pub fn keys(&self) -> Keys {
        Keys(self.iter())
    }

    /// Keys with their values, in order, as [`Bitcask::range`](crate::Bitcask::range).
    ///
    /// # Errors
    /// `Invalid` without an ordered index.
    pub fn range<K: AsRef<[u8]> + ?Sized>(&self, bounds: impl RangeBounds<K>) -> Result<Range> {
        Range::new(self.clone(), owned(&bounds))
    }

    /// The first key, as [`Bitcask::first`](crate::Bitcask::first).
    ///
    /// # Errors
    /// `Invalid` without an ordered index; as [`get`](Self::get).
    pub fn first(&self) -> Result<Option<(Vec<u8>, Value)>> {
        self.range::<[u8]>(..)?.next().transpose()
    }

    /// The last key, as [`Bitcask::last`](crate::Bitcask::last).
    ///
    /// # Errors
    /// `Invalid` without an ordered index; as [`get`](Self::get).
    pub fn last(&self) -> Result<Option<(Vec<u8>, Value)>> {
        self.range::<[u8]>(..)?.next_back().transpose()
    }

    /// All keys that begin with `prefix`, as [`Bitcask::prefix`](crate::Bitcask::prefix).
    pub fn prefix(&self, prefix: &[u8]) -> Prefix {
        Prefix::new(self.clone(), prefix)
    }

    /// A part of all keys, as [`Bitcask::scan`](crate::Bitcask::scan).
    ///
    /// # Errors
    /// `Invalid` if the cursor is none; as [`get`](Self::get).
    pub fn scan(&self, prefix: &[u8], from: Option<&Cursor>, limit: usize) -> Result<Page> {
        Page::read(self.clone(), prefix, from, limit)
    }
}

impl IntoIterator for &Snapshot {
    type Item = Result<(Vec<u8>, Value)>;
    type IntoIter = Iter;

    fn into_iter(self) -> Iter {
        self.iter()
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("seq", &self.seq()).finish_non_exhaustive()
    }
}
