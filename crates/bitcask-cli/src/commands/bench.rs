//! How fast a store is on this machine.

use std::time::{Duration, Instant};

use bitcask::{Bitcask, Durability, Index};

use super::{Context, Outcome};
use crate::bench::{Bench, Findings, KEY_LEN, Measured, Scratch, as_json, as_text};
use crate::cli::{self, Safety, Workload};
use crate::failure::Failure;
use crate::output::{time, to_stdout};
use crate::terminal::{Progress, interrupted, listen_for_interrupts};

pub(super) fn bench(context: &Context, args: &cli::Bench) -> Result<Outcome, Failure> {
    listen_for_interrupts()?;
    let place = args.dir.clone().unwrap_or_else(std::env::temp_dir);
    let scratch = Scratch::new(&place, context.db.as_deref())?;
    if cfg!(debug_assertions) {
        context
            .note(format_args!("built for debugging: with `cargo build --release` it is faster"));
    }
    let bench = Bench {
        dir: scratch.path().to_owned(),
        durability: match args.durability {
            Safety::Os => Durability::Os,
            Safety::Interval => Durability::Interval(Duration::from_secs(1)),
            Safety::Always => Durability::Always,
        },
        keys: args.keys,
        value_size: args.value_size,
        threads: args.threads,
        time: args.time,
    };
    let (loaded, workloads) = measure(context, args, &bench)?;
    scratch.remove()?;
    let was_interrupted = interrupted().is_break();
    let findings = Findings {
        keys: args.keys,
        key_size: KEY_LEN,
        value_size: args.value_size,
        threads: args.threads,
        durability: args.durability.name(),
        place,
        loaded,
        workloads,
        interrupted: was_interrupted,
    };
    let said = if context.json { as_json(&findings) } else { as_text(&findings) };
    to_stdout(said.as_bytes())?;
    if was_interrupted {
        return Err(Failure::interrupted("what had been measured is printed"));
    }
    Ok(Outcome::Done)
}

type Loaded = (u64, Duration);

/// Loads the store and runs the workloads, until somebody presses Ctrl-C.
fn measure(
    context: &Context,
    args: &cli::Bench,
    bench: &Bench,
) -> Result<(Loaded, Vec<Measured>), Failure> {
    let index_of = |workload: Workload| match workload {
        Workload::E => Index::Ordered,
        _ => Index::Hash,
    };
    let mut index = args.workload.first().map_or(Index::Hash, |&first| index_of(first));
    let mut db = bench.open(index)?;
    let loaded = load(context, bench, &db)?;
    let (mut keys, mut workloads) = (loaded.0, Vec::new());
    for &workload in &args.workload {
        if interrupted().is_break() {
            break;
        }
        if index != index_of(workload) {
            index = index_of(workload);
            db.close()?;
            db = bench.open(index)?;
        }
        let progress = Progress::line(workload.name(), context.quiet);
        let measured = bench.run(&db, workload, keys, |now| {
            progress.show(
                0,
                0,
                format_args!(
                    ": {:.1} s of {:.1} s, {:.0} operations/s, p50 {}, p99 {}",
                    now.elapsed.as_secs_f64(),
                    bench.time.as_secs_f64(),
                    now.per_second,
                    time(now.p50_ns),
                    time(now.p99_ns),
                ),
            );
            interrupted()
        })?;
        keys = measured.keys;
        workloads.push(measured);
    }
    db.close()?;
    Ok((loaded, workloads))
}

fn load(context: &Context, bench: &Bench, db: &Bitcask) -> Result<Loaded, Failure> {
    let progress = Progress::keys("loading", context.quiet);
    let started = Instant::now();
    let keys = bench.load(db, |done| {
        progress.show(done, bench.keys, format_args!(""));
        interrupted()
    })?;
    Ok((keys, started.elapsed()))
}
