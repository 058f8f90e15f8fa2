//! What is true of every state after every event of every history.

use std::collections::BTreeMap;

use projections::{
    Event, Fingerprint, KeyId, Millis, State,
    event::{ClientRemoved, KeyRemoved},
    keys::{Closed, Condition},
};
use proptest::prelude::*;
use serde_json::Value;

use crate::{
    given::{Given, added, fingerprint},
    history::{history, nonsense},
};

fn sizes(state: &State, part: &str, collection: &str) -> usize {
    match &serde_json::to_value(state).unwrap()[part][collection] {
        Value::Array(items) => items.len(),
        Value::Object(items) => items.len(),
        other => panic!("{part}.{collection} is no collection: {other}"),
    }
}

/// A key's project lists it; a project lists keys that are its own, and at least one.
fn invariant_projects_and_keys_agree(state: &State) {
    for key in state.keys.iter() {
        let project = state.keys.project(&key.project).expect("a key's project is there");
        assert!(project.keys.contains(&key.id), "{} is not in its project {}", key.id, key.project);
        assert!(key.declared || key.consumer.is_some() || key.project == format!("key-{}", key.id));
    }
    for (name, project) in state.keys.projects() {
        assert!(!project.keys.is_empty(), "project {name} has no keys");
        for id in &project.keys {
            assert_eq!(state.keys.get(*id).expect("a project's key is there").project, name);
        }
    }
}

/// Fingerprints name the keys that have them, and nothing else is among them.
fn invariant_fingerprints_name_their_keys(state: &State) {
    for key in state.keys.iter() {
        assert_eq!(state.keys.by_fingerprint(&key.fingerprint), Some(key.id));
        assert!(!state.keys.was_removed(&key.fingerprint), "key {} is here and removed", key.id);
    }
    assert_eq!(sizes(state, "keys", "fingerprints"), state.keys.len());
    for client in state.access.iter() {
        assert_eq!(state.access.by_digest(&client.digest).map(|found| found.id), Some(client.id));
        assert!(!state.access.was_removed(&client.digest), "client {} is here and removed", client.id);
    }
    assert_eq!(sizes(state, "access", "digests"), state.access.iter().len());
}

/// Nobody's minute holds more than 60 seconds, and only clients that are there have counters.
fn invariant_quotas_are_bounded(state: &State) {
    let quotas = serde_json::to_value(&state.quotas).unwrap();
    for (client, used) in quotas["clients"].as_object().unwrap() {
        let client = client.parse().unwrap();
        assert!(state.access.get(client).is_some(), "client {client} is not there");
        assert!(used["minute"]["seconds"].as_array().unwrap().len() <= 60, "{used}");
    }
}

/// A key is ready exactly when nothing stands before a question about no model and no method.
fn invariant_condition_is_what_closed_says(state: &State, now: Millis) {
    for key in state.keys.iter() {
        let closed = state.keys.closed(key, "", "", now);
        let gate = match closed {
            Some(Closed::Key(gate) | Closed::Project(gate)) => Some(gate),
            _ => None,
        };
        assert!(gate.is_none_or(|gate| gate.is_closed(now)));
        let expected = match (closed, gate) {
            (Some(Closed::Disabled), _) => Condition::Disabled,
            (_, None) => Condition::Ready,
            (_, Some(gate)) if gate.until.is_some() => Condition::Cooling,
            (_, Some(_)) => Condition::Failed,
        };
        assert_eq!(state.keys.condition(key, now), expected);
        assert_eq!(key.enabled, expected != Condition::Disabled);
        // What no question about the rest finds closed, a question about more may, but only for more.
        if expected != Condition::Ready {
            assert_eq!(state.keys.closed(key, "flash", "generateContent", now), closed);
        }
    }
}

/// Every resource that is known belongs to a project with keys; that of its own key, if it is there.
fn invariant_owners_can_be_asked(state: &State) {
    let resources = &state.resources;
    for resource in resources.live(Millis::MIN) {
        let project = resources.project_of(resource).expect("a resource has an owner");
        assert!(state.keys.project(project).is_some(), "{} is {project}'s, which has no key", resource.name);
        assert!(state.keys.get(resource.key).is_none_or(|key| key.project == project));
        let collection = projections::resources::collection_of(&resource.name);
        assert!(resources.projects_with(collection).contains(project));
        assert_eq!(resources.get(&resource.name, Millis::MIN), Some(resource));
    }
    let live = resources.live(Millis::MIN).count();
    assert_eq!((sizes(state, "resources", "by_name"), resources.len()), (live, live));
}

