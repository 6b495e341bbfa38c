//! A directory for a store that nobody will miss.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// A directory of our own. It is gone when this is dropped.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// Makes it in `parent`, which must not be the store of the user, nor lie within.
    pub(crate) fn new(parent: &Path, store: Option<&Path>) -> Result<Self, Failure> {
        let parent =
            parent.canonicalize().map_err(|e| Failure::file("cannot use directory", parent, &e))?;
        let is_theirs = store
            .and_then(|dir| dir.canonicalize().ok())
            .is_some_and(|dir| parent.starts_with(dir));
        if is_theirs || holds_store(&parent) {
            let what = format!("a store is there, and it is not for scratch: {}", parent.display());
            return Err(Failure::invalid(what).advise("pass another directory with --dir"));
        }
        for number in 0_u64.. {
            let name = format!("bitcask-bench-{}-{number}", std::process::id());
            let path = parent.join(name);
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self(path)),
                // Left behind by a process that was killed. It may be anybody's.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(Failure::file("cannot create directory", &path, &e)),
            }
        }
        unreachable!("there are more numbers than directories")
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Removes it, and says if that is not possible.
    pub(crate) fn remove(self) -> Result<(), Failure> {
        fs::remove_dir_all(&self.0).map_err(|e| Failure::file("cannot remove", &self.0, &e))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Ignored: it is gone already, or another error is on its way.
        drop(fs::remove_dir_all(&self.0));
    }
}

/// Whether files with names of a store's are in a directory.
fn holds_store(dir: &Path) -> bool {
    let is_ours = |name: &str| {
        name.split_once('.').is_some_and(|(id, kind)| {
            id.len() == 12
                && id.bytes().all(|byte| byte.is_ascii_digit())
                && ["data", "merged"].contains(&kind)
        })
    };
    let mut entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.any(|entry| entry.file_name().to_str().is_some_and(is_ours))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_gone_afterwards_and_never_in_a_store() {
        let parent = std::env::temp_dir();
        let (first, second) =
            (Scratch::new(&parent, None).unwrap(), Scratch::new(&parent, None).unwrap());
        assert_ne!(first.path(), second.path());
        fs::write(first.path().join("000000000001.data"), "").unwrap();
        assert!(Scratch::new(first.path(), None).is_err());
        assert!(Scratch::new(second.path(), Some(second.path())).is_err());
        fs::create_dir(second.path().join("below")).unwrap();
        assert!(Scratch::new(&second.path().join("below"), Some(second.path())).is_err());
        let paths = [first.path().to_owned(), second.path().to_owned()];
        first.remove().unwrap();
        drop(second);
        assert!(paths.iter().all(|path| !path.exists()));
    }
}
