//! A client of the store who does things at random and takes down what came of it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use bitcask::{Bitcask, ErrorKind, Result, Transaction, WriteBatch};

use super::operation::{Key, Operation, Recorder, Seen, bytes_of, value_of};

pub(crate) struct Client<'a> {
    pub(crate) db: &'a Bitcask,
    pub(crate) recorder: &'a Recorder,
    pub(crate) number: usize,
    /// Few, so that clients meet.
    pub(crate) keys: &'a [Key],
    /// Whether the store knows the order of keys.
    pub(crate) ordered: bool,
    /// Bytes in a value.
    pub(crate) value_len: usize,
    /// A number below another.
    pub(crate) random: &'a mut dyn FnMut(usize) -> usize,
    /// Lets others run.
    pub(crate) pause: fn(),
}

fn name(key: Key) -> [u8; 1] {
    [u8::try_from(key).expect("keys are ASCII")]
}

fn seen(bytes: Option<impl AsRef<[u8]>>) -> Seen {
    bytes.map(|bytes| value_of(bytes.as_ref()))
}

/// What a transaction has read and written so far, in this run of it.
#[derive(Default)]
struct Notes {
    reads: Vec<(Key, Seen)>,
    writes: Vec<(Key, Seen)>,
}

impl Notes {
    fn own(&self, key: Key) -> Option<Seen> {
        self.writes.iter().find(|(other, _)| *other == key).map(|&(_, seen)| seen)
    }

    /// What was read is either its own, or somebody else's.
    fn read(&mut self, key: Key, seen: Seen) {
        match self.own(key) {
            Some(own) => assert_eq!(seen, own, "a transaction sees its own changes"),
            None => self.reads.push((key, seen)),
        }
    }

    fn wrote(&mut self, key: Key, seen: Seen) {
        self.writes.retain(|(other, _)| *other != key);
        self.writes.push((key, seen));
    }
}

