//! The embedded journal: one fjall database, no other process.
//!
//! Keyspaces: `log` and one for each segment of traffic (one-byte tag, big-endian
//! sequence → frame; byte order is log order), `vault` (name → sealed secret), and the
//! spaces of derived rows. What is appended goes into the
//! newest of the write-ahead files (`N.jnl`; fjall syncs each before it begins the
//! next), and a sync forces that file through a handle of its own: fjall's own
//! `persist` would hold up every append meanwhile. Beside the database lies a
//! small file, `head`, with the last sequence number that was synced: it is
//! written *after* each sync, so when the log ends before it, records that were
//! once safe are gone, and the journal says so instead of starting anew.

mod opening;
mod options;
mod remains;
mod segments;
mod spaces;
mod torn;
mod write_ahead;

use std::{
    collections::BTreeMap,
    fs::{File, TryLockError},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use fjall::{Database, Keyspace, OwnedWriteBatch, PersistMode, Slice};
use projections::Seq;

pub use self::remains::Remains;
use self::{
    opening::{Cause, OpenFailure, damaged, make, open_database, open_head, read_head},
    segments::{Parts, key_of, span_of},
    torn::End,
};
use super::{
    Batch, Entry, Error, Frame, Journal, Numbered, SecretChange, Segment, SegmentSpan, refuse_unless_beyond,
};
use crate::locks::{Mutex, Rank, RwLock};

/// See the module.
pub struct FjallJournal {
    path: PathBuf,
    db: Database,
    parts: RwLock<Parts>,
    vault: Keyspace,
    /// The spaces of derived rows, as far as they were asked for.
    spaces: Mutex<BTreeMap<&'static str, Keyspace>>,
    head: File,
    /// What it said when the journal was opened.
    known: Seq,
    /// The newest write-ahead file, open for syncing.
    newest: Mutex<Option<(PathBuf, File)>>,
    last: Mutex<Seq>,
    poisoned: AtomicBool,
}

impl FjallJournal {
    /// Opens, or makes, the journal in a folder.
    ///
    /// # Errors
    /// [`Error::InUse`], [`Error::Lost`], [`Error::Damaged`], [`Error::NoLockFile`], [`Error::Store`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let failed = |what: &'static str| {
            let path = path.to_owned();
            move |source: Cause| Error::Store { what, path, source }
        };
        make(path).map_err(|source| failed("make")(source))?;
        let lock = torn::lock(path)?;
        let head = open_head(path).map_err(|error| failed("open `head` of")(error.into()))?;
        let known = read_head(&head).map_err(|error| failed("read `head` of")(error.into()))?;
        let end = torn::take_off(path, known)?;
        drop(lock);
        let opened = match Opened::at(path, &end) {
            Ok(opened) => opened,
            Err(error) => {
                end.put_back();
                return Err(error);
            }
        };
        let cut_at = end.cut_at();
        end.accept().map_err(|error| failed("take the torn end off")(error.into()))?;
        let Opened { db, vault, parts, empty, last } = opened;
        for segment in empty {
            db.delete_keyspace(segment).map_err(|error| store(path, "drop a segment of", error))?;
        }
        let poisoned = AtomicBool::new(false);
        let (newest, last) = (Mutex::new(None), Mutex::ranked(Rank::JournalEnd, last));
        let spaces = Mutex::ranked(Rank::JournalSpaces, BTreeMap::new());
        let parts = RwLock::ranked(Rank::JournalParts, parts);
        let opened =
            Self { path: path.to_owned(), db, parts, vault, spaces, head, known, newest, last, poisoned };
        if let Some(after) = cut_at {
            opened.close_up(after)?;
        }
        Ok(opened)
    }

    /// Behind a torn end the tables may hold some of its records. Nothing of them was acknowledged, so what lies beyond
    /// the first that is missing goes too.
    fn close_up(&self, after: Seq) -> Result<(), Error> {
        let last = self.last();
        let end = self.parts.read().unbroken(after + 1, last).map_err(|error| self.store("read", error))?;
        if end < last { self.cut(end) } else { Ok(()) }
    }

    /// Whether there is nothing at all in a folder, or not even the folder: opening it would make a new journal.
    #[must_use]
    pub fn is_absent(path: &Path) -> bool {
        !path.exists() || opening::is_empty(path).unwrap_or(false)
    }

    /// Whether a process has the journal in a folder open. Asking disturbs nobody: fjall waits for its lock a little.
    #[must_use]
    pub fn is_open(path: &Path) -> bool {
        let lock = File::options().read(true).write(true).open(path.join("lock"));
        lock.is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)))
    }

    fn store(&self, what: &'static str, source: fjall::Error) -> Error {
        store(&self.path, what, source)
    }

    fn poison(&self, what: &'static str, source: fjall::Error) -> Error {
        self.poisoned.store(true, Ordering::Release);
        self.store(what, source)
    }

    /// Forces the newest write-ahead file to the disk. The handle stays open from sync to sync, so
    /// that an error of the disk in between is told to it.
    fn sync_newest(&self) -> io::Result<()> {
        let mut newest = self.newest.lock();
        let path = write_ahead::files(&self.path)?.pop().ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, "its write-ahead files (*.jnl) are gone")
        })?;
        let file = match newest.take() {
            Some((known, file)) if known == path => file,
            // The one before was synced when this one was begun.
            _ => File::open(&path)?,
        };
        let synced = file.sync_data();
        *newest = Some((path, file));
        synced
    }

    /// Waits until nothing is in memory alone.
    #[cfg(test)]
    pub(crate) fn parts_are_written_out(&self) {
        let parts = self.parts.read();
        let all = parts.traffic.iter().map(|part| &part.rows).chain([&parts.log, &self.vault]);
        all.for_each(|rows| rows.rotate_memtable_and_wait().unwrap());
    }

    fn refuse_if_poisoned(&self) -> Result<(), Error> {
        if self.poisoned.load(Ordering::Acquire) { Err(Error::Poisoned) } else { Ok(()) }
    }

    /// Frames, each for its part of the log.
    fn placed<'a>(&self, frames: impl Iterator<Item = (Seq, &'a Frame)>) -> Result<OwnedWriteBatch, Error> {
        let mut writes = self.db.batch().durability(Some(PersistMode::Buffer));
        // Only the newest changes, and after a failure nothing is written any more: so it need not be undone.
        let mut parts = self.parts.write();
        for (seq, frame) in frames {
            let bytes = Slice::from(frame.bytes.as_slice());
            let Some(number) = frame.segment else {
                writes.insert(&parts.log, key_of(seq), bytes);
                continue;
            };
            let (part, over) = parts
                .for_number(&self.db, number, seq)
                .map_err(|error| self.poison("begin a segment of", error))?;
            part.span.last = seq;
            writes.insert(&part.rows, key_of(seq), bytes);
            if let Some(over) = over {
                write_out(&over);
            }
        }
        Ok(writes)
    }

    fn change(&self, writes: &mut OwnedWriteBatch, secrets: &[SecretChange]) {
        for change in secrets {
            match &change.sealed {
                Some(sealed) => {
                    writes.insert(&self.vault, change.name.as_bytes(), Slice::from(sealed.as_slice()));
                }
                None => writes.remove(&self.vault, change.name.as_bytes()),
            }
        }
    }

    /// Best effort: `head` is a witness, not the record.
    fn witness(&self, seq: Seq) {
        if let Err(error) = self.head.write_all_at(format!("{seq:020}\n").as_bytes(), 0) {
            tracing::warn!(%error, "cannot write `head` beside the log");
        }
    }
}

