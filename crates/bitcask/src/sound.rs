//! Surveying a directory that somebody may be writing to.
//!
//! It is not listed in one moment, nor are its files read in one: `readonly.rs` tells what makes a survey sound.

use std::path::Path;

use crate::directory::{Directory, UNKNOWN_STORE};
use crate::engine::choose_io;
use crate::error::{Error, ErrorKind, Result};
use crate::header::FileKind;
use crate::name::LOCK_NAME;
use crate::options::Options;
use crate::survey::{Listing, Survey, cannot_list, store_id};

/// Surveys before what was found is believed to be damage.
const ATTEMPTS: usize = 10;
/// Files that a survey holds open before it reads them.
const FILES_HELD_MAX: usize = 400;

/// The log files of a directory that count.
pub(crate) fn sound_logs(path: &Path, options: &Options) -> Result<Vec<u64>> {
    until_sound(|| {
        let surveyed = survey(path, options)?;
        Ok(surveyed.map(|(_, survey)| survey.logs.iter().map(|found| found.id).collect()))
    })
}

/// Tries again while the directory changes, and a few times when it looks damaged.
pub(crate) fn until_sound<T>(attempt_once: impl Fn() -> Result<Option<T>>) -> Result<T> {
    let mut attempt = 1;
    loop {
        match attempt_once() {
            Ok(Some(surveyed)) => return Ok(surveyed),
            Ok(None) => {}
            // Merge took a file away before it was opened.
            Err(e) if e.is_not_found() => {}
            // A file was read while its end was being written.
            Err(e) if e.kind() == ErrorKind::Corrupt && attempt < ATTEMPTS => attempt += 1,
            Err(e) => return Err(e),
        }
        std::thread::yield_now();
    }
}

/// None if the directory changed meanwhile.
pub(crate) fn survey(path: &Path, options: &Options) -> Result<Option<(Directory, Survey)>> {
    let fs = &options.fs;
    let list = || {
        let entries = fs.list(path);
        entries.map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => Error::invalid("there is no such directory").at(path),
            _ => cannot_list(path, e),
        })
    };
    let entries = list()?;
    let was_opened = entries.iter().any(|entry| entry.name == LOCK_NAME);
    let listing = Listing::of(entries);
    listing.check_whole(path)?;
    if !listing.holds_store() && !was_opened {
        return Err(Error::invalid("the directory holds no store").at(path));
    }
    let store_id = store_id(&**fs, path, &listing)?.unwrap_or(UNKNOWN_STORE);
    let mapped = choose_io(options, path)?;
    let dir = Directory::new(path, options.clone(), store_id, mapped, true);
    hold_all(&dir, &listing)?;
    let after = Listing::of(list()?);
    after.check_whole(path)?;
    // Files that the log has gone on in may have come.
    if listing.merged != after.merged || !after.logs.starts_with(&listing.logs) {
        return Ok(None);
    }
    let mut survey = Survey::of(&dir, &listing)?;
    dir.time.not_before(survey.time_ms());
    // A file that was just begun, or is being written to, ends where it ends for now.
    survey.end_at_hole(&dir)?;
    Ok(Some((dir, survey)))
}

/// Opens the data files, the newest first, as many as a process can be expected to. The others are opened when their turn
/// comes, if they are still there.
fn hold_all(dir: &Directory, listing: &Listing) -> Result<()> {
    let logs = listing.logs.iter().rev().map(|&id| (FileKind::Log, id));
    let merged = listing.merged.iter().rev().map(|&id| (FileKind::Merged, id));
    for (kind, id) in logs.chain(merged).take(FILES_HELD_MAX) {
        dir.hold(dir.data_path(kind, id))?;
    }
    Ok(())
}
