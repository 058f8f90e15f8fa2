//! Owns a project's standing and its quotas: limits per model, what is used of them in the running minute and
//! Pacific day, and the 429 that says so. Refuses to know keys: Google's quotas belong to projects. Invariant:
//! a call is either charged to its windows or refused, never both.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::ops::Range;

use serde_json::{Value, json};

use super::clock::MINUTE;
use super::fault::{mix, spread};
use super::refusal::{Refusal, bare_exhausted};

/// A Google Cloud project: what quotas and most refusals belong to.
#[derive(Debug, Clone)]
pub struct Project {
    /// Its number, as errors name it (`projects/N`).
    pub number: u64,
    /// Its standing with Google.
    pub state: ProjectState,
    /// Limits by model, without `models/`.
    pub limits: BTreeMap<String, Limits>,
    /// Limits of every model not named in `limits`; each model still counts for itself.
    pub default_limits: Limits,
    /// Which names the quotas have.
    pub tier: Tier,
    /// How a 429 is written.
    pub quota_style: QuotaStyle,
    /// What a per-day 429 says about when to come back: disputed, so a test can have it each way.
    pub day_delay: DayDelay,
    /// When a used-up day is really over: as disputed.
    pub day_turn: DayTurn,
    /// Models this project gets "The caller does not have permission" for.
    pub forbidden_models: BTreeSet<String>,
    used: BTreeMap<String, Used>,
}

/// A project's standing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ProjectState {
    /// Served.
    #[default]
    Good,
    /// 403 "Your project has been denied access."
    Denied,
    /// 403 SERVICE_DISABLED.
    ServiceDisabled,
    /// 403 BILLING_DISABLED.
    BillingDisabled,
    /// "Your prepayment credits are depleted." with this status: 402 or 429.
    CreditsGone(u16),
}

/// Which set of quota names a project has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tier {
    /// Names end in `-FreeTier`.
    #[default]
    Free,
    /// The names of paid projects.
    Paid,
}

/// How a 429 is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum QuotaStyle {
    /// QuotaFailure, Help, RetryInfo, and the limits in the message.
    #[default]
    Detailed,
    /// The message alone: "Resource has been exhausted (e.g. check quota)."
    Bare,
    /// Help, but no QuotaFailure and no RetryInfo.
    HelpOnly,
    /// The older shape: ErrorInfo RATE_LIMIT_EXCEEDED with the quota in its metadata.
    ErrorInfo,
}

impl QuotaStyle {
    /// Whether there is a RetryInfo.
    pub(super) fn tells_delay(self) -> bool {
        self == Self::Detailed
    }

    /// Whether the limit's value is told.
    pub fn tells_limit(self) -> bool {
        matches!(self, Self::Detailed | Self::ErrorInfo)
    }
}

/// The `retryDelay` of a per-day 429.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DayDelay {
    /// 8 to 36 seconds, as recorded, although the day is far from over.
    #[default]
    Short,
    /// Until the day turns.
    Truthful,
    /// No RetryInfo.
    Absent,
}

/// When requests of a used-up day are served again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DayTurn {
    /// At midnight Pacific, as documented; a short delay in the 429 is then not to be believed.
    #[default]
    Midnight,
    /// 8 to 36 seconds after the last request that fitted: the count begins anew, and a short delay is true.
    Delay,
}

/// What a project may do with one model. `None` is unlimited; 0 is a model its tier does not offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Requests in a minute.
    pub requests_per_minute: Option<u64>,
    /// Input tokens in a minute.
    pub tokens_per_minute: Option<u64>,
    /// Requests in a Pacific day.
    pub requests_per_day: Option<u64>,
}

impl Limits {
    /// No limits.
    pub fn none() -> Self {
        Self::default()
    }

    /// A model the tier does not offer: 429 with `limit: 0`, whatever the delay says.
    pub fn zero() -> Self {
        Self { requests_per_minute: Some(0), tokens_per_minute: Some(0), requests_per_day: Some(0) }
    }

    /// Requests in a minute.
    pub fn per_minute(self, requests: u64) -> Self {
        Self { requests_per_minute: Some(requests), ..self }
    }

