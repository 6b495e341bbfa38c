//! Verifying a store: every record and every hint is read and checked.

use std::path::PathBuf;
use std::time::Instant;

use bitcask::Bitcask;

use crate::Result;
use crate::bare::read_all;
use crate::bench::{Bench, put_all};
use crate::report::{Figure, Report, digits};
use crate::statistics::{Pair, interleave};

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    let dir = bench.fresh()?;
    let db = Bitcask::open(dir.path())?;
    put_all(&db, 0..bench.keys)?;
    db.sync()?;
    let files: Vec<PathBuf> = db.stats()?.files.into_iter().map(|file| file.path).collect();
    let mut bytes = 0;
    let speed = |bytes: u64, started: Instant| bytes as f64 / started.elapsed().as_secs_f64() / 1e6;
    let ours = || {
        let started = Instant::now();
        let report = db.verify()?;
        if !report.is_clean() || report.records < bench.keys {
            return Err("verify found what it should not, or too little".into());
        }
        bytes = report.bytes;
        Ok(speed(bytes, started))
    };
    let bare = || {
        let started = Instant::now();
        Ok(speed(read_all(&files)?, started))
    };
    let pair = Pair::from(interleave(bench.rounds, ours, bare)?);
    let note = format!("{} MB; bare: read the files, checksum", digits(bytes as f64 / 1e6));
    report.add(Figure::gain("verify", "MB/s", &pair).note(note))?;
    Ok(db.close()?)
}
