//! The keys in order, beside the keydir.
//!
//! The keydir gives places; this only knows which keys exist, so that they can be walked over from one key to another.
//! It is a B+ tree: leaves are runs of up to 128 keys, see `run.rs`, an inner node has up to 256 children and
//! between two of them a *separator*, the shortest string above all keys on the left and not above those on the right. So
//! separators are short, and as they stand in a run, too, what they begin with in common is there once:
//!
//! ```text
//!   inner:              | separator 0 | separator 1 | ..
//!            | child 0  |  child 1    |  child 2
//! ```
//!
//! A search reads one run on each level, and only in the leaf does it wait for memory. Every buffer has
//! a few bytes to spare and no more, so it hardly matters for memory how full the leaves are. A key takes its own bytes
//! and two or three, and less if it begins as its neighbours do.
//!
//! It has no lock: whoever shares it puts it behind one.

mod list;
mod run;

use std::ops::{Bound, Range};

pub(crate) use list::KeyList;
use run::{KeyRun, common_len};

/// A leaf is divided when it has more keys than this, or more bytes and not very few keys.
const LEAF_KEYS_MAX: usize = 128;
const LEAF_BYTES_MAX: usize = 4096;
const LEAF_KEYS_FEW: usize = 8;
const CHILDREN_MAX: usize = 256;
/// A node looks for a neighbour to join when it is less than one part in so many of full.
const SMALL_PARTS: usize = 4;
/// A list of children that grows gets one part in so many on top.
const SLACK_PARTS: usize = 8;
/// What the allocator keeps for itself with each piece of memory.
const ALLOCATION_LEN: usize = 16;

/// In which order keys are walked over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Ascending,
    Descending,
}

/// Which keys are walked over.
type Bounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// A set of keys of up to 65535 bytes, in the order of their bytes.
#[derive(Debug)]
pub(crate) struct KeyIndex {
    root: Node,
    len: u64,
    memory: Memory,
}

/// All leaves are on one level.
#[derive(Debug)]
enum Node {
    Leaf(KeyRun),
    Inner(Box<Inner>),
}

#[derive(Debug)]
struct Inner {
    /// One less than there are children. Child `n` has keys from separator `n - 1` on, to before separator `n`.
    separators: KeyRun,
    children: Vec<Node>,
}

/// Bytes taken by all nodes. Whoever changes one says how much it took before and after.
#[derive(Debug, Default)]
struct Memory(usize);

impl Memory {
    fn change(&mut self, before: usize, after: usize) {
        self.0 = self.0 + after - before;
    }
}

/// The ends of the tree that a node lies at.
#[derive(Clone, Copy)]
struct Edges {
    first: bool,
    last: bool,
}

enum Inserted {
    No,
    Yes,
    /// And the node was divided: a separator, and what lies behind it.
    Divided(Vec<u8>, Node),
}

impl Default for KeyIndex {
    fn default() -> Self {
        Self::new()
    }
}

impl KeyIndex {
    pub(crate) fn new() -> Self {
        Self { root: Node::EMPTY, len: 0, memory: Memory::default() }
    }

