//! Clients: who may use the pool.
//!
//! Owns the clients, what they may do, and the digests of their access keys. It refuses to know an
//! access key itself: what is presented is digested at the edge and looked up.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    event::{Actor, Cap, ClientAdded, ClientKeyReplaced, ClientUpdated, Event, Recorded},
    id::{ClientId, Digest, Millis, Seq},
};

/// Digests of removed clients kept, so that the environment does not bring them back.
const REMOVED_KEPT: usize = 100_000;

/// What a client may use up; none: as much as there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Requests in a minute.
    pub requests_per_minute: Option<u64>,
    /// Requests in a day of UTC.
    pub requests_per_day: Option<u64>,
    /// Tokens of prompts and answers in a day of UTC.
    pub tokens_per_day: Option<u64>,
    /// Requests at the same time.
    pub concurrent: Option<u64>,
}

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
    /// What people want to remember of it.
    pub note: String,
    /// Whether it may come in.
    pub enabled: bool,
    /// When its access ends; none: never.
    pub expires: Option<Millis>,
    /// Models it may ask: names, or patterns with `*`; empty: all.
    pub models: Vec<String>,
    /// Addresses it may come from, as addresses or ranges; empty: all.
    pub addresses: Vec<String>,
    /// What it may use up.
    pub limits: Limits,
    /// When its access key was last replaced.
    pub replaced: Option<Millis>,
    /// The last event that changed any of this.
    pub revision: Seq,
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

    /// Whether there is or ever was a client: somebody decided that access keys are wanted here.
    #[must_use]
    pub fn ever_had_one(&self) -> bool {
        self.last > 0
    }

    /// Folds one event in.
    pub fn apply(&mut self, recorded: &Recorded) {
        match &recorded.event {
            Event::ClientAdded(event) => self.add(event, recorded),
            Event::ClientUpdated(event) => self.update(event, recorded.seq),
            Event::ClientKeyReplaced(event) => self.replace(event, recorded),
            Event::ClientRemoved(event) => {
                if let Some(client) = self.remove(event.client)
                    && event.actor != Actor::Env
                {
                    self.remember(client.digest);
                }
            }
            _ => {}
        }
    }

    fn remember(&mut self, removed: Digest) {
        self.removed.insert(removed);
        if self.removed.len() > REMOVED_KEPT {
            self.removed.pop_first();
        }
    }

    fn add(&mut self, event: &ClientAdded, recorded: &Recorded) {
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
            added: recorded.at,
            note: String::new(),
            enabled: true,
            expires: None,
            models: Vec::new(),
            addresses: Vec::new(),
            limits: Limits::default(),
            replaced: None,
            revision: recorded.seq,
        };
        self.clients.insert(event.client, client);
    }

    fn update(&mut self, event: &ClientUpdated, seq: Seq) {
        let Some(client) = self.clients.get_mut(&event.client) else { return };
        fn set<T: Clone>(to: &mut T, from: &Option<T>) {
            if let Some(from) = from {
                *to = from.clone();
            }
        }
        fn cap(to: &mut Option<u64>, from: Option<Cap>) {
            match from {
                Some(Cap::Lifted) => *to = None,
                Some(Cap::To(most)) => *to = Some(most),
                None => {}
            }
        }
        set(&mut client.name, &event.name);
        set(&mut client.note, &event.note);
        set(&mut client.enabled, &event.enabled);
        set(&mut client.models, &event.models);
        set(&mut client.addresses, &event.addresses);
        let mut expires = client.expires.and_then(|expires| u64::try_from(expires).ok());
        cap(&mut expires, event.expires);
        client.expires = expires.map(|expires| Millis::try_from(expires).unwrap_or(Millis::MAX));
        let limits = &mut client.limits;
        cap(&mut limits.requests_per_minute, event.requests_per_minute);
        cap(&mut limits.requests_per_day, event.requests_per_day);
        cap(&mut limits.tokens_per_day, event.tokens_per_day);
        cap(&mut limits.concurrent, event.concurrent);
        client.revision = seq;
    }

    /// The old access key counts as removed: what the environment says does not bring it back.
    fn replace(&mut self, event: &ClientKeyReplaced, recorded: &Recorded) {
        if !self.clients.contains_key(&event.client) {
            return;
        }
        if let Some(&other) = self.digests.get(&event.digest)
            && other != event.client
        {
            self.remove(other);
        }
        let Some(client) = self.clients.get_mut(&event.client) else { return };
        let old = std::mem::replace(&mut client.digest, event.digest);
        client.tail.clone_from(&event.tail);
        client.replaced = Some(recorded.at);
        client.revision = recorded.seq;
        self.digests.remove(&old);
        self.digests.insert(event.digest, event.client);
        if old != event.digest {
            self.remember(old);
        }
        self.removed.remove(&event.digest);
    }

    fn remove(&mut self, id: ClientId) -> Option<Client> {
        let client = self.clients.remove(&id)?;
        self.digests.remove(&client.digest);
        Some(client)
    }
}
