//! Dictionaries: what the values of a store have in common, kept once, for Zstandard to refer to.
//!
//! A dictionary is a file of the store. It is durable, name and all, before any record refers to it, and only
//! the removal of the whole store removes it. Its id is the CRC-32C of what is in it. So an id is
//! never used again for other contents: not when a file was lost and another dictionary is trained, and not when a
//! file comes back from a backup of the wrong moment.
//!
//! All dictionaries are loaded when the store is opened, to find the newest: that one is used for what is put. One that
//! does not load is no reason not to open. It is told by whoever reads a record that needs it, and
//! that is never answered by guessing.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use crate::compress::{Compression, Decoder, Encoder, HAS_DICTIONARIES};
use crate::directory::Directory;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{Access, Fs, read_exact_at};
use crate::sync::{Mutex, RwLock, read, write};

/// Bytes before the dictionary in its file.
pub(crate) const DICTIONARY_HEADER_LEN: usize = 64;
/// The longest dictionary that is loaded; the ones that we train are far shorter.
pub(crate) const DICTIONARY_LEN_MAX: usize = 1 << 20;

pub(crate) const MAGIC: &[u8; 8] = b"bcdict\0\0";
const VERSION: u16 = 1;
const CRC_AT: usize = 60;

/// The contents of a dictionary file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DictionaryFile {
    pub(crate) store_id: [u8; 16],
    /// Of two dictionaries the one with the larger number is newer.
    pub(crate) number: u64,
    pub(crate) dictionary: Vec<u8>,
}

/// Why bytes are not a dictionary file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DictionaryFault {
    Damaged(&'static str),
    Version(u16),
}

/// What a dictionary is known by.
pub(crate) fn dictionary_id(dictionary: &[u8]) -> u32 {
    crc32c::crc32c(dictionary)
}

impl DictionaryFile {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let len = u32::try_from(self.dictionary.len()).expect("dictionaries are short");
        let mut bytes = vec![0; DICTIONARY_HEADER_LEN];
        let mut put = |at: usize, field: &[u8]| {
            bytes[at..at + field.len()].copy_from_slice(field);
        };
        put(0, MAGIC);
        put(8, &VERSION.to_le_bytes());
        put(12, &dictionary_id(&self.dictionary).to_le_bytes());
        put(16, &self.store_id);
        put(32, &self.number.to_le_bytes());
        put(40, &len.to_le_bytes());
        let sum = crc32c::crc32c_append(crc32c::crc32c(&bytes[..CRC_AT]), &self.dictionary);
        bytes[CRC_AT..].copy_from_slice(&sum.to_le_bytes());
        bytes.extend_from_slice(&self.dictionary);
        bytes
    }

    /// All of a file, if it is a dictionary with this id.
    pub(crate) fn decode(bytes: &[u8], id: u32) -> std::result::Result<Self, DictionaryFault> {
        let damaged = |what| Err(DictionaryFault::Damaged(what));
        let Some((header, dictionary)) = bytes.split_first_chunk::<DICTIONARY_HEADER_LEN>() else {
            return damaged("the file ends within its header");
        };
        if !header.starts_with(MAGIC) {
            return damaged("not a dictionary");
        }
        // Before the version: damage to that is damage.
        let sum = crc32c::crc32c_append(crc32c::crc32c(&header[..CRC_AT]), dictionary);
        if sum != u32::from_le_bytes(field(header, CRC_AT)) {
            return damaged("checksum mismatch");
        }
        let version = u16::from_le_bytes(field(header, 8));
        if version != VERSION {
            return Err(DictionaryFault::Version(version));
        }
        if u64::from(u32::from_le_bytes(field(header, 40))) != dictionary.len() as u64 {
            return damaged("it has another length");
        }
        let named = u32::from_le_bytes(field(header, 12));
        if named != id || dictionary_id(dictionary) != id {
            return damaged("it is another dictionary than its name says");
        }
        Ok(Self {
            store_id: field(header, 16),
            number: u64::from_le_bytes(field(header, 32)),
            dictionary: dictionary.to_vec(),
        })
    }
}

