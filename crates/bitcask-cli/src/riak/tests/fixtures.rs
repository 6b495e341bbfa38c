//! Directories that the original wrote come in as the original answers for them, key by key.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use super::sha256;
use super::stores::{Outcome, Scratch, read};
use crate::incoming::Incoming;
use crate::riak::{Expiry, KeyForm, RiakOptions};

/// A copy of a fixture with its modes, and its manifest.
pub(super) struct Fixture {
    pub(super) name: String,
    pub(super) dir: Scratch,
    pub(super) manifest: Json,
}

impl Fixture {
    pub(super) fn copy(from: &Path) -> Self {
        let dir = Scratch::new();
        let manifest: Json =
            serde_json::from_slice(&fs::read(from.join("MANIFEST.json")).unwrap()).unwrap();
        for file in manifest["files"].as_array().unwrap() {
            let name = file["name"].as_str().unwrap();
            let to = dir.0.join(name);
            fs::write(&to, fs::read(from.join(name)).unwrap()).unwrap();
            if file["pending_delete"] == true {
                fs::set_permissions(&to, Permissions::from_mode(0o645)).unwrap();
            }
        }
        Self { name: from.file_name().unwrap().to_str().unwrap().into(), dir, manifest }
    }

    pub(super) fn of(name: &str) -> Self {
        Self::copy(&root().join(name))
    }

    pub(super) fn read(&self) -> Outcome {
        read(&self.dir.0, &RiakOptions::default()).unwrap()
    }

