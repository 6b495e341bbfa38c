//! A store that is not there before all of it is.
//!
//! Some imports are in no state that counts until they are done: a key may be there that the next file deletes. They go
//! into a directory beside, which takes the store's name at the end. Whatever ends the process before, nobody sees
//! half of one.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bitcask::{Bitcask, MergePolicy, Options};

use super::Context;
use crate::failure::Failure;

/// Makes the store of the context, and fills it. What `fill` fails with leaves nothing behind.
pub(super) fn make<T>(
    context: &Context,
    fill: impl FnOnce(&Bitcask) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let dir = context.dir()?;
    let (target, partial) = places(dir)?;
    // Opened by nobody else: whoever imports to the same place finds it and gives up, as we do.
    if is_there(&partial) {
        let what = format!(
            "another import into {} goes on, or was killed: {}",
            dir.display(),
            partial.display()
        );
        return Err(Failure::invalid(what)
            .advise("wait for it; or if there is none, remove that directory, and import again"));
    }
    let policy = MergePolicy { background: false, ..MergePolicy::default() };
    let db = Options::new().error_if_exists(true).merge(policy).open(&partial)?;
    let filled = fill(&db);
    let closed = db.close().map_err(Failure::from);
    match (filled, closed) {
        (Ok(filled), Ok(())) => publish(&partial, &target).map(|()| filled),
        (Err(failure), _) | (Ok(_), Err(failure)) => {
            // Ignored: the next import tells of it.
            drop(fs::remove_dir_all(&partial));
            Err(failure)
        }
    }
}

/// Where the store is to be, and a name beside it. An empty directory is replaced; a mount point cannot be.
fn places(dir: &Path) -> Result<(PathBuf, PathBuf), Failure> {
    let taken = || {
        let what = format!("there is something already: {}", dir.display());
        Failure::invalid(what).advise(
            "import from this into a new store: pass a --db that is not there yet, or is empty",
        )
    };
    let target = match dir.canonicalize() {
        Ok(target) if is_replaceable(&target) => target,
        Err(e) if e.kind() == io::ErrorKind::NotFound && !is_there(dir) => dir.to_owned(),
        _ => return Err(taken()),
    };
    let mut name = target.file_name().ok_or_else(taken)?.to_owned();
    name.push(".partial");
    let partial = target.with_file_name(name);
    Ok((target, partial))
}

/// Whether it is an empty directory on the file system of the one it is in.
fn is_replaceable(dir: &Path) -> bool {
    let device = |path: &Path| path.metadata().map(|metadata| metadata.dev());
    let is_empty = fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_none());
    let parent = dir.parent();
    is_empty && parent.is_some_and(|parent| device(parent).ok() == device(dir).ok())
}

/// Also as a link that leads nowhere.
fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn publish(partial: &Path, dir: &Path) -> Result<(), Failure> {
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
    fs::rename(partial, dir)
        .and_then(|()| File::open(parent.unwrap_or(Path::new(".")))?.sync_all())
        .map_err(|e| {
            let what = format!("cannot give the new store its name, {}", dir.display());
            Failure::file(&what, partial, &e).advise("all is in it: rename it yourself")
        })
}
