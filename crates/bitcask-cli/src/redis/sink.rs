//! Between the readers and the target: which database is wanted, which key can be stored, and what has expired.

use std::collections::HashMap;
use std::path::Path;

use bitcask::{KEY_LEN_MAX, VALUE_LEN_MAX};

use super::{Current, Databases, Options, Report, Result, Target};
use crate::incoming::Incoming;

/// How long a key is kept whose time was over before the log has ended: a day, which should do for a log.
const HELD_MS: u64 = 24 * 60 * 60 * 1000;

/// Takes keys as their database knows them.
pub(super) struct Sink<'a> {
    target: &'a mut dyn Target,
    options: Options,
    pub(super) report: &'a mut Report,
    past: Past,
}

/// What becomes of a put whose time is over.
enum Past {
    /// It is left out.
    Drop,
    /// It is put until [`Sink::settle`]. Keys as the target knows them, with their true expiry.
    Hold(HashMap<Vec<u8>, u64>),
}

impl<'a> Sink<'a> {
    pub(super) fn for_snapshot(
        target: &'a mut dyn Target,
        options: Options,
        report: &'a mut Report,
    ) -> Self {
        Self { target, options, report, past: Past::Drop }
    }

    pub(super) fn for_log(
        target: &'a mut dyn Target,
        options: Options,
        report: &'a mut Report,
    ) -> Self {
        Self { target, options, report, past: Past::Hold(HashMap::new()) }
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

    pub(super) fn get(&mut self, db: u64, key: &[u8]) -> Result<Option<Current>> {
        let key = self.name(db, key);
        if !fits(&key, &[]) {
            return Ok(None);
        }
        let Some(mut current) = self.target.get(&key)? else { return Ok(None) };
        if let Some(expires_ms) = self.held().and_then(|held| held.get(&key)) {
            current.expires_ms = Some(*expires_ms);
        }
        Ok(Some(current))
    }

    /// Whether the target could take it.
    pub(super) fn put(&mut self, db: u64, key: &[u8], current: Current) -> Result<bool> {
        let key = self.name(db, key);
        let Current { value, mut expires_ms } = current;
        if !fits(&key, &value) {
            return Ok(false);
        }
        let now_ms = self.options.now_ms;
        let past = expires_ms.filter(|expires_ms| *expires_ms <= now_ms);
        match (&mut self.past, past) {
            (Past::Drop, Some(_)) => {
                self.report.expired += 1;
                return Ok(true);
            }
            (Past::Hold(held), Some(true_ms)) => {
                held.insert(key.clone(), true_ms);
                expires_ms = Some(now_ms.saturating_add(HELD_MS));
            }
            (Past::Hold(held), None) => drop(held.remove(&key)),
            (Past::Drop, None) => {}
        }
        self.target.apply(Incoming::Put { key, value, expires_ms })?;
        Ok(true)
    }

    pub(super) fn delete(&mut self, db: u64, key: &[u8]) -> Result<()> {
        let key = self.name(db, key);
        if !fits(&key, &[]) {
            return Ok(());
        }
        if let Some(held) = self.held() {
            held.remove(&key);
        }
        Ok(self.target.apply(Incoming::Delete { key })?)
    }

    /// Empties a database.
    pub(super) fn clear(&mut self, db: u64) -> Result<()> {
        if !self.wants(db) {
            return Ok(());
        }
        let prefix = self.prefix(db);
        if let Some(held) = self.held() {
            held.retain(|key, _| !key.starts_with(prefix.as_bytes()));
        }
        Ok(self.target.clear(prefix.as_bytes())?)
    }

    /// Empties all databases.
    pub(super) fn clear_all(&mut self) -> Result<()> {
        if let Some(held) = self.held() {
            held.clear();
        }
        Ok(self.target.clear(&[])?)
    }

    /// Deletes what was only held until the end of the log.
    pub(super) fn settle(self) -> Result<()> {
        let Past::Hold(held) = self.past else { return Ok(()) };
        for key in held.into_keys() {
            self.report.expired += 1;
            self.target.apply(Incoming::Delete { key })?;
        }
        Ok(())
    }

    fn held(&mut self) -> Option<&mut HashMap<Vec<u8>, u64>> {
        match &mut self.past {
            Past::Drop => None,
            Past::Hold(held) => Some(held),
        }
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

/// Redis has longer ones.
fn fits(key: &[u8], value: &[u8]) -> bool {
    key.len() <= KEY_LEN_MAX && value.len() as u64 <= VALUE_LEN_MAX
}
