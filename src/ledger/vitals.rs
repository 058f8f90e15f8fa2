//! How the log itself does: how far it is, what waits for it, how long the disk takes.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use projections::{Seq, statistics::counts::Histogram};

/// What the ledger counts about itself.
#[derive(Default)]
pub(super) struct Counters {
    /// The last event that is known to be on the disk.
    synced: AtomicU64,
    /// How long syncs took, in microseconds.
    syncs: Mutex<Histogram>,
}

impl Counters {
    /// Everything up to here was on the disk when the log was opened.
    pub(super) fn from(head: Seq) -> Self {
        Self { synced: AtomicU64::new(head), ..Self::default() }
    }

    /// A sync that began after this event was folded has succeeded.
    pub(super) fn synced(&self, head: Seq, took: Duration) {
        self.synced.fetch_max(head, Ordering::Relaxed);
        self.syncs.lock().record(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
    }

    pub(super) fn told(&self, head: Seq, queued: usize) -> Vitals {
        Vitals { head, synced: self.synced.load(Ordering::Relaxed), queued, syncs: self.syncs.lock().clone() }
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Vitals {
    /// The last event folded in.
    pub head: Seq,
    /// The last event that is known to be on the disk.
    pub synced: Seq,
    /// Facts and commands that are not folded yet.
    pub queued: usize,
    /// How long syncs took, in microseconds.
    pub syncs: Histogram,
}
