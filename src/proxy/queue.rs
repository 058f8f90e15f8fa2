//! Waiting for a key, in order of arrival.
//!
//! Owns how long a request may wait and what wakes it; [`lines`] says whose turn it is,
//! the scheduler who can serve. Two things are waited for: a gate that opens within
//! `QUEUE_TIMEOUT`, and a key that another request is trying for the first time (at most
//! [`TRIAL`]). The head of a line is woken by the time of the opening, by whatever the
//! log says (gates opened, keys added), and by every try that comes to something. It
//! refuses to wait for what will not come in time. Its invariant: a place is given up
//! when its request is answered, refused or dropped, and the next one is told.

pub(crate) mod lines;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use projections::{KeyId, Millis, Seq};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

pub(super) use self::lines::Word;
use self::lines::{Lines, Ticket, Turn};
use crate::{
    caller::Caller,
    ledger::clock::Clock,
    locks::{Mutex, Rank},
    proxy::retry::SURPRISES,
    scheduler::{From, Nobody},
};

/// How long to wait for a key that another request is trying for the first time.
const TRIAL: Duration = Duration::from_secs(2);
/// Requests that may wait at once, in all lines together. Where as many do, a client with fewer of them than another one
/// gets a place, and the newest of the one with most is refused ([`crate::fair`]).
const MOST_WAITING: usize = 1_024;

/// What a line waits for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Place {
    model: String,
    from: Whose,
    size: u8,
}

/// A line's requests are alike in size, so that one for which a minute has no tokens left does not hold up others that
/// it has room for. Up to 4,096 tokens all are small; each further size is eight times the one before.
pub(crate) fn size_of(tokens: u32) -> u8 {
    const SMALL: u32 = 12;
    let doublings = tokens.saturating_sub(1).checked_ilog2().unwrap_or_default().saturating_sub(SMALL - 1);
    u8::try_from(doublings.div_ceil(3)).unwrap_or(u8::MAX)
}

/// [`From`], kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Whose {
    All,
    Keeper,
    Only(KeyId),
    Project(String),
}

impl std::convert::From<From<'_>> for Whose {
    fn from(from: From<'_>) -> Self {
        match from {
            From::All => Self::All,
            From::Keeper => Self::Keeper,
            From::Only(key) => Self::Only(key),
            From::Project(name) => Self::Project(name.to_owned()),
        }
    }
}

/// Why a request gets no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoTurn {
    /// Nobody can serve it in time.
    Nobody(Nobody),
    /// Its time was up before its turn came; something opens then, where that is known.
    Late(Option<Millis>),
    /// As many wait as may; likewise.
    Full(Option<Millis>),
}

/// What one request has behind it.
#[derive(Debug, Default)]
pub(super) struct Journey {
    /// Keys it must not try again.
    pub(super) tried: Vec<KeyId>,
    /// Those of them that Google refused at the door: their gates are closed, and when one has
    /// opened again it is as good as new.
    refused: Vec<KeyId>,
    /// How often Google refused it at the door.
    refusals: usize,
    /// How long it has waited.
    pub(super) waited: Duration,
    ticket: Option<Ticket>,
}

impl Journey {
    /// The last key tried was refused at the door.
    pub(super) fn refused(&mut self) {
        self.refused.extend(self.tried.last());
        self.refusals += 1;
    }

    /// Whether it met so many keys that Google does not take that it wants one of which more is known.
    pub(super) fn wants_proof(&self) -> bool {
        self.refusals >= SURPRISES
    }

    /// After a wait, the gates say which keys may be tried.
    fn has_waited(&mut self) {
        let refused = std::mem::take(&mut self.refused);
        self.tried.retain(|key| !refused.contains(key));
    }
}

/// See the module.
pub(super) struct Queue {
    lines: Mutex<Lines<Place, Caller, Arc<Notify>>>,
    /// How many lines there are, so that nobody takes the lock while there are none.
    busy: AtomicUsize,
    /// QUEUE_TIMEOUT, which may change.
    timeout: Box<dyn Fn() -> Duration + Send + Sync>,
    began: Instant,
    clock: Clock,
    /// Told whenever a try came to something.
    progress: Arc<Notify>,
    /// The last event folded.
    head: watch::Receiver<Seq>,
}

/// A request that was let go at a time when every opening is tried with care; tells what became of it.
pub(super) struct Release<'a> {
    queue: &'a Queue,
    place: Place,
    ticket: Ticket,
    word: Word,
}

/// Tells what became of a request, where that is wanted.
pub(super) fn tell(release: Option<Release<'_>>, word: Word) {
    if let Some(mut release) = release {
        release.word = word;
    }
}

