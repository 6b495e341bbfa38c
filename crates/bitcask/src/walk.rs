//! Walking through a data file past damage: for verify and repair.
//!
//! [`Scanner`](crate::scan::Scanner) stops at the first bytes that are no record, because for recovery the log ends there. Here
//! the walk goes on: every further place where a record could begin is looked at, until one checks out. The checksum
//! starts from the file's seed and the record's offset, so bytes that merely look like a record, copied from elsewhere
//! or held in a value, do not. What lies between is a [`Gap`].
//!
//! [`inventory`] adds what single records cannot tell: whether batches are whole, and whether marks agree with what they
//! speak of. Pages that the disk refuses to read are a gap, too.

use std::collections::BTreeSet;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use crate::compress::dictionary_id;
use crate::error::{Error, Result};
use crate::fs::{File, is_bad_medium, read_full_at};
use crate::header::FILE_HEADER_LEN;
use crate::place::ALIGNMENT;
use crate::record::{self, FRAME_LEN, Fault, Flags, Frame, LogPosition, Mark, Record};

/// Bytes read at a time.
const READ_LEN: usize = 1 << 20;
/// What a disk fails to read is given up in pieces of this size.
const PAGE_LEN: u64 = 4096;
/// Stands for bytes that cannot be read: no record begins like this.
const UNREADABLE: u8 = 0xff;
/// How a gap begins to say why there is no record.
pub(crate) const NO_RECORD: &str = "no record: ";
/// Bytes between two calls of a [`Pace`].
const STRIDE: u64 = 1 << 20;

/// Is told of bytes that were read; `Break` ends the walk.
pub(crate) type Pace<'a> = &'a mut dyn FnMut(u64) -> ControlFlow<()>;

/// Bytes where no record checks out, or records that contradict each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) what: String,
    /// Whether records may have been there. Otherwise all that is there checks out, and something about it is wrong.
    pub(crate) lost: bool,
    /// It checks out, but a later version wrote it.
    pub(crate) unsupported: bool,
}

/// What a walk meets next.
#[derive(Debug)]
pub(crate) enum Step<'a> {
    Record(u64, Record<'a>),
    Gap(Gap),
}

/// What a walk passes, without the bytes.
#[derive(Debug)]
pub(crate) enum Place {
    /// A record that checks out, and its length.
    Record(u64, u64),
    Gap(Gap),
}

/// A walk over all records of a file that check out in their place, damaged or not what lies between.
#[derive(Debug)]
pub(crate) struct Walker<'a> {
    file: &'a dyn File,
    path: &'a Path,
    seed: u32,
    len: u64,
    offset: u64,
    /// Bytes of the file from `buffer_offset` on.
    buffer: Vec<u8>,
    buffer_offset: u64,
    /// Where pages begin that could not be read.
    unreadable: Vec<u64>,
}

impl<'a> Walker<'a> {
    /// Starts at `offset`, and ends at `len`.
    pub(crate) fn new(
        file: &'a dyn File,
        path: &'a Path,
        seed: u32,
        (offset, len): (u64, u64),
    ) -> Self {
        let (buffer, unreadable) = (Vec::new(), Vec::new());
        Self { file, path, seed, len, offset, buffer, buffer_offset: 0, unreadable }
    }

    /// Starts at the first record.
    pub(crate) fn from_start(file: &'a dyn File, path: &'a Path, seed: u32, len: u64) -> Self {
        Self::new(file, path, seed, (FILE_HEADER_LEN as u64, len))
    }

