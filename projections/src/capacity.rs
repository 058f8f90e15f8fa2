//! How many projects can serve a model now, for people to read.
//!
//! Owns one question to the pool's state, and keeps nothing. What holds for every model is looked at once for each
//! project, and models only where something is closed or limited, so that ten thousand projects and their models
//! are counted quickly. Its invariant: a project counts for a model if some key of its own could be chosen for it,
//! as far as gates, limits and the operator's words say.

use std::collections::BTreeMap;

use crate::{
    headroom,
    id::Millis,
    keys::{Key, Keys, Project},
    pattern,
};

/// How a model can be served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capacity {
    /// Projects that can serve it now.
    pub ready: usize,
    /// Projects with a key that is enabled and meant for it.
    pub projects: usize,
    /// When the next one is back, as far as is known: none where none is away, or only a check brings one back.
    pub next: Option<Millis>,
    /// The model is in trouble at Google: nobody serves it until the circuit closes.
    pub upstream: bool,
}

/// Until when something is away; none: until a check passes.
type Back = Option<Millis>;

/// The later of two, where both must be over.
fn both(one: Back, other: Back) -> Back {
    Some(one?.max(other?))
}

/// Whether something can serve.
#[derive(Clone, Copy)]
enum Standing {
    Open,
    Away(Back),
}

impl Standing {
    /// Of two of which one is enough.
    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Away(one), Self::Away(other)) => Self::Away(one.into_iter().chain(other).min()),
            _ => Self::Open,
        }
    }

    /// Of two that are both needed.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Open, standing) | (standing, Self::Open) => standing,
            (Self::Away(one), Self::Away(other)) => Self::Away(both(one, other)),
        }
    }
}

/// The key's own gate and its project's, together.
fn standing(key: &Key, project: &Project, now: Millis) -> Standing {
    let gates = [key.gate.as_ref(), project.gate.as_ref()];
    let closed = gates.into_iter().flatten().filter(|gate| gate.is_closed(now));
    closed.map(|gate| Standing::Away(gate.until)).fold(Standing::Open, Standing::and)
}

/// What stands before a project for single models: until when each is away.
fn models_away<'a>(
    keys: &'a Keys,
    name: &'a str,
    project: &'a Project,
    now: Millis,
) -> BTreeMap<&'a str, Back> {
    let mut away = BTreeMap::new();
    let mut add = |model: &'a str, until: Back| {
        let slot = away.entry(model).or_insert(until);
        *slot = both(*slot, until);
    };
    for (model, windows) in &project.models {
        windows.values().filter(|gate| gate.is_closed(now)).for_each(|gate| add(model, gate.until));
    }
    // What was used up closes no gate before Google says so, but the scheduler passes it over all the same.
    headroom::of_project(keys, name, project, now)
        .filter(|room| room.left == 0)
        .for_each(|room| add(room.model, room.turns));
    away
}

/// How a model differs from those that nothing is said of.
#[derive(Default)]
struct Difference {
    ready: isize,
    projects: isize,
    /// Times at which a project is back for it, and those at which it would be for others.
    back: Vec<Millis>,
    not_back: BTreeMap<Millis, usize>,
}

/// Many projects, counted.
#[derive(Default)]
struct Tally {
    ready: usize,
    projects: usize,
    back: BTreeMap<Millis, usize>,
}

impl Tally {
    fn count(&mut self, standing: Option<Standing>) {
        let Some(standing) = standing else { return };
        self.projects += 1;
        match standing {
            Standing::Open => self.ready += 1,
            Standing::Away(Some(back)) => *self.back.entry(back).or_default() += 1,
            Standing::Away(None) => {}
        }
    }

    fn of(standing: Option<Standing>) -> Self {
        let mut tally = Self::default();
        tally.count(standing);
        tally
    }

    fn with(&self, difference: &Difference) -> Capacity {
        let still =
            self.back.iter().find(|(at, count)| difference.not_back.get(at).is_none_or(|gone| gone < count));
        Capacity {
            ready: self.ready.saturating_add_signed(difference.ready),
            projects: self.projects.saturating_add_signed(difference.projects),
            next: still.map(|(at, _)| *at).into_iter().chain(difference.back.iter().copied()).min(),
            upstream: false,
        }
    }
}

/// How each of these models can be served at `now`.
#[must_use]
pub fn capacity<'a>(
    keys: &Keys,
    models: impl IntoIterator<Item = &'a str>,
    now: Millis,
) -> BTreeMap<&'a str, Capacity> {
    let mut found: BTreeMap<&'a str, Difference> =
        models.into_iter().map(|model| (model, Difference::default())).collect();
    let mut all = Tally::default();
    for (name, project) in keys.projects() {
        let own: Vec<&Key> =
            project.keys.iter().filter_map(|key| keys.get(*key)).filter(|key| key.enabled).collect();
        let gated = models_away(keys, name, project, now);
        let general = own.iter().filter(|key| key.models.is_empty());
        let general = general.map(|key| standing(key, project, now)).reduce(Standing::or);
        all.count(general);
        let special = |model: &str, difference: &mut Difference| {
            let meant = own.iter().filter(|key| {
                key.models.is_empty() || key.models.iter().any(|own| pattern::matches(own, model))
            });
            let here = meant.map(|key| standing(key, project, now)).reduce(Standing::or);
            let here = here.map(|here| gated.get(model).map_or(here, |gate| here.and(Standing::Away(*gate))));
            let (before, after) = (Tally::of(general), Tally::of(here));
            difference.ready += after.ready as isize - before.ready as isize;
            difference.projects += after.projects as isize - before.projects as isize;
            difference.back.extend(after.back.keys());
            before.back.keys().for_each(|at| *difference.not_back.entry(*at).or_default() += 1);
        };
        if own.iter().any(|key| !key.models.is_empty()) {
            found.iter_mut().for_each(|(model, difference)| special(model, difference));
        } else {
            for model in gated.keys() {
                if let Some(difference) = found.get_mut(*model) {
                    special(model, difference);
                }
            }
        }
    }
    let mut answer = BTreeMap::new();
    for (model, difference) in found {
        let mut capacity = all.with(&difference);
        let circuit = keys.upstream(model).and_then(|upstream| upstream.gate.as_ref());
        if let Some(gate) = circuit.filter(|gate| gate.is_closed(now)) {
            capacity = Capacity { ready: 0, next: gate.until, upstream: true, ..capacity };
        }
        answer.insert(model, capacity);
    }
    answer
}
