//! CRC-32 as zlib has it, which is what Riak's Bitcask writes; and the CRC of any stretch of a file out of those of two
//! stretches that begin together, so that a search for records costs the same whatever length a place claims.

/// The polynomial of CRC-32, lowest bit first.
const POLYNOMIAL: u32 = 0xedb8_8320;

/// `STEP[n][byte]`: what a byte does to the register that has `n` more bytes behind it.
const STEP: [[u32; 256]; 8] = steps();

/// `AHEAD[n][digit]`: x to the power of 8 x digit x 256^n, by which a register moves past that many bytes.
static AHEAD: [[u32; 256]; 5] = powers();

const fn steps() -> [[u32; 256]; 8] {
    let mut table = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "below 256")]
        let mut register = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            register = times_x(register);
            bit += 1;
        }
        table[0][byte] = register;
        byte += 1;
    }
    let mut n = 1;
    while n < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = table[n - 1][byte];
            table[n][byte] = (before >> 8) ^ table[0][(before & 0xff) as usize];
            byte += 1;
        }
        n += 1;
    }
    table
}

const fn powers() -> [[u32; 256]; 5] {
    let mut table = [[1 << 31; 256]; 5];
    // x to the power of 8: one byte.
    let mut base = 1 << (31 - 8);
    let mut n = 0;
    while n < 5 {
        let mut digit = 1;
        while digit < 256 {
            table[n][digit] = product(table[n][digit - 1], base);
            digit += 1;
        }
        base = product(table[n][255], base);
        n += 1;
    }
    table
}

const fn times_x(a: u32) -> u32 {
    if a & 1 == 1 { (a >> 1) ^ POLYNOMIAL } else { a >> 1 }
}

/// The product of two polynomials, less all multiples of [`POLYNOMIAL`].
const fn product(a: u32, mut b: u32) -> u32 {
    let mut sum = 0;
    let mut bit = 1 << 31;
    while bit != 0 {
        if a & bit != 0 {
            sum ^= b;
        }
        b = times_x(b);
        bit >>= 1;
    }
    sum
}

/// The CRC-32 of `bytes`.
pub(super) fn of(bytes: &[u8]) -> u32 {
    finish(feed(START, bytes))
}

/// The register before the first byte.
pub(super) const START: u32 = !0;

/// The register after these bytes more.
pub(super) fn feed(mut register: u32, bytes: &[u8]) -> u32 {
    let (eights, rest) = bytes.as_chunks::<8>();
    for eight in eights {
        let mixed = u64::from_le_bytes(*eight) ^ u64::from(register);
        register = 0;
        for (byte, table) in mixed.to_le_bytes().iter().zip(STEP.iter().rev()) {
            register ^= table[usize::from(*byte)];
        }
    }
    for byte in rest {
        register = step(register, *byte);
    }
    register
}

/// The register after one byte more.
pub(super) fn step(register: u32, byte: u8) -> u32 {
    (register >> 8) ^ STEP[0][usize::from(register.to_le_bytes()[0] ^ byte)]
}

/// The CRC that a register stands for.
pub(super) fn finish(register: u32) -> u32 {
    !register
}

/// The CRC-32 of the last `len` bytes of what led to `after`, whose first bytes led to `before`. Both registers began
/// the same way.
pub(super) fn between(before: u32, after: u32, len: u64) -> u32 {
    // Registers are linear: what came before is taken out, and the true start is put in.
    finish(ahead(before ^ START, len) ^ after)
}

/// The CRC-32 of `first` and then of the last `len` bytes of what led to `after`, as in [`between`].
pub(super) fn joined(first: &[u8], before: u32, after: u32, len: u64) -> u32 {
    finish(ahead(before ^ feed(START, first), len) ^ after)
}

/// The register `len` zero bytes later.
fn ahead(mut register: u32, len: u64) -> u32 {
    for (digit, table) in len.to_le_bytes().iter().zip(&AHEAD) {
        if *digit != 0 {
            register = product(register, table[usize::from(*digit)]);
        }
    }
    register
}

#[cfg(test)]
mod tests {
    use super::{START, between, feed, of, step};

    #[test]
    fn the_check_value_of_the_catalogues_and_the_empty_one() {
        assert_eq!(of(b"123456789"), 0xcbf4_3926);
        assert_eq!(of(b""), 0);
    }

    #[test]
    fn a_stretch_out_of_two_registers_is_that_of_its_bytes() {
        let bytes: Vec<u8> =
            (0..70_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
        for (from, to) in
            [(0, 0), (0, 1), (3, 3), (1, 256), (7, 300), (5, 65_600), (69_999, 70_000)]
        {
            let (before, after) = (feed(START, &bytes[..from]), feed(START, &bytes[..to]));
            let len = u64::try_from(to - from).unwrap();
            assert_eq!(between(before, after, len), of(&bytes[from..to]), "{from}..{to}");
        }
    }

    #[test]
    fn byte_by_byte_is_eight_by_eight() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(bytes.iter().fold(START, |r, b| step(r, *b)), feed(START, &bytes));
    }
}
