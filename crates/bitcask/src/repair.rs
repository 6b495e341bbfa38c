//! Repair: from a store that is damaged to one that opens, with all that checks out.
//!
//! 1. Look at everything, and change nothing (`salvage.rs`). What is *damage* is what recovery takes for it: anything in a
//!    merged file, and in the log what lies below the position that is proven durable. If there is none, that is all: a
//!    torn tail is left to the next open.
//! 2. For each damaged file write a merged file that holds every change in it that checks out. A merged file is in no
//!    order with the log, so this leaves no hole; a log file that names a damaged one as the one before it, and
//!    that nothing proves was there in time, is rewritten, too. The end marks of the new files say how far the log was
//!    proven durable, so that a second run sees the same.
//! 3. Give all of them their names. Then move the originals to `quarantine/`, by a link, so that they are in one
//!    place or in both.
//!
//! No file is changed in place, and nothing is removed but names that have another in quarantine. A crash between any two
//! operations leaves the originals, or their replacements, or both. A record that is there twice has one sequence number
//! and is one; so repair can be run again, and ends the same.
//!
//! **A deleted key does not return.** If a tombstone is lost, an older value of its key would be the newest. The file's
//! hint, which is separate and has checksums of its own, says what was there: hashes, sequence numbers, and which were
//! tombstones. The older record knows the key; so the tombstone can be written again, with its old number. If a
//! value is lost and an older one is left, that one is stale, and reported as such. Without a hint nobody knows.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use crate::directory::Directory;
use crate::engine::lock_directory;
use crate::error::{Error, Result};
use crate::fs::Fs;
use crate::header::FileKind;
use crate::merged_file::Output;
use crate::name;
use crate::options::Options;
use crate::quarantine::Quarantine;
use crate::record::{Fields, Flags, LogPosition, NEVER, Record};
use crate::salvage::{Patient, Start, store_id};
use crate::seal::publish_hint;
use crate::survey::Listing;
use crate::verify::Damage;
use crate::walk::{Step, Walker};

/// A stretch of a file in which records may have been lost.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lost {
    /// The file, by the name that it had.
    pub file: PathBuf,
    /// Where the stretch begins.
    pub from: u64,
    /// Where it ends.
    pub to: u64,
    /// Values and tombstones that are known to have been there, from the hint of the file.
    pub records: u64,
    /// How many of these were tombstones.
    pub tombstones: u64,
    /// Whether the hint tells of all of the stretch. Otherwise there may have been more, and old values of their keys,
    /// deleted ones too, may be the newest that are left.
    pub complete: bool,
}

/// What a repair found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepairReport {
    /// Data files looked at.
    pub files_checked: usize,
    /// What was damaged, file by file.
    pub damage: Vec<Damage>,
    /// Data files that were replaced.
    pub files_replaced: usize,
    /// Values and tombstones that were copied from them.
    pub records_saved: u64,
    /// Batches of which some changes were lost. The others were kept.
    pub torn_batches: u64,
    /// Where records were lost.
    pub lost: Vec<Lost>,
    /// Keys whose newest value was lost, so that they have an older one now, in order.
    pub stale_keys: Vec<Vec<u8>>,
    /// Keys that an older value would have brought back, because the record of their deletion was lost. They stay
    /// deleted, even if they were put again later and that was lost, too. In order.
    pub deleted_keys: Vec<Vec<u8>>,
    /// Files that nothing was taken from: not one record checks out, or they do not belong to this store. By the names
    /// that they had.
    pub unreadable: Vec<PathBuf>,
    /// Where the damaged files are now.
    pub quarantined: Vec<PathBuf>,
}

impl RepairReport {
    /// Whether nothing was wrong, and so nothing was changed.
    pub fn is_clean(&self) -> bool {
        self.damage.is_empty() && self.quarantined.is_empty()
    }
}

