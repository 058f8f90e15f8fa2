//! Half-open gates, circuits, projects, days and checks: what the pool learns, by example.

use projections::event::{KeyChecked, ProjectLearned, Violation};

use super::*;

/// A November noon in California.
const NOW: Millis = 1_795_032_000_000;
const MINUTE: Millis = 60_000;
const HOUR: Millis = 60 * MINUTE;

fn day() -> Penalty {
    penalty(Blame::Model, Hold::DayTurns)
}

fn day_scope() -> Scope {
    Scope::Model { project: "alpha".to_owned(), model: "flash".to_owned(), window: Window::Day }
}

fn circuit() -> Scope {
    Scope::Upstream { model: "flash".to_owned() }
}

/// A try that was refused for the day, with the delay that Google told.
fn spent(now: Millis, probe: bool, told: Millis) -> Attempted {
    Attempted { probe, retry_delay_ms: Some(told), ..tried(1, now, Verdict::QuotaDay) }
}

fn served(now: Millis, probe: bool) -> Attempted {
    Attempted { probe, ..tried(1, now, Verdict::Success) }
}

impl Given {
    fn succeeds(&mut self, now: Millis, attempt: Attempted) -> Vec<Event> {
        let events = attempted(&self.0, attempt, Penalty::NONE, MAX_FAILURES, now);
        self.then(now, events.clone());
        events.into_iter().skip(1).collect()
    }
}

#[test]
fn a_spent_day_is_probed_soon_and_then_ever_later_and_opens_when_it_turns() {
    let turns = quota_day(NOW, 0).1;
    for (told, first) in [(8_000, 8_000), (100_000, 100_000), (12 * HOUR, 4 * MINUTE)] {
        let mut given = Given::keys(1);
        let (mut now, mut wait) = (NOW, first);
        for probe in [false, true] {
            let gate = given.when(now, spent(now, probe, told), day()).unwrap();
            assert_eq!((gate.until, gate.probe), (Some(turns), Some(now + wait)));
            now += wait;
            wait *= 4;
        }
    }
}

#[test]
fn probes_in_vain_teach_that_days_are_days() {
    let mut given = Given::keys(1);
    given.when(NOW, spent(NOW, false, 8_000), day());
    let mut now = NOW;
    for _ in 0..2 {
        now = given.gate(&day_scope()).unwrap().probe.unwrap();
        given.when(now, spent(now, true, 8_000), day());
    }
    assert_eq!((given.0.keys.day().early, given.0.keys.day().late), (0, 2));
    let other = Attempted { project: "beta".to_owned(), ..spent(now, false, 8_000) };
    given.then(now, vec![KeyAdded { key: KeyId(2), ..added(2, "beta") }.into()]);
    let gate = given.when(now, Attempted { key: KeyId(2), ..other }, day()).unwrap();
    assert_eq!(gate.probe, Some(now + HOUR), "another project profits");
}

#[test]
fn a_probe_that_comes_through_teaches_that_the_told_delay_is_true() {
    let mut given = Given::keys(1);
    given.when(NOW, spent(NOW, false, 30_000), day());
    let at = NOW + MINUTE;
    let events = given.succeeds(at, served(at, true));
    assert_eq!(events, [GateOpened { scope: day_scope(), why: Opened::Probed }.into()]);
    assert_eq!(given.gate(&day_scope()), None);
    let gate = given.when(at + 5, spent(at + 1, false, 30_000), day()).unwrap();
    assert_eq!(gate.probe, Some(at + 5 + 30_000), "to the millisecond");
}

#[test]
fn a_probe_opens_what_it_went_through_when_its_answer_begins_and_counts_once() {
    let mut given = Given::keys(1);
    given.when(NOW, spent(NOW, false, 30_000), day());
    let at = NOW + MINUTE;
    let opened = Event::from(GateOpened { scope: day_scope(), why: Opened::Probed });
    assert_eq!(began(&given.0, &served(at, false), at + 5), [], "it went through no gate");
    let events = began(&given.0, &served(at, true), at + 5);
    assert_eq!(events, [opened]);
    given.then(at + 5, events);
    assert_eq!(given.succeeds(at + 9, served(at, true)), [], "the end of the answer has no more to say");
    assert_eq!(given.0.keys.day().early, 1);
    // What closes while the answer runs is not what the probe went through.
    given.when(at + 10, spent(at + 6, false, 30_000), day());
    assert_eq!(given.succeeds(at + 20, served(at, true)), []);
    assert!(given.gate(&day_scope()).is_some());
}

