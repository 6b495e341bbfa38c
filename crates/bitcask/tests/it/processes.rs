//! A writer, a reader and a watcher in processes of their own, killed at any moment.
//!
//! The writer moves amounts between accounts, in batches that keep their sum, and counts: a batch has the count, and a
//! put after it has it again. So whoever reads beside it can tell a state that never was.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use bitcask::{
    Bitcask, Changed, Durability, ErrorKind, IoMode, MergePolicy, Options, ReadOnly, Watch,
    WriteBatch,
};

use crate::basics::TempDir;
use crate::crash::{Rng, seeds};

const DIR: &str = "BITCASK_TEST_PROCESS_DIR";
const MODE: &str = "BITCASK_TEST_PROCESS_MODE";
const ACCOUNTS: usize = 12;
const EACH: u64 = 1000;
const ROUNDS: usize = 8;
/// Batches between two merges of the writer, and between two reports of it.
const MERGE_EACH: u64 = 70;
const REPORT_EACH: u64 = 20;

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// Small files, and merges as soon as there is something to merge.
fn options(mode: &str) -> Options {
    let merge = MergePolicy {
        dead_ratio_trigger: 0.2,
        dead_ratio_threshold: 0.1,
        check_interval: Duration::from_millis(1),
        ..MergePolicy::default()
    };
    let io = if mode == "plain" { IoMode::Plain } else { IoMode::Mapped };
    Options::new().io(io).max_file_size(16 << 10).merge(merge).durability(Durability::Os)
}

fn role() -> Option<(String, Options)> {
    let dir = std::env::var(DIR).ok()?;
    Some((dir, options(&std::env::var(MODE).unwrap())))
}

fn report(what: &str) {
    // With one call, so that a reader sees all of the line or none.
    std::io::stdout().write_all(format!("{what}\n").as_bytes()).unwrap();
}

fn account(n: usize) -> Vec<u8> {
    format!("account{n:02}").into_bytes()
}

fn number(value: Option<&[u8]>) -> u64 {
    value.map_or(0, |value| std::str::from_utf8(value).unwrap().parse().unwrap())
}

/// What holds after any change; gives the count.
fn check(map: &Map) -> u64 {
    let number = |key: &[u8]| number(map.get(key).map(Vec::as_slice));
    let sum: u64 = (0..ACCOUNTS).map(|n| number(&account(n))).sum();
    assert!(sum == EACH * ACCOUNTS as u64 || map.is_empty(), "a state that never was: {sum}");
    let (count, again) = (number(b"count"), number(b"again"));
    assert!(count == again || count == again + 1, "a state that never was: {count}, {again}");
    count
}

fn check_reader(reader: &ReadOnly) -> u64 {
    let keys: Vec<_> = (0..ACCOUNTS).map(account).collect();
    let values = reader.get_many(&keys).unwrap();
    let sum: u64 = values.iter().map(|value| number(value.as_deref())).sum();
    assert!(sum == EACH * ACCOUNTS as u64 || sum == 0, "a state that never was: {sum}");
    let snapshot = reader.snapshot();
    let map: Map =
        snapshot.iter().map(Result::unwrap).map(|(key, value)| (key, value.into_vec())).collect();
    assert_eq!(snapshot.len(), map.len() as u64);
    check(&map)
}

/// A copy of the store that is kept by watching.
struct Copy {
    map: Map,
    watch: Watch,
    count: u64,
}

impl Copy {
    fn new(reader: &ReadOnly) -> Self {
        loop {
            reader.refresh().unwrap();
            let snapshot = reader.snapshot();
            let entries = snapshot.iter().map(Result::unwrap);
            let map: Map = entries.map(|(key, value)| (key, value.into_vec())).collect();
            match reader.watch(b"", snapshot.seq() + 1) {
                Ok(watch) => {
                    let count = check(&map);
                    return Self { map, watch, count };
                }
                Err(e) => assert_eq!(e.kind(), ErrorKind::Gone, "{e:?}"),
            }
        }
    }

