//! A screen of what is known, in ASCII, so that it is the same on each terminal.

mod activity;
mod help;
mod space;

use bitcask_random::whole;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::state::State;
use crate::output::size;
use crate::text::shown;

/// From this width on there is room for more columns.
const WIDE: usize = 104;

type Rows = Vec<Line<'static>>;

/// How things look. Colors are those that the terminal has by these names, so that its owner has chosen them to be legible.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Theme {
    title: Style,
    strong: Style,
    live: Style,
    dead: Style,
    plot: Style,
    bad: Style,
}

impl Theme {
    pub(crate) fn new(is_colored: bool) -> Self {
        let (plain, bold) = (Style::new(), Style::new().add_modifier(Modifier::BOLD));
        let of = |style: Style, color| if is_colored { style.fg(color) } else { style };
        Self {
            title: plain.add_modifier(Modifier::REVERSED),
            strong: bold,
            live: of(plain, Color::Green),
            dead: of(plain, Color::Red),
            plot: of(plain, Color::Cyan),
            bad: of(bold, Color::Red),
        }
    }
}

/// The state was told of the frame's height.
pub(crate) fn draw(frame: &mut Frame<'_>, state: &State, theme: &Theme) {
    let area = frame.area();
    let Some(above) = area.height.checked_sub(1) else { return };
    let width = usize::from(area.width);
    let plan = state.plan();
    let mut rows = header(state, theme, width);
    let mut add = |part: Rows| {
        if plan.is_airy && !part.is_empty() {
            rows.push(Line::default());
        }
        rows.extend(part);
    };
    if plan.operations {
        add(activity::operations(state, theme, width));
    }
    if plan.latencies {
        add(activity::latencies(state, theme, width));
    }
    add(space::files(state, theme, width));
    let mut last = Rows::new();
    if plan.merge {
        last.extend(activity::merge(state, theme, width));
    }
    last.extend(space::snapshots(state, theme, plan.snapshots));
    add(last);
    frame.render_widget(Paragraph::new(rows), Rect { height: above, ..area });
    let keys = Rect { y: area.y + above, height: 1, ..area };
    frame.render_widget(Paragraph::new(footer(theme)), keys);
    if state.shows_help {
        help::draw(frame, theme);
    }
}

/// Which store, who has it open, and how large it is.
fn header(state: &State, theme: &Theme, width: usize) -> Rows {
    let right =
        if state.is_paused { "PAUSED ".to_owned() } else { format!("every {:?} ", state.interval) };
    let name = " bitcask top  ";
    let room = width.saturating_sub(name.len() + right.len() + 1);
    let dir = end_of(&state.dir, room);
    let mut rows = vec![title(&format!("{name}{dir:<room$} {right}"), theme, width)];
    rows.push(Line::from(match (&state.process, &state.stats) {
        (None, None) => " nothing was seen yet".to_owned(),
        (None, Some(_)) => " no process has this store open; files as they are on disk".to_owned(),
        (Some(process), stats) => {
            let program = shown(process.program.as_bytes());
            let age = match (stats, state.old_ms()) {
                (None, _) => ": no figures yet, or those of another version".to_owned(),
                (_, Some(ms)) => format!(", as of {} ago", span(ms)),
                _ => String::new(),
            };
            format!(" process {} ({program}){age}", process.id)
        }
    }));
    rows.push(Line::from(state.stats.as_ref().map_or_else(String::new, totals)));
    if let Some(why) = state.stats.as_ref().and_then(|stats| stats.poisoned.as_ref()) {
        let why = shown(why.as_bytes());
        rows.push(Line::styled(
            format!(" NO MORE WRITES until it is opened again: {why}"),
            theme.bad,
        ));
    }
    if let Some(why) = &state.trouble {
        rows.push(Line::styled(format!(" {why}"), theme.bad));
    }
    rows
}

/// What matters most comes first: a small screen cuts the end.
fn totals(stats: &bitcask::Stats) -> String {
    let (all, dead) = (stats.bytes(), stats.dead_bytes());
    let mut text = format!(
        " disk {}, dead {} ({} %)   keys {}   keydir {}",
        size(all),
        size(dead),
        percent(dead, all),
        grouped(stats.keys),
        size(stats.keydir_bytes),
    );
    if stats.ordered_bytes > 0 {
        text += &format!("   ordered {}", size(stats.ordered_bytes));
    }
    if stats.expiring_keys > 0 {
        text += &format!("   {} expire", grouped(stats.expiring_keys));
    }
    text
}

fn footer(theme: &Theme) -> Line<'static> {
    let keys = [
        ("q", "leave"),
        ("p", "pause"),
        ("+ -", "interval"),
        ("s", "sort"),
        ("j k", "scroll"),
        ("h", "help"),
    ];
    let spans = keys.iter().flat_map(|(key, meaning)| {
        [Span::raw(" "), Span::styled(*key, theme.strong), Span::raw(format!(" {meaning} "))]
    });
    Line::from_iter(spans)
}

/// A row that heads others.
fn title(text: &str, theme: &Theme, width: usize) -> Line<'static> {
    Line::styled(format!("{text:<width$}"), theme.title)
}

/// A bar of so many characters: a part of it is live, the rest dead.
fn bar(dead: u64, all: u64, width: usize, theme: &Theme) -> [Span<'static>; 4] {
    let cells = width.saturating_sub(2);
    let dead = if all == 0 { 0.0 } else { dead as f64 / all as f64 };
    let dead = usize::try_from(whole((dead * cells as f64).round())).unwrap_or(cells).min(cells);
    [
        Span::raw("["),
        Span::styled("#".repeat(cells - dead), theme.live),
        Span::styled(".".repeat(dead), theme.dead),
        Span::raw("]"),
    ]
}

fn percent(part: u64, all: u64) -> String {
    let part = if all == 0 { 0.0 } else { part as f64 / all as f64 };
    format!("{:.0}", part * 100.0)
}

/// The end of a text that is too long: of a path it tells the most.
fn end_of(text: &str, chars_max: usize) -> String {
    let count = text.chars().count();
    if count <= chars_max {
        return text.to_owned();
    }
    let rest: String = text.chars().skip(count - chars_max.saturating_sub(2)).collect();
    format!("..{rest}")
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// So many a second; few with a digit behind the point.
fn rate(per_second: f64) -> String {
    match per_second {
        0.0 => "0".to_owned(),
        ..0.05 => "<0.1".to_owned(),
        ..9.95 => format!("{per_second:.1}"),
        _ => grouped(whole(per_second.round())),
    }
}

/// How long something has been.
fn span(ms: u64) -> String {
    let s = ms / 1000;
    match s {
        0..120 => format!("{s} s"),
        120..7200 => format!("{} min", s / 60),
        7200..172_800 => format!("{} h", s / 3600),
        _ => format!("{} days", s / 86_400),
    }
}

#[cfg(test)]
mod tests;
