//! Measuring a store: a scratch directory, mixes of operations, and how long they took.

mod histogram;
mod keys;
mod report;
mod run;
mod scratch;

pub(crate) use histogram::Times;
pub(crate) use keys::KEY_LEN;
pub(crate) use report::{as_json, as_text};
pub(crate) use run::{Bench, Measured};
pub(crate) use scratch::Scratch;

/// All that was found out, and how.
#[derive(Debug)]
pub(crate) struct Findings {
    pub(crate) keys: u64,
    pub(crate) key_size: usize,
    pub(crate) value_size: usize,
    pub(crate) threads: u64,
    pub(crate) durability: &'static str,
    /// In which directory the scratch store was.
    pub(crate) place: std::path::PathBuf,
    /// How many keys were loaded, and in how long.
    pub(crate) loaded: (u64, std::time::Duration),
    pub(crate) workloads: Vec<Measured>,
    /// Whether somebody pressed Ctrl-C.
    pub(crate) interrupted: bool,
}
