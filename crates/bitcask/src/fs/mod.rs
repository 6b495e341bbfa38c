//! The one seam to the disk.
//!
//! Everything the engine does to a file system goes through [`Fs`] and [`File`], and every question
//! about time through [`Clock`], so that a simulated disk and clock can stand in
//! (`fs::sim`, feature `testing`). The real path pays nothing for it: what is hot, a copy into or out of a
//! mapped file, touches the [`Region`] directly and calls no method of these traits.

mod disk;
mod region;
#[cfg(feature = "testing")]
pub mod sim;

use std::ffi::OsString;
use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use disk::{Disk, SystemClock};
pub use region::{Appender, Region, prefetch_address};

/// The same number on every Unix.
const EIO: i32 = 5;

/// How to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// An existing file, for reading.
    Read,
    /// An existing file, for reading and writing.
    Write,
    /// A file that must not exist yet, for reading and writing.
    Create,
}

/// One entry of a directory: its name, and the length of the file (0 for anything but a file).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name within the directory.
    pub name: OsString,
    /// Bytes in the file.
    pub len: u64,
}

/// What keeps other processes out; dropping it lets them in.
pub trait Lock: Debug + Send + Sync {}

/// A file system.
pub trait Fs: Debug + Send + Sync {
    /// Creates `dir` and its parents, and makes their names durable. Succeeds when `dir` exists.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// The entries of `dir`, in no order.
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>>;
    /// Opens the file at `path`.
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn File>>;
    /// Renames a file within a directory, replacing the file that has the new name; or a directory, replacing
    /// an empty one. Durable after `sync_dir`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives a file a second name, in this or another directory of its file system; the new name must be free.
    /// Durable after `sync_dir` of the new name's directory, as far as the file is.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes the name of a file; open handles and mappings of it go on. Durable after `sync_dir`.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Gives each of two directories in one directory the name of the other, in one step. Durable after
    /// `sync_dir` of the one they are in; a crash before leaves both names as they were, or both changed.
    fn exchange_dirs(&self, a: &Path, b: &Path) -> io::Result<()>;
    /// Removes an empty directory. Durable after `sync_dir` of the one it is in.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;
    /// The absolute path, without symbolic links, of a file or directory that exists.
    fn canonical(&self, path: &Path) -> io::Result<PathBuf>;
    /// Makes the names in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Locks `path` for this process, creating it if need be; `holder` is written into it for others to
    /// read. `Err` holds what the holder wrote when the lock is taken.
    fn lock(&self, path: &Path, holder: &str) -> io::Result<Result<Box<dyn Lock>, String>>;
    /// Whether blocks reserved by [`File::allocate`] in `dir` are certain to take a later write, so that
    /// writing through a mapping cannot hit a full disk.
    fn reserves_blocks(&self, dir: &Path) -> io::Result<bool>;
    /// Bytes that files in `dir` can still grow by, at most.
    fn free_bytes(&self, dir: &Path) -> io::Result<u64>;
    /// 16 random bytes, for the identity of a new store.
    fn random(&self) -> [u8; 16];
}

/// An open file.
#[cfg_attr(
    feature = "testing",
    expect(clippy::len_without_is_empty, reason = "nobody asks whether a file is empty")
)]
pub trait File: Debug + Send + Sync {
    /// Bytes in the file.
    fn len(&self) -> io::Result<u64>;
    /// Reads at `offset`; may read less than asked, and 0 bytes only at the end of the file.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes at `offset`, past the end if need be; may write less than asked.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize>;
    /// Cuts or extends (with zeros, unreserved) the file. Durable after `sync`.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Makes the file at least `len` bytes long, with every block of it reserved; new bytes read as zeros.
    fn allocate(&self, len: u64) -> io::Result<()>;
    /// Makes contents and length durable, those written through a mapping included.
    fn sync(&self) -> io::Result<()>;
    /// Forgets cached contents from `from` on that are not waiting to be written (and perhaps others), so that
    /// the next read comes from the disk. Called after `sync`, and before the file is mapped.
    fn evict(&self, from: u64) -> io::Result<()>;
    /// Maps the first `len` bytes. The mapping may reach beyond the end of the file; what lies there must
    /// not be touched until the file has grown.
    fn map(&self, len: usize, access: Access) -> io::Result<Region>;
}

impl File for Arc<dyn File> {
    fn len(&self) -> io::Result<u64> {
        (**self).len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        (**self).read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        (**self).write_at(buf, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        (**self).set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        (**self).allocate(len)
    }

    fn sync(&self) -> io::Result<()> {
        (**self).sync()
    }

    fn evict(&self, from: u64) -> io::Result<()> {
        (**self).evict(from)
    }

    fn map(&self, len: usize, access: Access) -> io::Result<Region> {
        (**self).map(len, access)
    }
}

/// Time. The wall clock stamps records and may jump; the monotonic one paces background work.
pub trait Clock: Debug + Send + Sync {
    /// Milliseconds since 1970.
    fn wall_ms(&self) -> u64;
    /// Nanoseconds since some moment in the past; never goes back.
    fn monotonic_ns(&self) -> u64;
}

/// Whether a read failed because the medium does not give these bytes (`EIO`), so that others may still be read.
pub(crate) fn is_bad_medium(error: &io::Error) -> bool {
    error.raw_os_error() == Some(EIO)
}

/// Reads exactly `buf.len()` bytes, or fails with `UnexpectedEof`.
pub(crate) fn read_exact_at(
    file: &dyn File,
    mut buf: &mut [u8],
    mut offset: u64,
) -> io::Result<()> {
    while !buf.is_empty() {
        match read_some_at(file, buf, offset)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => {
                buf = &mut buf[n..];
                offset += n as u64;
            }
        }
    }
    Ok(())
}

/// Reads until `buf` is full or the file ends; says how many bytes were read.
pub(crate) fn read_full_at(file: &dyn File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buf.len() {
        match read_some_at(file, &mut buf[done..], offset + done as u64)? {
            0 => break,
            n => done += n,
        }
    }
    Ok(done)
}

fn read_some_at(file: &dyn File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    loop {
        match file.read_at(buf, offset) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Reserves `len` bytes, however often a signal comes between.
pub(crate) fn allocate(file: &dyn File, len: u64) -> io::Result<()> {
    loop {
        match file.allocate(len) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Writes all of `buf`. After an error an unknown part of it has been written.
pub(crate) fn write_all_at(file: &dyn File, mut buf: &[u8], mut offset: u64) -> io::Result<()> {
    while !buf.is_empty() {
        match file.write_at(buf, offset) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                buf = &buf[n..];
                offset += n as u64;
            }
        }
    }
    Ok(())
}
