//! Strangers, one function each: what it does until it is told to stop.

use std::time::Duration;

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::crowd::Stranger;
use crate::support::{ask, http};

/// So long it waits after it was cut off, or had its answer.
const PAUSE: Duration = Duration::from_secs(1);

/// Holds a connection until the server closes it or it is to stop; true: the server did.
async fn hold(stranger: &Stranger, socket: &mut TcpStream) -> bool {
    let mut bytes = [0; 1_024];
    while !stranger.over() {
        match tokio::time::timeout(Duration::from_millis(500), socket.read(&mut bytes)).await {
            Err(_) | Ok(Ok(1..)) => {}
            Ok(Ok(0) | Err(_)) => return true,
        }
    }
    false
}

/// Connects and says nothing.
pub(super) async fn idles(stranger: Stranger, n: u8) {
    while !stranger.over() {
        if let Ok(mut socket) = stranger.connect(2, n).await
            && hold(&stranger, &mut socket).await
        {
            stranger.count("idle connections closed by the server");
        }
        stranger.pause(PAUSE).await;
    }
}

/// Begins a head, a byte at a time, and never ends it.
pub(super) async fn sends_half_a_head(stranger: Stranger, n: u8) {
    while !stranger.over() {
        if let Ok(mut socket) = stranger.connect(3, n).await {
            let mut sent = socket.write_all(b"GET /v1beta/models HTTP/1.1\r\nhost: x\r\nx-slow: ").await;
            while sent.is_ok() && !stranger.over() {
                stranger.pause(PAUSE).await;
                sent = socket.write_all(b"a").await;
            }
            if sent.is_err() {
                stranger.count("half heads cut off");
            }
        }
        stranger.pause(PAUSE).await;
    }
}

/// Sends 120 kB of a head, and never ends it.
pub(super) async fn sends_a_huge_head(stranger: Stranger, n: u8) {
    while !stranger.over() {
        if let Ok(mut socket) = stranger.connect(4, n).await {
            let mut head = b"GET /v1beta/models HTTP/1.1\r\nhost: x\r\n".to_vec();
            for number in 0..12 {
                head.extend_from_slice(format!("x-{number}: {}\r\n", "a".repeat(10_000)).as_bytes());
            }
            let sent = socket.write_all(&head).await;
            if sent.is_err() || hold(&stranger, &mut socket).await {
                stranger.count("huge heads cut off");
            }
        }
        stranger.pause(PAUSE).await;
    }
}

/// Announces eight megabytes to the admin API without a token, and sends half of them.
pub(super) async fn sends_half_an_admin_body(stranger: Stranger, n: u8) {
    while !stranger.over() {
        if let Ok(mut socket) = stranger.connect(5, n).await {
            let head = "POST /api/keys/bulk_add HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                        content-length: 8388608\r\n\r\n";
            let mut sent = socket.write_all(head.as_bytes()).await;
            for _ in 0..64 {
                if sent.is_err() || stranger.over() {
                    break;
                }
                sent = socket.write_all(&[b' '; 65_536]).await;
            }
            if sent.is_err() || hold(&stranger, &mut socket).await {
                stranger.count("admin bodies of strangers cut off");
            }
        }
        stranger.pause(PAUSE).await;
    }
}

/// Guesses the administrator's password from many networks behind the reverse proxy.
pub(super) async fn guesses_passwords(stranger: Stranger, n: u16) {
    let client = from_the_proxy();
    for guess in 0u32.. {
        if stranger.over() {
            return;
        }
        let address = format!("2001:db8:{n:x}:{:x}::1", guess & 0xffff);
        let body = json!({"username": "admin", "password": format!("guess {guess}")});
        let request = client.post(format!("{}/api/login", stranger.origin()));
        let answer = request.header("x-forwarded-for", address).json(&body).send().await;
        stranger.count(match answer.map(|answer| answer.status().as_u16()) {
            Ok(401) => "guessed passwords looked at",
            Ok(429 | 503) => "guessed passwords sent away",
            Ok(200) => panic!("a guess was right"),
            _ => "guessed passwords without an answer",
        });
        stranger.pause(Duration::from_millis(50)).await;
    }
}

