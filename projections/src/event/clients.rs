//! What operators do with clients.

use serde::{Deserialize, Serialize};

use super::Actor;
use crate::id::{ClientId, Digest};

/// See [`Event::ClientAdded`](super::Event::ClientAdded).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientAdded {
    /// Its number.
    pub client: ClientId,
    /// What people call it.
    pub name: String,
    /// The last four characters of its access key.
    pub tail: String,
    /// What a presented credential is compared with.
    pub digest: Digest,
    /// Who added it.
    pub actor: Actor,
}

/// See [`Event::ClientRemoved`](super::Event::ClientRemoved).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientRemoved {
    /// Which client.
    pub client: ClientId,
    /// Who removed it.
    pub actor: Actor,
}

/// A new bound for what may also have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cap {
    /// There is none any more.
    Lifted,
    /// It is this from now on.
    To(u64),
}

/// See [`Event::ClientUpdated`](super::Event::ClientUpdated). What is none stayed as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientUpdated {
    /// Which client.
    pub client: ClientId,
    /// Who did it.
    pub actor: Actor,
    /// What people call it.
    pub name: Option<String>,
    /// What people want to remember of it.
    pub note: Option<String>,
    /// Whether it may come in.
    pub enabled: Option<bool>,
    /// When its access ends, in milliseconds since 1970; lifted: never.
    pub expires: Option<Cap>,
    /// Models it may ask: names, or patterns with `*`; empty: all.
    pub models: Option<Vec<String>>,
    /// Addresses it may come from: IP addresses or ranges (`10.0.0.0/8`); empty: all.
    pub addresses: Option<Vec<String>>,
    /// Requests in a minute.
    pub requests_per_minute: Option<Cap>,
    /// Requests in a day of UTC.
    pub requests_per_day: Option<Cap>,
    /// Tokens of prompts and answers in a day of UTC.
    pub tokens_per_day: Option<Cap>,
    /// Requests at the same time.
    pub concurrent: Option<Cap>,
}

/// See [`Event::ClientKeyReplaced`](super::Event::ClientKeyReplaced).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientKeyReplaced {
    /// Which client.
    pub client: ClientId,
    /// The last four characters of its new access key.
    pub tail: String,
    /// What a presented credential is compared with from now on.
    pub digest: Digest,
    /// Who did it.
    pub actor: Actor,
}
