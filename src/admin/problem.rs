//! Errors of the admin API: problem+json (RFC 9457), each with a stable `code`.
//!
//! Owns the catalogue of codes, and which errors of the parts below become which of them. Refuses to quote
//! what was sent, which may hold a secret. Its invariant: an operation gives no other status than it declares
//! ([`Failure`]), and a code never changes its status.

use poem::{IntoResponse, Response, http::StatusCode};
use poem_openapi::{
    ApiResponse, Object,
    payload::{Json, Payload},
    registry::{MetaHeader, MetaMediaType, MetaResponse, MetaResponses, Registry},
    types::Type,
};

use crate::{
    feed::NoFeed,
    health::{checkup::NoCheckup, prober::NotChecked},
    ledger::{CommitError, OpenError, PastError, rules::Refused},
    pool::{self, LoginError},
    request_log,
    shares::Full,
};

/// One thing that is wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq, Object)]
pub(super) struct Wrong {
    /// Which field, setting or parameter.
    pub(super) name: String,
    /// What it wants instead.
    pub(super) wants: String,
}

/// What went wrong (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Object)]
pub(super) struct Detail {
    /// In short; the same for every problem of this code.
    pub(super) title: String,
    /// The HTTP status.
    #[oai(validator(minimum(value = "400"), maximum(value = "599")))]
    pub(super) status: u16,
    /// What was wrong, and what to do.
    pub(super) detail: String,
    /// A stable word for it.
    pub(super) code: String,
    /// All that was wrong, where that is told one by one.
    #[oai(default, skip_serializing_if_is_empty)]
    pub(super) errors: Vec<Wrong>,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $status:literal $word:literal $title:literal;)*) => {
        /// Every kind of problem: status, stable word, title.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Code {
            $($(#[$doc])* $name,)*
        }

        impl Code {
            /// All of them.
            #[cfg(test)]
            const ALL: &[Self] = &[$(Self::$name),*];

            /// The HTTP status, the word in `code`, and the title.
            #[must_use]
            pub(super) const fn parts(self) -> (u16, &'static str, &'static str) {
                match self {
                    $(Self::$name => ($status, $word, $title),)*
                }
            }
        }
    };
}

codes! {
    /// Something in the request is wrong.
    BadRequest = 400 "bad_request" "Bad request";
    /// The body is not what the call takes.
    BadBody = 400 "bad_body" "Bad body";
    /// A parameter is not what the call takes.
    BadParameter = 400 "bad_parameter" "Bad parameter";
    /// A cursor that no answer gave for this list.
    BadCursor = 400 "bad_cursor" "Bad cursor";
    /// Settings that cannot be so.
    BadSettings = 400 "bad_settings" "Bad settings";
    /// Not an upstream key.
    NotAKey = 400 "not_a_key" "Not a key";
    /// No token, or none that is good.
    NotLoggedIn = 401 "not_logged_in" "Not logged in";
    /// A wrong name or password.
    WrongLogin = 401 "wrong_login" "Wrong login";
    /// A change by a browser's cookie that may be another site's.
    CrossSite = 403 "cross_site" "Cross-site request";
    /// A secret is asked for by the cookie of a session that began a while ago.
    LoginNeededAgain = 403 "login_needed_again" "Login needed again";
    /// No such thing.
    NotFound = 404 "not_found" "Not found";
    /// A path with another method.
    MethodNotAllowed = 405 "method_not_allowed" "Method not allowed";
    /// Resources at Google could not be reached any more.
    ResourcesLive = 409 "resources_live" "Resources live";
    /// A secret that is another's.
    SecretTaken = 409 "secret_taken" "Secret taken";
    /// What the environment says, the program does not change.
    OfEnvironment = 409 "of_environment" "Of the environment";
    /// As many clients as there may be.
    TooManyClients = 409 "too_many_clients" "Too many clients";
    /// The key is in the pool already.
    DuplicateKey = 409 "duplicate_key" "Duplicate key";
    /// The log does not go as far as the asker thinks.
    PositionAhead = 409 "position_ahead" "Not in this log";
    /// Old traffic was dropped, and with it what the pool was then.
    Dropped = 410 "dropped" "Dropped from the log";
    /// It is not as the asker saw it.
    ChangedMeanwhile = 412 "changed_meanwhile" "Changed meanwhile";
    /// The body takes too long.
    BodyTooSlow = 408 "body_too_slow" "Body too slow";
    /// The body is too large.
    TooLarge = 413 "too_large" "Too large";
    /// The body's type is not JSON.
    UnsupportedMediaType = 415 "unsupported_media_type" "Unsupported media type";
    /// One Idempotency-Key for two different requests.
    IdempotencyKeyReused = 422 "idempotency_key_reused" "Idempotency key reused";
    /// Wrong logins wait.
    TooManyLogins = 429 "too_many_logins" "Too many wrong logins";
    /// As many listen to the feed as may.
    TooManyReaders = 429 "too_many_readers" "Too many readers";
    /// As many jobs as may run already do.
    TooManyJobs = 429 "too_many_jobs" "Too many jobs";
    /// As many exports or backups as may run already do.
    TooManyAtOnce = 429 "too_many_at_once" "Too many at once";
    /// As many calls with an Idempotency-Key as may run already do.
    TooManyRepeats = 429 "too_many_repeats" "Too many calls with an Idempotency-Key";
    /// A fault of the pool's own.
    Internal = 500 "internal" "Internal error";
    /// The index of requests is being made.
    Indexing = 503 "indexing" "Indexing";
    /// Other requests hold the memory for bodies.
    NoMemory = 503 "no_memory" "No memory for bodies";
    /// The log cannot be written or read.
    LogUnavailable = 503 "log_unavailable" "The log is not available";
    /// The service goes down.
    Stopping = 503 "stopping" "Stopping";
}

