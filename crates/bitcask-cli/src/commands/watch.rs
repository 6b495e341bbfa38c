//! Changes as they happen.

use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use bitcask::{Changed, Event};
use serde_json::json;

use super::{Context, Outcome};
use crate::cli;
use crate::failure::Failure;
use crate::output::Stdout;
use crate::terminal::{interrupted, listen_for_interrupts};
use crate::text::{Encoding, shown};
use crate::time;

/// How often it is looked whether somebody pressed Ctrl-C.
const LOOK_EVERY: Duration = Duration::from_millis(100);

pub(super) fn watch(context: &Context, args: &cli::Watch) -> Result<Outcome, Failure> {
    let reader = context.reader()?;
    listen_for_interrupts()?;
    let prefix = args.keys.prefix.as_deref().unwrap_or_default().as_bytes();
    let mut watch = reader.watch(prefix, args.from.unwrap_or_else(|| reader.seq() + 1))?;
    drop(reader);
    let mut out = Stdout::new();
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 && interrupted().is_continue() {
        if let Some(event) = watch.next_timeout(LOOK_EVERY)? {
            out.write(&line(&event, context.json, args.format))?;
            left -= 1;
        } else {
            // Nobody is to wait for what has happened.
            out.finish()?;
        }
    }
    out.finish()?;
    Ok(Outcome::Done)
}

fn line(event: &Event, json: bool, format: Encoding) -> Vec<u8> {
    let text = |bytes: &[u8]| match (json, format) {
        (false, Encoding::Utf8) => shown(bytes),
        (_, format) => format.encode(bytes),
    };
    let key = text(&event.key);
    let (value, expires_ms) = match &event.change {
        Changed::Put { value, expiry, .. } => (Some(text(value)), time::expires_ms(*expiry)),
        _ => (None, None),
    };
    let line = if json {
        let change = if value.is_some() { "put" } else { "delete" };
        json!({
            "seq": event.seq,
            "time_ms": event.time_ms,
            "change": change,
            "key": key,
            "value": value,
            "expires_ms": expires_ms,
            "batch": event.batch,
            "is_last": event.is_last,
        })
        .to_string()
    } else {
        match value {
            Some(value) => format!("{}\tput\t{key}\t{value}", event.seq),
            None => format!("{}\tdelete\t{key}", event.seq),
        }
    };
    (line + "\n").into_bytes()
}
