//! The store, as far as it is hot or needs the engine. `bitcask.Bitcask` builds on it.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use bitcask::{Expiry, Value, VerifyOptions};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyInt, PyList};

use crate::codec::Codec;
use crate::entries::{Entries, Selection, What};
use crate::error;
use crate::key::{KeyType, key};
use crate::options::{self, expiry};
use crate::report;
use crate::shared::{Handle, Shared};

/// What `bitcask.Bitcask` builds on.
#[pyclass(subclass, frozen, weakref, module = "bitcask._bitcask")]
pub(crate) struct Store {
    shared: Arc<Shared>,
    is_read_only: bool,
}

impl Store {
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    fn value(&self, py: Python<'_>, key: &[u8]) -> PyResult<Option<Value>> {
        self.shared.detached(py, |handle| handle.get(key))
    }

    /// The number under a key, by a codec that does not store its digits, changed only if nobody else did.
    fn incr_encoded<'py>(
        &self,
        py: Python<'py>,
        key: &[u8],
        by: i64,
    ) -> PyResult<Bound<'py, PyAny>> {
        let codec = &self.shared.codec;
        loop {
            let old = self.value(py, key)?;
            let sum = match &old {
                None => by.into_pyobject(py)?.into_any(),
                Some(old) => {
                    let number = codec.decode(py, key, old)?;
                    if !number.is_instance_of::<PyInt>() {
                        return Err(error::invalid(py, "the value is no whole number"));
                    }
                    number.add(by)?
                }
            };
            let new = codec.encode(key, &sum)?;
            let (expected, new) = (old.as_deref(), new.as_bytes());
            if self.shared.write(py, |db| db.compare_and_swap(key, expected, Some(new)))? {
                return Ok(sum);
            }
        }
    }
}

#[pymethods]
impl Store {
    #[new]
    #[expect(clippy::too_many_arguments, reason = "Python's, called in one place")]
    fn new(
        py: Python<'_>,
        path: PathBuf,
        codec: &str,
        dumps: Py<PyAny>,
        loads: Py<PyAny>,
        keys: &str,
        read_only: bool,
        options: &Bound<'_, PyDict>,
    ) -> PyResult<Self> {
        let codec = Codec::new(codec, dumps, loads)
            .ok_or_else(|| error::invalid(py, format!("there is no codec {codec:?}")))?;
        let keys = match keys {
            "auto" => KeyType::Auto,
            "bytes" => KeyType::Bytes,
            "str" => KeyType::Str,
            _ => {
                let text = format!("keys is one of \"auto\", \"bytes\", \"str\", not {keys:?}");
                return Err(error::invalid(py, text));
            }
        };
        let is_ordered = options::is_ordered(options)?;
        let options = options::options(options)?;
        let opened = py.detach(|| {
            Ok(if read_only {
                Handle::Reader(options.open_read_only(&path)?)
            } else {
                Handle::Writer(options.open(&path)?)
            })
        });
        let handle = opened.map_err(|e| error::of_engine(py, &e))?;
        let shared = Shared::new(path, codec, keys, is_ordered, handle);
        Ok(Self { shared, is_read_only: read_only })
    }

