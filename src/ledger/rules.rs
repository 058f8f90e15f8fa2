//! What may happen, and what follows from what happened.
//!
//! Pure: the state and a wish in, events or a refusal out. Every time that a
//! gate is to stay closed for is decided here, once, and goes into the event.

mod clients;
mod findings;
mod import;
pub mod logins;
pub mod resources;
mod settings;
mod update;

use projections::{
    ClientId, Event, Fingerprint, KeyId, Seq, State,
    event::{Actor, KeyAdded, KeyDisabled, KeyEnabled, KeyRemoved, KeyReset},
};

pub use self::{
    clients::{
        ClientWishes, NewClient, add_client, remove_client, replace_client_key, sync_env_clients,
        update_client,
    },
    findings::{Penalty, attempted, began, checked},
    import::{AddedClient, Imported, import},
    settings::change_settings,
    update::{NewProxy, Wishes, add_keys_as, tag_keys, update_keys},
};
use crate::journal::SecretChange;

/// What a command comes to.
#[derive(Debug)]
pub struct Decision<R> {
    /// What happens; nothing is fine.
    pub events: Vec<Event>,
    /// What happens to the sealed secrets, together with it.
    pub secrets: Vec<SecretChange>,
    /// What the asker is told once it is durable.
    pub answer: R,
}

impl<R> Decision<R> {
    /// The same, telling the asker which keys it changes.
    #[must_use]
    pub fn telling_changed_keys(self) -> Decision<std::collections::BTreeSet<KeyId>> {
        let Self { events, secrets, .. } = self;
        let answer = events.iter().filter_map(projections::keys::changed_key).collect();
        Decision { events, secrets, answer }
    }
}

/// Why a command is not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no such key.
    #[error("there is no key {0}")]
    NoSuchKey(KeyId),
    /// Something said of a key is outside its limits.
    #[error("`{name}` {wants}")]
    BadValue {
        /// What.
        name: &'static str,
        /// What it wants instead.
        wants: String,
    },
    /// It is not as its asker saw it.
    #[error(
        "it was changed meanwhile, by event {now}, and the change was made against event {expected}: read it again, \
         and say what is to be changed of what it is now"
    )]
    ChangedMeanwhile {
        /// The revision that the asker saw.
        expected: Seq,
        /// The one that it has.
        now: Seq,
    },
    /// Settings that cannot be so: names, and what each wants.
    #[error("{}", .0.iter().map(|(name, wants)| format!("{name}: {wants}")).collect::<Vec<_>>().join("; "))]
    BadSettings(Vec<(String, String)>),
    /// There is no such client.
    #[error("there is no access key {0}")]
    NoSuchClient(ClientId),
    /// A secret that is another's.
    #[error("{0}")]
    SecretTaken(&'static str),
    /// What the environment says, the program does not change.
    #[error("{0}")]
    OfEnvironment(&'static str),
    /// As many as there may be.
    #[error("there are {0} access keys, as many as there may be: remove some that are no longer used")]
    TooManyClients(usize),
    /// What lives at Google could not be reached any more.
    #[error(
        "project {project} would have no key left, and {count} of its resources at Google still live: {}{}. Nobody \
         could use or delete them any more. Wait until they are gone, or force it",
        .examples.join(", "), if *count > .examples.len() { ", …" } else { "" }
    )]
    ResourcesLive {
        /// The project.
        project: String,
        /// How many.
        count: usize,
        /// Some of their names.
        examples: Vec<String>,
    },
}

/// Says no where something has another revision than its asker saw.
///
/// # Errors
/// [`Refused::ChangedMeanwhile`].
pub fn unchanged_since(expected: Option<Seq>, now: Seq) -> Result<(), Refused> {
    match expected.filter(|expected| *expected != now) {
        Some(expected) => Err(Refused::ChangedMeanwhile { expected, now }),
        None => Ok(()),
    }
}

