//! Destroy removes a store whole or leaves it whole, and removes nothing else.

use super::*;

#[test]
fn a_destroyed_store_is_gone_with_its_directory() {
    for store in stores() {
        let fs = disk_of(&store.image);
        fs.write_file("db/000000000099.hint.tmp", b"left by a crash");
        let report = options(&fs).destroy(DIR).unwrap();
        assert_eq!(report.files_removed, store.image.len() + 1);
        assert!(report.directory_removed && report.left.is_empty(), "{report:?}");
        assert!(fs.file_names(DIR).is_empty());
        let error = options(&fs).destroy(DIR).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let error = options(&fs).create_if_missing(false).open(DIR).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let db = options(&fs).open(DIR).unwrap();
        assert!(db.is_empty().unwrap());
    }
}

#[test]
fn foreign_files_and_the_quarantine_stay_and_are_listed() {
    let fs = disk_of(&closed_store().image);
    fs.create_dir(Path::new("db/quarantine")).unwrap();
    fs.write_file("db/quarantine/000000000001.data", b"damaged");
    fs.write_file("db/notes.txt", b"mine");
    fs.write_file("db/7.data", b"mine, too");
    let report = options(&fs).destroy(DIR).unwrap();
    assert_eq!(report.left, ["7.data", "notes.txt", "quarantine"]);
    assert!(!report.directory_removed);
    assert_eq!(fs.file_names(DIR), ["7.data", "notes.txt"]);
    assert_eq!(fs.read_file("db/quarantine/000000000001.data"), b"damaged");
}

#[test]
fn a_directory_without_a_store_is_refused_and_not_touched() {
    let fs = new_disk(41);
    fs.write_file("db/LOCK", b"of another program");
    fs.write_file("db/000001.sst", b"its data");
    for dir in [DIR, "nowhere"] {
        for error in [options(&fs).destroy(dir).unwrap_err(), options(&fs).repair(dir).unwrap_err()]
        {
            assert_eq!(error.kind(), ErrorKind::Invalid, "{error:?}");
        }
    }
    assert_eq!(fs.read_file("db/LOCK"), b"of another program");
    assert_eq!(fs.file_names(DIR), ["000001.sst", "LOCK"]);
}

#[test]
fn an_open_store_is_neither_destroyed_nor_repaired() {
    let store = closed_store();
    let fs = disk_of(&store.image);
    let _db = options(&fs).open(DIR).unwrap();
    let before = image_of(&fs);
    assert_eq!(options(&fs).destroy(DIR).unwrap_err().kind(), ErrorKind::Locked);
    assert_eq!(options(&fs).repair(DIR).unwrap_err().kind(), ErrorKind::Locked);
    assert_eq!(image_of(&fs), before);
}

#[test]
fn a_crash_at_every_operation_leaves_the_store_whole_or_nothing_that_opens() {
    let (mut whole, mut refused) = (0, 0);
    for store in stores() {
        let contents = contents_after(&store, store.history.len());
        let base = disk_of(&store.image);
        for op in 0.. {
            let fs = base.kill();
            fs.set_crash_point(op);
            let done = options(&fs).destroy(DIR).is_ok();
            for seed in 0..12 {
                let fs = fs.crash(seed);
                let opened = options(&fs.crash(1)).create_if_missing(false).open(DIR);
                match opened {
                    Ok(db) => {
                        whole += 1;
                        assert_eq!(contents_of(&db), contents, "op {op}, seed {seed}");
                    }
                    Err(e) => {
                        refused += 1;
                        assert_eq!(e.kind(), ErrorKind::Invalid, "{e:?}");
                        assert_eq!(
                            options(&fs).repair(DIR).unwrap_err().kind(),
                            ErrorKind::Invalid
                        );
                    }
                }
                let names = fs.file_names(DIR);
                match options(&fs).destroy(DIR) {
                    Ok(report) => assert!(report.directory_removed),
                    Err(e) => {
                        assert_eq!(e.kind(), ErrorKind::Invalid);
                        assert!(names.is_empty(), "op {op}, seed {seed}: {names:?}");
                    }
                }
                assert!(fs.file_names(DIR).is_empty());
            }
            if done {
                break;
            }
        }
    }
    assert!(whole > 50 && refused > 50, "{whole} {refused}");
}
