//! Looking back: the log's events, page by page, and the pool as it was.
//!
//! Owns every way to read the log beside the live state. Nothing here waits for the writer, and nothing
//! is shown that the live state does not hold yet. All of it reads the disk: call it where blocking is allowed.

use std::sync::Arc;

use projections::{Millis, Recorded, Seq, State};

use super::{
    CommitError, Ledger, OpenError, Shared, audit,
    checkpoint::{self, Kind},
    clock::rfc3339,
    replay::PAGE,
    rules::Decision,
    trims,
};
use crate::journal::{
    self, Entry,
    codec::{self, Damage},
};

/// A place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Behind this event.
    Seq(Seq),
    /// Behind the last event that was recorded at this time or before it.
    Time(Millis),
}

/// Why a look at the past fails.
#[derive(Debug, thiserror::Error)]
pub enum PastError {
    /// It was dropped.
    #[error(
        "old traffic was dropped from the log (LOG_RETENTION_DAYS), so the pool as it was is known from \
         event {earliest} on, recorded at {}", rfc3339(*at)
    )]
    Dropped {
        /// The earliest place that is known.
        earliest: Seq,
        /// When that event was recorded.
        at: Millis,
    },
    /// It did not happen yet.
    #[error("the log ends at event {last}; there is no event {seq} yet")]
    NotYet {
        /// The place.
        seq: Seq,
        /// The last there is.
        last: Seq,
    },
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] OpenError),
}

impl From<journal::Error> for PastError {
    fn from(error: journal::Error) -> Self {
        Self::Log(error.into())
    }
}

pub(super) fn decoded(entry: &Entry) -> Result<Recorded, OpenError> {
    let seq = entry.seq;
    let decoded = codec::decode(seq, &entry.frame, None);
    decoded.map(|(recorded, _)| recorded).map_err(|damage| OpenError::Damaged { seq, damage })
}

impl Shared {
    pub(super) fn events(&self, after: Seq, limit: usize) -> Result<Vec<Recorded>, OpenError> {
        let head = *self.head.borrow();
        let entries = self.journal.read(after, limit)?;
        entries.iter().take_while(|entry| entry.seq <= head).map(decoded).collect()
    }
}

impl Ledger {
    /// The events after a position, decoded. Those of dropped traffic are passed over.
    ///
    /// # Errors
    /// [`OpenError`]: the journal does not answer, or a record is bad.
    pub fn events(&self, after: Seq, limit: usize) -> Result<Vec<Recorded>, OpenError> {
        self.shared.events(after, limit)
    }

    /// The events before a position, the newest first.
    ///
    /// # Errors
    /// [`OpenError`]: the journal does not answer, or a record is bad.
    pub fn events_back(&self, before: Seq, limit: usize) -> Result<Vec<Recorded>, OpenError> {
        let head = *self.shared.head.borrow();
        let entries = self.shared.journal.read_back(before.min(head.saturating_add(1)), limit)?;
        entries.iter().map(decoded).collect()
    }

    /// One event; none, where it was dropped or did not happen yet.
    ///
    /// # Errors
    /// [`OpenError`]: the journal does not answer, or the record is bad.
    pub fn event(&self, seq: Seq) -> Result<Option<Recorded>, OpenError> {
        let Some(after) = seq.checked_sub(1) else { return Ok(None) };
        Ok(self.events(after, 1)?.into_iter().find(|recorded| recorded.seq == seq))
    }

    /// The pool as it was, without statistics (usage and recent requests are empty).
    ///
    /// # Errors
    /// [`PastError`].
    pub fn state_at(&self, at: At) -> Result<State, PastError> {
        let seq = match at {
            At::Seq(seq) => seq,
            At::Time(time) => self.seq_at(time)?,
        };
        let (journal, last) = (self.shared.journal.as_ref(), *self.shared.head.borrow());
        if seq > last {
            return Err(PastError::NotYet { seq, last });
        }
        let trim = self.shared.state.read().trims.last.clone();
        if let Some(trim) = trim.as_ref().filter(|trim| seq < trim.through) {
            return Err(PastError::Dropped { earliest: trim.through, at: trim.at });
        }
        let mut state = match self.nearest(trim.as_ref().map_or(0, |trim| trim.through), seq)? {
            Some(state) => state,
            None => trims::begin(journal, trim.as_ref())?.state,
        };
        state.forget_statistics();
        while state.seq < seq {
            let left = usize::try_from(seq - state.seq).unwrap_or(PAGE).min(PAGE);
            let entries = journal.read(state.seq, left)?;
            if entries.is_empty() {
                return Err(OpenError::Damaged { seq: state.seq + 1, damage: Damage::Missing }.into());
            }
            for entry in entries {
                if entry.seq != state.seq + 1 {
                    return Err(OpenError::Damaged { seq: state.seq + 1, damage: Damage::Missing }.into());
                }
                state.apply_past(&decoded(&entry)?);
            }
        }
        Ok(state)
    }

    /// An audit of everything up to now. It keeps the journal open and not the ledger, so that it may run in a
    /// thread of its own while the service stops.
    pub fn audit(&self) -> (Seq, impl FnOnce(audit::Progress<'_>) -> audit::Report + Send + use<>) {
        let (journal, through) = (self.shared.journal.clone(), *self.shared.head.borrow());
        (through, move |progress: audit::Progress<'_>| audit::verify(journal.as_ref(), through, progress).0)
    }

    /// Looks at the names of the sealed secrets together with the state that they belong to.
    ///
    /// # Errors
    /// [`CommitError`]: the writer is not there, or the log failed.
    pub async fn with_secret_names<R: Send + 'static>(
        &self,
        look: impl FnOnce(&State, &[String]) -> R + Send + 'static,
    ) -> Result<R, CommitError> {
        let shared = Arc::clone(&self.shared);
        let looked = self.commit(move |state| {
            // A journal that failed may just be opened anew, and this thread waits for no disk.
            let secrets = match shared.failure() {
                Some(error) => Err(error),
                None => shared.journal.secrets().map_err(Arc::new),
            };
            // Between two appends: neither is ahead of the other.
            let names = secrets.map(|all| all.into_iter().map(|(name, _)| name).collect::<Vec<_>>());
            let answer = names.map(|names| look(state, &names));
            Ok(Decision { events: Vec::new(), secrets: Vec::new(), answer })
        });
        looked.await?.map_err(CommitError::Log)
    }

    /// The nearest checkpoint that holds, not before `earliest` and not behind `seq`.
    fn nearest(&self, earliest: Seq, seq: Seq) -> Result<Option<State>, journal::Error> {
        let (journal, mut through) = (self.shared.journal.as_ref(), seq);
        while let Some(place) = checkpoint::place_before(journal, Kind::Past, through)? {
            if place < earliest || place == 0 {
                break;
            }
            if let Some(good) = checkpoint::read_good(journal, Kind::Past, place)? {
                return Ok(Some(good.state));
            }
            through = place - 1;
        }
        Ok(None)
    }
}