/// Guesses access keys as fast as it is answered, up to 200 a second.
pub(super) async fn guesses_access_keys(stranger: Stranger, n: u16) {
    let client = from_the_proxy();
    for guess in 0u32.. {
        if stranger.over() {
            return;
        }
        let url = format!("{}/v1beta/models/gemini-2.5-flash:generateContent", stranger.origin());
        let request = client.post(url).header("x-forwarded-for", format!("198.51.100.{n}"));
        let answer = request
            .header("x-goog-api-key", format!("a-guess-at-access-keys-{guess}"))
            .json(&ask("x"))
            .send();
        stranger.count(match answer.await.map(|answer| answer.status().as_u16()) {
            Ok(400..=403) => "guessed access keys refused",
            Ok(429 | 503) => "guessed access keys sent away",
            Ok(200) => panic!("a guess was right"),
            _ => "guessed access keys without an answer",
        });
        stranger.pause(Duration::from_millis(20)).await;
    }
}

/// A web page in the operator's own browser, which has this machine's address under its own name.
pub(super) async fn is_a_page_by_rebinding(stranger: Stranger) {
    while !stranger.over() {
        let body = json!({"username": "admin", "password": "a guess of a page"});
        let request = http().post(format!("{}/api/login", stranger.origin())).json(&body);
        let request = request.header("host", "evil.example").header("origin", "http://evil.example");
        if request.send().await.is_ok_and(|answer| answer.status() != 200) {
            stranger.count("logins of a page refused");
        }
        stranger.pause(Duration::from_millis(300)).await;
    }
}

/// Has an access key, announces a large body, sends most of it and then a byte a second.
pub(super) async fn trickles_a_body(stranger: Stranger, key: &'static str, n: u8) {
    const LENGTH: usize = 8 << 20;
    while !stranger.over() {
        if let Ok(mut socket) = stranger.connect(6, n).await {
            let head = format!(
                "POST /v1beta/models/gemini-2.5-flash:generateContent HTTP/1.1\r\nhost: x\r\n\
                 content-type: application/json\r\nx-goog-api-key: {key}\r\ncontent-length: {LENGTH}\r\n\r\n"
            );
            let mut sent = socket.write_all(head.as_bytes()).await;
            for _ in 0..LENGTH / 65_536 - 1 {
                if sent.is_err() || stranger.over() {
                    break;
                }
                sent = socket.write_all(&[b' '; 65_536]).await;
            }
            while sent.is_ok() && !stranger.over() {
                stranger.pause(PAUSE).await;
                sent = socket.write_all(b" ").await;
            }
            if sent.is_err() {
                stranger.count("trickled bodies cut off");
            }
        }
        stranger.pause(PAUSE).await;
    }
}

/// Has an access key, asks for a picture of more than a megabyte, and reads a hundred bytes a second.
pub(super) async fn reads_slowly(stranger: Stranger, key: &'static str, n: u8) {
    while !stranger.over() {
        if let Ok(mut socket) = stranger.connect(7, n).await {
            let body = ask("[image]").to_string();
            let head = format!(
                "POST /v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse HTTP/1.1\r\nhost: x\r\n\
                 content-type: application/json\r\nx-goog-api-key: {key}\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            let sent = socket.write_all(head.as_bytes()).await;
            let mut bytes = [0; 100];
            while sent.is_ok() && !stranger.over() {
                stranger.pause(PAUSE).await;
                if !socket.read(&mut bytes).await.is_ok_and(|read| read > 0) {
                    stranger.count("slow readers cut off, or done");
                    break;
                }
            }
        }
        stranger.pause(PAUSE).await;
    }
}

/// Has an access key, and asks again and again for a model whose quota is spent: it waits in the queue.
pub(super) async fn wants_what_is_spent(stranger: Stranger, key: &'static str, n: u8) {
    let client = from([127, 0, 8, n]);
    while !stranger.over() {
        let url = format!("{}/v1beta/models/gemini-2.5-pro:generateContent", stranger.origin());
        let answer = client.post(url).header("x-goog-api-key", key).json(&ask("x")).send().await;
        stranger.count(match answer.map(|answer| answer.status().as_u16()) {
            Ok(200) => "greedy requests served",
            Ok(429) => "greedy requests told to wait",
            Ok(503) => "greedy requests sent away",
            _ => "greedy requests without an answer",
        });
        stranger.pause(Duration::from_millis(500)).await;
    }
}

/// A client whose requests a trusted reverse proxy passes on.
fn from_the_proxy() -> reqwest::Client {
    from([127, 0, 1, 1])
}

/// A client at an address of this machine's own.
fn from(address: [u8; 4]) -> reqwest::Client {
    reqwest::Client::builder().no_proxy().local_address(std::net::IpAddr::from(address)).build().unwrap()
}
