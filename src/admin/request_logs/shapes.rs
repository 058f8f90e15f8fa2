//! Requests as the admin API gives them.

use poem_openapi::{Enum, Object};
use projections::{
    ClientId, KeyId, State,
    event::{Answered, Outcome, Tokens},
};

use super::{RequestBodiesKept, cursor};
use crate::{
    config::LogBodies,
    ledger::clock::rfc3339,
    pool::Pool,
    request_log::{Entry, Indexing, Page},
};

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub(super) enum RequestOutcome {
    /// An answer of Google's, good or bad, went out whole.
    Complete,
    /// An answer began and broke.
    Truncated,
    /// The client went away.
    Cancelled,
    /// The pool answered by itself.
    Refused,
}

impl From<Outcome> for RequestOutcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Complete => Self::Complete,
            Outcome::Truncated => Self::Truncated,
            Outcome::Cancelled => Self::Cancelled,
            Outcome::Refused => Self::Refused,
        }
    }
}

impl From<RequestOutcome> for Outcome {
    fn from(outcome: RequestOutcome) -> Self {
        match outcome {
            RequestOutcome::Complete => Self::Complete,
            RequestOutcome::Truncated => Self::Truncated,
            RequestOutcome::Cancelled => Self::Cancelled,
            RequestOutcome::Refused => Self::Refused,
        }
    }
}

/// A client, as it is called now.
#[derive(Clone, Debug, PartialEq, Eq, Object)]
pub(super) struct RequestClient {
    pub(super) id: u32,
    /// None: it was removed.
    pub(super) name: Option<String>,
}

/// A key, as it is called now.
#[derive(Clone, Debug, PartialEq, Eq, Object)]
pub(super) struct RequestKey {
    pub(super) id: u32,
    /// None: it was removed.
    pub(super) label: Option<String>,
    /// The last characters of its secret.
    pub(super) tail: Option<String>,
}

pub(super) fn client_of(state: &State, client: ClientId) -> RequestClient {
    RequestClient { id: client.0, name: state.access.get(client).map(|known| known.name.clone()) }
}

pub(super) fn key_of(state: &State, key: KeyId) -> RequestKey {
    let known = state.keys.get(key);
    RequestKey {
        id: key.0,
        label: known.map(|key| key.label.clone()),
        tail: known.map(|key| key.tail.clone()),
    }
}

/// Tokens as Google counted them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Object)]
pub(super) struct RequestTokens {
    /// In the prompt, cached ones included.
    pub(super) prompt: u64,
    /// In the answer, without thoughts.
    pub(super) output: u64,
    pub(super) thoughts: u64,
    /// Of the prompt, from Google's cache.
    pub(super) cached: u64,
}

impl From<Tokens> for RequestTokens {
    fn from(tokens: Tokens) -> Self {
        Self {
            prompt: tokens.prompt.into(),
            output: tokens.output.into(),
            thoughts: tokens.thoughts.into(),
            cached: tokens.cached.into(),
        }
    }
}

/// A client's request.
#[derive(Clone, Debug, PartialEq, Eq, Object)]
pub(super) struct RequestLogView {
    pub(super) id: String,
    /// The position of its `Answered` in the log.
    pub(super) seq: u64,
    /// When it arrived (RFC 3339).
    pub(super) time: String,
    /// None: access was open, or was refused.
    pub(super) client: Option<RequestClient>,
    /// As asked for; empty where none was named.
    pub(super) model: String,
    /// The RPC's name.
    pub(super) method: String,
    /// The HTTP method.
    pub(super) verb: String,
    /// Without its query.
    pub(super) path: String,
    /// Whether the client asked for a stream.
    pub(super) streamed: bool,
    /// The HTTP status that the client saw; 0: none.
    pub(super) status: u16,
    pub(super) outcome: RequestOutcome,
    /// Upstream tries.
    pub(super) tries: u8,
    /// The keys of the tries, in order.
    pub(super) keys: Vec<RequestKey>,
    /// How long it stood in the queue.
    pub(super) waited_ms: u32,
    /// From its arrival to the first byte of the answer.
    pub(super) first_byte_ms: Option<u32>,
    /// From its arrival to its end.
    pub(super) duration_ms: u32,
    /// Of the last try: the one that answered, if any did.
    pub(super) tokens: RequestTokens,
    /// Of all tries together.
    pub(super) tokens_of_all: RequestTokens,
    /// Of the answer's body, as they went to the client.
    pub(super) bytes: u64,
    /// The answer's last finish reason.
    pub(super) finish_reason: Option<String>,
    /// The pool's own reason, where it refused or gave up.
    pub(super) reason: Option<String>,
    /// What Google said at the last try.
    pub(super) upstream_reason: Option<String>,
    /// What the last try came to, in the log's words.
    pub(super) verdict: Option<String>,
    /// Where it came from.
    pub(super) address: String,
}

