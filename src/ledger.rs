//! The ledger: the journal's only writer, and the live state folded from it.
//!
//! One thread does it all in one order: append, then fold, then show it to the
//! views. So what anybody sees is in the log, and what is in the log is seen in
//! its order. Facts of traffic are gathered into batches; commands are decided
//! alone, against a state that holds everything before them. Its invariant:
//! **nothing is acknowledged before it is appended and folded.**

pub mod clock;
pub mod rules;

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use projections::{
    Event, Millis, Recorded, Seq, State,
    event::{Answered, Attempted},
};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use self::{
    clock::Clock,
    rules::{Decision, Penalty, Refused},
};
use crate::journal::{
    self, Batch, Durability, Journal, SecretChange,
    codec::{self, ChainHash, Damage},
};

/// Facts that may wait, or be under way, at once; more of them push back on requests.
const QUEUE: usize = 65_536;
/// Facts appended together at most.
const BATCH: usize = 256;
/// How long a batch waits for company, where nobody waits for it.
const LINGER: Duration = Duration::from_millis(2);
/// What was handed to the operating system is on the disk this much later.
const SYNC_AFTER: Duration = Duration::from_millis(50);
/// Entries read at once.
const PAGE: usize = 4_096;

/// Something that follows the log, such as the scheduler's roster.
///
/// Called on the ledger's thread, in order, while the state stands still: be quick.
pub trait View: Send + Sync {
    /// Begins anew from a state.
    fn rebuild(&self, state: &State);
    /// Follows some events, which the state already holds.
    fn folded(&self, state: &State, events: &[Recorded]);
}

/// A fact of traffic.
#[derive(Debug)]
pub enum Fact {
    /// One upstream try, and what it asks for.
    Attempted(Box<Attempted>, Penalty),
    /// One client request.
    Answered(Box<Answered>),
}

impl Fact {
    /// Whether gates may follow from it.
    fn is_failure(&self) -> bool {
        matches!(self, Self::Attempted(attempt, _) if !attempt.verdict.is_success())
    }
}

/// Why the log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The journal does not answer.
    #[error("cannot read the log")]
    Journal(#[from] journal::Error),
    /// A record in the middle of the log is bad.
    #[error(
        "event {seq} of the log is damaged: {damage}; the events after it are whole, so this is no torn end. \
         Restore a backup of the data directory"
    )]
    Damaged {
        /// Which one.
        seq: Seq,
        /// How.
        damage: Damage,
    },
    /// The machine gives no thread.
    #[error("cannot start the ledger's thread")]
    Thread(#[source] std::io::Error),
}

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The rules say no.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The log takes no writes; nothing was changed.
    #[error("the log cannot be written, so nothing was changed")]
    Log(#[source] Arc<journal::Error>),
    /// The service is going down.
    #[error("the service is stopping")]
    Stopping,
}

enum Message {
    Fact(Fact, Option<oneshot::Sender<()>>),
    Command(Box<dyn FnOnce(&mut Writer) + Send>),
}

impl Message {
    /// Whether nobody waits for it.
    fn can_wait(&self) -> bool {
        matches!(self, Self::Fact(fact, None) if !fact.is_failure())
    }
}

struct Shared {
    journal: Arc<dyn Journal>,
    state: RwLock<State>,
    /// Why the log failed, once it did.
    failure: Mutex<Option<Arc<journal::Error>>>,
    unrecorded: AtomicU64,
    head: watch::Sender<Seq>,
    /// Told when somebody waits for what they sent.
    urgent: Notify,
}

/// A handle on the ledger; cheap to clone.
#[derive(Clone)]
pub struct Ledger {
    shared: Arc<Shared>,
    queue: mpsc::Sender<Message>,
    /// Closed when the thread has written everything.
    done: watch::Receiver<()>,
}

/// Room for one fact, so that recording it later neither waits nor fails.
pub struct Reservation {
    permit: mpsc::OwnedPermit<Message>,
    shared: Arc<Shared>,
}

