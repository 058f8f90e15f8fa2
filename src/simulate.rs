//! A seeded simulation of the pool and of simpler policies, against the simulated Google, in virtual time.
//!
//! Owns the comparison: one plan per seed (projects and limits, keys and their fates, storms, a day of
//! requests), lived through by every policy, and the counts that come of it. Refuses threads, sockets, clocks
//! and randomness other than the seed's. Invariant: the same seed gives the same numbers, and for the pool's
//! own policy the laws in `laws` hold after every step.
//!
//! What is counted, exactly:
//! - **wasted call**: an upstream call that Google refuses for what its key or project is at the moment the call
//!   arrives (bad credential, spent minute or day, model not offered). A storm's 503s are counted apart: nobody
//!   could have been served.
//! - **wrongly refused**: a request that the pool refused at a moment at which some good key's project had room
//!   for it and its model had no storm. A request that ends with a 503 of Google's counts as failed instead.
//! - **back**: for what can serve again (the minute turned, the day turned or its delay was over, the key was
//!   repaired, the storm ended) the time from the first to the last moment before it serves at which it was
//!   missed. It is missed while a request for the model waits that it could serve, and when one is refused. What
//!   was never missed took no time; what had not served at the end is also counted as `never`.
//!
//! Every policy gets the same requests, the same caps on tries and the same time to wait (5 s). Calls need 10 to
//! 40 ms to reach Google, and refusals as long and more to come back; only the oracle's calls arrive as they are
//! sent.

mod laws;
mod measure;
mod ours;
mod plan;
mod plot;
mod policy;
mod random;
mod run;
mod table;
mod watch;

use serde_json::{Value, json};

pub use self::{
    laws::Broken,
    measure::{Back, Ground, Lag, Score, Waste},
    run::Failed,
};
use self::{
    ours::Ours,
    plan::Plan,
    policy::{FixedCooldown, KeyCooldown, Oracle, Policy, RequestMemory, RoundRobin},
};

/// The pool's own policy, by name.
pub const OURS: &str = "gemini-pool";
/// The policy that knows everything.
pub const ORACLE: &str = "oracle";

/// Every policy's score, over one seed or many.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// The seeds, in the order in which they ran.
    pub seeds: Vec<u64>,
    /// By policy, in the order in which they are shown.
    pub scores: Vec<(&'static str, Score)>,
}

impl Comparison {
    /// Runs one seed.
    ///
    /// # Errors
    /// [`Failed`]: a law of the pool was broken.
    pub fn of_seed(seed: u64) -> Result<Self, Failed> {
        let plan = Plan::draw(seed);
        let keys = plan.keys.len();
        let secrets = plan.keys.iter().map(|key| key.secret.clone()).collect();
        let policies: [Box<dyn Policy>; 6] = [
            Box::new(RoundRobin::new(keys)),
            Box::new(FixedCooldown::new(keys)),
            Box::new(RequestMemory::new(keys, seed)),
            Box::new(KeyCooldown::new(keys)),
            Box::new(Ours::new(&plan)),
            Box::new(Oracle::new(secrets, plan.models.clone())),
        ];
        let mut scores = Vec::with_capacity(policies.len());
        for mut policy in policies {
            scores.push((policy.name(), run::run(&plan, policy.as_mut())?));
        }
        Ok(Self { seeds: vec![seed], scores })
    }

    /// Adds other seeds' scores.
    pub fn add(&mut self, other: Self) {
        self.seeds.extend(other.seeds);
        if self.scores.is_empty() {
            self.scores = other.scores;
            return;
        }
        for ((_, score), (_, more)) in self.scores.iter_mut().zip(&other.scores) {
            score.add(more);
        }
    }

    /// A policy's score; an empty one for a name that is none.
    #[must_use]
    pub fn score(&self, policy: &str) -> Score {
        let found = self.scores.iter().find(|(name, _)| *name == policy);
        found.map(|(_, score)| score.clone()).unwrap_or_default()
    }

    /// For people.
    #[must_use]
    pub fn table(&self) -> String {
        table::table(self)
    }

    /// For documents.
    #[must_use]
    pub fn svg(&self) -> String {
        plot::svg(self)
    }

    /// For programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let policies = self.scores.iter().map(|(name, score)| ((*name).to_owned(), score.json()));
        json!({"seeds": self.seeds, "policies": policies.collect::<serde_json::Map<_, _>>()})
    }
}

/// What a seed stands for, in a line.
#[must_use]
pub fn describe(seed: u64) -> String {
    let plan = Plan::draw(seed);
    format!(
        "seed {seed}: {} projects, {} keys, {} models, {} requests ({:.0} % of the limits), a used-up day turns at {}",
        plan.projects.len(),
        plan.keys.len(),
        plan.models.len(),
        plan.requests.len(),
        100.0 * plan.load,
        match plan.day_turn {
            crate::simulated::DayTurn::Midnight => "midnight Pacific",
            crate::simulated::DayTurn::Delay => "the end of its short delay",
        }
    )
}

#[cfg(test)]
mod tests;
