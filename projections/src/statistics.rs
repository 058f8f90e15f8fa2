//! How much, lately and at all: by the minute for the pool, by key, client and model for the ranges people ask for.
//!
//! Owns sums over traffic. It refuses to know what a verdict does to a key. Time comes from the records alone, and
//! old buckets fall out as newer events come; a reader says what `now` is, so that silence ages too. Its invariants:
//! folding an event looks at no more than its own names' buckets, and takes room only for a new name, a new stretch
//! of time, or a time that took longer or shorter than others; and however many names there are, what is kept is
//! bounded: beyond the bounds they are counted together.

mod bucket;
pub mod counts;
mod names;
mod packed;
pub mod range;
pub mod track;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::{
    bucket::{Bucket, Requests, TokenSums},
    names::Names,
    range::Range,
    track::{Beat, Sums, Track},
};
use self::{
    bucket::{Said, Timeline, said},
    range::{DAY, Grain, HOUR, MINUTE},
    track::Failure,
};
use crate::{
    event::{Answered, Attempted, Event, KeyChecked, Outcome, Recorded, Verdict},
    id::{ClientId, KeyId, Millis},
};

/// Keys with a track of their own.
pub const KEYS_KEPT: usize = 10_000;
/// Clients with a track of their own.
pub const CLIENTS_KEPT: usize = 10_000;
/// Models with a track of their own.
pub const MODELS_KEPT: usize = 256;
/// Methods with counters of their own.
pub const METHODS_KEPT: usize = 64;
/// What is counted beyond that is counted under this name.
pub const OTHER: &str = "(other)";

const MINUTES: Grain = Grain { width: MINUTE, kept: 121 };
const QUARTERS: Grain = Grain { width: 15 * MINUTE, kept: 105 };
const TWO_HOURS: Grain = Grain { width: 2 * HOUR, kept: 373 };

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    /// Since the log began.
    pub total: Bucket,
    /// Requests since the log began, by the RPC's name; those that were never served are [`OTHER`].
    pub methods: BTreeMap<String, Requests>,
    /// Tries, by key; checks are in the heartbeat only.
    pub keys: Names<KeyId>,
    /// Requests, by client.
    pub clients: Names<ClientId>,
    /// Requests, by model as asked for; empty: none was named.
    pub models: Names<String>,
    minutes: Timeline,
    quarters: Timeline,
    two_hours: Timeline,
    /// The day on which names last made room.
    swept: i64,
}

/// What the pool did in a range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// When it begins.
    pub since: Millis,
    /// How wide its buckets are, in milliseconds.
    pub width: Millis,
    /// All of it.
    pub sum: Bucket,
    /// When each bucket begins, and what is in it: none where nothing is; oldest first, none left out.
    pub series: Vec<(Millis, Option<Bucket>)>,
}

/// Google knows the model, or it would not say this of it.
fn knows_model(verdict: Verdict) -> bool {
    matches!(
        verdict,
        Verdict::Success
            | Verdict::QuotaMinute
            | Verdict::QuotaDay
            | Verdict::QuotaTokens
            | Verdict::NotOffered
            | Verdict::Overloaded
    )
}

impl Statistics {
    /// Folds one event in.
    pub fn apply(&mut self, recorded: &Recorded) {
        self.make_room(recorded.at);
        match &recorded.event {
            Event::Attempted(event) => self.attempted(recorded, event),
            Event::Answered(event) => self.answered(recorded, event),
            Event::KeyChecked(event) => self.checked(recorded.at, event),
            Event::KeyRemoved(event) => self.keys.remove(&event.key),
            Event::ClientRemoved(event) => self.clients.remove(&event.client),
            _ => {}
        }
    }

    fn make_room(&mut self, at: Millis) {
        let today = at.div_euclid(DAY);
        if today > self.swept {
            self.swept = today;
            self.keys.sweep(at);
            self.clients.sweep(at);
            self.models.sweep(at);
        }
    }

    fn each_bucket(&mut self, at: Millis, mut change: impl FnMut(&mut Bucket)) {
        change(&mut self.total);
        for (timeline, grain) in
            [(&mut self.minutes, MINUTES), (&mut self.quarters, QUARTERS), (&mut self.two_hours, TWO_HOURS)]
        {
            if let Some(bucket) = timeline.bucket(grain, grain.index(at)) {
                change(bucket);
            }
        }
    }

