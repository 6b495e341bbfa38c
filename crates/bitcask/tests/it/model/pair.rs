//! A store beside what it should hold, and the calls that are made of both.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bitcask::fs::Fs;
use bitcask::fs::sim::SimClock;
use bitcask::{
    Bitcask, Durability, ErrorKind, Expiry, KEY_LEN_MAX, MergePolicy, Options, WriteBatch,
};

use super::expected::{Expected, Map, NEVER, at};
use super::frozen::Frozen;
use crate::crash::Rng;

/// A store, and what it should hold.
pub(super) struct Pair<'a> {
    pub(super) rng: Rng,
    options: Options,
    dir: &'a Path,
    pub(super) db: Bitcask,
    pub(super) expected: Expected,
    pub(super) clock: SimClock,
    /// Snapshots that live.
    pub(super) frozen: Vec<Frozen>,
    /// Bytes of a data file, seen as a value.
    pub(super) own_bytes: Vec<u8>,
}

/// How stores of a model are opened: one line for each thing that is left to chance.
fn drawn(rng: &mut Rng, options: Options) -> Options {
    let merge = MergePolicy { dead_ratio_trigger: 0.5, ..MergePolicy::default() };
    let durabilities =
        [Durability::Os, Durability::Interval(Duration::from_secs(1)), Durability::Always];
    options
        .merge(merge)
        .durability(rng.pick(&durabilities))
        .max_file_size(rng.pick(&[4 << 10, 64 << 10]))
        .hash_mask(rng.pick(&[u64::MAX, 0xff << 56, 0xff << 20, 3]))
        .shard_bits(u32::try_from(rng.below(3)).unwrap())
}

impl<'a> Pair<'a> {
    /// A store on `fs`, by a clock of its own.
    pub(super) fn new(seed: u64, options: Options, fs: Arc<dyn Fs>, dir: &'a Path) -> Self {
        let mut rng = Rng::new(seed);
        let clock = SimClock::new(1_700_000_000_000);
        let options = drawn(&mut rng, options).on(fs, Arc::new(clock.clone()));
        let db = options.clone().open(dir).unwrap();
        // The store looks at the clock when it must: now.
        assert_eq!(db.len().unwrap(), 0);
        let expected = Expected::new(clock.clone());
        Self { rng, options, dir, db, expected, clock, frozen: Vec::new(), own_bytes: Vec::new() }
    }

    pub(super) fn key(&mut self) -> Vec<u8> {
        match self.rng.below(300) {
            0 => Vec::new(),
            1 => vec![0],
            2 => vec![0xff; KEY_LEN_MAX],
            3..20 => self.own_bytes.get(..64).unwrap_or_default().to_vec(),
            _ => {
                let n = self.rng.below(60);
                format!("key{n}").repeat(1 + n % 3).into_bytes()
            }
        }
    }

    pub(super) fn value(&mut self) -> Vec<u8> {
        let len = self.rng.below(200);
        match self.rng.below(300) {
            0 if self.rng.one_in(4) => self.rng.bytes(1 << 20),
            1..15 => self.own_bytes.clone(),
            15..40 => Vec::new(),
            40..60 => vec![0; len],
            60 => self.rng.bytes(5000),
            61..80 => self.rng.next().cast_signed().to_string().into_bytes(),
            80..110 => self.rng.below(1000).to_string().into_bytes(),
            _ => self.rng.bytes(len),
        }
    }

    /// An expiry: soon, now, long ago, hardly ever, never.
    pub(super) fn expiry(&mut self) -> Expiry {
        let ms = u64::try_from(self.rng.below(20_000)).unwrap();
        match self.rng.below(12) {
            0 => Expiry::Never,
            1 => Expiry::After(Duration::ZERO),
            2 => Expiry::At(at(self.expected.now_ms())),
            3 => Expiry::At(at(ms)),
            4 => Expiry::After(Duration::from_secs(1 << 40)),
            5..8 => Expiry::At(at(self.expected.now_ms() + ms)),
            _ => Expiry::After(Duration::from_millis(ms)),
        }
    }

