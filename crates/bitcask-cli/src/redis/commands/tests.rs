use crate::redis::Databases;
use crate::redis::aof::Tail;
use crate::redis::made::{self, Done, Memory, command, commands};

fn import(bytes: &[u8], databases: Databases) -> Done {
    let done = made::import_aof(bytes, Tail::Whole, databases);
    done.result.as_ref().unwrap();
    done
}

/// What commands on database 0 leave behind, without a notice.
fn check(lines: &str, keys: &str) {
    let done = import(&commands(lines), Databases::One(0));
    assert_eq!(done.keys(), keys, "{lines}");
    assert_eq!(done.report.notices.list, [], "{lines}");
}

/// What commands leave behind of which the last is not carried out, and why.
fn refuse(lines: &str, keys: &str, what: &str) {
    let done = import(&commands(lines), Databases::One(0));
    assert_eq!(done.keys(), keys, "{lines}");
    let [notice] = done.report.notices.list.as_slice() else {
        panic!("{lines}: {:?}", done.report.notices.list)
    };
    assert!(notice.what.contains(what), "{lines}: {}", notice.what);
    assert_eq!(done.report.other_commands.len(), 1, "{lines}");
}

#[test]
fn set_and_its_options() {
    check("SET a 1\nset a 2", "a=2");
    check("SET a 1 EX 10", "a=1@1700000010000");
    check("SET a 1 PX 10", "a=1@1700000000010");
    check("SET a 1 EXAT 2000000000", "a=1@2000000000000");
    check("SET a 1 pxat 2000000000001 GET", "a=1@2000000000001");
    check("SET a 1 PXAT 2000000000000\nSET a 2", "a=2");
    check("SET a 1 PXAT 2000000000000\nSET a 2 KEEPTTL", "a=2@2000000000000");
    check("SET a 1 NX\nSET a 2 NX", "a=1");
    check("SET a 1 XX\nSET b 1\nSET b 2 XX", "b=2");
    check("SET a 1\nSET a 2 IFEQ 1 EXAT 2000000000", "a=2@2000000000000");
    check("SETEX a 10 1\nPSETEX b 10 2", "a=1@1700000010000 b=2@1700000000010");
    check("SETNX a 1\nSETNX a 2", "a=1");
    check("MSET a 1 b 2\nMSETNX c 3 a 4\nMSETNX d 5 e 6", "a=1 b=2 d=5 e=6");
    check("SET a 1 PXAT 2000000000000\nGETSET a 2\nSET b 1\nGETDEL b", "a=2");
    let arguments = "its arguments are not understood";
    refuse("SET a", "", arguments);
    refuse("SET a 1 WHAT", "", arguments);
    refuse("SET a 1 EX", "", arguments);
    refuse("SET a 1 EX x", "", arguments);
    refuse("MSET a 1 b", "", arguments);
}

#[test]
fn values_are_changed_in_place_and_keep_their_expiry() {
    check("SET a 1 PXAT 2000000000000\nAPPEND a 2\nAPPEND b 3", "a=12@2000000000000 b=3");
    check("SET a hello PXAT 2000000000000\nSETRANGE a 1 ipp", "a=hippo@2000000000000");
    check("SETRANGE a 2 x", "a=\\x00\\x00x");
    check(
        "SET a 5 PXAT 2000000000000\nINCR a\nINCRBY a 10\nDECR a\nDECRBY a 20",
        "a=-5@2000000000000",
    );
    check("INCR a\nDECR b\nINCRBYFLOAT c 1.5\nINCRBYFLOAT c -0.25", "a=1 b=-1 c=1.25");
    check("SETBIT a 9 1\nSETBIT a 0 1\nSETBIT a 9 0", "a=\\x80\\x00");
    let no_number = "the value is no number, or would grow too large";
    refuse("SET a x\nINCR a", "a=x", no_number);
    refuse("SET a 9223372036854775807\nINCR a", "a=9223372036854775807", no_number);
    refuse("SETRANGE a 536870912 x", "", "longer than 512 MiB");
    refuse("SETBIT a 4294967296 1", "", "longer than 512 MiB");
    refuse("SETRANGE a -1 x", "", "its arguments are not understood");
    refuse("DECRBY a -9223372036854775808", "", "its arguments are not understood");
}

