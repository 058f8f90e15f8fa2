//! One example for each thing the roster promises of gates at large; the laws are in
//! [`laws`], and how requests spread over keys in [`spread`].

mod budgets;
mod declared;
mod half_open;
mod laws;
mod moving;
mod ranks;
mod spread;

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
};

use projections::{
    Event, Fingerprint, Recorded,
    event::{
        Actor, Attempted, GateClosed, GateOpened, KeyAdded, KeyDisabled, KeyEnabled, KeyRemoved, KeyReset,
        Opened, PassedOver, Scope, Verdict, Window,
    },
    keys::{Gate, Key, Keys},
};

use super::{follow::METHODS_KEPT, lanes::LANES_KEPT, *};
use crate::scheduler::Load;

const FOR_EVER: Option<Millis> = None;

/// The truth, and a roster that follows it.
struct World {
    keys: Keys,
    seq: Seq,
    at: Millis,
    roster: Roster,
}

impl World {
    fn new(strategy: Strategy) -> Self {
        Self { keys: Keys::default(), seq: 0, at: 1_000, roster: Roster::new(strategy) }
    }

    /// `count` keys, each its own project, all of them proven.
    fn of(strategy: Strategy, count: u32) -> Self {
        let mut world = Self::new(strategy);
        world.tell((1..=count).map(|key| added(key, None)));
        world.tell((1..=count).map(|key| served(key, "", "")));
        world
    }

    /// Folds some events and shows them to the roster together, as the ledger does.
    fn tell(&mut self, events: impl IntoIterator<Item = Event>) {
        let mut batch = Vec::new();
        for event in events {
            self.seq += 1;
            let recorded = Recorded { seq: self.seq, at: self.at, event };
            self.keys.apply(&recorded);
            batch.push(recorded);
        }
        self.roster.folded(&self.keys, self.seq, self.at, &batch);
    }

    fn choose(&mut self, ask: &Ask<'_>, random: u64) -> Result<Choice, Nobody> {
        self.roster.choose(ask, self.at, random)
    }

    /// Asks for any key, and lets it go again.
    fn key(&mut self, ask: &Ask<'_>) -> Option<u32> {
        self.choose(ask, 0).ok().map(|choice| choice.key.0)
    }

    fn opens(&mut self, ask: &Ask<'_>) -> Option<Millis> {
        self.choose(ask, 0).expect_err("somebody is open").opens
    }

    /// How many requests a key has under way, by a request's own eyes; the key must be open and proven.
    fn in_flight(&mut self, key: u32) -> u32 {
        self.choose(&only(key), 0).expect("closed").why.in_flight
    }
}

fn any() -> Ask<'static> {
    Ask::default()
}

fn model(model: &str) -> Ask<'_> {
    Ask { model, ..Ask::default() }
}

fn only(key: u32) -> Ask<'static> {
    Ask { from: From::Only(KeyId(key)), ..Ask::default() }
}

fn keeper() -> Ask<'static> {
    Ask { from: From::Keeper, ..Ask::default() }
}

fn added(key: u32, project: Option<&str>) -> Event {
    let mut fingerprint = [0; 16];
    fingerprint[..4].copy_from_slice(&key.to_be_bytes());
    KeyAdded {
        key: KeyId(key),
        label: String::new(),
        tail: String::new(),
        fingerprint: Fingerprint(fingerprint),
        project: project.map(str::to_owned),
        actor: Actor::Cli,
    }
    .into()
}

fn removed(key: u32) -> Event {
    KeyRemoved { key: KeyId(key), actor: Actor::Cli }.into()
}

fn disabled(key: u32) -> Event {
    KeyDisabled { key: KeyId(key), actor: Actor::Cli }.into()
}

fn enabled(key: u32) -> Event {
    KeyEnabled { key: KeyId(key), actor: Actor::Cli }.into()
}

fn reset(key: u32) -> Event {
    KeyReset { key: KeyId(key), actor: Actor::Cli }.into()
}

fn key_scope(key: u32) -> Scope {
    Scope::Key(KeyId(key))
}

/// The project that a key has where nobody said otherwise.
fn own(key: u32) -> String {
    format!("key-{key}")
}

