//! What an answer of Google's means: whose fault, for how long, and what may be tried next.
//!
//! Owns the table from errors to verdicts. Refuses clocks, keys and models: it
//! says *what kind* of thing is at fault and *for how long*; the rules know which
//! one and what time it is. One invariant: **only Google's own words count**. A
//! message is believed by how it begins, never by what it contains further on,
//! because Google quotes clients in its errors and a client must not be able to
//! talk the pool out of its keys.

mod closing;
mod facts;
#[cfg(test)]
mod tests;

use std::io::Read;

use projections::event::{Verdict, Violation, Window};

pub use closing::classify_close;
use facts::Facts;

use super::route::Route;

/// What is at fault, as a kind; the caller knows which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// Nothing is.
    Nobody,
    /// The request.
    Client,
    /// The key.
    Key,
    /// The key, for the method that was called.
    Method,
    /// The key's project, with all its keys.
    Project,
    /// The key's project, for the model that was asked for.
    Model,
    /// The model, or Google.
    Upstream,
    /// The address the pool calls from.
    Egress,
    /// The pool.
    Pool,
}

/// For how long what is at fault is to be left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Not at all.
    None,
    /// Until a check passes.
    UntilChecked,
    /// For this long.
    For {
        /// Milliseconds.
        ms: i64,
    },
    /// Until one request at a time, let through after this long and later each time, succeeds.
    HalfOpen {
        /// Milliseconds to the first.
        ms: i64,
    },
    /// The same, shortly at first.
    Backoff,
    /// Until Google's day turns, at midnight Pacific.
    DayTurns,
    /// Not yet: a run of these closes the key.
    Streak,
    /// For a short time, longer each time in a row.
    Rest,
}

/// What an answer means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Classified {
    /// What the attempt came to.
    pub verdict: Verdict,
    /// What is at fault.
    pub blame: Blame,
    /// For how long to leave it alone.
    pub hold: Hold,
    /// Another key may do better.
    pub another: bool,
    /// The call was refused before it did anything, so even one that must not be
    /// made twice may be made again.
    pub proves_not_executed: bool,
    /// Google's word for it: `ErrorInfo.reason`, else the status, else the first
    /// line of the message. At most 120 bytes.
    pub reason: Option<String>,
    /// The limits Google named, at most 16.
    pub violations: Vec<Violation>,
    /// How long Google says to wait, in milliseconds; of two values the longer.
    pub retry_delay_ms: Option<i64>,
    /// The project behind the key, as `projects/N`.
    pub consumer: Option<String>,
}

impl Classified {
    /// What it means on this way: what is wrong with a way of the key's own is the key's trouble, and other keys go
    /// other ways.
    #[must_use]
    pub fn on(self, way: &Route) -> Self {
        if self.blame != Blame::Egress || *way == Route::Pool {
            return self;
        }
        Self { blame: Blame::Key, hold: Hold::Rest, another: true, ..self }
    }
}

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

impl From<Verdict> for Classified {
    /// The row of a verdict, with nothing known beside it. Enough for what never
    /// came as an answer: no connection, a broken one, silence.
    fn from(verdict: Verdict) -> Self {
        use Verdict as V;
        let (blame, hold, another) = match verdict {
            V::Success | V::Cancelled | V::Aborted => (Blame::Nobody, Hold::None, false),
            // A foreign resource is the request's business: no other key is tried,
            // because the one project that owns it was, or should have been, known.
            V::ClientFault | V::AffinityMiss => (Blame::Client, Hold::None, false),
            V::Location => (Blame::Egress, Hold::None, false),
            V::PoolFault => (Blame::Pool, Hold::None, false),
            V::BadKey | V::LeakedKey | V::SuspendedKey | V::RestrictedKey => {
                (Blame::Key, Hold::UntilChecked, true)
            }
            // Keys of the newer kind are refused like this now and then and work again.
            V::Unauthenticated => (Blame::Key, Hold::Streak, true),
            // A check calls one method and says nothing about another, so a time
            // and not a check reopens this one.
            V::MethodBlocked => (Blame::Method, Hold::For { ms: HOUR }, true),
            V::ServiceDisabled | V::ProjectDenied | V::BillingStopped => {
                (Blame::Project, Hold::UntilChecked, true)
            }
            V::ModelDenied => (Blame::Model, Hold::HalfOpen { ms: 10 * MINUTE }, true),
            // Whatever delay Google reports with it: a tier does not change in seconds.
            V::NotOffered => (Blame::Model, Hold::HalfOpen { ms: 6 * HOUR }, true),
            V::QuotaMinute | V::QuotaTokens => (Blame::Model, Hold::For { ms: MINUTE }, true),
            // The delay reported with a daily limit is short and disputed.
            V::QuotaDay => (Blame::Model, Hold::DayTurns, true),
            // A sliding window of ten minutes: some of it may be back before.
            V::QuotaSpend => (Blame::Model, Hold::HalfOpen { ms: 2 * MINUTE }, true),
            V::QuotaUnknown => (Blame::Model, Hold::Backoff, true),
            V::Overloaded | V::ServerError | V::ConnectionLost | V::TimedOut | V::EmptyAnswer => {
                (Blame::Upstream, Hold::Streak, true)
            }
            V::ConnectFailed => (Blame::Egress, Hold::None, true),
            // After the first byte: recorded, and held against nobody.
            V::Truncated | V::StreamError => (Blame::Nobody, Hold::None, false),
        };
        // Everything that is refused at the door, and what never got there. Errors of
        // the server prove nothing: the work may have been done (and 503s are said to
        // be counted).
        let proves_not_executed = match blame {
            Blame::Key | Blame::Method | Blame::Project | Blame::Model | Blame::Egress | Blame::Pool => true,
            Blame::Nobody | Blame::Client | Blame::Upstream => false,
        };
        Self {
            verdict,
            blame,
            hold,
            another,
            proves_not_executed,
            reason: None,
            violations: Vec::new(),
            retry_delay_ms: None,
            consumer: None,
        }
    }
}

