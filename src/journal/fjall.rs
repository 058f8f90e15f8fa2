//! The embedded journal: one fjall database, no other process.
//!
//! Keyspaces: `log` (one-byte tag, big-endian sequence → frame; byte order is
//! log order) and `vault` (name → sealed secret). Beside the database lies a
//! small file, `head`, with the last sequence number that was synced: it is
//! written *after* each sync, so when the log ends before it, records that were
//! once safe are gone, and the journal says so instead of starting anew.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Slice};
use parking_lot::Mutex;
use projections::Seq;

use super::{Batch, Durability, Entry, Error, Journal};

/// Tag of log entries: leaves room for other kinds of rows.
const LOG_TAG: u8 = b'e';
/// Cache for blocks; the log is mostly written, so little is enough.
const CACHE_BYTES: u64 = 16 << 20;
/// A full memtable is written out and its part of the write-ahead log freed.
const MEMTABLE_BYTES: u64 = 16 << 20;

/// See the module.
pub struct FjallJournal {
    path: PathBuf,
    db: Database,
    log: Keyspace,
    vault: Keyspace,
    head: File,
    last: Mutex<Seq>,
    poisoned: AtomicBool,
}

impl FjallJournal {
    /// Opens, or makes, the journal in a folder.
    ///
    /// # Errors
    /// [`Error::InUse`], [`Error::Lost`], [`Error::Store`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let failed = |what: &'static str| {
            let path = path.to_owned();
            move |source: Box<dyn std::error::Error + Send + Sync>| Error::Store { what, path, source }
        };
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|error| failed("create the folder of")(error.into()))?;
        let unfinished = write_ahead_bytes(path);
        let open = || -> Result<_, fjall::Error> {
            let db = Database::builder(path).cache_size(CACHE_BYTES).worker_threads(1).open()?;
            let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES);
            let log = db.keyspace("log", options)?;
            let vault = db.keyspace("vault", options)?;
            Ok((db, log, vault))
        };
        let (db, log, vault) = open().map_err(|error| match error {
            fjall::Error::Locked => Error::InUse { path: path.to_owned() },
            error => failed("open")(error.into()),
        })?;
        if let Some(cut) = unfinished.checked_sub(write_ahead_bytes(path)).filter(|cut| *cut > 0) {
            tracing::warn!(bytes = cut, "the log ended in an unfinished write, which was cut off");
        }
        let last = match log.last_key_value().map(fjall::Guard::key) {
            None => 0,
            Some(key) => seq_of(&key.map_err(|error| failed("read the end of")(error.into()))?),
        };
        let head = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join("head"))
            .map_err(|error| failed("open `head` of")(error.into()))?;
        let known = read_head(&head).map_err(|error| failed("read `head` of")(error.into()))?;
        if known > last {
            return Err(Error::Lost { path: path.to_owned(), last, known });
        }
        let poisoned = AtomicBool::new(false);
        Ok(Self { path: path.to_owned(), db, log, vault, head, last: Mutex::new(last), poisoned })
    }

    fn store(&self, what: &'static str, source: fjall::Error) -> Error {
        Error::Store { what, path: self.path.clone(), source: source.into() }
    }

    fn poison(&self, what: &'static str, source: fjall::Error) -> Error {
        self.poisoned.store(true, Ordering::Release);
        self.store(what, source)
    }

    fn refuse_if_poisoned(&self) -> Result<(), Error> {
        if self.poisoned.load(Ordering::Acquire) { Err(Error::Poisoned) } else { Ok(()) }
    }

    /// Best effort: `head` is a witness, not the record.
    fn witness(&self, seq: Seq) {
        if let Err(error) = self.head.write_all_at(format!("{seq:020}\n").as_bytes(), 0) {
            tracing::warn!(%error, "cannot write `head` beside the log");
        }
    }
}

