//! What became of a key: its own events, and the gates of the project that it was in at the time.
//!
//! Owns the way back through the projects of a key. It reads the log backwards, by one project at a time: an event that
//! may have moved the key ends a stretch, and the state before it says where the key was until then. Its invariant: a
//! gate is shown only where the key stood behind it.

use projections::{
    Class, Event, KeyId, Seq,
    event::{Change, KeyAdded, KeyUpdated, ProjectLearned},
    filter::Filter,
};

use super::pages::{Order, Page, Part, page};
use crate::{
    admin::past::{Failed, state_at},
    ledger::{Ledger, PastError},
};

/// Stretches in one call, at most: each takes a state of the past.
const STRETCHES: usize = 8;
/// Events read at once where no state of the past is known any more.
const READ: usize = 4_096;
/// Events read there in one call, at most.
const LOOKED_AT: usize = 200_000;

/// A page of it, the newest first, from before a place on.
pub(super) fn history(ledger: &Ledger, key: KeyId, place: Option<Seq>, limit: usize) -> Result<Page, Failed> {
    let classes = vec![Class::Control, Class::Health];
    let mut filter = Filter { key: Some(key), classes, ..Filter::default() };
    let (mut before, mut found) = (place.unwrap_or(Seq::MAX), Page::none(ledger));
    for _ in 0..STRETCHES {
        filter.projects = projects_before(ledger, key, before)?;
        let part = Part { after: 0, before };
        let left = limit - found.len();
        let stretch = page(ledger, part, Order::Desc, &filter, left, |event| moves(event, key))?;
        let moved = stretch.last().is_some_and(|event| moves(event, key));
        let next = found.go_on(stretch);
        match next {
            Some(next) if moved && found.len() < limit => before = next,
            _ => break,
        }
    }
    Ok(found)
}

/// Whether an event may take a key to another project.
fn moves(event: &Event, of: KeyId) -> bool {
    match event {
        Event::KeyAdded(KeyAdded { key, .. }) | Event::ProjectLearned(ProjectLearned { key, .. }) => {
            *key == of
        }
        Event::KeyUpdated(KeyUpdated { key, project, .. }) => *key == of && project.is_some(),
        Event::KeyRemoved(event) => event.key == of,
        _ => false,
    }
}

/// The projects that a key may have been in right before an event; one, where that is known.
fn projects_before(ledger: &Ledger, key: KeyId, before: Seq) -> Result<Vec<String>, Failed> {
    let of = |state: &projections::State| {
        state.keys.get(key).map(|key| key.project.clone()).into_iter().collect::<Vec<_>>()
    };
    let seq = before.saturating_sub(1);
    {
        let now = ledger.state();
        if seq >= now.seq {
            return Ok(of(&now));
        }
    }
    match state_at(ledger, seq) {
        Ok(state) => Ok(of(&state)),
        // What operators did and what the pool learned is kept longer than the traffic that states are made of.
        Err(PastError::Dropped { .. }) => told_before(ledger, key, before),
        Err(error) => Err(error),
    }
}

/// The same by the words of the events that moved it. What an operator said is one project; what Google said may have
/// left the key where an operator had put it before, and then it is both.
fn told_before(ledger: &Ledger, key: KeyId, mut before: Seq) -> Result<Vec<String>, Failed> {
    let own = format!("key-{key}");
    let (mut projects, mut looked_at) = (Vec::new(), 0);
    while looked_at < LOOKED_AT {
        let events = ledger.events_back(before, READ)?;
        let Some(last) = events.last() else { break };
        before = last.seq;
        looked_at += events.len();
        for recorded in events.iter().filter(|recorded| moves(&recorded.event, key)) {
            match &recorded.event {
                Event::ProjectLearned(event) => {
                    projects.push(event.consumer.clone());
                    continue;
                }
                Event::KeyAdded(event) => projects.push(event.project.clone().unwrap_or(own)),
                Event::KeyUpdated(KeyUpdated { project: Some(Change::To(project)), .. }) => {
                    projects.push(project.clone());
                }
                Event::KeyUpdated(_) => projects.push(own),
                _ => {}
            }
            return Ok(projects);
        }
    }
    Ok(projects)
}
