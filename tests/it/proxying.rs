//! A request's way through the pool.

use gemini_pool::simulated::{Failure, Fault, KeyState, SimulatedGoogle, World};
use serde_json::json;

use crate::support::{CLIENT_KEY, Setup, ask};

#[tokio::test]
async fn an_answer_passes_byte_for_byte_and_is_recorded_once() {
    let google = SimulatedGoogle::start(World::new().key("alpha", "AIza-good-1")).await.unwrap();
    let server = Setup::new(&google, &["AIza-good-1"]).start();
    let through = server.app().stream("gemini-2.5-flash", "Hello").await;
    assert_eq!(through.0, 200);
    let (status, answer) = server.app().generate("gemini-2.5-flash", "Hello").await;
    assert_eq!(status, 200);
    assert!(answer["candidates"][0]["content"]["parts"][0]["text"].as_str().unwrap().contains("Hello"));
    let operator = server.operator().await;
    let attempts = operator.events_of("Attempted", 2).await;
    let answered = operator.events_of("Answered", 2).await;
    assert_eq!(google.seen_count(), 2);
    assert!(google.seen().iter().all(|seen| seen.violations.is_empty()), "{:?}", google.seen());
    assert_eq!(attempts[0]["verdict"], "success");
    assert_eq!(attempts[0]["tokens"]["total"], 21);
    assert_eq!(attempts[0]["finish_reason"], "STOP");
    assert_eq!(answered[0]["outcome"], "complete");
    assert_eq!(answered[0]["bytes"], json!(through.1.len()));
}

#[tokio::test]
async fn failover_is_not_seen_by_the_app() {
    let world = World::new()
        .key_in("alpha", "AIza-bad", KeyState::Bad)
        .key_in("beta", "AIza-leaked", KeyState::Leaked)
        .key_with("gamma", "AIza-storm", Fault::always(Failure::Overloaded))
        .key("delta", "AIza-good");
    let google = SimulatedGoogle::start(world).await.unwrap();
    let server = Setup::new(&google, &["AIza-bad", "AIza-leaked", "AIza-storm", "AIza-good"]).start();
    for _ in 0..10 {
        let (status, answer) = server.app().generate("gemini-2.5-flash", "Hello").await;
        assert_eq!(status, 200, "{answer}");
    }
    let operator = server.operator().await;
    operator.events_of("Answered", 10).await;
    for (key, most) in [("AIza-bad", 1), ("AIza-leaked", 1), ("AIza-storm", 3)] {
        let tries = google.seen().iter().filter(|seen| seen.key == key).count();
        assert!(tries <= most, "{key} was tried {tries} times");
    }
}

/// One request may not ask all of a heap of dead keys; what it is told then is true, and whoever comes after the first
/// success finds the key that served.
#[tokio::test]
async fn a_heap_of_dead_keys_hides_no_good_one() {
    let dead: Vec<String> = (0..40).map(|number| format!("AIza-dead-{number}")).collect();
    let world = dead.iter().fold(World::new(), |world, key| world.key_in(key, key, KeyState::Bad));
    let google = SimulatedGoogle::start(world.key("good", "AIza-good")).await.unwrap();
    let keys: Vec<&str> = dead.iter().map(String::as_str).chain(["AIza-good"]).collect();
    let server = Setup::new(&google, &keys).start();
    let app = server.app();
    let mut refused = 0;
    while app.generate("gemini-2.5-flash", "Hello").await.0 != 200 {
        refused += 1;
        assert!(refused < 5, "the good key is not found");
    }
    for _ in 0..15 {
        let before = google.seen_count();
        let (status, answer) = app.generate("gemini-2.5-flash", "Hello").await;
        assert_eq!(status, 200, "{answer}");
        assert!(google.seen_count() - before <= 3, "{} tries", google.seen_count() - before);
    }
}

/// Two dozen keys are not twelve: when the tries are used up, nobody says that all are out.
#[tokio::test]
async fn a_request_whose_tries_are_used_up_is_told_so() {
    let dead: Vec<String> = (0..24).map(|number| format!("AIza-dead-{number}")).collect();
    let world = dead.iter().fold(World::new(), |world, key| world.key_in(key, key, KeyState::Bad));
    let google = SimulatedGoogle::start(world).await.unwrap();
    let keys: Vec<&str> = dead.iter().map(String::as_str).collect();
    let server = Setup::new(&google, &keys).start();
    let (status, answer) = server.app().generate("gemini-2.5-flash", "Hello").await;
    assert_eq!((status, &answer["error"]["details"][0]["reason"]), (503, &json!("TRIES_SPENT")), "{answer}");
    assert_eq!(google.seen_count(), 12);
    let (status, answer) = server.app().generate("gemini-2.5-flash", "Hello").await;
    assert_eq!((status, &answer["error"]["details"][0]["reason"]), (429, &json!("ALL_KEYS_OUT")), "{answer}");
    assert_eq!(google.seen_count(), 24);
}

