//! What follows from a try or a check: the fact itself, and the gates it closes and opens.
//!
//! Every time that a gate is to stay closed for is decided here, once. A gate
//! whose end is not known for sure is **half-open** from some time on: one request
//! at a time may try it, the next one later each time it fails.

use projections::{
    Event, KeyId, Millis, RequestId, State,
    budget::tokens_in,
    event::{
        Attempted, GateClosed, GateOpened, KeyChecked, Opened, ProjectLearned, QuotaDayBegan,
        QuotaTurnLearned, Scope, Verdict, Violation, Window,
    },
    keys::{Gate, Keys},
};

use crate::{
    gemini::classify::{Blame, Hold},
    ledger::clock::quota_day,
};

const SECOND: Millis = 1_000;
const MINUTE: Millis = 60 * SECOND;
const HOUR: Millis = 60 * MINUTE;

/// Jitter on a told delay, at most: enough to spread clients, too little to waste quota.
const JITTER: Millis = 500;
/// The first probe, and the longest wait for one, after "exhausted" without a word of what or for how long: it may have been a moment's crowd.
const CROWD: (Millis, Millis) = (SECOND, 8 * SECOND);
/// So many probes in a row may come sooner than a minute after each other.
const MOMENTS: u32 = 9;
/// Once some minutes in a row were in vain it is a day, or worse: probes come no more often than this.
const SELDOM: Millis = HOUR;
/// First and longest rest of a key after a run of soft failures.
const REST: (Millis, Millis) = (5 * SECOND, 5 * MINUTE);
/// First and longest wait for a probe of a model that fails for everybody.
const STORM: (Millis, Millis) = (SECOND, 30 * SECOND);
/// Google's own failures in a row, over all keys, that open a model's circuit.
const CIRCUIT: u32 = 10;
/// The first probe of a spent day comes when the delay is over that Google reports, which is short and disputed
/// (gemini-wire §3.2), and this late at most: to find out once whether it is true costs one call.
const DAY_PROBE: Millis = 4 * MINUTE;
/// The same where none was told: the delays on record are shorter.
const UNTOLD_DAY_PROBE: Millis = 40 * SECOND;
/// The same where days are known to be back after such delays.
const EARLY_DAY_PROBE: Millis = 5 * SECOND;
/// The first probe of a spent day, where such probes were in vain before.
const LATE_DAY_PROBE: Millis = HOUR;
/// Probes of spent days in vain, without one that was not, that make the pool believe that days are days.
const LATE_ENOUGH: u32 = 2;
/// Each probe of a long hold comes later than the one before by this factor.
const GROWTH: Millis = 4;
/// A day's quota seen to return within so long tells when the day turns.
const TURN_SEEN: Millis = 2 * HOUR;
/// Half-open gates open by themselves so long after their probe, where nobody came to make it.
const UNPROBED: Millis = MINUTE;
/// The same where a refusal named no end.
const UNPROBED_QUOTA: Millis = HOUR;
/// A call is large if so many of it are a minute's tokens.
const LARGE: u64 = 1_000;
/// 401s in a row after which a credential counts as bad (new keys flap).
const UNAUTHENTICATED_IN_A_ROW: u32 = 3;

/// What a verdict asks for, beside the verdict itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Penalty {
    /// Whose fault it was.
    pub blame: Blame,
    /// How long to hold it against them.
    pub hold: Hold,
    /// A random number: spreads what would otherwise return all at once.
    pub spread: u16,
}

impl Penalty {
    /// For an attempt that is nobody's fault.
    pub const NONE: Self = Self { blame: Blame::Nobody, hold: Hold::None, spread: 0 };
}

/// What follows from a try.
#[must_use]
pub fn attempted(
    state: &State,
    attempt: Attempted,
    penalty: Penalty,
    max_failures: u32,
    now: Millis,
) -> Vec<Event> {
    let finding = Finding::of(&attempt, penalty);
    let follows = finding.follows(&state.keys, max_failures, now);
    with_fact(&state.keys, attempt.into(), follows, now)
}

