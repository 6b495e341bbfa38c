//! The store at a glance: its files, what a merge would give back, and how it goes for who has it open.

use std::ffi::OsString;
use std::fmt::{Display, Write as _};

use bitcask::{FileStats, InUse, Latency, MergeProgress, SnapshotStats, Stats};
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use serde_json::{Value, json};

use super::{files, size, time};
use crate::time::now_ms;

/// The directory that repair makes.
const QUARANTINE: &str = "quarantine";

/// What a merge would give back, file by file.
pub(crate) fn mergeable(stats: &Stats) -> String {
    let wanted: Vec<_> = stats.files.iter().filter(|file| reclaimable(file) > 0).collect();
    if wanted.is_empty() {
        return "nothing to merge\n".into();
    }
    let mut text = String::new();
    for file in &wanted {
        writeln!(text, "{}: {} of {}", file_name(file), size(reclaimable(file)), size(file.bytes))
            .expect("a string takes any text");
    }
    let all: u64 = wanted.iter().map(|file| reclaimable(file)).sum();
    format!("{text}a merge would give back up to {} of {}\n", size(all), size(stats.bytes()))
}

pub(crate) fn mergeable_json(stats: &Stats) -> String {
    let files: Vec<_> = stats
        .files
        .iter()
        .map(|file| json!({ "name": file_name(file), "bytes": file.bytes, "reclaimable_bytes": reclaimable(file) }))
        .collect();
    let all: u64 = stats.files.iter().map(reclaimable).sum();
    format!("{:#}\n", json!({ "reclaimable_bytes": all, "files": files }))
}

fn reclaimable(file: &FileStats) -> u64 {
    file.dead_bytes + file.tombstone_bytes
}

/// The files in a table, what there is besides, and how it goes for who has the store open.
pub(crate) fn stats(stats: &Stats, in_use: Option<&InUse>) -> String {
    let total = stats.bytes();
    let dead = stats.dead_bytes();
    let mut rows = vec![["FILE", "STATE", "LIVE", "DEAD", "DEAD %", ""].map(String::from)];
    for file in &stats.files {
        let row = [file_name(file), file_state(file).into()];
        rows.push(with_sizes(row, file.bytes, file.dead_bytes));
    }
    rows.push(with_sizes(["total".into(), files(stats.files.len())], total, dead));

    let mut text = table(&rows);
    text.push('\n');
    let mut line = |what: &str, value: &dyn Display| {
        writeln!(text, "{what:<13}{value}").expect("a string takes any text");
    };
    line("keys", &stats.keys);
    line("keydir", &size(stats.keydir_bytes));
    if stats.expiring_keys > 0 {
        line("of these", &format_args!("{} will expire", stats.expiring_keys));
    }
    for foreign in foreign(stats) {
        line("foreign file", &format_args!("{foreign:?}"));
    }
    if stats.foreign.iter().any(|name| name == QUARANTINE) {
        line(QUARANTINE, &"holds what a repair has moved away");
    }
    if let Some(in_use) = in_use {
        line("in use by", &format_args!("process {} ({})", in_use.process, in_use.program));
        for (what, value) in in_use.stats.iter().flat_map(in_use_lines) {
            line(what, &value);
        }
    }
    for advice in advice(stats, in_use) {
        line("advice", &advice);
    }
    text
}

/// How it goes for who has the store open.
fn in_use_lines(stats: &Stats) -> Vec<(&'static str, String)> {
    let Stats { gets, puts, deletes, transactions, conflicts, syncs, merges, .. } = stats;
    let mut lines = vec![
        ("  since then", format!("{gets} gets, {puts} puts, {deletes} deletes, {syncs} syncs")),
        ("", format!("{transactions} transactions, {conflicts} conflicts")),
        ("", format!("{merges} merge steps, {} reclaimed", size(stats.reclaimed_bytes))),
    ];
    let latencies =
        [("get", &stats.get_latency), ("put", &stats.put_latency), ("sync", &stats.sync_latency)];
    for (what, latency) in latencies.iter().filter(|(_, latency)| latency.count() > 0) {
        let [p50, p99, max] = [0.5, 0.99, 1.0].map(|part| time(latency.quantile_ns(part)));
        lines.push(("  latency", format!("{what}: p50 {p50}, p99 {p99}, at most {max}")));
    }
    if let Some(merge) = &stats.merge {
        let (read, all) = (size(merge.bytes_read), size(merge.bytes));
        lines.push(("  merging", format!("{read} of {all} read")));
    }
    for snapshot in &stats.snapshots {
        let by = if snapshot.thread.is_empty() { "a thread" } else { &snapshot.thread };
        let age = time(now_ms().saturating_sub(snapshot.since_ms).saturating_mul(1_000_000));
        let kept = size(snapshot.kept_bytes);
        lines.push(("  snapshot", format!("{} of {by} for {age}, keeps {kept}", snapshot.holder)));
    }
    for path in &stats.pinned_files {
        let name = path.file_name().unwrap_or_default().display();
        lines.push(("  pinned", format!("{name}: merged away, still read")));
    }
    lines
}

pub(crate) fn stats_json(stats: &Stats, in_use: Option<&InUse>) -> Value {
    json!({
        "keys": stats.keys,
        "expiring_keys": stats.expiring_keys,
        "keydir_bytes": stats.keydir_bytes,
        "advice": advice(stats, in_use),
        "in_use": in_use.map(in_use_json),
        "seq": stats.seq,
        "bytes": stats.bytes(),
        "live_bytes": stats.bytes().saturating_sub(stats.dead_bytes()),
        "dead_bytes": stats.dead_bytes(),
        "files": stats.files.iter().map(file_json).collect::<Vec<_>>(),
        "foreign": stats.foreign.iter().map(|name| name.to_string_lossy()).collect::<Vec<_>>(),
    })
}

