//! What is in a file of a store, piece by piece: for the program's `inspect`, and for whoever has to look at the bytes. Takes
//! them as they are, in any state, needs no lock, and changes nothing.
//!
//! Damage is no error here: it is walked past as verify does (`walk.rs`), and told like all else. No file is in memory as a
//! whole, and no value.

use std::ffi::OsStr;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use crate::dictionary::{self, DICTIONARY_HEADER_LEN, DICTIONARY_LEN_MAX};
use crate::dictionary::{DictionaryFault, DictionaryFile};
use crate::error::{Error, Result};
use crate::fs::{Access, Disk, File, Fs};
use crate::header::{self, FILE_HEADER_LEN, FileHeader, FileKind, HeaderFault};
use crate::hint::{self, HINT_BLOCK_LEN, HINT_HEADER_LEN, HintHeader};
use crate::name::{self, Name};
use crate::record::{self, Flags, Frame, KEY_LEN_MAX, Mark, NEVER, RECORD_HEADER_LEN, Record};
use crate::salvage::{find_seed, likely_seeds};
use crate::walk::{Gap, NO_RECORD, Place, Walker, read_patiently};

/// Bytes of a value that are shown.
pub(crate) const SHOWN_LEN: usize = 32;
/// All of a record that is looked at here: header, expiry, key, and the start of the value.
const HEAD_LEN_MAX: u64 = (RECORD_HEADER_LEN + 8 + KEY_LEN_MAX + SHOWN_LEN) as u64;

const FLAG_NAMES: [(Flags, &str); 11] = [
    (Flags::VALUE, "value"),
    (Flags::TOMBSTONE, "tombstone"),
    (Flags::FRAME, "frame"),
    (Flags::MARK, "mark"),
    (Flags::MEMBER, "member"),
    (Flags::COLLIDES, "collides"),
    (Flags::END, "end"),
    (Flags::EXPIRES, "expires"),
    (Flags::LZ4, "lz4"),
    (Flags::ZSTD, "zstd"),
    (Flags::DICTIONARY, "dictionary"),
];

/// A piece of a file, as [`inspect`] found it. What each field means is in `docs/format.md`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Inspected<'a> {
    /// A file begins.
    #[non_exhaustive]
    File {
        /// `data`, `hint` or `dictionary`.
        kind: &'static str,
        /// Bytes in it.
        len: u64,
    },
    /// The header of a data file.
    #[non_exhaustive]
    DataHeader {
        /// Whether merge wrote it.
        merged: bool,
        /// Its number.
        file_id: u64,
        /// A sequence number above all that the store had given out.
        next_seq: u64,
        /// The log file before it that was not yet durable; 0 for none.
        previous: u64,
        /// What makes its checksums its own.
        salt: u32,
        /// Of all files of the store.
        store_id: [u8; 16],
        /// What the checksums of its records start from.
        seed: u32,
    },
    /// A record, or what says that it is one and does not check out.
    #[non_exhaustive]
    Record {
        /// Where it begins.
        offset: u64,
        /// Bytes that it takes.
        len: u64,
        /// What it is: `value`, `tombstone`, `frame` or `mark`, and more about it.
        flags: Vec<&'static str>,
        /// Its sequence number.
        seq: u64,
        /// When it was written, in milliseconds since 1970.
        time_ms: u64,
        /// When it expires, if ever.
        expires_ms: Option<u64>,
        /// Its key; frames and marks have none.
        key: &'a [u8],
        /// Where its value begins, as it is stored.
        value_offset: u64,
        /// Bytes of it, as it is stored.
        value_len: u64,
        /// The first of them.
        value_start: &'a [u8],
        /// The checksum that is stored.
        checksum: u32,
        /// What a frame or a mark says, in words.
        says: Option<String>,
        /// What is wrong with it; none if it checks out.
        fault: Option<String>,
    },
    /// Bytes that are not what they should be.
    #[non_exhaustive]
    Gap {
        /// Where they begin.
        from: u64,
        /// Where they end.
        to: u64,
        /// What is wrong.
        what: String,
    },
    /// Zeros to the end of a data file: room that was reserved.
    #[non_exhaustive]
    Zeros {
        /// Where they begin.
        from: u64,
        /// Where the file ends.
        to: u64,
    },
    /// The header of a hint file.
    #[non_exhaustive]
    HintHeader {
        /// The number of its data file.
        file_id: u64,
        /// The seed of its data file.
        seed: u32,
        /// Up to where in the data file it speaks of all records.
        covered: u64,
        /// Whether the data file ends there.
        ended: bool,
        /// Over the checksums of those records.
        digest: u32,
        /// How many entries there are.
        count: u64,
        /// The lowest sequence number.
        seq_min: u64,
        /// The highest sequence number.
        seq_max: u64,
    },
    /// What a hint says about a record.
    #[non_exhaustive]
    HintEntry {
        /// Of the key.
        hash: u64,
        /// The record's sequence number.
        seq: u64,
        /// Where the record begins in the data file.
        offset: u64,
        /// Bytes that the record takes.
        len: u64,
        /// `value` or `tombstone`, and `collides`.
        flags: Vec<&'static str>,
        /// When the record expires, if ever.
        expires_ms: Option<u64>,
    },
    /// A dictionary that checks out.
    #[non_exhaustive]
    Dictionary {
        /// What values call it by.
        id: u32,
        /// The larger, the newer.
        number: u64,
        /// Of all files of the store.
        store_id: [u8; 16],
        /// Bytes of the dictionary itself.
        len: u64,
    },
}

