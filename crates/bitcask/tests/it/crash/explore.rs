//! Ends lives in every way, and looks at what they leave.

use super::Rng;
use super::life::{Image, Life};
use super::oracle::{Contents, Ending, Oracle};
use super::plan::{DIR, Flavour, Plan, draw_steps};

/// Lives that follow each other at most.
const DEPTH: usize = 3;

/// Explores the crashes of one plan, and counts them.
pub(super) struct Explorer {
    plan: Plan,
    rng: Rng,
    states: u64,
    /// How we came to where we are, for who has to find out why it failed.
    trail: Vec<String>,
}

impl Drop for Explorer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Plan { seed, config, steps } = &self.plan;
            println!("SEED={seed}\nconfig: {config:?}\nsteps:");
            for (index, step) in steps.iter().enumerate() {
                println!("  {index}: {step:?}");
            }
            println!("then:\n  {}", self.trail.join("\n  "));
        }
    }
}

impl Explorer {
    pub(super) fn new(plan: Plan) -> Self {
        let rng = Rng::new(plan.seed ^ 0x5eed);
        Self { plan, rng, states: 0, trail: Vec::new() }
    }

    /// The plan's store, empty and not yet open.
    fn first_life(&self) -> Life {
        let fs = self.plan.config.new_disk(self.plan.seed);
        Life::new(self.plan.config, fs, Oracle::of(Contents::default()), self.plan.seed)
    }

    /// Operations of the plan from the first open to its last step.
    fn op_count(&self) -> u64 {
        let mut life = self.first_life();
        assert!(life.open() && life.run(&self.plan.steps), "the power stays on");
        life.fs.op_count()
    }

    /// A few endings: the corners, some others, and the death of the process.
    fn endings(&mut self) -> Vec<Ending> {
        let mut endings: Vec<_> = (0..4).map(Ending::Power).collect();
        endings.extend((0..2).map(|_| Ending::Power(self.rng.next() | 8)));
        endings.push(Ending::Kill);
        endings
    }

    /// Has the power go before each operation in turn.
    pub(super) fn crash_at_every_operation(mut self) -> u64 {
        for op in 0..=self.op_count() {
            let mut life = self.first_life().until(op);
            if life.open() {
                life.run(&self.plan.steps);
            }
            self.trail = vec![format!("power gone at operation {op}, {}", self.last_steps(&life))];
            self.end_in_all_ways(&life);
        }
        self.states
    }

    /// Has it go when no call is under way.
    pub(super) fn crash_between_steps(mut self) -> u64 {
        let mut life = self.first_life();
        assert!(life.open(), "the power stays on");
        for (index, step) in self.plan.steps.clone().iter().enumerate() {
            assert!(life.step(step), "the power stays on");
            self.trail = vec![format!("end after step {index}")];
            let now = life.contents();
            life.oracle.now_ms = life.now_ms();
            assert!(life.oracle.allows_now(&now), "wrong before any crash: {}", now.brief());
            self.end_in_all_ways(&life);
        }
        self.states
    }

    /// Has it go at any time, and then before each operation of the recovery.
    pub(super) fn crash_at_every_operation_of_recovery(mut self) -> u64 {
        let count = usize::try_from(self.op_count()).unwrap();
        for _ in 0..6 {
            let op = u64::try_from(self.rng.below(count)).unwrap();
            let mut life = self.first_life().until(op);
            if life.open() {
                life.run(&self.plan.steps);
            }
            let endings = self.endings();
            let ending = self.rng.pick(&endings);
            self.trail = vec![format!("{ending:?} at operation {op}, {}", self.last_steps(&life))];
            let image = life.end(ending);
            let (contents, opened_at) = self.check(&image);
            for op in 0..=opened_at {
                self.trail.truncate(1);
                self.live_on(&image, &contents, op, DEPTH - 1);
            }
        }
        self.states
    }

    fn last_steps(&self, life: &Life) -> String {
        format!("of {} operations so far", life.fs.op_count())
    }

    fn end_in_all_ways(&mut self, life: &Life) {
        let endings = self.endings();
        let deeper = self.rng.below(endings.len());
        let depth = self.trail.len();
        for (index, ending) in endings.into_iter().enumerate() {
            let image = life.end(ending);
            self.trail.truncate(depth);
            self.trail.push(format!("{ending:?}"));
            let (contents, opened_at) = self.check(&image);
            // A killed process is the one that most often lives on in reality.
            if index == deeper || ending == Ending::Kill && self.rng.one_in(2) {
                let op = self.draw_op(opened_at);
                self.live_on(&image, &contents, op, DEPTH - 1);
            }
        }
    }

