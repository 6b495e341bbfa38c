//! One key, or a few.

use std::ffi::OsString;
use std::fs::File;
use std::io::{IsTerminal, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use bitcask::{Bitcask, Expiry, VALUE_LEN_MAX};
use serde_json::json;

use super::{Answer, Context, Outcome};
use crate::cli;
use crate::failure::Failure;
use crate::outfile::Outfile;
use crate::terminal::{Stdin, confirm, interrupted, listen_for_interrupts};
use crate::text::named;

/// A file that is longer is stored without being held in memory.
const STREAM_FROM: u64 = 16 << 20;
/// Keys deleted together.
const DELETED_AT_ONCE: usize = 1000;

pub(super) fn set(context: &Context, args: cli::Set) -> Result<Outcome, Failure> {
    context.dir()?;
    let key = args.key.into_vec();
    let expiry = args.ttl.map_or(Expiry::Never, Expiry::After);
    if let Some(path) = &args.file {
        return set_file(context, &key, path, expiry);
    }
    // The store is not open meanwhile: input may take its time.
    let value = value_of(args.value.unwrap_or_default())?;
    context.write(true, |db| {
        if args.if_absent {
            let done = db.put_if_absent_with(&key, &value, expiry)?;
            if !done {
                context.note(format_args!("the key is there: {}", named(&key)));
            }
            return Ok(Answer::of(done));
        }
        if let Some(expected) = &args.compare {
            let done = swap(db, &key, expected.as_bytes(), &value, expiry)?;
            if !done {
                context.note(format_args!("another value is there, or none: {}", named(&key)));
            }
            return Ok(Answer::of(done));
        }
        db.put_with(&key, &value, expiry)?;
        Ok(Answer::done([]))
    })
}

fn swap(
    db: &Bitcask,
    key: &[u8],
    expected: &[u8],
    value: &[u8],
    expiry: Expiry,
) -> Result<bool, Failure> {
    let mut done = false;
    db.transaction(|tx| {
        done = tx.get(key)?.is_some_and(|current| current == expected);
        if done {
            tx.put_with(key, value, expiry)?;
        }
        Ok::<_, bitcask::Error>(())
    })?;
    Ok(done)
}

fn set_file(
    context: &Context,
    key: &[u8],
    path: &Path,
    expiry: Expiry,
) -> Result<Outcome, Failure> {
    let failed = |e| Failure::file("cannot read", path, &e);
    let mut file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let is_long = metadata.is_file() && metadata.len() >= STREAM_FROM;
    let mut value = Vec::new();
    if !is_long {
        file.by_ref().take(VALUE_LEN_MAX + 1).read_to_end(&mut value).map_err(failed)?;
    }
    context.write(true, |db| {
        if is_long {
            db.put_reader_with(key, metadata.len(), &mut file, expiry)?;
        } else {
            db.put_with(key, &value, expiry)?;
        }
        Ok(Answer::done([]))
    })
}

/// The value, read from standard input if it is `-`.
pub(super) fn value_of(value: OsString) -> Result<Vec<u8>, Failure> {
    if value != "-" {
        return Ok(value.into_vec());
    }
    let mut bytes = Vec::new();
    // One byte more than may be, and the store says what is wrong with it.
    let read = Stdin.take(VALUE_LEN_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|e| Failure::stdio("cannot read: standard input", &e))?;
    Ok(bytes)
}

pub(super) fn get(context: &Context, args: cli::Get) -> Result<Outcome, Failure> {
    let key = args.key.into_vec();
    let reader = context.reader()?;
    if let Some(path) = &args.output {
        let Some(mut value) = reader.get_reader(&key)? else {
            context.note_absent(&key);
            return Ok(Outcome::Absent);
        };
        let failed = |e| Failure::file("cannot write", path, &e);
        let file = Outfile::create(path).map_err(failed)?;
        let copied = file.writer().and_then(|mut to| std::io::copy(&mut value, &mut to));
        copied.and_then(|_| file.finish()).map_err(failed)?;
        return Ok(Outcome::Done);
    }
    let Some(value) = reader.get(&key)? else {
        context.note_absent(&key);
        return Ok(Outcome::Absent);
    };
    if context.json {
        let (key, value) = (args.format.encode(&key), args.format.encode(&value));
        return Answer::done(format!("{}\n", json!({ "key": key, "value": value }))).print();
    }
    let mut data = value.into_vec();
    if !args.raw && (context.in_shell || std::io::stdout().is_terminal()) {
        data.push(b'\n');
    }
    Answer::done(data).print()
}

pub(super) fn del(context: &Context, args: cli::Del) -> Result<Outcome, Failure> {
    if let Some(prefix) = args.prefix {
        return del_prefix(context, &prefix.into_vec(), args.yes);
    }
    context.write(false, |db| {
        let mut count = 0;
        for key in args.keys {
            let key = key.into_vec();
            if db.delete(&key)? {
                count += 1;
            } else {
                context.note_absent(&key);
            }
        }
        let outcome = if count > 0 { Outcome::Done } else { Outcome::Absent };
        let data = if context.json { deleted_json(count) } else { String::new() };
        Ok(Answer { outcome, data: data.into() })
    })
}

fn deleted_json(count: u64) -> String {
    format!("{}\n", json!({ "deleted": count }))
}

fn del_prefix(context: &Context, prefix: &[u8], yes: bool) -> Result<Outcome, Failure> {
    if !yes {
        let count = super::scan::count_prefix(&context.reader()?, prefix)?;
        let keys = crate::output::keys(count);
        let question = format!("delete {keys}, with the prefix `{}`?", named(prefix));
        if !confirm(question)? {
            context.note(format_args!("nothing was deleted"));
            return Ok(Outcome::Absent);
        }
    }
    listen_for_interrupts()?;
    context.write(false, |db| {
        let snapshot = db.snapshot()?;
        let mut keys = snapshot.prefix(prefix).map(|entry| entry.map(|(key, _)| key));
        let mut count: u64 = 0;
        loop {
            let mut batch = bitcask::WriteBatch::new();
            let mut any = false;
            for key in keys.by_ref().take(DELETED_AT_ONCE) {
                batch.delete(key?);
                (any, count) = (true, count + 1);
            }
            if !any {
                break;
            }
            db.write(&batch)?;
            if interrupted().is_break() {
                let done = format!("deleted {}, and there are more", crate::output::keys(count));
                return Err(Failure::interrupted(done));
            }
        }
        let said = if context.json {
            deleted_json(count)
        } else {
            format!("deleted {}\n", crate::output::keys(count))
        };
        let outcome = if count > 0 { Outcome::Done } else { Outcome::Absent };
        Ok(Answer { outcome, data: said.into() })
    })
}

pub(super) fn exists(context: &Context, args: &cli::Exists) -> Result<Outcome, Failure> {
    let reader = context.reader()?;
    let mut count = 0;
    for key in &args.keys {
        if reader.contains(key.as_bytes())? {
            count += 1;
        } else {
            context.note_absent(key.as_bytes());
        }
    }
    let said = if context.json {
        format!("{}\n", json!({ "exist": count }))
    } else {
        format!("{count}\n")
    };
    let all = count == args.keys.len();
    let outcome = if all { Outcome::Done } else { Outcome::Absent };
    Answer { outcome, data: said.into() }.print()
}

pub(super) fn ttl(context: &Context, args: &cli::Ttl) -> Result<Outcome, Failure> {
    let key = args.key.as_bytes();
    let Some(expiry) = context.reader()?.expires_at(key)? else {
        context.note_absent(key);
        return Ok(Outcome::Absent);
    };
    let left = match expiry {
        Expiry::At(time) => Some(time.duration_since(SystemTime::now()).unwrap_or(Duration::ZERO)),
        _ => None,
    };
    let said = match (left, context.json) {
        (None, false) => "never\n".to_owned(),
        (Some(left), false) => format!("{:.3}\n", left.as_secs_f64()),
        (left, true) => {
            format!("{}\n", json!({ "ttl_seconds": left.map(|left| left.as_secs_f64()) }))
        }
    };
    Answer::done(said).print()
}

pub(super) fn expire(context: &Context, args: &cli::Expire) -> Result<Outcome, Failure> {
    let key = args.key.as_bytes();
    context.write(false, |db| {
        let expiry = match args.when {
            cli::When::Never => Expiry::Never,
            cli::When::After(ttl) => Expiry::After(ttl),
        };
        let done = db.expire(key, expiry)?;
        if !done {
            context.note_absent(key);
        }
        Ok(Answer::of(done))
    })
}

pub(super) fn incr(context: &Context, args: &cli::Incr) -> Result<Outcome, Failure> {
    context.write(true, |db| {
        let sum = db.increment(args.key.as_bytes(), args.by)?;
        let json = || json!({ "value": sum }).to_string();
        let said = if context.json { json() } else { sum.to_string() };
        Ok(Answer::done(said + "\n"))
    })
}
