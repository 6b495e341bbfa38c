//! Changes into a store, many at a time.

use bitcask::{Bitcask, WriteBatch};

use crate::incoming::Incoming;
use crate::redis::{self, Current, Target};
use crate::time;

/// Changes and bytes gathered before they are written.
const COUNT_MAX: usize = 1000;
const BYTES_MAX: usize = 1 << 20;

/// Writes what comes in batches, in its order.
pub(super) struct Loader<'a> {
    db: &'a Bitcask,
    batch: WriteBatch,
    count: usize,
    bytes: usize,
}

impl<'a> Loader<'a> {
    pub(super) fn new(db: &'a Bitcask) -> Self {
        Self { db, batch: WriteBatch::new(), count: 0, bytes: 0 }
    }

    pub(super) fn take(&mut self, change: Incoming) -> bitcask::Result<()> {
        match change {
            Incoming::Put { key, value, expires_ms } => {
                self.bytes += key.len() + value.len();
                self.batch.put_with(key, value, time::expiry(expires_ms));
            }
            Incoming::Delete { key } => {
                self.bytes += key.len();
                self.batch.delete(key);
            }
        }
        self.count += 1;
        if self.count >= COUNT_MAX || self.bytes >= BYTES_MAX { self.flush() } else { Ok(()) }
    }

    /// Has all of it written.
    pub(super) fn flush(&mut self) -> bitcask::Result<()> {
        (self.count, self.bytes) = (0, 0);
        self.db.write(&std::mem::take(&mut self.batch))
    }
}

impl Target for Loader<'_> {
    fn get(&mut self, key: &[u8]) -> bitcask::Result<Option<Current>> {
        self.flush()?;
        let snapshot = self.db.snapshot()?;
        let Some(value) = snapshot.get(key)? else { return Ok(None) };
        let expires_ms = snapshot.expires_at(key)?.and_then(time::expires_ms);
        Ok(Some(Current { value: value.into_vec(), expires_ms }))
    }

    fn apply(&mut self, change: Incoming) -> bitcask::Result<()> {
        self.take(change)
    }

    fn clear(&mut self, prefix: &[u8]) -> bitcask::Result<()> {
        self.flush()?;
        let snapshot = self.db.snapshot()?;
        for entry in snapshot.prefix(prefix) {
            self.take(Incoming::Delete { key: entry?.0 })?;
        }
        self.flush()
    }

    fn change_expiring(
        &mut self,
        change: &mut dyn FnMut(Vec<u8>, Current) -> Result<Incoming, redis::Error>,
    ) -> Result<(), redis::Error> {
        self.flush()?;
        if self.db.stats()?.expiring_keys == 0 {
            return Ok(());
        }
        let snapshot = self.db.snapshot()?;
        for entry in &snapshot {
            let (key, value) = entry?;
            if let Some(expires_ms) = snapshot.expires_at(&key)?.and_then(time::expires_ms) {
                let current = Current { value: value.into_vec(), expires_ms: Some(expires_ms) };
                self.take(change(key, current)?)?;
            }
        }
        Ok(self.flush()?)
    }
}
