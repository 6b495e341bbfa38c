//! What was done, counted: by the children as they go, printed for the parent, and added up there.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;

/// Counts by name. A child says where they stand several times a second; what it did after that and before it was killed is
/// not in the sum.
#[derive(Debug, Default)]
pub(crate) struct Counts(Mutex<BTreeMap<&'static str, u64>>);

/// Counts as they came from a child.
pub(crate) type Sums = BTreeMap<String, u64>;

impl Counts {
    pub(crate) fn add(&self, name: &'static str, n: u64) {
        // A thread that panicked while it counted ends the process.
        if let Ok(mut counts) = self.0.lock() {
            *counts.entry(name).or_default() += n;
        }
    }

    /// One line: names and counts.
    pub(crate) fn line(&self) -> String {
        let mut line = String::from("counts");
        if let Ok(counts) = self.0.lock() {
            for (name, count) in &*counts {
                write!(line, " {name}={count}").expect("a string takes any text");
            }
        }
        line
    }
}

/// The counts of a line, if it is one.
pub(crate) fn parse(line: &str) -> Option<Sums> {
    let counts = line.strip_prefix("counts")?.split_whitespace();
    counts
        .map(|count| {
            let (name, count) = count.split_once('=')?;
            Some((name.to_owned(), count.parse().ok()?))
        })
        .collect()
}

pub(crate) fn add_all(sums: &mut Sums, more: &Sums) {
    for (name, count) in more {
        *sums.entry(name.clone()).or_default() += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_all_counts() {
        let counts = Counts::default();
        counts.add("merges", 2);
        counts.add("gets", 1);
        counts.add("merges", 1);
        let mut sums = parse(&counts.line()).unwrap();
        add_all(&mut sums, &parse("counts merges=4").unwrap());
        assert_eq!((sums["merges"], sums["gets"]), (7, 1));
        assert_eq!(parse("ready"), None);
    }
}
