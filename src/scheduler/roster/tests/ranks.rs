//! What operators say of keys: weights, tiers, and models; and where conversations go.

use super::*;

impl World {
    /// Keys of these weights and tiers, for these models, all of them proven.
    fn ranked(strategy: Strategy, ranks: &[(u16, u8, &[&str])]) -> Self {
        let mut world = Self::of(strategy, ranks.len() as u32);
        for ((weight, tier, models), key) in ranks.iter().zip(1..) {
            world.say(key, *weight, *tier, models);
        }
        world
    }

    /// An operator says something of a key.
    pub(super) fn say(&mut self, key: u32, weight: u16, tier: u8, models: &[&str]) {
        let mut keys = serde_json::to_value(&self.keys).unwrap();
        let Some(slot) = keys["keys"].get_mut(key.to_string()) else { return };
        slot["weight"] = weight.into();
        slot["priority"] = tier.into();
        slot["models"] = models.into();
        self.keys = serde_json::from_value(keys).unwrap();
        self.roster.rebuild(&self.keys, self.seq, self.at);
    }

    fn tally(&mut self, ask: &Ask<'_>, times: u64) -> Vec<u64> {
        let mut tally = vec![0; self.keys.len()];
        for random in 0..times {
            tally[self.choose(ask, random).unwrap().key.0 as usize - 1] += 1;
        }
        tally
    }
}

const ALL: &[&str] = &[];

#[test]
fn turns_come_in_proportion_to_weights() {
    let weights = [1, 2, 3, 4, 5, 8, 40];
    let ranks = weights.map(|weight| (weight, 0, ALL));
    let mut world = World::ranked(Strategy::RoundRobin, &ranks);
    let tally = world.tally(&any(), 63 * 40);
    for (seen, weight) in tally.iter().zip(weights) {
        assert!(seen.abs_diff(u64::from(weight) * 40) <= 4, "{tally:?}");
    }
    // And they are spread: no key waits for all turns of the others.
    let mut last = [0_u64; 7];
    for turn in 1..=630 {
        let key = world.key(&any()).unwrap() as usize - 1;
        assert!(
            turn - last[key] <= 2 * 63 / u64::from(weights[key]) + 8,
            "key {key} waited from {}",
            last[key]
        );
        last[key] = turn;
    }
}

#[test]
fn least_loaded_draws_in_proportion_to_weights() {
    let weights = [1, 1, 2, 3, 7, 2, 4, 20];
    let mut world = World::ranked(Strategy::LeastLoaded, &weights.map(|weight| (weight, 0, ALL)));
    let tally = world.tally(&any(), 40_000);
    for (seen, weight) in tally.iter().zip(weights) {
        let due = u64::from(weight) * 1_000;
        assert!(seen.abs_diff(due) < due / 8 + 100, "{tally:?}");
    }
}

#[test]
fn least_loaded_holds_what_is_under_way_in_proportion_to_weights() {
    let weights = [1, 2, 4, 3, 10];
    let mut world = World::ranked(Strategy::LeastLoaded, &weights.map(|weight| (weight, 0, ALL)));
    let held: Vec<Choice> = (0..1_000).map(|random| world.choose(&any(), random).unwrap()).collect();
    let loads = (1..=5).map(|key| held.iter().filter(|choice| choice.key == KeyId(key)).count() as u64);
    for (load, weight) in loads.zip(weights) {
        assert!(load.abs_diff(u64::from(weight) * 50) <= 6 + u64::from(weight) * 3, "{load} of {weight}");
    }
}

/// One key that weighs more than all others must not cost draws that miss.
#[test]
fn a_giant_among_dwarfs_gets_its_share() {
    let mut ranks = vec![(1, 0, ALL); 50];
    ranks.push((u16::MAX, 0, ALL));
    for strategy in [Strategy::LeastLoaded, Strategy::RoundRobin] {
        let tally = World::ranked(strategy, &ranks).tally(&any(), 2_000);
        assert!(tally[50] > 1_980, "{tally:?}");
    }
}

#[test]
fn a_tier_is_used_only_when_the_lower_ones_are_out() {
    for strategy in [Strategy::LeastLoaded, Strategy::RoundRobin, Strategy::Sticky] {
        let ranks: [(u16, u8, &[&str]); 4] = [(1, 5, ALL), (1, 5, ALL), (9, 7, ALL), (1, 200, ALL)];
        let mut world = World::ranked(strategy, &ranks);
        let ask = Ask { sticky: Some(3), ..any() };
        assert_eq!(world.tally(&ask, 200)[2..], [0, 0]);
        let tried = [KeyId(1), KeyId(2)];
        assert_eq!(world.key(&Ask { tried: &tried, ..ask }), Some(3), "both of the first tier were tried");
        world.tell([closed(key_scope(1), Some(5_000)), closed(key_scope(2), Some(6_000))]);
        assert_eq!(world.key(&ask), Some(3));
        world.tell([disabled(3)]);
        assert_eq!(world.key(&ask), Some(4));
        world.at = 5_000;
        assert_eq!(world.key(&ask), Some(1), "a conversation goes back, too");
    }
}

