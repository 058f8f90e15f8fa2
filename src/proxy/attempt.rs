//! One upstream try: call, wait for the first byte, and say what it is.
//!
//! An answer counts as begun only when its first bytes are here and are no error:
//! until then another key may still be tried.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_TYPE},
};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use projections::event::Verdict;
use tokio::time::{Instant, timeout_at};

use super::{
    Asked, Proxy,
    record::{AttemptRecord, RequestRecord},
};
use crate::{
    gemini::{
        Call, Gemini,
        classify::{self, Classified},
        headers,
        passing::Passing,
        stream::{Framing, Peek, peek},
    },
    ledger::Reservation,
    scheduler::Choice,
    vault::UpstreamKey,
};

/// Error bodies are kept up to this size, in bytes; Google's have some thousand.
const ERROR_KEPT: usize = 1 << 20;
/// The first event of a stream is held back up to this size while it may be an error.
const PEEKED: usize = 64 << 10;

/// What a try came to, so far.
pub(super) enum Attempted {
    /// An answer begins.
    Answered(Box<Answer>),
    /// No answer for the client, or none yet; it is recorded and folded.
    Failed(Box<Failure>),
}

/// A failure.
pub(super) struct Failure {
    pub(super) classified: Classified,
    /// What Google answered, if it did.
    pub(super) answer: Option<ErrorAnswer>,
}

/// An error answer of Google's, whole, without the key, with the headers that may pass.
pub(super) struct ErrorAnswer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// An answer that has begun.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) framing: Framing,
    pub(super) gzip: bool,
    /// What was read of it to see that it is one.
    pub(super) head: VecDeque<Bytes>,
    pub(super) rest: Incoming,
    pub(super) attempt: AttemptRecord,
}

impl Proxy {
    pub(super) fn begin(
        &self,
        asked: &Asked,
        choice: Choice,
        reservation: Reservation,
        record: &RequestRecord,
        bytes_sent: usize,
    ) -> AttemptRecord {
        debug_assert_eq!(asked.id, record.answered.request);
        let progress = std::sync::Arc::clone(&self.progress);
        // What a probe finds out is not to wait for the end of its answer; that says it again.
        let opening = if choice.probe { self.ledger.try_reserve() } else { None };
        let mut attempt =
            AttemptRecord::new(reservation, progress, choice, self.clock.now(), &record.answered);
        attempt.attempted.bytes_sent = bytes_sent as u64;
        attempt.opening = opening;
        attempt
    }
}

/// Makes the call and looks at what comes first.
pub(super) async fn run(
    gemini: &Gemini,
    call: &Call<'_>,
    key: &UpstreamKey,
    asked: &Asked,
    mut attempt: AttemptRecord,
) -> Attempted {
    let began = Instant::now();
    let response = match timeout_at(asked.deadline, gemini.call(call, key)).await {
        Err(_) => return failed(attempt, out_of_time(asked, began), None).await,
        Ok(Err(error)) => {
            tracing::debug!(error = %error, cause = std::error::Error::source(&error).map(tracing::field::display));
            // Where the client's body broke off, no key is to blame, nor Google.
            if call.payload.passes().is_some_and(Passing::is_broken) {
                let reason = Some("BODY_BROKEN".to_owned());
                return failed(attempt, Classified { reason, ..Verdict::Cancelled.into() }, None).await;
            }
            let mut classified = Classified::from(error.verdict());
            classified.reason = Some(error.to_string());
            return failed(attempt, classified.on(key.route()), None).await;
        }
        Ok(Ok(response)) => response,
    };
    let (head, body) = response.into_parts();
    attempt.attempted.status = head.status.as_u16();
    if head.status.is_client_error() || head.status.is_server_error() {
        return error_answer(head.status, head.headers, body, key, asked, attempt).await;
    }
    let content_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let encoding = head.headers.get(CONTENT_ENCODING);
    let gzip = encoding.is_some_and(|encoding| encoding == "gzip");
    let framing = match encoding {
        _ if *call.verb == Method::HEAD => Framing::Opaque,
        Some(_) if !gzip => Framing::Opaque,
        _ => Framing::of(content_type, asked.target.shape, asked.target.streamed),
    };
    let begun = Begun { body, head: VecDeque::new(), read: BytesMut::new(), ended: false };
    match begun.look(framing, gzip, asked).await {
        Ok(Begun { body, head: first, .. }) => {
            attempt.first_byte();
            let (status, headers) = (head.status, head.headers);
            Attempted::Answered(Box::new(Answer {
                status,
                headers,
                framing,
                gzip,
                head: first,
                rest: body,
                attempt,
            }))
        }
        Err(NotBegun::Broken(Verdict::TimedOut)) => failed(attempt, out_of_time(asked, began), None).await,
        Err(NotBegun::Broken(verdict)) => failed(attempt, verdict.into(), None).await,
        Err(NotBegun::Error(mut error)) => {
            key.forms().mask(&mut error);
            let status = classify::status_in(&error);
            let classified = classify::classify(status, Some("application/json"), &error);
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=UTF-8"));
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            failed(attempt, classified, Some(ErrorAnswer { status, headers, body: Bytes::from(error) })).await
        }
    }
}

