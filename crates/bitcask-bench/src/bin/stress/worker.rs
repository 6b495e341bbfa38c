//! A thread that owns keys, changes them in every way there is, and knows at each moment what they are.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use bitcask::{Bitcask, Expiry, WriteBatch};
use bitcask_random::Random;

use crate::account::{Span, check};
use crate::counts::Counts;
use crate::journal::{BATCH_MAX, Intent, Journal, Slot};
use crate::plan::{KeyId, Kind, Mark, STREAMED_LEN, wall_ms};
use crate::{Result, chores};

/// Values that expire live so long.
const TTL_MS: std::ops::Range<u64> = 1..4000;
/// One in so many operations is followed by a pause: merges and readers are to get on, too, on few cores.
const PAUSE_EVERY: u64 = 100;
/// Keys asked for at once.
const ASKED_AT_ONCE: u64 = 20;

pub(crate) struct Worker<'a> {
    db: &'a Bitcask,
    journal: &'a Journal,
    slots: Vec<Slot>,
    op: u64,
    random: Random,
    counts: &'a Counts,
}

impl<'a> Worker<'a> {
    pub(crate) fn new(
        db: &'a Bitcask,
        journal: &'a Journal,
        random: Random,
        counts: &'a Counts,
    ) -> Result<Self> {
        let (slots, op) = (journal.slots()?, journal.acknowledged()?);
        Ok(Self { db, journal, slots, op, random, counts })
    }

    pub(crate) fn run(&mut self, stop: &AtomicBool) -> Result<()> {
        while !stop.load(Ordering::Relaxed) {
            match self.random.below(1000) {
                0..550 => self.change(1)?,
                550..650 => {
                    let len = self.random.between(2, BATCH_MAX as u64 + 1);
                    self.change(u32::try_from(len)?)?;
                }
                650..900 => self.read_one()?,
                900..999 => self.read_many()?,
                _ if self.random.one_in(20) => self.read_all()?,
                _ => self.read_stream()?,
            }
            self.counts.add("ops", 1);
            if self.random.one_in(PAUSE_EVERY) {
                let pause = chores::millis(&mut self.random, 0, 20);
                chores::wait(stop, pause);
            }
        }
        Ok(())
    }

    /// One in four goes for one of a few keys.
    fn choose(&mut self, len: u32) -> Result<u32> {
        let keys = u64::from(self.journal.keys - len + 1);
        let bound = if self.random.one_in(4) { keys.min(64) } else { keys };
        Ok(u32::try_from(self.random.below(bound))?)
    }

    fn slot(&self, index: u32) -> Result<Slot> {
        Ok(self.slots[usize::try_from(index)?])
    }

    fn change(&mut self, len: u32) -> Result<()> {
        let start = self.choose(len)?;
        let next = |index| Ok::<_, crate::Failure>(self.slot(index)?.version + 1);
        let versions = (start..start + len).map(next).collect::<Result<_>>()?;
        let expires_ms = wall_ms() + self.random.between(TTL_MS.start, TTL_MS.end);
        let intent = Intent { op: self.op + 1, start, expires_ms, versions };

        self.journal.intend(&intent)?;
        if len == 1 {
            self.change_one(&intent)?;
        } else {
            self.change_together(&intent)?;
        }
        self.journal.acknowledge(intent.op)?;
        self.op = intent.op;
        for (index, &version) in (start..).zip(&intent.versions) {
            let slot = self.slot(index)?.after(self.journal.id(index), &intent, version);
            self.journal.set(index, slot)?;
            self.slots[usize::try_from(index)?] = slot;
        }
        self.counts.add("changes", intent.versions.len() as u64);
        Ok(())
    }

    fn mark(&self, index: u32, intent: &Intent, version: u64) -> Result<Mark> {
        let (id, slot) = (self.journal.id(index), self.slot(index)?);
        let since = slot.version - u64::from(slot.doubtful).min(slot.version);
        let expires_ms = slot.after(id, intent, version).expires_ms;
        Ok(Mark { id, version, since, op: intent.op, expires_ms })
    }

    fn change_one(&mut self, intent: &Intent) -> Result<()> {
        let (index, version) = (intent.start, intent.versions[0]);
        let (id, old) = (self.journal.id(index), self.slot(index)?);
        match id.kind(version) {
            Kind::Delete => self.delete(id, old),
            Kind::Put => {
                let value = self.mark(index, intent, version)?.value();
                self.put(id, old, &value)
            }
            Kind::Expiring => {
                let value = self.mark(index, intent, version)?.value();
                self.put_expiring(id, old, &value, at(intent.expires_ms))
            }
        }
    }

    fn change_together(&mut self, intent: &Intent) -> Result<()> {
        let mut batch = WriteBatch::new();
        for (index, &version) in (intent.start..).zip(&intent.versions) {
            let id = self.journal.id(index);
            if id.kind(version) == Kind::Delete {
                batch.delete(id.bytes());
                continue;
            }
            let mark = self.mark(index, intent, version)?;
            if mark.expires_ms > 0 {
                batch.put_with(id.bytes(), mark.value(), at(mark.expires_ms));
            } else {
                batch.put(id.bytes(), mark.value());
            }
        }
        self.counts.add("batches", 1);
        Ok(self.db.write(&batch)?)
    }

