//! Keeping a copy of a store in step with it: an index, a cache, a replica.
//!
//! The copy remembers how far it is. When it comes too late, because a merge took the changes away that it has
//! missed, it begins anew with a snapshot.
//!
//! `cargo run -p bitcask --example change_feed`

use std::collections::BTreeMap;
use std::path::Path;

use bitcask::{Bitcask, Changed, ErrorKind};

/// What would be kept in some other place: contents, and the sequence number up to which they are those of the store.
#[derive(Default)]
struct Copy {
    map: BTreeMap<Vec<u8>, Vec<u8>>,
    seq: u64,
}

impl Copy {
    /// Brings the copy up to date. Gives whether it had to begin anew.
    fn catch_up(&mut self, db: &Bitcask) -> bitcask::Result<bool> {
        match self.follow(db) {
            Err(e) if e.kind() == ErrorKind::Gone => {
                *self = Self::of(db)?;
                Ok(true)
            }
            result => result.map(|()| false),
        }
    }

    /// Applies the changes since it was last here.
    fn follow(&mut self, db: &Bitcask) -> bitcask::Result<()> {
        let mut watch = db.watch(b"", self.seq + 1)?;
        // A batch counts when all of it is there.
        let mut batch = Vec::new();
        while let Some(event) = watch.try_next()? {
            let is_last = event.is_last;
            batch.push(event);
            if is_last {
                batch.drain(..).for_each(|event| match event.change {
                    Changed::Put { value, .. } => drop(self.map.insert(event.key, value.into())),
                    _ => drop(self.map.remove(&event.key)),
                });
                // To be saved together with the contents.
                self.seq = watch.seq();
            }
        }
        Ok(())
    }

    fn of(db: &Bitcask) -> bitcask::Result<Self> {
        let snapshot = db.snapshot()?;
        let entries = snapshot.iter().map(|entry| entry.map(|(key, value)| (key, value.into())));
        Ok(Self { map: entries.collect::<bitcask::Result<_>>()?, seq: snapshot.seq() })
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::temp_dir().join(format!("bitcask-change-feed-{}", std::process::id()));
    let db = Bitcask::open(&dir)?;
    let mut copy = Copy::default();

    db.put(b"apple", b"red")?;
    db.put(b"plum", b"blue")?;
    assert!(!copy.catch_up(&db)?);
    assert_eq!(copy.map.len(), 2);

    db.put(b"apple", b"green")?;
    db.delete(b"plum")?;
    assert!(!copy.catch_up(&db)?);
    assert_eq!(copy.map[&b"apple"[..]], b"green");
    assert_eq!(copy.map.len(), 1);

    // It looks away for long.
    for n in 0..1000 {
        db.put(b"pear", format!("{n}").as_bytes())?;
    }
    db.merge()?;
    assert!(copy.catch_up(&db)?, "the changes that it missed are gone");
    assert_eq!(copy.map[&b"pear"[..]], b"999");
    assert_eq!(copy.map.len(), 2);

    db.close()?;
    remove(&dir)
}

#[expect(clippy::disallowed_methods, reason = "the example leaves nothing behind")]
fn remove(dir: &Path) -> Result<(), Box<dyn std::error::Error>> {
    Ok(std::fs::remove_dir_all(dir)?)
}
