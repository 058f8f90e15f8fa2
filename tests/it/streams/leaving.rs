//! Clients that go away: the call to Google is given up, and recorded once.

use std::time::Duration;

use gemini_pool::simulated::{End, Failure, Fault, SimulatedGoogle, World};
use serde_json::Value;

use crate::support::{Server, Setup, ask, of_type, raw};

const SSE: &str = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse";

async fn stage(failure: Failure) -> (SimulatedGoogle, Server) {
    let world =
        World::new().key("alpha", "AIza-good-1").key("beta", "AIza-good-2").fault(Fault::always(failure));
    let google = SimulatedGoogle::start(world).await.unwrap();
    let server = Setup::new(&google, &["AIza-good-1", "AIza-good-2"]).start();
    (google, server)
}

async fn seen(google: &SimulatedGoogle, end: End) {
    let there = google.wait_for(|seen| !seen.is_empty() && seen.iter().all(|seen| seen.end == end));
    let there = tokio::time::timeout(Duration::from_secs(10), there).await;
    assert!(there.is_ok(), "the upstream call is not given up: {:?}", google.seen());
}

async fn arrived(google: &SimulatedGoogle) {
    let there = google.wait_for(|seen| seen.iter().any(|seen| seen.status.is_some()));
    tokio::time::timeout(Duration::from_secs(10), there).await.unwrap();
}

async fn cancelled_once(server: Server) -> (Value, Value) {
    let operator = server.operator().await;
    operator.events_of("Answered", 1).await;
    operator.events_of("Attempted", 1).await;
    let log = server.stop().0.log();
    let (attempts, answered) = (of_type(&log, "Attempted"), of_type(&log, "Answered"));
    assert_eq!((attempts.len(), answered.len()), (1, 1), "{log:#?}");
    assert_eq!(attempts[0]["verdict"], "cancelled", "{attempts:?}");
    assert_eq!(answered[0]["outcome"], "cancelled", "{answered:?}");
    assert!(of_type(&log, "GateClosed").is_empty());
    (attempts[0].clone(), answered[0].clone())
}

#[tokio::test]
async fn a_client_that_leaves_before_the_first_byte_cancels_the_call() {
    let (google, server) = stage(Failure::HoldFirstByte).await;
    let request = server.app().post(SSE, &ask("Hello"));
    let client = tokio::spawn(async move { request.send().await.map(|answer| answer.status()) });
    arrived(&google).await;
    client.abort();
    seen(&google, End::ClientLeft).await;
    let (attempt, answered) = cancelled_once(server).await;
    assert!(attempt["first_byte_ms"].is_null() && answered["first_byte_ms"].is_null(), "{answered}");
    assert_eq!((&answered["status"], &answered["bytes"]), (&0.into(), &0.into()), "it saw nothing");
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_cancels_the_call() {
    let (google, server) = stage(Failure::Stall { after: 2, lasts: None }).await;
    let mut answer = server.app().post(SSE, &ask("Hello")).send().await.unwrap();
    let first = answer.chunk().await.unwrap().unwrap();
    drop(answer);
    seen(&google, End::ClientLeft).await;
    let (attempt, answered) = cancelled_once(server).await;
    assert!(answered["bytes"].as_u64().unwrap() >= first.len() as u64, "{answered}");
    assert_eq!(attempt["bytes_received"], answered["bytes"]);
    assert_eq!(answered["status"], 200);
}

#[tokio::test]
async fn a_client_that_leaves_between_two_tries_is_not_tried_for_again() {
    let world = World::new()
        .key_with("alpha", "AIza-good-1", Fault::always(Failure::HoldFirstByte))
        .key_with("beta", "AIza-good-2", Fault::always(Failure::HoldFirstByte))
        .fault(Fault::always(Failure::Overloaded));
    let google = SimulatedGoogle::start(world).await.unwrap();
    let server = Setup::new(&google, &["AIza-good-1", "AIza-good-2"]).start();
    let request = server.app().post(SSE, &ask("Hello"));
    let client = tokio::spawn(async move { request.send().await.map(|answer| answer.status()) });
    arrived(&google).await;
    client.abort();
    seen(&google, End::ClientLeft).await;
    cancelled_once(server).await;
    assert_eq!(google.seen_count(), 1);
}

#[tokio::test]
async fn half_a_request_holds_nobody_up() {
    let (google, server) = stage(Failure::SlowFirstByte(Duration::ZERO)).await;
    let mut held = Vec::new();
    for _ in 0..50 {
        let mut socket = raw::connect(&server.origin).await;
        tokio::io::AsyncWriteExt::write_all(&mut socket, b"POST /v1beta/models HTTP/1.1\r\nhost: po")
            .await
            .unwrap();
        held.push(socket);
    }
    assert_eq!(server.app().generate("gemini-2.5-flash", "Hello").await.0, 200);
    drop(held);
    assert_eq!(google.seen_count(), 1);
    assert_eq!(of_type(&server.stop().0.log(), "Answered").len(), 1);
}
