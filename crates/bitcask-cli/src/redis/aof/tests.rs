use super::*;
use crate::redis::Databases;
use crate::redis::made::{self, Done, Rdb, command, commands};

fn import(bytes: &[u8]) -> Done {
    made::import_aof(bytes, Tail::MayBeTorn, Databases::One(0))
}

#[test]
fn commands_follow_a_snapshot_or_stand_alone() {
    let tail = commands("SELECT 0\nAPPEND a 2\nSET b 3");
    let mut bytes = Rdb::new("REDIS0011").put("a", "1").put("c", "4").end();
    bytes.extend(&tail);
    let done = import(&bytes);
    done.result.as_ref().unwrap();
    assert_eq!(done.keys(), "a=12 b=3 c=4");
    assert_eq!((done.report.snapshot_keys, done.report.commands), (2, 2));

    let done = import(&tail);
    done.result.as_ref().unwrap();
    assert_eq!(done.keys(), "a=2 b=3");
    import(b"").result.unwrap();
}

#[test]
fn any_bytes_are_arguments_and_annotations_are_stepped_over() {
    let mut bytes = b"#TS:1700000000\r\n".to_vec();
    bytes.extend(command(&[b"set", b"\r\n*1", b"\0\xff$"]));
    bytes.extend(b"#anything\r\n");
    bytes.extend(command(&[b"Set", b"", b""]));
    let done = import(&bytes);
    done.result.as_ref().unwrap();
    assert_eq!(done.keys(), "= \\r\\n*1=\\x00\\xff$");
}

#[test]
fn a_log_torn_anywhere_gives_what_was_whole_and_says_so() {
    let first = commands("SET a 1");
    let whole = commands("SET a 1\nSET key value");
    for len in 0..=whole.len() {
        let cut = &whole[..len];
        let done = import(cut);
        done.result.as_ref().unwrap();
        let keys = match len {
            _ if len < first.len() => "",
            _ if len < whole.len() => "a=1",
            _ => "a=1 key=value",
        };
        assert_eq!(done.keys(), keys, "{len}");

        let is_torn = ![0, first.len(), whole.len()].contains(&len);
        let begin = if len > first.len() { first.len() } else { 0 };
        let notices = &done.report.notices.list;
        assert_eq!(notices.len(), usize::from(is_torn), "{len}");
        if is_torn {
            assert_eq!(
                (notices[0].place.as_str(), notices[0].offset),
                ("a.aof", Some(begin as u64))
            );
            let bytes = format!("{} bytes were left out", len - begin);
            assert!(notices[0].what.contains(&bytes), "{len}: {}", notices[0].what);
        }
        // Another file was begun after this one.
        let done = made::import_aof(cut, Tail::Whole, Databases::One(0));
        assert_eq!(done.result.is_err(), is_torn, "{len}");
        assert_eq!(done.keys(), keys, "{len}");
    }
}

#[test]
fn a_transaction_is_done_as_a_whole_or_not_at_all() {
    let begun = commands("SET a 1\nMULTI\nSET a 2\nSET b 2\nSELECT 1\nSET c 3\nSELECT 0");
    let mut whole = begun.clone();
    whole.extend(commands("EXEC\nSET d 4"));
    let done = import(&whole);
    done.result.as_ref().unwrap();
    assert_eq!(done.keys(), "a=2 b=2 d=4");
    assert_eq!(done.report.other_databases["1"], 1);

    let done = import(&begun);
    done.result.as_ref().unwrap();
    assert_eq!(done.keys(), "a=1");
    assert_eq!(done.report.notices.list[0].offset, Some(commands("SET a 1").len() as u64));
    assert!(done.report.notices.list[0].what.starts_with("the last transaction is not whole"));
    let done = import(&begun[..begun.len() - 1]);
    assert_eq!((done.keys().as_str(), done.report.notices.list.len()), ("a=1", 1));

    for wrong in ["EXEC", "MULTI\nMULTI"] {
        assert!(import(&commands(wrong)).error().ends_with("MULTI and EXEC are not in pairs"));
    }
}

#[test]
fn damage_is_named_with_its_offset_and_what_was_before_it_stands() {
    let good = commands("SET a 1");
    let at = good.len();
    let check = |bytes: &[u8], offset: usize, what: &str| {
        let mut damaged = good.clone();
        damaged.extend(bytes);
        damaged.extend(&good);
        let done = import(&damaged);
        assert_eq!(done.error(), format!("damaged: a.aof at offset {}: {what}", at + offset));
        assert_eq!(done.keys(), "a=1");
    };
    let no_command = "no command: it must begin with `*` and a count";
    check(b"\0\0\0\0\r\n", 0, no_command);
    check(b"*0\r\n", 0, no_command);
    check(b"*-1\r\n", 0, no_command);
    check(b"*x\r\n", 0, no_command);
    check(b"*2\r\n$3\r\nGETx\r\n", 11, "an argument does not end where its length says");
    let no_argument = "no argument: it must begin with `$` and its length";
    check(b"*2\r\n$3\r\nDEL\r\n+1\r\n", 13, no_argument);
    check(b"*2\r\n$3\r\nDEL\r\n$-1\r\n", 13, no_argument);
    check(b"*1\r\n$0\r\n\r\n", 4, "no command has such a name");
    check(b"*1\r\n$2\r\n\xff\xff\r\n", 4, "no command has such a name");
    check(b"*1\r\n$99\r\n", 4, "no command has a name of 99 bytes");
    check(b"*2\r\n$3\r\nDEL\r\n$4294967296\r\n", 13, "no argument has 4294967296 bytes");
    check(&commands("SELECT x"), 0, "SELECT without a number");
}

#[test]
fn a_snapshot_before_commands_must_be_whole() {
    let rdb = Rdb::new("REDIS0011").put("a", "1").end();
    for len in 9..rdb.len() {
        assert!(import(&rdb[..len]).error().ends_with("the file ends too early"), "{len}");
    }
}

#[test]
fn a_length_costs_no_more_than_what_is_there() {
    for claim in
        ["*9999999999999\r\n$3\r\nDEL\r\n$1\r\na\r\n", "*2\r\n$3\r\nDEL\r\n$4294967295\r\na"]
    {
        let done = import(claim.as_bytes());
        done.result.unwrap();
        assert_eq!(done.report.notices.list.len(), 1);
    }
}
