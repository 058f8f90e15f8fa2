//! The latest client requests, each with its chain of tries.
//!
//! Owns a bounded window on traffic, for people who look at "now"; the whole
//! history is in the log.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::{
    event::{Answered, Attempted, Event, Recorded},
    id::RequestId,
};

/// Requests kept after their end.
pub const KEPT: usize = 1_000;
/// Requests under way whose tries are kept.
const PENDING_KEPT: usize = 10_000;
/// Tries kept per request.
const ATTEMPTS_KEPT: usize = 16;

/// One client request and what was tried for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// How it ended.
    pub answered: Answered,
    /// The tries, in order.
    pub attempts: Vec<Attempted>,
}

/// The latest requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requests {
    recent: VecDeque<Request>,
    pending: BTreeMap<RequestId, Vec<Attempted>>,
}

impl Requests {
    /// The requests that ended, newest first.
    pub fn recent(&self) -> impl ExactSizeIterator<Item = &Request> {
        self.recent.iter().rev()
    }

    /// Folds one event in.
    pub fn apply(&mut self, recorded: &Recorded) {
        match &recorded.event {
            Event::Attempted(event) => {
                if self.pending.len() >= PENDING_KEPT && !self.pending.contains_key(&event.request) {
                    self.pending.pop_first();
                }
                let attempts = self.pending.entry(event.request).or_default();
                if attempts.len() < ATTEMPTS_KEPT {
                    attempts.push(event.clone());
                }
            }
            Event::Answered(event) => {
                let attempts = self.pending.remove(&event.request).unwrap_or_default();
                if self.recent.len() >= KEPT {
                    self.recent.pop_front();
                }
                self.recent.push_back(Request { answered: event.clone(), attempts });
            }
            _ => {}
        }
    }
}
