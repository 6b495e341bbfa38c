//! A hint file as a whole: is it what it should be? For verify and repair; [`HintFile`](crate::hint::HintFile) is for who
//! believes in it.

use std::path::Path;

use crate::error::{Error, Result};
use crate::fs::{Access, File, Fs};
use crate::hint::{self, HINT_BLOCK_LEN, HINT_HEADER_LEN, HintEntry, HintHeader};
use crate::record::{Flags, Mark};
use crate::walk::{Step, Walker, read_patiently};

/// Something is wrong in a stretch of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HintFault {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) what: &'static str,
}

/// All bytes of a hint file, in any state.
#[derive(Debug)]
pub(crate) struct WholeHint {
    pub(crate) header: Option<(HintHeader, u32)>,
    bytes: Vec<u8>,
    len: u64,
}

impl WholeHint {
    /// Reads it through one handle, because a rename may put another in its place. None if there is none.
    pub(crate) fn read(fs: &dyn Fs, path: &Path) -> Result<Option<Self>> {
        let failed = |e| Error::io("cannot read", path, e);
        let file = match fs.open(path, Access::Read) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(failed)?,
        };
        let len = file.len().map_err(failed)?;
        let mut bytes = vec![0; HINT_HEADER_LEN];
        let n = read_patiently(&*file, &mut bytes, 0, |_| {}).map_err(failed)?;
        bytes.truncate(n);
        let header = <&[u8; HINT_HEADER_LEN]>::try_from(&*bytes).ok().and_then(HintHeader::decode);
        if let Some((header, _)) = &header {
            let claimed = header.block_count().saturating_mul(HINT_BLOCK_LEN as u64);
            let blocks = claimed.min(len - HINT_HEADER_LEN as u64);
            // A hint is smaller than its data file.
            let blocks = usize::try_from(blocks).expect("files are below 16 GiB");
            bytes.resize(HINT_HEADER_LEN + blocks, 0);
            let rest = bytes.get_mut(HINT_HEADER_LEN..).unwrap_or_default();
            let from = HINT_HEADER_LEN as u64;
            let n = read_patiently(&*file, rest, from, |_| {}).map_err(failed)?;
            bytes.truncate(HINT_HEADER_LEN + n);
        }
        Ok(Some(Self { header, bytes, len }))
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The entries of all blocks that check out, and what is wrong with the file.
    pub(crate) fn entries(&self) -> (Vec<HintEntry>, Vec<HintFault>) {
        let Some((header, crc)) = &self.header else {
            let what = "the header of the hint file is damaged";
            return (Vec::new(), vec![HintFault { from: 0, to: self.len, what }]);
        };
        let (mut entries, mut faults) = (Vec::new(), Vec::new());
        let wanted = header.block_count().saturating_mul(HINT_BLOCK_LEN as u64);
        if wanted.saturating_add(HINT_HEADER_LEN as u64) != self.len {
            let what = "the hint file has another length than its header says";
            faults.push(HintFault { from: self.bytes.len() as u64, to: self.len, what });
        }
        let blocks = self.bytes.get(HINT_HEADER_LEN..).unwrap_or_default();
        for (index, block) in (0..).zip(blocks.chunks(HINT_BLOCK_LEN)) {
            match header.decode_block(*crc, index, block) {
                Some(block) => entries.extend(block),
                None => faults.push(block_fault(index, "a block of the hint file is damaged")),
            }
        }
        (entries, faults)
    }

    /// What is wrong with it, given all changes in the part of the data file that it covers.
    pub(crate) fn compare(&self, entries: &mut Vec<HintEntry>) -> Vec<HintFault> {
        let (_, mut faults) = self.entries();
        let Some((header, _)) = self.header else { return faults };
        entries.retain(|entry| entry.offset() < header.covered);
        let right = hint::encode(header, entries);
        let what = "the hint file says something else than its data file";
        let header_differs = self.bytes.get(..HINT_HEADER_LEN) != right.get(..HINT_HEADER_LEN);
        if header_differs {
            // The checksums of all blocks start from that of the header.
            faults.push(HintFault { from: 0, to: HINT_HEADER_LEN as u64, what });
            return faults;
        }
        let blocks = |bytes: &[u8]| bytes.len().saturating_sub(HINT_HEADER_LEN);
        let pairs = self.bytes.get(HINT_HEADER_LEN..).unwrap_or_default().chunks(HINT_BLOCK_LEN);
        let pairs =
            pairs.zip(right.get(HINT_HEADER_LEN..).unwrap_or_default().chunks(HINT_BLOCK_LEN));
        for (index, (is, should_be)) in (0..).zip(pairs) {
            let fault = block_fault(index, what);
            if is != should_be && !faults.iter().any(|known| known.from == fault.from) {
                faults.push(fault);
            }
        }
        if faults.is_empty() && blocks(&self.bytes) != blocks(&right) {
            faults.push(HintFault { from: HINT_HEADER_LEN as u64, to: self.len, what });
        }
        faults
    }
}

fn block_fault(index: u64, what: &'static str) -> HintFault {
    let from = HINT_HEADER_LEN as u64 + index * HINT_BLOCK_LEN as u64;
    HintFault { from, to: from + HINT_BLOCK_LEN as u64, what }
}

/// Whether a hint is that of this data file: whether there is, where it says so, the mark that it speaks of.
pub(crate) fn speaks_of(
    header: &HintHeader,
    (id, seed): (u64, u32),
    file: &dyn File,
    path: &Path,
) -> Result<bool> {
    if header.file_id != id || header.seed != seed {
        return Ok(false);
    }
    let len = file.len().map_err(|e| Error::io("cannot read the length", path, e))?;
    let mut walker = Walker::new(file, path, seed, (header.covered, len));
    Ok(match walker.next()? {
        Some(Step::Record(_, record)) if record.flags.has(Flags::MARK) => {
            record.flags.has(Flags::END) == header.ended
                && Mark::decode(record.value).is_ok_and(|mark| mark.digest == header.digest)
        }
        _ => false,
    })
}
