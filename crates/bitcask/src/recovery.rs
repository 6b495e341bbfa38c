//! From a directory to the files, the keydir and the end of the log.
//!
//! Most files have a hint that says all. What has none, at least the end of the file last written to, is scanned. The log
//! is its files in the order of their numbers. Where it stops short, at bytes that are no record or at a file without its
//! end before another, there is a *hole*, and the question is whether what follows was ever durable:
//!
//! - *Proven durable* is what lies below a mark found anywhere in the log, behind the hole too, or is covered by
//!   a hint. A hole there is damage: opening fails with `Corrupt` and changes nothing.
//! - Otherwise the hole is what a crash left. The log is cut there: later files of it go, then the file is cut.
//!   So what remains is a prefix of what was acknowledged.
//!
//! Before a tail that nothing proves durable is believed, it is synced and the cache is dropped: after a sync
//! that failed in an earlier life, the cache may show what the disk does not have.
//!
//! Every step can be repeated: a crash during recovery leaves the same hole to be found again, because the file with
//! the hole is cut last.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::directory::Directory;
use crate::error::{Error, ErrorKind, Result};
use crate::files::{DataFile, PlainFile, Source};
use crate::fs::{Access, Entry, File, Fs};
use crate::header::{FILE_HEADER_LEN, FileKind};
use crate::hint::{HintEntry, HintFile, HintHeader};
use crate::load::LoadSource;
use crate::name::{self, Name};
use crate::record::{Fault, Flags, LogPosition, Mark};
use crate::scan::{Scanner, highest_mark, read_header};
use crate::seal::seal_hint;
use crate::sync::atomic::Ordering;
use crate::writer::{ActiveEnd, Finished, LogEnd, Writer};

/// What was cut off the log when the store was opened: writes that a crash kept from becoming durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The file that was cut.
    pub file: PathBuf,
    /// Where.
    pub offset: u64,
    /// Bytes that were there beyond it, zeros and reserved space included.
    pub bytes: u64,
    /// Files of the log that were dropped: later ones, and this one if nothing of it was left.
    pub dropped_files: usize,
    /// What was found at the cut.
    pub reason: String,
}

/// What opening the store found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovery {
    /// The torn tail, if there was one.
    pub cut: Option<Cut>,
    /// Files whose records were read, because no hint told of them.
    pub scanned_files: usize,
    /// Files of which a hint told.
    pub hinted_files: usize,
    /// Temporary files and hints without their data file that a crash had left, and that were removed.
    pub swept_files: usize,
    /// Names in the directory that are not the store's. They are left alone.
    pub foreign: Vec<OsString>,
}

