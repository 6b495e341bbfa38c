//! Crashes at every operation of many workloads, recovered and compared with what was acknowledged.
//!
//! A *plan* is a configuration and a list of steps, drawn from a seed. It is run once on a simulated disk to count
//! the operations, and then once for each operation, before which the power goes. Each such run leaves
//! several *images*: what a power loss can leave, for some seeds, and what the death of the process leaves. Every image
//! is recovered and held against the oracle, and some live on, to crash again (`explore.rs`).
//!
//! `SEED=7` runs the plan of that seed only, and says what happened on failure; `CRASH_STATES=50` explores fifty times as
//! much. Each test prints how many images it recovered and compared.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests panic, and say what they did")]

mod expiry;
mod explore;
mod faults;
mod full;
mod hints;
mod life;
mod oracle;
mod plan;
pub(crate) mod rng;

use bitcask::{Durability, IoMode};
use explore::Explorer;
pub(crate) use rng::Rng;

use plan::{Config, Flavour, Plan, Step};

/// Plans of each test, before `CRASH_STATES` multiplies them.
const PLANS: u32 = 6;

/// The seeds of `count` plans, or the one that was asked for.
pub(crate) fn seeds(base: u64, count: u32) -> Vec<u64> {
    let number = |name: &str| {
        let text = std::env::var(name).ok()?;
        Some(text.parse::<f64>().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
    };
    if let Ok(seed) = std::env::var("SEED") {
        return vec![seed.parse().expect("SEED is a number")];
    }
    let count = f64::from(count) * number("CRASH_STATES").unwrap_or(1.0);
    (base..)
        .zip(1..)
        .take_while(|&(_, n)| n == 1 || f64::from(n) <= count)
        .map(|(seed, _)| seed)
        .collect()
}

/// Explores a plan for each seed, and says how many images that were.
fn check(what: &str, base: u64, count: u32, flavour: Flavour, io: IoMode) {
    let mut states = 0;
    for seed in seeds(base, count) {
        states += Explorer::new(Plan::draw(seed, flavour, io)).crash_at_every_operation();
    }
    println!("crash states: {states} ({what})");
}

#[test]
fn a_crash_at_every_operation_of_mixed_work_leaves_a_prefix_with_mapped_files() {
    check("mixed, mapped", 1_000_000, 2 * PLANS, Flavour::Mixed, IoMode::Mapped);
}

#[test]
fn a_crash_at_every_operation_of_mixed_work_leaves_a_prefix_with_plain_files() {
    check("mixed, plain", 2_000_000, PLANS, Flavour::Mixed, IoMode::Plain);
}

#[test]
fn a_crash_at_every_operation_of_delete_heavy_work_returns_no_deleted_key_with_mapped_files() {
    check("deletes, mapped", 3_000_000, 2 * PLANS, Flavour::Deletes, IoMode::Mapped);
}

#[test]
fn a_crash_at_every_operation_of_delete_heavy_work_returns_no_deleted_key_with_plain_files() {
    check("deletes, plain", 4_000_000, PLANS, Flavour::Deletes, IoMode::Plain);
}

#[test]
fn a_crash_at_every_operation_among_batches_leaves_each_whole_or_absent() {
    check("batches, mapped", 5_000_000, PLANS, Flavour::Batches, IoMode::Mapped);
    check("batches, plain", 5_500_000, PLANS / 3, Flavour::Batches, IoMode::Plain);
}

#[test]
fn a_crash_at_every_operation_around_rotations_leaves_no_hole() {
    check("rotations, mapped", 6_000_000, PLANS, Flavour::Rotations, IoMode::Mapped);
    check("rotations, plain", 6_500_000, PLANS / 3, Flavour::Rotations, IoMode::Plain);
}

/// Between operations nothing is in flight, so that what a crash may take is known exactly.
#[test]
fn a_crash_between_calls_takes_only_what_was_not_synced() {
    let mut states = 0;
    for seed in seeds(7_000_000, 24 * PLANS) {
        let flavour = Flavour::ALL[usize::try_from(seed % 6).unwrap()];
        let io = if seed / 6 % 2 == 0 { IoMode::Mapped } else { IoMode::Plain };
        states += Explorer::new(Plan::draw(seed, flavour, io)).crash_between_steps();
    }
    println!("crash states: {states} (between calls)");
}

#[test]
fn a_crash_at_every_operation_of_a_recovery_is_recovered_from() {
    let mut states = 0;
    for seed in seeds(8_000_000, 8 * PLANS) {
        let flavour = Flavour::ALL[usize::try_from(seed % 6).unwrap()];
        let io = if seed / 6 % 2 == 0 { IoMode::Mapped } else { IoMode::Plain };
        states +=
            Explorer::new(Plan::draw(seed, flavour, io)).crash_at_every_operation_of_recovery();
    }
    println!("crash states: {states} (in recovery)");
}

/// A history that a human can follow, in every configuration: what a first reader of the promises would try.
#[test]
fn a_crash_at_every_operation_of_a_fixed_history_leaves_a_prefix() {
    let put = |key, len| Step::Put { key, len };
    let steps = [
        put(1, 40),
        put(2, 0),
        Step::Sync,
        Step::Batch(vec![(3, Some(300)), (1, None), (4, Some(10))]),
        put(1, 1500),
        put(2, 1500),
        put(3, 1500),
        Step::Delete { key: 2 },
        Step::Tick,
        put(5, 5000),
        Step::Delete { key: 3 },
        Step::Merge,
        put(3, 7),
        Step::Reopen,
        Step::Delete { key: 5 },
        Step::Merge,
        put(0, 100),
    ];
    let mut states = 0;
    for io in [IoMode::Mapped, IoMode::Plain] {
        for durability in Config::DURABILITIES {
            for hash_mask in [u64::MAX, 0] {
                let config = Config { io, durability, hash_mask, ..Config::simple() };
                let plan = Plan { seed: 9, config, steps: steps.to_vec() };
                states += Explorer::new(plan).crash_at_every_operation();
            }
        }
    }
    println!("crash states: {states} (fixed history)");
}

/// Puts that are durable when they return leave nothing to chance.
#[test]
fn with_durability_always_a_crash_between_calls_takes_nothing() {
    let mut states = 0;
    for seed in seeds(9_000_000, 8 * PLANS) {
        let io = if seed % 2 == 0 { IoMode::Mapped } else { IoMode::Plain };
        let mut plan = Plan::draw(seed, Flavour::Mixed, io);
        plan.config.durability = Durability::Always;
        states += Explorer::new(plan).crash_between_steps();
    }
    println!("crash states: {states} (always)");
}
