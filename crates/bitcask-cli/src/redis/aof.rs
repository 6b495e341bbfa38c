//! AOF: commands as clients send them, arrays of strings in RESP, behind an RDB preamble or without one.
//!
//! ```text
//! *3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$5\r\nvalue\r\n
//! ```
//!
//! Between commands there may be lines that begin with `#`. A crash cuts the last command, or the last transaction:
//! that is no damage.

use std::io::BufRead;

use bitcask::VALUE_LEN_MAX;

use super::commands::{self, Command, Replay};
use super::sink::Sink;
use super::source::Source;
use super::{Error, Result, rdb};

/// Whether a crash may have cut the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// It is the last.
    MayBeTorn,
    /// Others were begun after it.
    Whole,
}

/// Counts and lengths have 20 digits at most; annotations of Redis are no longer than this.
const LINE_LEN_MAX: u64 = 1024;

const NAME_LEN_MAX: u64 = 64;

const NO_COMMAND: &str = "no command: it must begin with `*` and a count";

/// What the commands of a transaction may take together, for they are kept until its end is seen.
const TRANSACTION_LEN_MAX: u64 = 1 << 30;

/// Reads one file to its end.
pub(super) fn read<R: BufRead>(
    source: &mut Source<R>,
    tail: Tail,
    replay: &mut Replay,
    sink: &mut Sink<'_>,
) -> Result<()> {
    if rdb::is_magic(source.peek()?) {
        rdb::read(source, sink)?;
    }
    let mut transaction = None;
    while !source.is_at_end()? {
        sink.reached(source.offset())?;
        let begin = source.offset();
        let read = item(source, replay, sink);
        let item = match read {
            Err(_) if source.ended_early() => return torn(source, begin, tail, transaction, sink),
            read => read?,
        };
        let Some(command) = item else { continue };
        take(source, command, &mut transaction, replay, sink)?;
    }
    match transaction {
        Some(_) => torn(source, source.offset(), tail, transaction, sink),
        None => Ok(()),
    }
}

/// Looks at the beginning of the first file, before anything is made of it.
pub(super) fn look<R: BufRead>(source: &mut Source<R>) -> Result<()> {
    let bytes = source.peek()?;
    if rdb::is_magic(bytes) {
        return rdb::look(source);
    }
    match bytes.first() {
        None | Some(b'*' | b'#') => Ok(()),
        Some(_) => Err(source.damaged(0, NO_COMMAND)),
    }
}

/// Commands between `MULTI` and `EXEC`.
struct Transaction {
    begin: u64,
    commands: Vec<Command>,
    len: u64,
}

/// Carries a command out, or keeps it until the transaction is known to be whole.
fn take<R>(
    source: &Source<R>,
    command: Command,
    transaction: &mut Option<Transaction>,
    replay: &mut Replay,
    sink: &mut Sink<'_>,
) -> Result<()>
where
    R: BufRead,
{
    let begin = command.offset;
    match (command.name.as_str(), transaction.as_mut()) {
        ("MULTI", None) => {
            *transaction = Some(Transaction { begin, commands: Vec::new(), len: 0 });
        }
        ("EXEC", Some(_)) => {
            let commands = transaction.take().map(|whole| whole.commands).unwrap_or_default();
            for command in &commands {
                replay.run(source.file(), command, sink)?;
            }
        }
        ("MULTI", Some(_)) | ("EXEC", None) => {
            return Err(source.damaged(begin, "MULTI and EXEC are not in pairs"));
        }
        (_, None) => replay.run(source.file(), &command, sink)?,
        (_, Some(open)) => {
            open.len = open.len.saturating_add(source.offset() - begin);
            if open.len > TRANSACTION_LEN_MAX {
                let what = format!("a transaction of more than {TRANSACTION_LEN_MAX} bytes");
                return Err(source.unsupported(open.begin, what));
            }
            open.commands.push(command);
        }
    }
    Ok(())
}

/// The file ends in a command, or in a transaction.
fn torn<R: BufRead>(
    source: &Source<R>,
    begin: u64,
    tail: Tail,
    transaction: Option<Transaction>,
    sink: &mut Sink<'_>,
) -> Result<()> {
    let (begin, what) = match transaction {
        Some(open) => (open.begin, "transaction"),
        None => (begin, "command"),
    };
    let len = source.offset() - begin;
    if tail == Tail::Whole {
        let what = format!("the last {what} is not whole, and another file follows");
        return Err(source.damaged(begin, what));
    }
    let what = format!(
        "the last {what} is not whole: {len} bytes were left out; this is normal after a crash"
    );
    sink.notice(source.file(), begin, what);
    Ok(())
}

/// A command; none for an annotation.
fn item<R: BufRead>(
    source: &mut Source<R>,
    replay: &mut Replay,
    sink: &Sink<'_>,
) -> Result<Option<Command>> {
    let offset = source.offset();
    let line = source.line(LINE_LEN_MAX)?;
    let count = match line.split_first() {
        Some((b'#', _)) => return Ok(None),
        Some((b'*', digits)) => number(digits).filter(|count| *count > 0),
        _ => None,
    };
    let Some(count) = count else {
        return Err(source.damaged(offset, NO_COMMAND));
    };
    let name = name(source)?;
    let kept = commands::args_kept(&name, sink.wants(replay.db()));
    let mut args = Vec::new();
    for index in 1..count {
        let len = argument_len(source)?;
        if index <= kept {
            args.push(source.bytes(len)?);
        } else {
            source.skip(len)?;
        }
        line_end(source)?;
    }
    if name == "SELECT" {
        select(source, offset, &args, replay)?;
        return Ok(None);
    }
    Ok(Some(Command { offset, db: replay.db(), name, args }))
}

/// In capitals.
fn name<R: BufRead>(source: &mut Source<R>) -> Result<String> {
    let begin = source.offset();
    let len = argument_len(source)?;
    if len > NAME_LEN_MAX {
        return Err(source.damaged(begin, format!("no command has a name of {len} bytes")));
    }
    let bytes = source.bytes(len)?;
    line_end(source)?;
    match String::from_utf8(bytes) {
        Ok(name) if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Ok(name.to_ascii_uppercase())
        }
        _ => Err(source.damaged(begin, "no command has such a name")),
    }
}

fn argument_len<R: BufRead>(source: &mut Source<R>) -> Result<u64> {
    let begin = source.offset();
    let line = source.line(LINE_LEN_MAX)?;
    let len = line.strip_prefix(b"$").and_then(number);
    match len {
        Some(len) if len <= VALUE_LEN_MAX => Ok(len),
        Some(len) => Err(source.damaged(begin, format!("no argument has {len} bytes"))),
        None => Err(source.damaged(begin, "no argument: it must begin with `$` and its length")),
    }
}

fn line_end<R: BufRead>(source: &mut Source<R>) -> Result<()> {
    let begin = source.offset();
    match &source.array::<2>()? {
        b"\r\n" => Ok(()),
        _ => Err(source.damaged(begin, "an argument does not end where its length says")),
    }
}

/// Also within a transaction: that nothing of it may be done does not change whose the next command is.
fn select<R: BufRead>(
    source: &Source<R>,
    offset: u64,
    args: &[Vec<u8>],
    replay: &mut Replay,
) -> Result<()> {
    let db = args.first().and_then(|arg| number(arg));
    let db = db.ok_or_else(|| -> Error { source.damaged(offset, "SELECT without a number") })?;
    replay.select(db);
    Ok(())
}

/// Digits and nothing else.
pub(super) fn number(digits: &[u8]) -> Option<u64> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests;
