//! One request's story, found in the log.
//!
//! Owns where to look: a request's number begins with the time of its arrival (UUID, version 7), and time
//! never goes back in the log. Its invariant: one call looks at a bounded part of it.

use projections::{
    Event, KeyId, Millis, Recorded, RequestId, Seq,
    event::{Answered, Attempted},
    filter::{Filter, request_of},
};

use super::{Scene, view::StandingView};
use crate::{
    admin::past::{Failed, seq_at},
    ledger::Ledger,
    scheduler::explain::{Ground, Standings},
};

/// Events that one call looks at, at most: about a second of work.
const LOOKED_AT: usize = 300_000;
/// Read at once.
const READ: usize = 2_000;
/// The clock that numbers requests and the one of the log may be this far apart.
const APART: Millis = 2_000;
/// Events looked through for the one that disabled a key.
const LOOKED_BACK: usize = 20_000;

/// See the module.
pub(super) struct Story {
    pub(super) request: RequestId,
    /// Its tries, in order.
    pub(super) attempts: Vec<Attempted>,
    /// Its end: where it is in the log, and when it was recorded.
    pub(super) answered: Option<(Seq, Millis, Answered)>,
    /// Other events that it led to: gates closed, resources known.
    pub(super) led_to: Vec<Seq>,
    pub(super) complete: bool,
}

impl Story {
    /// Reads it; none: it is not there.
    pub(super) fn read(ledger: &Ledger, request: RequestId) -> Result<Option<Self>, Failed> {
        let mut story =
            Self { request, attempts: Vec::new(), answered: None, led_to: Vec::new(), complete: false };
        let arrived = Millis::try_from(request.0 >> 80).unwrap_or_default();
        let mut after = seq_at(ledger, arrived.saturating_sub(APART))?;
        let mut looked_at = 0;
        while looked_at < LOOKED_AT && !story.complete {
            let events = ledger.events(after, READ)?;
            let Some(last) = events.last() else { break };
            (after, looked_at) = (last.seq, looked_at + events.len());
            for Recorded { seq, at, event } in events {
                if request_of(&event) != Some(request) {
                    continue;
                }
                match event {
                    Event::Attempted(attempted) => story.attempts.push(attempted),
                    Event::Answered(answered) => {
                        story.answered = Some((seq, at, answered));
                        story.complete = true;
                    }
                    _ => story.led_to.push(seq),
                }
            }
        }
        let found = story.complete || !story.attempts.is_empty();
        Ok(found.then_some(story))
    }
}

/// How one key stood; with the event that disabled it, where that is not too far back.
pub(super) fn asked(
    ledger: &Ledger,
    found: &Standings<'_>,
    key: KeyId,
    scene: &Scene<'_>,
) -> Result<Option<StandingView>, Failed> {
    let Some(standing) = found.keys.iter().find(|standing| standing.key.id == key) else { return Ok(None) };
    let mut view = StandingView::new(standing, scene);
    if standing.ground == Ground::Disabled {
        let types = vec!["KeyDisabled".to_owned()];
        let disabled = Filter { types, key: Some(key), ..Filter::default() };
        let (mut before, mut looked_at) = (scene.seq.saturating_add(1), 0);
        while looked_at < LOOKED_BACK && view.seq.is_none() {
            let events = ledger.events_back(before, READ)?;
            let Some(last) = events.last() else { break };
            (before, looked_at) = (last.seq, looked_at + events.len());
            let event = events.iter().find(|recorded| disabled.wants(&recorded.event));
            view.since(event.map(|recorded| (recorded.seq, recorded.at)));
        }
    }
    Ok(Some(view))
}
