//! What is left of the quotas that Google named, for people to read.
//!
//! Owns one question to the pool's state, and keeps nothing. Refuses to predict: a limit that no error
//! told is not here, though Google may have one. Its invariant: used and left make the limit, but where more
//! was served than Google allows.

use crate::{
    budget::{Budget, Limit, MINUTE_MS},
    event::Window,
    id::Millis,
    keys::{Keys, Project, QuotaDay},
};

/// One limit, as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headroom<'a> {
    /// Whose.
    pub project: &'a str,
    /// For which model.
    pub model: &'a str,
    /// Of which window.
    pub window: Window,
    /// Requests, or tokens, in a window.
    pub limit: u64,
    /// What the pool used of it in the window that runs.
    pub used: u64,
    /// What is left of it.
    pub left: u64,
    /// When the window turns; none: not known.
    pub turns: Option<Millis>,
    /// When Google last named the limit.
    pub confirmed: Millis,
}

/// Every limit that Google named and the pool believes, at `now`, by project and model.
pub fn headroom(keys: &Keys, now: Millis) -> impl Iterator<Item = Headroom<'_>> {
    keys.projects().flat_map(move |(name, project)| of_project(keys, name, project, now))
}

/// The same, of one project.
pub fn of_project<'a>(
    keys: &'a Keys,
    name: &'a str,
    project: &'a Project,
    now: Millis,
) -> impl Iterator<Item = Headroom<'a>> {
    let day = *keys.day();
    project.budgets.iter().flat_map(move |(model, budget)| of_budget(name, model, budget, day, now))
}

/// The same, of one project for one model.
pub fn of_model<'a>(
    keys: &'a Keys,
    name: &'a str,
    project: &'a Project,
    model: &str,
    now: Millis,
) -> impl Iterator<Item = Headroom<'a>> + use<'a> {
    let (day, budget) = (*keys.day(), project.budgets.get_key_value(model));
    budget.into_iter().flat_map(move |(model, budget)| of_budget(name, model, budget, day, now))
}

fn of_budget<'a>(
    name: &'a str,
    model: &'a str,
    budget: &'a Budget,
    day: QuotaDay,
    now: Millis,
) -> impl Iterator<Item = Headroom<'a>> {
    [Window::Minute, Window::Tokens, Window::Day].into_iter().filter_map(move |window| {
        let limit = budget.limit(window)?;
        let (used, turns) = standing(budget, limit, window, &day, now);
        let left = limit.value.saturating_sub(used);
        let (value, confirmed) = (limit.value, limit.confirmed);
        Some(Headroom { project: name, model, window, limit: value, used, left, turns, confirmed })
    })
}

/// What is used in the window that runs at `now`, and when that turns.
fn standing(
    budget: &Budget,
    limit: &Limit,
    window: Window,
    day: &QuotaDay,
    now: Millis,
) -> (u64, Option<Millis>) {
    let began = budget.window_of(window, now, day.began);
    let turns = match window {
        // The log hears of a new day with the first event in it: till then the end of this one is not known.
        Window::Day if day.ends > now => day.ends,
        Window::Day => return (if day.ends == 0 { limit.used } else { 0 }, None),
        _ => began.saturating_add(MINUTE_MS),
    };
    (if began > limit.window { 0 } else { limit.used }, Some(turns))
}
