//! Snapshots and keys that expire, against writers and merges.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bitcask::fs::sim::{SimClock, SimFs};
use bitcask::{Bitcask, Durability, Index, MergePolicy, Options, Snapshot};
use shuttle::rand::{Rng, thread_rng};
use shuttle::thread;

use super::{DIR, FICKLE, FILE_SIZE, STEADY, SwitchingFs, World, explore, join, spawn, version_of};

/// The versions of all keys that a snapshot holds; none for those that it does not.
fn versions(world: &World, snapshot: &Snapshot) -> Vec<Option<u64>> {
    let names: Vec<&str> = world.keys.iter().map(|key| key.name).collect();
    let values = if thread_rng().r#gen() {
        let all: BTreeMap<_, _> = snapshot.iter().map(Result::unwrap).collect();
        assert_eq!(all.len() as u64, snapshot.len());
        names.iter().map(|name| all.get(name.as_bytes()).cloned()).collect()
    } else {
        snapshot.get_many(&names).unwrap()
    };
    let version = |(name, value): (&&str, &Option<bitcask::Value>)| {
        value.as_ref().map(|value| version_of(name, value))
    };
    names.iter().zip(&values).map(version).collect()
}

/// Takes a snapshot and reads it `times` times: always the same moment, with both halves of a batch or neither.
fn look_at_one_moment(world: &World, times: usize) {
    let from: Vec<u64> = world.keys.iter().map(super::Key::done).collect();
    let snapshot = world.db().snapshot().unwrap();
    let to: Vec<u64> = world.keys.iter().map(super::Key::begun).collect();
    let seen = versions(world, &snapshot);
    assert_eq!(seen[0], seen[1], "half a batch");
    for (key, (seen, (&from, &to))) in world.keys.iter().zip(seen.iter().zip(from.iter().zip(&to)))
    {
        match seen {
            Some(seen) => assert!((from..=to).contains(seen), "{key:?}, seen {seen}"),
            None => assert!((from..=to).any(|version| key.is_deletion(version)), "{key:?}"),
        }
    }
    for _ in 1..times {
        assert_eq!(versions(world, &snapshot), seen, "another moment");
    }
    assert!(
        world.keys.iter().zip(&seen).all(|(key, seen)| {
            snapshot.contains(key.name.as_bytes()).unwrap() == seen.is_some()
        })
    );
}

fn snapshots_during_writes_and_merges() {
    let world =
        World::new(Durability::Os, [("a", STEADY), ("b", STEADY), ("f", FICKLE), ("s", STEADY)]);
    let writer = spawn(&world, |world| {
        world.write_together(&[0, 1]).unwrap();
        world.write(2).unwrap();
        world.write_together(&[1, 0]).unwrap();
        world.write(2).unwrap();
    });
    let merger =
        spawn(&world, |world| (0..2).for_each(|_| world.db().merge().map(|_| ()).unwrap()));
    let lookers = [3, 1].map(|times| {
        spawn(&world, move |world| (0..2).for_each(|_| look_at_one_moment(world, times)))
    });
    join([writer, merger].into_iter().chain(lookers));
    let bounds = world.bounds();
    world.check(world.db(), &bounds);

    // Nothing is kept when no snapshot lives.
    assert!(world.db().stats().unwrap().snapshots.is_empty());
    for _ in 0..3 {
        world.db().merge().unwrap();
    }
    assert_eq!(world.db().stats().unwrap().dead_bytes(), 0);
    let image = world.reopen(world.sim.kill());
    world.check(&image, &bounds);
}

#[test]
fn a_snapshot_shows_one_moment_whatever_is_written_and_merged() {
    explore(2500, snapshots_during_writes_and_merges);
}

