//! How a store is opened: plain settings, validated once, in [`Options::open`].

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::compress::Compression;
use crate::db::Bitcask;
use crate::destroy::DestroyReport;
use crate::error::{Error, Result};
use crate::fs::{Clock, Disk, Fs, SystemClock};
use crate::readonly::ReadOnly;
use crate::record::{KEY_LEN_MAX, VALUE_LEN_MAX};
use crate::repair::RepairReport;

/// When an acknowledged write survives a power loss.
///
/// The death of the process (`kill -9`, a panic, running out of memory) loses no acknowledged write at any
/// level. After a power loss what comes back is always a prefix of what was acknowledged: no hole,
/// no half batch, no deleted key. The level says how long that prefix is at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// All of it: a write returns when it is on the disk. Writers that wait at the same time share a sync.
    Always,
    /// All that is older than this. A write waits for the disk only if the disk cannot keep up.
    Interval(Duration),
    /// What the operating system happened to write, typically all that is older than 30 seconds.
    Os,
}

impl Default for Durability {
    fn default() -> Self {
        Self::Interval(Duration::from_secs(1))
    }
}

/// How files are read and written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum IoMode {
    /// `Mapped` where the file system keeps reserved blocks (ext4, XFS, tmpfs), `Plain` elsewhere.
    #[default]
    Auto,
    /// Through shared mappings: four times as fast. A disk that fails to deliver a page ends the process with
    /// `SIGBUS`. Refused where a full disk could do the same.
    Mapped,
    /// By `pread` and `pwrite`. A failing disk is an [`ErrorKind::Io`](crate::ErrorKind::Io).
    Plain,
}

/// What finds keys. Chosen each time the store is opened: the files are the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Index {
    /// The keydir alone: some 11 bytes of memory a key, whatever its length; no order.
    #[default]
    Hash,
    /// The keydir, and the keys themselves in order beside it: for ranges, at the cost of some 14 bytes and the
    /// key. Opening reads every key from its data file.
    Ordered,
}

/// When files are merged, and how hard.
///
/// A background merge begins when any finished file reaches a *trigger*; it then takes every file that
/// reaches a *threshold*, or is small.
#[derive(Clone, Debug, PartialEq)]
pub struct MergePolicy {
    /// Whether merges run by themselves. [`Bitcask::merge`] works either way.
    pub background: bool,
    /// A file with at least this part of its bytes dead starts a merge.
    pub dead_ratio_trigger: f64,
    /// A file with at least this many dead bytes starts a merge.
    pub dead_bytes_trigger: u64,
    /// A file with at least this part of its bytes dead takes part.
    pub dead_ratio_threshold: f64,
    /// A file with at least this many dead bytes takes part.
    pub dead_bytes_threshold: u64,
    /// A finished file smaller than this takes part, and eight of them start a merge.
    pub small_file_bytes: u64,
    /// Bytes read and written a second, at most.
    pub rate_bytes_per_second: Option<u64>,
    /// Hours of the day (UTC) in which a background merge may run: from the first, up to but without
    /// the second. `(22, 4)` spans midnight.
    pub window_utc_hours: Option<(u8, u8)>,
    /// How often files are looked at.
    pub check_interval: Duration,
}

impl Default for MergePolicy {
    fn default() -> Self {
        Self {
            background: true,
            dead_ratio_trigger: 0.6,
            dead_bytes_trigger: 128 << 20,
            dead_ratio_threshold: 0.4,
            dead_bytes_threshold: 64 << 20,
            small_file_bytes: 8 << 20,
            rate_bytes_per_second: None,
            window_utc_hours: None,
            check_interval: Duration::from_secs(30),
        }
    }
}

/// How to open a store.
///
/// ```
/// use bitcask::{Durability, Options};
/// # let dir = std::env::temp_dir().join(format!("bitcask-doc-options-{}", std::process::id()));
///
/// let db = Options::new().durability(Durability::Always).max_file_size(64 << 20).open(&dir)?;
/// db.put(b"key", b"value")?;
/// db.close()?;
/// # std::fs::remove_dir_all(&dir).ok();
/// # Ok::<(), bitcask::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    pub(crate) create_if_missing: bool,
    pub(crate) error_if_exists: bool,
    pub(crate) max_file_size: u64,
    pub(crate) durability: Durability,
    pub(crate) merge: MergePolicy,
    pub(crate) io: IoMode,
    pub(crate) index: Index,
    pub(crate) memory_budget: Option<u64>,
    pub(crate) verify_reads: bool,
    pub(crate) key_len_max: usize,
    pub(crate) value_len_max: u64,
    pub(crate) compression: Compression,
    pub(crate) compress_from: usize,
    pub(crate) fs: Arc<dyn Fs>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) threads: bool,
    pub(crate) shard_bits: Option<u32>,
    pub(crate) hash_mask: u64,
    pub(crate) large_record_len: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}

