//! Each kind of damage and doubt, in stores made for it.

use std::time::{Duration, Instant};

use bitcask_random::Random;

use super::stores::{Outcome, Scratch, Written, record, some_bytes};
use crate::incoming::Incoming;
use crate::riak::{Expiry, KeyForm, RiakError, RiakOptions};

fn read(dir: &Scratch) -> Outcome {
    super::stores::read(&dir.0, &RiakOptions::default()).unwrap()
}

/// Where a value begins in a record with a key of one byte.
const VALUE: usize = 15;

fn first() -> Written {
    Written::default().put(b"a", b"old").put(b"b", b"old")
}

#[test]
fn a_lost_tombstone_still_deletes_if_the_hint_file_knows_it() {
    let dir = Scratch::new();
    let second = Written::default().put(b"x", b"1").delete(b"a").put(b"y", b"2").flip(1, VALUE);
    let outcome = read(dir.put(1, &first(), true).put(2, &second, true));
    assert_eq!((outcome.value(b"a"), outcome.value(b"b")), (None, Some(&b"old"[..])));
    assert_eq!((outcome.report.lost_tombstones, outcome.report.lost_keys), (1, 0));
    assert!(outcome.live.contains_key(&b"y"[..]));
}

#[test]
fn a_lost_value_does_not_leave_an_older_one_in_its_place() {
    let dir = Scratch::new();
    let second = Written::default().put(b"a", b"new").put(b"x", b"1").flip(0, VALUE);
    let outcome = read(dir.put(1, &first(), true).put(2, &second, true));
    assert_eq!(outcome.value(b"a"), None);
    assert_eq!((outcome.report.lost_tombstones, outcome.report.lost_keys), (0, 1));
    outcome.says("2.bitcask.data", "the key \"a\" is damaged: the key was left out");
}

#[test]
fn a_later_record_settles_what_was_lost() {
    let dir = Scratch::new();
    let second = Written::default().put(b"a", b"new").put(b"x", b"1").flip(0, VALUE);
    let third = Written::default().put(b"a", b"newest");
    dir.put(1, &first(), true).put(2, &second, true).put(3, &third, true);
    let outcome = read(&dir);
    assert_eq!(outcome.value(b"a"), Some(&b"newest"[..]));
    assert_eq!((outcome.report.damaged_places, outcome.report.lost_keys), (1, 0));
}

#[test]
fn without_a_hint_file_an_older_value_is_kept_and_doubted() {
    let dir = Scratch::new();
    let second = Written::default().put(b"a", b"new").put(b"x", b"1").flip(0, VALUE);
    let outcome = read(dir.put(1, &first(), true).put(2, &second, false));
    assert_eq!(outcome.value(b"a"), Some(&b"old"[..]));
    assert_eq!((outcome.report.lost_keys, outcome.report.doubtful_keys), (0, 1));
    outcome.says("2.bitcask.data", "the newest of the key \"a\"");
}

#[test]
fn an_unsealed_hint_file_is_believed_where_header_and_key_agree_with_it() {
    let second = Written::default().put(b"x", b"1").delete(b"a").put(b"y", b"2");
    for (byte, believed) in [(VALUE, true), (14, false), (7, false)] {
        let dir = Scratch::new();
        dir.put(1, &first(), true).put(2, &second.clone().flip(1, byte), false);
        dir.write("2.bitcask.hint", second.unsealed());
        let outcome = read(&dir);
        assert_eq!(outcome.live.contains_key(&b"a"[..]), !believed, "byte {byte}");
        assert_eq!(outcome.report.lost_keys, u64::from(believed));
        assert!(believed || outcome.report.doubtful_keys >= 1);
    }
}

#[test]
fn records_behind_a_file_that_was_cut_are_lost_by_name() {
    let dir = Scratch::new();
    let mut second = Written::default().put(b"x", b"1").delete(b"a").put(b"b", b"new");
    second.data.truncate(second.offsets[1]);
    let outcome = read(dir.put(1, &first(), true).put(2, &second, true));
    assert_eq!(outcome.live.keys().collect::<Vec<_>>(), [b"x"]);
    assert_eq!((outcome.report.lost_tombstones, outcome.report.lost_keys), (1, 1));
}

