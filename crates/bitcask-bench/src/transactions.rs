//! Transactions that read two keys and put them: by one thread, and by four that meet or do not.

use std::thread;

use bitcask::{Bitcask, Error, WriteBatch};
use bitcask_random::Random;

use crate::Result;
use crate::bench::{Bench, join, put_all};
use crate::keys::{Key, VALUE_LEN, key, value};
use crate::report::{Figure, Report, digits};
use crate::statistics::{Pair, interleave, median, seconds_each};

const THREADS: u64 = 4;
/// Keys that all threads go for.
const FEW: u64 = 8;

/// The keys that a thread chooses from.
#[derive(Clone, Copy)]
struct Share {
    first: u64,
    count: u64,
}

impl Share {
    fn two(self, random: &mut Random) -> [Key; 2] {
        let one = random.below(self.count);
        let other = (one + 1 + random.below(self.count - 1)) % self.count;
        [one, other].map(|n| key(self.first + n))
    }
}

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    let dir = bench.fresh()?;
    let db = Bitcask::open(dir.path())?;
    put_all(&db, 0..bench.keys)?;
    // A transaction is four operations and a snapshot.
    let count = (bench.keys / 8).max(1);
    let all = Share { first: 0, count: bench.keys };

    let ours = || seconds_each(count, || transact(&db, all, count, 1));
    let rounds = interleave(bench.rounds, ours, || {
        seconds_each(count, || gets_and_batches(&db, all, count, 1))
    })?;
    let note = "2 gets, 2 puts each; bare: the same, as 2 gets and a batch";
    let pair = Pair::from(rounds);
    report.add(Figure::rate("transaction, one thread", &pair).note(note))?;

    let own = |thread: u64| {
        let count = bench.keys / THREADS;
        Share { first: thread * count, count }
    };
    by_threads(bench, report, &db, "own keys", own)?;
    by_threads(bench, report, &db, "the same 8 keys", |_| Share { first: 0, count: FEW })?;
    Ok(db.close()?)
}

fn by_threads(
    bench: &Bench,
    report: &mut Report,
    db: &Bitcask,
    name: &str,
    share: impl Fn(u64) -> Share + Sync,
) -> Result<()> {
    let each = (bench.keys / 8 / THREADS).max(1);
    let mut conflicts = Vec::new();
    let by_all = |work: fn(&Bitcask, Share, u64, u64) -> Result<()>| {
        seconds_each(each * THREADS, || {
            thread::scope(|scope| {
                let run = |thread| work(db, share(thread), each, thread);
                let threads = (0..THREADS).map(|thread| scope.spawn(move || run(thread)));
                let threads: Vec<_> = threads.collect();
                threads.into_iter().try_for_each(join)
            })
        })
    };
    let ours = || {
        let before = db.stats()?.conflicts;
        let seconds = by_all(transact)?;
        conflicts.push((db.stats()?.conflicts - before) as f64 / (each * THREADS) as f64);
        Ok(seconds)
    };
    let pair = Pair::from(interleave(bench.rounds, ours, || by_all(gets_and_batches))?);
    let conflicts = median(&conflicts);
    let note = format!("{} conflicts for each commit; bare: gets, batch", digits(conflicts));
    let name = format!("transaction, {THREADS} threads, {name}");
    report.add(Figure::rate(name, &pair).note(note))
}

/// The last argument seeds the choice of keys.
fn transact(db: &Bitcask, share: Share, count: u64, seed: u64) -> Result<()> {
    let (value, mut random) = (value(VALUE_LEN), Random::new(seed));
    for _ in 0..count {
        let keys = share.two(&mut random);
        db.transaction(|tx| {
            for key in keys {
                std::hint::black_box(tx.get(&key)?);
            }
            keys.into_iter().try_for_each(|key| tx.put(key, &*value))?;
            Ok::<_, Error>(())
        })?;
    }
    Ok(())
}

fn gets_and_batches(db: &Bitcask, share: Share, count: u64, seed: u64) -> Result<()> {
    let (value, mut random) = (value(VALUE_LEN), Random::new(seed));
    for _ in 0..count {
        let keys = share.two(&mut random);
        let mut batch = WriteBatch::new();
        for key in keys {
            std::hint::black_box(db.get(&key)?);
            batch.put(key, &*value);
        }
        db.write(&batch)?;
    }
    Ok(())
}
