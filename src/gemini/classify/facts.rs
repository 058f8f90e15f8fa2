//! What an error body says, in whichever of its shapes.
//!
//! Owns the reading of `google.rpc.Status` as JSON, of its wrapping in an array, of the
//! string codes of the interactions API, and of bodies that are cut. Refuses to judge.
//! One invariant: reading never fails; what is not there is empty.

use projections::event::{Violation, Window};
use serde_json::Value;

use crate::gemini::text::cut;

/// Longest text that is kept of any one thing, in bytes.
const LONGEST: usize = 200;
/// Longest reason, in bytes.
const LONGEST_REASON: usize = 120;
/// Most violations that are kept.
const MOST: usize = 16;
/// No delay is believed beyond a day, in milliseconds.
const LONGEST_DELAY: i64 = 24 * 60 * 60 * 1_000;

/// What an error body says; empty where it says nothing.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// The `code`, where it is a word (interactions).
    pub(super) code: String,
    number: Option<u16>,
    status: String,
    message: String,
    /// The message in lower case, without leading space.
    lower: String,
    /// `ErrorInfo.reason`.
    pub(super) reason: String,
    /// `projects/N` from `ErrorInfo.metadata`.
    pub(super) consumer: Option<String>,
    /// The same from the message or a link.
    pub(super) consumer_in_text: Option<String>,
    /// `QuotaFailure.violations`, or what stands in for them.
    pub(super) violations: Vec<Violation>,
    /// A limit is zero: the model is not offered.
    pub(super) none_offered: bool,
    /// The longest delay named, in milliseconds.
    pub(super) retry_ms: Option<i64>,
}

impl Facts {
    /// Reads a body.
    pub(super) fn read(body: &[u8]) -> Self {
        let mut facts = Self::default();
        match parse(body).as_ref().and_then(error_in) {
            Some(Value::String(message)) => facts.hear(message),
            Some(error) => facts.take_in(error),
            None => {}
        }
        facts
    }

    fn take_in(&mut self, error: &Value) {
        self.hear(text(error, "message"));
        self.status = cut(text(error, "status"), LONGEST);
        match error.get("code") {
            Some(Value::String(word)) => match word.parse() {
                Ok(number) => self.number = Some(number),
                Err(_) => self.code = cut(word, LONGEST),
            },
            Some(code) => self.number = code.as_u64().and_then(|number| number.try_into().ok()),
            None => {}
        }
        for detail in error.get("details").and_then(Value::as_array).into_iter().flatten() {
            // The type is a URL whose host does not matter.
            match text(detail, "@type").rsplit('/').next().unwrap_or_default() {
                "google.rpc.ErrorInfo" => self.take_error_info(detail),
                "google.rpc.QuotaFailure" => self.take_quota_failure(detail),
                "google.rpc.RetryInfo" => self.wait(detail.get("retryDelay").and_then(delay)),
                "google.rpc.Help" => self.take_help(detail),
                _ => {}
            }
        }
        self.settle_violations();
    }

    fn hear(&mut self, message: &str) {
        self.message = message.trim_start().to_owned();
        self.lower = self.message.to_ascii_lowercase();
        if let Some((_, after)) = self.lower.split_once("retry in ") {
            self.wait(duration(after.split_ascii_whitespace().next().unwrap_or_default()));
        }
        self.consumer_in_text = number_after(&self.lower, "in project ").map(|n| format!("projects/{n}"));
    }

    fn wait(&mut self, ms: Option<i64>) {
        // Of two values the longer: RetryInfo comes in whole seconds, rounded down.
        self.retry_ms = self.retry_ms.max(ms.map(|ms| ms.min(LONGEST_DELAY)));
    }

    fn take_error_info(&mut self, detail: &Value) {
        let metadata = detail.get("metadata").unwrap_or(&Value::Null);
        if self.reason.is_empty() {
            self.reason = cut(text(detail, "reason"), LONGEST_REASON);
        }
        let consumer = text(metadata, "consumer");
        if self.consumer.is_none() && is_project(consumer) {
            self.consumer = Some(consumer.to_owned());
        }
        // The older way of naming a limit.
        let (id, metric) = (text(metadata, "quota_limit"), text(metadata, "quota_metric"));
        if !(id.is_empty() && metric.is_empty()) {
            self.violate(Violation {
                metric: cut(metric, LONGEST),
                id: cut(id, LONGEST),
                model: None,
                limit: metadata.get("quota_limit_value").and_then(number),
                window: None,
            });
        }
    }

