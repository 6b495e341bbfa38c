//! LZ4 blocks.

use std::cell::Cell;

use lz4_flex::block::{
    CompressTable, compress_into, compress_into_with_table, decompress_into,
    get_maximum_output_size,
};

pub(super) const AVAILABLE: bool = true;
/// Values below this length fit the small table.
const SMALL: usize = 64 << 10;
/// A byte of a block makes at most this many.
const RATIO_MAX: u64 = 255;

thread_local! {
    static TABLE: Cell<Option<CompressTable>> = const { Cell::new(None) };
}

/// `before`, then `value` compressed, if both together take at most `len_max` bytes.
pub(super) fn compress(before: &[u8], value: &[u8], len_max: usize) -> Option<Vec<u8>> {
    let mut stored = vec![0; before.len() + get_maximum_output_size(value.len())];
    let (start, output) = stored.split_at_mut(before.len());
    start.copy_from_slice(before);
    let compressed = if value.len() < SMALL - 1 {
        // In a thread that ends there may be no place for one any more.
        let kept = TABLE.try_with(Cell::take).ok().flatten();
        let mut table = kept.unwrap_or_else(CompressTable::small);
        let compressed = compress_into_with_table(value, output, &mut table);
        TABLE.try_with(|kept| kept.set(Some(table))).unwrap_or_default();
        compressed
    } else {
        compress_into(value, output)
    };
    stored.truncate(before.len() + compressed.ok()?);
    (stored.len() <= len_max).then_some(stored)
}

/// Bytes that so many compressed ones can become.
pub(super) fn len_max(compressed_len: usize) -> u64 {
    compressed_len as u64 * RATIO_MAX
}

/// What was compressed, if it has at most `len` bytes.
pub(super) fn decompress(compressed: &[u8], len: usize) -> Option<Vec<u8>> {
    let mut value = vec![0; len];
    let written = decompress_into(compressed, &mut value).ok()?;
    value.truncate(written);
    Some(value)
}
