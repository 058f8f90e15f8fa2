//! Owns the playing of a planned answer: its headers as Google sends them, gzip, pauses, and cuts that leave
//! the client without an end. Refuses to decide anything. Invariant: the bytes sent are the planned ones, in
//! order, and a cut comes after everything before it has left.

use std::collections::VecDeque;
use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::reply::{Body, EVENTS, Reply, Step};
use super::seen::End;
use super::server::Open;

/// The connection ends here, without another byte.
#[derive(Debug)]
pub(super) struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("cut by order")
    }
}

impl std::error::Error for Cut {}

/// Whether the client takes gzip (RFC 9110 §12.5.3).
pub(super) fn accepts_gzip(headers: &HeaderMap) -> bool {
    let offers = headers.get_all("accept-encoding").iter().filter_map(|value| value.to_str().ok());
    offers.flat_map(|offer| offer.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let refused = weight.trim().strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0));
        matches!(name.trim(), "gzip" | "*") && !refused
    })
}

/// Turns a plan into a response; `Err` is a connection to be cut before the head.
pub(super) fn respond(reply: Reply, gzip: bool, mut call: Open) -> Result<Response<Played>, Cut> {
    let mut headers = google_headers(call.n);
    headers.insert("content-type", HeaderValue::from_static(reply.content_type));
    for (name, value) in &reply.headers {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    let (length, steps) = match reply.body {
        Body::Nothing => {
            call.end = End::Cut;
            return Err(Cut);
        }
        Body::Whole(bytes) => {
            let zipped = (gzip && reply.content_type != EVENTS && !bytes.is_empty()).then(|| gzipped(&bytes));
            let bytes = match zipped.flatten() {
                Some(zipped) => {
                    headers.insert("content-encoding", HeaderValue::from_static("gzip"));
                    zipped
                }
                None => bytes,
            };
            (Some(bytes.len() as u64), VecDeque::from([Step::Send(bytes)]))
        }
        Body::Steps { length, steps } => (length, steps.into()),
    };
    if length == Some(0) {
        // The server has nothing to send, so it would not ask for the end either.
        call.end = End::Whole;
    }
    let mut response = Response::new(Played { steps, length, waiting: None, call });
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or_default();
    *response.headers_mut() = headers;
    Ok(response)
}

/// The headers of every answer, as in public recordings. `Date` is the server's, the length the body's.
fn google_headers(n: u64) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(16);
    for vary in ["Origin", "X-Origin", "Referer"] {
        headers.append("vary", HeaderValue::from_static(vary));
    }
    headers.insert("server", HeaderValue::from_static("scaffolding on HTTPServer2"));
    headers.insert("x-xss-protection", HeaderValue::from_static("0"));
    headers.insert("x-frame-options", HeaderValue::from_static("SAMEORIGIN"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    if let Ok(timing) = HeaderValue::from_str(&format!("gfet4t7; dur={}", 100 + n % 400)) {
        headers.insert("server-timing", timing);
    }
    headers
}

fn gzipped(bytes: &Bytes) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 2), Compression::fast());
    encoder.write_all(bytes).ok()?;
    encoder.finish().ok().map(Bytes::from)
}

/// The body of an answer as it is played.
pub(super) struct Played {
    steps: VecDeque<Step>,
    length: Option<u64>,
    waiting: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    call: Open,
}

impl Played {
    fn wait(&mut self, pause: impl Future<Output = ()> + Send + 'static) {
        self.waiting = Some(Box::pin(pause));
    }
}

impl HttpBody for Played {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let played = self.get_mut();
        loop {
            if let Some(waiting) = &mut played.waiting {
                ready!(waiting.as_mut().poll(cx));
                played.waiting = None;
            }
            match played.steps.pop_front() {
                Some(Step::Send(bytes)) => {
                    if played.steps.is_empty() && played.length.is_some() {
                        // With a length announced, the server may not ask again.
                        played.call.end = End::Whole;
                    }
                    if bytes.is_empty() {
                        continue;
                    }
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Some(Step::Pause(Duration::ZERO)) => played.wait(tokio::task::yield_now()),
                Some(Step::Pause(pause)) => played.wait(tokio::time::sleep(pause)),
                Some(Step::Hold) => {
                    let release = played.call.release();
                    played.wait(release);
                }
                // The server flushes when the body has it wait, and throws away what it holds when the body
                // fails: so a cut waits once.
                Some(Step::Cut) if played.call.end != End::Cut => {
                    played.call.end = End::Cut;
                    played.steps.push_front(Step::Cut);
                    played.wait(tokio::task::yield_now());
                }
                Some(Step::Cut) => return Poll::Ready(Some(Err(Cut))),
                None => {
                    played.call.end = End::Whole;
                    return Poll::Ready(None);
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.length == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