    /// Applies what is there by now, batch by batch.
    fn catch_up(&mut self, reader: &ReadOnly) {
        loop {
            match self.watch.try_next() {
                Ok(None) => return,
                Ok(Some(event)) => {
                    match event.change {
                        Changed::Put { value, .. } => {
                            self.map.insert(event.key, value.into_vec());
                        }
                        _ => drop(self.map.remove(&event.key)),
                    }
                    if event.is_last {
                        let count = check(&self.map);
                        assert!(count >= self.count, "back from {} to {count}", self.count);
                        self.count = count;
                    }
                }
                Err(e) => {
                    assert_eq!(e.kind(), ErrorKind::Gone, "{e:?}");
                    let before = self.count;
                    *self = Self::new(reader);
                    assert!(self.count >= before, "back from {before} to {}", self.count);
                }
            }
        }
    }
}

fn transfer(db: &Bitcask, rng: &mut Rng, n: u64) {
    let amount = |n| number(db.get(&account(n)).unwrap().as_deref());
    let mut batch = WriteBatch::new();
    batch.put("count", n.to_string());
    if db.get(&account(0)).unwrap().is_none() {
        for n in 0..ACCOUNTS {
            batch.put(account(n), EACH.to_string());
        }
    } else {
        let from = rng.below(ACCOUNTS);
        let to = (from + 1 + rng.below(ACCOUNTS - 1)) % ACCOUNTS;
        let moved = rng.next() % (amount(from) + 1);
        batch.put(account(from), (amount(from) - moved).to_string());
        batch.put(account(to), (amount(to) + moved).to_string());
    }
    let other = format!("other{}", rng.below(200));
    if rng.one_in(3) {
        batch.delete(other)
    } else {
        batch.put(other, rng.bytes(100))
    };
    db.write(&batch).unwrap();
    db.put(b"again", n.to_string().as_bytes()).unwrap();
}

/// Not a test by itself: the process that writes.
#[test]
fn the_writing_process() {
    let Some((dir, options)) = role() else { return };
    let db = options.open(dir).unwrap();
    let done = number(db.get(b"count").unwrap().as_deref());
    // It may have died between the two.
    db.put(b"again", done.to_string().as_bytes()).unwrap();
    let mut rng = Rng::new(done);
    for n in done + 1.. {
        transfer(&db, &mut rng, n);
        if n % MERGE_EACH == 0 {
            db.merge().unwrap();
        }
        if n % REPORT_EACH == 0 {
            report("done");
        }
    }
}

/// Not a test by itself: the process that reads beside it.
#[test]
fn the_reading_process() {
    let Some((dir, options)) = role() else { return };
    let reader = options.open_read_only(dir).unwrap();
    let mut before = 0;
    loop {
        let count = check_reader(&reader);
        assert!(count >= before, "back from {before} to {count}");
        before = count;
        report("done");
        reader.refresh().unwrap();
    }
}

/// Not a test by itself: the process that keeps a copy beside it.
#[test]
fn the_watching_process() {
    let Some((dir, options)) = role() else { return };
    let reader = options.open_read_only(dir).unwrap();
    let mut copy = Copy::new(&reader);
    loop {
        copy.catch_up(&reader);
        report("done");
    }
}

