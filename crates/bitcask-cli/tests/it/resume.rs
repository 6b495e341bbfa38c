//! An import that ended before its end goes on without leaving anything out, and what is rejected is never lost.

use std::fs::{self, File};
use std::path::Path;

use serde_json::Value;

use crate::{Ran, Scene, names, run, run_with_input};

const KEYS: usize = 1000;

/// A store `whole`, all of it in `whole.bin`, and `in.bin`, which is cut in the middle.
fn cut(scene: &Scene) -> Vec<u8> {
    let lines: String =
        (0..KEYS).map(|n| format!("{{\"key\":\"k{n}\",\"value\":\"{n}\"}}\n")).collect();
    let mut import = scene.command(["--db", "whole", "import", "--from", "jsonl"]);
    assert_eq!(run_with_input(&mut import, lines.as_bytes()).code, Some(0));
    scene.run("--db whole export --to binary whole.bin");
    let mut bytes = fs::read(scene.path("whole.bin")).unwrap();
    fs::write(scene.path("in.bin"), &bytes[..bytes.len() / 2]).unwrap();
    bytes.truncate(bytes.len() / 2);
    bytes
}

fn refused(scene: &Scene, line: &str, what: &str, help: &str) {
    let ran = scene.run(line);
    assert_eq!(ran.code, Some(2), "{line}: {ran:?}");
    assert!(ran.stderr.starts_with(&format!("error: {what}")), "{line}: {ran:?}");
    let help = format!("\nhelp: {help} in.bin.importing to begin anew\n");
    assert!(ran.stderr.ends_with(&help), "{line}: {ran:?}");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for name in names(from) {
        fs::copy(from.join(&name), to.join(&name)).unwrap();
    }
}

#[test]
fn a_cut_file_is_told_and_counted_once_however_often_it_is_tried() {
    let scene = Scene::new("import-cut");
    let bytes = cut(&scene);
    let first = scene.run("--db d import --from binary in.bin --json");
    assert_eq!(first.code, Some(5), "{first:?}");
    let report: Value = serde_json::from_slice(&first.stdout).unwrap();
    let imported = report["imported"].as_u64().unwrap();
    assert!(imported > 400 && !imported.is_multiple_of(64), "{imported}");
    let done = format!("in.bin; {imported} keys were imported\nhelp: once the file is whole, ");
    assert!(first.stderr.contains(&done), "{first:?}");
    assert_eq!(scene.ok("--db d count"), format!("{imported}\n"));
    for _ in 0..3 {
        let again = scene.run("--db d import --from binary in.bin --resume");
        assert_eq!(again.code, Some(5), "{again:?}");
        assert!(again.stderr.contains(&done), "{again:?}");
    }
    fs::copy(scene.path("whole.bin"), scene.path("in.bin")).unwrap();
    let said = scene.ok("--db d import --from binary in.bin --resume");
    assert_eq!(said, "imported                 1000\n");
    assert_eq!(scene.ok("--db d scan --ordered"), scene.ok("--db whole scan --ordered"));
    assert!(!scene.path("in.bin.importing").exists());
    // Where it cannot be noted how far it is, nothing else is lost.
    fs::write(scene.path("in.bin"), bytes).unwrap();
    fs::create_dir(scene.path("in.bin.importing.tmp")).unwrap();
    let ran = scene.run("--db f import --from binary in.bin");
    assert_eq!(ran.code, Some(5), "{ran:?}");
    let note =
        "note: this import could not be resumed: cannot write: in.bin.importing: Is a directory";
    assert!(ran.stderr.starts_with(note), "{ran:?}");
    assert!(ran.stderr.contains("keys were imported\nhelp: begin again"), "{ran:?}");
    assert_eq!(scene.ok("--db f count"), format!("{imported}\n"));
    // Of a stream nothing is kept to go on with.
    let mut import = scene.command(["--db", "e", "import", "--from", "binary"]);
    let half = fs::read(scene.path("whole.bin")).unwrap();
    let ran = run_with_input(&mut import, &half[..half.len() / 2]);
    assert!(ran.stderr.contains("keys were imported\nhelp: begin again"), "{ran:?}");
}

#[test]
fn an_import_goes_on_only_in_the_store_that_it_went_into() {
    let scene = Scene::new("import-store");
    cut(&scene);
    scene.ok("--db d set before 1");
    copy(&scene.path("d"), &scene.path("older"));
    assert_eq!(scene.run("--db d import --from binary in.bin").code, Some(5));
    scene.ok("--db other set k v");
    let help = "pass the store that the import went into, or remove";
    for db in ["other", "older", "new"] {
        let what = "this is not the store whose import was interrupted, or an older one of it: ";
        let line = format!("--db {db} import --from binary in.bin --resume");
        refused(&scene, &line, &format!("{what}{db}\n"), help);
    }
    assert!(!scene.path("new").exists());
    assert_eq!(scene.ok("--db other count"), "1\n");
    // A store of the same name is not the same.
    copy(&scene.path("d"), &scene.path("moved"));
    fs::remove_dir_all(scene.path("d")).unwrap();
    scene.ok("--db d set k v");
    let line = "--db d import --from binary in.bin --resume";
    refused(&scene, line, "this is not the store", help);
    // And one that has moved is, merged or not.
    scene.ok("--db moved del before");
    scene.ok("--db moved merge");
    fs::copy(scene.path("whole.bin"), scene.path("in.bin")).unwrap();
    scene.ok("--db moved import --from binary in.bin --resume");
    assert_eq!(scene.ok("--db moved count"), "1000\n");
}

