//! Memory for the contents of one file, which can be mapped and therefore never moves.
//!
//! Even the simulated disk itself reads and writes through a [`Region`], so that its one unsafe call is
//! the one that makes regions.
//!
//! A file may be synced by one thread while another appends to its mapping; what is copied of the bytes in
//! flight is any mix, as on a real disk. That is a data race a sanitizer may report, and harmless here:
//! bytes are only copied and compared.
#![expect(unsafe_code, reason = "a mapping of a simulated file is its own memory")]

use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, Ordering};

use crate::fs::Region;

/// Zeroed memory at a fixed address.
pub(super) struct Memory {
    /// The start of `words`; never changed, atomic only to be `Sync`.
    start: AtomicPtr<u8>,
    len: usize,
    words: Arc<Vec<u64>>,
    /// Everything, for reading.
    view: Region,
}

impl Memory {
    /// `len` zeros, which cost nothing until they are touched.
    pub(super) fn new(len: usize) -> Self {
        let mut words = vec![0_u64; len.div_ceil(size_of::<u64>())];
        let start = words.as_mut_ptr().cast::<u8>();
        let words = Arc::new(words);
        let view = region(start, len, len, Arc::clone(&words));
        Self { start: AtomicPtr::new(start), len, words, view }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.view.bytes()
    }

    /// Has `fill` change the bytes in `range`, which it finds as they are.
    pub(super) fn change(&mut self, range: Range<usize>, fill: impl FnOnce(&mut [u8])) {
        let region = self.lend(self.len, range.start, ());
        let mut appender = region.appender().expect("a new region has no appender yet");
        appender.append(range.len(), fill);
    }

    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        self.change(offset..offset + bytes.len(), |to| to.copy_from_slice(bytes));
    }

    /// The first `len` bytes as a mapping, `readable` of them below its watermark. It keeps `guest` until
    /// it is dropped.
    pub(super) fn lend<T>(&self, len: usize, readable: usize, guest: T) -> Region
    where
        T: Send + Sync + 'static,
    {
        assert!(readable <= len && len <= self.len, "a mapping lies within its file's memory");
        let owner = Arc::new((Arc::clone(&self.words), guest));
        region(self.start.load(Ordering::Relaxed), len, readable, owner)
    }
}

/// `owner` holds the words that `start` points to.
fn region<T>(start: *mut u8, len: usize, readable: usize, owner: Arc<T>) -> Region
where
    T: Send + Sync + 'static,
{
    let start = NonNull::new(start).expect("a vector's pointer is not null");
    // SAFETY: `owner` keeps the vector, which is never touched but through this pointer, and so neither
    // moved nor freed; both callers checked that it has `len` bytes, and they began as zeros. The disk
    // writes below a watermark only in `change`, whose `&mut self` excludes slices of `view`; slices of a
    // program's mapping are excluded by the program, which must not write or cut what it has mapped for
    // reading.
    unsafe { Region::of_buffer(start, len, readable, owner) }
}
