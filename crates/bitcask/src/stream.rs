//! Values that are larger than memory allows: in from a reader, and out through one.
//!
//! Reading from somebody else's reader takes as long as it takes, and nobody else should wait for it. So a large
//! value is first *staged*: written to a file of its own, at the place where it will lie, with room before it for the
//! headers. Committing it then is short: the headers are filled in, and the file becomes the active file of the log
//! (`Writer::adopt`). A checksum of two parts is put together from those of the parts, so the value is not read again.
//!
//! On the way out all of a value is checked before any of it is given.

use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;

use crate::batch::Change;
use crate::db::Bitcask;
use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::expiry::Expiry;
use crate::files::DataFile;
use crate::fs::{File, allocate, write_all_at};
use crate::header::{FILE_HEADER_LEN, FileKind};
use crate::name;
use crate::read::Moment;
use crate::record::{Fields, Flags, padding_of};
use crate::sync::lock;

/// Values up to this length are held in memory.
const STAGED_MIN: u64 = 1 << 20;
/// Bytes read and written at a time.
const CHUNK_LEN: usize = 256 << 10;

/// A value that waits in its file to be committed.
#[derive(Debug)]
pub(crate) struct Staged {
    pub(crate) file: Arc<dyn File>,
    /// The temporary name of the file.
    pub(crate) path: PathBuf,
    pub(crate) value_len: u64,
    /// Bytes of the record.
    pub(crate) record_len: u64,
    /// Checksum and length of the value and the padding behind it.
    pub(crate) tail_crc: u32,
    pub(crate) tail_len: usize,
}

impl Bitcask {
    /// Stores the next `len` bytes of `reader` under `key`, without holding them in memory.
    ///
    /// Other writers do not wait while it reads; the value becomes visible, whole, when all of it was read. Streamed values
    /// are not compressed.
    ///
    /// ```
    /// # use std::io::Read;
    /// # use bitcask::Bitcask;
    /// # let dir = std::env::temp_dir().join(format!("bitcask-doc-stream-{}", std::process::id()));
    /// # let db = Bitcask::open(&dir)?;
    /// let film = std::io::repeat(7);
    /// db.put_reader(b"film", 3 << 20, film)?;
    /// let mut first = [0; 4];
    /// let mut reader = db.get_reader(b"film")?.unwrap();
    /// reader.read_exact(&mut first).unwrap();
    /// assert_eq!((reader.len(), first), (3 << 20, [7; 4]));
    /// # drop(reader);
    /// # drop(db);
    /// # std::fs::remove_dir_all(&dir).ok();
    /// # Ok::<(), bitcask::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Invalid` if the reader ends early; `Io` if it fails; as [`put`](Self::put). Nothing was changed.
    pub fn put_reader(&self, key: &[u8], len: u64, reader: impl Read) -> Result<()> {
        self.put_reader_with(key, len, reader, Expiry::Never)
    }

    /// The same, to expire at some time.
    ///
    /// # Errors
    /// As [`put_reader`](Self::put_reader).
    pub fn put_reader_with(
        &self,
        key: &[u8],
        len: u64,
        reader: impl Read,
        expiry: impl Into<Expiry>,
    ) -> Result<()> {
        let engine = self.engine()?;
        engine.check_lengths(key.len(), len)?;
        let mut reader = reader.take(len);
        if len <= STAGED_MIN {
            let mut value = Vec::new();
            reader.read_to_end(&mut value).map_err(|e| failed(key, e))?;
            check_complete(key, value.len() as u64, len)?;
            return self.put_with(key, &value, expiry);
        }
        let dir = &*engine.dir;
        let expires_ms = expiry.into().to_ms(&dir.time);
        let id = lock(&engine.writer).take_file_id()?;
        let path = name::temporary_path(&dir.data_path(FileKind::Log, id));
        let staged = stage(dir, path.clone(), key, expires_ms, &mut reader, len);
        let committed = staged.and_then(|staged| {
            let change = Change::Staged { key, staged: &staged, expires_ms };
            engine.commit(&[change], &[dir.hash(key)])
        });
        committed.map(|_| ()).inspect_err(|_| {
            // Ignored: what is left of it is swept when the store is opened. If it was committed it has another name.
            drop(dir.fs.remove(&path));
        })
    }

    /// Reads the value stored under `key`, if there is one, without holding it in memory; but one that is compressed is
    /// decompressed there. All of it is checked first.
    ///
    /// The reader keeps its file readable, and its space on the disk, until it is dropped.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_reader(&self, key: &[u8]) -> Result<Option<ValueReader>> {
        self.engine()?.dir.reader(key, Moment::NOW)
    }
}

