//! Doing it: loading the store, then each workload for its time.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bitcask::{Bitcask, Durability, Error, Index, Options, WriteBatch};
use bitcask_random::{Random, Zipf};

use super::Times;
use super::histogram::Recorder;
use super::keys::key;
use crate::cli::Workload;

/// Keys that are loaded at once.
const LOAD_AT_ONCE: u64 = 1000;
/// Values are cut from so many bytes more than they have, so that they differ.
const SPARE: u64 = 4096;
/// The longest scan, as in YCSB.
const SCAN_MAX: u64 = 100;
/// How often it is said how far it is.
const SAY_EVERY: Duration = Duration::from_millis(200);

/// What is measured, and on what.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) dir: PathBuf,
    pub(crate) durability: Durability,
    pub(crate) keys: u64,
    pub(crate) value_size: usize,
    pub(crate) threads: u64,
    pub(crate) time: Duration,
}

/// How a workload went.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) workload: Workload,
    /// How many keys there were at its end.
    pub(crate) keys: u64,
    pub(crate) time: Duration,
    pub(crate) reads: Times,
    pub(crate) writes: Times,
    /// Reads of keys that another thread had not written yet.
    pub(crate) absent: u64,
}

impl Measured {
    pub(crate) fn operations(&self) -> u64 {
        self.reads.count() + self.writes.count()
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.operations() as f64 / self.time.as_secs_f64().max(1e-9)
    }
}

/// How far a workload is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) elapsed: Duration,
    pub(crate) per_second: f64,
    pub(crate) p50_ns: u64,
    pub(crate) p99_ns: u64,
}

impl Bench {
    pub(crate) fn open(&self, index: Index) -> Result<Bitcask, Error> {
        Options::new().durability(self.durability).index(index).open(&self.dir)
    }

    /// Stores all keys, and says how many it got to until it was asked to end.
    pub(crate) fn load(
        &self,
        db: &Bitcask,
        mut step: impl FnMut(u64) -> ControlFlow<()>,
    ) -> Result<u64, Error> {
        let mut values = Values::new(self.value_size, u64::MAX);
        // Not more than some megabytes at once, whatever the values.
        let room = (4_u64 << 20) / (self.value_size as u64).max(1);
        let at_once = LOAD_AT_ONCE.min(room.max(1));
        let mut done = 0;
        while done < self.keys && step(done).is_continue() {
            let end = (done + at_once).min(self.keys);
            let mut batch = WriteBatch::new();
            for number in done..end {
                batch.put(key(number), values.next());
            }
            db.write(&batch)?;
            done = end;
        }
        Ok(done)
    }

    /// Runs a workload on a store with `keys` keys.
    pub(crate) fn run(
        &self,
        db: &Bitcask,
        workload: Workload,
        keys: u64,
        mut step: impl FnMut(Now) -> ControlFlow<()>,
    ) -> Result<Measured, Error> {
        let zipf = Zipf::new(keys);
        let shared = Shared { next: AtomicU64::new(keys), stop: AtomicBool::new(false) };
        let workers: Vec<_> = (0..self.threads)
            .map(|seed| Worker::new(db, workload, &zipf, &shared, (self.value_size, seed)))
            .collect();
        let recorders: Vec<_> = workers.iter().map(|worker| worker.recorders.clone()).collect();
        let started = Instant::now();
        let (time, ended) = thread::scope(|scope| {
            let threads: Vec<_> =
                workers.into_iter().map(|worker| scope.spawn(move || worker.work())).collect();
            let mut before = (started, 0);
            while !threads.iter().any(thread::ScopedJoinHandle::is_finished) {
                let left = self.time.saturating_sub(started.elapsed());
                thread::sleep(SAY_EVERY.min(left));
                let (reads, writes) = sums(&recorders);
                let all = reads.and(&writes);
                let (now, count) = (Instant::now(), all.count());
                let seconds = (now - before.0).as_secs_f64().max(1e-9);
                let so_far = Now {
                    elapsed: now - started,
                    per_second: (count - before.1) as f64 / seconds,
                    p50_ns: all.permille_ns(500),
                    p99_ns: all.permille_ns(990),
                };
                before = (now, count);
                if step(so_far).is_break() || so_far.elapsed >= self.time {
                    break;
                }
            }
            shared.stop.store(true, Ordering::Relaxed);
            let ended: Result<Vec<u64>, Error> = threads
                .into_iter()
                .map(|thread| {
                    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                })
                .collect();
            (started.elapsed(), ended)
        });
        let absent = ended?.iter().sum();
        let (reads, writes) = sums(&recorders);
        let keys = shared.next.load(Ordering::Relaxed);
        Ok(Measured { workload, keys, time, reads, writes, absent })
    }
}

/// What the threads of a workload have in common.
#[derive(Debug)]
struct Shared {
    /// The number of the next key to be inserted.
    next: AtomicU64,
    stop: AtomicBool,
}

