//! Owns what is counted, and the sums made of it. Refuses to interpret. Invariant: every upstream call is
//! counted once (good, wasted, or Google's trouble), and every request once, by how it ended.

use std::collections::BTreeMap;

use projections::Millis;
use serde_json::{Value, json};

/// What a project, a key or a model came back from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Back {
    /// The minute turned.
    Minute,
    /// The day turned, or its delay was over.
    Day,
    /// The key was repaired.
    Key,
    /// A storm was over.
    Storm,
}

impl Back {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Minute, Self::Day, Self::Key, Self::Storm];

    /// In a word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Day => "day",
            Self::Key => "key",
            Self::Storm => "storm",
        }
    }
}

/// Why a call was wasted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Waste {
    /// What Google refused it for.
    pub refused: &'static str,
    /// How the project writes its refusals.
    pub style: &'static str,
    /// What the pool could have known.
    pub ground: Ground,
}

/// What a pool could have known when it made a call that was wasted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ground {
    /// The first refusal of this closing; the limit had never been told.
    FirstUnknown,
    /// The first refusal of this closing; the limit's value had been told before.
    FirstKnown,
    /// The closing had shown, but its refusal was still on its way.
    OnItsWay,
    /// Only another project of the pool had been told, which is the same project at Google.
    SiblingKnew,
    /// The same project had been told.
    Known,
}

impl Ground {
    /// In words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::FirstUnknown => "first of its closing, limit never told",
            Self::FirstKnown => "first of its closing, limit told before",
            Self::OnItsWay => "refusal of another call still on its way",
            Self::SiblingKnew => "told to an undeclared sibling only",
            Self::Known => "told before: asked again too early",
        }
    }
}

/// What a policy came to on one world or on many.
#[derive(Clone, Debug, Default)]
pub struct Score {
    /// Requests of clients.
    pub requests: u64,
    /// Answered.
    pub served: u64,
    /// Refused by the pool.
    pub refused: u64,
    /// Of those, refused while some project could have served.
    pub wrongly_refused: u64,
    /// Ended by Google's own trouble.
    pub failed: u64,
    /// Left by their clients.
    pub cancelled: u64,
    /// Upstream calls.
    pub calls: u64,
    /// Of those, the ones that could not succeed.
    pub wasted: u64,
    /// Of the calls, those that met a storm.
    pub storm_errors: u64,
    /// Wasted calls by cause.
    pub waste: BTreeMap<Waste, u64>,
    /// Wrongly refused requests by what kept the pool from the project that could have served.
    pub obstacles: BTreeMap<String, u64>,
    /// Times from "can serve again" to "serves", by kind, in milliseconds.
    pub lags: BTreeMap<Back, Vec<Millis>>,
    /// What came back, was needed, and had not served when the time was over.
    pub never: BTreeMap<Back, u64>,
    /// Steps after which the laws were checked.
    pub steps: u64,
}

/// Mean, 95th percentile and longest of some times, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Lag {
    /// How many.
    pub count: usize,
    /// On average.
    pub mean: f64,
    /// Of 20, the second longest.
    pub p95: f64,
    /// The longest.
    pub max: f64,
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

impl Score {
    /// Adds another world's.
    pub fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.served += other.served;
        self.refused += other.refused;
        self.wrongly_refused += other.wrongly_refused;
        self.failed += other.failed;
        self.cancelled += other.cancelled;
        self.calls += other.calls;
        self.wasted += other.wasted;
        self.storm_errors += other.storm_errors;
        self.steps += other.steps;
        other.waste.iter().for_each(|(cause, count)| *self.waste.entry(*cause).or_default() += count);
        other
            .obstacles
            .iter()
            .for_each(|(cause, count)| *self.obstacles.entry(cause.clone()).or_default() += count);
        other.lags.iter().for_each(|(kind, lags)| self.lags.entry(*kind).or_default().extend(lags));
        other.never.iter().for_each(|(kind, count)| *self.never.entry(*kind).or_default() += count);
    }

    /// Wasted calls, as a share of all calls.
    #[must_use]
    pub fn wasted_share(&self) -> f64 {
        share(self.wasted, self.calls)
    }

    /// Wrongly refused requests, as a share of all requests.
    #[must_use]
    pub fn wrongly_refused_share(&self) -> f64 {
        share(self.wrongly_refused, self.requests)
    }

    /// Answered requests, as a share of all.
    #[must_use]
    pub fn served_share(&self) -> f64 {
        share(self.served, self.requests)
    }

    /// How long what came back of a kind took to serve.
    #[must_use]
    pub fn lag(&self, kind: Back) -> Lag {
        let mut lags = self.lags.get(&kind).cloned().unwrap_or_default();
        lags.sort_unstable();
        let seconds = |ms: Millis| ms as f64 / 1_000.0;
        let (Some(last), count) = (lags.last(), lags.len()) else { return Lag::default() };
        let p95 = lags.get((count * 95).div_ceil(100).saturating_sub(1)).copied().unwrap_or_default();
        let mean = seconds(lags.iter().sum()) / count as f64;
        Lag { count, mean, p95: seconds(p95), max: seconds(*last) }
    }

    /// For programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let lags = Back::ALL.iter().map(|kind| {
            let Lag { count, mean, p95, max } = self.lag(*kind);
            let never = self.never.get(kind).copied().unwrap_or_default();
            let value = json!({"count": count, "mean_s": mean, "p95_s": p95, "max_s": max, "never": never});
            (kind.name().to_owned(), value)
        });
        let waste = self.waste.iter().map(|(cause, count)| {
            json!({"refused": cause.refused, "style": cause.style, "ground": cause.ground.name(), "calls": count})
        });
        json!({
            "requests": self.requests,
            "served": self.served,
            "refused": self.refused,
            "wrongly_refused": self.wrongly_refused,
            "failed_by_google": self.failed,
            "cancelled": self.cancelled,
            "calls": self.calls,
            "wasted": self.wasted,
            "storm_errors": self.storm_errors,
            "wasted_share": self.wasted_share(),
            "wrongly_refused_share": self.wrongly_refused_share(),
            "served_share": self.served_share(),
            "back": lags.collect::<serde_json::Map<_, _>>(),
            "waste": waste.collect::<Vec<_>>(),
            "obstacles": self.obstacles,
            "steps": self.steps,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lags_are_summed_up() {
        let mut score = Score::default();
        assert_eq!(score.lag(Back::Day), Lag::default());
        score.lags.insert(Back::Day, (1..=20).rev().map(|s| s * 1_000).collect());
        assert_eq!(score.lag(Back::Day), Lag { count: 20, mean: 10.5, p95: 19.0, max: 20.0 });
    }

    #[test]
    fn shares_of_nothing_are_nothing() {
        assert_eq!((Score::default().wasted_share(), Score::default().served_share()), (0.0, 0.0));
    }
}