    /// Input tokens in a minute.
    pub fn tokens(self, per_minute: u64) -> Self {
        Self { tokens_per_minute: Some(per_minute), ..self }
    }

    /// Requests in a Pacific day.
    pub fn per_day(self, requests: u64) -> Self {
        Self { requests_per_day: Some(requests), ..self }
    }

    /// The windows that a call does not fit into, each with its limit.
    fn full(&self, used: &Used, tokens: u64) -> Vec<(Window, u64)> {
        let over = |limit: Option<u64>, used: u64, more: u64| {
            limit.filter(|limit| used.saturating_add(more) > *limit)
        };
        let full = [
            (Window::Day, over(self.requests_per_day, used.day_requests, 1)),
            (Window::Minute, over(self.requests_per_minute, used.minute_requests, 1)),
            (Window::Tokens, over(self.tokens_per_minute, used.minute_tokens, tokens)),
        ];
        full.into_iter().filter_map(|(window, limit)| Some((window, limit?))).collect()
    }

    fn is_zero(&self) -> bool {
        self.requests_per_minute == Some(0) || self.requests_per_day == Some(0)
    }
}

/// What is used of one model's limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Used {
    /// Requests in the running minute.
    pub minute_requests: u64,
    /// Input tokens in the running minute.
    pub minute_tokens: u64,
    /// Requests in the running Pacific day.
    pub day_requests: u64,
    minute: i64,
    /// Start of the day counted; `None` until there is a clock, so that a day can be used up beforehand.
    day: Option<i64>,
    /// When a used-up day begins anew, under [`DayTurn::Delay`].
    back: Option<i64>,
}

impl Used {
    fn turn(&mut self, now: i64, day: &Range<i64>) {
        let minute = now.div_euclid(MINUTE);
        if self.minute != minute {
            (self.minute, self.minute_requests, self.minute_tokens) = (minute, 0, 0);
        }
        if *self.day.get_or_insert(day.start) != day.start {
            (self.day, self.day_requests, self.back) = (Some(day.start), 0, None);
        }
        if self.back.take_if(|back| now >= *back).is_some() {
            self.day_requests = 0;
        }
    }
}

impl Project {
    pub(super) fn new(name: &str) -> Self {
        Self {
            number: 100_000_000_000 + spread(name) % 900_000_000_000,
            state: ProjectState::Good,
            limits: BTreeMap::new(),
            default_limits: Limits::none(),
            tier: Tier::Free,
            quota_style: QuotaStyle::Detailed,
            day_delay: DayDelay::Short,
            day_turn: DayTurn::Midnight,
            forbidden_models: BTreeSet::new(),
            used: BTreeMap::new(),
        }
    }

    /// Limits one model.
    pub fn limit(&mut self, model: &str, limits: Limits) {
        self.limits.insert(model.to_owned(), limits);
    }

    /// Limits one model to `per_day` requests, all of them already made today.
    pub fn out_for_today(&mut self, model: &str, per_day: u64) {
        let limits = self.limits_of(model).per_day(per_day);
        self.used.entry(model.to_owned()).or_default().day_requests = per_day;
        self.limit(model, limits);
    }

    fn limits_of(&self, model: &str) -> Limits {
        self.limits.get(model).copied().unwrap_or(self.default_limits)
    }

    /// Ties what was used up beforehand to the day that runs now.
    pub(super) fn settle(&mut self, now: i64, day: &Range<i64>) {
        self.used.values_mut().for_each(|used| used.turn(now, day));
    }

    /// What is used of a model's limits at `now`.
    pub(super) fn used(&self, model: &str, now: i64, day: &Range<i64>) -> Used {
        let mut used = self.used.get(model).copied().unwrap_or_default();
        used.turn(now, day);
        used
    }

    /// Charges a call with `tokens` input tokens, or says which quota is full.
    pub(super) fn charge(
        &mut self,
        model: &str,
        tokens: u64,
        now: i64,
        day: &Range<i64>,
        n: u64,
    ) -> Result<(), Refusal> {
        match self.take(model, tokens, now, day, n) {
            Ok(()) => Ok(()),
            Err(full) => Err(self.exhausted(model, &full)),
        }
    }

