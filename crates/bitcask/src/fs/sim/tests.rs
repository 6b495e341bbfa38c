use std::io::ErrorKind;
use std::time::Duration;

use super::rng::Rng;
use super::*;
use crate::fs::{Clock, read_full_at, write_all_at};

const MAPPED_LEN: usize = 64 * 1024;
const CLOSED: &str = "every byte of the result has an origin";

/// The seeds to try, or the one in the environment.
fn seeds(count: u64) -> Vec<u64> {
    match std::env::var("SEED") {
        Ok(seed) => vec![seed.parse().expect("SEED is a number")],
        Err(_) => (0..count).collect(),
    }
}

/// Runs `test` for each seed, and names the seed that it fails with.
fn for_seeds(count: u64, test: impl Fn(u64)) {
    struct Running(u64);
    impl Drop for Running {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("failed with SEED={}", self.0);
            }
        }
    }
    for seed in seeds(count) {
        let _running = Running(seed);
        test(seed);
    }
}

/// A disk with the directory `/db` and no write-back.
fn quiet(seed: u64) -> SimFs {
    let fs = SimFs::new(seed);
    fs.set_write_back(0);
    fs.create_dir(Path::new("/db")).unwrap();
    fs
}

fn open(fs: &SimFs, path: &str, access: Access) -> Box<dyn File> {
    fs.open(Path::new(path), access).unwrap()
}

/// A new file with `bytes` in it; nothing of it is durable.
fn create(fs: &SimFs, path: &str, bytes: &[u8]) -> Box<dyn File> {
    let file = open(fs, path, Access::Create);
    write_all_at(&*file, bytes, 0).unwrap();
    file
}

fn names(fs: &SimFs) -> Vec<String> {
    fs.file_names("/db").into_iter().map(|name| name.into_string().unwrap()).collect()
}

fn sync_dir(fs: &SimFs) {
    fs.sync_dir(Path::new("/db")).unwrap();
}

fn raw_error<T>(result: io::Result<T>) -> i32 {
    result.err().expect("this fails").raw_os_error().expect("as an operating system says it")
}

#[test]
fn files_behave_like_files() {
    let fs = quiet(0);
    let file = create(&fs, "/db/a", b"hello");
    write_all_at(&*file, b"world", 10).unwrap();
    assert_eq!(fs.read_file("/db/a"), b"hello\0\0\0\0\0world");
    assert_eq!(file.len().unwrap(), 15);

    let mut buf = [0; 10];
    assert_eq!(read_full_at(&*file, &mut buf, 8).unwrap(), 7);
    assert_eq!(buf[..7], *b"\0\0world");
    assert_eq!(file.read_at(&mut buf, u64::MAX).unwrap(), 0);

    file.set_len(3).unwrap();
    file.set_len(6).unwrap();
    file.allocate(4).unwrap();
    assert_eq!(fs.read_file("/db/a"), b"hel\0\0\0");
    file.allocate(8).unwrap();
    assert_eq!(file.len().unwrap(), 8);

    let list = fs.list(Path::new("/")).unwrap();
    assert_eq!(list, [Entry { name: "db".into(), len: 0 }]);
    assert_eq!(fs.list(Path::new("/db")).unwrap(), [Entry { name: "a".into(), len: 8 }]);
}

