//! What happened between two times that a process told what it counts.

use bitcask::{Latency, Stats};

use super::source::Process;

/// What is counted, in the order in which it is shown.
pub(crate) const KINDS: [&str; 7] =
    ["gets", "puts", "deletes", "batches", "transactions", "conflicts", "syncs"];
/// What is timed, likewise.
pub(crate) const TIMED: [&str; 3] = ["puts", "gets", "syncs"];
/// The parts of all times that are shown: none is longer than the last.
const PARTS: [f64; 4] = [0.5, 0.99, 0.999, 1.0];

/// Operations a second, of each kind.
pub(crate) type PerSecond = [f64; KINDS.len()];

/// How long operations took: the times that the parts did not exceed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Times {
    /// How many were timed.
    pub(crate) count: u64,
    pub(crate) ns: [u64; PARTS.len()],
}

impl Times {
    fn of(latency: &Latency) -> Self {
        Self { count: latency.count(), ns: PARTS.map(|part| latency.quantile_ns(part)) }
    }

    /// Those of the time since the store was opened.
    pub(crate) fn all(stats: &Stats) -> [Self; TIMED.len()] {
        latencies(stats).map(Self::of)
    }
}

/// The default: nothing happened.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Rates {
    /// The time between.
    pub(crate) over_ms: u64,
    pub(crate) per_second: PerSecond,
    pub(crate) times: [Times; TIMED.len()],
    /// How fast the merge that runs reads, in bytes a second.
    pub(crate) merge_bytes: f64,
}

impl Rates {
    /// None if no time lies between, or the store was opened anew.
    pub(crate) fn between(
        (earlier, before): (&Process, &Stats),
        (later, now): (&Process, &Stats),
    ) -> Option<Self> {
        let over_ms = later.at_ms.checked_sub(earlier.at_ms).filter(|&ms| ms > 0)?;
        let (counts_before, counts) = (counts(before), counts(now));
        let fell = counts_before.iter().zip(&counts).any(|(before, now)| now < before);
        if earlier.id != later.id || fell {
            return None;
        }
        let rate =
            |before: u64, now: u64| now.saturating_sub(before) as f64 * 1000.0 / over_ms as f64;
        let [earlier_times, times] = [latencies(before), latencies(now)];
        let merge_bytes = match (&before.merge, &now.merge) {
            (Some(before), Some(now)) => rate(before.bytes_read, now.bytes_read),
            (None, Some(now)) => rate(0, now.bytes_read),
            _ => 0.0,
        };
        Some(Self {
            over_ms,
            per_second: std::array::from_fn(|kind| rate(counts_before[kind], counts[kind])),
            times: std::array::from_fn(|kind| Times::of(&times[kind].since(earlier_times[kind]))),
            merge_bytes,
        })
    }
}

/// How much there was of each kind since the store was opened.
pub(crate) fn counts(stats: &Stats) -> [u64; KINDS.len()] {
    [
        stats.gets,
        stats.puts,
        stats.deletes,
        stats.batches,
        stats.transactions,
        stats.conflicts,
        stats.syncs,
    ]
}

fn latencies(stats: &Stats) -> [&Latency; TIMED.len()] {
    [&stats.put_latency, &stats.get_latency, &stats.sync_latency]
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{Writer, process};
    use super::*;

    #[test]
    fn counts_become_rates_over_the_time_between() {
        let writer = Writer::new();
        let mut now = writer.stats();
        let before = now.clone();
        now.gets += 3000;
        now.puts += 1;
        now.syncs += 10;
        let rates = Rates::between((&process(10_000), &before), (&process(12_000), &now)).unwrap();
        assert_eq!(rates.over_ms, 2000);
        assert_eq!(rates.per_second, [1500.0, 0.5, 0.0, 0.0, 0.0, 0.0, 5.0]);
        assert_eq!(rates.times, <[Times; 3]>::default());
    }

    #[test]
    fn times_are_those_between() {
        let writer = Writer::new();
        writer.put(64 * 4);
        let before = writer.stats();
        writer.put(64 * 6);
        let now = writer.stats();
        let [all, ..] = Times::all(&now);
        let rates = Rates::between((&process(1000), &before), (&process(2000), &now)).unwrap();
        let [times, ..] = rates.times;
        assert!(before.put_latency.count() > 0 && times.count > 0, "{times:?}");
        assert_eq!(times.count, now.put_latency.count() - before.put_latency.count());
        assert_eq!(all.count, now.put_latency.count());
        assert!(times.ns.is_sorted() && times.ns[0] > 0 && all.ns[3] >= times.ns[3], "{times:?}");
    }

    #[test]
    fn a_store_that_was_opened_anew_has_no_rates_yet() {
        let writer = Writer::new();
        let (mut before, now) = (writer.stats(), writer.stats());
        let at = |ms| process(ms);
        assert!(Rates::between((&at(1000), &before), (&at(1000), &now)).is_none());
        assert!(Rates::between((&at(2000), &before), (&at(1000), &now)).is_none());
        let other = Process { id: 2, ..at(2000) };
        assert!(Rates::between((&at(1000), &before), (&other, &now)).is_none());
        before.puts = now.puts + 1;
        assert!(Rates::between((&at(1000), &before), (&at(2000), &now)).is_none());
    }

    #[test]
    fn a_merge_is_as_fast_as_it_reads() {
        let writer = Writer::new();
        let merging = |bytes_read| {
            let mut stats = writer.stats();
            stats.merge.get_or_insert_default().bytes_read = bytes_read;
            stats
        };
        let rate = |before: &Stats, now: &Stats| {
            Rates::between((&process(1000), before), (&process(3000), now)).unwrap().merge_bytes
        };
        assert_eq!(rate(&merging(1000), &merging(5000)), 2000.0);
        assert_eq!(rate(&writer.stats(), &merging(5000)), 2500.0);
        // A new step has begun.
        assert_eq!(rate(&merging(5000), &merging(1000)), 0.0);
        assert_eq!(rate(&merging(5000), &writer.stats()), 0.0);
    }
}