    /// Charges a call, or says what is full, without writing it down.
    pub(super) fn take(
        &mut self,
        model: &str,
        tokens: u64,
        now: i64,
        day: &Range<i64>,
        n: u64,
    ) -> Result<(), Exhausted> {
        let limits = self.limits_of(model);
        let mut used = self.used(model, now, day);
        let full = limits.full(&used, tokens);
        if full.is_empty() {
            used.minute_requests += 1;
            used.minute_tokens += tokens;
            used.day_requests += 1;
        }
        let short = 8_000 + i64::try_from(mix(n) % 28_000).unwrap_or_default();
        let day_is_full = limits.requests_per_day.is_some_and(|limit| used.day_requests >= limit);
        if self.day_turn == DayTurn::Delay && day_is_full && used.back.is_none() {
            used.back = Some(now + short);
        }
        // Also after a refusal: a day used up beforehand is the day of the first call.
        match self.used.get_mut(model) {
            Some(known) => *known = used,
            None => drop(self.used.insert(model.to_owned(), used)),
        }
        if full.is_empty() {
            return Ok(());
        }
        let zero = limits.is_zero();
        let daily = full.iter().any(|(window, _)| *window == Window::Day);
        let why = match full.first() {
            _ if zero => "limit 0",
            Some((Window::Day, _)) => "per day",
            Some((Window::Minute, _)) => "per minute",
            _ => "tokens per minute",
        };
        let delay = match self.day_delay {
            _ if zero => Some(short),
            _ if !daily => Some(MINUTE - now.rem_euclid(MINUTE)),
            DayDelay::Absent => None,
            DayDelay::Truthful => Some(used.back.unwrap_or(day.end) - now),
            DayDelay::Short => Some(used.back.map_or(short, |back| back - now)),
        };
        Err(Exhausted { full, zero, why, delay })
    }

    /// When a call with `tokens` input tokens would next be charged, nothing else happening: `now`, where it
    /// fits already; `None`, where it never does.
    pub(super) fn fits_at(&self, model: &str, tokens: u64, now: i64, day: &Range<i64>) -> Option<i64> {
        let limits = self.limits_of(model);
        let used = self.used(model, now, day);
        let never = limits.is_zero() || limits.tokens_per_minute.is_some_and(|limit| tokens > limit);
        let turns = limits.full(&used, tokens).into_iter().map(|(window, _)| match window {
            Window::Day => used.back.unwrap_or(day.end),
            Window::Minute | Window::Tokens => now - now.rem_euclid(MINUTE) + MINUTE,
        });
        let fits = turns.max().unwrap_or(now);
        (!never).then_some(fits)
    }

    /// Writes down what is full, in the project's style.
    pub(super) fn exhausted(&self, model: &str, exhausted: &Exhausted) -> Refusal {
        let Exhausted { full, zero, why, delay } = exhausted;
        match self.quota_style {
            QuotaStyle::Bare => bare_exhausted(why),
            QuotaStyle::HelpOnly => bare_exhausted(why).with([help()]),
            QuotaStyle::ErrorInfo => bare_exhausted(why).with([self.rate_limit_info(full), help()]),
            QuotaStyle::Detailed => self.detailed(model, full, *zero, why, *delay),
        }
    }

    fn detailed(
        &self,
        model: &str,
        full: &[(Window, u64)],
        zero: bool,
        why: &'static str,
        delay: Option<i64>,
    ) -> Refusal {
        let mut message = String::from(
            "You exceeded your current quota, please check your plan and billing details. For more information \
             on this error, head to: https://ai.google.dev/gemini-api/docs/rate-limits. To monitor your current \
             usage, head to: https://ai.dev/rate-limit. ",
        );
        for (window, limit) in full {
            let metric = window.metric(self.tier);
            message.push_str(&format!(
                "\n* Quota exceeded for metric: generativelanguage.googleapis.com/{metric}, limit: {limit}, model: {model}"
            ));
        }
        let violations: Vec<Value> = full
            .iter()
            .map(|(window, limit)| {
                let mut violation = json!({
                    "quotaMetric": format!("generativelanguage.googleapis.com/{}", window.metric(self.tier)),
                    "quotaId": window.id(self.tier),
                    "quotaDimensions": {"location": "global", "model": model},
                });
                // A tier without the model gets no value at all.
                if let (false, Some(fields)) = (zero, violation.as_object_mut()) {
                    fields.insert("quotaValue".to_owned(), json!(limit.to_string()));
                }
                violation
            })
            .collect();
        let failure =
            json!({"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": violations});
        let mut details = if zero { vec![help(), failure] } else { vec![failure, help()] };
        if let Some(delay) = delay {
            let (seconds, millis) = (delay / 1_000, delay % 1_000);
            message.push_str(&match seconds {
                0 => format!("\nPlease retry in {millis}.356559ms."),
                _ => format!("\nPlease retry in {seconds}.{millis:03}924287s."),
            });
            details.push(json!({
                "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": format!("{seconds}s"),
            }));
        }
        Refusal::new(429, why, message).with(details)
    }