    /// An operation in the next life, often one of its recovery.
    fn draw_op(&mut self, opened_at: u64) -> u64 {
        let opened_at = usize::try_from(opened_at).unwrap();
        let op = if self.rng.one_in(3) {
            self.rng.below(opened_at)
        } else {
            opened_at + self.rng.below(60)
        };
        u64::try_from(op).unwrap()
    }

    /// Opens an image, changes it somewhat, has the power go before operation `op`, and looks again.
    fn live_on(&mut self, image: &Image, contents: &Contents, op: u64, depth: usize) {
        let steps = self.rng.below(8);
        let flavour = self.rng.pick(&Flavour::ALL);
        let steps = draw_steps(&mut self.rng, flavour, steps);
        let values = self.rng.next();
        let mut life = Life::new(self.plan.config, image.disk(), image.oracle.clone(), values);
        life = life.until(op);
        self.trail
            .push(format!("lives on until operation {op} with values of {values}, {steps:?}"));
        let opened = life.open();
        if opened {
            // Whatever it shows is durable.
            life.oracle = Oracle::of(contents.clone());
            life.run(&steps);
        }
        let ending = match self.rng.below(4) {
            0 => Ending::Kill,
            1 => Ending::Power(0),
            _ => Ending::Power(self.rng.next()),
        };
        if !opened && image.ending != Ending::Kill {
            // All of that disk was durable: recovery, interrupted, begins again with the same.
            life.oracle = Oracle::of(contents.clone());
        }
        self.trail.push(format!("{ending:?}"));
        let image = life.end(ending);
        drop(life);
        let (contents, opened_at) = self.check(&image);
        if depth > 1 {
            let op = self.draw_op(opened_at);
            self.live_on(&image, &contents, op, depth - 1);
        }
    }

    /// Recovers an image and compares it with what was acknowledged. Gives its contents, and how many operations it
    /// took to open it.
    fn check(&mut self, image: &Image) -> (Contents, u64) {
        let mut life = self.reopen(image.disk());
        let opened_at = life.fs.op_count();
        let cut = life.db.as_ref().unwrap().recovery().cut.clone();
        if let Some(cut) = cut {
            let lossy = image.in_flight || image.oracle.dirty && image.ending != Ending::Kill;
            assert!(lossy, "cut though nothing was in flight: {cut:?}");
        }
        let contents = life.contents();
        image.oracle.check(&contents, image.ending, life.now_ms());
        check_names(&life);
        if image.ending == Ending::Kill || self.rng.one_in(4) {
            self.check_again(&mut life, &contents);
        }
        (contents, opened_at)
    }

    /// Opens a disk in a life that does not end by itself.
    fn reopen(&mut self, fs: bitcask::fs::sim::SimFs) -> Life {
        self.states += 1;
        let oracle = Oracle::of(Contents::default());
        let mut life = Life::new(self.plan.config, fs, oracle, 0);
        assert!(life.open(), "the power stays on");
        life
    }

    /// Opens a recovered store once more, in one of several ways: it must hold the same.
    fn check_again(&mut self, life: &mut Life, contents: &Contents) {
        let db = life.db.take().expect("it is open");
        let how = self.rng.below(5);
        let (how, fs) = match how {
            // Nothing that was shown may evaporate.
            0 | 1 => ("power loss after recovery", life.fs.crash(0)),
            2 => ("kill after recovery", life.fs.kill()),
            3 => {
                db.close().unwrap();
                ("close after recovery", life.fs.kill())
            }
            _ => {
                db.merge().unwrap();
                let merged = Contents::read(&db).unwrap();
                assert_eq!(merged.brief(), contents.brief(), "after a merge");
                ("power loss after recovery and merge", life.fs.crash(0))
            }
        };
        self.trail.push(how.into());
        drop(db);
        let again = self.reopen(fs);
        let cut = &again.db.as_ref().unwrap().recovery().cut;
        assert!(cut.is_none(), "cut again: {cut:?}");
        let now = again.contents();
        assert_eq!(now.brief(), contents.brief());
        assert!(now == *contents, "the same lengths, but other values");
        check_names(&again);
        self.trail.pop();
    }
}

/// Recovery leaves no half made files, and no hint without its data.
pub(super) fn check_names(life: &Life) {
    let names = life.fs.file_names(DIR);
    let names: Vec<_> = names.iter().map(|name| name.to_str().expect("ours are ASCII")).collect();
    for name in &names {
        assert!(!name.ends_with(".tmp"), "left over: {name}");
        if let Some(id) = name.strip_suffix(".hint") {
            let data = names.iter().any(|other| {
                other.strip_prefix(id).is_some_and(|rest| rest != ".hint" && rest.starts_with('.'))
            });
            assert!(data, "a hint without its data: {names:?}");
        }
    }
}