    /// Builds it at once. Leaves are left some room, or the next insertions would divide every one of them.
    pub(crate) fn from_sorted<'a>(keys: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut index = Self::new();
        let mut level = index.leaves_of(keys);
        while level.len() > 1 {
            level = index.inner_nodes_of(level);
        }
        index.root = level.pop().map_or(Node::EMPTY, |(_, root)| root);
        index
    }

    /// Adds a key, and says whether it was not there.
    pub(crate) fn insert(&mut self, key: &[u8]) -> bool {
        let edges = Edges { first: true, last: true };
        match self.root.insert(key, edges, &mut self.memory) {
            Inserted::No => return false,
            Inserted::Yes => (),
            Inserted::Divided(separator, right) => {
                let left = std::mem::replace(&mut self.root, Node::EMPTY);
                let mut separators = KeyList::new();
                separators.push(&separator);
                let inner = Inner::of(&separators, vec![left, right]);
                self.memory.change(0, inner.own_memory());
                self.root = Node::Inner(Box::new(inner));
            }
        }
        self.len += 1;
        true
    }

    /// Removes a key, and says whether it was there.
    pub(crate) fn remove(&mut self, key: &[u8]) -> bool {
        let removed = self.root.remove(key, &mut self.memory);
        self.len -= u64::from(removed);
        while let Node::Inner(inner) = &mut self.root
            && inner.children.len() <= 1
        {
            self.memory.change(inner.own_memory(), 0);
            self.root = inner.children.pop().unwrap_or(Node::EMPTY);
        }
        removed
    }

    #[cfg(test)]
    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        let mut node = &self.root;
        loop {
            match node {
                Node::Leaf(run) => {
                    run.prefetch_search();
                    return run.search(key).is_ok();
                }
                Node::Inner(inner) => node = &inner.children[inner.child_of(key)],
            }
        }
    }

    #[cfg(test)]
    /// Keys in it.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Bytes of memory it takes.
    pub(crate) fn memory(&self) -> u64 {
        (size_of::<Self>() + self.memory.0) as u64
    }

    /// Appends up to `limit` keys within the bounds to `keys`: the lowest, or the highest if descending.
    pub(crate) fn collect(
        &self,
        bounds: Bounds<'_>,
        order: Order,
        limit: usize,
        keys: &mut KeyList,
    ) {
        let mut walk = Walk { bounds, order, limit, keys };
        walk.node(&self.root);
    }

    fn leaves_of<'a>(&mut self, keys: impl Iterator<Item = &'a [u8]>) -> Vec<(Vec<u8>, Node)> {
        let (mut level, mut pending, mut bytes) = (Vec::new(), KeyList::new(), 0);
        let mut last_before = Vec::new();
        let mut finish = |pending: &KeyList, last_before: &mut Vec<u8>| {
            let run = KeyRun::of(pending, 0..pending.len());
            self.memory.change(0, run_memory(&run));
            let first = pending.get(0).expect("a leaf has keys");
            level.push((separator(last_before, first), Node::Leaf(run)));
            pending.last().expect("a leaf has keys").clone_into(last_before);
        };
        for key in keys {
            debug_assert!(pending.last().is_none_or(|last| last < key), "keys ascend");
            if !pending.is_empty() && !fits_leaf(pending.len() + 1, bytes + key.len()) {
                finish(&pending, &mut last_before);
                pending.clear();
                bytes = 0;
            }
            pending.push(key);
            bytes += key.len();
            self.len += 1;
        }
        if !pending.is_empty() {
            finish(&pending, &mut last_before);
        }
        level
    }

    fn inner_nodes_of(&mut self, level: Vec<(Vec<u8>, Node)>) -> Vec<(Vec<u8>, Node)> {
        let mut above = Vec::new();
        let mut nodes = level.into_iter();
        while let Some((lowest, first)) = nodes.next() {
            let (mut separators, mut children) = (KeyList::new(), vec![first]);
            for (separator, child) in nodes.by_ref().take(parts_of_full(CHILDREN_MAX) - 1) {
                separators.push(&separator);
                children.push(child);
            }
            let inner = Inner::of(&separators, children);
            self.memory.change(0, inner.own_memory());
            above.push((lowest, Node::Inner(Box::new(inner))));
        }
        above
    }
}

/// How much a node gets that is made of others: neither the next insertion nor the next removal changes it again.
const fn parts_of_full(max: usize) -> usize {
    max / 4 * 3
}

/// Whether so much may become one leaf.
fn fits_leaf(keys: usize, bytes: usize) -> bool {
    keys <= parts_of_full(LEAF_KEYS_MAX)
        && (bytes <= parts_of_full(LEAF_BYTES_MAX) || keys < parts_of_full(LEAF_KEYS_FEW))
}

