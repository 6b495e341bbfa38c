//! Thousands of damaged copies of what the original wrote: whatever happens to the bytes, nothing comes out that was
//! never in, and nothing goes missing or comes back without a word.

use std::collections::{BTreeMap, HashSet};
use std::fs;

use bitcask_random::Random;

use super::fixtures::Fixture;
use super::stores::{Outcome, read, some_bytes};
use crate::fuzzing::seeded;
use crate::incoming::Incoming;
use crate::riak::RiakOptions;

/// Cases for each fixture.
const CASES: usize = 300;

/// What a fixture holds when nothing is damaged.
struct Truth {
    fixture: Fixture,
    /// Names and bytes of all its files.
    files: BTreeMap<String, Vec<u8>>,
    ever: HashSet<(Vec<u8>, Vec<u8>)>,
    live: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Truth {
    fn of(name: &str) -> Self {
        let fixture = Fixture::of(name);
        let outcome = fixture.read();
        let entries = fs::read_dir(&fixture.dir.0).unwrap().map(|entry| entry.unwrap());
        let files = entries
            .map(|e| (e.file_name().into_string().unwrap(), fs::read(e.path()).unwrap()))
            .collect();
        let mut ever = HashSet::new();
        for change in outcome.changes {
            if let Incoming::Put { key, value, .. } = change {
                ever.insert((key, value));
            }
        }
        let live = outcome.live.into_iter().map(|(key, (value, _))| (key, value)).collect();
        Self { fixture, files, ever, live }
    }

    fn some(&self, suffix: &str, random: &mut Random) -> Option<String> {
        let names: Vec<_> = self.files.keys().filter(|name| name.ends_with(suffix)).collect();
        names.get(random.index(names.len())).map(|name| (*name).clone())
    }

    /// Reads with these files in the place of the true ones, which are put back.
    fn read_with(&self, changed: &BTreeMap<String, Option<Vec<u8>>>) -> Outcome {
        for (name, bytes) in changed {
            match bytes {
                Some(bytes) => self.fixture.dir.write(name, bytes),
                None => fs::remove_file(self.fixture.dir.0.join(name)).unwrap(),
            }
        }
        let outcome = read(&self.fixture.dir.0, &RiakOptions::default()).unwrap();
        for name in changed.keys() {
            self.fixture.dir.write(name, &self.files[name]);
        }
        outcome
    }

    /// Keys that have something else than they should, or are there and should not.
    fn wrong(&self, outcome: &Outcome) -> usize {
        let differs =
            |(key, (value, _)): &(&Vec<u8>, &(Vec<u8>, _))| self.live.get(*key) != Some(value);
        outcome.live.iter().filter(differs).count()
    }

    fn missing(&self, outcome: &Outcome) -> usize {
        self.live.keys().filter(|key| !outcome.live.contains_key(*key)).count()
    }

    fn check_values(&self, outcome: &Outcome, case: &str) {
        for change in &outcome.changes {
            if let Incoming::Put { key, value, .. } = change {
                assert!(self.ever.contains(&(key.clone(), value.clone())), "{case}: a new value");
            }
        }
    }
}

/// Whether there is a hint file for every data file that was changed.
fn complete_hints(truth: &Truth, changed: &BTreeMap<String, Option<Vec<u8>>>) -> bool {
    let data = changed.keys().filter_map(|name| name.strip_suffix(".data"));
    let mut hints = data.map(|stem| format!("{stem}.hint"));
    hints.all(|hint| changed.get(&hint).map_or(truth.files.contains_key(&hint), Option::is_some))
}

fn flip(bytes: &mut [u8], random: &mut Random) {
    for _ in 0..=random.index(4) {
        let at = random.index(bytes.len());
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 1 << random.index(8);
        }
    }
}

/// A file with damage of some kind.
fn damaged(bytes: &[u8], random: &mut Random) -> (Vec<u8>, &'static str) {
    let mut bytes = bytes.to_vec();
    let at = random.index(bytes.len());
    let end = (at + 1 + random.index(600)).min(bytes.len());
    let what = match random.index(6) {
        0 | 1 => {
            flip(&mut bytes, random);
            "flipped"
        }
        2 => {
            bytes.truncate(at);
            "cut"
        }
        3 => {
            let len = random.index(600);
            bytes.splice(at..at, some_bytes(random, len));
            "inserted"
        }
        4 => {
            bytes.drain(at..end);
            "removed"
        }
        _ => {
            bytes[at..end].fill(if random.index(2) == 0 { 0 } else { 0xff });
            "blanked"
        }
    };
    (bytes, what)
}

const FIXTURES: [&str; 8] = [
    "overwrite-delete",
    "expiry",
    "old-v0-tombstones",
    "old-ts-names-no-hint-crc",
    "v1-tombstones",
    "pending-delete",
    "riak-encoded-keys",
    "small",
];