    fn delete(&mut self, id: KeyId, old: Slot) -> Result<()> {
        let key = id.bytes();
        if self.random.one_in(3) {
            let (taken, span) = Span::of(|| self.db.take(&key));
            return check(id, old, taken?.as_deref(), span);
        }
        let was_there = self.db.delete(&key)?;
        if old.expires_ms == 0 && was_there == id.is_absent_at(old.version) {
            return Err(format!("delete said {was_there} of {id:?} at {old:?}").into());
        }
        Ok(())
    }

    fn put(&mut self, id: KeyId, old: Slot, value: &[u8]) -> Result<()> {
        let (db, key) = (self.db, id.bytes());
        let was_absent = id.is_absent_at(old.version);
        let lasts = !was_absent && old.expires_ms == 0;
        if value.len() >= STREAMED_LEN && !self.random.one_in(4) {
            self.counts.add("streams", 1);
            return Ok(db.put_reader(&key, value.len() as u64, value)?);
        }
        match self.random.below(8) {
            0 => {
                let (previous, span) = Span::of(|| db.get_and_set(&key, value));
                check(id, old, previous?.as_deref(), span)
            }
            1 if lasts => {
                let current = db.get(&key)?;
                let swapped = db.compare_and_swap(&key, current.as_deref(), Some(value))?;
                expect(swapped, id, "nobody else changes it, and it was not swapped")
            }
            2 if was_absent => {
                expect(db.put_if_absent(&key, value)?, id, "it was absent, and was not put")
            }
            // It would keep the expiry of what was there.
            3 if old.expires_ms == 0 => {
                let (mut checked, span) = (Ok(()), Span { from_ms: 0, to_ms: u64::MAX / 2 });
                db.update(&key, |current| {
                    checked = check(id, old, current, span);
                    Some(value.to_vec())
                })?;
                checked
            }
            _ => Ok(db.put(&key, value)?),
        }
    }

    fn put_expiring(&mut self, id: KeyId, old: Slot, value: &[u8], at: Expiry) -> Result<()> {
        let key = id.bytes();
        if value.len() >= STREAMED_LEN {
            self.counts.add("streams", 1);
            return Ok(self.db.put_reader_with(&key, value.len() as u64, value, at)?);
        }
        if id.is_absent_at(old.version) && self.random.one_in(3) {
            let put = self.db.put_if_absent_with(&key, value, at)?;
            return expect(put, id, "it was absent, and was not put");
        }
        Ok(self.db.put_with(&key, value, at)?)
    }

    fn read_one(&mut self) -> Result<()> {
        let index = self.choose(1)?;
        let (id, slot) = (self.journal.id(index), self.slot(index)?);
        let (found, span) = Span::of(|| self.db.get(&id.bytes()));
        check(id, slot, found?.as_deref(), span)?;
        if slot.expires_ms == 0 {
            let contains = self.db.contains(&id.bytes())?;
            expect(contains != id.is_absent_at(slot.version), id, "contains is not what get is")?;
        }
        Ok(())
    }

    fn read_many(&mut self) -> Result<()> {
        let chosen = (0..self.random.between(1, ASKED_AT_ONCE)).map(|_| self.choose(1));
        let chosen = chosen.collect::<Result<Vec<_>>>()?;
        let keys: Vec<_> = chosen.iter().map(|&index| self.journal.id(index).bytes()).collect();
        let (found, span) = Span::of(|| self.db.get_many(&keys));
        for (&index, value) in chosen.iter().zip(found?) {
            check(self.journal.id(index), self.slot(index)?, value.as_deref(), span)?;
        }
        Ok(())
    }

    /// All own keys at once: only this thread changes them.
    fn read_all(&mut self) -> Result<()> {
        let prefix = format!("w{}/", self.journal.worker);
        let from_ms = wall_ms();
        let mut found = std::collections::HashMap::new();
        for entry in self.db.prefix(prefix.as_bytes()) {
            let (key, value) = entry?;
            found.insert(key, value);
        }
        let span = Span { from_ms, to_ms: wall_ms() };
        for (index, &slot) in (0..).zip(&self.slots) {
            let id = self.journal.id(index);
            check(id, slot, found.remove(&id.bytes()).as_deref(), span)?;
        }
        self.counts.add("scans", 1);
        expect(found.is_empty(), self.journal.id(0), "a prefix has keys that nobody put")
    }

    fn read_stream(&mut self) -> Result<()> {
        let index = self.choose(1)?;
        let (id, slot) = (self.journal.id(index), self.slot(index)?);
        let (reader, span) = Span::of(|| self.db.get_reader(&id.bytes()));
        let mut value = Vec::new();
        let found = match reader? {
            Some(mut reader) => {
                std::io::Read::read_to_end(&mut reader, &mut value)?;
                Some(&*value)
            }
            None => None,
        };
        check(id, slot, found, span)
    }
}

fn at(ms: u64) -> Expiry {
    Expiry::At(UNIX_EPOCH + Duration::from_millis(ms))
}

fn expect(is_so: bool, id: KeyId, otherwise: &str) -> Result<()> {
    if is_so { Ok(()) } else { Err(format!("{id:?}: {otherwise}").into()) }
}
