//! What happens in the background: syncs at intervals, sealing of finished files, merges, page faults, and telling other
//! processes how it goes.
//!
//! A thread each, so that a long merge does not delay a sync. [`Keeper`] is how the rest of the engine talks to
//! them. Without threads, in simulations, `Bitcask::tick` does the same work.

use std::sync::{Arc, TryLockError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::active::Ahead;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::hint::HintHeader;
use crate::merge::MergeProgress;
use crate::options::Durability;
use crate::record::NEVER;
use crate::seal::{HintOf, hint_of, publish_hint};
use crate::sync::atomic::Ordering;
use crate::sync::{Condvar, Mutex, MutexGuard, lock, wait};
use crate::writer::Finished;

/// A hint for the active file is written on closing when so many bytes are not in one yet.
const UNHINTED_BYTES: u64 = 4 << 20;
/// How often other processes are told what this one counts, while that changes; and how often it is looked whether it does,
/// when it has not for long.
const TELL_INTERVAL: Duration = Duration::from_secs(1);
const TELL_INTERVAL_MAX: Duration = Duration::from_secs(8);
/// How often keys that have expired are dropped, if there are any that will.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(1);

/// Work that waits, and signals to the background threads.
#[derive(Debug, Default)]
pub(crate) struct Keeper {
    state: Mutex<State>,
    changed: Condvar,
    /// Pages to make ready for the writer, if it asked for some.
    ahead: Mutex<Option<Ahead>>,
    ahead_asked: Condvar,
    /// Held by the merge that is running: there is one at a time.
    merging: Mutex<()>,
    /// Held while hints are written, so that who finds nothing to seal knows that all is sealed.
    sealing: Mutex<()>,
    /// Finished and durable files that want their hint.
    to_seal: Mutex<Vec<Finished>>,
}

#[derive(Debug, Default)]
struct State {
    stopped: bool,
    paused: bool,
    /// A file was finished.
    nudged: bool,
    progress: Option<MergeProgress>,
}

impl Keeper {
    pub(crate) fn stop(&self) {
        lock(&self.state).stopped = true;
        self.changed.notify_all();
        // With the lock held, so that the thread is waiting or sees that it should not.
        let _ahead = lock(&self.ahead);
        self.ahead_asked.notify_all();
    }

    /// Whether the store is being closed.
    pub(crate) fn is_stopped(&self) -> bool {
        lock(&self.state).stopped
    }

    /// Asks for pages to be made ready.
    pub(crate) fn ask_ahead(&self, ahead: Ahead) {
        *lock(&self.ahead) = Some(ahead);
        self.ahead_asked.notify_one();
    }

    fn wait_for_ahead(&self) -> Option<Ahead> {
        let mut ahead = lock(&self.ahead);
        loop {
            if lock(&self.state).stopped {
                return None;
            }
            if let Some(ahead) = ahead.take() {
                return Some(ahead);
            }
            ahead = wait(&self.ahead_asked, ahead);
        }
    }

    pub(crate) fn pause(&self) {
        lock(&self.state).paused = true;
    }

    pub(crate) fn resume(&self) {
        lock(&self.state).paused = false;
        self.changed.notify_all();
    }

    pub(crate) fn is_paused(&self) -> bool {
        lock(&self.state).paused
    }

    /// Tells the background that there may be work.
    pub(crate) fn nudge(&self) {
        lock(&self.state).nudged = true;
        self.changed.notify_all();
    }

    /// Waits for the merge that is running, and keeps others from starting.
    pub(crate) fn wait_for_merge(&self) -> MutexGuard<'_, ()> {
        lock(&self.merging)
    }

    /// Keeps others from starting a merge, unless one is running: who has other things to do does not wait.
    pub(crate) fn try_merge(&self) -> Option<MutexGuard<'_, ()>> {
        match self.merging.try_lock() {
            Ok(merging) => Some(merging),
            Err(TryLockError::WouldBlock) => None,
            Err(TryLockError::Poisoned(_)) => panic!("no thread panicked while it held this lock"),
        }
    }

    pub(crate) fn progress(&self) -> Option<MergeProgress> {
        lock(&self.state).progress.clone()
    }

    pub(crate) fn set_progress(&self, progress: Option<MergeProgress>) {
        lock(&self.state).progress = progress;
    }

    /// Returns when merges are not paused; false if the store is being closed.
    pub(crate) fn wait_while_paused(&self) -> bool {
        let mut state = lock(&self.state);
        while state.paused && !state.stopped {
            state = wait(&self.changed, state);
        }
        !state.stopped
    }

    /// Sleeps, but not longer than until the store is closed; false if it is.
    pub(crate) fn sleep(&self, duration: Duration) -> bool {
        self.sleep_until(duration, false) != Wake::Stopped
    }

    /// The same; a nudge ends the sleep if asked to.
    #[cfg(not(feature = "shuttle"))]
    fn sleep_until(&self, duration: Duration, until_nudged: bool) -> Wake {
        let wake = |state: &mut State| !(state.stopped || until_nudged && state.nudged);
        let state = lock(&self.state);
        let (mut state, _) = self
            .changed
            .wait_timeout_while(state, duration, wake)
            .expect("no thread panicked while it held this lock");
        let nudged = until_nudged && std::mem::take(&mut state.nudged);
        match (state.stopped, nudged) {
            (true, _) => Wake::Stopped,
            (false, true) => Wake::Nudged,
            (false, false) => Wake::Rested,
        }
    }

    /// In a simulation no time passes.
    #[cfg(feature = "shuttle")]
    fn sleep_until(&self, _: Duration, _: bool) -> Wake {
        if lock(&self.state).stopped { Wake::Stopped } else { Wake::Rested }
    }
}

