//! Who can serve, and who cannot.

use std::{collections::BTreeSet, time::Duration};

use poem_openapi::{Enum, Object};
use projections::{
    Millis, State,
    capacity::capacity,
    keys::{Closed, Condition, Keys},
    statistics::{Range, Sums},
    transitions,
};

use super::scope_words;
use crate::{health::prober::next_check, ledger::clock::rfc3339, words::word};

/// Keys that need attention, shown at most.
const ATTENTION: usize = 100;
/// Transitions shown.
const TRANSITIONS: usize = 20;

/// Keys, by what they can do now.
#[derive(Debug, Default, Object)]
pub(super) struct PoolCounts {
    total: u64,
    /// They can serve.
    ready: u64,
    /// They, or their projects, rest until a time.
    cooling: u64,
    /// Their credential, or their project, failed; only a check brings them back.
    failed: u64,
    /// An operator disabled them.
    disabled: u64,
    /// Google projects that own their quotas.
    projects: u64,
}

/// Who can serve a model now.
#[derive(Debug, Object)]
pub(super) struct ModelCapacity {
    model: String,
    /// Projects that can serve it now.
    ready: u64,
    /// Projects with a key that is enabled and meant for it.
    projects: u64,
    /// When the next one is back (RFC 3339); none: nobody is away, or only a check brings one back.
    next_at: Option<String>,
    /// It is in trouble at Google, and nobody serves it for that long.
    in_trouble: bool,
}

/// Whether time, or only a check, brings something back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Enum)]
#[oai(rename_all = "snake_case")]
pub(super) enum AwayState {
    /// Only a check, or an operator.
    Failed,
    /// Time.
    Cooling,
}

/// A key that cannot serve though it should.
#[derive(Debug, Object)]
pub(super) struct Attention {
    key: u32,
    label: String,
    project: String,
    state: AwayState,
    /// Whether it is its whole project.
    whole_project: bool,
    /// Why.
    cause: String,
    /// Since when (RFC 3339).
    since: String,
    /// When the pool checks it by itself next (RFC 3339); none: it comes back without.
    next_check_at: Option<String>,
    /// Until when (RFC 3339); none: until a check passes.
    until: Option<String>,
    /// The event behind it.
    seq: u64,
}

/// What happened to a gate or a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub(super) enum ChangeKind {
    /// It is not used, until a time.
    Closed,
    /// It is not used, until a check passes.
    Failed,
    /// It is used again, before that time.
    Opened,
    /// What had failed is used again.
    Recovered,
}

/// A change of a gate or a key.
#[derive(Debug, Object)]
#[oai(rename = "Transition")]
pub(super) struct Change {
    /// The event that tells it.
    seq: u64,
    /// When (RFC 3339).
    at: String,
    kind: ChangeKind,
    /// What it is about: `key`, `method`, `project`, `model` (for a project) or `upstream` (a model, for everybody).
    scope: String,
    /// The key it is about, or whose try showed it.
    key: Option<u32>,
    project: Option<String>,
    model: Option<String>,
    /// Why: what a try came to, or what opened it.
    why: String,
    /// Until when (RFC 3339).
    until: Option<String>,
}

pub(super) fn counts(keys: &Keys, now: Millis) -> PoolCounts {
    let mut counts = PoolCounts { projects: keys.projects().count() as u64, ..PoolCounts::default() };
    for key in keys.iter() {
        counts.total += 1;
        *match keys.condition(key, now) {
            Condition::Ready => &mut counts.ready,
            Condition::Cooling => &mut counts.cooling,
            Condition::Failed => &mut counts.failed,
            Condition::Disabled => &mut counts.disabled,
        } += 1;
    }
    counts
}

pub(super) fn models(state: &State, now: Millis) -> Vec<ModelCapacity> {
    let asked = state.statistics.models.iter().filter(|(_, track)| {
        // Whoever was asked for, or tried.
        track.sums(Range::Month, now) != Sums::default()
    });
    let mut names: BTreeSet<&str> = asked.map(|(name, _)| name.as_str()).collect();
    names.extend(state.keys.upstreams().map(|(model, _)| model));
    names.remove("");
    let told = capacity(&state.keys, names, now);
    let view = told.into_iter().map(|(model, capacity)| ModelCapacity {
        model: model.to_owned(),
        ready: capacity.ready as u64,
        projects: capacity.projects as u64,
        next_at: capacity.next.map(rfc3339),
        in_trouble: capacity.upstream,
    });
    view.collect()
}

pub(super) fn attention(state: &State, now: Millis, recheck: Duration) -> (Vec<Attention>, u64) {
    let keys = &state.keys;
    let mut away: Vec<_> = keys
        .iter()
        .filter_map(|key| {
            let (whole_project, gate) = match keys.closed(key, "", "", now)? {
                Closed::Key(gate) => (false, gate),
                Closed::Project(gate) => (true, gate),
                Closed::Disabled | Closed::Model(..) | Closed::Method(_) | Closed::Upstream(_) => {
                    return None;
                }
            };
            let state = if gate.until.is_some() { AwayState::Cooling } else { AwayState::Failed };
            Some((state, key, whole_project, gate))
        })
        .collect();
    away.sort_by_key(|(state, key, _, gate)| (*state, gate.until, key.id));
    let more = away.len().saturating_sub(ATTENTION) as u64;
    let shown = away.into_iter().take(ATTENTION).map(|(state, key, whole_project, gate)| Attention {
        key: key.id.0,
        label: key.label.clone(),
        project: key.project.clone(),
        state,
        whole_project,
        cause: word(gate.cause),
        since: rfc3339(gate.since),
        next_check_at: next_check(keys, key, recheck).map(rfc3339),
        until: gate.until.map(rfc3339),
        seq: gate.seq,
    });
    (shown.collect(), more)
}

pub(super) fn transitions(state: &State) -> Vec<Change> {
    use transitions::Change as Told;
    let view = |one: &transitions::Transition| {
        let (kind, scope, why, until, shown_by) = match &one.change {
            Told::Closed { scope, cause, until, key } => {
                (ChangeKind::Closed, scope, word(cause), Some(rfc3339(*until)), Some(key))
            }
            Told::Failed { scope, cause, key } => (ChangeKind::Failed, scope, word(cause), None, Some(key)),
            Told::Opened { scope, why } => (ChangeKind::Opened, scope, word(why), None, None),
            Told::Recovered { scope, why } => (ChangeKind::Recovered, scope, word(why), None, None),
        };
        let (name, key, project, model) = scope_words(scope);
        let key = key.or(shown_by.map(|key| key.0));
        let scope = name.to_owned();
        Change { seq: one.seq, at: rfc3339(one.at), kind, scope, key, project, model, why, until }
    };
    state.transitions.latest().take(TRANSITIONS).map(view).collect()
}
