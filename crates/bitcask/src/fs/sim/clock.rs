//! A clock that stands still until a test moves it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::fs::Clock;

/// A clock set by hand. Clones show the same time.
#[derive(Clone, Debug, Default)]
pub struct SimClock(Arc<Hands>);

#[derive(Debug, Default)]
struct Hands {
    wall_ms: AtomicU64,
    monotonic_ns: AtomicU64,
}

impl SimClock {
    /// A clock whose wall time is `wall_ms`; its monotonic time starts at 0.
    pub fn new(wall_ms: u64) -> Self {
        let clock = Self::default();
        clock.set_wall_ms(wall_ms);
        clock
    }

    /// Lets time pass on both clocks. The wall clock moves by whole milliseconds.
    pub fn advance(&self, by: Duration) {
        let ns = u64::try_from(by.as_nanos()).expect("a test lasts less than 500 years");
        self.0.monotonic_ns.fetch_add(ns, Ordering::SeqCst);
        self.0.wall_ms.fetch_add(ns / 1_000_000, Ordering::SeqCst);
    }

    /// Sets the wall clock, to the past if you like; the monotonic clock does not notice.
    pub fn set_wall_ms(&self, wall_ms: u64) {
        self.0.wall_ms.store(wall_ms, Ordering::SeqCst);
    }

    /// Steps the wall clock, backwards when negative (not before 1970); the monotonic clock does not notice.
    pub fn step_wall_ms(&self, by: i64) {
        self.set_wall_ms(self.wall_ms().saturating_add_signed(by));
    }
}

impl Clock for SimClock {
    fn wall_ms(&self) -> u64 {
        self.0.wall_ms.load(Ordering::SeqCst)
    }

    fn monotonic_ns(&self) -> u64 {
        self.0.monotonic_ns.load(Ordering::SeqCst)
    }
}
