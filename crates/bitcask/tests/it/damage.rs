//! Damage: every bit flipped, every length, every lost sector, hints gone or of another time, strange directories.
//!
//! Small stores are damaged in every way, one at a time, and opened. What must come of it is not read off the
//! engine: [`Store::expect`] works it out from the undamaged bytes with a decoder of its own, the rules of
//! `docs/format.md` and the history of the store. It says whether opening must be refused, and if not, after which
//! operation of the history the store must stand, and which keys must answer `Corrupt`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]
#![allow(clippy::print_stdout, reason = "how many cases there were is worth a line")]

#[path = "care/mod.rs"]
mod care;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bitcask::fs::Fs as _;
use bitcask::fs::sim::{SimClock, SimFs};
use bitcask::{
    Bitcask, Cut, Durability, Error, ErrorKind, IoMode, MergePolicy, Options, WriteBatch,
};

const DIR: &str = "db";
const HEADER_LEN: usize = 64;
const RECORD_HEADER_LEN: usize = 28;
const BLOCK_LEN: usize = 4096;
const VALUE: u16 = 1;
const TOMBSTONE: u16 = 2;
const FRAME: u16 = 4;
const MARK: u16 = 8;
const END: u16 = 1 << 6;
const EXPIRES: u16 = 1 << 8;
/// No file of these tests is longer than 128 KiB, and the engine reads 256 KiB at a time.
const ALLOCATION_MAX: usize = 1 << 20;

/// Contents by name; unchanged contents are shared.
type Image = BTreeMap<String, Arc<Vec<u8>>>;

/// A record of the undamaged store.
#[derive(Clone, Debug)]
struct Rec {
    bytes: Range<usize>,
    flags: u16,
    seq: u64,
    /// What a mark says is durable, and its digest.
    mark: Option<((u64, u64), u32)>,
    /// A mark may hold the seed of its file: it then checks out without the header.
    has_seed: bool,
    /// Where the batch of a frame ends.
    batch_end: usize,
}

/// A data file of the undamaged store.
#[derive(Clone, Debug)]
struct DataFile {
    name: String,
    hint_name: String,
    id: u64,
    merged: bool,
    seed: u32,
    records: Vec<Rec>,
}

/// What one operation did: each change with the number of its record.
type Op = Vec<(u64, Vec<u8>, Option<Vec<u8>>)>;

/// A store that nobody has open, and how it came to be.
struct Store {
    image: Image,
    files: Vec<DataFile>,
    history: Vec<Op>,
    /// Operations before the last merge: it may have dropped what they superseded.
    merged_ops: usize,
}

/// What must come of opening a damaged store.
#[derive(Debug)]
struct Expectation {
    refused: bool,
    /// Operations that must have survived.
    ops: usize,
    /// Where the log must have been cut, if bytes that are not zero were lost.
    cut: Option<(String, u64)>,
    /// Numbers of records that must answer `Corrupt`.
    unreadable: BTreeSet<u64>,
}

fn options(fs: &SimFs) -> Options {
    let merge = MergePolicy { background: false, ..MergePolicy::default() };
    Options::new()
        .on(Arc::new(fs.clone()), Arc::new(SimClock::new(1_700_000_000_000)))
        .without_threads()
        .shard_bits(0)
        .max_file_size(4096)
        .durability(Durability::Always)
        .merge(merge)
}

fn new_disk(seed: u64) -> SimFs {
    let fs = SimFs::new(seed);
    fs.set_write_back(0);
    fs.create_dir(Path::new(DIR)).unwrap();
    fs
}

fn path_of(name: &str) -> std::path::PathBuf {
    Path::new(DIR).join(name)
}

/// All files but `LOCK`.
fn image_of(fs: &SimFs) -> Image {
    let names = fs.file_names(DIR).into_iter().map(|name| name.into_string().unwrap());
    let names = names.filter(|name| name != "LOCK");
    names.map(|name| (name.clone(), Arc::new(fs.read_file(path_of(&name))))).collect()
}

/// A disk with these files, all durable.
fn disk_of(image: &Image) -> SimFs {
    let fs = new_disk(7);
    image.iter().for_each(|(name, bytes)| fs.write_file(path_of(name), bytes));
    fs
}

fn int<const N: usize>(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + N].iter().rev().fold(0, |int, &byte| int << 8 | u64::from(byte))
}

fn size(len: u64) -> usize {
    usize::try_from(len).unwrap()
}

fn low32(int: u64) -> u32 {
    u32::try_from(int & 0xffff_ffff).unwrap()
}

impl DataFile {
    /// Walks over sound bytes; lengths alone lead from record to record.
    fn decode(name: &str, bytes: &[u8]) -> Self {
        let (digits, extension) = name.split_once('.').unwrap();
        let mut file = Self {
            name: name.to_owned(),
            hint_name: format!("{digits}.hint"),
            id: digits.parse().unwrap(),
            merged: extension == "merged",
            seed: low32(int::<4>(bytes, 60)),
            records: Vec::new(),
        };
        let mut at = HEADER_LEN;
        while at + RECORD_HEADER_LEN <= bytes.len() && int::<2>(bytes, at + 4) != 0 {
            let flags = u16::try_from(int::<2>(bytes, at + 4)).unwrap();
            let key_len = size(int::<2>(bytes, at + 6));
            let header_len = RECORD_HEADER_LEN + if flags & EXPIRES != 0 { 8 } else { 0 };
            let len = header_len + key_len + size(int::<4>(bytes, at + 8));
            let end = at + len.next_multiple_of(4);
            let value = &bytes[at + header_len + key_len..at + len];
            let mark = (flags & MARK != 0)
                .then(|| ((int::<8>(value, 0), int::<8>(value, 8)), low32(int::<4>(value, 16))));
            let batch_end = if flags & FRAME != 0 { end + size(int::<8>(value, 8)) } else { end };
            let seq = int::<8>(bytes, at + 12);
            let has_seed = mark.is_some() && low32(int::<4>(value, 20)) == file.seed;
            file.records.push(Rec { bytes: at..end, flags, seq, mark, has_seed, batch_end });
            at = end;
            if flags & END != 0 {
                break;
            }
        }
        file
    }

    fn is_ended(&self) -> bool {
        self.records.last().is_some_and(|rec| rec.flags & END != 0)
    }
}

