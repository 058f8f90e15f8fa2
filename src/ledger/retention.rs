//! Retention: traffic older than LOG_RETENTION_DAYS leaves the log, by whole days.
//!
//! Owns the order in which that happens, so that a crash at any moment loses nothing that was to stay:
//! first the state where the trim ends is kept as a *base* checkpoint, then the log says in an event what is
//! dropped and what vouches for the rest, durably, and only then the segments go. What was said and not done
//! is done at the next start. It refuses to trim a log that does not hold together up to there: what is dropped
//! cannot be proven any more. It refuses, too, to believe a clock by its word alone: one that is years ahead would
//! drop everything ([`Ledger::trim`]). Its invariant: **every hole in the log lies before a `LogTrimmed`'s `through`.**

use std::time::Duration;

use projections::{Class, Digest, Millis, Seq, event::LogTrimmed, trims::Trim};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    CommitError, Ledger, OpenError,
    checkpoint::{self, Kind, Packed},
    clock::{Clock, rfc3339},
    replay::PAGE,
    trims,
    writer::day_of,
};
use crate::journal::{
    self, Journal, Segment, SegmentSpan,
    codec::{self, Damage},
};

/// A day is over once a day; a setting that changed should not wait for it.
const LOOK: Duration = Duration::from_secs(600);
/// A time is believed once so much before it was lived through.
const LIVED: Duration = Duration::from_secs(24 * 3_600);
/// A clock that goes on by so much more than time does was set.
const SET: Duration = Duration::from_secs(3_600);

/// Why old traffic was not dropped. None of it is, unless it says so.
#[derive(Debug, thiserror::Error)]
pub enum TrimError {
    /// The log cannot be read, or does not hold together.
    #[error("the log up to there cannot be proven, so nothing of it is dropped")]
    Log(#[from] OpenError),
    /// Nobody but the clock says how late it is.
    #[error(
        "by this machine's clock it is {}, and neither the log nor this process knows of the day before: if the clock is \
         wrong, set it right; if it is right, old traffic is dropped once the service has run for a day", rfc3339(*now)
    )]
    ClockAlone {
        /// What the clock says.
        now: Millis,
    },
    /// The state cannot be kept.
    #[error("the state where the trim would end cannot be kept")]
    Base(#[source] serde_json::Error),
    /// The log takes no events.
    #[error("the trim cannot be recorded")]
    Record(#[from] CommitError),
    /// It was recorded, and is done at the next start.
    #[error("it was recorded, but the disk was not given back yet; the next start will do it")]
    Drop(#[source] journal::Error),
    /// The thread that worked on it died.
    #[error("the work on it broke off")]
    Died,
}

impl From<journal::Error> for TrimError {
    fn from(error: journal::Error) -> Self {
        Self::Log(error.into())
    }
}

/// What a trim will do.
struct Plan {
    event: LogTrimmed,
    through: Segment,
}

impl Ledger {
    /// Drops traffic that is older than so many full days, today not counted; 0 keeps all.
    /// Tells what was dropped, if anything was; nothing is, where the service stops before it is sure.
    ///
    /// What is dropped is gone, and a clock may be wrong. So the day before `now` must have been lived through: the
    /// log has an event that was recorded between two days before and one, or the caller `watched` a day pass.
    ///
    /// # Errors
    /// [`TrimError`].
    pub async fn trim(
        &self,
        days: u32,
        now: Millis,
        watched: bool,
        stop: &CancellationToken,
    ) -> Result<Option<LogTrimmed>, TrimError> {
        if days == 0 {
            return Ok(None);
        }
        let before = day_of(now).saturating_sub(days.into());
        let (journal, trim) = (self.shared.journal.clone(), self.state().trims.last.clone());
        let (last, stop) = (self.state().seq, stop.clone());
        let ledger = self.clone();
        let planned = blocking(move || {
            let old = old(journal.as_ref(), before, last);
            if !(old.is_empty() || watched || ledger.lived_through(now)?) {
                return Err(TrimError::ClockAlone { now });
            }
            plan(journal.as_ref(), trim.as_ref(), &old, &stop)
        });
        let planned = planned.await?;
        let Some(Plan { event, through }) = planned else { return Ok(None) };
        self.note(event.clone()).await?;
        let journal = self.shared.journal.clone();
        let (seq, dropping) = (event.through, move |seq| {
            journal.drop_segments(through)?;
            forget_before(journal.as_ref(), seq)
        });
        blocking(move || dropping(seq).map_err(TrimError::Drop)).await?;
        Ok(Some(event))
    }

    /// Whether the log knows of the day before.
    fn lived_through(&self, now: Millis) -> Result<bool, OpenError> {
        let day = Millis::try_from(LIVED.as_millis()).unwrap_or(Millis::MAX);
        let yesterday = now.saturating_sub(day);
        Ok(self.seq_at(yesterday)? > self.seq_at(yesterday.saturating_sub(day))?)
    }
}

/// Segments that are over and old; the log's last entry stays, whatever its age.
fn old(journal: &dyn Journal, before: Segment, last: Seq) -> Vec<SegmentSpan> {
    journal.segments().into_iter().filter(|span| span.number < before && span.last < last).collect()
}

/// A clock, held against the time that really passes.
struct Watch {
    /// Since when it goes as time does.
    since: Instant,
    /// When it was looked at last, and what it said.
    last: (Instant, Millis),
}

impl Watch {
    fn new(at: Instant, now: Millis) -> Self {
        Self { since: at, last: (at, now) }
    }

    /// Whether by `at`, where the clock says `now`, it has gone on for a day without having been set.
    fn saw_a_day(&mut self, at: Instant, now: Millis) -> bool {
        let (before, said) = std::mem::replace(&mut self.last, (at, now));
        let went_on = Duration::from_millis(u64::try_from(now.saturating_sub(said)).unwrap_or(0));
        if went_on > at.duration_since(before) + SET {
            self.since = at;
        }
        at.duration_since(self.since) >= LIVED
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, TrimError> + Send + 'static,
) -> Result<T, TrimError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(TrimError::Died))
}

/// Proves the log up to where the trim ends, and keeps the state there.
fn plan(
    journal: &dyn Journal,
    trim: Option<&Trim>,
    old: &[SegmentSpan],
    stop: &CancellationToken,
) -> Result<Option<Plan>, TrimError> {
    let Some(newest) = old.last() else { return Ok(None) };
    let (through, number) = (newest.last, newest.number);
    let begin = trims::begin(journal, trim)?;
    let (after, mut state, mut hash) = (begin.state.seq, begin.state, begin.hash);
    let (mut dropped, mut kept, mut digest) = (0, 0, blake3::Hasher::new());
    while state.seq < through {
        if stop.is_cancelled() {
            return Ok(None);
        }
        let limit = usize::try_from(through - state.seq).unwrap_or(PAGE).min(PAGE);
        let entries = journal.read(state.seq, limit)?;
        for entry in &entries {
            let seq = state.seq + 1;
            let damaged = |damage| OpenError::Damaged { seq, damage };
            if entry.seq != seq {
                return Err(damaged(Damage::Missing).into());
            }
            let (recorded, next) = codec::decode(seq, &entry.frame, Some(&hash)).map_err(damaged)?;
            hash = next;
            let goes = recorded.event.class() == Class::Traffic
                && old.iter().any(|span| (span.first..=span.last).contains(&seq));
            if goes {
                dropped += 1;
            } else {
                kept += 1;
                digest.update(&entry.frame);
            }
            state.apply(&recorded);
        }
        if entries.is_empty() {
            return Err(OpenError::Damaged { seq: state.seq + 1, damage: Damage::Missing }.into());
        }
    }
    // In the write-ahead log it lies before the event that will name it, so it is on the disk when that is.
    Packed::base(&state, hash).map_err(TrimError::Base)?.write(journal, Kind::Base)?;
    let digest = Digest(*digest.finalize().as_bytes());
    let event = LogTrimmed { after, through, at: state.at, hash: hash.digest(), dropped, kept, digest };
    Ok(Some(Plan { event, through: number }))
}

/// Trims now and then from now on, as far as the settings say at that moment, until the service stops.
pub async fn run(ledger: Ledger, days: impl Fn() -> u32, clock: Clock, stop: CancellationToken) {
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut watch, mut warned) = (Watch::new(Instant::now(), clock.now()), false);
    loop {
        tokio::select! {
            _ = look.tick() => {}
            () = stop.cancelled() => return,
        }
        let now = clock.now();
        let trimmed = ledger.trim(days(), now, watch.saw_a_day(Instant::now(), now), &stop).await;
        let waits = matches!(trimmed, Err(TrimError::ClockAlone { .. }));
        match trimmed {
            Ok(None) => {}
            Err(error @ TrimError::ClockAlone { .. }) => {
                // Once is enough: it waits for a day.
                if !warned {
                    tracing::warn!(%error, "old traffic stays in the log for now");
                }
            }
            Ok(Some(LogTrimmed { through, dropped, .. })) => {
                tracing::info!(
                    through,
                    dropped,
                    "old traffic was dropped from the log, as LOG_RETENTION_DAYS says"
                );
            }
            Err(error) => {
                let cause = std::error::Error::source(&error).map(tracing::field::display);
                tracing::error!(%error, cause, "old traffic was not dropped from the log");
            }
        }
        warned = waits;
    }
}

