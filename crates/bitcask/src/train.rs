//! Training a dictionary from the values that are there.
//!
//! Some values of every part of the keydir are read, and zstd finds what they have in common. One in eight is held
//! back, to say afterwards what the dictionary is worth. Puts and gets go on meanwhile.

use std::path::PathBuf;

use crate::compress::{Compression, DICTIONARY_UP_TO, Encoder, compress, train};
use crate::db::Bitcask;
use crate::dictionary::{DictionaryFile, dictionary_id};
use crate::directory::Directory;
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::files::Table;
use crate::place::Place;
use crate::read::Moment;
use crate::sync::lock;

/// Bytes of values to learn from: zstd asks for a hundred times the length of the dictionary.
const SAMPLED_BYTES_MAX: usize = 8 << 20;
/// Bytes that are read to find them: long values are of no use here.
const READ_BYTES_MAX: usize = 128 << 20;
/// Values that are read.
const SAMPLES_MAX: usize = 1 << 16;
/// The longest dictionary, and the shortest that we ask for.
const TRAINED_LEN_MAX: usize = 64 << 10;
const TRAINED_LEN_MIN: usize = 1 << 10;
/// A dictionary gets at most one part of this many of the bytes that it was trained from.
const SAMPLES_PER_DICTIONARY: usize = 10;
/// One in this many values is held back.
const HELD_BACK: usize = 8;
/// Odd, so that it comes to every shard; large, so that those looked at first are far apart.
const SHARD_STEP: usize = 2_654_435_769;

/// What came of [`Bitcask::train_dictionary`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DictionaryReport {
    /// The file.
    pub path: PathBuf,
    /// Bytes of the dictionary.
    pub dictionary_bytes: usize,
    /// Values that it was made from.
    pub samples: usize,
    /// Bytes of them.
    pub sampled_bytes: usize,
    /// Bytes of other values, on which it was tried.
    pub tried_bytes: usize,
    /// What these take compressed without a dictionary.
    pub tried_without: usize,
    /// What they take compressed with this one.
    pub tried_with: usize,
}

/// Values one after the other, and how long each is.
#[derive(Debug, Default)]
struct Samples {
    bytes: Vec<u8>,
    lens: Vec<usize>,
    held_back: Vec<Vec<u8>>,
    /// Bytes of records that were looked at.
    read_bytes: usize,
}

impl Bitcask {
    /// Makes a dictionary of what the values in the store have in common, and from now on compresses by it, if the store is
    /// opened with [`Compression::Zstd`]. For stores of many small values that are alike, after some thousand of
    /// them were put: JSON documents of 200 bytes take a third of what they take without.
    ///
    /// Takes about a second and some 20 MiB of memory. What is in the store already stays as it is; a new
    /// dictionary is worth it when values have changed. All dictionaries are kept with the store.
    ///
    /// # Errors
    /// `Invalid` if there are too few values; `Full`; `Io`.
    pub fn train_dictionary(&self) -> Result<DictionaryReport> {
        self.engine()?.train_dictionary()
    }
}

impl Engine {
    fn train_dictionary(&self) -> Result<DictionaryReport> {
        let dir = &*self.dir;
        let _training = lock(&dir.dictionaries.training);
        // Closing waits for the training; whoever waited here finds the store closed.
        self.check_open()?;
        let level = match dir.options.compression {
            Compression::Zstd { level } => level,
            _ => Compression::LEVEL,
        };
        if let Some(fault) = (Compression::Zstd { level }).fault() {
            return Err(Error::invalid(format!("cannot train a dictionary: {fault}")));
        }

        let samples = dir.samples()?;
        let len_max =
            (samples.bytes.len() / SAMPLES_PER_DICTIONARY).clamp(TRAINED_LEN_MIN, TRAINED_LEN_MAX);
        let dictionary = train(&samples.bytes, &samples.lens, len_max).ok_or_else(|| {
            let what = format!("{} values are too few to train a dictionary", samples.lens.len());
            Error::invalid(what).at(&dir.path)
        })?;
        let (id, number) = (dictionary_id(&dictionary), dir.dictionaries.next_number());
        let file = DictionaryFile { store_id: dir.store_id, number, dictionary };
        let report = samples.report(dir, id, level, &file);
        dir.publish_dictionary(id, &file)?;
        tracing::info!(?report, "trained a dictionary");
        Ok(report)
    }
}

