//! Mapped memory: the only module with unsafe code.
//!
//! A [`Region`] is the first bytes of a file, mapped (or, on the simulated disk, the file's own buffer).
//! One [`Appender`] may write to it, only beyond a watermark; readers get slices only below it; the
//! watermark only rises. So no byte is ever written while somebody can read it, whatever the callers do:
//! the claim is local to this file. `docs/decisions/0003-mapped-files.md` says what earned it.
//!
//! Outside what the language can promise stay two things, both said in docs/durability.md: another program
//! that writes to or cuts the file, and a disk that fails to deliver a page (`SIGBUS`).
#![expect(unsafe_code, reason = "mapping files earns 4x on gets and puts: decisions/0003")]

use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};

/// At least the size of a page, and a multiple of it, on every machine that this runs on.
const PAGE_LEN: usize = 64 << 10;
/// Fewer bytes are not worth a call.
const RELEASE_MIN: usize = 1 << 20;

/// Mapped memory that can be read below a watermark.
#[derive(Clone)]
pub struct Region(Arc<Inner>);

struct Inner {
    start: NonNull<u8>,
    len: usize,
    /// Bytes that may be read; only rises. Those above belong to the one appender.
    watermark: AtomicUsize,
    has_appender: AtomicBool,
    /// What frees the memory.
    owner: Owner,
}

enum Owner {
    /// `munmap` on drop.
    Mapping,
    /// A buffer of the simulated disk, kept alive by this handle.
    #[cfg(feature = "testing")]
    Buffer(
        #[expect(dead_code, reason = "held to keep the memory")]
        Arc<dyn std::any::Any + Send + Sync>,
    ),
}

// SAFETY: `start` points to memory that lives as long as `Inner`, and the watermark protocol in the
// module's story keeps reads and writes apart across threads.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

impl Region {
    /// Maps the first `len` bytes of `file`, of which `readable` can be read at once.
    pub(super) fn map(
        file: impl AsFd,
        len: usize,
        readable: usize,
        writable: bool,
    ) -> io::Result<Self> {
        assert!(readable <= len, "the watermark lies within the mapping");
        let protection =
            if writable { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ };
        // SAFETY: a fresh mapping at an address the kernel chooses; nothing else can point into it.
        let start =
            unsafe { mmap(ptr::null_mut(), len.max(1), protection, MapFlags::SHARED, file, 0) }?;
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self::new(start, len, readable, Owner::Mapping))
    }

    /// Memory of the simulated disk that stays where it is while `owner` lives.
    ///
    /// # Safety
    /// `start` must point to `len` initialised bytes that stay valid while `owner` lives. Whoever else
    /// writes to them must leave alone the bytes below the watermark.
    #[cfg(feature = "testing")]
    pub(super) unsafe fn of_buffer(
        start: NonNull<u8>,
        len: usize,
        readable: usize,
        owner: Arc<dyn std::any::Any + Send + Sync>,
    ) -> Self {
        Self::new(start, len, readable, Owner::Buffer(owner))
    }

    fn new(start: NonNull<u8>, len: usize, readable: usize, owner: Owner) -> Self {
        let watermark = AtomicUsize::new(readable);
        Self(Arc::new(Inner { start, len, watermark, has_appender: AtomicBool::new(false), owner }))
    }

    /// The readable bytes.
    pub fn bytes(&self) -> &[u8] {
        let readable = self.0.watermark.load(Ordering::Acquire);
        // SAFETY: `readable <= len`, and bytes below the watermark are never written again.
        unsafe { std::slice::from_raw_parts(self.0.start.as_ptr(), readable) }
    }

    /// The right to append; there is one for each region.
    pub fn appender(&self) -> Option<Appender> {
        let taken = self.0.has_appender.swap(true, Ordering::AcqRel);
        (!taken).then(|| Appender(self.clone()))
    }

    /// Lets go of the page table entries of readable bytes from `from` on; what they map stays cached, and comes back
    /// at the next touch. Before a sync, because writing back a mapped page interrupts every processor that may
    /// have it mapped, once for each page.
    pub fn release(&self, from: usize) -> io::Result<()> {
        let readable = self.0.watermark.load(Ordering::Acquire);
        let (from, end) = (from.next_multiple_of(PAGE_LEN), readable / PAGE_LEN * PAGE_LEN);
        if !matches!(self.0.owner, Owner::Mapping) || end < from + RELEASE_MIN {
            return Ok(());
        }
        // SAFETY: in bounds, as `end` is.
        let start = unsafe { self.0.start.as_ptr().add(from) };
        // SAFETY: in a shared mapping this drops entries of the page table and no contents.
        unsafe { madvise(start.cast(), end - from, Advice::LinuxDontNeed) }?;
        Ok(())
    }

    /// Makes the pages of a range ready to be written to, so that the appender meets no page fault there. The
    /// range lies within the file.
    pub fn populate(&self, from: usize, end: usize) -> io::Result<()> {
        let (from, end) = (from / PAGE_LEN * PAGE_LEN, end.min(self.0.len) / PAGE_LEN * PAGE_LEN);
        if !matches!(self.0.owner, Owner::Mapping) || end <= from {
            return Ok(());
        }
        // SAFETY: in bounds, as `end` is.
        let start = unsafe { self.0.start.as_ptr().add(from) };
        // SAFETY: faults pages in as a write would, and writes nothing.
        unsafe { madvise(start.cast(), end - from, Advice::LinuxPopulateWrite) }?;
        Ok(())
    }

    /// Tells the kernel that reads will come in no order, so that it does not read ahead.
    pub fn advise_random(&self) -> io::Result<()> {
        if !matches!(self.0.owner, Owner::Mapping) || self.0.len == 0 {
            return Ok(());
        }
        // SAFETY: the range is ours, and this advice does not change its contents.
        unsafe { madvise(self.0.start.as_ptr().cast(), self.0.len, Advice::Random) }?;
        Ok(())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if matches!(self.owner, Owner::Mapping) {
            // SAFETY: the mapping was made by `Region::map` with this length, and no slice outlives us.
            let result = unsafe { munmap(self.start.as_ptr().cast(), self.len.max(1)) };
            debug_assert!(result.is_ok(), "a mapping of ours can be unmapped");
        }
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region").field("len", &self.0.len).finish_non_exhaustive()
    }
}

