//! Keys, values and the orders in which they are asked for: the same in each run.

use crate::statistics::{index, whole};

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

/// Steele, Lea, Flood: a bijection that leaves no pattern.
pub(crate) fn splitmix64(n: u64) -> u64 {
    let z = n.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A sequence of numbers that a seed decides.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(splitmix64(seed))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        splitmix64(self.0)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        let scaled = (u128::from(self.next()) * u128::from(bound)) >> 64;
        u64::try_from(scaled).expect("it is below the bound")
    }

    /// A number from 0 up to but without 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
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
    let scatter = |rank: u64| splitmix64(rank) % count;
    (0..len).map(|_| scatter(zipf.rank(&mut random))).collect()
}

/// Ranks whose frequencies fall as in Zipf's law with the exponent 0.99, as YCSB has it (Gray et al., 1994).
#[derive(Debug)]
struct Zipf {
    count: u64,
    alpha: f64,
    eta: f64,
    zeta: f64,
}

const THETA: f64 = 0.99;

impl Zipf {
    fn new(count: u64) -> Self {
        let zeta = |count: u64| (1..=count).map(|n| (n as f64).powf(-THETA)).sum::<f64>();
        let (zeta, zeta_two) = (zeta(count), zeta(2));
        let eta = (1.0 - (2.0 / count as f64).powf(1.0 - THETA)) / (1.0 - zeta_two / zeta);
        Self { count, alpha: 1.0 / (1.0 - THETA), eta, zeta }
    }

    /// A rank, below the count; 0 is the most frequent.
    fn rank(&self, random: &mut Random) -> u64 {
        let unit = random.unit();
        let scaled = unit * self.zeta;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < 1.0 + 0.5_f64.powf(THETA) {
            return 1.min(self.count - 1);
        }
        let part = (self.eta * unit - self.eta + 1.0).powf(self.alpha);
        whole(self.count as f64 * part).min(self.count - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_the_same_in_each_run_and_differ() {
        assert_eq!(splitmix64(0), 0xE220_A839_7B1D_CDAF);
        let mut keys: Vec<_> = (0..10_000).map(key).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), 10_000);
    }

    #[test]
    fn random_numbers_stay_below_their_bound() {
        let mut random = Random::new(1);
        assert!((0..10_000).all(|_| random.below(7) < 7));
        assert!((0..10_000).all(|_| (0.0..1.0).contains(&random.unit())));
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
    fn zipf_ranks_stay_in_bounds_and_the_first_comes_most_often() {
        for count in [1, 2, 3, 1000] {
            let (zipf, mut random) = (Zipf::new(count), Random::new(2));
            let mut seen = vec![0; index(count)];
            (0..100_000).for_each(|_| seen[index(zipf.rank(&mut random))] += 1);
            assert!(seen.windows(2).take(3).all(|pair| pair[0] > pair[1]), "{count}: {seen:?}");
        }
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
