//! How long choosing a key takes: `cargo bench --bench scheduler`.
//!
//! A request waits for a choice, and every other request for the lock it is made
//! under. Aimed at: 1 µs with 10 keys, 3 µs with 10,000 of which half are gated.

#[path = "scheduler/pools.rs"]
mod pools;

use std::fmt;

use divan::{Bencher, counter::ItemsCount};
use gemini_pool::{
    ledger::View,
    scheduler::{Ask, Scheduler},
};
use pools::{LATER, MODEL, NOW, pool};
use projections::{
    KeyId, Recorded, State,
    event::{ProjectLearned, Strategy},
};

fn main() {
    divan::main();
}

const SIZES: [u32; 3] = [10, 1_000, 10_000];
const LARGEST: [u32; 1] = [10_000];

/// A strategy and a number of keys.
struct Case(Strategy, u32);

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, {} keys", self.0, self.1)
    }
}

fn cases<const N: usize>(sizes: [u32; N]) -> impl Iterator<Item = Case> {
    let strategies = [Strategy::LeastLoaded, Strategy::RoundRobin];
    strategies.into_iter().flat_map(move |strategy| sizes.map(|size| Case(strategy, size)))
}

fn scheduler(strategy: Strategy, state: &State) -> Scheduler {
    let scheduler = Scheduler::new(strategy);
    scheduler.rebuild(state);
    scheduler
}

/// Chooses, and gives the place back.
fn choose(bencher: Bencher<'_, '_>, case: &Case, gated: impl Fn(u32) -> bool) {
    let scheduler = scheduler(case.0, &pool(case.1, &[MODEL], gated));
    let ask = Ask { model: MODEL, method: "generateContent", ..Ask::default() };
    let mut random = 0_u64;
    bencher.counter(ItemsCount::new(1_u32)).bench_local(|| {
        random = random.wrapping_add(1);
        scheduler.choose(&ask, NOW, random).is_ok()
    });
}

#[divan::bench(args = cases(SIZES), sample_size = 1_000)]
fn half_gated(bencher: Bencher<'_, '_>, case: &Case) {
    choose(bencher, case, |key| key % 2 == 0);
}

#[divan::bench(args = cases(LARGEST), sample_size = 1_000)]
fn all_but_one_gated(bencher: Bencher<'_, '_>, case: &Case) {
    choose(bencher, case, |key| key != 77);
}

#[divan::bench(args = cases(LARGEST), sample_size = 1_000)]
fn all_gated(bencher: Bencher<'_, '_>, case: &Case) {
    choose(bencher, case, |_| true);
}

/// Nobody is ready: each choice goes through a closed gate, or finds that all of them wait.
#[divan::bench(args = LARGEST, sample_size = 1_000)]
fn all_to_be_tried(bencher: Bencher<'_, '_>, size: u32) {
    let mut state = pool(size, &[], |_| false);
    for key in 1..=size {
        let recorded = Recorded { seq: state.seq + 1, at: NOW, event: pools::to_be_tried(key, MODEL) };
        state.apply(&recorded);
    }
    let scheduler = scheduler(Strategy::LeastLoaded, &state);
    let ask = Ask { model: MODEL, ..Ask::default() };
    let mut random = 0_u64;
    bencher.counter(ItemsCount::new(1_u32)).bench_local(|| {
        random = random.wrapping_add(1);
        scheduler.choose(&ask, NOW + 20_000 + (random / 2) as i64, random).is_ok()
    });
}

/// Operators and Google had their say: weights, tiers, models, limits a minute.
#[divan::bench(args = every_case(), sample_size = 1_000)]
fn all_rules(bencher: Bencher<'_, '_>, case: &Case) {
    let mut state = pools::ranked(pool(case.1, &[MODEL], |key| key % 2 == 0));
    for key in 1..=case.1 {
        let recorded = Recorded { seq: state.seq + 1, at: NOW, event: pools::limited(key, 100_000) };
        state.apply(&recorded);
    }
    let scheduler = scheduler(case.0, &state);
    let mut random = 0_u64;
    bencher.counter(ItemsCount::new(1_u32)).bench_local(|| {
        random = random.wrapping_add(1);
        let ask = Ask { model: MODEL, tokens: 1, sticky: Some(random % 10_000), ..Ask::default() };
        // A minute later the limits are fresh.
        scheduler.choose(&ask, NOW + 60_000 + (random / 100) as i64, random).is_ok()
    });
}

fn every_case() -> impl Iterator<Item = Case> {
    let strategies = [Strategy::LeastLoaded, Strategy::RoundRobin, Strategy::Sticky];
    strategies.into_iter().flat_map(|strategy| SIZES.map(|size| Case(strategy, size)))
}

/// Keys tell their projects, one after the other.
#[divan::bench(args = LARGEST, sample_count = 20, sample_size = 100)]
fn a_project_is_learned(bencher: Bencher<'_, '_>, size: u32) {
    let names = models_named(50);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut state = pool(size, &names, |key| key % 2 == 0);
    let scheduler = scheduler(Strategy::LeastLoaded, &state);
    let mut key = 0;
    bencher.bench_local(|| {
        key = key % size + 1;
        let consumer = format!("projects/{}", state.seq);
        let event = ProjectLearned { key: KeyId(key), consumer }.into();
        let recorded = Recorded { seq: state.seq + 1, at: NOW, event };
        state.apply(&recorded);
        scheduler.folded(&state, std::slice::from_ref(&recorded));
    });
}

/// The one choice that finds that a minute or a day has turned for half of the keys.
#[divan::bench(args = SIZES, sample_count = 50, sample_size = 1)]
fn half_wake_up(bencher: Bencher<'_, '_>, size: u32) {
    let state = pool(size, &[MODEL], |key| key % 2 == 0);
    let ask = Ask { model: MODEL, ..Ask::default() };
    bencher
        .with_inputs(|| scheduler(Strategy::LeastLoaded, &state))
        .bench_local_refs(|scheduler| scheduler.choose(&ask, LATER, 1).is_ok());
}

/// A gate closes, in a pool that has fifty models with gates.
#[divan::bench(args = SIZES)]
fn a_gate_closes(bencher: Bencher<'_, '_>, size: u32) {
    let names = models_named(50);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut state = pool(size, &names, |key| key % 2 == 0);
    let recorded = Recorded { seq: state.seq + 1, at: NOW, event: pools::closed(7, "model-7") };
    let scheduler = scheduler(Strategy::LeastLoaded, &state);
    state.apply(&recorded);
    bencher.bench_local(|| scheduler.folded(&state, std::slice::from_ref(&recorded)));
}

/// Keys were added or removed; so many keys, half of them gated for so many models.
#[divan::bench(args = [(10, 50), (1_000, 5), (10_000, 1), (10_000, 50)], sample_count = 20, sample_size = 1)]
fn rebuild(bencher: Bencher<'_, '_>, (size, models): (u32, usize)) {
    let names = models_named(models);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let state = pool(size, &names, |key| key % 2 == 0);
    let scheduler = scheduler(Strategy::LeastLoaded, &state);
    bencher.bench_local(|| scheduler.rebuild(&state));
}

fn models_named(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("model-{n}")).collect()
}
