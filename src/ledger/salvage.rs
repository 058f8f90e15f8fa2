//! Salvage: of a log that is damaged, everything that its chain of hashes proves.
//!
//! Owns what is proven. A run of records that follow each other by place and by hash is proven behind the log's beginning,
//! behind the end of the last trim, whose event names the hash there, or behind a checkpoint, whose record names it. The
//! beginning that reaches furthest is taken; whole records before it are kept too, and a `LogTrimmed` of its own vouches
//! for what is missing between them. It refuses to guess: what is whole, and nothing proves that none is missing before
//! it, is told and left out. Its invariant: **what it makes is a log that opens, and that an audit finds whole**.

use projections::{Class, Digest, Event, Millis, Seq, State, event::LogTrimmed, trims::Trim};

use super::{
    OpenError, audit,
    checkpoint::{self, Checkpoint, Kind, Packed},
    replay::PAGE,
    segment_of_frame, trims,
};
use crate::journal::{
    Batch, Frame, Journal, Numbered, SecretChange,
    codec::{self, ChainHash, Damage},
};

/// Ranges that are told.
const MOST_TOLD: usize = 100;

/// What became of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Events that were kept.
    pub kept: u64,
    /// The last of them, and when it was recorded.
    pub last: (Seq, Millis),
    /// Places up to there whose events are lost, and of which nothing said that they were dropped.
    pub lost: Vec<(Seq, Seq)>,
    /// How many those are.
    pub lost_events: u64,
    /// Events beyond, whole, that nothing proves.
    pub unproven: Vec<(Seq, Seq)>,
    /// Where the pool's state was taken from a checkpoint, because events before it are lost.
    pub checkpoint: Option<Seq>,
}

/// Records that follow each other.
#[derive(Clone, Copy, Debug)]
struct Run {
    first: Seq,
    last: Seq,
    /// It is chained to the log's beginning.
    from_the_start: bool,
}

/// What there is.
#[derive(Default)]
struct Found {
    runs: Vec<Run>,
    trim: Option<Trim>,
}

/// Where the state comes from, and how far the records behind it reach.
struct Begin {
    end: Seq,
    place: Seq,
    from: Origin,
}

enum Origin {
    Start,
    Trim(Trim),
    Checkpoint(Box<Checkpoint>),
}

/// Looks at every record that can be read.
fn find(source: &dyn Journal, seen: &mut dyn FnMut(Seq)) -> Result<Found, OpenError> {
    let (mut found, mut after) = (Found::default(), 0);
    let mut previous = Some((0, ChainHash::START));
    loop {
        let entries = source.read(after, PAGE)?;
        let Some(last) = entries.last() else { return Ok(found) };
        after = last.seq;
        for entry in entries {
            let seq = entry.seq;
            let link = previous.filter(|(before, _)| before + 1 == seq).map(|(_, hash)| hash);
            let decoded = codec::decode(seq, &entry.frame, link.as_ref());
            let (recorded, hash) = match decoded {
                Ok(decoded) => decoded,
                Err(damage @ Damage::Format(_)) => return Err(OpenError::Damaged { seq, damage }),
                // Whole, but not the successor of the one before: a log may begin behind it, not with it.
                Err(Damage::Chain) => {
                    previous = ChainHash::of(&entry.frame).map(|hash| (seq, hash));
                    continue;
                }
                Err(_) => {
                    previous = None;
                    continue;
                }
            };
            let goes_on = found.runs.last_mut().filter(|run| link.is_some() && run.last + 1 == seq);
            match goes_on {
                Some(run) => run.last = seq,
                None => found.runs.push(Run { first: seq, last: seq, from_the_start: seq == 1 }),
            }
            if let Event::LogTrimmed(LogTrimmed { through, at, hash, .. }) = recorded.event {
                found.trim = Some(Trim { through, at, hash, noted: seq });
            }
            previous = Some((seq, hash));
        }
        seen(after);
    }
}

impl Found {
    /// The last record of the run that goes on behind a place.
    fn reach(&self, place: Seq) -> Option<Seq> {
        self.runs.iter().find(|run| run.first <= place + 1 && place <= run.last).map(|run| run.last)
    }

    fn holds(&self, seq: Seq) -> bool {
        self.runs.iter().any(|run| (run.first..=run.last).contains(&seq))
    }

    /// The beginning that reaches furthest; of those that reach as far, the one that needs the least belief.
    fn begin(&self, source: &dyn Journal) -> Result<Begin, OpenError> {
        let from_the_start = self.runs.first().filter(|run| run.from_the_start);
        let end = from_the_start.map_or(0, |run| run.last);
        let mut best = Begin { end, place: 0, from: Origin::Start };
        if let Some(trim) = &self.trim {
            let hash: ChainHash = trim.hash.into();
            let there = source.record(trim.through)?.and_then(|frame| ChainHash::of(&frame));
            let next = source.record(trim.through + 1)?;
            let is_linked = there == Some(hash)
                || next.is_some_and(|frame| codec::decode(trim.through + 1, &frame, Some(&hash)).is_ok());
            let end = self.reach(trim.through).filter(|end| is_linked && *end > best.end);
            if let Some(end) = end {
                best = Begin { end, place: trim.through, from: Origin::Trim(trim.clone()) };
            }
        }
        for kind in [Kind::Full, Kind::Past] {
            for place in checkpoint::places(source, kind, Seq::MAX)? {
                let Some(end) = self.reach(place).filter(|end| *end > best.end) else { continue };
                if let Some(checkpoint) = checkpoint::read_good(source, kind, place)? {
                    best = Begin { end, place, from: Origin::Checkpoint(Box::new(checkpoint)) };
                }
            }
        }
        Ok(best)
    }
}

