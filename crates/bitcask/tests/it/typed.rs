//! Typed collections: beside each other in one store, in order, and with values of others among theirs.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use bitcask::fs::sim::{SimClock, SimFs};
use bitcask::{Bitcask, Changed, ErrorKind, Expiry, Index, Key, Options, Typed, WriteBatch};
use serde::{Deserialize, Serialize};

use crate::crash::{Rng, seeds};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct User {
    email: String,
    age: u8,
}

fn user(age: u8) -> User {
    User { email: format!("{age}@example.org"), age }
}

fn open(index: Index, clock: &SimClock) -> Bitcask {
    let fs = Arc::new(SimFs::new(1));
    let options = Options::new().on(fs, Arc::new(clock.clone())).without_threads();
    options.shard_bits(2).index(index).open("/db").unwrap()
}

#[test]
fn collections_share_a_store_without_meeting() {
    for index in [Index::Hash, Index::Ordered] {
        let db = open(index, &SimClock::new(0));
        let names = ["", "a", "a\0", "a\0\0", "a\0\u{1}", "ab", "\0"];
        let keys: Vec<Vec<u8>> =
            ["", "\0", "\0\0", "a", "a\0", "b\0\0", "\0a"].map(Into::into).into();
        for (number, name) in names.iter().enumerate() {
            let collection = db.typed::<Vec<u8>, usize>(name);
            for key in &keys {
                collection.put(key, &number).unwrap();
            }
        }
        assert_eq!(db.len().unwrap(), (names.len() * keys.len()) as u64);
        for (number, name) in names.iter().enumerate() {
            let collection = db.typed::<Vec<u8>, usize>(name);
            let entries = collection.iter().map(Result::unwrap).collect::<BTreeMap<_, _>>();
            assert!(entries.values().all(|value| *value == number), "{name:?} {entries:?}");
            assert_eq!(entries.len(), keys.len(), "{name:?}");
            assert_eq!(collection.keys().map(Result::unwrap).count(), keys.len());
            if index == Index::Ordered {
                let all = collection.range(..).unwrap().map(Result::unwrap);
                assert!(all.eq(entries), "{name:?}");
            }
        }
    }
}

#[test]
fn calls_do_what_those_of_the_store_do() {
    let clock = SimClock::new(1_000_000);
    let db = open(Index::Hash, &clock);
    let users = db.typed::<String, User>("users");
    users.put("ann", &user(30)).unwrap();
    assert_eq!(users.get("ann").unwrap(), Some(user(30)));
    assert_eq!(users.get(&"ann".to_owned()).unwrap(), Some(user(30)));
    assert!(users.contains("ann").unwrap() && !users.contains("an").unwrap());
    assert!(users.delete("ann").unwrap() && !users.delete("ann").unwrap());

    users.put_with("bob", &user(1), Duration::from_secs(10)).unwrap();
    let older = |user: Option<User>| user.map(|user| User { age: user.age + 1, ..user });
    assert_eq!(users.update("bob", older).unwrap().unwrap().age, 2);
    let expiry = db.expires_at(&users.raw_key("bob")).unwrap();
    assert!(matches!(expiry, Some(Expiry::At(_))), "an update keeps the expiry: {expiry:?}");
    clock.advance(Duration::from_secs(10));
    assert_eq!(users.get("bob").unwrap(), None);
    assert_eq!(users.update("bob", older).unwrap(), None);
    assert_eq!(users.update("bob", |_| Some(user(9))).unwrap(), Some(user(9)));
    assert_eq!(users.update("bob", |_| None).unwrap(), None);
    assert!(!users.contains("bob").unwrap());
}

