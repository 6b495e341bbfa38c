//! What goes on beside the writes: snapshots that are held for a while, merges, and looks at every byte.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bitcask::{Bitcask, Snapshot, Value};
use bitcask_random::{Random, splitmix64};

use crate::account::marks;
use crate::counts::Counts;
use crate::{Result, bank};

/// How often somebody who waits looks whether to stop.
const NAP: Duration = Duration::from_millis(20);

/// Waits so long, or until it is time to stop.
pub(crate) fn wait(stop: &AtomicBool, time: Duration) {
    let started = Instant::now();
    while !stop.load(Ordering::Relaxed) && started.elapsed() < time {
        thread::sleep(NAP.min(time));
    }
}

pub(crate) fn millis(random: &mut Random, from: u64, to: u64) -> Duration {
    Duration::from_millis(random.between(from, to))
}

/// Takes snapshots, and reads each twice: all that is in it must be the same, however long it was held.
pub(crate) fn hold_snapshots(
    db: &Bitcask,
    mut random: Random,
    counts: &Counts,
    stop: &AtomicBool,
) -> Result<()> {
    while !stop.load(Ordering::Relaxed) {
        let snapshot = db.snapshot()?;
        bank::check_sum(&snapshot)?;
        marks(&snapshot)?;
        let before = digest(&snapshot)?;
        wait(stop, millis(&mut random, 0, 1500));
        let after = digest(&snapshot)?;
        if before != after || after.0 != snapshot.len() {
            let seq = snapshot.seq();
            let what = format!(
                "the snapshot at {seq}, of {} keys, was {before:?}, and became {after:?}",
                snapshot.len()
            );
            return Err(what.into());
        }
        bank::check_sum(&snapshot)?;
        counts.add("snapshots", 1);
        drop(snapshot);
        wait(stop, millis(&mut random, 0, 300));
    }
    Ok(())
}

/// How many keys there are, and a number that depends on all keys and values.
fn digest(snapshot: &Snapshot) -> Result<(u64, u64)> {
    let (mut count, mut sum) = (0, 0_u64);
    for entry in snapshot {
        let (key, value): (Vec<u8>, Value) = entry?;
        let checksums = u64::from(crc32c::crc32c(&key)) << 32 | u64::from(crc32c::crc32c(&value));
        sum = sum.wrapping_add(splitmix64(checksums));
        count += 1;
    }
    Ok((count, sum))
}

/// Merges now and then; some are stopped half-way.
pub(crate) fn merge(
    db: &Bitcask,
    mut random: Random,
    counts: &Counts,
    stop: &AtomicBool,
) -> Result<()> {
    loop {
        wait(stop, millis(&mut random, 50, 1500));
        if stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        let steps = if random.one_in(4) { random.below(3) } else { u64::MAX };
        let mut told = 0;
        db.merge_with(|_| {
            told += 1;
            if told > steps || stop.load(Ordering::Relaxed) {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        counts.add("merges", 1);
    }
}

/// Verifies the store now and then, while everything goes on.
pub(crate) fn verify(
    db: &Bitcask,
    mut random: Random,
    counts: &Counts,
    stop: &AtomicBool,
) -> Result<()> {
    loop {
        wait(stop, millis(&mut random, 500, 5000));
        if stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        let report = db.verify()?;
        if !report.is_clean() {
            return Err(format!("verify found damage: {:?}", report.damage).into());
        }
        counts.add("verified", u64::from(!report.stopped));
    }
}