/// The shortest string that is above `left` and not above `right`.
fn separator(left: &[u8], right: &[u8]) -> Vec<u8> {
    let len = common_len(left, right) + 1;
    right[..len.min(right.len())].to_vec()
}

fn run_memory(run: &KeyRun) -> usize {
    if run.capacity() == 0 { 0 } else { run.capacity() + ALLOCATION_LEN }
}

impl Node {
    const EMPTY: Self = Self::Leaf(KeyRun::EMPTY);

    fn insert(&mut self, key: &[u8], edges: Edges, memory: &mut Memory) -> Inserted {
        match self {
            Self::Leaf(run) => insert_into_leaf(run, key, edges, memory),
            Self::Inner(inner) => inner.insert(key, edges, memory),
        }
    }

    fn remove(&mut self, key: &[u8], memory: &mut Memory) -> bool {
        match self {
            Self::Leaf(run) => {
                run.prefetch_change();
                let Ok(at) = run.search(key) else { return false };
                let before = run_memory(run);
                run.remove(at);
                memory.change(before, run_memory(run));
                true
            }
            Self::Inner(inner) => inner.remove(key, memory),
        }
    }

    /// What it takes itself, without its children, and without what its parent has of it.
    fn own_memory(&self) -> usize {
        match self {
            Self::Leaf(run) => run_memory(run),
            Self::Inner(inner) => inner.own_memory(),
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Leaf(run) => run.len() == 0,
            Self::Inner(inner) => inner.children.is_empty(),
        }
    }

    fn is_small(&self) -> bool {
        match self {
            Self::Leaf(run) => {
                let few_bytes = run.plain_len() * SMALL_PARTS < LEAF_BYTES_MAX;
                run.len() * SMALL_PARTS < LEAF_KEYS_MAX
                    && (few_bytes || run.len() < LEAF_KEYS_FEW / 2)
            }
            Self::Inner(inner) => inner.children.len() * SMALL_PARTS < CHILDREN_MAX,
        }
    }

    fn can_join(&self, right: &Self) -> bool {
        match (self, right) {
            (Self::Leaf(left), Self::Leaf(right)) => {
                fits_leaf(left.len() + right.len(), left.plain_len() + right.plain_len())
            }
            (Self::Inner(left), Self::Inner(right)) => {
                left.children.len() + right.children.len() <= parts_of_full(CHILDREN_MAX)
            }
            _ => unreachable!("neighbours are on one level"),
        }
    }

    /// Takes over what its right neighbour has. The separator stood between them.
    fn join(&mut self, separator: &[u8], right: Self) {
        let mut keys = KeyList::new();
        match (self, right) {
            (Self::Leaf(left), Self::Leaf(right)) => {
                left.list(0..left.len(), &mut keys);
                right.list(0..right.len(), &mut keys);
                *left = KeyRun::of(&keys, 0..keys.len());
            }
            (Self::Inner(left), Self::Inner(right)) => {
                left.separators.list(0..left.separators.len(), &mut keys);
                keys.push(separator);
                right.separators.list(0..right.separators.len(), &mut keys);
                left.separators = KeyRun::of(&keys, 0..keys.len());
                left.children.reserve_exact(right.children.len());
                left.children.extend(right.children);
            }
            _ => unreachable!("neighbours are on one level"),
        }
    }
}

fn insert_into_leaf(run: &mut KeyRun, key: &[u8], edges: Edges, memory: &mut Memory) -> Inserted {
    run.prefetch_change();
    let Err(at) = run.search(key) else { return Inserted::No };
    let before = run_memory(run);
    run.insert(at, key);
    let full = run.len() > LEAF_KEYS_MAX
        || (run.bytes_len() > LEAF_BYTES_MAX && run.len() >= LEAF_KEYS_FEW);
    let inserted = if full {
        let (separator, right) = divide_leaf(run, at, edges);
        memory.change(0, run_memory(&right));
        Inserted::Divided(separator, Node::Leaf(right))
    } else {
        Inserted::Yes
    };
    memory.change(before, run_memory(run));
    inserted
}

