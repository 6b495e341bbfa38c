//! What a directory holds: its names, sorted out, and what is known of each data file. Changes nothing.
//!
//! Most files have a hint that says all. What has none, at least the end of the file last written to, is scanned. The log
//! is its files in the order of their numbers. Where it stops short, at bytes that are no record or at a file without its
//! end before another, there is a *hole*, and the question is whether what follows was ever durable:
//!
//! - *Proven durable* is what lies below a mark found anywhere in the log, behind the hole too, or is covered by
//!   a hint. A hole there is damage: `Corrupt`.
//! - Otherwise the hole is what a crash left, or where the writer just is. The log ends there.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::directory::Directory;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{Access, Entry, File, Fs};
use crate::header::{FILE_HEADER_LEN, FileKind};
use crate::hint::{HintEntry, HintFile, HintHeader};
use crate::name::{self, Name};
use crate::record::{Fault, Flags, LogPosition, Mark};
use crate::scan::{Scanner, highest_mark, read_header};
use crate::writer::TimeMark;

/// Why the names in it are not known.
pub(crate) fn cannot_list(path: &Path, e: std::io::Error) -> Error {
    match e.kind() {
        std::io::ErrorKind::NotADirectory => Error::invalid("this is not a directory").at(path),
        _ => Error::io("cannot list the directory", path, e),
    }
}

/// The names in the directory, sorted out.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) logs: Vec<u64>,
    pub(crate) merged: Vec<u64>,
    pub(crate) hints: Vec<u64>,
    pub(crate) dictionaries: Vec<u32>,
    pub(crate) temporary: Vec<(u64, OsString)>,
    /// Somebody has begun to destroy the store.
    pub(crate) destroying: bool,
    pub(crate) foreign: Vec<OsString>,
}

impl Listing {
    pub(crate) fn of(entries: Vec<Entry>) -> Self {
        let mut listing = Self::default();
        for Entry { name, .. } in entries {
            match Name::of(&name) {
                Name::Data(FileKind::Log, id) => listing.logs.push(id),
                Name::Data(FileKind::Merged, id) => listing.merged.push(id),
                Name::Hint(id) => listing.hints.push(id),
                Name::Dictionary(id) => listing.dictionaries.push(id),
                Name::Temporary(id) => listing.temporary.push((id, name)),
                Name::Lock => {}
                Name::Destroying => listing.destroying = true,
                Name::Foreign => listing.foreign.push(name),
            }
        }
        listing.logs.sort_unstable();
        listing.merged.sort_unstable();
        listing.foreign.sort_unstable();
        listing
    }

    /// The names that are there now.
    pub(crate) fn of_dir(fs: &dyn Fs, dir: &Path) -> Result<Self> {
        let entries = fs.list(dir);
        Ok(Self::of(entries.map_err(|e| Error::io("cannot list the directory", dir, e))?))
    }

    /// The largest number that any file has, leftovers included: a number that comes again could make a leftover hint
    /// look like that of the new file.
    pub(crate) fn largest_id(&self) -> u64 {
        let temporary = self.temporary.iter().map(|(id, _)| id);
        let ids = self.logs.iter().chain(&self.merged).chain(&self.hints).chain(temporary);
        ids.copied().max().unwrap_or(0)
    }

    pub(crate) fn holds_store(&self) -> bool {
        !self.logs.is_empty() || !self.merged.is_empty()
    }

    /// Fails if only part of the store may be left.
    pub(crate) fn check_whole(&self, dir: &Path) -> Result<()> {
        if self.destroying {
            let what = "the store was being destroyed when a process died: destroy it again";
            return Err(Error::invalid(what).at(dir));
        }
        Ok(())
    }
}

/// The identity of the store, from the first of its files that tells.
pub(crate) fn store_id(fs: &dyn Fs, dir: &Path, listing: &Listing) -> Result<Option<[u8; 16]>> {
    let merged = listing.merged.iter().map(|&id| (FileKind::Merged, id));
    let logs = listing.logs.iter().map(|&id| (FileKind::Log, id));
    for (kind, id) in merged.chain(logs) {
        let path = name::data_path(dir, kind, id);
        let file = fs.open(&path, Access::Read).map_err(|e| Error::io("cannot open", &path, e))?;
        if let Ok((header, _)) = read_header(&*file, &path, id, None)? {
            return Ok(Some(header.store_id));
        }
    }
    Ok(None)
}

