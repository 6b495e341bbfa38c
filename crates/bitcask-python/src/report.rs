//! What the engine tells, as dicts.

use std::ffi::OsStr;
use std::path::PathBuf;

use bitcask::{
    CheckpointReport, Damage, DestroyReport, Latency, MergeReport, RepairReport, Stats,
    VerifyReport,
};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};

type Report<'py> = PyResult<Bound<'py, PyDict>>;

/// A dict with the names of variables, or of what follows them.
macro_rules! dict {
    ($py:expr, $($name:ident: $value:expr),* $(,)?) => {{
        let dict = PyDict::new($py);
        $(dict.set_item(stringify!($name), $value)?;)*
        dict
    }};
}

pub(crate) fn of_stats<'py>(py: Python<'py>, stats: &Stats) -> Report<'py> {
    let files = PyList::empty(py);
    for file in &stats.files {
        files.append(dict!(py,
            id: file.id,
            path: file.path.as_os_str(),
            merged: file.merged,
            active: file.active,
            sealed: file.sealed,
            bytes: file.bytes,
            live_bytes: file.live_bytes(),
            dead_bytes: file.dead_bytes,
            tombstone_bytes: file.tombstone_bytes,
        ))?;
    }
    let snapshots = PyList::empty(py);
    for snapshot in &stats.snapshots {
        snapshots.append(dict!(py,
            seq: snapshot.seq,
            holder: &snapshot.holder,
            thread: &snapshot.thread,
            since_ms: snapshot.since_ms,
            kept_records: snapshot.kept_records,
            kept_bytes: snapshot.kept_bytes,
        ))?;
    }
    Ok(dict!(py,
        keys: stats.keys,
        expiring_keys: stats.expiring_keys,
        bytes: stats.bytes(),
        live_bytes: stats.bytes().saturating_sub(stats.dead_bytes()),
        dead_bytes: stats.dead_bytes(),
        keydir_bytes: stats.keydir_bytes,
        ordered_bytes: stats.ordered_bytes,
        files: files,
        snapshots: snapshots,
        pinned_files: names(&stats.pinned_files),
        foreign: &stats.foreign,
        seq: stats.seq,
        mapped: stats.mapped,
        poisoned: stats.poisoned.as_deref(),
        puts: stats.puts,
        deletes: stats.deletes,
        gets: stats.gets,
        batches: stats.batches,
        transactions: stats.transactions,
        conflicts: stats.conflicts,
        syncs: stats.syncs,
        merges: stats.merges,
        reclaimed_bytes: stats.reclaimed_bytes,
        merging: stats.merge.is_some(),
        merge_paused: stats.merge_paused,
        put_latency: latency(py, &stats.put_latency)?,
        get_latency: latency(py, &stats.get_latency)?,
        sync_latency: latency(py, &stats.sync_latency)?,
    ))
}

/// Paths as they are in JSON, too.
fn names(paths: &[PathBuf]) -> Vec<&OsStr> {
    paths.iter().map(|path| path.as_os_str()).collect()
}

fn latency<'py>(py: Python<'py>, latency: &Latency) -> Report<'py> {
    Ok(dict!(py,
        count: latency.count(),
        p50_ns: latency.quantile_ns(0.5),
        p99_ns: latency.quantile_ns(0.99),
        max_ns: latency.quantile_ns(1.0),
    ))
}

pub(crate) fn of_merge<'py>(py: Python<'py>, report: &MergeReport) -> Report<'py> {
    Ok(dict!(py,
        files_removed: report.files_removed,
        files_written: report.files_written,
        bytes_read: report.bytes_read,
        bytes_written: report.bytes_written,
        reclaimed_bytes: report.reclaimed_bytes(),
        records_kept: report.records_kept,
        stopped: report.stopped,
    ))
}

pub(crate) fn of_verify<'py>(py: Python<'py>, report: &VerifyReport) -> Report<'py> {
    Ok(dict!(py,
        is_clean: report.is_clean(),
        files: report.files,
        records: report.records,
        bytes: report.bytes,
        hints: report.hints,
        dictionaries: report.dictionaries,
        damage: damage(py, &report.damage)?,
        stopped: report.stopped,
    ))
}

fn damage<'py>(py: Python<'py>, damage: &[Damage]) -> PyResult<Bound<'py, PyList>> {
    let list = PyList::empty(py);
    for damage in damage {
        list.append(dict!(py,
            path: damage.path.as_os_str(),
            start: damage.from,
            end: damage.to,
            what: &damage.what,
        ))?;
    }
    Ok(list)
}

pub(crate) fn of_checkpoint<'py>(py: Python<'py>, report: &CheckpointReport) -> Report<'py> {
    Ok(dict!(py,
        seq: report.seq,
        files_linked: report.files_linked,
        files_reused: report.files_reused,
        files_copied: report.files_copied,
        bytes_copied: report.bytes_copied,
        stopped: report.stopped,
    ))
}

pub(crate) fn of_repair<'py>(py: Python<'py>, report: &RepairReport) -> Report<'py> {
    let bytes = |keys: &[Vec<u8>]| PyList::new(py, keys.iter().map(|key| PyBytes::new(py, key)));
    let lost = PyList::empty(py);
    for place in &report.lost {
        lost.append(dict!(py,
            path: place.file.as_os_str(),
            start: place.from,
            end: place.to,
            records: place.records,
            tombstones: place.tombstones,
            complete: place.complete,
        ))?;
    }
    Ok(dict!(py,
        is_clean: report.is_clean(),
        files_checked: report.files_checked,
        files_replaced: report.files_replaced,
        records_saved: report.records_saved,
        torn_batches: report.torn_batches,
        damage: damage(py, &report.damage)?,
        lost: lost,
        stale_keys: bytes(&report.stale_keys)?,
        deleted_keys: bytes(&report.deleted_keys)?,
        unreadable: names(&report.unreadable),
        quarantined: names(&report.quarantined),
    ))
}

pub(crate) fn of_destroy<'py>(py: Python<'py>, report: &DestroyReport) -> Report<'py> {
    Ok(dict!(py,
        files_removed: report.files_removed,
        bytes_removed: report.bytes_removed,
        left: &report.left,
        directory_removed: report.directory_removed,
    ))
}
