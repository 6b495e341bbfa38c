//! The contents of one file, twice: as the program sees them and as the medium has them.
//!
//! Nobody tells the disk which bytes a program wrote through a mapping, so it does not track writes: a page
//! waits to be written when it differs from what the cache believes the medium has. That belief is right
//! until a sync fails. Then, as on Linux, the cache takes the pages for clean although they never got
//! there; `lost` remembers them as they were.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::memory::Memory;
use super::rng::Rng;

pub(super) const PAGE: usize = 4096;
const ZERO_PAGE: [u8; PAGE] = [0; PAGE];

/// A file, whatever its names.
pub(super) struct Inode {
    /// What the program sees: whole pages, zeros beyond `len`. None while that is just what the medium has,
    /// so that a crash costs little for the files it does not touch.
    memory: Option<Memory>,
    pub(super) len: usize,

    /// What the medium has: whole pages, at least to `medium_len`; zeros beyond them. May have bytes beyond
    /// `medium_len` that were written early.
    pub(super) medium: Arc<Vec<u8>>,
    pub(super) medium_len: usize,
    /// The shortest the program has made the file since `medium_len` was written.
    pub(super) cut: usize,
    /// Pages a failed sync dropped, as the cache believes they are on the medium.
    lost: BTreeMap<usize, Box<[u8]>>,

    /// Bytes of the disk it occupies.
    pub(super) reserved: usize,
    pub(super) handles: usize,
    pub(super) mappings: usize,
    writable_mappings: usize,
}

impl Inode {
    pub(super) fn new() -> Self {
        Self::durable(Vec::new())
    }

    /// A file whose `contents` are on the medium.
    pub(super) fn durable(contents: Vec<u8>) -> Self {
        let len = contents.len();
        let mut medium = contents;
        medium.resize(page_end(len), 0);
        Self::shared(Arc::new(medium), len)
    }

    /// A file of `len` bytes, these whole pages, which are on the medium.
    pub(super) fn shared(medium: Arc<Vec<u8>>, len: usize) -> Self {
        Self {
            memory: None,
            len,
            medium,
            medium_len: len,
            cut: len,
            lost: BTreeMap::new(),
            reserved: len,
            handles: 0,
            mappings: 0,
            writable_mappings: 0,
        }
    }

    /// The same file without its handles and mappings.
    pub(super) fn copy(&self) -> Self {
        let is_clean = self.is_durable() && self.lost.is_empty();
        Self {
            memory: (!is_clean).then(|| self.copied_memory(self.len)),
            medium: Arc::clone(&self.medium),
            lost: self.lost.clone(),
            handles: 0,
            mappings: 0,
            writable_mappings: 0,
            ..*self
        }
    }

    /// Whether all of it is on the medium.
    pub(super) fn is_durable(&self) -> bool {
        self.len == self.medium_len && self.len == self.cut && self.dirty_pages().is_empty()
    }

    pub(super) fn in_use(&self) -> bool {
        self.handles > 0 || self.mappings > 0
    }

    pub(super) fn contents(&self) -> &[u8] {
        &self.now()[..self.len]
    }

    /// The pages that the program sees.
    fn now(&self) -> &[u8] {
        self.memory.as_ref().map_or(&self.medium, Memory::bytes)
    }

    /// The same, to be changed.
    fn memory(&mut self) -> &mut Memory {
        if self.memory.is_none() {
            self.memory = Some(self.copied_memory(self.len));
        }
        self.memory.as_mut().expect("it was just made")
    }

    /// The contents in new memory for at least `len` bytes.
    fn copied_memory(&self, len: usize) -> Memory {
        let mut memory = Memory::new(page_end(len));
        memory.write(0, self.contents());
        memory
    }

    pub(super) fn read(&self, buf: &mut [u8], offset: usize) -> usize {
        let from = self.contents().get(offset..).unwrap_or_default();
        let len = from.len().min(buf.len());
        buf[..len].copy_from_slice(&from[..len]);
        len
    }

    pub(super) fn write(&mut self, bytes: &[u8], offset: usize) {
        if bytes.is_empty() {
            return;
        }
        let end = offset + bytes.len();
        self.extend(end);
        self.memory().write(offset, bytes);
        // Written again, a lost page is dirty again, even if the bytes are the same.
        self.lost.retain(|page, _| !(offset / PAGE..end.div_ceil(PAGE)).contains(page));
        self.reserved = self.reserved.max(end);
    }

    pub(super) fn set_len(&mut self, len: usize) {
        if len >= self.len {
            return self.extend(len);
        }
        let cut = len..self.len;
        self.memory().change(cut, |bytes| bytes.fill(0));
        self.len = len;
        self.cut = self.cut.min(len);
        self.reserved = self.reserved.min(len);
        self.lost.retain(|&page, _| page < len / PAGE);
        // What was written early goes with the rest; what is durable stays until the cut is.
        self.clear_medium(len.max(self.medium_len));
    }

    /// # Panics
    /// If the new bytes were written already, through a mapping: on a real disk that is fatal.
    pub(super) fn extend(&mut self, len: usize) {
        if len <= self.len {
            return;
        }
        self.provide(len);
        let new = &self.now()[self.len..len];
        let untouched = new.chunks(PAGE).all(|chunk| *chunk == ZERO_PAGE[..chunk.len()]);
        assert!(untouched, "a mapping was written to beyond the end of its file");
        self.len = len;
    }

