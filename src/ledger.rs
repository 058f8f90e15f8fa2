//! The ledger: the journal's only writer, and the live state folded from it.
//!
//! One thread does it all in one order: append, then fold, then show it to the
//! views. So what anybody sees is in the log, and what is in the log is seen in
//! its order. Facts of traffic are gathered into batches; commands are decided
//! alone, against a state that holds everything before them, and a second thread
//! waits for the disk. Its invariant: **nothing is acknowledged before it is
//! appended and folded**, a command not before it is on the disk.

pub mod audit;
pub mod backup;
mod checkpoint;
pub mod clock;
pub mod fill;
#[cfg(any(test, feature = "fuzzing"))]
#[expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "it is for tests, and panics where a law does not hold"
)]
pub mod fuzzed;
mod heal;
mod past;
mod reader;
mod replay;
mod reseal;
pub mod retention;
pub mod rules;
pub mod salvage;
mod stall;
mod sync;
pub mod tape;
mod times;
mod trims;
pub mod unknown;
mod vitals;
mod writer;

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use projections::{
    Event, Millis, Recorded, Seq, State,
    event::{Answered, Attempted, KeyChecked, LogGap, ResourceBound, ResourceReleased},
};
use tokio::sync::{mpsc, oneshot, watch};

pub use self::past::{At, PastError};
pub use self::reader::Reader;
pub use self::reseal::ResealError;
pub use self::times::{ByClass, Density, Stretch};
pub use self::vitals::Vitals;
pub(crate) use self::writer::segment_of_frame;
use self::{
    checkpoint::{Keeper, Kind},
    clock::Clock,
    replay::replay,
    rules::{Decision, Penalty, Refused},
    stall::Stall,
    sync::Syncer,
    unknown::UnknownEvents,
    vitals::Counters,
    writer::Writer,
};
pub use crate::journal::Derived;
use crate::journal::{self, Journal, KeptGap, codec::Damage};
use crate::locks::{Mutex, Rank, RwLock, RwLockReadGuard};

/// Facts that may wait, or be under way, at once; more of them push back on requests.
const QUEUE: usize = 65_536;

/// Something that follows the log, such as the scheduler's roster.
///
/// Called on the ledger's thread, in order, while the state stands still: be quick.
pub trait View: Send + Sync {
    /// Begins anew from a state.
    fn rebuild(&self, state: &State);
    /// Follows some events, which the state already holds.
    fn folded(&self, state: &State, events: &[Recorded]);
    /// Keys and resources are again as the log says: what it did not record is forgotten.
    fn restored(&self, _state: &State) {}
}

/// A fact of traffic.
#[derive(Debug)]
pub enum Fact {
    /// One upstream try, and what it asks for.
    Attempted(Box<Attempted>, Penalty),
    /// A try's answer begins.
    Began(Box<Attempted>),
    /// One client request.
    Answered(Box<Answered>),
    /// One check, and what it asks for.
    Checked(Box<KeyChecked>, Penalty),
    /// What an answer showed to be at Google, and to be there no more.
    Resources(Vec<ResourceBound>, Option<ResourceReleased>),
}

