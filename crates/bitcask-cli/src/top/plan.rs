//! Which parts there is room for, and how many rows each gets.

use super::rates::{KINDS, TIMED};
use super::state::State;

/// The store and its process.
const HEADER: usize = 3;
/// The keys.
const FOOTER: usize = 1;
/// Titles and totals of files.
const SPACE: usize = 2;
const OPERATIONS: usize = 1 + KINDS.len();
const LATENCIES: usize = 1 + TIMED.len();
/// Screens with fewer rows show of snapshots only the sum.
const TALL: usize = 32;
/// Snapshots that are shown on a tall screen.
const SNAPSHOTS_MAX: usize = 5;
/// Before parts are set apart, so many files are shown.
const FILES_FIRST: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) operations: bool,
    pub(crate) latencies: bool,
    /// Files, besides their total.
    pub(crate) files: usize,
    /// Merge.
    pub(crate) merge: bool,
    /// Snapshots one by one, besides their sum.
    pub(crate) snapshots: usize,
    /// Whether parts are set apart by empty rows.
    pub(crate) is_airy: bool,
}

impl Plan {
    /// For a screen of so many rows. Operations and latencies that do not fit are left out; of the rest the end is.
    pub(crate) fn of(state: &State, height: usize) -> Self {
        let Some(stats) = &state.stats else {
            return Self {
                operations: false,
                latencies: false,
                files: 0,
                merge: false,
                snapshots: 0,
                is_airy: false,
            };
        };
        let is_counted = state.counted().is_some();
        let snapshots = if height < TALL { 0 } else { stats.snapshots.len().min(SNAPSHOTS_MAX) };
        let more = usize::from(is_counted)
            + usize::from(!stats.snapshots.is_empty())
            + snapshots
            + usize::from(!stats.pinned_files.is_empty());
        let notes = usize::from(state.trouble.is_some()) + usize::from(stats.poisoned.is_some());
        let mut left = height.saturating_sub(HEADER + notes + SPACE + more + FOOTER);
        // Each leaves a row for a file.
        let mut fits = |rows: usize| {
            let fits = is_counted && left > rows;
            if fits {
                left -= rows;
            }
            fits
        };
        let (operations, latencies) = (fits(OPERATIONS), fits(LATENCIES));
        let gaps = 1 + usize::from(operations) + usize::from(latencies) + usize::from(more > 0);
        let is_airy = left >= gaps + stats.files.len().min(FILES_FIRST);
        if is_airy {
            left -= gaps;
        }
        let files = left.min(stats.files.len());
        Self { operations, latencies, files, merge: is_counted, snapshots, is_airy }
    }
}
