//! The real disk and the real clock.
#![expect(
    clippy::disallowed_methods,
    reason = "this is the one home of the calls banned elsewhere"
)]

use std::fs::{self, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{
    Advice, CWD, FallocateFlags, RenameFlags, fadvise, fallocate, renameat_with, statfs, statvfs,
};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use rustix::time::{ClockId, clock_gettime};

use super::{Access, Clock, Entry, File, Fs, Lock, Region};

/// File systems that reserve blocks for good when asked to, so that a later write into them cannot fail for
/// want of space: ext2 to ext4, XFS, tmpfs. Others copy on write, or are not known to keep the promise.
const RESERVING: [i64; 3] = [0xef53, 0x5846_5342, 0x0102_1994];

/// The files of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Fs for Disk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        if dir.is_dir() {
            return Ok(());
        }
        if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            self.create_dir(parent)?;
        }
        match fs::create_dir(dir) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => {}
            result => result?,
        }
        match dir.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => self.sync_dir(parent),
            _ => self.sync_dir(Path::new(".")),
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let len = match entry.metadata() {
                // Another process removed it since it was listed.
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                metadata => Some(metadata?).filter(fs::Metadata::is_file).map_or(0, |m| m.len()),
            };
            entries.push(Entry { name: entry.file_name(), len });
        }
        Ok(entries)
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn File>> {
        let file = OpenOptions::new()
            .read(true)
            .write(access != Access::Read)
            .create_new(access == Access::Create)
            .mode(0o600)
            .open(path)?;
        Ok(Box::new(DiskFile(file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn exchange_dirs(&self, a: &Path, b: &Path) -> io::Result<()> {
        Ok(renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE)?)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        fs::remove_dir(dir)
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        fs::canonicalize(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::File::open(dir)?.sync_all()
    }

    fn lock(&self, path: &Path, holder: &str) -> io::Result<Result<Box<dyn Lock>, String>> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = Vec::new();
                // Ignored: the text is only for the message, and is not there while the holder writes it.
                drop(file.take(1024).read_to_end(&mut text));
                let text = String::from_utf8_lossy(&text);
                return Ok(Err(text.lines().next().unwrap_or_default().trim().to_owned()));
            }
            Err(TryLockError::Error(e)) => return Err(e),
        }
        // Ignored: on a full disk the lock holds without its text.
        drop(write_holder(&mut file, holder));
        Ok(Ok(Box::new(DiskLock(file))))
    }

    fn reserves_blocks(&self, dir: &Path) -> io::Result<bool> {
        let kind = statfs(dir)?.f_type;
        Ok(RESERVING.iter().any(|&reserving| i128::from(kind) == i128::from(reserving)))
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let disk = statvfs(dir)?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    fn random(&self) -> [u8; 16] {
        use std::hash::{BuildHasher, Hasher, RandomState};
        let mut bytes = [0; 16];
        for half in bytes.chunks_mut(8) {
            // The standard library seeds each from the system's random source; the time tells apart two
            // that a fork left with the same seed.
            let mut hasher = RandomState::new().build_hasher();
            hasher.write_u64(SystemClock.monotonic_ns());
            hasher.write_u32(std::process::id());
            half.copy_from_slice(&hasher.finish().to_le_bytes());
        }
        bytes
    }
}

/// Whether there is a process by this number.
pub(crate) fn is_alive(process: u32) -> bool {
    let pid = i32::try_from(process).ok().and_then(Pid::from_raw);
    // It may be somebody else's.
    pid.is_some_and(|pid| test_kill_process(pid) != Err(Errno::SRCH))
}

fn write_holder(file: &mut fs::File, holder: &str) -> io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(holder.as_bytes())
}

/// Locked by the kernel until it is unlocked, or until the last descriptor of this opening is closed: also by the
/// death of the process.
#[derive(Debug)]
struct DiskLock(fs::File);

impl Lock for DiskLock {
    fn tell(&self, text: &str) -> io::Result<()> {
        self.0.write_all_at(text.as_bytes(), 0)
    }
}

impl Drop for DiskLock {
    fn drop(&mut self) {
        // Ignored: who reads what is left finds the process gone.
        drop(self.0.set_len(0));
        // To close it would not do: a child that was just forked by another thread has the descriptor, too.
        // Ignored: closing it, next, is all that is left to try.
        drop(self.0.unlock());
    }
}

#[derive(Debug)]
struct DiskFile(fs::File);

impl File for DiskFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_at(buf, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let from = self.len()?;
        if from >= len {
            return Ok(());
        }
        Ok(fallocate(&self.0, FallocateFlags::empty(), from, len - from)?)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn evict(&self, from: u64) -> io::Result<()> {
        Ok(fadvise(&self.0, from, None, Advice::DontNeed)?)
    }

    fn map(&self, len: usize, access: Access) -> io::Result<Region> {
        let readable = usize::try_from(self.len()?).unwrap_or(usize::MAX).min(len);
        Region::map(&self.0, len, readable, access != Access::Read)
    }
}

/// The clocks of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn wall_ms(&self) -> u64 {
        // The coarse clock costs a quarter of the fine one, and its steps of 1 to 4 ms are fine enough here.
        let now = clock_gettime(ClockId::RealtimeCoarse);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        seconds * 1000 + u64::try_from(now.tv_nsec / 1_000_000).unwrap_or(0)
    }

    fn monotonic_ns(&self) -> u64 {
        let now = clock_gettime(ClockId::Monotonic);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
    }
}
