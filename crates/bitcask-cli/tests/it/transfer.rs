//! Data out and in: every format gives an equal store back, and an import that was interrupted goes on.

use std::fs;
use std::time::{Duration, SystemTime};

use bitcask::{Bitcask, Expiry};
use serde_json::Value;

use crate::{Scene, names, run, run_with_input};

/// Any bytes, lengths from none on, and some that expire.
fn fill(scene: &Scene, count: u64) {
    let db = Bitcask::open(scene.path("d")).unwrap();
    let mut state = 7_u64;
    let mut next = |below: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for n in 0..count {
        let mut bytes = |max: u64| -> Vec<u8> {
            (0..next(max)).map(|_| u8::try_from(next(256)).unwrap()).collect()
        };
        let key = [n.to_le_bytes().to_vec(), bytes(20)].concat();
        let value = bytes(120);
        let hour = Duration::from_secs(3600);
        let at = SystemTime::now() + hour + Duration::from_millis(n);
        let expiry = if n.is_multiple_of(5) { Expiry::At(at) } else { Expiry::Never };
        db.put_with(&key, &value, expiry).unwrap();
    }
    db.put(b"", b"").unwrap();
    db.close().unwrap();
}

fn assert_equal(scene: &Scene, copy: &str) {
    let (ours, theirs) =
        (Bitcask::open(scene.path("d")).unwrap(), Bitcask::open(scene.path(copy)).unwrap());
    assert_eq!(ours.len().unwrap(), theirs.len().unwrap(), "{copy}");
    for entry in &ours.snapshot().unwrap() {
        let (key, value) = entry.unwrap();
        assert_eq!(theirs.get(&key).unwrap().as_ref(), Some(&value), "{copy}: {key:?}");
        assert_eq!(theirs.expires_at(&key).unwrap(), ours.expires_at(&key).unwrap(), "{copy}");
    }
}

/// With 3000 keys, or as many as `TRANSFER_KEYS` says.
#[test]
fn every_format_gives_an_equal_store_back() {
    let scene = Scene::new("transfer");
    let count = std::env::var("TRANSFER_KEYS").map_or(3000, |count| count.parse().unwrap());
    fill(&scene, count);
    for format in ["jsonl", "csv", "binary"] {
        for encoding in ["utf8", "hex", "base64"] {
            let out = format!("{format}.{encoding}");
            scene.run(&format!("--db d export --quiet --to {format} --format {encoding} {out}"));
            let copy = format!("copy-{out}");
            let said =
                scene.ok(&format!("--db {copy} import --from {format} --format {encoding} {out}"));
            assert_eq!(said, format!("imported                 {}\n", count + 1));
            assert_equal(&scene, &copy);
            assert!(!scene.path(&format!("{out}.importing")).exists());
            fs::remove_dir_all(scene.path(&copy)).unwrap();
            fs::remove_file(scene.path(&out)).unwrap();
        }
    }
}

#[test]
fn what_is_exported_goes_through_a_pipe() {
    let scene = Scene::new("transfer-pipe");
    fill(&scene, 100);
    let exported = scene.run("--db d export --to binary");
    assert_eq!((exported.code, exported.stderr.as_str()), (Some(0), "note: exported 101 keys\n"));
    let mut import = scene.command(["--db", "copy", "import", "--from", "binary", "--json"]);
    let imported = run_with_input(&mut import, &exported.stdout);
    let report: Value = serde_json::from_slice(&imported.stdout).unwrap();
    assert_eq!((&report["imported"], &report["rejected"]), (&101.into(), &0.into()));
    assert_equal(&scene, "copy");
    // Cut short it is an error, and says where.
    let (cut, _) = exported.stdout.split_at(exported.stdout.len() / 2);
    let mut import = scene.command(["--db", "half", "import", "--from", "binary"]);
    let imported = run_with_input(&mut import, cut);
    assert_eq!(imported.code, Some(5), "{imported:?}");
    assert!(imported.stderr.contains(" at offset "), "{imported:?}");
}

#[test]
fn lines_that_cannot_be_taken_are_kept_and_nothing_else_is_lost() {
    let scene = Scene::new("transfer-rejects");
    let lines = "{\"key\":\"a\",\"value\":\"1\"}\nnonsense\n{\"key\":\"b\"}\n{\"key\":\"c\",\"value\":\"3\"}\n";
    fs::write(scene.path("in.jsonl"), lines).unwrap();
    let ran = scene.run("--db d import --from jsonl in.jsonl");
    let said = String::from_utf8(ran.stdout).unwrap();
    assert_eq!(ran.code, Some(1), "{said}");
    assert!(
        said.starts_with(
            "imported                 2\nrejected                 2\nline 2: rejected"
        ),
        "{said}"
    );
    assert_eq!(scene.ok("--db d scan --ordered"), "a\t1\nc\t3\n");
    assert_eq!(
        fs::read_to_string(scene.path("in.jsonl.rejected")).unwrap(),
        "nonsense\n{\"key\":\"b\"}\n"
    );
}

