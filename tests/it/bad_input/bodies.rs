//! Bodies too large, too many, too slow: refused in time, in bounded memory.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use gemini_pool::simulated::{Failure, Fault, SimulatedGoogle, World};
use tokio::io::AsyncWriteExt;

use crate::support::{CLIENT_KEY, Server, Setup, ask, of_type, raw};

const GENERATE: &str = "/v1beta/models/gemini-2.5-flash:generateContent";
/// As the brief of a small machine: the largest body and a copy of it fit.
const MOST_MEMORY_KB: u64 = 400_000;

async fn google() -> SimulatedGoogle {
    SimulatedGoogle::start(World::new().key("alpha", "AIza-good-1")).await.unwrap()
}

fn head(path: &str, framing: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: pool\r\nx-goog-api-key: {CLIENT_KEY}\r\ncontent-type: application/json\r\nconnection: close\r\n{framing}\r\n\r\n"
    )
}

/// The most memory the server ever had, in kB.
fn peak(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Sends a head, then one piece again and again, then an end; gives the answer.
async fn pour(server: &Server, head: &str, piece: &[u8], times: usize, end: &[u8]) -> raw::Raw {
    let mut bytes = Vec::with_capacity(head.len() + piece.len() * times + end.len());
    bytes.extend_from_slice(head.as_bytes());
    (0..times).for_each(|_| bytes.extend_from_slice(piece));
    bytes.extend_from_slice(end);
    raw::exchange(&server.origin, &bytes).await
}

#[tokio::test]
async fn a_body_of_200_mb_is_refused_promptly_and_not_kept() {
    let google = google().await;
    let server = Setup::new(&google, &["AIza-good-1"]).start();
    let megabyte = vec![b'x'; 1 << 20];
    let chunk = [format!("{:x}\r\n", megabyte.len()).as_bytes(), &megabyte, b"\r\n"].concat();
    let began = Instant::now();
    let told = pour(&server, &head(GENERATE, "content-length: 209715200"), &megabyte, 200, b"").await;
    assert!(peak(&server) < 100_000, "told beforehand, nothing of it is kept: {} kB", peak(&server));
    let chunked =
        pour(&server, &head(GENERATE, "transfer-encoding: chunked"), &chunk, 200, b"0\r\n\r\n").await;
    let took = began.elapsed();
    for answer in [&told, &chunked] {
        assert_eq!(answer.status, 413, "{}", answer.head);
        let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(body["error"]["status"], "INVALID_ARGUMENT");
        assert_eq!(body["error"]["details"][0]["reason"], "BODY_TOO_LARGE");
    }
    assert!(took.as_secs() < 20, "{took:?}");
    assert!(peak(&server) < MOST_MEMORY_KB, "{} kB", peak(&server));
    assert_eq!(google.seen_count(), 0);
    assert_eq!(server.app().generate("gemini-2.5-flash", "Hello").await.0, 200);
    assert_eq!(of_type(&server.stop().0.log(), "Answered").len(), 3);
}

/// Begins an upload; gives the path of its pieces.
async fn begin_upload(server: &Server) -> String {
    let start = server
        .app()
        .post("/upload/v1beta/files", &serde_json::json!({"file": {"displayName": "large"}}))
        .header("x-goog-upload-protocol", "resumable")
        .header("x-goog-upload-command", "start")
        .header("x-goog-upload-header-content-type", "text/plain");
    let answer = start.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let address = answer.headers()["x-goog-upload-url"].to_str().unwrap().to_owned();
    address.strip_prefix(&server.origin).unwrap().to_owned()
}

fn piece(path: &str, framing: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: pool\r\nx-goog-upload-command: upload, finalize\r\nx-goog-upload-offset: 0\r\n\
         connection: close\r\n{framing}\r\n\r\n"
    )
}

/// curl sends a file as one piece. It is never sent twice, so it need not be kept.
#[tokio::test]
async fn a_piece_of_an_upload_may_be_larger_than_any_body() {
    let google = google().await;
    google.edit(|world| world.payload_limit = 1 << 30);
    let server = Setup::new(&google, &["AIza-good-1"]).with("MAX_BODY_BYTES", "1048576").start();
    let (megabyte, count) = (vec![b'x'; 1 << 20], 120);
    let told = piece(&begin_upload(&server).await, &format!("content-length: {}", count << 20));
    let told = pour(&server, &told, &megabyte, count, b"").await;
    assert_eq!(told.status, 200, "{}", told.text());
    assert!(peak(&server) < 100_000, "nothing of it is kept: {} kB", peak(&server));
    let file: serde_json::Value = serde_json::from_slice(&told.body).unwrap();
    assert_eq!(file["file"]["sizeBytes"], (count << 20).to_string(), "{file}");

    let chunk = [format!("{:x}\r\n", megabyte.len()).as_bytes(), &megabyte, b"\r\n"].concat();
    let untold = piece(&begin_upload(&server).await, "transfer-encoding: chunked");
    let untold = pour(&server, &untold, &chunk, 3, b"0\r\n\r\n").await;
    assert_eq!(untold.status, 200, "{}", untold.text());
    let log = server.stop().0.log();
    let attempts = of_type(&log, "Attempted");
    // Each begins with a call of its own.
    let pieces = [&attempts[1], &attempts[3]].map(|attempt| &attempt["verdict"]);
    assert_eq!((attempts.len(), pieces), (4, [&"success".into(), &"success".into()]));
}

