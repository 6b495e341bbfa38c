//! Readers beside a writer, in one process: what a reader shows is the store as it was after some change, whatever
//! the writer does meanwhile, and whenever.
//!
//! The writer makes random calls (`readers/world.rs`), and every state that the store ever had is known by its sequence
//! number. The finest interleavings come from a file system that lets the other side have its turn before each
//! operation (`readers/interposed.rs`); the reader's refuses all that would change the disk.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests panic, and say what they did")]

pub(crate) mod interposed;
pub(crate) mod world;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use bitcask::fs::sim::{Failure, SimClock, SimFs};
use bitcask::fs::{Disk, Fs};
use bitcask::{
    Durability, ErrorKind, Index, IoMode, Iter, MergePolicy, Options, ReadOnly, Snapshot,
    WriteBatch,
};

use crate::basics::TempDir;
use crate::crash::{Rng, seeds};
use interposed::Interposed;
use world::{World, assert_holds, assert_shows, contents, living};

const MODES: [IoMode; 2] = [IoMode::Mapped, IoMode::Plain];

type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// Snapshots and iterators of a reader, with what they should show.
#[derive(Default)]
struct Held {
    snapshots: Vec<(Snapshot, Entries)>,
    iterators: Vec<(Iter, Entries)>,
}

impl Held {
    fn step(&mut self, rng: &mut Rng, reader: &ReadOnly) {
        match rng.below(12) {
            0 if self.snapshots.len() < 4 => {
                self.snapshots.push((reader.snapshot(), contents(reader)));
            }
            1 if self.iterators.len() < 4 => {
                self.iterators.push((reader.iter(), contents(reader)));
            }
            2 if !self.snapshots.is_empty() => {
                let index = rng.below(self.snapshots.len());
                let (snapshot, expected) = self.snapshots.swap_remove(index);
                assert_holds(&snapshot, &expected);
            }
            3 if !self.iterators.is_empty() => {
                let index = rng.below(self.iterators.len());
                let (iter, mut expected) = self.iterators.swap_remove(index);
                for entry in iter {
                    let (key, value) = entry.unwrap();
                    assert_eq!(expected.remove(&key).as_deref(), Some(&value[..]));
                }
                assert!(expected.is_empty(), "an iterator missed {expected:?}");
            }
            4 if !self.iterators.is_empty() => {
                let index = rng.below(self.iterators.len());
                let (iter, expected) = &mut self.iterators[index];
                if let Some(entry) = iter.next() {
                    let (key, value) = entry.unwrap();
                    assert_eq!(expected.remove(&key).as_deref(), Some(&value[..]));
                }
            }
            _ => {}
        }
    }
}

fn reader_options(world: &World, fs: Arc<dyn Fs>, io: IoMode) -> Options {
    let clock: SimClock = world.clock.clone();
    world.options.clone().io(io).on(fs, Arc::new(clock))
}

/// A writer and a reader take turns, call by call.
fn take_turns(
    (seed, steps): (u64, usize),
    fs: Arc<dyn Fs>,
    (io, reader_io): (IoMode, IoMode),
    path: &Path,
) {
    println!("SEED={seed} ({io:?}, read {reader_io:?})");
    let mut rng = Rng::new(seed);
    let mut world = World::new(Rng::new(seed + 1), fs.clone(), io, path);
    let options = reader_options(&world, Arc::new(Interposed::read_only(fs)), reader_io);
    let mut reader = options.clone().open_read_only(path).unwrap();
    let mut shown = world.map.clone();
    let mut held = Held::default();
    for _ in 0..steps {
        world.step();
        held.step(&mut rng, &reader);
        match rng.below(8) {
            0..3 => {
                let before = reader.seq();
                reader.refresh().unwrap();
                assert!(reader.seq() >= before);
                shown = world.map.clone();
                assert!(world.state_at(reader.seq()) == shown, "at {}", reader.seq());
                assert!(reader.seq() <= world.db.seq().unwrap());
            }
            3 if rng.one_in(8) => {
                reader = options.clone().open_read_only(path).unwrap();
                shown = world.map.clone();
                assert!(world.state_at(reader.seq()) == shown, "at {}", reader.seq());
            }
            4 => assert_shows(&reader, &shown, world.now_ms()),
            _ => {}
        }
    }
    world.db.close().unwrap();
    reader.refresh().unwrap();
    assert_shows(&reader, &world.map, world.now_ms());
}

