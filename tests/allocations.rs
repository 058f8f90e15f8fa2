//! Choosing a key allocates nothing, whatever comes of it. A program of its own,
//! because counting takes the place of the allocator.

#[path = "../benches/scheduler/pools.rs"]
mod pools;

use allocation_counter::measure;
use gemini_pool::{
    ledger::View,
    scheduler::{Ask, From, Scheduler},
};
use pools::{LATER, MODEL, NOW, pool};
use projections::{KeyId, Millis, event::Strategy};

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
        let only = Ask { from: From::Only(KeyId(5)), ..ask };
        assert_eq!(allocations(size, |_| false, &only, NOW), (0, 200), "{size} keys, one named");
        let keeper = Ask { from: From::Keeper, tried: &[], ..ask };
        assert_eq!(allocations(size, |_| false, &keeper, NOW), (0, 200), "{size} keys, the keeper");
    }
}

/// What is counted is counted: or the test above would hold for anything.
#[test]
fn an_allocation_would_be_seen() {
    assert_eq!(measure(|| drop(std::hint::black_box(Box::new(7)))).count_total, 1);
}
