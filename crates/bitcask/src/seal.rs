//! Writing hints: what a scan of a durable file finds, published.

use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::files::DataFile;
use crate::fs::File;
use crate::hint::{self, HintEntry, HintFile, HintHeader};
use crate::record::{Flags, Mark};
use crate::scan::Scanner;

/// Writes the hint of a finished file that had none, or only one of its beginning.
pub(crate) fn seal_hint(dir: &Directory, data: &DataFile) -> Result<Option<HintFile>> {
    let HintOf { header, mut entries } = hint_of(dir, &*dir.open_file(&data.path)?, data)?;
    publish_hint(dir, header, &mut entries)
}

/// Writes a hint, and opens it.
pub(crate) fn publish_hint(
    dir: &Directory,
    header: HintHeader,
    entries: &mut [HintEntry],
) -> Result<Option<HintFile>> {
    let path = dir.hint_path(header.file_id);
    dir.publish(&path, &hint::encode(header, entries))?;
    HintFile::open(&dir.fs, &path)
}

/// What a hint for a file says, read from the file itself.
#[derive(Debug)]
pub(crate) struct HintOf {
    pub(crate) header: HintHeader,
    pub(crate) entries: Vec<HintEntry>,
}

/// Reads a file up to its last mark. What it finds damaged is an error: the file is durable that far.
pub(crate) fn hint_of(dir: &Directory, file: &dyn File, data: &DataFile) -> Result<HintOf> {
    let mut scanner = Scanner::from_start(file, &data.path, data.seed)?;
    let mut entries = Vec::new();
    let (mut mark, mut mark_at, mut ended, mut seq_max) = (None, 0, false, 0);
    while let Some((offset, record)) = scanner.next()? {
        seq_max = record.seq.max(seq_max);
        if record.flags.has(Flags::MARK) {
            (mark, mark_at) = (Mark::decode(record.value).ok(), offset);
            ended = record.flags.has(Flags::END);
            if ended {
                break;
            }
        } else if record.flags.is_change() {
            entries.push(HintEntry::of(dir.hash(record.key), offset, &record));
        }
    }
    if let (false, Some(fault)) = (ended, scanner.fault()) {
        return Err(data.fault(scanner.offset(), fault));
    }
    let Some(mark) = mark else {
        return Err(Error::corrupt("the file has no mark", &data.path, scanner.offset()));
    };
    entries.retain(|entry: &HintEntry| entry.offset() < mark_at);
    let header = HintHeader {
        ended,
        seed: data.seed,
        file_id: data.id,
        covered: mark_at,
        seq_max,
        digest: mark.digest,
        ..HintHeader::default()
    };
    Ok(HintOf { header, entries })
}
