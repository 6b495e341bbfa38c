//! One record of the log: fields to bytes and back. Pure functions; `docs/format.md` is the specification.
#![warn(clippy::indexing_slicing)]

use std::ops::Range;

use crate::place::ALIGNMENT;

/// Bytes before the key of a record without expiry.
pub(crate) const RECORD_HEADER_LEN: usize = 28;
/// Bytes of the value of a mark.
pub(crate) const MARK_VALUE_LEN: usize = 24;
/// Bytes of the value of a frame.
pub(crate) const FRAME_VALUE_LEN: usize = 16;
/// Bytes of a mark.
pub(crate) const MARK_LEN: usize = RECORD_HEADER_LEN + MARK_VALUE_LEN;
/// Bytes of a frame.
pub(crate) const FRAME_LEN: usize = RECORD_HEADER_LEN + FRAME_VALUE_LEN;
/// The longest key.
pub const KEY_LEN_MAX: usize = 65_535;
/// The longest value.
pub const VALUE_LEN_MAX: u64 = 4_294_967_295;

/// The expiry of what never expires.
pub(crate) const NEVER: u64 = u64::MAX;

const EXPIRY_LEN: usize = 8;
const CHECKSUM_LEN: usize = 4;
const ZEROS: &[u8] = &[0; ALIGNMENT];

/// What a record is; bits as on the disk, never to be renumbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flags(u16);

impl Flags {
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const VALUE: Self = Self(1 << 0);
    pub(crate) const TOMBSTONE: Self = Self(1 << 1);
    pub(crate) const FRAME: Self = Self(1 << 2);
    pub(crate) const MARK: Self = Self(1 << 3);
    pub(crate) const MEMBER: Self = Self(1 << 4);
    pub(crate) const COLLIDES: Self = Self(1 << 5);
    pub(crate) const END: Self = Self(1 << 6);
    pub(crate) const EXPIRES: Self = Self(1 << 8);
    pub(crate) const LZ4: Self = Self(1 << 9);
    pub(crate) const ZSTD: Self = Self(1 << 10);
    pub(crate) const DICTIONARY: Self = Self(1 << 11);
    /// What says how the value is compressed.
    pub(crate) const COMPRESSION: Self = Self(Self::LZ4.0 | Self::ZSTD.0 | Self::DICTIONARY.0);

    const CHANGE: u16 = Self::VALUE.0 | Self::TOMBSTONE.0;
    const KIND: u16 = Self::CHANGE | Self::FRAME.0 | Self::MARK.0;
    const UNDERSTOOD: u16 = Self::KIND
        | Self::MEMBER.0
        | Self::COLLIDES.0
        | Self::END.0
        | Self::EXPIRES.0
        | if cfg!(feature = "lz4") { Self::LZ4.0 } else { 0 }
        | if cfg!(feature = "zstd") { Self::ZSTD.0 | Self::DICTIONARY.0 } else { 0 };
    /// Bits that no version has a meaning for: set, they are damage and not the future.
    const NEVER: u16 = 0xf080;

    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(crate) const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// What it has of `other`.
    pub(crate) const fn only(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether the value is stored in another form than it was put in.
    pub(crate) const fn is_compressed(self) -> bool {
        self.0 & Self::COMPRESSION.0 != 0
    }

    /// Whether it says something about a key.
    pub(crate) const fn is_change(self) -> bool {
        self.0 & Self::CHANGE != 0
    }

    /// Whether such flags could have been written by this version or a later one.
    const fn is_plausible(self) -> bool {
        (self.0 & Self::KIND).count_ones() == 1 && self.0 & Self::NEVER == 0
    }

    /// What of it this version does not know how to read.
    const fn unknown(self) -> u16 {
        self.0 & !Self::UNDERSTOOD
    }
}

/// What is written: everything but the checksum, which depends on where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a> {
    pub(crate) flags: Flags,
    pub(crate) seq: u64,
    pub(crate) time_ms: u64,
    /// When it expires, or [`NEVER`]. The flag `EXPIRES` follows from it.
    pub(crate) expires_ms: u64,
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
}

