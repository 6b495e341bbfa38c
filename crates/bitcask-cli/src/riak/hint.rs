//! A hint file as evidence about its data file: which records it had, and which of them were tombstones.
//!
//! Its seal is the CRC of all its entries, written when the data file was closed in order. Sealed, its word counts, as
//! long as it agrees with what checks out in the data; without a seal it names what may have been there, no more.

use std::fs::File;
use std::io;
use std::path::Path;
use std::rc::Rc;

use super::crc;
use super::record::{HEADER_LEN_U64, Record};
use super::window::Window;

const ENTRY_LEN: usize = 18;
const ENTRY_LEN_U64: u64 = 18;
const BUFFER_LEN: usize = 1 << 17;

/// To look ahead, which usually ends soon.
const FORK_BUFFER_LEN: usize = 1 << 12;

const TOMBSTONE_BIT: u64 = 1 << 63;

/// So many entries are read beyond one that is about a record like the one looked for, in another place.
const TWINS_MAX: u64 = 64;

/// So many records may be looked for in vain among the entries before the hint file counts as that of another data file.
/// Each look may read it to its end.
const MISSES_MAX: u32 = 16;

/// One record, as the hint file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) tstamp: u32,
    /// The length of the whole record.
    pub(super) total_len: u32,
    pub(super) offset: u64,
    /// Set by 1.7 and later only.
    pub(super) tombstone_bit: bool,
    pub(super) key: Vec<u8>,
}

impl Entry {
    pub(super) fn end(&self) -> u64 {
        self.offset.saturating_add(u64::from(self.total_len))
    }

    fn is_of(&self, record: &Record) -> bool {
        self.tstamp == record.tstamp
            && u64::from(self.total_len) == record.total_len()
            && self.key == record.key
    }
}

/// How a hint file ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seal {
    /// The CRC is right, as 1.7 and later write it, whose entries have the tombstone bit.
    WithBits,
    /// The CRC is right, as 1.5 and 1.6 write it.
    WithoutBits,
    Wrong,
    /// A crash, or 1.4 and older.
    Missing,
}

/// The entries from a place on, one after the other.
#[derive(Clone, Debug)]
pub(super) struct Entries {
    window: Window,
    at: u64,
    end: u64,
    /// Where the next entry's record begins at the earliest: records do not overlap.
    floor: u64,
    next: Option<Entry>,
}

impl Entries {
    /// The next entry. After one that makes no sense there is none.
    pub(super) fn peek(&mut self) -> io::Result<Option<&Entry>> {
        if self.next.is_none() && self.at < self.end {
            self.next = self.read()?;
            match &self.next {
                Some(entry) => {
                    self.floor = entry.end();
                    let key_len = u64::try_from(entry.key.len()).unwrap_or(u64::MAX);
                    self.at = self.at.saturating_add(ENTRY_LEN_U64).saturating_add(key_len);
                }
                None => self.at = self.end,
            }
        }
        Ok(self.next.as_ref())
    }

    pub(super) fn take(&mut self) -> io::Result<Option<Entry>> {
        self.peek()?;
        Ok(self.next.take())
    }

    fn read(&mut self) -> io::Result<Option<Entry>> {
        let Some(fields) = self.window.bytes(self.at, ENTRY_LEN)?.and_then(Fields::parse) else {
            return Ok(None);
        };
        let key_at = self.at.saturating_add(ENTRY_LEN_U64);
        let fits = key_at.saturating_add(u64::from(fields.key_len)) <= self.end;
        let least = HEADER_LEN_U64 + u64::from(fields.key_len);
        let offset = fields.place & !TOMBSTONE_BIT;
        if !fits || u64::from(fields.total_len) < least || offset < self.floor {
            return Ok(None);
        }
        let key = self.window.bytes(key_at, usize::from(fields.key_len))?;
        Ok(key.map(|key| Entry {
            tstamp: fields.tstamp,
            total_len: fields.total_len,
            offset,
            tombstone_bit: fields.place != offset,
            key: key.to_vec(),
        }))
    }

    /// The same entries once more, to look at without taking.
    fn fork(&self) -> Self {
        Self { window: self.window.another(FORK_BUFFER_LEN), next: self.next.clone(), ..*self }
    }
}

/// The fixed part of an entry.
struct Fields {
    tstamp: u32,
    key_len: u16,
    total_len: u32,
    place: u64,
}

impl Fields {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (tstamp, rest) = bytes.split_first_chunk()?;
        let (key_len, rest) = rest.split_first_chunk()?;
        let (total_len, rest) = rest.split_first_chunk()?;
        let (place, _) = rest.split_first_chunk()?;
        Some(Self {
            tstamp: u32::from_be_bytes(*tstamp),
            key_len: u16::from_be_bytes(*key_len),
            total_len: u32::from_be_bytes(*total_len),
            place: u64::from_be_bytes(*place),
        })
    }
}

