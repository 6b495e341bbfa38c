//! Streams with something wrong in each: no panic, no hang, no memory that the bytes do not account for.

use bitcask_random::Random;

use super::tests::{FORMATS, entry, open, samples, written};
use super::*;
use crate::fuzzing::{byte, seeded};

const ROUNDS: u64 = 4000;

/// Fewer than so many; half of the times of those that mean something to a format.
pub(super) fn some_bytes(random: &mut Random, len_max: usize) -> Vec<u8> {
    const MARKS: &[u8] = b"\"\"\\,\r\n{}:x0 \0\xc3\xa4\xff";
    let marks = random.next().is_multiple_of(2);
    let len = random.index(len_max);
    (0..len)
        .map(|_| match marks {
            true => MARKS[random.index(MARKS.len())],
            false => byte(random),
        })
        .collect()
}

/// A few bytes changed, put in, taken out or doubled; and at times the end cut.
fn mutate(random: &mut Random, bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=random.index(4) {
        let at = random.index(bytes.len());
        let end = (at + 1 + random.index(30)).min(bytes.len());
        match random.index(6) {
            0 => drop(bytes.splice(at..at, some_bytes(random, 4))),
            1 if at < bytes.len() => bytes[at] ^= 1 << random.index(8),
            2 if at < bytes.len() => bytes[at] = *some_bytes(random, 2).first().unwrap_or(&0xff),
            3 => drop(bytes.drain(at..end)),
            4 => drop(bytes.splice(at..at, bytes[at..end].to_vec())),
            _ if random.index(4) == 0 => bytes.truncate(at),
            _ => {}
        }
    }
    bytes
}

/// All entries, and whether the stream was read to its end. Every byte is in one item or between two.
fn entries(format: Format, bytes: &[u8]) -> (Vec<Entry>, bool) {
    let mut entries = Vec::new();
    let Ok(mut reader) = open(format, Encoding::Utf8, bytes) else {
        return (entries, false);
    };
    loop {
        let before = reader.position().offset;
        match reader.next() {
            Ok(Some(Item::Entry(entry))) => entries.push(entry),
            Ok(Some(Item::Rejected { raw, .. })) => {
                let end = usize::try_from(reader.position().offset).unwrap();
                assert!(bytes[..end].ends_with(&raw));
            }
            Ok(None) => {
                assert!(reader.next().unwrap().is_none());
                return (entries, true);
            }
            Err(_) => {
                assert!(reader.next().is_err());
                return (entries, false);
            }
        }
        assert!(before < reader.position().offset && reader.position().offset <= len(bytes));
    }
}

#[test]
fn every_flipped_byte_of_a_binary_stream_is_told() {
    let samples = &samples()[..6];
    let good = written(Format::Binary, Encoding::Utf8, samples);
    assert_eq!(entries(Format::Binary, &good), (samples.to_vec(), true));
    for at in 0..good.len() {
        for flip in [1, 0x80, 0xff] {
            let mut bytes = good.clone();
            bytes[at] ^= flip;
            let (read, whole) = entries(Format::Binary, &bytes);
            assert!(!whole && samples.starts_with(&read), "{at}");
        }
    }
}

#[test]
fn every_cut_of_a_binary_stream_is_told_and_so_is_what_is_behind_it() {
    let samples = &samples()[..6];
    let good = written(Format::Binary, Encoding::Utf8, samples);
    for at in 0..good.len() {
        let (read, whole) = entries(Format::Binary, &good[..at]);
        assert!(!whole && samples.starts_with(&read), "{at}");
    }
    assert!(!entries(Format::Binary, &[&good[..], b"\0"].concat()).1);
    assert!(!entries(Format::Binary, &good.repeat(2)).1);
}

