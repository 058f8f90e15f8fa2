//! One request with its tries, as the admin API gives it.

use poem_openapi::Object;
use projections::{
    State,
    event::{PassedOver, Violation, Why},
};

use super::shapes::{RequestKey, RequestLogView, RequestTokens, key_of, word};
use crate::{
    ledger::clock::rfc3339,
    pool::Pool,
    request_log::{Attempt, Entry, bodies},
};

/// Why a key was not in the choice, and how many such there were.
#[derive(Object)]
struct RequestPassedOver {
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
struct RequestWhy {
    strategy: String,
    /// The last event that the chooser had seen.
    seq: u64,
    /// Keys it could choose among.
    eligible: u32,
    /// Requests that the key had under way.
    in_flight: u32,
    passed_over: RequestPassedOver,
}

impl From<&Why> for RequestWhy {
    fn from(why: &Why) -> Self {
        let PassedOver { disabled, key_gate, project_gate, model_gate, tried, budget, other_models } =
            why.passed_over;
        Self {
            strategy: word(why.strategy),
            seq: why.seq,
            eligible: why.eligible,
            in_flight: why.in_flight,
            passed_over: RequestPassedOver {
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
struct RequestViolation {
    metric: String,
    id: String,
    model: Option<String>,
    limit: Option<u64>,
    /// Which window it is about, in the log's words.
    window: Option<String>,
}

impl From<&Violation> for RequestViolation {
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
struct RequestAttempt {
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
    violations: Vec<RequestViolation>,
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
    why: RequestWhy,
}

impl RequestAttempt {
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
struct RequestBody {
    content_type: Option<String>,
    /// How long it was.
    bytes: u64,
    /// The text is only its beginning.
    cut: bool,
    /// Without credentials; none: it is no text, or there was none.
    text: Option<String>,
}

impl From<bodies::Side> for RequestBody {
    fn from(side: bodies::Side) -> Self {
        let bodies::Side { content_type, bytes, cut, text } = side;
        Self { content_type, bytes, cut, text }
    }
}

/// What was kept of a request's bodies.
#[derive(Object)]
struct RequestBodies {
    /// What the client sent.
    request: RequestBody,
    /// What it got.
    answer: RequestBody,
}

/// A client's request with its tries.
#[derive(Object)]
pub(super) struct RequestLogDetail {
    #[oai(flatten)]
    request: RequestLogView,
    /// When its end was recorded (RFC 3339).
    recorded_at: String,
    /// In order.
    attempts: Vec<RequestAttempt>,
    /// None: they were not kept (LOG_BODIES), or their time is over.
    bodies: Option<RequestBodies>,
}

impl RequestLogDetail {
    pub(super) fn of(pool: &Pool, entry: &Entry, kept: Option<bodies::Kept>) -> Self {
        let state = pool.ledger.state();
        Self {
            request: RequestLogView::of(&state, entry),
            recorded_at: rfc3339(entry.at),
            attempts: entry.attempts.iter().map(|attempt| RequestAttempt::of(&state, attempt)).collect(),
            bodies: kept
                .map(|kept| RequestBodies { request: kept.request.into(), answer: kept.answer.into() }),
        }
    }
}
