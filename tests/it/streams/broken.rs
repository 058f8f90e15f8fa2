//! Streams that go wrong under way: told in the stream, recorded as what they were, never tried again.

use gemini_pool::simulated::{ErrorForm, Failure, Fault, SimulatedGoogle, World};
use serde_json::{Value, json};

use crate::support::{
    Server, Setup, ask, of_type,
    raw::{Script, google_of},
};

const SSE: &str = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse";
const KEYS: [&str; 3] = ["AIza-good-1", "AIza-good-2", "AIza-good-3"];

async fn stage(failure: Failure) -> (SimulatedGoogle, Server) {
    let mut world = World::new().fault(Fault::always(failure));
    for (project, key) in ["alpha", "beta", "gamma"].iter().zip(KEYS) {
        world = world.key(project, key);
    }
    let google = SimulatedGoogle::start(world).await.unwrap();
    let server = Setup::new(&google, &KEYS).with("STREAM_IDLE_TIMEOUT", "1").start();
    (google, server)
}

/// The events of a stream, as its blank lines cut it.
fn events(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8(bytes.to_vec()).unwrap().replace("\r\n", "\n");
    text.split("\n\n").filter(|event| !event.is_empty()).map(str::to_owned).collect()
}

fn one(log: &[Value], kind: &str) -> Value {
    let found = of_type(log, kind);
    assert_eq!(found.len(), 1, "{found:#?}");
    found[0].clone()
}

#[tokio::test]
async fn a_stream_that_breaks_or_stalls_ends_with_one_error_event() {
    let mut told = String::new();
    for (name, failure) in [
        ("cut between events", Failure::CutAfter(2)),
        ("cut inside an event", Failure::CutInside(2)),
        ("stalled", Failure::Stall { after: 2, lasts: None }),
    ] {
        let (google, server) = stage(failure.clone()).await;
        let (status, bytes) = server.app().stream("gemini-2.5-flash", "Hello").await;
        assert_eq!(status, 200);
        let events = events(&bytes);
        let errors = events.iter().filter(|event| event.contains("\"error\"")).count();
        assert_eq!(errors, 1, "{name}: {events:?}");
        let last = events.last().unwrap();
        let error: Value = serde_json::from_str(last.strip_prefix("data: ").unwrap()).unwrap();
        told.push_str(&format!("{name}\n{last}\n"));
        assert_eq!(
            (&error["error"]["code"], &error["error"]["status"]),
            (&json!(503), &json!("UNAVAILABLE"))
        );
        assert!(bytes.ends_with(b"\r\n\r\n"));
        for whole in &events[..2] {
            serde_json::from_str::<Value>(whole.strip_prefix("data: ").unwrap()).unwrap();
        }
        assert_eq!(google.seen_count(), 1, "{name}: never tried again");
        let log = server.stop().0.log();
        let (attempt, answered) = (one(&log, "Attempted"), one(&log, "Answered"));
        assert_eq!(
            (&attempt["verdict"], &answered["outcome"]),
            (&json!("truncated"), &json!("truncated")),
            "{name}"
        );
        assert_eq!(answered["bytes"], bytes.len());
        assert!(of_type(&log, "GateClosed").is_empty(), "nobody's key suffers: {log:#?}");
    }
    insta::with_settings!({snapshot_path => "../../../snapshots", prepend_module_to_snapshot => false}, {
        insta::assert_snapshot!("broken_streams", told);
    });
}

#[tokio::test]
async fn an_error_event_is_an_event_of_its_own_wherever_the_stream_was_cut() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let event = "data: {\"candidates\": []}\r\n\r\n";
    let scripts = (1..=event.len()).map(|cut| {
        let sent = format!("{event}{}", &event[..cut]);
        Script { bytes: format!("{head}{:x}\r\n{sent}\r\n", sent.len()).into_bytes(), close: true }
    });
    let origin = google_of(scripts.collect()).await;
    let google = SimulatedGoogle::start(World::new()).await.unwrap();
    let server = Setup::new(&google, &KEYS[..1]).with("GEMINI_BASE_URL", &origin).start();
    for cut in 1..=event.len() {
        let (status, bytes) = server.app().stream("gemini-2.5-flash", "Hello").await;
        assert_eq!(status, 200);
        let events = events(&bytes);
        let last = events.last().unwrap();
        assert!(
            last.starts_with("data: {\"error\"") && !last.contains('\n'),
            "cut after {:?} the last event is {last:?}",
            &event[..cut]
        );
    }
}

#[tokio::test]
async fn a_broken_array_or_whole_answer_is_broken_for_the_client_too() {
    for (path, failure) in [
        ("/v1beta/models/gemini-2.5-flash:streamGenerateContent", Failure::CutAfter(2)),
        ("/v1beta/models/gemini-2.5-flash:streamGenerateContent", Failure::Stall { after: 2, lasts: None }),
        ("/v1beta/models/gemini-2.5-flash:generateContent", Failure::CutAfter(1)),
        ("/v1beta/models/gemini-2.5-flash:generateContent", Failure::Stall { after: 1, lasts: None }),
    ] {
        let (google, server) = stage(failure).await;
        let answer = server.app().post(path, &ask("Hello")).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert!(answer.bytes().await.is_err(), "{path}: a client must see that it is not whole");
        assert_eq!(google.seen_count(), 1);
        let log = server.stop().0.log();
        assert_eq!(one(&log, "Attempted")["verdict"], "truncated", "{path}");
        assert_eq!(one(&log, "Answered")["outcome"], "truncated", "{path}");
    }
}

