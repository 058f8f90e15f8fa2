//! Owns the error bodies of the API, written from the facts of its wire format. Refuses to decide: which
//! refusal applies is the world's business. Invariant: a refusal is written in the shape of the path it
//! answers, and echoes a key exactly where Google does.

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};

use super::ask::Shape;

const SERVICE: &str = "generativelanguage.googleapis.com";

/// One error answer.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub(super) status: u16,
    name: &'static str,
    message: String,
    details: Vec<Value>,
    /// For [`super::Outcome::Refused`].
    pub(super) why: &'static str,
    /// A page from the front end instead of JSON.
    pub(super) page: bool,
}

#[derive(Serialize)]
struct Envelope<E> {
    error: E,
}

#[derive(Serialize)]
struct Canonical<'a> {
    code: u16,
    message: &'a str,
    status: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    details: &'a [Value],
}

#[derive(Serialize)]
struct Interactional<'a> {
    code: &'a str,
    message: &'a str,
}

impl Refusal {
    pub(super) fn new(status: u16, why: &'static str, message: impl Into<String>) -> Self {
        let name = match status {
            400 | 413 => "INVALID_ARGUMENT",
            401 => "UNAUTHENTICATED",
            403 => "PERMISSION_DENIED",
            404 => "NOT_FOUND",
            402 | 429 => "RESOURCE_EXHAUSTED",
            499 => "CANCELLED",
            503 => "UNAVAILABLE",
            504 => "DEADLINE_EXCEEDED",
            _ => "INTERNAL",
        };
        Self { status, name, message: message.into(), details: Vec::new(), why, page: false }
    }

    pub(super) fn with(mut self, details: impl IntoIterator<Item = Value>) -> Self {
        self.details.extend(details);
        self
    }

    /// The body of the answer.
    pub(super) fn body(&self, shape: Shape) -> Bytes {
        if self.page {
            let (code, why) = (self.status, &self.message);
            return Bytes::from(format!(
                "<!DOCTYPE html>\n<html lang=en>\n<meta charset=utf-8>\n<title>Error {code}</title>\n\
                 <p><b>{code}.</b> <ins>That\u{2019}s an error.</ins>\n<p>{why}\n"
            ));
        }
        let mut text = self.pretty(shape);
        if shape == Shape::Array {
            text = format!("[{text}\n]");
        }
        text.push('\n');
        Bytes::from(text)
    }

    /// The object alone, pretty-printed, without a final newline.
    pub(super) fn pretty(&self, shape: Shape) -> String {
        let text = match shape {
            Shape::Interactions => serde_json::to_string_pretty(&self.interactional()),
            Shape::Plain | Shape::Array => serde_json::to_string_pretty(&self.canonical()),
        };
        angles(text.unwrap_or_default())
    }

    /// The object alone on one line.
    pub(super) fn line(&self) -> String {
        angles(serde_json::to_string(&self.canonical()).unwrap_or_default())
    }

    /// The message alone, as Live sessions say it.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    fn canonical(&self) -> Envelope<Canonical<'_>> {
        let Self { status, name, message, details, .. } = self;
        Envelope { error: Canonical { code: *status, message, status: name, details } }
    }

    fn interactional(&self) -> Envelope<Interactional<'_>> {
        let code = match (self.status, self.why) {
            (400, "location") => "failed_precondition",
            (400, _) => "invalid_request",
            (401, _) => "authentication",
            (402, _) => "payment_required",
            (403, _) => "permission_denied",
            (404, "model not found") => "model_not_found",
            (404, _) => "not_found",
            (429, "per day") => "quota_exceeded",
            (429, _) => "rate_limit_exceeded",
            (499, _) => "cancelled",
            (503, _) => "unavailable",
            (504, _) => "deadline_exceeded",
            _ => "internal",
        };
        Envelope { error: Interactional { code, message: &self.message } }
    }
}

/// Google's JSON escapes angle brackets; outside strings JSON has none, so the text as a whole may be changed.
fn angles(text: String) -> String {
    if text.contains(['<', '>']) { text.replace('<', "\\u003c").replace('>', "\\u003e") } else { text }
}

fn error_info(reason: &str, metadata: Value) -> Value {
    json!({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "googleapis.com", "metadata": metadata})
}

