//! Each command from the open store to an [`Answer`]. The store is closed before anything is printed, so that a slow
//! reader of ours keeps nobody else out.

use std::ffi::OsString;
use std::io::Read;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::process::ExitCode;

use bitcask::{Bitcask, Cut, ErrorKind, MergePolicy, Options, VALUE_LEN_MAX};

use crate::cli::{Cli, Command};
use crate::failure::Failure;
use crate::output::{self, Progress};

/// How a command ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    /// There was no such key.
    Absent,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => Self::SUCCESS,
            Outcome::Absent => Self::FAILURE,
        }
    }
}

/// What a command has to say, and how it ended.
struct Answer {
    outcome: Outcome,
    data: Vec<u8>,
}

impl Answer {
    fn done(data: impl Into<Vec<u8>>) -> Self {
        Self { outcome: Outcome::Done, data: data.into() }
    }

    fn absent() -> Self {
        Self { outcome: Outcome::Absent, data: Vec::new() }
    }
}

/// Opens the store, does what was asked, closes the store, prints.
pub(crate) fn run(cli: Cli) -> Result<Outcome, Failure> {
    let dir = cli.db.ok_or_else(Failure::no_directory)?;
    let command = with_input(cli.command)?;

    let db = open(&dir, matches!(command, Command::Set { .. }))?;
    if let Some(cut) = &db.recovery().cut {
        output::note(format_args!("{}", describe(cut)));
    }
    let answer = execute(&db, command);
    let closed = db.close().map_err(Failure::from);

    // What was read is good, whatever closing says.
    let printed = answer.map_err(Failure::from).and_then(|answer| {
        output::to_stdout(&answer.data)?;
        Ok(answer.outcome)
    });
    match (printed, closed) {
        (Ok(outcome), Ok(())) => Ok(outcome),
        (Err(failure), Ok(())) | (Ok(_), Err(failure)) => Err(failure),
        (Err(failure), Err(also)) => {
            output::to_stderr(&also);
            Err(failure)
        }
    }
}

/// The command with the value of `set KEY -` read. The store is not open meanwhile: input may take its time.
fn with_input(mut command: Command) -> Result<Command, Failure> {
    if let Command::Set { value, .. } = &mut command
        && value == "-"
    {
        let mut bytes = Vec::new();
        // One byte more than may be, and the store says what is wrong with it.
        let input = std::io::stdin().lock();
        let read = input.take(VALUE_LEN_MAX + 1).read_to_end(&mut bytes);
        read.map_err(|e| Failure::stdio("cannot read: standard input", &e))?;
        *value = OsString::from_vec(bytes);
    }
    Ok(command)
}

fn open(dir: &Path, create: bool) -> Result<Bitcask, Failure> {
    // A process that lives for one command would only begin a background merge.
    let policy = MergePolicy { background: false, ..MergePolicy::default() };
    Options::new().create_if_missing(create).merge(policy).open(dir).map_err(|error| {
        let no_store = error.kind() == ErrorKind::Invalid;
        let failure = Failure::from(error);
        if no_store {
            failure.advise("check the directory; `set` creates a store")
        } else {
            failure
        }
    })
}

fn execute(db: &Bitcask, command: Command) -> bitcask::Result<Answer> {
    match command {
        Command::Set { key, value } => {
            db.put(&key.into_vec(), &value.into_vec())?;
            Ok(Answer::done([]))
        }
        Command::Get { key, raw } => get(db, &key.into_vec(), raw),
        Command::Del { keys } => del(db, keys),
        Command::Merge { json } => merge(db, json),
        Command::Stats { json } => {
            let stats = db.stats()?;
            Ok(Answer::done(if json { output::stats_json(&stats) } else { output::stats(&stats) }))
        }
    }
}

fn get(db: &Bitcask, key: &[u8], raw: bool) -> bitcask::Result<Answer> {
    let Some(value) = db.get(key)? else {
        note_absent(key);
        return Ok(Answer::absent());
    };
    let mut data = value.into_vec();
    if !raw {
        data.push(b'\n');
    }
    Ok(Answer::done(data))
}

fn del(db: &Bitcask, keys: Vec<OsString>) -> bitcask::Result<Answer> {
    let mut any = false;
    for key in keys {
        let key = key.into_vec();
        if db.delete(&key)? {
            any = true;
        } else {
            note_absent(&key);
        }
    }
    Ok(if any { Answer::done([]) } else { Answer::absent() })
}

fn merge(db: &Bitcask, json: bool) -> bitcask::Result<Answer> {
    let mut shown = Progress::default();
    let merged = db.merge_with(|progress| {
        shown.show(progress);
        ControlFlow::Continue(())
    });
    shown.clear();
    let report = merged?;
    Ok(Answer::done(if json { output::merged_json(&report) } else { output::merged(&report) }))
}

fn note_absent(key: &[u8]) {
    output::note(format_args!("no such key: {}", key.escape_ascii()));
}

fn describe(cut: &Cut) -> String {
    let later = match cut.dropped_files {
        0 => String::new(),
        1 => " and the file after it".into(),
        n => format!(" and the {n} files after it"),
    };
    format!(
        "cut an unfinished write, {} bytes at offset {}{later}: {} ({}); this is normal after a crash, nothing that \
         had been durable is lost",
        cut.bytes,
        cut.offset,
        cut.file.display(),
        cut.reason,
    )
}
