//! One handle, many threads: clones share the store.
//!
//! `cargo run -p bitcask --example threads`

use std::thread;

use bitcask::Bitcask;

fn main() -> bitcask::Result<()> {
    let db = Bitcask::open("example-threads")?;
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let db = db.clone();
            thread::spawn(move || -> bitcask::Result<()> {
                for n in 0..1000 {
                    db.put(format!("{writer}/{n}").as_bytes(), b"value")?;
                }
                Ok(())
            })
        })
        .collect();
    for writer in writers {
        writer.join().expect("a writer does not panic")?;
    }

    // Each key is met once, in no order, while others may go on writing.
    let bytes = db.fold(0, |sum, key, value| sum + key.len() + value.len())?;
    assert_eq!(db.len()?, 4000);
    assert!(bytes > 4000 * 5);

    // Many gets at once are faster than one after another.
    let keys: Vec<_> = (0..1000).map(|n| format!("2/{n}")).collect();
    assert!(db.get_many(&keys)?.iter().all(Option::is_some));
    db.close()
}
