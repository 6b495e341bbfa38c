//! Prints each figure that the project promises, beside its target and beside a bare operation that was
//! measured in the same run.
//!
//! The store and the bare operation take turns, several rounds long. A figure is the median of its rounds; its ratio
//! is the median of the rounds' ratios, and so says more than the figure on a machine that has other work to do.
//! Keys, values and orders are the same in each run. What makes keys is timed with what uses them, on both
//! sides: a few nanoseconds an operation.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::RangedU64ValueParser;
use clap::{Parser, ValueEnum};

use crate::against::Comparison;
use crate::bench::{Bench, FreshDir};
use crate::machine::Machine;
use crate::report::{Format, Report};

mod against;
mod bare;
mod bench;
mod checkpoints;
mod documents;
mod durable;
mod gets;
mod huge;
mod keys;
mod large;
mod machine;
mod memory;
mod merging;
mod opening;
mod ordered;
mod plain;
mod puts;
mod report;
mod snapshots;
mod statistics;
mod transactions;
mod verifying;
mod watching;

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Result<T> = std::result::Result<T, Failure>;

const KEYS: u64 = 2_000_000;

const EXAMPLES: &str = "\
Examples:
  cargo run --release -p bitcask-bench                          all promised figures
  cargo run --release -p bitcask-bench -- --only put,get        two themes of them
  cargo run --release -p bitcask-bench -- --keys 100000 --rounds 3
                                                                a quick look
  cargo run --release -p bitcask-bench -- --dir /mnt/disk       on another file system
  cargo run --release -p bitcask-bench -- --json > figures.json for programs
  cargo run --release -p bitcask-bench -- --against ../old/target/release/bitcask-bench --only put,get
                                                                this build and another, in turn
  cargo run --release -p bitcask-bench -- --huge                50 M keys; takes about 4 GiB of disk";

/// Prints the figures that the project promises, each beside its target and a bare operation.
///
/// A missed target is printed as missed; the exit code is 0 all the same.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
struct Arguments {
    /// How many keys: 2000000, or 50000000 with --huge. Targets are promised for these.
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<u64>::new().range(1000..=1 << 32))]
    keys: Option<u64>,
    /// How often each figure is measured; the median counts.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Where a fresh directory is made, and removed at the end. Default: the directory for temporary files.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Only these themes, separated by commas.
    #[arg(long, value_name = "NAME", value_delimiter = ',', conflicts_with = "huge")]
    only: Vec<Theme>,
    /// One store of very many keys with 8-byte values, once, and nothing else.
    #[arg(long)]
    huge: bool,
    /// Runs this build and another one in turn, as many rounds as asked for, and prints the ratios of the figures that
    /// both have. Themes: put and get, if none are named.
    #[arg(long, value_name = "PROGRAM", conflicts_with = "huge")]
    against: Option<PathBuf>,
    /// Prints one JSON object, with the machine and an array of figures.
    #[arg(long)]
    json: bool,
}

/// Figures that are measured together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Theme {
    /// Memory a key, and how long single puts and gets take
    Memory,
    /// Puts, overwrites and deletes
    Put,
    /// Single gets
    Get,
    /// Many gets at once
    GetMany,
    /// Two reading threads, and a reader beside a writer
    Threads,
    /// Puts that are on the disk when they return
    Durable,
    /// Values of 64 KiB and 1 MiB
    Large,
    /// Opening, with hints and without
    Open,
    /// Merging, and gets meanwhile
    Merge,
    /// Without mappings
    Plain,
    /// With an ordered index: memory, puts, gets, ranges, opening
    Ordered,
    /// Snapshots: taking one, and what it costs others
    Snapshot,
    /// Transactions, by one thread and by four
    Transaction,
    /// Watching, and refreshing a reader
    Watch,
    /// JSON documents, compressed in several ways
    Compression,
    /// Checkpoints, by links and by copying
    Checkpoint,
    /// Reading and checking everything
    Verify,
}

impl Theme {
    /// As it is given to `--only`.
    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    fn run(self, bench: &Bench, report: &mut Report) -> Result<()> {
        report.theme(&self.name())?;
        match self {
            Self::Memory => memory::run(bench, report),
            Self::Put => puts::run(bench, report),
            Self::Get => gets::one_by_one(bench, report),
            Self::GetMany => gets::many(bench, report),
            Self::Threads => gets::by_threads(bench, report),
            Self::Durable => durable::run(bench, report),
            Self::Large => large::run(bench, report),
            Self::Open => opening::run(bench, report),
            Self::Merge => merging::run(bench, report),
            Self::Plain => plain::run(bench, report),
            Self::Ordered => ordered::run(bench, report),
            Self::Snapshot => snapshots::run(bench, report),
            Self::Transaction => transactions::run(bench, report),
            Self::Watch => watching::run(bench, report),
            Self::Compression => documents::run(bench, report),
            Self::Checkpoint => checkpoints::run(bench, report),
            Self::Verify => verifying::run(bench, report),
        }
    }
}

fn run(arguments: Arguments) -> Result<()> {
    let parent = arguments.dir.unwrap_or_else(std::env::temp_dir);
    let keys = arguments.keys.unwrap_or(if arguments.huge { huge::KEYS } else { KEYS });
    let rounds = if arguments.huge { 1 } else { usize::from(arguments.rounds) };
    let format = if arguments.json { Format::Json } else { Format::Table };
    if let Some(against) = arguments.against {
        let themes =
            if arguments.only.is_empty() { &[Theme::Put, Theme::Get] } else { &*arguments.only };
        let only = themes.iter().map(|theme| theme.name()).collect::<Vec<_>>().join(",");
        return against::run(&Comparison { against, only, dir: parent, keys, rounds }, format);
    }
    let bench = Bench { dir: FreshDir::new(&parent)?, keys, rounds };

    let machine = Machine::of(&parent);
    if machine.in_memory() {
        let (dir, kind) = (parent.display(), &machine.file_system);
        let text = "what is durable there costs nothing; name another place with --dir";
        writeln!(io::stderr().lock(), "warning: {dir} is {kind}: {text}")?;
    }
    let value_len = if arguments.huge { 8 } else { keys::VALUE_LEN };
    let setting = format!(
        "{keys} keys of 16 bytes, values of {value_len} unless said, rounds: {rounds}, in {}",
        parent.display()
    );
    let mut report = Report::begin(format, machine, &setting)?;
    if arguments.huge {
        huge::run(&bench, &mut report)?;
    } else {
        // Always in this order: memory is measured before other themes have used any.
        let asked = |theme: &&Theme| arguments.only.is_empty() || arguments.only.contains(theme);
        Theme::value_variants()
            .iter()
            .filter(asked)
            .try_for_each(|theme| theme.run(&bench, &mut report))?;
    }
    report.end()
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            // Ignored: there is nowhere else to say it.
            drop(writeln!(io::stderr().lock(), "error: {e}"));
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn arguments_are_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn themes_can_be_chosen() {
        let parse = |text: &str| Arguments::try_parse_from(text.split(' '));
        assert_eq!(parse("b --only put,get-many").unwrap().only, [Theme::Put, Theme::GetMany]);
        assert!(parse("b --only nothing").is_err());
        assert!(parse("b --huge --only put").is_err());
        assert!(parse("b --huge --against other").is_err());
        assert!(parse("b --keys 999").is_err());
        assert!(parse("b --rounds 0").is_err());
    }
}
