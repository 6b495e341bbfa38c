//! Which key comes next: the same in each run, as far as threads allow.

pub(crate) const KEY_LEN: usize = 20;

/// The exponent of YCSB.
const THETA: f64 = 0.99;

/// The key with a number. Neighbours in number are none in order.
pub(crate) fn key(number: u64) -> String {
    format!("user{:016x}", splitmix64(number))
}

/// Steele, Lea, Flood: a bijection that leaves no pattern.
fn splitmix64(n: u64) -> u64 {
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

/// Ranks whose frequencies fall by Zipf's law (Gray et al., 1994).
#[derive(Clone, Debug)]
pub(crate) struct Zipf {
    count: u64,
    alpha: f64,
    eta: f64,
    zeta: f64,
}

impl Zipf {
    /// Ranks below `count`, of which there is at least one.
    pub(crate) fn new(count: u64) -> Self {
        let zeta = |count: u64| (1..=count).map(|n| (n as f64).powf(-THETA)).sum::<f64>();
        let (zeta, zeta_two) = (zeta(count), zeta(2));
        let eta = (1.0 - (2.0 / count as f64).powf(1.0 - THETA)) / (1.0 - zeta_two / zeta);
        Self { count, alpha: 1.0 / (1.0 - THETA), eta, zeta }
    }

    /// A rank; 0 is the most frequent.
    pub(crate) fn rank(&self, random: &mut Random) -> u64 {
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

    /// A number below the count. The frequent ones lie scattered.
    pub(crate) fn scattered(&self, random: &mut Random) -> u64 {
        splitmix64(!self.rank(random)) % self.count
    }
}

/// The whole part of a number that is not negative.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the whole part is what is asked for; `as` saturates"
)]
pub(crate) fn whole(x: f64) -> u64 {
    x as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ_and_have_one_length() {
        let mut keys: Vec<_> = (0..10_000).map(key).collect();
        assert!(keys.iter().all(|key| key.len() == KEY_LEN));
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), 10_000);
    }

    #[test]
    fn ranks_are_below_the_count_and_fall_by_the_law() {
        for count in [1, 2, 3, 1000] {
            let (zipf, mut random) = (Zipf::new(count), Random::new(count));
            assert!((0..10_000).all(|_| zipf.rank(&mut random) < count), "{count}");
            assert!((0..10_000).all(|_| zipf.scattered(&mut random) < count), "{count}");
        }
        let (zipf, mut random) = (Zipf::new(1000), Random::new(1));
        let mut counts = vec![0_u32; 1000];
        for _ in 0..100_000 {
            counts[usize::try_from(zipf.rank(&mut random)).unwrap()] += 1;
        }
        // The first takes 1 / zeta(1000) of all, some 13 %, the second about half of that.
        assert!((12_000..15_000).contains(&counts[0]), "{}", counts[0]);
        assert!((5_500..8_000).contains(&counts[1]), "{}", counts[1]);
    }
}
