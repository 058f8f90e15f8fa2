//! Passing an answer on: as it comes, unchanged, to its end.
//!
//! A copy is read for usage and for errors inside the stream; the key, should
//! Google ever echo it, is masked by as many asterisks, and where it stands in a
//! packed answer, that is broken off before it. What the answer came to is
//! decided at its end, not at its beginning.

use std::{collections::VecDeque, io, time::Duration};

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::{HeaderMap, StatusCode, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use poem::{Body, Response};
use projections::event::{Outcome, Verdict};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{
    Asked, Proxy,
    affinity::Learning,
    attempt::{Answer, ErrorAnswer},
    record::{AttemptRecord, RequestRecord, STOPPING},
    rescue,
};
use crate::{
    gemini::{
        classify, headers,
        scrub::Scrubber,
        stream::{Framing, Reader},
        target::Shape,
    },
    vault::UpstreamKey,
};

/// After the last word of a stream, its end is waited for so long: then what it came to is in the log before the client
/// has that word.
const AFTER_DONE: Duration = Duration::from_millis(250);

impl Proxy {
    /// The answer, as a response whose body follows Google's.
    pub(super) async fn relay(
        &self,
        asked: &Asked,
        answer: Answer,
        key: &UpstreamKey,
        mut request: RequestRecord,
        learning: Option<Learning>,
    ) -> Response {
        let Answer { status, headers, framing, gzip, head, rest, mut attempt } = answer;
        attempt.reader = Some(Reader::new(framing, asked.target.shape, gzip).hunting(key.forms()));
        request.answered.status = status.as_u16();
        request.first_byte();
        let mut headers = headers::downstream(&headers, key.forms());
        for name in [headers::UPLOAD_URL, headers::UPLOAD_CONTROL_URL, header::LOCATION] {
            let Some(address) = headers.get(&name) else { continue };
            if let Some(own) = headers::own_address(address, self.gemini.base(), &asked.origin) {
                headers.insert(name, own);
            }
        }
        if let Some(copy) = request.bodies() {
            copy.answers(&headers);
            copy.hide(key.forms());
        }
        let relay = Relay {
            waiting: head,
            rest,
            scrubber: Scrubber::new(key.forms()),
            key: key.clone(),
            framing,
            packed: gzip,
            shape: asked.target.shape,
            may_be_empty: asked.target.upload.is_some(),
            idle_timeout: self.settings.now().stream_idle_timeout,
            boundary: Boundary::default(),
            cut: self.lifecycle.cut.clone(),
            learning,
            attempt,
            request,
        };
        // Nobody asks for a body that is not there, so its end is seen here.
        if relay.waiting.iter().all(Bytes::is_empty) && relay.rest.is_end_stream() {
            return respond(status, headers, Body::from_bytes(relay.end().await));
        }
        respond(status, headers, Body::from_bytes_stream(relay.into_stream()))
    }

    /// An error of Google's, which is about the request or about Google itself.
    pub(super) async fn relay_error(&self, mut request: RequestRecord, answer: ErrorAnswer) -> Response {
        request.answered.status = answer.status.as_u16();
        request.answered.bytes = answer.body.len() as u64;
        request.first_byte();
        if let Some(copy) = request.bodies() {
            copy.answers(&answer.headers);
            copy.answered(&answer.body);
        }
        request.finish(Outcome::Complete, None).await;
        respond(answer.status, answer.headers, Body::from_bytes(answer.body))
    }
}

fn respond(status: StatusCode, headers: HeaderMap, body: Body) -> Response {
    let mut response = Response::builder().status(status).body(body);
    *response.headers_mut() = headers;
    response
}

/// An answer on its way. Dropped before its end, its records say that the client went away.
struct Relay {
    waiting: VecDeque<Bytes>,
    rest: Incoming,
    scrubber: Scrubber,
    key: UpstreamKey,
    framing: Framing,
    /// It is gzip: nothing can be put into it.
    packed: bool,
    shape: Shape,
    /// Its headers may say it all: what Google answers to the steps of an upload has often no body.
    may_be_empty: bool,
    idle_timeout: Duration,
    /// How much of a blank line the end of what went out has.
    boundary: Boundary,
    /// Time is up for what still runs.
    cut: CancellationToken,
    /// Notes what the answer shows to be at Google, before it goes out.
    learning: Option<Learning>,
    attempt: AttemptRecord,
    request: RequestRecord,
}

impl Relay {
    fn into_stream(self) -> impl stream::Stream<Item = io::Result<Bytes>> + Send + 'static {
        stream::unfold(Some(self), |relay| async move {
            let (item, relay) = relay?.next().await?;
            Some((item, relay))
        })
    }

    /// The next piece, and what is left to relay after it.
    async fn next(mut self) -> Option<(io::Result<Bytes>, Option<Self>)> {
        loop {
            let next = match self.waiting.pop_front() {
                Some(chunk) => Some(Ok(chunk)),
                None => tokio::select! {
                    next = timeout(self.idle_timeout, self.rest.frame()) => match next {
                        Ok(Some(Ok(frame))) => Some(Ok(frame.into_data().unwrap_or_default())),
                        Ok(Some(Err(_))) => Some(Err("the connection broke")),
                        Err(_) => Some(Err("it stalled")),
                        Ok(None) => None,
                    },
                    () = self.cut.cancelled() => {
                        self.request.answered.reason = Some(STOPPING.to_owned());
                        Some(Err("this server is stopping"))
                    }
                },
            };
            match next {
                None => {
                    let held = self.end().await;
                    return (!held.is_empty()).then_some((Ok(held), None));
                }
                Some(Err(how)) => return self.break_off(how).await,
                Some(Ok(chunk)) => {
                    self.attempt.attempted.bytes_received += chunk.len() as u64;
                    if let Some(reader) = &mut self.attempt.reader {
                        reader.feed(&chunk);
                        if reader.found() {
                            tracing::warn!("a packed answer with an upstream key in it was broken off");
                            return self.break_off("an upstream key stood in it").await;
                        }
                    }
                    if let Some(learning) = &mut self.learning {
                        learning.follow(&chunk).await;
                    }
                    let chunk = self.scrubber.scrub(chunk);
                    if let Some(copy) = self.request.bodies() {
                        copy.answered(&chunk);
                    }
                    self.request.answered.bytes += chunk.len() as u64;
                    // A server may stop asking once the told length went out, so the end is seen here.
                    if self.waiting.is_empty() && self.rest.is_end_stream() {
                        let held = self.end().await;
                        return Some((Ok(join(chunk, held)), None));
                    }
                    if self.says_done(&chunk) {
                        // Clients hang up here, and it is no leaving: they have it all.
                        self.attempt.attempted.verdict = Verdict::Success;
                        self.request.whole = true;
                        match timeout(AFTER_DONE, self.rest.frame()).await {
                            Ok(None) => {
                                let held = self.end().await;
                                return Some((Ok(join(chunk, held)), None));
                            }
                            Ok(Some(Ok(frame))) => {
                                self.waiting.push_back(frame.into_data().unwrap_or_default());
                            }
                            Ok(Some(Err(_))) | Err(_) => {}
                        }
                    }
                    if !chunk.is_empty() {
                        self.boundary.follow(&chunk);
                        return Some((Ok(chunk), Some(self)));
                    }
                }
            }
        }
    }

    /// Whether a chunk ends with the word that ends a stream of events in OpenAI's way (gemini-wire §1.4, §1.8).
    fn says_done(&self, chunk: &[u8]) -> bool {
        self.framing == Framing::Sse
            && self.shape != Shape::Native
            && self.waiting.is_empty()
            && chunk.trim_ascii_end().ends_with(b"data: [DONE]")
    }

    /// Google's answer is over: decides what it came to, and gives its last bytes once that is in the log.
    async fn end(self) -> Bytes {
        let Self { scrubber, key, may_be_empty, mut attempt, mut request, .. } = self;
        let read = attempt.read();
        let whole = read.whole || (may_be_empty && attempt.attempted.bytes_received == 0);
        let held = scrubber.finish();
        request.answered.bytes += held.len() as u64;
        if let Some(copy) = request.bodies() {
            copy.answered(&held);
        }
        let (verdict, outcome) = match (read.error, whole) {
            (Some(mut error), _) => {
                key.forms().mask(&mut error);
                let inner = classify::classify(classify::status_in(&error), Some("application/json"), &error);
                attempt.attempted.reason = inner.reason;
                attempt.attempted.violations = inner.violations;
                (Verdict::StreamError, Outcome::Truncated)
            }
            (None, false) => (Verdict::Truncated, Outcome::Truncated),
            (None, true) => (Verdict::Success, Outcome::Complete),
        };
        let ended = attempt.finish(verdict);
        request.finish(outcome, ended).await;
        held
    }

    /// Google's answer broke: says so in the stream's own form where it has one.
    async fn break_off(self, how: &str) -> Option<(io::Result<Bytes>, Option<Self>)> {
        let Self { scrubber, framing, packed, shape, mut boundary, mut attempt, mut request, .. } = self;
        attempt.attempted.reason = Some(how.to_owned());
        let item = if framing == Framing::Sse && !packed {
            let held = scrubber.finish();
            // An event that was cut in the middle is closed first, or the error would be part of it.
            boundary.follow(&held);
            let gap = Bytes::from_static(boundary.missing());
            let last = join(join(held, gap), rescue::last_event(shape, how));
            request.answered.bytes += last.len() as u64;
            if let Some(copy) = request.bodies() {
                copy.answered(&last);
            }
            Ok(last)
        } else {
            // Without its end the client sees that it is not whole.
            Err(io::Error::new(io::ErrorKind::ConnectionReset, "the answer from Google broke off"))
        };
        let ended = attempt.finish(Verdict::Truncated);
        request.finish(Outcome::Truncated, ended).await;
        Some((item, None))
    }
}

