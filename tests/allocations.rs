//! Choosing a key allocates nothing, whatever comes of it, nor does counting a client. A program of its own,
//! because counting takes the place of the allocator.

#[path = "../benches/scheduler/pools.rs"]
mod pools;

use allocation_counter::measure;
use gemini_pool::{
    access::Access,
    ledger::View,
    scheduler::{Ask, From, Scheduler},
};
use pools::{LATER, MODEL, NOW, pool};
use projections::{KeyId, Millis, Recorded, State, event::Strategy};

fn ask() -> Ask<'static> {
    Ask { model: MODEL, method: "generateContent", ..Ask::default() }
}

/// Asks a few times, each time letting go of the place at once; counts allocations and who was chosen.
fn allocations(size: u32, gated: impl Fn(u32) -> bool, ask: &Ask<'_>, now: Millis) -> (u64, usize) {
    let state = pool(size, &[MODEL, "another"], gated);
    let (mut allocations, mut chosen) = (0, 0);
    for strategy in [Strategy::LeastLoaded, Strategy::RoundRobin] {
        let scheduler = Scheduler::new(strategy);
        scheduler.rebuild(&state);
        let counted = measure(|| {
            for random in 0..100 {
                chosen += usize::from(scheduler.choose(ask, now, random).is_ok());
            }
        });
        allocations += counted.count_total;
    }
    (allocations, chosen)
}

#[test]
fn choosing_allocates_nothing() {
    for size in [10, 1_000, 10_000] {
        assert_eq!(allocations(size, |_| false, &ask(), NOW), (0, 200), "{size} keys, all ready");
        assert_eq!(allocations(size, |key| key % 2 == 0, &ask(), NOW), (0, 200), "{size} keys, half gated");
        assert_eq!(allocations(size, |key| key != 7, &ask(), NOW), (0, 200), "{size} keys, one ready");
        assert_eq!(allocations(size, |_| true, &ask(), NOW), (0, 0), "{size} keys, none ready");
        assert_eq!(allocations(size, |_| true, &ask(), LATER), (0, 200), "{size} keys, all waking up");
        assert_eq!(allocations(size, |key| key > 1, &ask(), LATER), (0, 200), "{size} keys, most waking up");
        let tried = [KeyId(1), KeyId(2), KeyId(3)];
        let ask = Ask { tried: &tried, ..ask() };
        assert_eq!(allocations(size, |key| key % 2 == 0, &ask, NOW), (0, 200), "{size} keys, some tried");
        let proven = Ask { proven: true, ..ask };
        assert_eq!(allocations(size, |key| key % 2 == 0, &proven, NOW), (0, 200), "{size} keys, proven ones");
        let only = Ask { from: From::Only(KeyId(5)), ..ask };
        assert_eq!(allocations(size, |_| false, &only, NOW), (0, 200), "{size} keys, one named");
        let keeper = Ask { from: From::Keeper, tried: &[], ..ask };
        assert_eq!(allocations(size, |_| false, &keeper, NOW), (0, 200), "{size} keys, the keeper");
    }
}

/// The same pool, as operators and Google may have it: weights, tiers, models, budgets, gates to be tried.
fn varied(size: u32) -> State {
    let mut state = pools::ranked(pool(size, &[MODEL], |key| key % 2 == 0));
    for key in (1..=size).filter(|key| key % 3 == 0) {
        for event in [pools::limited(key, 3), pools::to_be_tried(key, "tried")] {
            let recorded = Recorded { seq: state.seq + 1, at: NOW, event };
            state.apply(&recorded);
        }
    }
    state
}

#[test]
fn no_rule_makes_choosing_allocate() {
    for strategy in [Strategy::LeastLoaded, Strategy::RoundRobin, Strategy::Sticky] {
        for size in [12, 3_000] {
            let scheduler = Scheduler::new(strategy);
            scheduler.rebuild(&varied(size));
            // The first round finds room for what wakes up; after that windows turn, and budgets close.
            let round = |model: &str, from: Millis| {
                (0..3_000_u64)
                    .filter(|n| {
                        let sticky = Some(n % 500);
                        let ask = Ask { model, tokens: 10, sticky, ..ask() };
                        scheduler.choose(&ask, from + *n as Millis * 100, *n).is_ok()
                    })
                    .count()
            };
            for model in [MODEL, "tried", "models/of-nobody"] {
                round(model, NOW);
                let mut chosen = 0;
                let counted = measure(|| chosen = round(model, LATER));
                assert_eq!(counted.count_total, 0, "{strategy:?}, {size} keys, {model}");
                assert!(chosen > 0, "{strategy:?}, {size} keys, {model}");
            }
        }
    }
}

/// Nobody is ready: requests go through gates that are to be tried, one each, and the others wait.
#[test]
fn probing_allocates_nothing() {
    for size in [12, 3_000] {
        let mut state = State::default();
        for key in 1..=size {
            for event in [pools::added(key), pools::served(key), pools::to_be_tried(key, MODEL)] {
                let recorded = Recorded { seq: state.seq + 1, at: NOW, event };
                state.apply(&recorded);
            }
        }
        let scheduler = Scheduler::new(Strategy::LeastLoaded);
        scheduler.rebuild(&state);
        let mut probes = 0;
        let counted = measure(|| {
            for round in 1..5 {
                for random in 0..u64::from(size) + 5 {
                    let choice = scheduler.choose(&ask(), NOW + round * 20_000, random);
                    probes += u32::from(choice.is_ok_and(|choice| choice.probe));
                }
            }
        });
        assert_eq!((counted.count_total, probes), (0, 4 * size), "{size} keys");
    }
}

/// What is counted is counted: or the test above would hold for anything.
#[test]
fn an_allocation_would_be_seen() {
    assert_eq!(measure(|| drop(std::hint::black_box(Box::new(7)))).count_total, 1);
}

/// A request that comes in and goes out again, minute after minute, is counted in room that is there.
#[test]
fn counting_a_client_allocates_nothing() {
    use projections::{
        ClientId, Digest,
        event::{Actor, ClientAdded},
    };
    let mut state = State::default();
    let (client, digest) = (ClientId(1), Digest([1; 32]));
    let event = ClientAdded { client, name: String::new(), tail: String::new(), digest, actor: Actor::Cli };
    state.apply(&Recorded { seq: 1, at: NOW, event: event.into() });
    let access = Access::default();
    access.rebuild(&state);
    let counted = measure(|| {
        for step in 0..10_000 {
            let mut visit = access.enter(client, None, NOW + step * 77).unwrap();
            visit.sent();
        }
    });
    assert_eq!(counted.count_total, 0);
    assert_eq!(access.usage(client, NOW + 769_923).minute, 779);
}
