//! Parts of JSON documents: all that is not meant stays byte for byte as it is.

use crate::{Scene, run, run_with_input};

const DOCUMENT: &str =
    r#"{ "price":1.10, "id":12345678901234567890123, "b":1, "a":[1e2, 2], "b":2.0 }"#;

fn json(scene: &Scene, words: &[&str]) -> String {
    let ran = run(&mut scene.command([&["--db", "d", "json"], words].concat()));
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{words:?}");
    String::from_utf8(ran.stdout).unwrap()
}

#[test]
fn only_the_part_is_changed() {
    let scene = Scene::new("json-parts");
    let stored = || scene.ok("--db d get k");
    json(&scene, &["set", "k", DOCUMENT]);
    assert_eq!(stored(), DOCUMENT);
    scene.ok("--db d expire k 1h");
    json(&scene, &["set", "k", "$.a[1]", "{\"x\": 0.50}"]);
    assert_eq!(stored(), DOCUMENT.replace("1e2, 2", "1e2, {\"x\": 0.50}"));
    json(&scene, &["set", "k", "new.name", "-5"]);
    json(&scene, &["del", "k", "a"]);
    let expected =
        r#"{ "price":1.10, "id":12345678901234567890123, "b":1, "b":2.0, "new":{"name":-5} }"#;
    assert_eq!(stored(), expected);
    assert_ne!(scene.ok("--db d ttl k"), "never\n");
    // Reading keeps digits and order, too.
    assert_eq!(json(&scene, &["get", "k", "--json"]), expected.replace(' ', "") + "\n");
    assert_eq!(json(&scene, &["get", "k", "/id"]), "12345678901234567890123\n");
    assert_eq!(json(&scene, &["get", "k", "new"]), "{\n  \"name\": -5\n}\n");
    let absent = run(&mut scene.command(["--db", "d", "json", "del", "k", "a"]));
    assert_eq!((absent.code, absent.stderr.as_str()), (Some(1), "note: nothing is there: a\n"));
    assert_eq!(stored(), expected);
}

#[test]
fn a_whole_document_replaces_whatever_was_there() {
    let scene = Scene::new("json-whole");
    scene.ok("--db d set k no-json");
    let ran = run(&mut scene.command(["--db", "d", "json", "set", "k", "a", "1"]));
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.starts_with("error: what is stored is not JSON: k: "), "{ran:?}");
    let mut set = scene.command(["--db", "d", "json", "set", "k", "-"]);
    assert_eq!(run_with_input(&mut set, b"{\"b\":1.0,\n \"a\":2}\n").code, Some(0));
    assert_eq!(scene.ok("--db d get k"), "{\"b\":1.0,\n \"a\":2}\n");
    let ran = run(&mut scene.command(["--db", "d", "json", "set", "k", "{\"a\":"]));
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.starts_with("error: the value is not JSON: EOF"), "{ran:?}");
}

#[test]
fn each_of_them_has_its_help() {
    let scene = Scene::new("json-help");
    for (command, usage) in [
        ("set", "Usage: bitcask json set [OPTIONS] <KEY> [PATH] <VALUE>\n"),
        ("get", "Usage: bitcask json get [OPTIONS] <KEY> [PATH]\n"),
        ("del", "Usage: bitcask json del [OPTIONS] <KEY> <PATH>\n"),
    ] {
        let help = scene.ok(&format!("json {command} --help"));
        assert!(help.contains(usage), "{help}");
        assert!(
            help.contains(&format!("  bitcask --db ./database json {command} user:1")),
            "{help}"
        );
        assert!(help.lines().all(|line| line.len() <= 100), "{help}");
        let mut shell = scene.command(["--db", "d", "shell"]);
        let ran = run_with_input(&mut shell, format!("json {command} --help\n").as_bytes());
        assert!(!String::from_utf8(ran.stdout).unwrap().contains("--db ./database"), "{command}");
    }
}