/// Divides a leaf to which the key at `new` was just added.
#[cold]
fn divide_leaf(run: &mut KeyRun, new: usize, edges: Edges) -> (Vec<u8>, KeyRun) {
    let at = if edges.last && new == run.len() - 1 {
        // Keys come in order: there will be no more before this one.
        new
    } else if edges.first && new == 0 {
        1
    } else {
        shortest_separator(run)
    };
    let mut between = KeyList::new();
    run.list(at - 1..at + 1, &mut between);
    let [left, right] = [0, 1].map(|at| between.get(at).expect("both halves have keys"));
    let right_half = run.part(at..run.len());
    *run = run.part(0..at);
    (separator(left, right), right_half)
}

/// Where, not far from the middle, two keys have least in common, as far as their heads tell.
fn shortest_separator(run: &KeyRun) -> usize {
    let (middle, reach) = (run.len() / 2, run.len() / 8);
    let common = |at: &usize| (run.common_in_heads(at - 1, *at), at.abs_diff(middle));
    (middle - reach..=middle + reach).min_by_key(common).unwrap_or(middle)
}

impl Inner {
    fn of(separators: &KeyList, mut children: Vec<Node>) -> Self {
        children.shrink_to_fit();
        Self { separators: KeyRun::of(separators, 0..separators.len()), children }
    }

    fn own_memory(&self) -> usize {
        let children = self.children.capacity() * size_of::<Node>() + ALLOCATION_LEN;
        size_of::<Self>() + ALLOCATION_LEN + children + run_memory(&self.separators)
    }

    /// The child that has this key, or would have it.
    fn child_of(&self, key: &[u8]) -> usize {
        match self.separators.search(key) {
            Ok(at) => at + 1,
            Err(at) => at,
        }
    }

    fn insert(&mut self, key: &[u8], edges: Edges, memory: &mut Memory) -> Inserted {
        let at = self.child_of(key);
        let edges = Edges {
            first: edges.first && at == 0,
            last: edges.last && at == self.children.len() - 1,
        };
        match self.children[at].insert(key, edges, memory) {
            Inserted::Divided(separator, right) => {
                let before = self.own_memory();
                self.add_child(at, &separator, right);
                let inserted = if self.children.len() > CHILDREN_MAX {
                    let (separator, right) = self.divide();
                    memory.change(0, right.own_memory());
                    Inserted::Divided(separator, Node::Inner(Box::new(right)))
                } else {
                    Inserted::Yes
                };
                memory.change(before, self.own_memory());
                inserted
            }
            inserted => inserted,
        }
    }

    /// Adds what was divided from the child at `at`.
    #[cold]
    fn add_child(&mut self, at: usize, separator: &[u8], right: Node) {
        self.separators.insert(at, separator);
        if self.children.len() == self.children.capacity() {
            self.children.reserve_exact(1 + self.children.len() / SLACK_PARTS);
        }
        self.children.insert(at + 1, right);
    }

    /// Keeps the lower half.
    fn divide(&mut self) -> (Vec<u8>, Self) {
        let middle = self.children.len() / 2;
        let children = self.children.split_off(middle);
        self.children.shrink_to_fit();
        let mut keys = KeyList::new();
        self.separators.list(0..self.separators.len(), &mut keys);
        let separator = keys.get(middle - 1).expect("there is one between two children");
        self.separators = KeyRun::of(&keys, 0..middle - 1);
        (separator.to_vec(), Self { separators: KeyRun::of(&keys, middle..keys.len()), children })
    }

