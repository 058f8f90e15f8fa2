//! The open database, and everything that is gone with it when it is opened anew.
//!
//! Owns what may go on after a failed write: nothing, until the database is opened anew. Where only something was
//! wanted that comes back ([`transient`](crate::journal::transient)), nothing was written and nothing has failed.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use fjall::{Database, Keyspace, OwnedWriteBatch, PersistMode, Slice};
use projections::Seq;

use super::{
    newest::Newest,
    opening::damaged,
    options,
    segments::{Parts, key_of, span_of},
};
pub(super) use crate::journal::transient::pause;
use crate::{
    journal::{
        Error, Frame, SecretChange, Segment,
        transient::{is_transient, patiently},
    },
    locks::{Mutex, Rank, RwLock},
};

/// What is in memory is written out within this time, or the disk does not take it.
const WRITING_OUT: Duration = Duration::from_secs(120);
/// After it was written out, merging may go on for so long before appends begin again.
const MERGING: Duration = Duration::from_secs(20);
/// Between two merges there is a moment without any: so many looks in a row see none when all are done.
const QUIET_LOOKS: u32 = 5;

/// See the module.
pub(super) struct Store {
    path: PathBuf,
    pub(super) db: Database,
    pub(super) parts: RwLock<Parts>,
    pub(super) vault: Keyspace,
    /// The spaces of derived rows, as far as they were asked for.
    pub(super) spaces: Mutex<BTreeMap<&'static str, Keyspace>>,
    newest: Mutex<Newest>,
    /// Segments that get no more, and may be written out beside the record's writes.
    over: Mutex<Vec<Keyspace>>,
    poisoned: AtomicBool,
}

impl Store {
    pub(super) fn new(path: &Path, db: Database, parts: Parts, vault: Keyspace) -> Result<Self, Error> {
        let newest = patiently(|| Newest::open(path)).map_err(|error| Error::Store {
            what: "find the newest part of",
            path: path.to_owned(),
            source: error.into(),
        })?;
        Ok(Self {
            path: path.to_owned(),
            db,
            parts: RwLock::ranked(Rank::JournalParts, parts),
            vault,
            spaces: Mutex::ranked(Rank::JournalSpaces, BTreeMap::new()),
            newest: Mutex::new(newest),
            over: Mutex::default(),
            poisoned: AtomicBool::new(false),
        })
    }

    /// An error that changes nothing.
    pub(super) fn failed(&self, what: &'static str, source: fjall::Error) -> Error {
        store(&self.path, what, source)
    }

    /// An error behind which nobody knows what is written, unless it only wanted something that comes back.
    pub(super) fn fault(&self, what: &'static str, source: fjall::Error) -> Error {
        if is_transient(&source) { self.failed(what, source) } else { self.poison(what, source) }
    }

    /// An error of a write: the store itself takes no more.
    pub(super) fn poison(&self, what: &'static str, source: fjall::Error) -> Error {
        self.poisoned.store(true, Ordering::Release);
        self.failed(what, source)
    }

    pub(super) fn refuse_if_poisoned(&self) -> Result<(), Error> {
        if self.poisoned.load(Ordering::Acquire) { Err(Error::Poisoned) } else { Ok(()) }
    }

    pub(super) fn sync(&self) -> Result<(), Error> {
        let synced = patiently(|| self.newest.lock().sync());
        synced.map_err(|error| self.fault("sync", error.into()))
    }