    pub(super) fn step(&mut self) {
        match self.rng.below(260) {
            0..60 => {
                let (key, value) = (self.key(), self.value());
                self.db.put(&key, &value).unwrap();
                self.expected.put(key, value, NEVER);
            }
            60..85 => self.put_with(),
            85..110 => {
                let key = self.key();
                assert_eq!(self.db.delete(&key).unwrap(), self.expected.remove(&key).is_some());
            }
            110..125 => self.batch(),
            125..150 => {
                let key = self.key();
                assert_eq!(self.db.get(&key).unwrap().as_deref(), self.expected.get(&key));
            }
            150..160 => {
                let key = self.key();
                assert_eq!(self.db.contains(&key).unwrap(), self.expected.has(&key));
            }
            160..168 => self.get_many(),
            168..172 => assert_eq!(self.db.len().unwrap(), self.expected.len()),
            172..176 => self.compare(),
            176..178 => self.db.sync().unwrap(),
            178..181 => self.refuse(),
            181..183 => self.merge_and_write(),
            183 => self.reopen(),
            184..190 => self.db.tick().unwrap(),
            190..215 => self.update(),
            215..232 => self.time_passes(),
            _ => self.freeze_or_thaw(),
        }
    }

    fn put_with(&mut self) {
        let (key, value, expiry) = (self.key(), self.value(), self.expiry());
        self.db.put_with(&key, &value, expiry).unwrap();
        self.expected.put(key, value, self.expected.expiry_ms(expiry));
    }

    fn batch(&mut self) {
        let mut batch = WriteBatch::new();
        for _ in 0..self.rng.below(12) {
            let key = self.key();
            match self.rng.below(3) {
                0 => {
                    batch.delete(key.clone());
                    self.expected.remove(&key);
                }
                1 => {
                    let (value, expiry) = (self.value(), self.expiry());
                    batch.put_with(key.clone(), value.clone(), expiry);
                    self.expected.put(key, value, self.expected.expiry_ms(expiry));
                }
                _ => {
                    let value = self.value();
                    batch.put(key.clone(), value.clone());
                    self.expected.put(key, value, NEVER);
                }
            }
        }
        self.db.write(&batch).unwrap();
    }

    /// Time passes, or somebody turns the clock. Often just far enough for a key to expire, which is then put again.
    fn time_passes(&mut self) {
        match self.rng.below(10) {
            0 => self.clock.step_wall_ms(-3_600_000),
            1 => self.clock.step_wall_ms(self.rng.pick(&[-1, 1, 400, -2000])),
            2..6 => self.clock.advance(Duration::from_millis(self.rng.next() % 8000)),
            6 => self.clock.advance(Duration::from_nanos(self.rng.next() % 3_000_000)),
            _ => {
                let next_ms = self.expected.next_expiry_ms().unwrap_or(0);
                let left_ms = next_ms.saturating_sub(self.expected.now_ms());
                let left_ms = if left_ms > 1 << 30 { 1 } else { left_ms };
                self.clock.advance(Duration::from_millis(left_ms));
            }
        }
        self.look_at_clock();
        if self.rng.one_in(4) {
            self.put_with();
        }
    }

    fn look_at_clock(&mut self) {
        self.expected.look_at_clock();
        assert_eq!(self.db.len().unwrap(), self.expected.len());
    }

    /// Writes, has time pass, and begins and ends snapshots, while a merge has copied records and not yet moved them.
    fn merge_and_write(&mut self) {
        let changes: Vec<_> = (0..6)
            .map(|_| (self.key(), self.value(), self.rng.below(6), self.rng.next()))
            .collect();
        let (db, expected, frozen) = (&self.db, &mut self.expected, &mut self.frozen);
        let (clock, mut changes) = (&self.clock, changes.into_iter());
        let write = |_: &bitcask::MergeProgress| {
            let Some((key, value, what, random)) = changes.next() else {
                return ControlFlow::Continue(());
            };
            let ms = random % 6000;
            match what {
                0 => assert_eq!(db.delete(&key).unwrap(), expected.remove(&key).is_some()),
                1 => {
                    let expiry = Duration::from_millis(ms).into();
                    db.put_with(&key, &value, expiry).unwrap();
                    expected.put(key, value, expected.expiry_ms(expiry));
                }
                2 => {
                    clock.advance(Duration::from_millis(ms));
                    expected.look_at_clock();
                    assert_eq!(db.len().unwrap(), expected.len());
                }
                3 => frozen.push(Frozen::new(db, expected)),
                4 if !frozen.is_empty() => {
                    frozen.swap_remove(usize::try_from(random).unwrap() % frozen.len());
                }
                _ => {
                    db.put(&key, &value).unwrap();
                    expected.put(key, value, NEVER);
                }
            }
            ControlFlow::Continue(())
        };
        db.merge_with(write).unwrap();
        self.compare();
        self.frozen.iter().for_each(Frozen::compare);
    }

