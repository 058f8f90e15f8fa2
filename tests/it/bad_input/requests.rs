//! Requests that mean nothing, or would mean something else upstream.

use std::fmt::Write as _;

use gemini_pool::simulated::{SimulatedGoogle, World};
use serde_json::json;

use crate::support::{CLIENT_KEY, Server, Setup, of_type, raw};

async fn stage() -> (SimulatedGoogle, Server) {
    let google = SimulatedGoogle::start(World::new().key("alpha", "AIza-good-1")).await.unwrap();
    let server = Setup::new(&google, &["AIza-good-1"]).start();
    (google, server)
}

/// A request with the access key and a body; the path may hold any bytes.
fn request(method: &str, path: &[u8], body: &str) -> Vec<u8> {
    let mut bytes = [method.as_bytes(), b" ", path, b" HTTP/1.1\r\n"].concat();
    let length = body.len();
    write!(Text(&mut bytes), "host: pool\r\nconnection: close\r\nx-goog-api-key: {CLIENT_KEY}\r\n").unwrap();
    write!(Text(&mut bytes), "content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
        .unwrap();
    bytes
}

struct Text<'a>(&'a mut Vec<u8>);

impl std::fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// What the client saw: status, type, and the body.
fn seen(answer: &raw::Raw) -> String {
    let kind = answer.header("content-type").unwrap_or("no content type");
    format!("{} {kind}\n{}\n", answer.status, answer.text().trim_end())
}

fn snapshot(name: &str, text: &str) {
    insta::with_settings!({snapshot_path => "../../../snapshots", prepend_module_to_snapshot => false}, {
        insta::assert_snapshot!(name, text);
    });
}

const ASK: &str = r#"{"contents": [{"role": "user", "parts": [{"text": "x"}]}]}"#;

#[tokio::test]
async fn paths_that_mean_nothing_or_something_else_are_refused_here() {
    let (google, server) = stage().await;
    let paths: &[(&str, &[u8])] = &[
        ("POST", b"/v1beta/models/gemini%FF:generateContent"),
        ("POST", b"//v1beta/../x"),
        ("POST", b"/v1beta/models/../../upload/v1beta/files"),
        ("POST", b"/v1beta/v1/models/gemini-2.5-flash:generateContent"),
        ("GET", b"/v1/models/..%2f"),
        ("GET", b"/v1/models/%2e%2e/files"),
        ("GET", b"/v1/models/%00"),
        ("GET", b"/v1/models/a%5cb"),
        ("GET", b"/v1/models/%zz"),
        ("GET", b"/v2/models"),
        ("GET", b"/"),
        ("GET", b"/favicon.ico"),
        ("GET", b"/%76%31/models"),
        ("OPTIONS", b"/v2/models"),
        ("OPTIONS", b"*"),
        ("POST", b"/v1beta/openai/../models/x:generateContent"),
        ("POST", b"/v2/openai/chat/completions"),
        ("POST", b"/v1beta/interactions/%2e%2e"),
        ("POST", b"/upload/v1beta/files?upload_id=a&upload_id=b"),
    ];
    let mut all = String::new();
    for (method, path) in paths {
        let answer = raw::exchange(&server.origin, &request(method, path, ASK)).await;
        writeln!(all, "> {method} {}\n{}", String::from_utf8_lossy(path), seen(&answer)).unwrap();
        assert!(answer.header("x-request-id").is_some(), "{}", answer.head);
    }
    snapshot("bad_paths", &all);
    assert_eq!(google.seen_count(), 0, "{:?}", google.seen());
    assert_eq!(server.app().generate("gemini-2.5-flash", "Hello").await.0, 200);
    let log = server.stop().0.log();
    let answered = of_type(&log, "Answered");
    assert_eq!(answered.len(), paths.len() + 1);
    assert_eq!(of_type(&log, "Attempted").len(), 1);
    assert!(
        answered[..paths.len()].iter().all(|event| event["outcome"] == "refused" && event["attempts"] == 0)
    );
}