#[test]
fn bytes_that_come_in_or_go_move_records_and_lose_only_those_they_hit() {
    let whole = Written::default().put(b"x", b"1").delete(b"a").put(b"b", b"new").put(b"y", b"2");
    let at = whole.offsets[1];
    let mut longer = whole.clone();
    longer.data.splice(at..at, *b"garbage");
    let mut shorter = whole;
    shorter.data.drain(at + 3..at + 9);
    for (second, lost) in [(longer, 0), (shorter, 1)] {
        let dir = Scratch::new();
        let outcome = read(dir.put(1, &first(), true).put(2, &second, true));
        let keys: Vec<_> = outcome.live.keys().flatten().copied().collect();
        assert_eq!(keys, b"bxy");
        assert_eq!(outcome.value(b"b"), Some(&b"new"[..]));
        assert_eq!((outcome.report.damaged_places, outcome.report.lost_tombstones), (1, lost));
    }
}

#[test]
fn records_alike_are_told_apart_by_their_places() {
    let dir = Scratch::new();
    let mut file = Written::default();
    for key in [b"a", b"b", b"c", b"a"] {
        file = file.put(key, b"1");
    }
    let outcome = read(dir.put(1, &file.flip(0, VALUE).flip(1, VALUE).flip(2, VALUE), true));
    assert_eq!(outcome.live.keys().collect::<Vec<_>>(), [b"a"]);
    assert_eq!((outcome.report.damaged_places, outcome.report.lost_keys), (1, 2));
}

#[test]
fn any_number_of_damaged_records_leaves_the_others() {
    for hint in [true, false] {
        let dir = Scratch::new();
        let mut file = Written::default();
        for n in 0..200_u8 {
            file = file.put(&[n], &[n; 100]);
        }
        for n in (0..200).step_by(2) {
            // The length, the key or the value, in turn.
            file = file.flip(n, [11, 14, 50][n % 3]);
        }
        let report = read(dir.put(1, &file, hint)).report;
        assert_eq!((report.values, report.damaged_places), (100, 100));
        assert_eq!(report.lost_keys, if hint { 100 } else { 0 });
        assert_eq!(report.notices.list.len(), 100);
        assert!(report.notices.left_out > 0);
    }
}

#[test]
fn a_length_that_points_to_a_later_record_skips_none() {
    let dir = Scratch::new();
    let mut file = Written::default();
    for n in 0..8_u8 {
        // Records of 64 bytes: one bit of the length is one record.
        file = file.put(&[n], &[n; 49]);
    }
    file.data[file.offsets[2] + 13] ^= 64;
    let report = read(dir.put(1, &file, false)).report;
    assert_eq!((report.values, report.damaged_bytes), (7, 64));
}

#[test]
fn records_within_a_damaged_value_stay_there() {
    let inner = Written::default().put(b"stranger", b"value").put(b"other", b"value").data;
    let inner = [b"before".as_slice(), &inner, b"behind"].concat();
    for hint in [true, false] {
        let dir = Scratch::new();
        let file = Written::default().put(b"a", &inner).put(b"b", b"1").flip(0, VALUE);
        let outcome = read(dir.put(1, &file, hint));
        assert_eq!(outcome.live.keys().collect::<Vec<_>>(), [b"b"]);
        // A torn one, too, if there is a hint file to tell.
        let mut file = Written::default().put(b"b", b"1").put(b"a", &inner);
        file.data.truncate(file.data.len() - 3);
        let outcome = read(dir.put(1, &file, hint));
        assert_eq!(outcome.live.contains_key(&b"stranger"[..]), !hint);
    }
}

