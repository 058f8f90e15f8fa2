//! Bytes on a socket: for what no HTTP library would send, as a client or as Google.

use std::{sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Every exchange is over after this long, or the test fails.
const LONG: Duration = Duration::from_secs(60);

/// An answer as it came, until the server closed the connection.
#[derive(Debug)]
pub(crate) struct Raw {
    /// 0: not one byte came.
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Raw {
    fn read(all: &[u8]) -> Self {
        let end = all.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(all.len());
        let head = String::from_utf8_lossy(&all[..end]).into_owned();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Self { status, head, body: all.get(end + 4..).unwrap_or_default().to_vec() }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Connects to an origin such as `http://127.0.0.1:8000`.
pub(crate) async fn connect(origin: &str) -> TcpStream {
    TcpStream::connect(origin.strip_prefix("http://").unwrap()).await.unwrap()
}

/// Sends bytes and reads until the server closes.
pub(crate) async fn exchange(origin: &str, bytes: &[u8]) -> Raw {
    converse(connect(origin).await, bytes).await
}

/// Sends bytes on a connection and reads until the server closes; both at once, so that neither side waits for
/// the other for ever.
pub(crate) async fn converse(socket: TcpStream, bytes: &[u8]) -> Raw {
    let (mut from, mut to) = socket.into_split();
    // A server that has answered may close before all was sent.
    let send = async { drop(to.write_all(bytes).await) };
    let receive = async {
        let mut all = Vec::new();
        // A reset after the answer is an end too.
        let _ = from.read_to_end(&mut all).await;
        all
    };
    let both = async { tokio::join!(send, receive).1 };
    Raw::read(&tokio::time::timeout(LONG, both).await.expect("the server closes in time"))
}

/// What a made-up Google does with one connection: bytes to send, and whether it then closes.
#[derive(Clone)]
pub(crate) struct Script {
    pub(crate) bytes: Vec<u8>,
    /// Otherwise it stays open, in silence.
    pub(crate) close: bool,
}

/// A made-up Google that plays one script after the other, the last one again and again; gives its origin.
pub(crate) async fn google_of(scripts: Vec<Script>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let scripts = Arc::new(scripts);
        for turn in 0usize.. {
            let Ok((mut socket, _)) = listener.accept().await else { return };
            let scripts = Arc::clone(&scripts);
            tokio::spawn(async move {
                let script = &scripts[turn.min(scripts.len() - 1)];
                read_request(&mut socket).await;
                let _ = socket.write_all(&script.bytes).await;
                if script.close {
                    let _ = socket.shutdown().await;
                } else {
                    std::future::pending::<()>().await;
                }
            });
        }
    });
    origin
}

async fn read_request(socket: &mut TcpStream) {
    let mut read = Vec::new();
    loop {
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&read[..end]).to_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())
                .unwrap_or(0);
            if read.len() >= end + 4 + length {
                return;
            }
        }
        if socket.read_buf(&mut read).await.unwrap_or(0) == 0 {
            return;
        }
    }
}
