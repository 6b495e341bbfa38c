//! Real threads on a real directory, and real processes that are killed.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use bitcask::{Bitcask, Durability, IoMode, MergePolicy, Options};

use crate::basics::TempDir;

const WRITERS: usize = 4;
const KEYS_EACH: usize = 25;
const WRITES_EACH: usize = 3000;

/// Small files, and merges all the time.
fn options(mode: IoMode) -> Options {
    let merge = MergePolicy {
        dead_ratio_trigger: 0.2,
        dead_ratio_threshold: 0.1,
        check_interval: Duration::from_millis(1),
        ..MergePolicy::default()
    };
    Options::new().io(mode).max_file_size(64 << 10).merge(merge).durability(Durability::Os)
}

/// A key, with the newest version whose writing began and the newest that was acknowledged. Versions
/// count from 1; of every second key, each fifth version is a deletion.
struct Key {
    index: usize,
    begun: AtomicU64,
    done: AtomicU64,
}

impl Key {
    fn name(&self) -> Vec<u8> {
        format!("key{:04}", self.index).into_bytes()
    }

    fn is_steady(&self) -> bool {
        self.index.is_multiple_of(2)
    }

    fn is_deletion(&self, version: u64) -> bool {
        version == 0 || !self.is_steady() && version.is_multiple_of(5)
    }

    fn value(&self, version: u64) -> Vec<u8> {
        let len = usize::try_from(version % 7).unwrap() * 60 + 20;
        format!("{}={version};", self.index).into_bytes().into_iter().cycle().take(len).collect()
    }

    fn bounds(&self) -> (u64, u64) {
        (self.done.load(Ordering::SeqCst), self.begun.load(Ordering::SeqCst))
    }

    /// Which of the versions `from..=to` has this value; a panic if none has.
    fn version_seen(&self, value: Option<&[u8]>, from: u64, to: u64) -> u64 {
        let fits = |&version: &u64| match value {
            Some(value) => !self.is_deletion(version) && self.value(version) == value,
            None => self.is_deletion(version),
        };
        let shown = value.map(|value| value.escape_ascii().to_string());
        (from..=to)
            .find(fits)
            .unwrap_or_else(|| panic!("key {}: {shown:?} in versions {from} to {to}", self.index))
    }

    fn write(&self, db: &Bitcask) {
        let version = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        if self.is_deletion(version) {
            assert!(db.delete(&self.name()).unwrap());
        } else {
            db.put(&self.name(), &self.value(version)).unwrap();
        }
        self.done.store(version, Ordering::SeqCst);
    }
}

fn check(db: &Bitcask, keys: &[Key]) {
    let mut present = 0;
    for key in keys {
        let value = db.get(&key.name()).unwrap();
        let (done, begun) = key.bounds();
        key.version_seen(value.as_deref(), done, begun);
        present += u64::from(value.is_some());
    }
    assert_eq!(db.len().unwrap(), present);
    assert_eq!(db.iter().map(Result::unwrap).count() as u64, present);
}

fn read(db: &Bitcask, keys: &[Key], seen: &mut [u64]) {
    for key in keys {
        let from = key.bounds().0.max(seen[key.index]);
        let value = db.get(&key.name()).unwrap();
        seen[key.index] = key.version_seen(value.as_deref(), from, key.bounds().1);
    }
}

fn iterate(db: &Bitcask, keys: &[Key]) {
    let from: Vec<u64> = keys.iter().map(|key| key.bounds().0).collect();
    let mut met = BTreeSet::new();
    for entry in db.iter() {
        let (name, value) = entry.unwrap();
        let key = keys.iter().find(|key| key.name() == name).unwrap();
        assert!(met.insert(key.index), "key {} was met twice", key.index);
        key.version_seen(Some(&value), from[key.index], key.bounds().1);
    }
    for key in keys.iter().filter(|key| key.is_steady() && from[key.index] > 0) {
        assert!(met.contains(&key.index), "key {} was not met", key.index);
    }
}

/// One of those that the others wait for. Counts down when it ends, by a panic too.
struct Running<'a>(&'a AtomicUsize);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Four writers with keys of their own, two readers, one that iterates and one that merges.
fn work(db: &Bitcask, keys: &[Key]) {
    let writing = AtomicUsize::new(WRITERS);
    let while_writing = |work: &mut dyn FnMut()| {
        while writing.load(Ordering::SeqCst) > 0 {
            work();
        }
    };
    thread::scope(|scope| {
        for own in keys.chunks(KEYS_EACH) {
            let running = Running(&writing);
            scope.spawn(move || {
                let _running = running;
                for step in 0..WRITES_EACH {
                    // Some keys more often than others.
                    own[step % (1 + step % KEYS_EACH)].write(db);
                }
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                let mut seen = vec![0; keys.len()];
                while_writing(&mut || read(db, keys, &mut seen));
            });
        }
        scope.spawn(|| while_writing(&mut || iterate(db, keys)));
        scope.spawn(|| {
            while_writing(&mut || {
                db.merge().unwrap();
            });
        });
    });
}

