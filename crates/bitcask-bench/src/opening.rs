//! Opening a store that was closed, with its hints and without.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::time::Instant;

use bitcask::Bitcask;

use crate::Result;
use crate::bare::{Table, hash};
use crate::bench::{Bench, put_all};
use crate::keys::key;
use crate::machine::cores;
use crate::report::{Figure, Report, digits};
use crate::statistics::{Pair, index, interleave};

/// Bytes of what the bare operation reads for a key: a hash and an offset.
const ENTRY_LEN: usize = 16;
const ENTRIES_AT_ONCE: usize = 1 << 12;

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    let dir = bench.fresh()?;
    let (store, entries) = (dir.path().join("store"), dir.path().join("entries"));
    let db = Bitcask::open(&store)?;
    put_all(&db, 0..bench.keys)?;
    db.close()?;
    drop(db);
    write_entries(&entries, bench.keys)?;

    // Seconds of one core for each key; the bare operation has one core.
    let each = |seconds: f64, cores: usize| seconds * cores as f64 / bench.keys as f64;
    let rounds = interleave(
        bench.rounds,
        || open(&store, bench.keys),
        || Ok(each(load_entries(&entries, bench.keys)?, 1)),
    )?;
    let seconds = |rounds: &[(f64, f64)]| Pair::of(rounds).ours();
    let note = |seconds: f64| format!("{} ms on {} cores", digits(seconds * 1e3), cores());
    let by_key: Vec<_> = rounds.iter().map(|(ours, bare)| (each(*ours, cores()), *bare)).collect();
    let figure = Figure::rate("open, with hints, keys a core", &by_key.into());
    report.add(figure.at_least(6.0).note(note(seconds(&rounds))))?;

    let without = || {
        remove_hints(&store)?;
        open(&store, bench.keys)
    };
    let rounds = interleave(bench.rounds, without, || open(&store, bench.keys))?;
    let by_key: Vec<_> =
        rounds.iter().map(|(ours, bare)| (each(*ours, cores()), each(*bare, cores()))).collect();
    let figure = Figure::rate("open, without hints, keys a core", &by_key.into());
    report.add(figure.note(format!("{}; bare: with hints", note(seconds(&rounds)))))
}

/// Seconds that opening took.
fn open(store: &Path, keys: u64) -> Result<f64> {
    let started = Instant::now();
    let db = Bitcask::open(store)?;
    let seconds = started.elapsed().as_secs_f64();
    if db.len()? != keys {
        return Err(format!("{} keys were found, and {keys} put", db.len()?).into());
    }
    db.close()?;
    Ok(seconds)
}

pub(crate) fn remove_hints(store: &Path) -> Result<()> {
    for entry in fs::read_dir(store)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "hint") {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn write_entries(path: &Path, keys: u64) -> Result<()> {
    let entry = |n: u64| u128::from(hash(&key(n))) << 64 | u128::from((n + 1) * 8);
    let bytes: Vec<u8> = (0..keys).flat_map(|n| entry(n).to_le_bytes()).collect();
    Ok(fs::write(path, bytes)?)
}

/// Seconds to read entries in the order of puts, and to enter them in a table that has room.
fn load_entries(path: &Path, keys: u64) -> Result<f64> {
    let started = Instant::now();
    let (mut file, mut table) = (File::open(path)?, Table::with_room_for(keys));
    let mut buffer = vec![0; ENTRY_LEN * ENTRIES_AT_ONCE];
    let mut left = index(keys) * ENTRY_LEN;
    while left > 0 {
        let len = left.min(buffer.len());
        file.read_exact(&mut buffer[..len])?;
        for entry in buffer[..len].as_chunks::<ENTRY_LEN>().0 {
            let entry = u128::from_le_bytes(*entry);
            let hash = u64::try_from(entry >> 64).expect("the upper half");
            let offset = u64::try_from(entry & u128::from(u64::MAX)).expect("the lower half");
            table.insert(hash, index(offset));
        }
        left -= len;
    }
    std::hint::black_box(&table);
    Ok(started.elapsed().as_secs_f64())
}
