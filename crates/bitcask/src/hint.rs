//! Hint files: what a scan of a data file would have found, sorted by hash.
//!
//! Sorted, because then opening needs no memory but the keydir (each shard takes its stretch of every hint), and
//! merge can ask whether a file holds any record of a key by reading one block. The bytes are pure functions;
//! [`HintFile`] reads them, every block checked, and never decides whether a hint is to be believed.
//!
//! There are two versions: entries of the second have an expiry. A hint has it only if one of its records expires.
#![warn(clippy::indexing_slicing)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::fs::{Access, Fs, read_full_at};
use crate::place::ALIGNMENT;
use crate::record::{Fields, Flags, NEVER, Record};

/// Bytes before the first block.
pub(crate) const HINT_HEADER_LEN: usize = 64;
/// Bytes of a block.
pub(crate) const HINT_BLOCK_LEN: usize = 4096;
/// Bytes of an entry, without and with an expiry.
pub(crate) const HINT_ENTRY_LEN: usize = 24;
pub(crate) const HINT_ENTRY_EXPIRING_LEN: usize = 32;

pub(crate) const MAGIC: &[u8; 8] = b"bchint\0\0";
const VERSION: u16 = 1;
const VERSION_EXPIRING: u16 = 2;
const COUNT_AT: usize = 4088;
const BLOCK_CRC_AT: usize = 4092;
const LEN_MASK: u32 = (1 << 30) - 1;
const TOMBSTONE: u32 = 1 << 30;
const COLLIDES: u32 = 1 << 31;
/// Blocks read at a time when a hint is read in order.
const BLOCKS_AHEAD: u64 = 16;

/// What a hint says about one record.
///
/// As small as in the file, because opening gathers and sorts all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HintEntry {
    pub(crate) hash: u64,
    pub(crate) seq: u64,
    /// When it expires, or [`NEVER`].
    pub(crate) expires_ms: u64,
    /// Offset of the record, in units of [`ALIGNMENT`].
    offset_units: u32,
    /// Length in those units, and flags.
    bits: u32,
}

/// What a hint says about its data file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HintHeader {
    pub(crate) ended: bool,
    pub(crate) seed: u32,
    pub(crate) file_id: u64,
    /// Offset of the mark up to which the file is covered.
    pub(crate) covered: u64,
    pub(crate) count: u64,
    pub(crate) seq_max: u64,
    pub(crate) seq_min: u64,
    pub(crate) digest: u32,
    /// Whether entries have an expiry.
    pub(crate) expiring: bool,
}

impl HintHeader {
    fn encode(&self) -> ([u8; HINT_HEADER_LEN], u32) {
        let mut bytes = [0; HINT_HEADER_LEN];
        put(&mut bytes, 0, MAGIC);
        let version = if self.expiring { VERSION_EXPIRING } else { VERSION };
        put(&mut bytes, 8, &version.to_le_bytes());
        put(&mut bytes, 10, &[u8::from(self.ended)]);
        put(&mut bytes, 12, &self.seed.to_le_bytes());
        put(&mut bytes, 16, &self.file_id.to_le_bytes());
        put(&mut bytes, 24, &self.covered.to_le_bytes());
        put(&mut bytes, 32, &self.count.to_le_bytes());
        put(&mut bytes, 40, &self.seq_max.to_le_bytes());
        put(&mut bytes, 48, &self.seq_min.to_le_bytes());
        put(&mut bytes, 56, &self.digest.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..60]);
        put(&mut bytes, 60, &crc.to_le_bytes());
        (bytes, crc)
    }

    pub(crate) fn decode(bytes: &[u8; HINT_HEADER_LEN]) -> Option<(Self, u32)> {
        let crc = crc32c::crc32c(&bytes[..60]);
        let version = u16::from_le_bytes(field(bytes, 8));
        let sound = u32::from_le_bytes(field(bytes, 60)) == crc
            && field::<8>(bytes, 0) == *MAGIC
            && [VERSION, VERSION_EXPIRING].contains(&version);
        let header = Self {
            ended: bytes[10] != 0,
            seed: u32::from_le_bytes(field(bytes, 12)),
            file_id: u64::from_le_bytes(field(bytes, 16)),
            covered: u64::from_le_bytes(field(bytes, 24)),
            count: u64::from_le_bytes(field(bytes, 32)),
            seq_max: u64::from_le_bytes(field(bytes, 40)),
            seq_min: u64::from_le_bytes(field(bytes, 48)),
            digest: u32::from_le_bytes(field(bytes, 56)),
            expiring: version == VERSION_EXPIRING,
        };
        sound.then_some((header, crc))
    }

    fn entry_len(&self) -> usize {
        if self.expiring { HINT_ENTRY_EXPIRING_LEN } else { HINT_ENTRY_LEN }
    }

    fn entries_per_block(&self) -> usize {
        COUNT_AT / self.entry_len()
    }

    pub(crate) fn block_count(&self) -> u64 {
        self.count.div_ceil(self.entries_per_block() as u64)
    }

    /// The entries of a block, if it checks out.
    pub(crate) fn decode_block<'a>(
        &self,
        header_crc: u32,
        index: u64,
        block: &'a [u8],
    ) -> Option<impl Iterator<Item = HintEntry> + use<'a>> {
        if block.len() != HINT_BLOCK_LEN {
            return None;
        }
        let count = u32::from_le_bytes(field(block, COUNT_AT)) as usize;
        let crc = u32::from_le_bytes(field(block, BLOCK_CRC_AT));
        let sound = crc == block_crc(header_crc, index, block) && count <= self.entries_per_block();
        sound.then(|| block.chunks_exact(self.entry_len()).take(count).map(HintEntry::decode))
    }
}

