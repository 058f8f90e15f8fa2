//! How long the ledger's thread has been at one thing, so that all who wait for a record lose patience together.
//!
//! An append waits where the disk does: the database writes down its own files under a lock that appends take too, a
//! second and more on a disk whose syncs take 300 ms. Whoever comes while it stands still does not wait anew.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// See the module.
pub(super) struct Stall {
    epoch: Instant,
    /// When it began what it is at, in milliseconds since `epoch`; [`IDLE`]: it waits for work.
    busy_since: AtomicU64,
    /// Answers that went out ahead of their records.
    ahead: AtomicU64,
    /// Whether that was said of what it is at.
    said: AtomicU64,
}

const IDLE: u64 = u64::MAX;

impl Stall {
    pub(super) fn new() -> Self {
        Self { epoch: Instant::now(), busy_since: IDLE.into(), ahead: 0.into(), said: IDLE.into() }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(IDLE - 1)
    }

    /// The ledger's thread begins something that others wait for.
    pub(super) fn begin(&self) {
        self.busy_since.store(self.now(), Ordering::Relaxed);
    }

    /// It has ended it.
    pub(super) fn end(&self) {
        self.busy_since.store(IDLE, Ordering::Relaxed);
    }

    /// How much is left of the patience with what it is at.
    pub(super) fn left(&self, patience: Duration) -> Duration {
        match self.busy_since.load(Ordering::Relaxed) {
            IDLE => patience,
            since => patience.saturating_sub(Duration::from_millis(self.now().saturating_sub(since))),
        }
    }

    /// An answer goes out ahead of its record.
    pub(super) fn gone_ahead(&self) {
        self.ahead.fetch_add(1, Ordering::Relaxed);
        let since = self.busy_since.load(Ordering::Relaxed);
        if self.said.swap(since, Ordering::Relaxed) != since {
            tracing::warn!("the log is slow: answers go out before their records are written");
        }
    }

    /// Answers that did since the start.
    pub(super) fn ahead(&self) -> u64 {
        self.ahead.load(Ordering::Relaxed)
    }
}
