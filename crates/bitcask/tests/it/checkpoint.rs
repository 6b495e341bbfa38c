//! Backups of an open store: what they hold, whatever happens while they are made.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests panic, and say what they did")]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use bitcask::fs::sim::{Failure, SimClock, SimFs};
use bitcask::fs::{Access, Fs};
use bitcask::{Bitcask, CheckpointReport, Durability, ErrorKind, IoMode, MergePolicy, Options};

use crate::basics::TempDir;
use crate::crash::Rng;

type Contents = BTreeMap<Vec<u8>, Vec<u8>>;

const STORE: &str = "/top/db";
const TARGET: &str = "/top/backup";
const STAGING: &str = "/top/.backup.checkpoint";

fn options() -> Options {
    let merge = MergePolicy { background: false, ..MergePolicy::default() };
    Options::new().max_file_size(4 << 10).merge(merge).durability(Durability::Always)
}

fn open_at(fs: &SimFs, path: &str) -> Bitcask {
    open_with(options(), fs, path)
}

fn open_with(options: Options, fs: &SimFs, path: &str) -> Bitcask {
    let clock = Arc::new(SimClock::new(0));
    let options = options.on(Arc::new(fs.clone()), clock).without_threads().shard_bits(0);
    options.open(path).unwrap_or_else(|e| panic!("cannot open {path}: {e:?}"))
}

fn contents(db: &Bitcask) -> Contents {
    db.iter().map(|entry| entry.map(|(key, value)| (key, value.into_vec())).unwrap()).collect()
}

fn exists(fs: &SimFs, path: &str) -> bool {
    fs.list(Path::new(path)).is_ok()
}

/// All files and what is in them, and all directories.
fn everything(fs: &SimFs) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut all = BTreeMap::new();
    let mut open = vec![PathBuf::from("/")];
    while let Some(path) = open.pop() {
        let file = fs.open(&path, Access::Read).is_ok().then(|| fs.read_file(&path));
        if let (None, Ok(entries)) = (&file, fs.list(&path)) {
            open.extend(entries.into_iter().map(|entry| path.join(entry.name)));
        }
        all.insert(path, file);
    }
    all
}

/// What a directory holds when it is opened; on a copy of the disk, which stays as it is.
fn held_by(fs: &SimFs, path: &str) -> Contents {
    let fs = fs.kill();
    let db = open_at(&fs, path);
    assert_eq!(db.recovery().cut, None, "{path} is whole");
    contents(&db)
}

/// Puts, overwrites and deletes, about one file of each round.
fn write_round(db: &Bitcask, round: u8) {
    for n in 0..10 {
        let value = vec![round; 300 + usize::from(n)];
        db.put(&[n % 7, b'k'], &value).unwrap();
        if n % 4 == 0 {
            db.delete(&[n, b'k']).unwrap();
        }
    }
    db.put(&[b'r', round], b"of this round").unwrap();
}

/// A store of some sealed files, a merged one among them, and an active one.
fn store(fs: &SimFs) -> Bitcask {
    let db = open_at(fs, STORE);
    for round in 0..4 {
        write_round(&db, round);
    }
    db.merge().unwrap();
    write_round(&db, 4);
    db
}

fn disk(seed: u64) -> SimFs {
    let fs = SimFs::new(seed);
    fs.create_dir(Path::new("/top")).unwrap();
    fs
}

fn shared(report: &CheckpointReport) -> usize {
    report.files_linked + report.files_reused
}

