//! Giving back space: what merge does, how to watch it, and what `stats` tells.
//!
//! `cargo run -p bitcask --example merge`

use std::io::Write;
use std::ops::ControlFlow;

use bitcask::{MergePolicy, Options};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut out = std::io::stdout();
    // Merges would run by themselves; here we want to see one.
    let policy = MergePolicy { background: false, ..MergePolicy::default() };
    let db = Options::new().max_file_size(1 << 20).merge(policy).open("example-merge")?;
    for round in 0..5 {
        for n in 0..10_000 {
            db.put(format!("key {n}").as_bytes(), format!("value of round {round}").as_bytes())?;
        }
    }
    let stats = db.stats()?;
    writeln!(out, "{} keys, {} bytes, {} dead", stats.keys, stats.bytes(), stats.dead_bytes())?;

    let report = db.merge_with(|progress| {
        match writeln!(out, "read {} of {} bytes", progress.bytes_read, progress.bytes) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    })?;
    writeln!(out, "gave back {} bytes", report.reclaimed_bytes())?;
    assert_eq!(db.stats()?.dead_bytes(), 0);
    db.close()?;
    Ok(())
}
