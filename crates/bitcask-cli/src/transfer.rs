//! Entries as a stream of bytes and back: what `bitcask export` writes and `bitcask import` reads.
//!
//! `jsonl` and `csv` are for people and other programs, `binary` is the small and quick one that tells damage.
//! Nothing here knows a store; a stream comes from strangers. So a line that cannot be taken is handed to the caller
//! with its reason, and what follows it is read; and memory grows with the bytes that come, up to a limit.

mod binary;
mod csv;
#[cfg(test)]
mod fuzz;
mod jsonl;
mod source;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, BufRead, BufWriter, Write};

use bitcask::{ErrorKind, KEY_LEN_MAX, VALUE_LEN_MAX};
use clap::ValueEnum;

use crate::text::Encoding;
use source::Source;

/// No line is longer: the longest value has 5.4 GiB in base64. Other encodings can make a line of it that is longer,
/// and such a line is not written.
const LINE_LEN_MAX: u64 = 6 << 30;

/// How much is gathered before it is written.
const BUFFER_LEN: usize = 64 << 10;

/// How entries are written one behind the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A JSON object a line: {"key":"...","value":"...","expires_ms":1234}
    Jsonl,
    /// A header of key,value,expires_ms and a row for each key
    Csv,
    /// Keys and values as they are, with checksums
    Binary,
}

/// A key and what is stored under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
    /// Milliseconds since 1970; none: never.
    pub(crate) expires_ms: Option<u64>,
}

impl Entry {
    /// The entry if a store can have it, or why it cannot.
    fn checked(mut self) -> Result<Self, String> {
        check_lens(len(&self.key), len(&self.value))?;
        // The store's own word for never.
        self.expires_ms = self.expires_ms.filter(|&ms| ms != u64::MAX);
        Ok(self)
    }
}

fn check_lens(key_len: u64, value_len: u64) -> Result<(), String> {
    if key_len > as_u64(KEY_LEN_MAX) {
        return Err(format!("the key has {key_len} bytes, at most {KEY_LEN_MAX} are possible"));
    }
    if value_len > VALUE_LEN_MAX {
        return Err(format!(
            "the value has {value_len} bytes, at most {VALUE_LEN_MAX} are possible"
        ));
    }
    Ok(())
}

fn len(bytes: &[u8]) -> u64 {
    as_u64(bytes.len())
}

fn as_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// Writes entries to a stream.
pub(crate) trait Writer {
    fn write(&mut self, entry: &Entry) -> io::Result<()>;

    /// Writes what belongs at the end, and all that is buffered. Without it the stream is cut.
    fn finish(&mut self) -> io::Result<()>;
}

/// Writes to `out`, in large pieces: it needs no buffer of its own. `binary` needs no encoding.
pub(crate) fn writer(format: Format, encoding: Encoding, out: Box<dyn Write>) -> Box<dyn Writer> {
    match format {
        Format::Jsonl => {
            let out = BufWriter::with_capacity(BUFFER_LEN, out);
            Box::new(jsonl::Jsonl::new(encoding, out))
        }
        Format::Csv => Box::new(csv::Csv::new(encoding, out)),
        Format::Binary => {
            let out = BufWriter::with_capacity(BUFFER_LEN, out);
            Box::new(binary::Binary::new(out))
        }
    }
}

/// Refuses a line that no reader would take.
fn check_line(line_len: u64) -> io::Result<()> {
    if line_len <= LINE_LEN_MAX {
        return Ok(());
    }
    let what = format!(
        "a value whose line would have {line_len} bytes, over {LINE_LEN_MAX}: base64 or the binary format takes it"
    );
    Err(io::Error::new(io::ErrorKind::InvalidInput, what))
}

/// What a stream has next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Entry(Entry),
    /// A line that is no entry.
    Rejected {
        /// Where it begins: `line 17`.
        place: String,
        what: String,
        /// The line with its end, for the caller to keep. Of one that is over the limit only the start.
        raw: Vec<u8>,
    },
}

/// Where a reader is, so that another can go on from there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    /// Bytes from the beginning of the stream.
    pub(crate) offset: u64,
    /// Lines, or records of the binary format, before it.
    pub(crate) line: u64,
    /// The header line of csv, for it says what the columns are; otherwise empty.
    pub(crate) header: String,
}

/// Reads entries from a stream.
pub(crate) trait Reader {
    /// What comes next; nothing at the end. Behind an error there is nothing more to read.
    fn next(&mut self) -> Result<Option<Item>, ReadError>;

    /// Behind the item that was given last. After an error, where the stream could not be followed.
    fn position(&self) -> &Position;
}

/// Reads from `input`, which is at the `start`: the default of it is the beginning. A reader goes on where another
/// was if it gets the other's position, and an input that was moved to the position's offset.
pub(crate) fn reader(
    format: Format,
    encoding: Encoding,
    input: Box<dyn BufRead>,
    start: Position,
) -> Result<Box<dyn Reader>, ReadError> {
    let source = Source::open(input, start, format)?;
    Ok(match format {
        Format::Jsonl => Box::new(jsonl::Lines::new(encoding, source)),
        Format::Csv => Box::new(csv::Rows::new(encoding, source)?),
        Format::Binary => Box::new(binary::Records::new(source)?),
    })
}

/// Why a stream cannot be read on. What was read until then stands.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// It is not of this format, or broken so that nobody knows where the next record begins.
    Damaged { offset: u64, what: String },
    /// It is of a newer version of the format.
    Unsupported { offset: u64, what: String },
    /// The operating system refused.
    Io { offset: u64, source: io::Error },
}

impl ReadError {
    /// What the caller can do about it.
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::Damaged { .. } => ErrorKind::Corrupt,
            Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::Io { .. } => ErrorKind::Io,
        }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged { offset, what } => {
                write!(f, "cannot be read at offset {offset}: {what}")
            }
            Self::Unsupported { offset, what } => {
                write!(f, "not supported at offset {offset}: {what}")
            }
            Self::Io { offset, .. } => write!(f, "cannot read at offset {offset}"),
        }
    }
}

impl std::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Damaged { .. } | Self::Unsupported { .. } => None,
        }
    }
}
