//! What goes on right now, for those who look: the admin API and the metrics.
//!
//! Owns the question alone: the proxy answers it when it is asked, and keeps no second count for it. So whoever looks
//! need not know the proxy, nor the proxy those who look.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use projections::Millis;
use tokio::time::Instant;

/// What the proxy has in hand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Clients' requests under way, those that wait included.
    pub in_flight: usize,
    /// Those of them that wait for a key.
    pub waiting: usize,
    /// Costly tries that the whole pool may repeat right now.
    pub retries_left: u64,
    /// As many as it can save up.
    pub retries_most: u64,
}

/// Clients' connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connections {
    /// Open ones.
    pub open: usize,
    /// How many there may be.
    pub most: usize,
    /// Idle ones that were closed since the start, to make room for others.
    pub closed_for_room: u64,
    /// Those that were closed since the start because nothing came for too long, or a head did not end.
    pub closed_late: u64,
    /// Those that found no room since the start.
    pub refused: u64,
    /// Bytes of heads, and of buffers, that count towards their bound.
    pub held_bytes: usize,
}

type Teller = Box<dyn Fn() -> Option<Now> + Send + Sync>;
type Counter = Box<dyn Fn() -> Connections + Send + Sync>;

/// See the module.
pub struct Gauges {
    teller: OnceLock<Teller>,
    counter: OnceLock<Counter>,
    stopping: AtomicBool,
    started: Millis,
    began: Instant,
}

impl Gauges {
    /// The process opens its pool at this time.
    #[must_use]
    pub fn new(started: Millis) -> Self {
        let (teller, counter) = (OnceLock::new(), OnceLock::new());
        Self { teller, counter, stopping: AtomicBool::new(false), started, began: Instant::now() }
    }

    /// From now on this is asked; only the first one counts.
    pub fn ask(&self, teller: impl Fn() -> Option<Now> + Send + Sync + 'static) {
        let _ = self.teller.set(Box::new(teller));
    }

    /// What goes on; nothing, where nobody serves.
    #[must_use]
    pub fn now(&self) -> Option<Now> {
        self.teller.get()?()
    }

    /// From now on this counts connections; only the first one does.
    pub fn count_connections(&self, counter: impl Fn() -> Connections + Send + Sync + 'static) {
        let _ = self.counter.set(Box::new(counter));
    }

    /// Clients' connections; nothing, where nobody serves.
    #[must_use]
    pub fn connections(&self) -> Option<Connections> {
        Some(self.counter.get()?())
    }

    /// The server is going down.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Whether it is.
    #[must_use]
    pub fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// When the pool was opened.
    #[must_use]
    pub fn started(&self) -> Millis {
        self.started
    }

    /// For how long it has been open.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.began.elapsed()
    }
}