/// A hint file whose header checks out and has the number of the data file.
struct Hint {
    /// Whether it is of these very bytes; if the header of the data file is damaged, nobody can tell.
    of_seed: bool,
    covered: u64,
    ended: bool,
    digest: u32,
    /// Whether the blocks check out, too.
    sound: bool,
}

impl Hint {
    fn decode(bytes: &[u8], file: &DataFile) -> Option<Self> {
        let header = bytes.get(..HEADER_LEN)?;
        let crc = crc32c::crc32c(&header[..60]);
        let per_block = if int::<2>(header, 8) == 2 { 127 } else { 170 };
        let blocks = int::<8>(header, 32).div_ceil(per_block);
        let is_its = u64::from(crc) == int::<4>(header, 60)
            && file.id == int::<8>(header, 16)
            && bytes.len() as u64 == HEADER_LEN as u64 + blocks * BLOCK_LEN as u64;
        let is_sound = |(index, block): (u32, &[u8])| {
            let computed = crc32c::crc32c_append(crc ^ index, &block[..BLOCK_LEN - 4]);
            u64::from(computed) == int::<4>(block, BLOCK_LEN - 4)
        };
        is_its.then(|| Self {
            of_seed: u64::from(file.seed) == int::<4>(header, 12),
            covered: int::<8>(header, 24),
            ended: header[10] == 1,
            digest: low32(int::<4>(header, 56)),
            sound: (0..).zip(bytes[HEADER_LEN..].chunks(BLOCK_LEN)).all(is_sound),
        })
    }
}

/// What has become of a file.
struct Fate<'a> {
    file: &'a DataFile,
    was: &'a [u8],
    now: &'a [u8],
    same: bool,
    hint: Option<Hint>,
}

impl<'a> Fate<'a> {
    fn of(file: &'a DataFile, before: &'a Image, now: &'a Image) -> Self {
        let (was, now_bytes) = (&before[&file.name], &now[&file.name]);
        let hint = now.get(&file.hint_name).and_then(|bytes| Hint::decode(bytes, file));
        Self { file, was, now: now_bytes, same: Arc::ptr_eq(was, now_bytes), hint }
    }

    fn is_intact(&self, bytes: Range<usize>) -> bool {
        self.same || self.now.get(bytes.clone()) == self.was.get(bytes)
    }

    fn has_header(&self) -> bool {
        self.is_intact(0..HEADER_LEN)
    }

    /// Whether the seed can be had: it is the checksum of the header, and stored behind it.
    fn tells_seed(&self) -> bool {
        let header = self.now.get(..HEADER_LEN);
        header.is_some_and(|header| {
            let stored = low32(int::<4>(header, 60));
            [stored, crc32c::crc32c(&header[..60])].contains(&self.file.seed)
        })
    }

    /// Up to where the hint speaks for the file.
    fn covered(&self) -> usize {
        let Some(hint) =
            self.hint.as_ref().filter(|hint| hint.sound && hint.of_seed && self.has_header())
        else {
            return 0;
        };
        let is_its_mark = |rec: &&Rec| {
            rec.bytes.start as u64 == hint.covered
                && (rec.flags & END != 0) == hint.ended
                && rec.mark.is_some_and(|(_, digest)| digest == hint.digest)
        };
        let mark = self.file.records.iter().find(is_its_mark);
        mark.map_or(0, |rec| if self.is_intact(rec.bytes.clone()) { rec.bytes.end } else { 0 })
    }

    /// The highest position that something in it, or its hint, proves durable.
    fn proves(&self) -> (u64, u64) {
        // A merged file is no part of the log, and its number says nothing of how far that is durable.
        let is_its = |hint: &&Hint| hint.of_seed || !self.has_header();
        let hint = self.hint.as_ref().filter(|_| !self.file.merged).filter(is_its);
        let by_hint = hint.map_or((0, 0), |hint| (self.file.id, hint.covered + 1));
        let intact =
            |rec: &&Rec| (rec.has_seed || self.tells_seed()) && self.is_intact(rec.bytes.clone());
        let marks = self.file.records.iter().filter(intact).filter_map(|rec| rec.mark);
        marks.map(|(durable, _)| durable).max().unwrap_or_default().max(by_hint)
    }

    /// Where its records stop short, if they do.
    fn hole(&self, is_last: bool) -> Option<usize> {
        if !self.has_header() {
            return Some(0);
        }
        let covered = self.covered();
        let mut at = HEADER_LEN;
        let mut batch_at = None;
        let mut batch_end = 0;
        for rec in &self.file.records {
            at = rec.bytes.start;
            if rec.flags & FRAME != 0 {
                (batch_at, batch_end) = (Some(at), rec.batch_end);
            } else if at >= batch_end {
                batch_at = None;
            }
            if at >= covered && !self.is_intact(rec.bytes.clone()) {
                return Some(batch_at.unwrap_or(at));
            }
            at = rec.bytes.end;
        }
        let garbage = self.now[at..].iter().any(|&byte| byte != 0);
        (!self.file.is_ended() && (garbage || !is_last)).then_some(at)
    }
}

impl Store {
    fn of(fs: &SimFs, history: Vec<Op>, merged_ops: usize) -> Self {
        let image = image_of(fs);
        let data = image.iter().filter(|(name, _)| !name.ends_with(".hint"));
        let files = data.map(|(name, bytes)| DataFile::decode(name, bytes)).collect();
        Self { image, files, history, merged_ops }
    }

    fn without_hints(&self) -> Image {
        let mut image = self.image.clone();
        image.retain(|name, _| !name.ends_with(".hint"));
        image
    }

