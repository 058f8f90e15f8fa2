//! Owns time as the simulated Google sees it: a source of Unix milliseconds, an offset that tests turn,
//! and the two quota windows. Refuses to be read anywhere else: everything below gets `now` as an argument.
//! Invariant: the real clock is read in one place, [`real_time`].

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

/// Milliseconds in the per-minute quota window.
pub(super) const MINUTE: i64 = 60_000;

/// Where the world reads the time, and how far a test has turned it forward.
#[derive(Clone)]
pub(super) struct Clock {
    source: Arc<dyn Fn() -> i64 + Send + Sync>,
    turned: i64,
}

impl Clock {
    pub(super) fn real() -> Self {
        Self::from_fn(real_time)
    }

    pub(super) fn frozen(at: i64) -> Self {
        Self::from_fn(move || at)
    }

    pub(super) fn from_fn(source: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        Self { source: Arc::new(source), turned: 0 }
    }

    /// Unix milliseconds.
    pub(super) fn now(&self) -> i64 {
        (self.source)().saturating_add(self.turned)
    }

    pub(super) fn advance(&mut self, by: Duration) {
        self.turned = self.turned.saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX));
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the simulated Google is another machine with a clock of its own; this is the one place it is read"
)]
fn real_time() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The day that holds `now`, from one Pacific midnight to the next, in Unix milliseconds.
///
/// Google's per-day quotas turn at midnight Pacific time (ai.google.dev/gemini-api/docs/rate-limits), so the
/// day of a clock change is 23 or 25 hours long.
pub(super) fn pacific_day(now: i64) -> Range<i64> {
    let day = || -> Result<Range<i64>, jiff::Error> {
        let start = Timestamp::from_millisecond(now)?.in_tz("America/Los_Angeles")?.start_of_day()?;
        let end = start.tomorrow()?.start_of_day()?;
        Ok(start.timestamp().as_millisecond()..end.timestamp().as_millisecond())
    };
    // The zone is compiled in; only a time outside jiff's thousands of years ends up here.
    day().unwrap_or(now..now.saturating_add(24 * 60 * MINUTE))
}

/// RFC 3339, as Google writes times in resources.
pub(super) fn rfc3339(at: i64) -> String {
    Timestamp::from_millisecond(at).unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    #[test]
    fn the_day_turns_at_pacific_midnight_in_winter_and_summer() {
        let winter = pacific_day(at("2026-01-15T07:59:59Z"));
        assert_eq!(winter, at("2026-01-14T08:00:00Z")..at("2026-01-15T08:00:00Z"));
        let summer = pacific_day(at("2026-07-15T07:00:00Z"));
        assert_eq!(summer, at("2026-07-15T07:00:00Z")..at("2026-07-16T07:00:00Z"));
    }

    #[test]
    fn the_day_the_clocks_go_back_has_25_hours() {
        let day = pacific_day(at("2026-11-01T12:00:00Z"));
        assert_eq!(day.end - day.start, 25 * 60 * MINUTE);
    }

    #[test]
    fn a_frozen_clock_moves_only_when_turned() {
        let mut clock = Clock::frozen(1_000);
        clock.advance(Duration::from_secs(2));
        assert_eq!((clock.now(), clock.now()), (3_000, 3_000));
    }
}
