//! Transactions: reads of one moment, and changes that are made only if what was read is still so.
//!
//! One attempt. To begin again after a conflict is Python's part, because what runs again is Python.

use std::sync::{Arc, Mutex, PoisonError};

use bitcask::Value;
use pyo3::prelude::*;
use pyo3::sync::MutexExt;

use crate::entries::{Entries, Selection, What};
use crate::error;
use crate::key::key;
use crate::shared::{Shared, Tied};
use crate::store::Store;

type Engine = bitcask::Transaction<'static>;

/// What `bitcask.Transaction` builds on.
#[pyclass(subclass, frozen, weakref, module = "bitcask._bitcask")]
pub(crate) struct Transaction {
    shared: Arc<Shared>,
    /// Empty once it is over.
    engine: Mutex<Tied<Engine>>,
}

impl Transaction {
    fn with<T: Send>(
        &self,
        py: Python<'_>,
        f: impl FnOnce(&mut Engine) -> bitcask::Result<T> + Send,
    ) -> PyResult<T> {
        self.shared.check_open(py)?;
        // Unlocked before an exception is made: that is Python, which may come back here.
        let done = {
            let engine = self.engine.lock_py_attached(py);
            let mut engine = engine.unwrap_or_else(PoisonError::into_inner);
            engine.get_mut().map(|engine| py.detach(|| f(engine)))
        };
        let done = done.ok_or_else(|| error::over(py, "transaction"))?;
        done.map_err(|e| self.shared.failure(py, &e))
    }

    fn value(&self, py: Python<'_>, key: &[u8]) -> PyResult<Option<Value>> {
        self.with(py, |engine| engine.get(key))
    }

    fn end(&self, py: Python<'_>) -> Option<Engine> {
        self.engine.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[pymethods]
impl Transaction {
    #[new]
    fn new(py: Python<'_>, store: &Store) -> PyResult<Self> {
        let shared = store.shared().clone();
        let db = shared.writer(py)?;
        let begun = py.detach(move || db.begin()).map_err(|e| shared.failure(py, &e))?;
        Ok(Self { shared, engine: Mutex::new(Tied::new(begun)) })
    }

    /// The value under `key`: what this transaction put there, or what was there when it began.
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

    fn __contains__(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        let name = self::key(key)?;
        let name = name.as_bytes();
        self.with(py, |engine| engine.contains(name))
    }

    /// Stores `value` under `key` when the transaction commits; `ttl` counts from now on.
    #[pyo3(signature = (key, value, ttl=None))]
    fn put(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        ttl: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let (name, value, expiry) = self.shared.encoded(key, value, ttl)?;
        let (name, value) = (name.as_bytes(), value.as_bytes());
        self.with(py, |engine| engine.put_with(name, value, expiry))
    }

    /// Deletes `key` when the transaction commits, and says whether it is there now.
    fn delete(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        let name = self::key(key)?;
        let name = name.as_bytes();
        self.with(py, |engine| {
            let is_there = engine.contains(name)?;
            engine.delete(name)?;
            Ok(is_there)
        })
    }

    fn __setitem__(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        self.put(py, key, value, None)
    }

    fn __delitem__(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<()> {
        if self.delete(py, key)? { Ok(()) } else { Err(error::no_key(py, key)) }
    }

    #[pyo3(signature = (prefix=None, start=None, end=None, reverse=false, limit=None))]
    fn _scan(
        &self,
        py: Python<'_>,
        prefix: Option<&Bound<'_, PyAny>>,
        start: Option<&Bound<'_, PyAny>>,
        end: Option<&Bound<'_, PyAny>>,
        reverse: bool,
        limit: Option<i64>,
    ) -> PyResult<Entries> {
        let selection = Selection::new(py, prefix, start, end, reverse, limit)?;
        if !self.shared.is_ordered {
            let text = "a scan in a transaction needs the keys in order: open the store with index=\"ordered\"";
            return Err(error::invalid(py, text));
        }
        let mut found = self.with(py, |engine| engine.range(selection.bounds()))?;
        if reverse {
            found.reverse();
        }
        Ok(Entries::listed(self.shared.clone(), What::Items, found, selection.limit()))
    }

    /// Makes the changes, if all that was read is still so. One way or the other, the transaction is over. At the end of
    /// its block nothing more happens.
    fn commit(&self, py: Python<'_>) -> PyResult<()> {
        self.shared.writer(py)?;
        let engine = self.end(py).ok_or_else(|| error::over(py, "transaction"))?;
        py.detach(move || engine.commit()).map_err(|e| self.shared.failure(py, &e))
    }

    /// Whether it was ended already, so that its block has nothing more to do.
    fn _is_over(&self, py: Python<'_>) -> bool {
        let is_over = || {
            let engine = self.engine.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner);
            engine.get().is_none()
        };
        !self.shared.is_inherited() && is_over()
    }

    /// Ends the transaction, which has then changed nothing. At the end of its block nothing more happens.
    fn rollback(&self, py: Python<'_>) {
        if !self.shared.is_inherited() {
            let ended = self.end(py);
            py.detach(|| drop(ended));
        }
    }
}