    fn expect(&self, now: &Image) -> Expectation {
        let fates: Vec<_> =
            self.files.iter().map(|file| Fate::of(file, &self.image, now)).collect();
        let proven = fates.iter().map(Fate::proves).max().unwrap_or_default();
        let (merged, logs): (Vec<_>, Vec<_>) = fates.iter().partition(|fate| fate.file.merged);
        let mut refused = merged.iter().any(|fate| fate.hole(true).is_some());

        let last = logs.len().saturating_sub(1);
        let hole = logs.iter().enumerate().find_map(|(index, fate)| {
            fate.hole(index == last).map(|at| (fate, (fate.file.id, at as u64)))
        });
        let mut ops = self.history.len();
        let mut cut = None;
        if let Some((fate, position)) = hole {
            refused |= proven > position;
            let lost = logs.iter().flat_map(|fate| {
                let records = fate.file.records.iter();
                records.map(|rec| ((fate.file.id, rec.bytes.start as u64), rec))
            });
            let lost =
                lost.filter(|(at, rec)| *at >= position && rec.flags & (VALUE | TOMBSTONE) != 0);
            if let Some(first) = lost.map(|(_, rec)| rec.seq).min() {
                ops = self.history.iter().take_while(|op| op.iter().all(|c| c.0 < first)).count();
            }
            let nothing_left = fate
                .now
                .get(size(position.1)..)
                .is_none_or(|rest| rest.iter().all(|&byte| byte == 0));
            cut = (!nothing_left).then(|| (fate.file.name.clone(), position.1));
        }
        let covered = fates.iter().filter(|fate| fate.covered() > 0);
        let unreadable = covered.flat_map(|fate| {
            let damaged = fate.file.records.iter().filter(|rec| !fate.is_intact(rec.bytes.clone()));
            damaged.map(|rec| rec.seq)
        });
        let unreadable = unreadable.collect();
        // What a merge dropped as superseded cannot come back, so what superseded it must be there.
        refused |= ops < self.merged_ops;
        Expectation { refused, ops, cut, unreadable }
    }

    /// The keys after so many operations, each with the number of its record.
    fn state(&self, ops: usize) -> BTreeMap<&[u8], (u64, &[u8])> {
        let mut state = BTreeMap::new();
        for (seq, key, value) in self.history.iter().take(ops).flatten() {
            match value {
                Some(value) => drop(state.insert(&**key, (*seq, &**value))),
                None => drop(state.remove(&**key)),
            }
        }
        state
    }

    /// Every key that ever was, and some that never were.
    fn keys(&self) -> BTreeSet<&[u8]> {
        let keys = self.history.iter().flatten().map(|(_, key, _)| &**key);
        keys.chain([&b"never"[..], b"", b"k"]).collect()
    }

    fn check_open(&self, fs: &SimFs, now: &Image, mode: IoMode) -> Result<(), String> {
        let expectation = self.expect(now);
        let result = options(fs).io(mode).create_if_missing(false).open(DIR);
        let db = match result {
            Ok(db) => db,
            Err(e) => return check_refusal(&expectation, &e, fs, now),
        };
        let checked = if expectation.refused {
            Err(format!("opened, cut {:?}", db.recovery().cut))
        } else {
            self.check_contents(&db, &expectation)
        };
        // What closing would write is not looked at.
        fs.set_crash_point(0);
        checked.map_err(|e| format!("{e}; {expectation:?}"))
    }

    fn check_contents(&self, db: &Bitcask, expectation: &Expectation) -> Result<(), String> {
        let state = self.state(expectation.ops);
        for key in self.keys() {
            let got = db.get(key).map(|value| value.map(|value| value.to_vec()));
            let wanted = state.get(key);
            let readable = wanted.is_none_or(|(seq, _)| !expectation.unreadable.contains(seq));
            let right = match &got {
                Ok(value) => readable && value.as_deref() == wanted.map(|(_, value)| *value),
                Err(e) => !readable && names_its_place(e),
            };
            if !right {
                return Err(format!("{}: got {got:?}", key.escape_ascii()));
            }
        }
        check_iteration(db, &state, expectation)?;
        if let Some((name, offset)) = &expectation.cut {
            let Some(Cut { file, offset: at, .. }) = &db.recovery().cut else {
                return Err("the cut is not reported".into());
            };
            if *file != path_of(name) || at != offset {
                return Err(format!("cut {} at {at}", file.display()));
            }
        }
        Ok(())
    }
}

fn names_its_place(e: &Error) -> bool {
    e.kind() == ErrorKind::Corrupt && e.path().is_some() && e.offset().is_some()
}

fn check_refusal(
    expectation: &Expectation,
    e: &Error,
    fs: &SimFs,
    now: &Image,
) -> Result<(), String> {
    if !expectation.refused {
        return Err(format!("refused: {e:?}; {expectation:?}"));
    }
    if !names_its_place(e) {
        return Err(format!("does not name its place: {e:?}"));
    }
    if image_of(fs) != *now {
        return Err(format!("refused, but changed something: {e:?}"));
    }
    Ok(())
}

/// Meets every key once, or ends with an error at a damaged record.
fn check_iteration(
    db: &Bitcask,
    state: &BTreeMap<&[u8], (u64, &[u8])>,
    expectation: &Expectation,
) -> Result<(), String> {
    let damaged = state.values().any(|(seq, _)| expectation.unreadable.contains(seq));
    let mut met = BTreeSet::new();
    let mut failed = false;
    for entry in db.iter() {
        match entry {
            Ok((key, value)) => {
                let right = state.get(&*key).is_some_and(|(_, wanted)| **wanted == *value);
                if !right || !met.insert(key) {
                    return Err("the iteration met a wrong entry".into());
                }
            }
            Err(e) if names_its_place(&e) => failed = true,
            Err(e) => return Err(format!("the iteration failed: {e:?}")),
        }
    }
    let len = db.len().map_err(|e| format!("{e:?}"))?;
    if failed != damaged || !damaged && met.len() != state.len() || len != state.len() as u64 {
        return Err(format!("iterated over {} of {} ({len}) keys", met.len(), state.len()));
    }
    Ok(())
}

/// An open store that keeps its history.
struct Recorder {
    fs: SimFs,
    db: Bitcask,
    history: Vec<Op>,
    merged_ops: usize,
}

impl Recorder {
    fn new(fs: SimFs) -> Self {
        let db = options(&fs).open(DIR).unwrap();
        Self { fs, db, history: Vec::new(), merged_ops: 0 }
    }

    fn put(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.write(&[(key.as_ref(), Some(value.as_ref()))]);
    }

    /// A value that expires in a year, or that has expired when it is written, which is as if it were a deletion.
    fn put_until(&mut self, key: &str, value: &str, expired: bool) {
        let ttl = Duration::from_secs(if expired { 0 } else { 365 * 24 * 3600 });
        self.db.put_with(key.as_bytes(), value.as_bytes(), ttl).unwrap();
        let value = (!expired).then(|| value.into());
        self.history.push(vec![(self.db.stats().unwrap().seq, key.into(), value)]);
    }

