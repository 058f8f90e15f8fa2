//! Projects that look like one: their keys run into the same limit together.
//!
//! Owns the evidence, and what follows from it for people: a suggestion, which an operator confirms by
//! saying the keys' project. Refuses to act on it. Only projects that nobody declared are looked at.
//!
//! **For.** In one window of one model, Google refused both (or several) at the same limit, though each had
//! served well below it, and together they had served about that much. Keys of one project do that; two
//! projects that are both used up have each served the limit alone.
//! **Against.** Together they served more than the limit in one window: what one project cannot do. That
//! takes back all evidence of the pair.
//!
//! Counting begins with the first refusal that names a limit, so nothing is kept of projects that never
//! meet one, and the first window says nothing. Its invariant: bounded. At most [`TALLIES_KEPT`] counts and
//! [`PAIRS_KEPT`] pairs, 1,000 together; those that heard nothing for longest make room.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    budget::MINUTE_MS,
    event::{Event, Recorded, Violation, Window},
    id::{KeyId, Millis},
    keys::{Keys, Project},
};

/// Counts kept, of one (model, project, window) each.
pub const TALLIES_KEPT: usize = 800;
/// Pairs kept.
pub const PAIRS_KEPT: usize = 200;
/// Windows that have to speak for a pair before anybody is told.
pub const ENOUGH: u32 = 3;
/// Below this, projects reach the limit together by chance too easily.
const LEAST_LIMIT: u64 = 4;
/// Windows of a minute that begin within so much of each other are the same: delays are told in whole seconds.
const SAME_MS: u64 = 2_000;

/// What one project served of a model in a window, since it first ran into a limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Tally {
    limit: u64,
    /// A moment at which windows of a minute turn.
    phase: Millis,
    running: Count,
    /// The window before, if it was counted from its beginning.
    past: Option<Count>,
    /// Whether the running one was.
    whole: bool,
    /// The last refusal.
    heard: Millis,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Count {
    began: Millis,
    served: u64,
    refused: bool,
}

impl Tally {
    fn window_of(&self, window: Window, at: Millis, day: Millis) -> Millis {
        if window == Window::Day {
            return day;
        }
        at.saturating_sub(at.saturating_sub(self.phase).rem_euclid(MINUTE_MS))
    }

    /// Goes on to the window that begins at `began`, if it is a later one; tells whether one is over.
    fn turn(&mut self, began: Millis) -> bool {
        if began <= self.running.began {
            return false;
        }
        let (over, whole) = (self.running, self.whole);
        (self.running, self.whole) = (Count { began, served: 0, refused: false }, true);
        self.past = whole.then_some(over);
        whole
    }

    /// Google refused at a limit; tells whether a window is over.
    fn refuse(&mut self, window: Window, limit: u64, at: Millis, turns: Option<Millis>, day: Millis) -> bool {
        let turned = self.turn(self.window_of(window, at, day));
        if let (Window::Minute, Some(turns)) = (window, turns) {
            let began = turns.saturating_sub(MINUTE_MS);
            if began.abs_diff(self.running.began) > SAME_MS {
                // It was counted in other windows than Google's.
                (self.phase, self.whole) = (turns, false);
                self.running = Count { began, served: 0, refused: false };
            }
        }
        (self.limit, self.heard, self.running.refused) = (limit, at, true);
        turned
    }
}

/// What speaks for a pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Pair {
    /// Windows.
    times: u32,
    /// The last of them.
    began: Millis,
    model: String,
    window: Window,
    limit: u64,
}

type ByProject = BTreeMap<String, BTreeMap<Window, Tally>>;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Siblings {
    /// By model, project and window.
    tallies: BTreeMap<String, ByProject>,
    /// By the name that is first in the alphabet, then by the other.
    pairs: BTreeMap<String, BTreeMap<String, Pair>>,
}

/// Keys that seem to belong to one project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suggestion {
    /// All keys of these projects.
    pub keys: BTreeSet<KeyId>,
    /// The projects, as they are called here.
    pub projects: BTreeSet<String>,
    /// Windows that speak for it, for the pair that fewest do.
    pub times: u32,
    /// The model that last did.
    pub model: String,
    /// Of which window.
    pub window: Window,
    /// At which limit.
    pub limit: u64,
}

