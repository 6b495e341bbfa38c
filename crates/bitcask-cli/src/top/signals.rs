//! Signals that end the program. While a screen is drawn it is first given back.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGHUP, SIGQUIT, SIGTERM};
use signal_hook::{flag, low_level};

use crate::failure::Failure;

/// Ctrl-C is not among them: a terminal that is drawn on gives it as a key, and `terminal` listens to it anyway.
const ENDING: [i32; 3] = [SIGHUP, SIGQUIT, SIGTERM];

/// Handlers stay for the life of the process, so they must know when they are not wanted.
struct Handlers {
    /// Whether a signal ends the process at once.
    at_once: Arc<AtomicBool>,
    /// The one that came while it did not; or 0.
    came: Arc<AtomicUsize>,
}

impl Handlers {
    fn set() -> io::Result<Self> {
        let handlers = Self { at_once: Arc::new(true.into()), came: Arc::default() };
        for signal in ENDING {
            flag::register_conditional_default(signal, handlers.at_once.clone())?;
            let number = usize::try_from(signal).map_err(io::Error::other)?;
            flag::register_usize(signal, handlers.came.clone(), number)?;
        }
        Ok(handlers)
    }
}

/// While this lives, signals wait.
pub(super) struct Deferred(&'static Handlers);

impl Deferred {
    pub(super) fn new() -> Result<Self, Failure> {
        static HANDLERS: OnceLock<Result<Handlers, String>> = OnceLock::new();
        match HANDLERS.get_or_init(|| Handlers::set().map_err(|e| e.to_string())) {
            Ok(handlers) => {
                handlers.at_once.store(false, Ordering::SeqCst);
                Ok(Self(handlers))
            }
            Err(e) => {
                let e = io::Error::other(e.clone());
                Err(Failure::stdio("cannot listen for signals", &e))
            }
        }
    }

    /// Whether there is one.
    pub(super) fn came(&self) -> bool {
        self.0.came.load(Ordering::SeqCst) != 0
    }
}

impl Drop for Deferred {
    /// What came has its usual effect now.
    fn drop(&mut self) {
        self.0.at_once.store(true, Ordering::SeqCst);
        if let Ok(signal @ 1..) = i32::try_from(self.0.came.load(Ordering::SeqCst)) {
            // Ignored: it ends the process, unless there is no such signal.
            drop(low_level::emulate_default_handler(signal));
        }
    }
}
