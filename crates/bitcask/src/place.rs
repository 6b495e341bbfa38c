//! Where a record is, in one number that fits into an entry of the keydir.

/// Records start at multiples of this.
pub(crate) const ALIGNMENT: usize = 4;

/// Address space is given to files in chunks of this many bytes.
pub(crate) const CHUNK_LEN: u64 = 16 << 20;

/// Bits of a place.
pub(crate) const PLACE_BITS: u32 = 42;

/// Chunks in the address space of a store: 16 TiB of them.
pub(crate) const CHUNK_COUNT_MAX: usize = 1 << 20;

/// The start of a record in the store's address space, in units of [`ALIGNMENT`].
///
/// Each data file has a range of that space while the store is open, see `files.rs`. Never zero, because the first
/// bytes of each range are a file header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place(u64);

impl Place {
    /// The record at `offset` of the file whose range begins with chunk `first_chunk`.
    pub(crate) fn new(first_chunk: usize, offset: u64) -> Self {
        debug_assert!(offset > 0 && offset.is_multiple_of(ALIGNMENT as u64), "records are aligned");
        let units = (first_chunk as u64 * CHUNK_LEN + offset) / ALIGNMENT as u64;
        debug_assert!(units < 1 << PLACE_BITS, "files are given chunks below the limit");
        Self(units)
    }

    pub(crate) fn from_units(units: u64) -> Self {
        debug_assert!(units > 0 && units < 1 << PLACE_BITS, "only places are stored as places");
        Self(units)
    }

    /// The place `len` bytes on, in the same file.
    pub(crate) fn after(self, len: u64) -> Self {
        Self(self.0 + len / ALIGNMENT as u64)
    }

    pub(crate) fn units(self) -> u64 {
        self.0
    }

    /// The chunk it lies in, by which its file is found.
    pub(crate) fn chunk(self) -> usize {
        let chunk = self.0 * ALIGNMENT as u64 / CHUNK_LEN;
        usize::try_from(chunk).expect("there are at most 2^20 chunks")
    }

    /// Its offset in the file whose range begins with chunk `first_chunk`.
    pub(crate) fn offset(self, first_chunk: usize) -> u64 {
        self.0 * ALIGNMENT as u64 - first_chunk as u64 * CHUNK_LEN
    }
}
