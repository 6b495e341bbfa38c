//! What is printed, and where: data to standard output, everything else to standard error.

mod stats;

use std::fmt::{Display, Write as _};
use std::io::{self, BufWriter, StdoutLock, Write as _};

use anstyle::AnsiColor;
use bitcask::{CheckpointReport, MergeReport, RepairReport, VerifyReport};
use serde_json::json;

use crate::failure::Failure;
use crate::text::{Encoding, shown};

pub(crate) use stats::{
    file_json, file_name, file_state, merge_json, mergeable, mergeable_json, pinned_json,
    snapshot_json, stats, stats_json,
};

/// Writes data. A reader that has gone away has all that it wanted.
pub(crate) fn to_stdout(data: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(data).and_then(|()| out.flush()).map_err(|e| cannot_write(&e))
}

/// Writes a line for the user.
pub(crate) fn to_stderr(text: impl Display) {
    // Ignored: there is nowhere left to say it.
    drop(writeln!(anstream::stderr().lock(), "{}", painted(&text.to_string())));
}

/// The words that say what a line is, in colour. What goes elsewhere than to a terminal, or where `NO_COLOR` is set, has none.
fn painted(text: &str) -> String {
    let line = |line| {
        let Some((word, rest)) = str::split_once(line, ": ") else { return line.to_owned() };
        let colour = match word {
            "error" => AnsiColor::Red,
            "help" => AnsiColor::Cyan,
            "note" => AnsiColor::Green,
            _ => return line.to_owned(),
        };
        let style = colour.on_default().bold();
        format!("{style}{word}:{style:#} {rest}")
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// Standard output for many lines.
pub(crate) struct Stdout(BufWriter<StdoutLock<'static>>);

impl Stdout {
    pub(crate) fn new() -> Self {
        Self(BufWriter::with_capacity(1 << 16, io::stdout().lock()))
    }

    pub(crate) fn write(&mut self, data: &[u8]) -> Result<(), Failure> {
        self.0.write_all(data).map_err(|e| cannot_write(&e))
    }

    /// Has all of it written.
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        self.0.flush().map_err(|e| cannot_write(&e))
    }
}

pub(crate) fn cannot_write(e: &io::Error) -> Failure {
    match e.kind() {
        io::ErrorKind::BrokenPipe => Failure::nobody_listens(),
        _ => Failure::stdio("cannot write: standard output", e),
    }
}

/// A merge in a line.
pub(crate) fn merged(report: &MergeReport) -> String {
    if report.files_removed == 0 {
        let said = if report.stopped { "nothing is merged yet\n" } else { "nothing to merge\n" };
        return said.into();
    }
    format!(
        "merged {} ({}) into {} ({}): {} reclaimed\n",
        files(report.files_removed),
        size(report.bytes_read),
        files(report.files_written),
        size(report.bytes_written),
        size(report.reclaimed_bytes()),
    )
}

pub(crate) fn merged_json(report: &MergeReport) -> String {
    let json = json!({
        "files_removed": report.files_removed,
        "files_written": report.files_written,
        "bytes_read": report.bytes_read,
        "bytes_written": report.bytes_written,
        "reclaimed_bytes": report.reclaimed_bytes(),
        "records_kept": report.records_kept,
        "stopped": report.stopped,
    });
    format!("{json:#}\n")
}

pub(crate) fn verified(report: &VerifyReport) -> String {
    let mut text = String::new();
    for damage in &report.damage {
        let (path, from, to) = (damage.path.display(), damage.from, damage.to);
        writeln!(text, "{path}: bytes {from} to {to}: {}", damage.what)
            .expect("a string takes any text");
    }
    let state = match (report.damage.len(), report.stopped) {
        (0, false) => "all sound".to_owned(),
        (0, true) => "stopped before its end, and sound so far".to_owned(),
        (1, _) => "1 damaged place; `bitcask repair` saves what checks out".to_owned(),
        (n, _) => format!("{n} damaged places; `bitcask repair` saves what checks out"),
    };
    format!(
        "{text}{} records in {}, {}: {state}\n",
        report.records,
        files(report.files),
        size(report.bytes)
    )
}

pub(crate) fn verified_json(report: &VerifyReport) -> String {
    let damage: Vec<_> = report
        .damage
        .iter()
        .map(|damage| {
            let path = damage.path.display().to_string();
            json!({ "path": path, "from": damage.from, "to": damage.to, "what": damage.what })
        })
        .collect();
    let json = json!({
        "clean": report.is_clean(),
        "stopped": report.stopped,
        "files": report.files,
        "records": report.records,
        "bytes": report.bytes,
        "hints": report.hints,
        "dictionaries": report.dictionaries,
        "damage": damage,
    });
    format!("{json:#}\n")
}

pub(crate) fn repaired(report: &RepairReport) -> String {
    if report.is_clean() {
        return format!("nothing is damaged in {}\n", files(report.files_checked));
    }
    let mut text = String::new();
    let mut line = |line: std::fmt::Arguments<'_>| {
        writeln!(text, "{line}").expect("a string takes any text");
    };
    for damage in &report.damage {
        line(format_args!(
            "damaged: {}: bytes {} to {}: {}",
            damage.path.display(),
            damage.from,
            damage.to,
            damage.what
        ));
    }
    for lost in &report.lost {
        let more = if lost.complete { "" } else { ", and perhaps more" };
        line(format_args!(
            "lost: {}: bytes {} to {}: {} records{more}, {} of them deletions",
            lost.file.display(),
            lost.from,
            lost.to,
            lost.records,
            lost.tombstones
        ));
    }
    for key in &report.stale_keys {
        line(format_args!("has an older value: {}", shown(key)));
    }
    for key in &report.deleted_keys {
        line(format_args!("stays deleted: {}", shown(key)));
    }
    for path in &report.unreadable {
        line(format_args!("nothing could be taken from: {}", path.display()));
    }
    for path in &report.quarantined {
        line(format_args!("moved to: {}", path.display()));
    }
    line(format_args!(
        "{} records saved, {} replaced",
        report.records_saved,
        files(report.files_replaced)
    ));
    text
}

pub(crate) fn repaired_json(report: &RepairReport) -> String {
    let path = |path: &std::path::PathBuf| path.display().to_string();
    let keys = |keys: &[Vec<u8>]| -> Vec<_> {
        keys.iter().map(|key| Encoding::Utf8.encode(key)).collect()
    };
    let damage: Vec<_> = report
        .damage
        .iter()
        .map(|d| json!({ "path": path(&d.path), "from": d.from, "to": d.to, "what": d.what }))
        .collect();
    let lost: Vec<_> = report
        .lost
        .iter()
        .map(|l| {
            json!({ "path": path(&l.file), "from": l.from, "to": l.to, "records": l.records,
                "tombstones": l.tombstones, "complete": l.complete })
        })
        .collect();
    let json = json!({
        "clean": report.is_clean(),
        "files_checked": report.files_checked,
        "files_replaced": report.files_replaced,
        "records_saved": report.records_saved,
        "damage": damage,
        "lost": lost,
        "stale_keys": keys(&report.stale_keys),
        "deleted_keys": keys(&report.deleted_keys),
        "unreadable": report.unreadable.iter().map(path).collect::<Vec<_>>(),
        "quarantined": report.quarantined.iter().map(path).collect::<Vec<_>>(),
    });
    format!("{json:#}\n")
}

pub(crate) fn backed_up(report: &CheckpointReport) -> String {
    format!(
        "{} linked, {} as they were, {} copied ({}), up to change {}\n",
        report.files_linked,
        report.files_reused,
        files(report.files_copied),
        size(report.bytes_copied),
        report.seq
    )
}

pub(crate) fn backed_up_json(report: &CheckpointReport) -> String {
    let json = json!({
        "seq": report.seq,
        "files_linked": report.files_linked,
        "files_reused": report.files_reused,
        "files_copied": report.files_copied,
        "bytes_copied": report.bytes_copied,
    });
    format!("{json:#}\n")
}

pub(crate) fn keys(count: u64) -> String {
    format!("{count} key{}", if count == 1 { "" } else { "s" })
}

fn files(count: usize) -> String {
    format!("{count} file{}", if count == 1 { "" } else { "s" })
}

pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let [mut unit, larger @ ..] = UNITS;
    let mut value = bytes as f64 / 1024.0;
    for next in larger {
        // A little more would be shown as 1024.0.
        if value < 1023.95 {
            break;
        }
        (value, unit) = (value / 1024.0, next);
    }
    format!("{value:.1} {unit}")
}

/// A time as people read it, in at most eight characters.
pub(crate) fn time(ns: u64) -> String {
    let (mut value, mut unit) = (ns as f64, "ns");
    for next in ["us", "ms", "s"] {
        if value < 999.95 {
            break;
        }
        (value, unit) = (value / 1000.0, next);
    }
    if unit == "ns" { format!("{ns} ns") } else { format!("{value:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_for_people() {
        let cases = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (1 << 20, "1.0 MiB"),
            (5 << 30, "5.0 GiB"),
            (u64::MAX, "16777216.0 TiB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(size(bytes), text, "{bytes}");
        }
    }

    #[test]
    fn times_are_short_for_people() {
        for (ns, text) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (1000, "1.0 us"),
            (999_940, "999.9 us"),
            (999_960, "1.0 ms"),
            (12_345_678_901, "12.3 s"),
        ] {
            assert_eq!(time(ns), text, "{ns}");
        }
    }
}
