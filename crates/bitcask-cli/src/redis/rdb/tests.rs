use std::ops::ControlFlow;

use super::*;
use crate::incoming::Incoming;
use crate::redis::made::{self, Done, NOW_MS, Rdb};
use crate::redis::{Databases, Target as _};

fn import(bytes: &[u8]) -> Done {
    made::import_rdb(bytes, Databases::One(0))
}

fn new() -> Rdb {
    Rdb::new("REDIS0012")
}

#[test]
fn strings_of_every_encoding_are_given() {
    let long = "x".repeat(70);
    let longer = "y".repeat(20_000);
    let rdb = new()
        .put("a", "")
        .put("b", &long)
        .put("c", &longer)
        .raw(&[0])
        .string(b"d")
        .raw(&[0xc0, 0xf9])
        .raw(&[0])
        .string(b"e")
        .raw(&[0xc1, 0xd2, 0x04])
        .raw(&[0])
        .string(b"f")
        .raw(&[0xc2, 0, 0, 0, 0x80])
        // Five bytes for 21.
        .raw(&[0])
        .string(b"g")
        .raw(&[0xc3])
        .len(6)
        .len(21)
        .raw(&[1, b'a', b'b', 0xe0, 10, 1])
        // A length of 64 bits, and a key that is a number.
        .raw(&[0])
        .raw(&[0xc0, 5])
        .raw(&[0x81, 0, 0, 0, 0, 0, 0, 0, 2])
        .raw(b"64")
        .end();
    let done = import(&rdb);
    done.result.as_ref().unwrap();
    assert_eq!(
        done.keys(),
        format!("5=64 a= b={long} c={longer} d=-7 e=1234 f=-2147483648 g=ababababababababababa")
    );
    assert_eq!(done.report.snapshot_keys, 8);
}

#[test]
fn keys_expire_when_they_did_and_those_that_have_are_left_out() {
    let later = (NOW_MS + 1).to_le_bytes();
    let rdb = new()
        .raw(&[252])
        .raw(&later)
        .put("ms", "1")
        .raw(&[253])
        .raw(&2_000_000_000_u32.to_le_bytes())
        .put("s", "2")
        // Behind the expiry stands how often it was used, or how long not.
        .raw(&[252])
        .raw(&later)
        .raw(&[249, 7])
        .put("freq", "3")
        .raw(&[252])
        .raw(&later)
        .raw(&[248])
        .len(70_000)
        .put("idle", "4")
        .raw(&[252])
        .raw(&NOW_MS.to_le_bytes())
        .put("over", "5")
        .raw(&[253])
        .raw(&[0xff; 4])
        .put("negative", "6")
        .put("never", "7")
        .end();
    let done = import(&rdb);
    done.result.as_ref().unwrap();
    assert_eq!(
        done.keys(),
        "freq=3@1700000000001 idle=4@1700000000001 ms=1@1700000000001 never=7 s=2@2000000000000"
    );
    assert_eq!((done.report.snapshot_keys, done.report.expired), (5, 2));
}

/// Or a value would be back that is older than the one which has expired.
#[test]
fn what_has_expired_deletes_what_the_target_had() {
    let rdb = new().raw(&[252]).raw(&NOW_MS.to_le_bytes()).put("a", "newer").put("b", "2").end();
    let mut memory = made::Memory::at(NOW_MS);
    for key in ["a", "b", "c"] {
        let (key, value) = (key.into(), b"older".to_vec());
        memory.apply(Incoming::Put { key, value, expires_ms: None }).unwrap();
    }
    let done = made::import_rdb_into(memory, &rdb, Databases::One(0), &mut made::go_on);
    assert_eq!(done.keys(), "b=2 c=older");
    assert_eq!((done.report.snapshot_keys, done.report.expired), (1, 1));
}

