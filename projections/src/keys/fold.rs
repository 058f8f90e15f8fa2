//! How events change keys, projects and gates.

use std::collections::BTreeMap;

use super::{Gate, Key, Keys, PRIORITY, WEIGHT, own_project};
use crate::{
    budget::tokens_in,
    event::{
        Attempted, Event, GateClosed, GateOpened, KeyAdded, KeyChecked, Opened, Recorded, Scope, Verdict,
        Violation, Window,
    },
    id::{KeyId, Millis, Seq},
};

/// Gates kept per project or key, and models known; more of them push out the one that opens first.
const GATES_KEPT: usize = 512;
/// Fingerprints of removed keys kept, so that the environment does not bring them back.
const REMOVED_KEPT: usize = 100_000;

impl Keys {
    /// Folds one event in.
    pub fn apply(&mut self, recorded: &Recorded) {
        match &recorded.event {
            Event::KeyAdded(event) => self.add(event, recorded),
            Event::KeyUpdated(event) => self.update(event),
            Event::KeyDisabled(event) => self.with(event.key, |key| key.enabled = false),
            Event::KeyEnabled(event) => self.with(event.key, |key| key.enabled = true),
            Event::KeyReset(event) => self.reset(event.key),
            Event::KeyRemoved(event) => self.remove(event.key),
            Event::GateClosed(event) => self.close(event, recorded.at, recorded.seq),
            Event::GateOpened(event) => {
                self.day_was_back(event, recorded.at);
                self.open(&event.scope);
            }
            Event::ProjectLearned(event) => self.learn_project(event.key, &event.consumer),
            Event::QuotaDayBegan(event) => (self.day.began, self.day.ends) = (event.began, event.ends),
            Event::QuotaTurnLearned(event) => self.day.shift_ms = event.shift_ms,
            Event::Attempted(event) => self.found(&Finding::from(event), recorded.at),
            Event::KeyChecked(event) => {
                self.with(event.key, |key| key.checked = Some(recorded.at));
                self.found(&Finding::from(event), recorded.at);
            }
            _ => {}
        }
        if let Some(key) = changed_key(&recorded.event) {
            self.with(key, |key| key.revision = recorded.seq);
        }
    }

    fn with(&mut self, key: KeyId, change: impl FnOnce(&mut Key)) {
        if let Some(key) = self.keys.get_mut(&key) {
            change(key);
        }
    }

