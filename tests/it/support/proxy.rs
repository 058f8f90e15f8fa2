//! An outbound proxy: HTTP CONNECT or SOCKS5, with or without a password, in good or bad mood.
//!
//! It remembers every tunnel that was asked for, and what went up through it.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

/// What a proxy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    Http,
    Socks5,
}

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// It does what it is asked.
    Willing,
    /// It refuses: 403, or "not allowed by the rules".
    Refusing,
    /// It takes the connection and says nothing.
    Silent,
    /// It says what no proxy says.
    Babbling,
    /// It closes the connection as soon as it was asked.
    Closing,
    /// It closes both ends after so many bytes of an answer.
    Dying(usize),
}

/// A tunnel that was asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tunnel {
    /// `host:port` as it was asked for.
    pub(crate) to: String,
    /// `name:password` as it was given.
    pub(crate) credentials: Option<String>,
    /// What went up.
    pub(crate) up: Vec<u8>,
}

struct Inside {
    speaks: Speaks,
    credentials: Option<String>,
    mood: Mutex<Mood>,
    tunnels: Mutex<Vec<Tunnel>>,
}

/// See the module. Gone, with its tunnels, when dropped.
pub(crate) struct TestProxy {
    address: SocketAddr,
    inside: Arc<Inside>,
    accepting: JoinHandle<()>,
}

impl Drop for TestProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl TestProxy {
    /// A willing one; it wants `name:password` where some are said.
    pub(crate) async fn start(speaks: Speaks, credentials: Option<&str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let inside = Arc::new(Inside {
            speaks,
            credentials: credentials.map(str::to_owned),
            mood: Mutex::new(Mood::Willing),
            tunnels: Mutex::default(),
        });
        let serving = Arc::clone(&inside);
        let accepting = tokio::spawn(async move {
            // Dropped with this task, and then every tunnel is cut.
            let mut tunnels = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let inside = Arc::clone(&serving);
                tunnels.spawn(async move { drop(inside.serve(socket).await) });
            }
        });
        Self { address, inside, accepting }
    }

    /// `host:port`.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn set(&self, mood: Mood) {
        *self.inside.mood.lock().unwrap() = mood;
    }

    /// Every tunnel so far.
    pub(crate) fn tunnels(&self) -> Vec<Tunnel> {
        self.inside.tunnels.lock().unwrap().clone()
    }

    /// HTTP requests that went up through it so far.
    pub(crate) fn requests(&self) -> usize {
        self.tunnels()
            .iter()
            .map(|tunnel| memchr::memmem::find_iter(&tunnel.up, b" HTTP/1.1\r\n").count())
            .sum()
    }
}

impl Inside {
    async fn serve(&self, mut socket: TcpStream) -> io::Result<()> {
        let mood = *self.mood.lock().unwrap();
        let (to, credentials) = match self.speaks {
            Speaks::Http => http_asked(&mut socket).await?,
            Speaks::Socks5 => self.socks_asked(&mut socket).await?,
        };
        let welcome = self.credentials.is_none() || self.credentials == credentials;
        let place = {
            let mut tunnels = self.tunnels.lock().unwrap();
            tunnels.push(Tunnel { to: to.clone(), credentials, up: Vec::new() });
            tunnels.len() - 1
        };
        let http = self.speaks == Speaks::Http;
        match mood {
            Mood::Silent => return std::future::pending().await,
            Mood::Closing => return Ok(()),
            Mood::Babbling => return socket.write_all(b"220 mail.example ESMTP ready\r\n\r\n").await,
            _ if http && !welcome => {
                let refusal = "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\
                               Content-Length: 4\r\n\r\nnope";
                return socket.write_all(refusal.as_bytes()).await;
            }
            Mood::Refusing if http => return socket.write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n").await,
            Mood::Refusing => return socket.write_all(&[5, 2, 0, 1, 0, 0, 0, 0, 0, 0]).await,
            Mood::Willing | Mood::Dying(_) => {}
        }
        let Ok(mut upstream) = TcpStream::connect(&to).await else {
            let refusal: &[u8] =
                if http { b"HTTP/1.1 502 Bad Gateway\r\n\r\n" } else { &[5, 5, 0, 1, 0, 0, 0, 0, 0, 0] };
            return socket.write_all(refusal).await;
        };
        let accepted: &[u8] = if http {
            b"HTTP/1.1 200 Connection established\r\nVia: a proxy for tests\r\n\r\n"
        } else {
            // Bound to a name, which is the longest form of this answer.
            &[5, 0, 0, 3, 4, b'h', b'e', b'r', b'e', 0, 80]
        };
        // In two pieces, because nothing says that it comes in one.
        let (first, second) = accepted.split_at(accepted.len() / 2);
        socket.write_all(first).await?;
        socket.flush().await?;
        tokio::task::yield_now().await;
        socket.write_all(second).await?;
        let mut left = if let Mood::Dying(bytes) = mood { bytes } else { usize::MAX };
        let (mut from_below, mut to_below) = socket.split();
        let (mut from_above, mut to_above) = upstream.split();
        let up = async {
            let mut piece = vec![0; 16 << 10];
            loop {
                let length = from_below.read(&mut piece).await?;
                if length == 0 {
                    return to_above.shutdown().await;
                }
                self.tunnels.lock().unwrap()[place].up.extend(&piece[..length]);
                to_above.write_all(&piece[..length]).await?;
            }
        };
        let down = async {
            let mut piece = vec![0; 16 << 10];
            loop {
                let length = from_above.read(&mut piece).await?;
                let passed = length.min(left);
                to_below.write_all(&piece[..passed]).await?;
                left -= passed;
                if length == 0 || left == 0 {
                    return io::Result::Ok(());
                }
            }
        };
        tokio::select! {
            done = up => done,
            done = down => done,
        }
    }

