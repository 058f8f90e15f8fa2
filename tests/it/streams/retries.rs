//! When another key may answer, and when not.

use gemini_pool::simulated::{ErrorForm, Failure, Fault, KeyState, SimulatedGoogle, World};
use serde_json::{Value, json};

use crate::support::{
    Server, Setup, ask, of_type,
    raw::{Script, google_of},
};

const KEYS: [&str; 4] = ["AIza-first-0001", "AIza-second-0002", "AIza-third-0003", "AIza-fourth-0004"];
const GENERATE: &str = "/v1beta/models/gemini-2.5-flash:generateContent";

/// Four keys in four projects, and these faults for every call.
async fn stage(faults: Vec<Fault>) -> (SimulatedGoogle, Server) {
    let mut world = World::new();
    for (n, key) in KEYS.iter().enumerate() {
        world = world.key(&format!("project-{n}"), key);
    }
    for fault in faults {
        world = world.fault(fault);
    }
    let google = SimulatedGoogle::start(world).await.unwrap();
    let server = Setup::new(&google, &KEYS).start();
    (google, server)
}

fn keys_of(google: &SimulatedGoogle) -> Vec<String> {
    google.seen().into_iter().map(|seen| seen.key).collect()
}

fn all_differ(keys: &[String]) -> bool {
    keys.iter().collect::<std::collections::BTreeSet<_>>().len() == keys.len()
}

#[tokio::test]
async fn an_error_as_the_first_event_is_seen_by_another_key_only() {
    for form in [ErrorForm::Bare, ErrorForm::DataLine] {
        let (google, server) =
            stage(vec![Fault::times(1, Failure::ErrorInStream { after: 0, form, code: 503 })]).await;
        let (status, bytes) = server.app().stream("gemini-2.5-flash", "Hello").await;
        let text = String::from_utf8(bytes).unwrap();
        assert_eq!(status, 200);
        assert!(!text.contains("\"error\"") && text.contains("STOP"), "{text}");
        assert_eq!(google.seen_count(), 2);
        assert!(all_differ(&keys_of(&google)));
        let log = server.stop().0.log();
        let verdicts: Vec<_> =
            of_type(&log, "Attempted").iter().map(|event| event["verdict"].clone()).collect();
        assert_eq!(verdicts, ["overloaded", "success"]);
        assert_eq!(of_type(&log, "Answered")[0]["attempts"], 2);
    }
}

#[tokio::test]
async fn an_error_as_the_only_event_is_an_error_status_when_nobody_does_better() {
    let failure = Failure::ErrorInStream { after: 0, form: ErrorForm::Bare, code: 503 };
    let (google, server) = stage(vec![Fault::always(failure)]).await;
    let answer = server
        .app()
        .post("/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse", &ask("x"))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["content-type"], "application/json; charset=UTF-8");
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["error"]["status"], "UNAVAILABLE");
    assert_eq!(google.seen_count(), 3, "MAX_ATTEMPTS");
}

#[tokio::test]
async fn an_empty_stream_and_a_lost_connection_are_tried_with_another_key() {
    for (failure, verdict) in [
        (Failure::EmptyStream, "empty_answer"),
        (Failure::CutBeforeHead, "connection_lost"),
        (Failure::CutAfter(0), "connection_lost"),
    ] {
        let (google, server) = stage(vec![Fault::times(1, failure.clone())]).await;
        let (status, bytes) = server.app().stream("gemini-2.5-flash", "Hello").await;
        assert_eq!(status, 200, "{failure:?}");
        assert!(String::from_utf8(bytes).unwrap().contains("STOP"));
        assert_eq!(google.seen_count(), 2, "{failure:?}");
        assert!(all_differ(&keys_of(&google)));
        let log = server.stop().0.log();
        assert_eq!(of_type(&log, "Attempted")[0]["verdict"], verdict);
    }
}