#[test]
fn batches_snapshots_and_watches_go_with_collections() {
    let db = open(Index::Hash, &SimClock::new(0));
    let users: Typed<u32, User> = db.typed("users");
    let by_age: Typed<(u8, u32), ()> = db.typed("users by age");
    let mut watch = db.watch(users.raw_prefix(), db.seq().unwrap() + 1).unwrap();
    let mut batch = WriteBatch::new();
    users.put_in(&mut batch, &7, &user(30)).unwrap();
    by_age.put_in(&mut batch, &(30, 7), &()).unwrap();
    db.write(&batch).unwrap();
    let snapshot = db.snapshot().unwrap();
    batch.clear();
    users.delete_in(&mut batch, &7).unwrap();
    by_age.delete_in(&mut batch, &(30, 7)).unwrap();
    db.write(&batch).unwrap();
    assert_eq!(db.len().unwrap(), 0);

    let key = users.raw_key(&7);
    let value = snapshot.get(&key).unwrap().unwrap();
    assert_eq!(users.decode(&key, &value).unwrap(), (7, user(30)));
    let events: Vec<_> = std::iter::from_fn(|| watch.try_next().unwrap()).collect();
    assert_eq!(events.len(), 2);
    assert!(matches!(&events[0].change, Changed::Put { .. }) && events[0].key == key);
    assert_eq!(events[1].change, Changed::Delete);
}

#[test]
fn what_somebody_else_wrote_is_invalid_and_named() {
    let db = open(Index::Ordered, &SimClock::new(0));
    let users = db.typed::<u32, User>("users");
    for n in 0..5 {
        users.put(&n, &user(1)).unwrap();
    }
    let key = users.raw_key(&1);
    db.put(&key, b"{\"age\": 3}").unwrap();
    db.put(&[users.raw_prefix(), &[1, 2, 3]].concat(), b"{}").unwrap();
    let error = users.get(&1).unwrap_err();
    assert_eq!((error.kind(), error.key()), (ErrorKind::Invalid, Some(&key[..])));
    assert!(error.to_string().contains("\"users\": missing field `email`"), "{error}");
    let mut called = false;
    users
        .update(&1, |_| {
            called = true;
            None
        })
        .unwrap_err();
    assert!(!called && db.get(&key).unwrap().unwrap() == "{\"age\": 3}", "it was left as it was");
    assert!(users.contains(&1).unwrap());

    let good = users.iter().filter_map(Result::ok).map(|(key, _)| key).collect::<Vec<_>>();
    assert_eq!(good, [0, 2, 3, 4], "the iteration goes on");
    assert_eq!(users.iter().filter(Result::is_err).count(), 2);
    assert_eq!(users.keys().filter(Result::is_err).count(), 1);
    assert_eq!(users.decode(b"other", b"{}").unwrap_err().kind(), ErrorKind::Invalid);

    let maps = db.typed::<u8, HashMap<(u8, u8), u8>>("maps");
    let error = maps.put(&1, &HashMap::from([((1, 2), 3)])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "JSON has no such keys: {error}");
}

#[test]
fn an_update_that_somebody_comes_between_begins_again() {
    let db = open(Index::Hash, &SimClock::new(0));
    let counts = db.typed::<String, u64>("counts");
    let mut seen = Vec::new();
    let count = counts.update("all", |count| {
        if seen.len() < 2 {
            // As another thread might.
            counts.put("all", &(10 * (seen.len() as u64 + 1))).unwrap();
        }
        seen.push(count);
        Some(count.unwrap_or(0) + 1)
    });
    assert_eq!(count.unwrap(), Some(21));
    assert_eq!(seen, [None, Some(10), Some(20)]);
    assert_eq!(counts.get("all").unwrap(), Some(21));
}

#[test]
fn transactions_go_over_several_collections() {
    let db = open(Index::Hash, &SimClock::new(0));
    let users: Typed<u32, User> = db.typed("users");
    let by_email: Typed<String, u32> = db.typed("users by email");
    let change_email = |id: u32, email: &str| {
        db.transaction(|tx| -> bitcask::Result<bool> {
            if by_email.get_in(tx, email)?.is_some() {
                return Ok(false);
            }
            let old = users.get_in(tx, &id)?;
            if let Some(old) = &old {
                by_email.delete_in(tx, old.email.as_str())?;
            }
            let user = User { email: email.to_owned(), age: old.map_or(0, |old| old.age) };
            users.put_in(tx, &id, &user)?;
            by_email.put_in(tx, email, &id)?;
            Ok(true)
        })
        .unwrap()
    };
    assert!(change_email(1, "a") && change_email(2, "b") && !change_email(2, "a"));
    assert!(change_email(1, "c") && change_email(2, "a"));
    let mut emails: Vec<_> = by_email.iter().map(Result::unwrap).collect();
    emails.sort();
    assert_eq!(emails, [("a".to_owned(), 2), ("c".to_owned(), 1)]);
}

