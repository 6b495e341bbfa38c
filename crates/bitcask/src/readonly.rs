//! Reading beside the process that writes.
//!
//! A reader takes no lock and changes nothing. It surveys the directory as opening to write does, and fills a keydir of
//! its own; then it follows the log. [`ReadOnly::refresh`] applies what was appended since, in order. When merge has taken
//! files away, which stay readable here because they are open, the directory is surveyed anew, so that their
//! space is not held for long.
//!
//! What a reader shows is always what the store was after some change: a prefix of the log. A directory is not
//! listed in one moment, so a survey first opens all files, and counts only if the directory lists the same before and after
//! that; then no file can have come and another gone in between. From there on it reads what it has open, and the writer may
//! do what it likes. And what looks like damage may be a file that was caught in the middle of something: it is believed
//! when it is still there after a few tries.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::ops::{ControlFlow, RangeBounds};
use std::path::Path;
use std::sync::Arc;

use crate::checkpoint::{CheckpointProgress, CheckpointReport, checkpoint, data_parts};
use crate::directory::{Directory, Found};
use crate::error::{ErrorKind, Result};
use crate::expiry::Expiry;
use crate::files::{DataFile, PlainFile, Source};
use crate::follow::{Followed, Follower, LogFile, Progress};
use crate::header::{FILE_HEADER_LEN, FileKind};
use crate::iter::{Iter, Keys};
use crate::load::{LoadSource, load};
use crate::options::Options;
use crate::page::{Cursor, Page, Prefix};
use crate::range::Range;
use crate::read::Moment;
use crate::record::Flags;
use crate::recovery::attach_sealed;
use crate::snapshot::Snapshot;
use crate::sound::{survey, until_sound};
use crate::stats::Stats;
use crate::stream::ValueReader;
use crate::survey::{self, Listing, Survey};
use crate::sync::atomic::Ordering;
use crate::sync::{Mutex, RwLock, lock, read, write};
use crate::value::Value;
use crate::verify::{VerifyOptions, VerifyProgress, VerifyReport, stretches, verify};
use crate::watch::Watch;

/// Address space for a log file that is being written, which may grow to any length.
const GROWING_LEN: u64 = 17 << 30;
/// Log files that are followed before all is surveyed anew, which gives them less address space.
const FOLLOWED_MAX: usize = 64;

/// A store opened for reading beside the process that writes to it, see
/// [`Options::open_read_only`]. Cheap to clone.
#[derive(Clone)]
pub struct ReadOnly(Arc<Reader>);

struct Reader {
    options: Options,
    /// Held by who refreshes.
    follower: Mutex<Following>,
    /// Locked for writing while changes are applied.
    view: RwLock<View>,
}

/// What readers see.
#[derive(Clone)]
pub(crate) struct View {
    dir: Arc<Directory>,
    /// Every change up to this sequence number is applied.
    seq: u64,
}

pub(crate) struct Following {
    follower: Follower,
    /// The directory's data files when it was surveyed, and those that came since.
    logs: Vec<u64>,
    merged: Vec<u64>,
    /// Files that may still grow, or did since the survey.
    growing: Vec<Arc<DataFile>>,
    /// What was read and is not yet applied: nothing, unless that failed.
    pending: VecDeque<Pending>,
    /// Whether to survey anew whatever happened.
    is_unsound: bool,
}

/// A change that was read and waits to be applied.
struct Pending {
    file: Arc<DataFile>,
    key: Vec<u8>,
    hash: u64,
    offset: u64,
    len: u64,
    seq: u64,
    expires_ms: u64,
    is_put: bool,
    is_last: bool,
}

impl ReadOnly {
    pub(crate) fn open_with(path: &Path, options: Options) -> Result<Self> {
        let (view, following) = survey_until_sound(path, &options)?;
        let (view, follower) = (RwLock::new(view), Mutex::new(following));
        Ok(Self(Arc::new(Reader { options, follower, view })))
    }

    /// Catches up with the writer: applies all changes made by now.
    ///
    /// # Errors
    /// `Corrupt`, `Unsupported`, `Io`: what was there before can still be read.
    pub fn refresh(&self) -> Result<()> {
        self.catch_up(&mut lock(&self.0.follower))
    }

