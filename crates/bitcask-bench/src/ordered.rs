//! Keys in order: memory, puts, gets, ranges and opening with an ordered index, beside the standard library's tree.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use bitcask::{Bitcask, Index, Options};

use crate::Result;
use crate::bench::{Bench, put_all};
use crate::keys::{Key, VALUE_LEN, chosen, key, value};
use crate::report::{Figure, Report, digits};
use crate::statistics::{Pair, interleave, seconds_each};

/// Bytes of memory for a key, besides the key itself.
const BYTES_BESIDE_KEY: f64 = 40.0;

/// What one round of the store showed: seconds an operation, and bytes of memory a key.
struct Round {
    put: f64,
    get: f64,
    entry: f64,
    keydir: f64,
    ordered: f64,
}

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    let asked = chosen(bench.keys, bench.keys, 1);
    let rounds = interleave(bench.rounds, || ours(bench, &asked), || bare(bench, &asked))?;
    let (first, _) = &rounds[0];
    let name = format!("keydir and order at {} M keys", digits(bench.keys as f64 / 1e6));
    let note = format!("with the key's 16; the keydir {} of it", digits(first.keydir));
    let memory = Figure::new(name, "B/key", first.keydir + first.ordered).note(note);
    report.add(memory.at_most(BYTES_BESIDE_KEY + size_of::<Key>() as f64))?;

    let pair = |ours: fn(&Round) -> f64, part: usize| {
        Pair::from(rounds.iter().map(|(a, bare)| (ours(a), bare[part])).collect::<Vec<_>>())
    };
    let note = "bare: std's BTreeMap, in memory";
    let put = Figure::rate("ordered: put, new keys", &pair(|round| round.put, 0));
    report.add(put.at_least(1.0).note(note))?;
    let get = Figure::rate("ordered: get, random", &pair(|round| round.get, 1));
    report.add(get.at_least(1.0).note(note))?;
    let range = Figure::rate("ordered: range over all, entries", &pair(|round| round.entry, 2));
    report.add(range.note(note))?;
    opening(bench, report)
}

fn ordered() -> Options {
    Options::new().index(Index::Ordered)
}

fn ours(bench: &Bench, asked: &[u64]) -> Result<Round> {
    let (dir, keys) = (bench.fresh()?, bench.keys);
    let db = ordered().open(dir.path())?;
    let put = seconds_each(keys, || put_all(&db, 0..keys))?;
    db.sync()?;
    let stats = db.stats()?;
    let get = seconds_each(keys, || {
        for &n in asked {
            db.get(&key(n))?.ok_or("a key is missing")?;
        }
        Ok(())
    })?;
    let entry = seconds_each(keys, || {
        let mut count = 0;
        for entry in db.range::<[u8]>(..)? {
            std::hint::black_box(entry?);
            count += 1;
        }
        if count == keys { Ok(()) } else { Err("a range gave too few keys".into()) }
    })?;
    db.close()?;
    let each = |bytes: u64| bytes as f64 / keys as f64;
    let (keydir, ordered) = (each(stats.keydir_bytes), each(stats.ordered_bytes));
    Ok(Round { put, get, entry, keydir, ordered })
}

fn bare(bench: &Bench, asked: &[u64]) -> Result<[f64; 3]> {
    let (keys, value) = (bench.keys, value(VALUE_LEN));
    let mut tree = BTreeMap::new();
    let put = seconds_each(keys, || {
        for n in 0..keys {
            tree.insert(key(n).to_vec(), value.clone());
        }
        Ok(())
    })?;
    // Values are copied, as the store copies them.
    let get = seconds_each(keys, || {
        for &n in asked {
            let value: &Vec<u8> = tree.get(&key(n)[..]).ok_or("a bare key is missing")?;
            std::hint::black_box(value.clone());
        }
        Ok(())
    })?;
    let entry = seconds_each(keys, || {
        let all = tree.range::<[u8], _>(..);
        all.for_each(|(key, value)| drop(std::hint::black_box((key.clone(), value.clone()))));
        Ok(())
    })?;
    Ok([put, get, entry])
}

fn opening(bench: &Bench, report: &mut Report) -> Result<()> {
    let dir = bench.fresh()?;
    let db = Bitcask::open(dir.path())?;
    put_all(&db, 0..bench.keys)?;
    db.close()?;
    drop(db);
    let open = |options: Options| open(options, dir.path(), bench.keys);
    let rounds = interleave(bench.rounds, || open(ordered()), || open(Options::new()))?;
    let pair = Pair::from(rounds);
    let note = "reads every key; bare: the same store without order";
    report.add(Figure::cost("ordered: open, with hints", "ms", &pair).note(note))
}

/// Milliseconds that opening took.
fn open(options: Options, store: &Path, keys: u64) -> Result<f64> {
    let started = Instant::now();
    let db = options.open(store)?;
    let ms = started.elapsed().as_secs_f64() * 1e3;
    if db.len()? != keys {
        return Err("opening did not find all keys".into());
    }
    db.close()?;
    Ok(ms)
}
