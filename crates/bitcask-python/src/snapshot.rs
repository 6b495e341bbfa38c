//! Snapshots: the store as it was at one moment.

use std::sync::{Arc, PoisonError, RwLock};

use bitcask::Value;
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::entries::{Entries, Selection, What};
use crate::error;
use crate::key::key;
use crate::shared::{Shared, Tied};
use crate::store::{Store, seconds_left};

/// What `bitcask.Snapshot` builds on.
#[pyclass(subclass, frozen, weakref, module = "bitcask._bitcask")]
pub(crate) struct Snapshot {
    shared: Arc<Shared>,
    /// Empty once it is over. Never held while anything waits.
    held: RwLock<Tied<bitcask::Snapshot>>,
}

impl Snapshot {
    fn held(&self, py: Python<'_>) -> PyResult<bitcask::Snapshot> {
        self.shared.check_open(py)?;
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner).get().cloned();
        held.ok_or_else(|| error::over(py, "snapshot"))
    }

    fn value(&self, py: Python<'_>, key: &[u8]) -> PyResult<Option<Value>> {
        let held = self.held(py)?;
        py.detach(|| held.get(key)).map_err(|e| self.shared.failure(py, &e))
    }

    fn entries(&self, py: Python<'_>, what: What, selection: &Selection) -> PyResult<Entries> {
        selection.check(py, self.shared.is_ordered)?;
        let entries = Entries::new(self.shared.clone(), what, &self.held(py)?, selection);
        entries.map_err(|e| self.shared.failure(py, &e))
    }
}

#[pymethods]
impl Snapshot {
    #[new]
    fn new(py: Python<'_>, store: &Store) -> PyResult<Self> {
        let shared = store.shared().clone();
        let snapshot = shared.detached(py, |handle| handle.snapshot())?;
        Ok(Self { shared, held: RwLock::new(Tied::new(snapshot)) })
    }

    /// The value that was stored under `key`, or `default` if there was none.
    #[pyo3(signature = (key, default=None))]
    fn get<'py>(
        &self,
        py: Python<'py>,
        key: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let name = self::key(key)?;
        let value = self.value(py, name.as_bytes())?;
        self.shared.decoded_or(py, name.as_bytes(), value, default)
    }

    fn __getitem__<'py>(
        &self,
        py: Python<'py>,
        key: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let name = self::key(key)?;
        let value = self.value(py, name.as_bytes())?.ok_or_else(|| error::no_key(py, key))?;
        self.shared.codec.decode(py, name.as_bytes(), &value)
    }

    /// The values that were stored under many keys, in their order, with `default` for those that were not there.
    #[pyo3(signature = (keys, default=None))]
    fn get_many<'py>(
        &self,
        py: Python<'py>,
        keys: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyList>> {
        self.shared.get_many(py, keys, default, |names| {
            let held = self.held(py)?;
            py.detach(|| held.get_many(names)).map_err(|e| self.shared.failure(py, &e))
        })
    }

    fn __contains__(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        let name = self::key(key)?;
        let (held, name) = (self.held(py)?, name.as_bytes());
        let found = py.detach(|| held.contains(name));
        found.map_err(|e| self.shared.failure(py, &e))
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(usize::try_from(self.held(py)?.len())?)
    }

    fn __iter__(&self, py: Python<'_>) -> PyResult<Entries> {
        self.entries(py, What::Keys, &Selection::default())
    }

    /// Seconds until `key` expires, as things were; `None` if it does not.
    fn ttl(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<Option<f64>> {
        let name = self::key(key)?;
        let (held, name) = (self.held(py)?, name.as_bytes());
        let expiry = py.detach(|| held.expires_at(name));
        let expiry = expiry.map_err(|e| self.shared.failure(py, &e))?;
        Ok(seconds_left(expiry.ok_or_else(|| error::no_key(py, key))?))
    }

    #[pyo3(signature = (what, prefix=None, start=None, end=None, reverse=false, limit=None))]
    #[expect(clippy::too_many_arguments, reason = "they are Python's")]
    fn _entries(
        &self,
        py: Python<'_>,
        what: &str,
        prefix: Option<&Bound<'_, PyAny>>,
        start: Option<&Bound<'_, PyAny>>,
        end: Option<&Bound<'_, PyAny>>,
        reverse: bool,
        limit: Option<i64>,
    ) -> PyResult<Entries> {
        let selection = Selection::new(py, prefix, start, end, reverse, limit)?;
        self.entries(py, What::of(py, what)?, &selection)
    }

    /// Ends the snapshot, so that merge can give back what was kept for it. Once more, it does nothing.
    fn close(&self, py: Python<'_>) {
        if self.shared.is_inherited() {
            return;
        }
        py.detach(|| {
            let ended = self.held.write().unwrap_or_else(PoisonError::into_inner).take();
            drop(ended);
        });
    }

    /// Whether the snapshot is over.
    #[getter]
    fn closed(&self) -> bool {
        if self.shared.is_inherited() {
            return true;
        }
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        held.get().is_none() || self.shared.is_closed()
    }
}