fn localized(message: &str) -> Value {
    json!({"@type": "type.googleapis.com/google.rpc.LocalizedMessage", "locale": "en-US", "message": message})
}

fn debug_info(detail: String) -> Value {
    json!({"@type": "type.googleapis.com/google.rpc.DebugInfo", "detail": detail})
}

fn consumer(project: u64) -> String {
    format!("projects/{project}")
}

/// 400 API_KEY_INVALID. The key is echoed in the debug detail.
pub(super) fn key_invalid(why: &'static str, message: &str, key: &str) -> Refusal {
    Refusal::new(400, why, message).with([
        error_info("API_KEY_INVALID", json!({"service": SERVICE})),
        localized(message),
        debug_info(format!("Invalid API key: {key}")),
    ])
}

pub(super) fn location() -> Refusal {
    let message = "User location is not supported for the API use.";
    Refusal { name: "FAILED_PRECONDITION", ..Refusal::new(400, "location", message) }
}

/// 401, as a lone bearer token or a flapping key gets it.
pub(super) fn unauthenticated(why: &'static str, method: &str) -> Refusal {
    let message = "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie \
                   or other valid authentication credential. See \
                   https://developers.google.com/identity/sign-in/web/devconsole-project.";
    let info = json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "ACCESS_TOKEN_TYPE_UNSUPPORTED",
        "metadata": {"method": method, "service": SERVICE},
    });
    Refusal::new(401, why, message).with([info])
}

pub(super) fn two_credentials() -> Refusal {
    Refusal::new(
        400,
        "two credentials",
        "Multiple authentication credentials received. Please pass only one.",
    )
}

/// Google takes a credential in the URL; a proxy must not send one, so the simulated Google refuses it.
pub(super) fn credential_in_url() -> Refusal {
    Refusal::new(400, "credential in URL", "The simulated Google refuses a credential in the URL.")
}

pub(super) fn no_credential() -> Refusal {
    let message = "Method doesn't allow unregistered callers (callers without established identity). Please \
                   use API Key or other form of API consumer identity to call this API.";
    Refusal::new(403, "no credential", message)
}

/// No details: only the message tells it.
pub(super) fn leaked() -> Refusal {
    let message = "Your API key was reported as leaked. Please use another API key.";
    Refusal::new(403, "leaked", message)
}

/// The key is echoed in full, three times.
pub(super) fn suspended(key: &str, project: u64) -> Refusal {
    let message = format!("Permission denied: Consumer 'api_key:{key}' has been suspended.");
    let metadata = json!({
        "consumer": consumer(project), "service": SERVICE, "containerInfo": format!("api_key:{key}"),
    });
    let details = [error_info("CONSUMER_SUSPENDED", metadata), localized(&message)];
    Refusal::new(403, "suspended", message).with(details)
}

pub(super) fn method_blocked(project: u64, method: &str) -> Refusal {
    let message = format!("Requests to this API {SERVICE} method {method} are blocked.");
    let api = method.rsplit_once('.').map_or(method, |(service, _)| service);
    let metadata = json!({
        "consumer": consumer(project), "service": SERVICE, "apiName": api, "methodName": method,
    });
    Refusal::new(403, "method blocked", message).with([error_info("API_KEY_SERVICE_BLOCKED", metadata)])
}

pub(super) fn referrer_blocked(project: u64, referrer: Option<&str>) -> Refusal {
    let referrer = referrer.unwrap_or("<empty>");
    let metadata = json!({"service": SERVICE, "consumer": consumer(project), "httpReferrer": referrer});
    Refusal::new(403, "referrer blocked", format!("Requests from referer {referrer} are blocked."))
        .with([error_info("API_KEY_HTTP_REFERRER_BLOCKED", metadata)])
}

/// The reason and its metadata are in Google's protos; the message is a guess.
pub(super) fn address_blocked(project: u64) -> Refusal {
    let metadata = json!({"service": SERVICE, "consumer": consumer(project)});
    Refusal::new(403, "address blocked", "The provided API key has an IP address restriction.")
        .with([error_info("API_KEY_IP_ADDRESS_BLOCKED", metadata)])
}

