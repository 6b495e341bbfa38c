//! Many changes from a file, all or none.

use std::fs;
use std::io::Read;
use std::path::Path;

use bitcask::{Expiry, WriteBatch};
use serde_json::json;

use super::{Answer, Context, Outcome};
use crate::cli;
use crate::failure::Failure;
use crate::terminal::Stdin;
use crate::text::{named, parse_ttl};
use crate::words::unescaped;

pub(super) fn batch(context: &Context, args: &cli::Batch) -> Result<Outcome, Failure> {
    context.dir()?;
    let text = read(&args.file)?;
    let mut batch = WriteBatch::new();
    let mut count: u64 = 0;
    for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
        let bad = |what: String| {
            Failure::invalid(format!("{what}: {} line {}", args.file.display(), index + 1))
                .advise("nothing was changed; `bitcask help batch` shows what a line may be")
        };
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let words = words(line).map_err(bad)?;
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        match words[..] {
            [] => continue,
            [b"set" | b"put", key, value] => batch.put(key, value),
            [b"set" | b"put", key, value, b"ttl", ttl] => {
                let ttl = parse_ttl(&String::from_utf8_lossy(ttl)).map_err(bad)?;
                batch.put_with(key, value, Expiry::After(ttl))
            }
            [b"del" | b"delete", key] => batch.delete(key),
            ref other => return Err(bad(what_is_wrong(other))),
        };
        count += 1;
    }
    context.write(true, |db| {
        db.write(&batch)?;
        let json = || json!({ "changes": count }).to_string();
        let text = || format!("made {count} change{}", if count == 1 { "" } else { "s" });
        let said = if context.json { json() } else { text() };
        Ok(Answer::done(said + "\n"))
    })
}

/// Of words that are no change.
fn what_is_wrong(words: &[&[u8]]) -> String {
    match *words {
        [b"set" | b"put"] => "a key and a value are missing".into(),
        [b"set" | b"put", _] => "a value is missing".into(),
        [b"set" | b"put", _, _, b"ttl"] => "a time is missing behind ttl".into(),
        [b"set" | b"put", _, _, b"ttl", _, word, ..] | [b"set" | b"put", _, _, word, ..] => {
            format!("a word too many, where quotes may be missing: {}", named(word))
        }
        [b"del" | b"delete"] => "a key is missing".into(),
        [b"del" | b"delete", _, word, ..] => {
            format!("a word too many, for a line deletes one key: {}", named(word))
        }
        [word, ..] => format!("neither set nor del: {}", named(word)),
        [] => "nothing is there".into(),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    if path != Path::new("-") {
        return fs::read(path).map_err(|e| Failure::file("cannot read", path, &e));
    }
    let mut text = Vec::new();
    let read = Stdin.read_to_end(&mut text);
    read.map_err(|e| Failure::stdio("cannot read: standard input", &e))?;
    Ok(text)
}

/// The words of a line, without quotes and escapes.
fn words(line: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let mut words = Vec::new();
    let mut rest = line.trim_ascii_start();
    while let Some((&first, behind)) = rest.split_first() {
        if first == b'#' {
            break;
        }
        let word;
        (word, rest) = if first == b'"' { quoted(behind)? } else { plain(rest) };
        if rest.first().is_some_and(|byte| !byte.is_ascii_whitespace()) {
            return Err("a space is missing behind a quoted word".into());
        }
        words.push(word);
        rest = rest.trim_ascii_start();
    }
    Ok(words)
}

fn plain(text: &[u8]) -> (Vec<u8>, &[u8]) {
    let end = text.iter().position(u8::is_ascii_whitespace).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    (word.to_vec(), rest)
}

fn quoted(mut text: &[u8]) -> Result<(Vec<u8>, &[u8]), String> {
    let mut word = Vec::new();
    loop {
        text = match text {
            [b'"', rest @ ..] => return Ok((word, rest)),
            [b'\\', rest @ ..] => unescaped(rest, &mut word)?,
            [byte, rest @ ..] => {
                word.push(*byte);
                rest
            }
            [] => return Err("a quote is not closed".into()),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_apart() {
        let cases: [(&[u8], &[&[u8]]); 6] = [
            (b"", &[]),
            (b"  # nothing", &[]),
            (b"set a b", &[b"set", b"a", b"b"]),
            (b" set  \"a b\" \"\" # said", &[b"set", b"a b", b""]),
            (b"set k \"\\x00\\n\\\"\\\\\"", &[b"set", b"k", b"\0\n\"\\"]),
            (b"set k a#b\"c", &[b"set", b"k", b"a#b\"c"]),
        ];
        for (line, expected) in cases {
            assert_eq!(words(line).expect("it is sound"), expected);
        }
        for line in [&b"set \"a"[..], b"set \"a\"b", b"set \"\\q\"", b"\"\\x1"] {
            assert!(words(line).is_err());
        }
    }
}
