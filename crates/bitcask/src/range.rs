//! Ranges of keys in order, where the store was opened with [`Index::Ordered`](crate::Index).
//!
//! The index (`ordered.rs`) stands beside the keydir and only knows which keys exist; a range takes some keys from it at
//! a time and reads them as a get does. A snapshot also needs keys that were deleted since: these *ghosts* are kept
//! beside the index while a snapshot may see them.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::ordered::{KeyIndex, KeyList, Order};
use crate::read::GETS_AT_ONCE;
use crate::snapshot::Snapshot;
use crate::sync::{RwLock, read, write};
use crate::value::Value;

/// Keys taken from the index at a time: at first, and at most.
const KEYS_MIN: usize = GETS_AT_ONCE;
const KEYS_MAX: usize = 512;
/// Bytes of values after which no more are read at a time.
const BYTES_MAX: usize = 1 << 20;

/// The bounds of a range, owned.
pub type Bounds = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// The keys of a store in order.
#[derive(Debug, Default)]
pub(crate) struct OrderedKeys(RwLock<State>);

#[derive(Debug, Default)]
struct State {
    index: KeyIndex,
    /// Keys that were taken out of the index while there was a snapshot, with the sequence number of their end.
    ghosts: BTreeMap<Vec<u8>, u64>,
}

impl OrderedKeys {
    pub(crate) fn insert(&self, key: &[u8]) {
        write(&self.0).index.insert(key);
    }

    /// Takes out a key that ends with sequence number `died`, and keeps it as a ghost if there are snapshots.
    pub(crate) fn remove(&self, key: &[u8], died: u64, snapshots: bool) {
        let mut state = write(&self.0);
        state.index.remove(key);
        if snapshots {
            state.ghosts.insert(key.to_vec(), died);
        }
    }

    /// Forgets what no snapshot can see any more, of which the oldest is at `oldest`.
    pub(crate) fn forget_ghosts(&self, oldest: Option<u64>) {
        if !read(&self.0).ghosts.is_empty() {
            let is_seen = |died: u64| oldest.is_some_and(|oldest| oldest < died);
            write(&self.0).ghosts.retain(|_, died| is_seen(*died));
        }
    }

    pub(crate) fn memory(&self) -> u64 {
        read(&self.0).index.memory()
    }

    /// Adds up to `limit` keys within the bounds to `keys`: the lowest, or the highest if descending.
    fn collect(&self, bounds: &Bounds, order: Order, limit: usize, keys: &mut Vec<Vec<u8>>) {
        let mut list = KeyList::new();
        let state = read(&self.0);
        let borrowed = (as_slice(&bounds.0), as_slice(&bounds.1));
        state.index.collect(borrowed, order, limit, &mut list);
        keys.extend(list.iter().map(<[u8]>::to_vec));
        if state.ghosts.is_empty() || is_empty(bounds) {
            return;
        }
        let ghosts = state.ghosts.range::<[u8], _>(borrowed);
        match order {
            Order::Ascending => {
                keys.extend(ghosts.take(limit).map(|(key, _)| key.clone()));
                keys.sort_unstable();
            }
            Order::Descending => {
                keys.extend(ghosts.rev().take(limit).map(|(key, _)| key.clone()));
                keys.sort_unstable_by(|a, b| b.cmp(a));
            }
        }
        keys.dedup();
        keys.truncate(limit);
    }
}

impl Directory {
    /// Fills the index, if there is to be one, with the keys of the keydir.
    pub(crate) fn fill_index(&self) -> Result<()> {
        let Some(ordered) = &self.ordered else { return Ok(()) };
        let shards = 0..self.keydir.shard_count();
        let mut places: Vec<_> =
            shards.flat_map(|shard| self.keydir.places(shard, u64::MAX)).collect();
        // In the order of files, so that they are read from front to back.
        places.sort_unstable();
        let (table, mut scratch, mut keys) = (self.files.guard(), Vec::new(), KeyList::new());
        for place in places {
            let record = table.file(place).record_unchecked(place, &mut scratch)?;
            if self.keydir.holds(self.hash(record.key), place) {
                keys.push(record.key);
                continue;
            }
            // Not the key that the keydir has there: the checksum says how it is damaged.
            let record = table.file(place).record(place, &mut scratch)?;
            let what = "the keydir has another key at the place of this one";
            return Err(Error::corrupt(what, &table.file(place).path, 0).of_key(record.key));
        }
        let mut order: Vec<_> = (0..keys.len()).collect();
        order.sort_unstable_by_key(|&at| keys.get(at));
        write(&ordered.0).index =
            KeyIndex::from_sorted(order.iter().filter_map(|&at| keys.get(at)));
        Ok(())
    }

