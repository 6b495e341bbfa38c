//! Reading a key: keydir, then record, confirmed.
//!
//! Everything is read at a [`Moment`]: now, or that of a snapshot. The newest record of a key is in the keydir's
//! table; if it is newer than the moment, or gone since, what counted then is among the places that the keydir
//! keeps for snapshots.

use crate::directory::{Directory, Found};
use crate::error::Result;
use crate::expiry::Expiry;
use crate::files::Table;
use crate::place::Place;
use crate::record::{NEVER, Record};
use crate::value::Value;

/// Gets that `get_many` has under way at once.
pub(crate) const GETS_AT_ONCE: usize = 16;

/// When: which records count, and which of them have expired.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// The largest sequence number that counts.
    pub(crate) seq: u64,
    /// What time it is; none: whatever the clock says when it matters.
    pub(crate) time_ms: Option<u64>,
}

impl Moment {
    pub(crate) const NOW: Self = Self { seq: u64::MAX, time_ms: None };
}

/// What a key has: the sequence number of its record, or 0 if it is not there; its value and expiry.
#[derive(Debug)]
pub(crate) struct Current {
    pub(crate) version: u64,
    pub(crate) value: Option<Value>,
    pub(crate) expires_ms: u64,
}

impl Current {
    pub(crate) fn absent() -> Self {
        Self { version: 0, value: None, expires_ms: NEVER }
    }
}

impl Directory {
    /// The value of a key.
    #[inline]
    pub(crate) fn get(&self, key: &[u8], moment: Moment) -> Result<Option<Value>> {
        let hash = self.hash(key);
        let table = self.files.guard();
        let places = self.keydir.candidates(hash);
        self.get_among(&table, places.iter(), hash, key, moment)
    }

    /// Whether a key has a value.
    pub(crate) fn contains(&self, key: &[u8], moment: Moment) -> Result<bool> {
        Ok(self.find(&self.files.guard(), self.hash(key), key, moment)?.is_some())
    }

    /// The values of many keys, in their order.
    pub(crate) fn get_many<K: AsRef<[u8]>>(
        &self,
        keys: &[K],
        moment: Moment,
    ) -> Result<Vec<Option<Value>>> {
        let mut values = Vec::with_capacity(keys.len());
        for keys in keys.chunks(GETS_AT_ONCE) {
            self.get_at_once(keys, moment, usize::MAX, &mut values)?;
        }
        Ok(values)
    }

    /// The values of a few keys, at most [`GETS_AT_ONCE`]: first every slot of the keydir is fetched, then every record,
    /// then all are read, up to an error, or until they are so many bytes.
    pub(crate) fn get_at_once<K: AsRef<[u8]>>(
        &self,
        keys: &[K],
        moment: Moment,
        mut bytes: usize,
        values: &mut Vec<Option<Value>>,
    ) -> Result<()> {
        let mut hashes = [0; GETS_AT_ONCE];
        for (key, hash) in keys.iter().zip(&mut hashes) {
            *hash = self.hash(key.as_ref());
            self.keydir.prefetch_shard(*hash);
        }
        hashes.iter().take(keys.len()).for_each(|&hash| self.keydir.prefetch(hash));
        let table = self.files.guard();
        let mut candidates: [_; GETS_AT_ONCE] = std::array::from_fn(|_| None);
        for ((_, &hash), found) in keys.iter().zip(&hashes).zip(&mut candidates) {
            let places = self.keydir.candidates(hash);
            places.iter().for_each(|place| table.file(place).prefetch(place));
            *found = Some(places);
        }
        for ((key, &hash), places) in keys.iter().zip(&hashes).zip(candidates.iter().flatten()) {
            let value = self.get_among(&table, places.iter(), hash, key.as_ref(), moment)?;
            let len = value.as_ref().map_or(0, |value| value.len());
            values.push(value);
            bytes = bytes.saturating_sub(len);
            if bytes == 0 {
                break;
            }
        }
        Ok(())
    }

    /// The value of a key whose newest record is at one of `places`, if it has one.
    #[inline]
    fn get_among(
        &self,
        table: &Table,
        places: impl Iterator<Item = Place>,
        hash: u64,
        key: &[u8],
        moment: Moment,
    ) -> Result<Option<Value>> {
        let mut scratch = Vec::new();
        for place in places {
            let record = self.record(table, place, &mut scratch).map_err(|e| e.of_key(key))?;
            if record.key == key {
                if record.seq > moment.seq {
                    break;
                }
                return self.value_unless_expired(&record, moment);
            }
        }
        if moment.seq == u64::MAX {
            return Ok(None);
        }
        self.get_kept(table, hash, key, moment)
    }

