//! Merge: giving back the space of dead records. The only code that removes data of an open store.
//!
//! A step takes a few sealed files whose live records fit into one, and makes of them one new file:
//!
//! 1. Read each input from front to back. A value is copied if the keydir has it at this very place, or keeps it for a
//!    snapshot; a tombstone if it may still hide something. A value that has expired is a tombstone. Everything is
//!    checked before it is copied.
//! 2. Make the *log* durable: what superseded the records that were not copied may be a moment old, and must not be lost
//!    when they are. Have the log say so, because a log file whose predecessor is gone counts only if that one is
//!    known to have been durable. Make the output durable; its end mark says how far the log is.
//! 3. Publish the output and its hint.
//! 4. Move the keydir's entries, each by compare-and-swap from the old place to the new. A key that was written
//!    since stays as it is.
//! 5. Take the inputs out of use, remove their names, and make that durable.
//!
//! A crash anywhere leaves inputs, outputs, or both; records that are there twice have one sequence number and are one.
//!
//! A tombstone is dropped when no *other* file, the other inputs included, holds an older record with its hash.
//! The other inputs count because names are removed one by one, and a crash may bring any of them back; so a tombstone
//! whose last old record goes in this step goes in the next. Its own file does not count: they go together, unless a
//! snapshot still sees the older record.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::directory::Directory;
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::files::DataFile;
use crate::header::FileKind;
use crate::keeper::Stop;
use crate::keydir::Relocated;
use crate::merged_file::{HiddenIn, Origin, Output};
use crate::name;
use crate::options::MergePolicy;
use crate::record::{self, Flags, Record};
use crate::recovery::attach_file;
use crate::scan::Scanner;
use crate::seal::publish_hint;
use crate::stats::count;
use crate::sync::atomic::Ordering;
use crate::sync::lock;
use crate::tombstones::Needed;

/// Bytes read between two looks at pause, stop and rate.
const STRIDE: u64 = 1 << 20;
/// Small files that start a background merge.
const SMALL_FILES_TRIGGER: usize = 8;
/// A background merge that gives back less than this part of what it read was not worthwhile.
const WORTHWHILE_RATIO: u64 = 10;
/// Passes of an explicit merge: tombstones may need a second, and what they hid in the second a third.
const PASSES_MAX: usize = 4;

/// How far a merge is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MergeProgress {
    /// Files that it will read, as far as is known.
    pub files: usize,
    /// Files read and removed.
    pub files_done: usize,
    /// Bytes that it will read.
    pub bytes: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// Bytes written.
    pub bytes_written: u64,
}

/// What a merge did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MergeReport {
    /// Files read and removed.
    pub files_removed: usize,
    /// Files written.
    pub files_written: usize,
    /// Bytes of the files read.
    pub bytes_read: u64,
    /// Bytes of the files written.
    pub bytes_written: u64,
    /// Records kept, tombstones included.
    pub records_kept: u64,
    /// Whether it was stopped before its end.
    pub stopped: bool,
}

impl MergeReport {
    /// Bytes given back to the disk.
    pub fn reclaimed_bytes(&self) -> u64 {
        self.bytes_read.saturating_sub(self.bytes_written)
    }
}

type OnProgress<'a> = &'a mut dyn FnMut(&MergeProgress) -> ControlFlow<()>;

/// What one merge, of one step or several, shares between its steps.
struct Job<'a> {
    engine: &'a Engine,
    on_progress: OnProgress<'a>,
    progress: MergeProgress,
    report: MergeReport,
    started_ns: u64,
    seen: u64,
}

impl Engine {
    /// Merges all that has anything dead, the active file included.
    pub(crate) fn merge_everything(&self, on_progress: OnProgress<'_>) -> Result<MergeReport> {
        let _merging = self.keeper.wait_for_merge();
        self.check_open()?;
        self.drop_expired()?;
        self.note_time_if_room()?;
        self.sync_all()?;
        self.finish_active_if_dead()?;
        self.sync_all()?;
        let unsealed = self.seal_finished();
        let mut job = Job::new(self, on_progress);
        let mut dropped_before = u64::MAX;
        for _ in 0..PASSES_MAX {
            let reclaimable = |file: &DataFile| self.reclaimable(file) > 0;
            let inputs = self.mergeable(reclaimable, self.small_bytes());
            let read_before = (job.report.bytes_read, job.report.bytes_written);
            job.run(inputs)?;
            let read = job.report.bytes_read - read_before.0;
            let dropped = read - (job.report.bytes_written - read_before.1).min(read);
            if read == 0 || dropped == 0 || job.report.stopped || dropped > dropped_before {
                break;
            }
            dropped_before = dropped;
        }
        let report = job.finish();
        match unsealed {
            // What could not be sealed could not be merged; if nothing else was, that is the answer.
            Some(e) if report.files_removed == 0 => Err(e),
            _ => Ok(report),
        }
    }

