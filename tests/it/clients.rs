//! Access keys and their limits: made by operators, held against apps by the real server.

mod browsers;
mod command;
mod doors;
mod limits;

use gemini_pool::simulated::{SimulatedGoogle, World};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{App, Operator, Server, Setup, ask};

const FLASH: &str = "/v1beta/models/gemini-2.5-flash:generateContent";

/// A Google with one good key.
async fn google() -> SimulatedGoogle {
    SimulatedGoogle::start(World::new().key("alpha", "AIza-good-1")).await.unwrap()
}

async fn stage() -> (SimulatedGoogle, Server, Operator) {
    let google = google().await;
    let server = Setup::new(&google, &["AIza-good-1"]).start();
    let operator = server.operator().await;
    (google, server, operator)
}

/// Makes an access key; gives its number and its secret.
async fn make(operator: &Operator, said: Value) -> (u64, String) {
    let (status, made) = operator.call(Method::POST, "/allowed_keys", Some(said)).await;
    assert_eq!(status, 201, "{made}");
    (made["id"].as_u64().unwrap(), made["secret"].as_str().unwrap().to_owned())
}

/// What a refusal says: status, the pool's reason, seconds in `Retry-After`, and seconds in `RetryInfo`.
async fn told(answer: reqwest::Response) -> (u16, String, Option<u64>, Option<f64>) {
    let status = answer.status().as_u16();
    let after = answer.headers().get("retry-after").map(|value| value.to_str().unwrap().parse().unwrap());
    let body: Value = answer.json().await.unwrap();
    let details = body["error"]["details"].as_array().cloned().unwrap_or_default();
    let find =
        |kind: &str| details.iter().find(|detail| detail["@type"].as_str().unwrap().ends_with(kind)).cloned();
    let reason =
        find("ErrorInfo").map(|info| info["reason"].as_str().unwrap().to_owned()).unwrap_or_default();
    let delay = find("RetryInfo")
        .map(|info| info["retryDelay"].as_str().unwrap().strip_suffix('s').unwrap().parse().unwrap());
    (status, reason, after, delay)
}

async fn asks(app: &App) -> (u16, String, Option<u64>, Option<f64>) {
    told(app.post(FLASH, &ask("Hello")).send().await.unwrap()).await
}

/// Ten at once; gives what each was told.
async fn ten(app: &App) -> Vec<(u16, String, Option<u64>, Option<f64>)> {
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let app = app.clone();
        all.spawn(async move { asks(&app).await });
    }
    all.join_all().await
}