    /// The value that a key had at a moment, if it has another record since, or none.
    fn get_kept(
        &self,
        table: &Table,
        hash: u64,
        key: &[u8],
        moment: Moment,
    ) -> Result<Option<Value>> {
        let mut scratch = Vec::new();
        for place in self.keydir.kept(hash, moment.seq) {
            let record = self.record(table, place, &mut scratch).map_err(|e| e.of_key(key))?;
            if record.key == key {
                return self.value_unless_expired(&record, moment);
            }
        }
        Ok(None)
    }

    #[inline]
    fn value_unless_expired(&self, record: &Record<'_>, moment: Moment) -> Result<Option<Value>> {
        if self.has_expired(record.expires_ms, moment) {
            return Ok(None);
        }
        self.value_of(record).map(Some)
    }

    /// The record at `place`, checked if the options ask for it, or if its value has to be decompressed.
    #[inline(always)]
    fn record<'a>(
        &self,
        table: &'a Table,
        place: Place,
        scratch: &'a mut Vec<u8>,
    ) -> Result<Record<'a>> {
        let file = table.file(place);
        if self.options.verify_reads {
            file.record(place, scratch)
        } else {
            file.record_trusted(place, scratch)
        }
    }

    /// The key and value at `place`, of the keydir's places at `moment`, if they count then.
    pub(crate) fn entry(
        &self,
        table: &Table,
        place: Place,
        moment: Moment,
        scratch: &mut Vec<u8>,
    ) -> Result<Option<(Vec<u8>, Value)>> {
        let record = table.file(place).record(place, scratch)?;
        if record.seq > moment.seq || self.has_expired(record.expires_ms, moment) {
            return Ok(None);
        }
        Ok(Some((record.key.to_owned(), self.value_of(&record)?)))
    }

    /// The value of the record at `place`.
    pub(crate) fn value_at(
        &self,
        table: &Table,
        place: Place,
        scratch: &mut Vec<u8>,
    ) -> Result<Value> {
        self.value_of(&self.record(table, place, scratch)?)
    }

    /// What a key has at `moment`.
    pub(crate) fn current(&self, hash: u64, key: &[u8], moment: Moment) -> Result<Current> {
        let table = self.files.guard();
        let Some(found) = self.find(&table, hash, key, moment)? else {
            return Ok(Current::absent());
        };
        let mut scratch = Vec::new();
        // The same record wherever merge may have put it meanwhile: the guard keeps this copy.
        let value = self.value_at(&table, found.place, &mut scratch).map_err(|e| e.of_key(key))?;
        Ok(Current { version: found.seq, value: Some(value), expires_ms: found.expires_ms })
    }

    /// The sequence number of the newest record of a key; 0 if the key is not there.
    pub(crate) fn version(&self, table: &Table, hash: u64, key: &[u8]) -> Result<u64> {
        Ok(self.find(table, hash, key, Moment::NOW)?.map_or(0, |found| found.seq))
    }

    /// When a key expires that is there at `moment`.
    pub(crate) fn expires_at(&self, key: &[u8], moment: Moment) -> Result<Option<Expiry>> {
        let found = self.find(&self.files.guard(), self.hash(key), key, moment)?;
        Ok(found.map(|found| Expiry::from_ms(found.expires_ms)))
    }

    /// The record of a key that counts at `moment`, without a look at its value.
    pub(crate) fn find(
        &self,
        table: &Table,
        hash: u64,
        key: &[u8],
        moment: Moment,
    ) -> Result<Option<Found>> {
        let found = self.lookup(table, hash, key)?.found;
        let found = match found.filter(|found| found.seq <= moment.seq) {
            None if moment.seq < u64::MAX => self.find_kept(table, hash, key, moment)?,
            found => found,
        };
        Ok(found.filter(|found| !self.has_expired(found.expires_ms, moment)))
    }

    fn find_kept(
        &self,
        table: &Table,
        hash: u64,
        key: &[u8],
        moment: Moment,
    ) -> Result<Option<Found>> {
        let mut scratch = Vec::new();
        for place in self.keydir.kept(hash, moment.seq) {
            let record = table.file(place).record(place, &mut scratch)?;
            if record.key == key {
                return Ok(Some(Found::of(place, &record)));
            }
        }
        Ok(None)
    }

    #[inline]
    pub(crate) fn has_expired(&self, expires_ms: u64, moment: Moment) -> bool {
        expires_ms != NEVER
            && match moment.time_ms {
                Some(time_ms) => self.time.had_passed(expires_ms, time_ms),
                None => self.time.has_passed(expires_ms),
            }
    }
}
