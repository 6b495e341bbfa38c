//! A file as it is read: where we are in it, and the checksum of what was read.

use std::io::{self, BufRead, Read as _};
use std::path::{Path, PathBuf};

use super::{Error, Result};

/// Reads a file once, from its beginning to its end. Every error has the file's name and the offset.
#[derive(Debug)]
pub(super) struct Source<R> {
    file: PathBuf,
    inner: R,
    offset: u64,
    crc: u64,
    /// Whether anybody will ask for the checksum.
    summing: bool,
    ended_early: bool,
}

impl<R: BufRead> Source<R> {
    pub(super) fn new(file: &Path, inner: R) -> Self {
        Self { file: file.into(), inner, offset: 0, crc: 0, summing: false, ended_early: false }
    }

    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The CRC-64 of all that was read since [`Source::sum_from_here`].
    pub(super) fn crc(&self) -> u64 {
        self.crc
    }

    /// Begins the checksum with the bytes that come.
    pub(super) fn sum_from_here(&mut self) {
        (self.crc, self.summing) = (0, true);
    }

    /// Ends the checksum: nobody asks for that of commands.
    pub(super) fn sum_no_more(&mut self) {
        self.summing = false;
    }

    pub(super) fn damaged(&self, offset: u64, what: impl Into<String>) -> Error {
        Error::Damaged { file: self.file.clone(), offset, what: what.into() }
    }

    pub(super) fn unsupported(&self, offset: u64, what: impl Into<String>) -> Error {
        Error::Unsupported { file: self.file.clone(), offset, what: what.into() }
    }

    /// Whether an error said that the file ends where there must be more.
    pub(super) fn ended_early(&self) -> bool {
        self.ended_early
    }

    /// An error of the system, or the end of the file where there must be more.
    fn failed(&mut self, source: io::Error) -> Error {
        if source.kind() == io::ErrorKind::UnexpectedEof {
            self.ended_early = true;
            return self.damaged(self.offset, "the file ends too early");
        }
        Error::Io { file: self.file.clone(), offset: self.offset, source }
    }

    /// What is buffered, read anew if that is nothing: empty at the end of the file only.
    pub(super) fn peek(&mut self) -> Result<&[u8]> {
        loop {
            match self.inner.fill_buf() {
                Ok(_) => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.failed(e)),
            }
        }
        // Again, for the borrow above would outlive the loop. It is buffered, or the end.
        match self.inner.fill_buf() {
            Ok(bytes) => Ok(bytes),
            Err(source) => Err(Error::Io { file: self.file.clone(), offset: self.offset, source }),
        }
    }

    pub(super) fn is_at_end(&mut self) -> Result<bool> {
        Ok(self.peek()?.is_empty())
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        // One by one: those before the end of the file count, too.
        for byte in &mut bytes {
            let Some(next) = self.peek()?.first().copied() else {
                return Err(self.failed(io::ErrorKind::UnexpectedEof.into()));
            };
            self.inner.consume(1);
            self.passed(&[next]);
            *byte = next;
        }
        Ok(bytes)
    }

    pub(super) fn byte(&mut self) -> Result<u8> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    /// `len` bytes. Memory grows as they come, so a wrong length costs no more than the file has.
    pub(super) fn bytes(&mut self, len: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = self.inner.by_ref().take(len).read_to_end(&mut bytes);
        read.map_err(|e| self.failed(e))?;
        self.passed(&bytes);
        if u64::try_from(bytes.len()) != Ok(len) {
            return Err(self.failed(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(bytes)
    }

    pub(super) fn skip(&mut self, len: u64) -> Result<()> {
        if self.skip_up_to(len)? != len {
            return Err(self.failed(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(())
    }

    /// Goes to the end of the file, and says how far that was.
    pub(super) fn skip_rest(&mut self) -> Result<u64> {
        self.skip_up_to(u64::MAX)
    }

    fn skip_up_to(&mut self, len: u64) -> Result<u64> {
        let mut left = len;
        while left > 0 {
            let buffered = self.peek()?;
            let count = buffered.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            if count == 0 {
                break;
            }
            if self.summing {
                let crc = self.crc;
                self.crc = crc64(crc, self.peek()?.get(..count).unwrap_or_default());
            }
            self.inner.consume(count);
            self.offset += count as u64;
            left -= count as u64;
        }
        Ok(len - left)
    }

    /// A line without its end, of at most `max` bytes.
    pub(super) fn line(&mut self, max: u64) -> Result<Vec<u8>> {
        let begin = self.offset;
        let mut line = Vec::new();
        let read = self.inner.by_ref().take(max).read_until(b'\n', &mut line);
        read.map_err(|e| self.failed(e))?;
        self.passed(&line);
        if line.pop_if(|last| *last == b'\n').is_none() {
            if self.is_at_end()? {
                return Err(self.failed(io::ErrorKind::UnexpectedEof.into()));
            }
            return Err(self.damaged(begin, format!("a line of more than {max} bytes")));
        }
        // Lines that end without it are understood, too.
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(line)
    }

    fn passed(&mut self, bytes: &[u8]) {
        self.offset += bytes.len() as u64;
        if self.summing {
            self.crc = crc64(self.crc, bytes);
        }
    }
}

/// The polynomial of CRC-64/REDIS (Jones), its bits reversed.
const POLYNOMIAL: u64 = 0x95ac_9329_ac4b_c9b5;

const TABLE: [u64; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

/// Goes on with a checksum.
pub(super) fn crc64(crc: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(crc, |crc, byte| {
        let [low, ..] = crc.to_le_bytes();
        // In bounds: a byte has 256 values.
        TABLE[usize::from(low ^ byte)] ^ (crc >> 8)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check value that the sources of Redis give.
    #[test]
    fn the_checksum_is_that_of_redis() {
        assert_eq!(crc64(0, b"123456789"), 0xe9c6_d914_c4b8_d9ca);
        assert_eq!(crc64(crc64(0, b"1234"), b"56789"), 0xe9c6_d914_c4b8_d9ca);
    }

    fn source(bytes: &[u8]) -> Source<&[u8]> {
        Source::new(Path::new("f"), bytes)
    }

    #[test]
    fn skipping_and_reading_sum_alike() {
        let bytes = *b"123456789";
        let mut source = source(&bytes);
        source.sum_from_here();
        source.skip(3).unwrap();
        assert_eq!(source.byte().unwrap(), b'4');
        assert_eq!(source.bytes(2).unwrap(), b"56");
        source.skip(3).unwrap();
        assert_eq!((source.crc(), source.offset()), (0xe9c6_d914_c4b8_d9ca, 9));
        assert!(source.is_at_end().unwrap());
    }

    #[test]
    fn the_end_of_the_file_is_named() {
        let too_early = |result: Result<()>| {
            let error = result.unwrap_err().to_string();
            assert_eq!(error, "damaged: f at offset 3: the file ends too early");
        };
        too_early(source(b"123").bytes(u64::MAX).map(drop));
        too_early(source(b"123").skip(u64::MAX));
        too_early(source(b"123").line(9).map(drop));
    }

    #[test]
    fn lines_end_with_a_line_feed_and_are_short() {
        assert_eq!(source(b"ab\r\nc").line(9).unwrap(), b"ab");
        assert_eq!(source(b"ab\nc").line(9).unwrap(), b"ab");
        let error = source(b"abcdef\n").line(4).unwrap_err().to_string();
        assert_eq!(error, "damaged: f at offset 0: a line of more than 4 bytes");
    }
}
