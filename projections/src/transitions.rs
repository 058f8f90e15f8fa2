//! When things changed: a gate closed or opened, a key failed or came back.
//!
//! Owns the latest of them, for people. What was closed and closes again for the same reason has not changed, and
//! is not here; what opens by itself when its time is over is no event, and is not here either: its closing says
//! until when.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::{
    event::{Event, GateClosed, GateOpened, Opened, Recorded, Scope, Verdict},
    id::{KeyId, Millis, Seq},
    keys::Keys,
};

/// Transitions kept.
pub const KEPT: usize = 64;

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Something is not used, until a time.
    Closed {
        /// What.
        scope: Scope,
        /// Why.
        cause: Verdict,
        /// Until when.
        until: Millis,
        /// The key whose try showed it.
        key: KeyId,
    },
    /// Something failed: it is not used until a check passes, or somebody says so.
    Failed {
        /// What.
        scope: Scope,
        /// Why.
        cause: Verdict,
        /// The key whose try showed it.
        key: KeyId,
    },
    /// What was closed is used again before its time.
    Opened {
        /// What.
        scope: Scope,
        /// Why.
        why: Opened,
    },
    /// What had failed is used again.
    Recovered {
        /// What.
        scope: Scope,
        /// Why.
        why: Opened,
    },
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    /// The event that tells it.
    pub seq: Seq,
    /// When.
    pub at: Millis,
    /// What.
    pub change: Change,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transitions {
    latest: VecDeque<Transition>,
}

impl Transitions {
    /// The latest, newest first.
    pub fn latest(&self) -> impl ExactSizeIterator<Item = &Transition> {
        self.latest.iter().rev()
    }

    /// Folds one event in; `keys` as they were before it.
    pub fn apply(&mut self, recorded: &Recorded, keys: &Keys) {
        let change = match &recorded.event {
            Event::GateClosed(event) => closed(event, keys, recorded.at),
            Event::GateOpened(event) => opened(event, keys, recorded.at),
            _ => None,
        };
        if let Some(change) = change {
            if self.latest.len() >= KEPT {
                self.latest.pop_front();
            }
            self.latest.push_back(Transition { seq: recorded.seq, at: recorded.at, change });
        }
    }
}

fn closed(event: &GateClosed, keys: &Keys, at: Millis) -> Option<Change> {
    let before = keys.gate(&event.scope).filter(|gate| gate.is_closed(at));
    let same =
        before.is_some_and(|gate| gate.cause == event.cause && gate.until.is_some() == event.until.is_some());
    if same || !is_there(&event.scope, keys) {
        return None;
    }
    let (scope, cause, key) = (event.scope.clone(), event.cause, event.key);
    Some(match event.until {
        Some(until) => Change::Closed { scope, cause, until, key },
        None => Change::Failed { scope, cause, key },
    })
}

/// What is not there has nothing to close.
fn is_there(scope: &Scope, keys: &Keys) -> bool {
    match scope {
        Scope::Key(key) | Scope::Method { key, .. } => keys.get(*key).is_some(),
        Scope::Project(project) | Scope::Model { project, .. } => keys.project(project).is_some(),
        Scope::Upstream { .. } => true,
    }
}

fn opened(event: &GateOpened, keys: &Keys, at: Millis) -> Option<Change> {
    let gate = keys.gate(&event.scope).filter(|gate| gate.is_closed(at))?;
    let (scope, why) = (event.scope.clone(), event.why);
    Some(match gate.until {
        Some(_) => Change::Opened { scope, why },
        None => Change::Recovered { scope, why },
    })
}
