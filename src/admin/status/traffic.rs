//! What was served, how fast, and for whom.

use poem_openapi::{
    Enum, Object,
    types::{ParseFromJSON, ToJSON, Type},
};
use projections::{
    Millis, State,
    statistics::{Bucket, OTHER, Range, Sums, Track, Window, counts::Histogram, track},
};

use crate::{ledger::clock::rfc3339, words::word};

/// The busiest, shown at most.
const TOP: usize = 50;

/// How far back from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub(in crate::admin) enum RangeName {
    /// 15 minutes.
    #[oai(rename = "15m")]
    Quarter,
    /// An hour.
    #[oai(rename = "1h")]
    Hour,
    /// 24 hours.
    #[oai(rename = "24h")]
    Day,
    /// 7 days.
    #[oai(rename = "7d")]
    Week,
    /// 30 days.
    #[oai(rename = "30d")]
    Month,
}

impl From<RangeName> for Range {
    fn from(name: RangeName) -> Self {
        match name {
            RangeName::Quarter => Self::Quarter,
            RangeName::Hour => Self::Hour,
            RangeName::Day => Self::Day,
            RangeName::Week => Self::Week,
            RangeName::Month => Self::Month,
        }
    }
}

impl From<Range> for RangeName {
    fn from(range: Range) -> Self {
        match range {
            Range::Quarter => Self::Quarter,
            Range::Hour => Self::Hour,
            Range::Day => Self::Day,
            Range::Week => Self::Week,
            Range::Month => Self::Month,
        }
    }
}

/// Client requests, by how they ended.
#[derive(Debug, Object)]
#[oai(rename = "RequestSums")]
struct RequestCounts {
    total: u64,
    /// Answers of Google's that went out whole.
    served: u64,
    /// Answers of Google's that were errors, passed back.
    errors: u64,
    /// Answers that broke.
    truncated: u64,
    /// Requests whose client went away.
    cancelled: u64,
    /// Requests that the pool refused or gave up.
    refused: u64,
}

/// Something counted, by its name.
#[derive(Debug, Object)]
struct NamedCount {
    name: String,
    count: u64,
}

/// Tokens as Google counted them.
#[derive(Debug, Object)]
struct TokenCounts {
    /// In prompts, cached ones included.
    prompt: u64,
    /// In answers, without thoughts.
    output: u64,
    thoughts: u64,
    /// Of the prompts, from Google's cache.
    cached: u64,
    /// What is paid for: prompts, answers and thoughts.
    total: u64,
}

/// How long something took, in milliseconds; each within 3.2 %. None, where nothing was counted.
#[derive(Debug, Object)]
struct Times {
    count: u64,
    mean_ms: Option<f64>,
    p50_ms: Option<u64>,
    p95_ms: Option<u64>,
    p99_ms: Option<u64>,
}

impl Times {
    fn of(histogram: &Histogram) -> Self {
        let count = histogram.count();
        Self {
            count,
            mean_ms: mean(histogram.sum_ms(), count),
            p50_ms: histogram.quantile(500),
            p95_ms: histogram.quantile(950),
            p99_ms: histogram.quantile(990),
        }
    }
}

/// To a tenth.
fn mean(sum: u64, count: u64) -> Option<f64> {
    (count > 0).then(|| (sum as f64 / count as f64 * 10.0).round() / 10.0)
}