#[tokio::test]
async fn an_error_inside_a_stream_passes_unchanged_and_is_no_success() {
    for (form, start) in [(ErrorForm::Bare, "{\n  \"error\": {"), (ErrorForm::DataLine, "data: {\"error\":{")]
    {
        for code in [429, 499, 503] {
            let (google, server) = stage(Failure::ErrorInStream { after: 2, form, code }).await;
            let (status, bytes) = server.app().stream("gemini-2.5-flash", "Hello").await;
            assert_eq!(status, 200);
            let events = events(&bytes);
            assert_eq!(events.len(), 3, "{events:?}");
            assert!(events[2].starts_with(start), "{}", events[2]);
            assert_eq!(events[2].matches("\"error\"").count(), 1);
            assert_eq!(google.seen_count(), 1, "never tried again");
            let log = server.stop().0.log();
            let (attempt, answered) = (one(&log, "Attempted"), one(&log, "Answered"));
            assert_eq!(
                (&attempt["verdict"], &answered["outcome"]),
                (&json!("stream_error"), &json!("truncated")),
                "{attempt}"
            );
            assert!(attempt["reason"].is_string(), "{attempt}");
            assert_eq!(answered["bytes"], bytes.len());
        }
    }
}

#[tokio::test]
async fn a_stream_that_ends_without_its_end_is_truncated_and_left_as_it_is() {
    let (_google, server) = stage(Failure::NoFinalBlankLine).await;
    let (status, bytes) = server.app().stream("gemini-2.5-flash", "Hello").await;
    assert_eq!(status, 200);
    assert!(bytes.ends_with(b"}"), "nothing is added");
    let log = server.stop().0.log();
    assert_eq!(one(&log, "Attempted")["verdict"], "truncated");
}

#[tokio::test]
async fn an_interaction_that_breaks_ends_in_its_own_form() {
    let (_google, server) = stage(Failure::CutAfter(2)).await;
    let body = json!({"model": "gemini-2.5-flash", "stream": true, "input": "Hello"});
    let answer = server.app().post("/v1beta/interactions", &body).send().await.unwrap();
    let events = events(&answer.bytes().await.unwrap());
    let last: Value = serde_json::from_str(events.last().unwrap().strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!((&last["event_type"], &last["error"]["code"]), (&json!("error"), &json!("unavailable")));
}

#[tokio::test]
async fn silence_before_an_answer_is_a_deadline_in_googles_shape() {
    let google = SimulatedGoogle::start(
        World::new().key("alpha", KEYS[0]).key("beta", KEYS[1]).fault(Fault::always(Failure::HoldFirstByte)),
    )
    .await
    .unwrap();
    let server = Setup::new(&google, &KEYS[..2]).with("REQUEST_TIMEOUT", "1").start();
    let mut told = String::new();
    let chat = json!({"model": "gemini-2.5-flash", "messages": [{"role": "user", "content": "Hello"}]});
    for (path, body) in [
        (SSE, ask("Hello")),
        ("/v1beta/openai/chat/completions", chat),
        ("/v1beta/interactions", json!({"model": "gemini-2.5-flash", "input": "Hello"})),
    ] {
        let answer = server.app().post(path, &body).send().await.unwrap();
        assert_eq!(answer.status(), 504, "{path}");
        assert_eq!(answer.headers()["content-type"], "application/json; charset=UTF-8");
        told.push_str(&format!("> {path}\n{}\n", answer.text().await.unwrap()));
    }
    insta::with_settings!({snapshot_path => "../../../snapshots", prepend_module_to_snapshot => false}, {
        insta::assert_snapshot!("too_slow", told);
    });
    assert_eq!(google.seen_count(), 3, "the time was all used up by one try");
    let log = server.stop().0.log();
    assert!(of_type(&log, "Attempted").iter().all(|event| event["verdict"] == "timed_out"), "{log:#?}");
}

#[tokio::test]
async fn a_clients_own_deadline_is_kept() {
    let google = SimulatedGoogle::start(
        World::new().key("alpha", KEYS[0]).fault(Fault::times(1, Failure::HoldFirstByte)),
    )
    .await
    .unwrap();
    let server = Setup::new(&google, &KEYS[..1]).start();
    let app = server.app();
    let get = |seconds: &'static str| {
        let url = format!("{}/v1beta/models", server.origin);
        app.http
            .get(url)
            .header("x-goog-api-key", app.key.clone().unwrap())
            .header("x-server-timeout", seconds)
    };
    let began = std::time::Instant::now();
    let answer = get("1").send().await.unwrap();
    assert_eq!(answer.status(), 504);
    assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["error"]["status"], "DEADLINE_EXCEEDED");
    for odd in ["0", "-1", "soon", "1e400", "NaN", ""] {
        assert_eq!(get(odd).send().await.unwrap().status(), 200, "{odd:?} is no deadline");
    }
}
