//! What is said of an access key, as it comes in and goes out.

use poem_openapi::{ApiResponse, Enum, Object, payload::Json, types::MaybeUndefined};
use projections::{
    Millis,
    access::Client,
    event::{Actor, Cap},
};

use crate::{
    access::Usage,
    admin::problem::Problem,
    ledger::{
        clock::{millis_of, rfc3339},
        rules::ClientWishes,
    },
};

/// Where an access key comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub(super) enum Origin {
    /// ALLOWED_API_KEYS.
    Env,
    /// An administrator.
    Admin,
    /// The command line.
    Cli,
    /// The pool itself.
    System,
}

impl Origin {
    pub(super) fn of(actor: &Actor) -> Self {
        match actor {
            Actor::Env => Self::Env,
            Actor::Admin(_) => Self::Admin,
            Actor::Cli => Self::Cli,
            Actor::System => Self::System,
        }
    }
}

/// What an access key used of its limits.
#[derive(Debug, Object)]
pub(super) struct UsageView {
    /// Requests in the last 60 seconds.
    requests_this_minute: u64,
    /// Requests today (UTC). Those that were never sent to Google do not count.
    requests_today: u64,
    /// Tokens of prompts and answers today (UTC), as Google counted them.
    tokens_today: u64,
    /// Requests under way.
    running: u64,
    /// When it was last used (RFC 3339); none: not since it is counted.
    last_used_at: Option<String>,
}

/// An access key. Its secret is not shown.
#[derive(Debug, Object)]
pub(super) struct ClientView {
    /// Its number.
    id: u32,
    name: String,
    note: String,
    /// The last four characters of the secret.
    tail: String,
    origin: Origin,
    /// Whether it is turned on.
    enabled: bool,
    /// Whether its time is over.
    expired: bool,
    /// When its access ends (RFC 3339); none: never.
    expires_at: Option<String>,
    /// Models it may ask: names, or patterns in which `*` is any text; empty: all.
    models: Vec<String>,
    /// Addresses and ranges it may come from; empty: all.
    addresses: Vec<String>,
    /// None: as many as there are.
    requests_per_minute: Option<u64>,
    /// None: as many as there are. Days are those of UTC.
    requests_per_day: Option<u64>,
    /// None: as many as there are. Days are those of UTC.
    tokens_per_day: Option<u64>,
    /// Requests at the same time; none: as many as there are.
    concurrent: Option<u64>,
    usage: UsageView,
    /// When it was added (RFC 3339).
    added_at: String,
    /// When its secret was last replaced (RFC 3339); none: never.
    replaced_at: Option<String>,
    /// The event that changed it last; its ETag.
    pub(super) revision: u64,
}

impl ClientView {
    pub(super) fn new(client: &Client, usage: Usage, now: Millis) -> Self {
        Self {
            id: client.id.0,
            name: client.name.clone(),
            note: client.note.clone(),
            tail: client.tail.clone(),
            origin: Origin::of(&client.actor),
            enabled: client.enabled,
            expired: client.expires.is_some_and(|end| end <= now),
            expires_at: client.expires.map(rfc3339),
            models: client.models.clone(),
            addresses: client.addresses.clone(),
            requests_per_minute: client.limits.requests_per_minute,
            requests_per_day: client.limits.requests_per_day,
            tokens_per_day: client.limits.tokens_per_day,
            concurrent: client.limits.concurrent,
            usage: UsageView {
                requests_this_minute: usage.minute,
                requests_today: usage.day,
                tokens_today: usage.tokens,
                running: usage.running,
                last_used_at: usage.last.map(rfc3339),
            },
            added_at: rfc3339(client.added),
            replaced_at: client.replaced.map(rfc3339),
            revision: client.revision,
        }
    }
}

/// Access keys.
#[derive(Debug, Object)]
pub(super) struct ClientList {
    pub(super) allowed_keys: Vec<ClientView>,
    /// Where to go on, as `cursor`; none: this is the end.
    pub(super) next: Option<String>,
}

/// An access key that was made or replaced.
#[derive(Object)]
pub(super) struct MadeClient {
    /// The secret, shown this once; none: it was given.
    pub(super) secret: Option<String>,
    #[oai(flatten)]
    pub(super) client: ClientView,
}

/// An access key that is no more.
#[derive(Debug, Object)]
pub(super) struct RemovedClient {
    pub(super) id: u32,
}

