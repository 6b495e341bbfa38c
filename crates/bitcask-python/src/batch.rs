//! Batches: changes that are made together or not at all.

use std::sync::{Arc, Mutex, PoisonError};

use bitcask::WriteBatch;
use pyo3::prelude::*;
use pyo3::sync::MutexExt;

use crate::error;
use crate::key::key;
use crate::shared::Shared;
use crate::store::Store;

/// What `bitcask.Batch` builds on.
#[pyclass(subclass, frozen, weakref, module = "bitcask._bitcask")]
pub(crate) struct Batch {
    shared: Arc<Shared>,
    /// None once the batch is over.
    changes: Mutex<Option<Changes>>,
}

#[derive(Default)]
struct Changes {
    batch: WriteBatch,
    /// Of keys and values.
    bytes: usize,
}

/// With so many changes, or bytes, it costs no more to write them than to gather more.
const COUNT_ENOUGH: usize = 1000;
const BYTES_ENOUGH: usize = 1 << 20;

impl Changes {
    fn clear(&mut self) {
        self.batch.clear();
        self.bytes = 0;
    }
}

impl Batch {
    fn change<T>(&self, py: Python<'_>, f: impl FnOnce(&mut Changes) -> T) -> PyResult<T> {
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
        store.shared().writer(py)?;
        Ok(Self { shared: store.shared().clone(), changes: Mutex::new(Some(Changes::default())) })
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
        let (name, value, expiry) = self.shared.encoded(key, value, ttl)?;
        let (name, value) = (name.as_bytes(), value.as_bytes());
        self.change(py, |changes| {
            changes.batch.put_with(name, value, expiry);
            changes.bytes += name.len() + value.len();
        })
    }

    /// Deletes `key`, if it is there, when the batch is written.
    fn delete(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<()> {
        let name = self::key(key)?;
        let name = name.as_bytes();
        self.change(py, |changes| {
            changes.batch.delete(name);
            changes.bytes += name.len();
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
        self.change(py, |changes| changes.batch.len())
    }

    /// Whether who gathers many changes had better write these.
    fn _is_enough(&self, py: Python<'_>) -> PyResult<bool> {
        self.change(py, |changes| {
            changes.batch.len() >= COUNT_ENOUGH || changes.bytes >= BYTES_ENOUGH
        })
    }

    /// Forgets all changes, to be filled anew.
    fn clear(&self, py: Python<'_>) -> PyResult<()> {
        self.change(py, Changes::clear)
    }

    /// Makes all changes, or none of them, and empties the batch, which can be filled anew. After an error it is as it was.
    fn write(&self, py: Python<'_>) -> PyResult<()> {
        let db = self.shared.writer(py)?;
        // Held meanwhile: what another thread adds is added behind, and not forgotten.
        let written = {
            let changes = self.changes.lock_py_attached(py);
            let mut changes = changes.unwrap_or_else(PoisonError::into_inner);
            changes.as_mut().map(|changes| {
                py.detach(|| db.write(&changes.batch))?;
                changes.clear();
                Ok(())
            })
        };
        let written: bitcask::Result<()> = written.ok_or_else(|| error::over(py, "batch"))?;
        written.map_err(|e| self.shared.failure(py, &e))
    }

    /// Whether it was ended already, so that its block has nothing more to do.
    fn _is_over(&self, py: Python<'_>) -> bool {
        let is_over = || {
            let changes = self.changes.lock_py_attached(py);
            changes.unwrap_or_else(PoisonError::into_inner).is_none()
        };
        !self.shared.is_inherited() && is_over()
    }

    /// Ends the batch; what was not written is forgotten.
    fn discard(&self, py: Python<'_>) {
        if self.shared.is_inherited() {
            return;
        }
        let mut changes = self.changes.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner);
        *changes = None;
    }
}
