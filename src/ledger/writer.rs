//! The ledger's thread: gathers, appends, folds, shows; all in one order.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use projections::{Class, Event, Millis, Recorded, Seq, State};
use tokio::sync::{mpsc, oneshot};

use super::{
    Fact, Message, Shared, View,
    checkpoint::{self, Keeper, Packed},
    clock::Clock,
    heal::Missed,
    rules,
    sync::{Syncer, Waiting},
};
use crate::journal::{
    self, Batch, Frame, SecretChange, Segment,
    codec::{self, ChainHash},
};

/// Events appended together at most.
const BATCH: usize = 256;
/// How long a batch waits for company: an answer's end comes so much later, which nobody notices beside the time
/// that models take, and a busy pool wakes up less often.
const LINGER: Duration = Duration::from_micros(500);
/// What was handed to the operating system is on the disk this much later, and the time a sync takes.
const SYNC_AFTER: Duration = Duration::from_millis(50);

/// The ledger's thread.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) views: Vec<Arc<dyn View>>,
    pub(super) clock: Clock,
    pub(super) max_failures: Box<dyn Fn() -> u32 + Send>,
    pub(super) hash: ChainHash,
    /// What happened since the log failed.
    pub(super) missed: Option<Missed>,
    /// Since when something is with the operating system and no sync was asked for.
    pub(super) unsynced: Option<Instant>,
    pub(super) syncer: Syncer,
    pub(super) keeper: Keeper,
    /// Events between two checkpoints.
    pub(super) every: Seq,
    /// The next checkpoint stands at this event or soon after it.
    pub(super) next_checkpoint: Seq,
}

/// Traffic is dropped by days.
pub(super) const DAY_MS: Millis = 24 * 3_600_000;

/// The segment that an event is dropped with: its day since 1970 in UTC.
pub(super) fn segment_of(event: &Event, at: Millis) -> Option<Segment> {
    (event.class() == Class::Traffic).then(|| day_of(at))
}

/// The segment of an event that is a frame already, of another log.
pub(crate) fn segment_of_frame(frame: &[u8]) -> Option<Segment> {
    let said = codec::peek(frame).filter(|said| said.class == Class::Traffic);
    said.map(|said| day_of(said.at))
}

/// The segment of a time.
pub(super) fn day_of(at: Millis) -> Segment {
    Segment::try_from(at.div_euclid(DAY_MS)).unwrap_or(0)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the thread is the ledger's own; others gather meanwhile, and wake nobody"
)]
fn gather() {
    std::thread::sleep(LINGER);
}

/// Facts that go into the log together, and who waits for them.
#[derive(Default)]
struct Gathered {
    events: Vec<Event>,
    waiting: Vec<oneshot::Sender<()>>,
}

