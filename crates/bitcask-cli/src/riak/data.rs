//! A data file: records back to back, and the search for the next one behind damage.
//!
//! Nothing marks where a record begins, so behind a damaged one every byte is tried. A stretch of any length is
//! checked at the price of a short one, by [CRCs of what lies before it](crc::between), so that garbage
//! that claims large lengths costs no more than other garbage.

use std::fs::File;
use std::io;
use std::path::Path;
use std::rc::Rc;

use super::crc;
use super::record::{HEADER_LEN, HEADER_LEN_U64, Header, Record};
use super::window::Window;

/// What is read at a time, and up to what length a record is read before it is known to check out.
const BUFFER_LEN: usize = 1 << 20;

/// The first piece of a search, which usually ends soon.
const PIECE_LEN_MIN: usize = 1 << 12;

/// Of this many bytes the CRC is always known in advance, or of more: at most [`SUMS_MAX`] CRCs are kept.
const BLOCK_LEN_MIN: u64 = 1 << 10;
const SUMS_MAX: u64 = 1 << 22;

/// A claim this short is checked where it is seen.
const SHORT_LEN: u64 = 64;

/// So many places may be tried before one that checks out is no longer believed by its CRC alone: then what
/// follows it must check out, too.
const TRIES_MAX: u64 = 1 << 22;

#[derive(Debug)]
pub(super) struct DataFile {
    /// Where records are read one after the other.
    window: Window,
    /// Where something is looked up ahead, which must not cost the window what it has read.
    scout: Window,
    sums: Option<Sums>,
    tries: u64,
}

/// The register of the CRC at every `block_len`-th byte from `begin`, where it starts.
#[derive(Debug)]
struct Sums {
    begin: u64,
    block_len: u64,
    registers: Vec<u32>,
    tails: Window,
}