fn field<const N: usize>(header: &[u8; DICTIONARY_HEADER_LEN], at: usize) -> [u8; N] {
    *header[at..].first_chunk().expect("fields lie within the header")
}

/// The dictionaries of an open store.
#[derive(Debug, Default)]
pub(crate) struct Dictionaries {
    decoders: Decoders,
    newest: RwLock<Newest>,
    /// Held by who trains one, and by who closes the store.
    pub(crate) training: Mutex<()>,
}

#[derive(Debug, Default)]
struct Newest {
    number: u64,
    /// None, too, if values are not to be compressed by zstd.
    encoder: Option<Arc<Encoder>>,
}

impl Dictionaries {
    /// Loads those with these ids, as far as they are sound.
    pub(crate) fn load(&self, dir: &Directory, ids: &[u32]) {
        if !HAS_DICTIONARIES {
            // Nor can their records be read.
            return;
        }
        let mut newest: Option<(u32, DictionaryFile)> = None;
        for &id in ids {
            let loaded = dir.read_dictionary(id).and_then(|file| {
                self.decoders.add(decoder_of(dir, id, &file)?);
                Ok(file)
            });
            match loaded {
                Ok(file) if newest.as_ref().is_none_or(|(_, other)| file.number > other.number) => {
                    newest = Some((id, file));
                }
                Ok(_) => {}
                Err(e) => tracing::error!(error = ?e, "values that need it cannot be read"),
            }
        }
        if let Some((id, file)) = newest {
            self.compress_by(dir, id, &file);
        }
    }

    /// What to compress values by.
    pub(crate) fn encoder(&self) -> Option<Arc<Encoder>> {
        read(&self.newest).encoder.clone()
    }

    /// The number of the next dictionary.
    pub(crate) fn next_number(&self) -> u64 {
        read(&self.newest).number.saturating_add(1)
    }

    /// What decompresses values that refer to the dictionary `id`, which is loaded now if it was not.
    pub(crate) fn decoder(&self, dir: &Directory, id: u32) -> Result<&Decoder> {
        if let Some(decoder) = self.decoders.get(id) {
            return Ok(decoder);
        }
        let file = dir.read_dictionary(id)?;
        Ok(self.decoders.add(decoder_of(dir, id, &file)?))
    }

    /// Takes a new dictionary, which is durable, into use.
    pub(crate) fn use_from_now_on(
        &self,
        dir: &Directory,
        id: u32,
        file: &DictionaryFile,
    ) -> Result<()> {
        self.decoders.add(decoder_of(dir, id, file)?);
        self.compress_by(dir, id, file);
        Ok(())
    }

    fn compress_by(&self, dir: &Directory, id: u32, file: &DictionaryFile) {
        let encoder = match dir.options.compression {
            Compression::Zstd { level } => Encoder::new(id, &file.dictionary, level).map(Arc::new),
            _ => None,
        };
        *write(&self.newest) = Newest { number: file.number, encoder };
    }
}

/// A list that only grows, so that readers of it take no lock: dictionaries are few, and none ever leaves.
#[derive(Debug, Default)]
struct Decoders(OnceLock<Box<Listed>>);

#[derive(Debug)]
struct Listed {
    decoder: Decoder,
    next: Decoders,
}

impl Decoders {
    fn get(&self, id: u32) -> Option<&Decoder> {
        let mut list = self;
        while let Some(listed) = list.0.get() {
            if listed.decoder.id() == id {
                return Some(&listed.decoder);
            }
            list = &listed.next;
        }
        None
    }

    /// Adds a decoder, unless there is one with its id.
    fn add(&self, decoder: Decoder) -> &Decoder {
        let id = decoder.id();
        let mut ours = Some(Box::new(Listed { decoder, next: Self::default() }));
        let mut list = self;
        loop {
            let listed = list.0.get_or_init(|| ours.take().expect("it is listed once"));
            if listed.decoder.id() == id {
                return &listed.decoder;
            }
            list = &listed.next;
        }
    }
}

