//! Golden scripts: `tests/scripts/*.txt` hold commands, `---`, and what they print.
//!
//! They run on a simulated disk with a fixed seed and a clock that stands still, so what they print, the bytes of
//! files included, is always the same. After a change that is meant, `UPDATE_GOLDENFILES=1 cargo test -p bitcask
//! --test it scripts` writes the outputs anew; the diff is then reviewed like code.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bitcask::fs::Fs;
use bitcask::fs::sim::{SimClock, SimFs};
use bitcask::{
    Bitcask, Durability, Error, Expiry, IoMode, Keys, MergePolicy, Options, Snapshot,
    SnapshotStats, Value, WriteBatch,
};

const DIR: &str = "db";

/// Where a script runs.
struct World {
    fs: SimFs,
    clock: SimClock,
    db: Option<Bitcask>,
    /// Snapshots that live, by the names that the script gives them.
    snapshots: BTreeMap<String, Snapshot>,
}

type Outcome = Result<String, Error>;

impl World {
    fn new() -> Self {
        let fs = SimFs::new(1);
        fs.set_write_back(0);
        Self { fs, clock: SimClock::new(1_700_000_000_000), db: None, snapshots: BTreeMap::new() }
    }

    /// Runs one line, and gives what it prints.
    fn run(&mut self, line: &str) -> String {
        let mut words = line.split_whitespace();
        let command = words.next().expect("no command is empty");
        let arguments: Vec<_> = words.collect();
        let outcome = self.run_on_store(command, &arguments);
        let outcome = outcome.unwrap_or_else(|| Ok(self.run_on_disk(command, &arguments)));
        outcome.unwrap_or_else(|e| format!("error {e:?}"))
    }

    /// Runs a command that needs the store; none if it is not such a command.
    fn run_on_store(&mut self, command: &str, arguments: &[&str]) -> Option<Outcome> {
        if command == "open" {
            return Some(self.open(arguments));
        }
        let known = [
            "batch", "close", "delete", "get", "keys", "merge", "persist", "put", "snapshot",
            "stats", "sync", "tick",
        ];
        if !known.contains(&command) {
            return None;
        }
        let Some(db) = self.db.clone() else { return Some(Ok("not open".into())) };
        let ok = |()| "ok".to_owned();
        Some(match command {
            "put" => {
                let (key, value) = pair(arguments[0]);
                match arguments.get(1).map(|argument| pair(argument)) {
                    None => db.put(&key, &value).map(ok),
                    Some((name, ms)) => {
                        assert_eq!(name, b"ttl");
                        let ttl = Duration::from_millis(int(str::from_utf8(&ms).unwrap()));
                        db.put_with(&key, &value, ttl).map(ok)
                    }
                }
            }
            "persist" => db
                .persist(arguments[0].as_bytes())
                .map(|there| if there { "ok" } else { "not there" }.into()),
            "snapshot" => db.snapshot().map(|snapshot| {
                let text = format!("at {}, {} keys", snapshot.seq(), snapshot.len());
                self.snapshots.insert(arguments[0].into(), snapshot);
                text
            }),
            "get" => arguments.iter().map(|key| get(&db, key)).collect(),
            "delete" => db
                .delete(arguments[0].as_bytes())
                .map(|there| if there { "ok" } else { "not there" }.into()),
            "batch" => db.write(&batch(arguments)).map(ok),
            "keys" => shown_keys(db.keys()),
            "sync" => db.sync().map(ok),
            "merge" => db.merge().map(|report| format!("{report:?}")),
            "tick" => db.tick().map(ok),
            "stats" => stats(&db),
            _ => {
                self.db = None;
                db.close().map(ok)
            }
        })
    }