fn model_scope(project: &str, model: &str) -> Scope {
    Scope::Model { project: project.to_owned(), model: model.to_owned(), window: Window::Minute }
}

fn method_scope(key: u32, method: &str) -> Scope {
    Scope::Method { key: KeyId(key), method: method.to_owned() }
}

fn closed(scope: Scope, until: Option<Millis>) -> Event {
    GateClosed { scope, cause: Verdict::QuotaMinute, until, probe: None, request: None, key: KeyId(1) }.into()
}

fn opened(scope: Scope) -> Event {
    GateOpened { scope, why: Opened::Checked }.into()
}

fn served(key: u32, model: &str, method: &str) -> Event {
    attempted(key, model, method, Verdict::Success)
}

fn attempted(key: u32, model: &str, method: &str, verdict: Verdict) -> Event {
    Attempted {
        attempt: 1,
        key: KeyId(key),
        model: model.to_owned(),
        method: method.to_owned(),
        verdict,
        ..Attempted::default()
    }
    .into()
}

#[test]
fn an_empty_roster_has_nobody() {
    for strategy in [Strategy::LeastLoaded, Strategy::RoundRobin] {
        let mut world = World::new(strategy);
        for ask in [any(), model("m"), keeper(), only(1)] {
            let nobody = world.choose(&ask, 7).expect_err("chosen from nothing");
            assert_eq!(
                nobody,
                Nobody {
                    opens: None,
                    for_sure: None,
                    passed_over: PassedOver::default(),
                    on_trial: false,
                    upstream: false
                }
            );
        }
        assert_eq!(world.roster.ready(0), (0, 0));
    }
}

#[test]
fn a_removed_key_is_gone() {
    let mut world = World::of(Strategy::LeastLoaded, 2);
    world.tell([removed(1)]);
    assert_eq!(world.roster.ready(0), (1, 1));
    assert!((0..50).all(|random| world.choose(&any(), random).unwrap().key == KeyId(2)));
    assert_eq!(world.opens(&only(1)), None);
    assert_eq!(world.key(&keeper()), Some(2));
}

#[test]
fn disabling_works_both_ways() {
    let mut world = World::of(Strategy::LeastLoaded, 1);
    world.tell([disabled(1)]);
    let nobody = world.choose(&any(), 0).unwrap_err();
    assert_eq!((nobody.opens, nobody.passed_over.disabled), (None, 1));
    world.tell([enabled(1)]);
    assert_eq!(world.key(&any()), Some(1));
}

#[test]
fn a_gate_in_front_of_a_model_closes_the_whole_project_for_that_model_only() {
    let mut world = World::new(Strategy::LeastLoaded);
    world.tell([added(1, Some("p")), added(2, Some("p"))]);
    world.tell([closed(model_scope("p", "pro"), Some(2_000))]);
    let nobody = world.choose(&model("pro"), 0).unwrap_err();
    assert_eq!((nobody.opens, nobody.passed_over.model_gate), (Some(2_000), 2));
    assert!(world.key(&model("flash")).is_some());
    assert!(world.key(&any()).is_some());
    world.at = 1_999;
    assert_eq!(world.key(&model("pro")), None);
    world.at = 2_000;
    assert!(world.key(&model("pro")).is_some());
}

/// Google counts minutes and days apart: the model is back when the last window is.
#[test]
fn every_window_of_a_model_counts() {
    let mut world = World::of(Strategy::LeastLoaded, 1);
    let day = Scope::Model { project: own(1), model: "pro".to_owned(), window: Window::Day };
    world.tell([closed(day.clone(), Some(9_000)), closed(model_scope(&own(1), "pro"), Some(2_000))]);
    assert_eq!(world.opens(&model("pro")), Some(9_000));
    world.tell([opened(day)]);
    assert_eq!(world.opens(&model("pro")), Some(2_000));
}

