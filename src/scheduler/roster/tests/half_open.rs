//! Closed gates that let one request through, and the circuit of a model.

use super::*;
use crate::scheduler::Scheduler;

const PACE: Millis = 3_000;

fn trying(scope: Scope, until: Option<Millis>, probe: Millis) -> Event {
    let (cause, probe) = (Verdict::QuotaDay, Some(probe));
    GateClosed { scope, cause, until, probe, request: None, key: KeyId(1) }.into()
}

fn day_scope(key: u32, model: &str) -> Scope {
    Scope::Model { project: own(key), model: model.to_owned(), window: Window::Day }
}

fn circuit(model: &str) -> Scope {
    Scope::Upstream { model: model.to_owned() }
}

/// Two keys, both closed for `pro`: the first may be tried from 5,000 on, the second from 6,000.
fn closed_for_pro() -> World {
    let mut world = World::of(Strategy::LeastLoaded, 2);
    world.tell([trying(day_scope(1, "pro"), FOR_EVER, 5_000), trying(day_scope(2, "pro"), FOR_EVER, 6_000)]);
    world
}

#[test]
fn one_request_at_a_time_goes_through_a_gate_whose_time_to_be_tried_has_come() {
    let mut world = closed_for_pro();
    let nobody = world.choose(&model("pro"), 0).unwrap_err();
    assert_eq!((nobody.opens, nobody.passed_over.model_gate, nobody.upstream), (Some(5_000), 2, false));
    world.at = 5_000;
    let probe = world.choose(&model("pro"), 0).unwrap();
    assert_eq!((probe.key, probe.probe, probe.why.passed_over.model_gate), (KeyId(1), true, 2));
    assert_eq!(world.opens(&model("pro")), Some(6_000), "another one of the same project must wait");
    assert!(!world.choose(&model("flash"), 0).unwrap().probe);

    // One that ends without a verdict is not followed at once.
    drop(probe);
    assert_eq!(world.opens(&model("pro")), Some(6_000));
    assert_eq!(world.opens(&Ask { from: From::Only(KeyId(1)), ..model("pro") }), Some(5_000 + PACE));
    world.at = 5_000 + PACE - 1;
    assert_eq!(world.choose(&model("pro"), 0).unwrap().key, KeyId(2));
    world.at = 5_000 + PACE;
    assert_eq!(world.choose(&model("pro"), 0).unwrap().key, KeyId(1));
}

#[test]
fn what_google_says_of_a_probe_decides_when_the_next_may_go() {
    let mut world = closed_for_pro();
    world.at = 5_000;
    let probe = world.choose(&model("pro"), 0).unwrap();
    world.tell([trying(day_scope(1, "pro"), FOR_EVER, 5_500)]);
    drop(probe);
    assert_eq!(world.opens(&model("pro")), Some(5_500), "sooner than one without a verdict");
    world.at = 5_500;
    let probe = world.choose(&model("pro"), 0).unwrap();
    world.tell([opened(day_scope(1, "pro"))]);
    drop(probe);
    assert!(!world.choose(&model("pro"), 0).unwrap().probe);
}

#[test]
fn the_ready_come_first() {
    let mut world = closed_for_pro();
    world.tell([added(3, None), served(3, "", "")]);
    world.at = 20_000;
    let choices: Vec<Choice> = (0..20).map(|random| world.choose(&model("pro"), random).unwrap()).collect();
    assert!(choices.iter().all(|choice| (choice.key, choice.probe) == (KeyId(3), false)));
    let tried = [KeyId(3)];
    let probe = world.choose(&Ask { tried: &tried, ..model("pro") }, 0).unwrap();
    assert_eq!((probe.key, probe.probe), (KeyId(1), true));
}

#[test]
fn a_first_try_takes_a_probe_that_is_due_before_the_ready_and_one_of_them_if_none_is() {
    let mut world = closed_for_pro();
    world.tell([added(3, None), served(3, "", "")]);
    let first = Ask { may_probe: true, ..model("pro") };
    assert_eq!(world.key(&first), Some(3), "none is due");
    world.at = 6_000;
    let (one, two) = (world.choose(&first, 0).unwrap(), world.choose(&first, 0).unwrap());
    assert_eq!(((one.key, one.probe), (two.key, two.probe)), ((KeyId(1), true), (KeyId(2), true)));
    let third = world.choose(&first, 0).unwrap();
    assert_eq!((third.key, third.probe), (KeyId(3), false), "both are under way");
}