impl HintEntry {
    /// What a hint says about a record that lies at `offset`.
    pub(crate) fn of(hash: u64, offset: u64, record: &Record<'_>) -> Self {
        let Record { flags, seq, time_ms, expires_ms, key, value, .. } = *record;
        Self::new(hash, offset, &Fields { flags, seq, time_ms, expires_ms, key, value })
    }

    /// The same of one that is being written there.
    pub(crate) fn new(hash: u64, offset: u64, record: &Fields<'_>) -> Self {
        let units = |bytes: u64| u32::try_from(bytes / ALIGNMENT as u64);
        // The longest record is 64 KiB longer than the field can say; the length only counts dead bytes.
        let mut bits = units(record.record_len()).map_or(LEN_MASK, |len| len.min(LEN_MASK));
        for (flag, bit) in [(Flags::TOMBSTONE, TOMBSTONE), (Flags::COLLIDES, COLLIDES)] {
            bits |= if record.flags.has(flag) { bit } else { 0 };
        }
        let offset_units = units(offset).expect("files are below 16 GiB");
        Self { hash, seq: record.seq, expires_ms: record.expires_ms, offset_units, bits }
    }

    /// Where the record lies in its file.
    pub(crate) fn offset(&self) -> u64 {
        u64::from(self.offset_units) * ALIGNMENT as u64
    }

    /// Bytes of the record.
    pub(crate) fn len(&self) -> u64 {
        u64::from(self.bits & LEN_MASK) * ALIGNMENT as u64
    }

    pub(crate) fn is_tombstone(&self) -> bool {
        self.bits & TOMBSTONE != 0
    }

    pub(crate) fn collides(&self) -> bool {
        self.bits & COLLIDES != 0
    }

    /// Whether the key is not there, if this is its newest record.
    pub(crate) fn is_gone(&self, now_ms: u64) -> bool {
        self.is_tombstone() || self.expires_ms <= now_ms
    }

    /// Writes it into as many bytes as an entry has.
    fn encode(&self, bytes: &mut [u8]) {
        put(bytes, 0, &self.hash.to_le_bytes());
        put(bytes, 8, &self.seq.to_le_bytes());
        put(bytes, 16, &self.offset_units.to_le_bytes());
        put(bytes, 20, &self.bits.to_le_bytes());
        if bytes.len() == HINT_ENTRY_EXPIRING_LEN {
            put(bytes, 24, &self.expires_ms.to_le_bytes());
        }
    }

    fn decode(bytes: &[u8]) -> Self {
        let expiring = bytes.len() == HINT_ENTRY_EXPIRING_LEN;
        Self {
            hash: u64::from_le_bytes(field(bytes, 0)),
            seq: u64::from_le_bytes(field(bytes, 8)),
            expires_ms: if expiring { u64::from_le_bytes(field(bytes, 24)) } else { NEVER },
            offset_units: u32::from_le_bytes(field(bytes, 16)),
            bits: u32::from_le_bytes(field(bytes, 20)),
        }
    }
}