impl Options {
    const MAX_FILE_SIZE_MIN: u64 = 4 << 10;
    const MAX_FILE_SIZE_MAX: u64 = 8 << 30;

    /// The defaults.
    pub fn new() -> Self {
        Self {
            create_if_missing: true,
            error_if_exists: false,
            max_file_size: 256 << 20,
            durability: Durability::default(),
            merge: MergePolicy::default(),
            io: IoMode::default(),
            index: Index::default(),
            memory_budget: None,
            verify_reads: true,
            key_len_max: KEY_LEN_MAX,
            value_len_max: VALUE_LEN_MAX,
            compression: Compression::default(),
            compress_from: 64,
            fs: Arc::new(Disk),
            clock: Arc::new(SystemClock),
            threads: true,
            shard_bits: None,
            hash_mask: u64::MAX,
            large_record_len: 32 << 10,
        }
    }

    /// Creates the store if the directory holds none. Default: yes.
    pub fn create_if_missing(mut self, yes: bool) -> Self {
        self.create_if_missing = yes;
        self
    }

    /// Fails if the directory holds a store already. Default: no.
    pub fn error_if_exists(mut self, yes: bool) -> Self {
        self.error_if_exists = yes;
        self
    }

    /// Begins a new data file when the active one would get longer than this: 4 KiB to 8 GiB, default 256
    /// MiB. A larger record or batch gets a file of its own.
    pub fn max_file_size(mut self, bytes: u64) -> Self {
        self.max_file_size = bytes;
        self
    }

    /// What a power loss can take. Default: the last second.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// When and how files are merged.
    pub fn merge(mut self, policy: MergePolicy) -> Self {
        self.merge = policy;
        self
    }

    /// How files are read and written. Default: [`IoMode::Auto`].
    pub fn io(mut self, mode: IoMode) -> Self {
        self.io = mode;
        self
    }

    /// Whether keys can be found in order. Default: [`Index::Hash`], no.
    pub fn index(mut self, index: Index) -> Self {
        self.index = index;
        self
    }

    /// Bytes of memory that the keydir, and the ordered index, may take. What would add a key beyond it is refused as
    /// `Full`; overwriting and deleting go on. At nine tenths of it a warning is logged. Opening fails if the
    /// store does not fit. Default: no limit.
    pub fn memory_budget(mut self, bytes: u64) -> Self {
        self.memory_budget = Some(bytes);
        self
    }

    /// Whether every get checks the checksum of its record. Default: yes.
    pub fn verify_reads(mut self, yes: bool) -> Self {
        self.verify_reads = yes;
        self
    }

    /// Refuses longer keys; at most, and by default, 65,535 bytes.
    pub fn max_key_len(mut self, bytes: usize) -> Self {
        self.key_len_max = bytes;
        self
    }

    /// Refuses longer values; at most, and by default, 4 GiB - 1.
    pub fn max_value_len(mut self, bytes: u64) -> Self {
        self.value_len_max = bytes;
        self
    }

    /// How values are stored from now on; what is there stays as it is, and is read all the same. Default:
    /// [`Compression::None`].
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// Leaves shorter values as they are. Default: 64 bytes.
    pub fn compress_from(mut self, bytes: usize) -> Self {
        self.compress_from = bytes;
        self
    }

    /// Opens the store in `dir`.
    ///
    /// # Errors
    /// `Invalid` names the option that cannot be; `Locked` says who has the store open; `Corrupt` names the file and
    /// offset of damage to data that had been durable; `Unsupported` if a newer version wrote it; `Io`.
    pub fn open(self, dir: impl AsRef<Path>) -> Result<Bitcask> {
        self.validate()?;
        Bitcask::open_with(dir.as_ref(), self)
    }