#[test]
fn a_probe_on_its_way_is_worth_waiting_for() {
    let mut world = World::of(Strategy::LeastLoaded, 1);
    world.tell([trying(day_scope(1, "pro"), FOR_EVER, 5_000)]);
    assert!(!world.choose(&model("pro"), 0).unwrap_err().on_trial);
    world.at = 5_000;
    let probe = world.choose(&model("pro"), 0).unwrap();
    assert!(world.choose(&model("pro"), 0).unwrap_err().on_trial);
    assert!(!world.choose(&Ask { crowd: true, ..model("pro") }, 0).unwrap_err().on_trial, "long enough");
    drop(probe);
    assert!(!world.choose(&model("pro"), 0).unwrap_err().on_trial);
}

#[test]
fn every_other_gate_must_be_open() {
    for scope in [key_scope(1), Scope::Project(own(1)), method_scope(1, "embed")] {
        let mut world = closed_for_pro();
        world.tell([disabled(2), closed(scope.clone(), Some(9_000))]);
        world.at = 5_000;
        let ask = Ask { method: "embed", ..model("pro") };
        assert_eq!(world.opens(&ask), Some(9_000), "{scope:?}");
        world.at = 9_000;
        assert!(world.choose(&ask, 0).unwrap().probe, "{scope:?}");
    }
    let mut world = closed_for_pro();
    world.tell([closed(key_scope(1), FOR_EVER), disabled(2)]);
    world.at = 50_000;
    assert_eq!(world.opens(&model("pro")), None);
    world.tell([enabled(2)]);
    assert_eq!(world.choose(&model("pro"), 0).unwrap().key, KeyId(2));
    // Every window must be open or to be tried.
    let mut world = closed_for_pro();
    world.tell([disabled(2), closed(model_scope(&own(1), "pro"), Some(30_000))]);
    world.at = 5_000;
    assert_eq!(world.opens(&model("pro")), Some(30_000));
    world.at = 30_000;
    assert!(world.choose(&model("pro"), 0).unwrap().probe);
}

#[test]
fn a_probe_goes_with_the_keys_that_the_question_allows() {
    let mut world = closed_for_pro();
    world.at = 6_000;
    for from in [From::Only(KeyId(2)), From::Project("key-2")] {
        let probe = world.choose(&Ask { from, ..model("pro") }, 0).unwrap();
        assert_eq!((probe.key, probe.probe, probe.why.eligible), (KeyId(2), true, 1));
        drop(probe);
        world.tell([trying(day_scope(2, "pro"), FOR_EVER, 6_000)]);
    }
    let tried = [KeyId(2)];
    let ask = Ask { from: From::Project("key-2"), tried: &tried, ..model("pro") };
    assert_eq!(world.opens(&ask), Some(6_000), "it was only tried");
}

#[test]
fn a_claim_is_given_back_also_when_its_holder_dies_and_lives_through_a_rebuild() {
    let mut world = closed_for_pro();
    world.at = 5_000;
    let probe = world.choose(&model("pro"), 0).unwrap();
    world.tell([added(7, None), disabled(7), disabled(2)]);
    world.at = 5_000 + 2 * PACE;
    assert_eq!(world.opens(&model("pro")), Some(world.at + PACE), "somebody is still on the way");
    let died = catch_unwind(AssertUnwindSafe(|| {
        let _held = probe;
        std::panic::resume_unwind(Box::new("a handler died"));
    }));
    assert!(died.is_err());
    world.at += PACE;
    assert!(world.choose(&model("pro"), 0).unwrap().probe);
}

#[test]
fn the_prober_is_told_what_is_due_and_its_probe_is_the_one() {
    let mut world = closed_for_pro();
    assert_eq!(world.roster.due_probes(world.at, world.at, 10), []);
    assert!(world.roster.claim(KeyId(1), "pro", world.at).is_none());
    world.at = 6_000;
    let due = |key: u32| (KeyId(key), Arc::from(own(key)), "pro".to_owned());
    assert_eq!(world.roster.due_probes(world.at, world.at, 10), [due(1), due(2)]);
    assert_eq!(world.roster.due_probes(world.at, world.at, 1), [due(1)]);
    let lease = world.roster.claim(KeyId(1), "pro", world.at).unwrap();
    assert!(world.roster.claim(KeyId(1), "pro", world.at).is_none());
    assert_eq!(world.roster.due_probes(world.at, world.at, 10), [due(2)]);
    let probe = world.choose(&model("pro"), 0).unwrap();
    assert_eq!(probe.key, KeyId(2), "traffic leaves the prober's alone");
    assert!(world.roster.claim(KeyId(2), "pro", world.at).is_none());
    drop(lease);
    assert!(world.roster.claim(KeyId(1), "pro", world.at).is_none(), "too soon");
    world.at += PACE;
    assert!(world.roster.claim(KeyId(1), "pro", world.at).is_some());
    world.tell([closed(key_scope(1), FOR_EVER)]);
    world.at += PACE;
    assert!(world.roster.claim(KeyId(1), "pro", world.at).is_none(), "the key itself is out");
}

