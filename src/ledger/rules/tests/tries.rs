//! What follows from a try: when a gate closes, before what, and for how long.

use proptest::{prelude::*, sample::select};

use super::*;
use crate::journal::codec::tests::history;

const NOW: Millis = 1_795_000_000_000;
const UNTIL_CHECKED: Penalty = Penalty { blame: Blame::Key, hold: Hold::UntilChecked, spread: FREE };

fn waits(gate: Option<GateClosed>, now: Millis) -> Millis {
    gate.expect("a gate closes").until.expect("it opens by itself") - now
}

#[test]
fn the_gate_stands_before_what_is_at_fault() {
    let project = || "alpha".to_owned();
    let window = |window| Scope::Model { project: project(), model: "flash".to_owned(), window };
    let method = Scope::Method { key: KeyId(1), method: "generateContent".to_owned() };
    let cases = [
        (Blame::Key, Verdict::LeakedKey, Some(Scope::Key(KeyId(1)))),
        (Blame::Upstream, Verdict::Overloaded, Some(Scope::Key(KeyId(1)))),
        (Blame::Method, Verdict::MethodBlocked, Some(method)),
        (Blame::Project, Verdict::BillingStopped, Some(Scope::Project(project()))),
        (Blame::Model, Verdict::QuotaMinute, Some(window(Window::Minute))),
        (Blame::Model, Verdict::QuotaDay, Some(window(Window::Day))),
        (Blame::Model, Verdict::QuotaSpend, Some(window(Window::Spend))),
        (Blame::Model, Verdict::NotOffered, Some(window(Window::Offer))),
        (Blame::Model, Verdict::ModelDenied, Some(window(Window::Offer))),
        (Blame::Model, Verdict::QuotaUnknown, Some(window(Window::Unknown))),
        (Blame::Nobody, Verdict::Cancelled, None),
        (Blame::Client, Verdict::ClientFault, None),
        (Blame::Egress, Verdict::Location, None),
        (Blame::Pool, Verdict::PoolFault, None),
    ];
    for (blame, cause, scope) in cases {
        let gate = Given::keys(2).when(NOW, tried(1, NOW - 5, cause), penalty(blame, Hold::UntilChecked));
        let (request, key) = (Some(RequestId(9)), KeyId(1));
        assert_eq!(
            gate,
            scope.map(|scope| GateClosed { scope, cause, until: None, probe: None, request, key }),
            "{blame:?}"
        );
    }
}

#[test]
fn a_success_and_what_holds_nothing_close_nothing() {
    let mut given = Given::keys(1);
    assert_eq!(given.when(NOW, tried(1, NOW, Verdict::Success), Penalty::NONE), None);
    assert_eq!(given.when(NOW, tried(1, NOW, Verdict::Truncated), penalty(Blame::Key, Hold::None)), None);
}

#[test]
fn a_rest_is_longer_each_time_in_a_row() {
    let mut given = Given::keys(2);
    let mut now = NOW;
    for rest in [5_000, 10_000, 20_000] {
        let hold = penalty(Blame::Key, Hold::Rest);
        let gate = given.when(now, tried(1, now, Verdict::ConnectFailed), hold);
        let until = gate.expect("it rests").until.expect("for a time");
        assert!((rest..rest + 500).contains(&(until - now)), "{rest}: {}", until - now);
        now = until;
    }
}

#[test]
fn a_told_delay_is_kept_with_less_than_half_a_second_more() {
    for (spread, more) in [(0, 0), (499, 499), (500, 0), (u16::MAX, 35)] {
        let hold = Penalty { spread, ..penalty(Blame::Model, Hold::For { ms: 7_000 }) };
        let told = Attempted { retry_delay_ms: Some(7_000), ..tried(1, NOW, Verdict::QuotaMinute) };
        let gate = Given::keys(1).when(NOW, told, hold);
        assert_eq!(waits(gate, NOW), 7_000 + more);
    }
    let negative = penalty(Blame::Model, Hold::For { ms: -5 });
    let told = Attempted { retry_delay_ms: Some(-5), ..tried(1, NOW, Verdict::QuotaMinute) };
    assert_eq!(waits(Given::keys(1).when(NOW, told, negative), NOW), 0);
    let endless = penalty(Blame::Model, Hold::For { ms: i64::MAX });
    let gate = Given::keys(1)
        .when(NOW, Attempted { retry_delay_ms: Some(1), ..tried(1, NOW, Verdict::QuotaMinute) }, endless)
        .unwrap();
    assert_eq!(gate.until, Some(Millis::MAX));
}

