//! Who looks like one project, and who does not; and what is left of a quota.

use projections::{
    Event, KeyId, Millis, State,
    event::{Attempted, Change, ProjectLearned, QuotaDayBegan, Verdict, Violation, Window},
    headroom::headroom,
    siblings::{ENOUGH, PAIRS_KEPT, TALLIES_KEPT},
};
use proptest::prelude::*;

use crate::{
    given::{Given, attempted, updated},
    history::history,
};

const MINUTE: Millis = 60_000;
/// Some minute's beginning, as Google counts them here.
const START: Millis = 1_790_000_017_000;

fn served(key: u32, at: Millis) -> Attempted {
    Attempted { started: at, ..attempted(key, Verdict::Success) }
}

/// Refused at a limit, which opens at `turns`; the delay is told in whole seconds.
fn refused(key: u32, at: Millis, window: Window, limit: u64, turns: Millis) -> Attempted {
    let violation = Violation { limit: Some(limit), window: Some(window), ..Violation::default() };
    let delay = (turns - at + 999) / 1_000 * 1_000;
    Attempted {
        started: at,
        violations: vec![violation],
        retry_delay_ms: Some(delay),
        ..attempted(key, Verdict::QuotaMinute)
    }
}

/// One minute, in which each key serves so often and then is refused.
fn minute(given: &mut Given, number: Millis, limit: u64, keys: &[(u32, u64)]) {
    let began = START + number * MINUTE;
    let mut at = began;
    for (key, count) in keys {
        for _ in 0..*count {
            at += 100;
            given.when(at + 50, served(*key, at));
        }
    }
    for (key, _) in keys {
        at += 1_000;
        given.when(at, refused(*key, at, Window::Minute, limit, began + MINUTE));
    }
}

fn suggested(state: &State) -> Vec<Vec<u32>> {
    let all = state.siblings.suggestions(&state.keys);
    all.into_iter().map(|one| one.keys.into_iter().map(|key| key.0).collect()).collect()
}

/// A pool of keys of which nobody said a project.
fn undeclared(count: usize) -> Given {
    Given::keys(&vec![""; count])
}

#[test]
fn keys_that_share_a_bucket_are_suggested_after_a_few_windows() {
    let mut given = undeclared(3);
    // The first window is seen from its middle, and one is known to be over by the next.
    for number in 0..=Millis::from(ENOUGH) {
        minute(&mut given, number, 10, &[(1, 6), (2, 4)]);
        assert_eq!(suggested(&given.state), Vec::<Vec<u32>>::new(), "after {number}");
    }
    minute(&mut given, 5, 10, &[(1, 3), (2, 7)]);
    assert_eq!(suggested(&given.state), [[1, 2]]);
    let all = given.state.siblings.suggestions(&given.state.keys);
    assert_eq!((all[0].times, all[0].limit, all[0].window), (ENOUGH, 10, Window::Minute));
    assert_eq!(all[0].model, "flash");
}

#[test]
fn two_that_are_both_used_up_are_not() {
    let mut given = undeclared(2);
    for number in 0..50 {
        minute(&mut given, number, 10, &[(1, 10), (2, 10)]);
    }
    assert_eq!((suggested(&given.state).len(), given.state.siblings.pairs()), (0, 0));
}

#[test]
fn one_window_that_no_single_project_could_have_takes_it_all_back() {
    let mut given = undeclared(2);
    for number in 0..6 {
        minute(&mut given, number, 10, &[(1, 5), (2, 5)]);
    }
    assert_eq!(suggested(&given.state), [[1, 2]]);
    minute(&mut given, 6, 10, &[(1, 10), (2, 9)]);
    minute(&mut given, 7, 10, &[(1, 5), (2, 5)]);
    assert_eq!(suggested(&given.state).len(), 0);
    assert_eq!(given.state.siblings.pairs(), 0);
}