    fn remove(&mut self, key: &[u8], memory: &mut Memory) -> bool {
        let at = self.child_of(key);
        let removed = self.children[at].remove(key, memory);
        if removed && self.children[at].is_small() {
            let before = self.own_memory();
            self.mend(at, memory);
            memory.change(before, self.own_memory());
        }
        removed
    }

    /// Joins a small child with a neighbour if together they are not too large.
    fn mend(&mut self, at: usize, memory: &mut Memory) {
        if self.children[at].is_empty() {
            let empty = self.children.remove(at);
            memory.change(empty.own_memory(), 0);
            if self.separators.len() > 0 {
                self.separators.remove(at.saturating_sub(1));
            }
        } else if at > 0 && self.children[at - 1].can_join(&self.children[at]) {
            self.join(at - 1, memory);
        } else if at + 1 < self.children.len() && self.children[at].can_join(&self.children[at + 1])
        {
            self.join(at, memory);
        }
        let len = self.children.len();
        if (self.children.capacity() - len) * SMALL_PARTS > self.children.capacity() {
            self.children.shrink_to(len + len / SLACK_PARTS);
        }
    }

    /// Makes the children at `at` and behind it one.
    fn join(&mut self, at: usize, memory: &mut Memory) {
        let mut between = KeyList::new();
        self.separators.list(at..at + 1, &mut between);
        self.separators.remove(at);
        let right = self.children.remove(at + 1);
        let left = &mut self.children[at];
        let before = left.own_memory() + right.own_memory();
        left.join(between.get(0).expect("it was listed"), right);
        memory.change(before, left.own_memory());
    }
}

/// A walk over keys.
struct Walk<'a> {
    bounds: Bounds<'a>,
    order: Order,
    limit: usize,
    keys: &'a mut KeyList,
}

impl Walk<'_> {
    /// Collects from a node, and says whether it goes on behind it.
    fn node(&mut self, node: &Node) -> bool {
        match (node, self.order) {
            (Node::Leaf(run), _) => self.leaf(run),
            (Node::Inner(inner), Order::Ascending) => {
                let from = match self.bounds.0 {
                    Bound::Included(key) | Bound::Excluded(key) => inner.child_of(key),
                    Bound::Unbounded => 0,
                };
                inner.children[from..].iter().all(|child| self.node(child))
            }
            (Node::Inner(inner), Order::Descending) => {
                let to = match self.bounds.1 {
                    Bound::Included(key) | Bound::Excluded(key) => inner.child_of(key),
                    Bound::Unbounded => inner.children.len() - 1,
                };
                inner.children[..=to].iter().rev().all(|child| self.node(child))
            }
        }
    }

    fn leaf(&mut self, run: &KeyRun) -> bool {
        let Range { mut start, mut end } = self.within(run);
        let goes_on = match self.order {
            Order::Ascending => end == run.len(),
            Order::Descending => start == 0,
        };
        match self.order {
            _ if start >= end => return goes_on,
            Order::Ascending => {
                end = end.min(start.saturating_add(self.limit));
                run.list(start..end, self.keys);
            }
            Order::Descending => {
                start = start.max(end.saturating_sub(self.limit));
                run.list_backwards(start..end, self.keys);
            }
        }
        self.limit -= end - start;
        goes_on && self.limit > 0
    }

    /// The keys of a run that are within the bounds.
    fn within(&self, run: &KeyRun) -> Range<usize> {
        let position = |key: &[u8], behind_it: bool| match run.search(key) {
            Ok(at) => at + usize::from(behind_it),
            Err(at) => at,
        };
        let start = match self.bounds.0 {
            Bound::Included(key) => position(key, false),
            Bound::Excluded(key) => position(key, true),
            Bound::Unbounded => 0,
        };
        let end = match self.bounds.1 {
            Bound::Included(key) => position(key, true),
            Bound::Excluded(key) => position(key, false),
            Bound::Unbounded => run.len(),
        };
        start..end
    }
}

#[cfg(test)]
mod tests;
