//! Keys that expire, and snapshots that live, while the power goes.
//!
//! Every life begins with the same wall clock, so each but the first begins with a clock that was set back. What
//! the store has written down as expired (by a tick, by closing) must stay gone all the same; what had expired since then
//! may be there again, but never an older value of its key.

use bitcask::{Durability, IoMode};

use super::explore::Explorer;
use super::plan::{Config, Flavour, Plan, Step};
use super::{PLANS, check};

#[test]
fn a_crash_at_every_operation_among_keys_that_expire_brings_none_back_with_mapped_files() {
    check("expiring, mapped", 23_000_000, PLANS, Flavour::Expiring, IoMode::Mapped);
}

#[test]
fn a_crash_at_every_operation_among_keys_that_expire_brings_none_back_with_plain_files() {
    check("expiring, plain", 24_000_000, PLANS / 2, Flavour::Expiring, IoMode::Plain);
}

#[test]
fn a_crash_at_every_operation_among_snapshots_returns_nothing_that_was_kept_for_one() {
    check("snapshots, mapped", 25_000_000, PLANS / 2, Flavour::Frozen, IoMode::Mapped);
    check("snapshots, plain", 25_500_000, PLANS / 3, Flavour::Frozen, IoMode::Plain);
}

/// Runs a history in several configurations, with a crash at every operation.
fn check_history(what: &str, steps: &[Step]) {
    let mut states = 0;
    let ways = [
        (IoMode::Mapped, Durability::Always, u64::MAX),
        (IoMode::Mapped, Durability::Os, 0),
        (IoMode::Plain, Durability::Os, u64::MAX),
    ];
    for (io, durability, hash_mask) in ways {
        let config = Config { io, durability, hash_mask, ..Config::simple() };
        let plan = Plan { seed: 9, config, steps: steps.to_vec() };
        states += Explorer::new(plan).crash_at_every_operation();
    }
    println!("crash states: {states} ({what})");
}

const fn put(key: usize, len: usize) -> Step {
    Step::Put { key, len }
}

const fn put_with(key: usize, len: usize, ttl_ms: u64) -> Step {
    Step::PutWith { key, len, ttl_ms }
}

/// The value that expires and an older one lie in different files. Which of them is merged first depends on how much
/// else is in them: a merge takes files with the least to copy first, and is stopped before the next.
#[test]
fn whatever_is_merged_first_no_older_value_comes_back_behind_one_that_expired() {
    for (first, second) in [(2500, 300), (300, 2500)] {
        for looks in [1, 3] {
            let steps = [
                put(1, 500),
                put(2, first),
                put(3, 1500),
                put_with(1, 500, 1000),
                put(4, second),
                put(5, 1500),
                put(6, 1500),
                Step::Sync,
                Step::Delete { key: 3 },
                Step::Delete { key: 5 },
                Step::Wait(2000),
                Step::MergePart(looks),
                Step::Tick,
                Step::Reopen,
                Step::MergePart(looks),
                Step::Reopen,
                put(7, 100),
                Step::Merge,
                Step::Merge,
            ];
            check_history("expired, merged in parts", &steps);
        }
    }
}

/// The log file that says how late it was goes away, and the value that had expired by then is still there.
#[test]
fn what_was_recorded_as_expired_stays_so_when_the_file_that_says_it_is_merged() {
    let steps = [
        put(2, 1900),
        put_with(1, 500, 5000),
        put(3, 1900),
        Step::Sync,
        Step::Merge,
        put(4, 900),
        Step::Delete { key: 4 },
        Step::Wait(6000),
        Step::Tick,
        Step::Reopen,
        put(5, 900),
        Step::MergePart(1),
        Step::MergePart(2),
        Step::Delete { key: 5 },
        Step::Reopen,
        Step::MergePart(2),
        Step::Reopen,
        Step::MergePart(3),
        Step::Merge,
    ];
    check_history("the time that was recorded", &steps);
}

/// A snapshot has an old value copied whose tombstone lies in the same file.
#[test]
fn a_tombstone_outlives_the_value_that_a_snapshot_keeps_in_its_file() {
    let steps = [
        put(1, 300),
        put_with(2, 300, 1000),
        put(3, 300),
        put_with(3, 200, 1500),
        Step::Freeze,
        Step::Delete { key: 1 },
        put(4, 2500),
        put(5, 1500),
        Step::Sync,
        Step::Wait(1200),
        Step::Merge,
        Step::Thaw(0),
        Step::Freeze,
        Step::Wait(1000),
        Step::Merge,
        Step::Reopen,
        Step::Freeze,
        put(3, 100),
        Step::Merge,
        Step::Delete { key: 3 },
        Step::Merge,
        Step::Thaw(0),
        Step::Merge,
        Step::Reopen,
    ];
    check_history("tombstones beside what is kept", &steps);
}