    fn delete(&mut self, key: impl AsRef<[u8]>) {
        self.write(&[(key.as_ref(), None)]);
    }

    fn write(&mut self, changes: &[(&[u8], Option<&[u8]>)]) {
        match changes {
            [(key, Some(value))] => self.db.put(key, value).unwrap(),
            [(key, None)] => assert!(self.db.delete(key).unwrap(), "only what is there is deleted"),
            changes => {
                let mut batch = WriteBatch::new();
                for (key, value) in changes {
                    match value {
                        Some(value) => batch.put(*key, *value),
                        None => batch.delete(*key),
                    };
                }
                self.db.write(&batch).unwrap();
            }
        }
        let first = self.db.stats().unwrap().seq + 1 - changes.len() as u64;
        let numbered = (first..).zip(changes);
        let op = numbered.map(|(seq, (key, value))| (seq, key.to_vec(), value.map(<[u8]>::to_vec)));
        self.history.push(op.collect());
    }

    fn merge(&mut self) {
        self.db.merge().unwrap();
        self.merged_ops = self.history.len();
    }

    fn reopen(&mut self) {
        self.db.close().unwrap();
        self.db = options(&self.fs).open(DIR).unwrap();
    }

    fn close(self) -> Store {
        self.db.close().unwrap();
        Store::of(&self.fs, self.history, self.merged_ops)
    }

    fn kill(self) -> Store {
        Store::of(&self.fs.kill(), self.history, self.merged_ops)
    }
}

/// A bit of everything: overwrites, deletes, a key that comes back, a batch, empty keys and values.
fn write_some(store: &mut Recorder, round: &str) {
    store.put("a", format!("first {round}"));
    store.put("gone", round);
    store.put("b", "");
    store.put("a", format!("second {round}"));
    store.delete("gone");
    store.write(&[(b"b", Some(b"in a batch")), (b"a", None), (b"", Some(round.as_bytes()))]);
    store.put(format!("only {round}"), "some value");
}

/// Two finished files, the second with one long value, and a short one that is not.
fn three_files(seed: u64) -> Recorder {
    let mut store = Recorder::new(new_disk(seed));
    write_some(&mut store, "one");
    store.put("long", [b'x'; 4200]);
    write_some(&mut store, "two");
    store
}

fn closed_store() -> Store {
    three_files(1).close()
}

/// Killed after a while, so that the finished files have hints and the last has none.
fn killed_store() -> Store {
    let mut store = three_files(2);
    store.db.tick().unwrap();
    store.put("a", "after the tick");
    store.delete("b");
    store.kill()
}

/// A merged file, an older log file that was not worth merging, and what came after.
fn merged_store(seed: u64) -> Recorder {
    let mut store = Recorder::new(new_disk(seed));
    store.put("kept", [b'y'; 2100]);
    store.put("long", [b'x'; 4200]);
    write_some(&mut store, "one");
    write_some(&mut store, "two");
    store.merge();
    write_some(&mut store, "three");
    store.reopen();
    store.put("last", "one");
    store
}

/// A merged file whose number is larger than that of the file being appended to, as every background merge leaves
/// it; then `more` operations.
fn merged_beside_active(seed: u64, more: u64) -> Recorder {
    let mut store = Recorder::new(new_disk(seed));
    store.put("a", "old");
    store.put("long", [b'x'; 2500]);
    store.put("longer", [b'y'; 2700]);
    store.put("b", "in the file that goes on");
    store.put("a", "new");
    store.merge();
    (0..more).for_each(|n| store.put(format!("more {n}"), "after the merge"));
    store
}

/// Counts cases and remembers what was wrong in them.
#[derive(Default)]
struct Sweep {
    cases: u64,
    failures: Vec<String>,
    failed: u64,
}

impl Sweep {
    /// Opens a store whose files became `now`.
    fn case(&mut self, store: &Store, base: &SimFs, now: &Image, what: impl Fn() -> String) {
        self.cases += 1;
        let mode = if self.cases.is_multiple_of(2) { IoMode::Mapped } else { IoMode::Plain };
        let fs = base.kill();
        for (name, bytes) in now {
            if !store.image.get(name).is_some_and(|before| Arc::ptr_eq(before, bytes)) {
                fs.write_file(path_of(name), bytes);
            }
        }
        for name in store.image.keys().filter(|name| !now.contains_key(*name)) {
            fs.remove_file(path_of(name));
        }
        allocations::forget();
        let opened = catch_unwind(AssertUnwindSafe(|| store.check_open(&fs, now, mode)));
        let largest = allocations::largest();
        let result = match opened {
            Err(_) => Err("panicked".into()),
            Ok(Ok(())) if largest > ALLOCATION_MAX => Err(format!("allocated {largest} bytes")),
            Ok(result) => result,
        };
        if let Err(e) = result {
            self.failed += 1;
            if self.failures.len() < 20 {
                self.failures.push(format!("{} ({mode:?}): {e}", what()));
            }
        }
    }

    /// The same, but sparing in long stretches of one byte.
    fn files(&mut self, store: &Store, image: &Image, wanted: impl Fn(&str) -> bool) {
        self.damage(store, image, wanted, is_telling);
    }

    /// Damages each file of `image` that `wanted` names, at every byte that `telling` picks.
    fn damage(
        &mut self,
        store: &Store,
        image: &Image,
        wanted: impl Fn(&str) -> bool,
        telling: impl Fn(&[u8], usize) -> bool,
    ) {
        let base = disk_of(&store.image);
        for (name, bytes) in image.iter().filter(|(name, _)| wanted(name)) {
            let mut with = |bytes: Vec<u8>, how: &str, at: usize| {
                let mut now = image.clone();
                now.insert(name.clone(), Arc::new(bytes));
                self.case(store, &base, &now, || format!("{name} {how} {at}"));
            };
            for len in 0..bytes.len() {
                if name.ends_with(".hint") && !telling(bytes, len) {
                    continue;
                }
                with(bytes[..len].to_vec(), "cut to", len);
            }
            for at in (0..bytes.len()).filter(|&at| telling(bytes, at)) {
                for bit in 0..8 {
                    let mut bytes = bytes.to_vec();
                    bytes[at] ^= 1 << bit;
                    with(bytes, &format!("bit {bit} of byte"), at);
                }
            }
            for unit in [512, 4096] {
                for at in (0..bytes.len()).step_by(unit) {
                    let mut bytes = bytes.to_vec();
                    let end = bytes.len().min(at + unit);
                    bytes[at..end].fill(0);
                    with(bytes, &format!("{unit} zeros from"), at);
                }
            }
        }
    }