#[test]
fn an_import_can_be_stopped() {
    let rdb = new().put("a", "1").put("b", "2").end();
    for steps in 0..3 {
        let mut left = steps;
        let mut watch = |_bytes| {
            left -= 1;
            if left < 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let memory = made::Memory::at(NOW_MS);
        let done = made::import_rdb_into(memory, &rdb, Databases::One(0), &mut watch);
        // After the second key, too, it is asked; after the end it is not.
        assert_eq!(done.result.is_ok(), steps == 2, "{steps}");
    }
}

/// A key of each other type between two strings: if one is not skipped as it should be, the second is not found.
#[test]
fn every_other_type_is_stepped_over_and_counted() {
    let s = |rdb: Rdb, count: usize| (0..count).fold(rdb, |rdb, _| rdb.string(b"element"));
    let id = [7; 16];
    let stream = |rdb: Rdb, generation: usize| {
        let rdb = rdb.len(1).string(&id).string(b"listpack");
        let rdb = (0..if generation > 1 { 8 } else { 3 }).fold(rdb, |rdb, n| rdb.len(n << 40));
        let rdb = rdb.len(1).string(b"group").len(1).len(2);
        let rdb = if generation > 1 { rdb.len(3) } else { rdb };
        let rdb = rdb.len(1).raw(&id).raw(&[1; 8]).len(4);
        let rdb = rdb.len(1).string(b"consumer").raw(&[1; 8]);
        let rdb = if generation > 2 { rdb.raw(&[1; 8]) } else { rdb };
        rdb.len(1).raw(&id)
    };
    let module = |rdb: Rdb| {
        let rdb = rdb.len(1 << 60).len(1).len(5).len(2).len(6).len(3).raw(&[1; 4]);
        rdb.len(4).raw(&[1; 8]).len(5).string(b"part").len(0)
    };
    type Make<'a> = Box<dyn Fn(Rdb) -> Rdb + 'a>;
    let plain = |count: u64, strings: usize| -> Make<'_> {
        Box::new(move |rdb| s(rdb.len(count), strings))
    };
    let one = || -> Make<'_> { Box::new(|rdb| rdb.string(b"a compact form")) };
    let cases: Vec<(u8, &str, Make<'_>)> = vec![
        (1, "list", plain(3, 3)),
        (2, "set", plain(3, 3)),
        (
            3,
            "sorted set",
            Box::new(|rdb| {
                let rdb = rdb.len(4).string(b"a").string(b"1.5").string(b"b").raw(&[253]);
                rdb.string(b"c").raw(&[254]).string(b"d").raw(&[255])
            }),
        ),
        (4, "hash", plain(2, 4)),
        (5, "sorted set", Box::new(|rdb| rdb.len(1).string(b"a").raw(&[1; 8]))),
        (7, "value of a module", Box::new(module)),
        (9, "hash", one()),
        (10, "list", one()),
        (11, "set", one()),
        (12, "sorted set", one()),
        (13, "hash", one()),
        (14, "list", plain(2, 2)),
        (15, "stream", Box::new(|rdb| stream(rdb, 1))),
        (16, "hash", one()),
        (17, "sorted set", one()),
        (18, "list", Box::new(|rdb| rdb.len(2).len(1).string(b"plain").len(2).string(b"packed"))),
        (19, "stream", Box::new(|rdb| stream(rdb, 2))),
        (20, "set", one()),
        (21, "stream", Box::new(|rdb| stream(rdb, 3))),
        (22, "hash", Box::new(|rdb| s(rdb.len(1).len(1 << 41), 2))),
        (23, "hash", one()),
        (24, "hash", Box::new(|rdb| s(rdb.raw(&[1; 8]).len(1).len(0), 2))),
        (25, "hash", Box::new(|rdb| rdb.raw(&[1; 8]).string(b"a compact form"))),
    ];
    for (kind, name, make) in cases {
        let rdb = make(new().put("a", "1").raw(&[kind]).string(b"key")).put("b", "2");
        for db in [0, 1] {
            let done = made::import_rdb(&rdb.clone().end(), Databases::One(db));
            done.result.as_ref().unwrap();
            let (keys, others) =
                if db == 0 { ("a=1 b=2", [(name.to_owned(), 1)].into()) } else { ("", [].into()) };
            assert_eq!(
                (done.keys().as_str(), done.report.other_types),
                (keys, others),
                "type {kind}"
            );
        }
    }
}

