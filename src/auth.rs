//! Who may come in: apps with client access keys, and administrators.
//!
//! Owns both checks and keeps them apart: a client key never administers, and an
//! administrator's token never proxies. What is presented is compared by keyed
//! digest or in constant time. Its invariant: default closed.

mod admins;
mod tokens;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use http::{HeaderMap, header::AUTHORIZATION};
use parking_lot::RwLock;
use projections::{ClientId, Digest, Event, Recorded, State};

pub use self::{
    admins::{Admins, HashError, Turn, hash_password, verify_password},
    tokens::{Role, Session, Signer, Token},
};
use crate::{
    gemini::{headers::API_KEY, target::query_credentials},
    ledger::View,
    vault::Vault,
};

/// What a request's credentials come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// A known client.
    Client(ClientId),
    /// Nobody needs a credential here.
    Anonymous,
    /// Not let in.
    Unknown {
        /// Whether a credential was presented at all.
        presented: bool,
    },
}

/// Lets apps in.
pub struct Gatekeeper {
    vault: Arc<Vault>,
    clients: RwLock<HashMap<Digest, ClientId>>,
    /// Whether everybody may come in while no client is configured.
    open: AtomicBool,
}

impl Gatekeeper {
    /// Closed until [`Gatekeeper::open_when_without_clients`].
    #[must_use]
    pub fn new(vault: Arc<Vault>) -> Self {
        Self { vault, clients: RwLock::default(), open: AtomicBool::new(false) }
    }

    /// Says whether requests without a credential are let in while there are no clients.
    pub fn open_when_without_clients(&self, open: bool) {
        self.open.store(open, Ordering::Release);
    }

    /// Looks for a known credential in the four places where Google's clients put one.
    pub fn admit(&self, headers: &HeaderMap, query: &str) -> Admission {
        let clients = self.clients.read();
        if clients.is_empty() && self.open.load(Ordering::Acquire) {
            return Admission::Anonymous;
        }
        let mut presented = false;
        let mut find = |credential: &[u8]| {
            presented = true;
            // The digest is keyed, so how long the look-up takes says nothing about any credential.
            clients.get(&self.vault.client_digest(credential)).copied()
        };
        let in_header = headers.get(API_KEY).and_then(|value| find(value.as_bytes()));
        let client = in_header
            .or_else(|| {
                headers.get_all(AUTHORIZATION).iter().find_map(|value| find(bearer(value.as_bytes())?))
            })
            .or_else(|| query_credentials(query).find_map(|value| find(value.as_bytes())));
        client.map_or(Admission::Unknown { presented }, Admission::Client)
    }
}

impl View for Gatekeeper {
    fn rebuild(&self, state: &State) {
        *self.clients.write() = state.access.iter().map(|client| (client.digest, client.id)).collect();
    }

    fn folded(&self, state: &State, events: &[Recorded]) {
        let about_clients = |event: &Event| {
            matches!(event, Event::ClientAdded(_) | Event::ClientKeyReplaced(_) | Event::ClientRemoved(_))
        };
        if events.iter().any(|recorded| about_clients(&recorded.event)) {
            self.rebuild(state);
        }
    }
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}