    fn finish(self) {
        println!("damage cases: {}", self.cases);
        let failures = self.failures.join("\n");
        assert!(self.failed == 0, "{} of {} cases:\n{failures}", self.failed, self.cases);
    }
}

/// Whether a byte differs from those around it; of long stretches of one byte (padding, reserved space, the long
/// value) one in 61 must do.
fn is_telling(bytes: &[u8], at: usize) -> bool {
    let around = at.saturating_sub(8)..bytes.len().min(at + 9);
    at.is_multiple_of(61) || bytes[around].iter().any(|&byte| byte != bytes[at])
}

#[test]
fn damage_to_a_closed_store_is_refused_or_told_at_the_key() {
    let store = closed_store();
    let mut sweep = Sweep::default();
    sweep.damage(&store, &store.image, |_| true, |_, _| true);
    sweep.damage(&store, &store.without_hints(), |_| true, |_, _| true);
    sweep.finish();
}

#[test]
fn damage_to_a_killed_store_is_refused_below_the_last_mark_and_cut_above() {
    let store = killed_store();
    let mut sweep = Sweep::default();
    sweep.files(&store, &store.image, |_| true);
    sweep.files(&store, &store.without_hints(), |_| true);
    sweep.finish();
}

#[test]
fn damage_to_a_merged_store_is_refused_or_told_at_the_key() {
    let mut sweep = Sweep::default();
    for store in [merged_store(3).close(), merged_store(4).kill()] {
        sweep.files(&store, &store.image, |_| true);
        sweep.files(&store, &store.without_hints(), |_| true);
    }
    sweep.finish();
}

/// Values that expire, some of which have, in front of older ones; two finished files with hints of version 2.
fn expiring_store(seed: u64) -> Recorder {
    let mut store = Recorder::new(new_disk(seed));
    for key in ["a", "b", "c"] {
        store.put(key, "older");
    }
    store.put_until("a", "hides what is older", true);
    store.put("long", [b'x'; 3500]);
    store.put_until("b", "hides what is older, from another file", true);
    store.put_until("c", "will expire", false);
    store.put_until("only", "will expire", false);
    store.put("c", "does not expire");
    store.put_until("c", "will expire", false);
    store
}

#[test]
fn damage_to_a_store_of_keys_that_expire_is_refused_or_told_and_brings_back_nothing_older() {
    let mut sweep = Sweep::default();
    let merged = || {
        let mut store = expiring_store(8);
        store.put("long", [b'y'; 3500]);
        store.merge();
        store.put_until("only", "expired in the file that goes on", true);
        store
    };
    for store in [expiring_store(7).close(), merged().close(), merged().kill()] {
        let expiring =
            |(name, bytes): (&String, &Arc<Vec<u8>>)| name.ends_with("hint") && bytes[8] == 2;
        assert!(store.image.iter().any(expiring), "a hint of version 2");
        sweep.files(&store, &store.image, |_| true);
        sweep.files(&store, &store.without_hints(), |_| true);
    }
    sweep.finish();
}

#[test]
fn what_a_merge_dropped_as_superseded_is_missed_by_no_damage_to_what_superseded_it() {
    let mut sweep = Sweep::default();
    for more in 0..3 {
        let store = merged_beside_active(5 + more, more).kill();
        sweep.files(&store, &store.image, |name| name.ends_with(".data"));
        sweep.files(&store, &store.without_hints(), |name| name.ends_with(".data"));
    }
    sweep.finish();
}

/// A merge takes the file of the tombstone and leaves that of the value, which was sealed in the same run.
#[test]
fn a_deleted_key_stays_deleted_when_its_tombstone_is_merged_before_its_value() {
    let fs = new_disk(12);
    let open = || options(&fs).merge(MergePolicy::default()).open(DIR).unwrap();
    let db = open();
    db.put(b"gone", &[b'x'; 500]).unwrap();
    db.put(b"kept", &[b'x'; 3000]).unwrap();
    db.put(b"filler", &[b'x'; 1500]).unwrap();
    db.delete(b"gone").unwrap();
    db.put(b"filler", &[b'y'; 1500]).unwrap();
    db.put(b"filler", &[b'z'; 1500]).unwrap();
    db.tick().unwrap();
    assert!(!fs.file_names(DIR).contains(&"000000000002.data".into()), "it was merged");
    db.close().unwrap();
    assert!(open().get(b"gone").unwrap().is_none());
}

#[test]
fn a_torn_tail_behind_a_merged_file_of_a_larger_number_is_cut() {
    let store = merged_beside_active(11, 1).kill();
    let mut image = store.image.clone();
    let log = store.files.iter().find(|file| !file.merged).unwrap();
    assert!(store.files.iter().any(|file| file.merged && file.id > log.id));
    let end = log.records.last().unwrap().bytes.end;
    let mut bytes = image[&log.name].to_vec();
    bytes[end..end + 20].fill(b'?');
    image.insert(log.name.clone(), Arc::new(bytes));
    let db = options(&disk_of(&image)).open(DIR).unwrap();
    assert_eq!(db.recovery().cut.as_ref().unwrap().offset, end as u64);
    assert_eq!(db.get(b"more 0").unwrap().unwrap(), "after the merge");
}

#[test]
fn hints_of_other_files_stores_and_times_are_not_believed_beyond_what_they_prove() {
    let mut store = three_files(8);
    store.db.close().unwrap();
    let older = image_of(&store.fs);
    store.db = options(&store.fs).open(DIR).unwrap();
    store.put("a", "newer than the older hint");
    store.delete("only two");
    let store = store.close();
    let base = disk_of(&store.image);
    let mut sweep = Sweep::default();

    // Longer, so that its hint claims more than there is.
    let mut other_store = three_files(9);
    write_some(&mut other_store, "three");
    let other_store = other_store.close();
    let sources = [&store.image, &older, &other_store.image];
    let hints = sources.iter().flat_map(|image| image.iter());
    let hints: Vec<_> = hints.filter(|(name, _)| name.ends_with(".hint")).collect();
    for file in &store.files {
        for (name, hint) in &hints {
            let mut now = store.image.clone();
            now.insert(file.hint_name.clone(), Arc::clone(hint));
            sweep.case(&store, &base, &now, || format!("{} became {name}", file.hint_name));
            // And the file damaged behind it, or where it says that it is sound.
            for at in (0..store.image[&file.name].len()).step_by(7) {
                let mut bytes = store.image[&file.name].to_vec();
                bytes[at] ^= 0x10;
                now.insert(file.name.clone(), Arc::new(bytes));
                sweep.case(&store, &base, &now, || {
                    format!("{} became {name}, {at}", file.hint_name)
                });
            }
        }
    }
    sweep.finish();
}

