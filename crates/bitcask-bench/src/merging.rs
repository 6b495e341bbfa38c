//! Merging a store of which half was rewritten, and gets meanwhile.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use bitcask::{Bitcask, MergePolicy, Options};
use bitcask_random::Random;

use crate::bench::{Bench, join, put_all};
use crate::keys::key;
use crate::report::{Figure, Report};
use crate::statistics::{Latencies, Pair};
use crate::{Failure, Result};

const PARTS: [f64; 3] = [0.5, 0.99, 0.999];
const PART_NAMES: [&str; 3] = ["p50", "p99", "p99.9"];
const BUFFER_LEN: usize = 1 << 20;

/// What one round showed.
struct Round {
    /// MB/s read by the merge, and by the bare copy.
    speed: (f64, f64),
    /// Microseconds of gets while merging, and before.
    gets: ([f64; 3], [f64; 3]),
    reclaimed: f64,
}

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    let dir = bench.fresh()?;
    let policy = MergePolicy { background: false, ..MergePolicy::default() };
    let db = Options::new().merge(policy).open(dir.path().join("store"))?;
    put_all(&db, 0..bench.keys)?;
    let rounds =
        (0..bench.rounds).map(|_| round(bench, &db, dir.path())).collect::<Result<Vec<_>>>()?;
    db.close()?;
    let pair =
        |of: &dyn Fn(&Round) -> (f64, f64)| Pair::from(rounds.iter().map(of).collect::<Vec<_>>());
    let reclaimed = pair(&|round| (round.reclaimed, 1.0)).ours() * 100.0;
    let note =
        format!("{reclaimed:.0} % given back, gets meanwhile; bare: read, checksum, write, sync");
    report.add(Figure::gain("merge, read", "MB/s", &pair(&|round| round.speed)).note(note))?;
    for (part, name) in PART_NAMES.iter().enumerate() {
        let gets = pair(&|round| (round.gets.0[part], round.gets.1[part]));
        let note = if part == 0 { "bare: the same, before the merge" } else { "" };
        report.add(Figure::cost(format!("get while merging, {name}"), "us", &gets).note(note))?;
    }
    Ok(())
}

fn round(bench: &Bench, db: &Bitcask, dir: &Path) -> Result<Round> {
    put_all(db, (0..bench.keys).filter(|n| n.is_multiple_of(2)))?;
    db.sync()?;
    let files: Vec<PathBuf> = db.stats()?.files.into_iter().map(|file| file.path).collect();
    let mut random = Random::new(1);
    let mut gets = |stop: &dyn Fn(u64) -> bool| timed_gets(db, || random.below(bench.keys), stop);
    let before = gets(&|count| count == bench.keys / 2)?;
    // It reads what the merge will read: both find it in the page cache.
    let bare = copy(&files, &dir.join("copy"))?;

    let done = AtomicBool::new(false);
    let (merged, during) = thread::scope(|scope| {
        let merge = scope.spawn(|| {
            let started = Instant::now();
            let merged = db.merge();
            done.store(true, Ordering::Relaxed);
            merged.map(|report| (report, started.elapsed().as_secs_f64()))
        });
        let during = gets(&|_| done.load(Ordering::Relaxed));
        Ok::<_, Failure>((join(merge)?, during?))
    })?;
    let (merged, seconds) = merged;
    let reclaimed = merged.reclaimed_bytes() as f64 / merged.bytes_read as f64;
    let speed = (merged.bytes_read as f64 / seconds / 1e6, bare);
    Ok(Round { speed, gets: (during, before), reclaimed })
}

/// Microseconds of gets of random keys, until `stop` says so of their count.
fn timed_gets(
    db: &Bitcask,
    mut number: impl FnMut() -> u64,
    stop: &dyn Fn(u64) -> bool,
) -> Result<[f64; 3]> {
    let mut times = Latencies::with_room_for(1 << 20);
    for count in 0.. {
        if stop(count) {
            break;
        }
        let key = key(number());
        times.time(|| db.get(&key))?.ok_or("a key is missing")?;
    }
    Ok(times.quantiles(PARTS).map(|ns| ns / 1e3))
}

/// MB/s of reading files with their checksums, and writing half of what was read to one file, durably.
fn copy(files: &[PathBuf], to: &Path) -> Result<f64> {
    let (started, mut read) = (Instant::now(), 0);
    let (mut buffer, mut output) = (vec![0; BUFFER_LEN], File::create(to)?);
    for path in files {
        let mut file = File::open(path)?;
        loop {
            let len = file.read(&mut buffer)?;
            if len == 0 {
                break;
            }
            std::hint::black_box(crc32c::crc32c(&buffer[..len]));
            output.write_all(&buffer[..len / 2])?;
            read += len;
        }
    }
    output.sync_data()?;
    let seconds = started.elapsed().as_secs_f64();
    fs::remove_file(to)?;
    Ok(read as f64 / seconds / 1e6)
}
