//! Repair saves what is intact, brings nothing back, and can be interrupted.

use super::*;

/// What must come of a repair.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted {
    contents: Contents,
    stale: Vec<Vec<u8>>,
    deleted: Vec<Vec<u8>>,
    lost: usize,
}

/// Whether anything tells the seed of a file, as it is now.
fn tells_seed(file: &DataFile, fate: &Fate<'_>) -> bool {
    let now = fate.now;
    let header_bytes = |bytes: &[u8]| bytes.get(..HEADER_LEN).map(<[u8]>::to_vec);
    let one_byte = header_bytes(now).zip(header_bytes(fate.was)).is_some_and(|(now, was)| {
        now.iter().zip(&was).filter(|(now, was)| now != was).count() <= 1
    });
    let mark = |rec: &Rec| rec.has_seed && fate.is_intact(rec.bytes.clone());
    let any = |rec: &Rec| fate.is_intact(rec.bytes.clone());
    let by_hint = fate.hint.is_some();
    one_byte
        || file.records.iter().any(mark)
        || (fate.tells_seed() || by_hint) && file.records.iter().any(any)
}

impl Store {
    /// What must be there after a repair that had to be made.
    fn wanted(&self, now: &Image) -> Wanted {
        let changes: BTreeMap<u64, (&[u8], Option<&[u8]>)> = self
            .history
            .iter()
            .flatten()
            .map(|(seq, key, value)| (*seq, (&**key, value.as_deref())))
            .collect();
        let mut left = BTreeMap::<&[u8], (u64, Option<&[u8]>)>::new();
        let mut lost = BTreeMap::<&[u8], (u64, bool)>::new();
        let mut wanted = Wanted::default();
        for file in &self.files {
            let gone = Arc::new(Vec::new());
            let mut with_file = now.clone();
            let is_there = with_file.contains_key(&file.name);
            with_file.entry(file.name.clone()).or_insert(gone);
            let fate = Fate::of(file, &self.image, &with_file);
            let seed = is_there && tells_seed(file, &fate);
            let hint = fate.hint.as_ref().filter(|hint| is_there && hint.sound && hint.of_seed);
            for rec in file.records.iter().filter(|rec| rec.flags & (VALUE | TOMBSTONE) != 0) {
                let (key, value) = changes[&rec.seq];
                if seed && fate.is_intact(rec.bytes.clone()) {
                    let newest = left.entry(key).or_insert((rec.seq, value));
                    *newest = (*newest).max((rec.seq, value));
                    continue;
                }
                wanted.lost += 1;
                if hint.is_some_and(|hint| (rec.bytes.start as u64) < hint.covered) {
                    let newest = lost.entry(key).or_insert((rec.seq, value.is_none()));
                    *newest = (*newest).max((rec.seq, value.is_none()));
                }
            }
        }
        for (key, (seq, value)) in left {
            let Some(value) = value else { continue };
            match lost.get(key) {
                Some(&(lost, true)) if lost > seq => {
                    wanted.deleted.push(key.to_vec());
                    continue;
                }
                Some(&(lost, false)) if lost > seq => wanted.stale.push(key.to_vec()),
                _ => {}
            }
            wanted.contents.insert(key.to_vec(), value.to_vec());
        }
        wanted
    }

    /// What one file is damaged to.
    fn with(&self, name: &str, bytes: Vec<u8>) -> Image {
        let mut image = self.image.clone();
        image.insert(name.to_owned(), Arc::new(bytes));
        image
    }

    fn record_of(&self, wanted: impl Fn(&Rec) -> bool) -> (&DataFile, &Rec) {
        let found = self.files.iter().find_map(|file| {
            let mut records = file.records.iter();
            records.find(|rec| wanted(rec)).map(|rec| (file, rec))
        });
        found.unwrap()
    }

    /// One bit of the last byte of the header of a record is flipped.
    fn flipped(&self, (file, rec): (&DataFile, &Rec)) -> Image {
        let mut bytes = self.image[&file.name].to_vec();
        bytes[rec.bytes.start + RECORD_HEADER_LEN - 1] ^= 4;
        self.with(&file.name, bytes)
    }
}

/// The number of a key's last change.
fn last_change(store: &Store, key: &[u8]) -> u64 {
    let changes = store.history.iter().flatten();
    changes.filter(|change| change.1 == key).map(|change| change.0).max().unwrap()
}

fn repaired(fs: &SimFs) -> RepairReport {
    options(fs).repair(DIR).unwrap()
}

