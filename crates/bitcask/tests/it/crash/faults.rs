//! One operation of a workload fails, each in turn.

use bitcask::fs::sim::Failure;
use bitcask::{Durability, Error, ErrorKind, IoMode};

use super::life::{Image, Life};
use super::oracle::{Change, Contents, Ending, Oracle};
use super::plan::{Flavour, Plan, Step, key_bytes};
use super::seeds;

/// A workload in which one operation fails.
struct Faulty {
    life: Life,
    /// What was cached may be lost: a sync failed.
    sync_failed: bool,
    poisoned: bool,
    failures: usize,
    /// The call that failed while its changes became visible: some may be, as a poisoned store does not take them back.
    half_done: Vec<Change>,
    trail: Vec<String>,
}

impl Drop for Faulty {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.trail.join("\n"));
        }
    }
}

impl Faulty {
    fn new(plan: &Plan) -> Self {
        let fs = plan.config.new_disk(plan.seed);
        let trail = vec![format!("SEED={} {:?}", plan.seed, plan.config)];
        let life = Life::new(plan.config, fs, Oracle::of(Contents::default()), plan.seed);
        Self {
            life,
            sync_failed: false,
            poisoned: false,
            failures: 0,
            half_done: Vec::new(),
            trail,
        }
    }

    fn run(&mut self, steps: &[Step]) {
        self.open();
        for (index, step) in steps.iter().enumerate() {
            self.trail.push(format!("{index}: {step:?}"));
            self.step(step);
        }
    }

    /// Opens the store; the second time at the latest.
    fn open(&mut self) {
        let open = |life: &Life| life.config.options(&life.fs, &life.clock).open("/db");
        let db = open(&self.life).or_else(|e| {
            self.trail.push(format!("open: {e:?}"));
            self.judge(&e);
            open(&self.life)
        });
        self.life.db = Some(db.unwrap_or_else(|e| panic!("cannot open a second time: {e:?}")));
        self.poisoned = false;
    }

    fn step(&mut self, step: &Step) {
        self.life.oracle.now_ms = self.life.now_ms();
        let changes = self.life.changes(step);
        match self.life.call(step, &changes) {
            Ok(()) => {
                assert!(
                    !self.poisoned || changes.is_empty() || self.is_noop(step),
                    "a poisoned store wrote"
                );
                self.life.note(step, &changes);
            }
            Err(e) => {
                self.trail.push(format!("   {e:?}"));
                self.judge(&e);
                match e.kind() {
                    ErrorKind::Poisoned => assert!(self.poisoned, "poisoned by nothing"),
                    // Nothing was changed.
                    ErrorKind::Full => {}
                    _ if changes.is_empty() => {}
                    _ => {
                        self.life.oracle.doubt(&changes);
                        self.half_done = changes;
                    }
                }
                self.check_poison(&e);
            }
        }
        if matches!(step, Step::Reopen) {
            self.reopen();
        } else {
            self.check_reads();
        }
    }

    /// To delete what is not there is nothing.
    fn is_noop(&self, step: &Step) -> bool {
        matches!(step, Step::Delete { key } if self.life.oracle.now().any(|now| !now.has(*key)))
    }

    /// No failure may look like damage.
    fn judge(&mut self, e: &Error) {
        let kinds = [ErrorKind::Io, ErrorKind::Full, ErrorKind::Poisoned];
        assert!(kinds.contains(&e.kind()), "{e:?}");
        self.failures += 1;
        self.sync_failed |= format!("{e:?}").contains("cannot sync");
    }

