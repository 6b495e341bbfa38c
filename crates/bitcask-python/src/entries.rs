//! Iterators. They run on a snapshot, and fetch some entries at a time without the interpreter's lock.

use std::collections::VecDeque;
use std::ops::Bound as Edge;
use std::sync::{Arc, Mutex, PoisonError};

use bitcask::{Bounds, Iter, Range, Snapshot, Value, prefix_bounds};
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyList, PyTuple};

use crate::error;
use crate::key::key;
use crate::shared::{Shared, Tied};

/// Entries fetched at a time: at first, and at most. A loop that ends early has not read much in vain.
const FETCHED_MIN: usize = 8;
const FETCHED_MAX: usize = 256;
/// Entries looked at for it, before signals are.
const EXAMINED_MAX: usize = 1 << 14;
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

    pub(crate) fn bounds(&self) -> Bounds {
        let (mut start, mut end) = prefix_bounds(&self.prefix);
        if let Some(key) = self.start.as_ref().filter(|key| **key > self.prefix) {
            start = Edge::Included(key.clone());
        }
        if let Some(key) = &self.end
            && !matches!(&end, Edge::Excluded(end) if end <= key)
        {
            end = Edge::Excluded(key.clone());
        }
        (start, end)
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit.unwrap_or(u64::MAX)
    }
}

enum Source {
    /// In no order; of these, only those with a prefix.
    Any(Iter, Vec<u8>),
    Ascending(Range),
    Descending(Range),
    Listed(std::vec::IntoIter<(Vec<u8>, Value)>),
}

impl Source {
    fn next(&mut self) -> Option<bitcask::Result<(Vec<u8>, Value)>> {
        match self {
            Self::Any(iter, _) => iter.next(),
            Self::Ascending(range) => range.next(),
            Self::Descending(range) => range.next_back(),
            Self::Listed(entries) => entries.next().map(Ok),
        }
    }

    fn wants(&self, key: &[u8]) -> bool {
        match self {
            Self::Any(_, prefix) => key.starts_with(prefix),
            _ => true,
        }
    }
}

/// Where an iterator is.
struct State {
    /// None at the end.
    source: Option<Source>,
    ready: VecDeque<(Vec<u8>, Value)>,
    /// What came behind those.
    error: Option<bitcask::Error>,
    left: u64,
    fetched_max: usize,
}

impl State {
    /// Fetches some entries, or finds that among many there are none that are wanted.
    fn fetch(&mut self) {
        let Some(mut source) = self.source.take() else { return };
        let (mut bytes, mut examined) = (0, 0);
        while self.left > 0 {
            let is_enough = self.ready.len() >= self.fetched_max || bytes >= FETCHED_BYTES_MAX;
            if is_enough || examined >= EXAMINED_MAX {
                self.source = Some(source);
                break;
            }
            match source.next() {
                Some(Ok((key, value))) => {
                    examined += 1;
                    if source.wants(&key) {
                        bytes += value.len();
                        self.left -= 1;
                        self.ready.push_back((key, value));
                    }
                }
                end => {
                    self.error = end.and_then(Result::err);
                    break;
                }
            }
        }
        self.fetched_max = (self.fetched_max * 2).min(FETCHED_MAX);
    }
}

/// What a look at the state finds.
enum Next {
    Entry((Vec<u8>, Value)),
    Error(bitcask::Error),
    /// Nothing yet.
    Later,
    End,
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
        let source = if !shared.is_ordered {
            Source::Any(snapshot.iter(), selection.prefix.clone())
        } else if selection.is_reversed {
            Source::Descending(snapshot.range(selection.bounds())?)
        } else {
            Source::Ascending(snapshot.range(selection.bounds())?)
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
        let state = State { source, ready, error: None, left, fetched_max: FETCHED_MIN };
        Self { shared, what, state: Mutex::new(Tied::new(state)) }
    }

    /// What is next, fetched if need be.
    fn next(&self, py: Python<'_>) -> Next {
        let state = self.state.lock_py_attached(py);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        let Some(state) = state.get_mut() else { return Next::End };
        if state.ready.is_empty() && state.source.is_some() {
            py.detach(|| state.fetch());
        }
        match (state.ready.pop_front(), state.error.take()) {
            (Some(entry), error) => {
                state.error = error;
                Next::Entry(entry)
            }
            (None, Some(e)) => Next::Error(e),
            (None, None) if state.source.is_some() => Next::Later,
            (None, None) => Next::End,
        }
    }

    fn next_entry(&self, py: Python<'_>) -> PyResult<Option<(Vec<u8>, Value)>> {
        loop {
            self.shared.check_open(py)?;
            // Unlocked before an exception is made, or a signal handled: that is Python, which may come back here.
            match self.next(py) {
                Next::Entry(entry) => return Ok(Some(entry)),
                Next::Error(e) => return Err(self.shared.failure(py, &e)),
                Next::Later => py.check_signals()?,
                Next::End => return Ok(None),
            }
        }
    }

    /// Whether the next one is there, or would have to be fetched.
    fn has_ready(&self, py: Python<'_>) -> bool {
        let state = self.state.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner);
        state.get().is_some_and(|state| !state.ready.is_empty())
    }

    fn put_back(&self, py: Python<'_>, entry: (Vec<u8>, Value)) {
        let mut state = self.state.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = state.get_mut() {
            state.ready.push_front(entry);
        }
    }

    /// After an entry is taken: what a codec does may come back here.
    fn object<'py>(
        &self,
        py: Python<'py>,
        (key, value): &(Vec<u8>, Value),
    ) -> PyResult<Bound<'py, PyAny>> {
        let Shared { codec, keys, .. } = &*self.shared;
        match self.what {
            What::Keys => keys.object(py, key),
            What::Values => codec.decode(py, key, value),
            What::Items => {
                let entry = [keys.object(py, key)?, codec.decode(py, key, value)?];
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
        self.next_entry(py)?.map(|entry| self.object(py, &entry)).transpose()
    }

    /// What was fetched and is next, as a list; an empty one at the end.
    fn take<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let taken = PyList::empty(py);
        while let Some(entry) = self.next_entry(py)? {
            match self.object(py, &entry) {
                Ok(object) => taken.append(object)?,
                Err(e) if taken.is_empty() => return Err(e),
                // First what came before it.
                Err(_) => {
                    self.put_back(py, entry);
                    break;
                }
            }
            if !self.has_ready(py) {
                break;
            }
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
