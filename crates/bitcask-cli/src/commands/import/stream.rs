//! Streams of entries, as `export` writes them. An import of a file can be interrupted and resumed.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use bitcask::Bitcask;

use super::load::Loader;
use super::noted::{Noted, State};
use super::rejects::Rejects;
use super::{Answer, Context, Imported};
use crate::cli;
use crate::failure::Failure;
use crate::incoming::{Incoming, Notices};
use crate::output::{keys, to_stdout};
use crate::pace::Pace;
use crate::terminal::{Progress, Stdin, interrupted, listen_for_interrupts};
use crate::transfer::{self, Entry, Format, Item, Reader};

/// How often it is written down how far an import is.
const NOTE_EVERY: Duration = Duration::from_secs(2);

pub(super) fn import(
    context: &Context,
    args: &cli::Import,
    format: Format,
) -> Result<Imported, Failure> {
    let (mut noted, mut state) = (None, State::default());
    let cannot_read = |e| Failure::file("cannot read", &args.path, &e);
    let source = open(&args.path).map_err(cannot_read)?;
    let metadata = source.as_ref().map(File::metadata).transpose().map_err(cannot_read)?;
    let file = source.as_ref().filter(|_| metadata.is_some_and(|metadata| metadata.is_file()));
    // A pipe has no position to go back to, whatever its name is.
    if let Some(file) = file.filter(|_| args.path != Path::new("-")) {
        let (there, begun) = Noted::begin(args, file.try_clone().map_err(cannot_read)?)?;
        (noted, state) = (Some(there), begun);
    } else if args.resume {
        return Err(Failure::invalid("standard input, or a pipe, cannot be resumed")
            .advise("pass the path of a file"));
    }
    let mut rejects = Rejects::new(args, &state, file)?;
    let len = file.map_or(Ok(0), |file| file.metadata().map(|file| file.len()));
    let len = len.map_err(cannot_read)?;
    let input = input(source, &args.path, state.position.offset).map_err(cannot_read)?;
    let reader = transfer::reader(format, args.format, input, state.position.clone());
    let mut reader = reader.map_err(|e| failed(&e, &args.path))?;

    let dir = context.dir()?;
    let is_begun = state.imported > 0;
    if let Some(noted) = noted.as_ref().filter(|_| is_begun) {
        noted.check_dir(dir)?;
    }
    listen_for_interrupts()?;
    let mut ended = Ok(None);
    context.write(!is_begun, |db| {
        if let Some(noted) = noted.as_ref().filter(|_| is_begun) {
            noted.check_store(db, dir)?;
        }
        let mut import = Import { context, args, db, noted: noted.take(), len };
        ended = import.run(&mut *reader, &mut state, &mut rejects);
        noted = import.noted;
        Ok(Answer::done([]))
    })?;
    rejects.finish()?;
    let broke_off = ended?;
    let imported = Imported {
        counts: vec![("imported", state.imported), ("rejected", state.rejected)],
        notices: Notices {
            left_out: state.rejected.saturating_sub(rejects.told.len() as u64),
            list: rejects.told,
        },
        is_partial: state.rejected > 0,
    };
    if let Some(failure) = broke_off {
        if context.json {
            to_stdout(imported.json().as_bytes())?;
        }
        return Err(failure);
    }
    noted.map_or(Ok(()), |noted| noted.remove())?;
    Ok(imported)
}

struct Import<'a> {
    context: &'a Context,
    args: &'a cli::Import,
    db: &'a Bitcask,
    /// None for what cannot be resumed.
    noted: Option<Noted>,
    len: u64,
}

impl Import<'_> {
    /// Gives what ended it before its end. What was imported until then is durable and, of a file, noted.
    fn run(
        &mut self,
        reader: &mut dyn Reader,
        state: &mut State,
        rejects: &mut Rejects,
    ) -> Result<Option<Failure>, Failure> {
        let progress = Progress::new("importing", self.context.quiet || self.noted.is_none());
        let pace = Pace::new(self.args.rate);
        let start = state.position.offset;
        let mut loader = Loader::new(self.db);
        let mut noted = Instant::now();
        loop {
            let item = match reader.next() {
                Ok(Some(item)) => item,
                Ok(None) => break,
                Err(e) => {
                    // Behind what was counted, so that nothing is counted twice.
                    state.position = reader.position().clone();
                    self.note(&mut loader, state, rejects)?;
                    // A terminal where somebody pressed Ctrl-C cannot be read on.
                    let failure = if interrupted().is_break() {
                        self.was_interrupted(state)
                    } else {
                        self.was_broken(failed(&e, &self.args.path), state)
                    };
                    return Ok(Some(failure));
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
                    return Ok(Some(self.was_interrupted(state)));
                }
                if noted.elapsed() > NOTE_EVERY {
                    self.note(&mut loader, state, rejects)?;
                    noted = Instant::now();
                }
            }
        }
        loader.flush()?;
        Ok(None)
    }

    /// Makes durable what was imported, and writes down how far that is.
    fn note(
        &mut self,
        loader: &mut Loader<'_>,
        state: &mut State,
        rejects: &mut Rejects,
    ) -> Result<(), Failure> {
        loader.flush()?;
        let Some(noted) = &mut self.noted else { return Ok(()) };
        self.db.sync()?;
        state.rejects = rejects.finish()?;
        if let Err(e) = noted.write(self.db, state) {
            // What can be read need not lie where something can be written.
            self.context.note(format_args!("this import could not be resumed: {}", e.said()));
            self.noted = None;
        }
        Ok(())
    }

    fn was_interrupted(&self, state: &State) -> Failure {
        let done = format!("{} imported", keys_were(state.imported));
        Failure::interrupted(done).advise(self.how_to_go_on())
    }

    fn was_broken(&self, failure: Failure, state: &State) -> Failure {
        let failure = failure.after(format_args!("{} imported", keys_were(state.imported)));
        match &self.noted {
            Some(_) => {
                failure.advise("once the file is whole, go on with the same command and --resume")
            }
            None => failure.advise(self.how_to_go_on()),
        }
    }

    fn how_to_go_on(&self) -> &'static str {
        match &self.noted {
            Some(_) => "go on with the same command and --resume",
            None => "begin again: what is there already is put once more",
        }
    }
}

fn keys_were(count: u64) -> String {
    format!("{} {}", keys(count), if count == 1 { "was" } else { "were" })
}

/// What is read from, if it is open as a file: of standard input, what is behind it.
fn open(path: &Path) -> io::Result<Option<File>> {
    if path != Path::new("-") {
        return File::open(path).map(Some);
    }
    // Ignored: it may be closed, and reading from it tells that.
    Ok(io::stdin().as_fd().try_clone_to_owned().ok().map(File::from))
}

fn input(source: Option<File>, path: &Path, offset: u64) -> io::Result<Box<dyn BufRead>> {
    const BUFFER_LEN: usize = 1 << 18;
    let Some(mut file) = source.filter(|_| path != Path::new("-")) else {
        return Ok(Box::new(BufReader::with_capacity(BUFFER_LEN, Stdin)));
    };
    if offset > 0 {
        file.seek(SeekFrom::Start(offset))?;
    }
    Ok(Box::new(BufReader::with_capacity(BUFFER_LEN, file)))
}

fn failed(e: &transfer::ReadError, path: &Path) -> Failure {
    Failure::of(e, e.kind()).in_file(path)
}