impl Directory {
    /// Reads the value that a key has at `moment`, part by part.
    pub(crate) fn reader(&self, key: &[u8], moment: Moment) -> Result<Option<ValueReader>> {
        let table = self.files.guard();
        let hash = self.hash(key);
        let Some(found) = self.find(&table, hash, key, moment)? else { return Ok(None) };
        let file = table.file(found.place).clone();
        drop(table);
        // Its name may go while it is read.
        file.keep_readable()?;
        let (flags, range) = file.check_value(found.place).map_err(|e| e.of_key(key))?;
        let (source, len) = if flags.is_compressed() {
            let mut scratch = Vec::new();
            let record = file.record(found.place, &mut scratch).map_err(|e| e.of_key(key))?;
            let value = self.value_of(&record)?.into_vec();
            let len = value.len() as u64;
            (Source::Memory(value), len)
        } else {
            (Source::File(file, range.start), range.end - range.start)
        };
        Ok(Some(ValueReader { source, len, position: 0 }))
    }
}

fn failed(key: &[u8], e: io::Error) -> Error {
    Error::reader(e).of_key(key)
}

fn check_complete(key: &[u8], read: u64, len: u64) -> Result<()> {
    if read < len {
        let what = format!("the reader ended after {read} bytes of {len}");
        return Err(Error::invalid(what).of_key(key));
    }
    Ok(())
}

/// Writes a value to a file of its own.
fn stage(
    dir: &Directory,
    path: PathBuf,
    key: &[u8],
    expires_ms: u64,
    reader: &mut impl Read,
    len: u64,
) -> Result<Staged> {
    let fields = Fields { flags: Flags::VALUE, seq: 0, time_ms: 0, expires_ms, key, value: &[] };
    let value_at = FILE_HEADER_LEN as u64 + fields.before_value_len();
    let padding = padding_of(value_at + len);
    let end = value_at + len + padding.len() as u64;
    let file: Arc<dyn File> = dir.create_temporary(&name::target_path(&path))?.into();
    reserve(dir, &*file, end).map_err(|e| Error::io("cannot reserve space", &path, e))?;

    let mut chunk = vec![0; CHUNK_LEN];
    let (mut done, mut tail_crc) = (0, 0);
    while done < len {
        let n = match reader.read(&mut chunk) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            n => n.map_err(|e| failed(key, e))?,
        };
        if n == 0 {
            break;
        }
        write_all_at(&*file, &chunk[..n], value_at + done)
            .map_err(|e| Error::io("cannot write", &path, e))?;
        tail_crc = crc32c::crc32c_append(tail_crc, &chunk[..n]);
        done += n as u64;
    }
    check_complete(key, done, len)?;
    write_all_at(&*file, padding, value_at + len)
        .and_then(|()| file.set_len(end))
        .map_err(|e| Error::io("cannot write", &path, e))?;
    let tail_crc = crc32c::crc32c_append(tail_crc, padding);
    let tail_len = usize::try_from(len + padding.len() as u64).expect("values are below 4 GiB");
    let record_len = end - FILE_HEADER_LEN as u64;
    Ok(Staged { file, path, value_len: len, record_len, tail_crc, tail_len })
}

/// Reserves the file up to `end`, if that leaves space to merge it.
fn reserve(dir: &Directory, file: &dyn File, end: u64) -> io::Result<()> {
    let free = dir.fs.free_bytes(&dir.path)?;
    if free / 2 < end {
        let what = format!(
            "{end} bytes are wanted, and as many are kept free for a merge, but only {free} are free"
        );
        return Err(io::Error::new(io::ErrorKind::StorageFull, what));
    }
    match allocate(file, end) {
        Err(e) if e.kind() == io::ErrorKind::Unsupported => Ok(()),
        result => result,
    }
}

/// The bytes of one value, from front to back or from anywhere, see [`Bitcask::get_reader`].
#[derive(Debug)]
pub struct ValueReader {
    source: Source,
    len: u64,
    position: u64,
}

/// Where a value is read from.
#[derive(Debug)]
enum Source {
    /// From this offset on.
    File(Arc<DataFile>, u64),
    /// It was compressed.
    Memory(Vec<u8>),
}

impl ValueReader {
    /// Bytes of the whole value.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the value has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Read for ValueReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.len.saturating_sub(self.position)).unwrap_or(usize::MAX);
        let len = buf.len().min(left);
        let n = match &self.source {
            Source::File(file, start) => file.read_at(&mut buf[..len], start + self.position)?,
            Source::Memory(value) => {
                let from = usize::try_from(self.position).unwrap_or(usize::MAX);
                value.get(from..).unwrap_or_default().read(&mut buf[..len])?
            }
        };
        self.position += n as u64;
        Ok(n)
    }
}

impl Seek for ValueReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(offset) => self.len.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
