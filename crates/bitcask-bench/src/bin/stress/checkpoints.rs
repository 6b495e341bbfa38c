//! Checkpoints, made while everything goes on and while the process is killed; and the look at the last one.
//!
//! Before a checkpoint is made, the journals are put aside: all that they say had been acknowledged by then. A
//! checkpoint that can be seen must have at least that, and be the store after some change.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use bitcask::Bitcask;
use bitcask_random::Random;

use crate::account::{check_between, check_prefix, marks};
use crate::counts::Counts;
use crate::journal::Journal;
use crate::writer::Layout;
use crate::{Result, Setting, bank, chores};

/// The checkpoint, and what had been acknowledged before it was made.
fn places(dir: &Path) -> (PathBuf, PathBuf) {
    (dir.join("checkpoint"), dir.join("floor"))
}

/// Makes checkpoints in one place, again and again; some are stopped half-way.
pub(crate) fn make(
    db: &Bitcask,
    setting: &Setting,
    mut random: Random,
    counts: &Counts,
    stop: &AtomicBool,
) -> Result<()> {
    let (target, floor) = places(&setting.dir);
    let (new, journals) = (setting.dir.join("floor.new"), Layout::in_dir(&setting.dir).journals);
    loop {
        chores::wait(stop, chores::millis(&mut random, 100, 2500));
        if stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        put_aside(setting, &journals, &new)?;
        let gives_up = random.one_in(6);
        let report = db.checkpoint_with(&target, |_| {
            if gives_up { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        if report.stopped {
            continue;
        }
        // Killed before this, it is held against an older floor, which is lower.
        fs::rename(&new, &floor)?;
        counts.add("checkpoints", 1);
    }
}

/// Slots of all workers, one after the other, in one file.
fn put_aside(setting: &Setting, journals: &Path, to: &Path) -> Result<()> {
    let copies = to.with_extension("copy");
    fs::create_dir_all(&copies)?;
    let mut all = Vec::new();
    for worker in 0..setting.threads {
        let journal = Journal::open(journals, worker, setting.keys)?;
        let copy = Journal::open(&copies, worker, setting.keys)?;
        for (index, slot) in (0..).zip(journal.slots()?) {
            copy.set(index, slot)?;
        }
        all.extend(fs::read(Journal::path(&copies, worker))?);
    }
    Ok(fs::write(to, all)?)
}

/// What was put aside, as journals again.
fn unpack(setting: &Setting, floor: &Path) -> Result<Vec<Journal>> {
    let (all, dir) = (fs::read(floor)?, floor.with_extension("unpacked"));
    fs::create_dir_all(&dir)?;
    let len = all.len() / usize::try_from(setting.threads)?;
    let mut journals = Vec::new();
    for (worker, bytes) in (0..setting.threads).zip(all.chunks(len)) {
        fs::write(Journal::path(&dir, worker), bytes)?;
        journals.push(Journal::open(&dir, worker, setting.keys)?);
    }
    Ok(journals)
}

/// The last checkpoint can be opened, has all that had been acknowledged before it, and no holes. Says how many keys it
/// has; none if there is no checkpoint.
pub(crate) fn look_at_last(setting: &Setting, journals: &[Journal]) -> Result<Option<u64>> {
    let (target, floor) = places(&setting.dir);
    if !target.exists() {
        return Ok(None);
    }
    let db = Bitcask::open(&target)?;
    let snapshot = db.snapshot()?;
    bank::check_sum(&snapshot)?;
    let marks = marks(&snapshot)?;
    let wrong = |e| format!("the last checkpoint: {e}");
    check_prefix(&marks, journals).map_err(wrong)?;
    if floor.exists() {
        for (floor, journal) in unpack(setting, &floor)?.iter().zip(journals) {
            for (index, slot) in (0..).zip(floor.slots()?) {
                let id = journal.id(index);
                check_between(id, slot, journal.slot(index)?, marks.get(&id)).map_err(wrong)?;
            }
        }
    }
    let len = snapshot.len();
    drop(snapshot);
    db.close()?;
    Ok(Some(len))
}