#[test]
fn a_days_quota_comes_back_when_the_day_turns() {
    let hold = Penalty { spread: 77, ..penalty(Blame::Model, Hold::DayTurns) };
    let gate = Given::keys(1).when(NOW, tried(1, NOW, Verdict::QuotaDay), hold).unwrap();
    assert_eq!(gate.until, Some(quota_day(NOW, 0).1));
}

#[test]
fn probes_of_what_nobody_named_come_later_each_time_and_a_success_begins_anew() {
    let mut given = Given::keys(1);
    let backoff = penalty(Blame::Model, Hold::Backoff);
    let mut now = NOW;
    let scope = |window| Scope::Model { project: "alpha".to_owned(), model: "flash".to_owned(), window };
    // It is 40 s past the minute. Moments, the turn of the minute, and then the turns of ever later minutes.
    for seconds in [1, 2, 4, 8, 5, 8, 8, 8, 8, 28, 120, 240, 480, 960, 1_920, 3_600, 3_600] {
        let try_ = Attempted { probe: now > NOW, ..tried(1, now, Verdict::QuotaUnknown) };
        let gate = given.when(now, try_, backoff).unwrap();
        assert_eq!(gate.probe, Some(now + seconds * 1_000));
        assert_eq!(gate.until, Some(now + seconds * 1_000 + 3_600_000), "where nobody probes");
        now += seconds * 1_000;
    }
    let served = Attempted { probe: true, ..tried(1, now, Verdict::Success) };
    let events = attempted(&given.0, served, Penalty::NONE, MAX_FAILURES, now);
    let opened = GateOpened { scope: scope(Window::Unknown), why: Opened::Probed };
    assert_eq!(events[1..], [Event::from(opened)]);
    given.then(now, events);
    let spread = Penalty { spread: 123, ..backoff };
    let gate = given.when(now, tried(1, now, Verdict::QuotaUnknown), spread).unwrap();
    assert_eq!(gate.probe, Some(now + 1_123));
}

#[test]
fn a_run_of_soft_failures_rests_the_key_where_others_do_well() {
    let mut given = Given::keys(2);
    for number in 1..MAX_FAILURES {
        assert_eq!(given.when(NOW, tried(1, NOW, Verdict::Overloaded), soft()), None, "failure {number}");
    }
    let mut now = NOW;
    for seconds in [5, 10, 20, 40, 80, 160, 300, 300] {
        let wait = waits(given.when(now, tried(1, now, Verdict::Overloaded), soft()), now);
        assert_eq!(wait, seconds * 1_000, "and a key that fails after its rest rests longer at once");
        now += wait;
    }
    given.when(now, tried(1, now, Verdict::Success), Penalty::NONE);
    assert_eq!(given.when(now, tried(1, now, Verdict::Overloaded), soft()), None, "the run is broken");
}

#[test]
fn a_success_between_breaks_the_run() {
    let mut given = Given::keys(2);
    for _ in 0..10 {
        for _ in 1..MAX_FAILURES {
            assert_eq!(given.when(NOW, tried(1, NOW, Verdict::TimedOut), soft()), None);
        }
        given.when(NOW, tried(1, NOW, Verdict::Success), Penalty::NONE);
    }
}

