//! What belongs to one Google project goes there, whatever the client, the key and the hour.

mod files;
mod keys;
mod lists;
mod others;

use gemini_pool::simulated::{Outcome, Seen, SimulatedGoogle, World};
use serde_json::{Value, json};

use crate::support::{App, Server, Setup};

/// Two projects with two keys each.
pub(crate) const KEYS: [&str; 4] =
    ["AIza-alpha-0001", "AIza-alpha-0002", "AIza-beta-00003", "AIza-beta-00004"];
/// Access keys of eight apps: more than enough that not all of them have their home in one project.
const APPS: [&str; 8] = [
    "app-1-of-eight-0001",
    "app-2-of-eight-0002",
    "app-3-of-eight-0003",
    "app-4-of-eight-0004",
    "app-5-of-eight-0005",
    "app-6-of-eight-0006",
    "app-7-of-eight-0007",
    "app-8-of-eight-0008",
];

/// A Google of two projects, with a small upload granularity.
async fn google() -> SimulatedGoogle {
    let mut world = World::new();
    for (project, key) in ["alpha", "alpha", "beta", "beta"].iter().zip(KEYS) {
        world = world.key(project, key);
    }
    world.chunk_granularity = 4;
    // Google's own host, which no client may be sent to.
    world.public_origin = Some("https://generativelanguage.googleapis.com".to_owned());
    SimulatedGoogle::start(world).await.unwrap()
}

/// A pool of both projects' keys.
async fn pool(google: &SimulatedGoogle) -> Server {
    let server = Setup::new(google, &[]).with("ALLOWED_API_KEYS", &APPS.join(",")).start();
    let operator = server.operator().await;
    for (project, keys) in [("alpha", &KEYS[..2]), ("beta", &KEYS[2..])] {
        let body = json!({"keys": keys, "project": project});
        let (status, answer) = operator.call(reqwest::Method::POST, "/keys/bulk_add", Some(body)).await;
        assert_eq!(status, 200, "{answer}");
    }
    server
}

fn app(server: &Server, number: usize) -> App {
    server.app_with(Some(APPS[number]))
}

/// Calls a path; gives status and body.
async fn call(app: &App, verb: reqwest::Method, path: &str, body: Option<Value>) -> (u16, Value) {
    let mut request = app.http.request(verb, format!("{}{path}", app.origin));
    if let Some(key) = &app.key {
        request = request.header("x-goog-api-key", key);
    }
    if let Some(body) = body {
        request = request.json(&body);
    }
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

async fn get(app: &App, path: &str) -> (u16, Value) {
    call(app, reqwest::Method::GET, path, None).await
}

async fn post(app: &App, path: &str, body: Value) -> (u16, Value) {
    call(app, reqwest::Method::POST, path, Some(body)).await
}

async fn delete(app: &App, path: &str) -> (u16, Value) {
    call(app, reqwest::Method::DELETE, path, None).await
}

/// Starts an upload; gives the address of its pieces.
async fn begin_upload(app: &App, length: usize) -> String {
    let start = app
        .post("/upload/v1beta/files", &json!({"file": {"displayName": "a file"}}))
        .header("x-goog-upload-protocol", "resumable")
        .header("x-goog-upload-command", "start")
        .header("x-goog-upload-header-content-length", length)
        .header("x-goog-upload-header-content-type", "text/plain");
    let answer = start.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let address = answer.headers()["x-goog-upload-url"].to_str().unwrap().to_owned();
    assert!(address.starts_with(&app.origin), "{address} is not the pool's");
    assert!(!address.contains("key="), "{address}");
    let control = answer.headers()["x-goog-upload-control-url"].to_str().unwrap();
    assert!(control.starts_with(&app.origin), "{control} is not the pool's");
    address
}

/// Sends a piece, without a credential, as the SDKs do.
async fn send_piece(app: &App, address: &str, at: usize, piece: &str, last: bool) -> (u16, Value) {
    let request = app
        .http
        .post(address)
        .header("x-goog-upload-command", if last { "upload, finalize" } else { "upload" })
        .header("x-goog-upload-offset", at)
        .body(piece.to_owned());
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// Uploads a file; gives its entry.
async fn upload(app: &App, content: &str) -> Value {
    let address = begin_upload(app, content.len()).await;
    let (status, answer) = send_piece(app, &address, 0, content, true).await;
    assert_eq!(status, 200, "{answer}");
    answer["file"].clone()
}

fn name(entry: &Value) -> &str {
    entry["name"].as_str().unwrap()
}

/// A prompt about files.
fn about(files: &[&Value]) -> Value {
    let mut parts: Vec<Value> = files
        .iter()
        .map(|file| json!({"fileData": {"fileUri": file["uri"], "mimeType": "text/plain"}}))
        .collect();
    parts.push(json!({"text": "what is in it?"}));
    json!({"contents": [{"role": "user", "parts": parts}]})
}

/// The project whose key made the last call.
fn last_project(google: &SimulatedGoogle) -> String {
    google.seen().last().unwrap().project.clone()
}

/// What Google refused because it is another project's.
fn misses(google: &SimulatedGoogle) -> Vec<Seen> {
    let foreign = |seen: &Seen| matches!(seen.outcome, Outcome::Refused(why) if why.starts_with("foreign"));
    google.seen().into_iter().filter(foreign).collect()
}

/// A file of each project.
async fn one_of_each(server: &Server, google: &SimulatedGoogle) -> (Value, Value) {
    let mut files = [None, None];
    for number in 0..APPS.len() {
        let file = upload(&app(server, number), &format!("the file of app {number}")).await;
        let place = usize::from(last_project(google) == "beta");
        files[place] = Some(file);
    }
    let [alpha, beta] = files;
    (alpha.expect("no app has its home in alpha"), beta.expect("no app has its home in beta"))
}
