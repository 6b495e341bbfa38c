//! Codecs: how a value becomes bytes, and back.
//!
//! What one codec wrote and another reads must be a clear error, so what is stored says who wrote it: a JSON document by
//! what it is, its plain text, which the command line and other languages can read; everything else by one byte before it,
//! the *mark*, with which no JSON text begins. Only `raw` has neither mark nor check.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use crate::error;
use crate::json;
use crate::key::as_bytes;

const MARK_BYTES: u8 = 1;
const MARK_STR: u8 = 2;
const MARK_MSGPACK: u8 = 3;
const MARK_PICKLE: u8 = 4;
const MARK_PAIR: u8 = 5;

/// How the values of a store are written and read.
pub(crate) enum Codec {
    Json(json::Reader),
    Bytes,
    Str,
    Raw,
    Calls(Calls),
}

/// A codec of two functions of Python.
pub(crate) struct Calls {
    name: &'static str,
    mark: u8,
    dumps: Py<PyAny>,
    loads: Py<PyAny>,
}

/// Who wrote a value, going by its first byte.
#[derive(Clone, Copy)]
pub(crate) enum Found {
    Codec(&'static str),
    Pair,
    /// JSON, or anything without a mark.
    Text,
}

impl Found {
    fn of(value: &[u8]) -> Self {
        match value.first() {
            Some(&MARK_BYTES) => Self::Codec("bytes"),
            Some(&MARK_STR) => Self::Codec("str"),
            Some(&MARK_MSGPACK) => Self::Codec("msgpack"),
            Some(&MARK_PICKLE) => Self::Codec("pickle"),
            Some(&MARK_PAIR) => Self::Pair,
            _ => Self::Text,
        }
    }
}

/// A value as it is stored.
pub(crate) enum Encoded<'py> {
    Made(Vec<u8>),
    Given(Bound<'py, PyBytes>),
}

impl Encoded<'_> {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Made(bytes) => bytes,
            Self::Given(bytes) => bytes.as_bytes(),
        }
    }
}

