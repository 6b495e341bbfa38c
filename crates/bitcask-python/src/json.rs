//! JSON: written here, and read by the scanner of Python's `json`, which is C, and hard to beat at making Python's objects.
//!
//! Written here because `json.dumps` is not strict: it turns the keys of a dict into strings if they are numbers, and
//! writes NaN, so that what comes back is something else or no JSON at all. Whatever is refused is named with its place
//! in the value.

use std::cell::{Cell, RefCell};
use std::ops::RangeInclusive;

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

use crate::error;

/// How deeply lists and dicts may be nested: less than what Python's scanner can read back.
const DEPTH_MAX: usize = 500;
/// What JSON has between its tokens.
const SPACE: [char; 4] = [' ', '\t', '\n', '\r'];
const HEX: &[u8; 16] = b"0123456789abcdef";

/// Why a value is no JSON.
pub(crate) struct Refused {
    why: Why,
    /// Where in the value, innermost first.
    place: Vec<String>,
}

enum Why {
    Text(String),
    Raised(PyErr),
}

impl From<PyErr> for Refused {
    fn from(e: PyErr) -> Self {
        Self { why: Why::Raised(e), place: Vec::new() }
    }
}

impl Refused {
    fn new(why: impl Into<String>) -> Self {
        Self { why: Why::Text(why.into()), place: Vec::new() }
    }

    fn within(mut self, step: String) -> Self {
        self.place.push(step);
        self
    }

    pub(crate) fn into_error(self, py: Python<'_>, key: &[u8]) -> PyErr {
        let text = match self.why {
            Why::Raised(cause) => return error::refused(py, key, "json", cause),
            Why::Text(text) => text,
        };
        const STEPS_SHOWN: usize = 8;
        let outermost = self.place.iter().rev().take(STEPS_SHOWN).map(String::as_str);
        let place = outermost.collect::<String>();
        let more = if self.place.len() > STEPS_SHOWN { "..." } else { "" };
        match place.as_str() {
            "" => error::not_encodable(py, key, "json", &text),
            place => error::not_encodable(py, key, "json", &format!("at {place}{more}: {text}")),
        }
    }
}

type Written = Result<(), Refused>;

/// The text of a value.
pub(crate) fn encode(value: &Bound<'_, PyAny>) -> Result<Vec<u8>, Refused> {
    let writer = Writer { out: RefCell::new(Vec::with_capacity(256)) };
    writer.value(value, 0)?;
    Ok(writer.out.into_inner())
}

/// Behind a cell, because dicts are walked by a closure that may not change what it holds.
struct Writer {
    out: RefCell<Vec<u8>>,
}

impl Writer {
    fn push(&self, bytes: &[u8]) {
        self.out.borrow_mut().extend_from_slice(bytes);
    }

    fn value(&self, value: &Bound<'_, PyAny>, depth: usize) -> Written {
        if let Ok(text) = value.cast::<PyString>() {
            self.string(text)
        } else if value.is_none() {
            self.push(b"null");
            Ok(())
        } else if let Ok(truth) = value.cast::<PyBool>() {
            self.push(if truth.is_true() { b"true" } else { b"false" });
            Ok(())
        } else if let Ok(number) = value.cast::<PyInt>() {
            self.integer(number)
        } else if let Ok(number) = value.cast::<PyFloat>() {
            self.float(number.value())
        } else if let Ok(dict) = value.cast::<PyDict>() {
            self.dict(dict, depth)
        } else if let Ok(list) = value.cast::<PyList>() {
            self.array(list.iter(), depth)
        } else if let Ok(tuple) = value.cast::<PyTuple>() {
            self.array(tuple.iter(), depth)
        } else {
            let name = value.get_type().name()?;
            let but =
                if value.is_instance_of::<PyBytes>() { ", only as the whole value" } else { "" };
            Err(Refused::new(format!("{name} is no JSON{but}")))
        }
    }

    fn integer(&self, number: &Bound<'_, PyInt>) -> Written {
        if let Ok(number) = number.extract::<i64>() {
            self.push(number.to_string().as_bytes());
            return Ok(());
        }
        // As `int` shows it, whatever a subclass makes of that.
        let int = number.py().get_type::<PyInt>();
        let text = int.call_method1("__repr__", (number,))?;
        self.push(text.cast::<PyString>().map_err(PyErr::from)?.encode_utf8()?.as_bytes());
        Ok(())
    }

    fn float(&self, number: f64) -> Written {
        if !number.is_finite() {
            return Err(Refused::new(format!("{number} is no JSON")));
        }
        // The shortest digits that are this number: what Python shows, too.
        self.push(format!("{number:?}").as_bytes());
        Ok(())
    }