    fn catch_up(&self, following: &mut Following) -> Result<()> {
        let dir = self.dir();
        let listing = Listing::of_dir(&*dir.fs, &dir.path)?;
        if following.is_outdated(&listing) {
            return self.survey(following);
        }
        loop {
            let Following { follower, growing, logs, pending, .. } = following;
            self.apply(&dir, pending)?;
            let progress = follower.read(&dir, &mut |followed| {
                let file = file_of(&dir, growing, logs, followed.file)?;
                pending.push_back(Pending::of(&dir, file, &followed));
                Ok(())
            });
            self.apply(&dir, pending)?;
            match progress {
                Ok(Progress::Went) if growing.len() >= FOLLOWED_MAX => {
                    return self.survey(following);
                }
                Ok(Progress::Went) => {}
                Ok(Progress::Waits) => break,
                // What a crash left, or damage: the survey tells.
                Ok(Progress::Torn(next, _)) => {
                    self.survey(following)?;
                    following.follower.wait_before(next);
                    return Ok(());
                }
                Ok(Progress::Replaced) => return self.survey(following),
                // What is missing was merged away before it was read: the survey finds it.
                Err(e) if e.kind() == ErrorKind::Gone || e.is_not_found() => {
                    return self.survey(following);
                }
                Err(e) => return Err(e),
            }
        }
        let mut view = write(&self.0.view);
        // Marks have numbers, too.
        view.seq = view.seq.max(following.follower.seen());
        // Where a record cannot be read, the keydir is not what it should be.
        let dropped = drop_expired(&dir, &view);
        following.is_unsound = dropped.is_err();
        dropped
    }

    /// Reads the directory anew.
    fn survey(&self, following: &mut Following) -> Result<()> {
        let (view, new) = survey_until_sound(&self.dir().path, &self.0.options)?;
        // Time does not go back from one survey to the next.
        view.dir.time.not_before(self.dir().time.now_ms());
        *following = new;
        *write(&self.0.view) = view;
        Ok(())
    }

    /// Makes changes visible, a batch in one step. After an error, what was not applied is still there.
    fn apply(&self, dir: &Directory, pending: &mut VecDeque<Pending>) -> Result<()> {
        while let Some(last) = pending.iter().position(|change| change.is_last) {
            // All that can fail comes first.
            let prepared = prepare(dir, pending.range(..=last))?;
            let mut view = write(&self.0.view);
            for (change, old) in pending.drain(..=last).zip(prepared) {
                // After an error the same may be read again.
                if change.seq > view.seq {
                    change.apply(dir, old);
                    view.seq = change.seq;
                }
            }
        }
        Ok(())
    }

    fn dir(&self) -> Arc<Directory> {
        read(&self.0.view).dir.clone()
    }

    /// The value stored under `key`, if there was one at the last [`refresh`](Self::refresh).
    ///
    /// # Errors
    /// As [`Bitcask::get`](crate::Bitcask::get).
    pub fn get(&self, key: &[u8]) -> Result<Option<Value>> {
        read(&self.0.view).dir.get(key, Moment::NOW)
    }