#[tokio::test]
async fn no_key_is_asked_twice_and_no_more_than_max_attempts() {
    for failure in [Failure::Overloaded, Failure::Internal, Failure::BadGateway, Failure::Deadline] {
        let (google, server) = stage(vec![Fault::always(failure.clone())]).await;
        let (status, _) = {
            let answer = server.app().post(GENERATE, &ask("Hello")).send().await.unwrap();
            (answer.status().as_u16(), answer.bytes().await.unwrap())
        };
        assert!(status >= 500, "{failure:?}: {status}");
        assert_eq!(google.seen_count(), 3, "{failure:?}");
        assert!(all_differ(&keys_of(&google)), "{failure:?}: {:?}", keys_of(&google));
    }
}

#[tokio::test]
async fn what_may_have_happened_is_not_done_again() {
    let posts = [
        ("/v1beta/interactions", json!({"model": "gemini-2.5-flash", "input": "Hello"})),
        (
            "/v1beta/cachedContents",
            json!({"model": "models/gemini-2.5-flash", "contents": [{"role": "user", "parts": [{"text": "x"}]}]}),
        ),
        ("/upload/v1beta/files", json!({"file": {"displayName": "x"}})),
    ];
    for failure in [Failure::Overloaded, Failure::Internal, Failure::CutBeforeHead] {
        for (path, body) in &posts {
            let (google, server) = stage(vec![Fault::always(failure.clone())]).await;
            let answer = server
                .app()
                .post(path, body)
                .header("x-goog-upload-protocol", "resumable")
                .header("x-goog-upload-command", "start")
                .send()
                .await
                .unwrap();
            assert!(answer.status().is_server_error(), "{path} {failure:?}: {}", answer.status());
            assert_eq!(google.seen_count(), 1, "{path} {failure:?}");
        }
    }
}

#[tokio::test]
async fn what_certainly_did_not_happen_is_done_with_another_key() {
    let mut world =
        World::new().key_in("bad", KEYS[0], KeyState::Bad).key_in("leaked", KEYS[1], KeyState::Leaked);
    world = world.key("good", KEYS[2]);
    let google = SimulatedGoogle::start(world).await.unwrap();
    let server = Setup::new(&google, &KEYS[..3]).start();
    let body = json!({"model": "gemini-2.5-flash", "input": "Hello"});
    let answer = server.app().post("/v1beta/interactions", &body).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
    assert!(all_differ(&keys_of(&google)));
}

fn reply(head: &str, body: &str) -> Script {
    let bytes =
        format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
    Script { bytes: bytes.into_bytes(), close: true }
}

/// A server with one key in front of a made-up Google.
async fn before(script: Script) -> Server {
    let google = SimulatedGoogle::start(World::new()).await.unwrap();
    Setup::new(&google, &KEYS[..1]).with("GEMINI_BASE_URL", &google_of(vec![script]).await).start()
}

/// What belongs to one key is not waited for because others are there: they could not serve it.
#[tokio::test]
async fn nobody_waits_where_the_one_key_that_may_be_asked_has_been() {
    let google = SimulatedGoogle::start(World::new()).await.unwrap();
    let error = json!({"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE", "details": [
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7s"},
    ]}});
    let script = reply("503 Service Unavailable\r\ncontent-type: application/json", &error.to_string());
    let setup = Setup::new(&google, &KEYS).with("GEMINI_BASE_URL", &google_of(vec![script]).await);
    let server = setup.start();
    let began = std::time::Instant::now();
    // Nobody is known to own it, so the one keeper is asked.
    let url = format!("{}/v1beta/files/nobody-knows", server.origin);
    let answer = server.app().http.get(url).header("x-goog-api-key", crate::support::CLIENT_KEY);
    assert_eq!(answer.send().await.unwrap().status(), 503);
    assert!(began.elapsed().as_secs() < 6, "{:?}", began.elapsed());
    assert_eq!(server.operator().await.events_of("Attempted", 1).await[0]["status"], 503);
}