impl Reservation {
    /// Records a fact, without waiting.
    pub fn record(self, fact: Fact) {
        self.permit.send(Message::Fact(fact, None));
    }

    /// Records a fact and waits until the state holds it.
    pub async fn record_and_fold(self, fact: Fact) {
        let (done, folded) = oneshot::channel();
        self.permit.send(Message::Fact(fact, Some(done)));
        self.shared.urgent.notify_one();
        // An error means that the ledger is gone, and with it whoever would look at the state.
        let _ = folded.await;
    }
}

impl Ledger {
    /// Reads the whole log, rebuilds the state and the views, and starts writing.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(
        journal: Arc<dyn Journal>,
        clock: Clock,
        max_failures: u32,
        views: Vec<Arc<dyn View>>,
    ) -> Result<Self, OpenError> {
        let (state, hash) = replay(journal.as_ref())?;
        for view in &views {
            view.rebuild(&state);
        }
        let head = watch::Sender::new(state.seq);
        let shared = Arc::new(Shared {
            journal,
            state: RwLock::new(state),
            failure: Mutex::new(None),
            unrecorded: AtomicU64::new(0),
            head,
            urgent: Notify::new(),
        });
        let (queue, messages) = mpsc::channel(QUEUE);
        let (running, done) = watch::channel(());
        let writer = Writer { shared: Arc::clone(&shared), views, clock, max_failures, hash, unsynced: None };
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(OpenError::Thread)?;
        std::thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || {
                let shared = Arc::clone(&writer.shared);
                let ran = AssertUnwindSafe(|| runtime.block_on(writer.run(messages)));
                if std::panic::catch_unwind(ran).is_err() {
                    *shared.failure.lock() = Some(Arc::new(journal::Error::WriterDied));
                }
                drop(running);
            })
            .map_err(OpenError::Thread)?;
        Ok(Self { shared, queue, done })
    }

    /// Looks at the state. Do not hold it across an await.
    pub fn state(&self) -> RwLockReadGuard<'_, State> {
        self.shared.state.read()
    }

    /// Makes room for one fact; waits while the queue is full. None: the service is stopping.
    pub async fn reserve(&self) -> Option<Reservation> {
        let permit = self.queue.clone().reserve_owned().await.ok()?;
        Some(Reservation { permit, shared: Arc::clone(&self.shared) })
    }

    /// Carries out a command: decided against the newest state, durable and folded when this returns.
    ///
    /// # Errors
    /// [`CommitError`]; then nothing was changed.
    pub async fn commit<R: Send + 'static>(
        &self,
        rule: impl FnOnce(&State) -> Result<Decision<R>, Refused> + Send + 'static,
    ) -> Result<R, CommitError> {
        let (done, answer) = oneshot::channel();
        let command = move |writer: &mut Writer| {
            let decision = rule(&writer.shared.state.read());
            let result = match decision {
                Err(refused) => Err(refused.into()),
                Ok(Decision { events, secrets, answer }) => writer
                    .append(events, &secrets, Durability::Durable)
                    .map(|()| answer)
                    .map_err(CommitError::Log),
            };
            let _ = done.send(result);
        };
        self.queue.send(Message::Command(Box::new(command))).await.map_err(|_| CommitError::Stopping)?;
        self.shared.urgent.notify_one();
        answer.await.map_err(|_| CommitError::Stopping)?
    }

    /// Records something that no rule can refuse.
    ///
    /// # Errors
    /// [`CommitError`].
    pub async fn note(&self, event: impl Into<Event>) -> Result<(), CommitError> {
        let event = event.into();
        self.commit(move |_| Ok(Decision { events: vec![event], secrets: Vec::new(), answer: () })).await
    }

    /// The events after a position, decoded.
    ///
    /// # Errors
    /// [`OpenError`]: the journal does not answer, or a record is bad.
    pub fn events(&self, after: Seq, limit: usize) -> Result<Vec<Recorded>, OpenError> {
        let head = *self.shared.head.borrow();
        let entries = self.shared.journal.read(after, limit)?;
        let shown = entries.iter().take_while(|entry| entry.seq <= head);
        shown
            .map(|entry| {
                let seq = entry.seq;
                let decoded = codec::decode(seq, &entry.frame, None);
                decoded.map(|(recorded, _)| recorded).map_err(|damage| OpenError::Damaged { seq, damage })
            })
            .collect()
    }

    /// The last event folded in, and a way to wait for the next.
    #[must_use]
    pub fn head(&self) -> watch::Receiver<Seq> {
        self.shared.head.subscribe()
    }

    /// Why the log takes no more writes, if so.
    #[must_use]
    pub fn failure(&self) -> Option<Arc<journal::Error>> {
        self.shared.failure.lock().clone()
    }

    /// Facts that could not be recorded since the log failed.
    #[must_use]
    pub fn unrecorded(&self) -> u64 {
        self.shared.unrecorded.load(Ordering::Relaxed)
    }

    /// Waits until everything recorded so far is on the disk and the thread is gone.
    /// Other handles and reservations must be dropped, or this waits for them.
    pub async fn close(self) {
        let Self { mut done, queue, .. } = self;
        drop(queue);
        while done.changed().await.is_ok() {}
    }
}

