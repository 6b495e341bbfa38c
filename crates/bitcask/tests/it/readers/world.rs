//! A store that is written to at random, and all states that it ever had.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use bitcask::fs::sim::SimClock;
use bitcask::fs::{Clock, Fs};
use bitcask::{Bitcask, Durability, IoMode, MergePolicy, Options, ReadOnly, Snapshot, WriteBatch};

use crate::crash::Rng;

/// Keys with their values and when they expire (milliseconds since 1970; `u64::MAX` for never).
pub(crate) type Map = BTreeMap<Vec<u8>, (Vec<u8>, u64)>;

pub(crate) const NEVER: u64 = u64::MAX;
const KEYS: usize = 24;

/// One change, as a watcher should be told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) seq: u64,
    pub(crate) key: Vec<u8>,
    /// Its value and when it expires; none for a deletion.
    pub(crate) value: Option<(Vec<u8>, u64)>,
    pub(crate) batch: Option<u64>,
    pub(crate) is_last: bool,
}

/// What a call of the writer that is under way makes of the store.
#[derive(Clone, Debug, Default)]
pub(crate) struct UnderWay {
    pub(crate) before: Map,
    pub(crate) after: Map,
}

/// A writer, and everything that was written.
pub(crate) struct World {
    pub(crate) rng: Rng,
    pub(crate) clock: SimClock,
    pub(crate) options: Options,
    path: PathBuf,
    pub(crate) db: Bitcask,
    pub(crate) map: Arc<Map>,
    /// The store after each change, by sequence number.
    pub(crate) history: BTreeMap<u64, Arc<Map>>,
    pub(crate) changes: Vec<Change>,
    pub(crate) under_way: Arc<Mutex<UnderWay>>,
    count: u64,
}

/// Options with small files, drawn at random.
pub(crate) fn options(rng: &mut Rng, io: IoMode) -> Options {
    let merge = MergePolicy { dead_ratio_trigger: 0.5, ..MergePolicy::default() };
    Options::new()
        .io(io)
        .merge(merge)
        .without_threads()
        .durability(rng.pick(&[
            Durability::Os,
            Durability::Interval(Duration::from_secs(1)),
            Durability::Always,
        ]))
        .max_file_size(4 << 10)
        .large_record_len(rng.pick(&[200, 32 << 10]))
        .hash_mask(rng.pick(&[u64::MAX, u64::MAX, 0xff << 56, 3]))
        .shard_bits(u32::try_from(rng.below(3)).unwrap())
}

impl World {
    pub(crate) fn new(mut rng: Rng, fs: Arc<dyn Fs>, io: IoMode, path: &Path) -> Self {
        let clock = SimClock::new(1_700_000_000_000);
        let options = options(&mut rng, io).on(fs, Arc::new(clock.clone()));
        let db = options.clone().open(path).unwrap();
        let mut history = BTreeMap::new();
        history.insert(0, Arc::default());
        let (map, changes) = (Arc::default(), Vec::new());
        let (path, under_way) = (path.to_owned(), Arc::default());
        Self { rng, clock, options, path, db, map, history, changes, under_way, count: 0 }
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.clock.wall_ms()
    }

    /// The state that a reader at `seq` should show, which is not within a batch.
    pub(crate) fn state_at(&self, seq: u64) -> Arc<Map> {
        let within = |change: &&Change| change.batch.is_some_and(|frame| frame <= seq);
        let batch_before_end =
            self.changes.iter().rev().find(within).filter(|change| change.is_last);
        if let Some(last) = batch_before_end {
            assert!(seq >= last.seq, "{seq} is within the batch that ends with {}", last.seq);
        }
        let (_, state) = self.history.range(..=seq).next_back().unwrap();
        state.clone()
    }

    pub(crate) fn key(&mut self) -> Vec<u8> {
        let n = self.rng.below(KEYS);
        format!("{}/key{n}", n % 3).into_bytes()
    }

    fn value(&mut self) -> Vec<u8> {
        self.count += 1;
        let len = if self.rng.one_in(30) { 3000 } else { self.rng.below(300) };
        format!("{};", self.count).into_bytes().into_iter().cycle().take(len).collect()
    }

    fn expiry(&mut self) -> u64 {
        if !self.rng.one_in(8) {
            return NEVER;
        }
        // Now and then it has passed already.
        self.now_ms() + self.rng.next() % 3000 - 200
    }

    fn is_there(&self, key: &[u8]) -> bool {
        self.map.get(key).is_some_and(|(_, expires_ms)| *expires_ms > self.now_ms())
    }

    /// One random call.
    pub(crate) fn step(&mut self) {
        match self.rng.below(100) {
            0..45 => self.put(),
            45..60 => self.delete(),
            60..78 => self.batch(),
            78..82 => self.clock.advance(Duration::from_millis(self.rng.next() % 800)),
            82..84 => self.call(|db| db.sync().unwrap()),
            84..88 => self.call(|db| db.tick().unwrap()),
            88..92 => self.merge(),
            92..94 => self.reopen(),
            _ => (0..6).for_each(|_| self.put()),
        }
    }

    /// A call that changes no content.
    pub(crate) fn call(&mut self, call: impl FnOnce(&Bitcask)) {
        self.set_under_way(self.map.clone());
        call(&self.db);
    }

    fn set_under_way(&self, after: Arc<Map>) {
        let (before, after) = (Map::clone(&self.map), Map::clone(&after));
        *self.under_way.lock().unwrap() = UnderWay { before, after };
    }