/// After a repair that changed something: all that was there is there or in quarantine, the store opens, holds
/// what it should, is clean, and stays so.
fn check_repaired(fs: &SimFs, now: &Image, wanted: &Contents) -> Result<(), String> {
    let after = whole_image(fs);
    for (name, bytes) in now {
        let moved = after.iter().any(|(at, there)| {
            at.starts_with("quarantine/") && at.contains(&**name) && there == bytes
        });
        if after.get(name) != Some(bytes) && !moved {
            return Err(format!("{name} is neither there nor in quarantine"));
        }
    }
    if after.keys().any(|name| name.ends_with(".tmp")) {
        return Err("a temporary file is left".into());
    }
    let report = options(fs).repair(DIR).map_err(|e| format!("a second repair: {e:?}"))?;
    if !report.is_clean() || whole_image(fs) != after {
        return Err(format!("a second repair does something: {report:?}"));
    }
    let opened = options(fs).create_if_missing(false).open(DIR);
    let db = opened.map_err(|e| format!("does not open: {e:?}"))?;
    if let Some(cut) = &db.recovery().cut {
        return Err(format!("the log is cut: {cut:?}"));
    }
    let contents = contents_of(&db);
    if contents != *wanted {
        let right = |(key, value): &(&Vec<u8>, &Vec<u8>)| wanted.get(*key) == Some(*value);
        let wrong: Vec<_> = contents.iter().filter(|pair| !right(pair)).map(|p| p.0).collect();
        let missing: Vec<_> = wanted.keys().filter(|key| !contents.contains_key(*key)).collect();
        return Err(format!("wrong: {wrong:?}, missing: {missing:?}"));
    }
    let report = db.verify().map_err(|e| format!("{e:?}"))?;
    if !report.is_clean() {
        return Err(format!("not clean: {report:?}"));
    }
    Ok(())
}

fn check(store: &Store, now: &Image) -> Result<bool, String> {
    let fs = disk_of(now);
    let report = options(&fs).repair(DIR).map_err(|e| format!("failed: {e:?}"))?;
    let expectation = store.expect(now);
    if report.is_clean() {
        let state = store.state(expectation.ops);
        let unreadable = state.values().any(|(seq, _)| expectation.unreadable.contains(seq));
        if expectation.refused || unreadable {
            return Err(format!("nothing was repaired; {expectation:?}"));
        }
        if whole_image(&fs) != *now {
            return Err("clean, and changed something".into());
        }
        store.check_open(&fs, now, IoMode::Plain)?;
        return Ok(false);
    }
    let wanted = store.wanted(now);
    let keys = (&report.stale_keys, &report.deleted_keys);
    if keys != (&wanted.stale, &wanted.deleted) {
        return Err(format!("stale and deleted {keys:?}; {wanted:?} {report:?}"));
    }
    check_repaired(&fs, now, &wanted.contents).map_err(|e| format!("{e}; {report:#?}"))?;
    Ok(true)
}

/// Runs all cases, and says how many needed a repair.
#[derive(Default)]
struct Cases {
    count: u64,
    repaired: u64,
    failures: Vec<String>,
}

impl Cases {
    fn case(&mut self, store: &Store, now: &Image, what: impl Fn() -> String) {
        self.count += 1;
        let result = catch_unwind(AssertUnwindSafe(|| check(store, now)));
        match result.unwrap_or_else(|_| Err("panicked".into())) {
            Ok(repaired) => self.repaired += u64::from(repaired),
            Err(e) => self.failures.push(format!("{}: {e}", what())),
        }
    }

    fn finish(self) {
        println!("repair cases: {}, {} repaired", self.count, self.repaired);
        let shown = self.failures.iter().take(5).cloned().collect::<Vec<_>>().join("\n");
        assert!(self.failures.is_empty(), "{} of {}:\n{shown}", self.failures.len(), self.count);
        assert!(self.repaired * 4 > self.count);
    }
}

#[test]
fn whatever_one_damage_leaves_intact_is_saved_and_nothing_comes_back() {
    let mut cases = Cases::default();
    for (index, store) in stores().iter().enumerate() {
        for image in [store.image.clone(), store.without_hints()] {
            for (name, bytes) in &image {
                let mut with = |damaged: Vec<u8>, how: &str, at: usize| {
                    let mut now = image.clone();
                    now.insert(name.clone(), Arc::new(damaged));
                    cases.case(store, &now, || format!("store {index}, {name} {how} {at}"));
                };
                for at in (0..bytes.len()).filter(|&at| is_telling(bytes, at)) {
                    if at % 7 == index || at < HEADER_LEN {
                        let mut damaged = bytes.to_vec();
                        damaged[at] ^= 1 << (at % 8);
                        with(damaged, "bit of byte", at);
                    }
                }
                for len in (0..bytes.len()).step_by(83) {
                    with(bytes[..len].to_vec(), "cut to", len);
                }
                for at in (0..bytes.len()).step_by(512) {
                    let mut damaged = bytes.to_vec();
                    let end = bytes.len().min(at + 512);
                    damaged[at..end].fill(0);
                    with(damaged, "zeros from", at);
                }
            }
        }
    }
    cases.finish();
}

