//! Which files an AOF is made of. Since Redis 7 it is a directory with a manifest: a base, and what came after it.
//!
//! ```text
//! file appendonly.aof.1.base.rdb seq 1 type b
//! file appendonly.aof.1.incr.aof seq 1 type i
//! ```

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::{Error, Result};

const SUFFIX: &str = "manifest";

/// A manifest of Redis has a line for each rewrite that has not yet been merged: a few kilobytes.
const LEN_MAX: u64 = 1 << 20;

/// The files of an AOF in their order; `path` is one file, a manifest, or the directory of a manifest.
pub(super) fn files(path: &Path) -> Result<Vec<PathBuf>> {
    let failed = |source| Error::Io { file: path.into(), offset: 0, source };
    if fs::metadata(path).map_err(failed)?.is_dir() {
        return listed(&manifest_in(path)?);
    }
    if path.extension().is_some_and(|extension| extension == SUFFIX) {
        return listed(path);
    }
    Ok(vec![path.into()])
}

fn manifest_in(dir: &Path) -> Result<PathBuf> {
    let failed = |source| Error::Io { file: dir.into(), offset: 0, source };
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == SUFFIX) {
            found.push(path);
        }
    }
    match (found.pop(), found.pop()) {
        (Some(manifest), None) => Ok(manifest),
        (None, _) => Err(no_choice(dir, "there is no manifest in the directory")),
        (Some(_), Some(_)) => Err(no_choice(dir, "there are several manifests in the directory")),
    }
}

fn no_choice(dir: &Path, what: &'static str) -> Error {
    Error::NoChoice { dir: dir.into(), what }
}

fn listed(manifest: &Path) -> Result<Vec<PathBuf>> {
    let failed = |source: io::Error| Error::Io { file: manifest.into(), offset: 0, source };
    let mut text = Vec::new();
    let file = fs::File::open(manifest).map_err(failed)?;
    file.take(LEN_MAX).read_to_end(&mut text).map_err(failed)?;
    let names = parse(&text).map_err(|(offset, what)| Error::Damaged {
        file: manifest.into(),
        offset,
        what: what.into(),
    })?;
    let dir = manifest.parent().unwrap_or(Path::new(""));
    Ok(names.into_iter().map(|name| dir.join(OsString::from_vec(name))).collect())
}

/// Names in the order of loading; or where the text is wrong, and why.
fn parse(text: &[u8]) -> std::result::Result<Vec<Vec<u8>>, (u64, &'static str)> {
    let mut names = Vec::new();
    let mut last = None;
    let mut offset = 0;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let begin = offset;
        offset += line.len() as u64;
        let content = line.trim_ascii();
        if content.is_empty() || content.starts_with(b"#") {
            continue;
        }
        let Some(Entry { name, seq, kind }) = entry(content) else {
            return Err((begin, "no line of a manifest: `file NAME seq NUMBER type b`"));
        };
        if name.contains(&b'/') || name.contains(&0) || name == b".." {
            return Err((begin, "the file is not in the directory of the manifest"));
        }
        match kind {
            b'b' if names.is_empty() => names.push(name),
            b'b' => return Err((begin, "a base that is not the first file")),
            b'i' if last.is_some_and(|last| seq <= last) => {
                return Err((begin, "the files are not in their order"));
            }
            b'i' => {
                last = Some(seq);
                names.push(name);
            }
            // What a rewrite has replaced.
            b'h' => {}
            _ => return Err((begin, "a file of unknown type")),
        }
    }
    if names.is_empty() {
        return Err((0, "the manifest names no file"));
    }
    Ok(names)
}

struct Entry {
    name: Vec<u8>,
    seq: u64,
    kind: u8,
}

/// Pairs of a word and its value; unknown words are for later versions, as in Redis.
fn entry(line: &[u8]) -> Option<Entry> {
    let (mut name, mut seq, mut kind) = (None, None, None);
    let mut rest = line;
    while !rest.is_empty() {
        let (key, after) = word(rest)?;
        let (value, after) = word(after)?;
        match &*key {
            b"file" => name = Some(value),
            b"seq" => seq = Some(str::from_utf8(&value).ok()?.parse().ok()?),
            b"type" => kind = value.first().copied(),
            _ => {}
        }
        rest = after;
    }
    let name = name.filter(|name: &Vec<u8>| !name.is_empty())?;
    Some(Entry { name, seq: seq?, kind: kind? })
}

/// A word, perhaps in quotes with escapes, and what is behind it.
fn word(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let text = text.trim_ascii_start();
    let Some(quoted) = text.strip_prefix(b"\"") else {
        let len = text.iter().position(u8::is_ascii_whitespace).unwrap_or(text.len());
        let (word, rest) = text.split_at_checked(len).filter(|(word, _)| !word.is_empty())?;
        return Some((word.to_vec(), rest.trim_ascii_start()));
    };
    let mut word = Vec::new();
    let mut rest = quoted;
    loop {
        let (byte, after) = rest.split_first()?;
        rest = after;
        match byte {
            b'"' => return Some((word, rest.trim_ascii_start())),
            b'\\' => {
                let (byte, after) = unescape(rest)?;
                word.push(byte);
                rest = after;
            }
            plain => word.push(*plain),
        }
    }
}

/// What stands behind a backslash.
fn unescape(text: &[u8]) -> Option<(u8, &[u8])> {
    let (letter, rest) = text.split_first()?;
    Some(match letter {
        b'x' => {
            let (digits, rest) = rest.split_at_checked(2)?;
            (u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?, rest)
        }
        b'n' => (b'\n', rest),
        b'r' => (b'\r', rest),
        b't' => (b'\t', rest),
        b'b' => (8, rest),
        b'a' => (7, rest),
        other => (*other, rest),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, names: &[&str]) {
        let parsed = parse(text.as_bytes()).unwrap();
        assert_eq!(parsed, names.iter().map(|name| name.as_bytes()).collect::<Vec<_>>());
    }

    #[test]
    fn base_and_increments_are_given_in_order_and_history_is_not() {
        check(
            "# made by hand\n\
             file a.2.base.rdb seq 2 type b\n\
             file a.1.base.rdb seq 1 type h\n\
             file a.2.incr.aof seq 2 type i\n\
             file a.3.incr.aof seq 3 type i startoffset 5 endoffset 9\n",
            &["a.2.base.rdb", "a.2.incr.aof", "a.3.incr.aof"],
        );
        check("file \"a b\\x41\\\"\\\\\" seq 1 type i", &["a bA\"\\"]);
    }

    #[test]
    fn what_is_wrong_is_refused_at_its_offset() {
        let wrong = |text: &str, at: u64| assert_eq!(parse(text.as_bytes()).unwrap_err().0, at);
        wrong("", 0);
        wrong("file a seq 1\n", 0);
        wrong("file a seq x type b\n", 0);
        wrong("file a seq 1 type b\nfile ../b seq 1 type i\n", 20);
        wrong("file a seq 1 type b\nfile b seq 1 type b\n", 20);
        wrong("file a seq 2 type i\nfile b seq 1 type i\n", 20);
        wrong("file a seq 1 type b\nfile \"b seq 1 type i\n", 20);
        wrong("file a seq 1 type z\n", 0);
    }
}