    fn add(&mut self, event: &KeyAdded, recorded: &Recorded) {
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
            consumer: None,
            note: String::new(),
            tags: Vec::new(),
            weight: WEIGHT,
            priority: PRIORITY,
            models: Vec::new(),
            proxy: None,
            enabled: true,
            proven: false,
            added: recorded.at,
            actor: event.actor.clone(),
            revision: recorded.seq,
            failures: 0,
            checked: None,
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

    fn reset(&mut self, id: KeyId) {
        let Some(key) = self.keys.get_mut(&id) else { return };
        key.failures = 0;
        key.proven = false;
        key.gate = None;
        key.methods.clear();
        if let Some(project) = self.projects.get_mut(&key.project) {
            project.gate = None;
            project.models.clear();
            project.budgets.clear();
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
            Scope::Upstream { model } => {
                let gate = closed(self.gate(&event.scope));
                self.upstreams.entry(model.clone()).or_default().gate = Some(gate);
            }
        }
    }

    /// A probe found a day's quota back before the day turned: nobody knows how much there is of it.
    fn day_was_back(&mut self, event: &GateOpened, at: Millis) {
        let GateOpened { scope: Scope::Model { project, model, window: Window::Day }, why: Opened::Probed } =
            event
        else {
            return;
        };
        if !self.gate(&event.scope).is_some_and(|gate| gate.is_closed(at)) {
            return;
        }
        self.day.early = self.day.early.saturating_add(1);
        let Some(project) = self.projects.get_mut(project) else { return };
        if let Some(budget) = project.budgets.get_mut(model) {
            budget.day = None;
            if budget.is_empty() {
                project.budgets.remove(model);
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
            Scope::Upstream { model } => drop(self.upstreams.remove(model)),
        }
    }

    /// A success forgives what has already reopened; failures of the soft kind count.
    fn found(&mut self, finding: &Finding<'_>, at: Millis) {
        self.upstream_did(finding, at);
        let day = self.day.began;
        let Some(key) = self.keys.get_mut(&finding.key) else { return };
        if finding.verdict.is_soft_failure() {
            key.failures = key.failures.saturating_add(1);
        }
        let Some(project) = self.projects.get_mut(&key.project) else { return };
        let day_gate = project.models.get(finding.model).and_then(|windows| windows.get(&Window::Day));
        if finding.probe && day_gate.is_some_and(|gate| gate.is_closed(at)) {
            let late = u32::from(finding.verdict == Verdict::QuotaDay);
            self.day.late = self.day.late.saturating_add(late);
        }
        // With a spent day the delay is the day's, and tells nothing of when the minute turns.
        let daily = finding.violations.iter().any(|violation| violation.window == Some(Window::Day));
        let turns = finding.retry_delay_ms.filter(|_| !daily).map(|delay| at.saturating_add(delay));
        for violation in finding.violations.iter().filter(|violation| violation.limit.is_some()) {
            bound(&mut project.budgets, finding.model, |_| None);
            let budget = project.budgets.entry(finding.model.to_owned()).or_default();
            budget.exceeded(violation, finding.tokens_sent, at, turns, day);
            if budget.is_empty() {
                project.budgets.remove(finding.model);
            }
        }
        if !finding.verdict.is_success() {
            return;
        }
        key.failures = 0;
        key.proven = true;
        key.gate.take_if(|gate| !gate.is_closed(at));
        if key.methods.get(finding.method).is_some_and(|gate| !gate.is_closed(at)) {
            key.methods.remove(finding.method);
        }
        project.gate.take_if(|gate| !gate.is_closed(at));
        if let Some(windows) = project.models.get_mut(finding.model) {
            windows.retain(|_, gate| gate.is_closed(at));
            if windows.is_empty() {
                project.models.remove(finding.model);
            }
        }
        if let Some(budget) = project.budgets.get_mut(finding.model) {
            budget.served(finding.started, finding.prompt_tokens, day);
            if budget.is_empty() {
                project.budgets.remove(finding.model);
            }
        }
    }

    /// Failures of Google's own count for the model, whichever key met them; a success ends the run.
    fn upstream_did(&mut self, finding: &Finding<'_>, at: Millis) {
        if finding.model.is_empty() {
            return;
        }
        if finding.verdict.is_upstream_failure() {
            bound(&mut self.upstreams, finding.model, |upstream| {
                upstream.gate.as_ref().map_or(Some(0), |gate| gate.until)
            });
            let upstream = self.upstreams.entry(finding.model.to_owned()).or_default();
            upstream.failures = upstream.failures.saturating_add(1);
        } else if finding.verdict.is_success()
            && let Some(upstream) = self.upstreams.get_mut(finding.model)
        {
            upstream.failures = 0;
            upstream.gate.take_if(|gate| !gate.is_closed(at));
            if upstream.gate.is_none() {
                self.upstreams.remove(finding.model);
            }
        }
    }
}

/// The key that an operator changes with an event, where it is one of those.
#[must_use]
pub fn changed_key(event: &Event) -> Option<KeyId> {
    match event {
        Event::KeyAdded(event) => Some(event.key),
        Event::KeyUpdated(event) => Some(event.key),
        Event::KeyDisabled(event) => Some(event.key),
        Event::KeyEnabled(event) => Some(event.key),
        Event::KeyReset(event) => Some(event.key),
        Event::KeyRemoved(event) => Some(event.key),
        _ => None,
    }
}

/// What a try or a check found out.
struct Finding<'a> {
    key: KeyId,
    model: &'a str,
    method: &'a str,
    started: Millis,
    verdict: Verdict,
    violations: &'a [Violation],
    retry_delay_ms: Option<Millis>,
    prompt_tokens: u32,
    /// As estimated from what was sent.
    tokens_sent: u64,
    probe: bool,
}

impl<'a> From<&'a Attempted> for Finding<'a> {
    fn from(event: &'a Attempted) -> Self {
        Self {
            key: event.key,
            model: &event.model,
            method: &event.method,
            started: event.started,
            verdict: event.verdict,
            violations: &event.violations,
            retry_delay_ms: event.retry_delay_ms,
            prompt_tokens: event.tokens.prompt,
            tokens_sent: tokens_in(event.bytes_sent),
            probe: event.probe,
        }
    }
}

impl<'a> From<&'a KeyChecked> for Finding<'a> {
    fn from(event: &'a KeyChecked) -> Self {
        Self {
            key: event.key,
            model: &event.model,
            method: &event.method,
            started: event.started,
            verdict: event.verdict,
            violations: &event.violations,
            retry_delay_ms: event.retry_delay_ms,
            prompt_tokens: 0,
            tokens_sent: 0,
            probe: !event.model.is_empty(),
        }
    }
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