/// A word as events write it.
pub(super) fn word(value: impl serde::Serialize) -> String {
    let value = serde_json::to_value(value).ok();
    value.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
}

impl RequestLogView {
    pub(super) fn of(state: &State, entry: &Entry) -> Self {
        let last = entry.attempts.last().map(|attempt| &attempt.attempted);
        let Answered { request, client, address, verb, path, model, method, streamed, .. } = &entry.answered;
        let Answered { started, duration_ms, first_byte_ms, status, attempts, .. } = entry.answered;
        let Answered { outcome, reason, bytes, waited_ms, .. } = &entry.answered;
        Self {
            id: request.to_string(),
            seq: entry.seq,
            time: rfc3339(started),
            client: client.map(|client| client_of(state, client)),
            model: model.clone(),
            method: method.clone(),
            verb: verb.clone(),
            path: path.clone(),
            streamed: *streamed,
            status,
            outcome: (*outcome).into(),
            tries: attempts,
            keys: entry.attempts.iter().map(|attempt| key_of(state, attempt.attempted.key)).collect(),
            waited_ms: *waited_ms,
            first_byte_ms,
            duration_ms,
            tokens: last.map(|last| last.tokens).unwrap_or_default().into(),
            tokens_of_all: entry.tokens().into(),
            bytes: *bytes,
            finish_reason: last.and_then(|last| last.finish_reason.clone()),
            reason: reason.clone(),
            upstream_reason: last.and_then(|last| last.reason.clone()),
            verdict: last.map(|last| word(last.verdict)),
            address: address.clone(),
        }
    }
}

/// How far the index of requests is, while it is being made: some requests are not found yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Object)]
pub(super) struct RequestIndexProgress {
    /// Events looked at.
    done: u64,
    /// Events there are.
    of: u64,
}

impl From<Indexing> for RequestIndexProgress {
    fn from(indexing: Indexing) -> Self {
        Self { done: indexing.done, of: indexing.of }
    }
}

impl From<LogBodies> for RequestBodiesKept {
    fn from(kept: LogBodies) -> Self {
        match kept {
            LogBodies::Off => Self::Off,
            LogBodies::Errors => Self::Errors,
            LogBodies::All => Self::All,
        }
    }
}

/// Requests, the newest first.
#[derive(Object)]
pub(super) struct RequestLogList {
    request_logs: Vec<RequestLogView>,
    /// Where to go on: the next page's `cursor`; none: this is the last page.
    next: Option<String>,
    /// Only while the index is being made.
    #[oai(skip_serializing_if_is_none)]
    indexing: Option<RequestIndexProgress>,
    /// Which bodies are kept of requests that come now (LOG_BODIES).
    bodies: RequestBodiesKept,
}

impl RequestLogList {
    pub(super) fn of(pool: &Pool, page: &Page) -> Self {
        let state = pool.ledger.state();
        Self {
            request_logs: page.entries.iter().map(|entry| RequestLogView::of(&state, entry)).collect(),
            next: page.next.map(cursor),
            indexing: page.indexing.map(Into::into),
            bodies: pool.request_log.bodies.keeping().into(),
        }
    }
}
