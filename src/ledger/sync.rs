//! Forcing the log to the disk, beside the thread that writes it.
//!
//! Owns the wait for the disk, so that traffic never waits for it: a thread of its
//! own syncs, and answers those who must not be answered before. Whoever asks
//! while a sync runs is served by the next, all together.

use std::{
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Instant,
};

use super::Shared;
use crate::journal;

/// Told once everything that was appended before it was handed in is on the disk, or that it cannot be.
pub(super) type Waiting = Box<dyn FnOnce(Result<(), Arc<journal::Error>>) + Send>;

/// A handle on the thread; dropped, it syncs what is left and ends.
pub(super) struct Syncer {
    queue: Option<mpsc::Sender<Option<Waiting>>>,
    thread: Option<JoinHandle<()>>,
}

impl Syncer {
    pub(super) fn start(shared: Arc<Shared>) -> std::io::Result<Self> {
        let (queue, asked) = mpsc::channel::<Option<Waiting>>();
        let thread = std::thread::Builder::new().name("ledger-sync".to_owned()).spawn(move || {
            while let Ok(first) = asked.recv() {
                let all: Vec<_> = std::iter::once(first).chain(asked.try_iter()).flatten().collect();
                // Whatever is folded was appended before.
                let (head, began) = (*shared.head.borrow(), Instant::now());
                let synced = shared.journal.sync().map_err(|error| shared.fail(error));
                if synced.is_ok() {
                    shared.counters.synced(head, began.elapsed());
                }
                all.into_iter().for_each(|waiting| waiting(synced.clone()));
            }
        })?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    /// Asks for a sync of all that was appended so far.
    pub(super) fn ask(&self, waiting: Option<Waiting>) {
        if let Some(queue) = &self.queue {
            // Only a thread that died takes no more; then the waiting one is dropped, and sees that.
            let _ = queue.send(waiting);
        }
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // A panic in there was reported when it happened.
            let _ = thread.join();
        }
    }
}
