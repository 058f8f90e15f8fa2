//! Trims as the log tells them: where traffic was dropped, and what vouches for the rest.
//!
//! Owns the reading of `LogTrimmed` without a state to ask, at start-up and for the audit. Each names the
//! one before it by where it began, so together they are a chain back to the log's beginning.

use projections::{Event, Seq, State, event::LogTrimmed, trims::Trim};

use super::{
    OpenError,
    checkpoint::{self, Checkpoint, Kind},
    replay::PAGE,
};
use crate::journal::{
    Entry, Journal,
    codec::{self, ChainHash},
};

/// The number of `LogTrimmed` in frames.
fn kind() -> Option<u16> {
    projections::event::TYPES.iter().find(|(_, _, name, _)| *name == "LogTrimmed").map(|(kind, ..)| *kind)
}

fn trim_in(entry: &Entry, kind: Option<u16>) -> Option<LogTrimmed> {
    let told = codec::peek(&entry.frame).map(|said| said.kind);
    if told.is_none() || told != kind {
        return None;
    }
    match codec::decode(entry.seq, &entry.frame, None) {
        Ok((recorded, _)) => match recorded.event {
            Event::LogTrimmed(trim) => Some(trim),
            _ => None,
        },
        Err(_) => None,
    }
}

/// Every trim of the log's chain of them, the newest first, with its place.
pub(super) fn all(journal: &dyn Journal) -> Result<Vec<(Seq, LogTrimmed)>, OpenError> {
    let (mut found, kind) = (Vec::<(Seq, LogTrimmed)>::new(), kind());
    back(journal, &mut |entry| {
        let Some(trim) = trim_in(entry, kind) else { return true };
        let follows = found.last().is_none_or(|(_, later)| later.after == trim.through);
        let first = trim.after == 0;
        if follows {
            found.push((entry.seq, trim));
        }
        !(follows && first)
    })?;
    Ok(found)
}

/// The newest trim, as a state would know it.
pub(super) fn newest(journal: &dyn Journal) -> Result<Option<Trim>, OpenError> {
    let (mut found, kind) = (None, kind());
    back(journal, &mut |entry| {
        found = trim_in(entry, kind).map(|trim| (entry.seq, trim));
        found.is_none()
    })?;
    Ok(found.map(|(noted, LogTrimmed { through, at, hash, .. })| Trim { through, at, hash, noted }))
}

/// Goes back through the log as long as it is told to.
fn back(journal: &dyn Journal, goes_on: &mut dyn FnMut(&Entry) -> bool) -> Result<(), OpenError> {
    let mut before = Seq::MAX;
    loop {
        let entries = journal.read_back(before, PAGE)?;
        let Some(last) = entries.last() else { return Ok(()) };
        before = last.seq;
        if !entries.iter().all(&mut *goes_on) {
            return Ok(());
        }
    }
}

/// Where a fold of the whole log begins: with nothing, or with what the last trim left.
pub(super) fn begin(journal: &dyn Journal, trim: Option<&Trim>) -> Result<Checkpoint, OpenError> {
    let Some(trim) = trim else {
        return Ok(Checkpoint { state: State::default(), hash: ChainHash::START });
    };
    let base = checkpoint::read(journal, Kind::Base, trim.through)?;
    if let Some(base) = base.filter(|base| base.hash.digest() == trim.hash) {
        return Ok(base);
    }
    tracing::error!(
        through = trim.through,
        "the checkpoint that was made when old traffic was dropped is gone: what the pool had counted up to there is \
         lost, and what it had learned is what the remaining events say"
    );
    let mut state = State::default();
    each_kept(journal, 0, trim.through, &mut |seq, frame| {
        let decoded = codec::decode(seq, frame, None);
        state.apply(&decoded.map_err(|damage| OpenError::Damaged { seq, damage })?.0);
        Ok(())
    })?;
    (state.seq, state.at) = (trim.through, trim.at);
    Ok(Checkpoint { state, hash: trim.hash.into() })
}

/// Every record after `after`, up to `through`, that is still there.
pub(super) fn each_kept(
    journal: &dyn Journal,
    mut after: Seq,
    through: Seq,
    visit: &mut dyn FnMut(Seq, &[u8]) -> Result<(), OpenError>,
) -> Result<(), OpenError> {
    loop {
        let entries = journal.read(after, PAGE)?;
        let Some(last) = entries.last() else { return Ok(()) };
        after = last.seq;
        for entry in entries.iter().take_while(|entry| entry.seq <= through) {
            visit(entry.seq, &entry.frame)?;
        }
        if after >= through {
            return Ok(());
        }
    }
}