/// Repairs the store in `dir`, which nobody has open: saves all that checks out, so that it can be opened again.
///
/// Damaged files are moved to the directory `quarantine` in `dir`, never removed; what checks out in them is written
/// anew. Remove the quarantine when nobody needs it any more. It needs as much space as the damaged files have. A store with
/// nothing wrong is left as it is; so is a tail that a crash tore, which opening deals with. It can be
/// interrupted at any time, and run again.
///
/// A damaged dictionary is reported and stays where it is, and so do the values that need it: they can be read again
/// when that file is back from a backup.
///
/// Keys whose newest value was lost have an older one afterwards, if there was one; the report names them. A restored
/// backup has no such keys, but lacks what was written since.
///
/// ```
/// # let dir = std::env::temp_dir().join(format!("bitcask-doc-repair-{}", std::process::id()));
/// # bitcask::Bitcask::open(&dir)?.put(b"key", b"value")?;
/// let report = bitcask::repair(&dir)?;
/// for lost in &report.lost {
///     println!("{}: bytes {} to {}: {} records", lost.file.display(), lost.from, lost.to, lost.records);
/// }
/// assert!(report.is_clean());
/// let db = bitcask::Bitcask::open(&dir)?;
/// # drop(db);
/// # std::fs::remove_dir_all(&dir).ok();
/// # Ok::<(), bitcask::Error>(())
/// ```
///
/// # Errors
/// `Locked` if somebody has the store open; `Invalid` if there is no store, or files of several; `Unsupported` if a newer
/// version wrote some of it; `Full`, `Io`. Whatever the error, nothing is lost.
pub fn repair(dir: impl AsRef<Path>) -> Result<RepairReport> {
    Options::new().repair(dir)
}

/// Repairs the store at `path`, with these options.
pub(crate) fn repair_with(path: &Path, options: Options) -> Result<RepairReport> {
    // Before the lock makes a file in what may be anybody's directory.
    list_store(&*options.fs, path)?;
    let _lock = lock_directory(&options, path)?;
    let listing = list_store(&*options.fs, path)?;
    let mut starts = Vec::new();
    let logs = listing.logs.iter().map(|&id| (FileKind::Log, id));
    for (kind, id) in logs.chain(listing.merged.iter().map(|&id| (FileKind::Merged, id))) {
        starts.push(Start::read(&*options.fs, path, kind, id)?);
    }
    let store_id = store_id(&starts, &*options.fs, path)?;
    // A keydir that stays empty.
    let options = Options { shard_bits: Some(0), ..options };
    let dir = Directory::new(path, options, store_id, false, false);
    let known_ids: Vec<u64> = starts.iter().map(|start| start.id).collect();
    let mut patients = Vec::new();
    for start in &starts {
        patients.push(Patient::examine(&dir, start, &known_ids)?);
    }
    Repair::new(&dir, patients, listing.largest_id()).run()
}

fn list_store(fs: &dyn Fs, path: &Path) -> Result<Listing> {
    let entries = match fs.list(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        entries => entries.map_err(|e| Error::io("cannot list the directory", path, e))?,
    };
    let listing = Listing::of(entries);
    listing.check_whole(path)?;
    if !listing.holds_store() {
        return Err(Error::invalid("the directory holds no store").at(path));
    }
    Ok(listing)
}

/// A record that was lost: the newest of its hash, or the newest that hid older ones.
#[derive(Clone, Copy, Debug)]
struct LostChange {
    seq: u64,
    collides: bool,
    /// Whose it was.
    patient: usize,
}

/// The newest record of a key that is left.
#[derive(Debug)]
struct Left {
    key: Vec<u8>,
    seq: u64,
    gone: bool,
}

/// A tombstone to be written again.
#[derive(Debug)]
struct Tombstone {
    key: Vec<u8>,
    seq: u64,
    collides: bool,
}

struct Repair<'a> {
    dir: &'a Directory,
    /// The log in its order, then the merged files.
    patients: Vec<Patient>,
    /// Which of them will be replaced.
    replaced: Vec<bool>,
    proven: LogPosition,
    /// Where the next open will cut the log, if it will.
    cut: Option<LogPosition>,
    last_id: u64,
    report: RepairReport,
}