#[test]
fn a_key_serves_the_models_it_is_for() {
    let mut world = World::ranked(Strategy::LeastLoaded, &[(1, 0, &["gemini-*-pro", "exact"]), (1, 0, ALL)]);
    let mut seen = |name| {
        let choices: Vec<Choice> =
            (0..30).map(|random| world.choose(&model(name), random).unwrap()).collect();
        let passed_over = choices[0].why.passed_over.other_models;
        assert_eq!(choices[0].why.eligible + passed_over, 2);
        (choices.iter().any(|choice| choice.key == KeyId(1)), passed_over)
    };
    assert_eq!(seen("gemini-2.5-pro"), (true, 0));
    assert_eq!(seen("exact"), (true, 0));
    assert_eq!(seen("gemini-2.5-flash"), (false, 1));
    assert_eq!(seen("exactly"), (false, 1));
    assert_eq!(seen(""), (true, 0), "where no model is named, none is excluded");
    // Also beside gates for the model, or for a method.
    world.tell([
        closed(model_scope(&own(2), "flash"), Some(9_000)),
        closed(method_scope(2, "embed"), Some(8_000)),
    ]);
    let nobody = world.choose(&model("flash"), 0).unwrap_err();
    assert_eq!((nobody.opens, nobody.passed_over.other_models), (Some(9_000), 1));
    assert_eq!(world.opens(&Ask { method: "embed", ..model("other") }), Some(8_000));
    assert_eq!(world.opens(&Ask { from: From::Only(KeyId(1)), ..model("flash") }), None);
    world.say(1, 1, 0, &["f*"]);
    assert_eq!(world.key(&model("flash")), Some(1));
}

#[test]
fn a_probe_goes_with_a_key_that_is_for_the_model() {
    let mut world = World::ranked(Strategy::LeastLoaded, &[(1, 0, &["flash"]), (1, 1, ALL), (1, 0, ALL)]);
    let scope = |key| Scope::Model { project: own(key), model: "pro".to_owned(), window: Window::Day };
    for key in 1..=3 {
        let (scope, cause) = (scope(key), Verdict::QuotaDay);
        let (until, probe) = (FOR_EVER, Some(2_000));
        world.tell([GateClosed { scope, cause, until, probe, request: None, key: KeyId(1) }.into()]);
    }
    world.at = 2_000;
    let held: Vec<Choice> = (0..2).map(|_| world.choose(&model("pro"), 0).unwrap()).collect();
    assert_eq!(held.iter().map(|choice| choice.key.0).collect::<BTreeSet<_>>(), BTreeSet::from([2, 3]));
    assert_eq!(world.opens(&model("pro")), Some(5_000));
}

/// More patterns than bits of a word, and more models than are kept.
#[test]
fn many_patterns_and_models_get_on() {
    let names: Vec<String> = (0..150).map(|n| format!("model-{n}")).collect();
    let mut world = World::of(Strategy::LeastLoaded, 150);
    let mut keys = serde_json::to_value(&world.keys).unwrap();
    for (name, key) in names.iter().zip(1_u32..) {
        keys["keys"][key.to_string()]["models"] = vec![name.as_str()].into();
    }
    world.keys = serde_json::from_value(keys).unwrap();
    world.roster.rebuild(&world.keys, world.seq, world.at);
    for (name, key) in names.iter().zip(1..) {
        assert_eq!(world.key(&model(name)), Some(key));
    }
    assert_eq!(world.choose(&model("none"), 0).unwrap_err().passed_over.other_models, 150);
}

#[test]
fn a_conversation_stays_with_its_project() {
    let mut world = World::new(Strategy::Sticky);
    world.tell((1..=12).map(|key| added(key, Some(["p", "q", "r", "s"][key as usize % 4]))));
    world.tell((1..=12).map(|key| served(key, "", "")));
    let talk = |talk| Ask { sticky: Some(talk), ..model("pro") };
    let begun: Vec<Arc<str>> = (0..50).map(|n| world.choose(&talk(n), n).unwrap().project).collect();
    assert_eq!(begun.iter().collect::<BTreeSet<_>>().len(), 4, "they begin all over the pool");
    for random in 50..60 {
        for n in 0..50 {
            assert_eq!(world.choose(&talk(n), random).unwrap().project, begun[n as usize]);
        }
    }
    // The keys of the project share the work.
    let held: Vec<Choice> = (0..6).map(|random| world.choose(&talk(0), random).unwrap()).collect();
    let mut loads = BTreeMap::<KeyId, u32>::new();
    held.iter().for_each(|choice| *loads.entry(choice.key).or_default() += 1);
    assert_eq!(loads.values().copied().collect::<Vec<_>>(), [2, 2, 2]);
    drop(held);
    // It moves when it must, and stays there.
    world.tell([closed(model_scope(&begun[0], "pro"), Some(5_000))]);
    let moved = world.choose(&talk(0), 1).unwrap().project;
    assert_ne!(moved, begun[0]);
    world.at = 5_000;
    world.roster.rebuild(&world.keys, world.seq, world.at);
    assert!((0..20).all(|random| world.choose(&talk(0), random).unwrap().project == moved));
    // Where nobody asks for it, it is as least-loaded.
    let free: BTreeSet<Arc<str>> = (0..50).map(|n| world.choose(&model("pro"), n).unwrap().project).collect();
    assert_eq!(free.len(), 4);
}
