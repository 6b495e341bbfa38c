//! Filling the keydir when a store is opened.
//!
//! Each file gives what it holds in the order of hashes: its hint, and a sorted list of what no hint covers. So a
//! shard of the keydir is one stretch of every file: gather the stretches, sort, take the newest record of each
//! key, fill the shard. What is not the newest is dead, and counted for its file; so dead bytes survive
//! a restart exactly. Threads share the shards between them.

use std::sync::Arc;

use crate::directory::Directory;
use crate::error::Result;
use crate::files::DataFile;
use crate::hint::{HintCursor, HintEntry, HintFile, Unsound};
use crate::seal::{HintOf, hint_of, seal_hint};
use crate::sync::atomic::Ordering;

/// A file, and what it holds.
#[derive(Debug)]
pub(crate) struct LoadSource {
    data: Arc<DataFile>,
    hint: Option<HintFile>,
    /// What the hint does not cover, sorted by hash.
    tail: Vec<HintEntry>,
    /// Whether the file is finished.
    ended: bool,
}

impl LoadSource {
    pub(crate) fn new(
        data: Arc<DataFile>,
        hint: Option<HintFile>,
        mut tail: Vec<HintEntry>,
        ended: bool,
    ) -> Self {
        tail.sort_unstable_by_key(|entry| entry.hash);
        Self { data, hint, tail, ended }
    }

    /// Reads the file instead of its hint.
    fn give_up_hint(&mut self, dir: &Directory) -> Result<()> {
        let Some(hint) = self.hint.take() else { return Ok(()) };
        tracing::warn!(file = self.data.id, "hint file does not check out: reading the data file");
        self.data.sealed.store(false, Ordering::Release);
        // The hint's header, which checked out, proves that the file is durable up to there: damage is an error.
        let HintOf { entries, .. } = hint_of(dir, &*dir.open_file(&self.data.path)?, &self.data)?;
        self.tail.extend(entries.into_iter().filter(|entry| entry.offset() < hint.header.covered));
        self.tail.sort_unstable_by_key(|entry| entry.hash);
        Ok(())
    }
}

/// What a thread gave up over: this source's hint is unsound.
struct BadHint(usize);

/// Fills the empty keydir from all files.
pub(crate) fn load(dir: &Directory, mut sources: Vec<LoadSource>) -> Result<()> {
    // Hints are trusted block by block as they are read, so a bad block is met in the middle of things. It is
    // rare, and the way back is to begin again without that hint.
    let mut given_up = Vec::new();
    while let Err(BadHint(index)) = load_all(dir, &sources)? {
        dir.keydir.clear();
        dir.expiries.clear();
        for source in &sources {
            source.data.dead.store(0, Ordering::Relaxed);
            source.data.tombstones.store(0, Ordering::Relaxed);
        }
        sources[index].give_up_hint(dir)?;
        given_up.push(index);
    }
    dir.fill_index()?;
    dir.check_budget(0)?;
    if dir.read_only {
        return Ok(());
    }
    for index in given_up {
        let data = &sources[index].data;
        // Without a hint the store works, too.
        match seal_hint(dir, data) {
            Ok(_) => data.sealed.store(sources[index].ended, Ordering::Release),
            Err(e) => tracing::warn!(error = ?e, file = data.id, "cannot write a hint file"),
        }
    }
    Ok(())
}

fn load_all(dir: &Directory, sources: &[LoadSource]) -> Result<std::result::Result<(), BadHint>> {
    let shards = dir.keydir.shard_count();
    let threads = if dir.options.threads {
        std::thread::available_parallelism().map_or(1, |n| n.get().min(16))
    } else {
        1
    };
    let stretch = shards.div_ceil(threads);
    let ranges = (0..shards).step_by(stretch).map(|from| from..(from + stretch).min(shards));
    if threads == 1 {
        return load_shards(dir, sources, 0..shards);
    }
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            ranges.map(|range| scope.spawn(|| load_shards(dir, sources, range))).collect();
        threads.into_iter().map(|thread| thread.join().expect("loading does not panic")).collect()
    });
    for result in results {
        if let Err(bad) = result? {
            return Ok(Err(bad));
        }
    }
    Ok(Ok(()))
}