impl Fields<'_> {
    /// Bytes of the record.
    pub(crate) fn record_len(&self) -> u64 {
        record_len(self.key.len(), self.value.len(), self.expires_ms)
    }

    /// Bytes of the record before its value.
    pub(crate) fn before_value_len(&self) -> u64 {
        self.header_len() as u64 + self.key.len() as u64
    }

    fn header_len(&self) -> usize {
        RECORD_HEADER_LEN + expiry_len(self.expires_ms)
    }
}

/// What is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) flags: Flags,
    pub(crate) seq: u64,
    pub(crate) time_ms: u64,
    /// When it expires, or [`NEVER`].
    pub(crate) expires_ms: u64,
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
    pub(crate) checksum: u32,
    /// Bytes it takes, padding included.
    pub(crate) len: usize,
}

/// Why bytes are not a record. Whether that is a torn tail or damage is recovery's to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The bytes end before the record does.
    Short,
    /// No record has such flags.
    Flags(u16),
    /// The checksum is another.
    Checksum { stored: u32, computed: u32 },
    /// It checks out, but this version does not know some of its flags.
    Unsupported(u16),
    /// A checked record whose contents contradict themselves or their place.
    Shape(&'static str),
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Short => f.write_str("the file ends within the record"),
            Self::Flags(flags) => write!(f, "no record has the flags {flags:#06x}"),
            Self::Checksum { stored, computed } => {
                write!(f, "checksum {computed:#010x} where {stored:#010x} is stored")
            }
            Self::Unsupported(flags) => write!(f, "unknown flags {flags:#06x}"),
            Self::Shape(what) => f.write_str(what),
        }
    }
}

/// Bytes that a record takes, padding included. In 64 bits, because a value may be 4 GiB long.
pub(crate) fn record_len(key_len: usize, value_len: usize, expires_ms: u64) -> u64 {
    let header_len = RECORD_HEADER_LEN + expiry_len(expires_ms);
    (header_len as u64 + key_len as u64 + value_len as u64).next_multiple_of(ALIGNMENT as u64)
}

fn expiry_len(expires_ms: u64) -> usize {
    if expires_ms == NEVER { 0 } else { EXPIRY_LEN }
}

/// Writes a record that will lie at `offset` into `bytes`, which has exactly its length. Gives its checksum.
pub(crate) fn encode(fields: &Fields<'_>, offset: u64, seed: u32, bytes: &mut [u8]) -> u32 {
    let sum = encode_body(fields, offset, seed, bytes);
    put_checksum(bytes, sum);
    sum
}

/// Writes all of a record but its checksum, which it gives. Until that is there, too, no other process takes the
/// bytes for a record.
#[inline]
pub(crate) fn encode_body(fields: &Fields<'_>, offset: u64, seed: u32, bytes: &mut [u8]) -> u32 {
    // Written out for either length of the header, because nearly every record has the shorter.
    if fields.expires_ms == NEVER {
        encode_behind(RECORD_HEADER_LEN, fields, offset, seed, bytes)
    } else {
        encode_behind(RECORD_HEADER_LEN + EXPIRY_LEN, fields, offset, seed, bytes)
    }
}

#[inline(always)]
fn encode_behind(
    header_len: usize,
    fields: &Fields<'_>,
    offset: u64,
    seed: u32,
    bytes: &mut [u8],
) -> u32 {
    let (_, body) = bytes.split_at_mut(CHECKSUM_LEN);
    let (header, rest) = body.split_at_mut(header_len - CHECKSUM_LEN);
    let (key, rest) = rest.split_at_mut(fields.key.len());
    let (value, padding) = rest.split_at_mut(fields.value.len());
    debug_assert!(padding.len() < ALIGNMENT, "the buffer has the record's length");

    put_header(header, fields);
    key.copy_from_slice(fields.key);
    value.copy_from_slice(fields.value);
    padding.fill(0);

    crc32c::crc32c_append(start(seed, offset), body)
}

/// Makes a record of what [`encode_body`] wrote.
pub(crate) fn put_checksum(bytes: &mut [u8], sum: u32) {
    put(bytes, 0, &sum.to_le_bytes());
}