#[test]
fn a_gate_in_front_of_a_method_closes_one_key_for_that_method_only() {
    let mut world = World::of(Strategy::LeastLoaded, 2);
    world
        .tell([closed(method_scope(1, "embed"), FOR_EVER), closed(model_scope(&own(1), "pro"), Some(3_000))]);
    let embed = Ask { method: "embed", ..Ask::default() };
    let choices: Vec<Choice> = (0..20).map(|random| world.choose(&embed, random).unwrap()).collect();
    assert!(choices.iter().all(|choice| choice.key == KeyId(2)));
    assert!(choices.iter().all(|choice| (choice.why.eligible, choice.why.passed_over.model_gate) == (1, 1)));
    drop(choices);
    assert!((0..20).any(|random| world.choose(&any(), random).unwrap().key == KeyId(1)));

    world
        .tell([closed(method_scope(2, "embed"), Some(5_000)), closed(method_scope(1, "embed"), Some(2_000))]);
    assert_eq!(world.opens(&embed), Some(2_000));
    assert_eq!(world.opens(&Ask { model: "pro", ..embed }), Some(3_000), "behind both of its gates");
    world.at = 3_000;
    assert_eq!(world.key(&Ask { model: "pro", ..embed }), Some(1));
}

/// The slot that changes first is not the one that opens first.
#[test]
fn the_first_opening_is_that_of_the_first_key_all_of_whose_gates_open() {
    let mut world = World::of(Strategy::LeastLoaded, 3);
    let project = |key| Scope::Project(own(key));
    world.tell([closed(key_scope(1), Some(1_010)), closed(project(1), FOR_EVER)]);
    world.tell([closed(key_scope(2), Some(1_020)), closed(project(2), Some(8_000))]);
    world.tell([closed(key_scope(3), Some(1_030)), closed(model_scope(&own(3), "pro"), Some(4_000))]);
    assert_eq!(world.opens(&any()), Some(1_030));
    assert_eq!(world.opens(&model("pro")), Some(4_000));
    world.tell([disabled(3)]);
    assert_eq!(world.opens(&any()), Some(8_000));
    world.tell([disabled(2)]);
    assert_eq!(world.opens(&any()), None);
    world.tell([reset(1)]);
    assert_eq!(world.key(&any()), Some(1));
}

/// "None comes back by itself" would send the client to the operator, for nothing.
#[test]
fn what_is_only_tried_or_busy_is_back_at_once() {
    let mut world = World::new(Strategy::LeastLoaded);
    world.tell([added(1, None)]);
    let held = world.choose(&any(), 0).unwrap();
    let nobody = world.choose(&any(), 0).unwrap_err();
    assert_eq!((nobody.on_trial, nobody.opens), (true, Some(world.at)));
    drop(held);
    let tried = [KeyId(1)];
    let nobody = world.choose(&Ask { tried: &tried, ..any() }, 0).unwrap_err();
    assert_eq!((nobody.on_trial, nobody.opens, nobody.passed_over.tried), (false, Some(world.at), 1));
}

#[test]
fn a_key_on_trial_gets_one_request_at_a_time_and_a_proven_one_many() {
    for strategy in [Strategy::LeastLoaded, Strategy::RoundRobin] {
        let mut world = World::new(strategy);
        world.tell([added(1, None), added(2, None)]);
        let first = world.choose(&any(), 0).unwrap();
        let second = world.choose(&any(), 0).unwrap();
        assert_ne!(first.key, second.key);
        assert!(world.choose(&any(), 0).unwrap_err().on_trial);
        first.lease.proven();
        let more: Vec<Choice> = (0..10).map(|random| world.choose(&any(), random).unwrap()).collect();
        assert!(more.iter().all(|choice| choice.key == first.key));
        drop(second);
        assert!((0..50).any(|random| world.choose(&any(), random).unwrap().key != first.key));
    }
}

/// A request that met two dead keys is not to meet ten more while a good one stands by.
#[test]
fn a_question_for_proof_finds_the_one_that_served() {
    for strategy in [Strategy::LeastLoaded, Strategy::RoundRobin, Strategy::Sticky] {
        let mut world = World::new(strategy);
        world.tell((1..=1_000).map(|key| added(key, None)));
        let first = world.choose(&only(700), 0).unwrap();
        first.lease.proven();
        let proven = Ask { proven: true, ..model("pro") };
        // While its first answer streams, of which the log knows nothing.
        assert!((0..50).all(|random| world.choose(&proven, random).unwrap().key == KeyId(700)));
        world.tell([served(300, "", "")]);
        let mut found = BTreeSet::new();
        for random in 0..50 {
            let choice = world.choose(&proven, random).unwrap();
            choice.lease.first_byte(500);
            found.insert(choice.key.0);
        }
        assert_eq!(found, BTreeSet::from([300, 700]));
        // What stands in the way counts as ever, and so does what was tried.
        world.tell([closed(model_scope(&own(700), "pro"), FOR_EVER)]);
        assert_eq!(world.key(&proven), Some(300));
        assert!(world.key(&Ask { tried: &[KeyId(300)], ..proven }).is_some_and(|key| key != 700));
        world.tell([reset(300)]);
        assert_eq!(world.key(&Ask { proven: true, ..any() }), Some(700));
    }
}

