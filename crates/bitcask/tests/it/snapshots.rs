//! Snapshots and merges.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::sync::Arc;

use bitcask::fs::sim::{SimClock, SimFs};
use bitcask::{Bitcask, MergePolicy, Options};

const FILE_SIZE: u64 = 64 << 10;

fn open(fs: &SimFs) -> Bitcask {
    let merge = MergePolicy { background: false, ..MergePolicy::default() };
    let options = Options::new().merge(merge).max_file_size(FILE_SIZE).shard_bits(2);
    let options = options.on(Arc::new(fs.clone()), Arc::new(SimClock::new(0)));
    options.without_threads().open("/db").unwrap()
}

fn fill(db: &Bitcask, byte: u8) {
    for n in 0..200 {
        db.put(format!("key {n}").as_bytes(), &[byte; 5000]).unwrap();
    }
}

#[test]
fn merged_files_are_no_longer_than_others_when_all_that_is_copied_is_kept_for_a_snapshot() {
    let fs = SimFs::new(1);
    let db = open(&fs);
    fill(&db, 1);
    let snapshot = db.snapshot().unwrap();
    fill(&db, 2);
    db.merge().unwrap();
    for file in db.stats().unwrap().files {
        assert!(file.bytes <= FILE_SIZE, "{file:?}");
    }
    let kept = &db.stats().unwrap().snapshots[0];
    assert_eq!(kept.kept_records, 200);
    assert!(snapshot.iter().all(|entry| entry.unwrap().1 == vec![1; 5000]));

    drop(snapshot);
    db.merge().unwrap();
    let stats = db.stats().unwrap();
    assert_eq!((stats.snapshots.len(), stats.dead_bytes()), (0, 0), "{stats:#?}");
    let bytes: u64 = stats.files.iter().map(|file| file.bytes).sum();
    assert!(bytes < 1 << 20, "{bytes}");
}

#[test]
fn a_store_that_was_opened_again_knows_nothing_of_what_was_kept() {
    let fs = SimFs::new(1);
    let db = open(&fs);
    db.put(b"deleted", b"old").unwrap();
    db.put(b"changed", b"old").unwrap();
    let snapshot = db.snapshot().unwrap();
    db.delete(b"deleted").unwrap();
    db.put(b"changed", b"new").unwrap();
    for _ in 0..3 {
        db.merge().unwrap();
        assert_eq!(snapshot.get(b"deleted").unwrap().unwrap(), "old");
        assert_eq!(snapshot.get(b"changed").unwrap().unwrap(), "old");
        let image = open(&fs.kill());
        assert!(image.get(b"deleted").unwrap().is_none());
        assert_eq!(image.get(b"changed").unwrap().unwrap(), "new");
        assert_eq!(image.len().unwrap(), 1);
    }
}
