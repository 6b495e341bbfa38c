//! Random calls, each compared with a `BTreeMap`.
//!
//! On a real directory and on the simulated disk, with both ways of reading and writing, with hashes that collide,
//! with keys and values of the lengths at the limits, and with values that look like the store's own files.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests panic, and say what they did")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bitcask::fs::sim::{SimClock, SimFs};
use bitcask::{
    Bitcask, Durability, ErrorKind, IoMode, KEY_LEN_MAX, MergePolicy, Options, WriteBatch,
};

use crate::basics::TempDir;
use crate::crash::{Rng, seeds};

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// A store, and what it should hold.
struct Pair<'a> {
    rng: Rng,
    options: Options,
    dir: &'a std::path::Path,
    db: Bitcask,
    map: Map,
    /// Bytes of a data file, seen as a value.
    own_bytes: Vec<u8>,
}

impl<'a> Pair<'a> {
    fn new(mut rng: Rng, options: Options, dir: &'a std::path::Path) -> Self {
        let merge = MergePolicy { dead_ratio_trigger: 0.5, ..MergePolicy::default() };
        let options = options
            .merge(merge)
            .durability(rng.pick(&[
                Durability::Os,
                Durability::Interval(Duration::from_secs(1)),
                Durability::Always,
            ]))
            .max_file_size(rng.pick(&[4 << 10, 64 << 10]))
            .hash_mask(rng.pick(&[u64::MAX, 0xff << 56, 0xff << 20, 3]))
            .shard_bits(u32::try_from(rng.below(3)).unwrap());
        let db = options.clone().open(dir).unwrap();
        Self { rng, options, dir, db, map: Map::new(), own_bytes: Vec::new() }
    }