/// Everything in these stores is proven durable by the last mark, which is left alone.
#[test]
fn whatever_several_damages_leave_intact_is_saved_and_nothing_comes_back() {
    let mut cases = Cases::default();
    let stores = [closed_store(), merged_store(3).close(), merged_beside_active(5, 3).close()];
    for seed in crate::crash::seeds(77_000, 600) {
        let mut rng = Rng::new(seed);
        let store = &stores[rng.below(stores.len())];
        let last = store.files.iter().rfind(|file| !file.merged).unwrap();
        let mark = last.records.last().unwrap().bytes.start;
        let mut now = store.image.clone();
        for _ in 0..1 + rng.below(4) {
            let names: Vec<_> = now.keys().cloned().collect();
            let name = &names[rng.below(names.len())];
            let mut bytes = now[name].to_vec();
            let end = if *name == last.name { mark } else { bytes.len() };
            let at = rng.below(end);
            match rng.below(4) {
                0 if *name != last.name => bytes.truncate(at),
                1 => bytes[at..end.min(at + 600)].fill(0),
                2 => bytes[at..end.min(at + 30)].fill(0xa5),
                _ => bytes[at] ^= 1 << rng.below(8),
            }
            if name.ends_with(".hint") && rng.one_in(2) {
                now.remove(name);
            } else {
                now.insert(name.clone(), Arc::new(bytes));
            }
        }
        cases.case(store, &now, || format!("SEED={seed}"));
    }
    cases.finish();
}

#[test]
fn a_store_with_nothing_wrong_is_left_as_it_is() {
    for store in stores() {
        for image in [store.image.clone(), store.without_hints()] {
            let fs = disk_of(&image);
            fs.write_file("db/000000000099.hint", b"without a data file");
            fs.write_file("db/000000000098.merged.tmp", b"left by a crash");
            fs.write_file("db/notes.txt", b"mine");
            let before = whole_image(&fs);
            let report = repaired(&fs);
            assert!(report.is_clean(), "{report:#?}");
            assert_eq!(report.files_checked, store.files.len());
            assert_eq!(whole_image(&fs), before);
        }
    }
    let mut store = killed_store();
    let name = store.files.last().unwrap().name.clone();
    let end = store.files.last().unwrap().records.last().unwrap().bytes.end;
    let mut bytes = store.image[&name].to_vec();
    bytes[end..end + 40].fill(b'?');
    store.image.insert(name, Arc::new(bytes));
    let fs = disk_of(&store.image);
    assert!(repaired(&fs).is_clean(), "a torn tail is for the next open");
    assert_eq!(whole_image(&fs), store.image);
}

/// A deletion in a finished file, and the value in an older one.
fn deleted_in_a_later_file(mask: u64) -> Store {
    let fs = new_disk(50);
    let db = options(&fs).hash_mask(mask).open(DIR).unwrap();
    let mut store = Recorder { fs, db, history: Vec::new(), merged_ops: 0 };
    store.put("gone", "must not come back");
    store.put("kept", "old");
    store.put("filler", [b'x'; 3800]);
    store.delete("gone");
    store.put("kept", "new");
    store.put("filler", [b'y'; 3900]);
    store.put("last", "one");
    store.close()
}

#[test]
fn a_deleted_key_stays_deleted_when_its_tombstone_is_lost() {
    let store = deleted_in_a_later_file(u64::MAX);
    let now = store.flipped(store.record_of(|rec| rec.flags & TOMBSTONE != 0));
    let fs = disk_of(&now);
    let report = repaired(&fs);
    assert_eq!(report.deleted_keys, [b"gone"]);
    assert_eq!((report.lost.len(), &report.stale_keys), (1, &Vec::new()));
    let lost = &report.lost[0];
    assert_eq!((lost.records, lost.tombstones, lost.complete), (1, 1, true));
    for _ in 0..3 {
        let db = options(&fs).open(DIR).unwrap();
        assert_eq!(db.get(b"gone").unwrap(), None);
        assert_eq!(db.get(b"kept").unwrap().unwrap(), "new");
        assert!(db.merge().is_ok() && db.verify().unwrap().is_clean());
        db.close().unwrap();
    }
}