    fn open(&mut self, arguments: &[&str]) -> Outcome {
        let mut merge = MergePolicy { background: false, ..MergePolicy::default() };
        let mut options = Options::new().durability(Durability::Os).max_file_size(4096);
        for argument in arguments {
            options = match *argument {
                "always" => options.durability(Durability::Always),
                "plain" => options.io(IoMode::Plain),
                "one-hash" => options.hash_mask(0),
                "background" => {
                    merge.background = true;
                    options
                }
                other => panic!("unknown option {other}"),
            };
        }
        let options = options.on(Arc::new(self.fs.clone()), Arc::new(self.clock.clone()));
        let db = options.merge(merge).without_threads().shard_bits(2).open(DIR)?;
        let found = db.recovery();
        let mut text = format!(
            "{} keys, {} files by hint, {} scanned, {} swept",
            db.len()?,
            found.hinted_files,
            found.scanned_files,
            found.swept_files
        );
        if let Some(cut) = &found.cut {
            let (file, offset, bytes) = (cut.file.display(), cut.offset, cut.bytes);
            write!(text, "\ncut {file} at {offset}: {bytes} bytes, {} files", cut.dropped_files)
                .expect("a string takes all");
            write!(text, "\nbecause {}", cut.reason).expect("a string takes all");
        }
        self.db = Some(db);
        Ok(text)
    }

    fn run_on_disk(&mut self, command: &str, arguments: &[&str]) -> String {
        let path = || Path::new(DIR).join(arguments[0]);
        match command {
            "kill" => self.leave(self.fs.kill()),
            // What a snapshot holds of some keys, or all that it holds.
            "see" => return self.see(arguments),
            "release" => {
                drop(self.snapshots.remove(arguments[0]).expect("a snapshot of this name"))
            }
            "wall" => self.clock.step_wall_ms(arguments[0].parse().unwrap()),
            "crash" => self.leave(self.fs.crash(int(arguments[0]))),
            "advance" => self.clock.advance(Duration::from_millis(int(arguments[0]))),
            "flip" => {
                let bit = u8::try_from(int(arguments[2])).unwrap();
                self.fs.flip_bit(path(), int(arguments[1]), bit);
            }
            "cut" => self.fs.truncate(path(), int(arguments[1])),
            "rm" => self.fs.remove_file(path()),
            "write" => self.fs.write_file(path(), &value(arguments[1])),
            "hex" => return hex(&self.fs.read_file(path())),
            "dump" => {
                let fs: Arc<dyn Fs> = Arc::new(self.fs.clone());
                return bitcask::dump(&fs, Path::new(DIR)).unwrap();
            }
            other => panic!("unknown command {other}"),
        }
        "ok".into()
    }

    fn see(&self, arguments: &[&str]) -> String {
        let snapshot = &self.snapshots[arguments[0]];
        let get = |key: &&str| shown_get(key, snapshot.get(key.as_bytes()));
        match &arguments[1..] {
            [] => shown_keys(snapshot.keys()).unwrap_or_else(|e| format!("error {e:?}")),
            keys => keys.iter().map(get).collect(),
        }
    }

    /// Goes on with another disk, as after the death of the process.
    fn leave(&mut self, fs: SimFs) {
        self.db = None;
        self.fs = fs;
    }
}

fn int(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("{text} is no number"))
}

/// `x*3` is `xxx`.
fn value(text: &str) -> Vec<u8> {
    let repeated = text.split_once('*').and_then(|(part, n)| Some((part, n.parse().ok()?)));
    repeated.map_or_else(|| text.into(), |(part, n)| part.repeat(n).into())
}

fn pair(text: &str) -> (Vec<u8>, Vec<u8>) {
    let (key, text) = text.split_once('=').unwrap_or_else(|| panic!("{text} is not key=value"));
    (key.into(), value(text))
}

/// `a=1` puts, `a` deletes.
fn batch(arguments: &[&str]) -> WriteBatch {
    let mut batch = WriteBatch::new();
    for argument in arguments {
        if argument.contains('=') {
            let (key, value) = pair(argument);
            batch.put(key, value);
        } else {
            batch.delete(*argument);
        }
    }
    batch
}

fn shown(bytes: &[u8]) -> String {
    match bytes.get(..40) {
        Some(start) if bytes.len() > 40 => {
            format!("{}.. ({} bytes)", start.escape_ascii(), bytes.len())
        }
        _ => bytes.escape_ascii().to_string(),
    }
}

/// The value of a key, and when it expires.
fn get(db: &Bitcask, key: &str) -> Outcome {
    let text = shown_get(key, db.get(key.as_bytes()));
    let Ok(Some(Expiry::At(time))) = db.expires_at(key.as_bytes()) else { return Ok(text) };
    let ms = time.duration_since(UNIX_EPOCH).unwrap().as_millis();
    Ok(format!("{}, until {ms}\n", text.trim_end()))
}