#[test]
fn bigger_stores_withstand_damage_too() {
    let fs = new_disk(10);
    let mut store = Recorder::new(fs);
    for n in 0..700_u32 {
        store.put(format!("key {}", n % 211), format!("value {n}").repeat(1 + size(n.into()) % 17));
        if n % 5 == 0 {
            store.delete(format!("key {}", n % 211));
        }
        if n == 400 {
            store.merge();
        }
    }
    let store = store.close();
    let base = disk_of(&store.image);
    let mut sweep = Sweep::default();
    let mut n = 0;
    for image in [store.image.clone(), store.without_hints()] {
        for (name, bytes) in &image {
            for at in (0..bytes.len()).step_by(467) {
                n += 1;
                let mut damaged = bytes.to_vec();
                match n % 3 {
                    0 => damaged[at] ^= 1 << (at % 8),
                    1 => damaged.truncate(at),
                    _ => damaged[at / 512 * 512..].iter_mut().take(512).for_each(|byte| *byte = 0),
                }
                let mut now = image.clone();
                now.insert(name.clone(), Arc::new(damaged));
                sweep.case(&store, &base, &now, || format!("{name} at {at}, {}", n % 3));
            }
        }
    }
    sweep.finish();
}

/// Remembers the largest allocation of each thread.
#[expect(unsafe_code, reason = "a global allocator cannot be without")]
mod allocations {
    use std::alloc::{GlobalAlloc, Layout, System};
    use std::cell::Cell;

    struct Watching;

    #[global_allocator]
    static ALLOCATOR: Watching = Watching;

    thread_local! {
        static LARGEST: Cell<usize> = const { Cell::new(0) };
    }

    pub(super) fn forget() {
        LARGEST.set(0);
    }

    pub(super) fn largest() -> usize {
        LARGEST.get()
    }

    fn note(len: usize) {
        // Ignored: a thread that is ending allocates nothing that matters here.
        LARGEST.try_with(|largest| largest.set(largest.get().max(len))).unwrap_or_default();
    }

    // SAFETY: everything is the system allocator's doing.
    unsafe impl GlobalAlloc for Watching {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            note(layout.size());
            // SAFETY: as the caller promises.
            unsafe { System.alloc(layout) }
        }

        unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
            note(layout.size());
            // SAFETY: as the caller promises.
            unsafe { System.alloc_zeroed(layout) }
        }

        unsafe fn realloc(&self, at: *mut u8, layout: Layout, len: usize) -> *mut u8 {
            note(len);
            // SAFETY: as the caller promises.
            unsafe { System.realloc(at, layout, len) }
        }

        unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
            // SAFETY: as the caller promises.
            unsafe { System.dealloc(at, layout) }
        }
    }
}

/// The bytes of a record, with the checksum that it would have at `offset` of a file of this seed.
fn record(flags: u16, seq: u64, key: &[u8], value: &[u8], (offset, seed): (usize, u32)) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    bytes.extend(flags.to_le_bytes());
    bytes.extend(u16::try_from(key.len()).unwrap().to_le_bytes());
    bytes.extend(u32::try_from(value.len()).unwrap().to_le_bytes());
    bytes.extend(seq.to_le_bytes());
    bytes.extend(0_u64.to_le_bytes());
    let expiry: &[u8] = if flags & 1 << 8 != 0 { &[0xff; 8] } else { b"" };
    bytes.extend([expiry, key, value].concat());
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    let start = seed ^ u32::try_from(offset / 4).unwrap();
    let checksum = crc32c::crc32c_append(start, &bytes[4..]);
    bytes[..4].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// The header of a data file with some fields set anew, and its checksum.
fn header(like: &[u8], fields: &[(usize, &[u8])]) -> (Vec<u8>, u32) {
    let mut bytes = like[..60].to_vec();
    for (at, field) in fields {
        bytes[*at..*at + field.len()].copy_from_slice(field);
    }
    let crc = crc32c::crc32c(&bytes);
    bytes.extend(crc.to_le_bytes());
    (bytes, crc)
}

/// One closed file with `k` = `v`, its bytes and its seed.
fn one_record(seed: u64) -> (SimFs, Vec<u8>, u32) {
    let mut store = Recorder::new(new_disk(seed));
    store.put("k", "v");
    let store = store.close();
    let mut image = store.image.clone();
    image.retain(|name, _| name.ends_with(".data"));
    let bytes = image["000000000001.data"].to_vec();
    (disk_of(&image), bytes, store.files[0].seed)
}

const FIRST: &str = "db/000000000001.data";

#[test]
fn a_tail_of_zeros_is_a_clean_end() {
    for zeros in [1, 3, 4, 27, 28, 511, 4096, 70_000] {
        let (fs, mut bytes, _) = one_record(20);
        let len = bytes.len();
        bytes.resize(len + zeros, 0);
        fs.write_file(FIRST, &bytes);
        let db = options(&fs).open(DIR).unwrap();
        assert_eq!(db.recovery().cut, None, "{zeros}");
        assert_eq!(db.get(b"k").unwrap().unwrap(), "v");
        assert_eq!(fs.read_file(FIRST).len(), len, "reserved space is given back");
    }
}

#[test]
fn a_tail_of_garbage_is_cut_and_reported() {
    for garbage in [1_usize, 3, 4, 28, 511, 4096, 70_000] {
        let (fs, mut bytes, _) = one_record(21);
        let len = bytes.len();
        bytes.extend((0..garbage).map(|n| u8::try_from(n * 7 % 255 + 1).unwrap()));
        fs.write_file(FIRST, &bytes);
        let db = options(&fs).open(DIR).unwrap();
        let cut = db.recovery().cut.clone().unwrap();
        assert_eq!((cut.file.as_path(), cut.dropped_files), (Path::new(FIRST), 0));
        assert_eq!((cut.offset, cut.bytes), (len as u64, garbage as u64));
        assert!(!cut.reason.is_empty());
        assert_eq!(fs.read_file(FIRST).len(), len);
        db.put(b"k", b"w").unwrap();
        db.close().unwrap();
        let db = options(&fs).open(DIR).unwrap();
        assert_eq!(db.recovery().cut, None, "{garbage}");
        assert_eq!(db.get(b"k").unwrap().unwrap(), "w");
    }
}

