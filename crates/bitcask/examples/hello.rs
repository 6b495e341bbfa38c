//! The first minute: open, put, get, delete, close.
//!
//! `cargo run -p bitcask --example hello`

use bitcask::Bitcask;

fn main() -> bitcask::Result<()> {
    let db = Bitcask::open("example-hello")?;
    db.put(b"mykey", b"myvalue")?;
    assert_eq!(db.get(b"mykey")?.as_deref(), Some(&b"myvalue"[..]));
    assert!(db.delete(b"mykey")?);
    assert_eq!(db.get(b"mykey")?, None);
    db.close()
}
