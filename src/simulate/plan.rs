//! Owns what a seed stands for: projects and their limits, keys and their fates, storms, and every request of
//! about a day, before anything has happened. Refuses to know a policy. Invariant: the same seed makes the same
//! plan, and every policy meets the same one.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use projections::Millis;

use super::random::Random;
use crate::simulated::{DayDelay, DayTurn, Failure, Fault, Key, KeyState, Limits, Model, QuotaStyle, World};

pub(super) const MINUTE: Millis = 60_000;
const HOUR: Millis = 60 * MINUTE;
/// Midnight UTC before the first hour of every plan; 2026-06-01.
const EPOCH: Millis = 1_780_272_000_000;
/// Requests of one seed, at most and about: the time that a run takes is bounded.
const MOST_REQUESTS: f64 = 6_000.0;
/// The smallest limit per day; worlds with too many requests get smaller limits, down to this.
const LEAST_PER_DAY: u64 = 20;
/// Apps that ask.
const CLIENTS: usize = 5;
/// Limits per minute and per day as Google's tables have them.
const PER_MINUTE: [u64; 5] = [5, 10, 15, 30, 60];
const PER_MINUTE_TOKENS: [u64; 2] = [125_000, 250_000];
const PER_DAY: [u64; 8] = [20, 50, 100, 200, 250, 500, 1_000, 1_500];
const MODELS: [&str; 3] = ["gemini-2.5-flash", "gemini-2.5-pro", "gemini-2.5-flash-lite"];

/// A Google project.
#[derive(Clone, Debug)]
pub(super) struct ProjectPlan {
    pub(super) name: String,
    pub(super) style: QuotaStyle,
    pub(super) day_delay: DayDelay,
    /// By model.
    pub(super) limits: Vec<Limits>,
}

/// A key.
#[derive(Clone, Debug)]
pub(super) struct KeyPlan {
    pub(super) secret: String,
    /// Google's project.
    pub(super) project: usize,
    /// Whether the operator told the pool so.
    pub(super) declared: bool,
}

/// A request.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestPlan {
    pub(super) at: Millis,
    /// Which app asks.
    pub(super) client: u32,
    pub(super) model: usize,
    pub(super) tokens: u64,
    /// From the call to the first byte of a good answer.
    pub(super) first_byte: Millis,
    /// From the call to its end.
    pub(super) duration: Millis,
    /// The client leaves this long after it asked.
    pub(super) leaves: Option<Millis>,
}

/// Something that happens to Google.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Key { key: usize, state: KeyState },
    Storm { model: usize, share: f64 },
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) start: Millis,
    pub(super) end: Millis,
    pub(super) day_turn: DayTurn,
    /// Requests asked for, as a share of what the limits allow in that time.
    pub(super) load: f64,
    pub(super) models: Vec<&'static str>,
    pub(super) projects: Vec<ProjectPlan>,
    pub(super) keys: Vec<KeyPlan>,
    /// In order of time.
    pub(super) requests: Vec<RequestPlan>,
    /// In order of time.
    pub(super) changes: Vec<(Millis, Change)>,
}

