//! Learned limits: what goes out is counted, and stops before Google says so.

use projections::{
    event::{QuotaDayBegan, Strategy as Rule, Tokens, Violation},
    keys::Keys,
};
use proptest::{
    collection::vec,
    prelude::{
        Just, ProptestConfig, Strategy, any as arbitrary, prop_assert, prop_assert_eq, prop_oneof, proptest,
    },
    sample::select,
};

use super::*;

const MINUTE: Millis = 60_000;
const HOUR: Millis = 60 * MINUTE;
const DAY: Millis = 24 * HOUR;
/// A whole number of minutes.
const START: Millis = 1_000 * MINUTE;

/// Keys of the given projects, in the order of their numbers; minutes turn on the minute.
fn world(projects: &[&str]) -> World {
    let mut world = World::new(Rule::LeastLoaded);
    world.at = START;
    world.tell((1..).zip(projects).map(|(key, project)| added(key, Some(project))));
    world.tell((1..).zip(projects).map(|(key, _)| served(key, "", "")));
    world.tell([QuotaDayBegan { began: START - HOUR, ends: START - HOUR + DAY }.into()]);
    world
}

impl World {
    fn project_of(&self, key: u32) -> String {
        self.keys.get(KeyId(key)).unwrap().project.clone()
    }

    /// Google refuses a request of a key for `pro`, and names limits.
    fn refused(&mut self, key: u32, limits: &[(Window, u64)]) {
        let violations = limits
            .iter()
            .map(|(window, limit)| Violation {
                window: Some(*window),
                limit: Some(*limit),
                ..Violation::default()
            })
            .collect();
        let at = self.at;
        let attempted = Attempted {
            key: KeyId(key),
            project: self.project_of(key),
            model: "pro".to_owned(),
            // It went out before anything that is counted here, and so it has no count to give back.
            started: 0,
            status: 429,
            verdict: Verdict::QuotaMinute,
            violations,
            retry_delay_ms: Some(MINUTE - at % MINUTE),
            ..Attempted::default()
        };
        self.tell([attempted.into()]);
    }

    fn ended(&mut self, key: u32, started: Millis, verdict: Verdict, status: u16, prompt: u32) {
        let attempted = Attempted {
            key: KeyId(key),
            project: self.project_of(key),
            model: "pro".to_owned(),
            started,
            status,
            verdict,
            tokens: Tokens { prompt, ..Tokens::default() },
            ..Attempted::default()
        };
        self.tell([attempted.into()]);
    }

    /// How many requests for `pro` go out now, each held.
    fn go_out(&mut self, tokens: u32) -> Vec<Choice> {
        let mut held = Vec::new();
        while let Ok(choice) = self.choose(&Ask { tokens, ..model("pro") }, held.len() as u64) {
            held.push(choice);
            assert!(held.len() < 1_000, "nothing stops them");
        }
        held
    }
}

#[test]
fn no_more_goes_out_in_a_minute_than_google_allows() {
    let mut world = world(&["p", "p", "q"]);
    world.refused(1, &[(Window::Minute, 5)]);
    world.refused(3, &[(Window::Minute, 3)]);
    let nobody = world.choose(&model("pro"), 0).unwrap_err();
    assert_eq!((nobody.opens, nobody.passed_over.budget), (Some(START + MINUTE), 3), "this minute is spent");
    assert!(world.key(&model("flash")).is_some());
    world.at = START + MINUTE + 100;
    let held = world.go_out(0);
    assert_eq!(held.len(), 8);
    assert_eq!(held.iter().filter(|choice| choice.key == KeyId(3)).count(), 3);
    let nobody = world.choose(&model("pro"), 0).unwrap_err();
    assert_eq!((nobody.opens, nobody.passed_over.budget), (Some(START + 2 * MINUTE), 3));
    // A rebuild counts what is under way, though the log does not know of it.
    world.tell([added(4, Some("p")), served(4, "", "")]);
    assert!(world.choose(&model("pro"), 0).is_err());
    drop(held);
    assert!(world.choose(&model("pro"), 0).is_err(), "what ended counts as well");
    world.at = START + 2 * MINUTE;
    assert_eq!(world.go_out(0).len(), 8);
}

