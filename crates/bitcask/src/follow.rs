//! Following the log as it grows, in this process or beside the one that writes.
//!
//! The writer only appends: records to a file, files to the log. So who stands behind the last record that checks out
//! looks again, later, and finds the next ones. What is being written just now does not check out yet; a batch
//! counts when all of it is there. A file is read to its end mark, then comes the next.
//!
//! Merge may take a log file away before it was read. The next one then begins with a larger sequence number than
//! follows, and the answer is `Gone`: what is missing is in merged files, but no longer in order.

use std::path::PathBuf;

use crate::directory::Directory;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::File;
use crate::header::{FILE_HEADER_LEN, FileHeader, FileKind};
use crate::name;
use crate::record::{Fault, Flags, Record};
use crate::scan::{Scanner, read_header};
use crate::survey::Listing;

/// Records read before others get their turn.
const RECORDS_AT_ONCE: usize = 1024;

/// A reader of the log, and how far it is.
#[derive(Debug)]
pub(crate) struct Follower {
    current: Option<LogFile>,
    /// The next file has a larger number than this.
    behind: u64,
    /// Every change up to this sequence number has been given, or was not asked for.
    seen: u64,
}

/// A log file that is being read.
#[derive(Debug)]
pub(crate) struct LogFile {
    pub(crate) id: u64,
    pub(crate) path: PathBuf,
    pub(crate) seed: u32,
    file: Box<dyn File>,
    /// Where the next record begins, and the digest there.
    pub(crate) offset: u64,
    digest: u32,
    ended: bool,
}

/// A change that was read, and where.
pub(crate) struct Followed<'a> {
    pub(crate) file: &'a LogFile,
    pub(crate) offset: u64,
    pub(crate) record: Record<'a>,
    /// Of a change in a batch: the sequence number of its frame.
    pub(crate) batch: Option<u64>,
    /// Whether what belongs together ends here.
    pub(crate) is_last: bool,
}

impl Follower {
    /// Goes on in the file with this number from `offset` on, where the digest is `digest`.
    pub(crate) fn at(
        dir: &Directory,
        (id, seed): (u64, u32),
        (offset, digest): (u64, u32),
        seen: u64,
    ) -> Result<Self> {
        let path = dir.data_path(FileKind::Log, id);
        let file = dir.open_file(&path)?;
        let current = LogFile { id, path, seed, file, offset, digest, ended: false };
        Ok(Self { current: Some(current), behind: id, seen })
    }

    /// Goes on behind the file with this number, which is done with; 0 if there was none.
    pub(crate) fn behind(id: u64, seen: u64) -> Self {
        Self { current: None, behind: id, seen }
    }

    /// Begins with the change numbered `seq`, or the first after it.
    pub(crate) fn from_seq(dir: &Directory, seq: u64) -> Result<Self> {
        let seen = seq.saturating_sub(1);
        let listing = Listing::of_dir(&*dir.fs, &dir.path)?;
        for &id in listing.logs.iter().rev() {
            let Some((header, file)) = open_log(dir, id)? else { continue };
            if header.next_seq <= seq.max(1) {
                return Ok(Self { behind: id, current: Some(file), seen });
            }
        }
        for &id in listing.logs.iter().take(1) {
            if let Some((header, _)) = open_log(dir, id)? {
                return Err(gone(dir, seq, header.next_seq));
            }
        }
        for &id in &listing.merged {
            let path = dir.data_path(FileKind::Merged, id);
            let file = dir.open_file(&path)?;
            if let Ok((header, _)) = read_header(&*file, &path, id, Some(dir.store_id))?
                && header.next_seq > seq.max(1)
            {
                return Err(gone(dir, seq, header.next_seq));
            }
        }
        Ok(Self::behind(0, seen))
    }