impl<'a> Repair<'a> {
    fn new(dir: &'a Directory, patients: Vec<Patient>, last_id: u64) -> Self {
        let proven = patients.iter().map(Patient::proves).max().unwrap_or_default();
        // Time does not go back, and the marks that say so may go.
        let times = patients.iter().map(|patient| patient.inventory.time_ms);
        dir.time.not_before(times.max().unwrap_or(0));
        let replaced = vec![false; patients.len()];
        let report = RepairReport { files_checked: patients.len(), ..RepairReport::default() };
        Self { dir, patients, replaced, proven, cut: None, last_id, report }
    }

    fn run(mut self) -> Result<RepairReport> {
        self.judge_logs();
        self.judge_merged();
        self.judge_hints();
        self.judge_dictionaries()?;
        let (data, hints) = self.to_move();
        if data.is_empty() && hints.is_empty() {
            return Ok(self.report);
        }
        let fs = &*self.dir.fs;
        let mut quarantine = Quarantine::open(fs, &self.dir.path)?;
        if !data.is_empty() {
            self.list_lost();
            let tombstones = self.settle_lost()?;
            self.replace(&tombstones)?;
        }
        self.report.quarantined = quarantine.take(&data, &hints)?;
        tracing::warn!(dir = %self.dir.path.display(), report = ?self.report, "repaired");
        Ok(self.report)
    }

    /// Decides which files of the log are damaged, as recovery would: what is not proven durable is a torn tail.
    fn judge_logs(&mut self) {
        let is_log = |patient: &&Patient| patient.kind == FileKind::Log;
        let log_count = self.patients.iter().take_while(is_log).count();
        for index in 0..log_count {
            let patient = &self.patients[index];
            let at = |offset| LogPosition { file_id: patient.id, offset };
            let short = self.is_short(index).then_some(patient.inventory.end);
            let hole = patient.inventory.hole.or(short);
            let durable = hole.is_some_and(|hole| self.proven > at(hole));
            let rotten = patient.rotten_header && patient.inventory.records > 0;
            let refused = durable || rotten || patient.misplaced;
            if refused {
                self.report_damage(index);
            }
            let orphaned = self.is_orphaned(index, log_count);
            self.replaced[index] = refused || orphaned;
            if let (Some(hole), false) = (hole, self.replaced[index]) {
                let patient = &self.patients[index];
                let hole = LogPosition { file_id: patient.id, offset: hole };
                self.cut.get_or_insert(hole);
            }
        }
    }

    /// Whether a file must be longer than its records are: it should have its end mark, or is proven to have been longer.
    fn is_short(&self, index: usize) -> bool {
        let Patient { kind, id, inventory, .. } = &self.patients[index];
        let later = self.patients.get(index + 1);
        let is_last =
            *kind == FileKind::Log && later.is_none_or(|later| later.kind != FileKind::Log);
        let cut_short = self.proven.file_id == *id && self.proven.offset > inventory.end;
        !inventory.ended && (!is_last || cut_short)
    }

    /// Whether the log file that must be before this one will not be there.
    fn is_orphaned(&mut self, index: usize, log_count: usize) -> bool {
        let (id, previous) = (self.patients[index].id, self.patients[index].previous);
        if previous == 0 || self.proven.file_id > previous {
            return false;
        }
        let logs = self.patients.iter().take(log_count);
        if let Some(before) = logs.map(|patient| patient.id).position(|id| id == previous) {
            return self.replaced[before];
        }
        let here = LogPosition { file_id: id, offset: 0 };
        let durable = self.proven > here;
        if durable {
            let path = self.dir.data_path(FileKind::Log, previous);
            let what = "the file is gone".into();
            self.report.damage.push(Damage { path: path.clone(), from: 0, to: 0, what });
            let (from, to, records, tombstones) = (0, 0, 0, 0);
            let lost = Lost { file: path, from, to, records, tombstones, complete: false };
            self.report.lost.push(lost);
        } else {
            self.cut.get_or_insert(here);
        }
        durable
    }

