//! What follows from looks at a store and from keys. Knows no clock, no terminal and no files.

use std::cmp::Reverse;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use bitcask::{Error, FileStats, Stats};

use super::history::History;
use super::keys::Key;
use super::plan::Plan;
use super::rates::{Rates, TIMED, Times};
use super::source::{Look, Process};
use crate::text::shown;

/// From which age on it is said how old figures are.
const OLD_MS: u64 = 3000;
/// A process that has told nothing for so long has nothing to tell, even if it looks rarely.
const QUIET_MS_MAX: u64 = 9000;
/// How often it can be looked, by keys.
const INTERVALS_MS: [u64; 9] = [100, 250, 500, 1000, 2000, 5000, 10_000, 30_000, 60_000];

/// How files are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// As they were written.
    Number,
    /// Those first that have the most dead bytes.
    Dead,
}

#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(super) dir: String,
    pub(super) interval: Duration,
    pub(super) is_paused: bool,
    pub(super) shows_help: bool,
    /// Rows of the screen.
    pub(super) height: usize,
    /// None until somebody chooses.
    order: Option<Order>,
    /// Files that are scrolled over.
    scroll: usize,
    /// When it was looked.
    pub(super) now_ms: u64,
    pub(super) process: Option<Process>,
    pub(super) stats: Option<Stats>,
    pub(super) rates: Option<Rates>,
    /// Since the store was opened.
    pub(super) times: [Times; TIMED.len()],
    pub(super) history: History,
    /// Why it could not be looked the last time.
    pub(super) trouble: Option<String>,
}

impl State {
    pub(crate) fn new(dir: &Path, interval: Duration) -> Self {
        Self {
            dir: shown(dir.as_os_str().as_encoded_bytes()),
            interval,
            is_paused: false,
            shows_help: false,
            height: 24,
            order: None,
            scroll: 0,
            now_ms: 0,
            process: None,
            stats: None,
            rates: None,
            times: Default::default(),
            history: History::default(),
            trouble: None,
        }
    }

    /// Takes in what was seen in a look.
    pub(crate) fn take(&mut self, look: Look, now_ms: u64) {
        self.now_ms = now_ms;
        self.trouble = None;
        let told = self.process.as_ref().zip(self.stats.as_ref());
        if let Some(later) = look.process.as_ref().zip(look.stats.as_ref()) {
            let is_new = told.is_none_or(|(process, _)| *process != *later.0);
            if is_new {
                self.times = Times::all(later.1);
                self.rates = told.and_then(|earlier| Rates::between(earlier, later));
                if let (Some(rates), Some((earlier, _))) = (&self.rates, told) {
                    self.history.fill(earlier.at_ms, later.0.at_ms, rates.per_second);
                }
            }
        } else {
            self.rates = None;
        }
        (self.process, self.stats) = (look.process, look.stats);
        if self.counted().is_some() && self.age_ms() > self.quiet_ms() {
            self.rates = Some(Rates::default());
        }
        self.scroll_to(self.scroll);
    }

    /// It could not be looked: what was seen before stays.
    pub(crate) fn fail(&mut self, error: &Error, now_ms: u64) {
        self.now_ms = now_ms;
        self.trouble = Some(format!("cannot look: {}", shown(error.to_string().as_bytes())));
    }

    /// What a key does; `Break` to leave.
    pub(crate) fn press(&mut self, key: Key) -> ControlFlow<()> {
        let page = self.plan().files.max(1);
        match key {
            Key::Leave => return ControlFlow::Break(()),
            Key::Back if !self.shows_help => return ControlFlow::Break(()),
            Key::Back => self.shows_help = false,
            Key::Help => self.shows_help = !self.shows_help,
            Key::Pause => self.is_paused = !self.is_paused,
            Key::LessOften => self.set_interval(INTERVALS_MS.iter().find(|&&ms| ms > self.ms())),
            Key::MoreOften => {
                self.set_interval(INTERVALS_MS.iter().rev().find(|&&ms| ms < self.ms()));
            }
            Key::Sort => {
                self.order = Some(match self.order() {
                    Order::Number => Order::Dead,
                    Order::Dead => Order::Number,
                });
                self.scroll = 0;
            }
            Key::Up => self.scroll_to(self.scroll.saturating_sub(1)),
            Key::Down => self.scroll_to(self.scroll + 1),
            Key::PageUp => self.scroll_to(self.scroll.saturating_sub(page)),
            Key::PageDown => self.scroll_to(self.scroll + page),
            Key::First => self.scroll_to(0),
            Key::Last => self.scroll_to(usize::MAX),
            Key::Redraw => {}
        }
        ControlFlow::Continue(())
    }