/// A store of small values, with its disk and clock.
fn small_store() -> (Bitcask, SimFs, SimClock, Options) {
    let sim = SimFs::new(0);
    sim.set_write_back(0);
    sim.set_reserves_blocks(thread_rng().r#gen());
    let clock = SimClock::new(1_000_000);
    let options = Options::new()
        .without_threads()
        .shard_bits(1)
        .hash_mask(if thread_rng().r#gen() { u64::MAX } else { 0 })
        .max_file_size(FILE_SIZE)
        .durability(Durability::Os)
        .merge(MergePolicy { background: false, ..MergePolicy::default() });
    let fs = Arc::new(SwitchingFs::new(sim.clone()));
    let options = options.on(fs, Arc::new(clock.clone()));
    (options.clone().open(DIR).unwrap(), sim, clock, options)
}

/// Old values and their tombstones lie in one file. While they are merged, the snapshots end that see the values.
fn snapshots_end_during_a_merge() {
    let (db, sim, clock, options) = small_store();
    for key in [b"x", b"y"] {
        db.put(key, b"old").unwrap();
    }
    let older = db.snapshot().unwrap();
    db.delete(b"x").unwrap();
    let newer = db.snapshot().unwrap();
    db.delete(b"y").unwrap();
    db.put(b"live", &[0; 2000]).unwrap();
    db.put(b"more", &[0; 2000]).unwrap();
    db.tick().unwrap();
    let mut threads = Vec::new();
    for snapshot in [older, newer] {
        threads.push(thread::spawn(move || drop(snapshot)));
    }
    let merging = db.clone();
    threads.push(thread::spawn(move || merging.merge().map(|_| ()).unwrap()));
    let writing = db.clone();
    threads.push(thread::spawn(move || writing.put(b"live", b"").unwrap()));
    join(threads);
    assert!(db.stats().unwrap().snapshots.is_empty());
    let image = options.on(Arc::new(sim.kill()), Arc::new(clock)).open(DIR).unwrap();
    for db in [db, image] {
        assert!(db.get(b"x").unwrap().is_none() && db.get(b"y").unwrap().is_none(), "came back");
        assert_eq!(db.len().unwrap(), 2);
        (0..3).for_each(|_| db.merge().map(|_| ()).unwrap());
        assert_eq!(db.stats().unwrap().dead_bytes(), 0);
    }
}

#[test]
fn a_deleted_key_stays_deleted_when_a_snapshot_ends_during_a_merge() {
    explore(3000, snapshots_end_during_a_merge);
}

/// Keys expire and are dropped while one of them is put again, and keys are counted.
fn expiry_during_writes() {
    let (db, sim, clock, options) = small_store();
    let second = Duration::from_secs(1);
    for key in [b"x", b"y", b"z"] {
        db.put_with(key, b"old", second).unwrap();
    }
    db.put(b"live", b"").unwrap();
    let merges: bool = thread_rng().r#gen();
    if merges {
        db.put(b"filler", &[0; 3900]).unwrap();
        db.delete(b"filler").unwrap();
    }
    let snapshot = db.snapshot().unwrap();
    clock.advance(second);
    let mut threads = Vec::new();
    let ticking = db.clone();
    threads.push(thread::spawn(move || {
        ticking.tick().unwrap();
        if merges {
            ticking.merge().unwrap();
        }
    }));
    let putting = db.clone();
    threads.push(thread::spawn(move || {
        assert!(putting.put_if_absent(b"y", b"new").unwrap());
        putting.put_with(b"y", b"newer", 2 * second).unwrap();
    }));
    let counting = db.clone();
    threads.push(thread::spawn(move || {
        for _ in 0..3 {
            assert!((1..=2).contains(&counting.len().unwrap()), "live, and y at times");
            assert!(counting.get(b"x").unwrap().is_none());
        }
    }));
    join(threads);
    for key in [b"x", b"y", b"z"] {
        assert_eq!(snapshot.get(key).unwrap().unwrap(), "old");
    }
    drop(snapshot);
    assert_eq!(db.get(b"y").unwrap().unwrap(), "newer");
    let stats = db.stats().unwrap();
    assert_eq!((stats.keys, stats.expiring_keys), (2, 1));
    let image = options.on(Arc::new(sim.kill()), Arc::new(clock.clone())).open(DIR).unwrap();
    assert_eq!(image.get(b"y").unwrap().unwrap(), "newer");
    assert_eq!(image.len().unwrap(), 2);
    clock.advance(2 * second);
    db.tick().unwrap();
    let stats = db.stats().unwrap();
    assert_eq!((stats.keys, stats.expiring_keys, db.keys().count()), (1, 0, 1));
}

/// Keys expire and are dropped while merge moves their records.
fn expiry_during_a_merge() {
    let (db, _, clock, _) = small_store();
    let second = Duration::from_secs(1);
    db.put(b"live", &[0; 2000]).unwrap();
    for key in [b"x", b"y"] {
        db.put_with(key, b"old", second).unwrap();
    }
    db.put(b"live", &[0; 3000]).unwrap();
    db.tick().unwrap();
    let merging = db.clone();
    let merger = thread::spawn(move || drop(merging.merge().unwrap()));
    let ticking = db.clone();
    let ticker = thread::spawn(move || {
        clock.advance(second);
        ticking.tick().unwrap();
    });
    let putting = db.clone();
    let writer = thread::spawn(move || putting.put(b"more", b"").unwrap());
    join([merger, ticker, writer]);
    db.tick().unwrap();
    let stats = db.stats().unwrap();
    assert_eq!((stats.keys, stats.expiring_keys, db.keys().count()), (2, 0, 2));
}

#[test]
fn keys_that_expire_while_merge_moves_them_are_dropped_once() {
    explore(3000, expiry_during_a_merge);
}

/// A snapshot ends while another begins, and a key is deleted that the second sees.
fn ranges_of_a_snapshot_that_begins_when_another_ends() {
    let (db, sim, clock, options) = small_store();
    db.put(b"k", b"v").unwrap();
    db.close().unwrap();
    let fs = Arc::new(SwitchingFs::new(sim));
    let db = options.on(fs, Arc::new(clock)).index(Index::Ordered).open(DIR).unwrap();
    let first = db.snapshot().unwrap();
    let ending = thread::spawn(move || drop(first));
    let second = db.snapshot().unwrap();
    db.delete(b"k").unwrap();
    join([ending]);
    assert!(second.contains(b"k").unwrap());
    assert_eq!(second.range::<[u8]>(..).unwrap().count(), 1, "its range lost a key");
}

#[test]
fn a_snapshot_that_begins_when_another_ends_keeps_its_ranges() {
    explore(1000, ranges_of_a_snapshot_that_begins_when_another_ends);
}

#[test]
fn keys_that_expire_while_they_are_put_again_are_counted_and_dropped_once() {
    explore(2500, expiry_during_writes);
}
