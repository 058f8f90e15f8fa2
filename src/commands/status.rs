//! `gemini-pool status`: the pool at a glance, for people; and `healthcheck`, for what watches containers.

use std::{
    io::{self, Write},
    time::Duration,
};

use clap::Args;
use http::Method;
use serde_json::Value;

use super::{Error, Target, number, remote, say, text};
use crate::config::Config;

/// How often `--watch` looks.
const EVERY: Duration = Duration::from_secs(2);
/// Puts the cursor into the corner and clears what is below (ECMA-48: CUP, ED).
const CLEAR: &str = "\x1b[H\x1b[J";

/// The pool at a glance.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// How far back: 15m, 1h, 24h, 7d or 30d
    #[arg(long, default_value = "1h", value_parser = ["15m", "1h", "24h", "7d", "30d"])]
    range: String,
    /// As JSON
    #[arg(long)]
    json: bool,
    /// Again every two seconds, until it is interrupted
    #[arg(long)]
    watch: bool,
}

/// Carries out `gemini-pool status`.
///
/// # Errors
/// [`Error`].
pub async fn status(args: StatusArgs, config: &Config) -> Result<(), Error> {
    let target = Target::open(config).await?;
    let done = show(&args, &target).await;
    target.close().await;
    done
}

async fn show(args: &StatusArgs, target: &Target) -> Result<(), Error> {
    let path = format!("/status?range={}", args.range);
    loop {
        let answer = target.call(Method::GET, &path, None).await?;
        let told = match (args.json, args.watch) {
            (true, false) => format!("{answer:#}"),
            // A line for each look, for whatever reads them.
            (true, true) => answer.to_string(),
            (false, false) => told(&answer),
            (false, true) => format!("{CLEAR}{}", told(&answer)),
        };
        match writeln!(io::stdout().lock(), "{told}") {
            // Whoever reads has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            said => said?,
        }
        // Nothing happens in a stopped pool, and while it is held open here none can be started.
        if !args.watch || matches!(target, Target::Here(_)) {
            return Ok(());
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Carries out `gemini-pool healthcheck`: asks the running server whether it is ready.
///
/// # Errors
/// [`Error::Remote`], [`Error::Answer`]: it is not running, or not ready, and why.
pub async fn healthcheck(config: &Config) -> Result<(), Error> {
    let (status, body) = remote::ready(config).await?;
    if status == 200 {
        return say("ready");
    }
    let reasons = body.get("reasons").and_then(Value::as_array).cloned().unwrap_or_default();
    let reasons: Vec<&str> = reasons.iter().map(|reason| text(reason, "message")).collect();
    Err(Error::Answer(format!("not ready (HTTP {status}): {}", reasons.join("; "))))
}

fn items<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn told(answer: &Value) -> String {
    let part = |name: &str| answer.get(name).unwrap_or(&Value::Null);
    let mut lines = server(part("server"));
    let keys = part("keys");
    let count = |name| number(keys, name);
    lines.push(format!(
        "Keys: {} of {} ready, {} cooling, {} failed, {} disabled; {} projects",
        count("ready"),
        count("total"),
        count("cooling"),
        count("failed"),
        count("disabled"),
        count("projects"),
    ));
    lines.extend(traffic(text(answer, "range"), part("traffic")));
    let mut section = |title: &str, items: Vec<String>| {
        if !items.is_empty() {
            lines.push(format!("\n{title}"));
            lines.extend(items.into_iter().map(|item| format!("  {item}")));
        }
    };
    section("Models", items(answer, "models").iter().map(model).collect());
    let more = number(answer, "attention_more");
    let mut attention: Vec<_> = items(answer, "attention").iter().map(away).collect();
    attention.extend((more > 0).then(|| format!("and {more} more")));
    section("Need attention", attention);
    section("Last changes", items(answer, "transitions").iter().map(change).collect());
    lines.join("\n")
}

fn server(server: &Value) -> Vec<String> {
    let log = server.get("log").unwrap_or(&Value::Null);
    let now = server.get("now").filter(|now| !now.is_null());
    let doing = now.map_or_else(
        || "not serving".to_owned(),
        |now| {
            format!(
                "{} in flight, {} waiting, {} of {} retries left",
                number(now, "in_flight"),
                number(now, "waiting"),
                number(now, "retries_left"),
                number(now, "retries_most"),
            )
        },
    );
    let up = uptime(number(server, "uptime_seconds"));
    let mut lines = vec![format!(
        "Gemini-Pool {}, up {up}, event {}; {doing}",
        text(server, "version"),
        number(log, "head")
    )];
    match text(server, "open_to") {
        "everybody" => lines.push(
            "OPEN TO EVERYBODY who reaches the port: there is no access key (ALLOW_ANONYMOUS=true)."
                .to_owned(),
        ),
        "this_machine" => {
            lines.push("Open to every program on this machine: there is no access key.".to_owned());
        }
        _ => {}
    }
    let failure = text(log, "failure");
    if !failure.is_empty() {
        let lost = number(log, "unrecorded");
        lines.push(format!(
            "THE LOG FAILED: {failure}. {lost} events were not recorded; it is opened anew when the disk takes writes again."
        ));
    }
    let gap = &log["last_gap"];
    if !gap.is_null() {
        let gaps = match number(log, "gaps") {
            0 | 1 => "a gap".to_owned(),
            count => format!("{count} gaps, the last"),
        };
        lines.push(format!(
            "The log has {gaps} from {} to {}: {} events are not recorded (event {}).",
            text(gap, "from"),
            text(gap, "to"),
            number(gap, "unrecorded"),
            number(gap, "event")
        ));
    }
    lines
}

fn uptime(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

fn traffic(range: &str, traffic: &Value) -> Vec<String> {
    let requests = traffic.get("requests").unwrap_or(&Value::Null);
    let failed = number(requests, "errors") + number(requests, "truncated") + number(requests, "refused");
    let rate = |name| traffic.get(name).and_then(Value::as_f64).unwrap_or_default();
    let (tries, wasted) = (number(traffic, "attempts"), number(traffic, "attempts_wasted"));
    let share = if tries > 0 { wasted as f64 * 100.0 / tries as f64 } else { 0.0 };
    let tokens = traffic.get("tokens").map_or(0, |tokens| number(tokens, "total"));
    let mut lines = vec![
        format!(
            "Last {range}: {} requests ({:.1}/min), {failed} failed ({:.1}/min), {tokens} tokens",
            number(requests, "total"),
            rate("requests_per_minute"),
            rate("errors_per_minute"),
        ),
        format!("  {tries} upstream tries, {wasted} of them wasted ({share:.1} %)"),
    ];
    for (name, title) in
        [("first_byte", "first byte"), ("duration", "whole answer"), ("waited", "in the queue")]
    {
        let times = traffic.get(name).filter(|times| number(times, "count") > 0);
        lines.extend(times.map(|times| {
            let ms = |name| number(times, name);
            format!("  {title}: p50 {} ms, p95 {} ms, p99 {} ms", ms("p50_ms"), ms("p95_ms"), ms("p99_ms"))
        }));
    }
    lines
}

fn model(model: &Value) -> String {
    let name = text(model, "model");
    let next = text(model, "next_at");
    let back = if next.is_empty() { String::new() } else { format!(", next back at {next}") };
    if model.get("in_trouble") == Some(&Value::Bool(true)) {
        return format!("{name}: in trouble at Google, for everybody{back}");
    }
    format!("{name}: {} of {} projects can serve{back}", number(model, "ready"), number(model, "projects"))
}

fn away(key: &Value) -> String {
    let until = text(key, "until");
    let until = if until.is_empty() { "until a check passes".to_owned() } else { format!("until {until}") };
    let whole = key.get("whole_project") == Some(&Value::Bool(true));
    format!(
        "key {} ({}), project {}: {}{} since {}, {until} (event {})",
        number(key, "key"),
        text(key, "label"),
        text(key, "project"),
        text(key, "cause"),
        if whole { ", the whole project," } else { "" },
        text(key, "since"),
        number(key, "seq"),
    )
}

fn change(change: &Value) -> String {
    let (project, model) = (text(change, "project"), text(change, "model"));
    let key = change.get("key").and_then(Value::as_u64);
    let what = match (text(change, "scope"), project, model) {
        ("model", project, model) => format!("{model} for project {project}"),
        ("project", project, _) => format!("project {project}"),
        ("upstream", _, model) => format!("{model} for everybody"),
        (scope, _, _) => {
            let key = key.map(|key| format!("key {key}")).unwrap_or_default();
            if scope == "method" { format!("a method of {key}") } else { key }
        }
    };
    let until = text(change, "until");
    let until = if until.is_empty() { String::new() } else { format!(", until {until}") };
    format!(
        "{} {what} {}: {}{until} (event {})",
        text(change, "at"),
        text(change, "kind"),
        text(change, "why"),
        number(change, "seq"),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn people_read_who_can_serve_what_was_served_and_what_needs_attention() {
        let (since, until) = ("2026-11-24T01:00:00.000Z", "2026-11-24T08:00:00.000Z");
        let answer = json!({
            "range": "1h",
            "server": {"version": "1.2.3", "uptime_seconds": 11_520, "log": {"head": 18_204, "failure": null,
                "unrecorded": 0}, "now": {"in_flight": 2, "waiting": 1, "retries_left": 19, "retries_most": 20}},
            "keys": {"total": 14, "ready": 12, "cooling": 1, "failed": 1, "disabled": 0, "projects": 9},
            "traffic": {"requests": {"total": 1_234, "served": 1_220, "errors": 5, "truncated": 1, "cancelled": 2,
                "refused": 6}, "requests_per_minute": 20.567, "errors_per_minute": 0.2, "attempts": 1_290,
                "attempts_wasted": 34, "tokens": {"total": 5_000}, "first_byte": {"count": 1_220, "p50_ms": 410,
                "p95_ms": 1_200, "p99_ms": 3_100}, "duration": {"count": 0}, "waited": {"count": 0}},
            "models": [
                {"model": "flash", "ready": 3, "projects": 9, "next_at": until, "in_trouble": false},
                {"model": "pro", "ready": 0, "projects": 9, "next_at": null, "in_trouble": true},
            ],
            "attention": [{"key": 7, "label": "seven", "project": "alpha", "state": "failed", "whole_project": false,
                "cause": "bad_key", "since": since, "until": null, "seq": 90}],
            "attention_more": 2,
            "transitions": [
                {"seq": 95, "at": since, "kind": "closed", "scope": "model", "key": 3, "project": "beta",
                    "model": "flash", "why": "quota_day", "until": until},
                {"seq": 90, "at": since, "kind": "failed", "scope": "key", "key": 7, "why": "bad_key", "until": null},
            ],
        });
        let wanted = "\
Gemini-Pool 1.2.3, up 3 h 12 min, event 18204; 2 in flight, 1 waiting, 19 of 20 retries left
Keys: 12 of 14 ready, 1 cooling, 1 failed, 0 disabled; 9 projects
Last 1h: 1234 requests (20.6/min), 12 failed (0.2/min), 5000 tokens
  1290 upstream tries, 34 of them wasted (2.6 %)
  first byte: p50 410 ms, p95 1200 ms, p99 3100 ms

Models
  flash: 3 of 9 projects can serve, next back at 2026-11-24T08:00:00.000Z
  pro: in trouble at Google, for everybody

Need attention
  key 7 (seven), project alpha: bad_key since 2026-11-24T01:00:00.000Z, until a check passes (event 90)
  and 2 more

Last changes
  2026-11-24T01:00:00.000Z flash for project beta closed: quota_day, until 2026-11-24T08:00:00.000Z (event 95)
  2026-11-24T01:00:00.000Z key 7 failed: bad_key (event 90)";
        assert_eq!(told(&answer), wanted);
        let gap =
            json!({"from": since, "to": until, "unrecorded": 7, "cause": "the disk is full", "event": 12});
        let stopped = json!({"server": {"version": "1.2.3", "log": {"failure": "the disk is full", "unrecorded": 3,
            "gaps": 2, "last_gap": gap}}});
        let said = told(&stopped);
        let wanted = format!(
            "The log has 2 gaps, the last from {since} to {until}: 7 events are not recorded (event 12)."
        );
        assert!(said.contains(&wanted), "{said}");
        let once = json!({"server": {"version": "1.2.3", "log": {"gaps": 1, "last_gap": gap}}});
        assert!(told(&once).contains(&wanted.replace("2 gaps, the last", "a gap")), "{}", told(&once));
        assert!(
            said.contains("not serving") && said.contains("THE LOG FAILED: the disk is full. 3 events"),
            "{said}"
        );
    }
}
