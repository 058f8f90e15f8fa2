//! Every key for every model: who can serve what, and if not, why and until when.
//!
//! Owns one question to the pool's state, and keeps nothing. Refuses to decide: the scheduler does, by the same
//! gates. Its invariant: a cell says the same as the gates, and where several stand in the way, the one that
//! opens last.

use std::collections::BTreeSet;

use crate::{
    event::{Verdict, Window},
    headroom::{self, Headroom},
    id::{Millis, Seq},
    keys::{Gate, Key, Keys, Project},
    state::State,
};

/// Models shown at most: names come from clients too.
const MODELS: usize = 512;

/// How a key stands for a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It can serve now.
    Ready,
    /// It rests until a time.
    Cooling,
    /// A quota is used up until its window turns.
    Spent,
    /// Google does not offer the model to its project.
    NotOffered,
    /// Its credential failed.
    BadCredential,
    /// Its project failed.
    BadProject,
    /// The model is in trouble at Google, for everybody.
    ModelDown,
    /// An operator disabled it.
    Disabled,
    /// An operator allows it for other models alone.
    NotAllowed,
}

/// One key for one model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// How it stands.
    pub standing: Standing,
    /// Why, where a gate is in the way.
    pub cause: Option<Verdict>,
    /// The quota's window, where one is in the way.
    pub window: Option<Window>,
    /// When it can serve again by itself; none: now, or not by itself.
    pub back: Option<Millis>,
    /// From when on one request at a time may try it.
    pub probe: Option<Millis>,
    /// The event behind it.
    pub seq: Option<Seq>,
}

impl Cell {
    fn plain(standing: Standing) -> Self {
        Self { standing, cause: None, window: None, back: None, probe: None, seq: None }
    }

    fn behind(standing: Standing, window: Option<Window>, gate: &Gate) -> Self {
        let (cause, seq) = (Some(gate.cause), Some(gate.seq));
        Self { standing, cause, window, back: gate.until, probe: gate.probe, seq }
    }

    /// What opens later; what does not open by itself is later than all.
    fn later(self, other: Self) -> Self {
        let opens = |cell: &Self| cell.back.unwrap_or(Millis::MAX);
        if opens(&other) > opens(&self) { other } else { self }
    }
}

/// A model, over all keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Projects with a key that can serve it now.
    pub ready: u32,
    /// Projects with a key that an operator lets serve it.
    pub projects: u32,
    /// When the next project is back by itself; none: not by itself, or none is away.
    pub back: Option<Millis>,
}

impl Summary {
    /// Adds a project, by how its keys stand.
    fn count(&mut self, cells: impl Iterator<Item = Cell>) {
        let may = |cell: &Cell| !matches!(cell.standing, Standing::Disabled | Standing::NotAllowed);
        let (mut may_serve, mut ready, mut back) = (false, false, None);
        for cell in cells.filter(may) {
            may_serve = true;
            ready |= cell.standing == Standing::Ready;
            back = [back, cell.back].into_iter().flatten().min();
        }
        self.projects += u32::from(may_serve);
        self.ready += u32::from(ready);
        if !ready {
            self.back = [self.back, back].into_iter().flatten().min();
        }
    }
}

/// Every model that the pool knows: from traffic, gates, learned limits, and trouble at Google.
#[must_use]
pub fn models(state: &State) -> BTreeSet<&str> {
    let of_projects =
        state.keys.projects().flat_map(|(_, project)| project.models.keys().chain(project.budgets.keys()));
    let used = state
        .statistics
        .models
        .iter()
        .filter(|(_, track)| track.total.count > track.total.errors)
        .map(|(model, _)| model);
    let in_trouble = state.keys.upstreams().map(|(model, _)| model);
    let all = of_projects.chain(used).map(String::as_str).chain(in_trouble);
    let named = all.filter(|model| !model.is_empty() && *model != crate::statistics::OTHER);
    let mut models = BTreeSet::new();
    for model in named {
        if models.len() >= MODELS {
            break;
        }
        models.insert(model);
    }
    models
}

/// How a key stands for a model at `now`.
#[must_use]
pub fn cell(keys: &Keys, key: &Key, model: &str, now: Millis) -> Cell {
    cell_in(keys, keys.project(&key.project), key, model, now)
}

/// The same, where the key's project is at hand.
fn cell_in(keys: &Keys, project: Option<&Project>, key: &Key, model: &str, now: Millis) -> Cell {
    if !key.enabled {
        return Cell::plain(Standing::Disabled);
    }
    if !key.serves(model) {
        return Cell::plain(Standing::NotAllowed);
    }
    let shut = |gate: Option<&'_ Gate>| gate.filter(|gate| gate.is_closed(now)).copied();
    let whole = |gate: Gate, failed: Standing| {
        let standing = if gate.until.is_none() { failed } else { Standing::Cooling };
        Cell::behind(standing, None, &gate)
    };
    let own = shut(key.gate.as_ref()).map(|gate| whole(gate, Standing::BadCredential));
    let shared =
        shut(project.and_then(|project| project.gate.as_ref())).map(|gate| whole(gate, Standing::BadProject));
    let windows = project.and_then(|project| project.models.get(model)).into_iter().flatten();
    let windows = windows.filter(|(_, gate)| gate.is_closed(now)).map(|(window, gate)| {
        let standing = match window {
            Window::Offer => Standing::NotOffered,
            Window::Minute | Window::Day | Window::Tokens | Window::Spend => Standing::Spent,
            Window::Unknown => Standing::Cooling,
        };
        Cell::behind(standing, Some(*window), gate)
    });
    let spent =
        project.into_iter().flat_map(|project| headroom::of_model(keys, &key.project, project, model, now));
    let spent = spent.filter(|room| room.left == 0).map(|room| Cell {
        window: Some(room.window),
        back: room.turns,
        ..Cell::plain(Standing::Spent)
    });
    let upstream = shut(keys.upstream(model).and_then(|upstream| upstream.gate.as_ref()));
    let upstream = upstream.map(|gate| Cell::behind(Standing::ModelDown, None, &gate));
    // A learned limit without a time to turn is no gate: the scheduler asks on.
    let spent = spent.filter(|cell| cell.back.is_some());
    let all = own.into_iter().chain(shared).chain(windows).chain(spent).chain(upstream);
    all.reduce(Cell::later).unwrap_or_else(|| Cell::plain(Standing::Ready))
}

