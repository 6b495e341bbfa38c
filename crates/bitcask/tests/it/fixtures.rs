//! Stores written by earlier versions: they open, hold what they held, and can be merged.
//!
//! `tests/fixtures/vN` is a store of format version N, with what it holds in `expected.txt`: keys and values in hex.
//! `UPDATE_FIXTURES=v1_expiry cargo test -p bitcask --test it fixtures` writes one of the version of today anew (1: all),
//! which is done once, before a release; those of earlier versions never change again.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bitcask::{Bitcask, Expiry, MergePolicy, Options, WriteBatch};

use crate::basics::TempDir;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");
const EXPECTED: &str = "expected.txt";
const BYTES_MAX: u64 = 30 << 10;

type Contents = BTreeMap<Vec<u8>, Vec<u8>>;

fn options() -> Options {
    let merge = MergePolicy { background: false, ..MergePolicy::default() };
    Options::new().max_file_size(4096).merge(merge)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(text.get(at..at + 2).unwrap(), 16).unwrap();
    (0..text.len()).step_by(2).map(byte).collect()
}

/// Puts in the store and in what is expected of it.
fn put(db: &Bitcask, contents: &mut Contents, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
    db.put(key.as_ref(), value.as_ref()).unwrap();
    contents.insert(key.as_ref().to_vec(), value.as_ref().to_vec());
}

fn delete(db: &Bitcask, contents: &mut Contents, key: &str) {
    assert!(db.delete(key.as_bytes()).unwrap());
    contents.remove(key.as_bytes());
}

/// Writes a store with one of everything: a merged file, a finished file of the log with tombstones, an active one with a
/// batch and a hint of its own.
fn write_store(dir: &Path) -> Contents {
    let mut contents = Contents::new();
    let db = options().open(dir).unwrap();
    for n in 0..40 {
        put(&db, &mut contents, format!("old {n}"), format!("value {n} ").repeat(n % 9));
    }
    for n in (0..40).step_by(3) {
        delete(&db, &mut contents, &format!("old {n}"));
    }
    db.merge().unwrap();
    put(&db, &mut contents, "", "the empty key");
    put(&db, &mut contents, "the empty value", "");
    put(&db, &mut contents, [0, 255, b'\n', b'.'], (0..=255).collect::<Vec<u8>>());
    delete(&db, &mut contents, "old 1");
    put(&db, &mut contents, "old 2", "overwritten");
    put(&db, &mut contents, "long", "long value ".repeat(280));
    let mut batch = WriteBatch::new();
    batch.put("batch 1", "one").put("batch 2", "two").delete("old 4").put("batch 1", "three");
    db.write(&batch).unwrap();
    contents.remove(&b"old 4"[..]);
    contents.insert(b"batch 1".into(), b"three".into());
    contents.insert(b"batch 2".into(), b"two".into());
    put(&db, &mut contents, "filler", "x".repeat(900));
    db.close().unwrap();
    contents
}

/// When what `write_expiring_store` writes expires that is not gone at once: in the year 2200.
fn far() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(7_258_118_400)
}

/// Writes a store whose keys expire: merged, finished and active files with hints of version 2, and one without.
fn write_expiring_store(dir: &Path) -> Contents {
    let mut contents = Contents::new();
    let db = options().open(dir).unwrap();
    let past = UNIX_EPOCH + Duration::from_secs(1);
    for n in 0..60 {
        put(&db, &mut contents, format!("older {n}"), "older");
    }
    db.put_with(b"filler", &[b'x'; 900], past).unwrap();
    for n in (0..60).step_by(7) {
        let key = format!("older {n}");
        db.put_with(key.as_bytes(), b"expired", past).unwrap();
        contents.remove(key.as_bytes());
    }
    db.merge().unwrap();
    for n in 0..60 {
        let (key, value) = (format!("older {n}"), format!("newer {n}"));
        match n % 6 {
            0 => {
                db.put_with(key.as_bytes(), value.as_bytes(), far()).unwrap();
                contents.insert(key.into(), value.into());
            }
            1 => {
                db.put_with(key.as_bytes(), value.as_bytes(), past).unwrap();
                contents.remove(key.as_bytes());
            }
            2 => put(&db, &mut contents, key, value),
            _ => {}
        }
    }
    put(&db, &mut contents, "long", "long value ".repeat(200));
    let mut batch = WriteBatch::new();
    batch.put_with("batch 1", "one", far()).put("batch 2", "two").put_with("older 3", "", past);
    db.write(&batch).unwrap();
    contents.remove(&b"older 3"[..]);
    contents.insert(b"batch 1".into(), b"one".into());
    contents.insert(b"batch 2".into(), b"two".into());
    db.close().unwrap();
    contents
}