impl Siblings {
    /// Folds one event in; `keys`: with it folded in.
    pub fn apply(&mut self, recorded: &Recorded, keys: &Keys) {
        let (key, model, started, success, violations, delay) = match &recorded.event {
            Event::Attempted(event) => {
                let served = event.verdict.is_success();
                (event.key, &event.model, event.started, served, &event.violations, event.retry_delay_ms)
            }
            Event::KeyChecked(event) => {
                let served = event.verdict.is_success();
                (event.key, &event.model, event.started, served, &event.violations, event.retry_delay_ms)
            }
            _ => return,
        };
        let Some(key) = keys.get(key).filter(|key| !key.declared && !model.is_empty()) else { return };
        let day = keys.day().began;
        if success {
            self.serve(model, &key.project, started, day);
        }
        let turns = delay.map(|delay| recorded.at.saturating_add(delay));
        for violation in violations {
            self.refuse(model, &key.project, violation, recorded.at, turns, day);
        }
    }

    /// Counts kept.
    #[must_use]
    pub fn tallies(&self) -> usize {
        self.tallies.values().flat_map(BTreeMap::values).map(BTreeMap::len).sum()
    }

    /// Pairs kept.
    #[must_use]
    pub fn pairs(&self) -> usize {
        self.pairs.values().map(BTreeMap::len).sum()
    }

    fn serve(&mut self, model: &str, project: &str, started: Millis, day: Millis) {
        let Some(windows) = self.tallies.get_mut(model).and_then(|model| model.get_mut(project)) else {
            return;
        };
        let mut over = Vec::new();
        for (window, tally) in windows {
            let began = tally.window_of(*window, started, day);
            if tally.turn(began) {
                over.push(*window);
            }
            // An answer may end after the window that it began in.
            let counts = [Some(&mut tally.running), tally.past.as_mut()].into_iter().flatten();
            for count in counts.filter(|count| count.began == began) {
                count.served = count.served.saturating_add(1);
            }
        }
        over.into_iter().for_each(|window| self.weigh(model, project, window));
    }

    fn refuse(
        &mut self,
        model: &str,
        project: &str,
        violation: &Violation,
        at: Millis,
        turns: Option<Millis>,
        day: Millis,
    ) {
        let (Some(window @ (Window::Minute | Window::Day)), Some(limit)) =
            (violation.window, violation.limit)
        else {
            return;
        };
        if limit < LEAST_LIMIT {
            return;
        }
        let known = self.tallies.get(model).and_then(|model| model.get(project)?.get(&window)).is_some();
        if !known && self.tallies() >= TALLIES_KEPT {
            self.make_room();
        }
        let projects = self.tallies.entry(model.to_owned()).or_default();
        let tally = projects.entry(project.to_owned()).or_default().entry(window).or_default();
        if !known {
            let began = tally.window_of(window, at, day);
            tally.running.began = began;
        }
        if tally.refuse(window, limit, at, turns, day) {
            self.weigh(model, project, window);
        }
    }

    /// A window of a project is over: what does it say, beside those of others?
    fn weigh(&mut self, model: &str, project: &str, window: Window) {
        let Some(projects) = self.tallies.get(model) else { return };
        let past = |windows: &BTreeMap<Window, Tally>| {
            let tally = windows.get(&window)?;
            Some((tally.limit, tally.past?))
        };
        let Some((limit, own)) = projects.get(project).and_then(past) else { return };
        let slack = (limit / 10).max(1);
        let same = projects.iter().filter_map(|(name, windows)| {
            let (its, count) = past(windows)?;
            let same = name != project && its == limit && count.began.abs_diff(own.began) <= SAME_MS;
            same.then_some((name.as_str(), count))
        });
        let about = |sum: u64| sum.abs_diff(limit) <= slack;
        let short = |count: &Count| {
            count.refused && count.served > 0 && count.served.saturating_mul(5) <= limit.saturating_mul(4)
        };
        let (mut against, mut pro, mut group, mut sum) = (Vec::new(), Vec::new(), vec![project], own.served);
        for (name, count) in same {
            let both = own.served.saturating_add(count.served);
            if both > limit.saturating_add(slack) {
                against.push(name.to_owned());
            } else if short(&own) && short(&count) {
                group.push(name);
                sum = sum.saturating_add(count.served);
                if about(both) {
                    pro.push((project.to_owned(), name.to_owned()));
                }
            }
        }
        if group.len() > 2 && about(sum) {
            let pairs = group.iter().enumerate().flat_map(|(at, one)| {
                group.iter().skip(at + 1).map(|other| ((*one).to_owned(), (*other).to_owned()))
            });
            pro = pairs.collect();
        }
        against.into_iter().for_each(|name| self.part(project, &name));
        let began = own.began;
        for (one, other) in pro {
            self.join(one, other, Pair { times: 1, began, model: model.to_owned(), window, limit });
        }
    }

