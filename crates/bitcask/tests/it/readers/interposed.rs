//! A file system that has something else happen before each of its operations.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bitcask::fs::{Access, Entry, File, Fs, Lock, Region};

type Between = Box<dyn FnMut() + Send>;

/// What happens between the operations, and whether they may change anything.
#[derive(Clone)]
pub(crate) struct Interposed {
    fs: Arc<dyn Fs>,
    between: Arc<Mutex<Option<Between>>>,
    /// Every operation that would change the disk is a panic.
    read_only: Arc<AtomicBool>,
    /// Times that a directory was listed.
    lists: Arc<AtomicU64>,
}

impl Interposed {
    pub(crate) fn new(fs: Arc<dyn Fs>) -> Self {
        Self { fs, between: Arc::default(), read_only: Arc::default(), lists: Arc::default() }
    }

    /// A file system to which nothing is written.
    pub(crate) fn read_only(fs: Arc<dyn Fs>) -> Self {
        let interposed = Self::new(fs);
        interposed.read_only.store(true, Ordering::SeqCst);
        interposed
    }

    /// From now on this happens before each operation; what it does itself to this file system is not interrupted.
    pub(crate) fn between(&self, between: impl FnMut() + Send + 'static) {
        *self.between.lock().unwrap() = Some(Box::new(between));
    }

    /// Nothing happens in between any more.
    pub(crate) fn alone(&self) {
        *self.between.lock().unwrap() = None;
    }

    fn reading(&self) {
        if std::thread::panicking() {
            return;
        }
        // Taken out, so that it does not interrupt itself.
        let between = self.between.lock().unwrap().take();
        if let Some(mut between) = between {
            between();
            self.between.lock().unwrap().get_or_insert(between);
        }
    }

    fn writing(&self, what: &str, path: &Path) {
        assert!(!self.read_only.load(Ordering::SeqCst), "a reader would {what} {}", path.display());
        self.reading();
    }
}

impl fmt::Debug for Interposed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interposed").finish_non_exhaustive()
    }
}

impl Fs for Interposed {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.writing("create", dir);
        self.fs.create_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.reading();
        let before = self.fs.list(dir)?;
        self.reading();
        let after = self.fs.list(dir)?;
        // As it is on a disk: what comes or goes meanwhile is listed or not, each name for itself.
        let nth = self.lists.fetch_add(1, Ordering::SeqCst);
        let is_early = |entry: &Entry| {
            let digits = entry.name.as_encoded_bytes().iter().map(|&byte| u64::from(byte));
            (digits.sum::<u64>() >> (nth % 3)).is_multiple_of(2)
        };
        let late = after.into_iter().filter(|entry| !is_early(entry));
        Ok(before.iter().filter(|entry| is_early(entry)).cloned().chain(late).collect())
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn File>> {
        match access {
            Access::Read => self.reading(),
            Access::Write | Access::Create => self.writing("open for writing", path),
        }
        let file = self.fs.open(path, access)?;
        Ok(Box::new(InterposedFile { fs: self.clone(), file }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.writing("rename", from);
        self.fs.rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.writing("link", from);
        self.fs.link(from, to)
    }

    fn exchange_dirs(&self, a: &Path, b: &Path) -> io::Result<()> {
        self.writing("exchange", a);
        self.fs.exchange_dirs(a, b)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.writing("remove", dir);
        self.fs.remove_dir(dir)
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        self.reading();
        self.fs.canonical(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.writing("remove", path);
        self.fs.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.writing("sync", dir);
        self.fs.sync_dir(dir)
    }

    fn lock(&self, path: &Path, holder: &str) -> io::Result<Result<Box<dyn Lock>, String>> {
        self.writing("lock", path);
        self.fs.lock(path, holder)
    }

    fn reserves_blocks(&self, dir: &Path) -> io::Result<bool> {
        self.reading();
        self.fs.reserves_blocks(dir)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        self.reading();
        self.fs.free_bytes(dir)
    }

    fn random(&self) -> [u8; 16] {
        self.fs.random()
    }
}

#[derive(Debug)]
struct InterposedFile {
    fs: Interposed,
    file: Box<dyn File>,
}

impl File for InterposedFile {
    fn len(&self) -> io::Result<u64> {
        self.fs.reading();
        self.file.len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.fs.reading();
        self.file.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.fs.writing("write to", Path::new("a file"));
        self.file.write_at(buf, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.fs.writing("cut", Path::new("a file"));
        self.file.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.fs.writing("allocate", Path::new("a file"));
        self.file.allocate(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.fs.writing("sync", Path::new("a file"));
        self.file.sync()
    }

    fn evict(&self, from: u64) -> io::Result<()> {
        self.fs.writing("evict", Path::new("a file"));
        self.file.evict(from)
    }

    fn map(&self, len: usize, access: Access) -> io::Result<Region> {
        match access {
            Access::Read => self.fs.reading(),
            Access::Write | Access::Create => self.fs.writing("map", Path::new("a file")),
        }
        self.file.map(len, access)
    }
}
