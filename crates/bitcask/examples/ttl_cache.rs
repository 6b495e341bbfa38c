//! A cache: entries that expire, and what is computed anew when they have.
//!
//! `cargo run -p bitcask --example ttl_cache`
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "an example lives in the real world, and says what it does"
)]

use std::thread;
use std::time::Duration;

use bitcask::{Bitcask, Durability, Options};

const TTL: Duration = Duration::from_millis(300);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::temp_dir().join(format!("bitcask-ttl-cache-{}", std::process::id()));
    // What a power loss takes, a cache computes again.
    let db = Options::new().durability(Durability::Os).open(&dir)?;

    for round in 1..=2 {
        let value = cached(&db, "weather/berlin", || "rain")?;
        println!("round {round}: {}", str::from_utf8(&value)?);
    }
    // Does not expire.
    db.put(b"config/units", b"metric")?;
    println!("entries: {}, expires: {:?}", db.len()?, db.expires_at(b"weather/berlin")?);

    thread::sleep(TTL + Duration::from_millis(100));
    assert_eq!(db.get(b"weather/berlin")?, None);
    assert_eq!(db.len()?, 1);
    println!("later it has expired; entries: {}", db.len()?);
    let value = cached(&db, "weather/berlin", || "sun")?;
    println!("computed anew: {}", str::from_utf8(&value)?);

    db.close()?;
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

/// What is stored under `key`, or what `compute` gives, which is then stored for a while.
fn cached(
    db: &Bitcask,
    key: &str,
    compute: impl FnOnce() -> &'static str,
) -> bitcask::Result<Vec<u8>> {
    if let Some(value) = db.get(key.as_bytes())? {
        println!("hit: {key}");
        return Ok(value.into_vec());
    }
    println!("miss: {key}");
    let value = compute().as_bytes();
    db.put_with(key.as_bytes(), value, TTL)?;
    Ok(value.to_vec())
}