    /// Opens the store in `dir` to read it, beside the process that writes to it, if there is one. Takes no lock and
    /// changes nothing; what is written later shows after [`ReadOnly::refresh`].
    ///
    /// Options that are about writing have no effect.
    ///
    /// # Errors
    /// As [`open`](Self::open), but never `Locked`.
    pub fn open_read_only(self, dir: impl AsRef<Path>) -> Result<ReadOnly> {
        self.validate()?;
        ReadOnly::open_with(dir.as_ref(), self)
    }

    /// Repairs the store in `dir`: see [`repair`](crate::repair()).
    ///
    /// # Errors
    /// As [`repair`](crate::repair()).
    pub fn repair(self, dir: impl AsRef<Path>) -> Result<RepairReport> {
        self.validate()?;
        crate::repair::repair_with(dir.as_ref(), self)
    }

    /// Destroys the store in `dir`: see [`destroy`](crate::destroy()).
    ///
    /// # Errors
    /// As [`destroy`](crate::destroy()).
    pub fn destroy(self, dir: impl AsRef<Path>) -> Result<DestroyReport> {
        self.validate()?;
        crate::destroy::destroy_with(dir.as_ref(), &self)
    }

    fn validate(&self) -> Result<()> {
        let check = |holds: bool, text: &str| {
            if holds { Ok(()) } else { Err(Error::invalid(format!("invalid option {text}"))) }
        };
        let sizes = Self::MAX_FILE_SIZE_MIN..=Self::MAX_FILE_SIZE_MAX;
        check(sizes.contains(&self.max_file_size), "max_file_size: must be 4 KiB to 8 GiB")?;
        check(self.key_len_max <= KEY_LEN_MAX, "max_key_len: at most 65535")?;
        check(self.value_len_max <= VALUE_LEN_MAX, "max_value_len: at most 4294967295")?;
        if let Some(fault) = self.compression.fault() {
            check(false, &format!("compression: {fault}"))?;
        }
        if let Durability::Interval(interval) = self.durability {
            check(
                (Duration::from_millis(2)..=Duration::from_secs(3600)).contains(&interval),
                "durability: an interval must be 2 ms to 1 hour",
            )?;
        }
        let policy = &self.merge;
        let ratio = |value: f64| value > 0.0 && value <= 1.0;
        check(ratio(policy.dead_ratio_trigger), "merge.dead_ratio_trigger: above 0, at most 1")?;
        check(
            ratio(policy.dead_ratio_threshold),
            "merge.dead_ratio_threshold: above 0, at most 1",
        )?;
        check(policy.dead_bytes_trigger > 0, "merge.dead_bytes_trigger: above 0")?;
        check(policy.dead_bytes_threshold > 0, "merge.dead_bytes_threshold: above 0")?;
        check(
            policy.rate_bytes_per_second.is_none_or(|rate| rate >= 1 << 10),
            "merge.rate_bytes_per_second: at least 1024",
        )?;
        check(
            policy.window_utc_hours.is_none_or(|(from, to)| from < 24 && to < 24 && from != to),
            "merge.window_utc_hours: two different hours from 0 to 23",
        )?;
        check(
            (Duration::from_millis(1)..=Duration::from_secs(24 * 3600))
                .contains(&policy.check_interval),
            "merge.check_interval: 1 ms to 24 hours",
        )
    }
}

/// Stand-ins for tests.
#[cfg(feature = "testing")]
impl Options {
    /// Another file system and clock.
    pub fn on(mut self, fs: Arc<dyn Fs>, clock: Arc<dyn Clock>) -> Self {
        (self.fs, self.clock) = (fs, clock);
        self
    }

    /// No threads: what they would do happens in [`Bitcask::tick`].
    pub fn without_threads(mut self) -> Self {
        self.threads = false;
        self
    }

    /// 2^`bits` shards of the keydir: few make small stores open fast.
    pub fn shard_bits(mut self, bits: u32) -> Self {
        self.shard_bits = Some(bits);
        self
    }

    /// Records from this length on are written whole by `pwrite`, into mapped files, too.
    pub fn large_record_len(mut self, bytes: usize) -> Self {
        self.large_record_len = bytes;
        self
    }

    /// A hash with only these bits, so that keys collide.
    pub fn hash_mask(mut self, mask: u64) -> Self {
        self.hash_mask = mask;
        self
    }
}
