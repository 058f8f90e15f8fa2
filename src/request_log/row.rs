//! A request as the index knows it, and how events become one.
//!
//! Pure: events in, rows out, in the order of the log. A row holds what is asked
//! for in filters and where the request's events are; all else is read from the
//! log. Its invariant: a request's row comes with its `Answered`, and holds the
//! tries that the log has before it.

use std::collections::HashMap;

use projections::{
    Event, Millis, Recorded, RequestId, Seq,
    event::{Attempted, Outcome, Tokens},
};

/// Requests under way whose tries are kept; the oldest make room.
const PENDING: usize = 20_000;
/// Tries kept of a request.
const TRIES: usize = 255;

/// Where a try is in the log, and with which key it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Try {
    pub(super) seq: Seq,
    pub(super) key: u32,
}

/// One client request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// Of its `Answered`.
    pub(super) seq: Seq,
    /// Its id, in short: enough to find it, not to be sure.
    pub(super) request: u32,
    /// The id's beginning, which for those of this pool is the time.
    pub(super) request_head: u64,
    pub(super) started: Millis,
    pub(super) duration_ms: u32,
    pub(super) first_byte_ms: Option<u32>,
    pub(super) status: u16,
    pub(super) outcome: Outcome,
    /// 0: nobody's.
    pub(super) client: u32,
    pub(super) model: String,
    pub(super) method: String,
    pub(super) streamed: bool,
    /// Upstream tries, also those that the log does not have any more.
    pub(super) tries: u8,
    pub(super) attempts: Vec<Try>,
    /// The pool's reason, and of each try that failed what Google said and what it came to; each once.
    pub(super) reasons: Vec<String>,
    /// Of all tries together: prompt, output, thoughts, cached.
    pub(super) tokens: [u64; 4],
}

/// An id in short.
pub(super) fn short(request: RequestId) -> u32 {
    let id = request.0;
    // The end of an id is random, also where its beginning is the time.
    (id as u32) ^ ((id >> 32) as u32)
}

/// The beginning of an id.
pub(super) fn head(request: RequestId) -> u64 {
    (request.0 >> 64) as u64
}

/// An outcome's place among them.
pub(super) fn outcome_code(outcome: Outcome) -> u64 {
    match outcome {
        Outcome::Complete => 0,
        Outcome::Truncated => 1,
        Outcome::Cancelled => 2,
        Outcome::Refused => 3,
    }
}

/// The outcome in that place.
pub(super) fn outcome_of(code: u64) -> Option<Outcome> {
    [Outcome::Complete, Outcome::Truncated, Outcome::Cancelled, Outcome::Refused]
        .into_iter()
        .find(|outcome| outcome_code(*outcome) == code)
}

/// A word as events write it.
pub(super) fn word(value: impl serde::Serialize) -> String {
    let value = serde_json::to_value(value).ok();
    value.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
}

/// What the index wants to know of an event.
#[derive(Debug)]
pub(super) enum Note {
    /// A try ended.
    Tried { seq: Seq, request: RequestId, key: u32, tokens: [u64; 4], reasons: Vec<String> },
    /// A request ended; its tries are still to be added.
    Ended { request: RequestId, row: Box<Row> },
    /// Traffic up to here is gone from the log.
    Trimmed { seq: Seq, through: Seq },
    /// A server came up: what was under way before it never ended.
    Began { seq: Seq },
}

impl Note {
    /// None: the index has no use for it.
    pub(super) fn of(recorded: &Recorded) -> Option<Self> {
        let seq = recorded.seq;
        Some(match &recorded.event {
            Event::Attempted(event) => {
                let (tokens, reasons) = (tokens(&event.tokens), reasons_of(event));
                Self::Tried { seq, request: event.request, key: event.key.0, tokens, reasons }
            }
            Event::Answered(event) => {
                let row = Row {
                    seq,
                    request: short(event.request),
                    request_head: head(event.request),
                    started: event.started,
                    duration_ms: event.duration_ms,
                    first_byte_ms: event.first_byte_ms,
                    status: event.status,
                    outcome: event.outcome,
                    client: event.client.map_or(0, |client| client.0),
                    model: event.model.clone(),
                    method: event.method.clone(),
                    streamed: event.streamed,
                    tries: event.attempts,
                    attempts: Vec::new(),
                    reasons: event.reason.iter().filter(|reason| !reason.is_empty()).cloned().collect(),
                    tokens: [0; 4],
                };
                Self::Ended { request: event.request, row: Box::new(row) }
            }
            Event::LogTrimmed(event) => Self::Trimmed { seq, through: event.through },
            Event::ServerStarted(_) => Self::Began { seq },
            _ => return None,
        })
    }

    pub(super) fn seq(&self) -> Seq {
        match self {
            Self::Tried { seq, .. } | Self::Trimmed { seq, .. } | Self::Began { seq } => *seq,
            Self::Ended { row, .. } => row.seq,
        }
    }
}