    fn rate_limit_info(&self, full: &[(Window, u64)]) -> Value {
        let (window, limit) = full.first().copied().unwrap_or((Window::Minute, 0));
        json!({
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "RATE_LIMIT_EXCEEDED",
            "domain": "googleapis.com",
            "metadata": {
                "service": "generativelanguage.googleapis.com",
                "consumer": format!("projects/{}", self.number),
                "quota_limit": window.id(self.tier),
                "quota_limit_value": limit.to_string(),
                "quota_location": "global",
                "quota_metric": format!("generativelanguage.googleapis.com/{}", window.metric(self.tier)),
            },
        })
    }
}

/// Why a call did not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Exhausted {
    full: Vec<(Window, u64)>,
    zero: bool,
    /// For [`super::Outcome::Refused`].
    pub(super) why: &'static str,
    /// What RetryInfo says, in milliseconds, where the style has one.
    pub(super) delay: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Window {
    Day,
    Minute,
    Tokens,
}

impl Window {
    fn metric(self, tier: Tier) -> &'static str {
        match (self, tier) {
            (Self::Day | Self::Minute, Tier::Free) => "generate_content_free_tier_requests",
            (Self::Tokens, Tier::Free) => "generate_content_free_tier_input_token_count",
            (Self::Day, Tier::Paid) => "generate_requests_per_model_per_day",
            (Self::Minute, Tier::Paid) => "generate_requests_per_model",
            (Self::Tokens, Tier::Paid) => "generate_content_paid_tier_input_token_count",
        }
    }

    fn id(self, tier: Tier) -> &'static str {
        match (self, tier) {
            (Self::Day, Tier::Free) => "GenerateRequestsPerDayPerProjectPerModel-FreeTier",
            (Self::Minute, Tier::Free) => "GenerateRequestsPerMinutePerProjectPerModel-FreeTier",
            (Self::Tokens, Tier::Free) => "GenerateContentInputTokensPerModelPerMinute-FreeTier",
            (Self::Day, Tier::Paid) => "GenerateRequestsPerDayPerProjectPerModel",
            (Self::Minute, Tier::Paid) => "GenerateRequestsPerMinutePerProjectPerModel",
            (Self::Tokens, Tier::Paid) => "GenerateContentPaidTierInputTokensPerModelPerMinute",
        }
    }
}