    /// Where the next record begins; after the last, where the records end.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next record or gap. None at the end, and where only zeros follow.
    pub(crate) fn next(&mut self) -> Result<Option<Step<'_>>> {
        Ok(match self.pass(true)? {
            None => None,
            Some(Place::Gap(gap)) => Some(Step::Gap(gap)),
            Some(Place::Record(from, _)) => {
                let start = usize::try_from(from - self.buffer_offset).expect("within the buffer");
                let record = record::parse(&self.buffer[start..]).expect("it was just checked");
                Some(Step::Record(from, record))
            }
        })
    }

    /// The same for who does not need all bytes of a record: a long one is never in memory as a whole.
    pub(crate) fn next_place(&mut self) -> Result<Option<Place>> {
        self.pass(false)
    }

    /// What the file has at `offset`: at least so many bytes, or all up to the end.
    pub(crate) fn bytes_at(&mut self, offset: u64, len: u64) -> Result<&[u8]> {
        self.fill(offset, len)
    }

    /// Moves on. `load` says whether a record has to be in the buffer afterwards.
    fn pass(&mut self, load: bool) -> Result<Option<Place>> {
        let from = self.offset;
        if from >= self.len {
            return Ok(None);
        }
        let checked = match self.check(from)? {
            Ok(len) if load && len > READ_LEN as u64 => self.load(from, len)?,
            checked => checked,
        };
        let fault = match checked {
            Err(fault) => fault,
            Ok(len) => {
                self.offset += len;
                return Ok(Some(Place::Record(from, len)));
            }
        };
        if let Fault::Unsupported(_) = fault {
            let header = self.fill(from, record::RECORD_HEADER_LEN as u64)?;
            let len = record::claimed_len(header).expect("it was just checked");
            self.offset += len;
            return Ok(Some(Place::Gap(self.gap(from, self.offset, &fault))));
        }
        let Some(to) = self.search(from)? else { return Ok(None) };
        self.offset = to;
        Ok(Some(Place::Gap(self.gap(from, to, &fault))))
    }

    fn gap(&self, from: u64, to: u64, fault: &Fault) -> Gap {
        let unreadable = self.unreadable.iter().any(|&page| page < to && page + PAGE_LEN > from);
        let what = if unreadable {
            "the disk does not give the bytes".into()
        } else {
            format!("{NO_RECORD}{fault}")
        };
        Gap { from, to, what, lost: true, unsupported: matches!(fault, Fault::Unsupported(_)) }
    }

    /// Where the gap ends that begins at `from`: at the next record, or where only zeros follow, if anything else does
    /// first. None if nothing but zeros follows.
    fn search(&mut self, from: u64) -> Result<Option<u64>> {
        let mut offset = from;
        let mut end = None;
        while offset < self.len {
            let known = self.fill(offset, ALIGNMENT as u64)?;
            let word = known.get(..ALIGNMENT).unwrap_or(known);
            if word.iter().any(|&byte| byte != 0) {
                end = Some((offset + ALIGNMENT as u64).min(self.len));
            }
            if offset > from && !matches!(self.check(offset)?, Err(fault) if !is_record(fault)) {
                return Ok(Some(offset));
            }
            offset += ALIGNMENT as u64;
        }
        Ok(end)
    }

    /// The length of the record at `offset`, if one checks out. It is then in the buffer, unless it is long.
    fn check(&mut self, offset: u64) -> Result<std::result::Result<u64, Fault>> {
        let left = self.len - offset;
        let shape = match record::shape(self.fill(offset, record::RECORD_HEADER_LEN as u64)?) {
            Ok(shape) if shape.len > left => return Ok(Err(Fault::Short)),
            Ok(shape) => shape,
            Err(fault) => return Ok(Err(fault)),
        };
        // A long record is first read in pieces: what claims to be one need not be.
        if shape.len > READ_LEN as u64 {
            return Ok(self.check_long(offset, &shape)?.map(|()| shape.len));
        }
        self.load(offset, shape.len)
    }

    /// Has so many bytes in the buffer, and the length of the record there if it checks out.
    fn load(&mut self, offset: u64, len: u64) -> Result<std::result::Result<u64, Fault>> {
        let seed = self.seed;
        let decoded = record::decode(self.fill(offset, len)?, offset, seed);
        Ok(decoded.map(|record| record.len as u64))
    }

    fn check_long(
        &mut self,
        offset: u64,
        shape: &record::Shape,
    ) -> Result<std::result::Result<(), Fault>> {
        let mut checksum = shape.checksum_at(offset, self.seed);
        let mut chunk = Vec::new();
        let mut done = 0;
        while done < shape.len {
            chunk.resize(usize::try_from(shape.len - done).unwrap_or(READ_LEN).min(READ_LEN), 0);
            if self.read(&mut chunk, offset + done)? < chunk.len() {
                return Ok(Err(Fault::Short));
            }
            checksum.add(done, &chunk);
            done += chunk.len() as u64;
        }
        Ok(checksum.check())
    }

    /// At least `len` bytes from `offset` on, or all up to the end.
    fn fill(&mut self, offset: u64, len: u64) -> Result<&[u8]> {
        let len = len.min(self.len.saturating_sub(offset));
        let end = self.buffer_offset + self.buffer.len() as u64;
        if offset < self.buffer_offset || offset + len > end {
            let wanted = len.max(READ_LEN as u64).min(self.len.saturating_sub(offset));
            let mut buffer = std::mem::take(&mut self.buffer);
            buffer.resize(usize::try_from(wanted).expect("a record fits the address space"), 0);
            let n = self.read(&mut buffer, offset)?;
            buffer.truncate(n);
            (self.buffer, self.buffer_offset) = (buffer, offset);
        }
        let start = usize::try_from(offset - self.buffer_offset).expect("within the buffer");
        Ok(self.buffer.get(start..).unwrap_or_default())
    }

    fn read(&mut self, buf: &mut [u8], offset: u64) -> Result<usize> {
        let unreadable = &mut self.unreadable;
        read_patiently(self.file, buf, offset, |page| unreadable.push(page))
            .map_err(|e| Error::io("cannot read", self.path, e).at_offset(offset))
    }
}

