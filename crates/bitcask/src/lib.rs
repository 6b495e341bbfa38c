//! An embedded key-value store: a log-structured hash table that survives power loss.
//!
//! One writer appends records to the active data file of a directory; the keydir, in memory, maps each key to the place
//! of its newest record; finished files never change; merge gives back the space of dead records; hint files
//! make start-up fast. A put is one append, a get is at most one disk read.
//!
//! ```
//! use bitcask::{Bitcask, WriteBatch};
//! # let dir = std::env::temp_dir().join(format!("bitcask-doc-lib-{}", std::process::id()));
//!
//! let db = Bitcask::open(&dir)?;
//! db.put(b"mykey", b"myvalue")?;
//! assert_eq!(db.get(b"mykey")?.unwrap(), "myvalue");
//!
//! let mut batch = WriteBatch::new();
//! batch.put("a", "1").put("b", "2").delete("mykey");
//! db.write(&batch)?;
//!
//! for entry in db.iter() {
//!     let (key, value) = entry?;
//!     println!("{} = {value:?}", key.escape_ascii());
//! }
//! db.close()?;
//! # std::fs::remove_dir_all(&dir).ok();
//! # Ok::<(), bitcask::Error>(())
//! ```
//!
//! - [`Bitcask`]: the store. [`Options`]: how it is opened. [`Durability`]: what a power loss can take.
//! - [`Stores`]: several stores below one directory.
//! - [`Error`] and [`ErrorKind`]: what to do when something fails.
//! - The format is in `docs/format.md`, the promises in `docs/durability.md`, the design in `ARCHITECTURE.md`.
//!
//! # From async code
//!
//! There is nothing async in here, and little to wait for. A get copies from memory, or waits for one read of the disk: call it
//! where you are. A put copies into the page cache; but it waits for the disk at [`Durability::Always`], and when the disk
//! cannot keep up. So give writes to one thread that takes what has queued up, writes it as one batch, and answers all who wait: that
//! is also the fastest way at `Always`, one sync for many writes. The example `async_server` does it with tokio. What takes long
//! ([`Bitcask::open`], [`merge`](Bitcask::merge), iterating over everything) goes where blocking calls go, `spawn_blocking`
//! with tokio. Handles are `Clone`, `Send` and `Sync`; no lock of the store is held while your code runs.
//!
//! # Features
//!
//! `lz4` and `zstd`, on by default: compression. `zstd` needs a C compiler to build; without one of them, what it compressed is
//! `Unsupported`.
//!
//! `serde` adds `Typed`: collections of typed keys and values, in JSON or by a codec of your own. [`Key`]
//! is there without it: keys as bytes that sort as the values do.
//!
//! Feature `testing` adds `fs::sim`, a simulated disk and clock, for crash tests of programs built on this crate.

mod active;
mod batch;
mod checkpoint;
#[cfg(feature = "serde")]
mod codec;
mod compress;
mod db;
mod destroy;
mod dictionary;
mod directory;
#[cfg(feature = "testing")]
mod dump;
mod durable;
mod engine;
mod error;
mod expiry;
mod files;
mod follow;
#[cfg(feature = "testing")]
pub mod fs;
#[cfg(not(feature = "testing"))]
#[expect(unreachable_pub, reason = "public with the feature `testing`")]
mod fs;
mod header;
mod hint;
mod hint_check;
mod in_use;
mod inspect;
mod iter;
mod keeper;
mod key;
mod keydir;
mod load;
mod merge;
mod merged_file;
mod name;
mod options;
mod ordered;
mod page;
mod place;
mod quarantine;
mod range;
mod read;
mod readonly;
mod record;
mod recovery;
mod repair;
mod salvage;
mod scan;
mod seal;
mod snapshot;
mod sound;
mod staging;
mod stats;
mod stored;
mod stores;
mod stream;
mod survey;
mod sync;
mod tombstones;
mod train;
mod transaction;
#[cfg(feature = "serde")]
mod typed;
mod update;
mod value;
mod verify;
mod walk;
mod watch;
mod writer;

pub use batch::WriteBatch;
pub use checkpoint::{CheckpointProgress, CheckpointReport};
#[cfg(feature = "serde")]
pub use codec::{Codec, CodecError, Json};
pub use compress::Compression;
pub use db::Bitcask;
pub use destroy::{DestroyReport, destroy};
#[cfg(feature = "testing")]
pub use dump::dump;
pub use error::{Error, ErrorKind, Result};
pub use expiry::Expiry;
pub use in_use::{InUse, in_use};
pub use inspect::{Inspected, inspect};
pub use iter::{Iter, Keys};
pub use key::Key;
pub use merge::{MergeProgress, MergeReport};
pub use options::{Durability, Index, IoMode, MergePolicy, Options};
pub use page::{Cursor, Page, Prefix};
pub use range::{Bounds, Range, prefix_bounds};
pub use readonly::ReadOnly;
pub use record::{KEY_LEN_MAX, VALUE_LEN_MAX};
pub use recovery::{Cut, Recovery};
pub use repair::{Lost, RepairReport, repair};
pub use snapshot::Snapshot;
pub use stats::{FileStats, Latency, SnapshotStats, Stats};
pub use stores::Stores;
pub use stream::ValueReader;
pub use train::DictionaryReport;
pub use transaction::{Transaction, TransactionOptions};
#[cfg(feature = "serde")]
pub use typed::{AsKey, Changes, PrefixOf, Typed};
pub use value::Value;
pub use verify::{Damage, VerifyOptions, VerifyProgress, VerifyReport};
pub use watch::{Changed, Event, Watch};
