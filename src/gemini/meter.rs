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

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::{OwnedSemaphorePermit, Semaphore},
};

use crate::locks::Mutex;

/// Memory is counted in blocks of this many bytes.
pub const BLOCK: usize = 1_024;
/// What a side may hold without asking each time: its buffers, and a piece of sound. Taken when it begins.
const ALWAYS: usize = 64 << 10;
/// Asked for at once beyond that, in blocks.
const STEP: usize = 64;

#[derive(Debug)]
struct Held {
    /// Read since the last message went on.
    bytes: usize,
    /// For what is always there.
    _always: OwnedSemaphorePermit,
    more: Option<OwnedSemaphorePermit>,
    /// There was no room, and what is read from then on is dropped.
    full: bool,
}

/// What one side of a session holds. Clones share it.
#[derive(Clone, Debug)]
pub struct Meter {
    memory: Arc<Semaphore>,
    held: Arc<Mutex<Held>>,
}

impl Meter {
    /// None where no room is left for a session more.
    #[must_use]
    pub fn begin(memory: &Arc<Semaphore>) -> Option<Self> {
        let always = Arc::clone(memory).try_acquire_many_owned(blocks(ALWAYS)).ok()?;
        let held = Held { bytes: 0, _always: always, more: None, full: false };
        Some(Self { memory: Arc::clone(memory), held: Arc::new(Mutex::new(held)) })
    }

    /// All that was read has gone on.
    pub fn gone_on(&self) {
        let mut held = self.held.lock();
        held.bytes = 0;
        held.more = None;
    }

    /// So many bytes more were read; false, once, where there is no room for them.
    fn read(&self, bytes: usize) -> bool {
        let mut held = self.held.lock();
        if held.full {
            return true;
        }
        held.bytes += bytes;
        let has = ALWAYS + held.more.as_ref().map_or(0, |more| more.num_permits() * BLOCK);
        if held.bytes <= has {
            return true;
        }
        let wanted = (held.bytes - has).div_ceil(BLOCK).max(STEP);
        let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
        let held = &mut *held;
        match (Arc::clone(&self.memory).try_acquire_many_owned(wanted), &mut held.more) {
            (Ok(more), Some(before)) => before.merge(more),
            (Ok(more), none) => *none = Some(more),
            (Err(_), _) => held.full = true,
        }
        !held.full
    }
}

/// The memory for all bodies together, of apps' requests, of administrators' and of Live sessions.
#[must_use]
pub fn memory(bytes: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new((bytes / BLOCK).min(Semaphore::MAX_PERMITS)))
}

/// So many bytes, in blocks.
#[must_use]
pub fn blocks(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(BLOCK)).unwrap_or(u32::MAX)
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
        let memory = Arc::new(Semaphore::new(256));
        let side = Meter::begin(&memory).unwrap();
        assert_eq!(memory.available_permits(), 192);
        assert!(side.read(ALWAYS) && side.read(1), "it has its share, and may ask for more");
        assert_eq!(memory.available_permits(), 128);
        assert!(side.read(63 << 10) && memory.available_permits() == 128, "not for each byte");
        assert!(side.read(128 << 10));
        assert!(!side.read(2 << 10), "there is no more");
        assert!(side.read(9 << 20), "whoever goes on reads to drop it");
        assert!(Meter::begin(&memory).is_none());
        side.gone_on();
        assert_eq!(memory.available_permits(), 192);
        drop(side);
        assert_eq!(memory.available_permits(), 256);
    }
}