#[tokio::test]
async fn a_key_that_google_echoes_is_masked_wherever_it_stands() {
    let key = KEYS[0];
    let event = format!("data: {{\"candidates\": [], \"echo\": \"{key}\"}}\r\n\r\n");
    let (first, second) = event.split_at(event.find(key).unwrap() + 7);
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    let stream = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n{}{}0\r\n\r\n",
        chunk(first),
        chunk(second)
    );
    let suspended = format!(
        "{{\"error\": {{\"code\": 400, \"message\": \"Consumer 'api_key:{key}' …\", \"status\": \"INVALID_ARGUMENT\"}}}}"
    );
    for (name, script) in [
        ("an error", reply("400 Bad Request\r\ncontent-type: application/json", &suspended)),
        (
            "an error of Google's own",
            reply("503 Service Unavailable\r\ncontent-type: application/json", &suspended),
        ),
        ("an answer", reply("200 OK\r\ncontent-type: application/json", &format!("{{\"key\": \"{key}\"}}"))),
        ("a stream", Script { bytes: stream.into_bytes(), close: true }),
        (
            "an upload's address",
            reply(
                &format!(
                    "200 OK\r\nx-goog-upload-url: https://generativelanguage.googleapis.com/upload/v1beta/files?upload_id=1&key={key}"
                ),
                "{}",
            ),
        ),
    ] {
        let server = before(script).await;
        let answer = server.app().post(GENERATE, &ask("Hello")).send().await.unwrap();
        let headers = format!("{:?}", answer.headers());
        let body = answer.text().await.unwrap();
        assert!(!body.contains(key) && !headers.contains(key), "{name}: {headers}\n{body}");
        if !name.contains("address") {
            assert!(body.contains(&"*".repeat(key.len())), "{name}: {body}");
        }
        let log = server.stop().0.log();
        assert!(!format!("{log:?}").contains(key), "{name}");
    }
}

/// In there it cannot be masked, so the answer ends before it.
#[tokio::test]
async fn a_packed_answer_with_a_key_in_it_is_broken_off() {
    let key = KEYS[0];
    let google = SimulatedGoogle::start(World::new().key("alpha", key)).await.unwrap();
    let server = Setup::new(&google, &KEYS[..1]).start();
    let asks = async |text: &str| {
        // The simulated Google says what it heard.
        let request = server.app().post(GENERATE, &ask(text)).header("accept-encoding", "gzip");
        // A short one ends before its head has gone out.
        let answer = request.send().await.ok()?;
        assert_eq!(answer.headers()["content-encoding"], "gzip");
        answer.bytes().await.ok()
    };
    assert!(asks("Hello").await.is_some());
    assert_eq!(asks(&format!("a key: {key}")).await, None);
    let operator = server.operator().await;
    let attempts = operator.events_of("Attempted", 2).await;
    assert_eq!(attempts[1]["reason"], "an upstream key stood in it");
    assert_eq!(operator.events_of("Answered", 2).await[1]["outcome"], "truncated");
}

#[tokio::test]
async fn a_key_that_google_echoes_in_a_header_is_masked_too() {
    let key = KEYS[0];
    for head in [
        format!("200 OK\r\ncontent-type: application/json\r\nx-debug: key={key};"),
        format!("400 Bad Request\r\ncontent-type: application/json\r\nx-debug: key={key};"),
        format!("200 OK\r\nlocation: https://elsewhere.example/x?key={key}"),
    ] {
        let server = before(reply(&head, "{}")).await;
        let answer = server.app().post(GENERATE, &ask("Hello")).send().await.unwrap();
        let headers = format!("{:?}", answer.headers());
        assert!(!headers.contains(key), "{headers}");
    }
}

#[tokio::test]
async fn an_error_in_an_encoding_the_pool_cannot_read_does_not_carry_a_key() {
    // What a client offers goes to Google; what comes back must still be readable here, or the key in it is not seen.
    let google = SimulatedGoogle::start(World::new().key("alpha", KEYS[0])).await.unwrap();
    let server = Setup::new(&google, &KEYS[..1]).start();
    let request =
        server.app().post(GENERATE, &ask("Hello")).header("accept-encoding", "gzip, deflate, br, zstd");
    assert_eq!(request.send().await.unwrap().status(), 200);
    let offered = google.seen()[0].headers["accept-encoding"].to_str().unwrap().to_owned();
    let readable = offered.split(',').all(|coding| ["gzip", "identity"].contains(&coding.trim()));
    assert!(readable, "Google may answer in {offered}, of which only gzip is read, counted and scrubbed");
}
