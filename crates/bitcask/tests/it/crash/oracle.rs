//! What a store may hold after a crash.

use std::fmt::Write as _;
use std::sync::Arc;

use bitcask::Bitcask;

use super::plan::{KEY_COUNT, key_bytes};

/// A value; shared, because every state of a history holds it.
pub(super) type Bytes = Arc<[u8]>;
/// A key by its index, and its value; none if it is deleted.
pub(super) type Change = (usize, Option<Bytes>);

/// All that a store holds: a value for each key that it has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Contents([Option<Bytes>; KEY_COUNT]);

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
        self.0[key].as_deref()
    }

    /// Reads all that a store holds, in every way there is.
    pub(super) fn read(db: &Bitcask) -> bitcask::Result<Self> {
        let keys: Vec<_> = (0..KEY_COUNT).map(key_bytes).collect();
        let mut contents = Self::default();
        for entry in db.iter() {
            let (key, value) = entry?;
            let index = keys.iter().position(|other| *other == key);
            let index = index.unwrap_or_else(|| panic!("never put: {}", key.escape_ascii()));
            let before = contents.0[index].replace(value.into_vec().into());
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
                Some(value) => {
                    let start = &value[..value.len().min(2)];
                    write!(text, " {key}:{}:{start:02x?}", value.len()).unwrap();
                }
            }
        }
        text
    }
}

/// The histories that are possible, each as the contents after every unit (put, delete or batch) from the last
/// moment that is certain to be durable. All are equally long.
#[derive(Clone, Debug)]
pub(super) struct Oracle {
    histories: Vec<Vec<Contents>>,
    /// Whether something was written that is not certain to be durable.
    pub(super) dirty: bool,
}

impl Oracle {
    /// A store that holds just this, durably.
    pub(super) fn of(contents: Contents) -> Self {
        Self { histories: vec![vec![contents]], dirty: false }
    }

    /// Contents now, in each history.
    pub(super) fn now(&self) -> impl Iterator<Item = &Contents> {
        self.histories.iter().map(|history| history.last().expect("a history has a start"))
    }

    /// The changes were made.
    pub(super) fn acknowledge(&mut self, changes: &[Change]) {
        self.dirty = true;
        for history in &mut self.histories {
            let now = history.last().expect("a history has a start").after(changes);
            history.push(now);
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

    /// Whether the store may hold this now.
    pub(super) fn allows_now(&self, contents: &Contents) -> bool {
        self.now().any(|now| now == contents)
    }

    /// Fails if the store may not hold this after a life that ended so.
    pub(super) fn check(&self, contents: &Contents, ending: Ending) {
        let allowed = match ending {
            Ending::Kill => self.allows_now(contents),
            Ending::Power(_) => self.histories.iter().flatten().any(|state| state == contents),
        };
        if !allowed {
            let mut text = format!("after {ending:?} the store holds\n   {}\n", contents.brief());
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
