//! Expiry: what time it is for a store, and what is due when.
//!
//! A record carries the moment of its expiry, and a get sees it there; so a key is gone at its time, whether or not
//! anything was done about it. Doing something is [`Engine::drop_expired`]: it takes what is due out of the keydir.
//! From then on the record is dead, and merge gives its bytes back. Until then it hides older records of its key as a
//! tombstone does, and merge makes a tombstone of it where it still has something to hide.
//!
//! A key that was once seen to be gone must not come back because somebody turned the clock back. So the time of a
//! store never goes back: not while it is open, because it then follows the monotonic clock, and not from one opening
//! to the next, because marks in the log say what time it was.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::directory::{Directory, Found};
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::Clock;
use crate::record::NEVER;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, lock};

/// Keys that are dropped while the writer waits.
const DROPPED_AT_ONCE: usize = 64;

/// When a key expires.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expiry {
    /// It stays until it is deleted.
    #[default]
    Never,
    /// So long after the call.
    After(Duration),
    /// At this time.
    At(SystemTime),
}

impl From<Duration> for Expiry {
    fn from(ttl: Duration) -> Self {
        Self::After(ttl)
    }
}

impl From<SystemTime> for Expiry {
    fn from(time: SystemTime) -> Self {
        Self::At(time)
    }
}

impl Expiry {
    pub(crate) fn to_ms(self, time: &StoreTime) -> u64 {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(NEVER);
        match self {
            Self::Never => NEVER,
            Self::After(ttl) => time.now_ms().saturating_add(ms(ttl)).min(NEVER - 1),
            Self::At(time) => time.duration_since(UNIX_EPOCH).map_or(0, ms).min(NEVER - 1),
        }
    }

    pub(crate) fn from_ms(expires_ms: u64) -> Self {
        let time = UNIX_EPOCH.checked_add(Duration::from_millis(expires_ms));
        match time {
            Some(time) if expires_ms != NEVER => Self::At(time),
            _ => Self::Never,
        }
    }
}

/// What time it is for a store. Never goes back.
#[derive(Debug)]
pub(crate) struct StoreTime {
    clock: Arc<dyn Clock>,
    /// How far the wall clock was ahead of the monotonic one, at most.
    ahead_ms: AtomicU64,
    /// The latest expiry that anybody was told of.
    seen_passed: AtomicU64,
}

impl StoreTime {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, ahead_ms: AtomicU64::new(0), seen_passed: AtomicU64::new(0) }
    }

    /// Milliseconds since 1970.
    pub(crate) fn now_ms(&self) -> u64 {
        // In this order: a thread that is held up in between takes the wall clock to be less far ahead, and not more,
        // which it would remain.
        let wall_ms = self.clock.wall_ms();
        self.go_on_from(wall_ms, self.clock.monotonic_ns() / 1_000_000)
    }

    /// Takes note that it has been `time_ms` already.
    pub(crate) fn not_before(&self, time_ms: u64) {
        let now_ms = self.go_on_from(time_ms, self.clock.monotonic_ns() / 1_000_000);
        if now_ms.saturating_sub(self.clock.wall_ms()) > 24 * 3600 * 1000 {
            tracing::warn!(
                now_ms,
                "the clock is behind what the store has seen; its time goes on from there"
            );
        }
    }

    fn go_on_from(&self, time_ms: u64, monotonic_ms: u64) -> u64 {
        let ahead_ms = time_ms.saturating_sub(monotonic_ms);
        let known = self.ahead_ms.load(Ordering::Relaxed);
        if ahead_ms > known {
            self.ahead_ms.fetch_max(ahead_ms, Ordering::Relaxed);
        }
        monotonic_ms.saturating_add(known.max(ahead_ms))
    }

    pub(crate) fn has_passed(&self, expires_ms: u64) -> bool {
        expires_ms != NEVER && self.had_passed(expires_ms, self.now_ms())
    }

    /// Whether it had passed at `time_ms`, which has been.
    pub(crate) fn had_passed(&self, expires_ms: u64, time_ms: u64) -> bool {
        let passed = expires_ms <= time_ms;
        if passed {
            self.seen_passed.fetch_max(expires_ms, Ordering::Relaxed);
        }
        passed
    }

    /// The latest expiry that anybody was told of: the log should say that it has been that late.
    pub(crate) fn seen_passed_ms(&self) -> u64 {
        self.seen_passed.load(Ordering::Relaxed)
    }
}

/// What is due when: expiry and hash of every key of the keydir that expires. Changed by the one writer.
#[derive(Debug)]
pub(crate) struct Expiries {
    by_time: Mutex<BTreeMap<(u64, u64), u32>>,
    /// The first expiry, so that who has nothing to do need not lock.
    next_due_ms: AtomicU64,
}

impl Default for Expiries {
    fn default() -> Self {
        Self { by_time: Mutex::default(), next_due_ms: AtomicU64::new(NEVER) }
    }
}

impl Expiries {
    #[inline]
    pub(crate) fn add(&self, expires_ms: u64, hash: u64) {
        if expires_ms != NEVER {
            *lock(&self.by_time).entry((expires_ms, hash)).or_insert(0) += 1;
            self.next_due_ms.fetch_min(expires_ms, Ordering::Relaxed);
        }
    }

    #[inline]
    pub(crate) fn remove(&self, expires_ms: u64, hash: u64) {
        if expires_ms != NEVER {
            self.take_out(expires_ms, hash);
        }
    }

