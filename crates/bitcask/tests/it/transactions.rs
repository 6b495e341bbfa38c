//! Transactions, case by case. What concurrent ones add up to is `history.rs`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use bitcask::fs::sim::{SimClock, SimFs};
use bitcask::{
    Bitcask, Error, ErrorKind, Index, Options, Result, Transaction, TransactionOptions, Value,
};

const DIR: &str = "/db";

struct World {
    sim: SimFs,
    clock: Arc<SimClock>,
    options: Options,
    db: Bitcask,
}

fn world() -> World {
    let (sim, clock) = (SimFs::new(0), Arc::new(SimClock::new(1_000_000)));
    let options = Options::new().without_threads().max_value_len(1000).max_key_len(100);
    let options = options.on(Arc::new(sim.clone()), clock.clone());
    let db = options.clone().open(DIR).unwrap();
    World { sim, clock, options, db }
}

/// Runs `f` once, with `meanwhile` before its commit, and says what became of it.
fn run_once(
    db: &Bitcask,
    f: impl Fn(&mut Transaction<'_>) -> Result<()>,
    meanwhile: impl Fn(),
) -> Result<()> {
    db.transaction_with(&TransactionOptions { retries: 0 }, |tx| {
        f(tx)?;
        meanwhile();
        Ok(())
    })
}

fn conflicts(db: &Bitcask, f: impl Fn(&mut Transaction<'_>) -> Result<()>, meanwhile: impl Fn()) {
    let e = run_once(db, f, meanwhile).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Conflict, "{e:?}");
}

fn value(db: &Bitcask, key: &[u8]) -> Option<String> {
    db.get(key).unwrap().map(|value| String::from_utf8(value.into_vec()).unwrap())
}

#[test]
fn a_transaction_sees_its_own_changes_and_nobody_elses() {
    let World { db, .. } = world();
    db.put(b"a", b"1").unwrap();
    db.put(b"b", b"1").unwrap();
    db.transaction(|tx| -> Result<()> {
        db.put(b"c", b"other").unwrap();
        assert_eq!(tx.get(b"a")?.unwrap(), "1");
        tx.put("a", "2")?;
        tx.delete("b")?;
        tx.put("d", "new")?;
        assert_eq!(tx.get(b"a")?.unwrap(), "2");
        assert!(!tx.contains(b"b")? && tx.contains(b"d")?);
        let values = tx.get_many(&["a", "b", "d"])?;
        let values: Vec<_> = values.iter().map(Option::as_deref).collect();
        assert_eq!(values, [Some(&b"2"[..]), None, Some(b"new")]);
        tx.put("d", "newer")?;
        assert_eq!(tx.get(b"d")?.unwrap(), "newer");
        assert_eq!(value(&db, b"a").unwrap(), "1", "nobody sees it before it commits");
        assert!(db.contains(b"b").unwrap() && !db.contains(b"d").unwrap());
        Ok(())
    })
    .unwrap();
    assert_eq!(value(&db, b"a").unwrap(), "2");
    assert_eq!(value(&db, b"b"), None);
    assert_eq!(value(&db, b"d").unwrap(), "newer");
    let seq = db.stats().unwrap().seq;
    db.transaction(|tx| tx.put("a", "3").and_then(|()| tx.put("a", "4"))).unwrap();
    assert_eq!(db.stats().unwrap().seq, seq + 1, "of two changes to a key one is written");
}

#[test]
fn all_reads_are_of_one_moment() {
    let World { db, .. } = world();
    db.put(b"a", b"old").unwrap();
    db.put(b"b", b"old").unwrap();
    let seen = db.transaction(|tx| -> Result<_> {
        let a = tx.get(b"a")?;
        db.put(b"a", b"new")?;
        db.put(b"b", b"new")?;
        db.put(b"c", b"new")?;
        db.merge()?;
        assert!(!tx.contains(b"c")?);
        Ok([a, tx.get(b"b")?, tx.get(b"a")?])
    });
    seen.unwrap().into_iter().for_each(|value| assert_eq!(value.unwrap(), "old"));
    let stats = db.stats().unwrap();
    assert_eq!((stats.transactions, stats.conflicts), (1, 0), "who only reads has no conflicts");
    assert!(stats.snapshots.is_empty());
}

#[test]
fn what_was_read_and_has_changed_is_a_conflict() {
    let World { db, clock, .. } = world();
    let reads = |key: &'static [u8]| {
        move |tx: &mut Transaction<'_>| {
            tx.get(key)?;
            tx.put("result", "x")
        }
    };
    let asks = |key: &'static [u8]| {
        move |tx: &mut Transaction<'_>| {
            tx.contains(key)?;
            tx.put("result", "x")
        }
    };
    db.put(b"k", b"1").unwrap();
    conflicts(&db, reads(b"k"), || db.put(b"k", b"2").unwrap());
    conflicts(&db, reads(b"k"), || db.put(b"k", b"2").unwrap());
    conflicts(&db, asks(b"k"), || assert!(db.delete(b"k").unwrap()));
    conflicts(&db, reads(b"k"), || db.put(b"k", b"3").unwrap());
    db.delete(b"k").unwrap();
    conflicts(&db, asks(b"k"), || db.put(b"k", b"4").unwrap());
    conflicts(
        &db,
        |tx| {
            tx.get_many(&["x", "k"])?;
            tx.delete("y")?;
            tx.put("z", "z")
        },
        || db.put(b"k", b"5").unwrap(),
    );
    db.put_with(b"session", b"s", Duration::from_millis(10)).unwrap();
    conflicts(&db, reads(b"session"), || clock.advance(Duration::from_millis(20)));
    assert_eq!(value(&db, b"result"), None, "none of them changed anything");
    assert_eq!(value(&db, b"z"), None);

    // What was not read is none; and what is again as it was, because it is not there, is none.
    run_once(&db, |tx| tx.put("k", "6"), || db.put(b"k", b"other").unwrap()).unwrap();
    assert_eq!(value(&db, b"k").unwrap(), "6");
    run_once(&db, reads(b"k"), || db.put(b"other", b"1").unwrap()).unwrap();
    run_once(&db, reads(b"k"), || assert!(db.merge().is_ok())).unwrap();
    run_once(&db, reads(b"session"), || {
        db.put(b"session", b"t").unwrap();
        db.delete(b"session").unwrap();
    })
    .unwrap();
    assert_eq!(value(&db, b"result").unwrap(), "x");
}

