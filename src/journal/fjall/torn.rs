//! The torn end of a write-ahead log: what a lost machine left half written, cut off before the store opens.
//!
//! Owns the decision. `head` tells the last record that was forced to the disk. Where the whole batches before the bad
//! place reach that far, only what nobody was told of is lost, and the file is shortened where it lies: no copy, no
//! room. Where they do not, the records may still be in the store's tables: the file is set aside whole, the store opens
//! on its good part, and the records are looked for; if any is missing, the file is put back as it was. It refuses to
//! shorten a file that is not the newest one: the store forces each to the disk before it begins the next. Its
//! invariant: **what is cut off holds no record that `head` knows of, unless that record is in the tables**; and a kill
//! at any moment leaves either the old file or the new one.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use projections::Seq;

use super::{opening::damaged_part, write_ahead};
use crate::journal::Error;

/// Looks at the lock of a log that is open elsewhere, and the time between two: whoever only asks whether it is open
/// holds it for a moment too.
const LOOKS: u32 = 3;
const BETWEEN: Duration = Duration::from_millis(100);
/// The fewest bytes that a record takes in a write-ahead file.
const SMALLEST_RECORD: u64 = 21 + 9 + 62;
/// The last records that are looked for where nothing is torn and the write-ahead log holds none of them.
const LOOKED_FOR: u64 = 4_096;
/// What the end of a set aside file's name is.
const ASIDE: &str = "torn";

/// What a torn end was.
#[derive(Debug)]
struct Torn {
    /// Its file.
    file: PathBuf,
    /// Where what is whole ends.
    place: u64,
    /// How long what follows is.
    bytes: u64,
    /// What can be made out of the records in it: the first, the last, how many.
    records: Option<(Seq, Seq, u64)>,
    /// The whole file, while it is not decided.
    aside: Option<PathBuf>,
}

/// How the write-ahead log ends.
#[derive(Debug)]
pub(super) struct End {
    /// The last record in it; 0: there is none.
    last: Seq,
    /// The last record that `head` knows of.
    pub(super) known: Seq,
    /// What was taken off, or is to be.
    torn: Option<Torn>,
}

/// Takes the lock, to be let go of before the store opens: it takes it itself.
///
/// # Errors
/// [`Error::InUse`], [`Error::NoLockFile`], [`Error::Store`].
pub(super) fn lock(path: &Path) -> Result<File, Error> {
    let failed = |source: io::Error| Error::Store {
        what: "take the lock of",
        path: path.to_owned(),
        source: source.into(),
    };
    let file = OpenOptions::new().read(true).write(true).open(path.join("lock"));
    let file = file.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Error::NoLockFile { path: path.to_owned() },
        _ => failed(error),
    })?;
    for look in 1..=LOOKS {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
            Err(TryLockError::WouldBlock) if look == LOOKS => {}
            Err(TryLockError::WouldBlock) => pause(),
        }
    }
    Err(Error::InUse { path: path.to_owned() })
}

#[expect(
    clippy::disallowed_methods,
    reason = "a journal is opened where blocking is allowed, as the store does it"
)]
fn pause() {
    std::thread::sleep(BETWEEN);
}

/// Looks at the write-ahead log and takes off its torn end, if it has one; under the lock.
///
/// # Errors
/// [`Error::Damaged`]: a file that was forced to the disk is not whole. [`Error::Store`].
pub(super) fn take_off(path: &Path, known: Seq) -> Result<End, Error> {
    let failed = |source: io::Error| Error::Store {
        what: "read the write-ahead log of",
        path: path.to_owned(),
        source: source.into(),
    };
    undo(path).map_err(failed)?;
    let files = write_ahead::files(path).map_err(failed)?;
    let mut last = 0;
    for (number, file) in files.iter().enumerate() {
        let scan = write_ahead::scan(file).map_err(failed)?;
        last = last.max(scan.last);
        if !scan.is_torn() {
            continue;
        }
        if number + 1 < files.len() {
            let what = damaged_part(file, scan.whole);
            return Err(Error::Damaged { what, path: path.to_owned() });
        }
        let records = write_ahead::records_after(file, scan.whole, scan.used).map_err(failed)?;
        let (place, bytes) = (scan.whole, scan.used - scan.whole);
        let mut torn = Torn { file: file.clone(), place, bytes, records, aside: None };
        torn.shorten(last >= known).map_err(|source| Error::Store {
            what: "take the torn end off",
            path: path.to_owned(),
            source: source.into(),
        })?;
        return Ok(End { last, known, torn: Some(torn) });
    }
    Ok(End { last, known, torn: None })
}

