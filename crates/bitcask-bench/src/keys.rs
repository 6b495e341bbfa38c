//! Keys, values and the orders in which they are asked for: the same in each run.

use bitcask_random::{Random, Zipf, splitmix64};

use crate::statistics::index;

/// The length that the figures are promised for.
pub(crate) const VALUE_LEN: usize = 100;
/// Keys from here on are never stored.
pub(crate) const ABSENT: u64 = 1 << 48;

pub(crate) type Key = [u8; 16];

/// Sixteen bytes without order or pattern.
pub(crate) fn key(number: u64) -> Key {
    let (first, second) = (splitmix64(number), splitmix64(!number));
    (u128::from(first) << 64 | u128::from(second)).to_le_bytes()
}

/// Bytes without a pattern.
pub(crate) fn value(len: usize) -> Vec<u8> {
    (0..len as u64).map(|n| splitmix64(n).to_le_bytes()[0]).collect()
}

/// The numbers below `count`, each once, in random order.
pub(crate) fn shuffled(count: u64, seed: u64) -> Vec<u64> {
    let mut random = Random::new(seed);
    let mut numbers: Vec<u64> = (0..count).collect();
    for last in (1..count).rev() {
        numbers.swap(index(last), index(random.below(last + 1)));
    }
    numbers
}

/// `len` numbers below `count`, chosen anew each time.
pub(crate) fn chosen(count: u64, len: u64, seed: u64) -> Vec<u64> {
    let mut random = Random::new(seed);
    (0..len).map(|_| random.below(count)).collect()
}

/// `len` numbers below `count`, a few of them far more often than others, and these scattered.
pub(crate) fn skewed(count: u64, len: u64, seed: u64) -> Vec<u64> {
    let (zipf, mut random) = (Zipf::new(count), Random::new(seed));
    (0..len).map(|_| zipf.scattered(&mut random)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_the_same_in_each_run_and_differ() {
        let mut keys: Vec<_> = (0..10_000).map(key).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), 10_000);
    }

    #[test]
    fn shuffled_numbers_are_all_there() {
        let mut numbers = shuffled(1000, 1);
        assert_ne!(numbers[..10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(0..1000));
        assert!(shuffled(0, 1).is_empty());
    }

    #[test]
    fn a_thousandth_of_the_keys_gets_near_half_of_the_skewed_gets() {
        let (count, len) = (100_000, 100_000);
        let mut seen = vec![0_u64; index(count)];
        skewed(count, len, 3).into_iter().for_each(|n| seen[index(n)] += 1);
        seen.sort_unstable();
        let hot: u64 = seen.iter().rev().take(100).sum();
        assert!((30_000..60_000).contains(&hot), "{hot}");
    }
}