    /// Gives the next changes, if there are any by now, batches whole.
    pub(crate) fn read(
        &mut self,
        dir: &Directory,
        each: &mut dyn FnMut(Followed<'_>) -> Result<()>,
    ) -> Result<bool> {
        loop {
            if self.read_current(each)? {
                return Ok(true);
            }
            let Some((header, next)) = self.next_file(dir)? else { return Ok(false) };
            if let Some(current) = self.current.as_ref().filter(|current| !current.ended) {
                // The next file is there before this one has its end; but its records come after.
                let has_records =
                    Scanner::from_start(&*next.file, &next.path, next.seed)?.next()?.is_some();
                let (path, offset) = (current.path.clone(), current.offset);
                if !has_records || self.read_current(each)? {
                    return Ok(has_records);
                }
                if self.current.as_ref().is_some_and(|current| !current.ended) {
                    let what = "damaged: the log goes on in the next file, but this one has no end";
                    return Err(Error::corrupt(what, &path, offset));
                }
            }
            if header.next_seq > self.seen + 1 {
                return Err(gone(dir, self.seen + 1, header.next_seq));
            }
            self.behind = next.id;
            self.current = Some(next);
        }
    }

    /// The log file after this one.
    fn next_file(&self, dir: &Directory) -> Result<Option<(FileHeader, LogFile)>> {
        let listing = Listing::of_dir(&*dir.fs, &dir.path)?;
        let next = listing.logs.into_iter().find(|&id| id > self.behind);
        next.map_or(Ok(None), |id| open_log(dir, id))
    }

    fn read_current(&mut self, each: &mut dyn FnMut(Followed<'_>) -> Result<()>) -> Result<bool> {
        let Some(current) = self.current.as_mut().filter(|current| !current.ended) else {
            return Ok(false);
        };
        let file = &*current;
        let start = (file.offset, file.digest);
        let mut scanner = Scanner::new(&*file.file, &file.path, file.seed, start)?;
        let (mut count, mut batch, mut ended, mut seen) = (0, None, false, self.seen);
        while count < RECORDS_AT_ONCE || scanner.is_in_batch() {
            let is_in_batch = scanner.is_in_batch();
            let Some((offset, record, is_last)) = scanner.next_and_last()? else { break };
            count += 1;
            seen = seen.max(record.seq);
            if record.flags.has(Flags::FRAME) {
                batch = Some(record.seq);
            } else if record.flags.is_change() {
                let batch = batch.filter(|_| is_in_batch);
                each(Followed { file, offset, record, batch, is_last })?;
            } else if record.flags.has(Flags::END) {
                ended = true;
                break;
            }
        }
        let fault = scanner.fault();
        let end = (scanner.offset(), scanner.digest());
        (current.offset, current.digest) = end;
        (current.ended, self.seen) = (ended, seen);
        match fault {
            Some(Fault::Unsupported(flags)) => {
                let what =
                    format!("the record has flags that this program does not know: {flags:#06x}");
                let error = Error::new(ErrorKind::Unsupported, what);
                Err(error.at(&current.path).at_offset(current.offset))
            }
            _ => Ok(count > 0),
        }
    }
}

/// None if it is gone again, or has no header yet.
fn open_log(dir: &Directory, id: u64) -> Result<Option<(FileHeader, LogFile)>> {
    let path = name::data_path(&dir.path, FileKind::Log, id);
    let file = match dir.open_file(&path) {
        Err(e) if e.is_not_found() => return Ok(None),
        file => file?,
    };
    let Ok((header, seed)) = read_header(&*file, &path, id, Some(dir.store_id))? else {
        return Ok(None);
    };
    let offset = FILE_HEADER_LEN as u64;
    Ok(Some((header, LogFile { id, path, seed, file, offset, digest: 0, ended: false })))
}

fn gone(dir: &Directory, seq: u64, first: u64) -> Error {
    let what = format!(
        "changes from sequence number {seq} on are asked for, but some before {first} were merged away"
    );
    Error::new(ErrorKind::Gone, what).at(&dir.path)
}
