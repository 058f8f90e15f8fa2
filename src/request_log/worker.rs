//! The index's thread, and how events come to it.
//!
//! Owns the inbox that the ledger fills, the way back to the log when the inbox
//! did not take everything, and all writing to the disk. Its invariant: what the
//! index has seen has no gap, whether an event came from the inbox or the log.

use std::{
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use projections::{Recorded, Seq, State};

use super::{Error, Inner, PAGE, RequestLog, column::Damaged, row::Note, store};
use crate::ledger::{OpenError, Reader, View, clock::Clock};
use crate::locks::{Condvar, Mutex};

/// So many notes are worth waking up for.
const ENOUGH: usize = 1_024;
/// More are not kept: the log has them.
const MOST: usize = 65_536;
/// How often old bodies are looked for, and what failed is tried again.
const ROUND: Duration = Duration::from_secs(600);

/// What the ledger says, until somebody takes it in.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    /// Whether anything is kept.
    on: bool,
    /// The first event that was kept, once there was one.
    from: Option<Seq>,
    /// The last event that was shown.
    through: Seq,
    notes: Vec<Note>,
}

impl View for RequestLog {
    fn rebuild(&self, _: &State) {}

    fn folded(&self, _: &State, events: &[Recorded]) {
        let (Some(first), Some(last)) = (events.first(), events.last()) else { return };
        let mut inbox = self.inbox.lock();
        // What was not recorded comes with a number that was there before.
        if !inbox.on || last.seq <= inbox.through {
            return;
        }
        inbox.from.get_or_insert(first.seq);
        inbox.through = last.seq;
        inbox.notes.extend(events.iter().filter_map(Note::of));
        let waiting = inbox.notes.len();
        if waiting > MOST {
            *inbox = Inbox::default();
        }
        drop(inbox);
        if waiting >= ENOUGH {
            self.wake.work();
        }
    }
}

/// Wakes the thread.
#[derive(Default)]
pub(super) struct Wake {
    told: Mutex<Told>,
    news: Condvar,
}

#[derive(Default)]
struct Told {
    work: bool,
    stop: bool,
}

impl Wake {
    pub(super) fn work(&self) {
        self.told.lock().work = true;
        self.news.notify_one();
    }

    fn stop(&self) {
        self.told.lock().stop = true;
        self.news.notify_one();
    }

    fn stopping(&self) -> bool {
        self.told.lock().stop
    }

    /// Waits for work, or for a round's time; false: it is over.
    fn wait(&self) -> bool {
        let mut told = self.told.lock();
        let until = Instant::now() + ROUND;
        while !told.work && !told.stop && !self.news.wait_until(&mut told, until) {}
        told.work = false;
        !told.stop
    }
}

/// The thread's life: it ends when this is dropped.
pub struct Keeper {
    log: Arc<RequestLog>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts the thread: from what is on disk to what the log says, and on with it.
    ///
    /// # Errors
    /// [`OpenError::Thread`].
    pub fn start(log: Arc<RequestLog>, reader: Reader, clock: Clock) -> Result<Self, OpenError> {
        let _ = log.reader.set(reader);
        let works = Arc::clone(&log);
        let thread = std::thread::Builder::new()
            .name("requests".to_owned())
            .spawn(move || works.work(&clock))
            .map_err(OpenError::Thread)?;
        Ok(Self { log, thread: Some(thread) })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.log.wake.stop();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of the request index panicked");
        }
    }
}

impl RequestLog {
    fn work(&self, clock: &Clock) {
        let Some(reader) = self.reader.get() else { return };
        self.bodies.set_store(reader.clone());
        let mut loaded = false;
        loop {
            let done = if loaded { Ok(()) } else { self.load(reader) };
            loaded = loaded || done.is_ok();
            let done = done.and_then(|()| self.round(reader));
            self.bodies.write_out(clock.now());
            match done {
                Err(Error::Damaged(_)) => {
                    loaded = false;
                    continue;
                }
                Err(Error::Log(error)) => {
                    tracing::error!(%error, "the request index does not go on for now");
                }
                Ok(()) => {}
            }
            if !self.wake.wait() {
                // What is still waiting would be gone with the process.
                self.bodies.write_out(clock.now());
                return;
            }
        }
    }

    /// Begins with what is on disk; or with nothing, where that is of no use.
    fn load(&self, reader: &Reader) -> Result<(), Error> {
        let damaged = self.inner.lock().damaged;
        let loaded = if damaged { Err(Damaged.into()) } else { store::load(reader) };
        // A log whose torn end was cut may be shorter than what was worked out of it.
        let loaded = match loaded {
            Ok(index) if index.indexed > reader.head() => Err(Damaged.into()),
            loaded => loaded,
        };
        let index = match loaded {
            Err(Error::Damaged(_)) => {
                if !damaged {
                    tracing::warn!(
                        "the request index is not one of this version: it is made anew from the log"
                    );
                }
                store::wipe(reader)?;
                super::Index::default()
            }
            loaded => loaded?,
        };
        *self.inner.lock() = Inner { index, ..Inner::default() };
        Ok(())
    }

