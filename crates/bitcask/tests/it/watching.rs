//! Watching: every change in order, each once, batch by batch, from any sequence number on; or the answer that history is
//! gone. Compared with the list of all changes that the writer made.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use bitcask::fs::Fs;
use bitcask::fs::sim::{Failure, SimClock, SimFs};
use bitcask::{
    Bitcask, Changed, ErrorKind, Event, Expiry, IoMode, Options, ReadOnly, Watch, WriteBatch,
};

use crate::basics::TempDir;
use crate::crash::{Rng, seeds};
use crate::readers::interposed::Interposed;
use crate::readers::world::{Change, NEVER, World};

const PREFIXES: [&[u8]; 4] = [b"", b"0/", b"1/key1", b"none"];

fn change_of(event: Event) -> Change {
    let value = match event.change {
        Changed::Put { value, expiry, .. } => Some((value.into_vec(), ms_of(expiry))),
        Changed::Delete => None,
        other => panic!("{other:?}"),
    };
    let Event { seq, key, batch, is_last, .. } = event;
    Change { seq, key, value, batch, is_last }
}

fn ms_of(expiry: Expiry) -> u64 {
    match expiry {
        Expiry::At(time) => {
            u64::try_from(time.duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
        }
        _ => NEVER,
    }
}

/// What a watcher should be given: the last that it sees of a batch is the last.
fn expected(changes: &[Change], prefix: &[u8], from_seq: u64) -> Vec<Change> {
    let seen = |change: &&Change| change.seq >= from_seq && change.key.starts_with(prefix);
    let mut seen: Vec<_> = changes.iter().filter(seen).cloned().collect();
    for index in 0..seen.len() {
        let next = seen.get(index + 1);
        let goes_on =
            next.is_some_and(|next| next.batch.is_some() && next.batch == seen[index].batch);
        seen[index].is_last = !goes_on;
    }
    seen
}

/// All that is there by now.
fn drain(watch: &mut Watch) -> bitcask::Result<Vec<Change>> {
    let mut changes = Vec::new();
    while let Some(event) = watch.try_next()? {
        changes.push(change_of(event));
    }
    Ok(changes)
}

/// From which sequence number on the log is certainly whole: what the last log file says of itself.
fn whole_from(sim: &SimFs) -> u64 {
    let names = sim.file_names("/db");
    let newest = names.iter().rfind(|name| name.to_string_lossy().ends_with(".data"));
    let Some(newest) = newest else { return u64::MAX };
    let bytes = sim.read_file(Path::new("/db").join(newest));
    u64::from_le_bytes(bytes[40..48].try_into().unwrap())
}

#[test]
fn a_watch_gives_every_change_from_any_sequence_number_on_or_says_that_it_is_gone() {
    let (mut gone_count, mut whole_count) = (0, 0);
    for seed in seeds(21_000, 6) {
        let io = [IoMode::Mapped, IoMode::Plain][usize::try_from(seed % 2).unwrap()];
        println!("SEED={seed} ({io:?})");
        let sim = SimFs::new(seed);
        let fs: Arc<dyn Fs> = Arc::new(sim.clone());
        let mut world = World::new(Rng::new(seed), fs.clone(), io, Path::new("/db"));
        let readers = Arc::new(Interposed::read_only(fs));
        let options = world.options.clone().on(readers, Arc::new(world.clock.clone()));
        for _ in 0..12 {
            (0..10).for_each(|_| world.step());
            let merged =
                sim.file_names("/db").iter().any(|name| !name.to_string_lossy().ends_with("data"));
            let reader = options.clone().open_read_only("/db").unwrap();
            let whole_from = whole_from(&sim);
            for from_seq in 0..=world.db.seq().unwrap() + 2 {
                let prefix = PREFIXES[usize::try_from(from_seq % 4).unwrap()];
                let watch = if from_seq / 4 % 2 == 0 {
                    world.db.watch(prefix, from_seq)
                } else {
                    reader.watch(prefix, from_seq)
                };
                match watch.and_then(|mut watch| drain(&mut watch)) {
                    Ok(changes) => {
                        whole_count += 1;
                        let expected = expected(&world.changes, prefix, from_seq);
                        assert!(changes == expected, "from {from_seq}: {changes:?}");
                    }
                    Err(e) => {
                        assert_eq!(e.kind(), ErrorKind::Gone, "{e:?}");
                        assert!(merged && from_seq < whole_from, "from {from_seq}: {e:?}");
                        gone_count += 1;
                    }
                }
            }
        }
    }
    println!("whole: {whole_count}, gone: {gone_count}");
    assert!(gone_count > 0 && whole_count > 0);
}

/// One who watches, stops, goes on, and begins anew with a snapshot when it comes too late.
struct Watcher {
    watch: Watch,
    prefix: &'static [u8],
    /// Beside the writer, and not within its process.
    beside: Option<ReadOnly>,
    from_seq: u64,
    given: Vec<Change>,
}

impl Watcher {
    fn new(db: &Bitcask, beside: Option<ReadOnly>, prefix: &'static [u8]) -> Self {
        let from_seq = match &beside {
            Some(reader) => {
                reader.refresh().unwrap();
                reader.snapshot().seq() + 1
            }
            None => db.snapshot().unwrap().seq() + 1,
        };
        let watch = Self::open(db, beside.as_ref(), prefix, from_seq).unwrap();
        Self { watch, prefix, beside, from_seq, given: Vec::new() }
    }

    fn open(
        db: &Bitcask,
        beside: Option<&ReadOnly>,
        prefix: &[u8],
        seq: u64,
    ) -> bitcask::Result<Watch> {
        beside.map_or_else(|| db.watch(prefix, seq), |reader| reader.watch(prefix, seq))
    }

    /// Takes some of what is there; false if that is gone, or the store was closed.
    fn take(&mut self, at_most: usize) -> bool {
        for _ in 0..at_most {
            match self.watch.try_next() {
                Ok(Some(event)) => self.given.push(change_of(event)),
                Ok(None) => return true,
                Err(e) => {
                    let closed = e.kind() == ErrorKind::Invalid && self.beside.is_none();
                    assert!(closed || e.kind() == ErrorKind::Gone, "{e:?}");
                    return false;
                }
            }
        }
        true
    }

    /// Goes on with another watch; false if that had to begin anew.
    fn go_on(&mut self, db: &Bitcask) -> bool {
        let from_seq = self.watch.seq() + 1;
        match Self::open(db, self.beside.as_ref(), self.prefix, from_seq) {
            Ok(watch) => {
                self.watch = watch;
                true
            }
            Err(e) => {
                assert_eq!(e.kind(), ErrorKind::Gone, "{e:?}");
                *self = Self::new(db, self.beside.clone(), self.prefix);
                false
            }
        }
    }

    fn check(&self, changes: &[Change]) {
        let mut expected = expected(changes, self.prefix, self.from_seq);
        assert!(self.given.len() <= expected.len(), "more than there is");
        expected.truncate(self.given.len());
        assert!(self.given == expected, "given:    {:?}\nexpected: {expected:?}", self.given);
    }
}

/// The writer goes on before any operation of those who watch beside it.
#[test]
fn watchers_that_follow_stop_and_go_on_are_given_every_change_once() {
    let (mut given_count, mut gone_count) = (0, 0);
    for seed in seeds(22_000, 12) {
        let io = [IoMode::Mapped, IoMode::Plain][usize::try_from(seed % 2).unwrap()];
        println!("SEED={seed} ({io:?})");
        let fs: Arc<dyn Fs> = Arc::new(SimFs::new(seed));
        let world = World::new(Rng::new(seed), fs.clone(), io, Path::new("/db"));
        let readers = Interposed::read_only(fs);
        let options = world.options.clone();
        let options = options.on(Arc::new(readers.clone()), Arc::new(world.clock.clone()));
        let reader = options.open_read_only("/db").unwrap();
        let new = |n: usize| {
            let beside = n.is_multiple_of(2).then(|| reader.clone());
            Watcher::new(&world.db, beside, PREFIXES[n % 3])
        };
        let mut watchers: Vec<_> = (0..6).map(new).collect();
        let world = Arc::new(Mutex::new(world));
        let mut rng = Rng::new(seed + 1);
        for _ in 0..150 {
            (0..rng.below(6)).for_each(|_| world.lock().unwrap().step());
            let index = rng.below(watchers.len());
            let watcher = &mut watchers[index];
            let (mut turns, mut own, writer) = (rng.below(6), rng.clone(), world.clone());
            readers.between(move || {
                if turns > 0 && own.one_in(3) {
                    turns -= 1;
                    writer.lock().unwrap().step();
                }
            });
            let before = watcher.given.len();
            let goes_on = watcher.take(rng.pick(&[3, 1000]));
            readers.alone();
            given_count += watcher.given.len() - before;
            watcher.check(&world.lock().unwrap().changes);
            if !goes_on || rng.one_in(10) {
                gone_count += usize::from(!watcher.go_on(&world.lock().unwrap().db));
            }
        }
        for watcher in &mut watchers {
            let world = world.lock().unwrap();
            while !watcher.take(usize::MAX) {
                gone_count += usize::from(!watcher.go_on(&world.db));
            }
            watcher.check(&world.changes);
            let expected = expected(&world.changes, watcher.prefix, watcher.from_seq);
            assert_eq!(watcher.given.len(), expected.len(), "not all");
        }
    }
    println!("given: {given_count}, gone: {gone_count}");
    assert!(gone_count > 0);
}

/// A disk that fails now and then costs no change and gives none twice.
#[test]
fn after_an_error_a_watch_goes_on_where_it_was() {
    for seed in seeds(23_000, 4) {
        println!("SEED={seed}");
        let sim = SimFs::new(seed);
        let mut world =
            World::new(Rng::new(seed), Arc::new(sim.clone()), IoMode::Plain, Path::new("/db"));
        let reader = world.options.clone().open_read_only("/db").unwrap();
        let mut watch = reader.watch(b"", 1).unwrap();
        let mut given = Vec::new();
        for failing in 0..60 {
            for _ in 0..10 {
                world.put();
                world.batch();
            }
            sim.fail_at(sim.op_count() + failing % 13, Failure::Io);
            loop {
                match watch.try_next() {
                    Ok(Some(event)) => given.push(change_of(event)),
                    Ok(None) => break,
                    Err(e) => assert_eq!(e.kind(), ErrorKind::Io, "{e:?}"),
                }
            }
            sim.clear_faults();
            given.extend(drain(&mut watch).unwrap());
            assert!(given == world.changes, "after failure {failing}");
        }
    }
}

fn simple(sim: &SimFs) -> Options {
    Options::new().on(Arc::new(sim.clone()), Arc::new(SimClock::new(0))).without_threads()
}

#[test]
fn a_watch_that_began_before_the_first_put_is_given_it() {
    for io in [IoMode::Mapped, IoMode::Plain] {
        let sim = SimFs::new(1);
        let db = simple(&sim).io(io).open("/db").unwrap();
        let reader = simple(&sim).io(io).open_read_only("/db").unwrap();
        let mut watches = [
            db.watch(b"", 0).unwrap(),
            reader.watch(b"", 0).unwrap(),
            reader.watch(b"k", 1).unwrap(),
        ];
        for watch in &mut watches {
            assert_eq!(watch.try_next().unwrap(), None);
        }
        db.put(b"k", b"v").unwrap();
        for watch in &mut watches {
            let event = watch.try_next().unwrap().unwrap();
            assert_eq!((event.key, event.is_last, event.batch), (b"k".to_vec(), true, None));
            assert_eq!(watch.try_next().unwrap(), None);
            assert_eq!(watch.seq(), db.seq().unwrap());
        }
    }
}

/// A writer that dies while it goes on to the next file leaves one that may be dropped.
#[test]
fn a_watch_that_begins_where_a_writer_died_goes_on_with_the_next_one() {
    for io in [IoMode::Mapped, IoMode::Plain] {
        let mut killed = 0;
        for op in 0.. {
            let sim = SimFs::new(1);
            let options = simple(&sim).io(io).max_file_size(16 << 10);
            let value = [b'v'; 3000];
            let db = options.clone().open("/db").unwrap();
            (0..5).for_each(|_| db.put(b"before", &value).unwrap());
            sim.set_crash_point(sim.op_count() + op);
            let died = (0..5).any(|_| db.put(b"during", &value).is_err());
            drop(db);
            sim.clear_faults();
            if !died {
                break;
            }
            killed += 1;

            let reader = options.clone().open_read_only("/db").unwrap();
            let mut watch = reader.watch(b"", reader.seq() + 1).unwrap();
            assert_eq!(watch.try_next().unwrap(), None, "{io:?}, before operation {op}");
            let db = options.open("/db").unwrap();
            let mut given = 0;
            for n in 1..=12 {
                db.put(b"after", &value).unwrap();
                given += drain(&mut watch).unwrap().len();
                assert_eq!(given, n, "{io:?}, killed before operation {op}");
            }
        }
        assert!(killed > 3, "{killed}");
    }
}

/// After a power loss a file may have lost its end, and the next one be there: it does not count.
#[test]
fn a_watch_does_not_begin_behind_a_hole_in_the_log() {
    let sim = SimFs::new(1);
    let options = |sim: &SimFs| simple(sim).io(IoMode::Plain).max_file_size(16 << 10);
    let value = [b'v'; 3000];
    let db = options(&sim).open("/db").unwrap();
    (0..6).for_each(|_| db.put(b"before", &value).unwrap());
    let sim = sim.kill();
    sim.truncate("/db/000000000001.data", 64 + 3100);
    let reader = options(&sim).open_read_only("/db").unwrap();
    let mut watch = reader.watch(b"", 8).unwrap();
    assert_eq!(watch.try_next().unwrap(), None, "the reader is at {}", reader.seq());
    let db = options(&sim).open("/db").unwrap();
    assert!(db.recovery().cut.is_some());
    let (first, mut given) = (db.seq().unwrap() + 1, 0);
    for n in 1..=40 {
        db.put(b"after", &value).unwrap();
        for change in drain(&mut watch).unwrap() {
            assert!(change.seq >= first.min(8) && change.key == b"after");
            given += 1;
        }
        assert_eq!(given, n);
    }
}

/// The next checkpoint into the same directory puts other files there by the same names.
#[test]
fn who_reads_a_checkpoint_sees_the_next() {
    let sim = SimFs::new(1);
    let db = simple(&sim).max_file_size(4 << 10).open("/db").unwrap();
    db.put(b"k", b"0").unwrap();
    db.checkpoint("/backup").unwrap();
    let reader = simple(&sim).open_read_only("/backup").unwrap();
    let mut watch = reader.watch(b"", 1).unwrap();
    let (mut given, mut gone) = (0, 0);
    for n in 1..200 {
        let text = n.to_string();
        db.put(b"k", text.as_bytes()).unwrap();
        if n % 50 == 0 {
            db.merge().unwrap();
        }
        db.checkpoint("/backup").unwrap();
        reader.refresh().unwrap();
        assert_eq!(reader.get(b"k").unwrap().unwrap(), text.as_str());
        match drain(&mut watch) {
            Ok(changes) => given += changes.len(),
            Err(e) => {
                assert_eq!(e.kind(), ErrorKind::Gone, "{e:?}");
                gone += 1;
                watch = reader.watch(b"", reader.seq() + 1).unwrap();
                given = n + 1;
            }
        }
        assert_eq!(given, n + 1);
    }
    assert!(gone <= 3, "{gone}");
}

#[test]
fn the_last_of_a_batch_that_a_watcher_sees_says_so_when_later_ones_are_not_for_it() {
    let sim = SimFs::new(1);
    let db = simple(&sim).open("/db").unwrap();
    let mut batch = WriteBatch::new();
    batch.put("a1", "").put("a2", "").put("b1", "").delete("a3").put("b2", "");
    db.put(b"a0", b"").unwrap();
    db.write(&batch).unwrap();
    db.put(b"a4", b"").unwrap();
    let seen = |prefix: &[u8]| -> Vec<_> {
        let mut watch = db.watch(prefix, 1).unwrap();
        drain(&mut watch).unwrap().iter().map(|c| (c.batch.is_some(), c.is_last)).collect()
    };
    let (alone, member, last) = ((false, true), (true, false), (true, true));
    assert_eq!(seen(b"a"), [alone, member, member, last, alone]);
    assert_eq!(seen(b"b"), [member, last]);
    assert_eq!(seen(b"b1"), [last]);
    assert_eq!(seen(b""), [alone, member, member, member, member, last, alone]);
}

#[test]
fn a_watch_waits_as_long_as_it_is_told() {
    let dir = TempDir::new("watch-timeout");
    let db = Bitcask::open(dir.path()).unwrap();
    let mut watch = db.watch(b"", 1).unwrap();
    assert_eq!(watch.next_timeout(Duration::ZERO).unwrap(), None);
    assert_eq!(watch.next_timeout(Duration::from_millis(3)).unwrap(), None);
    thread::scope(|scope| {
        scope.spawn(|| db.put(b"k", b"v").unwrap());
        let event = watch.next_timeout(Duration::from_secs(600)).unwrap();
        assert_eq!(event.unwrap().key, b"k");
    });
}

#[test]
fn a_watch_as_an_iterator_ends_when_the_store_is_closed() {
    let dir = TempDir::new("watch-close");
    let db = Bitcask::open(dir.path()).unwrap();
    let mut watch = db.watch(b"", 1).unwrap();
    thread::scope(|scope| {
        let (tell, told) = std::sync::mpsc::channel();
        let watching = scope.spawn(move || {
            for event in watch.by_ref() {
                tell.send(event.unwrap().key).unwrap();
            }
            assert!(watch.next().is_none());
        });
        db.put(b"k", b"v").unwrap();
        assert_eq!(told.recv().unwrap(), b"k");
        db.close().unwrap();
        watching.join().unwrap();
    });
}
