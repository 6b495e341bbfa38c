//! Batches: changes that are made together or not at all.

use std::sync::{Arc, Mutex, PoisonError};

use bitcask::{Expiry, WriteBatch};
use pyo3::prelude::*;
use pyo3::sync::MutexExt;

use crate::error;
use crate::key::key;
use crate::options::expiry;
use crate::shared::Shared;
use crate::store::Store;

/// What `bitcask.Batch` builds on.
#[pyclass(subclass, frozen, weakref, module = "bitcask._bitcask")]
pub(crate) struct Batch {
    shared: Arc<Shared>,
    /// None once the batch is over.
    changes: Mutex<Option<WriteBatch>>,
}

impl Batch {
    fn change<T>(&self, py: Python<'_>, f: impl FnOnce(&mut WriteBatch) -> T) -> PyResult<T> {
        self.shared.check_open(py)?;
        let changed = {
            let changes = self.changes.lock_py_attached(py);
            changes.unwrap_or_else(PoisonError::into_inner).as_mut().map(f)
        };
        changed.ok_or_else(|| error::over(py, "batch"))
    }
}

#[pymethods]
impl Batch {
    #[new]
    fn new(py: Python<'_>, store: &Store) -> PyResult<Self> {
        store.check_writable(py)?;
        Ok(Self { shared: store.shared().clone(), changes: Mutex::new(Some(WriteBatch::new())) })
    }

    /// Stores `value` under `key` when the batch is written; `ttl` counts from then on.
    #[pyo3(signature = (key, value, ttl=None))]
    fn put(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        ttl: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let name = self::key(key)?;
        let expiry: Expiry = expiry(ttl)?;
        let value = self.shared.codec.encode(name.as_bytes(), value)?;
        self.change(py, |batch| {
            batch.put_with(name.as_bytes(), value.as_bytes(), expiry);
        })
    }

    /// Deletes `key`, if it is there, when the batch is written.
    fn delete(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<()> {
        let name = self::key(key)?;
        self.change(py, |batch| {
            batch.delete(name.as_bytes());
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
        self.delete(py, key)
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        self.change(py, |batch| batch.len())
    }

    /// Forgets all changes, to be filled anew.
    fn clear(&self, py: Python<'_>) -> PyResult<()> {
        self.change(py, WriteBatch::clear)
    }

    /// Makes all changes, or none of them, and empties the batch, which can be filled anew.
    fn write(&self, py: Python<'_>) -> PyResult<()> {
        let batch = self.change(py, std::mem::take)?;
        let written = self.shared.write(py, |db| db.write(&batch));
        if written.is_err() {
            // To be tried again.
            let _kept = self.change(py, |changes| *changes = batch);
        }
        written
    }

    /// Ends the batch; what was not written is forgotten.
    fn discard(&self, py: Python<'_>) {
        let mut changes = self.changes.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner);
        *changes = None;
    }
}
