//! Each command from its arguments to what is printed.
//!
//! Commands that only read open the store beside whoever has it open. Those that write close it before anything is
//! printed, so that a slow reader of ours keeps nobody else out.

mod batch;
mod bench;
mod care;
mod data;
mod export;
mod import;
mod inspect;
mod json;
mod scan;
mod top;
mod watch;

use std::path::Path;

use bitcask::{Bitcask, Cut, ErrorKind, MergePolicy, Options, ReadOnly};
use clap::CommandFactory;

use crate::ExitCode;
use crate::cli::{self, Cli, Command, Globals as Context};
use crate::failure::Failure;
use crate::output;

/// How a command ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    /// There was no such key, or what was looked at was found wanting.
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

    /// Done, if so.
    fn of(done: bool) -> Self {
        if done { Self::done([]) } else { Self::absent() }
    }

    fn print(self) -> Result<Outcome, Failure> {
        output::to_stdout(&self.data)?;
        Ok(self.outcome)
    }
}

pub(crate) fn run(context: &Context, command: Command) -> Result<Outcome, Failure> {
    match command {
        Command::Set(args) => data::set(context, args),
        Command::Get(args) => data::get(context, args),
        Command::Del(args) => data::del(context, args),
        Command::Exists(args) => data::exists(context, &args),
        Command::Scan(args) => scan::scan(context, &args),
        Command::Count(args) => scan::count(context, &args),
        Command::Ttl(args) => data::ttl(context, &args),
        Command::Expire(args) => data::expire(context, &args),
        Command::Incr(args) => data::incr(context, &args),
        Command::Json(args) => json::json(context, args.command),
        Command::Batch(args) => batch::batch(context, &args),
        Command::Watch(args) => watch::watch(context, &args),
        Command::Stats(args) => care::stats(context, &args),
        Command::Top(args) => top::top(context, &args),
        Command::Merge(args) => care::merge(context, &args),
        Command::Verify(args) => care::verify(context, &args),
        Command::Inspect(args) => inspect::inspect(context, &args),
        Command::Repair(args) => care::repair(context, &args),
        Command::Backup(args) => care::backup(context, &args),
        Command::Restore(args) => care::restore(context, &args),
        Command::Export(args) => export::export(context, &args),
        Command::Import(args) => import::import(context, &args),
        Command::Bench(args) => bench::bench(context, &args),
        Command::Shell(_) => {
            Err(Failure::invalid("this is the shell already")
                .advise("`help` says what can be typed"))
        }
        Command::Completions(args) => {
            let mut script = Vec::new();
            clap_complete::generate(args.shell, &mut Cli::command(), "bitcask", &mut script);
            Answer::done(script).print()
        }
        Command::Man(args) => man(args),
    }
}

fn man(args: cli::Man) -> Result<Outcome, Failure> {
    let program = Cli::command();
    if let Some(dir) = args.dir {
        clap_mangen::generate_to(program, &dir)
            .map_err(|e| Failure::file("cannot write the manual pages to", &dir, &e))?;
        return Ok(Outcome::Done);
    }
    let wanted = match args.command {
        None => program,
        Some(name) => {
            let command = program.find_subcommand(&name).ok_or_else(|| {
                Failure::invalid(format!("there is no such command: {name}"))
                    .advise("`bitcask help` lists them")
            })?;
            command.clone().display_name(format!("bitcask-{name}"))
        }
    };
    let mut page = Vec::new();
    clap_mangen::Man::new(wanted)
        .render(&mut page)
        .map_err(|e| Failure::stdio("cannot write the manual page", &e))?;
    Answer::done(page).print()
}

impl Context {
    fn dir(&self) -> Result<&Path, Failure> {
        self.db.as_deref().ok_or_else(Failure::no_directory)
    }

    /// Tells the user what is good to know, and no error.
    fn note(&self, text: std::fmt::Arguments<'_>) {
        if !self.quiet {
            output::to_stderr(format_args!("note: {text}"));
        }
    }

    fn note_absent(&self, key: &[u8]) {
        self.note(format_args!("no such key: {}", crate::text::named(key)));
    }

    /// Opens the store to read it, beside whoever has it open.
    fn reader(&self) -> Result<ReadOnly, Failure> {
        self.reader_with(Options::new())
    }

    fn reader_with(&self, options: Options) -> Result<ReadOnly, Failure> {
        options.open_read_only(self.dir()?).map_err(no_store)
    }

    /// Opens the store, does something with it, closes it, and prints the answer.
    fn write(
        &self,
        create: bool,
        execute: impl FnOnce(&Bitcask) -> Result<Answer, Failure>,
    ) -> Result<Outcome, Failure> {
        self.write_with(create, MergePolicy::default(), execute)
    }

    fn write_with(
        &self,
        create: bool,
        policy: MergePolicy,
        execute: impl FnOnce(&Bitcask) -> Result<Answer, Failure>,
    ) -> Result<Outcome, Failure> {
        // A process that lives for one command would only begin a background merge.
        let policy = MergePolicy { background: false, ..policy };
        let options = Options::new().create_if_missing(create).merge(policy);
        let db = options.open(self.dir()?).map_err(no_store)?;
        if let Some(cut) = &db.recovery().cut {
            self.note(format_args!("{}", describe(cut)));
        }
        let answer = execute(&db);
        let closed = db.close().map_err(Failure::from);
        // What was read is good, whatever closing says.
        match (answer.and_then(Answer::print), closed) {
            (Ok(outcome), Ok(())) => Ok(outcome),
            (Err(failure), Ok(())) | (Ok(_), Err(failure)) => Err(failure),
            (Err(failure), Err(also)) => {
                output::to_stderr(&also);
                Err(failure)
            }
        }
    }
}

fn no_store(error: bitcask::Error) -> Failure {
    let is_no_store = error.kind() == ErrorKind::Invalid;
    let failure = Failure::from(error);
    if is_no_store { failure.advise("check the directory; `set` creates a store") } else { failure }
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
