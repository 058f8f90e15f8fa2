//! Administrators coming and going, and their password.
//!
//! Its invariant: a login is looked at only when its time has come, and what it came to is in the log before it is
//! answered; so a restart forgets no wrong login, no ended session and no changed password.

use projections::Millis;
use secrecy::{ExposeSecret, SecretString};

use super::{ADMIN_PASSWORD, ADMIN_TOLD, Error, Pool, made_up};
use crate::{
    auth::{self, Role, Session, Token, hash_password, verify_password},
    config::Config,
    journal::SecretChange,
    ledger::{
        CommitError,
        rules::logins::{self, Who},
    },
    vault::{self, Vault},
};

/// Characters of a new password, at least and at most.
const PASSWORD: std::ops::RangeInclusive<usize> = 8..=1_024;
/// When somebody who finds too many logins waiting is told to come back.
const CROWDED: Millis = 1_000;

/// Why a login, or another password, is refused.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// Wrong name or password; which one is not told.
    #[error("the name or the password is wrong")]
    Wrong,
    /// Too many wrong ones lately; milliseconds until the next try counts.
    #[error("too many wrong logins")]
    TooMany(Millis),
    /// The log.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The password is the environment's.
    #[error(
        "the password comes from ADMIN_PASSWORD: change it there, and start the pool again (all sessions end then)"
    )]
    Told,
    /// The new password is too short, or too long.
    #[error("`new_password` wants {} to {} characters", PASSWORD.start(), PASSWORD.end())]
    Length,
    /// The current password is missing.
    #[error("`current_password` is wanted")]
    NoCurrent,
    /// The vault, or the hash.
    #[error(transparent)]
    Pool(#[from] Error),
}

impl Pool {
    /// Checks a name and a password.
    ///
    /// # Errors
    /// [`LoginError`].
    pub async fn log_in(&self, name: &str, password: SecretString, who: Who) -> Result<Token, LoginError> {
        let turn = self.prove(name, password, &who).await?;
        self.ledger.commit(move |_| logins::right(&who)).await?;
        let since = self.ledger.state().sessions.password();
        Ok(turn.token(since, self.clock.now()))
    }

    /// Waits for the turn, and looks at a name and a password; what is wrong is recorded.
    async fn prove(
        &self,
        name: &str,
        password: SecretString,
        who: &Who,
    ) -> Result<auth::Turn<'_>, LoginError> {
        // Before it waits, because most of an attack ends here; and after, because others were looked at meanwhile.
        self.its_time(who)?;
        let turn = self.admins.turn().await.ok_or_else(|| {
            self.admins.too_early();
            LoginError::TooMany(CROWDED)
        })?;
        self.its_time(who)?;
        if turn.fits(name, password).await {
            return Ok(turn);
        }
        let (by, now) = (who.clone(), self.clock.now());
        self.ledger.commit(move |state| logins::wrong(state, &by, now)).await?;
        let wait_ms = logins::wait(&self.ledger.state().sessions, who, now);
        if wait_ms > 0 {
            let unlooked = self.admins.unlooked();
            tracing::warn!(address = who.address, wait_ms, unlooked, "wrong logins: further ones wait");
        }
        Err(LoginError::Wrong)
    }

    fn its_time(&self, who: &Who) -> Result<(), LoginError> {
        match logins::wait(&self.ledger.state().sessions, who, self.clock.now()) {
            0 => Ok(()),
            ms => {
                self.admins.too_early();
                Err(LoginError::TooMany(ms))
            }
        }
    }

    /// Who a token stands for; none: nobody.
    #[must_use]
    pub fn session(&self, token: &str) -> Option<Session> {
        let session = self.admins.read(token, self.clock.now())?;
        let over = session.is_over(&self.ledger.state().sessions);
        (!over).then_some(session)
    }

    /// Ends a session.
    ///
    /// # Errors
    /// [`CommitError`].
    pub async fn log_out(&self, session: Session) -> Result<(), CommitError> {
        let Session { name, token, expires, .. } = session;
        self.ledger.commit(move |state| logins::log_out(state, name, token, expires)).await
    }

    /// Gives the administrator another password, and ends every session. Without a new one it is made, and given
    /// back. The command line needs no current one.
    ///
    /// # Errors
    /// [`LoginError`].
    pub async fn change_password(
        &self,
        session: &Session,
        current: Option<SecretString>,
        new: Option<SecretString>,
        address: (String, bool),
    ) -> Result<Option<SecretString>, LoginError> {
        if self.admins.is_told() {
            return Err(LoginError::Told);
        }
        if new.as_ref().is_some_and(|new| !PASSWORD.contains(&new.expose_secret().chars().count())) {
            return Err(LoginError::Length);
        }
        let turn = match (session.role, current) {
            (Role::Cli, _) => self.admins.turn().await.ok_or(LoginError::TooMany(CROWDED))?,
            (Role::Admin, None) => return Err(LoginError::NoCurrent),
            (Role::Admin, Some(current)) => {
                let who = Who::new(&session.name, address.0, address.1);
                self.prove(&session.name, current, &who).await?
            }
        };
        let (password, made) = match new {
            Some(new) => (new, None),
            None => {
                let made = made_up()?;
                (made.clone(), Some(made))
            }
        };
        let hashed = tokio::task::spawn_blocking(move || hash_password(&password)).await;
        let hash = hashed.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        let hash = hash.map_err(Error::from)?;
        // No other master key between the two, or nobody could open it.
        let _sealing = self.vault.sealing().await;
        let sealed = self.vault.seal(ADMIN_PASSWORD, hash.as_bytes()).map_err(Error::from)?;
        let actor = session.actor();
        self.ledger.commit(move |_| logins::change_password(actor, vec![sealed])).await?;
        turn.change(&hash);
        Ok(made)
    }
}

