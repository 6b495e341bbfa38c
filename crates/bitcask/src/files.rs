//! The data files of an open store, and how a place is turned into bytes.
//!
//! Each file has a range of the store's address space while the store is open; [`Table`] finds the file of a
//! place by its chunk. Readers look at a table under a [`Guard`]; there are several copies of the pointer to the
//! current table, so that readers on different processors do not touch the same cache line.
//!
//! The invariant that makes reading simple: **a place found in the keydir under a guard is in the guard's
//! table.** A file is added to every copy before the keydir holds a place in it, and removed only after the keydir
//! holds none; either waits for the guards that are out.

#[cfg(debug_assertions)]
use std::cell::RefCell;
use std::fmt;
use std::io;
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, Weak};

use crate::directory::Directory;
use crate::error::{Error, ErrorKind, Result};
use crate::fs::{Access, File, Fs, Region, prefetch_address, read_exact_at, read_full_at};
use crate::header::FileKind;
use crate::place::{CHUNK_COUNT_MAX, CHUNK_LEN, Place};
use crate::record::{self, Fault, Flags, Record};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Mutex, RwLock, RwLockReadGuard, lock, read, write};

/// Bytes first read of a record when files are not mapped: enough for most, less than a page.
const FIRST_READ_LEN: usize = 1024;
/// Bytes that are checked at a time of a value that is not held in memory; more than what comes before it.
const CHECKED_AT_ONCE: usize = 256 << 10;
/// Files that are not mapped and keep a descriptor.
const FILES_KEPT_OPEN: usize = 256;
/// Cache lines of a record to fetch ahead in `get_many`.
const LINE_LEN: usize = 64;
const LINES_AHEAD: usize = 3;

/// How the bytes of a file are reached.
#[derive(Debug)]
pub(crate) enum Source {
    Mapped(Region),
    Plain(PlainFile),
}

/// A file that is read by `pread`.
///
/// The first few hundred keep a descriptor; further ones are opened for each read, so that a store of many files
/// stays within the limit of a process.
#[derive(Debug)]
pub(crate) struct PlainFile {
    fs: Arc<dyn Fs>,
    path: PathBuf,
    kept: OnceLock<Arc<dyn File>>,
}

impl PlainFile {
    pub(crate) fn new(dir: &Directory, path: &Path) -> Result<Self> {
        // Beside another process a name can go at any time.
        if dir.read_only || dir.files.files().len() < FILES_KEPT_OPEN {
            return Ok(Self::opened(dir, path, dir.open_file(path)?.into()));
        }
        Ok(Self { fs: dir.fs.clone(), path: path.to_owned(), kept: OnceLock::new() })
    }

    pub(crate) fn opened(dir: &Directory, path: &Path, file: Arc<dyn File>) -> Self {
        Self { fs: dir.fs.clone(), path: path.to_owned(), kept: OnceLock::from(file) }
    }

    /// Keeps a descriptor, so that it can be read when its name is gone.
    fn keep(&self) -> Result<()> {
        if self.kept.get().is_none() {
            let file = self.open()?;
            self.kept.get_or_init(|| file);
        }
        Ok(())
    }

    fn open(&self) -> Result<Arc<dyn File>> {
        let file = self.fs.open(&self.path, Access::Read);
        Ok(file.map_err(|e| Error::io("cannot open", &self.path, e))?.into())
    }

    fn handle(&self) -> Result<Arc<dyn File>> {
        self.kept.get().map_or_else(|| self.open(), |file| Ok(file.clone()))
    }
}

/// A data file that can be read.
#[derive(Debug)]
pub(crate) struct DataFile {
    // Set when it was opened.
    pub(crate) id: u64,
    pub(crate) kind: FileKind,
    pub(crate) path: PathBuf,
    pub(crate) seed: u32,
    pub(crate) first_chunk: usize,
    source: Source,

