//! Healing: the log is opened anew where it failed, is proven to end as it was written, and says itself what it missed.
//!
//! Without a log, gates must still close and open, and files be found, so keys and resources go on from memory. The
//! state that the log tells is kept aside meanwhile. When the journal is open again, the state is what the log says
//! once more, and then one batch is recorded: a `LogGap`, and behind it the checks, gates and resources of that time,
//! which the pool goes on needing. So the state is a fold of the record at every moment that the record knows of, and
//! no gate is forgotten. Attempts and answers of that time are gone; the gap says how many there were. Its
//! invariant: **nothing is appended behind an end that is not proven**.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use projections::{
    Class, Event, Millis, Recorded, Seq, State, event::LogGap, keys::Keys, resources::Resources,
};
use tokio::sync::{mpsc, oneshot};

use super::{Message, Shared, audit, replay::PAGE, writer::Writer};
use crate::journal::{
    self,
    codec::{self, ChainHash},
};

/// Between two tries to open the log anew.
pub(super) const EVERY: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 2_000 });
/// The same, where it fails again and again.
const SELDOM: Duration = Duration::from_secs(60);
/// A log that failed within this time after it was healed is tried half as often the next time.
const SOON: Duration = Duration::from_secs(60);
/// Checks, gates and resources that are recorded late, at most: what is more goes unrecorded.
pub(super) const MOST_LATE: usize = 10_000;
/// Bytes of a cause, at most.
const CAUSE_BYTES: usize = 500;

/// What happened since the log failed.
pub(super) struct Missed {
    /// As the log tells it.
    keys: Keys,
    resources: Resources,
    /// To be recorded when it can be.
    late: Vec<Event>,
    /// How many are not.
    lost: u64,
}

/// When a request was answered: where the log stood still before it failed, that may be long before.
fn answered_at(event: &Event) -> Option<Millis> {
    match event {
        Event::Answered(answered) => Some(answered.started.saturating_add(answered.duration_ms.into())),
        _ => None,
    }
}

impl Writer {
    /// Lets keys and resources follow events from memory. Control events are dropped, for their askers are told that
    /// nothing was changed.
    pub(super) fn go_on_unrecorded(&mut self, events: Vec<Event>) {
        let mut state = self.shared.state.write();
        let State { keys, resources, .. } = &*state;
        let missed = self.missed.get_or_insert_with(|| Missed {
            keys: keys.clone(),
            resources: resources.clone(),
            late: Vec::new(),
            lost: 0,
        });
        let (seq, at) = (state.seq, self.clock.now().max(state.at));
        let mut unrecorded = Vec::with_capacity(events.len());
        for event in events.into_iter().filter(|event| event.class() != Class::Control) {
            if event.class() == Class::Health && missed.late.len() < MOST_LATE {
                missed.late.push(event.clone());
            } else {
                missed.lost += 1;
            }
            unrecorded.push(Recorded { seq, at, event });
        }
        self.shared.count_unrecorded(unrecorded.len());
        for recorded in &unrecorded {
            let State { keys, resources, .. } = &mut *state;
            keys.apply(recorded);
            resources.apply(recorded, keys);
        }
        drop(state);
        if let Some(oldest) = unrecorded.iter().filter_map(|recorded| answered_at(&recorded.event)).min() {
            self.shared.missing_since(oldest);
        }
        self.show(&unrecorded);
    }

    /// Where the log ends, as it was written: nothing is appended behind it as long as the log is lost.
    fn end(&self) -> End {
        End { seq: self.shared.state.read().seq, hash: self.hash }
    }

    /// Goes on with a journal that was opened anew, and ends as it was written.
    fn heal(&mut self) {
        let Some(failure) = self.shared.failure.lock().clone().filter(|failure| !failure.lasting) else {
            return;
        };
        let (late, lost) = self
            .missed
            .as_mut()
            .map_or((Vec::new(), 0), |missed| (std::mem::take(&mut missed.late), missed.lost));
        let to = self.now(&self.shared.state.read());
        let mut cause = audit::told(&failure.error);
        cause.truncate(cause.floor_char_boundary(CAUSE_BYTES));
        let (from, unrecorded) = (failure.since.min(to), lost);
        let gap = LogGap { from, to, unrecorded, late: late.len() as u64, cause };
        let events = std::iter::once(Event::from(gap)).chain(late).collect();
        match self.write(events, &[]) {
            Ok((recorded, hash)) => {
                self.forget_missed();
                self.fold(&recorded, hash);
                self.resume(unrecorded);
            }
            Err((error, mut events)) => {
                tracing::warn!(
                    error = audit::told(&error),
                    "the log was opened anew and takes no writes yet"
                );
                if let Some(missed) = &mut self.missed {
                    missed.late = events.split_off(1);
                }
            }
        }
    }

