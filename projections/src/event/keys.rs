//! What operators do with upstream keys.

use serde::{Deserialize, Serialize};

use super::{Actor, Change};
use crate::id::{Fingerprint, KeyId};

/// See [`Event::KeyAdded`](super::Event::KeyAdded).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyAdded {
    /// Its number.
    pub key: KeyId,
    /// What people call it.
    pub label: String,
    /// The last four characters of the secret, for people to recognise it by.
    pub tail: String,
    /// Tells duplicates.
    pub fingerprint: Fingerprint,
    /// The Google project that owns its quota, where the operator said so.
    pub project: Option<String>,
    /// Who added it.
    pub actor: Actor,
}

/// See [`Event::KeyUpdated`](super::Event::KeyUpdated). What is none stayed as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyUpdated {
    /// Which key.
    pub key: KeyId,
    /// Who did it.
    pub actor: Actor,
    /// What people call it.
    pub label: Option<String>,
    /// What people want to remember of it.
    pub note: Option<String>,
    /// Words to find it by; all of them, in their order.
    pub tags: Option<Vec<String>>,
    /// The Google project that owns its quota; cleared: nobody says which, so it is one of its own.
    pub project: Option<Change>,
    /// Its share of the requests, beside others of its priority: 1 to 1,000.
    pub weight: Option<u16>,
    /// Its tier: lower ones are used first.
    pub priority: Option<u8>,
    /// Models it may be used for: names, or patterns with `*`; empty: all.
    pub models: Option<Vec<String>>,
    /// The outbound proxy of its own, as an address without credentials (they are sealed beside the key), or
    /// `direct`; cleared: it goes the pool's way.
    pub proxy: Option<Change>,
}

macro_rules! key_events {
    ($($name:ident)*) => {$(
        /// See the variant of [`Event`](super::Event) with this name.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub struct $name {
            /// Which key.
            pub key: KeyId,
            /// Who did it.
            pub actor: Actor,
        }
    )*};
}
key_events!(KeyDisabled KeyEnabled KeyReset KeyRemoved);

/// See [`Event::KeyRevealed`](super::Event::KeyRevealed).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRevealed {
    /// Which key.
    pub key: KeyId,
    /// Who looked.
    pub actor: Actor,
    /// Where from; empty: this machine's command line.
    pub address: String,
}

/// See [`Event::KeysExported`](super::Event::KeysExported).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeysExported {
    /// Which keys.
    pub keys: Vec<KeyId>,
    /// Who took them.
    pub actor: Actor,
    /// Where from; empty: this machine's command line.
    pub address: String,
}
