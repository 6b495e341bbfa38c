//! The log as a witness: which changes were made, in which order, whatever merge removed meanwhile.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bitcask::fs::sim::SimFs;
use bitcask::fs::{Access, Entry, File, Fs, Lock};

use super::operation::{Key, Seen, value_of};

/// Changes that were made together.
pub(crate) type Commit = Vec<(Key, Seen)>;

const ATTIC: &str = "/attic";

/// A file system that keeps a copy of every file that is removed.
#[derive(Clone, Debug)]
pub(crate) struct KeepingFs {
    fs: Arc<dyn Fs>,
    attic: SimFs,
}

impl KeepingFs {
    pub(crate) fn new(fs: Arc<dyn Fs>) -> Self {
        let attic = SimFs::new(0);
        attic.create_dir(Path::new(ATTIC)).expect("an empty disk");
        Self { fs, attic }
    }

    fn keep(&self, path: &Path) -> io::Result<()> {
        let file = self.fs.open(path, Access::Read)?;
        let mut bytes = vec![0; usize::try_from(file.len()?).expect("files are small")];
        let mut done = 0;
        while done < bytes.len() {
            match file.read_at(&mut bytes[done..], done as u64)? {
                0 => break,
                n => done += n,
            }
        }
        let name = path.file_name().expect("files have names");
        self.attic.write_file(Path::new(ATTIC).join(name), &bytes);
        Ok(())
    }

    /// Every change of the store in `dir`, in the order of sequence numbers. The store is closed.
    pub(crate) fn log(&self, dir: &Path) -> Vec<Commit> {
        for entry in self.fs.list(dir).expect("the store is there") {
            self.keep(&dir.join(entry.name)).expect("its files can be read");
        }
        let attic: Arc<dyn Fs> = Arc::new(self.attic.clone());
        commits(&bitcask::dump(&attic, Path::new(ATTIC)).expect("the attic can be read"))
    }
}

/// The changes in the log files that are shown in `dump`.
fn commits(dump: &str) -> Vec<Commit> {
    let mut commits = BTreeMap::new();
    let (mut in_log, mut members) = (false, 0_usize);
    let mut last = 0;
    for line in dump.lines() {
        let Some(line) = line.strip_prefix("  ") else {
            assert_eq!(members, 0, "a batch is in one file");
            in_log = false;
            continue;
        };
        if let Some(header) = line.strip_prefix("header: ") {
            in_log = header.starts_with("Log,");
        }
        let mut columns = line.split("  ");
        let (Some(head), Some(flags)) = (columns.next(), columns.next()) else { continue };
        let seq = columns.next().and_then(|column| column.strip_prefix("seq ")?.parse().ok());
        if !in_log || !head.ends_with('b') {
            continue;
        }
        let seq: u64 = seq.expect("records have sequence numbers");
        assert!(line.ends_with("crc ok"), "{line}");
        let what = columns.find(|column| !column.starts_with("time ")).expect("records say what");
        let flags: Vec<_> = flags.split('+').collect();
        if flags.contains(&"frame") {
            let count = what.split(' ').next().and_then(|count| count.parse().ok());
            members = count.expect("frames have counts");
            last = 0;
        } else if flags.contains(&"value") || flags.contains(&"tombstone") {
            if members == 0 || last == 0 {
                last = seq;
            }
            members = members.saturating_sub(1);
            let commit: &mut Commit = commits.entry(last).or_default();
            commit.push(change(what));
        }
    }
    commits.into_values().collect()
}

/// Of `"k" = "17;.."`, or `"k"` if it was deleted.
fn change(text: &str) -> (Key, Seen) {
    let mut quoted = text.split('"').skip(1).step_by(2);
    let key = quoted.next().and_then(|key| key.chars().next()).expect("records have keys");
    (key, quoted.next().map(|value| value_of(value.as_bytes())))
}

impl Fs for KeepingFs {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.fs.create_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.fs.list(dir)
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn File>> {
        self.fs.open(path, access)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.fs.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.keep(path)?;
        self.fs.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.fs.sync_dir(dir)
    }

    fn lock(&self, path: &Path, holder: &str) -> io::Result<Result<Box<dyn Lock>, String>> {
        self.fs.lock(path, holder)
    }

    fn reserves_blocks(&self, dir: &Path) -> io::Result<bool> {
        self.fs.reserves_blocks(dir)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        self.fs.free_bytes(dir)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.fs.link(from, to)
    }

    fn exchange_dirs(&self, a: &Path, b: &Path) -> io::Result<()> {
        self.fs.exchange_dirs(a, b)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.fs.remove_dir(dir)
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        self.fs.canonical(path)
    }

    fn random(&self) -> [u8; 16] {
        self.fs.random()
    }
}
