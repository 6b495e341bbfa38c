//! The one who sits before it: progress, questions, Ctrl-C.

use std::fmt::{self, Arguments, Display};
use std::io::{self, BufRead, IsTerminal, Read, Write as _};
use std::ops::ControlFlow;
use std::os::fd::AsFd as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::failure::Failure;

/// So many presses of Ctrl-C end the program, whatever it does: it is safe at any moment.
const PRESSES_MAX: u32 = 3;
/// How often it is looked whether somebody pressed Ctrl-C.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// What shells tell of a program that Ctrl-C ended.
pub(crate) const INTERRUPTED_CODE: u8 = 130;

/// How often Ctrl-C was pressed since the command began.
static PRESSES: AtomicU32 = AtomicU32::new(0);
/// Whether there is a command that looks at it.
static LISTENS: AtomicBool = AtomicBool::new(false);

/// From now on Ctrl-C asks the command to end, and no longer ends it by itself. Can be called again.
pub(crate) fn listen_for_interrupts() -> Result<(), Failure> {
    // A process has only one handler, which cannot be taken away.
    static HANDLER: OnceLock<Result<(), String>> = OnceLock::new();
    LISTENS.store(true, Ordering::Relaxed);
    let set = HANDLER.get_or_init(|| ctrlc::set_handler(on_interrupt).map_err(|e| e.to_string()));
    set.clone().map_err(|e| Failure::stdio("cannot listen for signals", &io::Error::other(e)))
}

/// A new command begins: what was pressed before was not meant for it, and Ctrl-C ends it until it listens.
pub(crate) fn forget_interrupts() {
    LISTENS.store(false, Ordering::Relaxed);
    PRESSES.store(0, Ordering::Relaxed);
}

fn on_interrupt() {
    let presses = PRESSES.fetch_add(1, Ordering::Relaxed) + 1;
    if presses >= PRESSES_MAX || !LISTENS.load(Ordering::Relaxed) {
        std::process::exit(INTERRUPTED_CODE.into());
    }
}

/// `Break` once somebody pressed Ctrl-C.
pub(crate) fn interrupted() -> ControlFlow<()> {
    if PRESSES.load(Ordering::Relaxed) > 0 {
        ControlFlow::Break(())
    } else {
        ControlFlow::Continue(())
    }
}

/// Sleeps, but not beyond Ctrl-C.
pub(crate) fn pause(time: Duration) {
    let until = Instant::now().checked_add(time);
    while interrupted().is_continue() {
        let left =
            until.map_or(LOOK_EVERY, |until| until.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            break;
        }
        std::thread::sleep(left.min(LOOK_EVERY));
    }
}

/// Standard input, for commands that take data from it. Where they listen, Ctrl-C is an error of it.
pub(crate) struct Stdin;

impl Read for Stdin {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        wait_for_input()?;
        io::stdin().read(buf)
    }
}

/// On a terminal, where nothing is read ahead, waits until something can be read. A read would wait beyond Ctrl-C.
fn wait_for_input() -> io::Result<()> {
    let stdin = io::stdin();
    if !stdin.is_terminal() || !LISTENS.load(Ordering::Relaxed) {
        return Ok(());
    }
    let look_every = PollTimeout::try_from(LOOK_EVERY).expect("it is short");
    loop {
        if interrupted().is_break() {
            // The terminal shows what was pressed, and is in the middle of a line.
            crate::output::to_stderr("");
            return Err(io::Error::other("interrupted"));
        }
        let mut wanted = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        match poll(&mut wanted, look_every) {
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(()),
            Err(e) => return Err(e.into()),
        }
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
    let read = wait_for_input().and_then(|()| io::stdin().lock().read_line(&mut answer));
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
        Self::with_template(what, quiet, "{prefix}: {bar:30} {pos} of {len} keys, {rate}{msg}")
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
        let style = style.expect("the template is sound").progress_chars("#> ");
        bar.set_style(style.with_key("rate", |state: &ProgressState, out: &mut dyn fmt::Write| {
            write!(out, "{:.0} a second", state.per_sec()).expect("a string takes any text");
        }));
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
