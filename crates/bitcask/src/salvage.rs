//! What repair finds in a data file: what checks out, what does not, and what its hint says was there.
//!
//! A damaged header takes the seed of all checksums with it. But the header is in the file twice, as bytes and as their
//! checksum, which is the seed; marks and the hint hold the seed, too; and a single damaged byte of the header is found
//! by trying.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::directory::Directory;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{Access, File, Fs};
use crate::header::{FILE_HEADER_LEN, FileHeader, FileKind, HeaderFault};
use crate::hint::{HintEntry, HintHeader};
use crate::hint_check::{HintFault, WholeHint, speaks_of};
use crate::name;
use crate::record::{LogPosition, MARK_LEN};
use crate::scan::seed_from_marks;
use crate::walk::{Inventory, Step, Walker, inventory, read_patiently};

/// The first bytes of a data file.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) kind: FileKind,
    pub(crate) id: u64,
    pub(crate) path: PathBuf,
    pub(crate) header: std::result::Result<(FileHeader, u32), &'static str>,
    /// What the header was, if one byte of it is damaged.
    pub(crate) corrected: Option<(FileHeader, u32)>,
    bytes: Vec<u8>,
}

/// The identity that most files have. If all headers are damaged, what they look like, and at last a new one: then
/// all files are written anew.
pub(crate) fn store_id(starts: &[Start], fs: &dyn Fs, path: &Path) -> Result<[u8; 16]> {
    let mut counts = HashMap::<[u8; 16], usize>::new();
    for (header, _) in starts.iter().filter_map(|start| start.header.ok()) {
        *counts.entry(header.store_id).or_default() += 1;
    }
    let most = counts.values().max().copied().unwrap_or(0);
    let mut likely = counts.into_iter().filter(|&(_, count)| count == most);
    match (likely.next(), likely.next()) {
        (Some(_), Some(_)) => {
            let what =
                "the directory holds files of several stores: move away those that do not belong";
            Err(Error::invalid(what).at(path))
        }
        (Some((id, _)), None) => Ok(id),
        (None, _) => {
            let corrected = starts.iter().filter(|start| start.corrected.is_some());
            let id = corrected.chain(starts).find_map(Start::likely_store_id);
            Ok(id.unwrap_or_else(|| fs.random()))
        }
    }
}

impl Start {
    pub(crate) fn read(fs: &dyn Fs, dir: &Path, kind: FileKind, id: u64) -> Result<Self> {
        let path = name::data_path(dir, kind, id);
        let failed = |e| Error::io("cannot read", &path, e);
        let file = fs.open(&path, Access::Read).map_err(failed)?;
        let mut bytes = vec![0; FILE_HEADER_LEN];
        let n = read_patiently(&*file, &mut bytes, 0, |_| {}).map_err(failed)?;
        bytes.truncate(n);
        let header = match FileHeader::decode(&bytes) {
            Ok(header) => Ok(header),
            Err(HeaderFault::Damaged(what)) => Err(what),
            Err(HeaderFault::Version(version)) => {
                let what = format!("the file has version {version}, this program knows version 1");
                return Err(Error::new(ErrorKind::Unsupported, what).at(&path));
            }
        };
        let corrected = if header.is_err() { corrected(&bytes) } else { None };
        Ok(Self { kind, id, path, header, corrected, bytes })
    }

    /// The identity of the store, as far as these bytes tell it.
    fn likely_store_id(&self) -> Option<[u8; 16]> {
        let header = self.header.ok().or(self.corrected).map(|(header, _)| header.store_id);
        header.or_else(|| self.bytes.get(16..32)?.try_into().ok())
    }
}

/// Seeds that a file with a damaged header may have, the likeliest first.
pub(crate) fn likely_seeds(header: &[u8]) -> Vec<u32> {
    let mut seeds = Vec::new();
    seeds.extend(corrected(header).map(|(_, seed)| seed));
    if let Some((body, stored)) = header.split_at_checked(FILE_HEADER_LEN - 4)
        && let Ok(stored) = stored.try_into()
    {
        seeds.extend([u32::from_le_bytes(stored), crc32c::crc32c(body)]);
    }
    seeds
}

/// The header that checks out if one byte is changed.
fn corrected(bytes: &[u8]) -> Option<(FileHeader, u32)> {
    let mut bytes = bytes.to_vec();
    for at in 0..bytes.len() {
        let was = bytes[at];
        for byte in 0..=u8::MAX {
            bytes[at] = byte;
            if let Ok(header) = FileHeader::decode(&bytes) {
                return Some(header);
            }
        }
        bytes[at] = was;
    }
    None
}