#[test]
fn what_was_not_served_gives_its_count_back() {
    let mut world = world(&["p"]);
    world.refused(1, &[(Window::Minute, 3)]);
    world.at = START + MINUTE;
    let started = world.at;
    assert_eq!(world.go_out(0).len(), 3);
    world.at += 1;
    world.ended(1, started, Verdict::QuotaUnknown, 429, 0);
    assert_eq!(world.go_out(0).len(), 1);
    world.ended(1, started, Verdict::Overloaded, 503, 0);
    world.ended(1, started, Verdict::Cancelled, 0, 0);
    world.ended(1, started, Verdict::Success, 200, 0);
    world.ended(1, started, Verdict::Truncated, 200, 0);
    assert_eq!(world.go_out(0).len(), 0, "what Google served, or may have begun to, is spent");
    world.at = START + 2 * MINUTE;
    assert_eq!(world.go_out(0).len(), 3);
    world.ended(1, started, Verdict::QuotaUnknown, 429, 0);
    assert_eq!(world.go_out(0).len(), 0, "it was of another minute");
}

#[test]
fn a_day_is_spent_until_it_turns() {
    let mut world = world(&["p"]);
    world.refused(1, &[(Window::Day, 2)]);
    world.at += 10 * MINUTE;
    assert_eq!(world.opens(&model("pro")), Some(START + HOUR + 1), "then the limit is doubted");
    world.at = START - HOUR + DAY - 1;
    assert_eq!(world.go_out(0).len(), 1, "one beyond what was believed");
    assert_eq!(world.opens(&model("pro")), Some(START - HOUR + DAY));
    world.at += 1;
    assert_eq!(
        world.go_out(0).len(),
        3,
        "the day turned, whether the event is here or not; the limit is old"
    );
    world.tell([QuotaDayBegan { began: world.at, ends: world.at + DAY }.into()]);
    assert_eq!(world.go_out(0).len(), 0, "the same day");
    world.tell([QuotaDayBegan { began: world.at + 1, ends: world.at + 1 + DAY }.into()]);
    world.at += 1;
    assert_eq!(world.go_out(0).len(), 3);
}

#[test]
fn nobody_knows_when_a_day_turns_that_never_began() {
    let mut world = World::of(Rule::LeastLoaded, 1);
    world.refused(1, &[(Window::Day, 2)]);
    assert!(world.choose(&model("pro"), 0).is_ok(), "its gate must do");
}

#[test]
fn a_limit_that_was_not_confirmed_for_an_hour_lets_one_more_out_a_window() {
    let mut world = world(&["p"]);
    world.refused(1, &[(Window::Minute, 2)]);
    world.at = START + HOUR;
    assert_eq!(world.go_out(0).len(), 2);
    world.at = START + HOUR + 1;
    assert_eq!(world.go_out(0).len(), 1);
    world.at = START + HOUR + MINUTE;
    let started = world.at;
    let held = world.go_out(0);
    assert_eq!(held.len(), 3);
    // Google serves all of them: the fold forgets the limit, and so does the roster.
    (0..3).for_each(|_| world.ended(1, started, Verdict::Success, 200, 0));
    assert!(world.keys.project("p").unwrap().budgets.is_empty());
    assert!((0..50).all(|random| world.choose(&model("pro"), random).is_ok()));
}

