//! Tests of the public API, in one binary.
#![allow(clippy::disallowed_methods, reason = "tests look at real files")]

mod basics;
mod checkpoint;
#[cfg(all(feature = "lz4", feature = "zstd"))]
mod compression;
mod concurrency;
mod crash;
mod damage;
mod expiry;
mod fixtures;
mod history;
mod model;
mod processes;
mod ranges;
mod readers;
mod scripts;
mod snapshots;
mod stores;
mod streams;
mod transactions;
#[cfg(feature = "serde")]
mod typed;
mod watching;