#[test]
fn only_the_exact_shape_and_the_bit_make_a_tombstone() {
    let exact = b"bitcask_tombstone2\0\0\0\x01";
    let file = Written::default()
        .put(b"a", b"bitcask_tombstones of Erlang")
        .record(1, b"b", exact, false)
        .record(1, b"c", exact, true)
        .record(1, b"d", b"bitcask_tombstone", false);
    let dir = Scratch::new();
    let outcome = read(dir.put(1, &file, true));
    assert_eq!(outcome.live.keys().collect::<Vec<_>>(), [b"a", b"b"]);
    assert_eq!((outcome.report.lookalikes, outcome.report.tombstones_doubtful), (2, 1));
    // The seal of a release without bits, no seal, no hint file: all of the shape are tombstones.
    for hint in [Some(file.hint(0xff)), Some(file.unsealed().to_vec()), None] {
        let dir = Scratch::new();
        dir.put(1, &file, false);
        if let Some(hint) = &hint {
            dir.write("1.bitcask.hint", hint);
        }
        let outcome = read(&dir);
        assert_eq!(outcome.live.keys().collect::<Vec<_>>(), [b"a"]);
        assert_eq!((outcome.report.tombstones, outcome.report.tombstones_doubtful), (3, 3));
        outcome.says("1.bitcask.data", "3 tombstones are known by their text alone");
    }
}

#[test]
fn a_hint_file_of_other_data_deletes_nothing() {
    let dir = Scratch::new();
    let other = Written::default().put(b"x", b"1").delete(b"a").put(b"y", b"2");
    let second = Written::default().put(b"v", b"1").put(b"w", b"22").flip(0, VALUE);
    dir.put(1, &first(), true).put(2, &second, false);
    dir.write("2.bitcask.hint", &other.hint(0x7f));
    let outcome = read(&dir);
    assert_eq!(outcome.value(b"a"), Some(&b"old"[..]));
    outcome.says("2.bitcask.hint", "is about other data");
}

#[test]
fn files_come_in_the_order_of_their_numbers() {
    let dir = Scratch::new();
    for number in [9, 10, 2] {
        dir.put(number, &Written::default().put(b"k", number.to_string().as_bytes()), false);
    }
    dir.write("10.bitcask.data.bak", b"?");
    dir.write("x.bitcask.data", b"?");
    dir.write("7.bitcask.hint", b"?");
    dir.write("bitcask.write.lock", b"123 9.bitcask.data\n");
    std::fs::create_dir(dir.0.join("11.bitcask.data")).unwrap();
    let outcome = read(&dir);
    assert_eq!(outcome.value(b"k"), Some(&b"10"[..]));
    let values = outcome.changes.iter().map(|change| match change {
        Incoming::Put { value, .. } => value.as_slice(),
        Incoming::Delete { .. } => b"",
    });
    assert_eq!(values.collect::<Vec<_>>(), [&b"2"[..], b"9", b"10"]);
    outcome.says("11.bitcask.data", "is not a file");
    outcome.says("7.bitcask.hint", "has no data file");
    outcome.says("bitcask.write.lock", "stop it");
}

#[test]
fn keys_and_values_have_any_length() {
    let dir = Scratch::new();
    let long = vec![7; 65_535];
    let large = some_bytes(&mut Random::new(1), 3 << 20);
    let file =
        Written::default().put(b"", b"").put(&long, b"1").put(b"large", &large).delete(&long);
    let outcome = read(dir.put(1, &file, true));
    assert_eq!(outcome.live.len(), 2);
    assert!(outcome.value(b"large") == Some(&large) && outcome.value(b"") == Some(b""));
    // A large value that is damaged or torn does not check out either.
    let outcome = read(dir.put(1, &file.clone().flip(2, 2 << 20), true));
    assert_eq!((outcome.live.len(), outcome.report.lost_keys), (1, 1));
    let mut torn = file;
    torn.data.truncate(torn.offsets[3] - 1);
    let outcome = read(dir.put(1, &torn, true));
    assert_eq!((outcome.live.len(), outcome.report.torn_tails), (1, 1));
}

