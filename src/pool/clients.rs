//! What operators do with clients, their access keys included.
//!
//! Its invariant: an access key is digested here and never kept; who made it or gave it sees it once.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use projections::{ClientId, Seq, event::Actor};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::{Error, Pool};
use crate::{
    config::weak::{KEY_LENGTH, is_placeholder},
    ledger::{
        CommitError,
        rules::{self, ClientWishes, NewClient, Refused},
    },
    vault::{self, UpstreamKey},
};

/// Characters of an access key that an operator gives, at most.
const LONGEST: usize = 512;

/// What an access key that somebody gives wants instead; none: it is good.
pub(super) fn is_no_access_key(text: &str, allow_weak: bool) -> Option<String> {
    let least = if allow_weak { 1 } else { KEY_LENGTH };
    if !(least..=LONGEST).contains(&text.len()) || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Some(format!("wants {least} to {LONGEST} visible ASCII characters, without spaces"));
    }
    is_placeholder(text)
        .then(|| "is a placeholder that everybody knows: leave it out, and one is made".to_owned())
}

/// A client's access key, to be shown once.
pub struct AccessKey {
    /// Whose.
    pub client: ClientId,
    /// The key; none where the operator gave it.
    pub made: Option<SecretString>,
}

impl Pool {
    /// Adds a client; without a secret one is made.
    ///
    /// # Errors
    /// [`Error::Commit`], [`Error::Vault`].
    pub async fn add_client(
        &self,
        secret: Option<SecretString>,
        wishes: ClientWishes,
        actor: Actor,
    ) -> Result<AccessKey, Error> {
        let (new, made) = self.access_key(secret)?;
        let client = self.ledger.commit(move |state| rules::add_client(state, new, wishes, &actor)).await?;
        Ok(AccessKey { client, made })
    }

    /// Changes what is said of a client, if it is still at the revision that was `seen`.
    ///
    /// # Errors
    /// [`CommitError`].
    pub async fn update_client(
        &self,
        client: ClientId,
        wishes: ClientWishes,
        seen: Option<Seq>,
        actor: Actor,
    ) -> Result<(), CommitError> {
        self.ledger.commit(move |state| rules::update_client(state, client, wishes, seen, &actor)).await
    }

    /// Gives a client another access key; without a secret one is made.
    ///
    /// # Errors
    /// [`Error::Commit`], [`Error::Vault`].
    pub async fn replace_client_key(
        &self,
        client: ClientId,
        secret: Option<SecretString>,
        seen: Option<Seq>,
        actor: Actor,
    ) -> Result<AccessKey, Error> {
        let (new, made) = self.access_key(secret)?;
        self.ledger.commit(move |state| rules::replace_client_key(state, client, new, seen, &actor)).await?;
        Ok(AccessKey { client, made })
    }

    /// Ends a client's access.
    ///
    /// # Errors
    /// [`CommitError`].
    pub async fn remove_client(
        &self,
        client: ClientId,
        seen: Option<Seq>,
        actor: Actor,
    ) -> Result<(), CommitError> {
        self.ledger.commit(move |state| rules::remove_client(state, client, seen, &actor)).await
    }

    /// An access key as the log knows it, and the key itself where it is made here.
    fn access_key(&self, given: Option<SecretString>) -> Result<(NewClient, Option<SecretString>), Error> {
        let refused = |refused: Refused| Error::Commit(CommitError::Refused(refused));
        if let Some(given) = &given {
            let text = given.expose_secret();
            if let Some(wants) = is_no_access_key(text, self.settings.now().allow_weak_keys) {
                return Err(refused(Refused::BadValue { name: "secret", wants }));
            }
            let upstream = UpstreamKey::new(text).ok().map(|key| self.vault.fingerprint(&key));
            if upstream.is_some_and(|key| self.ledger.state().keys.by_fingerprint(&key).is_some()) {
                let taken = "this is one of the pool's own Google API keys: an app must not have it";
                return Err(refused(Refused::SecretTaken(taken)));
            }
        }
        let (secret, made) = match given {
            Some(given) => (given, None),
            None => {
                let random = Zeroizing::new(vault::random::<32>()?);
                let made = SecretString::from(format!("gp-{}", URL_SAFE_NO_PAD.encode(*random)));
                (made.clone(), Some(made))
            }
        };
        let bytes = secret.expose_secret().as_bytes();
        Ok((NewClient { digest: self.vault.client_digest(bytes), tail: vault::tail_of(bytes) }, made))
    }
}
