//! The embedded journal: one fjall database, no other process.
//!
//! Keyspaces: `log` (one-byte tag, big-endian sequence → frame; byte order is
//! log order) and `vault` (name → sealed secret). What is appended goes into the
//! newest of the write-ahead files (`N.jnl`; fjall syncs each before it begins the
//! next), and a sync forces that file through a handle of its own: fjall's own
//! `persist` would hold up every append meanwhile. Beside the database lies a
//! small file, `head`, with the last sequence number that was synced: it is
//! written *after* each sync, so when the log ends before it, records that were
//! once safe are gone, and the journal says so instead of starting anew.

mod options;
mod spaces;

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use fjall::{Database, Keyspace, PersistMode, Slice};
use parking_lot::Mutex;
use projections::Seq;

use super::{Batch, Entry, Error, Journal};

/// Tag of log entries: leaves room for other kinds of rows.
const LOG_TAG: u8 = b'e';
/// See the module.
pub struct FjallJournal {
    path: PathBuf,
    db: Database,
    log: Keyspace,
    vault: Keyspace,
    /// The spaces of derived rows, as far as they were asked for.
    spaces: Mutex<BTreeMap<&'static str, Keyspace>>,
    head: File,
    /// The newest write-ahead file, open for syncing.
    newest: Mutex<Option<(PathBuf, File)>>,
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
        make(path).map_err(|source| failed("make")(source))?;
        let before = write_ahead_bytes(path);
        let kept = WriteAhead::keep(path)
            .map_err(|error| failed("keep a copy of the write-ahead log of")(error.into()))?;
        let opened = open_database(path);
        let (db, log, vault) = match opened {
            Ok(opened) => opened,
            Err(OpenFailure::InUse) => {
                kept.forget();
                return Err(Error::InUse { path: path.to_owned() });
            }
            Err(OpenFailure::Other(source)) => {
                kept.put_back();
                return Err(failed("open")(source));
            }
        };
        let last = last_of(&log).map_err(|error| failed("read the end of")(error.into()))?;
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
            drop((db, log, vault));
            kept.put_back();
            return Err(Error::Lost { path: path.to_owned(), last, known });
        }
        kept.forget();
        if let Some(cut) = before.checked_sub(write_ahead_bytes(path)).filter(|cut| *cut > 0) {
            tracing::warn!(bytes = cut, "the log ended in an unfinished write, which was cut off");
        }
        let poisoned = AtomicBool::new(false);
        let (newest, last) = (Mutex::new(None), Mutex::new(last));
        let spaces = Mutex::default();
        Ok(Self { path: path.to_owned(), db, log, vault, spaces, head, newest, last, poisoned })
    }

    fn store(&self, what: &'static str, source: fjall::Error) -> Error {
        Error::Store { what, path: self.path.clone(), source: source.into() }
    }

    fn poison(&self, what: &'static str, source: fjall::Error) -> Error {
        self.poisoned.store(true, Ordering::Release);
        self.store(what, source)
    }

    /// Forces the newest write-ahead file to the disk. The handle stays open from sync to sync, so
    /// that an error of the disk in between is told to it.
    fn sync_newest(&self) -> io::Result<()> {
        let mut newest = self.newest.lock();
        let number = |path: &PathBuf| path.file_stem()?.to_str()?.parse::<u64>().ok();
        let path = write_ahead_files(&self.path).into_iter().max_by_key(number).ok_or_else(|| {
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
    fn append(&self, batch: Batch<'_>) -> Result<(), Error> {
        let mut last = self.last.lock();
        self.refuse_if_poisoned()?;
        if batch.after != *last {
            return Err(Error::Conflict { after: batch.after, last: *last });
        }
        let mut writes = self.db.batch().durability(Some(PersistMode::Buffer));
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

enum OpenFailure {
    InUse,
    Other(Cause),
}

type Cause = Box<dyn std::error::Error + Send + Sync>;
type Opened = (Database, Keyspace, Keyspace);

fn open_database(path: &Path) -> Result<Opened, OpenFailure> {
    let open = || -> Result<Opened, fjall::Error> {
        let db = Database::builder(path)
            .cache_size(options::CACHE_BYTES)
            .max_journaling_size(options::WRITE_AHEAD_BYTES)
            .worker_threads(1)
            .open()?;
        let log = db.keyspace("log", options::log)?;
        let vault = db.keyspace("vault", options::vault)?;
        Ok((db, log, vault))
    };
    // On some kinds of damage the store panics where it should refuse; then the refusal is what people see.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let opened = std::panic::catch_unwind(std::panic::AssertUnwindSafe(open));
    std::panic::set_hook(hook);
    match opened {
        Ok(Ok(opened)) => Ok(opened),
        Ok(Err(fjall::Error::Locked)) => Err(OpenFailure::InUse),
        Ok(Err(error)) => Err(OpenFailure::Other(error.into())),
        Err(_) => Err(OpenFailure::Other("its files are damaged".into())),
    }
}

/// Makes the database where there is none: beside its place, and moved there when it is whole, so
/// that a full disk or a kill leaves nothing half made.
fn make(path: &Path) -> Result<(), Cause> {
    if path.exists() {
        return Ok(());
    }
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    if new.exists() {
        std::fs::remove_dir_all(&new)?;
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&new)?;
    match open_database(&new) {
        Ok(opened) => opened.0.persist(PersistMode::SyncAll)?,
        Err(OpenFailure::InUse) => return Err("another gemini-pool is just making it".into()),
        Err(OpenFailure::Other(cause)) => return Err(cause),
    }
    std::fs::rename(&new, path)?;
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => Ok(File::open(parent)?.sync_all()?),
        _ => Ok(()),
    }
}

/// Copies of the write-ahead log's files while the database opens: recovery shortens them at the first
/// byte that makes no sense, and would throw away all that comes after one damaged byte.
struct WriteAhead(Vec<(PathBuf, PathBuf)>);

impl WriteAhead {
    fn keep(path: &Path) -> io::Result<Self> {
        let mut kept = Self(Vec::new());
        for file in write_ahead_files(path) {
            let mut copy = file.clone().into_os_string();
            copy.push(".kept");
            let used = written(&File::open(&file)?)?;
            let mut from = io::Read::take(File::open(&file)?, used);
            let mut to =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&copy)?;
            kept.0.push((file, copy.into()));
            if let Err(error) = io::copy(&mut from, &mut to) {
                kept.forget();
                return Err(error);
            }
        }
        Ok(kept)
    }

    fn forget(self) {
        for (_, copy) in &self.0 {
            let _ = std::fs::remove_file(copy);
        }
    }

    fn put_back(self) {
        for (file, copy) in &self.0 {
            if let Err(error) = std::fs::rename(copy, file) {
                tracing::error!(%error, copy = %copy.display(), "the write-ahead log was not put back; this is its copy");
            }
        }
    }
}

fn write_ahead_files(path: &Path) -> Vec<PathBuf> {
    let Ok(files) = std::fs::read_dir(path) else { return Vec::new() };
    let files = files.flatten().map(|file| file.path());
    files.filter(|path| path.extension().is_some_and(|end| end == "jnl")).collect()
}

fn last_of(log: &Keyspace) -> Result<Seq, fjall::Error> {
    log.last_key_value().map_or(Ok(0), |last| Ok(seq_of(&last.key()?)))
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
    let files = write_ahead_files(path).into_iter();
    files.filter_map(|path| File::open(path).ok()).map(|file| written(&file).unwrap_or(0)).sum()
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