    /// Merges what the policy says, if it says so now. Gives whether that was worth the work.
    pub(crate) fn merge_if_worthwhile(&self) -> Result<bool> {
        let policy = &self.dir.options.merge;
        if !policy.background || !self.in_window(policy) || self.keeper.is_paused() {
            return Ok(true);
        }
        // Another one may take long, or a checkpoint; meanwhile there are files to seal.
        let Some(_merging) = self.keeper.try_merge() else { return Ok(true) };
        self.drop_expired()?;
        self.note_time_if_room()?;
        let small = |file: &DataFile| file.len.load(Ordering::Relaxed) < self.small_bytes();
        let reaches = |file: &DataFile, ratio: f64, bytes: u64| {
            let (dead, len) = (self.reclaimable(file), file.len.load(Ordering::Relaxed));
            dead > 0 && (dead >= bytes || dead as f64 >= ratio * len as f64)
        };
        let sealed = self.mergeable(|_| true, 0);
        let triggered = sealed
            .iter()
            .any(|file| reaches(file, policy.dead_ratio_trigger, policy.dead_bytes_trigger))
            || sealed.iter().filter(|file| small(file)).count() >= SMALL_FILES_TRIGGER;
        if !triggered {
            return Ok(true);
        }
        let joins = |file: &DataFile| {
            reaches(file, policy.dead_ratio_threshold, policy.dead_bytes_threshold)
        };
        let inputs = self.mergeable(joins, self.small_bytes());
        let mut unwatched = |_: &MergeProgress| ControlFlow::Continue(());
        let mut job = Job::new(self, &mut unwatched);
        let result = job.run(inputs);
        let report = job.finish();
        result?;
        let joined_files = report.files_removed > report.files_written + 1;
        Ok(joined_files || report.reclaimed_bytes() * WORTHWHILE_RATIO >= report.bytes_read)
    }

    /// A finished file shorter than this is small. A full one never is.
    fn small_bytes(&self) -> u64 {
        let options = &self.dir.options;
        options.merge.small_file_bytes.min(options.max_file_size / 2)
    }

    fn in_window(&self, policy: &MergePolicy) -> bool {
        let Some((from, to)) = policy.window_utc_hours else { return true };
        let hour = self.dir.clock.wall_ms() / 3_600_000 % 24;
        let (from, to) = (u64::from(from), u64::from(to));
        if from < to { (from..to).contains(&hour) } else { hour >= from || hour < to }
    }

    /// Bytes that a merge of this file would give back, as far as is known.
    fn reclaimable(&self, file: &DataFile) -> u64 {
        let dead = file.dead.load(Ordering::Relaxed);
        // Tombstones that were needed when last looked at are worth another look when files are gone since.
        let needed_at = file.tombstones_needed_at.load(Ordering::Relaxed);
        let tombstones = if self.dir.files.removals() >= needed_at {
            file.tombstones.load(Ordering::Relaxed)
        } else {
            0
        };
        dead + tombstones
    }

    /// The sealed files that `wanted` wants, and those smaller than `small_bytes` if they are several.
    fn mergeable(
        &self,
        wanted: impl Fn(&DataFile) -> bool,
        small_bytes: u64,
    ) -> Vec<Arc<DataFile>> {
        let files: Vec<_> = self
            .dir
            .files
            .files()
            .into_iter()
            .filter(|file| file.sealed.load(Ordering::Acquire))
            .filter(|file| !file.damaged.load(Ordering::Acquire))
            .collect();
        let small = |file: &DataFile| file.len.load(Ordering::Relaxed) < small_bytes;
        let several = files.iter().filter(|file| small(file) || wanted(file)).count() > 1;
        files.into_iter().filter(|file| wanted(file) || several && small(file)).collect()
    }

