//! What commands do with a store.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::process::Stdio;

use serde_json::Value;

use crate::{Ran, Scene, names, run, run_with_input};

#[test]
fn the_readme_is_right() {
    let scene = Scene::new("readme");
    assert_eq!(scene.ok("--db ./database set mykey myvalue"), "");
    assert_eq!(scene.ok("--db ./database get mykey"), "myvalue");
}

#[test]
fn the_old_form_of_the_option_works_wherever_the_new_one_does() {
    let scene = Scene::new("old-form");
    assert_eq!(scene.ok("-db ./database set mykey myvalue"), "");
    for line in [
        "--db ./database get mykey",
        "-db ./database get mykey",
        "-db=./database get mykey",
        "get -db ./database mykey",
        "get mykey --db=./database",
        "get mykey -db ./database",
    ] {
        assert_eq!(scene.ok(line), "myvalue", "{line}");
    }
}

#[test]
fn the_directory_may_come_from_the_environment_and_the_option_wins() {
    let scene = Scene::new("environment");
    let set = run(scene.command(["set", "k", "v"]).env("BITCASK_DB", "database"));
    assert_eq!(set.code, Some(0), "{set:?}");
    let got = run(scene.command(["get", "k"]).env("BITCASK_DB", "database"));
    assert_eq!(got.stdout, b"v");
    for args in [["--db", "database", "get", "k"], ["get", "k", "--db", "database"]] {
        let got = run(scene.command(args).env("BITCASK_DB", "elsewhere"));
        assert_eq!(got.stdout, b"v", "{args:?}");
    }
}

#[test]
fn keys_and_values_are_any_bytes() {
    let scene = Scene::new("bytes");
    let all: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let key = OsString::from_vec((1..=255).collect());
    let words = |words: [&str; 3]| words.map(OsString::from).into_iter().chain([key.clone()]);

    let mut set = scene.command(words(["--db", "d", "set"]).chain(["-".into()]));
    let set = run_with_input(&mut set, &all);
    assert_eq!(set.code, Some(0), "{set:?}");
    let got = run(&mut scene.command(
        ["get", "--raw", "--db", "d"].map(OsStr::new).into_iter().chain([key.as_os_str()]),
    ));
    assert!(got.stdout == all, "{}", got.stderr);
    let got = run(&mut scene.command(words(["--db", "d", "get"])));
    assert!(got.stdout == all, "{}", got.stderr);

    // As an argument, what is not UTF-8, and nothing.
    let value = OsString::from_vec(b"\xff\xfe".to_vec());
    let set = run(&mut scene.command([
        OsStr::new("--db"),
        OsStr::new("d"),
        OsStr::new("set"),
        OsStr::new(""),
        &value,
    ]));
    assert_eq!(set.code, Some(0), "{set:?}");
    assert_eq!(run(&mut scene.command(["--db", "d", "get", ""])).stdout, b"\xff\xfe");
    scene.ok("--db d set temperature -5");
    assert_eq!(scene.ok("--db d get temperature"), "-5");
    scene.ok("--db d set -- -db --db");
    assert_eq!(scene.ok("--db d get -- -db"), "--db");
}

#[test]
fn what_is_absent_is_told_by_the_exit_code() {
    let scene = Scene::new("absent");
    for key in ["a", "b", "c"] {
        scene.ok(&format!("--db d set {key} 1"));
    }
    assert_eq!(scene.ok("--db d del a b"), "");
    scene.fails("--db d get a", 1, "note: no such key: a\n");
    scene.fails("--db d del a b", 1, "note: no such key: a\nnote: no such key: b\n");
    let some = scene.run("--db d del a c");
    assert_eq!((some.code, some.stderr.as_str()), (Some(0), "note: no such key: a\n"));
    scene.fails("--db d get c", 1, "note: no such key: c\n");
}

