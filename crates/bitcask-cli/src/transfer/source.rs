//! A stream as it is read: where we are in it, and how a line is taken from it without more memory than is allowed.

use std::io::{self, BufRead, Cursor, Read as _};

use super::{Format, Item, LINE_LEN_MAX, Position, ReadError, binary, len};

/// What UTF-8 files of some systems begin with.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// How much of a line is kept that is over the limit.
const START_LEN: usize = 64 << 10;

/// How much memory is kept from a line for the next.
const KEPT_LEN: usize = 1 << 20;

/// Reads a stream once. Every error has the offset.
pub(super) struct Source {
    input: Box<dyn BufRead>,
    /// Everything before it was given.
    pub(super) position: Position,
    /// Whether it began at the beginning of the stream, and not where another reader was.
    pub(super) at_beginning: bool,
    /// Nobody knows what of a line was read before an error: its rest must not be taken for a line.
    broken: bool,
    /// No longer line is read into memory.
    pub(super) line_len_max: u64,
}

/// A line that was read, or a few where a quote joins them. Its bytes are in the caller's buffer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    /// The number of its first line.
    number: u64,
    /// How long it was. There are fewer bytes in the buffer if that is over the limit.
    len: u64,
}

impl Source {
    /// At the beginning, a byte order mark of text is passed over.
    pub(super) fn open(
        input: Box<dyn BufRead>,
        position: Position,
        format: Format,
    ) -> Result<Self, ReadError> {
        let at_beginning = position.offset == 0;
        let line_len_max = LINE_LEN_MAX;
        let mut source = Self { input, position, at_beginning, broken: false, line_len_max };
        if at_beginning && format != Format::Binary {
            source.begin_text()?;
        }
        Ok(source)
    }

    fn begin_text(&mut self) -> Result<(), ReadError> {
        let mut start = Vec::new();
        let magic_len = len(binary::MAGIC);
        let read = self.input.by_ref().take(magic_len).read_to_end(&mut start);
        read.map_err(|e| self.failed(e))?;
        if start == binary::MAGIC {
            return Err(self.damaged("this is a stream of the binary format"));
        }
        if start.starts_with(BOM) {
            start.drain(..BOM.len());
            self.position.offset = len(BOM);
        }
        let rest = std::mem::replace(&mut self.input, Box::new(io::empty()));
        self.input = Box::new(Cursor::new(start).chain(rest));
        Ok(())
    }

    pub(super) fn damaged(&self, what: impl Into<String>) -> ReadError {
        ReadError::Damaged { offset: self.position.offset, what: what.into() }
    }

    pub(super) fn unsupported(&self, what: impl Into<String>) -> ReadError {
        ReadError::Unsupported { offset: self.position.offset, what: what.into() }
    }

    fn failed(&mut self, source: io::Error) -> ReadError {
        self.broken = true;
        ReadError::Io { offset: self.position.offset, source }
    }

    /// Fills `bytes` as far as there are any, and says how far. The position stays: the caller knows when a record
    /// is complete.
    pub(super) fn fill(&mut self, bytes: &mut [u8]) -> Result<usize, ReadError> {
        let mut filled = 0;
        while let Some(room) = bytes.get_mut(filled..).filter(|room| !room.is_empty()) {
            match self.input.read(room) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.failed(e)),
            }
        }
        Ok(filled)
    }

    /// As many of `len` bytes as there are. Memory grows as they come, so a wrong length costs no more than the
    /// stream has. The position stays, too.
    pub(super) fn bytes(&mut self, len: u64) -> Result<Vec<u8>, ReadError> {
        let sure = usize::try_from(len).unwrap_or(usize::MAX).min(START_LEN);
        let mut bytes = Vec::with_capacity(sure);
        let read = self.input.by_ref().take(len).read_to_end(&mut bytes);
        read.map_err(|e| self.failed(e))?;
        Ok(bytes)
    }

    /// The next line, with its end. `end` is asked for every piece where the line ends in it: behind which byte.
    pub(super) fn line(
        &mut self,
        into: &mut Vec<u8>,
        mut end: impl FnMut(&[u8]) -> Option<usize>,
    ) -> Result<Option<Line>, ReadError> {
        if self.broken {
            return Err(self.damaged("what is behind an error cannot be read"));
        }
        into.clear();
        into.shrink_to(KEPT_LEN);
        let mut line = Line { number: self.position.line.saturating_add(1), len: 0 };
        let mut feeds = 0_u64;
        let (mut ended, mut at_feed) = (false, true);
        while !ended {
            let piece = match self.input.fill_buf() {
                Ok([]) => break,
                Ok(piece) => piece,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(self.failed(e)),
            };
            let found = end(piece);
            ended = found.is_some();
            let (piece, _) =
                piece.split_at_checked(found.unwrap_or(piece.len())).unwrap_or((piece, &[]));
            line.len = line.len.saturating_add(len(piece));
            feeds = feeds.saturating_add(count_feeds(piece));
            at_feed = piece.ends_with(b"\n");
            if line.len <= self.line_len_max {
                into.extend_from_slice(piece);
            } else {
                keep_start(into, piece);
            }
            let piece_len = piece.len();
            self.input.consume(piece_len);
        }
        if line.len == 0 {
            return Ok(None);
        }
        self.position.offset = self.position.offset.saturating_add(line.len);
        self.position.line = self.position.line.saturating_add(feeds + u64::from(!at_feed));
        Ok(Some(line))
    }

    /// Why a line was not read into memory as a whole, if so.
    pub(super) fn check(&self, line: Line) -> Result<(), String> {
        if line.len <= self.line_len_max {
            return Ok(());
        }
        Err(format!(
            "it has {} bytes, at most {} are possible; only its start is kept",
            line.len, self.line_len_max
        ))
    }
}

impl Line {
    pub(super) fn rejected(self, what: String, raw: &mut Vec<u8>) -> Item {
        Item::Rejected { place: format!("line {}", self.number), what, raw: std::mem::take(raw) }
    }
}

fn keep_start(into: &mut Vec<u8>, piece: &[u8]) {
    into.truncate(START_LEN);
    into.shrink_to(START_LEN);
    let room = START_LEN.saturating_sub(into.len());
    into.extend(piece.iter().take(room));
}

fn count_feeds(bytes: &[u8]) -> u64 {
    bytes.iter().map(|&byte| u64::from(byte == b'\n')).sum()
}

/// The line without its end.
pub(super) fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}