fn tokens(counted: &Tokens) -> [u64; 4] {
    [counted.prompt, counted.output, counted.thoughts, counted.cached].map(u64::from)
}

fn reasons_of(event: &Attempted) -> Vec<String> {
    let failed = (!event.verdict.is_success()).then(|| word(event.verdict));
    event.reason.iter().filter(|reason| !reason.is_empty()).cloned().chain(failed).collect()
}

#[derive(Debug)]
struct Pending {
    first: Seq,
    attempts: Vec<Try>,
    tokens: [u64; 4],
    reasons: Vec<String>,
}

/// Puts requests together from their events.
#[derive(Debug, Default)]
pub(super) struct Gatherer {
    pending: HashMap<RequestId, Pending>,
}

impl Gatherer {
    /// Takes a note in; gives a row where it ends a request.
    pub(super) fn follow(&mut self, note: Note) -> Option<Row> {
        match note {
            Note::Tried { seq, request, key, tokens, reasons } => {
                if self.pending.len() >= PENDING && !self.pending.contains_key(&request) {
                    let oldest = self.pending.iter().min_by_key(|(_, pending)| pending.first);
                    if let Some(oldest) = oldest.map(|(request, _)| *request) {
                        self.pending.remove(&oldest);
                    }
                }
                let pending = self.pending.entry(request).or_insert_with(|| Pending {
                    first: seq,
                    attempts: Vec::new(),
                    tokens: [0; 4],
                    reasons: Vec::new(),
                });
                if pending.attempts.len() < TRIES {
                    pending.attempts.push(Try { seq, key });
                    pending.reasons.extend(reasons);
                }
                for (sum, more) in pending.tokens.iter_mut().zip(tokens) {
                    *sum = sum.saturating_add(more);
                }
                None
            }
            Note::Ended { request, mut row } => {
                if let Some(pending) = self.pending.remove(&request) {
                    row.attempts = pending.attempts;
                    row.tokens = pending.tokens;
                    row.reasons.extend(pending.reasons);
                    row.reasons.sort_unstable();
                    row.reasons.dedup();
                }
                Some(*row)
            }
            Note::Began { .. } => {
                self.pending.clear();
                None
            }
            Note::Trimmed { .. } => None,
        }
    }

    /// From behind this event the log must be read again for all that is under way now; none: nothing is.
    pub(super) fn resume(&self) -> Option<Seq> {
        self.pending.values().map(|pending| pending.first).min().map(|first| first.saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use projections::{
        KeyId,
        event::{ServerStarted, Verdict},
    };

    use super::{super::tests::answered, *};

    fn tried(seq: Seq, request: u128, key: u32) -> Recorded {
        let tokens = Tokens { prompt: 7, output: 2, ..Tokens::default() };
        let event = Attempted {
            request: RequestId(request),
            key: KeyId(key),
            verdict: Verdict::QuotaDay,
            reason: Some("RESOURCE_EXHAUSTED".to_owned()),
            tokens,
            ..Attempted::default()
        };
        Recorded { seq, at: 0, event: event.into() }
    }

    fn ended(seq: Seq, request: u128) -> Recorded {
        Recorded { seq, at: 0, event: answered(request).into() }
    }

    #[test]
    fn a_request_has_its_own_tries_in_their_order() {
        let mut gatherer = Gatherer::default();
        let mut follow = |recorded: &Recorded| gatherer.follow(Note::of(recorded).unwrap());
        for recorded in [tried(1, 1, 1), tried(2, 2, 7), tried(3, 1, 2)] {
            assert_eq!(follow(&recorded), None);
        }
        let row = follow(&ended(4, 1)).unwrap();
        assert_eq!(row.attempts, [Try { seq: 1, key: 1 }, Try { seq: 3, key: 2 }]);
        assert_eq!(row.reasons, ["RESOURCE_EXHAUSTED", "quota_day"]);
        assert_eq!(row.tokens, [14, 4, 0, 0]);
        assert!(follow(&ended(5, 3)).unwrap().attempts.is_empty());
        assert_eq!(gatherer.resume(), Some(1), "request 2 is under way since event 2");
        let began = ServerStarted { version: String::new(), address: String::new() };
        gatherer.follow(Note::of(&Recorded { seq: 6, at: 0, event: began.into() }).unwrap());
        assert_eq!(gatherer.resume(), None);
    }

    #[test]
    fn what_is_under_way_has_a_bound() {
        let mut gatherer = Gatherer::default();
        for request in 0..PENDING as u128 + 50 {
            gatherer.follow(Note::of(&tried(request as Seq + 1, request, 1)).unwrap());
        }
        assert_eq!((gatherer.pending.len(), gatherer.resume()), (PENDING, Some(50)), "the oldest made room");
        for try_ in 0..1_000 {
            gatherer.follow(Note::of(&tried(90_000 + try_, 100, 1)).unwrap());
        }
        assert_eq!(gatherer.follow(Note::of(&ended(99_999, 100)).unwrap()).unwrap().attempts.len(), TRIES);
    }
}
