//! The pool's own answers to clients, in the shapes that Google's clients read.
//!
//! The one place where a cause becomes an HTTP answer on this side. Native errors
//! are `google.rpc.Status`; below `/openai/` the same in an array; Interactions
//! have a code in words. Always `application/json`, or the SDKs show raw text.

mod denied;

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use poem::{Body, Response};
use projections::Millis;
use serde_json::{Value, json};

use crate::{
    access::Denied,
    gemini::target::{BadTarget, Shape},
};

/// Longest `Retry-After`, in seconds: some clients sleep whatever it says.
const RETRY_AFTER_MOST: i64 = 60;

/// Longest text of a close frame, in bytes (RFC 6455 §5.5: 125 with the code).
const CLOSE_KEPT: usize = 123;

/// Why the pool answers by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The path means nothing.
    Target(BadTarget),
    /// No credential, or an unknown one.
    Unknown {
        /// Whether there was one.
        presented: bool,
    },
    /// An unknown credential, after so many of one address that not even their refusals are held any more.
    TooManyGuesses,
    /// A request without a credential that a page of another site may have made.
    OtherSite,
    /// A known client that may not.
    Denied(Denied),
    /// The body is too large; the limit in bytes.
    BodyTooLarge(usize),
    /// The body did not arrive.
    BodyBroken,
    /// The body came too slowly; the limit in bytes a second.
    BodyTooSlow(usize),
    /// The path is that of a Live session, and the request no WebSocket's.
    NoUpgrade,
    /// One of Google's short-lived tokens in the place of an access key, which the pool does not know.
    EphemeralToken,
    /// The first message of a Live session did not come; how long was waited, in seconds.
    NoSetup(u64),
    /// A message of a Live session is too large; the limit in bytes.
    MessageTooLarge(usize),
    /// Too many bodies in memory.
    NoMemory,
    /// Likewise; most of them are of one client, and this was one of those.
    MemoryShare,
    /// There is no key at all.
    NoKeys,
    /// Every key is out; back in so many milliseconds, where known.
    AllOut {
        /// The model asked for.
        model: String,
        /// Milliseconds until the first is expected back.
        back_in: Option<Millis>,
        /// Every project is out of its quota of the day, or of more than that.
        daily: bool,
    },
    /// Google took none of the keys that the request was tried with, and others are ready.
    TriesSpent {
        /// The model asked for.
        model: String,
    },
    /// As many requests wait for a key as may.
    QueueFull {
        /// The model asked for.
        model: String,
        /// Milliseconds until a key is expected back.
        back_in: Millis,
    },
    /// The model fails at Google, for everybody.
    ModelDown {
        /// The model asked for.
        model: String,
        /// Milliseconds until it is tried again.
        back_in: Millis,
    },
    /// Every key of the project that owns what the request names is out.
    OwnerOut {
        /// The model asked for.
        model: String,
        /// What it names.
        name: String,
        /// Whose that is.
        project: String,
        /// Milliseconds until the first of its keys is expected back.
        back_in: Option<Millis>,
    },
    /// The request names things of two projects: each is a name and its project.
    TwoProjects {
        /// One.
        first: (String, String),
        /// The other.
        second: (String, String),
    },
    /// A page token that this pool did not make, or whose project is gone.
    PageToken,
    /// A page of a list is too large to be put together with others, in bytes.
    PageTooLarge(usize),
    /// Google was not reached, or did not answer well, in all the tries allowed.
    Unanswered {
        /// What the last one came to.
        last: String,
    },
    /// No first byte in time.
    TooSlow {
        /// REQUEST_TIMEOUT, in seconds.
        seconds: u64,
    },
    /// The log cannot be written, and the operator wants nothing unrecorded.
    LogDown,
    /// The server is going down.
    Stopping,
}

