//! What other stores left.

use std::ops::ControlFlow;
use std::path::Path;

use super::fresh;
use super::load::Loader;
use super::{Context, Imported};
use crate::cli::{self, Source};
use crate::failure::Failure;
use crate::incoming::Notice;
use crate::pace::Pace;
use crate::terminal::{Progress, interrupted, listen_for_interrupts};
use crate::time::now_ms;
use crate::{redis, riak};

/// Bytes between two looks at the bar and the clock.
const SHOW_EVERY: u64 = 1 << 16;

/// The bar, and the rate that was asked for.
struct Meter {
    progress: Progress,
    pace: Pace,
    shown: u64,
}

impl Meter {
    fn new(context: &Context, args: &cli::Import) -> Self {
        let progress = Progress::new("importing", context.quiet);
        Self { progress, pace: Pace::new(args.rate), shown: 0 }
    }

    fn reached(&mut self, bytes_done: u64, bytes: u64) {
        if bytes_done >= self.shown.saturating_add(SHOW_EVERY) {
            self.shown = bytes_done;
            self.progress.show(bytes_done, bytes, format_args!(""));
            self.pace.reach(bytes_done);
        }
    }
}

/// For these, standard input is none: two of them may be directories, and `-` was likely left out by mistake.
fn path(args: &cli::Import) -> Result<&Path, Failure> {
    if args.path != Path::new("-") {
        return Ok(&args.path);
    }
    let (what, advice) = match args.from {
        Source::Riak => ("a directory of Riak", "pass the path of the directory"),
        Source::Aof => ("an append-only file", "pass the path of the file, or of its directory"),
        _ => ("a Redis snapshot", "pass the path of the file"),
    };
    Err(Failure::invalid(format!("{what} is not read from standard input")).advise(advice))
}

/// Why a change was not taken.
enum Stop {
    Store(bitcask::Error),
    Interrupted,
}

pub(super) fn riak(context: &Context, args: &cli::Import) -> Result<Imported, Failure> {
    let options = riak::RiakOptions {
        expiry: args.expiry_secs.map(|secs| riak::Expiry { secs, now_ms: now_ms() }),
        keys: if args.riak_keys { riak::KeyForm::RiakKv } else { riak::KeyForm::AsStored },
    };
    let dir = path(args)?;
    riak::look(dir).map_err(riak_failure)?;
    listen_for_interrupts()?;
    // Lost and expired records delete: only what they replaced may go, not what another partition had, a replica.
    let report = fresh::make(context, |db| {
        let mut meter = Meter::new(context, args);
        let mut loader = Loader::new(db);
        let report = riak::read(
            dir,
            &options,
            &mut |change| {
                if interrupted().is_break() {
                    return Err(Stop::Interrupted);
                }
                loader.take(change).map_err(Stop::Store)
            },
            &mut |now| meter.reached(now.bytes_done, now.bytes),
        );
        let report = report.map_err(riak_failure)?;
        loader.flush()?;
        Ok(report)
    })?;
    let lost = report.lost_keys + report.doubtful_keys + report.damaged_places;
    Ok(Imported {
        counts: vec![
            ("files", report.files),
            ("files skipped", report.files_skipped),
            ("records", report.records),
            ("values", report.values),
            ("tombstones", report.tombstones),
            ("tombstones doubtful", report.tombstones_doubtful),
            ("look like tombstones", report.lookalikes),
            ("expired", report.expired),
            ("damaged places", report.damaged_places),
            ("damaged bytes", report.damaged_bytes),
            ("torn tails", report.torn_tails),
            ("lost tombstones", report.lost_tombstones),
            ("lost keys", report.lost_keys),
            ("doubtful keys", report.doubtful_keys),
            ("undecoded keys", report.undecoded_keys),
        ],
        notices: report.notices,
        is_partial: lost > 0,
    })
}

