//! What became of the log itself: up to where traffic was dropped from it.
//!
//! Owns where the log's whole part begins. What lies before it can be looked at (control and health
//! stay for ever), but the pool as it was then cannot be folded any more.

use serde::{Deserialize, Serialize};

use crate::{
    event::{Event, LogTrimmed, Recorded},
    id::{Digest, Millis, Seq},
};

/// The last trim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trim {
    /// Up to this event traffic is gone; behind it nothing is missing.
    pub through: Seq,
    /// When that one was recorded.
    pub at: Millis,
    /// The chain's hash there.
    pub hash: Digest,
    /// The event that says so.
    pub noted: Seq,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trims {
    /// The last one.
    pub last: Option<Trim>,
    /// Events dropped by all of them.
    pub dropped: u64,
}

impl Trims {
    /// The earliest position whose state is known.
    #[must_use]
    pub fn earliest(&self) -> Seq {
        self.last.as_ref().map_or(0, |trim| trim.through)
    }

    /// Folds one event in. One that reaches no further than the last says nothing.
    pub fn apply(&mut self, recorded: &Recorded) {
        let Event::LogTrimmed(LogTrimmed { through, at, hash, dropped, .. }) = &recorded.event else {
            return;
        };
        if *through <= self.earliest() {
            return;
        }
        self.dropped = self.dropped.saturating_add(*dropped);
        self.last = Some(Trim { through: *through, at: *at, hash: *hash, noted: recorded.seq });
    }
}
