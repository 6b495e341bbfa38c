//! The process that reads beside the writer: refreshes and looks at snapshots, and watches what changes.
//!
//! What it sees is always the store after some change, so sums are right and there are no holes; nothing goes back; and
//! what was acknowledged before it refreshed shows afterwards.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use bitcask::{Changed, ErrorKind, Event, IoMode, Options, ReadOnly, Watch};
use bitcask_random::Random;

use crate::account::{Span, check_between, check_expiry, check_prefix, marks};
use crate::bank::{self, Balances, Till};
use crate::counts::Counts;
use crate::journal::{Journal, Slot};
use crate::plan::{KeyId, Mark};
use crate::writer::{Layout, index, say, sound, stop_with_parent};
use crate::{Result, Setting, chores};

/// Keys whose floor is noted before a refresh.
const SAMPLED: usize = 50;
/// One in so many refreshes is followed by a look at everything.
const FULL_LOOK: u64 = 20;
const PATIENCE: Duration = Duration::from_millis(100);
/// How often a watcher that fell behind may fall behind again while it begins anew.
const NEW_BEGINNINGS: u32 = 1000;

pub(crate) fn run(setting: &Setting, life: u64) -> Result<()> {
    let layout = Layout::in_dir(&setting.dir);
    let mut random = Random::for_purpose(setting.seed, life << 8 | 1 << 63);
    let io = if random.one_in(3) { IoMode::Plain } else { IoMode::Auto };
    let reader = Options::new().io(io).index(index(&mut random)).open_read_only(&layout.store)?;
    let (journals, tills) = (layout.worker_journals(setting)?, layout.tills()?);
    say("ready")?;
    let (stop, counts) = (stop_with_parent(), Counts::default());
    thread::scope(|scope| {
        let (reader, journals, counts) = (&reader, &journals, &counts);
        let looks = Looks { reader, journals, tills, random, seen: HashMap::new(), counts };
        sound(scope, move || looks.run(stop));
        sound(scope, move || Watcher::new(reader, counts).run(stop));
        while !stop.load(Ordering::Relaxed) {
            chores::wait(stop, Duration::from_millis(200));
            say(&counts.line())?;
        }
        Ok(())
    })
}

/// Looks at the store again and again.
struct Looks<'a> {
    reader: &'a ReadOnly,
    journals: &'a [Journal],
    tills: Vec<Till>,
    random: Random,
    /// The largest version seen of each key.
    seen: HashMap<KeyId, u64>,
    counts: &'a Counts,
}

impl<'a> Looks<'a> {
    fn run(mut self, stop: &AtomicBool) -> Result<()> {
        while !stop.load(Ordering::Relaxed) {
            self.look()?;
            if self.random.one_in(FULL_LOOK) {
                self.look_at_all()?;
            }
            let pause = chores::millis(&mut self.random, 0, 40);
            chores::wait(stop, pause);
        }
        Ok(())
    }

    fn look(&mut self) -> Result<()> {
        let sampled: Vec<_> = (0..SAMPLED).map(|_| self.sample()).collect::<Result<_>>()?;
        let made = self.tills.iter().map(Till::acknowledged).collect::<Result<Vec<_>>>()?;
        let seq_before = self.reader.seq();
        self.reader.refresh()?;
        self.counts.add("refreshed", self.reader.seq() - seq_before);
        self.counts.add("refreshes", 1);

        let (snapshot, span) = Span::of(|| self.reader.snapshot());
        bank::check_sum(&snapshot)?;
        for (till, made) in self.tills.iter().zip(made) {
            till.check_floor(&snapshot, made)?;
        }
        for (journal, index, floor) in sampled {
            let id = journal.id(index);
            let found = snapshot.get(&id.bytes())?;
            let mark = found.map(|value| Mark::of(id, &value)).transpose()?;
            check_between(id, floor, journal.slot(index)?, mark.as_ref())
                .map_err(|e| format!("a reader, after refreshing: {e}"))?;
            if let Some(mark) = mark {
                check_expiry(&mark, span)?;
                self.see(&mark)?;
            }
        }
        Ok(())
    }