/// Where an event stream stands: at the beginning of an event, of a line, or within one.
#[derive(Clone, Copy, Debug, Default)]
struct Boundary {
    /// The last bytes, newest last; none: nothing went out yet.
    last: Option<[u8; 4]>,
}

impl Boundary {
    fn follow(&mut self, chunk: &[u8]) {
        if chunk.is_empty() {
            return;
        }
        let mut last = self.last.unwrap_or(*b"\r\n\r\n");
        for byte in chunk.iter().skip(chunk.len().saturating_sub(4)) {
            last.rotate_left(1);
            last[3] = *byte;
        }
        self.last = Some(last);
    }

    /// What is missing to a blank line, whichever line ends the stream uses.
    fn missing(self) -> &'static [u8] {
        match self.last {
            None | Some([.., b'\n', b'\n']) => b"",
            Some(last) if last.ends_with(b"\n\r\n") => b"",
            Some([.., b'\n']) => b"\r\n",
            Some(last) if last.ends_with(b"\n\r") => b"\n",
            Some([.., b'\r']) => b"\n\r\n",
            Some(_) => b"\r\n\r\n",
        }
    }
}

fn join(first: Bytes, second: Bytes) -> Bytes {
    if second.is_empty() {
        return first;
    }
    if first.is_empty() {
        return second;
    }
    let mut both = BytesMut::with_capacity(first.len() + second.len());
    both.extend_from_slice(&first);
    both.extend_from_slice(&second);
    both.freeze()
}
