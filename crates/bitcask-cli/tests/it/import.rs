//! What other stores left: nothing half done is ever seen, and nothing that was there is spoilt.

use std::fs;
use std::process::{Child, Command};

use bitcask::Bitcask;

use crate::{Ran, Scene, names};

const RIAK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/riak");

/// Commands, one a line, as an append-only file has them.
fn log(lines: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in lines.lines() {
        let args: Vec<_> = line.split(' ').collect();
        bytes.extend(format!("*{}\r\n", args.len()).bytes());
        for arg in args {
            bytes.extend(format!("${}\r\n{arg}\r\n", arg.len()).bytes());
        }
    }
    bytes
}

/// An RDB file of before there were checksums.
fn rdb(keys: &[(&str, &str, Option<u64>)]) -> Vec<u8> {
    let mut bytes = b"REDIS0003".to_vec();
    for (key, value, expires_ms) in keys {
        if let Some(ms) = expires_ms {
            bytes.push(252);
            bytes.extend(ms.to_le_bytes());
        }
        bytes.push(0);
        for string in [key, value] {
            bytes.push(u8::try_from(string.len()).unwrap());
            bytes.extend(string.bytes());
        }
    }
    bytes.push(255);
    bytes
}

fn many(count: u32) -> Vec<u8> {
    let lines: Vec<_> = (0..count).map(|n| format!("SET key{n} {n} PXAT 5")).collect();
    log(&lines.join("\n"))
}

fn signal(child: &Child, signal: &str) {
    let id = child.id().to_string();
    assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
}

/// Runs a slow import until its store is begun, and sends a signal.
fn cut_off(scene: &Scene, line: &str, signal_name: &str) -> Ran {
    let child = scene.command(line.split(' ')).spawn().unwrap();
    // It listens for signals before it makes the store.
    while !scene.path("d.partial").exists() && !scene.path("d").exists() {
        std::thread::yield_now();
    }
    signal(&child, signal_name);
    child.wait_with_output().unwrap().into()
}

#[test]
fn a_log_is_followed_through_what_has_expired_since() {
    let scene = Scene::new("import-aof");
    let lines = "SET a 5 PXAT 5\nINCR a\nPERSIST a\nSET b 1 PXAT 5\nSET c 1 PXAT 32503680000000\n\
                 SET d 1 PXAT 5\nSET e 1 PXAT 5\nPEXPIREAT e 32503680000000\nSET f 1";
    fs::write(scene.path("a.aof"), log(lines)).unwrap();
    let said = scene.ok("--db d import --from aof a.aof");
    assert_eq!(said, "commands                 9\nexpired                  2\n");
    assert_eq!(scene.ok("--db d scan --ordered"), "a\t6\nc\t1\ne\t1\nf\t1\n");
    assert_eq!(scene.ok("--db d ttl a"), "never\n");
    for key in ["c", "e"] {
        assert_ne!(scene.ok(&format!("--db d ttl {key}")), "never\n");
    }
    assert_eq!(names(&scene.0), ["a.aof", "d"]);
}

#[test]
fn what_is_cut_off_leaves_no_store() {
    let scene = Scene::new("import-cut");
    fs::write(scene.path("a.aof"), many(20_000)).unwrap();
    let slow = "--db d import --from aof a.aof --rate 200K";
    let ran = cut_off(&scene, slow, "-INT");
    assert_eq!(ran.code, Some(130), "{ran:?}");
    assert_eq!(ran.stderr, "error: interrupted: nothing was imported\n");
    assert_eq!(names(&scene.0), ["a.aof"]);

    // Nor does a kill, though what it was about to make is there under another name.
    cut_off(&scene, slow, "-KILL");
    assert_eq!(names(&scene.0), ["a.aof", "d.partial"]);
    scene.fails(
        slow,
        2,
        "error: another import into d goes on, or was killed: d.partial\n\
         help: wait for it; or if there is none, remove that directory, and import again\n",
    );
    fs::remove_dir_all(scene.path("d.partial")).unwrap();
    assert!(
        scene.ok("--db d import --from aof a.aof").contains("expired                  20000\n")
    );
    assert_eq!(scene.ok("--db d count"), "0\n");
}

#[test]
fn a_snapshot_that_is_interrupted_says_so() {
    let scene = Scene::new("import-rdb-cut");
    let value = "v".repeat(60);
    let keys: Vec<_> = (0..6000).map(|n| format!("key{n}")).collect();
    let keys: Vec<_> = keys.iter().map(|key| (key.as_str(), value.as_str(), None)).collect();
    fs::write(scene.path("dump.rdb"), rdb(&keys)).unwrap();
    let ran = cut_off(&scene, "--db d import --from rdb dump.rdb --rate 100K", "-INT");
    assert_eq!(ran.code, Some(130), "{ran:?}");
    assert_eq!(
        ran.stderr,
        "error: interrupted: what came before is imported, the rest is not\n\
         help: import the file again for all of it\n"
    );
    scene.ok("--db d import --from rdb dump.rdb");
    assert_eq!(scene.ok("--db d count"), "6000\n");
}

