//! Time: the one place that reads the wall clock, and the calendar of Google's quotas.

use std::{
    sync::{Arc, OnceLock},
    time::{Instant, SystemTime},
};

use jiff::Timestamp;
use projections::Millis;

/// Tells the time; another one can be put in its place where time is driven. Shared by its clones.
#[derive(Clone)]
pub struct Clock(Arc<Inner>);

struct Inner {
    tell: Box<dyn Fn() -> Millis + Send + Sync>,
    /// A time that was, and when it was: from there on time goes forward, whatever the machine's clock does.
    anchor: OnceLock<(Millis, Instant)>,
}

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        Self::driven(|| {
            #[expect(clippy::disallowed_methods, reason = "this is the place where time comes in")]
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            now.map_or(0, |since| Millis::try_from(since.as_millis()).unwrap_or(Millis::MAX))
        })
    }

    /// A clock that a function drives.
    pub fn driven(tell: impl Fn() -> Millis + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner { tell: Box::new(tell), anchor: OnceLock::new() }))
    }

    /// Time goes on from `last` at the latest: a machine whose clock is set back, or was ahead when the log was
    /// written, would else stand still until it has caught up, with every gate as it is. Says how far it is behind.
    pub fn go_on_from(&self, last: Millis) -> Millis {
        let now = (self.0.tell)();
        let _ = self.0.anchor.set((now.max(last), Instant::now()));
        last.saturating_sub(now).max(0)
    }

    /// Milliseconds since 1970-01-01 UTC.
    #[must_use]
    pub fn now(&self) -> Millis {
        let now = (self.0.tell)();
        self.0.anchor.get().map_or(now, |(then, since)| {
            let passed = Millis::try_from(since.elapsed().as_millis()).unwrap_or(Millis::MAX);
            now.max(then.saturating_add(passed))
        })
    }
}

/// The quota day that holds `now`: when it began, and when the next one begins. Google's
/// requests-per-day counters turn at midnight in California
/// (ai.google.dev/gemini-api/docs/rate-limits); `shift`: so much later, where the pool learned better.
#[must_use]
pub fn quota_day(now: Millis, shift: Millis) -> (Millis, Millis) {
    let turns = || -> Result<(Millis, Millis), jiff::Error> {
        let today = Timestamp::from_millisecond(now.saturating_sub(shift))?.in_tz("America/Los_Angeles")?;
        let began = today.start_of_day()?.timestamp().as_millisecond();
        let ends = today.tomorrow()?.start_of_day()?.timestamp().as_millisecond();
        Ok((began.saturating_add(shift), ends.saturating_add(shift)))
    };
    // Dates beyond the calendar's end: a day from now is as good as any.
    turns().unwrap_or_else(|_| (now, now.saturating_add(24 * 3_600_000)))
}

/// A time as people read it in records and messages (RFC 3339, UTC).
#[must_use]
pub fn rfc3339(at: Millis) -> String {
    Timestamp::from_millisecond(at).map_or_else(|_| at.to_string(), |time| format!("{time:.3}"))
}

/// The time in such a text, to the millisecond.
#[must_use]
pub fn millis_of(text: &str) -> Option<Millis> {
    text.parse::<Timestamp>().ok().map(Timestamp::as_millisecond)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Millis {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    fn next_quota_day(now: Millis) -> Millis {
        quota_day(now, 0).1
    }

    #[test]
    fn a_learned_shift_moves_both_ends() {
        let (now, hour) = (at("2026-11-24T08:30:00Z"), 3_600_000);
        assert_eq!(quota_day(now, 0), (at("2026-11-24T08:00:00Z"), at("2026-11-25T08:00:00Z")));
        assert_eq!(quota_day(now, hour), (at("2026-11-23T09:00:00Z"), at("2026-11-24T09:00:00Z")));
    }

    #[test]
    fn quota_day_turns_at_midnight_in_california() {
        assert_eq!(next_quota_day(at("2026-11-23T20:00:00Z")), at("2026-11-24T08:00:00Z"));
        assert_eq!(next_quota_day(at("2026-07-01T06:59:59Z")), at("2026-07-01T07:00:00Z"));
        assert_eq!(next_quota_day(at("2026-07-01T07:00:00Z")), at("2026-07-02T07:00:00Z"));
    }

    #[test]
    fn days_of_23_and_25_hours_are_respected() {
        assert_eq!(next_quota_day(at("2026-03-08T08:00:00Z")), at("2026-03-09T07:00:00Z"));
        assert_eq!(next_quota_day(at("2026-11-01T07:00:00Z")), at("2026-11-02T08:00:00Z"));
    }

    #[test]
    fn the_end_of_the_calendar_is_survived() {
        assert_eq!(next_quota_day(Millis::MAX), Millis::MAX);
    }
}
