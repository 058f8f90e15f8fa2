//! How slowly a client may take what is sent to it.
//!
//! An answer holds a place at Google, a key's lease and buffers for as long as its client reads, so whoever reads too
//! slowly is cut off. Owns that measure for one connection, whatever goes over it: answers, downloads, feeds, Live
//! sessions. Counted is only the time in which there was something to send and the client took nothing: a model that
//! thinks costs a client nothing. Its invariant: a client that takes less than [`SLOWEST`] in the long run, or nothing
//! for [`GRACE`], is cut off, and no other.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

/// Bytes a second that a client takes at least, in the long run, of what there is for it.
pub const SLOWEST: u64 = 8 << 10;
/// How long it may take nothing, or be behind that rate.
pub const GRACE: Duration = Duration::from_secs(60);
/// How much the system keeps unsent for a client: the less, the better is known what a client takes.
pub const UNSENT: u32 = 128 << 10;

/// How far behind a client is. Pure.
#[derive(Clone, Copy, Debug)]
struct Pace {
    slowest: u64,
    grace: Duration,
    behind: Duration,
}

impl Pace {
    fn new(slowest: u64, grace: Duration) -> Self {
        Self { slowest, grace, behind: Duration::ZERO }
    }

    /// How much longer it may take nothing.
    fn left(self) -> Duration {
        self.grace.saturating_sub(self.behind)
    }

    /// It took so many bytes, after it took nothing for so long. What it takes faster than it must is not saved up.
    fn took(&mut self, bytes: usize, after: Duration) {
        let worth = Duration::from_micros((bytes as u64).saturating_mul(1_000_000) / self.slowest);
        self.behind = self.behind.saturating_add(after).saturating_sub(worth);
    }
}

/// Whether a connection's client was cut off because it reads too slowly. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct TooSlow(Arc<AtomicBool>);