/// The first answer of a key may stream for minutes, and the log learns of it at its end.
#[test]
fn what_a_key_proved_is_kept_whatever_is_folded_meanwhile() {
    let mut world = World::new(Strategy::LeastLoaded);
    world.tell([added(1, None)]);
    let streaming = world.choose(&any(), 0).unwrap();
    streaming.lease.proven();
    world.tell([closed(method_scope(1, "embed"), FOR_EVER)]);
    assert_eq!(world.key(&any()), Some(1));
    world.tell([added(2, None), disabled(2)]);
    assert_eq!(world.key(&any()), Some(1));
}

#[test]
fn a_failed_credential_or_a_reset_puts_a_key_on_trial_again() {
    let on_trial_after = |events: Vec<Event>| {
        let mut world = World::of(Strategy::LeastLoaded, 1);
        world.tell(events);
        let _held = world.choose(&any(), 0).unwrap();
        world.choose(&any(), 0).is_err()
    };
    assert!(on_trial_after(vec![reset(1)]));
    assert!(on_trial_after(vec![closed(key_scope(1), FOR_EVER), opened(key_scope(1))]));
    assert!(!on_trial_after(vec![closed(key_scope(1), Some(0))]), "a rest is no verdict on the credential");
    assert!(!on_trial_after(vec![reset(1), served(1, "", "")]));
    assert!(!on_trial_after(vec![disabled(1), enabled(1)]));
}

#[test]
fn a_lease_gives_its_place_back_however_it_ends() {
    let mut world = World::of(Strategy::LeastLoaded, 1);
    let (one, two) = (world.choose(&any(), 0).unwrap(), world.choose(&any(), 0).unwrap());
    assert_eq!((one.why.in_flight, two.why.in_flight), (0, 1));
    assert_eq!(world.in_flight(1), 2);
    drop(one);
    assert_eq!(world.in_flight(1), 1);
    let died = catch_unwind(AssertUnwindSafe(|| {
        let _held = two;
        assert_eq!(world.in_flight(1), 1);
        std::panic::resume_unwind(Box::new("a handler died"));
    }));
    assert!(died.is_err());
    assert_eq!(world.in_flight(1), 0);
}

#[test]
fn a_rebuild_keeps_what_is_under_way() {
    let mut world = World::of(Strategy::LeastLoaded, 3);
    let held: Vec<Choice> = (0..5).map(|_| world.choose(&only(2), 0).unwrap()).collect();
    world.tell([added(4, None), removed(1)]);
    world.roster.rebuild(&world.keys, world.seq, world.at);
    assert_eq!(world.in_flight(2), 5);
    drop(held);
    assert_eq!(world.in_flight(2), 0);
}

#[test]
fn a_lease_outlives_its_key() {
    let mut world = World::of(Strategy::LeastLoaded, 2);
    let held = world.choose(&only(1), 0).unwrap();
    world.tell([removed(1)]);
    held.lease.first_byte(10);
    drop(held);
    assert_eq!(world.in_flight(2), 0);
    assert_eq!(world.roster.ready(world.at), (1, 1));
}

