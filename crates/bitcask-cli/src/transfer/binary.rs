//! Keys and values as they are, each record with its CRC-32C. Numbers are little-endian.
//!
//! ```text
//! magic        7 bytes  "bcentry"      version  1 byte  1
//! entry:  kind 1 byte   1
//!         key length    4 bytes        value length 8 bytes
//!         expires       8 bytes, milliseconds since 1970; all bits set: never
//!         key, value
//!         CRC-32C       4 bytes, of the record's number and all of the record before it
//! end:    kind 1 byte   2
//!         count         8 bytes, of the entries
//!         CRC-32C       4 bytes
//! ```
//!
//! The number of a record is how many entries are before it, as 8 bytes. It is not written: the reader counts. So a
//! record that is missing, comes twice, or stands elsewhere is told, even where the count in the end is right.
//!
//! There is nothing behind the end. A stream without it is cut.

use std::io::{self, Write};

use super::source::Source;
use super::{Entry, Item, Position, ReadError, Reader, Writer, as_u64, check_lens, len};

const VERSION: u8 = 1;
pub(super) const MAGIC: &[u8] = b"bcentry\x01";

const ENTRY: u8 = 1;
const END: u8 = 2;
const NEVER: u64 = u64::MAX;

/// Writes records.
pub(super) struct Binary<W> {
    out: W,
    /// Entries that were written. None: not even the magic.
    count: Option<u64>,
}

impl<W: Write> Binary<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, count: None }
    }

    fn begin(&mut self) -> io::Result<u64> {
        if self.count.is_none() {
            self.out.write_all(MAGIC)?;
        }
        Ok(*self.count.get_or_insert(0))
    }

    /// Writes the parts and their checksum.
    fn record(&mut self, number: u64, parts: &[&[u8]]) -> io::Result<()> {
        let mut crc = first_crc(number);
        for part in parts {
            crc = crc32c::crc32c_append(crc, part);
            self.out.write_all(part)?;
        }
        self.out.write_all(&crc.to_le_bytes())
    }
}

impl<W: Write> Writer for Binary<W> {
    fn write(&mut self, entry: &Entry) -> io::Result<()> {
        let invalid = |what| io::Error::new(io::ErrorKind::InvalidInput, what);
        check_lens(len(&entry.key), len(&entry.value)).map_err(invalid)?;
        let key_len = u32::try_from(entry.key.len()).map_err(|e| invalid(e.to_string()))?;
        let count = self.begin()?;
        let parts: [&[u8]; 6] = [
            &[ENTRY],
            &key_len.to_le_bytes(),
            &len(&entry.value).to_le_bytes(),
            &entry.expires_ms.unwrap_or(NEVER).to_le_bytes(),
            &entry.key,
            &entry.value,
        ];
        self.record(count, &parts)?;
        self.count = Some(count.saturating_add(1));
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        let count = self.begin()?;
        self.record(count, &[&[END], &count.to_le_bytes()])?;
        self.out.flush()
    }
}

/// What the checksum of a record begins with.
fn first_crc(number: u64) -> u32 {
    crc32c::crc32c(&number.to_le_bytes())
}

/// Reads records.
pub(super) struct Records {
    source: Source,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Reading,
    /// Behind the end record.
    Ended,
    /// Behind an error: nobody knows where the next record begins.
    Broken,
}

/// The bytes of a record that were read, and their checksum.
struct Record<'a> {
    source: &'a mut Source,
    crc: u32,
    len: u64,
}

impl Records {
    pub(super) fn new(mut source: Source) -> Result<Self, ReadError> {
        if source.at_beginning {
            let magic = source.bytes(len(MAGIC))?;
            let name = |magic: &[u8]| magic.split_last().map(|(_, name)| name.to_vec());
            match magic.last() {
                Some(&version) if name(&magic) == name(MAGIC) && version != VERSION => {
                    let what = format!("version {version} of the format, known is {VERSION}");
                    return Err(source.unsupported(what));
                }
                _ if magic != MAGIC => {
                    return Err(source.damaged("not a stream of the binary format"));
                }
                _ => source.position.offset = len(MAGIC),
            }
        }
        Ok(Self { source, state: State::Reading })
    }

    /// The next entry, or none at the end record.
    fn record(&mut self) -> Result<Option<Entry>, ReadError> {
        let crc = first_crc(self.source.position.line);
        let mut record = Record { source: &mut self.source, crc, len: 0 };
        let [kind] = record.array()?;
        match kind {
            ENTRY => {
                let entry = record.entry()?;
                record.check_crc()?;
                let len = record.len;
                let position = &mut self.source.position;
                position.offset = position.offset.saturating_add(len);
                position.line = position.line.saturating_add(1);
                Ok(Some(entry))
            }
            END => {
                let count = record.number()?;
                record.check_crc()?;
                self.check_count(count)?;
                Ok(None)
            }
            _ => Err(self.source.damaged(format!("a record of kind {kind}"))),
        }
    }

    fn check_count(&self, count: u64) -> Result<(), ReadError> {
        let read = self.source.position.line;
        if count == read {
            return Ok(());
        }
        Err(self.source.damaged(format!("{read} entries where {count} were written")))
    }

    fn check_nothing_follows(&mut self) -> Result<(), ReadError> {
        if self.source.bytes(1)?.is_empty() {
            return Ok(());
        }
        Err(self.source.damaged("bytes behind the end of the stream"))
    }
}

impl Reader for Records {
    fn next(&mut self) -> Result<Option<Item>, ReadError> {
        match self.state {
            State::Reading => {}
            State::Ended => return Ok(None),
            State::Broken => return Err(self.source.damaged("the stream is broken here")),
        }
        self.state = State::Broken;
        if let Some(entry) = self.record()? {
            self.state = State::Reading;
            return Ok(Some(Item::Entry(entry)));
        }
        self.check_nothing_follows()?;
        self.state = State::Ended;
        Ok(None)
    }

    fn position(&self) -> &Position {
        &self.source.position
    }
}

impl Record<'_> {
    fn bytes(&mut self, count: u64) -> Result<Vec<u8>, ReadError> {
        let bytes = self.source.bytes(count)?;
        self.passed(&bytes, count)?;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ReadError> {
        let mut array = [0; N];
        let filled = self.source.fill(&mut array)?;
        let (there, _) = array.split_at_checked(filled).unwrap_or((&array, &[]));
        self.passed(there, as_u64(N))?;
        Ok(array)
    }

    fn passed(&mut self, bytes: &[u8], wanted: u64) -> Result<(), ReadError> {
        self.crc = crc32c::crc32c_append(self.crc, bytes);
        self.len = self.len.saturating_add(wanted);
        if len(bytes) != wanted {
            return Err(self.source.damaged("the stream is cut: it ends within this record"));
        }
        Ok(())
    }

    fn number(&mut self) -> Result<u64, ReadError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn entry(&mut self) -> Result<Entry, ReadError> {
        let key_len = u64::from(u32::from_le_bytes(self.array()?));
        let value_len = self.number()?;
        let expires_ms = Some(self.number()?).filter(|&ms| ms != NEVER);
        check_lens(key_len, value_len).map_err(|what| self.source.damaged(what))?;
        let key = self.bytes(key_len)?;
        let value = self.bytes(value_len)?;
        Ok(Entry { key, value, expires_ms })
    }

    fn check_crc(&mut self) -> Result<(), ReadError> {
        let crc = self.crc;
        if u32::from_le_bytes(self.array()?) == crc {
            return Ok(());
        }
        Err(self.source.damaged("the checksum is wrong: this record is damaged, or not the next"))
    }
}