    // Own synchronisation.
    /// Bytes up to the end of the last record.
    pub(crate) len: AtomicU64,
    /// Bytes of records that a merge would drop, as far as is known.
    pub(crate) dead: AtomicU64,
    /// Bytes of tombstones: whether a merge would drop them depends on other files.
    pub(crate) tombstones: AtomicU64,
    /// What `FileSet::removals` was when this file was known to need its tombstones.
    pub(crate) tombstones_needed_at: AtomicU64,
    /// Smallest sequence number of its changes; `u64::MAX` while unknown.
    pub(crate) seq_min: AtomicU64,
    /// Whether it is finished, durable and has a hint file: only then may merge take it.
    pub(crate) sealed: AtomicBool,
    /// Merge found damage in it, and leaves it alone.
    pub(crate) damaged: AtomicBool,
}

impl DataFile {
    pub(crate) fn new(
        (id, kind, seed): (u64, FileKind, u32),
        path: PathBuf,
        first_chunk: usize,
        source: Source,
        len: u64,
    ) -> Self {
        Self {
            id,
            kind,
            path,
            seed,
            first_chunk,
            source,
            len: AtomicU64::new(len),
            dead: AtomicU64::new(0),
            tombstones: AtomicU64::new(0),
            tombstones_needed_at: AtomicU64::new(0),
            seq_min: AtomicU64::new(u64::MAX),
            sealed: AtomicBool::new(false),
            damaged: AtomicBool::new(false),
        }
    }

    pub(crate) fn place(&self, offset: u64) -> Place {
        Place::new(self.first_chunk, offset)
    }

    /// Called before its name goes away.
    pub(crate) fn keep_readable(&self) -> Result<()> {
        match &self.source {
            Source::Mapped(_) => Ok(()),
            Source::Plain(file) => file.keep(),
        }
    }

    /// Called before bytes from `from` on are synced.
    pub(crate) fn prepare_sync(&self, from: u64) {
        if let Source::Mapped(region) = &self.source {
            let from = usize::try_from(from).expect("a mapping fits the address space");
            if let Err(e) = region.release(from) {
                tracing::debug!(error = ?e, "cannot release mapped pages before a sync");
            }
        }
    }

    /// Makes pages that will soon be appended to ready for it.
    pub(crate) fn populate(&self, from: u64, end: u64) {
        if let Source::Mapped(region) = &self.source {
            let position =
                |offset| usize::try_from(offset).expect("a mapping fits the address space");
            if let Err(e) = region.populate(position(from), position(end)) {
                tracing::debug!(error = ?e, "cannot make pages ready ahead of the writer");
            }
        }
    }