#[test]
fn merge_gives_back_space_and_stats_show_it() {
    let scene = Scene::new("merge");
    let value = "x".repeat(10_000);
    for round in 0..4 {
        scene.ok(&format!("--db d set k {value}{round}"));
    }
    let stats = || -> Value { serde_json::from_str(&scene.ok("--db d stats --json")).unwrap() };
    let before = stats();
    assert!(before["dead_bytes"].as_u64().unwrap() >= 30_000, "{before}");
    assert_eq!(before["keys"], 1);
    let sum = |stats: &Value, name: &str| -> u64 {
        let files = stats["files"].as_array().unwrap();
        files.iter().map(|file| file[name].as_u64().unwrap()).sum()
    };
    for name in ["bytes", "live_bytes", "dead_bytes"] {
        assert_eq!(before[name], sum(&before, name), "{before}");
    }

    let table = scene.ok("--db d stats");
    assert!(table.starts_with("FILE "), "{table}");
    for text in ["000000000001.data  active ", "total  ", " 1 file ", "KiB", "\nkeys         1\n"] {
        assert!(table.contains(text), "{text}: {table}");
    }

    let report: Value = serde_json::from_str(&scene.ok("--db d merge --json")).unwrap();
    assert!(report["reclaimed_bytes"].as_u64().unwrap() >= 30_000, "{report}");
    let after = stats();
    assert!(after["dead_bytes"].as_u64().unwrap() < 1000, "{after}");
    assert!(after["bytes"].as_u64().unwrap() < 12_000, "{after}");
    assert_eq!(scene.ok("--db d get k"), format!("{value}3"));

    assert_eq!(scene.ok("--db d merge"), "nothing to merge\n");
    scene.ok("--db d del k");
    let merged = scene.ok("--db d merge");
    assert!(merged.starts_with("merged ") && merged.ends_with(" KiB reclaimed\n"), "{merged}");
}

