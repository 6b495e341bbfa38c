//! Watching: catching up with what was changed, waiting for what will be; and a reader that catches up by refreshing.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use bitcask::{Bitcask, Changed, Options};

use crate::Result;
use crate::bare::read_all;
use crate::bench::{Bench, join, put_all};
use crate::report::{Figure, Report, digits};
use crate::statistics::{Latencies, Pair, interleave, seconds_each};

/// Longer than any event should take.
const PATIENCE: Duration = Duration::from_secs(10);
const PARTS: [f64; 2] = [0.5, 0.99];
/// Pauses between live events, and how many of them.
const PAUSES: [(&str, Duration, u64); 2] =
    [("1 ms", Duration::from_millis(1), 200), ("100 ms", Duration::from_millis(100), 10)];

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    let dir = bench.fresh()?;
    let db = Bitcask::open(dir.path())?;
    put_all(&db, 0..bench.keys)?;
    db.sync()?;
    let files: Vec<_> = db.stats()?.files.into_iter().map(|file| file.path).collect();
    let ours = || seconds_each(bench.keys, || catch_up(&db, bench.keys));
    let bare = || seconds_each(bench.keys, || read_all(&files).map(drop));
    let pair = Pair::from(interleave(bench.rounds, ours, bare)?);
    let note = "bare: read the files, checksum";
    report.add(Figure::rate("watch: catching up, events", &pair).note(note))?;
    for (name, pause, count) in PAUSES {
        live(bench, report, &db, (name, pause, count))?;
    }
    db.close()?;
    refreshing(bench, report)
}

fn catch_up(db: &Bitcask, keys: u64) -> Result<()> {
    let (mut watch, mut count) = (db.watch(b"", 1)?, 0);
    while let Some(event) = watch.try_next()? {
        std::hint::black_box(event);
        count += 1;
    }
    if count >= keys { Ok(()) } else { Err("a watcher was given too few events".into()) }
}

fn live(
    bench: &Bench,
    report: &mut Report,
    db: &Bitcask,
    (name, pause, count): (&str, Duration, u64),
) -> Result<()> {
    let ours = || live_events(db, pause, count);
    let rounds = interleave(bench.rounds, ours, || messages(pause, count))?;
    for (part, quantile) in ["p50", "p99"].into_iter().enumerate() {
        let note =
            if part == 0 { "from before its put; bare: a message to the thread" } else { "" };
        let name = format!("watch: an event, {name} after the last, {quantile}");
        report.add(Figure::cost(name, "us", &Pair::nth(&rounds, (part, part))).note(note))?;
    }
    Ok(())
}

/// Microseconds from before a put until another thread has its event.
fn live_events(db: &Bitcask, pause: Duration, count: u64) -> Result<[f64; 2]> {
    let (started, mut times) = (Instant::now(), Latencies::with_room_for(count));
    let mut watch = db.watch(b"live", db.seq()? + 1)?;
    thread::scope(|scope| {
        let puts = scope.spawn(|| -> Result<()> {
            for _ in 0..count {
                thread::sleep(pause);
                let sent = u64::try_from(started.elapsed().as_nanos())?;
                db.put(b"live", &sent.to_le_bytes())?;
            }
            Ok(())
        });
        for _ in 0..count {
            let event = watch.next_timeout(PATIENCE)?.ok_or("a live event did not come")?;
            let now = started.elapsed();
            let Changed::Put { value, .. } = event.change else { return Err("no put".into()) };
            let sent = value.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
            times.push(now.saturating_sub(Duration::from_nanos(sent)));
        }
        join(puts)
    })?;
    Ok(times.quantiles(PARTS).map(|ns| ns / 1e3))
}

/// Microseconds of messages from one thread to another.
fn messages(pause: Duration, count: u64) -> Result<[f64; 2]> {
    let mut times = Latencies::with_room_for(count);
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        let sends = scope.spawn(move || -> Result<()> {
            for _ in 0..count {
                thread::sleep(pause);
                sender.send(Instant::now())?;
            }
            Ok(())
        });
        for _ in 0..count {
            let sent = receiver.recv_timeout(PATIENCE)?;
            times.push(sent.elapsed());
        }
        join(sends)
    })?;
    Ok(times.quantiles(PARTS).map(|ns| ns / 1e3))
}

fn refreshing(bench: &Bench, report: &mut Report) -> Result<()> {
    let mut bytes = 0;
    let rounds = (0..bench.rounds).map(|_| {
        let dir = bench.fresh()?;
        let db = Bitcask::open(dir.path())?;
        put_all(&db, 0..1)?;
        let reader = Options::new().open_read_only(dir.path())?;
        let put = seconds_each(bench.keys, || put_all(&db, 0..bench.keys))?;
        let started = Instant::now();
        reader.refresh()?;
        let refresh = started.elapsed().as_secs_f64() / (bench.keys - 1) as f64;
        if reader.len() != bench.keys {
            return Err("a reader did not catch up".into());
        }
        bytes = db.stats()?.bytes();
        db.close()?;
        Ok((refresh, put))
    });
    let rounds = rounds.collect::<Result<Vec<_>>>()?;
    let note = format!("{} MB; bare: the puts that it catches up with", digits(bytes as f64 / 1e6));
    report.add(Figure::rate("read-only: refresh, changes", &rounds.into()).note(note))
}