impl Refusal {
    /// A stable word for it: in the log and, for clients, as `ErrorInfo.reason`.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Target(_) => "BAD_PATH",
            Self::Unknown { .. } => "CLIENT_KEY_INVALID",
            Self::TooManyGuesses => "TOO_MANY_WRONG_KEYS",
            Self::OtherSite => "OTHER_SITE",
            Self::Denied(denied) => denied::reason(denied),
            Self::BodyTooLarge(_) => "BODY_TOO_LARGE",
            Self::BodyBroken => "BODY_BROKEN",
            Self::BodyTooSlow(_) => "BODY_TOO_SLOW",
            Self::NoUpgrade => "NO_WEBSOCKET",
            Self::EphemeralToken => "EPHEMERAL_TOKEN",
            Self::NoSetup(_) => "NO_SETUP",
            Self::MessageTooLarge(_) => "MESSAGE_TOO_LARGE",
            Self::NoMemory => "BODY_MEMORY_FULL",
            Self::MemoryShare => "BODY_MEMORY_SHARE",
            Self::NoKeys => "NO_KEYS",
            Self::AllOut { .. } => "ALL_KEYS_OUT",
            Self::TriesSpent { .. } => "TRIES_SPENT",
            Self::QueueFull { .. } => "QUEUE_FULL",
            Self::ModelDown { .. } => "MODEL_DOWN",
            Self::OwnerOut { .. } => "OWNER_KEYS_OUT",
            Self::TwoProjects { .. } => "TWO_PROJECTS",
            Self::PageToken => "PAGE_TOKEN_INVALID",
            Self::PageTooLarge(_) => "PAGE_TOO_LARGE",
            Self::Unanswered { .. } => "UPSTREAM_UNAVAILABLE",
            Self::TooSlow { .. } => "UPSTREAM_TIMEOUT",
            Self::LogDown => "LOG_UNAVAILABLE",
            Self::Stopping => "STOPPING",
        }
    }

    fn status(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Target(_)
            | Self::BodyBroken
            | Self::NoSetup(_)
            | Self::TwoProjects { .. }
            | Self::PageToken => (StatusCode::BAD_REQUEST, "INVALID_ARGUMENT", "invalid_request"),
            Self::Unknown { .. } | Self::EphemeralToken => {
                (StatusCode::UNAUTHORIZED, "UNAUTHENTICATED", "authentication")
            }
            Self::OtherSite => (StatusCode::FORBIDDEN, "PERMISSION_DENIED", "permission_denied"),
            Self::Denied(denied) => denied::status(denied),
            Self::NoUpgrade => (StatusCode::UPGRADE_REQUIRED, "FAILED_PRECONDITION", "invalid_request"),
            Self::BodyTooLarge(_) | Self::MessageTooLarge(_) => {
                (StatusCode::PAYLOAD_TOO_LARGE, "INVALID_ARGUMENT", "invalid_request")
            }
            Self::AllOut { daily: true, .. } => {
                (StatusCode::TOO_MANY_REQUESTS, "RESOURCE_EXHAUSTED", "quota_exceeded")
            }
            Self::AllOut { .. } | Self::QueueFull { .. } | Self::OwnerOut { .. } | Self::TooManyGuesses => {
                (StatusCode::TOO_MANY_REQUESTS, "RESOURCE_EXHAUSTED", "rate_limit_exceeded")
            }
            // Clients take a 408 for one that may be asked again.
            Self::BodyTooSlow(_) => (StatusCode::REQUEST_TIMEOUT, "DEADLINE_EXCEEDED", "deadline_exceeded"),
            Self::TooSlow { .. } => (StatusCode::GATEWAY_TIMEOUT, "DEADLINE_EXCEEDED", "deadline_exceeded"),
            Self::PageTooLarge(_) => (StatusCode::BAD_GATEWAY, "UNAVAILABLE", "unavailable"),
            Self::NoMemory
            | Self::MemoryShare
            | Self::NoKeys
            | Self::ModelDown { .. }
            | Self::TriesSpent { .. }
            | Self::Unanswered { .. }
            | Self::LogDown
            | Self::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", "unavailable"),
        }
    }

    fn message(&self) -> String {
        match self {
            Self::Target(bad) => bad.to_string(),
            Self::Unknown { presented: false } => {
                "Gemini-Pool wants an access key: send it as x-goog-api-key, as Authorization: Bearer, or as ?key=."
                    .to_owned()
            }
            Self::Unknown { presented: true } => "Gemini-Pool does not know this access key. It wants one of its own \
                 (ALLOWED_API_KEYS, or `gemini-pool clients create`), not a Google API key."
                .to_owned(),
            Self::TooManyGuesses => "Too many wrong access keys came from this address: Gemini-Pool knows none of them. \
                 Please retry in 5s."
                .to_owned(),
            Self::OtherSite => "This Gemini-Pool has no access keys, and so it takes nothing from pages of other sites, \
                 nor by a name that is neither this machine's own nor that of PUBLIC_URL. With an access key \
                 (`gemini-pool clients create`) neither matters."
                .to_owned(),
            Self::Denied(denied) => denied::message(denied),
            Self::BodyTooLarge(most) => format!(
                "The request's body is over {most} bytes, the limit here (MAX_BODY_BYTES). Large media belong into the Files API, by a \
                 resumable upload: its pieces may be of any size."
            ),
            Self::BodyBroken => "The request's body did not arrive whole.".to_owned(),
            Self::BodyTooSlow(rate) => format!(
                "The request's body came too slowly: on the average over {rate} bytes a second are wanted, after the first \
                 30 s. Please retry over a better connection, or with a smaller body."
            ),
            Self::NoUpgrade => "The Live API is spoken over a WebSocket (version 13): this request asks for none.".to_owned(),
            Self::EphemeralToken => "Gemini-Pool does not know this ephemeral token: it was not made through this pool \
                 (POST /v1alpha/auth_tokens), it has expired, or the access key that it was made with is gone."
                .to_owned(),
            Self::NoSetup(seconds) => format!("No setup message came within {seconds} s."),
            Self::MessageTooLarge(most) => format!("A message is over {most} bytes, the limit here."),
            Self::NoMemory => "Too many large requests, or Live sessions, are under way (BODY_MEMORY_BYTES). Please retry in 1s."
                .to_owned(),
            Self::MemoryShare => "Too many large requests, or Live sessions, are under way (BODY_MEMORY_BYTES), most of them of \
                 this client, and others have some too: this one made room for them. Please retry in 1s, with fewer at once."
                .to_owned(),
            Self::NoKeys => "This Gemini-Pool has no key that may be used. Its operator can add one with `gemini-pool keys add`."
                .to_owned(),
            Self::AllOut { model, back_in, daily } => {
                let (model, of_today) = (named(model), if *daily { " of its quota of the day" } else { "" });
                match back_in {
                    Some(ms) => format!(
                        "Every key of this Gemini-Pool is out{of_today} for {model}. Please retry in {}.",
                        seconds(*ms)
                    ),
                    None => format!(
                        "Every key of this Gemini-Pool is out for {model}, and none comes back by itself: its operator \
                         must look (`gemini-pool keys list`)."
                    ),
                }
            }
            Self::TriesSpent { model } => format!(
                "Google refused {} with every key that was tried, and this Gemini-Pool tries no more for one request. \
                 Those keys are passed over now, and others are ready. Please retry in 1s.",
                named(model)
            ),
            Self::QueueFull { model, back_in } => format!(
                "Every key of this Gemini-Pool is out for {}, and too many requests wait for one already. Please retry \
                 in {}.",
                named(model),
                seconds(*back_in)
            ),
            Self::ModelDown { model, back_in } => format!(
                "{} fails at Google for every key at the moment. Please retry in {}.",
                named(model),
                seconds(*back_in)
            ),
            Self::OwnerOut { model, name, project, back_in } => {
                let what = if model.is_empty() { String::new() } else { format!(" for {model}") };
                let when = match back_in {
                    Some(ms) => format!("Please retry in {}.", seconds(*ms)),
                    None => "None of them comes back by itself: the operator must look (`gemini-pool keys list`)."
                        .to_owned(),
                };
                format!(
                    "{name} belongs to project {project}, and every key of that project is out{what}. No other project \
                     can serve it. {when}"
                )
            }
            Self::TwoProjects { first: (one, its), second: (other, another) } => format!(
                "{one} belongs to project {its} and {other} to project {another}: no key can use both. Make one of them \
                 again beside the other, or ask about one at a time."
            ),
            Self::PageToken => {
                "This pageToken is none of this Gemini-Pool's, or its project is gone: begin the list again.".to_owned()
            }
            Self::PageTooLarge(most) => format!("A page of this list is over {most} bytes: ask with a smaller pageSize."),
            Self::Unanswered { last } => format!("Google could not be reached through any key tried ({last})."),
            Self::TooSlow { seconds } => {
                format!("Google did not begin to answer within {seconds} s (REQUEST_TIMEOUT, or the request's own deadline).")
            }
            Self::LogDown => "The log cannot be written, and this Gemini-Pool serves nothing unrecorded (LOG_FAILURE=refuse).".to_owned(),
            Self::Stopping => "The server is stopping.".to_owned(),
        }
    }

    fn retry_in(&self) -> Option<Millis> {
        match self {
            Self::AllOut { back_in, .. } | Self::OwnerOut { back_in, .. } => *back_in,
            Self::QueueFull { back_in, .. } | Self::ModelDown { back_in, .. } => Some(*back_in),
            Self::Denied(denied) => denied::retry_in(denied),
            Self::NoMemory | Self::MemoryShare | Self::Stopping | Self::TriesSpent { .. } => Some(1_000),
            Self::TooManyGuesses => Some(5_000),
            _ => None,
        }
    }

    /// The same at the end of a Live session: a close code, and a text that fits into a close frame.
    #[must_use]
    pub fn close(&self) -> (u16, String) {
        let code = match self {
            Self::Stopping => 1001,
            Self::BodyBroken => 1002,
            Self::MessageTooLarge(_) | Self::BodyTooLarge(_) => 1009,
            Self::AllOut { .. }
            | Self::OwnerOut { .. }
            | Self::TriesSpent { .. }
            | Self::NoKeys
            | Self::NoMemory
            | Self::MemoryShare
            | Self::LogDown => 1013,
            Self::Unanswered { .. } | Self::TooSlow { .. } => 1011,
            _ => 1008,
        };
        let text = match (self, self.retry_in()) {
            (Self::AllOut { .. }, Some(ms)) => {
                format!("every key is out for this model; retry in {}s", seconds_up(ms))
            }
            (Self::AllOut { .. }, None) => "every key is out for this model".to_owned(),
            (Self::MemoryShare, _) => {
                "this client's sessions and requests hold most of the memory".to_owned()
            }
            (Self::BodyBroken, _) => "the frames of the session are broken".to_owned(),
            _ => self.message(),
        };
        (code, close_text(&format!("Gemini-Pool: {}: {text}", self.reason())))
    }

    /// The answer.
    #[must_use]
    pub fn respond(&self, shape: Shape) -> Response {
        let (status, name, word) = self.status();
        let body = self.body(shape, status, name, word);
        let mut response = Response::builder()
            .status(status)
            .header(header::CONTENT_TYPE, "application/json; charset=UTF-8")
            .body(Body::from_bytes(Bytes::from(body)));
        let headers = response.headers_mut();
        if let Some(ms) = self.retry_in() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds_up(ms).min(RETRY_AFTER_MOST)));
        }
        if *self == Self::TooManyGuesses {
            // Another guess wants another connection.
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if *self == Self::NoUpgrade {
            headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        let in_vain = self.retry_in().is_some_and(|ms| seconds_up(ms) > RETRY_AFTER_MOST)
            || matches!(self, Self::AllOut { back_in: None, .. } | Self::OwnerOut { back_in: None, .. });
        if in_vain {
            headers.insert("x-should-retry", HeaderValue::from_static("false"));
        }
        response
    }

    fn body(&self, shape: Shape, status: StatusCode, name: &str, word: &str) -> String {
        let message = self.message();
        if shape == Shape::Interactions {
            return format!("{:#}\n", json!({"error": {"code": word, "message": message}}));
        }
        let mut details = vec![json!({
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": self.reason(),
            "domain": "gemini-pool",
        })];
        // Gemini CLI gives up for the day where it reads PerDay (gemini-wire §5), so it has to be true.
        if let Self::AllOut { model, daily: true, .. } = self {
            details.push(json!({
                "@type": "type.googleapis.com/google.rpc.QuotaFailure",
                "violations": [{
                    "quotaMetric": "generativelanguage.googleapis.com/generate_requests_per_model_per_day",
                    "quotaId": "GenerateRequestsPerDayPerProjectPerModel",
                    "quotaDimensions": {"location": "global", "model": model},
                }],
            }));
        }
        if let Self::Denied(denied) = self {
            details.extend(denied::quota(denied));
        }
        if let Some(ms) = self.retry_in() {
            details.push(json!({
                "@type": "type.googleapis.com/google.rpc.RetryInfo",
                "retryDelay": seconds(ms),
            }));
        }
        let error = json!({"error": {
            "code": status.as_u16(), "message": message, "status": name, "details": details,
        }});
        match shape {
            Shape::OpenAi => format!("{:#}\n", Value::Array(vec![error])),
            Shape::Native | Shape::Interactions => format!("{error:#}\n"),
        }
    }
}

