//! The writer: the end of the log.
//!
//! Appends records to the active file, turns to a new file when it is full, and knows how far the log is durable.
//! It does not know the keydir, and it does not sync by itself: `durable.rs` does, with the lock free, and
//! reports back here.
//!
//! - A failed write or sync poisons it: nothing is appended any more. A full disk is met where room is made,
//!   before anything is written, and does not.
//! - Rotation does not wait for the disk. The old file is synced later, before the new one; if the power goes in
//!   between, recovery cuts the log where the old file has its hole (`recovery.rs`).
//! - When a sync has succeeded, the next append begins with a *mark* that says how far. That is how recovery tells
//!   damage from a torn tail.

use std::path::Path;
use std::sync::Arc;

use crate::active::{Active, Ahead, AppendError, Spare};
use crate::batch::Change;
use crate::directory::Directory;
use crate::error::{Error, ErrorKind, Result};
use crate::files::DataFile;
use crate::fs::{Access, File, write_all_at};
use crate::header::{FILE_HEADER_LEN, FileHeader, FileKind};
use crate::place::Place;
use crate::record::{self, FRAME_LEN, Fields, Flags, Frame, LogPosition, MARK_LEN, Mark, NEVER};
use crate::stream::Staged;
use crate::sync::atomic::Ordering;

/// Space left on the disk for a hint, beside half the size of its file.
const SPARE_FOR_HINT: u64 = 8 << 10;
/// Reserved bytes that only deletes may use, so that a full disk can be emptied.
const DELETE_RESERVE: u64 = 64 << 10;

/// The end of the log.
#[derive(Debug)]
pub(crate) struct Writer {
    active: Option<Active>,
    /// Finished files that are not yet known to be durable, oldest first.
    finished: Vec<Finished>,
    pub(crate) next_seq: u64,
    next_file_id: u64,
    /// Calls of `commit_if`, so that some of them are timed.
    pub(crate) commits: u64,
    /// How far the log is durable, and how far it says so itself.
    durable: LogPosition,
    marked: LogPosition,
    /// What time it is, as far as the log says, and in which file.
    marked_time: TimeMark,
    /// Changes of names in the directory, and how many of them are durable.
    names: u64,
    names_synced: u64,
    /// Since when something waits to become durable (monotonic): what no sync has begun on, and what one has.
    waiting_since: Option<u64>,
    syncing_since: Option<u64>,
    poisoned: Option<String>,
}

/// A file of the log with the handle that syncs it.
#[derive(Clone, Debug)]
pub(crate) struct Finished {
    pub(crate) data: Arc<DataFile>,
    pub(crate) file: Arc<dyn File>,
}

/// The mark of the log that says the latest time. None of a later file says an earlier one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TimeMark {
    pub(crate) time_ms: u64,
    pub(crate) file_id: u64,
}

/// What a failed append goes back to.
#[derive(Debug)]
struct RollbackPoint {
    next_seq: u64,
    marked: LogPosition,
    marked_time: TimeMark,
    end: u64,
    digest: u32,
}

/// What a sync has to do, and what it then can claim.
#[derive(Debug)]
pub(crate) struct SyncTask {
    pub(crate) finished: Vec<Finished>,
    pub(crate) active: Option<Finished>,
    /// Changes of names that are to become durable; none if they are.
    pub(crate) names: Option<u64>,
    /// Up to where it is durable already.
    pub(crate) durable: LogPosition,
    pub(crate) position: LogPosition,
    pub(crate) seq: u64,
}

/// Where the log goes on after recovery.
#[derive(Debug)]
pub(crate) struct LogEnd {
    pub(crate) next_seq: u64,
    pub(crate) next_file_id: u64,
    pub(crate) durable: LogPosition,
    pub(crate) time: TimeMark,
    /// Whether the last record is a mark that covers all before it: the store was closed.
    pub(crate) closed: bool,
    /// The last file, if it can be appended to.
    pub(crate) active: Option<ActiveEnd>,
}

