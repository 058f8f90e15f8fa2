//! The pool: projects, keys, and the gates in front of them.
//!
//! Owns what is known of every key. A **gate** is the one concept for "not
//! now": in front of a key, a key for one method, a project, or a project for
//! one model, with its cause and the time it opens by itself (or none: then a
//! check, a probe or an operator opens it). A model at Google has one too, for
//! everybody: the circuit. Its invariant: a gate's time comes from the event that
//! closed it and is never computed here.

mod fold;
mod projects;
mod update;

pub use self::fold::changed_key;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    budget::Budget,
    event::{Actor, GateClosed, Scope, Verdict, Window},
    id::{Fingerprint, KeyId, Millis, Seq},
};

/// The share of a key of which nobody said another.
pub const WEIGHT: u16 = 1;
/// The tier of a key of which nobody said another: there is room before it and after it.
pub const PRIORITY: u8 = 100;

/// Something closed, until a time or until something opens it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    /// Why.
    pub cause: Verdict,
    /// When it opens by itself; none: not by itself.
    pub until: Option<Millis>,
    /// From when on one request at a time may try it (half-open); none: nobody.
    pub probe: Option<Millis>,
    /// When it closed.
    pub since: Millis,
    /// The event that closed it.
    pub seq: Seq,
    /// How many times in a row it closed, without a success between.
    pub streak: u32,
}

impl Gate {
    /// Whether it is closed at `now`.
    #[must_use]
    pub fn is_closed(&self, now: Millis) -> bool {
        self.until.is_none_or(|until| now < until)
    }

    fn close(slot: Option<&Self>, event: &GateClosed, at: Millis, seq: Seq) -> Self {
        let streak = slot.map_or(0, |gate| gate.streak).saturating_add(1);
        Self { cause: event.cause, until: event.until, probe: event.probe, since: at, seq, streak }
    }
}

/// One upstream key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Its number.
    pub id: KeyId,
    /// What people call it.
    pub label: String,
    /// The last four characters of the secret.
    pub tail: String,
    /// Tells duplicates.
    pub fingerprint: Fingerprint,
    /// The project that owns its quota; `key-N` where nobody said.
    pub project: String,
    /// Whether an operator named the project.
    pub declared: bool,
    /// Google's own name for it, `projects/N`, once an answer told.
    pub consumer: Option<String>,
    /// What people want to remember of it.
    pub note: String,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// Its share of the requests, beside others of its priority.
    pub weight: u16,
    /// Its tier: lower ones are used first.
    pub priority: u8,
    /// Models it may be used for, as [`crate::pattern`] reads them; empty: all.
    pub models: Vec<String>,
    /// Its own outbound proxy, without credentials, or `direct`; none: the pool's way.
    pub proxy: Option<String>,
    /// Whether operators want it used.
    pub enabled: bool,
    /// When it joined.
    pub added: Millis,
    /// Who added it.
    pub actor: Actor,
    /// The last event with which an operator changed it.
    pub revision: Seq,
    /// Whether it has served since it was added, reset, or since its credential failed.
    pub proven: bool,
    /// Soft failures in a row.
    pub failures: u32,
    /// When it was last checked without a client's request.
    pub checked: Option<Millis>,
    /// The gate in front of all of it.
    pub gate: Option<Gate>,
    /// Gates in front of single methods.
    pub methods: BTreeMap<String, Gate>,
}

/// One Google project: the owner of quota.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Project {
    /// Its keys.
    pub keys: BTreeSet<KeyId>,
    /// The gate in front of all of it.
    pub gate: Option<Gate>,
    /// Gates in front of single models, by quota window.
    pub models: BTreeMap<String, BTreeMap<Window, Gate>>,
    /// What Google told of its quotas, by model.
    pub budgets: BTreeMap<String, Budget>,
}

/// How a model does at Google, whoever asks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    /// Google's own failures in a row, over all keys.
    pub failures: u32,
    /// The circuit.
    pub gate: Option<Gate>,
}

/// The day of Google's quotas, and what the pool learned of when they return.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaDay {
    /// When it began.
    pub began: Millis,
    /// When the next one begins; 0 before the first is known.
    pub ends: Millis,
    /// How much later than midnight in California it turns.
    pub shift_ms: Millis,
    /// Probes that found a day's quota back before the day turned.
    pub early: u32,
    /// Probes that found it still spent.
    pub late: u32,
}

impl QuotaDay {
    /// Whether spent days are back before the day turns: it was seen, and not in vain most of the time. (Where no
    /// delay is told, some probes come too early.)
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.early.saturating_mul(4) > self.late
    }
}