    pub(crate) fn add_dead(&self, bytes: u64) {
        self.dead.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The record at `place`, if it checks out. `scratch` holds the bytes when the file is not mapped.
    pub(crate) fn record<'a>(
        &'a self,
        place: Place,
        scratch: &'a mut Vec<u8>,
    ) -> Result<Record<'a>> {
        self.record_by(place, scratch, |bytes, offset| record::decode(bytes, offset, self.seed))
    }

    /// The record at `place` without a look at its checksum.
    #[inline]
    pub(crate) fn record_unchecked<'a>(
        &'a self,
        place: Place,
        scratch: &'a mut Vec<u8>,
    ) -> Result<Record<'a>> {
        self.record_by(place, scratch, |bytes, _| record::parse(bytes))
    }

    /// The record at `place`, without a look at its checksum if its value is stored as it is.
    #[inline]
    pub(crate) fn record_trusted<'a>(
        &'a self,
        place: Place,
        scratch: &'a mut Vec<u8>,
    ) -> Result<Record<'a>> {
        self.record_by(place, scratch, |bytes, offset| match record::parse(bytes) {
            Ok(record) if record.flags.is_compressed() => record::decode(bytes, offset, self.seed),
            record => record,
        })
    }

    /// The record at `place` as `read` takes it from its bytes and offset.
    #[inline]
    fn record_by<'a>(
        &'a self,
        place: Place,
        scratch: &'a mut Vec<u8>,
        read: impl FnOnce(&'a [u8], u64) -> std::result::Result<Record<'a>, Fault>,
    ) -> Result<Record<'a>> {
        let offset = place.offset(self.first_chunk);
        let bytes = self.bytes(offset, scratch)?;
        read(bytes, offset).map_err(|fault| self.fault(offset, fault))
    }

    /// Bytes that begin with the record at `offset`, all of it.
    fn bytes<'a>(&'a self, offset: u64, scratch: &'a mut Vec<u8>) -> Result<&'a [u8]> {
        let file = match &self.source {
            Source::Mapped(region) => {
                let from = usize::try_from(offset).expect("a mapping fits the address space");
                return Ok(region.bytes().get(from..).unwrap_or_default());
            }
            Source::Plain(file) => file.handle()?,
        };
        let failed = |e| Error::io("cannot read a record", &self.path, e).at_offset(offset);
        scratch.resize(FIRST_READ_LEN, 0);
        let n = read_full_at(&*file, scratch, offset).map_err(failed)?;
        scratch.truncate(n);
        let claimed = record::claimed_len(scratch).map_err(|fault| self.fault(offset, fault))?;
        if claimed > n as u64 {
            // Checked against the file before anything is allocated for it.
            if offset + claimed > self.len.load(Ordering::Acquire) {
                return Err(self.fault(offset, Fault::Short));
            }
            let claimed = usize::try_from(claimed).expect("a record fits the address space");
            scratch.resize(claimed, 0);
            let rest = &mut scratch[n..];
            read_exact_at(&*file, rest, offset + n as u64).map_err(failed)?;
        }
        Ok(scratch)
    }

    /// Reads at an offset below its length; may read less than asked.
    pub(crate) fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        match &self.source {
            Source::Mapped(region) => {
                let from = usize::try_from(offset).unwrap_or(usize::MAX);
                let bytes = region.bytes().get(from..).unwrap_or_default();
                let n = bytes.len().min(buf.len());
                buf[..n].copy_from_slice(&bytes[..n]);
                Ok(n)
            }
            Source::Plain(file) => {
                let file = file.handle().map_err(io::Error::other)?;
                read_full_at(&*file, buf, offset)
            }
        }
    }

    /// Where the value of the record at `place` lies, and the record's flags, once all of the record is checked, part by
    /// part.
    pub(crate) fn check_value(&self, place: Place) -> Result<(Flags, Range<u64>)> {
        let offset = place.offset(self.first_chunk);
        let failed = |e| Error::io("cannot read a record", &self.path, e).at_offset(offset);
        let mut chunk = vec![0; CHECKED_AT_ONCE];
        let n = self.read_at(&mut chunk, offset).map_err(failed)?;
        let shape = record::shape(&chunk[..n]).map_err(|fault| self.fault(offset, fault))?;
        let mut checksum = shape.checksum_at(offset, self.seed);
        let mut done = 0;
        while done < shape.len {
            let wanted = usize::try_from(shape.len - done).unwrap_or(usize::MAX).min(chunk.len());
            let n = self.read_at(&mut chunk[..wanted], offset + done).map_err(failed)?;
            if n == 0 {
                return Err(self.fault(offset, Fault::Short));
            }
            checksum.add(done, &chunk[..n]);
            done += n as u64;
        }
        checksum.check().map_err(|fault| self.fault(offset, fault))?;
        Ok((shape.flags, offset + shape.value.start..offset + shape.value.end))
    }

    /// Starts the cache misses of a read that will follow.
    pub(crate) fn prefetch(&self, place: Place) {
        if let Source::Mapped(region) = &self.source {
            let from = usize::try_from(place.offset(self.first_chunk)).unwrap_or(0);
            for line in 0..LINES_AHEAD {
                prefetch_address(region.bytes().as_ptr().addr() + from + line * LINE_LEN);
            }
        }
    }

    pub(crate) fn fault(&self, offset: u64, fault: Fault) -> Error {
        let error = Error::corrupt(format!("damaged record: {fault}"), &self.path, offset);
        match fault {
            Fault::Unsupported(_) => error.with_kind(ErrorKind::Unsupported),
            _ => error,
        }
    }
}

