//! What a store, its snapshots, iterators, batches and transactions share: the engine's handle, until it is closed.
//!
//! A process that forks leaves in its child a copy of the memory and none of the threads: locks may be held by nobody, and
//! the files belong to the parent. So whatever was there before the fork is *inherited*: calls through it are
//! refused, and when it is dropped the engine is not touched, but left where it is.

use std::mem::ManuallyDrop;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, Weak};

use bitcask::{Bitcask, ErrorKind, Expiry, ReadOnly, Snapshot, Value};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::attended::attended;
use crate::codec::{Codec, Encoded};
use crate::error;
use crate::key::{KeyType, key};
use crate::options::expiry;

/// How often the ancestors of this process have forked, since the module was loaded.
static GENERATION: AtomicU64 = AtomicU64::new(0);
/// Stores that may be open. Locked with the interpreter's lock held and never beyond, so no fork finds it locked.
static STORES: Mutex<Vec<Weak<Shared>>> = Mutex::new(Vec::new());

/// Is called in the child after a fork.
#[pyfunction]
pub(crate) fn forked() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}

/// Closes all stores, when the interpreter exits.
#[pyfunction]
pub(crate) fn close_all(py: Python<'_>) -> PyResult<()> {
    let stores = std::mem::take(&mut *stores());
    let mut result = Ok(());
    for store in stores.iter().filter_map(Weak::upgrade) {
        result = result.and(store.close(py));
    }
    result
}

fn stores() -> std::sync::MutexGuard<'static, Vec<Weak<Shared>>> {
    STORES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// In which process something was made.
#[derive(Clone, Copy)]
struct Origin {
    generation: u64,
    process: u32,
}

impl Origin {
    fn here() -> Self {
        Self { generation: GENERATION.load(Ordering::Relaxed), process: std::process::id() }
    }

    fn is_here(self) -> bool {
        self.generation == GENERATION.load(Ordering::Relaxed)
    }

    /// Sees forks that Python was not told of, too; costs a system call.
    fn is_surely_here(self) -> bool {
        self.is_here() && self.process == std::process::id()
    }
}

/// Something of the engine's, which is not dropped where it is inherited.
pub(crate) struct Tied<T> {
    value: Option<T>,
    origin: Origin,
}

impl<T> Tied<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { value: Some(value), origin: Origin::here() }
    }

    pub(crate) fn get(&self) -> Option<&T> {
        self.value.as_ref()
    }

    pub(crate) fn get_mut(&mut self) -> Option<&mut T> {
        self.value.as_mut()
    }

    pub(crate) fn take(&mut self) -> Option<T> {
        self.value.take()
    }
}

impl<T> Drop for Tied<T> {
    fn drop(&mut self) {
        if !self.origin.is_surely_here()
            && let Some(value) = self.value.take()
        {
            let _left = ManuallyDrop::new(value);
        }
    }
}

/// The engine's handle.
#[derive(Clone)]
pub(crate) enum Handle {
    Writer(Bitcask),
    Reader(ReadOnly),
}

impl Handle {
    pub(crate) fn get(&self, key: &[u8]) -> bitcask::Result<Option<Value>> {
        match self {
            Self::Writer(db) => db.get(key),
            Self::Reader(db) => db.get(key),
        }
    }

    pub(crate) fn snapshot(&self) -> bitcask::Result<Snapshot> {
        match self {
            Self::Writer(db) => db.snapshot(),
            Self::Reader(db) => Ok(db.snapshot()),
        }
    }

    fn close(&self) -> bitcask::Result<()> {
        match self {
            Self::Writer(db) => db.close(),
            Self::Reader(_) => Ok(()),
        }
    }
}

/// A store that was opened.
pub(crate) struct Shared {
    pub(crate) path: PathBuf,
    pub(crate) codec: Codec,
    pub(crate) keys: KeyType,
    pub(crate) is_ordered: bool,
    origin: Origin,
    /// Empty once the store is closed. Never held while anything waits.
    slot: RwLock<Tied<Handle>>,
    /// Held while the store is closed: who closes it once more returns when that is done.
    closing: Mutex<()>,
}

impl Shared {
    pub(crate) fn new(
        path: PathBuf,
        codec: Codec,
        keys: KeyType,
        is_ordered: bool,
        handle: Handle,
    ) -> Arc<Self> {
        let slot = RwLock::new(Tied::new(handle));
        let (origin, closing) = (Origin::here(), Mutex::new(()));
        let shared = Arc::new(Self { path, codec, keys, is_ordered, origin, slot, closing });
        let mut stores = stores();
        stores.retain(|store| store.strong_count() > 0);
        stores.push(Arc::downgrade(&shared));
        shared
    }

    /// Does something that may wait, without the interpreter's lock.
    pub(crate) fn detached<T: Send>(
        &self,
        py: Python<'_>,
        f: impl FnOnce(&Handle) -> bitcask::Result<T> + Send,
    ) -> PyResult<T> {
        let handle = self.handle(py)?;
        let done = py.detach(move || f(&handle));
        done.map_err(|e| self.failure(py, &e))
    }

