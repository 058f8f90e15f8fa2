//! Forcing the log to the disk, beside the thread that writes it.
//!
//! Owns the wait for the disk, so that traffic never waits for it: a thread of its
//! own syncs, and answers those who must not be answered before. Whoever asks
//! while a sync runs is served by the next, all together. When nobody asks, it does what
//! else wants the disk: it makes the next day's place in the log, and opens a log anew that failed.

use std::{
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{self, RecvTimeoutError},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use projections::Millis;

use super::{
    Message, Shared,
    heal::{EVERY, Healer},
    writer::{DAY_MS, day_of},
};
use crate::journal::{
    self, Segment,
    transient::{is_transient, pause},
};

/// Told once everything that was appended before it was handed in is on the disk, or that it cannot be.
pub(super) type Waiting = Box<dyn FnOnce(Result<(), Arc<journal::Error>>) + Send>;

/// A sync that wants what comes back is tried again for so long.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two of these tries.
const AGAIN: Duration = Duration::from_millis(50);
/// Nothing was appended for so long: whoever holds up appends a little holds up nobody.
const QUIET: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 2_000 });
/// So much before the next day its place is made in any case.
const AT_LAST: Millis = 3_600_000;
/// A place that was not made is tried again after this.
const UNMADE: Duration = Duration::from_millis(if cfg!(test) { 300 } else { 60_000 });
/// Making a place takes some twenty syncs, and whoever appends or stops waits for all of them: on a disk whose syncs take
/// longer than this it is left to the last hour.
const QUICK: Duration = Duration::from_millis(100);

/// A handle on the thread; dropped, it syncs what is left and ends.
pub(super) struct Syncer {
    queue: Option<mpsc::Sender<Option<Waiting>>>,
    thread: Option<JoinHandle<()>>,
}

impl Syncer {
    pub(super) fn start(
        shared: Arc<Shared>,
        ledger: tokio::sync::mpsc::WeakSender<Message>,
    ) -> std::io::Result<Self> {
        let (queue, asked) = mpsc::channel::<Option<Waiting>>();
        let mut healer = Healer::new(Arc::clone(&shared), ledger);
        let mut days = Days::default();
        let thread = std::thread::Builder::new().name("ledger-sync".to_owned()).spawn(move || {
            loop {
                let failing = shared.failure().is_some();
                match asked.recv_timeout(if failing { EVERY } else { QUIET }) {
                    Ok(first) => {
                        let all: Vec<_> = std::iter::once(first).chain(asked.try_iter()).flatten().collect();
                        let synced = sync(&shared);
                        all.into_iter().for_each(|waiting| waiting(synced.clone()));
                        days.make_next(&shared, false);
                    }
                    Err(RecvTimeoutError::Timeout) => days.make_next(&shared, true),
                    Err(RecvTimeoutError::Disconnected) => {
                        shared.keep_what_is_missed();
                        return;
                    }
                }
                shared.keep_what_is_missed();
                healer.look();
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

fn sync(shared: &Shared) -> Result<(), Arc<journal::Error>> {
    if let Some(error) = shared.failure() {
        return Err(error);
    }
    // Whatever is folded was appended before.
    let (head, began) = (*shared.head.borrow(), Instant::now());
    let mut told = false;
    loop {
        match shared.journal.sync() {
            Ok(()) => {
                shared.counters.synced(head, began.elapsed());
                return Ok(());
            }
            Err(error) if is_transient(&error) && began.elapsed() < PATIENCE => {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(%error, "the log is synced later: this process lacks descriptors or memory");
                }
                pause(AGAIN);
            }
            Err(error) => return Err(shared.fail(error)),
        }
    }
}

/// The days that have their place in the log.
#[derive(Default)]
struct Days {
    made: Option<Segment>,
    put_off: Option<Instant>,
}

impl Days {
    /// Makes the next day's place, in a moment that is quiet on a quick disk, or at last in any. While it is made nobody
    /// appends.
    fn make_next(&mut self, shared: &Shared, quiet: bool) {
        let now = shared.clock.now();
        let next = day_of(now) + 1;
        let late = DAY_MS - now.rem_euclid(DAY_MS) <= AT_LAST;
        let tired = self.put_off.is_some_and(|since| since.elapsed() < UNMADE);
        if self.made == Some(next) || tired || !(quiet || late) || !shared.days_ahead.load(Ordering::Relaxed)
        {
            return;
        }
        if shared.failure().is_some() {
            return;
        }
        let began = Instant::now();
        if !late && (sync(shared).is_err() || began.elapsed() > QUICK) {
            self.put_off = Some(Instant::now());
            return;
        }
        match shared.journal.prepare(next) {
            Ok(()) => *self = Self { made: Some(next), put_off: None },
            Err(error) => {
                self.put_off = Some(Instant::now());
                tracing::warn!(%error, "the next day's place in the log is not made yet");
            }
        }
    }
}