#[test]
fn where_days_are_back_early_and_no_delay_is_told_probes_come_soon() {
    let mut given = Given::keys(1);
    let untold = |now, probe| Attempted { retry_delay_ms: None, ..spent(now, probe, 0) };
    let gate = given.when(NOW, untold(NOW, false), day()).unwrap();
    let mut now = NOW + 40_000;
    assert_eq!(gate.probe, Some(now), "delays on record are shorter");
    given.succeeds(now, served(now, true));
    for (probe, wait) in [(false, 5_000), (true, 10_000), (true, 20_000)] {
        let gate = given.when(now + 1, untold(now + 1, probe), day()).unwrap();
        assert_eq!(gate.probe, Some(now + 1 + wait));
        now += 1 + wait;
    }
}

#[test]
fn a_day_that_was_back_early_has_no_limit_that_anybody_knows() {
    let mut given = Given::keys(1);
    let violation = Violation { limit: Some(20), window: Some(Window::Day), ..Violation::default() };
    given.when(NOW, Attempted { violations: vec![violation], ..spent(NOW, false, 8_000) }, day());
    let known = |given: &Given| given.0.keys.project("alpha").unwrap().budgets.contains_key("flash");
    assert!(known(&given));
    let at = NOW + 8_000;
    let events = began(&given.0, &served(at, true), at + 5);
    given.then(at + 5, events);
    assert!(!known(&given));
}

#[test]
fn a_minute_without_a_delay_is_probed_when_it_turns() {
    let mut given = Given::keys(1);
    let hold = penalty(Blame::Model, Hold::For { ms: MINUTE });
    let at = NOW + 17_000;
    let gate = given.when(at, tried(1, at, Verdict::QuotaMinute), hold).unwrap();
    assert_eq!((gate.probe, gate.until), (Some(NOW + MINUTE), Some(NOW + 2 * MINUTE)));
    let told = Attempted { retry_delay_ms: Some(5_000), ..tried(1, at + 1, Verdict::QuotaMinute) };
    let mut other = Given::keys(1);
    let gate = other.when(at + 1, told, penalty(Blame::Model, Hold::For { ms: 5_000 })).unwrap();
    assert_eq!((gate.probe, gate.until), (None, Some(at + 5_001)));
}

#[test]
fn what_nobody_named_is_probed_when_the_day_turns() {
    let mut given = Given::keys(1);
    let turns = quota_day(NOW, 0).1;
    let mut now = turns - 40 * MINUTE;
    for _ in 0..16 {
        let try_ = Attempted { probe: true, ..tried(1, now, Verdict::QuotaUnknown) };
        now = given.when(now, try_, penalty(Blame::Model, Hold::Backoff)).unwrap().probe.unwrap();
        if now == turns {
            return;
        }
    }
    panic!("midnight was missed: {now}");
}

#[test]
fn no_probe_is_due_after_the_turn() {
    let turns = quota_day(NOW, 0).1;
    let gate = Given::keys(1).when(turns - 5, spent(turns - 6, false, 8_000), day()).unwrap();
    assert_eq!((gate.until, gate.probe), (Some(turns), None));
}

/// The quota was not back at midnight, and is some time later: from then on the day turns then.
#[test]
fn a_day_that_turns_later_is_learned() {
    let mut given = Given::keys(1);
    let midnight = quota_day(NOW, 0).1;
    given.when(midnight + MINUTE, spent(midnight + 1, false, 8_000), day());
    let mut now = given.gate(&day_scope()).unwrap().probe.unwrap();
    given.when(now, spent(now, true, 8_000), day());
    now = given.gate(&day_scope()).unwrap().probe.unwrap();
    let events = given.succeeds(now, served(now, true));
    assert!(
        matches!(&events[..], [Event::GateOpened(_), Event::QuotaTurnLearned(turn)] if turn.shift_ms == now - midnight)
    );
    assert_eq!(given.0.keys.day().shift_ms, now - midnight);
    let next = given.when(now + HOUR, spent(now + HOUR, false, 8_000), day()).unwrap();
    assert_eq!(next.until, Some(now + 24 * HOUR), "a day after, and not at midnight");
}

#[test]
fn a_day_that_begins_is_told_once_before_what_happens_in_it() {
    let mut given = Given::default();
    given.then(0, add_keys(&given.0, vec![new_key(1)], &Actor::Cli).unwrap().events);
    let events = attempted(&given.0, served(NOW, false), Penalty::NONE, MAX_FAILURES, NOW);
    let (began, ends) = quota_day(NOW, 0);
    assert_eq!(events.first(), Some(&QuotaDayBegan { began, ends }.into()));
    given.then(NOW, events);
    assert_eq!(attempted(&given.0, served(NOW, false), Penalty::NONE, MAX_FAILURES, ends - 1).len(), 1);
    assert_eq!(attempted(&given.0, served(NOW, false), Penalty::NONE, MAX_FAILURES, ends).len(), 2);
}