    /// The values stored under many keys, all at one moment, in their order.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_many<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<Vec<Option<Value>>> {
        read(&self.0.view).dir.get_many(keys, Moment::NOW)
    }

    /// Whether a value is stored under `key`.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn contains(&self, key: &[u8]) -> Result<bool> {
        read(&self.0.view).dir.contains(key, Moment::NOW)
    }

    /// When `key` expires; none if it is not there.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn expires_at(&self, key: &[u8]) -> Result<Option<Expiry>> {
        read(&self.0.view).dir.expires_at(key, Moment::NOW)
    }

    /// Reads the value stored under `key`, as [`Bitcask::get_reader`](crate::Bitcask::get_reader).
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_reader(&self, key: &[u8]) -> Result<Option<ValueReader>> {
        read(&self.0.view).dir.reader(key, Moment::NOW)
    }

    /// How many keys there are.
    pub fn len(&self) -> u64 {
        let view = read(&self.0.view);
        view.dir.len(view.dir.time.now_ms())
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The largest sequence number that it knows: changes have them, and marks of the log.
    pub fn seq(&self) -> u64 {
        read(&self.0.view).seq
    }

    /// The store as it is now in this handle; refreshing does not change it.
    pub fn snapshot(&self) -> Snapshot {
        self.snapshot_for("snapshot")
    }

    fn snapshot_for(&self, what: &'static str) -> Snapshot {
        // With the view locked for reading no change is under way.
        let view = read(&self.0.view);
        Snapshot::take(&view.dir, view.seq, what)
    }

    /// All keys with their values, each once, in no order, on a [snapshot](Self::snapshot).
    pub fn iter(&self) -> Iter {
        self.snapshot_for("iterator").iter()
    }

    /// All keys, each once, in no order.
    pub fn keys(&self) -> Keys {
        Keys(self.iter())
    }

    /// Keys with their values, in order, as [`Bitcask::range`](crate::Bitcask::range).
    ///
    /// # Errors
    /// `Invalid` without an ordered index.
    pub fn range<K: AsRef<[u8]> + ?Sized>(&self, bounds: impl RangeBounds<K>) -> Result<Range> {
        self.snapshot_for("range").range(bounds)
    }

    /// The first key, as [`Bitcask::first`](crate::Bitcask::first).
    ///
    /// # Errors
    /// `Invalid` without an ordered index; as [`get`](Self::get).
    pub fn first(&self) -> Result<Option<(Vec<u8>, Value)>> {
        self.snapshot_for("range").first()
    }

    /// The last key, as [`Bitcask::last`](crate::Bitcask::last).
    ///
    /// # Errors
    /// `Invalid` without an ordered index; as [`get`](Self::get).
    pub fn last(&self) -> Result<Option<(Vec<u8>, Value)>> {
        self.snapshot_for("range").last()
    }

    /// All keys that begin with `prefix`, as [`Bitcask::prefix`](crate::Bitcask::prefix).
    pub fn prefix(&self, prefix: &[u8]) -> Prefix {
        self.snapshot_for("range").prefix(prefix)
    }

    /// A part of all keys, as [`Bitcask::scan`](crate::Bitcask::scan).
    ///
    /// # Errors
    /// `Invalid` if the cursor is none; as [`get`](Self::get).
    pub fn scan(&self, prefix: &[u8], from: Option<&Cursor>, limit: usize) -> Result<Page> {
        self.snapshot_for("scan").scan(prefix, from, limit)
    }

    /// Reads and checks every record, hint and dictionary that this handle knows of, as
    /// [`Bitcask::verify`](crate::Bitcask::verify); of a file that is still written to, what it has seen.
    ///
    /// # Errors
    /// `Io`. Damage is not an error: it is in the report.
    pub fn verify(&self) -> Result<VerifyReport> {
        self.verify_with(&VerifyOptions::new(), |_| ControlFlow::Continue(()))
    }

    /// The same; `progress` is told how far it is, and may stop it.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub fn verify_with(
        &self,
        options: &VerifyOptions,
        mut progress: impl FnMut(&VerifyProgress) -> ControlFlow<()>,
    ) -> Result<VerifyReport> {
        let (dir, files) = {
            // Between changes: no file ends within a batch.
            let view = read(&self.0.view);
            (view.dir.clone(), stretches(&view.dir))
        };
        let wait = |duration| {
            std::thread::park_timeout(duration);
            true
        };
        verify(&dir, files, options, &mut progress, &wait)
    }

    /// Catches up with the writer, and makes the directory `target` a backup of that, as
    /// [`Bitcask::checkpoint`](crate::Bitcask::checkpoint). The writer goes on meanwhile, merges too.
    ///
    /// # Errors
    /// As [`refresh`](Self::refresh) and [`Bitcask::checkpoint`](crate::Bitcask::checkpoint).
    pub fn checkpoint(&self, target: impl AsRef<Path>) -> Result<CheckpointReport> {
        self.checkpoint_with(target, |_| ControlFlow::Continue(()))
    }

    /// The same; `progress` is told how far it is, after each file and each MiB copied, and may stop it.
    ///
    /// # Errors
    /// As [`checkpoint`](Self::checkpoint).
    pub fn checkpoint_with(
        &self,
        target: impl AsRef<Path>,
        mut progress: impl FnMut(&CheckpointProgress) -> ControlFlow<()>,
    ) -> Result<CheckpointReport> {
        self.refresh()?;
        let now = || {
            let mut following = lock(&self.0.follower);
            self.catch_up(&mut following)?;
            // Of files that ended since the survey it is not known where, and of one that was begun and has no change it is
            // not known here: only a survey looks at all of them.
            let current = following.follower.position().map(|(id, _)| id);
            let known = following.growing.last().map(|file| file.id);
            if following.growing.len() > 1 || current != known {
                self.survey(&mut following)?;
            }
            // With the marks behind the last change: they have numbers, which no change of the copy is to have again.
            if let (Some(file), Some((id, offset))) =
                (following.growing.first(), following.follower.position())
                && file.id == id
            {
                file.len.fetch_max(offset, Ordering::AcqRel);
            }
            let view = read(&self.0.view);
            Ok((view.seq, data_parts(&view.dir)))
        };
        let dir = self.dir();
        checkpoint(&dir, target.as_ref(), now, &|| false, &mut progress)
    }

    /// Sizes, and what is in each file. What only the writer counts is 0.
    pub fn stats(&self) -> Stats {
        let growing = lock(&self.0.follower).growing.last().map(|file| file.id);
        let view = read(&self.0.view);
        let dir = &view.dir;
        // Who cannot list the directory is told so by whatever comes next.
        let listing = Listing::of_dir(&*dir.fs, &dir.path).unwrap_or_default();
        Stats { foreign: listing.foreign, ..Stats::of(dir, view.seq, growing) }
    }

    /// Changes to keys that begin with `prefix`, from a sequence number on, as
    /// [`Bitcask::watch`](crate::Bitcask::watch). Needs no refreshing.
    ///
    /// # Errors
    /// `Gone` if some of them were merged away; as [`get`](Self::get).
    pub fn watch(&self, prefix: &[u8], from_seq: u64) -> Result<Watch> {
        let dir = self.dir();
        // With a directory of its own it does not hold the files of a view that is given up.
        let options = Options { shard_bits: Some(0), ..dir.options.clone() };
        let own = Directory::new(&dir.path, options, dir.store_id, dir.mapped, true);
        Watch::new(Arc::new(own), prefix, from_seq)
    }
}

