//! Counters: how much, by key, model, client and hour.
//!
//! Owns sums over traffic. Bounded: models beyond [`MODELS_KEPT`] are counted
//! as [`OTHER`], hours beyond [`HOURS_KEPT`] fall out, and a removed key or
//! client takes its counters along.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    event::{Answered, Attempted, Event, Outcome, Recorded, Verdict},
    id::{ClientId, KeyId, Millis},
};

/// Models counted by name.
pub const MODELS_KEPT: usize = 256;
/// The name under which all further models are counted.
pub const OTHER: &str = "(other)";
/// Keys, and clients, counted; the longest known make room.
pub const NAMES_KEPT: usize = 50_000;
/// Hours kept.
pub const HOURS_KEPT: usize = 48;

const HOUR_MS: Millis = 3_600_000;

/// Sums over upstream tries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempts {
    /// All of them.
    pub count: u64,
    /// Those that succeeded.
    pub succeeded: u64,
    /// Those that the client cancelled or asked wrongly: nobody's failure.
    pub neutral: u64,
    /// Prompt tokens.
    pub prompt_tokens: u64,
    /// Output and thought tokens.
    pub output_tokens: u64,
    /// Of the prompt tokens, those from Google's cache.
    pub cached_tokens: u64,
    /// Milliseconds, summed.
    pub latency_ms: u64,
    /// When the last one ended.
    pub last: Millis,
}

impl Attempts {
    /// Those that failed, for whatever reason but the client's.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.count.saturating_sub(self.succeeded).saturating_sub(self.neutral)
    }

    fn add(&mut self, event: &Attempted, at: Millis) {
        self.count += 1;
        self.succeeded += u64::from(event.verdict.is_success());
        self.neutral += u64::from(matches!(
            event.verdict,
            Verdict::ClientFault | Verdict::AffinityMiss | Verdict::Cancelled
        ));
        self.prompt_tokens += u64::from(event.tokens.prompt);
        self.output_tokens += u64::from(event.tokens.output) + u64::from(event.tokens.thoughts);
        self.cached_tokens += u64::from(event.tokens.cached);
        self.latency_ms += u64::from(event.latency_ms);
        self.last = at;
    }
}

/// Sums over client requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requests {
    /// Answers of Google's that went out whole, with a status below 400.
    pub served: u64,
    /// Answers of Google's that were errors, passed back.
    pub errors: u64,
    /// Answers that broke.
    pub truncated: u64,
    /// Requests whose client went away.
    pub cancelled: u64,
    /// Requests that the pool refused or gave up.
    pub refused: u64,
}

impl Requests {
    fn add(&mut self, event: &Answered) {
        let counter = match event.outcome {
            Outcome::Complete if event.status < 400 => &mut self.served,
            Outcome::Complete => &mut self.errors,
            Outcome::Truncated => &mut self.truncated,
            Outcome::Cancelled => &mut self.cancelled,
            Outcome::Refused => &mut self.refused,
        };
        *counter += 1;
    }
}

/// One hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hour {
    /// Upstream tries.
    pub attempts: Attempts,
    /// Client requests.
    pub requests: Requests,
}

/// The counters under a number; makes room first where there is none.
fn entry<K: Ord + Copy, V: Default>(map: &mut BTreeMap<K, V>, name: K) -> &mut V {
    if map.len() >= NAMES_KEPT && !map.contains_key(&name) {
        map.pop_first();
    }
    map.entry(name).or_default()
}

/// Every counter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Since the log began.
    pub total: Hour,
    /// By key.
    pub keys: BTreeMap<KeyId, Attempts>,
    /// By model.
    pub models: BTreeMap<String, Attempts>,
    /// By client.
    pub clients: BTreeMap<ClientId, Requests>,
    /// By hour since 1970.
    pub hours: BTreeMap<i64, Hour>,
    /// Tries by verdict.
    pub verdicts: BTreeMap<Verdict, u64>,
}

impl Usage {
    /// Folds one event in.
    pub fn apply(&mut self, recorded: &Recorded) {
        match &recorded.event {
            Event::Attempted(event) => {
                self.total.attempts.add(event, recorded.at);
                self.hour(recorded.at).attempts.add(event, recorded.at);
                entry(&mut self.keys, event.key).add(event, recorded.at);
                self.model(event).add(event, recorded.at);
                *self.verdicts.entry(event.verdict).or_default() += 1;
            }
            Event::Answered(event) => {
                self.total.requests.add(event);
                self.hour(recorded.at).requests.add(event);
                if let Some(client) = event.client {
                    entry(&mut self.clients, client).add(event);
                }
            }
            Event::KeyRemoved(event) => {
                self.keys.remove(&event.key);
            }
            Event::ClientRemoved(event) => {
                self.clients.remove(&event.client);
            }
            _ => {}
        }
    }

    fn hour(&mut self, at: Millis) -> &mut Hour {
        let hour = at.div_euclid(HOUR_MS);
        if self.hours.len() >= HOURS_KEPT && !self.hours.contains_key(&hour) {
            self.hours.pop_first();
        }
        self.hours.entry(hour).or_default()
    }

    /// Names are the clients' to choose, so only one that Google knows gets a counter of its own.
    fn model(&mut self, event: &Attempted) -> &mut Attempts {
        let model = event.model.as_str();
        let known = self.models.contains_key(model);
        let takes = event.verdict.is_success() && self.models.len() < MODELS_KEPT;
        let name = if known || takes { model } else { OTHER };
        self.models.entry(name.to_owned()).or_default()
    }
}
