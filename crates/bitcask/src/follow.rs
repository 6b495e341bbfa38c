//! Following the log as it grows, in this process or beside the one that writes.
//!
//! The writer only appends: records to a file, files to the log. So who stands behind the last record that checks out
//! looks again, later, and finds the next ones. What is being written just now does not check out yet; a batch
//! counts when all of it is there. A file is read to its end mark, then comes the next.
//!
//! Of a store that crashed and was not opened by a writer since, the log may stop short of files that are there: what lies
//! behind the hole does not count, and the writer will drop it. It looks like damage; a survey tells which it is.
//!
//! Merge may take a log file away before it was read. The next one then begins with a larger sequence number than
//! follows, and the answer is `Gone`: what is missing is in merged files, but no longer in order.

use std::path::PathBuf;

use crate::directory::Directory;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::File;
use crate::header::{FILE_HEADER_LEN, FileHeader, FileKind};
use crate::name;
use crate::record::{Fault, Flags, LogPosition, Record};
use crate::scan::{Scanner, highest_mark, read_header};
use crate::sound::sound_logs;
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
    /// A file without its end, and the next, which has records: what is known to be no damage.
    torn: Option<(u64, u64)>,
    /// Where no record was, though something is there, and how often.
    stuck: (u64, u32),
}

/// How far a look at the log went.
pub(crate) enum Progress {
    /// There were changes, or at least records; there may be more.
    Went,
    /// There is nothing new.
    Waits,
    /// The name of the file that is read is that of another file now: the directory is a checkpoint, and there is a newer one.
    Replaced,
    /// The file that is read has no end, but the next one, with this number, has records.
    Torn(u64, Error),
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
        Ok(Self::new(Some(current), id, seen))
    }

    /// Goes on behind the file with this number, which is done with; 0 if there was none.
    pub(crate) fn behind(id: u64, seen: u64) -> Self {
        Self::new(None, id, seen)
    }

    fn new(current: Option<LogFile>, behind: u64, seen: u64) -> Self {
        Self { current, behind, seen, torn: None, stuck: (0, 0) }
    }

    /// Begins with the change numbered `seq`, or the first after it.
    pub(crate) fn from_seq(dir: &Directory, seq: u64) -> Result<Self> {
        loop {
            let mut listing = Listing::of_dir(&*dir.fs, &dir.path)?;
            if dir.read_only {
                // After a crash there may be files that do not count, and will be dropped.
                let logs = sound_logs(&dir.path, &dir.options)?;
                listing.logs.retain(|id| logs.contains(id));
            }
            match Self::from_seq_in(dir, &listing, seq) {
                // Merged away since it was listed.
                Err(e) if e.is_not_found() => {}
                follower => return follower,
            }
        }
    }

    fn from_seq_in(dir: &Directory, listing: &Listing, seq: u64) -> Result<Self> {
        let seen = seq.saturating_sub(1);
        let (mut oldest, mut start) = (None, None);
        for &id in listing.logs.iter().rev() {
            let Some((header, file)) = open_log(dir, id)? else { continue };
            if header.next_seq <= seq.max(1) {
                // A file without a record is dropped if the one before it turns out to have no end: begin before it.
                let has_record =
                    Scanner::from_start(&*file.file, &file.path, file.seed)?.next()?.is_some();
                start = Some(file);
                if has_record {
                    break;
                }
            }
            oldest = Some(header.next_seq);
        }
        if let Some(file) = start {
            let behind = file.id;
            return Ok(Self::new(Some(file), behind, seen));
        }
        // With no log left, what was merged tells how long it was.
        if let (None, Some(&id)) = (oldest, listing.merged.last()) {
            oldest = Some(merged_next_seq(dir, id)?).filter(|&next_seq| next_seq > seq.max(1));
        }
        oldest.map_or(Ok(Self::behind(0, seen)), |first| Err(gone(dir, seq, first)))
    }

    /// Gives the next changes, if there are any by now, batches whole.
    pub(crate) fn read(
        &mut self,
        dir: &Directory,
        each: &mut dyn FnMut(Followed<'_>) -> Result<()>,
    ) -> Result<Progress> {
        match self.read_on(dir, each) {
            // A directory is not listed in one moment: a file that came meanwhile may have been passed over, and
            // what came after it not. Listed again, it is there, or it is gone.
            Err(e) if e.kind() == ErrorKind::Gone => self.read_on(dir, each),
            progress => progress,
        }
    }

    fn read_on(
        &mut self,
        dir: &Directory,
        each: &mut dyn FnMut(Followed<'_>) -> Result<()>,
    ) -> Result<Progress> {
        loop {
            if self.read_current(each)? {
                return Ok(Progress::Went);
            }
            let next = self.next_file(dir)?;
            if dir.read_only && self.is_replaced(dir)? {
                return Ok(Progress::Replaced);
            }
            let Some((header, next)) = next else { return Ok(Progress::Waits) };
            if self.current.as_ref().is_some_and(|current| !current.ended) {
                // The next file is there before this one has its end; but its records come after.
                if Scanner::from_start(&*next.file, &next.path, next.seed)?.next()?.is_none() {
                    return Ok(Progress::Waits);
                }
                if self.read_current(each)? {
                    return Ok(Progress::Went);
                }
            }
            if let Some(current) = self.current.as_ref().filter(|current| !current.ended) {
                if self.torn == Some((current.id, next.id)) {
                    return Ok(Progress::Waits);
                }
                let what = "damaged: the log goes on in the next file, but this one has no end";
                let error = Error::corrupt(what, &current.path, current.offset);
                return Ok(Progress::Torn(next.id, error));
            }
            if header.next_seq > self.seen + 1 {
                return Err(gone(dir, self.seen + 1, header.next_seq));
            }
            self.behind = next.id;
            self.current = Some(next);
        }
    }

    /// Whether there is a longer file by the name of the one that is read: who writes to a file makes that one longer.
    fn is_replaced(&self, dir: &Directory) -> Result<bool> {
        let Some(current) = self.current.as_ref().filter(|current| !current.ended) else {
            return Ok(false);
        };
        let len = |file: &dyn File| {
            file.len().map_err(|e| Error::io("cannot read the length", &current.path, e))
        };
        match dir.open_file(&current.path) {
            // In this order: meanwhile it may grow.
            Ok(named) => {
                let named = len(&*named)?;
                Ok(named > len(&*current.file)?)
            }
            // If it was ended and merged away just now, its end is there when it is read again.
            Err(e) if e.is_not_found() => {
                let what = "the file that is followed is gone, and nobody knows how it went on";
                Err(Error::new(ErrorKind::Gone, what).at(&current.path))
            }
            Err(e) => Err(e),
        }
    }

    /// Goes on in the file that has the name now.
    pub(crate) fn reopen(&mut self, dir: &Directory) -> Result<()> {
        let Some(current) = &mut self.current else { return Ok(()) };
        let named = match open_log(dir, current.id) {
            Err(e) if e.is_not_found() => return Ok(()),
            named => named?,
        };
        let Some((_, named)) = named else { return Ok(()) };
        if named.seed != current.seed {
            let what = "the store was replaced by another";
            return Err(Error::new(ErrorKind::Gone, what).at(&dir.path));
        }
        current.file = named.file;
        Ok(())
    }

    /// From now on takes the end of the file that it reads for the end of the log, though the file numbered `next` has
    /// records: a writer that died left both like this.
    pub(crate) fn wait_before(&mut self, next: u64) {
        self.torn = self.current.as_ref().map(|current| (current.id, next));
    }

    /// Every change up to this sequence number has been given, or was not asked for.
    pub(crate) fn seen(&self) -> u64 {
        self.seen
    }

    /// The file that is read and how far, marks behind the last change included.
    pub(crate) fn position(&self) -> Option<(u64, u64)> {
        self.current.as_ref().map(|current| (current.id, current.offset))
    }

    /// The log file after this one.
    fn next_file(&self, dir: &Directory) -> Result<Option<(FileHeader, LogFile)>> {
        loop {
            let listing = Listing::of_dir(&*dir.fs, &dir.path)?;
            let next = listing.logs.iter().find(|&&id| id > self.behind);
            let opened = next.map_or(Ok(None), |&id| open_log(dir, id));
            let checked = opened.and_then(|opened| match opened {
                None => self.check_merged(dir, &listing).map(|()| None),
                opened => Ok(opened),
            });
            match checked {
                // Merged away since it was listed: there is a later one.
                Err(e) if e.is_not_found() => {}
                opened => return opened,
            }
        }
    }

    /// Where no later log file is left, the newest merged one tells whether it was made of more than was read here. No file
    /// follows one without its end.
    fn check_merged(&self, dir: &Directory, listing: &Listing) -> Result<()> {
        let is_read = self.current.as_ref().is_none_or(|current| current.ended);
        let Some(&id) = listing.merged.last().filter(|_| is_read) else { return Ok(()) };
        match merged_next_seq(dir, id)? {
            next_seq if next_seq > self.seen + 1 => Err(gone(dir, self.seen + 1, next_seq)),
            _ => Ok(()),
        }
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
            Some(fault) if count == 0 => self.check_stuck(fault).map(|()| false),
            _ => Ok(count > 0),
        }
    }

    /// Bytes that are no record are one that is being written, or what a crash left; but if a mark behind them says
    /// that they had been durable, they are damage. Looked for when they do not go away, and then ever less often.
    fn check_stuck(&mut self, fault: Fault) -> Result<()> {
        let Some(current) = &self.current else { return Ok(()) };
        let (offset, count) = self.stuck;
        self.stuck =
            if offset == current.offset { (offset, count + 1) } else { (current.offset, 1) };
        if !self.stuck.1.is_power_of_two() || self.stuck.1 == 1 || fault == Fault::Flags(0) {
            return Ok(());
        }
        let here = LogPosition { file_id: current.id, offset: current.offset };
        let mark = highest_mark(&*current.file, &current.path, Some(current.seed), current.offset)?;
        if mark.is_none_or(|durable| durable <= here) {
            return Ok(());
        }
        // What the mark speaks of was written before the mark: look again.
        let start = (current.offset, current.digest);
        let mut scanner = Scanner::new(&*current.file, &current.path, current.seed, start)?;
        if scanner.next()?.is_some() {
            return Ok(());
        }
        let what = format!("damaged, though this had been durable: {fault}");
        Err(Error::corrupt(what, &current.path, current.offset))
    }
}

/// The sequence number that was next when a merged file was made: all before it was in the log by then.
fn merged_next_seq(dir: &Directory, id: u64) -> Result<u64> {
    let path = dir.data_path(FileKind::Merged, id);
    let file = dir.open_file(&path)?;
    let header = read_header(&*file, &path, id, dir.known_store_id())?;
    Ok(header.map_or(0, |(header, _)| header.next_seq))
}

/// None if it has no header yet.
fn open_log(dir: &Directory, id: u64) -> Result<Option<(FileHeader, LogFile)>> {
    let path = name::data_path(&dir.path, FileKind::Log, id);
    let file = dir.open_file(&path)?;
    let Ok((header, seed)) = read_header(&*file, &path, id, dir.known_store_id())? else {
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