#[test]
fn an_import_goes_on_where_it_was_interrupted() {
    let scene = Scene::new("transfer-resume");
    let lines: String =
        (0..20_000).map(|n| format!("{{\"key\":\"k{n}\",\"value\":\"{n}\"}}\n")).collect();
    fs::write(scene.path("in.jsonl"), &lines).unwrap();
    scene.fails(
        "--db d import --from jsonl in.jsonl --resume",
        2,
        "error: no import of in.jsonl was interrupted\nhelp: leave out --resume\n",
    );
    let slow = ["--db", "d", "import", "--from", "jsonl", "in.jsonl", "--rate", "200K"];
    let child = scene.command(slow).spawn().unwrap();
    // It listens for signals before it makes the store.
    while !scene.path("d").exists() {
        std::thread::yield_now();
    }
    let id = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let ran = crate::Ran::from(child.wait_with_output().unwrap());
    assert_eq!(ran.code, Some(130), "{ran:?}");
    assert!(
        ran.stderr.starts_with("error: interrupted: ") && ran.stderr.contains("--resume"),
        "{ran:?}"
    );

    let again = scene.run("--db d import --from jsonl in.jsonl");
    assert_eq!(again.code, Some(2), "{again:?}");
    assert!(again.stderr.contains("was interrupted"), "{again:?}");
    let said = scene.ok("--db d import --from jsonl in.jsonl --resume");
    assert_eq!(said, "imported                 20000\n");
    assert_eq!(scene.ok("--db d count"), "20000\n");
    assert_eq!(scene.ok("--db d get k19999"), "19999");
}

#[test]
fn what_was_there_stays_until_all_of_it_is_exported() {
    let scene = Scene::new("transfer-partial");
    fill(&scene, 2000);
    fs::write(scene.path("out"), "from yesterday").unwrap();
    let slow = ["--db", "d", "export", "--to", "binary", "--rate", "50K", "out"];
    let child = scene.command(slow).spawn().unwrap();
    let id = child.id().to_string();
    let partial = scene.path(&format!("out.{id}-0.partial"));
    while fs::metadata(&partial).map_or(0, |file| file.len()) == 0 {
        std::thread::yield_now();
    }
    assert!(std::process::Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let ran = crate::Ran::from(child.wait_with_output().unwrap());
    assert_eq!(ran.code, Some(130), "{ran:?}");
    assert!(ran.stderr.contains("the file is as it was before"), "{ran:?}");
    assert_eq!(fs::read_to_string(scene.path("out")).unwrap(), "from yesterday");
    assert_eq!(names(&scene.0), ["d", "out"]);
    // A name that is a link stays one.
    std::os::unix::fs::symlink("out", scene.path("link")).unwrap();
    assert_eq!(scene.run("--db d export --to binary link --quiet").code, Some(0));
    assert_eq!(scene.ok("--db copy import --from binary out"), "imported                 2001\n");
    assert_equal(&scene, "copy");
    scene.ok("--db d set k v");
    scene.ok("--db d get k --output link");
    assert_eq!(fs::read(scene.path("out")).unwrap(), b"v");
    assert!(scene.path("link").is_symlink());
    assert_eq!(scene.run("--db d get k --output /dev/full").code, Some(8));
}

#[test]
fn a_directory_of_riak_is_imported() {
    let scene = Scene::new("transfer-riak");
    let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/riak");
    let manifest = fs::read(format!("{fixtures}/small/MANIFEST.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let live = manifest["expected"]["live"].as_object().unwrap();
    let import = |db: &str, store: &str| {
        let from = format!("{fixtures}/{store}");
        run(&mut scene.command(["--db", db, "import", "--from", "riak", &from]))
    };
    let ran = import("d", "small");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let db = Bitcask::open(scene.path("d")).unwrap();
    assert_eq!(db.len().unwrap(), live.len() as u64);
    drop(db);
    // Damage is told, and by the exit code, too.
    let ran = import("damaged", "bitflip-value");
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        String::from_utf8_lossy(&ran.stdout).contains("lost keys                1\n"),
        "{ran:?}"
    );
    let ran = run(&mut scene.command(["--db", "no", "import", "--from", "riak", "."]));
    assert_eq!(ran.code, Some(2), "{ran:?}");
}

#[test]
fn files_of_redis_are_imported() {
    let scene = Scene::new("transfer-redis");
    let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/redis");
    let rdbs = fs::read_dir(fixtures).unwrap().map(|entry| entry.unwrap().path());
    let rdb = rdbs.into_iter().find(|path| path.extension().is_some_and(|e| e == "rdb")).unwrap();
    let rdb = rdb.to_str().unwrap();
    let ran = run(&mut scene.command(["--db", "d", "import", "--from", "rdb", rdb, "--json"]));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let report: Value = serde_json::from_slice(&ran.stdout).unwrap();
    let keys: u64 = scene.ok("--db d count").trim().parse().unwrap();
    assert!(keys > 0 && report["snapshot_keys"].as_u64().unwrap() >= keys, "{report}");
    // An append-only file begins with an empty store.
    let ran = run(&mut scene.command(["--db", "d", "import", "--from", "aof", rdb]));
    assert_eq!(ran.code, Some(2), "{ran:?}");
}
