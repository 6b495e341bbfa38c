//! Keys as Riak KV encodes them, and the text that they become here.
//!
//! The text is `type/bucket/key`. Printable ASCII stands for itself; `/`, `%` and every other byte are `%` and two
//! hexadecimal digits, so that there are always exactly two slashes and no two keys share a text. A bucket without
//! a type is of the type `default`, which is how Riak has it.

/// The type of buckets that name none.
const DEFAULT_TYPE: &[u8] = b"default";

/// `<<131>>`: an Erlang term follows.
const TERM: u8 = 131;
const SMALL_TUPLE: u8 = 104;
const LARGE_TUPLE: u8 = 105;
const BINARY: u8 = 109;

/// Where an object of Riak KV is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KvKey<'a> {
    pub(super) bucket_type: &'a [u8],
    pub(super) bucket: &'a [u8],
    pub(super) key: &'a [u8],
}

impl<'a> KvKey<'a> {
    /// The key behind either encoding of Riak KV; none if it is neither.
    pub(super) fn decode(bytes: &'a [u8]) -> Option<Self> {
        match bytes.split_first()? {
            (&0b10, rest) => {
                let (bucket, key) = sized(rest)?;
                Some(Self { bucket_type: DEFAULT_TYPE, bucket, key })
            }
            (&0b11, rest) => {
                let (bucket_type, rest) = sized(rest)?;
                let (bucket, key) = sized(rest)?;
                Some(Self { bucket_type, bucket, key })
            }
            (&TERM, rest) => Self::decode_term(rest),
            _ => None,
        }
    }

    /// `{Bucket, Key}` or `{{Type, Bucket}, Key}`, and nothing behind it.
    fn decode_term(bytes: &'a [u8]) -> Option<Self> {
        let rest = pair(bytes)?;
        let (bucket_type, bucket, rest) = if let Some(inner) = pair(rest) {
            let (bucket_type, inner) = binary(inner)?;
            let (bucket, rest) = binary(inner)?;
            (bucket_type, bucket, rest)
        } else {
            let (bucket, rest) = binary(rest)?;
            (DEFAULT_TYPE, bucket, rest)
        };
        let (key, rest) = binary(rest)?;
        rest.is_empty().then_some(Self { bucket_type, bucket, key })
    }

    pub(super) fn text(self) -> String {
        [self.bucket_type, self.bucket, self.key].map(escaped).join("/")
    }
}

/// Bytes after their length in two bytes, and what follows them.
fn sized(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))
}

/// What follows the header of a tuple of two.
fn pair(bytes: &[u8]) -> Option<&[u8]> {
    match bytes {
        [SMALL_TUPLE, 2, rest @ ..] | [LARGE_TUPLE, 0, 0, 0, 2, rest @ ..] => Some(rest),
        _ => None,
    }
}

/// An Erlang binary, and what follows it.
fn binary(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.strip_prefix(&[BINARY])?.split_first_chunk()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*len)).ok()?)
}

fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        if matches!(byte, b' '..=b'~') && !matches!(byte, b'/' | b'%') {
            text.push(char::from(*byte));
        } else {
            text.push('%');
            for digit in [byte >> 4, byte & 15] {
                let digit = char::from_digit(u32::from(digit), 16).expect("a nibble is below 16");
                text.push(digit.to_ascii_uppercase());
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::KvKey;

    #[track_caller]
    fn check(bytes: &[u8], text: Option<&str>) {
        assert_eq!(KvKey::decode(bytes).map(KvKey::text).as_deref(), text);
        for len in 0..bytes.len() {
            // Keys of the newer encoding end where the record says; cut, they are other keys or none.
            let cut = KvKey::decode(&bytes[..len]).map(KvKey::text);
            assert!(cut.is_none() || cut.as_deref() != text, "{len} bytes");
        }
    }

    #[test]
    fn both_encodings_lead_to_the_same_text() {
        check(b"\x02\0\x05userskey1", Some("default/users/key1"));
        check(b"\x03\0\x04maps\0\x05userskey1", Some("maps/users/key1"));
        check(b"\x83h\x02m\0\0\0\x05usersm\0\0\0\x04key1", Some("default/users/key1"));
        check(b"\x83i\0\0\0\x02m\0\0\0\x05usersm\0\0\0\x04key1", Some("default/users/key1"));
        check(
            b"\x83h\x02h\x02m\0\0\0\x04mapsm\0\0\0\x05usersm\0\0\0\x04key1",
            Some("maps/users/key1"),
        );
    }

    #[test]
    fn what_could_be_mistaken_is_escaped() {
        check(b"\x02\0\x03a/bc%d \x00\xff", Some("default/a%2Fb/c%25d %00%FF"));
        check(b"\x02\0\x00k", Some("default//k"));
    }

    #[test]
    fn what_is_neither_encoding_is_none() {
        for bytes in [
            &b""[..],
            b"\x01\0\x05userskey1",
            b"\x04abc",
            b"\x02\0\x09users",
            b"\x03\0\x05users",
            b"\x83h\x03m\0\0\0\x01am\0\0\0\x01b",
            b"\x83h\x02m\xff\xff\xff\xffam\0\0\0\x01b",
            b"\x83h\x02m\0\0\0\x01am\0\0\0\x01btail",
            b"\x83P\0\0\0\x10",
        ] {
            check(bytes, None);
        }
    }
}