/// Writes what is proven of one log into another, which is empty.
///
/// # Errors
/// [`OpenError`]: the new one cannot be written, or a newer program wrote the old one.
pub fn salvage(
    source: &dyn Journal,
    into: &dyn Journal,
    seen: &mut dyn FnMut(Seq),
) -> Result<Report, OpenError> {
    let found = find(source, seen)?;
    let Begin { end, place, from } = found.begin(source)?;
    let mut report = Report::default();
    copy(source, into, &found, (place, end), &from, &mut report)?;
    let secrets: Vec<_> = source
        .secrets()?
        .into_iter()
        .map(|(name, sealed)| SecretChange { name, sealed: Some(sealed) })
        .collect();
    into.adopt(&[], &secrets)?;
    into.sync()?;
    match from {
        Origin::Start => {}
        Origin::Trim(trim) => {
            if let Some(base) = Packed::read(source, Kind::Base, place)? {
                base.write(into, Kind::Base)?;
            }
            // Where what the trims had left is not all there any more, a new one says what is.
            if !audit::verify(into, end, &mut |_| true).0.findings.is_empty() {
                vouch(into, &trims::begin(into, Some(&trim))?)?;
            }
        }
        Origin::Checkpoint(checkpoint) => {
            report.checkpoint = Some(place);
            vouch(into, &checkpoint)?;
        }
    }
    let beyond = found.runs.iter().filter(|run| run.last > end);
    report.unproven = beyond.map(|run| (run.first.max(end + 1), run.last)).take(MOST_TOLD).collect();
    Ok(report)
}

/// Copies what is whole up to the end.
fn copy(
    source: &dyn Journal,
    into: &dyn Journal,
    found: &Found,
    (place, end): (Seq, Seq),
    from: &Origin,
    report: &mut Report,
) -> Result<(), OpenError> {
    // Before that, what is missing may have been dropped as the settings say.
    let dropped = match (from, &found.trim) {
        (Origin::Start, _) | (_, None) => 0,
        (_, Some(trim)) => trim.through.min(end),
    };
    let (mut after, mut expected) = (0, dropped + 1);
    while after < end {
        let limit = usize::try_from(end - after).unwrap_or(PAGE).min(PAGE);
        let entries = source.read(after, limit)?;
        let Some(last) = entries.last() else { break };
        after = last.seq;
        let mut page = Vec::<Numbered>::new();
        for entry in entries.into_iter().filter(|entry| entry.seq <= end && found.holds(entry.seq)) {
            let seq = entry.seq;
            let told = codec::peek(&entry.frame);
            // Its trim was recorded, and not done to its end.
            if seq <= dropped && told.is_some_and(|told| told.class == Class::Traffic) {
                continue;
            }
            if seq > expected {
                report.lost_events += seq - expected;
                if report.lost.len() < MOST_TOLD {
                    report.lost.push((expected, seq - 1));
                }
            }
            expected = expected.max(seq + 1);
            report.kept += 1;
            report.last = (seq, told.map_or(0, |told| told.at));
            // What a trim vouches for stays: a segment up to there would go with it.
            let segment = segment_of_frame(&entry.frame).filter(|_| seq > place);
            page.push((seq, Frame { segment, bytes: entry.frame }));
        }
        into.adopt(&page, &[])?;
    }
    Ok(())
}

/// Has an event say what there is up to a checkpoint, and keeps the checkpoint: what is missing before it is missed no
/// more.
fn vouch(into: &dyn Journal, at: &Checkpoint) -> Result<(), OpenError> {
    let State { seq: through, at: when, .. } = at.state;
    let (mut kept, mut digest) = (0, blake3::Hasher::new());
    trims::each_kept(into, 0, through, &mut |_, frame| {
        kept += 1;
        digest.update(frame);
        Ok(())
    })?;
    let last = into.read_back(Seq::MAX, 1)?.pop();
    let hash = last.as_ref().and_then(|entry| ChainHash::of(&entry.frame)).unwrap_or(at.hash);
    let now =
        last.as_ref().and_then(|entry| codec::peek(&entry.frame)).map_or(when, |told| told.at.max(when));
    let base = Packed::base(&at.state, at.hash).map_err(|error| crate::journal::Error::Store {
        what: "keep a checkpoint of",
        path: std::path::PathBuf::new(),
        source: error.into(),
    })?;
    base.write(into, Kind::Base)?;
    let event = LogTrimmed {
        after: 0,
        through,
        at: when,
        hash: at.hash.digest(),
        dropped: through.saturating_sub(kept),
        kept,
        digest: Digest(*digest.finalize().as_bytes()),
    };
    let (after, event) = (into.last(), Event::from(event));
    let (bytes, _) = codec::encode(after + 1, now, &event, &hash).map_err(crate::journal::Error::from)?;
    into.append(Batch { after, frames: &[bytes.into()], secrets: &[] })?;
    Ok(into.sync()?)
}

#[cfg(test)]
mod tests;