/// What follows when an answer begins: Google took the call, and a gate that it went through as a probe is open
/// before the answer, which may take minutes, is over.
#[must_use]
pub fn began(state: &State, attempt: &Attempted, now: Millis) -> Vec<Event> {
    let mut events = Vec::new();
    if attempt.probe {
        let served = Finding { verdict: Verdict::Success, ..Finding::of(attempt, Penalty::NONE) };
        served.opens(&state.keys, now, &mut events);
    }
    events
}

/// What follows from a check.
#[must_use]
pub fn checked(
    state: &State,
    check: KeyChecked,
    penalty: Penalty,
    max_failures: u32,
    now: Millis,
) -> Vec<Event> {
    let finding = Finding {
        key: check.key,
        project: check.project.clone(),
        model: &check.model,
        method: &check.method,
        started: check.started,
        verdict: check.verdict,
        retry_delay: check.retry_delay_ms.map(|delay| delay.max(0)),
        consumer: check.consumer.as_deref(),
        violations: &check.violations,
        tokens_sent: 0,
        probe: !check.model.is_empty(),
        check: true,
        request: None,
        penalty,
    };
    let follows = finding.follows(&state.keys, max_failures, now);
    with_fact(&state.keys, check.into(), follows, now)
}

/// The fact first, and before it a quota day that began meanwhile.
fn with_fact(keys: &Keys, fact: Event, follows: Vec<Event>, now: Millis) -> Vec<Event> {
    let mut events = Vec::with_capacity(follows.len() + 2);
    if now >= keys.day().ends {
        let (began, ends) = quota_day(now, keys.day().shift_ms);
        events.push(QuotaDayBegan { began, ends }.into());
    }
    events.push(fact);
    events.extend(follows);
    events
}

struct Finding<'a> {
    key: KeyId,
    project: String,
    model: &'a str,
    method: &'a str,
    started: Millis,
    verdict: Verdict,
    retry_delay: Option<Millis>,
    consumer: Option<&'a str>,
    violations: &'a [Violation],
    /// As estimated from what was sent.
    tokens_sent: u64,
    probe: bool,
    /// Made by the pool itself, to see whether something is good again.
    check: bool,
    request: Option<RequestId>,
    penalty: Penalty,
}

/// From when on a gate is half-open, and when it opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Times {
    until: Option<Millis>,
    probe: Option<Millis>,
}

impl Times {
    fn until(at: Millis) -> Self {
        Self { until: Some(at), probe: None }
    }

    /// Half-open from `probe` on; whole again at `until`.
    fn half_open(probe: Millis, until: Millis) -> Self {
        Self { until: Some(until), probe: (probe < until).then_some(probe) }
    }
}

impl<'a> Finding<'a> {
    fn of(attempt: &'a Attempted, penalty: Penalty) -> Self {
        Self {
            key: attempt.key,
            project: attempt.project.clone(),
            model: &attempt.model,
            method: &attempt.method,
            started: attempt.started,
            verdict: attempt.verdict,
            retry_delay: attempt.retry_delay_ms.map(|delay| delay.max(0)),
            consumer: attempt.consumer.as_deref(),
            violations: &attempt.violations,
            tokens_sent: tokens_in(attempt.bytes_sent),
            probe: attempt.probe,
            check: false,
            request: Some(attempt.request),
            penalty,
        }
    }

    fn follows(mut self, keys: &Keys, max_failures: u32, now: Millis) -> Vec<Event> {
        let mut events = Vec::new();
        if let Some(known) = keys.get(self.key) {
            // It may be in another project by now than when it was chosen.
            if keys.project(&self.project).is_none() {
                self.project.clone_from(&known.project);
            }
            if let Some(consumer) = self.consumer
                && (known.consumer.as_deref() != Some(consumer)
                    || keys.project_by(self.key, consumer).is_some_and(|project| project != known.project))
            {
                keys.project_by(self.key, consumer).unwrap_or(consumer).clone_into(&mut self.project);
                events.push(ProjectLearned { key: self.key, consumer: consumer.to_owned() }.into());
            }
        }
        if self.verdict.is_success() {
            self.opens(keys, now, &mut events);
            return events;
        }
        events.extend(self.closes(keys, max_failures, now).map(Event::from));
        events.extend(self.circuit(keys, now).map(Event::from));
        events
    }

