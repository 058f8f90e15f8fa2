//! What happens to a key, by example.

use projections::{
    Event, Fingerprint, KeyId,
    event::{
        Actor, GateOpened, KeyDisabled, KeyEnabled, KeyRemoved, KeyReset, Opened, Scope, Unknown, Verdict,
        Window,
    },
    keys::{Closed, Condition},
};

use crate::given::{Given, added, attempted, closed, fingerprint, method, model};

const ONE: KeyId = KeyId(1);

fn condition(given: &Given, key: u32, now: i64) -> Condition {
    given.state.keys.condition(given.state.keys.get(KeyId(key)).unwrap(), now)
}

fn why<'a>(given: &'a Given, key: u32, now: i64) -> Option<Closed<'a>> {
    given.state.keys.closed(given.state.keys.get(KeyId(key)).unwrap(), "flash", "generateContent", now)
}

#[test]
fn a_new_key_is_ready_and_not_proven() {
    let given = Given::keys(&["", "alpha"]);
    let (own, declared) = (given.state.keys.get(ONE).unwrap(), given.state.keys.get(KeyId(2)).unwrap());
    assert_eq!((own.project.as_str(), own.declared), ("key-1", false));
    assert_eq!((declared.project.as_str(), declared.declared), ("alpha", true));
    assert!(own.enabled && !own.proven && own.gate.is_none() && own.failures == 0);
    assert_eq!(condition(&given, 1, 0), Condition::Ready);
    assert_eq!(given.state.keys.next_id(), KeyId(3));
}

#[test]
fn a_gate_is_closed_until_its_time_and_not_a_moment_longer() {
    let mut given = Given::keys(&["alpha"]);
    given.when(100, closed(Scope::Key(ONE), Verdict::Overloaded, Some(500)));
    let gate = given.state.keys.gate(&Scope::Key(ONE)).unwrap();
    assert_eq!((gate.since, gate.seq, gate.cause, gate.streak), (100, 2, Verdict::Overloaded, 1));
    assert_eq!(condition(&given, 1, 499), Condition::Cooling);
    assert_eq!(condition(&given, 1, 500), Condition::Ready);
}

#[test]
fn each_scope_closes_what_it_names_and_nothing_else() {
    let all = |given: &Given| [1, 2, 3].map(|key| why(given, key, 10).is_some());
    let gates = [
        (Scope::Key(ONE), [true, false, false]),
        (Scope::Project("alpha".to_owned()), [true, true, false]),
        (method(1, "generateContent"), [true, false, false]),
        (method(1, "countTokens"), [false, false, false]),
        (model("alpha", "flash", Window::Day), [true, true, false]),
        (model("alpha", "pro", Window::Day), [false, false, false]),
    ];
    for (scope, expected) in gates {
        let mut given = Given::keys(&["alpha", "alpha", "beta"]);
        given.when(1, closed(scope.clone(), Verdict::QuotaUnknown, None));
        assert_eq!(all(&given), expected, "{scope:?}");
        given.when(2, GateOpened { scope: scope.clone(), why: Opened::Checked });
        assert_eq!(all(&given), [false; 3], "{scope:?} opened");
        assert_eq!(given.state.keys.gate(&scope), None);
    }
}

/// The order in which grounds are named: an operator's word, the key, its project, the model, the method.
#[test]
fn the_widest_ground_is_named_first() {
    let mut given = Given::keys(&["alpha"]);
    given.when(1, closed(method(1, "generateContent"), Verdict::MethodBlocked, None));
    assert!(matches!(why(&given, 1, 2), Some(Closed::Method(_))));
    given.when(1, closed(model("alpha", "flash", Window::Spend), Verdict::QuotaSpend, None));
    assert!(matches!(why(&given, 1, 2), Some(Closed::Model(Window::Spend, _))));
    assert_eq!(condition(&given, 1, 2), Condition::Ready, "one model is not the key");
    given.when(1, closed(Scope::Project("alpha".to_owned()), Verdict::ProjectDenied, Some(9)));
    assert!(matches!(why(&given, 1, 2), Some(Closed::Project(_))));
    assert_eq!(condition(&given, 1, 2), Condition::Cooling);
    given.when(1, closed(Scope::Key(ONE), Verdict::BadKey, None));
    assert!(matches!(why(&given, 1, 2), Some(Closed::Key(_))));
    assert_eq!(condition(&given, 1, 2), Condition::Failed);
    given.when(1, KeyDisabled { key: ONE, actor: Actor::Cli });
    assert_eq!(why(&given, 1, 2), Some(Closed::Disabled));
    given.when(1, KeyEnabled { key: ONE, actor: Actor::Cli });
    assert_eq!(condition(&given, 1, 2), Condition::Failed, "to enable is not to forgive");
}

