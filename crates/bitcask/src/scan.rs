//! Reading a data file from front to back: for recovery, for building hints and for merge.

use std::ops::ControlFlow;
use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::fs::{File, read_full_at};
use crate::header::{FILE_HEADER_LEN, FileHeader, HeaderFault};
use crate::place::ALIGNMENT;
use crate::record::{self, FRAME_LEN, Fault, Flags, Frame, LogPosition, MARK_LEN, Mark, Record};

/// Bytes read at a time.
const READ_LEN: usize = 256 << 10;

/// Reads the header of a data file, and checks that it belongs there. If it is damaged, as a crash may have left it,
/// the answer says how. A sound header in the wrong place is an error.
pub(crate) fn read_header(
    file: &dyn File,
    path: &Path,
    id: u64,
    store_id: Option<[u8; 16]>,
) -> Result<std::result::Result<(FileHeader, u32), &'static str>> {
    let mut bytes = [0; FILE_HEADER_LEN];
    let n = read_full_at(file, &mut bytes, 0).map_err(|e| Error::io("cannot read", path, e))?;
    let (header, seed) = match FileHeader::decode(&bytes[..n]) {
        Ok(header) => header,
        Err(HeaderFault::Damaged(what)) => return Ok(Err(what)),
        Err(HeaderFault::Version(version)) => {
            let what = format!("the file has version {version}, this program knows version 1");
            return Err(Error::new(ErrorKind::Unsupported, what).at(path));
        }
    };
    if header.file_id != id {
        let what = format!("the file says it is number {}: was it renamed?", header.file_id);
        return Err(Error::corrupt(what, path, 32));
    }
    if store_id.is_some_and(|store_id| store_id != header.store_id) {
        return Err(Error::corrupt("the file belongs to another store", path, 16));
    }
    Ok(Ok((header, seed)))
}

/// A walk over the records of a file.
///
/// Stops at the first bytes that are no record, or no whole batch; [`Scanner::fault`] then says why. It never
/// decides what that means.
#[derive(Debug)]
pub(crate) struct Scanner<'a> {
    file: &'a dyn File,
    path: &'a Path,
    seed: u32,
    /// Where the file ends.
    file_len: u64,
    /// Where the next record begins.
    offset: u64,
    /// Over the checksums of the records before `offset`.
    digest: u32,
    /// Bytes of the file from `buffer_offset` on.
    buffer: Vec<u8>,
    buffer_offset: u64,
    /// Members of the frame that were not yet met.
    members_left: u32,
    fault: Option<Fault>,
}

impl<'a> Scanner<'a> {
    /// Starts at `offset`, where the digest is `digest`.
    pub(crate) fn new(
        file: &'a dyn File,
        path: &'a Path,
        seed: u32,
        (offset, digest): (u64, u32),
    ) -> Result<Self> {
        let file_len = file.len().map_err(|e| Error::io("cannot read the length", path, e))?;
        Ok(Self {
            file,
            path,
            seed,
            file_len,
            offset,
            digest,
            buffer: Vec::new(),
            buffer_offset: offset,
            members_left: 0,
            fault: None,
        })
    }

    /// Starts at the first record.
    pub(crate) fn from_start(file: &'a dyn File, path: &'a Path, seed: u32) -> Result<Self> {
        Self::new(file, path, seed, (FILE_HEADER_LEN as u64, 0))
    }

    /// Where the next record begins; after the last, where the records end.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Over the checksums of all records before [`Self::offset`].
    pub(crate) fn digest(&self) -> u32 {
        self.digest
    }

    /// Where the file ends.
    pub(crate) fn file_len(&self) -> u64 {
        self.file_len
    }

    /// Why the bytes at [`Self::offset`] are no record; none at the end of the file.
    pub(crate) fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// Whether the next record belongs to the one before it.
    pub(crate) fn is_in_batch(&self) -> bool {
        self.members_left > 0
    }