    /// A success opens what it went through.
    fn opens(&self, keys: &Keys, now: Millis, events: &mut Vec<Event>) {
        let closed = |scope: &Scope| keys.gate(scope).is_some_and(|gate| gate.is_closed(now));
        let mut open = |scope: Scope, why| {
            if closed(&scope) {
                events.push(GateOpened { scope, why }.into());
            }
        };
        if self.check {
            open(Scope::Key(self.key), Opened::Checked);
            open(Scope::Project(self.project.clone()), Opened::Checked);
        }
        if self.model.is_empty() {
            return;
        }
        let why = if self.probe { Opened::Probed } else { Opened::Served };
        open(Scope::Upstream { model: self.model.to_owned() }, why);
        let windows = keys.project(&self.project).and_then(|project| project.models.get(self.model));
        let Some(windows) = windows.filter(|_| self.probe) else { return };
        // What closed after the probe went out is news, and not what it went through.
        let went_through = |gate: &&Gate| gate.is_closed(now) && gate.since <= self.started;
        for (&window, _) in windows.iter().filter(|(_, gate)| went_through(gate)) {
            let (project, model) = (self.project.clone(), self.model.to_owned());
            open(Scope::Model { project, model, window }, Opened::Probed);
        }
        let day = windows.get(&Window::Day).filter(went_through);
        events.extend(day.and_then(|gate| self.turn(gate, keys, now)).map(Event::from));
    }

    /// A day's quota that came back between two probes, and neither at the turn nor after the delay that
    /// Google reports: it turns at another time than thought.
    fn turn(&self, gate: &Gate, keys: &Keys, now: Millis) -> Option<QuotaTurnLearned> {
        // A quota that is back more than once before the day turns has no such day.
        let is_first = keys.day().early == 0;
        let known_to_be_spent = is_first && gate.streak > 1 && now.saturating_sub(gate.since) <= TURN_SEEN;
        let shift_ms = now.saturating_sub(quota_day(now, 0).0);
        (known_to_be_spent && shift_ms != keys.day().shift_ms).then(|| QuotaTurnLearned {
            shift_ms,
            project: self.project.clone(),
            model: self.model.to_owned(),
        })
    }

    fn scope(&self) -> Option<Scope> {
        let key = self.key;
        match self.penalty.blame {
            Blame::Key | Blame::Upstream => Some(Scope::Key(key)),
            Blame::Method => Some(Scope::Method { key, method: self.method.to_owned() }),
            Blame::Project => Some(Scope::Project(self.project.clone())),
            Blame::Model => {
                let (project, model) = (self.project.clone(), self.model.to_owned());
                Some(Scope::Model { project, model, window: window_of(self.verdict) })
            }
            Blame::Nobody | Blame::Client | Blame::Egress | Blame::Pool => None,
        }
    }

