//! The admin API: what operators do, described by OpenAPI at `/api/openapi.json`, and to be tried at `/api/docs`.
//!
//! Owns its shapes and errors (problem+json, RFC 9457, each with a stable
//! `code`). It refuses to decide: the rules do. Its invariant: nothing here is
//! answered without an administrator's token, and a change only once it is on
//! the disk and in the state.

mod audit;
mod backup;
mod clients;
mod cookie;
mod docs;
mod document;
mod edge;
mod events;
mod explain;
mod idempotency;
mod jobs;
mod keys;
mod master_key;
mod models;
mod page;
mod past;
mod precondition;
mod problem;
mod projects;
mod request_logs;
mod resources;
mod session;
mod settings;
mod state;
mod status;
mod usage;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;
use poem::{EndpointExt, IntoEndpoint, Route};
use poem_openapi::{LicenseObject, OpenApiService, SecurityScheme, ServerObject, Tags, auth::Bearer};
use projections::event::Actor;
use tokio_util::task::TaskTracker;

pub use self::audit::audit_report;
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
    /// Which key can serve which model.
    Models,
    /// Files, caches and the like that live at Google.
    Resources,
    /// What goes on after the call that began it was answered.
    Jobs,
    /// How the pool works.
    Settings,
    /// What clients asked.
    Requests,
    /// The log.
    Events,
    /// What was, and why.
    Past,
    /// The pool as a whole: backups, its master key.
    Server,
    /// The pool at a glance.
    Status,
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

    /// Who acts, where a secret is to be shown: whoever sits down before a browser that somebody left open does not
    /// get one.
    fn actor_just_now(&self, pool: &Pool, request: &poem::Request) -> Result<Actor, Problem> {
        let session = self.session(pool)?;
        let old = pool.clock.now().saturating_sub(session.began) > JUST_NOW;
        if old && request.extensions().get::<cookie::ByCookie>().is_some() {
            return Err(Problem::login_needed_again());
        }
        Ok(session.actor())
    }
}

/// How long after a login a browser is shown secrets, in milliseconds.
const JUST_NOW: projections::Millis = 5 * 60_000;

/// The pool behind the API; none while only its document is wanted.
fn serving(pool: Option<&Arc<Pool>>) -> Result<&Arc<Pool>, Problem> {
    pool.ok_or_else(|| Problem::unavailable("there is no pool behind this document"))
}

type Apis = (
    (session::SessionApi, clients::ClientsApi),
    keys::KeysApi,
    (keys::bulk::BulkApi, keys::transfer::TransferApi),
    projects::ProjectsApi,
    request_logs::RequestLogsApi,
    models::ModelsApi,
    resources::ResourcesApi,
    jobs::JobsApi,
    settings::SettingsApi,
    (events::EventsApi, events::density::DensityApi, explain::ExplainApi, state::StateApi),
    (status::StatusApi, usage::UsageApi),
    (audit::AuditApi, backup::BackupApi, master_key::MasterKeyApi),
);

fn service(pool: Option<Arc<Pool>>) -> OpenApiService<Apis, ()> {
    let apis = (
        (session::SessionApi(pool.clone()), clients::ClientsApi(pool.clone())),
        keys::KeysApi(pool.clone()),
        (keys::bulk::BulkApi(pool.clone()), keys::transfer::TransferApi(pool.clone())),
        projects::ProjectsApi(pool.clone()),
        request_logs::RequestLogsApi(pool.clone()),
        models::ModelsApi(pool.clone()),
        resources::ResourcesApi(pool.clone()),
        jobs::JobsApi(pool.clone()),
        settings::SettingsApi(pool.clone()),
        (
            events::EventsApi(pool.clone()),
            events::density::DensityApi(pool.clone()),
            explain::ExplainApi(pool.clone()),
            state::StateApi(pool.clone()),
        ),
        (status::StatusApi(pool.clone()), usage::UsageApi(pool.clone())),
        (audit::AuditApi(pool.clone()), backup::BackupApi(pool.clone()), master_key::MasterKeyApi(pool)),
    );
    OpenApiService::new(apis, "Gemini-Pool", env!("CARGO_PKG_VERSION"))
        .description(document::ABOUT)
        .license(LicenseObject::new("MIT").identifier("MIT"))
        .server(ServerObject::new("/api").description("This server."))
        .url_prefix("")
}

/// The document, as JSON: pretty, in a stable order.
#[must_use]
pub fn openapi() -> String {
    document::Document::of_this_program().text().to_owned()
}

/// What is answered where a handler panicked.
pub(crate) fn failed() -> poem::Response {
    let problem = problem::Problem::of(problem::Code::Internal, "the server's log says more");
    poem::IntoResponse::into_response(problem)
}

/// Everything below `/api`.
/// `requests`: what the stop waits for.
pub(crate) fn endpoint(
    pool: Arc<Pool>,
    requests: TaskTracker,
) -> impl poem::Endpoint<Output = poem::Response> {
    let routes = Route::new().nest("/", service(Some(Arc::clone(&pool)))).into_endpoint().map_to_response();
    edge::Edge::new(pool, routes, requests)
}

/// Asks the API without a network, as the command line does on a stopped pool: the status and the body.
pub async fn call(
    pool: Arc<Pool>,
    verb: http::Method,
    path: &str,
    body: Option<serde_json::Value>,
) -> (u16, Vec<u8>) {
    let response = respond(pool, verb, path, body).await;
    let status = response.status().as_u16();
    (status, response.into_body().into_vec().await.unwrap_or_default())
}

/// The same, for an answer too long to be held.
pub async fn download(
    pool: Arc<Pool>,
    path: &str,
) -> (u16, impl Stream<Item = std::io::Result<Bytes>> + Send + use<>) {
    let response = respond(pool, http::Method::GET, path, None).await;
    (response.status().as_u16(), response.into_body().into_bytes_stream())
}

async fn respond(
    pool: Arc<Pool>,
    verb: http::Method,
    path: &str,
    body: Option<serde_json::Value>,
) -> poem::Response {
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
    endpoint(pool, TaskTracker::new()).get_response(request).await
}