/// The names in the directory, sorted out.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    logs: Vec<u64>,
    merged: Vec<u64>,
    hints: Vec<u64>,
    temporary: Vec<(u64, OsString)>,
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
                Name::Temporary(id) => listing.temporary.push((id, name)),
                Name::Lock => {}
                Name::Foreign => listing.foreign.push(name),
            }
        }
        listing.logs.sort_unstable();
        listing.merged.sort_unstable();
        listing.foreign.sort_unstable();
        listing
    }

    /// The largest number that any file has, leftovers included: a number that comes again could make a leftover hint
    /// look like that of the new file.
    fn largest_id(&self) -> u64 {
        let temporary = self.temporary.iter().map(|(id, _)| id);
        let ids = self.logs.iter().chain(&self.merged).chain(&self.hints).chain(temporary);
        ids.copied().max().unwrap_or(0)
    }

    pub(crate) fn holds_store(&self) -> bool {
        !self.logs.is_empty() || !self.merged.is_empty()
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
struct Found {
    id: u64,
    kind: FileKind,
    path: PathBuf,
    /// None if the header is damaged.
    seed: Option<u32>,
    next_seq: u64,
    /// The log file that must be there, unless it is proven to have been durable; 0 for none.
    previous: u64,
    hint: Option<HintFile>,
    /// Changes behind what the hint covers.
    entries: Vec<HintEntry>,
    /// Where its records end, and the digest there.
    end: u64,
    digest: u32,
    file_len: u64,
    seq_max: u64,
    /// Whether its last record is a mark with `END`.
    ended: bool,
    /// Whether its last record is a mark that covers all before it.
    closed: bool,
    /// Where the last mark is, and the digest that it has.
    last_mark: (u64, u32),
    /// The latest time in a mark.
    time_ms: u64,
    /// Why the bytes at `end` are no record; none if nothing or only zeros are there.
    fault: Option<String>,
    scanned: bool,
}

/// Opens all files of the directory, which is locked, and fills its keydir.
pub(crate) fn recover(
    dir: &Directory,
    listing: &Listing,
) -> Result<(Writer, Recovery, Vec<Finished>)> {
    let mut report = Recovery { foreign: listing.foreign.clone(), ..Recovery::default() };

    let mut proven = LogPosition::default();
    let mut logs = Vec::new();
    for &id in &listing.logs {
        logs.push(find(dir, FileKind::Log, id, listing, &mut proven)?);
    }
    let mut merged = Vec::new();
    for &id in &listing.merged {
        merged.push(find(dir, FileKind::Merged, id, listing, &mut proven)?);
    }
    if let Some(bad) = merged.iter().find(|found| !found.ended || found.fault.is_some()) {
        let what = bad.fault.clone().unwrap_or_else(|| "the file ends before its end mark".into());
        return Err(Error::corrupt(format!("damaged: {what}"), &bad.path, bad.end));
    }
    let seqs = logs.iter().chain(&merged).map(|found| found.seq_max.max(found.next_seq - 1)).max();

    report.cut = mend_hole(dir, &mut logs, proven)?;
    report.swept_files = sweep(dir, listing)?;
    // What is shown from now on counts as durable: the records are (see `scan_tail`), and so must be the names,
    // those that an interrupted recovery or merge removed, too.
    dir.fs.sync_dir(&dir.path).map_err(|e| Error::io("cannot sync the directory", &dir.path, e))?;
    for found in &logs {
        cut_reserved(dir, found)?;
    }

    let mut end = LogEnd {
        next_seq: seqs.unwrap_or(0).saturating_add(1),
        next_file_id: listing.largest_id().saturating_add(1),
        durable: LogPosition::default(),
        time_ms: logs.iter().chain(&merged).map(|found| found.time_ms).max().unwrap_or(0),
        closed: true,
        active: None,
    };
    if let Some(last) = logs.last() {
        end.durable = LogPosition { file_id: last.id, offset: last.end };
        end.closed = last.closed;
        if !last.ended {
            end.active = Some(ActiveEnd {
                id: last.id,
                seed: last.seed.expect("a file without a header was cut or reported"),
                len: last.end,
                digest: last.digest,
                hinted: match &last.hint {
                    None => 0,
                    Some(_) if last.entries.is_empty() => last.end,
                    Some(hint) => hint.header.covered,
                },
            });
        }
    }
    report.scanned_files = logs.iter().chain(&merged).filter(|found| found.scanned).count();
    report.hinted_files = logs.len() + merged.len() - report.scanned_files;
    dir.time.not_before(end.time_ms);
    let active = end.active.as_ref().map(|active| active.id);
    let writer = Writer::resume(dir, end)?;

    let (mut sources, mut unsealed) = (Vec::new(), Vec::new());
    for found in logs.into_iter().chain(merged) {
        sources.push(attach(dir, found, active, &mut unsealed)?);
    }
    crate::load::load(dir, sources)?;
    Ok((writer, report, unsealed))
}

/// Removes what a crash left half made. Hints whose data file is gone, too.
fn sweep(dir: &Directory, listing: &Listing) -> Result<usize> {
    let has_data = |id| listing.logs.contains(id) || listing.merged.contains(id);
    let orphans = listing.hints.iter().filter(|id| !has_data(id)).map(|&id| dir.hint_path(id));
    let temporary = listing.temporary.iter().map(|(_, name)| dir.path.join(name));
    let mut swept = 0;
    for path in temporary.chain(orphans) {
        dir.fs.remove(&path).map_err(|e| Error::io("cannot remove", &path, e))?;
        swept += 1;
    }
    Ok(swept)
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
    let hint = HintFile::open(&dir.fs, &path)?;
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
            // Perhaps the power went before the header reached the disk: `mend_hole` finds out.
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
        // What a hint covers is durable, and so is a merged file.
        let hinted = self.hint.is_some() && self.end == from.0 && self.end == self.file_len;
        if hinted || self.kind == FileKind::Merged {
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

/// Finds the first hole of the log, and cuts the log there unless that is damage.
fn mend_hole(
    dir: &Directory,
    logs: &mut Vec<Found>,
    mut proven: LogPosition,
) -> Result<Option<Cut>> {
    for found in logs.iter() {
        if found.fault.is_some() {
            let file = dir.open_file(&found.path)?;
            let mark = highest_mark(&*file, &found.path, found.seed, found.end)?;
            proven = proven.max(mark.unwrap_or_default());
        }
    }
    let (index, kept) = match find_hole(logs, proven) {
        None => return Ok(None),
        Some(Hole::Before(index)) => (index, 0),
        // A file without a header goes, too.
        Some(Hole::In(index)) => (index, usize::from(logs[index].seed.is_some())),
    };
    let holed = &logs[index];
    let reason = match (&holed.fault, kept) {
        (Some(fault), _) => fault.clone(),
        (None, 0) => format!("file {}, which comes before, never reached the disk", holed.previous),
        (None, _) => "the file was not finished".into(),
    };
    let offset = if kept == 0 { 0 } else { holed.end };
    if proven > (LogPosition { file_id: holed.id, offset }) {
        let what = format!("damaged, though this had been durable: {reason}");
        return Err(Error::corrupt(what, &holed.path, offset));
    }

    let cut = Cut {
        file: holed.path.clone(),
        offset,
        bytes: holed.file_len.saturating_sub(offset),
        dropped_files: logs.len() - index - kept,
        reason,
    };
    tracing::warn!(file = %cut.file.display(), offset = cut.offset, bytes = cut.bytes,
        dropped_files = cut.dropped_files, reason = cut.reason, "cut a torn tail off the log");
    let failed = |path: &Path, e| Error::io("cannot remove", path, e);
    for dropped in logs.drain(index + kept..).rev() {
        dir.fs.remove(&dropped.path).map_err(|e| failed(&dropped.path, e))?;
    }
    dir.fs.sync_dir(&dir.path).map_err(|e| failed(&dir.path, e))?;
    Ok(Some(cut))
}

/// Cuts what lies behind the last record, durably: later records must not be followed by stale ones.
fn cut_reserved(dir: &Directory, found: &Found) -> Result<()> {
    if found.file_len <= found.end {
        return Ok(());
    }
    let file = dir.fs.open(&found.path, Access::Write);
    file.and_then(|file| file.set_len(found.end).and_then(|()| file.sync()))
        .map_err(|e| Error::io("cannot cut to its length", &found.path, e))
}

/// Makes a file readable, and a source for the keydir. Writes the hint of a finished file that has none.
fn attach(
    dir: &Directory,
    mut found: Found,
    active: Option<u64>,
    unsealed: &mut Vec<Finished>,
) -> Result<LoadSource> {
    let data = if active == Some(found.id) {
        let is_it = |file: &Arc<DataFile>| file.id == found.id;
        dir.files.files().into_iter().find(is_it).expect("the writer added the active file")
    } else {
        attach_sealed(dir, &found)?
    };
    let hinted = found.hint.as_ref().is_some_and(|hint| hint.header.ended);
    let mut sealed = found.ended && hinted;
    if found.ended && !hinted {
        // Without a hint the store works, too.
        match seal_hint(dir, &data) {
            Ok(Some(hint)) => {
                (found.hint, found.entries) = (Some(hint), Vec::new());
                sealed = true;
            }
            unwritten => {
                tracing::warn!(?unwritten, "cannot write a hint file");
                let file = dir.fs.open(&data.path, Access::Write);
                let file = file.map_err(|e| Error::io("cannot open", &data.path, e))?.into();
                unsealed.push(Finished { data: data.clone(), file });
            }
        }
    }
    let entries = found.entries.iter().map(|entry| entry.seq);
    let seq_min = match found.kind {
        // Nothing in it is older than the file, nor will be.
        FileKind::Log => found.next_seq,
        FileKind::Merged => {
            let hinted = found.hint.as_ref().map(|hint| hint.header.seq_min);
            entries.chain(hinted).min().unwrap_or(u64::MAX)
        }
    };
    data.seq_min.store(seq_min, Ordering::Release);
    data.sealed.store(sealed, Ordering::Release);
    Ok(LoadSource::new(data, found.hint, found.entries, found.ended))
}

fn attach_sealed(dir: &Directory, found: &Found) -> Result<Arc<DataFile>> {
    let seed = found.seed.expect("a file without a header was cut or reported");
    attach_file(dir, (found.id, found.kind, seed), &found.path, found.end)
}

/// Adds a file that will not grow.
pub(crate) fn attach_file(
    dir: &Directory,
    identity: (u64, FileKind, u32),
    path: &Path,
    len: u64,
) -> Result<Arc<DataFile>> {
    let source = if dir.mapped {
        let map_len = usize::try_from(len).expect("files are below 16 GiB");
        let region = dir
            .open_file(path)?
            .map(map_len, Access::Read)
            .and_then(|region| region.advise_random().map(|()| region))
            .map_err(|e| Error::io("cannot map", path, e))?;
        Source::Mapped(region)
    } else {
        Source::Plain(PlainFile::new(dir, path)?)
    };
    dir.files.add(len, |first_chunk| {
        Ok(DataFile::new(identity, path.to_owned(), first_chunk, source, len))
    })
}