fn help() -> Value {
    json!({
        "@type": "type.googleapis.com/google.rpc.Help",
        "links": [{
            "description": "Learn more about Gemini API quotas",
            "url": "https://ai.google.dev/gemini-api/docs/rate-limits",
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::super::ask::Shape;
    use super::*;

    const DAY: Range<i64> = 0..86_400_000;

    fn body(refusal: &Refusal) -> Value {
        serde_json::from_slice(&refusal.body(Shape::Plain)).unwrap()
    }

    #[test]
    fn a_minute_fills_and_turns() {
        let mut project = Project::new("p");
        project.limit("m", Limits::none().per_minute(2).tokens(100));
        assert!(project.charge("m", 10, 0, &DAY, 0).is_ok());
        assert!(project.charge("m", 91, 0, &DAY, 1).is_err_and(|refusal| refusal.why == "tokens per minute"));
        assert!(project.charge("m", 90, 0, &DAY, 2).is_ok());
        let refusal = project.charge("m", 1, 59_000, &DAY, 3).unwrap_err();
        assert_eq!(refusal.why, "per minute");
        let body = body(&refusal);
        let violation = &body["error"]["details"][0]["violations"][0];
        assert_eq!(violation["quotaId"], "GenerateRequestsPerMinutePerProjectPerModel-FreeTier");
        assert_eq!(violation["quotaValue"], "2");
        assert_eq!(body["error"]["details"][2]["retryDelay"], "1s");
        assert!(project.charge("m", 1, 60_000, &DAY, 4).is_ok());
        assert!(project.charge("other", 500, 0, &DAY, 5).is_ok());
    }

    #[test]
    fn a_day_fills_turns_and_can_be_used_up_beforehand() {
        let mut project = Project::new("p");
        project.out_for_today("m", 250);
        let refusal = project.charge("m", 1, 1_000, &DAY, 0).unwrap_err();
        assert_eq!(refusal.why, "per day");
        let delay = body(&refusal)["error"]["details"][2]["retryDelay"].as_str().unwrap().to_owned();
        assert!((8..36).contains(&delay.trim_end_matches('s').parse::<u64>().unwrap()), "{delay}");
        project.day_delay = DayDelay::Truthful;
        let refusal = project.charge("m", 1, 1_000, &DAY, 0).unwrap_err();
        assert_eq!(body(&refusal)["error"]["details"][2]["retryDelay"], "86399s");
        project.day_delay = DayDelay::Absent;
        let refusal = project.charge("m", 1, 1_000, &DAY, 0).unwrap_err();
        assert_eq!(body(&refusal)["error"]["details"].as_array().unwrap().len(), 2);
        assert!(project.charge("m", 1, DAY.end, &(DAY.end..DAY.end * 2), 1).is_ok());
    }

    #[test]
    fn a_used_up_day_may_be_back_after_the_delay_it_reports() {
        let mut project = Project::new("p");
        project.day_turn = DayTurn::Delay;
        project.limit("m", Limits::none().per_day(2));
        assert!(project.charge("m", 1, 1_000, &DAY, 0).is_ok());
        assert_eq!(project.fits_at("m", 1, 1_000, &DAY), Some(1_000));
        assert!(project.charge("m", 1, 1_000, &DAY, 1).is_ok());
        let back = project.fits_at("m", 1, 1_000, &DAY).unwrap();
        assert!((9_000..37_000).contains(&back), "{back}");
        let full = project.take("m", 1, 5_000, &DAY, 2).unwrap_err();
        assert_eq!((full.why, full.delay), ("per day", Some(back - 5_000)));
        assert!(project.charge("m", 1, back - 1, &DAY, 3).is_err());
        assert!(project.charge("m", 1, back, &DAY, 4).is_ok());
        project.day_turn = DayTurn::Midnight;
        project.out_for_today("n", 9);
        assert_eq!(project.fits_at("n", 1, 5_000, &DAY), Some(DAY.end));
    }

    #[test]
    fn limit_zero_names_three_quotas_without_values() {
        let mut project = Project::new("p");
        project.limit("m", Limits::zero());
        let refusal = project.charge("m", 1, 0, &DAY, 0).unwrap_err();
        let body = body(&refusal);
        assert_eq!(refusal.why, "limit 0");
        let violations = body["error"]["details"][1]["violations"].as_array().unwrap();
        assert_eq!(violations.len(), 3);
        assert!(violations.iter().all(|violation| violation.get("quotaValue").is_none()));
        assert!(body["error"]["message"].as_str().unwrap().contains("limit: 0, model: m"));
    }

    #[test]
    fn styles_say_less() {
        let mut project = Project::new("p");
        project.limit("m", Limits::none().per_minute(0));
        for (style, details) in [(QuotaStyle::Bare, 0), (QuotaStyle::HelpOnly, 1), (QuotaStyle::ErrorInfo, 2)]
        {
            project.quota_style = style;
            let body = body(&project.charge("m", 1, 0, &DAY, 0).unwrap_err());
            let found = body["error"]["details"].as_array().map_or(0, Vec::len);
            assert_eq!(found, details, "{style:?}");
        }
    }
}
