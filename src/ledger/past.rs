//! The log, looked up: one event, backwards, and as it was at a time.
//!
//! Owns the questions about what has been. Refuses to write and to decide. Its invariant: what it
//! gives is in the log and was folded.

use projections::{Millis, Recorded, Seq, State};

use super::{Ledger, OpenError, replay::PAGE};

impl Ledger {
    /// Up to `limit` events before a position, the newest first.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn events_back(&self, before: Seq, limit: usize) -> Result<Vec<Recorded>, OpenError> {
        let last = before.saturating_sub(1).min(*self.head().borrow());
        let after = last.saturating_sub(limit as Seq);
        let mut events = self.events(after, usize::try_from(last - after).unwrap_or(limit))?;
        events.reverse();
        Ok(events)
    }

    /// One event.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn event(&self, seq: Seq) -> Result<Option<Recorded>, OpenError> {
        let Some(after) = seq.checked_sub(1) else { return Ok(None) };
        Ok(self.events(after, 1)?.pop().filter(|recorded| recorded.seq == seq))
    }

    /// The last event that was recorded at a time or before it; 0: none was.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn seq_at(&self, at: Millis) -> Result<Seq, OpenError> {
        // Time never goes back in the log, so what was recorded by then is its beginning.
        let (mut known, mut beyond) = (0, *self.head().borrow() + 1);
        while known + 1 < beyond {
            let middle = known + (beyond - known) / 2;
            match self.event(middle)? {
                Some(recorded) if recorded.at <= at => known = middle,
                _ => beyond = middle,
            }
        }
        Ok(known)
    }

    /// The state as it was after an event; 0: before the first.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn state_at(&self, seq: Seq) -> Result<State, OpenError> {
        {
            // Without a log the live state goes on from memory, and is not what was written.
            let live = self.state();
            if live.seq == seq && self.failure().is_none() {
                return Ok(live.clone());
            }
        }
        let mut state = State::default();
        loop {
            let events = self.events(state.seq, PAGE)?;
            let before = state.seq;
            events.iter().take_while(|recorded| recorded.seq <= seq).for_each(|event| state.apply(event));
            if state.seq == before {
                return Ok(state);
            }
        }
    }
}
