//! What the tests with random damage share.

use bitcask_random::Random;

/// `SEED=` repeats a run.
pub(crate) fn seeded() -> Random {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    println!("SEED={seed}");
    Random::new(seed)
}

pub(crate) fn byte(random: &mut Random) -> u8 {
    random.next().to_le_bytes()[0]
}
