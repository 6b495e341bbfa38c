//! The active file: the one that is appended to.
//!
//! Knows how records get into it, through a mapping or by `pwrite`, and how much of it is reserved on the disk. When
//! to append what is the writer's to say.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::files::{DataFile, PlainFile, Source};
use crate::fs::{Access, Appender, File, allocate, write_all_at};
use crate::header::FileKind;
use crate::place::Place;
use crate::record::{self, Fields, Flags, MARK_LEN};
use crate::sync::atomic::Ordering;

/// Bytes reserved at a time: at first, and at most.
const ALLOCATE_MIN: u64 = 1 << 20;
const ALLOCATE_MAX: u64 = 64 << 20;
/// Bytes made ready for writing ahead of the log.
const AHEAD_LEN: u64 = 2 << 20;
/// Room beyond what options and records ask for, for the marks of closing and of ending the file.
const MARKS_ROOM: u64 = 4 * MARK_LEN as u64;

/// The active file.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) data: Arc<DataFile>,
    pub(crate) file: Arc<dyn File>,
    out: Out,
    /// Where the next record goes.
    pub(crate) end: u64,
    /// Bytes of the file that are certain to take writes.
    pub(crate) allocated: u64,
    /// Bytes it may grow to.
    pub(crate) capacity: u64,
    /// Bytes that were asked to be made ready for writing.
    ready: u64,
    pub(crate) digest: u32,
    /// Bytes from which a record is large.
    large_len: usize,
    /// Large records are not written through the mapping, so nothing is made ready ahead of them.
    last_was_large: bool,
    /// Up to where its hint covers it.
    pub(crate) hinted: u64,
}

#[derive(Debug)]
enum Out {
    Mapped(Appender),
    /// Records that are not yet written, from `end` back.
    Plain(Vec<u8>),
}

/// Why nothing was appended.
#[derive(Debug)]
pub(crate) enum AppendError {
    /// It is not known whether the record collides. Nothing was written.
    Lookup(Error),
    /// A write failed: part of it may have been done.
    Write(Error),
}

/// What is not to be used up by an append.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spare {
    /// Bytes of the active file, for deletes.
    pub(crate) in_file: u64,
    /// Bytes of the disk, for a merged file.
    pub(crate) on_disk: u64,
    /// Whether the bytes of the disk may be used up if nothing else is left: for deletes, and marks.
    pub(crate) may_be_used_up: bool,
}

impl Spare {
    /// For what must be written even if the disk is then full.
    pub(crate) const NONE: Self = Self { in_file: 0, on_disk: 0, may_be_used_up: true };
}

/// A range of the active file that the log will soon reach.
#[derive(Debug)]
pub(crate) struct Ahead {
    pub(crate) data: Arc<DataFile>,
    pub(crate) from: u64,
    pub(crate) end: u64,
}

impl Out {
    /// Where the next record goes.
    fn tail(&mut self, len: usize) -> &mut [u8] {
        match self {
            Self::Mapped(appender) => appender.tail(len),
            Self::Plain(pending) => {
                let start = pending.len();
                pending.resize(start + len, 0);
                &mut pending[start..]
            }
        }
    }

    /// Forgets a tail that was not appended.
    fn take_back(&mut self, len: usize) {
        if let Self::Plain(pending) = self {
            pending.truncate(pending.len() - len);
        }
    }
}

impl Active {
    /// Takes a file with `len` bytes of header and records as the active one.
    pub(crate) fn new(
        dir: &Directory,
        file: Arc<dyn File>,
        (id, seed): (u64, u32),
        path: PathBuf,
        len: u64,
        capacity: u64,
    ) -> Result<Self> {
        let capacity = capacity + MARKS_ROOM;
        let (source, out) = if dir.mapped {
            let mapped_len = usize::try_from(capacity).ok().ok_or_else(|| {
                Error::invalid("invalid option max_file_size: more than the address space")
            })?;
            let region = file
                .map(mapped_len, Access::Write)
                .map_err(|e| Error::io("cannot map", &path, e))?;
            debug_assert_eq!(
                region.bytes().len() as u64,
                len,
                "the file ends where its records do"
            );
            let appender = region.appender().expect("a new mapping has no appender");
            (Source::Mapped(region), Out::Mapped(appender))
        } else {
            (Source::Plain(PlainFile::opened(dir, &path, file.clone())), Out::Plain(Vec::new()))
        };
        let data = dir.files.add(capacity, |first_chunk| {
            Ok(DataFile::new((id, FileKind::Log, seed), path, first_chunk, source, len))
        })?;
        Ok(Self {
            data,
            file,
            out,
            end: len,
            allocated: len,
            capacity,
            ready: len,
            digest: 0,
            large_len: dir.options.large_record_len,
            last_was_large: false,
            hinted: 0,
        })
    }