    /// For the garbage collector: a codec's functions may hold the object that holds the store.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // What several own, one of them would be thought to own alone.
        if Arc::strong_count(&self.shared) == 1 {
            self.shared.codec.functions().try_for_each(|function| visit.call(function))?;
        }
        Ok(())
    }

    /// The value stored under `key`, or `default` if there is none.
    ///
    /// >>> db.put("ann", {"age": 31})
    /// >>> db.get("ann")
    /// {'age': 31}
    /// >>> db.get("bob") is None
    /// True
    /// >>> db.get("bob", 0)
    /// 0
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

    /// The values stored under many keys, in their order, with `default` for those that are not there. Faster than
    /// one after another, and without the interpreter's lock.
    ///
    /// >>> db.update({"a": 1, "b": 2})
    /// >>> db.get_many(["b", "c", "a"], default=0)
    /// [2, 0, 1]
    #[pyo3(signature = (keys, default=None))]
    fn get_many<'py>(
        &self,
        py: Python<'py>,
        keys: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyList>> {
        self.shared.get_many(py, keys, default, |names| {
            self.shared.detached(py, |handle| match handle {
                Handle::Writer(db) => db.get_many(names),
                Handle::Reader(db) => db.get_many(names),
            })
        })
    }

    fn __contains__(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        let name = self::key(key)?;
        let name = name.as_bytes();
        self.shared.detached(py, |handle| match handle {
            Handle::Writer(db) => db.contains(name),
            Handle::Reader(db) => db.contains(name),
        })
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        let len = self.shared.detached(py, |handle| match handle {
            Handle::Writer(db) => db.len(),
            Handle::Reader(db) => Ok(db.len()),
        })?;
        Ok(usize::try_from(len)?)
    }

    fn __iter__(&self, py: Python<'_>) -> PyResult<Entries> {
        self._entries(py, "keys", None, None, None, false, None)
    }

    /// Stores `value` under `key`, in place of what was there. With a `ttl`, in seconds or as a `timedelta`, the key
    /// is gone after that time.
    ///
    /// >>> db.put("session", "ann", ttl=600)
    /// >>> 599 < db.ttl("session") <= 600
    /// True
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
        self.shared.write(py, |db| match expiry {
            Expiry::Never => db.put(name, value),
            expiry => db.put_with(name, value, expiry),
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

    /// Stores `value` under `key` if there is nothing, and says whether it did. Atomic.
    ///
    /// >>> db.add("lock", "me")
    /// True
    /// >>> db.add("lock", "you")
    /// False
    #[pyo3(signature = (key, value, ttl=None))]
    fn add(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        ttl: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        let (name, value, expiry) = self.shared.encoded(key, value, ttl)?;
        let (name, value) = (name.as_bytes(), value.as_bytes());
        self.shared.write(py, |db| db.put_if_absent_with(name, value, expiry))
    }

    /// Deletes `key`, and says whether it was there.
    ///
    /// >>> db["ann"] = 1
    /// >>> db.delete("ann"), db.delete("ann")
    /// (True, False)
    fn delete(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        let name = self::key(key)?;
        let name = name.as_bytes();
        self.shared.write(py, |db| db.delete(name))
    }

    fn __delitem__(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<()> {
        if self.delete(py, key)? { Ok(()) } else { Err(error::no_key(py, key)) }
    }

    /// Deletes a key and gives its value, atomically; one that cannot be decoded stays.
    fn _pop<'py>(&self, py: Python<'py>, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let name = self::key(key)?;
        let name = name.as_bytes();
        loop {
            let old = self.shared.write(py, |db| db.get(name))?;
            let old = old.ok_or_else(|| error::no_key(py, key))?;
            let value = self.shared.codec.decode(py, name, &old)?;
            if self.shared.write(py, |db| db.compare_and_swap(name, Some(&old), None))? {
                return Ok(value);
            }
        }
    }

    /// Adds `by` to the whole number under `key`, atomically, and gives the sum. No value counts as 0. A time to live
    /// stays as it is.
    ///
    /// >>> db.incr("visits"), db.incr("visits", 10), db.incr("visits", -1)
    /// (1, 11, 10)
    #[pyo3(signature = (key, by=1))]
    fn incr<'py>(
        &self,
        py: Python<'py>,
        key: &Bound<'py, PyAny>,
        by: i64,
    ) -> PyResult<Bound<'py, PyAny>> {
        let name = self::key(key)?;
        let name = name.as_bytes();
        if !self.shared.codec.has_plain_numbers() {
            return self.incr_encoded(py, name, by);
        }
        let sum = self.shared.write(py, |db| db.increment(name, by))?;
        Ok(sum.into_pyobject(py)?.into_any())
    }

    /// Has `key` expire after `ttl`, in seconds or as a `timedelta`, or never if that is `None`. Says whether it is there.
    ///
    /// >>> db["ann"] = 1
    /// >>> db.expire("ann", 60), db.expire("bob", 60)
    /// (True, False)
    fn expire(
        &self,
        py: Python<'_>,
        key: &Bound<'_, PyAny>,
        ttl: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        let name = self::key(key)?;
        let (name, expiry) = (name.as_bytes(), expiry(ttl)?);
        self.shared.write(py, |db| db.expire(name, expiry))
    }

    /// Has `key` not expire. Says whether it is there.
    fn persist(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.expire(py, key, None)
    }

    /// Seconds until `key` expires; `None` if it does not. A `KeyError` if it is not there.
    ///
    /// >>> db["ann"] = 1
    /// >>> db.ttl("ann") is None
    /// True
    fn ttl(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<Option<f64>> {
        let name = self::key(key)?;
        let name = name.as_bytes();
        let expiry = self.shared.detached(py, |handle| match handle {
            Handle::Writer(db) => db.expires_at(name),
            Handle::Reader(db) => db.expires_at(name),
        })?;
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
        let what = What::of(py, what)?;
        let selection = Selection::new(py, prefix, start, end, reverse, limit)?;
        selection.check(py, self.shared.is_ordered)?;
        let shared = self.shared.clone();
        self.shared
            .detached(py, move |handle| Entries::new(shared, what, &handle.snapshot()?, &selection))
    }

    /// Returns when everything written so far would survive a power loss.
    fn sync(&self, py: Python<'_>) -> PyResult<()> {
        self.shared.write(py, |db| db.sync())
    }

    fn _merge<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let db = self.shared.writer(py)?;
        let report = self.shared.attended(py, |go_on| {
            let report = db.merge_with(|_| go_on())?;
            Ok((report.stopped, report))
        })?;
        report::of_merge(py, &report)
    }

    fn _verify<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let handle = self.shared.handle(py)?;
        let how = VerifyOptions::new();
        let report = self.shared.attended(py, |go_on| {
            let report = match &handle {
                Handle::Writer(db) => db.verify_with(&how, |_| go_on()),
                Handle::Reader(db) => db.verify_with(&how, |_| go_on()),
            }?;
            Ok((report.stopped, report))
        })?;
        report::of_verify(py, &report)
    }

    fn _checkpoint<'py>(&self, py: Python<'py>, path: PathBuf) -> PyResult<Bound<'py, PyDict>> {
        let handle = self.shared.handle(py)?;
        let report = self.shared.attended(py, |go_on| {
            let report = match &handle {
                Handle::Writer(db) => db.checkpoint_with(&path, |_| go_on()),
                Handle::Reader(db) => db.checkpoint_with(&path, |_| go_on()),
            }?;
            Ok((report.stopped, report))
        })?;
        report::of_checkpoint(py, &report)
    }

    fn _stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = self.shared.detached(py, |handle| match handle {
            Handle::Writer(db) => db.stats(),
            Handle::Reader(db) => Ok(db.stats()),
        })?;
        report::of_stats(py, &stats)
    }

    /// Catches up with the process that writes, if the store is open for reading only. Who has it open to write sees
    /// everything as it is.
    fn refresh(&self, py: Python<'_>) -> PyResult<()> {
        self.shared.detached(py, |handle| match handle {
            Handle::Writer(_) => Ok(()),
            Handle::Reader(db) => db.refresh(),
        })
    }

    /// Makes everything durable and closes the store. Once more, it does nothing. Iterators, snapshots and calls of other
    /// threads that are under way come to an end, or to a `ClosedError`.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.shared.close(py)
    }

    /// Whether the store was closed.
    #[getter]
    fn closed(&self) -> bool {
        self.shared.is_inherited() || self.shared.is_closed()
    }

    /// The directory of the store.
    #[getter]
    fn path(&self) -> &OsStr {
        self.shared.path.as_os_str()
    }

    /// Whether the store is open for reading only.
    #[getter]
    fn read_only(&self) -> bool {
        self.is_read_only
    }

    /// The name of the codec.
    #[getter]
    fn codec(&self) -> &'static str {
        self.shared.codec.name()
    }
}

/// None if it never expires.
pub(crate) fn seconds_left(expiry: Expiry) -> Option<f64> {
    match expiry {
        Expiry::At(time) => {
            let left = time.duration_since(SystemTime::now()).unwrap_or_default();
            Some(left.as_secs_f64())
        }
        Expiry::After(left) => Some(left.as_secs_f64()),
        Expiry::Never => None,
    }
}