impl Plan {
    pub(super) fn draw(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x6765_6d69_6e69_2121);
        let start = EPOCH + random.between(0, 23) * HOUR;
        let end = start + random.between(26, 30) * HOUR;
        let models: Vec<_> = MODELS.into_iter().take(1 + random.below(MODELS.len())).collect();
        let day_turn = if random.chance(0.5) { DayTurn::Midnight } else { DayTurn::Delay };
        let load = 0.3 + 1.2 * random.unit();
        let mut drawn = random.fork();
        let projects: Vec<_> =
            (0..3 + random.below(10)).map(|number| project(number, models.len(), &mut drawn)).collect();
        let keys = keys(&projects, &mut random.fork());
        let mut plan = Self {
            seed,
            start,
            end,
            day_turn,
            load,
            models,
            projects,
            keys,
            requests: Vec::new(),
            changes: Vec::new(),
        };
        plan.bound();
        plan.changes = plan.fates(&mut random.fork());
        plan.requests = plan.traffic(&mut random.fork());
        plan
    }

    /// Google before anything happened, and the hand that sets its clock.
    pub(super) fn world(&self) -> (World, Arc<AtomicI64>) {
        let time = Arc::new(AtomicI64::new(self.start));
        let hand = Arc::clone(&time);
        let mut world = World::new().seed(self.seed).clock(move || hand.load(Ordering::Relaxed));
        world.models.clear();
        for model in &self.models {
            world.models.insert((*model).to_owned(), Model::generative());
        }
        for plan in &self.projects {
            world = world.project(&plan.name, |project| {
                project.quota_style = plan.style;
                project.day_delay = plan.day_delay;
                project.day_turn = self.day_turn;
                for (model, limits) in self.models.iter().zip(&plan.limits) {
                    project.limit(model, *limits);
                }
            });
        }
        for key in &self.keys {
            let project = self.projects.get(key.project).map(|project| project.name.as_str());
            world.keys.insert(key.secret.clone(), Key::new(project.unwrap_or_default()));
        }
        (world, time)
    }

    /// Makes a change happen.
    pub(super) fn change(&self, world: &mut World, change: &Change) {
        match change {
            Change::Key { key, state } => {
                let known = self.keys.get(*key).and_then(|key| world.keys.get_mut(&key.secret));
                if let Some(known) = known {
                    known.state = state.clone();
                }
            }
            Change::Storm { model, share } => {
                let known = self.models.get(*model).and_then(|model| world.models.get_mut(*model));
                if let Some(known) = known {
                    known.faults = match *share > 0.0 {
                        true => vec![Fault::sometimes(*share, Failure::Overloaded)],
                        false => Vec::new(),
                    };
                }
            }
        }
    }

    fn fates(&self, random: &mut Random) -> Vec<(Millis, Change)> {
        let mut changes = Vec::new();
        // The first key stays good: a pool without any is another matter.
        for key in 1..self.keys.len() {
            if !random.chance(0.15) {
                continue;
            }
            let states = [&KeyState::Leaked, &KeyState::Suspended, &KeyState::Bad, &KeyState::Expired];
            let state = random.pick(&states).cloned().unwrap_or_default();
            let fails = random.between(self.start, self.end);
            changes.push((fails, Change::Key { key, state }));
            let repaired = fails + random.between(HOUR / 2, 6 * HOUR);
            if random.chance(0.6) && repaired < self.end {
                changes.push((repaired, Change::Key { key, state: KeyState::Good }));
            }
        }
        for model in 0..self.models.len() {
            // One after the other, so that an end never ends another storm.
            let mut from = self.start;
            for _ in 0..random.below(4) {
                let begins = from + random.between(HOUR / 2, 8 * HOUR);
                let ends = begins + random.between(MINUTE, 12 * MINUTE);
                let share = if random.chance(0.5) { 1.0 } else { 0.5 + 0.5 * random.unit() };
                changes.push((begins, Change::Storm { model, share }));
                changes.push((ends, Change::Storm { model, share: 0.0 }));
                from = ends;
            }
        }
        changes.retain(|(at, _)| *at < self.end);
        changes.sort_by_key(|(at, _)| *at);
        changes
    }

    /// Requests for a model, by its limits per day.
    fn wanted(&self, model: usize) -> f64 {
        let days = (self.end - self.start) as f64 / (24 * HOUR) as f64;
        let limits = self.projects.iter().filter_map(|project| project.limits.get(model));
        let per_day: u64 = limits.filter_map(|limits| limits.requests_per_day).sum();
        self.load * days * per_day as f64
    }

    /// Makes the limits per day smaller where they would mean too many requests.
    fn bound(&mut self) {
        let wanted: f64 = (0..self.models.len()).map(|model| self.wanted(model)).sum();
        let shrink = MOST_REQUESTS / wanted.max(1.0);
        let limits = self.projects.iter_mut().flat_map(|project| &mut project.limits);
        for per_day in limits.filter_map(|limits| limits.requests_per_day.as_mut()) {
            if shrink < 1.0 && *per_day > LEAST_PER_DAY {
                *per_day = ((*per_day as f64 * shrink) as u64).max(LEAST_PER_DAY);
            }
        }
    }

    /// Arrivals with quiet hours and bursts; half of the requests and more come in bursts.
    fn traffic(&self, random: &mut Random) -> Vec<RequestPlan> {
        let minutes = usize::try_from((self.end - self.start) / MINUTE).unwrap_or_default();
        let mut requests = Vec::new();
        for model in 0..self.models.len() {
            let curve = Curve::draw(minutes, random);
            let number = self.wanted(model) as usize;
            requests.extend((0..number).map(|_| self.request(model, &curve, random)));
        }
        requests.sort_by_key(|request| request.at);
        requests
    }

    fn request(&self, model: usize, curve: &Curve, random: &mut Random) -> RequestPlan {
        let minute = i64::try_from(curve.minute(random.unit())).unwrap_or_default();
        let at = self.start + minute * MINUTE + random.between(0, MINUTE - 1);
        let tokens = match random.below(10) {
            0 => random.between(5_000, 20_000),
            1..4 => random.between(1_000, 5_000),
            _ => random.between(50, 1_000),
        };
        let first_byte = match random.below(100) {
            0 => random.between(10_000, 40_000),
            _ => random.between(250, 2_500),
        };
        let duration = first_byte + random.between(100, 15_000);
        let leaves = random.chance(0.03).then(|| random.between(100, 10_000));
        let client = 1 + u32::try_from(random.below(CLIENTS)).unwrap_or_default();
        RequestPlan { at, client, model, tokens: tokens.unsigned_abs(), first_byte, duration, leaves }
    }
}

