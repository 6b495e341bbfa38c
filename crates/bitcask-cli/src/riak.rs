//! Reads a directory that Riak's Bitcask wrote, of any release, and gives what it holds as changes in their order: a
//! later change of a key replaces an earlier one. Nothing is written to it.
//!
//! Data files are read from the lowest number to the highest, each from its beginning, which is the order that
//! counts; times do not. Those that a merge has replaced and not yet removed are marked by their mode and left out.
//! Values come from data files only, and only from records whose CRC is right. Hint files are witnesses: they tell
//! tombstones from values that look like one, where records begin behind damage, and what was lost.
//!
//! Where the original gives up, this goes on: behind a damaged record the next one that checks out is
//! [searched for](data), however many there are. A key whose newest record is damaged gets, as far as a hint file can be
//! trusted to tell, no older value; otherwise the report says which keys are in doubt, or that some may be.
//!
//! What it cannot see: whole files that are missing, files cut exactly between two records without a hint file, and
//! whether values are Riak's objects.

mod crc;
mod data;
mod hint;
mod keys;
mod record;
mod replay;
mod report;
#[cfg(test)]
mod tests;
mod window;

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

pub(crate) use self::report::RiakReport;

use self::data::DataFile;
use self::hint::Hint;
use self::replay::{Replay, Stop};
use self::report::OpenKeys;
use crate::incoming::Incoming;

const DATA_SUFFIX: &str = ".bitcask.data";
const HINT_SUFFIX: &str = ".bitcask.hint";

/// Others may execute it, or it takes on its owner's rights: how a data file is marked that a merge has replaced.
const REPLACED_BITS: u32 = 0o4001;

/// How to read a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RiakOptions {
    /// None: nothing expires.
    pub(crate) expiry: Option<Expiry>,
    pub(crate) keys: KeyForm,
}

/// What was `expiry_secs` when the directory was in use. Its files do not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expiry {
    pub(crate) secs: u64,
    /// Now, in milliseconds since 1970.
    pub(crate) now_ms: u64,
}

/// What becomes of keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum KeyForm {
    #[default]
    AsStored,
    /// Keys of Riak KV become [`type/bucket/key`](keys), others stay as they are.
    RiakKv,
}

/// How far a reading is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RiakProgress {
    pub(crate) bytes_done: u64,
    /// Of all data files to be read.
    pub(crate) bytes: u64,
}

/// Why a directory was not read to its end.
#[derive(Debug)]
pub(crate) enum RiakError<E> {
    Read {
        path: PathBuf,
        source: io::Error,
    },
    /// There are no data files.
    NoData {
        dir: PathBuf,
        /// A directory in it that has some: a node keeps one for each partition.
        partition: Option<PathBuf>,
    },
    /// The caller's own error.
    Each(E),
}

/// Whether there is something to read. The usual mistakes show before there is a store.
pub(crate) fn look<E>(dir: &Path) -> Result<(), RiakError<E>> {
    list(dir).map(drop)
}

fn list<E>(dir: &Path) -> Result<Listing, RiakError<E>> {
    let listing =
        Listing::of(dir).map_err(|source| RiakError::Read { path: dir.into(), source })?;
    if listing.files.is_empty() {
        return Err(RiakError::NoData { dir: dir.into(), partition: a_partition(dir) });
    }
    Ok(listing)
}

/// Calls `each` with every change in the directory, in order. `on_progress` is called after every record.
pub(crate) fn read<E>(
    dir: &Path,
    options: &RiakOptions,
    each: &mut dyn FnMut(Incoming) -> Result<(), E>,
    on_progress: &mut dyn FnMut(RiakProgress),
) -> Result<RiakReport, RiakError<E>> {
    let listing = list(dir)?;
    let mut replay =
        Replay { options, report: RiakReport::default(), open: OpenKeys::default(), each };
    listing.tell(&mut replay.report);
    let mut progress = RiakProgress { bytes_done: 0, bytes: listing.bytes() };
    for file in listing.files.iter().filter(|file| file.skip.is_none()) {
        let before = progress.bytes_done;
        let mut moved = |bytes: u64| {
            progress.bytes_done = before.saturating_add(bytes);
            on_progress(progress);
        };
        let path = dir.join(&file.name);
        read_file(dir, &path, file, &mut replay, &mut moved).map_err(|stop| match stop {
            Stop::Io(source) => RiakError::Read { path, source },
            Stop::Each(error) => RiakError::Each(error),
        })?;
    }
    let Replay { mut report, open, .. } = replay;
    open.tell(&mut report);
    Ok(report)
}