/// A data file as recovery sees it.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) id: u64,
    pub(crate) kind: FileKind,
    pub(crate) path: PathBuf,
    /// None if the header is damaged.
    pub(crate) seed: Option<u32>,
    pub(crate) next_seq: u64,
    /// The log file that must be there, unless it is proven to have been durable; 0 for none.
    pub(crate) previous: u64,
    pub(crate) hint: Option<HintFile>,
    /// Changes behind what the hint covers.
    pub(crate) entries: Vec<HintEntry>,
    /// Where its records end, and the digest there.
    pub(crate) end: u64,
    pub(crate) digest: u32,
    pub(crate) file_len: u64,
    pub(crate) seq_max: u64,
    /// Whether its last record is a mark with `END`.
    pub(crate) ended: bool,
    /// Whether its last record is a mark that covers all before it.
    pub(crate) closed: bool,
    /// Where the last mark is, and the digest that it has.
    pub(crate) last_mark: (u64, u32),
    /// The latest time in a mark.
    pub(crate) time_ms: u64,
    /// Why the bytes at `end` are no record; none if nothing or only zeros are there.
    pub(crate) fault: Option<String>,
    pub(crate) scanned: bool,
}

/// All data files of a directory.
#[derive(Debug)]
pub(crate) struct Survey {
    /// In the order of their numbers.
    pub(crate) logs: Vec<Found>,
    pub(crate) merged: Vec<Found>,
    /// How far the log is known to have been durable.
    proven: LogPosition,
}

impl Survey {
    /// Looks at all files.
    pub(crate) fn of(dir: &Directory, listing: &Listing) -> Result<Self> {
        let mut proven = LogPosition::default();
        let mut find_all = |kind, ids: &[u64]| {
            let find = |&id: &u64| find(dir, kind, id, listing, &mut proven);
            ids.iter().map(find).collect::<Result<Vec<_>>>()
        };
        let logs = find_all(FileKind::Log, &listing.logs)?;
        let merged = find_all(FileKind::Merged, &listing.merged)?;
        if let Some(bad) = merged.iter().find(|found| !found.ended || found.fault.is_some()) {
            let what = "the file ends before its end mark".to_owned();
            let what = bad.fault.clone().unwrap_or(what);
            return Err(Error::corrupt(format!("damaged: {what}"), &bad.path, bad.end));
        }
        Ok(Self { logs, merged, proven })
    }

    /// The largest sequence number ever given, as far as is known.
    pub(crate) fn seq_max(&self) -> u64 {
        let seqs = self.logs.iter().chain(&self.merged);
        seqs.map(|found| found.seq_max.max(found.next_seq - 1)).max().unwrap_or(0)
    }

    /// The latest time in a mark.
    pub(crate) fn time_ms(&self) -> u64 {
        self.logs.iter().chain(&self.merged).map(|found| found.time_ms).max().unwrap_or(0)
    }

    /// Where the log ends for good: finds its first hole, and takes out the files from there on.
    pub(crate) fn end_at_hole(&mut self, dir: &Directory) -> Result<Option<Torn>> {
        let mut proven = self.proven;
        for found in &self.logs {
            if found.fault.is_some() {
                let file = dir.open_file(&found.path)?;
                let mark = highest_mark(&*file, &found.path, found.seed, found.end)?;
                proven = proven.max(mark.unwrap_or_default());
            }
        }
        let (index, kept) = match find_hole(&self.logs, proven) {
            None => return Ok(None),
            Some(Hole::Before(index)) => (index, 0),
            // A file without a header goes, too.
            Some(Hole::In(index)) => (index, usize::from(self.logs[index].seed.is_some())),
        };
        let holed = &self.logs[index];
        let reason = match (&holed.fault, kept) {
            (Some(fault), _) => fault.clone(),
            (None, 0) => {
                format!("file {}, which comes before, never reached the disk", holed.previous)
            }
            (None, _) => "the file was not finished".into(),
        };
        let offset = if kept == 0 { 0 } else { holed.end };
        if proven > (LogPosition { file_id: holed.id, offset }) {
            let what = format!("damaged, though this had been durable: {reason}");
            return Err(Error::corrupt(what, &holed.path, offset));
        }
        let (file, bytes) = (holed.path.clone(), holed.file_len.saturating_sub(offset));
        let dropped: Vec<_> = self.logs.drain(index + kept..).map(|found| found.path).collect();
        Ok(Some(Torn { file, offset, bytes, dropped, reason }))
    }
}

/// What does not count of the log: from `offset` of `file` on, and later files.
#[derive(Debug)]
pub(crate) struct Torn {
    pub(crate) file: PathBuf,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    /// Files of which nothing counts, oldest first.
    pub(crate) dropped: Vec<PathBuf>,
    pub(crate) reason: String,
}

