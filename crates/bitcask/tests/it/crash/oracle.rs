//! What a store may hold after a crash.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use bitcask::{Bitcask, Expiry, Snapshot};

use super::plan::{KEY_COUNT, key_bytes};

/// A value; shared, because every state of a history holds it.
pub(super) type Bytes = Arc<[u8]>;
/// A key by its index, and its value; none if it is deleted.
pub(super) type Change = (usize, Option<Stored>);

/// The expiry of what never expires.
pub(super) const NEVER: u64 = u64::MAX;

/// A value, and when it expires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) bytes: Bytes,
    pub(super) expires_ms: u64,
}

impl Stored {
    pub(super) fn forever(bytes: Vec<u8>) -> Self {
        Self { bytes: bytes.into(), expires_ms: NEVER }
    }
}

/// All that a store holds: a value for each key that it has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Contents([Option<Stored>; KEY_COUNT]);

/// How a life ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The power went; the seed chooses what that leaves.
    Power(u64),
    /// The process died, the system did not.
    Kill,
}

impl Contents {
    pub(super) fn after(&self, changes: &[Change]) -> Self {
        let mut contents = self.clone();
        for (key, value) in changes {
            contents.0[*key].clone_from(value);
        }
        contents
    }

    pub(super) fn has(&self, key: usize) -> bool {
        self.0[key].is_some()
    }

    pub(super) fn get(&self, key: usize) -> Option<&[u8]> {
        self.0[key].as_ref().map(|stored| &stored.bytes[..])
    }

    /// What of it is still there at a time.
    pub(super) fn at(&self, now_ms: u64) -> Self {
        let stays = |stored: &Stored| stored.expires_ms > now_ms;
        Self(std::array::from_fn(|key| self.0[key].clone().filter(stays)))
    }

    /// Whether it holds what had expired at a time.
    fn holds_expired(&self, now_ms: u64) -> bool {
        self.0.iter().flatten().any(|stored| stored.expires_ms <= now_ms)
    }

    /// The same of a snapshot, without expiries: nothing expires there.
    pub(super) fn read_snapshot(snapshot: &Snapshot) -> bitcask::Result<Self> {
        let mut contents = Self::default();
        for entry in snapshot {
            let (key, value) = entry?;
            let bytes = value.into_vec().into();
            let before = contents.0[index_of(&key)].replace(Stored { bytes, expires_ms: NEVER });
            assert!(before.is_none(), "a snapshot's iter met {} twice", key.escape_ascii());
        }
        for index in 0..KEY_COUNT {
            let value = snapshot.get(&key_bytes(index))?;
            assert_eq!(value.as_deref(), contents.get(index), "get and iter differ on {index}");
        }
        let count = contents.0.iter().flatten().count();
        assert_eq!(snapshot.len(), u64::try_from(count).unwrap(), "len");
        Ok(contents)
    }

    /// The same values, none of which expires.
    pub(super) fn frozen(mut self) -> Self {
        self.0.iter_mut().flatten().for_each(|stored| stored.expires_ms = NEVER);
        self
    }

    /// Reads all that a store holds, in every way there is.
    pub(super) fn read(db: &Bitcask) -> bitcask::Result<Self> {
        let keys: Vec<_> = (0..KEY_COUNT).map(key_bytes).collect();
        let mut contents = Self::default();
        for entry in db.iter() {
            let (key, value) = entry?;
            let index = index_of(&key);
            let bytes = value.into_vec().into();
            let expires_ms = match db.expires_at(&key)? {
                Some(Expiry::At(time)) => time.duration_since(UNIX_EPOCH).unwrap().as_millis(),
                never => {
                    assert_eq!(never, Some(Expiry::Never));
                    NEVER.into()
                }
            };
            let expires_ms = u64::try_from(expires_ms).unwrap();
            let before = contents.0[index].replace(Stored { bytes, expires_ms });
            assert!(before.is_none(), "iter met key {index} twice");
        }
        for (index, (key, many)) in keys.iter().zip(db.get_many(&keys)?).enumerate() {
            let (value, iterated) = (db.get(key)?, contents.get(index));
            assert_eq!(value.as_deref(), iterated, "get and iter differ on key {index}");
            assert_eq!(many.as_deref(), iterated, "get_many and iter differ on key {index}");
            assert_eq!(db.contains(key)?, iterated.is_some(), "contains({index})");
        }
        let count = contents.0.iter().flatten().count();
        assert_eq!(db.len()?, u64::try_from(count).unwrap(), "len");
        Ok(contents)
    }

