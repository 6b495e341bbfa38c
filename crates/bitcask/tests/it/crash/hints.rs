//! Hints that are not their data file's, or not of this moment.

use bitcask::fs::sim::SimFs;
use bitcask::{ErrorKind, IoMode};

use super::life::Life;
use super::oracle::{Contents, Oracle};
use super::plan::{Config, Flavour, Plan, Step};
use super::seeds;

/// Runs steps on a disk, closes the store, and gives what it held.
fn run(config: Config, fs: &SimFs, steps: &[Step], seed: u64) -> Contents {
    // The life before left the power off.
    fs.clear_faults();
    let mut life = Life::new(config, fs.clone(), Oracle::of(Contents::default()), seed);
    assert!(life.open(), "the power stays on");
    life.oracle = Oracle::of(life.contents());
    assert!(life.run(steps), "the power stays on");
    let contents = life.contents();
    life.db.take().expect("it is open").close().unwrap();
    contents
}

fn names(fs: &SimFs, extension: &str) -> Vec<String> {
    let names = fs.file_names("/db").into_iter().map(|name| format!("/db/{}", name.display()));
    names.filter(|name| name.ends_with(extension)).collect()
}

/// Copies files from one disk to another, those that both have.
fn copy(from: &SimFs, to: &SimFs, extension: &str) {
    let there = names(to, extension);
    for name in names(from, extension).iter().filter(|name| there.contains(name)) {
        to.write_file(name, &from.read_file(name));
    }
}

/// Opens a disk whose files are of two moments: it holds one of these contents, or says that it is damaged.
fn check(config: Config, fs: SimFs, allowed: &[&Contents], may_fail: bool) -> bool {
    let life = Life::new(config, fs, Oracle::of(Contents::default()), 0);
    match config.options(&life.fs, &life.clock).open("/db") {
        Ok(db) => {
            let now = Contents::read(&db).expect("what is open can be read");
            assert!(allowed.contains(&&now), "{}\n{}", now.brief(), allowed[0].brief());
            true
        }
        Err(e) => {
            assert!(may_fail && e.kind() == ErrorKind::Corrupt, "{e:?}");
            false
        }
    }
}

#[test]
fn a_hint_of_another_store_or_another_moment_is_not_believed() {
    for seed in seeds(22_000_000, 40) {
        println!("SEED={seed}");
        let io = if seed % 2 == 0 { IoMode::Mapped } else { IoMode::Plain };
        let mut plan = Plan::draw(seed, Flavour::Rotations, io);
        plan.steps.retain(|step| !matches!(step, Step::Merge | Step::Tick));
        let config = plan.config;
        let (early, late) = plan.steps.split_at(plan.steps.len() / 2);

        let fs = config.new_disk(seed);
        let before = run(config, &fs, early, seed);
        let old = fs.kill();
        let after = run(config, &fs, late, seed + 1);

        // Another store's, with the same numbers.
        let other = config.new_disk(seed + 2);
        run(config, &other, &plan.steps, seed + 3);
        let mixed = fs.kill();
        copy(&other, &mixed, ".hint");
        check(config, mixed, &[&after], false);

        // An old hint, as a backup that missed some files may have it.
        let mixed = fs.kill();
        copy(&old, &mixed, ".hint");
        check(config, mixed, &[&after], false);

        // Old data under new hints: what was durable is gone, and may not be replaced by anything else.
        let mixed = old.kill();
        copy(&fs, &mixed, ".hint");
        check(config, mixed, &[&before], true);
    }
}
