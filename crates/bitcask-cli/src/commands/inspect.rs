//! What is in the files, as it lies there.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use bitcask::{ErrorKind, Inspected};
use data_encoding::HEXLOWER;
use serde_json::{Value, json};

use super::{Context, Outcome, no_store};
use crate::cli;
use crate::failure::Failure;
use crate::output::Stdout;
use crate::text::{Encoding, shown};

pub(super) fn inspect(context: &Context, args: &cli::Inspect) -> Result<Outcome, Failure> {
    let path = match &args.file {
        Some(file) => named(context, file),
        None => context.dir()?.to_owned(),
    };
    let mut out = Stdout::new();
    let mut outcome = Outcome::Done;
    let mut written = Ok(());
    let inspected = bitcask::inspect(path, |path, piece| {
        if !piece.is_sound() {
            outcome = Outcome::Absent;
        }
        let line = if context.json {
            json_of(path, &piece, args.format).map(|json| json.to_string())
        } else {
            text_of(path, &piece, args.format)
        };
        // A later library may tell what is not known here.
        let Some(line) = line else { return ControlFlow::Continue(()) };
        written = out.write((line + "\n").as_bytes());
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    written?;
    // What was read before an error is shown, too.
    out.finish()?;
    match inspected {
        Err(error) if args.file.is_none() => return Err(no_store(error)),
        Err(error) if error.kind() == ErrorKind::Invalid => {
            let help = "pass a file of a store: its name ends in .data, .merged, .hint or .dict";
            return Err(Failure::from(error).advise(help));
        }
        inspected => inspected?,
    }
    Ok(outcome)
}

/// A bare name is first looked for in the store.
fn named(context: &Context, file: &Path) -> PathBuf {
    let is_bare = file.file_name() == Some(file.as_os_str());
    match context.db.as_ref().filter(|_| is_bare).map(|dir| dir.join(file)) {
        Some(path) if path.exists() || !file.exists() => path,
        _ => file.to_owned(),
    }
}

fn text_of(path: &Path, piece: &Inspected<'_>, format: Encoding) -> Option<String> {
    let text = |bytes: &[u8]| match format {
        Encoding::Utf8 => shown(bytes),
        format => format.encode(bytes),
    };
    let expires = |at: &Option<u64>| at.map(|ms| format!("  expires {ms}")).unwrap_or_default();
    let line = match piece {
        Inspected::File { kind, len, .. } => {
            return Some(format!("{}: {kind} file, {len} bytes", path.display()));
        }
        Inspected::DataHeader {
            merged, file_id, next_seq, previous, salt, store_id, seed, ..
        } => {
            let kind = if *merged { "merged" } else { "log" };
            let store = HEXLOWER.encode(store_id);
            format!(
                "header: {kind} {file_id}, next seq {next_seq}, previous {previous}, salt {salt:08x}, store {store}, \
                 seed {seed:08x}"
            )
        }
        Inspected::Record { offset, len, flags, seq, time_ms, expires_ms, .. } => {
            let expires = expires(expires_ms);
            let (flags, rest) = (flags.join("+"), contents(piece, &text));
            format!("{offset}: {len} bytes  {flags}  seq {seq}  time {time_ms}{expires}{rest}")
        }
        Inspected::Gap { from, to, what, .. } => format!("{from} to {to}: DAMAGED: {what}"),
        Inspected::Zeros { from, to, .. } => format!("{from} to {to}: zeros"),
        Inspected::HintHeader {
            file_id,
            seed,
            covered,
            ended,
            digest,
            count,
            seq_min,
            seq_max,
            ..
        } => {
            let ended = if *ended { " and ends" } else { "" };
            format!(
                "header: file {file_id}, seed {seed:08x}, covers {covered}{ended}, digest {digest:08x}, {count} entries, \
                 seq {seq_min} to {seq_max}"
            )
        }
        Inspected::HintEntry { hash, seq, offset, len, flags, expires_ms, .. } => {
            let (flags, expires) = (flags.join("+"), expires(expires_ms));
            format!("hash {hash:016x}: {flags}  seq {seq}{expires}  at {offset}, {len} bytes")
        }
        Inspected::Dictionary { id, number, store_id, len, .. } => {
            let store = HEXLOWER.encode(store_id);
            format!("dictionary {id:08x}: number {number}, store {store}, {len} bytes")
        }
        _ => return None,
    };
    Some(format!("  {line}"))
}

/// What a record says, and whether it is to be believed.
fn contents(record: &Inspected<'_>, text: &dyn Fn(&[u8]) -> String) -> String {
    let Inspected::Record {
        flags,
        key,
        value_offset,
        value_len,
        value_start,
        checksum,
        says,
        fault,
        ..
    } = record
    else {
        return String::new();
    };
    let said = if let Some(says) = says {
        says.clone()
    } else if flags.contains(&"tombstone") {
        format!("\"{}\"", text(key))
    } else {
        let more = if value_start.len() as u64 == *value_len { "" } else { ".." };
        let (key, start) = (text(key), text(value_start));
        format!("\"{key}\"  value {value_len} bytes at {value_offset} \"{start}\"{more}")
    };
    match fault {
        None => format!("  {said}  checksum {checksum:08x} ok"),
        Some(fault) => format!("  {said}  DAMAGED: {fault}"),
    }
}

fn json_of(path: &Path, piece: &Inspected<'_>, format: Encoding) -> Option<Value> {
    let hex = |number: &u32| format!("{number:08x}");
    let mut json = match piece {
        Inspected::File { kind, len, .. } => json!({ "what": "file", "kind": kind, "len": len }),
        Inspected::DataHeader {
            merged, file_id, next_seq, previous, salt, store_id, seed, ..
        } => json!({
            "what": "header",
            "merged": merged,
            "file_id": file_id,
            "next_seq": next_seq,
            "previous": previous,
            "salt": hex(salt),
            "store": HEXLOWER.encode(store_id),
            "seed": hex(seed),
        }),
        Inspected::Record { .. } => record_json(piece, format)?,
        Inspected::Gap { from, to, what, .. } => json!({
            "what": "gap", "offset": from, "len": to - from, "ok": false, "fault": what,
        }),
        Inspected::Zeros { from, to, .. } => json!({
            "what": "zeros", "offset": from, "len": to - from,
        }),
        Inspected::HintHeader {
            file_id,
            seed,
            covered,
            ended,
            digest,
            count,
            seq_min,
            seq_max,
            ..
        } => json!({
            "what": "hint_header",
            "file_id": file_id,
            "seed": hex(seed),
            "covered": covered,
            "ended": ended,
            "digest": hex(digest),
            "count": count,
            "seq_min": seq_min,
            "seq_max": seq_max,
        }),
        Inspected::HintEntry { hash, seq, offset, len, flags, expires_ms, .. } => json!({
            "what": "hint_entry",
            "hash": format!("{hash:016x}"),
            "seq": seq,
            "offset": offset,
            "len": len,
            "flags": flags,
            "expires_ms": expires_ms,
        }),
        Inspected::Dictionary { id, number, store_id, len, .. } => json!({
            "what": "dictionary",
            "id": hex(id),
            "number": number,
            "store": HEXLOWER.encode(store_id),
            "len": len,
        }),
        _ => return None,
    };
    json["file"] = path.display().to_string().into();
    Some(json)
}

fn record_json(record: &Inspected<'_>, format: Encoding) -> Option<Value> {
    let Inspected::Record {
        offset,
        len,
        flags,
        seq,
        time_ms,
        expires_ms,
        key,
        value_offset,
        value_len,
        value_start,
        checksum,
        says,
        fault,
        ..
    } = record
    else {
        return None;
    };
    Some(json!({
        "what": "record",
        "offset": offset,
        "len": len,
        "flags": flags,
        "seq": seq,
        "time_ms": time_ms,
        "expires_ms": expires_ms,
        "key": format.encode(key),
        "value_offset": value_offset,
        "value_len": value_len,
        "value_start": format.encode(value_start),
        "checksum": format!("{checksum:08x}"),
        "says": says,
        "ok": fault.is_none(),
        "fault": fault,
    }))
}
