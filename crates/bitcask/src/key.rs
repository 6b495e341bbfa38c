//! Keys as bytes that sort as the values do: numbers, text, bytes, and tuples of them.
//!
//! A range of the store goes by the order of bytes. What is stored under an encoded key therefore comes in the order of
//! the values that were encoded, and all that begins with the same first parts of a tuple stands together.
//!
//! | value | bytes |
//! |---|---|
//! | `u8` to `u128` | most significant byte first |
//! | `i8` to `i128` | the same, with the sign bit flipped |
//! | `f32`, `f64` | the same, with the sign bit flipped, or all bits if it is set: in the order of `total_cmp` |
//! | `bool`, `char` | one byte, 0 or 1; the number of the character in four |
//! | `[u8; N]` | its bytes |
//! | `String`, `Vec<u8>` | last: its bytes. Before something else: its bytes, with 00 FF for 00, then 00 00 |
//! | `Option` | 00, or 01 and the value |
//! | `Reverse` | the value with all bits flipped |
//! | tuple | its parts, one after the other |
//!
//! Each encoding is the only one of its value, and within a tuple none begins with another: so the first part that
//! differs decides. These bytes are kept in stores. They must not change.

use std::cmp::Reverse;

/// What ends text or bytes before something else.
const END: [u8; 2] = [0, 0];
/// What stands for a zero byte there. Above the end, so that `"a"` is below `"a\0"`.
const ZERO: [u8; 2] = [0, 0xff];

/// A value that can be a key, in its own order.
///
/// ```
/// use bitcask::Key;
///
/// let key = ("ann".to_owned(), -3_i64);
/// let bytes = key.to_bytes();
/// assert_eq!(<(String, i64)>::decode(&bytes), Some(key));
/// assert!(bytes < ("ann".to_owned(), 2_i64).to_bytes());
/// assert!(bytes < ("anna".to_owned(), -9_i64).to_bytes());
/// ```
///
/// For a type of your own encode its parts one after the other, as a tuple of them would.
pub trait Key: Sized {
    /// Adds the bytes of this key to `bytes`, so that more can follow: no encoding begins with another.
    fn encode_part(&self, bytes: &mut Vec<u8>);

    /// Takes what [`encode_part`](Self::encode_part) wrote off the front of `bytes`; none if something else is there.
    fn decode_part(bytes: &mut &[u8]) -> Option<Self>;

    /// Adds the bytes of this key to `bytes`. Nothing follows.
    fn encode(&self, bytes: &mut Vec<u8>) {
        self.encode_part(bytes);
    }

    /// The key that has these bytes, if one has.
    fn decode(mut bytes: &[u8]) -> Option<Self> {
        let key = Self::decode_part(&mut bytes)?;
        bytes.is_empty().then_some(key)
    }

    /// The bytes of this key.
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.encode(&mut bytes);
        bytes
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}

macro_rules! unsigned {
    ($($number:ty)*) => {$(
        impl Key for $number {
            fn encode_part(&self, bytes: &mut Vec<u8>) {
                bytes.extend(self.to_be_bytes());
            }

            fn decode_part(bytes: &mut &[u8]) -> Option<Self> {
                Some(Self::from_be_bytes(take(bytes)?))
            }
        }
    )*};
}

macro_rules! signed {
    ($($number:ty)*) => {$(
        impl Key for $number {
            fn encode_part(&self, bytes: &mut Vec<u8>) {
                bytes.extend((self ^ Self::MIN).to_be_bytes());
            }

            fn decode_part(bytes: &mut &[u8]) -> Option<Self> {
                Some(Self::from_be_bytes(take(bytes)?) ^ Self::MIN)
            }
        }
    )*};
}

/// Of a negative number all bits are flipped: the larger it is without its sign, the lower it stands.
macro_rules! floating {
    ($($number:ty, $bits:ty;)*) => {$(
        impl Key for $number {
            fn encode_part(&self, bytes: &mut Vec<u8>) {
                const SIGN: $bits = 1 << (<$bits>::BITS - 1);
                let bits = self.to_bits();
                let sorted = if bits & SIGN == 0 { bits ^ SIGN } else { !bits };
                sorted.encode_part(bytes);
            }

            fn decode_part(bytes: &mut &[u8]) -> Option<Self> {
                const SIGN: $bits = 1 << (<$bits>::BITS - 1);
                let sorted = <$bits>::decode_part(bytes)?;
                let bits = if sorted & SIGN == 0 { !sorted } else { sorted ^ SIGN };
                Some(Self::from_bits(bits))
            }
        }
    )*};
}

