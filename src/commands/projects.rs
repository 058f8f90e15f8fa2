//! `gemini-pool projects`: what each project has left, and which may be one, for people.

use http::Method;
use serde_json::Value;

use super::{Error, Target, number, say, text};
use crate::config::Config;

/// Carries out `gemini-pool projects`.
///
/// # Errors
/// [`Error`].
pub async fn projects(json: bool, config: &Config) -> Result<(), Error> {
    let target = Target::open(config).await?;
    let answer = target.call(Method::GET, "/projects", None).await;
    target.close().await;
    let answer = answer?;
    say(&if json { format!("{answer:#}") } else { told(&answer) })
}

fn items<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn key_numbers(value: &Value) -> Vec<String> {
    items(value, "keys").iter().map(Value::to_string).collect()
}

fn told(answer: &Value) -> String {
    let mut lines = Vec::new();
    for project in items(answer, "projects") {
        let keys = key_numbers(project);
        let mut head = format!("{}: key{} {}", text(project, "name"), plural(keys.len()), keys.join(", "));
        if project.get("declared") != Some(&Value::Bool(true)) {
            head.push_str(" (nobody said which project it is");
            let consumer = text(project, "consumer");
            if !consumer.is_empty() {
                head.push_str(&format!("; Google calls it {consumer}"));
            }
            head.push(')');
        }
        lines.push(head);
        lines.extend(items(project, "quotas").iter().map(|quota| format!("  {}", headroom(quota))));
        lines.extend(items(project, "gates").iter().map(|gate| format!("  {}", closed(gate))));
    }
    if lines.is_empty() {
        lines.push(
            "No projects yet: they come with keys. Add some: gemini-pool keys add < keys.txt".to_owned(),
        );
    }
    for model in items(answer, "models") {
        lines.push(format!(
            "{} is in trouble at Google: {} failures in a row, the last kind {}{}",
            text(model, "model"),
            number(model, "failures"),
            text(model, "cause"),
            when(model),
        ));
    }
    for suggestion in items(answer, "suggestions") {
        let keys = key_numbers(suggestion);
        lines.push(format!("Keys {} seem to belong to one project:", keys.join(", ")));
        lines.push(format!("  {}.", text(suggestion, "why")));
        lines.push(format!("  If they do, say so: gemini-pool keys set {} --project NAME", keys.join(" ")));
    }
    lines.join("\n")
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// `37 of 250 left today for gemini-2.5-flash, turns at 08:00 UTC`.
fn headroom(quota: &Value) -> String {
    // Of a day the minute is enough, of a minute it is not.
    let (what, window, digits) = match text(quota, "window") {
        "day" => ("", "today", 11..16),
        "tokens" => (" tokens", "this minute", 11..19),
        _ => ("", "this minute", 11..19),
    };
    let turns = text(quota, "turns_at").get(digits);
    format!(
        "{} of {}{what} left {window} for {}{}",
        number(quota, "left"),
        number(quota, "limit"),
        text(quota, "model"),
        turns.map(|turns| format!(", turns at {turns} UTC")).unwrap_or_default(),
    )
}

fn closed(gate: &Value) -> String {
    let model = text(gate, "model");
    let what = if model.is_empty() { "everything" } else { model };
    format!("closed for {what}: {}{} (event {})", text(gate, "cause"), when(gate), number(gate, "seq"))
}

fn when(gate: &Value) -> String {
    let (until, probe) = (text(gate, "until"), text(gate, "probe"));
    let until = if until.is_empty() { ", not open by itself".to_owned() } else { format!(", until {until}") };
    if probe.is_empty() { until } else { format!("{until}, single tries from {probe} on") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn people_read_what_is_left_what_is_closed_and_what_to_say() {
        let quota = |window, left, limit, turns| {
            json!({"model": "gemini-2.5-flash", "window": window, "limit": limit, "used": 1, "left": left,
                "turns_at": turns})
        };
        let until = "2026-11-24T08:00:00.000Z";
        let answer = json!({
            "projects": [
                {"name": "alpha", "keys": [1, 2], "declared": true, "consumer": null, "gates": [
                    {"model": "gemini-2.5-pro", "window": "day", "cause": "quota_day", "until": until,
                        "probe": "2026-11-24T01:00:00.000Z", "seq": 7},
                    {"model": null, "window": null, "cause": "billing_stopped", "until": null, "probe": null, "seq": 9},
                ], "quotas": [
                    quota("day", 37, 250, json!(until)),
                    quota("minute", 0, 10, json!("2026-11-24T01:17:30.500Z")),
                    quota("tokens", 5, 250_000, Value::Null),
                ]},
                {"name": "key-3", "keys": [3], "declared": false, "consumer": "projects/77", "gates": [], "quotas": []},
            ],
            "models": [{"model": "gemini-2.5-pro", "cause": "overloaded", "failures": 8, "until": until, "probe": null}],
            "suggestions": [{"keys": [3, 4], "why": "they ran dry together"}],
        });
        let wanted = "\
alpha: keys 1, 2
  37 of 250 left today for gemini-2.5-flash, turns at 08:00 UTC
  0 of 10 left this minute for gemini-2.5-flash, turns at 01:17:30 UTC
  5 of 250000 tokens left this minute for gemini-2.5-flash
  closed for gemini-2.5-pro: quota_day, until 2026-11-24T08:00:00.000Z, single tries from 2026-11-24T01:00:00.000Z on \
(event 7)
  closed for everything: billing_stopped, not open by itself (event 9)
key-3: key 3 (nobody said which project it is; Google calls it projects/77)
gemini-2.5-pro is in trouble at Google: 8 failures in a row, the last kind overloaded, until 2026-11-24T08:00:00.000Z
Keys 3, 4 seem to belong to one project:
  they ran dry together.
  If they do, say so: gemini-pool keys set 3 4 --project NAME";
        assert_eq!(told(&answer), wanted);
        assert!(told(&json!({"projects": []})).starts_with("No projects yet"));
    }
}
