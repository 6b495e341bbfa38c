//! Keys in order: ranges, prefixes and pages, on the store as it is and on snapshots, compared with a `BTreeMap`.
#![expect(clippy::unwrap_used, reason = "tests panic")]

use std::collections::BTreeMap;
use std::fs;
use std::ops::Bound;
use std::sync::Arc;

use bitcask::fs::sim::{SimClock, SimFs};
use bitcask::{Bitcask, Cursor, ErrorKind, Index, Options, Snapshot};

use crate::basics::TempDir;
use crate::crash::{Rng, seeds};

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

fn options(seed: u64) -> Options {
    let fs = SimFs::new(seed);
    let clock = SimClock::new(0);
    let options = Options::new().on(Arc::new(fs), Arc::new(clock)).without_threads();
    options.shard_bits(2).max_file_size(4 << 10).index(Index::Ordered)
}

fn key(rng: &mut Rng) -> Vec<u8> {
    let n = rng.below(40);
    match rng.below(12) {
        0 => Vec::new(),
        1 => vec![0xff; n % 4],
        2 => b"user:".repeat(1 + n % 3),
        _ => format!("key{n}").into_bytes(),
    }
}

fn bounds(rng: &mut Rng) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    let mut bound = || match rng.below(5) {
        0 => Bound::Unbounded,
        1 | 2 => Bound::Included(key(rng)),
        _ => Bound::Excluded(key(rng)),
    };
    (bound(), bound())
}

