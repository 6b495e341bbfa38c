//! What a store should hold: a map with expiries, and the time by which they count.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bitcask::Expiry;
use bitcask::fs::Clock;
use bitcask::fs::sim::SimClock;

pub(super) type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// The expiry of what never expires.
pub(super) const NEVER: u64 = u64::MAX;

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) value: Vec<u8>,
    pub(super) expires_ms: u64,
}

/// A map whose entries expire. Its time is that of an open store: it goes with the monotonic clock, and forward with the
/// wall clock, never back.
#[derive(Debug)]
pub(super) struct Expected {
    entries: BTreeMap<Vec<u8>, Entry>,
    clock: SimClock,
    ahead_ms: u64,
}

pub(super) fn at(ms: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(ms)
}

impl Expected {
    pub(super) fn new(clock: SimClock) -> Self {
        let mut expected = Self { entries: BTreeMap::new(), clock, ahead_ms: 0 };
        expected.look_at_clock();
        expected
    }

    fn monotonic_ms(&self) -> u64 {
        self.clock.monotonic_ns() / 1_000_000
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.monotonic_ms() + self.ahead_ms
    }

    /// The wall clock was moved, and the store was asked for something.
    pub(super) fn look_at_clock(&mut self) {
        let ahead_ms = self.clock.wall_ms().saturating_sub(self.monotonic_ms());
        self.ahead_ms = self.ahead_ms.max(ahead_ms);
    }

    /// The store was opened anew, and says what time it is. What had expired is gone for good.
    pub(super) fn reopened_at(&mut self, now_ms: u64) {
        let before_ms = self.now_ms();
        assert!(now_ms >= self.clock.wall_ms(), "not before what the clock says");
        assert!(now_ms <= before_ms.max(self.clock.wall_ms()), "time does not leap");
        self.entries.retain(|key, entry| {
            let expired = entry.expires_ms <= before_ms;
            let still = entry.expires_ms <= now_ms;
            assert!(!expired || still, "{} would come back", key.escape_ascii());
            !expired
        });
        self.ahead_ms = now_ms - self.monotonic_ms();
    }

    /// The number that the store makes of an expiry.
    pub(super) fn expiry_ms(&self, expiry: Expiry) -> u64 {
        match expiry {
            Expiry::Never => NEVER,
            Expiry::After(ttl) => self.now_ms() + u64::try_from(ttl.as_millis()).unwrap(),
            Expiry::At(time) => {
                u64::try_from(time.duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
            }
        }
    }

    pub(super) fn entry(&self, key: &[u8]) -> Option<&Entry> {
        self.entries.get(key).filter(|entry| entry.expires_ms > self.now_ms())
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.entry(key).map(|entry| &entry.value[..])
    }

    pub(super) fn has(&self, key: &[u8]) -> bool {
        self.entry(key).is_some()
    }

    pub(super) fn put(&mut self, key: Vec<u8>, value: Vec<u8>, expires_ms: u64) {
        self.entries.insert(key, Entry { value, expires_ms });
    }

    /// Gives what was there.
    pub(super) fn remove(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        let was_there = self.has(key);
        self.entries.remove(key).filter(|_| was_there).map(|entry| entry.value)
    }

    /// Stores a value and leaves the expiry as it is; no value removes the key.
    pub(super) fn set(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        let expires_ms = self.entry(&key).map_or(NEVER, |entry| entry.expires_ms);
        match value {
            Some(value) => self.put(key, value, expires_ms),
            None => drop(self.remove(&key)),
        }
    }

    /// What is there now.
    pub(super) fn map(&self) -> Map {
        let now_ms = self.now_ms();
        let there = self.entries.iter().filter(|(_, entry)| entry.expires_ms > now_ms);
        there.map(|(key, entry)| (key.clone(), entry.value.clone())).collect()
    }

    pub(super) fn len(&self) -> u64 {
        let now_ms = self.now_ms();
        self.entries.values().filter(|entry| entry.expires_ms > now_ms).count() as u64
    }

    /// Keys that will expire.
    pub(super) fn expiring(&self) -> u64 {
        let now_ms = self.now_ms();
        let expiries = self.entries.values().map(|entry| entry.expires_ms);
        expiries.filter(|&expires_ms| expires_ms > now_ms && expires_ms < NEVER).count() as u64
    }

    /// When some key expires that has not yet.
    pub(super) fn next_expiry_ms(&self) -> Option<u64> {
        let now_ms = self.now_ms();
        let expiries = self.entries.values().map(|entry| entry.expires_ms);
        expiries.filter(|&expires_ms| expires_ms > now_ms && expires_ms < NEVER).min()
    }
}