fn decoder_of(dir: &Directory, id: u32, file: &DictionaryFile) -> Result<Decoder> {
    let decoder = Decoder::new(id, &file.dictionary);
    decoder.ok_or_else(|| damaged("zstd does not take it", &dir.dictionary_path(id)))
}

fn damaged(what: &str, path: &Path) -> Error {
    Error::corrupt(format!("damaged dictionary: {what}"), path, 0)
}

impl Directory {
    /// Reads and checks the file of a dictionary. What is not there is `Corrupt`, too: it is only asked for when
    /// a record needs it.
    pub(crate) fn read_dictionary(&self, id: u32) -> Result<DictionaryFile> {
        let path = self.dictionary_path(id);
        let bytes = match read_dictionary_bytes(&*self.fs, &path) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Err(damaged("no dictionary is so long", &path)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::corrupt("a dictionary is missing", &path, 0));
            }
            Err(e) => return Err(Error::io("cannot read", &path, e)),
        };
        let file = DictionaryFile::decode(&bytes, id).map_err(|fault| match fault {
            DictionaryFault::Damaged(what) => damaged(what, &path),
            DictionaryFault::Version(version) => {
                let what = format!("dictionary of format version {version}");
                Error::new(ErrorKind::Unsupported, what).at(&path)
            }
        })?;
        if file.store_id != self.store_id {
            return Err(damaged("it belongs to another store", &path));
        }
        Ok(file)
    }
}

/// All of the file, unless it is longer than any dictionary.
fn read_dictionary_bytes(fs: &dyn Fs, path: &Path) -> std::io::Result<Option<Vec<u8>>> {
    let file = fs.open(path, Access::Read)?;
    let len = usize::try_from(file.len()?).ok();
    let Some(len) = len.filter(|&len| len <= DICTIONARY_HEADER_LEN + DICTIONARY_LEN_MAX) else {
        return Ok(None);
    };
    let mut bytes = vec![0; len];
    read_exact_at(&*file, &mut bytes, 0)?;
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> DictionaryFile {
        let dictionary = b"anything can be a dictionary".to_vec();
        DictionaryFile { store_id: [7; 16], number: 3, dictionary }
    }

    #[test]
    fn a_dictionary_file_comes_back() {
        let file = sample();
        let id = dictionary_id(&file.dictionary);
        assert_eq!(DictionaryFile::decode(&file.encode(), id), Ok(file));
    }

    #[test]
    fn every_cut_and_every_flipped_bit_of_a_dictionary_file_is_seen() {
        let (bytes, id) = (sample().encode(), dictionary_id(&sample().dictionary));
        for end in 0..bytes.len() {
            assert!(DictionaryFile::decode(&bytes[..end], id).is_err(), "cut at {end}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let fault = DictionaryFile::decode(&bytes, id).unwrap_err();
            assert!(matches!(fault, DictionaryFault::Damaged(_)), "bit {bit}: {fault:?}");
        }
    }

    #[test]
    fn a_dictionary_under_another_name_is_not_believed() {
        let (bytes, id) = (sample().encode(), dictionary_id(&sample().dictionary));
        let what = "it is another dictionary than its name says";
        assert_eq!(DictionaryFile::decode(&bytes, id ^ 1), Err(DictionaryFault::Damaged(what)));
    }

    #[test]
    fn a_later_version_of_a_dictionary_is_told_from_damage() {
        let (mut bytes, id) = (sample().encode(), dictionary_id(&sample().dictionary));
        bytes[8] = 2;
        let sum = crc32c::crc32c_append(crc32c::crc32c(&bytes[..60]), &bytes[64..]);
        bytes[60..64].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(DictionaryFile::decode(&bytes, id), Err(DictionaryFault::Version(2)));
    }
}