    /// The gate that a failure closes.
    fn closes(&self, keys: &Keys, max_failures: u32, now: Millis) -> Option<GateClosed> {
        let scope = self.scope()?;
        if self.is_too_large(keys) {
            return None;
        }
        let standing = keys.gate(&scope);
        let hold = self.penalty.hold;
        // What began before the gate closed says nothing new, and is no further failure in a row;
        // unless it has another cause, which may be the worse one.
        let old_news = |gate: &Gate| {
            gate.cause == self.verdict || matches!(hold, Hold::Backoff | Hold::Streak | Hold::Rest)
        };
        if standing.is_some_and(|gate| gate.is_closed(now) && self.started <= gate.since && old_news(gate)) {
            return None;
        }
        let streak = standing.map_or(0, |gate| gate.streak);
        let spread = Millis::from(self.penalty.spread) % JITTER;
        let times = match hold {
            Hold::None => return None,
            Hold::UntilChecked => Times { until: None, probe: None },
            Hold::For { .. } if self.names_a_minute_only() => {
                let probe = self.minute_turns(keys, now).saturating_add(spread);
                Times::half_open(probe, probe.saturating_add(UNPROBED))
            }
            Hold::For { ms } => Times::until(now.saturating_add(ms.max(0)).saturating_add(spread)),
            Hold::HalfOpen { ms } => {
                let probe = now.saturating_add(ms.saturating_mul(growth(streak))).saturating_add(spread);
                Times::half_open(probe, now.saturating_add(24 * HOUR))
            }
            Hold::DayTurns => self.until_the_day_turns(keys, streak, now),
            Hold::Backoff => {
                let probe = self.unnamed(keys, streak, now).saturating_add(spread);
                Times::half_open(probe, probe.saturating_add(UNPROBED_QUOTA))
            }
            Hold::Streak => self.rest(keys, standing, max_failures, now)?,
            Hold::Rest => Times::until(now.saturating_add(doubling(REST, streak)).saturating_add(spread)),
        };
        let closed_longer = standing.is_some_and(|gate| {
            let stays = gate.until.is_none_or(|until| times.until.is_some_and(|new| new <= until));
            // A probe that failed says when the next one is due, whatever the gate said before.
            gate.is_closed(now) && stays && !(self.probe && matches!(scope, Scope::Model { .. }))
        });
        (!closed_longer).then(|| self.close(scope, times))
    }

    fn close(&self, scope: Scope, times: Times) -> GateClosed {
        let Times { until, probe } = times;
        GateClosed { scope, cause: self.verdict, until, probe, request: self.request, key: self.key }
    }

    /// A spent day: closed until it turns, and half-open before, because the delay that Google reports is
    /// disputed. What probes found decides how much it is believed.
    fn until_the_day_turns(&self, keys: &Keys, streak: u32, now: Millis) -> Times {
        let day = keys.day();
        let turns = quota_day(now, day.shift_ms).1;
        let wait = if day.is_short() {
            // A delay that was told is true; where none was, it is as short as others'.
            self.retry_delay.unwrap_or_else(|| doubling((EARLY_DAY_PROBE, DAY_PROBE), streak))
        } else if day.late >= LATE_ENOUGH && day.early == 0 {
            LATE_DAY_PROBE.saturating_mul(growth(streak))
        } else {
            self.retry_delay.unwrap_or(UNTOLD_DAY_PROBE).min(DAY_PROBE).saturating_mul(growth(streak))
        };
        let spread = Millis::from(self.penalty.spread) % JITTER;
        // What was learned of the turn may be wrong: Google's own word for it is tried in any case.
        let midnight = quota_day(now, 0).1;
        let probe = now.saturating_add(wait).min(midnight).saturating_add(spread);
        Times::half_open(probe, turns)
    }

    /// A call that did not fit into a minute's tokens says little of smaller ones, and who is too large is passed over
    /// by the learned budget from now on. A call that is small found the minute spent.
    fn is_too_large(&self, keys: &Keys) -> bool {
        let limit = self.violations.iter().find(|violation| violation.window == Some(Window::Tokens));
        let Some(limit) = limit.and_then(|violation| violation.limit) else { return false };
        let gate = self.scope().is_some_and(|scope| keys.gate(&scope).is_some());
        self.verdict == Verdict::QuotaTokens
            && !gate
            && self.tokens_sent.saturating_mul(LARGE) >= limit.max(1)
    }

    /// A quota of a minute, and not a word of when it turns.
    fn names_a_minute_only(&self) -> bool {
        self.retry_delay.is_none() && matches!(self.verdict, Verdict::QuotaMinute | Verdict::QuotaTokens)
    }

