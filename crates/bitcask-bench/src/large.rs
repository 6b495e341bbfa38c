//! Puts of large values.

use std::fs::File;
use std::os::unix::fs::FileExt;

use bitcask::Bitcask;

use crate::Result;
use crate::bare::record_len;
use crate::bench::Bench;
use crate::keys::{key, value};
use crate::report::{Figure, Report};
use crate::statistics::{interleave, seconds_each};

const SIZES: [(&str, u64); 2] = [("64 KiB", 64 << 10), ("1 MiB", 1 << 20)];
/// Bytes written in each round for each key of the setting.
const BYTES_A_KEY: u64 = 128;

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    for (name, len) in SIZES {
        let count = (bench.keys * BYTES_A_KEY / len).max(16);
        let value = value(crate::statistics::index(len));
        let rounds = interleave(
            bench.rounds,
            || put_all(bench, count, &value),
            || write_all(bench, count, value.len()),
        )?;
        let note = format!("{count} puts; bare: write to a growing file");
        let figure = Figure::time(format!("put, values of {name}"), &rounds.into());
        report.add(figure.ratio_at_most(1.5).note(note))?;
    }
    Ok(())
}

fn put_all(bench: &Bench, count: u64, value: &[u8]) -> Result<f64> {
    let dir = bench.fresh()?;
    let db = Bitcask::open(dir.path())?;
    let seconds = seconds_each(count, || {
        (0..count).try_for_each(|n| db.put(&key(n), value))?;
        Ok(())
    })?;
    db.close()?;
    Ok(seconds)
}

fn write_all(bench: &Bench, count: u64, value_len: usize) -> Result<f64> {
    let dir = bench.fresh()?;
    let file = File::create_new(dir.path().join("growing"))?;
    let record = value(record_len(value_len));
    let seconds = seconds_each(count, || {
        for n in 0..count {
            file.write_all_at(&record, n * record.len() as u64)?;
        }
        Ok(())
    })?;
    // As the store does when it is closed: the next to write finds a disk with nothing to do.
    file.sync_all()?;
    Ok(seconds)
}