impl Client<'_> {
    fn below(&mut self, limit: usize) -> usize {
        (self.random)(limit)
    }

    fn key(&mut self) -> Key {
        self.keys[self.below(self.keys.len())]
    }

    fn pause(&mut self) {
        if self.below(3) == 0 {
            (self.pause)();
        }
    }

    fn record(&self, what: &str, begun: u64, notes: Notes) {
        let name = format!("{what} {begun} of client {}", self.number);
        let (done, Notes { reads, writes }) = (self.recorder.now(), notes);
        self.recorder.record(Operation { name, begun, done, reads, writes });
    }

    /// Who deletes writes something, too: the log does not tell who deleted.
    fn receipt(&self) -> Key {
        char::from_digit(u32::try_from(self.number).unwrap_or(0), 36)
            .expect("there are few clients")
    }

    /// Does one thing.
    pub(crate) fn step(&mut self) {
        match self.below(20) {
            0..9 => self.transaction(),
            9..12 => self.reading_transaction(),
            12 => self.put(),
            13 => self.batch(),
            14 => self.get(),
            15..17 => self.update(),
            17 => self.exchange(),
            _ => self.snapshot(),
        }
    }

    /// Reads and writes several keys; sometimes it is given up.
    pub(crate) fn transaction(&mut self) {
        let (recorder, value_len) = (self.recorder, self.value_len);
        let steps = 1 + self.below(4);
        let mut notes = Notes::default();
        let begun = recorder.now();
        let db = self.db;
        let done = db.transaction(|tx| -> Result<bool> {
            notes = Notes::default();
            for _ in 0..steps {
                let key = self.key();
                self.step_of(tx, key, &mut notes)?;
                self.pause();
            }
            let puts = notes.writes.iter().any(|(_, seen)| seen.is_some());
            if !notes.writes.is_empty() && !puts {
                let (key, value) = (self.receipt(), recorder.new_value());
                tx.put(name(key), bytes_of(value, value_len))?;
                notes.wrote(key, Some(value));
            }
            match self.below(10) {
                0 => tx.put(vec![b'x'; 1 << 17], "too long").map(|()| true),
                _ => Ok(true),
            }
        });
        match done {
            Ok(_) => self.record("transaction", begun, notes),
            Err(e) => {
                assert!(matches!(e.kind(), ErrorKind::Invalid | ErrorKind::Conflict), "{e:?}");
            }
        }
    }

    fn step_of(&mut self, tx: &mut Transaction<'_>, key: Key, notes: &mut Notes) -> Result<()> {
        let choice = self.below(9);
        match choice {
            8 if self.ordered => {
                let end = self.key();
                let entries = tx.range(&name('a')[..]..=&name(end)[..])?;
                for &key in self.keys.iter().filter(|&&key| key <= end) {
                    let entry = entries.iter().find(|(other, _)| *other == name(key));
                    notes.read(key, seen(entry.map(|(_, value)| value)));
                }
            }
            0 | 1 => notes.read(key, seen(tx.get(&name(key))?)),
            2 => {
                if !tx.contains(&name(key))? {
                    notes.read(key, None);
                }
            }
            3 => {
                let keys = [key, self.key()];
                let values = tx.get_many(&keys.map(name))?;
                keys.iter().zip(values).for_each(|(&key, value)| notes.read(key, seen(value)));
            }
            4 => {
                tx.delete(name(key))?;
                notes.wrote(key, None);
            }
            _ => {
                if choice > 5 {
                    notes.read(key, seen(tx.get(&name(key))?));
                }
                let value = self.recorder.new_value();
                tx.put(name(key), bytes_of(value, self.value_len))?;
                notes.wrote(key, Some(value));
            }
        }
        Ok(())
    }

    fn reading_transaction(&mut self) {
        let begun = self.recorder.now();
        let mut notes = Notes::default();
        let db = self.db;
        let done = db.transaction(|tx| -> Result<()> {
            notes = Notes::default();
            for _ in 0..6 {
                let key = self.key();
                notes.read(key, seen(tx.get(&name(key))?));
                self.pause();
            }
            Ok(())
        });
        done.expect("who only reads meets no conflict");
        self.record("reading transaction", begun, notes);
    }

    pub(crate) fn put(&mut self) {
        let (key, value) = (self.key(), self.recorder.new_value());
        let begun = self.recorder.now();
        self.db.put(&name(key), &bytes_of(value, self.value_len)).unwrap();
        self.record("put", begun, Notes { reads: Vec::new(), writes: vec![(key, Some(value))] });
    }

    pub(crate) fn batch(&mut self) {
        let mut notes = Notes::default();
        let (gone, value) = (self.key(), self.recorder.new_value());
        notes.wrote(gone, None);
        let put = [self.key(), self.receipt()].into_iter().find(|&key| key != gone);
        notes.wrote(put.expect("a receipt is no key"), Some(value));
        let mut batch = WriteBatch::new();
        for &(key, value) in &notes.writes {
            match value {
                Some(value) => batch.put(name(key), bytes_of(value, self.value_len)),
                None => batch.delete(name(key)),
            };
        }
        let begun = self.recorder.now();
        self.db.write(&batch).unwrap();
        self.record("batch", begun, notes);
    }

    fn get(&mut self) {
        let key = self.key();
        let begun = self.recorder.now();
        let reads = vec![(key, seen(self.db.get(&name(key)).unwrap()))];
        self.record("get", begun, Notes { reads, writes: Vec::new() });
    }

    fn update(&mut self) {
        let key = self.key();
        let begun = self.recorder.now();
        let mut notes = Notes::default();
        let db = self.db;
        db.update(&name(key), |old| {
            let value = self.recorder.new_value();
            notes = Notes { reads: vec![(key, seen(old))], writes: vec![(key, Some(value))] };
            self.pause();
            Some(bytes_of(value, self.value_len))
        })
        .unwrap();
        self.record("update", begun, notes);
    }

    fn exchange(&mut self) {
        let (key, value) = (self.key(), self.recorder.new_value());
        let begun = self.recorder.now();
        let old = self.db.get_and_set(&name(key), &bytes_of(value, self.value_len)).unwrap();
        let (reads, writes) = (vec![(key, seen(old))], vec![(key, Some(value))]);
        self.record("exchange", begun, Notes { reads, writes });
    }

    /// Its moment is when it was taken. All that it shows, key by key, together and by iteration, at once and later, must
    /// be of this moment.
    pub(crate) fn snapshot(&mut self) {
        let begun = self.recorder.now();
        let snapshot = self.db.snapshot().unwrap();
        let done = self.recorder.now();
        let mut reads = Vec::new();
        for _ in 0..2 {
            for &key in self.keys {
                reads.push((key, seen(snapshot.get(&name(key)).unwrap())));
                self.pause();
            }
            let names: Vec<_> = self.keys.iter().copied().map(name).collect();
            let values = snapshot.get_many(&names).unwrap();
            reads.extend(self.keys.iter().copied().zip(values.into_iter().map(seen)));
            let met: Vec<_> = snapshot.iter().map(Result::unwrap).collect();
            assert_eq!(met.len() as u64, snapshot.len());
            for &key in self.keys {
                let value = met.iter().find(|(other, _)| *other == name(key));
                reads.push((key, seen(value.map(|(_, value)| value))));
            }
        }
        let name = format!("snapshot {begun} of client {}", self.number);
        self.recorder.record(Operation { name, begun, done, reads, writes: Vec::new() });
    }
}
