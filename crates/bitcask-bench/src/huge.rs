//! One store of very many keys with short values, once, without bare operations.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Instant;

use bitcask::Bitcask;
use bitcask_random::{Random, splitmix64};

use crate::Result;
use crate::bench::Bench;
use crate::keys::{Key, key};
use crate::machine::{Memory, cores, free_bytes};
use crate::report::{Figure, Report, digits};
use crate::statistics::seconds_each;

pub(crate) const KEYS: u64 = 50_000_000;
const GETS_MAX: u64 = 5_000_000;
const GROUP: u64 = 64;
/// What a run takes, with room to spare.
const FREE_BYTES_MIN: u64 = 8 << 30;
const DISK_BLOCK_LEN: u64 = 512;

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    let dir = bench.fresh()?;
    let free = free_bytes(dir.path())?;
    if free < FREE_BYTES_MIN {
        let (path, free) = (dir.path().display(), free >> 20);
        writeln!(io::stderr().lock(), "warning: {path} has {free} MiB left; 8 GiB are advised")?;
    }
    report.theme("huge")?;
    load(bench, report, dir.path())?;
    let before = Memory::now();
    let started = Instant::now();
    let db = Bitcask::open(dir.path())?;
    let seconds = started.elapsed().as_secs_f64();
    let rate = bench.keys as f64 / seconds / cores() as f64 / 1e6;
    let hinted = db.recovery().hinted_files;
    let note = format!("{} s on {} cores, {hinted} hints", digits(seconds), cores());
    report
        .add(Figure::new("open, with hints, keys a core", "M/s", rate).at_least(6.0).note(note))?;
    add_memory(bench, report, "memory after opening", before)?;
    read(bench, report, &db)?;
    Ok(db.close()?)
}

fn load(bench: &Bench, report: &mut Report, dir: &Path) -> Result<()> {
    let before = Memory::now();
    let db = Bitcask::open(dir)?;
    let put = seconds_each(bench.keys, || {
        for n in 0..bench.keys {
            db.put(&key(n), &splitmix64(n).to_le_bytes())?;
        }
        Ok(())
    })?;
    report.add(Figure::new("put, new keys", "M/s", 1e-6 / put))?;
    add_memory(bench, report, "memory after putting", before)?;
    let keydir = db.stats()?.keydir_bytes as f64 / bench.keys as f64;
    report.add(Figure::new("keydir", "B/key", keydir).at_most(16.0))?;
    let started = Instant::now();
    db.close()?;
    report.add(Figure::new("close", "s", started.elapsed().as_secs_f64()))?;
    let bytes = disk_bytes(dir)? as f64;
    let note = format!("{} MiB", digits(bytes / f64::from(1 << 20)));
    report.add(Figure::new("disk, hints included", "B/key", bytes / bench.keys as f64).note(note))
}

fn add_memory(bench: &Bench, report: &mut Report, name: &str, before: Memory) -> Result<()> {
    let (keys, now) = (bench.keys as f64, Memory::now());
    let resident = digits((now.resident - before.resident) / keys);
    let most = digits(now.resident_max / f64::from(1 << 20));
    let note = format!(
        "RssAnon; resident {resident}, VmHWM {most} MiB, \
         where pages of mapped files are the page cache's"
    );
    let anonymous = (now.anonymous - before.anonymous) / keys;
    report.add(Figure::new(name, "B/key", anonymous).note(note))
}

fn read(bench: &Bench, report: &mut Report, db: &Bitcask) -> Result<()> {
    let gets = bench.keys.min(GETS_MAX);
    let mut random = Random::new(1);
    let get = seconds_each(gets, || {
        for _ in 0..gets {
            db.get(&key(random.below(bench.keys)))?.ok_or("a key is missing")?;
        }
        Ok(())
    })?;
    report.add(Figure::new("get, random", "M/s", 1e-6 / get).note(format!("{gets} gets")))?;
    let groups = (gets / GROUP).max(1);
    let mut keys: Vec<Key> = Vec::new();
    let get = seconds_each(groups * GROUP, || {
        for _ in 0..groups {
            keys.clear();
            keys.extend((0..GROUP).map(|_| key(random.below(bench.keys))));
            if db.get_many(&keys)?.iter().any(Option::is_none) {
                return Err("a key is missing".into());
            }
        }
        Ok(())
    })?;
    report.add(Figure::new(format!("get_many, {GROUP} at once"), "M/s", 1e-6 / get))
}

/// Bytes that the files of a directory take of the disk.
fn disk_bytes(dir: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        bytes += entry?.metadata()?.blocks() * DISK_BLOCK_LEN;
    }
    Ok(bytes)
}
