//! The whole state: every projection, folded together.

use serde::{Deserialize, Serialize};

use crate::{
    access::Access,
    event::Recorded,
    id::{Millis, Seq},
    keys::Keys,
    quotas::Quotas,
    requests::Requests,
    resources::Resources,
    sessions::Sessions,
    siblings::Siblings,
    usage::Usage,
};

/// What the log says, up to and including `seq`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The last event folded in; 0 before the first.
    pub seq: Seq,
    /// When it was recorded.
    pub at: Millis,
    /// Keys, projects and gates.
    pub keys: Keys,
    /// Clients.
    pub access: Access,
    /// Counters.
    pub usage: Usage,
    /// The latest requests.
    pub requests: Requests,
    /// What belongs to which project at Google.
    pub resources: Resources,
    /// Projects that look like one.
    #[serde(default)]
    pub siblings: Siblings,
    /// What clients used of their limits.
    #[serde(default)]
    pub quotas: Quotas,
    /// Administrators' sessions and failed logins.
    #[serde(default)]
    pub sessions: Sessions,
}

impl State {
    /// Folds one event in. Total: whatever the sequence, it neither fails nor panics.
    pub fn apply(&mut self, recorded: &Recorded) {
        self.keys.apply(recorded);
        self.access.apply(recorded);
        self.usage.apply(recorded);
        self.requests.apply(recorded);
        self.resources.apply(recorded, &self.keys);
        self.siblings.apply(recorded, &self.keys);
        self.quotas.apply(recorded, &self.access);
        self.sessions.apply(recorded);
        self.seq = recorded.seq;
        self.at = recorded.at;
    }

    /// Folds many events into the empty state.
    pub fn replay<'a>(events: impl IntoIterator<Item = &'a Recorded>) -> Self {
        let mut state = Self::default();
        events.into_iter().for_each(|recorded| state.apply(recorded));
        state
    }
}