impl Journal for FjallJournal {
    fn append(&self, batch: Batch<'_>) -> Result<(), Error> {
        let mut last = self.last.lock();
        self.refuse_if_poisoned()?;
        if batch.after != *last {
            return Err(Error::Conflict { after: batch.after, last: *last });
        }
        let frames = (batch.after + 1..).zip(batch.frames);
        let mut writes = self.placed(frames)?;
        self.change(&mut writes, batch.secrets);
        writes.commit().map_err(|error| self.poison("append to", error))?;
        *last += batch.frames.len() as Seq;
        Ok(())
    }

    fn adopt(&self, entries: &[Numbered], secrets: &[SecretChange]) -> Result<(), Error> {
        let mut last = self.last.lock();
        self.refuse_if_poisoned()?;
        refuse_unless_beyond(*last, entries)?;
        let mut writes = self.placed(entries.iter().map(|(seq, frame)| (*seq, frame)))?;
        self.change(&mut writes, secrets);
        writes.commit().map_err(|error| self.poison("restore", error))?;
        *last = entries.last().map_or(*last, |(seq, _)| *seq);
        Ok(())
    }

    fn sync(&self) -> Result<(), Error> {
        self.refuse_if_poisoned()?;
        let last = *self.last.lock();
        self.sync_newest().map_err(|error| self.poison("sync", error.into()))?;
        self.witness(last);
        Ok(())
    }

    fn last(&self) -> Seq {
        *self.last.lock()
    }

    fn witnessed(&self) -> Seq {
        self.known
    }

    fn read(&self, after: Seq, limit: usize) -> Result<Vec<Entry>, Error> {
        let (first, last) = (after.saturating_add(1), self.last());
        if first > last {
            return Ok(Vec::new());
        }
        let read = self.parts.read().forward(first, last).take(limit);
        read.collect::<Result<_, _>>().map_err(|error| self.store("read", error))
    }

    fn record(&self, seq: Seq) -> Result<Option<Vec<u8>>, Error> {
        let found = self.parts.read().record(seq).map_err(|error| self.store("read", error))?;
        Ok(found.filter(|_| seq <= self.last()).map(|frame| frame.to_vec()))
    }

