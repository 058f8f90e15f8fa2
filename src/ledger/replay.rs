//! Start-up: from the journal to the state, and what to do about damage.
//!
//! Begins at the newest checkpoint that holds, and folds what came after it. Without one it folds everything;
//! where traffic was dropped, everything behind the last trim, on the base that the trim left. It refuses to
//! begin on anything that the log does not bear out, and to mend anything but a torn end.

use projections::{Seq, State};

use super::{
    OpenError,
    checkpoint::{self, Checkpoint, Kind, Packed},
    trims,
    unknown::Met,
};
use crate::journal::{
    Journal,
    codec::{self, ChainHash, Damage},
};

/// Entries read at once.
pub(super) const PAGE: usize = 4_096;

/// Folds the journal into the state that it ends with; cuts a torn end.
pub(super) fn replay(journal: &dyn Journal, every: Seq) -> Result<(State, ChainHash, Met), OpenError> {
    let mut met = Met::default();
    let (state, hash) = fold(journal, every, &mut met)?;
    Ok((state, hash, met))
}

fn fold(journal: &dyn Journal, every: Seq, met: &mut Met) -> Result<(State, ChainHash), OpenError> {
    for place in checkpoint::places(journal, Kind::Full, Seq::MAX)? {
        let Some(checkpoint) = checkpoint::read_good(journal, Kind::Full, place)? else {
            tracing::warn!(
                seq = place,
                "a checkpoint is damaged, of another version, or of another log; it is passed over"
            );
            continue;
        };
        *met = Met::default();
        match fold_on(journal, checkpoint, met, &mut |_, _| Ok(())) {
            Err(OpenError::Damaged { damage: Damage::Missing, .. }) => {
                tracing::warn!(
                    seq = place,
                    "the log behind a checkpoint is not whole any more; it is passed over"
                );
            }
            folded => return folded,
        }
    }
    *met = Met::default();
    match fold_all(journal, trims::begin(journal, None)?, every, met) {
        Err(OpenError::Damaged { seq, damage: Damage::Missing }) => {
            let trim = trims::newest(journal)?.filter(|trim| seq <= trim.through);
            let trim = trim.ok_or(OpenError::Damaged { seq, damage: Damage::Missing })?;
            let base = trims::begin(journal, Some(&trim))?;
            *met = Met::default();
            fold_all(journal, base, every, met)
        }
        folded => folded,
    }
}

/// The same as [`fold_on`], and leaves checkpoints for looks at the past on the way: whoever folds everything
/// has none, or none that holds.
fn fold_all(
    journal: &dyn Journal,
    from: Checkpoint,
    every: Seq,
    met: &mut Met,
) -> Result<(State, ChainHash), OpenError> {
    let mut next = from.state.seq.saturating_add(every);
    fold_on(journal, from, met, &mut |state, hash| {
        if state.seq >= next {
            next = state.seq.saturating_add(every);
            let mut past = state.clone();
            past.forget_statistics();
            // Without it, looks at the past take longer; that is no reason not to start.
            let packed = Packed::new(&past, *hash).map_err(crate::journal::Error::from);
            if let Err(error) = packed.and_then(|packed| packed.write(journal, Kind::Past)) {
                tracing::warn!(%error, seq = state.seq, "a checkpoint was not written");
            }
        }
        Ok(())
    })
}

/// Folds everything behind a checkpoint, in which nothing may be missing.
pub(super) fn fold_on(
    journal: &dyn Journal,
    from: Checkpoint,
    met: &mut Met,
    after_page: &mut dyn FnMut(&State, &ChainHash) -> Result<(), OpenError>,
) -> Result<(State, ChainHash), OpenError> {
    let Checkpoint { mut state, mut hash } = from;
    loop {
        let entries = journal.read(state.seq, PAGE)?;
        if entries.is_empty() {
            return Ok((state, hash));
        }
        for entry in entries {
            let seq = state.seq + 1;
            if entry.seq != seq {
                return Err(OpenError::Damaged { seq, damage: Damage::Missing });
            }
            match codec::decode(seq, &entry.frame, Some(&hash)) {
                Ok((recorded, next)) => {
                    met.see(&recorded);
                    state.apply(&recorded);
                    hash = next;
                }
                Err(damage)
                    if !damage.is_torn()
                        || seq <= journal.witnessed()
                        || any_whole_after(journal, entry.seq)? =>
                {
                    return Err(OpenError::Damaged { seq, damage });
                }
                Err(damage) => {
                    tracing::warn!(seq, %damage, last = journal.last(), "the log's end is torn and was cut off");
                    journal.cut(state.seq)?;
                    return Ok((state, hash));
                }
            }
        }
        after_page(&state, &hash)?;
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
