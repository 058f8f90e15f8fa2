//! May this request be tried once more, and when? Pure: time and randomness are arguments.
//!
//! Three bounds, because failures differ. A try that may have cost Google work, or
//! shows Google itself in trouble, counts against `MAX_ATTEMPTS`; one that says the
//! model itself is in trouble is followed by no more than [`MODEL_WIDE_MORE`]. Both
//! are paid for from one [`Allowance`] of the whole pool, so that an outage is not
//! multiplied, and wait a random while first. A refusal at the door (bad credential,
//! spent quota) costs nobody anything and closes a gate, so each can happen once per
//! key and opening; only [`MOST`] bounds those. Its invariant: in any time `t`, no
//! more than `FLOOR · t + SHARE · first tries + BURST` costly tries are repeated.

use std::time::Duration;

use projections::event::Verdict;

use crate::gemini::classify::{Blame, Classified};

/// Tries of one request, of every kind, at most.
pub const MOST: usize = 12;
/// After so many refusals at the door a request rather takes a key that has served before than one that nobody
/// knows: otherwise a heap of dead keys uses up its tries while a good one stands by.
pub const SURPRISES: usize = 2;
/// Further tries after failures that every key would meet: 500, 502, 503, 504.
pub const MODEL_WIDE_MORE: usize = 2;
/// The first wait is up to this long, the next up to twice as long, and so on.
const BACKOFF_FIRST: Duration = Duration::from_millis(250);
/// No wait is longer; where Google asks for more, its answer goes to the client instead.
const BACKOFF_LONGEST: Duration = Duration::from_secs(8);

/// Whether a refusal came before any work was done, and closed a gate.
#[must_use]
pub fn at_the_door(blame: Blame) -> bool {
    matches!(blame, Blame::Key | Blame::Method | Blame::Project | Blame::Model)
}

/// What one request has used up so far.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    costly: usize,
    model_wide: usize,
    all: usize,
    max_attempts: usize,
}

/// When to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// Not at all: the failure is the answer.
    No,
    /// At once: it costs nobody anything.
    Now,
    /// After a wait, if the pool's [`Allowance`] has one left.
    After(Duration),
}

impl Budget {
    /// A fresh one.
    #[must_use]
    pub fn new(max_attempts: u8) -> Self {
        Self { costly: 0, model_wide: 0, all: 0, max_attempts: usize::from(max_attempts.max(1)) }
    }

    /// Whether to go on after a failure; `repeatable`: the call may be made twice.
    pub fn allows(&mut self, failure: &Classified, repeatable: bool) -> bool {
        self.all += 1;
        self.costly += usize::from(!at_the_door(failure.blame));
        self.model_wide += usize::from(is_model_wide(failure.verdict));
        failure.another
            && (repeatable || failure.proves_not_executed)
            && self.costly < self.max_attempts
            && self.model_wide <= MODEL_WIDE_MORE
            && self.all < MOST
    }

    /// Whether and when to go on after a failure, with so much time `left`.
    pub fn again(&mut self, failure: &Classified, repeatable: bool, left: Duration, random: u64) -> Again {
        if !self.allows(failure, repeatable) || left.is_zero() {
            return Again::No;
        }
        if at_the_door(failure.blame) {
            return Again::Now;
        }
        let told = u64::try_from(failure.retry_delay_ms.unwrap_or_default()).unwrap_or_default();
        let told = Duration::from_millis(told);
        let wait = told.max(jittered(self.costly, random));
        // A longer wait than the pool makes by itself is the client's to decide on.
        if told > BACKOFF_LONGEST || wait >= left { Again::No } else { Again::After(wait) }
    }
}

/// Failures that are the model's, whatever the key.
fn is_model_wide(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Overloaded | Verdict::ServerError)
}

/// Full jitter: anything from nothing to the longest wait of this turn, so that those who failed
/// together do not come back together.
fn jittered(failures: usize, random: u64) -> Duration {
    let doublings = u32::try_from(failures.saturating_sub(1)).unwrap_or(u32::MAX).min(16);
    let longest = BACKOFF_FIRST.saturating_mul(1 << doublings).min(BACKOFF_LONGEST);
    let micros = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(((u128::from(random) * u128::from(micros)) >> 64) as u64)
}

/// Retries that the pool has per second whatever the traffic, so that a quiet one may retry too.
const FLOOR: u64 = 10;
/// Retries that the pool has per hundred first tries.
const SHARE: u64 = 20;
/// Retries saved up at most.
pub const BURST: u64 = 20;
/// One retry, in the unit that both a millisecond and a first try give whole numbers of.
const RETRY: u64 = 1_000;

/// What the whole pool may spend on repeating costly tries: a token bucket.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    saved: u64,
    at: Duration,
}

impl Allowance {
    /// A full one; all times count from one moment of the caller's choice.
    #[must_use]
    pub fn new(now: Duration) -> Self {
        Self { saved: BURST * RETRY, at: now }
    }

    /// A request was tried for the first time.
    pub fn first_try(&mut self) {
        self.save(SHARE * RETRY / 100);
    }

    /// Takes a retry, if there is one.
    pub fn take(&mut self, now: Duration) -> bool {
        // Whole milliseconds only, and the rest is kept for the next time.
        let passed = now.saturating_sub(self.at).as_millis();
        let passed = u64::try_from(passed).unwrap_or(u64::MAX);
        self.at = self.at.saturating_add(Duration::from_millis(passed));
        self.save(passed.saturating_mul(FLOOR * RETRY / 1_000));
        let enough = self.saved >= RETRY;
        if enough {
            self.saved -= RETRY;
        }
        enough
    }

    /// Retries that could be taken now.
    #[must_use]
    pub fn left(mut self, now: Duration) -> u64 {
        let passed = u64::try_from(now.saturating_sub(self.at).as_millis()).unwrap_or(u64::MAX);
        self.save(passed.saturating_mul(FLOOR * RETRY / 1_000));
        self.saved / RETRY
    }

    fn save(&mut self, more: u64) {
        self.saved = self.saved.saturating_add(more).min(BURST * RETRY);
    }
}

#[cfg(test)]
mod tests;
