//! The doors of the admin API: what holds for every call, before and after its handler.
//!
//! Owns who is asked for a token and when, unknown paths and methods, repetitions, and the form of errors that the
//! framework found. Its invariants: whatever comes in, what goes out is an answer of a handler or a problem, and nobody
//! on the way may keep it; nothing that a stranger sends is read or judged before he is told that he is one, but a
//! login; and no stranger holds up the stop.

mod body;

use std::sync::Arc;

use poem::{
    Body, Endpoint, IntoResponse, Request, Response,
    http::{HeaderValue, Method, StatusCode, header},
};
use poem_openapi::error::{ContentTypeError, ParseParamError, ParsePathError, ParseRequestPayloadError};
use tokio_util::task::TaskTracker;

use super::{
    cookie, docs,
    document::Document,
    idempotency::{Asker, Repeats},
    problem::{Code, Problem, Wrong},
};
use crate::{auth::Session, caller::Recognized, pool::Pool};

/// See the module.
pub(super) struct Edge<E> {
    pool: Arc<Pool>,
    routes: Arc<E>,
    repeats: Repeats,
    /// What the stop waits for.
    requests: TaskTracker,
}

impl<E: Endpoint<Output = Response> + 'static> Edge<E> {
    pub(super) fn new(pool: Arc<Pool>, routes: E, requests: TaskTracker) -> Self {
        Self { pool, routes: Arc::new(routes), repeats: Repeats::default(), requests }
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
            let session = self.session(&request);
            return match docs::find(&path).await {
                _ if !reads => Ok(not_allowed(&["GET".to_owned()])),
                _ if session.is_none() => Err(Problem::unauthenticated()),
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
        let is_open = document.is_open(&method, &path);
        let session = if is_open { None } else { self.session(&request) };
        let most = body::most(&path, is_open);
        if !is_open && session.is_none() {
            body::drain(request.take_body(), most).await;
            return Err(Problem::unauthenticated());
        }
        let recognized = request.extensions().get::<Recognized>().cloned().unwrap_or_default();
        if session.is_some() {
            recognized.mark();
        }
        let _running = session.as_ref().map(|_| self.requests.token());
        let taken = body::take(request.take_body(), request.headers(), most, &self.pool.body_memory).await?;
        let (body, memory) = (taken.bytes, taken.memory);
        request.set_body(Body::from_bytes(body.clone()));
        // The framework takes numbers for texts, and the document does not; settings say what they take themselves.
        if path != "/settings" {
            strictly(&request, document, &method, &path, &body)?;
        }
        let query = request.params::<Vec<(String, String)>>().unwrap_or_default();
        // A filter that is misspelt would otherwise let everything through.
        if let Some(wrong) = document.untaken(&method, &path, &query) {
            return Err(bad_parameters(vec![wrong]));
        }
        let key = request.headers().get("idempotency-key").cloned();
        let key = key.filter(|_| document.takes_header(&method, &path, "Idempotency-Key"));
        let asker = session.and_then(|session| {
            let actor = serde_json::to_string(&session.actor()).ok()?;
            Some(Asker { actor, caller: session.caller() })
        });
        let routes = Arc::clone(&self.routes);
        let digest = key.is_some().then(|| {
            let mut hasher = blake3::Hasher::new();
            hasher.update(format!("{method} {}\n", request.uri()).as_bytes()).update(&body);
            hasher.finalize()
        });
        let call = async move {
            let _memory = memory;
            match routes.call(request).await {
                Ok(response) => {
                    if path == "/login" && response.status() == StatusCode::OK {
                        recognized.mark();
                    }
                    response
                }
                Err(error) => of_framework(error, &method, &path, &query, &body),
            }
        };
        Ok(match (key, digest, asker) {
            (Some(key), Some(digest), Some(asker)) => {
                self.repeats.answer(asker, &key, digest, self.pool.clock.now(), call).await
            }
            _ => call.await,
        })
    }

    /// Who asks, by the token.
    fn session(&self, request: &Request) -> Option<Session> {
        let header = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
        let (scheme, token) = header.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| self.pool.session(token.trim()))?
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