/// Reads what is known of one data file: from its hint as far as there is one, else by scanning. Raises
/// `proven` to what it proves durable.
fn find(
    dir: &Directory,
    kind: FileKind,
    id: u64,
    listing: &Listing,
    proven: &mut LogPosition,
) -> Result<Found> {
    let path = dir.data_path(kind, id);
    let file = dir.open_file(&path)?;
    let file_len = file.len().map_err(|e| Error::io("cannot read the length", &path, e))?;
    let mut found = Found {
        id,
        kind,
        path,
        seed: None,
        next_seq: 1,
        previous: 0,
        hint: None,
        entries: Vec::new(),
        end: 0,
        digest: 0,
        file_len,
        seq_max: 0,
        ended: false,
        closed: false,
        last_mark: (0, 0),
        time_ms: 0,
        fault: None,
        scanned: false,
    };
    found.read_header(dir, &*file)?;
    let hint = if listing.hints.contains(&id) { open_hint(dir, id)? } else { None };
    match (found.seed, hint) {
        (Some(seed), Some(hint)) => found.take_hint(&*file, seed, hint, proven)?,
        // A hint is written when its data is durable, header and all.
        (None, Some(hint)) if hint.header.file_id == id => {
            *proven = (*proven).max(LogPosition { file_id: id, offset: hint.header.covered + 1 });
        }
        _ => {}
    }
    if !found.ended {
        found.scan_tail(dir, &*file, proven)?;
    }
    Ok(found)
}

fn open_hint(dir: &Directory, id: u64) -> Result<Option<HintFile>> {
    let path = dir.hint_path(id);
    let hint = match HintFile::open(&dir.fs, &path) {
        // Beside another process a name can go at any time.
        Err(e) if dir.read_only && e.is_not_found() => return Ok(None),
        hint => hint?,
    };
    if hint.is_none() {
        tracing::warn!(path = %path.display(), "hint file does not check out: reading the data file");
    }
    Ok(hint)
}

impl Found {
    fn read_header(&mut self, dir: &Directory, file: &dyn File) -> Result<()> {
        match read_header(file, &self.path, self.id, Some(dir.store_id))? {
            Ok((header, _)) if header.kind != self.kind => {
                let what = "the name of the file does not agree with its header: was it renamed?";
                Err(Error::corrupt(what, &self.path, 10))
            }
            Ok((header, seed)) => {
                self.seed = Some(seed);
                self.next_seq = header.next_seq.max(1);
                self.previous = header.previous;
                Ok(())
            }
            // Perhaps the power went before the header reached the disk: `end_at_hole` finds out.
            Err(what) if self.kind == FileKind::Log => {
                (self.seed, self.end) = (None, 0);
                self.entries.clear();
                self.fault = Some(what.into());
                Ok(())
            }
            Err(what) => Err(Error::corrupt(what, &self.path, 0)),
        }
    }

    /// Believes a hint if it is this file's, and the file has the mark that it speaks of.
    fn take_hint(
        &mut self,
        file: &dyn File,
        seed: u32,
        hint: HintFile,
        proven: &mut LogPosition,
    ) -> Result<()> {
        let header: HintHeader = hint.header;
        if header.file_id != self.id || header.seed != seed {
            return Ok(());
        }
        // It was written when all that it covers, and the mark, were durable. The number of a merged file says
        // nothing about the log.
        if self.kind == FileKind::Log {
            *proven = (*proven).max(LogPosition { file_id: self.id, offset: header.covered + 1 });
        }
        let start = (header.covered, header.digest);
        let mut scanner = Scanner::new(file, &self.path, seed, start)?;
        let Some((_, record)) = scanner.next()? else { return Ok(()) };
        let mark = Mark::decode(record.value);
        let agrees = record.flags.has(Flags::MARK)
            && record.flags.has(Flags::END) == header.ended
            && mark.is_ok_and(|mark| mark.digest == header.digest);
        if agrees {
            self.time_ms = record.time_ms;
            *proven =
                (*proven).max(mark.map_or_else(|_| LogPosition::default(), |mark| mark.durable));
            self.seq_max = header.seq_max;
            self.ended = header.ended;
            (self.end, self.digest) = (scanner.offset(), scanner.digest());
            self.last_mark = start;
            self.closed = true;
            self.hint = Some(hint);
        }
        Ok(())
    }

