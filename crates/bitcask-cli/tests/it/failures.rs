//! How commands fail: exit code, message, and what they leave behind.
//!
//! `Poisoned` and `Full` are not here: a failing or a full disk is the simulated disk's, in the engine's tests.

use std::fs;
use std::fs::File;
use std::process::Stdio;

use bitcask::Bitcask;

use crate::{Scene, names, run};

#[test]
fn without_a_directory_nothing_is_guessed() {
    let scene = Scene::new("no-directory");
    let message = "error: no store was given\nhelp: pass --db DIR, or set BITCASK_DB\n";
    for line in ["set k v", "get k", "del k", "merge", "stats"] {
        scene.fails(line, 2, message);
    }
    assert!(names(&scene.0).is_empty());
}

#[test]
fn only_set_creates_a_store() {
    let scene = Scene::new("no-store");
    fs::create_dir(scene.path("empty")).unwrap();
    for (dir, is_missing) in [("missing", true), ("empty", false)] {
        for (command, writes) in
            [("get k", false), ("del k", true), ("merge", true), ("stats", false)]
        {
            let what = if is_missing && !writes {
                "there is no such directory"
            } else {
                "the directory holds no store"
            };
            let message =
                format!("error: {what}: {dir}\nhelp: check the directory; `set` creates a store\n");
            scene.fails(&format!("--db {dir} {command}"), 2, &message);
        }
    }
    assert_eq!(names(&scene.0), ["empty"]);
    assert!(names(&scene.path("empty")).is_empty());
}

#[test]
fn bad_usage_is_explained() {
    let scene = Scene::new("usage");
    for (line, text) in [
        ("--db d", "Usage: bitcask"),
        ("--db d put k v", "unrecognized subcommand 'put'"),
        ("--db d get", "<KEY>"),
        ("--db d get a b", "unexpected argument 'b'"),
        ("--db d set k", "<VALUE>"),
        ("--db d del", "<KEY>"),
        ("--db d get -k", "unexpected argument '-k'"),
        ("get k --db", "a value is required"),
        ("get k -db", "a value is required"),
    ] {
        let ran = scene.run(line);
        assert_eq!(ran.code, Some(2), "{line}: {ran:?}");
        assert!(ran.stderr.contains(text), "{line}: {ran:?}");
        assert!(ran.stdout.is_empty(), "{line}: {ran:?}");
    }
    assert!(names(&scene.0).is_empty());
}

#[test]
fn a_key_that_is_too_long_is_invalid() {
    let scene = Scene::new("invalid");
    let line = format!("--db d set {} v", "k".repeat(65_536));
    let message =
        "error: the key is 65536 bytes long, at most 65535 are allowed\nhelp: fix the call\n";
    scene.fails(&line, 2, message);
}

#[test]
fn a_file_is_no_store_and_numbers_that_mean_nothing_are_refused() {
    let scene = Scene::new("wrong");
    fs::write(scene.path("file"), "").unwrap();
    scene.ok("--db d set k v");
    for (line, text) in [
        ("--db file get k", "error: this is not a directory: file\nhelp: check the directory"),
        ("--db file set k v", "error: this is not a directory: file\nhelp: check the directory"),
        ("--db d stats --watch 0", "from 100ms to 1h"),
        ("--db d merge --max-rate 0", "a rate is at least 1K"),
        ("--db d verify --rate 1", "a rate is at least 1K"),
        ("--db d export --to csv --rate 0", "a rate is at least 1K"),
        ("bench --time 0", "in no time nothing is measured"),
        ("man fly", "error: there is no such command: fly\nhelp: `bitcask help` lists them"),
    ] {
        let ran = scene.run(line);
        assert_eq!(ran.code, Some(2), "{line}: {ran:?}");
        assert!(ran.stderr.contains(text), "{line}: {ran:?}");
        assert!(ran.stdout.is_empty(), "{line}: {ran:?}");
    }
}