/// Of reads, and of writes. A thread has its own, so that none waits for another.
type Recorders = std::sync::Arc<[Recorder; 2]>;

fn sums(recorders: &[Recorders]) -> (Times, Times) {
    let (mut reads, mut writes) = (Times::new(), Times::new());
    for recorders in recorders {
        let [ours_read, ours_written] = &**recorders;
        reads.add(ours_read);
        writes.add(ours_written);
    }
    (reads, writes)
}

/// One thread's part.
struct Worker<'a> {
    db: &'a Bitcask,
    workload: Workload,
    zipf: &'a Zipf,
    shared: &'a Shared,
    random: Random,
    values: Values,
    recorders: Recorders,
    absent: u64,
}

impl<'a> Worker<'a> {
    fn new(
        db: &'a Bitcask,
        workload: Workload,
        zipf: &'a Zipf,
        shared: &'a Shared,
        (value_size, seed): (usize, u64),
    ) -> Self {
        let recorders = [Recorder::new(), Recorder::new()].into();
        let (random, values) = (Random::new(seed), Values::new(value_size, seed));
        Self { db, workload, zipf, shared, random, values, recorders, absent: 0 }
    }

    /// Works until it is told to stop, and says how many keys were not there.
    fn work(mut self) -> Result<u64, Error> {
        while !self.shared.stop.load(Ordering::Relaxed) {
            let is_read = self.random.below(100) < reads_in_a_hundred(self.workload);
            match (self.workload, is_read) {
                (Workload::E, true) => self.scan()?,
                (_, true) => self.read()?,
                (Workload::D | Workload::E, false) => self.insert()?,
                (Workload::F, false) => self.modify()?,
                (_, false) => {
                    let number = self.zipf.scattered(&mut self.random);
                    self.put(number)?;
                }
            }
        }
        Ok(self.absent)
    }

    fn read(&mut self) -> Result<(), Error> {
        let number = match self.workload {
            // The rank is the distance from the newest.
            Workload::D => {
                let newest = self.shared.next.load(Ordering::Relaxed) - 1;
                newest - self.zipf.rank(&mut self.random)
            }
            _ => self.zipf.scattered(&mut self.random),
        };
        let key = key(number);
        let value = self.time(0, |db| db.get(key.as_bytes()))?;
        self.absent += u64::from(value.is_none());
        Ok(())
    }

    fn scan(&mut self) -> Result<(), Error> {
        let (first, limit) =
            (key(self.zipf.scattered(&mut self.random)), 1 + self.random.below(SCAN_MAX));
        self.time(0, |db| {
            let mut entries = db.range(first.as_str()..)?;
            for _ in 0..limit {
                if entries.next().transpose()?.is_none() {
                    break;
                }
            }
            Ok(())
        })
    }

    fn insert(&mut self) -> Result<(), Error> {
        let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
        self.put(number)
    }

    fn put(&mut self, number: u64) -> Result<(), Error> {
        let key = key(number);
        let started = Instant::now();
        self.db.put(key.as_bytes(), self.values.next())?;
        self.recorders[1].record(started.elapsed());
        Ok(())
    }

    /// What is there is read, a byte of it changed, and stored if nobody else was faster.
    fn modify(&mut self) -> Result<(), Error> {
        let key = key(self.zipf.scattered(&mut self.random));
        self.time(1, |db| {
            db.update(key.as_bytes(), |value| {
                let mut value = value.unwrap_or_default().to_vec();
                if let Some(first) = value.first_mut() {
                    *first = first.wrapping_add(1);
                }
                Some(value)
            })
        })?;
        Ok(())
    }

    fn time<T>(
        &self,
        kind: usize,
        f: impl FnOnce(&Bitcask) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let started = Instant::now();
        let result = f(self.db)?;
        self.recorders[kind].record(started.elapsed());
        Ok(result)
    }
}

fn reads_in_a_hundred(workload: Workload) -> u64 {
    match workload {
        Workload::A | Workload::F => 50,
        Workload::B | Workload::D | Workload::E => 95,
        Workload::C => 100,
    }
}

/// Values of one length that differ and do not compress.
struct Values {
    bytes: Vec<u8>,
    len: usize,
    random: Random,
}

impl Values {
    fn new(len: usize, seed: u64) -> Self {
        let mut random = Random::new(!seed);
        let all = len + usize::try_from(SPARE).expect("it is small");
        let mut bytes = Vec::with_capacity(all + 8);
        while bytes.len() < all {
            bytes.extend(random.next().to_le_bytes());
        }
        Self { bytes, len, random }
    }

    fn next(&mut self) -> &[u8] {
        let from = usize::try_from(self.random.below(SPARE)).expect("it is small");
        &self.bytes[from..from + self.len]
    }
}
