//! Values that come from a reader and go out through one.
#![expect(clippy::unwrap_used, reason = "tests panic, and say what they did")]

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

use bitcask::fs::sim::{SimClock, SimFs};
use bitcask::{Bitcask, ErrorKind, IoMode, Options};

use crate::crash::{Rng, seeds};

const LONG: u64 = (1 << 20) + 4321;

fn options(fs: &SimFs, io: IoMode) -> Options {
    let options = Options::new().on(Arc::new(fs.clone()), Arc::new(SimClock::new(0)));
    options.without_threads().shard_bits(1).io(io).max_file_size(4 << 20)
}

fn value(seed: u64, len: u64) -> Vec<u8> {
    Rng::new(seed).bytes(usize::try_from(len).unwrap())
}

/// Gives little at a time, and is interrupted now and then.
struct Hesitant<'a>(&'a [u8], u32);

impl Read for Hesitant<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.1 += 1;
        if self.1.is_multiple_of(5) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let n = buf.len().min(100_000);
        self.0.read(&mut buf[..n])
    }
}

fn read(db: &Bitcask, key: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    db.get_reader(key).unwrap().unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn a_streamed_value_is_a_value_like_any_other() {
    for io in [IoMode::Mapped, IoMode::Plain] {
        let fs = SimFs::new(1);
        fs.set_short_io(3);
        let mut db = options(&fs, io).open("/db").unwrap();
        db.put(b"before", b"1").unwrap();
        for (n, len) in [0, 1, 1 << 20, LONG, LONG + 1, LONG + 2, LONG + 3].into_iter().enumerate()
        {
            let (key, value) = (format!("k{n}"), value(n as u64, len));
            db.put_reader(key.as_bytes(), len, Hesitant(&value, 0)).unwrap();
            db.put(b"after", key.as_bytes()).unwrap();
            assert_eq!(db.get(key.as_bytes()).unwrap().unwrap(), value);
        }
        db.put(b"plain", &value(9, 300)).unwrap();
        assert_eq!(read(&db, b"plain"), value(9, 300));
        assert!(db.get_reader(b"none").unwrap().is_none());
        // Over what was there; with an expiry; merged; opened again.
        db.put_reader(b"k3", LONG, &value(33, LONG)[..]).unwrap();
        db.put_reader_with(b"k4", LONG, &value(44, LONG)[..], std::time::Duration::from_secs(9))
            .unwrap();
        assert!(matches!(db.expires_at(b"k4").unwrap(), Some(bitcask::Expiry::At(_))));
        for round in 0..3 {
            assert_eq!(read(&db, b"k3"), value(33, LONG));
            assert_eq!(read(&db, b"k4"), value(44, LONG));
            assert_eq!(read(&db, b"k5"), value(5, LONG + 2));
            assert_eq!(db.get(b"after").unwrap().unwrap(), "k6");
            assert_eq!(db.len().unwrap(), 10);
            if round == 0 {
                let mut reader = db.get_reader(b"k3").unwrap().unwrap();
                assert!(db.merge().unwrap().files_removed > 0);
                // Its file is gone; it reads on.
                let mut rest = Vec::new();
                reader.read_to_end(&mut rest).unwrap();
                assert_eq!(rest, value(33, LONG));
            } else {
                db.close().unwrap();
                db = options(&fs, io).open("/db").unwrap();
                assert_eq!(db.recovery().cut, None);
            }
        }
    }
}

#[test]
fn a_reader_of_a_value_goes_anywhere_in_it() {
    let db = options(&SimFs::new(2), IoMode::Mapped).open("/db").unwrap();
    let value = value(1, LONG);
    db.put_reader(b"k", LONG, &value[..]).unwrap();
    let mut reader = db.get_reader(b"k").unwrap().unwrap();
    assert_eq!((reader.len(), reader.is_empty()), (LONG, false));
    for position in [0, 17, LONG - 3, LONG, LONG + 10] {
        assert_eq!(reader.seek(SeekFrom::Start(position)).unwrap(), position);
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        let from = usize::try_from(position.min(LONG)).unwrap();
        assert_eq!(bytes, value[from..]);
    }
    assert_eq!(reader.seek(SeekFrom::End(-1)).unwrap(), LONG - 1);
    assert!(reader.seek(SeekFrom::Current(-(1 << 40))).is_err());
}

#[test]
fn a_reader_that_fails_changes_nothing() {
    struct Failing(u64);
    impl Read for Failing {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let n = buf.len().min(usize::try_from(self.0).unwrap());
            self.0 -= n as u64;
            if n == 0 { Err(io::Error::other("the line went dead")) } else { Ok(n) }
        }
    }
    let fs = SimFs::new(3);
    let db = options(&fs, IoMode::Mapped).open("/db").unwrap();
    db.put(b"k", b"old").unwrap();
    let before = (fs.file_names("/db"), db.seq().unwrap());
    for len in [100, LONG] {
        let error = db.put_reader(b"k", len, &vec![0; 99][..]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error:?}");
        let error = db.put_reader(b"k", len, Failing(99)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io, "{error:?}");
        assert!(format!("{error:?}").contains("the line went dead"));
    }
    assert_eq!(db.put_reader(b"k", 1 << 32, io::empty()).unwrap_err().kind(), ErrorKind::Invalid);
    fs.set_capacity(3 << 20);
    let error = db.put_reader(b"k", 2 << 20, io::repeat(0)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full, "{error:?}");
    assert_eq!((fs.file_names("/db"), db.seq().unwrap()), before);
    assert_eq!(db.get(b"k").unwrap().unwrap(), "old");
}

