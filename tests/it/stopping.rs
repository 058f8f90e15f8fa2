//! The way down: running requests first, the log last, and never longer than allowed.

use std::time::{Duration, Instant};

use gemini_pool::simulated::{End, Failure, Fault, SimulatedGoogle, World};
use serde_json::Value;
use tokio::io::AsyncWriteExt;

use crate::support::{Server, Setup, ask, http, of_type, raw};

const SSE: &str = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse";

async fn stage(failure: Option<Failure>) -> (SimulatedGoogle, Setup) {
    let mut world = World::new().key("alpha", "AIza-good-1");
    if let Some(failure) = failure {
        world = world.fault(Fault::always(failure));
    }
    let google = SimulatedGoogle::start(world).await.unwrap();
    let setup = Setup::new(&google, &["AIza-good-1"]);
    (google, setup)
}

/// Waits for its end without holding up this test's other tasks; gives how long it took.
async fn end(server: Server) -> (bool, Setup, Duration) {
    let began = Instant::now();
    let (well, setup) = tokio::task::spawn_blocking(move || server.wait()).await.unwrap();
    (well, setup, began.elapsed())
}

fn last(log: &[Value]) -> Value {
    log.last().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_stream_is_drained_and_the_stop_is_the_last_event() {
    for signal in ["-TERM", "-INT"] {
        let (google, setup) = stage(Some(Failure::Stall { after: 2, lasts: None })).await;
        let server = setup.start();
        let mut answer = server.app().post(SSE, &ask("Hello")).send().await.unwrap();
        let mut got = answer.chunk().await.unwrap().unwrap().to_vec();
        server.signal(signal);
        server.wait_for_line("stopping: running requests may end");
        // No new work: refused, or told to go elsewhere. The door closes a moment after the word.
        let origin = server.origin.clone();
        let began = Instant::now();
        loop {
            match http().get(format!("{origin}/readyz")).send().await {
                Ok(answer) if answer.status() == 503 => break,
                Err(_) => break,
                Ok(answer) => {
                    assert!(began.elapsed().as_secs() < 10, "{signal}: {} while stopping", answer.status())
                }
            }
        }
        google.release();
        while let Some(chunk) = answer.chunk().await.unwrap() {
            got.extend(chunk);
        }
        let text = String::from_utf8(got).unwrap();
        assert!(
            text.contains("\"finishReason\": \"STOP\"") && !text.contains("\"error\""),
            "{signal}: {text}"
        );
        let (well, setup, took) = end(server).await;
        assert!(well, "{signal}: exit code 0");
        assert!(took < Duration::from_secs(5), "{signal}: {took:?} after the last stream's end");
        let log = setup.log();
        assert_eq!(of_type(&log, "Attempted")[0]["verdict"], "success");
        assert_eq!(of_type(&log, "Answered")[0]["outcome"], "complete");
        assert_eq!(last(&log)["type"], "ServerStopped");
        assert_eq!(last(&log)["event"]["abandoned"], 0);
        assert!(!setup.data().join("server.address").exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_stream_is_cut_when_the_time_is_up() {
    let (google, setup) = stage(Some(Failure::Stall { after: 2, lasts: None })).await;
    let server = setup.with("SHUTDOWN_TIMEOUT", "1").start();
    let mut answer = server.app().post(SSE, &ask("Hello")).send().await.unwrap();
    answer.chunk().await.unwrap().unwrap();
    server.ask_to_stop();
    let (well, setup, took) = end(server).await;
    assert!(well);
    assert!((Duration::from_millis(900)..Duration::from_secs(5)).contains(&took), "{took:?}");
    let seen =
        tokio::time::timeout(Duration::from_secs(10), google.wait_for(|seen| seen[0].end == End::ClientLeft))
            .await;
    assert!(seen.is_ok(), "{:?}", google.seen());
    let log = setup.log();
    let (attempts, answered) = (of_type(&log, "Attempted"), of_type(&log, "Answered"));
    assert_eq!((attempts.len(), answered.len()), (1, 1), "{log:#?}");
    assert_ne!(attempts[0]["verdict"], "success");
    assert_ne!(answered[0]["outcome"], "complete");
    assert_eq!(last(&log)["type"], "ServerStopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_cut_at_the_end_is_counted() {
    let (_google, setup) = stage(Some(Failure::Stall { after: 2, lasts: None })).await;
    let server = setup.with("SHUTDOWN_TIMEOUT", "1").start();
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut answer = server.app().post(SSE, &ask("Hello")).send().await.unwrap();
        answer.chunk().await.unwrap().unwrap();
        held.push(answer);
    }
    server.ask_to_stop();
    let log = end(server).await.1.log();
    assert_eq!(last(&log)["event"]["abandoned"], 3, "{}", last(&log));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_a_first_byte_is_cut_too() {
    let (google, setup) = stage(Some(Failure::HoldFirstByte)).await;
    let server = setup.with("SHUTDOWN_TIMEOUT", "1").start();
    let request = server.app().post(SSE, &ask("Hello"));
    let client = tokio::spawn(async move { request.send().await.map(|answer| answer.status()) });
    tokio::time::timeout(Duration::from_secs(10), google.wait_for(|seen| !seen.is_empty())).await.unwrap();
    server.ask_to_stop();
    let (well, setup, took) = end(server).await;
    assert!(well && took < Duration::from_secs(5), "{took:?}");
    assert!(client.await.unwrap().is_err());
    let log = setup.log();
    assert_eq!((of_type(&log, "Attempted").len(), of_type(&log, "Answered").len()), (1, 1));
    assert_eq!(last(&log)["type"], "ServerStopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_do_not_hold_up_the_stop() {
    let (_google, setup) = stage(None).await;
    let server = setup.start();
    let app = server.app();
    // Kept alive after an answer, in a pool of the client's.
    let mut apps = Vec::new();
    for _ in 0..20 {
        let app = server.app();
        assert_eq!(app.generate("gemini-2.5-flash", "Hello").await.0, 200);
        apps.push(app);
    }
    // And some that never said a word.
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(raw::connect(&server.origin).await);
    }
    assert_eq!(app.generate("gemini-2.5-flash", "Hello").await.0, 200);
    server.ask_to_stop();
    let (well, _, took) = end(server).await;
    eprintln!("the stop with 41 idle connections took {took:?}");
    assert!(well && took < Duration::from_secs(3), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_request_does_not_hold_up_the_stop() {
    let (_google, setup) = stage(None).await;
    let server = setup.with("SHUTDOWN_TIMEOUT", "20").start();
    let mut half = raw::connect(&server.origin).await;
    half.write_all(b"POST /v1beta/models HTTP/1.1\r\nhost: po").await.unwrap();
    assert_eq!(server.app().generate("gemini-2.5-flash", "Hello").await.0, 200);
    server.ask_to_stop();
    let (well, _, took) = end(server).await;
    assert!(well && took < Duration::from_secs(5), "{took:?} for a client that never said what it wants");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_says_it_serves_can_be_asked_to_stop() {
    let (_google, setup) = stage(None).await;
    for _ in 0..5 {
        // `start` returns with the word that it serves; nothing was asked of it yet.
        let server = setup.clone().start();
        server.ask_to_stop();
        let (well, setup, _) = end(server).await;
        assert!(well, "killed by the signal instead of stopping");
        assert_eq!(last(&setup.log())["type"], "ServerStopped");
    }
}
