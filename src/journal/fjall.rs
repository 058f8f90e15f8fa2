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

mod newest;
mod opening;
mod options;
mod remains;
mod segments;
mod spaces;
mod store;
mod torn;
mod write_ahead;

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use fjall::{Database, Keyspace};
use projections::Seq;

pub use self::remains::Remains;
use self::{
    opening::{Cause, OpenFailure, make, open_database, open_head, read_head},
    segments::Parts,
    store::{Store, pause, store},
    torn::End,
};
use super::{
    Batch, Entry, Error, Journal, KeptGap, Numbered, SecretChange, Segment, SegmentSpan, kept::GapFile,
    refuse_unless_beyond, transient::patiently,
};
use crate::locks::{Mutex, Rank, RwLock};

/// What is written and given back before the database is opened anew: whoever has less room would fail again.
const PROBE_BYTES: usize = 256 << 10;
/// Descriptors that opening wants at once.
const PROBE_DESCRIPTORS: usize = 24;
/// The database's thread lets go of its last handle a moment after the database is gone.
const LETTING_GO: Duration = Duration::from_millis(100);

/// See the module.
pub struct FjallJournal {
    path: PathBuf,
    /// None: it failed, was closed, and could not be opened anew yet.
    store: RwLock<Option<Store>>,
    head: File,
    gap: Option<GapFile>,
    /// What it said when the journal was opened.
    known: Seq,
    last: Mutex<Seq>,
    /// The secrets as they were before the batch that failed, which may have reached the disk all the same.
    before: Mutex<Vec<SecretChange>>,
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
        // A disk that is full already, or read-only, has no room for it; a log can be read without.
        let gap = GapFile::open(path).ok();
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
        let Opened { db, vault, parts, empty, mut last } = opened;
        let store = Store::new(path, db, parts, vault)?;
        store.keep_ready(empty)?;
        if let Some(after) = cut_at {
            let whole = store.close_up(after, last)?;
            if whole < last {
                witness(&head, whole);
                last = whole;
            }
        }
        Ok(Self {
            path: path.to_owned(),
            store: RwLock::ranked(Rank::Database, Some(store)),
            head,
            gap,
            known,
            last: Mutex::ranked(Rank::JournalEnd, last),
            before: Mutex::default(),
        })
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

    /// Does something with the database, unless it is closed.
    fn with<T>(&self, work: impl FnOnce(&Store) -> Result<T, Error>) -> Result<T, Error> {
        let store = self.store.read();
        let closed = || Error::Store {
            what: "use",
            path: self.path.clone(),
            source: "it was closed after a failure and is not open again yet".into(),
        };
        work(store.as_ref().ok_or_else(closed)?)
    }

    /// Whether there is room, and descriptors, for opening the database: if not, the one that failed can at least be
    /// read on.
    fn probe(&self) -> io::Result<()> {
        let path = self.path.join("probe");
        let probe = || {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
            file.write_all(&vec![1; PROBE_BYTES])?;
            file.sync_all()?;
            (0..PROBE_DESCRIPTORS).map(|_| File::open(&path)).collect::<Result<Vec<_>, _>>()
        };
        let probed = probe().map(drop);
        let removed = std::fs::remove_file(&path);
        probed.and(removed)
    }

    /// Waits until nothing is in memory alone.
    #[cfg(test)]
    pub(crate) fn parts_are_written_out(&self) {
        self.with(Store::write_all_out).unwrap();
    }
}

impl Journal for FjallJournal {
    fn keep_gap(&self, gap: Option<&KeptGap>) -> Result<(), Error> {
        let Some(file) = &self.gap else { return Ok(()) };
        file.write(gap).map_err(|source| Error::Store {
            what: "write `gap` beside",
            path: self.path.clone(),
            source: source.into(),
        })
    }

    fn kept_gap(&self) -> Option<KeptGap> {
        self.gap.as_ref()?.read()
    }

    fn append(&self, batch: Batch<'_>) -> Result<(), Error> {
        self.with(|store| {
            let mut last = self.last.lock();
            store.refuse_if_poisoned()?;
            if batch.after != *last {
                return Err(Error::Conflict { after: batch.after, last: *last });
            }
            let before = store.sealed_now(batch.secrets)?;
            let frames = (batch.after + 1..).zip(batch.frames);
            let mut writes = store.placed(frames)?;
            store.change(&mut writes, batch.secrets);
            writes.commit().map_err(|error| {
                *self.before.lock() = before;
                store.poison("append to", error)
            })?;
            *last += batch.frames.len() as Seq;
            Ok(())
        })
    }