/// A data file, examined.
#[derive(Debug)]
pub(crate) struct Patient {
    pub(crate) kind: FileKind,
    pub(crate) id: u64,
    pub(crate) path: PathBuf,
    /// Bytes in the file.
    pub(crate) len: u64,
    /// The log file that must be there before this one; 0 for none, or if nobody knows.
    pub(crate) previous: u64,
    /// Known even if the header is damaged, if anything else tells it.
    pub(crate) seed: Option<u32>,
    /// What is wrong with the header.
    pub(crate) header_fault: Option<String>,
    /// Whether the header is sound and the file is not where it belongs: opening would refuse.
    pub(crate) misplaced: bool,
    /// Whether one byte of the header is damaged: that is not how a crash leaves it.
    pub(crate) rotten_header: bool,
    next_seq: u64,
    /// Whether what is in it is no part of the store: nothing is taken from it.
    pub(crate) stray: bool,
    pub(crate) inventory: Inventory,
    /// Changes that check out, and the bytes they take.
    pub(crate) changes: u64,
    pub(crate) change_bytes: u64,
    pub(crate) hint: Option<HintFindings>,
    /// What the hint says was there and is not.
    pub(crate) lost: Vec<HintEntry>,
}

/// What a hint turned out to be.
#[derive(Debug)]
pub(crate) struct HintFindings {
    pub(crate) path: PathBuf,
    pub(crate) faults: Vec<HintFault>,
    /// What it says of its file, if its header checks out and is of this file.
    pub(crate) header: Option<HintHeader>,
    /// Up to where it tells of every change.
    pub(crate) complete_to: u64,
    /// Up to where it proves its file durable.
    proof: u64,
}

impl Patient {
    /// Reads a file and its hint, if there is one.
    pub(crate) fn examine(dir: &Directory, start: &Start, known_ids: &[u64]) -> Result<Self> {
        let file = dir.open_file(&start.path)?;
        let len = file.len().map_err(|e| Error::io("cannot read the length", &start.path, e))?;
        let hint_path = dir.hint_path(start.id);
        let hint = WholeHint::read(&*dir.fs, &hint_path)?;
        let mut patient = Self {
            kind: start.kind,
            id: start.id,
            path: start.path.clone(),
            len,
            previous: 0,
            seed: None,
            header_fault: None,
            misplaced: false,
            rotten_header: false,
            next_seq: 1,
            stray: false,
            inventory: Inventory::default(),
            changes: 0,
            change_bytes: 0,
            hint: None,
            lost: Vec::new(),
        };
        patient.take_header(dir, start, known_ids);
        if patient.seed.is_none() && !patient.stray {
            let hint = hint.as_ref().and_then(|hint| hint.header);
            let hint = hint.filter(|(header, _)| header.file_id == start.id);
            let seeds = likely_seeds(&start.bytes).into_iter();
            let seeds = seeds.chain(hint.map(|(header, _)| header.seed));
            patient.seed = find_seed(&*file, &start.path, len, seeds)?;
        }
        let mut entries = patient.inventory(dir, &*file)?;
        if let Some(hint) = hint {
            patient.take_hint(&*file, hint_path, &hint, &mut entries)?;
        }
        Ok(patient)
    }

    fn take_header(&mut self, dir: &Directory, start: &Start, known_ids: &[u64]) {
        let (header, seed) = match &start.header {
            Ok(header) => header,
            Err(what) => {
                self.header_fault = Some((*what).into());
                self.rotten_header = start.corrected.is_some();
                return;
            }
        };
        self.seed = Some(*seed);
        self.previous = header.previous;
        self.next_seq = header.next_seq;
        if header.store_id != dir.store_id {
            self.header_fault = Some("the file belongs to another store".into());
            self.stray = true;
        } else if header.file_id != self.id {
            let what = format!("the file says it is number {}: was it renamed?", header.file_id);
            self.header_fault = Some(what);
            // A copy of a file that is there may hold what was deleted since.
            self.stray = known_ids.contains(&header.file_id);
        } else if header.kind != self.kind {
            let what = "the name of the file does not agree with its header: was it renamed?";
            self.header_fault = Some(what.into());
        }
        self.misplaced = self.header_fault.is_some();
    }