#[test]
fn a_checkpoint_is_the_store_of_that_moment_and_goes_its_own_way() {
    for mode in [IoMode::Mapped, IoMode::Plain] {
        let dir = TempDir::new(&format!("checkpoint-{mode:?}"));
        let (path, target) = (dir.path().join("db"), dir.path().join("new/backup"));
        let db = options().io(mode).durability(Durability::Os).open(&path).unwrap();
        for round in 0..4 {
            write_round(&db, round);
        }
        db.merge().unwrap();
        for round in 4..10 {
            write_round(&db, round);
        }
        let then = contents(&db);
        let report = db.checkpoint(&target).unwrap();
        assert_eq!(report.seq, db.stats().unwrap().seq);
        assert!(report.files_linked > 4 && report.files_copied == 1, "{report:?}");

        // What is written to either is seen in that one only, also in files that both have.
        write_round(&db, 10);
        let now = contents(&db);
        let copy = options().io(mode).open(&target).unwrap();
        assert_eq!(copy.recovery().cut, None);
        assert!(contents(&copy) == then);
        for round in 20..30 {
            write_round(&copy, round);
        }
        copy.merge().unwrap();
        let copied = contents(&copy);
        assert!(contents(&db) == now);
        copy.close().unwrap();
        db.merge().unwrap();
        db.close().unwrap();
        for (path, expected) in [(&path, &now), (&target, &copied)] {
            let db = options().io(mode).open(path).unwrap();
            assert_eq!(db.recovery().cut, None);
            assert!(contents(&db) == *expected, "{}", path.display());
        }
    }
}

#[test]
fn a_checkpoint_in_the_same_place_copies_only_the_tail_and_drops_what_was_merged_away() {
    let fs = disk(0);
    let db = store(&fs);
    let first = db.checkpoint(TARGET).unwrap();
    for round in 5..9 {
        write_round(&db, round);
    }
    // So that hints that a checkpoint would have written are there.
    db.tick().unwrap();
    let used = fs.used_bytes();
    let second = db.checkpoint(TARGET).unwrap();
    assert_eq!((second.files_copied, second.files_reused), (1, 0), "{second:?}");
    assert!(second.files_linked > first.files_linked, "{first:?} {second:?}");
    assert!(fs.used_bytes() - used < 8 << 10, "files are on the disk once");
    assert!(held_by(&fs, TARGET) == contents(&db));

    db.merge().unwrap();
    db.checkpoint(TARGET).unwrap();
    let names = |dir| BTreeSet::from_iter(fs.file_names(dir));
    assert!(names(TARGET).is_subset(&names(STORE)));
    assert!(held_by(&fs, TARGET) == contents(&db));
    assert!(!exists(&fs, STAGING));
}

#[test]
fn files_merged_away_in_the_store_stay_in_the_checkpoint() {
    let fs = disk(0);
    let db = store(&fs);
    let then = contents(&db);
    db.checkpoint(TARGET).unwrap();
    for round in 5..9 {
        write_round(&db, round);
    }
    db.merge().unwrap();
    assert!(held_by(&fs, TARGET) == then);
    for seed in 0..8 {
        assert!(held_by(&fs.crash(seed), TARGET) == then);
    }
}

#[test]
fn an_empty_store_has_an_empty_checkpoint() {
    let fs = disk(0);
    let db = open_at(&fs, STORE);
    let report = db.checkpoint(TARGET).unwrap();
    assert_eq!((shared(&report), report.files_copied), (0, 0));
    assert!(held_by(&fs, TARGET).is_empty());
    db.put(b"a", b"b").unwrap();
    db.checkpoint(TARGET).unwrap();
    assert_eq!(held_by(&fs, TARGET).len(), 1);
}

#[test]
fn on_another_file_system_files_are_copied_once() {
    let fs = disk(0);
    fs.create_dir(Path::new("/usb")).unwrap();
    fs.mount_at("/usb");
    let db = store(&fs);
    let first = db.checkpoint("/usb/backup").unwrap();
    assert_eq!(shared(&first), 0, "{first:?}");
    assert!(held_by(&fs, "/usb/backup") == contents(&db));
    for round in 5..7 {
        write_round(&db, round);
    }
    let second = db.checkpoint("/usb/backup").unwrap();
    assert_eq!((second.files_linked, second.files_reused), (0, first.files_copied - 1));
    assert!(second.files_copied > 1, "{second:?}");
    assert!(held_by(&fs, "/usb/backup") == contents(&db));
    let third = db.checkpoint("/usb/backup").unwrap();
    assert_eq!(third.files_copied, 1, "{third:?}");
}

