//! Walking over all keys of a snapshot, in no order: shard by shard of the keydir, and within a shard in the order of
//! places.
//!
//! A shard's places and the table of files are taken together; the table keeps merged-away files readable
//! until the shard is done.

use std::sync::Arc;

use crate::error::Result;
use crate::files::Table;
use crate::place::Place;
use crate::snapshot::Snapshot;
use crate::value::Value;

/// All keys with their values, see [`Bitcask::iter`](crate::Bitcask::iter).
#[derive(Debug)]
pub struct Iter {
    snapshot: Snapshot,
    next_shard: usize,
    shards_end: usize,
    places: std::vec::IntoIter<Place>,
    table: Arc<Table>,
    scratch: Vec<u8>,
    failed: bool,
}

impl Iter {
    pub(crate) fn new(snapshot: Snapshot) -> Self {
        let shards = 0..snapshot.dir().keydir.shard_count();
        Self::of_shards(snapshot, shards)
    }

    pub(crate) fn of_shard(snapshot: Snapshot, shard: usize) -> Self {
        Self::of_shards(snapshot, shard..shard + 1)
    }

    fn of_shards(snapshot: Snapshot, shards: std::ops::Range<usize>) -> Self {
        Self {
            snapshot,
            next_shard: shards.start,
            shards_end: shards.end,
            places: Vec::new().into_iter(),
            table: Arc::default(),
            scratch: Vec::new(),
            failed: false,
        }
    }

    fn next_place(&mut self) -> Option<Place> {
        loop {
            if let Some(place) = self.places.next() {
                return Some(place);
            }
            let dir = self.snapshot.dir();
            if self.next_shard == self.shards_end {
                // Nothing more is read: let go of the files.
                self.table = Arc::default();
                return None;
            }
            let table = dir.files.guard();
            let seq = self.snapshot.moment().seq;
            self.places = dir.keydir.places(self.next_shard, seq).into_iter();
            self.table = table.clone();
            self.next_shard += 1;
        }
    }

    fn read(&mut self, place: Place) -> Result<Option<(Vec<u8>, Value)>> {
        let dir = self.snapshot.dir();
        dir.check_open()?;
        dir.entry(&self.table, place, self.snapshot.moment(), &mut self.scratch)
    }
}

impl Iterator for Iter {
    type Item = Result<(Vec<u8>, Value)>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.failed {
            let place = self.next_place()?;
            let entry = self.read(place).transpose();
            self.failed = entry.as_ref().is_some_and(Result::is_err);
            if entry.is_some() {
                return entry;
            }
        }
        None
    }
}

/// All keys, see [`Bitcask::keys`](crate::Bitcask::keys).
#[derive(Debug)]
pub struct Keys(pub(crate) Iter);

impl Iterator for Keys {
    type Item = Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.0.next()?.map(|(key, _)| key))
    }
}