#[test]
fn windows_of_one_model_do_not_shorten_each_other() {
    let (minute, day) = (model("alpha", "flash", Window::Minute), model("alpha", "flash", Window::Day));
    let mut given = Given::keys(&["alpha"]);
    given.when(1, closed(day.clone(), Verdict::QuotaDay, Some(9_000)));
    given.when(2, closed(minute.clone(), Verdict::QuotaMinute, Some(60)));
    assert_eq!((given.until(&day), given.until(&minute)), (Some(Some(9_000)), Some(Some(60))));
    assert!(matches!(why(&given, 1, 59), Some(Closed::Model(Window::Minute, _))));
    assert!(matches!(why(&given, 1, 60), Some(Closed::Model(Window::Day, _))));
    assert_eq!(why(&given, 1, 9_000), None);
    given.when(3, GateOpened { scope: minute, why: Opened::Checked });
    assert!(matches!(why(&given, 1, 4), Some(Closed::Model(Window::Day, _))), "the other one stays");
}

#[test]
fn closing_again_counts_in_a_row_until_a_success() {
    let scope = Scope::Key(ONE);
    let mut given = Given::keys(&["alpha"]);
    for (round, until) in (1..=3).zip([10, 20, 30]) {
        given.when(until - 5, closed(scope.clone(), Verdict::Overloaded, Some(until)));
        assert_eq!((given.streak(&scope), given.until(&scope)), (round, Some(Some(until))));
    }
    given.when(29, attempted(1, Verdict::Success));
    assert_eq!(given.streak(&scope), 3, "it is still closed: a late answer opens nothing");
    given.when(30, attempted(1, Verdict::Overloaded));
    assert_eq!(given.streak(&scope), 3, "a failure forgives nothing");
    given.when(31, attempted(1, Verdict::Success));
    assert_eq!(given.streak(&scope), 0);
    given.when(40, closed(scope.clone(), Verdict::Overloaded, Some(50)));
    assert_eq!(given.streak(&scope), 1);
}

#[test]
fn a_success_forgives_gates_that_reopened_in_its_way_and_no_others() {
    let own = [Scope::Key(ONE), Scope::Project("alpha".to_owned()), model("alpha", "flash", Window::Minute)];
    let others = [
        model("alpha", "pro", Window::Minute),
        method(1, "countTokens"),
        Scope::Key(KeyId(2)),
        Scope::Project("beta".to_owned()),
        model("beta", "flash", Window::Minute),
    ];
    let longer = model("alpha", "flash", Window::Day);
    let mut given = Given::keys(&["alpha", "alpha", "beta"]);
    for scope in own.iter().chain(&others) {
        given.when(1, closed(scope.clone(), Verdict::QuotaMinute, Some(10)));
    }
    given.when(1, closed(longer.clone(), Verdict::QuotaDay, Some(1_000)));
    given.when(1, closed(method(1, "generateContent"), Verdict::MethodBlocked, Some(10)));
    given.when(9, attempted(1, Verdict::Success));
    assert!(own.iter().all(|scope| given.until(scope).is_some()), "closed still");
    given.when(10, attempted(1, Verdict::Success));
    assert!(own.iter().all(|scope| given.until(scope).is_none()));
    assert_eq!(given.until(&method(1, "generateContent")), None);
    assert!(others.iter().all(|scope| given.until(scope).is_some()));
    assert_eq!(given.until(&longer), Some(Some(1_000)));
}

#[test]
fn soft_failures_are_counted_in_a_row() {
    let mut given = Given::keys(&["alpha", "alpha"]);
    let failures = |given: &Given| given.state.keys.get(ONE).unwrap().failures;
    for verdict in [
        Verdict::Unauthenticated,
        Verdict::Overloaded,
        Verdict::ServerError,
        Verdict::ConnectionLost,
        Verdict::TimedOut,
        Verdict::EmptyAnswer,
    ] {
        given.when(1, attempted(1, verdict));
    }
    assert_eq!(failures(&given), 6);
    for verdict in [
        Verdict::ClientFault,
        Verdict::Cancelled,
        Verdict::ConnectFailed,
        Verdict::QuotaMinute,
        Verdict::Truncated,
        Verdict::BadKey,
    ] {
        given.when(1, attempted(1, verdict));
    }
    assert_eq!(failures(&given), 6, "they say nothing of that kind, and break no run");
    given.when(1, attempted(2, Verdict::Success));
    assert_eq!(failures(&given), 6, "another key's success is another's");
    given.when(1, attempted(1, Verdict::Success));
    assert_eq!(failures(&given), 0);
    assert!(given.state.keys.get(ONE).unwrap().proven);
}

#[test]
fn a_key_is_proven_by_a_success_until_its_credential_fails() {
    let proven = |given: &Given| given.state.keys.get(ONE).unwrap().proven;
    let mut given = Given::keys(&["alpha"]);
    given.when(1, attempted(1, Verdict::Success));
    given.when(2, closed(Scope::Key(ONE), Verdict::Overloaded, Some(10)));
    assert!(proven(&given), "a rest proves nothing");
    given.when(3, closed(Scope::Project("alpha".to_owned()), Verdict::BillingStopped, None));
    assert!(proven(&given), "the project is not the credential");
    given.when(4, closed(Scope::Key(ONE), Verdict::BadKey, None));
    assert!(!proven(&given));
    given.when(5, GateOpened { scope: Scope::Key(ONE), why: Opened::Checked });
    assert!(!proven(&given), "a check is no answer yet");
}

