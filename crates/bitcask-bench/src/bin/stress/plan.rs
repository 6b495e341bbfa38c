//! What each version of each key is: decided by its number alone, so that nobody needs to remember a value to know it.
//!
//! A worker owns its keys and changes each from version to version. Version 0 is that nothing was ever put; a version is
//! then a value, a value that expires, or a deletion. A value says which version it is and has bytes that
//! nothing else has, under a checksum of its own.

use bitcask_random::splitmix64;
use std::time::{SystemTime, UNIX_EPOCH};

/// A key, by its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct KeyId {
    pub(crate) worker: u32,
    pub(crate) index: u32,
}

/// What a version is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Delete,
    Put,
    /// A value that expires; when, is decided when it is put.
    Expiring,
}

/// From this length on a value is put, and read, as a stream.
pub(crate) const STREAMED_LEN: usize = 64 << 10;

impl KeyId {
    pub(crate) fn bytes(self) -> Vec<u8> {
        format!("w{}/{:06}", self.worker, self.index).into_bytes()
    }

    pub(crate) fn parse(key: &[u8]) -> Option<Self> {
        let (worker, index) = str::from_utf8(key).ok()?.strip_prefix('w')?.split_once('/')?;
        let id = Self { worker: worker.parse().ok()?, index: index.parse().ok()? };
        (id.bytes() == key).then_some(id)
    }

    fn chance(self, version: u64) -> u64 {
        splitmix64(splitmix64(u64::from(self.worker) << 32 | u64::from(self.index)) ^ version)
    }

    pub(crate) fn kind(self, version: u64) -> Kind {
        match self.chance(version) % 16 {
            0 | 1 => Kind::Delete,
            2 | 3 => Kind::Expiring,
            _ => Kind::Put,
        }
    }

    /// Whether no value shows at this version, whatever the time.
    pub(crate) fn is_absent_at(self, version: u64) -> bool {
        version == 0 || self.kind(version) == Kind::Delete
    }

    /// Bytes of the value behind its mark.
    fn body_len(self, version: u64) -> usize {
        let chance = self.chance(version) >> 8;
        let len = match chance % 4096 {
            0 => STREAMED_LEN as u64 + (chance >> 12) % (2 << 20),
            1..=16 => (chance >> 12) % (40 << 10),
            _ => (chance >> 12) % 300,
        };
        usize::try_from(len).expect("it is a few megabytes")
    }

    fn body(self, version: u64) -> Vec<u8> {
        let (len, seed) = (self.body_len(version), self.chance(version));
        let words = (0..len.div_ceil(8) as u64).flat_map(|n| splitmix64(seed ^ n).to_le_bytes());
        let mut body: Vec<u8> = words.collect();
        body.truncate(len);
        body
    }
}

/// What a value says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) id: KeyId,
    pub(crate) version: u64,
    /// Versions between this one and `version` may never have been made, whatever they are: a kill left it open.
    pub(crate) since: u64,
    /// The number of the owner's operation that put it.
    pub(crate) op: u64,
    /// When it expires, milliseconds since 1970; or 0.
    pub(crate) expires_ms: u64,
}

const MARK_LEN: usize = 44;

impl Mark {
    /// The value with this mark.
    pub(crate) fn value(&self) -> Vec<u8> {
        let mut value = Vec::with_capacity(MARK_LEN + self.id.body_len(self.version));
        value.extend([0; 4]);
        value.extend(self.id.worker.to_le_bytes());
        value.extend(self.id.index.to_le_bytes());
        for number in [self.version, self.since, self.op, self.expires_ms] {
            value.extend(number.to_le_bytes());
        }
        value.extend(self.id.body(self.version));
        let checksum = crc32c::crc32c(&value[4..]);
        value[..4].copy_from_slice(&checksum.to_le_bytes());
        value
    }

    /// The mark of a value that was found under the key, or what is wrong with it.
    pub(crate) fn of(id: KeyId, value: &[u8]) -> Result<Self, String> {
        let wrong = |what: &str| Err(format!("{id:?}: {what}, in {} bytes", value.len()));
        let words = value.first_chunk::<MARK_LEN>().map(|mark| mark[4..].as_chunks::<8>().0);
        let Some(&[key, version, since, op, expires_ms]) = words else {
            return wrong("no value of ours");
        };
        let [version, since, op, expires_ms] =
            [version, since, op, expires_ms].map(u64::from_le_bytes);
        if key != (u64::from(id.index) << 32 | u64::from(id.worker)).to_le_bytes() {
            return wrong("the value of another key");
        }
        let mark = Self { id, version, since, op, expires_ms };
        if id.is_absent_at(version) || (id.kind(version) == Kind::Expiring) != (expires_ms > 0) {
            return wrong(&format!("a value where there should be none: {mark:?}"));
        }
        if mark.value() != value {
            return wrong(&format!("not the value that was put: {mark:?}"));
        }
        Ok(mark)
    }
}

/// Milliseconds since 1970.
pub(crate) fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: KeyId = KeyId { worker: 3, index: 77 };

    #[test]
    fn a_key_is_read_back() {
        assert_eq!(KeyId::parse(&ID.bytes()), Some(ID));
        assert_eq!(KeyId::parse(b"w3/77"), None);
        assert_eq!(KeyId::parse(b"account/1"), None);
    }

    #[test]
    fn versions_are_of_all_kinds() {
        let kinds: Vec<_> = (1..200).map(|version| ID.kind(version)).collect();
        for kind in [Kind::Delete, Kind::Put, Kind::Expiring] {
            assert!(kinds.contains(&kind), "{kind:?}");
        }
    }

    #[test]
    fn a_value_tells_its_mark_and_nothing_else_passes_for_it() {
        for version in (1..50).filter(|&version| !ID.is_absent_at(version)) {
            let expires_ms = u64::from(ID.kind(version) == Kind::Expiring) * 99;
            let mark = Mark { id: ID, version, since: version - 1, op: 5, expires_ms };
            let value = mark.value();
            assert_eq!(Mark::of(ID, &value), Ok(mark));
            assert!(Mark::of(KeyId { worker: 3, index: 78 }, &value).is_err());
            assert!(Mark::of(ID, &value[..value.len() - 1]).is_err());
            let mut flipped = value;
            *flipped.last_mut().unwrap() ^= 1;
            assert!(Mark::of(ID, &flipped).is_err());
        }
    }
}
