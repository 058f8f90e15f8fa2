//! The pool: projects, keys, and the gates in front of them.
//!
//! Owns what is known of every key. A **gate** is the one concept for "not
//! now": in front of a key, a key for one method, a project, or a project for
//! one model, with its cause and the time it opens by itself (or none: then a
//! check or an operator opens it). Its invariant: a gate's time comes from the
//! event that closed it and is never computed here.

mod update;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    event::{Actor, Attempted, Event, GateClosed, KeyAdded, Recorded, Scope, Verdict, Window},
    id::{Fingerprint, KeyId, Millis, Seq},
};

/// The share of a key of which nobody said another.
pub const WEIGHT: u16 = 1;
/// The tier of a key of which nobody said another: there is room before it and after it.
pub const PRIORITY: u8 = 100;

/// Gates kept per project or key; more of them push out the one that opens first.
const GATES_KEPT: usize = 512;
/// Fingerprints of removed keys kept, so that the environment does not bring them back.
const REMOVED_KEPT: usize = 100_000;

/// Something closed, until a time or until something opens it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    /// Why.
    pub cause: Verdict,
    /// When it opens by itself; none: not by itself.
    pub until: Option<Millis>,
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
        Self { cause: event.cause, until: event.until, since: at, seq, streak }
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
    /// Whether it has served since it was added, reset, or since its credential failed.
    pub proven: bool,
    /// Soft failures in a row.
    pub failures: u32,
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
        shut(key.methods.get(method), now).map(Closed::Method)
    }

    /// A key's condition at `now`, apart from single models and methods.
    #[must_use]
    pub fn condition(&self, key: &Key, now: Millis) -> Condition {
        match self.closed(key, "", "", now) {
            None | Some(Closed::Model(..) | Closed::Method(_)) => Condition::Ready,
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
        }
    }

    /// Folds one event in.
    pub fn apply(&mut self, recorded: &Recorded) {
        match &recorded.event {
            Event::KeyAdded(event) => self.add(event, recorded.at),
            Event::KeyUpdated(event) => self.update(event),
            Event::KeyDisabled(event) => self.with(event.key, |key| key.enabled = false),
            Event::KeyEnabled(event) => self.with(event.key, |key| key.enabled = true),
            Event::KeyReset(event) => self.reset(event.key),
            Event::KeyRemoved(event) => self.remove(event.key),
            Event::GateClosed(event) => self.close(event, recorded.at, recorded.seq),
            Event::GateOpened(event) => self.open(&event.scope),
            Event::Attempted(event) => self.attempted(event, recorded.at),
            _ => {}
        }
    }

    fn with(&mut self, key: KeyId, change: impl FnOnce(&mut Key)) {
        if let Some(key) = self.keys.get_mut(&key) {
            change(key);
        }
    }

    fn add(&mut self, event: &KeyAdded, at: Millis) {
        self.remove(event.key);
        // One secret is one key: the later number has it.
        if let Some(other) = self.by_fingerprint(&event.fingerprint) {
            self.remove(other);
        }
        let project = event.project.clone().unwrap_or_else(|| own_project(event.key));
        self.projects.entry(project.clone()).or_default().keys.insert(event.key);
        self.fingerprints.insert(event.fingerprint, event.key);
        self.removed.remove(&event.fingerprint);
        self.last = self.last.max(event.key.0);
        let key = Key {
            id: event.key,
            label: event.label.clone(),
            tail: event.tail.clone(),
            fingerprint: event.fingerprint,
            project,
            declared: event.project.is_some(),
            note: String::new(),
            tags: Vec::new(),
            weight: WEIGHT,
            priority: PRIORITY,
            models: Vec::new(),
            proxy: None,
            enabled: true,
            proven: false,
            added: at,
            actor: event.actor.clone(),
            failures: 0,
            gate: None,
            methods: BTreeMap::new(),
        };
        self.keys.insert(event.key, key);
    }

    fn remove(&mut self, id: KeyId) {
        let Some(key) = self.keys.remove(&id) else { return };
        self.fingerprints.remove(&key.fingerprint);
        self.removed.insert(key.fingerprint);
        if self.removed.len() > REMOVED_KEPT {
            self.removed.pop_first();
        }
        self.leave(id, &key.project);
    }

    /// Takes a key off its project's list; a project without keys is none.
    fn leave(&mut self, id: KeyId, name: &str) {
        let Some(project) = self.projects.get_mut(name) else { return };
        project.keys.remove(&id);
        if project.keys.is_empty() {
            self.projects.remove(name);
        }
    }

    fn reset(&mut self, id: KeyId) {
        let Some(key) = self.keys.get_mut(&id) else { return };
        key.failures = 0;
        key.proven = false;
        key.gate = None;
        key.methods.clear();
        if let Some(project) = self.projects.get_mut(&key.project) {
            project.gate = None;
            project.models.clear();
        }
    }

    fn close(&mut self, event: &GateClosed, at: Millis, seq: Seq) {
        let closed = |slot: Option<&Gate>| Gate::close(slot, event, at, seq);
        match &event.scope {
            Scope::Key(key) => self.with(*key, |key| {
                key.proven &= event.until.is_some();
                key.gate = Some(closed(key.gate.as_ref()));
            }),
            Scope::Method { key, method } => self.with(*key, |key| {
                let gate = closed(key.methods.get(method));
                bound(&mut key.methods, method, |gate| gate.until);
                key.methods.insert(method.clone(), gate);
            }),
            Scope::Project(name) => {
                if let Some(project) = self.projects.get_mut(name) {
                    project.gate = Some(closed(project.gate.as_ref()));
                }
            }
            Scope::Model { project, model, window } => {
                let Some(project) = self.projects.get_mut(project) else { return };
                let gate = closed(project.models.get(model).and_then(|windows| windows.get(window)));
                bound(&mut project.models, model, latest);
                project.models.entry(model.clone()).or_default().insert(*window, gate);
            }
        }
    }

    fn open(&mut self, scope: &Scope) {
        match scope {
            Scope::Key(key) => self.with(*key, |key| {
                key.gate = None;
                key.failures = 0;
            }),
            Scope::Method { key, method } => self.with(*key, |key| {
                key.methods.remove(method);
            }),
            Scope::Project(name) => {
                if let Some(project) = self.projects.get_mut(name) {
                    project.gate = None;
                }
            }
            Scope::Model { project, model, window } => {
                let Some(project) = self.projects.get_mut(project) else { return };
                if let Some(windows) = project.models.get_mut(model) {
                    windows.remove(window);
                    if windows.is_empty() {
                        project.models.remove(model);
                    }
                }
            }
        }
    }

    /// A success forgives what has already reopened; a soft failure counts.
    fn attempted(&mut self, event: &Attempted, at: Millis) {
        let Some(key) = self.keys.get_mut(&event.key) else { return };
        if event.verdict.is_soft_failure() {
            key.failures = key.failures.saturating_add(1);
        }
        if !event.verdict.is_success() {
            return;
        }
        key.failures = 0;
        key.proven = true;
        key.gate.take_if(|gate| !gate.is_closed(at));
        if key.methods.get(&event.method).is_some_and(|gate| !gate.is_closed(at)) {
            key.methods.remove(&event.method);
        }
        let Some(project) = self.projects.get_mut(&key.project) else { return };
        project.gate.take_if(|gate| !gate.is_closed(at));
        if let Some(windows) = project.models.get_mut(&event.model) {
            windows.retain(|_, gate| gate.is_closed(at));
            if windows.is_empty() {
                project.models.remove(&event.model);
            }
        }
    }
}

/// The project of a key of which nobody said another.
fn own_project(key: KeyId) -> String {
    format!("key-{key}")
}

/// When the last of some gates opens; none: not by itself.
fn latest(windows: &BTreeMap<Window, Gate>) -> Option<Millis> {
    windows.values().map(|gate| gate.until.unwrap_or(Millis::MAX)).max()
}

/// Makes room for a name that is new: drops the entry that opens first.
fn bound<G>(gates: &mut BTreeMap<String, G>, name: &str, until: impl Fn(&G) -> Option<Millis>) {
    if gates.len() < GATES_KEPT || gates.contains_key(name) {
        return;
    }
    let first = gates.iter().min_by_key(|(_, gate)| until(gate).unwrap_or(Millis::MAX));
    if let Some(name) = first.map(|(name, _)| name.clone()) {
        gates.remove(&name);
    }
}
