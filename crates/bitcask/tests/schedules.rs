//! Interleavings of the threads that use a store, explored by shuttle: the crate's locks and atomics are its own
//! (see `src/sync.rs`), and before every operation of the simulated disk another thread may run too.
//!
//! Each scenario runs under many schedules, half of them drawn evenly (`RandomScheduler`), half with priorities that
//! change at few points (`PctScheduler`: better at bugs that take one long delay). A deadlock fails a
//! scenario as a panic does.
//!
//! `SCHEDULES=10` runs ten times as many; `SEED=n` chooses others. A failure prints its schedule; put that
//! into `shuttle::replay(scenario, schedule)` to see it again.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]
#![allow(clippy::print_stderr, reason = "tests print their seed")]

#[path = "schedules/snapshots.rs"]
mod snapshots;

use std::collections::BTreeMap;
use std::io;
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bitcask::fs::sim::{Failure, SimClock, SimFs};
use bitcask::fs::{Access, Entry, File, Fs, Lock, Region};
use bitcask::{
    Bitcask, Durability, ErrorKind, Iter, MergePolicy, Options, Result, Value, WriteBatch,
};
use shuttle::rand::{Rng, thread_rng};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::sync::atomic::AtomicBool;
use shuttle::thread::{self, JoinHandle};
use shuttle::{Config, Runner};

#[path = "it/history"]
mod history {
    pub(crate) mod checker;
    pub(crate) mod client;
    pub(crate) mod log;
    pub(crate) mod operation;
}
#[path = "schedules/histories.rs"]
mod histories;

const DIR: &str = "/db";
/// Three records fill a file.
const VALUE_LEN: usize = 1200;
const FILE_SIZE: u64 = 4 << 10;
/// Moments at which the PCT scheduler may change priorities.
const PCT_DEPTH: usize = 4;
/// Engine calls nest deeper than shuttle's 32 KiB.
const STACK_SIZE: usize = 256 << 10;

/// Runs a scenario under `schedules` schedules of each scheduler, times what the environment says.
fn explore(schedules: usize, scenario: fn()) {
    let from_env = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u32>());
    let number = |name: &str| from_env(name).map(|number| number.expect("a small number"));
    let seed = u64::from(number("SEED").unwrap_or(0));
    let schedules = schedules * usize::try_from(number("SCHEDULES").unwrap_or(1)).unwrap();
    eprintln!("SEED={seed}, {schedules} schedules of each scheduler");
    let mut config = Config::new();
    config.stack_size = STACK_SIZE;
    // A store that is dropped by a panic would wait for locks of threads that never run again.
    config.ungraceful_shutdown_config.immediately_return_on_panic = true;
    Runner::new(RandomScheduler::new_from_seed(seed, schedules), config.clone()).run(scenario);
    Runner::new(PctScheduler::new_from_seed(seed, PCT_DEPTH, schedules), config).run(scenario);
}

/// The simulated disk, with a point before each operation at which another thread may run.
#[derive(Clone, Debug)]
struct SwitchingFs {
    sim: SimFs,
    point: Arc<AtomicBool>,
    syncs: Arc<Syncs>,
}

/// How many syncs there were, and which is to fail.
#[derive(Debug)]
struct Syncs {
    count: AtomicU64,
    failing: AtomicU64,
}

impl SwitchingFs {
    fn new(sim: SimFs) -> Self {
        let syncs = Syncs { count: AtomicU64::new(0), failing: AtomicU64::new(u64::MAX) };
        Self { sim, point: Arc::default(), syncs: Arc::new(syncs) }
    }

    fn switch(&self) -> &SimFs {
        self.point.load(Ordering::SeqCst);
        &self.sim
    }

    /// Before a sync of either kind, which follows with no switch in between.
    fn switch_to_sync(&self) -> &SimFs {
        let sim = self.switch();
        if self.syncs.count.fetch_add(1, Ordering::SeqCst)
            == self.syncs.failing.load(Ordering::SeqCst)
        {
            sim.fail_at(sim.op_count(), Failure::Io);
        }
        sim
    }
}

