//! How many requests of strangers are written down: those that bring no credential the pool knows.
//!
//! Nobody need be known to send them, so a record of each would let anybody fill the disk. Owns the count of a
//! minute: the first [`RECORDED`] are in the log as all requests are, the others are counted, and their number is
//! told when the minute is over. Pure but for its lock. Its invariant: in no minute are more written down than that.

use projections::Millis;

use crate::locks::Mutex;

/// Recorded in a minute, whoever they come from.
const RECORDED: u64 = 60;
const MINUTE: Millis = 60_000;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Strangers(Mutex<(Millis, u64)>);

/// What becomes of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stranger {
    /// It is written down.
    pub(super) recorded: bool,
    /// It is the first of its minute, and so many of an earlier one were not.
    pub(super) missed: u64,
}

impl Strangers {
    /// One more, now.
    pub(super) fn count(&self, now: Millis) -> Stranger {
        let mut count = self.0.lock();
        let (minute, seen) = *count;
        // A clock that was set back begins no new minute.
        if now - now.rem_euclid(MINUTE) > minute {
            *count = (now - now.rem_euclid(MINUTE), 1);
            return Stranger { recorded: true, missed: seen.saturating_sub(RECORDED) };
        }
        count.1 = seen.saturating_add(1);
        Stranger { recorded: seen < RECORDED, missed: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_minute_are_written_down_and_the_others_counted() {
        let strangers = Strangers::default();
        let begins = 1_000 * MINUTE;
        let recorded = (0..1_000).filter(|ms| strangers.count(begins + ms).recorded).count() as u64;
        assert_eq!(recorded, RECORDED);
        assert_eq!(strangers.count(begins - 1), Stranger { recorded: false, missed: 0 });
        let next = strangers.count(begins + MINUTE);
        assert_eq!(next, Stranger { recorded: true, missed: 1_001 - RECORDED });
        assert_eq!(strangers.count(begins + 5 * MINUTE), Stranger { recorded: true, missed: 0 });
    }
}