unsigned!(u8 u16 u32 u64 u128);
signed!(i8 i16 i32 i64 i128);
floating!(f32, u32; f64, u64;);

impl Key for bool {
    fn encode_part(&self, bytes: &mut Vec<u8>) {
        bytes.push(u8::from(*self));
    }

    fn decode_part(bytes: &mut &[u8]) -> Option<Self> {
        match u8::decode_part(bytes)? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

impl Key for char {
    fn encode_part(&self, bytes: &mut Vec<u8>) {
        u32::from(*self).encode_part(bytes);
    }

    fn decode_part(bytes: &mut &[u8]) -> Option<Self> {
        Self::from_u32(u32::decode_part(bytes)?)
    }
}

impl<const N: usize> Key for [u8; N] {
    fn encode_part(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self);
    }

    fn decode_part(bytes: &mut &[u8]) -> Option<Self> {
        take(bytes)
    }
}

pub(crate) fn encode_bytes(part: &[u8], bytes: &mut Vec<u8>) {
    for &byte in part {
        match byte {
            0 => bytes.extend(ZERO),
            byte => bytes.push(byte),
        }
    }
    bytes.extend(END);
}

impl Key for Vec<u8> {
    fn encode_part(&self, bytes: &mut Vec<u8>) {
        encode_bytes(self, bytes);
    }

    fn decode_part(bytes: &mut &[u8]) -> Option<Self> {
        let mut part = Self::new();
        loop {
            let zero = bytes.iter().position(|&byte| byte == 0)?;
            let (before, mut rest) = bytes.split_at(zero);
            part.extend(before);
            let escape = take(&mut rest)?;
            *bytes = rest;
            match escape {
                END => return Some(part),
                ZERO => part.push(0),
                _ => return None,
            }
        }
    }

    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self);
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        Some(bytes.to_vec())
    }
}

impl Key for String {
    fn encode_part(&self, bytes: &mut Vec<u8>) {
        encode_bytes(self.as_bytes(), bytes);
    }

    fn decode_part(bytes: &mut &[u8]) -> Option<Self> {
        Self::from_utf8(Vec::decode_part(bytes)?).ok()
    }

    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.as_bytes());
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        str::from_utf8(bytes).ok().map(str::to_owned)
    }
}

impl<K: Key> Key for Option<K> {
    fn encode_part(&self, bytes: &mut Vec<u8>) {
        self.is_some().encode_part(bytes);
        if let Some(key) = self {
            key.encode_part(bytes);
        }
    }

    fn decode_part(bytes: &mut &[u8]) -> Option<Self> {
        match bool::decode_part(bytes)? {
            true => Some(Some(K::decode_part(bytes)?)),
            false => Some(None),
        }
    }

    fn encode(&self, bytes: &mut Vec<u8>) {
        self.is_some().encode_part(bytes);
        if let Some(key) = self {
            key.encode(bytes);
        }
    }

    fn decode(mut bytes: &[u8]) -> Option<Self> {
        match bool::decode_part(&mut bytes)? {
            true => Some(Some(K::decode(bytes)?)),
            false => bytes.is_empty().then_some(None),
        }
    }
}

/// Always encoded as if more followed: of two texts of which one begins with the other, the shorter would come first
/// with its bits flipped, too.
impl<K: Key> Key for Reverse<K> {
    fn encode_part(&self, bytes: &mut Vec<u8>) {
        let from = bytes.len();
        self.0.encode_part(bytes);
        bytes.iter_mut().skip(from).for_each(|byte| *byte = !*byte);
    }

    fn decode_part(bytes: &mut &[u8]) -> Option<Self> {
        let flipped: Vec<u8> = bytes.iter().map(|byte| !byte).collect();
        let mut rest = flipped.as_slice();
        let key = K::decode_part(&mut rest)?;
        *bytes = bytes.get(bytes.len().checked_sub(rest.len())?..)?;
        Some(Self(key))
    }
}

macro_rules! tuples {
    ($($($part:ident $Part:ident)+, $last:ident $Last:ident;)*) => {$(
        impl<$($Part: Key,)+ $Last: Key> Key for ($($Part,)+ $Last) {
            fn encode_part(&self, bytes: &mut Vec<u8>) {
                let ($($part,)+ $last) = self;
                $($part.encode_part(bytes);)+
                $last.encode_part(bytes);
            }

            fn decode_part(bytes: &mut &[u8]) -> Option<Self> {
                Some(($($Part::decode_part(bytes)?,)+ $Last::decode_part(bytes)?))
            }

            fn encode(&self, bytes: &mut Vec<u8>) {
                let ($($part,)+ $last) = self;
                $($part.encode_part(bytes);)+
                $last.encode(bytes);
            }

            fn decode(mut bytes: &[u8]) -> Option<Self> {
                Some(($($Part::decode_part(&mut bytes)?,)+ $Last::decode(bytes)?))
            }
        }
    )*};
}