#[test]
fn a_deleted_key_stays_deleted_when_what_was_put_after_it_is_lost_with_its_tombstone() {
    let fs = new_disk(51);
    let db = options(&fs).open(DIR).unwrap();
    let mut store = Recorder { fs, db, history: Vec::new(), merged_ops: 0 };
    store.put("gone", "must not come back");
    store.put("filler", [b'x'; 3900]);
    store.delete("gone");
    store.put("gone", "put again");
    store.put("filler", [b'y'; 3900]);
    store.put("last", "one");
    let store = store.close();
    let (file, tombstone) = store.record_of(|rec| rec.flags & TOMBSTONE != 0);
    let (_, again) = store.record_of(|rec| rec.flags & VALUE != 0 && rec.seq > tombstone.seq);
    let mut bytes = store.image[&file.name].to_vec();
    for lost in [tombstone, again] {
        bytes[lost.bytes.start + RECORD_HEADER_LEN - 1] ^= 4;
    }
    let fs = disk_of(&store.with(&file.name, bytes));
    let report = repaired(&fs);
    assert_eq!(
        (&report.deleted_keys, report.stale_keys.len()),
        (&vec![b"gone".to_vec()], 0),
        "{report:?}"
    );
    let db = options(&fs).open(DIR).unwrap();
    assert_eq!(db.get(b"gone").unwrap(), None);
    assert!(db.merge().is_ok() && db.verify().unwrap().is_clean());
}

#[test]
fn a_key_that_expired_stays_away_when_the_record_that_says_so_is_lost() {
    let open = |fs: &SimFs, hours: u64| {
        let clock = SimClock::new(1_700_000_000_000 + hours * 3_600_000);
        options(fs).on(Arc::new(fs.clone()), Arc::new(clock))
    };
    let fs = new_disk(56);
    let db = open(&fs, 0).open(DIR).unwrap();
    db.put(b"k", b"old").unwrap();
    db.put(b"filler", &[b'x'; 3900]).unwrap();
    db.put_with(b"k", b"for an hour", Duration::from_secs(3600)).unwrap();
    db.put(b"filler", &[b'y'; 3900]).unwrap();
    db.put(b"filler", &[b'z'; 3900]).unwrap();
    db.close().unwrap();
    let found = fs.file_names(DIR).into_iter().find_map(|name| {
        let bytes = fs.read_file(path_of(name.to_str().unwrap()));
        let at = bytes.windows(11).position(|window| window == b"for an hour")?;
        Some((name, at as u64))
    });
    let (name, at) = found.unwrap();
    let early = fs.kill();
    open(&fs, 2).open(DIR).unwrap().put(b"late", b"it has been two").unwrap();
    for fs in [&fs, &early] {
        fs.flip_bit(path_of(name.to_str().unwrap()), at, 3);
    }
    let report = open(&early, 0).repair(DIR).unwrap();
    assert_eq!((report.stale_keys.len(), report.deleted_keys.len()), (1, 0), "not expired yet");
    assert_eq!(open(&early, 0).open(DIR).unwrap().get(b"k").unwrap().unwrap(), "old");
    // The clock went back; the marks know better.
    let report = open(&fs, 0).repair(DIR).unwrap();
    assert_eq!(report.deleted_keys, [b"k"], "{report:#?}");
    let db = open(&fs, 0).open(DIR).unwrap();
    assert_eq!(db.get(b"k").unwrap(), None);
    assert!(db.verify().unwrap().is_clean());
}

#[test]
fn a_key_that_lost_its_newest_value_is_reported_as_stale() {
    let store = deleted_in_a_later_file(u64::MAX);
    let seq = last_change(&store, b"kept");
    let fs =
        disk_of(&store.flipped(store.record_of(|rec| rec.seq == seq && rec.flags & VALUE != 0)));
    let report = repaired(&fs);
    assert_eq!(report.stale_keys, [b"kept"]);
    assert!(report.deleted_keys.is_empty());
    let db = options(&fs).open(DIR).unwrap();
    assert_eq!(db.get(b"kept").unwrap().unwrap(), "old");
    assert_eq!(db.get(b"gone").unwrap(), None);
    let seq = db.stats().unwrap().seq;
    db.put(b"kept", b"newest").unwrap();
    assert!(seq >= 7 && db.stats().unwrap().seq > seq, "numbers are not used again");
    db.close().unwrap();
    let db = options(&fs).open(DIR).unwrap();
    assert_eq!(db.get(b"kept").unwrap().unwrap(), "newest");
}

#[test]
fn without_a_hint_the_report_says_that_nobody_knows_what_was_lost() {
    let store = deleted_in_a_later_file(u64::MAX);
    let (file, rec) = store.record_of(|rec| rec.flags & TOMBSTONE != 0);
    let mut now = store.flipped((file, rec));
    now.remove(&file.hint_name);
    let report = repaired(&disk_of(&now));
    assert_eq!((report.lost[0].records, report.lost[0].complete), (0, false));
    assert_eq!(report.lost[0].from, rec.bytes.start as u64);
    assert_eq!(report.lost[0].to, rec.bytes.end as u64);
}