#[test]
fn expiry_is_set_and_taken_away() {
    check("SET a 1\nEXPIRE a 10", "a=1@1700000010000");
    check("SET a 1\nPEXPIRE a 10", "a=1@1700000000010");
    check("SET a 1\nEXPIREAT a 2000000000", "a=1@2000000000000");
    check("SET a 1\nPEXPIREAT a 2000000000001", "a=1@2000000000001");
    check("SET a 1 EX 10\nPERSIST a", "a=1");
    check(
        "SET a 1 EX 10\nGETEX a PERSIST\nSET b 1\nGETEX b EX 10\nGETEX b",
        "a=1 b=1@1700000010000",
    );
    check("SET a 1 EX 10\nEXPIRE a 5 GT\nEXPIRE a 20 NX", "a=1@1700000010000");
    check(
        "SET a 1 EX 10\nEXPIRE a 20 GT\nSET b 1\nEXPIRE b 5 XX\nEXPIRE b 5 GT",
        "a=1@1700000020000 b=1",
    );
    // Of a key that is no string.
    check("EXPIRE list 10\nPERSIST list", "");
}

#[test]
fn what_had_expired_by_now_was_alive_while_the_log_went_on() {
    let done = import(&commands("SET a 1 PXAT 5\nINCR a\nSET b 1"), Databases::One(0));
    assert_eq!((done.keys().as_str(), done.report.expired), ("b=1", 1));
    check("SET a 1 PXAT 5\nINCR a\nPERSIST a", "a=2");
    check("SET a 1 PXAT 5\nPEXPIREAT a 2000000000000", "a=1@2000000000000");
    check("SET a 1 PXAT 5\nRENAME a b\nPERSIST b", "b=1");
    check("SET a 1 PXAT 5\nCOPY a b\nPERSIST b", "b=1");
    check("SET a 1 PXAT 5\nDEL a\nSET a 2", "a=2");
    check("SET a 1 PXAT 5\nFLUSHALL\nAPPEND a 2", "a=2");
    check("SET a 1\nEXPIREAT a -5\nPERSIST a", "a=1");
}

/// The clock of the target is ahead of the import's, as after an hour of it.
#[test]
fn what_expires_while_the_import_goes_on_stays_until_the_log_has_ended() {
    let check = |lines: &str, keys: &str| {
        let later = Memory::at(made::NOW_MS + 3_600_000);
        let lines = lines.replace("SOON", &(made::NOW_MS + 1000).to_string());
        let lines = commands(&lines);
        let done =
            made::import_aof_into(later, &lines, Tail::Whole, Databases::One(0), &mut made::go_on);
        done.result.as_ref().unwrap();
        assert_eq!(done.keys(), keys, "{lines:?}");
    };
    check("SET a 5 PXAT SOON\nINCR a\nPERSIST a", "a=6");
    check("SET a 5 PXAT SOON\nAPPEND a 2\nPEXPIREAT a 2000000000000", "a=52@2000000000000");
    check("SET a 5\nPEXPIREAT a SOON\nRENAME a b\nSET b 6 KEEPTTL", "b=6@1700000001000");
    check("SET a 5 PXAT SOON\nSET a 6 NX", "a=5@1700000001000");
}

#[test]
fn what_is_held_has_gone_when_the_import_ends_early() {
    let mut bytes = commands("SET a 1 PXAT 5\nSET b 1");
    bytes.extend(b"damage\r\n");
    let done = made::import_aof(&bytes, Tail::Whole, Databases::One(0));
    assert!(done.result.is_err());
    assert_eq!(done.keys(), "b=1");
}