fn update(dir: &Path, write_store: fn(&Path) -> Contents) {
    drop(fs::remove_dir_all(dir));
    let contents = write_store(dir);
    fs::remove_file(dir.join("LOCK")).unwrap();
    let mut text = String::new();
    for (key, value) in &contents {
        writeln!(text, "{}={}", hex(key), hex(value)).unwrap();
    }
    fs::write(dir.join(EXPECTED), text).unwrap();
}

fn expected(dir: &Path) -> Contents {
    let text = fs::read_to_string(dir.join(EXPECTED)).unwrap();
    let pairs = text.lines().map(|line| line.split_once('=').unwrap());
    pairs.map(|(key, value)| (from_hex(key), from_hex(value))).collect()
}

fn check(db: &Bitcask, contents: &Contents) {
    for (key, value) in contents {
        assert_eq!(db.get(key).unwrap().unwrap(), *value, "{}", key.escape_ascii());
    }
    let all: Contents =
        db.iter().map(|entry| entry.map(|(key, value)| (key, value.into_vec())).unwrap()).collect();
    assert_eq!(all, *contents);
    assert_eq!(db.len().unwrap(), contents.len() as u64);
}

/// Copies a fixture, so that nothing is written to it.
fn copied(from: &Path, name: &str) -> TempDir {
    let to = TempDir::new(name);
    fs::create_dir_all(to.path()).unwrap();
    for file in files_of(from) {
        fs::copy(&file, to.path().join(file.file_name().unwrap())).unwrap();
    }
    to
}

/// The files of a store.
fn files_of(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| !path.ends_with(EXPECTED));
    files.sort();
    files
}

fn with_extension(dir: &Path, extension: &str) -> usize {
    files_of(dir).iter().filter(|path| path.extension().is_some_and(|e| e == extension)).count()
}

#[test]
fn a_store_of_version_1_opens_holds_what_it_held_and_can_be_merged() {
    check_fixture("v1", write_store);
}

#[test]
fn a_store_of_version_1_whose_keys_expire_opens_holds_what_it_held_and_can_be_merged() {
    let is_expiring = |path: &PathBuf| {
        path.extension().is_some_and(|e| e == "hint") && fs::read(path).unwrap()[8] == 2
    };
    let dir = check_fixture("v1_expiry", write_expiring_store);
    assert!(files_of(&dir).iter().filter(|path| is_expiring(path)).count() >= 2);
    let copy = copied(&dir, "fixture-expiry");
    let db = options().open(copy.path()).unwrap();
    assert_eq!(db.expires_at(b"older 6").unwrap(), Some(Expiry::At(far())));
    assert_eq!(db.expires_at(b"batch 1").unwrap(), Some(Expiry::At(far())));
    assert_eq!(db.expires_at(b"batch 2").unwrap(), Some(Expiry::Never));
    assert_eq!(db.expires_at(b"older 1").unwrap(), None);
}

/// Opens and merges copies of a fixture.
fn check_fixture(name: &str, write_store: fn(&Path) -> Contents) -> PathBuf {
    let fixture = Path::new(FIXTURES).join(name);
    if std::env::var_os("UPDATE_FIXTURES").is_some_and(|which| which == "1" || which == *name) {
        update(&fixture, write_store);
    }
    let contents = expected(&fixture);
    assert!(contents.len() > 20);
    assert!(with_extension(&fixture, "data") >= 2, "finished and active");
    assert!(with_extension(&fixture, "merged") >= 1);
    let bytes: u64 = files_of(&fixture).iter().map(|path| path.metadata().unwrap().len()).sum();
    assert!(bytes < BYTES_MAX, "{bytes} bytes");

    for hints in [true, false] {
        let dir = copied(&fixture, &format!("fixture-{name}-{hints}"));
        let data = with_extension(dir.path(), "data") + with_extension(dir.path(), "merged");
        assert_eq!(with_extension(dir.path(), "hint"), data);
        if !hints {
            let is_hint = |path: &PathBuf| path.extension().is_some_and(|e| e == "hint");
            files_of(dir.path()).iter().filter(|path| is_hint(path)).for_each(|path| {
                fs::remove_file(path).unwrap();
            });
        }
        let db = options().open(dir.path()).unwrap();
        assert_eq!(db.recovery().cut, None);
        assert_eq!(db.recovery().hinted_files, if hints { data } else { 0 });
        check(&db, &contents);
        let report = db.merge().unwrap();
        assert!(report.reclaimed_bytes() > 0, "{report:?}");
        check(&db, &contents);
        db.close().unwrap();
        let db = options().open(dir.path()).unwrap();
        check(&db, &contents);
        assert_eq!(db.recovery().scanned_files, 0);
    }
    fixture
}