/// All keys have one hash, so that nobody can tell whose tombstone was lost.
#[test]
fn a_deleted_key_stays_deleted_even_if_all_hashes_collide() {
    let store = deleted_in_a_later_file(0);
    let fs = disk_of(&store.flipped(store.record_of(|rec| rec.flags & TOMBSTONE != 0)));
    options(&fs).hash_mask(0).repair(DIR).unwrap();
    let db = options(&fs).hash_mask(0).open(DIR).unwrap();
    assert_eq!(db.get(b"gone").unwrap(), None);
    assert_eq!(db.get(b"kept").unwrap().unwrap(), "new");
    assert!(db.verify().unwrap().is_clean());
}

#[test]
fn what_is_left_of_a_batch_is_kept_and_the_batch_reported() {
    let mut store = Recorder::new(new_disk(51));
    store.write(&[(b"a", Some(b"1")), (b"b", Some(b"2")), (b"c", Some(b"3"))]);
    store.put("filler", [b'x'; 4000]);
    store.put("filler", [b'y'; 4000]);
    let store = store.close();
    for (key, left) in [("a", ["b", "c"]), ("b", ["a", "c"]), ("c", ["a", "b"])] {
        let seq = last_change(&store, key.as_bytes());
        let fs = disk_of(&store.flipped(store.record_of(|rec| rec.seq == seq)));
        let report = repaired(&fs);
        assert_eq!(report.torn_batches, 1, "{report:#?}");
        let db = options(&fs).open(DIR).unwrap();
        assert_eq!(db.get(key.as_bytes()).unwrap(), None);
        left.iter().for_each(|key| assert!(db.contains(key.as_bytes()).unwrap()));
    }
    let fs = disk_of(&store.flipped(store.record_of(|rec| rec.flags & FRAME != 0)));
    assert_eq!(repaired(&fs).torn_batches, 1);
    assert_eq!(options(&fs).open(DIR).unwrap().len().unwrap(), 4);
}

#[test]
fn a_file_without_a_sound_byte_is_moved_and_its_hint_still_keeps_deleted_keys_away() {
    let store = deleted_in_a_later_file(u64::MAX);
    let (file, _) = store.record_of(|rec| rec.flags & TOMBSTONE != 0);
    let now = store.with(&file.name, vec![0; store.image[&file.name].len()]);
    let fs = disk_of(&now);
    let report = repaired(&fs);
    assert_eq!(report.unreadable, [path_of(&file.name)]);
    assert_eq!(report.deleted_keys, [b"gone"]);
    assert!(report.lost[0].records >= 1 && report.lost[0].complete, "{report:#?}");
    check_repaired(&fs, &now, &store.wanted(&now).contents).unwrap();
    assert_eq!(options(&fs).open(DIR).unwrap().get(b"gone").unwrap(), None);
}

#[test]
fn the_only_file_of_a_store_is_repaired_whatever_byte_of_its_header_is_damaged() {
    let (fs, bytes, _) = one_record(52);
    for closed in [true, false] {
        for at in 0..HEADER_LEN {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x5a;
            if !closed {
                damaged.truncate(96);
            }
            let fs = fs.kill();
            fs.write_file(FIRST, &damaged);
            let report = repaired(&fs);
            assert_eq!((report.files_replaced, report.records_saved), (1, 1), "{at} {report:?}");
            assert_eq!(options(&fs).open(DIR).unwrap().get(b"k").unwrap().unwrap(), "v");
        }
    }
}

#[test]
fn a_missing_log_file_is_reported_and_the_rest_opens() {
    let store = killed_store();
    let fs = disk_of(&store.without_hints());
    fs.remove_file("db/000000000002.data");
    if options(&fs.kill()).open(DIR).is_ok() {
        assert!(repaired(&fs).is_clean());
        return;
    }
    let report = repaired(&fs);
    assert_eq!(report.lost[0].file, path_of("000000000002.data"));
    assert!(options(&fs).open(DIR).unwrap().verify().unwrap().is_clean());
}

/// The second file of the log was begun when the first was not durable to its end, and names it.
fn unsynced_rotation() -> Store {
    let fs = new_disk(57);
    let db = options(&fs).durability(Durability::Os).open(DIR).unwrap();
    let mut store = Recorder { fs, db, history: Vec::new(), merged_ops: 0 };
    store.put("a", "old");
    store.put("b", "in the first file");
    store.db.sync().unwrap();
    store.put("a", "new");
    store.put("gone", "for a moment");
    store.put("filler", [b'x'; 3800]);
    store.delete("gone");
    store.put("c", "in the second file");
    store.kill()
}

