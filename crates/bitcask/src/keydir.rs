//! The keydir: which place holds the newest record of each key.
//!
//! It does not hold keys. An entry is eight bytes: 22 bits of the key's hash, the *tag*, and the 42 bits of a
//! [`Place`]. A lookup gives *candidates*, almost always none or one, and the caller confirms them against the
//! records. So memory is the same whatever the length of the keys.
//!
//! The first 12 bits of the hash choose one of 4096 shards, each a small open-addressing table behind its own
//! lock. The tag alone says where in its shard an entry wants to be, so a shard grows, by a third, without a
//! look at any record, and no step moves more than one shard:
//!
//! ```text
//!   hash   |  12: shard  |   22: tag   |  30: unused here (hint files keep all 64)  |
//!   entry  |  22: tag  |  42: place  |        0 is an empty slot, no place is 0
//!   home   =  tag * slots / 2^22, then on to the next free slot
//! ```
//!
//! At a load between 0.63 and 0.85 an entry takes 9.4 to 12.7 bytes.
//!
//! One writer inserts and removes; merge only relocates, by compare-and-swap on the exact place; anyone reads.
//! No lock is held while a record is read.
//!
//! Beside its table a shard keeps, while there are snapshots, the places of old records that a snapshot still sees
//! (`snapshot.rs` says which). An entry moves there in the same step in which it leaves the table.

use std::collections::BTreeMap;

use crate::fs::prefetch_address;
use crate::place::{PLACE_BITS, Place};
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::sync::{RwLock, read, write};

const SHARD_BITS: u32 = 12;
const TAG_BITS: u32 = 64 - PLACE_BITS;
/// Entries for each 100 slots at which a shard grows, and to which it is resized.
const LOAD_PERCENT_MAX: usize = 85;
const LOAD_PERCENT_TARGET: usize = 63;
/// Entries for each 100 slots below which a shard shrinks.
const LOAD_PERCENT_MIN: usize = 40;
const SLOTS_MIN: usize = 8;

/// Key hash to place, for every live key.
#[derive(Debug)]
pub(crate) struct Keydir {
    shards: Box<[ShardCell]>,
    shard_bits: u32,
    /// Entries in all tables, and bytes of them.
    count: AtomicU64,
    table_bytes: AtomicUsize,
}

/// The sequence numbers between which a record was the newest of its key: its own, and that of what came after it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lifetime {
    pub(crate) born: u64,
    pub(crate) died: u64,
}

/// What [`Keydir::relocate`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relocated {
    /// The newest record of its key.
    Live,
    /// An old record, kept for a snapshot.
    Kept,
    /// Nobody needs the record any more.
    Gone,
}

/// A shard behind its lock, on a cache line of its own. Beside it, for who only wants to prefetch and takes no lock,
/// where its table is and how long: both may be out of date.
#[derive(Debug, Default)]
#[repr(align(64))]
struct ShardCell {
    shard: RwLock<Shard>,
    table_address: AtomicUsize,
    table_len: AtomicUsize,
}

/// Places that may hold the newest record of a key.
#[derive(Debug, Default)]
pub(crate) struct Candidates {
    first: Option<Place>,
    /// Of other keys with the same tag: rare.
    more: Vec<Place>,
}

impl Candidates {
    fn push(&mut self, place: Place) {
        match self.first {
            None => self.first = Some(place),
            Some(_) => self.more.push(place),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Place> + '_ {
        self.first.into_iter().chain(self.more.iter().copied())
    }
}

impl Keydir {
    pub(crate) fn new() -> Self {
        Self::with_shard_bits(SHARD_BITS)
    }

    /// With 2^`shard_bits` shards; small tests want few.
    pub(crate) fn with_shard_bits(shard_bits: u32) -> Self {
        let shards = (0..1_usize << shard_bits).map(|_| ShardCell::default()).collect();
        Self { shards, shard_bits, count: AtomicU64::new(0), table_bytes: AtomicUsize::new(0) }
    }

    /// Where the key with this hash may be.
    pub(crate) fn candidates(&self, hash: u64) -> Candidates {
        let mut candidates = Candidates::default();
        let tag = self.tag(hash);
        read(&self.shard(hash).shard).each_with_tag(tag, |_, place| candidates.push(place));
        candidates
    }

