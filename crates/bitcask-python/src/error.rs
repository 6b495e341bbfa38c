//! Exceptions. Their classes are Python's, in `bitcask.errors`, because they have several bases; here they are made.

use std::path::Path;

use bitcask::ErrorKind;
use pyo3::exceptions::{PyException, PyMemoryError, PyRecursionError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyType};

use crate::codec::Found;
use crate::key::shown;

const MODULE: &str = "bitcask.errors";

/// An exception of the class named, with this text. If the interpreter is too far gone for that, what kept it from it.
fn with_text(py: Python<'_>, class: &str, text: String) -> PyErr {
    let class = py.import(MODULE).and_then(|module| module.getattr(class));
    match class.and_then(|class| class.call1((text,))) {
        Ok(exception) => PyErr::from_value(exception),
        Err(e) => e,
    }
}

/// What the engine says. `bitcask.errors` chooses the class.
pub(crate) fn of_engine(py: Python<'_>, e: &bitcask::Error) -> PyErr {
    let kind = match e.kind() {
        ErrorKind::Invalid => "Invalid",
        ErrorKind::Locked => "Locked",
        ErrorKind::Unsupported => "Unsupported",
        ErrorKind::Corrupt => "Corrupt",
        ErrorKind::Io => "Io",
        ErrorKind::Poisoned => "Poisoned",
        ErrorKind::Full => "Full",
        ErrorKind::Conflict => "Conflict",
        ErrorKind::Gone => "Gone",
        _ => "",
    };
    let source = std::error::Error::source(e).and_then(|e| e.downcast_ref::<std::io::Error>());
    let errno = source.and_then(std::io::Error::raw_os_error);
    let cause = source.map(ToString::to_string);
    let key = e.key().map(|key| PyBytes::new(py, key));
    let path = e.path().map(Path::as_os_str);
    let advice = e.kind().advice();
    let known = (kind, e.to_string(), cause, errno, path, e.offset(), key, advice);
    let made = py.import(MODULE).and_then(|module| module.getattr("of_engine")?.call1(known));
    made.map_or_else(|e| e, PyErr::from_value)
}

/// An option, or an argument, that cannot be.
pub(crate) fn invalid(py: Python<'_>, text: impl Into<String>) -> PyErr {
    with_text(py, "InvalidError", text.into())
}

pub(crate) fn closed(py: Python<'_>, path: &Path) -> PyErr {
    with_text(py, "ClosedError", format!("the store is closed: {}", path.display()))
}

pub(crate) fn over(py: Python<'_>, what: &str) -> PyErr {
    with_text(py, "ClosedError", format!("the {what} is over"))
}

pub(crate) fn forked(py: Python<'_>, path: &Path) -> PyErr {
    let text = format!(
        "the store was opened before this process was forked, and belongs to its parent: open it here, read-only if the \
         parent has it open: {}",
        path.display()
    );
    with_text(py, "ForkedError", text)
}

pub(crate) fn read_only(py: Python<'_>, path: &Path) -> PyErr {
    with_text(
        py,
        "ReadOnlyError",
        format!("the store is open for reading only: {}", path.display()),
    )
}

/// No such key, which Python has as the only argument.
pub(crate) fn no_key(py: Python<'_>, key: &Bound<'_, PyAny>) -> PyErr {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let made = CLASS.import(py, MODULE, "KeyNotFoundError").and_then(|class| class.call1((key,)));
    made.map_or_else(|e| e, PyErr::from_value)
}

pub(crate) fn key_not_text(py: Python<'_>, key: &[u8]) -> PyErr {
    let text = format!(
        "the key {} is not UTF-8: open the store with keys=\"auto\" or keys=\"bytes\"",
        shown(key)
    );
    with_text(py, "DecodeError", text)
}

/// A value that the codec cannot hold.
pub(crate) fn not_encodable(py: Python<'_>, key: &[u8], codec: &str, why: &str) -> PyErr {
    let text = format!("codec {codec:?} cannot hold the value for key {}: {why}", shown(key));
    with_text(py, "EncodeError", text)
}

/// The same, because of what the codec's function raised. What is no fault of the value is left as it is.
pub(crate) fn refused(py: Python<'_>, key: &[u8], codec: &str, cause: PyErr) -> PyErr {
    if !is_about_value(py, &cause) {
        return cause;
    }
    caused(py, not_encodable(py, key, codec, &described(py, &cause)), cause)
}

/// A value that cannot be read by the codec.
pub(crate) fn not_decodable(py: Python<'_>, key: &[u8], codec: &str, why: &str) -> PyErr {
    let text = format!("the value of key {} is not what codec {codec:?} wrote: {why}", shown(key));
    with_text(py, "DecodeError", text)
}

/// The same, because of what the codec's function raised.
pub(crate) fn unreadable(py: Python<'_>, key: &[u8], codec: &str, cause: PyErr) -> PyErr {
    if !is_about_value(py, &cause) {
        return cause;
    }
    caused(py, not_decodable(py, key, codec, &described(py, &cause)), cause)
}

/// A value of another codec.
pub(crate) fn other_codec(py: Python<'_>, key: &[u8], codec: &str, found: Found) -> PyErr {
    let key = shown(key);
    let text = match found {
        Found::Codec(other) => format!(
            "the value of key {key} was written by codec {other:?}, and the store was opened with {codec:?}: open it with \
             codec={other:?}"
        ),
        Found::Pair => format!(
            "the value of key {key} was written by a codec that is a pair of functions, and the store was opened with \
             {codec:?}: open it with codec=(dumps, loads)"
        ),
        Found::Text => format!(
            "the value of key {key} was written by codec \"json\" or \"raw\", and the store was opened with {codec:?}: open \
             it with codec=\"json\" or codec=\"raw\""
        ),
    };
    with_text(py, "DecodeError", text)
}

fn is_about_value(py: Python<'_>, cause: &PyErr) -> bool {
    // How deep the caller is, and how much memory there is, is no fault of the value.
    cause.is_instance_of::<PyException>(py)
        && !cause.is_instance_of::<PyMemoryError>(py)
        && !cause.is_instance_of::<PyRecursionError>(py)
}

/// The class of an exception, and its text.
fn described(py: Python<'_>, cause: &PyErr) -> String {
    let name = cause.get_type(py).name().map_or_else(|_| String::new(), |name| name.to_string());
    match cause.value(py).to_string() {
        text if text.is_empty() => name,
        text => format!("{name}: {text}"),
    }
}

fn caused(py: Python<'_>, e: PyErr, cause: PyErr) -> PyErr {
    e.set_cause(py, Some(cause));
    e
}