#[test]
fn an_expired_value_hides_an_older_one_with_a_younger_time() {
    let dir = Scratch::new();
    let file = Written::default().record(5000, b"a", b"1", false).record(1000, b"a", b"2", false);
    dir.put(1, &file, true);
    let expiry = Some(Expiry { secs: 100, now_ms: 2_000_000 });
    let outcome = super::stores::read(&dir.0, &RiakOptions { expiry, ..RiakOptions::default() });
    let outcome = outcome.unwrap();
    assert_eq!((outcome.live.len(), outcome.report.values, outcome.report.expired), (0, 1, 1));
    let Incoming::Put { expires_ms, .. } = &outcome.changes[0] else { panic!("a put") };
    assert_eq!(*expires_ms, Some(5_101_000));
}

#[test]
fn keys_that_are_none_of_riak_kv_come_as_they_are() {
    let dir = Scratch::new();
    let file = Written::default().put(b"\x02\0\x01bk", b"1").put(b"plain", b"2");
    dir.put(1, &file, true);
    let options = RiakOptions { keys: KeyForm::RiakKv, ..RiakOptions::default() };
    let outcome = super::stores::read(&dir.0, &options).unwrap();
    let keys: Vec<_> = outcome.live.keys().collect();
    assert_eq!(keys, [&b"default/b/k"[..], b"plain"]);
    assert_eq!(outcome.report.undecoded_keys, 1);
    outcome.says("1.bitcask.data", "the key \"plain\" is not one of Riak KV");
}

#[test]
fn a_directory_without_data_files_is_an_error_that_helps() {
    let dir = Scratch::new();
    let outcome = super::stores::read(&dir.0, &RiakOptions::default());
    assert!(matches!(outcome, Err(RiakError::NoData { partition: None, .. })));
    let below = dir.0.join("45671926166590716193865151022383844364247891968");
    std::fs::create_dir(&below).unwrap();
    std::fs::write(below.join("1.bitcask.data"), b"").unwrap();
    let outcome = super::stores::read(&dir.0, &RiakOptions::default());
    let Err(RiakError::NoData { partition, .. }) = outcome else { panic!("{outcome:?}") };
    assert_eq!(partition, Some(below));
    let outcome = super::stores::read(&dir.0.join("none"), &RiakOptions::default());
    assert!(matches!(outcome, Err(RiakError::Read { .. })));
}

#[test]
fn whoever_takes_the_changes_can_end_it() {
    let dir = Scratch::new();
    dir.put(1, &first(), true);
    let mut each = |_: Incoming| Err("enough");
    let ended = crate::riak::read(&dir.0, &RiakOptions::default(), &mut each, &mut |_| {});
    assert!(matches!(ended, Err(RiakError::Each("enough"))));
}

/// Each byte of each kind of garbage claims records up to the end of the file, as far as its kind allows.
#[test]
fn garbage_costs_by_its_length_and_not_by_what_it_claims() {
    const LEN: usize = 1 << 19;
    let mut random = Random::new(3);
    let small: Vec<_> = (0..LEN).map(|n| u8::from(n % 3 == 0)).collect();
    let sparse: Vec<_> = (0..LEN)
        .map(|n| if n % 4 == 0 { random.next().to_le_bytes()[0] & 31 } else { 0 })
        .collect();
    for garbage in [vec![0; LEN], some_bytes(&mut random, LEN), small, sparse] {
        let dir = Scratch::new();
        let mut data = record(1, b"before", b"1");
        data.extend(&garbage);
        data.extend(record(1, b"behind", b"2"));
        data.extend(vec![0; LEN]);
        dir.write("1.bitcask.data", &data);
        let begun = Instant::now();
        let report = read(&dir).report;
        println!("{:?}: {:?}", &garbage[..8], begun.elapsed());
        assert_eq!((report.values, report.damaged_places), (2, 2));
        assert!(begun.elapsed() < Duration::from_secs(30));
    }
}