    /// Where the record is, or the few records are, that a key with this hash may have had at `seq` and has no more.
    pub(crate) fn kept(&self, hash: u64, seq: u64) -> Vec<Place> {
        let shard = read(&self.shard(hash).shard);
        let Some(kept) = &shard.kept else { return Vec::new() };
        let of_hash = kept.range((hash, 0)..=(hash, seq));
        of_hash.filter(|(_, kept)| seq < kept.died).map(|(_, kept)| kept.place).collect()
    }

    /// Whether the record at this very place is live, or kept for a snapshot.
    pub(crate) fn holds(&self, hash: u64, place: Place) -> bool {
        let shard = read(&self.shard(hash).shard);
        shard.find(self.tag(hash), place).is_some() || shard.find_kept(hash, place).is_some()
    }

    /// Adds an entry for a key that has none.
    pub(crate) fn insert(&self, hash: u64, place: Place) {
        self.change(self.shard(hash), |shard| shard.insert(self.tag(hash), place));
        self.add_to_count(1);
    }

    /// Moves an entry from `old` to `new` if it is at `old`, and says whether it was. Keeps the old place for snapshots
    /// if `keep` says so.
    pub(crate) fn replace(
        &self,
        hash: u64,
        old: Place,
        new: Place,
        keep: Option<Lifetime>,
    ) -> bool {
        let mut shard = write(&self.shard(hash).shard);
        let tag = self.tag(hash);
        let Some(slot) = shard.find(tag, old) else { return false };
        shard.slots[slot] = entry(tag, new);
        shard.keep(hash, old, keep);
        true
    }

    /// Removes the entry at `old`, and says whether it was there. Keeps it for snapshots if `keep` says so.
    pub(crate) fn remove(&self, hash: u64, old: Place, keep: Option<Lifetime>) -> bool {
        let removed = self.change(self.shard(hash), |shard| {
            let slot = shard.find(self.tag(hash), old);
            if let Some(slot) = slot {
                shard.remove(slot);
                shard.keep(hash, old, keep);
            }
            slot.is_some()
        });
        if removed {
            self.add_to_count(-1);
        }
        removed
    }

    /// Tells of a record's move from `old` to `new`. The only way in which merge changes the keydir: had the
    /// key been written since, its entry would be elsewhere.
    pub(crate) fn relocate(&self, hash: u64, old: Place, new: Place) -> Relocated {
        let mut shard = write(&self.shard(hash).shard);
        let tag = self.tag(hash);
        if let Some(slot) = shard.find(tag, old) {
            shard.slots[slot] = entry(tag, new);
            return Relocated::Live;
        }
        let Some(born) = shard.find_kept(hash, old) else { return Relocated::Gone };
        let kept = shard.kept.as_mut().and_then(|kept| kept.get_mut(&(hash, born)));
        kept.expect("it was just found").place = new;
        Relocated::Kept
    }

    /// Lets go of an old record that was kept: no snapshot sees it any more.
    pub(crate) fn forget(&self, hash: u64, born: u64) {
        let mut shard = write(&self.shard(hash).shard);
        if let Some(kept) = &mut shard.kept {
            kept.remove(&(hash, born));
            if kept.is_empty() {
                shard.kept = None;
            }
        }
    }

    /// Changes a shard, and takes note of where its table is then.
    fn change<T>(&self, cell: &ShardCell, change: impl FnOnce(&mut Shard) -> T) -> T {
        let mut shard = write(&cell.shard);
        let len_before = shard.slots.len();
        let result = change(&mut shard);
        let len = shard.slots.len();
        if len != len_before {
            cell.table_address.store(shard.slots.as_ptr().addr(), Ordering::Relaxed);
            cell.table_len.store(len, Ordering::Relaxed);
            self.table_bytes.fetch_add(len * size_of::<u64>(), Ordering::Relaxed);
            self.table_bytes.fetch_sub(len_before * size_of::<u64>(), Ordering::Relaxed);
        }
        result
    }

    /// Not in one step, which would cost as much as the rest: there is one writer.
    fn add_to_count(&self, n: i64) {
        let count = self.count.load(Ordering::Relaxed);
        self.count.store(count.wrapping_add_signed(n), Ordering::Relaxed);
    }