/// An error answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    code: Code,
    detail: String,
    errors: Vec<Wrong>,
    /// Seconds after which to try again.
    retry_after: Option<u64>,
}

impl Problem {
    /// One of this kind.
    pub(super) fn of(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), errors: Vec::new(), retry_after: None }
    }

    /// The same, with all that was wrong one by one.
    pub(super) fn with(self, errors: Vec<Wrong>) -> Self {
        Self { errors, ..self }
    }

    /// The same, to be tried again after so many seconds.
    pub(super) fn after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    pub(super) fn status(&self) -> u16 {
        self.code.parts().0
    }

    pub(super) fn bad_request(text: impl Into<String>) -> Self {
        Self::of(Code::BadRequest, text)
    }

    pub(super) fn unauthenticated() -> Self {
        let text = "log in at POST /api/login and send the token as Authorization: Bearer";
        Self::of(Code::NotLoggedIn, text)
    }

    pub(super) fn login_needed_again() -> Self {
        let text = "a browser is shown secrets for five minutes after a login: POST /api/login again, and repeat this";
        Self::of(Code::LoginNeededAgain, text)
    }

    pub(super) fn wrong_login() -> Self {
        Self::of(Code::WrongLogin, "the name or the password is wrong")
    }

    pub(super) fn too_many(ms: i64) -> Self {
        let seconds = u64::try_from((ms + 999) / 1_000).unwrap_or(1);
        Self::of(Code::TooManyLogins, format!("too many wrong logins; the next one counts in {seconds} s"))
            .after(seconds)
    }

    pub(super) fn bad_cursor() -> Self {
        let text =
            "the cursor is not one of this list: take `next` of the page before, with the same parameters";
        Self::of(Code::BadCursor, text)
    }

    pub(super) fn indexing(done: u64, of: u64) -> Self {
        let text = format!("the index of requests is being made: {done} of {of} events; ask again later");
        Self::of(Code::Indexing, text)
    }

    pub(super) fn not_found(text: impl Into<String>) -> Self {
        Self::of(Code::NotFound, text)
    }

    pub(super) fn unavailable(text: impl Into<String>) -> Self {
        Self::of(Code::LogUnavailable, text)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, word, title) = self.code.parts();
        let Self { detail, errors, retry_after, .. } = self;
        let body = Detail { title: title.to_owned(), status, detail, code: word.to_owned(), errors };
        let mut response = Json(body).into_response();
        response.set_status(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
        let headers = response.headers_mut();
        headers.insert("content-type", poem::http::HeaderValue::from_static(PROBLEM_JSON));
        if status == 401 {
            headers.insert("www-authenticate", poem::http::HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = retry_after {
            headers.insert("retry-after", seconds.into());
        }
        response
    }
}

impl From<Problem> for poem::Error {
    fn from(problem: Problem) -> Self {
        Self::from_response(problem.into_response())
    }
}

const PROBLEM_JSON: &str = "application/problem+json";

/// 400: the request can be wrong.
pub(super) const INPUT: u16 = 1;
/// 401: it is for administrators.
pub(super) const AUTH: u16 = 2;
/// 404: what it is about can be missing.
pub(super) const MISSING: u16 = 4;
/// 409: something can stand in the way.
pub(super) const CONFLICT: u16 = 8;
/// 412: it can be made against something else than there is.
pub(super) const STALE: u16 = 16;
/// 400, 413 and 415: it has a body.
pub(super) const BODY: u16 = 32 | INPUT;
/// 422: it can be one of several with one Idempotency-Key.
pub(super) const REUSED: u16 = 64;
/// 429: there can be too many of it.
pub(super) const BUSY: u16 = 128;
/// 503: it needs the log.
pub(super) const LOG: u16 = 256;

/// 410: it can be older than what the log kept.
pub(super) const GONE: u16 = 512;

/// 403: it shows a secret, and a browser's session may have begun too long ago for that.
pub(super) const FRESH: u16 = 1024;

/// The bits, the statuses they stand for, and what each means.
const MEANINGS: [(u16, u16, &str); 12] = [
    (INPUT, 400, "The request is wrong."),
    (AUTH, 401, "No token, or none that is good."),
    (FRESH, 403, "The browser's session began more than five minutes ago: log in again."),
    (MISSING, 404, "No such thing."),
    (CONFLICT, 409, "Something stands in the way."),
    (GONE, 410, "It is older than what the log kept."),
    (STALE, 412, "It was changed meanwhile: its ETag is not the one in If-Match."),
    (32, 413, "The body is too large."),
    (32, 415, "The body is not JSON."),
    (REUSED, 422, "The Idempotency-Key belongs to another request."),
    (BUSY, 429, "Too many: try again later."),
    (LOG, 503, "The log cannot be written or read, or the service stops; nothing was changed."),
];

/// An error answer of an operation that gives none but those with the statuses it may.
#[derive(Debug)]
pub(super) struct Failure<const MAY: u16>(Problem);

impl<const MAY: u16, E: Into<Problem>> From<E> for Failure<MAY> {
    fn from(error: E) -> Self {
        let problem: Problem = error.into();
        let declared = MEANINGS.iter().any(|(bit, status, _)| MAY & bit != 0 && *status == problem.status());
        debug_assert!(declared, "an operation gives a status that it does not declare: {problem:?}");
        Self(problem)
    }
}

impl<const MAY: u16> From<Failure<MAY>> for poem::Error {
    fn from(failure: Failure<MAY>) -> Self {
        failure.0.into()
    }
}

impl<const MAY: u16> ApiResponse for Failure<MAY> {
    fn meta() -> MetaResponses {
        let may = MEANINGS.iter().filter(|(bit, ..)| MAY & bit != 0);
        let responses = may.map(|&(_, status, description)| MetaResponse {
            description,
            status: Some(status),
            status_range: None,
            content: vec![MetaMediaType {
                content_type: PROBLEM_JSON,
                schema: <Json<Detail> as Payload>::schema_ref(),
            }],
            headers: if status == 429 { vec![retry_after()] } else { Vec::new() },
        });
        MetaResponses { responses: responses.collect() }
    }

    fn register(registry: &mut Registry) {
        <Json<Detail> as Payload>::register(registry);
    }
}

fn retry_after() -> MetaHeader {
    MetaHeader {
        name: "Retry-After".to_owned(),
        description: Some("Seconds after which to try again.".to_owned()),
        required: false,
        deprecated: false,
        schema: u64::schema_ref(),
    }
}

/// For operations that do not say which statuses they give: all of them.
impl ApiResponse for Problem {
    fn meta() -> MetaResponses {
        Failure::<{ u16::MAX }>::meta()
    }

    fn register(registry: &mut Registry) {
        Failure::<{ u16::MAX }>::register(registry);
    }
}

impl From<CommitError> for Problem {
    fn from(error: CommitError) -> Self {
        let refused = match error {
            CommitError::Refused(refused) => refused,
            CommitError::Stopping => return Self::of(Code::Stopping, error.to_string()),
            CommitError::Log(_) | CommitError::NotDurable(_) => return Self::unavailable(error.to_string()),
        };
        let text = refused.to_string();
        match refused {
            Refused::NoSuchKey(_) | Refused::NoSuchClient(_) => Self::not_found(text),
            Refused::SecretTaken(_) => Self::of(Code::SecretTaken, text),
            Refused::OfEnvironment(_) => Self::of(Code::OfEnvironment, text),
            Refused::TooManyClients(_) => Self::of(Code::TooManyClients, text),
            Refused::BadValue { name, wants } => {
                Self::bad_request(text).with(vec![Wrong { name: name.to_owned(), wants }])
            }
            Refused::ChangedMeanwhile { .. } => Self::of(Code::ChangedMeanwhile, text),
            Refused::BadSettings(wrong) => {
                let wrong = wrong.into_iter().map(|(name, wants)| Wrong { name, wants });
                Self::of(Code::BadSettings, text).with(wrong.collect())
            }
            Refused::ResourcesLive { .. } => Self::of(Code::ResourcesLive, format!("{text} (`force`)")),
        }
    }
}

impl From<NoFeed> for Problem {
    fn from(error: NoFeed) -> Self {
        let text = error.to_string();
        match error {
            NoFeed::Full | NoFeed::Share => Self::of(Code::TooManyReaders, text).after(5),
            NoFeed::Ahead { .. } => Self::of(Code::PositionAhead, text),
            NoFeed::Stopping => Self::of(Code::Stopping, text),
        }
    }
}

impl From<Full> for Problem {
    fn from(full: Full) -> Self {
        let text = match full {
            Full::All(all) => format!("{all} of these run already: wait until one is done"),
            Full::Share(each) => {
                format!("{each} of these run already for this session: wait until one is done")
            }
        };
        Self::of(Code::TooManyAtOnce, text).after(10)
    }
}

impl From<pool::Error> for Problem {
    fn from(error: pool::Error) -> Self {
        match error {
            pool::Error::Commit(error) => error.into(),
            error => Self::unavailable(error.to_string()),
        }
    }
}

impl From<LoginError> for Problem {
    fn from(error: LoginError) -> Self {
        match error {
            LoginError::Wrong => Self::wrong_login(),
            LoginError::TooMany(ms) => Self::too_many(ms),
            LoginError::Commit(error) => error.into(),
            LoginError::Pool(error) => error.into(),
            LoginError::Length | LoginError::Placeholder | LoginError::NoCurrent => {
                Self::bad_request(error.to_string())
            }
            LoginError::Told => Self::of(Code::OfEnvironment, error.to_string()),
        }
    }
}

impl From<PastError> for Problem {
    fn from(error: PastError) -> Self {
        let text = error.to_string();
        match error {
            PastError::Dropped { .. } => Self::of(Code::Dropped, text),
            PastError::NotYet { .. } => Self::of(Code::PositionAhead, text),
            PastError::Log(error) => error.into(),
        }
    }
}

impl From<request_log::Error> for Problem {
    fn from(error: request_log::Error) -> Self {
        Self::unavailable(error.to_string())
    }
}

impl From<OpenError> for Problem {
    fn from(error: OpenError) -> Self {
        Self::unavailable(error.to_string())
    }
}

impl From<NotChecked> for Problem {
    fn from(error: NotChecked) -> Self {
        match error {
            NotChecked::NoSuchKey(_) => Self::not_found(error.to_string()),
            NotChecked::Stopping => Self::of(Code::Stopping, error.to_string()),
        }
    }
}

impl From<NoCheckup> for Problem {
    fn from(error: NoCheckup) -> Self {
        match error {
            NoCheckup::TooMany(_) | NoCheckup::Share(_) => {
                Self::of(Code::TooManyJobs, error.to_string()).after(10)
            }
            NoCheckup::NoSuchKey(_) => Self::not_found(error.to_string()),
            NoCheckup::Stopping => Self::of(Code::Stopping, error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_a_word_of_its_own_and_a_status_that_operations_can_declare() {
        let words: std::collections::BTreeSet<_> = Code::ALL.iter().map(|code| code.parts().1).collect();
        assert_eq!(words.len(), Code::ALL.len());
        for code in Code::ALL {
            let (status, word, _) = code.parts();
            let declared = MEANINGS.iter().any(|(_, meant, _)| *meant == status);
            // Given by the doors, before any operation; the document tells of them all the same.
            assert!(declared || matches!(status, 403 | 405 | 408 | 500), "{word}");
        }
    }
}