    fn take_out(&self, expires_ms: u64, hash: u64) {
        let mut by_time = lock(&self.by_time);
        if let Some(count) = by_time.get_mut(&(expires_ms, hash)) {
            *count -= 1;
            if *count == 0 {
                by_time.remove(&(expires_ms, hash));
            }
        }
        self.note_next(&by_time);
    }

    pub(crate) fn clear(&self) {
        lock(&self.by_time).clear();
        self.next_due_ms.store(NEVER, Ordering::Relaxed);
    }

    /// When the next key expires.
    pub(crate) fn next_due_ms(&self) -> u64 {
        self.next_due_ms.load(Ordering::Relaxed)
    }

    /// Keys that expire.
    pub(crate) fn len(&self) -> u64 {
        lock(&self.by_time).values().map(|&count| u64::from(count)).sum()
    }

    /// Keys that are due at `time_ms`.
    pub(crate) fn due_count(&self, time_ms: u64) -> u64 {
        if self.next_due_ms() > time_ms {
            return 0;
        }
        let due = (time_ms + 1, 0);
        lock(&self.by_time).range(..due).map(|(_, &count)| u64::from(count)).sum()
    }

    /// Some that are due, from the first behind `after` on.
    fn due(&self, after: Option<(u64, u64)>, now_ms: u64) -> Vec<(u64, u64)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let by_time = lock(&self.by_time);
        let due = by_time.range((from, Bound::Unbounded)).map(|(&due, _)| due);
        due.take_while(|&(expires_ms, _)| expires_ms <= now_ms).take(DROPPED_AT_ONCE).collect()
    }

    fn note_next(&self, by_time: &BTreeMap<(u64, u64), u32>) {
        let next = by_time.first_key_value().map_or(NEVER, |(&(expires_ms, _), _)| expires_ms);
        self.next_due_ms.store(next, Ordering::Relaxed);
    }
}

impl Directory {
    /// Takes some keys that have expired out of the keydir, from the first behind `after` on; gives the last, or none if
    /// there are no more. The writer is locked, and will use `next_seq` next.
    ///
    /// What cannot be read stays, to be tried again; it does not keep others from being dropped.
    pub(crate) fn drop_some_expired(
        &self,
        after: Option<(u64, u64)>,
        next_seq: u64,
        failure: &mut Option<Error>,
    ) -> Option<(u64, u64)> {
        let due = self.expiries.due(after, self.time.now_ms());
        for &(expires_ms, hash) in &due {
            if let Err(e) = self.drop_at(expires_ms, hash, next_seq) {
                failure.get_or_insert(e);
            }
        }
        due.last().copied()
    }

    /// Drops the keys of this hash that expire then.
    fn drop_at(&self, expires_ms: u64, hash: u64, next_seq: u64) -> Result<()> {
        // Merge may move one meanwhile. The next look needs a guard of its own: merge waits for this one.
        while !self.try_drop_at(expires_ms, hash, next_seq)? {}
        Ok(())
    }

    /// Gives false if one is no longer where it was found.
    fn try_drop_at(&self, expires_ms: u64, hash: u64, next_seq: u64) -> Result<bool> {
        let table = self.files.guard();
        let mut scratch = Vec::new();
        for place in self.keydir.candidates(hash).iter() {
            let record = table.file(place).record_unchecked(place, &mut scratch)?;
            if record.expires_ms != expires_ms || self.hash(record.key) != hash {
                continue;
            }
            let found = Found::of(place, &record);
            if !self.take_out(hash, record.key, found, next_seq) {
                return Ok(false);
            }
            self.bury(&table, found);
        }
        Ok(true)
    }
}

impl Engine {
    /// Takes keys that have expired out of the keydir, and counts their records as dead.
    pub(crate) fn drop_expired(&self) -> Result<()> {
        let dir = &self.dir;
        let (mut after, mut failure) = (None, None);
        while dir.time.has_passed(dir.expiries.next_due_ms()) {
            let writer = lock(&self.writer);
            let last = dir.drop_some_expired(after, writer.next_seq, &mut failure);
            if last.is_none() {
                break;
            }
            after = last;
        }
        failure.map_or(Ok(()), Err)
    }

    /// Has the log say what time it is, if a key was seen to have expired since it last did.
    pub(crate) fn note_time(&self) -> Result<()> {
        lock(&self.writer).mark_time(&self.dir)
    }

    /// The same before a merge, which is to make space where there may be none.
    pub(crate) fn note_time_if_room(&self) -> Result<()> {
        self.note_time().or_else(|e| if e.kind() == ErrorKind::Full { Ok(()) } else { Err(e) })
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;

    /// A clock that has gone on by an hour whenever somebody looks again, as for a thread that was held up.
    #[derive(Debug, Default)]
    struct Hasty(AtomicU64);

    const HOUR_MS: u64 = 3_600_000;

    impl Clock for Hasty {
        fn wall_ms(&self) -> u64 {
            1_700_000_000_000 + self.0.fetch_add(HOUR_MS, Ordering::Relaxed)
        }

        fn monotonic_ns(&self) -> u64 {
            self.0.fetch_add(HOUR_MS, Ordering::Relaxed) * 1_000_000
        }
    }

    #[test]
    fn a_thread_that_is_held_up_between_two_clocks_does_not_set_the_time_ahead() {
        let clock = Arc::new(Hasty::default());
        let time = StoreTime::new(clock.clone());
        for _ in 0..10 {
            let now_ms = time.now_ms();
            assert!(now_ms <= clock.wall_ms(), "ahead");
        }
    }
}