/// One entry with the index of its source.
#[derive(Clone, Copy)]
struct Entry {
    source: usize,
    entry: HintEntry,
}

fn load_shards(
    dir: &Directory,
    sources: &[LoadSource],
    shards: std::ops::Range<usize>,
) -> Result<std::result::Result<(), BadHint>> {
    let start = dir.keydir.first_hash(shards.start);
    let mut hints = Vec::new();
    for (index, source) in sources.iter().enumerate() {
        if let Some(hint) = &source.hint {
            let Ok(cursor) = HintCursor::starting_at(hint, start)? else {
                return Ok(Err(BadHint(index)));
            };
            hints.push((index, cursor));
        }
    }
    let mut tails: Vec<&[HintEntry]> = sources
        .iter()
        .map(|source| &source.tail[source.tail.partition_point(|entry| entry.hash < start)..])
        .collect();

    let mut gathered: Vec<Entry> = Vec::new();
    let mut live = Vec::new();
    for shard in shards {
        let last = dir.keydir.last_hash(shard);
        gathered.clear();
        for (source, hint) in &mut hints {
            let source = *source;
            let each = |entry| gathered.push(Entry { source, entry });
            if hint.take_up_to(last, each)? == Err(Unsound) {
                return Ok(Err(BadHint(source)));
            }
        }
        for (source, tail) in tails.iter_mut().enumerate() {
            let (mine, rest) = tail.split_at(tail.partition_point(|entry| entry.hash <= last));
            gathered.extend(mine.iter().map(|&entry| Entry { source, entry }));
            *tail = rest;
        }
        // Newest first within a hash. A record that a merge had moved when the power went is there twice; if it has
        // become a tombstone on the way, that counts.
        let newest_first =
            |e: &Entry| (e.entry.hash, std::cmp::Reverse(e.entry.seq), !e.entry.is_tombstone());
        gathered.sort_by_key(newest_first);
        live.clear();
        for group in gathered.chunk_by(|a, b| a.entry.hash == b.entry.hash) {
            settle_group(dir, sources, group, &mut live)?;
        }
        dir.keydir.fill(shard, &live);
        dir.check_budget(0)?;
    }
    Ok(Ok(()))
}

/// Decides between the records of one hash.
fn settle_group(
    dir: &Directory,
    sources: &[LoadSource],
    group: &[Entry],
    live: &mut Vec<(u64, crate::place::Place)>,
) -> Result<()> {
    if !group.iter().any(|e| e.entry.collides()) {
        settle_key(dir, sources, group, live);
        return Ok(());
    }
    // Different keys may share this hash: read them.
    let mut keys: Vec<(Vec<u8>, Vec<Entry>)> = Vec::new();
    let mut scratch = Vec::new();
    for e in group {
        let data = &sources[e.source].data;
        let record = data.record(data.place(e.entry.offset()), &mut scratch)?;
        match keys.iter_mut().find(|(key, _)| key == record.key) {
            Some((_, entries)) => entries.push(*e),
            None => keys.push((record.key.to_owned(), vec![*e])),
        }
    }
    debug_assert!(
        dir.hash(&keys[0].0) == group[0].entry.hash,
        "hints hold the hashes of their keys"
    );
    for (_, entries) in keys {
        settle_key(dir, sources, &entries, live);
    }
    Ok(())
}

/// The newest record of a key counts, the others are dead.
fn settle_key(
    dir: &Directory,
    sources: &[LoadSource],
    newest_first: &[Entry],
    live: &mut Vec<(u64, crate::place::Place)>,
) {
    let Some((newest, older)) = newest_first.split_first() else { return };
    let data = &sources[newest.source].data;
    let HintEntry { hash, expires_ms, .. } = newest.entry;
    if !newest.entry.is_tombstone() && !dir.time.has_passed(expires_ms) {
        live.push((hash, data.place(newest.entry.offset())));
        dir.expiries.add(expires_ms, hash);
    } else if older.is_empty() {
        // Nothing is left for it to hide.
        data.add_dead(newest.entry.len());
    } else {
        data.tombstones.fetch_add(newest.entry.len(), Ordering::Relaxed);
    }
    for e in older {
        sources[e.source].data.add_dead(e.entry.len());
    }
}