#[test]
fn keys_are_deleted_renamed_and_copied() {
    check("MSET a 1 b 2 c 3 d 4\nDEL a x\nUNLINK b c", "d=4");
    check("MSET a 1 b 2\nDELIFEQ a 1\nDELEX b IFEQ 2", "");
    check("SET a 1 EX 10\nSET b 2\nRENAME a b", "b=1@1700000010000");
    check("SET a 1\nRENAME a a\nSET b 2\nRENAMENX a b\nRENAMENX a c", "b=2 c=1");
    check(
        "SET a 1 EX 10\nCOPY a b\nSET c 2\nCOPY c b\nCOPY c d REPLACE",
        "a=1@1700000010000 b=1@1700000010000 c=2 d=2",
    );
    // Of a key that is no string: a string is not under the new name either, any more.
    check("SET a 1\nSET b 2\nRENAME list a\nCOPY list b REPLACE", "");
}

#[test]
fn databases_are_kept_apart() {
    let lines =
        "SET a 0\nSET b 0\nSELECT 1\nSET a 1\nSET c 1\nMOVE c 0\nCOPY a d DB 0\nSELECT 0\nMOVE b 1";
    let done = import(&commands(lines), Databases::All);
    assert_eq!(done.keys(), "db0:a=0 db0:c=1 db0:d=1 db1:a=1 db1:b=0");
    let flushed = format!("{lines}\nFLUSHDB");
    assert_eq!(import(&commands(&flushed), Databases::All).keys(), "db1:a=1 db1:b=0");
    let flushed = format!("{lines}\nFLUSHALL ASYNC");
    assert_eq!(import(&commands(&flushed), Databases::All).keys(), "");

    // The values that came from another database are not known.
    let done = import(&commands(lines), Databases::One(0));
    assert_eq!(done.keys(), "a=0");
    assert_eq!(done.report.notices.list.len(), 2);
    assert_eq!(done.report.other_databases["1"], 4);
    let other = "SET a 0\nSELECT 1\nFLUSHDB\nDEL a\nSWAPDB 1 2";
    assert_eq!(import(&commands(other), Databases::One(0)).keys(), "a=0");

    let done = made::import_aof(&commands("SET a 0\nSWAPDB 0 1"), Tail::Whole, Databases::One(0));
    assert!(done.error().starts_with("not supported: a.aof at offset 27: SWAPDB"));
}

#[test]
fn commands_on_other_types_are_counted_by_name() {
    let done =
        import(&commands("RPUSH l a b\nlpush l c\nRPUSH l d\nPUBLISH c m"), Databases::One(0));
    let counts = [("LPUSH", 1), ("PUBLISH", 1), ("RPUSH", 2)];
    let counts = counts.map(|(name, count)| (name.to_owned(), count));
    assert_eq!(done.report.other_commands, counts.into());
    assert_eq!((done.report.commands, done.report.notices.list.len()), (0, 0));
}

#[test]
fn a_string_that_became_something_else_is_not_kept() {
    check("SET a 1\nSUNIONSTORE a s t", "");
    check("SET a 1\nSORT list ALPHA STORE a", "");
    check("SET a 1\nSORT a BY a", "a=1");
    let unknown = "its result is a string that is not worked out; the key was deleted";
    refuse("SET a 1\nSET b 2\nBITOP AND a b b", "b=2", unknown);
    refuse("SET a 1\nBITFIELD a SET u8 0 1", "", unknown);
    refuse("PFADD a x", "", unknown);
    refuse("SET a 1\nEVAL script 1 a", "a=1", "it is a script");
}

#[test]
fn restored_values_are_read() {
    // As redis-cli gives it: DUMP of 10, by Redis 7.0.
    let dump = b"\x00\xc0\x0a\x0a\x00\x00\x00\x00\x00\x00\x00\x00\x00";
    let restore = |args: &[&[u8]]| {
        let args = [&[b"RESTORE".as_slice(), b"a"], args].concat();
        import(&command(&args), Databases::One(0)).keys()
    };
    assert_eq!(restore(&[b"0", dump]), "a=10");
    assert_eq!(restore(&[b"5", dump, b"REPLACE"]), "a=10@1700000000005");
    assert_eq!(restore(&[b"2000000000000", dump, b"absttl"]), "a=10@2000000000000");
    refuse("SET a 1\nRESTORE a 0 damaged", "", "the value in it is damaged");
}
