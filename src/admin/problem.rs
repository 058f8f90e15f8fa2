//! Errors of the admin API: problem+json, each with a stable `code`.

use poem::{IntoResponse, Response, error::ReadBodyError, http::StatusCode};
use poem_openapi::{ApiResponse, Object, error::ParseRequestPayloadError, payload::Json};

use crate::{
    health::prober::NotChecked,
    ledger::{CommitError, OpenError, rules::Refused},
    pool::{self, LoginError},
};

/// What went wrong (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct Detail {
    /// In short.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What was wrong, and what to do.
    pub detail: String,
    /// A stable word for it.
    pub code: String,
}

/// An error answer.
#[derive(Debug, ApiResponse)]
pub enum Problem {
    /// The request is wrong.
    #[oai(status = 400, content_type = "application/problem+json")]
    BadRequest(Json<Detail>),
    /// No token, or none that is good.
    #[oai(status = 401, content_type = "application/problem+json")]
    Unauthenticated(Json<Detail>),
    /// Not this way.
    #[oai(status = 403, content_type = "application/problem+json")]
    Forbidden(Json<Detail>),
    /// No such thing.
    #[oai(status = 404, content_type = "application/problem+json")]
    NotFound(Json<Detail>),
    /// Something stands in the way.
    #[oai(status = 409, content_type = "application/problem+json")]
    Conflict(Json<Detail>),
    /// Somebody changed it meanwhile.
    #[oai(status = 412, content_type = "application/problem+json")]
    ChangedMeanwhile(Json<Detail>),
    /// Too many wrong logins.
    #[oai(status = 429, content_type = "application/problem+json")]
    TooMany(Json<Detail>, #[oai(header = "Retry-After")] u64),
    /// The log cannot be written or read.
    #[oai(status = 503, content_type = "application/problem+json")]
    Unavailable(Json<Detail>),
}

fn detail(status: u16, title: &str, code: &str, detail: impl Into<String>) -> Json<Detail> {
    Json(Detail { title: title.to_owned(), status, detail: detail.into(), code: code.to_owned() })
}

impl Problem {
    pub(super) fn bad_request(text: impl Into<String>) -> Self {
        Self::BadRequest(detail(400, "Bad request", "bad_request", text))
    }

    pub(super) fn unauthenticated() -> Self {
        let text = "log in at POST /api/login and send the token as Authorization: Bearer";
        Self::Unauthenticated(detail(401, "Not logged in", "not_logged_in", text))
    }

    pub(super) fn wrong_login() -> Self {
        Self::Unauthenticated(detail(401, "Wrong login", "wrong_login", "the name or the password is wrong"))
    }

    pub(super) fn forbidden(code: &str, text: impl Into<String>) -> Self {
        Self::Forbidden(detail(403, "Not this way", code, text))
    }

    fn conflict(title: &str, code: &str, text: impl Into<String>) -> Self {
        Self::Conflict(detail(409, title, code, text))
    }

    pub(super) fn bad_cursor(cursor: &str) -> Self {
        let text = format!("`{}` is no cursor of this list: begin again without one", cursor.escape_debug());
        Self::BadRequest(detail(400, "Bad cursor", "bad_cursor", text))
    }

    pub(super) fn too_many(ms: i64) -> Self {
        let seconds = u64::try_from((ms + 999) / 1_000).unwrap_or(1);
        let text = format!("too many wrong logins; the next one counts in {seconds} s");
        Self::TooMany(detail(429, "Too many wrong logins", "too_many_logins", text), seconds)
    }

    pub(super) fn not_found(text: impl Into<String>) -> Self {
        Self::NotFound(detail(404, "Not found", "not_found", text))
    }