fn project(number: usize, models: usize, random: &mut Random) -> ProjectPlan {
    let style = match random.below(12) {
        0 => QuotaStyle::Bare,
        1 => QuotaStyle::HelpOnly,
        2 => QuotaStyle::ErrorInfo,
        _ => QuotaStyle::Detailed,
    };
    let delays = [DayDelay::Short, DayDelay::Short, DayDelay::Truthful, DayDelay::Absent];
    let limits = (0..models).map(|_| {
        // A model that the tier does not offer says so only in the full style.
        if style == QuotaStyle::Detailed && random.chance(0.05) {
            return Limits::zero();
        }
        let limits = Limits::none()
            .per_minute(random.pick(&PER_MINUTE).unwrap_or(5))
            .per_day(random.pick(&PER_DAY).unwrap_or(20));
        if random.chance(0.25) {
            limits.tokens(random.pick(&PER_MINUTE_TOKENS).unwrap_or(125_000))
        } else {
            limits
        }
    });
    let limits = limits.collect();
    let day_delay = random.pick(&delays).unwrap_or_default();
    ProjectPlan { name: format!("project-{number}"), style, day_delay, limits }
}

fn keys(projects: &[ProjectPlan], random: &mut Random) -> Vec<KeyPlan> {
    let mut keys = Vec::new();
    for project in 0..projects.len() {
        // Two keys that the pool believes to be two projects.
        let declared = random.chance(0.85);
        let most = if declared { 4 } else { 2 };
        for number in 0..1 + random.below(most) {
            let secret = format!("AIzaSim-{project:02}-{number}");
            keys.push(KeyPlan { secret, project, declared });
        }
    }
    keys
}

/// How requests spread over the minutes, as running sums.
struct Curve(Vec<f64>);

impl Curve {
    fn draw(minutes: usize, random: &mut Random) -> Self {
        let quiet_from = random.below(24);
        let mut weights: Vec<f64> = (0..minutes)
            .map(|minute| {
                let hour = (minute / 60) % 24;
                let quiet = (hour + 24 - quiet_from) % 24 < 8;
                if quiet { 0.1 } else { 1.0 }
            })
            .collect();
        let calm: f64 = weights.iter().sum();
        let bursts: Vec<(usize, usize)> =
            (0..3 + random.below(5)).map(|_| (random.below(minutes), 1 + random.below(6))).collect();
        let share = 0.4 + 0.3 * random.unit();
        let burst_minutes: usize = bursts.iter().map(|(_, length)| length).sum();
        let height = calm * share / (1.0 - share) / burst_minutes.max(1) as f64;
        for (from, length) in bursts {
            weights.iter_mut().skip(from).take(length).for_each(|weight| *weight += height);
        }
        let mut sum = 0.0;
        let sums = weights.into_iter().map(|weight| {
            sum += weight;
            sum
        });
        Self(sums.collect())
    }

    /// The minute at a share, 0 to 1, of all requests.
    fn minute(&self, share: f64) -> usize {
        let wanted = share * self.0.last().copied().unwrap_or_default();
        self.0.partition_point(|sum| *sum <= wanted).min(self.0.len().saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_one_plan_and_seeds_differ() {
        let text = |seed| format!("{:?}", Plan::draw(seed));
        assert_eq!(text(3), text(3));
        assert_ne!(text(3), text(4));
    }

    #[test]
    fn plans_are_as_promised() {
        for seed in 1..=40 {
            let plan = Plan::draw(seed);
            let keys = plan.keys.len();
            assert!((3..=12).contains(&plan.projects.len()) && keys >= plan.projects.len(), "{seed}");
            assert!((1..=3).contains(&plan.models.len()));
            assert!((0.3..=1.5).contains(&plan.load));
            assert!(plan.requests.len() as f64 <= 1.2 * MOST_REQUESTS && plan.requests.len() > 20, "{seed}");
            assert!(plan.requests.is_sorted_by_key(|request| request.at));
            assert!(plan.requests.iter().all(|request| (plan.start..plan.end).contains(&request.at)));
            assert!(plan.changes.is_sorted_by_key(|(at, _)| *at));
        }
        let both = |turn| (1..=40).any(|seed| Plan::draw(seed).day_turn == turn);
        assert!(both(DayTurn::Midnight) && both(DayTurn::Delay));
    }
}
