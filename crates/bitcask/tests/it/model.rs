//! Random calls, each compared with a `BTreeMap`.
//!
//! Plain changes and those that depend on what is there, keys that expire by a clock that is turned at will, several
//! snapshots at a time. On a real directory and on the simulated disk, with both ways of reading and writing, with hashes that collide,
//! with keys and values of the lengths at the limits, and with values that look like the store's own files.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests panic, and say what they did")]

mod expected;
mod frozen;
mod pair;
mod updates;

use std::sync::Arc;

use bitcask::fs::Disk;
use bitcask::fs::sim::{SimClock, SimFs};
use bitcask::{ErrorKind, IoMode, Options, WriteBatch};

use crate::basics::TempDir;
use crate::crash::seeds;
use pair::Pair;

fn run(what: &str, seed: u64, steps: usize, pair: &mut Pair<'_>, own: impl Fn() -> Vec<u8>) {
    println!("SEED={seed} ({what})");
    for step in 0..steps {
        if step % 100 == 50 {
            pair.own_bytes = own();
        }
        pair.step();
    }
    pair.compare();
    pair.thaw();
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
        let options = Options::new().io(modes(seed)).without_threads();
        let mut pair = Pair::new(seed, options, Arc::new(fs.clone()), "/db".as_ref());
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
        let mut pair = Pair::new(seed, options, Arc::new(Disk), dir.path());
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