    /// Pages that should be made ready before the log gets there, if it is time for more.
    pub(crate) fn take_ahead(&mut self) -> Option<Ahead> {
        if self.end + AHEAD_LEN / 2 <= self.ready || self.last_was_large {
            return None;
        }
        let (from, end) = (self.ready.max(self.end), self.allocated.min(self.end + AHEAD_LEN));
        if end <= from {
            return None;
        }
        self.ready = end;
        Some(Ahead { data: self.data.clone(), from, end })
    }

    /// Whether `len` more bytes belong into this file, and not into the next.
    pub(crate) fn fits(&self, len: u64) -> bool {
        self.end + len + MARKS_ROOM <= self.capacity
    }

    /// Whether there is room for `len` more bytes already.
    pub(crate) fn has_room(&self, len: u64) -> bool {
        (self.end + len).min(self.capacity) <= self.allocated
    }

    /// Reserves room for `needed` more bytes, and a good deal more if there is space, and makes certain that `spare` is
    /// left.
    pub(crate) fn allocate(&mut self, dir: &Directory, needed: u64, spare: Spare) -> Result<()> {
        let needed = (self.end + needed + spare.in_file).min(self.capacity);
        if needed <= self.allocated {
            return Ok(());
        }
        let step = self.allocated.clamp(ALLOCATE_MIN, ALLOCATE_MAX);
        let wanted = (self.allocated + step).clamp(needed, self.capacity);
        let done = match self.reserve(dir, wanted, spare.on_disk) {
            Err(e) if e.kind() == io::ErrorKind::StorageFull => {
                // What may use up the last of the disk takes no more than it needs.
                let spare = if spare.may_be_used_up { 0 } else { spare.on_disk };
                self.reserve(dir, needed, spare).map(|()| needed)
            }
            // Without reservation, a full disk is met by the write itself. Never so when mapped.
            Err(e)
                if e.kind() == io::ErrorKind::Unsupported && matches!(self.out, Out::Plain(_)) =>
            {
                Ok(self.capacity)
            }
            done => done.map(|()| wanted),
        };
        self.allocated = done.map_err(|e| Error::io("cannot reserve space", &self.data.path, e))?;
        Ok(())
    }

    /// Reserves the file up to `len`, if that leaves `spare` bytes on the disk.
    fn reserve(&self, dir: &Directory, len: u64, spare: u64) -> io::Result<()> {
        let (wanted, free) = (len - self.allocated, dir.fs.free_bytes(&dir.path)?);
        if spare > 0 && free < wanted + spare {
            let what = format!(
                "{wanted} bytes are wanted and {spare} kept free for a merge, but only {free} are free"
            );
            return Err(io::Error::new(io::ErrorKind::StorageFull, what));
        }
        allocate(&*self.file, len)
    }

    /// Appends one record; with `COLLIDES` if that is so. If the answer is an error, nothing was appended.
    #[inline]
    pub(crate) fn append(
        &mut self,
        mut fields: Fields<'_>,
        collides: impl FnOnce() -> Result<bool>,
    ) -> std::result::Result<Place, AppendError> {
        let offset = self.end;
        let len = fields.record_len();
        let bytes_len = usize::try_from(len).expect("a record fits the address space");
        // Beyond it, a mapped write would be lost, or fatal.
        assert!(self.end + len <= self.allocated, "room is reserved before it is written to");
        let mapped = matches!(self.out, Out::Mapped(_));
        self.last_was_large = mapped && bytes_len >= self.large_len;
        let checksum = if self.last_was_large {
            if collides().map_err(AppendError::Lookup)? {
                fields.flags = fields.flags.and(Flags::COLLIDES);
            }
            self.write_large(&fields).map_err(AppendError::Write)?
        } else {
            self.encode(fields, bytes_len, collides).map_err(AppendError::Lookup)?
        };
        self.digest = record::digest(self.digest, checksum);
        self.end += len;
        if let Out::Mapped(appender) = &mut self.out {
            appender.publish(bytes_len);
            self.data.len.store(self.end, Ordering::Release);
        }
        Ok(self.data.place(offset))
    }

