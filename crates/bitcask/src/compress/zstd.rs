//! Zstandard frames, with a dictionary and without.
//!
//! Contexts are kept for each thread: making one takes longer than compressing a small value. Frames carry the length of their
//! content, but no id of a dictionary: the record has it.

use std::cell::Cell;
use std::fmt;

use zstd::zstd_safe::{CCtx, CDict, DCtx, DDict, get_frame_content_size};

pub(super) const AVAILABLE: bool = true;
/// A block makes at most this many bytes, and takes at least four.
const BLOCK_CONTENT_MAX: u64 = 128 << 10;
const BLOCK_LEN_MIN: u64 = 4;
/// A thread does not keep a context that takes more than this: high levels take up to 100 MiB for large values.
const CONTEXT_KEPT_MAX: usize = 4 << 20;
/// Only values from this length on can make a context large.
const CONTEXT_GROWS_FROM: usize = 16 << 10;
/// Where a trained dictionary has its own id, and how long that is.
const OWN_ID: std::ops::Range<usize> = 4..8;

thread_local! {
    static COMPRESSION: Cell<Option<CCtx<'static>>> = const { Cell::new(None) };
    static DECOMPRESSION: Cell<Option<DCtx<'static>>> = const { Cell::new(None) };
}

/// A dictionary made ready to compress with, at one level.
pub(crate) struct Encoder {
    id: u32,
    dictionary: CDict<'static>,
}

impl Encoder {
    /// None if these bytes are no dictionary.
    pub(crate) fn new(id: u32, dictionary: &[u8], level: i32) -> Option<Self> {
        Some(Self { id, dictionary: CDict::try_create(dictionary, level)? })
    }

    pub(crate) fn id(&self) -> u32 {
        self.id
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A dictionary made ready to decompress with.
pub(crate) struct Decoder {
    id: u32,
    dictionary: DDict<'static>,
}

impl Decoder {
    /// None if these bytes are no dictionary.
    pub(crate) fn new(id: u32, dictionary: &[u8]) -> Option<Self> {
        Some(Self { id, dictionary: DDict::try_create(dictionary)? })
    }

    pub(crate) fn id(&self) -> u32 {
        self.id
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A dictionary of at most `len_max` bytes for values like these, which lie one after the other; none if they are
/// too few.
pub(crate) fn train(samples: &[u8], lens: &[usize], len_max: usize) -> Option<Vec<u8>> {
    let mut dictionary = zstd::dict::from_continuous(samples, lens, len_max).ok()?;
    // Without an id of its own, frames do not repeat it: four bytes a record.
    dictionary.get_mut(OWN_ID)?.fill(0);
    Some(dictionary)
}

/// `before`, then `value` compressed, if both together take at most `len_max` bytes.
pub(super) fn compress(before: &[u8], value: &[u8], len_max: usize, level: i32) -> Option<Vec<u8>> {
    stored(before, value, len_max, |context, output| context.compress(output, value, level).ok())
}

/// The same with a dictionary.
pub(super) fn compress_by(
    dictionary: &Encoder,
    before: &[u8],
    value: &[u8],
    len_max: usize,
) -> Option<Vec<u8>> {
    stored(before, value, len_max, |context, output| {
        context.compress_using_cdict(output, value, &dictionary.dictionary).ok()
    })
}

fn stored(
    before: &[u8],
    value: &[u8],
    len_max: usize,
    compress: impl FnOnce(&mut CCtx<'static>, &mut [u8]) -> Option<usize>,
) -> Option<Vec<u8>> {
    if before.len() >= len_max {
        return None;
    }
    // No room for more than is worth storing: zstd gives up when it is used up.
    let mut stored = vec![0; len_max];
    let (start, output) = stored.split_at_mut(before.len());
    start.copy_from_slice(before);
    // In a thread that ends there may be no place for one any more.
    let kept = COMPRESSION.try_with(Cell::take).ok().flatten();
    let mut context = kept.unwrap_or_else(CCtx::create);
    let written = compress(&mut context, output);
    if value.len() < CONTEXT_GROWS_FROM || context.sizeof() <= CONTEXT_KEPT_MAX {
        COMPRESSION.try_with(|kept| kept.set(Some(context))).unwrap_or_default();
    }
    let written = written?;
    stored.truncate(before.len() + written);
    Some(stored)
}

/// Bytes that so many compressed ones can become.
pub(super) fn len_max(compressed_len: usize) -> u64 {
    (compressed_len as u64 / BLOCK_LEN_MIN).saturating_mul(BLOCK_CONTENT_MAX)
}

/// What was compressed, if it has at most `len` bytes.
pub(super) fn decompress(compressed: &[u8], len: usize) -> Option<Vec<u8>> {
    value(compressed, len, |context, value| context.decompress(value, compressed).ok())
}

/// The same with a dictionary.
pub(super) fn decompress_by(
    dictionary: &Decoder,
    compressed: &[u8],
    len: usize,
) -> Option<Vec<u8>> {
    value(compressed, len, |context, value| {
        context.decompress_using_ddict(value, compressed, &dictionary.dictionary).ok()
    })
}

fn value(
    compressed: &[u8],
    len: usize,
    decompress: impl FnOnce(&mut DCtx<'static>, &mut Vec<u8>) -> Option<usize>,
) -> Option<Vec<u8>> {
    if get_frame_content_size(compressed).ok()?? != len as u64 {
        return None;
    }
    let mut value = Vec::with_capacity(len);
    let kept = DECOMPRESSION.try_with(Cell::take).ok().flatten();
    let mut context = kept.unwrap_or_else(DCtx::create);
    let written = decompress(&mut context, &mut value);
    DECOMPRESSION.try_with(|kept| kept.set(Some(context))).unwrap_or_default();
    written.map(|_| value)
}