#[test]
fn a_torn_tail_is_cut_and_said_so_once() {
    let scene = Scene::new("torn");
    scene.ok("--db d set k v");
    scene.edit("d/000000000001.data", |bytes| bytes.extend([7; 100]));
    assert_eq!(scene.ok("--db d get k"), "v", "who reads leaves it");
    let got = scene.run("--db d set l w");
    assert_eq!(got.code, Some(0));
    assert_eq!(got.stderr.lines().count(), 1, "{got:?}");
    for text in [
        "note: cut an unfinished write, 100 bytes at offset ",
        "d/000000000001.data",
        "normal after a crash",
    ] {
        assert!(got.stderr.contains(text), "{text}: {got:?}");
    }
    assert_eq!(scene.ok("--db d get k"), "v");
    assert_eq!(scene.ok("--db d set k w"), "");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let scene = Scene::new("pipe");
    let large = vec![b'x'; 4 << 20];
    let set = run_with_input(&mut scene.command(["--db", "d", "set", "large", "-"]), &large);
    assert_eq!(set.code, Some(0), "{set:?}");
    // More than a pipe holds, so it must meet the closed end, however late that closes.
    let mut child =
        scene.command(["--db", "d", "get", "large"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let got = Ran::from(child.wait_with_output().unwrap());
    assert_eq!((got.code, got.stderr.as_str()), (Some(0), ""));
}

#[test]
fn help_and_version_are_data() {
    let scene = Scene::new("help");
    let commands = "set get del exists scan count ttl expire incr json batch watch stats merge verify inspect repair backup \
                    restore export import completions";
    let lines = commands.split_whitespace().map(|command| format!("{command} --help"));
    for line in lines.chain(["--help".to_owned()]) {
        let help = scene.ok(&line);
        assert!(help.contains("Examples:\n"), "{help}");
        assert!(help.lines().all(|line| line.len() <= 100), "{help}");
    }
    assert_eq!(scene.ok("--version"), concat!("bitcask ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn there_is_a_manual_page_for_each_command() {
    let scene = Scene::new("man");
    assert!(scene.ok("man").contains("bitcask"));
    let page = scene.ok("man set");
    for part in ["bitcask\\-set", "\\-\\-if\\-absent", "Examples"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    fs::create_dir(scene.path("man1")).unwrap();
    scene.ok("man --dir man1");
    let pages = names(&scene.path("man1"));
    for page in ["bitcask.1", "bitcask-set.1", "bitcask-json-get.1", "bitcask-top.1"] {
        assert!(pages.iter().any(|name| name == page), "{page}: {pages:?}");
    }
}

#[test]
fn what_was_deleted_and_when_a_key_expires_is_in_the_json() {
    let scene = Scene::new("json");
    for line in ["set a 1", "set b 2", "set c 3 --ttl 1h"] {
        scene.ok(&format!("--db d {line}"));
    }
    let changes = scene.ok("--db d watch --from 1 --count 3 --json");
    let expires = |line: &str| -> Option<u64> {
        let change: Value = serde_json::from_str(line).unwrap();
        change["expires_ms"].as_u64()
    };
    let expiries: Vec<_> = changes.lines().map(expires).collect();
    assert!(matches!(expiries[..], [None, None, Some(_)]), "{changes}");
    assert_eq!(scene.ok("--db d del a b --json"), "{\"deleted\":2}\n");
    let ran = scene.run("--db d del a --json --quiet");
    assert_eq!((ran.code, ran.stdout.as_slice()), (Some(1), &b"{\"deleted\":0}\n"[..]));
    assert_eq!(scene.run("--db d del --prefix x --yes").stdout, b"deleted 0 keys\n");
}

#[test]
fn keys_that_are_shown_can_be_typed_again() {
    let scene = Scene::new("shown");
    let shell = |input: &str| {
        let ran = run_with_input(&mut scene.command(["--db", "d", "shell"]), input.as_bytes());
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{input}");
        String::from_utf8(ran.stdout).unwrap()
    };
    shell("set \"a\\u{0}\\x1b\\u{e4}\" 1\n");
    let key = scene.ok("--db d scan --keys-only");
    assert_eq!(key, "a\\x00\\x1b\u{e4}\n");
    let key = key.trim();
    assert_eq!(shell(&format!("get \"{key}\"\n")), "1\n");
    let line = format!("del \"{key}\"\n");
    let ran = run_with_input(&mut scene.command(["--db", "d", "batch", "-"]), line.as_bytes());
    assert_eq!(String::from_utf8(ran.stdout).unwrap(), "made 1 change\n");
    assert_eq!(scene.ok("--db d count"), "0\n");
}

#[test]
fn a_line_that_is_no_change_says_why() {
    let scene = Scene::new("batch-lines");
    for (line, what) in [
        ("set", "a key and a value are missing"),
        ("set a", "a value is missing"),
        ("set a 1 ttl", "a time is missing behind ttl"),
        ("set a two words", "a word too many, where quotes may be missing: words"),
        ("set a 1 ttl 1h more", "a word too many, where quotes may be missing: more"),
        ("set a 1 ttl 0", "a time to live is 1ms at least; `del` deletes"),
        ("set a 1 ttl 99999999999999999d", "the time is too long to count"),
        ("del", "a key is missing"),
        ("del a b", "a word too many, for a line deletes one key: b"),
        ("get a", "neither set nor del: get"),
    ] {
        let ran = run_with_input(&mut scene.command(["--db", "d", "batch", "-"]), line.as_bytes());
        assert_eq!(ran.code, Some(2), "{line}");
        let error = format!("error: {what}: - line 1\nhelp: nothing was changed;");
        assert!(ran.stderr.starts_with(&error), "{line}: {ran:?}");
    }
}

#[test]
fn no_time_to_live_deletes_nothing() {
    let scene = Scene::new("no-ttl");
    scene.ok("--db d set k v");
    for line in ["set k w --ttl 0", "expire k 0s"] {
        let ran = scene.run(&format!("--db d {line}"));
        assert_eq!(ran.code, Some(2), "{line}");
        assert!(ran.stderr.contains("a time to live is 1ms at least; `del` deletes"), "{ran:?}");
    }
    assert_eq!(scene.ok("--db d get k"), "v");
    // A long key does not fill the message.
    let ran = scene.run(&format!("--db d get {}", "k".repeat(60_000)));
    let note = format!("note: no such key: {}.. (60000 bytes)\n", "k".repeat(200));
    assert_eq!((ran.code, ran.stderr), (Some(1), note));
}

#[test]
fn a_scan_has_exactly_the_keys_within_prefix_and_ends_in_either_direction() {
    let scene = Scene::new("scan-range");
    let keys = ["a", "b", "b1", "b2", "b9", "c", "ca", "d"];
    for key in keys {
        scene.ok(&format!("--db d set {key} x"));
    }
    let ends = ["", "b", "b1", "b5", "cb"];
    for prefix in ["", "b", "c", "x"] {
        for (from, to) in ends.iter().flat_map(|from| ends.iter().map(move |to| (*from, *to))) {
            let is_within = |key: &&&str| {
                key.starts_with(prefix) && **key >= from && (to.is_empty() || **key < to)
            };
            let mut expected: Vec<_> = keys.iter().filter(is_within).copied().collect();
            for reverse in ["", "--reverse"] {
                let given = [("--prefix", prefix), ("--from", from), ("--to", to)];
                let given = given.iter().filter(|(_, key)| !key.is_empty());
                let options: String = given.map(|(name, key)| format!("{name} {key} ")).collect();
                let line = format!("--db d scan --ordered --keys-only {options}{reverse}");
                let found = scene.ok(line.trim_end());
                assert_eq!(found.lines().collect::<Vec<_>>(), expected, "{line}");
                expected.reverse();
            }
        }
    }
}