/// Then Google is down, and resting keys would add to it.
#[test]
fn where_no_other_key_does_well_none_rests() {
    let mut only = Given::keys(1);
    let mut all = Given::keys(3);
    for _ in 0..10 {
        assert_eq!(only.when(NOW, tried(1, NOW, Verdict::Overloaded), soft()), None);
    }
    for round in 0..10 {
        for key in 1..=3 {
            let gate = all.when(NOW, tried(key, NOW, Verdict::Overloaded), soft());
            assert_eq!(gate, None, "round {round}, key {key}");
        }
    }
    let mut disabled = Given::keys(2);
    let other = change_keys(&disabled.0, &[KeyId(2)], KeyChange::Disable, &Actor::Cli, secret_names).unwrap();
    disabled.then(1, other.events);
    for _ in 0..10 {
        assert_eq!(disabled.when(NOW, tried(1, NOW, Verdict::Overloaded), soft()), None);
    }
}

#[test]
fn a_limit_of_nought_is_a_limit_of_one() {
    for limit in [0, 1] {
        let given = Given::keys(2);
        let events = attempted(&given.0, tried(1, NOW, Verdict::Overloaded), soft(), limit, NOW);
        assert_eq!(events.len(), 2);
    }
}

#[test]
fn a_credential_that_flaps_rests_and_the_third_time_waits_for_a_check() {
    for keys in [1, 2] {
        let mut given = Given::keys(keys);
        let mut now = NOW;
        for seconds in [5, 10] {
            let wait = waits(given.when(now, tried(1, now, Verdict::Unauthenticated), soft()), now);
            assert_eq!(wait, seconds * 1_000, "also where it is the only one");
            now += wait;
        }
        let third = given.when(now, tried(1, now, Verdict::Unauthenticated), soft());
        assert_eq!(third.unwrap().until, None);
    }
}

#[test]
fn a_success_between_makes_a_credential_good() {
    let mut given = Given::keys(1);
    let mut now = NOW;
    for _ in 0..5 {
        for _ in 0..2 {
            now += waits(given.when(now, tried(1, now, Verdict::Unauthenticated), soft()), now);
        }
        given.when(now, tried(1, now, Verdict::Success), Penalty::NONE);
    }
}

/// Google's overload says nothing about a credential.
#[test]
fn other_failures_are_not_401s() {
    let mut given = Given::keys(2);
    for _ in 1..MAX_FAILURES {
        given.when(NOW, tried(1, NOW, Verdict::Overloaded), soft());
    }
    let gate = given.when(NOW, tried(1, NOW, Verdict::Unauthenticated), soft()).unwrap();
    assert!(gate.until.is_some(), "one 401 is not three");
}

#[test]
fn a_try_from_before_the_gate_closed_says_nothing_new() {
    let mut given = Given::keys(1);
    let hold = |ms| penalty(Blame::Model, Hold::For { ms });
    let tried =
        |key, started, verdict| Attempted { retry_delay_ms: Some(1_000), ..tried(key, started, verdict) };
    let first = given.when(NOW, tried(1, NOW - 10, Verdict::QuotaMinute), hold(1_000));
    assert_eq!(waits(first, NOW), 1_000);
    for started in [NOW - 10, NOW] {
        assert_eq!(given.when(NOW + 500, tried(1, started, Verdict::QuotaMinute), hold(9_000)), None);
    }
    let news = given.when(NOW + 500, tried(1, NOW + 1, Verdict::QuotaMinute), hold(9_000));
    assert_eq!(waits(news, NOW), 9_500);
    let late = given.when(NOW + 9_500, tried(1, NOW - 10, Verdict::QuotaMinute), hold(1_000));
    assert_eq!(waits(late, NOW + 9_500), 1_000, "the gate had opened meanwhile");
}

#[test]
fn a_try_from_before_one_windows_gate_is_news_of_another_window() {
    let mut given = Given::keys(1);
    given.when(NOW, tried(1, NOW - 10, Verdict::QuotaMinute), penalty(Blame::Model, Hold::For { ms: 1_000 }));
    let day =
        given.when(NOW + 1, tried(1, NOW - 10, Verdict::QuotaDay), penalty(Blame::Model, Hold::DayTurns));
    assert_eq!(day.unwrap().until, Some(quota_day(NOW, 0).1));
}