    /// The screen has so many rows.
    pub(crate) fn resize(&mut self, height: usize) {
        self.height = height;
        self.scroll_to(self.scroll);
    }

    fn ms(&self) -> u64 {
        u64::try_from(self.interval.as_millis()).unwrap_or(u64::MAX)
    }

    fn set_interval(&mut self, ms: Option<&u64>) {
        if let Some(&ms) = ms {
            self.interval = Duration::from_millis(ms);
        }
    }

    fn scroll_to(&mut self, scroll: usize) {
        let files = self.stats.as_ref().map_or(0, |stats| stats.files.len());
        self.scroll = scroll.min(files.saturating_sub(self.plan().files));
    }

    pub(crate) fn interval(&self) -> Duration {
        self.interval
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.is_paused
    }

    pub(super) fn plan(&self) -> Plan {
        Plan::of(self, self.height)
    }

    /// What a process tells that counts.
    pub(super) fn counted(&self) -> Option<&Stats> {
        self.process.as_ref().and(self.stats.as_ref())
    }

    /// How long ago the process told.
    pub(super) fn age_ms(&self) -> u64 {
        self.process.as_ref().map_or(0, |process| self.now_ms.saturating_sub(process.at_ms))
    }

    /// The age, if it is worth to be told.
    pub(super) fn old_ms(&self) -> Option<u64> {
        self.counted().map(|_| self.age_ms()).filter(|&ms| ms > OLD_MS)
    }

    /// After so long nothing has happened: the process tells each second while something does, less often if
    /// there is very much to tell.
    fn quiet_ms(&self) -> u64 {
        let over_ms = self.rates.as_ref().map_or(0, |rates| rates.over_ms);
        over_ms.saturating_mul(2).clamp(OLD_MS, QUIET_MS_MAX)
    }

    /// How files are sorted. The worst are to be seen.
    pub(super) fn order(&self) -> Order {
        let files = self.stats.as_ref().map_or(0, |stats| stats.files.len());
        let by_itself = if files > self.plan().files { Order::Dead } else { Order::Number };
        self.order.unwrap_or(by_itself)
    }

