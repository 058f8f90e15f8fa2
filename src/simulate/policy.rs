//! Owns the question that every policy answers, and the simple policies that ours is compared with. Refuses
//! the simulated Google: only the oracle looks at it. Invariant: a policy is told of a call only what the pool
//! would be told, and only when its answer has arrived.

use std::collections::BTreeMap;

use projections::Millis;

use super::laws::Broken;
use super::random::Random;
use crate::simulated::World;

/// Tries of one request that cost nothing but the try; as [`crate::proxy::retry`] has it.
const MOST_TRIES: u8 = 12;
/// Tries of one request that fail for Google's trouble; MAX_ATTEMPTS.
const MOST_COSTLY: u8 = 3;
/// How long the fixed cooldown lasts.
const FIXED: Millis = 5_000;
/// How long a key rests that was refused without a word for how long.
const REST: Millis = 60_000;
/// How long a key rests that was refused for what it is.
const BAD_REST: Millis = 600_000;

/// Who can serve this request now?
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) request: usize,
    pub(super) model: usize,
    pub(super) tokens: u64,
    /// Keys that this request has tried.
    pub(super) tried: &'a [usize],
    pub(super) now: Millis,
    /// Until when it may wait.
    pub(super) ends: Millis,
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// This key.
    Send(usize),
    /// Nobody; ask again at that time, or sooner, when `progress` is set and anything comes to something.
    Wait { until: Millis, progress: bool },
    /// Others are before it: it asks again when the policy wakes it, and at that time at the latest.
    Stand { until: Millis },
    /// Nobody.
    Refuse,
}

/// An upstream call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) id: usize,
    pub(super) request: usize,
    pub(super) client: u32,
    pub(super) key: usize,
    pub(super) model: usize,
    pub(super) sent: Millis,
    /// 1 for the first of its request.
    pub(super) attempt: u8,
}

/// A call that the policy makes by itself, to see whether something is good again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Check {
    pub(super) key: usize,
    /// The model to ask; none: a list of models.
    pub(super) model: Option<usize>,
}

/// A refusal, as it arrives.
pub(super) struct Told<'a> {
    pub(super) status: u16,
    /// What RetryInfo says, for those who would only look for that.
    pub(super) delay: Option<Millis>,
    pub(super) body: &'a dyn Fn() -> Vec<u8>,
    /// Calls of this request so far, and how many of them met Google's own trouble.
    pub(super) tries: (u8, u8),
}

impl Told<'_> {
    /// The bound on tries that every policy has.
    fn allows_another(&self) -> Option<Millis> {
        (self.tries.0 < MOST_TRIES && self.tries.1 < MOST_COSTLY).then_some(0)
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Served,
    Refused,
    /// Google's own trouble went to the client.
    Failed,
    Cancelled,
}

/// A way to choose keys.
pub(super) trait Policy {
    fn name(&self) -> &'static str;

    fn choose(&mut self, asked: &Asked<'_>, google: &World) -> Choice;

    /// A choice was followed.
    fn sent(&mut self, _call: &Call) {}

    /// A good answer began.
    fn began(&mut self, _call: &Call, _now: Millis) {}

    /// A good answer ended.
    fn served(&mut self, _call: &Call, _now: Millis) {}

    /// A refusal arrived; after how long the request may try again, if at all.
    fn failed(&mut self, call: &Call, told: &Told<'_>, now: Millis) -> Option<Millis>;

    /// Waiting requests that may ask now.
    fn woken(&mut self) -> Vec<usize> {
        Vec::new()
    }

    /// Whether it checks keys by itself.
    fn has_prober(&self) -> bool {
        false
    }

    /// Time to look whether something is to be checked.
    fn look(&mut self, _now: Millis) -> Vec<Check> {
        Vec::new()
    }

    /// What a check came to; none: it was served.
    fn checked(&mut self, _check: &Check, _told: Option<&Told<'_>>, _now: Millis) {}

    /// The client left while a call was under way.
    fn left(&mut self, _call: &Call, _now: Millis) {}

    fn ended(&mut self, _request: usize, _end: End, _now: Millis) {}

    /// What keeps the policy from a key.
    fn obstacle(&self, _key: usize, _model: usize, _now: Millis) -> String {
        "the cap on tries, or a cooldown".to_owned()
    }

    /// Whether its calls arrive as they are sent: it knows what they will meet.
    fn knows_all(&self) -> bool {
        false
    }

    /// The laws, after every step.
    fn check(&mut self) -> Result<(), Broken> {
        Ok(())
    }

    /// The laws that are about the whole run.
    fn finish(&mut self, _now: Millis) -> Result<(), Broken> {
        Ok(())
    }
}

/// Each key in turn, whatever happened.
#[derive(Debug)]
pub(super) struct RoundRobin {
    pub(super) keys: usize,
    turn: usize,
}

impl RoundRobin {
    pub(super) fn new(keys: usize) -> Self {
        Self { keys, turn: 0 }
    }

    /// The next key that may be taken.
    fn next(&mut self, may: impl Fn(usize) -> bool) -> Option<usize> {
        let key =
            (self.turn..self.turn + self.keys).map(|turn| turn % self.keys.max(1)).find(|key| may(*key))?;
        self.turn = key + 1;
        Some(key)
    }
}

impl Policy for RoundRobin {
    fn name(&self) -> &'static str {
        "round-robin"
    }

    fn choose(&mut self, asked: &Asked<'_>, _google: &World) -> Choice {
        // Once round, as such rotations do.
        if asked.tried.len() >= self.keys {
            return Choice::Refuse;
        }
        self.next(|_| true).map_or(Choice::Refuse, Choice::Send)
    }

    fn failed(&mut self, _call: &Call, told: &Told<'_>, _now: Millis) -> Option<Millis> {
        told.allows_another()
    }
}

/// Each key in turn, without those that failed in the last five seconds.
#[derive(Debug)]
pub(super) struct FixedCooldown {
    turn: RoundRobin,
    until: BTreeMap<usize, Millis>,
}

impl FixedCooldown {
    pub(super) fn new(keys: usize) -> Self {
        Self { turn: RoundRobin::new(keys), until: BTreeMap::new() }
    }
}

/// The first of the keys' times; none where there are no keys.
fn earliest(keys: usize, until: &BTreeMap<usize, Millis>) -> Choice {
    let first = (0..keys).map(|key| until.get(&key).copied().unwrap_or_default()).min();
    first.map_or(Choice::Refuse, |until| Choice::Wait { until, progress: false })
}

impl Policy for FixedCooldown {
    fn name(&self) -> &'static str {
        "5 s cooldown"
    }

    fn choose(&mut self, asked: &Asked<'_>, _google: &World) -> Choice {
        let Self { turn, until } = self;
        let rested = |key: usize| until.get(&key).is_none_or(|until| *until <= asked.now);
        turn.next(rested).map_or_else(|| earliest(self.turn.keys, &self.until), Choice::Send)
    }

    fn failed(&mut self, call: &Call, told: &Told<'_>, now: Millis) -> Option<Millis> {
        self.until.insert(call.key, now + FIXED);
        told.allows_another()
    }
}

/// A random key, without those that this request has tried.
#[derive(Debug)]
pub(super) struct RequestMemory {
    keys: usize,
    random: Random,
}

impl RequestMemory {
    pub(super) fn new(keys: usize, seed: u64) -> Self {
        Self { keys, random: Random::new(seed) }
    }
}

impl Policy for RequestMemory {
    fn name(&self) -> &'static str {
        "per-request memory"
    }