impl Drop for Release<'_> {
    fn drop(&mut self) {
        self.queue.with(&self.place, |lines| lines.word(&self.place, self.ticket, self.word));
    }
}

/// A request's place in a line, or the wish for one.
struct Waiter<'a> {
    queue: &'a Queue,
    place: Place,
    caller: Caller,
    ticket: Ticket,
    waker: Arc<Notify>,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.queue.with(&self.place, |lines| lines.leave(&self.place, self.ticket));
    }
}

/// What a request in a line waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    /// Its turn.
    Turn,
    /// As the head: a gate.
    Opening,
    /// As the head: what comes of a key on trial.
    Trial,
}

/// What a request that wants a key finds.
enum Found<'a, T> {
    Key(T, Option<Release<'a>>),
    Nobody(Nobody),
    Behind { paced: bool, opens: Option<Millis> },
    Paced { settles: Duration, opens: Option<Millis> },
}

fn wake(next: impl IntoIterator<Item = Arc<Notify>>) {
    next.into_iter().for_each(|next| next.notify_one());
}

impl<'a> Waiter<'a> {
    /// Asks if it is this one's turn; in one step, so that two never ask for the same.
    fn ask<T>(&self, ask: impl FnOnce() -> Result<T, Nobody>) -> Found<'a, T> {
        let (place, now) = (&self.place, self.queue.began.elapsed());
        let (found, next) = self.queue.locked(|lines| {
            let found = match lines.turn(place, self.ticket, now) {
                Turn::Ask => match ask() {
                    Ok(key) => {
                        let word_wanted = lines.let_go(place, self.ticket, now);
                        return (
                            Found::Key(key, word_wanted.then(|| self.release())),
                            lines.awake(place, now),
                        );
                    }
                    Err(nobody) => Found::Nobody(nobody),
                },
                Turn::Behind => Found::Behind { paced: lines.is_paced(place), opens: lines.opens(place) },
                Turn::Paced(settles) => Found::Paced { settles, opens: lines.opens(place) },
            };
            (found, None)
        });
        wake(next);
        found
    }

    fn release(&self) -> Release<'a> {
        Release { queue: self.queue, place: self.place.clone(), ticket: self.ticket, word: Word::Gone }
    }

    /// Takes its place in the line, if there is room.
    fn join(&self) -> bool {
        self.join_and(|_| {})
    }

    /// Likewise, as the head that was told when something opens.
    fn join_until(&self, opens: Option<Millis>) -> bool {
        self.join_and(|lines| lines.closed(&self.place, opens))
    }

    fn join_and(&self, then: impl FnOnce(&mut Lines<Place, Caller, Arc<Notify>>)) -> bool {
        let (mut woken, now) = (Vec::new(), self.queue.began.elapsed());
        let (joined, waiting) = self.queue.locked(|lines| {
            let joined = lines.join(&self.place, (self.caller, self.ticket), &self.waker, now, &mut woken);
            joined.is_ok().then(|| then(lines));
            (joined, lines.waiting())
        });
        wake(woken);
        if joined == Ok(true) {
            tracing::debug!(model = self.place.model, waiting, "a request waits for a key");
        }
        joined.is_ok()
    }
}

impl Queue {
    /// An empty one for requests that may wait so long; `head` is the last event folded.
    pub(super) fn new(
        timeout: impl Fn() -> Duration + Send + Sync + 'static,
        clock: Clock,
        progress: Arc<Notify>,
        head: watch::Receiver<Seq>,
    ) -> Self {
        let (lines, busy) = (Mutex::ranked(Rank::Queue, Lines::new(MOST_WAITING)), AtomicUsize::new(0));
        let timeout = Box::new(timeout);
        Self { lines, busy, timeout, began: Instant::now(), clock, progress, head }
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.lines.lock().waiting()
    }

    fn locked<R>(&self, change: impl FnOnce(&mut Lines<Place, Caller, Arc<Notify>>) -> R) -> R {
        let mut lines = self.lines.lock();
        let result = change(&mut lines);
        self.busy.store(lines.len(), Ordering::Relaxed);
        result
    }

    /// Changes a line, and wakes its head if it may ask after that.
    fn with(&self, place: &Place, change: impl FnOnce(&mut Lines<Place, Caller, Arc<Notify>>)) {
        let now = self.began.elapsed();
        wake(self.locked(|lines| {
            change(lines);
            lines.awake(place, now)
        }));
    }

