//! Bodies of calls: taken in whole, by a deadline, and within the memory that all bodies share.
//!
//! Owns how large a body may be and how long it may take. Its invariant: a body that is too large, too slow or refused
//! costs the pool no more than its bound in bytes and seconds, and no memory once it is refused.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use poem::{
    Body,
    http::{HeaderMap, header},
};
use tokio::time::{Instant, timeout_at};

use crate::{
    admin::problem::{Code, Problem},
    body_memory::{BodyMemory, Held},
    caller::Caller,
};

/// Largest body of a stranger, in bytes: a login, with every letter of its password escaped.
const STRANGERS: usize = 16 << 10;
/// Largest body, in bytes; that of keys to add is larger.
const BODY: usize = 64 << 10;
/// Room for 20,000 keys.
const KEYS: usize = 8 << 20;
/// Room for the numbers of 20,000 keys.
const IDS: usize = 512 << 10;
/// How long a body may take to arrive.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long the rest of a refused body is read and dropped, so that its sender sees the refusal and not a broken
/// connection.
const DRAIN: Duration = Duration::from_secs(2);

/// Largest body of a call, in bytes.
pub(super) fn most(path: &str, is_open: bool) -> usize {
    match path.rsplit_once("/bulk_").map(|(_, name)| name) {
        _ if is_open => STRANGERS,
        Some("add") => KEYS,
        Some(_) => IDS,
        None if path.ends_with("/keys/import") => KEYS,
        None => BODY,
    }
}

/// A body, and the memory that it holds.
pub(super) struct Taken {
    pub(super) bytes: Bytes,
    pub(super) memory: Option<Held>,
}

/// Reads a body to its end.
pub(super) async fn take(
    body: Body,
    headers: &HeaderMap,
    most: usize,
    memory: &Arc<BodyMemory>,
) -> Result<Taken, Problem> {
    take_within(DEADLINE, body, headers, most, memory).await
}

async fn take_within(
    deadline: Duration,
    body: Body,
    headers: &HeaderMap,
    most: usize,
    memory: &Arc<BodyMemory>,
) -> Result<Taken, Problem> {
    let deadline = Instant::now() + deadline;
    let mut stream = body.into_bytes_stream();
    let told = headers.get(header::CONTENT_LENGTH).and_then(|told| told.to_str().ok()?.parse().ok());
    let mut held = memory.body(Caller::Operators);
    let cut = held.cut();
    let no_memory = || {
        let text = "other requests hold all the memory for bodies (BODY_MEMORY_BYTES): try again";
        Problem::of(Code::NoMemory, text).after(1)
    };
    let mut bytes = BytesMut::new();
    let problem = loop {
        if told.is_some_and(|told: usize| told > most) || bytes.len() > most {
            let text = format!("the body is larger than the {most} bytes that this call takes");
            break Problem::of(Code::TooLarge, text);
        }
        let next = tokio::select! {
            next = timeout_at(deadline, stream.next()) => next,
            () = cut.cancelled() => break no_memory(),
        };
        let chunk = match next {
            Ok(None) => {
                held.is_whole();
                return Ok(Taken { bytes: bytes.freeze(), memory: Some(held) });
            }
            Ok(Some(Ok(chunk))) => chunk,
            Ok(Some(Err(_))) => return Err(Problem::of(Code::BadBody, "the body did not arrive whole")),
            Err(_) => {
                let text = format!("the body did not arrive within {} seconds", DEADLINE.as_secs());
                return Err(Problem::of(Code::BodyTooSlow, text));
            }
        };
        if held.grow(bytes.len() + chunk.len()).is_err() {
            break no_memory();
        }
        bytes.extend_from_slice(&chunk);
    };
    drop((bytes, held));
    discard(DRAIN, stream, most).await;
    Err(problem)
}

/// Reads and drops the body of a call that is refused, no further than one that is taken may go.
pub(super) async fn drain(body: Body, most: usize) {
    if !body.is_empty() {
        discard(DRAIN, body.into_bytes_stream(), most).await;
    }
}

async fn discard(
    within: Duration,
    mut stream: impl Stream<Item = std::io::Result<Bytes>> + Unpin,
    most: usize,
) {
    let read = async {
        let mut left = most;
        while let Some(Ok(chunk)) = stream.next().await {
            let Some(rest) = left.checked_sub(chunk.len()) else { return };
            left = rest;
        }
    };
    let _ = tokio::time::timeout(within, read).await;
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    fn slow(pieces: usize, pause: Duration) -> Body {
        let pieces = stream::iter(0..pieces).then(move |_| async move {
            tokio::time::sleep(pause).await;
            Ok::<_, std::io::Error>(vec![b'x'; 1_024])
        });
        Body::from_bytes_stream(pieces)
    }

    async fn taken(body: Body, most: usize, memory: &Arc<BodyMemory>) -> Result<usize, u16> {
        let taken = take_within(Duration::from_secs(2), body, &HeaderMap::new(), most, memory).await;
        taken.map(|taken| taken.bytes.len()).map_err(|problem| problem.status())
    }

    #[tokio::test]
    async fn a_body_is_bounded_in_bytes_in_time_and_in_memory() {
        let memory = BodyMemory::new(64 << 10);
        let fast = Duration::ZERO;
        assert_eq!(taken(slow(20, fast), 32 << 10, &memory).await, Ok(20 << 10));
        assert_eq!(taken(slow(40, fast), 32 << 10, &memory).await, Err(413));
        assert_eq!(taken(slow(40, Duration::from_millis(500)), 64 << 10, &memory).await, Err(408));
        let first = take(slow(40, fast), &HeaderMap::new(), 64 << 10, &memory).await.unwrap();
        assert_eq!(taken(slow(40, fast), 64 << 10, &memory).await, Err(503), "one has most of it");
        drop(first);
        assert_eq!(taken(slow(40, fast), 64 << 10, &memory).await, Ok(40 << 10));
        assert_eq!(memory.free(), 64 << 10, "all of it is given back");
    }

    #[tokio::test]
    async fn what_is_refused_is_read_no_longer_than_its_bound() {
        let began = Instant::now();
        let endless = |pause| slow(usize::MAX, pause).into_bytes_stream();
        discard(Duration::from_millis(200), endless(Duration::from_millis(50)), usize::MAX).await;
        assert!(began.elapsed() >= Duration::from_millis(200));
        // By its bytes, or it would go on for as long as the test is let.
        discard(Duration::from_secs(86_400), endless(Duration::ZERO), 64 << 10).await;
    }
}