#[test]
fn other_limits_and_other_minutes_say_nothing() {
    let mut given = undeclared(4);
    for number in 0..20 {
        // Used elsewhere too, so neither reaches its limit with what it served here.
        minute(&mut given, number, 10, &[(1, 5)]);
        minute(&mut given, number, 12, &[(2, 5)]);
    }
    for number in 0..20 {
        let began = START + number * MINUTE;
        for (key, shift) in [(3, 0), (4, 25_000)] {
            for count in 0..10 {
                given.when(began + shift + count, served(key, began + shift + count));
            }
            let at = began + shift + 9_000;
            given.when(at, refused(key, at, Window::Minute, 20, began + shift + MINUTE));
        }
    }
    assert_eq!((suggested(&given.state).len(), given.state.siblings.pairs()), (0, 0));
    // Chance alone brings two to a limit of two.
    for number in 100..120 {
        minute(&mut given, number, 2, &[(1, 1), (2, 1)]);
    }
    assert_eq!(given.state.siblings.pairs(), 0);
}

#[test]
fn three_keys_of_one_project_are_one_suggestion() {
    let mut given = undeclared(5);
    for number in 0..6 {
        minute(&mut given, number, 10, &[(1, 4), (2, 3), (4, 3)]);
        minute(&mut given, number, 10, &[(5, 10)]);
    }
    assert_eq!(suggested(&given.state), [[1, 2, 4]]);
}

#[test]
fn days_count_like_minutes() {
    let mut given = undeclared(2);
    for day in 1..=5 {
        let (began, ends) = (day * 86_400_000, (day + 1) * 86_400_000);
        given.when(began, QuotaDayBegan { began, ends });
        for key in [1, 2] {
            for count in 0..125 {
                given.when(began + count, served(key, began + count));
            }
        }
        for key in [1, 2] {
            // Google's delay does not tell when a day turns.
            let at = began + 1_000;
            given.when(at, refused(key, at, Window::Day, 250, at + 20_000));
        }
    }
    assert_eq!(suggested(&given.state), [[1, 2]]);
    assert_eq!(given.state.siblings.suggestions(&given.state.keys)[0].window, Window::Day);
}

#[test]
fn an_operators_word_or_googles_settles_it() {
    let evident = || {
        let mut given = undeclared(2);
        for number in 0..6 {
            minute(&mut given, number, 10, &[(1, 5), (2, 5)]);
        }
        assert_eq!(suggested(&given.state), [[1, 2]]);
        given
    };
    let mut given = evident();
    for key in [1, 2] {
        given.when(
            START,
            Event::from(projections::event::KeyUpdated {
                project: Some(Change::To("shared".to_owned())),
                ..updated(key)
            }),
        );
    }
    assert_eq!(suggested(&given.state).len(), 0, "it is declared");

    let mut given = evident();
    let learned = |key, consumer: &str| ProjectLearned { key: KeyId(key), consumer: consumer.to_owned() };
    given.when(START, learned(1, "projects/1"));
    given.when(START, learned(2, "projects/2"));
    assert_eq!(suggested(&given.state).len(), 0, "Google calls them differently");

    let mut given = Given::keys(&["alpha", "beta"]);
    for number in 0..9 {
        minute(&mut given, number, 10, &[(1, 5), (2, 5)]);
    }
    assert_eq!(given.state.siblings.tallies(), 0, "nobody asks about what is declared");
}

#[test]
fn however_many_refusals_there_are_what_is_kept_is_bounded() {
    let mut given = undeclared(60);
    for number in 0..3 {
        for key in 1..=60 {
            for model in 0..20 {
                let at = START + number * MINUTE;
                let name = |attempt: Attempted| Attempted { model: format!("m{model}"), ..attempt };
                for _ in 0..5 {
                    given.when(at, name(served(key, at)));
                }
                given.when(at, name(refused(key, at, Window::Minute, 10, at + MINUTE)));
            }
        }
    }
    let siblings = &given.state.siblings;
    assert_eq!((siblings.tallies(), TALLIES_KEPT + PAIRS_KEPT), (TALLIES_KEPT, 1_000));
    assert!(siblings.pairs() <= PAIRS_KEPT, "{}", siblings.pairs());
    let mut given = undeclared(60);
    for number in 0..3 {
        for key in 1..=60 {
            let at = START + number * MINUTE;
            for _ in 0..5 {
                given.when(at, served(key, at));
            }
            given.when(at, refused(key, at, Window::Minute, 10, at + MINUTE));
        }
    }
    assert_eq!(given.state.siblings.pairs(), PAIRS_KEPT);
}