#[test]
fn a_check_that_passed_forgets_the_failures() {
    let mut given = Given::keys(&["alpha"]);
    given.when(1, attempted(1, Verdict::Unauthenticated));
    given.when(2, closed(Scope::Key(ONE), Verdict::Unauthenticated, None));
    given.when(3, GateOpened { scope: Scope::Key(ONE), why: Opened::Checked });
    assert_eq!(given.state.keys.get(ONE).unwrap().failures, 0);
    assert_eq!(condition(&given, 1, 3), Condition::Ready);
}

#[test]
fn a_reset_opens_everything_in_the_keys_way() {
    let mut given = Given::keys(&["alpha", "alpha", "beta"]);
    let gates = [
        Scope::Key(ONE),
        method(1, "generateContent"),
        Scope::Project("alpha".to_owned()),
        model("alpha", "flash", Window::Day),
        model("alpha", "pro", Window::Offer),
    ];
    let others =
        [Scope::Key(KeyId(2)), Scope::Project("beta".to_owned()), model("beta", "flash", Window::Day)];
    given.when(1, attempted(1, Verdict::Success)).when(1, attempted(1, Verdict::Overloaded));
    for scope in gates.iter().chain(&others) {
        given.when(2, closed(scope.clone(), Verdict::QuotaUnknown, Some(99)));
    }
    given.when(3, KeyDisabled { key: ONE, actor: Actor::Cli });
    given.when(4, KeyReset { key: ONE, actor: Actor::Cli });
    let key = given.state.keys.get(ONE).unwrap();
    assert_eq!((key.failures, key.proven, key.enabled), (0, false, false));
    assert!(gates.iter().all(|scope| given.until(scope).is_none()));
    assert!(others.iter().all(|scope| given.until(scope).is_some()));
}

#[test]
fn a_project_lives_as_long_as_it_has_keys() {
    let project = Scope::Project("alpha".to_owned());
    let mut given = Given::keys(&["alpha", "alpha"]);
    given.when(1, closed(project.clone(), Verdict::BillingStopped, None));
    given.when(2, KeyRemoved { key: ONE, actor: Actor::Cli });
    assert_eq!(condition(&given, 2, 2), Condition::Failed, "the gate is the project's");
    given.when(3, KeyRemoved { key: KeyId(2), actor: Actor::Cli });
    assert!(given.state.keys.is_empty() && given.state.keys.project("alpha").is_none());
    given.when(4, added(3, 3, "alpha"));
    assert_eq!(given.until(&project), None, "and begins anew");
}

#[test]
fn a_removed_key_comes_back_under_a_new_number_and_without_its_past() {
    let mut given = Given::keys(&["alpha"]);
    given.when(1, closed(Scope::Key(ONE), Verdict::BadKey, None));
    given.when(2, KeyRemoved { key: ONE, actor: Actor::Cli });
    assert!(given.state.keys.was_removed(&fingerprint(1)));
    given.when(3, closed(Scope::Key(ONE), Verdict::BadKey, None)).when(3, attempted(1, Verdict::Overloaded));
    assert!(given.state.keys.is_empty(), "news of it comes too late");
    assert_eq!(given.state.keys.next_id(), KeyId(2));
    given.when(4, added(2, 1, "alpha"));
    assert!(!given.state.keys.was_removed(&fingerprint(1)));
    assert_eq!(given.state.keys.by_fingerprint(&fingerprint(1)), Some(KeyId(2)));
    assert_eq!(condition(&given, 2, 4), Condition::Ready);
}

#[test]
fn a_number_that_is_added_again_is_another_key() {
    let mut given = Given::keys(&["alpha"]);
    given.when(1, attempted(1, Verdict::Success));
    given.when(2, added(1, 9, "beta"));
    let key = given.state.keys.get(ONE).unwrap();
    assert_eq!((key.project.as_str(), key.proven, key.added), ("beta", false, 2));
    assert_eq!(given.state.keys.by_fingerprint(&fingerprint(1)), None);
    assert!(given.state.keys.project("alpha").is_none());
}

#[test]
fn what_only_a_newer_program_knows_changes_nothing_but_the_position() {
    let mut given = Given::keys(&["alpha"]);
    let before = given.state.clone();
    let class = projections::Class::Health;
    given.when(5, Event::Unknown(Unknown { kind: 9_999, version: 1, class, codec: 7, payload: vec![1, 2] }));
    assert_eq!((given.state.seq, given.state.at), (2, 5));
    assert_eq!(given.state.keys, before.keys);
    assert_eq!(given.state.statistics, before.statistics);
    assert_eq!(given.state.keys.by_fingerprint(&Fingerprint([9; 16])), None);
}