#[test]
fn what_a_later_version_wrote_is_unsupported() {
    let (fs, bytes, _) = one_record(22);
    let (later, _) = header(&bytes, &[(8, &2_u16.to_le_bytes())]);
    let bytes = [later, bytes[HEADER_LEN..].to_vec()].concat();
    fs.write_file(FIRST, &bytes);
    let error = options(&fs).open(DIR).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:?}");
    assert_eq!(error.path(), Some(Path::new(FIRST)));
    assert_eq!(fs.read_file(FIRST), bytes);
}

#[test]
fn flags_that_no_version_has_are_damage() {
    let (fs, bytes, seed) = one_record(23);
    for flags in [0x81, 0x1001, 0x8001, 3, 5, 9, 6, 0x40, 0x20, 0x10, MARK | VALUE] {
        let tail = record(flags, 9, b"k", b"never", (bytes.len(), seed));
        fs.write_file(FIRST, &[bytes.clone(), tail].concat());
        let db = options(&fs).open(DIR).unwrap();
        assert_eq!(db.get(b"k").unwrap().unwrap(), "v", "{flags:#x}");
        assert_eq!(db.recovery().cut.as_ref().unwrap().offset, bytes.len() as u64);
    }
}

/// Lengths and counts that check out, and are absurd.
#[test]
fn absurd_lengths_allocate_no_more_than_the_file_is_long() {
    let (fs, bytes, seed) = one_record(24);
    let at = (bytes.len(), seed);
    let frame = |count: u32, len: u64| {
        let value = [&count.to_le_bytes()[..], &[0; 4], &len.to_le_bytes()].concat();
        record(FRAME, 9, b"", &value, at)
    };
    let mut long = record(VALUE, 9, b"k", b"v", at);
    long[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
    let tails = [
        frame(u32::MAX, u64::MAX),
        frame(u32::MAX, 0),
        frame(1, u64::MAX - 3),
        record(FRAME, 9, b"", b"short", at),
        long,
    ];
    for (index, tail) in tails.iter().enumerate() {
        fs.write_file(FIRST, &[bytes.clone(), tail.clone()].concat());
        allocations::forget();
        let db = options(&fs).open(DIR).unwrap();
        assert!(allocations::largest() <= ALLOCATION_MAX, "{index}: {}", allocations::largest());
        assert_eq!(db.recovery().cut.as_ref().unwrap().offset, bytes.len() as u64, "{index}");
        assert_eq!(db.get(b"k").unwrap().unwrap(), "v");
    }
    for count in [1, u64::from(u32::MAX), u64::MAX / 24, u64::MAX] {
        fs.write_file(FIRST, &bytes);
        let mut hint = [&b"bchint\0\0\x01\0\0\0"[..], &seed.to_le_bytes(), &[0; 40]].concat();
        hint[16] = 1;
        hint[24] = 64;
        hint[32..40].copy_from_slice(&count.to_le_bytes());
        hint.resize(60, 0);
        let crc = crc32c::crc32c(&hint);
        hint.extend(crc.to_le_bytes());
        fs.write_file("db/000000000001.hint", &hint);
        allocations::forget();
        let db = options(&fs).open(DIR).unwrap();
        assert!(allocations::largest() <= ALLOCATION_MAX, "{count}: {}", allocations::largest());
        assert_eq!(db.get(b"k").unwrap().unwrap(), "v", "{count}");
    }
}

#[test]
fn foreign_files_are_left_alone_and_listed() {
    let (fs, ..) = one_record(25);
    let foreign = [
        ".DS_Store",
        "0000000000007.data",
        "000000000001.data.bak",
        "000000000001.data.tmp.tmp",
        "7.data",
        "notes.txt",
    ];
    foreign.iter().for_each(|name| fs.write_file(path_of(name), b"mine"));
    fs.create_dir(Path::new("db/lost+found")).unwrap();
    let db = options(&fs).open(DIR).unwrap();
    let mut listed = db.stats().unwrap().foreign;
    listed.retain(|name| name != "lost+found");
    assert_eq!(listed, foreign.map(std::ffi::OsString::from));
    assert_eq!(db.recovery().foreign.len(), foreign.len() + 1);
    db.put(b"k", b"w").unwrap();
    db.merge().unwrap();
    db.close().unwrap();
    foreign.iter().for_each(|name| assert_eq!(fs.read_file(path_of(name)), b"mine", "{name}"));
}

#[test]
fn a_directory_with_the_name_of_a_file_of_ours_is_an_error_that_names_it() {
    for name in ["000000000007.data", "000000000007.merged", "000000000001.hint"] {
        let (fs, bytes, _) = one_record(26);
        fs.create_dir(&path_of(name)).unwrap();
        let error = options(&fs).open(DIR).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io, "{name}: {error:?}");
        assert_eq!(error.path(), Some(&*path_of(name)));
        assert_eq!(fs.read_file(FIRST), bytes);
    }
}

/// Opens, and expects that it is refused over this file and that nothing is changed.
fn expect_refusal(fs: &SimFs, name: &str, says: &str) {
    let before = image_of(fs);
    let result = options(fs).open(DIR);
    let error = match result {
        Ok(db) => panic!("{name}: opened, cut {:?}", db.recovery().cut),
        Err(error) => error,
    };
    assert!(names_its_place(&error), "{error:?}");
    assert_eq!(error.path(), Some(&*path_of(name)), "{error:?}");
    assert!(error.to_string().contains(says), "{error:?}");
    assert_eq!(image_of(fs), before, "nothing is changed");
}

#[test]
fn a_renamed_data_file_is_told_and_kept() {
    for name in ["000000000004.data", "000000000009.data", "000000000003.merged"] {
        let mut image = closed_store().image;
        let last = image.remove("000000000003.data").unwrap();
        image.remove("000000000003.hint").unwrap();
        image.insert(name.into(), last);
        expect_refusal(&disk_of(&image), name, "was it renamed?");
    }
}

