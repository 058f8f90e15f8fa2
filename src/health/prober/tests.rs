use projections::{
    Event, Recorded,
    event::{GateClosed, KeyAdded, Scope},
};

use super::*;

const HOUR: Millis = 3_600_000;

fn state(events: Vec<Event>) -> State {
    let mut state = State::default();
    for event in events {
        state.apply(&Recorded { seq: state.seq + 1, at: 0, event });
    }
    state
}

fn added(key: u32, project: &str) -> Event {
    let (label, tail, project) = (String::new(), String::new(), Some(project.to_owned()));
    KeyAdded {
        key: KeyId(key),
        label,
        tail,
        fingerprint: Fingerprint([key as u8; 16]),
        project,
        actor: Actor::Cli,
    }
    .into()
}

fn closed(scope: Scope, until: Option<Millis>) -> Event {
    GateClosed { scope, cause: Verdict::BadKey, until, probe: Some(5), request: None, key: KeyId(1) }.into()
}

fn due(state: &State, now: Millis) -> Vec<u32> {
    failed_keys(&state.keys, now, HOUR, |_| 0).into_iter().map(|due| due.key.0).collect()
}

#[test]
fn only_what_a_check_alone_opens_is_checked_and_not_before_its_time() {
    let state = state(vec![
        added(1, "a"),
        added(2, "b"),
        added(3, "c"),
        closed(Scope::Key(KeyId(1)), None),
        closed(Scope::Key(KeyId(2)), Some(9 * HOUR)),
    ]);
    assert_eq!((due(&state, HOUR - 1), due(&state, HOUR)), (vec![], vec![1]));
}

#[test]
fn of_a_project_that_failed_one_key_is_asked() {
    let state =
        state(vec![added(1, "a"), added(2, "a"), added(3, "b"), closed(Scope::Project("a".into()), None)]);
    assert_eq!(due(&state, HOUR), [1]);
}

#[test]
fn a_check_in_vain_is_repeated_an_interval_later() {
    let mut state = state(vec![added(1, "a"), closed(Scope::Key(KeyId(1)), None)]);
    let event = KeyChecked {
        key: KeyId(1),
        project: "a".to_owned(),
        model: String::new(),
        method: "models.list".to_owned(),
        started: HOUR,
        latency_ms: 1,
        status: 400,
        verdict: Verdict::BadKey,
        reason: None,
        violations: Vec::new(),
        retry_delay_ms: None,
        consumer: None,
        actor: Actor::System,
    };
    state.apply(&Recorded { seq: 9, at: HOUR, event: event.into() });
    assert_eq!((due(&state, 2 * HOUR - 1), due(&state, 2 * HOUR)), (vec![], vec![1]));
}

#[test]
fn a_spent_day_and_costly_models_are_left_to_the_traffic() {
    let cell =
        |model: &str, window| Scope::Model { project: "a".to_owned(), model: model.to_owned(), window };
    let state = state(vec![
        added(1, "a"),
        closed(cell("gemini-2.5-flash", Window::Day), Some(HOUR)),
        closed(cell("gemini-2.5-pro", Window::Unknown), Some(HOUR)),
        closed(cell("gemini-2.5-flash-image", Window::Unknown), Some(HOUR)),
    ]);
    let may = |model, now| may_be_probed(&state.keys, "a", model, now);
    assert!(!may("gemini-2.5-flash", 10) && may("gemini-2.5-flash", HOUR), "never before the day has turned");
    assert!(may("gemini-2.5-pro", 10) && !may("gemini-2.5-flash-image", 10));
    assert!(!may("x/../y", 10));
}

#[test]
fn checks_of_many_keys_part() {
    let jitter = jitter(HOUR);
    let all: BTreeSet<Millis> = (1..100).map(|key| jitter(KeyId(key))).collect();
    assert!(all.len() > 90 && all.iter().all(|more| (0..HOUR / 10).contains(more)));
}

/// What people are told is when it happens.
#[test]
fn the_next_check_is_when_it_is_due() {
    let interval = Duration::from_millis(HOUR as u64);
    let state = state(vec![
        added(1, "a"),
        added(2, "a"),
        added(3, "b"),
        added(4, "c"),
        closed(Scope::Key(KeyId(1)), None),
        closed(Scope::Project("b".to_owned()), None),
        closed(Scope::Key(KeyId(4)), Some(HOUR)),
    ]);
    let next = |key| next_check(&state.keys, state.keys.get(KeyId(key)).unwrap(), interval);
    let due = |now| failed_keys(&state.keys, now, HOUR, jitter(HOUR)).into_iter().map(|due| due.key.0);
    for key in [1, 3] {
        let next = next(key).unwrap();
        assert!(
            !due(next - 1).any(|found| found == key) && due(next).any(|found| found == key),
            "{key} at {next}"
        );
    }
    assert_eq!((next(2), next(4)), (None, None));
}
