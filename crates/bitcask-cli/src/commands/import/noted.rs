//! How far an import of a file is, in a small file beside it: written when all up to there is durable, for `--resume`.
//!
//! What it says holds for one store, and for what the file was. Going on in another store, or in a file that is not
//! the same up to there, would leave out data and tell of success. So both can be recognized by it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bitcask::Bitcask;
use clap::ValueEnum;
use data_encoding::HEXLOWER;
use serde_json::{Value, json};

use crate::cli;
use crate::failure::Failure;
use crate::text::Encoding;
use crate::transfer::Position;

/// How much of the file is read at once for its digest.
const PIECE_LEN: usize = 256 << 10;

/// How far an import is.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) position: Position,
    pub(super) imported: u64,
    pub(super) rejected: u64,
    /// Where lines are that were rejected, if any were.
    pub(super) rejects: Option<PathBuf>,
}

/// The small file, and what it says besides.
#[derive(Debug)]
pub(super) struct Noted {
    path: PathBuf,
    /// What is imported.
    source: File,
    /// CRC-32C of the source from its beginning up to `digested`.
    digest: u32,
    digested: u64,
    from: String,
    format: String,
    /// Of a resumed import: the store that it went into.
    store: Option<Mark>,
}

/// A store at a moment: it has all of that moment while the id is the same and the sequence number no smaller.
#[derive(Debug)]
struct Mark {
    id: String,
    seq: u64,
}

impl Mark {
    fn of(db: &Bitcask) -> bitcask::Result<Self> {
        Ok(Self { id: HEXLOWER.encode(&db.store_id()?), seq: db.seq()? })
    }
}

impl Noted {
    /// Where to begin: at the beginning, or with `--resume` where the import before this one was.
    pub(super) fn begin(args: &cli::Import, source: File) -> Result<(Self, State), Failure> {
        let mut noted = Self {
            path: beside(&args.path, "importing"),
            source,
            digest: 0,
            digested: 0,
            from: name_of(args.from),
            format: name_of(args.format),
            store: None,
        };
        let text = match fs::read(&noted.path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound && !args.resume => {
                return Ok((noted, State::default()));
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let what = format!("no import of {} was interrupted", args.path.display());
                return Err(Failure::invalid(what).advise("leave out --resume"));
            }
            Err(e) => return Err(Failure::file("cannot read", &noted.path, &e)),
        };
        if !args.resume {
            let what = format!("an import of this file was interrupted: {}", args.path.display());
            let help = format!("go on with --resume, or {}", noted.how_to_begin_anew());
            return Err(Failure::invalid(what).advise(help));
        }
        let state = noted.resume(&text, &args.path)?;
        Ok((noted, state))
    }

    fn resume(&mut self, text: &[u8], source: &Path) -> Result<State, Failure> {
        let anew = self.how_to_begin_anew();
        let what = format!("this says nothing about an import: {}", self.path.display());
        let bad = || Failure::invalid(what.clone()).advise(anew.clone());
        let said: Value = serde_json::from_slice(text).ok().ok_or_else(bad)?;
        let number = |name: &str| said.get(name).and_then(Value::as_u64).ok_or_else(bad);
        let text = |name: &str| {
            let text = said.get(name).and_then(Value::as_str).map(str::to_owned);
            text.ok_or_else(bad)
        };
        let (from, format) = (text("from")?, text("format")?);
        if (&from, &format) != (&self.from, &self.format) {
            let what =
                format!("the import that was interrupted had other options: {}", source.display());
            let help = format!("pass --from {from} --format {format}, or {anew}");
            return Err(Failure::invalid(what).advise(help));
        }
        let offset = number("offset")?;
        self.digest_to(offset).map_err(|e| Failure::file("cannot read", source, &e))?;
        if (self.digested, u64::from(self.digest)) != (offset, number("digest")?) {
            let what = format!(
                "the file was changed since its import was interrupted: {}",
                source.display()
            );
            return Err(Failure::invalid(what).advise(anew));
        }
        self.store = Some(Mark { id: text("store")?, seq: number("seq")? });
        let rejects = match said.get("rejects") {
            None | Some(Value::Null) => None,
            Some(_) => Some(Encoding::Utf8.decode(&text("rejects")?).ok().ok_or_else(bad)?),
        };
        Ok(State {
            position: Position { offset, line: number("line")?, header: text("header")? },
            imported: number("imported")?,
            rejected: number("rejected")?,
            rejects: rejects.map(|bytes| std::ffi::OsString::from_vec(bytes).into()),
        })
    }