    /// Calls `each` with the keys within the bounds, in order, among them some that are not there any more.
    pub(crate) fn each_key_within(
        &self,
        mut bounds: Bounds,
        mut each: impl FnMut(Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        let ordered = self.ordered()?;
        let (mut limit, mut keys) = (KEYS_MIN, Vec::new());
        while !is_empty(&bounds) {
            ordered.collect(&bounds, Order::Ascending, limit, &mut keys);
            let Some(last) = keys.last() else { break };
            bounds.0 = Bound::Excluded(last.clone());
            keys.drain(..).try_for_each(&mut each)?;
            limit = (limit * 2).min(KEYS_MAX);
        }
        Ok(())
    }

    fn ordered(&self) -> Result<&OrderedKeys> {
        self.ordered.as_ref().ok_or_else(|| {
            let what =
                "the keys are not in order: open the store with `Options::index(Index::Ordered)`";
            Error::invalid(what).at(&self.path)
        })
    }
}

/// Keys and values in order, see [`Bitcask::range`](crate::Bitcask::range).
///
/// Runs in both directions; `rev()` begins at the end.
#[derive(Debug)]
pub struct Range {
    snapshot: Snapshot,
    /// What was not yet taken from the index.
    left: Bounds,
    /// Taken from the front, and from the back, in the order of keys.
    front: VecDeque<(Vec<u8>, Value)>,
    back: VecDeque<(Vec<u8>, Value)>,
    limit: usize,
    /// What reading on from one end met, until all before it is given there.
    error: Option<(Order, Error)>,
}

impl Range {
    pub(crate) fn new(snapshot: Snapshot, bounds: Bounds) -> Result<Self> {
        snapshot.dir().ordered()?;
        let (front, back) = (VecDeque::new(), VecDeque::new());
        Ok(Self { snapshot, left: bounds, front, back, limit: KEYS_MIN, error: None })
    }

    /// Skips to the first key that is not below `key`. Never goes back.
    pub fn seek(&mut self, key: &[u8]) {
        while self.front.front().is_some_and(|(first, _)| first.as_slice() < key) {
            self.front.pop_front();
        }
        if !self.front.is_empty() {
            return;
        }
        // If that is still ahead, it is met again.
        self.error.take_if(|(end, _)| *end == Order::Ascending);
        while self.back.front().is_some_and(|(first, _)| first.as_slice() < key) {
            self.back.pop_front();
        }
        let is_behind = match &self.left.0 {
            Bound::Included(from) | Bound::Excluded(from) => from.as_slice() >= key,
            Bound::Unbounded => false,
        };
        if !is_behind {
            self.left.0 = Bound::Included(key.to_vec());
        }
    }

    /// Reads the next few keys from one end. What came before an error counts as read.
    fn fetch(&mut self, order: Order) -> Result<()> {
        let dir = self.snapshot.dir();
        dir.check_open()?;
        let mut keys = Vec::new();
        dir.ordered()?.collect(&self.left, order, self.limit, &mut keys);
        if keys.is_empty() {
            self.left = nothing();
        }
        self.limit = (self.limit * 2).min(KEYS_MAX);
        let mut bytes = BYTES_MAX;
        let mut keys = keys.into_iter().peekable();
        while keys.peek().is_some() {
            let keys: Vec<_> = keys.by_ref().take(GETS_AT_ONCE).collect();
            let mut values = Vec::new();
            let read = dir.get_at_once(&keys, self.snapshot.moment(), bytes, &mut values);
            let last = values.len().checked_sub(1).and_then(|last| keys.get(last)).cloned();
            match (order, last) {
                (_, None) => {}
                (Order::Ascending, Some(last)) => self.left.0 = Bound::Excluded(last),
                (Order::Descending, Some(last)) => self.left.1 = Bound::Excluded(last),
            }
            for (key, value) in keys.into_iter().zip(values) {
                let Some(value) = value else { continue };
                bytes = bytes.saturating_sub(value.len());
                match order {
                    Order::Ascending => self.front.push_back((key, value)),
                    Order::Descending => self.back.push_front((key, value)),
                }
            }
            read?;
            if bytes == 0 {
                self.limit = KEYS_MIN;
                break;
            }
        }
        Ok(())
    }

