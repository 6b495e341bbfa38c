//! Making the log durable: one sync for all who wait (group commit).
//!
//! Whoever needs a sequence number to be durable and finds no sync under way becomes the leader: it takes
//! from the writer what is to be synced, syncs with no lock held, reports back to the writer, and wakes the others. Those
//! who appended meanwhile wait for the next leader, which covers all of them.

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::stats::count;
use crate::sync::{Condvar, Mutex, lock, wait};
use crate::writer::SyncTask;

/// How far the log is durable, and whether somebody is making it more so.
#[derive(Debug, Default)]
pub(crate) struct Durable {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Every record up to this sequence number is durable.
    seq: u64,
    syncing: bool,
    /// A sync failed. None is tried again: the kernel may call clean what it could not write.
    failed: bool,
}

impl Engine {
    /// Returns when every record up to `seq` is durable.
    pub(crate) fn sync_through(&self, seq: u64) -> Result<()> {
        let mut state = lock(&self.durable.state);
        loop {
            if state.seq >= seq {
                return Ok(());
            }
            if state.failed {
                drop(state);
                // The writer knows why.
                return lock(&self.writer).check();
            }
            if !state.syncing {
                break;
            }
            state = wait(&self.durable.changed, state);
        }
        state.syncing = true;
        drop(state);

        let result = self.sync_now();

        let mut state = lock(&self.durable.state);
        state.syncing = false;
        match &result {
            Ok(synced) => state.seq = state.seq.max(*synced),
            Err(_) => state.failed = true,
        }
        drop(state);
        self.durable.changed.notify_all();
        result.map(|_| ())
    }

    /// One sync of all that was appended by now. Gives the sequence number up to which all is durable.
    fn sync_now(&self) -> Result<u64> {
        let task = {
            let mut writer = lock(&self.writer);
            writer.check()?;
            writer.sync_task()
        };
        let started = self.dir.clock.monotonic_ns();
        let result = self.perform(&task);
        self.stats.sync_ns.record(self.dir.clock.monotonic_ns().saturating_sub(started));
        let mut writer = lock(&self.writer);
        match result {
            Ok(()) => {
                let finished = writer.synced(&task);
                drop(writer);
                self.queue_for_sealing(finished);
                count(&self.stats.syncs, 1);
                Ok(task.seq)
            }
            Err(error) => Err(writer.poison(error)),
        }
    }

    /// Older files first, though any order would do: nothing is claimed before all of it is done.
    fn perform(&self, task: &SyncTask) -> Result<()> {
        for file in task.finished.iter().chain(&task.active) {
            let durable = task.durable;
            let from = if durable.file_id == file.data.id { durable.offset } else { 0 };
            file.data.prepare_sync(from);
            file.file.sync().map_err(|e| Error::io("cannot sync", &file.data.path, e))?;
        }
        if task.names.is_some() {
            let dir = &self.dir;
            dir.fs
                .sync_dir(&dir.path)
                .map_err(|e| Error::io("cannot sync the directory", &dir.path, e))?;
        }
        Ok(())
    }
}