fn shown_get(key: &str, value: Result<Option<Value>, Error>) -> String {
    match value {
        Ok(Some(value)) => format!("{key} = {}\n", shown(&value)),
        Ok(None) => format!("{key}: none\n"),
        Err(e) => format!("{key}: error {e:?}\n"),
    }
}

fn shown_keys(keys: Keys) -> Outcome {
    let mut keys = keys.collect::<Result<Vec<_>, _>>()?;
    keys.sort();
    let keys: Vec<_> = keys.iter().map(|key| shown(key)).collect();
    Ok(format!("{}: {}", keys.len(), keys.join(" ")))
}

fn stats(db: &Bitcask) -> Outcome {
    let mut text = String::new();
    for file in db.stats()?.files {
        let state = [(file.active, " active"), (file.sealed, " sealed")];
        let state: String = state.iter().filter(|(is, _)| *is).map(|(_, name)| *name).collect();
        writeln!(
            text,
            "{}{state}: {} bytes, {} live, {} dead, {} of tombstones",
            file.path.display(),
            file.bytes,
            file.live_bytes(),
            file.dead_bytes,
            file.tombstone_bytes
        )
        .expect("a string takes all");
    }
    let stats = db.stats()?;
    if stats.expiring_keys > 0 {
        writeln!(text, "{} keys, {} expire", stats.keys, stats.expiring_keys)
            .expect("a string takes all");
    }
    for SnapshotStats { seq, kept_records, kept_bytes, .. } in stats.snapshots {
        writeln!(text, "snapshot at {seq}: keeps {kept_records} records, {kept_bytes} bytes")
            .expect("a string takes all");
    }
    Ok(text)
}

/// All bytes; `*` stands for lines like the one before.
fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    let mut before = None;
    let last = bytes.len().saturating_sub(1) / 16;
    for (index, chunk) in bytes.chunks(16).enumerate() {
        if before == Some(chunk) && index != last {
            if !text.ends_with("*\n") {
                text.push_str("   *\n");
            }
            continue;
        }
        before = Some(chunk);
        let hex: Vec<_> = chunk.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(text, "{:4}  {}", index * 16, hex.join(" ")).expect("a string takes all");
    }
    text
}

/// Runs a script: the same text with the outputs that there are now.
fn replay(script: &str) -> String {
    let mut world = World::new();
    let mut replayed = String::new();
    for block in script.split("\n\n") {
        let commands =
            block.split_once("\n---").map_or(block, |(commands, _)| commands).trim_matches('\n');
        if commands.is_empty() {
            continue;
        }
        replayed.push_str(commands);
        replayed.push('\n');
        let runnable: Vec<_> = commands.lines().filter(|line| !line.starts_with('#')).collect();
        if !runnable.is_empty() {
            replayed.push_str("---\n");
            for line in runnable {
                replayed.push_str(world.run(line).trim_end());
                replayed.push('\n');
            }
        }
        replayed.push('\n');
    }
    replayed.truncate(replayed.trim_end().len());
    replayed + "\n"
}

fn scripts() -> Vec<PathBuf> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts");
    let mut scripts: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    scripts.sort();
    scripts
}

#[test]
fn every_script_prints_what_it_recorded() {
    let update = std::env::var_os("UPDATE_GOLDENFILES").is_some();
    let scripts = scripts();
    assert!(scripts.len() >= 14, "{scripts:?}");
    for path in scripts {
        let recorded = fs::read_to_string(&path).unwrap();
        let replayed = replay(&recorded);
        if update {
            fs::write(&path, &replayed).unwrap();
            continue;
        }
        let lines = recorded.lines().zip(replayed.lines()).enumerate();
        for (index, (was, is)) in lines {
            assert_eq!(is, was, "{}:{}", path.display(), index + 1);
        }
        assert_eq!(replayed, recorded, "{}", path.display());
    }
}

#[test]
fn the_example_in_the_format_document_is_what_is_written() {
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/format.md");
    let document = fs::read_to_string(document).unwrap();
    let (_, rest) = document.split_once("<!-- example -->").unwrap();
    let (example, _) = rest.split_once("<!-- /example -->").unwrap();
    let example: String = example
        .lines()
        .filter(|line| line.starts_with(' '))
        .fold(String::new(), |all, line| all + line + "\n");
    let mut world = World::new();
    for line in ["open always", "put k=v", "close"] {
        world.run(line);
    }
    assert_eq!(world.run("hex 000000000001.data"), example);
}
