//! Figures beside their targets, as a table while they come, or as JSON at the end.

use std::io::{self, Write};

use serde_json::{Value, json};

use crate::Result;
use crate::machine::Machine;
use crate::statistics::Pair;

/// What was promised.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Target {
    AtLeast(f64),
    AtMost(f64),
    /// Of the ratio to the bare operation.
    RatioAtMost(f64),
}

/// One line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    name: String,
    unit: &'static str,
    measured: f64,
    bare: Option<f64>,
    /// How many times as much time as the bare operation.
    ratio: Option<f64>,
    target: Option<Target>,
    note: String,
}

impl Figure {
    /// A figure without a bare operation.
    pub(crate) fn new(name: impl Into<String>, unit: &'static str, measured: f64) -> Self {
        let (name, note) = (name.into(), String::new());
        Self { name, unit, measured, bare: None, ratio: None, target: None, note }
    }

    /// Operations a second, in millions, from seconds an operation.
    pub(crate) fn rate(name: impl Into<String>, seconds: &Pair) -> Self {
        let rate = |seconds: f64| 1e-6 / seconds;
        Self {
            bare: Some(rate(seconds.bare())),
            ratio: Some(seconds.ratio()),
            ..Self::new(name, "M/s", rate(seconds.ours()))
        }
    }

    /// Microseconds an operation, from seconds.
    pub(crate) fn time(name: impl Into<String>, seconds: &Pair) -> Self {
        Self {
            bare: Some(seconds.bare() * 1e6),
            ratio: Some(seconds.ratio()),
            ..Self::new(name, "us", seconds.ours() * 1e6)
        }
    }

    /// A figure of which more is worse.
    pub(crate) fn cost(name: impl Into<String>, unit: &'static str, pair: &Pair) -> Self {
        let (bare, ratio) = (Some(pair.bare()), Some(pair.ratio()));
        Self { bare, ratio, ..Self::new(name, unit, pair.ours()) }
    }

    /// A figure of which more is better.
    pub(crate) fn gain(name: impl Into<String>, unit: &'static str, pair: &Pair) -> Self {
        let (bare, ratio) = (Some(pair.bare()), Some(1.0 / pair.ratio()));
        Self { bare, ratio, ..Self::new(name, unit, pair.ours()) }
    }

    pub(crate) fn at_least(mut self, target: f64) -> Self {
        self.target = Some(Target::AtLeast(target));
        self
    }

    pub(crate) fn at_most(mut self, target: f64) -> Self {
        self.target = Some(Target::AtMost(target));
        self
    }

    pub(crate) fn ratio_at_most(mut self, target: f64) -> Self {
        self.target = Some(Target::RatioAtMost(target));
        self
    }

    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    /// Whether the target is met, if there is one. What could not be measured does not meet it.
    fn met(&self) -> Option<bool> {
        self.target.map(|target| match target {
            Target::AtLeast(least) => self.measured >= least,
            Target::AtMost(most) => self.measured <= most,
            Target::RatioAtMost(most) => self.ratio.is_some_and(|ratio| ratio <= most),
        })
    }

    fn target_text(&self) -> Option<String> {
        self.target.map(|target| match target {
            Target::AtLeast(least) => format!(">= {least}"),
            Target::AtMost(most) => format!("<= {most}"),
            Target::RatioAtMost(most) => format!("<= {most} x bare"),
        })
    }

    fn line(&self) -> String {
        let number = |number: Option<f64>| number.map_or_else(String::new, digits);
        let verdict = match self.met() {
            None => "",
            Some(true) => "met",
            Some(false) => "MISSED",
        };
        let line = format!(
            "{:<46} {:>9} {:<7} {:<12} {:<7} {:>8} {:>6}  {}",
            self.name,
            digits(self.measured),
            self.unit,
            self.target_text().unwrap_or_default(),
            verdict,
            number(self.bare),
            number(self.ratio),
            self.note
        );
        line.trim_end().to_owned()
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name,
            "measured": self.measured,
            "unit": self.unit,
            "target": self.target_text(),
            "met": self.met(),
            "bare": self.bare,
            "ratio": self.ratio,
            "note": self.note,
        })
    }
}

