//! What the whole pool did in one stretch of time, and the latest such stretches.
//!
//! Owns what is summed of requests and tries. Its invariant: merging buckets gives the bucket of all their time.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{
    counts::{Counts, Histogram},
    range::Grain,
};
use crate::event::{Answered, Attempted, Outcome, Verdict};

/// Client requests, by how they ended.
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
    /// All of them.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.served.saturating_add(self.cancelled).saturating_add(self.failed())
    }

    /// Those that did not get what they asked for, whoever is to blame; who went away is not among them.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.errors.saturating_add(self.truncated).saturating_add(self.refused)
    }

    /// Each kind by its name.
    #[must_use]
    pub fn named(&self) -> [(&'static str, u64); 5] {
        [
            ("served", self.served),
            ("error", self.errors),
            ("truncated", self.truncated),
            ("cancelled", self.cancelled),
            ("refused", self.refused),
        ]
    }

    pub(super) fn add(&mut self, event: &Answered) {
        let counter = match event.outcome {
            Outcome::Complete if event.status < 400 => &mut self.served,
            Outcome::Complete => &mut self.errors,
            Outcome::Truncated => &mut self.truncated,
            Outcome::Cancelled => &mut self.cancelled,
            Outcome::Refused => &mut self.refused,
        };
        *counter = counter.saturating_add(1);
    }

    fn merge(&mut self, other: &Self) {
        self.served = self.served.saturating_add(other.served);
        self.errors = self.errors.saturating_add(other.errors);
        self.truncated = self.truncated.saturating_add(other.truncated);
        self.cancelled = self.cancelled.saturating_add(other.cancelled);
        self.refused = self.refused.saturating_add(other.refused);
    }
}

/// What a try says of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Good,
    /// The client cancelled, or asked wrongly.
    Nothing,
    Bad,
}

pub(super) fn said(verdict: Verdict) -> Said {
    match verdict {
        Verdict::Success => Said::Good,
        Verdict::ClientFault | Verdict::AffinityMiss | Verdict::Cancelled => Said::Nothing,
        _ => Said::Bad,
    }
}

/// Tokens, summed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenSums {
    /// In prompts, cached ones included.
    pub prompt: u64,
    /// In answers, without thoughts.
    pub output: u64,
    /// In thoughts.
    pub thoughts: u64,
    /// Of the prompts, from Google's cache.
    pub cached: u64,
}

impl TokenSums {
    /// What is paid for: prompts, answers and thoughts.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.prompt.saturating_add(self.output).saturating_add(self.thoughts)
    }

    fn add(&mut self, prompt: u64, output: u64, thoughts: u64, cached: u64) {
        self.prompt = self.prompt.saturating_add(prompt);
        self.output = self.output.saturating_add(output);
        self.thoughts = self.thoughts.saturating_add(thoughts);
        self.cached = self.cached.saturating_add(cached);
    }
}

/// What the pool did in some time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// Client requests that ended.
    pub requests: Requests,
    /// The same by the first digit of the status that the client saw; 0: it saw none.
    pub classes: [u64; 6],
    /// Upstream tries that ended, by what they came to.
    pub verdicts: Counts<Verdict>,
    /// Tokens.
    pub tokens: TokenSums,
    /// Bytes of bodies sent to Google, tries that were repeated included.
    pub bytes_sent: u64,
    /// Bytes of answers from Google.
    pub bytes_received: u64,
    /// Bytes of answers to clients.
    pub bytes_served: u64,
    /// From a request's arrival to the first byte of a good answer.
    pub first_byte: Histogram,
    /// From a request's arrival to the end of a good answer; not of Live sessions, which last as long as clients like.
    pub duration: Histogram,
    /// How long requests stood in the queue, those that did.
    pub waited: Histogram,
}

impl Bucket {
    /// Upstream tries.
    #[must_use]
    pub fn attempts(&self) -> u64 {
        self.verdicts.sum()
    }

    /// Tries that came to nothing, and not by the client's doing.
    #[must_use]
    pub fn wasted(&self) -> u64 {
        let bad = self.verdicts.iter().filter(|(verdict, _)| said(*verdict) == Said::Bad);
        bad.fold(0, |sum, (_, count)| sum.saturating_add(count))
    }

    pub(super) fn attempted(&mut self, event: &Attempted) {
        let tokens = &event.tokens;
        self.verdicts.add(event.verdict, 1);
        self.tokens.add(
            tokens.prompt.into(),
            tokens.output.into(),
            tokens.thoughts.into(),
            tokens.cached.into(),
        );
        self.bytes_sent = self.bytes_sent.saturating_add(event.bytes_sent);
        self.bytes_received = self.bytes_received.saturating_add(event.bytes_received);
    }

    pub(super) fn answered(&mut self, event: &Answered) {
        self.requests.add(event);
        let class = usize::from(event.status / 100);
        if let Some(count) = self.classes.get_mut(if class < 6 { class } else { 0 }) {
            *count = count.saturating_add(1);
        }
        self.bytes_served = self.bytes_served.saturating_add(event.bytes);
        if (200..400).contains(&event.status) {
            if let Some(ms) = event.first_byte_ms {
                self.first_byte.record(ms);
            }
            if event.outcome == Outcome::Complete {
                self.duration.record(event.duration_ms);
            }
        }
        if event.waited_ms > 0 {
            self.waited.record(event.waited_ms);
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.requests.merge(&other.requests);
        for (own, more) in self.classes.iter_mut().zip(other.classes) {
            *own = own.saturating_add(more);
        }
        self.verdicts.merge(&other.verdicts);
        let tokens = &other.tokens;
        self.tokens.add(tokens.prompt, tokens.output, tokens.thoughts, tokens.cached);
        self.bytes_sent = self.bytes_sent.saturating_add(other.bytes_sent);
        self.bytes_received = self.bytes_received.saturating_add(other.bytes_received);
        self.bytes_served = self.bytes_served.saturating_add(other.bytes_served);
        self.first_byte.merge(&other.first_byte);
        self.duration.merge(&other.duration);
        self.waited.merge(&other.waited);
    }
}

/// The latest buckets of one width that are not empty, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Timeline(VecDeque<(i64, Bucket)>);

impl Timeline {
    /// The bucket of an index; none, where it is too old to be kept.
    pub(super) fn bucket(&mut self, grain: Grain, index: i64) -> Option<&mut Bucket> {
        let newest = self.0.back().map_or(index, |(newest, _)| index.max(*newest));
        let oldest = newest.saturating_sub(i64::try_from(grain.kept).unwrap_or(i64::MAX)).saturating_add(1);
        while self.0.front().is_some_and(|(first, _)| *first < oldest) {
            self.0.pop_front();
        }
        if index < oldest {
            return None;
        }
        let at = self.0.partition_point(|(known, _)| *known < index);
        if self.0.get(at).is_none_or(|(known, _)| *known != index) {
            self.0.insert(at, (index, Bucket::default()));
        }
        self.0.get_mut(at).map(|(_, bucket)| bucket)
    }

    /// The buckets from one index to another, those without anything left out.
    pub(super) fn between(&self, first: i64, last: i64) -> impl Iterator<Item = (i64, &Bucket)> {
        let from = self.0.partition_point(|(index, _)| *index < first);
        let own = self.0.range(from..).take_while(move |(index, _)| *index <= last);
        own.map(|(index, bucket)| (*index, bucket))
    }
}