    /// The next record and its offset. A batch is given only if all of it is there.
    pub(crate) fn next(&mut self) -> Result<Option<(u64, Record<'_>)>> {
        Ok(self.next_and_last()?.map(|(offset, record, _)| (offset, record)))
    }

    /// The same, and whether what belongs together ends with it.
    pub(crate) fn next_and_last(&mut self) -> Result<Option<(u64, Record<'_>, bool)>> {
        if self.fault.is_some() || self.offset >= self.file_len {
            return Ok(None);
        }
        let offset = self.offset;
        if let Err(fault) = self.check_next()? {
            self.fault = Some(fault);
            return Ok(None);
        }
        let start = usize::try_from(offset - self.buffer_offset).expect("within the buffer");
        let record = record::parse(&self.buffer[start..]).expect("it was just checked");
        self.offset += record.len as u64;
        self.digest = record::digest(self.digest, record.checksum);
        Ok(Some((offset, record, self.members_left == 0)))
    }

    /// Whether a record lies at the offset, and is in its place: members behind their frame and nowhere else.
    fn check_next(&mut self) -> Result<std::result::Result<(), Fault>> {
        let (flags, frame) = match self.peek(self.offset)? {
            Err(fault) => return Ok(Err(fault)),
            Ok(record) => {
                let frame = record.flags.has(Flags::FRAME).then(|| Frame::decode(record.value));
                (record.flags, frame)
            }
        };
        if flags.has(Flags::MEMBER) != (self.members_left > 0) {
            return Ok(Err(Fault::Shape("a member of a batch without its frame, or the reverse")));
        }
        if self.members_left > 0 {
            self.members_left -= 1;
            return Ok(Ok(()));
        }
        let frame = match frame {
            None => return Ok(Ok(())),
            Some(Err(fault)) => return Ok(Err(fault)),
            Some(Ok(frame)) => frame,
        };
        Ok(self.check_members(frame)?.map(|()| self.members_left = frame.count))
    }

    /// Whether all members of a frame are there.
    fn check_members(&mut self, frame: Frame) -> Result<std::result::Result<(), Fault>> {
        let mut offset = self.offset + FRAME_LEN as u64;
        let end = offset.saturating_add(frame.len);
        for _ in 0..frame.count {
            match self.peek(offset)? {
                Err(fault) => return Ok(Err(fault)),
                Ok(member) if !member.flags.has(Flags::MEMBER) => {
                    return Ok(Err(Fault::Shape("a batch has fewer members than its frame says")));
                }
                Ok(member) => offset += member.len as u64,
            }
        }
        if offset != end {
            return Ok(Err(Fault::Shape("a batch has another length than its frame says")));
        }
        Ok(Ok(()))
    }

