//! A line that somebody typed, taken apart into words, as in a shell; and words written so that they are read again.

use crate::text::shown;

/// The first command of a text. It ends at a line feed outside of quotes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Typed {
    pub(crate) words: Vec<Word>,
    pub(crate) end: End,
    /// How much of the text it is, with the line feed.
    pub(crate) len: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    /// Where it begins in the text, with its quote.
    pub(crate) start: usize,
    pub(crate) bytes: Vec<u8>,
}

/// What the end of a text was found in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Between words.
    Space,
    /// In the last word, or right behind it.
    Word,
    /// In a quote that this byte closes.
    Quote(u8),
    /// Behind a backslash.
    Backslash,
    Comment,
}

impl End {
    /// Whether more has to come.
    pub(crate) fn is_open(self) -> bool {
        matches!(self, Self::Quote(_) | Self::Backslash)
    }
}

/// Takes the first command off, or says what is wrong with it.
pub(crate) fn first(text: &[u8]) -> Result<Typed, String> {
    let mut words: Vec<Word> = Vec::new();
    let mut end = End::Space;
    let mut rest = text;
    while let Some((&byte, behind)) = rest.split_first() {
        let start = text.len() - rest.len();
        rest = behind;
        if byte == b'\n' {
            break;
        }
        if byte.is_ascii_whitespace() {
            end = End::Space;
            continue;
        }
        if byte == b'\\' && rest.first() == Some(&b'\n') {
            // The line goes on, and so does the word.
            rest = rest.get(1..).unwrap_or_default();
            continue;
        }
        if byte == b'#' && end == End::Space {
            let len = rest.iter().position(|&byte| byte == b'\n');
            (rest, end) = (rest.get(len.unwrap_or(rest.len())..).unwrap_or_default(), End::Comment);
            continue;
        }
        if end != End::Word {
            words.push(Word { start, bytes: Vec::new() });
        }
        end = End::Word;
        let Some(Word { bytes: word, .. }) = words.last_mut() else { continue };
        match byte {
            b'\'' | b'"' => match quoted(byte, rest, word)? {
                Some(behind) => rest = behind,
                None => (rest, end) = (&[], End::Quote(byte)),
            },
            b'\\' => match rest.split_first() {
                Some((&byte, behind)) => {
                    word.push(byte);
                    rest = behind;
                }
                None => end = End::Backslash,
            },
            byte => word.push(byte),
        }
    }
    Ok(Typed { words, end, len: text.len() - rest.len() })
}

/// Takes what is quoted, and gives what follows the quote that closes it, if one does.
fn quoted<'a>(
    quote: u8,
    mut text: &'a [u8],
    word: &mut Vec<u8>,
) -> Result<Option<&'a [u8]>, String> {
    while let Some((&byte, rest)) = text.split_first() {
        text = rest;
        if byte == quote {
            return Ok(Some(text));
        }
        if byte != b'\\' || quote == b'\'' {
            word.push(byte);
        } else if let Some(behind) = rest.strip_prefix(b"\n") {
            text = behind;
        } else if rest.is_empty() {
            break;
        } else {
            text = unescaped(rest, word)?;
        }
    }
    Ok(None)
}

/// Takes what is meant by what follows a backslash in double quotes, and gives what is behind that.
pub(crate) fn unescaped<'a>(text: &'a [u8], word: &mut Vec<u8>) -> Result<&'a [u8], String> {
    let (byte, rest) = match text {
        [b'n', rest @ ..] => (b'\n', rest),
        [b't', rest @ ..] => (b'\t', rest),
        [b'r', rest @ ..] => (b'\r', rest),
        [byte @ (b'"' | b'\\'), rest @ ..] => (*byte, rest),
        [b'u', b'{', rest @ ..] => return character(rest, word),
        [b'x', high, low, rest @ ..] => {
            let digit = |digit: u8| char::from(digit).to_digit(16);
            let digits = digit(*high).zip(digit(*low));
            let (high, low) = digits.ok_or("behind \\x stand two hexadecimal digits")?;
            (u8::try_from(high * 16 + low).expect("two digits are a byte"), rest)
        }
        _ => return Err("a backslash stands before one of \" \\ n t r x u".into()),
    };
    word.push(byte);
    Ok(rest)
}