#[expect(clippy::indexing_slicing, reason = "offsets are constants within buffers of fixed size")]
fn put(bytes: &mut [u8], at: usize, field: &[u8]) {
    bytes[at..at + field.len()].copy_from_slice(field);
}

#[expect(clippy::indexing_slicing, reason = "offsets are constants within buffers of fixed size")]
fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[at..at + N]);
    field
}

/// The bytes of a hint file. Sorts the entries; the header's count and sequence numbers are taken from them.
pub(crate) fn encode(mut header: HintHeader, entries: &mut [HintEntry]) -> Vec<u8> {
    entries.sort_unstable_by_key(|entry| (entry.hash, entry.seq));
    header.count = entries.len() as u64;
    header.seq_min = entries.iter().map(|entry| entry.seq).min().unwrap_or(u64::MAX);
    header.expiring = entries.iter().any(|entry| entry.expires_ms != NEVER);
    let (header_bytes, header_crc) = header.encode();
    let mut bytes = header_bytes.to_vec();
    for (index, entries) in entries.chunks(header.entries_per_block()).enumerate() {
        let mut block = [0; HINT_BLOCK_LEN];
        for (entry, bytes) in entries.iter().zip(block.chunks_exact_mut(header.entry_len())) {
            entry.encode(bytes);
        }
        let count = u32::try_from(entries.len()).expect("at most 170");
        put(&mut block, COUNT_AT, &count.to_le_bytes());
        let crc = block_crc(header_crc, index as u64, &block);
        put(&mut block, BLOCK_CRC_AT, &crc.to_le_bytes());
        bytes.extend_from_slice(&block);
    }
    bytes
}

#[expect(clippy::indexing_slicing, reason = "a block has a fixed size")]
fn block_crc(header_crc: u32, index: u64, block: &[u8]) -> u32 {
    let index = u32::try_from(index).unwrap_or(u32::MAX);
    crc32c::crc32c_append(header_crc ^ index, &block[..BLOCK_CRC_AT])
}

/// A block that does not check out: the hint is worth nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unsound;

/// A hint file whose header checks out. It is opened for each read of some blocks, so that a store of many files
/// needs no descriptor for each.
#[derive(Clone, Debug)]
pub(crate) struct HintFile {
    fs: Arc<dyn Fs>,
    path: PathBuf,
    pub(crate) header: HintHeader,
    header_crc: u32,
}

impl HintFile {
    /// None if the header does not check out, or the length is not what it says.
    pub(crate) fn open(fs: &Arc<dyn Fs>, path: &Path) -> Result<Option<Self>> {
        let failed = |e| Error::io("cannot read", path, e);
        let file = fs.open(path, Access::Read).map_err(failed)?;
        let mut bytes = [0; HINT_HEADER_LEN];
        let n = read_full_at(&*file, &mut bytes, 0).map_err(failed)?;
        let len = file.len().map_err(failed)?;
        Ok(HintHeader::decode(&bytes).and_then(|(header, header_crc)| {
            let blocks = header.block_count().checked_mul(HINT_BLOCK_LEN as u64)?;
            let sound = n == HINT_HEADER_LEN && blocks.checked_add(n as u64)? == len;
            sound.then(|| Self { fs: fs.clone(), path: path.to_owned(), header, header_crc })
        }))
    }

    /// The entries of blocks `first..first + count`, those that exist.
    fn blocks(
        &self,
        first: u64,
        count: u64,
    ) -> Result<std::result::Result<Vec<HintEntry>, Unsound>> {
        let count = count.min(self.header.block_count().saturating_sub(first));
        let len = usize::try_from(count).expect("few blocks at a time") * HINT_BLOCK_LEN;
        let mut bytes = vec![0; len];
        let offset = HINT_HEADER_LEN as u64 + first * HINT_BLOCK_LEN as u64;
        let failed = |e| Error::io("cannot read", &self.path, e).at_offset(offset);
        let file = match self.fs.open(&self.path, Access::Read) {
            // Beside another process a name can go at any time.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Err(Unsound)),
            file => file.map_err(failed)?,
        };
        let n = read_full_at(&*file, &mut bytes, offset).map_err(failed)?;
        if n < len {
            return Ok(Err(Unsound));
        }
        let mut entries = Vec::with_capacity(len / self.header.entry_len());
        for (index, block) in (first..).zip(bytes.chunks_exact(HINT_BLOCK_LEN)) {
            let Some(block) = self.header.decode_block(self.header_crc, index, block) else {
                return Ok(Err(Unsound));
            };
            entries.extend(block);
        }
        Ok(Ok(entries))
    }

