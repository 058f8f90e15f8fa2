//! The memory of a Live session: what it holds of messages that are not whole yet, or have not gone on.
//!
//! A message is kept until it is whole, and both sides of a session may send large ones, so all sessions together are
//! held to the memory that request bodies have (BODY_MEMORY_BYTES). Owns the count of one side. Its invariant: what a
//! side has read since its last message went on is counted, and where there is no room for it, it keeps no more.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;

use crate::{
    body_memory::{self, BodyMemory},
    caller::Caller,
    locks::{Mutex, Rank},
};

/// What a side may hold without asking each time: its buffers, and a piece of sound. Taken when it begins.
const ALWAYS: usize = 64 << 10;
/// Asked for at once beyond that.
const STEP: usize = 64 << 10;

#[derive(Debug)]
struct Held {
    /// Read since the last message went on.
    bytes: usize,
    /// What it may hold.
    has: usize,
    memory: body_memory::Held,
    /// There was no room, and what is read from then on is dropped.
    full: bool,
}

/// What one side of a session holds. Clones share it.
#[derive(Clone, Debug)]
pub struct Meter {
    held: Arc<Mutex<Held>>,
}

impl Meter {
    /// None where no room is left for a session more.
    #[must_use]
    pub fn begin(memory: &Arc<BodyMemory>, caller: Caller) -> Option<Self> {
        let mut memory = memory.body(caller);
        memory.grow(ALWAYS).ok()?;
        memory.is_whole();
        let held = Held { bytes: 0, has: ALWAYS, memory, full: false };
        Some(Self { held: Arc::new(Mutex::ranked(Rank::SessionMemory, held)) })
    }

    /// Told when its memory goes to others, whose share is smaller.
    #[must_use]
    pub fn cut(&self) -> CancellationToken {
        self.held.lock().memory.cut()
    }

    /// All that was read has gone on.
    pub fn gone_on(&self) {
        let mut held = self.held.lock();
        held.bytes = 0;
        if held.has > ALWAYS {
            held.has = ALWAYS;
            held.memory.shrink(ALWAYS);
            held.memory.is_whole();
        }
    }

    /// So many bytes more were read; false, once, where there is no room for them.
    fn read(&self, bytes: usize) -> bool {
        let mut held = self.held.lock();
        if held.full {
            return true;
        }
        held.bytes += bytes;
        if held.bytes <= held.has {
            return true;
        }
        if held.has == ALWAYS {
            held.memory.arrives();
        }
        let wants = held.bytes.max(held.has + STEP);
        match held.memory.grow(wants) {
            Ok(()) => held.has = wants,
            Err(_) => held.full = true,
        }
        !held.full
    }
}

/// Whether a connection was given up for want of memory.
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::OutOfMemory
}

/// A connection whose reading is counted.
#[derive(Debug)]
pub struct Metered<S> {
    inner: S,
    meter: Meter,
}

impl<S> Metered<S> {
    /// Counts from here on.
    pub fn new(inner: S, meter: Meter) -> Self {
        Self { inner, meter }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(context, buffer);
        let bytes = buffer.filled().len().saturating_sub(before);
        if bytes > 0 && !self.meter.read(bytes) {
            return Poll::Ready(Err(io::ErrorKind::OutOfMemory.into()));
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_counted_and_given_back() {
        let memory = BodyMemory::new(256 << 10);
        let client = Caller::of(Some(projections::ClientId(1)), None);
        let side = Meter::begin(&memory, client).unwrap();
        assert_eq!(memory.free(), 192 << 10);
        assert!(side.read(ALWAYS) && side.read(1), "it has its share, and may ask for more");
        assert_eq!(memory.free(), 128 << 10);
        assert!(side.read(63 << 10) && memory.free() == 128 << 10, "not for each byte");
        assert!(side.read(128 << 10));
        assert!(!side.read(2 << 10), "there is no more");
        assert!(side.read(9 << 20), "whoever goes on reads to drop it");
        assert!(Meter::begin(&memory, client).is_none());
        let other = Meter::begin(&memory, Caller::of(Some(projections::ClientId(2)), None));
        assert!(other.is_some() && side.cut().is_cancelled(), "who has less gets some of it");
        drop(other);
        drop(side);
        let side = Meter::begin(&memory, client).unwrap();
        assert!(side.read(ALWAYS + 1) && memory.free() == 128 << 10);
        side.gone_on();
        assert_eq!(memory.free(), 192 << 10);
        drop(side);
        assert_eq!(memory.free(), 256 << 10);
    }
}
