//! Checkpoint: a backup of the open store that is a store itself.
//!
//! A store is a directory of files most of which never change. So a checkpoint has them by hard link, or by copy on
//! another file system, and only the end of the log always by copy:
//!
//! 1. Everything acknowledged by now is made durable, and every finished file sealed. No merge runs, or files would go
//!    away meanwhile.
//! 2. With the writer locked for a moment, the files are listed with their lengths. There the log is a prefix of itself,
//!    batches whole, and bytes below these lengths never change.
//! 3. *Immutable* files are linked. On another file system, those that the checkpoint before has already are linked from
//!    there, and others copied. A log file that is not sealed is copied up to its length, never linked: the store goes
//!    on appending to it, and so does whoever opens the checkpoint.
//! 4. All of it is made durable, and takes the place of the checkpoint before (`staging.rs`).
//!
//! A copy of the log's end has no hint. Who opens the checkpoint scans it, as after a crash.
//!
//! A reader beside the process that writes makes one of what it sees (`readonly.rs`): that is such a list, too. Merge may take the
//! names of files away meanwhile; their bytes are then copied from what the reader holds open.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::directory::Directory;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::files::DataFile;
use crate::fs::{Access, File, read_full_at, write_all_at};
use crate::keeper::Stop;
use crate::staging::{Staging, cannot_link};
use crate::survey::Listing;
use crate::sync::atomic::Ordering;
use crate::sync::lock;

/// Bytes copied between two looks at whether to go on.
const COPY_LEN: usize = 1 << 20;
/// Bytes at the start of a file by which it is recognised.
const START_LEN: usize = 4 << 10;

/// How far a checkpoint is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckpointProgress {
    /// Files that it will hold.
    pub files: usize,
    /// Files that it holds.
    pub files_done: usize,
    /// Bytes of data files that it will hold.
    pub bytes: u64,
    /// Bytes of data files that it holds.
    pub bytes_done: u64,
}

/// What a checkpoint did. Hint files count as files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckpointReport {
    /// The last sequence number that it holds: the same as in [`Stats`](crate::Stats) at that moment.
    pub seq: u64,
    /// Files that it shares with the store.
    pub files_linked: usize,
    /// Files that it has from the checkpoint before it.
    pub files_reused: usize,
    /// Files that were copied.
    pub files_copied: usize,
    /// Bytes of those.
    pub bytes_copied: u64,
    /// Whether it was stopped before its end. Then the target is as it was before.
    pub stopped: bool,
}

type OnProgress<'a> = &'a mut dyn FnMut(&CheckpointProgress) -> ControlFlow<()>;

/// One file of a checkpoint.
#[derive(Debug)]
pub(crate) struct Part {
    path: PathBuf,
    /// Of a file that will never change, whose bytes can be shared: the file whose start tells, with its own, that another
    /// of the same name and length is the same.
    proof: Option<PathBuf>,
    bytes: Bytes,
}

/// What of a file is needed.
#[derive(Debug)]
enum Bytes {
    /// So many bytes of a data file. They can be read when its name is gone.
    Data(Arc<DataFile>, u64),
    /// All of it, so many bytes.
    Whole(u64),
    /// All of it, and nothing if it is not there.
    Spare,
}

impl Bytes {
    /// Those that are necessary.
    fn len(&self) -> u64 {
        match self {
            Self::Data(_, len) | Self::Whole(len) => *len,
            Self::Spare => 0,
        }
    }
}

/// A checkpoint while its files are gathered.
struct Gathering<'a> {
    dir: &'a Directory,
    staging: &'a Staging<'a>,
    is_closed: &'a dyn Fn() -> bool,
    /// Whether the store and the checkpoint are on one file system that has links, as far as is known.
    links: bool,
    progress: CheckpointProgress,
    on_progress: OnProgress<'a>,
    report: CheckpointReport,
}

impl Engine {
    /// Makes `target` a copy of the store as it is now.
    pub(crate) fn checkpoint(
        &self,
        target: &Path,
        on_progress: OnProgress<'_>,
    ) -> Result<CheckpointReport> {
        let _merging = self.keeper.wait_for_merge();
        self.check_open()?;
        let now = || {
            self.sync_all()?;
            // What cannot be sealed is copied.
            self.seal_finished();
            let writer = lock(&self.writer);
            writer.check()?;
            Ok((writer.next_seq - 1, data_parts(&self.dir)))
        };
        checkpoint(&self.dir, target, now, &|| self.keeper.is_stopped(), on_progress)
    }
}