    /// After a failed write or sync of the log nothing more may be written.
    fn check_poison(&mut self, e: &Error) {
        let Some(db) = &self.life.db else { return };
        let Ok(stats) = db.stats() else { return };
        self.poisoned = stats.poisoned.is_some();
        let text = format!("{e:?}");
        let of_the_log = text.contains(".data") && !text.contains(".tmp");
        let fatal = text.contains("cannot sync")
            || text.contains("cannot append") && e.kind() != ErrorKind::Full;
        assert!(self.poisoned || !(of_the_log && fatal), "not poisoned by {e:?}");
        assert!(e.kind() != ErrorKind::Full || !self.poisoned, "Full is nothing to be poisoned by");
        if self.poisoned {
            let error = db.put(b"k1", b"late").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Poisoned, "{error:?}");
        }
    }

    /// Reads go on, whatever failed.
    fn check_reads(&mut self) {
        let Some(db) = &self.life.db else { return };
        for index in 0..super::plan::KEY_COUNT {
            let key = key_bytes(index);
            let value =
                db.get(&key).or_else(|_| db.get(&key)).expect("at most one operation fails");
            let half_done = |(key, half): &Change| {
                let half = half.as_ref().map(|half| &half.bytes[..]);
                *key == index && half == value.as_deref()
            };
            let right = self.life.oracle.now().any(|now| now.get(index) == value.as_deref())
                || self.poisoned && self.half_done.iter().any(half_done);
            assert!(right, "key {index} is {value:?}");
        }
    }

    /// Closing may have failed: what is there now is what counts.
    fn reopen(&mut self) {
        self.life.db = None;
        self.open();
        let db = self.life.db.as_ref().expect("it was just opened");
        let contents = Contents::read(db).or_else(|_| Contents::read(db)).expect("one failure");
        self.life.oracle.check(&contents, self.kill(), self.life.now_ms());
        self.life.oracle = Oracle::of(contents);
    }

    /// What the death of the process is like: after a failed sync, the cache may hold what the disk does not.
    fn kill(&self) -> Ending {
        if self.sync_failed { Ending::Power(u64::MAX) } else { Ending::Kill }
    }

    /// Recovers what is left, in several ways; gives how many images that were.
    fn check(self) -> u64 {
        let kill = Image { ending: self.kill(), ..self.life.end(Ending::Kill) };
        recover(&self.life, &kill, true);
        for seed in [0, 1] {
            recover(&self.life, &self.life.end(Ending::Power(seed)), false);
        }
        4
    }
}

/// Recovers an image on a healthy disk. What it shows must be durable then.
fn recover(before: &Life, image: &Image, again: bool) {
    let reopen = |fs| {
        let mut life = Life::new(before.config, fs, Oracle::of(Contents::default()), 0);
        assert!(life.open(), "the power stays on");
        life
    };
    let fs = image.disk();
    fs.clear_faults();
    let life = reopen(fs);
    let contents = life.contents();
    image.oracle.check(&contents, image.ending, life.now_ms());
    super::explore::check_names(&life);
    if again {
        let later = reopen(life.fs.crash(0));
        assert_eq!(later.contents().brief(), contents.brief(), "evaporated");
    }
}

/// Fails every operation of a plan in turn.
fn fail_every_operation(plan: &Plan, failure: Failure) -> (u64, usize) {
    let mut healthy = Faulty::new(plan);
    healthy.run(&plan.steps);
    let (mut states, mut failures) = (0, 0);
    for op in 0..healthy.life.fs.op_count() {
        let mut faulty = Faulty::new(plan);
        faulty.trail.push(format!("operation {op} fails: {failure:?}"));
        faulty.life.fs.fail_at(op, failure);
        faulty.run(&plan.steps);
        failures += faulty.failures;
        states += faulty.check();
    }
    (states, failures)
}

fn check(what: &str, base: u64, failure: Failure) {
    let (mut states, mut failures) = (0, 0);
    for seed in seeds(base, 1) {
        for io in [IoMode::Mapped, IoMode::Plain] {
            for durability in super::Config::DURABILITIES {
                let flavour = Flavour::ALL[usize::try_from(seed % 4).unwrap()];
                let mut plan = Plan::draw(seed, flavour, io);
                plan.config.durability = durability;
                plan.config.short_io_one_in = 0;
                plan.config.interrupts_one_in = 0;
                let (more_states, more_failures) = fail_every_operation(&plan, failure);
                states += more_states;
                failures += more_failures;
            }
        }
    }
    assert!(failures > 0, "nothing noticed the failures");
    println!("crash states: {states} ({what}; {failures} failures noticed)");
}

