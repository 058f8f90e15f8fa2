//! Learned budgets: how much of a quota that Google named is left.
//!
//! Owns, for one (project, model), the limits that errors told and what was used
//! of them since their windows turned. A limit is believed until a success beyond
//! it shows that it grew. Its invariant: nothing is predicted that Google did not
//! name; times come from events.

use serde::{Deserialize, Serialize};

use crate::{
    event::{Violation, Window},
    id::Millis,
};

/// Length of the windows that turn every minute.
pub const MINUTE_MS: Millis = 60_000;

/// An answer is on its way for less.
const ON_ITS_WAY_MS: Millis = 1_000;

/// A limit that Google named, and what is used of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// Requests, or tokens, in a window.
    pub value: u64,
    /// When Google last said so.
    pub confirmed: Millis,
    /// The beginning of the window that `used` is counted in.
    pub window: Millis,
    /// Used in that window.
    pub used: u64,
}

impl Limit {
    /// What is left of it in the window that began at `window`.
    #[must_use]
    pub fn left(&self, window: Millis) -> u64 {
        self.value.saturating_sub(if window > self.window { 0 } else { self.used })
    }

    fn count(&mut self, window: Millis, more: u64) {
        if window > self.window {
            (self.window, self.used) = (window, 0);
        }
        // What began in a window that is over is of no interest any more.
        if window == self.window {
            self.used = self.used.saturating_add(more);
        }
    }
}

/// Bodies larger than this mostly hold pictures and sounds, of which bytes tell nothing.
const TEXT_BYTES: u64 = 512 << 10;

/// Tokens in a request, estimated from its bytes: four to one, as in plain English; 0 where they tell nothing.
#[must_use]
pub const fn tokens_in(bytes: u64) -> u64 {
    if bytes > TEXT_BYTES { 0 } else { bytes / 4 }
}

/// As many of the estimated tokens there are at least: bytes tell them roughly.
#[must_use]
pub const fn at_least(tokens: u64) -> u64 {
    tokens.saturating_mul(2) / 3
}

/// When a minute's window turns that was told at `at` to turn at `until`. What was told was on its way for some time,
/// and so a turn just after a whole minute is the whole minute's; but a turn that is still to come is never over.
fn turn(until: Millis, at: Millis) -> Millis {
    let whole = until.saturating_sub(until.rem_euclid(MINUTE_MS));
    if until.saturating_sub(whole) < ON_ITS_WAY_MS && whole > at { whole } else { until }
}

/// The limits of one (project, model).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Requests per minute.
    pub minute: Option<Limit>,
    /// Input tokens per minute.
    pub tokens: Option<Limit>,
    /// Requests per day.
    pub day: Option<Limit>,
    /// A moment at which the windows of a minute turn.
    pub phase: Millis,
}

impl Budget {
    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.minute.is_none() && self.tokens.is_none() && self.day.is_none()
    }

    /// The limit of a window, where it is known.
    #[must_use]
    pub fn limit(&self, window: Window) -> Option<&Limit> {
        match window {
            Window::Minute => self.minute.as_ref(),
            Window::Tokens => self.tokens.as_ref(),
            Window::Day => self.day.as_ref(),
            Window::Spend | Window::Offer | Window::Unknown => None,
        }
    }

    /// The beginning of the minute that `at` is in, as Google counts minutes for this model.
    #[must_use]
    pub fn minute_of(&self, at: Millis) -> Millis {
        at.saturating_sub(at.saturating_sub(self.phase).rem_euclid(MINUTE_MS))
    }

    /// The beginning of the window that `at` is in; `day`: when the quota day began.
    #[must_use]
    pub fn window_of(&self, window: Window, at: Millis, day: Millis) -> Millis {
        if window == Window::Day { day } else { self.minute_of(at) }
    }

    /// A request that began at `started` was served; `day`: when the quota day began.
    pub(crate) fn served(&mut self, started: Millis, prompt_tokens: u32, day: Millis) {
        let minute = self.minute_of(started);
        for (slot, window, more) in [
            (&mut self.minute, minute, 1),
            (&mut self.tokens, minute, u64::from(prompt_tokens)),
            (&mut self.day, day, 1),
        ] {
            // What began before Google last named the limit was in its count then.
            let Some(limit) = slot.as_mut().filter(|limit| started > limit.confirmed) else { continue };
            limit.count(window, more);
            // More than the limit was served: it is not the limit any more.
            if limit.window == window && limit.used > limit.value {
                *slot = None;
            }
        }
    }

    /// Google said that a limit is reached, to a call of about so many `tokens`; `until`: when its window turns,
    /// where it is known.
    pub(crate) fn exceeded(
        &mut self,
        violation: &Violation,
        tokens: u64,
        at: Millis,
        until: Option<Millis>,
        day: Millis,
    ) {
        let (Some(window), Some(value)) = (violation.window, violation.limit) else { return };
        if value == 0 {
            return;
        }
        if let (Window::Minute | Window::Tokens, Some(until)) = (window, until) {
            self.phase = turn(until, at);
        }
        let began = self.window_of(window, at, day);
        let slot = match window {
            Window::Minute => &mut self.minute,
            Window::Tokens => &mut self.tokens,
            Window::Day => &mut self.day,
            Window::Spend | Window::Offer | Window::Unknown => return,
        };
        // So many tokens did not fit; a smaller call may.
        let room = if window == Window::Tokens { at_least(tokens).saturating_sub(1) } else { 0 };
        let counted = slot.map_or(0, |known| value.saturating_sub(known.left(began)));
        let used = value.saturating_sub(room).max(counted).min(value);
        *slot = Some(Limit { value, confirmed: at, window: began, used });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_that_turns_just_after_a_whole_one_turned_with_it() {
        assert_eq!(turn(2 * MINUTE_MS + 300, MINUTE_MS + 30_000), 2 * MINUTE_MS, "the telling took its time");
        assert_eq!(turn(2 * MINUTE_MS + 1_000, MINUTE_MS + 30_000), 2 * MINUTE_MS + 1_000);
    }

    #[test]
    fn a_turn_that_is_to_come_is_never_over() {
        // Told half a second into a minute: snapped to the whole minute, it would have been before it was told.
        assert_eq!(turn(MINUTE_MS + 800, MINUTE_MS + 500), MINUTE_MS + 800);
        assert_eq!(turn(MINUTE_MS + 800, MINUTE_MS), MINUTE_MS + 800);
        for (until, at) in [(Millis::MIN, 0), (Millis::MAX, 0), (0, Millis::MAX), (500, Millis::MIN)] {
            let _ = turn(until, at);
        }
    }

    #[test]
    fn a_limit_that_turns_in_a_moment_is_not_spent_for_the_minute_after() {
        let violation = Violation { window: Some(Window::Minute), limit: Some(1), ..Violation::default() };
        let (at, until) = (MINUTE_MS + 500, MINUTE_MS + 800);
        let mut budget = Budget::default();
        budget.exceeded(&violation, 0, at, Some(until), 0);
        let minute = budget.minute.unwrap();
        assert_eq!(minute.left(budget.minute_of(at)), 0);
        assert_eq!(minute.left(budget.minute_of(until)), 1);
    }
}