/// Says what an answer means, from its status and body.
///
/// The body is decoded already and may be cut anywhere. Nothing in it makes this
/// fail: what cannot be read is judged by the status alone.
#[must_use]
pub fn classify(status: u16, content_type: Option<&str>, body: &[u8]) -> Classified {
    if (200..300).contains(&status) {
        return Verdict::Success.into();
    }
    if is_html(content_type, body) {
        return classify_page(status, body);
    }
    let facts = Facts::read(body);
    let verdict = judge(status, &facts);
    let mut classified = Classified::from(verdict);
    let wait = facts.retry_ms.filter(|ms| *ms > 0);
    if let (Verdict::QuotaMinute | Verdict::QuotaTokens | Verdict::QuotaUnknown, Some(ms)) = (verdict, wait) {
        classified.hold = Hold::For { ms };
    }
    // A project named in running text is believed only where the text is Google's own.
    let in_text = match verdict {
        Verdict::ServiceDisabled | Verdict::ProjectDenied | Verdict::BillingStopped => {
            facts.consumer_in_text.clone()
        }
        _ => None,
    };
    Classified {
        reason: facts.word(),
        retry_delay_ms: wait,
        consumer: facts.consumer.or(in_text),
        violations: facts.violations,
        ..classified
    }
}

/// The HTTP status that an error object stands for when it comes inside a stream of
/// status 200; 500 where it does not say.
#[must_use]
pub fn status_in(error: &[u8]) -> u16 {
    Facts::read(error).http_status().unwrap_or(500)
}

/// The table, in order. Statuses are the coarse grid; within one, Google's reason is
/// asked first and the beginning of its message second (many errors have no details).
fn judge(status: u16, facts: &Facts) -> Verdict {
    match status {
        402 => Verdict::BillingStopped,
        404 if facts.is_about_a_resource() => Verdict::AffinityMiss,
        404 => Verdict::ClientFault,
        429 => judge_quota(facts),
        503 => Verdict::Overloaded,
        // Not implemented: the request asks for what does not exist.
        501 => Verdict::ClientFault,
        499 | 500.. => Verdict::ServerError,
        400..=403 => judge_refusal(status, facts),
        _ => Verdict::ClientFault,
    }
}