impl Inspected<'_> {
    /// Whether this is as it should be.
    pub fn is_sound(&self) -> bool {
        !matches!(self, Self::Gap { .. } | Self::Record { fault: Some(_), .. })
    }

    fn gap(from: u64, to: u64, what: impl Into<String>) -> Self {
        Self::Gap { from, to, what: what.into() }
    }
}

/// Is told of a file and a piece of it; `Break` ends it all.
type Each<'a> = &'a mut dyn FnMut(&Path, Inspected<'_>) -> ControlFlow<()>;
type Flow = ControlFlow<()>;

/// Reads a data, hint or dictionary file, or all such files of a directory in the order of their names, and gives each piece of
/// it to `each` with the path of its file.
///
/// The bytes are shown as they are: damage is a [`Gap`](Inspected::Gap), or a record with a fault, and reading goes on
/// behind it. Nothing is locked and nothing changed. Beside a process that has the store open the record that is being written
/// may show as damage.
///
/// A file is known by its first bytes or, if they are damaged, by its name.
///
/// ```
/// use bitcask::{Bitcask, Inspected};
/// use std::ops::ControlFlow;
/// # let dir = std::env::temp_dir().join(format!("bitcask-doc-inspect-{}", std::process::id()));
///
/// let db = Bitcask::open(&dir)?;
/// db.put(b"mykey", b"myvalue")?;
/// db.close()?;
///
/// let mut keys = Vec::new();
/// bitcask::inspect(dir.join("000000000001.data"), |path, piece| {
///     assert!(piece.is_sound(), "{}: {piece:?}", path.display());
///     match piece {
///         Inspected::Record { offset, key, .. } if !key.is_empty() => keys.push((offset, key.to_vec())),
///         _ => {}
///     }
///     ControlFlow::Continue(())
/// })?;
/// assert_eq!(keys, [(64, b"mykey".to_vec())]);
/// # std::fs::remove_dir_all(&dir).ok();
/// # Ok::<(), bitcask::Error>(())
/// ```
///
/// # Errors
/// `Invalid` if there is nothing at `path`, or nothing of a store; `Io`.
pub fn inspect(
    path: impl AsRef<Path>,
    mut each: impl FnMut(&Path, Inspected<'_>) -> ControlFlow<()>,
) -> Result<()> {
    inspect_in(&Disk, path.as_ref(), &mut each)
}

fn inspect_in(fs: &dyn Fs, path: &Path, each: Each<'_>) -> Result<()> {
    let entries = match fs.list(path) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => {
            return inspect_file(fs, path, each).map(drop);
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Err(Error::invalid("there is no such file or directory").at(path));
        }
        Err(e) => return Err(Error::io("cannot list the directory", path, e)),
    };
    let mut names: Vec<_> = entries.into_iter().map(|entry| entry.name).collect();
    names.retain(|name| Kind::of_name(name).is_some());
    if names.is_empty() {
        return Err(Error::invalid("the directory holds no store").at(path));
    }
    names.sort_unstable();
    for name in names {
        match inspect_file(fs, &path.join(name), each) {
            // Merge may remove it at any time.
            Err(e) if e.is_not_found() => {}
            Err(e) => return Err(e),
            Ok(ControlFlow::Break(())) => break,
            Ok(ControlFlow::Continue(())) => {}
        }
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Data,
    Hint,
    Dictionary,
}

impl Kind {
    /// By the first bytes, or else by the name.
    fn of(start: &[u8], path: &Path) -> Option<Self> {
        let magics = [
            (header::MAGIC, Self::Data),
            (hint::MAGIC, Self::Hint),
            (dictionary::MAGIC, Self::Dictionary),
        ];
        let known = magics.into_iter().find(|(magic, _)| start.starts_with(*magic));
        known.map(|(_, kind)| kind).or_else(|| Self::of_name(path.file_name()?))
    }

    fn of_name(name: &OsStr) -> Option<Self> {
        match Name::of(name) {
            Name::Data(..) => Some(Self::Data),
            Name::Hint(_) => Some(Self::Hint),
            Name::Dictionary(_) => Some(Self::Dictionary),
            Name::Temporary(_) => Self::of_name(name::target_path(Path::new(name)).as_os_str()),
            Name::Lock | Name::Destroying | Name::Foreign => None,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Hint => "hint",
            Self::Dictionary => "dictionary",
        }
    }
}

fn inspect_file(fs: &dyn Fs, path: &Path, each: Each<'_>) -> Result<Flow> {
    let failed = |e| Error::io("cannot read", path, e);
    let file = fs.open(path, Access::Read).map_err(failed)?;
    let len = file.len().map_err(failed)?;
    let start = read(&*file, path, 0, FILE_HEADER_LEN)?;
    let Some(kind) = Kind::of(&start, path) else {
        let what = "this is no data, hint or dictionary file: neither its first bytes nor its name are of one";
        return Err(Error::invalid(what).at(path));
    };
    if each(path, Inspected::File { kind: kind.text(), len }).is_break() {
        return Ok(ControlFlow::Break(()));
    }
    let mut each = |piece: Inspected<'_>| each(path, piece);
    match kind {
        Kind::Data => data(&*file, path, &start, len, &mut each),
        Kind::Hint => hint(&*file, path, &start, len, &mut each),
        Kind::Dictionary => dictionary(&*file, path, &start, len, &mut each),
    }
}

/// So many bytes, or all up to the end.
fn read(file: &dyn File, path: &Path, offset: u64, len: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    let n = read_patiently(file, &mut bytes, offset, |_| {})
        .map_err(|e| Error::io("cannot read", path, e).at_offset(offset))?;
    bytes.truncate(n);
    Ok(bytes)
}

/// Is told of the pieces of one file.
type EachPiece<'a> = &'a mut dyn FnMut(Inspected<'_>) -> Flow;

fn data(file: &dyn File, path: &Path, start: &[u8], len: u64, each: EachPiece<'_>) -> Result<Flow> {
    let (header, seed) = match FileHeader::decode(start) {
        Ok((header, seed)) => (shown_header(&header, seed), Some(seed)),
        Err(HeaderFault::Damaged(what)) => {
            let seed = find_seed(file, path, len, likely_seeds(start))?;
            (Inspected::gap(0, start.len() as u64, what), seed)
        }
        Err(HeaderFault::Version(version)) => {
            let what = format!("the file has version {version}, this program knows version 1");
            (Inspected::gap(0, start.len() as u64, what), None)
        }
    };
    if each(header).is_break() {
        return Ok(ControlFlow::Break(()));
    }
    let Some(seed) = seed else {
        let (from, what) = (start.len() as u64, "without the header no record can be checked");
        let rest = (from < len).then(|| each(Inspected::gap(from, len, what)));
        return Ok(rest.unwrap_or(ControlFlow::Continue(())));
    };
    let mut walker = Walker::from_start(file, path, seed, len);
    while let Some(place) = walker.next_place()? {
        let flow = match place {
            Place::Record(offset, len) => record(&mut walker, offset, len, None, each)?,
            Place::Gap(gap) => damaged(&mut walker, gap, each)?,
        };
        if flow.is_break() {
            return Ok(flow);
        }
    }
    let from = walker.offset();
    let zeros = (from < len).then(|| each(Inspected::Zeros { from, to: len }));
    Ok(zeros.unwrap_or(ControlFlow::Continue(())))
}

fn shown_header(header: &FileHeader, seed: u32) -> Inspected<'static> {
    let FileHeader { kind, salt, store_id, file_id, next_seq, previous } = *header;
    let merged = kind == FileKind::Merged;
    Inspected::DataHeader { merged, file_id, next_seq, previous, salt, store_id, seed }
}

/// A gap, as the record that it was if it is exactly as long as it says it is.
fn damaged(walker: &mut Walker<'_>, gap: Gap, each: EachPiece<'_>) -> Result<Flow> {
    let len = gap.to - gap.from;
    let claimed = record::claimed_len(walker.bytes_at(gap.from, RECORD_HEADER_LEN as u64)?);
    if claimed == Ok(len) {
        let fault = gap.what.strip_prefix(NO_RECORD).unwrap_or(&gap.what);
        return record(walker, gap.from, len, Some(fault.to_owned()), each);
    }
    Ok(each(Inspected::Gap { from: gap.from, to: gap.to, what: gap.what }))
}

fn record(
    walker: &mut Walker<'_>,
    offset: u64,
    len: u64,
    fault: Option<String>,
    each: EachPiece<'_>,
) -> Result<Flow> {
    let bytes = walker.bytes_at(offset, len.min(HEAD_LEN_MAX))?;
    let Ok((head, value_len, value)) = record::parse_head(bytes) else {
        // It was another when it was checked.
        let what = "the bytes change while they are read";
        return Ok(each(Inspected::gap(offset, offset + len, what)));
    };
    let value_offset = offset + (bytes.len() - value.len()) as u64;
    let shown = usize::try_from(value_len).unwrap_or(usize::MAX).min(SHOWN_LEN);
    let value_start = value.get(..shown).unwrap_or(value);
    Ok(each(Inspected::Record {
        offset,
        len,
        flags: flag_names(head.flags),
        seq: head.seq,
        time_ms: head.time_ms,
        expires_ms: expiry(head.expires_ms),
        key: head.key,
        value_offset,
        value_len: value_len.into(),
        value_start,
        checksum: head.checksum,
        says: said(&Record { value: value_start, ..head }),
        fault,
    }))
}

fn expiry(expires_ms: u64) -> Option<u64> {
    (expires_ms != NEVER).then_some(expires_ms)
}

pub(crate) fn flag_names(flags: Flags) -> Vec<&'static str> {
    FLAG_NAMES.iter().filter(|(flag, _)| flags.has(*flag)).map(|(_, name)| *name).collect()
}

/// What a mark or frame says.
pub(crate) fn said(record: &Record<'_>) -> Option<String> {
    let said = if record.flags.has(Flags::MARK) {
        Mark::decode(record.value).map(|mark| {
            let durable = mark.durable;
            format!("durable {}@{}  digest {:08x}", durable.file_id, durable.offset, mark.digest)
        })
    } else if record.flags.has(Flags::FRAME) {
        Frame::decode(record.value)
            .map(|frame| format!("{} members, {} bytes", frame.count, frame.len))
    } else {
        return None;
    };
    Some(said.unwrap_or_else(|fault| fault.to_string()))
}

fn hint(file: &dyn File, path: &Path, start: &[u8], len: u64, each: EachPiece<'_>) -> Result<Flow> {
    let decoded = <&[u8; HINT_HEADER_LEN]>::try_from(start).ok().and_then(HintHeader::decode);
    let Some((header, crc)) = decoded else {
        // The checksums of the blocks start from that of the header.
        return Ok(each(Inspected::gap(0, len, "the header of the hint file is damaged")));
    };
    if each(shown_hint(&header)).is_break() {
        return Ok(ControlFlow::Break(()));
    }
    let claimed = header.block_count().saturating_mul(HINT_BLOCK_LEN as u64);
    let claimed = claimed.saturating_add(HINT_HEADER_LEN as u64);
    let mut from = HINT_HEADER_LEN as u64;
    let mut index = 0;
    while from < claimed.min(len) {
        let block = read(file, path, from, HINT_BLOCK_LEN)?;
        let to = from + block.len() as u64;
        let flow = match header.decode_block(crc, index, &block) {
            Some(mut entries) => entries.try_for_each(|entry| each(shown_entry(&entry))),
            None => each(Inspected::gap(from, to, "a block of the hint file is damaged")),
        };
        if flow.is_break() {
            return Ok(flow);
        }
        if block.is_empty() {
            break;
        }
        (from, index) = (to, index + 1);
    }
    if claimed == len {
        return Ok(ControlFlow::Continue(()));
    }
    let what = "the hint file has another length than its header says";
    Ok(each(Inspected::gap(claimed.min(len), claimed.max(len), what)))
}

fn shown_hint(header: &HintHeader) -> Inspected<'static> {
    let HintHeader { ended, seed, file_id, covered, count, seq_max, seq_min, digest, .. } = *header;
    Inspected::HintHeader { file_id, seed, covered, ended, digest, count, seq_min, seq_max }
}

