//! Verify finds whatever is damaged, and nothing else.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::*;
use crate::basics::TempDir;

fn opened(store: &Store, mode: IoMode) -> (SimFs, Bitcask) {
    let fs = disk_of(&store.image);
    let db = options(&fs).io(mode).open(DIR).unwrap();
    (fs, db)
}

fn verified(db: &Bitcask) -> VerifyReport {
    let report = db.verify().unwrap();
    assert!(!report.stopped);
    report
}

#[test]
fn a_sound_store_is_clean_after_every_operation() {
    for mode in [IoMode::Mapped, IoMode::Plain] {
        let fs = new_disk(40);
        let db = options(&fs).io(mode).open(DIR).unwrap();
        assert_eq!(verified(&db), VerifyReport::default());
        for n in 0..120_u32 {
            let key = (n % 9).to_le_bytes();
            match n % 5 {
                0 => drop(db.delete(&key).unwrap()),
                1 => {
                    let mut batch = WriteBatch::new();
                    batch.put(key, "in a batch").delete("x").put("x", [b'x'; 90]);
                    db.write(&batch).unwrap();
                }
                _ => db.put(&key, &[b'v'; 300]).unwrap(),
            }
            if n % 31 == 0 {
                db.merge().unwrap();
            }
            if n % 11 == 0 {
                db.tick().unwrap();
            }
            let report = verified(&db);
            assert!(report.is_clean(), "{mode:?} {n}: {report:#?}");
            assert_eq!(report.files, db.stats().unwrap().files.len());
        }
        assert!(verified(&db).hints > 0);
    }
}

#[test]
fn stores_of_all_kinds_are_clean_when_opened() {
    for mode in [IoMode::Mapped, IoMode::Plain] {
        for (index, store) in stores().iter().enumerate() {
            let (_, db) = opened(store, mode);
            let report = verified(&db);
            assert!(report.is_clean(), "{index}: {report:#?}");
            let records: usize = store.files.iter().map(|file| file.records.len()).sum();
            assert!(report.records >= records as u64);
        }
    }
}

/// The end of what is checked: of records in a data file, of the file for a hint.
fn checked_len(store: &Store, name: &str, bytes: &[u8]) -> usize {
    let file = store.files.iter().find(|file| file.name == name);
    file.map_or(bytes.len(), |file| file.records.last().unwrap().bytes.end)
}

#[test]
fn every_damaged_byte_is_found_and_placed() {
    let mut cases = 0_u64;
    for store in stores() {
        for mode in [IoMode::Mapped, IoMode::Plain] {
            let (fs, db) = opened(&store, mode);
            for (name, bytes) in &store.image {
                let names = [name.clone(), name.replace(".data", ".hint")];
                for at in 0..checked_len(&store, name, bytes) {
                    if !is_telling(bytes, at) {
                        continue;
                    }
                    cases += 1;
                    let (byte, bit) = (at as u64, u8::try_from(cases % 8).unwrap());
                    fs.flip_bit(path_of(name), byte, bit);
                    let report = verified(&db);
                    let found = |damage: &bitcask::Damage| {
                        damage.path == path_of(name) && (damage.from..damage.to).contains(&byte)
                    };
                    assert!(report.damage.iter().any(found), "{name} {at}.{bit}: {report:#?}");
                    let elsewhere = |damage: &&bitcask::Damage| {
                        names.iter().all(|name| damage.path != path_of(name))
                    };
                    assert_eq!(report.damage.iter().find(elsewhere), None, "{name} {at}");
                    fs.flip_bit(path_of(name), byte, bit);
                }
            }
            assert!(verified(&db).is_clean());
        }
    }
    println!("damaged bytes found: {cases}");
}

#[test]
fn several_damaged_records_of_one_file_are_all_found_and_the_rest_is_counted() {
    let store = closed_store();
    let (fs, db) = opened(&store, IoMode::Plain);
    let sound = verified(&db).records;
    let file = &store.files[0];
    let hit: Vec<_> = file.records.iter().filter(|rec| rec.flags & MARK == 0).step_by(3).collect();
    hit.iter().for_each(|rec| fs.flip_bit(path_of(&file.name), rec.bytes.start as u64 + 9, 1));
    let report = verified(&db);
    assert_eq!(report.records, sound - hit.len() as u64);
    let ranges: Vec<_> = report.damage.iter().map(|d| (d.from, d.to)).collect();
    let wanted: Vec<_> =
        hit.iter().map(|rec| (rec.bytes.start as u64, rec.bytes.end as u64)).collect();
    assert!(wanted.iter().all(|range| ranges.contains(range)), "{wanted:?} {ranges:?}");
}