impl fmt::Debug for ReadOnly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadOnly").field("dir", &self.dir().path).finish_non_exhaustive()
    }
}

impl Following {
    /// Whether files went away, or came that are not the next of the log; or there was none, and so nothing was known of
    /// the store, its identity included.
    fn is_outdated(&self, listing: &Listing) -> bool {
        let was_empty = self.logs.is_empty() && self.merged.is_empty();
        self.is_unsound
            || was_empty && listing.holds_store()
            || self.merged != listing.merged
            || self.logs.iter().any(|id| !listing.logs.contains(id))
            || self.growing.len() >= FOLLOWED_MAX
    }
}

impl Pending {
    fn of(dir: &Directory, file: Arc<DataFile>, followed: &Followed<'_>) -> Self {
        let record = &followed.record;
        Self {
            file,
            key: record.key.to_vec(),
            hash: dir.hash(record.key),
            offset: followed.offset,
            len: record.len as u64,
            seq: record.seq,
            expires_ms: record.expires_ms,
            is_put: record.flags.has(Flags::VALUE),
            is_last: followed.is_last,
        }
    }

    /// What the keydir will know of the key.
    fn found(&self) -> Option<Found> {
        let Self { offset, len, seq, expires_ms, .. } = *self;
        self.is_put.then(|| Found { place: self.file.place(offset), len, seq, expires_ms })
    }

    fn apply(&self, dir: &Directory, old: Option<Found>) {
        // First: who finds its place may read it.
        self.file.len.store(self.offset + self.len, Ordering::Release);
        let done = match (old, self.found()) {
            (old, Some(new)) => {
                let place = (new.place, new.seq);
                dir.put_in(self.hash, &self.key, old, place, new.expires_ms)
            }
            (Some(old), None) => dir.take_out(self.hash, &self.key, old, self.seq),
            (None, None) => true,
        };
        assert!(done, "nobody else changes the keydir of a reader");
        if let Some(old) = old {
            dir.bury(&dir.files.guard(), old);
        }
        if !self.is_put {
            self.file.tombstones.fetch_add(self.len, Ordering::Relaxed);
        }
    }
}

