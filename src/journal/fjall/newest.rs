//! The newest write-ahead file, open for syncing.
//!
//! The store begins `N+1.jnl` when `N.jnl` is full, and syncs that before. So the one that is known is the newest as long as
//! the next one is not there, which is asked by its name: no folder is listed, and no descriptor is wanted, for a sync.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::write_ahead;

/// See the module.
pub(super) struct Newest {
    folder: PathBuf,
    number: u64,
    /// Stays open from sync to sync, so that an error of the disk in between is told to it.
    file: File,
}

impl Newest {
    /// Looks for it in a folder.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        let number = |path: &PathBuf| path.file_stem()?.to_str()?.parse::<u64>().ok();
        let newest = write_ahead::files(folder)?.iter().filter_map(number).max();
        let number = newest.ok_or_else(gone)?;
        let file = File::open(path_of(folder, number))?;
        Ok(Self { folder: folder.to_owned(), number, file })
    }

    /// Forces it to the disk.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        loop {
            self.go_on()?;
            self.file.sync_data()?;
            // Else it was removed: because all that it held is written out, or by somebody else.
            if self.file.metadata()?.nlink() > 0 {
                return Ok(());
            }
            let newest = Self::open(&self.folder)?;
            if newest.number <= self.number {
                return Err(gone());
            }
            *self = newest;
        }
    }

    /// Takes the next one as long as there is one. The one before was synced when the next was begun.
    fn go_on(&mut self) -> io::Result<()> {
        loop {
            let number = self.number + 1;
            let path = path_of(&self.folder, number);
            match fs::symlink_metadata(&path) {
                Ok(_) => (self.number, self.file) = (number, File::open(path)?),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "its write-ahead files (*.jnl) are gone")
}

fn path_of(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number}.jnl"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_file_is_taken_and_one_that_is_gone_is_missed() {
        let folder = tempfile::tempdir().unwrap();
        let make = |number| drop(File::create_new(path_of(folder.path(), number)).unwrap());
        let remove = |number| fs::remove_file(path_of(folder.path(), number)).unwrap();
        assert_eq!(Newest::open(folder.path()).err().unwrap().kind(), io::ErrorKind::NotFound);
        make(9);
        make(10);
        let mut newest = Newest::open(folder.path()).unwrap();
        newest.sync().unwrap();
        assert_eq!(newest.number, 10);
        make(11);
        make(12);
        remove(9);
        remove(10);
        newest.sync().unwrap();
        assert_eq!(newest.number, 12);
        // Two begun, and all but the last removed, between two syncs.
        make(14);
        remove(12);
        newest.sync().unwrap();
        assert_eq!(newest.number, 14);
        remove(14);
        assert_eq!(newest.sync().unwrap_err().to_string(), "its write-ahead files (*.jnl) are gone");
    }
}
