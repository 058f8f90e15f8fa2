//! Opening the database: making it whole where there is none, and losing nothing where it is damaged.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use fjall::{Database, Keyspace, PersistMode};
use projections::Seq;

use super::{options, write_ahead};
use crate::descriptors::Shares;

pub(super) enum OpenFailure {
    InUse,
    /// And what of it.
    Damaged(String),
    Other(Cause),
}

pub(super) type Cause = Box<dyn std::error::Error + Send + Sync>;
pub(super) type Opened = (Database, Keyspace, Keyspace);

pub(super) fn builder(path: &Path) -> fjall::DatabaseBuilder<Database> {
    Database::builder(path)
        .cache_size(options::CACHE_BYTES)
        .max_journaling_size(options::WRITE_AHEAD_BYTES)
        .max_cached_files(Some(Shares::now().store))
        .worker_threads(1)
}

/// On some kinds of damage the store panics where it should refuse: none, then, and the refusal is what people see.
pub(super) fn quietly<T>(open: impl FnOnce() -> T) -> Option<T> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let opened = std::panic::catch_unwind(std::panic::AssertUnwindSafe(open));
    std::panic::set_hook(hook);
    opened.ok()
}

/// Makes a folder for its owner alone, where there is none.
pub(super) fn private(folder: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

pub(super) fn open_database(path: &Path) -> Result<Opened, OpenFailure> {
    let open = || -> Result<Opened, fjall::Error> {
        let db = builder(path).open()?;
        let log = db.keyspace("log", options::log)?;
        let vault = db.keyspace("vault", options::vault)?;
        Ok((db, log, vault))
    };
    match quietly(open) {
        Some(Ok(opened)) => Ok(opened),
        Some(Err(fjall::Error::Locked)) => Err(OpenFailure::InUse),
        Some(Err(error)) => Err(match damaged(path, &error) {
            Some(what) => OpenFailure::Damaged(what),
            None => OpenFailure::Other(error.into()),
        }),
        None => Err(OpenFailure::Damaged(TABLES.to_owned())),
    }
}

fn make_in(folder: &Path) -> Result<(), Cause> {
    match open_database(folder) {
        Ok(opened) => Ok(opened.0.persist(PersistMode::SyncAll)?),
        Err(OpenFailure::InUse) => Err("another gemini-pool is just making it".into()),
        Err(OpenFailure::Damaged(what)) => Err(what.into()),
        Err(OpenFailure::Other(cause)) => Err(cause),
    }
}

/// Whether nothing is in a folder but what a file system puts there by itself.
pub(crate) fn is_empty(folder: &Path) -> io::Result<bool> {
    for entry in std::fs::read_dir(folder)? {
        if entry?.file_name() != "lost+found" {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A write-ahead file that is bad from a place on, in people's words.
pub(super) fn damaged_part(file: &Path, place: u64) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    format!("the newest part of the log (`{name}`, from byte {place} on)")
}

/// What the store keeps sorted.
const TABLES: &str = "a file below `keyspaces`";

/// What of the log is damaged, in people's words, if that is what an error of the store comes from.
pub(super) fn damaged(path: &Path, error: &fjall::Error) -> Option<String> {
    use fjall::{Error as Store, LsmError as Table};
    // Cut off, or not where another file says that it is.
    let is_gone = |error: &io::Error| {
        matches!(
            error.kind(),
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::NotFound
        )
    };
    let what = match error {
        Store::JournalRecovery(_) => {
            let files = write_ahead::files(path).unwrap_or_default();
            let names = files.iter().filter_map(|file| file.file_name()?.to_str());
            let names: Vec<_> = names.map(|name| format!("`{name}`")).collect();
            format!("the newest part of the log ({})", names.join(", "))
        }
        Store::Io(error) | Store::Storage(Table::Io(error)) if !is_gone(error) => return None,
        Store::Io(_)
        | Store::Storage(_)
        | Store::Decompress(_)
        | Store::InvalidTrailer
        | Store::InvalidTag(_)
        | Store::InvalidVersion(_)
        | Store::Unrecoverable => TABLES.to_owned(),
        _ => return None,
    };
    tracing::debug!(%error, "the store does not understand its files");
    Some(what)
}

/// Makes the database where there is none: beside its place, and moved there when it is whole, so
/// that a full disk or a kill leaves nothing half made.
pub(super) fn make(path: &Path) -> Result<(), Cause> {
    if path.exists() {
        // An empty folder may be a volume of its own: then it cannot be moved to its place.
        return if is_empty(path)? { make_in(path) } else { Ok(()) };
    }
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    if new.exists() {
        std::fs::remove_dir_all(&new)?;
    }
    private(&new)?;
    make_in(&new)?;
    std::fs::rename(&new, path)?;
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => Ok(File::open(parent)?.sync_all()?),
        _ => Ok(()),
    }
}

/// Opens the witness of the last record that was synced.
pub(super) fn open_head(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path.join("head"))
}

pub(super) fn read_head(head: &File) -> io::Result<Seq> {
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