fn shown_entry(entry: &hint::HintEntry) -> Inspected<'static> {
    let mut flags = vec![if entry.is_tombstone() { "tombstone" } else { "value" }];
    flags.extend(entry.collides().then_some("collides"));
    Inspected::HintEntry {
        hash: entry.hash,
        seq: entry.seq,
        offset: entry.offset(),
        len: entry.len(),
        flags,
        expires_ms: expiry(entry.expires_ms),
    }
}

fn dictionary(
    file: &dyn File,
    path: &Path,
    start: &[u8],
    len: u64,
    each: EachPiece<'_>,
) -> Result<Flow> {
    let len_max = DICTIONARY_HEADER_LEN + DICTIONARY_LEN_MAX;
    if len > len_max as u64 {
        return Ok(each(Inspected::gap(0, len, "the file is longer than any dictionary")));
    }
    let bytes = read(file, path, 0, len_max)?;
    let named = match path.file_name().map(Name::of) {
        Some(Name::Dictionary(id)) => Some(id),
        _ => start.get(12..16).and_then(|id| id.try_into().ok()).map(u32::from_le_bytes),
    };
    let id = named.unwrap_or_default();
    let piece = match DictionaryFile::decode(&bytes, id) {
        Ok(DictionaryFile { store_id, number, dictionary }) => {
            Inspected::Dictionary { id, number, store_id, len: dictionary.len() as u64 }
        }
        Err(DictionaryFault::Damaged(what)) => Inspected::gap(0, len, what),
        Err(DictionaryFault::Version(version)) => {
            let what =
                format!("the dictionary has version {version}, this program knows version 1");
            Inspected::gap(0, len, what)
        }
    };
    Ok(each(piece))
}