/// Where the last file ends.
#[derive(Debug)]
pub(crate) struct ActiveEnd {
    pub(crate) id: u64,
    pub(crate) seed: u32,
    pub(crate) len: u64,
    pub(crate) digest: u32,
    /// Up to where its hint covers it.
    pub(crate) hinted: u64,
}

impl Writer {
    /// Goes on where recovery found the end. The last file becomes the active one again.
    pub(crate) fn resume(dir: &Directory, end: LogEnd) -> Result<Self> {
        let mut writer = Self {
            active: None,
            finished: Vec::new(),
            next_seq: end.next_seq,
            next_file_id: end.next_file_id,
            commits: 0,
            durable: end.durable,
            marked: if end.closed { end.durable } else { LogPosition::default() },
            marked_time: end.time,
            names: 0,
            names_synced: 0,
            waiting_since: None,
            syncing_since: None,
            poisoned: None,
        };
        if let Some(ActiveEnd { id, seed, len, digest, hinted }) = end.active {
            let path = dir.data_path(FileKind::Log, id);
            let file = dir
                .fs
                .open(&path, Access::Write)
                .map_err(|e| Error::io("cannot open for writing", &path, e))?;
            let capacity = dir.options.max_file_size.max(len);
            writer.active = Some(Active::new(dir, file.into(), (id, seed), path, len, capacity)?);
            if let Some(active) = &mut writer.active {
                (active.digest, active.hinted) = (digest, hinted);
            }
        }
        Ok(writer)
    }

    /// Fails if an earlier write or sync did.
    pub(crate) fn check(&self) -> Result<()> {
        match &self.poisoned {
            None => Ok(()),
            Some(why) => Err(Error::new(
                ErrorKind::Poisoned,
                format!("the store takes no more writes, because an earlier one failed: {why}"),
            )),
        }
    }

    /// Nothing will be appended any more. Gives the error back; not as `Full`, which would mean that nothing was changed
    /// and that trying again helps.
    pub(crate) fn poison(&mut self, why: Error) -> Error {
        let why = match why.kind() {
            ErrorKind::Full => why.with_kind(ErrorKind::Io),
            _ => why,
        };
        tracing::error!(error = ?why, "the writer is poisoned");
        self.poisoned.get_or_insert_with(|| format!("{why:?}"));
        why
    }

    /// How far the log is durable.
    pub(crate) fn durable(&self) -> LogPosition {
        self.durable
    }

    /// The active file.
    pub(crate) fn active(&self) -> Option<&Arc<DataFile>> {
        self.active.as_ref().map(|active| &active.data)
    }

    /// Whether something was appended that is not known to be durable.
    pub(crate) fn has_unsynced(&self) -> bool {
        self.position() > self.durable
    }

    fn position(&self) -> LogPosition {
        match &self.active {
            Some(active) => LogPosition { file_id: active.data.id, offset: active.end },
            None => self.finished.last().map_or(self.durable, |last| LogPosition {
                file_id: last.data.id,
                offset: last.data.len.load(Ordering::Acquire),
            }),
        }
    }

