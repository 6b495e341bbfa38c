//! `{"key":"...","value":"...","expires_ms":1234}`: an object a line. There is no `expires_ms` where a key stays.
//!
//! What a line has besides is not passed over but is a reason to reject it: who wrote it meant something by it.

use std::io::{self, Write};

use serde_json::Deserializer;

use super::source::{Line, Source, without_end};
use super::{Entry, Item, LINE_LEN_MAX, Position, ReadError, Reader, Writer, as_u64, check_line};
use crate::text::{Encoding, shortened};

/// How much of a wrong text is shown.
const SHOWN_LEN: usize = 100;

/// Writes lines.
pub(super) struct Jsonl<W> {
    encoding: Encoding,
    out: W,
}

impl<W: Write> Jsonl<W> {
    pub(super) fn new(encoding: Encoding, out: W) -> Self {
        Self { encoding, out }
    }
}

impl<W: Write> Writer for Jsonl<W> {
    fn write(&mut self, entry: &Entry) -> io::Result<()> {
        let key = self.encoding.encode(&entry.key);
        let value = self.encoding.encode(&entry.value);
        // The braces, the names, and a number.
        check_line(json_len(&key) + json_len(&value) + 64)?;
        self.out.write_all(b"{\"key\":")?;
        serde_json::to_writer(&mut self.out, &key)?;
        self.out.write_all(b",\"value\":")?;
        serde_json::to_writer(&mut self.out, &value)?;
        if let Some(ms) = entry.expires_ms {
            write!(self.out, ",\"expires_ms\":{ms}")?;
        }
        self.out.write_all(b"}\n")
    }

    fn finish(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// How long a text is as a JSON string; counted only where it could be too long.
fn json_len(text: &str) -> u64 {
    let len = as_u64(text.len());
    if len < LINE_LEN_MAX / 16 {
        return len;
    }
    let escape_len = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 1,
        0..0x20 => 5,
        _ => 0,
    };
    len + text.bytes().map(escape_len).sum::<u64>()
}

/// Reads lines.
pub(super) struct Lines {
    encoding: Encoding,
    source: Source,
    buffer: Vec<u8>,
}

impl Lines {
    pub(super) fn new(encoding: Encoding, source: Source) -> Self {
        Self { encoding, source, buffer: Vec::new() }
    }

    fn item(&mut self, line: Line) -> Item {
        let read = self.source.check(line).and_then(|()| entry(&self.buffer, self.encoding));
        match read {
            Ok(entry) => Item::Entry(entry),
            Err(what) => line.rejected(what, &mut self.buffer),
        }
    }
}

impl Reader for Lines {
    fn next(&mut self) -> Result<Option<Item>, ReadError> {
        let end = |piece: &[u8]| piece.iter().position(|&byte| byte == b'\n').map(|at| at + 1);
        while let Some(line) = self.source.line(&mut self.buffer, end)? {
            if self.source.check(line).is_err() || !self.buffer.iter().all(u8::is_ascii_whitespace)
            {
                return Ok(Some(self.item(line)));
            }
        }
        Ok(None)
    }

    fn position(&self) -> &Position {
        &self.source.position
    }
}

fn entry(line: &[u8], encoding: Encoding) -> Result<Entry, String> {
    let text = str::from_utf8(without_end(line))
        .map_err(|e| format!("column {}: not UTF-8", e.valid_up_to().saturating_add(1)))?;
    let mut scan = Scan { len: text.len(), rest: text };
    let (mut key, mut value, mut expires_ms) = (None, None, None);
    scan.expect('{')?;
    let mut more = !scan.take('}');
    while more {
        let name = scan.string()?;
        scan.expect(':')?;
        let first = match name.as_str() {
            "key" => key.replace(scan.bytes(&name, encoding)?).is_none(),
            "value" => value.replace(scan.bytes(&name, encoding)?).is_none(),
            "expires_ms" => expires_ms.replace(scan.expiry()?).is_none(),
            _ => return Err(format!("unknown field: {}", shortened(name.as_bytes(), SHOWN_LEN))),
        };
        if !first {
            return Err(format!("the field {name} is there twice"));
        }
        more = scan.take(',');
        if !more {
            scan.expect('}')?;
        }
    }
    scan.end()?;
    let key = key.ok_or("there is no field key")?;
    let value = value.ok_or("there is no field value")?;
    Entry { key, value, expires_ms: expires_ms.flatten() }.checked()
}

/// What is left of a line.
struct Scan<'a> {
    /// That of the line.
    len: usize,
    rest: &'a str,
}

impl Scan<'_> {
    fn column(&self) -> usize {
        self.len.saturating_sub(self.rest.len()).saturating_add(1)
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    fn take(&mut self, mark: char) -> bool {
        self.skip_space();
        let behind = self.rest.strip_prefix(mark);
        self.rest = behind.unwrap_or(self.rest);
        behind.is_some()
    }

    fn expect(&mut self, mark: char) -> Result<(), String> {
        if self.take(mark) {
            return Ok(());
        }
        Err(format!("column {}: not a {mark}", self.column()))
    }

    fn end(&mut self) -> Result<(), String> {
        self.skip_space();
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(format!("column {}: more behind the object", self.column()))
    }

    fn bytes(&mut self, name: &str, encoding: Encoding) -> Result<Vec<u8>, String> {
        let text = self.string()?;
        encoding.decode(&text).map_err(|e| format!("{name}: {e}"))
    }

    fn string(&mut self) -> Result<String, String> {
        self.skip_space();
        let mut values = Deserializer::from_str(self.rest).into_iter::<String>();
        let read = values.next();
        let end = values.byte_offset();
        self.took(read, end)
    }

    fn expiry(&mut self) -> Result<Option<u64>, String> {
        self.skip_space();
        // Of a text, the error would have all of it.
        if self.rest.starts_with('"') {
            return Err(format!("column {}: not a number, nor null", self.column()));
        }
        let mut values = Deserializer::from_str(self.rest).into_iter::<Option<u64>>();
        let read = values.next();
        let end = values.byte_offset();
        self.took(read, end)
    }

    /// Passes over a value that ends at `end`.
    fn took<T>(&mut self, read: Option<serde_json::Result<T>>, end: usize) -> Result<T, String> {
        match read {
            Some(Ok(value)) => {
                self.rest = self.rest.split_at_checked(end).map_or("", |(_, behind)| behind);
                Ok(value)
            }
            Some(Err(e)) => {
                let what = e.to_string();
                // What it says of the place is counted from the value.
                let what = what.rsplit_once(" at line ").map_or(what.as_str(), |(what, _)| what);
                let what = shortened(what.as_bytes(), SHOWN_LEN);
                Err(format!("column {}: {what}", self.column()))
            }
            None => Err(format!("column {}: the line ends where a value must be", self.column())),
        }
    }
}
