//! The extension module `bitcask._bitcask`: what is hot, or needs the engine. The rest of the package is Python, in
//! `python/bitcask`.
//!
//! - [`store`]: the store, [`snapshot`], [`entries`] (iterators), [`batch`], [`transaction`].
//! - [`shared`]: what all of these hold, and what becomes of it when the store is closed or the process forks.
//! - [`attended`]: long work that Ctrl-C can end.
//! - [`key`], [`codec`], [`json`]: between Python's objects and the engine's bytes.
//! - [`options`]: what a store is opened with. [`error`]: the engine's errors as exceptions. [`report`]: its reports as dicts.
//!
//! The interpreter lock is released around everything that may wait: for the disk, for other writers, for a
//! merge. A get is such a thing, too, where its page is not in memory. No thread of the engine ever needs the lock.

mod attended;
mod batch;
mod codec;
mod entries;
mod error;
mod json;
mod key;
mod options;
mod report;
mod shared;
mod snapshot;
mod store;
mod transaction;

use std::ffi::OsString;
use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::PyDict;

/// Runs the command line, and gives the code to exit with.
#[pyfunction]
fn run(py: Python<'_>, args: Vec<OsString>) -> u8 {
    py.detach(|| bitcask_cli::run(args)).number()
}

/// Removes the store in a directory that nobody has open.
#[pyfunction]
fn destroy(py: Python<'_>, path: PathBuf) -> PyResult<Bound<'_, PyDict>> {
    let report = py.detach(|| bitcask::destroy(&path)).map_err(|e| error::of_engine(py, &e))?;
    report::of_destroy(py, &report)
}

/// Saves all that checks out of a damaged store that nobody has open.
#[pyfunction]
fn repair(py: Python<'_>, path: PathBuf) -> PyResult<Bound<'_, PyDict>> {
    let report = py.detach(|| bitcask::repair(&path)).map_err(|e| error::of_engine(py, &e))?;
    report::of_repair(py, &report)
}

#[pymodule(gil_used = false)]
mod _bitcask {
    #[pymodule_export]
    use super::{destroy, repair, run};
    #[pymodule_export]
    use crate::batch::Batch;
    #[pymodule_export]
    use crate::entries::Entries;
    #[pymodule_export]
    use crate::shared::{close_all, forked};
    #[pymodule_export]
    use crate::snapshot::Snapshot;
    #[pymodule_export]
    use crate::store::Store;
    #[pymodule_export]
    use crate::transaction::Transaction;

    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(m: &Bound<'_, PyModule>) -> PyResult<()> {
        m.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