/// What is left of the limits of a key's project for a model.
pub fn quotas<'a>(
    keys: &'a Keys,
    key: &'a Key,
    model: &str,
    now: Millis,
) -> impl Iterator<Item = Headroom<'a>> {
    let project = keys.project(&key.project);
    project.into_iter().flat_map(move |project| headroom::of_model(keys, &key.project, project, model, now))
}

/// Each of some models over all keys at `now`: every key is looked up once.
#[must_use]
pub fn summaries(keys: &Keys, models: &[&str], now: Millis) -> Vec<Summary> {
    let mut summaries = vec![Summary::default(); models.len()];
    for (_, project) in keys.projects() {
        let members: Vec<&Key> = project.keys.iter().filter_map(|key| keys.get(*key)).collect();
        for (model, summary) in models.iter().zip(&mut summaries) {
            let cells = members.iter().map(|key| cell_in(keys, Some(project), key, model, now));
            summary.count(cells);
        }
    }
    summaries
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{Actor, Event, GateClosed, KeyAdded, KeyDisabled, KeyUpdated, Recorded, Scope},
        id::{Fingerprint, KeyId},
    };

    const FLASH: &str = "gemini-2.5-flash";

    fn apply(state: &mut State, event: impl Into<Event>) {
        state.apply(&Recorded { seq: state.seq + 1, at: 1_000, event: event.into() });
    }

    fn pool() -> State {
        let mut state = State::default();
        for (number, project) in [(1, "alpha"), (2, "alpha"), (3, "beta"), (4, "gamma")] {
            apply(
                &mut state,
                KeyAdded {
                    key: KeyId(number),
                    label: String::new(),
                    tail: String::new(),
                    fingerprint: Fingerprint([number as u8; 16]),
                    project: Some(project.to_owned()),
                    actor: Actor::Cli,
                },
            );
        }
        state
    }

    fn close(state: &mut State, scope: Scope, cause: Verdict, until: Option<Millis>) {
        apply(state, GateClosed { scope, cause, until, probe: None, request: None, key: KeyId(1) });
    }

    fn of(state: &State, key: u32, now: Millis) -> Cell {
        cell(&state.keys, state.keys.get(KeyId(key)).unwrap(), FLASH, now)
    }

    fn model(project: &str, window: Window) -> Scope {
        Scope::Model { project: project.to_owned(), model: FLASH.to_owned(), window }
    }

    #[test]
    fn a_cell_says_what_stands_in_the_way_longest() {
        let mut state = pool();
        assert_eq!(of(&state, 1, 1_000), Cell::plain(Standing::Ready));
        close(&mut state, model("alpha", Window::Minute), Verdict::QuotaMinute, Some(5_000));
        close(&mut state, model("alpha", Window::Day), Verdict::QuotaDay, Some(90_000));
        let spent = of(&state, 2, 2_000);
        assert_eq!(
            (spent.standing, spent.window, spent.back),
            (Standing::Spent, Some(Window::Day), Some(90_000))
        );
        assert_eq!((spent.cause, spent.seq), (Some(Verdict::QuotaDay), Some(6)));
        assert_eq!(of(&state, 2, 90_000).standing, Standing::Ready);
        close(&mut state, Scope::Key(KeyId(1)), Verdict::BadKey, None);
        assert_eq!(of(&state, 1, 2_000).standing, Standing::BadCredential);
        close(&mut state, model("beta", Window::Offer), Verdict::NotOffered, None);
        assert_eq!(of(&state, 3, 2_000).standing, Standing::NotOffered);
        apply(&mut state, KeyDisabled { key: KeyId(4), actor: Actor::Cli });
        assert_eq!(of(&state, 4, 2_000).standing, Standing::Disabled);
        assert_eq!(models(&state), BTreeSet::from([FLASH]));
    }

    #[test]
    fn a_summary_counts_projects_and_tells_who_is_back_first() {
        let mut state = pool();
        close(&mut state, model("alpha", Window::Day), Verdict::QuotaDay, Some(90_000));
        close(&mut state, model("beta", Window::Minute), Verdict::QuotaMinute, Some(5_000));
        let told = summaries(&state.keys, &[FLASH, "another"], 2_000);
        let other = Summary { ready: 3, projects: 3, back: None };
        assert_eq!(told, [Summary { ready: 1, projects: 3, back: Some(5_000) }, other]);
        apply(
            &mut state,
            KeyUpdated {
                key: KeyId(4),
                actor: Actor::Cli,
                label: None,
                note: None,
                tags: None,
                project: None,
                weight: None,
                priority: None,
                models: Some(vec!["gemini-3*".to_owned()]),
                proxy: None,
            },
        );
        assert_eq!(of(&state, 4, 2_000).standing, Standing::NotAllowed);
        let told = summaries(&state.keys, &[FLASH], 2_000);
        assert_eq!(told, [Summary { ready: 0, projects: 2, back: Some(5_000) }]);
    }
}
