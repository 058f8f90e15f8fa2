//! However many names there are, what is kept of them is bounded.

use projections::{
    ClientId, KeyId, RequestId, State,
    event::{Actor, ClientRemoved, KeyRemoved, Outcome, Scope, Verdict, Window},
    requests,
};
use serde_json::Value;

use crate::given::{Given, added, answered, attempted, client_added, closed, fingerprint, method, model};

/// Gates kept per project and per key; the fold's own number.
const GATES: usize = 512;
/// Requests under way whose tries are kept; the fold's own number.
const PENDING: usize = 10_000;
/// Fingerprints and digests of what left; the fold's own number.
const LEFT: usize = 100_000;
/// Tries kept per request; the fold's own number.
const TRIES: usize = 16;

fn size(state: &State, part: &str, collection: &str) -> usize {
    match &serde_json::to_value(state).unwrap()[part][collection] {
        Value::Array(items) => items.len(),
        Value::Object(items) => items.len(),
        other => panic!("{part}.{collection} is no collection: {other}"),
    }
}

#[test]
fn gates_make_room_for_those_that_open_later() {
    let mut given = Given::keys(&["alpha"]);
    for number in 0..2_000 {
        let until = Some(10_000 + number);
        let name = format!("m{number}");
        given.when(1, closed(method(1, &name), Verdict::MethodBlocked, until));
        given.when(1, closed(model("alpha", &name, Window::Minute), Verdict::QuotaMinute, until));
    }
    let methods = &given.state.keys.get(KeyId(1)).unwrap().methods;
    let models = &given.state.keys.project("alpha").unwrap().models;
    assert_eq!((methods.len(), models.len()), (GATES, GATES));
    for number in [1_999, 2_000 - GATES] {
        assert!(methods.contains_key(&format!("m{number}")));
        assert!(models.contains_key(&format!("m{number}")));
    }
    assert!(!methods.contains_key(&format!("m{}", 1_999 - GATES)));
}

#[test]
fn a_gate_without_an_end_is_the_last_to_go() {
    let mut given = Given::keys(&["alpha"]);
    given.when(1, closed(model("alpha", "never", Window::Offer), Verdict::NotOffered, None));
    given.when(1, closed(method(1, "never"), Verdict::MethodBlocked, None));
    for number in 0..2_000 {
        let name = format!("m{number}");
        given.when(1, closed(method(1, &name), Verdict::MethodBlocked, Some(number)));
        given.when(1, closed(model("alpha", &name, Window::Day), Verdict::QuotaDay, Some(number)));
    }
    assert_eq!(given.until(&model("alpha", "never", Window::Offer)), Some(None));
    assert_eq!(given.until(&method(1, "never")), Some(None));
}

/// There is room for what is there already: nothing else has to go for it.
#[test]
fn closing_a_gate_again_pushes_none_out() {
    let mut given = Given::keys(&["alpha"]);
    for number in 0..GATES {
        let (name, until) = (format!("m{number}"), Some(number as i64));
        given.when(1, closed(method(1, &name), Verdict::MethodBlocked, until));
        given.when(1, closed(model("alpha", &name, Window::Day), Verdict::QuotaDay, until));
    }
    given.when(1, closed(model("alpha", "m0", Window::Minute), Verdict::QuotaMinute, Some(1)));
    given.when(1, closed(model("alpha", "m9", Window::Minute), Verdict::QuotaMinute, Some(1)));
    given.when(1, closed(method(1, "m9"), Verdict::MethodBlocked, Some(9_000)));
    assert_eq!(given.state.keys.project("alpha").unwrap().models.len(), GATES);
    assert_eq!(given.state.keys.get(KeyId(1)).unwrap().methods.len(), GATES);
    assert_eq!(
        given.until(&model("alpha", "m0", Window::Day)),
        Some(Some(0)),
        "one window pushed out another"
    );
}

#[test]
fn what_left_is_remembered_up_to_a_number() {
    let mut given = Given::default();
    for number in 1..=LEFT as u32 + 50 {
        given.when(1, added(number, number, "alpha"));
        given.when(1, KeyRemoved { key: KeyId(number), actor: Actor::Cli });
        given.when(1, client_added(number, number, Actor::Cli));
        given.when(1, ClientRemoved { client: ClientId(number), actor: Actor::Cli });
    }
    assert_eq!(size(&given.state, "keys", "removed"), LEFT);
    assert_eq!(size(&given.state, "access", "removed"), LEFT);
    assert!(given.state.keys.was_removed(&fingerprint(LEFT as u32 + 50)));
    assert_eq!(given.state.keys.next_id(), KeyId(LEFT as u32 + 51), "numbers do not come back");
    assert_eq!(given.state.keys.projects().count(), 0);
}

#[test]
fn requests_make_room() {
    let mut given = Given::default();
    let mut attempt = |request: u128| {
        let mut event = attempted(1, Verdict::Overloaded);
        event.request = RequestId(request);
        given.when(1, event);
    };
    (0..PENDING as u128 + 500).for_each(&mut attempt);
    (0..100).for_each(|_| attempt(10_000));
    assert_eq!(size(&given.state, "requests", "pending"), PENDING);
    for request in (0..PENDING as u128 + 500).rev() {
        given.when(2, answered(request, Outcome::Refused, 429));
    }
    assert_eq!(size(&given.state, "requests", "pending"), 0);
    let recent: Vec<_> = given.state.requests.recent().collect();
    assert_eq!(recent.len(), requests::KEPT);
    assert_eq!(recent[0].answered.request, RequestId(0), "the newest first");
    assert!(recent.iter().take(500).all(|request| request.attempts.is_empty()), "the oldest made room");
    assert!(recent.iter().skip(500).all(|request| request.attempts.len() == 1));
}

#[test]
fn a_chain_of_tries_has_an_end() {
    let mut given = Given::default();
    for number in 0..200 {
        let mut event = attempted(number, Verdict::Overloaded);
        event.attempt = u8::try_from(number).unwrap();
        given.when(1, event);
    }
    given.when(2, answered(1, Outcome::Refused, 503));
    let attempts = &given.state.requests.recent().next().unwrap().attempts;
    assert_eq!(attempts.len(), TRIES);
    assert!(
        attempts.iter().zip(0..).all(|(attempt, number)| attempt.attempt == number),
        "the first of them, in order"
    );
}

/// A gate for what is not there leaves nothing behind.
#[test]
fn the_unknown_takes_no_room() {
    let mut given = Given::default();
    let empty = given.state.clone();
    for number in 0..1_000 {
        let name = format!("p{number}");
        for scope in [
            Scope::Key(KeyId(number)),
            method(number, "generateContent"),
            Scope::Project(name.clone()),
            model(&name, "flash", Window::Day),
        ] {
            given.when(1, closed(scope, Verdict::QuotaDay, None));
        }
        given.when(1, KeyRemoved { key: KeyId(number), actor: Actor::Cli });
    }
    assert_eq!(State { seq: 0, at: 0, ..given.state }, empty);
}
