//! Is there an order in which the operations could have run one after another?
//!
//! The log says in which order changes were made; so it says, for each key, which versions followed one another, and
//! which operation made each. What was read says what else must have come before what:
//!
//! - who read a version comes after who made it, and before who made the next one of that key;
//! - who made a version comes before who made the next one; more strictly, changes come in the order of the log;
//! - who was done before another began comes before it.
//!
//! If these form a circle there is no such order. It is found and told in words: a lost update, for example, is two
//! operations that each read what was there before the other wrote.
//!
//! A read of nothing does not say which nothing it was, if a key was deleted more than once. Whoever wrote has his moment
//! in the log. For the others, in the order in which they began, the first moment is looked for at which all that
//! they read was so, and which is not before that of anybody who was done by then. If there is none, there is a circle whatever is
//! chosen.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::log::Commit;
use super::operation::{Key, Operation, Seen, Shown};

/// Operations from which a short circle is looked for.
const STARTS: usize = 60;

/// Checks that the operations are as if they had run one after another, in the order of the log, each between when
/// it began and when it was done.
pub(crate) fn check(operations: &[Operation], log: &[Commit]) -> Result<(), String> {
    let mut history = History::new(operations, log)?;
    history.resolve_reads()?;
    let graph = history.graph();
    match graph.circle() {
        Some(circle) => Err(history.told(&graph, &circle)),
        None => Ok(()),
    }
}

/// One version of a key: after which change of the log it was there, who made it, what it is.
#[derive(Clone, Copy, Debug)]
struct Version {
    /// Counted from 1; 0 stands for the beginning.
    from: usize,
    value: Seen,
}

struct History<'a> {
    operations: &'a [Operation],
    /// Who made which change: the first is the beginning's, which is nobody's.
    makers: Vec<Option<usize>>,
    /// Which change an operation made.
    made: BTreeMap<usize, usize>,
    versions: BTreeMap<Key, Vec<Version>>,
    /// Of each value, its key and number among the versions.
    values: BTreeMap<u64, (Key, usize)>,
    /// Who read which version of which key.
    reads: Vec<(usize, Key, usize)>,
    /// Who deleted a key of which the log says no more: it found nothing there.
    found_nothing: Vec<(usize, Key)>,
}

impl<'a> History<'a> {
    fn new(operations: &'a [Operation], log: &[Commit]) -> Result<Self, String> {
        let mut owners = BTreeMap::new();
        for (index, operation) in operations.iter().enumerate() {
            for value in operation.writes.iter().filter_map(|&(_, value)| value) {
                owners.insert(value, index);
            }
        }
        let mut history = Self {
            operations,
            makers: vec![None],
            made: BTreeMap::new(),
            versions: BTreeMap::new(),
            values: BTreeMap::new(),
            reads: Vec::new(),
            found_nothing: Vec::new(),
        };
        for (index, commit) in log.iter().enumerate() {
            let owner = commit.iter().find_map(|(_, value)| owners.get(&(*value)?)).copied();
            let owner = owner.ok_or_else(|| format!("the log has {commit:?}, which nobody did"))?;
            history.add_commit(index + 1, owner, commit)?;
        }
        let lost = (0..operations.len())
            .find(|index| {
                let writes = &operations[*index].writes;
                writes.iter().any(|(_, value)| value.is_some()) && !history.made.contains_key(index)
            })
            .map(|index| format!("the log has nothing of {}", operations[index]));
        lost.map_or(Ok(history), Err)
    }

    fn add_commit(&mut self, position: usize, owner: usize, commit: &Commit) -> Result<(), String> {
        let operation = &self.operations[owner];
        let whole = commit.iter().all(|change| operation.writes.contains(change))
            && operation.writes.iter().all(|write| commit.contains(write) || write.1.is_none());
        if !whole || self.made.insert(owner, position).is_some() {
            return Err(format!("the log has {commit:?} of {operation}"));
        }
        self.makers.push(Some(owner));
        for &(key, value) in commit {
            let versions = self.versions.entry(key).or_insert_with(|| vec![BEGINNING]);
            if let Some(value) = value {
                self.values.insert(value, (key, versions.len()));
            }
            versions.push(Version { from: position, value });
        }
        for &(key, _) in operation.writes.iter().filter(|write| !commit.contains(write)) {
            self.found_nothing.push((owner, key));
        }
        Ok(())
    }

    fn versions(&self, key: Key) -> &[Version] {
        self.versions.get(&key).map_or(&[BEGINNING], Vec::as_slice)
    }

    /// The number of the version of `key` that was there after a change.
    fn version_at(&self, key: Key, position: usize) -> usize {
        self.versions(key).partition_point(|version| version.from <= position) - 1
    }

