//! Choosing a key: which one can serve this model now?
//!
//! Owns the choice and the count of what every key has under way. Pure: time and
//! randomness are arguments, and so the same question gets the same answer. Its
//! invariants: no key is chosen through a closed gate, and a [`Lease`] always
//! gives its place back, also when the request is cancelled or panics.

mod ready;
mod roster;

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use parking_lot::Mutex;
use projections::{
    Fingerprint, KeyId, Millis, Recorded, State,
    event::{PassedOver, Strategy, Why},
    keys::{Closed, Keys},
};

pub use self::roster::Roster;
use crate::ledger::View;

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
    /// Also take a key on trial that has a request under way.
    pub crowd: bool,
}

/// Which keys may be chosen at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
    /// Why not.
    pub passed_over: PassedOver,
    /// Some key is on trial: worth asking again as soon as any request comes to something.
    pub on_trial: bool,
}

/// What a key has under way, and how quick it was.
#[derive(Debug, Default)]
pub struct Load {
    in_flight: AtomicU32,
    /// Milliseconds to the first byte, moving average.
    first_byte: AtomicU32,
    /// Whether the key has served since it was added or since its credential failed.
    proven: AtomicBool,
}

impl Load {
    /// Requests under way.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// A key that never served gets one request at a time: if it is bad, that costs one try.
    fn is_on_trial(&self) -> bool {
        !self.proven.load(Ordering::Relaxed)
    }

    fn set_proven(&self, proven: bool) {
        self.proven.store(proven, Ordering::Relaxed);
    }

    /// Lost against a quicker key. Mostly it is the request that is slow and not the key, and a
    /// key that is never chosen is never measured again: so what is held against it fades.
    fn forgive(&self) {
        let old = self.first_byte.load(Ordering::Relaxed);
        self.first_byte.store(old - old / 8, Ordering::Relaxed);
    }

    /// The lower, the better: how long a request more would take, roughly.
    fn score(&self) -> u64 {
        let quick = u64::from(self.first_byte.load(Ordering::Relaxed)) + 100;
        (u64::from(self.in_flight()) + 1) * quick
    }
}

/// A key's place, held while a request uses the key.
#[derive(Debug)]
pub struct Lease {
    load: Arc<Load>,
}

impl Lease {
    fn take(load: &Arc<Load>) -> Self {
        load.in_flight.fetch_add(1, Ordering::Relaxed);
        Self { load: Arc::clone(load) }
    }

    /// Learns how long the first byte took (an eighth of the new, seven of the old).
    pub fn first_byte(&self, ms: u32) {
        let slot = &self.load.first_byte;
        let old = slot.load(Ordering::Relaxed);
        let new = if old == 0 { ms } else { old - old / 8 + ms / 8 };
        slot.store(new, Ordering::Relaxed);
    }

    /// Google took the key: it is on trial no more.
    pub fn proven(&self) {
        self.load.set_proven(true);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.load.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The roster behind a lock that is held for one choice.
pub struct Scheduler {
    roster: Mutex<Roster>,
}

impl Scheduler {
    /// An empty one; the ledger fills it.
    #[must_use]
    pub fn new(strategy: Strategy) -> Self {
        Self { roster: Mutex::new(Roster::new(strategy)) }
    }

    /// Chooses a key and takes its place.
    ///
    /// # Errors
    /// [`Nobody`], with the time at which asking again makes sense.
    pub fn choose(&self, ask: &Ask<'_>, now: Millis, random: u64) -> Result<Choice, Nobody> {
        self.roster.lock().choose(ask, now, random)
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
}

/// For every key, what stands in its way for a question: the long form of [`PassedOver`].
pub fn explain<'a>(
    keys: &'a Keys,
    ask: &'a Ask<'a>,
    now: Millis,
) -> impl Iterator<Item = (KeyId, Option<Closed<'a>>)> {
    keys.iter().map(move |key| (key.id, keys.closed(key, ask.model, ask.method, now)))
}
