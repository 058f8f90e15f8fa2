//! The doors of the admin API: what holds for every call, before and after its handler.
//!
//! Owns bounds of bodies, unknown paths and methods, repetitions, and the form of errors that the framework
//! found. Its invariant: whatever comes in, what goes out is an answer of a handler or a problem, and nobody on
//! the way may keep it.

use std::sync::Arc;

use poem::{
    Body, Endpoint, IntoResponse, Request, Response,
    error::ReadBodyError,
    http::{HeaderValue, Method, StatusCode, header},
};
use poem_openapi::error::{ContentTypeError, ParseParamError, ParsePathError, ParseRequestPayloadError};

use super::{
    cookie, docs,
    document::Document,
    idempotency::Repeats,
    problem::{Code, Problem, Wrong},
};
use crate::pool::Pool;

/// Largest body, in bytes; that of keys to add is larger.
const BODY: usize = 64 << 10;
/// Room for 20,000 keys.
const KEYS_BODY: usize = 8 << 20;
/// Room for the numbers of 20,000 keys.
const IDS_BODY: usize = 512 << 10;

/// See the module.
pub(super) struct Edge<E> {
    pool: Arc<Pool>,
    routes: Arc<E>,
    repeats: Repeats,
}

impl<E: Endpoint<Output = Response> + 'static> Edge<E> {
    pub(super) fn new(pool: Arc<Pool>, routes: E) -> Self {
        Self { pool, routes: Arc::new(routes), repeats: Repeats::default() }
    }

    async fn answer(&self, mut request: Request) -> Result<Response, Problem> {
        let public_url = self.pool.settings.now().public_url.clone();
        cookie::accept(&mut request, public_url.as_deref())?;
        let document = Document::of_this_program();
        let path = request.uri().path().to_owned();
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        if path == "/openapi.json" {
            if !reads {
                return Ok(not_allowed(&["GET".to_owned()]));
            }
            return Ok(Response::builder().content_type("application/json").body(document.text()));
        }
        if docs::has(&path) {
            let asker = self.actor(&request);
            return match docs::find(&path).await {
                _ if !reads => Ok(not_allowed(&["GET".to_owned()])),
                _ if asker.is_none() => Err(Problem::unauthenticated()),
                Some(file) => Ok(file.answer(request.headers())),
                None => Err(Problem::not_found("the page is at /api/docs")),
            };
        }
        let Some(methods) = document.methods(&path) else {
            return Err(Problem::not_found("there is no such path; GET /api/openapi.json names all of them"));
        };
        let method = if reads { "GET".to_owned() } else { request.method().as_str().to_owned() };
        if !methods.contains(&method) {
            return Ok(not_allowed(&methods));
        }
        let most = match path.rsplit_once("/bulk_").map(|(_, name)| name) {
            Some("add") => KEYS_BODY,
            Some(_) => IDS_BODY,
            None if path.ends_with("/keys/import") => KEYS_BODY,
            None => BODY,
        };
        let body = request.take_body().into_bytes_limit(most).await.map_err(|error| match error {
            ReadBodyError::PayloadTooLarge => Problem::of(
                Code::TooLarge,
                format!("the body is larger than the {most} bytes that this call takes"),
            ),
            _ => Problem::of(Code::BadBody, "the body did not arrive whole"),
        })?;
        request.set_body(Body::from_bytes(body.clone()));
        let asker = self.actor(&request);
        // The framework takes numbers for texts, and the document does not; settings say what they take themselves.
        if path == "/login" || (asker.is_some() && path != "/settings") {
            strictly(&request, document, &method, &path, &body)?;
        }
        let query = request.params::<Vec<(String, String)>>().unwrap_or_default();
        // Who is nobody is told so first. A filter that is misspelt would otherwise let everything through.
        if asker.is_some()
            && let Some(wrong) = document.untaken(&method, &path, &query)
        {
            return Err(bad_parameters(vec![wrong]));
        }
        let key = request.headers().get("idempotency-key").cloned();
        let key = key.filter(|_| document.takes_header(&method, &path, "Idempotency-Key"));
        let actor = asker.filter(|_| key.is_some());
        let routes = Arc::clone(&self.routes);
        let digest = key.is_some().then(|| {
            let mut hasher = blake3::Hasher::new();
            hasher.update(format!("{method} {}\n", request.uri()).as_bytes()).update(&body);
            hasher.finalize()
        });
        let call = async move {
            match routes.call(request).await {
                Ok(response) => response,
                Err(error) => of_framework(error, &method, &path, &query, &body),
            }
        };
        Ok(match (key, digest, actor) {
            (Some(key), Some(digest), Some(actor)) => {
                self.repeats.answer(actor, &key, digest, self.pool.clock.now(), call).await
            }
            _ => call.await,
        })
    }

    /// Who asks, by the token; none: the handler will say no.
    fn actor(&self, request: &Request) -> Option<String> {
        let header = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
        let (scheme, token) = header.split_once(' ')?;
        let session = scheme.eq_ignore_ascii_case("bearer").then(|| self.pool.session(token.trim()))??;
        serde_json::to_string(&session.actor()).ok()
    }
}

