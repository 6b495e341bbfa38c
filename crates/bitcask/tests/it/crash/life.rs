//! A store from opening to its end, and what it acknowledged.

use std::ops::ControlFlow;
use std::time::{Duration, UNIX_EPOCH};

use bitcask::fs::sim::{SimClock, SimFs};
use bitcask::{Bitcask, Durability, Result, Snapshot, WriteBatch};

use super::Rng;
use super::oracle::{Change, Contents, Ending, NEVER, Oracle, Stored};
use super::plan::{Config, DIR, Step, key_bytes};

/// An image of a disk at the end of a life.
pub(super) struct Image {
    pub(super) fs: SimFs,
    pub(super) ending: Ending,
    /// Whether a call was under way.
    pub(super) in_flight: bool,
    pub(super) oracle: Oracle,
}

impl Image {
    /// The disk again, to be changed.
    pub(super) fn disk(&self) -> SimFs {
        self.fs.kill()
    }
}

/// A store while it lives.
pub(super) struct Life {
    pub(super) config: Config,
    pub(super) fs: SimFs,
    pub(super) clock: SimClock,
    pub(super) db: Option<Bitcask>,
    pub(super) oracle: Oracle,
    crash_point: Option<u64>,
    in_flight: bool,
    values: Rng,
    /// Snapshots that live, with what they hold.
    frozen: Vec<(Snapshot, Contents)>,
}

impl Life {
    /// A store that is not yet open; `values` is the seed of what is put into it.
    pub(super) fn new(config: Config, fs: SimFs, oracle: Oracle, values: u64) -> Self {
        Self {
            config,
            fs,
            clock: SimClock::new(1_700_000_000_000),
            db: None,
            oracle,
            crash_point: None,
            in_flight: false,
            values: Rng::new(values),
            frozen: Vec::new(),
        }
    }

    /// The power goes before operation `op`.
    pub(super) fn until(mut self, op: u64) -> Self {
        self.fs.set_crash_point(op);
        self.crash_point = Some(op);
        self
    }

    /// Whether the crash point was passed.
    pub(super) fn is_over(&self) -> bool {
        self.crash_point.is_some_and(|at| self.fs.op_count() > at)
    }

    /// Opens the store; false if the power went.
    pub(super) fn open(&mut self) -> bool {
        let result = self.config.options(&self.fs, &self.clock).open(DIR);
        if self.is_over() {
            self.in_flight = true;
            self.db = result.ok();
            return false;
        }
        self.db = Some(result.unwrap_or_else(|e| panic!("cannot open: {e:?}")));
        true
    }

    /// Runs the steps until the power goes; false if it did.
    pub(super) fn run(&mut self, steps: &[Step]) -> bool {
        steps.iter().all(|step| self.step(step))
    }

    /// Does one step; false if the power went.
    pub(super) fn step(&mut self, step: &Step) -> bool {
        self.clock.step_wall_ms(if self.values.one_in(8) { -5000 } else { 7 });
        self.oracle.now_ms = self.now_ms();
        let changes = self.changes(step);
        let result = self.call(step, &changes);
        if self.is_over() {
            self.in_flight = true;
            if !changes.is_empty() {
                self.oracle.doubt(&changes);
            }
            return false;
        }
        result.unwrap_or_else(|e| panic!("{step:?}: {e:?}"));
        self.note(step, &changes);
        self.check_frozen();
        !matches!(step, Step::Reopen) || self.open()
    }

    /// What time it is for the store.
    pub(super) fn now_ms(&self) -> u64 {
        let db = self.db.as_ref().expect("the store is open");
        let _snapshot = db.snapshot().expect("it is open");
        let snapshots = db.stats().expect("it is open").snapshots;
        snapshots.iter().map(|snapshot| snapshot.since_ms).max().expect("there is one")
    }

    /// Whatever is merged, a snapshot holds what it held.
    fn check_frozen(&self) {
        for (snapshot, contents) in &self.frozen {
            let now = match Contents::read_snapshot(snapshot) {
                Ok(now) => now,
                Err(_) if self.is_over() => return,
                Err(e) => panic!("cannot read a snapshot: {e:?}"),
            };
            assert_eq!(now.brief(), contents.brief(), "a snapshot at {}", snapshot.seq());
            assert!(now == *contents, "the same lengths, but other values");
        }
    }

