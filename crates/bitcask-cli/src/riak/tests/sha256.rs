//! SHA-256, to compare values with manifests.

/// The digest in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut padded = bytes.to_vec();
    padded.push(0x80);
    padded.resize(padded.len().next_multiple_of(64), 0);
    if padded.len() - bytes.len() < 9 {
        padded.resize(padded.len() + 64, 0);
    }
    let at = padded.len() - 8;
    padded[at..].copy_from_slice(&(bytes.len() as u64 * 8).to_be_bytes());
    let constants = constants();
    let mut state = START;
    for block in padded.chunks_exact(64) {
        compress(&mut state, block, &constants);
    }
    state.iter().map(|word| format!("{word:08x}")).collect()
}

const START: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// The first 32 bits of the fractional parts of the cube roots of the first 64 primes.
fn constants() -> Vec<u32> {
    let prime = |n: &u128| (2..*n).take_while(|d| d * d <= *n).all(|d| !n.is_multiple_of(d));
    let root = |n: u128| {
        let (mut low, mut high) = (0_u128, 1 << 40);
        while high - low > 1 {
            let middle = u128::midpoint(low, high);
            if middle * middle * middle <= n << 96 { low = middle } else { high = middle }
        }
        u32::try_from(low & 0xffff_ffff).unwrap()
    };
    (2..).filter(prime).take(64).map(root).collect()
}

fn compress(state: &mut [u32; 8], block: &[u8], constants: &[u32]) {
    let words = block.chunks_exact(4).map(|word| u32::from_be_bytes(word.try_into().unwrap()));
    let mut w: Vec<u32> = words.collect();
    for i in 16..64 {
        let a = w[i - 15].rotate_right(7) ^ w[i - 15].rotate_right(18) ^ (w[i - 15] >> 3);
        let b = w[i - 2].rotate_right(17) ^ w[i - 2].rotate_right(19) ^ (w[i - 2] >> 10);
        w.push(w[i - 16].wrapping_add(a).wrapping_add(w[i - 7]).wrapping_add(b));
    }
    let mut v = *state;
    for (word, constant) in w.iter().zip(constants) {
        let [a, b, c, d, e, f, g, h] = v;
        let one = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
        let t = h.wrapping_add(one).wrapping_add((e & f) ^ (!e & g)).wrapping_add(*constant);
        let t = t.wrapping_add(*word);
        let zero = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
        let u = zero.wrapping_add((a & b) ^ (a & c) ^ (b & c));
        v = [t.wrapping_add(u), a, b, c, d.wrapping_add(t), e, f, g];
    }
    for (word, more) in state.iter_mut().zip(v) {
        *word = word.wrapping_add(more);
    }
}

#[test]
fn the_standard_examples_come_out() {
    assert_eq!(hex(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_eq!(hex(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}
