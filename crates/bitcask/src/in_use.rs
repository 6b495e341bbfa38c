//! Who has a store open, and what that process tells of it.
//!
//! The lock file names its holder in the first line. Behind it the holder writes, about once a second while it changes,
//! what [`Stats`] holds, for people who look on from another process. Nothing is decided by it: it is not synced, may be
//! seen half written (then its checksum does not hold), and stays behind when the process is killed.
//!
//! The second line says when it was told, and length and checksum of what follows; then comes a line for each figure,
//! with its name.

use std::fmt::{Display, Write as _};
use std::path::Path;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::fs::{Access, Disk, Fs, is_alive, read_full_at};
use crate::header::FileKind;
use crate::merge::MergeProgress;
use crate::name::{LOCK_NAME, data_path};
use crate::stats::{FileStats, Latency, SnapshotStats, Stats};

/// Looks at what is just being written, and the time between them.
const ATTEMPTS: usize = 20;
const PAUSE: Duration = Duration::from_millis(1);
/// More is never told.
const LEN_MAX: u64 = 64 << 20;

/// A process that has a store open to write, see [`in_use`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct InUse {
    /// The process, by its number.
    pub process: u32,
    /// The file name of its program.
    pub program: String,
    /// When it told what follows, milliseconds since 1970: about a second ago, and longer where nothing has changed.
    pub at_ms: u64,
    /// What it told. None in its first second, and if it is another version of this crate.
    pub stats: Option<Stats>,
}

/// Who has the store in `dir` open to write, in this process or in another, and how it goes there.
///
/// This reads one small file, takes no lock and does not open the store.
///
/// ```
/// # let dir = std::env::temp_dir().join(format!("bitcask-doc-in-use-{}", std::process::id()));
/// let db = bitcask::Bitcask::open(&dir)?;
/// let in_use = bitcask::in_use(&dir)?.expect("it is open");
/// assert_eq!(in_use.process, std::process::id());
///
/// db.close()?;
/// assert!(bitcask::in_use(&dir)?.is_none());
/// # std::fs::remove_dir_all(&dir).ok();
/// # Ok::<(), bitcask::Error>(())
/// ```
///
/// # Errors
/// `Io`.
pub fn in_use(dir: impl AsRef<Path>) -> Result<Option<InUse>> {
    let dir = dir.as_ref();
    let mut attempt = 1;
    loop {
        let Some(text) = read(&dir.join(LOCK_NAME))? else { return Ok(None) };
        match parse(dir, &text) {
            None => return Ok(None),
            Some((in_use, is_torn)) if !is_torn || attempt == ATTEMPTS => {
                return Ok(is_alive(in_use.process).then_some(in_use));
            }
            Some(_) => {
                attempt += 1;
                std::thread::park_timeout(PAUSE);
            }
        }
    }
}

/// None if there is no such file.
fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    let file = match Disk.open(path, Access::Read) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(|e| Error::io("cannot open", path, e))?,
    };
    let failed = |e| Error::io("cannot read", path, e);
    let len = file.len().map_err(failed)?.min(LEN_MAX);
    let mut text = vec![0; usize::try_from(len).expect("it is not large")];
    let n = read_full_at(&*file, &mut text, 0).map_err(failed)?;
    text.truncate(n);
    Ok(Some(text))
}

/// This process, as the lock file names it.
pub(crate) fn holder() -> String {
    let program = std::env::current_exe().ok();
    let program = program.as_deref().and_then(Path::file_name).unwrap_or_default();
    format!("process {} ({})\n", std::process::id(), one_line(&program.to_string_lossy()))
}

/// What this process tells of the store.
pub(crate) fn told(at_ms: u64, stats: &Stats) -> String {
    let figures = encode(stats);
    let (len, crc) = (figures.len(), crc32c::crc32c(figures.as_bytes()));
    format!("{}told {at_ms} {len} {crc}\n{figures}", holder())
}

/// Who holds it, and whether what is told is only half written. None if nobody does.
fn parse(dir: &Path, text: &[u8]) -> Option<(InUse, bool)> {
    let mut lines = text.splitn(3, |&byte| byte == b'\n');
    let mut line = || std::str::from_utf8(lines.next()?).ok();
    let (process, program) = line()?.strip_prefix("process ")?.split_once(" (")?;
    let (process, program) = (process.parse().ok()?, program.strip_suffix(')')?.to_owned());
    let mut in_use = InUse { process, program, at_ms: 0, stats: None };
    let Some(told) = line().filter(|line| !line.is_empty()) else { return Some((in_use, false)) };
    let mut figures = || {
        let mut words = told.strip_prefix("told ")?.split(' ');
        let at_ms = words.next()?.parse().ok()?;
        let len = words.next()?.parse().ok()?;
        let crc: u32 = words.next()?.parse().ok()?;
        let figures = lines.next()?.get(..len)?;
        (crc32c::crc32c(figures) == crc).then_some((at_ms, figures))
    };
    let Some((at_ms, figures)) = figures() else { return Some((in_use, true)) };
    in_use.at_ms = at_ms;
    in_use.stats = std::str::from_utf8(figures).ok().and_then(|figures| decode(dir, figures));
    Some((in_use, false))
}

fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// The figures of a store, a line each; files are named by their numbers. Foreign files are left out: they
/// may have any name.
fn encode(stats: &Stats) -> String {
    let Stats {
        keys,
        expiring_keys,
        keydir_bytes,
        ordered_bytes,
        snapshots,
        seq,
        mapped,
        files,
        pinned_files,
        foreign: _,
        poisoned,
        puts,
        deletes,
        gets,
        batches,
        transactions,
        conflicts,
        syncs,
        merges,
        reclaimed_bytes,
        merge,
        merge_paused,
        put_latency,
        get_latency,
        sync_latency,
    } = stats;
    let mut text = Lines::default();
    text.line("keys", &[keys, expiring_keys]);
    text.line("memory", &[keydir_bytes, ordered_bytes]);
    if *mapped {
        text.line("mapped", &[]);
    }
    text.line("changes", &[seq, puts, deletes, gets]);
    text.line("writes", &[batches, transactions, conflicts, syncs]);
    text.line("merges", &[merges, reclaimed_bytes]);
    if *merge_paused {
        text.line("merge_paused", &[]);
    }
    if let Some(merge) = merge {
        let MergeProgress { files, files_done, bytes, bytes_read, bytes_written } = merge;
        text.line("merge", &[files, files_done, bytes, bytes_read, bytes_written]);
    }
    files.iter().for_each(|file| text.file(file));
    for path in pinned_files {
        text.line("pinned", &[&path.file_name().unwrap_or_default().display()]);
    }
    snapshots.iter().for_each(|snapshot| text.snapshot(snapshot));
    if let Some(why) = poisoned {
        text.line("poisoned", &[&one_line(why)]);
    }
    text.latency("put_ns", put_latency);
    text.latency("get_ns", get_latency);
    text.latency("sync_ns", sync_latency);
    text.0
}

#[derive(Default)]
struct Lines(String);

impl Lines {
    fn line(&mut self, name: &str, figures: &[&dyn Display]) {
        self.0.push_str(name);
        for figure in figures {
            write!(self.0, " {figure}").expect("a string takes any text");
        }
        self.0.push('\n');
    }

    fn file(&mut self, file: &FileStats) {
        let FileStats { id, path: _, merged, active, sealed, bytes, dead_bytes, tombstone_bytes } =
            file;
        let [merged, active, sealed] = [merged, active, sealed].map(|&flag| u8::from(flag));
        self.line("file", &[id, &merged, &active, &sealed, bytes, dead_bytes, tombstone_bytes]);
    }

    fn snapshot(&mut self, snapshot: &SnapshotStats) {
        let SnapshotStats { seq, holder, thread, since_ms, kept_records, kept_bytes } = snapshot;
        self.line("snapshot", &[seq, since_ms, kept_records, kept_bytes]);
        self.line("holder", &[&one_line(holder)]);
        self.line("thread", &[&one_line(thread)]);
    }

    fn latency(&mut self, name: &str, latency: &Latency) {
        let counts: Vec<_> = latency.counts().map(|(bucket, n)| format!("{bucket}:{n}")).collect();
        self.line(name, &[&counts.join(" ")]);
    }
}

/// The figures of the store in `dir`; none if they are not what this version tells.
fn decode(dir: &Path, text: &str) -> Option<Stats> {
    let mut stats = Stats::nothing();
    for line in text.lines() {
        let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
        match name {
            "keys" => [stats.keys, stats.expiring_keys] = numbers(rest)?,
            "memory" => [stats.keydir_bytes, stats.ordered_bytes] = numbers(rest)?,
            "mapped" => stats.mapped = true,
            "changes" => [stats.seq, stats.puts, stats.deletes, stats.gets] = numbers(rest)?,
            "writes" => {
                [stats.batches, stats.transactions, stats.conflicts, stats.syncs] = numbers(rest)?;
            }
            "merges" => [stats.merges, stats.reclaimed_bytes] = numbers(rest)?,
            "merge_paused" => stats.merge_paused = true,
            "merge" => stats.merge = Some(merge(numbers(rest)?)?),
            "file" => stats.files.push(file(dir, numbers(rest)?)),
            "pinned" => stats.pinned_files.push(dir.join(rest)),
            "snapshot" => stats.snapshots.push(snapshot(numbers(rest)?)),
            "holder" => rest.clone_into(&mut stats.snapshots.last_mut()?.holder),
            "thread" => rest.clone_into(&mut stats.snapshots.last_mut()?.thread),
            "poisoned" => stats.poisoned = Some(rest.to_owned()),
            "put_ns" => stats.put_latency = latency(rest)?,
            "get_ns" => stats.get_latency = latency(rest)?,
            "sync_ns" => stats.sync_latency = latency(rest)?,
            _ => return None,
        }
    }
    Some(stats)
}

