//! RDB: a snapshot. A header, then opcodes and keys with their values, then a CRC-64 of all before it.
//!
//! A value has no length of its own: to step over one is to follow its parts. Those of lists, sets, hashes and sorted
//! sets are strings, or one string that holds all in a compact form of its own; either way only lengths of strings
//! matter here.

use std::io::BufRead;
use std::path::Path;

use bitcask::{KEY_LEN_MAX, VALUE_LEN_MAX};

use super::aof::number;
use super::sink::{Put, Sink};
use super::source::{Source, crc64};
use super::{Current, Result, lzf};

/// What an RDB file, or an AOF with a preamble, begins with.
pub(super) fn is_magic(bytes: &[u8]) -> bool {
    bytes.starts_with(b"REDIS") || bytes.starts_with(b"VALKE")
}

/// Who wrote the file: from 22 on the types of values are not the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writer {
    Redis,
    Valkey,
}

const REDIS_VERSION_MAX: u64 = 12;

/// Up to 8, Valkey writes version 11 of Redis; 9 writes this.
const VALKEY_VERSION: u64 = 80;

/// From here on there is a checksum at the end.
const VERSION_WITH_CRC: u64 = 5;

/// The bytes before a value that are not a type.
mod opcode {
    pub(super) const SLOT_INFO: u8 = 244;
    pub(super) const FUNCTION2: u8 = 245;
    pub(super) const MODULE_AUX: u8 = 247;
    pub(super) const IDLE: u8 = 248;
    pub(super) const FREQ: u8 = 249;
    pub(super) const AUX: u8 = 250;
    pub(super) const RESIZEDB: u8 = 251;
    pub(super) const EXPIRETIME_MS: u8 = 252;
    pub(super) const EXPIRETIME: u8 = 253;
    pub(super) const SELECTDB: u8 = 254;
    pub(super) const EOF: u8 = 255;
    /// The first that is not a type.
    pub(super) const FIRST: u8 = 242;
}

const TYPE_STRING: u8 = 0;

/// Reads a snapshot to its end, not further: commands may follow.
pub(super) fn read<R: BufRead>(source: &mut Source<R>, sink: &mut Sink<'_>) -> Result<()> {
    source.sum_from_here();
    let (writer, version) = header(source)?;
    let mut snapshot = Snapshot { source, writer, db: 0, expires_ms: None };
    while snapshot.step(sink)? {
        let at = snapshot.source.offset();
        sink.reached(at)?;
    }
    if version >= VERSION_WITH_CRC {
        check_sum(source)?;
    }
    source.sum_no_more();
    Ok(())
}

/// Looks at the beginning of a file, as far as it is there without waiting: most of what is no RDB file, or one that is
/// too new, is told before anything is made of it.
pub(super) fn look<R: BufRead>(source: &mut Source<R>) -> Result<()> {
    if source.is_at_end()? {
        return Err(source.damaged(0, "the file is empty"));
    }
    let magic = source.peek()?.first_chunk().copied();
    magic.map_or(Ok(()), |magic| version(source, &magic).map(drop))
}

fn header<R: BufRead>(source: &mut Source<R>) -> Result<(Writer, u64)> {
    let magic = source.array::<9>()?;
    version(source, &magic)
}

/// Who wrote the file, and the version of its format, by its first bytes.
fn version<R: BufRead>(source: &Source<R>, magic: &[u8; 9]) -> Result<(Writer, u64)> {
    let begin = 0;
    let parsed = match magic {
        [b'R', b'E', b'D', b'I', b'S', digits @ ..] => {
            number(digits).map(|version| (Writer::Redis, version))
        }
        [b'V', b'A', b'L', b'K', b'E', b'Y', digits @ ..] => {
            number(digits).map(|version| (Writer::Valkey, version))
        }
        _ => None,
    };
    let Some((writer, version)) = parsed else {
        return Err(source.damaged(begin, "no RDB file: it begins with neither REDIS nor VALKEY"));
    };
    match (writer, version) {
        (Writer::Redis, 1..=REDIS_VERSION_MAX) | (Writer::Valkey, VALKEY_VERSION) => {
            Ok((writer, version))
        }
        _ => Err(source.unsupported(begin, format!("RDB version {version} of {writer:?}"))),
    }
}

