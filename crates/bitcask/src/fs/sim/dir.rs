//! The names in one directory, as the program sees them and as the medium has them.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use super::rng::Rng;

pub(super) type InodeId = u64;

/// A directory.
#[derive(Clone, Debug, Default)]
pub(super) struct Dir {
    /// The names the program sees.
    pub(super) names: BTreeMap<OsString, InodeId>,
    /// The names on the medium.
    durable: BTreeMap<OsString, InodeId>,
    /// What leads from `durable` to `names`, oldest first.
    pending: Vec<Change>,
}

#[derive(Clone, Debug)]
struct Change {
    inode: InodeId,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Create(OsString),
    /// The old name goes and the new one comes in one step.
    Rename(OsString),
    Remove(OsString),
}

impl Dir {
    /// A directory whose `names` are on the medium.
    pub(super) fn durable(names: BTreeMap<OsString, InodeId>) -> Self {
        Self { durable: names.clone(), names, pending: Vec::new() }
    }

    pub(super) fn create(&mut self, name: &OsStr, inode: InodeId) {
        self.change(inode, Kind::Create(name.to_owned()));
    }

    pub(super) fn rename(&mut self, inode: InodeId, to: &OsStr) {
        self.change(inode, Kind::Rename(to.to_owned()));
    }

    pub(super) fn remove(&mut self, name: &OsStr, inode: InodeId) {
        self.change(inode, Kind::Remove(name.to_owned()));
    }

    fn change(&mut self, inode: InodeId, kind: Kind) {
        let change = Change { inode, kind };
        change.apply(&mut self.names);
        self.pending.push(change);
    }

    pub(super) fn sync(&mut self) {
        self.durable.clone_from(&self.names);
        self.pending.clear();
    }

    /// What the system may do at any moment: writes some of what waits, in order.
    pub(super) fn write_back(&mut self, rng: &mut Rng) {
        let count = rng.below(self.pending.len() + 1);
        for change in self.pending.drain(..count) {
            change.apply(&mut self.durable);
        }
    }

    /// Gives `inode` this one name, or none, at once and durably.
    pub(super) fn settle(&mut self, inode: InodeId, name: Option<&OsStr>) {
        self.pending.retain(|change| change.inode != inode);
        for names in [&mut self.names, &mut self.durable] {
            names.retain(|_, &mut other| other != inode);
            names.extend(name.map(|name| (name.to_owned(), inode)));
        }
    }

    /// How many changes are not on the medium yet.
    pub(super) fn pending_count(&self) -> usize {
        self.pending.len()
    }

    /// The names on the medium after those pending changes for which `keeps` holds.
    pub(super) fn with_pending(
        &self,
        mut keeps: impl FnMut(usize) -> bool,
    ) -> BTreeMap<OsString, InodeId> {
        let mut names = self.durable.clone();
        for (index, change) in self.pending.iter().enumerate() {
            if keeps(index) {
                change.apply(&mut names);
            }
        }
        names
    }

    /// Whether anything here can still lead to `inode`, now or after a crash.
    pub(super) fn refers_to(&self, inode: InodeId) -> bool {
        self.names.values().chain(self.durable.values()).any(|&other| other == inode)
            || self.pending.iter().any(|change| change.inode == inode)
    }
}

impl Change {
    /// Does to `names` what was done, also if changes before it are missing.
    fn apply(&self, names: &mut BTreeMap<OsString, InodeId>) {
        match &self.kind {
            Kind::Create(name) => {
                names.insert(name.clone(), self.inode);
            }
            Kind::Rename(to) => {
                names.retain(|_, &mut inode| inode != self.inode);
                names.insert(to.clone(), self.inode);
            }
            Kind::Remove(name) => {
                if names.get(name) == Some(&self.inode) {
                    names.remove(name);
                }
            }
        }
    }
}
