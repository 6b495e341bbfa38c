//! Where a rule does not hold, and why. Each line here is a debt: one that is paid is reported until it is
//! removed.

/// All violations of one rule in one file are let through.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exception {
    /// The name of the rule, from `cargo xtask tidy --help`.
    pub(crate) check: &'static str,
    pub(crate) path: &'static str,
    pub(crate) reason: &'static str,
}

pub(crate) const EXCEPTIONS: &[Exception] = &[
    // Exception { check: "ascii", path: "crates/bitcask/tests/it/keys.rs", reason: "keys in UTF-8" },
];

/// A file that may be longer than the rest, but no longer than it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LongFile {
    pub(crate) path: &'static str,
    /// Its lines before the test module, at most.
    pub(crate) lines_max: usize,
    pub(crate) reason: &'static str,
}

pub(crate) const LONG_FILES: &[LongFile] = &[
    // LongFile { path: "crates/bitcask/src/merge.rs", lines_max: 640, reason: "one algorithm" },
];
