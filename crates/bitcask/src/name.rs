//! The names of a store's files: the only place that makes or reads them.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::header::FileKind;

/// The file that is locked while a process writes.
pub(crate) const LOCK_NAME: &str = "LOCK";

/// The directory that repair moves damaged files to.
pub(crate) const QUARANTINE_NAME: &str = "quarantine";

/// While it is there, a destruction is under way or was interrupted.
pub(crate) const DESTROYING_NAME: &str = "DESTROYING";

/// What a name in the directory stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// A data file. The name says who wrote it, so that this is known when the header is damaged.
    Data(FileKind, u64),
    Hint(u64),
    /// A dictionary, with its id.
    Dictionary(u32),
    /// A file that was being written when a process died.
    Temporary(u64),
    Lock,
    Destroying,
    Foreign,
}

impl Name {
    /// Only names that this module makes are ours: `7.data`, say, is foreign.
    pub(crate) fn of(name: &OsStr) -> Self {
        let Some(name) = name.to_str() else { return Self::Foreign };
        if name == LOCK_NAME {
            return Self::Lock;
        }
        if name == DESTROYING_NAME {
            return Self::Destroying;
        }
        if let Some(target) = name.strip_suffix(".tmp") {
            return match Self::of(OsStr::new(target)) {
                Self::Data(_, id) | Self::Hint(id) => Self::Temporary(id),
                // Dictionaries are not numbered with the others.
                Self::Dictionary(_) => Self::Temporary(0),
                _ => Self::Foreign,
            };
        }
        let data = |kind, id| file_id(id).map_or(Self::Foreign, |id| Self::Data(kind, id));
        match name.split_once('.') {
            Some((id, "data")) => data(FileKind::Log, id),
            Some((id, "merged")) => data(FileKind::Merged, id),
            Some((id, "hint")) => file_id(id).map_or(Self::Foreign, Self::Hint),
            Some((id, "dict")) => dictionary_id(id).map_or(Self::Foreign, Self::Dictionary),
            _ => Self::Foreign,
        }
    }
}

fn file_id(digits: &str) -> Option<u64> {
    let id = digits.parse().ok()?;
    (format!("{id:012}") == digits).then_some(id)
}

fn dictionary_id(digits: &str) -> Option<u32> {
    let id = u32::from_str_radix(digits, 16).ok()?;
    (format!("{id:08x}") == digits).then_some(id)
}

pub(crate) fn data_path(dir: &Path, kind: FileKind, id: u64) -> PathBuf {
    let extension = match kind {
        FileKind::Log => "data",
        FileKind::Merged => "merged",
    };
    dir.join(format!("{id:012}.{extension}"))
}

pub(crate) fn hint_path(dir: &Path, id: u64) -> PathBuf {
    dir.join(format!("{id:012}.hint"))
}

pub(crate) fn dictionary_path(dir: &Path, id: u32) -> PathBuf {
    dir.join(format!("{id:08x}.dict"))
}

/// Where a file is written before it gets its name.
pub(crate) fn temporary_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    name.into()
}

/// The name that a file has when it is no longer temporary.
pub(crate) fn target_path(temporary: &Path) -> PathBuf {
    temporary.with_extension("")
}

/// Where a checkpoint is built that will be `target`; none if that is no name.
pub(crate) fn staging_path(target: &Path) -> Option<PathBuf> {
    let mut name = OsString::from(".");
    name.push(target.file_name()?);
    name.push(".checkpoint");
    Some(target.with_file_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_we_make_are_ours() {
        let of = |name: &str| Name::of(OsStr::new(name));
        assert_eq!(of("000000000007.data"), Name::Data(FileKind::Log, 7));
        assert_eq!(of("000000000007.merged"), Name::Data(FileKind::Merged, 7));
        assert_eq!(of("18446744073709551615.hint"), Name::Hint(u64::MAX));
        assert_eq!(of("000000000007.hint.tmp"), Name::Temporary(7));
        assert_eq!(of("00c0ffee.dict"), Name::Dictionary(0x00c0_ffee));
        assert_eq!(of("00c0ffee.dict.tmp"), Name::Temporary(0));
        assert_eq!(of("LOCK"), Name::Lock);
        assert_eq!(of("DESTROYING"), Name::Destroying);
        for foreign in [
            "7.data",
            "0000000000007.data",
            "+00000000007.data",
            "000000000007.DATA",
            ".DS_Store",
            "000000000007.data.tmp.tmp",
            "x.tmp",
            "18446744073709551616.data",
            "",
            "notes.txt",
            "c0ffee.dict",
            "00C0FFEE.dict",
            "+0c0ffee.dict",
            "000c0ffee.dict",
        ] {
            assert_eq!(of(foreign), Name::Foreign, "{foreign}");
        }
    }
}
