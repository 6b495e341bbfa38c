//! Lines that were not taken, kept in a file for whoever mends them.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::noted::{State, beside};
use crate::cli;
use crate::failure::Failure;
use crate::incoming::Notice;

/// Rejected lines that are told; the others are in the file all the same.
const TOLD_MAX: usize = 20;

/// The file comes into being with the first line. What is in a file already stays: it may be all that is left of an
/// earlier import's lines.
pub(super) struct Rejects {
    path: PathBuf,
    /// Otherwise another name is taken where there is a file.
    is_fixed: bool,
    file: Option<File>,
    pub(super) told: Vec<Notice>,
}

impl Rejects {
    /// `input` is what is imported, if it is a file.
    pub(super) fn new(
        args: &cli::Import,
        state: &State,
        input: Option<&File>,
    ) -> Result<Self, Failure> {
        let given = args.rejects.as_ref();
        let fixed = given.or(state.rejects.as_ref());
        if let Some(path) = fixed {
            let is_new = !args.resume && state.rejects.is_none();
            check(path, input, is_new)?;
        }
        let name = if input.is_some() && args.path != Path::new("-") {
            beside(&args.path, "rejected")
        } else {
            "import.rejected".into()
        };
        let is_fixed = fixed.is_some();
        let path = fixed.cloned().unwrap_or(name);
        Ok(Self { path, is_fixed, file: None, told: Vec::new() })
    }

    pub(super) fn take(&mut self, place: String, what: String, raw: &[u8]) -> Result<(), Failure> {
        if self.file.is_none() {
            let opened = self.open().map_err(|e| {
                Failure::file("cannot create", &self.path, &e)
                    .advise("pass --rejects PATH: what cannot be taken is kept there")
            });
            self.file = Some(opened?);
        }
        let file = self.file.as_mut().expect("it was just opened");
        file.write_all(raw).map_err(|e| Failure::file("cannot write", &self.path, &e))?;
        if self.told.len() < TOLD_MAX {
            let what = format!("rejected, and kept in {}: {what}", self.path.display());
            self.told.push(Notice { place, offset: None, what });
        }
        Ok(())
    }

    fn open(&mut self) -> io::Result<File> {
        if self.is_fixed {
            return File::options().append(true).create(true).open(&self.path);
        }
        let usual = self.path.clone();
        let mut number: u64 = 1;
        loop {
            match File::options().append(true).create_new(true).open(&self.path) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    number = number.saturating_add(1);
                    self.path = beside(&usual, &number.to_string());
                }
                file => return file,
            }
        }
    }

    /// Where they are, if there are any, and durable now.
    pub(super) fn finish(&mut self) -> Result<Option<PathBuf>, Failure> {
        let Some(file) = &self.file else {
            return Ok(self.is_fixed.then(|| self.path.clone()).filter(|path| path.exists()));
        };
        match file.sync_all() {
            // A pipe, or a device.
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => {}
            synced => synced.map_err(|e| Failure::file("cannot write", &self.path, &e))?,
        }
        Ok(Some(self.path.clone()))
    }
}

/// Refuses a file that is there, and most of all the one that is read. Devices and pipes are no files.
fn check(path: &Path, input: Option<&File>, is_new: bool) -> Result<(), Failure> {
    let Ok(there) = path.metadata() else { return Ok(()) };
    let identity = |file: &File| file.metadata().map(|file| (file.dev(), file.ino())).ok();
    if !there.is_file() {
        return Ok(());
    }
    let help = "pass the path of a new file to --rejects";
    if input.and_then(identity) == Some((there.dev(), there.ino())) {
        let what = format!("what is rejected cannot be kept in the input: {}", path.display());
        return Err(Failure::invalid(what).advise(help));
    }
    if is_new {
        let what = format!("there is a file already: {}", path.display());
        return Err(Failure::invalid(what).advise(help));
    }
    Ok(())
}
