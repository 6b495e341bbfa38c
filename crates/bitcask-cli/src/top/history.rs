//! The last minutes, second by second, for plots.
//!
//! Seconds are those in which something happened, not those in which it was heard of: what a process tells late fills the
//! time since it last told.

use std::collections::BTreeMap;

use super::rates::PerSecond;

/// A plot shows at least so much.
const SHOWN_S: u64 = 120;
/// No screen shows more.
const SECONDS_MAX: u64 = 600;

#[derive(Clone, Debug, Default)]
pub(crate) struct History(BTreeMap<u64, PerSecond>);

/// A part of the past, for so many columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    columns: u64,
    /// Seconds in a column.
    step: u64,
    /// The last column.
    last: u64,
}

impl Window {
    /// Up to the second that holds a time.
    pub(crate) fn until(now_ms: u64, columns: usize) -> Self {
        let columns = (columns as u64).clamp(1, SECONDS_MAX);
        let step = SHOWN_S.div_ceil(columns);
        // Columns begin at multiples of their length, or their heights would change while they move.
        Self { columns, step, last: now_ms / 1000 / step }
    }

    /// How much it shows.
    pub(crate) fn seconds(self) -> u64 {
        self.columns * self.step
    }

    fn first(self) -> u64 {
        (self.last + 1).saturating_sub(self.columns)
    }
}

impl History {
    /// From one time to another it went like this.
    pub(crate) fn fill(&mut self, from_ms: u64, to_ms: u64, per_second: PerSecond) {
        let (from, to) = (from_ms / 1000, to_ms / 1000);
        // A clock was set back: what came after has not happened yet.
        drop(self.0.split_off(&(to + 1)));
        let first = (from + 1).min(to).max((to + 1).saturating_sub(SECONDS_MAX));
        self.0.extend((first..=to).map(|second| (second, per_second)));
        while self.0.len() as u64 > SECONDS_MAX {
            self.0.pop_first();
        }
    }

    /// The mean of each column; none where nothing is known.
    pub(crate) fn columns(&self, kind: usize, window: Window) -> Vec<Option<f64>> {
        let column = |column: u64| {
            let seconds = column * window.step..(column + 1) * window.step;
            let (sum, count) = self
                .0
                .range(seconds)
                .fold((0.0, 0_u32), |(sum, count), (_, rates)| (sum + rates[kind], count + 1));
            (count > 0).then(|| sum / f64::from(count))
        };
        let missing = (window.first()..=window.last).count();
        let missing = usize::try_from(window.columns).map_or(0, |all| all.saturating_sub(missing));
        let known = (window.first()..=window.last).map(column);
        std::iter::repeat_n(None, missing).chain(known).collect()
    }

    /// The most that there was in a second.
    pub(crate) fn peak(&self, kind: usize, window: Window) -> Option<f64> {
        let from = window.first() * window.step;
        self.0.range(from..).map(|(_, rates)| rates[kind]).max_by(f64::total_cmp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gets(rate: f64) -> PerSecond {
        let mut rates = PerSecond::default();
        rates[0] = rate;
        rates
    }

    #[test]
    fn a_column_is_the_mean_of_its_seconds() {
        let mut history = History::default();
        history.fill(1_000_000, 1_001_000, gets(10.0));
        history.fill(1_001_000, 1_005_000, gets(40.0));
        // Seconds 1001 to 1005, three in a column: [999, 1002), [1002, 1005), [1005, 1008).
        let window = Window::until(1_006_500, 40);
        assert_eq!((window.seconds(), window.last), (120, 335));
        let columns = history.columns(0, window);
        assert_eq!(columns.len(), 40);
        assert_eq!(columns[36..], [None, Some(10.0), Some(40.0), Some(40.0)]);
        assert_eq!(history.columns(1, window)[37..], [Some(0.0); 3]);
        assert_eq!((history.peak(0, window), history.peak(1, window)), (Some(40.0), Some(0.0)));
        // Later it has moved to the left, and at last out of sight.
        assert_eq!(history.columns(0, Window::until(1_009_000, 40))[38..], [Some(40.0), None]);
        let later = Window::until(1_200_000, 40);
        assert!(history.columns(0, later).iter().all(Option::is_none));
        assert_eq!(history.peak(0, later), None);
    }

    #[test]
    fn what_is_told_often_counts_for_its_second_and_what_is_old_goes() {
        let mut history = History::default();
        history.fill(5_100, 5_200, gets(1.0));
        history.fill(5_200, 5_300, gets(2.0));
        let window = Window::until(5_900, 500);
        assert_eq!((window.step, history.columns(0, window).len()), (1, 500));
        assert_eq!(history.columns(0, window).last(), Some(&Some(2.0)));
        history.fill(5_300, 10_000_000, gets(3.0));
        assert_eq!(history.0.len() as u64, SECONDS_MAX);
        assert_eq!(history.0.first_key_value().map(|(second, _)| *second), Some(9401));
        // The clock is set back.
        history.fill(9_500_000, 9_501_000, gets(4.0));
        assert_eq!(history.0.last_key_value(), Some((&9501, &gets(4.0))));
    }
}
