//! The store as a whole: what is in it, and its health.

use std::io::IsTerminal;
use std::path::Path;

use bitcask::{CheckpointReport, ErrorKind, MergePolicy, Options, ReadOnly, VerifyOptions};
use serde_json::json;

use super::{Answer, Context, Outcome};
use crate::cli;
use crate::failure::Failure;
use crate::output::{self, size, to_stdout};
use crate::terminal::{self, Progress, confirm, interrupted, listen_for_interrupts};

pub(super) fn stats(context: &Context, args: &cli::Stats) -> Result<Outcome, Failure> {
    let reader = context.reader()?;
    let said = || {
        let (stats, in_use) = (reader.stats(), bitcask::in_use(context.dir()?)?);
        let json = || output::stats_json(&stats, in_use.as_ref());
        Ok::<_, Failure>(match (context.json, args.watch) {
            (true, None) => format!("{:#}\n", json()),
            // An object a line.
            (true, Some(_)) => format!("{}\n", json()),
            (false, _) => output::stats(&stats, in_use.as_ref()),
        })
    };
    let Some(pause) = args.watch else { return Answer::done(said()?).print() };
    listen_for_interrupts()?;
    let clear = if std::io::stdout().is_terminal() && !context.json { "\x1b[H\x1b[2J" } else { "" };
    while interrupted().is_continue() {
        reader.refresh()?;
        to_stdout(format!("{clear}{}", said()?).as_bytes())?;
        terminal::pause(pause);
    }
    Ok(Outcome::Done)
}

pub(super) fn merge(context: &Context, args: &cli::Merge) -> Result<Outcome, Failure> {
    if args.dry_run {
        let stats = context.reader()?.stats();
        let said =
            if context.json { output::mergeable_json(&stats) } else { output::mergeable(&stats) };
        return Answer::done(said).print();
    }
    let policy = MergePolicy { rate_bytes_per_second: args.max_rate, ..MergePolicy::default() };
    context.write_with(false, policy, |db| {
        listen_for_interrupts()?;
        let progress = Progress::new("merging", context.quiet);
        let report = db.merge_with(|now| {
            let files = format_args!(", {} of {} files", now.files_done, now.files);
            progress.show(now.bytes_read, now.bytes, files);
            interrupted()
        })?;
        drop(progress);
        let said =
            if context.json { output::merged_json(&report) } else { output::merged(&report) };
        if report.stopped {
            to_stdout(said.as_bytes())?;
            return Err(Failure::interrupted("what is merged stays so; merge again for the rest"));
        }
        Ok(Answer::done(said))
    })
}

pub(super) fn verify(context: &Context, args: &cli::Verify) -> Result<Outcome, Failure> {
    let reader = context.reader()?;
    listen_for_interrupts()?;
    let options = match args.rate {
        Some(rate) => VerifyOptions::new().rate_bytes_per_second(rate),
        None => VerifyOptions::new(),
    };
    let progress = Progress::new("verifying", context.quiet);
    let report = reader.verify_with(&options, |now| {
        progress.show(now.bytes_read, now.bytes, format_args!(", {} damaged", now.damage));
        interrupted()
    })?;
    drop(progress);
    let said =
        if context.json { output::verified_json(&report) } else { output::verified(&report) };
    let outcome = if report.is_clean() { Outcome::Done } else { Outcome::Absent };
    let outcome = Answer { outcome, data: said.into() }.print()?;
    if report.stopped {
        return Err(Failure::interrupted("the rest was not looked at"));
    }
    Ok(outcome)
}

pub(super) fn repair(context: &Context, args: &cli::Repair) -> Result<Outcome, Failure> {
    let dir = context.dir()?;
    if !args.yes {
        let question = format!(
            "Damaged files in {} are written anew with all in them that checks out, and the originals are\n\
             moved to {}. Nothing is deleted. Go on?",
            dir.display(),
            dir.join("quarantine").display(),
        );
        if !confirm(question)? {
            context.note(format_args!("nothing was changed"));
            return Ok(Outcome::Absent);
        }
    }
    let report = Options::new().repair(dir).map_err(super::no_store)?;
    let said =
        if context.json { output::repaired_json(&report) } else { output::repaired(&report) };
    let whole =
        report.lost.is_empty() && report.unreadable.is_empty() && report.stale_keys.is_empty();
    let outcome = if whole { Outcome::Done } else { Outcome::Absent };
    Answer { outcome, data: said.into() }.print()
}

pub(super) fn backup(context: &Context, args: &cli::Backup) -> Result<Outcome, Failure> {
    let reader = context.reader()?;
    listen_for_interrupts()?;
    let report = checkpoint(context, &reader, "backing up", &args.target)?;
    if report.stopped {
        return Err(Failure::interrupted("the backup is as it was before"));
    }
    let said =
        if context.json { output::backed_up_json(&report) } else { output::backed_up(&report) };
    Answer::done(said).print()
}

fn checkpoint(
    context: &Context,
    reader: &ReadOnly,
    what: &'static str,
    target: &Path,
) -> Result<CheckpointReport, Failure> {
    let progress = Progress::new(what, context.quiet);
    let report = reader.checkpoint_with(target, |now| {
        let files = format_args!(", {} of {} files", now.files_done, now.files);
        progress.show(now.bytes_done, now.bytes, files);
        interrupted()
    })?;
    Ok(report)
}

pub(super) fn restore(context: &Context, args: &cli::Restore) -> Result<Outcome, Failure> {
    let target = context.dir()?;
    let is_empty =
        std::fs::read_dir(target).map_or(Ok(true), |mut entries| match entries.next() {
            None => Ok(true),
            Some(Ok(_)) => Ok(false),
            Some(Err(e)) => Err(Failure::file("cannot list", target, &e)),
        })?;
    if !is_empty {
        let what = format!("there is something already: {}", target.display());
        return Err(Failure::invalid(what).advise("restore into a directory that is not there yet"));
    }
    let source = Options::new().open_read_only(&args.source).map_err(|e| match e.kind() {
        ErrorKind::Invalid => Failure::from(e).advise("pass a directory that `backup` has made"),
        _ => e.into(),
    })?;
    listen_for_interrupts()?;
    let report = checkpoint(context, &source, "restoring", target)?;
    if report.stopped {
        return Err(Failure::interrupted("nothing was restored"));
    }
    // It says so itself, or it is no use.
    let keys = Options::new().open_read_only(target)?.len();
    let said = if context.json {
        format!("{}\n", json!({ "keys": keys, "bytes_copied": report.bytes_copied }))
    } else {
        format!("restored {keys} keys, {} copied\n", size(report.bytes_copied))
    };
    Answer::done(said).print()
}
