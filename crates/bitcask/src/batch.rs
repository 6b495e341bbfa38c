//! Changes: the only shape in which anything enters the store.

use crate::record::Flags;

/// One change to one key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change<'a> {
    Put { key: &'a [u8], value: &'a [u8] },
    Delete { key: &'a [u8] },
}

impl<'a> Change<'a> {
    pub(crate) fn key(&self) -> &'a [u8] {
        match *self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }

    pub(crate) fn value(&self) -> &'a [u8] {
        match *self {
            Self::Put { value, .. } => value,
            Self::Delete { .. } => &[],
        }
    }

    pub(crate) fn flags(&self) -> Flags {
        match self {
            Self::Put { .. } => Flags::VALUE,
            Self::Delete { .. } => Flags::TOMBSTONE,
        }
    }
}

#[derive(Clone, Debug)]
enum Operation {
    Put { key: Vec<u8>, value: Vec<u8> },
    Delete { key: Vec<u8> },
}

impl Operation {
    fn as_change(&self) -> Change<'_> {
        match self {
            Self::Put { key, value } => Change::Put { key, value },
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
        self.0.push(Operation::Put { key: key.into(), value: value.into() });
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

    pub(crate) fn changes(&self) -> Vec<Change<'_>> {
        self.0.iter().map(Operation::as_change).collect()
    }
}
