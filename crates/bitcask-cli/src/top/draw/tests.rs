//! Screens are compared with text files in `screens`; `UPDATE_GOLDENFILES=1` writes them.

use std::fs;
use std::path::Path;
use std::time::Duration;

use bitcask::Stats;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;

use super::super::fixtures::{Writer, process};
use super::super::keys::Key;
use super::super::rates::{Rates, Times};
use super::super::source::Look;
use super::*;

const NOW_MS: u64 = 1_700_000_600_000;
const MIB: u64 = 1 << 20;

/// A store at work, with so many files.
fn busy(files: u64) -> Stats {
    let writer = Writer::new();
    writer.put(1);
    let mut stats = writer.stats();
    stats.keys = 1_234_567;
    stats.expiring_keys = 890;
    stats.keydir_bytes = 15 * MIB;
    stats.ordered_bytes = 20 * MIB;
    (stats.gets, stats.puts, stats.deletes) = (12_345_678, 2_345_678, 345_678);
    (stats.batches, stats.transactions, stats.conflicts) = (45_678, 5_678, 67);
    (stats.syncs, stats.merges, stats.reclaimed_bytes) = (1234, 12, 345 * MIB);
    let file = stats.files.remove(0);
    for id in 1..=files {
        let mut file = file.clone();
        file.id = id;
        file.path = format!("store/{id:012}.data").into();
        (file.active, file.sealed) = (id == files, id < files);
        file.bytes = 64 * MIB - id * MIB / 7;
        file.dead_bytes = file.bytes * (id * 5 % 11) / 11;
        file.tombstone_bytes = id * 1000;
        stats.files.push(file);
    }
    stats
}

fn with_merge_and_snapshots(mut stats: Stats) -> Stats {
    let merge = stats.merge.get_or_insert_default();
    (merge.files, merge.files_done) = (7, 3);
    (merge.bytes, merge.bytes_read, merge.bytes_written) = (448 * MIB, 200 * MIB, 99 * MIB);
    let writer = Writer::new();
    let snapshots = [writer.snapshot(), writer.snapshot()];
    stats.snapshots = writer.stats().snapshots;
    drop(snapshots);
    for (n, snapshot) in (1..).zip(&mut stats.snapshots) {
        snapshot.thread = format!("worker-{n}");
        snapshot.since_ms = NOW_MS - 130_000 / n;
        (snapshot.kept_records, snapshot.kept_bytes) = (12_000 / n, 3 * MIB / n);
    }
    stats.pinned_files.push("store/000000000001.data".into());
    stats
}

/// Ten minutes of work, the last second of them now.
fn state(stats: Stats) -> State {
    let mut state = State::new(Path::new("/data/store"), Duration::from_secs(1));
    let at_ms = NOW_MS - 400;
    state.take(Look { process: Some(process(at_ms)), stats: Some(stats) }, NOW_MS);
    for second in 0..150_u32 {
        let wave = f64::from(second % 60) / 60.0;
        let rates = [150_000.0 * wave, 20_000.0 * (1.0 - wave), 500.0, 0.0, 3.25, 0.1, 1.0];
        let from = NOW_MS - 150_000 + u64::from(second) * 1000;
        state.history.fill(from, from + 999, rates);
    }
    let times = Times { count: 1562, ns: [703, 4_100, 98_000, 12_500_000] };
    let none = Times::default();
    state.times = [Times { count: 345_678, ..times }, times, Times { count: 0, ..none }];
    state.rates = Some(Rates {
        over_ms: 1000,
        per_second: [123_456.4, 20_000.0, 500.0, 0.0, 3.25, 0.1, 1.0],
        times: [times, none, none],
        merge_bytes: 20.0 * MIB as f64,
    });
    state
}

fn drawn(state: &mut State, width: u16, height: u16, is_colored: bool) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    state.resize(usize::from(height));
    let frame = terminal.draw(|frame| draw(frame, state, &Theme::new(is_colored))).unwrap();
    frame.buffer.clone()
}

fn text(buffer: &Buffer) -> String {
    let mut text = String::new();
    for row in buffer.content.chunks(usize::from(buffer.area.width).max(1)) {
        let row: String = row.iter().map(|cell| cell.symbol()).collect();
        text += row.trim_end();
        text.push('\n');
    }
    text
}