    /// One turn of the thread: what is new is taken in, what is full is written.
    fn round(&self, reader: &Reader) -> Result<(), Error> {
        if self.inner.lock().damaged {
            return Err(Damaged.into());
        }
        let following = {
            let mut inner = self.inner.lock();
            self.take_in(&mut inner)?;
            inner.following
        };
        if !following {
            self.catch_up(reader)?;
        }
        self.write_out(reader)
    }

    /// From where the index is to the log's end; from there on the inbox keeps what comes.
    fn catch_up(&self, reader: &Reader) -> Result<(), Error> {
        loop {
            if self.wake.stopping() {
                return Ok(());
            }
            let after = self.inner.lock().index.cursor;
            // Before the events: what comes in between is read the next time.
            let head = reader.head();
            let events = events(reader, after, PAGE)?;
            let mut inner = self.inner.lock();
            if inner.damaged {
                return Err(Damaged.into());
            }
            if events.is_empty() {
                // The log has nothing more up to there: it ends, or the rest was trimmed away.
                inner.index.seen(head);
                break;
            }
            follow(&mut inner, &events, Seq::MAX);
            drop(inner);
            self.write_out(reader)?;
        }
        let through = reader.with_state(|state| state.seq);
        *self.inbox.lock() = Inbox { on: true, through, ..Inbox::default() };
        let mut inner = self.inner.lock();
        inner.following = true;
        self.take_in(&mut inner)?;
        self.whole.notify_all();
        Ok(())
    }

    /// Takes in what the inbox holds, and before it what the log has that the inbox missed.
    pub(super) fn take_in(&self, inner: &mut Inner) -> Result<(), Error> {
        let Some(reader) = self.reader.get().filter(|_| inner.following) else { return Ok(()) };
        let (on, from, through, notes) = {
            let mut inbox = self.inbox.lock();
            (inbox.on, inbox.from, inbox.through, std::mem::take(&mut inbox.notes))
        };
        if !on {
            inner.following = false;
            self.wake.work();
            return Ok(());
        }
        let until = from.map_or(Seq::MAX, |from| from.saturating_sub(1));
        let mut full = false;
        while inner.index.cursor < until {
            match events(reader, inner.index.cursor, PAGE) {
                Ok(events) if events.is_empty() => break,
                Ok(events) => full |= follow(inner, &events, until),
                Err(error) => {
                    // The notes are gone, and the log has them.
                    inner.following = false;
                    return Err(error);
                }
            }
        }
        if from.is_some() {
            inner.index.seen(until);
            for note in notes {
                full |= inner.index.follow(note);
            }
            inner.index.seen(through);
        }
        if full {
            self.wake.work();
        }
        Ok(())
    }

    /// Writes full blocks, and removes those of which the log has nothing any more.
    fn write_out(&self, reader: &Reader) -> Result<(), Error> {
        loop {
            let (block, floor) = {
                let inner = self.inner.lock();
                (inner.index.unwritten(), inner.index.floor)
            };
            let Some(block) = block else { break };
            store::write(reader, &block, floor)?;
            let mut inner = self.inner.lock();
            if inner.damaged {
                return Err(Damaged.into());
            }
            inner.index.written();
        }
        let (gone, floor) = {
            let mut inner = self.inner.lock();
            (inner.index.trimmed(), inner.index.floor)
        };
        if gone.is_empty() { Ok(()) } else { store::remove(reader, &gone, floor) }
    }
}

/// Lets the index follow events up to one of them. Says whether there is something to write.
fn follow(inner: &mut Inner, events: &[Recorded], until: Seq) -> bool {
    let mut full = false;
    for recorded in events.iter().take_while(|recorded| recorded.seq <= until) {
        if let Some(note) = Note::of(recorded) {
            full |= inner.index.follow(note);
        }
        inner.index.seen(recorded.seq);
    }
    if let Some(last) = events.last() {
        inner.index.seen(last.seq.min(until));
    }
    full
}

/// Events of the log; a damaged one is left out.
fn events(reader: &Reader, after: Seq, limit: usize) -> Result<Vec<Recorded>, Error> {
    match reader.events(after, limit) {
        Err(OpenError::Damaged { seq, damage }) => {
            tracing::error!(seq, %damage, "a damaged event is left out of the request index");
            let before = usize::try_from(seq.saturating_sub(after).saturating_sub(1)).unwrap_or(usize::MAX);
            if before > 0 { Ok(reader.events(after, before.min(limit))?) } else { events(reader, seq, limit) }
        }
        read => Ok(read?),
    }
}
