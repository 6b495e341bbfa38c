//! The store by `pread` and `pwrite`, beside bare ones.

use std::fs::File;
use std::os::unix::fs::FileExt;

use bitcask::{IoMode, Options};

use crate::Result;
use crate::bare::{encode, record_len};
use crate::bench::{Bench, put_all};
use crate::keys::{VALUE_LEN, chosen, key, value};
use crate::report::{Figure, Report};
use crate::statistics::{Pair, interleave, seconds_each};

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    // A quarter: system calls take about four times as long as what they are compared with elsewhere.
    let keys = (bench.keys / 4).max(1);
    let asked = chosen(keys, keys, 1);
    let rounds = interleave(bench.rounds, || ours(bench, keys, &asked), || bare(bench, &asked))?;
    let note = "bare: checksum, pwrite to a growing file";
    report.add(Figure::rate("put, plain", &Pair::nth(&rounds, (0, 0))).note(note))?;
    let note = "bare: pread, checksum";
    report.add(Figure::rate("get, plain, random", &Pair::nth(&rounds, (1, 1))).note(note))
}

fn ours(bench: &Bench, keys: u64, asked: &[u64]) -> Result<[f64; 2]> {
    let dir = bench.fresh()?;
    let db = Options::new().io(IoMode::Plain).open(dir.path())?;
    let put = seconds_each(keys, || put_all(&db, 0..keys))?;
    db.sync()?;
    let get = seconds_each(keys, || {
        for &n in asked {
            db.get(&key(n))?.ok_or("a key is missing")?;
        }
        Ok(())
    })?;
    db.close()?;
    Ok([put, get])
}

fn bare(bench: &Bench, asked: &[u64]) -> Result<[f64; 2]> {
    let dir = bench.fresh()?;
    let path = dir.path().join("records");
    let file = File::options().read(true).write(true).create_new(true).open(path)?;
    let (value, mut record) = (value(VALUE_LEN), vec![0; record_len(VALUE_LEN)]);
    let (keys, len) = (asked.len() as u64, record.len() as u64);
    let put = seconds_each(keys, || {
        for n in 0..keys {
            encode(&key(n), &value, &mut record);
            file.write_all_at(&record, n * len)?;
        }
        Ok(())
    })?;
    file.sync_data()?;
    let get = seconds_each(keys, || {
        for &n in asked {
            file.read_exact_at(&mut record, n * len)?;
            std::hint::black_box(crc32c::crc32c(&record[4..]));
        }
        Ok(())
    })?;
    Ok([put, get])
}