/// Who leaves in the middle of a piece has left, and no key is to blame.
#[tokio::test]
async fn a_piece_that_breaks_off_hurts_no_key() {
    let google = google().await;
    let server = Setup::new(&google, &["AIza-good-1"]).with("MAX_FAILURES_PER_KEY", "1").start();
    let head = piece(&begin_upload(&server).await, "content-length: 104857600");
    let mut socket = raw::connect(&server.origin).await;
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.write_all(&vec![b'x'; 4 << 20]).await.unwrap();
    google.wait_for(|seen| seen.len() == 2).await;
    drop(socket);
    let operator = server.operator().await;
    let attempts = operator.events_of("Attempted", 2).await;
    assert_eq!(attempts[1]["verdict"], "cancelled", "{attempts:?}");
    operator.events_of("GateClosed", 0).await;
}

#[tokio::test]
async fn a_large_body_within_the_limit_passes_in_bounded_memory() {
    let google = google().await;
    let server = Setup::new(&google, &["AIza-good-1"]).start();
    let (status, answer) = server.app().generate("gemini-2.5-flash", &"x".repeat(90_000_000)).await;
    assert_eq!(status, 200, "{answer}");
    assert!(peak(&server) < MOST_MEMORY_KB, "{} kB", peak(&server));
}

#[tokio::test]
async fn a_body_in_pieces_of_one_byte_takes_no_more_memory_than_others() {
    let google = google().await;
    let server = Setup::new(&google, &["AIza-good-1"]).start();
    let before = peak(&server);
    let spaces =
        pour(&server, &head(GENERATE, "transfer-encoding: chunked"), b"1\r\n \r\n", 1 << 19, b"0\r\n\r\n")
            .await;
    assert_eq!(
        spaces.status,
        400,
        "Google says what it thinks of half a megabyte of white space: {}",
        spaces.text()
    );
    let grew = peak(&server) - before;
    assert!(grew < 16_000, "512 kB of body took {grew} kB");
}

#[tokio::test]
async fn a_small_limit_is_told_in_the_shape_of_the_path() {
    let google = google().await;
    let server = Setup::new(&google, &["AIza-good-1"]).with("MAX_BODY_BYTES", "1024").start();
    let fits = head(GENERATE, "content-length: 1024");
    let text = ask("Hello").to_string();
    let body = format!("{text}{}", " ".repeat(1_024 - text.len()));
    assert_eq!(raw::exchange(&server.origin, format!("{fits}{body}").as_bytes()).await.status, 200);
    let mut all = String::new();
    for path in [GENERATE, "/v1beta/openai/chat/completions", "/v1beta/interactions"] {
        for framing in ["content-length: 1025", "transfer-encoding: chunked"] {
            let body = if framing.contains("chunked") {
                format!("401\r\n{body} \r\n0\r\n\r\n")
            } else {
                format!("{body} ")
            };
            let answer =
                raw::exchange(&server.origin, format!("{}{body}", head(path, framing)).as_bytes()).await;
            writeln!(all, "> {path} {framing}\n{}\n{}", answer.status, answer.text()).unwrap();
        }
    }
    insta::with_settings!({snapshot_path => "../../../snapshots", prepend_module_to_snapshot => false}, {
        insta::assert_snapshot!("body_too_large", all);
    });
    assert_eq!(google.seen_count(), 1);
}

#[tokio::test]
async fn bodies_that_fill_the_memory_refuse_others_and_give_it_back() {
    let held = World::new().key("alpha", "AIza-good-1").fault(Fault::times(2, Failure::HoldFirstByte));
    let google = SimulatedGoogle::start(held).await.unwrap();
    let setup = Setup::new(&google, &["AIza-good-1"]);
    let server = setup.with("MAX_BODY_BYTES", "65536").with("BODY_MEMORY_BYTES", "131072").start();
    // While Google has them, they are kept for another try.
    let large: Vec<_> = (0..2)
        .map(|_| {
            let app = server.app();
            tokio::spawn(async move { app.generate("gemini-2.5-flash", &"x".repeat(65_000)).await.0 })
        })
        .collect();
    let there = google.wait_for(|seen| seen.iter().filter(|seen| seen.status.is_some()).count() == 2);
    tokio::time::timeout(Duration::from_secs(10), there).await.unwrap();
    let answer = server.app().post(GENERATE, &ask("Hello")).send().await.unwrap();
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["retry-after"], "1");
    let told = answer.text().await.unwrap();
    insta::with_settings!({snapshot_path => "../../../snapshots", prepend_module_to_snapshot => false}, {
        insta::assert_snapshot!("body_memory_full", told);
    });
    // One that stopped half-way holds no more than it sent, and what it held is free when its client is gone.
    google.release();
    for large in large {
        assert_eq!(large.await.unwrap(), 200);
    }
    let mut half = raw::connect(&server.origin).await;
    half.write_all(format!("{}{}", head(GENERATE, "content-length: 65000"), "x".repeat(60_000)).as_bytes())
        .await
        .unwrap();
    assert_eq!(server.app().generate("gemini-2.5-flash", &"x".repeat(60_000)).await.0, 200);
    drop(half);
    let operator = server.operator().await;
    operator.events_of("Answered", 5).await;
    let both = [server.app(), server.app()]
        .map(|app| async move { app.generate("gemini-2.5-flash", &"x".repeat(65_000)).await.0 });
    let [first, second] = both;
    assert_eq!(tokio::join!(first, second), (200, 200));
}

#[tokio::test]
async fn a_login_takes_no_more_than_a_name_and_a_password() {
    let google = google().await;
    let server = Setup::new(&google, &["AIza-good-1"]).start();
    let before = peak(&server);
    let megabyte = vec![b'x'; 1 << 20];
    let answer = pour(&server, &head("/api/login", "content-length: 104857600"), &megabyte, 100, b"").await;
    let grew = peak(&server) - before;
    assert!(
        grew < 20_000,
        "anybody can make the server take {grew} kB with one request (status {})",
        answer.status
    );
}