    fn attempted(&mut self, recorded: &Recorded, event: &Attempted) {
        let at = recorded.at;
        self.each_bucket(at, |bucket| bucket.attempted(event));
        let said = said(event.verdict);
        let tokens = &event.tokens;
        let tokens = u64::from(tokens.prompt) + u64::from(tokens.output) + u64::from(tokens.thoughts);
        let tried = Sums {
            count: 1,
            errors: u64::from(said == Said::Bad),
            tokens,
            latency_ms: event.latency_ms.into(),
        };
        let key = self.keys.track(&event.key, KEYS_KEPT, || Some(event.key));
        key.add(at, &tried);
        match said {
            Said::Good => key.beat(at, true),
            Said::Bad => {
                key.beat(at, false);
                let (seq, status) = (recorded.seq, event.status);
                key.failure = Some(Failure { seq, at, verdict: Some(event.verdict), status });
            }
            Said::Nothing => {}
        }
        let own = || knows_model(event.verdict).then(|| event.model.clone());
        let model = self.models.track(event.model.as_str(), MODELS_KEPT, own);
        let spent = Sums { tokens, ..Sums::default() };
        model.add(at, &spent);
        if let Some(client) = event.client.filter(|_| tokens > 0) {
            self.clients.track(&client, CLIENTS_KEPT, || Some(client)).add(at, &spent);
        }
    }

    fn answered(&mut self, recorded: &Recorded, event: &Answered) {
        let at = recorded.at;
        self.each_bucket(at, |bucket| bucket.answered(event));
        let served = event.outcome == Outcome::Complete && event.status < 400;
        let method = event.method.as_str();
        let others = usize::from(self.methods.contains_key(OTHER));
        let room = self.methods.len() - others < METHODS_KEPT;
        let own = self.methods.contains_key(method) || (served && room);
        match self.methods.get_mut(if own { method } else { OTHER }) {
            Some(requests) => requests.add(event),
            None => {
                let name = if own { method } else { OTHER };
                self.methods.entry(name.to_owned()).or_default().add(event);
            }
        }
        let failed = !served && event.outcome != Outcome::Cancelled;
        let asked =
            Sums { count: 1, errors: u64::from(failed), tokens: 0, latency_ms: event.duration_ms.into() };
        let (seq, status) = (recorded.seq, event.status);
        let failure = failed.then_some(Failure { seq, at, verdict: None, status });
        let model = self.models.track(event.model.as_str(), MODELS_KEPT, || None);
        model.add(at, &asked);
        model.failure = failure.or(model.failure);
        if let Some(client) = event.client {
            let client = self.clients.track(&client, CLIENTS_KEPT, || Some(client));
            client.add(at, &asked);
            client.failure = failure.or(client.failure);
        }
    }

    fn checked(&mut self, at: Millis, event: &KeyChecked) {
        let key = self.keys.track(&event.key, KEYS_KEPT, || Some(event.key));
        match said(event.verdict) {
            Said::Good => key.beat(at, true),
            Said::Bad => key.beat(at, false),
            Said::Nothing => return,
        }
        key.last = key.last.max(at);
    }

    /// The sums of a client over a range; none where nothing is known of it.
    #[must_use]
    pub fn client(&self, client: ClientId, range: Range, now: Millis) -> Option<Sums> {
        self.clients.get(&client).map(|track| track.sums(range, now))
    }

    /// What the pool did in a range that ends now.
    #[must_use]
    pub fn window(&self, range: Range, now: Millis) -> Window {
        let (timeline, grain) = match range {
            Range::Quarter | Range::Hour => (&self.minutes, MINUTES),
            Range::Day => (&self.quarters, QUARTERS),
            Range::Week | Range::Month => (&self.two_hours, TWO_HOURS),
        };
        let (first, last) = grain.of(range, now);
        let mut sum = Bucket::default();
        let mut series: Vec<_> = (first..=last).map(|index| (grain.begins(index), None)).collect();
        for (index, bucket) in timeline.between(first, last) {
            sum.merge(bucket);
            let at = index.checked_sub(first).and_then(|at| usize::try_from(at).ok());
            if let Some((_, place)) = at.and_then(|at| series.get_mut(at)) {
                *place = Some(bucket.clone());
            }
        }
        Window { since: grain.begins(first), width: grain.width, sum, series }
    }
}