    fn take_quota_failure(&mut self, detail: &Value) {
        for violation in detail.get("violations").and_then(Value::as_array).into_iter().flatten() {
            let model = violation.get("quotaDimensions").map(|it| text(it, "model")).unwrap_or_default();
            self.violate(Violation {
                metric: cut(text(violation, "quotaMetric"), LONGEST),
                id: cut(text(violation, "quotaId"), LONGEST),
                model: (!model.is_empty()).then(|| cut(model, LONGEST)),
                limit: violation.get("quotaValue").and_then(number),
                window: None,
            });
        }
    }

    fn take_help(&mut self, detail: &Value) {
        for link in detail.get("links").and_then(Value::as_array).into_iter().flatten() {
            let found = number_after(text(link, "url"), "project=").map(|n| format!("projects/{n}"));
            self.consumer_in_text = self.consumer_in_text.take().or(found);
        }
    }

    fn violate(&mut self, violation: Violation) {
        if self.violations.len() < MOST {
            self.violations.push(violation);
        }
    }

    /// Newer messages repeat the limits in lines of text, with values that the details
    /// often leave out.
    fn settle_violations(&mut self) {
        let told: Vec<Violation> = self.message.lines().filter_map(violation_in).take(MOST).collect();
        self.none_offered = self.violations.iter().chain(&told).any(|violation| violation.limit == Some(0));
        if self.violations.is_empty() {
            self.violations = told;
        } else if self.violations.len() == told.len() {
            for (known, told) in self.violations.iter_mut().zip(told) {
                if known.limit.is_none() && known.metric == told.metric {
                    known.limit = told.limit;
                }
            }
        }
        self.violations.iter_mut().for_each(|violation| violation.window = window_of(violation));
    }

    /// Google's word for the error, in one line of at most 120 bytes.
    pub(super) fn word(&self) -> Option<String> {
        [&self.reason, &self.status, &self.code, &self.message]
            .into_iter()
            .find(|word| !word.is_empty())
            .map(|word| cut(word.lines().next().unwrap_or_default(), LONGEST_REASON))
            .map(|word| word.replace(|c: char| c.is_control(), " "))
    }

    /// The message begins with one of these (in lower case).
    pub(super) fn begins_with_one_of(&self, beginnings: &[&str]) -> bool {
        beginnings.iter().any(|beginning| self.lower.starts_with(beginning))
    }

    /// The message contains this (in lower case). To be asked only where it is known to
    /// quote no client, or where a wrong answer does no harm.
    pub(super) fn says(&self, words: &str) -> bool {
        self.lower.contains(words)
    }

    /// The error is about a file or a cache that this project does not have.
    pub(super) fn is_about_a_resource(&self) -> bool {
        self.begins_with_one_of(&[
            "you do not have permission to access the file",
            "cachedcontent not found",
            "cached content not found",
            "file not found",
        ]) || (self.lower.starts_with("file ") && self.says("not found"))
    }

    /// The HTTP status that the error names itself.
    pub(super) fn http_status(&self) -> Option<u16> {
        if let Some(number) = self.number.filter(|number| (400..600).contains(number)) {
            return Some(number);
        }
        let word = if self.status.is_empty() { &self.code } else { &self.status };
        // google.rpc.Code, and the codes of the interactions API.
        Some(match word.to_ascii_lowercase().as_str() {
            "invalid_argument" | "failed_precondition" | "out_of_range" => 400,
            "invalid_request" | "parameter_unknown" => 400,
            "unauthenticated" | "authentication" => 401,
            "payment_required" => 402,
            "permission_denied" => 403,
            "not_found" | "model_not_found" => 404,
            "already_exists" | "aborted" => 409,
            "resource_exhausted" | "rate_limit_exceeded" | "quota_exceeded" => 429,
            "cancelled" => 499,
            "internal" | "unknown" | "data_loss" => 500,
            "unimplemented" => 501,
            "unavailable" => 503,
            "deadline_exceeded" => 504,
            _ => return None,
        })
    }
}

/// The JSON value at the start of a body, mended where it is cut.
fn parse(body: &[u8]) -> Option<Value> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    // As a stream of values, so that what follows the first does no harm.
    let first = |bytes: &[u8]| {
        serde_json::Deserializer::from_slice(bytes).into_iter::<Value>().next().and_then(Result::ok)
    };
    first(body).or_else(|| mend(body).iter().find_map(|mended| first(mended)))
}