/// What of `map` lies within; a map panics over bounds that are the wrong way round.
fn within(map: &Map, bounds: &(Bound<Vec<u8>>, Bound<Vec<u8>>)) -> Vec<(Vec<u8>, Vec<u8>)> {
    use std::ops::RangeBounds;
    let entries = map.iter().filter(|(key, _)| bounds.contains(*key));
    entries.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Every way of going through a snapshot in order agrees with the map.
fn compare(snapshot: &Snapshot, map: &Map, rng: &mut Rng) {
    for (key, value) in map {
        assert_eq!(snapshot.get(key).unwrap().as_deref(), Some(&value[..]), "{key:?}");
    }
    let bounds = bounds(rng);
    let expected = within(map, &bounds);
    let range = || {
        let range = snapshot.range::<Vec<u8>>(bounds.clone()).unwrap();
        range.map(|entry| entry.map(|(key, value)| (key, value.into_vec())).unwrap())
    };
    assert_eq!(range().collect::<Vec<_>>(), expected);
    let mut backwards = range().rev().collect::<Vec<_>>();
    backwards.reverse();
    assert_eq!(backwards, expected);

    // From both ends until they meet.
    let (mut range, mut front, mut back) = (range(), Vec::new(), Vec::new());
    loop {
        let (next, list) = match rng.one_in(2) {
            true => (range.next(), &mut front),
            false => (range.next_back(), &mut back),
        };
        match next {
            Some(entry) => list.push(entry),
            None => break,
        }
    }
    back.reverse();
    assert_eq!([front, back].concat(), expected);

    let (mut range, target) = (snapshot.range::<[u8]>(..).unwrap(), key(rng));
    let skipped = rng.below(4);
    let passed: Vec<_> = range.by_ref().take(skipped).map(|entry| entry.unwrap().0).collect();
    range.seek(&target);
    let next = range.next().map(|entry| entry.unwrap().0);
    let mut rest = map.keys().filter(|key| !passed.contains(key) && **key >= target);
    assert_eq!(next.as_ref(), rest.next());

    let prefix = key(rng);
    let found: Vec<_> = snapshot.prefix(&prefix).map(|entry| entry.unwrap().0).collect();
    assert!(found.iter().eq(map.keys().filter(|key| key.starts_with(&prefix))));
    assert_eq!(snapshot.len(), map.len() as u64);
}

fn scan(db: &Bitcask, prefix: &[u8], limit: usize) -> Vec<Vec<u8>> {
    let (mut keys, mut cursor) = (Vec::new(), None);
    loop {
        let page = db.scan(prefix, cursor.as_ref(), limit).unwrap();
        assert!(page.entries.len() <= limit);
        keys.extend(page.entries.into_iter().map(|(key, _)| key));
        let Some(next) = page.next else { return keys };
        // A cursor survives being written down.
        cursor = Some(Cursor::from(next.as_bytes()));
    }
}

#[test]
fn ranges_agree_with_a_map_now_and_on_snapshots() {
    for seed in seeds(40_000_000, 20) {
        println!("SEED={seed}");
        let (mut rng, options) = (Rng::new(seed), options(seed));
        let mut db = options.clone().open("/db").unwrap();
        let (mut map, mut held) = (Map::new(), Vec::new());
        for step in 0..600 {
            match rng.below(20) {
                0..9 => {
                    let (key, value) = (key(&mut rng), rng.bytes(20));
                    db.put(&key, &value).unwrap();
                    map.insert(key, value);
                }
                9..14 => {
                    let key = key(&mut rng);
                    assert_eq!(db.delete(&key).unwrap(), map.remove(&key).is_some());
                }
                14 => held.push((db.snapshot().unwrap(), map.clone())),
                15 if !held.is_empty() => drop(held.remove(rng.below(held.len()))),
                16 => db.tick().unwrap(),
                17 if step % 10 == 0 => drop(db.merge().unwrap()),
                18 if step % 20 == 0 => {
                    held.clear();
                    db.close().unwrap();
                    db = options.clone().open("/db").unwrap();
                }
                _ => {
                    compare(&db.snapshot().unwrap(), &map, &mut rng);
                    held.iter().for_each(|(snapshot, map)| compare(snapshot, map, &mut rng));
                    let prefix = key(&mut rng);
                    let (limit, expected) = (1 + rng.below(9), map.keys());
                    let expected = expected.filter(|key| key.starts_with(&prefix));
                    assert!(scan(&db, &prefix, limit).iter().eq(expected));
                }
            }
            assert_eq!(db.first().unwrap().map(|(key, _)| key), map.keys().next().cloned());
            assert_eq!(db.last().unwrap().map(|(key, _)| key), map.keys().next_back().cloned());
        }
    }
}

#[test]
fn a_range_gives_all_that_comes_before_damage_and_then_ends() {
    let dir = TempDir::new("range-damage");
    let open = || Options::new().index(Index::Ordered).open(dir.path()).unwrap();
    let db = open();
    for n in 0..100u8 {
        db.put(&[n], &[b"value ", &[n; 8][..]].concat()).unwrap();
    }
    db.close().unwrap();
    let data = |entry: &fs::DirEntry| entry.path().extension().is_some_and(|ext| ext == "data");
    let path = fs::read_dir(dir.path()).unwrap().map(Result::unwrap).find(data).unwrap().path();
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(8).position(|found| found == [70; 8]).unwrap();
    bytes[at] ^= 1;
    fs::write(&path, bytes).unwrap();

    let db = open();
    let keys = |range: &mut dyn Iterator<Item = bitcask::Result<(Vec<u8>, bitcask::Value)>>| {
        let sound: Vec<_> = range.map_while(|entry| Some(entry.ok()?.0[0])).collect();
        assert!(range.next().is_none(), "nothing comes behind an error");
        sound
    };
    assert_eq!(keys(&mut db.range::<[u8]>(..).unwrap()), (0..70).collect::<Vec<_>>());
    assert_eq!(keys(&mut db.range::<[u8]>(..).unwrap().rev()), (71..100).rev().collect::<Vec<_>>());
    // What one end has met ahead is no matter of the other, nor of who skips it.
    let mut range = db.range::<[u8]>(..).unwrap();
    for n in (80..100).rev() {
        assert_eq!(range.next_back().unwrap().unwrap().0, [n]);
    }
    assert_eq!(keys(&mut range), (0..70).collect::<Vec<_>>());
    let mut range = db.range::<[u8]>(..).unwrap();
    for n in 0..60 {
        assert_eq!(range.next().unwrap().unwrap().0, [n]);
    }
    range.seek(&[90]);
    assert_eq!(keys(&mut range), (90..100).collect::<Vec<_>>());
}

#[test]
fn without_an_ordered_index_ranges_say_so_and_prefixes_and_pages_work_unordered() {
    let db = options(1).index(Index::Hash).open("/db").unwrap();
    for n in 0..100 {
        db.put(format!("{}:{n}", n % 3).as_bytes(), b"").unwrap();
    }
    let error = db.range("a".."b").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("Index::Ordered"), "{error}");
    assert!(db.first().is_err() && db.last().is_err());
    let mut found: Vec<_> = db.prefix(b"1:").map(|entry| entry.unwrap().0).collect();
    found.sort_unstable();
    let mut expected: Vec<_> =
        (0..100).filter(|n| n % 3 == 1).map(|n| format!("1:{n}").into_bytes()).collect();
    expected.sort_unstable();
    assert_eq!(found, expected);
    for limit in [1, 7, 1000] {
        let mut scanned = scan(&db, b"1:", limit);
        scanned.sort_unstable();
        assert_eq!(scanned, expected);
    }
    for cursor in [&b""[..], b"\x07", b"\x02", b"\x02\xff\xff\xff\xff", b"\x01a"] {
        assert_eq!(db.scan(b"", Some(&cursor.into()), 1).unwrap_err().kind(), ErrorKind::Invalid);
    }
}