impl Fs for SwitchingFs {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.switch().create_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.switch().list(dir)
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn File>> {
        let file = self.switch().open(path, access)?;
        Ok(Box::new(SwitchingFile { fs: self.clone(), file }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.switch().rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.switch().link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.switch().remove(path)
    }

    fn exchange_dirs(&self, a: &Path, b: &Path) -> io::Result<()> {
        self.switch().exchange_dirs(a, b)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.switch().remove_dir(dir)
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        self.switch().canonical(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.switch_to_sync().sync_dir(dir)
    }

    fn lock(
        &self,
        path: &Path,
        holder: &str,
    ) -> io::Result<std::result::Result<Box<dyn Lock>, String>> {
        self.switch().lock(path, holder)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        self.switch().free_bytes(dir)
    }

    fn reserves_blocks(&self, dir: &Path) -> io::Result<bool> {
        self.switch().reserves_blocks(dir)
    }

    fn random(&self) -> [u8; 16] {
        self.sim.random()
    }
}

#[derive(Debug)]
struct SwitchingFile {
    fs: SwitchingFs,
    file: Box<dyn File>,
}

impl SwitchingFile {
    fn switch(&self) -> &dyn File {
        self.fs.switch();
        &*self.file
    }
}

impl File for SwitchingFile {
    fn len(&self) -> io::Result<u64> {
        self.switch().len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.switch().read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.switch().write_at(buf, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.switch().set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.switch().allocate(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.fs.switch_to_sync();
        self.file.sync()
    }

    fn evict(&self, from: u64) -> io::Result<()> {
        self.switch().evict(from)
    }

    fn map(&self, len: usize, access: Access) -> io::Result<Region> {
        self.switch().map(len, access)
    }
}

/// How a key is written: each change is its next version, from 1 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Habit {
    /// Every version is a value.
    Steady,
    /// Every third version is a deletion.
    Fickle,
}

/// A key, and what was written under it by its one writer.
#[derive(Debug)]
struct Key {
    name: &'static str,
    habit: Habit,
    /// The newest version whose writing began, and the newest that was acknowledged.
    begun: AtomicU64,
    done: AtomicU64,
}

impl Key {
    fn new(name: &'static str, habit: Habit) -> Self {
        Self { name, habit, begun: AtomicU64::new(0), done: AtomicU64::new(0) }
    }

    fn is_deletion(&self, version: u64) -> bool {
        version == 0 || self.habit == Habit::Fickle && version.is_multiple_of(3)
    }

    fn done(&self) -> u64 {
        self.done.load(Ordering::SeqCst)
    }

    fn begun(&self) -> u64 {
        self.begun.load(Ordering::SeqCst)
    }

    /// Which of the versions `from..=to` was seen, or a panic if none can have been.
    fn version_seen(&self, value: Option<&[u8]>, from: u64, to: u64) -> u64 {
        let seen = match value {
            Some(value) => Some(version_of(self.name, value)),
            None => (from..=to).find(|&version| self.is_deletion(version)),
        };
        let Some(seen) = seen else {
            panic!("{} is missing in versions {from} to {to}", self.name)
        };
        assert!(
            (from..=to).contains(&seen),
            "{} is of version {seen}, not {from} to {to}",
            self.name
        );
        assert_eq!(value.is_none(), self.is_deletion(seen), "{}, version {seen}", self.name);
        seen
    }
}

/// A value that tells its key and version, and whether it is whole.
fn value(key: &str, version: u64) -> Vec<u8> {
    format!("{key}={version};").into_bytes().into_iter().cycle().take(VALUE_LEN).collect()
}

fn version_of(key: &str, bytes: &[u8]) -> u64 {
    let text = str::from_utf8(bytes).expect("values are text");
    let (name, rest) = text.split_once('=').expect("values tell their key");
    assert_eq!(name, key, "a value of another key");
    let version = rest.split_once(';').expect("values tell their version").0.parse().unwrap();
    assert!(bytes == value(key, version), "a value is whole");
    version
}

/// A store and its disk, with the keys that threads write to it.
struct World {
    sim: SimFs,
    syncs: Arc<Syncs>,
    options: Options,
    db: Option<Bitcask>,
    keys: Vec<Key>,
}

impl Drop for World {
    fn drop(&mut self) {
        let db = self.db.take();
        if std::thread::panicking() {
            // Closing would wait for threads that never run again.
            let _leaked = ManuallyDrop::new(db);
        }
    }
}

impl World {
    /// A store in which each key is of version 2, spread over files that a merge can take.
    fn new<const N: usize>(durability: Durability, keys: [(&'static str, Habit); N]) -> Arc<Self> {
        let sim = SimFs::new(0);
        sim.set_write_back(0);
        // Mapped or not, and keys told apart by their hashes or by their records.
        sim.set_reserves_blocks(thread_rng().r#gen());
        let hash_mask = if thread_rng().r#gen() { u64::MAX } else { 0 };
        let fs = SwitchingFs::new(sim.clone());
        let syncs = fs.syncs.clone();
        let options = Options::new()
            .without_threads()
            .shard_bits(1)
            .hash_mask(hash_mask)
            .max_file_size(FILE_SIZE)
            .durability(durability)
            .merge(MergePolicy { background: false, ..MergePolicy::default() });
        let options = options.on(Arc::new(fs), Arc::new(SimClock::new(1_000_000)));
        let db = Some(options.clone().open(DIR).unwrap());
        let keys = keys.into_iter().map(|(name, habit)| Key::new(name, habit)).collect();
        let world = Self { sim, syncs, options, db, keys };
        for _ in 0..2 {
            (0..N).for_each(|key| world.write(key).unwrap());
        }
        world.db().tick().unwrap();
        Arc::new(world)
    }

    fn db(&self) -> &Bitcask {
        self.db.as_ref().expect("it is there until the world ends")
    }

    /// Writes the next version of a key.
    fn write(&self, key: usize) -> Result<()> {
        let key = &self.keys[key];
        let version = key.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let name = key.name.as_bytes();
        if key.is_deletion(version) {
            assert!(self.db().delete(name)?, "the version before was a value");
        } else {
            self.db().put(name, &value(key.name, version))?;
        }
        key.done.store(version, Ordering::SeqCst);
        Ok(())
    }

    /// Writes the next versions of several keys, all of them values, at once.
    fn write_together(&self, keys: &[usize]) -> Result<()> {
        let mut batch = WriteBatch::new();
        let mut versions = Vec::new();
        for key in keys.iter().map(|&key| &self.keys[key]) {
            let version = key.begun.fetch_add(1, Ordering::SeqCst) + 1;
            batch.put(key.name, value(key.name, version));
            versions.push((key, version));
        }
        self.db().write(&batch)?;
        versions.iter().for_each(|(key, version)| key.done.store(*version, Ordering::SeqCst));
        Ok(())
    }

    /// Reads every key, each in one of three ways; a version may not be older than those `seen` before.
    fn read_all(&self, seen: &mut [u64]) -> Result<()> {
        let from: Vec<u64> =
            self.keys.iter().zip(&*seen).map(|(key, &seen)| key.done().max(seen)).collect();
        let values = match thread_rng().gen_range(0..3) {
            0 => {
                let names: Vec<&str> = self.keys.iter().map(|key| key.name).collect();
                self.db().get_many(&names)?
            }
            1 => self
                .keys
                .iter()
                .map(|key| self.db().get(key.name.as_bytes()))
                .collect::<Result<Vec<_>>>()?,
            _ => {
                for (key, &from) in self.keys.iter().zip(&from) {
                    let is_there = self.db().contains(key.name.as_bytes())?;
                    let possible = (from..=key.begun()).any(|v| key.is_deletion(v) != is_there);
                    assert!(possible, "{} is there: {is_there}", key.name);
                }
                return Ok(());
            }
        };
        for (index, value) in values.iter().enumerate() {
            let key = &self.keys[index];
            seen[index] = key.version_seen(value.as_deref(), from[index], key.begun());
        }
        Ok(())
    }

    /// The versions `from` and `to` which each key may have now.
    fn bounds(&self) -> Vec<(u64, u64)> {
        self.keys.iter().map(|key| (key.done(), key.begun())).collect()
    }

    /// Checks every key of a store, whose threads are done, and that there are no others.
    fn check(&self, db: &Bitcask, bounds: &[(u64, u64)]) {
        let mut present = 0;
        for (key, &(from, to)) in self.keys.iter().zip(bounds) {
            let value = db.get(key.name.as_bytes()).unwrap();
            present += u64::from(value.is_some());
            key.version_seen(value.as_deref(), from, to);
        }
        assert_eq!(db.len().unwrap(), present);
        assert_eq!(db.keys().map(Result::unwrap).count() as u64, present);
    }

    /// Opens another disk, one without switch points.
    fn reopen(&self, sim: SimFs) -> Bitcask {
        let clock = Arc::new(SimClock::new(2_000_000));
        self.options.clone().on(Arc::new(sim), clock).open(DIR).unwrap()
    }

    /// Checks what is left after a crash that keeps nothing but what is durable.
    fn check_durable(&self) {
        let image = self.reopen(self.sim.crash(0));
        self.check(&image, &self.bounds());
    }
}

fn spawn(world: &Arc<World>, work: impl FnOnce(&World) + Send + 'static) -> JoinHandle<()> {
    let world = world.clone();
    thread::spawn(move || work(&world))
}

fn join(threads: impl IntoIterator<Item = JoinHandle<()>>) {
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// Bytes in each file that are not live. Together, because opening finds some tombstones to be dead already.
fn dead_bytes(db: &Bitcask) -> BTreeMap<u64, u64> {
    let files = db.stats().unwrap().files;
    files.into_iter().map(|file| (file.id, file.dead_bytes + file.tombstone_bytes)).collect()
}

const STEADY: Habit = Habit::Steady;
const FICKLE: Habit = Habit::Fickle;

fn gets_during_writes_and_merges() {
    let world = World::new(Durability::Os, [("kept", STEADY), ("s", STEADY), ("f", FICKLE)]);
    let writer = spawn(&world, |world| {
        for key in [1, 2, 1, 2] {
            world.write(key).unwrap();
        }
    });
    let merger = spawn(&world, |world| {
        world.db().merge().unwrap();
    });
    let reader = |world: &World| {
        let mut seen = vec![0; world.keys.len()];
        for _ in 0..3 {
            world.read_all(&mut seen).unwrap();
        }
    };
    let readers = [spawn(&world, reader), spawn(&world, reader)];
    join([writer, merger].into_iter().chain(readers));
    world.check(world.db(), &world.bounds());
}

#[test]
fn a_get_during_writes_and_merges_finds_what_was_current() {
    explore(3000, gets_during_writes_and_merges);
}

fn merges_against_writes() {
    let world = World::new(Durability::Os, [("a", FICKLE), ("b", FICKLE), ("c", STEADY)]);
    let writers = [[0, 0, 0], [1, 2, 1]].map(|keys| {
        spawn(&world, move |world| keys.into_iter().for_each(|key| world.write(key).unwrap()))
    });
    let mergers = [1, 2].map(|times| {
        spawn(&world, move |world| {
            for _ in 0..times {
                world.db().merge().unwrap();
            }
        })
    });
    join(writers.into_iter().chain(mergers));
    let bounds = world.bounds();
    world.check(world.db(), &bounds);

    let image = world.reopen(world.sim.kill());
    world.check(&image, &bounds);
    assert_eq!(dead_bytes(&image), dead_bytes(world.db()), "opening counts what writers counted");
    image.merge().unwrap();
    world.check(&image, &bounds);
    assert_eq!(image.stats().unwrap().dead_bytes(), 0);
}

#[test]
fn a_merge_that_races_with_writes_leaves_what_was_written_last() {
    explore(2500, merges_against_writes);
}

fn checkpoints_against_writes_and_merges() {
    let world = World::new(Durability::Os, [("s", STEADY), ("f", FICKLE), ("x", STEADY)]);
    let writer = spawn(&world, |world| {
        for key in [0, 1, 0, 1] {
            world.write(key).unwrap();
        }
    });
    let merger = spawn(&world, |world| {
        world.db().merge().unwrap();
        world.db().tick().unwrap();
    });
    let checkpoints = spawn(&world, |world| {
        for _ in 0..2 {
            let from: Vec<u64> = world.keys.iter().map(Key::done).collect();
            world.db().checkpoint("/backup").unwrap();
            let bounds: Vec<_> =
                from.into_iter().zip(&world.keys).map(|(from, key)| (from, key.begun())).collect();
            // Nothing but what is durable is there, and that is enough.
            let clock = Arc::new(SimClock::new(2_000_000));
            let options = world.options.clone().on(Arc::new(world.sim.crash(0)), clock);
            let copy = options.open("/backup").unwrap();
            assert_eq!(copy.recovery().cut, None);
            world.check(&copy, &bounds);
        }
    });
    join([writer, merger, checkpoints]);
    world.check(world.db(), &world.bounds());
}

#[test]
fn a_checkpoint_that_races_with_writes_and_merges_holds_what_was_acknowledged() {
    explore(1000, checkpoints_against_writes_and_merges);
}

/// Goes on with an iteration, and notes the versions that it meets.
fn walk(world: &World, entries: &mut Iter, steps: usize, met: &mut BTreeMap<Vec<u8>, u64>) {
    for entry in entries.take(steps) {
        let (name, value): (Vec<u8>, Value) = entry.unwrap();
        let key = world.keys.iter().find(|key| key.name.as_bytes() == name).unwrap();
        let old = met.insert(name, version_of(key.name, &value));
        assert!(old.is_none(), "{} was met twice", key.name);
    }
}

fn iterations_during_writes_and_merges() {
    let world =
        World::new(Durability::Os, [("kept", STEADY), ("s", STEADY), ("t", STEADY), ("f", FICKLE)]);
    let writer = spawn(&world, |world| {
        for key in [1, 3, 2, 3] {
            world.write(key).unwrap();
        }
    });
    let merger = spawn(&world, |world| {
        world.db().merge().unwrap();
    });
    let iterate = |world: &World, steps: usize| {
        let from: Vec<u64> = world.keys.iter().map(Key::done).collect();
        let (mut entries, mut met) = (world.db().iter(), BTreeMap::new());
        walk(world, &mut entries, steps, &mut met);
        (from, entries, met)
    };
    let finish = |world: &World, (from, mut entries, mut met): (Vec<u64>, Iter, BTreeMap<_, _>)| {
        walk(world, &mut entries, usize::MAX, &mut met);
        for (key, &from) in world.keys.iter().zip(&from) {
            match met.get(key.name.as_bytes()) {
                Some(seen) => assert!((from..=key.begun()).contains(seen), "{key:?}, met {seen}"),
                None => assert_eq!(key.habit, FICKLE, "{} was not met", key.name),
            }
        }
    };
    // One that begins now and ends when all that it reads was replaced and merged, and one in between.
    let early = iterate(&world, 1);
    let whole = spawn(&world, move |world| finish(world, iterate(world, usize::MAX)));
    join([writer, merger, whole]);
    world.db().merge().unwrap();
    finish(&world, early);
    world.check(world.db(), &world.bounds());
    assert!(
        world.db().stats().unwrap().pinned_files.is_empty(),
        "files that nobody reads are let go"
    );
}

#[test]
fn an_iteration_during_writes_and_merges_meets_each_key_once() {
    explore(3000, iterations_during_writes_and_merges);
}

fn group_commit() {
    let world = World::new(Durability::Always, [("a", STEADY), ("b", FICKLE), ("c", FICKLE)]);
    type Crash = (SimFs, Vec<(u64, u64)>);
    let crashed: Arc<Mutex<Option<Crash>>> = Arc::default();
    let threads = [0, 1, 2].map(|key| {
        let crashed = crashed.clone();
        spawn(&world, move |world| {
            for _ in 0..2 {
                world.write(key).unwrap();
                let bounds = world.bounds();
                if thread_rng().gen_ratio(1, 4) {
                    *crashed.lock().unwrap_or_else(PoisonError::into_inner) =
                        Some((world.sim.crash(0), bounds));
                }
            }
        })
    });
    join(threads);
    world.check_durable();
    let crashed = crashed.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some((sim, bounds)) = crashed {
        world.check(&world.reopen(sim), &bounds);
    }
}

#[test]
fn every_write_acknowledged_by_a_shared_sync_survives_a_crash() {
    explore(3000, group_commit);
}

fn failing_syncs() {
    let world = World::new(Durability::Always, [("a", FICKLE), ("b", FICKLE), ("c", STEADY)]);
    let failing = world.syncs.count.load(Ordering::SeqCst) + thread_rng().gen_range(0..6);
    world.syncs.failing.store(failing, Ordering::SeqCst);
    let merges = thread_rng().gen_ratio(1, 3);
    let threads = [0, 1, 2].map(|key| {
        spawn(&world, move |world| {
            for _ in 0..3 {
                let Err(e) = world.write(key) else { continue };
                assert!(matches!(e.kind(), ErrorKind::Io | ErrorKind::Poisoned), "{e:?}");
                let again = world.db().put(b"later", b"x").unwrap_err();
                assert_eq!(again.kind(), ErrorKind::Poisoned);
                break;
            }
        })
    });
    let merger = merges.then(|| {
        // It may fail, by itself or because the log did.
        spawn(&world, |world| drop(world.db().merge()))
    });
    join(threads.into_iter().chain(merger));
    let has_failed = world.syncs.count.load(Ordering::SeqCst) > failing;
    if has_failed && !merges {
        assert_eq!(world.db().put(b"later", b"x").unwrap_err().kind(), ErrorKind::Poisoned);
        assert_eq!(world.db().sync().unwrap_err().kind(), ErrorKind::Poisoned);
    }
    world.check_durable();

    // The next process makes durable what it shows.
    let sim = world.sim.kill();
    let next = world.reopen(sim.clone());
    world.check(&next, &world.bounds());
    next.put(b"later", b"x").unwrap();
    next.delete(b"later").unwrap();
    world.check(&world.reopen(sim.crash(0)), &world.bounds());
}

#[test]
fn no_thread_is_told_that_a_write_is_durable_when_the_sync_failed() {
    explore(3000, failing_syncs);
}

fn rotation() {
    let world =
        World::new(Durability::Os, [("a", FICKLE), ("b", STEADY), ("c", STEADY), ("d", STEADY)]);
    let one = spawn(&world, |world| (0..4).for_each(|_| world.write(0).unwrap()));
    let many = spawn(&world, |world| {
        world.write_together(&[1, 2, 3]).unwrap();
        world.write(1).unwrap();
        world.write_together(&[3, 2]).unwrap();
    });
    let reader = spawn(&world, |world| {
        let mut seen = vec![0; world.keys.len()];
        for _ in 0..3 {
            world.read_all(&mut seen).unwrap();
        }
    });
    let ticker = spawn(&world, |world| (0..2).for_each(|_| world.db().tick().unwrap()));
    join([one, many, reader, ticker]);
    let bounds = world.bounds();
    world.check(world.db(), &bounds);
    let image = world.reopen(world.sim.kill());
    world.check(&image, &bounds);
    assert_eq!(dead_bytes(&image), dead_bytes(world.db()));
    world.db().sync().unwrap();
    world.check_durable();
}

#[test]
fn files_fill_up_under_writers_and_readers_and_nothing_is_lost() {
    explore(3000, rotation);
}

/// Does `work` until the store is closed.
fn until_closed(times: usize, mut work: impl FnMut() -> Result<()>) {
    for _ in 0..times {
        if let Err(e) = work() {
            assert_eq!(e.kind(), ErrorKind::Invalid, "{e:?}");
            return;
        }
    }
}

/// Opens the store of a world as another process would, and says whether it could. It then finds all that was
/// acknowledged, and all in order.
fn open_next(world: &World) -> bool {
    let from: Vec<u64> = world.keys.iter().map(Key::done).collect();
    let next = match world.options.clone().open(DIR) {
        Ok(next) => next,
        Err(e) => {
            assert_eq!(e.kind(), ErrorKind::Locked, "{e:?}");
            return false;
        }
    };
    assert!(next.recovery().cut.is_none());
    let bounds: Vec<_> = from.into_iter().zip(world.keys.iter().map(Key::begun)).collect();
    world.check(&next, &bounds);
    next.close().unwrap();
    true
}

fn close_during_everything() {
    let durability = if thread_rng().r#gen() { Durability::Always } else { Durability::Os };
    let world = World::new(durability, [("a", FICKLE), ("b", STEADY), ("c", STEADY)]);
    let writers = [0, 1].map(|key| {
        spawn(&world, move |world| {
            until_closed(3, || {
                // What was refused did not begin.
                let begun = world.keys[key].begun();
                world
                    .write(key)
                    .inspect_err(|_| world.keys[key].begun.store(begun, Ordering::SeqCst))
            });
        })
    });
    let merger = spawn(&world, |world| until_closed(2, || world.db().merge().map(drop)));
    let reader = spawn(&world, |world| {
        let mut seen = vec![0; world.keys.len()];
        until_closed(2, || world.read_all(&mut seen));
        until_closed(1, || world.db().iter().try_for_each(|entry| entry.map(drop)));
        until_closed(1, || world.db().sync());
    });
    let has_successor: bool = thread_rng().r#gen();
    let successor =
        has_successor.then(|| spawn(&world, |world| (0..3).for_each(|_| _ = open_next(world))));
    let closer = spawn(&world, move |world| {
        world.db().close().unwrap();
        assert!(open_next(world) || has_successor, "the lock is free when close returns");
    });
    let other_closer = spawn(&world, |world| world.db().close().unwrap());
    join(writers.into_iter().chain([merger, reader, closer, other_closer]).chain(successor));
    world.check_durable();
}

#[test]
fn closing_during_everything_keeps_what_was_acknowledged() {
    explore(3000, close_during_everything);
}

/// How many of the writes that began are seen in `db`: a number in `from..=to` for which every key fits.
fn prefix_seen(world: &World, db: &Bitcask, order: &[usize], (from, to): (usize, usize)) -> usize {
    let fits = |count: usize| {
        world.keys.iter().enumerate().all(|(index, key)| {
            let writes = order[..count].iter().filter(|&&other| other == index).count() as u64;
            let version = 2 + writes;
            let value = db.get(key.name.as_bytes()).unwrap();
            match value {
                Some(value) => version_of(key.name, &value) == version,
                None => key.is_deletion(version),
            }
        })
    };
    (from..=to).find(|&count| fits(count)).expect("the state after some of the writes, in order")
}

fn crash_during_writes_and_merges() {
    // The second key is deleted early, for good.
    const ORDER: [usize; 6] = [1, 0, 0, 2, 0, 2];
    let world = World::new(Durability::Os, [("a", FICKLE), ("b", FICKLE), ("c", STEADY)]);
    let written = |world: &World, version: fn(&Key) -> u64| {
        let total: u64 = world.keys.iter().map(|key| version(key) - 2).sum();
        usize::try_from(total).unwrap()
    };
    let writer = spawn(&world, |world| ORDER.into_iter().for_each(|key| world.write(key).unwrap()));
    let merger = spawn(&world, |world| {
        for _ in 0..2 {
            world.db().merge().unwrap();
        }
    });
    let crasher = spawn(&world, move |world| {
        let mut from = 0;
        let waits = thread_rng().gen_range(0..60);
        (0..waits).for_each(|_| drop(world.db().len()));
        if thread_rng().r#gen() {
            from = written(world, Key::done);
            world.db().sync().unwrap();
        }
        let (sim, to) = (world.sim.crash(thread_rng().r#gen()), written(world, Key::begun));
        let image = world.reopen(sim);
        let count = prefix_seen(world, &image, &ORDER, (from, to));
        image.merge().unwrap();
        assert_eq!(
            prefix_seen(world, &image, &ORDER, (count, count)),
            count,
            "merge changes nothing"
        );
    });
    join([writer, merger, crasher]);
    world.check(world.db(), &world.bounds());
}

#[test]
fn a_crash_during_writes_and_merges_leaves_a_prefix_of_the_writes() {
    explore(2000, crash_during_writes_and_merges);
}