    fn get_many(&mut self) {
        let keys: Vec<_> = (0..self.rng.below(80)).map(|_| self.key()).collect();
        let values = self.db.get_many(&keys).unwrap();
        assert_eq!(values.len(), keys.len());
        for (key, value) in keys.iter().zip(&values) {
            assert_eq!(value.as_deref(), self.expected.get(key));
        }
    }

    /// What is too long is refused before anything happens, on every path.
    fn refuse(&mut self) {
        let (long, written) = (vec![1; KEY_LEN_MAX + 1], self.written());
        let mut batch = WriteBatch::new();
        batch.put("fine", "too").put(long.clone(), "");
        let refused = [
            self.db.put(&long, b"").unwrap_err(),
            self.db.delete(&long).unwrap_err(),
            self.db.write(&batch).unwrap_err(),
            self.db.put_if_absent(&long, b"").unwrap_err(),
            self.db.increment(&long, 1).unwrap_err(),
        ];
        for error in refused {
            assert_eq!(error.kind(), ErrorKind::Invalid, "{error:?}");
        }
        assert!(self.db.get(&long).unwrap().is_none());
        assert!(!self.db.contains(&long).unwrap());
        assert_eq!(self.written(), written, "something was written");
    }

    /// Puts and deletes; not the sequence number, because the background may write marks.
    pub(super) fn written(&self) -> (u64, u64) {
        let stats = self.db.stats().unwrap();
        (stats.puts, stats.deletes)
    }

    /// Closes and opens the store; in between somebody may turn the clock back.
    pub(super) fn reopen(&mut self) {
        self.look_at_clock();
        if self.rng.one_in(2) {
            self.frozen.clear();
        }
        self.db.close().unwrap();
        self.frozen.drain(..).for_each(|frozen| frozen.check_closed());
        if self.rng.one_in(2) {
            self.clock.step_wall_ms(-i64::try_from(self.rng.below(20_000_000)).unwrap());
        }
        self.clock.advance(Duration::from_millis(self.rng.next() % 10));
        self.db = self.options.clone().open(self.dir).unwrap();
        assert_eq!(self.db.recovery().cut, None);
        self.expected.reopened_at(self.store_time_ms());
        self.compare();
    }

    /// What time it is for the store.
    fn store_time_ms(&self) -> u64 {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        let before = self.db.expires_at(b"time").unwrap();
        assert_eq!(before, None);
        self.db.put_with(b"time", b"", DAY).unwrap();
        let expiry = self.db.expires_at(b"time").unwrap().unwrap();
        assert!(self.db.delete(b"time").unwrap());
        self.expected.expiry_ms(expiry) - u64::try_from(DAY.as_millis()).unwrap()
    }

    /// Everything, in every way of going through everything.
    pub(super) fn compare(&self) {
        let map = self.expected.map();
        let all: Vec<_> = self.db.iter().map(Result::unwrap).collect();
        let count = all.len();
        let all: Map = all.into_iter().map(|(key, value)| (key, value.into_vec())).collect();
        assert_eq!(count, all.len(), "iter met a key twice");
        let differing = all.iter().find(|&(key, value)| map.get(key) != Some(value));
        assert!(differing.is_none(), "iter met {differing:?}");
        assert_eq!(count, map.len(), "iter missed a key");
        let mut keys: Vec<_> = self.db.keys().map(Result::unwrap).collect();
        keys.sort_unstable();
        assert!(keys.iter().eq(map.keys()), "keys differ");
        let bytes = self.db.fold(0, |sum, key, value| sum + key.len() + value.len()).unwrap();
        assert_eq!(bytes, map.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>());
        let values = self.db.get_many(&keys).unwrap();
        assert!(
            values.iter().zip(map.values()).all(|(value, other)| value.as_ref().unwrap() == other)
        );
        assert_eq!(self.db.len().unwrap(), map.len() as u64);
        let expiring = self.db.stats().unwrap().expiring_keys;
        assert!(expiring >= self.expected.expiring(), "{expiring} keys will expire");
    }
}
