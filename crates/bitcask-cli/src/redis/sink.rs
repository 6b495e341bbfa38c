//! Between the readers and the target: which database is wanted, which key can be stored, and what has expired.

use std::ops::ControlFlow;
use std::path::Path;

use bitcask::{KEY_LEN_MAX, VALUE_LEN_MAX};

use super::{Current, Databases, Error, Options, Report, Result, Target, Watch};
use crate::incoming::Incoming;

/// Added to an expiry while a log is replayed: so far away that nothing expires meanwhile. No true one is as late.
const HELD_MS: u64 = 1 << 62;

/// Takes keys as their database knows them.
pub(super) struct Sink<'a> {
    target: &'a mut dyn Target,
    options: Options,
    pub(super) report: &'a mut Report,
    times: Times,
    watch: Watch<'a>,
    /// In the files before this one.
    bytes_before: u64,
}

/// With which expiry keys are put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Times {
    /// With their own, or not at all if that is over.
    True,
    /// With one that does not come, until [`Sink::settle`]: a later command may need what would have expired by now, or
    /// expire while the import goes on.
    Held,
}

/// What became of a put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Put {
    Done,
    /// Its time was over, and so what the target had under the key is older.
    Expired,
    /// The key or the value is too long for the target.
    TooLong,
}

impl<'a> Sink<'a> {
    pub(super) fn for_snapshot(
        target: &'a mut dyn Target,
        options: Options,
        report: &'a mut Report,
        watch: Watch<'a>,
    ) -> Self {
        Self { target, options, report, times: Times::True, watch, bytes_before: 0 }
    }

    pub(super) fn for_log(
        target: &'a mut dyn Target,
        options: Options,
        report: &'a mut Report,
        watch: Watch<'a>,
    ) -> Self {
        Self { target, options, report, times: Times::Held, watch, bytes_before: 0 }
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.options.now_ms
    }

    pub(super) fn wants(&self, db: u64) -> bool {
        match self.options.databases {
            Databases::One(wanted) => db == wanted,
            Databases::All => true,
        }
    }

    pub(super) fn notice(&mut self, file: &Path, offset: u64, what: impl Into<String>) {
        self.report.notice(file, offset, what.into());
    }

    /// Tells how far the file is read, and asks whether to go on.
    pub(super) fn reached(&mut self, offset: u64) -> Result<()> {
        match (self.watch)(self.bytes_before.saturating_add(offset)) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Error::Stopped),
        }
    }

    pub(super) fn end_file(&mut self, len: u64) {
        self.bytes_before = self.bytes_before.saturating_add(len);
    }

    pub(super) fn get(&mut self, db: u64, key: &[u8]) -> Result<Option<Current>> {
        let key = self.name(db, key);
        if !fits(&key, &[]) {
            return Ok(None);
        }
        let Some(mut current) = self.target.get(&key)? else { return Ok(None) };
        if self.times == Times::Held {
            current.expires_ms = current.expires_ms.map(let_go);
        }
        Ok(Some(current))
    }

    pub(super) fn put(&mut self, db: u64, key: &[u8], current: Current) -> Result<Put> {
        let key = self.name(db, key);
        let Current { value, mut expires_ms } = current;
        if !fits(&key, &value) {
            return Ok(Put::TooLong);
        }
        if self.times == Times::Held {
            expires_ms = expires_ms.map(held);
        } else if expires_ms.is_some_and(|ms| ms <= self.options.now_ms) {
            self.report.expired += 1;
            self.target.apply(Incoming::Delete { key })?;
            return Ok(Put::Expired);
        }
        self.target.apply(Incoming::Put { key, value, expires_ms })?;
        Ok(Put::Done)
    }

    pub(super) fn delete(&mut self, db: u64, key: &[u8]) -> Result<()> {
        let key = self.name(db, key);
        if !fits(&key, &[]) {
            return Ok(());
        }
        Ok(self.target.apply(Incoming::Delete { key })?)
    }

    /// Empties a database.
    pub(super) fn clear(&mut self, db: u64) -> Result<()> {
        if !self.wants(db) {
            return Ok(());
        }
        Ok(self.target.clear(self.prefix(db).as_bytes())?)
    }

    /// Empties all databases.
    pub(super) fn clear_all(&mut self) -> Result<()> {
        Ok(self.target.clear(&[])?)
    }

    /// The log has ended: keys get their true expiry, and those whose time is over are deleted.
    pub(super) fn settle(self) -> Result<()> {
        let Self { target, options, report, watch, bytes_before, .. } = self;
        target.change_expiring(&mut |key, Current { value, expires_ms }| {
            if watch(bytes_before).is_break() {
                return Err(Error::Stopped);
            }
            let expires_ms = expires_ms.map(let_go);
            if expires_ms.is_some_and(|ms| ms <= options.now_ms) {
                report.expired += 1;
                return Ok(Incoming::Delete { key });
            }
            Ok(Incoming::Put { key, value, expires_ms })
        })
    }

    fn prefix(&self, db: u64) -> String {
        match self.options.databases {
            Databases::One(_) => String::new(),
            Databases::All => format!("db{db}:"),
        }
    }

    /// A key as the target knows it.
    fn name(&self, db: u64, key: &[u8]) -> Vec<u8> {
        let mut name = self.prefix(db).into_bytes();
        name.extend_from_slice(key);
        name
    }
}

fn held(true_ms: u64) -> u64 {
    true_ms.min(HELD_MS - 1) + HELD_MS
}

fn let_go(held_ms: u64) -> u64 {
    held_ms.saturating_sub(HELD_MS)
}

/// Redis has longer ones.
fn fits(key: &[u8], value: &[u8]) -> bool {
    key.len() <= KEY_LEN_MAX && value.len() as u64 <= VALUE_LEN_MAX
}