#[test]
fn a_range_that_was_read_must_be_as_it_was() {
    let World { options, .. } = world();
    let db = options.index(Index::Ordered).open("/ordered").unwrap();
    for key in ["a", "c", "e", "g"] {
        db.put(key.as_bytes(), b"old").unwrap();
    }
    let keys = |entries: Vec<(Vec<u8>, Value)>| -> String {
        entries.iter().map(|(key, _)| char::from(key[0])).collect()
    };
    let reads = |tx: &mut Transaction<'_>| {
        assert_eq!(tx.range("b".."f")?.len(), 2);
        tx.put("result", "x")
    };
    conflicts(&db, reads, || db.put(b"d", b"new").unwrap());
    db.delete(b"d").unwrap();
    conflicts(&db, reads, || db.put(b"c", b"newer").unwrap());
    let e = run_once(&db, reads, || assert!(db.delete(b"e").unwrap())).unwrap_err();
    assert_eq!((e.kind(), e.key()), (ErrorKind::Conflict, Some(&b"e"[..])));
    db.put(b"e", b"again").unwrap();
    run_once(&db, reads, || db.put(b"g", b"outside").unwrap()).unwrap();
    run_once(&db, reads, || {
        db.put(b"d", b"passing").unwrap();
        db.delete(b"d").unwrap();
    })
    .unwrap();

    let reads_over_its_own = |tx: &mut Transaction<'_>| {
        db.put(b"b", b"after it began")?;
        db.delete(b"c")?;
        tx.put("f", "own")?;
        tx.delete("e")?;
        assert_eq!(keys(tx.range("b".."b")?), "");
        assert_eq!(keys(tx.range::<str>(..)?.into_iter().take(4).collect()), "acfg");
        assert_eq!(keys(tx.prefix(b"f")?), "f");
        tx.delete("f")?;
        tx.put("e", "own")?;
        assert_eq!(keys(tx.range("b"..="f")?), "ce");
        Ok(())
    };
    conflicts(&db, reads_over_its_own, || {});

    let World { db: unordered, .. } = world();
    let e = unordered.transaction(|tx| tx.range("a".."b").map(drop)).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Invalid);
}

