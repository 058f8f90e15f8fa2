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

type Teller = Box<dyn Fn() -> Option<Now> + Send + Sync>;

/// See the module.
pub struct Gauges {
    teller: OnceLock<Teller>,
    stopping: AtomicBool,
    started: Millis,
    began: Instant,
}

impl Gauges {
    /// The process opens its pool at this time.
    #[must_use]
    pub fn new(started: Millis) -> Self {
        Self { teller: OnceLock::new(), stopping: AtomicBool::new(false), started, began: Instant::now() }
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
