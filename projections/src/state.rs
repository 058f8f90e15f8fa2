//! The whole state: every projection, folded together.

use serde::{Deserialize, Serialize};

use crate::{
    access::Access,
    asked::Asked,
    event::Recorded,
    gaps::Gaps,
    id::{Millis, Seq},
    keys::Keys,
    quotas::Quotas,
    resources::Resources,
    sessions::Sessions,
    settings::Settings,
    siblings::Siblings,
    statistics::Statistics,
    transitions::Transitions,
    trims::Trims,
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
    /// How much, lately and at all.
    #[serde(default)]
    pub statistics: Statistics,
    /// The latest changes of gates and keys.
    #[serde(default)]
    pub transitions: Transitions,
    /// Models that are wanted.
    pub asked: Asked,
    /// What belongs to which project at Google.
    pub resources: Resources,
    /// Projects that look like one.
    #[serde(default)]
    pub siblings: Siblings,
    /// Settings that were changed while the pool ran.
    #[serde(default)]
    pub settings: Settings,
    /// What was dropped from the log.
    #[serde(default)]
    pub trims: Trims,
    /// Times that the log does not know everything of.
    #[serde(default)]
    pub gaps: Gaps,
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
        self.transitions.apply(recorded, &self.keys);
        self.statistics.apply(recorded);
        self.asked.apply(recorded);
        self.apply_past(recorded);
    }

    /// The same without statistics: for the pool as it was, which is folded often and asked what it decided by.
    /// The parts are independent of each other's order, but that resources and siblings look at the keys.
    pub fn apply_past(&mut self, recorded: &Recorded) {
        self.keys.apply(recorded);
        self.access.apply(recorded);
        self.resources.apply(recorded, &self.keys);
        self.siblings.apply(recorded, &self.keys);
        self.settings.apply(recorded);
        self.trims.apply(recorded);
        self.gaps.apply(recorded);
        self.quotas.apply(recorded, &self.access);
        self.sessions.apply(recorded);
        self.seq = recorded.seq;
        self.at = recorded.at;
    }

    /// Empties the statistics: what tells how much, and decides nothing.
    pub fn forget_statistics(&mut self) {
        (self.statistics, self.transitions, self.asked) = Default::default();
    }

    /// Folds many events into the empty state.
    pub fn replay<'a>(events: impl IntoIterator<Item = &'a Recorded>) -> Self {
        let mut state = Self::default();
        events.into_iter().for_each(|recorded| state.apply(recorded));
        state
    }
}
