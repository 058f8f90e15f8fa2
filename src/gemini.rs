//! The upstream client: one call to Google, sent and received.
//!
//! Owns connections, the headers that may pass each way, and the upstream
//! credential's one place. It refuses to choose keys, to try again or to record:
//! it reports what happened. Its invariants: exactly one credential goes
//! upstream, in `x-goog-api-key` (or the client's own [`token`] in its place), and
//! bodies are never rewritten.

pub mod body;
pub mod classify;
pub mod conversation;
mod egress;
#[cfg(any(test, feature = "fuzzing"))]
#[expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "it is for tests, and panics where a law does not hold"
)]
pub mod fuzzed;
pub mod headers;
mod json;
pub mod live;
pub mod meter;
pub mod pages;
pub mod passing;
pub mod references;
pub mod resources;
pub mod route;
pub mod scrub;
pub mod stream;
pub mod target;
mod text;
pub mod token;

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, header::CONTENT_LENGTH};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use projections::event::Verdict;

use self::{
    egress::{Egress, ProxyFailed},
    passing::{Passing, Pieces},
    route::Proxy,
};
use crate::vault::UpstreamKey;

/// A body is kept in blocks of this size, in bytes; a power of two.
const GATHERED: usize = 32 << 10;

/// A request's body: kept so that it can be sent again, or passed on once.
#[derive(Clone, Debug, Default)]
pub struct Payload {
    chunks: Vec<Bytes>,
    tail: Vec<u8>,
    length: usize,
    passing: Option<Passing>,
}

impl Payload {
    /// Adds what came next. It is copied, because each piece would hold on to the buffer that it was read into, which
    /// is larger: what a body holds is what is counted for it.
    pub fn push(&mut self, mut chunk: &[u8]) {
        self.length += chunk.len();
        while !chunk.is_empty() {
            let (fits, more) = chunk.split_at(chunk.len().min(GATHERED - self.tail.len()));
            let room = (self.tail.len() + fits.len()).next_power_of_two();
            self.tail.reserve_exact(room - self.tail.len());
            self.tail.extend_from_slice(fits);
            if self.tail.len() == GATHERED {
                self.gather();
            }
            chunk = more;
        }
    }

    /// No more comes.
    pub fn finish(&mut self) {
        self.gather();
    }

    fn gather(&mut self) {
        if !self.tail.is_empty() {
            self.chunks.push(std::mem::take(&mut self.tail).into());
        }
    }

    /// One that is not kept.
    #[must_use]
    pub fn passing(body: Passing) -> Self {
        let length = body.length().and_then(|length| usize::try_from(length).ok()).unwrap_or_default();
        Self { length, passing: Some(body), ..Self::default() }
    }

    /// What is passed on, where nothing is kept.
    #[must_use]
    pub fn passes(&self) -> Option<&Passing> {
        self.passing.as_ref()
    }

    /// Bytes in all; 0 of what passes where the client did not tell.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0 && self.passing.is_none()
    }

    /// The pieces that are kept, as they came.
    pub fn chunks(&self) -> impl Iterator<Item = &Bytes> {
        self.chunks.iter()
    }
}

/// A payload on its way; its bytes are shared, not copied.
enum Sending {
    Kept { chunks: VecDeque<Bytes>, left: u64 },
    Passing { body: Passing, pieces: Option<Pieces>, left: Option<u64> },
}

impl Sending {
    fn nothing() -> Self {
        Self::Kept { chunks: VecDeque::new(), left: 0 }
    }

    fn of(payload: &Payload) -> Self {
        match &payload.passing {
            Some(body) => Self::Passing { body: body.clone(), pieces: body.take(), left: body.length() },
            None => {
                Self::Kept { chunks: payload.chunks.iter().cloned().collect(), left: payload.length as u64 }
            }
        }
    }
}