    /// The block to begin with when looking for `hash`: no entry of that hash is in an earlier one.
    fn first_block_for(&self, hash: u64) -> Result<std::result::Result<u64, Unsound>> {
        let (mut low, mut high) = (0, self.header.block_count());
        // The answer is the last block whose first entry is smaller, or block 0.
        while low + 1 < high {
            let middle = low + (high - low) / 2;
            let Ok(entries) = self.blocks(middle, 1)? else { return Ok(Err(Unsound)) };
            if entries.first().is_some_and(|entry| entry.hash < hash) {
                low = middle;
            } else {
                high = middle;
            }
        }
        Ok(Ok(low))
    }

    /// Every tombstone, and every value that has expired, which hides older ones as a tombstone does: hash and sequence
    /// number, sorted by hash.
    pub(crate) fn gone(
        &self,
        now_ms: u64,
    ) -> Result<std::result::Result<Vec<(u64, u64)>, Unsound>> {
        let mut found = Vec::new();
        let mut block = 0;
        while block < self.header.block_count() {
            let Ok(entries) = self.blocks(block, BLOCKS_AHEAD)? else { return Ok(Err(Unsound)) };
            let gone = entries.iter().filter(|entry| entry.is_gone(now_ms));
            found.extend(gone.map(|entry| (entry.hash, entry.seq)));
            block += BLOCKS_AHEAD;
        }
        Ok(Ok(found))
    }
}

/// Reads a hint in the order of hashes.
#[derive(Debug)]
pub(crate) struct HintCursor<'a> {
    hint: &'a HintFile,
    next_block: u64,
    blocks_ahead: u64,
    /// Whether to look for a hash that is farther ahead, rather than to read all up to it.
    jumps: bool,
    entries: std::vec::IntoIter<HintEntry>,
}

impl<'a> HintCursor<'a> {
    /// Starts at the first entry whose hash is at least `hash`, to read on from there.
    pub(crate) fn starting_at(
        hint: &'a HintFile,
        hash: u64,
    ) -> Result<std::result::Result<Self, Unsound>> {
        let Ok(next_block) = hint.first_block_for(hash)? else { return Ok(Err(Unsound)) };
        let mut cursor = Self::at_block(hint, next_block, false);
        Ok(cursor.skip_below(hash)?.map(|()| cursor))
    }

    /// For so many look-ups in rising order of hashes: reads everything once, or, if it takes fewer reads, searches.
    pub(crate) fn for_search(hint: &'a HintFile, lookups: u64) -> Self {
        let blocks = hint.header.block_count();
        let reads_each = u64::from(blocks.max(2).ilog2()) + 1;
        let jumps = lookups.saturating_mul(reads_each) < blocks.div_ceil(BLOCKS_AHEAD);
        Self::at_block(hint, 0, jumps)
    }

    fn at_block(hint: &'a HintFile, next_block: u64, jumps: bool) -> Self {
        let blocks_ahead = if jumps { 1 } else { BLOCKS_AHEAD };
        Self { hint, next_block, blocks_ahead, jumps, entries: Vec::new().into_iter() }
    }

    /// The next entry, without moving on.
    pub(crate) fn peek(&mut self) -> Result<std::result::Result<Option<HintEntry>, Unsound>> {
        if self.entries.as_slice().is_empty() && self.next_block < self.hint.header.block_count() {
            let Ok(entries) = self.hint.blocks(self.next_block, self.blocks_ahead)? else {
                return Ok(Err(Unsound));
            };
            self.next_block += self.blocks_ahead;
            self.entries = entries.into_iter();
        }
        Ok(Ok(self.entries.as_slice().first().copied()))
    }