    /// Merged files are durable before they have their name.
    fn judge_merged(&mut self) {
        for index in 0..self.patients.len() {
            let Patient { kind, header_fault, inventory, .. } = &self.patients[index];
            let sound = header_fault.is_none() && inventory.hole.is_none() && inventory.ended;
            if *kind == FileKind::Merged && !sound {
                self.report_damage(index);
                self.replaced[index] = true;
            }
        }
    }

    fn judge_hints(&mut self) {
        for (patient, replaced) in self.patients.iter().zip(&self.replaced) {
            if let (Some(hint), false) = (&patient.hint, replaced) {
                let damage = hint.faults.iter().map(|&fault| Damage::of_hint(&hint.path, fault));
                self.report.damage.extend(damage);
            }
        }
    }

    /// A damaged dictionary stays where it is: nothing but the same file from a backup can take its place.
    fn judge_dictionaries(&mut self) -> Result<()> {
        let needed = self.patients.iter().flat_map(|patient| &patient.inventory.dictionaries);
        let mut ids: BTreeSet<u32> = needed.copied().collect();
        ids.extend(Listing::of_dir(&*self.dir.fs, &self.dir.path)?.dictionaries);
        for id in ids {
            self.report.damage.extend(Damage::of_dictionary(self.dir, id)?);
        }
        Ok(())
    }

    fn report_damage(&mut self, index: usize) {
        let patient = &self.patients[index];
        let damage = |from, to, what: &str| {
            let path = patient.path.clone();
            Damage { path, from, to, what: what.into() }
        };
        let mut found = Vec::new();
        if let Some(what) = &patient.header_fault {
            found.push(damage(0, crate::header::FILE_HEADER_LEN as u64, what));
        }
        found.extend(patient.inventory.gaps.iter().map(|gap| Damage::of_gap(&patient.path, gap)));
        if let Some((from, to)) = self.missing_end(index) {
            found.push(damage(from, to, "the file ends too early"));
        }
        self.report.damage.extend(found);
    }

    /// What is missing behind the last bytes of a file.
    fn missing_end(&self, index: usize) -> Option<(u64, u64)> {
        let patient = &self.patients[index];
        let (end, reach) = (patient.inventory.end, self.reach(patient));
        let known = patient.inventory.gaps.last().is_some_and(|gap| gap.to >= end);
        let missing = reach > end || !known;
        let readable = patient.seed.is_some() && !patient.stray;
        (readable && missing && self.is_short(index)).then_some((end, reach))
    }

    /// Up to where something tells that the file was written.
    fn reach(&self, patient: &Patient) -> u64 {
        let hinted = patient.hint.as_ref().and_then(|hint| hint.header);
        let hinted = hinted.map_or(0, |header| header.covered);
        let proven = if self.proven.file_id == patient.id { self.proven.offset } else { 0 };
        patient.inventory.end.max(hinted).max(proven)
    }

    /// The files to be moved: data files, and hints.
    fn to_move(&self) -> (Vec<PathBuf>, Vec<PathBuf>) {
        let (mut data, mut hints) = (Vec::new(), Vec::new());
        for (patient, &replaced) in self.patients.iter().zip(&self.replaced) {
            if replaced {
                data.push(patient.path.clone());
            }
            let hint = patient.hint.as_ref();
            let hint = hint.filter(|hint| replaced || !hint.faults.is_empty());
            hints.extend(hint.map(|hint| hint.path.clone()));
        }
        (data, hints)
    }

    /// Lists the stretches where records may have been lost.
    fn list_lost(&mut self) {
        for index in (0..self.patients.len()).filter(|&index| self.replaced[index]) {
            let patient = &self.patients[index];
            self.report.torn_batches += patient.inventory.torn_batches;
            if patient.stray || patient.inventory.records == 0 {
                self.report.unreadable.push(patient.path.clone());
            }
            if patient.stray {
                continue;
            }
            let gaps = patient.inventory.gaps.iter().filter(|gap| gap.lost);
            let mut stretches: Vec<_> = gaps.map(|gap| (gap.from, gap.to)).collect();
            if patient.seed.is_none() {
                stretches = vec![(0, self.reach(patient).max(patient.len))];
            }
            stretches.extend(self.missing_end(index));
            let lost = stretches.into_iter().map(|(from, to)| patient.lost_between(from, to));
            self.report.lost.extend(lost);
        }
    }