    /// Gets a key from `ask`, which is told which keys not to take and whether to crowd keys on
    /// trial; waits for one where that makes sense.
    ///
    /// # Errors
    /// [`NoTurn`].
    pub(super) async fn choose<'a, T>(
        &'a self,
        (caller, model, from, tokens): (Caller, &str, From<'_>, u32),
        journey: &mut Journey,
        deadline: Instant,
        mut ask: impl FnMut(&[KeyId], bool) -> Result<T, Nobody>,
    ) -> Result<(T, Option<Release<'a>>), NoTurn> {
        let began = Instant::now();
        let ends = deadline.min(began + (self.timeout)().saturating_sub(journey.waited));
        if self.busy.load(Ordering::Relaxed) == 0 {
            match ask(&journey.tried, false) {
                Ok(key) => return Ok((key, None)),
                Err(nobody) if !nobody.on_trial && self.opening(&nobody, ends).is_none() => {
                    return Err(NoTurn::Nobody(nobody));
                }
                Err(_) => {}
            }
        }
        let ticket = *journey.ticket.get_or_insert_with(|| self.locked(Lines::ticket));
        let place = Place { model: model.to_owned(), from: from.into(), size: size_of(tokens) };
        let waiter = Waiter { queue: self, place, caller, ticket, waker: Arc::default() };
        let result = self.stand(&waiter, journey, (began, ends, deadline), &mut ask).await;
        journey.waited += began.elapsed();
        result
    }

    /// When something opens, if that is still to come and comes in time.
    fn opening(&self, nobody: &Nobody, ends: Instant) -> Option<Instant> {
        let left = nobody.opens?.saturating_sub(self.clock.now());
        let left = Duration::from_millis(u64::try_from(left).ok().filter(|left| *left > 0)?);
        Instant::now().checked_add(left).filter(|opens| *opens <= ends)
    }

    async fn stand<'a, T>(
        &self,
        waiter: &Waiter<'a>,
        journey: &mut Journey,
        (began, ends, deadline): (Instant, Instant, Instant),
        ask: &mut impl FnMut(&[KeyId], bool) -> Result<T, Nobody>,
    ) -> Result<(T, Option<Release<'a>>), NoTurn> {
        let trial_ends = deadline.min(began + TRIAL);
        let mut head = self.head.clone();
        let mut crowd = false;
        loop {
            // Listen first, ask second, so that nothing falls between.
            let progress = self.progress.notified();
            tokio::pin!(progress);
            progress.as_mut().enable();
            head.mark_unchanged();
            let now = Instant::now();
            let (until, what) = match waiter.ask(|| ask(&journey.tried, crowd)) {
                Found::Key(key, release) => return Ok((key, release)),
                Found::Nobody(nobody) if nobody.on_trial => {
                    // A refusal comes at once; what takes longer is a key at work. And a key on
                    // trial is no scarce good: where there is no room to wait, nobody does.
                    if now >= trial_ends || !waiter.join() {
                        crowd = true;
                        continue;
                    }
                    (trial_ends, Awaited::Trial)
                }
                Found::Nobody(nobody) => {
                    let opens = self.opening(&nobody, ends).ok_or(NoTurn::Nobody(nobody))?;
                    if !waiter.join_until(nobody.opens) {
                        return Err(NoTurn::Full(nobody.opens));
                    }
                    (opens, Awaited::Opening)
                }
                // Behind others that wait for a key on trial, which has its own end.
                Found::Behind { paced: false, .. } => {
                    if now >= trial_ends || !waiter.join() {
                        return ask(&journey.tried, true).map(|key| (key, None)).map_err(NoTurn::Nobody);
                    }
                    (trial_ends, Awaited::Turn)
                }
                Found::Behind { opens, .. } | Found::Paced { opens, .. } if self.is_late(opens, ends) => {
                    return Err(NoTurn::Late(opens));
                }
                Found::Behind { opens, .. } | Found::Paced { opens, .. } if !waiter.join() => {
                    return Err(NoTurn::Full(opens));
                }
                Found::Behind { .. } => (ends, Awaited::Turn),
                Found::Paced { settles, .. } => (ends.min(self.began + settles), Awaited::Turn),
            };
            tokio::select! {
                () = tokio::time::sleep_until(until) => {}
                () = waiter.waker.notified() => {}
                () = progress, if what != Awaited::Turn => {}
                Ok(()) = head.changed(), if what != Awaited::Turn => {}
            }
            if what != Awaited::Trial {
                journey.has_waited();
            }
        }
    }

    /// Whether what a line waits for comes too late for one in it.
    fn is_late(&self, opens: Option<Millis>, ends: Instant) -> bool {
        let left = opens.map_or(0, |opens| opens.saturating_sub(self.clock.now()));
        Instant::now() + Duration::from_millis(u64::try_from(left).unwrap_or(0)) >= ends
    }
}

#[cfg(test)]
mod tests;
