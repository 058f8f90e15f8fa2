//! Taking in a request's body: whole, kept for other tries, and within bounds.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::header::CONTENT_LENGTH;
use projections::budget::tokens_in;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout, timeout_at},
};

use super::{Asked, rescue::Refusal};
use crate::gemini::{
    Payload, body::Scan, conversation::Conversation, meter::BLOCK, passing::Passing, target::Upload,
};

/// A client that sends nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(60);
/// A larger piece of an upload is passed on as it comes, and not kept: those of the SDKs have 8 MiB.
const KEPT_PIECE: usize = 16 << 20;
/// Slower than so many bytes a second no client may be that sends such a piece, in the long run.
const SLOWEST: usize = 32 << 10;
/// How long the rest of a refused body is read and dropped, so that the client sees the refusal
/// and not a broken connection.
const DRAIN: Duration = Duration::from_secs(10);

/// A body, and the memory that it may take.
#[derive(Default)]
pub(super) struct Body {
    pub(super) payload: Payload,
    _memory: Option<OwnedSemaphorePermit>,
}

impl Body {
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
    (Body { payload, _memory: None }, Duration::from_secs(more as u64))
}

/// Reads a body to its end.
pub(super) async fn take(
    body: poem::Body,
    asked: &Asked,
    most: usize,
    memory: &Arc<Semaphore>,
) -> Result<Body, Refusal> {
    let mut taken = Body { payload: Payload::default(), _memory: None };
    let mut stream = body.into_bytes_stream();
    let mut blocks = 0;
    if asked.told_length.is_some_and(|told| told > most) {
        discard(stream).await;
        return Err(Refusal::BodyTooLarge(most));
    }
    loop {
        let next = timeout_at(asked.deadline.min(Instant::now() + SILENCE), stream.next()).await;
        let chunk = match next {
            Ok(None) => {
                taken.payload.finish();
                return Ok(taken);
            }
            Ok(Some(Ok(chunk))) => chunk,
            Ok(Some(Err(_))) | Err(_) => return Err(Refusal::BodyBroken),
        };
        let length = taken.payload.len() + chunk.len();
        let refusal = if length > most {
            Some(Refusal::BodyTooLarge(most))
        } else {
            let wanted = length.div_ceil(BLOCK) - blocks;
            blocks += wanted;
            match Arc::clone(memory).try_acquire_many_owned(u32::try_from(wanted).unwrap_or(u32::MAX)) {
                Ok(more) => {
                    match &mut taken._memory {
                        Some(held) => held.merge(more),
                        none => *none = Some(more),
                    }
                    None
                }
                Err(_) => Some(Refusal::NoMemory),
            }
        };
        if let Some(refusal) = refusal {
            drop(taken);
            discard(stream).await;
            return Err(refusal);
        }
        taken.payload.push(chunk);
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