/// Another secret.
#[derive(Object)]
#[oai(deny_unknown_fields)]
pub(super) struct NewSecret {
    /// The new one, 16 to 512 visible ASCII characters; none: one is made.
    pub(super) secret: Option<String>,
}

#[derive(ApiResponse)]
pub(super) enum OneClient {
    /// As it is now.
    #[oai(status = 200)]
    Ok(Json<ClientView>, #[oai(header = "ETag")] String),
}

#[derive(ApiResponse)]
pub(super) enum MadeClientAnswer {
    /// Made.
    #[oai(status = 201)]
    Created(Json<MadeClient>, #[oai(header = "ETag")] String, #[oai(header = "Cache-Control")] String),
}

#[derive(ApiResponse)]
pub(super) enum ReplacedKeyAnswer {
    /// Replaced.
    #[oai(status = 200)]
    Ok(Json<MadeClient>, #[oai(header = "ETag")] String, #[oai(header = "Cache-Control")] String),
}

/// An object of the API with what may be said of an access key, after fields of its own.
macro_rules! with_wishes {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Object)]
        #[oai(deny_unknown_fields)]
        pub(super) struct $name {
            $($(#[$field_doc])* $field: $type,)*
            /// What people call it, at most 100 characters; empty: `client N`.
            name: Option<String>,
            /// What to remember of it, at most 1,000 characters.
            note: Option<String>,
            /// Whether it is turned on.
            enabled: Option<bool>,
            /// When its access ends (RFC 3339); null: never.
            expires_at: MaybeUndefined<String>,
            /// Models it may ask: names, or patterns in which `*` is any text; at most 50, of at most 128
            /// characters. Empty: all.
            models: Option<Vec<String>>,
            /// Addresses and ranges it may come from, such as 192.0.2.7 or 10.0.0.0/8; at most 100. Empty: all.
            addresses: Option<Vec<String>>,
            /// Requests in any 60 seconds, at least 1; null: no limit.
            requests_per_minute: MaybeUndefined<u64>,
            /// Requests in a day of UTC, at least 1; null: no limit.
            requests_per_day: MaybeUndefined<u64>,
            /// Tokens of prompts and answers in a day of UTC, at least 1; null: no limit. The request that crosses it
            /// is served, the next is not.
            tokens_per_day: MaybeUndefined<u64>,
            /// Requests at the same time, at least 1; null: no limit.
            concurrent: MaybeUndefined<u64>,
        }

        impl $name {
            /// What is wanted, and the object's own fields.
            pub(super) fn wanted(self) -> Result<(ClientWishes, $($type),*), Problem> {
                let wishes = ClientWishes {
                    name: self.name,
                    note: self.note,
                    enabled: self.enabled,
                    expires: end(self.expires_at)?,
                    models: self.models,
                    addresses: self.addresses,
                    requests_per_minute: cap(self.requests_per_minute),
                    requests_per_day: cap(self.requests_per_day),
                    tokens_per_day: cap(self.tokens_per_day),
                    concurrent: cap(self.concurrent),
                };
                Ok((wishes, $(self.$field),*))
            }
        }
    };
}

with_wishes! {
    /// An access key to make.
    NewClient {
        /// The secret, 16 to 512 visible ASCII characters; none: one is made.
        secret: Option<String>,
    }
}

with_wishes! {
    /// What to change of an access key.
    ClientChange {}
}

fn cap(wish: MaybeUndefined<u64>) -> Option<Cap> {
    match wish {
        MaybeUndefined::Undefined => None,
        MaybeUndefined::Null => Some(Cap::Lifted),
        MaybeUndefined::Value(most) => Some(Cap::To(most)),
    }
}

fn end(wish: MaybeUndefined<String>) -> Result<Option<Cap>, Problem> {
    match wish {
        MaybeUndefined::Undefined => Ok(None),
        MaybeUndefined::Null => Ok(Some(Cap::Lifted)),
        MaybeUndefined::Value(text) => {
            let end = millis_of(&text).and_then(|end| u64::try_from(end).ok());
            let end = end.ok_or_else(|| {
                Problem::bad_request(
                    "`expires_at` wants a time such as 2027-01-31T12:00:00Z, or null for never",
                )
            })?;
            Ok(Some(Cap::To(end)))
        }
    }
}
