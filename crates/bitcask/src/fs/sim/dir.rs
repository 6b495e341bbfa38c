//! The names in one directory, as the program sees them and as the medium has them.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use super::rng::Rng;

pub(super) type InodeId = u64;
pub(super) type Names = BTreeMap<OsString, Link>;

/// One entry of a directory. To rename it is to move the link; a file with several names has several links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// Unique within its directory, now and after crashes.
    id: u64,
    pub(super) inode: InodeId,
}

/// A directory.
#[derive(Clone, Debug, Default)]
pub(super) struct Dir {
    /// The names the program sees.
    pub(super) names: Names,
    /// The names on the medium.
    durable: Names,
    /// What leads from `durable` to `names`, oldest first.
    pending: Vec<Change>,
    link_next: u64,
}

#[derive(Clone, Debug)]
struct Change {
    link: Link,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Create(OsString),
    /// The old name goes and the new one comes in one step.
    Rename(OsString),
    Remove(OsString),
    /// Two names change places in one step: `other` gets the first, the link the second.
    Exchange {
        other: Link,
        names: [OsString; 2],
    },
}

impl Dir {
    /// A directory whose `names` are on the medium.
    pub(super) fn durable(names: Names) -> Self {
        let link_next = names.values().map(|link| link.id + 1).max().unwrap_or(0);
        Self { durable: names.clone(), names, pending: Vec::new(), link_next }
    }

    /// Gives a file a name that is free: its first, or one more.
    pub(super) fn create(&mut self, name: &OsStr, inode: InodeId) {
        let link = Link { id: self.link_next, inode };
        self.link_next += 1;
        self.change(link, Kind::Create(name.to_owned()));
    }

    pub(super) fn rename(&mut self, link: Link, to: &OsStr) {
        self.change(link, Kind::Rename(to.to_owned()));
    }

    pub(super) fn remove(&mut self, name: &OsStr, link: Link) {
        self.change(link, Kind::Remove(name.to_owned()));
    }

    /// Gives each of two entries the name of the other.
    pub(super) fn exchange(&mut self, a: (&OsStr, Link), b: (&OsStr, Link)) {
        let names = [a.0.to_owned(), b.0.to_owned()];
        self.change(a.1, Kind::Exchange { other: b.1, names });
    }

    fn change(&mut self, link: Link, kind: Kind) {
        let change = Change { link, kind };
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

    /// Gives `link` this name, or none, at once and durably.
    pub(super) fn settle(&mut self, link: Link, name: Option<&OsStr>) {
        self.pending.retain(|change| change.link != link);
        for names in [&mut self.names, &mut self.durable] {
            names.retain(|_, &mut other| other != link);
            names.extend(name.map(|name| (name.to_owned(), link)));
        }
    }

    /// How many changes are not on the medium yet.
    pub(super) fn pending_count(&self) -> usize {
        self.pending.len()
    }

    /// The names on the medium after those pending changes for which `keeps` holds.
    pub(super) fn with_pending(&self, mut keeps: impl FnMut(usize) -> bool) -> Names {
        let mut names = self.durable.clone();
        for (index, change) in self.pending.iter().enumerate() {
            if keeps(index) {
                change.apply(&mut names);
            }
        }
        names
    }

    /// What anything here can still lead to, now or after a crash.
    pub(super) fn referred(&self) -> impl Iterator<Item = InodeId> {
        let pending = self.pending.iter().flat_map(Change::links);
        let named = self.names.values().chain(self.durable.values()).copied();
        named.chain(pending).map(|link| link.inode)
    }
}

impl Change {
    fn links(&self) -> impl Iterator<Item = Link> {
        let other = match self.kind {
            Kind::Exchange { other, .. } => Some(other),
            _ => None,
        };
        [self.link].into_iter().chain(other)
    }

    /// Does to `names` what was done, also if changes before it are missing.
    fn apply(&self, names: &mut Names) {
        match &self.kind {
            Kind::Create(name) => {
                names.insert(name.clone(), self.link);
            }
            Kind::Rename(to) => {
                names.retain(|_, &mut link| link != self.link);
                names.insert(to.clone(), self.link);
            }
            Kind::Remove(name) => {
                if names.get(name) == Some(&self.link) {
                    names.remove(name);
                }
            }
            Kind::Exchange { other, names: [first, second] } => {
                names.retain(|_, link| *link != self.link && link != other);
                names.insert(first.clone(), *other);
                names.insert(second.clone(), self.link);
            }
        }
    }
}
