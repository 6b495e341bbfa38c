//! Two builds compared: this program and another build of it run in turn, each as a process of its own.
//!
//! A figure from one run and the same figure from another day's run tell little about what changed in between; the
//! machine changed, too. Here both builds run within the same minutes, the other one first in every second
//! round, and what counts is the median of the rounds' ratios. The other build may be an older one: it needs to
//! know `--json`, `--rounds`, `--only`, `--dir` and `--keys`, and only figures that both have are compared.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::Result;
use crate::report::{Format, digits};
use crate::statistics::{Pair, interleave};

/// Units of which less is better; of others more is.
const COSTS: [&str; 6] = ["B/key", "B/doc", "ns", "us", "ms", "s"];

/// How both builds are run.
#[derive(Debug)]
pub(crate) struct Comparison {
    /// The other build.
    pub(crate) against: PathBuf,
    /// The themes' names, separated by commas.
    pub(crate) only: String,
    pub(crate) dir: PathBuf,
    pub(crate) keys: u64,
    pub(crate) rounds: usize,
}

/// The figures of one run: name and unit, and what was measured.
type Figures = BTreeMap<(String, String), f64>;

/// A figure that both builds have.
struct Compared {
    name: String,
    unit: String,
    pair: Pair,
    /// The smallest and the largest ratio of a round.
    range: (f64, f64),
}

pub(crate) fn run(comparison: &Comparison, format: Format) -> Result<()> {
    let this = std::env::current_exe()?;
    let ours = || comparison.figures(&this);
    let rounds = interleave(comparison.rounds, ours, || comparison.figures(&comparison.against))?;
    let compared = compare(&rounds);
    if compared.is_empty() {
        return Err("the two builds have no figure in common".into());
    }
    let mut out = io::stdout().lock();
    match format {
        Format::Json => {
            let compared: Vec<_> = compared.iter().map(Compared::json).collect();
            writeln!(out, "{:#}", json!({ "compared": compared }))?;
        }
        Format::Table => {
            writeln!(out, "other: {}, rounds: {}", comparison.against.display(), rounds.len())?;
            writeln!(out, "gain: how many times as good as the other, the median of the rounds\n")?;
            let heads = ["name", "this", "", "other", "gain", "lowest", "highest"];
            let [name, this, unit, other, gain, lowest, highest] = heads;
            writeln!(
                out,
                "{name:<46} {this:>9} {unit:<6} {other:>9} {gain:>7} {lowest:>7} {highest:>7}"
            )?;
            compared.iter().try_for_each(|compared| writeln!(out, "{}", compared.line()))?;
        }
    }
    Ok(())
}

impl Comparison {
    fn figures(&self, program: &Path) -> Result<Figures> {
        writeln!(io::stderr().lock(), "running {}", program.display())?;
        let mut command = Command::new(program);
        command.args(["--json", "--rounds", "1", "--only", &self.only]);
        command.arg("--keys").arg(self.keys.to_string()).arg("--dir").arg(&self.dir);
        // What it says of itself comes through if it fails.
        let output = command.stdin(Stdio::null()).output();
        let output = output.map_err(|e| format!("cannot run {}: {e}", program.display()))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{}: {}: {said}", program.display(), output.status).into());
        }
        parse(&output.stdout)
    }
}

fn parse(report: &[u8]) -> Result<Figures> {
    let report: Value = serde_json::from_slice(report)?;
    let figures = report["figures"].as_array().ok_or("a report without figures")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let figure = |figure: &Value| {
        Some(((text(&figure["name"]), text(&figure["unit"])), figure["measured"].as_f64()?))
    };
    Ok(figures.iter().filter_map(figure).collect())
}

/// What every run of both has.
fn compare(rounds: &[(Figures, Figures)]) -> Vec<Compared> {
    let Some((first, _)) = rounds.first() else { return Vec::new() };
    let compared = first.keys().filter_map(|figure| {
        let both =
            rounds.iter().map(|(ours, other)| Some((*ours.get(figure)?, *other.get(figure)?)));
        let both = both.collect::<Option<Vec<_>>>()?;
        let (name, unit) = figure.clone();
        let gains: Vec<_> = both.iter().map(|&(ours, other)| gain(&unit, ours / other)).collect();
        let lowest = gains.iter().copied().fold(f64::NAN, f64::min);
        let highest = gains.iter().copied().fold(f64::NAN, f64::max);
        Some(Compared { name, unit, pair: both.into(), range: (lowest, highest) })
    });
    compared.collect()
}

/// How many times as good as the other, from how many times as much.
fn gain(unit: &str, ratio: f64) -> f64 {
    if COSTS.contains(&unit) { 1.0 / ratio } else { ratio }
}

impl Compared {
    fn gain(&self) -> f64 {
        gain(&self.unit, self.pair.ratio())
    }

    fn line(&self) -> String {
        let [this, other] = [self.pair.ours(), self.pair.bare()].map(digits);
        let [gain, lowest, highest] = [self.gain(), self.range.0, self.range.1];
        let Self { name, unit, .. } = self;
        format!(
            "{name:<46} {this:>9} {unit:<6} {other:>9} {gain:>7.3} {lowest:>7.3} {highest:>7.3}"
        )
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name,
            "unit": self.unit,
            "this": self.pair.ours(),
            "other": self.pair.bare(),
            "gain": self.gain(),
            "lowest": self.range.0,
            "highest": self.range.1,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(figures: &[(&str, &str, f64)]) -> Figures {
        let figure = |&(name, unit, measured): &(&str, &str, f64)| {
            ((name.to_owned(), unit.to_owned()), measured)
        };
        figures.iter().map(figure).collect()
    }

    #[test]
    fn figures_are_read_from_a_report() {
        let report = json!({ "figures": [
            { "name": "put", "unit": "M/s", "measured": 3.5 },
            { "name": "nothing", "unit": "us", "measured": null },
        ]});
        let parsed = parse(report.to_string().as_bytes()).unwrap();
        assert_eq!(parsed, figures(&[("put", "M/s", 3.5)]));
        assert!(parse(b"{}").is_err());
    }

    #[test]
    fn only_what_both_builds_have_is_compared() {
        let ours = figures(&[("get", "M/s", 2.0), ("new", "M/s", 1.0)]);
        let other = figures(&[("get", "M/s", 1.0), ("old", "M/s", 1.0)]);
        let compared = compare(&[(ours, other)]);
        assert_eq!(compared.len(), 1);
        assert_eq!((&*compared[0].name, compared[0].gain()), ("get", 2.0));
    }

    #[test]
    fn of_costs_less_is_a_gain() {
        let ours = figures(&[("get", "us", 2.0)]);
        let rounds = [(ours.clone(), figures(&[("get", "us", 4.0)])), (ours.clone(), ours)];
        let compared = &compare(&rounds)[0];
        assert_eq!((compared.gain(), compared.range), (1.0 / 0.75, (1.0, 2.0)));
    }
}