    fn read_back(&self, before: Seq, limit: usize) -> Result<Vec<Entry>, Error> {
        let last = before.saturating_sub(1).min(self.last());
        let read = self.parts.read().backward(1, last).take(if last == 0 { 0 } else { limit });
        read.collect::<Result<_, _>>().map_err(|error| self.store("read", error))
    }

    fn segments(&self) -> Vec<SegmentSpan> {
        self.parts.read().traffic.iter().map(|part| part.span).collect()
    }

    fn drop_segments(&self, through: Segment) -> Result<(), Error> {
        let last = self.last.lock();
        self.refuse_if_poisoned()?;
        let mut parts = self.parts.write();
        let mut dropped = false;
        while let Some(part) = parts.traffic.first().filter(|part| part.span.number <= through) {
            if part.span.last >= *last {
                break;
            }
            self.db
                .delete_keyspace(part.rows.clone())
                .map_err(|error| self.poison("drop a segment of", error))?;
            parts.traffic.remove(0);
            dropped = true;
        }
        if dropped {
            // Write-ahead files that are not written out yet hold on to the segments' own, also by spaces that nobody
            // has asked for since the start.
            for name in self.db.list_keyspace_names() {
                match self.db.keyspace(&name, options::derived) {
                    Ok(rows) => write_out(&rows),
                    Err(error) => {
                        tracing::warn!(%error, "part of the log stays in its write-ahead files for now")
                    }
                }
            }
        }
        Ok(())
    }

    fn cut(&self, after: Seq) -> Result<(), Error> {
        let mut last = self.last.lock();
        self.refuse_if_poisoned()?;
        let mut parts = self.parts.write();
        let mut writes = self.db.batch().durability(Some(PersistMode::SyncData));
        for seq in after + 1..=*last {
            writes.remove(&parts.log, key_of(seq));
            for part in &parts.traffic {
                if (part.span.first..=part.span.last).contains(&seq) {
                    writes.remove(&part.rows, key_of(seq));
                }
            }
        }
        writes.commit().map_err(|error| self.poison("cut", error))?;
        while let Some(mut part) = parts.traffic.pop_if(|part| part.span.last > after) {
            let left = span_of(part.span.number, &part.rows);
            match left.map_err(|error| self.poison("read a segment of", error))? {
                Some(span) => {
                    part.span = span;
                    parts.traffic.push(part);
                    break;
                }
                None => {
                    self.db
                        .delete_keyspace(part.rows)
                        .map_err(|error| self.poison("drop a segment of", error))?;
                }
            }
        }
        *last = after.min(*last);
        self.witness(*last);
        Ok(())
    }

    fn secrets(&self) -> Result<Vec<(String, Vec<u8>)>, Error> {
        let rows = self.vault.iter();
        rows.map(|row| {
            let (name, sealed) =
                row.into_inner().map_err(|error| self.store("read the secrets of", error))?;
            Ok((String::from_utf8_lossy(&name).into_owned(), sealed.to_vec()))
        })
        .collect()
    }
}

/// The store, open, and nothing missing in it that is known to have been on the disk.
struct Opened {
    db: Database,
    vault: Keyspace,
    parts: Parts,
    /// Segments that were made and never written to.
    empty: Vec<Keyspace>,
    last: Seq,
}

impl Opened {
    fn at(path: &Path, end: &End) -> Result<Self, Error> {
        let (db, log, vault) = open_database(path).map_err(|failure| match failure {
            OpenFailure::InUse => Error::InUse { path: path.to_owned() },
            OpenFailure::Damaged(what) => Error::Damaged { what, path: path.to_owned() },
            OpenFailure::Other(source) => Error::Store { what: "open", path: path.to_owned(), source },
        })?;
        let failed = |what| move |error| store(path, what, error);
        let (parts, empty) = Parts::open(&db, log).map_err(failed("open the segments of"))?;
        let last = parts.last().map_err(failed("read the end of"))?;
        if end.known > last {
            return Err(end.refusal(path, last));
        }
        let undropped = parts.traffic.first().map(|part| part.span.first);
        if let Some((first, known)) = end.to_look_for(undropped) {
            let unbroken = parts.unbroken(first, known).map_err(failed("read the end of"))?;
            if unbroken < known {
                return Err(end.refusal(path, unbroken));
            }
        }
        Ok(Self { db, vault, parts, empty, last })
    }
}

/// What an error of the store means.
fn store(path: &Path, what: &'static str, source: fjall::Error) -> Error {
    match damaged(path, &source) {
        Some(what) => Error::Damaged { what, path: path.to_owned() },
        None => Error::Store { what, path: path.to_owned(), source: source.into() },
    }
}

/// Has what is in memory written into its own files, so that the write-ahead log need not keep it.
fn write_out(rows: &Keyspace) {
    if let Err(error) = rows.rotate_memtable() {
        tracing::warn!(%error, "part of the log stays in its write-ahead files for now");
    }
}
