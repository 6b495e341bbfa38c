//! Gets: one by one, many together, by two threads, and beside a thread that writes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use bitcask::{Bitcask, Options};
use bitcask_random::Random;

use crate::Result;
use crate::bare::Bare;
use crate::bench::{Bench, FreshDir, join, put_all};
use crate::keys::{ABSENT, Key, VALUE_LEN, chosen, key, shuffled, skewed, value};
use crate::report::{Figure, Report};
use crate::statistics::{Pair, index, interleave, seconds_each};

/// Keys asked for at once in `get_many`.
const GROUPS: [u64; 4] = [16, 32, 64, 100];

/// A store and the bare operations, with all keys put.
struct Loaded {
    db: Bitcask,
    bare: Bare,
    dir: FreshDir,
}

impl Loaded {
    fn new(bench: &Bench) -> Result<Self> {
        let dir = bench.fresh()?;
        let db = Bitcask::open(dir.path().join("store"))?;
        put_all(&db, 0..bench.keys)?;
        db.sync()?;
        let bare = bench.bare(&dir)?;
        bare.settle()?;
        Ok(Self { db, bare, dir })
    }

    fn reopen(&mut self, options: Options) -> Result<()> {
        self.db.close()?;
        self.db = options.open(self.dir.path().join("store"))?;
        Ok(())
    }

    fn compare(&self, bench: &Bench, asked: &Asked<'_>) -> Result<Pair> {
        let count = asked.numbers.len() as u64;
        let ours = || seconds_each(count, || asked.ours(&self.db));
        let bare = || seconds_each(count, || asked.bare(&self.bare));
        Ok(interleave(bench.rounds, ours, bare)?.into())
    }
}

/// What gets ask for.
#[derive(Clone, Copy)]
struct Asked<'a> {
    numbers: &'a [u64],
    present: bool,
    verify: bool,
}

impl<'a> Asked<'a> {
    fn of(numbers: &'a [u64]) -> Self {
        Self { numbers, present: true, verify: true }
    }

    fn ours(&self, db: &Bitcask) -> Result<()> {
        for &n in self.numbers {
            if db.get(&key(n))?.is_some() != self.present {
                return Err("a get found what it should not, or did not find what it should".into());
            }
        }
        Ok(())
    }

    fn bare(&self, bare: &Bare) -> Result<()> {
        let mut value = Vec::new();
        let expected = |&n: &u64| bare.get(&key(n), self.verify, &mut value) == self.present;
        if self.numbers.iter().all(expected) { Ok(()) } else { Err("a bare get went wrong".into()) }
    }
}

pub(crate) fn one_by_one(bench: &Bench, report: &mut Report) -> Result<()> {
    let mut loaded = Loaded::new(bench)?;
    let keys = bench.keys;
    let random = chosen(keys, keys, 1);
    let asked = Asked::of(&random);
    let pair = loaded.compare(bench, &asked)?;
    report.add(Figure::rate("get, random", &pair).at_least(1.8).note("checksums verified"))?;
    let skewed = skewed(keys, keys, 2);
    let pair = loaded.compare(bench, &Asked::of(&skewed))?;
    report.add(Figure::rate("get, zipfian", &pair).note("exponent 0.99"))?;
    let absent: Vec<u64> = random.iter().map(|n| n + ABSENT).collect();
    let pair = loaded.compare(bench, &Asked { present: false, ..Asked::of(&absent) })?;
    report.add(Figure::rate("get, absent keys", &pair))?;
    loaded.reopen(Options::new().verify_reads(false))?;
    let pair = loaded.compare(bench, &Asked { verify: false, ..asked })?;
    report.add(Figure::rate("get, random, checksums not verified", &pair))
}

pub(crate) fn many(bench: &Bench, report: &mut Report) -> Result<()> {
    let loaded = Loaded::new(bench)?;
    for group in GROUPS {
        let groups = (bench.keys / group).max(1);
        let ours = || {
            seconds_each(groups * group, || {
                each_group(bench, group, |keys| {
                    let values = loaded.db.get_many(keys)?;
                    Ok(values.iter().all(Option::is_some))
                })
            })
        };
        let mut value = Vec::new();
        let bare = || {
            seconds_each(groups * group, || {
                each_group(bench, group, |keys| Ok(loaded.bare.get_many(keys, &mut value)))
            })
        };
        let pair = Pair::from(interleave(bench.rounds, ours, bare)?);
        report.add(Figure::rate(format!("get_many, {group} at once"), &pair).at_least(4.0))?;
    }
    Ok(())
}

