//! Between a value and what is stored for it: compression on the way in, before anything is locked, and
//! decompression on the way out.
//!
//! What is to be stored is decided here, once for each change; from then on the engine, the log and merge know only bytes
//! and flags.

use crate::batch::Change;
use crate::compress::{Compression, compress, decompress, dictionary_id};
use crate::directory::Directory;
use crate::error::{Error, ErrorKind, Result};
use crate::record::{Fault, Flags, Record};
use crate::value::Value;

/// A compressed value, with the flags that say how.
pub(crate) type Packed = Option<(Flags, Vec<u8>)>;

impl Directory {
    /// The change as it is to be stored: with the value compressed into `packed`, if the options ask for that and it is
    /// worth it.
    #[inline]
    pub(crate) fn pack<'a>(&self, change: Change<'a>, packed: &'a mut Packed) -> Change<'a> {
        if self.options.compression == Compression::None {
            return change;
        }
        *packed = self.compressed(&change);
        with_packed(change, packed)
    }

    /// The same for many changes.
    pub(crate) fn pack_all<'a>(
        &self,
        changes: Vec<Change<'a>>,
        packed: &'a mut Vec<Packed>,
    ) -> Vec<Change<'a>> {
        if self.options.compression == Compression::None {
            return changes;
        }
        packed.extend(changes.iter().map(|change| self.compressed(change)));
        changes
            .into_iter()
            .zip(packed)
            .map(|(change, packed)| with_packed(change, packed))
            .collect()
    }

    #[inline(never)]
    fn compressed(&self, change: &Change<'_>) -> Packed {
        let Change::Put { value, .. } = *change else { return None };
        if value.len() < self.options.compress_from {
            return None;
        }
        let how = self.options.compression;
        let dictionary = match how {
            Compression::Zstd { .. } => self.dictionaries.encoder(),
            _ => None,
        };
        compress(how, value, dictionary.as_deref())
    }

    /// The value that a record holds. If it is compressed, the record's checksum was looked at.
    pub(crate) fn value_of(&self, record: &Record<'_>) -> Result<Value> {
        if record.flags.is_compressed() {
            return self.decompressed(record);
        }
        Ok(Value::new(record.value))
    }

    #[inline(never)]
    fn decompressed(&self, record: &Record<'_>) -> Result<Value> {
        // The record is as it was written, so whoever wrote it was wrong.
        let damaged = |fault: Fault| {
            let what = format!("damaged value: {fault}");
            Error::new(ErrorKind::Corrupt, what).at(&self.path).of_key(record.key)
        };
        let dictionary = match dictionary_id(record.flags, record.value).map_err(damaged)? {
            Some(id) => {
                let decoder = self.dictionaries.decoder(self, id);
                Some(decoder.map_err(|e| e.of_key(record.key))?)
            }
            None => None,
        };
        let value = decompress(record.flags, record.value, dictionary).map_err(damaged)?;
        Ok(Value::from_vec(value))
    }
}

fn with_packed<'a>(change: Change<'a>, packed: &'a Packed) -> Change<'a> {
    match (change, packed) {
        (Change::Put { key, expires_ms, .. }, Some((compression, value))) => {
            Change::Put { key, value, compression: *compression, expires_ms }
        }
        (change, _) => change,
    }
}
