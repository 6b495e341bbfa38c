//! The bare operations that the store is measured against: a checksum, a copy into a preallocated mapping, and a table
//! of 8-byte entries. No locks, no versions, no merge, no recovery: a floor, and not a store.
//!
//! A record has the store's length: 28 bytes of header, of which the first four are the checksum of the rest, key and
//! value, and up to 7 bytes to a multiple of 8. An entry of the table has the offset in its upper 40 bits, in
//! units of 8 bytes, and 24 bits of the hash in its lower.

#![expect(unsafe_code, reason = "mappings and prefetches of the bare operations")]

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use memmap2::MmapMut;

use bitcask_random::splitmix64;

use crate::Result;
use crate::keys::Key;
use crate::statistics::index;

const HEADER_LEN: usize = 28;
const KEY_LEN: usize = size_of::<Key>();
const ALIGNMENT: usize = 8;
const TAG_BITS: u32 = 24;
const TAG_MASK: u64 = (1 << TAG_BITS) - 1;
/// Offset 0 is never a record's, so an entry with it is none.
const EMPTY: u64 = 0;
const DELETED: u64 = 1;
/// Bytes that a file is read by.
const READ_LEN: usize = 1 << 20;
/// Gets that `get_many` has under way at once.
pub(crate) const GETS_AT_ONCE: usize = 32;

/// Bytes of a record.
pub(crate) fn record_len(value_len: usize) -> usize {
    (HEADER_LEN + KEY_LEN + value_len).next_multiple_of(ALIGNMENT)
}

/// Writes a record, which is as long as `to`.
pub(crate) fn encode(key: &Key, value: &[u8], to: &mut [u8]) {
    let end = HEADER_LEN + KEY_LEN + value.len();
    to[4..12].copy_from_slice(&(value.len() as u64).to_le_bytes());
    to[12..HEADER_LEN].fill(0x5A);
    to[HEADER_LEN..HEADER_LEN + KEY_LEN].copy_from_slice(key);
    to[HEADER_LEN + KEY_LEN..end].copy_from_slice(value);
    let checksum = crc32c::crc32c(&to[4..end]);
    to[..4].copy_from_slice(&checksum.to_le_bytes());
}

/// A place in the table and the records' mapping, of a fixed size.
#[derive(Debug)]
pub(crate) struct Bare {
    table: Table,
    records: MmapMut,
    end: usize,
}

impl Bare {
    /// Room for `records` records with values of `value_len` bytes, of `keys` different keys, in a file with all
    /// its blocks reserved.
    pub(crate) fn create(path: &Path, keys: u64, records: u64, value_len: usize) -> Result<Self> {
        let len = record_len(value_len) as u64 * records + ALIGNMENT as u64;
        let file = File::options().read(true).write(true).create_new(true).open(path)?;
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, len)?;
        // SAFETY: the file is in our own fresh directory; nothing else writes or cuts it.
        let records = unsafe { MmapMut::map_mut(&file) }?;
        Ok(Self { table: Table::with_room_for(keys), records, end: ALIGNMENT })
    }

    /// Writes all to the disk, so that the kernel does not do so while something else is measured.
    pub(crate) fn settle(&self) -> Result<()> {
        Ok(self.records.flush()?)
    }

    pub(crate) fn put(&mut self, key: &Key, value: &[u8]) {
        let hash = hash(key);
        self.table.prefetch(hash);
        let at = self.append(key, value);
        match self.find(hash, key) {
            Ok(slot) | Err(slot) => self.table.set(slot, hash, at),
        }
    }

    pub(crate) fn delete(&mut self, key: &Key) -> bool {
        let hash = hash(key);
        self.table.prefetch(hash);
        let Ok(slot) = self.find(hash, key) else { return false };
        self.append(key, &[]);
        self.table.slots[slot] = DELETED;
        true
    }

    /// Copies the value into `value`. Panics if the checksum is wrong.
    pub(crate) fn get(&self, key: &Key, verify: bool, value: &mut Vec<u8>) -> bool {
        self.get_hashed(key, hash(key), verify, value)
    }

    /// As many gets at a time as fit [`GETS_AT_ONCE`]: first all slots are fetched, then all records.
    pub(crate) fn get_many(&self, keys: &[Key], value: &mut Vec<u8>) -> bool {
        let mut hashes = [0; GETS_AT_ONCE];
        keys.chunks(GETS_AT_ONCE).all(|keys| {
            for (key, to) in keys.iter().zip(&mut hashes) {
                *to = hash(key);
                self.table.prefetch(*to);
            }
            for &hash in hashes.iter().take(keys.len()) {
                if let Some(offset) = self.table.first(hash) {
                    prefetch(&self.records, offset);
                    prefetch(&self.records, offset + 64);
                    prefetch(&self.records, offset + 128);
                }
            }
            keys.iter().zip(&hashes).all(|(key, &hash)| self.get_hashed(key, hash, true, value))
        })
    }

    fn get_hashed(&self, key: &Key, hash: u64, verify: bool, value: &mut Vec<u8>) -> bool {
        let Ok(slot) = self.find(hash, key) else { return false };
        let record = self.record(offset(self.table.slots[slot]));
        if verify {
            let stored = record.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
            assert_eq!(stored, Some(crc32c::crc32c(&record[4..])), "the record was just written");
        }
        value.clear();
        value.extend_from_slice(&record[HEADER_LEN + KEY_LEN..]);
        true
    }

    /// The key's slot, or the slot where it would be.
    fn find(&self, hash: u64, key: &Key) -> std::result::Result<usize, usize> {
        self.table.find(hash, |offset| {
            let start = offset + HEADER_LEN;
            self.records[start..start + KEY_LEN] == key[..]
        })
    }

    fn append(&mut self, key: &Key, value: &[u8]) -> usize {
        let (start, len) = (self.end, record_len(value.len()));
        encode(key, value, &mut self.records[start..start + len]);
        self.end += len;
        start
    }

    fn record(&self, offset: usize) -> &[u8] {
        let record = &self.records[offset..];
        let value_len = record[4..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        &record[..HEADER_LEN + KEY_LEN + index(value_len)]
    }
}

