//! `gemini-pool explain` and `gemini-pool replay`: why, and how it was, for people.

use std::collections::BTreeSet;

use clap::{ArgGroup, Args};
use http::Method;
use serde_json::{Map, Value, json};

use super::{Error, Target, number, remote::query, say, text};
use crate::config::Config;

/// Things fetched at once.
const PAGE: &str = "1000";

/// Why a request was served as it was, or why a key was passed over.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("about").args(["request", "key"]).required(true).multiple(true))]
pub struct ExplainArgs {
    /// The request, as `x-request-id` in its answer told
    request: Option<String>,
    /// A key to tell about: at a time, or in every try of the request
    #[arg(long)]
    key: Option<u32>,
    /// The time, such as 2026-11-24T12:03:04Z, or an event's number; left out: now
    #[arg(long, conflicts_with = "request")]
    at: Option<String>,
    /// The model that was asked for
    #[arg(long, conflicts_with = "request")]
    model: Option<String>,
    /// The method, such as generateContent
    #[arg(long, conflicts_with = "request")]
    method: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// The pool as it was.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// An event's number, or a time such as 2026-11-24T12:03:04Z
    #[arg(long)]
    at: String,
    /// Print what is different at this later moment (a number, a time, or `now`)
    #[arg(long)]
    diff: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Carries out `gemini-pool explain`.
///
/// # Errors
/// [`Error`].
pub async fn explain(args: ExplainArgs, config: &Config) -> Result<(), Error> {
    let ExplainArgs { request, key, at, model, method, json } = args;
    let mut parameters = Vec::new();
    parameters.extend(key.map(|key| ("key", key.to_string())));
    match request {
        Some(request) => parameters.push(("request_id", request)),
        None => {
            parameters.push(("at", at.unwrap_or_else(|| "now".to_owned())));
            parameters.extend(model.map(|model| ("model", model)));
            parameters.extend(method.map(|method| ("method", method)));
        }
    }
    let target = Target::open(config).await?;
    let answer = target.call(Method::GET, &format!("/explain{}", query(&parameters)), None).await;
    target.close().await;
    let answer = answer?;
    say(&if json { format!("{answer:#}") } else { explained(&answer) })
}

fn items<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn some<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    value.get(name).filter(|value| !value.is_null())
}

fn explained(answer: &Value) -> String {
    let mut lines = Vec::new();
    if let Some(request) = some(answer, "request") {
        let client = some(request, "client").map_or("nobody known".to_owned(), |id| format!("client {id}"));
        lines.push(format!(
            "{} {} for {client}, {} of {}, at {}",
            text(request, "verb"),
            text(request, "path"),
            text(request, "method"),
            text(request, "model"),
            text(request, "started_at"),
        ));
        let reason = some(request, "reason").and_then(Value::as_str);
        lines.push(match some(request, "status") {
            Some(status) => format!(
                "{status}, {}{}, {} tries, {} ms of which {} waiting for a key (event {})",
                text(request, "outcome"),
                reason.map(|reason| format!(" ({reason})")).unwrap_or_default(),
                number(request, "attempts"),
                number(request, "duration_ms"),
                number(request, "waited_ms"),
                number(request, "seq"),
            ),
            None => "still under way, as far as was looked".to_owned(),
        });
    }
    for moment in items(answer, "moments") {
        moment_lines(moment, &mut lines);
    }
    lines.join("\n")
}

fn moment_lines(moment: &Value, lines: &mut Vec<String>) {
    let (at, as_of) = (text(moment, "at"), number(moment, "as_of"));
    match some(moment, "try") {
        Some(tried) => {
            lines.push(format!(
                "try {}: key {} of {} at {at}, as of event {as_of}: {}",
                number(tried, "attempt"),
                number(tried, "key"),
                text(tried, "project"),
                text(tried, "words"),
            ));
            let reason = some(tried, "reason").and_then(Value::as_str).unwrap_or_default();
            lines.push(format!(
                "  {} {} {reason} after {} ms",
                number(tried, "status"),
                text(tried, "verdict"),
                number(tried, "latency_ms"),
            ));
            if let Some(words) = some(moment, "words").and_then(Value::as_str) {
                lines.push(format!("  {words}"));
            }
            if tried.get("agrees") == Some(&Value::Bool(false)) {
                lines.push(format!("  what was recorded differs: {}", tried["recorded"]));
            }
        }
        None => lines.push(format!("at {at}, as of event {as_of}: {}", text(moment, "words"))),
    }
    if let Some(bound) = some(moment, "bound_to").and_then(Value::as_str) {
        lines.push(format!("  only {bound} was asked for"));
    }
    if let Some(asked) = some(moment, "asked") {
        lines.push(format!("  key {}: {}", number(asked, "key"), text(asked, "words")));
    }
    for group in items(moment, "groups") {
        let examples = items(group, "examples");
        let keys: Vec<String> = examples.iter().map(|key| number(key, "key").to_string()).collect();
        let count = number(group, "keys");
        let more = if count > keys.len() as u64 { ", …" } else { "" };
        let words = examples.first().map(|key| text(key, "words")).unwrap_or_default();
        let these = if count == 1 { "" } else { "for one: " };
        lines.push(format!(
            "  {count} {} (key {}{more}): {these}{words}",
            text(group, "reason"),
            keys.join(", ")
        ));
    }
}