/// 400, 401 and 403: the credential, the project, the place, or the request.
fn judge_refusal(status: u16, facts: &Facts) -> Verdict {
    let starts = |beginnings: &[&str]| facts.begins_with_one_of(beginnings);
    let by_reason = match facts.reason.as_str() {
        "API_KEY_INVALID" => Some(Verdict::BadKey),
        "CONSUMER_SUSPENDED" => Some(Verdict::SuspendedKey),
        "SERVICE_DISABLED" => Some(Verdict::ServiceDisabled),
        "CONSUMER_INVALID" => Some(Verdict::ProjectDenied),
        "BILLING_DISABLED" => Some(Verdict::BillingStopped),
        "API_KEY_SERVICE_BLOCKED" => Some(Verdict::MethodBlocked),
        "API_KEY_IP_ADDRESS_BLOCKED"
        | "API_KEY_HTTP_REFERRER_BLOCKED"
        | "API_KEY_ANDROID_APP_BLOCKED"
        | "API_KEY_IOS_APP_BLOCKED" => Some(Verdict::RestrictedKey),
        // A method that takes no API keys at all, which is the client's to know, says
        // the same as a call without a credential, which is the pool's mistake.
        "CREDENTIALS_MISSING" if starts(&["api keys are not supported"]) => Some(Verdict::ClientFault),
        "CREDENTIALS_MISSING" | "OVERLOADED_CREDENTIALS" => Some(Verdict::PoolFault),
        _ => None,
    };
    if let Some(verdict) = by_reason {
        return verdict;
    }
    if facts.is_about_a_resource() {
        return Verdict::AffinityMiss;
    }
    if starts(&["api key not valid", "api key expired", "api key not found"]) {
        return Verdict::BadKey;
    }
    if starts(&["multiple authentication credentials", "method doesn't allow unregistered callers"]) {
        return Verdict::PoolFault;
    }
    if starts(&["user location is not supported"]) {
        return Verdict::Location;
    }
    if starts(&["your prepayment credits", "this api method requires billing"]) {
        return Verdict::BillingStopped;
    }
    // Said to free projects in some countries: a paid one is served there.
    if starts(&["your project has been denied access", "gemini api free tier is not available"]) {
        return Verdict::ProjectDenied;
    }
    match status {
        401 => Verdict::Unauthenticated,
        403 if starts(&["your api key was reported as leaked"]) => Verdict::LeakedKey,
        403 if starts(&["permission denied: consumer"]) && facts.says("has been suspended") => {
            Verdict::SuspendedKey
        }
        403 if starts(&["generative language api has not been used in project"]) => Verdict::ServiceDisabled,
        403 if starts(&["requests to this api"]) && facts.says("are blocked") => Verdict::MethodBlocked,
        403 if starts(&["requests from"]) && facts.says("are blocked") => Verdict::RestrictedKey,
        403 if starts(&["the provided api key has an ip address restriction"]) => Verdict::RestrictedKey,
        403 if starts(&["the caller does not have permission"]) => Verdict::ModelDenied,
        _ => Verdict::ClientFault,
    }
}

/// 429: which limit.
fn judge_quota(facts: &Facts) -> Verdict {
    let any = |window| facts.violations.iter().any(|violation| violation.window == Some(window));
    if facts.begins_with_one_of(&["your prepayment credits"]) || facts.code == "payment_required" {
        Verdict::BillingStopped
    } else if facts.none_offered {
        Verdict::NotOffered
    } else if any(Window::Day) || facts.code == "quota_exceeded" {
        Verdict::QuotaDay
    } else if any(Window::Spend) || facts.says("spend limit") || facts.says("spending limit") {
        Verdict::QuotaSpend
    } else if any(Window::Tokens) && !any(Window::Minute) {
        Verdict::QuotaTokens
    } else if any(Window::Minute) || facts.code == "rate_limit_exceeded" {
        Verdict::QuotaMinute
    } else {
        Verdict::QuotaUnknown
    }
}

fn is_html(content_type: Option<&str>, body: &[u8]) -> bool {
    match body.trim_ascii_start().first() {
        Some(b'{' | b'[') => false,
        Some(b'<') => true,
        _ => {
            content_type.is_some_and(|value| value.trim_start().to_ascii_lowercase().starts_with("text/html"))
        }
    }
}

/// A page comes from Google's front end, before any key was looked at.
fn classify_page(status: u16, body: &[u8]) -> Classified {
    if memchr::memmem::find(body, b"automated queries").is_some() {
        // The address the pool calls from is suspected of being a robot. That is a
        // property of the egress, like its country: every key would get this page, and
        // trying them all makes it worse.
        return Classified { reason: Some("automated queries".into()), ..Verdict::Location.into() };
    }
    let verdict = match status {
        // Without Google's words a 401 does not tell that the key is bad.
        401 | 402 => Verdict::ClientFault,
        _ => judge(status, &Facts::default()),
    };
    verdict.into()
}

/// Decodes a gzipped body, up to `limit` bytes.
///
/// A torn body gives what could be decoded, a bomb stops at the limit, and what is
/// not gzip gives none.
#[must_use]
pub fn gunzip(body: &[u8], limit: usize) -> Option<Vec<u8>> {
    let mut decoded = Vec::new();
    let limit = u64::try_from(limit).unwrap_or(u64::MAX);
    let whole = flate2::read::MultiGzDecoder::new(body).take(limit).read_to_end(&mut decoded);
    // read_to_end keeps what it got before an error.
    (whole.is_ok() || !decoded.is_empty()).then_some(decoded)
}
