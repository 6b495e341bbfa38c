//! Scanning page by page, with a cursor to go on from: in order on the ordered index, in none on the hash keydir.

use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::iter::Iter;
use crate::range::{Range, prefix_bounds};
use crate::snapshot::Snapshot;
use crate::value::Value;
use std::ops::Bound;

/// All keys that begin with something, see [`Bitcask::prefix`](crate::Bitcask::prefix).
#[derive(Debug)]
pub struct Prefix(Inner);

#[derive(Debug)]
enum Inner {
    Ordered(Range),
    /// Every key of the store is read.
    Filtered(Iter, Vec<u8>),
}

impl Prefix {
    pub(crate) fn new(snapshot: Snapshot, prefix: &[u8]) -> Self {
        if snapshot.dir().ordered.is_some() {
            let range = Range::new(snapshot, prefix_bounds(prefix));
            return Self(Inner::Ordered(range.expect("there is an ordered index")));
        }
        Self(Inner::Filtered(snapshot.iter(), prefix.to_vec()))
    }
}

impl Iterator for Prefix {
    type Item = Result<(Vec<u8>, Value)>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Inner::Ordered(range) => range.next(),
            Inner::Filtered(iter, prefix) => iter.find(|entry| match entry {
                Ok((key, _)) => key.starts_with(prefix),
                Err(_) => true,
            }),
        }
    }
}

/// Where a scan goes on. Its bytes can be kept, or sent, and made a cursor again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(Vec<u8>);

const BEHIND_KEY: u8 = 1;
const WITHIN_SHARD: u8 = 2;

impl Cursor {
    /// The bytes of the cursor.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn behind_key(key: &[u8]) -> Self {
        Self([&[BEHIND_KEY], key].concat())
    }

    fn within_shard(shard: usize, behind: &[u8]) -> Self {
        let shard = u32::try_from(shard).expect("there are few shards");
        Self([&[WITHIN_SHARD][..], &shard.to_le_bytes(), behind].concat())
    }
}

impl From<&[u8]> for Cursor {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

/// A part of a scan, see [`Bitcask::scan`](crate::Bitcask::scan).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page {
    /// Keys with their values.
    pub entries: Vec<(Vec<u8>, Value)>,
    /// Where to go on; none if there is no more.
    pub next: Option<Cursor>,
}

impl Page {
    pub(crate) fn read(
        snapshot: Snapshot,
        prefix: &[u8],
        from: Option<&Cursor>,
        limit: usize,
    ) -> Result<Self> {
        let limit = limit.max(1);
        match from.map(|cursor| cursor.0.as_slice()) {
            None if snapshot.dir().ordered.is_some() => in_order(snapshot, prefix, None, limit),
            None => by_shards(&snapshot, prefix, (0, None), limit),
            Some([BEHIND_KEY, key @ ..]) => in_order(snapshot, prefix, Some(key), limit),
            Some([WITHIN_SHARD, a, b, c, d, key @ ..]) => {
                let shard = known_shard(snapshot.dir(), u32::from_le_bytes([*a, *b, *c, *d]))?;
                by_shards(&snapshot, prefix, (shard, Some(key)), limit)
            }
            Some(_) => Err(Error::invalid("this is no cursor of a scan")),
        }
    }
}

fn known_shard(dir: &Directory, shard: u32) -> Result<usize> {
    usize::try_from(shard)
        .ok()
        .filter(|&shard| shard < dir.keydir.shard_count())
        .ok_or_else(|| Error::invalid("this is no cursor of a scan of this store"))
}

fn in_order(
    snapshot: Snapshot,
    prefix: &[u8],
    behind: Option<&[u8]>,
    limit: usize,
) -> Result<Page> {
    let mut bounds = prefix_bounds(prefix);
    if let Some(key) = behind.filter(|&key| key >= prefix) {
        bounds.0 = Bound::Excluded(key.to_vec());
    }
    let mut range = Range::new(snapshot, bounds)?;
    let entries = range.by_ref().take(limit).collect::<Result<Vec<_>>>()?;
    let last = entries.last().filter(|_| entries.len() == limit);
    let next = last.map(|(key, _)| Cursor::behind_key(key));
    Ok(Page { entries, next })
}

/// Shard by shard, and within a shard in the order of keys, so that a page can end anywhere.
fn by_shards(
    snapshot: &Snapshot,
    prefix: &[u8],
    (from, behind): (usize, Option<&[u8]>),
    limit: usize,
) -> Result<Page> {
    let mut entries = Vec::new();
    for shard in from..snapshot.dir().keydir.shard_count() {
        let behind = behind.filter(|_| shard == from);
        let mut found = Iter::of_shard(snapshot.clone(), shard).collect::<Result<Vec<_>>>()?;
        found.retain(|(key, _)| {
            key.starts_with(prefix) && behind.is_none_or(|behind| key.as_slice() > behind)
        });
        found.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        found.truncate(limit - entries.len());
        entries.append(&mut found);
        if let Some((last, _)) = entries.last().filter(|_| entries.len() == limit) {
            let next = Some(Cursor::within_shard(shard, last));
            return Ok(Page { entries, next });
        }
    }
    Ok(Page { entries, next: None })
}