/// What the pool did in a range.
#[derive(Debug, Object)]
pub(super) struct Traffic {
    /// When the range begins (RFC 3339): with a whole bucket.
    since: String,
    requests: RequestCounts,
    /// Requests in a minute, on average.
    requests_per_minute: f64,
    /// Those of them that failed, whoever is to blame: errors, truncated and refused ones.
    errors_per_minute: f64,
    /// Requests by the class of the status that the client saw: `2xx`, and `none` where it saw none.
    statuses: Vec<NamedCount>,
    /// Upstream tries.
    attempts: u64,
    /// Those of them that came to nothing, and not by the client's doing.
    attempts_wasted: u64,
    /// Tries by what they came to.
    verdicts: Vec<NamedCount>,
    tokens: TokenCounts,
    /// Bytes of bodies sent to Google.
    bytes_sent: u64,
    /// Bytes of answers from Google.
    bytes_received: u64,
    /// Bytes of answers to clients.
    bytes_served: u64,
    /// From a request's arrival to the first byte of a good answer.
    first_byte: Times,
    /// From a request's arrival to the end of a good answer; not of Live sessions.
    duration: Times,
    /// How long requests waited for a key, those that did.
    waited: Times,
}

fn per_minute(count: u64, ms: Millis) -> f64 {
    let rate = count as f64 * 60_000.0 / ms.max(1) as f64;
    (rate * 1_000.0).round() / 1_000.0
}

impl Traffic {
    pub(super) fn of(window: &Window, now: Millis) -> Self {
        let sum = &window.sum;
        let requests = &sum.requests;
        let passed = now.saturating_sub(window.since);
        let tokens = &sum.tokens;
        let classes = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"].into_iter().zip(sum.classes);
        let named = |(name, count): (&str, u64)| NamedCount { name: name.to_owned(), count };
        Self {
            since: rfc3339(window.since),
            requests: RequestCounts {
                total: requests.count(),
                served: requests.served,
                errors: requests.errors,
                truncated: requests.truncated,
                cancelled: requests.cancelled,
                refused: requests.refused,
            },
            requests_per_minute: per_minute(requests.count(), passed),
            errors_per_minute: per_minute(requests.failed(), passed),
            statuses: classes.filter(|(_, count)| *count > 0).map(named).collect(),
            attempts: sum.attempts(),
            attempts_wasted: sum.wasted(),
            verdicts: sum
                .verdicts
                .iter()
                .map(|(verdict, count)| NamedCount { name: word(verdict), count })
                .collect(),
            tokens: TokenCounts {
                prompt: tokens.prompt,
                output: tokens.output,
                thoughts: tokens.thoughts,
                cached: tokens.cached,
                total: tokens.total(),
            },
            bytes_sent: sum.bytes_sent,
            bytes_received: sum.bytes_received,
            bytes_served: sum.bytes_served,
            first_byte: Times::of(&sum.first_byte),
            duration: Times::of(&sum.duration),
            waited: Times::of(&sum.waited),
        }
    }
}

/// One bucket of the plot.
#[derive(Debug, Default, Object)]
pub(super) struct Point {
    /// When it begins (RFC 3339).
    at: String,
    requests: u64,
    /// Those of them that failed, whoever is to blame.
    errors: u64,
    attempts: u64,
    attempts_wasted: u64,
    /// What is paid for.
    tokens: u64,
    /// None, where no good answer began.
    first_byte_p50_ms: Option<u64>,
    first_byte_p95_ms: Option<u64>,
    duration_p50_ms: Option<u64>,
    duration_p95_ms: Option<u64>,
}

impl Point {
    pub(super) fn of(at: Millis, bucket: Option<&Bucket>) -> Self {
        let at = rfc3339(at);
        let Some(bucket) = bucket else { return Self { at, ..Self::default() } };
        Self {
            at,
            requests: bucket.requests.count(),
            errors: bucket.requests.failed(),
            attempts: bucket.attempts(),
            attempts_wasted: bucket.wasted(),
            tokens: bucket.tokens.total(),
            first_byte_p50_ms: bucket.first_byte.quantile(500),
            first_byte_p95_ms: bucket.first_byte.quantile(950),
            duration_p50_ms: bucket.duration.quantile(500),
            duration_p95_ms: bucket.duration.quantile(950),
        }
    }
}

