//! Numbers that a seed decides: the same in each run, for benchmarks and tests.
//!
//! Not for secrets: whoever sees a few numbers knows the rest.

/// The golden ratio, as a step between states.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// Steele, Lea, Flood: a bijection that leaves no pattern.
pub fn splitmix64(n: u64) -> u64 {
    let z = n.wrapping_add(STEP);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A sequence of numbers that a seed decides.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence of a seed.
    pub fn new(seed: u64) -> Self {
        Self(splitmix64(seed))
    }

    /// Of one seed, a sequence for each purpose.
    pub fn for_purpose(seed: u64, purpose: u64) -> Self {
        Self::new(seed ^ splitmix64(purpose))
    }

    /// Any number.
    #[expect(clippy::should_implement_trait, reason = "it has no end")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        splitmix64(self.0)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        let scaled = (u128::from(self.next()) * u128::from(bound)) >> 64;
        u64::try_from(scaled).expect("it is below the bound")
    }

    /// A position among `len`.
    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).expect("it is below a length")
    }

    /// A number from `from` up to but without `to`.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to - from)
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// A number from 0 up to but without 1.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Ranks whose frequencies fall as in Zipf's law with the exponent of YCSB (Gray et al., 1994).
#[derive(Clone, Debug)]
pub struct Zipf {
    count: u64,
    alpha: f64,
    eta: f64,
    zeta: f64,
}

const THETA: f64 = 0.99;

impl Zipf {
    /// Ranks below `count`, of which there is at least one.
    pub fn new(count: u64) -> Self {
        let zeta = |count: u64| (1..=count).map(|n| (n as f64).powf(-THETA)).sum::<f64>();
        let (zeta, zeta_two) = (zeta(count), zeta(2));
        let eta = (1.0 - (2.0 / count as f64).powf(1.0 - THETA)) / (1.0 - zeta_two / zeta);
        Self { count, alpha: 1.0 / (1.0 - THETA), eta, zeta }
    }

    /// A rank; 0 is the most frequent.
    pub fn rank(&self, random: &mut Random) -> u64 {
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
    pub fn scattered(&self, random: &mut Random) -> u64 {
        splitmix64(!self.rank(random)) % self.count
    }
}

/// The whole part of a number that is not negative.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the whole part is what is asked for; `as` saturates"
)]
pub fn whole(x: f64) -> u64 {
    x as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_same_in_each_run() {
        assert_eq!(splitmix64(0), 0xE220_A839_7B1D_CDAF);
        let mut random = Random::new(7);
        assert_eq!([random.next(), random.next()], {
            let mut again = Random::new(7);
            [again.next(), again.next()]
        });
        assert_ne!(Random::for_purpose(7, 1).next(), Random::for_purpose(7, 2).next());
    }

    #[test]
    fn numbers_stay_in_their_bounds() {
        let mut random = Random::new(1);
        assert!((0..10_000).all(|_| random.below(7) < 7));
        assert!((0..10_000).all(|_| random.index(7) < 7));
        assert!((0..10_000).all(|_| (3..9).contains(&random.between(3, 9))));
        assert!((0..10_000).all(|_| (0.0..1.0).contains(&random.unit())));
        let once = (0..10_000).filter(|_| random.one_in(10)).count();
        assert!((800..1200).contains(&once), "{once}");
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
            counts[usize::try_from(zipf.rank(&mut random)).expect("it is small")] += 1;
        }
        // The first takes 1 / zeta(1000) of all, some 13 %, the second about half of that.
        assert!((12_000..15_000).contains(&counts[0]), "{}", counts[0]);
        assert!((5_500..8_000).contains(&counts[1]), "{}", counts[1]);
        assert!(counts.windows(2).take(3).all(|pair| pair[0] > pair[1]));
    }

    #[test]
    fn whole_parts_saturate() {
        assert_eq!([whole(2.9), whole(-1.0), whole(f64::INFINITY)], [2, 0, u64::MAX]);
    }
}
