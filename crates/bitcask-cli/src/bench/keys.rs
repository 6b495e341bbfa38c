//! The keys of a benchmark.

use bitcask_random::splitmix64;

pub(crate) const KEY_LEN: usize = 20;

/// The key with a number. Neighbours in number are none in order.
pub(crate) fn key(number: u64) -> String {
    format!("user{:016x}", splitmix64(number))
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
}
