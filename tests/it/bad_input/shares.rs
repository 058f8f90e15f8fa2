//! What one client can hold while others want some: memory of bodies, places of the queue, and a connection that it
//! hardly reads from.

use std::time::{Duration, Instant};

use gemini_pool::simulated::{Limits, SimulatedGoogle, World};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{Server, Setup, ask, of_type, raw, skipped};

const MODEL: &str = "gemini-2.5-flash";
const GENERATE: &str = "/v1beta/models/gemini-2.5-flash:generateContent";
/// Two apps with an access key each.
const HOG: &str = "an-access-key-of-one-app";
const OTHER: &str = "an-access-key-of-another-app";

async fn google() -> SimulatedGoogle {
    SimulatedGoogle::start(World::new().key("alpha", "AIza-good-1")).await.unwrap()
}

fn two(google: &SimulatedGoogle) -> Setup {
    Setup::new(google, &["AIza-good-1"]).with("ALLOWED_API_KEYS", &format!("{HOG},{OTHER}"))
}

/// A request whose body begins and does not go on.
async fn begin(server: &Server, key: &str, length: usize, sent: usize) -> TcpStream {
    let mut socket = raw::connect(&server.origin).await;
    let head = format!(
        "POST {GENERATE} HTTP/1.1\r\nhost: pool\r\nx-goog-api-key: {key}\r\ncontent-type: application/json\r\n\
         connection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.write_all(&vec![b' '; sent]).await.unwrap();
    socket
}

fn reason(answer: &Value) -> &str {
    answer["error"]["details"][0]["reason"].as_str().unwrap_or_default()
}

/// Issue 10, part 11: two clients that trickled held all of the memory for ten minutes.
#[tokio::test]
async fn a_client_that_holds_all_memory_makes_room_for_another() {
    let google = google().await;
    let server = two(&google).with("MAX_BODY_BYTES", "65536").with("BODY_MEMORY_BYTES", "262144").start();
    // What it holds it holds against itself: so it is seen when all of it has arrived.
    let hog = server.app_with(Some(HOG));
    let mut patience = Duration::from_millis(250);
    let slow = loop {
        let mut slow = Vec::new();
        for _ in 0..4 {
            slow.push(begin(&server, HOG, 65_000, 64_500).await);
        }
        tokio::time::sleep(patience).await;
        let (status, answer) = hog.generate(MODEL, &"x".repeat(30_000)).await;
        if status == 503 {
            assert_eq!(reason(&answer), "BODY_MEMORY_FULL");
            break slow;
        }
        patience *= 2;
        assert!(patience < Duration::from_secs(30), "the memory is never full: {answer}");
    };
    let other = server.app_with(Some(OTHER));
    let (status, answer) = other.generate(MODEL, &"x".repeat(60_000)).await;
    assert_eq!(status, 200, "{answer}");
    // One was enough, and it is told.
    let told = futures_util::future::select_all(
        slow.into_iter().map(|socket| Box::pin(async move { raw::converse(socket, b"").await })),
    );
    let (told, _, rest) = tokio::time::timeout(Duration::from_secs(30), told).await.unwrap();
    assert_eq!(told.status, 503, "{}", told.head);
    let told: Value = serde_json::from_slice(&told.body).unwrap();
    assert_eq!(reason(&told), "BODY_MEMORY_SHARE", "{told}");
    assert_eq!(rest.len(), 3);
    // And whoever holds less than an equal share goes on being served.
    for _ in 0..4 {
        assert_eq!(other.generate(MODEL, &"x".repeat(60_000)).await.0, 200);
    }
    drop(rest);
    let log = server.stop().0.log();
    let mut cut =
        of_type(&log, "Answered").into_iter().filter(|answered| answered["reason"] == "BODY_MEMORY_SHARE");
    let first = cut.next().unwrap();
    assert!(first["outcome"] == "refused" && first["status"] == 503, "{first}");
}

/// Issue 10, part 15: one client could fill the queue.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_fills_the_queue_makes_room_for_another() {
    const PLACES: usize = 1_024;
    let world = World::new()
        .clock(|| 60_000_000 - 20_000)
        .project("alpha", |project| project.limit(MODEL, Limits::none().per_minute(1)))
        .key("alpha", "AIza-good-1");
    let google = SimulatedGoogle::start(world).await.unwrap();
    let server = two(&google).with("QUEUE_TIMEOUT", "600").with("DEBUG", "true").start();
    let hog = server.app_with(Some(HOG));
    assert_eq!(hog.generate(MODEL, "used up").await.0, 200);
    let many: Vec<_> = (0..PLACES)
        .map(|_| {
            let hog = hog.clone();
            tokio::spawn(async move { hog.generate(MODEL, "Hello").await })
        })
        .collect();
    tokio::task::block_in_place(|| server.wait_for_line(&format!("\"waiting\":{PLACES},")));
    let (status, answer) = hog.generate(MODEL, "Hello").await;
    assert_eq!((status, reason(&answer)), (429, "QUEUE_FULL"), "it has all the places there are");
    let other = server.app_with(Some(OTHER));
    let waits = tokio::spawn(async move { other.generate(MODEL, "Hello").await });
    // One of the first one's is told so, and the other one's waits in its place.
    let (first, _, rest) = futures_util::future::select_all(many).await;
    let (status, answer) = first.unwrap();
    assert_eq!((status, reason(&answer)), (429, "QUEUE_FULL"), "{answer}");
    assert!(!waits.is_finished());
    waits.abort();
    rest.iter().for_each(tokio::task::JoinHandle::abort);
}

