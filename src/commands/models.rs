//! `gemini-pool models` and `gemini-pool resources`: what can serve what, and what lives at Google.

use clap::Args;
use serde_json::Value;

use super::{
    Error, Target, number,
    pages::{self, Query, columns},
    say, text,
};
use crate::config::Config;

/// Which key can serve which model, and if not, why and until when.
#[derive(Debug, Args)]
pub struct ModelsArgs {
    /// Only this model, key by key
    #[arg(long)]
    model: Option<String>,
    /// Only this key
    #[arg(long)]
    key: Option<u32>,
    /// Only keys with this part of a label, tail, fingerprint, note, project or tag
    #[arg(long)]
    q: Option<String>,
    /// Only keys of this project
    #[arg(long)]
    project: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// What lives at Google, and to which project it belongs.
#[derive(Debug, Args)]
pub struct ResourcesArgs {
    /// Only this kind, such as `files` or `cachedContents`
    #[arg(long)]
    kind: Option<String>,
    /// Only of this project
    #[arg(long)]
    project: Option<String>,
    /// How many at most
    #[arg(long)]
    limit: Option<u32>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Carries out `gemini-pool models`.
///
/// # Errors
/// [`Error`].
pub async fn models(args: ModelsArgs, config: &Config) -> Result<(), Error> {
    let ModelsArgs { model, key, q, project, json } = args;
    let in_full = [&model, &q, &project].into_iter().any(Option::is_some) || key.is_some();
    let query: Query =
        vec![("model", model), ("key", key.map(|key| key.to_string())), ("q", q), ("project", project)];
    let answer = fetch(config, "/models", "keys", &query, None).await?;
    say(&if json { format!("{answer:#}") } else { grid(&answer, in_full) })
}

/// Carries out `gemini-pool resources`.
///
/// # Errors
/// [`Error`].
pub async fn resources(args: ResourcesArgs, config: &Config) -> Result<(), Error> {
    let ResourcesArgs { kind, project, limit, json } = args;
    let query: Query = vec![("kind", kind), ("project", project)];
    let answer = fetch(config, "/resources", "resources", &query, limit).await?;
    say(&if json { format!("{answer:#}") } else { bound(&answer) })
}

async fn fetch(
    config: &Config,
    path: &str,
    things: &str,
    query: &Query,
    limit: Option<u32>,
) -> Result<Value, Error> {
    let target = Target::open(config).await?;
    let answer = pages::whole(&target, path, things, query, limit).await;
    target.close().await;
    answer
}

fn items<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// A line for each model; in full, also one for each key that cannot serve it now, or all of one model.
fn grid(answer: &Value, in_full: bool) -> String {
    let models = items(answer, "models");
    if models.is_empty() {
        return "No models yet: they come with traffic. Ask for one: gemini-pool models --model NAME"
            .to_owned();
    }
    let mut lines: Vec<String> =
        models.iter().map(|model| format!("{}: {}", text(model, "model"), text(model, "says"))).collect();
    if in_full {
        let mut rows = vec![["KEY", "PROJECT", "MODEL", "STATE", "WHY", "LEFT"].map(str::to_owned).to_vec()];
        for key in items(answer, "keys") {
            rows.extend(items(key, "models").iter().map(|cell| {
                let left = items(cell, "quotas").iter().map(|quota| {
                    format!(
                        "{} of {} a {}",
                        number(quota, "left"),
                        number(quota, "limit"),
                        text(quota, "window")
                    )
                });
                vec![
                    number(key, "key").to_string(),
                    text(key, "project").to_owned(),
                    text(cell, "model").to_owned(),
                    text(cell, "state").to_owned(),
                    why(cell),
                    left.collect::<Vec<_>>().join(", "),
                ]
            }));
        }
        lines.push(columns(&rows));
    }
    lines.join("\n")
}

fn why(cell: &Value) -> String {
    let (cause, back) = (text(cell, "cause"), text(cell, "back_at"));
    let event = cell.get("seq").and_then(Value::as_u64).map(|seq| format!("(event {seq})"));
    let back = (!back.is_empty()).then(|| format!("until {back}"));
    let parts = [Some(cause.to_owned()).filter(|cause| !cause.is_empty()), back, event];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

fn bound(answer: &Value) -> String {
    let all = items(answer, "resources");
    if all.is_empty() {
        return "Nothing is known to live at Google.".to_owned();
    }
    let mut rows = vec![["NAME", "PROJECT", "KEY", "EXPIRES", "EVENT"].map(str::to_owned).to_vec()];
    rows.extend(all.iter().map(|one| {
        let expires = Some(text(one, "expires_at")).filter(|at| !at.is_empty()).unwrap_or("-");
        vec![
            text(one, "name").to_owned(),
            text(one, "project").to_owned(),
            number(one, "key").to_string(),
            expires.to_owned(),
            number(one, "seq").to_string(),
        ]
    }));
    columns(&rows)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn people_read_who_can_serve_and_why_not() {
        let until = "2026-11-24T08:00:00.000Z";
        let answer = json!({
            "models": [{"model": "gemini-2.5-flash", "says": "1 of 2 projects can serve now; next back at X"}],
            "keys": [
                {"key": 1, "project": "alpha", "models": [{"model": "gemini-2.5-flash", "state": "ready", "quotas": [
                    {"left": 3, "limit": 10, "window": "minute"}]}]},
                {"key": 2, "project": "beta", "models": [{"model": "gemini-2.5-flash", "state": "spent",
                    "cause": "quota_day", "back_at": until, "seq": 9, "quotas": []}]},
            ],
        });
        let wanted = "\
gemini-2.5-flash: 1 of 2 projects can serve now; next back at X
KEY  PROJECT  MODEL             STATE  WHY                                                 LEFT
1    alpha    gemini-2.5-flash  ready                                                      3 of 10 a minute
2    beta     gemini-2.5-flash  spent  quota_day until 2026-11-24T08:00:00.000Z (event 9)";
        assert_eq!(grid(&answer, true), wanted);
        assert_eq!(grid(&answer, false).lines().count(), 1);
        assert!(grid(&json!({"models": []}), true).starts_with("No models yet"));
    }

    #[test]
    fn people_read_what_lives_where() {
        let answer = json!({"resources": [
            {"name": "files/a", "project": "alpha", "key": 1, "expires_at": null, "seq": 7}]});
        assert_eq!(
            bound(&answer),
            "NAME     PROJECT  KEY  EXPIRES  EVENT\nfiles/a  alpha    1    -        7"
        );
        assert_eq!(bound(&json!({"resources": []})), "Nothing is known to live at Google.");
    }
}