/// Asks for random keys in groups, as many groups as hold all keys once.
fn each_group(
    bench: &Bench,
    group: u64,
    mut get: impl FnMut(&[Key]) -> Result<bool>,
) -> Result<()> {
    let mut random = Random::new(1);
    let mut keys = vec![Key::default(); index(group)];
    for _ in 0..(bench.keys / group).max(1) {
        keys.fill_with(|| key(random.below(bench.keys)));
        if !get(&keys)? {
            return Err("a key is missing".into());
        }
    }
    Ok(())
}

pub(crate) fn by_threads(bench: &Bench, report: &mut Report) -> Result<()> {
    let loaded = Loaded::new(bench)?;
    let numbers = [chosen(bench.keys, bench.keys, 1), chosen(bench.keys, bench.keys, 2)];
    let ours = || speedup(&numbers, |asked| asked.ours(&loaded.db));
    let bare = || speedup(&numbers, |asked| asked.bare(&loaded.bare));
    let rounds = interleave(bench.rounds, ours, bare)?;
    let rate = Pair::nth(&rounds, (1, 1));
    report.add(Figure::rate("get, two threads", &rate).note("both together"))?;
    let factor = Figure::gain("get, two threads to one", "x", &Pair::nth(&rounds, (0, 0)));
    report.add(factor.at_least(1.8))?;
    beside_writer(bench, report, &loaded.db, &Asked::of(&numbers[0]))
}

/// How many times as much two threads do as one, and seconds for each of their gets.
fn speedup(
    numbers: &[Vec<u64>; 2],
    get_all: impl Fn(&Asked<'_>) -> Result<()> + Sync,
) -> Result<[f64; 2]> {
    let [first, second] = numbers;
    let one = seconds_each(first.len() as u64, || get_all(&Asked::of(first)))?;
    let two = seconds_each((first.len() + second.len()) as u64, || {
        thread::scope(|scope| {
            let other = scope.spawn(|| get_all(&Asked::of(second)));
            get_all(&Asked::of(first))?;
            join(other)
        })
    })?;
    Ok([one / two, two])
}

fn beside_writer(
    bench: &Bench,
    report: &mut Report,
    db: &Bitcask,
    asked: &Asked<'_>,
) -> Result<()> {
    let order = shuffled(bench.keys, 3);
    let count = asked.numbers.len() as u64;
    let mut puts = Vec::new();
    let both = || {
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let writer = scope.spawn(|| write_until(db, &order, &done));
            let get = seconds_each(count, || asked.ours(db));
            done.store(true, Ordering::Relaxed);
            puts.push(join(writer)?);
            get
        })
    };
    let alone = || {
        db.sync()?;
        let get = seconds_each(count, || asked.ours(db))?;
        let put = seconds_each(bench.keys, || put_all(db, order.iter().copied()))?;
        db.sync()?;
        Ok([get, put])
    };
    let rounds = interleave(bench.rounds, both, alone)?;
    let gets: Vec<_> = rounds.iter().map(|(both, alone)| (*both, alone[0])).collect();
    let note = "bare: the same, reading alone";
    report.add(Figure::rate("get, beside a writing thread", &gets.into()).note(note))?;
    let puts: Vec<_> = puts.iter().zip(&rounds).map(|(&put, (_, alone))| (put, alone[1])).collect();
    let note = "bare: the same, writing alone";
    report.add(Figure::rate("put, overwriting, beside a reading thread", &puts.into()).note(note))
}

/// Overwrites keys again and again, and gives the seconds for each put.
fn write_until(db: &Bitcask, order: &[u64], done: &AtomicBool) -> Result<f64> {
    let value = value(VALUE_LEN);
    let (started, mut puts) = (Instant::now(), 0_u64);
    for &n in order.iter().cycle() {
        if done.load(Ordering::Relaxed) {
            break;
        }
        db.put(&key(n), &value)?;
        puts += 1;
    }
    Ok(started.elapsed().as_secs_f64() / puts as f64)
}