#[test]
fn a_reader_shows_the_store_as_of_its_last_refresh_on_a_simulated_disk() {
    for seed in seeds(11_000, 8) {
        let pick = |n: u64| MODES[usize::try_from(n % 2).unwrap()];
        let modes = (pick(seed), pick(seed / 2));
        take_turns((seed, 400), Arc::new(SimFs::new(seed)), modes, Path::new("/db"));
    }
}

#[test]
fn a_reader_shows_the_store_as_of_its_last_refresh_on_a_real_disk() {
    for seed in seeds(12_000, 1) {
        for io in MODES {
            let dir = TempDir::new(&format!("readers-{io:?}"));
            take_turns((seed, 120), Arc::new(Disk), (io, io), dir.path());
        }
    }
}

/// Before each operation of the writer a reader looks: one that is refreshed, sometimes a new one.
#[test]
fn within_any_call_of_the_writer_a_reader_sees_the_store_before_or_after_it() {
    for seed in seeds(13_000, 8) {
        let io = MODES[usize::try_from(seed % 2).unwrap()];
        println!("SEED={seed} ({io:?})");
        let sim = SimFs::new(seed);
        let writers = Interposed::new(Arc::new(sim.clone()));
        let mut world = World::new(Rng::new(seed), Arc::new(writers.clone()), io, Path::new("/db"));
        world.put();
        let readers = Arc::new(Interposed::read_only(Arc::new(sim)));
        let options = reader_options(&world, readers, io);
        let reader = options.clone().open_read_only("/db").unwrap();
        let (mut rng, clock, under_way) =
            (Rng::new(seed + 1), world.clock.clone(), world.under_way.clone());
        writers.between(move || {
            if !rng.one_in(3) {
                return;
            }
            reader.refresh().unwrap();
            let fresh = rng.one_in(8).then(|| options.clone().open_read_only("/db").unwrap());
            let mut under_way = under_way.lock().unwrap();
            let now_ms = bitcask::fs::Clock::wall_ms(&clock);
            for reader in [Some(&reader), fresh.as_ref()].into_iter().flatten() {
                let shown = contents(reader);
                if shown == living(&under_way.after, now_ms) {
                    // From now on there is no way back.
                    under_way.before = under_way.after.clone();
                } else {
                    assert!(
                        shown == living(&under_way.before, now_ms),
                        "at {}: neither the store before nor after",
                        reader.seq()
                    );
                }
            }
        });
        for _ in 0..150 {
            world.step();
        }
        writers.alone();
    }
}

/// Before each operation of the reader the writer makes some calls.
#[test]
fn whatever_the_writer_does_while_a_reader_looks_it_shows_a_state_that_was() {
    for seed in seeds(14_000, 16) {
        let io = MODES[usize::try_from(seed % 2).unwrap()];
        println!("SEED={seed} ({io:?})");
        let sim: Arc<dyn Fs> = Arc::new(SimFs::new(seed));
        let world = World::new(Rng::new(seed), sim.clone(), io, Path::new("/db"));
        let readers = Interposed::read_only(sim);
        let options = reader_options(&world, Arc::new(readers.clone()), io);
        let world = Arc::new(Mutex::new(world));
        let mut reader = options.clone().open_read_only("/db").unwrap();
        let mut rng = Rng::new(seed + 1);
        let mut held = Held::default();
        for _ in 0..80 {
            let (mut turns, mut own, writer) = (rng.below(30), rng.clone(), world.clone());
            let one_in = rng.pick(&[1, 2, 6, 20]);
            (0..rng.below(8)).for_each(|_| world.lock().unwrap().step());
            let written = world.lock().unwrap().db.seq().unwrap();
            readers.between(move || {
                if turns > 0 && own.one_in(one_in) {
                    turns -= 1;
                    writer.lock().unwrap().step();
                }
            });
            let fresh = rng.one_in(4);
            if fresh {
                reader = options.clone().open_read_only("/db").unwrap();
            } else {
                reader.refresh().unwrap();
            }
            readers.alone();
            let world = world.lock().unwrap();
            let state = world.state_at(reader.seq());
            assert_shows(&reader, &state, world.now_ms());
            let since = world.changes.iter().filter(|change| change.seq <= written).count();
            let shown = world.changes.iter().filter(|change| change.seq <= reader.seq()).count();
            // What is dead may leave no trace in the directory: nothing differs then.
            let same = *state == *world.state_at(written);
            assert!(
                shown >= since || same,
                "written up to {written}, then refreshed (anew: {fresh}), shown up to {}",
                reader.seq()
            );
            drop(world);
            held.step(&mut rng, &reader);
        }
    }
}