/// A process, killed when dropped.
struct Process {
    role: String,
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(role: &str, dir: &TempDir, mode: &str) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &format!("processes::the_{role}_process"), "--nocapture"])
            .env(DIR, dir.path())
            .env(MODE, mode)
            .stdout(Stdio::piped())
            .spawn();
        let mut child = child.unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { role: role.to_owned(), child, lines }
    }

    /// Waits until it has reported so often, and so works.
    fn wait_for_reports(&mut self, count: usize) {
        // The first is on a line with what the test runner says.
        let reports = self.lines.by_ref().map(Result::unwrap).filter(|line| line.ends_with("done"));
        if reports.take(count).count() < count {
            panic!("the {} process ended by itself: {:?}", self.role, self.child.wait());
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be dead already, of a panic that its reports did not come after.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn beside_a_writer_that_is_killed_readers_and_watchers_see_only_states_that_were() {
    for seed in seeds(31_000, 1) {
        for mode in ["mapped", "plain"] {
            let mut rng = Rng::new(seed);
            let dir = TempDir::new(&format!("processes-{mode}"));
            // There is a store before anybody reads.
            Process::start("writing", &dir, mode).wait_for_reports(1);
            let reader = options(mode).open_read_only(dir.path()).unwrap();
            let mut copy = Copy::new(&reader);
            let mut beside = [("reading", None), ("watching", None)];
            let mut count = check_reader(&reader);
            for _ in 0..ROUNDS {
                let mut writer = Process::start("writing", &dir, mode);
                writer.wait_for_reports(1 + rng.below(4));
                for (role, process) in &mut beside {
                    let process = process.get_or_insert_with(|| Process::start(role, &dir, mode));
                    process.wait_for_reports(1 + rng.below(4));
                }
                writer.wait_for_reports(rng.below(3));
                drop(writer);
                for (_, process) in beside.iter_mut().filter(|_| rng.one_in(3)) {
                    drop(process.take());
                }
                reader.refresh().unwrap();
                copy.catch_up(&reader);
                let now = check_reader(&reader);
                assert!(now > count, "from {count} to {now}");
                assert_eq!(copy.count, now);
                count = now;
            }
            for (_, process) in &mut beside {
                if let Some(process) = process {
                    process.wait_for_reports(2);
                }
            }
            let db = options(mode).open(dir.path()).unwrap();
            let written: Map =
                db.iter().map(Result::unwrap).map(|(key, value)| (key, value.into_vec())).collect();
            reader.refresh().unwrap();
            copy.catch_up(&reader);
            let read = reader.iter().map(Result::unwrap);
            let read: Map = read.map(|(key, value)| (key, value.into_vec())).collect();
            assert!(read == written, "the reader differs at the end");
            assert!(copy.map == written, "the copy differs at the end");
        }
    }
}

#[test]
fn who_has_the_store_open_and_how_it_goes_there_is_known_to_others() {
    let dir = TempDir::new("processes-in-use");
    assert_eq!(bitcask::in_use(dir.path()).unwrap(), None);
    let mut writer = Process::start("writing", &dir, "mapped");
    writer.wait_for_reports(1);
    let in_use = || bitcask::in_use(dir.path()).unwrap().expect("it is in use");
    assert_eq!(in_use().process, writer.child.id());
    let told = |enough: &dyn Fn(&bitcask::Stats) -> bool| {
        loop {
            if let Some(stats) = in_use().stats.filter(enough) {
                return stats;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let stats = told(&|stats| stats.puts > 0);
    assert!(stats.keys > 0 && stats.bytes() > 0 && stats.put_latency.count() > 0, "{stats:?}");
    let later = told(&|later| later.puts > stats.puts && later.merges > stats.merges);
    let between = later.put_latency.since(&stats.put_latency);
    assert_eq!(between.count(), later.put_latency.count() - stats.put_latency.count());
    let error = Bitcask::open(dir.path()).unwrap_err();
    let holder = format!("process {} (", writer.child.id());
    assert!(error.to_string().contains(&holder), "{error}");
    assert_eq!(error.to_string().lines().count(), 1, "{error}");
    drop(writer);
    assert_eq!(bitcask::in_use(dir.path()).unwrap(), None, "it was killed");

    let db = Bitcask::open(dir.path()).unwrap();
    assert_eq!(in_use().process, std::process::id());
    drop(db);
    assert_eq!(bitcask::in_use(dir.path()).unwrap(), None, "it was closed");
}