#[tokio::test]
async fn bytes_that_are_no_http_get_a_short_answer_or_none_and_no_record() {
    let (google, server) = stage().await;
    let header = |line: &str| {
        format!("GET /v1/models HTTP/1.1\r\nhost: pool\r\nconnection: close\r\n{line}\r\n\r\n").into_bytes()
    };
    let many: String = (0..150).map(|n| format!("x-{n}: 1\r\n")).collect();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("raw bytes in the request line", request("GET", b"/v1/models/\xff\xfe", "")),
        ("a null byte in the path", request("GET", b"/v1/models/a\0b", "")),
        ("a space in the path", request("GET", b"/v1/models/a b", "")),
        ("no HTTP at all", b"hello\r\n\r\n".to_vec()),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 and so on\r\n\r\n".to_vec()),
        ("HTTP/3.0", b"GET /v1/models HTTP/3.0\r\nhost: pool\r\n\r\n".to_vec()),
        ("a null byte in a header", header("x-odd: a\0b")),
        ("a folded header", header("x-odd: a\r\n b")),
        ("no colon", header("x-odd")),
        ("150 headers", header(many.trim_end())),
        ("two lengths", header("content-length: 1\r\ncontent-length: 2")),
        ("a length that is no number", header("content-length: two")),
        ("a length and chunks", header("content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0")),
        ("a path of 100 kB", request("GET", &[b"/v1/models/", &[b'a'; 100_000][..]].concat(), "")),
        ("a header of 1 MB", header(&format!("x-large: {}", "a".repeat(1 << 20)))),
    ];
    let mut all = String::new();
    for (name, bytes) in &cases {
        let answer = raw::exchange(&server.origin, bytes).await;
        writeln!(all, "> {name}\n{}", seen(&answer)).unwrap();
    }
    snapshot("no_http", &all);
    assert_eq!(google.seen_count(), 0, "{:?}", google.seen());
    assert_eq!(server.app().generate("gemini-2.5-flash", "Hello").await.0, 200);
    let (setup, said) = server.stop();
    assert!(!said.contains("panic"), "{said}");
    let answered = of_type(&setup.log(), "Answered");
    let parsed = all.matches("BAD_PATH").count() + all.matches("CLIENT_KEY_INVALID").count();
    assert_eq!(answered.len(), parsed + 1, "what was parsed is recorded, and nothing else: {answered:#?}");
}

#[tokio::test]
async fn large_headers_are_told_as_such() {
    let (google, server) = stage().await;
    let mut all = String::new();
    for path in ["/v1beta/models", "/v1beta/openai/models", "/v1beta/interactions"] {
        let large = format!(
            "POST {path} HTTP/1.1\r\nhost: pool\r\nconnection: close\r\nx-large: {}\r\n\r\n",
            "a".repeat(100_000)
        );
        let answer = raw::exchange(&server.origin, large.as_bytes()).await;
        writeln!(all, "> {path}\n{}", seen(&answer)).unwrap();
    }
    snapshot("large_headers", &all);
    assert_eq!(google.seen_count(), 0);
    assert_eq!(server.app().generate("gemini-2.5-flash", "Hello").await.0, 200);
    // A head that never came whole names nobody and nothing that could be recorded.
    assert_eq!(of_type(&server.stop().0.log(), "Answered").len(), 1);
}