/// All files of a directory of the simulated disk.
fn files(sim: &SimFs) -> BTreeMap<std::ffi::OsString, Vec<u8>> {
    let bytes = |name: &std::ffi::OsString| sim.read_file(Path::new("/db").join(name));
    sim.file_names("/db").into_iter().map(|name| (name.clone(), bytes(&name))).collect()
}

/// The power goes, or the writer dies, at any operation: who then reads without mending sees what mending would find.
#[test]
fn a_crashed_store_is_read_up_to_where_it_ends_and_not_changed() {
    let mut states = 0;
    for seed in seeds(15_000, 6) {
        let io = MODES[usize::try_from(seed % 2).unwrap()];
        println!("SEED={seed} ({io:?})");
        let sim = SimFs::new(seed);
        let writers = Interposed::new(Arc::new(sim.clone()));
        let mut world = World::new(Rng::new(seed), Arc::new(writers.clone()), io, Path::new("/db"));
        let images: Arc<Mutex<Vec<(SimFs, bool)>>> = Arc::default();
        let (mut rng, taken) = (Rng::new(seed + 1), images.clone());
        writers.between(move || {
            if rng.one_in(12) {
                let killed = rng.one_in(2);
                let image = if killed { sim.kill() } else { sim.crash(rng.next() % 64) };
                taken.lock().unwrap().push((image, killed));
            }
        });
        for _ in 0..80 {
            let (&before, _) = world.history.last_key_value().unwrap();
            world.step();
            for (image, killed) in std::mem::take(&mut *images.lock().unwrap()) {
                let readers = Arc::new(Interposed::read_only(Arc::new(image.clone())));
                let bytes = files(&image);
                let reader = match reader_options(&world, readers, io).open_read_only("/db") {
                    Err(e) if e.kind() == ErrorKind::Invalid => {
                        assert!(bytes.keys().all(|name| !name.to_string_lossy().contains("data")));
                        continue;
                    }
                    reader => reader.unwrap(),
                };
                states += 1;
                let (shown, now_ms) = (contents(&reader), world.now_ms());
                let is = |map: &world::Map| living(map, now_ms) == shown;
                let since = if killed { before } else { 0 };
                let was = world.history.range(since..).any(|(_, map)| is(map));
                let after = is(&world.map) || is(&world.under_way.lock().unwrap().after);
                assert!(was || after, "killed: {killed}; at {}", reader.seq());
                reader.refresh().unwrap();
                assert!(files(&image) == bytes, "a reader changed something");
                let mended = reader_options(&world, Arc::new(image), io).open("/db").unwrap();
                let mended: BTreeMap<_, _> =
                    mended.iter().map(Result::unwrap).map(|(k, v)| (k, v.into_vec())).collect();
                assert!(mended == shown, "recovery found something else");
            }
        }
        writers.alone();
    }
    println!("crash states: {states} (read beside)");
}

/// Calls of a reader fail at any operation: it then shows what it showed, or more, and catches up later.
#[test]
fn after_an_error_a_reader_shows_a_state_that_was_and_catches_up() {
    for seed in seeds(16_000, 4) {
        println!("SEED={seed}");
        let sim = SimFs::new(seed);
        let mut world =
            World::new(Rng::new(seed), Arc::new(sim.clone()), IoMode::Plain, Path::new("/db"));
        let reader = world.options.clone().open_read_only("/db").unwrap();
        let mut failed_count = 0;
        for failing in 0..100 {
            (0..8).for_each(|_| world.step());
            let before = reader.seq();
            sim.fail_at(sim.op_count() + failing % 40, Failure::Io);
            let failed = reader.refresh();
            sim.clear_faults();
            failed_count += usize::from(failed.is_err());
            assert!(reader.seq() >= before);
            assert_shows(&reader, &world.state_at(reader.seq()), world.now_ms());
            reader.refresh().unwrap();
            assert_shows(&reader, &world.map, world.now_ms());
        }
        assert!(failed_count > 20, "{failed_count}");
    }
}

fn simple(sim: &SimFs) -> Options {
    let merge = MergePolicy { background: false, ..MergePolicy::default() };
    Options::new()
        .on(Arc::new(sim.clone()), Arc::new(SimClock::new(0)))
        .without_threads()
        .merge(merge)
        .shard_bits(0)
}

