//! Verify: every record and every hint, read from the disk and checked, while the store is in use.
//!
//! The files of the moment are read through handles of their own, each up to the length that it had then: what is
//! appended meanwhile is left to the next time. A file that merge removes meanwhile is no loss. Damage is reported, and the
//! walk goes on behind it (`walk.rs`). Nothing is changed, not even marked; repair is another thing, for a closed store.
//!
//! [`verify`] needs a [`Directory`] and somebody who is told of each stride, and waits or stops; so it serves the one who
//! writes and those who read beside it.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::directory::Directory;
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::files::DataFile;
use crate::fs::{Access, File};
use crate::header::{FILE_HEADER_LEN, FileHeader, FileKind};
use crate::hint::{HINT_HEADER_LEN, HintEntry};
use crate::hint_check::{HintFault, WholeHint, speaks_of};
use crate::survey::Listing;
use crate::sync::atomic::Ordering;
use crate::sync::lock;
use crate::walk::{Gap, Inventory, Walker, inventory, read_patiently};

/// How to verify.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyOptions {
    /// Bytes read a second, at most. Default: as fast as the disk is.
    pub rate_bytes_per_second: Option<u64>,
}

impl VerifyOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads at most so many bytes a second.
    pub fn rate_bytes_per_second(mut self, bytes: u64) -> Self {
        self.rate_bytes_per_second = Some(bytes);
        self
    }
}

/// How far a verification is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyProgress {
    /// Data files to read.
    pub files: usize,
    /// Data files read.
    pub files_done: usize,
    /// Bytes of data to read.
    pub bytes: u64,
    /// Bytes of data read.
    pub bytes_read: u64,
    /// Damaged places found.
    pub damage: usize,
}

/// A stretch of a file that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// Where the damage begins.
    pub from: u64,
    /// Where the next record begins that checks out, or where the file ends, or should have ended.
    pub to: u64,
    /// What is wrong.
    pub what: String,
}

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Data files read.
    pub files: usize,
    /// Records that check out, those without a key included.
    pub records: u64,
    /// Bytes of data read.
    pub bytes: u64,
    /// Hint files read.
    pub hints: usize,
    /// Dictionary files read.
    pub dictionaries: usize,
    /// What is damaged, file by file.
    pub damage: Vec<Damage>,
    /// Whether it was stopped before its end.
    pub stopped: bool,
}

impl VerifyReport {
    /// Whether no damage was found.
    pub fn is_clean(&self) -> bool {
        self.damage.is_empty()
    }
}

impl Damage {
    pub(crate) fn of_gap(path: &Path, gap: &Gap) -> Self {
        Self { path: path.to_owned(), from: gap.from, to: gap.to, what: gap.what.clone() }
    }

    pub(crate) fn of_hint(path: &Path, fault: HintFault) -> Self {
        let HintFault { from, to, what } = fault;
        Self { path: path.to_owned(), from, to, what: what.into() }
    }

    /// What is wrong with a dictionary, if anything is.
    pub(crate) fn of_dictionary(dir: &Directory, id: u32) -> Result<Option<Self>> {
        match dir.read_dictionary(id) {
            Ok(_) => Ok(None),
            Err(e) if e.kind() == ErrorKind::Corrupt => {
                let (path, what) = (dir.dictionary_path(id), e.what().to_owned());
                Ok(Some(Self { path, from: 0, to: 0, what }))
            }
            Err(e) => Err(e),
        }
    }
}

/// Is told how far it is, waits, and stops it with `Break`.
type OnProgress<'a> = &'a mut dyn FnMut(&VerifyProgress) -> ControlFlow<()>;

impl Engine {
    pub(crate) fn verify(
        &self,
        options: &VerifyOptions,
        on_progress: OnProgress<'_>,
    ) -> Result<VerifyReport> {
        let files = {
            // Between changes: no file ends within a batch.
            let _writer = lock(&self.writer);
            stretches(&self.dir)
        };
        let mut on_progress = |progress: &VerifyProgress| {
            let is_closed = self.check_open().is_err();
            if is_closed { ControlFlow::Break(()) } else { on_progress(progress) }
        };
        let wait = |wait| !self.dir.options.threads || self.keeper.sleep(wait);
        verify(&self.dir, files, options, &mut on_progress, &wait)
    }
}