#[test]
fn a_log_file_that_names_a_replaced_one_is_not_lost_with_it() {
    let store = unsynced_rotation();
    assert_eq!((store.files.len(), store.image.len()), (2, 2), "two log files without hints");
    let image = store.flipped(store.record_of(|rec| rec.flags & VALUE != 0));
    let fs = disk_of(&image);
    assert_eq!(options(&fs.kill()).open(DIR).unwrap_err().kind(), ErrorKind::Corrupt);
    let report = repaired(&fs);
    assert_eq!((report.files_replaced, report.quarantined.len()), (2, 2), "{report:#?}");
    assert_eq!(report.damage.len(), 1);
    check_repaired(&fs, &image, &contents_after(&store, store.history.len())).unwrap();
    let seq = options(&fs).open(DIR).unwrap().stats().unwrap().seq;
    let used = store.files.iter().flat_map(|file| &file.records).map(|rec| rec.seq).max();
    assert!(seq >= used.unwrap(), "{seq}: numbers are not used again");
}

/// Otherwise a second run, after a crash in the first, would take the damage for a torn tail, and opening would cut a
/// file that is in quarantine, too.
#[test]
fn what_proved_that_damage_is_damage_is_not_lost_with_the_files_that_held_it() {
    let fs = new_disk(60);
    let db = options(&fs).durability(Durability::Os).open(DIR).unwrap();
    let mut store = Recorder { fs, db, history: Vec::new(), merged_ops: 0 };
    store.put("a", "in the first file");
    store.put("filler", [b'x'; 3000]);
    store.put("filler", [b'y'; 1000]);
    store.put("b", "in the second file");
    store.db.sync().unwrap();
    store.put("c", "after a mark that proves both");
    let store = store.kill();
    assert_eq!((store.files.len(), store.image.len()), (2, 2), "two log files without hints");
    let first = store.flipped((&store.files[0], &store.files[0].records[0]));
    let mut image = store.flipped((&store.files[1], &store.files[1].records[0]));
    let name = store.files[0].name.clone();
    image.insert(name.clone(), first[&name].clone());
    let fs = disk_of(&image);
    assert_eq!(repaired(&fs).files_replaced, 2);
    // As if the crash had come when only the second was moved.
    fs.write_file(path_of(&name), &image[&name]);
    assert_eq!(repaired(&fs).files_replaced, 1);
    check_repaired(&fs, &image, &store.wanted(&image).contents).unwrap();
}

#[test]
fn numbers_of_lost_records_are_not_used_again() {
    for store in stores() {
        let file = store.files.iter().rfind(|file| !file.merged).unwrap();
        // Nobody knows of what came after the last mark.
        let marks = file.records.iter().filter(|rec| rec.flags & MARK != 0);
        let used = marks.map(|rec| rec.seq).max().unwrap();
        let mut bytes = store.image[&file.name].to_vec();
        for rec in file.records.iter().filter(|rec| rec.flags & MARK == 0) {
            bytes[rec.bytes.start + 9] ^= 1;
        }
        let fs = disk_of(&store.with(&file.name, bytes));
        assert_eq!(repaired(&fs).files_replaced, 1);
        let db = options(&fs).open(DIR).unwrap();
        assert!(db.stats().unwrap().seq >= used);
        let last = db.stats().unwrap().files.into_iter().map(|file| file.id).max().unwrap();
        assert!(last > store.files.iter().map(|file| file.id).max().unwrap());
    }
}

/// The newest value of the key is in a tail that the next open will cut.
#[test]
fn what_is_behind_a_torn_tail_does_not_count_as_left() {
    let fs = new_disk(58);
    let db = options(&fs).durability(Durability::Os).open(DIR).unwrap();
    let mut store = Recorder { fs, db, history: Vec::new(), merged_ops: 0 };
    store.put("k", "deleted");
    store.put("filler", [b'x'; 3900]);
    store.delete("k");
    store.put("filler", [b'y'; 3900]);
    store.db.tick().unwrap();
    store.put("torn", "by a crash");
    store.put("k", "not durable");
    let store = store.kill();
    let mut image = store.flipped(store.record_of(|rec| rec.flags & TOMBSTONE != 0));
    let torn = last_change(&store, b"torn");
    let (file, rec) = store.record_of(|rec| rec.seq == torn && rec.flags & VALUE != 0);
    assert_eq!(file.name, store.files.last().unwrap().name);
    let mut bytes = image[&file.name].to_vec();
    bytes[rec.bytes.end - 3] ^= 1;
    image.insert(file.name.clone(), Arc::new(bytes));
    let fs = disk_of(&image);
    let report = repaired(&fs);
    assert_eq!(report.deleted_keys, [b"k"], "{report:#?}");
    let db = options(&fs).open(DIR).unwrap();
    assert_eq!(db.recovery().cut.as_ref().unwrap().offset, rec.bytes.start as u64);
    assert_eq!(db.get(b"k").unwrap(), None);
    assert_eq!(db.get(b"torn").unwrap(), None);
    assert!(db.verify().unwrap().is_clean());
}

