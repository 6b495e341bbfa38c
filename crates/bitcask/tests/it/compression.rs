//! Compressed values, and dictionaries: read under every choice, moved by merge, and never guessed.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use bitcask::fs::Fs;
use bitcask::fs::sim::{Failure, SimClock, SimFs};
use bitcask::{
    Bitcask, Compression, Damage, ErrorKind, IoMode, MergePolicy, Options, WriteBatch, dump,
};

use crate::crash::Rng;

const DIR: &str = "/db";
const CHOICES: [Compression; 5] = [
    Compression::None,
    Compression::Lz4,
    Compression::Zstd { level: -1 },
    Compression::Zstd { level: 3 },
    Compression::Zstd { level: 9 },
];

type Contents = BTreeMap<Vec<u8>, Vec<u8>>;

fn options(fs: &SimFs, compression: Compression) -> Options {
    Options::new()
        .on(Arc::new(fs.clone()), Arc::new(SimClock::new(1_700_000_000_000)))
        .without_threads()
        .shard_bits(2)
        .merge(MergePolicy { background: false, ..MergePolicy::default() })
        .compression(compression)
}

/// A document like many others.
fn document(n: u64) -> Vec<u8> {
    let mut rng = Rng::new(n);
    let name = rng.pick(&["Anna Kim", "Boris Novak", "Chen Silva", "Dora Haddad", "Emeka Okafor"]);
    let city = rng.pick(&["Oslo", "Lagos", "Osaka", "Lima", "Cairo", "Austin"]);
    format!(
        "{{\"id\":\"{:016x}\",\"name\":\"{name}\",\"created_at\":\"2026-{:02}-{:02}T12:{:02}:07Z\",\
         \"status\":\"active\",\"address\":{{\"city\":\"{city}\",\"zip\":\"{:05}\"}},\"score\":{}}}",
        rng.next(),
        rng.below(12) + 1,
        rng.below(28) + 1,
        rng.below(60),
        rng.below(100_000),
        rng.below(10_000),
    )
    .into_bytes()
}

fn key(n: u64) -> Vec<u8> {
    format!("key{n:06}").into_bytes()
}

/// Values of all kinds: empty, short, documents, long ones that repeat themselves, noise.
fn value(n: u64) -> Vec<u8> {
    let mut rng = Rng::new(n ^ 0x00c0_ffee);
    match n % 7 {
        0 => Vec::new(),
        1 => vec![b'x'; rng.below(200)],
        2 => (0..rng.below(500)).map(|_| rng.next().to_le_bytes()[0]).collect(),
        3 => document(n).repeat(rng.below(40) + 1),
        _ => document(n),
    }
}

fn contents(db: &Bitcask) -> Contents {
    db.iter().map(|entry| entry.map(|(key, value)| (key, value.into_vec())).unwrap()).collect()
}

/// Reads everything in every way.
fn check(db: &Bitcask, expected: &Contents) {
    assert!(contents(db) == *expected, "iteration");
    let keys: Vec<_> = expected.keys().collect();
    for (value, key) in db.get_many(&keys).unwrap().into_iter().zip(&keys) {
        assert_eq!(
            value.as_deref(),
            expected.get(*key).map(Vec::as_slice),
            "{}",
            key.escape_ascii()
        );
    }
    for (key, value) in expected {
        assert_eq!(db.get(key).unwrap().unwrap(), *value, "{}", key.escape_ascii());
        assert!(db.contains(key).unwrap());
    }
}

fn shown(fs: &SimFs) -> String {
    let fs: Arc<dyn Fs> = Arc::new(fs.clone());
    dump(&fs, DIR.as_ref()).unwrap()
}

fn dictionaries(fs: &SimFs) -> Vec<String> {
    let names = fs.file_names(DIR).into_iter().map(|name| name.into_string().unwrap());
    names.filter(|name| name.ends_with(".dict")).collect()
}

/// A store of `count` documents, with a dictionary that all but the first were put by.
fn store_with_dictionary(fs: &SimFs, count: u64) -> Contents {
    let db = options(fs, Compression::zstd()).open(DIR).unwrap();
    for n in 0..count {
        db.put(&key(n), &document(n)).unwrap();
    }
    db.train_dictionary().unwrap();
    for n in 1..count {
        db.put(&key(n), &document(n + 10_000)).unwrap();
    }
    let contents = contents(&db);
    db.close().unwrap();
    contents
}

