//! What is done to a store, and how it is opened: drawn from a seed.

use std::sync::Arc;
use std::time::Duration;

use bitcask::fs::sim::{SimClock, SimFs};
use bitcask::{Durability, IoMode, MergePolicy, Options};

use super::Rng;

/// Where the store is on every simulated disk.
pub(super) const DIR: &str = "/db";
/// Keys of every store; few, so that most puts overwrite.
pub(super) const KEY_COUNT: usize = 10;

/// The bytes of a key: the empty one, short ones, a long one.
pub(super) fn key_bytes(index: usize) -> Vec<u8> {
    match index {
        0 => Vec::new(),
        9 => vec![b'z'; 700],
        _ => format!("k{index}").repeat(index).into_bytes(),
    }
}

/// How a store is opened, and how its disk behaves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Config {
    pub(super) io: IoMode,
    pub(super) durability: Durability,
    pub(super) max_file_size: u64,
    pub(super) hash_mask: u64,
    pub(super) shard_bits: u32,
    pub(super) write_back_one_in: u32,
    pub(super) short_io_one_in: u32,
    pub(super) interrupts_one_in: u32,
}

impl Config {
    pub(super) const DURABILITIES: [Durability; 3] =
        [Durability::Always, Durability::Interval(Duration::from_secs(1)), Durability::Os];

    /// Without any surprises.
    pub(super) fn simple() -> Self {
        Self {
            io: IoMode::Mapped,
            durability: Durability::Os,
            max_file_size: 4 << 10,
            hash_mask: u64::MAX,
            shard_bits: 0,
            write_back_one_in: 16,
            short_io_one_in: 0,
            interrupts_one_in: 0,
        }
    }

    fn draw(rng: &mut Rng, io: IoMode) -> Self {
        Self {
            io,
            durability: rng.pick(&Self::DURABILITIES),
            max_file_size: rng.pick(&[4 << 10, 4 << 10, 4 << 10, 6000, 10_000]),
            hash_mask: rng.pick(&[u64::MAX, u64::MAX, 3 << 62, 1 << 30, 7, 0]),
            shard_bits: u32::try_from(rng.below(3)).expect("small"),
            write_back_one_in: rng.pick(&[0, 4, 16]),
            short_io_one_in: rng.pick(&[0, 0, 3]),
            interrupts_one_in: rng.pick(&[0, 0, 5]),
        }
    }

    pub(super) fn new_disk(&self, seed: u64) -> SimFs {
        let fs = SimFs::new(seed);
        fs.set_write_back(self.write_back_one_in);
        fs.set_short_io(self.short_io_one_in);
        fs.set_interrupts(self.interrupts_one_in);
        fs
    }

    pub(super) fn options(&self, fs: &SimFs, clock: &SimClock) -> Options {
        let merge = MergePolicy {
            dead_ratio_trigger: 0.3,
            dead_ratio_threshold: 0.1,
            ..MergePolicy::default()
        };
        Options::new()
            .on(Arc::new(fs.clone()), Arc::new(clock.clone()))
            .without_threads()
            .io(self.io)
            .durability(self.durability)
            .max_file_size(self.max_file_size)
            .hash_mask(self.hash_mask)
            .shard_bits(self.shard_bits)
            .large_record_len(2000)
            .merge(merge)
    }
}

/// One call of the store.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Put {
        key: usize,
        len: usize,
    },
    Delete {
        key: usize,
    },
    /// A value that expires so many milliseconds later.
    PutWith {
        key: usize,
        len: usize,
        ttl_ms: u64,
    },
    Batch(Vec<(usize, Option<usize>)>),
    Sync,
    Tick,
    Merge,
    /// Stops a merge when it has told so often how far it is.
    MergePart(usize),
    /// Lets so many milliseconds pass.
    Wait(u64),
    /// Takes a snapshot, to be looked at until it ends.
    Freeze,
    /// Ends one of the snapshots.
    Thaw(usize),
    /// Closes and opens it.
    Reopen,
}