tuples! {
    a A, b B;
    a A b B, c C;
    a A b B c C, d D;
    a A b B c C d D, e E;
    a A b B c C d D e E, f F;
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;
    use std::fmt::Debug;

    use super::*;

    /// splitmix64.
    struct Rng(u64);

    impl Rng {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let n = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            n ^ (n >> 31)
        }

        fn below(&mut self, limit: u64) -> u64 {
            self.next() % limit
        }
    }

    /// Values of which many are close to others: zeros, ends of ranges, beginnings of each other.
    trait Sample: Key + Debug {
        fn sample(rng: &mut Rng) -> Self;
    }

    macro_rules! numbers {
        ($($number:ty)*) => {$(
            impl Sample for $number {
                fn sample(rng: &mut Rng) -> Self {
                    let bytes = [rng.next().to_le_bytes(), rng.next().to_le_bytes()].concat();
                    let any = Self::from_le_bytes(take(&mut &bytes[..]).unwrap());
                    match rng.below(4) {
                        0 => any,
                        1 => any % 4,
                        2 => Self::MIN.wrapping_add(any % 2),
                        _ => Self::MAX.wrapping_sub(any % 2),
                    }
                }
            }
        )*};
    }

    numbers!(u8 u16 u32 u64 u128 i8 i16 i32 i64 i128);

    impl Sample for f64 {
        fn sample(rng: &mut Rng) -> Self {
            let special = [0.0, -0.0, Self::NAN, -Self::NAN, Self::INFINITY, Self::MIN];
            let any = Self::from_bits(rng.next());
            special.get(usize::from(u8::sample(rng)) % 8).copied().unwrap_or(any)
        }
    }

    impl Sample for f32 {
        fn sample(rng: &mut Rng) -> Self {
            Self::from_bits(u32::sample(rng))
        }
    }

    impl Sample for bool {
        fn sample(rng: &mut Rng) -> Self {
            rng.below(2) == 1
        }
    }

    impl Sample for char {
        fn sample(rng: &mut Rng) -> Self {
            let some = ['\0', '\u{1}', 'a', '\u{7f}', '\u{80}', '\u{d7ff}', '\u{e000}', Self::MAX];
            some[usize::try_from(rng.below(8)).unwrap()]
        }
    }

    impl Sample for Vec<u8> {
        fn sample(rng: &mut Rng) -> Self {
            let len = rng.below(5);
            (0..len)
                .map(|_| [0, 0, 1, 0xfe, 0xff][usize::try_from(rng.below(5)).unwrap()])
                .collect()
        }
    }

    impl Sample for String {
        fn sample(rng: &mut Rng) -> Self {
            let len = rng.below(4);
            (0..len).map(|_| char::sample(rng)).collect()
        }
    }

    impl<const N: usize> Sample for [u8; N] {
        fn sample(rng: &mut Rng) -> Self {
            std::array::from_fn(|_| u8::sample(rng))
        }
    }

    impl<K: Sample> Sample for Option<K> {
        fn sample(rng: &mut Rng) -> Self {
            bool::sample(rng).then(|| K::sample(rng))
        }
    }

    impl<K: Sample> Sample for Reverse<K> {
        fn sample(rng: &mut Rng) -> Self {
            Self(K::sample(rng))
        }
    }

    macro_rules! sample_tuples {
        ($($($Part:ident)*;)*) => {$(
            impl<$($Part: Sample),*> Sample for ($($Part,)*) {
                fn sample(rng: &mut Rng) -> Self {
                    ($($Part::sample(rng),)*)
                }
            }
        )*};
    }

    sample_tuples!(A B; A B C; A B C D; A B C D E; A B C D E F;);

    fn part<K: Key>(key: &K) -> Vec<u8> {
        let mut bytes = Vec::new();
        key.encode_part(&mut bytes);
        bytes
    }

    fn rng() -> Rng {
        let seed = std::env::var("SEED").map_or(1, |seed| seed.parse().expect("SEED is a number"));
        println!("SEED={seed}");
        Rng(seed)
    }

    fn check_by<K: Sample>(order: impl Fn(&K, &K) -> Ordering) {
        let mut rng = rng();
        for _ in 0..400 {
            let (a, b) = (K::sample(&mut rng), K::sample(&mut rng));
            let expected = order(&a, &b);
            assert_eq!(a.to_bytes().cmp(&b.to_bytes()), expected, "{a:?} {b:?}");
            assert_eq!(part(&a).cmp(&part(&b)), expected, "{a:?} {b:?} as parts");
            let begins = part(&a).starts_with(&part(&b));
            assert_eq!(begins, expected.is_eq(), "{a:?} {b:?}: a part begins with another");

            let found = K::decode(&a.to_bytes()).expect("it was encoded");
            assert!(order(&found, &a).is_eq(), "{a:?} became {found:?}");
            let both = [part(&a), part(&b)].concat();
            let mut rest = both.as_slice();
            for key in [a, b] {
                let found = K::decode_part(&mut rest).expect("it was encoded");
                assert!(order(&found, &key).is_eq(), "{key:?} became {found:?}");
            }
            assert!(rest.is_empty());
        }
        decode_any::<K>(&mut rng);
    }

    /// What decodes is the encoding of what it decodes to, and nothing panics.
    fn decode_any<K: Sample>(rng: &mut Rng) {
        for _ in 0..400 {
            let mut bytes = K::sample(rng).to_bytes();
            match rng.below(3) {
                0 => bytes.truncate(usize::from(u8::sample(rng)) % (bytes.len() + 1)),
                1 => bytes.extend(Vec::<u8>::sample(rng)),
                _ => {
                    let changed = usize::from(u8::sample(rng)) % bytes.len().max(1);
                    bytes.iter_mut().skip(changed).take(1).for_each(|byte| *byte = u8::sample(rng));
                }
            }
            if let Some(key) = K::decode(&bytes) {
                assert_eq!(key.to_bytes(), bytes, "{key:?}");
            }
            let mut rest = bytes.as_slice();
            if let Some(key) = K::decode_part(&mut rest) {
                assert_eq!(part(&key), bytes[..bytes.len() - rest.len()], "{key:?}");
            }
        }
    }

    fn check<K: Sample + Ord>() {
        check_by(K::cmp);
    }

    #[test]
    fn numbers_sort_as_their_bytes() {
        check::<u8>();
        check::<u16>();
        check::<u32>();
        check::<u64>();
        check::<u128>();
        check::<i8>();
        check::<i16>();
        check::<i32>();
        check::<i64>();
        check::<i128>();
        check_by(f32::total_cmp);
        check_by(f64::total_cmp);
        check::<bool>();
        check::<char>();
    }

    #[test]
    fn text_and_bytes_sort_as_their_bytes() {
        check::<String>();
        check::<Vec<u8>>();
        check::<[u8; 0]>();
        check::<[u8; 3]>();
        check::<Option<Vec<u8>>>();
        check::<Reverse<Vec<u8>>>();
        check::<Reverse<Option<String>>>();
    }

    #[test]
    fn tuples_sort_as_their_bytes() {
        check::<(Vec<u8>, Vec<u8>)>();
        check::<(String, u8, Vec<u8>)>();
        check::<(Reverse<Vec<u8>>, Vec<u8>)>();
        check::<(Option<String>, Option<i8>)>();
        check::<((Vec<u8>, Vec<u8>), Vec<u8>)>();
        check::<(Option<(Vec<u8>, u8)>, Reverse<(u8, Vec<u8>)>, [u8; 2], bool)>();
        check::<(bool, char, i16, u32, Vec<u8>)>();
        check::<(bool, Vec<u8>, bool, Vec<u8>, Vec<u8>, String)>();
    }

    #[test]
    fn the_bytes_of_a_key_do_not_change() {
        assert_eq!(0x0102_u16.to_bytes(), [1, 2]);
        assert_eq!(0_i16.to_bytes(), [0x80, 0]);
        assert_eq!((-1_i16).to_bytes(), [0x7f, 0xff]);
        assert_eq!(1.0_f32.to_bytes(), [0xbf, 0x80, 0, 0]);
        assert_eq!((-1.0_f32).to_bytes(), [0x40, 0x7f, 0xff, 0xff]);
        assert_eq!('a'.to_bytes(), [0, 0, 0, 0x61]);
        assert_eq!("a\0b".to_owned().to_bytes(), b"a\0b");
        let text = ("a\0b".to_owned(), vec![0_u8]);
        assert_eq!(text.to_bytes(), b"a\0\xffb\0\0\0");
        assert_eq!(part(&text), b"a\0\xffb\0\0\0\xff\0\0");
        assert_eq!((None::<u8>, Some(false)).to_bytes(), [0, 1, 0]);
        assert_eq!(Reverse(0x0102_u16).to_bytes(), [0xfe, 0xfd]);
        assert_eq!([1_u8, 2].to_bytes(), [1, 2]);
    }
}