    /// Finds out which version each read has met.
    fn resolve_reads(&mut self) -> Result<(), String> {
        let mut by_begin: Vec<usize> = (0..self.operations.len()).collect();
        by_begin.sort_by_key(|&index| self.operations[index].begun);
        // Those that are not done yet, the next to be done first; and the last moment of those that are.
        let mut running = BinaryHeap::new();
        let mut floor = 0;
        for index in by_begin {
            let operation = &self.operations[index];
            while let Some(&Reverse((done, moment))) = running.peek()
                && done < operation.begun
            {
                floor = floor.max(moment);
                running.pop();
            }
            let definite = self.definite_reads(operation)?;
            let nothings = self.absent_keys(index);
            let (before, moment) = match self.made.get(&index) {
                Some(&position) => (position - 1, position),
                None => {
                    let moment = self.moment(floor, &definite, &nothings);
                    (moment, moment)
                }
            };
            running.push(Reverse((operation.done, moment)));
            self.reads.extend(definite.into_iter().map(|(key, version)| (index, key, version)));
            for key in nothings {
                let versions = &self.versions(key)[..=self.version_at(key, before)];
                let version = versions.iter().rposition(|version| version.value.is_none());
                let version = version.expect("nothing was there in the beginning");
                self.reads.push((index, key, version));
            }
        }
        Ok(())
    }

    /// The versions of the values that an operation read.
    fn definite_reads(&self, operation: &Operation) -> Result<Vec<(Key, usize)>, String> {
        let values = operation.reads.iter().filter_map(|&(key, seen)| Some((key, seen?)));
        let resolved = values.map(|(key, value)| match self.values.get(&value) {
            Some(&(of, version)) if of == key => Ok((key, version)),
            Some((of, _)) => Err(format!("{operation}: {value} is of {of}")),
            None => Err(format!("{operation}: {key} = {value} was never committed")),
        });
        resolved.collect()
    }

    /// The keys at which an operation found nothing.
    fn absent_keys(&self, index: usize) -> Vec<Key> {
        let read = self.operations[index].reads.iter().filter(|(_, seen)| seen.is_none());
        let deleted = self.found_nothing.iter().filter(|(owner, _)| *owner == index);
        read.map(|&(key, _)| key).chain(deleted.map(|&(_, key)| key)).collect()
    }

    /// The first moment, not before `floor`, at which all that was read was so, if there is one. The first is as good as
    /// any other: it asks least of those that come later.
    fn moment(&self, floor: usize, definite: &[(Key, usize)], nothings: &[Key]) -> usize {
        let (mut from, mut to) = (floor, self.makers.len());
        for &(key, version) in definite {
            let versions = self.versions(key);
            from = from.max(versions[version].from);
            to = to.min(versions.get(version + 1).map_or(to, |next| next.from));
        }
        let absent_at = |key: Key, moment: usize| {
            self.versions(key)[self.version_at(key, moment)].value.is_none()
        };
        let mut moments = from..to;
        moments.find(|&moment| nothings.iter().all(|&key| absent_at(key, moment))).unwrap_or(from)
    }

    fn graph(&self) -> Graph {
        let mut graph = Graph::new(self.operations);
        for (position, makers) in self.makers.windows(2).enumerate() {
            if let [Some(first), Some(second)] = *makers {
                graph.add(first, second, Why::Logged(position + 1));
            }
        }
        for (&key, versions) in &self.versions {
            for (number, pair) in versions.windows(2).enumerate() {
                if let Some(first) = self.makers[pair[0].from] {
                    let second = self.makers[pair[1].from].expect("only the beginning is nobody's");
                    graph.add(first, second, Why::Overwrote(key, number + 1));
                }
            }
        }
        for &(reader, key, version) in &self.reads {
            let versions = self.versions(key);
            if let Some(maker) = self.makers[versions[version].from].filter(|&m| m != reader) {
                graph.add(maker, reader, Why::Read(key, version));
            }
            if let Some(next) = versions.get(version + 1)
                && let Some(maker) = self.makers[next.from].filter(|&m| m != reader)
            {
                graph.add(reader, maker, Why::ReadBefore(key, version));
            }
        }
        graph
    }

    /// A circle in words.
    fn told(&self, graph: &Graph, circle: &[usize]) -> String {
        let mut told = vec![format!(
            "no order of the operations explains what they saw: {} of them form a circle",
            circle.iter().filter(|&&node| node < self.operations.len()).count()
        )];
        let mut ring = circle.to_vec();
        ring.extend(circle.first());
        for pair in ring.windows(2) {
            if let Some(operation) = self.operations.get(pair[0]) {
                told.push(format!("- {operation}"));
            }
            let (next, why) = (pair[1], graph.why(pair[0], pair[1]));
            let name = self.operations.get(next).map_or("", |operation| operation.name.as_str());
            let value = |key, version: usize| Shown(self.versions(key)[version].value);
            told.push(match why {
                Why::Read(key, version) => {
                    format!("  wrote {key} = {}, which was read by {name}", value(key, version))
                }
                Why::Overwrote(key, version) => {
                    format!("  wrote {key} before {} was written by {name}", value(key, version))
                }
                Why::ReadBefore(key, version) => {
                    let (seen, next) = (value(key, version), value(key, version + 1));
                    format!("  read {key} = {seen} before {next} was written by {name}")
                }
                Why::Logged(_) => format!("  is before {name} in the log"),
                Why::Done => "  was done".to_owned(),
                Why::Later => continue,
                Why::Began => format!("  before {name} began"),
            });
        }
        told.join("\n")
    }
}