/// Makes `target` a copy of the store as it is when `now` is called: up to a sequence number, of so many data files.
pub(crate) fn checkpoint(
    dir: &Directory,
    target: &Path,
    now: impl FnOnce() -> Result<(u64, Vec<Part>)>,
    is_closed: &dyn Fn() -> bool,
    on_progress: OnProgress<'_>,
) -> Result<CheckpointReport> {
    let staging = Staging::prepare(dir, target)?;
    match gather(dir, &staging, now, is_closed, on_progress) {
        Ok(report) => {
            staging.publish()?;
            tracing::info!(target = %target.display(), ?report, "made a checkpoint");
            Ok(report)
        }
        Err(stop) => {
            staging.discard();
            match stop {
                Stop::Asked => Ok(CheckpointReport { stopped: true, ..Default::default() }),
                Stop::Failed(error) => Err(error),
            }
        }
    }
}

/// Fills the staging directory; all but the names in it is then durable.
fn gather(
    dir: &Directory,
    staging: &Staging<'_>,
    now: impl FnOnce() -> Result<(u64, Vec<Part>)>,
    is_closed: &dyn Fn() -> bool,
    on_progress: OnProgress<'_>,
) -> std::result::Result<CheckpointReport, Stop> {
    let (seq, mut parts) = now()?;
    parts.extend(dictionary_parts(dir)?);
    let progress = CheckpointProgress {
        files: parts.len(),
        bytes: parts.iter().map(|part| part.bytes.len()).sum(),
        ..CheckpointProgress::default()
    };
    let report = CheckpointReport { seq, ..CheckpointReport::default() };
    let links = true;
    let mut gathering = Gathering { dir, staging, is_closed, links, progress, on_progress, report };
    for part in &parts {
        gathering.take(part)?;
    }
    Ok(gathering.report)
}

/// The data files and hints that a store consists of. No change is under way.
pub(crate) fn data_parts(dir: &Directory) -> Vec<Part> {
    let mut parts = Vec::new();
    for file in dir.files.files() {
        let len = file.len.load(Ordering::Acquire);
        let is_sealed = file.sealed.load(Ordering::Acquire);
        let (path, hint) = (file.path.clone(), dir.hint_path(file.id));
        // The header of a hint has a digest of its data file.
        let proof = is_sealed.then(|| hint.clone());
        parts.push(Part { path, proof: proof.clone(), bytes: Bytes::Data(file, len) });
        if is_sealed {
            parts.push(Part { path: hint, proof, bytes: Bytes::Spare });
        }
    }
    parts
}

/// The dictionaries: they were durable before any record referred to them, and stay.
fn dictionary_parts(dir: &Directory) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    for id in Listing::of_dir(&*dir.fs, &dir.path)?.dictionaries {
        let path = dir.dictionary_path(id);
        let file = dir.open_file(&path)?;
        let len = file.len().map_err(|e| Error::io("cannot read the length", &path, e))?;
        parts.push(Part { proof: Some(path.clone()), path, bytes: Bytes::Whole(len) });
    }
    Ok(parts)
}