/// Time is up. It is Google's silence only where this try had most of the time there is; else the
/// client's own deadline, its slow body or an earlier try used it up, and no key is to blame.
pub(super) fn out_of_time(asked: &Asked, began: Instant) -> Classified {
    if asked.deadline.saturating_duration_since(began) >= asked.fair / 2 {
        return Verdict::TimedOut.into();
    }
    Classified { reason: Some("DEADLINE".to_owned()), ..Verdict::Cancelled.into() }
}

async fn failed(attempt: AttemptRecord, classified: Classified, answer: Option<ErrorAnswer>) -> Attempted {
    attempt.fail(&classified).await;
    Attempted::Failed(Box::new(Failure { classified, answer }))
}

/// Reads an error whole, takes the key out of it, and says what it means.
pub(super) async fn error_answer(
    status: StatusCode,
    mut headers: HeaderMap,
    mut body: Incoming,
    key: &UpstreamKey,
    asked: &Asked,
    mut attempt: AttemptRecord,
) -> Attempted {
    let mut bytes = Vec::new();
    while bytes.len() < ERROR_KEPT {
        match timeout_at(asked.deadline, body.frame()).await {
            Ok(Some(Ok(frame))) => bytes.extend(frame.into_data().unwrap_or_default()),
            // The status says enough; a body that breaks off is judged by what came.
            Ok(None | Some(Err(_))) | Err(_) => break,
        }
    }
    attempt.attempted.bytes_received = bytes.len() as u64;
    if headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding == "gzip")
        && let Some(plain) = classify::gunzip(&bytes, ERROR_KEPT)
    {
        headers.remove(CONTENT_ENCODING);
        bytes = plain;
    }
    asked.secret(key).mask(&mut bytes);
    headers.remove(http::header::CONTENT_LENGTH);
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let mut classified = classify::classify(status.as_u16(), content_type, &bytes);
    // "The caller does not have permission" is about the model where there is one, and about a
    // resource of another project where that is what was asked for.
    if classified.verdict == Verdict::ModelDenied && asked.target.bound {
        classified = Classified { reason: classified.reason, ..Verdict::AffinityMiss.into() };
    }
    let headers = headers::downstream(&headers, asked.secret(key));
    failed(
        attempt,
        asked.means(classified.on(key.route())),
        Some(ErrorAnswer { status, headers, body: Bytes::from(bytes) }),
    )
    .await
}

/// A 200 of which not enough is known.
struct Begun {
    body: Incoming,
    head: VecDeque<Bytes>,
    /// The same bytes in one piece, as long as they may be an error.
    read: BytesMut,
    ended: bool,
}

enum NotBegun {
    Broken(Verdict),
    Error(Vec<u8>),
}

impl Begun {
    /// Reads until the first bytes show that this is an answer.
    async fn look(mut self, framing: Framing, gzip: bool, asked: &Asked) -> Result<Self, NotBegun> {
        loop {
            // Of packed bytes nothing can be seen, and streams are never packed.
            let seen = if gzip && !self.read.is_empty() {
                Peek::Answer
            } else {
                peek(&self.read, framing, self.ended)
            };
            match seen {
                Peek::Error(error) => return Err(NotBegun::Error(error)),
                Peek::Answer => return Ok(self),
                Peek::More if self.read.len() >= PEEKED => return Ok(self),
                Peek::More if self.ended && self.read.is_empty() && asked.target.streamed => {
                    return Err(NotBegun::Broken(Verdict::EmptyAnswer));
                }
                Peek::More if self.ended => return Ok(self),
                Peek::More => self.more(asked.deadline).await?,
            }
        }
    }

    async fn more(&mut self, deadline: Instant) -> Result<(), NotBegun> {
        match timeout_at(deadline, self.body.frame()).await {
            Err(_) => Err(NotBegun::Broken(Verdict::TimedOut)),
            Ok(Some(Err(_))) => Err(NotBegun::Broken(Verdict::ConnectionLost)),
            Ok(None) => {
                self.ended = true;
                Ok(())
            }
            Ok(Some(Ok(frame))) => {
                let chunk = frame.into_data().unwrap_or_default();
                self.read.extend_from_slice(&chunk);
                self.head.push_back(chunk);
                Ok(())
            }
        }
    }
}
