//! Memory a key, and how long single puts and gets take, while a store grows from nothing.

use bitcask::Bitcask;

use crate::Result;
use crate::bare::Bare;
use crate::bench::Bench;
use crate::keys::{VALUE_LEN, chosen, key, value};
use crate::machine::Memory;
use crate::report::{Figure, Report, digits};
use crate::statistics::{Latencies, Pair, interleave};

const PARTS: [f64; 4] = [0.5, 0.99, 0.999, 1.0];
const PART_NAMES: [&str; 4] = ["p50", "p99", "p99.9", "longest"];

/// The keydir is looked at this many times while the second half of the keys comes.
const LOOKS: u64 = 20;

/// What one growth showed: bytes a key, and nanoseconds.
struct Growth {
    keydir_half: f64,
    keydir_full: f64,
    keydir_max: f64,
    anonymous: f64,
    resident: f64,
    puts: [f64; 4],
    gets: [f64; 4],
}

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    let rounds = interleave(bench.rounds, || grow(bench), || grow_bare(bench))?;
    // Later rounds find memory that the first has used.
    let (first, _) = &rounds[0];
    let half = bench.keys as f64 / 2e6;
    let bytes = |name, measured| Figure::new(name, "B/key", measured);
    let name = format!("keydir at {} M keys", digits(half));
    report.add(bytes(name, first.keydir_half).at_most(16.0))?;
    let name = format!("keydir at {} M keys", digits(half * 2.0));
    report.add(bytes(name, first.keydir_full).at_most(16.0))?;
    report.add(
        bytes("keydir, the most while growing".to_owned(), first.keydir_max)
            .at_most(24.0)
            .note(format!("looked at {LOOKS} times from half of the keys on")),
    )?;
    let note = format!("RssAnon; with mapped files {}", digits(first.resident));
    report.add(bytes("memory of the process".to_owned(), first.anonymous).note(note))?;

    let pair = |ours: fn(&Growth) -> f64, bare: fn(&[[f64; 4]; 2]) -> f64| {
        Pair::from(rounds.iter().map(|(a, b)| (ours(a), bare(b))).collect::<Vec<_>>())
    };
    let longest = pair(|growth| growth.puts[3] / 1e6, |bare| bare[0][3] / 1e6);
    let note =
        format!("median of the rounds; the longest of all {} ms", digits(longest.ours_max()));
    report
        .add(Figure::cost("longest put while growing", "ms", &longest).at_most(5.0).note(note))?;
    for (part, name) in PART_NAMES.iter().enumerate().take(3) {
        let ours = rounds.iter().map(|(ours, bare)| (ours.puts[part] / 1e3, bare[0][part] / 1e3));
        let pair = Pair::from(ours.collect::<Vec<_>>());
        report.add(Figure::cost(format!("put while growing, {name}"), "us", &pair))?;
    }
    for (part, name) in PART_NAMES.iter().enumerate() {
        let ours = rounds.iter().map(|(ours, bare)| (ours.gets[part] / 1e3, bare[1][part] / 1e3));
        let pair = Pair::from(ours.collect::<Vec<_>>());
        report.add(Figure::cost(format!("get, {name}"), "us", &pair))?;
    }
    Ok(())
}

fn grow(bench: &Bench) -> Result<Growth> {
    let (keys, value) = (bench.keys, value(VALUE_LEN));
    let mut puts = Latencies::with_room_for(keys);
    let before = Memory::now();
    let dir = bench.fresh()?;
    let db = Bitcask::open(dir.path())?;
    let keydir =
        |count: u64| Ok::<_, bitcask::Error>(db.stats()?.keydir_bytes as f64 / count as f64);
    let (mut keydir_half, mut keydir_max) = (f64::NAN, f64::NAN);
    let step = (keys / 2 / LOOKS).max(1);
    for n in 0..keys {
        let key = key(n);
        puts.time(|| db.put(&key, &value))?;
        let count = n + 1;
        if count == keys / 2 {
            keydir_half = keydir(count)?;
        }
        if count >= keys / 2 && count.is_multiple_of(step) {
            keydir_max = keydir(count)?.max(keydir_max);
        }
    }
    let after = Memory::now();
    let keydir_full = keydir(keys)?;
    db.sync()?;
    let mut gets = Latencies::with_room_for(keys);
    for n in chosen(keys, keys, 1) {
        let key = key(n);
        gets.time(|| db.get(&key))?.ok_or("a key is missing")?;
    }
    db.close()?;
    Ok(Growth {
        keydir_half,
        keydir_full,
        keydir_max,
        anonymous: (after.anonymous - before.anonymous) / keys as f64,
        resident: (after.resident - before.resident) / keys as f64,
        puts: puts.quantiles(PARTS),
        gets: gets.quantiles(PARTS),
    })
}

/// Puts and gets of the bare operations. Their table does not grow.
fn grow_bare(bench: &Bench) -> Result<[[f64; 4]; 2]> {
    let (keys, value) = (bench.keys, value(VALUE_LEN));
    let dir = bench.fresh()?;
    let mut bare = Bare::create(&dir.path().join("records"), keys, keys, VALUE_LEN)?;
    let mut puts = Latencies::with_room_for(keys);
    for n in 0..keys {
        let key = key(n);
        puts.time(|| bare.put(&key, &value));
    }
    let (mut gets, mut got) = (Latencies::with_room_for(keys), Vec::new());
    for n in chosen(keys, keys, 1) {
        let key = key(n);
        if !gets.time(|| bare.get(&key, true, &mut got)) {
            return Err("a bare key is missing".into());
        }
    }
    Ok([puts.quantiles(PARTS), gets.quantiles(PARTS)])
}
