//! Small days made by hand, whose counts are known beforehand.

use super::super::{
    measure::{Back, Ground},
    ours::Ours,
    plan::{KeyPlan, MINUTE, ProjectPlan, RequestPlan},
    policy::{Oracle, RoundRobin},
};
use super::*;
use crate::simulated::{DayDelay, DayTurn, Limits, QuotaStyle};

const START: Millis = 1_780_272_000_000;

/// One project with one key and room for two requests a minute, and requests at these times.
fn plan(at: &[Millis]) -> Plan {
    let project = ProjectPlan {
        name: "p".to_owned(),
        style: QuotaStyle::Detailed,
        day_delay: DayDelay::Short,
        limits: vec![Limits::none().per_minute(2).per_day(100)],
    };
    let request = |at: &Millis| RequestPlan {
        at: START + at,
        client: 1,
        model: 0,
        tokens: 100,
        first_byte: 300,
        duration: 1_000,
        leaves: None,
    };
    Plan {
        seed: 1,
        start: START,
        end: START + 60 * MINUTE,
        day_turn: DayTurn::Midnight,
        load: 1.0,
        models: vec!["gemini-2.5-flash"],
        projects: vec![project],
        keys: vec![KeyPlan { secret: "AIzaSim-one".to_owned(), project: 0, declared: true }],
        requests: at.iter().map(request).collect(),
        changes: Vec::new(),
    }
}

fn oracle(plan: &Plan) -> Oracle {
    Oracle::new(plan.keys.iter().map(|key| key.secret.clone()).collect(), plan.models.clone())
}

/// The oracle, but it does nothing in the first seconds of a minute; or nothing at all.
struct Late {
    knows: Oracle,
    by: Millis,
}

impl Policy for Late {
    fn name(&self) -> &'static str {
        "late"
    }

    fn choose(&mut self, asked: &Asked<'_>, google: &World) -> Choice {
        let minute = asked.now - asked.now.rem_euclid(MINUTE);
        match self.knows.choose(asked, google) {
            _ if self.by >= MINUTE => Choice::Refuse,
            Choice::Send(_) if asked.now < minute + self.by => {
                Choice::Wait { until: minute + self.by, progress: false }
            }
            choice => choice,
        }
    }

    fn failed(&mut self, _call: &Call, _told: &Told<'_>, _now: Millis) -> Option<Millis> {
        None
    }

    fn knows_all(&self) -> bool {
        true
    }
}

#[test]
fn who_comes_when_the_minute_is_full_waits_for_its_turn() {
    let plan = plan(&[10_000, 11_000, 56_000]);
    let score = run(&plan, &mut oracle(&plan)).unwrap();
    assert_eq!((score.served, score.calls, score.wasted, score.wrongly_refused), (3, 3, 0, 0));
    assert_eq!(score.lags[&Back::Minute], [0]);
}

#[test]
fn who_would_wait_too_long_is_refused_and_rightly_so() {
    let plan = plan(&[10_000, 11_000, 50_000]);
    let score = run(&plan, &mut oracle(&plan)).unwrap();
    assert_eq!((score.served, score.refused, score.wrongly_refused), (2, 1, 0));
    assert!(score.lags.is_empty() && score.never.is_empty());
}

#[test]
fn coming_back_late_is_measured() {
    let plan = plan(&[10_000, 11_000, 57_000]);
    let score = run(&plan, &mut Late { knows: oracle(&plan), by: 1_500 }).unwrap();
    assert_eq!((score.served, score.wasted), (3, 0));
    assert_eq!(score.lags[&Back::Minute], [1_500]);
}

#[test]
fn refusing_what_could_be_served_is_wrong_and_never_coming_back_is_told() {
    let mut plan = plan(&[10_000, 11_000, 12_000]);
    let nothing = run(&plan, &mut Late { knows: oracle(&plan), by: MINUTE }).unwrap();
    assert_eq!((nothing.refused, nothing.wrongly_refused, nothing.calls), (3, 3, 0));
    // A key that is repaired and not used, though it is asked for.
    let state = crate::simulated::KeyState::Good;
    plan.changes.push((START + 10_500, super::super::plan::Change::Key { key: 0, state }));
    let nothing = run(&plan, &mut Late { knows: oracle(&plan), by: MINUTE }).unwrap();
    assert_eq!((nothing.lags[&Back::Key].as_slice(), nothing.never[&Back::Key]), (&[1_000][..], 1));
}

#[test]
fn calls_in_vain_are_counted_with_what_could_be_known() {
    let plan = plan(&[10_000, 11_000, 30_000, 40_000]);
    let score = run(&plan, &mut RoundRobin::new(1)).unwrap();
    assert_eq!((score.calls, score.wasted, score.served, score.refused), (4, 2, 2, 2));
    let grounds: Vec<_> =
        score.waste.iter().map(|(waste, count)| (waste.refused, waste.ground, *count)).collect();
    assert_eq!(grounds, [("per minute", Ground::FirstUnknown, 1), ("per minute", Ground::Known, 1)]);
}

#[test]
fn a_refusal_on_its_way_is_no_knowledge_yet() {
    let plan = plan(&[10_000, 11_000, 30_000, 30_001]);
    let score = run(&plan, &mut RoundRobin::new(1)).unwrap();
    assert!(score.waste.keys().any(|waste| waste.ground == Ground::OnItsWay), "{:?}", score.waste);
}

#[test]
fn the_pool_asks_once_and_waits_for_the_minute() {
    let plan = plan(&[10_000, 15_000, 20_000, 30_000, 59_000]);
    let score = run(&plan, &mut Ours::new(&plan)).unwrap();
    assert_eq!((score.served, score.wasted, score.refused), (3, 1, 2), "{score:?}");
}

#[test]
fn a_client_that_leaves_is_no_longer_served() {
    let mut plan = plan(&[10_000, 20_000]);
    plan.requests[0].leaves = Some(500);
    let score = run(&plan, &mut Ours::new(&plan)).unwrap();
    assert_eq!((score.requests, score.served, score.cancelled, score.calls), (2, 1, 1, 2));
}
