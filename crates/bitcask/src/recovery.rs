//! Opening a store to write: from a directory to the files, the keydir and the end of the log.
//!
//! `survey.rs` says what is there and where the log ends. What a crash left behind that end is cut off, so that
//! what remains is a prefix of what was acknowledged, and nothing stale follows what comes next.
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
use crate::error::{Error, Result};
use crate::files::{DataFile, PlainFile, Source};
use crate::fs::Access;
use crate::header::FileKind;
use crate::load::LoadSource;
use crate::record::LogPosition;
use crate::seal::seal_hint;
use crate::survey::{Found, Listing, Survey, Torn};
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

/// Opens all files of the directory, which is locked, and fills its keydir.
pub(crate) fn recover(
    dir: &Directory,
    listing: &Listing,
) -> Result<(Writer, Recovery, Vec<Finished>)> {
    let mut report = Recovery { foreign: listing.foreign.clone(), ..Recovery::default() };
    let mut survey = Survey::of(dir, listing)?;
    let seq_max = survey.seq_max();
    report.cut = match survey.end_at_hole(dir)? {
        Some(torn) => Some(cut(dir, torn)?),
        None => None,
    };
    let Survey { logs, merged, .. } = survey;
    report.swept_files = sweep(dir, listing)?;
    // What is shown from now on counts as durable: the records are (see `Found::scan_tail`), and so must be the names,
    // those that an interrupted recovery or merge removed, too.
    dir.fs.sync_dir(&dir.path).map_err(|e| Error::io("cannot sync the directory", &dir.path, e))?;
    for found in &logs {
        cut_reserved(dir, found)?;
    }

    let mut end = LogEnd {
        next_seq: seq_max.saturating_add(1),
        next_file_id: listing.largest_id().saturating_add(1),
        durable: LogPosition::default(),
        time: logs.iter().map(Found::time).max().unwrap_or_default(),
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
    // Merged files say what time it was, too; but only of the log is that certain to stay.
    let times = merged.iter().map(|found| found.time_ms);
    dir.time.not_before(times.fold(end.time.time_ms, u64::max));
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

/// Drops the files that do not count. The file where the log ends is cut later.
fn cut(dir: &Directory, torn: Torn) -> Result<Cut> {
    let Torn { file, offset, bytes, dropped, reason } = torn;
    let cut = Cut { file, offset, bytes, dropped_files: dropped.len(), reason };
    tracing::warn!(file = %cut.file.display(), offset, bytes, dropped_files = cut.dropped_files,
        reason = cut.reason, "cut a torn tail off the log");
    let failed = |path: &Path, e| Error::io("cannot remove", path, e);
    for path in dropped.iter().rev() {
        dir.fs.remove(path).map_err(|e| failed(path, e))?;
    }
    dir.fs.sync_dir(&dir.path).map_err(|e| failed(&dir.path, e))?;
    Ok(cut)
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
    data.seq_min.store(found.seq_min(), Ordering::Release);
    data.sealed.store(sealed, Ordering::Release);
    Ok(LoadSource::new(data, found.hint, found.entries, found.ended))
}

pub(crate) fn attach_sealed(dir: &Directory, found: &Found) -> Result<Arc<DataFile>> {
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
