//! Administrators coming and going, and their password.
//!
//! Its invariants: a login is looked at only when its time has come; what it came to is counted at once, and is in the
//! log before it is answered, where there is a log and it is one of the first of its minute. A restart forgets no ended
//! session, no changed password, and no delay that was recorded.

use std::{net::IpAddr, sync::Arc, time::Duration};

use projections::Millis;
use secrecy::{ExposeSecret, SecretString};
use tokio_util::sync::CancellationToken;

use super::{ADMIN_PASSWORD, ADMIN_TOLD, Error, Pool, made_up};
use crate::{
    auth::{self, Kind, Role, Session, Token, hash_password, verify_password},
    config::{Config, weak::is_placeholder},
    journal::SecretChange,
    ledger::{
        CommitError,
        rules::logins::{self, Fact, Who},
    },
    network::networks,
    vault::{self, Vault},
};

/// Characters of a new password, at least and at most.
const PASSWORD: std::ops::RangeInclusive<usize> = 8..=1_024;
/// When somebody who finds too many logins waiting is told to come back.
const CROWDED: Millis = 1_000;
/// How often the log hears of wrong logins that were only counted.
const MINUTE: Duration = Duration::from_secs(60);

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
    /// The new password is one that everybody knows.
    #[error("`new_password` is a placeholder that everybody knows: leave it out, and one is made")]
    Placeholder,
    /// The current password is missing.
    #[error("`current_password` is wanted")]
    NoCurrent,
    /// The vault, or the hash.
    #[error(transparent)]
    Pool(#[from] Error),
}

impl Pool {
    /// Checks a name and a password. Without a log it works too, so that an administrator sees why there is none.
    ///
    /// # Errors
    /// [`LoginError`].
    pub async fn log_in(&self, name: &str, password: SecretString, who: Who) -> Result<Token, LoginError> {
        let turn = self.prove(name, password, &who).await?;
        // Of the password that was compared: if it changes now, the token ends.
        let since = self.ledger.state().sessions.password();
        let token = turn.token(since, self.clock.now());
        drop(turn);
        match self.ledger.commit(move |_| logins::right(&who)).await {
            Err(CommitError::Log(_) | CommitError::NotDurable(_)) => {
                tracing::warn!("an administrator logged in, and the log does not have it");
            }
            other => other?,
        }
        Ok(token)
    }

    /// Waits for the turn, and looks at a name and a password; what is wrong is recorded.
    async fn prove(&self, name: &str, password: SecretString, who: &Who) -> Result<auth::Turn, LoginError> {
        let is_known = self.attempts.is_known(who, &self.ledger.state().sessions, self.clock.now());
        let kind = match (who.local, is_known) {
            (true, _) => Kind::ThisMachine,
            (false, true) => Kind::Known,
            (false, false) => Kind::Other,
        };
        // Before it waits, because most of an attack ends here; and after, because others were looked at meanwhile.
        self.its_time(who, is_known)?;
        let widest = who.address.map(networks).unwrap_or_default().pop();
        let turn = self.admins.turn(kind, widest).await.ok_or_else(|| {
            self.admins.too_early();
            LoginError::TooMany(CROWDED)
        })?;
        self.its_time(who, is_known)?;
        let (attempts, clock, judged) = (Arc::clone(&self.attempts), self.clock.clone(), who.clone());
        let judge = move |fits: bool| {
            if fits {
                attempts.right(&judged);
                return;
            }
            let wait_ms = attempts.wrong(&judged, clock.now());
            if wait_ms > 0 {
                tracing::debug!(address = judged.told_address(), wait_ms, "wrong logins: further ones wait");
            }
        };
        if let Some(turn) = turn.fits(name, password, judge).await {
            return Ok(turn);
        }
        self.tell_of_logins(false).await;
        Err(LoginError::Wrong)
    }

    /// Has the log hear of wrong logins. `all`: also how many there were in a minute that goes on.
    async fn tell_of_logins(&self, all: bool) {
        let facts = self.attempts.untold(self.clock.now(), all);
        let more = facts.iter().find_map(|fact| match fact {
            Fact::More(more) => Some(*more),
            _ => None,
        });
        if let Some(logins) = more {
            let unlooked = self.admins.unlooked();
            tracing::warn!(logins, unlooked, "wrong logins beyond the first ten of a minute");
        }
        if facts.is_empty() {
            return;
        }
        if let Err(error) = self.ledger.commit(move |_| logins::wrong(facts)).await {
            tracing::warn!(%error, "the log does not have the last wrong logins");
        }
    }

    /// Tells the log of the wrong logins that nobody waited for, each minute and at the end.
    pub async fn tell_of_logins_until(&self, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(MINUTE)).await.is_some() {
            self.tell_of_logins(false).await;
        }
        self.tell_of_logins(true).await;
    }

    fn its_time(&self, who: &Who, is_known: bool) -> Result<(), LoginError> {
        match self.attempts.wait(who, is_known, self.clock.now()) {
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
        address: (Option<IpAddr>, bool),
    ) -> Result<Option<SecretString>, LoginError> {
        if self.admins.is_told() {
            return Err(LoginError::Told);
        }
        if new.as_ref().is_some_and(|new| is_placeholder(new.expose_secret())) {
            return Err(LoginError::Placeholder);
        }
        if new.as_ref().is_some_and(|new| !PASSWORD.contains(&new.expose_secret().chars().count())) {
            return Err(LoginError::Length);
        }
        let turn = match (session.role, current) {
            (Role::Cli, _) => {
                let turn = self.admins.turn(Kind::ThisMachine, None).await;
                turn.ok_or(LoginError::TooMany(CROWDED))?
            }
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
