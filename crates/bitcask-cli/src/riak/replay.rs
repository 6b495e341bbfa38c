//! One data file and its hint file, as changes in their order.
//!
//! A damaged record has its place in that order like any other. If the hint file is to be trusted and says that it was
//! a record of some key, then the key is deleted there: a lost tombstone still deletes, and a lost value does not leave
//! an older one in its place. A later record of the key, in this file or the next, then counts as ever. So no index of
//! all keys is needed, only a list of those whose newest record was lost.

use std::io;
use std::rc::Rc;

use bitcask::KEY_LEN_MAX;

use super::data::DataFile;
use super::hint::{Entry, Hint, Seal, Standing};
use super::keys::KvKey;
use super::record::{HEADER_LEN_U64, Record, Shape};
use super::report::{OpenKeys, RiakReport, Why, shown};
use super::{KeyForm, RiakOptions};
use crate::incoming::Incoming;

/// Why reading ended early.
#[derive(Debug)]
pub(super) enum Stop<E> {
    Io(io::Error),
    /// Whoever takes the changes wants no more.
    Each(E),
}

impl<E> From<io::Error> for Stop<E> {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// What is true of all files together.
pub(super) struct Replay<'a, E> {
    pub(super) options: &'a RiakOptions,
    pub(super) report: RiakReport,
    pub(super) open: OpenKeys,
    pub(super) each: &'a mut dyn FnMut(Incoming) -> Result<(), E>,
}

/// One file on its way.
struct Pair<'a> {
    name: Rc<str>,
    data: &'a mut DataFile,
    hint: Option<Hint>,
    records: u64,
    doubtful: u64,
}

/// What becomes of a value with its time.
enum Lifetime {
    Endless,
    Until(u64),
    Over,
}