/// What comes before the value of a record, what comes after it, and its checksum: for large values, which are
/// written from where they are.
pub(crate) fn encode_around(
    fields: &Fields<'_>,
    offset: u64,
    seed: u32,
) -> (Vec<u8>, &'static [u8], u32) {
    let mut before = vec![0; fields.header_len()];
    if let Some(header) = before.get_mut(CHECKSUM_LEN..) {
        put_header(header, fields);
    }
    before.extend_from_slice(fields.key);
    let len = before.len() + fields.value.len();
    let padding = ZEROS.get(..len.next_multiple_of(ALIGNMENT) - len).unwrap_or_default();

    let body = before.get(CHECKSUM_LEN..).unwrap_or_default();
    let sum = [body, fields.value, padding]
        .iter()
        .fold(start(seed, offset), |sum, part| crc32c::crc32c_append(sum, part));
    put(&mut before, 0, &sum.to_le_bytes());
    (before, padding, sum)
}

/// What comes before the value of a record whose value is known by its length, and by checksum and length of it with
/// its padding; and the checksum of the record.
pub(crate) fn encode_before(
    fields: &Fields<'_>,
    offset: u64,
    seed: u32,
    (value_len, tail_crc, tail_len): (u64, u32, usize),
) -> (Vec<u8>, u32) {
    let mut before = vec![0; fields.header_len()];
    if let Some(header) = before.get_mut(CHECKSUM_LEN..) {
        put_header_of(header, fields, value_len);
    }
    before.extend_from_slice(fields.key);
    let body = before.get(CHECKSUM_LEN..).unwrap_or_default();
    let sum = crc32c::crc32c_append(start(seed, offset), body);
    let sum = crc32c::crc32c_combine(sum, tail_crc, tail_len);
    put(&mut before, 0, &sum.to_le_bytes());
    (before, sum)
}

/// The zeros that follow a value which ends at this offset.
pub(crate) fn padding_of(end: u64) -> &'static [u8] {
    let len = end.next_multiple_of(ALIGNMENT as u64) - end;
    usize::try_from(len).ok().and_then(|len| ZEROS.get(..len)).unwrap_or_default()
}

fn put_header(header: &mut [u8], fields: &Fields<'_>) {
    put_header_of(header, fields, fields.value.len() as u64);
}

#[inline]
fn put_header_of(header: &mut [u8], fields: &Fields<'_>, value_len: u64) {
    let key_len = u16::try_from(fields.key.len()).expect("limits were checked at the front door");
    let value_len = u32::try_from(value_len).expect("limits were checked at the front door");
    // One store for the three, because the checksum reads them back as one word at once.
    let lens = u64::from(key_len) << 16 | u64::from(value_len) << 32;
    let expires = fields.expires_ms != NEVER;
    let flags = fields.flags.without(Flags::EXPIRES);
    let flags = if expires { flags.and(Flags::EXPIRES) } else { flags };
    put(header, 0, &(u64::from(flags.0) | lens).to_le_bytes());
    put(header, 8, &fields.seq.to_le_bytes());
    put(header, 16, &fields.time_ms.to_le_bytes());
    if expires {
        put(header, 24, &fields.expires_ms.to_le_bytes());
    }
}

#[expect(clippy::indexing_slicing, reason = "offsets are constants within a header of fixed size")]
#[inline]
fn put(header: &mut [u8], at: usize, field: &[u8]) {
    header[at..at + field.len()].copy_from_slice(field);
}

/// The record that starts at `offset` of its file, where `bytes` begins, if it checks out.
pub(crate) fn decode(bytes: &[u8], offset: u64, seed: u32) -> Result<Record<'_>, Fault> {
    let record = parse(bytes)?;
    let body = bytes.get(CHECKSUM_LEN..record.len).ok_or(Fault::Short)?;
    let computed = crc32c::crc32c_append(start(seed, offset), body);
    if computed != record.checksum {
        return Err(Fault::Checksum { stored: record.checksum, computed });
    }
    match record.flags.unknown() {
        0 => Ok(record),
        unknown => Err(Fault::Unsupported(unknown)),
    }
}

/// The fields of a record without a look at its checksum: only for comparing keys, where a wrong answer
/// leads to a checked read.
#[inline]
pub(crate) fn parse(bytes: &[u8]) -> Result<Record<'_>, Fault> {
    let (head, value_len, rest) = parse_head(bytes)?;
    let value_len = usize::try_from(value_len).ok().ok_or(Fault::Short)?;
    let (value, rest) = rest.split_at_checked(value_len).ok_or(Fault::Short)?;

    let len = (bytes.len() - rest.len()).next_multiple_of(ALIGNMENT);
    if len > bytes.len() {
        return Err(Fault::Short);
    }
    Ok(Record { value, len, ..head })
}