type Pair = (String, i8);

fn pair(rng: &mut Rng) -> Pair {
    let name = rng.pick(&["", "a", "a\0", "a\0b", "ab", "b"]).to_owned();
    (name, i8::from_le_bytes([rng.bytes(1)[0] & 0x83]))
}

#[test]
fn ranges_and_prefixes_agree_with_a_map() {
    for seed in seeds(1, 8) {
        println!("SEED={seed}");
        let mut rng = Rng::new(seed);
        let db = open(Index::Ordered, &SimClock::new(0));
        let pairs = db.typed::<Pair, u64>("pairs");
        // Neighbours on both sides.
        db.typed::<Pair, u64>("pair").put(&pair(&mut rng), &0).unwrap();
        db.typed::<Pair, u64>("pairs\0").put(&pair(&mut rng), &0).unwrap();
        let mut map = BTreeMap::new();
        for n in 0..30 {
            let key = pair(&mut rng);
            pairs.put(&key, &n).unwrap();
            map.insert(key, n);
        }
        for _ in 0..20 {
            let mut bound = || match rng.below(3) {
                0 => Bound::Unbounded,
                1 => Bound::Included(pair(&mut rng)),
                _ => Bound::Excluded(pair(&mut rng)),
            };
            let bounds = (bound(), bound());
            use std::ops::RangeBounds;
            let within = map.clone().into_iter().filter(|(key, _)| bounds.contains(key));
            let expected: Vec<_> = within.collect();
            let range = || pairs.range(bounds.clone()).unwrap().map(Result::unwrap);
            assert_eq!(range().collect::<Vec<_>>(), expected, "{bounds:?}");
            assert!(range().rev().eq(expected.into_iter().rev()), "{bounds:?}");
        }
        for name in ["", "a", "a\0", "ab", "c"] {
            let prefix = (name.to_owned(),);
            let found = pairs.prefix(&prefix).map(|entry| entry.unwrap().0);
            assert!(found.eq(map.keys().filter(|key| key.0 == name).cloned()), "{name:?}");
        }
    }
}

#[test]
fn text_is_found_by_how_it_begins() {
    for index in [Index::Hash, Index::Ordered] {
        let db = open(index, &SimClock::new(0));
        let words = db.typed::<String, u8>("words");
        for word in ["an", "ann", "anna", "bob", "a\0"] {
            words.put(word, &1).unwrap();
        }
        let mut found: Vec<_> = words.prefix("an").map(|entry| entry.unwrap().0).collect();
        found.sort();
        assert_eq!(found, ["an", "ann", "anna"]);
        assert_eq!(words.range(..).is_ok(), index == Index::Ordered);
    }
}

/// A key of a type of one's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version {
    major: u16,
    minor: u16,
}

impl Key for Version {
    fn encode_part(&self, bytes: &mut Vec<u8>) {
        (self.major, self.minor).encode_part(bytes);
    }

    fn decode_part(bytes: &mut &[u8]) -> Option<Self> {
        let (major, minor) = Key::decode_part(bytes)?;
        Some(Self { major, minor })
    }
}

#[test]
fn a_type_of_ones_own_is_a_key_by_its_parts() {
    let db = open(Index::Ordered, &SimClock::new(0));
    let notes = db.typed::<Version, String>("notes");
    let versions = [(1, 10), (0, 9), (1, 2)].map(|(major, minor)| Version { major, minor });
    for version in &versions {
        notes.put(version, &format!("{version:?}")).unwrap();
    }
    let from = Version { major: 1, minor: 0 };
    let found: Vec<_> = notes.range(from..).unwrap().map(|entry| entry.unwrap().0).collect();
    assert_eq!(found, [versions[2], versions[0]]);
}
