//! LZF, by which Redis compresses strings: runs of literal bytes, and references to what came up to 8 KiB before.

/// No reference of 3 bytes gives more than 264: a longer claim is a lie.
const GROWTH_MAX: u64 = 88;

/// What `bytes` stand for, if they are `len` bytes compressed. Memory grows as they come.
pub(super) fn decompress(bytes: &[u8], len: u64) -> Option<Vec<u8>> {
    if len > (bytes.len() as u64).saturating_mul(GROWTH_MAX) {
        return None;
    }
    let len = usize::try_from(len).ok()?;
    let mut out = Vec::new();
    let mut rest = bytes;
    while let Some((&control, after)) = rest.split_first() {
        rest = if control < 32 {
            let (literal, after) = after.split_at_checked(usize::from(control) + 1)?;
            out.extend_from_slice(literal);
            after
        } else {
            reference(control, after, &mut out)?
        };
        if out.len() > len {
            return None;
        }
    }
    (out.len() == len).then_some(out)
}

/// Copies what a reference means; answers what is behind it.
fn reference<'a>(control: u8, after: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    let (mut count, mut after) = (usize::from(control >> 5), after);
    if count == 7 {
        let (&more, behind) = after.split_first()?;
        (count, after) = (count + usize::from(more), behind);
    }
    let (&low, after) = after.split_first()?;
    let distance = (usize::from(control & 31) << 8 | usize::from(low)) + 1;
    let start = out.len().checked_sub(distance)?;
    // One after another: a reference may reach into what it gives itself.
    for at in start..start + count + 2 {
        out.push(*out.get(at)?);
    }
    Some(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_and_references_are_put_together() {
        assert_eq!(decompress(&[2, b'a', b'b', b'c'], 3).unwrap(), b"abc");
        // Overlapping, short and long.
        assert_eq!(decompress(&[0, b'a', 0x20, 0], 4).unwrap(), b"aaaa");
        assert_eq!(
            decompress(&[1, b'a', b'b', 0xe0, 10, 1], 21).unwrap(),
            b"ababababababababababa"
        );
    }

    #[test]
    fn what_is_wrong_is_refused() {
        // Before the beginning; cut; longer and shorter than claimed; a claim out of all proportion.
        assert_eq!(decompress(&[0, b'a', 0x20, 1], 4), None);
        assert_eq!(decompress(&[5, b'a'], 6), None);
        assert_eq!(decompress(&[0, b'a', 0xe0], 9), None);
        assert_eq!(decompress(&[0, b'a', 0x20], 4), None);
        assert_eq!(decompress(&[2, b'a', b'b', b'c'], 2), None);
        assert_eq!(decompress(&[2, b'a', b'b', b'c'], 4), None);
        assert_eq!(decompress(&[0, b'a'], u64::MAX), None);
    }
}
