//! A data directory from a backup.
//!
//! Owns where it goes and when it counts: everything is written beside its place, read back as a server would,
//! and moved there as the last step. It refuses a folder in which there is something already. Its invariant: a
//! restore that did not end leaves nothing that a server would take for a log; one that was refused leaves nothing at
//! all, and what one that was killed left goes with the next restore or start.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use projections::event::{Actor, BackupRestored};
use secrecy::SecretString;

use super::Error;
use crate::{
    config::{Config, Database},
    journal::{Frame, Journal, Numbered, SecretChange, fjall::FjallJournal},
    ledger::{
        Ledger,
        backup::{Item, Manifest, Reader, Unreadable},
        clock::Clock,
        segment_of_frame,
    },
    vault::Vault,
};

/// Entries written at once.
const PAGE: usize = 1_024;
/// What may be in the folder beforehand: secrets of the pool's own, put there by the operator.
const MAY_BE_THERE: [&str; 2] = ["master.key", "secret.key"];
/// Where the log is until it is whole.
pub(super) const BESIDE: &str = "log.restoring";
/// Where the copy of a damaged one is while something is made of it.
pub(super) const COPY: &str = "log.copy";

/// Why a backup is not restored. Nothing is left behind that a server would use.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// There is no folder to restore into.
    #[error("DATABASE_URL is `memory:`, which keeps nothing; say --into DIR")]
    NoFolder,
    /// There is something already.
    #[error(
        "{} is not empty (it holds `{found}`): restore into a new folder with --into DIR, or move this one away; only \
         master.key and secret.key may be there", folder.display()
    )]
    NotEmpty {
        /// Where.
        folder: PathBuf,
        /// What.
        found: String,
    },
    /// The folder cannot be made or read.
    #[error("cannot prepare {}", folder.display())]
    Folder {
        /// Which.
        folder: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is nothing to salvage.
    #[error("there is no log in {}: name the data directory, or its folder `log`", folder.display())]
    NoLog {
        /// Where.
        folder: PathBuf,
    },
    /// The backup is none, or not whole.
    #[error(transparent)]
    Backup(#[from] Unreadable),
    /// The new log.
    #[error("cannot write the restored log")]
    Log(#[source] Error),
}

impl<E: Into<Error>> From<E> for RestoreError {
    fn from(error: E) -> Self {
        Self::Log(error.into())
    }
}

/// Whether the sealed secrets of a backup open here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opens {
    /// With the master key that is here.
    Yes,
    /// The master key that is here is another one.
    WrongKey,
    /// There is no master key here.
    NoKey,
}

/// What was restored.
#[derive(Debug)]
pub struct Restored {
    /// Where to.
    pub folder: PathBuf,
    /// What the backup said of itself.
    pub manifest: Manifest,
    /// Events in it.
    pub events: u64,
    /// Whether its secrets open.
    pub opens: Opens,
}

/// Restores a backup into a folder, or into the one that the settings name. `seen` is told how many events were
/// read, and up to which the backup goes.
///
/// # Errors
/// [`RestoreError`].
pub async fn restore(
    from: impl Read,
    into: Option<&Path>,
    config: &Config,
    clock: &Clock,
    mut seen: impl FnMut(u64, u64),
) -> Result<Restored, RestoreError> {
    let folder = match (into, &config.database) {
        (Some(into), _) => into.to_owned(),
        (None, Database::Fjall(folder)) => folder.clone(),
        (None, Database::Memory) => return Err(RestoreError::NoFolder),
    };
    let mut reader = Reader::open(from)?;
    let failed = |source| RestoreError::Folder { folder: folder.clone(), source };
    let mut begun = prepare(&folder)?;
    let beside = folder.join(BESIDE);
    let journal = Arc::new(FjallJournal::open(&beside)?);
    copy(&mut reader, journal.as_ref(), &mut seen)?;
    journal.sync()?;
    let keys_folder = if into.is_some() { &folder } else { &config.data_dir };
    let opens = opens(config.master_key.as_ref(), keys_folder, &journal.secrets()?);
    let manifest = reader.manifest().clone();
    // As a server would read it: what it does not take is no backup.
    let most = config.max_failures_per_key;
    let ledger = Ledger::open(journal, clock.clone(), move || most, Vec::new())?;
    let last = ledger.state().at;
    clock.go_on_from(last);
    ledger.note(BackupRestored { through: manifest.through, actor: Actor::Cli }).await?;
    ledger.close().await;
    fs::rename(&beside, folder.join("log"))
        .and_then(|()| fs::File::open(&folder)?.sync_all())
        .map_err(failed)?;
    begun.is_done = true;
    Ok(Restored { events: reader.events(), folder, manifest, opens })
}

/// What a restore has begun: unless it is done, it goes away again.
pub(super) struct Begun {
    folder: PathBuf,
    /// Whether the folder was made for it.
    is_new: bool,
    pub(super) is_done: bool,
}

impl Drop for Begun {
    fn drop(&mut self) {
        if self.is_done {
            return;
        }
        if let Err(error) = remove_what_a_restore_left(&self.folder) {
            tracing::warn!(%error, folder = %self.folder.display(), "what the restore had begun was not removed");
        }
        if self.is_new {
            let _ = fs::remove_dir(&self.folder);
        }
    }
}

/// Removes the log that a restore began and did not come to end, unless one is at work there.
///
/// # Errors
/// It is there and cannot be removed.
pub(super) fn remove_what_a_restore_left(folder: &Path) -> io::Result<()> {
    if [BESIDE, COPY].iter().any(|name| FjallJournal::is_open(&folder.join(name))) {
        return Ok(());
    }
    for name in [BESIDE.to_owned(), format!("{BESIDE}.new"), COPY.to_owned()] {
        match fs::remove_dir_all(folder.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

pub(super) fn prepare(folder: &Path) -> Result<Begun, RestoreError> {
    let failed = |source| RestoreError::Folder { folder: folder.to_owned(), source };
    let is_new = !folder.exists();
    super::private_folder(folder).map_err(failed)?;
    remove_what_a_restore_left(folder).map_err(failed)?;
    for entry in fs::read_dir(folder).map_err(failed)? {
        let found = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        if !MAY_BE_THERE.contains(&&*found) {
            return Err(RestoreError::NotEmpty { folder: folder.to_owned(), found });
        }
    }
    Ok(Begun { folder: folder.to_owned(), is_new, is_done: false })
}

fn copy(
    reader: &mut Reader<impl Read>,
    journal: &dyn Journal,
    seen: &mut impl FnMut(u64, u64),
) -> Result<(), RestoreError> {
    let (mut entries, mut secrets) = (Vec::<Numbered>::new(), Vec::<SecretChange>::new());
    loop {
        let item = reader.read()?;
        let ended = item.is_none();
        match item {
            Some(Item::Frame(entry)) => {
                let segment = segment_of_frame(&entry.frame);
                entries.push((entry.seq, Frame { segment, bytes: entry.frame }));
            }
            Some(Item::Secret(secret)) => secrets.push(secret),
            Some(Item::Base(base)) => base.restore(journal)?,
            None => {}
        }
        if ended || entries.len() + secrets.len() >= PAGE {
            journal.adopt(&entries, &secrets)?;
            entries.clear();
            secrets.clear();
            seen(reader.events(), reader.manifest().through);
        }
        if ended {
            return Ok(());
        }
    }
}

pub(super) fn opens(told: Option<&SecretString>, folder: &Path, sealed: &[(String, Vec<u8>)]) -> Opens {
    let kept = || fs::read_to_string(folder.join("master.key")).ok().map(|text| text.trim().to_owned());
    let key = told.cloned().or_else(|| kept().filter(|text| !text.is_empty()).map(SecretString::from));
    match key {
        _ if sealed.is_empty() => Opens::Yes,
        None => Opens::NoKey,
        Some(key) if Vault::open(&key, sealed).is_ok() => Opens::Yes,
        Some(_) => Opens::WrongKey,
    }
}
