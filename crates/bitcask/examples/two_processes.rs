//! One process writes, another reads beside it: without a lock, and without asking the writer.
//!
//! `cargo run -p bitcask --example two_processes`

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bitcask::{Bitcask, ErrorKind, ReadOnly, WriteBatch};

const LAST: &str = "2000";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // This program starts itself once more, to be the writer.
    if let Some(dir) = std::env::args_os().nth(1) {
        return Ok(write(Path::new(&dir))?);
    }
    let dir = std::env::temp_dir().join(format!("bitcask-two-processes-{}", std::process::id()));
    let mut writer = Command::new(std::env::current_exe()?).arg(&dir).spawn()?;
    let refreshed = read_beside(&dir)?;
    assert!(writer.wait()?.success());
    assert!(refreshed > 0);
    remove(&dir)
}

/// Both keys are always the same, because a batch is seen whole or not at all.
fn write(dir: &Path) -> bitcask::Result<()> {
    let db = Bitcask::open(dir)?;
    for n in 1..=LAST.parse().expect("it is a number") {
        let mut batch = WriteBatch::new();
        batch.put("left", n.to_string()).put("right", n.to_string());
        db.write(&batch)?;
        if n % 500 == 0 {
            // Files that a merge takes away stay readable to who has them open.
            db.merge()?;
        }
    }
    db.close()
}

fn read_beside(dir: &Path) -> bitcask::Result<u64> {
    let reader = open_when_there(dir)?;
    let mut refreshed = 0;
    loop {
        let values = reader.get_many(&["left", "right"])?;
        assert_eq!(values[0], values[1]);
        if values[0].as_deref() == Some(LAST.as_bytes()) {
            return Ok(refreshed);
        }
        reader.refresh()?;
        refreshed += 1;
    }
}

/// The writer may not have created the store yet.
fn open_when_there(dir: &Path) -> bitcask::Result<ReadOnly> {
    loop {
        match Bitcask::open_read_only(dir) {
            Err(e) if e.kind() == ErrorKind::Invalid => {
                std::thread::park_timeout(Duration::from_millis(1));
            }
            opened => return opened,
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the example leaves nothing behind")]
fn remove(dir: &Path) -> Result<(), Box<dyn std::error::Error>> {
    Ok(std::fs::remove_dir_all(dir)?)
}
