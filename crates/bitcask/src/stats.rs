//! Counters and sizes, cheap enough to be always on.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use crate::directory::Directory;
use crate::header::FileKind;
use crate::merge::MergeProgress;
use crate::range::OrderedKeys;
use crate::sync::atomic::{AtomicU64, Ordering};

/// Sizes within a factor of two are told apart in steps of a quarter.
const STEPS: usize = 4;
const BUCKETS: usize = 64 * STEPS;

/// How long something took, counted in buckets.
#[derive(Debug)]
pub(crate) struct Histogram(Box<[AtomicU64]>);

impl Default for Histogram {
    fn default() -> Self {
        Self((0..BUCKETS).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Histogram {
    pub(crate) fn record(&self, ns: u64) {
        self.0[bucket(ns)].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self) -> Latency {
        Latency(self.0.iter().map(|count| count.load(Ordering::Relaxed)).collect())
    }
}

fn bucket(ns: u64) -> usize {
    let ns = ns.max(STEPS as u64);
    let power = ns.ilog2();
    // The two bits behind the leading one.
    let step = (ns >> (power - 2)) & (STEPS as u64 - 1);
    power as usize * STEPS + usize::try_from(step).expect("two bits")
}

/// The largest value that falls into a bucket.
fn bucket_end(bucket: usize) -> u64 {
    let (power, step) = (bucket / STEPS, (bucket % STEPS) as u64);
    let width = (1_u64 << power) / STEPS as u64;
    (1_u64 << power).saturating_add((step + 1).saturating_mul(width)).saturating_sub(1)
}

/// A histogram of times in nanoseconds, exact to a quarter.
#[derive(Clone, PartialEq, Eq)]
pub struct Latency(Box<[u64]>);

impl fmt::Debug for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (p50, p99) = (self.quantile_ns(0.5), self.quantile_ns(0.99));
        write!(f, "{} times, p50 {p50} ns, p99 {p99} ns", self.count())
    }
}

impl Latency {
    /// How many times were recorded. Puts and gets are sampled: one in 64.
    pub fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// What was recorded since `earlier`, an earlier state of the same.
    pub fn since(&self, earlier: &Self) -> Self {
        Self(self.0.iter().zip(&earlier.0).map(|(now, then)| now.saturating_sub(*then)).collect())
    }

    /// The buckets that something fell into, with how much.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (usize, u64)> {
        self.0.iter().copied().enumerate().filter(|&(_, count)| count > 0)
    }

    /// None if there is no such bucket.
    pub(crate) fn of_counts(counts: impl Iterator<Item = (usize, u64)>) -> Option<Self> {
        let mut all = vec![0; BUCKETS].into_boxed_slice();
        for (bucket, count) in counts {
            *all.get_mut(bucket)? = count;
        }
        Some(Self(all))
    }

    /// A time that the given part (0.99, say) of those recorded did not exceed; 0 if there is none.
    pub fn quantile_ns(&self, part: f64) -> u64 {
        let count = self.count();
        let mut seen = 0;
        for (bucket, &n) in self.0.iter().enumerate() {
            seen += n;
            if n > 0 && seen as f64 >= part * count as f64 {
                return bucket_end(bucket);
            }
        }
        0
    }
}

/// What the engine counts.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) puts: AtomicU64,
    pub(crate) deletes: AtomicU64,
    pub(crate) batches: AtomicU64,
    pub(crate) transactions: AtomicU64,
    pub(crate) conflicts: AtomicU64,
    pub(crate) syncs: AtomicU64,
    pub(crate) merges: AtomicU64,
    pub(crate) reclaimed: AtomicU64,
    pub(crate) put_ns: Histogram,
    pub(crate) get_ns: Histogram,
    pub(crate) sync_ns: Histogram,
}

pub(crate) fn count(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

/// One data file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileStats {
    /// Its number.
    pub id: u64,
    /// Where it is.
    pub path: PathBuf,
    /// Whether merge wrote it, and not puts.
    pub merged: bool,
    /// Whether it is the file that is appended to.
    pub active: bool,
    /// Whether it is finished, durable and has a hint file; only then can it be merged.
    pub sealed: bool,
    /// Bytes up to the end of its last record.
    pub bytes: u64,
    /// Bytes of records that a merge would drop.
    pub dead_bytes: u64,
    /// Bytes of tombstones that may still have something to hide.
    pub tombstone_bytes: u64,
}

impl FileStats {
    /// Bytes that a merge would keep.
    pub fn live_bytes(&self) -> u64 {
        self.bytes.saturating_sub(self.dead_bytes)
    }
}

/// A snapshot that lives: who holds it, since when, and what is kept for it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SnapshotStats {
    /// The sequence number of the last change that it sees.
    pub seq: u64,
    /// What it is for: a snapshot, an iterator, a transaction.
    pub holder: String,
    /// The name of the thread that took it, if it has one.
    pub thread: String,
    /// When it was taken, milliseconds since 1970.
    pub since_ms: u64,
    /// Records that have changed since and are kept for it, and not for a newer one.
    pub kept_records: u64,
    /// Bytes of those records, which merge cannot give back before it ends.
    pub kept_bytes: u64,
}

