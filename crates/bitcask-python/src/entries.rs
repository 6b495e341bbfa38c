//! Iterators. They run on a snapshot, and fetch some entries at a time without the interpreter's lock.

use std::collections::VecDeque;
use std::ops::Bound as Edge;
use std::sync::{Arc, Mutex, PoisonError};

use bitcask::{Iter, Range, Snapshot, Value};
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyList, PyTuple};

use crate::error;
use crate::key::key;
use crate::shared::{Shared, Tied};

/// Entries fetched at a time: at first, and at most. A loop that ends early has not read much in vain.
const FETCHED_MIN: usize = 8;
const FETCHED_MAX: usize = 256;
/// Bytes of values after which no more entries are fetched for now.
const FETCHED_BYTES_MAX: usize = 1 << 20;

/// What is made of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Keys,
    Values,
    Items,
}

impl What {
    pub(crate) fn of(py: Python<'_>, name: &str) -> PyResult<Self> {
        match name {
            "keys" => Ok(Self::Keys),
            "values" => Ok(Self::Values),
            "items" => Ok(Self::Items),
            _ => Err(error::invalid(py, format!("there is nothing like {name:?} in an entry"))),
        }
    }
}

/// Which keys, and in what order.
#[derive(Default)]
pub(crate) struct Selection {
    prefix: Vec<u8>,
    /// From the first, up to but without the second.
    start: Option<Vec<u8>>,
    end: Option<Vec<u8>>,
    is_reversed: bool,
    limit: Option<u64>,
}

impl Selection {
    pub(crate) fn new(
        py: Python<'_>,
        prefix: Option<&Bound<'_, PyAny>>,
        start: Option<&Bound<'_, PyAny>>,
        end: Option<&Bound<'_, PyAny>>,
        is_reversed: bool,
        limit: Option<i64>,
    ) -> PyResult<Self> {
        let own = |given: Option<&Bound<'_, PyAny>>| {
            given.map(|given| Ok::<_, PyErr>(key(given)?.as_bytes().to_vec())).transpose()
        };
        let limit = limit.map(u64::try_from).transpose();
        let limit = limit.map_err(|_negative| error::invalid(py, "limit is 0 or more"))?;
        let prefix = own(prefix)?.unwrap_or_default();
        Ok(Self { prefix, start: own(start)?, end: own(end)?, is_reversed, limit })
    }

    fn needs_order(&self) -> bool {
        self.start.is_some() || self.end.is_some() || self.is_reversed
    }

    /// An error if the store cannot give keys in order, and is asked to.
    pub(crate) fn check(&self, py: Python<'_>, is_ordered: bool) -> PyResult<()> {
        if is_ordered || !self.needs_order() {
            return Ok(());
        }
        let text =
            "start, end and reverse need the keys in order: open the store with index=\"ordered\"";
        Err(error::invalid(py, text))
    }

    pub(crate) fn bounds(&self) -> (Edge<&[u8]>, Edge<Vec<u8>>) {
        let start = self.start.as_deref().unwrap_or_default().max(&self.prefix);
        let ends = [self.end.clone(), end_of_prefix(&self.prefix)];
        let end = ends.into_iter().flatten().min();
        (Edge::Included(start), end.map_or(Edge::Unbounded, Edge::Excluded))
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit.unwrap_or(u64::MAX)
    }
}

/// The first key behind all that begin with `prefix`; none if all keys from there on do.
fn end_of_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Some(end);
        }
    }
    None
}

enum Source {
    Any(Iter, Vec<u8>),
    Ascending(Range),
    Descending(Range),
    Listed(std::vec::IntoIter<(Vec<u8>, Value)>),
}

impl Source {
    fn next(&mut self) -> Option<bitcask::Result<(Vec<u8>, Value)>> {
        match self {
            Self::Any(iter, prefix) => iter.find(|entry| match entry {
                Ok((key, _)) => key.starts_with(prefix),
                Err(_) => true,
            }),
            Self::Ascending(range) => range.next(),
            Self::Descending(range) => range.next_back(),
            Self::Listed(entries) => entries.next().map(Ok),
        }
    }
}

/// Where an iterator is.
struct State {
    /// None at the end.
    source: Option<Source>,
    ready: VecDeque<(Vec<u8>, Value)>,
    left: u64,
    fetched_max: usize,
}

impl State {
    fn next(&mut self, py: Python<'_>) -> bitcask::Result<Option<(Vec<u8>, Value)>> {
        if self.ready.is_empty() && self.source.is_some() {
            py.detach(|| self.fetch())?;
        }
        Ok(self.ready.pop_front())
    }

