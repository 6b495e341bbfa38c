//! Puts of new keys, of keys that are there, and deletes: one thread, default durability.

use bitcask::Bitcask;

use crate::Result;
use crate::bare::Bare;
use crate::bench::{Bench, put_all};
use crate::keys::{VALUE_LEN, key, shuffled, value};
use crate::report::{Figure, Report};
use crate::statistics::{Pair, interleave, seconds_each};

/// The orders in which keys are overwritten and deleted.
struct Orders {
    overwrite: Vec<u64>,
    delete: Vec<u64>,
}

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    let orders = Orders { overwrite: shuffled(bench.keys, 1), delete: shuffled(bench.keys, 2) };
    let rounds = interleave(bench.rounds, || ours(bench, &orders), || bare(bench, &orders))?;
    report.add(Figure::rate("put, new keys", &Pair::nth(&rounds, (0, 0))).at_least(3.0))?;
    report.add(Figure::rate("put, overwriting in random order", &Pair::nth(&rounds, (1, 1))))?;
    report.add(Figure::rate("delete, in random order", &Pair::nth(&rounds, (2, 2))))
}

fn ours(bench: &Bench, orders: &Orders) -> Result<[f64; 3]> {
    let dir = bench.fresh()?;
    let db = Bitcask::open(dir.path())?;
    let keys = bench.keys;
    let put = seconds_each(keys, || put_all(&db, 0..keys))?;
    let overwrite = seconds_each(keys, || put_all(&db, orders.overwrite.iter().copied()))?;
    let delete = seconds_each(keys, || {
        for &n in &orders.delete {
            if !db.delete(&key(n))? {
                return Err("a key is missing".into());
            }
        }
        Ok(())
    })?;
    db.close()?;
    Ok([put, overwrite, delete])
}

fn bare(bench: &Bench, orders: &Orders) -> Result<[f64; 3]> {
    let (keys, value, dir) = (bench.keys, value(VALUE_LEN), bench.fresh()?);
    let mut bare = Bare::create(&dir.path().join("records"), keys, keys * 3, VALUE_LEN)?;
    let put = seconds_each(keys, || {
        (0..keys).for_each(|n| bare.put(&key(n), &value));
        Ok(())
    })?;
    let overwrite = seconds_each(keys, || {
        orders.overwrite.iter().for_each(|&n| bare.put(&key(n), &value));
        Ok(())
    })?;
    let delete = seconds_each(keys, || {
        let all = orders.delete.iter().all(|&n| bare.delete(&key(n)));
        if all { Ok(()) } else { Err("a bare key is missing".into()) }
    })?;
    Ok([put, overwrite, delete])
}
