//! `key,value,expires_ms`, then a row for each key, quoted as RFC 4180 has it. `expires_ms` is empty where a key stays.
//!
//! The columns are found by their names. What is not clear is rejected, not guessed: a quote within a field that does
//! not begin with one, text behind a closing quote, a column too many or too few.

use std::borrow::Cow;
use std::io::{self, Write};

use super::source::{Line, Source, without_end};
use super::{
    BUFFER_LEN, Entry, Item, LINE_LEN_MAX, Position, ReadError, Reader, Writer, as_u64, check_line,
};
use crate::text::{Encoding, shortened};

const COLUMNS: [&str; 3] = ["key", "value", "expires_ms"];

/// How much of a wrong text is shown.
const SHOWN_LEN: usize = 100;

/// Writes rows.
pub(super) struct Csv<W: Write> {
    encoding: Encoding,
    out: ::csv::Writer<W>,
    begun: bool,
}

impl<W: Write> Csv<W> {
    pub(super) fn new(encoding: Encoding, out: W) -> Self {
        let out = ::csv::WriterBuilder::new().buffer_capacity(BUFFER_LEN).from_writer(out);
        Self { encoding, out, begun: false }
    }

    fn begin(&mut self) -> io::Result<()> {
        if !self.begun {
            self.out.write_record(COLUMNS)?;
            self.begun = true;
        }
        Ok(())
    }
}

impl<W: Write> Writer for Csv<W> {
    fn write(&mut self, entry: &Entry) -> io::Result<()> {
        self.begin()?;
        let key = self.encoding.encode(&entry.key);
        let value = self.encoding.encode(&entry.value);
        let expires_ms = entry.expires_ms.map(|ms| ms.to_string()).unwrap_or_default();
        // The commas, the quotes around the fields, and a number.
        check_line(quoted_len(&key) + quoted_len(&value) + 64)?;
        self.out.write_record([key, value, expires_ms])?;
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.begin()?;
        self.out.flush()
    }
}

/// How long a text is with its quotes doubled; counted only where it could be too long.
fn quoted_len(text: &str) -> u64 {
    let len = as_u64(text.len());
    if len < LINE_LEN_MAX / 8 {
        return len;
    }
    len + text.bytes().map(|byte| u64::from(byte == b'"')).sum::<u64>()
}

/// Reads rows.
pub(super) struct Rows {
    encoding: Encoding,
    source: Source,
    columns: Columns,
    buffer: Vec<u8>,
}

impl Rows {
    /// Reads the header, or takes it from the position where another reader was.
    pub(super) fn new(encoding: Encoding, mut source: Source) -> Result<Self, ReadError> {
        let mut buffer = Vec::new();
        if source.position.header.is_empty() {
            source.position.header = read_header(&mut source, &mut buffer)?;
        }
        let columns =
            Columns::find(&source.position.header).map_err(|what| source.damaged(what))?;
        Ok(Self { encoding, source, columns, buffer })
    }

    fn item(&mut self, line: Line, ends: &Ends) -> Item {
        let whole = self.source.check(line).and_then(|()| match ends.state {
            State::Quoted => Err("a quote is not closed".to_owned()),
            _ => Ok(()),
        });
        let text = without_end(&self.buffer);
        match whole.and_then(|()| self.columns.entry(text, self.encoding)) {
            Ok(entry) => Item::Entry(entry),
            Err(what) => line.rejected(what, &mut self.buffer),
        }
    }
}

impl Reader for Rows {
    fn next(&mut self) -> Result<Option<Item>, ReadError> {
        loop {
            let mut ends = Ends { state: State::Start };
            let Some(line) = self.source.line(&mut self.buffer, |piece| ends.find(piece))? else {
                return Ok(None);
            };
            if !without_end(&self.buffer).is_empty() {
                return Ok(Some(self.item(line, &ends)));
            }
        }
    }

    fn position(&self) -> &Position {
        &self.source.position
    }
}

/// The first line that is not blank.
fn read_header(source: &mut Source, buffer: &mut Vec<u8>) -> Result<String, ReadError> {
    if !source.at_beginning {
        return Err(source.damaged("nobody says what the columns are"));
    }
    let line_len_max = std::mem::replace(&mut source.line_len_max, 4096);
    let at = source.position.offset;
    let damaged = |what: String| ReadError::Damaged { offset: at, what };
    loop {
        let mut ends = Ends { state: State::Start };
        let Some(line) = source.line(buffer, |piece| ends.find(piece))? else {
            return Err(damaged("there is no header".into()));
        };
        let header = without_end(buffer);
        if header.is_empty() {
            continue;
        }
        source.check(line).map_err(|what| damaged(format!("no header: {what}")))?;
        source.line_len_max = line_len_max;
        return match str::from_utf8(header) {
            Ok(header) => Columns::find(header).map(|_| header.to_owned()).map_err(damaged),
            Err(_) => Err(damaged(no_header(header))),
        };
    }
}

fn no_header(line: &[u8]) -> String {
    format!("no header of key, value and expires_ms: {}", shortened(line, SHOWN_LEN))
}