/// Why a key cannot be used for a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed<'a> {
    /// An operator disabled it.
    Disabled,
    /// The gate in front of the key.
    Key(&'a Gate),
    /// The gate in front of its project.
    Project(&'a Gate),
    /// The gate in front of its project for the model.
    Model(Window, &'a Gate),
    /// The gate in front of the key for the method.
    Method(&'a Gate),
    /// The circuit of the model, for everybody.
    Upstream(&'a Gate),
}

/// What people call a key's condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// It can serve.
    Ready,
    /// It, or its project, rests until a time.
    Cooling,
    /// Its credential, or its project, failed; only a check brings it back.
    Failed,
    /// An operator disabled it.
    Disabled,
}

/// Every key and project.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    keys: BTreeMap<KeyId, Key>,
    projects: BTreeMap<String, Project>,
    fingerprints: BTreeMap<Fingerprint, KeyId>,
    removed: BTreeSet<Fingerprint>,
    /// The project that each of Google's names stands for here.
    consumers: BTreeMap<String, String>,
    upstreams: BTreeMap<String, Upstream>,
    day: QuotaDay,
    last: u32,
}

impl Keys {
    /// Every key, by number.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Key> {
        self.keys.values()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// One key.
    #[must_use]
    pub fn get(&self, key: KeyId) -> Option<&Key> {
        self.keys.get(&key)
    }

    /// Every project that has keys, by name.
    pub fn projects(&self) -> impl Iterator<Item = (&str, &Project)> {
        self.projects.iter().map(|(name, project)| (name.as_str(), project))
    }

    /// One project.
    #[must_use]
    pub fn project(&self, name: &str) -> Option<&Project> {
        self.projects.get(name)
    }

    /// The key with this fingerprint.
    #[must_use]
    pub fn by_fingerprint(&self, fingerprint: &Fingerprint) -> Option<KeyId> {
        self.fingerprints.get(fingerprint).copied()
    }

    /// Whether a key with this fingerprint was removed, and not added since.
    #[must_use]
    pub fn was_removed(&self, fingerprint: &Fingerprint) -> bool {
        self.removed.contains(fingerprint)
    }

    /// How a model does at Google; none: well, as far as is known.
    #[must_use]
    pub fn upstream(&self, model: &str) -> Option<&Upstream> {
        self.upstreams.get(model)
    }

    /// Every model at Google that is in trouble.
    pub fn upstreams(&self) -> impl Iterator<Item = (&str, &Upstream)> {
        self.upstreams.iter().map(|(model, upstream)| (model.as_str(), upstream))
    }

    /// The quota day, and what was learned of it.
    #[must_use]
    pub fn day(&self) -> &QuotaDay {
        &self.day
    }

    /// The number that the next key gets.
    #[must_use]
    pub fn next_id(&self) -> KeyId {
        KeyId(self.last.saturating_add(1))
    }

    /// The first closed thing in a key's way at `now`, or none: it can serve.
    /// An empty model or method asks about the rest alone.
    #[must_use]
    pub fn closed<'a>(&'a self, key: &'a Key, model: &str, method: &str, now: Millis) -> Option<Closed<'a>> {
        fn shut(gate: Option<&Gate>, now: Millis) -> Option<&Gate> {
            gate.filter(|gate| gate.is_closed(now))
        }
        if !key.enabled {
            return Some(Closed::Disabled);
        }
        if let Some(gate) = shut(key.gate.as_ref(), now) {
            return Some(Closed::Key(gate));
        }
        let project = self.projects.get(&key.project);
        if let Some(gate) = shut(project.and_then(|project| project.gate.as_ref()), now) {
            return Some(Closed::Project(gate));
        }
        let windows = project.and_then(|project| project.models.get(model));
        if let Some((window, gate)) =
            windows.and_then(|windows| windows.iter().find(|(_, gate)| gate.is_closed(now)))
        {
            return Some(Closed::Model(*window, gate));
        }
        if let Some(gate) = shut(key.methods.get(method), now) {
            return Some(Closed::Method(gate));
        }
        shut(self.upstream(model).and_then(|upstream| upstream.gate.as_ref()), now).map(Closed::Upstream)
    }

    /// A key's condition at `now`, apart from single models and methods.
    #[must_use]
    pub fn condition(&self, key: &Key, now: Millis) -> Condition {
        match self.closed(key, "", "", now) {
            None | Some(Closed::Model(..) | Closed::Method(_) | Closed::Upstream(_)) => Condition::Ready,
            Some(Closed::Disabled) => Condition::Disabled,
            Some(Closed::Key(gate) | Closed::Project(gate)) if gate.until.is_none() => Condition::Failed,
            Some(Closed::Key(_) | Closed::Project(_)) => Condition::Cooling,
        }
    }

    /// The gate at exactly this scope, open or closed.
    #[must_use]
    pub fn gate(&self, scope: &Scope) -> Option<&Gate> {
        match scope {
            Scope::Key(key) => self.keys.get(key)?.gate.as_ref(),
            Scope::Method { key, method } => self.keys.get(key)?.methods.get(method),
            Scope::Project(project) => self.projects.get(project)?.gate.as_ref(),
            Scope::Model { project, model, window } => {
                self.projects.get(project)?.models.get(model)?.get(window)
            }
            Scope::Upstream { model } => self.upstreams.get(model)?.gate.as_ref(),
        }
    }
}

/// The project of a key of which nobody said another.
fn own_project(key: KeyId) -> String {
    format!("key-{key}")
}