    pub(crate) fn put(&mut self) {
        let (key, value, expires_ms) = (self.key(), self.value(), self.expiry());
        let mut after = Map::clone(&self.map);
        after.insert(key.clone(), (value.clone(), expires_ms));
        self.set_under_way(Arc::new(after.clone()));
        match expires_ms {
            NEVER => self.db.put(&key, &value).unwrap(),
            _ => self.db.put_with(&key, &value, at(expires_ms)).unwrap(),
        }
        let seq = self.note(after);
        let value = Some((value, expires_ms));
        self.changes.push(Change { seq, key, value, batch: None, is_last: true });
    }

    fn delete(&mut self) {
        let key = self.key();
        let mut after = Map::clone(&self.map);
        let is_there = self.is_there(&key);
        if is_there {
            after.remove(&key);
        }
        self.set_under_way(Arc::new(after.clone()));
        assert_eq!(self.db.delete(&key).unwrap(), is_there);
        if is_there {
            let seq = self.note(after);
            self.changes.push(Change { seq, key, value: None, batch: None, is_last: true });
        }
    }

    pub(crate) fn batch(&mut self) {
        let mut batch = WriteBatch::new();
        let mut after = Map::clone(&self.map);
        let mut members = Vec::new();
        for _ in 0..self.rng.below(9) {
            let key = self.key();
            if self.rng.one_in(3) {
                batch.delete(key.clone());
                after.remove(&key);
                members.push((key, None));
                continue;
            }
            let (value, expires_ms) = (self.value(), self.expiry());
            match expires_ms {
                NEVER => batch.put(key.clone(), value.clone()),
                _ => batch.put_with(key.clone(), value.clone(), at(expires_ms)),
            };
            after.insert(key.clone(), (value.clone(), expires_ms));
            members.push((key, Some((value, expires_ms))));
        }
        if let [(key, None)] = &members[..]
            && !self.is_there(key)
        {
            // Nothing is written.
            after = Map::clone(&self.map);
            members.clear();
        }
        self.set_under_way(Arc::new(after.clone()));
        self.db.write(&batch).unwrap();
        let count = u64::try_from(members.len()).unwrap();
        if count == 0 {
            return;
        }
        let last = self.note(after);
        let frame = (count > 1).then_some(last - count);
        for (seq, (key, value)) in (last + 1 - count..).zip(members) {
            let is_last = seq == last;
            self.changes.push(Change { seq, key, value, batch: frame, is_last });
        }
    }

    pub(crate) fn merge(&mut self) {
        self.call(|db| {
            db.merge().unwrap();
        });
    }

    pub(crate) fn reopen(&mut self) {
        self.call(|db| db.close().unwrap());
        self.db = self.options.clone().open(&self.path).unwrap();
        assert_eq!(self.db.recovery().cut, None);
    }

    /// Takes note of the store after a change, and gives the sequence number of that.
    fn note(&mut self, after: Map) -> u64 {
        self.map = Arc::new(after);
        let seq = self.db.seq().unwrap();
        self.history.insert(seq, self.map.clone());
        seq
    }
}

fn at(ms: u64) -> std::time::SystemTime {
    UNIX_EPOCH + Duration::from_millis(ms)
}

/// What of a state is there at a time.
pub(crate) fn living(map: &Map, now_ms: u64) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let living = map.iter().filter(|(_, (_, expires_ms))| *expires_ms > now_ms);
    living.map(|(key, (value, _))| (key.clone(), value.clone())).collect()
}

/// Everything that a reader shows.
pub(crate) fn contents(reader: &ReadOnly) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let all: Vec<_> = reader.iter().map(Result::unwrap).collect();
    let count = all.len();
    let all: BTreeMap<_, _> = all.into_iter().map(|(key, value)| (key, value.into_vec())).collect();
    assert_eq!(all.len(), count, "iter met a key twice");
    assert_eq!(reader.len(), all.len() as u64);
    all
}

/// A reader shows this state, in every way of looking at it.
pub(crate) fn assert_shows(reader: &ReadOnly, map: &Map, now_ms: u64) {
    let living = living(map, now_ms);
    let shown = contents(reader);
    assert!(shown == living, "shown: {:?}\nexpected: {:?}", names(&shown), names(&living));
    let keys: Vec<_> = (0..KEYS).map(|n| format!("{}/key{n}", n % 3).into_bytes()).collect();
    let many = reader.get_many(&keys).unwrap();
    for (key, of_many) in keys.iter().zip(many) {
        let expected = living.get(key);
        assert_eq!(of_many.map(bitcask::Value::into_vec).as_ref(), expected);
        assert_eq!(reader.get(key).unwrap().map(bitcask::Value::into_vec).as_ref(), expected);
        assert_eq!(reader.contains(key).unwrap(), expected.is_some());
    }
}

/// Keys with how their values begin.
fn names(map: &BTreeMap<Vec<u8>, Vec<u8>>) -> Vec<String> {
    let name = |bytes: &[u8]| bytes[..bytes.len().min(12)].escape_ascii().to_string();
    map.iter().map(|(key, value)| format!("{}={}", name(key), name(value))).collect()
}

/// A snapshot shows this state.
pub(crate) fn assert_holds(snapshot: &Snapshot, expected: &BTreeMap<Vec<u8>, Vec<u8>>) {
    let all = snapshot.iter().map(Result::unwrap);
    let all: BTreeMap<_, _> = all.map(|(key, value)| (key, value.into_vec())).collect();
    assert!(all == *expected, "a snapshot changed");
    assert_eq!(snapshot.len(), expected.len() as u64);
    for (key, value) in expected {
        assert_eq!(snapshot.get(key).unwrap().as_deref(), Some(&value[..]));
    }
}
