//! What is written is read again; what is wrong is told, with its place, and what follows is read.

use std::cell::RefCell;
use std::io::{self, BufReader, Cursor, Read, Write};
use std::rc::Rc;

use super::fuzz::some_bytes;
use super::source::Source;
use super::*;
use crate::fuzzing::seeded;

pub(super) const FORMATS: [Format; 3] = [Format::Jsonl, Format::Csv, Format::Binary];
const ENCODINGS: [Encoding; 3] = [Encoding::Utf8, Encoding::Hex, Encoding::Base64];

#[derive(Clone, Default)]
struct Shared(Rc<RefCell<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(super) fn entry(key: &[u8], value: &[u8], expires_ms: Option<u64>) -> Entry {
    Entry { key: key.into(), value: value.into(), expires_ms }
}

pub(super) fn written(format: Format, encoding: Encoding, entries: &[Entry]) -> Vec<u8> {
    let out = Shared::default();
    let mut writer = writer(format, encoding, Box::new(out.clone()));
    for entry in entries {
        writer.write(entry).unwrap();
    }
    writer.finish().unwrap();
    out.0.take()
}

/// Gives bytes in pieces of `piece`, so that everything is cut everywhere.
fn input(bytes: &[u8], piece: usize) -> Box<dyn BufRead> {
    Box::new(BufReader::with_capacity(piece, Cursor::new(bytes.to_vec())))
}

pub(super) fn open(
    format: Format,
    encoding: Encoding,
    bytes: &[u8],
) -> Result<Box<dyn Reader>, ReadError> {
    reader(format, encoding, input(bytes, 7), Position::default())
}

fn rest(mut reader: Box<dyn Reader>) -> Vec<Item> {
    std::iter::from_fn(|| reader.next().unwrap()).collect()
}

fn read(format: Format, bytes: &[u8]) -> Vec<Item> {
    rest(open(format, Encoding::Utf8, bytes).unwrap())
}

pub(super) fn samples() -> Vec<Entry> {
    let mut random = seeded();
    let all: Vec<u8> = (0..=255).collect();
    let mut entries = vec![
        entry(b"", b"", None),
        entry(b"k", b"", Some(0)),
        entry(b"", b"\"quoted\", a comma\r\nand a \\ backslash\r", Some(u64::MAX - 1)),
        entry(&all, &all, Some(1234)),
        entry("\u{feff}\u{2028}\u{1f600}".as_bytes(), b"\xff\xfe\n", None),
        entry(b"\"", b"\"\"", None),
        entry(b"\n", b"\r\n\r\n", None),
        entry(b" ", b" , ", None),
    ];
    for _ in 0..40 {
        let key = some_bytes(&mut random, 12);
        let value = some_bytes(&mut random, 200);
        let expires_ms = Some(random.next()).filter(|ms| ms % 2 == 0);
        entries.push(Entry { key, value, expires_ms });
    }
    entries
}

#[test]
fn what_is_written_is_read_again() {
    let entries = samples();
    let items: Vec<Item> = entries.iter().cloned().map(Item::Entry).collect();
    for format in FORMATS {
        for encoding in ENCODINGS {
            let bytes = written(format, encoding, &entries);
            for piece in [1, 3, 4096] {
                let reader = reader(format, encoding, input(&bytes, piece), Position::default());
                assert_eq!(rest(reader.unwrap()), items, "{format:?} {encoding:?} {piece}");
            }
        }
        let none = written(format, Encoding::Utf8, &[]);
        assert_eq!(read(format, &none), [], "{format:?}");
    }
}

#[test]
fn other_programs_read_what_is_written() {
    let entries = samples();
    let jsonl = String::from_utf8(written(Format::Jsonl, Encoding::Utf8, &entries)).unwrap();
    assert_eq!(jsonl.lines().count(), entries.len());
    for (line, entry) in jsonl.lines().zip(&entries) {
        let json: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(json["key"].as_str().unwrap(), Encoding::Utf8.encode(&entry.key));
        assert_eq!(json["value"].as_str().unwrap(), Encoding::Utf8.encode(&entry.value));
        assert_eq!(json["expires_ms"].as_u64(), entry.expires_ms);
    }
    let csv = written(Format::Csv, Encoding::Base64, &entries);
    let mut rows = ::csv::Reader::from_reader(&csv[..]);
    assert_eq!(rows.headers().unwrap(), ["key", "value", "expires_ms"].as_slice());
    for (row, entry) in rows.records().zip(&entries) {
        let expires_ms = entry.expires_ms.map(|ms| ms.to_string()).unwrap_or_default();
        let texts = [Encoding::Base64.encode(&entry.key), Encoding::Base64.encode(&entry.value)];
        assert_eq!(&row.unwrap(), [texts[0].as_str(), texts[1].as_str(), &expires_ms].as_slice());
    }
}

#[test]
fn the_formats_are_these() {
    let entries = [entry(b"a\xff", b"b\"\n", None), entry(b"c", b"", Some(1234))];
    let text = |format| String::from_utf8(written(format, Encoding::Utf8, &entries)).unwrap();
    assert_eq!(
        text(Format::Jsonl),
        "{\"key\":\"a\\\\xff\",\"value\":\"b\\\"\\n\"}\n{\"key\":\"c\",\"value\":\"\",\"expires_ms\":1234}\n"
    );
    assert_eq!(text(Format::Csv), "key,value,expires_ms\na\\xff,\"b\"\"\n\",\nc,,1234\n");

    let mut expected = b"bcentry\x01".to_vec();
    let mut record = b"\x01\x01\0\0\0\0\0\0\0\0\0\0\0\xd2\x04\0\0\0\0\0\0c".to_vec();
    let crc = |number: u64, bytes: &[u8]| {
        crc32c::crc32c(&[&number.to_le_bytes()[..], bytes].concat()).to_le_bytes()
    };
    record.extend(crc(0, &record));
    expected.extend(record);
    let mut end = b"\x02\x01\0\0\0\0\0\0\0".to_vec();
    end.extend(crc(1, &end));
    expected.extend(end);
    assert_eq!(written(Format::Binary, Encoding::Utf8, &entries[1..]), expected);
}

#[test]
fn a_stream_is_read_on_from_every_item() {
    let mut entries = samples();
    entries[3].key.clear();
    for format in FORMATS {
        let mut bytes = written(format, Encoding::Utf8, &entries);
        if format == Format::Jsonl {
            bytes.splice(0..0, *b"\xef\xbb\xbf\r\n[]\n");
            bytes.extend(b"\nwrong\r\n\r\n{\"key\":\"last\",\"value\":\"\"}");
        }
        if format == Format::Csv {
            bytes.splice(0..0, *b"\xef\xbb\xbf\r\n");
            bytes.extend(b"\nwrong\r\n\r\n\"two\n\nlines\",,\n\"last\n");
        }
        let all = read(format, &bytes);
        let mut before = open(format, Encoding::Utf8, &bytes).unwrap();
        for given in 0..=all.len() {
            let position = before.position().clone();
            let at = usize::try_from(position.offset).unwrap();
            let behind = reader(format, Encoding::Utf8, input(&bytes[at..], 5), position).unwrap();
            assert_eq!(rest(behind), all[given..], "{format:?} {given}");
            assert_eq!(before.next().unwrap().as_ref(), all.get(given));
        }
    }
}

/// `what` is rejected for a reason that has `reason` in it, between two entries that are taken.
fn check_rejected(format: Format, what: &[u8], reason: &str) {
    let header: &[u8] = if format == Format::Csv { b"key,value,expires_ms\n" } else { b"" };
    let good: &[u8] =
        if format == Format::Csv { b"a,b,\r\n" } else { b"{\"key\":\"a\",\"value\":\"b\"}\r\n" };
    let bytes = [header, good, what, b"\n", good].concat();
    let items = read(format, &bytes);
    let shown = String::from_utf8_lossy(what);
    let [first, Item::Rejected { place, what: told, raw }, last] = &items[..] else {
        panic!("{shown}: {items:?}");
    };
    assert!(told.contains(reason), "{shown}: {told}");
    assert_eq!(*place, if header.is_empty() { "line 2" } else { "line 3" });
    assert_eq!(raw[..], [what, b"\n"].concat());
    let taken = Item::Entry(entry(b"a", b"b", None));
    assert_eq!([first, last], [&taken, &taken], "{shown}");
}

#[test]
fn a_line_that_is_no_entry_is_rejected_and_the_next_is_read() {
    let long = format!("{{\"key\":\"{}\",\"value\":\"\"}}", "x".repeat(65_536));
    let cases: [(&[u8], &str); 29] = [
        (b"plain", "column 1: not a {"),
        (b"[]", "column 1: not a {"),
        (b"{", "column 2: the line ends"),
        (b"{}", "no field key"),
        (b"{\"key\":\"a\"}", "no field value"),
        (b"{\"value\":\"a\"}", "no field key"),
        (b"{\"key\":\"a\",\"value\":\"b\"", "column 23: not a }"),
        (b"{\"key\":\"a\" \"value\":\"b\"}", "column 12: not a }"),
        (b"{\"key\":\"a\",\"value\":\"b\",}", "column 24: "),
        (b"{\"key\":\"a\",\"value\":\"b\"}}", "column 24: more behind"),
        (b"{\"key\":\"a\",\"value\":\"b\"}{}", "more behind"),
        (b"{\"key\":\"a\",\"value\":\"b", "column 20: EOF while parsing a string"),
        (b"{\"key\" \"a\"}", "column 8: not a :"),
        (b"{\"key\":1,\"value\":\"b\"}", "column 8: invalid type: integer `1`"),
        (b"{\"key\":null,\"value\":\"b\"}", "column 8: invalid type: null"),
        (b"{\"key\":\"a\",\"value\":[[[[[[[[", "invalid type: sequence"),
        (b"{\"key\":\"a\",\"key\":\"a\",\"value\":\"b\"}", "field key is there twice"),
        (b"{\"key\":\"a\",\"value\":\"b\",\"ttl\":5}", "unknown field: ttl"),
        (b"{\"key\":\"a\",\"value\":\"\\q\"}", "invalid escape"),
        (b"{\"key\":\"a\",\"value\":\"\\ud800\"}", "hex escape"),
        (b"{\"key\":\"a\",\"value\":\"\xff\"}", "column 21: not UTF-8"),
        (b"{\"key\":\"\\\\x1\",\"value\":\"\"}", "key: a backslash"),
        (b"{\"key\":\"a\",\"value\":\"\",\"expires_ms\":-1}", "invalid value"),
        (b"{\"key\":\"a\",\"value\":\"\",\"expires_ms\":1.5}", "invalid type"),
        (b"{\"key\":\"a\",\"value\":\"\",\"expires_ms\":\"1\"}", "column 36: not a number"),
        (b"{\"key\":\"a\",\"value\":\"\",\"expires_ms\":18446744073709551616}", "invalid type"),
        (b"{\"key\":\"a\",\"value\":\"\",\"expires_ms\":1,\"expires_ms\":2}", "twice"),
        (b"{\"key\":\"a\",\"value\":\"\",\"expires_ms\":nul}", "expected ident"),
        (long.as_bytes(), "the key has 65536 bytes"),
    ];
    for (line, reason) in cases {
        check_rejected(Format::Jsonl, line, reason);
    }
}

#[test]
fn a_row_that_is_no_entry_is_rejected_and_the_next_is_read() {
    let long = format!("{},,", "x".repeat(65_536));
    let cases: [(&[u8], &str); 15] = [
        (b"a", "1 fields where the header has 3"),
        (b"a,b", "2 fields where the header has 3"),
        (b"a,b,,", "more than 3 fields"),
        (b"a,b\"c,", "without quotes"),
        (b"a,b\",\"c", "without quotes"),
        (b"a,b\rc,\"", "carriage return"),
        (b"\"a\"b,c,", "behind a closing quote"),
        (b"\"a\"\r\"b,c,", "behind a closing quote"),
        (b"\"a\" ,b,", "behind a closing quote"),
        (b"\"two\nlines,\"x,y,", "behind a closing quote"),
        (b"a,b,soon", "expires_ms is no number of milliseconds: soon"),
        (b"a,b,-1", "expires_ms"),
        (b"a,b\\,", "value: a backslash"),
        (b"a,\xff,", "column 3: not UTF-8"),
        (long.as_bytes(), "the key has 65536 bytes"),
    ];
    for (row, reason) in cases {
        check_rejected(Format::Csv, row, reason);
    }
    let items = read(Format::Csv, b"key,value\na,b\n\"c,d\ne,f\n");
    let what = "a quote is not closed".to_owned();
    let raw = b"\"c,d\ne,f\n".to_vec();
    assert_eq!(items[1..], [Item::Rejected { place: "line 3".into(), what, raw }]);
}

#[test]
fn columns_are_found_by_their_names() {
    let check = |bytes: &[u8], expected: Entry| {
        assert_eq!(read(Format::Csv, bytes), [Item::Entry(expected)]);
    };
    check(b"value,expires_ms,key\nv,5,k\n", entry(b"k", b"v", Some(5)));
    check(b"\"value\",\"key\"\r\nv,k", entry(b"k", b"v", None));
    check(b"\xef\xbb\xbf\"key\",value\nk,\n", entry(b"k", b"", None));
    check(
        b"\n\r\nkey,value,expires_ms\n\nk,\"a\nb\",18446744073709551615",
        entry(b"k", b"a\nb", None),
    );
    for bytes in [
        b"" as &[u8],
        b"\n\n",
        b"key\nk\n",
        b"value,expires_ms\n,\n",
        b"key,value,ttl\n,,\n",
        b"key,value,key\n,,\n",
        b"key,value,expires_ms,\n",
        b"\"key,value\nk,v\n",
        b"key,value\xff\n",
        b"bitcask\0\n",
        &[b'k'; 5000],
    ] {
        assert!(matches!(open(Format::Csv, Encoding::Utf8, bytes), Err(ReadError::Damaged { .. })));
    }
    let position = Position { offset: 9, line: 1, header: String::new() };
    assert!(reader(Format::Csv, Encoding::Utf8, input(b"a,b", 9), position).is_err());
}

#[test]
fn marks_and_line_ends_of_other_systems_are_taken() {
    let lines = b"\xef\xbb\xbf\r\n \t\n { \"value\" : \"v\" , \"expires_ms\" : null , \"key\" : \"k\" } \r\n\r\n{\"key\":\"\\u00e4\",\"value\":\"\"}";
    let expected = [entry(b"k", b"v", None), entry("\u{e4}".as_bytes(), b"", None)];
    assert_eq!(read(Format::Jsonl, lines), expected.map(Item::Entry));
    let mut reader = open(Format::Jsonl, Encoding::Utf8, lines).unwrap();
    reader.next().unwrap().unwrap();
    assert_eq!(reader.position().line, 3);
    reader.next().unwrap().unwrap();
    assert_eq!((reader.position().line, reader.position().offset), (5, len(lines)));
    for short in [b"" as &[u8], b"\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"] {
        assert_eq!(read(Format::Jsonl, short), []);
    }
}

#[test]
fn a_line_over_the_limit_is_passed_over() {
    let good = "{\"key\":\"a\",\"value\":\"b\"}\n";
    let blank = " ".repeat(200_000);
    let bytes = format!("{good}{blank}\n{good}");
    let mut source = Source::open(input(bytes.as_bytes(), 900), Position::default(), Format::Jsonl);
    source.as_mut().unwrap().line_len_max = 100_000;
    let items = rest(Box::new(jsonl::Lines::new(Encoding::Utf8, source.unwrap())));
    assert!(
        matches!(&items[..], [Item::Entry(_), Item::Rejected { place, what, raw }, Item::Entry(_)]
        if place == "line 2" && what.contains("200001 bytes") && raw.len() == 65_536)
    );

    let bytes = format!("key,value\na,b\n\"{}\",c\na,b\n", "\n".repeat(200_000));
    let mut source = Source::open(input(bytes.as_bytes(), 900), Position::default(), Format::Csv);
    source.as_mut().unwrap().line_len_max = 100_000;
    let items = rest(Box::new(csv::Rows::new(Encoding::Utf8, source.unwrap()).unwrap()));
    assert!(matches!(&items[..], [Item::Entry(_), Item::Rejected { .. }, Item::Entry(_)]));

    check_line(LINE_LEN_MAX).unwrap();
    assert_eq!(check_line(LINE_LEN_MAX + 1).unwrap_err().kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn another_encoding_is_rejected_line_by_line() {
    let entries = [entry(b"zz", b"\xff\xff", None), entry(b"", b"", None)];
    for format in [Format::Jsonl, Format::Csv] {
        let bytes = written(format, Encoding::Utf8, &entries);
        let items = rest(open(format, Encoding::Hex, &bytes).unwrap());
        assert!(
            matches!(&items[..], [Item::Rejected { what, .. }, Item::Entry(_)] if what.contains("hexadecimal"))
        );
    }
}

/// Fails behind its bytes, once: then there is more.
struct Failing(Cursor<Vec<u8>>, &'static [u8]);

impl Read for Failing {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.0.read(into)? {
            0 => {
                let more = std::mem::take(&mut self.1);
                self.0 = Cursor::new(more.to_vec());
                Err(io::Error::other("the cable was pulled"))
            }
            count => Ok(count),
        }
    }
}

#[test]
fn what_the_system_says_is_told_with_the_offset() {
    for format in FORMATS {
        let mut bytes = written(format, Encoding::Utf8, &samples()[..2]);
        if format == Format::Binary {
            bytes.truncate(bytes.len() - 13);
        }
        let whole = len(&bytes);
        bytes.push(1);
        let input = Box::new(BufReader::with_capacity(
            11,
            Failing(Cursor::new(bytes), b"the rest of a line\n"),
        ));
        let mut reader = reader(format, Encoding::Utf8, input, Position::default()).unwrap();
        reader.next().unwrap().unwrap();
        reader.next().unwrap().unwrap();
        let error = reader.next().unwrap_err();
        assert!(
            matches!(error, ReadError::Io { offset, .. } if offset == whole),
            "{format:?}: {error}"
        );
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(reader.next().is_err());
    }
}

#[test]
fn formats_are_not_mistaken_for_each_other() {
    for text in [Format::Jsonl, Format::Csv] {
        let bytes = written(text, Encoding::Utf8, &samples());
        let error = open(Format::Binary, Encoding::Utf8, &bytes).err().unwrap();
        assert_eq!(
            error.to_string(),
            "cannot be read at offset 0: not a stream of the binary format"
        );
        let bytes = written(Format::Binary, Encoding::Utf8, &samples());
        let error = open(text, Encoding::Utf8, &bytes).err().unwrap();
        assert!(error.to_string().ends_with("a stream of the binary format"), "{error}");
    }
    let error = open(Format::Binary, Encoding::Utf8, b"bcentry\x02").err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}