/// Somebody opened the checkpoint and wrote to it, so that a file there has the name, length and first pages of one of
/// the store, but not its contents.
#[test]
fn files_that_only_look_the_same_are_not_reused() {
    let fs = disk(0);
    fs.create_dir(Path::new("/usb")).unwrap();
    fs.mount_at("/usb");
    let open = |path: &str| open_with(options().max_file_size(16 << 10), &fs, path);
    let db = open(STORE);
    db.put(b"a", &[0; 10_000]).unwrap();
    db.checkpoint("/usb/backup").unwrap();
    let write = |db: &Bitcask, value: u8| {
        for n in 0..9 {
            db.put(&[n], &[value; 1000]).unwrap();
        }
        db.tick().unwrap();
    };
    let copy = open("/usb/backup");
    write(&copy, 1);
    copy.close().unwrap();
    write(&db, 2);
    let alike = fs.file_names("/usb/backup").into_iter().filter(|name| {
        let of = |dir: &str| fs.read_file(Path::new(dir).join(name));
        let is_data = Path::new(name).extension().is_some_and(|kind| kind == "data");
        is_data && fs.file_names(STORE).contains(name) && {
            let (here, there) = (of(STORE), of("/usb/backup"));
            here.len() == there.len() && here[..8192] == there[..8192] && here != there
        }
    });
    assert!(alike.count() > 0, "the test has something to test");
    let report = db.checkpoint("/usb/backup").unwrap();
    assert_eq!(report.files_reused, 0, "{report:?}");
    assert!(held_by(&fs, "/usb/backup") == contents(&db));
}

#[test]
fn a_checkpoint_does_without_a_hint_that_is_gone() {
    for target in [TARGET, "/usb/backup"] {
        let fs = disk(0);
        fs.create_dir(Path::new("/usb")).unwrap();
        fs.mount_at("/usb");
        let db = store(&fs);
        db.checkpoint(target).unwrap();
        let is_hint = |name: &std::ffi::OsString| Path::new(name).extension().unwrap() == "hint";
        let hints = fs.file_names(STORE).into_iter().filter(|name| *name != "LOCK");
        let hint = hints.into_iter().find(is_hint).unwrap();
        fs.remove_file(Path::new(STORE).join(hint));
        db.checkpoint(target).unwrap();
        assert!(held_by(&fs, target) == contents(&db));
    }
}