fn check_sum<R: BufRead>(source: &mut Source<R>) -> Result<()> {
    let (begin, computed) = (source.offset(), source.crc());
    let stored = u64::from_le_bytes(source.array()?);
    // Zero: checksums were switched off.
    if stored != 0 && stored != computed {
        let what = format!("the checksum is {stored:016x}, that of the bytes {computed:016x}");
        return Err(source.damaged(begin, what));
    }
    Ok(())
}

/// What a length can be instead: the next bytes are a number, or compressed.
enum Length {
    Plain(u64),
    Encoded(u8),
}

/// Where we are in a snapshot.
struct Snapshot<'s, R> {
    source: &'s mut Source<R>,
    writer: Writer,
    db: u64,
    /// Of the next key.
    expires_ms: Option<u64>,
}

impl<R: BufRead> Snapshot<'_, R> {
    /// Reads an opcode or a key with its value; false at the end.
    fn step(&mut self, sink: &mut Sink<'_>) -> Result<bool> {
        let begin = self.source.offset();
        match self.source.byte()? {
            opcode::EOF => return Ok(false),
            opcode::SELECTDB => self.db = self.length()?,
            opcode::RESIZEDB => self.skip_lengths(2)?,
            opcode::SLOT_INFO => self.skip_lengths(3)?,
            opcode::IDLE => self.skip_lengths(1)?,
            opcode::FREQ => self.source.skip(1)?,
            opcode::AUX => self.skip_strings(2)?,
            opcode::EXPIRETIME => {
                let seconds = i32::from_le_bytes(self.source.array()?);
                self.expires_ms = Some(u64::try_from(seconds).unwrap_or(0) * 1000);
            }
            opcode::EXPIRETIME_MS => {
                let ms = i64::from_le_bytes(self.source.array()?);
                self.expires_ms = Some(u64::try_from(ms).unwrap_or(0));
            }
            opcode::MODULE_AUX => {
                // Whose it is, then its parts, of which the first says when it is loaded.
                self.skip_lengths(1)?;
                self.skip_module()?;
                sink.report.other_type("data of a module");
            }
            opcode::FUNCTION2 => {
                self.skip_string()?;
                sink.report.other_type("function");
            }
            other @ opcode::FIRST.. => {
                return Err(self.source.unsupported(begin, format!("opcode {other}")));
            }
            kind => self.entry(begin, kind, sink)?,
        }
        Ok(true)
    }

    /// A key and its value.
    fn entry(&mut self, begin: u64, kind: u8, sink: &mut Sink<'_>) -> Result<()> {
        let expires_ms = self.expires_ms.take();
        if !sink.wants(self.db) {
            self.skip_string()?;
            self.skip_value(begin, kind)?;
            sink.report.other_database(self.db);
            return Ok(());
        }
        if kind != TYPE_STRING {
            self.skip_string()?;
            let name = self.skip_value(begin, kind)?;
            sink.report.other_type(name);
            return Ok(());
        }
        let Some(key) = self.string(KEY_LEN_MAX as u64)? else {
            self.skip_string()?;
            sink.notice(self.source.file(), begin, "a key that is too long was left out");
            return Ok(());
        };
        let taken = match self.string(VALUE_LEN_MAX)? {
            Some(value) => sink.put(self.db, &key, Current { value, expires_ms })?,
            None => Put::TooLong,
        };
        match taken {
            Put::Done => sink.report.snapshot_keys += 1,
            Put::Expired => {}
            Put::TooLong => {
                let what = "a key was left out: it or its value is too long";
                sink.notice(self.source.file(), begin, what);
            }
        }
        Ok(())
    }

    fn length_or_encoding(&mut self) -> Result<Length> {
        let begin = self.source.offset();
        let first = self.source.byte()?;
        Ok(match first {
            0x00..=0x3f => Length::Plain(first.into()),
            0x40..=0x7f => {
                Length::Plain(u64::from(first & 0x3f) << 8 | u64::from(self.source.byte()?))
            }
            0x80 => Length::Plain(u32::from_be_bytes(self.source.array()?).into()),
            0x81 => Length::Plain(u64::from_be_bytes(self.source.array()?)),
            0x82..=0xbf => {
                return Err(self
                    .source
                    .damaged(begin, format!("no length begins with {first:#x}")));
            }
            0xc0.. => Length::Encoded(first & 0x3f),
        })
    }

    fn length(&mut self) -> Result<u64> {
        let begin = self.source.offset();
        match self.length_or_encoding()? {
            Length::Plain(len) => Ok(len),
            Length::Encoded(_) => {
                Err(self.source.damaged(begin, "an encoded string where a length must be"))
            }
        }
    }

    /// A string; none if it is longer than `max`, and then it is skipped.
    fn string(&mut self, max: u64) -> Result<Option<Vec<u8>>> {
        let begin = self.source.offset();
        Ok(Some(match self.length_or_encoding()? {
            Length::Plain(len) if len > max => {
                self.source.skip(len)?;
                return Ok(None);
            }
            Length::Plain(len) => self.source.bytes(len)?,
            Length::Encoded(0) => decimal(i8::from_le_bytes(self.source.array()?).into()),
            Length::Encoded(1) => decimal(i16::from_le_bytes(self.source.array()?).into()),
            Length::Encoded(2) => decimal(i32::from_le_bytes(self.source.array()?)),
            Length::Encoded(3) => return self.compressed(begin, max),
            Length::Encoded(other) => return Err(self.no_encoding(begin, other)),
        }))
    }

    fn compressed(&mut self, begin: u64, max: u64) -> Result<Option<Vec<u8>>> {
        let compressed_len = self.length()?;
        let len = self.length()?;
        if len > max {
            self.source.skip(compressed_len)?;
            return Ok(None);
        }
        if compressed_len > len {
            return Err(self.source.damaged(begin, "compressed, a string is longer than before"));
        }
        let bytes = self.source.bytes(compressed_len)?;
        let string = lzf::decompress(&bytes, len);
        string.map(Some).ok_or_else(|| {
            self.source.damaged(begin, "a compressed string does not give what it should")
        })
    }

    fn skip_string(&mut self) -> Result<()> {
        let begin = self.source.offset();
        match self.length_or_encoding()? {
            Length::Plain(len) => self.source.skip(len),
            Length::Encoded(0) => self.source.skip(1),
            Length::Encoded(1) => self.source.skip(2),
            Length::Encoded(2) => self.source.skip(4),
            Length::Encoded(3) => {
                let compressed_len = self.length()?;
                self.length()?;
                self.source.skip(compressed_len)
            }
            Length::Encoded(other) => Err(self.no_encoding(begin, other)),
        }
    }

    fn no_encoding(&self, begin: u64, encoding: u8) -> super::Error {
        self.source.damaged(begin, format!("no string is encoded by {encoding}"))
    }

    fn skip_strings(&mut self, count: u64) -> Result<()> {
        (0..count).try_for_each(|_| self.skip_string())
    }

    fn skip_lengths(&mut self, count: u64) -> Result<()> {
        (0..count).try_for_each(|_| self.length().map(drop))
    }

    /// Steps over a value, and says what it was.
    fn skip_value(&mut self, begin: u64, kind: u8) -> Result<&'static str> {
        if let 22.. = kind {
            return self.skip_late_type(begin, kind);
        }
        match kind {
            TYPE_STRING => self.skip_string().map(|()| "string"),
            // A count, and so many strings.
            1 | 14 => self.skip_each(|it| it.skip_string()).map(|()| "list"),
            2 => self.skip_each(|it| it.skip_string()).map(|()| "set"),
            4 => self.skip_each(|it| it.skip_strings(2)).map(|()| "hash"),
            3 => self.skip_each(|it| it.skip_string_and_text_score()).map(|()| "sorted set"),
            5 => self.skip_each(|it| it.skip_string_and(8)).map(|()| "sorted set"),
            // A zipmap, ziplist, intset or listpack: one string.
            10 => self.skip_string().map(|()| "list"),
            11 | 20 => self.skip_string().map(|()| "set"),
            9 | 13 | 16 => self.skip_string().map(|()| "hash"),
            12 | 17 => self.skip_string().map(|()| "sorted set"),
            // Nodes of a list, each with its kind.
            18 => self.skip_each(|it| it.skip_length_and_strings(1)).map(|()| "list"),
            15 => self.skip_stream(1).map(|()| "stream"),
            19 => self.skip_stream(2).map(|()| "stream"),
            21 => self.skip_stream(3).map(|()| "stream"),
            7 => {
                self.skip_lengths(1)?;
                self.skip_module().map(|()| "value of a module")
            }
            other => Err(self.source.unsupported(begin, format!("a value of type {other}"))),
        }
    }

    /// Hashes whose fields expire. Redis and Valkey invented them each for itself, with the same numbers.
    fn skip_late_type(&mut self, begin: u64, kind: u8) -> Result<&'static str> {
        match (self.writer, kind) {
            (Writer::Valkey, 22) => self.skip_each(|it| {
                it.skip_string()?;
                it.skip_string_and(8)
            })?,
            (Writer::Redis, 22) => self.skip_each(|it| it.skip_length_and_strings(2))?,
            (Writer::Redis, 23) => self.skip_string()?,
            // The soonest expiry of a field, then as before.
            (Writer::Redis, 24) => {
                self.source.skip(8)?;
                self.skip_each(|it| it.skip_length_and_strings(2))?;
            }
            (Writer::Redis, 25) => {
                self.source.skip(8)?;
                self.skip_string()?;
            }
            _ => return Err(self.source.unsupported(begin, format!("a value of type {kind}"))),
        }
        Ok("hash")
    }

    /// A count, and so many of something. It ends: each takes a byte at least.
    fn skip_each(&mut self, mut skip: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        let count = self.length()?;
        (0..count).try_for_each(|_| skip(self))
    }

    fn skip_string_and(&mut self, len: u64) -> Result<()> {
        self.skip_string()?;
        self.source.skip(len)
    }

    fn skip_length_and_strings(&mut self, count: u64) -> Result<()> {
        self.skip_lengths(1)?;
        self.skip_strings(count)
    }

    /// Scores were once written as text behind its length, of which three stand for what is no number.
    fn skip_string_and_text_score(&mut self) -> Result<()> {
        self.skip_string()?;
        match self.source.byte()? {
            253.. => Ok(()),
            len => self.source.skip(len.into()),
        }
    }

    /// Parts, each behind a number that says what it is.
    fn skip_module(&mut self) -> Result<()> {
        loop {
            let begin = self.source.offset();
            match self.length()? {
                0 => return Ok(()),
                1 | 2 => self.skip_lengths(1)?,
                3 => self.source.skip(4)?,
                4 => self.source.skip(8)?,
                5 => self.skip_string()?,
                other => {
                    let what = format!("no part of a module's value is a {other}");
                    return Err(self.source.damaged(begin, what));
                }
            }
        }
    }

    /// Entries in nodes, then numbers, then groups of consumers with what each has not acknowledged.
    fn skip_stream(&mut self, generation: u8) -> Result<()> {
        self.skip_each(|it| it.skip_strings(2))?;
        // How many, and the last id; later also the first, the highest deleted, and how many there ever were.
        self.skip_lengths(if generation >= 2 { 8 } else { 3 })?;
        self.skip_each(|group| {
            group.skip_string()?;
            group.skip_lengths(if generation >= 2 { 3 } else { 2 })?;
            // An id, when it was delivered, and how often.
            group.skip_each(|it| {
                it.source.skip(16 + 8)?;
                it.skip_lengths(1)
            })?;
            // Name, when it was seen, and later when it was active.
            group.skip_each(|consumer| {
                consumer.skip_string_and(if generation >= 3 { 16 } else { 8 })?;
                consumer.skip_each(|it| it.source.skip(16))
            })
        })
    }
}