    /// Reads the records that no hint covers.
    fn scan_tail(
        &mut self,
        dir: &Directory,
        file: &dyn File,
        proven: &mut LogPosition,
    ) -> Result<()> {
        let Some(seed) = self.seed else { return Ok(()) };
        let covered = self.hint.is_some();
        let from = if covered { (self.end, self.digest) } else { (FILE_HEADER_LEN as u64, 0) };
        self.scan_from(dir, file, (seed, from), proven)?;
        // What a hint covers is durable, and so is a merged file. Who only reads can do no more than read.
        let hinted = self.hint.is_some() && self.end == from.0 && self.end == self.file_len;
        if hinted || self.kind == FileKind::Merged || dir.read_only {
            return Ok(());
        }
        // Believe the disk, and not the cache.
        let writable = dir.fs.open(&self.path, Access::Write);
        writable
            .and_then(|writable| writable.sync().and_then(|()| writable.evict(0)))
            .map_err(|e| Error::io("cannot sync", &self.path, e))?;
        self.read_header(dir, file)?;
        let Some(seed) = self.seed else { return Ok(()) };
        self.scan_from(dir, file, (seed, from), proven)
    }

    fn scan_from(
        &mut self,
        dir: &Directory,
        file: &dyn File,
        (seed, from): (u32, (u64, u32)),
        proven: &mut LogPosition,
    ) -> Result<()> {
        self.scanned |= self.hint.is_none();
        self.entries.clear();
        (self.ended, self.closed) = (false, self.hint.is_some());
        let mut scanner = Scanner::new(file, &self.path, seed, from)?;
        while let Some((offset, record)) = scanner.next()? {
            self.seq_max = self.seq_max.max(record.seq);
            (self.ended, self.closed) = (false, false);
            if record.flags.has(Flags::MARK) {
                let here = LogPosition { file_id: self.id, offset };
                let mark = Mark::decode(record.value)
                    .map_err(|fault| Error::corrupt(fault.to_string(), &self.path, offset))?;
                *proven = (*proven).max(mark.durable);
                self.time_ms = self.time_ms.max(record.time_ms);
                self.closed = mark.durable == here;
                self.ended = record.flags.has(Flags::END);
                self.last_mark = (offset, mark.digest);
                if self.ended {
                    break;
                }
            } else if record.flags.is_change() {
                self.entries.push(HintEntry::of(dir.hash(record.key), offset, &record));
            }
        }
        (self.end, self.digest) = (scanner.offset(), scanner.digest());
        self.file_len = scanner.file_len();
        let fault = if self.ended { None } else { scanner.fault() };
        self.fault = match fault {
            Some(Fault::Unsupported(flags)) => {
                let what =
                    format!("the record has flags that this program does not know: {flags:#06x}");
                return Err(Error::new(ErrorKind::Unsupported, what)
                    .at(&self.path)
                    .at_offset(self.end));
            }
            Some(_) if scanner.rest_is_zero()? => None,
            fault => fault.map(|fault| fault.to_string()),
        };
        Ok(())
    }
}

impl Found {
    /// What time its marks say.
    pub(crate) fn time(&self) -> TimeMark {
        TimeMark { time_ms: self.time_ms, file_id: self.id }
    }

    /// No change in it has a smaller sequence number.
    pub(crate) fn seq_min(&self) -> u64 {
        match self.kind {
            // Nothing in it is older than the file, nor will be.
            FileKind::Log => self.next_seq,
            FileKind::Merged => {
                let hinted = self.hint.as_ref().map(|hint| hint.header.seq_min);
                let entries = self.entries.iter().map(|entry| entry.seq);
                entries.chain(hinted).min().unwrap_or(u64::MAX)
            }
        }
    }

    fn end_position(&self) -> LogPosition {
        LogPosition { file_id: self.id, offset: self.end }
    }
}

/// Where the log stops short.
enum Hole {
    /// Within a file, or where it should have its end.
    In(usize),
    /// Before a file: the one that should precede it is not there.
    Before(usize),
}

fn find_hole(logs: &[Found], proven: LogPosition) -> Option<Hole> {
    let last = logs.len().saturating_sub(1);
    logs.iter().enumerate().find_map(|(index, found)| {
        let there = |id| logs.iter().any(|found| found.id == id);
        let previous = found.previous;
        // A file that was durable and is not there was merged away.
        if previous != 0 && !there(previous) && proven.file_id <= previous {
            return Some(Hole::Before(index));
        }
        let short = found.fault.is_some()
            || index < last && !found.ended
            || proven > found.end_position() && proven.file_id == found.id;
        short.then_some(Hole::In(index))
    })
}