    /// The files that are to be seen, and how many are above them.
    pub(super) fn files(&self) -> (usize, Vec<&FileStats>) {
        let mut files: Vec<_> = self.stats.iter().flat_map(|stats| &stats.files).collect();
        if self.order() == Order::Dead {
            files.sort_by_key(|file| (Reverse(file.dead_bytes), file.id));
        }
        let above = self.scroll.min(files.len());
        (above, files.into_iter().skip(above).take(self.plan().files).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{Writer, process};
    use super::*;

    fn state() -> State {
        State::new(Path::new("store"), Duration::from_secs(1))
    }

    fn told(at_ms: u64, stats: &Stats) -> Look {
        Look { process: Some(process(at_ms)), stats: Some(stats.clone()) }
    }

    /// Figures with so many files, the first with the fewest dead bytes.
    fn with_files(count: u64) -> Stats {
        let writer = Writer::new();
        writer.put(1);
        let mut stats = writer.stats();
        let file = stats.files[0].clone();
        stats.files.clear();
        for id in 1..=count {
            let mut file = file.clone();
            (file.id, file.bytes, file.dead_bytes) = (id, 1000, id);
            stats.files.push(file);
        }
        stats
    }

    #[test]
    fn rates_stand_until_something_else_is_told_and_fall_when_nothing_is() {
        let mut stats = Writer::new().stats();
        let mut state = state();
        state.take(told(10_000, &stats), 10_500);
        assert_eq!((&state.rates, state.old_ms()), (&None, None));
        stats.gets += 100;
        state.take(told(11_000, &stats), 11_500);
        let gets = |state: &State| state.rates.as_ref().unwrap().per_second[0];
        assert_eq!(gets(&state), 100.0);
        // It was looked sooner than something was told.
        state.take(told(11_000, &stats), 11_700);
        assert_eq!(gets(&state), 100.0);
        state.take(told(11_000, &stats), 14_001);
        assert_eq!((gets(&state), state.old_ms()), (0.0, Some(3001)));
        // What is told late happened in all of the time before.
        stats.gets += 70;
        state.take(told(18_000, &stats), 18_100);
        assert_eq!((gets(&state), state.old_ms()), (10.0, None));
        // Who tells every seven seconds may do so again.
        state.take(told(18_000, &stats), 26_900);
        assert_eq!(gets(&state), 10.0);
        state.take(told(18_000, &stats), 27_001);
        assert_eq!(gets(&state), 0.0);
    }

    #[test]
    fn what_was_told_long_ago_is_quiet_from_the_first_look() {
        let stats = Writer::new().stats();
        let mut state = state();
        state.take(told(10_000, &stats), 60_000);
        assert_eq!((&state.rates, state.old_ms()), (&Some(Rates::default()), Some(50_000)));
        // Nobody has it open any more, and later somebody else.
        state.take(Look { process: None, stats: Some(stats.clone()) }, 61_000);
        assert!(state.rates.is_none() && state.counted().is_none() && state.old_ms().is_none());
        state.take(Look { process: Some(process(0)), stats: None }, 62_000);
        assert!(state.rates.is_none() && state.counted().is_none() && state.old_ms().is_none());
        state.take(told(63_000, &stats), 63_000);
        assert!(state.rates.is_none() && state.counted().is_some());
    }

    #[test]
    fn keys_change_how_it_is_looked() {
        let mut state = state();
        let mut press = |key| (state.press(key).is_break(), state.interval, state.shows_help);
        let s = Duration::from_secs;
        assert_eq!(press(Key::LessOften), (false, s(2), false));
        assert_eq!(press(Key::MoreOften), (false, s(1), false));
        assert_eq!(press(Key::MoreOften), (false, Duration::from_millis(500), false));
        assert_eq!(press(Key::Help), (false, Duration::from_millis(500), true));
        assert_eq!(press(Key::Back), (false, Duration::from_millis(500), false));
        assert!(press(Key::Back).0 && press(Key::Leave).0);
        for _ in 0..20 {
            press(Key::LessOften);
        }
        assert_eq!(press(Key::LessOften).1, s(60));
        state.interval = s(3);
        assert!(state.press(Key::LessOften).is_continue());
        assert_eq!(state.interval, s(5));
        assert!(state.press(Key::Pause).is_continue() && state.is_paused);
        assert!(state.press(Key::Pause).is_continue() && !state.is_paused);
    }

    #[test]
    fn the_worst_files_come_first_where_not_all_can_be_seen() {
        let mut state = state();
        let ids = |state: &State| {
            let (above, files) = state.files();
            (above, files.iter().map(|file| file.id).collect::<Vec<_>>())
        };
        state.take(told(1000, &with_files(3)), 1000);
        assert_eq!((state.order(), ids(&state)), (Order::Number, (0, vec![1, 2, 3])));
        assert!(state.press(Key::Sort).is_continue());
        assert_eq!(ids(&state), (0, vec![3, 2, 1]));
        state.order = None;

        state.take(told(2000, &with_files(100)), 2000);
        let rows = state.plan().files;
        assert!((3..10).contains(&rows), "{rows}");
        assert_eq!((state.order(), ids(&state).1[0]), (Order::Dead, 100));
        assert!(state.press(Key::Down).is_continue());
        assert_eq!((ids(&state).0, ids(&state).1[0]), (1, 99));
        assert!(state.press(Key::PageDown).is_continue());
        assert_eq!(ids(&state).0, 1 + rows);
        assert!(state.press(Key::Last).is_continue() && state.press(Key::Down).is_continue());
        assert_eq!((ids(&state).0, *ids(&state).1.last().unwrap()), (100 - rows, 1));
        assert!(state.press(Key::PageUp).is_continue() && state.press(Key::Up).is_continue());
        assert_eq!(ids(&state).0, 100 - 2 * rows - 1);
        assert!(state.press(Key::Sort).is_continue());
        assert_eq!((ids(&state).0, ids(&state).1[0]), (0, 1));
        // A larger screen, and fewer files, leave nothing to scroll over.
        assert!(state.press(Key::Last).is_continue());
        state.resize(200);
        assert_eq!(ids(&state).0, 0);
        state.resize(24);
        assert!(state.press(Key::Last).is_continue());
        state.take(told(3000, &with_files(2)), 3000);
        assert_eq!(ids(&state), (0, vec![1, 2]));
    }
}