    /// Finds what is left of keys that lost a record, and says which tombstones must be written again, and by whom.
    fn settle_lost(&mut self) -> Result<HashMap<usize, Vec<Tombstone>>> {
        let now_ms = self.dir.time.now_ms();
        let mut newest = HashMap::<u64, LostChange>::new();
        let mut newest_gone = HashMap::<u64, LostChange>::new();
        for (index, patient) in self.patients.iter().enumerate().filter(|&(i, _)| self.replaced[i])
        {
            for entry in &patient.lost {
                let (seq, gone, collides) = (entry.seq, entry.is_gone(now_ms), entry.collides());
                let change = LostChange { seq, collides, patient: index };
                for newest in
                    [Some(&mut newest), gone.then_some(&mut newest_gone)].into_iter().flatten()
                {
                    let known = newest.entry(entry.hash).or_insert(change);
                    if known.seq < seq {
                        *known = change;
                    }
                }
            }
        }
        let mut tombstones = HashMap::<usize, Vec<Tombstone>>::new();
        if newest.is_empty() {
            return Ok(tombstones);
        }
        for (hash, left) in self.find_left(&newest)? {
            let lost = newest[&hash];
            // It was moved by a merge, and is there still.
            if left.iter().any(|left| left.seq == lost.seq) {
                continue;
            }
            let collides = lost.collides || left.len() > 1;
            for Left { key, seq, gone } in left {
                if gone || seq > lost.seq {
                    continue;
                }
                // Even if it was put again later, and that is lost, too.
                match newest_gone.get(&hash).filter(|gone| gone.seq > seq) {
                    Some(gone) => {
                        self.report.deleted_keys.push(key.clone());
                        let tombstone = Tombstone { key, seq: gone.seq, collides };
                        tombstones.entry(gone.patient).or_default().push(tombstone);
                    }
                    None => self.report.stale_keys.push(key),
                }
            }
        }
        self.report.stale_keys.sort_unstable();
        self.report.deleted_keys.sort_unstable();
        Ok(tombstones)
    }

    /// The newest record that is left of each key with one of these hashes.
    fn find_left(&self, hashes: &HashMap<u64, LostChange>) -> Result<HashMap<u64, Vec<Left>>> {
        let now_ms = self.dir.time.now_ms();
        let mut found = HashMap::<u64, Vec<Left>>::new();
        for (index, patient) in self.patients.iter().enumerate() {
            each_change(self.dir, patient, |offset, record, hash| {
                let here = LogPosition { file_id: patient.id, offset };
                let will_be_cut = patient.kind == FileKind::Log
                    && !self.replaced[index]
                    && self.cut.is_some_and(|cut| here >= cut);
                if will_be_cut || !hashes.contains_key(&hash) {
                    return Ok(());
                }
                let gone = record.flags.has(Flags::TOMBSTONE) || record.expires_ms <= now_ms;
                let keys = found.entry(hash).or_default();
                match keys.iter_mut().find(|left| left.key == record.key) {
                    Some(left) if left.seq >= record.seq => {}
                    Some(left) => (left.seq, left.gone) = (record.seq, gone),
                    None => {
                        let (key, seq) = (record.key.to_owned(), record.seq);
                        keys.push(Left { key, seq, gone });
                    }
                }
                Ok(())
            })?;
        }
        Ok(found)
    }

    /// Writes what replaces the damaged files, durably, and gives all of it names at last.
    fn replace(&mut self, tombstones: &HashMap<usize, Vec<Tombstone>>) -> Result<()> {
        let mut written = Vec::new();
        let named =
            self.write_all(tombstones, &mut written).and_then(|()| self.give_names(&written));
        if named.is_err() {
            for path in &written {
                // Ignored: what is left of it is swept when the store is opened.
                drop(self.dir.fs.remove(&name::temporary_path(path)));
            }
        }
        named
    }