/// Where in a row each column is.
#[derive(Clone, Copy, Debug)]
struct Columns {
    count: usize,
    key: usize,
    value: usize,
    expires_ms: Option<usize>,
}

impl Columns {
    fn find(header: &str) -> Result<Self, String> {
        let names = fields(header, COLUMNS.len())
            .map_err(|what| format!("{}: {what}", no_header(header.as_bytes())))?;
        for (i, name) in names.iter().enumerate() {
            if !COLUMNS.contains(&name.as_ref())
                || names.iter().skip(i + 1).any(|other| other == name)
            {
                return Err(no_header(header.as_bytes()));
            }
        }
        let [key, value, expires_ms] =
            COLUMNS.map(|column| names.iter().position(|name| name == column));
        match (key, value) {
            (Some(key), Some(value)) => Ok(Self { count: names.len(), key, value, expires_ms }),
            _ => Err(no_header(header.as_bytes())),
        }
    }

    fn entry(self, row: &[u8], encoding: Encoding) -> Result<Entry, String> {
        let text = str::from_utf8(row)
            .map_err(|e| format!("column {}: not UTF-8", e.valid_up_to().saturating_add(1)))?;
        let fields = fields(text, self.count)?;
        if fields.len() != self.count {
            return Err(format!("{} fields where the header has {}", fields.len(), self.count));
        }
        let field = |at: usize| fields.get(at).map_or("", |field| field);
        let decode =
            |name: &str, at| encoding.decode(field(at)).map_err(|what| format!("{name}: {what}"));
        let key = decode("key", self.key)?;
        let value = decode("value", self.value)?;
        let expires_ms = match self.expires_ms.map_or("", field) {
            "" => None,
            text => Some(parse_ms(text)?),
        };
        Entry { key, value, expires_ms }.checked()
    }
}

fn parse_ms(text: &str) -> Result<u64, String> {
    text.parse().map_err(|e| {
        let shown = shortened(text.as_bytes(), SHOWN_LEN);
        format!("expires_ms is no number of milliseconds: {shown}: {e}")
    })
}

/// The fields of a row without its end, at most so many.
fn fields(row: &str, count_max: usize) -> Result<Vec<Cow<'_, str>>, String> {
    let mut fields = Vec::with_capacity(count_max);
    let mut rest = Some(row);
    while let Some(text) = rest {
        if fields.len() == count_max {
            return Err(format!("more than {count_max} fields"));
        }
        let (field, behind) = match text.strip_prefix('"') {
            Some(quoted) => quoted_field(quoted)?,
            None => plain_field(text)?,
        };
        fields.push(field);
        rest = behind;
    }
    Ok(fields)
}

fn plain_field(text: &str) -> Result<(Cow<'_, str>, Option<&str>), String> {
    let (field, behind) = match text.split_once(',') {
        Some((field, behind)) => (field, Some(behind)),
        None => (text, None),
    };
    if field.contains(['"', '\r']) {
        return Err("a quote or a carriage return in a field without quotes".into());
    }
    Ok((field.into(), behind))
}

/// The field behind its opening quote, and what is behind the comma.
fn quoted_field(mut text: &str) -> Result<(Cow<'_, str>, Option<&str>), String> {
    let mut field = Cow::Borrowed("");
    loop {
        let (inside, behind) = text.split_once('"').ok_or("a quote is not closed")?;
        // Adding to nothing borrows.
        field += inside;
        let Some(doubled) = behind.strip_prefix('"') else {
            return match behind.strip_prefix(',') {
                None if !behind.is_empty() => Err("text behind a closing quote".into()),
                behind => Ok((field, behind)),
            };
        };
        field.to_mut().push('"');
        text = doubled;
    }
}

/// Finds where a row ends: at a line feed that is not within quotes. It goes by what [`fields`] takes, and of a row
/// that is wrong the rest is without quotes: what it costs ends with the line.
struct Ends {
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Of a field.
    Start,
    Plain,
    Quoted,
    /// Behind a quote within quotes: it is doubled, or closes.
    Quote,
    /// Behind something wrong.
    Lost,
}

impl Ends {
    fn find(&mut self, piece: &[u8]) -> Option<usize> {
        for (at, &byte) in piece.iter().enumerate() {
            if byte == b'\n' && self.state != State::Quoted {
                return Some(at.saturating_add(1));
            }
            self.state = match (self.state, byte) {
                (State::Start, b'"') | (State::Quote, b'"') => State::Quoted,
                (State::Quoted, b'"') => State::Quote,
                (State::Quoted, _) => State::Quoted,
                (State::Lost, _) | (State::Plain, b'"') => State::Lost,
                // Only a line feed may come, and that ends the row.
                (State::Start | State::Plain, b'\r') => State::Lost,
                (State::Start | State::Plain | State::Quote, b',') => State::Start,
                (State::Start | State::Plain, _) => State::Plain,
                (State::Quote, _) => State::Lost,
            };
        }
        None
    }
}