#[test]
fn what_was_written_by_one_choice_is_read_under_every_other() {
    for (io, verify) in [(IoMode::Mapped, true), (IoMode::Plain, true), (IoMode::Plain, false)] {
        let fs = SimFs::new(1);
        let mut expected = Contents::new();
        for (round, choice) in (0_u64..).zip(CHOICES.into_iter().chain(CHOICES)) {
            let options = options(&fs, choice).io(io).verify_reads(verify).max_file_size(32 << 10);
            let db = options.open(DIR).unwrap();
            check(&db, &expected);
            let mut batch = WriteBatch::new();
            for n in 0..300 {
                // Of each choice some remain.
                if (n + round) % 3 == 0 {
                    let (key, value) = (key(n), value(n * 10 + round));
                    match n % 4 {
                        0 => drop(batch.put(key.clone(), value.clone())),
                        1 => drop(db.update(&key, |_| Some(value.clone())).unwrap()),
                        _ => db.put(&key, &value).unwrap(),
                    }
                    expected.insert(key, value);
                }
            }
            db.write(&batch).unwrap();
            if round == 1 {
                db.train_dictionary().unwrap();
            }
            check(&db, &expected);
            if round % 3 == 2 {
                db.merge().unwrap();
                check(&db, &expected);
            }
            db.close().unwrap();
        }
    }
}

#[test]
fn compressed_values_take_less_space_and_merge_moves_them_as_they_are() {
    let plain = SimFs::new(1);
    let db = options(&plain, Compression::None).open(DIR).unwrap();
    (0..500).for_each(|n| db.put(&key(n), &document(n).repeat(4)).unwrap());
    let plain_bytes = db.stats().unwrap().bytes();
    for choice in [Compression::Lz4, Compression::zstd()] {
        let fs = SimFs::new(1);
        let db = options(&fs, choice).open(DIR).unwrap();
        for n in 0..1000 {
            db.put(&key(n % 500), &document(n % 500).repeat(4)).unwrap();
        }
        db.close().unwrap();
        let flag = if choice == Compression::Lz4 { "value+lz4" } else { "value+zstd" };
        assert_eq!(shown(&fs).matches(flag).count(), 1000, "{choice:?}");

        // Whoever merges has chosen otherwise.
        let db = options(&fs, Compression::None).open(DIR).unwrap();
        db.merge().unwrap();
        let bytes = db.stats().unwrap().bytes();
        assert!(bytes * 2 < plain_bytes, "{choice:?}: {bytes} of {plain_bytes}");
        assert_eq!(shown(&fs).matches(flag).count(), 500, "{choice:?}");
        let expected: Contents = (0..500).map(|n| (key(n), document(n).repeat(4))).collect();
        check(&db, &expected);
    }
}

#[test]
fn every_way_to_put_a_value_compresses_it() {
    for choice in [Compression::Lz4, Compression::zstd()] {
        let fs = SimFs::new(1);
        let db = options(&fs, choice).open(DIR).unwrap();
        let value = document(1).repeat(4);
        db.put(b"put", &value).unwrap();
        db.put_with(b"put with", &value, std::time::Duration::from_secs(60)).unwrap();
        let mut batch = WriteBatch::new();
        db.write(batch.put("batch", value.clone()).delete("put with").put("batch 2", "short"))
            .unwrap();
        db.update(b"update", |_| Some(value.clone())).unwrap();
        assert!(db.put_if_absent(b"absent", &value).unwrap());
        assert!(db.compare_and_swap(b"cas", None, Some(&value)).unwrap());
        db.transaction(|transaction| transaction.put(b"transaction", &value[..])).unwrap();
        for key in [&b"put"[..], b"batch", b"update", b"absent", b"cas", b"transaction"] {
            let mut read = Vec::new();
            db.get_reader(key).unwrap().unwrap().read_to_end(&mut read).unwrap();
            assert_eq!(read, value, "{}", key.escape_ascii());
            assert_eq!(db.get(key).unwrap().unwrap(), value, "{}", key.escape_ascii());
        }
        db.close().unwrap();
        let shown = shown(&fs);
        let compressed = shown.matches("lz4").count() + shown.matches("zstd").count();
        assert_eq!(compressed, 7, "{shown}");
    }
}

