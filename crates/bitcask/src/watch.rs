//! Watching: the changes of a store, in order, as they happen.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::directory::Directory;
use crate::error::Result;
use crate::expiry::Expiry;
use crate::follow::{Followed, Follower, Progress};
use crate::readonly::survey_until_sound;
use crate::record::Flags;
use crate::value::Value;

/// How long to wait before looking again: at first, and at most.
const PAUSE_MIN: Duration = Duration::from_micros(200);
const PAUSE_MAX: Duration = Duration::from_millis(20);

/// A change to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// Its sequence number. To go on behind it later, [`watch`](crate::Bitcask::watch) from the next one on.
    pub seq: u64,
    /// When it was made, milliseconds since 1970.
    pub time_ms: u64,
    /// The key.
    pub key: Vec<u8>,
    /// What became of it.
    pub change: Changed,
    /// The same number for all changes of a batch or transaction; none for a change on its own.
    pub batch: Option<u64>,
    /// Whether this is the last change that the watcher is given of what was made together.
    pub is_last: bool,
}

/// What became of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Changed {
    /// It has this value.
    #[non_exhaustive]
    Put {
        /// The value.
        value: Value,
        /// When it expires. No event tells when it has.
        expiry: Expiry,
    },
    /// It was deleted.
    Delete,
}

/// The changes to a store, in order, see [`Bitcask::watch`](crate::Bitcask::watch).
///
/// As an iterator it waits for the next change, and ends when the store is closed in this process, or after an error.
#[derive(Debug)]
pub struct Watch {
    dir: Arc<Directory>,
    prefix: Vec<u8>,
    /// Of changes that are read, those from here on were not yet met.
    from_seq: u64,
    follower: Follower,
    ready: VecDeque<Event>,
    failed: bool,
}

impl Watch {
    pub(crate) fn new(dir: Arc<Directory>, prefix: &[u8], from_seq: u64) -> Result<Self> {
        let follower = Follower::from_seq(&dir, from_seq)?;
        let (prefix, from_seq, ready) = (prefix.to_vec(), from_seq.max(1), VecDeque::new());
        Ok(Self { dir, prefix, from_seq, follower, ready, failed: false })
    }

    /// Every change up to this sequence number has been given, or was not asked for. To go on later where this watch
    /// is, [`watch`](crate::Bitcask::watch) from the next one on. May be far beyond the last event: what was read and had
    /// another prefix counts, too.
    pub fn seq(&self) -> u64 {
        match self.ready.front() {
            Some(event) => event.seq - 1,
            None => self.follower.seen(),
        }
    }

    /// The next change, if it is there already.
    ///
    /// # Errors
    /// `Gone` if merge took changes away that were not yet given; `Corrupt`; `Io`; `Invalid` once the store is closed.
    pub fn try_next(&mut self) -> Result<Option<Event>> {
        self.dir.check_open()?;
        while self.ready.is_empty() {
            let Self { dir, prefix, from_seq, follower, ready, .. } = self;
            let progress = follower
                .read(dir, &mut |followed| take(dir, prefix, from_seq, &followed, ready))?;
            match progress {
                Progress::Went => {}
                Progress::Waits => return Ok(None),
                Progress::Replaced => follower.reopen(dir)?,
                // The one who writes knows better; who reads beside may see what a crash left.
                Progress::Torn(_, damage) if !dir.read_only => return Err(damage),
                Progress::Torn(next, _) => {
                    survey_until_sound(&dir.path, &dir.options)?;
                    follower.wait_before(next);
                }
            }
        }
        Ok(self.ready.pop_front())
    }

    /// The next change; none if there is none for so long.
    ///
    /// # Errors
    /// As [`try_next`](Self::try_next).
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Option<Event>> {
        let clock = self.dir.clock.clone();
        let started = clock.monotonic_ns();
        let timeout = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        let mut pause = PAUSE_MIN;
        loop {
            if let Some(event) = self.try_next()? {
                return Ok(Some(event));
            }
            let waited = clock.monotonic_ns().saturating_sub(started);
            if waited >= timeout {
                return Ok(None);
            }
            // Another process has no way to wake this one.
            std::thread::park_timeout(pause.min(Duration::from_nanos(timeout - waited)));
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

/// Keeps a change if it is asked for.
fn take(
    dir: &Directory,
    prefix: &[u8],
    from_seq: &mut u64,
    followed: &Followed<'_>,
    ready: &mut VecDeque<Event>,
) -> Result<()> {
    let record = &followed.record;
    if record.seq >= *from_seq && record.key.starts_with(prefix) {
        let change = if record.flags.has(Flags::TOMBSTONE) {
            Changed::Delete
        } else {
            let expiry = Expiry::from_ms(record.expires_ms);
            Changed::Put { value: dir.value_of(record)?, expiry }
        };
        let (key, is_last) = (record.key.to_vec(), followed.is_last);
        let (seq, time_ms, batch) = (record.seq, record.time_ms, followed.batch);
        ready.push_back(Event { seq, time_ms, key, change, batch, is_last });
    } else if followed.is_last
        && let Some(event) = ready.back_mut()
        && event.batch == followed.batch
        && event.batch.is_some()
    {
        // What comes last of the batch is not for this watcher.
        event.is_last = true;
    }
    // After an error the same is read again.
    *from_seq = record.seq.max(*from_seq - 1) + 1;
    Ok(())
}

impl Iterator for Watch {
    type Item = Result<Event>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.failed {
            if self.dir.check_open().is_err() {
                return None;
            }
            match self.next_timeout(Duration::from_secs(1)).transpose() {
                None => {}
                Some(Err(_)) if self.dir.check_open().is_err() => return None,
                Some(event) => {
                    self.failed = event.is_err();
                    return Some(event);
                }
            }
        }
        None
    }
}
