//! Signals that end the program. While a screen is drawn it is first given back.
//!
//! A thread waits for them: where the terminal itself has gone, whoever waits for its keys may wait for ever.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use signal_hook::consts::{SIGHUP, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use crate::failure::Failure;

/// Ctrl-C is not among them: a terminal that is drawn on gives it as a key, and `terminal` listens to it anyway.
const ENDING: [i32; 3] = [SIGHUP, SIGQUIT, SIGTERM];

/// Whether there is a screen to give back.
static IS_DRAWN: AtomicBool = AtomicBool::new(false);

/// While this lives, a signal first gives the screen back.
pub(super) struct Guarded(());

impl Guarded {
    pub(super) fn new(give_back: fn()) -> Result<Self, Failure> {
        // Handlers stay for the life of the process.
        static STARTED: OnceLock<Result<(), String>> = OnceLock::new();
        let started = STARTED.get_or_init(|| start(give_back).map_err(|e| e.to_string()));
        started
            .clone()
            .map_err(|e| Failure::stdio("cannot listen for signals", &io::Error::other(e)))?;
        IS_DRAWN.store(true, Ordering::SeqCst);
        Ok(Self(()))
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        IS_DRAWN.store(false, Ordering::SeqCst);
    }
}

fn start(give_back: fn()) -> io::Result<()> {
    let mut signals = Signals::new(ENDING)?;
    let wait = move || {
        for signal in signals.forever() {
            if IS_DRAWN.load(Ordering::SeqCst) {
                give_back();
            }
            // Ignored: it ends the process, unless there is no such signal.
            drop(emulate_default_handler(signal));
        }
    };
    thread::Builder::new().name("bitcask-signals".into()).spawn(wait).map(drop)
}