#[test]
fn a_reader_of_nothing_is_refused_and_one_of_an_empty_store_sees_its_first_put() {
    let sim = SimFs::new(1);
    let refused = simple(&sim).open_read_only("/db").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    sim.create_dir(Path::new("/db")).unwrap();
    let refused = simple(&sim).open_read_only("/db").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);

    let db = simple(&sim).open("/db").unwrap();
    let reader = simple(&sim).open_read_only("/db").unwrap();
    assert!(reader.is_empty());
    reader.refresh().unwrap();
    assert_eq!(reader.seq(), 0);
    db.put(b"k", b"v").unwrap();
    reader.refresh().unwrap();
    assert_eq!(reader.get(b"k").unwrap().unwrap(), "v");
    assert_eq!(reader.len(), 1);
}

/// In another thread, before each operation of the one that refreshes.
#[test]
fn who_reads_while_another_refreshes_sees_batches_whole() {
    let sim = SimFs::new(1);
    let options = || simple(&sim).io(IoMode::Plain);
    let db = options().open("/db").unwrap();
    let write = |n: u64| {
        let mut batch = WriteBatch::new();
        batch.put("a", n.to_string()).delete("c").put("b", n.to_string()).put("c", n.to_string());
        db.write(&batch).unwrap();
    };
    write(0);
    let readers = Interposed::read_only(Arc::new(sim.clone()));
    let reader = options().on(Arc::new(readers.clone()), Arc::new(SimClock::new(0)));
    let reader = reader.open_read_only("/db").unwrap();
    let looks = Arc::new(AtomicU64::new(0));
    let (beside, counted) = (reader.clone(), looks.clone());
    readers.between(move || {
        let values = thread::scope(|scope| {
            let get = || beside.get_many(&["a", "b", "c"]).unwrap();
            scope.spawn(get).join().unwrap()
        });
        assert!(values[0] == values[1] && values[1] == values[2], "{values:?}");
        counted.fetch_add(1, Ordering::Relaxed);
    });
    for n in 1..20 {
        write(n);
        write(n + 100);
        reader.refresh().unwrap();
    }
    readers.alone();
    assert!(looks.load(Ordering::Relaxed) > 100);
    assert_eq!(reader.get(b"c").unwrap().unwrap(), "119");
}

/// Damage to what was read already is told by the get; damage to what comes next, by refreshing and by watching.
#[test]
fn a_reader_is_told_of_damage_and_goes_on_with_what_it_had() {
    for io in [IoMode::Mapped, IoMode::Plain] {
        for ends in [false, true] {
            let sim = SimFs::new(1);
            let options = || simple(&sim).io(io).durability(Durability::Always).max_file_size(4096);
            let db = options().open("/db").unwrap();
            db.put(b"a", b"1").unwrap();
            let reader = options().open_read_only("/db").unwrap();
            let mut watch = reader.watch(b"", reader.seq() + 1).unwrap();
            let active = db.stats().unwrap().files.into_iter().find(|file| file.active).unwrap();
            // Where the mark of the first put is, and behind it the second.
            db.put(b"b", b"2").unwrap();
            db.put(b"c", b"3").unwrap();
            if ends {
                // The file is finished, and the next one has records.
                db.put(b"d", &[0; 5000]).unwrap();
            }
            sim.flip_bit(&active.path, active.bytes + 70, 3);
            let told = (0..4).map(|_| reader.refresh()).find_map(Result::err).unwrap();
            assert_eq!(told.kind(), ErrorKind::Corrupt, "{told:?}");
            assert_eq!(told.path(), Some(&*active.path));
            assert_eq!(reader.get(b"a").unwrap().unwrap(), "1");
            assert_eq!(reader.get(b"b").unwrap(), None);
            let told = (0..4).map(|_| watch.try_next()).find_map(Result::err).unwrap();
            assert_eq!(told.kind(), ErrorKind::Corrupt, "{told:?}");

            sim.flip_bit(&active.path, active.bytes - 4, 3);
            assert_eq!(reader.get(b"a").unwrap_err().kind(), ErrorKind::Corrupt);
        }
    }
}

/// Files of this directory that have no name any more, and that this process keeps open or mapped.
fn deleted_and_held(dir: &Path) -> Vec<String> {
    let links = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let links = links.filter_map(|link| std::fs::read_link(link.path()).ok());
    let mut held: Vec<_> = links.map(|path| path.display().to_string()).collect();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    held.extend(maps.lines().map(str::to_owned));
    let dir = dir.display().to_string();
    held.retain(|held| held.contains(&dir) && held.contains("(deleted)"));
    held
}

