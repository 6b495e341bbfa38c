//! Snapshots: taking and dropping one, what writers pay while one lives, what is kept for it, and reading through it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bitcask::{Bitcask, MergePolicy, Options, Snapshot};

use crate::Result;
use crate::bench::{Bench, put_all};
use crate::keys::{chosen, key, shuffled};
use crate::machine::Memory;
use crate::report::{Figure, Report, digits};
use crate::statistics::{Pair, interleave, seconds_each};

/// Snapshots taken, one after the other, in each round.
const TAKEN: u64 = 10_000;

/// The orders in which keys are overwritten, and those asked for.
struct Orders {
    first: Vec<u64>,
    second: Vec<u64>,
    asked: Vec<u64>,
}

/// What one round showed: seconds an operation.
struct Round {
    first: f64,
    second: f64,
    get: f64,
    kept: Kept,
}

/// What one snapshot kept in the end: a record of every key.
#[derive(Clone, Copy, Default)]
struct Kept {
    /// Seconds of a get through the snapshot: all that it sees has changed.
    get: f64,
    /// Bytes of records, and of memory, for each key.
    bytes: f64,
    memory: f64,
    /// Milliseconds that dropping it took.
    drop: f64,
}

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    taking(bench, report)?;
    let keys = bench.keys;
    let orders = Orders {
        first: shuffled(keys, 1),
        second: shuffled(keys, 2),
        asked: chosen(keys, keys, 3),
    };
    let with = || round(bench, &orders, |db| Ok(Some(db.snapshot()?)));
    let rounds = interleave(bench.rounds, with, || round(bench, &orders, |_| Ok(None)))?;
    let pair = |of: fn(&Round) -> f64, bare: fn(&Round) -> f64| {
        Pair::from(rounds.iter().map(|(a, b)| (of(a), bare(b))).collect::<Vec<_>>())
    };
    let note = "one lives; bare: none";
    let first = pair(|round| round.first, |round| round.first);
    report.add(Figure::rate("snapshot: put, first over each key", &first).note(note))?;
    let second = pair(|round| round.second, |round| round.second);
    report.add(Figure::rate("snapshot: put, second over each key", &second).note(note))?;
    let get = pair(|round| round.get, |round| round.get);
    report.add(Figure::rate("snapshot: get beside it", &get).note(note))?;
    let get = pair(|round| round.kept.get, |round| round.get);
    let note = "of values that were overwritten; bare: get of the newest, no snapshot";
    report.add(Figure::rate("snapshot: get through it", &get).note(note))?;

    // Later rounds find memory that the first has used.
    let (kept, _) = &rounds[0];
    let note = format!(
        "RssAnon; and records of {} B, which merge keeps till it ends",
        digits(kept.kept.bytes)
    );
    let memory = Figure::new("snapshot: kept for an overwritten key", "B/key", kept.kept.memory);
    report.add(memory.note(note))?;
    let dropped = pair(|round| round.kept.drop, |_| f64::NAN);
    let note = format!("{keys} records were kept for it");
    report.add(Figure::new("snapshot: dropping it then", "ms", dropped.ours()).note(note))
}

/// An empty moment: nothing changes between taking and dropping.
fn taking(bench: &Bench, report: &mut Report) -> Result<()> {
    let dir = bench.fresh()?;
    let db = Bitcask::open(dir.path())?;
    put_all(&db, 0..bench.keys.min(100_000))?;
    let nanoseconds = |seconds: f64| seconds * 1e9;
    let ours = || {
        let seconds = seconds_each(TAKEN, || {
            (0..TAKEN)
                .try_for_each(|_| db.snapshot().map(|held| drop(std::hint::black_box(held))))?;
            Ok(())
        })?;
        Ok(nanoseconds(seconds))
    };
    let living = Mutex::new(BTreeMap::new());
    let bare = || {
        let seconds = seconds_each(TAKEN, || {
            for n in 0..TAKEN {
                let held = Arc::new(n);
                lock(&living).insert(n, held.clone());
                drop(lock(&living).remove(&n));
                std::hint::black_box(held);
            }
            Ok(())
        })?;
        Ok(nanoseconds(seconds))
    };
    let pair = Pair::from(interleave(bench.rounds, ours, bare)?);
    let note = "bare: into a locked BTreeMap, and out of it";
    report.add(Figure::cost("snapshot: taken and dropped", "ns", &pair).note(note))?;
    Ok(db.close()?)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn round(
    bench: &Bench,
    orders: &Orders,
    take: impl FnOnce(&Bitcask) -> bitcask::Result<Option<Snapshot>>,
) -> Result<Round> {
    let (dir, keys) = (bench.fresh()?, bench.keys);
    let policy = MergePolicy { background: false, ..MergePolicy::default() };
    let db = Options::new().merge(policy).open(dir.path())?;
    put_all(&db, 0..keys)?;
    let memory_before = Memory::now();
    let snapshot = take(&db)?;
    let overwrite = |order: &[u64]| seconds_each(keys, || put_all(&db, order.iter().copied()));
    let first = overwrite(&orders.first)?;
    let second = overwrite(&orders.second)?;
    db.sync()?;
    let get = seconds_each(keys, || {
        let mut asked = orders.asked.iter();
        asked.try_for_each(|&n| db.get(&key(n))?.map(drop).ok_or_else(|| "a key is missing".into()))
    })?;
    let kept = match snapshot {
        Some(snapshot) => kept(&db, snapshot, &orders.asked, memory_before)?,
        None => Kept::default(),
    };
    db.close()?;
    Ok(Round { first, second, get, kept })
}

fn kept(db: &Bitcask, snapshot: Snapshot, asked: &[u64], before: Memory) -> Result<Kept> {
    let keys = snapshot.len() as f64;
    let memory = (Memory::now().anonymous - before.anonymous) / keys;
    let get = seconds_each(asked.len() as u64, || {
        let get =
            |n: u64| snapshot.get(&key(n))?.map(drop).ok_or_else(|| "a key is missing".into());
        asked.iter().try_for_each(|&n| get(n))
    })?;
    let bytes: u64 = db.stats()?.snapshots.iter().map(|snapshot| snapshot.kept_bytes).sum();
    let started = Instant::now();
    drop(snapshot);
    Ok(Kept {
        get,
        bytes: bytes as f64 / keys,
        memory,
        drop: started.elapsed().as_secs_f64() * 1e3,
    })
}