/// The one writer of a [`Region`].
#[derive(Debug)]
pub struct Appender(Region);

impl Appender {
    /// Where the next byte goes.
    pub fn position(&self) -> usize {
        self.0.0.watermark.load(Ordering::Relaxed)
    }

    /// The next `len` bytes, to be written to; readers do not see them before [`Self::publish`].
    ///
    /// The caller has grown the file to hold them: touching a mapping beyond the end of its file is fatal.
    ///
    /// # Panics
    /// If the region is too short.
    pub fn tail(&mut self, len: usize) -> &mut [u8] {
        let inner = &*self.0.0;
        let from = self.position();
        let end = from.checked_add(len).expect("a region is shorter than the address space");
        assert!(end <= inner.len, "the caller made room before appending");
        // SAFETY: in bounds, as just checked.
        let start = unsafe { inner.start.as_ptr().add(from) };
        // SAFETY: these bytes lie above the watermark, where no reader gets a slice; there is one appender,
        // and `&mut self` keeps it from handing out a second slice, or publishing while this one lives.
        unsafe { std::slice::from_raw_parts_mut(start, len) }
    }

    /// Has `fill` write the next `len` bytes, and publishes them.
    #[cfg(feature = "testing")]
    pub fn append(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) {
        fill(self.tail(len));
        self.publish(len);
    }

    /// Lets readers see the next `len` bytes.
    ///
    /// # Panics
    /// If the region is too short.
    pub fn publish(&mut self, len: usize) {
        let end = self.position() + len;
        assert!(end <= self.0.0.len, "what is published was written");
        self.0.0.watermark.store(end, Ordering::Release);
    }
}

impl Drop for Appender {
    fn drop(&mut self) {
        self.0.0.has_appender.store(false, Ordering::Release);
    }
}

/// Asks the processor to fetch the line at an address, so that the answer to a cache miss is under way. Any address
/// will do: a wrong one only wastes the effort.
#[inline]
pub fn prefetch_address(address: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch has no effect that a program can observe, and does not fault.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(
            ptr::without_provenance(address),
        );
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}