#[test]
fn two_that_read_both_keys_and_write_one_each_do_not_both_commit() {
    let World { db, .. } = world();
    db.put(b"on call: ann", b"yes").unwrap();
    db.put(b"on call: bob", b"yes").unwrap();
    let leave = |tx: &mut Transaction<'_>, who: &str| {
        let both = tx.get_many(&["on call: ann", "on call: bob"])?;
        if both.iter().flatten().all(|on| **on == *b"yes") { tx.put(who, "no") } else { Ok(()) }
    };
    conflicts(
        &db,
        |tx| leave(tx, "on call: ann"),
        || {
            run_once(&db, |tx| leave(tx, "on call: bob"), || {}).unwrap();
        },
    );
    assert_eq!(value(&db, b"on call: ann").unwrap(), "yes");
}

#[test]
fn a_transaction_that_met_a_conflict_runs_again_on_what_is_there_then() {
    let World { db, .. } = world();
    db.put(b"n", b"1").unwrap();
    let mut runs = 0;
    let seen = db.transaction(|tx| -> Result<_> {
        runs += 1;
        let seen = tx.get(b"n")?.unwrap();
        if runs < 4 {
            db.increment(b"n", 10)?;
        }
        tx.put("n", [&*seen, b"!"].concat())?;
        Ok(seen)
    });
    assert_eq!(seen.unwrap(), "31");
    assert_eq!(value(&db, b"n").unwrap(), "31!");
    let stats = db.stats().unwrap();
    assert_eq!((stats.transactions, stats.conflicts), (1, 3));
    assert!(stats.snapshots.is_empty());
}

#[test]
fn conflicts_without_end_are_an_error_that_names_the_key() {
    let World { db, .. } = world();
    let mut runs = 0;
    let e = db
        .transaction(|tx| -> Result<()> {
            runs += 1;
            tx.get(b"quiet")?;
            tx.get(b"n")?;
            db.increment(b"n", 1)?;
            tx.put("other", "x")
        })
        .unwrap_err();
    assert_eq!(runs, 101);
    assert_eq!((e.kind(), e.key()), (ErrorKind::Conflict, Some(&b"n"[..])));
    assert_eq!(e.kind().exit_code(), 9);
    assert_eq!(value(&db, b"other"), None);
    let stats = db.stats().unwrap();
    assert_eq!((stats.transactions, stats.conflicts), (0, 101));
}

#[derive(Debug)]
enum Refused {
    ByUs,
    ByStore(Error),
}

impl From<Error> for Refused {
    fn from(e: Error) -> Self {
        Self::ByStore(e)
    }
}

