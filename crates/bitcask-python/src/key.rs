//! Keys: a `str` stands for its UTF-8, so a key has one name in bytes and at most one more in text.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyMemoryView, PyString};

use crate::error;

/// As what keys are given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyType {
    /// As `str` where they are UTF-8, as `bytes` elsewhere.
    Auto,
    Bytes,
    /// Those that are not UTF-8 are an error.
    Str,
}

/// The bytes of a key that somebody asks for.
pub(crate) fn key<'py>(key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    if let Ok(text) = key.cast::<PyString>() {
        return text.encode_utf8();
    }
    if let Some(bytes) = as_bytes(key)? {
        return Ok(bytes);
    }
    let name = key.get_type().name()?;
    Err(PyTypeError::new_err(format!("keys are str or bytes, not {name}")))
}

/// The bytes of something that is bytes; of a `bytearray` or a `memoryview`, a copy.
pub(crate) fn as_bytes<'py>(value: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyBytes>>> {
    if let Ok(bytes) = value.cast::<PyBytes>() {
        return Ok(Some(bytes.clone()));
    }
    if !value.is_instance_of::<PyByteArray>() && !value.is_instance_of::<PyMemoryView>() {
        return Ok(None);
    }
    let bytes = value.py().get_type::<PyBytes>().call1((value,))?;
    Ok(Some(bytes.cast_into()?))
}

impl KeyType {
    pub(crate) fn object<'py>(self, py: Python<'py>, key: &[u8]) -> PyResult<Bound<'py, PyAny>> {
        if self != Self::Bytes {
            match str::from_utf8(key) {
                Ok(text) => return Ok(PyString::new(py, text).into_any()),
                Err(_) if self == Self::Str => return Err(error::key_not_text(py, key)),
                Err(_) => {}
            }
        }
        Ok(PyBytes::new(py, key).into_any())
    }
}

/// A key as messages show it.
pub(crate) fn shown(key: &[u8]) -> String {
    const SHOWN_MAX: usize = 64;
    let start = key.get(..SHOWN_MAX).unwrap_or(key);
    let more = if start.len() < key.len() { "..." } else { "" };
    match str::from_utf8(start) {
        Ok(text) => format!("{text:?}{more}"),
        Err(_) => format!("b\"{}\"{more}", start.escape_ascii()),
    }
}
