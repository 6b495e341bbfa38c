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

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use crate::engine::Engine;
use crate::error::{Error, Result};
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
enum Part {
    /// It will never change: its bytes can be shared. `proof` is the file whose start tells, with its own, that another
    /// file of the same name and length is the same.
    Immutable { path: PathBuf, proof: PathBuf, role: Role },
    /// It counts up to `len`; behind that it may change.
    Growing { path: PathBuf, len: u64 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// Its bytes are needed, so many.
    Data(u64),
    /// Who opens the checkpoint can do without it.
    Spare,
}

/// A checkpoint while its files are gathered.
struct Gathering<'a> {
    engine: &'a Engine,
    staging: &'a Staging<'a>,
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
        let staging = Staging::prepare(&self.dir, target)?;
        match self.gather(&staging, on_progress) {
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
        &self,
        staging: &Staging<'_>,
        on_progress: OnProgress<'_>,
    ) -> std::result::Result<CheckpointReport, Stop> {
        self.sync_all()?;
        // What cannot be sealed is copied.
        self.seal_finished();
        let (seq, parts) = self.parts()?;
        let bytes = |part: &Part| match part {
            Part::Immutable { role: Role::Data(len), .. } | Part::Growing { len, .. } => *len,
            Part::Immutable { role: Role::Spare, .. } => 0,
        };
        let progress = CheckpointProgress {
            files: parts.len(),
            bytes: parts.iter().map(bytes).sum(),
            ..CheckpointProgress::default()
        };
        let report = CheckpointReport { seq, ..CheckpointReport::default() };
        let mut gathering =
            Gathering { engine: self, staging, links: true, progress, on_progress, report };
        for part in &parts {
            gathering.take(part)?;
        }
        Ok(gathering.report)
    }

    /// What the store consists of now, and its last sequence number.
    fn parts(&self) -> Result<(u64, Vec<Part>)> {
        let mut parts = Vec::new();
        let seq = {
            let writer = lock(&self.writer);
            writer.check()?;
            for file in self.dir.files.files() {
                let (path, len) = (file.path.clone(), file.len.load(Ordering::Acquire));
                if !file.sealed.load(Ordering::Acquire) {
                    parts.push(Part::Growing { path, len });
                    continue;
                }
                let hint = self.dir.hint_path(file.id);
                // The header of a hint has a digest of its data file.
                parts.push(Part::Immutable { path, proof: hint.clone(), role: Role::Data(len) });
                parts.push(Part::Immutable { path: hint.clone(), proof: hint, role: Role::Spare });
            }
            writer.next_seq - 1
        };
        // They were durable before any record referred to them, and stay.
        for id in Listing::of_dir(&*self.dir.fs, &self.dir.path)?.dictionaries {
            let path = self.dir.dictionary_path(id);
            let file = self.dir.open_file(&path)?;
            let len = file.len().map_err(|e| Error::io("cannot read the length", &path, e))?;
            parts.push(Part::Immutable { proof: path.clone(), path, role: Role::Data(len) });
        }
        Ok((seq, parts))
    }
}

impl Gathering<'_> {
    fn take(&mut self, part: &Part) -> std::result::Result<(), Stop> {
        match part {
            Part::Growing { path, len } => self.copy(path, Some(*len))?,
            Part::Immutable { path, proof, role } => match (self.share(path, proof), role) {
                (Ok(true), Role::Data(len)) => self.progress.bytes_done += len,
                (Ok(true), Role::Spare) => {}
                (Ok(false), _) => {
                    let len = if let Role::Data(len) = role { Some(*len) } else { None };
                    self.copy(path, len)?;
                }
                (Err(e), Role::Spare) if e.kind() == std::io::ErrorKind::NotFound => {}
                (Err(e), _) => return Err(Error::io("cannot link", path, e).into()),
            },
        }
        self.progress.files_done += 1;
        self.look_up()
    }

    /// Has the checkpoint share an immutable file with the store, or with the checkpoint before; false if it must be
    /// copied.
    fn share(&mut self, path: &Path, proof: &Path) -> std::io::Result<bool> {
        let fs = &self.engine.dir.fs;
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
        let fs = &self.engine.dir.fs;
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

    /// Copies the first `len` bytes of a file, or all of a spare one, durably.
    fn copy(&mut self, path: &Path, len: Option<u64>) -> std::result::Result<(), Stop> {
        let fs = &self.engine.dir.fs;
        let from = match fs.open(path, Access::Read) {
            Err(e) if len.is_none() && e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            file => file.map_err(|e| Error::io("cannot open", path, e))?,
        };
        let end = match len {
            Some(len) => len,
            None => from.len().map_err(|e| Error::io("cannot read the length", path, e))?,
        };
        let to_path = self.in_staging(path);
        let to = fs.open(&to_path, Access::Create);
        let to = to.map_err(|e| Error::io("cannot create", &to_path, e))?;
        let mut buf = vec![0; COPY_LEN];
        let mut done = 0;
        while done < end {
            let wanted = usize::try_from(end - done).unwrap_or(COPY_LEN).min(COPY_LEN);
            let n = read_full_at(&*from, &mut buf[..wanted], done)
                .map_err(|e| Error::io("cannot read", path, e).at_offset(done))?;
            if n < wanted {
                let what = "the file is shorter than its records";
                return Err(Error::corrupt(what, path, done + n as u64).into());
            }
            write_all_at(&*to, &buf[..n], done)
                .map_err(|e| Error::io("cannot write", &to_path, e))?;
            done += n as u64;
            self.report.bytes_copied += n as u64;
            if len.is_some() {
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
        if self.engine.keeper.is_stopped() {
            let error = Error::invalid("the store was closed before the checkpoint was made");
            return Err(error.at(&self.engine.dir.path).into());
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