#[test]
fn records_that_are_missing_doubled_or_moved_are_told() {
    let samples = &samples()[..6];
    let good = written(Format::Binary, Encoding::Utf8, samples);
    let mut bounds = vec![];
    let mut reader = open(Format::Binary, Encoding::Utf8, &good).unwrap();
    loop {
        bounds.push(usize::try_from(reader.position().offset).unwrap());
        if reader.next().unwrap().is_none() {
            break;
        }
    }
    bounds.truncate(samples.len() + 1);
    let records: Vec<&[u8]> = bounds.windows(2).map(|pair| &good[pair[0]..pair[1]]).collect();
    let (start, end) = (&good[..bounds[0]], &good[bounds[samples.len()]..]);
    // Also so that the count is right: one is missing, another is there twice.
    let orders: [&[usize]; 6] = [
        &[1, 2, 3, 4, 5],
        &[0, 1, 2, 3, 4],
        &[0, 0, 1, 2, 3, 4, 5],
        &[0, 1, 2, 2, 4, 5],
        &[0, 1, 3, 2, 4, 5],
        &[5, 4, 3, 2, 1, 0],
    ];
    for order in orders {
        let moved: Vec<u8> = order.iter().flat_map(|&at| records[at]).copied().collect();
        let (read, whole) = entries(Format::Binary, &[start, &moved, end].concat());
        assert!(!whole && samples.starts_with(&read), "{order:?}");
    }
}

#[test]
fn a_count_that_its_writer_got_wrong_is_told() {
    let mut end = vec![2];
    end.extend(u64::to_le_bytes(7));
    let crc = crc32c::crc32c(&[&[0; 8], &end[..]].concat());
    let bytes = [binary::MAGIC, &end, &crc.to_le_bytes()].concat();
    let error = open(Format::Binary, Encoding::Utf8, &bytes).unwrap().next().unwrap_err();
    assert!(error.to_string().ends_with("0 entries where 7 were written"), "{error}");
}

#[test]
fn a_length_is_not_believed() {
    let cases = [
        (65_535, u64::from(u32::MAX), "cut"),
        (65_536, 0, "the key has 65536 bytes"),
        (0, 1 << 32, "the value has 4294967296 bytes"),
        (0, u64::MAX, "the value has 18446744073709551615 bytes"),
    ];
    for (key_len, value_len, told) in cases {
        let mut bytes = [binary::MAGIC, b"\x01"].concat();
        bytes.extend(u32::to_le_bytes(key_len));
        bytes.extend(u64::to_le_bytes(value_len));
        bytes.extend([0xff; 80_000]);
        let mut reader = open(Format::Binary, Encoding::Utf8, &bytes).unwrap();
        let error = reader.next().unwrap_err();
        assert!(
            matches!(&error, ReadError::Damaged { offset: 8, what } if what.contains(told)),
            "{error}"
        );
    }
}

#[test]
fn changed_streams_are_read_without_harm() {
    let mut random = seeded();
    let samples = &samples()[..12];
    for format in FORMATS {
        let good = written(format, Encoding::Utf8, samples);
        let mut taken = 0;
        for _ in 0..ROUNDS {
            let bytes = mutate(&mut random, &good);
            let (read, whole) = entries(format, &bytes);
            if format == Format::Binary && bytes != good {
                assert!(!whole && samples.starts_with(&read));
            }
            taken += read.len();
        }
        // Most of what is sound is read, where the format lets it be found.
        assert!(taken > 1000, "{format:?} {taken}");
    }
    for _ in 0..ROUNDS {
        let bytes = some_bytes(&mut random, 300);
        for format in FORMATS {
            entries(format, &bytes);
        }
        let rows = [b"key,value\n", &bytes[..]].concat();
        entries(Format::Csv, &rows);
    }
}

#[test]
fn framing_and_parsing_of_rows_agree() {
    // Among rows of which some are wrong, those on one line without quotes are all found.
    let mut random = seeded();
    for _ in 0..ROUNDS {
        let mut bytes = b"key,value,expires_ms\n".to_vec();
        let wrong: Vec<u8> =
            some_bytes(&mut random, 20).into_iter().filter(|byte| *byte != b'\n').collect();
        // With text before its quotes, none of them opens.
        bytes.extend([b"a", &wrong[..], b"\nlast,row,\n"].concat());
        if wrong.windows(2).any(|pair| pair == b",\"") {
            continue;
        }
        let (read, _) = entries(Format::Csv, &bytes);
        assert_eq!(read.last(), Some(&entry(b"last", b"row", None)), "{wrong:?}");
    }
}
