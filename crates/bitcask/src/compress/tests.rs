use super::*;

/// Pseudo-random bytes that do not compress.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..len).map(|_| next()).collect()
}

/// A document like many others.
fn document(n: u64) -> Vec<u8> {
    let id = noise(8, n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    let name =
        ["Anna Kim", "Boris Novak", "Chen Silva", "Dora Haddad"][usize::from(id.as_bytes()[1] % 4)];
    format!(
        "{{\"id\":\"{id}\",\"name\":\"{name}\",\"created_at\":\"2026-11-{:02}T12:{:02}:07Z\",\"status\":\"active\",\
         \"address\":{{\"city\":\"Oslo\",\"zip\":\"{:05}\"}},\"score\":{}}}",
        n % 28 + 1,
        n % 60,
        n * 7919 % 100_000,
        n * 31 % 10_000
    )
    .into_bytes()
}

fn dictionary() -> Vec<u8> {
    let documents: Vec<_> = (0..2000).map(document).collect();
    let lens: Vec<_> = documents.iter().map(Vec::len).collect();
    train(&documents.concat(), &lens, 4 << 10).unwrap()
}

/// Every way to compress that this build has.
fn ways() -> Vec<(Compression, Option<Encoder>)> {
    let mut ways = Vec::new();
    if lz4::AVAILABLE {
        ways.push((Compression::Lz4, None));
    }
    if zstd::AVAILABLE {
        for level in [-7, 1, 3, 12, 22] {
            ways.push((Compression::Zstd { level }, None));
            ways.push((Compression::Zstd { level }, Encoder::new(7, &dictionary(), level)));
        }
    }
    ways
}

fn decoder() -> Option<Decoder> {
    if zstd::AVAILABLE { Decoder::new(7, &dictionary()) } else { None }
}

fn back(flags: Flags, stored: &[u8], decoder: Option<&Decoder>) -> Result<Vec<u8>, Fault> {
    let needed = dictionary_id(flags, stored)?;
    decompress(flags, stored, decoder.filter(|_| needed.is_some()))
}

#[test]
fn a_value_of_any_length_comes_back_or_stays_as_it_is() {
    let decoder = decoder();
    let lens = (0..600).chain([4095, 4096, 8191, 8192, 8193, 65_534, 65_535, 65_536, 300_000]);
    let text: Vec<u8> = (0..4000).flat_map(document).collect();
    for (how, encoder) in ways() {
        for len in lens.clone() {
            if how == (Compression::Zstd { level: 22 }) && len > 100 && len % 50 != 0 {
                continue;
            }
            for value in [&text[..len], &vec![7; len]] {
                match compress(how, value, encoder.as_ref()) {
                    Some((flags, stored)) => {
                        assert!(stored.len() + ALIGNMENT <= len, "{how:?} {len}");
                        let value_back = back(flags, &stored, decoder.as_ref());
                        assert_eq!(value_back.as_deref(), Ok(value), "{how:?} {len}");
                    }
                    None => assert!(len < 600, "{how:?} keeps {len} bytes that repeat themselves"),
                }
            }
        }
    }
}

#[test]
fn what_does_not_shrink_by_an_eighth_stays_as_it_is() {
    for (how, encoder) in ways() {
        for len in [0, 1, 4, 5, 64, 1000, 100_000] {
            assert_eq!(compress(how, &noise(len, 3), encoder.as_ref()), None, "{how:?} {len}");
        }
        // A tenth of it could be saved.
        let mut value = noise(10_000, 4);
        value[9_000..].fill(0);
        assert_eq!(compress(how, &value, encoder.as_ref()), None, "{how:?}");
        value[8_000..].fill(0);
        assert!(compress(how, &value, encoder.as_ref()).is_some(), "{how:?}");
    }
    assert_eq!(compress(Compression::None, &[0; 1000], None), None);
}

#[test]
fn every_cut_and_every_flipped_bit_is_survived() {
    let decoder = decoder();
    let (mut accepted, mut refused) = (0, 0);
    for (how, encoder) in ways() {
        for value in [document(3), [document(4), document(5)].concat(), vec![0; 500]] {
            let Some((flags, stored)) = compress(how, &value, encoder.as_ref()) else { continue };
            for end in 0..stored.len() {
                let cut = back(flags, &stored[..end], decoder.as_ref());
                assert!(cut.is_err(), "{how:?} cut at {end} of {}", stored.len());
            }
            for bit in 0..stored.len() * 8 {
                let mut stored = stored.clone();
                stored[bit / 8] ^= 1 << (bit % 8);
                match back(flags, &stored, decoder.as_ref()) {
                    // Nothing but the record's checksum can tell.
                    Ok(wrong) => {
                        let claim = if flags.has(Flags::DICTIONARY) { 4 } else { 0 };
                        let claim = stored[claim..claim + 4].try_into().unwrap();
                        assert_eq!(wrong.len() as u64, u64::from(u32::from_le_bytes(claim)));
                        accepted += 1;
                    }
                    Err(_) => refused += 1,
                }
            }
        }
    }
    assert!(ways().is_empty() || refused > accepted / 10, "{refused} {accepted}");
}

#[test]
fn noise_is_never_taken_for_more_than_it_says() {
    let decoder = decoder();
    let all = [Flags::LZ4, Flags::ZSTD, Flags::DICTIONARY, Flags::COMPRESSION];
    let pairs = [Flags::LZ4.and(Flags::DICTIONARY), Flags::ZSTD.and(Flags::DICTIONARY)];
    for flags in all.into_iter().chain(pairs) {
        for seed in 0..2000 {
            let mut stored = noise(usize::try_from(seed % 70).unwrap(), seed * 77 + 1);
            // A plausible claim, and often a magic number.
            for at in [0, 4] {
                if let Some(field) = stored.get_mut(at..at + 4) {
                    field.copy_from_slice(&[u8::try_from(seed % 250).unwrap(), 0, 0, 0]);
                }
            }
            for at in [4, 8] {
                if seed % 2 == 0
                    && let Some(magic) = stored.get_mut(at..at + 4)
                {
                    magic.copy_from_slice(&[0x28, 0xb5, 0x2f, 0xfd]);
                }
            }
            if let Ok(value) = decompress(flags, &stored, decoder.as_ref()) {
                assert!(value.len() < 250);
            }
        }
    }
}

#[test]
fn a_claim_that_the_bytes_cannot_keep_is_refused_before_it_is_allocated() {
    for (how, _) in ways().iter().filter(|(_, encoder)| encoder.is_none()) {
        let (flags, mut stored) = compress(*how, &[9; 1000], None).unwrap();
        stored[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        let refused = Fault::Shape("a value longer than its compressed bytes can make it");
        assert_eq!(decompress(flags, &stored, None), Err(refused), "{how:?}");
        for wrong in [999_u32, 1001, 0] {
            stored[..4].copy_from_slice(&wrong.to_le_bytes());
            assert!(decompress(flags, &stored, None).is_err(), "{how:?} {wrong}");
        }
    }
}

/// The bounds themselves must not refuse what is possible.
#[test]
fn the_most_compressible_values_come_back() {
    for (how, _) in ways().iter().filter(|(_, encoder)| encoder.is_none()) {
        for len in [1 << 10, 1 << 17, (1 << 17) + 1, 5 << 20] {
            let value = vec![0; len];
            let (flags, stored) = compress(*how, &value, None).unwrap();
            assert!(decompress(flags, &stored, None).unwrap() == value, "{how:?} {len}");
        }
    }
}

#[cfg(feature = "zstd")]
#[test]
fn a_value_is_not_decompressed_with_another_dictionary() {
    let encoder = Encoder::new(7, &dictionary(), 3).unwrap();
    let (flags, stored) = compress(Compression::zstd(), &document(9), Some(&encoder)).unwrap();
    assert_eq!(flags, Flags::ZSTD.and(Flags::DICTIONARY));
    assert_eq!(dictionary_id(flags, &stored), Ok(Some(7)));
    let other = Decoder::new(8, &dictionary()).unwrap();
    let refused = Fault::Shape("a value that needs another dictionary");
    assert_eq!(decompress(flags, &stored, Some(&other)), Err(refused));
    assert_eq!(decompress(flags, &stored, None), Err(refused));
}

#[cfg(feature = "zstd")]
#[test]
fn a_dictionary_halves_small_values_that_are_alike() {
    let encoder = Encoder::new(7, &dictionary(), 3).unwrap();
    let (mut plain, mut with) = (0, 0);
    for n in 5000..5500 {
        let value = document(n);
        plain += compress(Compression::zstd(), &value, None).map_or(value.len(), |(_, s)| s.len());
        with += compress(Compression::zstd(), &value, Some(&encoder)).unwrap().1.len();
    }
    assert!(with * 2 < plain, "{with} {plain}");
}

#[test]
fn a_choice_that_cannot_be_is_told() {
    assert_eq!(Compression::None.fault(), None);
    assert_eq!(Compression::Lz4.fault().is_none(), lz4::AVAILABLE);
    assert_eq!(Compression::zstd().fault().is_none(), zstd::AVAILABLE);
    assert!(Compression::Zstd { level: 23 }.fault().is_some());
    assert!(Compression::Zstd { level: -8 }.fault().is_some());
}
