//! What was given to be keys: how much may be, and why something of it is not new.
//!
//! Its invariant: a reason never quotes what was given.

use std::collections::BTreeSet;

use poem_openapi::Enum;

use crate::{
    ledger::rules::{Added, AddedClient},
    pool::GivenResult,
};

/// Keys in one call, at most.
pub(super) const MOST: usize = 20_000;
/// The longest key, in characters.
const LONGEST: usize = 512;

/// Why something is not new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case", rename = "ImportReason")]
pub(super) enum Reason {
    /// It is in the pool already, under `id`.
    InPool,
    /// It came earlier in this call.
    Twice,
    /// There is nothing.
    Empty,
    /// It has more than 512 characters.
    TooLong,
    /// It holds characters that none has. Upstream keys have letters, digits, `.`, `_` and `-`; access keys visible
    /// ASCII ones.
    BadCharacters,
    /// It is none for a reason of its own; an upstream key that is shorter than 8 characters, say, or an access key that
    /// is shorter than 16.
    Other,
}

/// What is wrong with a text that is to be an upstream key; none: nothing that is seen from here.
pub(super) fn flaw_of_key(text: &str) -> Option<Reason> {
    flaw(text, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// The same of an access key of an app.
pub(super) fn flaw_of_client(text: &str) -> Option<Reason> {
    flaw(text, |byte| byte.is_ascii_graphic())
}

fn flaw(text: &str, fits: impl Fn(u8) -> bool) -> Option<Reason> {
    match text {
        "" => Some(Reason::Empty),
        _ if !text.bytes().all(fits) => Some(Reason::BadCharacters),
        _ if text.len() > LONGEST => Some(Reason::TooLong),
        _ => None,
    }
}

/// What became of one of them, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    New(u32),
    Known(u32),
    Invalid,
}

impl From<GivenResult> for Fate {
    fn from(result: GivenResult) -> Self {
        match result {
            GivenResult::Taken(Added::New(key)) => Self::New(key.0),
            GivenResult::Taken(Added::Known(key)) => Self::Known(key.0),
            GivenResult::Taken(Added::Removed) | GivenResult::NotAKey => Self::Invalid,
        }
    }
}

/// None: it cannot be an access key.
impl From<Option<AddedClient>> for Fate {
    fn from(result: Option<AddedClient>) -> Self {
        match result {
            Some(AddedClient::New(client)) => Self::New(client.0),
            Some(AddedClient::Known(client)) => Self::Known(client.0),
            None => Self::Invalid,
        }
    }
}

/// What became of each, in order, and why it is not new.
pub(super) fn told<F: Into<Fate>>(
    results: Vec<F>,
    flaws: Vec<Option<Reason>>,
) -> impl Iterator<Item = (Fate, Option<Reason>)> {
    let mut new = BTreeSet::new();
    results.into_iter().zip(flaws).map(move |(result, flaw)| {
        let fate = result.into();
        let reason = match fate {
            Fate::New(id) => {
                new.insert(id);
                None
            }
            Fate::Known(id) if new.contains(&id) => Some(Reason::Twice),
            Fate::Known(_) => Some(Reason::InPool),
            Fate::Invalid => Some(flaw.unwrap_or(Reason::Other)),
        };
        (fate, reason)
    })
}
