//! Thousands of files with something wrong in each: no panic, no hang, no memory that the bytes do not account for.

use bitcask_random::Random;

use super::aof::Tail;
use super::made::{self, Rdb, commands};
use super::{Databases, lzf};
use crate::fuzzing::{byte, seeded};

const ROUNDS: u64 = 4000;

/// A few bytes changed, put in, taken out or doubled; and often the end cut.
fn mutate(random: &mut Random, bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=random.index(4) {
        let at = random.index(bytes.len());
        let end = (at + 1 + random.index(12)).min(bytes.len());
        match random.index(6) {
            0 if at < bytes.len() => {
                bytes[at] = [0, 1, 0x7f, 0x80, 0x81, 0xc3, 0xff][random.index(7)]
            }
            1 if at < bytes.len() => bytes[at] ^= 1 << random.index(8),
            2 => drop(bytes.splice(at..at, [byte(random)])),
            3 => drop(bytes.drain(at..end)),
            4 => drop(bytes.splice(at..at, bytes[at..end].to_vec())),
            _ => bytes.truncate(at.max(9)),
        }
    }
    bytes
}

fn fixture(name: &str) -> Vec<u8> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/redis/");
    std::fs::read(format!("{dir}{name}")).unwrap()
}

#[test]
fn damaged_snapshots_are_errors_and_nothing_worse() {
    let mut random = seeded();
    let tiny = Rdb::new("REDIS0012").put("a", "1").raw(&[0]).string(b"b").raw(&[0xc3, 6, 21]);
    let tiny = tiny.raw(&[1, b'a', b'b', 0xe0, 10, 1]).raw(&[1]).string(b"l").len(1).string(b"x");
    let seeds = [tiny.end(), fixture("redis7.rdb"), fixture("redis7-plain.rdb")];
    let mut errors = 0;
    for round in 0..ROUNDS {
        let seed = &seeds[usize::try_from(round % 3).unwrap()];
        let bytes = mutate(&mut random, seed);
        let done = made::import_rdb(&bytes, Databases::All);
        errors += u64::from(done.result.is_err());
    }
    // The checksum sees what the structure does not.
    assert!(errors > ROUNDS * 9 / 10, "{errors}");
}

#[test]
fn damaged_logs_are_errors_and_nothing_worse() {
    let mut random = seeded();
    let tiny = "SELECT 0\nSET a 1 EX 5\nAPPEND a 22\nMULTI\nINCR b\nEXEC\nSETRANGE a 3 x\nRENAME a c\nFLUSHDB\nDEL a b";
    let aof = "appendonlydir/appendonly.aof.2";
    let mut both = fixture(&format!("{aof}.base.rdb"));
    both.extend(fixture(&format!("{aof}.incr.aof")));
    let seeds = [commands(tiny), fixture("commands.aof"), both];
    for round in 0..ROUNDS {
        let seed = &seeds[usize::try_from(round % 3).unwrap()];
        let bytes = mutate(&mut random, seed);
        let done = made::import_aof(&bytes, Tail::MayBeTorn, Databases::One(0));
        let given: usize = done.memory.keys.values().map(|current| current.value.len()).sum();
        // What zeros a command asks for are its own.
        assert!(given < 1 << 30, "{given}");
    }
}

#[test]
fn any_compressed_string_ends() {
    let mut random = seeded();
    for _ in 0..ROUNDS {
        let len = random.index(40);
        let bytes: Vec<u8> = (0..len).map(|_| byte(&mut random)).collect();
        let claim = random.below(600);
        if let Some(string) = lzf::decompress(&bytes, claim) {
            assert_eq!(string.len() as u64, claim);
        }
    }
}
