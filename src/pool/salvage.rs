//! A data directory from one that is damaged: everything that the log's chain of hashes proves, the sealed secrets, and the
//! pool's own keys.
//!
//! Owns where it goes and when it counts, as [`super::restore`] does. It refuses to touch the damaged folder: it reads it,
//! and works on a copy. So it needs as much room as the damaged log, and that of the new one.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use projections::event::{Actor, LogSalvaged};

use super::{
    MASTER_KEY_FILE, SECRET_KEY_FILE,
    audit::unfit,
    restore::{BESIDE, COPY, Opens, RestoreError, opens, prepare},
};
use crate::{
    config::Config,
    journal::{
        Journal,
        fjall::{FjallJournal, Remains},
    },
    ledger::{
        Ledger,
        clock::Clock,
        salvage::{self, Report},
    },
};

/// What became of a damaged data directory.
#[derive(Debug)]
pub struct Salvaged {
    /// What of the log was kept, and what not.
    pub report: Report,
    /// What could not be read.
    pub notes: Vec<String>,
    /// Sealed secrets that were kept.
    pub secrets: usize,
    /// What does not fit together: keys whose secrets are lost.
    pub unfit: Vec<String>,
    /// Whether the secrets open with the master key that is there now.
    pub opens: Opens,
}

/// Makes a new data directory of what can be proven of a damaged one. `seen` is told how far it is.
///
/// # Errors
/// [`RestoreError`]; then nothing is left of the new one.
pub async fn salvage(
    folder: &Path,
    into: &Path,
    config: &Config,
    clock: &Clock,
    mut seen: impl FnMut(u64),
) -> Result<Salvaged, RestoreError> {
    let log = log_in(folder).ok_or_else(|| RestoreError::NoLog { folder: folder.to_owned() })?;
    let failed = |source| RestoreError::Folder { folder: into.to_owned(), source };
    let mut begun = prepare(into)?;
    let (beside, copy) = (into.join(BESIDE), into.join(COPY));
    let remains = Remains::of(&log, &copy)?;
    let journal = Arc::new(FjallJournal::open(&beside)?);
    let report = salvage::salvage(&remains, journal.as_ref(), &mut seen)?;
    let mut notes = remains.notes().to_vec();
    drop(remains);
    fs::remove_dir_all(&copy).map_err(failed)?;
    for name in [MASTER_KEY_FILE, SECRET_KEY_FILE, "master.key.new"] {
        let (from, to) = (folder.join(name), into.join(name));
        if from.exists()
            && !to.exists()
            && let Err(error) = fs::copy(&from, &to)
        {
            notes.push(format!("{} cannot be read: {error}", from.display()));
        }
    }
    let sealed = journal.secrets()?;
    let opens = opens(config.master_key.as_ref(), into, &sealed);
    let names: Vec<_> = sealed.into_iter().map(|(name, _)| name).collect();
    let most = config.max_failures_per_key;
    let ledger = Ledger::open(journal, clock.clone(), move || most, Vec::new())?;
    let (last, unfit) = {
        let state = ledger.state();
        (state.at, unfit(&state.keys, &names))
    };
    clock.go_on_from(last);
    let Report { kept, lost_events: lost, last: (through, _), .. } = report;
    ledger.note(LogSalvaged { through, kept, lost, actor: Actor::Cli }).await?;
    ledger.close().await;
    fs::rename(&beside, into.join("log")).and_then(|()| fs::File::open(into)?.sync_all()).map_err(failed)?;
    begun.is_done = true;
    Ok(Salvaged { report, notes, secrets: names.len(), unfit, opens })
}

/// The log's own folder: in a data directory, or named itself.
fn log_in(folder: &Path) -> Option<PathBuf> {
    let is_log = |path: &Path| -> io::Result<bool> {
        for entry in fs::read_dir(path)? {
            let name = entry?.file_name();
            if name == "keyspaces" || Path::new(&name).extension().is_some_and(|end| end == "jnl") {
                return Ok(true);
            }
        }
        Ok(false)
    };
    [folder.join("log"), folder.to_owned()].into_iter().find(|path| is_log(path).unwrap_or(false))
}