#[test]
fn a_shorter_gate_never_shortens_a_longer_one() {
    let mut given = Given::keys(2);
    let hold = |ms| penalty(Blame::Key, Hold::For { ms });
    assert_eq!(waits(given.when(NOW, tried(1, NOW, Verdict::BadKey), hold(5_000)), NOW), 5_000);
    let (later, started) = (NOW + 1_000, NOW + 1);
    assert_eq!(given.when(later, tried(1, started, Verdict::BadKey), hold(3_999)), None);
    assert_eq!(given.when(later, tried(1, started, Verdict::BadKey), hold(4_000)), None, "nor repeats it");
    assert_eq!(waits(given.when(later, tried(1, started, Verdict::BadKey), hold(4_001)), later), 4_001);
    assert_eq!(given.when(later, tried(1, later + 1, Verdict::BadKey), UNTIL_CHECKED).unwrap().until, None);
    assert_eq!(given.when(later, tried(1, later + 2, Verdict::BadKey), hold(i64::MAX)), None);
    assert_eq!(given.when(later, tried(1, later + 2, Verdict::BadKey), UNTIL_CHECKED), None);
}

fn any_penalty() -> impl Strategy<Value = Penalty> {
    let blames = [
        Blame::Nobody,
        Blame::Client,
        Blame::Key,
        Blame::Method,
        Blame::Project,
        Blame::Model,
        Blame::Upstream,
        Blame::Egress,
        Blame::Pool,
    ];
    let holds = prop_oneof![
        select(&[Hold::None, Hold::UntilChecked, Hold::Backoff, Hold::DayTurns, Hold::Streak][..]),
        (-10i64..40_000_000).prop_map(|ms| Hold::HalfOpen { ms }),
        (-10i64..40_000_000).prop_map(|ms| Hold::For { ms }),
        any::<i64>().prop_map(|ms| Hold::For { ms }),
    ];
    (select(blames.to_vec()), holds, any::<u16>()).prop_map(|(blame, hold, spread)| Penalty {
        blame,
        hold,
        spread,
    })
}

proptest! {
    /// Whatever went before: a gate does not open in the past, none that stands closed opens earlier for a
    /// failure but a probe's, and only a success opens one.
    #[test]
    fn no_gate_opens_earlier_for_what_follows(
        events in history::history(60),
        attempt in history::attempted(),
        penalty in any_penalty(),
        max_failures in 0u32..5,
    ) {
        let mut state = State::replay(&events);
        let now = state.at;
        let probe = attempt.probe;
        let follows = attempted(&state, attempt.clone(), penalty, max_failures, now);
        prop_assert!(follows.contains(&Event::from(attempt.clone())));
        let opens = |state: &State, scope: &Scope| {
            state.keys.gate(scope).filter(|gate| gate.is_closed(now)).map(|gate| gate.until.unwrap_or(Millis::MAX))
        };
        for event in follows {
            let before = match &event {
                Event::GateClosed(gate) => {
                    prop_assert!(!attempt.verdict.is_success());
                    prop_assert!(gate.until.is_none_or(|until| until >= now));
                    prop_assert!(gate.probe.is_none_or(|probe| probe >= now && gate.until.is_some_and(|until| probe < until)));
                    Some((gate.scope.clone(), opens(&state, &gate.scope)))
                }
                Event::GateOpened(gate) => {
                    prop_assert!(attempt.verdict.is_success());
                    prop_assert!(state.keys.gate(&gate.scope).is_some_and(|gate| gate.is_closed(now)));
                    None
                }
                _ => None,
            };
            state.apply(&Recorded { seq: state.seq + 1, at: now, event });
            if let Some((scope, before)) = before.filter(|_| !probe) {
                prop_assert!(before <= opens(&state, &scope).or(before));
            }
        }
    }
}