/// Why long work ended early.
pub(crate) enum Stop {
    Asked,
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Why a sleep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wake {
    Stopped,
    #[cfg_attr(
        feature = "shuttle",
        expect(dead_code, reason = "threads do not run in simulations")
    )]
    Nudged,
    Rested,
}

impl Engine {
    pub(crate) fn start_threads(self: &Arc<Self>) -> Vec<JoinHandle<()>> {
        let spawn = |name: &str, work: fn(&Self)| {
            let engine = self.clone();
            thread::Builder::new().name(name.into()).spawn(move || work(&engine))
        };
        let mut threads = vec![
            spawn("bitcask-merge", Self::keep_merging),
            spawn("bitcask-tell", Self::keep_telling),
        ];
        if matches!(self.dir.options.durability, Durability::Interval(_)) {
            threads.push(spawn("bitcask-sync", Self::keep_syncing));
        }
        if self.makes_ready() {
            threads.push(spawn("bitcask-ahead", Self::keep_ready));
        }
        // A thread that cannot be started is not missed: `must_wait` syncs when nobody else does, and close
        // seals what is left.
        threads
            .into_iter()
            .filter_map(|thread| {
                thread.inspect_err(|e| tracing::error!(error = ?e, "cannot start a thread")).ok()
            })
            .collect()
    }

    /// Syncs at half the interval that the durability allows, so that a sync may take the other half.
    fn keep_syncing(&self) {
        let Durability::Interval(interval) = self.dir.options.durability else { return };
        while self.keeper.sleep(interval / 2) {
            if let Err(e) = self.sync_all() {
                tracing::error!(error = ?e, "the background sync failed; the store takes no more writes");
                return;
            }
        }
    }

    fn keep_merging(&self) {
        let policy = &self.dir.options.merge;
        let (mut patience, mut rested) = (1, Duration::ZERO);
        loop {
            let expiring = self.dir.expiries.next_due_ms() != NEVER;
            let left = (policy.check_interval * patience).saturating_sub(rested);
            let pause = if expiring { left.min(EXPIRY_INTERVAL) } else { left };
            let wake = self.keeper.sleep_until(pause, true);
            if wake == Wake::Stopped {
                return;
            }
            if let Err(e) = self.drop_expired().and_then(|()| self.note_time()) {
                tracing::warn!(error = ?e, "cannot drop what has expired");
            }
            if wake == Wake::Rested && pause < left {
                rested += pause;
                continue;
            }
            rested = Duration::ZERO;
            if let Err(e) = self.sync_finished() {
                tracing::error!(error = ?e, "cannot sync a finished file");
            }
            self.seal_finished();
            if !policy.background {
                continue;
            }
            match self.merge_if_worthwhile() {
                Ok(worthwhile) => patience = if worthwhile { 1 } else { (patience * 2).min(64) },
                Err(e) => {
                    tracing::warn!(error = ?e, "a background merge failed");
                    patience = (patience * 2).min(64);
                }
            }
        }
    }

