//! Requests as the admin API gives them.

use poem_openapi::{Enum, Object};
use projections::{
    ClientId, KeyId, State,
    event::{Answered, Outcome, PassedOver, Tokens, Violation, Why},
};

use super::{KeptBodies, cursor};
use crate::{
    config::LogBodies,
    ledger::clock::rfc3339,
    pool::Pool,
    request_log::{Attempt, Entry, Indexing, Page, Tally, bodies},
};

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub(super) enum OutcomeName {
    /// An answer of Google's, good or bad, went out whole.
    Complete,
    /// An answer began and broke.
    Truncated,
    /// The client went away.
    Cancelled,
    /// The pool answered by itself.
    Refused,
}

impl From<Outcome> for OutcomeName {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Complete => Self::Complete,
            Outcome::Truncated => Self::Truncated,
            Outcome::Cancelled => Self::Cancelled,
            Outcome::Refused => Self::Refused,
        }
    }
}

impl From<OutcomeName> for Outcome {
    fn from(outcome: OutcomeName) -> Self {
        match outcome {
            OutcomeName::Complete => Self::Complete,
            OutcomeName::Truncated => Self::Truncated,
            OutcomeName::Cancelled => Self::Cancelled,
            OutcomeName::Refused => Self::Refused,
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

fn client_of(state: &State, client: ClientId) -> RequestClient {
    RequestClient { id: client.0, name: state.access.get(client).map(|known| known.name.clone()) }
}

fn key_of(state: &State, key: KeyId) -> RequestKey {
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
    pub(super) outcome: OutcomeName,
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
fn word(value: impl serde::Serialize) -> String {
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
pub(super) struct IndexProgress {
    /// Events looked at.
    done: u64,
    /// Events there are.
    of: u64,
}

impl From<Indexing> for IndexProgress {
    fn from(indexing: Indexing) -> Self {
        Self { done: indexing.done, of: indexing.of }
    }
}

impl From<LogBodies> for KeptBodies {
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
    indexing: Option<IndexProgress>,
    /// Which bodies are kept of requests that come now (LOG_BODIES).
    bodies: KeptBodies,
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

/// Why a key was not in the choice, and how many such there were.
#[derive(Object)]
struct PassedOverView {
    /// An operator disabled them.
    disabled: u32,
    /// Their credential failed, or they were resting.
    key_gate: u32,
    /// Their project was closed.
    project_gate: u32,
    /// Their project was closed for the model, or they for the method.
    model_gate: u32,
    /// The request had tried them, or others of their project.
    tried: u32,
    /// Their project was predicted to be out.
    budget: u32,
    /// They are for other models.
    other_models: u32,
}

/// Why this key.
#[derive(Object)]
struct WhyView {
    strategy: String,
    /// The last event that the chooser had seen.
    seq: u64,
    /// Keys it could choose among.
    eligible: u32,
    /// Requests that the key had under way.
    in_flight: u32,
    passed_over: PassedOverView,
}

impl From<&Why> for WhyView {
    fn from(why: &Why) -> Self {
        let PassedOver { disabled, key_gate, project_gate, model_gate, tried, budget, other_models } =
            why.passed_over;
        Self {
            strategy: word(why.strategy),
            seq: why.seq,
            eligible: why.eligible,
            in_flight: why.in_flight,
            passed_over: PassedOverView {
                disabled,
                key_gate,
                project_gate,
                model_gate,
                tried,
                budget,
                other_models,
            },
        }
    }
}

/// A limit that Google said was exceeded.
#[derive(Object)]
struct ViolationView {
    metric: String,
    id: String,
    model: Option<String>,
    limit: Option<u64>,
    /// Which window it is about, in the log's words.
    window: Option<String>,
}

impl From<&Violation> for ViolationView {
    fn from(violation: &Violation) -> Self {
        let Violation { metric, id, model, limit, window } = violation;
        Self {
            metric: metric.clone(),
            id: id.clone(),
            model: model.clone(),
            limit: *limit,
            window: window.map(word),
        }
    }
}

/// One upstream try.
#[derive(Object)]
struct AttemptView {
    /// The position of its `Attempted` in the log.
    seq: u64,
    /// 1 for the first.
    attempt: u8,
    key: RequestKey,
    /// The project whose quota it used.
    project: String,
    /// When the call began (RFC 3339).
    time: String,
    latency_ms: u32,
    /// From its beginning to the first byte of the answer.
    first_byte_ms: Option<u32>,
    /// Google's HTTP status; 0: none arrived.
    status: u16,
    /// What it came to, in the log's words.
    verdict: String,
    /// What Google said.
    reason: Option<String>,
    violations: Vec<ViolationView>,
    /// How long Google said to wait.
    retry_delay_ms: Option<i64>,
    tokens: RequestTokens,
    finish_reason: Option<String>,
    bytes_sent: u64,
    bytes_received: u64,
    /// It went through a closed gate, as the one request that may.
    probe: bool,
    /// The project behind the key as Google named it.
    consumer: Option<String>,
    why: WhyView,
}

impl AttemptView {
    fn of(state: &State, attempt: &Attempt) -> Self {
        let tried = &attempt.attempted;
        Self {
            seq: attempt.seq,
            attempt: tried.attempt,
            key: key_of(state, tried.key),
            project: tried.project.clone(),
            time: rfc3339(tried.started),
            latency_ms: tried.latency_ms,
            first_byte_ms: tried.first_byte_ms,
            status: tried.status,
            verdict: word(tried.verdict),
            reason: tried.reason.clone(),
            violations: tried.violations.iter().map(Into::into).collect(),
            retry_delay_ms: tried.retry_delay_ms,
            tokens: tried.tokens.into(),
            finish_reason: tried.finish_reason.clone(),
            bytes_sent: tried.bytes_sent,
            bytes_received: tried.bytes_received,
            probe: tried.probe,
            consumer: tried.consumer.clone(),
            why: (&tried.why).into(),
        }
    }
}

/// A body, as far as it was kept.
#[derive(Object)]
struct BodyView {
    content_type: Option<String>,
    /// How long it was.
    bytes: u64,
    /// The text is only its beginning.
    cut: bool,
    /// Without credentials; none: it is no text, or there was none.
    text: Option<String>,
}

impl From<bodies::Side> for BodyView {
    fn from(side: bodies::Side) -> Self {
        let bodies::Side { content_type, bytes, cut, text } = side;
        Self { content_type, bytes, cut, text }
    }
}

/// What was kept of a request's bodies.
#[derive(Object)]
struct BodiesView {
    /// What the client sent.
    request: BodyView,
    /// What it got.
    answer: BodyView,
}

/// A client's request with its tries.
#[derive(Object)]
pub(super) struct RequestLogDetail {
    #[oai(flatten)]
    request: RequestLogView,
    /// When its end was recorded (RFC 3339).
    recorded_at: String,
    /// In order.
    attempts: Vec<AttemptView>,
    /// None: they were not kept (LOG_BODIES), or their time is over.
    bodies: Option<BodiesView>,
}

impl RequestLogDetail {
    pub(super) fn of(pool: &Pool, entry: &Entry, kept: Option<bodies::Kept>) -> Self {
        let state = pool.ledger.state();
        Self {
            request: RequestLogView::of(&state, entry),
            recorded_at: rfc3339(entry.at),
            attempts: entry.attempts.iter().map(|attempt| AttemptView::of(&state, attempt)).collect(),
            bodies: kept.map(|kept| BodiesView { request: kept.request.into(), answer: kept.answer.into() }),
        }
    }
}

/// Values of each kind that are told; the others are in `total` alone.
const FACETS: usize = 1_000;

#[derive(Object)]
struct OutcomeCount {
    outcome: OutcomeName,
    count: u64,
}

#[derive(Object)]
struct StatusCount {
    /// 0: the client saw none.
    status: u16,
    count: u64,
}

#[derive(Object)]
struct ModelCount {
    /// Empty: none was named.
    model: String,
    count: u64,
}

#[derive(Object)]
struct ClientCount {
    /// None: requests of no client.
    client: Option<RequestClient>,
    count: u64,
}

#[derive(Object)]
struct KeyCount {
    key: RequestKey,
    count: u64,
}

/// How many requests there are. Of each kind at most 1,000 values, the most frequent first.
#[derive(Object)]
pub(super) struct RequestCounts {
    total: u64,
    outcomes: Vec<OutcomeCount>,
    statuses: Vec<StatusCount>,
    models: Vec<ModelCount>,
    clients: Vec<ClientCount>,
    /// A request counts once for each key that it was tried with.
    keys: Vec<KeyCount>,
    /// Of all tries.
    tokens: RequestTokens,
    /// Only while the index is being made.
    #[oai(skip_serializing_if_is_none)]
    indexing: Option<IndexProgress>,
}

impl RequestCounts {
    pub(super) fn of(pool: &Pool, tally: Tally, indexing: Option<Indexing>) -> Self {
        let state = pool.ledger.state();
        let [prompt, output, thoughts, cached] = tally.tokens;
        let (clients, keys) = (tally.clients.into_iter(), tally.keys.into_iter());
        let client = |client: ClientId| (client.0 != 0).then(|| client_of(&state, client));
        Self {
            total: tally.total,
            outcomes: tally
                .outcomes
                .into_iter()
                .map(|(outcome, count)| OutcomeCount { outcome: outcome.into(), count })
                .collect(),
            statuses: tally
                .statuses
                .into_iter()
                .take(FACETS)
                .map(|(status, count)| StatusCount { status, count })
                .collect(),
            models: tally
                .models
                .into_iter()
                .take(FACETS)
                .map(|(model, count)| ModelCount { model, count })
                .collect(),
            clients: clients
                .take(FACETS)
                .map(|(id, count)| ClientCount { client: client(id), count })
                .collect(),
            keys: keys.take(FACETS).map(|(id, count)| KeyCount { key: key_of(&state, id), count }).collect(),
            tokens: RequestTokens { prompt, output, thoughts, cached },
            indexing: indexing.map(Into::into),
        }
    }
}