/// What is 22 for Redis is another thing for Valkey.
#[test]
fn a_number_of_a_type_is_that_of_its_writer() {
    let rdb = Rdb::new("VALKEY080").raw(&[22]).string(b"key").len(1);
    let done = import(&rdb.string(b"field").string(b"value").raw(&[1; 8]).put("b", "2").end());
    done.result.as_ref().unwrap();
    assert_eq!((done.keys().as_str(), done.report.other_types["hash"]), ("b=2", 1));
}

#[test]
fn opcodes_are_stepped_over() {
    let rdb = new()
        .raw(&[250])
        .string(b"redis-ver")
        .string(b"7.4.0")
        .raw(&[250])
        .string(b"ctime")
        .raw(&[0xc2, 1, 2, 3, 4])
        .raw(&[245])
        .string(b"#!lua name=lib")
        .raw(&[247])
        .len(1 << 60)
        .len(2)
        .len(1)
        .len(5)
        .string(b"part")
        .len(0)
        .raw(&[254])
        .len(0)
        .raw(&[251])
        .len(1)
        .len(0)
        .raw(&[244])
        .len(1)
        .len(70_000)
        .len(1)
        .put("a", "1")
        .end();
    let done = import(&rdb);
    done.result.as_ref().unwrap();
    assert_eq!(done.keys(), "a=1");
    let others = [("data of a module".to_owned(), 1), ("function".to_owned(), 1)];
    assert_eq!(done.report.other_types, others.into());
}

#[test]
fn one_database_is_taken_or_all_of_them_behind_their_numbers() {
    let rdb = new().put("a", "0").raw(&[254]).len(1).put("a", "1").put("b", "1").end();
    let check = |databases, keys: &str, others: &[(&str, u64)]| {
        let done = made::import_rdb(&rdb, databases);
        done.result.as_ref().unwrap();
        let others = others.iter().map(|(db, count)| ((*db).to_owned(), *count)).collect();
        assert_eq!((done.keys().as_str(), done.report.other_databases), (keys, others));
    };
    check(Databases::One(0), "a=0", &[("1", 2)]);
    check(Databases::One(1), "a=1 b=1", &[("0", 1)]);
    check(Databases::All, "db0:a=0 db1:a=1 db1:b=1", &[]);
}

#[test]
fn versions_and_their_checksums_are_told_apart() {
    for version in 1..=12 {
        let rdb = Rdb::new(&format!("REDIS{version:04}")).put("a", "1");
        let bytes = if version < 5 { rdb.raw(&[255]).bytes() } else { rdb.end() };
        import(&bytes).result.unwrap();
    }
    let off = new().put("a", "1").raw(&[255]).raw(&[0; 8]).bytes();
    import(&off).result.unwrap();
    let wrong = new().put("a", "1").raw(&[255]).raw(&[1; 8]).bytes();
    let done = import(&wrong);
    assert!(
        done.error()
            .starts_with("damaged: dump.rdb at offset 15: the checksum is 0101010101010101")
    );
    assert_eq!(done.keys(), "a=1");
    for magic in ["REDIS0000", "REDIS0013", "VALKEY079", "VALKEY081"] {
        let error = import(&Rdb::new(magic).end()).error();
        assert!(error.starts_with("not supported: dump.rdb at offset 0: RDB version"), "{error}");
    }
    for magic in ["REDIS00+1", "RABBIT001", "VALKEY08x"] {
        assert!(
            import(&Rdb::new(magic).end()).error().starts_with("damaged: dump.rdb at offset 0")
        );
    }
}

