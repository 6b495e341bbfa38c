//! A bank that never loses a cent: threads move money between accounts at random, the process is killed in the middle of
//! it, and after each kill all the money is still there.
//!
//! `cargo run -p bitcask --example transaction`
//!
//! The example starts itself: the child works until it is killed, the parent kills it and counts.
#![allow(clippy::disallowed_methods, reason = "an example uses real time and real processes")]

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::Duration;

use bitcask::{Bitcask, Durability, Options};

const ACCOUNTS: u64 = 20;
const CENTS_EACH: i64 = 10_000;
const THREADS: u64 = 4;
const KILLS: u64 = 4;
const WORKING_TIME: Duration = Duration::from_millis(300);

fn main() -> Result<ExitCode, Box<dyn Error>> {
    match std::env::args_os().nth(1) {
        Some(dir) => work(&open(Path::new(&dir))?),
        None => kill_and_count(&std::env::temp_dir().join(format!("bank-{}", std::process::id()))),
    }
}

fn open(dir: &Path) -> bitcask::Result<Bitcask> {
    Options::new().durability(Durability::Os).max_file_size(1 << 20).open(dir)
}

/// Moves money between accounts, or nothing if the payer has not enough; and counts, in the same transaction.
fn transfer(db: &Bitcask, from: &str, to: &str, cents: i64) -> bitcask::Result<()> {
    db.transaction(|tx| {
        let mut number = |key: &str| Ok(tx.get(key.as_bytes())?.as_deref().map_or(0, parse));
        let (payer, payee): (i64, i64) = (number(from)?, number(to)?);
        let done: i64 = number(&format!("transfers of {from}"))?;
        if from == to || payer < cents {
            return Ok(());
        }
        tx.put(from, (payer - cents).to_string())?;
        tx.put(to, (payee + cents).to_string())?;
        tx.put(format!("transfers of {from}"), (done + 1).to_string())
    })
}

fn account(number: u64) -> String {
    format!("account {number}")
}

fn parse(value: &[u8]) -> i64 {
    str::from_utf8(value).expect("we wrote digits").parse().expect("we wrote digits")
}

/// The child: threads that move money until somebody kills the process.
fn work(db: &Bitcask) -> Result<ExitCode, Box<dyn Error>> {
    let mut out = std::io::stdout();
    writeln!(out, "working")?;
    out.flush()?;
    thread::scope(|scope| {
        let threads = (0..THREADS).map(|thread| {
            scope.spawn(move || {
                let mut random = u64::from(std::process::id()) * THREADS + thread;
                let mut below = |limit: u64| {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (random >> 33) % limit
                };
                loop {
                    let (from, to) = (account(below(ACCOUNTS)), account(below(ACCOUNTS)));
                    let cents = i64::try_from(1 + below(5_000)).expect("it is small");
                    transfer(db, &from, &to, cents)?;
                }
            })
        });
        let threads: Vec<_> = threads.collect();
        threads.into_iter().try_for_each(|thread| -> bitcask::Result<()> {
            thread.join().expect("no thread panics")
        })
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The parent.
fn kill_and_count(dir: &Path) -> Result<ExitCode, Box<dyn Error>> {
    let mut out = std::io::stdout();
    let db = open(dir)?;
    for number in 0..ACCOUNTS {
        db.put(account(number).as_bytes(), CENTS_EACH.to_string().as_bytes())?;
    }
    db.close()?;
    let (expected, _) = count(dir)?;
    writeln!(out, "{ACCOUNTS} accounts, {expected} cents, {THREADS} threads")?;

    let (mut right, mut last) = (true, 0);
    for kill in 1..=KILLS {
        let mut child = start(dir)?;
        thread::sleep(WORKING_TIME);
        // On Unix this is SIGKILL: the child cannot do anything about it.
        child.kill()?;
        child.wait()?;
        let (cents, transfers) = count(dir)?;
        let done = transfers - last;
        writeln!(out, "kill {kill}: {done} transfers, {cents} cents are there")?;
        right &= cents == expected;
        last = transfers;
    }
    std::fs::remove_dir_all(dir)?;
    writeln!(out, "{}", if right { "not a cent is missing" } else { "THE SUM IS WRONG" })?;
    Ok(if right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Starts a child, and waits until it has opened the store.
fn start(dir: &Path) -> Result<Child, Box<dyn Error>> {
    let mut child =
        Command::new(std::env::current_exe()?).arg(dir).stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("it is piped")).read_line(&mut line)?;
    Ok(child)
}

/// All money, and how many transfers there have been.
fn count(dir: &Path) -> bitcask::Result<(i64, i64)> {
    let db = open(dir)?;
    let counted = db.fold((0, 0), |(cents, transfers), key, value| {
        if key.starts_with(b"account") {
            (cents + parse(value), transfers)
        } else {
            (cents, transfers + parse(value))
        }
    })?;
    db.close()?;
    Ok(counted)
}