    /// The record at `offset`, which is not before [`Self::offset`], if it checks out.
    fn peek(&mut self, offset: u64) -> Result<std::result::Result<Record<'_>, Fault>> {
        let known = self.fill(offset, record::RECORD_HEADER_LEN as u64)?;
        let claimed = match record::claimed_len(known) {
            Ok(claimed) if claimed > self.file_len.saturating_sub(offset) => {
                return Ok(Err(Fault::Short));
            }
            Ok(claimed) => claimed,
            Err(fault) => return Ok(Err(fault)),
        };
        let seed = self.seed;
        let bytes = self.fill(offset, claimed)?;
        Ok(record::decode(bytes, offset, seed))
    }

    /// At least `len` bytes from `offset` on, or all up to the end of the file.
    fn fill(&mut self, offset: u64, len: u64) -> Result<&[u8]> {
        let len = len.min(self.file_len.saturating_sub(offset));
        let buffer_end = self.buffer_offset + self.buffer.len() as u64;
        if offset + len > buffer_end {
            // Bytes before the next record are done with; those of a batch being checked stay.
            let keep_from = self.offset.clamp(self.buffer_offset, buffer_end);
            let done = usize::try_from(keep_from - self.buffer_offset).expect("within the buffer");
            self.buffer.drain(..done);
            self.buffer_offset = keep_from;
            let have = self.buffer.len();
            let wanted = (offset + len - keep_from).max(READ_LEN as u64);
            let wanted = wanted.min(self.file_len.saturating_sub(keep_from));
            let wanted = usize::try_from(wanted).expect("a record fits the address space");
            self.buffer.resize(wanted.max(have), 0);
            let n = read_full_at(self.file, &mut self.buffer[have..], buffer_end)
                .map_err(|e| Error::io("cannot read", self.path, e).at_offset(buffer_end))?;
            self.buffer.truncate(have + n);
        }
        let start = usize::try_from(offset - self.buffer_offset).expect("within the buffer");
        Ok(self.buffer.get(start..).unwrap_or_default())
    }

    /// Whether only zeros follow.
    pub(crate) fn rest_is_zero(&mut self) -> Result<bool> {
        let mut chunk = vec![0; READ_LEN];
        let mut offset = self.offset;
        while offset < self.file_len {
            let n = read_full_at(self.file, &mut chunk, offset)
                .map_err(|e| Error::io("cannot read", self.path, e).at_offset(offset))?;
            if n == 0 {
                break;
            }
            if chunk[..n].iter().any(|&byte| byte != 0) {
                return Ok(false);
            }
            offset += n as u64;
        }
        Ok(true)
    }
}

/// The highest position that any mark in `file` from `from` on says is durable, found by looking at
/// every place where a record could begin: marks behind damage count. Without a `seed`, because the header is
/// damaged, the one that each mark has for itself must do.
pub(crate) fn highest_mark(
    file: &dyn File,
    path: &Path,
    seed: Option<u32>,
    from: u64,
) -> Result<Option<LogPosition>> {
    let mut highest = None;
    find_marks(file, path, from, |bytes, offset| {
        highest = highest.max(mark_at(bytes, offset, seed).map(|mark| mark.durable));
        ControlFlow::Continue(())
    })?;
    Ok(highest)
}

/// The seed of a file whose header is damaged, if one of its marks still tells.
pub(crate) fn seed_from_marks(file: &dyn File, path: &Path) -> Result<Option<u32>> {
    let mut seed = None;
    find_marks(file, path, FILE_HEADER_LEN as u64, |bytes, offset| {
        seed = mark_at(bytes, offset, None).map(|mark| mark.seed);
        if seed.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(seed)
}

/// Gives `each` the bytes at every place where a mark could begin, until it has seen enough.
fn find_marks(
    file: &dyn File,
    path: &Path,
    from: u64,
    mut each: impl FnMut(&[u8], u64) -> ControlFlow<()>,
) -> Result<()> {
    let mut chunk = vec![0; READ_LEN + MARK_LEN];
    let mut offset = from.next_multiple_of(ALIGNMENT as u64);
    loop {
        let n = read_full_at(file, &mut chunk, offset)
            .map_err(|e| Error::io("cannot read", path, e).at_offset(offset))?;
        if n < MARK_LEN {
            return Ok(());
        }
        let starts = (0..=n - MARK_LEN).step_by(ALIGNMENT).take_while(|&at| at < READ_LEN);
        for at in starts {
            if each(&chunk[at..at + MARK_LEN], offset + at as u64).is_break() {
                return Ok(());
            }
        }
        offset += READ_LEN as u64;
    }
}

fn mark_at(bytes: &[u8], offset: u64, seed: Option<u32>) -> Option<Mark> {
    let unchecked = record::parse(bytes).ok().filter(|record| record.flags.has(Flags::MARK))?;
    let mark = Mark::decode(unchecked.value).ok()?;
    record::decode(bytes, offset, seed.unwrap_or(mark.seed)).ok()?;
    Some(mark)
}