#[test]
fn errors_are_those_of_a_real_disk() {
    let fs = quiet(0);
    create(&fs, "/db/a", b"a");
    let kind = |path: &str, access| fs.open(Path::new(path), access).unwrap_err().kind();
    assert_eq!(kind("/db/a", Access::Create), ErrorKind::AlreadyExists);
    assert_eq!(kind("/db/b", Access::Read), ErrorKind::NotFound);
    assert_eq!(kind("/db/b", Access::Write), ErrorKind::NotFound);
    assert_eq!(kind("/none/b", Access::Create), ErrorKind::NotFound);
    assert_eq!(kind("/db", Access::Write), ErrorKind::IsADirectory);
    assert_eq!(kind("/db", Access::Create), ErrorKind::AlreadyExists);

    let (a, b) = (Path::new("/db/a"), Path::new("/db/b"));
    assert_eq!(fs.rename(b, a).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(fs.remove(b).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(fs.list(b).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(fs.sync_dir(b).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(fs.create_dir(a).unwrap_err().kind(), ErrorKind::AlreadyExists);

    let file = open(&fs, "/db/a", Access::Read);
    assert_eq!(raw_error(file.write_at(b"x", 0)), 9);
    assert_eq!(raw_error(file.set_len(0)), 22);
    assert_eq!(file.map(1, Access::Write).unwrap_err().kind(), ErrorKind::PermissionDenied);
    let file = open(&fs, "/db/a", Access::Write);
    assert_eq!(raw_error(file.set_len(1 << 40)), 27);
    assert_eq!(raw_error(file.write_at(b"x", u64::MAX)), 27);
}

#[test]
fn a_removed_file_lives_while_it_is_open_or_mapped() {
    let fs = quiet(0);
    let file = create(&fs, "/db/a", b"hello");
    let region = file.map(5, Access::Read).unwrap();
    fs.remove(Path::new("/db/a")).unwrap();
    sync_dir(&fs);
    create(&fs, "/db/a", b"other");
    let mut buf = [0; 5];
    assert_eq!(file.read_at(&mut buf, 0).unwrap(), 5);
    assert_eq!(buf, *b"hello");
    drop(file);
    assert_eq!(region.bytes(), b"hello");
    assert_eq!(fs.used_bytes(), 10);
    drop(region);
    assert_eq!(fs.used_bytes(), 5);
    assert_eq!(fs.state().inodes.len(), 1);
}

#[test]
fn a_mapping_is_the_file_itself() {
    let fs = quiet(0);
    let file = create(&fs, "/db/a", b"head");
    let region = file.map(10_000, Access::Write).unwrap();
    assert_eq!(region.bytes(), b"head");
    file.allocate(8192).unwrap();
    let mut appender = region.appender().unwrap();
    appender.append(5, |to| to.copy_from_slice(b"-tail"));
    assert_eq!(region.bytes(), b"head-tail");
    assert_eq!(fs.read_file("/db/a")[..10], *b"head-tail\0");
    assert_eq!(file.map(3, Access::Read).unwrap().bytes(), b"hea");

    sync_dir(&fs);
    assert_eq!(fs.crash(0).read_file("/db/a"), b"", "nothing was synced");
    assert_eq!(fs.crash(1).read_file("/db/a")[..10], *b"head-tail\0");
    file.sync().unwrap();
    let crashed = fs.crash(0);
    assert_eq!(crashed.read_file("/db/a").len(), 8192);
    assert_eq!(crashed.read_file("/db/a")[..10], *b"head-tail\0");
}

#[test]
fn a_file_mapped_for_reading_can_outgrow_its_mapping() {
    let fs = quiet(0);
    let file = create(&fs, "/db/a", b"hello");
    let region = file.map(5, Access::Read).unwrap();
    write_all_at(&*file, &[7; 100_000], 5).unwrap();
    assert_eq!(region.bytes(), b"hello");
    assert_eq!(file.map(100_005, Access::Read).unwrap().bytes(), fs.read_file("/db/a"));
}

#[test]
#[should_panic(expected = "cannot move what is mapped writable")]
fn a_file_mapped_for_writing_cannot() {
    let fs = quiet(0);
    let file = create(&fs, "/db/a", b"hello");
    let _region = file.map(5, Access::Write).unwrap();
    file.set_len(100_000).unwrap();
}

#[test]
#[should_panic(expected = "beyond the end of its file")]
fn writing_to_a_mapping_beyond_the_end_of_the_file_is_noticed() {
    let fs = quiet(0);
    let file = create(&fs, "/db/a", b"hello");
    let region = file.map(4096, Access::Write).unwrap();
    region.appender().unwrap().append(1, |to| to[0] = 1);
    file.allocate(4096).unwrap();
}

#[test]
fn a_kill_leaves_everything_written_but_nothing_more_durable() {
    let fs = quiet(0);
    let _file = create(&fs, "/db/a", b"hello");
    let _lock = fs.lock(Path::new("/db/lock"), "me").unwrap().unwrap();
    let removed = create(&fs, "/db/b", b"gone");
    fs.remove(Path::new("/db/b")).unwrap();
    sync_dir(&fs);

    let killed = fs.kill();
    assert_eq!(names(&killed), ["a", "lock"]);
    assert_eq!(killed.read_file("/db/a"), b"hello");
    assert_eq!(killed.used_bytes(), 7);
    assert!(killed.lock(Path::new("/db/lock"), "you").unwrap().is_ok());
    assert_eq!(killed.crash(0).read_file("/db/a"), b"", "it is still on its way");
    open(&killed, "/db/a", Access::Read).sync().unwrap();
    assert_eq!(killed.crash(0).read_file("/db/a"), b"hello");
    assert_eq!(fs.crash(0).read_file("/db/a"), b"", "the old disk is its own");
    assert_eq!(removed.len().unwrap(), 4);
}

#[test]
fn names_are_durable_after_sync_dir_and_in_any_part_before() {
    let fs = quiet(0);
    for name in ["a", "b", "c"] {
        create(&fs, &format!("/db/{name}"), name.as_bytes()).sync().unwrap();
    }
    sync_dir(&fs);
    for seed in 0..100 {
        assert_eq!(names(&fs.crash(seed)), ["a", "b", "c"]);
    }

    // `a` replaces `b`, `c` goes, `d` comes: eight outcomes.
    fs.rename(Path::new("/db/a"), Path::new("/db/b")).unwrap();
    fs.remove(Path::new("/db/c")).unwrap();
    create(&fs, "/db/d", b"d").sync().unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..1000 {
        let crashed = fs.crash(seed);
        let b = crashed.read_file("/db/b");
        assert_eq!(names(&crashed).contains(&"a".to_owned()), b == b"b", "a rename is atomic");
        seen.insert((names(&crashed), b));
    }
    assert_eq!(seen.len(), 8);
    assert_eq!(names(&fs.crash(0)), ["a", "b", "c"]);
    assert_eq!(names(&fs.crash(1)), ["b", "d"]);
    assert_eq!(names(&fs.crash(2)), ["a", "b", "c"]);
    assert_eq!(names(&fs.crash(3)), ["b", "d"]);
}

#[test]
fn a_file_renamed_twice_has_one_name_after_a_crash() {
    let fs = quiet(0);
    create(&fs, "/db/a", b"x").sync().unwrap();
    fs.rename(Path::new("/db/a"), Path::new("/db/b")).unwrap();
    fs.rename(Path::new("/db/b"), Path::new("/db/c")).unwrap();
    for_seeds(200, |seed| assert!(names(&fs.crash(seed)).len() <= 1));
}

#[test]
fn names_of_one_file_come_and_go_each_by_itself() {
    let fs = quiet(0);
    fs.create_dir(Path::new("/other")).unwrap();
    let (a, b, c) = (Path::new("/db/a"), Path::new("/db/b"), Path::new("/other/c"));
    create(&fs, "/db/a", b"x").sync().unwrap();
    sync_dir(&fs);
    fs.link(a, b).unwrap();
    fs.link(b, c).unwrap();
    assert_eq!((fs.used_bytes(), fs.state().inodes.len()), (1, 1));
    assert_eq!(fs.link(a, c).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(fs.link(Path::new("/db/d"), b).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(raw_error(fs.link(Path::new("/db"), Path::new("/other/d"))), 1);

    // Each new name is there after a crash or not, the old one always.
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let crashed = fs.crash(seed);
        assert_eq!(crashed.read_file(a), b"x");
        seen.insert((names(&crashed).len(), crashed.file_names("/other").len()));
    }
    assert_eq!(Vec::from_iter(seen), [(1, 0), (1, 1), (2, 0), (2, 1)]);

    // What is done to one name leaves the others alone, on the medium too.
    sync_dir(&fs);
    fs.sync_dir(Path::new("/other")).unwrap();
    fs.rename(b, Path::new("/db/d")).unwrap();
    fs.remove(a).unwrap();
    sync_dir(&fs);
    assert_eq!(names(&fs), ["d"]);
    for seed in 0..50 {
        assert_eq!(names(&fs.crash(seed)), ["d"]);
        assert_eq!(fs.crash(seed).read_file(c), b"x");
    }
    fs.remove(c).unwrap();
    fs.sync_dir(Path::new("/other")).unwrap();
    assert_eq!(fs.used_bytes(), 1);
    fs.remove_file("/db/d");
    assert_eq!((fs.used_bytes(), fs.state().inodes.len()), (0, 0));
}

#[test]
fn a_rename_onto_another_name_of_the_same_file_does_nothing() {
    let fs = quiet(0);
    create(&fs, "/db/a", b"x").sync().unwrap();
    fs.link(Path::new("/db/a"), Path::new("/db/b")).unwrap();
    fs.rename(Path::new("/db/a"), Path::new("/db/b")).unwrap();
    assert_eq!(names(&fs), ["a", "b"]);
}

#[test]
fn a_file_has_names_on_one_file_system_only() {
    let fs = quiet(0);
    fs.create_dir(Path::new("/usb/x")).unwrap();
    fs.mount_at("/usb");
    create(&fs, "/db/a", b"x");
    let (a, b, c) = (Path::new("/db/a"), Path::new("/usb/x/b"), Path::new("/usb/c"));
    assert_eq!(fs.link(a, b).unwrap_err().kind(), ErrorKind::CrossesDevices);
    assert_eq!(fs.kill().link(a, b).unwrap_err().kind(), ErrorKind::CrossesDevices);
    create(&fs, "/usb/x/b", b"y");
    fs.link(b, c).unwrap();
    assert_eq!(fs.read_file(c), b"y");
}

#[test]
fn two_directories_change_places_in_one_step() {
    let fs = quiet(0);
    fs.create_dir(Path::new("/top/a")).unwrap();
    fs.create_dir(Path::new("/top/b")).unwrap();
    create(&fs, "/top/a/x", b"x").sync().unwrap();
    create(&fs, "/top/b/y", b"y").sync().unwrap();
    let (a, b) = (Path::new("/top/a"), Path::new("/top/b"));
    fs.sync_dir(a).unwrap();
    fs.sync_dir(b).unwrap();
    let _lock = fs.lock(Path::new("/top/a/x"), "me").unwrap().unwrap();
    let look = |fs: &SimFs| (fs.file_names(a), fs.file_names(b));
    let old = look(&fs);
    let new = (old.1.clone(), old.0.clone());
    fs.exchange_dirs(a, b).unwrap();
    assert_eq!(look(&fs), new);
    assert!(fs.lock(Path::new("/top/b/x"), "you").unwrap().is_err(), "a lock is on the file");

    // Until that is durable, what then happens in them is not ordered with it.
    fs.remove(Path::new("/top/b/x")).unwrap();
    fs.sync_dir(b).unwrap();
    let seen: std::collections::BTreeSet<_> = (0..100).map(|seed| look(&fs.crash(seed))).collect();
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert!(seen.contains(&(vec![], old.1)), "as it was, but for the file: {seen:?}");

    fs.sync_dir(Path::new("/top")).unwrap();
    fs.remove_dir(b).unwrap();
    assert_eq!(fs.list(b).unwrap_err().kind(), ErrorKind::NotFound);
    let left = |fs: &SimFs| fs.list(Path::new("/top")).unwrap().len();
    let seen: std::collections::BTreeSet<_> = (0..100).map(|seed| left(&fs.crash(seed))).collect();
    assert_eq!(Vec::from_iter(seen), [1, 2]);
    fs.sync_dir(Path::new("/top")).unwrap();
    assert_eq!(left(&fs.crash(0)), 1);
}

#[test]
fn a_directory_is_renamed_with_what_it_holds() {
    let fs = quiet(0);
    let path = Path::new;
    fs.create_dir(path("/db/a/deep")).unwrap();
    fs.create_dir(path("/db/b")).unwrap();
    fs.create_dir(path("/db/full/x")).unwrap();
    create(&fs, "/db/file", b"f");
    let open_file = create(&fs, "/db/a/deep/x", b"x");
    let kind = |from: &str, to: &str| fs.rename(path(from), path(to)).unwrap_err().kind();
    assert_eq!(kind("/db/a", "/db/full"), ErrorKind::DirectoryNotEmpty);
    assert_eq!(kind("/db/a", "/db/file"), ErrorKind::NotADirectory);
    assert_eq!(kind("/db/file", "/db/a"), ErrorKind::IsADirectory);
    assert_eq!(fs.remove_dir(path("/db/a")).unwrap_err().kind(), ErrorKind::DirectoryNotEmpty);
    assert_eq!(fs.remove_dir(path("/db/file")).unwrap_err().kind(), ErrorKind::NotADirectory);
    fs.rename(path("/db/a"), path("/db/b")).unwrap();
    assert_eq!(fs.read_file("/db/b/deep/x"), b"x");
    assert_eq!(open_file.len().unwrap(), 1);
    assert_eq!(fs.list(path("/db/a")).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(fs.list(path("/db/file")).unwrap_err().kind(), ErrorKind::NotADirectory);
    assert_eq!(fs.file_names("/db"), ["file"]);
    assert_eq!(fs.canonical(path("/db/b/")).unwrap(), path("/db/b"));
    assert_eq!(fs.canonical(path("/db/a")).unwrap_err().kind(), ErrorKind::NotFound);

    fs.mount_at("/db/b");
    assert_eq!(kind("/db/b", "/db/c"), ErrorKind::ResourceBusy);
    fs.create_dir(path("/db/c")).unwrap();
    let busy = fs.exchange_dirs(path("/db/c"), path("/db/b")).unwrap_err();
    assert_eq!(busy.kind(), ErrorKind::ResourceBusy);
}

#[test]
fn a_named_file_that_was_never_synced_can_be_empty() {
    let fs = quiet(0);
    create(&fs, "/db/tmp", b"contents");
    fs.rename(Path::new("/db/tmp"), Path::new("/db/a")).unwrap();
    assert_eq!(fs.crash(3).read_file("/db/a"), b"");
    assert_eq!(fs.crash(1).read_file("/db/a"), b"contents");
    assert_eq!(names(&fs.crash(2)), [""; 0]);
}

#[test]
fn a_cut_is_durable_after_a_sync_and_perhaps_before() {
    let fs = quiet(0);
    let file = create(&fs, "/db/a", &[1; 10_000]);
    file.sync().unwrap();
    sync_dir(&fs);
    file.set_len(5000).unwrap();
    write_all_at(&*file, &[2; 1000], 5000).unwrap();

    let mut lens = std::collections::BTreeSet::new();
    for_seeds(500, |seed| {
        let bytes = fs.crash(seed).read_file("/db/a");
        assert_eq!(bytes[..5000], [1; 5000]);
        if bytes.len() == 10_000 {
            assert!(bytes[5000..6000].iter().all(|byte| (0..3).contains(byte)));
            assert_eq!(bytes[8192..], [1; 1808], "freed blocks are not written to");
        } else {
            assert!((5000..=6000).contains(&bytes.len()));
            assert!(bytes[5000..].iter().all(|&byte| byte != 1), "cut off for good");
        }
    });
    lens.extend((0..500).map(|seed| fs.crash(seed).read_file("/db/a").len()));
    assert!(lens.len() > 10, "{lens:?}");
    assert!(lens.is_superset(&[5000, 6000, 10_000].into()));
    file.sync().unwrap();
    for seed in 0..100 {
        assert_eq!(fs.crash(seed).read_file("/db/a").len(), 6000);
    }
}

#[test]
fn the_same_seed_repeats_everything() {
    let run = |seed| {
        let fs = SimFs::new(seed);
        fs.create_dir(Path::new("/db")).unwrap();
        fs.set_short_io(3);
        let file = create(&fs, "/db/a", &[1; 20_000]);
        for _ in 0..50 {
            file.len().unwrap();
        }
        create(&fs, "/db/b", &[2; 20_000]);
        let images = (0..50).map(|seed| {
            let crashed = fs.crash(seed);
            let read = |name: &String| crashed.read_file(format!("/db/{name}"));
            (names(&crashed), names(&crashed).iter().map(read).collect::<Vec<_>>())
        });
        (images.collect::<Vec<_>>(), fs.random(), fs.op_count())
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7).1, run(8).1);
    assert_ne!(run(7).0, run(8).0);
}

#[test]
fn write_back_makes_versions_durable_that_were_never_synced() {
    let mut kept = std::collections::BTreeSet::new();
    for seed in 0..50 {
        let fs = quiet(seed);
        let file = create(&fs, "/db/a", &[0; 4096]);
        sync_dir(&fs);
        fs.set_write_back(2);
        for version in 1..10 {
            write_all_at(&*file, &[version; 4096], 0).unwrap();
        }
        kept.insert(fs.crash(0).read_file("/db/a").first().copied().unwrap_or(0));
    }
    assert!(kept.len() > 5, "{kept:?}");
}

#[test]
fn faults_hit_the_operation_they_name() {
    let fs = quiet(0);
    let file = create(&fs, "/db/a", b"hello");
    let next = fs.op_count();
    fs.fail_at(next + 1, Failure::Io);
    file.len().unwrap();
    assert_eq!(raw_error(file.len()), 5);
    file.len().unwrap();
    assert_eq!(fs.op_count(), next + 3);

    for (failure, errno) in [
        (Failure::Io, 5),
        (Failure::NoSpace, 28),
        (Failure::TooManyFiles, 24),
        (Failure::Interrupted, 4),
    ] {
        fs.fail_from(fs.op_count(), failure);
        assert_eq!(raw_error(fs.open(Path::new("/db/b"), Access::Create)), errno);
        assert_eq!(raw_error(fs.list(Path::new("/db"))), errno);
        fs.clear_faults();
    }
    assert_eq!(names(&fs), ["a"], "a failed operation does nothing");
}

#[test]
fn after_the_crash_point_nothing_works_and_nothing_changes() {
    let fs = quiet(0);
    let file = create(&fs, "/db/a", b"hello");
    sync_dir(&fs);
    fs.set_crash_point(fs.op_count() + 1);
    file.len().unwrap();
    let error = file.sync().unwrap_err();
    assert!(is_power_loss(&error));
    assert_eq!(error.to_string(), "power lost");
    assert!(is_power_loss(&fs.remove(Path::new("/db/a")).unwrap_err()));
    assert_eq!(fs.crash(0).read_file("/db/a"), b"");
    assert_eq!(fs.crash(1).read_file("/db/a"), b"hello");
    open(&fs.crash(1), "/db/a", Access::Read).sync().unwrap();
}

#[test]
fn reads_and_writes_can_be_short_or_interrupted() {
    let fs = quiet(0);
    fs.set_short_io(2);
    fs.set_interrupts(3);
    let bytes: Vec<u8> = (0..=255).cycle().take(5000).collect();
    let file = create(&fs, "/db/a", &bytes);
    let mut buf = vec![0; 6000];
    assert_eq!(read_full_at(&*file, &mut buf, 0).unwrap(), 5000);
    assert_eq!(buf[..5000], bytes);

    let lens: Vec<_> = (0..100).map(|_| file.read_at(&mut buf, 0)).collect();
    assert!(lens.iter().any(|len| matches!(len, Ok(5000))));
    assert!(lens.iter().any(|len| matches!(len, Ok(1..5000))));
    assert!(!lens.iter().any(|len| matches!(len, Ok(0))));
    assert!(lens.iter().any(|len| matches!(len, Err(e) if e.kind() == ErrorKind::Interrupted)));
}

#[test]
fn a_full_disk_has_room_again_when_files_go() {
    let fs = quiet(0);
    fs.set_capacity(10_000);
    let a = create(&fs, "/db/a", &[1; 6000]);
    let b = open(&fs, "/db/b", Access::Create);
    assert_eq!(raw_error(b.allocate(4001)), 28);
    b.set_len(8000).unwrap();
    assert_eq!(fs.used_bytes(), 6000, "a hole takes no room");
    assert_eq!(b.write_at(&[2; 5000], 0).unwrap(), 4000, "as much as there is room for");
    assert_eq!(raw_error(b.write_at(b"x", 4000)), 28);
    assert_eq!(b.write_at(b"x", 3999).unwrap(), 1);
    assert_eq!(fs.used_bytes(), 10_000);

    b.set_len(1000).unwrap();
    assert_eq!(fs.used_bytes(), 7000);
    fs.remove(Path::new("/db/a")).unwrap();
    assert_eq!(fs.used_bytes(), 7000, "it is still open");
    drop(a);
    assert_eq!(fs.used_bytes(), 1000);
    b.allocate(10_000).unwrap();
    assert_eq!(fs.used_bytes(), 10_000);
}

#[test]
fn a_failed_sync_is_not_repeated_by_the_next() {
    let fs = quiet(0);
    let file = create(&fs, "/db/a", &[1; 3 * 4096]);
    file.sync().unwrap();
    sync_dir(&fs);
    write_all_at(&*file, &[2; 2 * 4096], 0).unwrap();
    fs.fail_at(fs.op_count(), Failure::Io);
    assert_eq!(raw_error(file.sync()), 5);
    file.sync().unwrap();

    let pages = |fs: &SimFs| {
        let bytes = fs.read_file("/db/a");
        bytes.chunks(4096).map(|page| page[0]).collect::<Vec<_>>()
    };
    assert_eq!(pages(&fs), [2, 2, 1], "the cache goes on showing it");
    assert_eq!(pages(&fs.kill()), [2, 2, 1]);
    assert_eq!(pages(&fs.crash(1)), [1, 1, 1], "it never gets there");

    // Written again, even with the same bytes, a page is dirty again and stays.
    write_all_at(&*file, &[2; 10], 0).unwrap();
    file.evict(0).unwrap();
    assert_eq!(pages(&fs), [2, 1, 1]);
    file.sync().unwrap();
    assert_eq!(pages(&fs.crash(0)), [2, 1, 1]);
    file.evict(0).unwrap();
    assert_eq!(pages(&fs), [2, 1, 1]);
}

#[test]
fn an_interrupted_sync_loses_nothing() {
    let fs = quiet(0);
    let file = create(&fs, "/db/a", b"hello");
    sync_dir(&fs);
    fs.fail_at(fs.op_count(), Failure::Interrupted);
    assert_eq!(raw_error(file.sync()), 4);
    assert_eq!(fs.crash(0).read_file("/db/a"), b"");
    file.sync().unwrap();
    assert_eq!(fs.crash(0).read_file("/db/a"), b"hello");
}

#[test]
fn a_lock_has_one_holder() {
    let fs = quiet(0);
    let path = Path::new("/db/lock");
    let lock = fs.lock(path, "pid 1").unwrap().unwrap();
    assert_eq!(fs.lock(path, "pid 2").unwrap().unwrap_err(), "pid 1");
    assert_eq!(fs.read_file(path), b"pid 1");
    assert!(fs.crash(1).lock(path, "pid 3").unwrap().is_ok());
    drop(lock);
    let _lock = fs.lock(path, "2").unwrap().unwrap();
    assert_eq!(fs.read_file(path), b"2");
    assert_eq!(fs.lock(Path::new("/no/lock"), "").unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn planted_damage_is_durable() {
    let fs = quiet(0);
    fs.write_file("/db/a", b"hello");
    assert_eq!(fs.crash(0).read_file("/db/a"), b"hello");
    fs.flip_bit("/db/a", 0, 0);
    fs.truncate("/db/a", 4);
    for fs in [fs.crash(0), fs.kill()] {
        assert_eq!(fs.read_file("/db/a"), b"iell");
    }

    create(&fs, "/db/tmp", b"x");
    fs.rename(Path::new("/db/tmp"), Path::new("/db/b")).unwrap();
    fs.write_file("/db/b", b"longer than it was");
    assert_eq!(names(&fs.crash(0)), ["a", "b"]);
    assert_eq!(fs.crash(0).read_file("/db/b"), b"longer than it was");
    fs.remove_file("/db/a");
    assert_eq!(names(&fs), ["b"]);
    assert_eq!(names(&fs.crash(0)), ["b"]);
    assert_eq!(fs.used_bytes(), 18);
}

#[test]
fn time_is_moved_by_hand() {
    let clock = SimClock::new(1_000_000);
    let same = clock.clone();
    clock.advance(Duration::from_millis(5));
    assert_eq!((same.wall_ms(), same.monotonic_ns()), (1_000_005, 5_000_000));
    clock.step_wall_ms(-1_000);
    assert_eq!((same.wall_ms(), same.monotonic_ns()), (999_005, 5_000_000));
    clock.set_wall_ms(7);
    assert_eq!(same.wall_ms(), 7);
}

/// What a file may turn out to be, kept by a test that drives it.
struct Model {
    /// Every state since the last sync, that one first.
    versions: Vec<Vec<u8>>,
}

impl Model {
    fn now(&self) -> &[u8] {
        self.versions.last().expect("there is always a first")
    }

    fn was_cut(&self) -> bool {
        self.versions.windows(2).any(|pair| pair[1].len() < pair[0].len())
    }

    /// Each byte comes from a version; where all agree, from all.
    fn check_bytes(&self, image: &[u8]) {
        let lens = self.versions.iter().map(Vec::len);
        let (min, max) = (lens.clone().min().unwrap(), lens.max().unwrap());
        assert!((min..=max).contains(&image.len()), "{} is not in {min}..={max}", image.len());
        for (at, byte) in image.iter().enumerate() {
            let mut origins = self.versions.iter().map(|bytes| bytes.get(at).unwrap_or(&0));
            assert!(origins.any(|origin| origin == byte), "byte {at} is {byte}: {CLOSED}");
        }
    }

    /// Without write-back and cuts there are but two versions to see, and each sector is of one of them,
    /// zeros, or torn once.
    fn check_sectors(&self, image: &[u8]) {
        let (old, new) = (&self.versions[0], self.now());
        for (at, sector) in (0..).step_by(512).zip(image.chunks(512)) {
            let of = |bytes: &[u8]| {
                let mut sector_of = bytes.get(at..).unwrap_or_default().to_vec();
                sector_of.resize(sector.len(), 0);
                sector_of
            };
            let (old, new, zeros) = (of(old), of(new), vec![0; sector.len()]);
            let torn = |cut: usize| {
                sector[..cut] == new[..cut] && sector[cut..] == old[cut..]
                    || sector[..cut] == old[..cut] && sector[cut..] == new[cut..]
            };
            assert!(sector == zeros || (0..=sector.len()).any(torn), "sector at {at}: {CLOSED}");
        }
    }
}

/// Drives one file at random, checking crashes as it goes. `write_back` as in `set_write_back`.
fn drive(seed: u64, write_back: u32) {
    let fs = quiet(seed);
    fs.set_write_back(write_back);
    let mut rng = Rng::new(seed);
    let file = open(&fs, "/db/a", Access::Create);
    sync_dir(&fs);
    let _region = file.map(MAPPED_LEN, Access::Write).unwrap();
    let mut model = Model { versions: vec![vec![]] };
    let mut stamp = 0_u8;
    for _ in 0..40 {
        let mut bytes = model.now().to_vec();
        stamp = stamp % 250 + 1;
        let at = rng.below(bytes.len() + 1);
        let len = rng.below(8000);
        match rng.below(6) {
            0 | 1 if at + len < MAPPED_LEN => {
                bytes.resize(bytes.len().max(at + len), 0);
                bytes[at..at + len].fill(stamp);
                write_all_at(&*file, &vec![stamp; len], widen(at)).unwrap();
            }
            2 if bytes.len() + len < MAPPED_LEN => {
                // As the engine does: a mapping is made, room is made, then bytes come through it.
                let region = file.map(MAPPED_LEN, Access::Write).unwrap();
                bytes.resize(bytes.len() + len, 0);
                file.allocate(widen(bytes.len())).unwrap();
                let part = rng.below(len + 1);
                let start = bytes.len() - len;
                bytes[start..start + part].fill(stamp);
                region.appender().unwrap().append(part, |to| to.fill(stamp));
            }
            3 => {
                bytes.truncate(at);
                file.set_len(widen(at)).unwrap();
            }
            4 => {
                file.sync().unwrap();
                model.versions.clear();
            }
            _ => {}
        }
        model.versions.push(bytes);
        assert_eq!(fs.read_file("/db/a"), model.now());
        for _ in 0..3 {
            let image = fs.crash(rng.next()).read_file("/db/a");
            model.check_bytes(&image);
            if write_back == 0 && !model.was_cut() {
                model.check_sectors(&image);
            }
        }
        assert_eq!(fs.crash(1).read_file("/db/a"), model.now());
    }
    assert_eq!(fs.kill().read_file("/db/a"), model.now());
}

#[test]
fn every_sector_after_a_crash_is_old_new_zero_or_torn() {
    for_seeds(60, |seed| drive(seed, 0));
}

#[test]
fn with_write_back_every_byte_after_a_crash_is_of_some_version_since_the_sync() {
    for_seeds(60, |seed| drive(seed, 3));
}

#[test]
fn crashes_show_all_kinds_of_sectors() {
    let fs = quiet(0);
    let file = create(&fs, "/db/a", &[1; 16 * 512]);
    file.sync().unwrap();
    sync_dir(&fs);
    fs.set_write_back(1);
    write_all_at(&*file, &[2; 64 * 512], 0).unwrap();
    file.len().unwrap();
    fs.set_write_back(0);
    write_all_at(&*file, &[3; 64 * 512], 0).unwrap();
    let (mut low, mut high, mut holes, mut torn) = (0, 0, 0, 0);
    for seed in 0..300 {
        let image = fs.crash(seed).read_file("/db/a");
        let is_new: Vec<bool> =
            image.chunks(512).map(|sector| sector.iter().all(|&byte| byte == 3)).collect();
        let changes = is_new.windows(2).filter(|pair| pair[0] != pair[1]).count();
        low += u32::from(changes == 1 && is_new[0]);
        high += u32::from(changes == 1 && !is_new[0]);
        holes += u32::from(changes > 2);
        torn += u32::from(image.chunks(512).any(|s| s.iter().any(|&byte| byte != s[0])));
    }
    for count in [low, high, holes, torn] {
        assert!(count >= 5, "low {low}, high {high}, holes {holes}, torn {torn}");
    }
}

#[test]
fn the_disk_is_send_and_sync() {
    fn check<T: Send + Sync + Clone>() {}
    check::<SimFs>();
    check::<SimClock>();
}
