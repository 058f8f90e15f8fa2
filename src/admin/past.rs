//! Looking back: what all questions about the past share.
//!
//! Its invariant: looking at the log never holds up a request's thread, and only a few look at once.

use std::sync::Arc;

use projections::{Millis, Seq, State};
use tokio::sync::Semaphore;

use super::problem::Problem;
use crate::{
    ledger::{At, Ledger, PastError, clock::millis_of},
    pool::Pool,
};

/// Why the past is not to be seen.
pub(super) type Failed = PastError;

/// Events folded at once, to get from one moment to a later one.
const PAGE: usize = 4_096;
/// Looks at the log at once.
static LOOKING: Semaphore = Semaphore::const_new(8);
/// States of the past made at once: each folds much of the log, which takes memory and a core.
static FOLDING: Semaphore = Semaphore::const_new(2);

/// Asks the log, on a thread that may wait.
pub(super) async fn look<T: Send + 'static>(
    pool: &Arc<Pool>,
    question: impl FnOnce(&Ledger) -> Result<T, Failed> + Send + 'static,
) -> Result<T, Problem> {
    ask(&LOOKING, pool, question).await
}

/// Asks what takes a state of the past.
pub(super) async fn fold<T: Send + 'static>(
    pool: &Arc<Pool>,
    question: impl FnOnce(&Ledger) -> Result<T, Failed> + Send + 'static,
) -> Result<T, Problem> {
    ask(&FOLDING, pool, question).await
}

async fn ask<T: Send + 'static>(
    few: &Semaphore,
    pool: &Arc<Pool>,
    question: impl FnOnce(&Ledger) -> Result<T, Failed> + Send + 'static,
) -> Result<T, Problem> {
    let _turn = few.acquire().await;
    let ledger = pool.ledger.clone();
    let asked = tokio::task::spawn_blocking(move || question(&ledger)).await;
    // A panic is a fault of the pool's own, and answered as one.
    Ok(asked.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?)
}

/// The last event that was recorded at a time or before it; 0: none was.
pub(super) fn seq_at(ledger: &Ledger, at: Millis) -> Result<Seq, Failed> {
    Ok(ledger.seq_at(at)?)
}

/// The state after an event.
pub(super) fn state_at(ledger: &Ledger, seq: Seq) -> Result<State, Failed> {
    ledger.state_at(At::Seq(seq))
}

/// Goes on from a state to what it was after a later event.
pub(super) fn go_on(ledger: &Ledger, state: &mut State, seq: Seq) -> Result<(), Failed> {
    while state.seq < seq {
        let events = ledger.events(state.seq, PAGE)?;
        let before = state.seq;
        events.iter().take_while(|recorded| recorded.seq <= seq).for_each(|event| state.apply_past(event));
        if state.seq == before {
            break;
        }
    }
    Ok(())
}

/// A time in a question.
pub(super) fn time(text: &str) -> Result<Millis, Problem> {
    millis_of(text).ok_or_else(|| {
        let shown: String = text.chars().take(64).collect();
        Problem::bad_request(format!("`{shown}` is no time: write it as 2026-11-24T08:00:00Z (RFC 3339)"))
    })
}

/// A moment in a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// After this event.
    Seq(Seq),
    /// At this time.
    Time(Millis),
    /// As it is.
    Now,
}

impl Moment {
    pub(super) fn read(text: Option<&str>) -> Result<Self, Problem> {
        let Some(text) = text.filter(|text| *text != "now") else { return Ok(Self::Now) };
        match text.parse() {
            Ok(seq) => Ok(Self::Seq(seq)),
            Err(_) => time(text).map(Self::Time),
        }
    }

    /// The last event that had happened by then.
    pub(super) fn seq(self, ledger: &Ledger) -> Result<Seq, Failed> {
        let head = *ledger.head().borrow();
        match self {
            // It would be taken for what was asked for.
            Self::Seq(seq) if seq > head => Err(PastError::NotYet { seq, last: head }),
            Self::Seq(seq) => Ok(seq),
            Self::Time(at) => seq_at(ledger, at),
            Self::Now => Ok(head),
        }
    }

    /// The time that gates are held against: the one that was asked for, or that of the state's last event, or `now`.
    pub(super) fn millis(self, state: &State, now: Millis) -> Millis {
        match self {
            Self::Time(at) => at,
            Self::Now => now,
            Self::Seq(_) => state.at,
        }
    }
}