    /// When the running minute is over, as Google counts minutes for this project and model, if it ever told; else
    /// as clocks do. A guess, to be probed: where windows slide instead, it is a minute late at most.
    fn minute_turns(&self, keys: &Keys, now: Millis) -> Millis {
        let budget = keys.project(&self.project).and_then(|project| project.budgets.get(self.model));
        budget.copied().unwrap_or_default().minute_of(now).saturating_add(MINUTE)
    }

    /// Exhausted, and nobody knows what: a moment's crowd, a minute or a day. So it is probed after ever longer
    /// moments and when the minute turns; once that was in vain often enough, when the next minute turns, two
    /// later, four, up to an hour, and when the day turns.
    fn unnamed(&self, keys: &Keys, streak: u32, now: Millis) -> Millis {
        let turns = self.minute_turns(keys, now);
        let probe = match streak.checked_sub(MOMENTS) {
            None => turns.min(now.saturating_add(doubling(CROWD, streak))),
            Some(minutes) => turns.saturating_add(doubling((MINUTE, SELDOM), minutes) - MINUTE),
        };
        probe.min(quota_day(now, keys.day().shift_ms).1)
    }

    /// Whether a run of soft failures closes the key, and for how long.
    fn rest(&self, keys: &Keys, standing: Option<&Gate>, max_failures: u32, now: Millis) -> Option<Times> {
        let streak = standing.map_or(0, |gate| gate.streak);
        let rest = Times::until(now.saturating_add(doubling(REST, streak)));
        if self.verdict == Verdict::Unauthenticated {
            // The gate that stands, or stood, tells the 401s in a row: a success takes it away, and other
            // soft failures have nothing to do with the credential.
            let before =
                standing.filter(|gate| gate.cause == Verdict::Unauthenticated).map_or(0, |gate| gate.streak);
            let bad = before + 1 >= UNAUTHENTICATED_IN_A_ROW;
            return Some(if bad { Times { until: None, probe: None } } else { rest });
        }
        let own = keys.get(self.key).map_or(0, |key| key.failures);
        // When others fail as well it is the model, or Google, that is down, and resting keys would only add to it.
        let of_all = keys.upstream(self.model).map_or(0, |upstream| upstream.failures);
        let others_do_well = || {
            keys.iter()
                .any(|key| key.id != self.key && key.enabled && key.gate.is_none() && key.failures == 0)
        };
        (own.saturating_add(1) >= max_failures.max(1) && of_all <= own && others_do_well()).then_some(rest)
    }

    /// A run of Google's own failures for a model, whichever key met them, opens its circuit.
    fn circuit(&self, keys: &Keys, now: Millis) -> Option<GateClosed> {
        if self.model.is_empty() || !self.verdict.is_upstream_failure() {
            return None;
        }
        let known = keys.upstream(self.model);
        let failures = known.map_or(0, |upstream| upstream.failures).saturating_add(1);
        let standing = known.and_then(|upstream| upstream.gate.as_ref());
        let old_news = standing.is_some_and(|gate| gate.is_closed(now) && !self.probe);
        if failures < CIRCUIT || old_news {
            return None;
        }
        let streak = standing.map_or(0, |gate| gate.streak);
        let spread = Millis::from(self.penalty.spread) % JITTER;
        let probe = now.saturating_add(doubling(STORM, streak)).saturating_add(spread);
        let times = Times::half_open(probe, probe.saturating_add(UNPROBED));
        Some(self.close(Scope::Upstream { model: self.model.to_owned() }, times))
    }
}

fn window_of(verdict: Verdict) -> Window {
    match verdict {
        Verdict::QuotaMinute => Window::Minute,
        Verdict::QuotaTokens => Window::Tokens,
        Verdict::QuotaDay => Window::Day,
        Verdict::QuotaSpend => Window::Spend,
        Verdict::NotOffered | Verdict::ModelDenied => Window::Offer,
        _ => Window::Unknown,
    }
}

fn doubling((first, longest): (Millis, Millis), times: u32) -> Millis {
    first.saturating_mul(1 << times.min(16)).min(longest)
}

fn growth(times: u32) -> Millis {
    GROWTH.saturating_pow(times.min(8))
}
