//! What administrators do with the pool as a whole, and how they come in.

use serde::{Deserialize, Serialize};

use super::{Actor, Change};
use crate::id::Millis;

/// See [`Event::AdminLoggedIn`](super::Event::AdminLoggedIn).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminLoggedIn {
    /// The administrator's name.
    pub name: String,
    /// Where from.
    pub address: String,
}

/// See [`Event::AdminLoginFailed`](super::Event::AdminLoginFailed).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminLoginFailed {
    /// The name that was tried, cut at 64 bytes.
    pub name: String,
    /// Where from.
    pub address: String,
    /// Failed logins that it stands for: 1. Of those beyond the first ten of a minute only the number is recorded, with
    /// neither a name nor an address.
    pub count: u32,
}

/// See [`Event::AdminLoggedOut`](super::Event::AdminLoggedOut).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminLoggedOut {
    /// The administrator's name.
    pub name: String,
    /// The number of the token that is refused from now on; in JSON, where numbers are too small, 32
    /// hexadecimal digits.
    #[serde(with = "wide")]
    pub token: u128,
    /// When it would have ended by itself.
    pub expires: Millis,
}

/// See [`Event::AdminPasswordChanged`](super::Event::AdminPasswordChanged).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminPasswordChanged {
    /// Who did it.
    pub actor: Actor,
}

/// See [`Event::AdminLoginsDelayed`](super::Event::AdminLoginsDelayed).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminLoginsDelayed {
    /// For this name, cut at 64 bytes; none: for any.
    pub name: Option<String>,
    /// From this address, or this network such as 2001:db8:7::/48; none: from any.
    pub address: Option<String>,
    /// Wrong logins in a row.
    pub failures: u32,
    /// Until then none is looked at.
    pub until: Millis,
}

/// See [`Event::SettingsChanged`](super::Event::SettingsChanged).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingsChanged {
    /// Who did it.
    pub actor: Actor,
    /// What, in the settings' own words. Never a secret.
    pub settings: Vec<SettingChange>,
}

/// One setting's change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingChange {
    /// Its name, such as `MAX_ATTEMPTS`.
    pub name: String,
    /// Its value from now on; cleared: what the environment says counts again.
    pub value: Change,
}

/// A number that JSON cannot hold: there it is text, and else it is what it is.
mod wide {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(number: &u128, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(&format_args!("{number:032x}"))
        } else {
            number.serialize(serializer)
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            u128::from_str_radix(&text, 16).map_err(D::Error::custom)
        } else {
            u128::deserialize(deserializer)
        }
    }
}
