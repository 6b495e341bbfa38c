//! For tests: figures of a small store, to be changed at will, and the process that tells them.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use bitcask::{Bitcask, Snapshot, Stats};

use super::source::Process;

/// A store that is gone when the test ends.
pub(super) struct Writer {
    db: Option<Bitcask>,
    dir: PathBuf,
}

impl Writer {
    pub(super) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(format!("bitcask-top-{process}-{count}"));
        // Ignored: there usually is none.
        drop(std::fs::remove_dir_all(&dir));
        Self { db: Some(Bitcask::open(&dir).expect("a new store opens")), dir }
    }

    pub(super) fn put(&self, count: u32) {
        let db = self.db.as_ref().expect("it is open");
        for n in 0..count {
            db.put(&n.to_le_bytes(), b"value").expect("a store takes values");
        }
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let db = self.db.as_ref().expect("it is open");
        db.snapshot().expect("a store has snapshots")
    }

    pub(super) fn stats(&self) -> Stats {
        self.db.as_ref().expect("it is open").stats().expect("a store has figures")
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.db.take());
        // Ignored: at worst a directory stays behind.
        drop(std::fs::remove_dir_all(&self.dir));
    }
}

pub(super) fn process(at_ms: u64) -> Process {
    Process { id: 4711, program: "server".into(), at_ms }
}