    /// Encodes a record into the tail, and asks meanwhile whether it collides. The checksum comes last: until it is certain
    /// that there will be a record, no other process takes it for one.
    fn encode(
        &mut self,
        mut fields: Fields<'_>,
        bytes_len: usize,
        collides: impl FnOnce() -> Result<bool>,
    ) -> Result<u32> {
        let (offset, seed) = (self.end, self.data.seed);
        let bytes = self.out.tail(bytes_len);
        let checksum = record::encode_body(&fields, offset, seed, bytes);
        match collides() {
            Ok(false) => {
                record::put_checksum(bytes, checksum);
                Ok(checksum)
            }
            Ok(true) => {
                fields.flags = fields.flags.and(Flags::COLLIDES);
                Ok(record::encode(&fields, offset, seed, bytes))
            }
            Err(e) => {
                bytes.fill(0);
                self.out.take_back(bytes_len);
                Err(e)
            }
        }
    }

    /// Writes a large record of a mapped file by `pwrite`: a page fault each 4 KiB would cost more.
    fn write_large(&self, fields: &Fields<'_>) -> Result<u32> {
        let (before, after, checksum) = record::encode_around(fields, self.end, self.data.seed);
        let value_at = self.end + before.len() as u64;
        let after_at = value_at + fields.value.len() as u64;
        write_all_at(&*self.file, &before, self.end)
            .and_then(|()| write_all_at(&*self.file, fields.value, value_at))
            .and_then(|()| write_all_at(&*self.file, after, after_at))
            .map_err(|e| Error::io("cannot append", &self.data.path, e))?;
        Ok(checksum)
    }

    /// Forgets records that could not be flushed.
    pub(crate) fn roll_back(&mut self, end: u64, digest: u32) {
        (self.end, self.digest) = (end, digest);
        if let Out::Plain(pending) = &mut self.out {
            pending.clear();
        }
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        let Out::Plain(pending) = &mut self.out else { return Ok(()) };
        write_all_at(&*self.file, pending, self.end - pending.len() as u64)?;
        pending.clear();
        // One large value should not keep its size reserved.
        pending.shrink_to(1 << 20);
        self.data.len.store(self.end, Ordering::Release);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::Fs as _;
    use crate::fs::sim::{SimClock, SimFs};
    use crate::options::Options;
    use crate::record::NEVER;

    /// Whoever reads the file beside this process must not meet a record that may yet be taken back.
    #[test]
    fn a_record_checks_out_only_when_it_is_certain_to_stay() {
        let (fs, path) = (SimFs::new(1), PathBuf::from("/db/1.data"));
        fs.create_dir("/db".as_ref()).unwrap();
        let options = Options::new().on(Arc::new(fs.clone()), Arc::new(SimClock::new(0)));
        let dir = Directory::new("/db".as_ref(), options, [7; 16], true, false);
        let file: Arc<dyn File> = fs.open(&path, Access::Create).unwrap().into();
        write_all_at(&*file, &[9; 64], 0).unwrap();
        let mut active = Active::new(&dir, file.clone(), (1, 5), path, 64, 8192).unwrap();
        active.allocate(&dir, 4096, Spare::NONE).unwrap();
        let fields = Fields {
            flags: Flags::VALUE,
            seq: 1,
            time_ms: 0,
            expires_ms: NEVER,
            key: b"key",
            value: b"value",
        };
        let is_there = || {
            let mut bytes = [0; 64];
            file.read_at(&mut bytes, 64).unwrap();
            record::decode(&bytes, 64, 5).is_ok()
        };
        let refused = active.append(fields, || {
            assert!(!is_there());
            Err(Error::invalid("nobody can tell"))
        });
        assert!(refused.is_err() && !is_there());
        let appended = active.append(fields, || {
            assert!(!is_there());
            Ok(true)
        });
        assert!(appended.is_ok() && is_there());
    }
}
