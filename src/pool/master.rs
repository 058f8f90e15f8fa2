//! The master key: the one that is in force, and the way to another.
//!
//! Where the pool keeps it in a file, the new one lies beside it (`master.key.new`) before anything is sealed with
//! it, and takes its place afterwards. The secrets change over in one batch. So whenever a machine dies, the key that
//! opens them is in one of the two files: the start tries both. Its invariant: **at every moment there is a key
//! on the disk, or with the operator, that opens every secret on the disk.**

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use projections::event::Actor;
use secrecy::{ExposeSecret, SecretString};

use super::{Error, MASTER_KEY_FILE as FILE, Pool, hex, own_secret};
use crate::{
    config::Config,
    journal::SecretChange,
    ledger::ResealError,
    vault::{self, Vault},
};

const NEXT: &str = "master.key.new";
/// As MASTER_KEY wants it.
const SHORTEST: usize = 16;

/// Why a new master key is not taken. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// The pool cannot keep it.
    #[error(
        "MASTER_KEY is given to this pool, so it cannot keep a new one by itself: write the new one into a file, name \
         it with --new-key-file, and set MASTER_KEY to it before the next start"
    )]
    NobodyToKeepIt,
    /// It is too easy to guess.
    #[error("a master key has at least {SHORTEST} characters")]
    Short,
    /// Nothing to change.
    #[error("this is the master key that the secrets are sealed with already")]
    Same,
}

/// What a change of the master key came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotated {
    /// Secrets sealed anew.
    pub secrets: u32,
    /// The file that holds the new key; none: the operator does.
    pub file: Option<PathBuf>,
}

/// Opens the vault with the key that is told, or kept.
pub(super) fn open_vault(
    config: &Config,
    sealed: &[(String, Vec<u8>)],
) -> Result<(Vault, Vec<SecretChange>), Error> {
    let told = config.master_key.as_ref();
    let key = own_secret(told, &config.data_dir, FILE, sealed.is_empty())?;
    let opened = Vault::open(&key, sealed);
    if told.is_some() {
        return Ok(opened?);
    }
    let next = config.data_dir.join(NEXT);
    match opened {
        Err(vault::Error::DoesNotOpen { name }) => {
            // A change that reached the log and not the file.
            let Some(key) = read(&next) else { return Err(vault::Error::DoesNotOpen { name }.into()) };
            let opened = Vault::open(&key, sealed)?;
            take_place(&config.data_dir).map_err(|source| Error::File { path: next, source })?;
            tracing::warn!(
                "a change of the master key was broken off after the log had it; it is complete now"
            );
            Ok(opened)
        }
        opened => {
            // A change that did not reach the log.
            if fs::remove_file(&next).is_ok() {
                tracing::warn!(
                    "a change of the master key was broken off before the log had it; the old one counts"
                );
            }
            Ok(opened?)
        }
    }
}

impl Pool {
    /// Seals every secret anew under another master key; without one, under one that is made now.
    ///
    /// # Errors
    /// [`Error::NewMaster`], [`Error::Vault`], [`Error::File`]: everything is as it was. [`Error::Commit`]: so it
    /// is, unless the log took the change although it could not say so; the next start finds out.
    pub async fn change_master_key(&self, new: Option<SecretString>, actor: Actor) -> Result<Rotated, Error> {
        let config = self.settings.now();
        let kept = config.master_key.is_none();
        let new = match new {
            Some(new) => new,
            None if kept => SecretString::from(hex(&vault::random::<32>()?)),
            None => return Err(BadKey::NobodyToKeepIt.into()),
        };
        let new = SecretString::from(new.expose_secret().trim().to_owned());
        if new.expose_secret().chars().count() < SHORTEST {
            return Err(BadKey::Short.into());
        }
        let _alone = self.vault.sealing_alone().await;
        if self.vault.is_master(&new) {
            return Err(BadKey::Same.into());
        }
        let folder = &config.data_dir;
        let next = folder.join(NEXT);
        if kept {
            put_beside(folder, &new).map_err(|source| Error::File { path: next.clone(), source })?;
        }
        let (sealer, key) = (Arc::clone(&self.vault), new.clone());
        let reseal = move |sealed: &[(String, Vec<u8>)]| sealer.reseal(sealed, &key);
        let (vault, key) = (Arc::clone(&self.vault), new);
        let secrets = match self.ledger.reseal(reseal, move || vault.change_master(&key), actor).await {
            Ok(secrets) => secrets,
            Err(ResealError::Seal(error)) => {
                let _ = fs::remove_file(&next);
                return Err(error.into());
            }
            // Both keys stay: the log may have it, and the next start tries both.
            Err(ResealError::Commit(error)) => return Err(error.into()),
        };
        if kept {
            take_place(folder).map_err(|source| Error::File { path: next, source })?;
        }
        Ok(Rotated { secrets, file: kept.then(|| folder.join(FILE)) })
    }
}

fn read(path: &Path) -> Option<SecretString> {
    let text = fs::read_to_string(path).ok()?;
    Some(SecretString::from(text.trim().to_owned()))
}

fn put_beside(folder: &Path, key: &SecretString) -> io::Result<()> {
    let path = folder.join(NEXT);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(key.expose_secret().as_bytes())?;
    file.sync_all()?;
    File::open(folder)?.sync_all()
}

fn take_place(folder: &Path) -> io::Result<()> {
    fs::rename(folder.join(NEXT), folder.join(FILE))?;
    File::open(folder)?.sync_all()
}