#[test]
fn an_operation_that_fails_loses_nothing_that_was_durable() {
    check("EIO", 10_000_000, Failure::Io);
}

#[test]
fn a_disk_that_is_full_once_loses_nothing() {
    check("ENOSPC", 11_000_000, Failure::NoSpace);
}

#[test]
fn running_out_of_files_once_loses_nothing() {
    check("EMFILE", 12_000_000, Failure::TooManyFiles);
}

#[test]
fn a_signal_at_any_operation_loses_nothing() {
    check("EINTR", 13_000_000, Failure::Interrupted);
}

/// The mark that closing appends may lie on two pages, and its sync may fail. Who opens the store then must not
/// take for durable what only the cache has.
#[test]
fn a_failed_sync_while_closing_leaves_no_hole_under_what_comes_later() {
    let mut states = 0;
    for io in [IoMode::Mapped, IoMode::Plain] {
        for len in (3700..4200).step_by(4) {
            let config = super::Config { io, max_file_size: 16 << 10, ..super::Config::simple() };
            let config = super::Config { write_back_one_in: 0, ..config };
            let steps = [Step::Put { key: 1, len }, Step::Sync, Step::Reopen];
            let plan = Plan { seed: 0, config, steps: steps.to_vec() };
            let mut healthy = Faulty::new(&plan);
            healthy.run(&plan.steps[..2]);
            let before = healthy.life.fs.op_count();
            for op in before..before + 8 {
                let mut faulty = Faulty::new(&plan);
                faulty.trail.push(format!("operation {op} fails"));
                faulty.life.fs.fail_at(op, Failure::Io);
                faulty.run(&plan.steps);
                faulty.life.fs.clear_faults();
                faulty.run_more(&[Step::Put { key: 2, len: 100 }, Step::Sync]);
                states += faulty.check();
            }
        }
    }
    println!("crash states: {states} (failed sync while closing)");
}

impl Faulty {
    fn run_more(&mut self, steps: &[Step]) {
        for step in steps {
            self.trail.push(format!("then {step:?}"));
            self.step(step);
        }
    }
}

/// What a sync after reopening calls durable is so, though a sync before had failed.
#[test]
fn what_is_seen_after_a_failed_sync_and_a_reopen_does_not_evaporate() {
    let mut states = 0;
    for seed in seeds(14_000_000, 120) {
        let io = if seed % 2 == 0 { IoMode::Mapped } else { IoMode::Plain };
        let mut plan = Plan::draw(seed, Flavour::Mixed, io);
        plan.config.durability = Durability::Os;
        plan.config.short_io_one_in = 0;
        plan.config.interrupts_one_in = 0;
        let mut faulty = Faulty::new(&plan);
        faulty.open();
        // From some moment on every sync of the disk fails, until it is opened again.
        let half = plan.steps.len() / 2;
        faulty.run_more(&plan.steps[..half]);
        faulty.life.fs.fail_from(faulty.life.fs.op_count(), Failure::Io);
        if let Some(Err(e)) = faulty.life.db.as_ref().map(bitcask::Bitcask::sync) {
            faulty.trail.push(format!("sync: {e:?}"));
            faulty.judge(&e);
        }
        faulty.life.fs.clear_faults();
        faulty.life.db = None;
        faulty.reopen();
        faulty.run_more(&plan.steps[half..]);
        faulty.run_more(&[Step::Sync]);
        states += faulty.check();
    }
    println!("crash states: {states} (failed sync, reopened)");
}
