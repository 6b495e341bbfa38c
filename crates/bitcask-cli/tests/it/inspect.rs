//! What `inspect` shows of files, sound and damaged.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use bitcask::{Bitcask, Compression, Inspected, Options, WriteBatch};
use serde_json::Value;

use crate::{Scene, names};

const DATA: &str = "d/000000000001.data";
const HINT: &str = "d/000000000001.hint";

/// A store with a record of each kind, closed.
fn filled(name: &str) -> Scene {
    let scene = Scene::new(name);
    let db = Bitcask::open(scene.path("d")).unwrap();
    db.put(b"ada", b"1815").unwrap();
    db.put(b"long", &[b'x'; 300]).unwrap();
    db.delete(b"ada").unwrap();
    let mut batch = WriteBatch::new();
    batch.put("a\tbc", "1").put("b", "2");
    db.write(&batch).unwrap();
    db.close().unwrap();
    scene
}

/// The lines of `inspect --json`, which must exit with this code.
#[track_caller]
fn lines(scene: &Scene, words: &str, code: i32) -> Vec<Value> {
    let ran = scene.run(&format!("inspect --json {words}"));
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(code), ""), "{words}");
    let text = String::from_utf8(ran.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Where the pieces of a data file lie, which must be all of it, and how many are unsound.
#[track_caller]
fn pieces(path: &Path) -> (Vec<(u64, u64)>, usize) {
    let (mut places, mut unsound, mut file_len) = (Vec::new(), 0, 0);
    bitcask::inspect(path, |_, piece| {
        unsound += usize::from(!piece.is_sound());
        places.push(match piece {
            Inspected::File { len, .. } => {
                file_len = len;
                return ControlFlow::Continue(());
            }
            Inspected::DataHeader { .. } => (0, 64),
            Inspected::Record { offset, len, .. } => (offset, offset + len),
            Inspected::Gap { from, to, .. } | Inspected::Zeros { from, to, .. } => (from, to),
            other => panic!("{other:?}"),
        });
        ControlFlow::Continue(())
    })
    .unwrap();
    let mut end = 0;
    for &(from, to) in &places {
        assert_eq!(from, end, "{places:?}");
        end = to;
    }
    assert_eq!(end, file_len, "{places:?}");
    (places, unsound)
}

#[test]
fn every_record_is_shown_where_it_lies() {
    let scene = filled("inspect-sound");
    let all = lines(&scene, "--db d", 0);
    let records: Vec<_> = all.iter().filter(|line| line["what"] == "record").collect();
    let keys = |flag: &str| -> Vec<_> {
        let of = records.iter().filter(|line| line["flags"][0] == flag);
        of.map(|line| line["key"].as_str().unwrap()).collect()
    };
    assert_eq!(keys("value"), ["ada", "long", "a\tbc", "b"]);
    assert_eq!(keys("tombstone"), ["ada"]);
    assert!(records.iter().all(|line| line["ok"] == true && line["file"] == DATA));

    let bytes = fs::read(scene.path(DATA)).unwrap();
    let long = records.iter().find(|line| line["key"] == "long").unwrap();
    assert_eq!(long["value_len"], 300);
    assert_eq!(long["value_start"], "x".repeat(32));
    let at = usize::try_from(long["value_offset"].as_u64().unwrap()).unwrap();
    assert_eq!(bytes[at - 4..at + 300], [b"long".as_slice(), &[b'x'; 300]].concat());

    // The hint has an entry for each of the changes, in their places.
    let places = |what: &str| {
        let of = all.iter().filter(|line| line["what"] == what && line["flags"][0] != "mark");
        let of = of.filter(|line| line["flags"][0] != "frame");
        let mut places: Vec<_> = of
            .map(|line| [&line["offset"], &line["len"], &line["seq"]].map(|n| n.as_u64().unwrap()))
            .collect();
        places.sort_unstable();
        places
    };
    assert_eq!(places("hint_entry"), places("record"));
    assert_eq!(places("hint_entry").len(), 5);

    // One file, by its name in the store or by its path.
    let one = lines(&scene, &format!("{DATA} --format hex"), 0);
    assert_eq!(one.len(), all.iter().filter(|line| line["file"] == DATA).count());
    assert!(one.iter().any(|line| line["key"] == "616461"), "{one:?}");
    assert_eq!(lines(&scene, "--db d 000000000001.data --format hex", 0), one);
}

#[test]
fn a_terminal_obeys_no_key() {
    let scene = filled("inspect-terminal");
    let text = scene.ok("--db d inspect 000000000001.data");
    assert!(text.contains("\"a\\tbc\"  value 1 bytes at "), "{text}");
    assert!(text.contains("\"long\"  value 300 bytes at "), "{text}");
    assert!(text.contains(&format!(" \"{}\"..  checksum ", "x".repeat(32))), "{text}");
    assert!(text.contains("2 members, "), "{text}");
}

#[test]
fn every_flipped_byte_of_a_data_file_shows_and_hides_no_other_record() {
    let scene = filled("inspect-flip");
    let (path, bytes) = (scene.path(DATA), fs::read(scene.path(DATA)).unwrap());
    let (sound, unsound) = pieces(&path);
    assert_eq!(unsound, 0);
    for at in 0..bytes.len() {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x11;
        fs::write(&path, &bytes).unwrap();
        let (places, unsound) = pieces(&path);
        assert_eq!(unsound, 1, "byte {at}: {places:?}");
        assert_eq!(places, sound, "byte {at}");
    }
}

#[test]
fn of_a_data_file_cut_anywhere_all_is_shown() {
    let scene = filled("inspect-cut");
    let (path, bytes) = (scene.path(DATA), fs::read(scene.path(DATA)).unwrap());
    let (sound, _) = pieces(&path);
    for len in 0..bytes.len() {
        fs::write(&path, &bytes[..len]).unwrap();
        let (places, unsound) = pieces(&path);
        let whole = sound.iter().take_while(|&&(_, to)| to <= len as u64).count();
        let is_clean = whole > 0 && sound[whole - 1].1 == len as u64;
        assert_eq!(unsound == 0, is_clean, "{len}: {places:?}");
        // Without a header there is nothing to check by.
        if len >= 64 {
            assert_eq!(places[..whole], sound[..whole], "{len}");
        }
    }
}

#[test]
fn gaps_and_zeros_are_told_with_their_places() {
    let scene = filled("inspect-gap");
    let len = fs::metadata(scene.path(DATA)).unwrap().len();
    scene.edit(DATA, |bytes| {
        bytes[66..72].fill(0xff);
        bytes.extend([7; 100]);
        bytes.extend([0; 5000]);
    });
    let lines = lines(&scene, DATA, 1);
    let gaps: Vec<_> = lines.iter().filter(|line| line["what"] == "gap").collect();
    assert_eq!(gaps.len(), 2, "{gaps:?}");
    assert_eq!((&gaps[0]["offset"], &gaps[0]["len"]), (&64.into(), &36.into()));
    assert_eq!((&gaps[1]["offset"], &gaps[1]["len"]), (&len.into(), &100.into()));
    let zeros = lines.last().unwrap();
    assert_eq!((&zeros["what"], &zeros["len"]), (&"zeros".into(), &5000.into()));
    let text = String::from_utf8(scene.run(&format!("inspect {DATA}")).stdout).unwrap();
    assert!(text.contains("\n  64 to 100: DAMAGED: no record: no record has the flags "), "{text}");
    assert!(text.ends_with(&format!("\n  {} to {}: zeros\n", len + 100, len + 5100)), "{text}");
}

#[test]
fn a_long_record_is_checked_to_its_end() {
    let scene = Scene::new("inspect-long");
    let db = Bitcask::open(scene.path("d")).unwrap();
    db.put(b"long", &vec![b'x'; 3 << 20]).unwrap();
    db.put(b"short", b"1").unwrap();
    db.close().unwrap();
    let (sound, unsound) = pieces(&scene.path(DATA));
    assert_eq!(unsound, 0);
    scene.edit(DATA, |bytes| bytes[3 << 20] ^= 1);
    assert_eq!(pieces(&scene.path(DATA)), (sound, 1));
    let damaged = lines(&scene, DATA, 1).into_iter().find(|line| line["ok"] == false).unwrap();
    assert_eq!((&damaged["key"], &damaged["value_len"]), (&"long".into(), &(3 << 20).into()));
}

#[test]
fn damage_to_a_hint_is_shown_block_by_block() {
    let scene = Scene::new("inspect-hint");
    let db = Bitcask::open(scene.path("d")).unwrap();
    (0..500_u32).for_each(|n| db.put(&n.to_le_bytes(), b"").unwrap());
    db.close().unwrap();
    let entries = |code| {
        let lines = lines(&scene, HINT, code);
        let count = |what: &str| lines.iter().filter(|line| line["what"] == what).count();
        (count("hint_header"), count("hint_entry"), count("gap"))
    };
    assert_eq!(entries(0), (1, 500, 0));
    scene.edit(HINT, |bytes| bytes[64 + 4096 + 9] ^= 1);
    assert_eq!(entries(1), (1, 330, 1));
    scene.edit(HINT, |bytes| bytes.truncate(64 + 2 * 4096 + 100));
    // The block that is cut, and what is not there at all.
    assert_eq!(entries(1), (1, 170, 3));
    scene.edit(HINT, |bytes| bytes[20] ^= 1);
    assert_eq!(entries(1), (0, 0, 1));
}

#[test]
fn dictionaries_are_shown_and_checked() {
    let scene = Scene::new("inspect-dictionary");
    let options = Options::new().compression(Compression::zstd());
    let db = options.open(scene.path("d")).unwrap();
    for n in 0..2000_u32 {
        let value = format!(
            "{{\"name\":\"user number {n}\",\"role\":\"{}\",\"id\":{n}}}",
            "reader ".repeat(20)
        );
        db.put(&n.to_le_bytes(), value.as_bytes()).unwrap();
    }
    db.train_dictionary().unwrap();
    db.close().unwrap();
    let name = names(&scene.path("d")).into_iter().find(|name| name.ends_with(".dict")).unwrap();
    let shown = lines(&scene, &format!("--db d {name}"), 0);
    assert_eq!(shown[0]["kind"], "dictionary");
    assert_eq!(shown[1]["id"], name.trim_end_matches(".dict"));
    // Known by its first bytes, under whatever name.
    fs::copy(scene.path("d").join(&name), scene.path("copy")).unwrap();
    assert_eq!(lines(&scene, "copy", 0)[1]["id"], shown[1]["id"]);
    scene.edit("copy", |bytes| bytes[70] ^= 1);
    assert_eq!(lines(&scene, "copy", 1)[1]["fault"], "checksum mismatch");
}

#[test]
fn what_is_no_file_of_a_store_is_refused() {
    let scene = filled("inspect-refused");
    fs::write(scene.path("notes"), "nothing of ours").unwrap();
    let help = "help: pass a file of a store: its name ends in .data, .merged, .hint or .dict\n";
    let what =
        "this is no data, hint or dictionary file: neither its first bytes nor its name are of one";
    scene.fails("inspect notes", 2, &format!("error: {what}: notes\n{help}"));
    scene.fails("--db d inspect LOCK", 2, &format!("error: {what}: d/LOCK\n{help}"));
    let none = "error: there is no such file or directory: d/none";
    scene.fails("--db d inspect none", 2, &format!("{none}\n{help}"));
    fs::create_dir(scene.path("empty")).unwrap();
    let empty = "error: the directory holds no store: empty\n";
    let create = "help: check the directory; `set` creates a store\n";
    scene.fails("--db empty inspect", 2, &format!("{empty}{create}"));
    assert!(names(&scene.path("empty")).is_empty());
    let help = "help: pass --db DIR, or set BITCASK_DB\n";
    scene.fails("inspect", 2, &format!("error: no store was given\n{help}"));
}

#[test]
fn it_works_beside_a_writer_and_changes_nothing() {
    let scene = filled("inspect-beside");
    let db = Bitcask::open(scene.path("d")).unwrap();
    db.put(b"more", b"1").unwrap();
    let before = names(&scene.path("d"));
    let shown = lines(&scene, "--db d", 0);
    assert!(shown.iter().any(|line| line["key"] == "more"), "{shown:?}");
    assert_eq!(names(&scene.path("d")), before);
    db.close().unwrap();
}