/// So many numbers, and no more.
fn numbers<const N: usize>(text: &str) -> Option<[u64; N]> {
    let numbers: Option<Vec<u64>> = text.split(' ').map(|number| number.parse().ok()).collect();
    numbers?.try_into().ok()
}

fn merge([files, files_done, bytes, bytes_read, bytes_written]: [u64; 5]) -> Option<MergeProgress> {
    let (files, files_done) = (usize::try_from(files).ok()?, usize::try_from(files_done).ok()?);
    Some(MergeProgress { files, files_done, bytes, bytes_read, bytes_written })
}

fn file(
    dir: &Path,
    [id, merged, active, sealed, bytes, dead_bytes, tombstone_bytes]: [u64; 7],
) -> FileStats {
    let [merged, active, sealed] = [merged, active, sealed].map(|flag| flag == 1);
    let path = data_path(dir, if merged { FileKind::Merged } else { FileKind::Log }, id);
    FileStats { id, path, merged, active, sealed, bytes, dead_bytes, tombstone_bytes }
}

fn snapshot([seq, since_ms, kept_records, kept_bytes]: [u64; 4]) -> SnapshotStats {
    let (holder, thread) = (String::new(), String::new());
    SnapshotStats { seq, holder, thread, since_ms, kept_records, kept_bytes }
}

fn latency(text: &str) -> Option<Latency> {
    let count = |word: &str| {
        let (bucket, count) = word.split_once(':')?;
        Some((bucket.parse().ok()?, count.parse().ok()?))
    };
    let counts: Option<Vec<(usize, u64)>> = text.split_whitespace().map(count).collect();
    Latency::of_counts(counts?.into_iter())
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;

    fn some_stats(dir: &Path) -> Stats {
        let file =
            |id, merged| FileStats { dead_bytes: 7, ..file(dir, [id, merged, 0, 1, 90, 0, 8]) };
        let mut snapshot = snapshot([17, 1_700_000_000_000, 3, 300]);
        snapshot.holder = "iterator".into();
        snapshot.thread = "worker 7".into();
        Stats {
            keys: 1,
            expiring_keys: 2,
            keydir_bytes: 3,
            ordered_bytes: 4,
            snapshots: vec![snapshot, super::snapshot([18, 0, 0, 0])],
            seq: 5,
            mapped: true,
            files: vec![file(1, 1), file(2, 0)],
            pinned_files: vec![data_path(dir, FileKind::Log, 3)],
            poisoned: Some("the disk is gone".into()),
            puts: 6,
            deletes: 7,
            gets: 8,
            batches: 9,
            transactions: 10,
            conflicts: 11,
            syncs: 12,
            merges: 13,
            reclaimed_bytes: u64::MAX,
            merge: merge([14, 15, 16, 17, 18]),
            merge_paused: true,
            put_latency: latency("40:1 44:3").expect("they are buckets"),
            sync_latency: latency("255:9").expect("it is a bucket"),
            ..Stats::nothing()
        }
    }

    #[test]
    fn what_is_told_is_understood() {
        let dir = Path::new("/somewhere");
        for stats in [some_stats(dir), Stats::nothing()] {
            let text = told(42, &stats);
            let (in_use, is_torn) = parse(dir, text.as_bytes()).expect("somebody told it");
            assert!(!is_torn);
            assert_eq!((in_use.process, in_use.at_ms), (std::process::id(), 42));
            assert_eq!(in_use.stats, Some(stats));
        }
    }

    #[test]
    fn behind_it_may_be_what_was_told_before() {
        let dir = Path::new("/somewhere");
        let text = told(42, &Stats::nothing()) + "put_ns 40:1\nan older line";
        let (in_use, is_torn) = parse(dir, text.as_bytes()).expect("somebody told it");
        assert_eq!((in_use.stats, is_torn), (Some(Stats::nothing()), false));
    }

    #[test]
    fn what_is_half_written_is_not_believed() {
        let dir = Path::new("/somewhere");
        let text = told(42, &some_stats(dir));
        let figures = text.len() - encode(&some_stats(dir)).len();
        for len in figures..text.len() {
            let parsed = parse(dir, &text.as_bytes()[..len]).expect("the holder is there");
            assert_eq!((parsed.0.stats, parsed.1), (None, true), "{len}");
        }
        for at in figures..text.len() {
            let mut text = text.clone().into_bytes();
            text[at] ^= 1;
            let parsed = parse(dir, &text).expect("the holder is there");
            assert_eq!((parsed.0.stats, parsed.1), (None, true), "{at}");
        }
    }

    #[test]
    fn a_lock_that_nobody_holds_or_told_nothing_of_is_understood() {
        let dir = Path::new("/somewhere");
        assert_eq!(parse(dir, b""), None);
        assert_eq!(parse(dir, b"something else"), None);
        let (in_use, is_torn) = parse(dir, b"process 7 (a (b))\n").expect("it is held");
        assert_eq!((in_use.process, &*in_use.program), (7, "a (b)"));
        assert_eq!((in_use.stats, is_torn), (None, false));
    }
}