/// Which file each chunk of the address space belongs to.
#[derive(Clone, Default)]
pub(crate) struct Table {
    /// For each chunk, where its file is in `files`, or `FREE`.
    chunks: Vec<u32>,
    files: Vec<Option<Arc<DataFile>>>,
}

const FREE: u32 = u32::MAX;

impl Table {
    /// The file that `place` lies in. See the invariant in the module's story.
    pub(crate) fn file(&self, place: Place) -> &Arc<DataFile> {
        self.chunks
            .get(place.chunk())
            .and_then(|&index| self.files.get(index as usize)?.as_ref())
            .expect("a place found under a guard is in the guard's table")
    }

    /// The files, oldest id first.
    pub(crate) fn files(&self) -> Vec<Arc<DataFile>> {
        let mut files: Vec<_> = self.files.iter().flatten().cloned().collect();
        files.sort_by_key(|file| file.id);
        files
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<DataFile>> {
        self.files.iter().flatten()
    }

    /// The first chunk of a free range for a file of at most `capacity` bytes.
    fn free_range(&self, capacity: u64) -> Option<usize> {
        let wanted = chunks_for(capacity);
        let mut start = 0;
        for (chunk, &file) in self.chunks.iter().enumerate() {
            if file != FREE {
                start = chunk + 1;
            } else if chunk + 1 - start == wanted {
                break;
            }
        }
        (start.checked_add(wanted)? <= CHUNK_COUNT_MAX).then_some(start)
    }

    fn add(&mut self, capacity: u64, file: Arc<DataFile>) {
        let (start, end) = (file.first_chunk, file.first_chunk + chunks_for(capacity));
        let index = self.files.iter().position(Option::is_none).unwrap_or_else(|| {
            self.files.push(None);
            self.files.len() - 1
        });
        self.files[index] = Some(file);
        if self.chunks.len() < end {
            self.chunks.resize(end, FREE);
        }
        self.chunks[start..end]
            .fill(u32::try_from(index).expect("there are fewer files than chunks"));
    }

    fn remove(&mut self, file: &DataFile) {
        let held =
            self.files.iter().position(|held| held.as_ref().is_some_and(|h| h.id == file.id));
        let Some(index) = held else { return };
        self.files[index] = None;
        for chunk in &mut self.chunks {
            if *chunk as usize == index {
                *chunk = FREE;
            }
        }
    }
}

fn chunks_for(capacity: u64) -> usize {
    usize::try_from(capacity.div_ceil(CHUNK_LEN).max(1)).unwrap_or(usize::MAX)
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.files().iter().map(|file| file.id)).finish()
    }
}

/// One copy of the pointer to the current table, alone on its cache lines, with counts of what was done
/// through it.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Stripe {
    table: RwLock<Arc<Table>>,
    gets: AtomicU64,
}

/// A look at the files: while it is held, none of them goes away, and none comes into use. A thread holds one at a time:
/// whoever changes the files waits for it, and a second one would wait for them.
pub(crate) struct Guard<'a> {
    table: RwLockReadGuard<'a, Arc<Table>>,
    #[cfg(debug_assertions)]
    _held: Held,
}

impl Deref for Guard<'_> {
    type Target = Arc<Table>;

    fn deref(&self) -> &Arc<Table> {
        &self.table
    }
}

/// Says, in debug builds, that this thread holds a guard of a store.
#[cfg(debug_assertions)]
struct Held(usize);