    /// Starts the cache miss that a call of `prefetch` would wait for.
    pub(crate) fn prefetch_shard(&self, hash: u64) {
        prefetch_address(std::ptr::from_ref(self.shard(hash)).addr());
    }

    /// Starts the cache miss of a lookup that will follow.
    pub(crate) fn prefetch(&self, hash: u64) {
        let cell = self.shard(hash);
        let len = cell.table_len.load(Ordering::Relaxed);
        let slot = home(self.tag(hash), len) * size_of::<u64>();
        prefetch_address(cell.table_address.load(Ordering::Relaxed).wrapping_add(slot));
    }

    /// Keys in the keydir.
    pub(crate) fn len(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Bytes of memory it takes, without what is kept for snapshots.
    pub(crate) fn memory(&self) -> u64 {
        let tables = self.table_bytes.load(Ordering::Relaxed);
        (tables + self.shards.len() * size_of::<ShardCell>()) as u64
    }

    /// Bytes that one more key may take: its shard may grow.
    pub(crate) fn growth(&self) -> u64 {
        let tables = self.table_bytes.load(Ordering::Relaxed);
        (tables / self.shards.len() / 2 + SLOTS_MIN * size_of::<u64>()) as u64
    }

    pub(crate) fn shard_count(&self) -> usize {
        self.shards.len()
    }

    /// The shard that a hash belongs to; ordered as the hashes are.
    pub(crate) fn shard_index(&self, hash: u64) -> usize {
        // In two steps, because there may be one shard, and a shift by 64 is none.
        let index = hash >> 1 >> (63 - self.shard_bits);
        usize::try_from(index).expect("there are few shards")
    }

    /// The first and the last hash that belong to a shard.
    pub(crate) fn first_hash(&self, shard: usize) -> u64 {
        (shard as u64) << 1 << (63 - self.shard_bits)
    }

    pub(crate) fn last_hash(&self, shard: usize) -> u64 {
        self.first_hash(shard) | u64::MAX >> self.shard_bits
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        for cell in &self.shards {
            self.change(cell, |shard| *shard = Shard::default());
        }
        self.count.store(0, Ordering::Relaxed);
    }

    /// Every place in a shard, in their order: the record that each key of it has now, and of those that have changed
    /// since, the one that it had at `seq`.
    pub(crate) fn places(&self, shard: usize, seq: u64) -> Vec<Place> {
        let mut places: Vec<_> = {
            let shard = read(&self.shards[shard].shard);
            let kept = shard.kept.iter().flat_map(|kept| kept.iter());
            let kept = kept.filter(|((_, born), kept)| *born <= seq && seq < kept.died);
            let kept = kept.map(|(_, kept)| kept.place);
            let slots = shard.slots.iter().filter(|&&slot| slot != 0);
            slots.map(|&slot| place_of(slot)).chain(kept).collect()
        };
        places.sort_unstable();
        places
    }

    /// Fills an empty shard at once, with entries of hashes that belong to it.
    pub(crate) fn fill(&self, shard: usize, entries: &[(u64, Place)]) {
        self.change(&self.shards[shard], |shard| {
            debug_assert_eq!(shard.count, 0, "a shard is filled once, when the store is opened");
            shard.resize_for(entries.len());
            for &(hash, place) in entries {
                shard.insert(self.tag(hash), place);
            }
        });
        self.count.fetch_add(entries.len() as u64, Ordering::Relaxed);
    }

    fn shard(&self, hash: u64) -> &ShardCell {
        &self.shards[self.shard_index(hash)]
    }

    fn tag(&self, hash: u64) -> u64 {
        hash << self.shard_bits >> PLACE_BITS
    }
}

/// A table with linear probing.
#[derive(Debug, Default)]
struct Shard {
    slots: Box<[u64]>,
    count: usize,
    /// What snapshots still see, by hash and sequence number.
    #[expect(clippy::box_collection, reason = "rarely there, and a shard fits one cache line")]
    kept: Option<Box<BTreeMap<(u64, u64), Kept>>>,
}

/// An old record that a snapshot still sees.
#[derive(Debug)]
struct Kept {
    place: Place,
    died: u64,
}

fn entry(tag: u64, place: Place) -> u64 {
    tag << PLACE_BITS | place.units()
}

fn tag_of(entry: u64) -> u64 {
    entry >> PLACE_BITS
}

fn place_of(entry: u64) -> Place {
    Place::from_units(entry & ((1 << PLACE_BITS) - 1))
}

/// Where an entry with this tag wants to be in a table of `slots` slots.
fn home(tag: u64, slots: usize) -> usize {
    let slot = (tag * slots as u64) >> TAG_BITS;
    usize::try_from(slot).expect("less than the number of slots")
}

impl Shard {
    /// Calls `each` with the slot and place of every entry with this tag.
    #[inline]
    fn each_with_tag(&self, tag: u64, mut each: impl FnMut(usize, Place)) {
        if self.slots.is_empty() {
            return;
        }
        let mut slot = self.home(tag);
        loop {
            let entry = self.slots[slot];
            if entry == 0 {
                return;
            }
            if tag_of(entry) == tag {
                each(slot, place_of(entry));
            }
            slot = self.after(slot);
        }
    }