#[tokio::test]
async fn bodies_that_do_not_arrive_whole_reach_nobody() {
    let (google, server) = stage().await;
    let head = |framing: &str| {
        format!(
            "POST /v1beta/models/gemini-2.5-flash:generateContent HTTP/1.1\r\nhost: pool\r\nx-goog-api-key: {CLIENT_KEY}\r\n{framing}\r\n\r\n"
        )
    };
    let chunked = head("transfer-encoding: chunked");
    let mut all = String::new();
    for (name, bytes) in [
        ("a chunk's size is no number", format!("{chunked}xyz\r\n{ASK}\r\n0\r\n\r\n")),
        ("a chunk is longer than told", format!("{chunked}5\r\n{ASK}\r\n0\r\n\r\n")),
        (
            "a chunk's size is beyond all numbers",
            format!("{chunked}ffffffffffffffffff\r\n{ASK}\r\n0\r\n\r\n"),
        ),
    ] {
        let answer = raw::exchange(&server.origin, bytes.as_bytes()).await;
        writeln!(all, "> {name}\n{}", seen(&answer)).unwrap();
    }
    snapshot("broken_bodies", &all);
    // Half a body, half a head, and the client is gone.
    for half in [
        format!("{}{ASK}", head("content-length: 1000")),
        format!("{chunked}10\r\nhalf"),
        head("x: y")[..40].to_owned(),
    ] {
        let mut socket = raw::connect(&server.origin).await;
        tokio::io::AsyncWriteExt::write_all(&mut socket, half.as_bytes()).await.unwrap();
        drop(socket);
    }
    let operator = server.operator().await;
    let answered = operator.events_of("Answered", 5).await;
    for (event, outcome) in answered.iter().zip(["refused", "refused", "refused"]) {
        assert_eq!(event["outcome"], outcome, "{event}");
        assert_eq!(event["reason"], "BODY_BROKEN", "{event}");
    }
    assert_eq!(google.seen_count(), 0, "{:?}", google.seen());
    assert_eq!(server.app().generate("gemini-2.5-flash", "Hello").await.0, 200);
}

#[tokio::test]
async fn old_and_rare_ways_to_ask_are_understood() {
    let (google, server) = stage().await;
    let old = format!("GET /v1/models/gemini-2.5-flash HTTP/1.0\r\nx-goog-api-key: {CLIENT_KEY}\r\n\r\n");
    let answer = raw::exchange(&server.origin, old.as_bytes()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(
        serde_json::from_slice::<serde_json::Value>(&answer.body).unwrap()["name"],
        "models/gemini-2.5-flash"
    );
    // Google's simulation has no HEAD and no OPTIONS; its answer is passed on, without a body for HEAD.
    let answer = raw::exchange(&server.origin, &request("HEAD", b"/v1/models", "")).await;
    assert_eq!((answer.status, answer.body.len()), (404, 0), "{}", answer.head);
    let answer = raw::exchange(&server.origin, &request("OPTIONS", b"/v1/models", "")).await;
    assert_eq!(answer.status, 404);
    // An absolute address, as proxies are asked.
    let answer = raw::exchange(
        &server.origin,
        &request("GET", b"http://elsewhere.example/v1/models/gemini-2.5-flash", ""),
    )
    .await;
    assert_eq!(answer.status, 200);
    let answer = raw::exchange(
        &server.origin,
        &request("POST", b"//v1beta//models/gemini-2.5-flash:countTokens", ASK),
    )
    .await;
    assert_eq!(answer.status, 200, "doubled slashes are a client's habit");
    let answer = raw::exchange(
        &server.origin,
        &request("POST", b"/v1beta/models/gemini-2.5-flash%3AcountTokens", ASK),
    )
    .await;
    assert_eq!(answer.status, 200);
    assert_eq!(google.seen_count(), 6);
    assert!(google.seen().iter().all(|seen| seen.violations.is_empty()), "{:?}", google.seen());
    let answered = of_type(&server.stop().0.log(), "Answered");
    assert_eq!(answered.len(), 6);
}

#[tokio::test]
async fn an_unknown_path_below_a_known_version_is_googles_to_answer() {
    let (google, server) = stage().await;
    let answer = server.app().post("/v1beta/newThings:invent", &json!({})).send().await.unwrap();
    assert_eq!(answer.status(), 404);
    assert_eq!(answer.headers()["content-type"], "text/html; charset=UTF-8");
    assert_eq!(google.seen_count(), 1, "and no other key is asked");
}
