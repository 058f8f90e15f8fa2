//! Models that clients asked for lately.
//!
//! Owns no more than their names and when each was last asked for, bounded, for
//! those who check on models that are wanted. Requests themselves are found in
//! the log.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    event::{Event, Recorded},
    id::Millis,
};

/// Models kept; the one that was asked for the longest time ago makes room.
pub const KEPT: usize = 256;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    models: BTreeMap<String, Millis>,
}

impl Asked {
    /// The models that were asked for at this time or later.
    pub fn since(&self, time: Millis) -> impl Iterator<Item = &str> {
        self.models.iter().filter(move |(_, last)| **last >= time).map(|(model, _)| model.as_str())
    }

    /// Folds one event in.
    pub fn apply(&mut self, recorded: &Recorded) {
        let Event::Answered(event) = &recorded.event else { return };
        if let Some(last) = self.models.get_mut(&event.model) {
            *last = event.started.max(*last);
        } else if !event.model.is_empty() {
            self.models.insert(event.model.clone(), event.started);
            if self.models.len() > KEPT {
                let oldest = self.models.iter().min_by_key(|(_, last)| **last);
                let oldest = oldest.map(|(model, _)| model.clone());
                oldest.and_then(|oldest| self.models.remove(&oldest));
            }
        }
    }
}
