//! May this request be tried once more? Pure.
//!
//! Two bounds, because failures differ. A try that may have cost Google work, or
//! shows Google itself in trouble, counts against `MAX_ATTEMPTS`. A refusal at
//! the door (bad credential, spent quota) costs nobody anything and closes a gate,
//! so each can happen once per key and quota; only [`MOST`] bounds those.

use crate::gemini::classify::{Blame, Classified};

/// Tries of one request, of every kind, at most.
pub const MOST: usize = 12;

/// What has been used up so far.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    costly: usize,
    all: usize,
    max_attempts: usize,
}

impl Budget {
    /// A fresh one.
    #[must_use]
    pub fn new(max_attempts: u8) -> Self {
        Self { costly: 0, all: 0, max_attempts: usize::from(max_attempts.max(1)) }
    }

    /// Whether to go on after a failure; `repeatable`: the call may be made twice.
    pub fn allows(&mut self, failure: &Classified, repeatable: bool) -> bool {
        self.all += 1;
        let at_the_door = matches!(failure.blame, Blame::Key | Blame::Method | Blame::Project | Blame::Model);
        self.costly += usize::from(!at_the_door);
        failure.another
            && (repeatable || failure.proves_not_executed)
            && self.costly < self.max_attempts
            && self.all < MOST
    }
}

#[cfg(test)]
mod tests {
    use projections::event::Verdict;

    use super::*;

    fn tries(max: u8, verdict: Verdict, repeatable: bool) -> usize {
        let mut budget = Budget::new(max);
        let failure = Classified::from(verdict);
        1 + std::iter::repeat_with(|| budget.allows(&failure, repeatable))
            .take(100)
            .take_while(|go_on| *go_on)
            .count()
    }

    #[test]
    fn trouble_at_google_is_tried_max_attempts_times() {
        assert_eq!(tries(3, Verdict::Overloaded, true), 3);
        assert_eq!(tries(1, Verdict::TimedOut, true), 1);
        assert_eq!(tries(0, Verdict::ServerError, true), 1);
        assert_eq!(tries(3, Verdict::ConnectFailed, true), 3);
    }

    #[test]
    fn refusals_at_the_door_are_bounded_too() {
        for verdict in [Verdict::BadKey, Verdict::QuotaMinute, Verdict::BillingStopped] {
            assert_eq!(tries(3, verdict, true), MOST, "{verdict:?}");
        }
    }

    #[test]
    fn what_must_not_happen_twice_is_repeated_only_when_it_did_not_happen() {
        assert_eq!(tries(3, Verdict::ServerError, false), 1);
        assert_eq!(tries(3, Verdict::TimedOut, false), 1);
        assert_eq!(tries(3, Verdict::QuotaMinute, false), MOST);
        assert_eq!(tries(3, Verdict::ConnectFailed, false), 3);
    }

    #[test]
    fn a_clients_mistake_is_never_repeated() {
        for verdict in [Verdict::ClientFault, Verdict::AffinityMiss, Verdict::Location, Verdict::PoolFault] {
            assert_eq!(tries(3, verdict, true), 1, "{verdict:?}");
        }
    }
}
