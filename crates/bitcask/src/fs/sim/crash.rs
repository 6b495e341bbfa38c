//! What a power loss leaves.
//!
//! Everything durable, and of the rest any part: the medium takes sectors in any order, can tear one, and
//! learns of lengths and names separately. Random subsets alone would rarely show the interesting corners
//! (all data but no name, names without data, one file whole and another missing), so a [`Mode`] is drawn
//! first, for the data and for the names.

use std::ops::Range;
use std::sync::Arc;

use super::dir::Dir;
use super::inode::{Inode, PAGE, cut_pages, page_end};
use super::rng::Rng;

const SECTOR: usize = 512;

/// How a crash chooses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice {
    pub(super) data: Mode,
    pub(super) names: Mode,
}

/// Which of the changes that waited reach the medium.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mode {
    Nothing,
    Everything,
    /// Those at low addresses, or the oldest: roughly what a log written in order leaves.
    Low,
    /// Those at high addresses, or the newest.
    High,
    /// About this many eighths of them.
    Some(usize),
    /// For each file or directory something else.
    Mixed,
}

impl Choice {
    /// Seeds 0 to 3 (and every sixteenth after) are the corners; the others draw.
    pub(super) fn draw(seed: u64, rng: &mut Rng) -> Self {
        let (data, names) = match seed % 16 {
            0 => (Mode::Nothing, Mode::Nothing),
            1 => (Mode::Everything, Mode::Everything),
            2 => (Mode::Everything, Mode::Nothing),
            3 => (Mode::Nothing, Mode::Everything),
            _ => (Mode::draw(rng), Mode::draw(rng)),
        };
        Self { data, names }
    }
}

impl Mode {
    fn draw(rng: &mut Rng) -> Self {
        if rng.one_in(4) { Self::Mixed } else { Self::draw_unmixed(rng) }
    }

    fn draw_unmixed(rng: &mut Rng) -> Self {
        match rng.below(7) {
            0 => Self::Nothing,
            1 => Self::Everything,
            2 => Self::Low,
            3 => Self::High,
            4 => Self::Some(1),
            5 => Self::Some(7),
            _ => Self::Some(4),
        }
    }

    fn for_one(self, rng: &mut Rng) -> Self {
        if matches!(self, Self::Mixed) { Self::draw_unmixed(rng) } else { self }
    }

    /// Whether something that is not part of a sequence reaches the medium.
    fn keeps(self, rng: &mut Rng) -> bool {
        match self {
            Self::Nothing => false,
            Self::Everything => true,
            _ => rng.coin(),
        }
    }

    /// Which of `count` changes in sequence reach the medium whole.
    fn fates(self, count: usize, rng: &mut Rng) -> Vec<bool> {
        let border = rng.below(count + 1);
        let fate = |index| match self {
            Self::Nothing => false,
            Self::Everything => true,
            Self::Low => index < border,
            Self::High => index >= border,
            Self::Some(eighths) => rng.below(8) < eighths,
            Self::Mixed => rng.coin(),
        };
        (0..count).map(fate).collect()
    }

    fn is_extreme(self) -> bool {
        matches!(self, Self::Nothing | Self::Everything)
    }
}

impl Dir {
    /// This directory after a power loss.
    pub(super) fn after_power_loss(&self, choice: Choice, rng: &mut Rng) -> Self {
        let fates = choice.names.for_one(rng).fates(self.pending_count(), rng);
        Self::durable(self.with_pending(|index| fates[index]))
    }
}

impl Inode {
    /// This file after a power loss.
    pub(super) fn after_power_loss(&self, choice: Choice, rng: &mut Rng) -> Self {
        let mode = choice.data.for_one(rng);
        if self.is_durable() {
            return Self::shared(Arc::clone(&self.medium), self.len);
        }
        let mut image = self.medium.to_vec();
        let is_cut = self.cut < self.medium_len;
        let old_len = self.cut.min(self.medium_len);

        let (len, durable_len, reach) = if is_cut && !mode.keeps(rng) {
            // Blocks beyond the cut were not reused while it was not durable.
            (self.medium_len, self.medium_len, page_end(self.cut).min(self.medium_len))
        } else {
            if is_cut {
                cut_pages(&mut image, self.cut);
            }
            (crashed_len(mode, old_len, self.len, rng), old_len, self.len)
        };

        image.resize(page_end(len.max(reach)).max(image.len()), 0);
        self.persist_sectors(&mut image, mode, durable_len, reach, rng);
        image.truncate(len);
        Self::durable(image)
    }

    /// Copies into `image` what reaches the medium of the bytes that wait below `reach`.
    fn persist_sectors(
        &self,
        image: &mut [u8],
        mode: Mode,
        durable_len: usize,
        reach: usize,
        rng: &mut Rng,
    ) {
        let unit = if rng.one_in(3) { PAGE } else { SECTOR };
        let units = self.dirty_units(image, unit, reach);
        let fates = mode.fates(units.len(), rng);
        for (units, is_kept) in units.into_iter().zip(fates) {
            let now = &self.page(units.start / PAGE)[units.start % PAGE..][..units.len()];
            // Blocks that the file had not got for good may turn out never written, though they were.
            let may_be_zero = units.start >= durable_len;
            let old = &mut image[units];
            if mode.is_extreme() || !rng.one_in(8) {
                if is_kept {
                    old.copy_from_slice(now);
                }
            } else if may_be_zero && rng.coin() {
                old.fill(0);
            } else {
                tear(old, now, rng);
            }
        }
    }

    /// The stretches of `unit` bytes below `reach` that wait to be written.
    fn dirty_units(&self, image: &[u8], unit: usize, reach: usize) -> Vec<Range<usize>> {
        let mut units = Vec::new();
        for page in self.dirty_pages() {
            let now = self.page(page).chunks(unit);
            for (chunk, start) in now.zip((page * PAGE..).step_by(unit)) {
                if start < reach && *chunk != image[start..start + unit] {
                    units.push(start..start + unit);
                }
            }
        }
        units
    }
}

/// Between the old and the new length; what lies beyond the old one may be zeros.
fn crashed_len(mode: Mode, old: usize, new: usize, rng: &mut Rng) -> usize {
    match mode {
        Mode::Nothing => old,
        Mode::Everything => new,
        _ => match rng.below(3) {
            0 => old,
            1 => new,
            _ => old + rng.below(new - old + 1),
        },
    }
}

/// Replaces the first or the last bytes of one sector.
fn tear(old: &mut [u8], now: &[u8], rng: &mut Rng) {
    let at = rng.below(old.len());
    if rng.coin() {
        old[..at].copy_from_slice(&now[..at]);
    } else {
        old[at..].copy_from_slice(&now[at..]);
    }
}
