//! Verify, repair and destroy, on the stores and with the decoder of `damage.rs`.
//!
//! What must come of a repair is worked out from the undamaged bytes: which records are intact, which of those that are not
//! a hint tells of, and so which keys must have which value, be deleted, or be reported as stale.

use std::ops::ControlFlow;

use bitcask::{RepairReport, VerifyOptions, VerifyReport};

use super::*;
use crate::crash::Rng;

mod destroys;
mod repairs;
mod verifies;

/// A store that was closed, one that was killed, and two that were merged.
fn stores() -> Vec<Store> {
    vec![closed_store(), killed_store(), merged_store(3).close(), merged_store(4).kill()]
}

/// All files, those in quarantine included.
fn whole_image(fs: &SimFs) -> Image {
    let mut image = image_of(fs);
    for name in fs.file_names("db/quarantine") {
        let name = format!("quarantine/{}", name.to_str().unwrap());
        image.insert(name.clone(), Arc::new(fs.read_file(path_of(&name))));
    }
    image
}

/// Every key and its value.
type Contents = BTreeMap<Vec<u8>, Vec<u8>>;

fn contents_of(db: &Bitcask) -> Contents {
    let entry = |entry: bitcask::Result<(Vec<u8>, bitcask::Value)>| {
        let (key, value) = entry.unwrap();
        (key, value.into_vec())
    };
    let contents: Contents = db.iter().map(entry).collect();
    for (key, value) in &contents {
        assert_eq!(db.get(key).unwrap().unwrap(), *value);
    }
    contents
}

fn contents_after(store: &Store, ops: usize) -> Contents {
    let state = store.state(ops).into_iter();
    state.map(|(key, (_, value))| (key.to_vec(), value.to_vec())).collect()
}