impl Body for Sending {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match &mut *self {
            Self::Kept { chunks, left } => {
                let chunk = chunks.pop_front();
                *left -= chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
                Poll::Ready(chunk.map(|chunk| Ok(Frame::data(chunk))))
            }
            Self::Passing { body, pieces: Some(pieces), left } => {
                let next = body.poll(pieces, context);
                if let (Poll::Ready(Some(Ok(chunk))), Some(left)) = (&next, left) {
                    *left = left.saturating_sub(chunk.len() as u64);
                }
                next.map_ok(Frame::data)
            }
            Self::Passing { pieces: None, .. } => Poll::Ready(Some(Err(io::ErrorKind::NotConnected.into()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Kept { chunks, .. } if chunks.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Kept { left, .. } | Self::Passing { left: Some(left), .. } => SizeHint::with_exact(*left),
            Self::Passing { left: None, .. } => SizeHint::default(),
        }
    }
}

/// One call, ready to be made with a key.
#[derive(Debug)]
pub struct Call<'a> {
    /// HTTP method.
    pub verb: &'a Method,
    /// Normalised path.
    pub path: &'a str,
    /// Query without credentials; may be empty.
    pub query: &'a str,
    /// The client's headers, through [`headers::upstream`].
    pub headers: &'a HeaderMap,
    /// The client's body.
    pub payload: &'a Payload,
}

/// No answer came.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Google could not be reached: nothing was sent.
    #[error("no connection to Google")]
    Connect(#[source] legacy::Error),
    /// The outbound proxy gave no connection: nothing was sent.
    #[error("{said}")]
    Proxy {
        /// What was wrong with it; without its address, for apps are told too.
        said: String,
        /// All of it.
        #[source]
        source: legacy::Error,
    },
    /// The connection broke before an answer came.
    #[error("the connection to Google broke before an answer came")]
    Lost(#[source] legacy::Error),
    /// The address cannot be called.
    #[error("the request has no valid address")]
    Address(#[source] http::Error),
    /// Google agreed to a session, and the connection broke.
    #[error("the connection to Google broke at its upgrade")]
    Upgrade(#[source] hyper::Error),
}

impl CallError {
    fn of(error: legacy::Error) -> Self {
        if !error.is_connect() {
            return Self::Lost(error);
        }
        let first = std::error::Error::source(&error);
        let proxy = std::iter::successors(first, |error| error.source())
            .find_map(|error| error.downcast_ref::<ProxyFailed>());
        match proxy.map(ToString::to_string) {
            Some(said) => Self::Proxy { said, source: error },
            None => Self::Connect(error),
        }
    }

    /// What the attempt came to.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Connect(_) | Self::Proxy { .. } => Verdict::ConnectFailed,
            Self::Lost(_) | Self::Upgrade(_) => Verdict::ConnectionLost,
            Self::Address(_) => Verdict::PoolFault,
        }
    }
}

/// The address of the upstream API is no address.
#[derive(Debug, thiserror::Error)]
#[error("GEMINI_BASE_URL is no address that can be called")]
pub struct BadBase(#[source] http::uri::InvalidUri);

/// See the module.
#[derive(Clone, Debug)]
pub struct Gemini {
    egress: Egress,
    base: String,
}

impl Gemini {
    /// A client of the API at `base`, such as `https://generativelanguage.googleapis.com`.
    ///
    /// # Errors
    /// [`BadBase`].
    pub fn new(base: &str) -> Result<Self, BadBase> {
        base.parse::<Uri>().map_err(BadBase)?;
        Ok(Self { egress: Egress::new(), base: base.to_owned() })
    }

    /// Everything goes through this proxy, where there is one, but for keys that have a way of their own.
    #[must_use]
    pub fn through(self, proxy: Option<Proxy>) -> Self {
        match proxy {
            Some(proxy) => Self { egress: self.egress.through(proxy), ..self },
            None => self,
        }
    }

    /// The API's address, without a slash at its end.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Makes a call with a key; returns when the answer's head is there.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call(&self, call: &Call<'_>, key: &UpstreamKey) -> Result<Response<Incoming>, CallError> {
        let mark = if call.query.is_empty() { "" } else { "?" };
        let uri = [self.base.as_str(), call.path, mark, call.query].concat();
        let body = Sending::of(call.payload);
        let mut request =
            Request::builder().method(call.verb).uri(uri).body(body).map_err(CallError::Address)?;
        let sent = request.headers_mut();
        sent.reserve(call.headers.len() + 1);
        sent.extend(call.headers.iter().map(|(name, value)| (name.clone(), value.clone())));
        sent.insert(headers::API_KEY, key.header());
        if call.payload.is_empty() && matches!(*call.verb, Method::POST | Method::PUT | Method::PATCH) {
            // hyper leaves it out where nothing follows, and Google's front end wants it.
            sent.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        self.egress.send(key.route(), request).await.map_err(CallError::of)
    }
}
