//! Several stores in one process, by themselves and below one directory.

use std::sync::Arc;
use std::thread;

use bitcask::fs::sim::{SimClock, SimFs};
use bitcask::{Bitcask, ErrorKind, MergePolicy, Options, ReadOnly, Snapshot, Stores};

use crate::basics::TempDir;

fn options() -> Options {
    let (fs, clock) = (SimFs::new(1), SimClock::new(0));
    Options::new().on(Arc::new(fs), Arc::new(clock)).without_threads()
}

#[test]
fn handles_can_be_shared_among_threads() {
    fn shared<T: Send + Sync>() {}
    fn cloned<T: Clone>() {}
    shared::<Bitcask>();
    cloned::<Bitcask>();
    shared::<ReadOnly>();
    shared::<Snapshot>();
    cloned::<Snapshot>();
    shared::<Stores>();
    shared::<Options>();
    cloned::<Options>();
    #[cfg(feature = "serde")]
    {
        shared::<bitcask::Typed<String, String>>();
        cloned::<bitcask::Typed<String, String>>();
    }
}

#[test]
fn stores_in_different_directories_know_nothing_of_each_other() {
    let (a, b) = (TempDir::new("store-a"), TempDir::new("store-b"));
    let (a_db, b_db) = (Bitcask::open(a.path()).unwrap(), Bitcask::open(b.path()).unwrap());
    a_db.put(b"k", b"a").unwrap();
    assert_eq!(b_db.get(b"k").unwrap(), None);
    b_db.put(b"k", b"b").unwrap();
    assert_eq!(a_db.get(b"k").unwrap().unwrap(), "a");
    assert_eq!(Bitcask::open(a.path()).unwrap_err().kind(), ErrorKind::Locked);
    a_db.close().unwrap();
    assert_eq!(b_db.get(b"k").unwrap().unwrap(), "b");
    assert_eq!(Bitcask::open(a.path()).unwrap().get(b"k").unwrap().unwrap(), "a");
}

#[test]
fn a_store_is_known_by_its_id_from_its_first_change_on() {
    let (a, b, copy) = (TempDir::new("id-a"), TempDir::new("id-b"), TempDir::new("id-copy"));
    let a_db = Bitcask::open(a.path()).unwrap();
    let b_db = Bitcask::open(b.path()).unwrap();
    let id = a_db.store_id().unwrap();
    assert_ne!(id, b_db.store_id().unwrap());
    a_db.put(b"k", b"a").unwrap();
    a_db.put(b"stays", b"a").unwrap();
    a_db.checkpoint(copy.path()).unwrap();
    let seq = a_db.seq().unwrap();
    a_db.delete(b"k").unwrap();
    a_db.merge().unwrap();
    a_db.close().unwrap();
    assert_eq!(a_db.store_id().unwrap_err().kind(), ErrorKind::Invalid);
    let a_db = Bitcask::open(a.path()).unwrap();
    assert_eq!(a_db.store_id().unwrap(), id);
    assert!(a_db.seq().unwrap() > seq);
    assert_eq!(Bitcask::open(copy.path()).unwrap().store_id().unwrap(), id);
}

#[test]
fn one_name_is_one_store_while_it_is_open_and_the_same_data_after() {
    let options = options();
    let stores = Stores::new("/stores", options.clone());
    let first = stores.open("a").unwrap();
    first.put(b"k", b"1").unwrap();
    let second = stores.open("a").unwrap();
    assert_eq!(second.get(b"k").unwrap().unwrap(), "1");
    assert_eq!(stores.open("b").unwrap().get(b"k").unwrap(), None);
    drop((first, second));
    let locked = options.clone().open("/stores/a").unwrap_err();
    assert_eq!(locked.kind(), ErrorKind::Locked, "it stays open without handles");

    stores.open("a").unwrap().close().unwrap();
    assert_eq!(stores.open("a").unwrap().get(b"k").unwrap().unwrap(), "1", "opened anew");
    let handle = stores.open("a").unwrap();
    stores.close_all().unwrap();
    assert_eq!(handle.get(b"k").unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(options.clone().open("/stores/a").unwrap().get(b"k").unwrap().unwrap(), "1");

    stores.open("a").unwrap();
    drop(stores);
    options.open("/stores/a").unwrap();
}

#[test]
fn names_are_those_of_directories_that_hold_a_store() {
    let dir = TempDir::new("stores-names");
    let merge = MergePolicy { background: false, ..MergePolicy::default() };
    let stores = Stores::new(dir.path(), Options::new().merge(merge));
    assert_eq!(stores.names().unwrap(), [""; 0], "there is not even a directory");
    for name in ["b", "a", "with space", "c"] {
        stores.open(name).unwrap().put(b"k", b"v").unwrap();
    }
    stores.open("c").unwrap().close().unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    std::fs::create_dir(dir.path().join("empty")).unwrap();
    std::fs::rename(dir.path().join("c"), dir.path().join(".c")).unwrap();
    assert_eq!(stores.names().unwrap(), ["a", "b", "with space"]);
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let stores = Stores::new("/stores", options());
    let longest = "a".repeat(255);
    let longer = "a".repeat(256);
    for name in ["", ".", "..", ".a", "a/b", "/a", "a\\b", "a\0", "a\n", &longer] {
        assert_eq!(stores.open(name).unwrap_err().kind(), ErrorKind::Invalid, "{name:?}");
    }
    for name in ["a", "a.b", "a b", "\u{e4}", &longest] {
        stores.open(name).unwrap();
    }
    let all = stores.names().unwrap();
    assert_eq!(all, ["a", "a b", "a.b", &longest, "\u{e4}"]);
}

#[test]
fn threads_that_open_and_close_one_name_are_never_locked_out() {
    let dir = TempDir::new("stores-threads");
    let stores = Stores::new(dir.path(), Options::new());
    thread::scope(|scope| {
        for thread in 0..4_u32 {
            let stores = &stores;
            scope.spawn(move || {
                for round in 0..10 {
                    let db = stores.open("one").unwrap();
                    match (thread, round % 3) {
                        (0, 0) => stores.close_all().unwrap(),
                        (1, 0) => db.close().unwrap(),
                        // Somebody may just have closed it.
                        _ => match db.put(&thread.to_le_bytes(), b"v") {
                            Ok(()) => {}
                            Err(e) => assert_eq!(e.kind(), ErrorKind::Invalid, "{e}"),
                        },
                    }
                }
            });
        }
    });
    stores.open("one").unwrap();
    assert_eq!(stores.names().unwrap(), ["one"]);
}