/// Puts back what a start that was killed had set aside, and removes the copies of one before there was this.
fn undo(path: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(path)? {
        let aside = entry?.path();
        let Some(ended) = aside.extension().and_then(|end| end.to_str()) else { continue };
        if aside.with_extension("").extension().is_none_or(|end| end != "jnl") {
            continue;
        }
        match ended {
            ASIDE => std::fs::rename(&aside, aside.with_extension(""))?,
            "kept" => std::fs::remove_file(&aside)?,
            _ => {}
        }
    }
    Ok(())
}

impl Torn {
    fn shorten(&mut self, is_certain: bool) -> io::Result<()> {
        if is_certain {
            let file = OpenOptions::new().write(true).open(&self.file)?;
            file.set_len(self.place)?;
            return file.sync_all();
        }
        let mut aside = self.file.clone().into_os_string();
        aside.push(".");
        aside.push(ASIDE);
        let aside = PathBuf::from(aside);
        let part = self.file.with_extension("part");
        let mut to = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
        let copied = io::copy(&mut io::Read::take(File::open(&self.file)?, self.place), &mut to)
            .and_then(|_| to.sync_all())
            .and_then(|()| std::fs::rename(&self.file, &aside))
            .and_then(|()| std::fs::rename(&part, &self.file));
        if let Err(error) = copied {
            let _ = std::fs::remove_file(&part);
            if aside.exists() {
                std::fs::rename(&aside, &self.file)?;
            }
            return Err(error);
        }
        sync_folder(&self.file)?;
        self.aside = Some(aside);
        Ok(())
    }
}

impl End {
    /// The records that must be looked for in the store: those that `head` knows of and the write-ahead log does not
    /// hold. Where old traffic may have been dropped, they may be missing: nothing was, from `undropped` on. No more are
    /// looked at than a torn end can have held, or than make it sure that whole files are not missing.
    pub(super) fn to_look_for(&self, undropped: Option<Seq>) -> Option<(Seq, Seq)> {
        let held = self.torn.as_ref().map(|torn| torn.bytes / SMALLEST_RECORD + 1);
        let first = match (held, undropped) {
            _ if self.last > 0 && self.torn.is_some() => self.last + 1,
            (Some(held), _) => self.known.saturating_sub(held) + 1,
            (None, Some(undropped)) => undropped.max(self.known.saturating_sub(LOOKED_FOR)),
            (None, None) => return None,
        };
        (self.last < self.known && first <= self.known).then_some((first, self.known))
    }

    /// The last record of the write-ahead log, where it is known to be the log's: of what is beyond, the tables may hold
    /// a part.
    pub(super) fn cut_at(&self) -> Option<Seq> {
        let is_certain = match &self.torn {
            Some(torn) => torn.aside.is_none(),
            None => self.last > 0 && self.last >= self.known,
        };
        is_certain.then_some(self.last)
    }

    /// The file stays as it was before: the store must be closed.
    pub(super) fn put_back(self) {
        let Some(Torn { aside: Some(aside), file, .. }) = self.torn else { return };
        if let Err(error) = std::fs::rename(&aside, &file) {
            tracing::error!(%error, aside = %aside.display(), "the write-ahead log was not put back; the next start does it");
        }
    }

    /// Why the log does not open: it is whole up to `last`, and no further.
    pub(super) fn refusal(&self, path: &Path, last: Seq) -> Error {
        let path = path.to_owned();
        match &self.torn {
            Some(torn) => Error::Damaged { what: damaged_part(&torn.file, torn.place), path },
            None => Error::Lost { path, last, known: self.known },
        }
    }

    /// The end is gone for good; says what it was.
    pub(super) fn accept(self) -> io::Result<()> {
        match self.torn {
            Some(torn) => torn.accept(self.known),
            None => Ok(()),
        }
    }
}

impl Torn {
    fn accept(self, known: Seq) -> io::Result<()> {
        if let Some(aside) = &self.aside {
            std::fs::remove_file(aside)?;
            sync_folder(&self.file)?;
        }
        let (first, last, events) = self.records.unwrap_or_default();
        tracing::warn!(
            file = %self.file.display(),
            bytes = self.bytes,
            events,
            first,
            last,
            synced = known,
            "the log ended in an unfinished write, which was cut off; none of the events in it was known to be on the \
             disk, and everything up to the last one that was, is there"
        );
        Ok(())
    }
}

fn sync_folder(file: &Path) -> io::Result<()> {
    match file.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
