//! Choosing a key: which one can serve this model now?
//!
//! Owns the choice and the count of what every key has under way. Pure: time and
//! randomness are arguments, and so the same question gets the same answer. Its
//! invariants: no key is chosen through a closed gate, and a [`Lease`] always
//! gives its place back, also when the request is cancelled or panics.

pub mod explain;
mod lease;
mod ready;
mod roster;

use std::sync::Arc;

use projections::{
    Fingerprint, KeyId, Millis, Recorded, State,
    event::{PassedOver, Strategy, Why},
    keys::{Closed, Keys},
};

pub use self::{
    lease::{Lease, Load},
    roster::Roster,
};
use crate::ledger::View;
use crate::locks::{Mutex, Rank};

/// What a request needs a key for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ask<'a> {
    /// The model, without `models/`; empty where none is named.
    pub model: &'a str,
    /// The RPC's name.
    pub method: &'a str,
    /// Keys that this request has tried.
    pub tried: &'a [KeyId],
    /// Which keys may be chosen at all.
    pub from: From<'a>,
    /// Rather take a closed gate that is due for a probe than a key that is ready: for the first try of a call
    /// that may be made again. Where nobody is ready, others probe as well.
    pub may_probe: bool,
    /// Rather take a key that has served, where one is ready, than one that nobody knows, even of a lower tier: for
    /// a request that met keys of the other kind already.
    pub proven: bool,
    /// Also take a key on trial that has a request under way.
    pub crowd: bool,
    /// Input tokens, estimated: what the request takes of a learned limit of tokens while it is under way.
    pub tokens: u32,
    /// The conversation it belongs to, as a hash; only [`Strategy::Sticky`] asks.
    pub sticky: Option<u64>,
}

/// Which keys may be chosen at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum From<'a> {
    /// Any.
    #[default]
    All,
    /// The one that keeps what belongs to a key: the first whose credential is good.
    Keeper,
    /// This one.
    Only(KeyId),
    /// Those of this project.
    Project(&'a str),
}

/// A chosen key.
#[derive(Debug)]
pub struct Choice {
    /// Which.
    pub key: KeyId,
    /// Where its secret is found.
    pub fingerprint: Fingerprint,
    /// Whose quota it uses.
    pub project: Arc<str>,
    /// Its place, held until dropped.
    pub lease: Lease,
    /// It goes through a closed gate, as the one request that may (half-open).
    pub probe: bool,
    /// Why this one.
    pub why: Why,
}

/// Nobody can be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nobody {
    /// The first time from now on at which some key that [`Ask::from`] allows has no closed
    /// gate before it: now, where one was only tried or is on trial; none, where only a check
    /// or an operator brings one back.
    pub opens: Option<Millis>,
    /// Likewise, but for probes, which may fail: when the first gate opens by itself.
    pub for_sure: Option<Millis>,
    /// Why not.
    pub passed_over: PassedOver,
    /// Some key is on trial, or a probe is on its way: worth asking again as soon as any request comes to something.
    pub on_trial: bool,
    /// The model is in trouble at Google, for everybody: its circuit is open, whatever keys there are.
    pub upstream: bool,
}

/// The roster behind a lock that is held for one choice.
pub struct Scheduler {
    roster: Mutex<Roster>,
}

impl Scheduler {
    /// An empty one; the ledger fills it.
    #[must_use]
    pub fn new(strategy: Strategy) -> Self {
        Self { roster: Mutex::ranked(Rank::Roster, Roster::new(strategy)) }
    }

    /// Chooses by another strategy from now on.
    pub fn set_strategy(&self, strategy: Strategy) {
        self.roster.lock().set_strategy(strategy);
    }

    /// Chooses a key and takes its place.
    ///
    /// # Errors
    /// [`Nobody`], with the time at which asking again makes sense.
    pub fn choose(&self, ask: &Ask<'_>, now: Millis, random: u64) -> Result<Choice, Nobody> {
        self.roster.lock().choose(ask, now, random)
    }

    /// Takes a key's place for a probe of a model: none, where that key's project is not due for one, or somebody
    /// is probing it, or the key itself is behind a gate.
    #[must_use]
    pub fn claim(&self, key: KeyId, model: &str, now: Millis) -> Option<Lease> {
        self.roster.lock().claim(key, model, now)
    }

    /// What is due for a probe since a time or longer, the longest due first: a key, its project, and the model. `limit` at most.
    #[must_use]
    pub fn due_probes(&self, since: Millis, now: Millis, limit: usize) -> Vec<(KeyId, Arc<str>, String)> {
        self.roster.lock().due_probes(since, now, limit)
    }

    /// Keys that could serve a request without a model now, and all keys.
    #[must_use]
    pub fn ready(&self, now: Millis) -> (usize, usize) {
        self.roster.lock().ready(now)
    }
}

impl View for Scheduler {
    fn rebuild(&self, state: &State) {
        self.roster.lock().rebuild(&state.keys, state.seq, state.at);
    }

    fn folded(&self, state: &State, events: &[Recorded]) {
        self.roster.lock().folded(&state.keys, state.seq, state.at, events);
    }

    fn restored(&self, state: &State) {
        self.rebuild(state);
    }
}

/// For every key, what stands in its way for a question: the long form of [`PassedOver`].
pub fn explain<'a>(
    keys: &'a Keys,
    ask: &'a Ask<'a>,
    now: Millis,
) -> impl Iterator<Item = (KeyId, Option<Closed<'a>>)> {
    keys.iter().map(move |key| (key.id, keys.closed(key, ask.model, ask.method, now)))
}

#[cfg(test)]
mod tests;