/// Its checksums are right, and what it says is not.
#[test]
fn a_hint_that_lies_is_found_and_repair_moves_it_away() {
    let store = closed_store();
    let name = &store.files[0].hint_name;
    for field in [0, 8, 16, 20] {
        let mut hint = store.image[name].to_vec();
        let header_crc = low32(int::<4>(&hint, 60));
        hint[HEADER_LEN + field] ^= 1;
        let end = HEADER_LEN + BLOCK_LEN - 4;
        let crc = crc32c::crc32c_append(header_crc, &hint[HEADER_LEN..end]);
        hint[end..end + 4].copy_from_slice(&crc.to_le_bytes());
        let (fs, db) = opened(&store, IoMode::Plain);
        fs.write_file(path_of(name), &hint);
        let report = verified(&db);
        let [damage] = &report.damage[..] else { panic!("{report:#?}") };
        let block = (HEADER_LEN as u64, (HEADER_LEN + BLOCK_LEN) as u64);
        assert_eq!((damage.path.clone(), (damage.from, damage.to)), (path_of(name), block));
        db.close().unwrap();
        let report = options(&fs).repair(DIR).unwrap();
        assert_eq!((report.files_replaced, report.quarantined.len()), (0, 1), "{report:#?}");
        let db = options(&fs).open(DIR).unwrap();
        assert!(verified(&db).is_clean());
        assert_eq!(contents_of(&db), contents_after(&store, store.history.len()));
        assert_eq!(fs.read_file(path_of(name)), **store.image[name], "it was written anew");
    }
}

/// Its checksum is right, but it is not the record that was written.
#[test]
fn a_record_that_was_replaced_is_found_by_the_mark_behind_it() {
    let store = closed_store();
    let file = &store.files[0];
    let rec = file.records.iter().find(|rec| rec.flags & VALUE != 0).unwrap();
    let (fs, db) = opened(&store, IoMode::Plain);
    let mut bytes = store.image[&file.name].to_vec();
    let at = rec.bytes.clone();
    bytes[at.start + RECORD_HEADER_LEN - 1] ^= 1;
    let start = file.seed ^ u32::try_from(at.start / 4).unwrap();
    let crc = crc32c::crc32c_append(start, &bytes[at.start + 4..at.end]);
    bytes[at.start..at.start + 4].copy_from_slice(&crc.to_le_bytes());
    fs.write_file(path_of(&file.name), &bytes);
    let report = verified(&db);
    assert_eq!(report.damage[0].path, path_of(&file.name), "{report:#?}");
    assert!(report.damage[0].from >= at.end as u64);
}

#[test]
fn a_file_that_merge_removes_meanwhile_is_no_loss() {
    let fs = disk_of(&closed_store().image);
    let db = options(&fs).open(DIR).unwrap();
    let mut removed = 0;
    let report = db
        .verify_with(&VerifyOptions::new(), |_| {
            removed += db.merge().unwrap().files_removed;
            ControlFlow::Continue(())
        })
        .unwrap();
    assert!(removed > 1 && report.files < 3, "{removed} {report:#?}");
    assert!(report.is_clean(), "{report:#?}");
}

#[test]
fn files_that_are_gone_are_told() {
    let store = closed_store();
    let (fs, db) = opened(&store, IoMode::Plain);
    for name in ["000000000001.data", "000000000002.hint"] {
        fs.remove_file(path_of(name));
        let report = verified(&db);
        let damage = report.damage.last().unwrap();
        assert_eq!(damage.path, path_of(name));
        assert!(damage.what.contains("gone"), "{report:#?}");
    }
}

