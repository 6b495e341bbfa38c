//! The file that a step of a merge writes, or a repair, until it is published.

use std::path::PathBuf;

use crate::directory::Directory;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::fs::{File, allocate, write_all_at};
use crate::header::{FILE_HEADER_LEN, FileHeader, FileKind};
use crate::hint::{HintEntry, HintHeader};
use crate::name;
use crate::place::Place;
use crate::record::{self, Fields, Flags, LogPosition, MARK_LEN, Mark, NEVER, Record};
use crate::sync::lock;

/// Bytes written at a time.
const WRITE_LEN: usize = 1 << 20;

/// The file that a step writes.
pub(crate) struct Output {
    file: Box<dyn File>,
    pub(crate) id: u64,
    pub(crate) path: PathBuf,
    pub(crate) seed: u32,
    buffer: Vec<u8>,
    pub(crate) end: u64,
    pub(crate) digest: u32,
    pub(crate) seq_max: u64,
    pub(crate) entries: Vec<HintEntry>,
    /// What each entry's record was.
    pub(crate) origins: Vec<Origin>,
}

/// What a record was before it was copied.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Origin {
    /// The newest value of its key, or one that a snapshot sees, at this place.
    Live(Place),
    Tombstone(HiddenIn),
}

/// Where the records are that a tombstone still hides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum HiddenIn {
    /// Only in files of the same step: the tombstone can go when they are gone.
    Inputs,
    Others,
}

impl Output {
    pub(crate) fn create(engine: &Engine, live_bytes: u64) -> Result<Self> {
        let identity = {
            let mut writer = lock(&engine.writer);
            (writer.take_file_id()?, writer.next_seq)
        };
        Self::begin(&engine.dir, identity, live_bytes)
    }

    /// Begins file `id`, when `next_seq` is the next sequence number, to hold so many bytes of records.
    pub(crate) fn begin(
        dir: &Directory,
        (id, next_seq): (u64, u64),
        live_bytes: u64,
    ) -> Result<Self> {
        let path = dir.data_path(FileKind::Merged, id);
        let file = dir.create_temporary(&path)?;
        let [a, b, c, d, ..] = dir.fs.random();
        let header = FileHeader {
            kind: FileKind::Merged,
            salt: u32::from_le_bytes([a, b, c, d]),
            store_id: dir.store_id,
            file_id: id,
            next_seq,
            previous: 0,
        };
        let (buffer, seed) = header.encode();
        let output = Self {
            file,
            id,
            path,
            seed,
            buffer: buffer.to_vec(),
            end: FILE_HEADER_LEN as u64,
            digest: 0,
            seq_max: 0,
            entries: Vec::new(),
            origins: Vec::new(),
        };
        // A full disk is met now, and not when half is copied. Where space cannot be reserved, it is met later.
        match allocate(&*output.file, live_bytes + MARK_LEN as u64) {
            Err(e) if e.kind() != std::io::ErrorKind::Unsupported => {
                drop(dir.fs.remove(&name::temporary_path(&output.path)));
                Err(Error::io("cannot reserve space for a merged file", &output.path, e))
            }
            _ => Ok(output),
        }
    }

    /// Appends a record that was just checked, as a record of its own. A value that has expired becomes a tombstone.
    pub(crate) fn copy(&mut self, record: &Record<'_>, hash: u64, origin: Origin) -> Result<()> {
        self.keep(&copied(record, origin), hash)?;
        self.origins.push(origin);
        Ok(())
    }

    /// Appends a record of its own.
    pub(crate) fn keep(&mut self, fields: &Fields<'_>, hash: u64) -> Result<()> {
        let offset = self.end;
        self.append(fields)?;
        self.entries.push(HintEntry::new(hash, offset, fields));
        Ok(())
    }

    /// What the hint of the file says, once it is finished, beside its entries.
    pub(crate) fn hint_header(&self) -> HintHeader {
        HintHeader {
            ended: true,
            seed: self.seed,
            file_id: self.id,
            covered: self.end - MARK_LEN as u64,
            seq_max: self.seq_max,
            digest: self.digest,
            ..HintHeader::default()
        }
    }

    fn append(&mut self, fields: &Fields<'_>) -> Result<()> {
        let len = fields.record_len();
        let start = self.buffer.len();
        self.buffer
            .resize(start + usize::try_from(len).expect("a record fits the address space"), 0);
        let checksum = record::encode(fields, self.end, self.seed, &mut self.buffer[start..]);
        self.end += len;
        self.seq_max = self.seq_max.max(fields.seq);
        if !fields.flags.has(Flags::END) {
            self.digest = record::digest(self.digest, checksum);
        }
        if self.buffer.len() >= WRITE_LEN {
            self.write()?;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<()> {
        let offset = self.end - self.buffer.len() as u64;
        write_all_at(&*self.file, &self.buffer, offset)
            .map_err(|e| Error::io("cannot write", &self.path, e))?;
        self.buffer.clear();
        Ok(())
    }

    /// Ends the file, cuts it to its length and makes it durable. Its mark says how far the log is, and what time.
    pub(crate) fn finish(&mut self, durable: LogPosition, time_ms: u64) -> Result<()> {
        let value = Mark { durable, digest: self.digest, seed: self.seed }.encode();
        let flags = Flags::MARK.and(Flags::END);
        let (seq, expires_ms) = (self.seq_max, NEVER);
        self.append(&Fields { flags, seq, time_ms, expires_ms, key: &[], value: &value })?;
        self.write()?;
        self.file
            .set_len(self.end)
            .and_then(|()| self.file.sync())
            .map_err(|e| Error::io("cannot sync", &self.path, e))
    }
}

/// What is written of a record.
fn copied<'a>(record: &Record<'a>, origin: Origin) -> Fields<'a> {
    let Record { flags, seq, time_ms, expires_ms, key, value, .. } = *record;
    let flags = flags.without(Flags::MEMBER);
    match origin {
        Origin::Tombstone(_) => {
            let collides = if flags.has(Flags::COLLIDES) { Flags::COLLIDES } else { Flags::NONE };
            let flags = Flags::TOMBSTONE.and(collides);
            Fields { flags, seq, time_ms, expires_ms: NEVER, key, value: &[] }
        }
        Origin::Live(_) => Fields { flags, seq, time_ms, expires_ms, key, value },
    }
}
