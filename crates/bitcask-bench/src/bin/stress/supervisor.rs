//! The parent: starts both children, kills them, starts them again, and has the last look.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use bitcask::Bitcask;
use bitcask_random::Random;

use crate::counts::{Sums, add_all};
use crate::process::Process;
use crate::writer::{Layout, account_for};
use crate::{Result, Role, Setting, checkpoints, chores};

const NAP: Duration = Duration::from_millis(20);
const PROGRESS_EVERY: Duration = Duration::from_secs(5);
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
/// Most lives are short. One in so many is long, to see whether something grows.
const LONG_LIFE: u64 = 6;
/// Who gets less time than this is killed while it opens the store, if it is not faster.
const KILLED_OPENING: Duration = Duration::from_millis(300);

/// One of the children, over all of its lives.
struct Lives {
    role: Role,
    current: Option<Process>,
    count: u64,
    kills: u64,
    closed: u64,
    ends_after: Duration,
    /// What the earlier ones did.
    sums: Sums,
}

/// What the writer took at one moment: bytes of memory, open files; and bytes of the store's directory.
#[derive(Clone, Copy)]
struct Usage {
    memory: u64,
    files: u64,
    disk: u64,
}

/// A name, what it is about, and the unit.
type Column = (&'static str, fn(&Usage) -> u64, u64);

pub(crate) fn run(setting: &Setting, time: Duration) -> Result<()> {
    let layout = Layout::in_dir(&setting.dir);
    fs::create_dir(&layout.journals)?;
    say(&format!("seed {}, in {}", setting.seed, setting.dir.display()))?;
    let mut random = Random::for_purpose(setting.seed, 1 << 40);
    let (mut writer, mut reader) = (Lives::of(Role::Writer), Lives::of(Role::Reader));
    let (started, mut told, mut sampled) = (Instant::now(), Instant::now(), Instant::now());
    let mut usage = Vec::new();
    while started.elapsed() < time {
        writer.go_on(setting, &mut random, time)?;
        // There is nothing to open before the first writer has begun.
        if writer.count > 1 || writer.is_ready() {
            reader.go_on(setting, &mut random, time)?;
        }
        if sampled.elapsed() >= SAMPLE_EVERY {
            sampled = Instant::now();
            usage.extend(writer.usage(&layout.store));
        }
        if told.elapsed() >= PROGRESS_EVERY {
            told = Instant::now();
            say(&progress(started.elapsed(), &writer, &reader))?;
        }
        thread::sleep(NAP);
    }
    reader.end(false)?;
    writer.end(random.one_in(2))?;
    last_look(setting, &layout)?;
    summary(setting, &layout, started.elapsed(), [&writer, &reader], &usage)
}

impl Lives {
    fn of(role: Role) -> Self {
        let (sums, ends_after) = (Sums::new(), Duration::ZERO);
        Self { role, current: None, count: 0, kills: 0, closed: 0, ends_after, sums }
    }

    fn is_ready(&self) -> bool {
        self.current.as_ref().is_some_and(|process| process.is_ready)
    }

    fn usage(&self, store: &Path) -> Option<Usage> {
        let (memory, files) = self.current.as_ref().filter(|process| process.is_ready)?.usage()?;
        Some(Usage { memory, files, disk: bytes_in(store) })
    }

    /// Starts it if it does not live, and ends it if its time has come.
    fn go_on(&mut self, setting: &Setting, random: &mut Random, time: Duration) -> Result<()> {
        let Some(process) = &mut self.current else {
            self.count += 1;
            self.ends_after = life(random, time);
            self.current = Some(Process::start(self.role, setting, self.count)?);
            return Ok(());
        };
        process.attend()?;
        // Some are killed while they open the store.
        let may_end = process.is_ready || self.ends_after < KILLED_OPENING;
        if may_end && process.age() >= self.ends_after {
            let kill = !process.is_ready || !random.one_in(5);
            return self.end(kill);
        }
        Ok(())
    }

    fn end(&mut self, kill: bool) -> Result<()> {
        let Some(process) = self.current.take() else { return Ok(()) };
        let sums = if kill { process.kill()? } else { process.close()? };
        self.kills += u64::from(kill);
        self.closed += u64::from(!kill);
        add_all(&mut self.sums, &sums);
        Ok(())
    }

    /// What all lives did so far.
    fn all(&self) -> Sums {
        let mut sums = self.sums.clone();
        if let Some(process) = &self.current {
            add_all(&mut sums, &process.sums);
        }
        sums
    }
}

/// How long a child lives.
fn life(random: &mut Random, time: Duration) -> Duration {
    if random.one_in(6) {
        return chores::millis(random, 0, 300);
    }
    if random.one_in(LONG_LIFE) {
        return (time / 8).max(Duration::from_secs(8));
    }
    chores::millis(random, 300, 8000)
}

fn progress(elapsed: Duration, writer: &Lives, reader: &Lives) -> String {
    let (written, read) = (writer.all(), reader.all());
    let count = |sums: &Sums, name: &str| sums.get(name).copied().unwrap_or(0);
    format!(
        "{:>5} s: {} operations, {} changes, {} transfers, {} merge steps, {} refreshes, {} events, {} kills",
        elapsed.as_secs(),
        count(&written, "ops"),
        count(&written, "changes"),
        count(&written, "transfers"),
        count(&written, "merge_steps"),
        count(&read, "refreshes"),
        count(&read, "events"),
        writer.kills + reader.kills,
    )
}

/// After all is over: everything is there, and nothing is damaged.
fn last_look(setting: &Setting, layout: &Layout) -> Result<()> {
    say("closed; accounting for everything")?;
    let (journals, tills) = (layout.worker_journals(setting)?, layout.tills()?);
    for _ in 0..2 {
        let db = Bitcask::open(&layout.store)?;
        account_for(&db, &journals, &tills)?;
        db.merge()?;
        account_for(&db, &journals, &tills)?;
        db.close()?;
        check_files(&layout.store)?;
    }
    match checkpoints::look_at_last(setting, &journals)? {
        Some(keys) => say(&format!("the last checkpoint is whole: {keys} keys")),
        None => say("no checkpoint was made"),
    }
}

/// Every record and every hint of a store that is closed checks out, and there is nothing to repair.
fn check_files(store: &Path) -> Result<()> {
    let db = Bitcask::open(store)?;
    let verified = db.verify()?;
    db.close()?;
    drop(db);
    if !verified.is_clean() {
        return Err(format!("verify found damage: {:?}", verified.damage).into());
    }
    let repaired = bitcask::repair(store)?;
    if !repaired.is_clean() {
        return Err(format!("there was something to repair: {repaired:?}").into());
    }
    say(&format!("verify: {} records in {} files, clean", verified.records, verified.files))
}

fn summary(
    setting: &Setting,
    layout: &Layout,
    elapsed: Duration,
    [writer, reader]: [&Lives; 2],
    usage: &[Usage],
) -> Result<()> {
    let (mut operations, mut changes) = (0, 0);
    for journal in layout.worker_journals(setting)? {
        operations += journal.acknowledged()?;
        changes += journal.slots()?.iter().map(|slot| slot.version).sum::<u64>();
    }
    let tills = layout.tills()?;
    let transfers: u64 =
        tills.iter().map(|till| till.acknowledged()).collect::<Result<Vec<_>>>()?.iter().sum();
    let mut out = io::stdout().lock();
    writeln!(out, "seed {}, {} s; no promise was broken", setting.seed, elapsed.as_secs())?;
    writeln!(
        out,
        "acknowledged and accounted for: {changes} changes of keys in {operations} writes, {transfers} transfers"
    )?;
    for lives in [writer, reader] {
        let Lives { role, count, kills, closed, .. } = lives;
        writeln!(out, "{role:?}: {count} lives, {kills} killed, {closed} closed")?;
        let sums = lives.all();
        let sums: Vec<_> = sums.iter().map(|(name, count)| format!("{name} {count}")).collect();
        writeln!(out, "  at least: {}", sums.join(", "))?;
    }
    let third = usage.len() / 3;
    let (first, last) = (&usage[..third], &usage[usage.len() - third..]);
    let columns: [Column; 3] = [
        ("memory of the writer, KiB", |usage| usage.memory, 1 << 10),
        ("open files of the writer", |usage| usage.files, 1),
        ("the store's directory, MB", |usage| usage.disk, 1_000_000),
    ];
    for (name, of, unit) in columns {
        let [first, last] = [first, last].map(|part| median(part, of) / unit);
        let most = usage.iter().map(of).max().unwrap_or(0) / unit;
        writeln!(out, "{name}: first third {first}, last third {last}, most {most}")?;
    }
    Ok(())
}

/// 0 if there is nothing.
fn median(usage: &[Usage], of: fn(&Usage) -> u64) -> u64 {
    let mut values: Vec<_> = usage.iter().map(of).collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

/// Files may go while they are counted.
fn bytes_in(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    entries.flatten().filter_map(|entry| entry.metadata().ok()).map(|file| file.len()).sum()
}

fn say(line: &str) -> Result<()> {
    Ok(writeln!(io::stderr().lock(), "{line}")?)
}
