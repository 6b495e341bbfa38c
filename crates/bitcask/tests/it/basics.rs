//! What a first user does.

use std::sync::Arc;

use bitcask::fs::sim::{SimClock, SimFs};
use bitcask::{Bitcask, Durability, ErrorKind, Index, IoMode, MergePolicy, Options, WriteBatch};

/// A directory of its own that is gone when the test ends.
pub(crate) struct TempDir(std::path::PathBuf);

impl TempDir {
    pub(crate) fn new(name: &str) -> Self {
        Self::below(&std::env::temp_dir(), name)
    }

    pub(crate) fn below(dir: &std::path::Path, name: &str) -> Self {
        let path = dir.join(format!("bitcask-it-{name}-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&path));
        Self(path)
    }

    pub(crate) fn path(&self) -> &std::path::Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn key(n: u32) -> Vec<u8> {
    format!("key{n:08}").into_bytes()
}

#[test]
fn values_survive_reopening_rotation_and_merge_in_both_modes() {
    for mode in [IoMode::Mapped, IoMode::Plain] {
        let dir = TempDir::new(&format!("basic-{mode:?}"));
        let merge = MergePolicy { background: false, ..MergePolicy::default() };
        let options = || Options::new().io(mode).max_file_size(64 << 10).merge(merge.clone());
        let db = options().open(dir.path()).unwrap();
        for round in 0..4_u32 {
            for n in 0..2000 {
                db.put(&key(n), format!("value {n} {round}").as_bytes()).unwrap();
            }
        }
        for n in (0..2000).step_by(2) {
            assert!(db.delete(&key(n)).unwrap());
        }
        let check = |db: &Bitcask| {
            assert_eq!(db.len().unwrap(), 1000);
            for n in 0..2000 {
                let value = db.get(&key(n)).unwrap();
                match n % 2 {
                    0 => assert!(value.is_none(), "{n}"),
                    _ => assert_eq!(value.unwrap(), format!("value {n} 3"), "{n}"),
                }
            }
            assert_eq!(db.iter().map(Result::unwrap).count(), 1000);
        };
        check(&db);
        db.close().unwrap();
        let db = options().open(dir.path()).unwrap();
        check(&db);
        let before = db.stats().unwrap();
        let report = db.merge().unwrap();
        check(&db);
        let after = db.stats().unwrap();
        assert!(report.reclaimed_bytes() > 0);
        assert!(after.bytes() * 3 < before.bytes(), "{} {}", after.bytes(), before.bytes());
        assert_eq!(after.dead_bytes(), 0, "{report:?} {after:#?}");
        drop(db);
        let db = options().open(dir.path()).unwrap();
        check(&db);
        assert_eq!(db.stats().unwrap().dead_bytes(), 0);
        assert!(db.recovery().cut.is_none());
        assert_eq!(db.recovery().scanned_files, 0);
    }
}

#[test]
fn the_second_opener_is_told_who_has_the_store() {
    let dir = TempDir::new("lock");
    let db = Bitcask::open(dir.path()).unwrap();
    let error = Bitcask::open(dir.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked);
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
    db.close().unwrap();
    db.close().unwrap();
    assert_eq!(db.get(b"k").unwrap_err().kind(), ErrorKind::Invalid);
    Bitcask::open(dir.path()).unwrap();
}

#[test]
fn batches_and_many_gets() {
    let dir = TempDir::new("batch");
    let db = Bitcask::open(dir.path()).unwrap();
    let mut batch = WriteBatch::new();
    batch.put("a", "1").put("b", "2").delete("a").put("c", "3").put("c", "4");
    db.write(&batch).unwrap();
    let values = db.get_many(&["a", "b", "c", "d"]).unwrap();
    let values: Vec<_> = values.into_iter().map(|value| value.map(|v| v.into_vec())).collect();
    assert_eq!(values, [None, Some(b"2".to_vec()), Some(b"4".to_vec()), None]);
    assert_eq!(db.len().unwrap(), 2);
}

#[test]
fn background_merges_keep_to_their_window_and_wait_while_paused() {
    const HOUR_MS: u64 = 3_600_000;
    let (fs, clock) = (SimFs::new(1), SimClock::new(12 * HOUR_MS));
    let merge = MergePolicy { window_utc_hours: Some((22, 4)), ..MergePolicy::default() };
    let db = Options::new()
        .on(Arc::new(fs), Arc::new(clock.clone()))
        .without_threads()
        .max_file_size(4096)
        .merge(merge)
        .open("/db")
        .unwrap();
    for n in 0..100 {
        db.put(&key(n % 5), &[7; 500]).unwrap();
    }
    let merges_after_a_tick = || {
        db.tick().unwrap();
        db.stats().unwrap().merges
    };
    assert_eq!(merges_after_a_tick(), 0, "at noon");
    clock.set_wall_ms(4 * HOUR_MS);
    assert_eq!(merges_after_a_tick(), 0, "when the window has closed");
    clock.set_wall_ms(23 * HOUR_MS);
    db.pause_merge();
    assert_eq!(merges_after_a_tick(), 0, "while paused");
    db.resume_merge();
    assert!(merges_after_a_tick() > 0, "before midnight");
    assert_eq!(db.len().unwrap(), 5);
}

#[test]
fn a_memory_budget_refuses_new_keys_and_nothing_else() {
    for index in [Index::Hash, Index::Ordered] {
        let fs = Arc::new(SimFs::new(1));
        let options = Options::new().on(fs, Arc::new(SimClock::new(0))).without_threads();
        let options = options.shard_bits(2).index(index);
        let budget = 40_000;
        let db = options.clone().memory_budget(budget).open("/db").unwrap();
        let key = |n: u32| format!("key{n}").into_bytes();
        let refused = (0..).find_map(|n| db.put(&key(n), b"v").err().map(|e| (n, e)));
        let (keys, error) = refused.unwrap();
        assert_eq!(error.kind(), ErrorKind::Full, "{error:?}");
        assert!(error.to_string().contains("budget"), "{error}");
        assert!(keys > 1000, "{keys}");
        let stats = db.stats().unwrap();
        assert!(stats.keydir_bytes + stats.ordered_bytes <= budget);
        assert_eq!(stats.keys, u64::from(keys));
        // Overwriting and deleting go on, and make room.
        db.put(&key(0), b"w").unwrap();
        assert!(db.put_if_absent(b"new", b"").is_err());
        let mut batch = WriteBatch::new();
        batch.put(key(1), "w").put("new", "");
        assert_eq!(db.write(&batch).unwrap_err().kind(), ErrorKind::Full);
        assert_eq!(db.get(&key(1)).unwrap().unwrap(), "v");
        for n in 0..keys / 2 {
            assert!(db.delete(&key(n)).unwrap());
        }
        db.put(b"new", b"").unwrap();
        db.close().unwrap();
        let error = options.clone().memory_budget(1000).open("/db").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Full, "{error:?}");
        assert_eq!(options.open("/db").unwrap().get(b"new").unwrap().unwrap(), "");
    }
}

#[test]
fn one_in_64_puts_is_timed_whatever_else_takes_sequence_numbers() {
    for durability in [Durability::Os, Durability::Always] {
        let dir = TempDir::new(&format!("timed-{durability:?}"));
        let db = Options::new().durability(durability).open(dir.path()).unwrap();
        (0..128).for_each(|_| db.put(b"k", b"v").unwrap());
        assert_eq!(db.stats().unwrap().put_latency.count(), 2, "{durability:?}");
    }
}
