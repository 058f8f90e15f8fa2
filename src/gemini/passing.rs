//! A body that goes up as it comes down: too large to be kept, and so it is sent once.
//!
//! Owns the one right to read it. Refuses to give it out twice. Its invariant: it holds no more than the piece that is
//! on its way, for nothing is read of it before Google's side has room.

use std::{
    fmt, io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::Stream;

use crate::locks::Mutex;

/// What comes from the client.
pub type Pieces = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// See the module. Clones share it.
#[derive(Clone)]
pub struct Passing {
    pieces: Arc<Mutex<Option<Pieces>>>,
    broken: Arc<AtomicBool>,
    length: Option<u64>,
}

impl fmt::Debug for Passing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passing").field("length", &self.length).finish_non_exhaustive()
    }
}

impl Passing {
    /// A body of a length in bytes, where the client told it.
    #[must_use]
    pub fn new(pieces: Pieces, length: Option<u64>) -> Self {
        Self { pieces: Arc::new(Mutex::new(Some(pieces))), broken: Arc::default(), length }
    }

    /// Its length in bytes, where the client told it.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// Whether it ended before its end.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    /// The body, for the one who comes first.
    #[must_use]
    pub fn take(&self) -> Option<Pieces> {
        self.pieces.lock().take()
    }

    /// The next piece of what [`Passing::take`] gave.
    pub(super) fn poll(
        &self,
        pieces: &mut Pieces,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Bytes>>> {
        let next = pieces.as_mut().poll_next(context);
        if matches!(next, Poll::Ready(Some(Err(_)))) {
            self.broken.store(true, Ordering::Release);
        }
        next
    }
}