/// A file, and how much of it is to be read.
pub(crate) struct Stretch {
    data: Arc<DataFile>,
    sealed: bool,
    len: u64,
}

impl Stretch {
    fn of(data: Arc<DataFile>) -> Self {
        // In this order: what is sealed has its last length.
        let sealed = data.sealed.load(Ordering::Acquire);
        let len = data.len.load(Ordering::Acquire);
        Self { data, sealed, len }
    }
}

/// What there is to read now, with no change under way.
pub(crate) fn stretches(dir: &Directory) -> Vec<Stretch> {
    dir.files.files().into_iter().map(Stretch::of).collect()
}

/// Reads files of an open store. `wait` waits so long, or says that there is no point in it.
pub(crate) fn verify(
    dir: &Directory,
    files: Vec<Stretch>,
    options: &VerifyOptions,
    on_progress: OnProgress<'_>,
    wait: &dyn Fn(Duration) -> bool,
) -> Result<VerifyReport> {
    if options.rate_bytes_per_second == Some(0) {
        return Err(Error::invalid("invalid option rate_bytes_per_second: above 0"));
    }
    let clock = &dir.clock;
    let (mut due_ns, mut seen) = (clock.monotonic_ns(), 0);
    let mut paced = |progress: &VerifyProgress| {
        if on_progress(progress).is_break() {
            return ControlFlow::Break(());
        }
        let Some(rate) = options.rate_bytes_per_second else {
            return ControlFlow::Continue(());
        };
        let bytes = progress.bytes_read - seen;
        seen = progress.bytes_read;
        let took_ns = u128::from(bytes) * 1_000_000_000 / u128::from(rate);
        due_ns += u64::try_from(took_ns).unwrap_or(u64::MAX / 2);
        let now_ns = clock.monotonic_ns();
        let early = Duration::from_nanos(due_ns.saturating_sub(now_ns));
        // Time in which nothing was asked for is not made up for.
        due_ns = due_ns.max(now_ns);
        if early.is_zero() || wait(early) {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    };
    let bytes = files.iter().map(|file| file.len).sum();
    let progress = VerifyProgress { files: files.len(), bytes, ..VerifyProgress::default() };
    let (report, dictionaries) = (VerifyReport::default(), BTreeSet::new());
    let on_progress = &mut paced;
    let mut verifier = Verifier { dir, on_progress, progress, report, dictionaries };
    for file in &files {
        if verifier.check(file)?.is_break() {
            verifier.report.stopped = true;
            break;
        }
        verifier.progress.files_done += 1;
    }
    verifier.check_dictionaries()?;
    verifier.report.bytes = verifier.progress.bytes_read;
    Ok(verifier.report)
}

struct Verifier<'a> {
    dir: &'a Directory,
    on_progress: OnProgress<'a>,
    progress: VerifyProgress,
    report: VerifyReport,
    /// Those that values refer to.
    dictionaries: BTreeSet<u32>,
}

