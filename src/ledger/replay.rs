//! Start-up: from the journal to the state, and what to do about damage.

use projections::{Seq, State};

use super::OpenError;
use crate::journal::{
    Journal,
    codec::{self, ChainHash},
};

/// Entries read at once.
pub(super) const PAGE: usize = 4_096;

/// Folds the whole journal; cuts a torn end.
pub(super) fn replay(journal: &dyn Journal) -> Result<(State, ChainHash), OpenError> {
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
