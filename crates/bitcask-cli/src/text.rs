//! Bytes as text and back, for keys and values that may be any bytes; and sizes and times as people write them.

use std::fmt::Write as _;
use std::time::Duration;

use clap::ValueEnum;
use data_encoding::{BASE64, HEXLOWER, HEXLOWER_PERMISSIVE};

/// How bytes are written as text. What was written by one is read back by the same, byte by byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Encoding {
    /// UTF-8 as it is, backslashes doubled; other bytes, and controls in text, as \xNN
    #[default]
    Utf8,
    /// Two lower-case hexadecimal digits a byte
    Hex,
    /// Base64 with padding
    Base64,
}

impl Encoding {
    pub(crate) fn encode(self, bytes: &[u8]) -> String {
        match self {
            Self::Utf8 => escaped(bytes),
            Self::Hex => HEXLOWER.encode(bytes),
            Self::Base64 => BASE64.encode(bytes),
        }
    }

    /// What was encoded, or what is wrong with it.
    pub(crate) fn decode(self, text: &str) -> Result<Vec<u8>, String> {
        match self {
            Self::Utf8 => unescaped(text),
            Self::Hex => HEXLOWER_PERMISSIVE
                .decode(text.as_bytes())
                .map_err(|e| format!("not hexadecimal: {e}")),
            Self::Base64 => BASE64.decode(text.as_bytes()).map_err(|e| format!("not base64: {e}")),
        }
    }
}

fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            text.push(c);
            if c == '\\' {
                text.push(c);
            }
        }
        push_hex(&mut text, chunk.invalid());
    }
    text
}

fn unescaped(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        if first != b'\\' {
            bytes.push(first);
            continue;
        }
        match *rest {
            [b'\\', ref behind @ ..] => {
                bytes.push(b'\\');
                rest = behind;
            }
            [b'x', high, low, ref behind @ ..] => {
                let digit = |digit: u8| char::from(digit).to_digit(16);
                let (Some(high), Some(low)) = (digit(high), digit(low)) else {
                    return Err("behind \\x stand two hexadecimal digits".into());
                };
                bytes.push(u8::try_from(high * 16 + low).expect("two digits are a byte"));
                rest = behind;
            }
            _ => return Err("a backslash stands before another, or before x and two digits".into()),
        }
    }
    Ok(bytes)
}

/// For the eyes: on one line, and nothing in it that a terminal would obey. In double quotes it is read again by the
/// shell and by `batch`, once its double quotes have backslashes.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                '\n' => text.push_str("\\n"),
                '\t' => text.push_str("\\t"),
                '\r' => text.push_str("\\r"),
                c if c.is_control() => push_hex(&mut text, c.encode_utf8(&mut [0; 4]).as_bytes()),
                c => text.push(c),
            }
        }
        push_hex(&mut text, chunk.invalid());
    }
    text
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        write!(text, "\\x{byte:02x}").expect("a string takes any text");
    }
}

/// A key in a message, which a long one must not fill.
pub(crate) fn named(key: &[u8]) -> String {
    const CHARS_MAX: usize = 200;
    shortened(key, CHARS_MAX)
}

/// The same, but not more than so many characters of it.
pub(crate) fn shortened(bytes: &[u8], chars_max: usize) -> String {
    let text = shown(bytes);
    if text.chars().count() <= chars_max {
        return text;
    }
    let start: String = text.chars().take(chars_max).collect();
    format!("{start}.. ({} bytes)", bytes.len())
}

/// `10s`, `1.5h`, `250ms`; without a unit, seconds.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let units = [
        ("ms", 0.001),
        ("s", 1.0),
        ("m", 60.0),
        ("h", 3600.0),
        ("d", 86_400.0),
        ("w", 604_800.0),
        ("", 1.0),
    ];
    let seconds = scaled(text, &units)
        .ok_or("a time is a number and one of ms, s, m, h, d, w, as in 90s or 1.5h")?;
    // It fails for nothing else: what is negative, or no number, is refused above.
    Duration::try_from_secs_f64(seconds).map_err(|_too_long| "the time is too long to count".into())
}

/// A time to live: none at all would delete the key that it is given to.
pub(crate) fn parse_ttl(text: &str) -> Result<Duration, String> {
    let ttl = parse_duration(text)?;
    // Stores count in milliseconds.
    if ttl < Duration::from_millis(1) {
        return Err("a time to live is 1ms at least; `del` deletes".into());
    }
    Ok(ttl)
}