/// The same without the value, which need not be there: its length, and the bytes from its start on.
#[inline(always)]
pub(crate) fn parse_head(bytes: &[u8]) -> Result<(Record<'_>, u32, &[u8]), Fault> {
    let (checksum, rest) = take(bytes)?;
    let (flags, rest) = take(rest)?;
    let (key_len, rest) = take(rest)?;
    let (value_len, rest) = take(rest)?;
    let (seq, rest) = take(rest)?;
    let (time_ms, rest) = take(rest)?;

    let flags = Flags(u16::from_le_bytes(flags));
    if !flags.is_plausible() {
        return Err(Fault::Flags(flags.0));
    }
    let (expires_ms, rest) = if flags.has(Flags::EXPIRES) {
        let (expires_ms, rest) = take(rest)?;
        (u64::from_le_bytes(expires_ms), rest)
    } else {
        (NEVER, rest)
    };
    let (key, rest) =
        rest.split_at_checked(u16::from_le_bytes(key_len).into()).ok_or(Fault::Short)?;
    let head = Record {
        flags,
        seq: u64::from_le_bytes(seq),
        time_ms: u64::from_le_bytes(time_ms),
        expires_ms,
        key,
        value: &[],
        checksum: u32::from_le_bytes(checksum),
        len: 0,
    };
    Ok((head, u32::from_le_bytes(value_len), rest))
}

/// How long the record at the start of `bytes` says it is, as far as its header can be read.
pub(crate) fn claimed_len(bytes: &[u8]) -> Result<u64, Fault> {
    let (_, rest) = take::<CHECKSUM_LEN>(bytes)?;
    let (flags, rest) = take(rest)?;
    let (key_len, rest) = take(rest)?;
    let (value_len, _) = take(rest)?;
    let flags = Flags(u16::from_le_bytes(flags));
    if !flags.is_plausible() {
        return Err(Fault::Flags(flags.0));
    }
    let expiry_len = if flags.has(Flags::EXPIRES) { EXPIRY_LEN as u64 } else { 0 };
    let len = RECORD_HEADER_LEN as u64
        + expiry_len
        + u64::from(u16::from_le_bytes(key_len))
        + u64::from(u32::from_le_bytes(value_len));
    Ok(len.next_multiple_of(ALIGNMENT as u64))
}

/// How long a record is, and where its value lies within it, as far as its header says.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) len: u64,
    pub(crate) value: Range<u64>,
    pub(crate) flags: Flags,
    stored: u32,
}

/// The shape of the record that `bytes` begin with.
pub(crate) fn shape(bytes: &[u8]) -> Result<Shape, Fault> {
    let len = claimed_len(bytes)?;
    let (stored, rest) = take(bytes)?;
    let (flags, rest) = take(rest)?;
    let (key_len, rest) = take(rest)?;
    let (value_len, _) = take(rest)?;
    let flags = Flags(u16::from_le_bytes(flags));
    let expiry_len = if flags.has(Flags::EXPIRES) { EXPIRY_LEN as u64 } else { 0 };
    let start = RECORD_HEADER_LEN as u64 + expiry_len + u64::from(u16::from_le_bytes(key_len));
    let value = start..start + u64::from(u32::from_le_bytes(value_len));
    Ok(Shape { len, value, flags, stored: u32::from_le_bytes(stored) })
}

impl Shape {
    /// The checksum of this record at `offset`, of which no bytes were seen yet.
    pub(crate) fn checksum_at(&self, offset: u64, seed: u32) -> Checksum {
        Checksum { sum: start(seed, offset), stored: self.stored, flags: self.flags }
    }
}

/// The checksum of a record that is read part by part.
#[derive(Debug)]
pub(crate) struct Checksum {
    sum: u32,
    stored: u32,
    flags: Flags,
}