    /// The keys that live, with their values' lengths and digests.
    fn expected(&self) -> BTreeMap<String, Json> {
        let live = self.manifest["expected"]["live"].as_object().unwrap();
        live.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/riak")
}

pub(super) fn all() -> Vec<Fixture> {
    let more = std::env::var_os("RIAK_FIXTURES").map(PathBuf::from);
    let dirs = [Some(root()), more].into_iter().flatten();
    let mut found: Vec<_> = dirs
        .flat_map(|dir| fs::read_dir(dir).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("MANIFEST.json").exists())
        .collect();
    found.sort_unstable();
    found.iter().map(|path| Fixture::copy(path)).collect()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn digests(outcome: &Outcome) -> BTreeMap<String, Json> {
    let each = outcome.live.iter();
    each.map(|(key, (value, _))| (hex(key), serde_json::json!([value.len(), sha256::hex(value)])))
        .collect()
}

#[test]
fn every_fixture_comes_in_as_its_manifest_says() {
    let fixtures = all();
    assert!(fixtures.len() >= 14);
    for fixture in fixtures {
        let (found, expected) = (digests(&fixture.read()), fixture.expected());
        if fixture.name == "bitflip-vsize-nohint" {
            // The original gives the file up behind the damage.
            let written = fixture.manifest["differs_from_written"].as_object().unwrap();
            let mut expected = expected;
            for (key, saved) in written {
                expected.insert(key.clone(), saved["written"].clone());
            }
            expected.remove(fixture.manifest["damage"]["hit_key"].as_str().unwrap());
            assert_eq!((found.len(), found), (299, expected));
        } else {
            assert!(found == expected, "{}", fixture.name);
        }
        println!("{}: {:?}", fixture.name, fixture.read().report);
    }
}

#[test]
fn undamaged_directories_of_the_newest_releases_come_in_without_a_word() {
    for fixture in all() {
        let report = fixture.read().report;
        let files = fixture.manifest["files"].as_array().unwrap();
        let sum =
            |kind: &str| files.iter().filter_map(|f| f["records"][kind].as_u64()).sum::<u64>();
        if [
            "small",
            "merged",
            "expiry",
            "overwrite-delete",
            "riak-encoded-keys",
            "edge-keys",
            "edge-values",
            "basic",
        ]
        .contains(&fixture.name.as_str())
        {
            assert_eq!(
                (report.notices.list.len(), report.damaged_places),
                (0, 0),
                "{}",
                fixture.name
            );
            assert_eq!((report.values, report.tombstones), (sum("value"), sum("tombstone-v2")));
            assert_eq!(report.tombstones_doubtful, 0);
        }
    }
}

#[test]
fn a_flipped_bit_in_a_value_loses_its_key_by_name() {
    let outcome = Fixture::of("bitflip-value").read();
    assert_eq!((outcome.report.damaged_places, outcome.report.damaged_bytes), (1, 221));
    assert_eq!((outcome.report.lost_keys, outcome.report.doubtful_keys), (1, 0));
    outcome.says("2.bitcask.data", "221 bytes do not check out");
    outcome.says("2.bitcask.data", "is damaged: the key was left out");
}

#[test]
fn a_flipped_bit_in_a_length_loses_one_record() {
    let outcome = Fixture::of("bitflip-vsize-nohint").read();
    let report = &outcome.report;
    assert_eq!((report.records, report.damaged_places, report.damaged_bytes), (299, 1, 221));
    assert_eq!((report.lost_keys, report.doubtful_keys), (0, 1));
    outcome.says("2.bitcask.data", "no hint file that could be trusted");
}

#[test]
fn torn_tails_are_told_with_and_without_a_hint_file() {
    for (name, lost, doubtful) in [("torn-tail", 1, 0), ("torn-tail-nohint", 0, 1)] {
        let outcome = Fixture::of(name).read();
        let report = &outcome.report;
        assert_eq!((report.torn_tails, report.damaged_bytes), (1, 133), "{name}");
        assert_eq!((report.lost_keys, report.doubtful_keys), (lost, doubtful), "{name}");
        outcome.says("4.bitcask.data", "ends within a record: its last 133 bytes");
    }
}

#[test]
fn a_damaged_hint_file_is_not_trusted() {
    let outcome = Fixture::of("hint-bitflip").read();
    assert_eq!(outcome.report.notices.list.len(), 1);
    outcome.says("3.bitcask.hint", "wrong CRC");
}

#[test]
fn files_that_a_merge_replaced_are_left_out_by_name() {
    let outcome = Fixture::of("pending-delete").read();
    assert_eq!((outcome.report.files, outcome.report.files_skipped), (2, 3));
    outcome.says("1.bitcask.data", "replaced by a merge");
}

#[test]
fn tombstones_without_a_bit_to_prove_them_are_doubtful() {
    for name in ["old-v0-tombstones", "old-ts-names-no-hint-crc"] {
        let report = Fixture::of(name).read().report;
        assert_eq!((report.tombstones, report.tombstones_doubtful), (80, 80), "{name}");
    }
    let report = Fixture::of("v1-tombstones").read().report;
    assert_eq!((report.tombstones, report.tombstones_doubtful), (70, 0));
}

#[test]
fn values_expire_when_the_original_says() {
    let fixture = Fixture::of("expiry");
    for case in fixture.manifest["expiry_expected"].as_array().unwrap() {
        let secs = case["expiry_secs"].as_u64().unwrap();
        let now_ms = case["now"].as_u64().unwrap() * 1000;
        let options =
            RiakOptions { expiry: Some(Expiry { secs, now_ms }), ..RiakOptions::default() };
        let outcome = read(&fixture.dir.0, &options).unwrap();
        let keys: BTreeSet<_> = outcome.live.keys().map(|key| hex(key)).collect();
        let expected: BTreeSet<_> = case["live_keys"]
            .as_array()
            .unwrap()
            .iter()
            .map(|key| key.as_str().unwrap().to_owned())
            .collect();
        assert_eq!(keys, expected, "{secs}");
        assert!(outcome.live.values().all(|(_, expires)| expires.unwrap() > now_ms));
    }
}

#[test]
fn keys_of_riak_kv_become_readable() {
    let fixture = Fixture::of("riak-encoded-keys");
    let options = RiakOptions { keys: KeyForm::RiakKv, ..RiakOptions::default() };
    let outcome = read(&fixture.dir.0, &options).unwrap();
    assert_eq!(outcome.report.undecoded_keys, 0);
    // Either encoding of a key means the same key of Riak, so the newest record of both counts.
    let names = fixture.manifest["riak_keys"].as_object().unwrap();
    let text = |key: &[u8]| {
        let name = names[&hex(key)].as_array().unwrap();
        name[1..].iter().map(|part| part.as_str().unwrap()).collect::<Vec<_>>().join("/")
    };
    let mut expected = BTreeMap::new();
    for change in fixture.read().changes {
        match change {
            Incoming::Put { key, value, .. } => expected.insert(text(&key), value),
            Incoming::Delete { key } => expected.remove(&text(&key)),
        };
    }
    let found =
        outcome.live.into_iter().map(|(key, (value, _))| (String::from_utf8(key).unwrap(), value));
    assert_eq!(found.collect::<BTreeMap<_, _>>(), expected);
    assert!(expected.len() > 200);
}
