//! Every law can be broken.

use projections::{
    Fingerprint, RequestId,
    event::{Actor, GateClosed, KeyAdded, PassedOver, Scope, Tokens, Verdict, Why},
};

use super::*;

const MODEL: &str = "m";
const METHOD: &str = "generateContent";

/// A log with one key, closed for a model until 1,000.
fn tape() -> Tape {
    let added = KeyAdded {
        key: KeyId(1),
        label: String::new(),
        tail: String::new(),
        fingerprint: Fingerprint([1; 16]),
        project: Some("p".to_owned()),
        actor: Actor::Env,
    };
    let closed = GateClosed {
        scope: Scope::Model { project: "p".to_owned(), model: MODEL.to_owned(), window: Window::Minute },
        cause: Verdict::QuotaMinute,
        until: Some(1_000),
        probe: None,
        request: None,
        key: KeyId(1),
    };
    let mut tape = Tape::default();
    tape.append(1, vec![added.into(), closed.into()]).unwrap();
    tape
}

fn attempted(started: Millis, why: Why) -> Attempted {
    Attempted {
        request: RequestId(7),
        attempt: 1,
        client: None,
        key: KeyId(1),
        project: "p".to_owned(),
        model: MODEL.to_owned(),
        method: METHOD.to_owned(),
        started,
        latency_ms: 0,
        first_byte_ms: None,
        status: 200,
        verdict: Verdict::Success,
        reason: None,
        violations: Vec::new(),
        tokens: Tokens::default(),
        finish_reason: None,
        bytes_sent: 0,
        bytes_received: 0,
        why,
        ..Attempted::default()
    }
}

#[test]
fn a_way_through_a_closed_gate_is_found() {
    let tape = tape();
    let way = |key, model, probe, now| {
        let keys = &tape.state().keys;
        invariant_no_way_through_a_closed_gate(keys, KeyId(key), (model, METHOD), probe, now).is_ok()
    };
    assert!(way(1, MODEL, false, 1_000) && way(1, "other", false, 999) && way(1, MODEL, true, 999));
    assert!(!way(1, MODEL, false, 999) && !way(2, MODEL, false, 1_000));
}

#[test]
fn a_second_probe_is_found() {
    let probed = ("p".to_owned(), MODEL.to_owned(), Window::Day);
    assert!(invariant_one_probe_at_a_time(&BTreeMap::from([(probed.clone(), 1)])).is_ok());
    assert!(invariant_one_probe_at_a_time(&BTreeMap::from([(probed, 2)])).is_err());
}

#[test]
fn a_try_too_many_is_found() {
    let tries = |all, costly| invariant_tries_within_the_budgets(1, (all, costly), (12, 3)).is_ok();
    assert!(tries(12, 3));
    assert!(!tries(13, 0) && !tries(4, 4));
}

#[test]
fn a_place_that_was_kept_is_found() {
    assert!(invariant_places_are_given_back(KeyId(1), 2, 2).is_ok());
    assert!(invariant_places_are_given_back(KeyId(1), 3, 2).is_err());
}

#[test]
fn a_reason_that_the_log_does_not_give_is_found() {
    let passed_over = PassedOver { model_gate: 1, ..PassedOver::default() };
    let closed = Why { seq: 2, passed_over, ..Why::default() };
    let open = Why { seq: 2, eligible: 1, ..Why::default() };
    let lies = |started, why| {
        let mut tape = tape();
        tape.append(2_000, vec![attempted(started, why).into()]).unwrap();
        invariant_the_log_tells_it_again(&tape).is_err()
    };
    assert!(!lies(999, closed) && !lies(1_000, open));
    assert!(lies(999, open) && lies(1_000, closed) && lies(999, Why { seq: 9, ..closed }));
}