const BEGINNING: Version = Version { from: 0, value: None };

/// Why one comes before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    Read(Key, usize),
    ReadBefore(Key, usize),
    Overwrote(Key, usize),
    Logged(usize),
    /// From an operation to when it was done, from then to later, and to an operation that began then.
    Done,
    Later,
    Began,
}

impl Why {
    /// Reasons that say much are cheap.
    fn cost(self) -> u64 {
        match self {
            Self::Read(..) | Self::ReadBefore(..) => 10,
            Self::Overwrote(..) => 11,
            Self::Done | Self::Began => 8,
            Self::Logged(_) => 30,
            Self::Later => 0,
        }
    }
}

/// Operations, and behind them as many moments: the ends of operations in their order.
struct Graph {
    operations: usize,
    edges: Vec<Vec<(usize, Why)>>,
}

impl Graph {
    fn new(operations: &[Operation]) -> Self {
        let count = operations.len();
        let mut graph = Self { operations: count, edges: vec![Vec::new(); 2 * count] };
        let mut by_end: Vec<usize> = (0..count).collect();
        by_end.sort_by_key(|&index| operations[index].done);
        for (number, &index) in by_end.iter().enumerate() {
            graph.add(index, count + number, Why::Done);
            if number > 0 {
                graph.add(count + number - 1, count + number, Why::Later);
            }
        }
        for (index, operation) in operations.iter().enumerate() {
            let ended = by_end.partition_point(|&other| operations[other].done < operation.begun);
            if ended > 0 {
                graph.add(count + ended - 1, index, Why::Began);
            }
        }
        graph
    }

    fn add(&mut self, from: usize, to: usize, why: Why) {
        self.edges[from].push((to, why));
    }

    fn why(&self, from: usize, to: usize) -> Why {
        let whys = self.edges[from].iter().filter(|(next, _)| *next == to).map(|&(_, why)| why);
        whys.min_by_key(|why| why.cost()).expect("a circle is made of edges")
    }

    /// A short circle, if there is any.
    fn circle(&self) -> Option<Vec<usize>> {
        let left = self.without_ends();
        let starts: Vec<usize> =
            (0..self.operations).filter(|&node| left[node]).take(STARTS).collect();
        let circles = starts.iter().filter_map(|&start| self.circle_from(start, &left));
        circles.min_by_key(|(cost, _)| *cost).map(|(_, circle)| circle)
    }

    /// What is left when nodes without a predecessor are taken away again and again: nothing, if there is no circle. Then
    /// the same for those without a successor.
    fn without_ends(&self) -> Vec<bool> {
        let mut left = vec![true; self.edges.len()];
        let mut backwards = vec![Vec::new(); self.edges.len()];
        let mut forwards = backwards.clone();
        for (from, edges) in self.edges.iter().enumerate() {
            for &(to, _) in edges {
                forwards[from].push(to);
                backwards[to].push(from);
            }
        }
        for (next, previous) in [(&forwards, &backwards), (&backwards, &forwards)] {
            let alive = |left: &[bool], node: usize| {
                previous[node].iter().filter(|&&other| left[other]).count()
            };
            let mut counts: Vec<_> = (0..left.len()).map(|node| alive(&left, node)).collect();
            let mut ends: Vec<_> =
                (0..left.len()).filter(|&node| left[node] && counts[node] == 0).collect();
            while let Some(node) = ends.pop() {
                left[node] = false;
                for &other in &next[node] {
                    counts[other] -= 1;
                    if counts[other] == 0 && left[other] {
                        ends.push(other);
                    }
                }
            }
        }
        left
    }

    /// The cheapest circle through `start`.
    fn circle_from(&self, start: usize, left: &[bool]) -> Option<(u64, Vec<usize>)> {
        let mut best = BTreeMap::new();
        let mut queue = BinaryHeap::from([Reverse((0, start, start))]);
        while let Some(Reverse((cost, node, previous))) = queue.pop() {
            if node == start && cost > 0 {
                let mut circle = vec![previous];
                while circle.last() != Some(&start) {
                    circle.extend(best.get(circle.last().expect("it is not empty")));
                }
                circle.reverse();
                return Some((cost, circle));
            }
            if cost > 0 {
                if best.contains_key(&node) {
                    continue;
                }
                best.insert(node, previous);
            }
            for &(next, why) in self.edges[node].iter().filter(|(next, _)| left[*next]) {
                if next == start || !best.contains_key(&next) {
                    queue.push(Reverse((cost + why.cost(), next, node)));
                }
            }
        }
        None
    }
}
