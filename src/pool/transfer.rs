//! Keys and clients in and out by the dozen: what comes from another program, and what is given out.
//!
//! Its invariant: nobody is given a secret before it is in the log, on the disk, who asked for it.

use std::sync::Arc;

use projections::{
    KeyId, State,
    event::{Actor, KeysExported},
    keys::Key,
};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::{Error, GivenKey, GivenResult, Pool, clients::is_no_access_key, keys::ways};
use crate::{
    ledger::{
        CommitError,
        rules::{self, AddedClient, NewClient},
    },
    vault,
};

/// What became of what was to be imported, each in its order.
#[derive(Debug)]
pub struct Imported {
    /// Keys.
    pub keys: Vec<GivenResult>,
    /// Clients; none: it cannot be an access key.
    pub clients: Vec<Option<AddedClient>>,
}

/// A key with its secret, and what was said of it.
#[derive(Debug)]
pub struct ExportedKey {
    /// All that is known of it.
    pub key: Key,
    /// The secret.
    pub secret: SecretString,
    /// The outbound proxy of its own, credentials included.
    pub proxy: Option<Zeroizing<String>>,
}

impl Pool {
    /// Adds keys and clients: all, or none. `dry`: only tells what would become of them.
    ///
    /// # Errors
    /// [`Error::Commit`]: nothing was added. [`Error::Vault`].
    pub async fn import(
        &self,
        keys: Vec<GivenKey>,
        clients: Vec<SecretString>,
        dry: bool,
        actor: Actor,
    ) -> Result<Imported, Error> {
        let _sealing = self.vault.sealing().await;
        let mut prepared = self.prepare(keys)?;
        let (new_keys, routes) = prepared.take();
        let weak = self.settings.now().allow_weak_keys;
        let fits = |client: &SecretString| is_no_access_key(client.expose_secret(), weak).is_none();
        let fits: Vec<bool> = clients.iter().map(fits).collect();
        let new_clients = clients.iter().zip(&fits).filter(|(_, fits)| **fits).map(|(client, _)| {
            let client = client.expose_secret().as_bytes();
            NewClient { digest: self.vault.client_digest(client), tail: vault::tail_of(client) }
        });
        let new_clients: Vec<_> = new_clients.collect();
        let decided = if dry {
            let decision = rules::import(&self.ledger.state(), new_keys, new_clients, &actor);
            decision.map(|decision| decision.answer).map_err(CommitError::from)
        } else {
            let vault = Arc::clone(&self.vault);
            let rule = move |state: &State| {
                let decision = rules::import(state, new_keys, new_clients, &actor)?;
                vault.stage(ways(&decision.answer.0, routes));
                Ok(decision)
            };
            self.ledger.commit(rule).await
        };
        self.vault.dismiss(&prepared.fingerprints);
        let (added, added_clients) = decided?;
        let mut added_clients = added_clients.into_iter();
        let clients = fits.into_iter().map(|fits| fits.then(|| added_clients.next()).flatten()).collect();
        Ok(Imported { keys: prepared.results(added), clients })
    }

    /// Gives out keys with their secrets; all of them where none is named.
    ///
    /// # Errors
    /// [`Error::Commit`]: none is given out.
    pub async fn export_keys(
        &self,
        only: Option<Vec<KeyId>>,
        actor: Actor,
        address: String,
    ) -> Result<Vec<ExportedKey>, Error> {
        let exported: Vec<ExportedKey> = {
            let state = self.ledger.state();
            if let Some(unknown) = only.iter().flatten().find(|key| state.keys.get(**key).is_none()) {
                return Err(CommitError::from(rules::Refused::NoSuchKey(*unknown)).into());
            }
            let wanted =
                state.keys.iter().filter(|key| only.as_ref().is_none_or(|only| only.contains(&key.id)));
            let open = wanted.filter_map(|key| {
                let opened = self.vault.upstream_key(&key.fingerprint)?;
                let (secret, proxy) = (opened.reveal(), opened.route().secret());
                Some(ExportedKey { key: key.clone(), secret, proxy })
            });
            open.collect()
        };
        let keys = exported.iter().map(|exported| exported.key.id).collect();
        self.ledger.note(KeysExported { keys, actor, address }).await?;
        Ok(exported)
    }
}
