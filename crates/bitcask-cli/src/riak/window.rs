//! A file seen through a buffer: what lies in a row is read in large pieces, and nothing is allocated for a length that
//! the file does not have.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::rc::Rc;

#[derive(Clone, Debug)]
pub(super) struct Window {
    file: Rc<File>,
    /// The length of the file when it was opened.
    len: u64,
    buffer: Vec<u8>,
    /// Where in the file the buffer begins.
    begin: u64,
    buffer_len: usize,
}

impl Window {
    pub(super) fn new(file: Rc<File>, len: u64, buffer_len: usize) -> Self {
        Self { file, len, buffer: Vec::new(), begin: 0, buffer_len }
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Another window on the same file.
    pub(super) fn another(&self, buffer_len: usize) -> Self {
        Self::new(Rc::clone(&self.file), self.len, buffer_len)
    }

    /// These bytes of the file; none if it does not have them all.
    pub(super) fn bytes(&mut self, at: u64, len: usize) -> io::Result<Option<&[u8]>> {
        let wanted = u64::try_from(len).unwrap_or(u64::MAX);
        let Some(left) = self.len.checked_sub(at).filter(|left| *left >= wanted) else {
            return Ok(None);
        };
        let buffered = u64::try_from(self.buffer.len()).unwrap_or(0);
        let inside = at >= self.begin && at - self.begin + wanted <= buffered;
        if !inside {
            let piece = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer_len.max(len));
            self.buffer.clear();
            self.buffer.resize(piece, 0);
            let read = self.file.read_exact_at(&mut self.buffer, at);
            if read.is_err() {
                self.buffer.clear();
            }
            read?;
            self.begin = at;
        }
        let from = usize::try_from(at - self.begin).unwrap_or(usize::MAX);
        Ok(self.buffer.get(from..).and_then(|rest| rest.get(..len)))
    }

    /// Calls `each` with all bytes from one offset to another, in pieces. The file must have them.
    pub(super) fn pieces(
        &mut self,
        from: u64,
        to: u64,
        piece_len: usize,
        mut each: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        let mut at = from;
        while at < to {
            let piece = usize::try_from(to - at).unwrap_or(usize::MAX).min(piece_len);
            let Some(bytes) = self.bytes(at, piece)? else {
                return Err(io::ErrorKind::UnexpectedEof.into());
            };
            each(bytes);
            at += u64::try_from(piece).unwrap_or(u64::MAX);
        }
        Ok(())
    }
}