    /// Refuses to go on in a store that is not there, for another one would be made.
    pub(super) fn check_dir(&self, dir: &Path) -> Result<(), Failure> {
        let is_there = fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some());
        if self.store.is_none() || is_there { Ok(()) } else { Err(self.another_store(dir)) }
    }

    /// Refuses to go on in a store that has not what was imported into it.
    pub(super) fn check_store(&self, db: &Bitcask, dir: &Path) -> Result<(), Failure> {
        let Some(wanted) = &self.store else { return Ok(()) };
        let found = Mark::of(db)?;
        let is_it = found.id == wanted.id && found.seq >= wanted.seq;
        if is_it { Ok(()) } else { Err(self.another_store(dir)) }
    }

    fn another_store(&self, dir: &Path) -> Failure {
        let what = format!(
            "this is not the store whose import was interrupted, or an older one of it: {}",
            dir.display()
        );
        let help =
            format!("pass the store that the import went into, or {}", self.how_to_begin_anew());
        Failure::invalid(what).advise(help)
    }

    fn how_to_begin_anew(&self) -> String {
        format!("remove {} to begin anew", self.path.display())
    }

    /// Writes down how far the import is. All up to there is durable.
    pub(super) fn write(&mut self, db: &Bitcask, state: &State) -> Result<(), Failure> {
        let Mark { id, seq } = Mark::of(db)?;
        let rejects = state.rejects.as_ref();
        let rejects = rejects.map(|path| Encoding::Utf8.encode(path.as_os_str().as_bytes()));
        let digested = self.digest_to(state.position.offset);
        digested.map_err(|e| Failure::stdio("cannot read again what was imported", &e))?;
        let text = json!({
            "store": id,
            "seq": seq,
            "from": self.from,
            "format": self.format,
            "offset": state.position.offset,
            "digest": self.digest,
            "line": state.position.line,
            "header": state.position.header,
            "imported": state.imported,
            "rejected": state.rejected,
            "rejects": rejects,
        });
        let temporary = beside(&self.path, "tmp");
        let written = File::create(&temporary).and_then(|mut file| {
            file.write_all(text.to_string().as_bytes())?;
            file.sync_all()?;
            fs::rename(&temporary, &self.path)
        });
        written.map_err(|e| Failure::file("cannot write", &self.path, &e))
    }

    /// There is nothing to go on with.
    pub(super) fn remove(&self) -> Result<(), Failure> {
        match fs::remove_file(&self.path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(Failure::file("cannot remove", &self.path, &e))
            }
            _ => Ok(()),
        }
    }

    /// Takes the source up to there into its digest, or up to its end.
    fn digest_to(&mut self, offset: u64) -> io::Result<()> {
        let mut piece = vec![0; PIECE_LEN];
        while self.digested < offset {
            let len = usize::try_from(offset - self.digested).unwrap_or(PIECE_LEN).min(PIECE_LEN);
            let (piece, _) = piece.split_at_mut(len);
            let len = match self.source.read_at(piece, self.digested) {
                Ok(0) => break,
                Ok(len) => len,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            let (read, _) = piece.split_at(len);
            self.digest = crc32c::crc32c_append(self.digest, read);
            self.digested += len as u64;
        }
        Ok(())
    }
}

/// A file beside another.
pub(super) fn beside(path: &Path, what: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(what);
    name.into()
}

/// As it is typed.
fn name_of(value: impl ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}