#[test]
fn a_data_file_of_another_store_is_told_and_kept() {
    let image = closed_store().without_hints();
    let other = three_files(30).close().without_hints();
    for (theirs, name) in
        [(0, "000000000000.data"), (2, "000000000003.data"), (2, "000000000004.data")]
    {
        let mut image = image.clone();
        let (_, bytes) = other.iter().nth(theirs).unwrap();
        let id: u64 = name.strip_suffix(".data").unwrap().parse().unwrap();
        let (header, _) = header(bytes, &[(32, &id.to_le_bytes())]);
        image.insert(name.into(), Arc::new([header, bytes[HEADER_LEN..].to_vec()].concat()));
        let fs = disk_of(&image);
        let error = options(&fs).open(DIR).unwrap_err();
        assert!(names_its_place(&error), "{error:?}");
        assert!(error.to_string().contains("another store"), "{error:?}");
        assert_eq!(image_of(&fs), image, "nothing is changed");
    }
}

#[test]
fn orphan_hints_and_unfinished_files_are_swept() {
    let (fs, ..) = one_record(27);
    let leftovers = [
        "000000000001.hint.tmp",
        "000000000007.data.tmp",
        "000000000007.hint",
        "000000000008.hint.tmp",
        "000000000009.merged.tmp",
    ];
    leftovers.iter().for_each(|name| fs.write_file(path_of(name), b"left by a crash"));
    let db = options(&fs).open(DIR).unwrap();
    assert_eq!(db.recovery().swept_files, leftovers.len());
    assert_eq!(db.get(b"k").unwrap().unwrap(), "v");
    assert_eq!(image_of(&fs).keys().collect::<Vec<_>>(), ["000000000001.data"]);
}

#[test]
fn a_refused_open_sweeps_nothing() {
    let mut image = closed_store().without_hints();
    let mut bytes = image["000000000001.data"].to_vec();
    bytes[100] ^= 1;
    image.insert("000000000001.data".into(), Arc::new(bytes));
    image.insert("000000000009.merged.tmp".into(), Arc::default());
    image.insert("000000000009.hint".into(), Arc::default());
    expect_refusal(&disk_of(&image), "000000000001.data", "had been durable");
}

#[test]
fn a_data_file_without_a_byte_is_a_creation_that_a_crash_tore() {
    let (fs, ..) = one_record(28);
    fs.write_file("db/000000000002.data", b"");
    let db = options(&fs).open(DIR).unwrap();
    assert_eq!(db.recovery().cut.as_ref().unwrap().bytes, 0);
    assert_eq!(db.get(b"k").unwrap().unwrap(), "v");
    db.put(b"k", b"w").unwrap();
    db.close().unwrap();
    assert_eq!(options(&fs).open(DIR).unwrap().get(b"k").unwrap().unwrap(), "w");

    fs.write_file("db/000000000009.merged", b"");
    expect_refusal(&fs, "000000000009.merged", "shorter than its header");
}

#[test]
fn a_directory_of_files_without_a_byte_is_an_empty_store() {
    let fs = new_disk(29);
    fs.write_file("db/000000000004.data", b"");
    fs.write_file("db/000000000004.hint", b"");
    let db = options(&fs).open(DIR).unwrap();
    assert!(db.is_empty().unwrap());
    db.put(b"k", b"v").unwrap();
    db.close().unwrap();
    assert_eq!(options(&fs).open(DIR).unwrap().get(b"k").unwrap().unwrap(), "v");
}

/// The header is the seed of all checksums, but it is in the file twice: as the bytes, and as their checksum.
#[test]
fn a_flipped_bit_in_the_header_of_the_last_file_does_not_drop_what_its_marks_prove() {
    let store = killed_store();
    let name = "000000000003.data";
    for bit in [1, 70, 100, 8 * 33, 8 * 50, 8 * 60 + 3] {
        let mut image = store.image.clone();
        let mut bytes = image[name].to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        image.insert(name.into(), Arc::new(bytes));
        expect_refusal(&disk_of(&image), name, "durable");
    }
}

#[test]
fn a_hint_with_a_damaged_block_is_written_anew() {
    let store = closed_store();
    let mut image = store.image.clone();
    let mut hint = image["000000000001.hint"].to_vec();
    hint[HEADER_LEN + 3] ^= 1;
    image.insert("000000000001.hint".into(), Arc::new(hint));
    let fs = disk_of(&image);
    options(&fs).open(DIR).unwrap().close().unwrap();
    assert_eq!(fs.read_file("db/000000000001.hint"), **store.image["000000000001.hint"]);
    let db = options(&fs).open(DIR).unwrap();
    let stats = db.stats().unwrap();
    assert!(stats.files.iter().all(|file| file.sealed || file.active), "{:#?}", stats.files);
}

/// A store whose one file has this number.
fn store_numbered(id: u64) -> SimFs {
    let (fs, bytes, _) = one_record(31);
    let (header, seed) = header(&bytes, &[(32, &id.to_le_bytes())]);
    fs.remove_file(FIRST);
    let put = record(VALUE, 1, b"k", b"v", (HEADER_LEN, seed));
    fs.write_file(path_of(&format!("{id:012}.data")), &[header, put].concat());
    fs
}

#[test]
fn file_numbers_end_with_an_error_and_the_store_stays_readable() {
    for id in [u64::MAX - 2, u64::MAX - 1, u64::MAX] {
        let fs = store_numbered(id);
        let db = options(&fs).open(DIR).unwrap();
        assert_eq!(db.get(b"k").unwrap().unwrap(), "v");
        let mut refusal = None;
        for n in 0..20_u32 {
            if let Err(error) = db.put(&n.to_le_bytes(), &[b'x'; 2000]) {
                refusal = Some(error);
                break;
            }
        }
        let refusal = refusal.unwrap();
        assert_eq!(refusal.kind(), ErrorKind::Invalid, "{refusal:?}");
        assert!(refusal.to_string().contains("file numbers"), "{refusal:?}");
        assert_eq!(db.get(b"k").unwrap().unwrap(), "v");
        let keys = db.len().unwrap();
        db.close().unwrap();
        let db = options(&fs).open(DIR).unwrap();
        assert_eq!(db.len().unwrap(), keys, "{id}");
        assert_eq!(db.get(b"k").unwrap().unwrap(), "v");
    }
}
