//! Snapshots beside what they should hold, for ever.

use bitcask::{Bitcask, ErrorKind, Snapshot};

use super::expected::{Expected, Map};
use super::pair::Pair;

/// Snapshots that live at most.
const FROZEN_MAX: usize = 5;

/// A snapshot, and what it should hold.
pub(super) struct Frozen {
    snapshot: Snapshot,
    map: Map,
}

impl Frozen {
    pub(super) fn new(db: &Bitcask, expected: &Expected) -> Self {
        Self { snapshot: db.snapshot().unwrap(), map: expected.map() }
    }

    /// Everything, in every way of going through everything.
    pub(super) fn compare(&self) {
        let all: Vec<_> = self.snapshot.iter().map(Result::unwrap).collect();
        assert_eq!(all.len(), self.map.len(), "a snapshot met a key twice, or missed one");
        let all: Map = all.into_iter().map(|(key, value)| (key, value.into_vec())).collect();
        assert!(all == self.map, "a snapshot's iter differs");
        let mut keys: Vec<_> = self.snapshot.keys().map(Result::unwrap).collect();
        keys.sort_unstable();
        assert!(keys.iter().eq(self.map.keys()), "a snapshot's keys differ");
        assert_eq!(self.snapshot.len(), self.map.len() as u64);
        let values = self.snapshot.get_many(&keys).unwrap();
        assert!(
            values
                .iter()
                .zip(self.map.values())
                .all(|(value, other)| value.as_ref().unwrap() == other)
        );
    }

    fn look(&self, keys: &[Vec<u8>]) {
        let expected = |key: &Vec<u8>| self.map.get(key).map(|value| &value[..]);
        for (key, value) in keys.iter().zip(self.snapshot.get_many(keys).unwrap()) {
            assert_eq!(value.as_deref(), expected(key));
            assert_eq!(self.snapshot.get(key).unwrap().as_deref(), expected(key));
            assert_eq!(self.snapshot.contains(key).unwrap(), expected(key).is_some());
        }
    }

    /// The store is closed: nothing is read any more, and nothing wrong.
    pub(super) fn check_closed(self) {
        let error = self.snapshot.get(b"key1").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error:?}");
        if !self.map.is_empty() {
            let error = self.snapshot.iter().next().unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{error:?}");
        }
        assert_eq!(self.snapshot.len(), self.map.len() as u64);
    }
}

impl Pair<'_> {
    /// Takes a snapshot, reads one, or ends one, in any order.
    pub(super) fn freeze_or_thaw(&mut self) {
        match self.rng.below(10) {
            0..3 if self.frozen.len() < FROZEN_MAX => {
                self.frozen.push(Frozen::new(&self.db, &self.expected));
            }
            0..3 => {
                let index = self.rng.below(self.frozen.len());
                self.frozen.swap_remove(index);
            }
            3..5 => self.frozen.iter().for_each(Frozen::compare),
            _ => {
                let keys: Vec<_> = (0..self.rng.below(40)).map(|_| self.key()).collect();
                self.frozen.iter().for_each(|frozen| frozen.look(&keys));
            }
        }
        let mut seqs: Vec<_> = self.frozen.iter().map(|frozen| frozen.snapshot.seq()).collect();
        seqs.sort_unstable();
        let stats = self.db.stats().unwrap().snapshots;
        assert!(stats.iter().map(|snapshot| snapshot.seq).eq(seqs), "{stats:?}");
    }

    /// Ends all snapshots. Nothing is kept for any: merges leave nothing dead.
    pub(super) fn thaw(&mut self) {
        self.frozen.iter().for_each(Frozen::compare);
        while !self.frozen.is_empty() {
            let index = self.rng.below(self.frozen.len());
            self.frozen.swap_remove(index);
        }
        assert!(self.db.stats().unwrap().snapshots.is_empty());
        // A tombstone may go only when what it hid is gone, and that may be a tombstone itself.
        (0..20).find(|_| self.db.merge().unwrap().reclaimed_bytes() == 0).expect("an end");
        let files = self.db.stats().unwrap().files;
        assert!(files.iter().all(|file| file.dead_bytes == 0), "{files:#?}");
    }
}