/// `4096`, `64K`, `1.5GiB`; K, M, G and T are powers of 1024.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    const K: f64 = 1024.0;
    let units = [
        ("KiB", K),
        ("MiB", K * K),
        ("GiB", K * K * K),
        ("TiB", K * K * K * K),
        ("K", K),
        ("M", K * K),
        ("G", K * K * K),
        ("T", K * K * K * K),
        ("B", 1.0),
        ("", 1.0),
    ];
    let bytes = scaled(text, &units).filter(|&bytes| bytes < 9e18);
    let bytes = bytes.ok_or("a size is a number and one of K, M, G, T, as in 64M")?;
    format!("{bytes:.0}").parse().map_err(|e| format!("{e}"))
}

/// `4096`, `200K`, `1.5M`, of what is counted: K, M and G are powers of 1000.
pub(crate) fn parse_count(text: &str) -> Result<u64, String> {
    let units = [("K", 1e3), ("M", 1e6), ("G", 1e9), ("", 1.0)];
    let count = scaled(text, &units).filter(|count| *count < 9e18);
    let count = count.ok_or("a number is digits and perhaps one of K, M, G, as in 200K")?;
    format!("{count:.0}").parse().map_err(|e| format!("{e}"))
}

fn scaled(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    units.iter().find_map(|(unit, factor)| {
        let number: f64 = text.strip_suffix(unit)?.trim_end().parse().ok()?;
        (number.is_finite() && number >= 0.0).then_some(number * factor)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded_again() {
        let all: Vec<u8> = (0..=255).collect();
        let cases: [&[u8]; 6] =
            [b"", b"plain", b"back\\slash\\x41", "\u{e4}\u{1f600}".as_bytes(), &all, b"\xc3"];
        for bytes in cases {
            for encoding in [Encoding::Utf8, Encoding::Hex, Encoding::Base64] {
                let text = encoding.encode(bytes);
                assert_eq!(encoding.decode(&text).as_deref(), Ok(bytes), "{encoding:?}: {text}");
            }
        }
        assert_eq!(Encoding::Utf8.encode(b"a\\b\xff"), "a\\\\b\\xff");
        assert_eq!(Encoding::Hex.decode("00FF"), Ok(vec![0, 255]));
    }

    #[test]
    fn what_nobody_encoded_is_refused() {
        for (encoding, text) in [
            (Encoding::Utf8, "\\"),
            (Encoding::Utf8, "\\n"),
            (Encoding::Utf8, "\\x4"),
            (Encoding::Utf8, "\\xgg"),
            (Encoding::Hex, "0"),
            (Encoding::Hex, "zz"),
            (Encoding::Base64, "a"),
        ] {
            assert!(encoding.decode(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_and_sizes_are_read_as_people_write_them() {
        for (text, ms) in [
            ("250ms", 250),
            ("10", 10_000),
            ("90s", 90_000),
            ("1.5h", 5_400_000),
            ("2d", 172_800_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for (text, bytes) in
            [("4096", 4096), ("64K", 65_536), ("1.5GiB", 3 << 29), ("10 M", 10 << 20), ("7B", 7)]
        {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for (text, count) in
            [("7", 7), ("200K", 200_000), ("1.5M", 1_500_000), ("2G", 2_000_000_000)]
        {
            assert_eq!(parse_count(text), Ok(count), "{text}");
        }
        for text in ["", "-1s", "s", "1x", "nan", "inf", "1e400"] {
            assert!(parse_duration(text).is_err() && parse_size(text).is_err(), "{text}");
        }
        let long = "99999999999999999d";
        assert_eq!(parse_duration(long), Err("the time is too long to count".into()));
        assert_eq!(parse_ttl("1ms"), Ok(Duration::from_millis(1)));
        for text in ["0", "0s", "0.0001ms"] {
            assert!(parse_ttl(text).unwrap_err().contains("`del` deletes"), "{text}");
        }
    }

    #[test]
    fn terminals_obey_nothing_that_is_shown() {
        assert_eq!(shown(b"a\tb\n\x1b[31m\\ \xff"), "a\\tb\\n\\x1b[31m\\\\ \\xff");
        assert_eq!(shown("\0\u{85}\u{e4}".as_bytes()), "\\x00\\xc2\\x85\u{e4}");
        assert_eq!(shortened(b"abcdef", 3), "abc.. (6 bytes)");
    }

    #[test]
    fn what_is_shown_can_be_typed_again() {
        let all: Vec<u8> = (0..=255).collect();
        for bytes in [&all[..], "\u{85}\u{7f}\u{e4}".as_bytes()] {
            let typed = format!("\"{}\"", shown(bytes).replace('"', "\\\""));
            let words = crate::words::first(typed.as_bytes()).unwrap().words;
            assert!(words.iter().map(|word| &word.bytes[..]).eq([bytes]), "{typed}");
        }
    }
}