    fn unavailable(text: impl Into<String>) -> Self {
        Self::Unavailable(detail(503, "The log is not available", "log_unavailable", text))
    }
}

impl From<CommitError> for Problem {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Refused(Refused::NoSuchKey(key)) => {
                Self::not_found(format!("there is no key {key}"))
            }
            CommitError::Refused(refused @ Refused::NoSuchClient(_)) => Self::not_found(refused.to_string()),
            CommitError::Refused(refused @ Refused::BadValue { .. }) => {
                Self::bad_request(refused.to_string())
            }
            CommitError::Refused(refused @ Refused::ChangedMeanwhile { .. }) => Self::ChangedMeanwhile(
                detail(412, "Changed meanwhile", "changed_meanwhile", refused.to_string()),
            ),
            CommitError::Refused(refused @ Refused::SecretTaken(_)) => {
                Self::conflict("Secret taken", "secret_taken", refused.to_string())
            }
            CommitError::Refused(refused @ Refused::OfEnvironment(_)) => {
                Self::conflict("Of the environment", "of_environment", refused.to_string())
            }
            CommitError::Refused(refused @ Refused::TooManyClients(_)) => {
                Self::conflict("Too many", "too_many_clients", refused.to_string())
            }
            CommitError::Log(_) | CommitError::NotDurable(_) | CommitError::Stopping => {
                Self::unavailable(error.to_string())
            }
            CommitError::Refused(refused @ Refused::ResourcesLive { .. }) => {
                let text = format!("{refused} (`force`)");
                Self::Conflict(detail(409, "Resources live", "resources_live", text))
            }
        }
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
            LoginError::Length | LoginError::NoCurrent => Self::bad_request(error.to_string()),
            LoginError::Told => Self::conflict("Of the environment", "of_environment", error.to_string()),
        }
    }
}

impl From<OpenError> for Problem {
    fn from(error: OpenError) -> Self {
        Self::unavailable(error.to_string())
    }
}

/// A body that is too large, or did not arrive.
pub(super) fn of_body(error: ReadBodyError) -> poem::Error {
    match error {
        ReadBodyError::PayloadTooLarge => {
            let body = detail(413, "Too large", "too_large", "the body is larger than this call can take");
            poem::Error::from_response(with_type(body.into_response(), StatusCode::PAYLOAD_TOO_LARGE))
        }
        _ => Problem::bad_request("the body did not arrive whole").into(),
    }
}

/// Errors that the framework found (a missing field, a wrong type, no such path) in the same form.
pub(super) async fn of_framework(error: poem::Error) -> Response {
    if error.is_from_response() {
        // An answer of this API's own, on its way through the framework.
        return error.into_response();
    }
    let status = error.status();
    let (title, code) = match status {
        StatusCode::UNAUTHORIZED => return Problem::unauthenticated().into_response(),
        StatusCode::NOT_FOUND => ("Not found", "not_found"),
        StatusCode::METHOD_NOT_ALLOWED => ("Method not allowed", "method_not_allowed"),
        StatusCode::PAYLOAD_TOO_LARGE => ("Too large", "too_large"),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => ("Unsupported media type", "unsupported_media_type"),
        status if status.is_client_error() => ("Bad request", "bad_request"),
        _ => ("Internal error", "internal"),
    };
    let text = if status.is_server_error() {
        "the server's log says more".to_owned()
    } else if error.is::<ParseRequestPayloadError>() {
        // The framework's own words quote the body, which may hold a secret.
        "the body is not what this call takes; see /api/openapi.json".to_owned()
    } else {
        error.to_string()
    };
    let body = detail(status.as_u16(), title, code, text);
    with_type(body.into_response(), status)
}

fn with_type(mut response: Response, status: StatusCode) -> Response {
    response.set_status(status);
    let kind = poem::http::HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(poem::http::header::CONTENT_TYPE, kind);
    response
}

impl From<NotChecked> for Problem {
    fn from(error: NotChecked) -> Self {
        match error {
            NotChecked::NoSuchKey(_) => Self::not_found(error.to_string()),
            NotChecked::Stopping => Self::unavailable(error.to_string()),
        }
    }
}
