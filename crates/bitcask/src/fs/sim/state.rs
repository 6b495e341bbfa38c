//! What a disk consists of, and what every operation of it has in common.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::crash::Choice;
use super::dir::{Dir, InodeId};
use super::inode::Inode;
use super::rng::Rng;
use super::{Failure, PowerLost, tree, widen};

pub(super) struct State {
    pub(super) rng: Rng,
    pub(super) dirs: BTreeMap<InodeId, Dir>,
    pub(super) inodes: BTreeMap<InodeId, Inode>,
    inode_next: InodeId,
    /// The locks that are held, and by whom.
    pub(super) locks: HashMap<InodeId, String>,
    pub(super) op_count: u64,
    pub(super) faults: Vec<Fault>,
    pub(super) crash_point: Option<u64>,
    pub(super) traits: Traits,
    /// Directories in which another file system begins.
    pub(super) mounts: Vec<PathBuf>,
}

/// What a disk keeps when it crashes.
#[derive(Clone, Copy)]
pub(super) struct Traits {
    pub(super) capacity: u64,
    pub(super) reserves_blocks: bool,
    /// Each happens once in so many operations.
    pub(super) write_back_one_in: u32,
    pub(super) short_one_in: u32,
    pub(super) interrupt_one_in: u32,
}

#[derive(Clone, Copy)]
pub(super) struct Fault {
    pub(super) from: u64,
    /// The last operation to fail.
    pub(super) to: u64,
    pub(super) failure: Failure,
}

impl State {
    pub(super) fn new(seed: u64) -> Self {
        let traits = Traits {
            capacity: u64::MAX,
            reserves_blocks: true,
            write_back_one_in: 16,
            short_one_in: 0,
            interrupt_one_in: 0,
        };
        Self::with(tree::roots(), BTreeMap::new(), Rng::new(seed), traits)
    }

    fn with(
        dirs: BTreeMap<InodeId, Dir>,
        inodes: BTreeMap<InodeId, Inode>,
        rng: Rng,
        traits: Traits,
    ) -> Self {
        Self {
            rng,
            inode_next: inodes.keys().chain(dirs.keys()).max().map_or(0, |&last| last + 1),
            dirs,
            inodes,
            locks: HashMap::new(),
            op_count: 0,
            faults: Vec::new(),
            crash_point: None,
            traits,
            mounts: Vec::new(),
        }
    }

    pub(super) fn begin(&mut self) -> io::Result<()> {
        let op = self.op_count;
        self.op_count += 1;
        if self.crash_point.is_some_and(|at| at <= op) {
            return Err(io::Error::other(PowerLost));
        }
        if self.rng.one_in(self.traits.write_back_one_in) {
            self.write_back();
        }
        match self.faults.iter().find(|fault| (fault.from..=fault.to).contains(&op)) {
            Some(fault) => Err(fault.failure.into()),
            None => Ok(()),
        }
    }

    fn write_back(&mut self) {
        if !self.inodes.is_empty() {
            let index = self.rng.below(self.inodes.len());
            let inode = self.inodes.values_mut().nth(index).expect("the index is below the length");
            inode.write_back(&mut self.rng);
        }
        if self.rng.one_in(4) {
            for dir in self.dirs.values_mut() {
                dir.write_back(&mut self.rng);
            }
            self.forget_all_unreachable();
        }
    }

    pub(super) fn maybe_interrupt(&mut self) -> io::Result<()> {
        if self.rng.one_in(self.traits.interrupt_one_in) { Err(Errno::INTR.into()) } else { Ok(()) }
    }

    pub(super) fn maybe_shorten(&mut self, len: usize) -> usize {
        if len > 1 && self.rng.one_in(self.traits.short_one_in) {
            1 + self.rng.below(len - 1)
        } else {
            len
        }
    }

    pub(super) fn after_power_loss(&self, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let choice = Choice::draw(seed, &mut rng);
        let after = |(&id, dir): (&InodeId, &Dir)| (id, dir.after_power_loss(choice, &mut rng));
        let dirs = self.dirs.iter().map(after).collect();
        self.copy(dirs, rng, |inode, rng| inode.after_power_loss(choice, rng))
    }

    pub(super) fn after_kill(&self) -> Self {
        self.copy(self.dirs.clone(), self.rng.clone(), |inode, _| inode.copy())
    }

    /// A disk with `dirs` and what they refer to.
    fn copy(
        &self,
        mut dirs: BTreeMap<InodeId, Dir>,
        mut rng: Rng,
        mut copy: impl FnMut(&Inode, &mut Rng) -> Inode,
    ) -> Self {
        let reachable = tree::reachable(&dirs);
        dirs.retain(|id, _| reachable.contains(id));
        let named = self.inodes.iter().filter(|&(id, _)| reachable.contains(id));
        let inodes = named.map(|(&id, inode)| (id, copy(inode, &mut rng))).collect();
        Self { mounts: self.mounts.clone(), ..Self::with(dirs, inodes, rng, self.traits) }
    }

    /// A number for a new file or directory.
    pub(super) fn take_id(&mut self) -> InodeId {
        self.inode_next += 1;
        self.inode_next - 1
    }

    pub(super) fn inode(&mut self, id: InodeId) -> &mut Inode {
        self.inodes.get_mut(&id).expect("an inode lives while something refers to it")
    }

    pub(super) fn existing(&mut self, path: &Path) -> &mut Inode {
        let id = self.find(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        self.inode(id)
    }

    pub(super) fn forget_unreachable(&mut self, id: InodeId) {
        if !self.inode(id).in_use()
            && !self.dirs.values().any(|dir| dir.referred().any(|other| other == id))
        {
            self.inodes.remove(&id);
        }
    }

    pub(super) fn forget_all_unreachable(&mut self) {
        let reachable = tree::reachable(&self.dirs);
        self.dirs.retain(|id, _| reachable.contains(id));
        self.inodes.retain(|id, inode| inode.in_use() || reachable.contains(id));
    }

    pub(super) fn used_bytes(&self) -> u64 {
        // Blocks are free once the program has no way to the file, though a crash may bring its name back.
        let is_visible =
            |id| self.dirs.values().any(|dir| dir.names.values().any(|link| link.inode == id));
        let used = self.inodes.iter().filter(|&(&id, inode)| inode.in_use() || is_visible(id));
        used.map(|(_, inode)| widen(inode.reserved)).sum()
    }

    /// How far the disk has room for this file.
    pub(super) fn room_end(&self, id: InodeId) -> usize {
        if self.traits.capacity == u64::MAX {
            return usize::MAX;
        }
        let free = self.traits.capacity.saturating_sub(self.used_bytes());
        self.inodes[&id].reserved.saturating_add(usize::try_from(free).unwrap_or(usize::MAX))
    }
}
