//! Owns the scenarios over real sockets and the raw client they share. Refuses any HTTP library on the
//! client's side, which would hide the framing. Invariant: every read is bounded in time.

mod calls;
mod wire;

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

const FLASH: &str = "gemini-2.5-flash";
const GENERATE: &str = "/v1beta/models/gemini-2.5-flash:generateContent";
const STREAM: &str = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse";
/// 2026-01-15, noon in California.
const NOON: i64 = 1_768_507_200_000;

/// An answer as read from the socket until the server closed it.
#[derive(Debug)]
struct Raw {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Raw {
    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The chunks of a chunked body, and whether the terminal chunk came.
    fn dechunked(&self) -> (String, bool) {
        let mut rest = self.body.as_slice();
        let mut whole = Vec::new();
        while let Some(line) = rest.windows(2).position(|pair| pair == b"\r\n") {
            let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
            if size == 0 {
                return (String::from_utf8(whole).unwrap(), true);
            }
            whole.extend_from_slice(&rest[line + 2..line + 2 + size]);
            rest = &rest[line + 4 + size..];
        }
        (String::from_utf8(whole).unwrap(), false)
    }
}

fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: google\r\nconnection: close\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
    [text.as_bytes(), body].concat()
}

async fn send(google: &SimulatedGoogle, bytes: &[u8]) -> Raw {
    let exchange = async {
        let mut socket = TcpStream::connect(google.address()).await.unwrap();
        socket.write_all(bytes).await.unwrap();
        let mut all = Vec::new();
        socket.read_to_end(&mut all).await.unwrap();
        all
    };
    let all = tokio::time::timeout(Duration::from_secs(20), exchange).await.expect("an answer in time");
    let end = all.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(all.len());
    let head = String::from_utf8(all[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).map_or(0, |status| status.parse().unwrap());
    Raw { status, head, body: all.get(end + 4..).unwrap_or_default().to_vec() }
}

async fn call(google: &SimulatedGoogle, method: &str, path: &str, key: &str, body: &Value) -> Raw {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    send(google, &request(method, path, &[("x-goog-api-key", key)], body.as_bytes())).await
}

async fn post(google: &SimulatedGoogle, path: &str, body: &Value) -> Raw {
    call(google, "POST", path, "good", body).await
}

fn prompt(text: &str) -> Value {
    json!({"contents": [{"role": "user", "parts": [{"text": text}]}]})
}

async fn google(world: World) -> SimulatedGoogle {
    SimulatedGoogle::start(world).await.unwrap()
}

fn alpha() -> World {
    World::new().at(NOON).key("alpha", "good").key("beta", "other")
}

async fn ended(google: &SimulatedGoogle) -> Vec<Seen> {
    let all_ended = google.wait_for(|seen| !seen.is_empty() && seen.iter().all(|seen| seen.end != End::Open));
    tokio::time::timeout(Duration::from_secs(20), all_ended).await.expect("calls end in time")
}