impl<E> Replay<'_, E> {
    /// Gives all changes of a file. `moved` is told how many bytes of it are done.
    pub(super) fn file(
        &mut self,
        name: &str,
        data: &mut DataFile,
        hint: Option<Hint>,
        moved: &mut dyn FnMut(u64),
    ) -> Result<(), Stop<E>> {
        let mut pair = Pair { name: name.into(), data, hint, records: 0, doubtful: 0 };
        let mut at = 0;
        while at < pair.data.len() {
            at = match pair.data.record_at(at)? {
                Some(record) => {
                    let end = record.end();
                    self.record(&mut pair, record)?;
                    end
                }
                None => self.gap(&mut pair, at)?,
            };
            moved(at);
        }
        self.rest(&mut pair)?;
        self.report.files += 1;
        self.report.bytes += pair.data.len();
        self.tell(&pair);
        Ok(())
    }

    fn record(&mut self, pair: &mut Pair<'_>, record: Record) -> Result<(), Stop<E>> {
        let standing = match &mut pair.hint {
            Some(hint) => hint.standing(&record)?,
            None => Standing::Unknown,
        };
        let mut bit = None;
        if let Standing::After(lost) = standing {
            for _ in 0..lost {
                self.lost(pair)?;
            }
            if let Some(hint) = &mut pair.hint {
                hint.agreed += 1;
                bit = hint
                    .entries
                    .take()?
                    .filter(|_| hint.seal == Seal::WithBits)
                    .map(|entry| entry.tombstone_bit);
            }
        }
        pair.records += 1;
        self.report.records += 1;
        let key = self.name(&pair.name, record.offset, record.key);
        self.open.settle(&key);
        let tombstone = match (Shape::of(&record.value), bit) {
            (Shape::Value, _) => false,
            (Shape::Lookalike, _) | (Shape::Tombstone, Some(false)) => {
                self.lookalike(&pair.name, record.offset, &key);
                false
            }
            (_, Some(true)) => true,
            // Before 1.7 tombstones had this shape and no bit, and a merge seals such a file anew with bits.
            (Shape::OldTombstone | Shape::Tombstone, _) => {
                pair.doubtful += 1;
                true
            }
        };
        if tombstone {
            self.report.tombstones += 1;
            return self.give(Incoming::Delete { key });
        }
        let expires_ms = match self.lifetime(record.tstamp) {
            Lifetime::Endless => None,
            Lifetime::Until(ms) => Some(ms),
            Lifetime::Over => {
                self.report.expired += 1;
                // The clock may have gone back: what is older in order may be younger in time.
                return self.give(Incoming::Delete { key });
            }
        };
        self.report.values += 1;
        self.give(Incoming::Put { key, value: record.value, expires_ms })
    }

    fn lookalike(&mut self, file: &str, offset: u64, key: &[u8]) {
        self.report.lookalikes += 1;
        let what = format!(
            "the value of the key {} begins like a tombstone and is none: taken as a value",
            shown(key)
        );
        self.report.notices.add(file, Some(offset), what);
    }

    /// Finds the end of a damaged place and tells of it. What was in it comes out at the next record that checks out.
    fn gap(&mut self, pair: &mut Pair<'_>, at: u64) -> Result<u64, Stop<E>> {
        let len = pair.data.len();
        let header = pair.data.header_at(at)?;
        let claimed = header.map(|header| at.saturating_add(header.total_len()));
        let end = match told_end(pair, at)? {
            Some(end) => end.min(len),
            None => pair.data.resync(at, len)?,
        };
        self.report.damaged_places += 1;
        self.report.damaged_bytes += end - at;
        // A sealed hint file knows better than damaged bytes whose records these were.
        let told = pair.hint.as_ref().is_some_and(Hint::is_sealed);
        let torn = end == len && claimed.is_none_or(|claimed| claimed > len);
        let what = if torn {
            self.report.torn_tails += 1;
            format!("the file ends within a record: its last {} bytes were left out", end - at)
        } else {
            format!("{} bytes do not check out and were left out", end - at)
        };
        let unknown = "; no hint file that could be trusted tells what they held, so a key may be stale or be back";
        self.report.notices.add(&pair.name, Some(at), what + if told { "" } else { unknown });
        if !told && (torn || claimed == Some(end) || pair.data.length_was_damaged(at, end)?) {
            self.doubt(pair, at, end)?;
        }
        Ok(end)
    }

    /// Remembers the key that a damaged record has, as far as it can be read.
    fn doubt(&mut self, pair: &mut Pair<'_>, at: u64, end: u64) -> Result<(), Stop<E>> {
        let Some(header) = pair.data.header_at(at)? else { return Ok(()) };
        let key_end = at.saturating_add(HEADER_LEN_U64).saturating_add(u64::from(header.key_len));
        if key_end <= end
            && let Some(key) = pair.data.key_at(at, header)?
        {
            let key = self.name(&pair.name, at, key);
            self.open.open(&key, Why::Doubtful, &pair.name, at);
        }
        Ok(())
    }

    /// What the hint file tells of records that are not there, behind the last one that is.
    fn rest(&mut self, pair: &mut Pair<'_>) -> Result<(), Stop<E>> {
        let Some(hint) = &mut pair.hint else { return Ok(()) };
        if hint.agreed == 0 && pair.records > 0 && hint.entries.peek()?.is_some() {
            hint.foreign = true;
        }
        if !hint.foreign {
            while self.lost(pair)? {}
        }
        Ok(())
    }

    /// Takes the hint file's next entry, whose record is lost. False if there is none.
    fn lost(&mut self, pair: &mut Pair<'_>) -> Result<bool, Stop<E>> {
        let Some(hint) = &mut pair.hint else { return Ok(false) };
        let Some(entry) = hint.entries.take()? else { return Ok(false) };
        let known = hint.is_sealed() || in_place(pair.data, &entry)?;
        let deleted = hint.seal == Seal::WithBits && entry.tombstone_bit;
        let key = self.name(&pair.name, entry.offset, entry.key);
        if !known {
            self.open.open(&key, Why::Doubtful, &pair.name, entry.offset);
            return Ok(true);
        }
        self.open.settle(&key);
        if deleted {
            self.report.lost_tombstones += 1;
        } else if !matches!(self.lifetime(entry.tstamp), Lifetime::Over) {
            self.open.open(&key, Why::Lost, &pair.name, entry.offset);
        }
        self.give(Incoming::Delete { key })?;
        Ok(true)
    }

    /// The key as it is given.
    fn name(&mut self, file: &str, offset: u64, key: Vec<u8>) -> Vec<u8> {
        if self.options.keys == KeyForm::AsStored {
            return key;
        }
        match KvKey::decode(&key).map(KvKey::text) {
            Some(text) if text.len() <= KEY_LEN_MAX => text.into_bytes(),
            _ => {
                self.report.undecoded_keys += 1;
                let what = format!("the key {} is not one of Riak KV: taken as it is", shown(&key));
                self.report.notices.add(file, Some(offset), what);
                key
            }
        }
    }

    /// Riak counts in whole seconds, and a value lives through the last of them.
    fn lifetime(&self, tstamp: u32) -> Lifetime {
        let Some(expiry) = &self.options.expiry else { return Lifetime::Endless };
        let ms =
            u64::from(tstamp).saturating_add(expiry.secs).saturating_add(1).saturating_mul(1000);
        if ms <= expiry.now_ms { Lifetime::Over } else { Lifetime::Until(ms) }
    }

    fn give(&mut self, change: Incoming) -> Result<(), Stop<E>> {
        (self.each)(change).map_err(Stop::Each)
    }

    fn tell(&mut self, pair: &Pair<'_>) {
        if pair.doubtful > 0 {
            self.report.tombstones_doubtful += pair.doubtful;
            let what = format!(
                "{} tombstones are known by their text alone, which a value could have as well: taken as tombstones",
                pair.doubtful
            );
            self.report.notices.add(&pair.name, None, what);
        }
        let Some(hint) = &pair.hint else { return };
        let what = if hint.foreign {
            "is about other data than is in the data file: not used from there on, so what was lost there is not known"
        } else if hint.seal == Seal::Wrong {
            "has a wrong CRC: not trusted"
        } else {
            return;
        };
        self.report.notices.add(&super::hint_name(&pair.name), None, what.into());
    }
}

/// Where a damaged place ends, if a hint file that can be trusted tells: no search is needed then, and what values hold
/// that looks like records is not mistaken for some.
fn told_end(pair: &mut Pair<'_>, at: u64) -> io::Result<Option<u64>> {
    let Pair { data, hint: Some(hint), .. } = pair else { return Ok(None) };
    let next =
        hint.next_start(at, |entry| Ok(in_place(data, entry)? && data.checks_out(entry.offset)?))?;
    if next.is_some() || !hint.is_sealed() {
        return Ok(next);
    }
    match hint.entries.peek()? {
        Some(entry)
            if entry.offset == at && entry.end() >= data.len() && in_place(data, entry)? =>
        {
            Ok(Some(entry.end()))
        }
        _ => Ok(None),
    }
}

/// Whether the data file has an entry's record in its place, by its header and key; the value may be damaged.
fn in_place(data: &mut DataFile, entry: &Entry) -> io::Result<bool> {
    let Some(header) = data.header_at(entry.offset)? else { return Ok(false) };
    Ok(header.tstamp == entry.tstamp
        && header.total_len() == u64::from(entry.total_len)
        && data.key_at(entry.offset, header)?.is_some_and(|key| key == entry.key))
}