/// Drops what the last trim said and did not come to do.
pub(super) fn finish(journal: &dyn Journal, trim: &Trim) -> Result<(), journal::Error> {
    let said = journal.segments().into_iter().rfind(|span| span.last <= trim.through);
    if let Some(span) = said {
        tracing::info!(through = trim.through, "dropping the traffic that the last trim had left");
        journal.drop_segments(span.number)?;
        forget_before(journal, trim.through)?;
    }
    Ok(())
}

/// Checkpoints from before a trim begin nothing any more.
fn forget_before(journal: &dyn Journal, through: Seq) -> Result<(), journal::Error> {
    for kind in [Kind::Base, Kind::Past, Kind::Full] {
        let old = checkpoint::places(journal, kind, through.saturating_sub(1))?;
        checkpoint::forget(journal, kind, &old)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_seen_only_while_the_clock_goes_as_time_does() {
        let (mut at, mut now) = (Instant::now(), 1_000);
        let mut watch = Watch::new(at, now);
        let mut pass = |real: Duration, told: Duration| {
            at += real;
            now += Millis::try_from(told.as_millis()).unwrap();
            watch.saw_a_day(at, now)
        };
        let hours = |hours: u64| Duration::from_secs(hours * 3_600);
        assert!(!pass(hours(23), hours(23)));
        assert!(pass(hours(1), hours(1)));
        assert!(!pass(hours(1), hours(24 * 3_650)), "it was set ten years ahead");
        assert!(!pass(hours(23), hours(23)));
        assert!(pass(hours(1), hours(1) + Duration::from_secs(60)), "a minute is nothing");
    }
}
