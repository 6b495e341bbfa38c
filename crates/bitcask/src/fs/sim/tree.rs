//! The tree of directories: from paths to files, and what the operations on names do.
//!
//! Directories have numbers as files do, and the directory above refers to them by links as it does to files. So a
//! directory that is renamed or exchanged takes with it what it holds, and a crash may undo that like any other
//! change of names.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;
use std::path::{Component, Path, PathBuf};

use rustix::io::Errno;

use super::dir::{Dir, InodeId, Link};
use super::inode::Inode;
use super::state::State;
use super::widen;
use crate::fs::Entry;

/// Where relative paths begin, and absolute ones.
const ROOTS: [InodeId; 2] = [0, 1];

/// The directories of an empty disk.
pub(super) fn roots() -> BTreeMap<InodeId, Dir> {
    ROOTS.map(|id| (id, Dir::default())).into()
}

/// What can be reached in `dirs`, now or after a crash: directories and files.
pub(super) fn reachable(dirs: &BTreeMap<InodeId, Dir>) -> BTreeSet<InodeId> {
    let mut seen = BTreeSet::from(ROOTS);
    let mut open = Vec::from(ROOTS);
    while let Some(dir) = open.pop().and_then(|id| dirs.get(&id)) {
        for id in dir.referred() {
            if seen.insert(id) && dirs.contains_key(&id) {
                open.push(id);
            }
        }
    }
    seen
}

/// Finding what a path leads to.
impl State {
    /// The directory at `path`.
    pub(super) fn find_dir(&self, path: &Path) -> io::Result<InodeId> {
        let [mut at, absolute] = ROOTS;
        for component in path.components() {
            at = match component {
                Component::RootDir => absolute,
                Component::CurDir => at,
                Component::Normal(name) => {
                    let link = self.dirs[&at].names.get(name).ok_or(io::ErrorKind::NotFound)?;
                    if !self.dirs.contains_key(&link.inode) {
                        return Err(io::ErrorKind::NotADirectory.into());
                    }
                    link.inode
                }
                Component::ParentDir | Component::Prefix(_) => {
                    return Err(io::ErrorKind::InvalidInput.into());
                }
            };
        }
        Ok(at)
    }

    pub(super) fn dir(&mut self, path: &Path) -> io::Result<&mut Dir> {
        let id = self.find_dir(path)?;
        Ok(self.dirs.get_mut(&id).expect("it was just found"))
    }

    /// The directory of `path`, and the name in it.
    fn dir_of<'p>(&mut self, path: &'p Path) -> io::Result<(&mut Dir, &'p OsStr)> {
        let (dir, name) = split(path)?;
        Ok((self.dir(dir)?, name))
    }

    /// The file at `path`.
    pub(super) fn find(&self, path: &Path) -> io::Result<InodeId> {
        Ok(self.link_at(path)?.inode)
    }

    /// The entry of a file.
    fn link_at(&self, path: &Path) -> io::Result<Link> {
        let link = self.any_link_at(path)?;
        if self.dirs.contains_key(&link.inode) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        Ok(link)
    }

    /// The entry of a directory that can be moved or removed.
    fn dir_link_at(&self, path: &Path) -> io::Result<Link> {
        let link = self.any_link_at(path)?;
        if !self.dirs.contains_key(&link.inode) {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        if self.mounts.iter().any(|mount| mount == path) {
            return Err(Errno::BUSY.into());
        }
        Ok(link)
    }

    fn any_link_at(&self, path: &Path) -> io::Result<Link> {
        let (dir, name) = split(path)?;
        let names = &self.dirs[&self.find_dir(dir)?].names;
        Ok(*names.get(name).ok_or(io::ErrorKind::NotFound)?)
    }

    /// The directory in which the file system that `path` lies on begins; none for the first of all.
    fn mount_of(&self, path: &Path) -> Option<&PathBuf> {
        let mounts = self.mounts.iter().filter(|mount| path.starts_with(mount));
        mounts.max_by_key(|mount| mount.components().count())
    }

    /// There are no symbolic links.
    pub(super) fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        if self.find_dir(path).is_err() {
            self.find(path)?;
        }
        Ok(path.components().collect())
    }

    fn is_dir(&self, link: Link) -> bool {
        self.dirs.contains_key(&link.inode)
    }

    pub(super) fn file_names(&self, dir: &Path) -> impl Iterator<Item = &OsStr> {
        let dir = self.find_dir(dir).ok().and_then(|id| self.dirs.get(&id));
        let names = dir.into_iter().flat_map(|dir| &dir.names);
        names.filter(|&(_, link)| !self.is_dir(*link)).map(|(name, _)| name.as_os_str())
    }
}