#[test]
fn tokens_count_as_estimated_and_then_as_google_counted_them() {
    let mut world = world(&["p"]);
    world.refused(1, &[(Window::Tokens, 1_000)]);
    world.at = START + MINUTE;
    let started = world.at;
    let mut held = world.go_out(300);
    assert_eq!(held.len(), 3, "900 leave no room for 300, give or take a third");
    let nobody = world.choose(&Ask { tokens: 300, ..model("pro") }, 0).unwrap_err();
    assert_eq!(nobody.opens, Some(START + 2 * MINUTE), "the minute turns");
    assert_eq!(world.go_out(100).len(), 1, "a smaller one fits");
    drop(held.pop());
    world.ended(1, started, Verdict::Success, 200, 50);
    assert_eq!(world.go_out(450).len(), 1, "650 and 300");
    drop(held);
    world.ended(1, started, Verdict::QuotaUnknown, 429, 0);
    assert_eq!(world.go_out(900).len(), 1, "what was not served is not spent");
    // What still runs when the minute turns is none of the next minute's. What no minute has room for, Google
    // is to judge.
    world.at = START + 2 * MINUTE;
    let held = world.go_out(5_000);
    assert_eq!(held.len(), 1);
    world.at = START + 3 * MINUTE;
    assert_eq!(world.go_out(600).len(), 2);
    drop(held);
}

#[test]
fn after_a_restart_the_log_tells_what_is_used() {
    let mut world = world(&["p"]);
    world.refused(1, &[(Window::Minute, 5)]);
    world.at = START + MINUTE;
    (0..3).for_each(|_| world.ended(1, START + MINUTE, Verdict::Success, 200, 0));
    let mut again = Roster::new(Rule::LeastLoaded);
    again.rebuild(&world.keys, world.seq, world.at);
    world.roster = again;
    assert_eq!(world.go_out(0).len(), 2);
}

/// A budget and a method that some key may not call: the sets of methods hear of it.
#[test]
fn a_budget_counts_for_every_method() {
    let mut world = world(&["p", "q"]);
    world.tell([closed(method_scope(2, "embed"), FOR_EVER)]);
    world.refused(1, &[(Window::Minute, 1)]);
    world.at = START + MINUTE;
    let embed = Ask { method: "embed", ..model("pro") };
    assert_eq!(world.key(&embed), Some(1));
    assert_eq!(world.opens(&embed), Some(START + 2 * MINUTE));
    assert_eq!(world.key(&model("pro")), Some(2));
    world.tell([closed(method_scope(2, "other"), FOR_EVER)]);
    assert_eq!(world.opens(&Ask { method: "other", ..model("pro") }), Some(START + 2 * MINUTE));
}

/// What happens to two projects with three keys.
#[derive(Clone, Debug)]
enum Step {
    Take(u32, u64),
    End(usize, Verdict),
    Refuse(u32, Window, u64),
    Wait(Millis),
    Turn,
    Rebuild,
}

fn step() -> impl Strategy<Value = Step> {
    let verdict = select(vec![Verdict::Success, Verdict::Overloaded, Verdict::QuotaUnknown]);
    let window = select(vec![Window::Minute, Window::Day]);
    let wait = prop_oneof![4 => 0..40_000_i64, 1 => 0..2 * HOUR];
    prop_oneof![
        12 => (0..3_u32, arbitrary::<u64>()).prop_map(|(tokens, random)| Step::Take(tokens, random)),
        4 => (arbitrary::<usize>(), verdict).prop_map(|(nth, verdict)| Step::End(nth, verdict)),
        2 => (1..=3_u32, window, 1..6_u64).prop_map(|(key, window, limit)| Step::Refuse(key, window, limit)),
        3 => wait.prop_map(Step::Wait),
        1 => Just(Step::Turn),
        1 => Just(Step::Rebuild),
    ]
}

/// A request that went out.
#[derive(Clone, Debug)]
struct Sent {
    project: String,
    at: Millis,
    not_served: bool,
    /// The limits that it went beyond.
    beyond: Vec<Window>,
}

