//! A disk and a clock made of memory, for crash tests.
//!
//! [`SimFs`] keeps two versions of everything: what the program sees, and what is on the medium. Contents
//! and length of a file get there by `sync`, names by `sync_dir`, and parts of both at any moment by
//! themselves, as a kernel writes back. [`SimFs::crash`] makes a new disk that holds what a power loss at
//! this moment could leave: the medium, plus any part of what was on the way. [`SimFs::kill`] makes the one
//! that the death of the process would leave: everything the program wrote, still on its way. Both leave
//! the disk they copy alone, so that one run gives any number of crashes.
//!
//! ```text
//!   program --write, map--> what it sees --sync--> medium --crash(seed)--> new disk, all durable
//!                                 \___________ any part of it ___________/
//! ```
//!
//! The disk is meant to be at least as unkind as Linux. Where file systems differ it does the worst of
//! them: an `fsync` of a new file does not make its name durable, names persist in any order, sectors tear,
//! and a failed sync is not repeated by the next (see `inode.rs`). It is kinder in this: a full disk never
//! fails a write through a mapping, bytes written beyond the end of a file through one are a panic rather
//! than a `SIGBUS`, and what is durable decays only when a test says so ([`SimFs::flip_bit`]).
//!
//! The same seed and the same calls in the same order give the same disk. Every call of [`Fs`] (but
//! `random`) and [`File`] is one operation; faults and crash points name operations by their number, from
//! 0. Writing through a mapping is not an operation.
//!
//! A writable mapping cannot move, so while there is one, its file must not outgrow the longest mapping.

mod clock;
mod crash;
mod dir;
mod inode;
mod memory;
mod rng;
mod state;
#[cfg(test)]
mod tests;
mod tree;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use super::{Access, Entry, File, Fs, Lock, Region};
pub use clock::SimClock;
use dir::InodeId;
use state::{Fault, State};

/// A simulated disk. Clones are the same disk.
#[derive(Clone)]
pub struct SimFs(Arc<Mutex<State>>);

/// What a failing operation says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// `EIO`: the medium does not answer.
    Io,
    /// `ENOSPC`: the disk is full.
    NoSpace,
    /// `EMFILE`: the process has too many open files.
    TooManyFiles,
    /// `EINTR`: a signal came in between; the same call again can succeed.
    Interrupted,
}

/// The longest file: enough for any test, and short of what could exhaust the machine.
const FILE_LEN_MAX: u64 = 1 << 32;

/// Making a disk, and what can leave it.
impl SimFs {
    /// An empty disk without faults or limits, on which one operation in 16 comes with some write-back.
    pub fn new(seed: u64) -> Self {
        State::new(seed).into()
    }

    /// A disk as a power loss at this moment could leave it; `seed` chooses. Everything on it is durable,
    /// and nothing is locked. It has the same capacity and rates, but no faults and no crash point.
    ///
    /// Seeds 0 to 3 are the corners: nothing that was not durable, everything, all data but no names, all
    /// names but no data. The others draw, often something close to a corner.
    pub fn crash(&self, seed: u64) -> Self {
        self.state().after_power_loss(seed).into()
    }

