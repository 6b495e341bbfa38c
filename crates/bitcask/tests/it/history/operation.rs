//! What was asked of the store and what it answered: the history that is checked.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// A key is one letter; a value is a number that is written once; no value is none.
pub(crate) type Key = char;
pub(crate) type Seen = Option<u64>;

/// One call, or one transaction, that succeeded.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) name: String,
    /// When it was called, and when it had returned.
    pub(crate) begun: u64,
    pub(crate) done: u64,
    /// What it read, without what it read of its own.
    pub(crate) reads: Vec<(Key, Seen)>,
    /// What it left, each key once.
    pub(crate) writes: Vec<(Key, Seen)>,
}

pub(crate) struct Shown(pub(crate) Seen);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("nothing"),
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (from {} to {})", self.name, self.begun, self.done)?;
        for (word, list) in [("read", &self.reads), ("wrote", &self.writes)] {
            let shown: Vec<_> =
                list.iter().map(|&(key, seen)| format!("{key} = {}", Shown(seen))).collect();
            if !shown.is_empty() {
                write!(f, ", {word} {}", shown.join(" "))?;
            }
        }
        Ok(())
    }
}

/// Takes down what threads do.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    time: AtomicU64,
    values: AtomicU64,
    operations: Mutex<Vec<Operation>>,
}

impl Recorder {
    /// What time it is: later than all that was asked before.
    pub(crate) fn now(&self) -> u64 {
        self.time.fetch_add(1, Ordering::SeqCst)
    }

    /// A value that nobody else has.
    pub(crate) fn new_value(&self) -> u64 {
        self.values.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(crate) fn record(&self, operation: Operation) {
        self.operations.lock().unwrap_or_else(PoisonError::into_inner).push(operation);
    }

    pub(crate) fn operations(&self) -> Vec<Operation> {
        self.operations.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A value as it is stored.
pub(crate) fn bytes_of(value: u64, len: usize) -> Vec<u8> {
    let mut bytes = format!("{value};").into_bytes();
    bytes.resize(len.max(bytes.len()), b'.');
    bytes
}

pub(crate) fn value_of(bytes: &[u8]) -> u64 {
    let text = str::from_utf8(bytes).expect("values are text");
    text.split(';').next().and_then(|number| number.parse().ok()).expect("values are numbers")
}