/// Carries out `gemini-pool replay`.
///
/// # Errors
/// [`Error`].
pub async fn replay(args: ReplayArgs, config: &Config) -> Result<(), Error> {
    let ReplayArgs { at, diff, json } = args;
    let target = Target::open(config).await?;
    let answer = match diff {
        Some(to) => all(&target, "/state/diff", vec![("from", at), ("to", to)], &["changes"]).await,
        None => all(&target, "/state", vec![("at", at)], &["keys", "projects", "clients"]).await,
    };
    target.close().await;
    let answer = answer?;
    say(&match (json, answer.get("changes")) {
        (true, _) => format!("{answer:#}"),
        (false, Some(_)) => changed(&answer),
        (false, None) => state(&answer),
    })
}

/// Every page in one.
async fn all(
    target: &Target,
    path: &str,
    mut parameters: Vec<(&'static str, String)>,
    lists: &[&str],
) -> Result<Value, Error> {
    let (mut all, mut seen) = (Map::new(), BTreeSet::new());
    parameters.push(("limit", PAGE.to_owned()));
    loop {
        let page = target.call(Method::GET, &format!("{path}{}", query(&parameters)), None).await?;
        let Value::Object(page) = page else { return Ok(page) };
        let next = page.get("next").and_then(Value::as_str).map(str::to_owned);
        // `now` is another moment with every page: the first page's counts.
        if let (Some(to), true) = (page.get("to"), all.is_empty()) {
            parameters.retain(|(name, _)| *name != "to");
            parameters.push(("to", to.to_string()));
        }
        for (name, value) in page {
            match (all.get_mut(&name), value) {
                (Some(Value::Array(known)), Value::Array(more)) if lists.contains(&name.as_str()) => {
                    // Projects come with each page that has a key of theirs.
                    let new =
                        |thing: &Value| name != "projects" || seen.insert(text(thing, "name").to_owned());
                    known.extend(more.into_iter().filter(new));
                }
                (Some(_), _) => {}
                (None, value) => {
                    if name == "projects" {
                        let names = value.as_array().into_iter().flatten();
                        seen.extend(names.map(|project| text(project, "name").to_owned()));
                    }
                    all.insert(name, value);
                }
            }
        }
        match next {
            Some(next) => {
                parameters.retain(|(name, _)| *name != "cursor");
                parameters.push(("cursor", next));
            }
            None => {
                all.insert("next".to_owned(), Value::Null);
                return Ok(all.into());
            }
        }
    }
}

fn changed(diff: &Value) -> String {
    let mut lines = vec![format!("from event {} to event {}:", number(diff, "from"), number(diff, "to"))];
    for change in items(diff, "changes") {
        let thing = format!("{} {}", text(change, "kind"), text(change, "name"));
        if items(change, "fields").is_empty() {
            lines.push(format!("{thing}: {}", text(change, "change")));
        }
        for field in items(change, "fields") {
            let value = |name: &str| field.get(name).cloned().unwrap_or(json!(null));
            lines.push(format!("{thing}: {}: {} → {}", text(field, "field"), value("from"), value("to")));
        }
    }
    if lines.len() == 1 {
        lines.push("nothing changed".to_owned());
    }
    lines.join("\n")
}

fn state(state: &Value) -> String {
    let mut lines = vec![format!(
        "after event {}, at {}: {} keys, {} clients",
        number(state, "seq"),
        text(state, "at"),
        number(state, "keys_in_all"),
        number(state, "clients_in_all"),
    )];
    let closed = |gate: &Value| {
        let what = ["model", "method"].into_iter().find_map(|name| some(gate, name)?.as_str());
        let until = some(gate, "until").and_then(Value::as_str).map(|until| format!(" until {until}"));
        format!(
            "closed for {}: {}{} (event {})",
            what.unwrap_or("everything"),
            text(gate, "cause"),
            until.unwrap_or_default(),
            number(gate, "seq")
        )
    };
    for key in items(state, "keys") {
        lines.push(format!(
            "key {}: {}, …{}, project {} {}",
            number(key, "id"),
            text(key, "state"),
            text(key, "tail"),
            text(key, "project"),
            text(key, "label"),
        ));
        lines.extend(items(key, "gates").iter().map(|gate| format!("  {}", closed(gate))));
    }
    for project in items(state, "projects").iter().filter(|project| !items(project, "gates").is_empty()) {
        lines.push(format!("project {}:", text(project, "name")));
        lines.extend(items(project, "gates").iter().map(|gate| format!("  {}", closed(gate))));
    }
    lines.extend(
        items(state, "models")
            .iter()
            .map(|model| format!("{} in trouble at Google: {}", text(model, "model"), text(model, "cause"))),
    );
    for client in items(state, "clients") {
        lines.push(format!(
            "client {}: {} …{}",
            number(client, "id"),
            text(client, "name"),
            text(client, "tail")
        ));
    }
    lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n")
}
