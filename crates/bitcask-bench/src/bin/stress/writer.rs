//! The process that writes: accounts for everything that its predecessors were told was done, then goes on, until it
//! is killed or told to close.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Scope};
use std::time::Duration;

use bitcask::{Bitcask, Compression, Durability, Index, IoMode, MergePolicy, Options};
use bitcask_random::Random;

use crate::bank::{self, TELLERS, Teller, Till};
use crate::counts::Counts;
use crate::journal::Journal;
use crate::worker::Worker;
use crate::{Failure, Result, Setting, account, checkpoints, chores};

/// How often the parent is told how much was done.
const REPORT_EVERY: Duration = Duration::from_millis(200);
/// The exit code of a child that found a promise broken.
pub(crate) const BROKEN: i32 = 3;

/// Where things are.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) store: PathBuf,
    pub(crate) journals: PathBuf,
}

impl Layout {
    pub(crate) fn in_dir(dir: &Path) -> Self {
        Self { store: dir.join("store"), journals: dir.join("journals") }
    }

    pub(crate) fn worker_journals(&self, setting: &Setting) -> Result<Vec<Journal>> {
        let open = |worker| Journal::open(&self.journals, worker, setting.keys);
        (0..setting.threads).map(open).collect()
    }

    pub(crate) fn tills(&self) -> Result<Vec<Till>> {
        (0..TELLERS).map(|teller| Till::open(&self.journals, teller)).collect()
    }
}

/// Each life opens the store in another way.
fn options(random: &mut Random) -> Options {
    let policy = MergePolicy {
        dead_ratio_trigger: 0.5,
        dead_bytes_trigger: 4 << 20,
        dead_bytes_threshold: 1 << 20,
        small_file_bytes: 64 << 10,
        check_interval: Duration::from_secs(1),
        ..MergePolicy::default()
    };
    Options::new()
        .durability(Durability::Interval(millis(random)))
        .io(if random.one_in(3) { IoMode::Plain } else { IoMode::Auto })
        .index(index(random))
        .compression(compression(random))
        .max_file_size(if random.one_in(2) { 2 << 20 } else { 16 << 20 })
        .merge(policy)
}

fn millis(random: &mut Random) -> Duration {
    chores::millis(random, 5, 500)
}

/// Values of one store are then stored in several ways.
fn compression(random: &mut Random) -> Compression {
    match random.below(4) {
        0 => Compression::Lz4,
        1 => Compression::zstd(),
        _ => Compression::None,
    }
}

pub(crate) fn index(random: &mut Random) -> Index {
    if random.one_in(2) { Index::Ordered } else { Index::Hash }
}

pub(crate) fn run(setting: &Setting, life: u64) -> Result<()> {
    let layout = Layout::in_dir(&setting.dir);
    let mut random = Random::for_purpose(setting.seed, life << 8);
    let db = options(&mut random).open(&layout.store)?;
    let (journals, tills) = (layout.worker_journals(setting)?, layout.tills()?);
    bank::found(&db)?;
    account_for(&db, &journals, &tills)?;
    say("ready")?;

    let (stop, counts) = (stop_with_parent(), Counts::default());
    let random = |purpose: u64| Random::for_purpose(setting.seed, life << 8 | purpose);
    thread::scope(|scope| {
        for (n, journal) in (1..).zip(&journals) {
            let mut worker = Worker::new(&db, journal, random(n), &counts)?;
            sound(scope, move || worker.run(stop));
        }
        for (n, till) in (100..).zip(&tills) {
            let mut teller = Teller { db: &db, till, random: random(n), counts: &counts };
            sound(scope, move || teller.run(stop));
        }
        sound(scope, || chores::hold_snapshots(&db, random(200), &counts, stop));
        sound(scope, || chores::merge(&db, random(201), &counts, stop));
        sound(scope, || checkpoints::make(&db, setting, random(202), &counts, stop));
        sound(scope, || chores::verify(&db, random(203), &counts, stop));
        report(&db, &counts, stop)
    })?;
    db.close()?;
    say(&counts.line())
}

/// Everything that was ever acknowledged is there.
pub(crate) fn account_for(db: &Bitcask, journals: &[Journal], tills: &[Till]) -> Result<()> {
    account::audit(db, journals)?;
    bank::check_sum(&db.snapshot()?)?;
    tills.iter().try_for_each(|till| till.audit(db))
}

/// A thread whose failure ends the process: nothing that comes after it could be trusted.
pub(crate) fn sound<'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() -> Result<()> + Send + 'scope,
) {
    scope.spawn(move || {
        if let Err(e) = work() {
            broken(&e);
        }
    });
}

/// Says what is broken, and ends the process.
pub(crate) fn broken(failure: &Failure) -> ! {
    complain(failure);
    std::process::exit(BROKEN)
}

/// Says what failed, with all that caused it.
pub(crate) fn complain(failure: &Failure) {
    let mut line = format!("BROKEN: {failure}");
    let mut source = failure.source();
    while let Some(cause) = source {
        write!(line, ": {cause}").expect("a string takes any text");
        source = cause.source();
    }
    // Ignored: the exit code says it, too.
    drop(writeln!(io::stderr().lock(), "{line}"));
}

/// Is set when the parent closes the pipe, to have the child close, or has died.
pub(crate) fn stop_with_parent() -> &'static AtomicBool {
    static STOP: AtomicBool = AtomicBool::new(false);
    // Not joined: it waits in a system call that nothing interrupts.
    thread::spawn(|| {
        if let Err(e) = io::stdin().lock().read_to_end(&mut Vec::new()) {
            broken(&e.into());
        }
        STOP.store(true, Ordering::Relaxed);
    });
    &STOP
}

/// Tells the parent how much was done, until it is time to stop.
fn report(db: &Bitcask, counts: &Counts, stop: &AtomicBool) -> Result<()> {
    let mut last = [0; 3];
    while !stop.load(Ordering::Relaxed) {
        chores::wait(stop, REPORT_EVERY);
        let stats = db.stats()?;
        let now = [stats.conflicts, stats.merges, stats.reclaimed_bytes >> 20];
        for (n, name) in ["conflicts", "merge_steps", "reclaimed_MB"].into_iter().enumerate() {
            counts.add(name, now[n] - last[n]);
        }
        last = now;
        say(&counts.line())?;
    }
    Ok(())
}

/// A line for the parent.
pub(crate) fn say(line: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