#[test]
fn an_error_or_a_panic_leaves_nothing_behind() {
    let World { db, .. } = world();
    db.put(b"k", b"old").unwrap();
    let seq = db.stats().unwrap().seq;
    let refused = db.transaction(|tx| {
        tx.put("k", "new")?;
        tx.delete("k")?;
        Err::<(), _>(Refused::ByUs)
    });
    assert!(matches!(refused, Err(Refused::ByUs)));
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        db.transaction(|tx| -> Result<()> {
            tx.put("k", "new")?;
            panic!("on purpose");
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(value(&db, b"k").unwrap(), "old");
    let stats = db.stats().unwrap();
    assert_eq!((stats.seq, stats.transactions), (seq, 0));
    assert!(stats.snapshots.is_empty());
    db.put(b"k", b"newer").unwrap();

    db.close().unwrap();
    let closed = db.transaction(|tx| tx.put("k", "late").map_err(Refused::from));
    assert!(matches!(closed, Err(Refused::ByStore(e)) if e.kind() == ErrorKind::Invalid));
}

#[test]
fn deleting_what_is_not_there_changes_nothing_and_is_no_conflict() {
    let World { db, .. } = world();
    let seq = db.stats().unwrap().seq;
    run_once(&db, |tx| tx.delete("nothing"), || {}).unwrap();
    let puts_and_deletes = |tx: &mut Transaction<'_>| {
        assert!(!tx.contains(b"a")?);
        tx.put("a", "1")?;
        tx.delete("a")
    };
    run_once(&db, puts_and_deletes, || {}).unwrap();
    assert_eq!(db.stats().unwrap().seq, seq);
    assert_eq!(db.stats().unwrap().transactions, 2);
}

#[test]
fn expiry_within_a_transaction_is_that_of_its_moment() {
    let World { db, clock, .. } = world();
    db.put_with(b"short", b"s", Duration::from_millis(10)).unwrap();
    clock.advance(Duration::from_millis(5));
    db.transaction(|tx| -> Result<()> {
        clock.advance(Duration::from_millis(50));
        assert!(!db.contains(b"short")?);
        assert_eq!(tx.get(b"short")?.unwrap(), "s", "it was there when the transaction began");
        Ok(())
    })
    .unwrap();
    db.transaction(|tx| -> Result<()> {
        assert_eq!(tx.get(b"short")?, None);
        tx.put_with("gone", "g", std::time::UNIX_EPOCH)?;
        assert_eq!(tx.get(b"gone")?, None);
        tx.put_with("soon", "s", Duration::from_millis(10))?;
        assert!(tx.contains(b"soon")?);
        Ok(())
    })
    .unwrap();
    assert!(!db.contains(b"gone").unwrap() && db.contains(b"soon").unwrap());
    clock.advance(Duration::from_millis(20));
    assert!(!db.contains(b"soon").unwrap());
}

#[test]
fn limits_are_those_of_a_put() {
    let World { db, .. } = world();
    let e = db.transaction(|tx| tx.put("k", vec![0; 1001])).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Invalid);
    let e = db.transaction(|tx| tx.put(vec![0; 101], "v")).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Invalid);
    let e = db.transaction(|tx| tx.delete(vec![0; 101])).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Invalid);
    // Who ignores that a change was refused, commits the others.
    db.transaction(|tx| {
        tx.put("k", vec![0; 1001]).unwrap_err();
        tx.put("k", "short")
    })
    .unwrap();
    assert_eq!(value(&db, b"k").unwrap(), "short");
}

#[test]
fn a_transaction_is_whole_or_absent_after_a_crash() {
    let World { sim, clock, options, db } = world();
    db.put(b"a", b"100").unwrap();
    db.put(b"b", b"0").unwrap();
    db.sync().unwrap();
    for moved in 1..=20 {
        db.transaction(|tx| -> Result<()> {
            tx.get_many(&["a", "b"])?;
            tx.put("a", (100 - moved).to_string())?;
            tx.put("b", moved.to_string())
        })
        .unwrap();
        for seed in 0..5 {
            let crashed = options.clone().on(Arc::new(sim.crash(seed)), clock.clone());
            let crashed = crashed.open(DIR).unwrap();
            let number = |key: &[u8]| value(&crashed, key).unwrap().parse::<i32>().unwrap();
            assert_eq!(number(b"a") + number(b"b"), 100);
        }
    }
}

#[test]
fn a_transaction_without_a_closure_is_committed_by_hand() {
    let World { db, .. } = world();
    db.put(b"a", b"1").unwrap();
    let mut tx = db.begin().unwrap();
    assert_eq!(tx.get(b"a").unwrap().unwrap(), "1");
    tx.put("b", "2").unwrap();
    tx.commit().unwrap();
    assert_eq!(value(&db, b"b").unwrap(), "2");

    let mut late = db.begin().unwrap();
    late.get(b"a").unwrap();
    late.put("c", "3").unwrap();
    db.put(b"a", b"10").unwrap();
    assert_eq!(late.commit().unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(db.get(b"c").unwrap(), None);

    // Dropped, it changes nothing; and it does not keep the store open.
    db.begin().unwrap().put("d", "4").unwrap();
    let mut orphan = db.begin().unwrap();
    orphan.put("d", "4").unwrap();
    db.close().unwrap();
    assert_eq!(orphan.commit().unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(db.begin().unwrap_err().kind(), ErrorKind::Invalid);
}
