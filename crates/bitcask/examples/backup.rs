//! A backup while writes go on: by hard links, so it takes no time and no space; again into the same place, and only what
//! is new is taken.
//!
//! `cargo run -p bitcask --example backup`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use bitcask::Bitcask;

fn main() -> bitcask::Result<()> {
    let db = Bitcask::open("example-backup")?;
    for n in 0..1000 {
        db.put(format!("key{n}").as_bytes(), b"monday")?;
    }
    let report = db.checkpoint("example-backup-copy")?;
    println!("monday: {} files linked, {} copied", report.files_linked, report.files_copied);

    for n in 0..500 {
        db.put(format!("key{n}").as_bytes(), b"tuesday")?;
    }
    db.merge()?;
    // At any moment, and after any crash, the copy is whole: that of monday, then that of tuesday.
    let report = db.checkpoint("example-backup-copy")?;
    println!("tuesday: {} files linked, {} copied", report.files_linked, report.files_copied);
    db.put(b"key0", b"written after the backup")?;

    // To restore, open it, or copy it to where it belongs.
    let copy = Bitcask::open("example-backup-copy")?;
    assert_eq!(copy.len()?, 1000);
    assert_eq!(copy.get(b"key0")?.as_deref(), Some(&b"tuesday"[..]));
    assert_eq!(copy.get(b"key999")?.as_deref(), Some(&b"monday"[..]));
    assert!(copy.verify()?.is_clean());
    println!("restored: {} keys, all sound", copy.len()?);
    copy.close()?;
    db.close()
}
