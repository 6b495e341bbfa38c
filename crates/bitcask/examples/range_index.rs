//! Keys in order as an index: the posts of a user, newest first, page by page.
//!
//! `cargo run -p bitcask --example range_index`
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "an example lives in the real world, and says what it does"
)]

use std::cmp::Reverse;

use bitcask::{Bitcask, Cursor, Index, Key, Options, WriteBatch};

/// User, time, number of the post. Tuples sort by their first part, then the next; `Reverse` puts the newest first.
type ByUser = (String, Reverse<u64>, u64);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::temp_dir().join(format!("bitcask-range-index-{}", std::process::id()));
    let db = Options::new().index(Index::Ordered).open(&dir)?;
    for post in 1..=12 {
        let user = if post % 3 == 0 { "bob" } else { "ann" };
        add_post(&db, post, user, 1_700_000_000 + post * 60, &format!("text of post {post}"))?;
    }

    // A page is what one request asks for. The cursor is bytes: it can go to a client and come back.
    let mut sent: Option<Vec<u8>> = None;
    loop {
        let cursor = sent.as_deref().map(Cursor::from);
        let page = db.scan(&posts_of("ann"), cursor.as_ref(), 3)?;
        for (key, _) in &page.entries {
            let (_, Reverse(time), post) = decode(key);
            let text = db.get(&post_key(post))?.expect("both were written in one batch");
            println!("{time}  {}", str::from_utf8(&text)?);
        }
        sent = page.next.map(|cursor| cursor.as_bytes().to_vec());
        if sent.is_none() {
            break;
        }
        println!("-- next page");
    }

    // A stretch of time: from the later to the earlier, as the keys stand.
    let moment = |time| index_key("bob", time, 0);
    let range = db.range(moment(1_700_000_600)..moment(1_700_000_200))?;
    let posts = range.map(|entry| Ok(decode(&entry?.0).2)).collect::<bitcask::Result<Vec<_>>>()?;
    println!("posts of bob in that time: {posts:?}");
    assert_eq!(posts, [9, 6]);

    db.close()?;
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

/// A post and its entry in the index: after a crash both are there, or none is.
fn add_post(db: &Bitcask, post: u64, user: &str, time: u64, text: &str) -> bitcask::Result<()> {
    let mut batch = WriteBatch::new();
    batch.put(post_key(post), text).put(index_key(user, time, post), "");
    db.write(&batch)
}

fn post_key(post: u64) -> Vec<u8> {
    ("post".to_owned(), post).to_bytes()
}

fn index_key(user: &str, time: u64, post: u64) -> Vec<u8> {
    let mut key = posts_of(user);
    (Reverse(time), post).encode(&mut key);
    key
}

/// What the index keys of a user begin with. Encoded as a part, a name ends: "ann" does not find "anna".
fn posts_of(user: &str) -> Vec<u8> {
    let mut key = Vec::new();
    "post by user".to_owned().encode_part(&mut key);
    user.to_owned().encode_part(&mut key);
    key
}

fn decode(key: &[u8]) -> ByUser {
    let (_, user, time, post): (String, String, _, _) = Key::decode(key).expect("we wrote it");
    (user, time, post)
}