/// The number for the next one is above every number that was ever given.
fn invariant_numbers_are_new(state: &State, highest: (u32, u32)) {
    assert_eq!(state.keys.next_id().0, highest.0.saturating_add(1));
    assert_eq!(state.access.next_id().0, highest.1.saturating_add(1));
}

/// A key that left is nowhere, but known to have left.
fn invariant_what_left_is_gone(state: &State, id: KeyId, fingerprint: &Fingerprint) {
    assert_eq!(state.keys.get(id), None);
    assert_eq!(state.keys.by_fingerprint(fingerprint), None);
    assert!(state.keys.was_removed(fingerprint));
    assert!(state.keys.projects().all(|(_, project)| !project.keys.contains(&id)));
    assert!(state.keys.iter().all(|key| key.fingerprint != *fingerprint));
    assert!(state.statistics.keys.get(&id).is_none());
}

proptest! {
    #[test]
    fn invariants_hold_after_every_event(events in history(60)) {
        let mut state = State::default();
        let mut highest = (0, 0);
        for recorded in &events {
            let mut left = None;
            match &recorded.event {
                Event::KeyAdded(event) => highest.0 = highest.0.max(event.key.0),
                Event::ClientAdded(event) => highest.1 = highest.1.max(event.client.0),
                Event::KeyRemoved(KeyRemoved { key, .. }) => {
                    left = state.keys.get(*key).map(|key| (key.id, key.fingerprint));
                }
                _ => {}
            }
            state.apply(recorded);
            invariant_projects_and_keys_agree(&state);
            invariant_fingerprints_name_their_keys(&state);
            invariant_condition_is_what_closed_says(&state, recorded.at);
            invariant_quotas_are_bounded(&state);
            invariant_owners_can_be_asked(&state);
            invariant_numbers_are_new(&state, highest);
            if let Some((id, fingerprint)) = left {
                invariant_what_left_is_gone(&state, id, &fingerprint);
            }
            if let Event::ClientRemoved(ClientRemoved { client, .. }) = &recorded.event {
                prop_assert!(state.access.get(*client).is_none());
                prop_assert!(state.statistics.clients.get(client).is_none());
            }
        }
    }

    #[test]
    fn invariants_hold_after_nonsense(events in nonsense(60)) {
        let mut state = State::default();
        for recorded in &events {
            state.apply(recorded);
            invariant_projects_and_keys_agree(&state);
            invariant_fingerprints_name_their_keys(&state);
            invariant_condition_is_what_closed_says(&state, recorded.at);
            invariant_quotas_are_bounded(&state);
            invariant_owners_can_be_asked(&state);
        }
    }

    /// Only what is said of a key changes it: the others stay as they are.
    #[test]
    fn an_operators_word_about_a_key_changes_no_other(events in history(60)) {
        let mut state = State::default();
        for recorded in &events {
            let named = match &recorded.event {
                Event::KeyAdded(event) => event.key,
                Event::KeyUpdated(event) => event.key,
                Event::KeyDisabled(event) => event.key,
                Event::KeyEnabled(event) => event.key,
                Event::KeyReset(event) => event.key,
                Event::KeyRemoved(event) => event.key,
                _ => { state.apply(recorded); continue; }
            };
            let others = |state: &State| -> BTreeMap<_, _> {
                state.keys.iter().filter(|key| key.id != named).map(|key| (key.id, key.clone())).collect()
            };
            let before = others(&state);
            state.apply(recorded);
            prop_assert_eq!(others(&state), before);
        }
    }
}

/// The rules never add a secret twice, but a fold has to make sense of it: the later number has it.
#[test]
fn a_secret_added_under_two_numbers_belongs_to_the_later() {
    let mut given = Given::keys(&["alpha"]);
    given.when(1, added(2, 1, "beta"));
    invariant_projects_and_keys_agree(&given.state);
    invariant_fingerprints_name_their_keys(&given.state);
    assert_eq!(given.state.keys.by_fingerprint(&fingerprint(1)), Some(KeyId(2)));
}