impl Writer {
    pub(super) async fn run(mut self, mut messages: mpsc::Receiver<Message>) {
        let mut gathered = Gathered::default();
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
            if message.can_wait() {
                gather();
            }
            let mut next = Some(message);
            while let Some(message) = next.take() {
                match message {
                    Message::Command(run) => {
                        self.flush(&mut gathered);
                        self.shared.stall.begin();
                        run(&mut self);
                        self.shared.stall.end();
                    }
                    Message::Facts { first, then, waiting } => {
                        self.follow(first, &mut gathered);
                        if let Some(then) = then {
                            self.follow(then, &mut gathered);
                        }
                        gathered.waiting.extend(waiting);
                    }
                }
                if gathered.events.len() < BATCH {
                    next = messages.try_recv().ok();
                }
            }
            self.flush(&mut gathered);
            if self.unsynced.is_some_and(|since| since.elapsed() >= SYNC_AFTER) {
                self.sync();
            }
        }
        self.sync();
        self.checkpoint_at_the_end();
    }

    /// Adds a fact, and what follows from it.
    fn follow(&mut self, fact: Fact, gathered: &mut Gathered) {
        match fact {
            Fact::Began(attempt) => {
                self.judge(gathered, false, |state, _, now| rules::began(state, &attempt, now));
            }
            Fact::Answered(event) => gathered.events.push(Event::Answered(*event)),
            Fact::Resources(bound, released) => {
                gathered.events.extend(bound.into_iter().map(Event::from));
                gathered.events.extend(released.map(Event::from));
            }
            Fact::Attempted(attempt, penalty) => {
                let plain = attempt.verdict.is_success() && !attempt.probe;
                self.judge(gathered, plain, |state, failures, now| {
                    rules::attempted(state, *attempt, penalty, failures, now)
                });
            }
            Fact::Checked(check, penalty) => {
                self.judge(gathered, false, |state, failures, now| {
                    rules::checked(state, *check, penalty, failures, now)
                });
            }
        }
    }

    /// Adds a fact and what follows from it. Unless it is `plain`, it is judged against all that came before it,
    /// and its gates stand before what comes after.
    fn judge(
        &mut self,
        gathered: &mut Gathered,
        plain: bool,
        rule: impl FnOnce(&State, u32, Millis) -> Vec<Event>,
    ) {
        if !plain {
            self.flush(gathered);
        }
        let state = self.shared.state.read();
        let events = rule(&state, (self.max_failures)(), self.now(&state));
        drop(state);
        let more_follows = events.len() > 1;
        gathered.events.extend(events);
        if !plain || more_follows {
            self.flush(gathered);
        }
    }

    /// Appends and folds what was gathered, and tells those who wait.
    fn flush(&mut self, gathered: &mut Gathered) {
        self.shared.stall.begin();
        // A failure is kept in `shared.failure` and counted; there is nobody to tell it here.
        let _ = self.append(std::mem::take(&mut gathered.events), &[]);
        self.shared.stall.end();
        gathered.waiting.drain(..).for_each(|waiting| {
            let _ = waiting.send(());
        });
    }

    /// Time goes on, also in the log of a machine whose clock was set back.
    pub(super) fn now(&self, state: &State) -> Millis {
        self.clock.now().max(state.at)
    }

    pub(super) fn append(
        &mut self,
        events: Vec<Event>,
        secrets: &[SecretChange],
    ) -> Result<(), Arc<journal::Error>> {
        if events.is_empty() && secrets.is_empty() {
            return Ok(());
        }
        if let Some(failure) = self.shared.failure() {
            self.go_on_unrecorded(events);
            return Err(failure);
        }
        match self.write(events, secrets) {
            Ok((recorded, hash)) => {
                self.fold(&recorded, hash);
                self.checkpoint_if_due();
                Ok(())
            }
            Err((error, events)) => {
                let error = self.shared.fail(error);
                self.go_on_unrecorded(events);
                Err(error)
            }
        }
    }

    /// Hands events to the journal; gives them back where it does not take them.
    pub(super) fn write(
        &self,
        events: Vec<Event>,
        secrets: &[SecretChange],
    ) -> Result<(Vec<Recorded>, ChainHash), (journal::Error, Vec<Event>)> {
        let (after, at) = {
            let state = self.shared.state.read();
            (state.seq, self.now(&state))
        };
        let mut hash = self.hash;
        let mut frames = Vec::with_capacity(events.len());
        for (seq, event) in (after + 1..).zip(&events) {
            match codec::encode(seq, at, event, &hash) {
                Ok((frame, next)) => {
                    frames.push(Frame { segment: segment_of(event, at), bytes: frame });
                    hash = next;
                }
                Err(error) => return Err((error.into(), events)),
            }
        }
        match self.shared.journal.append(Batch { after, frames: &frames, secrets }) {
            Ok(()) => {
                let events = (after + 1..).zip(events);
                Ok((events.map(|(seq, event)| Recorded { seq, at, event }).collect(), hash))
            }
            Err(error) => Err((error, events)),
        }
    }

    /// Folds and shows what the journal has taken.
    pub(super) fn fold(&mut self, recorded: &[Recorded], hash: ChainHash) {
        self.hash = hash;
        self.unsynced.get_or_insert_with(Instant::now);
        {
            let mut state = self.shared.state.write();
            recorded.iter().for_each(|recorded| state.apply(recorded));
        }
        self.show(recorded);
        if let Some(last) = recorded.last() {
            self.shared.head.send_replace(last.seq);
        }
    }

    /// Packs the state, which is all that the log waits for; another thread writes it down.
    fn checkpoint_if_due(&mut self) {
        let state = self.shared.state.read();
        if state.seq < self.next_checkpoint {
            return;
        }
        let offered = self.keeper.offer(|| {
            let packed = Packed::new(&state, self.hash);
            packed.inspect_err(|error| tracing::warn!(%error, seq = state.seq, "no checkpoint")).ok()
        });
        if offered {
            self.next_checkpoint = state.seq.saturating_add(self.every);
        }
    }

    /// So that the next start has nothing to fold.
    fn checkpoint_at_the_end(&self) {
        let (state, journal) = (self.shared.state.read(), self.shared.journal.as_ref());
        if state.seq == 0 || self.shared.failure().is_some() {
            return;
        }
        let kept = Packed::new(&state, self.hash).map_err(journal::Error::from);
        if let Err(error) = kept.and_then(|packed| checkpoint::keep(journal, &packed, false)) {
            tracing::warn!(%error, seq = state.seq, "a checkpoint was not written; the next start takes longer");
        }
    }

    pub(super) fn show(&self, recorded: &[Recorded]) {
        let state = self.shared.state.read();
        self.views.iter().for_each(|view| view.folded(&state, recorded));
    }

    /// Has everything appended so far forced to the disk, and somebody told.
    pub(super) fn sync_and_then(&mut self, waiting: Waiting) {
        self.unsynced = None;
        self.syncer.ask(Some(waiting));
    }

    fn sync(&mut self) {
        if self.unsynced.take().is_some() {
            self.syncer.ask(None);
        }
    }
}
