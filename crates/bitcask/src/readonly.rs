//! Reading beside the process that writes.
//!
//! A reader takes no lock and changes nothing. It surveys the directory as opening to write does, and fills a keydir of
//! its own; then it follows the log. [`ReadOnly::refresh`] applies what was appended since, in order. When merge has taken
//! files away, which stay readable here because they are open, the directory is surveyed anew, so that their
//! space is not held for long.
//!
//! What a reader shows is always what the store was after some change: a prefix of the log. A directory is not
//! listed in one moment, so a survey counts only if the directory lists the same before and after it; then no file can
//! have come and another gone in between. And what looks like damage may be a file that was caught in the middle of something:
//! it is believed when it is still there after a few tries.

use std::fmt;
use std::ops::RangeBounds;
use std::path::Path;
use std::sync::Arc;

use crate::directory::{Directory, Lookup};
use crate::engine::choose_io;
use crate::error::{Error, ErrorKind, Result};
use crate::files::{DataFile, PlainFile, Source};
use crate::follow::{Followed, Follower, LogFile};
use crate::header::FileKind;
use crate::iter::{Iter, Keys};
use crate::load::{LoadSource, load};
use crate::name::LOCK_NAME;
use crate::options::Options;
use crate::page::{Cursor, Page, Prefix};
use crate::range::Range;
use crate::read::{GETS_AT_ONCE, Moment};
use crate::record::Flags;
use crate::recovery::attach_sealed;
use crate::snapshot::Snapshot;
use crate::survey::{Found, Listing, Survey, store_id};
use crate::sync::atomic::Ordering;
use crate::sync::{Mutex, RwLock, lock, read, write};
use crate::value::Value;
use crate::watch::Watch;

/// Surveys before what was found is believed to be damage.
const ATTEMPTS: usize = 10;
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
struct View {
    dir: Arc<Directory>,
    /// The largest sequence number applied.
    seq: u64,
}

struct Following {
    follower: Follower,
    /// The directory's data files when it was surveyed, and those that came since.
    logs: Vec<u64>,
    merged: Vec<u64>,
    /// Files that may still grow, or did since the survey.
    growing: Vec<Arc<DataFile>>,
}

/// A change that was read and waits to be applied.
struct Pending {
    file: Arc<DataFile>,
    key: Vec<u8>,
    offset: u64,
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

    /// Catches up with the writer: applies all changes made by now. Gives how many.
    ///
    /// # Errors
    /// `Corrupt`, `Unsupported`, `Io`: what was there before can still be read.
    pub fn refresh(&self) -> Result<u64> {
        let mut following = lock(&self.0.follower);
        let dir = self.dir();
        let before = self.seq();
        let listing = Listing::of_dir(&*dir.fs, &dir.path)?;
        if following.is_outdated(&listing) {
            return self.survey(&mut following).map(|()| self.seq() - before);
        }
        let mut count = 0;
        let mut pending = Vec::new();
        loop {
            let Following { follower, growing, logs, .. } = &mut *following;
            let went_on = follower.read(&dir, &mut |followed| {
                let file = file_of(&dir, growing, logs, followed.file)?;
                pending.push(Pending::of(file, &followed));
                Ok(())
            });
            count += pending.len() as u64;
            self.apply(&dir, &mut pending)?;
            match went_on {
                Ok(true) => {}
                Ok(false) => break,
                // What is missing was merged away before it was read: the survey finds it.
                Err(e) if e.kind() == ErrorKind::Gone || e.is_not_found() => {
                    self.survey(&mut following)?;
                    return Ok(self.seq() - before);
                }
                Err(e) => return Err(e),
            }
        }
        drop_expired(&dir, &write(&self.0.view))?;
        Ok(count)
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

    /// Makes changes visible, a batch in one step.
    fn apply(&self, dir: &Directory, pending: &mut Vec<Pending>) -> Result<()> {
        let mut pending = pending.drain(..).peekable();
        while pending.peek().is_some() {
            let mut view = write(&self.0.view);
            for change in pending.by_ref() {
                change.apply(dir)?;
                view.seq = change.seq;
                if change.is_last {
                    break;
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
        let view = read(&self.0.view);
        let dir = &view.dir;
        dir.get(&dir.files.guard(), dir.hash(key), key, Moment::NOW)
    }

    /// The values stored under many keys, all at one moment, in their order.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_many<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<Vec<Option<Value>>> {
        let view = read(&self.0.view);
        let mut values = Vec::with_capacity(keys.len());
        for keys in keys.chunks(GETS_AT_ONCE) {
            view.dir.get_at_once(keys, Moment::NOW, &mut values)?;
        }
        Ok(values)
    }

    /// Whether a value is stored under `key`.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn contains(&self, key: &[u8]) -> Result<bool> {
        let view = read(&self.0.view);
        let dir = &view.dir;
        Ok(dir.find(&dir.files.guard(), dir.hash(key), key, Moment::NOW)?.is_some())
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

    /// The sequence number of the last change that it knows.
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

    /// Changes to keys that begin with `prefix`, from a sequence number on, as
    /// [`Bitcask::watch`](crate::Bitcask::watch). Needs no refreshing.
    ///
    /// # Errors
    /// `Gone` if some of them were merged away; as [`get`](Self::get).
    pub fn watch(&self, prefix: &[u8], from_seq: u64) -> Result<Watch> {
        Watch::new(self.dir(), prefix, from_seq)
    }
}

impl fmt::Debug for ReadOnly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadOnly").field("dir", &self.dir().path).finish_non_exhaustive()
    }
}

impl Following {
    /// Whether files went away, or came that are not the next of the log.
    fn is_outdated(&self, listing: &Listing) -> bool {
        self.merged != listing.merged
            || self.logs.iter().any(|id| !listing.logs.contains(id))
            || self.growing.len() >= FOLLOWED_MAX
    }
}

impl Pending {
    fn of(file: Arc<DataFile>, followed: &Followed<'_>) -> Self {
        let record = &followed.record;
        Self {
            file,
            key: record.key.to_vec(),
            offset: followed.offset,
            seq: record.seq,
            expires_ms: record.expires_ms,
            is_put: record.flags.has(Flags::VALUE),
            is_last: followed.is_last,
        }
    }