    fn find(&self, tag: u64, place: Place) -> Option<usize> {
        let mut found = None;
        self.each_with_tag(tag, |slot, other| {
            if other == place {
                found = Some(slot);
            }
        });
        found
    }

    /// The sequence number of the old record that is kept at this place.
    fn find_kept(&self, hash: u64, place: Place) -> Option<u64> {
        let of_hash = self.kept.as_ref()?.range((hash, 0)..=(hash, u64::MAX));
        of_hash.filter(|(_, kept)| kept.place == place).map(|(&(_, born), _)| born).next()
    }

    fn keep(&mut self, hash: u64, place: Place, keep: Option<Lifetime>) {
        if let Some(Lifetime { born, died }) = keep {
            self.kept.get_or_insert_default().insert((hash, born), Kept { place, died });
        }
    }

    fn insert(&mut self, tag: u64, place: Place) {
        if (self.count + 1) * 100 > self.slots.len() * LOAD_PERCENT_MAX {
            self.resize_for(self.count + 1);
        }
        self.place(entry(tag, place));
        self.count += 1;
    }

    fn place(&mut self, entry: u64) {
        let mut slot = self.home(tag_of(entry));
        while self.slots[slot] != 0 {
            slot = self.after(slot);
        }
        self.slots[slot] = entry;
    }

    /// Empties a slot and moves the entries behind it up, so that no lookup stops too early.
    fn remove(&mut self, mut hole: usize) {
        let mut slot = hole;
        loop {
            slot = self.after(slot);
            let entry = self.slots[slot];
            if entry == 0 {
                break;
            }
            // An entry may move into the hole unless its home lies behind the hole, on its way to where it is.
            let home = self.home(tag_of(entry));
            let stays = if hole <= slot {
                hole < home && home <= slot
            } else {
                hole < home || home <= slot
            };
            if !stays {
                self.slots[hole] = entry;
                hole = slot;
            }
        }
        self.slots[hole] = 0;
        self.count -= 1;
        if self.slots.len() > SLOTS_MIN && self.count * 100 < self.slots.len() * LOAD_PERCENT_MIN {
            self.resize_for(self.count);
        }
    }

    /// Gives the shard as many slots as suit `count` entries. Entries keep their order, so this is one pass.
    fn resize_for(&mut self, count: usize) {
        let slots = (count * 100 / LOAD_PERCENT_TARGET + 1).max(SLOTS_MIN);
        let old = std::mem::replace(&mut self.slots, vec![0; slots].into_boxed_slice());
        for &entry in old.iter().filter(|&&entry| entry != 0) {
            self.place(entry);
        }
    }

    fn home(&self, tag: u64) -> usize {
        home(tag, self.slots.len())
    }

