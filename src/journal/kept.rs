//! A gap that is not in the log yet, kept beside it for a process that ends before the log takes writes again.
//!
//! Owns the file `gap`. It takes its room when it is made, and is written over in place, so a full disk does not keep
//! it from being written; a disk that is read-only does. A power cut may leave what was there before.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

use projections::Millis;
use serde::{Deserialize, Serialize};

/// Its length, in bytes.
const ROOM: usize = 512;
/// Bytes of a cause, at most.
const CAUSE_BYTES: usize = 200;

/// What a log could not record so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptGap {
    /// When it failed.
    pub from: Millis,
    /// How many events it does not have.
    pub unrecorded: u64,
    /// Why.
    pub cause: String,
}

/// See the module.
pub(super) struct GapFile(File);

impl GapFile {
    /// Opens it, or makes it.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = Self(file.open(folder.join("gap"))?);
        if file.0.metadata()?.len() < ROOM as u64 {
            file.write(None)?;
        }
        Ok(file)
    }

    /// Nothing, where it holds none, or what nobody can read.
    pub(super) fn read(&self) -> Option<KeptGap> {
        let mut text = [0; ROOM];
        self.0.read_exact_at(&mut text, 0).ok()?;
        serde_json::from_slice(text.trim_ascii()).ok()
    }

    pub(super) fn write(&self, gap: Option<&KeptGap>) -> io::Result<()> {
        let mut text = Vec::new();
        if let Some(gap) = gap {
            let mut gap = gap.clone();
            // With every character escaped it is six times as long at most, and quotes and backslashes twice.
            gap.cause.retain(|letter| !letter.is_control());
            gap.cause.truncate(gap.cause.floor_char_boundary(CAUSE_BYTES));
            text = serde_json::to_vec(&gap)?;
        }
        text.resize(ROOM, b' ');
        self.0.write_all_at(&text, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_kept_until_there_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = GapFile::open(folder.path()).unwrap();
        assert_eq!(file.read(), None);
        let cause = "No space \"left\" on device\n".repeat(30);
        file.write(Some(&KeptGap { from: 1_764_547_200_000, unrecorded: u64::MAX, cause })).unwrap();
        let kept = GapFile::open(folder.path()).unwrap().read().unwrap();
        assert_eq!((kept.from, kept.unrecorded), (1_764_547_200_000, u64::MAX));
        assert!(kept.cause.starts_with("No space \"left\" on device") && kept.cause.len() <= CAUSE_BYTES);
        file.write(None).unwrap();
        assert_eq!(GapFile::open(folder.path()).unwrap().read(), None);
        assert_eq!(folder.path().join("gap").metadata().unwrap().len(), ROOM as u64);
    }
}