/// An open-addressing table with linear probing that never grows.
#[derive(Debug)]
pub(crate) struct Table {
    slots: Vec<u64>,
    shift: u32,
}

impl Table {
    /// At most 70 of 100 slots will be taken. All memory is touched.
    pub(crate) fn with_room_for(keys: u64) -> Self {
        let count = (keys * 10 / 7).next_power_of_two().max(2);
        let mut slots = vec![DELETED; index(count)];
        slots.fill(EMPTY);
        Self { slots, shift: 64 - count.trailing_zeros() }
    }

    /// Enters a key that is not there, known by its hash alone.
    pub(crate) fn insert(&mut self, hash: u64, offset: usize) {
        let (Ok(slot) | Err(slot)) = self.find(hash, |_| false);
        self.set(slot, hash, offset);
    }

    fn set(&mut self, slot: usize, hash: u64, offset: usize) {
        self.slots[slot] = ((offset / ALIGNMENT) as u64) << TAG_BITS | hash & TAG_MASK;
    }

    fn start(&self, hash: u64) -> usize {
        index(hash >> self.shift)
    }

    fn prefetch(&self, hash: u64) {
        prefetch(&self.slots, self.start(hash));
    }

    /// The slot whose record `confirm` accepts, or the empty one where the search ended.
    fn find(
        &self,
        hash: u64,
        confirm: impl Fn(usize) -> bool,
    ) -> std::result::Result<usize, usize> {
        let mut slot = self.start(hash);
        loop {
            let entry = self.slots[slot];
            if entry == EMPTY {
                return Err(slot);
            }
            if entry & TAG_MASK == hash & TAG_MASK && entry > TAG_MASK && confirm(offset(entry)) {
                return Ok(slot);
            }
            slot = (slot + 1) & (self.slots.len() - 1);
        }
    }

    /// The offset of the first record that may be the key's.
    fn first(&self, hash: u64) -> Option<usize> {
        self.find(hash, |_| true).ok().map(|slot| offset(self.slots[slot]))
    }
}

/// Bytes of these files, all read and put through the checksum.
pub(crate) fn read_all(files: &[PathBuf]) -> Result<u64> {
    let (mut buffer, mut read) = (vec![0; READ_LEN], 0);
    for path in files {
        let mut file = File::open(path)?;
        loop {
            let len = file.read(&mut buffer)?;
            if len == 0 {
                break;
            }
            std::hint::black_box(crc32c::crc32c(&buffer[..len]));
            read += len as u64;
        }
    }
    Ok(read)
}

fn offset(entry: u64) -> usize {
    index(entry >> TAG_BITS) * ALIGNMENT
}

pub(crate) fn hash(key: &Key) -> u64 {
    let (first, second) = key.split_at(8);
    let word = |bytes: &[u8]| bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    splitmix64(word(first) ^ word(second).rotate_left(32))
}

/// Asks for the cache line of an element. Nothing happens if there is none.
fn prefetch<T>(of: &[T], index: usize) {
    let Some(element) = of.get(index) else { return };
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let line = std::ptr::from_ref(element).cast();
        // SAFETY: a prefetch reads nothing that the program can see, and every x86-64 has it.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    std::hint::black_box(element);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::FreshDir;
    use crate::keys::{ABSENT, key, value};

    #[test]
    fn the_floor_holds_what_was_put() {
        let dir = FreshDir::new(&std::env::temp_dir()).unwrap();
        let mut bare = Bare::create(&dir.path().join("records"), 1000, 3000, 100).unwrap();
        let (old, new, mut got) = (value(100), value(50), Vec::new());
        (0..1000).for_each(|n| bare.put(&key(n), &old));
        (0..500).for_each(|n| bare.put(&key(n), &new));
        assert!((0..250).all(|n| bare.delete(&key(n))));
        assert!(!bare.delete(&key(0)));
        for n in 0..1000 {
            let expected = if n < 500 { &new } else { &old };
            assert_eq!(bare.get(&key(n), true, &mut got), n >= 250, "{n}");
            assert!(n < 250 || got == *expected, "{n}");
        }
        assert!(!bare.get(&key(ABSENT), true, &mut got));
        let there: Vec<_> = (250..350).map(key).collect();
        assert!(bare.get_many(&there, &mut got));
        assert!(!bare.get_many(&[key(ABSENT)], &mut got));
    }

    #[test]
    fn records_have_the_length_of_the_stores() {
        assert_eq!(record_len(100), 144);
    }
}
