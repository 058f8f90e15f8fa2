//! A key as people see it, without its secret.

use std::time::Duration;

use poem_openapi::{Enum, Object};
use projections::{
    KeyId, Millis, State,
    keys::{Condition, Key},
};

use crate::{
    admin::usage::{Heartbeat, heartbeat},
    health::prober::next_check,
    ledger::clock::rfc3339,
};

/// How a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub(super) enum KeyState {
    /// It can serve.
    Ready,
    /// It rests until a time.
    Cooling,
    /// Its credential or its project failed.
    Failed,
    /// An operator disabled it.
    Disabled,
}

/// Something closed.
#[derive(Object)]
pub(super) struct GateView {
    /// The model it is closed for; none: for all.
    model: Option<String>,
    /// Why.
    cause: String,
    /// When it opens by itself (RFC 3339); none: not by itself.
    until: Option<String>,
    /// The event that closed it.
    seq: u64,
}

/// A key. Its secret is not shown.
#[derive(Object)]
pub(in crate::admin) struct KeyView {
    /// Its number.
    id: u32,
    label: String,
    /// The last four characters of the secret.
    tail: String,
    /// Tells equal keys.
    fingerprint: String,
    note: String,
    tags: Vec<String>,
    /// The Google project that owns its quota.
    project: String,
    /// Whether an operator named the project.
    declared: bool,
    /// Its share of the requests beside others of its priority.
    weight: u16,
    /// Its tier: keys of a lower one are used first.
    priority: u8,
    /// Models it may be used for; empty: all.
    models: Vec<String>,
    /// Its own outbound proxy, without user name and password, or `direct`; none: the pool's.
    proxy: Option<String>,
    state: KeyState,
    /// What stands in its way, now.
    gates: Vec<GateView>,
    /// When it was added (RFC 3339).
    added_at: String,
    /// When a try with it last ended (RFC 3339); none: it was not used yet.
    last_used_at: Option<String>,
    /// When it was last checked without a client's request (RFC 3339); none: never.
    checked_at: Option<String>,
    /// When the pool checks it by itself next (RFC 3339), because only a check brings it back; none: it needs none.
    next_check_at: Option<String>,
    /// Google's own failures with it in a row.
    failures: u32,
    /// The last event with which an operator changed it; its ETag.
    revision: u64,
    /// Its last day, where a list was asked for it.
    heartbeat: Option<Heartbeat>,
}

impl KeyView {
    /// The same, with its last day.
    pub(super) fn with_heartbeat(self, state: &State, now: Millis) -> Self {
        Self { heartbeat: Some(heartbeat(state, KeyId(self.id), now)), ..self }
    }
}

/// When a try with a key last ended.
pub(super) fn last_used(state: &State, key: &Key) -> Option<Millis> {
    state.statistics.keys.get(&key.id).map(|track| track.last).filter(|last| *last > 0)
}

impl From<Condition> for KeyState {
    fn from(condition: Condition) -> Self {
        match condition {
            Condition::Ready => Self::Ready,
            Condition::Cooling => Self::Cooling,
            Condition::Failed => Self::Failed,
            Condition::Disabled => Self::Disabled,
        }
    }
}

/// A word as events write it.
pub(in crate::admin) fn word(value: impl serde::Serialize) -> String {
    let value = serde_json::to_value(value).ok();
    value.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
}

/// A key as people see it at `now`, where failed keys are checked every `recheck`.
pub(super) fn view(state: &State, key: &Key, now: Millis, recheck: Duration) -> KeyView {
    let keys = &state.keys;
    let project = keys.project(&key.project);
    let whole =
        key.gate.iter().chain(project.and_then(|project| project.gate.as_ref())).map(|gate| (None, gate));
    let models = project.into_iter().flat_map(|project| &project.models);
    let models =
        models.flat_map(|(model, windows)| windows.values().map(move |gate| (Some(model.clone()), gate)));
    let gates = whole.chain(models).filter(|(_, gate)| gate.is_closed(now));
    KeyView {
        id: key.id.0,
        label: key.label.clone(),
        tail: key.tail.clone(),
        fingerprint: key.fingerprint.to_string(),
        note: key.note.clone(),
        tags: key.tags.clone(),
        project: key.project.clone(),
        declared: key.declared,
        weight: key.weight,
        priority: key.priority,
        models: key.models.clone(),
        proxy: key.proxy.clone(),
        state: keys.condition(key, now).into(),
        gates: gates
            .map(|(model, gate)| GateView {
                model,
                cause: word(gate.cause),
                until: gate.until.map(rfc3339),
                seq: gate.seq,
            })
            .collect(),
        added_at: rfc3339(key.added),
        last_used_at: last_used(state, key).map(rfc3339),
        checked_at: key.checked.map(rfc3339),
        next_check_at: next_check(keys, key, recheck).map(rfc3339),
        failures: key.failures,
        revision: key.revision,
        heartbeat: None,
    }
}