    fn write_all(
        &mut self,
        tombstones: &HashMap<usize, Vec<Tombstone>>,
        written: &mut Vec<PathBuf>,
    ) -> Result<()> {
        let seq_max = self.patients.iter().map(Patient::seq_max).max().unwrap_or(0);
        let next_seq = seq_max.saturating_add(1);
        let indices = (0..self.patients.len()).filter(|&index| self.replaced[index]);
        for index in indices.collect::<Vec<_>>() {
            self.report.files_replaced += 1;
            let again = tombstones.get(&index).map_or(&[][..], Vec::as_slice);
            // One file there must be, to say how far numbers were used.
            let nothing = self.patients[index].changes == 0 && again.is_empty();
            if nothing && !written.is_empty() {
                continue;
            }
            self.last_id = self
                .last_id
                .checked_add(1)
                .filter(|&id| id < u64::MAX)
                .ok_or_else(|| Error::invalid("the store has used all file numbers"))?;
            self.write_one(index, (self.last_id, next_seq), again, written)?;
        }
        Ok(())
    }

    /// Writes what replaces one file, under its temporary name, and its hint.
    fn write_one(
        &mut self,
        index: usize,
        identity: (u64, u64),
        tombstones: &[Tombstone],
        written: &mut Vec<PathBuf>,
    ) -> Result<()> {
        let dir = self.dir;
        let patient = &self.patients[index];
        let mut output = Output::begin(dir, identity, patient.change_bytes)?;
        written.push(output.path.clone());
        let mut saved = 0;
        each_change(dir, patient, |_, record, hash| {
            saved += 1;
            let Record { flags, seq, time_ms, expires_ms, key, value, .. } = *record;
            let flags = flags.without(Flags::MEMBER);
            output.keep(&Fields { flags, seq, time_ms, expires_ms, key, value }, hash)
        })?;
        let time_ms = dir.time.now_ms();
        for Tombstone { key, seq, collides } in tombstones {
            let collides = if *collides { Flags::COLLIDES } else { Flags::NONE };
            let (flags, expires_ms) = (Flags::TOMBSTONE.and(collides), NEVER);
            let fields = Fields { flags, seq: *seq, time_ms, expires_ms, key, value: &[] };
            output.keep(&fields, dir.hash(key))?;
        }
        output.finish(self.proven, time_ms)?;
        publish_hint(dir, output.hint_header(), &mut output.entries)?;
        self.report.records_saved += saved;
        Ok(())
    }

    fn give_names(&self, written: &[PathBuf]) -> Result<()> {
        let dir = self.dir;
        for path in written {
            dir.fs
                .rename(&name::temporary_path(path), path)
                .map_err(|e| Error::io("cannot publish", path, e))?;
        }
        dir.fs.sync_dir(&dir.path).map_err(|e| Error::io("cannot sync the directory", &dir.path, e))
    }
}

impl Patient {
    /// What is known to have been lost in a stretch of the file.
    fn lost_between(&self, from: u64, to: u64) -> Lost {
        let here = self.lost.iter().filter(|entry| (from..to).contains(&entry.offset()));
        let tombstones = here.clone().filter(|entry| entry.is_tombstone()).count() as u64;
        let (file, records) = (self.path.clone(), here.count() as u64);
        let complete_to = self.hint.as_ref().map_or(0, |hint| hint.complete_to);
        Lost { file, from, to, records, tombstones, complete: complete_to >= to }
    }
}

/// Gives each change of a file that checks out to `each`, with its place and its hash.
fn each_change(
    dir: &Directory,
    patient: &Patient,
    mut each: impl FnMut(u64, &Record<'_>, u64) -> Result<()>,
) -> Result<()> {
    let Some(seed) = patient.seed.filter(|_| !patient.stray) else { return Ok(()) };
    let file = dir.open_file(&patient.path)?;
    let mut walker = Walker::from_start(&*file, &patient.path, seed, patient.len);
    while let Some(step) = walker.next()? {
        if let Step::Record(offset, record) = step {
            if record.flags.has(Flags::END) {
                break;
            }
            if record.flags.is_change() {
                each(offset, &record, dir.hash(record.key))?;
            }
        }
    }
    Ok(())
}