impl Checksum {
    /// Takes in the bytes of the record from position `at` on, which is where the last ended.
    pub(crate) fn add(&mut self, at: u64, bytes: &[u8]) {
        let body = if at == 0 { bytes.get(CHECKSUM_LEN..).unwrap_or_default() } else { bytes };
        self.sum = crc32c::crc32c_append(self.sum, body);
    }

    /// Whether the record checks out, when all of it was taken in.
    pub(crate) fn check(&self) -> Result<(), Fault> {
        if self.sum != self.stored {
            return Err(Fault::Checksum { stored: self.stored, computed: self.sum });
        }
        match self.flags.unknown() {
            0 => Ok(()),
            unknown => Err(Fault::Unsupported(unknown)),
        }
    }
}

/// What the checksum of a record at `offset` starts from.
fn start(seed: u32, offset: u64) -> u32 {
    let units = offset / ALIGNMENT as u64;
    seed ^ u32::try_from(units & u64::from(u32::MAX)).expect("32 bits were kept")
}

/// The next checksum over the checksums of a file's records.
pub(crate) fn digest(before: u32, checksum: u32) -> u32 {
    crc32c::crc32c_append(before, &checksum.to_le_bytes())
}

fn take<const N: usize>(bytes: &[u8]) -> Result<([u8; N], &[u8]), Fault> {
    let (field, rest) = bytes.split_first_chunk::<N>().ok_or(Fault::Short)?;
    Ok((*field, rest))
}

/// A position in the log: everything before it, in this file and in earlier ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LogPosition {
    pub(crate) file_id: u64,
    pub(crate) offset: u64,
}

/// The value of a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Up to where the log was durable.
    pub(crate) durable: LogPosition,
    /// Over the checksums of the file's records before the mark.
    pub(crate) digest: u32,
    /// The seed of the file: so that marks can be found when the file's header is lost.
    pub(crate) seed: u32,
}

impl Mark {
    pub(crate) fn encode(&self) -> [u8; MARK_VALUE_LEN] {
        let mut value = [0; MARK_VALUE_LEN];
        put(&mut value, 0, &self.durable.file_id.to_le_bytes());
        put(&mut value, 8, &self.durable.offset.to_le_bytes());
        put(&mut value, 16, &self.digest.to_le_bytes());
        put(&mut value, 20, &self.seed.to_le_bytes());
        value
    }

    pub(crate) fn decode(value: &[u8]) -> Result<Self, Fault> {
        if value.len() != MARK_VALUE_LEN {
            return Err(Fault::Shape("a mark has another length"));
        }
        let (file_id, rest) = take(value)?;
        let (offset, rest) = take(rest)?;
        let (digest, rest) = take(rest)?;
        let (seed, _) = take(rest)?;
        let (file_id, offset) = (u64::from_le_bytes(file_id), u64::from_le_bytes(offset));
        let (digest, seed) = (u32::from_le_bytes(digest), u32::from_le_bytes(seed));
        Ok(Self { durable: LogPosition { file_id, offset }, digest, seed })
    }
}

/// The value of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Members that follow.
    pub(crate) count: u32,
    /// Bytes that they take.
    pub(crate) len: u64,
}

impl Frame {
    pub(crate) fn encode(&self) -> [u8; FRAME_VALUE_LEN] {
        let mut value = [0; FRAME_VALUE_LEN];
        put(&mut value, 0, &self.count.to_le_bytes());
        put(&mut value, 8, &self.len.to_le_bytes());
        value
    }

