//! What is printed, and where: data to standard output, everything else to standard error.

use std::fmt::{Arguments, Display, Write as _};
use std::io::{self, IsTerminal, Write as _};

use bitcask::{FileStats, MergeProgress, MergeReport, Stats};
use serde_json::json;

use crate::failure::Failure;

/// Writes data. A reader that has gone away has all that it wanted.
pub(crate) fn to_stdout(data: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(data).and_then(|()| out.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|e| Failure::stdio("cannot write: standard output", &e)),
    }
}

/// Writes a line for the user.
pub(crate) fn to_stderr(text: impl Display) {
    // Ignored: there is nowhere left to say it.
    drop(writeln!(io::stderr().lock(), "{text}"));
}

/// Tells the user what is good to know, and no error.
pub(crate) fn note(text: Arguments<'_>) {
    to_stderr(format_args!("note: {text}"));
}

/// How far a merge is: one line that changes, on terminals only.
pub(crate) struct Progress {
    on: bool,
}

impl Default for Progress {
    fn default() -> Self {
        Self { on: io::stderr().is_terminal() }
    }
}

impl Progress {
    const CLEAR: &str = "\r\x1b[K";

    pub(crate) fn show(&mut self, progress: &MergeProgress) {
        self.write(format_args!(
            "{}merging: {} of {} files, {} of {} read",
            Self::CLEAR,
            progress.files_done,
            progress.files,
            size(progress.bytes_read),
            size(progress.bytes),
        ));
    }

    pub(crate) fn clear(&mut self) {
        self.write(format_args!("{}", Self::CLEAR));
    }

    fn write(&mut self, text: Arguments<'_>) {
        if self.on {
            let mut err = io::stderr().lock();
            // A terminal that has gone away needs no more of it.
            self.on = err.write_fmt(text).and_then(|()| err.flush()).is_ok();
        }
    }
}

/// A merge in a line.
pub(crate) fn merged(report: &MergeReport) -> String {
    if report.files_removed == 0 {
        return "nothing to merge\n".into();
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
    });
    format!("{json:#}\n")
}

/// The files in a table, and what there is besides.
pub(crate) fn stats(stats: &Stats) -> String {
    let total = stats.bytes();
    let dead = stats.dead_bytes();
    let mut rows = vec![["FILE", "STATE", "LIVE", "DEAD", "DEAD %"].map(String::from)];
    for file in &stats.files {
        let row = [name(file), state(file).into()];
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
    for foreign in &stats.foreign {
        line("foreign file", &format_args!("{foreign:?}"));
    }
    text
}

pub(crate) fn stats_json(stats: &Stats) -> String {
    let file = |file: &FileStats| {
        json!({
            "id": file.id,
            "name": name(file),
            "state": state(file),
            "merged": file.merged,
            "bytes": file.bytes,
            "live_bytes": file.live_bytes(),
            "dead_bytes": file.dead_bytes,
            "tombstone_bytes": file.tombstone_bytes,
        })
    };
    let json = json!({
        "keys": stats.keys,
        "keydir_bytes": stats.keydir_bytes,
        "seq": stats.seq,
        "bytes": stats.bytes(),
        "live_bytes": stats.bytes().saturating_sub(stats.dead_bytes()),
        "dead_bytes": stats.dead_bytes(),
        "files": stats.files.iter().map(file).collect::<Vec<_>>(),
        "foreign": stats.foreign.iter().map(|name| name.to_string_lossy()).collect::<Vec<_>>(),
    });
    format!("{json:#}\n")
}

fn name(file: &FileStats) -> String {
    file.path.file_name().unwrap_or_default().display().to_string()
}

fn state(file: &FileStats) -> &'static str {
    match file {
        FileStats { active: true, .. } => "active",
        FileStats { sealed: true, .. } => "sealed",
        _ => "unsealed",
    }
}

fn with_sizes([name, state]: [String; 2], bytes: u64, dead: u64) -> [String; 5] {
    let percent = if bytes == 0 { 0.0 } else { dead as f64 / bytes as f64 * 100.0 };
    [name, state, size(bytes.saturating_sub(dead)), size(dead), format!("{percent:.0}")]
}

/// Rows of the same columns: text to the left, sizes to the right.
fn table(rows: &[[String; 5]]) -> String {
    let mut widths = [0; 5];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.len().max(*width);
        }
    }
    let [w0, w1, w2, w3, w4] = widths;
    let mut text = String::new();
    for [name, state, live, dead, percent] in rows {
        writeln!(text, "{name:<w0$}  {state:<w1$}  {live:>w2$}  {dead:>w3$}  {percent:>w4$}")
            .expect("a string takes any text");
    }
    text
}

fn files(count: usize) -> String {
    format!("{count} file{}", if count == 1 { "" } else { "s" })
}

fn size(bytes: u64) -> String {
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
}
