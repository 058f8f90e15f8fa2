//! Opening the database: making it whole where there is none, and losing nothing where it is damaged.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use fjall::{Database, Keyspace, PersistMode};
use projections::Seq;

use super::options;

pub(super) enum OpenFailure {
    InUse,
    /// And what of it.
    Damaged(String),
    Other(Cause),
}

pub(super) type Cause = Box<dyn std::error::Error + Send + Sync>;
pub(super) type Opened = (Database, Keyspace, Keyspace);

pub(super) fn open_database(path: &Path) -> Result<Opened, OpenFailure> {
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
        Ok(Err(error)) => Err(match damaged(path, &error) {
            Some(what) => OpenFailure::Damaged(what),
            None => OpenFailure::Other(error.into()),
        }),
        Err(_) => Err(OpenFailure::Damaged(TABLES.to_owned())),
    }
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
            let files = write_ahead_files(path);
            let mut names: Vec<_> = files
                .iter()
                .filter_map(|file| file.file_name()?.to_str())
                .map(|name| format!("`{name}`"))
                .collect();
            names.sort_unstable();
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
        Err(OpenFailure::Damaged(what)) => return Err(what.into()),
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
pub(super) struct WriteAhead(Vec<(PathBuf, PathBuf)>);

impl WriteAhead {
    pub(super) fn keep(path: &Path) -> io::Result<Self> {
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

    pub(super) fn forget(self) {
        for (_, copy) in &self.0 {
            let _ = std::fs::remove_file(copy);
        }
    }

    pub(super) fn put_back(self) {
        for (file, copy) in &self.0 {
            if let Err(error) = std::fs::rename(copy, file) {
                tracing::error!(%error, copy = %copy.display(), "the write-ahead log was not put back; this is its copy");
            }
        }
    }
}

pub(super) fn write_ahead_files(path: &Path) -> Vec<PathBuf> {
    let Ok(files) = std::fs::read_dir(path) else { return Vec::new() };
    let files = files.flatten().map(|file| file.path());
    files.filter(|path| path.extension().is_some_and(|end| end == "jnl")).collect()
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

/// How much is written in the write-ahead log; recovery makes it less when its end is torn.
/// The files are made long beforehand, so zeros at their ends do not count.
pub(super) fn write_ahead_bytes(path: &Path) -> u64 {
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
