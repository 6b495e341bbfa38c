//! A disk that is full.

use bitcask::fs::sim::{SimClock, SimFs};
use bitcask::{Bitcask, ErrorKind, IoMode};

use super::oracle::{Contents, Stored};
use super::plan::{Config, DIR, KEY_COUNT, key_bytes};
use super::{Rng, seeds};

const CAPACITY: u64 = 400 << 10;

fn config(io: IoMode, rng: &mut Rng) -> Config {
    Config {
        io,
        max_file_size: rng.pick(&[4 << 10, 16 << 10, 40 << 10]),
        durability: rng.pick(&Config::DURABILITIES),
        ..Config::simple()
    }
}

fn open(config: &Config, fs: &SimFs) -> bitcask::Result<Bitcask> {
    config.options(fs, &SimClock::new(0)).open(DIR)
}

fn key(n: u64) -> Vec<u8> {
    format!("key {n}").into_bytes()
}

/// Puts until the disk is full, and gives how many fitted.
fn fill(db: &Bitcask, from: u64, len: usize) -> u64 {
    for n in from.. {
        match db.put(&key(n), &vec![7; len]) {
            Ok(()) => {}
            Err(e) => {
                assert_eq!(e.kind(), ErrorKind::Full, "{e:?}");
                assert!(db.stats().unwrap().poisoned.is_none(), "a full disk is no reason to stop");
                return n;
            }
        }
    }
    unreachable!("a disk has an end")
}

/// Deletes; when there is no more room even for that, merges what is dead by now, and then deletes.
fn delete_or_merge(db: &Bitcask, n: u64) {
    if let Err(e) = db.delete(&key(n)) {
        assert_eq!(e.kind(), ErrorKind::Full, "{e:?}");
        db.merge().unwrap_or_else(|e| panic!("{n} deletes, and no room to merge: {e:?}"));
        assert!(db.delete(&key(n)).expect("a merge made room"));
    }
}

fn check_values(db: &Bitcask, range: std::ops::Range<u64>, len: usize) {
    assert_eq!(db.len().unwrap(), range.end - range.start);
    for n in range {
        assert_eq!(db.get(&key(n)).unwrap().unwrap(), vec![7; len], "{n}");
    }
}

#[test]
fn a_full_disk_can_be_read_emptied_and_written_to_again() {
    for seed in seeds(20_000_000, 24) {
        println!("SEED={seed}");
        let mut rng = Rng::new(seed);
        let io = if seed % 2 == 0 { IoMode::Mapped } else { IoMode::Plain };
        let config = config(io, &mut rng);
        let len = rng.below(3000);
        let fs = SimFs::new(seed);
        fs.set_capacity(CAPACITY);
        let db = open(&config, &fs).unwrap();
        let count = fill(&db, 0, len);
        check_values(&db, 0..count, len);
        // Full, and still full: nothing breaks.
        assert_eq!(fill(&db, count, len), count);
        drop(db);
        let db = open(&config, &fs).expect("a full disk can be opened");
        check_values(&db, 0..count, len);
        for n in 0..count / 2 {
            delete_or_merge(&db, n);
        }
        check_values(&db, count / 2..count, len);
        // The first may give back only what it needs to write hints for the others.
        while db.merge().expect("what is dead can be given back").reclaimed_bytes() > 0 {}
        check_values(&db, count / 2..count, len);
        let used = fs.used_bytes();
        assert!(
            used < CAPACITY * 3 / 4,
            "{used} of {CAPACITY} bytes used: {:?}",
            db.stats().unwrap().files
        );
        let more = fill(&db, count, len);
        assert!(more > count, "{count} fitted, then none, though there is space");
        check_values(&db, count / 2..more, len);
        let fs = fs.kill();
        check_values(&open(&config, &fs).unwrap(), count / 2..more, len);
    }
}

#[test]
fn a_full_disk_loses_nothing_in_a_crash() {
    let mut states = 0;
    for seed in seeds(21_000_000, 24) {
        println!("SEED={seed}");
        let mut rng = Rng::new(seed);
        let io = if seed % 2 == 0 { IoMode::Mapped } else { IoMode::Plain };
        let config = config(io, &mut rng);
        let fs = SimFs::new(seed);
        let db = open(&config, &fs).unwrap();
        let mut contents = Contents::default();
        let mut trail = Vec::new();
        for _ in 0..120 {
            // There is always a little less or more.
            let free = u64::try_from(rng.below(64 << 10)).unwrap();
            fs.set_capacity(fs.used_bytes() + free);
            let key = rng.below(KEY_COUNT);
            let len = rng.below(4000);
            let value = (!rng.one_in(4)).then(|| rng.bytes(len));
            trail.push(format!("{key} {:?} free {free}", value.as_ref().map(Vec::len)));
            let result = match &value {
                Some(value) => db.put(&key_bytes(key), value),
                None => db.delete(&key_bytes(key)).map(|_| ()),
            };
            match result {
                Ok(()) => contents = contents.after(&[(key, value.map(Stored::forever))]),
                Err(e) => {
                    assert_eq!(e.kind(), ErrorKind::Full, "{e:?}");
                    trail.push(format!("   {e:?}"));
                }
            }
            let done = if rng.one_in(10) { db.merge().map(|_| ()) } else { db.sync() };
            done.or_else(|e| if e.kind() == ErrorKind::Full { db.sync() } else { Err(e) }).unwrap();
            assert!(Contents::read(&db).unwrap() == contents);
            let after = fs.crash(rng.next());
            let again = open(&config, &after).expect("a full disk can be opened");
            let found = Contents::read(&again).unwrap();
            assert!(found == contents, "{trail:#?}\n{}\n{}", found.brief(), contents.brief());
            states += 1;
        }
    }
    println!("crash states: {states} (full disk)");
}