    fn fetch(&mut self) -> bitcask::Result<()> {
        let Some(source) = &mut self.source else { return Ok(()) };
        let mut bytes = 0;
        while self.ready.len() < self.fetched_max && bytes < FETCHED_BYTES_MAX && self.left > 0 {
            let Some(entry) = source.next() else {
                // Ends the snapshot.
                self.source = None;
                return Ok(());
            };
            let entry = entry.inspect_err(|_| self.left = 0)?;
            bytes += entry.1.len();
            self.left -= 1;
            self.ready.push_back(entry);
        }
        if self.left == 0 {
            self.source = None;
        }
        self.fetched_max = (self.fetched_max * 2).min(FETCHED_MAX);
        Ok(())
    }
}

/// An iterator over keys, values, or both, as they were when it began.
///
/// A loop that is left early leaves it to the garbage collector, or to `close`, to end its snapshot.
#[pyclass(frozen, module = "bitcask._bitcask")]
pub(crate) struct Entries {
    shared: Arc<Shared>,
    what: What,
    state: Mutex<Tied<State>>,
}

impl Entries {
    /// Over a snapshot.
    pub(crate) fn new(
        shared: Arc<Shared>,
        what: What,
        snapshot: &Snapshot,
        selection: &Selection,
    ) -> bitcask::Result<Self> {
        let source = if shared.is_ordered
            && (selection.needs_order() || !selection.prefix.is_empty())
        {
            let (start, end) = selection.bounds();
            let end = match &end {
                Edge::Excluded(end) => Edge::Excluded(end.as_slice()),
                _ => Edge::Unbounded,
            };
            let range = snapshot.range::<[u8]>((start, end))?;
            if selection.is_reversed { Source::Descending(range) } else { Source::Ascending(range) }
        } else if shared.is_ordered {
            Source::Ascending(snapshot.range::<[u8]>(..)?)
        } else {
            Source::Any(snapshot.iter(), selection.prefix.clone())
        };
        Ok(Self::of_source(shared, what, source, selection.limit()))
    }

    /// Over entries that were read.
    pub(crate) fn listed(
        shared: Arc<Shared>,
        what: What,
        entries: Vec<(Vec<u8>, Value)>,
        limit: u64,
    ) -> Self {
        Self::of_source(shared, what, Source::Listed(entries.into_iter()), limit)
    }

    fn of_source(shared: Arc<Shared>, what: What, source: Source, left: u64) -> Self {
        let (source, ready) = (Some(source), VecDeque::new());
        let state = State { source, ready, left, fetched_max: FETCHED_MIN };
        Self { shared, what, state: Mutex::new(Tied::new(state)) }
    }

    fn next_entry(&self, py: Python<'_>) -> PyResult<Option<(Vec<u8>, Value)>> {
        self.shared.check_open(py)?;
        // Unlocked before an exception is made: that is Python, which may come back here.
        let next = {
            let state = self.state.lock_py_attached(py);
            let mut state = state.unwrap_or_else(PoisonError::into_inner);
            state.get_mut().map_or(Ok(None), |state| state.next(py))
        };
        next.map_err(|e| self.shared.failure(py, &e))
    }

    /// After an entry is taken: what a codec does may come back here.
    fn object<'py>(
        &self,
        py: Python<'py>,
        (key, value): (Vec<u8>, Value),
    ) -> PyResult<Bound<'py, PyAny>> {
        let Shared { codec, keys, .. } = &*self.shared;
        match self.what {
            What::Keys => keys.object(py, &key),
            What::Values => codec.decode(py, &key, &value),
            What::Items => {
                let entry = [keys.object(py, &key)?, codec.decode(py, &key, &value)?];
                Ok(PyTuple::new(py, entry)?.into_any())
            }
        }
    }
}

#[pymethods]
impl Entries {
    fn __iter__(entries: Py<Self>) -> Py<Self> {
        entries
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.next_entry(py)?.map(|entry| self.object(py, entry)).transpose()
    }

    /// Up to so many of what is next, as a list; an empty one at the end.
    fn take<'py>(&self, py: Python<'py>, count: usize) -> PyResult<Bound<'py, PyList>> {
        let taken = PyList::empty(py);
        while taken.len() < count {
            let Some(entry) = self.next_entry(py)? else { break };
            taken.append(self.object(py, entry)?)?;
        }
        Ok(taken)
    }

    /// Ends the iteration, and its snapshot.
    fn close(&self, py: Python<'_>) {
        if self.shared.is_inherited() {
            return;
        }
        let mut state = self.state.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner);
        let ended = state.take();
        drop(state);
        py.detach(|| drop(ended));
    }
}
