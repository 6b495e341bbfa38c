//! Keys that expire: what time it is for a store, and what becomes of that when files go away.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bitcask::fs::Fs;
use bitcask::fs::sim::{Failure, SimClock, SimFs};
use bitcask::{Bitcask, ErrorKind, IoMode, MergePolicy, Options};

const HOUR_MS: u64 = 3_600_000;
const START_MS: u64 = 1_700_000_000_000;
const SECOND: Duration = Duration::from_secs(1);

/// A disk and a clock, on which stores are opened.
struct World {
    fs: SimFs,
    clock: SimClock,
    io: IoMode,
}

impl World {
    fn new() -> Self {
        let fs = SimFs::new(1);
        fs.set_write_back(0);
        Self { fs, clock: SimClock::new(START_MS), io: IoMode::Mapped }
    }

    fn open(&self) -> Bitcask {
        let merge = MergePolicy { background: false, ..MergePolicy::default() };
        let options = Options::new().merge(merge).io(self.io).max_file_size(4 << 10).shard_bits(0);
        let options = options.on(Arc::new(self.fs.clone()), Arc::new(self.clock.clone()));
        options.without_threads().open("/db").unwrap()
    }

    /// The process dies, and the next finds the clock where it was at the start.
    fn die(&mut self) {
        self.fs = self.fs.kill();
        self.clock = SimClock::new(START_MS);
    }

    /// Files whose names end so, oldest first.
    fn files(&self, extension: &str) -> Vec<PathBuf> {
        let names =
            self.fs.file_names("/db").into_iter().map(|name| PathBuf::from("/db").join(name));
        let mut files: Vec<_> =
            names.filter(|path| path.extension().is_some_and(|e| e == extension)).collect();
        files.sort();
        files
    }
}

