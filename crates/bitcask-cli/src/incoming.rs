//! What comes from elsewhere into a store: changes in their order, and a report of what was not taken.

/// One change that a source gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    Put {
        key: Vec<u8>,
        value: Vec<u8>,
        /// Milliseconds since 1970; none: never.
        expires_ms: Option<u64>,
    },
    Delete {
        key: Vec<u8>,
    },
}

/// Something that a source did not give, or gave with a doubt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    /// The file, or the line: `3.bitcask.data`, `line 17`.
    pub(crate) place: String,
    /// Where in it, in bytes, if that is known.
    pub(crate) offset: Option<u64>,
    /// What was found, and what was done about it.
    pub(crate) what: String,
}

/// The first of the notices. More are counted only: a file of strangers may be wrong in any number of places.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Notices {
    pub(crate) list: Vec<Notice>,
    pub(crate) left_out: u64,
}

impl Notices {
    pub(crate) const MAX: usize = 100;

    pub(crate) fn add(&mut self, place: &str, offset: Option<u64>, what: String) {
        if self.list.len() < Self::MAX {
            self.list.push(Notice { place: place.into(), offset, what });
        } else {
            self.left_out += 1;
        }
    }
}
