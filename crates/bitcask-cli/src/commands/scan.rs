//! Many keys.

use std::ops::{Bound, ControlFlow};
use std::os::unix::ffi::OsStrExt;

use bitcask::{Cursor, Index, Options, ReadOnly, Value, prefix_bounds};
use data_encoding::HEXLOWER;
use serde_json::json;

use super::{Answer, Context, Outcome};
use crate::cli;
use crate::failure::Failure;
use crate::output::{Stdout, to_stderr};
use crate::terminal::interrupted;
use crate::text::{Encoding, shown};

/// Keys read between two looks at what comes next.
const PAGE_LEN: usize = 1000;

type Entry = (Vec<u8>, Value);

pub(super) fn scan(context: &Context, args: &cli::Scan) -> Result<Outcome, Failure> {
    let cursor = args.cursor.as_deref().map(parse_cursor).transpose()?;
    let is_range = args.from.is_some() || args.to.is_some() || args.reverse;
    let is_ordered = args.ordered || is_range || cursor.as_ref().is_some_and(is_of_order);
    let index = if is_ordered { Index::Ordered } else { Index::Hash };
    let reader = context.reader_with(Options::new().index(index))?;
    let mut out = Stdout::new();
    let limit = args.limit.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
    let prefix = args.keys.prefix.as_deref().unwrap_or_default().as_bytes();
    let mut print = |entry: &Entry| {
        check_interrupts()?;
        out.write(&line(entry, context.json, args))
    };
    let next = if is_range {
        range(&reader, args, prefix, limit, &mut print)?;
        None
    } else {
        pages(&reader, prefix, cursor, limit, &mut print)?
    };
    out.finish()?;
    if let Some(next) = next {
        let next = HEXLOWER.encode(next.as_bytes());
        if context.json {
            to_stderr(json!({ "cursor": next }));
        } else {
            context.note(format_args!("there is more: go on with --cursor {next}"));
        }
    }
    Ok(Outcome::Done)
}

fn parse_cursor(text: &str) -> Result<Cursor, Failure> {
    let bytes = HEXLOWER.decode(text.as_bytes()).ok();
    let bytes = bytes.ok_or_else(|| {
        Failure::invalid("this is no cursor").advise("take the one that a scan with --limit told")
    })?;
    Ok(Cursor::from(bytes.as_slice()))
}

/// A cursor of an ordered scan begins so.
fn is_of_order(cursor: &Cursor) -> bool {
    cursor.as_bytes().first() == Some(&1)
}

fn pages(
    reader: &ReadOnly,
    prefix: &[u8],
    mut cursor: Option<Cursor>,
    limit: usize,
    print: &mut dyn FnMut(&Entry) -> Result<(), Failure>,
) -> Result<Option<Cursor>, Failure> {
    let snapshot = reader.snapshot();
    let mut left = limit;
    loop {
        let page = snapshot.scan(prefix, cursor.as_ref(), left.min(PAGE_LEN))?;
        left -= page.entries.len();
        page.entries.iter().try_for_each(&mut *print)?;
        cursor = page.next;
        if cursor.is_none() || left == 0 {
            return Ok(cursor);
        }
    }
}

fn range(
    reader: &ReadOnly,
    args: &cli::Scan,
    prefix: &[u8],
    limit: usize,
    print: &mut dyn FnMut(&Entry) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let (mut from, mut to) = prefix_bounds(prefix);
    if let Some(key) = args.from.as_deref().filter(|key| key.as_bytes() > prefix) {
        from = Bound::Included(key.as_bytes().to_vec());
    }
    if let Some(key) = args.to.as_deref().map(OsStrExt::as_bytes)
        && !matches!(&to, Bound::Excluded(end) if end.as_slice() <= key)
    {
        to = Bound::Excluded(key.to_vec());
    }
    let range = reader.range((from, to))?;
    let entries: Box<dyn Iterator<Item = bitcask::Result<Entry>>> =
        if args.reverse { Box::new(range.rev()) } else { Box::new(range) };
    for entry in entries.take(limit) {
        print(&entry?)?;
    }
    Ok(())
}

fn line((key, value): &Entry, json: bool, args: &cli::Scan) -> Vec<u8> {
    let text = |bytes: &[u8]| match (json, args.format) {
        (false, Encoding::Utf8) => shown(bytes),
        (_, format) => format.encode(bytes),
    };
    let line = match (json, args.keys_only) {
        (false, true) => text(key),
        (false, false) => format!("{}\t{}", text(key), text(value)),
        (true, true) => json!({ "key": text(key) }).to_string(),
        (true, false) => json!({ "key": text(key), "value": text(value) }).to_string(),
    };
    (line + "\n").into_bytes()
}

pub(super) fn count(context: &Context, args: &cli::Count) -> Result<Outcome, Failure> {
    let reader = context.reader()?;
    let count = match args.keys.prefix.as_deref() {
        None => reader.len(),
        Some(prefix) => count_prefix(&reader, prefix.as_bytes())?,
    };
    let said = if context.json { json!({ "keys": count }).to_string() } else { count.to_string() };
    Answer::done(said + "\n").print()
}

pub(super) fn count_prefix(reader: &ReadOnly, prefix: &[u8]) -> Result<u64, Failure> {
    let mut count = 0;
    for entry in reader.prefix(prefix) {
        entry?;
        count += 1;
        check_interrupts()?;
    }
    Ok(count)
}

/// In the shell Ctrl-C ends a scan, elsewhere it ends the program.
fn check_interrupts() -> Result<(), Failure> {
    match interrupted() {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Failure::interrupted("there are more keys")),
    }
}