/// What a plan has most of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Flavour {
    Mixed,
    Deletes,
    Batches,
    Rotations,
    /// Keys that expire.
    Expiring,
    /// Snapshots that live while much changes.
    Frozen,
}

impl Flavour {
    pub(super) const ALL: [Self; 6] =
        [Self::Mixed, Self::Deletes, Self::Batches, Self::Rotations, Self::Expiring, Self::Frozen];

    /// Of 100 steps: puts, deletes, batches, syncs, ticks, merges, puts that expire, waits, merges that are stopped,
    /// snapshots begun, snapshots ended; the rest reopen.
    fn shares(self) -> [usize; 11] {
        match self {
            Self::Mixed => [55, 15, 10, 6, 5, 5, 0, 0, 0, 0, 0],
            Self::Deletes => [40, 28, 4, 4, 7, 12, 0, 0, 0, 0, 0],
            Self::Batches => [15, 10, 55, 7, 5, 4, 0, 0, 0, 0, 0],
            Self::Rotations => [74, 8, 6, 4, 4, 2, 0, 0, 0, 0, 0],
            Self::Expiring => [14, 5, 4, 3, 6, 7, 32, 14, 7, 2, 2],
            Self::Frozen => [32, 16, 6, 2, 3, 12, 8, 4, 4, 6, 4],
        }
    }
}

/// A workload.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) config: Config,
    pub(super) steps: Vec<Step>,
}

impl Plan {
    pub(super) fn draw(seed: u64, flavour: Flavour, io: IoMode) -> Self {
        let mut rng = Rng::new(seed);
        let config = Config::draw(&mut rng, io);
        let count = 25 + rng.below(30);
        let steps = draw_steps(&mut rng, flavour, count);
        Self { seed, config, steps }
    }
}

pub(super) fn draw_steps(rng: &mut Rng, flavour: Flavour, count: usize) -> Vec<Step> {
    (0..count).map(|_| draw_step(rng, flavour)).collect()
}

fn draw_step(rng: &mut Rng, flavour: Flavour) -> Step {
    let [puts, deletes, batches, syncs, ticks, merges, expiring, waits, parts, freezes, thaws] =
        flavour.shares();
    let mut dice = rng.below(100);
    let mut is = |share: usize| {
        let hit = dice < share;
        dice = dice.wrapping_sub(share);
        hit
    };
    if is(puts) {
        Step::Put { key: draw_key(rng), len: draw_len(rng, flavour) }
    } else if is(deletes) {
        Step::Delete { key: draw_key(rng) }
    } else if is(batches) {
        let count = 1 + rng.below(6);
        let change = |rng: &mut Rng| {
            let len = draw_len(rng, flavour);
            (draw_key(rng), (!rng.one_in(4)).then_some(len))
        };
        Step::Batch((0..count).map(|_| change(rng)).collect())
    } else if is(syncs) {
        Step::Sync
    } else if is(ticks) {
        Step::Tick
    } else if is(merges) {
        Step::Merge
    } else if is(expiring) {
        let ttl_ms = 1 + rng.next() % 3000;
        Step::PutWith { key: draw_key(rng), len: draw_len(rng, flavour), ttl_ms }
    } else if is(waits) {
        Step::Wait(rng.next() % 2500)
    } else if is(parts) {
        Step::MergePart(1 + rng.below(6))
    } else if is(freezes) {
        Step::Freeze
    } else if is(thaws) {
        Step::Thaw(rng.below(3))
    } else {
        Step::Reopen
    }
}

fn draw_key(rng: &mut Rng) -> usize {
    // Some keys come more often, some hardly ever: old records of the latter lie in old files.
    rng.below(KEY_COUNT).min(rng.below(KEY_COUNT))
}

fn draw_len(rng: &mut Rng, flavour: Flavour) -> usize {
    let longest = match flavour {
        Flavour::Rotations => 1800,
        Flavour::Deletes | Flavour::Expiring | Flavour::Frozen => 600,
        Flavour::Mixed | Flavour::Batches => 300,
    };
    match rng.below(40) {
        0 => 4097 + rng.below(3000),
        1..4 => 0,
        _ => rng.below(longest),
    }
}
