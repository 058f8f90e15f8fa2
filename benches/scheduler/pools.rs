//! Pools of every size, for measuring.

use projections::{
    Event, Fingerprint, KeyId, Millis, Recorded, State,
    event::{Actor, Attempted, GateClosed, KeyAdded, Scope, Verdict, Violation, Window},
};

/// When it all happens.
pub(crate) const NOW: Millis = 1_800_000_000_000;
/// When the gates open.
pub(crate) const LATER: Millis = NOW + 3_600_000;
/// What requests ask for.
pub(crate) const MODEL: &str = "gemini-2.5-flash";

/// Keys that have all served, each in a project of its own; some are gated for some models.
pub(crate) fn pool(size: u32, models: &[&str], gated: impl Fn(u32) -> bool) -> State {
    let mut state = State::default();
    let mut tell = |event: Event| {
        let recorded = Recorded { seq: state.seq + 1, at: NOW, event };
        state.apply(&recorded);
    };
    for key in 1..=size {
        tell(added(key));
        tell(served(key));
        for model in models.iter().filter(|_| gated(key)) {
            tell(closed(key, model));
        }
    }
    state
}

pub(crate) fn added(key: u32) -> Event {
    let mut fingerprint = [0; 16];
    fingerprint[..4].copy_from_slice(&key.to_be_bytes());
    let (label, tail, actor) = (format!("key {key}"), "wxyz".to_owned(), Actor::Env);
    KeyAdded { key: KeyId(key), label, tail, fingerprint: Fingerprint(fingerprint), project: None, actor }
        .into()
}

/// The key's project is out of this model's quota.
pub(crate) fn closed(key: u32, model: &str) -> Event {
    let (project, model) = (format!("key-{key}"), model.to_owned());
    let scope = Scope::Model { project, model, window: Window::Minute };
    GateClosed {
        scope,
        cause: Verdict::QuotaMinute,
        until: Some(LATER),
        probe: None,
        request: None,
        key: KeyId(key),
    }
    .into()
}

/// The key's project is out of this model, and may be tried before it is said to be back.
pub(crate) fn to_be_tried(key: u32, model: &str) -> Event {
    let (project, model) = (format!("key-{key}"), model.to_owned());
    let scope = Scope::Model { project, model, window: Window::Day };
    let (cause, probe) = (Verdict::QuotaDay, Some(NOW + 20_000));
    GateClosed { scope, cause, until: None, probe, request: None, key: KeyId(key) }.into()
}

/// Operators had their say: the keys of a pool get weights, tiers, and models that they are for.
#[expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a pool is what it is")]
pub(crate) fn ranked(state: State) -> State {
    let mut keys = serde_json::to_value(&state.keys).unwrap();
    for key in 1..=state.keys.len() {
        let slot = &mut keys["keys"][key.to_string()];
        slot["weight"] = (key % 9 + 1).into();
        slot["priority"] = (key % 3).into();
        slot["models"] = serde_json::json!(if key % 5 == 0 { vec!["gemini-*"] } else { vec![] });
    }
    State { keys: serde_json::from_value(keys).unwrap(), ..state }
}

/// Google named limits of the key's project: requests and tokens per minute.
pub(crate) fn limited(key: u32, requests: u64) -> Event {
    let limit =
        |window, limit| Violation { window: Some(window), limit: Some(limit), ..Violation::default() };
    Attempted {
        attempt: 1,
        key: KeyId(key),
        project: format!("key-{key}"),
        model: MODEL.to_owned(),
        started: NOW,
        status: 429,
        verdict: Verdict::QuotaMinute,
        violations: vec![limit(Window::Minute, requests), limit(Window::Tokens, 1_000)],
        retry_delay_ms: Some(30_000),
        ..Attempted::default()
    }
    .into()
}

pub(crate) fn served(key: u32) -> Event {
    Attempted {
        attempt: 1,
        key: KeyId(key),
        project: format!("key-{key}"),
        model: MODEL.to_owned(),
        method: "generateContent".to_owned(),
        started: NOW,
        status: 200,
        verdict: Verdict::Success,
        ..Attempted::default()
    }
    .into()
}