#[test]
fn a_stopped_checkpoint_leaves_the_target_as_it_was() {
    let fs = disk(0);
    fs.create_dir(Path::new("/usb")).unwrap();
    fs.mount_at("/usb");
    let db = store(&fs);
    for target in [TARGET, "/usb/backup"] {
        let stop = |at: usize| {
            let mut calls = 0;
            let mut last = None;
            let report = db.checkpoint_with(target, |progress| {
                calls += 1;
                last = Some(progress.clone());
                if calls > at { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            (report.unwrap(), last.unwrap())
        };
        assert!(stop(2).0.stopped);
        assert!(!exists(&fs, target));
        let (report, last) = stop(usize::MAX);
        assert!(!report.stopped);
        assert_eq!((last.files, last.bytes), (last.files_done, last.bytes_done));
        let old = contents(&db);
        write_round(&db, 5);
        assert!(stop(0).0.stopped);
        assert!(held_by(&fs, target) == old);
        assert!(!exists(&fs, STAGING) && !exists(&fs, "/usb/.backup.checkpoint"));
    }
}

#[test]
fn targets_that_are_not_for_checkpoints_are_refused_and_left_alone() {
    let fs = disk(0);
    for dir in ["/usb", "/top/foreign"] {
        fs.create_dir(Path::new(dir)).unwrap();
    }
    fs.mount_at("/usb");
    let db = store(&fs);
    fs.write_file("/top/foreign/notes.txt", b"precious");
    fs.write_file("/top/file", b"precious");
    fs.create_dir(Path::new("/top/.b.checkpoint")).unwrap();
    fs.write_file("/top/.b.checkpoint/notes.txt", b"precious");
    let other = open_at(&fs, "/top/other");
    other.put(b"k", b"v").unwrap();
    other.close().unwrap();
    let cases = [
        (STORE, ErrorKind::Invalid, "in the directory of the store"),
        ("/top/db/sub/deep", ErrorKind::Invalid, "in the directory of the store"),
        ("/top", ErrorKind::Invalid, "nor around it"),
        ("/", ErrorKind::Invalid, "not the path of a directory"),
        ("/top/file", ErrorKind::Invalid, "not the path of a directory"),
        ("/top/foreign", ErrorKind::Invalid, "notes.txt"),
        ("/top/other", ErrorKind::Invalid, "another store"),
        ("/top/b", ErrorKind::Invalid, "notes.txt"),
        ("/usb", ErrorKind::Invalid, "mount point"),
    ];
    for (target, kind, what) in cases {
        let before = everything(&fs);
        let error = db.checkpoint(target).unwrap_err();
        assert_eq!(error.kind(), kind, "{target}: {error:?}");
        assert!(error.to_string().contains(what), "{target}: {error:?}");
        assert!(before == everything(&fs), "{target}");
    }
    db.put(b"still", b"works").unwrap();
}

/// The store is never cleared away as what an earlier checkpoint left.
#[test]
fn a_store_that_is_named_like_a_staging_directory_is_not_touched() {
    let fs = disk(0);
    let db = open_at(&fs, STAGING);
    write_round(&db, 0);
    let before = everything(&fs);
    let error = db.checkpoint(TARGET).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error:?}");
    assert!(before == everything(&fs));
    db.close().unwrap();
    let before = everything(&fs);
    let error = store(&fs).checkpoint(TARGET).unwrap_err();
    assert!(error.to_string().contains("another store"), "{error:?}");
    let mut after = everything(&fs);
    after.retain(|path, _| !path.starts_with(STORE));
    assert!(before == after);
}

#[test]
fn a_checkpoint_that_is_open_is_not_replaced() {
    let fs = disk(0);
    let db = store(&fs);
    db.checkpoint(TARGET).unwrap();
    let old = contents(&db);
    let copy = open_at(&fs, TARGET);
    write_round(&db, 5);
    assert_eq!(db.checkpoint(TARGET).unwrap_err().kind(), ErrorKind::Locked);
    assert!(contents(&copy) == old);
    copy.close().unwrap();
    db.checkpoint(TARGET).unwrap();
    assert!(held_by(&fs, TARGET) == contents(&db));
}

#[test]
fn a_closed_or_poisoned_store_makes_no_checkpoint() {
    let fs = disk(0);
    let db = store(&fs);
    fs.fail_from(fs.op_count(), Failure::Io);
    db.put(b"a", b"b").unwrap_err();
    fs.clear_faults();
    assert_eq!(db.checkpoint(TARGET).unwrap_err().kind(), ErrorKind::Poisoned);
    assert!(!exists(&fs, TARGET) && !exists(&fs, STAGING));
    drop(db);
    let db = open_at(&fs, STORE);
    db.close().unwrap();
    assert_eq!(db.checkpoint(TARGET).unwrap_err().kind(), ErrorKind::Invalid);
}

/// What a target may hold.
struct Allowed {
    /// Whether it may not be there at all.
    nothing: bool,
    states: Vec<Contents>,
}

impl Allowed {
    fn check(&self, fs: &SimFs, target: &str) {
        if exists(fs, target) {
            let held = held_by(fs, target);
            assert!(self.states.contains(&held), "the target holds none of the states it may");
        } else {
            assert!(self.nothing, "the target is gone");
        }
    }
}

/// A disk with a store, closed, and perhaps a checkpoint of it, to which `open_and_write` adds.
struct Scene {
    base: SimFs,
    target: &'static str,
    old: Option<Contents>,
}

impl Scene {
    fn new(target: &'static str, repeated: bool) -> Self {
        let fs = disk(0);
        fs.create_dir(Path::new("/usb")).unwrap();
        fs.mount_at("/usb");
        let db = store(&fs);
        let old = repeated.then(|| {
            db.checkpoint(target).unwrap();
            contents(&db)
        });
        db.close().unwrap();
        Self { base: fs.kill(), target, old }
    }

    fn all() -> impl Iterator<Item = Self> {
        let cases =
            [(TARGET, false), (TARGET, true), ("/usb/backup", false), ("/usb/backup", true)];
        cases.into_iter().map(|(target, repeated)| Self::new(target, repeated))
    }

    fn open_and_write(&self, write_back: u32) -> (SimFs, Bitcask) {
        let fs = self.base.kill();
        fs.set_write_back(write_back);
        let db = open_at(&fs, STORE);
        write_round(&db, 5);
        (fs, db)
    }

    /// The operations of a checkpoint.
    fn ops(&self, write_back: u32) -> std::ops::Range<u64> {
        let (fs, db) = self.open_and_write(write_back);
        let from = fs.op_count();
        db.checkpoint(self.target).unwrap();
        from..fs.op_count()
    }

    /// What the target may hold when the checkpoint has ended so.
    fn allowed(&self, new: &Contents, is_done: bool) -> Allowed {
        let old = self.old.iter().filter(|_| !is_done);
        let states = old.chain([new]).cloned().collect();
        Allowed { nothing: self.old.is_none() && !is_done, states }
    }
}

#[test]
fn a_crash_at_every_operation_leaves_the_old_checkpoint_or_the_new() {
    let mut states = 0;
    for scene in Scene::all() {
        for write_back in [0, 4] {
            // One more: the power goes when all is done.
            for op in scene.ops(write_back).start..=scene.ops(write_back).end {
                let (fs, db) = scene.open_and_write(write_back);
                let new = contents(&db);
                fs.set_crash_point(op);
                let result = db.checkpoint(scene.target);
                let allowed = scene.allowed(&new, result.is_ok());
                let mut rng = Rng::new(op);
                for seed in (0..4).chain([rng.next() | 4, rng.next() | 4]) {
                    println!("{} {write_back} {op} {seed}", scene.target);
                    check_image(&fs.crash(seed), &scene, &allowed, &new, &mut rng);
                    states += 1;
                }
                println!("{} {write_back} {op} kill", scene.target);
                check_image(&fs.kill(), &scene, &allowed, &new, &mut rng);
                states += 1;
                // The dead close nothing.
                fs.set_crash_point(0);
            }
        }
    }
    println!("crash states: {states} (checkpoints)");
}

/// The process dies when the directories were exchanged, but not durably; the next checkpoint finds the old one beside its
/// target, and if the power goes while it clears that away, it may find itself in the target's place again.
#[test]
fn an_old_checkpoint_is_not_cleared_away_before_it_is_certain_that_it_is_old() {
    let mut states = 0;
    let scene = Scene::new(TARGET, true);
    for op in scene.ops(0) {
        let (fs, db) = scene.open_and_write(0);
        let new = contents(&db);
        fs.set_crash_point(op);
        let result = db.checkpoint(TARGET);
        let image = fs.kill();
        fs.set_crash_point(0);
        if result.is_ok() || held_by(&image, TARGET) != new {
            continue;
        }
        let allowed = scene.allowed(&new, false);
        for more in 0.. {
            let fs = image.kill();
            fs.set_write_back(0);
            let db = open_at(&fs, STORE);
            fs.set_crash_point(fs.op_count() + more);
            let is_done = db.checkpoint(TARGET).is_ok();
            for seed in 0..24 {
                allowed.check(&fs.crash(seed), TARGET);
                states += 1;
            }
            fs.set_crash_point(0);
            if is_done {
                break;
            }
        }
    }
    assert!(states > 0, "there is such a moment");
    println!("crash states: {states} (exchanges)");
}

/// Looks at what a crash left, makes another checkpoint there, and one that is cut short by a crash.
fn check_image(image: &SimFs, scene: &Scene, allowed: &Allowed, new: &Contents, rng: &mut Rng) {
    allowed.check(image, scene.target);
    assert!(held_by(image, STORE) == *new, "the store is not touched");

    let fs = image.kill();
    let db = open_at(&fs, STORE);
    write_round(&db, 9);
    let newer = contents(&db);
    let mut allowed = Allowed { nothing: allowed.nothing, states: allowed.states.clone() };
    allowed.states.push(newer.clone());
    fs.set_crash_point(fs.op_count() + u64::try_from(rng.below(80)).unwrap());
    let is_done = db.checkpoint(scene.target).is_ok();
    let again = if rng.one_in(2) { fs.kill() } else { fs.crash(rng.next()) };
    fs.set_crash_point(0);
    if is_done {
        assert!(held_by(&again, scene.target) == newer);
    }
    allowed.check(&again, scene.target);

    let db = open_at(&again, STORE);
    assert!(contents(&db) == newer);
    db.checkpoint(scene.target).unwrap();
    assert!(held_by(&again.crash(rng.next()), scene.target) == newer);
    let name = Path::new(scene.target).file_name().unwrap().to_str().unwrap();
    let staging = Path::new(scene.target).with_file_name(format!(".{name}.checkpoint"));
    assert!(!exists(&again, staging.to_str().unwrap()), "nothing is left over");
}

#[test]
fn a_failure_of_any_operation_leaves_the_old_checkpoint_or_the_new() {
    for scene in Scene::all() {
        for op in scene.ops(0) {
            for failure in [Failure::Io, Failure::NoSpace, Failure::TooManyFiles] {
                println!("{} {op} {failure:?}", scene.target);
                let (fs, db) = scene.open_and_write(0);
                let new = contents(&db);
                fs.fail_at(op, failure);
                let result = db.checkpoint(scene.target);
                fs.clear_faults();
                if let Err(e) = &result {
                    let kinds = [ErrorKind::Io, ErrorKind::Full, ErrorKind::Poisoned];
                    assert!(kinds.contains(&e.kind()), "{e:?}");
                }
                let allowed = scene.allowed(&new, result.is_ok());
                for image in [fs.kill(), fs.crash(0), fs.crash(1), fs.crash(op)] {
                    allowed.check(&image, scene.target);
                    assert!(held_by(&image, STORE) == new);
                }
                assert!(contents(&db) == new, "the store goes on");
                if db.stats().unwrap().poisoned.is_none() {
                    db.checkpoint(scene.target).unwrap();
                    assert!(held_by(&fs.crash(0), scene.target) == new);
                }
            }
        }
    }
}

#[test]
fn a_full_disk_ends_a_checkpoint_and_changes_nothing() {
    for scene in Scene::all() {
        let (mut full, mut made) = (0, 0);
        for free in (0..48).map(|n| n << 10) {
            let (fs, db) = scene.open_and_write(0);
            db.tick().unwrap();
            let new = contents(&db);
            let before = fs.used_bytes();
            fs.set_capacity(before + free);
            match db.checkpoint(scene.target) {
                Ok(_) => {
                    made += 1;
                    assert!(held_by(&fs, scene.target) == new);
                }
                Err(e) => {
                    full += 1;
                    assert_eq!(e.kind(), ErrorKind::Full, "{e:?}");
                    scene
                        .allowed(&scene.old.clone().unwrap_or_default(), false)
                        .check(&fs, scene.target);
                    assert!(fs.used_bytes() <= before + 256, "its space was given back");
                    assert!(db.stats().unwrap().poisoned.is_none());
                }
            }
            fs.set_capacity(u64::MAX);
            db.checkpoint(scene.target).unwrap();
            assert!(held_by(&fs, scene.target) == new);
        }
        assert!(full > 0 && made > 0, "{full} {made}");
    }
}

/// One of several threads that write. Write `n` sets two keys at once, out of [`Writer::KEYS`] pairs in turn.
struct Writer {
    id: u64,
    begun: AtomicU64,
    done: AtomicU64,
}

impl Writer {
    const KEYS: u64 = 40;

    fn key(&self, which: char, n: u64) -> Vec<u8> {
        format!("{}{which}{}", self.id, n % Self::KEYS).into_bytes()
    }

    fn value(n: u64) -> Vec<u8> {
        format!("{n};").into_bytes().into_iter().cycle().take(100).collect()
    }

    fn write(&self, db: &Bitcask) {
        let n = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let mut batch = bitcask::WriteBatch::new();
        batch.put(self.key('a', n), Self::value(n)).put(self.key('b', n), Self::value(n));
        db.write(&batch).unwrap();
        self.done.store(n, Ordering::SeqCst);
    }

    /// Holds the copy against the writes 1 to `n`, for the one `n` that it can be.
    fn check(&self, copy: &Bitcask, from: u64, to: u64) {
        let number = |value: &[u8]| {
            let text = String::from_utf8(value.to_vec()).unwrap();
            text.split(';').next().unwrap().parse::<u64>().unwrap()
        };
        let newest = (0..Self::KEYS).filter_map(|k| copy.get(&self.key('a', k)).unwrap());
        let n = newest.map(|value| number(&value)).max().unwrap_or(0);
        assert!((from..=to).contains(&n), "{n} is not in {from}..={to}");
        for which in ['a', 'b'] {
            for m in (n.saturating_sub(Self::KEYS) + 1)..=n {
                let value = copy.get(&self.key(which, m)).unwrap();
                assert_eq!(value.as_deref(), Some(&Self::value(m)[..]), "{which} {m} of {n}");
            }
        }
    }
}

#[test]
fn checkpoints_among_writes_and_merges_hold_a_prefix_with_all_that_was_acknowledged() {
    for mode in [IoMode::Mapped, IoMode::Plain] {
        let dir = TempDir::new(&format!("checkpoint-threads-{mode:?}"));
        let merge = MergePolicy {
            dead_ratio_trigger: 0.2,
            dead_ratio_threshold: 0.1,
            check_interval: Duration::from_millis(1),
            ..MergePolicy::default()
        };
        let options = || Options::new().io(mode).max_file_size(32 << 10).durability(Durability::Os);
        let db = options().merge(merge).open(dir.path().join("db")).unwrap();
        let writers: Vec<_> = (0..3)
            .map(|id| Writer { id, begun: AtomicU64::new(0), done: AtomicU64::new(0) })
            .collect();
        // Writers and merges go as far as the round allows, so that neither leaves the other behind.
        let rounds = AtomicU64::new(0);
        let read = || options().open_read_only(dir.path().join("db")).unwrap();
        let reader = read();
        thread::scope(|scope| {
            for writer in &writers {
                scope.spawn(|| {
                    in_each_round(&rounds, || (0..400).for_each(|_| writer.write(&db)));
                });
            }
            scope.spawn(|| {
                in_each_round(&rounds, || {
                    db.merge().unwrap();
                });
            });
            let rounds = EndOfRounds(&rounds);
            for round in 0..12 {
                let target = dir.path().join(format!("backup{}", round % 2));
                rounds.0.fetch_add(1, Ordering::SeqCst);
                while writers.iter().all(|w| w.begun.load(Ordering::SeqCst) < round * 400 + 100) {
                    thread::yield_now();
                }
                let from: Vec<_> = writers.iter().map(|w| w.done.load(Ordering::SeqCst)).collect();
                let made = match round % 3 {
                    0 => db.checkpoint(&target),
                    1 => reader.checkpoint(&target),
                    _ => read().checkpoint(&target),
                };
                let report = made.unwrap();
                let to: Vec<_> = writers.iter().map(|w| w.begun.load(Ordering::SeqCst)).collect();
                let copy = options().without_threads().open(&target).unwrap();
                assert_eq!(copy.recovery().cut, None);
                for ((writer, from), to) in writers.iter().zip(from).zip(to) {
                    writer.check(&copy, from, to);
                }
                assert!(report.seq <= copy.stats().unwrap().seq, "{report:?}");
            }
        });
        assert!(db.stats().unwrap().merges > 0);
    }
}

#[test]
fn a_reader_makes_a_checkpoint_of_files_that_are_merged_away_meanwhile() {
    for mode in [IoMode::Mapped, IoMode::Plain] {
        let dir = TempDir::new(&format!("checkpoint-reader-{mode:?}"));
        let (store, target) = (dir.path().join("db"), dir.path().join("backup"));
        let options = || options().io(mode);
        let db = options().open(&store).unwrap();
        for round in 0..5 {
            write_round(&db, round);
        }
        let before = contents(&db);
        let names = || std::fs::read_dir(&store).unwrap().map(|entry| entry.unwrap().file_name());
        let names_before: Vec<_> = names().collect();
        let reader = options().open_read_only(&store).unwrap();
        let mut is_first = true;
        let report = reader.checkpoint_with(&target, |progress| {
            assert!(progress.bytes_done <= progress.bytes, "{progress:?}");
            if std::mem::take(&mut is_first) {
                write_round(&db, 6);
                db.merge().unwrap();
                assert!(names_before.iter().any(|name| names().all(|now| now != *name)));
            }
            ControlFlow::Continue(())
        });
        let report = report.unwrap();
        assert!(report.files_linked > 0 && report.files_copied > 1, "{report:?}");
        let copy = options().open(&target).unwrap();
        assert!(contents(&copy) == before);
        assert_eq!(copy.recovery().cut, None);
        copy.close().unwrap();
        // Again: what was merged is linked.
        let report = reader.checkpoint(&target).unwrap();
        assert!(report.files_linked > 0, "{report:?}");
        assert!(contents(&options().open(&target).unwrap()) == contents(&db));
        assert_eq!(reader.checkpoint(&store).unwrap_err().kind(), ErrorKind::Invalid);
    }
}

/// Does something once in each round, until there are no more.
fn in_each_round(rounds: &AtomicU64, mut work: impl FnMut()) {
    for round in 1.. {
        while rounds.load(Ordering::SeqCst) < round {
            thread::yield_now();
        }
        if rounds.load(Ordering::SeqCst) == u64::MAX {
            return;
        }
        work();
    }
}

/// Ends the threads with the test, when it panics, too.
struct EndOfRounds<'a>(&'a AtomicU64);

impl Drop for EndOfRounds<'_> {
    fn drop(&mut self) {
        self.0.store(u64::MAX, Ordering::SeqCst);
    }
}