    fn apply(&self, dir: &Directory) -> Result<()> {
        let hash = dir.hash(&self.key);
        let Lookup { found, .. } = dir.lookup(&dir.files.guard(), hash, &self.key)?;
        let done = match found {
            // Known already: the survey met it, and the follower began a little before.
            Some(old) if old.seq >= self.seq => true,
            old if self.is_put => {
                let place = self.file.place(self.offset);
                dir.put_in(hash, &self.key, old, (place, self.seq), self.expires_ms)
            }
            Some(old) => dir.take_out(hash, &self.key, old, self.seq),
            None => true,
        };
        assert!(done, "nobody else changes the keydir of a reader");
        Ok(())
    }
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
    let file = attach_growing(dir, log.id, log.seed)?;
    growing.push(file.clone());
    logs.push(log.id);
    Ok(file)
}

/// Adds a file that the writer appends to. It is read by `pread`, because nobody knows how long it will be.
fn attach_growing(dir: &Directory, id: u64, seed: u32) -> Result<Arc<DataFile>> {
    let path = dir.data_path(FileKind::Log, id);
    let source = Source::Plain(PlainFile::opened(dir, &path, dir.open_file(&path)?.into()));
    dir.files.add(GROWING_LEN, |first_chunk| {
        // Only records that were checked are asked for, so any length will do.
        Ok(DataFile::new((id, FileKind::Log, seed), path, first_chunk, source, GROWING_LEN))
    })
}

fn drop_expired(dir: &Directory, view: &View) -> Result<()> {
    while dir.drop_some_expired(view.seq + 1)? {}
    Ok(())
}

/// Surveys a directory that somebody may be writing to.
fn survey_until_sound(path: &Path, options: &Options) -> Result<(View, Following)> {
    let mut attempt = 1;
    loop {
        match survey(path, options) {
            Ok(Some(surveyed)) => return Ok(surveyed),
            Ok(None) => {}
            Err(e) if attempt >= ATTEMPTS => return Err(e),
            // Merge took a file away, or a file was read while its end was being written.
            Err(e) if e.is_not_found() || e.kind() == ErrorKind::Corrupt => attempt += 1,
            Err(e) => return Err(e),
        }
        std::thread::yield_now();
    }
}

/// None if the directory changed meanwhile.
fn survey(path: &Path, options: &Options) -> Result<Option<(View, Following)>> {
    let fs = &options.fs;
    let list = || {
        let entries = fs.list(path);
        entries.map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => Error::invalid("there is no such directory").at(path),
            _ => Error::io("cannot list the directory", path, e),
        })
    };
    let entries = list()?;
    let is_locked_once = entries.iter().any(|entry| entry.name == LOCK_NAME);
    let listing = Listing::of(entries);
    listing.check_whole(path)?;
    if !listing.holds_store() && !is_locked_once {
        return Err(Error::invalid("the directory holds no store").at(path));
    }
    let store_id = store_id(&**fs, path, &listing)?.unwrap_or_default();
    let mapped = choose_io(options, path)?;
    let dir = Directory::new(path, options.clone(), store_id, mapped, true);
    let mut survey = Survey::of(&dir, &listing)?;
    dir.time.not_before(survey.time_ms());
    // A file that was just begun, or is being written to, ends where it ends for now.
    survey.end_at_hole(&dir)?;
    let after = Listing::of(list()?);
    after.check_whole(path)?;
    // Files that the log has gone on in may have come.
    if listing.merged != after.merged || !after.logs.starts_with(&listing.logs) {
        return Ok(None);
    }
    open_surveyed(Arc::new(dir), survey).map(Some)
}

/// Fills the keydir, and stands where the log ends.
fn open_surveyed(dir: Arc<Directory>, survey: Survey) -> Result<(View, Following)> {
    let seq = survey.seq_max();
    let ids = |found: &[Found]| found.iter().map(|found| found.id).collect::<Vec<_>>();
    let (logs, merged) = (ids(&survey.logs), ids(&survey.merged));
    let (mut growing, mut follower) = (Vec::new(), Follower::behind(0, seq));
    if let Some(last) = survey.logs.last().filter(|last| !last.ended) {
        let seed = last.seed.expect("a file without a header does not count");
        follower = Follower::at(&dir, (last.id, seed), (last.end, last.digest), seq)?;
        growing.push(attach_growing(&dir, last.id, seed)?);
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
        sources.push(LoadSource::new(data, found.hint, found.entries, found.ended));
    }
    load(&dir, sources)?;
    Ok((View { dir, seq }, Following { follower, logs, merged, growing }))
}
