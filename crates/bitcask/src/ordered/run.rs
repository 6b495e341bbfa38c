//! A run of keys in order, in one buffer.
//!
//! What all keys begin with is there once; the next four bytes of each, its *head*, stand together, as a search
//! looks at little else; what remains of each, its *tail*, comes last:
//!
//! ```text
//!   | prefix | head 0 | head 1 | .. | length 0 | length 1 | .. | tail 0 | tail 1 | .. |
//! ```
//!
//! A head is a number that compares as its bytes do, with zeros behind a key that has fewer. The length is that of
//! head and tail together, so it tells `a` from `a\0`; it takes one byte, or two in a *wide* run, in which some
//! key goes on for more than 255 bytes behind the prefix. Where a tail is, is the sum of the lengths before
//! it. So a key costs its own bytes and one, less what it shares.

use std::cmp::Ordering;
use std::ops::Range;

use super::list::KeyList;
use crate::fs::prefetch_address;

const HEAD_LEN: usize = size_of::<u32>();
const CACHE_LINE: usize = 64;
/// The processor sees a long move coming by itself.
const PREFETCH_MAX: usize = 4096;
/// Of its length, what a buffer gets on top when it grows: one part in this many, but not more for each key than this.
const SLACK_PARTS: usize = 8;
const SLACK_OF_KEY: usize = 8;

/// Keys in order, each once.
#[derive(Debug)]
pub(super) struct KeyRun {
    bytes: Vec<u8>,
    prefix_len: u16,
    count: u16,
    wide: bool,
}