    /// The same, for what changes the store.
    pub(crate) fn write<T: Send>(
        &self,
        py: Python<'_>,
        f: impl FnOnce(&Bitcask) -> bitcask::Result<T> + Send,
    ) -> PyResult<T> {
        let db = self.writer(py)?;
        let done = py.detach(move || f(&db));
        done.map_err(|e| self.failure(py, &e))
    }

    /// Does something long. It says whether it was stopped before its end, which Ctrl-C does, and `close`.
    pub(crate) fn attended<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&dyn Fn() -> ControlFlow<()>) -> bitcask::Result<(bool, T)> + Send,
    ) -> PyResult<T> {
        self.check_surely_here(py)?;
        match attended(py, |go_on| work(go_on))? {
            Ok((true, _)) => Err(error::closed(py, &self.path)),
            Ok((false, report)) => Ok(report),
            Err(e) => Err(self.failure(py, &e)),
        }
    }

    /// The handle, if the store is open to write.
    pub(crate) fn writer(&self, py: Python<'_>) -> PyResult<Bitcask> {
        self.check_surely_here(py)?;
        match self.handle(py)? {
            Handle::Writer(db) => Ok(db),
            Handle::Reader(_) => Err(error::read_only(py, &self.path)),
        }
    }

    /// What is to be stored: the bytes of a key and of its value, and when it expires.
    pub(crate) fn encoded<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        value: &Bound<'py, PyAny>,
        ttl: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<(Bound<'py, PyBytes>, Encoded<'py>, Expiry)> {
        let name = self::key(key)?;
        let expiry = expiry(ttl)?;
        let value = self.codec.encode(name.as_bytes(), value)?;
        Ok((name, value, expiry))
    }

    /// What Python gets for many keys, whose values are read by `read`.
    pub(crate) fn get_many<'py>(
        &self,
        py: Python<'py>,
        keys: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
        read: impl FnOnce(&[&[u8]]) -> PyResult<Vec<Option<Value>>>,
    ) -> PyResult<Bound<'py, PyList>> {
        let names = keys.try_iter()?.map(|name| key(&name?));
        let names = names.collect::<PyResult<Vec<_>>>()?;
        let names: Vec<&[u8]> = names.iter().map(|name| name.as_bytes()).collect();
        let values = names.iter().zip(read(&names)?);
        let objects = values.map(|(name, value)| self.decoded_or(py, name, value, default.clone()));
        PyList::new(py, objects.collect::<PyResult<Vec<_>>>()?)
    }

    /// What Python gets for the value under a key: `default` if there is none.
    pub(crate) fn decoded_or<'py>(
        &self,
        py: Python<'py>,
        key: &[u8],
        value: Option<Value>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        match value {
            Some(value) => self.codec.decode(py, key, &value),
            None => Ok(default.unwrap_or_else(|| py.None().into_bound(py))),
        }
    }

    /// The handle, which another thread may close at any time.
    pub(crate) fn handle(&self, py: Python<'_>) -> PyResult<Handle> {
        self.check_here(py)?;
        let handle = self.slot().get().cloned();
        handle.ok_or_else(|| error::closed(py, &self.path))
    }

    /// What the engine says, unless it is because the store was closed.
    pub(crate) fn failure(&self, py: Python<'_>, e: &bitcask::Error) -> PyErr {
        if e.kind() == ErrorKind::Invalid && self.is_closed() {
            return error::closed(py, &self.path);
        }
        error::of_engine(py, e)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.slot().get().is_none()
    }

    pub(crate) fn is_inherited(&self) -> bool {
        !self.origin.is_here()
    }

    fn check_here(&self, py: Python<'_>) -> PyResult<()> {
        if self.is_inherited() { Err(error::forked(py, &self.path)) } else { Ok(()) }
    }

    /// The same, for what writes. Hooks of a forked child may run before ours, and would write into the parent's log.
    fn check_surely_here(&self, py: Python<'_>) -> PyResult<()> {
        if self.origin.is_surely_here() { Ok(()) } else { Err(error::forked(py, &self.path)) }
    }

    /// An error if the store is closed, or the parent's.
    pub(crate) fn check_open(&self, py: Python<'_>) -> PyResult<()> {
        self.check_here(py)?;
        if self.is_closed() { Err(error::closed(py, &self.path)) } else { Ok(()) }
    }

    /// Closes the store; once more, and in a child, it does nothing.
    pub(crate) fn close(&self, py: Python<'_>) -> PyResult<()> {
        if !self.origin.is_surely_here() {
            return Ok(());
        }
        let closed = py.detach(|| {
            let _closing = self.closing.lock().unwrap_or_else(PoisonError::into_inner);
            let handle = self.slot.write().unwrap_or_else(PoisonError::into_inner).take();
            handle.map_or(Ok(()), |handle| handle.close())
        });
        closed.map_err(|e| error::of_engine(py, &e))
    }

    fn slot(&self) -> RwLockReadGuard<'_, Tied<Handle>> {
        self.slot.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A store that was not closed is now, which waits for the disk.
impl Drop for Shared {
    fn drop(&mut self) {
        let slot = self.slot.get_mut().unwrap_or_else(PoisonError::into_inner);
        let origin = slot.origin;
        let mut open = slot.take().map(|handle| Tied { value: Some(handle), origin });
        // Without the interpreter's lock; if there is no interpreter any more, at the end of this.
        Python::try_attach(|py| py.detach(|| drop(open.take())));
    }
}