    fn join(&mut self, one: String, other: String, news: Pair) {
        let (first, second) = if one < other { (one, other) } else { (other, one) };
        let known = self.pairs.get_mut(&first).and_then(|others| others.get_mut(&second));
        if let Some(pair) = known {
            // One window counts once, whoever of the two saw its end last.
            if pair.began.abs_diff(news.began) > SAME_MS {
                *pair = Pair { times: pair.times.saturating_add(1), ..news };
            }
            return;
        }
        if self.pairs() >= PAIRS_KEPT {
            let all = self.pairs.iter().flat_map(|(first, others)| {
                others.iter().map(move |(second, pair)| (pair.began, first.clone(), second.clone()))
            });
            if let Some((_, first, second)) = all.min() {
                self.part(&first, &second);
            }
        }
        self.pairs.entry(first).or_default().insert(second, news);
    }

    fn part(&mut self, one: &str, other: &str) {
        let (first, second) = if one < other { (one, other) } else { (other, one) };
        if let Some(others) = self.pairs.get_mut(first) {
            others.remove(second);
            if others.is_empty() {
                self.pairs.remove(first);
            }
        }
    }

    /// Drops the count that met no refusal for longest.
    fn make_room(&mut self) {
        let all = self.tallies.iter().flat_map(|(model, projects)| {
            projects.iter().flat_map(move |(project, windows)| {
                windows.iter().map(move |(window, tally)| (tally.heard, model, project, *window))
            })
        });
        let Some((model, project, window)) =
            all.min().map(|(_, model, project, window)| (model.clone(), project.clone(), window))
        else {
            return;
        };
        let Some(projects) = self.tallies.get_mut(&model) else { return };
        if let Some(windows) = projects.get_mut(&project) {
            windows.remove(&window);
            if windows.is_empty() {
                projects.remove(&project);
            }
        }
        if projects.is_empty() {
            self.tallies.remove(&model);
        }
    }

    /// What an operator might confirm. Projects that were declared, or that Google named differently, or that
    /// are gone, are in none.
    #[must_use]
    pub fn suggestions(&self, keys: &Keys) -> Vec<Suggestion> {
        let mut found: Vec<Suggestion> = Vec::new();
        for (one, others) in &self.pairs {
            for (other, pair) in others.iter().filter(|(_, pair)| pair.times >= ENOUGH) {
                let (Some(here), Some(there)) = (open(keys, one), open(keys, other)) else { continue };
                if let (Some(here), Some(there)) = (consumer(keys, here), consumer(keys, there))
                    && here != there
                {
                    continue;
                }
                let mut all = Suggestion {
                    keys: here.keys.union(&there.keys).copied().collect(),
                    projects: [one.clone(), other.clone()].into(),
                    times: pair.times,
                    model: pair.model.clone(),
                    window: pair.window,
                    limit: pair.limit,
                };
                // Who is one with somebody of them is one with all of them.
                found.retain(|known| {
                    let apart = known.projects.is_disjoint(&all.projects);
                    if !apart {
                        all.keys.extend(&known.keys);
                        all.projects.extend(known.projects.iter().cloned());
                        all.times = all.times.min(known.times);
                    }
                    apart
                });
                found.push(all);
            }
        }
        found
    }
}

/// A project that nobody declared.
fn open<'a>(keys: &'a Keys, name: &str) -> Option<&'a Project> {
    let declared = |key: &KeyId| keys.get(*key).is_some_and(|key| key.declared);
    keys.project(name).filter(|project| !project.keys.iter().any(declared))
}

/// Google's own name for a project, where it told one.
fn consumer<'a>(keys: &'a Keys, project: &Project) -> Option<&'a str> {
    project.keys.iter().find_map(|key| keys.get(*key)?.consumer.as_deref())
}
