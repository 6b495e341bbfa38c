//! The stress program: a store under everything at once, in processes that are killed again and again; in the end every
//! acknowledged write is accounted for.
//!
//! The parent ([`supervisor`]) starts two processes of this same program. One writes ([`writer`]): threads that own keys and change
//! them in every way ([`worker`]), tellers that move money by transactions ([`bank`]), snapshots that are held, merges
//! ([`chores`]) and checkpoints ([`checkpoints`]). The other opens the store read-only beside it, and watches
//! ([`reader`]). The parent kills either at any time, and starts it again. What was acknowledged is written down in files
//! beside the store ([`journal`]); a writer begins by comparing all of the store with them ([`account`]).
//!
//! Values are decided by key and version ([`plan`]), so whoever reads one can tell whether it is right.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

mod account;
mod bank;
mod checkpoints;
mod chores;
mod counts;
mod journal;
mod plan;
mod process;
mod reader;
mod supervisor;
mod worker;
mod writer;

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Result<T> = std::result::Result<T, Failure>;

const EXAMPLES: &str = "\
Examples:
  cargo run --release -p bitcask-bench --bin stress -- --minutes 10 --dir /mnt/disk
  cargo run --release -p bitcask-bench --bin stress -- --seconds 20    a quick look
  cargo run --release -p bitcask-bench --bin stress -- --seed 7        the same choices as an earlier run

The exit code is 1 if a promise is broken; the directory is then kept, and its name printed.";

/// Writes, reads, merges and kills, until it is time; then accounts for every acknowledged write.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
struct Arguments {
    /// How long. Default: one minute.
    #[arg(long, value_name = "N", conflicts_with = "seconds")]
    minutes: Option<u64>,
    /// The same, in seconds.
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// Where a fresh directory is made, and removed at the end. Default: the directory for temporary files.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Decides what is done and when it is killed, but for what the machine decides. Default: the time.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Threads that write.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    threads: u32,
    /// Keys of each of them.
    #[arg(long, value_name = "N", default_value_t = 4000, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    keys: u32,
    /// What the parent starts.
    #[arg(long, hide = true, requires = "life")]
    role: Option<Role>,
    #[arg(long, hide = true)]
    life: Option<u64>,
}

/// What a child is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Writes
    Writer,
    /// Reads beside the writer
    Reader,
}

/// What parent and children agree on.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    /// The directory of this run.
    pub(crate) dir: PathBuf,
    pub(crate) seed: u64,
    pub(crate) threads: u32,
    pub(crate) keys: u32,
}

impl Setting {
    fn of(arguments: &Arguments, dir: &Path) -> Self {
        let seed = arguments.seed.unwrap_or_else(plan::wall_ms);
        let Arguments { threads, keys, .. } = *arguments;
        Self { dir: dir.to_owned(), seed, threads, keys }
    }
}

/// A panic anywhere ends the process: a thread less would go unnoticed.
fn end_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        std::process::exit(writer::BROKEN);
    }));
}

fn run(arguments: &Arguments) -> Result<()> {
    if let (Some(role), Some(life), Some(dir)) = (arguments.role, arguments.life, &arguments.dir) {
        end_on_panic();
        let setting = Setting::of(arguments, dir);
        return match role {
            Role::Writer => writer::run(&setting, life),
            Role::Reader => reader::run(&setting, life),
        };
    }
    let parent = arguments.dir.clone().unwrap_or_else(std::env::temp_dir);
    let dir = parent.join(format!("bitcask-stress-{}", std::process::id()));
    std::fs::create_dir_all(&dir).map_err(|e| format!("cannot create {}: {e}", dir.display()))?;
    let setting = Setting::of(arguments, &dir);
    let minutes = arguments.minutes.unwrap_or(1);
    let seconds = arguments.seconds.unwrap_or(minutes * 60);
    let run = supervisor::run(&setting, std::time::Duration::from_secs(seconds));
    run.map_err(|e| format!("{e}\nkept: {} (seed {})", dir.display(), setting.seed))?;
    Ok(std::fs::remove_dir_all(&dir)?)
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            writer::complain(&e);
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
}