    fn key(&mut self) -> Vec<u8> {
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

    fn value(&mut self) -> Vec<u8> {
        let len = self.rng.below(200);
        match self.rng.below(300) {
            0 if self.rng.one_in(4) => self.rng.bytes(1 << 20),
            1..15 => self.own_bytes.clone(),
            15..40 => Vec::new(),
            40..60 => vec![0; len],
            60 => self.rng.bytes(5000),
            _ => self.rng.bytes(len),
        }
    }

    fn step(&mut self) {
        match self.rng.below(200) {
            0..80 => {
                let (key, value) = (self.key(), self.value());
                self.db.put(&key, &value).unwrap();
                self.map.insert(key, value);
            }
            80..110 => {
                let key = self.key();
                assert_eq!(self.db.delete(&key).unwrap(), self.map.remove(&key).is_some());
            }
            110..125 => self.batch(),
            125..160 => {
                let key = self.key();
                assert_eq!(
                    self.db.get(&key).unwrap().as_deref(),
                    self.map.get(&key).map(|v| &v[..])
                );
            }
            160..170 => {
                let key = self.key();
                assert_eq!(self.db.contains(&key).unwrap(), self.map.contains_key(&key));
            }
            170..180 => self.get_many(),
            180..185 => assert_eq!(self.db.len().unwrap(), self.map.len() as u64),
            185..189 => self.compare(),
            189..191 => self.db.sync().unwrap(),
            191..194 => self.refuse(),
            194..196 => self.merge_and_write(),
            196 => self.reopen(),
            _ => self.db.tick().unwrap(),
        }
    }

    fn batch(&mut self) {
        let mut batch = WriteBatch::new();
        for _ in 0..self.rng.below(12) {
            let key = self.key();
            if self.rng.one_in(3) {
                batch.delete(key.clone());
                self.map.remove(&key);
            } else {
                let value = self.value();
                batch.put(key.clone(), value.clone());
                self.map.insert(key, value);
            }
        }
        self.db.write(&batch).unwrap();
    }

    /// Writes while a merge has copied records and not yet moved them.
    fn merge_and_write(&mut self) {
        let changes: Vec<_> =
            (0..6).map(|_| (self.key(), self.value(), self.rng.one_in(3))).collect();
        let (db, map) = (&self.db, &mut self.map);
        let mut changes = changes.into_iter();
        let write = |_: &bitcask::MergeProgress| {
            if let Some((key, value, delete)) = changes.next() {
                if delete {
                    assert_eq!(db.delete(&key).unwrap(), map.remove(&key).is_some());
                } else {
                    db.put(&key, &value).unwrap();
                    map.insert(key, value);
                }
            }
            std::ops::ControlFlow::Continue(())
        };
        db.merge_with(write).unwrap();
        self.compare();
    }

    fn get_many(&mut self) {
        let keys: Vec<_> = (0..self.rng.below(80)).map(|_| self.key()).collect();
        let values = self.db.get_many(&keys).unwrap();
        assert_eq!(values.len(), keys.len());
        for (key, value) in keys.iter().zip(&values) {
            assert_eq!(value.as_deref(), self.map.get(key).map(|value| &value[..]));
        }
    }

    /// What is too long is refused before anything happens, on every path.
    fn refuse(&mut self) {
        let (long, seq) = (vec![1; KEY_LEN_MAX + 1], self.db.stats().unwrap().seq);
        let mut batch = WriteBatch::new();
        batch.put("fine", "too").put(long.clone(), "");
        let refused = [
            self.db.put(&long, b"").unwrap_err(),
            self.db.delete(&long).unwrap_err(),
            self.db.write(&batch).unwrap_err(),
        ];
        for error in refused {
            assert_eq!(error.kind(), ErrorKind::Invalid, "{error:?}");
        }
        assert!(self.db.get(&long).unwrap().is_none());
        assert!(!self.db.contains(&long).unwrap());
        assert_eq!(self.db.stats().unwrap().seq, seq, "something was written");
    }

    fn reopen(&mut self) {
        self.db.close().unwrap();
        self.db = self.options.clone().open(self.dir).unwrap();
        assert_eq!(self.db.recovery().cut, None);
        self.compare();
    }

    /// Everything, in every way of going through everything.
    fn compare(&mut self) {
        let all: Vec<_> = self.db.iter().map(Result::unwrap).collect();
        assert_eq!(all.len(), self.map.len(), "iter met a key twice, or missed one");
        let all: Map = all.into_iter().map(|(key, value)| (key, value.into_vec())).collect();
        assert!(all == self.map, "iter differs");
        let mut keys: Vec<_> = self.db.keys().map(Result::unwrap).collect();
        keys.sort_unstable();
        assert!(keys.iter().eq(self.map.keys()), "keys differ");
        let bytes = self.db.fold(0, |sum, key, value| sum + key.len() + value.len()).unwrap();
        assert_eq!(
            bytes,
            self.map.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>()
        );
    }
}

fn run(what: &str, seed: u64, steps: usize, pair: &mut Pair<'_>, own: impl Fn() -> Vec<u8>) {
    println!("SEED={seed} ({what})");
    for step in 0..steps {
        if step % 100 == 50 {
            pair.own_bytes = own();
        }
        pair.step();
    }
    pair.compare();
    pair.reopen();
}

fn modes(seed: u64) -> IoMode {
    if seed.is_multiple_of(2) { IoMode::Mapped } else { IoMode::Plain }
}

#[test]
fn random_calls_agree_with_a_map_on_the_simulated_disk() {
    let mut steps = 0;
    for seed in seeds(30_000_000, 24) {
        let fs = SimFs::new(seed);
        fs.set_short_io(if seed % 3 == 0 { 4 } else { 0 });
        fs.set_interrupts(if seed % 5 == 0 { 4 } else { 0 });
        let options = Options::new()
            .io(modes(seed))
            .on(Arc::new(fs.clone()), Arc::new(SimClock::new(0)))
            .without_threads();
        let mut pair = Pair::new(Rng::new(seed), options, "/db".as_ref());
        run("simulated", seed, 1000, &mut pair, || some_file(&fs));
        steps += 1000;
    }
    println!("model steps: {steps} (simulated disk)");
}

fn some_file(fs: &SimFs) -> Vec<u8> {
    let names = fs.file_names("/db");
    let name = names.iter().find(|name| name.to_string_lossy().ends_with("data"));
    let mut bytes =
        name.map_or_else(Vec::new, |name| fs.read_file(std::path::Path::new("/db").join(name)));
    bytes.truncate(3000);
    bytes
}

#[test]
fn random_calls_agree_with_a_map_on_a_real_disk() {
    let mut steps = 0;
    for seed in seeds(31_000_000, 8) {
        let dir = TempDir::new(&format!("model-{seed}"));
        let options = Options::new().io(modes(seed));
        let options = if seed % 4 < 2 { options } else { options.without_threads() };
        let mut pair = Pair::new(Rng::new(seed), options, dir.path());
        let own = || {
            let entries = std::fs::read_dir(dir.path()).unwrap();
            let mut paths = entries.map(|entry| entry.unwrap().path());
            let path = paths.find(|path| path.extension().is_some_and(|ext| ext == "data"));
            let mut bytes =
                path.map_or_else(Vec::new, |path| std::fs::read(path).unwrap_or_default());
            bytes.truncate(3000);
            bytes
        };
        run("real", seed, 1000, &mut pair, own);
        steps += 1000;
    }
    println!("model steps: {steps} (real disk)");
}

#[test]
fn keys_and_values_have_the_lengths_that_the_options_allow() {
    for io in [IoMode::Mapped, IoMode::Plain] {
        let fs = SimFs::new(1);
        let clock = SimClock::new(0);
        let options = Options::new().on(Arc::new(fs.clone()), Arc::new(clock)).without_threads();
        let options = options.io(io).max_file_size(4 << 10).max_key_len(10).max_value_len(1 << 20);
        let db = options.clone().open("/db").unwrap();
        for len in [0, 1, 9, 10] {
            db.put(&vec![b'k'; len], &vec![b'v'; len]).unwrap();
        }
        db.put(b"long", &vec![b'v'; 1 << 20]).unwrap();
        let (files, seq) = (fs.file_names("/db"), db.stats().unwrap().seq);
        let mut batch = WriteBatch::new();
        batch.put("long", vec![0; (1 << 20) + 1]);
        let refused = [
            db.put(&[b'k'; 11], b"").unwrap_err(),
            db.delete(&[b'k'; 11]).unwrap_err(),
            db.put(b"long", &vec![0; (1 << 20) + 1]).unwrap_err(),
            db.write(&batch).unwrap_err(),
        ];
        for error in refused {
            assert_eq!(error.kind(), ErrorKind::Invalid, "{error:?}");
        }
        assert_eq!((fs.file_names("/db"), db.stats().unwrap().seq), (files, seq));
        db.close().unwrap();
        let db = options.max_value_len(0).open("/db").unwrap();
        assert_eq!(db.get(b"long").unwrap().unwrap(), vec![b'v'; 1 << 20]);
        for len in [0, 1, 9, 10] {
            assert_eq!(db.get(&vec![b'k'; len]).unwrap().unwrap(), vec![b'v'; len]);
        }
        assert_eq!(db.put(b"k", b"v").unwrap_err().kind(), ErrorKind::Invalid);
        db.put(b"k", b"").unwrap();
    }
}