impl Directory {
    /// Makes a dictionary durable, and only then takes it into use.
    fn publish_dictionary(&self, id: u32, file: &DictionaryFile) -> Result<()> {
        // The same values give the same dictionary, and that may have been lost or damaged since.
        if let Ok(there) = self.read_dictionary(id)
            && there.dictionary != file.dictionary
        {
            let what =
                "the dictionary has by chance the id of another: train again with other values";
            return Err(Error::invalid(what).at(&self.dictionary_path(id)));
        }
        self.publish(&self.dictionary_path(id), &file.encode())?;
        self.dictionaries.use_from_now_on(self, id, file)
    }

    /// Values from all over the store, of lengths for which a dictionary would be used.
    fn samples(&self) -> Result<Samples> {
        let shards = self.keydir.shard_count();
        let wanted = SAMPLES_MAX.div_ceil(shards);
        let mut samples = Samples::default();
        for n in 0..shards {
            let guard = self.files.guard();
            let places = self.keydir.places(n.wrapping_mul(SHARD_STEP) % shards, Moment::NOW.seq);
            // Keeps its files readable, and holds up nobody.
            let table = guard.clone();
            drop(guard);
            for &place in places.iter().step_by(places.len().div_ceil(wanted).max(1)) {
                self.sample(&table, place, &mut samples)?;
                if samples.are_enough() {
                    return Ok(samples);
                }
            }
        }
        Ok(samples)
    }

    fn sample(&self, table: &Table, place: Place, samples: &mut Samples) -> Result<()> {
        let mut scratch = Vec::new();
        let value = table.file(place).record(place, &mut scratch).and_then(|record| {
            samples.read_bytes += record.len;
            self.value_of(&record)
        });
        match value {
            Ok(value) => {
                let lens = self.options.compress_from..=DICTIONARY_UP_TO;
                if lens.contains(&value.len()) {
                    samples.add(value.into_vec());
                }
                Ok(())
            }
            // Whoever reads the key is told. There are others to learn from.
            Err(e) if e.kind() == ErrorKind::Corrupt => Ok(()),
            Err(e) => Err(e),
        }
    }
}

impl Samples {
    fn are_enough(&self) -> bool {
        self.bytes.len() >= SAMPLED_BYTES_MAX || self.read_bytes >= READ_BYTES_MAX
    }

    fn add(&mut self, value: Vec<u8>) {
        if (self.lens.len() + self.held_back.len()) % HELD_BACK == HELD_BACK - 1 {
            self.held_back.push(value);
        } else {
            self.lens.push(value.len());
            self.bytes.extend_from_slice(&value);
        }
    }

    fn report(
        &self,
        dir: &Directory,
        id: u32,
        level: i32,
        file: &DictionaryFile,
    ) -> DictionaryReport {
        let encoder = Encoder::new(id, &file.dictionary, level);
        let len = |encoder: Option<&Encoder>| {
            let stored = |value: &Vec<u8>| {
                let stored = compress(Compression::Zstd { level }, value, encoder);
                stored.map_or(value.len(), |(_, stored)| stored.len())
            };
            self.held_back.iter().map(stored).sum()
        };
        DictionaryReport {
            path: dir.dictionary_path(id),
            dictionary_bytes: file.dictionary.len(),
            samples: self.lens.len(),
            sampled_bytes: self.bytes.len(),
            tried_bytes: self.held_back.iter().map(Vec::len).sum(),
            tried_without: len(None),
            tried_with: len(encoder.as_ref()),
        }
    }
}
