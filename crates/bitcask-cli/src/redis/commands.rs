//! Commands on strings, carried out on the [`Sink`] as Redis would have.
//!
//! A log has only commands that succeeded. When a key that a command needs is not there, it is because Redis had
//! something else than a string under it, which we have not imported.

mod strings;

use std::path::Path;

use super::aof::number;
use super::sink::{Put, Sink};
use super::{Current, Error, Result, rdb};

/// A command of a log, with as many of its arguments as [`args_kept`] wants.
#[derive(Clone, Debug)]
pub(super) struct Command {
    pub(super) offset: u64,
    pub(super) db: u64,
    pub(super) name: String,
    pub(super) args: Vec<Vec<u8>>,
}

/// How many arguments of a command are needed. What is skipped takes no memory.
pub(super) fn args_kept(name: &str, wanted: bool) -> u64 {
    let carried_out = wanted && is_carried_out(name);
    let between_databases = matches!(name, "COPY" | "MOVE" | "SWAPDB" | "SELECT");
    let may_store = wanted && matches!(name, "SORT" | "GEORADIUS" | "GEORADIUSBYMEMBER");
    if carried_out || between_databases || may_store { u64::MAX } else { 2 }
}

fn is_carried_out(name: &str) -> bool {
    matches!(
        name,
        "SET"
            | "SETEX"
            | "PSETEX"
            | "SETNX"
            | "MSET"
            | "MSETNX"
            | "GETSET"
            | "GETDEL"
            | "GETEX"
            | "APPEND"
            | "SETRANGE"
            | "SETBIT"
            | "INCR"
            | "DECR"
            | "INCRBY"
            | "DECRBY"
            | "INCRBYFLOAT"
            | "DEL"
            | "DELEX"
            | "DELIFEQ"
            | "UNLINK"
            | "EXPIRE"
            | "PEXPIRE"
            | "EXPIREAT"
            | "PEXPIREAT"
            | "PERSIST"
            | "RENAME"
            | "RENAMENX"
            | "COPY"
            | "MOVE"
            | "FLUSHDB"
            | "FLUSHALL"
            | "RESTORE"
    )
}

/// Why a command was not carried out.
enum Refusal {
    /// The import ends.
    Fatal(Error),
    /// It is of no use to us, and is counted by its name.
    OfOtherType,
    /// It is counted, and told.
    Strange(&'static str),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Fatal(error)
    }
}

type Done = std::result::Result<(), Refusal>;

const ARGUMENTS: Refusal = Refusal::Strange("its arguments are not understood");

/// Where we are in a log.
#[derive(Debug, Default)]
pub(super) struct Replay {
    db: u64,
}

impl Replay {
    pub(super) fn begin_file(&mut self) {
        self.db = 0;
    }

    /// Whose the next command is.
    pub(super) fn db(&self) -> u64 {
        self.db
    }

    pub(super) fn select(&mut self, db: u64) {
        self.db = db;
    }

    pub(super) fn run(&self, file: &Path, command: &Command, sink: &mut Sink<'_>) -> Result<()> {
        let refusal = match run(file, command, sink) {
            Ok(()) => {
                sink.report.commands += 1;
                return Ok(());
            }
            Err(refusal) => refusal,
        };
        match refusal {
            Refusal::Fatal(error) => return Err(error),
            Refusal::OfOtherType => {}
            Refusal::Strange(what) => {
                let what = format!("{} was not carried out: {what}", command.name);
                sink.notice(file, command.offset, what);
            }
        }
        if sink.wants(command.db) {
            sink.report.other_command(&command.name);
        } else {
            sink.report.other_database(command.db);
        }
        Ok(())
    }
}

fn run(file: &Path, command: &Command, sink: &mut Sink<'_>) -> Done {
    let Command { offset, db, name, args } = command;
    let mut on = On { db: *db, sink };
    match (name.as_str(), args.as_slice()) {
        ("FLUSHALL", _) => return Ok(on.sink.clear_all()?),
        ("SWAPDB", [a, b]) => return swap(file, *offset, a, b, &on),
        ("COPY", [from, to, options @ ..]) => return on.copy(from, to, options),
        ("MOVE", [key, to]) => return on.transfer(key, to),
        _ if !on.sink.wants(*db) => return Err(Refusal::OfOtherType),
        ("FLUSHDB", _) => return Ok(on.sink.clear(*db)?),
        ("DEL" | "UNLINK", keys) => return on.delete_all(keys),
        // The condition held, or it would not have been logged.
        ("DELEX" | "DELIFEQ", [key, ..]) => return Ok(on.delete(key)?),
        ("RENAME" | "RENAMENX", [from, to]) => return on.rename(from, to, name == "RENAMENX"),
        ("RESTORE", [key, ttl, dump, options @ ..]) => return on.restore(key, ttl, dump, options),
        _ if is_carried_out(name) => return strings::run(&mut on, name, args),
        _ => {}
    }
    on.leave_out(name, args)
}

/// A database is swapped by its number, and keys were given by theirs.
fn swap(file: &Path, offset: u64, a: &[u8], b: &[u8], on: &On<'_, '_>) -> Done {
    let concerns_us = |db| number(db).is_none_or(|db| on.sink.wants(db));
    if !concerns_us(a) && !concerns_us(b) {
        return Err(Refusal::OfOtherType);
    }
    let what = "SWAPDB of a database that is imported; import from an RDB file instead".into();
    Err(Refusal::Fatal(Error::Unsupported { file: file.into(), offset, what }))
}

/// A database that commands work on.
struct On<'s, 'a> {
    db: u64,
    sink: &'s mut Sink<'a>,
}