    /// Gives each entry up to `last` (a hash, included) to `each`, and moves on behind them.
    pub(crate) fn take_up_to(
        &mut self,
        last: u64,
        mut each: impl FnMut(HintEntry),
    ) -> Result<std::result::Result<(), Unsound>> {
        loop {
            match self.peek()? {
                Err(Unsound) => return Ok(Err(Unsound)),
                Ok(None) => return Ok(Ok(())),
                Ok(Some(_)) => {}
            }
            let entries = self.entries.as_slice();
            let n = entries.iter().take_while(|entry| entry.hash <= last).count();
            self.entries.by_ref().take(n).for_each(&mut each);
            if !self.entries.as_slice().is_empty() {
                return Ok(Ok(()));
            }
        }
    }

    fn skip_below(&mut self, hash: u64) -> Result<std::result::Result<(), Unsound>> {
        match hash.checked_sub(1) {
            Some(last) => self.take_up_to(last, |_| {}),
            None => Ok(Ok(())),
        }
    }

    /// Whether there is an entry of `hash` that `is_older`. Must be asked in rising order of hashes.
    pub(crate) fn has_older(
        &mut self,
        hash: u64,
        is_older: impl Fn(&HintEntry) -> bool,
    ) -> Result<std::result::Result<bool, Unsound>> {
        let behind = self.entries.as_slice().last().is_none_or(|entry| entry.hash < hash);
        if behind && self.jumps {
            let Ok(block) = self.hint.first_block_for(hash)? else { return Ok(Err(Unsound)) };
            if block >= self.next_block {
                self.next_block = block;
                self.entries = Vec::new().into_iter();
            }
        }
        if behind && self.skip_below(hash)?.is_err() {
            return Ok(Err(Unsound));
        }
        // Entries of one hash may go on in the next block, and the same hash may be asked for again: look, and
        // leave the cursor where it is.
        let mut found = self.entries.as_slice().iter().any(|e| e.hash == hash && is_older(e));
        let mut block = self.next_block;
        while !found
            && self.entries.as_slice().last().is_none_or(|entry| entry.hash <= hash)
            && block < self.hint.header.block_count()
        {
            let Ok(entries) = self.hint.blocks(block, 1)? else { return Ok(Err(Unsound)) };
            found = entries.iter().any(|entry| entry.hash == hash && is_older(entry));
            if entries.last().is_some_and(|entry| entry.hash > hash) {
                break;
            }
            block += 1;
        }
        Ok(Ok(found))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::fs::sim::SimFs;

    #[test]
    fn a_search_finds_what_is_older_whether_it_jumps_or_reads_all() {
        // Hashes 10 apart, some with so many entries that they go over several blocks.
        let count_of = |n: u64| if n.is_multiple_of(5000) { 400 } else { 1 + n % 3 };
        let versions = |n| (0..count_of(n)).map(move |m| (n * 10, 100 + n % 7 + m * 5));
        let mut entries: Vec<_> = (0..20_000)
            .flat_map(versions)
            .map(|(hash, seq)| HintEntry { hash, seq, expires_ms: NEVER, offset_units: 0, bits: 0 })
            .collect();
        let oldest: BTreeMap<_, _> = (0..20_000).map(|n| (n * 10, 100 + n % 7)).collect();
        let sim = SimFs::new(0);
        let path = Path::new("/hint");
        sim.write_file(path, &encode(HintHeader::default(), &mut entries));
        let fs: Arc<dyn Fs> = Arc::new(sim);
        let hint = HintFile::open(&fs, path).unwrap().unwrap();
        assert!(hint.header.block_count() > 50);

        for (lookups, jumps) in [(1, true), (u64::MAX, false)] {
            for step in [7, 10, 70, 25_000] {
                let mut cursor = HintCursor::for_search(&hint, lookups);
                assert_eq!(cursor.jumps, jumps);
                for hash in (0..200_010).step_by(step) {
                    // The same may be asked for again.
                    for seq in [100, 103, 107, 2000] {
                        let found = cursor.has_older(hash, |entry| entry.seq < seq).unwrap();
                        let older = oldest.get(&hash).is_some_and(|&oldest| oldest < seq);
                        assert_eq!(found, Ok(older), "{hash} before {seq}, step {step}");
                    }
                }
            }
        }
    }
}