/// Changing names.
impl State {
    /// Durable at once, with all other names in the directories above the new ones.
    pub(super) fn create_dir(&mut self, path: &Path) -> io::Result<()> {
        let mut dirs: Vec<_> = path.ancestors().collect();
        dirs.reverse();
        for dir in dirs {
            match self.find_dir(dir) {
                Ok(_) => continue,
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(_) => return Err(io::ErrorKind::AlreadyExists.into()),
            }
            let id = self.take_id();
            let (parent, name) = self.dir_of(dir)?;
            parent.create(name, id);
            parent.sync();
            self.dirs.insert(id, Dir::default());
        }
        Ok(())
    }

    pub(super) fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let names = &self.dirs[&self.find_dir(dir)?].names;
        let entry = |(name, link): (_, &Link)| {
            // Directories are not among the inodes.
            let len = self.inodes.get(&link.inode).map_or(0, |inode| widen(inode.len));
            Entry { name: std::ffi::OsString::clone(name), len }
        };
        Ok(names.iter().map(entry).collect())
    }

    pub(super) fn create(&mut self, path: &Path) -> io::Result<InodeId> {
        self.check_free(path)?;
        let id = self.take_id();
        let (dir, name) = self.dir_of(path)?;
        dir.create(name, id);
        self.inodes.insert(id, Inode::new());
        Ok(id)
    }

    /// Fails unless something can be created at `path`.
    fn check_free(&self, path: &Path) -> io::Result<()> {
        match self.any_link_at(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e),
            Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
        }
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        if from.parent() != to.parent() {
            return Err(io::ErrorKind::CrossesDevices.into());
        }
        let link = self.any_link_at(from)?;
        let replaced = self.any_link_at(to).ok();
        if self.is_dir(link) {
            self.dir_link_at(from)?;
            if let Some(replaced) = replaced {
                let id = self.dir_link_at(to)?.inode;
                if replaced != link && !self.dirs[&id].names.is_empty() {
                    return Err(io::ErrorKind::DirectoryNotEmpty.into());
                }
            }
        } else if replaced.is_some_and(|replaced| self.is_dir(replaced)) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let (dir, to) = self.dir_of(to)?;
        if replaced.is_none_or(|replaced| replaced.inode != link.inode) {
            dir.rename(link, to);
        }
        Ok(())
    }

    pub(super) fn exchange_dirs(&mut self, a: &Path, b: &Path) -> io::Result<()> {
        if a.parent() != b.parent() {
            return Err(io::ErrorKind::CrossesDevices.into());
        }
        let links = (self.dir_link_at(a)?, self.dir_link_at(b)?);
        let (_, a) = split(a)?;
        let (dir, b) = self.dir_of(b)?;
        dir.exchange((a, links.0), (b, links.1));
        Ok(())
    }

    pub(super) fn link(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let id = match self.find(from) {
            Err(e) if e.kind() == io::ErrorKind::IsADirectory => return Err(Errno::PERM.into()),
            found => found?,
        };
        self.check_free(to)?;
        if self.mount_of(from) != self.mount_of(to) {
            return Err(Errno::XDEV.into());
        }
        let (dir, name) = self.dir_of(to)?;
        dir.create(name, id);
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        let link = self.link_at(path)?;
        let (dir, name) = self.dir_of(path)?;
        dir.remove(name, link);
        Ok(())
    }

    pub(super) fn remove_dir(&mut self, path: &Path) -> io::Result<()> {
        let link = self.dir_link_at(path)?;
        if !self.dirs[&link.inode].names.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        let (dir, name) = self.dir_of(path)?;
        dir.remove(name, link);
        Ok(())
    }

    /// Makes the name of the file at `path` durable at once.
    pub(super) fn settle(&mut self, path: &Path) {
        let link = self.link_at(path).expect("the file was found or created");
        let (dir, name) = self.dir_of(path).expect("the file was found or created");
        dir.settle(link, Some(name));
    }

    /// Removes the file at `path`, durably.
    ///
    /// # Panics
    /// If there is no such file.
    pub(super) fn settle_removal(&mut self, path: &Path) {
        let link = self.link_at(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let (dir, _) = self.dir_of(path).expect("a file was found here");
        dir.settle(link, None);
        self.forget_unreachable(link.inode);
    }
}

fn split(path: &Path) -> io::Result<(&Path, &OsStr)> {
    path.parent().zip(path.file_name()).ok_or_else(|| io::ErrorKind::InvalidInput.into())
}