    /// Makes the state what the log says.
    fn forget_missed(&mut self) {
        let Some(Missed { keys, resources, .. }) = self.missed.take() else { return };
        {
            let mut state = self.shared.state.write();
            (state.keys, state.resources) = (keys, resources);
        }
        let state = self.shared.state.read();
        self.views.iter().for_each(|view| view.restored(&state));
    }

    /// The log takes writes again. What it took is on the disk before anybody hears that it is whole.
    fn resume(&mut self, unrecorded: u64) {
        let shared = Arc::clone(&self.shared);
        self.shared.failure.lock().take();
        self.shared.unrecorded.store(0, Ordering::Relaxed);
        self.sync_and_then(Box::new(move |synced| {
            if synced.is_ok() {
                shared.keep_gap(None);
                shared.failing.send_replace(false);
                tracing::warn!(unrecorded, "the log was opened anew and goes on; the gap stands in it");
            }
        }));
    }
}

/// Where the log ends, and the hash of its last link.
struct End {
    seq: Seq,
    hash: ChainHash,
}

impl End {
    /// Whether the journal holds what was written since it was last known to be on the disk, link by link, and nothing
    /// behind it.
    fn is_proven(&self, shared: &Shared) -> Result<bool, journal::Error> {
        let journal = shared.journal.as_ref();
        if journal.last() != self.seq {
            return Ok(false);
        }
        let mut at = shared.counters.synced_through().min(self.seq);
        let mut hash = ChainHash::START;
        if at > 0 {
            match journal.record(at)?.as_deref().and_then(ChainHash::of) {
                Some(known) => hash = known,
                None => return Ok(false),
            }
        }
        while at < self.seq {
            let entries = journal.read(at, PAGE)?;
            for entry in &entries {
                let decoded = codec::decode(entry.seq, &entry.frame, Some(&hash));
                let Ok((_, next)) = decoded else { return Ok(false) };
                if entry.seq != at + 1 {
                    return Ok(false);
                }
                (at, hash) = (entry.seq, next);
            }
            if entries.is_empty() {
                return Ok(false);
            }
        }
        Ok(hash == self.hash)
    }
}

/// Opens the log anew where it failed, now and then; on the thread that syncs it, which has nothing else to do then.
pub(super) struct Healer {
    shared: Arc<Shared>,
    ledger: mpsc::WeakSender<Message>,
    every: Duration,
    /// When it is tried next, while the log is lost.
    next: Option<Instant>,
    healed: Option<Instant>,
}

impl Healer {
    pub(super) fn new(shared: Arc<Shared>, ledger: mpsc::WeakSender<Message>) -> Self {
        Self { shared, ledger, every: EVERY, next: None, healed: None }
    }

    /// Tries it, where it is time. Blocks.
    pub(super) fn look(&mut self) {
        let failure = self.shared.failure.lock().clone();
        let Some(failure) = failure.filter(|failure| !failure.lasting) else {
            if self.next.take().is_some() {
                self.healed = Some(Instant::now());
            }
            return;
        };
        let now = Instant::now();
        let Some(next) = self.next else {
            let soon = self.healed.is_some_and(|healed| healed.elapsed() < SOON);
            self.every = if soon { (self.every * 2).min(SELDOM) } else { EVERY };
            self.next = Some(now + self.every);
            return;
        };
        if now < next {
            return;
        }
        match self.shared.journal.reopen() {
            Ok(()) => self.prove_and_heal(),
            Err(error) => {
                let (since, error) = (failure.since, audit::told(&error));
                tracing::info!(since, error, "the log cannot be opened anew yet");
            }
        }
        self.next = Some(Instant::now() + self.every);
    }

    /// The end is proven here and not on the ledger's thread: reading takes as long as the disk takes, and requests wait
    /// for that thread. Returns when the log goes on, or did not: it must not be opened anew meanwhile.
    fn prove_and_heal(&self) {
        let Some(end) = self.ask(|writer| writer.end()) else { return };
        match end.is_proven(&self.shared) {
            Ok(true) => drop(self.ask(Writer::heal)),
            Ok(false) => self.shared.fail_for_good(journal::Error::NotAsWritten),
            Err(error) => {
                tracing::warn!(error = audit::told(&error), "the log was opened anew and cannot be read yet");
            }
        }
    }

    /// Has something done on the ledger's thread, and waits for it. None: the service is stopping.
    fn ask<T: Send + 'static>(&self, work: impl FnOnce(&mut Writer) -> T + Send + 'static) -> Option<T> {
        let (done, answer) = oneshot::channel();
        let work = move |writer: &mut Writer| drop(done.send(work(writer)));
        self.ledger.upgrade()?.blocking_send(Message::Command(Box::new(work))).ok()?;
        answer.blocking_recv().ok()
    }
}