    fn next_from(&mut self, order: Order) -> Option<Result<(Vec<u8>, Value)>> {
        loop {
            let entry = match order {
                Order::Ascending => self.front.pop_front(),
                Order::Descending => self.back.pop_back(),
            };
            if let Some(entry) = entry {
                return Some(Ok(entry));
            }
            if let Some((_, e)) = self.error.take_if(|(end, _)| *end == order) {
                // The end.
                self.left = nothing();
                self.front.clear();
                self.back.clear();
                return Some(Err(e));
            }
            if is_empty(&self.left) {
                // What was taken from the other end.
                return match order {
                    Order::Ascending => self.back.pop_front(),
                    Order::Descending => self.front.pop_back(),
                }
                .map(Ok);
            }
            if let Err(e) = self.fetch(order) {
                self.error = Some((order, e));
            }
        }
    }
}

impl Iterator for Range {
    type Item = Result<(Vec<u8>, Value)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_from(Order::Ascending)
    }
}

impl DoubleEndedIterator for Range {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.next_from(Order::Descending)
    }
}

/// Bounds within which no key lies.
fn nothing() -> Bounds {
    (Bound::Excluded(Vec::new()), Bound::Excluded(Vec::new()))
}

/// The bounds of all keys that begin with `prefix`: for a [`range`](crate::Bitcask::range) that runs backwards, or has
/// other ends besides.
///
/// ```
/// # use bitcask::{Index, Options, prefix_bounds};
/// # let dir = std::env::temp_dir().join(format!("bitcask-doc-prefix-{}", std::process::id()));
/// let db = Options::new().index(Index::Ordered).open(&dir)?;
/// for key in ["user:1", "user:2", "visit:1"] {
///     db.put(key.as_bytes(), b"")?;
/// }
/// let mut users = db.range(prefix_bounds(b"user:"))?;
/// assert_eq!(users.next_back().unwrap()?.0, b"user:2");
/// # drop(db);
/// # std::fs::remove_dir_all(&dir).ok();
/// # Ok::<(), bitcask::Error>(())
/// ```
pub fn prefix_bounds(prefix: &[u8]) -> Bounds {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return (Bound::Included(prefix.to_vec()), Bound::Excluded(end));
        }
    }
    (Bound::Included(prefix.to_vec()), Bound::Unbounded)
}

/// The bounds, owned.
pub(crate) fn owned<K: AsRef<[u8]> + ?Sized>(bounds: &impl std::ops::RangeBounds<K>) -> Bounds {
    let own = |bound: Bound<&K>| bound.map(|key| key.as_ref().to_vec());
    (own(bounds.start_bound()), own(bounds.end_bound()))
}

fn as_slice(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    bound.as_ref().map(Vec::as_slice)
}

/// Whether no key can lie within: a map would panic if asked.
pub(crate) fn is_empty((from, to): &Bounds) -> bool {
    match (from, to) {
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (
            Bound::Included(from) | Bound::Excluded(from),
            Bound::Included(to) | Bound::Excluded(to),
        ) => from >= to,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Index, Options};

    #[test]
    fn big_values_are_not_read_far_ahead() {
        let dir = std::env::temp_dir().join(format!("bitcask-range-{}", std::process::id()));
        let db = Options::new().index(Index::Ordered).open(&dir).unwrap();
        let value = vec![1; BYTES_MAX / 4];
        (0..100u8).for_each(|n| db.put(&[n], &value).unwrap());
        for order in [Order::Ascending, Order::Descending] {
            let mut range = db.range::<[u8]>(..).unwrap();
            for count in 1..=100 {
                assert_eq!(range.next_from(order).unwrap().unwrap().1.len(), value.len());
                let held = range.front.len() + range.back.len();
                assert!(held < 4, "{held} after {count}");
            }
            assert!(range.next_from(order).is_none());
        }
        db.close().unwrap();
        crate::destroy(&dir).unwrap();
    }
}