#[test]
fn damage_to_a_streamed_value_is_told_before_a_byte_of_it_is_given() {
    for io in [IoMode::Mapped, IoMode::Plain] {
        let fs = SimFs::new(4);
        let db = options(&fs, io).open("/db").unwrap();
        db.put_reader(b"k", LONG, &value(1, LONG)[..]).unwrap();
        let path = db.stats().unwrap().files[0].path.clone();
        db.close().unwrap();
        let len = fs.read_file(&path).len() as u64;
        for byte in [64, len / 2, 64 + 28 + LONG] {
            fs.flip_bit(&path, byte, 3);
            let db = options(&fs, io).open("/db").unwrap();
            assert_eq!(db.get_reader(b"k").unwrap_err().kind(), ErrorKind::Corrupt, "byte {byte}");
            drop(db);
            fs.flip_bit(&path, byte, 3);
        }
    }
}

/// The power goes, or the process dies, at every operation of storing one value over another.
#[test]
fn a_crash_at_any_operation_leaves_the_old_value_or_the_new_one() {
    let (mut states, mut new) = (0, 0);
    for seed in seeds(45_000_000, 2) {
        println!("SEED={seed}");
        let io = if seed % 2 == 0 { IoMode::Mapped } else { IoMode::Plain };
        let (old, wanted) = (value(seed, LONG), value(seed + 1, LONG + 1));
        for op in 0.. {
            let fs = SimFs::new(seed);
            let db = options(&fs, io).open("/db").unwrap();
            db.put_reader(b"k", LONG, &old[..]).unwrap();
            db.put(b"other", b"1").unwrap();
            db.sync().unwrap();
            fs.set_crash_point(fs.op_count() + op);
            let stored = db.put_reader(b"k", LONG + 1, &wanted[..]).and_then(|()| db.sync());
            for image in [fs.kill(), fs.crash(0), fs.crash(1), fs.crash(seed + op)] {
                let db = options(&image, io).open("/db").unwrap();
                let found = read(&db, b"k");
                assert!(found == wanted || found == old && stored.is_err(), "operation {op}");
                assert_eq!(db.get(b"other").unwrap().unwrap(), "1");
                states += 1;
                new += u32::from(found == wanted);
            }
            if stored.is_ok() {
                break;
            }
        }
    }
    assert!(new > 0 && new < states);
    println!("crash states: {states} (streams)");
}
