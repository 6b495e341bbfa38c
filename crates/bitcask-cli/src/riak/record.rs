//! A record of a data file: its header, and what its value says about deletion.

use super::crc;

/// CRC, tstamp, length of the key, length of the value.
pub(super) const HEADER_LEN: usize = 14;

/// [`HEADER_LEN`] as an offset.
pub(super) const HEADER_LEN_U64: u64 = 14;

/// The bytes before a record's key. Every integer is big-endian.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Header {
    /// CRC-32 of all that follows it.
    pub(super) crc: u32,
    /// Seconds since 1970.
    pub(super) tstamp: u32,
    pub(super) key_len: u16,
    pub(super) value_len: u32,
}

impl Header {
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (crc, rest) = bytes.split_first_chunk()?;
        let (tstamp, rest) = rest.split_first_chunk()?;
        let (key_len, rest) = rest.split_first_chunk()?;
        let (value_len, _) = rest.split_first_chunk()?;
        Some(Self {
            crc: u32::from_be_bytes(*crc),
            tstamp: u32::from_be_bytes(*tstamp),
            key_len: u16::from_be_bytes(*key_len),
            value_len: u32::from_be_bytes(*value_len),
        })
    }

    /// The length of the whole record.
    pub(super) fn total_len(self) -> u64 {
        HEADER_LEN_U64 + u64::from(self.key_len) + u64::from(self.value_len)
    }
}

/// A record that checks out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) offset: u64,
    pub(super) tstamp: u32,
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
}

impl Record {
    /// The record in these bytes, of exactly its length, if it checks out.
    pub(super) fn parse(offset: u64, bytes: &[u8]) -> Option<Self> {
        let header = Header::parse(bytes)?;
        let covered = bytes.get(4..)?;
        let body = bytes.get(HEADER_LEN..)?;
        let (key, value) = body.split_at_checked(usize::from(header.key_len))?;
        let whole = u64::try_from(value.len()) == Ok(u64::from(header.value_len));
        (whole && crc::of(covered) == header.crc).then(|| Self {
            offset,
            tstamp: header.tstamp,
            key: key.to_vec(),
            value: value.to_vec(),
        })
    }

    pub(super) fn total_len(&self) -> u64 {
        let len = HEADER_LEN.saturating_add(self.key.len()).saturating_add(self.value.len());
        u64::try_from(len).unwrap_or(u64::MAX)
    }

    pub(super) fn end(&self) -> u64 {
        self.offset.saturating_add(self.total_len())
    }
}

/// What a value looks like to one who asks whether it stands for a deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Exactly what a delete wrote before 1.7: the bare text.
    OldTombstone,
    /// Exactly what a delete or a merge writes since: the text, a digit, the number of a file.
    Tombstone,
    /// It only begins like one. The original hides such values; they are users' values all the same.
    Lookalike,
    Value,
}

impl Shape {
    pub(super) fn of(value: &[u8]) -> Self {
        let Some(rest) = value.strip_prefix(b"bitcask_tombstone") else { return Self::Value };
        match rest {
            [] => Self::OldTombstone,
            [b'1' | b'2', _, _, _, _] => Self::Tombstone,
            _ => Self::Lookalike,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Record, Shape};

    const VALUE: &[u8] = b"\x2b\x14\x96\x58\x5f\0\0\0\0\x01\0\0\0\x02kv1";
    const TOMBSTONE: &[u8] =
        b"\x40\x52\x13\xbf\x5f\0\0\0\0\x01\0\0\0\x16kbitcask_tombstone2\0\0\0\x07";

    #[test]
    fn the_documented_records_are_read() {
        let record = Record::parse(0, VALUE).unwrap();
        assert_eq!(
            (record.tstamp, &record.key[..], &record.value[..]),
            (0x5f00_0000, &b"k"[..], &b"v1"[..])
        );
        assert_eq!(record.end(), 17);
        let record = Record::parse(9, TOMBSTONE).unwrap();
        assert_eq!((record.total_len(), record.end()), (37, 46));
        assert_eq!(Shape::of(&record.value), Shape::Tombstone);
    }

    #[test]
    fn a_flipped_bit_anywhere_and_every_cut_are_told() {
        for bit in 0..TOMBSTONE.len() * 8 {
            let mut bytes = TOMBSTONE.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Record::parse(0, &bytes), None, "bit {bit}");
        }
        for len in 0..TOMBSTONE.len() {
            assert_eq!(Record::parse(0, &TOMBSTONE[..len]), None, "{len} bytes");
        }
    }

    #[test]
    fn only_exact_shapes_are_tombstones() {
        assert_eq!(Shape::of(b"bitcask_tombstone"), Shape::OldTombstone);
        assert_eq!(Shape::of(b"bitcask_tombstone1\0\0\0\0"), Shape::Tombstone);
        for value in
            [&b"bitcask_tombstone3\0\0\0\0"[..], b"bitcask_tombstones", b"bitcask_tombstone2\0\0\0"]
        {
            assert_eq!(Shape::of(value), Shape::Lookalike);
        }
        assert_eq!(Shape::of(b"bitcask_tombston"), Shape::Value);
    }
}