#[test]
fn a_model_that_fails_for_everybody_opens_its_circuit_and_one_probe_closes_it() {
    let mut given = Given::keys(3);
    let fails = |given: &mut Given, now, key, probe| {
        let attempt = Attempted { probe, ..tried(key, now, Verdict::Overloaded) };
        given.when(now, attempt, penalty(Blame::Upstream, Hold::Streak));
    };
    for number in 0..9 {
        fails(&mut given, NOW + number, 1 + number as u32 % 3, false);
        assert_eq!(given.gate(&circuit()), None);
    }
    let mut now = NOW + 9;
    fails(&mut given, now, 1, false);
    for seconds in [1, 2, 4, 8, 16, 30, 30] {
        let gate = *given.gate(&circuit()).unwrap();
        assert_eq!((gate.probe, gate.cause), (Some(now + seconds * 1_000), Verdict::Overloaded));
        fails(&mut given, now + 1, 2, false);
        now = gate.probe.unwrap();
        fails(&mut given, now, 1, true);
    }
    let events = given.succeeds(now + 5, served(now + 1, true));
    assert_eq!(events, [GateOpened { scope: circuit(), why: Opened::Probed }.into()]);
    assert_eq!(given.0.keys.upstream("flash"), None);
    fails(&mut given, now + 6, 1, false);
    assert_eq!(given.gate(&circuit()), None, "one failure is no storm");
}

#[test]
fn a_storm_rests_no_key() {
    let mut given = Given::keys(3);
    for number in 0..30 {
        let attempt = tried(1 + number as u32 % 2, NOW + number, Verdict::Overloaded);
        assert_eq!(given.when(NOW + number, attempt, penalty(Blame::Upstream, Hold::Streak)), None);
    }
}

#[test]
fn a_project_that_google_names_takes_its_keys_in_and_their_gates_with_them() {
    let mut given = Given::default();
    given.then(0, vec![QuotaDayBegan { began: 0, ends: Millis::MAX }.into()]);
    given.then(0, add_keys(&given.0, vec![new_key(1), new_key(2)], &Actor::Cli).unwrap().events);
    let consumer = "projects/7".to_owned();
    let denied = |key: u32, now| Attempted {
        project: format!("key-{key}"),
        consumer: Some("projects/7".to_owned()),
        ..tried(key, now, Verdict::ModelDenied)
    };
    let hold = penalty(Blame::Model, Hold::HalfOpen { ms: HOUR });
    let events = attempted(&given.0, denied(1, NOW), hold, MAX_FAILURES, NOW);
    assert_eq!(events[1], ProjectLearned { key: KeyId(1), consumer: consumer.clone() }.into());
    given.then(NOW, events);
    assert_eq!(given.0.keys.get(KeyId(1)).unwrap().project, consumer);
    let scope = Scope::Model { project: consumer.clone(), model: "flash".to_owned(), window: Window::Offer };
    assert!(given.gate(&scope).is_some(), "the gate stands where the key is now");

    let events = attempted(&given.0, denied(2, NOW + 1), hold, MAX_FAILURES, NOW + 1);
    assert_eq!(events[1], ProjectLearned { key: KeyId(2), consumer: consumer.clone() }.into());
    given.then(NOW + 1, events);
    assert_eq!(given.0.keys.project(&consumer).unwrap().keys.len(), 2);
    assert_eq!(given.0.keys.projects().count(), 1, "their own projects are gone");
    let again = attempted(&given.0, denied(2, NOW + 2), hold, MAX_FAILURES, NOW + 2);
    assert!(!again.iter().any(|event| matches!(event, Event::ProjectLearned(_))), "once");
}

#[test]
fn what_an_operator_declared_stays_and_takes_others_in() {
    let mut given = Given::keys(1);
    given.then(0, add_keys(&given.0, vec![new_key(9)], &Actor::Cli).unwrap().events);
    let named = |key: u32, project: &str, now| Attempted {
        project: project.to_owned(),
        consumer: Some("projects/7".to_owned()),
        ..tried(key, now, Verdict::QuotaMinute)
    };
    let hold = penalty(Blame::Model, Hold::For { ms: 1_000 });
    let events = attempted(&given.0, named(1, "alpha", NOW), hold, MAX_FAILURES, NOW);
    given.then(NOW, events);
    assert_eq!(given.0.keys.get(KeyId(1)).unwrap().project, "alpha");
    let events = attempted(&given.0, named(2, "key-2", NOW + 1), hold, MAX_FAILURES, NOW + 1);
    given.then(NOW + 1, events);
    assert_eq!(given.0.keys.get(KeyId(2)).unwrap().project, "alpha", "it is the same project at Google");
}

