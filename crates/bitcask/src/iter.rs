//! Walking over all keys.
//!
//! Takes one shard of the keydir at a time: its places, and under the same guard the table in which they
//! resolve. That table keeps its files alive while the shard's records are read, also if merge removes them
//! meanwhile; the space of a removed file is free when the last such table is gone.

use std::sync::Arc;

use crate::engine::Engine;
use crate::error::Result;
use crate::files::Table;
use crate::place::Place;
use crate::value::Value;

/// All keys with their values, see [`Bitcask::iter`](crate::Bitcask::iter).
#[derive(Debug)]
pub struct Iter {
    engine: Arc<Engine>,
    next_shard: usize,
    places: std::vec::IntoIter<Place>,
    table: Arc<Table>,
    scratch: Vec<u8>,
    failed: bool,
}

impl Iter {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        let (places, table) = (Vec::new().into_iter(), Arc::default());
        Self { engine, next_shard: 0, places, table, scratch: Vec::new(), failed: false }
    }

    fn next_place(&mut self) -> Option<Place> {
        loop {
            if let Some(place) = self.places.next() {
                return Some(place);
            }
            if self.next_shard == self.engine.dir.keydir.shard_count() {
                // Nothing more is read: let go of the files.
                self.table = Arc::default();
                return None;
            }
            let table = self.engine.dir.files.guard();
            self.places = self.engine.dir.keydir.places(self.next_shard).into_iter();
            self.table = table.clone();
            drop(table);
            self.next_shard += 1;
        }
    }

    fn read(&mut self, place: Place) -> Result<(Vec<u8>, Value)> {
        self.engine.check_open()?;
        let record = self.table.file(place).record(place, &mut self.scratch)?;
        Ok((record.key.to_owned(), Value::new(record.value)))
    }
}

impl Iterator for Iter {
    type Item = Result<(Vec<u8>, Value)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let place = self.next_place()?;
        let entry = self.read(place);
        self.failed = entry.is_err();
        Some(entry)
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