/// What the keydir knows of the key of each change when its turn comes.
fn prepare<'a>(
    dir: &Directory,
    changes: impl ExactSizeIterator<Item = &'a Pending>,
) -> Result<Vec<Option<Found>>> {
    let mut newest = HashMap::new();
    let (mut prepared, is_one) = (Vec::new(), changes.len() == 1);
    for change in changes {
        let old = match newest.get(&change.key) {
            Some(&earlier) => earlier,
            None => dir.lookup(&dir.files.guard(), change.hash, &change.key)?.found,
        };
        prepared.push(old);
        if !is_one {
            newest.insert(&change.key, change.found());
        }
    }
    Ok(prepared)
}

/// The file that is followed, for reading its records later.
fn file_of(
    dir: &Directory,
    growing: &mut Vec<Arc<DataFile>>,
    logs: &mut Vec<u64>,
    log: &LogFile,
) -> Result<Arc<DataFile>> {
    if let Some(known) = growing.iter().find(|file| file.id == log.id) {
        return Ok(known.clone());
    }
    let file = attach_growing(dir, log.id, log.seed, FILE_HEADER_LEN as u64)?;
    growing.push(file.clone());
    logs.push(log.id);
    Ok(file)
}

/// Adds a file that the writer appends to. It is read by `pread`, because nobody knows how long it will be.
fn attach_growing(dir: &Directory, id: u64, seed: u32, len: u64) -> Result<Arc<DataFile>> {
    let path = dir.data_path(FileKind::Log, id);
    let source = Source::Plain(PlainFile::opened(dir, &path, dir.open_file(&path)?.into()));
    dir.files.add(GROWING_LEN, |first_chunk| {
        Ok(DataFile::new((id, FileKind::Log, seed), path, first_chunk, source, len))
    })
}

fn drop_expired(dir: &Directory, view: &View) -> Result<()> {
    let (mut after, mut failure) = (None, None);
    while dir.time.has_passed(dir.expiries.next_due_ms()) {
        let last = dir.drop_some_expired(after, view.seq + 1, &mut failure);
        if last.is_none() {
            break;
        }
        after = last;
    }
    failure.map_or(Ok(()), Err)
}

/// Surveys a directory that somebody may be writing to.
pub(crate) fn survey_until_sound(path: &Path, options: &Options) -> Result<(View, Following)> {
    until_sound(|| {
        let Some((dir, survey)) = survey(path, options)? else { return Ok(None) };
        let opened = open_surveyed(Arc::new(dir), survey)?;
        opened.0.dir.let_go();
        Ok(Some(opened))
    })
}

/// Fills the keydir, and stands where the log ends.
fn open_surveyed(dir: Arc<Directory>, survey: Survey) -> Result<(View, Following)> {
    let seq = survey.seq_max();
    let ids = |found: &[survey::Found]| found.iter().map(|found| found.id).collect::<Vec<_>>();
    let (logs, merged) = (ids(&survey.logs), ids(&survey.merged));
    let (mut growing, mut follower) = (Vec::new(), Follower::behind(0, seq));
    if let Some(last) = survey.logs.last().filter(|last| !last.ended) {
        let seed = last.seed.expect("a file without a header does not count");
        follower = Follower::at(&dir, (last.id, seed), (last.end, last.digest), seq)?;
        growing.push(attach_growing(&dir, last.id, seed, last.end)?);
    } else if let Some(last) = survey.logs.last() {
        follower = Follower::behind(last.id, seq);
    }
    let mut sources = Vec::new();
    for found in survey.logs.into_iter().chain(survey.merged) {
        let data = match growing.iter().find(|file| file.id == found.id) {
            Some(file) => file.clone(),
            None => attach_sealed(&dir, &found)?,
        };
        data.seq_min.store(found.seq_min(), Ordering::Release);
        let hinted = found.hint.as_ref().is_some_and(|hint| hint.header.ended);
        data.sealed.store(found.ended && hinted, Ordering::Release);
        sources.push(LoadSource::new(data, found.hint, found.entries, found.ended));
    }
    load(&dir, sources)?;
    Ok((
        View { dir, seq },
        Following { follower, logs, merged, growing, pending: VecDeque::new(), is_unsound: false },
    ))
}