/// What the value is that `DUMP` gave.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Dumped {
    String(Vec<u8>),
    OtherType,
    Damaged,
}

/// A version of the format, and a checksum.
const DUMP_FOOTER_LEN: usize = 2 + 8;

/// Reads a value as `DUMP` gives it: its type, its bytes, a version, a checksum.
pub(super) fn dumped_string(dump: &[u8]) -> Dumped {
    let checked = dump.len().checked_sub(DUMP_FOOTER_LEN).and_then(|len| {
        let value = dump.get(..len)?;
        let (_, sum) = dump.split_last_chunk()?;
        let with_version = dump.get(..len + 2)?;
        let is_whole = *sum == [0; 8] || *sum == crc64(0, with_version).to_le_bytes();
        is_whole.then_some(value)
    });
    let Some((kind, value)) = checked.and_then(|value| value.split_first()) else {
        return Dumped::Damaged;
    };
    if *kind != TYPE_STRING {
        return Dumped::OtherType;
    }
    let mut source = Source::new(Path::new("DUMP"), value);
    let mut snapshot =
        Snapshot { source: &mut source, writer: Writer::Redis, db: 0, expires_ms: None };
    match snapshot.string(VALUE_LEN_MAX) {
        Ok(Some(string)) => Dumped::String(string),
        Ok(None) | Err(_) => Dumped::Damaged,
    }
}

fn decimal(number: i32) -> Vec<u8> {
    number.to_string().into_bytes()
}

#[cfg(test)]
mod tests;