    async fn socks_asked(&self, socket: &mut TcpStream) -> io::Result<(String, Option<String>)> {
        let mut head = [0; 2];
        socket.read_exact(&mut head).await?;
        assert_eq!(head[0], 5, "the version");
        let mut methods = vec![0; usize::from(head[1])];
        socket.read_exact(&mut methods).await?;
        let mut credentials = None;
        if let Some(wanted) = &self.credentials {
            if !methods.contains(&2) {
                socket.write_all(&[5, 0xFF]).await?;
                self.tunnels.lock().unwrap().push(Tunnel::default());
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            socket.write_all(&[5, 2]).await?;
            assert_eq!(socket.read_u8().await?, 1, "the version of the password's exchange");
            let name = text(socket).await?;
            let given = format!("{name}:{}", text(socket).await?);
            let good = given == *wanted;
            socket.write_all(&[1, u8::from(!good)]).await?;
            if !good {
                let tunnel = Tunnel { credentials: Some(given), ..Tunnel::default() };
                self.tunnels.lock().unwrap().push(tunnel);
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            credentials = Some(given);
        } else {
            assert!(methods.contains(&0), "{methods:?}");
            socket.write_all(&[5, 0]).await?;
        }
        let mut ask = [0; 4];
        socket.read_exact(&mut ask).await?;
        assert_eq!(ask[..3], [5, 1, 0], "a CONNECT");
        let host = match ask[3] {
            1 => Ipv4Addr::from(socket.read_u32().await?).to_string(),
            4 => format!("[{}]", Ipv6Addr::from(socket.read_u128().await?)),
            3 => text(socket).await?,
            other => panic!("no kind of address: {other}"),
        };
        let port = socket.read_u16().await?;
        Ok((format!("{host}:{port}"), credentials))
    }
}

/// A text after its length in one byte.
async fn text(socket: &mut TcpStream) -> io::Result<String> {
    let mut bytes = vec![0; usize::from(socket.read_u8().await?)];
    socket.read_exact(&mut bytes).await?;
    Ok(String::from_utf8(bytes).unwrap())
}

async fn http_asked(socket: &mut TcpStream) -> io::Result<(String, Option<String>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if socket.read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.lines();
    let to =
        lines.next().unwrap().strip_prefix("CONNECT ").unwrap().strip_suffix(" HTTP/1.1").unwrap().to_owned();
    assert!(lines.clone().any(|line| line == format!("Host: {to}")), "{head}");
    let packed = lines.find_map(|line| line.strip_prefix("Proxy-Authorization: Basic "));
    let plain = |packed: &str| String::from_utf8(unpack(packed)).unwrap();
    Ok((to, packed.map(plain)))
}

/// Base64 (RFC 4648 §4), read without the library that the pool writes it with.
fn unpack(packed: &str) -> Vec<u8> {
    const SIGNS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0u32, 0);
    for sign in packed.trim_end_matches('=').chars() {
        bits = (bits << 6) | SIGNS.find(sign).unwrap() as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}