impl Verifier<'_> {
    fn check(&mut self, stretch: &Stretch) -> Result<ControlFlow<()>> {
        let Stretch { data, sealed, len } = stretch;
        let (sealed, len) = (*sealed, *len);
        let file = match self.dir.fs.open(&data.path, Access::Read) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                if self.is_in_use(data) {
                    self.report_damage(&data.path, 0, len, "the file is gone");
                }
                return Ok(ControlFlow::Continue(()));
            }
            Err(e) => return Err(Error::io("cannot open", &data.path, e)),
        };
        self.report.files += 1;
        if let Some(what) = self.header_fault(data, &*file)? {
            self.report_damage(&data.path, 0, FILE_HEADER_LEN as u64, what);
        }
        let mut entries = Vec::new();
        let Some(inventory) = self.inventory(data, &*file, len, &mut entries)? else {
            return Ok(ControlFlow::Break(()));
        };
        self.report.records += inventory.records;
        self.dictionaries.extend(&inventory.dictionaries);
        for gap in &inventory.gaps {
            self.add_damage(Damage::of_gap(&data.path, gap));
        }
        let must_end = sealed || data.kind == FileKind::Merged;
        if inventory.end < len {
            let what = "zeros where there had been records";
            self.report_damage(&data.path, inventory.end, len, what);
        } else if must_end
            && !inventory.ended
            && inventory.gaps.last().is_none_or(|gap| gap.to < len)
        {
            self.report_damage(&data.path, len, len, "the end mark is not there");
        }
        self.check_hint(data, &*file, (sealed, &inventory), &mut entries)?;
        Ok(ControlFlow::Continue(()))
    }

    fn header_fault(&self, data: &DataFile, file: &dyn File) -> Result<Option<&'static str>> {
        let mut bytes = [0; FILE_HEADER_LEN];
        read_patiently(file, &mut bytes, 0, |_| {})
            .map_err(|e| Error::io("cannot read", &data.path, e))?;
        let is_its = |header: &FileHeader| {
            (header.file_id, header.kind, header.store_id)
                == (data.id, data.kind, self.dir.store_id)
        };
        Ok(match FileHeader::decode(&bytes) {
            Ok((header, seed)) if is_its(&header) && seed == data.seed => None,
            Ok(_) => Some("the header is that of another file"),
            Err(_) => Some("the header is damaged"),
        })
    }

    fn inventory(
        &mut self,
        data: &DataFile,
        file: &dyn File,
        len: u64,
        entries: &mut Vec<HintEntry>,
    ) -> Result<Option<Inventory>> {
        let (dir, progress, on_progress) = (self.dir, &mut self.progress, &mut self.on_progress);
        let walker = Walker::from_start(file, &data.path, data.seed, len);
        inventory(
            walker,
            &mut |offset, record| {
                if record.flags.is_change() {
                    entries.push(HintEntry::of(dir.hash(record.key), offset, record));
                }
            },
            &mut |bytes| {
                progress.bytes_read += bytes;
                on_progress(progress)
            },
        )
    }

    fn check_hint(
        &mut self,
        data: &DataFile,
        file: &dyn File,
        (sealed, inventory): (bool, &Inventory),
        entries: &mut Vec<HintEntry>,
    ) -> Result<()> {
        let path = self.dir.hint_path(data.id);
        let Some(hint) = WholeHint::read(&*self.dir.fs, &path)? else {
            if sealed && self.is_in_use(data) {
                self.report_damage(&path, 0, 0, "the hint file is gone");
            }
            return Ok(());
        };
        self.report.hints += 1;
        let (_, mut faults) = hint.entries();
        if let Some((header, _)) = &hint.header
            && inventory.gaps.is_empty()
        {
            let identity = (data.id, data.seed);
            if !speaks_of(header, identity, file, &data.path)? {
                let what = "the hint file is that of another data file";
                faults = vec![HintFault { from: 0, to: HINT_HEADER_LEN as u64, what }];
            } else if header.covered < inventory.end {
                faults = hint.compare(entries);
            }
        }
        // What belongs to a file that merge has removed meanwhile is nobody's loss.
        if !faults.is_empty() && self.is_in_use(data) {
            faults.into_iter().for_each(|fault| self.add_damage(Damage::of_hint(&path, fault)));
        }
        Ok(())
    }

    fn check_dictionaries(&mut self) -> Result<()> {
        self.dictionaries.extend(Listing::of_dir(&*self.dir.fs, &self.dir.path)?.dictionaries);
        for &id in &std::mem::take(&mut self.dictionaries) {
            self.report.dictionaries += 1;
            if let Some(damage) = Damage::of_dictionary(self.dir, id)? {
                self.add_damage(damage);
            }
        }
        Ok(())
    }

    /// Whether merge has not removed it. Beside the process that merges, the directory tells: the hint goes last.
    fn is_in_use(&self, data: &DataFile) -> bool {
        if self.dir.read_only {
            return self.dir.fs.open(&data.path, Access::Read).is_ok();
        }
        self.dir.files.guard().iter().any(|file| file.id == data.id)
    }

    fn report_damage(&mut self, path: &Path, from: u64, to: u64, what: &str) {
        self.add_damage(Damage { path: path.to_owned(), from, to, what: what.into() });
    }

    fn add_damage(&mut self, damage: Damage) {
        tracing::warn!(path = %damage.path.display(), from = damage.from, to = damage.to,
            what = damage.what, "found damage");
        self.progress.damage += 1;
        self.report.damage.push(damage);
    }
}
