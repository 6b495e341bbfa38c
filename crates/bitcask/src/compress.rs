//! Values in fewer bytes: how a value is stored, and back. Pure functions over bytes; `docs/format.md` is the
//! specification, `docs/decisions/0006-compression.md` has the reasons and the figures.
//!
//! Each value is compressed by itself, before anything is locked, and stays as it is unless that saves an eighth. What
//! is stored says by flags how, so stores hold values of all kinds at once, and any of them is read whatever the
//! store is opened with. Merge moves the stored bytes without a look.
//!
//! Reading trusts nothing: a length that the compressed bytes cannot have is refused before anything is allocated
//! for it, and what comes out must have exactly that length. The record's checksum comes first, though; what is
//! checked here guards against programs gone wrong.
#![warn(clippy::indexing_slicing)]

use crate::place::ALIGNMENT;
use crate::record::{Fault, Flags};

#[cfg_attr(not(feature = "lz4"), path = "compress/without_lz4.rs")]
mod lz4;
#[cfg_attr(not(feature = "zstd"), path = "compress/without_zstd.rs")]
mod zstd;

pub(crate) use self::zstd::{Decoder, Encoder, train};

/// Whether this build can use dictionaries.
pub(crate) const HAS_DICTIONARIES: bool = zstd::AVAILABLE;
/// Bytes of the length before compression, and of a dictionary's id.
const FIELD_LEN: usize = 4;
/// A value is compressed if that saves at least one part of this many: less is not worth the time of a get.
const SAVING_MIN: usize = 8;
/// Longer values are compressed without a dictionary: they have enough to refer to in themselves.
pub(crate) const DICTIONARY_UP_TO: usize = 8 << 10;
/// From the fastest to the slowest that zstd has a name for.
const ZSTD_LEVELS: std::ops::RangeInclusive<i32> = -7..=22;

/// How values are stored from now on; see [`Options::compression`](crate::Options::compression). What is in the store
/// already is read whatever is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// As they are.
    #[default]
    None,
    /// By LZ4: a fraction of a microsecond a get, for values of a kilobyte or more that repeat themselves.
    Lz4,
    /// By Zstandard, at a level of -7 (fast) to 22 (small); 3 is a good one. Best for small values, too, once
    /// [`train_dictionary`](crate::Bitcask::train_dictionary) has seen some of them.
    Zstd {
        /// How hard to try.
        level: i32,
    },
}

impl Compression {
    /// The level of [`zstd`](Self::zstd).
    pub(crate) const LEVEL: i32 = 3;

    /// Zstandard at level 3.
    pub const fn zstd() -> Self {
        Self::Zstd { level: Self::LEVEL }
    }

    /// What is wrong with it, if it cannot be chosen.
    pub(crate) fn fault(self) -> Option<&'static str> {
        match self {
            Self::Lz4 if !lz4::AVAILABLE => Some("this build has no LZ4 (cargo feature `lz4`)"),
            Self::Zstd { .. } if !zstd::AVAILABLE => {
                Some("this build has no Zstandard (cargo feature `zstd`)")
            }
            Self::Zstd { level } if !ZSTD_LEVELS.contains(&level) => {
                Some("a level of zstd must be -7 to 22")
            }
            _ => None,
        }
    }
}

/// What to store for `value`, and the flags that say so; none if it should stay as it is.
pub(crate) fn compress(
    how: Compression,
    value: &[u8],
    dictionary: Option<&Encoder>,
) -> Option<(Flags, Vec<u8>)> {
    // Padding hides less than one unit, so a record that loses a unit is shorter.
    let len_max = value.len().checked_sub(ALIGNMENT.max(value.len() / SAVING_MIN))?;
    let value_len = u32::try_from(value.len()).ok()?.to_le_bytes();
    match how {
        Compression::None => None,
        Compression::Lz4 => {
            let stored = lz4::compress(&value_len, value, len_max)?;
            Some((Flags::LZ4, stored))
        }
        Compression::Zstd { level } => {
            let Some(dictionary) = dictionary.filter(|_| value.len() <= DICTIONARY_UP_TO) else {
                let stored = zstd::compress(&value_len, value, len_max, level)?;
                return Some((Flags::ZSTD, stored));
            };
            let [a, b, c, d] = dictionary.id().to_le_bytes();
            let [e, f, g, h] = value_len;
            let before = [a, b, c, d, e, f, g, h];
            let stored = zstd::compress_by(dictionary, &before, value, len_max)?;
            Some((Flags::ZSTD.and(Flags::DICTIONARY), stored))
        }
    }
}

/// The dictionary that a stored value needs.
pub(crate) fn dictionary_id(flags: Flags, stored: &[u8]) -> Result<Option<u32>, Fault> {
    if !flags.has(Flags::DICTIONARY) {
        return Ok(None);
    }
    Ok(Some(take_field(stored)?.0))
}

/// The value that was stored as `stored`. `dictionary` is the one that [`dictionary_id`] named.
pub(crate) fn decompress(
    flags: Flags,
    stored: &[u8],
    dictionary: Option<&Decoder>,
) -> Result<Vec<u8>, Fault> {
    let how = flags.only(Flags::COMPRESSION);
    let stored = match (dictionary_id(flags, stored)?, dictionary) {
        (None, _) => stored,
        (Some(id), Some(dictionary)) if dictionary.id() == id => take_field(stored)?.1,
        (Some(_), _) => return Err(Fault::Shape("a value that needs another dictionary")),
    };
    let (len, compressed) = take_field(stored)?;
    let len_max = if how == Flags::LZ4 { lz4::len_max } else { zstd::len_max }(compressed.len());
    let len = usize::try_from(len).ok().filter(|&len| len as u64 <= len_max);
    let len = len.ok_or(Fault::Shape("a value longer than its compressed bytes can make it"))?;
    let value = if how == Flags::LZ4 {
        lz4::decompress(compressed, len)
    } else if how == Flags::ZSTD {
        zstd::decompress(compressed, len)
    } else if how == Flags::ZSTD.and(Flags::DICTIONARY)
        && let Some(dictionary) = dictionary
    {
        zstd::decompress_by(dictionary, compressed, len)
    } else {
        return Err(Fault::Shape("a value compressed in two ways"));
    };
    value.filter(|value| value.len() == len).ok_or(Fault::Shape("a value that does not decompress"))
}

fn take_field(bytes: &[u8]) -> Result<(u32, &[u8]), Fault> {
    let (field, rest) = bytes
        .split_first_chunk::<FIELD_LEN>()
        .ok_or(Fault::Shape("a compressed value without its length"))?;
    Ok((u32::from_le_bytes(*field), rest))
}

#[cfg(test)]
mod tests;