#[test]
fn a_page_that_the_disk_does_not_give_is_damage_and_the_rest_is_read() {
    let store = closed_store();
    let (fs, db) = opened(&store, IoMode::Plain);
    let sound = fs.op_count();
    assert!(verified(&db).is_clean());
    let ops = fs.op_count() - sound;
    let mut found = 0;
    for op in 0..ops {
        // Twice, because what fails is read again page by page.
        for failing in [op, op + 1] {
            fs.fail_at(fs.op_count() + failing, bitcask::fs::sim::Failure::Io);
        }
        match db.verify() {
            Ok(report) => found += u32::from(!report.is_clean()),
            Err(e) => assert_eq!(e.kind(), ErrorKind::Io),
        }
        fs.clear_faults();
    }
    assert!(found > 0);
    assert!(verified(&db).is_clean());
}

#[test]
fn verification_tells_how_far_it_is_and_can_be_stopped() {
    let store = closed_store();
    let (_, db) = opened(&store, IoMode::Plain);
    let mut seen = Vec::new();
    let options = VerifyOptions::new().rate_bytes_per_second(1 << 20);
    let report = db
        .verify_with(&options, |progress| {
            seen.push(progress.clone());
            ControlFlow::Continue(())
        })
        .unwrap();
    let last = seen.last().unwrap();
    assert_eq!((last.files, last.bytes), (3, report.bytes + 3 * 64 - 3 * 64));
    let stopped = db.verify_with(&options, |_| ControlFlow::Break(())).unwrap();
    assert!(stopped.stopped && stopped.files == 1, "{stopped:?}");
    let zero = VerifyOptions::new().rate_bytes_per_second(0);
    let error = db.verify_with(&zero, |_| ControlFlow::Continue(())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    db.close().unwrap();
    assert_eq!(db.verify().unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn verification_changes_nothing() {
    for store in stores() {
        let (fs, db) = opened(&store, IoMode::Mapped);
        fs.flip_bit(path_of(&store.files[0].name), 70, 1);
        let before = image_of(&fs);
        assert!(!verified(&db).is_clean());
        assert_eq!(image_of(&fs), before);
        fs.set_crash_point(0);
    }
}

#[test]
fn a_store_that_is_written_and_merged_meanwhile_is_clean() {
    for mode in [IoMode::Mapped, IoMode::Plain] {
        let dir = TempDir::new(&format!("verify-{mode:?}"));
        let merge = MergePolicy {
            check_interval: Duration::from_millis(5),
            dead_ratio_trigger: 0.1,
            dead_ratio_threshold: 0.1,
            ..MergePolicy::default()
        };
        let db =
            Options::new().io(mode).max_file_size(32 << 10).merge(merge).open(dir.path()).unwrap();
        let puts = AtomicU32::new(0);
        let (enough, checked) = (30_000, AtomicBool::new(false));
        let done = || puts.load(Ordering::Relaxed) >= enough && checked.load(Ordering::Relaxed);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in (0_u32..).take_while(|_| !done()) {
                    db.put(&(n % 701).to_le_bytes(), &[b'v'; 200]).unwrap();
                    if n % 3 == 0 {
                        db.delete(&(n % 353).to_le_bytes()).unwrap();
                    }
                    puts.fetch_add(1, Ordering::Relaxed);
                }
            });
            scope.spawn(|| {
                while !done() {
                    db.merge().unwrap();
                }
            });
            let mut files = 0;
            for n in 0.. {
                let report = db.verify().unwrap();
                assert!(report.is_clean(), "{mode:?}: {report:#?}");
                files = files.max(report.files);
                checked.store(n >= 50, Ordering::Relaxed);
                if done() {
                    break;
                }
            }
            assert!(files > 2, "{files}");
        });
    }
}

/// A file's length moves record by record, also within a batch.
#[test]
fn a_batch_that_is_being_written_is_not_damage() {
    let dir = TempDir::new("verify-batches");
    let db = Options::new().max_file_size(1 << 20).open(dir.path()).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                let mut batch = WriteBatch::new();
                for member in 0..40 {
                    n += 1;
                    batch.put(format!("key{}", n % 500), vec![member; 700]);
                }
                db.write(&batch).unwrap();
            }
        });
        let damage: Vec<_> = (0..40).flat_map(|_| db.verify().unwrap().damage).collect();
        stop.store(true, Ordering::Relaxed);
        assert_eq!(damage, []);
    });
}