#[derive(Debug)]
pub(super) struct Hint {
    pub(super) seal: Seal,
    pub(super) entries: Entries,
    /// How many records it agrees with.
    pub(super) agreed: u64,
    misses: u32,
    /// It was found to be about other data.
    pub(super) foreign: bool,
}

/// What a hint file knows about a record that checks out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Its entry comes after this many others, whose records are then lost.
    After(u64),
    Unknown,
}

impl Hint {
    /// The hint file, if there is one.
    pub(super) fn open(path: &Path) -> io::Result<Option<Self>> {
        // A pipe would be waited for without end.
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_file() => {}
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        }
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        let mut window = Window::new(Rc::new(file), len, BUFFER_LEN);
        let (seal, end) = seal(&mut window)?;
        let entries = Entries { window, at: 0, end, floor: 0, next: None };
        Ok(Some(Self { seal, entries, agreed: 0, misses: 0, foreign: false }))
    }

    pub(super) fn is_sealed(&self) -> bool {
        !self.foreign && matches!(self.seal, Seal::WithBits | Seal::WithoutBits)
    }

    /// Looks for the entry of a record, by what it is and not by where: bytes may have come in or gone before it.
    pub(super) fn standing(&mut self, record: &Record) -> io::Result<Standing> {
        if self.foreign {
            return Ok(Standing::Unknown);
        }
        match self.entries.peek()? {
            None => return Ok(Standing::Unknown),
            Some(entry) if entry.offset == record.offset && entry.is_of(record) => {
                return Ok(Standing::After(0));
            }
            Some(_) => {}
        }
        let overlaps = |entry: &Entry| entry.offset < record.end() && entry.end() > record.offset;
        let (mut contradicted, mut same) = (false, None);
        let mut ahead = self.entries.fork();
        let mut passed = 0;
        while let Some(entry) = ahead.take()? {
            if entry.is_of(record) {
                same = same.or(Some(passed));
                if entry.offset == record.offset {
                    return Ok(Standing::After(passed));
                }
            }
            // Records may be alike but for their place, so the one in the right place is looked for a little more.
            if same.is_some_and(|same| passed > same + TWINS_MAX || entry.offset > record.offset) {
                break;
            }
            contradicted |= overlaps(&entry);
            passed += 1;
        }
        if let Some(same) = same {
            return Ok(Standing::After(same));
        }
        self.misses += 1;
        self.foreign = self.misses > MISSES_MAX || (contradicted && self.is_sealed());
        // An entry that was damaged itself. Without a seal that is no reason to doubt the others.
        while !self.foreign && self.entries.peek()?.is_some_and(overlaps) {
            self.entries.take()?;
        }
        Ok(Standing::Unknown)
    }

    /// The next offset from `from` on at which, says a sealed hint file, and the caller confirms it, a record begins; if its
    /// entries tell of all that lies between.
    pub(super) fn next_start(
        &mut self,
        from: u64,
        mut confirm: impl FnMut(&Entry) -> io::Result<bool>,
    ) -> io::Result<Option<u64>> {
        if !self.is_sealed() {
            return Ok(None);
        }
        let mut ahead = self.entries.fork();
        let mut covered = from;
        while let Some(entry) = ahead.take()? {
            if entry.offset != covered {
                return Ok(None);
            }
            if entry.offset > from && confirm(&entry)? {
                return Ok(Some(entry.offset));
            }
            covered = entry.end();
        }
        Ok(None)
    }
}

/// The seal of a hint file, and where its entries end.
fn seal(window: &mut Window) -> io::Result<(Seal, u64)> {
    let len = window.len();
    let Some(end) = len.checked_sub(ENTRY_LEN_U64) else { return Ok((Seal::Missing, len)) };
    let trailer = window.bytes(end, ENTRY_LEN)?.and_then(Fields::parse);
    let seal = match trailer {
        Some(Fields { tstamp: 0, key_len: 0, place: u64::MAX, .. }) => Seal::WithoutBits,
        Some(Fields { tstamp: 0, key_len: 0, place, .. }) if place == !TOMBSTONE_BIT => {
            Seal::WithBits
        }
        _ => return Ok((Seal::Missing, len)),
    };
    let mut register = crc::START;
    window.pieces(0, end, BUFFER_LEN, |bytes| register = crc::feed(register, bytes))?;
    let right = trailer.is_some_and(|fields| fields.total_len == crc::finish(register));
    Ok((if right { seal } else { Seal::Wrong }, end))
}
