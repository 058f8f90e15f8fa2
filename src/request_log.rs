//! The request log: every client request with its chain of tries, found quickly.
//!
//! The log is the record; what is kept here only finds. Owns an index of blocks
//! of columns ([`block`]) in derived rows beside the log ([`store`]), the newest
//! rows in memory ([`index`]), and the bodies that operators want kept
//! ([`bodies`]). Events come from the ledger, as it folds them, into a small
//! inbox; whoever asks a question takes them in first, so an answered request is
//! found at once. A thread ([`worker`]) does what needs a disk. Its invariant:
//! everything shown is read from the log, and an index that is missing, old or
//! damaged costs time, never truth.

mod block;
pub mod bodies;
mod column;
mod counts;
pub mod filter;
mod header;
mod index;
mod picked;
mod row;
mod store;
#[cfg(test)]
mod tests;
mod view;
mod worker;

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use projections::{ClientId, KeyId, RequestId, Seq, event::Outcome};

use self::{
    block::Hit,
    bodies::{Bodies, Capture},
    column::Damaged,
    counts::Counts,
    filter::Filter,
    index::Index,
    row::outcome_of,
};
pub use self::{
    view::{Attempt, Entry},
    worker::Keeper,
};
use crate::{
    ledger::{OpenError, Reader},
    locks::{Condvar, Mutex, MutexGuard, Rank},
    settings::Settings,
};

/// The spaces of its derived rows.
pub const SPACES: [&str; 2] = [store::SPACE, bodies::SPACE];

/// How long a question waits for the index to be whole, before it is answered by what there is.
const PATIENCE: Duration = Duration::from_secs(1);
/// Events read from the log at once.
const PAGE: usize = 4_096;
/// Requests looked at to find the one with an id: others share its short form rarely.
const ALIKE: usize = 16;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log, or the rows beside it.
    #[error(transparent)]
    Log(#[from] OpenError),
    /// The index is being made anew.
    #[error(transparent)]
    Damaged(#[from] Damaged),
}

/// How far the index is, while it is not whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Indexing {
    /// The last event that was looked at.
    pub done: Seq,
    /// The last event there is.
    pub of: Seq,
}

/// Some requests, the newest first.
#[derive(Debug)]
pub struct Page {
    /// They.
    pub entries: Vec<Entry>,
    /// Where to go on: before this event. None: that is all.
    pub next: Option<Seq>,
    /// The index is not whole: there may be more.
    pub indexing: Option<Indexing>,
}

/// How many requests there are, by what they are; the most frequent first.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// All.
    pub total: u64,
    /// By how they ended.
    pub outcomes: Vec<(Outcome, u64)>,
    /// By HTTP status.
    pub statuses: Vec<(u16, u64)>,
    /// By model.
    pub models: Vec<(String, u64)>,
    /// By client; number 0: nobody's.
    pub clients: Vec<(ClientId, u64)>,
    /// By key: a request counts once for each that it was tried with.
    pub keys: Vec<(KeyId, u64)>,
    /// Prompt, output, thoughts and cached tokens, of all tries.
    pub tokens: [u64; 4],
}

/// See the module.
pub struct RequestLog {
    inbox: Mutex<worker::Inbox>,
    inner: Mutex<Inner>,
    /// Told when the index is whole.
    whole: Condvar,
    wake: worker::Wake,
    reader: OnceLock<Reader>,
    /// Bodies that wait to be written, and those that were.
    pub bodies: Bodies,
}

#[derive(Default)]
struct Inner {
    index: Index,
    /// The index holds all that the log had; what is new is in the inbox.
    following: bool,
    /// What is on disk is not to be used.
    damaged: bool,
}

impl RequestLog {
    /// An empty one; [`Keeper::start`] brings it to life.
    #[must_use]
    pub fn new(settings: Arc<Settings>) -> Self {
        Self {
            inbox: Mutex::default(),
            inner: Mutex::ranked(Rank::RequestIndex, Inner::default()),
            whole: Condvar::new(),
            wake: worker::Wake::default(),
            reader: OnceLock::new(),
            bodies: Bodies::new(settings),
        }
    }

    /// Up to `limit` requests that are asked for and ended before the event `before`. Blocks.
    ///
    /// # Errors
    /// [`Error`].
    pub fn page(&self, filter: &Filter, before: Seq, limit: usize) -> Result<Page, Error> {
        let (mut hits, indexing) = self.hits(filter, before, limit.saturating_add(1))?;
        let more = hits.len() > limit;
        hits.truncate(limit);
        let next = hits.last().filter(|_| more).map(|hit| hit.seq);
        let mut entries = self.entries(&hits)?;
        // The index knows ids in short only.
        entries.retain(|entry| filter.request.is_none_or(|request| entry.answered.request == request));
        Ok(Page { entries, next, indexing })
    }