impl Gathering<'_> {
    fn take(&mut self, part: &Part) -> std::result::Result<(), Stop> {
        let Part { path, proof, bytes } = part;
        let shared = proof.as_ref().map_or(Ok(false), |proof| self.share(path, proof));
        match (shared, bytes) {
            (Ok(true), _) => self.progress.bytes_done += bytes.len(),
            (Ok(false), _) => self.copy(path, bytes)?,
            (Err(e), _) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("cannot link", path, e).into());
            }
            (Err(_), Bytes::Spare) => {}
            // Its name is gone, or it is missing: then there is nothing to copy.
            (Err(_), _) => self.copy(path, bytes)?,
        }
        self.progress.files_done += 1;
        self.look_up()
    }

    /// Has the checkpoint share an immutable file with the store, or with the checkpoint before; false if it must be
    /// copied.
    fn share(&mut self, path: &Path, proof: &Path) -> std::io::Result<bool> {
        let fs = &self.dir.fs;
        let to = self.in_staging(path);
        if self.links {
            match fs.link(path, &to) {
                Ok(()) => {
                    self.report.files_linked += 1;
                    return Ok(true);
                }
                Err(e) if cannot_link(&e) => {
                    // Too many links are of this file only.
                    self.links = e.kind() == std::io::ErrorKind::TooManyLinks;
                }
                Err(e) => return Err(e),
            }
        }
        if !self.has_old(path)? || !self.has_old(proof)? {
            return Ok(false);
        }
        match fs.link(&self.staging.target.join(file_name(path)), &to) {
            Ok(()) => self.report.files_reused += 1,
            Err(e) if cannot_link(&e) => return Ok(false),
            Err(e) => return Err(e),
        }
        Ok(true)
    }

    /// Whether the checkpoint before has this file: the same name, length and start.
    fn has_old(&self, path: &Path) -> std::io::Result<bool> {
        let fs = &self.dir.fs;
        let old = self.staging.old.as_ref().and_then(|old| old.get(file_name(path)));
        let Some(&old_len) = old else { return Ok(false) };
        let file = match fs.open(path, Access::Read) {
            // A hint that somebody removed proves nothing.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            file => file?,
        };
        if file.len()? != old_len {
            return Ok(false);
        }
        let old = fs.open(&self.staging.target.join(file_name(path)), Access::Read)?;
        let start = |file: &dyn File| {
            let mut start = vec![0; START_LEN];
            let len = read_full_at(file, &mut start, 0)?;
            start.truncate(len);
            Ok::<_, std::io::Error>(start)
        };
        Ok(start(&*file)? == start(&*old)?)
    }

    /// Copies what is needed of a file, durably.
    fn copy(&mut self, path: &Path, bytes: &Bytes) -> std::result::Result<(), Stop> {
        let fs = &self.dir.fs;
        let failed = |e| Error::io("cannot read", path, e);
        let file = match (fs.open(path, Access::Read), bytes) {
            (Err(e), _) if e.kind() != std::io::ErrorKind::NotFound => return Err(failed(e).into()),
            (Err(_), Bytes::Spare) => return Ok(()),
            (Err(e), Bytes::Whole(_)) => return Err(failed(e).into()),
            (file, _) => file.ok(),
        };
        let end = match (bytes, &file) {
            (Bytes::Spare, Some(file)) => file.len().map_err(failed)?,
            _ => bytes.len(),
        };
        let read = |buf: &mut [u8], from| match (&file, bytes) {
            (Some(file), _) => read_full_at(&**file, buf, from),
            (None, Bytes::Data(file, _)) => file.read_at(buf, from),
            (None, _) => Ok(0),
        };
        let to_path = self.in_staging(path);
        let to = fs.open(&to_path, Access::Create);
        let to = to.map_err(|e| Error::io("cannot create", &to_path, e))?;
        let mut buf = vec![0; COPY_LEN];
        let mut done = 0;
        while done < end {
            let wanted = usize::try_from(end - done).unwrap_or(COPY_LEN).min(COPY_LEN);
            let n = read(&mut buf[..wanted], done).map_err(|e| failed(e).at_offset(done))?;
            if n < wanted {
                let what = "the file is shorter than its records";
                return Err(Error::corrupt(what, path, done + n as u64).into());
            }
            write_all_at(&*to, &buf[..n], done)
                .map_err(|e| Error::io("cannot write", &to_path, e))?;
            done += n as u64;
            self.report.bytes_copied += n as u64;
            if bytes.len() > 0 {
                self.progress.bytes_done += n as u64;
            }
            self.look_up()?;
        }
        to.sync().map_err(|e| Error::io("cannot sync", &to_path, e))?;
        self.report.files_copied += 1;
        Ok(())
    }

    /// Reports progress, and whether to go on.
    fn look_up(&mut self) -> std::result::Result<(), Stop> {
        if (self.is_closed)() {
            let error = Error::invalid("the store was closed before the checkpoint was made");
            return Err(error.at(&self.dir.path).into());
        }
        match (self.on_progress)(&self.progress) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Stop::Asked),
        }
    }

    fn in_staging(&self, path: &Path) -> PathBuf {
        self.staging.path.join(file_name(path))
    }
}

fn file_name(path: &Path) -> &std::ffi::OsStr {
    path.file_name().expect("files of a store have names")
}