#[test]
fn a_store_in_use_names_who_uses_it() {
    let scene = Scene::new("locked");
    let db = Bitcask::open(scene.path("d")).unwrap();
    db.put(b"k", b"v").unwrap();
    for command in ["get k", "exists k", "scan", "count", "stats", "verify", "backup b"] {
        assert_eq!(scene.run(&format!("--db d {command}")).code, Some(0), "{command}");
    }
    assert_eq!(scene.ok("--db b get k"), "v");
    let stats = scene.ok("--db d stats");
    let in_use = format!("in use by    process {} (it-", std::process::id());
    assert!(stats.contains(&in_use), "{stats}");
    let stats: serde_json::Value = serde_json::from_str(&scene.ok("--db d stats --json")).unwrap();
    assert_eq!(stats["in_use"]["process"], std::process::id());
    for command in ["set k v", "del k", "expire k 1s", "incr n", "merge", "repair --yes"] {
        let ran = scene.run(&format!("--db d {command}"));
        let start = format!("error: the store is in use by process {} (it-", std::process::id());
        assert_eq!(ran.code, Some(3), "{ran:?}");
        assert!(ran.stderr.starts_with(&start), "{ran:?}");
        assert!(ran.stderr.contains("): d\nhelp: wait for the process"), "{ran:?}");
    }
    db.close().unwrap();
    assert_eq!(scene.ok("--db d get k"), "v");
}

#[test]
fn a_store_of_a_later_version_is_unsupported() {
    let scene = Scene::new("unsupported");
    scene.ok("--db d set k v");
    scene.edit("d/000000000001.data", |bytes| {
        bytes[8] = 99;
        let crc = crc32c(&bytes[..60]).to_le_bytes();
        bytes[60..64].copy_from_slice(&crc);
    });
    let ran = scene.run("--db d get k");
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert!(ran.stderr.contains("d/000000000001.data"), "{ran:?}");
    assert!(ran.stderr.contains("\nhelp: open the store with the version"), "{ran:?}");
}

#[test]
fn damage_is_told_with_its_place_and_never_as_a_value() {
    let scene = Scene::new("corrupt");
    scene.ok("--db d set good 1");
    scene.ok("--db d set bad needle");
    scene.edit("d/000000000001.data", |bytes| {
        let at = bytes.windows(6).position(|bytes| bytes == b"needle").unwrap();
        bytes[at] ^= 1;
    });
    let ran = scene.run("--db d get bad");
    assert_eq!(ran.code, Some(5), "{ran:?}");
    assert!(ran.stdout.is_empty(), "{ran:?}");
    for text in
        ["error: ", ": d/000000000001.data at offset ", "\nhelp: nothing was changed; restore"]
    {
        assert!(ran.stderr.contains(text), "{text}: {ran:?}");
    }
}

#[test]
fn what_the_operating_system_refuses_is_io() {
    let scene = Scene::new("io");
    let name = "x".repeat(300);
    let ran = scene.run(&format!("--db {name} get k"));
    assert_eq!(ran.code, Some(6), "{ran:?}");
    let lines: Vec<_> = ran.stderr.lines().collect();
    let [error, cause, help] = lines[..] else { panic!("{ran:?}") };
    assert_eq!(error, format!("error: cannot list the directory: {name}"));
    assert!(cause.starts_with("caused by: File name too long"), "{cause}");
    assert!(help.starts_with("help: look at the disk"), "{help}");
}

#[test]
fn standard_input_and_output_may_fail_too() {
    let scene = Scene::new("stdio");
    scene.ok("--db d set k v");
    let full = File::options().write(true).open("/dev/full").unwrap();
    let ran = run(scene.command(["--db", "d", "get", "k"]).stdout(full));
    assert_eq!(ran.code, Some(8), "{ran:?}");
    let start = "error: cannot write: standard output\ncaused by: No space left on device";
    assert!(ran.stderr.starts_with(start), "{ran:?}");

    let dir = Stdio::from(File::open(&scene.0).unwrap());
    let ran = run(scene.command(["--db", "new", "set", "k", "-"]).stdin(dir));
    assert_eq!(ran.code, Some(6), "{ran:?}");
    assert!(ran.stderr.starts_with("error: cannot read: standard input\ncaused by: "), "{ran:?}");
    assert_eq!(names(&scene.0), ["d"]);
}

/// The checksum of file headers, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 * (crc & 1)))
    })
}