    /// Tells other processes what this one counts.
    fn keep_telling(&self) {
        let clock = &self.dir.clock;
        let (mut told, mut interval) = (None, TELL_INTERVAL);
        while self.keeper.sleep(interval) {
            let started = clock.monotonic_ns();
            let stats = self.stats();
            if told.as_ref() == Some(&stats) {
                interval = (interval * 2).min(TELL_INTERVAL_MAX);
                continue;
            }
            match self.tell(&stats) {
                Ok(()) => told = Some(stats),
                Err(e) => tracing::debug!(error = ?e, "cannot tell other processes how it goes"),
            }
            // Where there is much to tell it takes a twentieth of a processor at most.
            let took = Duration::from_nanos(clock.monotonic_ns().saturating_sub(started));
            interval = TELL_INTERVAL.max(took * 20);
        }
    }

    /// Makes finished files durable, at every level of durability: only then can they have hints and be merged.
    fn sync_finished(&self) -> Result<()> {
        if lock(&self.writer).has_finished() { self.sync_all() } else { Ok(()) }
    }

    /// Takes files that have just become durable.
    pub(crate) fn queue_for_sealing(&self, finished: Vec<Finished>) {
        if !finished.is_empty() {
            lock(&self.keeper.to_seal).extend(finished);
            self.keeper.nudge();
        }
    }

    /// Whether pages are made ready ahead of the writer. Not with `Always`: what is made ready is written with the
    /// next sync, and there each write waits for one.
    pub(crate) fn makes_ready(&self) -> bool {
        let options = &self.dir.options;
        self.dir.mapped && options.threads && options.durability != Durability::Always
    }

    /// Takes page faults so that the writer need not.
    fn keep_ready(&self) {
        while let Some(Ahead { data, from, end }) = self.keeper.wait_for_ahead() {
            data.populate(from, end);
        }
    }

    /// Gives finished, durable files their hints. What fails is tried again the next time; until then the file is
    /// not merged, and opening would scan it. Gives the last failure.
    pub(crate) fn seal_finished(&self) -> Option<Error> {
        let mut failure = None;
        let _sealing = lock(&self.keeper.sealing);
        let waiting = std::mem::take(&mut *lock(&self.keeper.to_seal));
        for finished in waiting {
            if let Err(e) = self.seal(&finished) {
                tracing::warn!(error = ?e, file = finished.data.id, "cannot seal a data file");
                lock(&self.keeper.to_seal).push(finished);
                failure = Some(e);
            }
        }
        failure
    }

    fn seal(&self, finished: &Finished) -> Result<()> {
        let Finished { data, file } = finished;
        let len = data.len.load(Ordering::Acquire);
        file.set_len(len).map_err(|e| Error::io("cannot cut to its length", &data.path, e))?;
        let HintOf { header, mut entries } = hint_of(&self.dir, &**file, data)?;
        if !header.ended {
            return Err(Error::corrupt(
                "the end mark of a finished file is damaged",
                &data.path,
                len,
            ));
        }
        publish_hint(&self.dir, header, &mut entries)?;
        data.sealed.store(true, Ordering::Release);
        tracing::info!(file = data.id, bytes = len, records = entries.len(), "sealed a data file");
        Ok(())
    }

    /// Gives the active file a hint of what it holds so far, if it is worth it.
    pub(crate) fn hint_active(&self) -> Result<()> {
        let Some(active) = lock(&self.writer).unhinted(UNHINTED_BYTES) else { return Ok(()) };
        let HintOf { header, mut entries } = hint_of(&self.dir, &*active.file, &active.data)?;
        let header = HintHeader { ended: false, ..header };
        publish_hint(&self.dir, header, &mut entries).map(|_| ())
    }
}
