//! Streams of entries, as `export` writes them. An import of a file can be interrupted and resumed: how far it is, stands
//! in a small file beside it, written when all up to there is durable.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bitcask::Bitcask;
use serde_json::{Value, json};

use super::load::Loader;
use super::{Answer, Context, Imported};
use crate::cli::{self, Source};
use crate::failure::Failure;
use crate::incoming::{Incoming, Notice};
use crate::pace::Pace;
use crate::terminal::{Progress, Stdin, interrupted, listen_for_interrupts};
use crate::transfer::{self, Entry, Format, Item, Position, Reader};

/// How often it is written down how far an import is.
const NOTE_EVERY: Duration = Duration::from_secs(2);
/// Rejected lines that are told; the others are in the file of rejected ones all the same.
const TOLD_MAX: usize = 20;

/// How far an import of a file is.
#[derive(Debug, Default)]
struct State {
    position: Position,
    imported: u64,
    rejected: u64,
}

pub(super) fn import(context: &Context, args: &cli::Import) -> Result<Imported, Failure> {
    let format = match args.from {
        Source::Csv => Format::Csv,
        Source::Binary => Format::Binary,
        _ => Format::Jsonl,
    };
    let from_file = args.path != Path::new("-");
    let state_path = from_file.then(|| beside(&args.path, "importing"));
    let mut state = begin(args, state_path.as_deref())?;
    let (input, len) = open(&args.path, from_file, &state)?;
    let reader = transfer::reader(format, args.format, input, state.position.clone());
    let mut reader = reader.map_err(|e| failed(&e, &args.path))?;

    listen_for_interrupts()?;
    let mut rejects = Rejects::new(args);
    let mut ended = Ok(());
    context.write(true, |db| {
        let import = Import { context, args, db, state_path: state_path.as_deref(), len };
        ended = import.run(&mut *reader, &mut state, &mut rejects);
        Ok(Answer::done([]))
    })?;
    rejects.finish()?;
    ended?;
    if let Some(path) = &state_path {
        match fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(Failure::file("cannot remove", path, &e));
            }
            _ => {}
        }
    }
    Ok(Imported {
        counts: vec![("imported", state.imported), ("rejected", state.rejected)],
        notices_left_out: state.rejected.saturating_sub(rejects.told.len() as u64),
        notices: rejects.told,
        is_partial: state.rejected > 0,
    })
}

struct Import<'a> {
    context: &'a Context,
    args: &'a cli::Import,
    db: &'a Bitcask,
    state_path: Option<&'a Path>,
    len: u64,
}

impl Import<'_> {
    fn run(
        &self,
        reader: &mut dyn Reader,
        state: &mut State,
        rejects: &mut Rejects<'_>,
    ) -> Result<(), Failure> {
        let progress = Progress::new("importing", self.context.quiet || self.state_path.is_none());
        let mut pace = Pace::new(self.args.rate);
        let start = state.position.offset;
        let mut loader = Loader::new(self.db);
        let mut noted = Instant::now();
        loop {
            let item = match reader.next() {
                Ok(Some(item)) => item,
                Ok(None) => break,
                Err(e) => {
                    self.note(&mut loader, state, rejects)?;
                    return Err(failed(&e, &self.args.path));
                }
            };
            match item {
                Item::Entry(Entry { key, value, expires_ms }) => {
                    loader.take(Incoming::Put { key, value, expires_ms })?;
                    state.imported += 1;
                }
                Item::Rejected { place, what, raw } => {
                    rejects.take(place, what, &raw)?;
                    state.rejected += 1;
                }
            }
            if (state.imported + state.rejected).is_multiple_of(64) {
                state.position = reader.position().clone();
                let at = state.position.offset;
                progress.show(at, self.len, format_args!(", {} keys", state.imported));
                pace.reach(at - start);
                if interrupted().is_break() {
                    self.note(&mut loader, state, rejects)?;
                    return Err(self.was_interrupted(state));
                }
                if noted.elapsed() > NOTE_EVERY {
                    self.note(&mut loader, state, rejects)?;
                    noted = Instant::now();
                }
            }
        }
        loader.flush()?;
        Ok(())
    }

    /// Makes durable what was imported, and writes down how far that is.
    fn note(
        &self,
        loader: &mut Loader<'_>,
        state: &State,
        rejects: &mut Rejects<'_>,
    ) -> Result<(), Failure> {
        loader.flush()?;
        let Some(path) = self.state_path else { return Ok(()) };
        self.db.sync()?;
        rejects.finish()?;
        let text = json!({
            "bytes": self.len,
            "offset": state.position.offset,
            "line": state.position.line,
            "header": state.position.header,
            "imported": state.imported,
            "rejected": state.rejected,
        });
        let temporary = beside(path, "tmp");
        let written = File::create(&temporary).and_then(|mut file| {
            file.write_all(text.to_string().as_bytes())?;
            file.sync_all()?;
            fs::rename(&temporary, path)
        });
        written.map_err(|e| Failure::file("cannot write", path, &e))
    }

    fn was_interrupted(&self, state: &State) -> Failure {
        let failure = Failure::interrupted(format!("{} keys were imported", state.imported));
        if self.state_path.is_some() {
            failure.advise("go on with the same command and --resume")
        } else {
            failure.advise("begin again: what is there already is put once more")
        }
    }
}

