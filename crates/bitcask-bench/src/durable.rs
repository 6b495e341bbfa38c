//! Puts that are on the disk when they return.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use bitcask::{Bitcask, Durability, Options};

use crate::Result;
use crate::bench::{Bench, join, put_all};
use crate::report::{Figure, Report};
use crate::statistics::{Pair, index, interleave, seconds_each};

/// Each round is cut into this many: the disk's moods are shorter than a round.
const PARTS: usize = 4;
const CROWDS: [u64; 2] = [16, 64];

/// Keys that were not put yet.
#[derive(Debug, Default)]
struct NewKeys(AtomicU64);

impl NewKeys {
    fn take(&self, count: u64) -> std::ops::Range<u64> {
        let first = self.0.fetch_add(count, Ordering::Relaxed);
        first..first + count
    }
}

/// A file that each write makes longer, or fills.
struct Synced {
    file: File,
    end: u64,
}

impl Synced {
    fn create(path: &Path, reserved: u64) -> Result<Self> {
        let file = File::create_new(path)?;
        if reserved > 0 {
            rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, reserved)?;
            file.sync_all()?;
        }
        Ok(Self { file, end: 0 })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all_at(bytes, self.end)?;
        self.end += bytes.len() as u64;
        Ok(self.file.sync_data()?)
    }
}

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    let dir = bench.fresh()?;
    let db = Options::new().durability(Durability::Always).open(dir.path().join("store"))?;
    let (keys, puts) = (NewKeys::default(), (bench.keys / 4000).clamp(20, 500));
    let many = |threads| put_by(&db, &keys, threads, puts);

    // What the store writes for a put, its own overhead included.
    let bytes_before = db.stats()?.bytes();
    many(1)?;
    let bytes = vec![0x5A; index((db.stats()?.bytes() - bytes_before) / puts)];
    let rounds = bench.rounds * PARTS;
    let mut growing = Synced::create(&dir.path().join("growing"), 0)?;
    let reserved = bytes.len() as u64 * puts * rounds as u64;
    let mut reserved = Synced::create(&dir.path().join("reserved"), reserved)?;
    let write_all =
        |file: &mut Synced| seconds_each(puts, || (0..puts).try_for_each(|_| file.write(&bytes)));
    let bare = || Ok([write_all(&mut growing)?, write_all(&mut reserved)?]);
    let results = interleave(rounds, || Ok([many(1)?]), bare)?;
    let note = format!("bare: write {} bytes to a growing file, fdatasync", bytes.len());
    let pair = Pair::nth(&results, (0, 0));
    report.add(Figure::time("durable put, one thread", &pair).ratio_at_most(1.3).note(note))?;
    let pair = Pair::nth(&results, (0, 1));
    let note = "bare: the same, to a preallocated file";
    report.add(Figure::time("durable put, to preallocated", &pair).note(note))?;

    for threads in CROWDS {
        let results = interleave(bench.rounds, || many(threads), || many(1))?;
        let name = format!("durable put, {threads} threads");
        let seconds = Pair::from(results);
        let rate = Figure::new(&name, "k/s", 1e-3 / seconds.ours());
        report.add(rate.note(format!("{puts} puts each")))?;
        let factor = Figure::new(format!("{name} to one"), "x", 1.0 / seconds.ratio());
        report.add(if threads == CROWDS[0] { factor.at_least(4.0) } else { factor })?;
    }
    Ok(db.close()?)
}

/// Seconds for each put, of all threads together.
fn put_by(db: &Bitcask, keys: &NewKeys, threads: u64, puts: u64) -> Result<f64> {
    seconds_each(threads * puts, || {
        thread::scope(|scope| {
            let put = || put_all(db, keys.take(puts));
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(put)).collect();
            put()?;
            others.into_iter().try_for_each(join)
        })
    })
}
