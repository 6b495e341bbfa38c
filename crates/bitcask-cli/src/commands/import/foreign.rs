//! What other stores left.

use std::time::{SystemTime, UNIX_EPOCH};

use bitcask::Bitcask;

use super::load::Loader;
use super::{Context, Imported};
use crate::cli::{self, Source};
use crate::failure::Failure;
use crate::pace::Pace;
use crate::terminal::{Progress, interrupted, listen_for_interrupts};
use crate::{redis, riak};

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
    let mut read = None;
    loading(context, |db| {
        let progress = Progress::new("importing", context.quiet);
        let mut pace = Pace::new(args.rate);
        let mut loader = Loader::new(db);
        let mut shown = 0;
        let result = riak::read(
            &args.path,
            &options,
            &mut |change| {
                if interrupted().is_break() {
                    return Err(Stop::Interrupted);
                }
                loader.take(change).map_err(Stop::Store)
            },
            &mut |now| {
                if now.bytes_done >= shown + (1 << 16) {
                    shown = now.bytes_done;
                    progress.show(now.bytes_done, now.bytes, format_args!(""));
                    pace.reach(now.bytes_done);
                }
            },
        );
        loader.flush()?;
        read = Some(result.map_err(|e| match e {
            riak::RiakError::Each(Stop::Store(e)) => Failure::from(e),
            riak::RiakError::Each(Stop::Interrupted) => {
                Failure::interrupted("what came before is imported; begin again to have all of it")
            }
            riak::RiakError::Read { path, source } => Failure::file("cannot read", &path, &source),
            riak::RiakError::NoData { dir, partition } => no_riak(&dir, partition.as_deref()),
        })?);
        Ok(())
    })?;
    let report = read.expect("it was read, or there is an error");
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
        notices_left_out: report.notices_left_out,
        is_partial: lost > 0,
    })
}

fn no_riak(dir: &std::path::Path, partition: Option<&std::path::Path>) -> Failure {
    let failure = Failure::invalid(format!("no data file of Riak's Bitcask: {}", dir.display()));
    match partition {
        Some(_) => failure.advise("this holds partitions: import each of its directories"),
        None => failure.advise("pass the directory with files named like 1.bitcask.data"),
    }
}

pub(super) fn redis(context: &Context, args: &cli::Import) -> Result<Imported, Failure> {
    let options = redis::Options { databases: args.redis_db, now_ms: now_ms() };
    let mut report = redis::Report::default();
    loading(context, |db| {
        if args.from == Source::Aof && !db.is_empty()? {
            return Err(Failure::invalid("the store holds keys already")
                .advise("import an append-only file into a new store: it says what to do with what was there before"));
        }
        let mut loader = Loader::new(db);
        let result = if args.from == Source::Aof {
            redis::import_aof(&args.path, &options, &mut loader, &mut report)
        } else {
            redis::import_rdb(&args.path, &options, &mut loader, &mut report)
        };
        // What was given before an error stands.
        loader.flush()?;
        result.map_err(|e| Failure::of(&e, e.kind()))
    })?;
    let others = |counts: &std::collections::BTreeMap<String, u64>| counts.values().sum::<u64>();
    let mut notices = report.notices;
    for (kind, counts) in [
        ("keys of the type", &report.other_types),
        ("commands", &report.other_commands),
        ("of the database", &report.other_databases),
    ] {
        for (name, count) in counts {
            let what = format!("{count} {kind} {name} were left out");
            notices.push(crate::incoming::Notice {
                place: args.path.display().to_string(),
                offset: None,
                what,
            });
        }
    }
    let other_keys = others(&report.other_types);
    Ok(Imported {
        counts: vec![
            ("snapshot keys", report.snapshot_keys),
            ("commands", report.commands),
            ("expired", report.expired),
            ("other types", other_keys),
            ("other commands", others(&report.other_commands)),
            ("other databases", others(&report.other_databases)),
        ],
        notices,
        notices_left_out: report.notices_dropped,
        is_partial: false,
    })
}

fn loading(
    context: &Context,
    load: impl FnOnce(&Bitcask) -> Result<(), Failure>,
) -> Result<(), Failure> {
    listen_for_interrupts()?;
    context.write(true, |db| load(db).map(|()| super::Answer::done([]))).map(drop)
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