#[test]
fn the_keeper_is_the_first_whose_credential_is_good() {
    let mut world = World::of(Strategy::LeastLoaded, 3);
    let keeps = |world: &mut World| world.key(&keeper());
    assert_eq!(keeps(&mut world), Some(1));
    // It moves on for good reasons only: what belongs to key 1 is nowhere else.
    world.tell([closed(key_scope(1), Some(5_000))]);
    assert_eq!(world.opens(&keeper()), Some(5_000), "its own opening, and not that of others");
    world.tell([closed(model_scope(&own(1), "pro"), FOR_EVER)]);
    assert_eq!(world.opens(&Ask { model: "pro", ..keeper() }), None);
    world.tell([closed(key_scope(1), FOR_EVER)]);
    assert_eq!(keeps(&mut world), Some(2));
    world.tell([closed(Scope::Project(own(2)), FOR_EVER)]);
    assert_eq!(keeps(&mut world), Some(3));
    world.tell([disabled(3)]);
    assert_eq!(world.opens(&keeper()), None);
    world.tell([opened(key_scope(1))]);
    assert_eq!(keeps(&mut world), Some(1));
    let tried = [KeyId(1)];
    assert_eq!(world.key(&Ask { tried: &tried, ..keeper() }), None, "nobody stands in for it");
}

#[test]
fn only_this_key_means_only_this_key() {
    let mut world = World::of(Strategy::RoundRobin, 3);
    let choice = world.choose(&only(2), 0).unwrap();
    assert_eq!((choice.key, choice.why.eligible), (KeyId(2), 1));
    drop(choice);
    world.tell([closed(Scope::Project(own(2)), Some(4_000))]);
    assert_eq!(world.opens(&only(2)), Some(4_000));
    assert_eq!(world.opens(&only(99)), None);
}

/// The clock of a machine may be set back; the log's never is, and neither is the roster's.
#[test]
fn what_has_opened_stays_open_when_the_clock_goes_back() {
    let mut world = World::of(Strategy::LeastLoaded, 1);
    world.tell([closed(model_scope(&own(1), "pro"), Some(2_000))]);
    world.at = 2_000;
    assert_eq!(world.key(&model("pro")), Some(1));
    world.tell([closed(key_scope(1), Some(3_000))]);
    assert_eq!(world.roster.choose(&any(), 10, 0).unwrap_err().opens, Some(3_000));
    world.at = 3_000;
    world.tell([served(1, "pro", "")]);
    assert!(world.roster.choose(&any(), 10, 0).is_ok());
}

#[test]
fn sets_of_models_are_bounded_by_those_that_are_closed() {
    let mut world = World::of(Strategy::LeastLoaded, 2);
    let name = |n: usize| format!("model-{n}");
    // Behind the gate of the key and of the project, where they do not show in the counts.
    world.tell([
        closed(model_scope(&own(1), "hidden"), Some(9_000)),
        closed(model_scope(&own(2), "hidden"), FOR_EVER),
    ]);
    world.tell([closed(key_scope(1), Some(3_000)), closed(Scope::Project(own(2)), Some(3_000))]);
    for n in 0..2 * LANES_KEPT {
        world.at = 1_000 + n as Millis;
        world.tell([closed(model_scope(&own(1), &name(n)), Some(world.at + 1))]);
        assert!(world.roster.lanes.all.len() <= LANES_KEPT);
    }
    world.at = 3_000;
    assert_eq!(world.opens(&model("hidden")), Some(9_000));
    assert!(world.key(&model(&name(0))).is_some());

    // More that are closed than are kept: none of them is forgotten.
    let all: Vec<String> = (0..LANES_KEPT + 50).map(name).collect();
    world.tell(all.iter().map(|model| closed(model_scope(&own(1), model), FOR_EVER)));
    assert!(all.iter().all(|model| world.key(&Ask { model, ..only(1) }).is_none()));
    // A gate that is open already needs no set.
    let before = world.roster.lanes.all.len();
    world.tell([closed(model_scope(&own(1), "past"), Some(3_000))]);
    assert_eq!(world.roster.lanes.all.len(), before);
}

#[test]
fn sets_of_methods_are_bounded_by_those_that_are_closed() {
    let mut world = World::of(Strategy::LeastLoaded, 2);
    world.tell([closed(method_scope(2, "kept"), FOR_EVER), closed(key_scope(2), Some(2_000))]);
    for n in 0..3 * METHODS_KEPT {
        world.at = 1_000 + n as Millis;
        world.tell([closed(method_scope(1, &format!("method-{n}")), Some(world.at + 1))]);
        assert!(world.roster.methods.len() <= METHODS_KEPT);
    }
    world.at = 2_000;
    assert_eq!(world.key(&Ask { method: "kept", ..only(2) }), None);
}