fn read_file<E>(
    dir: &Path,
    path: &Path,
    file: &Listed,
    replay: &mut Replay<'_, E>,
    moved: &mut dyn FnMut(u64),
) -> Result<(), Stop<E>> {
    let mut data = DataFile::open(path)?;
    let hint = Hint::open(&dir.join(hint_name(&file.name)))?;
    replay.file(&file.name, &mut data, hint, moved)
}

/// The name of a data file's hint file.
fn hint_name(data: &str) -> String {
    let stem = data.strip_suffix(DATA_SUFFIX).unwrap_or(data);
    format!("{stem}{HINT_SUFFIX}")
}

/// What the directory has.
#[derive(Debug, Default)]
struct Listing {
    /// Data files, in their order.
    files: Vec<Listed>,
    orphans: Vec<String>,
    locked: Option<String>,
}

#[derive(Debug)]
struct Listed {
    number: u64,
    name: String,
    len: u64,
    /// Why it is not read.
    skip: Option<&'static str>,
}

impl Listing {
    fn of(dir: &Path) -> io::Result<Self> {
        let mut listing = Self::default();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if let Some(number) = number_before(&name, DATA_SUFFIX) {
                let metadata = fs::metadata(entry.path())?;
                let skip = reason_to_skip(&metadata);
                listing.files.push(Listed { number, name, len: metadata.len(), skip });
            } else if number_before(&name, HINT_SUFFIX).is_some() {
                listing.orphans.push(name);
            } else if name == "bitcask.write.lock" || name == "bitcask.merge.lock" {
                listing.locked = Some(name);
            }
        }
        listing.files.sort_unstable_by(|a, b| (a.number, &a.name).cmp(&(b.number, &b.name)));
        let hints: std::collections::HashSet<_> =
            listing.files.iter().map(|file| hint_name(&file.name)).collect();
        listing.orphans.retain(|name| !hints.contains(name));
        listing.orphans.sort_unstable();
        Ok(listing)
    }

    fn bytes(&self) -> u64 {
        let read = self.files.iter().filter(|file| file.skip.is_none());
        read.fold(0, |sum, file| sum.saturating_add(file.len))
    }

    fn tell(&self, report: &mut RiakReport) {
        if let Some(name) = &self.locked {
            let what = "is there: if a Riak node uses the directory, stop it and import again";
            report.notices.add(name, None, what.into());
        }
        for (name, why) in self.files.iter().filter_map(|file| Some((&file.name, file.skip?))) {
            report.files_skipped += 1;
            report.notices.add(name, None, why.into());
        }
        for name in &self.orphans {
            report.notices.add(name, None, "has no data file: not used".into());
        }
    }
}

fn reason_to_skip(metadata: &Metadata) -> Option<&'static str> {
    if !metadata.is_file() {
        Some("is not a file: left out")
    } else if metadata.permissions().mode() & REPLACED_BITS != 0 {
        Some("was replaced by a merge and waits for its removal, says its mode: left out")
    } else {
        None
    }
}

fn number_before(name: &str, suffix: &str) -> Option<u64> {
    let digits = name.strip_suffix(suffix)?;
    let decimal = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    decimal.then(|| digits.parse().ok()).flatten()
}

/// A directory below with data files.
fn a_partition(dir: &Path) -> Option<PathBuf> {
    let mut below = fs::read_dir(dir).ok()?.filter_map(Result::ok).map(|entry| entry.path());
    below.find(|path| {
        let digits = path
            .file_name()
            .and_then(OsStr::to_str)
            .is_some_and(|name| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit()));
        digits && Listing::of(path).is_ok_and(|listing| !listing.files.is_empty())
    })
}