    pub(crate) fn decode(value: &[u8]) -> Result<Self, Fault> {
        if value.len() != FRAME_VALUE_LEN {
            return Err(Fault::Shape("a frame has another length"));
        }
        let (count, rest) = take(value)?;
        let (_, rest) = take::<4>(rest)?;
        let (len, _) = take(rest)?;
        Ok(Self { count: u32::from_le_bytes(count), len: u64::from_le_bytes(len) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let fields = Fields {
            flags: Flags::VALUE,
            seq: 7,
            time_ms: 1_700_000_000_000,
            expires_ms: NEVER,
            key: b"key",
            value: b"some value",
        };
        let mut bytes = vec![0xaa; usize::try_from(fields.record_len()).unwrap()];
        encode(&fields, 64, 99, &mut bytes);
        bytes
    }

    #[test]
    fn a_record_comes_back() {
        let bytes = sample();
        let record = decode(&bytes, 64, 99).unwrap();
        assert_eq!((record.key, record.value), (&b"key"[..], &b"some value"[..]));
        assert_eq!((record.seq, record.time_ms), (7, 1_700_000_000_000));
        assert_eq!(record.len, bytes.len());
        assert_eq!(claimed_len(&bytes), Ok(bytes.len() as u64));
    }

    #[test]
    fn a_record_in_parts_has_the_same_bytes() {
        for (value_len, expires_ms) in (0..9).flat_map(|len| [(len, NEVER), (len, 77)]) {
            let value = &b"123456789"[..value_len];
            let flags = Flags::VALUE;
            let fields = Fields { flags, seq: 7, time_ms: 8, expires_ms, key: b"key", value };
            let mut whole = vec![0xaa; usize::try_from(fields.record_len()).unwrap()];
            let checksum = encode(&fields, 64, 99, &mut whole);
            let (before, after, sum) = encode_around(&fields, 64, 99);
            assert_eq!([&before[..], value, after].concat(), whole);
            assert_eq!(sum, checksum);
            let record = decode(&whole, 64, 99).unwrap();
            assert_eq!((record.value, record.expires_ms), (value, expires_ms));
            assert_eq!(record.flags.has(Flags::EXPIRES), expires_ms != NEVER);
            assert_eq!(claimed_len(&whole), Ok(whole.len() as u64));
        }
    }

    #[test]
    fn a_record_is_put_together_from_what_is_known_of_its_value() {
        for value_len in [0, 1, 5, 1000] {
            let value = &vec![7; value_len];
            let (seq, time_ms, expires_ms, key) = (7, 8, 99, b"key");
            let fields = Fields { flags: Flags::VALUE, seq, time_ms, expires_ms, key, value };
            let mut whole = vec![0; usize::try_from(fields.record_len()).unwrap()];
            let checksum = encode(&fields, 64, 99, &mut whole);
            let padding = padding_of(64 + fields.before_value_len() + value_len as u64);
            let tail = [value, padding].concat();
            let tail_crc = crc32c::crc32c(&tail);
            let known = (value_len as u64, tail_crc, tail.len());
            let fields = Fields { value: &[], ..fields };
            let (before, sum) = encode_before(&fields, 64, 99, known);
            assert_eq!((sum, [before, tail].concat()), (checksum, whole));
        }
    }

    #[test]
    fn every_prefix_is_short() {
        let bytes = sample();
        for end in 0..bytes.len() {
            assert_eq!(decode(&bytes[..end], 64, 99), Err(Fault::Short), "cut at {end}");
        }
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let bytes = sample();
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&bytes, 64, 99).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_record_checks_out_only_in_its_place_and_file() {
        let bytes = sample();
        assert!(matches!(decode(&bytes, 68, 99), Err(Fault::Checksum { .. })));
        assert!(matches!(decode(&bytes, 64, 98), Err(Fault::Checksum { .. })));
    }

    #[test]
    fn zeros_are_no_record() {
        assert_eq!(decode(&[0; 4096], 64, 0), Err(Fault::Flags(0)));
    }

    #[test]
    fn a_flag_that_this_build_does_not_know_is_told_from_damage() {
        for (bit, known) in [(9, cfg!(feature = "lz4")), (10, cfg!(feature = "zstd"))] {
            let mut bytes = sample();
            bytes[5] |= 1 << (bit - 8);
            let sum = crc32c::crc32c_append(start(99, 64), &bytes[4..]);
            bytes[..4].copy_from_slice(&sum.to_le_bytes());
            let decoded = decode(&bytes, 64, 99);
            assert_eq!(decoded == Err(Fault::Unsupported(1 << bit)), !known, "{decoded:?}");
            assert_eq!(decoded.is_ok(), known);
        }
    }

    #[test]
    fn marks_and_frames_come_back() {
        let mark = Mark {
            durable: LogPosition { file_id: 3, offset: 1 << 33 },
            digest: 0xdead_beef,
            seed: 5,
        };
        assert_eq!(Mark::decode(&mark.encode()), Ok(mark));
        let frame = Frame { count: 9, len: 1 << 34 };
        assert_eq!(Frame::decode(&frame.encode()), Ok(frame));
    }
}