/// A character by its number in hexadecimal digits, as in `\u{e4}`.
fn character<'a>(text: &'a [u8], word: &mut Vec<u8>) -> Result<&'a [u8], String> {
    let bad = "behind \\u stand the hexadecimal digits of a character in braces, as in \\u{e4}";
    let end = text.iter().position(|&byte| byte == b'}').ok_or(bad)?;
    let (digits, rest) = text.split_at_checked(end).ok_or(bad)?;
    let is_hex = digits.iter().all(u8::is_ascii_hexdigit);
    let digits = str::from_utf8(digits).ok().filter(|_| is_hex).ok_or(bad)?;
    let number = u32::from_str_radix(digits, 16).ok();
    let c = number.and_then(char::from_u32).ok_or(bad)?;
    word.extend(c.encode_utf8(&mut [0; 4]).bytes());
    Ok(rest.get(1..).unwrap_or_default())
}

/// Whether a word can stand without quotes.
pub(crate) fn is_plain(word: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_./:@%+=,-".contains(byte);
    !word.is_empty() && word.iter().all(is_plain)
}

/// A word in double quotes, on one line.
pub(crate) fn in_quotes(word: &[u8]) -> String {
    format!("\"{}\"", shown(word).replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &[u8]) -> Vec<Vec<u8>> {
        first(text).unwrap().words.into_iter().map(|word| word.bytes).collect()
    }

    #[test]
    fn lines_are_taken_apart() {
        let cases: [(&[u8], &[&[u8]]); 10] = [
            (b"", &[]),
            (b"  # nothing", &[]),
            (b"set a b", &[b"set", b"a", b"b"]),
            (b" set  \"a b\" '' # said", &[b"set", b"a b", b""]),
            (b"set k \"\\x00\\n\\\"\\\\\"", &[b"set", b"k", b"\0\n\"\\"]),
            (b"set k a#b\" c\"'d\\'", &[b"set", b"k", b"a#b cd\\"]),
            (b"\"\\u{e4}\\u{0}b\"", &["\u{e4}\0b".as_bytes()]),
            (b"a\\ b \\\\ \\'", &[b"a b", b"\\", b"'"]),
            (b"get \\\n  k", &[b"get", b"k"]),
            (b"set k 'two\nlines' \"and \\\none\"", &[b"set", b"k", b"two\nlines", b"and one"]),
        ];
        for (line, expected) in cases {
            assert_eq!(words(line), expected, "{}", line.escape_ascii());
        }
        for line in [
            &b"set \"\\q\""[..],
            b"\"\\x1\"",
            b"\"\\xgg\"",
            b"\"\\u{}\"",
            b"\"\\u{+1}\"",
            b"\"\\u{d800}\"",
            b"\"\\u{41\"",
        ] {
            assert!(first(line).is_err(), "{}", line.escape_ascii());
        }
    }

    #[test]
    fn a_line_that_is_not_at_its_end_is_known() {
        for (line, end) in [
            (&b"set a "[..], End::Space),
            (b"set a", End::Word),
            (b"set 'a'", End::Word),
            (b"set 'a", End::Quote(b'\'')),
            (b"set \"a\\", End::Quote(b'"')),
            (b"set \\", End::Backslash),
            (b"set # 'a", End::Comment),
        ] {
            assert_eq!(first(line).unwrap().end, end, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn one_command_is_taken_at_a_time() {
        let text = b"set 'a\nb' 1\nget a";
        let typed = first(text).unwrap();
        assert_eq!((typed.words.len(), typed.len), (3, 12));
        assert_eq!(words(&text[typed.len..]), [b"get", &b"a"[..]]);
    }

    #[test]
    fn what_is_quoted_is_read_again() {
        let all: Vec<u8> = (0..=255).collect();
        for word in [&b""[..], b"two words", b"#'\"\\", "\u{e4}\u{85}".as_bytes(), &all] {
            let text = in_quotes(word);
            assert!(!text.contains('\n') && !is_plain(word));
            assert_eq!(words(text.as_bytes()), [word], "{text}");
        }
        assert!(is_plain(b"user:1") && !is_plain(b"a b"));
    }
}