    fn after(&self, slot: usize) -> usize {
        if slot + 1 == self.slots.len() { 0 } else { slot + 1 }
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;
    use std::collections::HashMap;

    /// A cheap permutation, so that tests need no random source.
    fn scramble(n: u64) -> u64 {
        let n = (n ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (n ^ (n >> 31)).wrapping_mul(0x94d0_49bb_1331_11eb)
    }

    fn place(n: u64) -> Place {
        Place::from_units(n + 1)
    }

    #[test]
    fn behaves_as_a_map_through_growth_and_removal() {
        let keydir = Keydir::with_shard_bits(2);
        let mut model = HashMap::new();
        for step in 0..60_000_u64 {
            let hash = scramble(scramble(step) % 5_000);
            match (model.get(&hash).copied(), step % 3) {
                (None, _) => {
                    keydir.insert(hash, place(step));
                    model.insert(hash, place(step));
                }
                (Some(old), 0) => {
                    assert!(keydir.remove(hash, old, None));
                    model.remove(&hash);
                }
                (Some(old), _) => {
                    assert!(!keydir.replace(hash, place(step + 1), place(step), None));
                    assert!(keydir.replace(hash, old, place(step), None));
                    model.insert(hash, place(step));
                }
            }
        }
        assert_eq!(keydir.len(), model.len() as u64);
        for (&hash, &place) in &model {
            assert!(keydir.holds(hash, place));
        }
        let mut places: Vec<_> = (0..4).flat_map(|shard| keydir.places(shard, u64::MAX)).collect();
        let mut expected: Vec<_> = model.values().copied().collect();
        places.sort_unstable();
        expected.sort_unstable();
        assert_eq!(places, expected);
    }

    #[test]
    fn removing_everything_shrinks_it() {
        let keydir = Keydir::with_shard_bits(0);
        for n in 0..10_000 {
            keydir.insert(scramble(n), place(n));
        }
        let full = keydir.memory();
        for n in 0..10_000 {
            assert!(keydir.remove(scramble(n), place(n), None));
        }
        assert_eq!(keydir.len(), 0);
        assert!(keydir.memory() * 100 < full);
    }

    #[test]
    fn memory_stays_within_its_promise_from_a_million_keys_on() {
        let keydir = Keydir::new();
        let mut worst = 0.0_f64;
        for n in 0..2_000_000 {
            keydir.insert(scramble(n), place(n));
            if n >= 1_000_000 && n % 50_000 == 0 {
                worst = worst.max(keydir.memory() as f64 / (n + 1) as f64);
            }
        }
        assert!(worst <= 16.0, "{worst} bytes a key");
    }

    #[test]
    fn entries_of_one_tag_are_told_apart_by_place() {
        let keydir = Keydir::with_shard_bits(4);
        for n in 0..10 {
            keydir.insert(42 << 40, place(n));
        }
        assert_eq!(keydir.candidates(42 << 40).iter().count(), 10);
        assert!(keydir.remove(42 << 40, place(3), None));
        assert!(!keydir.holds(42 << 40, place(3)));
        assert_eq!(keydir.candidates(42 << 40).iter().count(), 9);
    }

    #[test]
    fn what_is_kept_is_seen_at_its_time_moved_by_merge_and_let_go() {
        let keydir = Keydir::with_shard_bits(1);
        let (hash, seen) = (7 << 40, |keydir: &Keydir, seq| keydir.kept(7 << 40, seq));
        keydir.insert(hash, place(1));
        let first = Lifetime { born: 10, died: 20 };
        assert!(keydir.replace(hash, place(1), place(2), Some(first)));
        assert!(keydir.remove(hash, place(2), Some(Lifetime { born: 20, died: 30 })));
        assert_eq!(keydir.len(), 0);
        for (seq, expected) in [(9, None), (10, Some(1)), (19, Some(1)), (20, Some(2)), (30, None)]
        {
            let expected: Vec<_> = expected.map(place).into_iter().collect();
            assert_eq!(seen(&keydir, seq), expected, "{seq}");
            assert_eq!(keydir.places(0, seq), expected, "{seq}");
        }
        assert!(keydir.holds(hash, place(1)));
        assert_eq!(keydir.relocate(hash, place(1), place(9)), Relocated::Kept);
        assert_eq!(keydir.relocate(hash, place(1), place(8)), Relocated::Gone);
        assert_eq!(seen(&keydir, 10), [place(9)]);
        keydir.forget(hash, 10);
        assert!(!keydir.holds(hash, place(9)));
        assert_eq!(seen(&keydir, 20), [place(2)]);
    }
}
