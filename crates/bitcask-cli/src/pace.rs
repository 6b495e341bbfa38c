//! Not faster than so many bytes a second.

use std::time::{Duration, Instant};

pub(crate) struct Pace {
    rate: Option<u64>,
    started: Instant,
}

impl Pace {
    pub(crate) fn new(rate: Option<u64>) -> Self {
        Self { rate, started: Instant::now() }
    }

    /// Waits until so many bytes are due.
    pub(crate) fn reach(&self, bytes: u64) {
        let Some(rate) = self.rate else { return };
        let due = Duration::from_secs_f64(bytes as f64 / rate as f64);
        crate::terminal::pause(due.saturating_sub(self.started.elapsed()));
    }
}