    fn finish_active_if_dead(&self) -> Result<()> {
        let mut writer = lock(&self.writer);
        writer.check()?;
        // Durable, so that its end mark says so of what came before it.
        let durable = writer.durable().file_id;
        if writer.active().is_some_and(|file| self.reclaimable(file) > 0 && file.id == durable) {
            writer.finish_active(&self.dir)?;
        }
        Ok(())
    }
}

/// A part of a step of a merge.
pub(crate) type StepResult<T> = std::result::Result<T, Stop>;

impl<'a> Job<'a> {
    fn new(engine: &'a Engine, on_progress: OnProgress<'a>) -> Self {
        Self {
            engine,
            on_progress,
            progress: MergeProgress::default(),
            report: MergeReport::default(),
            started_ns: engine.dir.clock.monotonic_ns(),
            seen: 0,
        }
    }

    fn finish(self) -> MergeReport {
        self.engine.keeper.set_progress(None);
        self.report
    }

    /// Merges `inputs`, in steps whose live records fit one file. Those with the least to copy come first, so
    /// that on a disk that is nearly full the first steps make room for the next.
    fn run(&mut self, mut inputs: Vec<Arc<DataFile>>) -> Result<()> {
        inputs.sort_by_key(|file| live_bytes(file));
        self.progress.files += inputs.len();
        self.progress.bytes +=
            inputs.iter().map(|file| file.len.load(Ordering::Relaxed)).sum::<u64>();
        let dir = &self.engine.dir;
        // Dead records that are copied all the same: what is kept, and tombstones that hide it.
        let kept_bytes = dir.snapshots.kept_bytes() * 2;
        let mut groups = VecDeque::from(grouped(inputs, dir.options.max_file_size, kept_bytes));
        while let Some(group) = groups.pop_front() {
            match self.step(&group) {
                Ok(()) => {}
                Err(Stop::Asked) => {
                    self.report.stopped = true;
                    return Ok(());
                }
                // Less at a time may fit, and make room for more.
                Err(Stop::Failed(error)) if error.kind() == ErrorKind::Full && group.len() > 1 => {
                    group.into_iter().rev().for_each(|file| groups.push_front(vec![file]));
                }
                Err(Stop::Failed(error)) => {
                    tracing::warn!(error = ?error, "a merge failed");
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn step(&mut self, inputs: &[Arc<DataFile>]) -> StepResult<()> {
        let live_bytes = inputs.iter().map(|input| live_bytes(input)).sum();
        let engine = self.engine;
        let dir = &engine.dir;
        let removals = dir.files.removals();
        let time_ms = dir.time.now_ms();
        let needed = (Needed::of(engine, inputs, time_ms)?, time_ms);
        let mut output = None;
        let copied = inputs
            .iter()
            .try_for_each(|input| self.copy_live(input, &needed, live_bytes, &mut output))
            .and_then(|()| Ok(self.make_durable(output.as_mut(), inputs)?));
        if copied.is_err()
            && let Some(output) = &output
        {
            // Ignored: what is left of it is swept when the store is opened.
            drop(dir.fs.remove(&name::temporary_path(&output.path)));
        }
        copied?;

        let written = output.as_ref().map_or(0, |output| output.end);
        if let Some(output) = output {
            self.report.files_written += 1;
            self.report.bytes_written += output.end;
            self.report.records_kept += output.entries.len() as u64;
            self.publish(output, removals)?;
        }
        self.remove(inputs)?;
        count(&engine.stats.merges, 1);
        let removed: u64 = inputs.iter().map(|input| input.len.load(Ordering::Relaxed)).sum();
        count(&engine.stats.reclaimed, removed.saturating_sub(written));
        tracing::info!(inputs = inputs.len(), report = ?self.report, "merged");
        Ok(())
    }

    /// Copies what is live in `input`.
    fn copy_live(
        &mut self,
        input: &Arc<DataFile>,
        needed: &(Needed, u64),
        live_bytes: u64,
        output: &mut Option<Output>,
    ) -> StepResult<()> {
        let dir = &self.engine.dir;
        let file = dir.open_file(&input.path)?;
        let mut scanner = Scanner::from_start(&*file, &input.path, input.seed)?;
        let mut ended = false;
        let mut looked_at = 0;
        while let Some((offset, record)) = scanner.next()? {
            if record.flags.has(Flags::END) {
                ended = true;
                break;
            }
            let (hash, place) = (dir.hash(record.key), input.place(offset));
            let is_held = record.flags.has(Flags::VALUE) && dir.keydir.holds(hash, place);
            let origin = if is_held {
                Some(Origin::Live(place))
            } else {
                self.hides(&record, needed).map(Origin::Tombstone)
            };
            if let Some(origin) = origin {
                if output.is_none() {
                    *output = Some(Output::create(self.engine, live_bytes)?);
                }
                let output = output.as_mut().expect("it was just created");
                output.copy(&record, hash, origin)?;
            }
            if offset - looked_at >= STRIDE {
                self.advance(offset - looked_at, output.as_ref())?;
                looked_at = offset;
            }
        }
        if !ended {
            input.damaged.store(true, Ordering::Release);
            let fault = scanner.fault().unwrap_or(record::Fault::Short);
            return Err(input.fault(scanner.offset(), fault).into());
        }
        self.advance(scanner.offset() - looked_at, output.as_ref())
    }

    /// Where older records are that this one hides, which is not in the keydir: a tombstone, or a value that has expired.
    fn hides(&self, record: &Record<'_>, (needed, time_ms): &(Needed, u64)) -> Option<HiddenIn> {
        let expired_since =
            record.expires_ms > *time_ms && self.engine.dir.time.has_passed(record.expires_ms);
        if expired_since {
            // Nobody looked, when the step began, for what it hides.
            return Some(HiddenIn::Others);
        }
        needed.hidden_in(record.seq)
    }

    /// Reports progress, and waits as pause and rate ask for.
    fn advance(&mut self, bytes: u64, output: Option<&Output>) -> StepResult<()> {
        let engine = self.engine;
        self.progress.bytes_read += bytes;
        self.progress.bytes_written = self.report.bytes_written + output.map_or(0, |o| o.end);
        engine.keeper.set_progress(Some(self.progress.clone()));
        if (self.on_progress)(&self.progress).is_break() || !engine.keeper.wait_while_paused() {
            return Err(Stop::Asked);
        }
        let moved = self.progress.bytes_read + self.progress.bytes_written;
        if let Some(rate) = engine.dir.options.merge.rate_bytes_per_second {
            let due_ns =
                u128::from(moved - self.seen.min(moved)) * 1_000_000_000 / u128::from(rate);
            let now_ns = engine.dir.clock.monotonic_ns();
            let due_ns = self.started_ns + u64::try_from(due_ns).unwrap_or(u64::MAX / 2);
            let wait = Duration::from_nanos(due_ns.saturating_sub(now_ns));
            if engine.dir.options.threads && !wait.is_zero() && !engine.keeper.sleep(wait) {
                return Err(Stop::Asked);
            }
            // Time that was lost to pauses is not made up for.
            (self.started_ns, self.seen) = (due_ns.max(now_ns), moved);
        }
        Ok(())
    }

    /// Makes the log durable, and the output: see the module's story.
    fn make_durable(&self, output: Option<&mut Output>, inputs: &[Arc<DataFile>]) -> Result<()> {
        let engine = self.engine;
        engine.sync_all()?;
        let logs = inputs.iter().filter(|input| input.kind == FileKind::Log);
        if let Some(newest) = logs.map(|input| input.id).max() {
            lock(&engine.writer).mark_beyond(&engine.dir, newest)?;
        }
        // Nor should the time be forgotten at which what was not copied had expired.
        engine.note_time_if_room()?;
        engine.sync_all()?;
        let durable = lock(&engine.writer).durable();
        output.map_or(Ok(()), |output| output.finish(durable, engine.dir.time.now_ms()))
    }

    /// Gives the output its hint and its name, and moves the keydir's entries to it.
    fn publish(&mut self, output: Output, removals: u64) -> Result<()> {
        let dir = &self.engine.dir;
        let header = output.hint_header();
        let Output { path, id, seed, end, mut entries, origins, .. } = output;
        let copies: Vec<_> = entries.iter().map(|e| (e.hash, e.offset(), e.len())).collect();
        // First, because it may find the disk full, and without its data file a hint is nothing.
        publish_hint(dir, header, &mut entries).inspect_err(|_| {
            // Ignored: what is left of it is swept when the store is opened.
            drop(dir.fs.remove(&name::temporary_path(&path)));
        })?;
        let data = attach_named(dir, (id, FileKind::Merged, seed), &path, end)
            // The file may have its name by now, and nobody here knows what is in it.
            .map_err(|e| lock(&self.engine.writer).poison(e))?;
        let seq_min = entries.iter().map(|entry| entry.seq).min().unwrap_or(u64::MAX);
        data.seq_min.store(seq_min, Ordering::Release);
        data.sealed.store(true, Ordering::Release);
        data.tombstones_needed_at.store(removals + 2, Ordering::Relaxed);
        for ((hash, offset, len), origin) in copies.into_iter().zip(origins) {
            match origin {
                Origin::Tombstone(HiddenIn::Inputs) => data.add_dead(len),
                Origin::Tombstone(HiddenIn::Others) => {
                    data.tombstones.fetch_add(len, Ordering::Relaxed);
                }
                Origin::Live(old) => {
                    // What only a snapshot sees is dead already.
                    if dir.keydir.relocate(hash, old, data.place(offset)) != Relocated::Live {
                        data.add_dead(len);
                    }
                }
            }
        }
        Ok(())
    }

    /// Removes files that hold nothing any more.
    fn remove(&mut self, inputs: &[Arc<DataFile>]) -> Result<()> {
        let engine = self.engine;
        let dir = &engine.dir;
        inputs.iter().try_for_each(|input| input.keep_readable())?;
        dir.files.remove(inputs);
        // If it is not certain that names are gone, no tombstone may be dropped any more.
        remove_names(dir, inputs).map_err(|e| lock(&engine.writer).poison(e))?;
        dir.files.count_removal();
        self.progress.files_done += inputs.len();
        self.report.files_removed += inputs.len();
        self.report.bytes_read +=
            inputs.iter().map(|input| input.len.load(Ordering::Relaxed)).sum::<u64>();
        Ok(())
    }
}

/// Bytes that a merge would keep of a file, as far as is known.
fn live_bytes(file: &DataFile) -> u64 {
    file.len.load(Ordering::Relaxed).saturating_sub(file.dead.load(Ordering::Relaxed))
}

/// Files, in their order, in groups of which what is copied fits into `bytes_max`: live records, and `kept_bytes` of dead
/// ones.
fn grouped(files: Vec<Arc<DataFile>>, bytes_max: u64, kept_bytes: u64) -> Vec<Vec<Arc<DataFile>>> {
    let mut groups: Vec<Vec<Arc<DataFile>>> = Vec::new();
    let (mut live, mut dead) = (0, 0);
    for file in files {
        live += live_bytes(&file);
        dead += file.dead.load(Ordering::Relaxed);
        match groups.last_mut() {
            Some(group) if live + dead.min(kept_bytes) <= bytes_max => group.push(file),
            _ => {
                (live, dead) = (live_bytes(&file), file.dead.load(Ordering::Relaxed));
                groups.push(vec![file]);
            }
        }
    }
    groups
}

/// Gives a durable file its name, durably, and adds it to the files.
fn attach_named(
    dir: &Directory,
    identity: (u64, FileKind, u32),
    path: &Path,
    len: u64,
) -> Result<Arc<DataFile>> {
    dir.fs
        .rename(&name::temporary_path(path), path)
        .and_then(|()| dir.fs.sync_dir(&dir.path))
        .map_err(|e| Error::io("cannot publish", path, e))?;
    attach_file(dir, identity, path, len)
}

/// Removes the names of data files and their hints, durably.
fn remove_names(dir: &Directory, files: &[Arc<DataFile>]) -> Result<()> {
    for file in files {
        let failed = |path: &Path, e| Error::io("cannot remove", path, e);
        dir.fs.remove(&file.path).map_err(|e| failed(&file.path, e))?;
        let hint_path = dir.hint_path(file.id);
        match dir.fs.remove(&hint_path) {
            // Somebody else removed it: it is as it should be.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            result => result.map_err(|e| failed(&hint_path, e))?,
        }
    }
    dir.fs.sync_dir(&dir.path).map_err(|e| Error::io("cannot sync the directory", &dir.path, e))
}
