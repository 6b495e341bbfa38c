//! Checkpoints: by links, beside the store; by copying, on another file system; and once more after a few changes.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use bitcask::Bitcask;

use crate::Result;
use crate::bench::{Bench, FreshDir, put_all};
use crate::machine::free_bytes;
use crate::report::{Figure, Report, digits};
use crate::statistics::{Pair, interleave};

/// Where another file system is looked for.
const ELSEWHERE: [&str; 3] = ["/dev/shm", "/tmp", "/var/tmp"];
/// One key in so many changes before a checkpoint is made once more.
const CHANGED: usize = 100;

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    let dir = bench.fresh()?;
    let db = Bitcask::open(dir.path().join("store"))?;
    put_all(&db, 0..bench.keys)?;
    db.sync()?;
    let stats = db.stats()?;
    let files: Vec<PathBuf> = stats.files.iter().map(|file| file.path.clone()).collect();
    linking(bench, report, (&db, dir.path()), &files)?;
    match elsewhere(dir.path(), stats.bytes() * 3)? {
        Some(other) => copying(bench, report, &db, other.path(), &files)?,
        None => {
            let missing = Figure::new("checkpoint: by copying", "MB/s", f64::NAN);
            let note = "not measured: no other file system here with space for it";
            report.add(missing.note(note))?;
        }
    }
    Ok(db.close()?)
}

fn linking(
    bench: &Bench,
    report: &mut Report,
    (db, dir): (&Bitcask, &Path),
    files: &[PathBuf],
) -> Result<()> {
    let (backup, links) = (dir.join("backup"), dir.join("links"));
    let (mut linked, mut copied) = (0, 0);
    let mut changed = (0..bench.keys).step_by(CHANGED).cycle();
    let ours = || {
        remove(&backup)?;
        let first = milliseconds(|| {
            let report = db.checkpoint(&backup)?;
            (linked, copied) = (report.files_linked, report.bytes_copied);
            Ok(())
        })?;
        put_all(db, changed.by_ref().take(usize::try_from(bench.keys)?.div_ceil(CHANGED)))?;
        let second = milliseconds(|| Ok(db.checkpoint(&backup).map(drop)?))?;
        Ok([first, second])
    };
    let bare = || {
        remove(&links)?;
        milliseconds(|| {
            fs::create_dir(&links)?;
            for file in files {
                fs::hard_link(file, links.join(file.file_name().ok_or("a file without a name")?))?;
            }
            Ok(File::open(&links)?.sync_all()?)
        })
        .map(|ms| [ms])
    };
    let rounds = interleave(bench.rounds, ours, bare)?;
    let note = format!(
        "{linked} files linked, {copied} bytes copied; bare: a link of each data file, sync"
    );
    let first = Figure::cost("checkpoint: by links, the first", "ms", &Pair::nth(&rounds, (0, 0)));
    report.add(first.note(note))?;
    let second = Figure::cost("checkpoint: by links, once more", "ms", &Pair::nth(&rounds, (1, 0)));
    report.add(second.note("after one key in 100 was put again; bare: the same"))
}

fn copying(
    bench: &Bench,
    report: &mut Report,
    db: &Bitcask,
    other: &Path,
    files: &[PathBuf],
) -> Result<()> {
    let (backup, copies) = (other.join("backup"), other.join("copies"));
    let mut copied = 0;
    let mut changed = (0..bench.keys).step_by(CHANGED).cycle();
    let mut again = Vec::new();
    let ours = || {
        remove(&backup)?;
        let ms = milliseconds(|| {
            copied = db.checkpoint(&backup)?.bytes_copied;
            Ok(())
        })?;
        put_all(db, changed.by_ref().take(usize::try_from(bench.keys)?.div_ceil(CHANGED)))?;
        again.push((milliseconds(|| Ok(db.checkpoint(&backup).map(drop)?))?, ms));
        Ok(copied as f64 / ms / 1e3)
    };
    let bare = || {
        remove(&copies)?;
        let mut bytes = 0;
        let ms = milliseconds(|| {
            fs::create_dir(&copies)?;
            for file in files {
                let to = copies.join(file.file_name().ok_or("a file without a name")?);
                bytes += fs::copy(file, &to)?;
                File::open(to)?.sync_all()?;
            }
            Ok(())
        })?;
        Ok(bytes as f64 / ms / 1e3)
    };
    let pair = Pair::from(interleave(bench.rounds, ours, bare)?);
    let note = format!(
        "{} MB to {}; bare: a copy of each data file, sync",
        digits(copied as f64 / 1e6),
        other.parent().unwrap_or(other).display()
    );
    report.add(Figure::gain("checkpoint: by copying", "MB/s", &pair).note(note))?;
    let once_more = Figure::cost("checkpoint: by copying, once more", "ms", &Pair::from(again));
    report.add(once_more.note("after one key in 100 was put again; bare: the first"))
}

/// A fresh directory on a file system that is not the store's, with so much space.
fn elsewhere(dir: &Path, bytes: u64) -> Result<Option<FreshDir>> {
    let own = fs::metadata(dir)?.dev();
    for other in ELSEWHERE.map(Path::new) {
        let is_other = fs::metadata(other).is_ok_and(|metadata| metadata.dev() != own);
        if is_other && free_bytes(other)? > bytes {
            // One that cannot be written to is none.
            if let Ok(fresh) = FreshDir::new(other) {
                return Ok(Some(fresh));
            }
        }
    }
    Ok(None)
}

fn remove(dir: &Path) -> Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir)?;
    }
    Ok(())
}

fn milliseconds(f: impl FnOnce() -> Result<()>) -> Result<f64> {
    let started = Instant::now();
    f()?;
    Ok(started.elapsed().as_secs_f64() * 1e3)
}
