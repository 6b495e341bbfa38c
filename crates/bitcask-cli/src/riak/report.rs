//! What a reading found, with a bounded list of what was not taken or taken with a doubt.

use std::collections::HashMap;
use std::rc::Rc;

use crate::incoming::Notices;

/// Keys whose fate is open are remembered up to this many bytes, later ones are counted only.
const OPEN_BYTES_MAX: usize = 64 << 20;

/// What was found in a Riak Bitcask directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RiakReport {
    /// Data files read.
    pub(crate) files: u64,
    /// Data files not read: replaced by a merge, or no files at all.
    pub(crate) files_skipped: u64,
    /// Bytes of the data files read.
    pub(crate) bytes: u64,
    /// Records that check out: values and tombstones.
    pub(crate) records: u64,
    /// Values that were given.
    pub(crate) values: u64,
    pub(crate) tombstones: u64,
    /// Tombstones among them that are known by their text alone, which a value could have as well.
    pub(crate) tombstones_doubtful: u64,
    /// Values among them that begin like a tombstone. The original hides them.
    pub(crate) lookalikes: u64,
    /// Values that had expired and were not given.
    pub(crate) expired: u64,
    /// Places where bytes do not check out, torn tails included.
    pub(crate) damaged_places: u64,
    pub(crate) damaged_bytes: u64,
    /// Files that end within a record.
    pub(crate) torn_tails: u64,
    /// Deletions known from a hint file only, since their tombstones are damaged.
    pub(crate) lost_tombstones: u64,
    /// Keys that were left out because their newest value is damaged.
    pub(crate) lost_keys: u64,
    /// Keys that may have a stale value, or be there though they were deleted: a damaged record seems to be theirs.
    pub(crate) doubtful_keys: u64,
    /// Keys that are no keys of Riak KV, though they were to be.
    pub(crate) undecoded_keys: u64,
    pub(crate) notices: Notices,
}

/// Why it is open what a key should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// Its newest value is known to be lost.
    Lost,
    /// A damaged record seems to be its newest.
    Doubtful,
}

#[derive(Debug)]
struct Open {
    why: Why,
    file: Rc<str>,
    offset: u64,
}

/// Keys whose newest record is damaged, until a later one turns up.
#[derive(Debug, Default)]
pub(super) struct OpenKeys {
    keys: HashMap<Vec<u8>, Open>,
    bytes: usize,
    more_lost: u64,
    more_doubtful: u64,
}

impl OpenKeys {
    pub(super) fn open(&mut self, key: &[u8], why: Why, file: &Rc<str>, offset: u64) {
        if self.bytes >= OPEN_BYTES_MAX && !self.keys.contains_key(key) {
            match why {
                Why::Lost => self.more_lost += 1,
                Why::Doubtful => self.more_doubtful += 1,
            }
            return;
        }
        let open = Open { why, file: Rc::clone(file), offset };
        if self.keys.insert(key.to_vec(), open).is_none() {
            self.bytes = self.bytes.saturating_add(key.len()).saturating_add(64);
        }
    }

    /// A later record decides.
    pub(super) fn settle(&mut self, key: &[u8]) {
        if !self.keys.is_empty() && self.keys.remove(key).is_some() {
            self.bytes = self.bytes.saturating_sub(key.len().saturating_add(64));
        }
    }

    /// Tells of what stayed open, in the order of the keys.
    pub(super) fn tell(self, report: &mut RiakReport) {
        report.lost_keys += self.more_lost;
        report.doubtful_keys += self.more_doubtful;
        let mut keys: Vec<_> = self.keys.into_iter().collect();
        keys.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        for (key, open) in keys {
            let key = shown(&key);
            let what = match open.why {
                Why::Lost => {
                    report.lost_keys += 1;
                    format!("the newest value of the key {key} is damaged: the key was left out")
                }
                Why::Doubtful => {
                    report.doubtful_keys += 1;
                    format!(
                        "a damaged record that seems to be the newest of the key {key}: what older records say of it \
                         was taken and may be stale"
                    )
                }
            };
            report.notices.add(&open.file, Some(open.offset), what);
        }
    }
}

/// A key for the eyes of users.
pub(super) fn shown(key: &[u8]) -> String {
    const SHOWN_LEN_MAX: usize = 80;
    match key.get(..SHOWN_LEN_MAX) {
        Some(begin) if key.len() > SHOWN_LEN_MAX => {
            format!("\"{}\"... ({} bytes)", begin.escape_ascii(), key.len())
        }
        _ => format!("\"{}\"", key.escape_ascii()),
    }
}
