//! Medians and quantiles, and measurements of the store beside bare ones.

use std::time::{Duration, Instant};

use bitcask_random::whole;

use crate::Result;

/// The middle value, or the mean of the two middle ones.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// Times of single operations in nanoseconds, exact, without growing while they are taken.
#[derive(Debug)]
pub(crate) struct Latencies(Vec<u64>);

impl Latencies {
    /// Room for `count` times, its memory touched now and not when an operation is timed.
    pub(crate) fn with_room_for(count: u64) -> Self {
        let mut times = vec![1; index(count)];
        times.clear();
        Self(times)
    }

    /// Times `f`.
    pub(crate) fn time<T>(&mut self, f: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        let result = f();
        self.push(started.elapsed());
        result
    }

    pub(crate) fn push(&mut self, time: Duration) {
        self.0.push(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// The smallest times that the given parts of all did not exceed, in nanoseconds; 0 if there is none.
    pub(crate) fn quantiles<const N: usize>(mut self, parts: [f64; N]) -> [f64; N] {
        self.0.sort_unstable();
        parts.map(|part| quantile(&self.0, part) as f64)
    }
}

/// The smallest value that a part of all did not exceed: nearest rank. 0 if there is none.
fn quantile(sorted: &[u64], part: f64) -> u64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0 };
    let rank = whole((part * sorted.len() as f64).ceil());
    sorted[index(rank.saturating_sub(1)).min(last)]
}

/// Seconds that `f` took for each of `count` operations.
pub(crate) fn seconds_each(count: u64, f: impl FnOnce() -> Result<()>) -> Result<f64> {
    let started = Instant::now();
    f()?;
    Ok(started.elapsed().as_secs_f64() / count as f64)
}

/// Runs both in each round, the other one first in every second round, so that neither gains by its turn.
pub(crate) fn interleave<A, B>(
    rounds: usize,
    mut ours: impl FnMut() -> Result<A>,
    mut bare: impl FnMut() -> Result<B>,
) -> Result<Vec<(A, B)>> {
    let round = |number: usize| {
        if number.is_multiple_of(2) {
            let ours = ours()?;
            return Ok((ours, bare()?));
        }
        let bare = bare()?;
        Ok((ours()?, bare))
    };
    (0..rounds).map(round).collect()
}

/// What the store and the bare operation took, round by round.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    ours: Vec<f64>,
    bare: Vec<f64>,
}

impl Pair {
    pub(crate) fn of(rounds: &[(f64, f64)]) -> Self {
        let (ours, bare) = rounds.iter().copied().unzip();
        Self { ours, bare }
    }

    /// One of several measurements that each round made.
    pub(crate) fn nth<const A: usize, const B: usize>(
        rounds: &[([f64; A], [f64; B])],
        (ours, bare): (usize, usize),
    ) -> Self {
        rounds.iter().map(|round| (round.0[ours], round.1[bare])).collect::<Vec<_>>().into()
    }

    pub(crate) fn ours(&self) -> f64 {
        median(&self.ours)
    }

    pub(crate) fn bare(&self) -> f64 {
        median(&self.bare)
    }

    pub(crate) fn ours_max(&self) -> f64 {
        self.ours.iter().copied().fold(f64::NAN, f64::max)
    }

    /// The median of the rounds' ratios of ours to bare: what slows a whole round slows both.
    pub(crate) fn ratio(&self) -> f64 {
        let ratios: Vec<_> = self.ours.iter().zip(&self.bare).map(|(a, b)| a / b).collect();
        median(&ratios)
    }
}

impl From<Vec<(f64, f64)>> for Pair {
    fn from(rounds: Vec<(f64, f64)>) -> Self {
        Self::of(&rounds)
    }
}

/// A place in memory.
pub(crate) fn index(n: u64) -> usize {
    usize::try_from(n).expect("what is in memory fits the address space")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), 2.5);
        assert_eq!(median(&[7.0]), 7.0);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn a_quantile_is_one_of_the_values() {
        let sorted: Vec<u64> = (1..=1000).collect();
        assert_eq!(quantile(&sorted, 0.0), 1);
        assert_eq!(quantile(&sorted, 0.5), 500);
        assert_eq!(quantile(&sorted, 0.999), 999);
        assert_eq!(quantile(&sorted, 1.0), 1000);
        assert_eq!(quantile(&[5], 0.99), 5);
        assert_eq!(quantile(&[], 0.5), 0);
    }

    #[test]
    fn latencies_are_sorted_before_they_are_read() {
        let mut latencies = Latencies::with_room_for(3);
        [30, 10, 20].into_iter().for_each(|ns| latencies.push(Duration::from_nanos(ns)));
        assert_eq!(latencies.quantiles([0.5, 1.0]), [20.0, 30.0]);
    }

    #[test]
    fn every_second_round_has_the_other_order() {
        let order = std::cell::RefCell::new(String::new());
        let push = |c| {
            order.borrow_mut().push(c);
            Ok(1.0)
        };
        let rounds = interleave(3, || push('a'), || push('b')).unwrap();
        assert_eq!((rounds.len(), &**order.borrow()), (3, "abbaab"));
    }

    #[test]
    fn a_ratio_is_the_median_of_the_rounds_ratios() {
        let pair = Pair::of(&[(2.0, 1.0), (30.0, 10.0), (4.0, 1.0)]);
        assert_eq!(
            (pair.ours(), pair.bare(), pair.ratio(), pair.ours_max()),
            (4.0, 1.0, 3.0, 30.0)
        );
    }
}