/// Memory is another file system than the disk, on most machines.
#[test]
fn a_checkpoint_of_a_real_store_in_another_place_is_linked_or_copied() {
    let dir = TempDir::new("checkpoint-places");
    let shm = TempDir::below(Path::new("/dev/shm"), "checkpoint-places");
    let db = options().open(dir.path().join("db")).unwrap();
    for round in 0..5 {
        write_round(&db, round);
    }
    let mut targets = vec![dir.path().join("near")];
    targets.extend(Path::new("/dev/shm").is_dir().then(|| shm.path().join("far")));
    for target in targets {
        for _ in 0..2 {
            db.checkpoint(&target).unwrap();
            let copy = options().open(&target).unwrap();
            assert!(contents(&copy) == contents(&db), "{}", target.display());
        }
    }
    // By way of a symbolic link it is the same place.
    std::os::unix::fs::symlink(dir.path().join("near"), dir.path().join("link")).unwrap();
    write_round(&db, 6);
    db.checkpoint(dir.path().join("link")).unwrap();
    let copy = options().open(dir.path().join("near")).unwrap();
    assert!(contents(&copy) == contents(&db));
    std::os::unix::fs::symlink(dir.path().join("db"), dir.path().join("self")).unwrap();
    assert_eq!(db.checkpoint(dir.path().join("self")).unwrap_err().kind(), ErrorKind::Invalid);
}