#[test]
fn threads_that_write_read_iterate_and_merge_agree_in_both_modes() {
    for mode in [IoMode::Mapped, IoMode::Plain] {
        let dir = TempDir::new(&format!("concurrency-{mode:?}"));
        let key = |index| Key { index, begun: AtomicU64::new(0), done: AtomicU64::new(0) };
        let keys: Vec<Key> = (0..WRITERS * KEYS_EACH).map(key).collect();
        let db = options(mode).open(dir.path()).unwrap();
        work(&db, &keys);
        check(&db, &keys);
        assert!(db.stats().unwrap().merges > 0);
        db.close().unwrap();

        let db = options(mode).open(dir.path()).unwrap();
        assert!(db.recovery().cut.is_none());
        check(&db, &keys);
        db.merge().unwrap();
        check(&db, &keys);
    }
}

/// Tells the process that is to be killed where its store is, how it does I/O, and which operation is next.
const CHILD_DIR: &str = "BITCASK_TEST_CHILD_DIR";
const CHILD_MODE: &str = "BITCASK_TEST_CHILD_MODE";
const CHILD_NEXT: &str = "BITCASK_TEST_CHILD_NEXT";
const CHILD_KEYS: u64 = 300;
const KILLS: u64 = 20;

fn mode_of(name: &str) -> IoMode {
    if name == "plain" { IoMode::Plain } else { IoMode::Mapped }
}

/// What operation `n` writes: a value, or none for a deletion.
fn operation(n: u64) -> (Vec<u8>, Option<Vec<u8>>) {
    let key = scramble(n) % CHILD_KEYS;
    let len = usize::try_from(scramble(n) % 400).unwrap() + 20;
    let value = || format!("{n};").into_bytes().into_iter().cycle().take(len).collect();
    (format!("key{key}").into_bytes(), (!n.is_multiple_of(6)).then(value))
}

fn apply(model: &mut BTreeMap<Vec<u8>, Vec<u8>>, n: u64) {
    match operation(n) {
        (key, Some(value)) => drop(model.insert(key, value)),
        (key, None) => drop(model.remove(&key)),
    }
}

fn scramble(n: u64) -> u64 {
    (n ^ n >> 15).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 17
}

/// Not a test by itself: the part of the process that is killed in the test below.
#[test]
fn the_process_that_is_killed_writes_until_it_is() {
    let Ok(dir) = std::env::var(CHILD_DIR) else { return };
    let next: u64 = std::env::var(CHILD_NEXT).unwrap().parse().unwrap();
    let db = options(mode_of(&std::env::var(CHILD_MODE).unwrap())).open(dir).unwrap();
    let merging = db.clone();
    // A merge that fails ends nothing: what the parent finds is what counts.
    thread::spawn(move || while merging.merge().is_ok() {});
    for n in next..next + 100_000 {
        match operation(n) {
            (key, Some(value)) => db.put(&key, &value).unwrap(),
            (key, None) => drop(db.delete(&key).unwrap()),
        }
        // Written with one call, so a reader sees all of the line or none.
        std::io::stdout().write_all(format!("done {n}\n").as_bytes()).unwrap();
    }
}

/// Ends the process if the test does not get to it.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may be dead already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Starts a process that writes from operation `next` on, kills it when it has reported `reports` of them, and
/// gives the number of the next that it did not report.
fn write_and_kill(dir: &TempDir, mode: &str, next: u64, reports: u64) -> u64 {
    let child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "concurrency::the_process_that_is_killed_writes_until_it_is",
            "--nocapture",
        ])
        .env(CHILD_DIR, dir.path())
        .env(CHILD_MODE, mode)
        .env(CHILD_NEXT, next.to_string())
        .stdout(Stdio::piped())
        .spawn();
    let mut child = Killed(child.unwrap());
    let lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    let mut expected = next;
    if reports == 0 {
        child.0.kill().unwrap();
    }
    for line in lines {
        let line = line.unwrap();
        let Some(number) = line.strip_prefix("done ") else { continue };
        assert_eq!(number.parse(), Ok(expected));
        expected += 1;
        if expected == next + reports {
            child.0.kill().unwrap();
        }
    }
    assert!(!child.0.wait().unwrap().success(), "it was killed");
    expected
}

#[test]
fn every_write_reported_before_a_kill_is_there_after_it() {
    let seed: u64 = std::env::var("SEED").map_or(0, |seed| seed.parse().unwrap());
    println!("SEED={seed}");
    let dir = TempDir::new("kill");
    let mut model = BTreeMap::new();
    let mut next = 1;
    for kill in 0..KILLS {
        let mode = if kill.is_multiple_of(2) { "mapped" } else { "plain" };
        let random = scramble(seed * KILLS + kill + 1);
        let reports = if kill % 5 == 4 { random % 3 } else { random % 3000 };
        let reported = write_and_kill(&dir, mode, next, reports);

        let db = options(mode_of(mode)).open(dir.path()).expect("the lock is free");
        let found: BTreeMap<_, _> =
            db.iter().map(Result::unwrap).map(|(key, value)| (key, value.into_vec())).collect();
        (next..reported).for_each(|n| apply(&mut model, n));
        next = reported;
        // One more may have been written and not reported. A deletion of nothing writes nothing.
        if found != model {
            apply(&mut model, next);
            next += 1;
        }
        assert!(found == model, "kill {kill}: not what was written up to {next}");
        assert_eq!(db.len().unwrap(), model.len() as u64);
    }
}
