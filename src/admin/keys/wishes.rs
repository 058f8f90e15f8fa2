//! What an operator may say of a key, as it comes in: for one, for some, for each of many.

use poem_openapi::{Object, Union, types::MaybeUndefined};
use projections::event::Change;

use crate::{admin::problem::Problem, gemini::route::Route, ledger::rules::Wishes, pool::Wanted};

/// An object of the API with what may be said of a key, after fields of its own.
macro_rules! with_wishes {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Object)]
        #[oai(deny_unknown_fields)]
        pub(super) struct $name {
            $($(#[$field_doc])* pub(super) $field: $type,)*
            /// Whether it may be used.
            enabled: Option<bool>,
            /// What people call it, at most 100 characters; empty: `key N`.
            label: Option<String>,
            /// What to remember of it, at most 1,000 characters.
            note: Option<String>,
            /// Words to find it by: at most 20, of at most 40 characters.
            tags: Option<Vec<String>>,
            /// The Google project that owns its quota; null or empty: nobody knows, so it is one of its own.
            project: MaybeUndefined<String>,
            /// Its share of the requests beside others of its priority, from 1 to 1,000; 1 where nobody said.
            weight: Option<u16>,
            /// Its tier, from 0 to 255: keys of a lower one are used first; 100 where nobody said.
            priority: Option<u8>,
            /// Models it may be used for: names, or patterns in which `*` is any text; at most 50, of at most
            /// 128 characters. Empty: all.
            models: Option<Vec<String>>,
            /// Its own outbound proxy: http://, socks5:// or socks5h://, then `user:password@` where needed, then
            /// host:port; or `direct` for none although the pool has one; null or empty: the pool's. The user name
            /// and the password are sealed and never shown.
            proxy: MaybeUndefined<String>,
        }

        impl $name {
            /// What is wanted, and the object's own fields.
            pub(super) fn wanted(self) -> Result<(Wanted, $($type),*), Problem> {
                let Self {
                    $($field,)* enabled, label, note, tags, project, weight, priority, models, proxy,
                } = self;
                let project = said(project).map(|project| project.map_or(Change::Cleared, Change::To));
                let route = said(proxy).map(|proxy| proxy.map_or(Ok(Route::Pool), |proxy| Route::parse(&proxy)));
                let route = route.transpose().map_err(|error| {
                    Problem::bad_request(format!("`proxy` {error}; or `direct`"))
                })?;
                let wishes = Wishes {
                    enabled, label, note, tags, project, weight, priority, models, proxy: None,
                };
                Ok((Wanted { wishes, route }, $($field),*))
            }
        }
    };
}

with_wishes! {
    /// A change to a key; what is left out stays as it is.
    KeyPatch {}
}

with_wishes! {
    /// Keys to add, and what is said of all of them.
    NewKeys {
        /// The secrets, each as a text, or as an object with more of its own.
        keys: Vec<NewKey>,
    }
}

with_wishes! {
    /// A key to add; what is said here wins over what is said of all.
    KeyEntry {
        /// The secret.
        key: String,
    }
}

/// A change to keys.
#[derive(Object)]
#[oai(deny_unknown_fields)]
pub(super) struct KeysPatch {
    /// Their numbers.
    #[oai(validator(max_items = 20000))]
    pub(super) ids: Vec<u32>,
    /// What is said of each of them.
    pub(super) set: KeyPatch,
}

/// A key to add.
#[derive(Union)]
pub(super) enum NewKey {
    /// The secret.
    Text(String),
    /// The secret, and more.
    Entry(KeyEntry),
}

impl NewKey {
    /// The secret, and what is wanted of this key alone.
    pub(super) fn wanted(self) -> Result<(String, Wanted), Problem> {
        match self {
            Self::Text(key) => Ok((key, Wanted::default())),
            Self::Entry(entry) => entry.wanted().map(|(wanted, key)| (key, wanted)),
        }
    }
}

/// Null, and an empty text, say that there is none.
fn said(value: MaybeUndefined<String>) -> Option<Option<String>> {
    match value {
        MaybeUndefined::Undefined => None,
        MaybeUndefined::Null => Some(None),
        MaybeUndefined::Value(value) => Some(Some(value).filter(|value| !value.trim().is_empty())),
    }
}