/// The password in force at the start.
pub(super) struct InForce {
    pub(super) hash: String,
    /// It was made just now, to be told once.
    pub(super) made: Option<SecretString>,
    /// It is another than at the last start.
    pub(super) changed: bool,
    /// What is to be sealed, or to be forgotten.
    pub(super) secrets: Vec<SecretChange>,
}

impl InForce {
    /// As it was at the last start.
    fn unchanged(hash: String) -> Self {
        Self { hash, made: None, changed: false, secrets: Vec::new() }
    }
}

/// The hashes that are sealed: of the password that was made or set, and of the environment's.
fn hashes(
    vault: &Vault,
    sealed: &[(String, Vec<u8>)],
) -> Result<(Option<String>, Option<String>), vault::Error> {
    let open = |name: &str| {
        let found = sealed.iter().find(|(known, _)| known == name);
        let text = found.map(|(name, sealed)| vault.unseal(name, sealed));
        text.transpose().map(|text| text.map(|text| String::from_utf8_lossy(&text).into_owned()))
    };
    Ok((open(ADMIN_PASSWORD)?, open(ADMIN_TOLD)?))
}

/// The password that was in force at the last start; before the first one, a hash that no password fits.
///
/// Whoever only looks has no say in it: the settings of a command's shell are not those of the service.
pub(super) fn as_it_was(vault: &Vault, sealed: &[(String, Vec<u8>)]) -> Result<InForce, Error> {
    let (own, told) = hashes(vault, sealed)?;
    Ok(InForce::unchanged(told.or(own).unwrap_or_default()))
}

/// Finds out which password is in force: the environment's, or else the one that was made or set.
pub(super) fn in_force(
    config: &Config,
    vault: &Vault,
    sealed: &[(String, Vec<u8>)],
) -> Result<InForce, Error> {
    let (own, told) = hashes(vault, sealed)?;
    match (&config.admin_password, told) {
        (Some(password), Some(hash)) if verify_password(password, &hash) => Ok(InForce::unchanged(hash)),
        (Some(password), told) => {
            let hash = hash_password(password)?;
            let secrets = vec![vault.seal(ADMIN_TOLD, hash.as_bytes())?];
            // In a new data directory there was none before.
            Ok(InForce { hash, made: None, changed: told.is_some() || own.is_some(), secrets })
        }
        (None, told) => {
            let changed = told.is_some();
            let mut secrets = Vec::new();
            if changed {
                secrets.push(SecretChange { name: ADMIN_TOLD.to_owned(), sealed: None });
            }
            let (hash, made) = match own {
                Some(hash) => (hash, None),
                None => {
                    let password = made_up()?;
                    let hash = hash_password(&password)?;
                    secrets.push(vault.seal(ADMIN_PASSWORD, hash.as_bytes())?);
                    (hash, Some(password))
                }
            };
            Ok(InForce { hash, made, changed, secrets })
        }
    }
}