/// Sums over a range.
#[derive(Debug, Object)]
pub(in crate::admin) struct Use {
    /// Requests; of a key, upstream tries.
    pub(in crate::admin) count: u64,
    /// Those of them that failed; of a key, not by the client's doing.
    pub(in crate::admin) errors: u64,
    /// Tokens that are paid for.
    pub(in crate::admin) tokens: u64,
    /// How long they took on average.
    pub(in crate::admin) mean_ms: Option<f64>,
}

impl From<Sums> for Use {
    fn from(sums: Sums) -> Self {
        let mean_ms = mean(sums.latency_ms, sums.count);
        Self { count: sums.count, errors: sums.errors, tokens: sums.tokens, mean_ms }
    }
}

/// The last thing that went wrong.
#[derive(Debug, Object)]
pub(in crate::admin) struct LastError {
    /// When (RFC 3339).
    at: String,
    /// What a try came to, where it was one.
    verdict: Option<String>,
    /// The HTTP status; 0: there was none.
    status: u16,
    /// The event that tells it.
    seq: u64,
}

pub(in crate::admin) fn last_error(track: &Track) -> Option<LastError> {
    track.failure.map(|failure| LastError {
        at: rfc3339(failure.at),
        verdict: failure.verdict.map(word),
        status: failure.status,
        seq: failure.seq,
    })
}

/// The busiest, most first, and the others together.
#[derive(Debug, Object)]
pub(super) struct Breakdown<T: ParseFromJSON + ToJSON + Type + Send + Sync> {
    /// When its range begins (RFC 3339): its buckets are wider than those of the whole pool, and so this is earlier.
    since: String,
    top: Vec<T>,
    /// All others together.
    rest: Use,
}

/// A model's.
#[derive(Debug, Object)]
pub(super) struct ModelUse {
    /// As asked for; empty: none was named.
    model: String,
    #[oai(flatten)]
    sums: Use,
    last_error: Option<LastError>,
}

/// A key's.
#[derive(Debug, Object)]
pub(super) struct KeyUse {
    key: u32,
    label: String,
    project: String,
    #[oai(flatten)]
    sums: Use,
    last_error: Option<LastError>,
}

/// A client's.
#[derive(Debug, Object)]
pub(super) struct ClientUse {
    client: u32,
    /// What people call it.
    name: String,
    #[oai(flatten)]
    sums: Use,
    last_error: Option<LastError>,
}

pub(super) fn by_model(state: &State, range: Range, now: Millis) -> Breakdown<ModelUse> {
    let (top, rest) = state.statistics.models.top(range, now, TOP);
    let top = top.into_iter().map(|(model, track, sums)| ModelUse {
        model: model.clone(),
        sums: sums.into(),
        last_error: last_error(track),
    });
    Breakdown { since: rfc3339(track::since(range, now)), top: top.collect(), rest: rest.into() }
}

pub(super) fn by_key(state: &State, range: Range, now: Millis) -> Breakdown<KeyUse> {
    let (top, rest) = state.statistics.keys.top(range, now, TOP);
    let top = top.into_iter().map(|(id, track, sums)| {
        // A try that ended after its key was removed.
        let known = state.keys.get(*id).map(|key| (key.label.clone(), key.project.clone()));
        let (label, project) = known.unwrap_or_else(|| (OTHER.to_owned(), String::new()));
        KeyUse { key: id.0, label, project, sums: sums.into(), last_error: last_error(track) }
    });
    Breakdown { since: rfc3339(track::since(range, now)), top: top.collect(), rest: rest.into() }
}

pub(super) fn by_client(state: &State, range: Range, now: Millis) -> Breakdown<ClientUse> {
    let (top, rest) = state.statistics.clients.top(range, now, TOP);
    let top = top.into_iter().map(|(id, track, sums)| ClientUse {
        client: id.0,
        name: state.access.get(*id).map(|client| client.name.clone()).unwrap_or_default(),
        sums: sums.into(),
        last_error: last_error(track),
    });
    Breakdown { since: rfc3339(track::since(range, now)), top: top.collect(), rest: rest.into() }
}