pub(super) fn service_disabled(project: u64) -> Refusal {
    let url = format!("https://console.developers.google.com/apis/api/{SERVICE}/overview?project={project}");
    let message = format!(
        "Generative Language API has not been used in project {project} before or it is disabled. Enable it \
         by visiting {url} then retry. If you enabled this API recently, wait a few minutes for the action to \
         propagate to our systems and retry."
    );
    let help = json!({
        "@type": "type.googleapis.com/google.rpc.Help",
        "links": [{"description": "Google developers console API activation", "url": url}],
    });
    let metadata = json!({"service": SERVICE, "consumer": consumer(project)});
    Refusal::new(403, "service disabled", message).with([help, error_info("SERVICE_DISABLED", metadata)])
}

pub(super) fn project_denied() -> Refusal {
    Refusal::new(403, "project denied", "Your project has been denied access. Please contact support.")
}

pub(super) fn billing_disabled(project: u64) -> Refusal {
    let message = format!(
        "This API method requires billing to be enabled. Please enable billing on project #{project}."
    );
    let metadata = json!({"service": SERVICE, "consumer": consumer(project)});
    Refusal::new(403, "billing disabled", message).with([error_info("BILLING_DISABLED", metadata)])
}

/// Sent as 402 or as 429, depending on the path's age.
pub(super) fn credits_gone(status: u16) -> Refusal {
    let message = "Your prepayment credits are depleted. Please go to AI Studio at https://ai.studio/projects \
                   to manage your project and billing.";
    Refusal::new(status, "credits gone", message)
}

pub(super) fn not_allowed() -> Refusal {
    Refusal::new(403, "model not allowed", "The caller does not have permission")
}

pub(super) fn foreign_file(id: &str) -> Refusal {
    let message = format!("You do not have permission to access the File {id} or it may not exist.");
    Refusal::new(403, "foreign file", message)
}

pub(super) fn foreign_cache() -> Refusal {
    Refusal::new(403, "foreign cache", "CachedContent not found (or permission denied)")
}

pub(super) fn model_not_found(model: &str, version: &str, method: &str) -> Refusal {
    let message = format!(
        "models/{model} is not found for API version {version}, or is not supported for {method}. Call \
         ListModels to see the list of available models and their supported methods."
    );
    let detail = debug_info(format!("[ORIGINAL ERROR] generic::not_found: {message}"));
    Refusal::new(404, "model not found", message).with([detail])
}

pub(super) fn bad_request(message: impl Into<String>) -> Refusal {
    Refusal::new(400, "bad request", message)
}

pub(super) fn too_large(limit: usize) -> Refusal {
    Refusal::new(400, "too large", format!("Request payload size exceeds the limit: {limit} bytes."))
}

/// A path the front end does not know.
pub(super) fn unknown_path() -> Refusal {
    let why = "The requested URL was not found on this server.";
    Refusal { page: true, ..Refusal::new(404, "unknown path", why) }
}

pub(super) fn bad_gateway() -> Refusal {
    let why = "The server encountered a temporary error and could not complete your request.";
    Refusal { page: true, ..Refusal::new(502, "bad gateway", why) }
}

pub(super) fn overloaded() -> Refusal {
    Refusal::new(503, "overloaded", "The model is overloaded. Please try again later.")
}

pub(super) fn high_demand() -> Refusal {
    let message = "This model is currently experiencing high demand. Spikes in demand are usually temporary. \
                   Please try again later.";
    Refusal::new(503, "high demand", message)
}

pub(super) fn internal() -> Refusal {
    let message = "An internal error has occurred. Please retry or report in \
                   https://developers.generativeai.google/guide/troubleshooting";
    Refusal::new(500, "internal", message)
}

pub(super) fn deadline() -> Refusal {
    Refusal::new(504, "deadline", "The request timed out. Please try again.")
}

pub(super) fn cancelled() -> Refusal {
    Refusal::new(499, "cancelled", "The operation was cancelled.")
        .with([debug_info("[ORIGINAL ERROR] generic::cancelled: ".to_owned())])
}

/// 429 without details.
pub(super) fn bare_exhausted(why: &'static str) -> Refusal {
    Refusal::new(429, why, "Resource has been exhausted (e.g. check quota).")
}
