//! Histories: clients do things at random at the same time, everything is taken down, and a checker looks for an order
//! in which it could all have happened one after another.
//!
//! The checker is in `checker.rs`, and what it must find in `examples.rs`. `tests/schedules.rs` runs clients under a
//! scheduler; here they are real threads on a real disk, while files fill up and are merged.
#![allow(clippy::print_stdout, reason = "tests print their seed")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use bitcask::fs::{Disk, SystemClock};
use bitcask::{Bitcask, Durability, Index, IoMode, MergePolicy, Options};

use crate::basics::TempDir;
use crate::crash::rng::Rng;

pub(crate) mod checker;
pub(crate) mod client;
mod examples;
pub(crate) mod log;
pub(crate) mod operation;

use checker::check;
use client::Client;
use log::KeepingFs;
use operation::Recorder;

const CLIENTS: usize = 4;
const STEPS: usize = 600;
const KEYS: [char; 5] = ['a', 'b', 'c', 'd', 'e'];

/// How the store is set up.
#[derive(Clone, Copy, Debug)]
struct Setup {
    mode: IoMode,
    durability: Durability,
    index: Index,
    /// 0: all keys have one hash.
    hash_mask: u64,
}

fn seeds() -> std::ops::Range<u64> {
    let from_env = std::env::var("SEED").ok();
    from_env.map_or(0..2, |seed| {
        let seed = seed.parse().expect("SEED is a number");
        seed..seed + 1
    })
}

/// Runs clients until each has done its steps, with merges all the time.
fn run(db: &Bitcask, recorder: &Recorder, setup: Setup, seed: u64) {
    let ordered = setup.index == Index::Ordered;
    let running = AtomicUsize::new(CLIENTS);
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            let running = &running;
            scope.spawn(move || {
                let _running = Running(running);
                let mut rng = Rng::new(seed * 1000 + number as u64);
                let random = &mut |limit| rng.below(limit);
                let pause = thread::yield_now;
                let mut client = Client {
                    db,
                    recorder,
                    number,
                    keys: &KEYS,
                    ordered,
                    value_len: 100,
                    random,
                    pause,
                };
                (0..STEPS).for_each(|_| client.step());
            });
        }
        scope.spawn(|| {
            while running.load(Ordering::SeqCst) > 0 {
                db.merge().unwrap();
            }
        });
    });
}

/// A client that is not done. Counts down when it ends, by a panic too.
struct Running<'a>(&'a AtomicUsize);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn check_runs(name: &str, setup: Setup) {
    for seed in seeds() {
        println!("SEED={seed} {setup:?}");
        let dir = TempDir::new(&format!("history-{name}"));
        let fs = KeepingFs::new(Arc::new(Disk));
        let db = Options::new()
            .io(setup.mode)
            .durability(setup.durability)
            .index(setup.index)
            .hash_mask(setup.hash_mask)
            .max_file_size(16 << 10)
            .merge(MergePolicy { background: false, ..MergePolicy::default() })
            .on(Arc::new(fs.clone()), Arc::new(SystemClock))
            .open(dir.path())
            .unwrap();
        let recorder = Recorder::default();
        run(&db, &recorder, setup, seed);
        let stats = db.stats().unwrap();
        assert!(stats.merges > 0 && stats.transactions > 100, "{stats:?}");
        assert!(stats.snapshots.is_empty(), "{stats:?}");
        println!(
            "{} transactions, {} conflicts, {} merges",
            stats.transactions, stats.conflicts, stats.merges
        );
        db.close().unwrap();
        let log = fs.log(dir.path());
        if let Err(told) = check(&recorder.operations(), &log) {
            panic!("SEED={seed}, {setup:?}: {told}");
        }
    }
}

#[test]
fn operations_of_real_threads_are_as_if_one_ran_after_another() {
    let setup = Setup {
        mode: IoMode::Mapped,
        durability: Durability::Os,
        index: Index::Ordered,
        hash_mask: u64::MAX,
    };
    check_runs("mapped", setup);
}

#[test]
fn operations_are_as_if_one_ran_after_another_when_all_keys_have_one_hash() {
    let setup = Setup {
        mode: IoMode::Plain,
        durability: Durability::Os,
        index: Index::Ordered,
        hash_mask: 0,
    };
    check_runs("plain", setup);
}

#[test]
fn operations_that_wait_for_the_disk_are_as_if_one_ran_after_another() {
    let setup = Setup {
        mode: IoMode::Mapped,
        durability: Durability::Always,
        index: Index::Hash,
        hash_mask: u64::MAX,
    };
    check_runs("always", setup);
}