impl Journal for FjallJournal {
    fn append(&self, batch: Batch<'_>, durability: Durability) -> Result<(), Error> {
        let mut last = self.last.lock();
        self.refuse_if_poisoned()?;
        if batch.after != *last {
            return Err(Error::Conflict { after: batch.after, last: *last });
        }
        let mode = match durability {
            Durability::Recorded => PersistMode::Buffer,
            Durability::Durable => PersistMode::SyncData,
        };
        let mut writes = self.db.batch().durability(Some(mode));
        for (seq, frame) in (batch.after + 1..).zip(batch.frames) {
            writes.insert(&self.log, key_of(seq), Slice::from(frame.as_slice()));
        }
        for change in batch.secrets {
            match &change.sealed {
                Some(sealed) => {
                    writes.insert(&self.vault, change.name.as_bytes(), Slice::from(sealed.as_slice()));
                }
                None => writes.remove(&self.vault, change.name.as_bytes()),
            }
        }
        writes.commit().map_err(|error| self.poison("append to", error))?;
        *last += batch.frames.len() as Seq;
        if durability == Durability::Durable {
            self.witness(*last);
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), Error> {
        self.refuse_if_poisoned()?;
        let last = *self.last.lock();
        self.db.persist(PersistMode::SyncData).map_err(|error| self.poison("sync", error))?;
        self.witness(last);
        Ok(())
    }

    fn last(&self) -> Seq {
        *self.last.lock()
    }

    fn read(&self, after: Seq, limit: usize) -> Result<Vec<Entry>, Error> {
        let rows = self.log.range(key_of(after.saturating_add(1))..=key_of(Seq::MAX)).take(limit);
        rows.map(|row| {
            let (key, frame) = row.into_inner().map_err(|error| self.store("read", error))?;
            Ok(Entry { seq: seq_of(&key), frame: frame.to_vec() })
        })
        .collect()
    }

    fn cut(&self, after: Seq) -> Result<(), Error> {
        let mut last = self.last.lock();
        self.refuse_if_poisoned()?;
        let mut writes = self.db.batch().durability(Some(PersistMode::SyncData));
        for seq in after + 1..=*last {
            writes.remove(&self.log, key_of(seq));
        }
        writes.commit().map_err(|error| self.poison("cut", error))?;
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

fn key_of(seq: Seq) -> [u8; 9] {
    let mut key = [LOG_TAG; 9];
    for (to, from) in key.iter_mut().skip(1).zip(seq.to_be_bytes()) {
        *to = from;
    }
    key
}

fn seq_of(key: &[u8]) -> Seq {
    key.iter().skip(1).take(8).fold(0, |seq, byte| (seq << 8) | Seq::from(*byte))
}

fn read_head(head: &File) -> io::Result<Seq> {
    let mut text = [0; 20];
    match head.read_exact_at(&mut text, 0) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
        Err(error) => return Err(error),
    }
    str::from_utf8(&text).ok().and_then(|text| text.parse().ok()).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "`head` does not hold a number; delete it to go on without it",
        )
    })
}

/// How much is written in the write-ahead log; recovery makes it less when its end is torn.
/// The files are made long beforehand, so zeros at their ends do not count.
fn write_ahead_bytes(path: &Path) -> u64 {
    let Ok(files) = std::fs::read_dir(path) else { return 0 };
    let journals = files
        .flatten()
        .map(|file| file.path())
        .filter(|path| path.extension().is_some_and(|end| end == "jnl"));
    journals.filter_map(|path| File::open(path).ok()).map(|file| written(&file).unwrap_or(0)).sum()
}

/// The position behind the last byte that is not zero.
fn written(file: &File) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    let mut block = vec![0; 1 << 16];
    while end > 0 {
        let start = end.saturating_sub(block.len() as u64);
        let part = block.get_mut(..usize::try_from(end - start).unwrap_or(0)).unwrap_or_default();
        file.read_exact_at(part, start)?;
        if let Some(last) = part.iter().rposition(|byte| *byte != 0) {
            return Ok(start + last as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}
