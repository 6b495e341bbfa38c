//! Stands in for Zstandard in a build without it: `record` calls its records `Unsupported` before they get here.

pub(super) const AVAILABLE: bool = false;

/// There is none.
#[derive(Debug)]
pub(crate) enum Encoder {}

impl Encoder {
    pub(crate) fn new(_id: u32, _dictionary: &[u8], _level: i32) -> Option<Self> {
        None
    }

    pub(crate) fn id(&self) -> u32 {
        match *self {}
    }
}

/// There is none.
#[derive(Debug)]
pub(crate) enum Decoder {}

impl Decoder {
    pub(crate) fn new(_id: u32, _dictionary: &[u8]) -> Option<Self> {
        None
    }

    pub(crate) fn id(&self) -> u32 {
        match *self {}
    }
}

pub(crate) fn train(_samples: &[u8], _lens: &[usize], _len_max: usize) -> Option<Vec<u8>> {
    None
}

pub(super) fn compress(
    _before: &[u8],
    _value: &[u8],
    _len_max: usize,
    _level: i32,
) -> Option<Vec<u8>> {
    None
}

pub(super) fn compress_by(
    dictionary: &Encoder,
    _before: &[u8],
    _value: &[u8],
    _len_max: usize,
) -> Option<Vec<u8>> {
    match *dictionary {}
}

pub(super) fn len_max(_compressed_len: usize) -> u64 {
    0
}

pub(super) fn decompress(_compressed: &[u8], _len: usize) -> Option<Vec<u8>> {
    None
}

pub(super) fn decompress_by(
    dictionary: &Decoder,
    _compressed: &[u8],
    _len: usize,
) -> Option<Vec<u8>> {
    match *dictionary {}
}
