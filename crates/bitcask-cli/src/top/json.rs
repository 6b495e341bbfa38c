//! A look as JSON, on one line.

use bitcask::{MergeProgress, Stats};
use serde_json::{Map, Value, json};

use super::rates::{KINDS, Rates, TIMED, Times, counts};
use super::state::State;
use crate::output::{file_json, merge_json, pinned_json, snapshot_json};

/// What is not known is null: all that a process counts where none has the store open, and rates in the first look.
pub(crate) fn as_json(state: &State) -> Value {
    let (process, rates, counted) = (&state.process, &state.rates, state.counted());
    let stats = |of: fn(&Stats) -> Value| state.stats.as_ref().map(of);
    json!({
        "at_ms": state.now_ms,
        "dir": state.dir,
        "process": process.as_ref().map(|process| process.id),
        "program": process.as_ref().map(|process| &process.program),
        "age_ms": counted.map(|_| state.age_ms()),
        "over_ms": rates.as_ref().map(|rates| rates.over_ms),
        "per_second": rates.as_ref().map(per_second),
        "total": counted.map(total),
        "latency_now": rates.as_ref().map(|rates| latencies(&rates.times)),
        "latency_all": counted.map(|_| latencies(&state.times)),
        "merge": counted.and_then(|stats| stats.merge.as_ref()).map(|now| merge(now, rates.as_ref())),
        "merge_paused": counted.map(|stats| stats.merge_paused),
        "poisoned": counted.and_then(|stats| stats.poisoned.as_ref()),
        "keys": stats(|stats| stats.keys.into()),
        "expiring_keys": stats(|stats| stats.expiring_keys.into()),
        "keydir_bytes": stats(|stats| stats.keydir_bytes.into()),
        "ordered_bytes": stats(|stats| stats.ordered_bytes.into()),
        "bytes": stats(|stats| stats.bytes().into()),
        "dead_bytes": stats(|stats| stats.dead_bytes().into()),
        "files": stats(|stats| stats.files.iter().map(file_json).collect()),
        "snapshots": stats(|stats| stats.snapshots.iter().map(snapshot_json).collect()),
        "pinned_files": stats(pinned_json),
    })
}

fn per_second(rates: &Rates) -> Map<String, Value> {
    KINDS.iter().zip(rates.per_second).map(|(kind, rate)| ((*kind).into(), rate.into())).collect()
}

fn total(stats: &Stats) -> Map<String, Value> {
    let mut total: Map<String, Value> =
        KINDS.iter().zip(counts(stats)).map(|(kind, n)| ((*kind).into(), n.into())).collect();
    total.insert("merges".into(), stats.merges.into());
    total.insert("reclaimed_bytes".into(), stats.reclaimed_bytes.into());
    total
}

fn latencies(times: &[Times; TIMED.len()]) -> Map<String, Value> {
    let json = |times: &Times| {
        let [p50, p99, p999, max] = times.ns;
        json!({ "count": times.count, "p50_ns": p50, "p99_ns": p99, "p999_ns": p999, "max_ns": max })
    };
    TIMED.iter().zip(times).map(|(name, times)| ((*name).into(), json(times))).collect()
}

fn merge(merge: &MergeProgress, rates: Option<&Rates>) -> Value {
    let mut json = merge_json(merge);
    json["bytes_per_second"] = rates.map(|rates| rates.merge_bytes).into();
    json
}