#[test]
fn an_import_goes_on_only_in_what_it_read() {
    let scene = Scene::new("import-source");
    let bytes = cut(&scene);
    let refused = |line, what, help| refused(&scene, line, what, help);
    assert_eq!(scene.run("--db d import --from binary in.bin").code, Some(5));
    refused(
        "--db d import --from binary in.bin",
        "an import of this file was interrupted: in.bin\n",
        "go on with --resume, or remove",
    );
    let other = "the import that was interrupted had other options: in.bin\n";
    let help = "pass --from binary --format utf8, or remove";
    refused("--db d import --from jsonl in.bin --resume", other, help);
    refused("--db d import --from binary --format hex in.bin --resume", other, help);
    let changed = "the file was changed since its import was interrupted: in.bin\n";
    let line = "--db d import --from binary in.bin --resume";
    // One byte of what was read; and a part of it.
    let mut other = bytes.clone();
    other[bytes.len() / 2] ^= 1;
    for other in [&other[..], &bytes[..bytes.len() / 2], b""] {
        fs::write(scene.path("in.bin"), other).unwrap();
        refused(line, changed, "remove");
    }
    fs::write(scene.path("in.bin.importing"), "{\"offset\":1}").unwrap();
    refused(line, "this says nothing about an import: in.bin.importing\n", "remove");
}

const BAD: &[u8] = b"{\"key\":\"a\",\"value\":\"1\"}\nnonsense\n";

/// Imports these lines from standard input.
fn import_lines(scene: &Scene, lines: &[u8], more: &[&str]) -> Ran {
    let words = [&["--db", "d", "import", "--from", "jsonl"], more].concat();
    run_with_input(&mut scene.command(words), lines)
}

fn text(scene: &Scene, name: &str) -> String {
    fs::read_to_string(scene.path(name)).unwrap()
}

#[test]
fn what_was_rejected_before_stays() {
    let scene = Scene::new("import-rejects");
    for _ in 0..2 {
        assert_eq!(import_lines(&scene, BAD, &[]).code, Some(1));
    }
    let third = import_lines(&scene, b"rubbish\n", &[]);
    let said = String::from_utf8(third.stdout).unwrap();
    assert!(said.contains("line 1: rejected, and kept in import.rejected.3: "), "{said}");
    assert_eq!(text(&scene, "import.rejected"), "nonsense\n");
    assert_eq!(text(&scene, "import.rejected.2"), "nonsense\n");
    assert_eq!(text(&scene, "import.rejected.3"), "rubbish\n");
    // What was rejected is read again.
    let input = File::open(scene.path("import.rejected")).unwrap();
    let mut again = scene.command(["--db", "d", "import", "--from", "jsonl"]);
    assert_eq!(run(again.stdin(input)).code, Some(1));
    assert_eq!(text(&scene, "import.rejected"), "nonsense\n");
    assert_eq!(text(&scene, "import.rejected.4"), "nonsense\n");

    fs::write(scene.path("in.jsonl"), BAD).unwrap();
    for name in ["in.jsonl.rejected", "in.jsonl.rejected.2"] {
        assert_eq!(scene.run("--db d import --from jsonl in.jsonl").code, Some(1));
        assert_eq!(text(&scene, name), "nonsense\n");
    }
}

#[test]
fn a_file_that_is_there_takes_nothing_that_is_rejected() {
    let scene = Scene::new("import-rejects-file");
    fs::write(scene.path("in.jsonl"), BAD).unwrap();
    fs::write(scene.path("mine"), "mine").unwrap();
    let help = "help: pass the path of a new file to --rejects\n";
    let line = |rejects| format!("--db d import --from jsonl in.jsonl --rejects {rejects}");
    let file = format!("error: there is a file already: mine\n{help}");
    scene.fails(&line("mine"), 2, &file);
    let input = format!("error: what is rejected cannot be kept in the input: in.jsonl\n{help}");
    scene.fails(&line("in.jsonl"), 2, &input);
    let stdin = File::open(scene.path("mine")).unwrap();
    let words = ["--db", "d", "import", "--from", "jsonl", "--rejects", "mine"];
    assert_eq!(run(scene.command(words).stdin(stdin)).code, Some(2));
    assert_eq!((text(&scene, "in.jsonl").as_bytes(), &*text(&scene, "mine")), (BAD, "mine"));
    assert!(!scene.path("d").exists());
    // Neither a device nor a new file is in the way.
    for rejects in ["/dev/null", "new"] {
        assert_eq!(scene.run(&line(rejects)).code, Some(1), "{rejects}");
    }
    assert_eq!(text(&scene, "new"), "nonsense\n");
}

#[test]
fn where_nothing_can_be_written_another_place_is_advised() {
    let scene = Scene::new("import-rejects-place");
    let ran = scene.run("--db d import --from jsonl /proc/version");
    assert_eq!(ran.code, Some(6), "{ran:?}");
    assert!(ran.stderr.starts_with("error: cannot create: /proc/version.rejected\n"), "{ran:?}");
    assert!(ran.stderr.contains("\nhelp: pass --rejects PATH"), "{ran:?}");
    let ran = scene.run("--db d import --from jsonl /proc/version --rejects here");
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(text(&scene, "here").starts_with("Linux"));
}
