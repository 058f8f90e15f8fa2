//! The live feed: what is in the log, to whoever listens, as it is written.
//!
//! Owns one hub for all readers. While somebody listens it follows the log, writes each event once
//! ([`line`]), and keeps the latest in a ring; a reader ([`reader`]) has a position and nothing else,
//! and one that is behind the ring reads the journal page by page. Refuses to know HTTP, and to show what
//! is not in the log. Its invariant: a reader gets what it wants in the log's order, without a gap and nothing twice.

mod line;
mod reader;

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use projections::{Seq, filter::Filter};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use self::line::Chunk;
pub use self::reader::{Allowed, Reader};
use crate::{
    ledger::{Ledger, OpenError},
    locks::Mutex,
    shares::{Full, Shares},
};

/// Readers at once.
pub const READERS: usize = 1_000;
/// Readers of one session at once.
pub const OF_SESSION: usize = 200;
/// Readers are woken at most this often: with 100 of them and 2,000 events a second each wakes up for 40 events,
/// and nobody sees the difference.
const PACE: Duration = Duration::from_millis(20);
/// Events read and written at once.
const PAGE: usize = 512;
/// The same, for a reader that is behind the ring. Nobody shares them, and one that takes nothing holds on to some.
const PAGE_BEHIND: usize = 128;
/// What the ring weighs at most, in bytes: some ten thousand events.
const RING_BYTES: usize = 16 << 20;
/// Readers behind the ring that read the journal at the same time.
const LOOKING: usize = 4;

/// Why somebody cannot listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoFeed {
    /// As many listen as may.
    #[error("{READERS} listen to the feed, and more cannot: close some, or ask GET /api/events")]
    Full,
    /// One session has its share.
    #[error(
        "{OF_SESSION} listen to the feed by this session, and no more may: close some, or ask GET /api/events"
    )]
    Share,
    /// The log does not go so far.
    #[error(
        "the log ends at event {last}, before the position asked for: it is another log, or goes on from a backup. \
         Begin without a position"
    )]
    Ahead {
        /// Where it ends.
        last: Seq,
    },
    /// The service is going down.
    #[error("the service is stopping")]
    Stopping,
}

/// The latest chunks, in order and without gaps.
#[derive(Default)]
struct Ring {
    chunks: VecDeque<Arc<Chunk>>,
    weight: usize,
    /// The last event before the first chunk.
    start: Seq,
    /// The last event of the last one.
    end: Seq,
    /// Whether the hub's task runs.
    running: bool,
}

/// What the ring has after a position.
enum Found {
    Chunk(Arc<Chunk>),
    /// Nothing yet.
    Nothing,
    /// Nothing any more: the journal has it.
    Behind,
}

impl Ring {
    fn find(&self, after: Seq) -> Found {
        if after >= self.end {
            return Found::Nothing;
        }
        let place = self.chunks.partition_point(|chunk| chunk.last() <= after);
        match self.chunks.get(place) {
            Some(chunk) if after >= self.start => Found::Chunk(Arc::clone(chunk)),
            _ => Found::Behind,
        }
    }

    fn push(&mut self, chunk: Chunk, most: usize) {
        self.end = chunk.last();
        self.weight += chunk.weight();
        self.chunks.push_back(Arc::new(chunk));
        while self.weight > most && self.chunks.len() > 1 {
            let Some(oldest) = self.chunks.pop_front() else { break };
            self.weight -= oldest.weight();
            self.start = oldest.last();
        }
    }

    fn begin(&mut self, at: Seq) {
        *self = Self { start: at, end: at, running: true, ..Self::default() };
    }
}

/// See the module.
pub struct Feed {
    ledger: Ledger,
    ring: Mutex<Ring>,
    ring_bytes: usize,
    /// Told when the ring has something new; true: the log cannot be read.
    news: watch::Sender<bool>,
    readers: Shares,
    looking: Semaphore,
    /// Pages that readers behind the ring read of the journal.
    looked_up: AtomicU64,
    stop: CancellationToken,
}

impl Feed {
    /// Nobody listens yet.
    #[must_use]
    pub fn new(ledger: Ledger) -> Arc<Self> {
        Self::with_ring(ledger, RING_BYTES)
    }

    fn with_ring(ledger: Ledger, ring_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            ledger,
            ring: Mutex::default(),
            ring_bytes,
            news: watch::Sender::new(false),
            readers: Shares::new(READERS, OF_SESSION),
            looking: Semaphore::new(LOOKING),
            looked_up: AtomicU64::new(0),
            stop: CancellationToken::new(),
        })
    }

    /// Listens to what comes after a position, or from now on, as long as it is `allowed`, for a session.
    ///
    /// # Errors
    /// [`NoFeed`].
    pub fn listen(
        self: &Arc<Self>,
        session: u128,
        after: Option<Seq>,
        filter: Filter,
        allowed: Allowed,
    ) -> Result<Reader, NoFeed> {
        let place = self.readers.take(session).map_err(|full| match full {
            Full::All(_) => NoFeed::Full,
            Full::Share(_) => NoFeed::Share,
        })?;
        if self.stop.is_cancelled() {
            return Err(NoFeed::Stopping);
        }
        let mut ring = self.ring.lock();
        let last = *self.ledger.head().borrow();
        let after = after.unwrap_or(last);
        if after > last {
            return Err(NoFeed::Ahead { last });
        }
        let news = self.news.subscribe();
        if !ring.running {
            ring.begin(last);
            self.news.send_replace(false);
            tokio::spawn(Arc::clone(self).follow());
        }
        drop(ring);
        Ok(Reader::new(Arc::clone(self), news, place, after, filter, allowed))
    }

    /// How many listen now.
    #[must_use]
    pub fn readers(&self) -> usize {
        self.readers.taken()
    }

    /// Pages of the journal that were read for readers behind the latest events, since the start.
    #[must_use]
    pub fn looked_up(&self) -> u64 {
        self.looked_up.load(Ordering::Relaxed)
    }

    /// Ends every reader, and lets no more in.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Follows the log while somebody listens.
    async fn follow(self: Arc<Self>) {
        let mut head = self.ledger.head();
        loop {
            let after = self.ring.lock().end;
            let here = Arc::clone(&self);
            let read = tokio::task::spawn_blocking(move || {
                here.ledger.events(after, PAGE).map(|events| Chunk::new(after, events))
            });
            let chunk = match read.await {
                Ok(Ok(chunk)) => chunk,
                Ok(Err(error)) => return self.fail(Some(&error)),
                Err(_) => return self.fail(None),
            };
            let (length, read_to) = (chunk.len(), chunk.last());
            if length > 0 {
                self.ring.lock().push(chunk, self.ring_bytes);
                self.news.send_replace(false);
            }
            // What is behind goes on at once; what is up to date lets some events come together.
            let pause = if length == PAGE { Duration::ZERO } else { PACE };
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = self.news.closed() => {}
                // An error: the ledger is gone, and with it what there was to follow.
                come = head.wait_for(|head| *head > read_to) => if come.is_err() { return },
            }
            let mut ring = self.ring.lock();
            if self.news.is_closed() {
                *ring = Ring::default();
                return;
            }
        }
    }

    /// The log cannot be read: every reader ends, and whoever comes back begins anew.
    fn fail(&self, error: Option<&OpenError>) {
        tracing::error!(
            error = error.map(tracing::field::display),
            "the feed cannot read the log; its readers were sent away"
        );
        *self.ring.lock() = Ring::default();
        self.news.send_replace(true);
    }
}

#[cfg(test)]
mod tests;
