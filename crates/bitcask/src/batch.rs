//! Changes: the only shape in which anything enters the store.

use crate::expiry::{Expiry, StoreTime};
use crate::record::{Flags, NEVER, record_len};
use crate::stream::Staged;

/// Changes in a batch, so that its frame can count them.
pub(crate) const BATCH_LEN_MAX: usize = 1 << 28;
/// Bytes in a batch: it fits one file.
pub(crate) const BATCH_BYTES_MAX: u64 = 8 << 30;

/// One change to one key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change<'a> {
    /// With the value as it is stored, and the flags that say how.
    Put {
        key: &'a [u8],
        value: &'a [u8],
        compression: Flags,
        expires_ms: u64,
    },
    Delete {
        key: &'a [u8],
    },
    /// A value that was written to a file of its own. Never with others.
    Staged {
        key: &'a [u8],
        staged: &'a Staged,
        expires_ms: u64,
    },
}

impl<'a> Change<'a> {
    /// With the value as it is.
    pub(crate) fn put(key: &'a [u8], value: &'a [u8], expires_ms: u64) -> Self {
        Self::Put { key, value, compression: Flags::NONE, expires_ms }
    }

    pub(crate) fn key(&self) -> &'a [u8] {
        match *self {
            Self::Put { key, .. } | Self::Delete { key } | Self::Staged { key, .. } => key,
        }
    }

    pub(crate) fn value(&self) -> &'a [u8] {
        match *self {
            Self::Put { value, .. } => value,
            Self::Delete { .. } | Self::Staged { .. } => &[],
        }
    }

    pub(crate) fn expires_ms(&self) -> u64 {
        match *self {
            Self::Put { expires_ms, .. } | Self::Staged { expires_ms, .. } => expires_ms,
            Self::Delete { .. } => NEVER,
        }
    }

    pub(crate) fn flags(&self) -> Flags {
        match self {
            Self::Put { compression, .. } => Flags::VALUE.and(*compression),
            Self::Staged { .. } => Flags::VALUE,
            Self::Delete { .. } => Flags::TOMBSTONE,
        }
    }

    /// Bytes of the record that it becomes.
    pub(crate) fn record_len(&self) -> u64 {
        match self {
            Self::Staged { staged, .. } => staged.record_len,
            _ => record_len(self.key().len(), self.value().len(), self.expires_ms()),
        }
    }
}

#[derive(Clone, Debug)]
enum Operation {
    Put { key: Vec<u8>, value: Vec<u8>, expiry: Expiry },
    Delete { key: Vec<u8> },
}

impl Operation {
    fn as_change(&self, time: &StoreTime) -> Change<'_> {
        match self {
            Self::Put { key, value, expiry } => Change::put(key, value, expiry.to_ms(time)),
            Self::Delete { key } => Change::Delete { key },
        }
    }
}

/// Changes that are made together: after a crash, all of them are there or none is.
///
/// Of two changes to one key the later wins. A reader in another thread may see the batch half applied for
/// a moment.
///
/// ```
/// use bitcask::{Bitcask, WriteBatch};
/// # let dir = std::env::temp_dir().join(format!("bitcask-doc-batch-{}", std::process::id()));
///
/// let db = Bitcask::open(&dir)?;
/// let mut batch = WriteBatch::new();
/// batch.put("from", "90").put("to", "110").delete("pending");
/// db.write(&batch)?;
/// assert_eq!(db.get(b"to")?.as_deref(), Some(&b"110"[..]));
/// # drop(db);
/// # std::fs::remove_dir_all(&dir).ok();
/// # Ok::<(), bitcask::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct WriteBatch(Vec<Operation>);

impl WriteBatch {
    /// A batch without changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Stores `value` under `key`.
    pub fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> &mut Self {
        self.put_with(key, value, Expiry::Never)
    }

    /// Stores `value` under `key`, to expire at some time. A [`Duration`](std::time::Duration) counts from when the batch
    /// is written.
    pub fn put_with(
        &mut self,
        key: impl Into<Vec<u8>>,
        value: impl Into<Vec<u8>>,
        expiry: impl Into<Expiry>,
    ) -> &mut Self {
        let (key, value, expiry) = (key.into(), value.into(), expiry.into());
        self.0.push(Operation::Put { key, value, expiry });
        self
    }

    /// Deletes `key`, if it is there.
    pub fn delete(&mut self, key: impl Into<Vec<u8>>) -> &mut Self {
        self.0.push(Operation::Delete { key: key.into() });
        self
    }

    /// How many changes it has.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets all changes, to be filled anew.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn changes(&self, time: &StoreTime) -> Vec<Change<'_>> {
        self.0.iter().map(|operation| operation.as_change(time)).collect()
    }
}
