//! The one who sits before it: progress, questions, Ctrl-C.

use std::fmt::{Arguments, Display};
use std::io::{self, BufRead, IsTerminal, Write as _};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::failure::Failure;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on Ctrl-C asks the command to end, and no longer ends it by itself.
pub(crate) fn listen_for_interrupts() -> Result<(), Failure> {
    ctrlc::set_handler(|| INTERRUPTED.store(true, Ordering::Relaxed))
        .map_err(|e| Failure::stdio("cannot listen for signals", &io::Error::other(e)))
}

/// `Break` once somebody pressed Ctrl-C.
pub(crate) fn interrupted() -> ControlFlow<()> {
    if INTERRUPTED.load(Ordering::Relaxed) {
        ControlFlow::Break(())
    } else {
        ControlFlow::Continue(())
    }
}

/// Asks, and takes nothing but yes for yes. Where nobody can be asked it is an error.
pub(crate) fn confirm(question: impl Display) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::invalid("nobody can be asked here whether to go on")
            .advise("pass --yes if you mean it"));
    }
    let mut err = io::stderr().lock();
    write!(err, "{question} [y/N] ")
        .and_then(|()| err.flush())
        .map_err(|e| Failure::stdio("cannot write: standard error", &e))?;
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    read.map_err(|e| Failure::stdio("cannot read: standard input", &e))?;
    Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}

/// A bar on a terminal, and nothing elsewhere.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Of bytes.
    pub(crate) fn new(what: &'static str, quiet: bool) -> Self {
        Self::with_template(
            what,
            quiet,
            "{prefix}: {bar:30} {bytes} of {total_bytes}, {bytes_per_sec}{msg}",
        )
    }

    /// Of keys.
    pub(crate) fn keys(what: &'static str, quiet: bool) -> Self {
        Self::with_template(what, quiet, "{prefix}: {bar:30} {pos} of {len} keys, {per_sec}{msg}")
    }

    /// Of what has no end to be shown: only what is said.
    pub(crate) fn line(what: &'static str, quiet: bool) -> Self {
        Self::with_template(what, quiet, "{prefix}{msg}")
    }

    fn with_template(what: &'static str, quiet: bool, template: &str) -> Self {
        let target = if quiet {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr_with_hz(10)
        };
        let bar = ProgressBar::with_draw_target(None, target);
        let style = ProgressStyle::with_template(template);
        bar.set_style(style.expect("the template is sound").progress_chars("#> "));
        bar.set_prefix(what);
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    pub(crate) fn show(&self, done: u64, all: u64, more: Arguments<'_>) {
        self.0.set_length(all);
        self.0.set_position(done.min(all));
        self.0.set_message(more.to_string());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
