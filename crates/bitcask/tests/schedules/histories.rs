//! Small histories of clients that do things at random, under the scheduler: each is as if one operation ran after
//! another.

use std::mem::ManuallyDrop;
use std::path::Path;
use std::sync::Arc;

use bitcask::fs::sim::{SimClock, SimFs};
use bitcask::{Bitcask, Index, MergePolicy, Options};
use shuttle::rand::{Rng, thread_rng};
use shuttle::thread::{self, JoinHandle};

use crate::history::checker::check;
use crate::history::client::Client;
use crate::history::log::KeepingFs;
use crate::history::operation::Recorder;
use crate::{DIR, FILE_SIZE, SwitchingFs, VALUE_LEN, explore, join};

const KEYS: [char; 2] = ['a', 'b'];

/// A store of which everything is taken down.
struct Records {
    recorder: Recorder,
    fs: KeepingFs,
    db: Option<Bitcask>,
    ordered: bool,
}

impl Drop for Records {
    fn drop(&mut self) {
        let db = self.db.take();
        if std::thread::panicking() {
            // Closing would wait for threads that never run again.
            let _leaked = ManuallyDrop::new(db);
        }
    }
}

impl Records {
    /// A store with a few files.
    fn new() -> Arc<Self> {
        let sim = SimFs::new(0);
        sim.set_write_back(0);
        sim.set_reserves_blocks(thread_rng().r#gen());
        let ordered = thread_rng().r#gen();
        let fs = KeepingFs::new(Arc::new(SwitchingFs::new(sim)));
        let db = Options::new()
            .without_threads()
            .shard_bits(1)
            .index(if ordered { Index::Ordered } else { Index::Hash })
            .hash_mask(if thread_rng().r#gen() { u64::MAX } else { 0 })
            .max_file_size(FILE_SIZE)
            .merge(MergePolicy { background: false, ..MergePolicy::default() })
            .on(Arc::new(fs.clone()), Arc::new(SimClock::new(1_000_000)))
            .open(DIR)
            .unwrap();
        let records = Self { recorder: Recorder::default(), fs, db: Some(db), ordered };
        records.with_client(0, |client| (0..4).for_each(|_| client.put()));
        records.db().tick().unwrap();
        Arc::new(records)
    }

    fn db(&self) -> &Bitcask {
        self.db.as_ref().expect("it is there until all is checked")
    }

    fn with_client(&self, number: usize, work: impl FnOnce(&mut Client<'_>)) {
        work(&mut Client {
            db: self.db(),
            recorder: &self.recorder,
            number,
            keys: &KEYS,
            ordered: self.ordered,
            value_len: VALUE_LEN,
            random: &mut |limit| thread_rng().gen_range(0..limit),
            pause: thread::yield_now,
        });
    }

    fn check(&self) {
        assert!(self.db().stats().unwrap().snapshots.is_empty());
        self.db().close().unwrap();
        if let Err(told) = check(&self.recorder.operations(), &self.fs.log(Path::new(DIR))) {
            panic!("{told}");
        }
    }
}

/// Starts a client that does `work` so many times.
fn client(
    records: &Arc<Records>,
    number: usize,
    times: usize,
    work: impl Fn(&mut Client<'_>) + Send + 'static,
) -> JoinHandle<()> {
    let records = records.clone();
    thread::spawn(move || {
        records.with_client(number, |client| (0..times).for_each(|_| work(client)));
    })
}

fn merger(records: &Arc<Records>) -> JoinHandle<()> {
    let records = records.clone();
    thread::spawn(move || assert!(records.db().merge().is_ok()))
}

fn transactions() {
    let records = Records::new();
    let mut threads = vec![
        client(&records, 1, 2, |client| client.transaction()),
        client(&records, 2, 1, |client| client.transaction()),
    ];
    if thread_rng().r#gen() {
        threads.push(client(&records, 3, 1, |client| client.transaction()));
    }
    join(threads);
    records.check();
}

#[test]
fn transactions_are_as_if_one_ran_after_another() {
    explore(1200, transactions);
}

fn snapshots_during_writes_and_merges() {
    let records = Records::new();
    join([
        client(&records, 1, 2, |client| client.snapshot()),
        client(&records, 2, 4, |client| match thread_rng().gen_range(0..3) {
            0 => client.put(),
            1 => client.batch(),
            _ => client.transaction(),
        }),
        merger(&records),
    ]);
    records.check();
}

#[test]
fn a_snapshot_during_writes_and_merges_is_one_moment() {
    explore(1200, snapshots_during_writes_and_merges);
}

fn everything() {
    let records = Records::new();
    join([
        client(&records, 1, 3, |client| client.step()),
        client(&records, 2, 3, |client| client.step()),
        merger(&records),
    ]);
    records.check();
}

#[test]
fn whatever_clients_do_is_as_if_one_did_it_after_another() {
    explore(1200, everything);
}