/// Reads until `buf` is full or the file ends. What the disk does not give is asked for again, page by page; what it
/// still does not give is filled with bytes that nothing begins with, and told to `unreadable`.
pub(crate) fn read_patiently(
    file: &dyn File,
    buf: &mut [u8],
    offset: u64,
    mut unreadable: impl FnMut(u64),
) -> io::Result<usize> {
    match read_full_at(file, buf, offset) {
        Err(e) if is_bad_medium(&e) => {}
        result => return result,
    }
    let (mut done, mut at) = (0, offset);
    while done < buf.len() {
        let page_end = (at / PAGE_LEN + 1) * PAGE_LEN;
        let wanted = usize::try_from(page_end - at).expect("at most a page");
        let wanted = wanted.min(buf.len() - done);
        let page = &mut buf[done..done + wanted];
        let n = match read_full_at(file, page, at) {
            Err(e) if is_bad_medium(&e) => {
                page.fill(UNREADABLE);
                unreadable(page_end - PAGE_LEN);
                wanted
            }
            result => result?,
        };
        (done, at) = (done + n, at + n as u64);
        if n < wanted {
            break;
        }
    }
    Ok(done)
}

/// Whether there is a record, though perhaps one that this version cannot read.
fn is_record(fault: Fault) -> bool {
    matches!(fault, Fault::Unsupported(_))
}

/// What is in a data file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inventory {
    /// Records that check out, frames and marks included.
    pub(crate) records: u64,
    pub(crate) gaps: Vec<Gap>,
    /// Batches that lost their frame or some of their members.
    pub(crate) torn_batches: u64,
    /// The first place where recovery would find that the log stops short: a batch stops where it begins.
    pub(crate) hole: Option<u64>,
    /// Where its records end.
    pub(crate) end: u64,
    /// Whether the last of them is a mark with `END`.
    pub(crate) ended: bool,
    pub(crate) seq_max: u64,
    /// The dictionaries that values refer to.
    pub(crate) dictionaries: BTreeSet<u32>,
    /// The highest position that a mark says is durable, and the latest time.
    pub(crate) durable: LogPosition,
    pub(crate) time_ms: u64,
}