#[track_caller]
fn check(name: &str, state: &mut State, width: u16, height: u16) {
    let text = text(&drawn(state, width, height, false));
    assert!(text.is_ascii(), "{text}");
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/top/draw/screens");
    let path = dir.join(format!("{name}.txt"));
    if std::env::var_os("UPDATE_GOLDENFILES").is_some() {
        fs::create_dir_all(&dir).unwrap();
        fs::write(&path, &text).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap();
    assert!(text == expected, "{name} is\n{text}\nand should be\n{expected}");
}

#[test]
fn a_small_screen_shows_the_most_important() {
    check("busy-80x24", &mut state(busy(4)), 80, 24);
    check("merging-80x24", &mut state(with_merge_and_snapshots(busy(40))), 80, 24);
    check("narrow-60x14", &mut state(busy(4)), 60, 14);
}

#[test]
fn a_large_screen_shows_more() {
    check("busy-120x40", &mut state(busy(4)), 120, 40);
    check("merging-120x40", &mut state(with_merge_and_snapshots(busy(40))), 120, 40);
}

#[test]
fn what_is_not_known_is_not_shown() {
    let stats = busy(4);
    let mut state = State::new(Path::new("/data/store"), Duration::from_millis(250));
    check("nothing-80x24", &mut state, 80, 24);
    state.take(Look { process: None, stats: Some(stats.clone()) }, NOW_MS);
    check("no-process-80x24", &mut state, 80, 24);
    state.take(Look { process: Some(process(0)), stats: None }, NOW_MS);
    check("just-opened-80x24", &mut state, 80, 24);
    state.take(Look { process: Some(process(NOW_MS)), stats: Some(stats) }, NOW_MS + 500);
    check("first-look-80x24", &mut state, 80, 24);
}

#[test]
fn trouble_is_seen() {
    let mut stats = busy(4);
    stats.poisoned = Some("sync of 000000000004.data failed".into());
    stats.merge_paused = true;
    let mut state = state(stats.clone());
    assert!(state.press(Key::Pause).is_continue());
    let error = bitcask::Options::new().open_read_only("no/such/store").unwrap_err();
    state.fail(&error, NOW_MS);
    check("trouble-80x24", &mut state, 80, 24);
    state.take(Look { process: Some(process(NOW_MS - 400)), stats: Some(stats) }, NOW_MS + 200_000);
    assert!(state.press(Key::Help).is_continue());
    check("help-80x24", &mut state, 80, 24);
}

#[test]
fn every_size_is_drawn() {
    let mut states = [
        state(busy(4)),
        state(with_merge_and_snapshots(busy(40))),
        State::new(Path::new("/a/long/way/down/to/the/store"), Duration::from_secs(1)),
    ];
    for state in &mut states {
        for (width, height) in (0..130).step_by(3).flat_map(|w| (0..45).map(move |h| (w, h))) {
            // The last row is always that of the keys.
            let text = text(&drawn(state, width, height, true));
            let last = text.lines().last().unwrap_or_default();
            assert!(width < 9 || height == 0 || last.starts_with(" q leave"), "{text}");
        }
        state.shows_help = true;
        for (width, height) in [(1, 1), (20, 5), (80, 24), (200, 60)] {
            drawn(state, width, height, true);
        }
    }
}

#[test]
fn without_color_there_is_none() {
    let mut state = state(with_merge_and_snapshots(busy(4)));
    let colors = |buffer: &Buffer| {
        buffer.content.iter().filter(|c| (c.fg, c.bg) != (Color::Reset, Color::Reset)).count()
    };
    assert_eq!(colors(&drawn(&mut state, 80, 24, false)), 0);
    let colored = drawn(&mut state, 80, 24, true);
    assert!(colors(&colored) > 50);
    // Whatever the background of the terminal is.
    assert!(colored.content.iter().all(|cell| cell.bg == Color::Reset));
}

#[test]
fn numbers_are_short_for_people() {
    for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
        assert_eq!(grouped(number), text);
    }
    for (number, text) in
        [(0.0, "0"), (0.04, "<0.1"), (3.25, "3.2"), (9.96, "10"), (1234.5, "1,235")]
    {
        assert_eq!(rate(number), text);
    }
    for (ms, text) in [
        (999, "0 s"),
        (119_999, "119 s"),
        (120_000, "2 min"),
        (7_200_000, "2 h"),
        (1 << 30, "12 days"),
    ] {
        assert_eq!(span(ms), text);
    }
    assert_eq!((end_of("abcdef", 6), end_of("abcdef", 5)), ("abcdef".into(), "..def".into()));
    assert_eq!(end_of("abcdef", 0), "..");
}