impl Codec {
    /// The codec of this name. The functions are those of the codecs that have some, and the scanner of JSON.
    pub(crate) fn new(name: &str, dumps: Py<PyAny>, loads: Py<PyAny>) -> Option<Self> {
        let calls = |name, mark, dumps, loads| Self::Calls(Calls { name, mark, dumps, loads });
        Some(match name {
            "json" => Self::Json(json::Reader::new(loads)),
            "bytes" => Self::Bytes,
            "str" => Self::Str,
            "raw" => Self::Raw,
            "msgpack" => calls("msgpack", MARK_MSGPACK, dumps, loads),
            "pickle" => calls("pickle", MARK_PICKLE, dumps, loads),
            "pair" => calls("(dumps, loads)", MARK_PAIR, dumps, loads),
            _ => return None,
        })
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Json(_) => "json",
            Self::Bytes => "bytes",
            Self::Str => "str",
            Self::Raw => "raw",
            Self::Calls(calls) => calls.name,
        }
    }

    /// The functions of Python that it calls.
    pub(crate) fn functions(&self) -> impl Iterator<Item = &Py<PyAny>> {
        let functions = match self {
            Self::Calls(calls) => Some([&calls.dumps, &calls.loads]),
            _ => None,
        };
        functions.into_iter().flatten()
    }

    /// Whether a number is stored as its decimal digits and nothing else.
    pub(crate) fn has_plain_numbers(&self) -> bool {
        matches!(self, Self::Json(_) | Self::Raw)
    }

    pub(crate) fn encode<'py>(
        &self,
        key: &[u8],
        value: &Bound<'py, PyAny>,
    ) -> PyResult<Encoded<'py>> {
        match self {
            Self::Json(_) => match as_bytes(value)? {
                Some(bytes) => Ok(marked(MARK_BYTES, bytes.as_bytes())),
                None => json::encode(value)
                    .map(Encoded::Made)
                    .map_err(|refused| refused.into_error(value.py(), key)),
            },
            Self::Bytes => {
                let bytes = self.bytes(key, value)?;
                Ok(marked(MARK_BYTES, bytes.as_bytes()))
            }
            Self::Raw => Ok(Encoded::Given(self.bytes(key, value)?)),
            Self::Str => match value.cast::<PyString>() {
                Ok(text) => {
                    let text = text.encode_utf8();
                    let text = text.map_err(|e| error::refused(value.py(), key, "str", e))?;
                    Ok(marked(MARK_STR, text.as_bytes()))
                }
                Err(_) => Err(self.refuse(key, value, "str")),
            },
            Self::Calls(calls) => calls.encode(key, value),
        }
    }

    fn bytes<'py>(&self, key: &[u8], value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
        as_bytes(value)?.ok_or_else(|| self.refuse(key, value, "bytes"))
    }

    fn refuse(&self, key: &[u8], value: &Bound<'_, PyAny>, takes: &str) -> PyErr {
        let why = format!("it takes {takes}, not {}", type_name(value));
        error::not_encodable(value.py(), key, self.name(), &why)
    }

    pub(crate) fn decode<'py>(
        &self,
        py: Python<'py>,
        key: &[u8],
        value: &[u8],
    ) -> PyResult<Bound<'py, PyAny>> {
        let other = || error::other_codec(py, key, self.name(), Found::of(value));
        match self {
            Self::Json(reader) => match (Found::of(value), value) {
                (Found::Text, _) => reader.read(py, key, value),
                (Found::Codec("bytes"), [_, bytes @ ..]) => Ok(PyBytes::new(py, bytes).into_any()),
                _ => Err(other()),
            },
            Self::Raw => Ok(PyBytes::new(py, value).into_any()),
            Self::Bytes => match value {
                [MARK_BYTES, bytes @ ..] => Ok(PyBytes::new(py, bytes).into_any()),
                _ => Err(other()),
            },
            Self::Str => match value {
                [MARK_STR, text @ ..] => match str::from_utf8(text) {
                    Ok(text) => Ok(PyString::new(py, text).into_any()),
                    Err(e) => Err(error::not_decodable(py, key, "str", &e.to_string())),
                },
                _ => Err(other()),
            },
            Self::Calls(calls) => match value {
                [mark, value @ ..] if *mark == calls.mark => calls.decode(py, key, value),
                _ => Err(other()),
            },
        }
    }
}

impl Calls {
    fn encode<'py>(&self, key: &[u8], value: &Bound<'py, PyAny>) -> PyResult<Encoded<'py>> {
        let py = value.py();
        let refused = |cause| error::refused(py, key, self.name, cause);
        let dumped = self.dumps.bind(py).call1((value,)).map_err(refused)?;
        let Some(bytes) = as_bytes(&dumped)? else {
            let why = format!("its function gave {}, not bytes", type_name(&dumped));
            return Err(error::not_encodable(py, key, self.name, &why));
        };
        Ok(marked(self.mark, bytes.as_bytes()))
    }

    fn decode<'py>(
        &self,
        py: Python<'py>,
        key: &[u8],
        value: &[u8],
    ) -> PyResult<Bound<'py, PyAny>> {
        let loaded = self.loads.bind(py).call1((PyBytes::new(py, value),));
        loaded.map_err(|cause| error::unreadable(py, key, self.name, cause))
    }
}

fn marked<'py>(mark: u8, bytes: &[u8]) -> Encoded<'py> {
    let mut value = Vec::with_capacity(1 + bytes.len());
    value.push(mark);
    value.extend_from_slice(bytes);
    Encoded::Made(value)
}

fn type_name(value: &Bound<'_, PyAny>) -> String {
    value.get_type().name().map_or_else(|_| "an object".to_owned(), |name| name.to_string())
}