#[test]
fn damaged_data_and_hint_files_give_nothing_new_and_hide_nothing() {
    let mut random = seeded();
    let (mut cases, mut wrong, mut missing) = (0, 0, 0);
    for name in FIXTURES {
        let truth = Truth::of(name);
        for n in 0..CASES {
            let mut changed = BTreeMap::new();
            let mut what = String::new();
            for suffix in [".data", ".hint"] {
                if let Some(file) = truth.some(suffix, &mut random)
                    && random.index(3) > 0
                {
                    let (bytes, kind) = damaged(&truth.files[&file], &mut random);
                    what += &format!(" {file} {kind}");
                    changed.insert(file, Some(bytes));
                }
            }
            if let Some(file) = truth.some(".hint", &mut random)
                && let Some(other) = truth.some(".hint", &mut random)
            {
                match random.index(6) {
                    0 => drop(changed.insert(file, None)),
                    1 => drop(changed.insert(file, Some(truth.files[&other].clone()))),
                    _ => {}
                }
            }
            let case = format!("{name} {n}:{what}");
            let outcome = truth.read_with(&changed);
            truth.check_values(&outcome, &case);
            let strange = (truth.wrong(&outcome), truth.missing(&outcome));
            let told = !outcome.report.notices.list.is_empty();
            // A file cut between two records is whole to one who has no hint file.
            let unseen = what.contains("cut") && !complete_hints(&truth, &changed);
            assert!(told || unseen || strange == (0, 0), "{case}: {strange:?} without a word");
            cases += 1;
            wrong += usize::from(strange.0 > 0);
            missing += usize::from(strange.1 > 0);
        }
    }
    println!(
        "{cases} cases, {wrong} with stale keys or such that are back, {missing} with keys missing"
    );
}

/// With hint files that are whole, damage to data brings nothing back and leaves nothing stale.
#[test]
fn whole_hint_files_keep_damage_from_bringing_anything_back() {
    let mut random = seeded();
    let (mut cases, mut missing, mut foreign) = (0, 0, 0);
    for name in ["overwrite-delete", "expiry", "riak-encoded-keys", "merged", "small"] {
        let truth = Truth::of(name);
        for n in 0..CASES {
            let file = truth.some(".data", &mut random).unwrap();
            let (bytes, kind) = damaged(&truth.files[&file], &mut random);
            let case = format!("{name} {n}: {file} {kind}");
            let outcome = truth.read_with(&BTreeMap::from([(file, Some(bytes))]));
            truth.check_values(&outcome, &case);
            let told =
                outcome.report.notices.list.iter().any(|n| n.what.contains("about other data"));
            foreign += usize::from(told);
            assert!(told || truth.wrong(&outcome) == 0, "{case}: stale: {:#?}", outcome.report);
            let lost = truth.missing(&outcome);
            assert!(
                told || outcome.report.lost_keys == lost as u64,
                "{case}: {:#?}",
                outcome.report
            );
            cases += 1;
            missing += usize::from(lost > 0);
        }
    }
    println!("{cases} cases, {missing} with keys missing, {foreign} with hint files given up");
    assert!(foreign * 100 < cases, "hint files are given up too easily: {foreign} of {cases}");
}

/// Every record but a damaged one is still there, with no hint files at all.
#[test]
fn every_bit_of_a_header_and_every_cut_costs_one_record() {
    let truth = Truth::of("small");
    let name = "4.bitcask.data";
    let bytes = &truth.files[name];
    let hint = ("4.bitcask.hint".to_owned(), None);
    let mut cases = 0;
    // The third record, whatever its length.
    let len = |at: usize| {
        let key = u16::from_be_bytes(bytes[at + 8..at + 10].try_into().unwrap());
        let value = u32::from_be_bytes(bytes[at + 10..at + 14].try_into().unwrap());
        14 + usize::from(key) + value as usize
    };
    let begin = len(0) + len(len(0));
    for bit in begin * 8..(begin + 40) * 8 {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let outcome =
            truth.read_with(&BTreeMap::from([(name.to_owned(), Some(bytes)), hint.clone()]));
        truth.check_values(&outcome, "a bit");
        assert_eq!((outcome.live.len(), outcome.report.damaged_places), (299, 1), "bit {bit}");
        cases += 1;
    }
    let mut ends = vec![0];
    while let Some(end) = ends.last().filter(|end| **end < bytes.len()) {
        ends.push(end + len(*end));
    }
    for cut in (0..bytes.len()).step_by(7) {
        let cut_bytes = Some(bytes[..cut].to_vec());
        let outcome =
            truth.read_with(&BTreeMap::from([(name.to_owned(), cut_bytes), hint.clone()]));
        truth.check_values(&outcome, "a cut");
        let whole = ends.iter().filter(|end| **end <= cut).count() - 1;
        assert_eq!(outcome.live.len(), 300 - (ends.len() - 1) + whole, "cut {cut}");
        assert_eq!(outcome.report.torn_tails, u64::from(!ends.contains(&cut)), "cut {cut}");
        cases += 1;
    }
    println!("{cases} cases");
}