/// Who sends too slowly is told; who reads too slowly is cut off, and a model that is slow is not.
#[tokio::test]
async fn slow_clients_are_cut_off_both_ways() {
    #[expect(clippy::disallowed_methods, reason = "tests/run says whether to take the time")]
    let long = std::env::var("GEMINI_POOL_TEST_LONG").is_ok();
    if !long {
        skipped("a slow client has a minute (GEMINI_POOL_TEST_LONG)");
        return;
    }
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: 67108864\r\n\r\n";
    let bytes = [head.as_bytes(), &vec![b'x'; 64 << 20]].concat();
    let large = raw::google_of(vec![raw::Script { bytes, close: false }]).await;
    let google = google().await;
    let server = two(&google).with("GEMINI_BASE_URL", &large).start();
    let began = Instant::now();
    // A byte a second.
    let mut sends = begin(&server, HOG, 65_000, 100).await;
    let sending = tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        let mut answer = vec![0; 4_096];
        loop {
            tokio::select! {
                _ = tick.tick() => sends.write_all(b" ").await.unwrap(),
                read = sends.read(&mut answer) => {
                    answer.truncate(read.unwrap());
                    return (String::from_utf8(answer).unwrap(), began.elapsed());
                }
            }
        }
    });
    // An answer of 64 MiB, of which a kilobyte a second is read.
    let mut reads = raw::connect(&server.origin).await;
    let body = ask("Hello").to_string();
    let head = format!(
        "POST {GENERATE} HTTP/1.1\r\nhost: pool\r\nx-goog-api-key: {HOG}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    reads.write_all(head.as_bytes()).await.unwrap();
    reads.write_all(body.as_bytes()).await.unwrap();
    let reading = tokio::spawn(async move {
        let (mut tick, mut piece) = (tokio::time::interval(Duration::from_secs(1)), [0; 1_024]);
        loop {
            tick.tick().await;
            match tokio::time::timeout(Duration::from_secs(120), reads.read(&mut piece)).await.unwrap() {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    });
    let (told, after) = sending.await.unwrap();
    assert!(told.contains("408") && told.contains("BODY_TOO_SLOW"), "{told}");
    assert!((29..60).contains(&after.as_secs()), "{after:?}");
    let operator = server.operator().await;
    let answered = loop {
        tokio::time::sleep(Duration::from_secs(5)).await;
        let all = operator.events().await;
        if let Some(slow) = all.iter().find(|event| event["event"]["reason"] == "CLIENT_TOO_SLOW") {
            break slow["event"].clone();
        }
        assert!(began.elapsed() < Duration::from_secs(180), "it is not cut off: {all:?}");
    };
    assert!(began.elapsed() > Duration::from_secs(60) && answered["outcome"] == "cancelled", "{answered}");
    reading.abort();
}