/// Two guesses at what a cut document was: its open string closed where it ends, or
/// everything after its last whole value dropped; then its brackets closed.
fn mend(body: &[u8]) -> [Vec<u8>; 2] {
    let (mut open, mut in_string, mut escaped) = (Vec::new(), false, false);
    // Where the last whole value ended, and how many brackets were open there. Those
    // are still the first in `open`: closing one of them would have moved the place.
    let (mut good, mut good_open) = (0, 0);
    // Where the last escape began.
    let mut escape = 0;
    for (at, &byte) in body.iter().enumerate() {
        match (in_string, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => (escaped, escape) = (true, at),
            (true, b'"') => in_string = false,
            (true, _) => {}
            (false, b'"') => in_string = true,
            (false, b'{') => open.push(b'}'),
            (false, b'[') => open.push(b']'),
            (false, b'}' | b']') => {
                open.pop();
                (good, good_open) = (at + 1, open.len());
            }
            (false, b',') => (good, good_open) = (at, open.len()),
            (false, _) => {}
        }
    }
    let close = |kept: usize, quote: &[u8], brackets: usize| {
        let mut mended =
            String::from_utf8_lossy(body.get(..kept).unwrap_or_default()).into_owned().into_bytes();
        mended.extend_from_slice(quote);
        mended.extend(open.iter().take(brackets).rev());
        mended
    };
    // An escape has at most six bytes: `\u0000`. One that the cut went through is dropped.
    let torn = escaped || (escape + 6 > body.len() && body.get(escape + 1) == Some(&b'u'));
    let end = if in_string && torn { escape } else { body.len() };
    let quote: &[u8] = if in_string { b"\"" } else { b"" };
    [close(end, quote, open.len()), close(good, b"", good_open)]
}

/// The error object: bare, or in an array among answers.
fn error_in(document: &Value) -> Option<&Value> {
    match document {
        Value::Array(items) => items.iter().rev().find_map(|item| item.get("error")),
        other => other.get("error"),
    }
}

/// Which window a limit is about, by Google's names for it (gemini-wire §3.2).
fn window_of(violation: &Violation) -> Option<Window> {
    let (id, metric) = (violation.id.to_ascii_lowercase(), violation.metric.to_ascii_lowercase());
    let named = |words: &[&str]| words.iter().any(|word| id.contains(word) || metric.contains(word));
    if named(&["perday", "per_day"]) {
        Some(Window::Day)
    } else if named(&["spend"]) {
        Some(Window::Spend)
    } else if named(&["perminute", "per_minute", "persecond", "per_second"]) {
        Some(if named(&["token"]) { Window::Tokens } else { Window::Minute })
    } else {
        None
    }
}

fn text<'a>(object: &'a Value, name: &str) -> &'a str {
    object.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.trim().parse().ok())
}

/// A line such as `* Quota exceeded for metric: M, limit: 20, model: X`.
fn violation_in(line: &str) -> Option<Violation> {
    let (_, told) = line.split_once("Quota exceeded for metric: ")?;
    let mut violation = Violation::default();
    for (at, part) in told.split(", ").enumerate() {
        match part.split_once(": ") {
            None if at == 0 => violation.metric = cut(part, LONGEST),
            Some(("limit", limit)) => violation.limit = limit.trim_end_matches('.').trim().parse().ok(),
            Some(("model", model)) => violation.model = Some(cut(model.trim(), LONGEST)),
            _ => {}
        }
    }
    Some(violation)
}

/// A project as Google names consumers, by number or id.
fn is_project(consumer: &str) -> bool {
    consumer.strip_prefix("projects/").is_some_and(|id| {
        (1..=64).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.:_".contains(&byte))
    })
}

fn number_after(text: &str, before: &str) -> Option<String> {
    let (_, after) = text.split_once(before)?;
    let digits: String = after.chars().take_while(char::is_ascii_digit).take(20).collect();
    (!digits.is_empty()).then_some(digits)
}

/// `google.protobuf.Duration` as JSON: `"36.42s"`.
fn delay(value: &Value) -> Option<i64> {
    duration(value.as_str()?)
}

/// Milliseconds, rounded up, of `36s`, `36.42s`, `856.559356ms` or `1h2m3s`.
fn duration(text: &str) -> Option<i64> {
    let mut rest = text.trim().trim_end_matches('.');
    if rest.is_empty() {
        return None;
    }
    let mut ms = 0.0;
    while !rest.is_empty() {
        let (amount, after) = rest.split_at(rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?);
        let (unit, after) = after.split_at(after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len()));
        let amount: f64 = amount.parse().ok()?;
        ms += amount
            * match unit {
                "h" => 3_600_000.0,
                "m" => 60_000.0,
                "s" => 1_000.0,
                "ms" => 1.0,
                "us" | "µs" => 1e-3,
                "ns" => 1e-6,
                _ => return None,
            };
        rest = after;
    }
    // The cast saturates, and the caller caps.
    Some(ms.ceil() as i64)
}
