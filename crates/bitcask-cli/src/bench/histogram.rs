//! Times of very many operations in little memory: counts by size, sixteen steps to each power of two.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Steps between a power of two and the next: a time is known to a sixteenth.
const STEPS_LOG: u32 = 4;
const STEPS: u64 = 1 << STEPS_LOG;
/// Below two powers' worth of steps each time has its own count.
const BUCKETS: usize = ((64 - STEPS_LOG as usize) + 1) << STEPS_LOG;

/// Counts that one thread adds to while another looks.
#[derive(Debug)]
pub(crate) struct Recorder {
    counts: Box<[AtomicU64]>,
    max_ns: AtomicU64,
}

impl Recorder {
    pub(crate) fn new() -> Self {
        let counts = (0..BUCKETS).map(|_| AtomicU64::new(0)).collect();
        Self { counts, max_ns: AtomicU64::new(0) }
    }

    pub(crate) fn record(&self, time: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        if let Some(count) = self.counts.get(bucket(ns)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.max_ns.fetch_max(ns, Ordering::Relaxed);
    }
}

/// Counts that are looked at.
#[derive(Clone, Debug)]
pub(crate) struct Times {
    counts: Vec<u64>,
    max_ns: u64,
}

impl Times {
    pub(crate) fn new() -> Self {
        Self { counts: vec![0; BUCKETS], max_ns: 0 }
    }

    pub(crate) fn add(&mut self, recorder: &Recorder) {
        for (sum, count) in self.counts.iter_mut().zip(&recorder.counts) {
            *sum += count.load(Ordering::Relaxed);
        }
        self.max_ns = self.max_ns.max(recorder.max_ns.load(Ordering::Relaxed));
    }

    pub(crate) fn and(&self, other: &Self) -> Self {
        let counts = self.counts.iter().zip(&other.counts).map(|(a, b)| a + b).collect();
        Self { counts, max_ns: self.max_ns.max(other.max_ns) }
    }

    pub(crate) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub(crate) fn max_ns(&self) -> u64 {
        self.max_ns
    }

    /// A time that this many of a thousand did not exceed, at most a sixteenth too long; 0 if there is none.
    pub(crate) fn permille_ns(&self, part: u64) -> u64 {
        let rank = u128::from(self.count()) * u128::from(part);
        let mut seen = 0;
        for (bucket, &count) in self.counts.iter().enumerate() {
            seen += count;
            if seen > 0 && u128::from(seen) * 1000 >= rank {
                return last_ns(bucket).min(self.max_ns);
            }
        }
        0
    }

    /// How many took less than each power of two in nanoseconds, and not less than the one before: the powers' logarithms, with
    /// their counts, from the first to the last that has any.
    pub(crate) fn by_powers(&self) -> Vec<(u32, u64)> {
        let mut powers = vec![0; 65];
        for (bucket, &count) in self.counts.iter().enumerate() {
            let log = 64 - last_ns(bucket).leading_zeros();
            if let Some(sum) = powers.get_mut(log as usize) {
                *sum += count;
            }
        }
        let mut powers: Vec<_> = (0..).zip(powers).skip_while(|&(_, count)| count == 0).collect();
        while powers.last().is_some_and(|&(_, count)| count == 0) {
            powers.pop();
        }
        powers
    }
}

/// Where a time is counted.
fn bucket(ns: u64) -> usize {
    let shift = (63 - (ns | STEPS).leading_zeros()) - STEPS_LOG;
    // The highest bits of a time, below twice the steps, after those of all smaller powers.
    let bucket = u64::from(shift) * STEPS + (ns >> shift);
    usize::try_from(bucket).unwrap_or(BUCKETS)
}

/// The longest time that is counted there.
fn last_ns(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let shift = (bucket >> STEPS_LOG).saturating_sub(1);
    let first = bucket - shift * STEPS;
    (first << shift) | ((1 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(ns: impl IntoIterator<Item = u64>) -> Times {
        let recorder = Recorder::new();
        ns.into_iter().for_each(|ns| recorder.record(Duration::from_nanos(ns)));
        let mut times = Times::new();
        times.add(&recorder);
        times
    }

    #[test]
    fn buckets_follow_each_other_without_a_gap() {
        assert_eq!(bucket(0), 0);
        for at in 0..BUCKETS - 1 {
            let last = last_ns(at);
            assert_eq!((bucket(last), bucket(last + 1)), (at, at + 1), "{last}");
        }
        assert_eq!((bucket(u64::MAX), last_ns(BUCKETS - 1)), (BUCKETS - 1, u64::MAX));
    }

    #[test]
    fn a_quantile_is_at_most_a_sixteenth_too_long() {
        let all = times(1..=100_000);
        assert_eq!((all.count(), all.max_ns()), (100_000, 100_000));
        for (part, exact) in [(500, 50_000), (950, 95_000), (990, 99_000), (999, 99_900)] {
            let said = all.permille_ns(part);
            assert!((exact..=exact + exact / 16).contains(&said), "{part}: {said}");
        }
        assert_eq!(all.permille_ns(1000), 100_000);
        assert_eq!(times([]).permille_ns(500), 0);
        assert_eq!(times([7]).permille_ns(0), 7);
    }

    #[test]
    fn powers_of_two_hold_what_is_below_them() {
        assert_eq!(times([]).by_powers(), []);
        assert_eq!(times([1, 4, 7, 8, 31]).by_powers(), [(1, 1), (2, 0), (3, 2), (4, 1), (5, 1)]);
        assert_eq!(times([0, u64::MAX]).and(&times([0])).by_powers().len(), 65);
    }
}
