//! A file that has its name once it is whole.
//!
//! Owns what is there before that: nothing at all where the file system knows files without a name (on Linux most do), so
//! that a command that is killed leaves nothing behind; else a file beside it, `NAME.part`, which goes away with a command
//! that fails and with the next one that is after the same name. It refuses to replace a file that is there.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use super::Error;

/// A file that only its owner may read.
pub(super) struct NewFile {
    file: File,
    /// The name that it has meanwhile; none: it has none.
    part: Option<PathBuf>,
    path: PathBuf,
}

impl NewFile {
    /// Refuses one that is there.
    pub(super) fn create(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::File { path: path.to_owned(), source };
        if path.exists() {
            let there = "it is there already; name another one, or move it away";
            return Err(failed(io::Error::new(io::ErrorKind::AlreadyExists, there)));
        }
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        // What an earlier try left, perhaps for more eyes.
        match fs::remove_file(&part) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        if let Some(file) = without_a_name(path) {
            return Ok(Self { file, part: None, path: path.to_owned() });
        }
        let file = options().create_new(true).open(&part).map_err(failed)?;
        Ok(Self { file, part: Some(part), path: path.to_owned() })
    }

    /// What was written so far, from its beginning.
    pub(super) fn read_back(&self) -> io::Result<File> {
        let mut file = self.file.try_clone()?;
        file.rewind()?;
        Ok(file)
    }

    /// Forces it to the disk and gives it its name.
    pub(super) fn finish(mut self) -> Result<(), Error> {
        let path = self.path.clone();
        self.name().map_err(|source| Error::File { path, source })
    }

    fn name(&mut self) -> io::Result<()> {
        self.file.sync_all()?;
        match &self.part {
            Some(part) => fs::rename(part, &self.path)?,
            None => give_name(&self.file, &self.path)?,
        }
        self.part = None;
        File::open(folder_of(&self.path))?.sync_all()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(part) = &self.part {
            let _ = fs::remove_file(part);
        }
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A file in the same folder that has no name yet; none, where the system or its file system knows no such thing.
#[cfg(target_os = "linux")]
fn without_a_name(path: &Path) -> Option<File> {
    let file = options().custom_flags(libc::O_TMPFILE).open(folder_of(path)).ok()?;
    // It is named by way of there.
    by_number(&file).exists().then_some(file)
}

#[cfg(target_os = "linux")]
fn by_number(file: &File) -> PathBuf {
    use std::os::fd::AsRawFd as _;
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

#[cfg(target_os = "linux")]
fn give_name(file: &File, path: &Path) -> io::Result<()> {
    use rustix::fs::{AtFlags, CWD, linkat};
    Ok(linkat(CWD, by_number(file), CWD, path, AtFlags::SYMLINK_FOLLOW)?)
}

#[cfg(not(target_os = "linux"))]
fn without_a_name(_: &Path) -> Option<File> {
    None
}

#[cfg(not(target_os = "linux"))]
fn give_name(_: &File, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_has_its_name_once_it_is_whole_and_leaves_nothing_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("one");
        fs::write(folder.path().join("one.part"), "of a command that was killed").unwrap();
        let mut given_up = NewFile::create(&path).unwrap();
        given_up.write_all(b"half").unwrap();
        assert!(!names(folder.path()).contains(&"one".to_owned()));
        drop(given_up);
        assert_eq!(names(folder.path()), [""; 0]);

        let mut file = NewFile::create(&path).unwrap();
        file.write_all(b"whole").unwrap();
        let mut read = String::new();
        file.read_back().unwrap().read_to_string(&mut read).unwrap();
        assert_eq!(read, "whole");
        file.finish().unwrap();
        assert_eq!(
            (names(folder.path()), fs::read_to_string(&path).unwrap()),
            (vec!["one".to_owned()], read)
        );
        assert!(NewFile::create(&path).is_err(), "it is there already");
    }

    /// As on file systems that know no files without a name.
    #[test]
    fn a_file_beside_its_place_goes_away_too() {
        let folder = tempfile::tempdir().unwrap();
        let (path, part) = (folder.path().join("one"), folder.path().join("one.part"));
        let named = || NewFile {
            file: options().create_new(true).open(&part).unwrap(),
            part: Some(part.clone()),
            path: path.clone(),
        };
        drop(named());
        assert_eq!(names(folder.path()), [""; 0]);
        named().finish().unwrap();
        assert_eq!(names(folder.path()), ["one"]);
    }
}
