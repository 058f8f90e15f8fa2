//! Clients: who may use the pool.
//!
//! Owns the clients and the digests of their access keys. It refuses to know an
//! access key itself: what is presented is digested at the edge and looked up.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    event::{Actor, ClientAdded, Event, Recorded},
    id::{ClientId, Digest, Millis},
};

/// Digests of removed clients kept, so that the environment does not bring them back.
const REMOVED_KEPT: usize = 100_000;

/// An app that may use the pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// Its number.
    pub id: ClientId,
    /// What people call it.
    pub name: String,
    /// The last four characters of its access key.
    pub tail: String,
    /// The digest of its access key.
    pub digest: Digest,
    /// Who added it.
    pub actor: Actor,
    /// When.
    pub added: Millis,
}

/// Every client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    clients: BTreeMap<ClientId, Client>,
    digests: BTreeMap<Digest, ClientId>,
    removed: BTreeSet<Digest>,
    last: u32,
}

impl Access {
    /// Every client, by number.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Client> {
        self.clients.values()
    }

    /// One client.
    #[must_use]
    pub fn get(&self, client: ClientId) -> Option<&Client> {
        self.clients.get(&client)
    }

    /// The client with this digest.
    #[must_use]
    pub fn by_digest(&self, digest: &Digest) -> Option<&Client> {
        self.digests.get(digest).and_then(|client| self.clients.get(client))
    }

    /// Whether a client with this digest was removed by an operator, and not added since.
    #[must_use]
    pub fn was_removed(&self, digest: &Digest) -> bool {
        self.removed.contains(digest)
    }

    /// The number that the next client gets.
    #[must_use]
    pub fn next_id(&self) -> ClientId {
        ClientId(self.last.saturating_add(1))
    }

    /// Folds one event in.
    pub fn apply(&mut self, recorded: &Recorded) {
        match &recorded.event {
            Event::ClientAdded(event) => self.add(event, recorded.at),
            Event::ClientRemoved(event) => {
                if let Some(client) = self.remove(event.client)
                    && event.actor != Actor::Env
                {
                    self.removed.insert(client.digest);
                    if self.removed.len() > REMOVED_KEPT {
                        self.removed.pop_first();
                    }
                }
            }
            _ => {}
        }
    }

    fn add(&mut self, event: &ClientAdded, at: Millis) {
        self.remove(event.client);
        if let Some(&other) = self.digests.get(&event.digest) {
            self.remove(other);
        }
        self.removed.remove(&event.digest);
        self.last = self.last.max(event.client.0);
        self.digests.insert(event.digest, event.client);
        let client = Client {
            id: event.client,
            name: event.name.clone(),
            tail: event.tail.clone(),
            digest: event.digest,
            actor: event.actor.clone(),
            added: at,
        };
        self.clients.insert(event.client, client);
    }

    fn remove(&mut self, id: ClientId) -> Option<Client> {
        let client = self.clients.remove(&id)?;
        self.digests.remove(&client.digest);
        Some(client)
    }
}