    /// The request with this id. Blocks.
    ///
    /// # Errors
    /// [`Error`].
    pub fn by_id(&self, request: RequestId) -> Result<Option<Entry>, Error> {
        let filter = Filter { request: Some(request), ..Filter::default() };
        let (hits, _) = self.hits(&filter, Seq::MAX, ALIKE)?;
        Ok(self.entries(&hits)?.into_iter().find(|entry| entry.answered.request == request))
    }

    /// The request whose end is this event. Blocks.
    ///
    /// # Errors
    /// [`Error`].
    pub fn by_seq(&self, seq: Seq) -> Result<Option<Entry>, Error> {
        let (mut hits, _) = self.hits(&Filter::default(), seq.saturating_add(1), 1)?;
        hits.retain(|hit| hit.seq == seq);
        Ok(self.entries(&hits)?.pop())
    }

    /// Keeps a request's bodies, where that is wanted; they are written a moment later.
    pub fn keep(&self, request: RequestId, failed: bool, capture: Box<Capture>) {
        if self.bodies.offer(request, failed, capture) {
            self.wake.work();
        }
    }

    /// Counts all requests that are asked for. Blocks.
    ///
    /// # Errors
    /// [`Error`].
    pub fn count(&self, filter: &Filter) -> Result<(Tally, Option<Indexing>), Error> {
        self.ask(|log, inner| {
            let mut counts = Counts::default();
            let snapshot = inner.index.look(|row| -> Option<()> {
                if filter.matches(row) {
                    counts.add(row);
                }
                None
            });
            let indexing = log.indexing(&inner);
            drop(inner);
            snapshot.count(filter, &mut counts, &mut |number, column| log.column(number, column))?;
            Ok((tally(counts), indexing))
        })
    }

    fn hits(
        &self,
        filter: &Filter,
        before: Seq,
        limit: usize,
    ) -> Result<(Vec<Hit>, Option<Indexing>), Error> {
        self.ask(|log, inner| {
            let mut left = limit;
            let snapshot = inner.index.look(|row| {
                let good = left > 0 && row.seq < before && filter.matches(row);
                left -= usize::from(good);
                good.then(|| Hit::of(row))
            });
            let indexing = log.indexing(&inner);
            drop(inner);
            let hits =
                snapshot.search(filter, before, limit, &mut |number, column| log.column(number, column))?;
            Ok((hits, indexing))
        })
    }

    /// Asks the index as it is now. A block may go while it is looked at, because the log was trimmed; what is
    /// still unreadable the next time is damaged, and the index begins anew.
    fn ask<T>(
        &self,
        question: impl Fn(&Self, MutexGuard<'_, Inner>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        for attempt in 0..2 {
            match question(self, self.current()?) {
                Err(Error::Damaged(damaged)) if attempt > 0 => self.begin_anew(damaged),
                Err(Error::Damaged(_)) => {}
                answer => return answer,
            }
        }
        question(self, self.inner.lock())
    }

    /// The index with all that was recorded so far, unless it is not whole after a while.
    fn current(&self) -> Result<MutexGuard<'_, Inner>, Error> {
        let mut inner = self.inner.lock();
        let until = Instant::now() + PATIENCE;
        while !inner.following && !self.whole.wait_until(&mut inner, until) {}
        self.take_in(&mut inner)?;
        Ok(inner)
    }

    fn begin_anew(&self, damaged: Damaged) {
        tracing::error!("{damaged}: it is made anew from the log");
        let mut inner = self.inner.lock();
        *inner = Inner { damaged: true, ..Inner::default() };
        drop(inner);
        self.wake.work();
    }

    fn indexing(&self, inner: &Inner) -> Option<Indexing> {
        let of = self.reader.get().map_or(0, Reader::head);
        (!inner.following).then_some(Indexing { done: inner.index.cursor.min(of), of })
    }

    fn column(&self, number: u32, column: block::Column) -> Result<Vec<u8>, Error> {
        store::column(self.reader()?, number, column)
    }

    fn reader(&self) -> Result<&Reader, Error> {
        // Blocks are there only once somebody read them.
        Ok(self.reader.get().ok_or(Damaged)?)
    }
}

fn tally(counts: Counts) -> Tally {
    fn sorted<K: Ord, V>(
        counted: impl IntoIterator<Item = (K, u64)>,
        name: impl Fn(K) -> Option<V>,
    ) -> Vec<(V, u64)> {
        let mut all: Vec<_> = counted.into_iter().collect();
        all.sort_by(|(one, times), (other, more)| more.cmp(times).then_with(|| one.cmp(other)));
        all.into_iter().filter_map(|(value, times)| Some((name(value)?, times))).collect()
    }
    let small = |value: u64| u32::try_from(value).ok();
    Tally {
        total: counts.total,
        outcomes: sorted(counts.outcomes, outcome_of),
        statuses: sorted(counts.statuses, |status| u16::try_from(status).ok()),
        models: sorted(counts.models, Some),
        clients: sorted(counts.clients, |client| small(client).map(ClientId)),
        keys: sorted(counts.keys, |key| small(key).map(KeyId)),
        tokens: counts.tokens,
    }
}
