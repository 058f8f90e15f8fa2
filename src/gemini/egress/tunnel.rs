//! A connection to Google through a proxy: HTTP CONNECT (RFC 9110 §9.3.6) or SOCKS5
//! (RFC 1928, with RFC 1929 for names and passwords).
//!
//! Both for `https` and for `http` upstreams, so that a proxy sees nothing but where
//! the bytes go, and TLS is Google's. Written out here, because what exists looks up
//! names on the runtime's threads, bounds credentials by its buffer, and tells neither
//! what a proxy said nor when it said nothing.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use http::Uri;
use hyper_util::{client::legacy::connect::HttpConnector, rt::TokioIo};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tower_service::Service;
use zeroize::Zeroizing;

use crate::gemini::route::{Credentials, Proxy, Scheme};

/// From the connection to the proxy to the proxy's connection to Google.
const PATIENCE: Duration = Duration::from_secs(10);
/// Largest answer to CONNECT, in bytes.
const ANSWER: usize = 16 << 10;

/// A proxy did not give us a connection. Says nothing of where it is, for apps are told too.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyFailed {
    /// There is nobody.
    #[error("the outbound proxy could not be reached")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It took the connection and said nothing more.
    #[error("the outbound proxy did not answer in time")]
    Silent,
    /// It broke off, or speaks another language.
    #[error("the outbound proxy broke off, or does not speak the protocol that its address names")]
    Broken(#[source] io::Error),
    /// It does not let us in.
    #[error("the outbound proxy wants credentials, or others than it was given")]
    Credentials,
    /// It does not get through to Google, or does not want to.
    #[error("the outbound proxy did not connect to Google: {0}")]
    Refused(String),
    /// Google's name has no address here.
    #[error("no address was found for Google's name; with socks5h:// the outbound proxy looks it up")]
    Unresolved(#[source] io::Error),
}

impl From<io::Error> for ProxyFailed {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

/// Makes connections through one proxy.
#[derive(Clone, Debug)]
pub(super) struct Tunnel {
    proxy: Proxy,
    tcp: HttpConnector,
}

impl Tunnel {
    pub(super) fn new(proxy: Proxy, tcp: HttpConnector) -> Self {
        Self { proxy, tcp }
    }
}

impl Service<Uri> for Tunnel {
    type Response = TokioIo<TcpStream>;
    type Error = ProxyFailed;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ProxyFailed>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ProxyFailed>> {
        self.tcp.poll_ready(context).map_err(|error| ProxyFailed::Unreachable(Box::new(error)))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let proxy = self.proxy.clone();
        let address = Uri::builder().scheme("http").authority(proxy.authority()).path_and_query("/").build();
        let connecting = address.map(|address| self.tcp.call(address));
        Box::pin(async move {
            let connecting = connecting.map_err(|error| ProxyFailed::Unreachable(Box::new(error)))?;
            let stream = connecting.await.map_err(|error| ProxyFailed::Unreachable(Box::new(error)))?;
            let mut stream = stream.into_inner();
            let host = to.host().unwrap_or_default();
            let port = to.port_u16().unwrap_or(if to.scheme_str() == Some("http") { 80 } else { 443 });
            let asked = async {
                match proxy.scheme() {
                    Scheme::Http => http_connect(&mut stream, proxy.credentials(), host, port).await,
                    scheme => {
                        let to = destination(host, port, scheme == Scheme::Socks5).await?;
                        socks5(&mut stream, proxy.credentials(), &to, port).await
                    }
                }
            };
            timeout(PATIENCE, asked).await.map_err(|_| ProxyFailed::Silent)??;
            Ok(TokioIo::new(stream))
        })
    }
}

async fn http_connect(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    credentials: Option<&Credentials>,
    host: &str,
    port: u16,
) -> Result<(), ProxyFailed> {
    let mut ask = Zeroizing::new(format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n"));
    if let Some(Credentials { name, password }) = credentials {
        let plain = Zeroizing::new([name.as_str(), ":", password.as_str()].concat());
        let packed = Zeroizing::new(BASE64_STANDARD.encode(plain.as_bytes()));
        for part in ["Proxy-Authorization: Basic ", packed.as_str(), "\r\n"] {
            ask.push_str(part);
        }
    }
    ask.push_str("\r\n");
    stream.write_all(ask.as_bytes()).await?;
    let mut answer = Vec::new();
    let head = loop {
        if let Some(end) = memchr::memmem::find(&answer, b"\r\n\r\n") {
            break end + 4;
        }
        if answer.len() > ANSWER {
            return Err(unexpected("its answer is too long"));
        }
        if stream.read_buf(&mut answer).await? == 0 {
            return Err(unexpected("it closed the connection"));
        }
    };
    let status = answer.strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(2..5));
    let status = status.and_then(|status| str::from_utf8(status).ok()?.parse::<u16>().ok());
    match status {
        // Google does not speak before it is spoken to, so nothing may follow.
        Some(200..=299) if answer.len() == head => Ok(()),
        Some(407) => Err(ProxyFailed::Credentials),
        Some(status @ 300..=599) => Err(ProxyFailed::Refused(format!("HTTP {status}"))),
        _ => Err(unexpected("its answer is none to CONNECT")),
    }
}

/// Where a SOCKS proxy is to connect to.
#[derive(Debug)]
enum Destination {
    Address(IpAddr),
    Name(String),
}

async fn destination(host: &str, port: u16, look_up: bool) -> Result<Destination, ProxyFailed> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = bare.parse() {
        return Ok(Destination::Address(address));
    }
    if !look_up {
        return Ok(Destination::Name(host.to_owned()));
    }
    let found = tokio::net::lookup_host((host, port)).await.map_err(ProxyFailed::Unresolved)?;
    let found: Vec<IpAddr> = found.map(|address: SocketAddr| address.ip()).collect();
    // A proxy that speaks no IPv6 is more common than one that speaks nothing else.
    let best = found.iter().find(|address| address.is_ipv4()).or(found.first());
    let none = || ProxyFailed::Unresolved(io::Error::from(io::ErrorKind::NotFound));
    best.copied().map(Destination::Address).ok_or_else(none)
}

async fn socks5(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    credentials: Option<&Credentials>,
    to: &Destination,
    port: u16,
) -> Result<(), ProxyFailed> {
    const NO_CREDENTIALS: u8 = 0;
    const PASSWORD: u8 = 2;
    let offer: &[u8] =
        if credentials.is_some() { &[5, 2, NO_CREDENTIALS, PASSWORD] } else { &[5, 1, NO_CREDENTIALS] };
    stream.write_all(offer).await?;
    let mut chosen = [0; 2];
    stream.read_exact(&mut chosen).await?;
    match (chosen, credentials) {
        ([5, NO_CREDENTIALS], _) => {}
        ([5, PASSWORD], Some(Credentials { name, password })) => {
            let mut who = Zeroizing::new(vec![1]);
            for part in [name, password] {
                // Not longer than 255 bytes: `Proxy::parse` saw to it.
                who.push(u8::try_from(part.len()).unwrap_or(u8::MAX));
                who.extend_from_slice(part.as_bytes());
            }
            stream.write_all(&who).await?;
            let mut answer = [0; 2];
            stream.read_exact(&mut answer).await?;
            if answer[1] != 0 {
                return Err(ProxyFailed::Credentials);
            }
        }
        ([5, _], _) => return Err(ProxyFailed::Credentials),
        _ => return Err(unexpected("it does not speak SOCKS5")),
    }
    let mut ask = vec![5, 1, 0];
    match to {
        Destination::Address(IpAddr::V4(address)) => {
            ask.push(1);
            ask.extend(address.octets());
        }
        Destination::Address(IpAddr::V6(address)) => {
            ask.push(4);
            ask.extend(address.octets());
        }
        Destination::Name(name) => {
            let length = u8::try_from(name.len());
            let too_long = |_| ProxyFailed::Refused("the name is too long for SOCKS5".to_owned());
            ask.extend([3, length.map_err(too_long)?]);
            ask.extend(name.as_bytes());
        }
    }
    ask.extend(port.to_be_bytes());
    stream.write_all(&ask).await?;
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let [version, reply, _, kind] = head;
    if version != 5 {
        return Err(unexpected("it does not speak SOCKS5"));
    }
    if reply != 0 {
        return Err(ProxyFailed::Refused(words(reply)));
    }
    // The address it connects from, which tells us nothing.
    let length = match kind {
        1 => 4,
        4 => 16,
        3 => usize::from(stream.read_u8().await?),
        _ => return Err(unexpected("its answer has an address of no known kind")),
    };
    let mut rest = vec![0; length + 2];
    stream.read_exact(&mut rest).await?;
    Ok(())
}

fn words(reply: u8) -> String {
    match reply {
        1 => "general failure".to_owned(),
        2 => "not allowed by its rules".to_owned(),
        3 => "network unreachable".to_owned(),
        4 => "host unreachable".to_owned(),
        5 => "connection refused".to_owned(),
        6 => "no answer in time".to_owned(),
        7 => "command not supported".to_owned(),
        8 => "kind of address not supported".to_owned(),
        other => format!("SOCKS5 reply {other}"),
    }
}

fn unexpected(what: &'static str) -> ProxyFailed {
    ProxyFailed::Broken(io::Error::new(io::ErrorKind::InvalidData, what))
}

/// What a proxy's answers come to, from one that never keeps anybody waiting.
#[cfg(any(test, feature = "fuzzing"))]
pub(in crate::gemini) fn answer(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    http: bool,
    credentials: bool,
) -> Result<(), ProxyFailed> {
    use futures_util::FutureExt;
    let word = |text: &str| Zeroizing::new(text.to_owned());
    let credentials = credentials.then(|| Credentials { name: word("name"), password: word("password") });
    let asked = async {
        match http {
            true => http_connect(stream, credentials.as_ref(), "google", 443).await,
            false => {
                let to = Destination::Name("google".to_owned());
                socks5(stream, credentials.as_ref(), &to, 443).await
            }
        }
    };
    asked.now_or_never().unwrap_or(Err(ProxyFailed::Silent))
}