    /// A disk as the death of the process leaves it: everything it wrote is there, durable or not as it was,
    /// and nothing is open or locked. It has the same capacity and rates, but no faults and no crash point.
    pub fn kill(&self) -> Self {
        self.state().after_kill().into()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is sound even after a panic: that of a test, or of one of the asserts on its way in.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<State> for SimFs {
    fn from(state: State) -> Self {
        Self(Arc::new(Mutex::new(state)))
    }
}

/// What can go wrong.
impl SimFs {
    /// Operations so far. The next has this number.
    pub fn op_count(&self) -> u64 {
        self.state().op_count
    }

    /// Fails operation `op`. A `sync` that fails (unless interrupted) drops what waited to be written.
    pub fn fail_at(&self, op: u64, failure: Failure) {
        self.state().faults.push(Fault { from: op, to: op, failure });
    }

    /// Fails operation `op` and all that follow.
    pub fn fail_from(&self, op: u64, failure: Failure) {
        self.state().faults.push(Fault { from: op, to: u64::MAX, failure });
    }

    /// Cuts the power before operation `op`: it and all that follow fail without any effect.
    pub fn set_crash_point(&self, op: u64) {
        self.state().crash_point = Some(op);
    }

    /// Takes back faults and the crash point.
    pub fn clear_faults(&self) {
        let mut state = self.state();
        state.faults.clear();
        state.crash_point = None;
    }

    /// Limits what all files occupy. A hole made by `set_len` occupies nothing until it is written.
    pub fn set_capacity(&self, bytes: u64) {
        self.state().traits.capacity = bytes;
    }

    /// What [`Fs::reserves_blocks`] answers; true at first.
    pub fn set_reserves_blocks(&self, answer: bool) {
        self.state().traits.reserves_blocks = answer;
    }

    /// Has another file system begin at `dir`: no file below it can have a name outside as well. Both are of
    /// the same capacity, crash together, and take part in the same operations.
    pub fn mount_at(&self, dir: impl AsRef<Path>) {
        self.state().mounts.push(dir.as_ref().to_owned());
    }

    /// Writes back some of what waits at one in `n` operations; 0 is never.
    pub fn set_write_back(&self, one_in: u32) {
        self.state().traits.write_back_one_in = one_in;
    }

    /// Cuts short one in `n` reads and writes of more than a byte; 0 is never.
    pub fn set_short_io(&self, one_in: u32) {
        self.state().traits.short_one_in = one_in;
    }

    /// Interrupts one in `n` calls of `read_at`, `write_at` and `allocate` (the others are not interrupted
    /// on Linux, or repeated by the standard library); 0 is never.
    pub fn set_interrupts(&self, one_in: u32) {
        self.state().traits.interrupt_one_in = one_in;
    }
}

/// The disk as a test sees and damages it. None of these is an operation.
impl SimFs {
    /// What a program would read.
    ///
    /// # Panics
    /// If there is no such file; this is so for all that follow.
    pub fn read_file(&self, path: impl AsRef<Path>) -> Vec<u8> {
        self.state().existing(path.as_ref()).contents().to_vec()
    }

    /// Replaces or creates a file, durably, in a directory that exists.
    pub fn write_file(&self, path: impl AsRef<Path>, bytes: &[u8]) {
        let path = path.as_ref();
        let mut state = self.state();
        let id = match state.find(path) {
            Ok(id) => id,
            Err(_) => state.create(path).expect("a file can be created here"),
        };
        state.settle(path);
        let inode = state.inode(id);
        inode.truncate(0);
        inode.write(bytes, 0);
        inode.sync();
    }

    /// Flips a bit, in what the program sees and on the medium.
    pub fn flip_bit(&self, path: impl AsRef<Path>, byte: u64, bit: u8) {
        let byte = length(byte).expect("a byte within the file");
        self.state().existing(path.as_ref()).damage(byte, 1 << bit);
    }

    /// Cuts or extends a file, durably.
    pub fn truncate(&self, path: impl AsRef<Path>, len: u64) {
        let len = length(len).expect("a length that a file can have");
        self.state().existing(path.as_ref()).truncate(len);
    }

    /// Removes a file, durably.
    pub fn remove_file(&self, path: impl AsRef<Path>) {
        self.state().settle_removal(path.as_ref());
    }

    /// The names of the files in `dir`, sorted; empty if there is no such directory.
    pub fn file_names(&self, dir: impl AsRef<Path>) -> Vec<OsString> {
        self.state().file_names(dir.as_ref()).map(OsStr::to_owned).collect()
    }

    /// Bytes that all files occupy, those removed but still open included.
    pub fn used_bytes(&self) -> u64 {
        self.state().used_bytes()
    }
}

impl Fs for SimFs {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.begin()?.create_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.begin()?.list(dir)
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn File>> {
        let mut state = self.begin()?;
        let id = match access {
            Access::Create => state.create(path)?,
            Access::Read | Access::Write => state.find(path)?,
        };
        state.inode(id).handles += 1;
        Ok(Box::new(SimFile { fs: self.clone(), id, access }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.begin()?.rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.begin()?.link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.begin()?.remove(path)
    }

    fn exchange_dirs(&self, a: &Path, b: &Path) -> io::Result<()> {
        self.begin()?.exchange_dirs(a, b)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.begin()?.remove_dir(dir)
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        self.begin()?.canonical(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.begin()?;
        state.dir(dir)?.sync();
        state.forget_all_unreachable();
        Ok(())
    }

    fn lock(&self, path: &Path, holder: &str) -> io::Result<Result<Box<dyn Lock>, String>> {
        let mut state = self.begin()?;
        let id = match state.find(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => state.create(path)?,
            found => found?,
        };
        if let Some(holder) = state.locks.get(&id) {
            return Ok(Err(holder.clone()));
        }
        let inode = state.inode(id);
        inode.set_len(0);
        inode.write(holder.as_bytes(), 0);
        inode.handles += 1;
        state.locks.insert(id, holder.to_owned());
        Ok(Ok(Box::new(SimLock { fs: self.clone(), id })))
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        let state = self.begin()?;
        Ok(state.traits.capacity.saturating_sub(state.used_bytes()))
    }

    fn reserves_blocks(&self, dir: &Path) -> io::Result<bool> {
        let state = self.begin()?;
        state.find_dir(dir)?;
        Ok(state.traits.reserves_blocks)
    }

    fn random(&self) -> [u8; 16] {
        let mut state = self.state();
        let mut bytes = [0; 16];
        for half in bytes.chunks_mut(8) {
            half.copy_from_slice(&state.rng.next().to_le_bytes());
        }
        bytes
    }
}

impl SimFs {
    /// Every operation begins here, and may end here.
    fn begin(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        state.begin()?;
        Ok(state)
    }
}

impl fmt::Debug for SimFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimFs").finish_non_exhaustive()
    }
}

/// Held until dropped.
#[derive(Debug)]
struct SimLock {
    fs: SimFs,
    id: InodeId,
}

impl Lock for SimLock {
    fn tell(&self, text: &str) -> io::Result<()> {
        self.fs.state().inode(self.id).write(text.as_bytes(), 0);
        Ok(())
    }
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.fs.state();
        state.locks.remove(&self.id);
        state.inode(self.id).handles -= 1;
        state.forget_unreachable(self.id);
    }
}

/// An open file.
#[derive(Debug)]
struct SimFile {
    fs: SimFs,
    id: InodeId,
    access: Access,
}

impl File for SimFile {
    fn len(&self) -> io::Result<u64> {
        Ok(widen(self.fs.begin()?.inode(self.id).len))
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.fs.begin()?;
        state.maybe_interrupt()?;
        let len = state.maybe_shorten(buf.len());
        // No file reaches an offset that memory does not.
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        Ok(state.inode(self.id).read(&mut buf[..len], offset))
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        let mut state = self.fs.begin()?;
        self.check_writable(Errno::BADF)?;
        state.maybe_interrupt()?;
        let len = state.maybe_shorten(buf.len());
        length(offset.saturating_add(widen(len)))?;
        let offset = length(offset)?;

        let room_end = state.room_end(self.id);
        let len = if offset + len <= room_end { len } else { room_end.saturating_sub(offset) };
        if len == 0 && !buf.is_empty() {
            return Err(Errno::NOSPC.into());
        }
        state.inode(self.id).write(&buf[..len], offset);
        Ok(len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.fs.begin()?;
        self.check_writable(Errno::INVAL)?;
        state.inode(self.id).set_len(length(len)?);
        Ok(())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let mut state = self.fs.begin()?;
        self.check_writable(Errno::BADF)?;
        state.maybe_interrupt()?;
        let len = length(len)?;
        if len > state.room_end(self.id) {
            return Err(Errno::NOSPC.into());
        }
        let inode = state.inode(self.id);
        inode.extend(len);
        inode.reserved = inode.reserved.max(len);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.fs.state();
        let result = state.begin();
        let inode = state.inode(self.id);
        match &result {
            Ok(()) => inode.sync(),
            Err(e) if e.kind() == io::ErrorKind::Interrupted || is_power_loss(e) => {}
            Err(_) => inode.lose_sync(),
        }
        result
    }

    fn evict(&self, _: u64) -> io::Result<()> {
        self.fs.begin()?.inode(self.id).evict();
        Ok(())
    }

    fn map(&self, len: usize, access: Access) -> io::Result<Region> {
        let mut state = self.fs.begin()?;
        length(widen(len))?;
        let writable = access != Access::Read;
        if writable {
            self.check_writable(Errno::ACCESS)?;
        }
        let inode = state.inode(self.id);
        let readable = len.min(inode.len);
        let memory = inode.map(len, writable);
        Ok(memory.lend(len, readable, Mapping { fs: self.fs.clone(), id: self.id, writable }))
    }
}

impl SimFile {
    fn check_writable(&self, otherwise: Errno) -> io::Result<()> {
        if self.access == Access::Read { Err(otherwise.into()) } else { Ok(()) }
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut state = self.fs.state();
        state.inode(self.id).handles -= 1;
        state.forget_unreachable(self.id);
    }
}

/// Keeps a file that is mapped.
struct Mapping {
    fs: SimFs,
    id: InodeId,
    writable: bool,
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let mut state = self.fs.state();
        state.inode(self.id).unmap(self.writable);
        state.forget_unreachable(self.id);
    }
}

/// What every operation says once the power is gone.
#[derive(Debug)]
struct PowerLost;

impl std::error::Error for PowerLost {}

impl fmt::Display for PowerLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("power lost")
    }
}

/// Whether an operation failed because the crash point was reached.
pub fn is_power_loss(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|source| source.is::<PowerLost>())
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        let errno = match failure {
            Failure::Io => Errno::IO,
            Failure::NoSpace => Errno::NOSPC,
            Failure::TooManyFiles => Errno::MFILE,
            Failure::Interrupted => Errno::INTR,
        };
        errno.into()
    }
}

/// A length or offset that a file of the simulated disk can have.
fn length(len: u64) -> io::Result<usize> {
    let fits = usize::try_from(len).ok().filter(|_| len <= FILE_LEN_MAX);
    fits.ok_or_else(|| Errno::FBIG.into())
}

fn widen(len: usize) -> u64 {
    u64::try_from(len).expect("usize is at most 64 bits")
}
