//! What may happen, and what follows from what happened.
//!
//! Pure: the state and a wish in, events or a refusal out. Every time that a
//! gate is to stay closed for is decided here, once, and goes into the event.

pub mod resources;

use projections::{
    Digest, Event, Fingerprint, KeyId, Millis, State,
    event::{
        Actor, Attempted, ClientAdded, ClientRemoved, GateClosed, KeyAdded, KeyDisabled, KeyEnabled,
        KeyRemoved, KeyReset, Scope, Verdict, Window,
    },
    keys::Gate,
};

use super::clock::next_quota_day;
use crate::{
    gemini::classify::{Blame, Hold},
    journal::SecretChange,
};

/// Jitter on a told delay, at most: enough to spread clients, too little to waste quota.
const JITTER_MS: Millis = 500;
/// First and longest wait after "exhausted" without a word of what or for how long.
const BACKOFF_MS: (Millis, Millis) = (2_000, 60_000);
/// First and longest rest of a key after a run of soft failures.
const REST_MS: (Millis, Millis) = (5_000, 300_000);
/// 401s in a row after which a credential counts as bad (new keys flap).
const UNAUTHENTICATED_IN_A_ROW: u32 = 3;

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

/// Why a command is not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no such key.
    #[error("there is no key {0}")]
    NoSuchKey(KeyId),
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
    secret_name: impl Fn(&Fingerprint) -> String,
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
                decision.secrets.push(SecretChange { name: secret_name(&known.fingerprint), sealed: None });
            }
        }
    }
    Ok(decision)
}

/// A client named by the environment.
#[derive(Debug)]
pub struct NewClient {
    /// The digest of its access key.
    pub digest: Digest,
    /// The last four characters.
    pub tail: String,
}

/// Makes the clients of origin `env` those that the environment names: new ones are
/// added, and what is no longer named loses its access.
///
/// # Errors
/// None so far.
pub fn sync_env_clients(state: &State, named: Vec<NewClient>) -> Result<Decision<()>, Refused> {
    let mut decision = Decision { events: Vec::new(), secrets: Vec::new(), answer: () };
    for client in state.access.iter().filter(|client| client.actor == Actor::Env) {
        if !named.iter().any(|new| new.digest == client.digest) {
            decision.events.push(ClientRemoved { client: client.id, actor: Actor::Env }.into());
        }
    }
    let mut next = state.access.next_id();
    let mut here = std::collections::BTreeSet::new();
    for new in named {
        let known = state.access.by_digest(&new.digest).is_some() || state.access.was_removed(&new.digest);
        if known || !here.insert(new.digest) {
            continue;
        }
        let (client, name) = (next, format!("env {next}"));
        next = projections::ClientId(client.0.saturating_add(1));
        let (digest, tail) = (new.digest, new.tail);
        decision.events.push(ClientAdded { client, name, tail, digest, actor: Actor::Env }.into());
    }
    Ok(decision)
}

/// What an attempt's verdict asks for, beside the verdict itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Penalty {
    /// Whose fault it was.
    pub blame: Blame,
    /// How long to hold it against them.
    pub hold: Hold,
    /// A random number: spreads what would otherwise return all at once.
    pub spread: u16,
}

impl Penalty {
    /// For an attempt that is nobody's fault.
    pub const NONE: Self = Self { blame: Blame::Nobody, hold: Hold::None, spread: 0 };
}

/// What follows from an attempt: the fact itself, and the gate it closes.
#[must_use]
pub fn attempted(
    state: &State,
    attempt: Attempted,
    penalty: Penalty,
    max_failures: u32,
    now: Millis,
) -> Vec<Event> {
    let gate = scope_of(&attempt, penalty.blame)
        .and_then(|scope| gate(state, &attempt, scope, penalty, max_failures, now));
    let mut events = vec![attempt.into()];
    events.extend(gate.map(Event::from));
    events
}