    /// Lengths and first bytes.
    pub(super) fn brief(&self) -> String {
        let mut text = String::new();
        for (key, value) in self.0.iter().enumerate() {
            match value {
                None => write!(text, " -").unwrap(),
                Some(Stored { bytes, expires_ms }) => {
                    let start = &bytes[..bytes.len().min(2)];
                    write!(text, " {key}:{}:{start:02x?}", bytes.len()).unwrap();
                    if *expires_ms != NEVER {
                        write!(text, "until{expires_ms}").unwrap();
                    }
                }
            }
        }
        text
    }
}

fn index_of(key: &[u8]) -> usize {
    let index = (0..KEY_COUNT).find(|&index| key_bytes(index) == key);
    index.unwrap_or_else(|| panic!("never put: {}", key.escape_ascii()))
}

/// The histories that are possible, each as the contents after every unit (put, delete or batch) from the last
/// moment that is certain to be durable. All are equally long.
#[derive(Clone, Debug)]
pub(super) struct Oracle {
    histories: Vec<Vec<Contents>>,
    /// Whether something was written that is not certain to be durable.
    pub(super) dirty: bool,
    /// What time it is for the store.
    pub(super) now_ms: u64,
    /// What had expired then is gone for good: the store wrote down that it has been so late.
    pub(super) recorded_ms: u64,
}

impl Oracle {
    /// A store that holds just this, durably.
    pub(super) fn of(contents: Contents) -> Self {
        Self { histories: vec![vec![contents]], dirty: false, now_ms: 0, recorded_ms: 0 }
    }

    /// Contents now, in each history.
    pub(super) fn now(&self) -> impl Iterator<Item = Contents> {
        let last = |history: &Vec<Contents>| history.last().expect("a history has a start").clone();
        self.histories.iter().map(move |history| last(history).at(self.now_ms))
    }

    /// The changes were made.
    pub(super) fn acknowledge(&mut self, changes: &[Change]) {
        self.dirty = true;
        for history in &mut self.histories {
            let now = history.last().expect("a history has a start");
            let next = match changes {
                // Nothing is written: what has expired is not there, and yet not deleted.
                [(key, None)] if !now.at(self.now_ms).has(*key) => now.clone(),
                _ => now.after(changes),
            };
            history.push(next);
        }
    }

    /// The changes were made, all of them, or none.
    pub(super) fn doubt(&mut self, changes: &[Change]) {
        let without = self.histories.clone();
        self.acknowledge(changes);
        for mut history in without {
            history.push(history.last().expect("a history has a start").clone());
            self.histories.push(history);
        }
    }

    /// All of it is durable.
    pub(super) fn synced(&mut self) {
        self.dirty = false;
        for history in &mut self.histories {
            history.drain(..history.len() - 1);
        }
        self.histories.dedup();
    }

    /// The store was asked to write down how late it is. It does if a key has expired.
    pub(super) fn record_time(&mut self) {
        let now_ms = self.now_ms;
        let last =
            |history: &Vec<Contents>| history.last().is_some_and(|c| c.holds_expired(now_ms));
        if self.histories.iter().any(last) {
            self.recorded_ms = now_ms;
        }
    }

    /// Whether the store may hold this now.
    pub(super) fn allows_now(&self, contents: &Contents) -> bool {
        self.now().any(|now| now == *contents)
    }

    /// Fails if the store may not hold this after a life that ended so, now that it is `now_ms` for the store.
    pub(super) fn check(&self, contents: &Contents, ending: Ending, now_ms: u64) {
        let is = |state: &Contents| state.at(now_ms) == *contents;
        let allowed = match ending {
            Ending::Kill => self.histories.iter().filter_map(|history| history.last()).any(is),
            Ending::Power(_) => self.histories.iter().flatten().any(is),
        };
        let allowed = allowed && !contents.holds_expired(self.recorded_ms);
        if !allowed {
            let mut text = format!(
                "after {ending:?} the store holds at {now_ms}, {} having been recorded\n   {}\n",
                self.recorded_ms,
                contents.brief()
            );
            for history in &self.histories {
                text += "but history, from the last that is durable, was\n";
                for state in history {
                    writeln!(text, "   {}", state.brief()).unwrap();
                }
            }
            panic!("{text}");
        }
    }
}
