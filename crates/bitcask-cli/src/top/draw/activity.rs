//! What the process does: operations, how long they take, and merge.

use bitcask_random::whole;
use ratatui::text::{Line, Span};

use super::super::history::Window;
use super::super::rates::{KINDS, TIMED, Times, counts};
use super::super::state::State;
use super::{Rows, Theme, WIDE, bar, grouped, percent, rate, title};
use crate::output::{size, time};

/// From little to much.
const LEVELS: [char; 7] = ['.', ':', '-', '=', '+', '*', '#'];
/// What stands left of a plot.
const PLOT_AT: usize = 52;

/// A row for each kind, with a plot of the last minutes.
pub(super) fn operations(state: &State, theme: &Theme, width: usize) -> Rows {
    let Some(stats) = state.counted() else { return Rows::new() };
    let told_ms = state.process.as_ref().map_or(0, |process| process.at_ms);
    let until = if state.old_ms().is_some() { state.now_ms } else { told_ms };
    let window = Window::until(until, width.saturating_sub(PLOT_AT));
    let [name, now, peak, total] = ["OPERATIONS", "PER S", "PEAK", "TOTAL"];
    let last = format!("LAST {} S", window.seconds());
    let head = format!(" {name:<12}{now:>11}{peak:>11}{total:>15}  {last}");
    let mut rows = vec![title(&head, theme, width)];
    for (kind, (name, total)) in KINDS.iter().zip(counts(stats)).enumerate() {
        // Each of these is a transaction that had to begin again.
        let name = if *name == "conflicts" { "  conflicts" } else { name };
        let unknown = || "-".to_owned();
        let now = state.rates.as_ref().map_or_else(unknown, |rates| rate(rates.per_second[kind]));
        let peak = state.history.peak(kind, window).map_or_else(unknown, rate);
        let total = grouped(total);
        rows.push(Line::from(vec![
            Span::raw(format!(" {name:<12}{now:>11}{peak:>11}{total:>15}  ")),
            Span::styled(plot(&state.history.columns(kind, window)), theme.plot),
        ]));
    }
    rows
}

/// A character for each column, as dense as it is high; the scale is that of the highest.
fn plot(columns: &[Option<f64>]) -> String {
    let highest = columns.iter().copied().flatten().fold(0.0, f64::max);
    let level = |value: f64| {
        let level = whole(value / highest * LEVELS.len() as f64);
        let level = usize::try_from(level).unwrap_or(LEVELS.len()).min(LEVELS.len() - 1);
        LEVELS[level]
    };
    let column = |column: &Option<f64>| match *column {
        None => ' ',
        Some(value) if value > 0.0 => level(value),
        Some(_) => '_',
    };
    columns.iter().map(column).collect()
}

/// A row for each kind: in the last interval, and since the store was opened.
pub(super) fn latencies(state: &State, theme: &Theme, width: usize) -> Rows {
    let is_wide = width >= WIDE;
    let head = |when: &str| {
        if is_wide {
            let timed = format!("{when} timed");
            format!("{timed:>12}{:>9}{:>9}{:>9}{:>9}", "p50", "p99", "p99.9", "longest")
        } else {
            let p50 = format!("{when} p50");
            format!("{p50:>9}{:>9}{:>9}{:>9}", "p99", "p99.9", "longest")
        }
    };
    let cells = |times: &Times| {
        let cell = |ns: u64| if times.count == 0 { "-".to_owned() } else { time(ns) };
        let mut text = String::new();
        if is_wide {
            text += &format!("{:>12}", grouped(times.count));
        }
        for ns in times.ns {
            text += &format!("{:>9}", cell(ns));
        }
        text
    };
    let name = "LATENCY";
    let mut rows = vec![title(&format!(" {name:<7}{}{}", head("NOW"), head("ALL")), theme, width)];
    let none = <[Times; TIMED.len()]>::default();
    let now = state.rates.as_ref().map_or(&none, |rates| &rates.times);
    for ((name, now), all) in TIMED.iter().zip(now).zip(&state.times) {
        rows.push(Line::from(format!(" {name:<7}{}{}", cells(now), cells(all))));
    }
    rows
}

/// How far a merge is, and what merges have given back.
pub(super) fn merge(state: &State, theme: &Theme, width: usize) -> Rows {
    let Some(stats) = state.counted() else { return Rows::new() };
    let mut spans = vec![Span::styled(" MERGE  ", theme.strong)];
    let freed = size(stats.reclaimed_bytes);
    match &stats.merge {
        None => {
            let is = if stats.merge_paused { "paused" } else { "idle" };
            let steps = match stats.merges {
                1 => "1 step".to_owned(),
                n => format!("{} steps", grouped(n)),
            };
            spans.push(Span::raw(format!("{is}, {steps} since it was opened, {freed} freed")));
        }
        Some(now) => {
            let done = now.bytes_read.min(now.bytes);
            let wide = if width >= WIDE { 32 } else { 12 };
            spans.extend(bar(now.bytes - done, now.bytes, wide, theme));
            let (read, all) = (size(done), size(now.bytes));
            let of = if width >= WIDE { format!("{read} of {all}") } else { format!("of {all}") };
            let speed = state.rates.as_ref().map_or(0.0, |rates| rates.merge_bytes);
            spans.push(Span::raw(format!(
                " {} % {of}, {}/s, {}/{} files, {freed} freed",
                percent(done, now.bytes),
                size(whole(speed)),
                now.files_done,
                now.files,
            )));
        }
    }
    vec![Line::from(spans)]
}