    /// Takes note that a step succeeded.
    pub(super) fn note(&mut self, step: &Step, changes: &[Change]) {
        match step {
            Step::Put { .. } | Step::PutWith { .. } | Step::Delete { .. } | Step::Batch(_) => {
                self.oracle.acknowledge(changes);
                if self.config.durability == Durability::Always {
                    self.oracle.synced();
                    // To delete what is not there may begin a new file, and waits for nothing.
                    self.oracle.dirty = matches!(step, Step::Delete { .. });
                }
            }
            Step::Tick | Step::Reopen => {
                self.oracle.synced();
                self.oracle.record_time();
            }
            Step::Sync | Step::Merge | Step::MergePart(_) => self.oracle.synced(),
            Step::Wait(_) | Step::Freeze | Step::Thaw(_) => {}
        }
    }

    /// What a step changes.
    pub(super) fn changes(&mut self, step: &Step) -> Vec<Change> {
        let now_ms = self.oracle.now_ms;
        let mut value =
            |len: usize| Stored { bytes: self.values.bytes(len).into(), expires_ms: NEVER };
        match step {
            Step::Put { key, len } => vec![(*key, Some(value(*len)))],
            Step::PutWith { key, len, ttl_ms } => {
                vec![(*key, Some(Stored { expires_ms: now_ms + ttl_ms, ..value(*len) }))]
            }
            Step::Delete { key } => vec![(*key, None)],
            Step::Batch(changes) => {
                changes.iter().map(|&(key, len)| (key, len.map(&mut value))).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Makes the call that a step is. Reopening only closes.
    pub(super) fn call(&mut self, step: &Step, changes: &[Change]) -> Result<()> {
        let db = self.db.as_ref().expect("the store is open");
        match (step, changes) {
            (Step::Put { key, .. }, [(_, Some(value))]) => db.put(&key_bytes(*key), &value.bytes),
            (Step::PutWith { key, .. }, [(_, Some(Stored { bytes, expires_ms }))]) => {
                let expiry = UNIX_EPOCH + Duration::from_millis(*expires_ms);
                db.put_with(&key_bytes(*key), bytes, expiry)
            }
            (Step::Delete { key }, _) => {
                let was_there = db.delete(&key_bytes(*key))?;
                let right = self.oracle.now().any(|now| now.has(*key) == was_there);
                assert!(right, "delete({key}) said {was_there}");
                Ok(())
            }
            (Step::Batch(_), changes) => {
                let mut batch = WriteBatch::new();
                for (key, value) in changes {
                    match value {
                        Some(value) => batch.put(key_bytes(*key), &value.bytes[..]),
                        None => batch.delete(key_bytes(*key)),
                    };
                }
                db.write(&batch)
            }
            (Step::Sync, _) => db.sync(),
            (Step::Tick, _) => db.tick(),
            (Step::Merge, _) => db.merge().map(|_| ()),
            (Step::MergePart(looks), _) => merge_part(db, *looks),
            (Step::Wait(ms), _) => {
                self.clock.advance(Duration::from_millis(*ms));
                Ok(())
            }
            (Step::Freeze, _) => {
                let frozen = (db.snapshot()?, Contents::read(db)?.frozen());
                self.frozen.push(frozen);
                Ok(())
            }
            (Step::Thaw(index), _) => {
                if *index < self.frozen.len() {
                    self.frozen.swap_remove(*index);
                }
                Ok(())
            }
            (Step::Reopen, _) => {
                self.frozen.clear();
                db.close().inspect(|()| self.db = None)
            }
            (Step::Put { .. } | Step::PutWith { .. }, _) => unreachable!("a put is one change"),
        }
    }

    /// Everything the store holds now; the power must be on.
    pub(super) fn contents(&self) -> Contents {
        let db = self.db.as_ref().expect("the store is open");
        Contents::read(db).unwrap_or_else(|e| panic!("cannot read: {e:?}"))
    }

    /// What is left when it ends so, now.
    pub(super) fn end(&self, ending: Ending) -> Image {
        let fs = match ending {
            Ending::Power(seed) => self.fs.crash(seed),
            Ending::Kill => self.fs.kill(),
        };
        Image { fs, ending, in_flight: self.in_flight, oracle: self.oracle.clone() }
    }
}

/// Stops a merge at its `looks`th look around.
fn merge_part(db: &Bitcask, looks: usize) -> Result<()> {
    let mut left = looks;
    let stop = |_: &bitcask::MergeProgress| {
        left -= 1;
        if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    db.merge_with(stop).map(|_| ())
}

impl Drop for Life {
    fn drop(&mut self) {
        // The dead close nothing.
        self.fs.set_crash_point(0);
    }
}