/// Three digits, or what it takes up to the point.
pub(crate) fn digits(number: f64) -> String {
    match number.abs() {
        size if size >= 99.95 => format!("{number:.0}"),
        size if size >= 9.995 => format!("{number:.1}"),
        size if size >= 0.0995 || size == 0.0 => format!("{number:.2}"),
        _ => format!("{number:.4}"),
    }
}

/// How a report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Table,
    Json,
}

/// Takes figures as they come. What is done at the moment goes to standard error.
pub(crate) struct Report {
    format: Format,
    machine: Machine,
    figures: Vec<Figure>,
}

impl Report {
    pub(crate) fn begin(format: Format, machine: Machine, setting: &str) -> Result<Self> {
        if format == Format::Table {
            let mut out = io::stdout().lock();
            writeln!(out, "{}", machine.line())?;
            writeln!(out, "{setting}")?;
            writeln!(
                out,
                "ratio: times as long as the bare operation, the median of the rounds' ratios\n"
            )?;
            writeln!(
                out,
                "{:<46} {:>9} {:<7} {:<12} {:<7} {:>8} {:>6}  note",
                "name", "measured", "", "target", "", "bare", "ratio"
            )?;
        }
        Ok(Self { format, machine, figures: Vec::new() })
    }

    /// Says what is being measured.
    pub(crate) fn theme(&self, name: &str) -> Result<()> {
        if self.format == Format::Table {
            return Ok(writeln!(io::stdout().lock(), "-- {name}")?);
        }
        Ok(writeln!(io::stderr().lock(), "measuring: {name}")?)
    }

    pub(crate) fn add(&mut self, figure: Figure) -> Result<()> {
        if self.format == Format::Table {
            writeln!(io::stdout().lock(), "{}", figure.line())?;
        }
        self.figures.push(figure);
        Ok(())
    }

    /// Ends the report. A missed target is told and is no failure.
    pub(crate) fn end(self) -> Result<()> {
        let mut out = io::stdout().lock();
        if self.format == Format::Json {
            let figures: Vec<_> = self.figures.iter().map(Figure::json).collect();
            let all = json!({ "machine": self.machine.json(), "figures": figures });
            return Ok(writeln!(out, "{all:#}")?);
        }
        let met = |wanted| self.figures.iter().filter(|f| f.met() == Some(wanted)).count();
        Ok(writeln!(out, "\ntargets met: {}, missed: {}", met(true), met(false))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_judged_by_what_they_are_about() {
        let pair = Pair::of(&[(2e-6, 1e-6)]);
        assert_eq!(Figure::rate("a", &pair).met(), None);
        assert_eq!(Figure::rate("a", &pair).at_least(0.5).met(), Some(true));
        assert_eq!(Figure::rate("a", &pair).at_least(0.6).met(), Some(false));
        assert_eq!(Figure::time("a", &pair).at_most(2.0).met(), Some(true));
        assert_eq!(Figure::time("a", &pair).ratio_at_most(1.9).met(), Some(false));
        assert_eq!(Figure::new("a", "x", f64::NAN).at_most(1.0).met(), Some(false));
        assert_eq!(Figure::new("a", "x", 1.0).ratio_at_most(1.0).met(), Some(false));
    }

    #[test]
    fn ratios_say_how_much_worse() {
        let pair = Pair::of(&[(2.0, 4.0)]);
        assert_eq!(Figure::cost("a", "x", &pair).ratio, Some(0.5));
        assert_eq!(Figure::gain("a", "x", &pair).ratio, Some(2.0));
    }

    #[test]
    fn numbers_have_three_digits() {
        let numbers = [0.0, 0.01234, 0.5, 9.99, 12.34, 99.96, 12345.6];
        assert_eq!(numbers.map(digits), ["0.00", "0.0123", "0.50", "9.99", "12.3", "100", "12346"]);
    }

    #[test]
    fn a_line_and_its_json_say_the_same() {
        let figure = Figure::rate("get", &Pair::of(&[(1e-6, 5e-7)])).at_least(1.8).note("n");
        let line: Vec<_> = figure.line().split_whitespace().map(str::to_owned).collect();
        assert_eq!(line, ["get", "1.00", "M/s", ">=", "1.8", "MISSED", "2.00", "2.00", "n"]);
        let json = figure.json();
        assert_eq!(
            (&json["name"], &json["met"], &json["target"]),
            (&json!("get"), &json!(false), &json!(">= 1.8"))
        );
    }
}
