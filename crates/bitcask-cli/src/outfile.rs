//! A file that is written for the user: it is there when all of it is.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// What is written goes to a file beside it, which takes its name at the end: what was there before stays until then.
pub(crate) struct Outfile {
    file: File,
    path: PathBuf,
    /// None for a device or a pipe, which are written to as they are.
    partial: Option<PathBuf>,
}

impl Outfile {
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        // A symbolic link stays one.
        let path = match fs::canonicalize(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => path.to_owned(),
            path => path?,
        };
        let kind = fs::metadata(&path).map(|metadata| metadata.file_type());
        if let Ok(kind) = kind
            && !kind.is_file()
        {
            return Ok(Self { file: File::create(&path)?, path, partial: None });
        }
        let mut partial = path.clone().into_os_string();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        Ok(Self { file: File::create(&partial)?, path, partial: Some(partial) })
    }

    /// Where to write.
    pub(crate) fn writer(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Has the file be there, and stay there when the power goes.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        let Some(partial) = &self.partial else { return Ok(()) };
        self.file.sync_all()?;
        fs::rename(partial, &self.path)?;
        self.partial = None;
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl Drop for Outfile {
    fn drop(&mut self) {
        if let Some(partial) = &self.partial {
            // Ignored: its name says what it is.
            drop(fs::remove_file(partial));
        }
    }
}
