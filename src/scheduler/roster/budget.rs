//! Learned budgets, counted when requests go out.
//!
//! The fold counts what was served, when it ends; an answer may stream for minutes,
//! and so would be counted too late. Here a request counts from the moment it has
//! its key, and one that was not served gives its count back. Tokens count as
//! estimated while a request is under way, and as Google counted them once it has
//! ended. Its invariant: in a window no more requests go out than Google's limit,
//! but for one where Google has not named the limit for an hour: so a quota that
//! was raised is noticed.

use projections::{
    Millis,
    budget::{Budget, Limit, MINUTE_MS, at_least},
    keys::QuotaDay,
};

use crate::scheduler::{
    lease::{Reservation, Reserved},
    ready::NEVER,
};

/// A limit is believed for so long without another word of Google's.
const BELIEVED_MS: Millis = 3_600_000;
const DAY_MS: Millis = 24 * BELIEVED_MS;

/// One limit and what went out under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Meter {
    value: u64,
    confirmed: Millis,
    window: Millis,
    used: u64,
    /// Whether a request went out beyond the limit in this window, since Google last named it.
    beyond: bool,
}

impl Meter {
    fn turn(&mut self, window: Millis) {
        if window > self.window {
            (self.window, self.used, self.beyond) = (window, 0, false);
        }
    }

    /// When a request more may go out, where `used` counts and the window ends at `ends`; 0: now.
    fn opens(&self, used: u64, now: Millis, ends: Millis) -> Millis {
        let doubted = self.confirmed.saturating_add(BELIEVED_MS + 1);
        if used < self.value || (!self.beyond && now >= doubted) {
            0
        } else if self.beyond {
            ends
        } else {
            ends.min(doubted)
        }
    }

    /// What the fold says of it now. `served`: take its word for the count, for it is all there is.
    fn sync(slot: &mut Option<Self>, limit: Option<&Limit>, served: bool) {
        let Some(&Limit { value, confirmed, window, used }) = limit else { return *slot = None };
        let meter = slot.get_or_insert(Self { value, confirmed, window, used, beyond: false });
        // Named anew: believed anew.
        meter.beyond &= meter.confirmed == confirmed;
        (meter.value, meter.confirmed) = (value, confirmed);
        meter.turn(window);
        if meter.window == window {
            meter.used = if served { used } else { meter.used.max(used) };
        }
    }
}

/// The limits of one project for one model.
#[derive(Debug, Default)]
pub(super) struct Meters {
    minute: Option<Meter>,
    tokens: Option<Meter>,
    day: Option<Meter>,
    phase: Millis,
    reserved: Reserved,
}

/// The quota day at `now` and when it ends; none, where nobody knows when it turns.
fn day_at(day: &QuotaDay, now: Millis) -> Option<(Millis, Millis)> {
    match day.ends {
        0 => None,
        _ if now < day.began => None,
        ends if now < ends => Some((day.began, ends)),
        // The event of its turn is on the way.
        ends => Some((ends, ends.saturating_add(DAY_MS))),
    }
}

impl Meters {
    pub(super) fn sync(&mut self, budget: &Budget) {
        self.phase = budget.phase;
        Meter::sync(&mut self.minute, budget.minute.as_ref(), false);
        Meter::sync(&mut self.tokens, budget.tokens.as_ref(), true);
        Meter::sync(&mut self.day, budget.day.as_ref(), false);
    }

    fn minute_of(&self, at: Millis) -> Millis {
        Budget { phase: self.phase, ..Budget::default() }.minute_of(at)
    }

    /// When a request more may go out; 0: now.
    pub(super) fn opens(&mut self, day: &QuotaDay, now: Millis) -> Millis {
        let minute = self.minute_of(now);
        let ends = minute.saturating_add(MINUTE_MS);
        let mut opens = 0;
        if let Some(meter) = &mut self.minute {
            meter.turn(minute);
            opens = opens.max(meter.opens(meter.used, now, ends));
        }
        if let Some(meter) = &mut self.tokens {
            meter.turn(minute);
            let used = meter.used.saturating_add(self.reserved.of(minute));
            opens = opens.max(meter.opens(used, now, ends));
        }
        // Where days are back before they turn, nothing but a refusal tells that one is spent.
        let days_are_days = !day.is_short();
        if let Some(meter) = &mut self.day
            && let Some((day, ends)) = day_at(day, now).filter(|_| days_are_days)
        {
            meter.turn(day);
            opens = opens.max(meter.opens(meter.used, now, ends));
        }
        debug_assert!(opens != NEVER, "a window that never turns");
        opens
    }

    /// When a request of so many tokens fits; 0: now. One that no empty minute has room for is Google's to judge.
    pub(super) fn fits(&self, tokens: u32, now: Millis) -> Millis {
        let Some(meter) = &self.tokens else { return 0 };
        let minute = self.minute_of(now);
        let used = if minute > meter.window { 0 } else { meter.used };
        let used = used.saturating_add(self.reserved.of(minute));
        let fits = used == 0 || used.saturating_add(at_least(tokens.into())) <= meter.value;
        if fits { 0 } else { minute.saturating_add(MINUTE_MS) }
    }

    /// A request goes out; what it holds of the tokens until it ends.
    pub(super) fn dispatch(&mut self, tokens: u32, day: &QuotaDay, now: Millis) -> Option<Reservation> {
        let minute = self.minute_of(now);
        let day = day_at(day, now).map(|(day, _)| day);
        for (meter, window) in [(&mut self.minute, Some(minute)), (&mut self.day, day)] {
            let Some(meter) = meter else { continue };
            window.into_iter().for_each(|window| meter.turn(window));
            meter.beyond |= meter.used >= meter.value;
            meter.used = meter.used.saturating_add(1);
        }
        let meter = self.tokens.as_mut()?;
        meter.turn(minute);
        meter.beyond |= meter.used.saturating_add(self.reserved.of(minute)) >= meter.value;
        Some(self.reserved.take(minute, tokens))
    }

    /// A request that began at `started` was not served. What began before Google last named the limit is part
    /// of what it counted then.
    pub(super) fn give_back(&mut self, started: Millis, day: &QuotaDay) {
        let minute = self.minute_of(started);
        let day = day_at(day, started).map(|(day, _)| day);
        for (meter, window) in [(&mut self.minute, Some(minute)), (&mut self.day, day)] {
            let Some(meter) = meter else { continue };
            if window == Some(meter.window) && started > meter.confirmed {
                meter.used = meter.used.saturating_sub(1);
            }
        }
    }
}