/// Merges the first group of files only.
fn merge_first(db: &Bitcask) {
    let mut first = None;
    let report = db.merge_with(|progress| {
        let first = *first.get_or_insert(progress.files_done);
        if progress.files_done == first {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    });
    assert!(report.unwrap().stopped);
}

/// A store with `k` expiring after an hour, in a merged file that is nearly full.
fn store_with_expiring_key(world: &World) -> Bitcask {
    let db = world.open();
    db.put_with(b"k", b"value", Duration::from_millis(HOUR_MS)).unwrap();
    db.put(b"filler", &[0; 3700]).unwrap();
    db.put(b"dead", &[0; 100]).unwrap();
    db.delete(b"dead").unwrap();
    db.merge().unwrap();
    db.merge().unwrap();
    db
}

#[test]
fn an_expiry_that_was_recorded_outlives_the_log_file_that_says_so() {
    let mut world = World::new();
    let db = store_with_expiring_key(&world);
    world.clock.advance(Duration::from_millis(HOUR_MS));
    assert!(db.get(b"k").unwrap().is_none());
    db.put(b"dead", &[0; 700]).unwrap();
    db.delete(b"dead").unwrap();
    db.close().unwrap();

    world.clock = SimClock::new(START_MS);
    let db = world.open();
    assert!(db.get(b"k").unwrap().is_none(), "recorded");
    // All log files go; the file with the key does not.
    let logs = world.files("data");
    merge_first(&db);
    assert!(logs.iter().all(|log| !world.files("data").contains(log)), "{:?}", world.files("data"));
    world.die();
    assert!(world.open().get(b"k").unwrap().is_none(), "came back");
}

#[test]
fn marks_after_the_clock_was_set_back_say_no_earlier_time() {
    let mut world = World::new();
    let db = store_with_expiring_key(&world);
    world.clock.advance(Duration::from_millis(HOUR_MS));
    db.put(b"dead", &[0; 700]).unwrap();
    db.put(&[b'd'; 300], b"").unwrap();
    db.delete(&[b'd'; 300]).unwrap();
    db.tick().unwrap();
    world.clock.set_wall_ms(START_MS);
    // The next log file says how far the log is durable, at a time when the clock says less.
    let logs = world.files("data");
    db.put(b"new", &[0; 3500]).unwrap();
    db.sync().unwrap();
    db.put(b"dead", b"now in the next file").unwrap();
    db.sync().unwrap();
    db.put(b"another", b"").unwrap();
    db.tick().unwrap();
    merge_first(&db);
    assert!(logs.iter().all(|log| !world.files("data").contains(log)), "{:?}", world.files("data"));
    world.die();
    assert!(world.open().get(b"k").unwrap().is_none(), "came back");
}

#[test]
fn who_counts_keys_is_told_that_some_have_expired_and_that_is_recorded() {
    let mut world = World::new();
    let db = world.open();
    db.put_with(b"k", b"value", SECOND).unwrap();
    db.close().unwrap();
    // Nothing is written now that would say how late it is by the way.
    let db = world.open();
    world.clock.advance(SECOND);
    assert_eq!(db.len().unwrap(), 0);
    db.close().unwrap();
    world.clock = SimClock::new(START_MS);
    let db = world.open();
    assert_eq!((db.len().unwrap(), db.get(b"k").unwrap()), (0, None));
}

/// A value that expired becomes a tombstone; the power goes before its old file does. With the clock set back the
/// tombstone must stay as long as the value is there, though neither is older.
#[test]
fn a_tombstone_made_of_an_expired_value_stays_while_the_value_is_there_twice() {
    let prepare = || {
        let world = World::new();
        let db = world.open();
        db.put(b"k", b"older").unwrap();
        db.put(b"filler 1", &[0; 3850]).unwrap();
        db.put_with(b"k", b"newer", SECOND).unwrap();
        db.put(b"filler 2", &[0; 2000]).unwrap();
        db.put(b"filler 3", &[0; 3850]).unwrap();
        db.delete(b"filler 2").unwrap();
        db.sync().unwrap();
        world.clock.advance(SECOND);
        (world, db)
    };
    let twice = |world: &World| {
        let fs: Arc<dyn Fs> = Arc::new(world.fs.kill());
        let text = bitcask::dump(&fs, "/db".as_ref()).unwrap();
        let shows = |what| text.lines().any(|line| line.contains(what) && line.contains("\"k\""));
        shows("newer") && shows("tombstone")
    };
    let (world, db) = prepare();
    let start = world.fs.op_count();
    db.merge().unwrap();
    let mut met = 0;
    for op in start..world.fs.op_count() {
        let (mut world, db) = prepare();
        world.fs.fail_at(op, Failure::Io);
        drop(db.merge());
        drop(db);
        world.die();
        if !twice(&world) {
            continue;
        }
        met += 1;
        // The file with the value is damaged elsewhere, so that it cannot be merged.
        let damaged = world
            .files("data")
            .into_iter()
            .find(|file| world.fs.read_file(file).windows(5).any(|bytes| bytes == b"newer"));
        world.fs.flip_bit(damaged.unwrap(), 1000, 0);
        let db = world.open();
        assert!(db.get(b"k").unwrap().is_none(), "time is in the merged file");
        (0..6).for_each(|_| drop(db.merge()));
        assert!(db.get(b"k").unwrap().is_none());
        db.close().unwrap();
        world.die();
        assert!(world.open().get(b"k").unwrap().is_none(), "operation {op}: came back");
    }
    assert!(met > 0);
}

#[test]
fn what_cannot_be_read_when_it_expires_is_dropped_later_and_keeps_nothing_else() {
    for op in 0..5 {
        let world = World { io: IoMode::Plain, ..World::new() };
        let db = world.open();
        for n in 0..5 {
            db.put_with(format!("k{n}").as_bytes(), b"value", SECOND * (1 + n % 2)).unwrap();
        }
        db.put(b"stays", b"value").unwrap();
        db.sync().unwrap();
        world.clock.advance(2 * SECOND);
        world.fs.fail_at(world.fs.op_count() + op, Failure::Io);
        if let Err(e) = db.tick() {
            assert_eq!(e.kind(), ErrorKind::Io);
        }
        assert_eq!(db.len().unwrap(), 1);
        world.fs.clear_faults();
        db.tick().unwrap();
        let stats = db.stats().unwrap();
        assert_eq!((stats.keys, stats.expiring_keys), (1, 0), "operation {op}");
    }
}