impl<E: Endpoint<Output = Response> + 'static> Endpoint for Edge<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let head = request.method() == Method::HEAD;
        let mut response = self.answer(request).await.unwrap_or_else(IntoResponse::into_response);
        response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        if head {
            response.set_body(());
        }
        Ok(response)
    }
}

/// Says no to a JSON body that the document does not describe.
fn strictly(
    request: &Request,
    document: &Document,
    method: &str,
    path: &str,
    body: &[u8],
) -> Result<(), Problem> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    if !kind.is_some_and(|kind| kind.to_ascii_lowercase().starts_with("application/json")) {
        return Ok(());
    }
    let wrong = document.explain(method, path, body);
    if wrong.is_empty() { Ok(()) } else { Err(bad_body(wrong)) }
}

fn bad_body(wrong: Vec<Wrong>) -> Problem {
    let told = wrong.iter().map(|Wrong { name, wants }| format!("`{name}` wants {wants}"));
    let told = told.collect::<Vec<_>>().join("; ");
    let told = if told.is_empty() { "it is not what this call takes".to_owned() } else { told };
    Problem::of(Code::BadBody, format!("{told}; see /api/openapi.json")).with(wrong)
}

fn bad_parameters(wrong: Vec<Wrong>) -> Problem {
    let told = wrong.iter().map(|Wrong { name, wants }| format!("`{name}` wants {wants}"));
    let told = told.collect::<Vec<_>>().join("; ");
    Problem::of(Code::BadParameter, told).with(wrong)
}

fn not_allowed(methods: &[String]) -> Response {
    let allow = methods.join(", ");
    let problem = Problem::of(Code::MethodNotAllowed, format!("this path takes {allow}"));
    let mut response = problem.into_response();
    if let Ok(allow) = HeaderValue::from_str(&allow) {
        response.headers_mut().insert(header::ALLOW, allow);
    }
    response
}

/// Errors that the framework found (a missing field, a wrong type) in the same form as ours.
fn of_framework(
    error: poem::Error,
    method: &str,
    path: &str,
    query: &[(String, String)],
    body: &[u8],
) -> Response {
    if error.is_from_response() {
        // An answer of a handler, on its way through the framework.
        return error.into_response();
    }
    let parameter = |name: &str, reason: &str| {
        let wrong = Document::of_this_program().explain_parameters(method, path, query);
        if !wrong.is_empty() {
            return bad_parameters(wrong);
        }
        // The type's name in the framework is of no use to people.
        let wants = reason.strip_prefix("failed to parse \"").and_then(|rest| rest.split_once("\": "));
        let wants = wants.map_or(reason, |(_, wants)| wants).to_owned();
        let wrong = Wrong { name: name.to_owned(), wants };
        Problem::of(Code::BadParameter, format!("parameter `{name}`: {}", wrong.wants)).with(vec![wrong])
    };
    let problem = if error.is::<ParseRequestPayloadError>() {
        // The framework's own words quote the body, which may hold a secret.
        bad_body(Document::of_this_program().explain(method, path, body))
    } else if let Some(ParseParamError { name, reason }) = error.downcast_ref() {
        parameter(name, reason)
    } else if let Some(ParsePathError { name, reason }) = error.downcast_ref() {
        parameter(name, reason)
    } else if error.is::<ContentTypeError>() {
        Problem::of(Code::UnsupportedMediaType, "the body must be JSON: say Content-Type: application/json")
    } else {
        match error.status() {
            StatusCode::UNAUTHORIZED => Problem::unauthenticated(),
            StatusCode::NOT_FOUND => Problem::not_found("there is no such path; see /api/openapi.json"),
            status if status.is_client_error() => Problem::bad_request("the request cannot be read"),
            _ => {
                tracing::error!(%error, "the admin API failed at a request");
                Problem::of(Code::Internal, "the server's log says more")
            }
        }
    };
    problem.into_response()
}