    /// Gives what a hint should say of all that checks out.
    fn inventory(&mut self, dir: &Directory, file: &dyn File) -> Result<Vec<HintEntry>> {
        let mut entries = Vec::new();
        let Some(seed) = self.seed.filter(|_| !self.stray) else {
            self.inventory.hole = Some(0);
            return Ok(entries);
        };
        let walker = Walker::from_start(file, &self.path, seed, self.len);
        let mut each = |offset, record: &crate::record::Record<'_>| {
            if record.flags.is_change() {
                self.changes += 1;
                self.change_bytes += record.len as u64;
                entries.push(HintEntry::of(dir.hash(record.key), offset, record));
            }
        };
        let taken = inventory(walker, &mut each, &mut |_| std::ops::ControlFlow::Continue(()))?;
        self.inventory = taken.expect("nobody stops it");
        if self.header_fault.is_some() {
            self.inventory.hole = Some(0);
        }
        match self.inventory.gaps.iter().find(|gap| gap.unsupported) {
            Some(gap) => Err(Error::new(ErrorKind::Unsupported, gap.what.clone())
                .at(&self.path)
                .at_offset(gap.from)),
            None => Ok(entries),
        }
    }

    fn take_hint(
        &mut self,
        file: &dyn File,
        path: PathBuf,
        hint: &WholeHint,
        entries: &mut Vec<HintEntry>,
    ) -> Result<()> {
        let (hinted, mut faults) = hint.entries();
        let header = hint.header.map(|(header, _)| header);
        let of_this = header.filter(|header| header.file_id == self.id && !self.stray);
        // As recovery has it: if the header of the data file is damaged, nobody can tell whose hint it is.
        let proof = of_this.filter(|header| {
            self.header_fault.is_some() || self.seed.is_none_or(|seed| seed == header.seed)
        });
        let mut header = of_this.filter(|header| self.seed.is_none_or(|seed| seed == header.seed));
        let sound = faults.is_empty();
        let whole = |header: &HintHeader| {
            self.inventory.hole.is_none_or(|hole| hole > header.covered)
                && self.inventory.end > header.covered
        };
        if let (Some(known), Some(seed)) = (header, self.seed)
            && whole(&known)
        {
            if speaks_of(&known, (self.id, seed), file, &self.path)? {
                faults = hint.compare(entries);
            } else {
                (faults, header) = (vec![not_its(hint)], None);
            }
        } else if header.is_some() {
            match lost(&hinted, entries, &self.inventory) {
                Some(lost) => self.lost = lost,
                None => (faults, header) = (vec![not_its(hint)], None),
            }
        } else if faults.is_empty() {
            faults.push(not_its(hint));
        }
        let complete_to = header
            .filter(|_| sound)
            .map_or(0, |header| header.covered + if header.ended { MARK_LEN as u64 } else { 0 });
        let proof = proof.map_or(0, |header| header.covered + 1);
        self.hint = Some(HintFindings { path, faults, header, complete_to, proof });
        Ok(())
    }

    /// The highest position of the log that this file proves to have been durable, as recovery sees it.
    pub(crate) fn proves(&self) -> LogPosition {
        let hint = self.hint.as_ref().filter(|hint| hint.proof > 0 && self.kind == FileKind::Log);
        let by_hint = hint.map(|hint| LogPosition { file_id: self.id, offset: hint.proof });
        self.inventory.durable.max(by_hint.unwrap_or_default())
    }

    /// The largest sequence number that anything here tells of.
    pub(crate) fn seq_max(&self) -> u64 {
        let hint = self.hint.as_ref().and_then(|hint| hint.header);
        let lost = self.lost.iter().map(|entry| entry.seq).max();
        let hinted = hint.map(|header| header.seq_max).max(lost).unwrap_or(0);
        self.inventory.seq_max.max(hinted).max(self.next_seq.saturating_sub(1))
    }
}

fn not_its(hint: &WholeHint) -> HintFault {
    HintFault { from: 0, to: hint.len(), what: "the hint file is that of another data file" }
}

/// The seed of a file whose header is damaged: of a mark, or any of these that a record confirms.
pub(crate) fn find_seed(
    file: &dyn File,
    path: &Path,
    len: u64,
    seeds: impl IntoIterator<Item = u32>,
) -> Result<Option<u32>> {
    if let Some(seed) = seed_from_marks(file, path)? {
        return Ok(Some(seed));
    }
    for seed in seeds {
        let mut walker = Walker::from_start(file, path, seed, len);
        while let Some(step) = walker.next()? {
            if let Step::Record(..) = step {
                return Ok(Some(seed));
            }
        }
    }
    Ok(None)
}

/// What of the hinted records is not there, sorted by place. None if the hint contradicts what is there.
fn lost(
    hinted: &[HintEntry],
    there: &[HintEntry],
    inventory: &Inventory,
) -> Option<Vec<HintEntry>> {
    let mut lost = Vec::new();
    for entry in hinted {
        match there.binary_search_by_key(&entry.offset(), HintEntry::offset) {
            Ok(index) => {
                let known = &there[index];
                if (known.hash, known.seq) != (entry.hash, entry.seq) {
                    return None;
                }
            }
            Err(_) => {
                let at = entry.offset();
                let in_gap = |from: u64, to: u64| (from..to).contains(&at);
                if at < inventory.end && !inventory.gaps.iter().any(|gap| in_gap(gap.from, gap.to))
                {
                    return None;
                }
                lost.push(*entry);
            }
        }
    }
    lost.sort_unstable_by_key(HintEntry::offset);
    Some(lost)
}
