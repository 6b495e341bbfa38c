//! Files that Redis wrote, against what it said was in them: `tests/fixtures/redis`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::made::{Memory, go_on};
use super::{Databases, Files, Options, Report, import_aof, import_rdb};

/// 2033: after all that the fixtures have let expire, and before what they have not.
const NOW_MS: u64 = 2_000_000_000_000;

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/redis").join(name)
}

/// By key: value and expiry.
type Strings = BTreeMap<String, (Vec<u8>, Option<u64>)>;

fn expected(name: &str) -> Strings {
    let json = std::fs::read(path("holds.json")).unwrap();
    let holds: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let entry = |(key, value): (&String, &serde_json::Value)| {
        let hex = value[0].as_str().unwrap().as_bytes();
        let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
        (key.clone(), (hex.chunks(2).map(byte).collect(), value[1].as_u64()))
    };
    holds[name].as_object().unwrap().iter().map(entry).collect()
}

type Import =
    fn(Files, &Options, &mut dyn super::Target, &mut Report, super::Watch<'_>) -> super::Result<()>;

fn import(name: &str, databases: Databases) -> (Strings, Report) {
    let options = Options { databases, now_ms: NOW_MS };
    let (mut memory, mut report) = (Memory::at(NOW_MS), Report::default());
    let path = path(name);
    let (files, import) = match name.ends_with("rdb") {
        true => (Files::rdb(&path), import_rdb as Import),
        false => (Files::aof(&path), import_aof as Import),
    };
    import(files.unwrap(), &options, &mut memory, &mut report, &mut go_on).unwrap();
    let entry = |(key, current): (Vec<u8>, super::Current)| {
        (String::from_utf8(key).unwrap(), (current.value, current.expires_ms))
    };
    (memory.keys.into_iter().map(entry).collect(), report)
}

#[test]
fn snapshots_give_what_redis_had() {
    for name in ["redis7.rdb", "redis7-plain.rdb"] {
        let (strings, report) = import(name, Databases::One(0));
        assert_eq!(strings, expected(name), "{name}");
        assert_eq!(report.snapshot_keys, strings.len() as u64, "{name}");
        let types = ["function", "hash", "list", "set", "sorted set", "stream"];
        assert_eq!(report.other_types.keys().collect::<Vec<_>>(), types, "{name}");
        let databases = [("1".to_owned(), 2), ("12".to_owned(), 1)];
        assert_eq!(report.other_databases, databases.into(), "{name}");
        assert_eq!(report.notices.list, [], "{name}");
    }
}

#[test]
fn a_log_of_several_files_gives_what_redis_had() {
    let (strings, report) = import("appendonlydir", Databases::One(0));
    assert_eq!(strings, expected("appendonlydir"));
    assert_eq!(report.notices.list, []);
    let (by_manifest, _) = import("appendonlydir/appendonly.aof.manifest", Databases::One(0));
    assert_eq!(by_manifest, strings);
    let (one, _) = import("appendonlydir/appendonly.aof.2.incr.aof", Databases::One(0));
    assert!(one.len() < strings.len());
}

#[test]
fn a_log_of_commands_gives_what_redis_had() {
    let (strings, report) = import("commands.aof", Databases::One(0));
    assert_eq!(strings, expected("commands.aof"));
    assert_eq!(report.notices.list, []);
    assert!(report.other_commands.contains_key("RPUSH"));
    assert!(report.other_commands.contains_key("FUNCTION"));
}

#[test]
fn all_databases_are_told_apart() {
    for name in ["redis7.rdb", "commands.aof"] {
        let (strings, _) = import(name, Databases::All);
        let value = |key: &str| strings.get(key).map(|(value, _)| value.as_slice());
        assert_eq!(value("db0:plain"), Some(b"hello, world".as_slice()), "{name}");
        assert_eq!(value("db1:plain"), Some(b"other".as_slice()), "{name}");
        assert_eq!(value("db1:only1"), Some(b"here".as_slice()), "{name}");
        assert_eq!(value("plain"), None, "{name}");
    }
}

#[test]
fn a_directory_without_a_manifest_and_what_follows_a_snapshot_are_told() {
    let options = Options { databases: Databases::One(0), now_ms: NOW_MS };
    let (mut memory, mut report) = (Memory::at(NOW_MS), Report::default());
    let error = Files::aof(&path("")).unwrap_err();
    assert!(error.to_string().contains("there is no manifest"));
    assert_eq!(error.kind(), bitcask::ErrorKind::Invalid);
    let error = Files::rdb(&path("none.rdb")).unwrap_err();
    assert!(error.to_string().starts_with("cannot read: "));

    let both = std::env::temp_dir().join(format!("bitcask-redis-both-{}", std::process::id()));
    let mut bytes = std::fs::read(path("redis7.rdb")).unwrap();
    bytes.extend(b"*1\r\n$4\r\nPING\r\n");
    std::fs::write(&both, bytes).unwrap();
    let files = Files::rdb(&both).unwrap();
    import_rdb(files, &options, &mut memory, &mut report, &mut go_on).unwrap();
    std::fs::remove_file(&both).unwrap();
    assert!(report.notices.list[0].what.starts_with("14 bytes after the end"));
}