#[test]
fn many_that_cannot_be_probed_do_not_hide_the_one_that_can() {
    let mut world = World::of(Strategy::LeastLoaded, 40);
    world.tell((1..=40).map(|key| trying(day_scope(key, "pro"), FOR_EVER, 2_000 + Millis::from(key))));
    world.tell((1..40).map(|key| closed(key_scope(key), FOR_EVER)));
    world.at = 5_000;
    assert_eq!(world.choose(&model("pro"), 0).unwrap().key, KeyId(40));
    let held: Vec<Choice> = {
        world.tell((1..40).map(|key| opened(key_scope(key))));
        (0..39).map(|_| world.choose(&model("pro"), 0).unwrap()).collect()
    };
    let keys: BTreeSet<KeyId> = held.iter().map(|choice| choice.key).collect();
    assert_eq!(keys.len(), 39, "each once");
    assert_eq!(world.opens(&model("pro")), Some(5_000 + PACE));
}

#[test]
fn an_open_circuit_stops_everybody_but_one_probe() {
    let mut world = World::of(Strategy::LeastLoaded, 3);
    world.tell([trying(circuit("pro"), Some(60_000), 4_000)]);
    let nobody = world.choose(&model("pro"), 0).unwrap_err();
    assert_eq!((nobody.opens, nobody.upstream), (Some(4_000), true));
    assert_eq!(nobody.passed_over, PassedOver::default());
    assert!(world.key(&model("flash")).is_some() && world.key(&any()).is_some());
    world.at = 4_000;
    let probe = world.choose(&model("pro"), 0).unwrap();
    assert_eq!((probe.probe, probe.why.eligible), (true, 3));
    let nobody = world.choose(&model("pro"), 0).unwrap_err();
    assert_eq!((nobody.upstream, nobody.opens), (true, Some(4_000 + PACE)));
    world.tell([added(4, None), served(4, "", "")]);
    assert!(world.choose(&model("pro"), 0).is_err(), "a rebuild forgets neither the circuit nor the probe");
    world.tell([opened(circuit("pro"))]);
    assert!(!world.choose(&model("pro"), 0).unwrap().probe);
    drop(probe);

    // It opens by itself, too; and keys behind gates of their own are not said to be there before they are.
    world.tell([trying(circuit("pro"), Some(20_000), 15_000)]);
    world.tell((1..=4).map(|key| closed(key_scope(key), Some(17_000))));
    assert_eq!(world.opens(&model("pro")), Some(17_000));
    world.at = 20_000;
    assert!(!world.choose(&model("pro"), 0).unwrap().probe);
}

#[test]
fn the_prober_waits_for_the_circuit() {
    let mut world = closed_for_pro();
    world.tell([trying(circuit("pro"), Some(60_000), 4_000)]);
    world.at = 6_000;
    assert_eq!(world.roster.due_probes(world.at, world.at, 10), []);
    assert!(world.roster.claim(KeyId(1), "pro", world.at).is_none());
    world.at = 60_000;
    assert_eq!(world.roster.due_probes(world.at, world.at, 10).len(), 2);
}

/// Many threads, one gate: one of them goes through it.
#[test]
fn of_many_at_once_one_goes_through() {
    use crate::ledger::View;
    let world = closed_for_pro();
    let state = projections::State { keys: world.keys, seq: world.seq, at: world.at, ..Default::default() };
    let scheduler = Scheduler::new(Strategy::LeastLoaded);
    scheduler.rebuild(&state);
    let (scheduler, barrier) = (&scheduler, &std::sync::Barrier::new(8));
    let held: Vec<Choice> = std::thread::scope(|scope| {
        let ask = || {
            barrier.wait();
            scheduler.choose(&model("pro"), 5_000, 0).ok()
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(held.iter().map(|choice| choice.key).collect::<Vec<_>>(), [KeyId(1)]);
}
