//! What lies on the disk, and what keeps it there.

use bitcask::FileStats;
use ratatui::text::{Line, Span};

use super::super::state::{Order, State};
use super::{Rows, Theme, WIDE, bar, end_of, grouped, percent, span, title};
use crate::output::{file_name, file_state, size};
use crate::text::shown;

/// Longer bars tell no more.
const BAR_MAX: usize = 42;

/// What is in a row of files, but for its bar.
struct Row {
    name: String,
    state: String,
    bytes: u64,
    tombstone_bytes: u64,
    dead_bytes: u64,
}

impl Row {
    fn of(file: &FileStats) -> Self {
        Self {
            name: file_name(file),
            state: file_state(file).into(),
            bytes: file.bytes,
            tombstone_bytes: file.tombstone_bytes,
            dead_bytes: file.dead_bytes,
        }
    }

    fn line(&self, theme: &Theme, width: usize) -> Line<'static> {
        let Self { name, state, bytes, tombstone_bytes, dead_bytes } = self;
        let [live, dead] = [bytes.saturating_sub(*dead_bytes), *dead_bytes].map(size);
        let percent = percent(*dead_bytes, *bytes);
        let more = if width >= WIDE {
            [size(*bytes), size(*tombstone_bytes)].map(|size| format!("{size:>12}")).concat()
        } else {
            String::new()
        };
        let text = columns(name, state, &more, [&live, &dead, &percent]);
        let left = width.saturating_sub(text.len()).min(BAR_MAX);
        let mut spans = vec![Span::raw(text)];
        spans.extend(bar(*dead_bytes, *bytes, left, theme));
        Line::from(spans)
    }
}

fn columns(name: &str, state: &str, more: &str, [live, dead, percent]: [&str; 3]) -> String {
    format!(" {name:<19} {state:<8}{more}{live:>11}{dead:>11}{percent:>7}  ")
}

/// A row for each file that there is room for, and one for all.
pub(super) fn files(state: &State, theme: &Theme, width: usize) -> Rows {
    let Some(stats) = &state.stats else { return Rows::new() };
    let (above, files) = state.files();
    let order = match state.order() {
        Order::Number => "by number",
        Order::Dead => "by dead",
    };
    let part = if files.len() < stats.files.len() {
        format!(" {}-{}/{}", above + 1, above + files.len(), stats.files.len())
    } else {
        String::new()
    };
    let more = if width >= WIDE {
        ["SIZE", "TOMBSTONES"].map(|name| format!("{name:>12}")).concat()
    } else {
        String::new()
    };
    let head = columns("SPACE", "STATE", &more, ["LIVE", "DEAD", "DEAD %"]);
    let mut rows = vec![title(&format!("{head}{order}{part}"), theme, width)];
    rows.extend(files.into_iter().map(|file| Row::of(file).line(theme, width)));
    let total = Row {
        name: "total".into(),
        state: match stats.files.len() {
            1 => "1 file".into(),
            n => format!("{n} files"),
        },
        bytes: stats.bytes(),
        tombstone_bytes: stats.files.iter().map(|file| file.tombstone_bytes).sum(),
        dead_bytes: stats.dead_bytes(),
    };
    rows.push(total.line(theme, width).style(theme.strong));
    rows
}

/// What keeps dead bytes: snapshots, the first so many of them one by one, and readers of files that are merged away.
pub(super) fn snapshots(state: &State, theme: &Theme, shown_max: usize) -> Rows {
    let Some(stats) = &state.stats else { return Rows::new() };
    let mut rows = Rows::new();
    let held = |since_ms: u64| span(state.now_ms.saturating_sub(since_ms));
    if let Some(oldest) = stats.snapshots.first() {
        let kept = stats.snapshots.iter().map(|snapshot| snapshot.kept_bytes).sum();
        let (count, kept) = (grouped(stats.snapshots.len() as u64), size(kept));
        let (holder, thread) = (shown(oldest.holder.as_bytes()), shown(oldest.thread.as_bytes()));
        let held = held(oldest.since_ms);
        rows.push(Line::from(vec![
            Span::styled(" SNAPSHOTS  ", theme.strong),
            Span::raw(format!("{count}, {kept} kept; the oldest: {holder}, {held}, {thread}")),
        ]));
    }
    for snapshot in stats.snapshots.iter().take(shown_max) {
        let thread = end_of(&shown(snapshot.thread.as_bytes()), 24);
        let (held, kept) = (held(snapshot.since_ms), size(snapshot.kept_bytes));
        let (holder, records) = (shown(snapshot.holder.as_bytes()), grouped(snapshot.kept_records));
        rows.push(Line::from(format!(
            "   {holder:<12}  {held:>8}  {kept:>11} kept in {records} records  {thread}"
        )));
    }
    if !stats.pinned_files.is_empty() {
        let files = match stats.pinned_files.len() {
            1 => "1 file".to_owned(),
            n => format!("{n} files"),
        };
        rows.push(Line::from(vec![
            Span::styled(" PINNED  ", theme.strong),
            Span::raw(format!(
                "{files}, merged away but still read: the space is free when that ends"
            )),
        ]));
    }
    rows
}