    /// Counts a mapping and gives the memory for it.
    pub(super) fn map(&mut self, len: usize, writable: bool) -> &Memory {
        self.provide(len);
        self.mappings += 1;
        self.writable_mappings += usize::from(writable);
        self.memory()
    }

    pub(super) fn unmap(&mut self, writable: bool) {
        self.mappings -= 1;
        self.writable_mappings -= usize::from(writable);
    }

    /// Makes the memory at least `len` bytes long.
    ///
    /// # Panics
    /// If a mapping could still write to the old memory. Those that only read keep it: what they see below
    /// their watermark is not written again.
    fn provide(&mut self, len: usize) {
        if len <= self.memory().len() {
            return;
        }
        assert!(
            self.writable_mappings == 0,
            "the simulated disk cannot move what is mapped writable"
        );
        self.memory = Some(self.copied_memory(len.max(2 * self.len)));
    }

    /// Writes everything that waits to the medium.
    pub(super) fn sync(&mut self) {
        for page in self.dirty_pages() {
            self.write_page(page);
        }
        self.clear_medium(self.len);
        self.write_len();
    }

    /// Fails to write everything that waits, and forgets that it does. The length goes on waiting: that is
    /// metadata.
    pub(super) fn lose_sync(&mut self) {
        for page in self.dirty_pages() {
            self.lost.insert(page, self.page(page).into());
        }
    }

    /// What the system may do at any moment: writes some of what waits.
    pub(super) fn write_back(&mut self, rng: &mut Rng) {
        if self.cut < self.medium_len {
            // First, because freed blocks are not written to.
            self.clear_medium(self.cut);
            self.medium_len = self.cut;
        }
        for page in self.dirty_pages() {
            if rng.coin() {
                self.write_page(page);
            }
        }
        if rng.coin() {
            self.write_len();
        }
    }

    /// Forgets pages believed clean, so that what the medium has comes to light.
    pub(super) fn evict(&mut self) {
        if self.mappings > 0 {
            return; // The kernel keeps mapped pages.
        }
        for (page, believed) in std::mem::take(&mut self.lost) {
            if *believed != *self.page(page) {
                self.lost.insert(page, believed);
                continue;
            }
            let start = page * PAGE;
            let end = self.len.min(start + PAGE);
            let medium = Arc::clone(&self.medium);
            self.memory().write(start, &page_of(&medium, page)[..end - start]);
        }
    }

    /// Changes a byte everywhere, as decay would.
    pub(super) fn damage(&mut self, offset: usize, flips: u8) {
        assert!(offset < self.len, "byte {offset} of a file of {}", self.len);
        self.memory().change(offset..offset + 1, |byte| byte[0] ^= flips);
        if let Some(byte) = Arc::make_mut(&mut self.medium).get_mut(offset) {
            *byte ^= flips;
        }
        if let Some(page) = self.lost.get_mut(&(offset / PAGE)) {
            page[offset % PAGE] ^= flips;
        }
    }

    /// Cuts or extends the file, on the medium as well.
    pub(super) fn truncate(&mut self, len: usize) {
        self.set_len(len);
        self.clear_medium(len);
        self.write_len();
    }

    pub(super) fn page(&self, page: usize) -> &[u8] {
        page_of(self.now(), page)
    }

    /// The pages that wait to be written.
    pub(super) fn dirty_pages(&self) -> Vec<usize> {
        if self.memory.is_none() {
            return Vec::new();
        }
        let believed = |page| match self.lost.get(&page) {
            Some(lost) => lost,
            None => page_of(&self.medium, page),
        };
        (0..self.len.div_ceil(PAGE)).filter(|&page| *self.page(page) != *believed(page)).collect()
    }

    fn write_page(&mut self, page: usize) {
        let (start, end) = (page * PAGE, (page + 1) * PAGE);
        let medium = Arc::make_mut(&mut self.medium);
        if medium.len() < end {
            medium.resize(end, 0);
        }
        let now = self.memory.as_ref().map_or(&[][..], Memory::bytes);
        medium[start..end].copy_from_slice(page_of(now, page));
        self.lost.remove(&page);
    }

    fn write_len(&mut self) {
        if self.medium.len() < page_end(self.len) {
            Arc::make_mut(&mut self.medium).resize(page_end(self.len), 0);
        }
        self.medium_len = self.len;
        self.cut = self.len;
    }

    /// Leaves nothing on the medium from `len` on.
    fn clear_medium(&mut self, len: usize) {
        if self.medium.len() > len {
            cut_pages(Arc::make_mut(&mut self.medium), len);
        }
    }
}

/// A page of `bytes`, which are whole pages followed by zeros.
fn page_of(bytes: &[u8], page: usize) -> &[u8] {
    bytes.get(page * PAGE..(page + 1) * PAGE).unwrap_or(&ZERO_PAGE)
}

/// Leaves only zeros from `len` on, keeping whole pages.
pub(super) fn cut_pages(bytes: &mut Vec<u8>, len: usize) {
    bytes.truncate(page_end(len));
    if let Some(cut) = bytes.get_mut(len..) {
        cut.fill(0);
    }
}

/// The end of the page that byte `len - 1` lies in.
pub(super) fn page_end(len: usize) -> usize {
    len.next_multiple_of(PAGE)
}