impl TooSlow {
    /// Whether it was.
    #[must_use]
    pub fn is_so(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// A connection whose client is to keep pace.
#[derive(Debug)]
pub struct Paced<S> {
    inner: S,
    pace: Pace,
    /// Since when it takes nothing.
    stuck: Option<Instant>,
    /// When it has to have taken something; kept for the next time.
    timer: Option<Pin<Box<Sleep>>>,
    too_slow: TooSlow,
}

impl<S> Paced<S> {
    /// Measures from here on.
    pub fn new(inner: S) -> Self {
        Self::at(inner, Pace::new(SLOWEST, GRACE))
    }

    fn at(inner: S, pace: Pace) -> Self {
        Self { inner, pace, stuck: None, timer: None, too_slow: TooSlow::default() }
    }

    /// Tells whether the client was cut off.
    pub fn too_slow(&self) -> TooSlow {
        self.too_slow.clone()
    }

    /// What a write came to, in time or not.
    fn judge(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(bytes)) => {
                let after = self.stuck.take().map_or(Duration::ZERO, |since| since.elapsed());
                self.pace.took(bytes, after);
                Poll::Ready(Ok(bytes))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                if self.stuck.is_none() {
                    let now = Instant::now();
                    self.stuck = Some(now);
                    let until = now + self.pace.left();
                    match &mut self.timer {
                        Some(timer) => timer.as_mut().reset(until),
                        none => *none = Some(Box::pin(tokio::time::sleep_until(until))),
                    }
                }
                if let Some(timer) = &mut self.timer {
                    ready!(timer.as_mut().poll(context));
                }
                self.too_slow.0.store(true, Ordering::Release);
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client reads too slowly")))
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.judge(context, written)
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
        let written = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.judge(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    /// Sends without end, until it is cut off; gives how, after how long, and whether it was for being slow.
    async fn send(to: DuplexStream, pace: Pace) -> (io::ErrorKind, Duration, bool) {
        let mut to = Paced::at(to, pace);
        let (began, flag) = (Instant::now(), to.too_slow());
        let error = loop {
            if let Err(error) = to.write_all(&[b'x'; 4096]).await {
                break error;
            }
        };
        (error.kind(), began.elapsed(), flag.is_so())
    }

    /// Reads so much, again and again.
    async fn read(from: &mut DuplexStream, bytes: usize, pause: Duration) {
        let mut scrap = vec![0; bytes];
        while from.read_exact(&mut scrap).await.is_ok() {
            tokio::time::sleep(pause).await;
        }
    }

    #[tokio::test]
    async fn who_takes_nothing_is_cut_off_and_so_is_who_trickles() {
        let grace = Duration::from_millis(200);
        let (to, _from) = duplex(16 << 10);
        let (kind, after, slow) = send(to, Pace::new(SLOWEST, grace)).await;
        assert!((kind, slow) == (io::ErrorKind::TimedOut, true) && after >= grace, "{kind} after {after:?}");
        let (to, mut from) = duplex(16 << 10);
        let trickles = tokio::spawn(async move { read(&mut from, 1, Duration::from_millis(20)).await });
        let (kind, after, slow) = send(to, Pace::new(SLOWEST, grace)).await;
        assert!((kind, slow) == (io::ErrorKind::TimedOut, true) && after >= grace, "{kind} after {after:?}");
        // It would read what was on its way for minutes.
        trickles.abort();
    }

    #[tokio::test]
    async fn who_keeps_pace_is_not_cut_off_nor_who_has_nothing_to_take() {
        // Each byte is worth a second.
        let pace = Pace::new(1, Duration::from_secs(2));
        let (to, mut from) = duplex(64);
        let sends = tokio::spawn(send(to, pace));
        let reads = read(&mut from, 64, Duration::from_millis(10));
        assert!(tokio::time::timeout(Duration::from_secs(3), reads).await.is_err() && !sends.is_finished());
        drop(from);
        let (kind, _, slow) = sends.await.unwrap();
        assert_eq!((kind, slow), (io::ErrorKind::BrokenPipe, false), "who leaves was not too slow");

        let (to, mut from) = duplex(64);
        let mut to = Paced::at(to, Pace::new(SLOWEST, Duration::from_millis(300)));
        for _ in 0..3 {
            to.write_all(&[b'x'; 64]).await.unwrap();
            // There is nothing more to take, for longer than it may be stuck.
            tokio::time::sleep(Duration::from_millis(400)).await;
            from.read_exact(&mut [0; 64]).await.unwrap();
        }
    }

    #[test]
    fn a_client_is_behind_by_what_it_did_not_take() {
        let mut pace = Pace::new(SLOWEST, GRACE);
        let second = Duration::from_secs(1);
        let mut seconds = 0;
        while pace.left() > Duration::ZERO {
            pace.took(SLOWEST as usize / 2, second);
            seconds += 1;
        }
        assert_eq!(seconds, 120, "half as fast as it must be, it lasts for twice the grace");
        let mut pace = Pace::new(SLOWEST, GRACE);
        for _ in 0..10_000 {
            pace.took(SLOWEST as usize, second);
        }
        pace.took(1 << 40, second);
        assert_eq!(pace.left(), GRACE, "and what is taken faster is not saved up");
    }

    proptest! {
        /// Whatever a client does: it is behind by no more than the time in which it took nothing, and by no less
        /// than that without what its bytes are worth.
        #[test]
        fn law_no_more_and_no_less_behind_than_it_is(
            steps in proptest::collection::vec((0usize..200_000, 0u64..20_000), 1..50),
        ) {
            let (mut pace, mut stuck, mut bytes) = (Pace::new(SLOWEST, GRACE), Duration::ZERO, 0);
            for (took, after) in steps {
                let after = Duration::from_millis(after);
                stuck += after;
                bytes += took as u64;
                let before = pace.behind;
                pace.took(took, after);
                prop_assert!(pace.behind <= before + after && pace.behind <= stuck);
                let worth = Duration::from_micros(bytes * 1_000_000 / SLOWEST);
                prop_assert!(pace.behind >= stuck.saturating_sub(worth + Duration::from_micros(1)));
                prop_assert_eq!(pace.left(), GRACE.saturating_sub(pace.behind));
            }
        }
    }
}
