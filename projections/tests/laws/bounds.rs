//! However many names there are, what is kept of them is bounded.

use projections::{
    ClientId, KeyId, State, asked,
    event::{Actor, ClientRemoved, KeyRemoved, Outcome, Scope, Verdict, Window},
};
use serde_json::Value;

use crate::given::{Given, added, answered, client_added, closed, fingerprint, method, model};

/// Gates kept per project and per key; the fold's own number.
const GATES: usize = 512;
/// Fingerprints and digests of what left; the fold's own number.
const LEFT: usize = 100_000;

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
fn models_make_room() {
    let mut given = Given::default();
    for number in 0..asked::KEPT as i64 + 50 {
        let mut event = answered(1, Outcome::Complete, 200);
        (event.model, event.started) = (format!("model-{number}"), number);
        given.when(1, event);
    }
    let kept: Vec<_> = given.state.asked.since(0).collect();
    assert_eq!(kept.len(), asked::KEPT);
    assert!(!kept.contains(&"model-49") && kept.contains(&"model-50"), "the oldest made room");
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