#[cfg(debug_assertions)]
crate::sync::thread_local! {
    static HELD: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

#[cfg(debug_assertions)]
impl Held {
    fn by_this_thread(files: &FileSet) -> Self {
        let address = std::ptr::from_ref(files).addr();
        HELD.with(|held| {
            let mut held = held.borrow_mut();
            assert!(!held.contains(&address), "a thread holds one guard at a time");
            held.push(address);
        });
        Self(address)
    }
}

#[cfg(debug_assertions)]
impl Drop for Held {
    fn drop(&mut self) {
        HELD.with(|held| held.borrow_mut().retain(|&address| address != self.0));
    }
}

/// The data files of an open store.
#[derive(Debug)]
pub(crate) struct FileSet {
    stripes: Box<[Stripe]>,
    /// Held while the stripes are made to agree on a new table.
    change: Mutex<()>,
    /// Times that files were removed, durably.
    removals: AtomicU64,
    /// Removed files that somebody may still be reading.
    removed: Mutex<Vec<Weak<DataFile>>>,
}

const STRIPE_COUNT: usize = 16;

impl FileSet {
    pub(crate) fn new() -> Self {
        Self {
            stripes: (0..STRIPE_COUNT).map(|_| Stripe::default()).collect(),
            change: Mutex::new(()),
            removals: AtomicU64::new(0),
            removed: Mutex::new(Vec::new()),
        }
    }

    pub(crate) fn guard(&self) -> Guard<'_> {
        Guard {
            table: read(&self.stripes[stripe_index()].table),
            #[cfg(debug_assertions)]
            _held: Held::by_this_thread(self),
        }
    }

    /// Counts `n` gets, and says how many this stripe had before.
    pub(crate) fn count_gets(&self, n: u64) -> u64 {
        self.stripes[stripe_index()].gets.fetch_add(n, Ordering::Relaxed)
    }

    pub(crate) fn gets(&self) -> u64 {
        self.stripes.iter().map(|stripe| stripe.gets.load(Ordering::Relaxed)).sum()
    }

    /// The files now, oldest id first.
    pub(crate) fn files(&self) -> Vec<Arc<DataFile>> {
        self.guard().files()
    }

    /// Gives a range of at least `capacity` bytes to the file that `make` makes of its first chunk.
    pub(crate) fn add(
        &self,
        capacity: u64,
        make: impl FnOnce(usize) -> Result<DataFile>,
    ) -> Result<Arc<DataFile>> {
        let _change = lock(&self.change);
        let mut table = Table::clone(&self.guard());
        let first_chunk = table.free_range(capacity).ok_or_else(|| {
            Error::invalid("the store would become larger than 16 TiB, or hold too many files")
        })?;
        let file = Arc::new(make(first_chunk)?);
        table.add(capacity, file.clone());
        self.publish(table);
        Ok(file)
    }

    /// Removes files that the keydir holds no place in.
    pub(crate) fn remove(&self, files: &[Arc<DataFile>]) {
        let _change = lock(&self.change);
        let mut table = Table::clone(&self.guard());
        files.iter().for_each(|file| table.remove(file));
        self.publish(table);
        let mut removed = lock(&self.removed);
        removed.retain(|file| file.strong_count() > 0);
        removed.extend(files.iter().map(Arc::downgrade));
    }

    /// Waits, stripe by stripe, for the guards that are out.
    fn publish(&self, table: Table) {
        let table = Arc::new(table);
        for stripe in &self.stripes {
            *write(&stripe.table) = table.clone();
        }
    }

    pub(crate) fn removals(&self) -> u64 {
        self.removals.load(Ordering::Acquire)
    }

    /// To be called when the names of removed files are gone for good.
    pub(crate) fn count_removal(&self) {
        self.removals.fetch_add(1, Ordering::AcqRel);
    }

    /// Removed files whose bytes are still on the disk because somebody reads them.
    pub(crate) fn pinned(&self) -> Vec<Arc<DataFile>> {
        lock(&self.removed).iter().filter_map(Weak::upgrade).collect()
    }
}

/// Spreads threads over the stripes.
fn stripe_index() -> usize {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static INDEX: usize = NEXT.fetch_add(1, Ordering::Relaxed) % STRIPE_COUNT;
    }
    INDEX.with(|index| *index)
}