/// What people call what was asked for.
fn named(model: &str) -> &str {
    if model.is_empty() { "this request" } else { model }
}

/// Seconds as Google writes them, to the millisecond and with no more digits than it takes.
fn seconds(ms: Millis) -> String {
    let ms = ms.max(1);
    match ms % 1_000 {
        0 => format!("{}s", ms / 1_000),
        part => format!("{}.{part:03}s", ms / 1_000),
    }
}

/// Whole seconds, rounded up, at least one: a client that comes back then comes not too early.
fn seconds_up(ms: Millis) -> i64 {
    (ms.max(1) + 999) / 1_000
}

/// A text cut to what a close frame holds.
#[must_use]
pub fn close_text(text: &str) -> String {
    text.get(..text.floor_char_boundary(CLOSE_KEPT)).unwrap_or_default().to_owned()
}

/// How a stream that began is ended when the rest will not come: an event in the one form that the
/// SDKs read as an error (measured; gemini-wire §3.4 and §1.4).
#[must_use]
pub fn last_event(shape: Shape, how: &str) -> Bytes {
    let message = format!("Gemini-Pool: the answer from Google broke off: {how}.");
    let error = match shape {
        Shape::Interactions => {
            json!({"event_type": "error", "error": {"code": "unavailable", "message": message}})
        }
        Shape::Native | Shape::OpenAi => {
            json!({"error": {"code": 503, "message": message, "status": "UNAVAILABLE"}})
        }
    };
    Bytes::from(format!("data: {error}\r\n\r\n"))
}

#[cfg(test)]
mod tests;
