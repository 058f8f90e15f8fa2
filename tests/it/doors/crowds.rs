//! More connections than there is room for: idle ones, half-sent heads, from one address or many.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use gemini_pool::descriptors;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use super::{FLASH, number, stage};
use crate::support::{Server, of_type, raw};

/// A connection from an address of this machine; each is an address group of its own.
async fn connect_from(server: &Server, from: &str) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(from.parse().unwrap(), 0))?;
    socket.connect(server.origin.strip_prefix("http://").unwrap().parse().unwrap()).await
}

/// Connections that say this and no more.
async fn crowd(server: &Server, from: &str, size: usize, says: &[u8]) -> Vec<TcpStream> {
    let mut crowd = Vec::new();
    for _ in 0..size {
        let mut socket = connect_from(server, from).await.unwrap();
        // One that was closed for another may say nothing more.
        let _ = socket.write_all(says).await;
        crowd.push(socket);
    }
    crowd
}

/// Whether the server has closed it by now.
async fn is_closed(socket: &mut TcpStream) -> bool {
    let read = tokio::time::timeout(Duration::from_millis(20), socket.read_u8()).await;
    read.is_ok_and(|read| read.is_err())
}

fn resident(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() / 1_024
}

/// A good client and the log go on.
async fn is_well(server: &Server) {
    for _ in 0..5 {
        let began = Instant::now();
        assert_eq!(server.app().generate(FLASH, "Hello").await.0, 200);
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }
    server.operator().await;
    assert_eq!(number(server, "gemini_pool_log_failed").await, 0.0);
    assert_eq!(number(server, "gemini_pool_unrecorded_total").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_leave_descriptors_for_the_log() {
    descriptors::raise();
    let (_google, setup) = stage().await;
    let server = setup.with_descriptors(256).start();
    let most = number(&server, "gemini_pool_connections_most").await;
    assert!((40.0..128.0).contains(&most), "{most} of 256");
    let mut silent = crowd(&server, "127.0.0.2", 330, b"").await;
    is_well(&server).await;
    assert!(number(&server, "gemini_pool_connections").await <= most + 32.0);
    assert!(number(&server, r#"gemini_pool_connections_closed_total{reason="room"}"#).await >= 330.0 - most);
    assert!(number(&server, "process_open_fds").await < 200.0);
    assert_eq!(number(&server, "process_max_fds").await, 256.0);
    assert!(is_closed(&mut silent[0]).await, "the oldest");
    assert!(!is_closed(&mut silent[329]).await, "the youngest");
    server.wait_for_line("there is no room for all connections");
    let log = server.stop().0.log();
    assert_eq!(of_type(&log, "Answered").len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn half_sent_heads_leave_descriptors_for_the_log() {
    descriptors::raise();
    let (_google, setup) = stage().await;
    let server = setup.with_descriptors(1_024).start();
    let _half = crowd(&server, "127.0.0.2", 1_084, b"POST /v1beta/models HTTP/1.1\r\nhost: po").await;
    is_well(&server).await;
    assert!(number(&server, "process_open_fds").await < 900.0);
    server.stop();
}

/// Whoever fills three quarters with requests under way leaves the rest to others.
#[tokio::test(flavor = "multi_thread")]
async fn one_address_cannot_have_all_places() {
    let (_google, setup) = stage().await;
    let server = setup.with("MAX_CONNECTIONS", "32").start();
    // A body that never comes is a request under way.
    let body = format!(
        "POST /v1beta/models/{FLASH}:generateContent HTTP/1.1\r\nhost: pool\r\nx-goog-api-key: {}\r\n\
         content-length: 100\r\n\r\n{{",
        crate::support::CLIENT_KEY
    );
    let mut busy = crowd(&server, "127.0.0.2", 40, body.as_bytes()).await;
    is_well(&server).await;
    let refused = number(&server, "gemini_pool_connections_refused_total").await;
    let closed = number(&server, r#"gemini_pool_connections_closed_total{reason="room"}"#).await;
    assert!(
        refused + closed >= 16.0,
        "{refused} refused, {closed} closed before their request had come whole"
    );
    let mut open = 0;
    for socket in &mut busy {
        open += usize::from(!is_closed(socket).await);
    }
    assert_eq!(open, 24, "three quarters of 32");
    drop(busy);
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn unfinished_heads_have_a_bound() {
    descriptors::raise();
    let (_google, setup) = stage().await;
    let server = setup.start();
    is_well(&server).await;
    let before = resident(&server);
    let head = format!("GET /v1beta/models HTTP/1.1\r\nhost: pool\r\nx-large: {}", "a".repeat(60_000));
    let heads = crowd(&server, "127.0.0.2", 2_000, head.as_bytes()).await;
    let after = resident(&server);
    eprintln!("2,000 unfinished heads of 60 kB: {before} MiB before, {after} MiB after");
    assert!(after < before + 100, "{before} MiB before, {after} MiB after");
    assert!(number(&server, "gemini_pool_heads_bytes").await <= f64::from(16 << 20));
    is_well(&server).await;
    drop(heads);
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_has_ten_seconds_and_an_idle_connection_more() {
    let (_google, setup) = stage().await;
    let server = setup.start();
    let mut half = raw::connect(&server.origin).await;
    half.write_all(b"GET /healthz HTTP/1.1\r\nhost: po").await.unwrap();
    let mut kept = raw::connect(&server.origin).await;
    let ask = b"GET /healthz HTTP/1.1\r\nhost: pool\r\n\r\n";
    let mut answer = [0; 4_096];
    kept.write_all(ask).await.unwrap();
    assert!(kept.read(&mut answer).await.unwrap() > 0);
    let began = Instant::now();
    let end = tokio::time::timeout(Duration::from_secs(40), half.read(&mut answer)).await;
    let took = began.elapsed();
    assert!(matches!(end, Ok(Ok(0) | Err(_))), "{end:?}");
    assert!((Duration::from_secs(8)..Duration::from_secs(20)).contains(&took), "{took:?}");
    kept.write_all(ask).await.unwrap();
    assert!(kept.read(&mut answer).await.unwrap() > 0, "the idle one is still there");
    assert!(number(&server, r#"gemini_pool_connections_closed_total{reason="late"}"#).await >= 1.0);
}