/// Folds the whole journal; cuts a torn end.
fn replay(journal: &dyn Journal) -> Result<(State, ChainHash), OpenError> {
    let mut state = State::default();
    let mut hash = ChainHash::START;
    loop {
        let entries = journal.read(state.seq, PAGE)?;
        if entries.is_empty() {
            return Ok((state, hash));
        }
        for entry in entries {
            let seq = state.seq + 1;
            match codec::decode(seq, &entry.frame, Some(&hash)) {
                Ok((recorded, next)) => {
                    state.apply(&recorded);
                    hash = next;
                }
                Err(damage) if !damage.is_torn() || any_whole_after(journal, entry.seq)? => {
                    return Err(OpenError::Damaged { seq, damage });
                }
                Err(damage) => {
                    tracing::warn!(seq, %damage, last = journal.last(), "the log's end is torn and was cut off");
                    journal.cut(state.seq)?;
                    return Ok((state, hash));
                }
            }
        }
    }
}

/// Whether a good frame comes after this position: then what is bad is not the log's torn end.
fn any_whole_after(journal: &dyn Journal, mut after: Seq) -> Result<bool, OpenError> {
    loop {
        let entries = journal.read(after, PAGE)?;
        let Some(last) = entries.last() else { return Ok(false) };
        after = last.seq;
        if entries.iter().any(|entry| codec::decode(entry.seq, &entry.frame, None).is_ok()) {
            return Ok(true);
        }
    }
}

/// The ledger's thread.
struct Writer {
    shared: Arc<Shared>,
    views: Vec<Arc<dyn View>>,
    clock: Clock,
    max_failures: u32,
    hash: ChainHash,
    /// Since when something is with the operating system and not on the disk.
    unsynced: Option<Instant>,
}

impl Writer {
    async fn run(mut self, mut messages: mpsc::Receiver<Message>) {
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

    fn append(
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

    /// Without a log, gates must still close and open: the keys alone go on from memory.
    /// Control events are dropped, for their askers are told that nothing was changed.
    fn go_on_unrecorded(&self, events: Vec<Event>) {
        self.shared.unrecorded.fetch_add(events.len() as u64, Ordering::Relaxed);
        let mut state = self.shared.state.write();
        let (seq, at) = (state.seq, self.now(&state));
        let unrecorded: Vec<Recorded> = events
            .into_iter()
            .filter(|event| event.class() != projections::Class::Control)
            .map(|event| Recorded { seq, at, event })
            .collect();
        unrecorded.iter().for_each(|recorded| state.keys.apply(recorded));
        drop(state);
        self.show(&unrecorded);
    }
}

#[cfg(test)]
mod tests;
