//! Long work in a thread of its own, while the caller's looks after Python's signals.
//!
//! A merge and a checkpoint hold a lock of the engine. What the handler of a signal does is Python, and may close the
//! store, which ends the work and waits for that lock: in the thread that holds it, it would wait for ever.

use std::ops::ControlFlow;
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use pyo3::prelude::*;

const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Does the work, which is to ask now and then whether to go on: not after Ctrl-C, or another signal whose handler
/// raised. That is then raised here.
pub(crate) fn attended<T: Send>(
    py: Python<'_>,
    work: impl FnOnce(&(dyn Fn() -> ControlFlow<()> + Sync)) -> T + Send,
) -> PyResult<T> {
    let is_stopped = AtomicBool::new(false);
    let go_on = || match is_stopped.load(Ordering::Relaxed) {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    };
    py.detach(|| {
        thread::scope(|scope| {
            let (sender, receiver) = mpsc::channel();
            let worker = thread::Builder::new().name("bitcask-attended".into());
            let worker = worker.spawn_scoped(scope, move || sender.send(work(&go_on)))?;
            let mut raised = None;
            loop {
                match receiver.recv_timeout(LOOK_EVERY) {
                    Ok(done) => return raised.map_or(Ok(done), Err),
                    Err(RecvTimeoutError::Timeout) if raised.is_none() => {
                        // None: the interpreter is gone.
                        let checked = Python::try_attach(|py| py.check_signals());
                        is_stopped.store(!matches!(checked, Some(Ok(()))), Ordering::Relaxed);
                        raised = checked.and_then(Result::err);
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => {
                        let panicked = worker.join().expect_err("it ended without a word");
                        panic::resume_unwind(panicked);
                    }
                }
            }
        })
    })
}
