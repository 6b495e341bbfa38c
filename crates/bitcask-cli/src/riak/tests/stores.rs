//! Directories to read, and what reading one gives.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use bitcask_random::Random;

use crate::fuzzing::byte;
use crate::incoming::Incoming;
use crate::riak::{self, RiakError, RiakOptions, RiakReport, crc};

/// A directory that is gone when the test ends.
pub(super) struct Scratch(pub(super) PathBuf);

impl Scratch {
    pub(super) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("bitcask-riak-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        // Ignored: there usually is none.
        drop(fs::remove_dir_all(&path));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// The data file and, if asked for, the sealed hint file of a number.
    pub(super) fn put(&self, number: u32, file: &Written, hint: bool) -> &Self {
        self.write(&format!("{number}.bitcask.data"), &file.data);
        if hint {
            self.write(&format!("{number}.bitcask.hint"), &file.hint(0x7f));
        }
        self
    }

    pub(super) fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.0.join(name), bytes).unwrap();
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Ignored: at worst a directory stays behind.
        drop(fs::remove_dir_all(&self.0));
    }
}

/// What came out of a directory.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) live: BTreeMap<Vec<u8>, (Vec<u8>, Option<u64>)>,
    /// Every change, in its order.
    pub(super) changes: Vec<Incoming>,
    pub(super) report: RiakReport,
}

impl Outcome {
    pub(super) fn value(&self, key: &[u8]) -> Option<&[u8]> {
        self.live.get(key).map(|(value, _)| value.as_slice())
    }

    #[track_caller]
    pub(super) fn says(&self, place: &str, what: &str) {
        let notices = &self.report.notices.list;
        let said = notices.iter().any(|n| n.place == place && n.what.contains(what));
        assert!(said, "{place}: {what}: {notices:#?}");
    }
}

pub(super) fn read(dir: &Path, options: &RiakOptions) -> Result<Outcome, RiakError<()>> {
    let mut live = BTreeMap::new();
    let mut changes = Vec::new();
    let mut each = |change: Incoming| {
        changes.push(change.clone());
        match change {
            Incoming::Put { key, value, expires_ms } => live.insert(key, (value, expires_ms)),
            Incoming::Delete { key } => live.remove(&key),
        };
        Ok(())
    };
    let mut last = 0;
    let report = riak::read(dir, options, &mut each, &mut |progress| {
        assert!(progress.bytes_done >= last && progress.bytes_done <= progress.bytes);
        last = progress.bytes_done;
    })?;
    assert_eq!(last, report.bytes);
    Ok(Outcome { live, changes, report })
}

/// A data file and its hint file in the making.
#[derive(Clone, Debug, Default)]
pub(super) struct Written {
    pub(super) data: Vec<u8>,
    entries: Vec<u8>,
    /// Where each record begins.
    pub(super) offsets: Vec<usize>,
}

impl Written {
    pub(super) fn put(self, key: &[u8], value: &[u8]) -> Self {
        let tombstone = value.starts_with(b"bitcask_tombstone");
        self.record(1_700_000_000, key, value, tombstone)
    }

    pub(super) fn delete(self, key: &[u8]) -> Self {
        self.put(key, b"bitcask_tombstone2\0\0\0\x01")
    }

    pub(super) fn record(mut self, tstamp: u32, key: &[u8], value: &[u8], bit: bool) -> Self {
        let offset = self.data.len();
        self.offsets.push(offset);
        self.data.extend(record(tstamp, key, value));
        let total_len = u32::try_from(self.data.len() - offset).unwrap();
        self.entries.extend(tstamp.to_be_bytes());
        self.entries.extend(u16::try_from(key.len()).unwrap().to_be_bytes());
        self.entries.extend(total_len.to_be_bytes());
        self.entries.extend((offset as u64 | u64::from(bit) << 63).to_be_bytes());
        self.entries.extend(key);
        self
    }

    /// The hint file, its trailer's place beginning with this byte.
    pub(super) fn hint(&self, place: u8) -> Vec<u8> {
        let mut hint = self.entries.clone();
        hint.extend([0; 6]);
        hint.extend(crc::of(&self.entries).to_be_bytes());
        hint.push(place);
        hint.extend([0xff; 7]);
        hint
    }

    /// The hint file without its trailer.
    pub(super) fn unsealed(&self) -> &[u8] {
        &self.entries
    }

    /// Flips a bit of the record with this index, so many bytes behind its beginning.
    pub(super) fn flip(mut self, index: usize, byte: usize) -> Self {
        self.data[self.offsets[index] + byte] ^= 4;
        self
    }
}

pub(super) fn record(tstamp: u32, key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut covered = tstamp.to_be_bytes().to_vec();
    covered.extend(u16::try_from(key.len()).unwrap().to_be_bytes());
    covered.extend(u32::try_from(value.len()).unwrap().to_be_bytes());
    covered.extend(key);
    covered.extend(value);
    [crc::of(&covered).to_be_bytes().to_vec(), covered].concat()
}

pub(super) fn some_bytes(random: &mut Random, len: usize) -> Vec<u8> {
    (0..len).map(|_| byte(random)).collect()
}