    /// Frames, each for its part of the log.
    pub(super) fn placed<'a>(
        &self,
        frames: impl Iterator<Item = (Seq, &'a Frame)>,
    ) -> Result<OwnedWriteBatch, Error> {
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
                .map_err(|error| self.fault("begin a segment of", error))?;
            part.span.last = seq;
            writes.insert(&part.rows, key_of(seq), bytes);
            self.over.lock().extend(over);
        }
        Ok(writes)
    }

    pub(super) fn change(&self, writes: &mut OwnedWriteBatch, secrets: &[SecretChange]) {
        for change in secrets {
            match &change.sealed {
                Some(sealed) => {
                    writes.insert(&self.vault, change.name.as_bytes(), Slice::from(sealed.as_slice()));
                }
                None => writes.remove(&self.vault, change.name.as_bytes()),
            }
        }
    }

    /// What some secrets are before they are changed.
    pub(super) fn sealed_now(&self, changes: &[SecretChange]) -> Result<Vec<SecretChange>, Error> {
        let now = |change: &SecretChange| {
            let sealed = self.vault.get(change.name.as_bytes())?.map(|sealed| sealed.to_vec());
            Ok(SecretChange { name: change.name.clone(), sealed })
        };
        let read = || changes.iter().map(now).collect::<Result<_, _>>();
        patiently(read).map_err(|error| self.failed("read the secrets of", error))
    }

    /// Makes a segment before the first record for it comes, and forgets those that none came for. Blocks for some
    /// syncs, and the store lets nobody write meanwhile.
    pub(super) fn prepare(&self, number: Segment) -> Result<(), Error> {
        if self.parts.read().is_there(number) {
            return Ok(());
        }
        let failed = |error| self.fault("begin a segment of", error);
        let rows = patiently(|| Parts::make(&self.db, number)).map_err(failed)?;
        self.keep_ready(vec![(number, rows)])
    }

    /// Keeps segments that were made ahead; those that no record comes for any more go.
    pub(super) fn keep_ready(&self, made: Vec<(Segment, Keyspace)>) -> Result<(), Error> {
        let passed = self.parts.write().keep_ready(made);
        for rows in passed {
            self.db.delete_keyspace(rows).map_err(|error| self.fault("drop a segment of", error))?;
        }
        Ok(())
    }

    /// Behind a torn end the tables may hold some of its records. Nothing of them was acknowledged, so what lies beyond
    /// the first that is missing goes too. Gives the last that stays.
    pub(super) fn close_up(&self, after: Seq, last: Seq) -> Result<Seq, Error> {
        let end = self.parts.read().unbroken(after + 1, last).map_err(|error| self.failed("read", error))?;
        if end < last {
            self.cut(end, last, &[])?;
        }
        Ok(end.min(last))
    }

    pub(super) fn drop_segments(&self, through: Segment, last: Seq) -> Result<(), Error> {
        // Who holds on to a segment holds on to its files.
        self.write_out_what_is_over();
        let mut parts = self.parts.write();
        let mut dropped = false;
        while let Some(part) = parts.traffic.first().filter(|part| part.span.number <= through) {
            if part.span.last >= last {
                break;
            }
            let deleted = patiently(|| self.db.delete_keyspace(part.rows.clone()));
            deleted.map_err(|error| self.fault("drop a segment of", error))?;
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
                        tracing::warn!(%error, "part of the log stays in its write-ahead files for now");
                    }
                }
            }
        }
        Ok(())
    }

    /// Drops the records behind `after`, up to `last`, and gives some secrets back what they were.
    pub(super) fn cut(&self, after: Seq, last: Seq, secrets: &[SecretChange]) -> Result<(), Error> {
        let mut parts = self.parts.write();
        let mut writes = self.db.batch().durability(Some(PersistMode::SyncData));
        for seq in after + 1..=last {
            writes.remove(&parts.log, key_of(seq));
            for part in &parts.traffic {
                if (part.span.first..=part.span.last).contains(&seq) {
                    writes.remove(&part.rows, key_of(seq));
                }
            }
        }
        self.change(&mut writes, secrets);
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
        Ok(())
    }

    /// Has segments that are over written out, which the record's writes need not wait for.
    pub(super) fn write_out_what_is_over(&self) {
        let over = std::mem::take(&mut *self.over.lock());
        over.iter().for_each(write_out);
    }

    /// Waits until nothing is in memory and in the write-ahead log alone. Blocks.
    pub(super) fn write_all_out(&self) -> Result<(), Error> {
        let all: Vec<Keyspace> = {
            let (parts, spaces) = (self.parts.read(), self.spaces.lock());
            let traffic = parts.traffic.iter().map(|part| &part.rows);
            traffic.chain([&parts.log, &self.vault]).chain(spaces.values()).cloned().collect()
        };
        let failed = |error| self.fault("write out", error);
        for rows in &all {
            patiently(|| rows.rotate_memtable()).map_err(failed)?;
        }
        let until = Instant::now() + WRITING_OUT;
        while all.iter().any(|rows| rows.sealed_memtable_count() > 0) {
            // It says whether the thread that writes has failed.
            self.db.persist(PersistMode::Buffer).map_err(failed)?;
            if Instant::now() >= until {
                return Err(
                    self.failed("write out", std::io::Error::from(std::io::ErrorKind::TimedOut).into())
                );
            }
            pause(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Waits until the database merges no files any more, but not for ever: each merge ends with three syncs in which
    /// nobody appends. Blocks.
    pub(super) fn wait_until_quiet(&self) {
        let until = Instant::now() + MERGING;
        let mut seen_quiet = 0;
        while seen_quiet < QUIET_LOOKS && Instant::now() < until {
            pause(Duration::from_millis(10));
            let busy = self.db.outstanding_flushes() > 0 || self.db.active_compactions() > 0;
            seen_quiet = if busy { 0 } else { seen_quiet + 1 };
        }
    }
}

/// What an error of the store means.
pub(super) fn store(path: &Path, what: &'static str, source: fjall::Error) -> Error {
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
