//! The account of a worker's writes, in a file beside the store that survives the kill of the process.
//!
//! It has a slot for each key: the version that was last acknowledged. A worker writes down what it is about to do (its
//! intent), does it, and writes down that it was acknowledged; then it brings the slots up to date. So whenever it is
//! killed, at most one operation of it is open: its keys have all the old versions, or all the new. Everything else must be
//! exactly as the slots say.
//!
//! No write reaches across a page, so none is cut in two by a kill; the file needs no more than that, because
//! nobody pulls the plug here. The slots have checksums all the same, for those who read while the worker writes.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::Result;
use crate::plan::{KeyId, Kind};

/// Keys changed by one batch, at most.
pub(crate) const BATCH_MAX: usize = 8;

const INTENT_AT: u64 = 64;
const SLOTS_AT: u64 = 4096;
const SLOT_LEN: usize = 32;
/// Tries to read a slot that is being written.
const READS_MAX: usize = 1000;

/// What was last acknowledged of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) version: u64,
    /// The number of the operation.
    pub(crate) op: u64,
    pub(crate) expires_ms: u64,
    /// How many versions before this one may never have been made.
    pub(crate) doubtful: u32,
}

/// An operation that was begun: each of `versions` becomes the version of a key, from `start` on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Intent {
    pub(crate) op: u64,
    pub(crate) start: u32,
    /// When those of its values expire that do.
    pub(crate) expires_ms: u64,
    pub(crate) versions: Vec<u64>,
}

impl Slot {
    fn encode(self) -> [u8; SLOT_LEN] {
        let mut bytes = [0; SLOT_LEN];
        bytes[4..8].copy_from_slice(&self.doubtful.to_le_bytes());
        for (n, number) in [self.version, self.op, self.expires_ms].into_iter().enumerate() {
            bytes[8 + n * 8..][..8].copy_from_slice(&number.to_le_bytes());
        }
        let checksum = crc32c::crc32c(&bytes[4..]);
        bytes[..4].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// None if the bytes are no slot, because it is being written.
    fn decode(bytes: &[u8; SLOT_LEN]) -> Option<Self> {
        let [first, version, op, expires_ms] = *bytes.as_chunks::<8>().0 else { return None };
        let doubtful = first.last_chunk().map(|bytes| u32::from_le_bytes(*bytes))?;
        let [version, op, expires_ms] = [version, op, expires_ms].map(u64::from_le_bytes);
        let slot = Self { version, op, expires_ms, doubtful };
        (slot.encode() == *bytes || *bytes == [0; SLOT_LEN]).then_some(slot)
    }

    /// What the slot becomes by an operation.
    pub(crate) fn after(&self, id: KeyId, intent: &Intent, version: u64) -> Self {
        let kind = id.kind(version);
        let expires_ms = if kind == Kind::Expiring { intent.expires_ms } else { 0 };
        // A deletion leaves doubt as it is: who watches does not learn from it which version it is.
        let doubtful = match kind {
            Kind::Delete if self.doubtful > 0 => self.doubtful.saturating_add(1),
            _ => 0,
        };
        Self { version, op: intent.op, expires_ms, doubtful }
    }
}

#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    pub(crate) worker: u32,
    pub(crate) keys: u32,
}

impl Journal {
    pub(crate) fn path(dir: &Path, worker: u32) -> PathBuf {
        dir.join(format!("worker-{worker}"))
    }

    /// Opens a worker's journal, or begins one.
    pub(crate) fn open(dir: &Path, worker: u32, keys: u32) -> Result<Self> {
        let path = Self::path(dir, worker);
        let file =
            File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        file.set_len(slot_at(keys))?;
        Ok(Self { file, worker, keys })
    }

    pub(crate) fn intend(&self, intent: &Intent) -> Result<()> {
        let mut bytes = Vec::with_capacity(24 + BATCH_MAX * 8);
        bytes.extend(intent.op.to_le_bytes());
        bytes.extend(intent.start.to_le_bytes());
        bytes.extend(u32::try_from(intent.versions.len())?.to_le_bytes());
        bytes.extend(intent.expires_ms.to_le_bytes());
        bytes.extend(intent.versions.iter().flat_map(|version| version.to_le_bytes()));
        Ok(self.file.write_all_at(&bytes, INTENT_AT)?)
    }

    pub(crate) fn intent(&self) -> Result<Intent> {
        let mut bytes = [0; 24 + BATCH_MAX * 8];
        self.file.read_exact_at(&mut bytes, INTENT_AT)?;
        let words: Vec<_> =
            bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
        let start = u32::try_from(words[1] & u64::from(u32::MAX))?;
        let len = usize::try_from(words[1] >> 32)?;
        let versions = words[3..].iter().copied().take(len).collect();
        Ok(Intent { op: words[0], start, expires_ms: words[2], versions })
    }

    /// Writes down that all operations up to this one were acknowledged.
    pub(crate) fn acknowledge(&self, op: u64) -> Result<()> {
        Ok(self.file.write_all_at(&op.to_le_bytes(), 0)?)
    }

    pub(crate) fn acknowledged(&self) -> Result<u64> {
        let mut bytes = [0; 8];
        self.file.read_exact_at(&mut bytes, 0)?;
        Ok(u64::from_le_bytes(bytes))
    }

    pub(crate) fn set(&self, index: u32, slot: Slot) -> Result<()> {
        Ok(self.file.write_all_at(&slot.encode(), slot_at(index))?)
    }

    pub(crate) fn slot(&self, index: u32) -> Result<Slot> {
        let mut bytes = [0; SLOT_LEN];
        for _ in 0..READS_MAX {
            self.file.read_exact_at(&mut bytes, slot_at(index))?;
            if let Some(slot) = Slot::decode(&bytes) {
                return Ok(slot);
            }
        }
        Err(format!("a slot of worker {} is none", self.worker).into())
    }

    pub(crate) fn slots(&self) -> Result<Vec<Slot>> {
        (0..self.keys).map(|index| self.slot(index)).collect()
    }

    pub(crate) fn id(&self, index: u32) -> KeyId {
        KeyId { worker: self.worker, index }
    }
}

fn slot_at(index: u32) -> u64 {
    SLOTS_AT + u64::from(index) * SLOT_LEN as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_down_is_read_back() {
        let dir =
            std::env::temp_dir().join(format!("bitcask-stress-journal-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let intent = Intent { op: 9, start: 3, expires_ms: 7, versions: vec![4, 5] };
        let slot = Slot { version: 4, op: 9, expires_ms: 7, doubtful: 2 };
        {
            let journal = Journal::open(&dir, 1, 10).unwrap();
            journal.intend(&intent).unwrap();
            journal.acknowledge(8).unwrap();
            journal.set(9, slot).unwrap();
        }
        let journal = Journal::open(&dir, 1, 10).unwrap();
        assert_eq!(journal.intent().unwrap(), intent);
        assert_eq!(journal.acknowledged().unwrap(), 8);
        let slots = journal.slots().unwrap();
        assert_eq!((slots.len(), slots[9], slots[0]), (10, slot, Slot::default()));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
