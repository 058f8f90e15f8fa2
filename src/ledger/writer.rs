//! The ledger's thread: gathers, appends, folds, shows, syncs; all in one order.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use projections::{Class, Event, Millis, Recorded, Seq, State};
use tokio::sync::{mpsc, oneshot};

use super::{Fact, Message, Shared, View, clock::Clock, rules};
use crate::journal::{
    self, Batch, Durability, SecretChange,
    codec::{self, ChainHash},
};

/// Facts appended together at most.
const BATCH: usize = 256;
/// How long a batch waits for company, where nobody waits for it.
const LINGER: Duration = Duration::from_millis(2);
/// What was handed to the operating system is on the disk this much later.
const SYNC_AFTER: Duration = Duration::from_millis(50);

/// The ledger's thread.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) views: Vec<Arc<dyn View>>,
    pub(super) clock: Clock,
    pub(super) max_failures: u32,
    pub(super) hash: ChainHash,
    /// Since when something is with the operating system and not on the disk.
    pub(super) unsynced: Option<Instant>,
}

impl Writer {
    pub(super) async fn run(mut self, mut messages: mpsc::Receiver<Message>) {
        let mut waiting = Vec::new();
        let shared = Arc::clone(&self.shared);
        // After somebody who waited there may be another, whose call for haste was one with the first's.
        let mut rushed = false;
        loop {
            let message = match self.unsynced {
                None => messages.recv().await,
                Some(since) => {
                    match tokio::time::timeout_at((since + SYNC_AFTER).into(), messages.recv()).await {
                        Ok(message) => message,
                        Err(_) => {
                            self.sync();
                            continue;
                        }
                    }
                }
            };
            let Some(message) = message else { break };
            if message.can_wait() && !std::mem::take(&mut rushed) {
                // Nobody is told of each arrival meanwhile, so a busy pool costs few wake-ups.
                tokio::select! {
                    () = tokio::time::sleep(LINGER) => {}
                    () = shared.urgent.notified() => {}
                }
            }
            let mut next = Some(message);
            let mut events = Vec::new();
            let mut command = None;
            while let Some(message) = next.take() {
                match message {
                    Message::Command(run) => command = Some(run),
                    Message::Fact(fact, waiter) => {
                        if fact.is_failure() {
                            // It is judged against all that came before it.
                            let _ = self.append(std::mem::take(&mut events), &[], Durability::Recorded);
                        }
                        // After a failure the gates must stand before the next fact is judged.
                        let last_of_batch = self.follow(fact, &mut events) || waiter.is_some();
                        waiting.extend(waiter);
                        rushed |= last_of_batch;
                        if !last_of_batch && events.len() < BATCH {
                            next = messages.try_recv().ok();
                        }
                    }
                }
            }
            // A failure is kept in `shared.failure` and counted; there is nobody to tell it here.
            let _ = self.append(events, &[], Durability::Recorded);
            waiting.drain(..).for_each(|waiter: oneshot::Sender<()>| {
                let _ = waiter.send(());
            });
            if let Some(run) = command {
                run(&mut self);
            }
            if self.unsynced.is_some_and(|since| since.elapsed() >= SYNC_AFTER) {
                self.sync();
            }
        }
        self.sync();
    }

    /// Adds what follows from a fact; tells whether it may have closed a gate.
    fn follow(&self, fact: Fact, events: &mut Vec<Event>) -> bool {
        match fact {
            Fact::Answered(event) => {
                events.push(Event::Answered(*event));
                false
            }
            Fact::Resources(bound, released) => {
                events.extend(bound.into_iter().map(Event::from));
                events.extend(released.map(Event::from));
                false
            }
            Fact::Attempted(attempt, penalty) => {
                let failed = !attempt.verdict.is_success();
                let state = self.shared.state.read();
                let now = self.now(&state);
                events.extend(rules::attempted(&state, *attempt, penalty, self.max_failures, now));
                failed
            }
        }
    }

    /// Time goes on, also in the log of a machine whose clock was set back.
    fn now(&self, state: &State) -> Millis {
        self.clock.now().max(state.at)
    }

    pub(super) fn append(
        &mut self,
        events: Vec<Event>,
        secrets: &[SecretChange],
        durability: Durability,
    ) -> Result<(), Arc<journal::Error>> {
        if events.is_empty() && secrets.is_empty() {
            return Ok(());
        }
        if let Some(failure) = self.shared.failure.lock().clone() {
            self.go_on_unrecorded(events);
            return Err(failure);
        }
        let (after, at) = {
            let state = self.shared.state.read();
            (state.seq, self.now(&state))
        };
        let mut hash = self.hash;
        let mut frames = Vec::with_capacity(events.len());
        let mut recorded = Vec::with_capacity(events.len());
        for (seq, event) in (after + 1..).zip(events) {
            match codec::encode(seq, at, &event, &hash) {
                Ok((frame, next)) => {
                    frames.push(frame);
                    recorded.push(Recorded { seq, at, event });
                    hash = next;
                }
                Err(error) => return Err(self.fail(error.into(), recorded)),
            }
        }
        if let Err(error) = self.shared.journal.append(Batch { after, frames: &frames, secrets }, durability)
        {
            return Err(self.fail(error, recorded));
        }
        self.hash = hash;
        self.unsynced = match durability {
            Durability::Durable => None,
            Durability::Recorded => self.unsynced.or_else(|| Some(Instant::now())),
        };
        {
            let mut state = self.shared.state.write();
            recorded.iter().for_each(|recorded| state.apply(recorded));
        }
        self.show(&recorded);
        self.shared.head.send_replace(after + recorded.len() as Seq);
        Ok(())
    }

    fn show(&self, recorded: &[Recorded]) {
        let state = self.shared.state.read();
        self.views.iter().for_each(|view| view.folded(&state, recorded));
    }

    fn sync(&mut self) {
        if self.unsynced.take().is_some()
            && self.shared.failure.lock().is_none()
            && let Err(error) = self.shared.journal.sync()
        {
            self.fail(error, Vec::new());
        }
    }

    /// The log is lost until the next start. Loud; the pool itself goes on.
    fn fail(&mut self, error: journal::Error, lost: Vec<Recorded>) -> Arc<journal::Error> {
        let error = Arc::new(error);
        tracing::error!(
            error = %error,
            cause = std::error::Error::source(error.as_ref()).map(tracing::field::display),
            "the log failed: what happens from now on is not recorded, and nothing can be changed, until a restart"
        );
        *self.shared.failure.lock() = Some(Arc::clone(&error));
        self.go_on_unrecorded(lost.into_iter().map(|recorded| recorded.event).collect());
        error
    }

    /// Without a log, gates must still close and open, and files be found: keys and resources alone go on
    /// from memory.
    /// Control events are dropped, for their askers are told that nothing was changed.
    fn go_on_unrecorded(&self, events: Vec<Event>) {
        self.shared.unrecorded.fetch_add(events.len() as u64, Ordering::Relaxed);
        let mut state = self.shared.state.write();
        let (seq, at) = (state.seq, self.now(&state));
        let unrecorded: Vec<Recorded> = events
            .into_iter()
            .filter(|event| event.class() != Class::Control)
            .map(|event| Recorded { seq, at, event })
            .collect();
        for recorded in &unrecorded {
            let State { keys, resources, .. } = &mut *state;
            keys.apply(recorded);
            resources.apply(recorded, keys);
        }
        drop(state);
        self.show(&unrecorded);
    }
}