    fn adopt(&self, entries: &[Numbered], secrets: &[SecretChange]) -> Result<(), Error> {
        self.with(|store| {
            let mut last = self.last.lock();
            store.refuse_if_poisoned()?;
            refuse_unless_beyond(*last, entries)?;
            let mut writes = store.placed(entries.iter().map(|(seq, frame)| (*seq, frame)))?;
            store.change(&mut writes, secrets);
            writes.commit().map_err(|error| store.poison("restore", error))?;
            *last = entries.last().map_or(*last, |(seq, _)| *seq);
            Ok(())
        })
    }

    fn sync(&self) -> Result<(), Error> {
        self.with(|store| {
            store.refuse_if_poisoned()?;
            let last = *self.last.lock();
            store.sync()?;
            witness(&self.head, last);
            store.write_out_what_is_over();
            Ok(())
        })
    }

    fn prepare(&self, segment: Segment) -> Result<(), Error> {
        self.with(|store| {
            store.refuse_if_poisoned()?;
            store.prepare(segment)
        })
    }

    /// The one that failed is closed first: what it did not come to write, it may write then. So where the log ends
    /// beyond what was appended, that is a batch whose writer was told that it failed, and it is taken back.
    fn reopen(&self) -> Result<(), Error> {
        let failed = |source: io::Error| Error::Store {
            what: "open anew",
            path: self.path.clone(),
            source: source.into(),
        };
        self.probe().map_err(failed)?;
        let mut place = self.store.write();
        drop(place.take());
        pause(LETTING_GO);
        let opened = Self::open(&self.path)?;
        let (store, last) = (opened.store.into_inner(), opened.last.into_inner());
        let Some(store) = store else { return Err(Error::Poisoned) };
        let mut known = self.last.lock();
        if last > *known {
            let before = self.before.lock().clone();
            store.cut(*known, last, &before)?;
        }
        *known = last.min(*known);
        drop(known);
        self.before.lock().clear();
        *place = Some(store);
        drop(place);
        // What a failed sync left in the write-ahead log may be in memory alone, and no later sync tells.
        self.with(|store| {
            store.write_all_out()?;
            store.wait_until_quiet();
            Ok(())
        })
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
        self.with(|store| {
            let read = || {
                // The lock is given back before anything is read: appends want it.
                let rows = store.parts.read().forward(first, last).take(limit);
                rows.collect::<Result<_, _>>()
            };
            patiently(read).map_err(|error| store.failed("read", error))
        })
    }

    fn record(&self, seq: Seq) -> Result<Option<Vec<u8>>, Error> {
        let found = self.with(|store| {
            patiently(|| store.parts.read().record(seq)).map_err(|error| store.failed("read", error))
        })?;
        Ok(found.filter(|_| seq <= self.last()).map(|frame| frame.to_vec()))
    }

    fn read_back(&self, before: Seq, limit: usize) -> Result<Vec<Entry>, Error> {
        let last = before.saturating_sub(1).min(self.last());
        let limit = if last == 0 { 0 } else { limit };
        self.with(|store| {
            let read = || {
                // The lock is given back before anything is read: appends want it.
                let rows = store.parts.read().backward(1, last).take(limit);
                rows.collect::<Result<_, _>>()
            };
            patiently(read).map_err(|error| store.failed("read", error))
        })
    }

    fn segments(&self) -> Vec<SegmentSpan> {
        let spans = self
            .with(|store| Ok(store.parts.read().traffic.iter().map(|part| part.span).collect::<Vec<_>>()));
        spans.unwrap_or_default()
    }

    fn drop_segments(&self, through: Segment) -> Result<(), Error> {
        self.with(|store| {
            let last = self.last.lock();
            store.refuse_if_poisoned()?;
            store.drop_segments(through, *last)
        })
    }

    fn cut(&self, after: Seq) -> Result<(), Error> {
        self.with(|store| {
            let mut last = self.last.lock();
            store.refuse_if_poisoned()?;
            store.cut(after, *last, &[])?;
            *last = after.min(*last);
            witness(&self.head, *last);
            Ok(())
        })
    }

    fn secrets(&self) -> Result<Vec<(String, Vec<u8>)>, Error> {
        self.with(|store| {
            let read = || {
                let rows = store.vault.iter();
                rows.map(|row| {
                    let (name, sealed) = row.into_inner()?;
                    Ok((String::from_utf8_lossy(&name).into_owned(), sealed.to_vec()))
                })
                .collect::<Result<_, _>>()
            };
            patiently(read).map_err(|error| store.failed("read the secrets of", error))
        })
    }
}

/// The store, open, and nothing missing in it that is known to have been on the disk.
struct Opened {
    db: Database,
    vault: Keyspace,
    parts: Parts,
    /// Segments that were made and never written to.
    empty: Vec<(Segment, Keyspace)>,
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

/// Best effort: `head` is a witness, not the record.
fn witness(head: &File, seq: Seq) {
    if let Err(error) = head.write_all_at(format!("{seq:020}\n").as_bytes(), 0) {
        tracing::warn!(%error, "cannot write `head` beside the log");
    }
}

#[cfg(test)]
mod tests;
