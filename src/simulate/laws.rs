//! Owns the laws that hold after every step of every seed. Refuses to drive anything: it is shown what
//! happened. Invariant: a law that is broken names itself and the numbers that broke it.

use std::collections::BTreeMap;

use projections::{
    Event, KeyId, Millis, Recorded, State,
    event::{Attempted, Window},
    keys::{Closed, Keys},
};

use crate::{
    ledger::tape::Tape,
    scheduler::explain::{self, Question, Seat},
};

/// A law that was broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{law}: {what}")]
pub struct Broken {
    /// Which one.
    pub law: &'static str,
    /// By what.
    pub what: String,
}

fn broken<T>(law: &'static str, what: impl Into<String>) -> Result<T, Broken> {
    Err(Broken { law, what: what.into() })
}

/// What a probe tries out: of one of these there is at most one under way.
pub(super) type Probed = (String, String, Window);

/// No request goes through a closed gate, but the one that is recorded as its probe.
pub(super) fn invariant_no_way_through_a_closed_gate(
    keys: &Keys,
    key: KeyId,
    (model, method): (&str, &str),
    is_probe: bool,
    now: Millis,
) -> Result<(), Broken> {
    const LAW: &str = "no way through a closed gate";
    let Some(known) = keys.get(key) else {
        return broken(LAW, format!("key {key} was chosen and is not there"));
    };
    match keys.closed(known, model, method, now) {
        Some(Closed::Model(..) | Closed::Upstream(_)) if is_probe => Ok(()),
        Some(closed) => broken(LAW, format!("key {key} was chosen for {model} at {now}, behind {closed:?}")),
        None => Ok(()),
    }
}

/// At most one probe is under way for a project, a model and a window.
pub(super) fn invariant_one_probe_at_a_time(probes: &BTreeMap<Probed, u32>) -> Result<(), Broken> {
    match probes.iter().find(|(_, under_way)| **under_way > 1) {
        Some((what, many)) => broken("one probe at a time", format!("{many} are under way for {what:?}")),
        None => Ok(()),
    }
}

/// A request is tried no more often than its budgets allow.
pub(super) fn invariant_tries_within_the_budgets(
    request: usize,
    (all, costly): (usize, usize),
    (most, most_costly): (usize, usize),
) -> Result<(), Broken> {
    if all > most || costly > most_costly {
        let what = format!("request {request}: {all} tries of {most}, {costly} costly ones of {most_costly}");
        return broken("tries within the budgets", what);
    }
    Ok(())
}

/// What a key has under way is what was sent and has not ended, been refused or been cancelled.
pub(super) fn invariant_places_are_given_back(key: KeyId, counted: u32, sent: u32) -> Result<(), Broken> {
    if counted != sent {
        let what = format!("key {key} counts {counted} under way, and {sent} are");
        return broken("places are given back", what);
    }
    Ok(())
}

/// The log, read back from its bytes, gives the same state, and for every call the same reasons to choose as
/// were recorded with it.
pub(super) fn invariant_the_log_tells_it_again(tape: &Tape) -> Result<(), Broken> {
    const LAW: &str = "the log tells it again";
    let read = match tape.replay() {
        Ok(read) => read,
        Err(error) => return broken(LAW, error.to_string()),
    };
    // A choice was made against the state at `why.seq`, which is before the call's own place in the log.
    let mut choices: BTreeMap<u64, Vec<&Attempted>> = BTreeMap::new();
    for recorded in &read {
        if let Recorded { event: Event::Attempted(attempted), .. } = recorded {
            choices.entry(attempted.why.seq).or_default().push(attempted);
        }
    }
    let mut state = State::default();
    for recorded in &read {
        state.apply(recorded);
        for attempted in choices.remove(&state.seq).unwrap_or_default() {
            let question = Question {
                model: &attempted.model,
                method: &attempted.method,
                chosen: Some(attempted.key),
                ..Question::default()
            };
            let found = explain::standings(&state.keys, &question, attempted.started);
            if !explain::agrees(&found, attempted, Seat::Anywhere) {
                let what = format!(
                    "try {} of {} says {:?}, and the log {:?} and {} ready",
                    attempted.attempt, attempted.request, attempted.why, found.passed_over, found.ready
                );
                return broken(LAW, what);
            }
        }
    }
    if state != *tape.state() || !choices.is_empty() {
        return broken(LAW, "the replayed state is another one");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