#[test]
fn records_longer_than_what_is_read_at_a_time_are_checked_and_saved() {
    let long = |byte: u8| vec![byte; (5 << 19) + 1];
    let fs = new_disk(59);
    let open = || options(&fs).max_file_size(64 << 20).open(DIR).unwrap();
    let db = open();
    for (key, byte) in [(b"a", 1), (b"b", 2), (b"c", 3)] {
        db.put(key, &long(byte)).unwrap();
    }
    db.put(b"short", b"one").unwrap();
    assert!(db.verify().unwrap().is_clean());
    db.close().unwrap();
    let middle = 64 + 28 + (5 << 19) + (3 << 19);
    fs.flip_bit(FIRST, middle, 5);
    let db = open();
    let report = db.verify().unwrap();
    assert!((report.damage[0].from..report.damage[0].to).contains(&middle), "{report:#?}");
    assert_eq!((report.damage.len(), report.records), (1, 5 + 2), "{report:#?}");
    db.close().unwrap();
    assert_eq!(options(&fs).repair(DIR).unwrap().records_saved, 3);
    let db = open();
    assert_eq!(db.get(b"a").unwrap().unwrap(), long(1));
    assert_eq!(db.get(b"b").unwrap(), None);
    assert_eq!(db.get(b"c").unwrap().unwrap(), long(3));
    assert_eq!(db.get(b"short").unwrap().unwrap(), "one");
}

#[test]
fn a_renamed_file_is_taken_in_and_a_copy_is_not() {
    let store = closed_store();
    let all = contents_after(&store, store.history.len());
    let mut renamed = store.without_hints();
    let whole = store.image;
    let last = renamed.remove("000000000003.data").unwrap();
    renamed.insert("000000000009.data".into(), last.clone());
    let mut copied = whole;
    copied.insert("000000000009.data".into(), last);
    for (image, taken) in [(renamed, true), (copied, false)] {
        let fs = disk_of(&image);
        let report = repaired(&fs);
        assert_eq!(report.unreadable.is_empty(), taken, "{report:#?}");
        check_repaired(&fs, &image, &all).unwrap();
    }
}

#[test]
fn a_file_of_another_store_is_moved_away_and_nothing_is_taken_from_it() {
    let store = closed_store();
    let other = three_files(30).close();
    let mut image = store.image.clone();
    let (theirs, _) = header(&other.image["000000000003.data"], &[(32, &9_u64.to_le_bytes())]);
    let theirs = [theirs, other.image["000000000003.data"][HEADER_LEN..].to_vec()].concat();
    image.insert("000000000009.data".into(), Arc::new(theirs));
    let fs = disk_of(&image);
    let report = repaired(&fs);
    assert_eq!(report.unreadable, [path_of("000000000009.data")]);
    check_repaired(&fs, &image, &contents_after(&store, store.history.len())).unwrap();
}

