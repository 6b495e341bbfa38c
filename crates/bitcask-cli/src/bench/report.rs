//! What was measured, as a table with a plot for people and as JSON for programs.

use std::fmt::Write as _;

use bitcask_random::whole;
use serde_json::{Value, json};

use super::{Findings, Measured, Times};
use crate::cli::Workload;
use crate::output::{size, time};

/// The parts of a thousand that are shown.
const PARTS: [(&str, u64); 4] = [("p50", 500), ("p95", 950), ("p99", 990), ("p99.9", 999)];
/// How long the longest bar is.
const BAR: u64 = 50;

pub(crate) fn as_text(findings: &Findings) -> String {
    let mut text = String::new();
    let mut line = |line: std::fmt::Arguments<'_>| {
        writeln!(text, "{line}").expect("a string takes any text");
    };
    line(format_args!(
        "{} keys of {} B, values of {}, threads: {}, durability: {}, in {}",
        findings.keys,
        findings.key_size,
        size(findings.value_size as u64),
        findings.threads,
        findings.durability,
        findings.place.display(),
    ));
    let (loaded, time) = findings.loaded;
    let seconds = time.as_secs_f64();
    let rate = loaded as f64 / seconds.max(1e-9);
    line(format_args!("loaded {loaded} keys in {seconds:.2} s: {rate:.0} keys/s\n"));
    if findings.workloads.is_empty() {
        return text;
    }
    let [p50, p95, p99, p999] = PARTS.map(|(name, _)| name);
    line(format_args!(
        "WORKLOAD  OPERATIONS       OPS/S  KIND    {p50:>8}  {p95:>8}  {p99:>8}  {p999:>8}       max"
    ));
    for measured in &findings.workloads {
        rows(measured, &mut line);
    }
    for measured in &findings.workloads {
        let name = measured.workload.name();
        line(format_args!("\n{name}: {} #, writes =, by the time they took", reads_of(measured)));
        plot(measured, &mut line);
    }
    text
}

fn reads_of(measured: &Measured) -> &'static str {
    if measured.workload == Workload::E { "scans" } else { "reads" }
}

/// A workload in the table: a row for its reads, one for its writes.
fn rows(measured: &Measured, line: &mut impl FnMut(std::fmt::Arguments<'_>)) {
    let mut start = format!(
        "{:<8}  {:>10}  {:>10.0}",
        measured.workload.name(),
        measured.operations(),
        measured.per_second()
    );
    for (kind, times) in [(reads_of(measured), &measured.reads), ("writes", &measured.writes)] {
        if times.count() == 0 {
            continue;
        }
        let [p50, p95, p99, p999] = PARTS.map(|(_, part)| time(times.permille_ns(part)));
        let max = time(times.max_ns());
        line(format_args!(
            "{start:<30}  {kind:<6}  {p50:>8}  {p95:>8}  {p99:>8}  {p999:>8}  {max:>8}"
        ));
        start.clear();
    }
    if measured.absent > 0 {
        line(format_args!(
            "          {} reads found no value yet: their inserts were on the way",
            measured.absent
        ));
    }
}

/// A bar for each power of two in time.
fn plot(measured: &Measured, line: &mut impl FnMut(std::fmt::Arguments<'_>)) {
    let all = measured.reads.and(&measured.writes);
    let (powers, reads) = (all.by_powers(), measured.reads.by_powers());
    let most = powers.iter().map(|&(_, count)| count).max().unwrap_or(0).max(1);
    for &(log, count) in &powers {
        let read = reads.iter().find(|&&(other, _)| other == log).map_or(0, |&(_, count)| count);
        let len = |count: u64| whole((count as f64 / most as f64 * BAR as f64).round());
        let mut bar = repeated('#', len(read));
        bar += &repeated('=', len(count).saturating_sub(len(read)));
        // Few are not none.
        if bar.is_empty() && count > 0 {
            bar.push('.');
        }
        let below = time(2_u64.saturating_pow(log));
        let percent = count as f64 / all.count() as f64 * 100.0;
        line(format_args!("  < {below:>8} {percent:>7.3} % {count:>10} |{bar}"));
    }
}

fn repeated(c: char, count: u64) -> String {
    (0..count).map(|_| c).collect()
}

pub(crate) fn as_json(findings: &Findings) -> String {
    let (loaded, time) = findings.loaded;
    let workload = |measured: &Measured| {
        json!({
            "workload": measured.workload.name(),
            "keys": measured.keys,
            "operations": measured.operations(),
            "seconds": measured.time.as_secs_f64(),
            "operations_per_second": measured.per_second(),
            "absent": measured.absent,
            "reads": times(&measured.reads),
            "writes": times(&measured.writes),
        })
    };
    let json = json!({
        "keys": findings.keys,
        "key_size": findings.key_size,
        "value_size": findings.value_size,
        "threads": findings.threads,
        "durability": findings.durability,
        "dir": findings.place.to_string_lossy(),
        "interrupted": findings.interrupted,
        "load": { "keys": loaded, "seconds": time.as_secs_f64() },
        "workloads": findings.workloads.iter().map(workload).collect::<Vec<_>>(),
    });
    format!("{json:#}\n")
}

fn times(times: &Times) -> Value {
    let [p50, p95, p99, p999] = PARTS.map(|(_, part)| times.permille_ns(part));
    let powers = times
        .by_powers()
        .into_iter()
        .map(|(log, count)| json!({ "below_ns": 2_u64.saturating_pow(log), "count": count }));
    json!({
        "count": times.count(),
        "p50_ns": p50,
        "p95_ns": p95,
        "p99_ns": p99,
        "p999_ns": p999,
        "max_ns": times.max_ns(),
        "histogram": powers.collect::<Vec<_>>(),
    })
}