    fn sample(&mut self) -> Result<(&'a Journal, u32, Slot)> {
        let worker = usize::try_from(self.random.below(self.journals.len() as u64))?;
        let journals: &'a [Journal] = self.journals;
        let journal = &journals[worker];
        let index = u32::try_from(self.random.below(u64::from(journal.keys)))?;
        Ok((journal, index, journal.slot(index)?))
    }

    fn see(&mut self, mark: &Mark) -> Result<()> {
        let seen = self.seen.entry(mark.id).or_default();
        if mark.version < *seen {
            return Err(format!("a reader saw version {seen} before, and now {mark:?}").into());
        }
        *seen = mark.version;
        Ok(())
    }

    fn look_at_all(&mut self) -> Result<()> {
        let snapshot = self.reader.snapshot();
        let marks = marks(&snapshot)?;
        check_prefix(&marks, self.journals).map_err(|e| format!("a reader: {e}"))?;
        self.counts.add("looks", 1);
        marks.values().try_for_each(|mark| self.see(mark))
    }
}

/// Follows every change from a snapshot on, and knows from the changes alone what the store is.
struct Watcher<'a> {
    reader: &'a ReadOnly,
    counts: &'a Counts,
    versions: HashMap<KeyId, u64>,
    balances: Balances,
    seq: u64,
}

impl<'a> Watcher<'a> {
    fn new(reader: &'a ReadOnly, counts: &'a Counts) -> Self {
        let (versions, balances) = (HashMap::new(), Balances::default());
        Self { reader, counts, versions, balances, seq: 0 }
    }

    fn run(mut self, stop: &AtomicBool) -> Result<()> {
        let mut watch = self.begin()?;
        while !stop.load(Ordering::Relaxed) {
            match watch.next_timeout(PATIENCE) {
                Ok(Some(event)) => self.apply(&event)?,
                Ok(None) => {}
                Err(e) if e.kind() == ErrorKind::Gone => watch = self.begin()?,
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    /// Reads everything, and watches from there on.
    fn begin(&mut self) -> Result<Watch> {
        for _ in 0..NEW_BEGINNINGS {
            self.reader.refresh()?;
            let snapshot = self.reader.snapshot();
            let marks = marks(&snapshot)?;
            self.versions = marks.into_values().map(|mark| (mark.id, mark.version)).collect();
            self.balances = Balances::default();
            for entry in &snapshot {
                let (key, value) = entry?;
                self.balances.set(&key, &value)?;
            }
            self.balances.check()?;
            self.seq = snapshot.seq();
            self.counts.add("watches", 1);
            match self.reader.watch(b"", self.seq + 1) {
                Err(e) if e.kind() == ErrorKind::Gone => {}
                watch => return Ok(watch?),
            }
        }
        Err("merges take away what was just read, again and again".into())
    }

    fn apply(&mut self, event: &Event) -> Result<()> {
        if event.seq <= self.seq {
            return Err(format!("the change {} came after {}", event.seq, self.seq).into());
        }
        self.seq = event.seq;
        self.counts.add("events", 1);
        if let Changed::Put { value, .. } = &event.change {
            match KeyId::parse(&event.key) {
                Some(id) => self.follow(&Mark::of(id, value)?)?,
                None => self.balances.set(&event.key, value)?,
            }
        }
        if event.is_last {
            self.balances.check().map_err(|e| format!("watching, at {}: {e}", event.seq))?;
        }
        Ok(())
    }

    /// No value is left out between what was known and this one.
    fn follow(&mut self, mark: &Mark) -> Result<()> {
        let Some(last) = self.versions.insert(mark.id, mark.version) else { return Ok(()) };
        let id = mark.id;
        let missing = (last + 1..mark.version)
            .find(|&version| version <= mark.since && !id.is_absent_at(version));
        if mark.version <= last || missing.is_some() {
            return Err(format!("a watcher knew version {last}, and was given {mark:?}").into());
        }
        Ok(())
    }
}