#[test]
fn files_of_two_stores_that_cannot_be_told_apart_are_refused() {
    let (fs, ..) = one_record(53);
    let (_, bytes, _) = one_record(54);
    let (header, _) = header(&bytes, &[(32, &2_u64.to_le_bytes())]);
    fs.write_file("db/000000000002.data", &[header, bytes[HEADER_LEN..].to_vec()].concat());
    let before = whole_image(&fs);
    assert_eq!(options(&fs).repair(DIR).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(whole_image(&fs), before);
}

#[test]
fn what_a_later_version_wrote_is_not_repaired() {
    let (fs, bytes, _) = one_record(55);
    let (later, _) = header(&bytes, &[(8, &2_u16.to_le_bytes())]);
    fs.write_file(FIRST, &[later, bytes[HEADER_LEN..].to_vec()].concat());
    let before = whole_image(&fs);
    assert_eq!(options(&fs).repair(DIR).unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(whole_image(&fs), before);
}

#[test]
fn names_in_quarantine_are_not_used_twice() {
    let store = closed_store();
    let image = store.flipped(store.record_of(|rec| rec.flags & VALUE != 0));
    let fs = disk_of(&image);
    fs.create_dir(Path::new("db/quarantine")).unwrap();
    fs.write_file("db/quarantine/000000000001.data", b"of an earlier repair");
    let report = repaired(&fs);
    assert!(report.quarantined.contains(&path_of("quarantine/000000000001.data.1")), "{report:#?}");
    assert_eq!(fs.read_file("db/quarantine/000000000001.data"), b"of an earlier repair");
}

#[test]
fn a_full_disk_is_told_and_changes_nothing() {
    let store = closed_store();
    let image = store.flipped(store.record_of(|rec| rec.flags & VALUE != 0));
    let fs = disk_of(&image);
    fs.set_capacity(fs.used_bytes() + 300);
    let error = options(&fs).repair(DIR).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full, "{error:?}");
    assert_eq!(whole_image(&fs), image);
    fs.set_capacity(1 << 30);
    assert!(!repaired(&fs).is_clean());
}

/// Some damaged stores: a record in each file, whole files, hints.
fn damaged_stores() -> Vec<(Store, Image)> {
    let mut damaged = Vec::new();
    for make in [
        closed_store,
        killed_store,
        || merged_store(3).close(),
        || deleted_in_a_later_file(u64::MAX),
    ] {
        let store = make();
        let mut images = vec![];
        for file in &store.files {
            let changes = file.records.iter().filter(|rec| rec.flags & (VALUE | TOMBSTONE) != 0);
            images.extend(changes.take(1).map(|rec| store.flipped((file, rec))));
        }
        let tombstone = store.record_of(|rec| rec.flags & TOMBSTONE != 0);
        images.push(store.flipped(tombstone));
        images.push(store.with(&store.files[0].name, vec![7; 500]));
        if store.image.contains_key(&store.files[0].hint_name) {
            images.push(store.with(&store.files[0].hint_name, vec![7; 500]));
        }
        damaged.extend(images.into_iter().map(|image| (make(), image)));
    }
    damaged
}

/// If a store that is half repaired opens, what is read from it is right, or told to be damaged.
fn check_half_repaired(fs: &SimFs, store: &Store, wanted: &Contents) {
    let Ok(db) = options(fs).create_if_missing(false).open(DIR) else { return };
    for key in store.keys() {
        match db.get(key) {
            Ok(value) => assert_eq!(value.as_deref(), wanted.get(key).map(|value| &**value)),
            Err(e) => assert!(names_its_place(&e), "{e:?}"),
        }
    }
}

#[test]
fn a_crash_at_every_operation_of_a_repair_is_repaired() {
    let (mut states, mut rng) = (0, Rng::new(9));
    for (store, image) in damaged_stores() {
        let base = disk_of(&image);
        let wanted = store.wanted(&image);
        let fs = base.kill();
        if repaired(&fs).is_clean() {
            continue;
        }
        let ops = fs.op_count();
        for op in 0..ops {
            let fs = base.kill();
            fs.set_crash_point(op);
            assert!(options(&fs).repair(DIR).is_err());
            for seed in [0, 1, 2, 3, 4 + rng.next() % 1000] {
                states += 1;
                let crashed = fs.crash(seed);
                check_half_repaired(&crashed.crash(1), &store, &wanted.contents);
                // And once more, in the second run.
                crashed.set_crash_point(rng.next() % ops);
                drop(options(&crashed).repair(DIR));
                let crashed = crashed.crash(rng.next());
                check_half_repaired(&crashed.crash(1), &store, &wanted.contents);
                repaired(&crashed);
                // What nobody needs any more is swept by the next open.
                options(&crashed).open(DIR).unwrap().close().unwrap();
                let same: Image = image
                    .iter()
                    .filter(|(name, _)| name.ends_with(".data") || name.ends_with(".merged"))
                    .filter(|(name, bytes)| store.image.get(*name) != Some(bytes))
                    .map(|(name, bytes)| (name.clone(), bytes.clone()))
                    .collect();
                check_repaired(&crashed, &same, &wanted.contents)
                    .unwrap_or_else(|e| panic!("op {op}, seed {seed}: {e}"));
            }
        }
    }
    println!("crash states: {states} (repair)");
}

#[test]
fn a_repair_that_failed_at_any_operation_can_be_made_again() {
    use bitcask::fs::sim::Failure;
    for (store, image) in damaged_stores().into_iter().step_by(3) {
        let wanted = store.wanted(&image);
        for failure in [Failure::Io, Failure::NoSpace, Failure::TooManyFiles] {
            for op in 0.. {
                let fs = disk_of(&image);
                fs.fail_at(fs.op_count() + op, failure);
                let from = fs.op_count();
                let first = options(&fs).repair(DIR);
                if fs.op_count() <= from + op {
                    break;
                }
                fs.clear_faults();
                repaired(&fs);
                options(&fs).open(DIR).unwrap().close().unwrap();
                if first.is_ok() {
                    // It was an operation that may fail.
                    assert_ne!(failure, Failure::NoSpace);
                }
                check_repaired(&fs, &Image::new(), &wanted.contents).unwrap();
            }
        }
    }
}
