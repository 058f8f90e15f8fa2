//! `gemini-pool settings …`: what is in force, and what is to be from now on.

use clap::Subcommand;
use http::Method;
use serde_json::{Map, Value};

use super::{Error, Target, number, pages::columns, say, text};
use crate::config::Config;

/// Settings, of a running or a stopped pool.
#[derive(Debug, Subcommand)]
pub enum SettingsCommand {
    /// List settings: what is in force, where it came from, and whether it may change while the pool runs
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Change settings: all of them, or none; what is said wins over the environment, also after a restart
    Set {
        /// NAME=VALUE; NAME alone takes back what was said of it, and the environment counts again
        #[arg(required = true)]
        changes: Vec<String>,
    },
}

/// Carries out `gemini-pool settings …`.
///
/// # Errors
/// [`Error`].
pub async fn settings(command: SettingsCommand, config: &Config) -> Result<(), Error> {
    let target = Target::open(config).await?;
    let (answer, json) = match command {
        SettingsCommand::List { json } => (target.call(Method::GET, "/settings", None).await, json),
        SettingsCommand::Set { changes } => {
            let said = changes.iter().map(|change| match change.split_once('=') {
                Some((name, value)) => (name.trim().to_owned(), Value::from(value)),
                None => (change.trim().to_owned(), Value::Null),
            });
            let body: Map<String, Value> = said.collect();
            let names: Vec<String> = body.keys().cloned().collect();
            let answer = target.call(Method::PATCH, "/settings", Some(body.into())).await;
            (answer.map(|answer| only(answer, &names)), false)
        }
    };
    target.close().await;
    let answer = answer?;
    say(&if json { format!("{answer:#}") } else { told(&answer) })
}

/// The settings that were spoken of.
fn only(mut answer: Value, names: &[String]) -> Value {
    if let Some(all) = answer.get_mut("settings").and_then(Value::as_array_mut) {
        all.retain(|setting| names.iter().any(|name| name == text(setting, "name")));
    }
    answer
}

fn told(answer: &Value) -> String {
    let settings = answer.get("settings").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut rows = vec![["SETTING", "VALUE", "FROM", "MAY CHANGE"].map(str::to_owned).to_vec()];
    rows.extend(settings.iter().map(|setting| {
        let value = Some(text(setting, "value")).filter(|value| !value.is_empty()).unwrap_or("-");
        let from = match text(setting, "origin") {
            "log" => format!("event {}", number(setting, "seq")),
            "dot_env" => ".env".to_owned(),
            other => other.to_owned(),
        };
        let live = if setting.get("live") == Some(&Value::Bool(true)) { "yes" } else { "at the start" };
        vec![text(setting, "name").to_owned(), value.to_owned(), from, live.to_owned()]
    }));
    columns(&rows)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn people_read_what_counts_and_since_when() {
        let setting = |name, value, origin, live, seq: Value| json!({"name": name, "value": value, "origin": origin, "live": live, "seq": seq});
        let answer = json!({"settings": [
            setting("PORT", "8000", "default", false, Value::Null),
            setting("PUBLIC_URL", "", "default", true, Value::Null),
            setting("MAX_ATTEMPTS", "5", "log", true, json!(12)),
            setting("STRATEGY", "sticky", "dot_env", true, Value::Null),
        ]});
        let wanted = "\
SETTING       VALUE   FROM      MAY CHANGE
PORT          8000    default   at the start
PUBLIC_URL    -       default   yes
MAX_ATTEMPTS  5       event 12  yes
STRATEGY      sticky  .env      yes";
        assert_eq!(told(&answer), wanted);
        let one = only(answer, &["STRATEGY".to_owned()]);
        assert_eq!(told(&one).lines().count(), 2);
    }
}