#[test]
fn a_key_that_has_expired_in_a_snapshot_takes_its_older_value_along() {
    let scene = Scene::new("import-rdb");
    scene.ok("--db d set a older");
    scene.ok("--db d set b older");
    fs::write(scene.path("dump.rdb"), rdb(&[("a", "1", Some(5)), ("c", "3", None)])).unwrap();
    let said = scene.ok("--db d import --from rdb dump.rdb");
    assert_eq!(said, "snapshot keys            1\nexpired                  1\n");
    assert_eq!(scene.ok("--db d scan --ordered"), "b\tolder\nc\t3\n");
}

/// The second has lost keys that the first has, and would delete them.
#[test]
fn each_partition_of_riak_gets_a_store_of_its_own() {
    let scene = Scene::new("import-riak");
    scene.ok(&format!("--db d import --from riak {RIAK}/small"));
    let before = scene.ok("--db d scan --ordered --format hex");
    scene.fails(
        &format!("--db d import --from riak {RIAK}/bitflip-value"),
        2,
        "error: there is something already: d\n\
         help: import from this into a new store: pass a --db that is not there yet, or is empty\n",
    );
    assert_eq!(scene.ok("--db d scan --ordered --format hex"), before);
    // An empty directory may be there, and a link to it.
    fs::create_dir(scene.path("empty")).unwrap();
    std::os::unix::fs::symlink("empty", scene.path("link")).unwrap();
    scene.ok(&format!("--db link import --from riak {RIAK}/small"));
    assert_eq!(scene.ok("--db empty scan --ordered --format hex"), before);
    assert!(scene.path("link").is_symlink());
    fs::create_dir(scene.path("node")).unwrap();
    fs::create_dir(scene.path("node/0")).unwrap();
    fs::write(scene.path("node/0/1.bitcask.data"), "").unwrap();
    scene.fails(
        "--db new import --from riak node",
        2,
        "error: no data file of Riak's Bitcask: node\n\
         help: this holds partitions, which are replicas: import each into a store of its own\n",
    );
    assert!(!scene.path("new").exists());
}

#[test]
fn a_source_that_is_none_makes_no_store() {
    let scene = Scene::new("import-none");
    fs::write(scene.path("nonsense"), "nonsense of some length").unwrap();
    fs::create_dir(scene.path("empty")).unwrap();
    for (from, what, help) in [
        ("riak", "a directory of Riak", "pass the path of the directory"),
        ("aof", "an append-only file", "pass the path of the file, or of its directory"),
        ("rdb", "a Redis snapshot", "pass the path of the file"),
    ] {
        let said = format!("error: {what} is not read from standard input\nhelp: {help}\n");
        scene.fails(&format!("--db d import --from {from}"), 2, &said);
        scene.fails(&format!("--db d import --from {from} -"), 2, &said);
        for (path, codes) in
            [("none", [6, 6]), ("nonsense", [5, 6]), ("empty", [2, 6]), ("/dev/null", [6, 5])]
        {
            let ran = scene.run(&format!("--db d import --from {from} {path}"));
            // Nothing at all is an append-only file, of a server to which nothing happened.
            if (from, path) == ("aof", "/dev/null") {
                assert_eq!(ran.code, Some(0), "{ran:?}");
                fs::remove_dir_all(scene.path("d")).unwrap();
                continue;
            }
            let code = ran.code.unwrap();
            assert!(codes.contains(&code), "{from} {path}: {ran:?}");
            assert!(code > 1 && !scene.path("d").exists(), "{from} {path}: {ran:?}");
        }
    }
    scene.fails(
        "--db d import --from aof empty",
        2,
        "error: there is no manifest in the directory: empty\n\
         help: pass the path of the manifest, or of the file itself\n",
    );
    assert_eq!(names(&scene.0), ["empty", "nonsense"]);
}

#[test]
fn of_a_damaged_log_what_came_before_the_damage_is_imported() {
    let scene = Scene::new("import-damage");
    let damaged = |before: &str| [log(before), b"damage\r\n".to_vec(), log("SET c 3")].concat();
    fs::write(scene.path("a.aof"), damaged("SET a 1\nSET b 2 PXAT 5")).unwrap();
    scene.fails(
        "--db d import --from aof a.aof",
        5,
        "error: damaged: a.aof at offset 71: no command: it must begin with `*` and a count\n\
         help: what came before this is imported\n",
    );
    let db = Bitcask::open(scene.path("d")).unwrap();
    assert_eq!(db.len().unwrap(), 1);
    drop(db);
    // Of what cannot be followed nothing is kept: it would be in the way of an import of something else.
    fs::write(scene.path("b.aof"), log("SET a 1\nSWAPDB 0 1")).unwrap();
    let ran = scene.run("--db e import --from aof b.aof");
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert_eq!(names(&scene.0), ["a.aof", "b.aof", "d"]);
}
