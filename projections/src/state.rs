//! The whole state: every projection, folded together.

use serde::{Deserialize, Serialize};

use crate::{
    access::Access,
    asked::Asked,
    event::Recorded,
    id::{Millis, Seq},
    keys::Keys,
    resources::Resources,
    settings::Settings,
    siblings::Siblings,
    trims::Trims,
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
}

impl State {
    /// Folds one event in. Total: whatever the sequence, it neither fails nor panics.
    pub fn apply(&mut self, recorded: &Recorded) {
        self.usage.apply(recorded);
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
        self.seq = recorded.seq;
        self.at = recorded.at;
    }

    /// Empties the statistics: what tells how much, and decides nothing.
    pub fn forget_statistics(&mut self) {
        (self.usage, self.asked) = Default::default();
    }

    /// Folds many events into the empty state.
    pub fn replay<'a>(events: impl IntoIterator<Item = &'a Recorded>) -> Self {
        let mut state = Self::default();
        events.into_iter().for_each(|recorded| state.apply(recorded));
        state
    }
}