fn scope_of(attempt: &Attempted, blame: Blame) -> Option<Scope> {
    match blame {
        Blame::Key | Blame::Upstream => Some(Scope::Key(attempt.key)),
        Blame::Method => Some(Scope::Method { key: attempt.key, method: attempt.method.clone() }),
        Blame::Project => Some(Scope::Project(attempt.project.clone())),
        Blame::Model => Some(Scope::Model {
            project: attempt.project.clone(),
            model: attempt.model.clone(),
            window: window_of(attempt.verdict),
        }),
        Blame::Nobody | Blame::Client | Blame::Egress | Blame::Pool => None,
    }
}

fn window_of(verdict: Verdict) -> Window {
    match verdict {
        Verdict::QuotaMinute => Window::Minute,
        Verdict::QuotaDay => Window::Day,
        Verdict::QuotaSpend => Window::Spend,
        Verdict::NotOffered | Verdict::ModelDenied => Window::Offer,
        _ => Window::Unknown,
    }
}

fn gate(
    state: &State,
    attempt: &Attempted,
    scope: Scope,
    penalty: Penalty,
    max_failures: u32,
    now: Millis,
) -> Option<GateClosed> {
    let standing = state.keys.gate(&scope);
    // An attempt that began before the gate closed says nothing new, and is no further failure in a
    // row; unless it has another cause, which may be the worse one.
    let old_news =
        |gate: &Gate| gate.cause == attempt.verdict || matches!(penalty.hold, Hold::Backoff | Hold::Streak);
    if standing.is_some_and(|gate| gate.is_closed(now) && attempt.started <= gate.since && old_news(gate)) {
        return None;
    }
    let streak = standing.map_or(0, |gate| gate.streak);
    let spread = Millis::from(penalty.spread);
    let until = match penalty.hold {
        Hold::None => return None,
        Hold::UntilChecked => None,
        Hold::For { ms } => Some(now.saturating_add(ms.max(0)).saturating_add(spread % JITTER_MS)),
        Hold::DayTurns => Some(next_quota_day(now)),
        Hold::Backoff => {
            Some(now.saturating_add(doubling(BACKOFF_MS, streak)).saturating_add(spread % JITTER_MS))
        }
        Hold::Streak => streak_ends(state, attempt, standing, max_failures, now)?,
    };
    let closed_longer = standing
        .is_some_and(|gate| gate.is_closed(now) && gate.until.is_none_or(|t| until.is_some_and(|u| u <= t)));
    (!closed_longer).then_some(GateClosed {
        scope,
        cause: attempt.verdict,
        until,
        request: Some(attempt.request),
        key: attempt.key,
    })
}

/// When a run of soft failures closes the key, and until when.
fn streak_ends(
    state: &State,
    attempt: &Attempted,
    standing: Option<&Gate>,
    max_failures: u32,
    now: Millis,
) -> Option<Option<Millis>> {
    let streak = standing.map_or(0, |gate| gate.streak);
    let rest = Some(now.saturating_add(doubling(REST_MS, streak)));
    if attempt.verdict == Verdict::Unauthenticated {
        // The gate that stands, or stood, tells the 401s in a row: a success takes it away, and other
        // soft failures have nothing to do with the credential.
        let before =
            standing.filter(|gate| gate.cause == Verdict::Unauthenticated).map_or(0, |gate| gate.streak);
        return Some(if before + 1 >= UNAUTHENTICATED_IN_A_ROW { None } else { rest });
    }
    let failures = state.keys.get(attempt.key).map_or(0, |key| key.failures).saturating_add(1);
    // When every key fails it is Google that is down, and resting keys would only add to it.
    let others_do_well = || {
        state
            .keys
            .iter()
            .any(|key| key.id != attempt.key && key.enabled && key.gate.is_none() && key.failures == 0)
    };
    (failures >= max_failures.max(1) && others_do_well()).then_some(rest)
}

fn doubling((first, longest): (Millis, Millis), times: u32) -> Millis {
    first.saturating_mul(1 << times.min(16)).min(longest)
}

#[cfg(test)]
mod tests;
