//! The admin API: what operators do, described by OpenAPI at `/api/openapi.json`.
//!
//! Owns its shapes and errors (problem+json, RFC 9457, each with a stable
//! `code`). It refuses to decide: the rules do. Its invariant: nothing here is
//! answered without an administrator's token, and a change only once it is on
//! the disk and in the state.

mod clients;
mod cookie;
mod events;
mod keys;
mod precondition;
mod problem;
mod projects;
mod session;

use std::sync::Arc;

use poem::{IntoEndpoint, Route};
use poem_openapi::{OpenApiService, SecurityScheme, Tags, auth::Bearer};
use projections::event::Actor;

use self::problem::Problem;
use crate::{auth::Session, pool::Pool};

/// What the document is divided into.
#[derive(Tags)]
enum Tag {
    /// Logging in.
    Session,
    /// Apps' access keys.
    Clients,
    /// Upstream keys.
    Keys,
    /// Google projects and their quotas.
    Projects,
    /// The log.
    Events,
}

/// An administrator's access token; browsers send it in the cookie that logging in gave them.
#[derive(SecurityScheme)]
#[oai(ty = "bearer", bearer_format = "JWT", rename = "token")]
struct Token(Bearer);

impl Token {
    fn session(&self, pool: &Pool) -> Result<Session, Problem> {
        pool.session(&self.0.token).ok_or_else(Problem::unauthenticated)
    }

    fn actor(&self, pool: &Pool) -> Result<Actor, Problem> {
        self.session(pool).map(|session| session.actor())
    }
}

/// The pool behind the API; none while only its document is wanted.
fn serving(pool: Option<&Arc<Pool>>) -> Result<&Arc<Pool>, Problem> {
    pool.ok_or_else(|| Problem::bad_request("there is no pool behind this document"))
}

type Apis =
    (session::SessionApi, clients::ClientsApi, keys::KeysApi, projects::ProjectsApi, events::EventsApi);

fn service(pool: Option<Arc<Pool>>) -> OpenApiService<Apis, ()> {
    let apis = (
        session::SessionApi(pool.clone()),
        clients::ClientsApi(pool.clone()),
        keys::KeysApi(pool.clone()),
        projects::ProjectsApi(pool.clone()),
        events::EventsApi(pool),
    );
    OpenApiService::new(apis, "Gemini-Pool", env!("CARGO_PKG_VERSION"))
        .description("Administration of a Gemini-Pool. Errors are problem+json with a stable `code`.")
        .server("/api")
        .url_prefix("")
}

/// The document, as JSON.
#[must_use]
pub fn openapi() -> String {
    service(None).spec()
}

/// Everything below `/api`.
pub(crate) fn endpoint(pool: Arc<Pool>) -> impl poem::Endpoint {
    use poem::EndpointExt;
    let settings = Arc::clone(&pool.settings);
    let service = service(Some(pool));
    let document = service.spec_endpoint();
    Route::new()
        .at("/openapi.json", document)
        .nest("/", service)
        .into_endpoint()
        .before(move |mut request: poem::Request| {
            let public_url = settings.now().public_url.clone();
            async move {
                cookie::accept(&mut request, public_url.as_deref())?;
                bounded(request).await
            }
        })
        .catch_all_error(problem::of_framework)
}

/// Largest body, in bytes; that of keys to add is larger.
const BODY: usize = 64 << 10;
/// Room for 20,000 keys.
const KEYS_BODY: usize = 8 << 20;

/// Reads a request's body within its bound, before anything looks at it.
async fn bounded(mut request: poem::Request) -> poem::Result<poem::Request> {
    let adds_keys = request.uri().path().ends_with("/bulk_add");
    let body = request.take_body().into_bytes_limit(if adds_keys { KEYS_BODY } else { BODY }).await;
    request.set_body(body.map_err(problem::of_body)?);
    Ok(request)
}

/// Asks the API without a network, as the command line does on a stopped pool: the status and the body.
pub async fn call(
    pool: Arc<Pool>,
    verb: http::Method,
    path: &str,
    body: Option<serde_json::Value>,
) -> (u16, Vec<u8>) {
    use poem::{Body, Endpoint, Request, http::header};
    use secrecy::ExposeSecret;
    let token = pool.admins.cli_token(pool.clock.now()).text;
    let mut request = Request::builder()
        .method(verb)
        .uri_str(path)
        .header(header::AUTHORIZATION, format!("Bearer {}", token.expose_secret()))
        .finish();
    if let Some(body) = body {
        request
            .headers_mut()
            .insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
        request.set_body(Body::from_string(body.to_string()));
    }
    let response = endpoint(pool).get_response(request).await;
    let status = response.status().as_u16();
    (status, response.into_body().into_vec().await.unwrap_or_default())
}
