//! How requests spread over keys. The numbers come from fixed seeds.

use super::*;

/// How often each key was chosen, when nothing is held.
fn tally(world: &mut World, ask: &Ask<'_>, times: u64) -> BTreeMap<u32, u64> {
    let mut tally = BTreeMap::new();
    for random in 0..times {
        *tally.entry(world.choose(ask, random).unwrap().key.0).or_default() += 1;
    }
    tally
}

#[test]
fn least_loaded_spreads_evenly_over_equal_keys() {
    let mut world = World::of(Strategy::LeastLoaded, 20);
    let tally = tally(&mut world, &any(), 20_000);
    assert_eq!(tally.len(), 20);
    let surprise: f64 = tally.values().map(|&seen| (seen as f64 - 1_000.0).powi(2) / 1_000.0).sum();
    // Chi-square with 19 degrees of freedom: above 55 in one of 40,000 cases.
    assert!(surprise < 55.0, "{surprise}: {tally:?}");
}

#[test]
fn least_loaded_prefers_the_less_busy() {
    let mut world = World::of(Strategy::LeastLoaded, 10);
    let _busy: Vec<Choice> = (0..50).map(|_| world.choose(&only(1), 0).unwrap()).collect();
    let seen = tally(&mut world, &any(), 10_000);
    // Two keys are compared, and they are two: a busy one never wins.
    assert!(seen.get(&1).is_none_or(|times| *times < 5), "{seen:?}");
    assert!((2..=10).all(|key| seen[&key] > 900), "{seen:?}");
}

#[test]
fn least_loaded_keeps_the_pool_level() {
    let mut world = World::of(Strategy::LeastLoaded, 10);
    let held: Vec<Choice> = (0..1_000).map(|random| world.choose(&any(), random).unwrap()).collect();
    let mut loads = BTreeMap::<u32, u32>::new();
    held.iter().for_each(|choice| *loads.entry(choice.key.0).or_default() += 1);
    // One draw would be 100 ± 20; of two, the better: 100 ± 2.
    assert!(loads.values().all(|load| (96..=104).contains(load)), "{loads:?}");
}

#[test]
fn a_slow_key_gets_less_and_one_that_was_slow_once_comes_back() {
    let mut world = World::of(Strategy::LeastLoaded, 10);
    let mut run = |slow_until: u64| {
        let mut tally = BTreeMap::<u32, u64>::new();
        for random in 0..5_000 {
            let choice = world.choose(&any(), random).unwrap();
            let slow = choice.key == KeyId(1) && random < slow_until;
            choice.lease.first_byte(if slow { 30_000 } else { 500 });
            *tally.entry(choice.key.0).or_default() += 1;
        }
        tally
    };
    let slow = run(5_000);
    assert!(slow[&1] < 200, "{slow:?}");
    assert!(slow[&1] > 10, "it is measured again now and then: {slow:?}");
    let recovered = run(1);
    assert!(recovered[&1] > 350, "{recovered:?}");
}

#[test]
fn round_robin_visits_every_ready_key_once_a_round() {
    let mut world = World::of(Strategy::RoundRobin, 7);
    world.tell([closed(key_scope(3), FOR_EVER), disabled(5), closed(model_scope(&own(6), "pro"), FOR_EVER)]);
    for (ask, keys) in [(any(), vec![1, 2, 4, 6, 7]), (model("pro"), vec![1, 2, 4, 7])] {
        for _ in 0..10 {
            let round: BTreeSet<u32> = (0..keys.len()).map(|_| world.key(&ask).unwrap()).collect();
            assert!(round.iter().eq(&keys), "{round:?}");
        }
    }
}

/// Otherwise the one after a busy key would be visited twice a round.
#[test]
fn round_robin_goes_on_after_the_key_it_chose() {
    let mut world = World::of(Strategy::RoundRobin, 3);
    world.tell([added(4, None)]);
    let _on_trial = world.choose(&only(4), 0).unwrap();
    assert_eq!(tally(&mut world, &any(), 300), BTreeMap::from([(1, 100), (2, 100), (3, 100)]));
}

/// Models that alternate must not share a turn: each would see every other key only.
#[test]
fn round_robin_keeps_a_turn_for_each_model_with_gates() {
    let mut world = World::of(Strategy::RoundRobin, 5);
    world.tell([closed(model_scope(&own(5), "pro"), FOR_EVER)]);
    let mut pro = BTreeSet::new();
    for _ in 0..4 {
        pro.insert(world.key(&model("pro")).unwrap());
        world.key(&model("flash"));
    }
    assert_eq!(pro, BTreeSet::from([1, 2, 3, 4]));
}