/// How many bytes two keys begin with in common.
pub(super) fn common_len(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

fn head_of(rest: &[u8]) -> u32 {
    match rest.first_chunk() {
        Some(head) => u32::from_be_bytes(*head),
        None => rest.iter().zip([24, 16, 8]).fold(0, |head, (&b, by)| head | u32::from(b) << by),
    }
}

fn tail_of(rest: &[u8]) -> &[u8] {
    rest.get(HEAD_LEN..).unwrap_or_default()
}

impl KeyRun {
    pub(super) const EMPTY: Self = Self { bytes: Vec::new(), prefix_len: 0, count: 0, wide: false };

    /// Of keys in ascending order. No room to spare.
    pub(super) fn of(keys: &KeyList, range: Range<usize>) -> Self {
        let Some(last) = range.end.checked_sub(1).filter(|&last| range.start <= last) else {
            return Self::EMPTY;
        };
        let ends = [range.start, last].map(|at| keys.get(at).expect("the range is in the list"));
        let prefix_len = common_len(ends[0], ends[1]);
        let rests = || keys.range(range.clone()).map(|key| &key[prefix_len..]);
        let wide = rests().any(|rest| u8::try_from(rest.len()).is_err());
        let tails_len: usize = rests().map(|rest| tail_of(rest).len()).sum();
        let entry_len = HEAD_LEN + if wide { 2 } else { 1 };
        let mut bytes = Vec::with_capacity(prefix_len + range.len() * entry_len + tails_len);
        bytes.extend_from_slice(&ends[0][..prefix_len]);
        rests().for_each(|rest| bytes.extend(head_of(rest).to_le_bytes()));
        rests().for_each(|rest| {
            let length = length(rest);
            bytes.extend_from_slice(&length.to_le_bytes()[..if wide { 2 } else { 1 }]);
        });
        rests().for_each(|rest| bytes.extend_from_slice(tail_of(rest)));
        let prefix_len = u16::try_from(prefix_len).expect("a key has at most 65535 bytes");
        let count = u16::try_from(range.len()).expect("a run is divided long before");
        Self { bytes, prefix_len, count, wide }
    }

    /// Some of its keys, as a run of their own. No room to spare.
    pub(super) fn part(&self, range: Range<usize>) -> Self {
        let common = self.common_in_heads(range.start, range.end - 1);
        if common > 0 || self.wide {
            // A longer prefix, or perhaps one byte for each length.
            let mut keys = KeyList::new();
            self.list(range, &mut keys);
            return Self::of(&keys, 0..keys.len());
        }
        let width = self.length_width();
        let tails = self.tails_start() + self.tails_len(0..range.start);
        let tails = tails..tails + self.tails_len(range.clone());
        let parts = [
            self.prefix(),
            self.heads()[range.clone()].as_flattened(),
            &self.lengths()[range.start * width..range.end * width],
            &self.bytes[tails],
        ];
        let count = u16::try_from(range.len()).expect("not more than all");
        Self { bytes: parts.concat(), prefix_len: self.prefix_len, count, wide: self.wide }
    }

    /// How many bytes of their heads two keys have in common.
    pub(super) fn common_in_heads(&self, a: usize, b: usize) -> u32 {
        let [a, b] = [a, b].map(|at| u32::from_le_bytes(self.heads()[at]));
        (a ^ b).leading_zeros() / u8::BITS
    }

    pub(super) fn len(&self) -> usize {
        usize::from(self.count)
    }

    /// Bytes in use.
    pub(super) fn bytes_len(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes that its keys would take one by one, or somewhat more.
    pub(super) fn plain_len(&self) -> usize {
        self.len() * (self.prefix().len() + HEAD_LEN) + self.bytes.len() - self.tails_start()
    }

    /// Bytes taken from the allocator.
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    fn prefix(&self) -> &[u8] {
        &self.bytes[..usize::from(self.prefix_len)]
    }

    fn length_width(&self) -> usize {
        if self.wide { 2 } else { 1 }
    }

    fn lengths_start(&self) -> usize {
        usize::from(self.prefix_len) + self.len() * HEAD_LEN
    }

    fn tails_start(&self) -> usize {
        self.lengths_start() + self.len() * self.length_width()
    }

    fn heads(&self) -> &[[u8; HEAD_LEN]] {
        self.bytes[usize::from(self.prefix_len)..self.lengths_start()].as_chunks().0
    }

    fn lengths(&self) -> &[u8] {
        &self.bytes[self.lengths_start()..self.tails_start()]
    }

    /// Length of head and tail of a key.
    fn length(&self, at: usize) -> usize {
        let lengths = self.lengths();
        if self.wide {
            usize::from(u16::from_le_bytes([lengths[at * 2], lengths[at * 2 + 1]]))
        } else {
            usize::from(lengths[at])
        }
    }

    /// What the tails of these keys take together.
    fn tails_len(&self, range: Range<usize>) -> usize {
        if self.wide {
            let (lengths, _) = self.lengths()[range.start * 2..range.end * 2].as_chunks();
            let tail = |&length| usize::from(u16::from_le_bytes(length)).saturating_sub(HEAD_LEN);
            lengths.iter().map(tail).sum()
        } else {
            let lengths = &self.lengths()[range];
            let sum: u32 = lengths.iter().map(|&len| u32::from(len.saturating_sub(4))).sum();
            sum as usize
        }
    }

    /// Starts the cache misses of a search.
    #[cfg(test)]
    pub(super) fn prefetch_search(&self) {
        self.prefetch(self.tails_start());
    }

    /// Starts the cache misses of a change, which moves much of the buffer.
    pub(super) fn prefetch_change(&self) {
        self.prefetch(self.bytes.len().min(PREFETCH_MAX));
    }

    fn prefetch(&self, len: usize) {
        let start = self.bytes.as_ptr().addr();
        for offset in (0..len).step_by(CACHE_LINE) {
            prefetch_address(start + offset);
        }
    }

    /// Where a key is, or else where it would be.
    pub(super) fn search(&self, key: &[u8]) -> Result<usize, usize> {
        let Some(rest) = key.strip_prefix(self.prefix()) else {
            return Err(if key < self.prefix() { 0 } else { self.len() });
        };
        let (head, heads) = (head_of(rest), self.heads());
        let less = |other: &[u8; HEAD_LEN]| u32::from_le_bytes(*other) < head;
        // Counting looks at all heads, but waits for none; it is the faster one unless they are many.
        let from = heads.iter().map(|other| u16::from(less(other))).sum::<u16>();
        let from = usize::from(from);
        let same = |other: &&[u8; HEAD_LEN]| u32::from_le_bytes(**other) == head;
        let same = heads[from..].iter().take_while(same).count();
        if same == 0 { Err(from) } else { self.search_same(rest, from..from + same) }
    }

    /// The same among keys with the same head.
    #[inline]
    fn search_same(&self, rest: &[u8], within: Range<usize>) -> Result<usize, usize> {
        let Range { mut start, mut end } = within;
        let mut start_tail = self.tails_start() + self.tails_len(0..start);
        while start < end {
            let middle = usize::midpoint(start, end);
            let tail = start_tail + self.tails_len(start..middle);
            let length = self.length(middle);
            let after = tail + length.saturating_sub(HEAD_LEN);
            // One that ends within the head is the beginning of the other.
            let order = if length.min(rest.len()) <= HEAD_LEN {
                length.cmp(&rest.len())
            } else {
                self.bytes[tail..after].cmp(tail_of(rest))
            };
            match order {
                Ordering::Less => (start, start_tail) = (middle + 1, after),
                Ordering::Equal => return Ok(middle),
                Ordering::Greater => end = middle,
            }
        }
        Err(start)
    }

    /// Adds a key at the place that `search` gave for it.
    pub(super) fn insert(&mut self, at: usize, key: &[u8]) {
        let fits = |rest: &[u8]| self.wide || u8::try_from(rest.len()).is_ok();
        match key.strip_prefix(self.prefix()) {
            Some(rest) if self.count > 0 && fits(rest) => self.insert_rest(at, rest),
            _ => self.insert_anew(at, key),
        }
    }

    /// Moves what is in the buffer, from the back, and fills the gaps.
    fn insert_rest(&mut self, at: usize, rest: &[u8]) {
        let (width, tail) = (self.length_width(), tail_of(rest));
        let old_len = self.bytes.len();
        let head_at = usize::from(self.prefix_len) + at * HEAD_LEN;
        let length_at = self.lengths_start() + at * width;
        let tail_at = self.tails_start() + self.tails_len(0..at);
        self.grow(HEAD_LEN + width + tail.len());

        let bytes = &mut self.bytes;
        bytes.copy_within(tail_at..old_len, tail_at + HEAD_LEN + width + tail.len());
        bytes[tail_at + HEAD_LEN + width..][..tail.len()].copy_from_slice(tail);
        bytes.copy_within(length_at..tail_at, length_at + HEAD_LEN + width);
        bytes[length_at + HEAD_LEN..][..width]
            .copy_from_slice(&length(rest).to_le_bytes()[..width]);
        bytes.copy_within(head_at..length_at, head_at + HEAD_LEN);
        bytes[head_at..][..HEAD_LEN].copy_from_slice(&head_of(rest).to_le_bytes());
        self.count += 1;
    }

    /// With another prefix, or wide.
    #[cold]
    fn insert_anew(&mut self, at: usize, key: &[u8]) {
        let mut keys = KeyList::new();
        self.list(0..at, &mut keys);
        keys.push(key);
        self.list(at..self.len(), &mut keys);
        *self = Self::of(&keys, 0..keys.len());
    }

    /// Makes the buffer longer; with a little to spare if it must move.
    fn grow(&mut self, by: usize) {
        let len = self.bytes.len() + by;
        if len > self.bytes.capacity() {
            self.bytes.reserve_exact(by + self.slack(len));
        }
        self.bytes.resize(len, 0);
    }

    fn slack(&self, len: usize) -> usize {
        (len / SLACK_PARTS).min(self.len() * SLACK_OF_KEY)
    }

    pub(super) fn remove(&mut self, at: usize) {
        let width = self.length_width();
        let head_at = usize::from(self.prefix_len) + at * HEAD_LEN;
        let length_at = self.lengths_start() + at * width;
        let tail_at = self.tails_start() + self.tails_len(0..at);
        let tail_end = tail_at + self.length(at).saturating_sub(HEAD_LEN);
        let old_len = self.bytes.len();

        let bytes = &mut self.bytes;
        bytes.copy_within(head_at + HEAD_LEN..length_at, head_at);
        bytes.copy_within(length_at + width..tail_at, length_at - HEAD_LEN);
        bytes.copy_within(tail_end..old_len, tail_at - HEAD_LEN - width);
        bytes.truncate(old_len - HEAD_LEN - width - (tail_end - tail_at));
        self.count -= 1;
        if self.count == 0 {
            *self = Self::EMPTY;
            return;
        }
        let (len, slack) = (self.bytes.len(), self.slack(self.bytes.len()));
        if self.bytes.capacity() - len > 2 * slack {
            self.bytes.shrink_to(len + slack);
        }
    }

    /// Appends these keys to `keys`.
    pub(super) fn list(&self, range: Range<usize>, keys: &mut KeyList) {
        let mut tail = self.tails_start() + self.tails_len(0..range.start);
        for at in range {
            let end = tail + self.length(at).saturating_sub(HEAD_LEN);
            self.list_one(at, tail..end, keys);
            tail = end;
        }
    }

    /// Appends these keys, the last one first.
    pub(super) fn list_backwards(&self, range: Range<usize>, keys: &mut KeyList) {
        let mut end = self.tails_start() + self.tails_len(0..range.end);
        for at in range.rev() {
            let tail = end - self.length(at).saturating_sub(HEAD_LEN);
            self.list_one(at, tail..end, keys);
            end = tail;
        }
    }

    fn list_one(&self, at: usize, tail: Range<usize>, keys: &mut KeyList) {
        let head = u32::from_le_bytes(self.heads()[at]).to_be_bytes();
        let head = &head[..self.length(at).min(HEAD_LEN)];
        keys.push_parts([self.prefix(), head, &self.bytes[tail]]);
    }
}

fn length(rest: &[u8]) -> u16 {
    u16::try_from(rest.len()).expect("a key has at most 65535 bytes")
}