#[test]
fn a_file_cut_anywhere_is_damaged_at_its_end() {
    let rdb = new().put("a", "1").raw(&[2]).string(b"s").len(2).string(b"x").string(b"y").end();
    import(&rdb).result.unwrap();
    for len in 0..rdb.len() {
        let error = import(&rdb[..len]).error();
        assert!(error.ends_with("the file ends too early"), "{len}: {error}");
        assert!(error.starts_with("damaged: dump.rdb at offset"), "{len}: {error}");
    }
}

#[test]
fn what_is_unknown_or_wrong_is_named_with_its_offset() {
    let check = |rdb: Rdb, error: &str| assert_eq!(import(&rdb.end()).error(), error);
    check(new().raw(&[242]), "not supported: dump.rdb at offset 9: opcode 242");
    check(new().raw(&[6]).string(b"k"), "not supported: dump.rdb at offset 9: a value of type 6");
    check(new().raw(&[99]).string(b"k"), "not supported: dump.rdb at offset 9: a value of type 99");
    check(
        Rdb::new("VALKEY080").raw(&[24]).string(b"k"),
        "not supported: dump.rdb at offset 9: a value of type 24",
    );
    check(
        new().raw(&[0]).string(b"k").raw(&[0xc4]),
        "damaged: dump.rdb at offset 12: no string is encoded by 4",
    );
    check(
        new().raw(&[0]).string(b"k").raw(&[0x82]),
        "damaged: dump.rdb at offset 12: no length begins with 0x82",
    );
    check(
        new().raw(&[0]).string(b"k").raw(&[0xc3]).len(2).len(5).raw(&[5, b'a']),
        "damaged: dump.rdb at offset 12: a compressed string does not give what it should",
    );
    check(
        new().raw(&[1]).string(b"k").raw(&[0xc0, 1]),
        "damaged: dump.rdb at offset 12: an encoded string where a length must be",
    );
    check(
        new().raw(&[7]).string(b"k").len(1).len(9),
        "damaged: dump.rdb at offset 13: no part of a module's value is a 9",
    );
}

#[test]
fn a_key_too_long_for_the_store_is_left_out_with_a_notice() {
    let done = import(&new().put(&"k".repeat(65_536), "1").put("b", "2").end());
    done.result.as_ref().unwrap();
    assert_eq!(done.keys(), "b=2");
    assert_eq!(done.report.notices.list[0].offset, Some(9));
    let done = made::import_rdb(&new().put(&"k".repeat(65_535), "1").end(), Databases::All);
    assert_eq!((done.keys().as_str(), done.report.notices.list.len()), ("", 1));
}

#[test]
fn a_length_costs_no_more_than_what_is_there() {
    for len in [1 << 20, 0xffff_fff0, u64::MAX >> 1] {
        let done = import(&new().raw(&[0]).string(b"k").len(len).raw(b"few").bytes());
        assert!(done.error().ends_with("the file ends too early"));
        let done = import(&new().raw(&[4]).string(b"k").len(len).raw(b"\x01a").bytes());
        assert!(done.error().ends_with("the file ends too early"));
    }
}

#[test]
fn dumped_strings_are_checked_and_read() {
    let dump = |value: &[u8]| {
        let mut bytes = value.to_vec();
        bytes.extend([10, 0]);
        let crc = crc64(0, &bytes);
        bytes.extend(crc.to_le_bytes());
        bytes
    };
    let good = dump(&[0, 3, b'a', b'b', b'c']);
    assert_eq!(dumped_string(&good), Dumped::String(b"abc".to_vec()));
    assert_eq!(dumped_string(&dump(&[2, 1, 1, b'a'])), Dumped::OtherType);
    for len in 0..good.len() {
        assert_eq!(dumped_string(&good[..len]), Dumped::Damaged);
    }
    let mut flipped = good;
    flipped[2] ^= 1;
    assert_eq!(dumped_string(&flipped), Dumped::Damaged);
}
