//! For tests: RDB and AOF files made by hand, and a target in memory.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use super::sink::Sink;
use super::source::{Source, crc64};
use super::{
    Current, Databases, Error, Options, Report, Result, Target, Watch, aof, commands, rdb, settled,
};
use crate::incoming::Incoming;

/// When tests take place.
pub(super) const NOW_MS: u64 = 1_700_000_000_000;

/// What an import makes.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) keys: BTreeMap<Vec<u8>, Current>,
    now_ms: u64,
}

impl Memory {
    pub(super) fn at(now_ms: u64) -> Self {
        Self { keys: BTreeMap::new(), now_ms }
    }
}

impl Target for Memory {
    /// As a store would, it has nothing that has expired.
    fn get(&mut self, key: &[u8]) -> bitcask::Result<Option<Current>> {
        let alive = |current: &&Current| current.expires_ms.is_none_or(|ms| ms > self.now_ms);
        Ok(self.keys.get(key).filter(alive).cloned())
    }

    fn apply(&mut self, change: Incoming) -> bitcask::Result<()> {
        match change {
            Incoming::Put { key, value, expires_ms } => {
                self.keys.insert(key, Current { value, expires_ms });
            }
            Incoming::Delete { key } => drop(self.keys.remove(&key)),
        }
        Ok(())
    }

    fn clear(&mut self, prefix: &[u8]) -> bitcask::Result<()> {
        self.keys.retain(|key, _| !key.starts_with(prefix));
        Ok(())
    }

    fn change_expiring(
        &mut self,
        change: &mut dyn FnMut(Vec<u8>, Current) -> std::result::Result<Incoming, Error>,
    ) -> std::result::Result<(), Error> {
        for (key, current) in self.keys.clone() {
            if current.expires_ms.is_some_and(|ms| ms > self.now_ms) {
                self.apply(change(key, current)?)?;
            }
        }
        Ok(())
    }
}

/// What came of an import.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) result: Result<()>,
    pub(super) memory: Memory,
    pub(super) report: Report,
}

impl Done {
    /// All keys as text: `key=value`, and `@ms` if it expires.
    pub(super) fn keys(&self) -> String {
        let text = |(key, current): (&Vec<u8>, &Current)| {
            let expiry = current.expires_ms.map_or(String::new(), |ms| format!("@{ms}"));
            format!("{}={}{expiry}", key.escape_ascii(), current.value.escape_ascii())
        };
        self.memory.keys.iter().map(text).collect::<Vec<_>>().join(" ")
    }

    pub(super) fn error(&self) -> String {
        self.result.as_ref().unwrap_err().to_string()
    }
}

pub(super) fn options(databases: Databases) -> Options {
    Options { databases, now_ms: NOW_MS }
}

pub(super) fn import_rdb(bytes: &[u8], databases: Databases) -> Done {
    import_rdb_into(Memory::at(NOW_MS), bytes, databases, &mut go_on)
}

pub(super) fn import_rdb_into(
    mut memory: Memory,
    bytes: &[u8],
    databases: Databases,
    watch: Watch<'_>,
) -> Done {
    let mut report = Report::default();
    let mut sink = Sink::for_snapshot(&mut memory, options(databases), &mut report, watch);
    let result = rdb::read(&mut Source::new(Path::new("dump.rdb"), bytes), &mut sink);
    Done { result, memory, report }
}

pub(super) fn import_aof(bytes: &[u8], tail: aof::Tail, databases: Databases) -> Done {
    import_aof_into(Memory::at(NOW_MS), bytes, tail, databases, &mut go_on)
}

pub(super) fn go_on(_bytes: u64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

pub(super) fn import_aof_into(
    mut memory: Memory,
    bytes: &[u8],
    tail: aof::Tail,
    databases: Databases,
    watch: Watch<'_>,
) -> Done {
    let mut report = Report::default();
    let mut sink = Sink::for_log(&mut memory, options(databases), &mut report, watch);
    let mut replay = commands::Replay::default();
    let mut source = Source::new(Path::new("a.aof"), bytes);
    let result = aof::read(&mut source, tail, &mut replay, &mut sink);
    let result = settled(result, sink);
    Done { result, memory, report }
}

/// Commands, one a line, their arguments between spaces.
pub(super) fn commands(lines: &str) -> Vec<u8> {
    let lines = lines.lines().map(str::trim).filter(|line| !line.is_empty());
    lines
        .flat_map(|line| command(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>()))
        .collect()
}

pub(super) fn command(args: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        bytes.extend(format!("${}\r\n", arg.len()).bytes());
        bytes.extend(*arg);
        bytes.extend(b"\r\n");
    }
    bytes
}

/// An RDB file in the making.
#[derive(Clone, Debug)]
pub(super) struct Rdb {
    bytes: Vec<u8>,
}

impl Rdb {
    pub(super) fn new(magic: &str) -> Self {
        Self { bytes: magic.into() }
    }

    pub(super) fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend(bytes);
        self
    }

    pub(super) fn len(self, len: u64) -> Self {
        match len {
            0..64 => self.raw(&[u8::try_from(len).unwrap()]),
            64..16384 => self.raw(&(u16::try_from(len).unwrap() | 0x4000).to_be_bytes()),
            16384..=0xffff_ffff => {
                self.raw(&[0x80]).raw(&u32::try_from(len).unwrap().to_be_bytes())
            }
            _ => self.raw(&[0x81]).raw(&len.to_be_bytes()),
        }
    }

    pub(super) fn string(self, string: &[u8]) -> Self {
        self.len(string.len() as u64).raw(string)
    }

    /// A key of type string.
    pub(super) fn put(self, key: &str, value: &str) -> Self {
        self.raw(&[0]).string(key.as_bytes()).string(value.as_bytes())
    }

    /// The end, with its checksum.
    pub(super) fn end(self) -> Vec<u8> {
        let summed = self.raw(&[255]);
        let crc = crc64(0, &summed.bytes);
        summed.raw(&crc.to_le_bytes()).bytes
    }

    /// The end without a checksum, and anything else that is not.
    pub(super) fn bytes(self) -> Vec<u8> {
        self.bytes
    }
}
