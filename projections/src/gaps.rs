//! Times of which the log does not know everything.

use serde::{Deserialize, Serialize};

use crate::{
    event::{Event, LogGap, Recorded},
    id::{Millis, Seq},
};

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// When the log failed.
    pub from: Millis,
    /// When it was opened anew.
    pub to: Millis,
    /// Facts of that time that are not recorded.
    pub unrecorded: u64,
    /// Why the log failed.
    pub cause: String,
    /// The event that says so.
    pub noted: Seq,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gaps {
    /// How many there are.
    pub count: u64,
    /// Facts that are not recorded, of all of them.
    pub unrecorded: u64,
    /// The last one.
    pub last: Option<Gap>,
}

impl Gaps {
    /// Folds one event in.
    pub fn apply(&mut self, recorded: &Recorded) {
        let Event::LogGap(LogGap { from, to, unrecorded, cause, .. }) = &recorded.event else { return };
        self.count = self.count.saturating_add(1);
        self.unrecorded = self.unrecorded.saturating_add(*unrecorded);
        let (from, to, unrecorded, cause) = (*from, *to, *unrecorded, cause.clone());
        self.last = Some(Gap { from, to, unrecorded, cause, noted: recorded.seq });
    }
}