/// What [`Bitcask::stats`](crate::Bitcask::stats) tells.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Stats {
    /// Keys in the store.
    pub keys: u64,
    /// Keys that will expire.
    pub expiring_keys: u64,
    /// Bytes of memory that the keydir takes.
    pub keydir_bytes: u64,
    /// Bytes of memory that the ordered index takes beside it; 0 without one.
    pub ordered_bytes: u64,
    /// Snapshots that live, oldest first.
    pub snapshots: Vec<SnapshotStats>,
    /// The largest sequence number given to a record.
    pub seq: u64,
    /// Whether files are mapped.
    pub mapped: bool,
    /// Data files, oldest number first.
    pub files: Vec<FileStats>,
    /// Files that were merged away while somebody reads them; their space is free when the last reader ends.
    pub pinned_files: Vec<PathBuf>,
    /// Names in the directory that are not the store's. They are left alone.
    pub foreign: Vec<OsString>,
    /// Why the store takes no more writes, if an earlier one failed.
    pub poisoned: Option<String>,
    /// Records put, in batches too, since the store was opened.
    pub puts: u64,
    /// Records deleted, in batches too.
    pub deletes: u64,
    /// Values asked for.
    pub gets: u64,
    /// Batches written.
    pub batches: u64,
    /// Transactions done, those that changed nothing too.
    pub transactions: u64,
    /// How often a transaction had to begin again, or gave up, because something that it had read was changed.
    pub conflicts: u64,
    /// Syncs done.
    pub syncs: u64,
    /// Steps of merges done; each reads some files and writes at most one.
    pub merges: u64,
    /// Bytes that merges gave back to the disk.
    pub reclaimed_bytes: u64,
    /// The merge that is running.
    pub merge: Option<MergeProgress>,
    /// Whether merges are paused.
    pub merge_paused: bool,
    /// How long puts, deletes and batches take (sampled).
    pub put_latency: Latency,
    /// How long gets take (sampled).
    pub get_latency: Latency,
    /// How long syncs take.
    pub sync_latency: Latency,
}

impl Stats {
    /// What anybody can tell who has the store open; what only the engine counts is 0.
    pub(crate) fn of(dir: &Directory, seq: u64, active: Option<u64>) -> Self {
        let files = dir.files.files().into_iter().map(|file| FileStats {
            id: file.id,
            path: file.path.clone(),
            merged: file.kind == FileKind::Merged,
            active: active == Some(file.id),
            sealed: file.sealed.load(Ordering::Acquire),
            bytes: file.len.load(Ordering::Acquire),
            dead_bytes: file.dead.load(Ordering::Relaxed),
            tombstone_bytes: file.tombstones.load(Ordering::Relaxed),
        });
        Self {
            keys: dir.len(dir.time.now_ms()),
            expiring_keys: dir.expiries.len(),
            keydir_bytes: dir.keydir.memory(),
            ordered_bytes: dir.ordered.as_ref().map_or(0, OrderedKeys::memory),
            snapshots: dir.snapshots.stats(),
            seq,
            mapped: dir.mapped,
            files: files.collect(),
            pinned_files: dir.files.pinned().iter().map(|file| file.path.clone()).collect(),
            gets: dir.files.gets(),
            ..Self::nothing()
        }
    }

    /// Of a store in which there is nothing.
    pub(crate) fn nothing() -> Self {
        let never = || Histogram::default().snapshot();
        Self {
            keys: 0,
            expiring_keys: 0,
            keydir_bytes: 0,
            ordered_bytes: 0,
            snapshots: Vec::new(),
            seq: 0,
            mapped: false,
            files: Vec::new(),
            pinned_files: Vec::new(),
            foreign: Vec::new(),
            poisoned: None,
            puts: 0,
            deletes: 0,
            gets: 0,
            batches: 0,
            transactions: 0,
            conflicts: 0,
            syncs: 0,
            merges: 0,
            reclaimed_bytes: 0,
            merge: None,
            merge_paused: false,
            put_latency: never(),
            get_latency: never(),
            sync_latency: never(),
        }
    }

    /// Bytes in data files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Bytes of records that a merge would drop.
    pub fn dead_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.dead_bytes).sum()
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;

    #[test]
    fn a_value_lies_in_its_bucket() {
        for ns in (0..5000).chain([1 << 20, u64::from(u32::MAX), u64::MAX / 2]) {
            let bucket = bucket(ns);
            assert!(bucket_end(bucket) >= ns, "{ns}");
            assert!(bucket_end(bucket) <= ns.max(4) + ns.max(4) / 4 + 1, "{ns}");
        }
    }

    #[test]
    fn quantiles_are_read_off() {
        let histogram = Histogram::default();
        (1..=100).for_each(|n| histogram.record(n * 1000));
        let latency = histogram.snapshot();
        assert_eq!(latency.count(), 100);
        assert!((50_000..63_000).contains(&latency.quantile_ns(0.5)));
        assert!(latency.quantile_ns(1.0) >= 100_000);
    }
}
