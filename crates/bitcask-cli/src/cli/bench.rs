//! Commands that watch the store at work.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::text::{parse_count, parse_duration, parse_size};

/// The most threads that it makes sense to start by mistake.
const THREADS_MAX: u64 = 1024;

#[derive(Debug, Args)]
#[command(after_help = "\
The scratch store is made in --dir, or in the directory for temporary files, and removed again, on
Ctrl-C too; a store of yours is never touched. Workloads are those of YCSB; keys are chosen by
Zipf's law with the exponent 0.99, and the frequent ones lie scattered.
  a  50 % reads, 50 % updates       d  95 % reads of the latest keys, 5 % inserts
  b  95 % reads, 5 % updates        e  95 % scans of 1 to 100 keys, 5 % inserts; ordered index
  c  reads only                     f  50 % reads, 50 % reads with an update, which count as writes

Examples:
  bitcask bench
  bitcask bench --workload a,c --keys 200K --value-size 1K --time 2s
  bitcask bench --dir /mnt/disk --durability always --threads 8 --json")]
pub(crate) struct Bench {
    /// What to do, one after the other
    #[arg(
        long,
        value_name = "NAMES",
        value_enum,
        value_delimiter = ',',
        default_value = "a,b,c,f"
    )]
    pub(crate) workload: Vec<Workload>,
    /// How many keys to begin with: 200K, 5M; K is a thousand, M a million
    #[arg(long, value_name = "N", value_parser = parse_keys, default_value = "1M")]
    pub(crate) keys: u64,
    /// How long values are: 100, 4K; K is 1024 bytes
    #[arg(long, value_name = "SIZE", value_parser = parse_value_size, default_value = "100")]
    pub(crate) value_size: usize,
    /// How many threads do it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=THREADS_MAX),
        default_value = "1")]
    pub(crate) threads: u64,
    /// How long each workload runs
    #[arg(long, value_name = "TIME", value_parser = parse_some_time, default_value = "5s")]
    pub(crate) time: Duration,
    /// What a power loss could take
    #[arg(long, value_enum, default_value_t)]
    pub(crate) durability: Safety,
    /// Where to make the scratch store; instead of the directory for temporary files
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

/// The mixes of YCSB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workload {
    A,
    B,
    C,
    D,
    E,
    F,
}

/// How durable writes are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Safety {
    /// What the operating system has not written yet
    Os,
    /// The last second
    #[default]
    Interval,
    /// Nothing
    Always,
}

fn parse_keys(text: &str) -> Result<u64, String> {
    // As many as a keydir of some gigabytes holds.
    let keys = parse_count(text)?;
    if (1..=1_000_000_000).contains(&keys) { Ok(keys) } else { Err("it takes 1 to 1G keys".into()) }
}

fn parse_some_time(text: &str) -> Result<Duration, String> {
    let time = parse_duration(text)?;
    if time.is_zero() { Err("in no time nothing is measured".into()) } else { Ok(time) }
}

fn parse_value_size(text: &str) -> Result<usize, String> {
    // Each thread keeps one in memory.
    let bytes = usize::try_from(parse_size(text)?).unwrap_or(usize::MAX);
    if bytes <= 64 << 20 { Ok(bytes) } else { Err("it takes values up to 64M".into()) }
}

impl Workload {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
            Self::C => "c",
            Self::D => "d",
            Self::E => "e",
            Self::F => "f",
        }
    }
}

impl Safety {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Os => "os",
            Self::Interval => "interval",
            Self::Always => "always",
        }
    }
}
