//! Who may come in: apps with client access keys, and administrators.
//!
//! Owns both checks and keeps them apart: a client key never administers, and an
//! administrator's token never proxies. What is presented is compared by keyed
//! digest or in constant time. Its invariant: default closed.

mod admins;
mod attempts;
mod guesses;
mod tally;
mod tokens;
mod turns;

use std::{collections::HashMap, sync::Arc};

use http::header::AUTHORIZATION;
use projections::{ClientId, Digest, Event, Recorded, State};

pub use self::{
    admins::{Admins, HashError, Turn, hash_password, verify_password},
    attempts::{Attempts, RECORDED},
    guesses::{Guesses, Penalty},
    tokens::{Role, Session, Signer, Token},
    turns::Kind,
};
use crate::{
    gemini::{headers::API_KEY, target::query_credentials},
    ledger::View,
    locks::RwLock,
    network::{Range, Sender},
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

/// Who is let in without an access key, while there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Open {
    /// Nobody.
    #[default]
    ToNobody,
    /// This machine's own requests, as long as no access key was ever made.
    ToThisMachine,
    /// Everybody, as ALLOW_ANONYMOUS says.
    ToAll,
}

/// Lets apps in.
pub struct Gatekeeper {
    vault: Arc<Vault>,
    doors: RwLock<Doors>,
}

#[derive(Default)]
struct Doors {
    clients: HashMap<Digest, ClientId>,
    /// Whether there is or ever was a client. Taking the last one's access away gives it to nobody else.
    ever_had_one: bool,
    open: Open,
}

impl Doors {
    fn open(&self) -> Open {
        match self.open {
            _ if !self.clients.is_empty() => Open::ToNobody,
            Open::ToThisMachine if self.ever_had_one => Open::ToNobody,
            open => open,
        }
    }

    fn lets_in_anybody(&self, sender: Sender<'_>, trusted: &[Range]) -> bool {
        match self.open() {
            Open::ToNobody => false,
            Open::ToThisMachine => sender.is_on_this_machine(trusted),
            Open::ToAll => true,
        }
    }
}

impl Gatekeeper {
    /// Closed until [`Gatekeeper::open_when_without_clients`].
    #[must_use]
    pub fn new(vault: Arc<Vault>) -> Self {
        Self { vault, doors: RwLock::default() }
    }

    /// Says whose requests without a credential are let in while there are no clients.
    pub fn open_when_without_clients(&self, open: Open) {
        self.doors.write().open = open;
    }

    /// Whose requests without a credential are let in right now.
    #[must_use]
    pub fn open(&self) -> Open {
        self.doors.read().open()
    }

    /// Looks for a known credential in the four places where Google's clients put one. By which name an anonymous
    /// request came is for the caller to judge.
    pub fn admit(&self, sender: Sender<'_>, trusted: &[Range]) -> Admission {
        let (headers, query) = (sender.headers, sender.uri.query().unwrap_or_default());
        let doors = self.doors.read();
        if doors.lets_in_anybody(sender, trusted) {
            return Admission::Anonymous;
        }
        let mut presented = false;
        let mut find = |credential: &[u8]| {
            presented = true;
            // The digest is keyed, so how long the look-up takes says nothing about any credential.
            doors.clients.get(&self.vault.client_digest(credential)).copied()
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
        let mut doors = self.doors.write();
        doors.clients = state.access.iter().map(|client| (client.digest, client.id)).collect();
        doors.ever_had_one = state.access.ever_had_one();
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

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Version};

    use super::*;

    #[test]
    fn without_access_keys_only_this_machine_comes_in_and_once_there_was_one_nobody() {
        let here = "127.0.0.1".parse().ok();
        let mut forwarded = HeaderMap::new();
        forwarded.insert("x-forwarded-for", http::HeaderValue::from_static("203.0.113.9"));
        let (plain, uri) = (HeaderMap::new(), http::Uri::from_static("/v1/models"));
        let asked = |open, ever_had_one| {
            let doors = Doors { open, ever_had_one, ..Doors::default() };
            let elsewhere = "203.0.113.9".parse().ok();
            let (old, new) = (Version::HTTP_10, Version::HTTP_11);
            let senders = [
                (here, new, &plain),
                (here, old, &plain),
                (here, new, &forwarded),
                (elsewhere, new, &plain),
                (None, new, &plain),
            ];
            senders.map(|(peer, version, headers)| {
                doors.lets_in_anybody(Sender { peer, version, uri: &uri, headers }, &[])
            })
        };
        assert_eq!(asked(Open::ToThisMachine, false), [true, false, false, false, false]);
        assert_eq!(asked(Open::ToThisMachine, true), [false; 5]);
        assert_eq!(asked(Open::ToNobody, false), [false; 5]);
        assert_eq!(asked(Open::ToAll, true), [true; 5]);
    }
}
