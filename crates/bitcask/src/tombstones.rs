//! Which tombstones a step of a merge must keep: those that may still hide an older record in some file.
//!
//! What each file holds is in its hint. All tombstones of the inputs are looked up together, so that a step reads the
//! hint of every other file at most once.

use std::collections::HashMap;
use std::sync::Arc;

use crate::directory::Directory;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::files::DataFile;
use crate::hint::{HintCursor, HintEntry, HintFile};
use crate::keeper::Stop;
use crate::merge::StepResult;
use crate::merged_file::HiddenIn;
use crate::sync::atomic::Ordering;

/// A tombstone of an input, or a value in it that has expired, which hides older ones as a tombstone does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Gone {
    hash: u64,
    seq: u64,
    file_id: u64,
}

/// By sequence number, the tombstones that must be kept.
pub(crate) struct Needed(HashMap<u64, HiddenIn>);

impl Needed {
    /// The inputs' tombstones, and values that have expired at `time_ms`, that may still hide an older record in another
    /// file; or in their own, if a snapshot may have it copied.
    pub(crate) fn of(engine: &Engine, inputs: &[Arc<DataFile>], time_ms: u64) -> StepResult<Self> {
        let dir = &engine.dir;
        let mut needed = Self(HashMap::new());
        let gone = gone_in(dir, inputs, time_ms)?;
        let Some(seq_max) = gone.iter().map(|gone| gone.seq).max() else { return Ok(needed) };
        for other in dir.files.files() {
            // With many files this takes long, and whoever closes the store waits for it.
            if engine.keeper.is_stopped() {
                return Err(Stop::Asked);
            }
            let is_input = inputs.iter().any(|input| input.id == other.id);
            let hidden_in = if is_input { HiddenIn::Inputs } else { HiddenIn::Others };
            if other.seq_min.load(Ordering::Acquire) <= seq_max {
                needed.add(dir, &gone, &other, hidden_in)?;
            }
        }
        Ok(needed)
    }

    /// Adds what `other` holds older records for, or, if it is not their own file, the value that became the tombstone
    /// when it expired and was moved.
    fn add(
        &mut self,
        dir: &Directory,
        gone: &[Gone],
        other: &DataFile,
        hidden_in: HiddenIn,
    ) -> Result<()> {
        let seq_min = other.seq_min.load(Ordering::Acquire);
        let own_counts = dir.snapshots.any();
        let asked = gone
            .iter()
            .filter(|gone| gone.seq >= seq_min && (own_counts || gone.file_id != other.id));
        let hint = if other.sealed.load(Ordering::Acquire) { hint_of(dir, other)? } else { None };
        let mut cursor =
            hint.as_ref().map(|hint| HintCursor::for_search(hint, asked.clone().count() as u64));
        for &Gone { hash, seq, file_id } in asked {
            let is_own = file_id == other.id;
            let is_older =
                |e: &HintEntry| e.seq < seq || e.seq == seq && !is_own && !e.is_tombstone();
            // What cannot be looked up may hold anything.
            let holds_older = match &mut cursor {
                Some(cursor) => cursor.has_older(hash, is_older)?.unwrap_or(true),
                None => true,
            };
            if holds_older {
                let known = self.0.entry(seq).or_insert(hidden_in);
                *known = hidden_in.max(*known);
            }
        }
        Ok(())
    }

    /// Where the records are that the tombstone numbered `seq` still hides, if there may be any.
    pub(crate) fn hidden_in(&self, seq: u64) -> Option<HiddenIn> {
        self.0.get(&seq).copied()
    }
}

/// What hides older records in the inputs, in the order of hashes.
fn gone_in(dir: &Directory, inputs: &[Arc<DataFile>], time_ms: u64) -> Result<Vec<Gone>> {
    let mut all = Vec::new();
    for input in inputs {
        let gone = match hint_of(dir, input)? {
            Some(hint) => hint.gone(time_ms)?.ok(),
            None => None,
        };
        let Some(gone) = gone else {
            return Err(Error::corrupt("the hint is gone or damaged", &input.path, 0));
        };
        let file_id = input.id;
        all.extend(gone.into_iter().map(|(hash, seq)| Gone { hash, seq, file_id }));
    }
    all.sort_unstable();
    Ok(all)
}

fn hint_of(dir: &Directory, file: &DataFile) -> Result<Option<HintFile>> {
    let hint = HintFile::open(&dir.fs, &dir.hint_path(file.id))?;
    Ok(hint.filter(|hint| hint.header.seed == file.seed && hint.header.ended))
}