fn check(model: &str, verdict: Verdict, now: Millis) -> KeyChecked {
    KeyChecked {
        key: KeyId(1),
        project: "alpha".to_owned(),
        model: model.to_owned(),
        method: "models.list".to_owned(),
        started: now,
        latency_ms: 1,
        status: 200,
        verdict,
        reason: None,
        violations: Vec::new(),
        retry_delay_ms: None,
        consumer: None,
        actor: Actor::System,
    }
}

#[test]
fn a_check_that_passes_opens_the_key_and_its_project_and_one_that_fails_changes_nothing() {
    let mut given = Given::keys(1);
    let key = Scope::Key(KeyId(1));
    given.when(NOW, tried(1, NOW, Verdict::BadKey), penalty(Blame::Key, Hold::UntilChecked));
    given.when(NOW, tried(1, NOW, Verdict::BillingStopped), penalty(Blame::Project, Hold::UntilChecked));
    let still = check("", Verdict::BadKey, NOW + 1);
    let events =
        checked(&given.0, still.clone(), penalty(Blame::Key, Hold::UntilChecked), MAX_FAILURES, NOW + 1);
    assert_eq!(events, [still.into()]);
    let passes = check("", Verdict::Success, NOW + 2);
    let events = checked(&given.0, passes, Penalty::NONE, MAX_FAILURES, NOW + 2);
    let opened = |scope: Scope| Event::from(GateOpened { scope, why: Opened::Checked });
    assert_eq!(events[1..], [opened(key.clone()), opened(Scope::Project("alpha".to_owned()))]);
    given.then(NOW + 2, events);
    assert_eq!(given.gate(&key), None);
}

#[test]
fn a_check_of_a_model_is_a_probe() {
    let mut given = Given::keys(1);
    given.when(NOW, spent(NOW, false, 8_000), day());
    let fails = check("flash", Verdict::QuotaDay, NOW + MINUTE);
    let events = checked(&given.0, fails, day(), MAX_FAILURES, NOW + MINUTE);
    assert!(matches!(&events[1], Event::GateClosed(gate) if gate.probe == Some(NOW + MINUTE + 160_000)));
    given.then(NOW + MINUTE, events);
    assert_eq!(given.0.keys.day().late, 1);
    let at = NOW + MINUTE + 160_000;
    let events = checked(&given.0, check("flash", Verdict::Success, at), Penalty::NONE, MAX_FAILURES, at);
    assert!(events.contains(&GateOpened { scope: day_scope(), why: Opened::Probed }.into()));
}

#[test]
fn a_limit_that_google_names_is_kept_with_its_use() {
    let mut given = Given::keys(1);
    let limit =
        |window, limit| Violation { limit: Some(limit), window: Some(window), ..Violation::default() };
    let refused = Attempted {
        violations: vec![limit(Window::Day, 3), limit(Window::Tokens, 50)],
        retry_delay_ms: Some(20_000),
        ..tried(1, NOW, Verdict::QuotaDay)
    };
    given.when(NOW, refused, day());
    let budget = |given: &Given| given.0.keys.project("alpha").unwrap().budgets["flash"];
    let known = budget(&given);
    assert_eq!((known.day.unwrap().left(0), known.tokens.unwrap().left(known.minute_of(NOW))), (0, 0));
    let next_minute = NOW + MINUTE;
    assert_eq!(known.minute_of(NOW + 20_000), NOW, "the delay is the day's, and not the minute's");
    let on_its_way = Attempted {
        violations: vec![limit(Window::Tokens, 50)],
        retry_delay_ms: Some(20_000),
        ..tried(1, NOW + 40_120, Verdict::QuotaTokens)
    };
    let mut other = Given::keys(1);
    other.when(NOW + 40_120, on_its_way, penalty(Blame::Model, Hold::For { ms: 20_000 }));
    assert_eq!(budget(&other).phase, NOW + MINUTE, "the whole minute, but for the answer's way");
    assert_eq!(known.tokens.unwrap().left(next_minute), 50);

    // One that was under way at the refusal is in Google's count, and no sign that the limit grew.
    given.succeeds(NOW + 5, served(NOW - 1, false));
    assert_eq!(budget(&given).day.unwrap().left(0), 0);
    let turned = quota_day(NOW, 0).1;
    given.then(turned, vec![QuotaDayBegan { began: turned, ends: Millis::MAX }.into()]);
    for served_so_far in 1..=3 {
        given.succeeds(turned + 1, served(turned + 1, false));
        assert_eq!(budget(&given).day.unwrap().left(turned), 3 - served_so_far);
    }
    given.succeeds(turned + 1, served(turned + 1, false));
    assert_eq!(budget(&given).day, None, "more was served than the limit: it is none any more");
}

fn added(number: u32, project: &str) -> KeyAdded {
    KeyAdded {
        key: KeyId(number),
        label: String::new(),
        tail: String::new(),
        fingerprint: fingerprint(number),
        project: Some(project.to_owned()),
        actor: Actor::Cli,
    }
}