    /// Makes certain that `changes` can be appended: enough room in the active file, or a new one, on a disk
    /// that has space for it. Changes nothing if it fails. Gives whether a file was finished.
    pub(crate) fn make_room(&mut self, dir: &Directory, changes: &[Change<'_>]) -> Result<bool> {
        let frame = if changes.len() > 1 { FRAME_LEN as u64 } else { 0 };
        let records: u64 = changes.iter().map(Change::record_len).sum();
        // One mark before the records, and one to end the file.
        let needed = frame + records + 2 * MARK_LEN as u64;
        let deletes = changes.iter().all(|change| matches!(change, Change::Delete { .. }));
        let in_file = if deletes { 0 } else { DELETE_RESERVE };
        let spare = || Spare { in_file, on_disk: space_to_merge(dir), may_be_used_up: deletes };
        match &mut self.active {
            Some(active) if active.fits(needed) => {
                if !active.has_room(needed + in_file) {
                    active.allocate(dir, needed, spare())?;
                }
                Ok(false)
            }
            _ => self.rotate(dir, needed, spare()).map(|()| true),
        }
    }

    /// Ends the active file, if there is one, and begins the next.
    fn rotate(&mut self, dir: &Directory, needed: u64, spare: Spare) -> Result<()> {
        let new = self.create(dir, needed, spare)?;
        if let Err(e) = self.finish_active(dir) {
            dir.files.remove(std::slice::from_ref(&new.data));
            self.discard(dir, &new.data.path);
            return Err(e);
        }
        self.active = Some(new);
        // So that a sync of a file without records is not taken for one that was done.
        self.next_seq += 1;
        self.names += 1;
        Ok(())
    }

    /// Appends `changes` in order, one batch if there are several. `collides` says of each whether its hash
    /// is another key's too; it is asked after the change was copied, while whose answer takes a cache miss that
    /// was started before. The caller has made room. Gives the place of the first; the others follow it.
    #[inline]
    pub(crate) fn append(
        &mut self,
        dir: &Directory,
        changes: &[Change<'_>],
        mut collides: impl FnMut(usize) -> Result<bool>,
    ) -> Result<Place> {
        let time_ms = dir.clock.wall_ms();
        if let [Change::Staged { .. }] = changes {
            // It is there, since room was made for it.
            collides(0).map_err(|e| self.poison(e))?;
            self.next_seq += 1;
            return Ok(self.active_mut().data.place(FILE_HEADER_LEN as u64));
        }
        let before = self.rollback_point();
        if self.durable > self.marked {
            self.append_mark(time_ms, Flags::MARK);
        }
        let member = if changes.len() > 1 {
            self.append_frame(time_ms, changes);
            Flags::MEMBER
        } else {
            Flags::NONE
        };
        let mut first = None;
        for (index, change) in changes.iter().enumerate() {
            let flags = change.flags().and(member);
            let fields = Fields {
                flags,
                seq: self.next_seq,
                time_ms,
                expires_ms: change.expires_ms(),
                key: change.key(),
                value: change.value(),
            };
            let place = match self.active_mut().append(fields, || collides(index)) {
                Ok(place) => place,
                Err(AppendError::Lookup(e)) => {
                    // A mark may have been appended already, and counts.
                    self.flush(before)?;
                    return Err(e);
                }
                Err(AppendError::Write(e)) => return Err(self.poison(e)),
            };
            self.next_seq += 1;
            first = first.or(Some(place));
        }
        self.flush(before)?;
        Ok(first.expect("there is at least one change"))
    }

    /// Makes the file in which a value was staged the active one, with the record that it waited for; the next thing
    /// appended is that record. What [`Self::make_room`] is for other changes.
    pub(crate) fn adopt(
        &mut self,
        dir: &Directory,
        change: &Change<'_>,
        staged: &Staged,
        collides: Flags,
    ) -> Result<()> {
        self.finish_active(dir)?;
        let id = self.take_file_id()?;
        let path = dir.data_path(FileKind::Log, id);
        let (header, seed) = self.header(dir, id).encode();
        let fields = Fields {
            flags: change.flags().and(collides),
            seq: self.next_seq,
            time_ms: dir.clock.wall_ms(),
            expires_ms: change.expires_ms(),
            key: change.key(),
            value: &[],
        };
        let at = FILE_HEADER_LEN as u64;
        let tail = (staged.value_len, staged.tail_crc, staged.tail_len);
        let (before, checksum) = record::encode_before(&fields, at, seed, tail);
        let len = at + staged.record_len;
        let file = &staged.file;
        write_all_at(&**file, &before, at)
            .and_then(|()| write_all_at(&**file, &header, 0))
            .map_err(|e| Error::io("cannot write to", &staged.path, e))?;
        let capacity = dir.options.max_file_size.max(len);
        let mut active = Active::new(dir, file.clone(), (id, seed), path.clone(), len, capacity)?;
        if let Err(e) = dir.fs.rename(&staged.path, &path) {
            dir.files.remove(std::slice::from_ref(&active.data));
            // It may have its name all the same.
            return Err(self.poison(Error::io("cannot name", &path, e)));
        }
        active.digest = record::digest(0, checksum);
        active.data.seq_min.store(self.next_seq, Ordering::Release);
        self.active = Some(active);
        self.names += 1;
        Ok(())
    }

    /// The header of the next file of the log.
    fn header(&self, dir: &Directory, file_id: u64) -> FileHeader {
        FileHeader {
            kind: FileKind::Log,
            salt: new_salt(dir),
            store_id: dir.store_id,
            file_id,
            next_seq: self.next_seq,
            previous: if self.has_unsynced() { self.position().file_id } else { 0 },
        }
    }

    fn append_mark(&mut self, time_ms: u64, flags: Flags) {
        // Not back, whatever the clock says: the marks before it may go away with their files.
        let time_ms = time_ms.max(self.marked_time.time_ms);
        let active = self.active_mut();
        let (digest, seed, file_id) = (active.digest, active.data.seed, active.data.id);
        let value = Mark { durable: self.durable, digest, seed }.encode();
        self.append_record(flags, time_ms, &value);
        self.marked = self.durable;
        self.marked_time = TimeMark { time_ms, file_id };
    }

    fn append_frame(&mut self, time_ms: u64, changes: &[Change<'_>]) {
        let len = changes.iter().map(Change::record_len).sum();
        let count = u32::try_from(changes.len()).expect("the batch was checked at the front door");
        self.append_record(Flags::FRAME, time_ms, &Frame { count, len }.encode());
    }

    /// Appends a record without a key under the next sequence number.
    fn append_record(&mut self, flags: Flags, time_ms: u64, value: &[u8]) {
        let (seq, expires_ms) = (self.next_seq, NEVER);
        self.next_seq += 1;
        let fields = Fields { flags, seq, time_ms, expires_ms, key: &[], value };
        self.active_mut().append(fields, || Ok(false)).expect("no collision was looked for");
    }

    fn active_mut(&mut self) -> &mut Active {
        self.active.as_mut().expect("room was made before appending")
    }

    /// Hands plain records to the operating system; mapped ones are there already. If the disk is full, which
    /// happens here only where space cannot be reserved, all goes back to how it was `before`.
    fn flush(&mut self, before: RollbackPoint) -> Result<()> {
        let active = self.active_mut();
        let Err(e) = active.flush() else { return Ok(()) };
        let error = Error::io("cannot append", &active.data.path, e);
        if error.kind() == ErrorKind::Full && active.file.set_len(before.end).is_ok() {
            active.roll_back(before.end, before.digest);
            (self.next_seq, self.marked) = (before.next_seq, before.marked);
            self.marked_time = before.marked_time;
            return Err(error);
        }
        Err(self.poison(error))
    }

    fn rollback_point(&mut self) -> RollbackPoint {
        let (next_seq, marked, marked_time) = (self.next_seq, self.marked, self.marked_time);
        let Active { end, digest, .. } = *self.active_mut();
        RollbackPoint { next_seq, marked, marked_time, end, digest }
    }

    /// Creates the next file of the log, with room for `needed` bytes, or leaves nothing behind.
    fn create(&mut self, dir: &Directory, needed: u64, spare: Spare) -> Result<Active> {
        let id = self.take_file_id()?;
        let path = dir.data_path(FileKind::Log, id);
        let file =
            dir.fs.open(&path, Access::Create).map_err(|e| Error::io("cannot create", &path, e))?;
        let (bytes, seed) = self.header(dir, id).encode();
        let len = FILE_HEADER_LEN as u64;
        let capacity = dir.options.max_file_size.max(len + needed);
        let created = write_all_at(&*file, &bytes, 0)
            .map_err(|e| Error::io("cannot write to", &path, e))
            .and_then(|()| Active::new(dir, file.into(), (id, seed), path.clone(), len, capacity));
        let created = created.and_then(|mut active| {
            active.data.seq_min.store(self.next_seq, Ordering::Release);
            active.allocate(dir, needed, spare).inspect_err(|_| {
                dir.files.remove(std::slice::from_ref(&active.data));
            })?;
            Ok(active)
        });
        created.inspect_err(|_| self.discard(dir, &path))
    }

    /// Removes a file of the log that was not begun after all. It must not stand before later ones without its end: if
    /// it cannot be removed there must be no later ones; its removal is durable before anything after it is.
    fn discard(&mut self, dir: &Directory, path: &Path) {
        self.names += 1;
        if let Err(e) = dir.fs.remove(path) {
            self.poison(Error::io("cannot remove an unfinished file", path, e));
        }
    }

    /// Ends the active file. It is not yet durable.
    pub(crate) fn finish_active(&mut self, dir: &Directory) -> Result<()> {
        let Some(active) = &mut self.active else { return Ok(()) };
        // Reserved with every append; not so in a file that was opened again.
        active.allocate(dir, MARK_LEN as u64, Spare::NONE)?;
        let before = self.rollback_point();
        self.append_mark(dir.time.now_ms(), Flags::MARK.and(Flags::END));
        self.flush(before)?;
        let active = self.active.take().expect("it was there");
        tracing::info!(file = active.data.id, bytes = active.end, "finished a data file");
        self.finished.push(Finished { data: active.data, file: active.file });
        Ok(())
    }

    /// Appends a last mark, and cuts the reserved bytes off. The caller has synced, and syncs again.
    pub(crate) fn mark_end(&mut self, dir: &Directory) -> Result<()> {
        if self.active.is_none() {
            return Ok(());
        }
        if self.durable > self.marked {
            self.mark(dir)?;
        }
        let active = self.active_mut();
        if active.allocated == active.end {
            return Ok(());
        }
        active
            .file
            .set_len(active.end)
            .map_err(|e| Error::io("cannot cut to its length", &active.data.path, e))?;
        active.allocated = active.end;
        Ok(())
    }

    /// Has the log say that it is durable beyond file `id`, if a file follows that one and does not say so yet: before
    /// file `id` goes away, because the next one may name it as the file before. What time it is, if that matters, is
    /// said in a later file, too. The caller has synced, and syncs again.
    pub(crate) fn mark_beyond(&mut self, dir: &Directory, id: u64) -> Result<()> {
        let follows = |file: &Arc<DataFile>| file.kind == FileKind::Log && file.id > id;
        if self.active.is_none() && dir.files.guard().iter().any(follows) {
            self.rotate(dir, 2 * MARK_LEN as u64, Spare::NONE)?;
        }
        let says_so = self.marked.file_id > id || self.durable.file_id <= id;
        if self.active.is_some() && !says_so {
            self.mark(dir)?;
        }
        if self.marked_time.file_id <= id {
            self.marked_time = TimeMark::default();
        }
        self.mark_time(dir)
    }

    /// Has the log say what time it is, if somebody was told that a key has expired since it last did: that key must
    /// not come back, whatever the clock says when the store is opened again.
    pub(crate) fn mark_time(&mut self, dir: &Directory) -> Result<()> {
        if dir.time.seen_passed_ms() <= self.marked_time.time_ms || self.poisoned.is_some() {
            return Ok(());
        }
        if self.active.is_none() {
            self.rotate(dir, 2 * MARK_LEN as u64, Spare::NONE)?;
        }
        self.mark(dir)
    }

    /// Appends a mark to the active file.
    fn mark(&mut self, dir: &Directory) -> Result<()> {
        self.active_mut().allocate(dir, MARK_LEN as u64, Spare::NONE)?;
        let before = self.rollback_point();
        self.append_mark(dir.time.now_ms(), Flags::MARK);
        self.flush(before)
    }

    /// Takes note that a change waits for a sync since `now_ns`, and says whether the oldest has waited longer
    /// than `limit_ns`.
    pub(crate) fn waits_too_long(&mut self, now_ns: u64, limit_ns: u64) -> bool {
        let waiting_since = *self.waiting_since.get_or_insert(now_ns);
        let oldest = self.syncing_since.unwrap_or(waiting_since).min(waiting_since);
        now_ns.saturating_sub(oldest) > limit_ns
    }

    /// Whether nothing that was appended lately waits for a sync.
    pub(crate) fn waits_for_nothing(&self) -> bool {
        self.waiting_since.is_none()
    }

    /// Pages that should be made ready before the log gets there, if it is time for more.
    pub(crate) fn take_ahead(&mut self) -> Option<Ahead> {
        self.active.as_mut()?.take_ahead()
    }

    /// Whether there are finished files that are not yet durable.
    pub(crate) fn has_finished(&self) -> bool {
        !self.finished.is_empty()
    }

    /// A number for the next file.
    pub(crate) fn take_file_id(&mut self) -> Result<u64> {
        let id = self.next_file_id;
        self.next_file_id = id
            .checked_add(1)
            .ok_or_else(|| Error::invalid("the store has used up all file numbers"))?;
        Ok(id)
    }

    /// The active file, if at least `bytes` of it, or all of a short one, were appended since its hint was written.
    pub(crate) fn unhinted(&self, bytes: u64) -> Option<Finished> {
        let active = self.active.as_ref()?;
        let since = active.end.saturating_sub(active.hinted.max(FILE_HEADER_LEN as u64));
        let worth_it = since > 0 && (since >= bytes || active.end < bytes);
        worth_it.then(|| Finished { data: active.data.clone(), file: active.file.clone() })
    }

    /// What is to be synced now.
    pub(crate) fn sync_task(&mut self) -> SyncTask {
        self.syncing_since = self.waiting_since.take().or(self.syncing_since);
        SyncTask {
            finished: self.finished.clone(),
            active: self
                .active
                .as_ref()
                .map(|active| Finished { data: active.data.clone(), file: active.file.clone() }),
            names: (self.names > self.names_synced).then_some(self.names),
            durable: self.durable,
            position: self.position(),
            seq: self.next_seq - 1,
        }
    }

    /// Takes note that a task was done. Gives the files that are now finished and durable.
    pub(crate) fn synced(&mut self, task: &SyncTask) -> Vec<Finished> {
        self.durable = self.durable.max(task.position);
        self.syncing_since = None;
        if let Some(names) = task.names {
            self.names_synced = self.names_synced.max(names);
        }
        let done = self
            .finished
            .iter()
            .take_while(|file| task.finished.iter().any(|synced| synced.data.id == file.data.id));
        let done = done.count();
        self.finished.drain(..done).collect()
    }
}

/// Space that a merge of the largest file may need: for its output, and for the hints of that and of every file that has
/// none yet. For tiny records a hint is half as large as its file, and it is a block at least.
fn space_to_merge(dir: &Directory) -> u64 {
    let files = dir.files.guard();
    let len = |file: &Arc<DataFile>| file.len.load(Ordering::Relaxed);
    let hint = |len: u64| len / 2 + SPARE_FOR_HINT;
    let largest = files.iter().map(len).max().unwrap_or(0);
    let unsealed = files.iter().filter(|file| !file.sealed.load(Ordering::Acquire));
    largest + hint(largest) + unsealed.map(|file| hint(len(file))).sum::<u64>()
}

fn new_salt(dir: &Directory) -> u32 {
    let [a, b, c, d, ..] = dir.fs.random();
    u32::from_le_bytes([a, b, c, d])
}
