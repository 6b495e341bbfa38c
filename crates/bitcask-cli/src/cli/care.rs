//! Commands on the store as a whole.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::parse_rate;
use crate::text::{Encoding, parse_duration};

#[derive(Debug, Args)]
#[command(after_help = "\
Works beside a process that has the store open, and then tells how it goes there: what was done
since it was opened, how long that took, who keeps what from being merged.

Examples:
  bitcask --db ./database stats
  bitcask --db ./database stats --json
  bitcask --db ./database stats --watch 2s")]
pub(crate) struct Stats {
    /// Show it again and again, every so often
    #[arg(long, value_name = "TIME", value_parser = parse_interval, num_args = 0..=1, default_missing_value = "2s")]
    pub(crate) watch: Option<Duration>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Shows operations, latencies, space, merge and snapshots of the process that has the store open;
where none has, what is in the files. Takes no lock and disturbs nobody. It needs a terminal, of
80 columns and 24 rows or more, but for --json: that prints an object a line, anywhere; the first
has no rates yet. NO_COLOR is heeded.

Keys: q leaves, p pauses, + and - look less and more often, s sorts the files, j, k and arrows
scroll them, h explains all that is shown.

Examples:
  bitcask --db ./database top
  bitcask --db ./database top --interval 5s
  bitcask --db ./database top --json --count 2 | tail -n 1")]
pub(crate) struct Top {
    /// How often to look, from 100ms to 1h
    #[arg(long, value_name = "TIME", value_parser = parse_interval, default_value = "1s")]
    pub(crate) interval: Duration,
    /// End after so many looks
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    let interval = parse_duration(text)?;
    if (Duration::from_millis(100)..=Duration::from_secs(3600)).contains(&interval) {
        Ok(interval)
    } else {
        Err("from 100ms to 1h".into())
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
Ctrl-C ends it after the file that it is at; what is done is done.

Examples:
  bitcask --db ./database merge
  bitcask --db ./database merge --max-rate 20M
  bitcask --db ./database merge --dry-run --json")]
pub(crate) struct Merge {
    /// Read and write at most so many bytes a second: 20M
    #[arg(long, value_name = "SIZE", value_parser = parse_rate)]
    pub(crate) max_rate: Option<u64>,
    /// Only say what it would give back
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Changes nothing, and works beside a process that has the store open. Exits with 1 if it finds
damage.

Examples:
  bitcask --db ./database verify
  bitcask --db ./database verify --rate 50M --json")]
pub(crate) struct Verify {
    /// Read at most so many bytes a second: 50M
    #[arg(long, value_name = "SIZE", value_parser = parse_rate)]
    pub(crate) rate: Option<u64>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Shows data files (.data, .merged) record by record, hint and dictionary files, and where they
are damaged what can still be seen. Locks nothing and changes nothing; what another process is
just writing may show as damage. Exits with 1 if it finds damage.

Examples:
  bitcask --db ./database inspect
  bitcask --db ./database inspect 000000000001.data
  bitcask inspect ./database/quarantine/000000000001.data --json
  bitcask --db ./database inspect --json | jq -c 'select(.ok == false)'")]
pub(crate) struct Inspect {
    /// A path, or a name in the store; without it, all files of the store
    pub(crate) file: Option<PathBuf>,
    /// How keys and the starts of values are written
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Encoding,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Nothing is deleted: damaged files go to the directory `quarantine` in the store. Exits with 1 if
something was lost.

Examples:
  bitcask --db ./database repair
  bitcask --db ./database repair --yes --json")]
pub(crate) struct Repair {
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The backup is a store: it can be opened at once. Files that never change again are linked where
that is possible, and copied elsewhere; repeated into the same directory, only what is new is
copied. Works beside a process that has the store open. A backup that was opened and changed is
replaced like any other: restore it to another directory to go on with it.

Examples:
  bitcask --db ./database backup /backups/monday
  bitcask --db ./database backup /mnt/usb/database --json")]
pub(crate) struct Backup {
    /// Where to; a directory that is not there yet, or holds an earlier backup of this store
    pub(crate) target: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bitcask --db ./database restore /backups/monday")]
pub(crate) struct Restore {
    /// The backup
    pub(crate) source: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bitcask completions bash > ~/.local/share/bash-completion/completions/bitcask
  bitcask completions zsh > ~/.zfunc/_bitcask")]
pub(crate) struct Completions {
    /// Which shell
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bitcask man | man -l -
  bitcask man set | man -l -
  bitcask man --dir ~/.local/share/man/man1")]
pub(crate) struct Man {
    /// Of which command
    #[arg(conflicts_with = "dir")]
    pub(crate) command: Option<String>,
    /// Write all pages there, a file for each
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}