#[tokio::test]
async fn a_clients_mistake_passes_back_and_hurts_nobody() {
    let google = SimulatedGoogle::start(World::new().key("alpha", "AIza-good-1")).await.unwrap();
    let server = Setup::new(&google, &["AIza-good-1"]).start();
    let (status, answer) = server.app().generate("no-such-model", "Hello").await;
    assert_eq!(status, 404);
    assert!(answer["error"]["message"].as_str().unwrap().contains("no-such-model"), "{answer}");
    let bad = server
        .app()
        .post("/v1beta/models/gemini-2.5-flash:generateContent", &json!({}))
        .body("{\"contents\": [");
    assert_eq!(bad.send().await.unwrap().status(), 400);
    assert_eq!(google.seen_count(), 2, "neither was tried twice");
    let operator = server.operator().await;
    assert_eq!(operator.keys().await[0]["state"], "ready");
    assert_eq!(
        server
            .app()
            .post("/v1beta/models/gemini-2.5-flash:countTokens", &ask("x"))
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
}

#[tokio::test]
async fn a_clients_short_deadline_hurts_no_key() {
    let world = World::new().fault(Fault::always(Failure::HoldFirstByte)).key("alpha", "AIza-good-1");
    let google = SimulatedGoogle::start(world).await.unwrap();
    let server = Setup::new(&google, &["AIza-good-1"]).with("MAX_FAILURES_PER_KEY", "1").start();
    let path = "/v1beta/models/gemini-2.5-flash:generateContent";
    // Google takes no shorter one.
    let hurried = server.app().post(path, &ask("Hello")).header("x-server-timeout", "10");
    assert_eq!(hurried.send().await.unwrap().status(), 504);
    let operator = server.operator().await;
    let attempts = operator.events_of("Attempted", 1).await;
    assert!(attempts.iter().all(|attempt| attempt["reason"] == "DEADLINE"), "{attempts:?}");
    operator.events_of("GateClosed", 0).await;
    assert_eq!(operator.keys().await[0]["state"], "ready");
}

#[tokio::test]
async fn an_answer_without_a_body_is_a_whole_answer() {
    let google = SimulatedGoogle::start(World::new().key("alpha", "AIza-good-1")).await.unwrap();
    let server = Setup::new(&google, &["AIza-good-1"]).start();
    let head = server
        .app()
        .http
        .head(format!("{}/v1beta/models", server.origin))
        .header("x-goog-api-key", CLIENT_KEY);
    let status = head.send().await.unwrap().status();
    let operator = server.operator().await;
    let answered = operator.events_of("Answered", 1).await;
    assert_eq!(answered[0]["outcome"], "complete", "{answered:?} after {status}");
}

#[tokio::test]
async fn what_a_cancelled_stream_had_counted_is_recorded() {
    let stall = Fault::always(Failure::Stall { after: 2, lasts: None });
    let google = SimulatedGoogle::start(World::new().fault(stall).key("alpha", "AIza-good-1")).await.unwrap();
    let server = Setup::new(&google, &["AIza-good-1"]).start();
    let path = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse";
    let mut answer = server.app().post(path, &ask("Hello")).send().await.unwrap();
    assert!(answer.chunk().await.unwrap().is_some());
    drop(answer);
    let operator = server.operator().await;
    let attempts = operator.events_of("Attempted", 1).await;
    assert_eq!(attempts[0]["verdict"], "cancelled");
    assert!(attempts[0]["tokens"]["total"].as_u64().unwrap() > 0, "{attempts:?}");
}

#[tokio::test]
async fn a_wrong_body_is_not_quoted_back_by_the_admin_api() {
    let google = SimulatedGoogle::start(World::new().key("alpha", "AIza-good-1")).await.unwrap();
    let server = Setup::new(&google, &["AIza-good-1"]).start();
    let operator = server.operator().await;
    let body = json!({"keys": "AIza-a-secret-in-the-wrong-place"});
    let (status, answer) = operator.call(reqwest::Method::POST, "/keys/bulk_add", Some(body)).await;
    assert_eq!(status, 400);
    assert!(!answer.to_string().contains("AIza"), "{answer}");
    let body = json!({"username": "admin", "password": ["hunter2"]});
    let (status, answer) = operator.call(reqwest::Method::POST, "/login", Some(body)).await;
    assert_eq!(status, 400);
    assert!(!answer.to_string().contains("hunter2"), "{answer}");
}