/// What the limit of a window lets out at `now`, worked out from everything that ever went out: how many
/// counted, and whether one went beyond.
fn used(
    keys: &Keys,
    sent: &[Sent],
    project: &str,
    window: Window,
    now: Millis,
) -> Option<(u64, u64, bool, bool)> {
    let budget = keys.project(project)?.budgets.get("pro")?;
    let limit = budget.limit(window)?;
    let day = if now < keys.day().ends { keys.day().began } else { keys.day().ends };
    let began = budget.window_of(window, now, day);
    let named_here = limit.confirmed >= began;
    let of_window = sent.iter().filter(|sent| sent.project == project && sent.at >= began);
    let counted = of_window.clone().filter(|sent| !sent.not_served);
    let used = if named_here {
        limit.value + counted.filter(|sent| sent.at > limit.confirmed).count() as u64
    } else {
        counted.count() as u64
    };
    let mut since_named = of_window.filter(|sent| sent.at > limit.confirmed);
    let beyond = since_named.any(|sent| sent.beyond.contains(&window));
    Some((used, limit.value, now - limit.confirmed > HOUR, beyond))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_024, ..ProptestConfig::default() })]

    /// Never more than the limit goes out in a window, but for one where the limit is old; and whoever has
    /// something left is used.
    #[test]
    fn invariant_limits_are_kept_and_used(steps in vec(step(), 1..60)) {
        let mut world = world(&["p", "p", "q"]);
        let (mut held, mut sent) = (Vec::<(Choice, usize)>::new(), Vec::<Sent>::new());
        for step in steps {
            let now = world.at;
            match step {
                Step::Take(tokens, random) => {
                    let spent = |project: &str| [Window::Minute, Window::Day].into_iter().any(|window| {
                        used(&world.keys, &sent, project, window, now)
                            .is_some_and(|(used, value, old, beyond)| used >= value && (beyond || !old))
                    });
                    let (p, q) = (spent("p"), spent("q"));
                    let beyond = |project: &str| -> Vec<Window> {
                        let full = |window: &Window| {
                            used(&world.keys, &sent, project, *window, now).is_some_and(|(used, value, ..)| used >= value)
                        };
                        [Window::Minute, Window::Day].into_iter().filter(full).collect()
                    };
                    let (beyond_p, beyond_q) = (beyond("p"), beyond("q"));
                    match world.choose(&Ask { tokens, ..model("pro") }, random) {
                        Ok(choice) => {
                            let is_p = &*choice.project == "p";
                            prop_assert!(!(if is_p { p } else { q }), "{} has nothing left: {sent:?}", choice.project);
                            prop_assert_eq!(choice.why.passed_over.budget, 2 * u32::from(p) + u32::from(q));
                            let beyond = if is_p { beyond_p } else { beyond_q };
                            let project = choice.project.to_string();
                            sent.push(Sent { project, at: now, not_served: false, beyond });
                            held.push((choice, sent.len() - 1));
                        }
                        Err(nobody) => {
                            prop_assert!(p && q, "somebody has something left: {nobody:?} {sent:?}");
                            prop_assert!(nobody.opens.is_some_and(|opens| opens > now));
                        }
                    }
                }
                Step::End(nth, verdict) if !held.is_empty() => {
                    let (choice, place) = held.swap_remove(nth % held.len());
                    let status = if verdict == Verdict::Success { 200 } else { 429 };
                    sent[place].not_served = verdict != Verdict::Success;
                    let (key, started) = (choice.key.0, sent[place].at);
                    drop(choice);
                    world.ended(key, started, verdict, status, 1);
                }
                Step::Refuse(key, window, limit) => world.refused(key, &[(window, limit)]),
                Step::Wait(ms) => world.at += ms,
                Step::Turn if world.at >= world.keys.day().ends => {
                    let began = world.keys.day().ends;
                    world.tell([QuotaDayBegan { began, ends: began + DAY }.into()]);
                }
                Step::Rebuild => world.roster.rebuild(&world.keys, world.seq, world.at),
                Step::End(..) | Step::Turn => {}
            }
        }
    }
}