#[test]
fn files_that_were_merged_away_are_let_go_after_a_refresh() {
    for io in MODES {
        let dir = TempDir::new(&format!("readers-held-{io:?}"));
        let merge = MergePolicy { background: false, ..MergePolicy::default() };
        let options =
            || Options::new().io(io).merge(merge.clone()).max_file_size(16 << 10).without_threads();
        let db = options().open(dir.path()).unwrap();
        let put = |round: u8| {
            (0..100_u8).for_each(|n| db.put(&[n], &[round; 900]).unwrap());
        };
        put(1);
        let reader = options().open_read_only(dir.path()).unwrap();
        let mut watch = reader.watch(b"", reader.seq() + 1).unwrap();
        let (snapshot, mut iter) = (reader.snapshot(), reader.iter());
        iter.next();
        put(2);
        put(3);
        db.merge().unwrap();
        assert!(!deleted_and_held(dir.path()).is_empty(), "they can still be read");
        reader.refresh().unwrap();
        assert_eq!(snapshot.get(&[7]).unwrap().unwrap(), &[1; 900][..]);
        assert_eq!(iter.count(), 99);
        assert!(!deleted_and_held(dir.path()).is_empty(), "the snapshot needs them");
        drop(snapshot);
        let gone = std::iter::from_fn(|| watch.try_next().transpose()).find_map(Result::err);
        assert_eq!(gone.unwrap().kind(), ErrorKind::Gone);
        drop(watch);
        assert_eq!(deleted_and_held(dir.path()), Vec::<String>::new());
        assert_eq!(reader.get(&[7]).unwrap().unwrap(), &[3; 900][..]);

        // A watch holds the file that it is in, and not what the reader had when it began.
        let mut watch = reader.watch(b"", reader.seq() + 1).unwrap();
        put(4);
        put(5);
        while watch.try_next().unwrap().is_some() {}
        db.merge().unwrap();
        reader.refresh().unwrap();
        let held = deleted_and_held(dir.path());
        assert!(held.len() <= 1, "{held:?}");
    }
}

#[test]
fn a_reader_verifies_and_measures_what_it_sees_and_knows_all_that_a_snapshot_knows() {
    for seed in seeds(5_500, 8) {
        let io = MODES[usize::try_from(seed % 2).unwrap()];
        let sim = SimFs::new(seed);
        let fs: Arc<dyn Fs> = Arc::new(sim.clone());
        let mut world = World::new(Rng::new(seed), fs.clone(), io, Path::new("/db"));
        let readers = Arc::new(Interposed::read_only(fs));
        let options = reader_options(&world, readers, io).index(Index::Ordered);
        let reader = options.open_read_only("/db").unwrap();
        for _ in 0..60 {
            (0..5).for_each(|_| world.step());
            // What it knew may be merged away, and is no damage.
            assert!(reader.verify().unwrap().is_clean());
            reader.refresh().unwrap();
            let report = reader.verify().unwrap();
            assert!(report.is_clean(), "{seed}: {report:?}");

            let (ours, theirs) = (reader.stats(), world.db.stats().unwrap());
            assert_eq!((ours.keys, ours.seq), (theirs.keys, reader.seq()));
            for (file, whole) in ours.files.iter().zip(&theirs.files) {
                assert_eq!((file.id, file.merged), (whole.id, whole.merged));
                // Marks are not followed, and what is dead is known as far as it was seen to die.
                assert!(file.dead_bytes <= file.bytes && file.bytes <= whole.bytes, "{file:?}");
            }

            let snapshot = reader.snapshot();
            let now = living(&world.map, world.now_ms());
            assert_eq!(reader.first().unwrap().map(|e| e.0), now.keys().next().cloned());
            assert_eq!(reader.last().unwrap().map(|e| e.0), now.keys().next_back().cloned());
            for (key, value) in now.iter().take(5) {
                let expiry = world.db.expires_at(key).unwrap();
                assert_eq!(reader.expires_at(key).unwrap(), expiry);
                assert_eq!(snapshot.expires_at(key).unwrap(), expiry);
                for read in [reader.get_reader(key), snapshot.get_reader(key)] {
                    let mut bytes = Vec::new();
                    read.unwrap().unwrap().read_to_end(&mut bytes).unwrap();
                    assert_eq!(&bytes, value);
                }
            }
        }
        let damaged =
            sim.file_names("/db").into_iter().find(|n| n.to_string_lossy().ends_with("data"));
        sim.flip_bit(Path::new("/db").join(damaged.unwrap()), 100, 3);
        assert!(!reader.verify().unwrap().is_clean());
    }
}