    fn array<'py>(&self, values: impl Iterator<Item = Bound<'py, PyAny>>, depth: usize) -> Written {
        check_depth(depth)?;
        let mut before: &[u8] = b"[";
        for (index, value) in values.enumerate() {
            self.push(before);
            before = b",";
            self.value(&value, depth + 1).map_err(|e| e.within(format!("[{index}]")))?;
        }
        self.push(if before == b"[" { b"[]" } else { b"]" });
        Ok(())
    }

    fn dict(&self, dict: &Bound<'_, PyDict>, depth: usize) -> Written {
        check_depth(depth)?;
        let start = self.out.borrow().len();
        self.push(b"{");
        let refused = RefCell::new(None);
        let is_plain = dict.is_exact_instance_of::<PyDict>();
        let (len, seen) = (dict.len(), Cell::new(0));
        let member = |key: Bound<'_, PyAny>, value: Bound<'_, PyAny>| {
            seen.set(seen.get() + 1);
            let mut written = self.member(start, &key, &value, depth);
            // Another thread may come in between. To walk on would be a panic.
            if is_plain && written.is_ok() && (dict.len() != len || seen.get() > len) {
                written = Err(Refused::new("the dict was changed while it was stored"));
            }
            if let Err(e) = written {
                *refused.borrow_mut() = Some(e);
                // Any error ends the walk; this one is never seen.
                return Err(pyo3::exceptions::PyStopIteration::new_err(()));
            }
            Ok(())
        };
        let walked = if is_plain {
            dict.locked_for_each(member)
        } else {
            // A subclass may have an order of its own.
            let items = dict.call_method0("items")?.try_iter()?.collect::<PyResult<Vec<_>>>()?;
            items.into_iter().try_for_each(|item| {
                let (key, value) = item.extract()?;
                member(key, value)
            })
        };
        if let Some(refused) = refused.into_inner() {
            return Err(refused);
        }
        walked?;
        self.push(b"}");
        Ok(())
    }

    fn member(
        &self,
        start: usize,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        depth: usize,
    ) -> Written {
        if self.out.borrow().len() > start + 1 {
            self.push(b",");
        }
        let Ok(name) = key.cast::<PyString>() else {
            let (shown, name) = (key.repr()?, key.get_type().name()?);
            let why =
                format!("the key {shown} of a dict is of type {name}; JSON has only strings there");
            return Err(Refused::new(why));
        };
        self.string(name)?;
        self.push(b":");
        self.value(value, depth + 1).map_err(|e| e.within(format!("[{name:?}]")))
    }

    fn string(&self, text: &Bound<'_, PyString>) -> Written {
        match text.encode_utf8() {
            Ok(utf8) => {
                quote(&mut self.out.borrow_mut(), utf8.as_bytes());
                Ok(())
            }
            // Half of a surrogate pair has no UTF-8, but JSON has an escape for it.
            Err(_) => {
                if has_pair(text)? {
                    let why = "a string with both halves of a surrogate pair, which would come back as one character";
                    return Err(Refused::new(why));
                }
                let encoder = text.py().import("json.encoder")?;
                let quoted = encoder.getattr("py_encode_basestring_ascii")?.call1((text,))?;
                self.push(
                    quoted.cast::<PyString>().map_err(PyErr::from)?.encode_utf8()?.as_bytes(),
                );
                Ok(())
            }
        }
    }
}

/// Whether one half of a surrogate pair stands before the other.
fn has_pair(text: &Bound<'_, PyString>) -> PyResult<bool> {
    let units = text.call_method1("encode", ("utf-32-be", "surrogatepass"))?;
    let units = units.cast_into::<PyBytes>()?;
    let (units, _) = units.as_bytes().as_chunks::<4>();
    let is_half =
        |unit: &[u8; 4], half: RangeInclusive<u32>| half.contains(&u32::from_be_bytes(*unit));
    let mut pairs = units.iter().zip(units.iter().skip(1));
    Ok(pairs
        .any(|(first, second)| is_half(first, 0xd800..=0xdbff) && is_half(second, 0xdc00..=0xdfff)))
}

fn check_depth(depth: usize) -> Written {
    if depth < DEPTH_MAX {
        return Ok(());
    }
    Err(Refused::new(format!("nested more than {DEPTH_MAX} deep, or within itself")))
}

fn quote(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    let mut rest = text;
    let needs_escape = |byte: &u8| *byte < 0x20 || matches!(*byte, b'"' | b'\\');
    while let Some((plain, from)) =
        rest.iter().position(needs_escape).and_then(|at| rest.split_at_checked(at))
    {
        out.extend_from_slice(plain);
        let Some((&byte, after)) = from.split_first() else { break };
        escape(out, byte);
        rest = after;
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

fn escape(out: &mut Vec<u8>, byte: u8) {
    let short = match byte {
        b'"' => b'"',
        b'\\' => b'\\',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        _ => {
            let digit = |half: u8| HEX[usize::from(half)];
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 15)]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// Reads by `scan_once` of Python's `json.JSONDecoder`, without the steps that `json.loads` takes before it.
pub(crate) struct Reader {
    scan: Py<PyAny>,
}

impl Reader {
    pub(crate) fn new(scan: Py<PyAny>) -> Self {
        Self { scan }
    }

    pub(crate) fn read<'py>(
        &self,
        py: Python<'py>,
        key: &[u8],
        value: &[u8],
    ) -> PyResult<Bound<'py, PyAny>> {
        let not_json = |why: &str| {
            let why = format!("it is no JSON ({why}); codec=\"raw\" gives its bytes");
            error::not_decodable(py, key, "json", &why)
        };
        let text = str::from_utf8(value).map_err(|e| not_json(&e.to_string()))?;
        let text = PyString::new(py, text.trim_matches(SPACE));
        let scanned = match self.scan.bind(py).call1((&text, 0)) {
            Ok(scanned) => scanned,
            // What it raises if there is nothing that it knows.
            Err(e) if e.is_instance_of::<pyo3::exceptions::PyStopIteration>(py) => {
                return Err(not_json("no value"));
            }
            Err(e) => return Err(error::unreadable(py, key, "json", e)),
        };
        let scanned = scanned.cast::<PyTuple>().map_err(PyErr::from)?;
        if scanned.get_item(1)?.extract::<usize>()? != text.len()? {
            return Err(not_json("something follows the value"));
        }
        scanned.get_item(0)
    }
}
