//! JSON documents, and parts of them.

mod path;
mod text;

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use bitcask::Bitcask;

use super::data::value_of;
use super::{Answer, Context, Outcome};
use crate::cli::JsonCommand;
use crate::failure::Failure;
use crate::text::named;
use path::Step;

pub(super) fn json(context: &Context, command: JsonCommand) -> Result<Outcome, Failure> {
    match command {
        JsonCommand::Set { key, path, value } => {
            set(context, &key, path.as_deref().unwrap_or_default(), value)
        }
        JsonCommand::Get { key, path } => get(context, &key, path.as_deref().unwrap_or_default()),
        JsonCommand::Del { key, path } => del(context, &key, &path),
    }
}

fn set(context: &Context, key: &OsString, path: &str, value: OsString) -> Result<Outcome, Failure> {
    context.dir()?;
    let stored = value_of(value)?;
    let value = text::check(&stored).map_err(|what| {
        Failure::invalid(format!("the value is not JSON: {what}"))
            .advise("a text stands in double quotes")
    })?;
    let steps = path::parse(path)?;
    context.write(true, |db| {
        if steps.is_empty() {
            // Whatever was there, and the value as it was given.
            db.update(key.as_bytes(), |_| Some(stored.clone()))?;
            return Ok(Answer::done([]));
        }
        changed(db, key, |document| with(document.unwrap_or("{}"), &steps, value).map(Some))?;
        Ok(Answer::done([]))
    })
}

fn with(document: &str, steps: &[Step], value: &str) -> Result<String, Failure> {
    text::with(document, steps, value).map_err(|no_place| {
        let failure = Failure::invalid(no_place.what);
        match no_place.help {
            Some(help) => failure.advise(help),
            None => failure,
        }
    })
}

fn get(context: &Context, key: &OsString, path: &str) -> Result<Outcome, Failure> {
    let steps = path::parse(path)?;
    let Some(stored) = context.reader()?.get(key.as_bytes())? else {
        context.note_absent(key.as_bytes());
        return Ok(Outcome::Absent);
    };
    let Some(part) = text::part(document(key, &stored)?, &steps) else {
        context.note(format_args!("nothing is there: {path}"));
        return Ok(Outcome::Absent);
    };
    Answer::done(text::laid_out(part, !context.json) + "\n").print()
}

fn del(context: &Context, key: &OsString, path: &str) -> Result<Outcome, Failure> {
    let steps = path::parse(path)?;
    let Some((last, before)) = steps.split_last() else {
        return Err(Failure::invalid("a path is wanted").advise("`del` deletes a whole document"));
    };
    context.write(false, |db| {
        let done = changed(db, key, |document| {
            Ok(document.and_then(|document| text::without(document, before, last)))
        })?;
        if !done {
            context.note(format_args!("nothing is there: {path}"));
        }
        Ok(Answer::of(done))
    })
}

/// Puts another text in place of a document, if there is one to put there.
fn changed(
    db: &Bitcask,
    key: &OsString,
    change: impl Fn(Option<&str>) -> Result<Option<String>, Failure>,
) -> Result<bool, Failure> {
    let mut ended = Ok(false);
    db.update(key.as_bytes(), |old| {
        let text = old.map(|old| document(key, old)).transpose().and_then(&change);
        let new = match text {
            Ok(text) => {
                ended = Ok(text.is_some());
                text.map(String::into_bytes)
            }
            Err(e) => {
                ended = Err(e);
                None
            }
        };
        new.or_else(|| old.map(<[u8]>::to_vec))
    })?;
    ended
}

fn document<'a>(key: &OsString, stored: &'a [u8]) -> Result<&'a str, Failure> {
    text::check(stored).map_err(|what| {
        let key = named(key.as_bytes());
        Failure::invalid(format!("what is stored is not JSON: {key}: {what}"))
            .advise("`json set KEY VALUE`, without a path, stores a document in its place")
    })
}