/// Two buckets that are one, or not, with a split that chance draws.
fn splits() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(2..=8_u64, 6..12)
}

proptest! {
    #[test]
    fn law_true_siblings_are_found_whatever_their_shares(splits in splits()) {
        let mut given = undeclared(2);
        for (number, share) in (0..).zip(&splits) {
            minute(&mut given, number, 10, &[(1, *share), (2, 10 - share)]);
        }
        prop_assert_eq!(suggested(&given.state), [[1, 2]]);
    }

    #[test]
    fn law_projects_that_serve_all_of_their_limits_are_never_suggested(
        limit in 1..30_u64,
        order in prop::collection::vec(any::<bool>(), 1..20),
    ) {
        let mut given = undeclared(2);
        for (number, first) in (0..).zip(&order) {
            let keys = if *first { [(1, limit), (2, limit)] } else { [(2, limit), (1, limit)] };
            minute(&mut given, number, limit, &keys);
            prop_assert_eq!(suggested(&given.state).len(), 0);
        }
    }

    #[test]
    fn law_suggestions_are_of_keys_that_are_there_and_nobody_declared(events in history(60)) {
        let mut state = State::default();
        for recorded in &events {
            state.apply(recorded);
            prop_assert!(state.siblings.tallies() <= TALLIES_KEPT && state.siblings.pairs() <= PAIRS_KEPT);
            let mut named = Vec::new();
            for one in state.siblings.suggestions(&state.keys) {
                prop_assert!(one.projects.len() > 1 && one.keys.len() > 1 && one.times >= ENOUGH);
                named.extend(one.keys);
            }
            let all = named.len();
            named.sort_unstable();
            named.dedup();
            prop_assert_eq!(named.len(), all, "a key is in one suggestion at most");
            prop_assert!(named.iter().all(|key| state.keys.get(*key).is_some_and(|key| !key.declared)));
        }
    }

    #[test]
    fn law_used_and_left_make_the_limit(events in history(60), later in 0..200_000_i64) {
        let state = State::replay(&events);
        let now = state.at.saturating_add(later);
        for room in headroom(&state.keys, now) {
            prop_assert_eq!(room.left, room.limit.saturating_sub(room.used));
            prop_assert!(state.keys.project(room.project).is_some());
            prop_assert!(room.turns.is_none_or(|turns| turns >= now));
        }
    }
}

#[test]
fn what_is_left_is_told_and_comes_back_when_the_window_turns() {
    let mut given = Given::keys(&["alpha"]);
    let room = |given: &Given, now| -> Vec<_> {
        let all = headroom(&given.state.keys, now);
        all.map(|room| (room.window, room.used, room.left, room.limit, room.turns)).collect()
    };
    let (began, ends) = (START - 3_600_000, START + 3_600_000);
    given.when(began, QuotaDayBegan { began, ends });
    given.when(START, served(1, START));
    assert_eq!(room(&given, START), [], "nobody named a limit yet");
    given.when(START, refused(1, START, Window::Minute, 10, START + 30_000));
    given.when(START, refused(1, START, Window::Day, 250, START + 30_000));
    let turns = START + 30_000;
    let day = |used| (Window::Day, used, 250 - used, 250, Some(ends));
    assert_eq!(room(&given, START + 1), [(Window::Minute, 10, 0, 10, Some(turns)), day(250)]);
    assert_eq!(room(&given, turns), [(Window::Minute, 0, 10, 10, Some(turns + MINUTE)), day(250)]);
    // A new day, before and after the log heard of it.
    let fresh = |turns| (Window::Day, 0, 250, 250, turns);
    assert_eq!(room(&given, ends)[1], fresh(None));
    given.when(ends, QuotaDayBegan { began: ends, ends: ends + 86_400_000 });
    assert_eq!(room(&given, ends)[1], fresh(Some(ends + 86_400_000)));
    for count in 0..3 {
        given.when(ends + count, served(1, ends + count));
    }
    assert_eq!(room(&given, ends + 9)[1], (Window::Day, 3, 247, 250, Some(ends + 86_400_000)));
}
