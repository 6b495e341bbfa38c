//! A file that is written for the user: it is there when all of it is.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
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
        let replaced = fs::metadata(&path).ok();
        if replaced.as_ref().is_some_and(|replaced| !replaced.is_file()) {
            return Ok(Self { file: File::create(&path)?, path, partial: None });
        }
        let (file, partial) = create_beside(&path, replaced.as_ref())?;
        let outfile = Self { file, path, partial: Some(partial) };
        if let Some(replaced) = replaced {
            outfile.file.set_permissions(replaced.permissions())?;
        }
        Ok(outfile)
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

/// A new file, for nobody else to write to: others may be writing a file for the same name, and a name that is taken
/// is somebody's. What is to replace a file is at no time readable by more people than that was.
fn create_beside(path: &Path, replaced: Option<&Metadata>) -> io::Result<(File, PathBuf)> {
    let mode = if replaced.is_some() { 0o600 } else { 0o666 };
    let mut number: u32 = 0;
    loop {
        let mut partial = path.as_os_str().to_owned();
        partial.push(format!(".{}-{number}.partial", std::process::id()));
        let partial = PathBuf::from(partial);
        match File::options().write(true).create_new(true).mode(mode).open(&partial) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => number = number.saturating_add(1),
            file => return Ok((file?, partial)),
        }
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

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A directory that is gone when the test ends.
    struct Scene(PathBuf);

    impl Scene {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("outfile-{name}-{}", std::process::id()));
            fs::create_dir(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Scene {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn fill(outfile: &Outfile, text: &str) {
        outfile.writer().unwrap().write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn two_that_write_one_file_are_in_nobodys_way() {
        let scene = Scene::new("two");
        let path = scene.0.join("out");
        let theirs = scene.0.join("out.partial");
        fs::write(&theirs, "theirs").unwrap();
        let [one, two] = [(); 2].map(|()| Outfile::create(&path).unwrap());
        fill(&one, "one and more");
        fill(&two, "two");
        one.finish().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one and more");
        two.finish().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
        drop(Outfile::create(&path).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(fs::read_to_string(&theirs).unwrap(), "theirs");
        assert_eq!(fs::read_dir(&scene.0).unwrap().count(), 2);
    }

    #[test]
    fn the_mode_of_what_is_replaced_is_kept() {
        let scene = Scene::new("mode");
        for mode in [0o600, 0o640, 0o755] {
            let path = scene.0.join(format!("{mode:o}"));
            fs::write(&path, "secret").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let outfile = Outfile::create(&path).unwrap();
            fill(&outfile, "new");
            outfile.finish().unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, mode);
        }
    }
}