impl DataFile {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        let window = Window::new(Rc::new(file), len, BUFFER_LEN);
        let scout = window.another(PIECE_LEN_MIN);
        Ok(Self { window, scout, sums: None, tries: 0 })
    }

    pub(super) fn len(&self) -> u64 {
        self.window.len()
    }

    /// What would be the header of a record here.
    pub(super) fn header_at(&mut self, at: u64) -> io::Result<Option<Header>> {
        Ok(self.scout.bytes(at, HEADER_LEN)?.and_then(Header::parse))
    }

    /// What would be the key of a record here, if the file has it.
    pub(super) fn key_at(&mut self, at: u64, header: Header) -> io::Result<Option<Vec<u8>>> {
        let key =
            self.scout.bytes(at.saturating_add(HEADER_LEN_U64), usize::from(header.key_len))?;
        Ok(key.map(<[u8]>::to_vec))
    }

    /// The record here, if one checks out.
    pub(super) fn record_at(&mut self, at: u64) -> io::Result<Option<Record>> {
        let header = self.window.bytes(at, HEADER_LEN)?.and_then(Header::parse);
        let Some(header) = header else { return Ok(None) };
        match usize::try_from(header.total_len()) {
            Ok(len) if len <= BUFFER_LEN => {
                Ok(self.window.bytes(at, len)?.and_then(|bytes| Record::parse(at, bytes)))
            }
            _ => self.large_record_at(at, header),
        }
    }

    /// Memory is taken for a large value only after it is known to be one.
    fn large_record_at(&mut self, at: u64, header: Header) -> io::Result<Option<Record>> {
        let end = at.saturating_add(header.total_len());
        let (Ok(value_len), true) = (usize::try_from(header.value_len), end <= self.len()) else {
            return Ok(None);
        };
        let mut register = crc::START;
        let feed = |bytes: &[u8]| register = crc::feed(register, bytes);
        self.window.pieces(at.saturating_add(4), end, BUFFER_LEN, feed)?;
        if crc::finish(register) != header.crc {
            return Ok(None);
        }
        let Some(key) = self.key_at(at, header)? else { return Ok(None) };
        let mut value = Vec::with_capacity(value_len);
        let value_at = end - u64::from(header.value_len);
        self.window.pieces(value_at, end, BUFFER_LEN, |bytes| value.extend_from_slice(bytes))?;
        Ok(Some(Record { offset: at, tstamp: header.tstamp, key, value }))
    }

    /// Where the next record begins, behind a place that does not check out and before `limit`; else `limit`.
    ///
    /// If what the damaged record claims to be its end is confirmed by a record there, then what checks out before it is
    /// part of its value and stays there: values may hold anything. Unless its length itself was the damage.
    pub(super) fn resync(&mut self, damaged: u64, limit: u64) -> io::Result<u64> {
        self.sum_up(damaged)?;
        let claimed = self.claimed_end(damaged)?.filter(|end| *end <= limit);
        let confirmed = match claimed {
            Some(end) if end == limit || self.checks_out(end)? => end,
            _ => return Ok(self.search(damaged.saturating_add(1), limit)?.unwrap_or(limit)),
        };
        match self.search(damaged.saturating_add(1), confirmed)? {
            Some(found) if self.length_was_damaged(damaged, found)? => Ok(found),
            _ => Ok(confirmed),
        }
    }

    fn claimed_end(&mut self, at: u64) -> io::Result<Option<u64>> {
        let header = self.header_at(at)?;
        Ok(header.map(|header| at.saturating_add(header.total_len())))
    }

    /// Whether the damaged record checks out once a length of its header is mended so that it ends here.
    pub(super) fn length_was_damaged(&mut self, damaged: u64, end: u64) -> io::Result<bool> {
        self.sum_up(damaged)?;
        let Some(header) = self.header_at(damaged)? else { return Ok(false) };
        let Some(body_len) = (end - damaged).checked_sub(HEADER_LEN_U64) else { return Ok(false) };
        let key_len = body_len.checked_sub(u64::from(header.value_len)).map(u16::try_from);
        let value_len = body_len.checked_sub(u64::from(header.key_len)).map(u32::try_from);
        let body = self.register_at(damaged.saturating_add(HEADER_LEN_U64))?;
        let after = self.register_at(end)?;
        let checks = |mended: Header| {
            let mut fields = mended.tstamp.to_be_bytes().to_vec();
            fields.extend(mended.key_len.to_be_bytes());
            fields.extend(mended.value_len.to_be_bytes());
            crc::joined(&fields, body, after, body_len) == header.crc
        };
        Ok(matches!(key_len, Some(Ok(key_len)) if checks(Header { key_len, ..header }))
            || matches!(value_len, Some(Ok(value_len)) if checks(Header { value_len, ..header })))
    }

    /// Whether a record checks out here, at the same price for any length.
    pub(super) fn checks_out(&mut self, at: u64) -> io::Result<bool> {
        let Some(header) = self.header_at(at)? else { return Ok(false) };
        let end = at.saturating_add(header.total_len());
        if end > self.len() {
            return Ok(false);
        }
        self.sum_up(at)?;
        let before = self.register_at(at.saturating_add(4))?;
        let after = self.register_at(end)?;
        Ok(crc::between(before, after, header.total_len() - 4) == header.crc)
    }

    /// The first place from here on where a record checks out that ends at the limit or before.
    fn search(&mut self, from: u64, limit: u64) -> io::Result<Option<u64>> {
        let mut at = from;
        let mut piece_max = PIECE_LEN_MIN;
        while at.saturating_add(HEADER_LEN_U64) <= limit {
            let piece = usize::try_from(limit - at).unwrap_or(usize::MAX).min(piece_max);
            piece_max = piece_max.saturating_mul(2).min(BUFFER_LEN);
            // A copy: the checks move the window.
            let Some(bytes) = self.scout.bytes(at, piece)?.map(<[u8]>::to_vec) else { break };
            if let Some(found) = self.search_piece(at, limit, &bytes)? {
                return Ok(Some(found));
            }
            at += u64::try_from(piece - HEADER_LEN + 1).unwrap_or(u64::MAX);
        }
        Ok(None)
    }

    fn search_piece(&mut self, begin: u64, limit: u64, bytes: &[u8]) -> io::Result<Option<u64>> {
        let mut before = self.register_at(begin.saturating_add(4))?;
        for (at, header_bytes) in (begin..).zip(bytes.windows(HEADER_LEN)) {
            let Some(header) = Header::parse(header_bytes) else { break };
            let total_len = header.total_len();
            let end = at.saturating_add(total_len);
            if end <= limit
                && self.claim_holds(at, header, before, bytes.get(from_begin(at, begin)..))?
            {
                let alone = end != self.len() && self.tries > TRIES_MAX && !self.checks_out(end)?;
                if !alone {
                    return Ok(Some(at));
                }
            }
            before = crc::step(before, header_bytes.get(4).copied().unwrap_or(0));
        }
        Ok(None)
    }

    fn claim_holds(
        &mut self,
        at: u64,
        header: Header,
        before: u32,
        bytes: Option<&[u8]>,
    ) -> io::Result<bool> {
        let total_len = header.total_len();
        if header == Header::default() {
            // Zeros are the commonest garbage, and never a record: the CRC of zeros is not zero.
            return Ok(false);
        }
        self.tries += 1;
        if total_len <= SHORT_LEN
            && let Some(covered) = bytes.and_then(|b| b.get(4..usize::try_from(total_len).ok()?))
        {
            return Ok(crc::of(covered) == header.crc);
        }
        let after = self.register_at(at.saturating_add(total_len))?;
        Ok(crc::between(before, after, total_len - 4) == header.crc)
    }

    /// Makes [`register_at`](Self::register_at) work from here on.
    fn sum_up(&mut self, begin: u64) -> io::Result<()> {
        if self.sums.as_ref().is_some_and(|sums| sums.begin <= begin) {
            return Ok(());
        }
        let len = self.len() - begin;
        let block_len = BLOCK_LEN_MIN.max((len / SUMS_MAX).next_power_of_two());
        let piece = usize::try_from(block_len).unwrap_or(usize::MAX);
        let mut registers = vec![crc::START];
        let mut register = crc::START;
        let mut reader = self.window.another(BUFFER_LEN.max(piece));
        reader.pieces(begin, self.len(), piece, |bytes| {
            register = crc::feed(register, bytes);
            registers.push(register);
        })?;
        let tails = self.window.another(piece);
        self.sums = Some(Sums { begin, block_len, registers, tails });
        Ok(())
    }

    /// The register at this offset, which the file has.
    fn register_at(&mut self, at: u64) -> io::Result<u32> {
        let Some(sums) = self.sums.as_mut() else { return Ok(crc::START) };
        let len = at.saturating_sub(sums.begin);
        let (block, tail) = (len / sums.block_len, len % sums.block_len);
        let block = usize::try_from(block).unwrap_or(usize::MAX);
        let register = sums.registers.get(block).copied().unwrap_or(crc::START);
        let tail_len = usize::try_from(tail).unwrap_or(usize::MAX);
        let bytes = sums.tails.bytes(at - tail, tail_len)?.unwrap_or_default();
        Ok(crc::feed(register, bytes))
    }
}

fn from_begin(at: u64, begin: u64) -> usize {
    usize::try_from(at - begin).unwrap_or(usize::MAX)
}