    fn choose(&mut self, asked: &Asked<'_>, _google: &World) -> Choice {
        let fresh: Vec<usize> = (0..self.keys).filter(|key| !asked.tried.contains(key)).collect();
        self.random.pick(&fresh).map_or(Choice::Refuse, Choice::Send)
    }

    fn failed(&mut self, _call: &Call, told: &Told<'_>, _now: Millis) -> Option<Millis> {
        told.allows_another()
    }
}

/// Each key in turn; one that was refused rests, for every model, as long as it was told, or for a minute, or
/// for ten where its credential was refused.
#[derive(Debug)]
pub(super) struct KeyCooldown {
    turn: RoundRobin,
    until: BTreeMap<usize, Millis>,
}

impl KeyCooldown {
    pub(super) fn new(keys: usize) -> Self {
        Self { turn: RoundRobin::new(keys), until: BTreeMap::new() }
    }
}

impl Policy for KeyCooldown {
    fn name(&self) -> &'static str {
        "per-key cooldown"
    }

    fn choose(&mut self, asked: &Asked<'_>, _google: &World) -> Choice {
        let Self { turn, until } = self;
        let rested = |key: usize| until.get(&key).is_none_or(|until| *until <= asked.now);
        turn.next(|key| rested(key) && !asked.tried.contains(&key)).map_or_else(
            || match earliest(self.turn.keys, &self.until) {
                Choice::Wait { until, .. } if until <= asked.now => Choice::Refuse,
                other => other,
            },
            Choice::Send,
        )
    }

    fn failed(&mut self, call: &Call, told: &Told<'_>, now: Millis) -> Option<Millis> {
        let rest = match told.status {
            429 => told.delay.unwrap_or(REST),
            400..=403 => BAD_REST,
            _ => 0,
        };
        self.until.insert(call.key, now + rest);
        told.allows_another()
    }
}

/// Knows every bucket and every key: calls only what is served, and refuses only when no project could serve
/// within the time that requests wait. Of those that can, it takes the project with the most left.
#[derive(Debug)]
pub(super) struct Oracle {
    secrets: Vec<String>,
    models: Vec<&'static str>,
}

impl Oracle {
    pub(super) fn new(secrets: Vec<String>, models: Vec<&'static str>) -> Self {
        Self { secrets, models }
    }
}

impl Policy for Oracle {
    fn name(&self) -> &'static str {
        "oracle"
    }

    fn choose(&mut self, asked: &Asked<'_>, google: &World) -> Choice {
        let Some(model) = self.models.get(asked.model) else { return Choice::Refuse };
        let times = (0..).zip(&self.secrets).filter_map(|(key, secret)| {
            let at = google.fits_at(secret, model, asked.tokens)?;
            let left = std::cmp::Reverse(google.left_today(secret, model).unwrap_or(u64::MAX));
            Some((at, left, key))
        });
        match times.min() {
            Some((at, _, key)) if at <= asked.now => Choice::Send(key),
            Some((until, ..)) => Choice::Wait { until, progress: false },
            None => Choice::Refuse,
        }
    }

    fn failed(&mut self, _call: &Call, told: &Told<'_>, _now: Millis) -> Option<Millis> {
        told.allows_another()
    }

    fn knows_all(&self) -> bool {
        true
    }
}