/// The same, and what else the process counts.
fn in_use_json(in_use: &InUse) -> Value {
    let mut json = json!({
        "process": in_use.process,
        "program": in_use.program,
        "at_ms": in_use.at_ms,
    });
    let Some(stats) = &in_use.stats else { return json };
    let latency = |latency: &Latency| {
        let [p50, p99, max] = [0.5, 0.99, 1.0].map(|part| latency.quantile_ns(part));
        json!({ "count": latency.count(), "p50_ns": p50, "p99_ns": p99, "max_ns": max })
    };
    let counted = json!({
        "gets": stats.gets,
        "puts": stats.puts,
        "deletes": stats.deletes,
        "batches": stats.batches,
        "transactions": stats.transactions,
        "conflicts": stats.conflicts,
        "syncs": stats.syncs,
        "merges": stats.merges,
        "reclaimed_bytes": stats.reclaimed_bytes,
        "merge": stats.merge.as_ref().map(merge_json),
        "merge_paused": stats.merge_paused,
        "poisoned": stats.poisoned,
        "snapshots": stats.snapshots.iter().map(snapshot_json).collect::<Vec<_>>(),
        "pinned_files": pinned_json(stats),
        "get_latency": latency(&stats.get_latency),
        "put_latency": latency(&stats.put_latency),
        "sync_latency": latency(&stats.sync_latency),
    });
    if let (Value::Object(json), Value::Object(counted)) = (&mut json, counted) {
        json.extend(counted);
    }
    json
}

pub(crate) fn file_json(file: &FileStats) -> Value {
    json!({
        "id": file.id,
        "name": file_name(file),
        "state": file_state(file),
        "merged": file.merged,
        "bytes": file.bytes,
        "live_bytes": file.live_bytes(),
        "dead_bytes": file.dead_bytes,
        "tombstone_bytes": file.tombstone_bytes,
    })
}

pub(crate) fn snapshot_json(snapshot: &SnapshotStats) -> Value {
    json!({
        "seq": snapshot.seq,
        "holder": snapshot.holder,
        "thread": snapshot.thread,
        "since_ms": snapshot.since_ms,
        "kept_records": snapshot.kept_records,
        "kept_bytes": snapshot.kept_bytes,
    })
}

pub(crate) fn merge_json(merge: &MergeProgress) -> Value {
    json!({
        "files": merge.files,
        "files_done": merge.files_done,
        "bytes": merge.bytes,
        "bytes_read": merge.bytes_read,
        "bytes_written": merge.bytes_written,
    })
}

/// Files that were merged away and are still read.
pub(crate) fn pinned_json(stats: &Stats) -> Value {
    let names = stats.pinned_files.iter().filter_map(|path| path.file_name());
    names.map(|name| name.display().to_string()).collect()
}

pub(crate) fn file_name(file: &FileStats) -> String {
    file.path.file_name().unwrap_or_default().display().to_string()
}

pub(crate) fn file_state(file: &FileStats) -> &'static str {
    match file {
        FileStats { active: true, .. } => "active",
        FileStats { sealed: true, .. } => "sealed",
        _ => "unsealed",
    }
}

fn with_sizes([name, state]: [String; 2], bytes: u64, dead: u64) -> [String; 6] {
    let part = if bytes == 0 { 0.0 } else { dead as f64 / bytes as f64 };
    let percent = format!("{:.0}", part * 100.0);
    [name, state, size(bytes.saturating_sub(dead)), size(dead), percent, bar(part)]
}

/// What is live of it, and what is dead.
fn bar(dead: f64) -> String {
    const WIDTH: usize = 20;
    let is_dead = |cell: usize| (cell as f64 + 0.5) / WIDTH as f64 > 1.0 - dead;
    let cells: String = (0..WIDTH).map(|cell| if is_dead(cell) { '.' } else { '#' }).collect();
    format!("[{cells}]")
}

/// What is in the directory and has nothing to do with the store.
fn foreign(stats: &Stats) -> impl Iterator<Item = &OsString> {
    stats.foreign.iter().filter(|name| *name != QUARANTINE)
}

/// What is worth doing.
fn advice(stats: &Stats, in_use: Option<&InUse>) -> Vec<String> {
    let told = in_use.and_then(|in_use| in_use.stats.as_ref()).unwrap_or(stats);
    const DEAD_WORTH_MERGING: u64 = 1 << 20;
    let mut advice = Vec::new();
    let dead: u64 = stats.files.iter().map(reclaimable).sum();
    if dead >= DEAD_WORTH_MERGING && dead >= stats.bytes() / 4 {
        let (dead, all) = (size(dead), size(stats.bytes()));
        advice.push(format!("{dead} of {all} are dead: `bitcask merge` gives most of it back"));
    }
    let unsealed = stats.files.iter().filter(|file| !file.sealed && !file.active).count();
    if unsealed > 0 {
        advice.push(format!(
            "{} no hint, so opening reads all of it: open the store to write once, and they have",
            if unsealed == 1 { "1 file has".into() } else { format!("{unsealed} files have") }
        ));
    }
    if foreign(stats).next().is_some() {
        advice
            .push("the directory holds files that are not the store's: they are left alone".into());
    }
    if !told.pinned_files.is_empty() {
        let count = files(told.pinned_files.len());
        advice.push(format!(
            "{count} merged away, but still read: their space is free when that ends"
        ));
    }
    if let Some(why) = &told.poisoned {
        advice.push(format!("no more writes are taken: {why}; open the store again"));
    }
    advice
}

/// Rows of the same columns: text to the left, sizes to the right.
fn table(rows: &[[String; 6]]) -> String {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.add_rows(rows);
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if (2..=4).contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt() + "\n"
}
