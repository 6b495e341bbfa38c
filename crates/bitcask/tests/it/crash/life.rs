//! A store from opening to its end, and what it acknowledged.

use bitcask::fs::sim::{SimClock, SimFs};
use bitcask::{Bitcask, Durability, Result, WriteBatch};

use super::Rng;
use super::oracle::{Change, Contents, Ending, Oracle};
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
        !matches!(step, Step::Reopen) || self.open()
    }

    /// Takes note that a step succeeded.
    pub(super) fn note(&mut self, step: &Step, changes: &[Change]) {
        match step {
            Step::Put { .. } | Step::Delete { .. } | Step::Batch(_) => {
                self.oracle.acknowledge(changes);
                if self.config.durability == Durability::Always {
                    self.oracle.synced();
                    // To delete what is not there may begin a new file, and waits for nothing.
                    self.oracle.dirty = matches!(step, Step::Delete { .. });
                }
            }
            Step::Sync | Step::Tick | Step::Merge | Step::Reopen => self.oracle.synced(),
        }
    }

    /// What a step changes.
    pub(super) fn changes(&mut self, step: &Step) -> Vec<Change> {
        let mut value = |len: usize| self.values.bytes(len).into();
        match step {
            Step::Put { key, len } => vec![(*key, Some(value(*len)))],
            Step::Delete { key } => vec![(*key, None)],
            Step::Batch(changes) => {
                changes.iter().map(|&(key, len)| (key, len.map(&mut value))).collect()
            }
            Step::Sync | Step::Tick | Step::Merge | Step::Reopen => Vec::new(),
        }
    }

    /// Makes the call that a step is. Reopening only closes.
    pub(super) fn call(&mut self, step: &Step, changes: &[Change]) -> Result<()> {
        let db = self.db.as_ref().expect("the store is open");
        match (step, changes) {
            (Step::Put { key, .. }, [(_, Some(value))]) => db.put(&key_bytes(*key), value),
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
                        Some(value) => batch.put(key_bytes(*key), &value[..]),
                        None => batch.delete(key_bytes(*key)),
                    };
                }
                db.write(&batch)
            }
            (Step::Sync, _) => db.sync(),
            (Step::Tick, _) => db.tick(),
            (Step::Merge, _) => db.merge().map(|_| ()),
            (Step::Reopen, _) => db.close().inspect(|()| self.db = None),
            (Step::Put { .. }, _) => unreachable!("a put is one change"),
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

impl Drop for Life {
    fn drop(&mut self) {
        // The dead close nothing.
        self.fs.set_crash_point(0);
    }
}