/// Walks through a file, and gives each record that checks out to `each`. None if `pace` ended it.
pub(crate) fn inventory(
    mut walker: Walker<'_>,
    each: &mut dyn FnMut(u64, &Record<'_>),
    pace: Pace<'_>,
) -> Result<Option<Inventory>> {
    let mut counting = Counting::default();
    let mut paced = 0;
    while let Some(step) = walker.next()? {
        match step {
            Step::Record(offset, record) => {
                counting.take_record(offset, &record);
                each(offset, &record);
            }
            Step::Gap(gap) => counting.take_gap(gap),
        }
        let offset = walker.offset();
        if offset - paced >= STRIDE {
            if pace(offset - paced).is_break() {
                return Ok(None);
            }
            paced = offset;
        }
        if counting.inventory.ended {
            break;
        }
    }
    let end = walker.offset();
    counting.finish(end);
    let stopped = pace(end - paced).is_break();
    Ok((!stopped).then_some(counting.inventory))
}

/// Whether records with the flag `MEMBER` are in their place.
#[derive(Debug, Default)]
enum Batch {
    /// No batch is open.
    #[default]
    None,
    /// So many members of it are to come, and where the last must end.
    Open { frame: u64, left: u32, end: u64 },
    /// What a gap left of one: members may follow. The flag says whether it was counted.
    Torn { counted: bool },
}

#[derive(Debug, Default)]
struct Counting {
    inventory: Inventory,
    batch: Batch,
    /// Over the checksums of all records.
    digest: u32,
}

impl Counting {
    fn take_record(&mut self, offset: u64, record: &Record<'_>) {
        let next = offset + record.len as u64;
        self.inventory.records += 1;
        self.inventory.seq_max = self.inventory.seq_max.max(record.seq);
        if let Ok(Some(id)) = dictionary_id(record.flags, record.value) {
            self.inventory.dictionaries.insert(id);
        }
        if record.flags.has(Flags::MEMBER) {
            self.take_member(offset, next);
        } else {
            self.close_batch(offset);
            if record.flags.has(Flags::FRAME) {
                self.open_batch(offset, record);
            }
            if record.flags.has(Flags::MARK) {
                self.take_mark(offset, record);
            }
        }
        self.digest = record::digest(self.digest, record.checksum);
    }

    fn take_gap(&mut self, gap: Gap) {
        let mut hole = gap.from;
        self.batch = match self.batch {
            Batch::Open { frame, .. } => {
                hole = frame;
                self.inventory.torn_batches += 1;
                Batch::Torn { counted: true }
            }
            Batch::Torn { counted } => Batch::Torn { counted },
            Batch::None => Batch::Torn { counted: false },
        };
        self.inventory.hole.get_or_insert(hole);
        self.inventory.gaps.push(gap);
    }

    fn take_member(&mut self, offset: u64, next: u64) {
        match &mut self.batch {
            Batch::Open { left, .. } if *left > 1 => *left -= 1,
            &mut Batch::Open { frame, end, .. } => {
                self.batch = Batch::None;
                if next != end {
                    self.contradiction(
                        frame,
                        next,
                        "a batch has another length than its frame says",
                    );
                }
            }
            Batch::Torn { counted } => {
                self.inventory.torn_batches += u64::from(!*counted);
                *counted = true;
            }
            Batch::None => {
                self.contradiction(offset, next, "a member of a batch without its frame");
                self.inventory.torn_batches += 1;
                self.batch = Batch::Torn { counted: true };
            }
        }
    }

    /// A record that is no member, or the end, comes at `offset`.
    fn close_batch(&mut self, offset: u64) {
        if let Batch::Open { frame, .. } = self.batch {
            self.inventory.torn_batches += 1;
            self.contradiction(frame, offset, "a batch has fewer members than its frame says");
        }
        self.batch = Batch::None;
    }

    fn open_batch(&mut self, offset: u64, record: &Record<'_>) {
        let start = offset + FRAME_LEN as u64;
        match Frame::decode(record.value) {
            Ok(Frame { count: 0, len: 0 }) => {}
            Ok(Frame { count, len }) if count > 0 => {
                let end = start.saturating_add(len);
                self.batch = Batch::Open { frame: offset, left: count, end };
            }
            _ => {
                self.contradiction(offset, start, "a frame that cannot be");
                self.batch = Batch::Torn { counted: false };
            }
        }
    }

    fn take_mark(&mut self, offset: u64, record: &Record<'_>) {
        let next = offset + record.len as u64;
        let Ok(mark) = Mark::decode(record.value) else {
            return self.contradiction(offset, next, "a mark that cannot be");
        };
        self.inventory.durable = self.inventory.durable.max(mark.durable);
        self.inventory.time_ms = self.inventory.time_ms.max(record.time_ms);
        self.inventory.ended = record.flags.has(Flags::END);
        if self.inventory.hole.is_none() && mark.digest != self.digest {
            self.contradiction(offset, next, "records before the mark are not those it speaks of");
        }
    }

    fn contradiction(&mut self, from: u64, to: u64, what: &str) {
        self.inventory.hole.get_or_insert(from);
        let (what, lost, unsupported) = (what.into(), false, false);
        self.inventory.gaps.push(Gap { from, to, what, lost, unsupported });
    }

    fn finish(&mut self, end: u64) {
        self.close_batch(end);
        self.inventory.end = end;
    }
}