/// Where to begin: at the beginning, or with --resume where the import before this one was.
fn begin(args: &cli::Import, path: Option<&Path>) -> Result<State, Failure> {
    let Some(path) = path else {
        if args.resume {
            return Err(Failure::invalid("standard input cannot be resumed")
                .advise("pass the path of a file"));
        }
        return Ok(State::default());
    };
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound && !args.resume => {
            return Ok(State::default());
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let what = format!("no import of {} was interrupted", args.path.display());
            return Err(Failure::invalid(what).advise("leave out --resume"));
        }
        Err(e) => return Err(Failure::file("cannot read", path, &e)),
    };
    if !args.resume {
        let what = format!("an import of this file was interrupted: {}", args.path.display());
        return Err(Failure::invalid(what)
            .advise("go on with --resume, or remove the file PATH.importing to begin anew"));
    }
    let bad = || Failure::invalid(format!("this says nothing about an import: {}", path.display()));
    let state: Value = serde_json::from_slice(&text).ok().ok_or_else(bad)?;
    let number = |name: &str| state.get(name).and_then(Value::as_u64).ok_or_else(bad);
    let len =
        fs::metadata(&args.path).map_err(|e| Failure::file("cannot read", &args.path, &e))?.len();
    if number("bytes")? != len {
        let what = format!(
            "the file is not the one whose import was interrupted: {}",
            args.path.display()
        );
        return Err(Failure::invalid(what).advise("remove the file PATH.importing to begin anew"));
    }
    let header = state.get("header").and_then(Value::as_str).ok_or_else(bad)?.to_owned();
    let position = Position { offset: number("offset")?, line: number("line")?, header };
    Ok(State { position, imported: number("imported")?, rejected: number("rejected")? })
}

fn open(path: &Path, is_file: bool, state: &State) -> Result<(Box<dyn BufRead>, u64), Failure> {
    if !is_file {
        return Ok((Box::new(BufReader::with_capacity(1 << 18, Stdin)), 0));
    }
    let failed = |e| Failure::file("cannot read", path, &e);
    let mut file = File::open(path).map_err(failed)?;
    let len = file.metadata().map_err(failed)?.len();
    file.seek(SeekFrom::Start(state.position.offset)).map_err(failed)?;
    Ok((Box::new(BufReader::with_capacity(1 << 18, file)), len))
}

fn failed(e: &transfer::ReadError, path: &Path) -> Failure {
    Failure::of(e, e.kind()).in_file(path)
}

/// A file beside another.
fn beside(path: &Path, what: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(what);
    name.into()
}

/// Lines that were not taken. The file comes into being with the first of them.
struct Rejects<'a> {
    args: &'a cli::Import,
    path: PathBuf,
    file: Option<File>,
    told: Vec<Notice>,
}

impl<'a> Rejects<'a> {
    fn new(args: &'a cli::Import) -> Self {
        let is_file = args.path != Path::new("-");
        let usual = if is_file { beside(&args.path, "rejected") } else { "import.rejected".into() };
        let path = args.rejects.clone().unwrap_or(usual);
        Self { args, path, file: None, told: Vec::new() }
    }

    fn take(&mut self, place: String, what: String, raw: &[u8]) -> Result<(), Failure> {
        if self.file.is_none() {
            // What an interrupted import rejected stays.
            let opened = File::options()
                .create(true)
                .write(true)
                .append(self.args.resume)
                .truncate(!self.args.resume)
                .open(&self.path);
            self.file = Some(opened.map_err(|e| Failure::file("cannot create", &self.path, &e))?);
        }
        let file = self.file.as_mut().expect("it was just opened");
        file.write_all(raw).map_err(|e| Failure::file("cannot write", &self.path, &e))?;
        if self.told.len() < TOLD_MAX {
            let what = format!("rejected, and kept in {}: {what}", self.path.display());
            self.told.push(Notice { place, offset: None, what });
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Failure> {
        let Some(file) = &self.file else { return Ok(()) };
        file.sync_all().map_err(|e| Failure::file("cannot write", &self.path, &e))
    }
}