#[test]
fn short_values_and_values_that_do_not_shrink_stay_as_they_are() {
    let fs = SimFs::new(1);
    let db = options(&fs, Compression::Lz4).compress_from(100).open(DIR).unwrap();
    let mut rng = Rng::new(5);
    let noise: Vec<u8> = (0..1000).map(|_| rng.next().to_le_bytes()[0]).collect();
    db.put(b"short", &[b'a'; 99]).unwrap();
    db.put(b"noise", &noise).unwrap();
    assert!(!shown(&fs).contains("lz4"));
    db.put(b"long", &[b'a'; 100]).unwrap();
    db.close().unwrap();
    assert_eq!(shown(&fs).matches("lz4").count(), 1, "{}", shown(&fs));
}

#[test]
fn the_limit_on_values_is_on_what_is_put_and_not_on_what_is_stored() {
    let fs = SimFs::new(1);
    let db = options(&fs, Compression::zstd()).max_value_len(1000).open(DIR).unwrap();
    db.put(b"k", &[0; 1000]).unwrap();
    assert_eq!(db.put(b"k", &[0; 1001]).unwrap_err().kind(), ErrorKind::Invalid);
    let mut batch = WriteBatch::new();
    batch.put("k", [0; 1001]);
    assert_eq!(db.write(&batch).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(db.get(b"k").unwrap().unwrap(), [0; 1000].as_slice());
}

#[test]
fn impossible_levels_are_refused() {
    for level in [-8, 23, i32::MIN, i32::MAX] {
        let error = options(&SimFs::new(1), Compression::Zstd { level }).open(DIR).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("compression"), "{error}");
    }
}

/// Values that are not checked are at least not decompressed from what is not certain.
#[test]
fn a_damaged_compressed_value_is_told_also_by_reads_that_do_not_verify() {
    for choice in [Compression::Lz4, Compression::zstd()] {
        let fs = SimFs::new(1);
        let db = options(&fs, choice).io(IoMode::Plain).open(DIR).unwrap();
        db.put(b"k", &document(1).repeat(3)).unwrap();
        db.put(b"end", b"").unwrap();
        db.close().unwrap();
        let stored = fs.read_file("/db/000000000001.data");
        for byte in 96..192 {
            let fs = fs.kill();
            let db = options(&fs, choice).io(IoMode::Plain).verify_reads(false).open(DIR).unwrap();
            fs.flip_bit("/db/000000000001.data", byte, 3);
            let error = db.get(b"k").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{choice:?} {byte} of {}", stored.len());
        }
    }
}

#[test]
fn a_dictionary_is_used_from_when_it_is_trained_and_after_reopening() {
    let fs = SimFs::new(1);
    let mut expected = Contents::new();
    let db = options(&fs, Compression::zstd()).open(DIR).unwrap();
    let put = |db: &Bitcask, expected: &mut Contents, range: std::ops::Range<u64>| {
        for n in range {
            db.put(&key(n), &document(n)).unwrap();
            expected.insert(key(n), document(n));
        }
    };
    put(&db, &mut expected, 0..2000);
    let before = db.stats().unwrap().bytes();
    assert!(!shown(&fs).contains("dictionary"));

    let report = db.train_dictionary().unwrap();
    assert!(report.tried_with * 2 < report.tried_without, "{report:?}");
    assert!(report.tried_without <= report.tried_bytes, "{report:?}");
    assert_eq!(report.samples, 1750, "{report:?}");
    assert_eq!(dictionaries(&fs), [report.path.file_name().unwrap().to_str().unwrap()]);
    put(&db, &mut expected, 2000..4000);
    let after = db.stats().unwrap().bytes() - before;
    assert!(after * 3 < before * 2, "{before} {after}");
    check(&db, &expected);
    db.close().unwrap();
    assert_eq!(shown(&fs).matches("zstd+dictionary").count(), 2000);

    let db = options(&fs, Compression::zstd()).open(DIR).unwrap();
    check(&db, &expected);
    put(&db, &mut expected, 4000..4500);
    // Other values, another dictionary.
    for n in 0..2000 {
        let value =
            format!("{n} bottles of beer on the wall, {n} bottles of beer; take one down, {n}");
        db.put(&key(n), value.as_bytes()).unwrap();
        expected.insert(key(n), value.into_bytes());
    }
    let second = db.train_dictionary().unwrap();
    assert_ne!(second.path, report.path);
    put(&db, &mut expected, 4500..5000);
    check(&db, &expected);
    db.merge().unwrap();
    check(&db, &expected);
    db.close().unwrap();

    let db = options(&fs, Compression::zstd()).open(DIR).unwrap();
    put(&db, &mut expected, 5000..5001);
    db.close().unwrap();
    let shown = shown(&fs);
    let last = shown.lines().find(|line| line.contains("key005000")).unwrap();
    let newest = second.path.file_stem().unwrap().to_str().unwrap();
    assert!(last.contains(&format!("dictionary {newest}")), "{last}");
    assert_eq!(dictionaries(&fs).len(), 2);
    for choice in CHOICES {
        let db = options(&fs, choice).open(DIR).unwrap();
        check(&db, &expected);
        assert!(db.recovery().foreign.is_empty());
    }
}