impl On<'_, '_> {
    fn get(&mut self, key: &[u8]) -> Result<Option<Current>> {
        self.sink.get(self.db, key)
    }

    fn put(&mut self, key: &[u8], value: Vec<u8>, expires_ms: Option<u64>) -> Done {
        self.put_in(self.db, key, Current { value, expires_ms })
    }

    fn put_in(&mut self, db: u64, key: &[u8], current: Current) -> Done {
        match self.sink.put(db, key, current)? {
            Put::Done | Put::Expired => Ok(()),
            Put::TooLong => Err(Refusal::Strange("the key or the value is too long for the store")),
        }
    }

    fn delete(&mut self, key: &[u8]) -> Result<()> {
        self.sink.delete(self.db, key)
    }

    fn delete_all(&mut self, keys: &[Vec<u8>]) -> Done {
        for key in keys {
            self.delete(key)?;
        }
        Ok(())
    }

    fn rename(&mut self, from: &[u8], to: &[u8], only_if_free: bool) -> Done {
        if only_if_free && self.get(to)?.is_some() {
            return Ok(());
        }
        if from == to {
            return Ok(());
        }
        let Some(current) = self.get(from)? else {
            self.delete(to)?;
            return Err(Refusal::OfOtherType);
        };
        self.put_in(self.db, to, current)?;
        Ok(self.delete(from)?)
    }

    fn copy(&mut self, from: &[u8], to: &[u8], options: &[Vec<u8>]) -> Done {
        let (mut to_db, mut replace) = (self.db, false);
        let mut options = options.iter();
        while let Some(option) = options.next() {
            match &*option.to_ascii_uppercase() {
                b"REPLACE" => replace = true,
                b"DB" => {
                    to_db = options.next().and_then(|db| number(db)).ok_or(ARGUMENTS)?;
                }
                _ => return Err(ARGUMENTS),
            }
        }
        if !self.sink.wants(to_db) || (to_db == self.db && from == to) {
            return Err(Refusal::OfOtherType);
        }
        if !replace && self.sink.get(to_db, to)?.is_some() {
            return Ok(());
        }
        self.copy_to(from, to_db, to)
    }

    fn transfer(&mut self, key: &[u8], to: &[u8]) -> Done {
        let to_db = number(to).ok_or(ARGUMENTS)?;
        if to_db == self.db {
            return Ok(());
        }
        let copied = match self.sink.wants(to_db) {
            true => self.copy_to(key, to_db, key),
            false => Ok(()),
        };
        if self.sink.wants(self.db) {
            self.delete(key)?;
        } else if copied.is_ok() {
            return Err(Refusal::OfOtherType);
        }
        copied
    }

    /// Replaces what is there.
    fn copy_to(&mut self, from: &[u8], to_db: u64, to: &[u8]) -> Done {
        if !self.sink.wants(self.db) {
            self.sink.delete(to_db, to)?;
            return Err(Refusal::Strange("it takes a value from a database that is not imported"));
        }
        match self.get(from)? {
            Some(current) => self.put_in(to_db, to, current),
            None => {
                self.sink.delete(to_db, to)?;
                Err(Refusal::OfOtherType)
            }
        }
    }

    /// A value as RDB has it, behind its type, and before a version and a checksum.
    fn restore(&mut self, key: &[u8], ttl: &[u8], dump: &[u8], options: &[Vec<u8>]) -> Done {
        let absolute = options.iter().any(|option| option.eq_ignore_ascii_case(b"ABSTTL"));
        let ttl = number(ttl).ok_or(ARGUMENTS)?;
        let expires_ms = match (ttl, absolute) {
            (0, _) => None,
            (ttl, true) => Some(ttl),
            (ttl, false) => Some(self.sink.now_ms().saturating_add(ttl)),
        };
        match rdb::dumped_string(dump) {
            rdb::Dumped::String(value) => self.put(key, value, expires_ms),
            rdb::Dumped::OtherType => {
                self.delete(key)?;
                Err(Refusal::OfOtherType)
            }
            rdb::Dumped::Damaged => {
                self.delete(key)?;
                Err(Refusal::Strange("the value in it is damaged; the key was deleted"))
            }
        }
    }

    /// What a command that is not carried out does to strings all the same: some replace one by something else.
    fn leave_out(&mut self, name: &str, args: &[Vec<u8>]) -> Done {
        let changed = match (name, args) {
            ("BITFIELD" | "PFADD" | "PFMERGE", [key, ..]) | ("BITOP", [_, key, ..]) => key,
            ("EVAL" | "EVALSHA" | "FCALL", _) => {
                return Err(Refusal::Strange("it is a script, and what it did is not known"));
            }
            ("SORT" | "GEORADIUS" | "GEORADIUSBYMEMBER", args) => {
                let stores = |word: &[u8]| {
                    word.eq_ignore_ascii_case(b"STORE") || word.eq_ignore_ascii_case(b"STOREDIST")
                };
                if let Some([_, key]) =
                    args.windows(2).find(|pair| pair.first().is_some_and(|word| stores(word)))
                {
                    self.delete(key)?;
                }
                return Err(Refusal::OfOtherType);
            }
            (name, [key, ..]) if name.ends_with("STORE") => {
                self.delete(key)?;
                return Err(Refusal::OfOtherType);
            }
            _ => return Err(Refusal::OfOtherType),
        };
        // A value of before it would be wrong, and look right.
        self.delete(changed)?;
        Err(Refusal::Strange("its result is a string that is not worked out; the key was deleted"))
    }
}

#[cfg(test)]
mod tests;