/// Why the log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The journal does not answer.
    #[error("cannot read the log")]
    Journal(#[from] journal::Error),
    /// A record in the middle of the log is bad.
    #[error("{}", damaged(*seq, damage))]
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

/// What is said of a record that cannot be used.
fn damaged(seq: Seq, damage: &Damage) -> String {
    match damage {
        Damage::Format(format) => format!(
            "event {seq} was made by a newer version of gemini-pool (frame format {format}): start that version again, or \
             restore a backup that this one made. Nothing was changed"
        ),
        damage => format!(
            "event {seq} of the log is damaged: {damage}; it is no torn end, for it had been written whole. {}",
            journal::HELP
        ),
    }
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
    /// It was changed, and written, but the disk did not take it.
    #[error("this was changed, but the disk did not take it: after a restart it may be as before")]
    NotDurable(#[source] Arc<journal::Error>),
    /// The service is going down.
    #[error("the service is stopping")]
    Stopping,
}

enum Message {
    /// One fact or two, and who waits until they are folded.
    Facts {
        first: Fact,
        then: Option<Fact>,
        waiting: Option<oneshot::Sender<()>>,
    },
    Command(Box<dyn FnOnce(&mut Writer) + Send>),
}

struct Shared {
    journal: Arc<dyn Journal>,
    /// Control events of a newer program, as the start met them.
    unknown: Vec<UnknownEvents>,
    state: RwLock<State>,
    clock: Clock,
    /// Why the log takes nothing, as long as it does not.
    failure: Mutex<Option<Failure>>,
    /// Whether it does not.
    failing: watch::Sender<bool>,
    unrecorded: AtomicU64,
    /// Whether each day's place in the log is made ahead.
    days_ahead: AtomicBool,
    head: watch::Sender<Seq>,
    stall: Arc<Stall>,
    counters: Arc<Counters>,
}

/// Why the log takes nothing.
#[derive(Clone)]
struct Failure {
    error: Arc<journal::Error>,
    since: Millis,
    /// It cannot be healed: only a start proves the log again.
    lasting: bool,
}

impl Shared {
    fn count_unrecorded(&self, more: usize) {
        self.unrecorded.fetch_add(more as u64, Ordering::Relaxed);
    }

    /// Something that happened then is not in the log: the gap begins no later.
    fn missing_since(&self, then: Millis) {
        if let Some(failure) = self.failure.lock().as_mut() {
            failure.since = failure.since.min(then);
        }
    }

    /// Keeps what is unrecorded so far beside the log, in case this process ends before it is recorded.
    fn keep_what_is_missed(&self) {
        let failure = self.failure.lock().clone();
        if let Some(Failure { error, since, .. }) = failure {
            let unrecorded = self.unrecorded.load(Ordering::Relaxed);
            self.keep_gap(Some(&KeptGap { from: since, unrecorded, cause: audit::told(&error) }));
        }
    }

    fn keep_gap(&self, gap: Option<&KeptGap>) {
        if let Err(error) = self.journal.keep_gap(gap) {
            tracing::debug!(error = audit::told(&error), "a gap in the log is not kept beside it");
        }
    }

    /// Why the log takes no more writes, if so. The lock is given back before this returns: what follows may take others.
    fn failure(&self) -> Option<Arc<journal::Error>> {
        self.failure.lock().as_ref().map(|failure| Arc::clone(&failure.error))
    }

    /// The log takes nothing until it is opened anew. Loud, once; the pool itself goes on.
    fn fail(&self, error: journal::Error) -> Arc<journal::Error> {
        let (error, since) = (Arc::new(error), self.clock.now());
        let failure = Failure { error: Arc::clone(&error), since, lasting: false };
        let first = Arc::clone(&self.failure.lock().get_or_insert(failure).error);
        if Arc::ptr_eq(&first, &error) {
            self.failing.send_replace(true);
            tracing::error!(
                error = %error,
                cause = std::error::Error::source(&error).map(tracing::field::display),
                "the log failed: what happens from now on is not recorded, and nothing can be changed, until it is opened \
                 anew, which is tried every few seconds"
            );
        }
        first
    }

    /// The log takes nothing until the next start.
    fn fail_for_good(&self, error: journal::Error) {
        let (error, since) = (Arc::new(error), self.clock.now());
        let mut failure = self.failure.lock();
        let since = failure.as_ref().map_or(since, |failure| failure.since);
        *failure = Some(Failure { error: Arc::clone(&error), since, lasting: true });
        drop(failure);
        self.failing.send_replace(true);
        tracing::error!(%error, "the log cannot be healed while the service runs: restart it");
    }
}

impl Message {
    /// Whether no key's next choice and no operator waits for it.
    fn can_wait(&self) -> bool {
        match self {
            Self::Facts { first: Fact::Attempted(attempt, _), .. } => {
                attempt.verdict.is_success() && !attempt.probe
            }
            Self::Facts { first, .. } => matches!(first, Fact::Answered(_)),
            Self::Command(_) => false,
        }
    }
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
    stall: Arc<Stall>,
}

impl Reservation {
    /// Records a fact, without waiting.
    pub fn record(self, fact: Fact) {
        self.permit.send(Message::Facts { first: fact, then: None, waiting: None });
    }

    /// Records a fact and waits until the state holds it.
    pub async fn record_and_fold(self, fact: Fact) {
        // An error means that the ledger is gone, and with it whoever would look at the state.
        let _ = Self::send(self.permit, fact, None).await;
    }

    /// Records a fact, and another right after it, and waits until the state holds them; on a log that stands still for
    /// longer than `patience` nobody does.
    pub async fn record_both_within(self, patience: Duration, first: Fact, then: Option<Fact>) {
        let folded = Self::send(self.permit, first, then);
        if tokio::time::timeout(self.stall.left(patience), folded).await.is_err() {
            self.stall.gone_ahead();
        }
    }

    fn send(permit: mpsc::OwnedPermit<Message>, first: Fact, then: Option<Fact>) -> oneshot::Receiver<()> {
        let (done, folded) = oneshot::channel();
        permit.send(Message::Facts { first, then, waiting: Some(done) });
        folded
    }
}

impl Ledger {
    /// Reads the log from its newest checkpoint on, rebuilds the state and the views, and starts writing. `max_failures`
    /// is asked at each fact: MAX_FAILURES_PER_KEY may change.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(
        journal: Arc<dyn Journal>,
        clock: Clock,
        max_failures: impl Fn() -> u32 + Send + 'static,
        views: Vec<Arc<dyn View>>,
    ) -> Result<Self, OpenError> {
        Self::open_keeping(journal, clock, max_failures, views, checkpoint::EVERY)
    }

    /// The same, with so many events between two checkpoints.
    fn open_keeping(
        journal: Arc<dyn Journal>,
        clock: Clock,
        max_failures: impl Fn() -> u32 + Send + 'static,
        views: Vec<Arc<dyn View>>,
        every: Seq,
    ) -> Result<Self, OpenError> {
        let (state, hash, met) = replay(journal.as_ref(), every)?;
        let unknown = met.keep(journal.as_ref())?;
        if let Some(kinds) = unknown::told(&unknown) {
            tracing::warn!(
                kinds,
                "the log holds control events of a newer version of gemini-pool, which this one does not understand: what \
                 they changed is not in force. Start the newer version again"
            );
        }
        if let Some(trim) = &state.trims.last {
            retention::finish(journal.as_ref(), trim)?;
        }
        for view in &views {
            view.rebuild(&state);
        }
        let (head, next_checkpoint) = (watch::Sender::new(state.seq), state.seq.saturating_add(every));
        let begun = checkpoint::place_before(journal.as_ref(), Kind::Full, state.seq)?.unwrap_or(0);
        let counters = Arc::new(Counters::from(state.seq, begun));
        let keeper = Keeper::start(Arc::clone(&journal), Arc::clone(&counters)).map_err(OpenError::Thread)?;
        let shared = Arc::new(Shared {
            journal,
            unknown,
            state: RwLock::ranked(Rank::State, state),
            clock: clock.clone(),
            failure: Mutex::new(None),
            failing: watch::Sender::new(false),
            unrecorded: AtomicU64::new(0),
            days_ahead: AtomicBool::new(false),
            head,
            stall: Arc::new(Stall::new()),
            counters,
        });
        let (queue, messages) = mpsc::channel(QUEUE);
        let (running, done) = watch::channel(());
        // Weak: whoever heals the log does not keep the ledger from being closed.
        let syncer = Syncer::start(Arc::clone(&shared), queue.downgrade()).map_err(OpenError::Thread)?;
        let max_failures = Box::new(max_failures);
        let writer = Writer {
            shared: Arc::clone(&shared),
            views,
            clock,
            max_failures,
            hash,
            missed: None,
            unsynced: None,
            syncer,
            keeper,
            every,
            next_checkpoint,
        };
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(OpenError::Thread)?;
        std::thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || {
                let shared = Arc::clone(&writer.shared);
                let ran = AssertUnwindSafe(|| runtime.block_on(writer.run(messages)));
                if std::panic::catch_unwind(ran).is_err() {
                    shared.fail_for_good(journal::Error::WriterDied);
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
        Some(Reservation { permit, stall: Arc::clone(&self.shared.stall) })
    }

    /// Room for a fact that matters only if it is told at once; none, where there is none right now.
    #[must_use]
    pub fn try_reserve(&self) -> Option<Reservation> {
        let permit = self.queue.clone().try_reserve_owned().ok()?;
        Some(Reservation { permit, stall: Arc::clone(&self.shared.stall) })
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
                Ok(Decision { events, secrets, answer }) => {
                    writer.append(events, &secrets).map(|()| answer).map_err(CommitError::Log)
                }
            };
            match result {
                Err(error) => drop(done.send(Err(error))),
                // Also where nothing was to be done: what made it so may not be on the disk yet.
                Ok(answer) => writer.sync_and_then(Box::new(move |synced| {
                    let _ = done.send(synced.map(|()| answer).map_err(CommitError::NotDurable));
                })),
            }
        };
        self.queue.send(Message::Command(Box::new(command))).await.map_err(|_| CommitError::Stopping)?;
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

    /// For those who follow the log on a thread of their own, and keep rows beside it.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader { shared: Arc::clone(&self.shared) }
    }

    /// The last event folded in, and a way to wait for the next.
    #[must_use]
    pub fn head(&self) -> watch::Receiver<Seq> {
        self.shared.head.subscribe()
    }

    /// Why the log takes no more writes, if so.
    #[must_use]
    pub fn failure(&self) -> Option<Arc<journal::Error>> {
        self.shared.failure()
    }

    /// Tells whether the log takes no writes, and when that changes.
    #[must_use]
    pub fn failing(&self) -> watch::Receiver<bool> {
        self.shared.failing.subscribe()
    }

    /// Makes this day's place in the log and the spaces of derived rows, and has each next day's place made before it
    /// begins: neither the first traffic of a day nor the first rows wait for the disk. Blocks.
    ///
    /// # Errors
    /// [`journal::Error`].
    pub fn prepare(&self, spaces: &[&'static str]) -> Result<(), journal::Error> {
        let now = self.shared.clock.now().max(self.state().at);
        // A space of derived rows takes some twenty syncs too, in which nobody appends.
        for space in [checkpoint::SPACE, unknown::SPACE].iter().chain(spaces) {
            self.shared.journal.write(space, &[])?;
        }
        self.shared.journal.prepare(writer::day_of(now))?;
        self.shared.days_ahead.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Records the gap that a process before this one could not.
    ///
    /// # Errors
    /// [`CommitError`].
    pub async fn tell_kept_gap(&self) -> Result<(), CommitError> {
        let Some(KeptGap { from, unrecorded, cause }) = self.shared.journal.kept_gap() else { return Ok(()) };
        let to = self.shared.clock.now().max(self.state().at);
        self.note(LogGap { from: from.min(to), to, unrecorded, late: 0, cause }).await?;
        tracing::warn!(
            unrecorded,
            "the log took no writes when the server stopped; the gap stands in it now"
        );
        self.shared.keep_gap(None);
        Ok(())
    }

    /// Facts that could not be recorded since the log failed.
    #[must_use]
    pub fn unrecorded(&self) -> u64 {
        self.shared.unrecorded.load(Ordering::Relaxed)
    }

    /// Control events of a newer program, which this one does not understand.
    #[must_use]
    pub fn unknown(&self) -> &[UnknownEvents] {
        &self.shared.unknown
    }

    /// How the log itself does.
    #[must_use]
    pub fn vitals(&self) -> Vitals {
        let queued = self.queue.max_capacity().saturating_sub(self.queue.capacity());
        let ahead = self.shared.stall.ahead();
        self.shared.counters.told(*self.shared.head.borrow(), queued, ahead)
    }

    /// Waits until everything recorded so far is on the disk and the thread is gone.
    /// Other handles and reservations must be dropped, or this waits for them.
    pub async fn close(self) {
        let Self { mut done, queue, .. } = self;
        drop(queue);
        while done.changed().await.is_ok() {}
    }
}

#[cfg(test)]
mod tests;
