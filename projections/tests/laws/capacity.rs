//! Who can serve what now: against a question to each key, and by example.

use std::collections::BTreeSet;

use projections::{
    KeyId, Millis, State,
    capacity::{Capacity, capacity},
    event::{Actor, KeyDisabled, Scope, Verdict, Window},
    headroom, pattern,
};
use proptest::prelude::*;

use crate::{
    given::{Given, closed, model, updated},
    history::history,
};

const MODELS: [&str; 4] = ["flash", "pro", "embedding", "unheard of"];

/// Projects with a key that nothing stands before, asked one by one.
fn plainly(state: &State, model: &str, now: Millis) -> (usize, usize) {
    let spent: BTreeSet<&str> = headroom::headroom(&state.keys, now)
        .filter(|room| room.model == model && room.left == 0)
        .map(|room| room.project)
        .collect();
    let meant = |key: &projections::keys::Key| {
        key.enabled && (key.models.is_empty() || key.models.iter().any(|own| pattern::matches(own, model)))
    };
    let with = |is: &dyn Fn(&projections::keys::Key) -> bool| {
        let keys = state.keys.iter().filter(|key| meant(key) && is(key));
        keys.map(|key| key.project.as_str()).collect::<BTreeSet<_>>()
    };
    let open = with(&|key| {
        // No gate is about this method.
        state.keys.closed(key, model, "listModels", now).is_none() && !spent.contains(key.project.as_str())
    });
    (open.len(), with(&|_| true).len())
}

proptest! {
    #[test]
    fn capacity_is_what_asking_each_key_says(events in history(80), later in 0i64..400_000) {
        let state = State::replay(&events);
        let now = state.at + later;
        for (model, told) in capacity(&state.keys, MODELS, now) {
            prop_assert_eq!((told.ready, told.projects), plainly(&state, model, now), "{}", model);
            prop_assert!(told.next.is_none_or(|next| next > now), "{:?}", told);
        }
    }
}

#[test]
fn each_model_has_its_own_count_and_the_next_that_is_back() {
    let mut given = Given::keys(&["alpha", "alpha", "beta", "gamma", "delta"]);
    given.when(1, closed(model("alpha", "flash", Window::Minute), Verdict::QuotaMinute, Some(500)));
    given.when(1, closed(model("alpha", "flash", Window::Day), Verdict::QuotaDay, Some(9_000)));
    given.when(1, closed(model("beta", "flash", Window::Minute), Verdict::QuotaMinute, Some(700)));
    given.when(1, closed(Scope::Key(KeyId(4)), Verdict::BadKey, None));
    given.when(1, KeyDisabled { key: KeyId(5), actor: Actor::Cli });
    let told = capacity(&given.state.keys, ["flash", "pro"], 100);
    assert_eq!(told["flash"], Capacity { ready: 0, projects: 3, next: Some(700), upstream: false });
    assert_eq!(told["pro"], Capacity { ready: 2, projects: 3, next: None, upstream: false });
    // A project that is away as a whole is not back for a model before that is.
    given.when(2, closed(Scope::Project("beta".to_owned()), Verdict::ServiceDisabled, Some(600)));
    let told = capacity(&given.state.keys, ["flash", "pro"], 100);
    assert_eq!((told["flash"].next, told["pro"].next), (Some(700), Some(600)));
    // Keys that are meant for some models count for those.
    given.when(3, projections::event::KeyUpdated { models: Some(vec!["pro*".to_owned()]), ..updated(3) });
    let told = capacity(&given.state.keys, ["flash", "pro"], 100);
    assert_eq!((told["flash"].projects, told["flash"].next), (2, Some(9_000)));
    assert_eq!((told["pro"].ready, told["pro"].projects, told["pro"].next), (1, 3, Some(600)));
    // A model in trouble at Google is served by nobody.
    given.when(4, closed(Scope::Upstream { model: "pro".to_owned() }, Verdict::Overloaded, Some(150)));
    let told = capacity(&given.state.keys, ["pro"], 100);
    assert_eq!(told["pro"], Capacity { ready: 0, projects: 3, next: Some(150), upstream: true });
}
