//! Changes that belong together: after a crash all of them are there, or none is.
//!
//! `cargo run -p bitcask --example batch`

use bitcask::{Bitcask, Durability, Options, WriteBatch};

fn main() -> bitcask::Result<()> {
    let db = Options::new().durability(Durability::Always).open("example-batch")?;
    db.put(b"account/ann", b"100")?;
    db.put(b"account/bob", b"100")?;

    transfer(&db, "ann", "bob", 10)?;

    assert_eq!(balance(&db, "ann")?, 90);
    assert_eq!(balance(&db, "bob")?, 110);
    db.close()
}

/// One thread only: nothing here keeps another from changing a balance in between.
fn transfer(db: &Bitcask, from: &str, to: &str, amount: i64) -> bitcask::Result<()> {
    let mut batch = WriteBatch::new();
    batch.put(format!("account/{from}"), (balance(db, from)? - amount).to_string());
    batch.put(format!("account/{to}"), (balance(db, to)? + amount).to_string());
    db.write(&batch)
}

fn balance(db: &Bitcask, name: &str) -> bitcask::Result<i64> {
    let value = db.get(format!("account/{name}").as_bytes())?.expect("the account exists");
    Ok(str::from_utf8(&value).expect("we wrote digits").parse().expect("we wrote digits"))
}
