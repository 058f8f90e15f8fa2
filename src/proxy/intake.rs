//! Taking in a request's body: whole, kept for other tries, and within bounds.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::header::CONTENT_LENGTH;
use projections::budget::tokens_in;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::{Asked, rescue::Refusal};
use crate::{
    body_memory::{BodyMemory, Held, NoMemory},
    gemini::{Payload, body::Scan, conversation::Conversation, passing::Passing, target::Upload},
};

/// A client that sends nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(60);
/// A larger piece of an upload is passed on as it comes, and not kept: those of the SDKs have 8 MiB.
const KEPT_PIECE: usize = 16 << 20;
/// Slower than so many bytes a second no client may be that sends such a piece, in the long run.
const SLOWEST: usize = 32 << 10;
/// Slower than so many bytes a second no client may be in the long run with a body that is kept; the first
/// [`GRACE`] are not counted.
const SLOWEST_KEPT: usize = 8 << 10;
/// How long a body may take whatever its size.
const GRACE: Duration = Duration::from_secs(30);
/// How long the rest of a refused body is read and dropped, so that the client sees the refusal
/// and not a broken connection.
const DRAIN: Duration = Duration::from_secs(10);

/// A body, and the memory that it may take.
#[derive(Default)]
pub(super) struct Body {
    pub(super) payload: Payload,
    memory: Option<Held>,
}

impl Body {
    /// Told when its memory goes to others, whose share is smaller.
    pub(super) fn cut(&self) -> CancellationToken {
        self.memory.as_ref().map(Held::cut).unwrap_or_default()
    }

    /// Its tokens, estimated; 0 where they cannot be.
    pub(super) fn tokens(&self) -> u32 {
        let holds = |chunk: &Bytes| MEDIA.iter().any(|name| memchr::memmem::find(chunk, name).is_some());
        if self.payload.chunks().any(holds) {
            return 0;
        }
        u32::try_from(tokens_in(self.payload.len() as u64)).unwrap_or(u32::MAX)
    }

    /// What the body says of itself.
    pub(super) fn scan(&self) -> Scan {
        let mut scan = Scan::new();
        for chunk in self.payload.chunks() {
            if scan.done() {
                break;
            }
            scan.feed(chunk);
        }
        scan
    }

    /// The conversation that the request goes on with.
    pub(super) fn conversation(&self, asked: &Asked) -> Option<u64> {
        let mut conversation = Conversation::new(asked.target.shape);
        for chunk in self.payload.chunks() {
            if conversation.done() {
                break;
            }
            conversation.feed(chunk);
        }
        conversation.id(asked.client, &asked.model)
    }
}

/// Members that hold a picture or a sound: of those, bytes tell nothing of tokens.
const MEDIA: [&[u8]; 4] = [b"inlineData", b"inline_data", b"image_url", b"input_audio"];

/// Whether a body is passed on: pieces of an upload are for the one project where it began, and a client that sent one
/// in vain asks how far it came.
pub(super) fn passes(body: &poem::Body, asked: &Asked) -> bool {
    let piece = matches!(asked.target.upload, Some(Upload::Chunk { .. }));
    piece && !body.is_empty() && asked.told_length.is_none_or(|length| length > KEPT_PIECE)
}

/// A body that is passed on, and how much more time than others it has for that.
pub(super) fn pass(body: poem::Body, asked: &Asked) -> (Body, Duration) {
    let pieces = stream::unfold(body.into_bytes_stream(), |mut pieces| async move {
        let next = timeout(SILENCE, pieces.next()).await;
        Some((next.unwrap_or_else(|_| Some(Err(io::ErrorKind::TimedOut.into())))?, pieces))
    });
    let length = asked.told_length.map(|length| length as u64);
    let payload = Payload::passing(Passing::new(Box::pin(pieces), length));
    let more = asked.told_length.unwrap_or_default() / SLOWEST;
    (Body { payload, memory: None }, Duration::from_secs(more as u64))
}

/// By when so much of a body is to have come, if there is to be more of it.
fn in_time(began: Instant, received: usize) -> Instant {
    began + GRACE + Duration::from_millis((received as u64).saturating_mul(1_000) / SLOWEST_KEPT as u64)
}

/// The same of one whose client is slow, and so has little under way: it is told soon.
const DRAIN_SLOW: Duration = Duration::from_secs(1);

/// Reads a body to its end.
pub(super) async fn take(
    body: poem::Body,
    asked: &Asked,
    most: usize,
    memory: &Arc<BodyMemory>,
) -> Result<Body, Refusal> {
    let mut stream = body.into_bytes_stream();
    if asked.told_length.is_some_and(|told| told > most) {
        discard(stream).await;
        return Err(Refusal::BodyTooLarge(most));
    }
    let mut held = memory.body(asked.caller);
    match read(&mut stream, &mut held, asked, most).await {
        Ok(payload) => {
            held.is_whole();
            Ok(Body { payload, memory: Some(held) })
        }
        Err(refusal) => {
            drop(held);
            match refusal {
                Refusal::BodyBroken => {}
                Refusal::BodyTooSlow(_) | Refusal::MemoryShare => {
                    let _ = timeout(DRAIN_SLOW, discard(stream)).await;
                }
                _ => discard(stream).await,
            }
            Err(refusal)
        }
    }
}

async fn read(
    stream: &mut (impl futures_util::Stream<Item = io::Result<Bytes>> + Unpin),
    held: &mut Held,
    asked: &Asked,
    most: usize,
) -> Result<Payload, Refusal> {
    let mut payload = Payload::default();
    let (cut, began) = (held.cut(), Instant::now());
    loop {
        let pace = in_time(began, payload.len());
        let other = asked.deadline.min(Instant::now() + SILENCE);
        let next = tokio::select! {
            next = timeout_at(pace.min(other), stream.next()) => next,
            () = cut.cancelled() => return Err(Refusal::MemoryShare),
        };
        let chunk = match next {
            Ok(None) => {
                payload.finish();
                return Ok(payload);
            }
            Ok(Some(Ok(chunk))) => chunk,
            Err(_) if pace < other => return Err(Refusal::BodyTooSlow(SLOWEST_KEPT)),
            Ok(Some(Err(_))) | Err(_) => return Err(Refusal::BodyBroken),
        };
        let length = payload.len() + chunk.len();
        if length > most {
            return Err(Refusal::BodyTooLarge(most));
        }
        held.grow(length).map_err(Refusal::from)?;
        payload.push(&chunk);
    }
}

impl From<NoMemory> for Refusal {
    fn from(none: NoMemory) -> Self {
        match none {
            NoMemory::Full => Self::NoMemory,
            NoMemory::Cut => Self::MemoryShare,
        }
    }
}

/// Reads and drops the body of a request that is refused.
pub(super) async fn drain(body: poem::Body) {
    discard(body.into_bytes_stream()).await;
}

async fn discard(mut stream: impl futures_util::Stream<Item = std::io::Result<bytes::Bytes>> + Unpin) {
    let _ = timeout(DRAIN, async { while let Some(Ok(_)) = stream.next().await {} }).await;
}

/// The same of a body that was to be passed on, and was not.
pub(super) async fn drain_passing(passing: Option<Passing>) {
    if let Some(pieces) = passing.and_then(|passing| passing.take()) {
        discard(pieces).await;
    }
}

/// The body's length, where the client told it.
pub(super) fn told_length(headers: &http::HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
