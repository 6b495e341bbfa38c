//! The first 64 bytes of a data file. Pure functions; `docs/format.md` is the specification.
#![warn(clippy::indexing_slicing)]

/// Bytes before the first record of a data file.
pub(crate) const FILE_HEADER_LEN: usize = 64;

pub(crate) const MAGIC: &[u8; 8] = b"bitcask\0";
const VERSION: u16 = 1;
const CRC_AT: usize = 60;

/// Who wrote a data file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    /// Puts: part of the log, in the order of file ids.
    Log,
    /// Merge: outside that order, and durable before it had its name.
    Merged,
}

/// The header of a data file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileHeader {
    pub(crate) kind: FileKind,
    pub(crate) salt: u32,
    pub(crate) store_id: [u8; 16],
    pub(crate) file_id: u64,
    pub(crate) next_seq: u64,
    /// The log file before this one, if it was not known to be durable when this one was begun; else 0.
    pub(crate) previous: u64,
}

/// Why bytes are not a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    /// Too short, or damaged.
    Damaged(&'static str),
    /// Written by a later version.
    Version(u16),
}

impl FileHeader {
    /// The bytes, and the seed of the file's checksums.
    pub(crate) fn encode(&self) -> ([u8; FILE_HEADER_LEN], u32) {
        let mut bytes = [0; FILE_HEADER_LEN];
        let kind = match self.kind {
            FileKind::Log => 1,
            FileKind::Merged => 2,
        };
        put(&mut bytes, 0, MAGIC);
        put(&mut bytes, 8, &VERSION.to_le_bytes());
        put(&mut bytes, 10, &[kind]);
        put(&mut bytes, 12, &self.salt.to_le_bytes());
        put(&mut bytes, 16, &self.store_id);
        put(&mut bytes, 32, &self.file_id.to_le_bytes());
        put(&mut bytes, 40, &self.next_seq.to_le_bytes());
        put(&mut bytes, 48, &self.previous.to_le_bytes());
        let (body, _) = bytes.split_at(CRC_AT);
        let crc = crc32c::crc32c(body);
        put(&mut bytes, CRC_AT, &crc.to_le_bytes());
        (bytes, crc)
    }

    /// The header, and the seed of the file's checksums.
    pub(crate) fn decode(bytes: &[u8]) -> Result<(Self, u32), HeaderFault> {
        let bytes: &[u8; FILE_HEADER_LEN] = bytes
            .get(..FILE_HEADER_LEN)
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or(HeaderFault::Damaged("the file is shorter than its header"))?;
        let (body, crc) = bytes.split_at(CRC_AT);
        let computed = crc32c::crc32c(body);
        if crc != computed.to_le_bytes() {
            return Err(HeaderFault::Damaged("the checksum of the file header is wrong"));
        }
        if field::<8>(bytes, 0) != *MAGIC {
            return Err(HeaderFault::Damaged("the file is no data file of a bitcask store"));
        }
        match u16::from_le_bytes(field(bytes, 8)) {
            VERSION => {}
            version => return Err(HeaderFault::Version(version)),
        }
        let kind = match field::<1>(bytes, 10) {
            [1] => FileKind::Log,
            [2] => FileKind::Merged,
            _ => return Err(HeaderFault::Damaged("the file header has an unknown kind")),
        };
        let header = Self {
            kind,
            salt: u32::from_le_bytes(field(bytes, 12)),
            store_id: field(bytes, 16),
            file_id: u64::from_le_bytes(field(bytes, 32)),
            next_seq: u64::from_le_bytes(field(bytes, 40)),
            previous: u64::from_le_bytes(field(bytes, 48)),
        };
        Ok((header, computed))
    }
}

#[expect(clippy::indexing_slicing, reason = "offsets are constants within a header of fixed size")]
fn put(bytes: &mut [u8; FILE_HEADER_LEN], at: usize, field: &[u8]) {
    bytes[at..at + field.len()].copy_from_slice(field);
}

#[expect(clippy::indexing_slicing, reason = "offsets are constants within a header of fixed size")]
fn field<const N: usize>(bytes: &[u8; FILE_HEADER_LEN], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[at..at + N]);
    field
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_comes_back_and_every_flipped_bit_is_seen() {
        let header = FileHeader {
            kind: FileKind::Merged,
            salt: 0x1234_5678,
            store_id: *b"0123456789abcdef",
            file_id: u64::MAX - 1,
            next_seq: 9,
            previous: 7,
        };
        let (bytes, seed) = header.encode();
        assert_eq!(FileHeader::decode(&bytes), Ok((header, seed)));
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(FileHeader::decode(&bytes).is_err(), "bit {bit}");
        }
    }
}