#[test]
fn the_same_values_give_the_same_dictionary_again() {
    let fs = SimFs::new(1);
    let db = options(&fs, Compression::zstd()).open(DIR).unwrap();
    (0..500).for_each(|n| db.put(&key(n), &document(n)).unwrap());
    let first = db.train_dictionary().unwrap();
    // Lost, it is made anew under its name, and what was put by it is read again.
    (500..600).for_each(|n| db.put(&key(n), &document(n)).unwrap());
    db.close().unwrap();
    fs.remove_file(&first.path);
    let db = options(&fs, Compression::zstd()).open(DIR).unwrap();
    assert!(db.get(&key(550)).is_err());
    (500..600).for_each(|n| assert!(db.delete(&key(n)).unwrap_or(true)));
    assert_eq!(db.train_dictionary().unwrap(), first);
    assert_eq!(dictionaries(&fs).len(), 1);
}

#[test]
fn too_few_values_give_no_dictionary() {
    let fs = SimFs::new(1);
    let db = options(&fs, Compression::zstd()).open(DIR).unwrap();
    for n in 0..4 {
        let error = db.train_dictionary().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        db.put(&key(n), &document(n)).unwrap();
    }
    assert!(dictionaries(&fs).is_empty());
    db.close().unwrap();
    assert_eq!(db.train_dictionary().unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn a_missing_dictionary_is_told_by_who_needs_it_and_by_nobody_else() {
    let fs = SimFs::new(1);
    let expected = store_with_dictionary(&fs, 300);
    let name = dictionaries(&fs).pop().unwrap();
    fs.remove_file(format!("{DIR}/{name}"));
    for choice in CHOICES {
        let fs = fs.kill();
        let db = options(&fs, choice).open(DIR).unwrap();
        check_is_found(&db, &fs, &name);
        assert_eq!(db.get(&key(0)).unwrap().unwrap(), expected[&key(0)]);
        let error = db.get(&key(1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains(&name), "{error}");
        // What needs no value goes on, and other values can be put.
        assert!(db.contains(&key(1)).unwrap());
        db.put(&key(1), &document(7)).unwrap();
        assert!(db.delete(&key(2)).unwrap());
        db.merge().unwrap();
        assert_eq!(db.get(&key(1)).unwrap().unwrap(), document(7));
        assert_eq!(db.get(&key(3)).unwrap_err().kind(), ErrorKind::Corrupt);
    }
    // A dictionary trained meanwhile is another, by another name.
    let db = options(&fs, Compression::zstd()).open(DIR).unwrap();
    (1000..1500).for_each(|n| db.put(&key(n), &document(n * 3).repeat(2)).unwrap());
    assert!(!db.train_dictionary().unwrap().path.ends_with(&name));
    assert_eq!(db.get(&key(3)).unwrap_err().kind(), ErrorKind::Corrupt);
}

/// Verify and repair name a dictionary that is damaged or gone, and leave it as it is.
fn check_is_found(db: &Bitcask, fs: &SimFs, name: &str) {
    let report = db.verify().unwrap();
    let named = |damage: &[Damage]| {
        let [damage] = damage else { panic!("{damage:?}") };
        assert!(damage.path.ends_with(name), "{damage:?}");
    };
    named(&report.damage);
    let closed = fs.kill();
    let report = options(&closed, Compression::None).repair(DIR).unwrap();
    named(&report.damage);
    assert!(!report.is_clean() && report.quarantined.is_empty());
    assert_eq!(closed.file_names(DIR), fs.file_names(DIR));
}

#[test]
fn a_damaged_dictionary_is_told_and_never_used() {
    let fs = SimFs::new(1);
    let expected = store_with_dictionary(&fs, 300);
    let name = dictionaries(&fs).pop().unwrap();
    let path = format!("{DIR}/{name}");
    let len = fs.read_file(&path).len() as u64;
    let is_refused = |fs: &SimFs, what: &str| {
        let db = options(fs, Compression::zstd()).open(DIR).unwrap();
        assert_eq!(db.get(&key(0)).unwrap().unwrap(), expected[&key(0)], "{what}");
        let error = db.get(&key(1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}");
        assert!(error.to_string().contains(&name), "{what}: {error}");
        check_is_found(&db, fs, &name);
        // What is put now does not refer to it.
        db.put(b"new", &document(1).repeat(2)).unwrap();
        drop(db);
        let shown = shown(fs);
        let new = shown.lines().find(|line| line.contains("\"new\"")).unwrap();
        assert!(!new.contains("dictionary"), "{what}: {new}");
    };
    for byte in (0..64).chain((64..len).step_by(41)) {
        let fs = fs.kill();
        fs.flip_bit(&path, byte, u8::try_from(byte % 8).unwrap());
        is_refused(&fs, &format!("bit of byte {byte}"));
    }
    for cut in [0, 1, 63, 64, 65, len - 1] {
        let fs = fs.kill();
        fs.truncate(&path, cut);
        is_refused(&fs, &format!("cut at {cut}"));
    }
    let db = options(&fs.kill(), Compression::None).open(DIR).unwrap();
    let report = db.verify().unwrap();
    assert!(report.is_clean() && report.dictionaries == 1, "{report:?}");
    let longer = fs.kill();
    longer.truncate(&path, len + 1);
    is_refused(&longer, "one byte more");

    // Other contents under its name.
    let other = SimFs::new(2);
    store_with_dictionary(&other, 400);
    let other_name = dictionaries(&other).pop().unwrap();
    assert_ne!(other_name, name);
    let mixed = fs.kill();
    mixed.write_file(&path, &other.read_file(format!("{DIR}/{other_name}")));
    is_refused(&mixed, "another dictionary");

    // The same contents, of another store.
    let mixed = fs.kill();
    let mut bytes = fs.read_file(&path);
    bytes[16] ^= 1;
    let sum = crc32c::crc32c(&[&bytes[..60], &bytes[64..]].concat());
    bytes[60..64].copy_from_slice(&sum.to_le_bytes());
    mixed.write_file(&path, &bytes);
    is_refused(&mixed, "another store's");
}

#[test]
fn a_crash_at_every_operation_of_training_leaves_the_store_whole() {
    let fs = SimFs::new(1);
    let db = options(&fs, Compression::zstd()).open(DIR).unwrap();
    (0..300).for_each(|n| db.put(&key(n), &document(n)).unwrap());
    db.close().unwrap();
    // Puts after the training, and the sync that makes them durable, belong to it: they refer to the dictionary.
    let live = |fs: &SimFs| -> bitcask::Result<()> {
        let db = options(fs, Compression::zstd()).open(DIR)?;
        db.train_dictionary()?;
        (300..310).try_for_each(|n| db.put(&key(n), &document(n)))?;
        db.sync()?;
        db.close()
    };
    let whole = fs.kill();
    let before = whole.op_count();
    live(&whole).unwrap();
    let mut with_dictionary = 0;
    for op in before..=whole.op_count() {
        let disk = fs.kill();
        disk.set_crash_point(op);
        let acknowledged = live(&disk).is_ok();
        for image in (0..6).map(|seed| disk.crash(seed)).chain([disk.kill()]) {
            let db = options(&image, Compression::zstd()).open(DIR).unwrap();
            let contents = contents(&db);
            assert!(contents.len() >= 300, "op {op}");
            assert!(!acknowledged || contents.len() == 310, "op {op}");
            for (n, (key_there, value)) in (0..).zip(&contents) {
                assert_eq!((key_there, value), (&key(n), &document(n)), "op {op}");
            }
            with_dictionary += dictionaries(&image).len();
            assert!(!shown(&image).contains(".tmp"), "op {op}");
            if op % 4 == 0 {
                db.train_dictionary().unwrap();
            }
            db.put(b"more", &document(1)).unwrap();
            assert_eq!(db.get(b"more").unwrap().unwrap(), document(1));
        }
    }
    assert!(with_dictionary > 0);
}

#[test]
fn a_failure_at_every_operation_of_training_is_told_and_training_can_be_tried_again() {
    let fs = SimFs::new(1);
    let db = options(&fs, Compression::zstd()).open(DIR).unwrap();
    (0..300).for_each(|n| db.put(&key(n), &document(n)).unwrap());
    db.close().unwrap();
    let operations = {
        let disk = fs.kill();
        let db = options(&disk, Compression::zstd()).open(DIR).unwrap();
        let before = disk.op_count();
        db.train_dictionary().unwrap();
        disk.op_count() - before
    };
    assert!((4..20).contains(&operations), "{operations}");
    for (failure, kind) in [(Failure::Io, ErrorKind::Io), (Failure::NoSpace, ErrorKind::Full)] {
        for nth in 0..operations {
            let disk = fs.kill();
            let db = options(&disk, Compression::zstd()).open(DIR).unwrap();
            disk.fail_at(disk.op_count() + nth, failure);
            match db.train_dictionary() {
                // It does not matter why there is no dictionary yet.
                Ok(_) => assert_eq!(nth, 0, "{failure:?}"),
                Err(e) => assert_eq!(e.kind(), kind, "{nth}: {e:?}"),
            }
            disk.clear_faults();
            (300..310).for_each(|n| db.put(&key(n), &document(n)).unwrap());
            assert_eq!(db.get(&key(305)).unwrap().unwrap(), document(305));
            db.train_dictionary().unwrap();
            db.close().unwrap();
            let db = options(&disk.crash(0), Compression::None).open(DIR).unwrap();
            check(&db, &(0..310).map(|n| (key(n), document(n))).collect());
        }
    }
}

#[test]
fn a_reader_in_another_process_finds_dictionaries_that_come_later() {
    let fs = SimFs::new(1);
    let db = options(&fs, Compression::zstd()).open(DIR).unwrap();
    (0..300).for_each(|n| db.put(&key(n), &document(n)).unwrap());
    let reader = options(&fs, Compression::None).open_read_only(DIR).unwrap();
    assert_eq!(reader.get(&key(7)).unwrap().unwrap(), document(7));
    db.train_dictionary().unwrap();
    (300..310).for_each(|n| db.put(&key(n), &document(n)).unwrap());
    db.sync().unwrap();
    reader.refresh().unwrap();
    for n in 0..310 {
        assert_eq!(reader.get(&key(n)).unwrap().unwrap(), document(n));
    }
}

#[test]
fn snapshots_see_old_values_however_they_are_stored() {
    let fs = SimFs::new(1);
    let db = options(&fs, Compression::zstd()).max_file_size(16 << 10).open(DIR).unwrap();
    (0..300).for_each(|n| db.put(&key(n), &document(n)).unwrap());
    let expected = contents(&db);
    let first = db.snapshot().unwrap();
    db.train_dictionary().unwrap();
    (0..300).for_each(|n| db.put(&key(n), &document(n + 1)).unwrap());
    let second = db.snapshot().unwrap();
    (0..300).for_each(|n| assert!(db.delete(&key(n)).unwrap()));
    db.merge().unwrap();
    for n in 0..300 {
        assert_eq!(first.get(&key(n)).unwrap().unwrap(), document(n));
        assert_eq!(second.get(&key(n)).unwrap().unwrap(), document(n + 1));
        assert_eq!(db.get(&key(n)).unwrap(), None);
    }
    let seen: Contents =
        first.iter().map(|e| e.map(|(key, value)| (key, value.into_vec())).unwrap()).collect();
    assert!(seen == expected);
}

#[test]
fn a_checkpoint_has_the_dictionaries_that_its_records_need() {
    let fs = SimFs::new(11);
    let zstd = Compression::Zstd { level: 3 };
    let db = options(&fs, zstd).open(DIR).unwrap();
    for n in 0..2000 {
        db.put(&key(n), &document(n)).unwrap();
    }
    db.train_dictionary().unwrap();
    for n in 0..2000 {
        db.put(&key(n), &document(n + 1)).unwrap();
    }
    let expected = contents(&db);
    // Twice: the second takes the place of the first.
    for _ in 0..2 {
        db.checkpoint("/backup").unwrap();
        let copy = options(&fs, Compression::None).open("/backup").unwrap();
        assert!(contents(&copy) == expected);
    }
}
