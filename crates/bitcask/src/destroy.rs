//! Destroy: removing a store, and nothing else.
//!
//! No order of removal by itself is safe. A file may hold values whose tombstones are in a second, and tombstones of values
//! in the second; whichever goes first, a crash in between could leave a store with keys that had been deleted. So
//! first a file named `DESTROYING` is made durable: while it is there the directory does not open as a store, and it
//! goes last.

use std::ffi::OsString;
use std::path::Path;

use crate::engine::lock_directory;
use crate::error::{Error, Result};
use crate::fs::{Access, Fs};
use crate::name::{DESTROYING_NAME, LOCK_NAME, Name};
use crate::options::Options;

/// What a destruction removed, and what it left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DestroyReport {
    /// Files of the store that were removed.
    pub files_removed: usize,
    /// Bytes that were in them.
    pub bytes_removed: u64,
    /// Names that are not the store's, `quarantine` among them. They are still there, in the directory, in order.
    pub left: Vec<OsString>,
    /// Whether the directory is gone, too.
    pub directory_removed: bool,
}

/// Removes the store in `dir`, which nobody has open, for good; and the directory, if nothing else is in it.
///
/// Files that are not the store's stay, and so does what a repair has put into `quarantine`. Interrupted, it leaves
/// what does not open as a store; run again, it goes on.
///
/// ```
/// # let dir = std::env::temp_dir().join(format!("bitcask-doc-destroy-{}", std::process::id()));
/// # bitcask::Bitcask::open(&dir)?.put(b"key", b"value")?;
/// let report = bitcask::destroy(&dir)?;
/// assert!(report.directory_removed, "{:?}", report.left);
/// # Ok::<(), bitcask::Error>(())
/// ```
///
/// # Errors
/// `Locked` if somebody has the store open; `Invalid` if the directory holds no store; `Io`.
pub fn destroy(dir: impl AsRef<Path>) -> Result<DestroyReport> {
    Options::new().destroy(dir)
}

/// Removes the store at `path`, with these options.
pub(crate) fn destroy_with(path: &Path, options: &Options) -> Result<DestroyReport> {
    let fs = &*options.fs;
    // Before the lock makes a file in what may be anybody's directory.
    list_store(fs, path)?;
    let lock = lock_directory(options, path)?;
    let mut report = DestroyReport::default();
    let (mut files, begun) = list_store(fs, path)?;
    report
        .left
        .extend(files.extract_if(.., |file| file.name == Name::Foreign).map(|file| file.text));
    report.left.sort_unstable();
    if !begun {
        let marker = path.join(DESTROYING_NAME);
        let made = fs.open(&marker, Access::Create).and_then(|file| file.sync());
        made.map_err(|e| Error::io("cannot create", &marker, e))?;
        sync_dir(fs, path)?;
    }
    for file in files {
        remove(fs, &path.join(&file.text))?;
        report.files_removed += 1;
        report.bytes_removed += file.len;
    }
    sync_dir(fs, path)?;
    // Who comes now finds the marker, until that is gone, too, and then an empty directory.
    remove(fs, &path.join(LOCK_NAME))?;
    drop(lock);
    sync_dir(fs, path)?;
    remove(fs, &path.join(DESTROYING_NAME))?;
    sync_dir(fs, path)?;
    report.directory_removed = report.left.is_empty() && remove_dir(fs, path);
    tracing::info!(dir = %path.display(), ?report, "destroyed");
    Ok(report)
}

struct File {
    name: Name,
    text: OsString,
    len: u64,
}

/// All that is in the directory but the lock and the marker, and whether the marker is there.
fn list_store(fs: &dyn Fs, path: &Path) -> Result<(Vec<File>, bool)> {
    let entries = match fs.list(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        entries => entries.map_err(|e| Error::io("cannot list the directory", path, e))?,
    };
    let files = entries.into_iter().map(|entry| {
        let name = Name::of(&entry.name);
        File { name, text: entry.name, len: entry.len }
    });
    let mut files: Vec<_> = files.filter(|file| file.name != Name::Lock).collect();
    let begun = files.extract_if(.., |file| file.name == Name::Destroying).count() > 0;
    if !begun && !files.iter().any(|file| matches!(file.name, Name::Data(..))) {
        return Err(Error::invalid("the directory holds no store").at(path));
    }
    Ok((files, begun))
}

fn remove(fs: &dyn Fs, path: &Path) -> Result<()> {
    fs.remove(path).map_err(|e| Error::io("cannot remove", path, e))
}

fn sync_dir(fs: &dyn Fs, dir: &Path) -> Result<()> {
    fs.sync_dir(dir).map_err(|e| Error::io("cannot sync the directory", dir, e))
}

/// Whether the directory could be removed. If not, somebody has put something in it, or needs it, and that is fine.
fn remove_dir(fs: &dyn Fs, path: &Path) -> bool {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let removed = fs.remove_dir(path);
    let result = removed.and_then(|()| fs.sync_dir(parent.unwrap_or_else(|| Path::new("."))));
    if let Err(e) = &result {
        tracing::warn!(error = ?e, dir = %path.display(), "cannot remove the directory");
    }
    result.is_ok()
}
