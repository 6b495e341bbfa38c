//! Changes that depend on what is there.

use bitcask::{ErrorKind, Expiry};

use super::expected::NEVER;
use super::pair::Pair;

impl Pair<'_> {
    /// One of the changes that depend on what is there, compared with its like on the map.
    pub(super) fn update(&mut self) {
        let key = self.key();
        match self.rng.below(20) {
            0..3 => self.update_by_function(key),
            3..6 => self.compare_and_swap(key),
            6..9 => self.put_if_absent(key),
            9 => {
                let value = self.value();
                let old = self.db.get_and_set(&key, &value).unwrap();
                assert_eq!(old.as_deref(), self.expected.get(&key));
                self.expected.put(key, value, NEVER);
            }
            10..12 => {
                let old = self.db.take(&key).unwrap();
                assert_eq!(old.as_deref(), self.expected.remove(&key).as_deref());
            }
            12..16 => self.increment(key),
            16..18 => self.expire(key),
            18 => {
                assert_eq!(self.db.persist(&key).unwrap(), self.expected.has(&key));
                if let Some(value) = self.expected.remove(&key) {
                    self.expected.put(key, value, NEVER);
                }
            }
            _ => self.check_expiry(&key),
        }
    }

    fn update_by_function(&mut self, key: Vec<u8>) {
        let (next, keep) = (self.value(), self.rng.below(3));
        let next = |old: Option<&[u8]>| match (keep, old) {
            (0, _) => None,
            (1, Some(old)) => Some(old.iter().take(300).rev().copied().collect()),
            _ => Some(next.clone()),
        };
        let wanted = next(self.expected.get(&key));
        assert_eq!(self.db.update(&key, next).unwrap(), wanted);
        self.expected.set(key, wanted);
    }

    fn compare_and_swap(&mut self, key: Vec<u8>) {
        let is = self.expected.get(&key).map(<[u8]>::to_vec);
        let guess = match self.rng.below(4) {
            0 => Some(self.value()),
            1 => None,
            _ => is.clone(),
        };
        let next = (!self.rng.one_in(4)).then(|| self.value());
        let swapped = self.db.compare_and_swap(&key, guess.as_deref(), next.as_deref()).unwrap();
        assert_eq!(swapped, guess == is);
        if swapped {
            self.expected.set(key, next);
        }
    }

    fn put_if_absent(&mut self, key: Vec<u8>) {
        let (value, expiry) = (self.value(), self.expiry());
        let absent = !self.expected.has(&key);
        let put = match expiry {
            Expiry::Never => self.db.put_if_absent(&key, &value),
            expiry => self.db.put_if_absent_with(&key, &value, expiry),
        };
        assert_eq!(put.unwrap(), absent);
        if absent {
            self.expected.put(key, value, self.expected.expiry_ms(expiry));
        }
    }

    /// A value that is no number, or a sum that is none, changes nothing.
    fn increment(&mut self, key: Vec<u8>) {
        let n = match self.rng.below(4) {
            0 => self.rng.next().cast_signed(),
            1 => i64::MAX,
            _ => 7,
        };
        let number = match self.expected.get(&key) {
            None => Some(0),
            Some(value) => str::from_utf8(value).ok().and_then(|text| text.parse::<i64>().ok()),
        };
        match number.and_then(|number| number.checked_add(n)) {
            Some(sum) => {
                assert_eq!(self.db.increment(&key, n).unwrap(), sum);
                self.expected.set(key, Some(sum.to_string().into_bytes()));
            }
            None => {
                let written = self.written();
                let error = self.db.increment(&key, n).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Invalid, "{error:?}");
                assert_eq!(self.written(), written, "something was written");
            }
        }
    }

    fn expire(&mut self, key: Vec<u8>) {
        let expiry = self.expiry();
        assert_eq!(self.db.expire(&key, expiry).unwrap(), self.expected.has(&key));
        if let Some(value) = self.expected.get(&key).map(<[u8]>::to_vec) {
            self.expected.put(key, value, self.expected.expiry_ms(expiry));
        }
    }

    fn check_expiry(&self, key: &[u8]) {
        let expiry = self.db.expires_at(key).unwrap();
        let expiry_ms = expiry.map(|expiry| self.expected.expiry_ms(expiry));
        assert_eq!(expiry_ms, self.expected.entry(key).map(|entry| entry.expires_ms));
    }
}
