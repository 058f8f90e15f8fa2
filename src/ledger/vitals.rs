//! How the log itself does: how far it is, what waits for it, how long the disk takes.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use projections::{Seq, statistics::counts::Histogram};

use crate::locks::Mutex;

/// What the ledger counts about itself.
#[derive(Default)]
pub(super) struct Counters {
    /// The last event that is known to be on the disk.
    synced: AtomicU64,
    /// How long syncs took, in microseconds.
    syncs: Mutex<Histogram>,
    /// The event that the newest checkpoint stands behind.
    checkpoint: AtomicU64,
    /// How long checkpoints took to be written, in milliseconds.
    checkpoints: Mutex<Histogram>,
    /// Checkpoints that were not written.
    checkpoints_failed: AtomicU64,
}

impl Counters {
    /// Everything up to here was on the disk when the log was opened, and its newest checkpoint stood there.
    pub(super) fn from(head: Seq, checkpoint: Seq) -> Self {
        Self { synced: head.into(), checkpoint: checkpoint.into(), ..Self::default() }
    }

    /// A checkpoint behind this event was written.
    pub(super) fn checkpointed(&self, seq: Seq, took: Duration) {
        self.checkpoint.store(seq, Ordering::Relaxed);
        self.checkpoints.lock().record(u32::try_from(took.as_millis()).unwrap_or(u32::MAX));
    }

    /// One was not.
    pub(super) fn not_checkpointed(&self) {
        self.checkpoints_failed.fetch_add(1, Ordering::Relaxed);
    }

    /// A sync that began after this event was folded has succeeded.
    pub(super) fn synced(&self, head: Seq, took: Duration) {
        self.synced.fetch_max(head, Ordering::Relaxed);
        self.syncs.lock().record(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
    }

    /// Everything up to here is known to be on the disk.
    pub(super) fn synced_through(&self) -> Seq {
        self.synced.load(Ordering::Relaxed)
    }

    pub(super) fn told(&self, head: Seq, queued: usize, ahead: u64) -> Vitals {
        // One after the other: in one expression both would be held to its end.
        let syncs = self.syncs.lock().clone();
        let checkpoints = self.checkpoints.lock().clone();
        Vitals {
            head,
            synced: self.synced.load(Ordering::Relaxed),
            queued,
            ahead,
            syncs,
            checkpoint: self.checkpoint.load(Ordering::Relaxed),
            checkpoints,
            checkpoints_failed: self.checkpoints_failed.load(Ordering::Relaxed),
        }
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
    /// Answers that went out ahead of their records since the start, because the log stood still.
    pub ahead: u64,
    /// How long syncs took, in microseconds.
    pub syncs: Histogram,
    /// The event that the newest checkpoint stands behind; 0: there is none.
    pub checkpoint: Seq,
    /// How long checkpoints took to be written since the start, in milliseconds.
    pub checkpoints: Histogram,
    /// Those that were not written.
    pub checkpoints_failed: u64,
}