fn riak_failure(error: riak::RiakError<Stop>) -> Failure {
    match error {
        riak::RiakError::Each(Stop::Store(e)) => e.into(),
        riak::RiakError::Each(Stop::Interrupted) => nothing_imported(),
        riak::RiakError::Read { path, source } => Failure::file("cannot read", &path, &source),
        riak::RiakError::NoData { dir, partition } => {
            let failure =
                Failure::invalid(format!("no data file of Riak's Bitcask: {}", dir.display()));
            match partition {
                Some(_) => failure.advise(
                    "this holds partitions, which are replicas: import each into a store of its own",
                ),
                None => failure.advise("pass the directory with files named like 1.bitcask.data"),
            }
        }
    }
}

fn nothing_imported() -> Failure {
    Failure::interrupted("nothing was imported")
}

fn redis_options(args: &cli::Import) -> redis::Options {
    redis::Options { databases: args.redis_db, now_ms: now_ms() }
}

pub(super) fn aof(context: &Context, args: &cli::Import) -> Result<Imported, Failure> {
    let mut report = redis::Report::default();
    let files = redis::Files::aof(path(args)?).map_err(redis_failure)?;
    listen_for_interrupts()?;
    // Commands speak of what was there before them, and of keys that have expired by now.
    let damage = fresh::make(context, |db| {
        let mut loader = Loader::new(db);
        let mut watch = watch(context, args, files.bytes());
        let result =
            redis::import_aof(files, &redis_options(args), &mut loader, &mut report, &mut watch);
        loader.flush()?;
        match result {
            Ok(()) => Ok(None),
            Err(redis::Error::Stopped) => Err(nothing_imported()),
            Err(e @ redis::Error::Damaged { .. }) if !db.is_empty()? => Ok(Some(e)),
            Err(e) => Err(redis_failure(e)),
        }
    })?;
    match damage {
        Some(e) => Err(redis_failure(e).advise("what came before this is imported")),
        None => Ok(redis_imported(args, report)),
    }
}

pub(super) fn rdb(context: &Context, args: &cli::Import) -> Result<Imported, Failure> {
    let mut report = redis::Report::default();
    let files = redis::Files::rdb(path(args)?).map_err(redis_failure)?;
    listen_for_interrupts()?;
    context.write(true, |db| {
        let mut loader = Loader::new(db);
        let mut watch = watch(context, args, files.bytes());
        let result =
            redis::import_rdb(files, &redis_options(args), &mut loader, &mut report, &mut watch);
        // What was given before an error stands.
        loader.flush()?;
        match result {
            Ok(()) => Ok(super::Answer::done([])),
            Err(redis::Error::Stopped) => {
                Err(Failure::interrupted("what came before is imported, the rest is not")
                    .advise("import the file again for all of it"))
            }
            Err(e) => Err(redis_failure(e)),
        }
    })?;
    Ok(redis_imported(args, report))
}

fn watch(context: &Context, args: &cli::Import, bytes: u64) -> impl FnMut(u64) -> ControlFlow<()> {
    let mut meter = Meter::new(context, args);
    move |bytes_done| {
        meter.reached(bytes_done, bytes);
        interrupted()
    }
}

fn redis_failure(error: redis::Error) -> Failure {
    match error {
        redis::Error::Target(e) => e.into(),
        e @ redis::Error::NoChoice { .. } => {
            Failure::of(&e, e.kind()).advise("pass the path of the manifest, or of the file itself")
        }
        e => Failure::of(&e, e.kind()),
    }
}

fn redis_imported(args: &cli::Import, report: redis::Report) -> Imported {
    let others = |counts: &std::collections::BTreeMap<String, u64>| counts.values().sum::<u64>();
    let mut notices = report.notices;
    for (kind, counts) in [
        ("keys of the type", &report.other_types),
        ("commands", &report.other_commands),
        ("of the database", &report.other_databases),
    ] {
        for (name, count) in counts {
            let what = format!("{count} {kind} {name} were left out");
            // These are as many as there are names, and not to be left out.
            let place = args.path.display().to_string();
            notices.list.push(Notice { place, offset: None, what });
        }
    }
    let other_keys = others(&report.other_types);
    Imported {
        counts: vec![
            ("snapshot keys", report.snapshot_keys),
            ("commands", report.commands),
            ("expired", report.expired),
            ("other types", other_keys),
            ("other commands", others(&report.other_commands)),
            ("other databases", others(&report.other_databases)),
        ],
        notices,
        is_partial: false,
    }
}
