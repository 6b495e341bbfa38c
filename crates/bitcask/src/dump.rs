//! What is in a store, for humans: one line a record, one line a hint entry. Reads the bytes as they are, in any state,
//! and takes no lock. Golden scripts pin the format with it.

use std::path::Path;
use std::sync::Arc;

use crate::compress;
use crate::dictionary::DictionaryFile;
use crate::error::{Error, Result};
use crate::fs::{Access, Fs, read_full_at};
use crate::header::{FILE_HEADER_LEN, FileHeader, HeaderFault};
use crate::hint::{HintCursor, HintEntry, HintFile};
use crate::inspect::{SHOWN_LEN, flag_names, said};
use crate::name::Name;
use crate::record::{self, Fault, Flags, NEVER, Record};

/// All files of the store in `dir`, decoded.
///
/// # Errors
/// `Io`. Damage is not an error: it is shown.
pub fn dump(fs: &Arc<dyn Fs>, dir: &Path) -> Result<String> {
    let mut entries = fs.list(dir).map_err(|e| Error::io("cannot list the directory", dir, e))?;
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let mut out = String::new();
    for entry in entries {
        let path = dir.join(&entry.name);
        let name = entry.name.to_string_lossy();
        match Name::of(&entry.name) {
            Name::Data(..) => {
                line(&mut out, &format!("{name}: {} bytes", entry.len));
                dump_data(&mut out, &read(&**fs, &path)?);
            }
            Name::Hint(_) => {
                line(&mut out, &format!("{name}: {} bytes", entry.len));
                dump_hint(&mut out, fs, &path)?;
            }
            Name::Dictionary(id) => {
                line(&mut out, &format!("{name}: {} bytes", entry.len));
                dump_dictionary(&mut out, &read(&**fs, &path)?, id);
            }
            Name::Temporary(_) => {
                line(&mut out, &format!("{name}: {} bytes, unfinished", entry.len))
            }
            Name::Foreign => line(&mut out, &format!("{name}: foreign")),
            Name::Lock | Name::Destroying => {}
        }
    }
    Ok(out)
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

fn read(fs: &dyn Fs, path: &Path) -> Result<Vec<u8>> {
    let failed = |e| Error::io("cannot read", path, e);
    let file = fs.open(path, Access::Read).map_err(failed)?;
    let len = usize::try_from(file.len().map_err(failed)?).expect("files are below 16 GiB");
    let mut bytes = vec![0; len];
    let n = read_full_at(&*file, &mut bytes, 0).map_err(failed)?;
    bytes.truncate(n);
    Ok(bytes)
}

fn dump_data(out: &mut String, bytes: &[u8]) {
    let (header, seed) = match FileHeader::decode(bytes) {
        Ok(decoded) => decoded,
        Err(HeaderFault::Damaged(what)) => return line(out, &format!("  header bad: {what}")),
        Err(HeaderFault::Version(version)) => {
            return line(out, &format!("  header of version {version}"));
        }
    };
    let store: String = header.store_id.iter().map(|byte| format!("{byte:02x}")).collect();
    line(
        out,
        &format!(
            "  header: {:?}, file {}, next seq {}, time {}, salt {:08x}, store {store}, seed {seed:08x}",
            header.kind, header.file_id, header.next_seq, header.previous, header.salt
        ),
    );
    let mut offset = FILE_HEADER_LEN;
    while let Some(rest) = bytes.get(offset..).filter(|rest| !rest.is_empty()) {
        if rest.iter().all(|&byte| byte == 0) {
            return line(out, &format!("  {offset}: {} zeros", rest.len()));
        }
        let (record, crc) = match record::decode(rest, offset as u64, seed) {
            Ok(record) => (record, "crc ok"),
            Err(fault @ (Fault::Checksum { .. } | Fault::Unsupported(_))) => {
                let crc =
                    if let Fault::Unsupported(_) = fault { "unknown flags" } else { "crc bad" };
                (record::parse(rest).expect("only its checksum or flags are wrong"), crc)
            }
            Err(fault) => {
                return line(out, &format!("  {offset}: {} bytes, no record: {fault}", rest.len()));
            }
        };
        line(out, &format!("  {offset}: {}  {crc}", shown_record(&record)));
        offset += record.len;
    }
}

/// Length, flags, sequence number, time, and what it says.
fn shown_record(record: &Record<'_>) -> String {
    let flags = flag_names(record.flags).join("+");
    let mut head = format!("{}b  {flags}  seq {}  time {}", record.len, record.seq, record.time_ms);
    if record.expires_ms != NEVER {
        head += &format!("  expires {}", record.expires_ms);
    }
    let what = if let Some(said) = said(record) {
        said
    } else if record.flags.has(Flags::TOMBSTONE) {
        shown_bytes(record.key)
    } else if record.flags.is_compressed() {
        format!("{} = {}", shown_bytes(record.key), shown_compressed(record))
    } else {
        format!("{} = {}", shown_bytes(record.key), shown_bytes(record.value))
    };
    format!("{head}  {what}")
}

/// How long a compressed value is, and what it is if no dictionary is needed to know.
fn shown_compressed(record: &Record<'_>) -> String {
    let Record { flags, value: stored, .. } = *record;
    match compress::dictionary_id(flags, stored) {
        Ok(Some(id)) => format!("({} bytes, dictionary {id:08x})", stored.len()),
        Ok(None) => match compress::decompress(flags, stored, None) {
            Ok(value) => format!("{} ({} bytes stored)", shown_bytes(&value), stored.len()),
            Err(fault) => format!("({} bytes, {fault})", stored.len()),
        },
        Err(fault) => format!("({} bytes, {fault})", stored.len()),
    }
}

fn dump_dictionary(out: &mut String, bytes: &[u8], id: u32) {
    let text = match DictionaryFile::decode(bytes, id) {
        Ok(file) => {
            let store: String = file.store_id.iter().map(|byte| format!("{byte:02x}")).collect();
            let (number, len) = (file.number, file.dictionary.len());
            format!("  dictionary {id:08x}: number {number}, store {store}, {len} bytes")
        }
        Err(fault) => format!("  bad: {fault:?}"),
    };
    line(out, &text);
}

fn shown_bytes(bytes: &[u8]) -> String {
    match bytes.get(..SHOWN_LEN) {
        Some(start) if start.len() < bytes.len() => {
            format!("\"{}\".. ({} bytes)", start.escape_ascii(), bytes.len())
        }
        _ => format!("\"{}\"", bytes.escape_ascii()),
    }
}

fn dump_hint(out: &mut String, fs: &Arc<dyn Fs>, path: &Path) -> Result<()> {
    let Some(hint) = HintFile::open(fs, path)? else {
        line(out, "  header bad");
        return Ok(());
    };
    let header = hint.header;
    line(
        out,
        &format!(
            "  header: file {}, seed {:08x}, covers {}{}, digest {:08x}, {} entries, seq {} to {}",
            header.file_id,
            header.seed,
            header.covered,
            if header.ended { " and ends" } else { "" },
            header.digest,
            header.count,
            header.seq_min,
            header.seq_max
        ),
    );
    let Ok(mut cursor) = HintCursor::starting_at(&hint, 0)? else {
        line(out, "  block bad");
        return Ok(());
    };
    let mut lines = Vec::new();
    if cursor.take_up_to(u64::MAX, |entry| lines.push(shown_entry(&entry)))?.is_err() {
        lines.push("  block bad".to_owned());
    }
    lines.iter().for_each(|text| line(out, text));
    Ok(())
}

fn shown_entry(entry: &HintEntry) -> String {
    let HintEntry { hash, seq, expires_ms, .. } = entry;
    let kind = if entry.is_tombstone() { "tombstone" } else { "value" };
    let collides = if entry.collides() { "+collides" } else { "" };
    let expires =
        if *expires_ms == NEVER { String::new() } else { format!("  expires {expires_ms}") };
    let (offset, len) = (entry.offset(), entry.len());
    format!("  {hash:016x}: {kind}{collides}  seq {seq}{expires}  at {offset}, {len}b")
}