/// Says no where one of some keys has another revision than the asker saw, or is not there.
///
/// # Errors
/// [`Refused::NoSuchKey`], [`Refused::ChangedMeanwhile`].
pub fn keys_unchanged_since(
    state: &State,
    mut keys: impl Iterator<Item = KeyId>,
    expected: Option<Seq>,
) -> Result<(), Refused> {
    keys.try_for_each(|id| {
        let key = state.keys.get(id).ok_or(Refused::NoSuchKey(id))?;
        unchanged_since(expected, key.revision)
    })
}

/// A key to add; its secret is already sealed.
#[derive(Debug)]
pub struct NewKey {
    /// Tells duplicates.
    pub fingerprint: Fingerprint,
    /// The last four characters.
    pub tail: String,
    /// What to call it; empty: `key N`.
    pub label: String,
    /// Its project, where known.
    pub project: Option<String>,
    /// The sealed secret, under its name.
    pub secret: SecretChange,
}

/// What became of keys to add, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// It is in the pool now.
    New(KeyId),
    /// It was in the pool already.
    Known(KeyId),
    /// The environment names it, but it was removed through the program.
    Removed,
}

/// Adds keys; those already there, and for the environment those once removed, are left alone.
///
/// # Errors
/// None so far.
pub fn add_keys(state: &State, keys: Vec<NewKey>, actor: &Actor) -> Result<Decision<Vec<Added>>, Refused> {
    let mut decision = Decision { events: Vec::new(), secrets: Vec::new(), answer: Vec::new() };
    let mut next = state.keys.next_id();
    let mut here = std::collections::BTreeMap::new();
    for new in keys {
        let known = state.keys.by_fingerprint(&new.fingerprint).or(here.get(&new.fingerprint).copied());
        decision.answer.push(match known {
            Some(key) => Added::Known(key),
            None if *actor == Actor::Env && state.keys.was_removed(&new.fingerprint) => Added::Removed,
            None => {
                let key = next;
                next = KeyId(key.0.saturating_add(1));
                here.insert(new.fingerprint, key);
                let label = if new.label.is_empty() { format!("key {key}") } else { new.label };
                let (fingerprint, tail, project, actor) =
                    (new.fingerprint, new.tail, new.project, actor.clone());
                decision.events.push(KeyAdded { key, label, tail, fingerprint, project, actor }.into());
                decision.secrets.push(new.secret);
                Added::New(key)
            }
        });
    }
    Ok(decision)
}

/// What can be done to a key that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyChange {
    /// Use it again.
    Enable,
    /// Do not use it.
    Disable,
    /// Forgive its failures.
    Reset,
    /// Take it out, and destroy its secret; unless something at Google could not be reached any more.
    Remove,
    /// Take it out in any case.
    RemoveByForce,
}

/// Changes keys: all of them, or none.
///
/// # Errors
/// [`Refused::NoSuchKey`].
pub fn change_keys(
    state: &State,
    keys: &[KeyId],
    change: KeyChange,
    actor: &Actor,
    secret_names: impl Fn(&Fingerprint) -> [String; 2],
) -> Result<Decision<()>, Refused> {
    let mut decision = Decision { events: Vec::new(), secrets: Vec::new(), answer: () };
    let mut done = std::collections::BTreeSet::new();
    for &key in keys {
        let known = state.keys.get(key).ok_or(Refused::NoSuchKey(key))?;
        if !done.insert(key) {
            continue;
        }
        let actor = actor.clone();
        match change {
            KeyChange::Enable if known.enabled => {}
            KeyChange::Enable => decision.events.push(KeyEnabled { key, actor }.into()),
            KeyChange::Disable if !known.enabled => {}
            KeyChange::Disable => decision.events.push(KeyDisabled { key, actor }.into()),
            KeyChange::Reset => decision.events.push(KeyReset { key, actor }.into()),
            KeyChange::Remove | KeyChange::RemoveByForce => {
                decision.events.push(KeyRemoved { key, actor }.into());
                let names = secret_names(&known.fingerprint).into_iter();
                // Every key has a secret; the other one is its proxy's.
                let there = names.take(1 + usize::from(known.proxy.is_some()));
                decision.secrets.extend(there.map(|name| SecretChange { name, sealed: None }));
            }
        }
    }
    Ok(decision)
}

#[cfg(test)]
mod tests;
