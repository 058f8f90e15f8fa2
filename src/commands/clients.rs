//! `gemini-pool clients`: apps' access keys.
//!
//! An access key that is made goes to standard output and nowhere else; one that is given comes from standard input.

use std::str::FromStr;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Map, Value, json};

use super::{Error, Target, admin::secret_line, columns, number, say, text};
use crate::config::Config;

/// Access keys in one answer.
const PAGE: u32 = 1_000;

/// Apps' access keys.
#[derive(Debug, Subcommand)]
pub enum ClientsCommand {
    /// Make an access key, and print it once
    Create {
        /// Take the secret from standard input, one line, instead of making one
        #[arg(long)]
        secret_stdin: bool,
        /// What is said of it.
        #[command(flatten)]
        said: Box<Said>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// List access keys, without their secrets
    List {
        /// Only those whose name holds this, or whose key ends in it
        #[arg(long, value_name = "TEXT")]
        search: Option<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Change what an access key may do; what is left out stays as it is
    Set {
        /// Its number, as `clients list` shows it
        id: u32,
        /// What is said of it.
        #[command(flatten)]
        said: Box<Said>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Replace the secret of an access key, and print the new one once; the one before opens nothing any more
    Rotate {
        /// Its number
        id: u32,
        /// Take the secret from standard input, one line, instead of making one
        #[arg(long)]
        secret_stdin: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// End the access of an access key, for good
    Revoke {
        /// Their numbers
        #[arg(required = true)]
        ids: Vec<u32>,
    },
}

/// A number, or none at all.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit(Option<u64>);

impl FromStr for Limit {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "none" => Ok(Self(None)),
            number => {
                number.parse().map(|number| Self(Some(number))).map_err(|_| "wants a number, or `none`")
            }
        }
    }
}

/// What is said of an access key.
#[derive(Debug, Args)]
pub struct Said {
    /// What to call it; empty: `client N`
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// What to remember of it
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// Let it in
    #[arg(long)]
    enable: bool,
    /// Do not let it in
    #[arg(long, conflicts_with = "enable")]
    disable: bool,
    /// When its access ends, such as 2027-01-31T12:00:00Z, or `never`
    #[arg(long, value_name = "TIME")]
    expires_at: Option<String>,
    /// A model it may ask, or a pattern such as `gemini-2.5-*`; say it again for more. What is said here replaces
    /// what it had
    #[arg(long = "model", value_name = "PATTERN")]
    models: Vec<String>,
    /// It may ask every model
    #[arg(long, conflicts_with = "models")]
    all_models: bool,
    /// An address or range that it may come from, such as 10.0.0.0/8; say it again for more. What is said here
    /// replaces what it had
    #[arg(long = "address", value_name = "ADDRESS")]
    addresses: Vec<String>,
    /// It may come from anywhere
    #[arg(long, conflicts_with = "addresses")]
    any_address: bool,
    /// Requests in any 60 seconds, or `none` for no limit
    #[arg(long, value_name = "NUMBER")]
    requests_per_minute: Option<Limit>,
    /// Requests in a day of UTC, or `none` for no limit
    #[arg(long, value_name = "NUMBER")]
    requests_per_day: Option<Limit>,
    /// Tokens of prompts and answers in a day of UTC, or `none` for no limit
    #[arg(long, value_name = "NUMBER")]
    tokens_per_day: Option<Limit>,
    /// Requests at the same time, or `none` for no limit
    #[arg(long, value_name = "NUMBER")]
    concurrent: Option<Limit>,
}

impl Said {
    /// As the admin API takes it.
    fn body(&self) -> Map<String, Value> {
        let words = |words: &[String], all: bool| (all || !words.is_empty()).then(|| json!(words));
        let limit = |limit: Option<Limit>| limit.map(|limit| json!(limit.0));
        let end = self.expires_at.as_ref().map(|end| if end == "never" { Value::Null } else { json!(end) });
        let said = [
            ("name", self.name.as_ref().map(|name| json!(name))),
            ("note", self.note.as_ref().map(|note| json!(note))),
            ("enabled", (self.enable || self.disable).then(|| json!(self.enable))),
            ("expires_at", end),
            ("models", words(&self.models, self.all_models)),
            ("addresses", words(&self.addresses, self.any_address)),
            ("requests_per_minute", limit(self.requests_per_minute)),
            ("requests_per_day", limit(self.requests_per_day)),
            ("tokens_per_day", limit(self.tokens_per_day)),
            ("concurrent", limit(self.concurrent)),
        ];
        said.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }
}

/// Carries out `gemini-pool clients …`.
///
/// # Errors
/// [`Error`].
pub async fn clients(command: ClientsCommand, config: &Config) -> Result<(), Error> {
    // What is wrong with the input is told before anything is opened.
    let secret = match &command {
        ClientsCommand::Create { secret_stdin: true, .. }
        | ClientsCommand::Rotate { secret_stdin: true, .. } => Some(secret_line()?),
        _ => None,
    };
    let target = match &command {
        ClientsCommand::Create { .. } => Target::open_or_make(config).await?,
        _ => Target::open(config).await?,
    };
    let done = on_clients(command, secret, &target).await;
    target.close().await;
    done
}

async fn on_clients(command: ClientsCommand, secret: Option<String>, target: &Target) -> Result<(), Error> {
    match command {
        ClientsCommand::Create { said, json, .. } => {
            let mut body = said.body();
            body.extend(secret.map(|secret| ("secret".to_owned(), json!(secret))));
            let made = target.call(Method::POST, "/allowed_keys", Some(body.into())).await?;
            show(&made, json, "made")
        }
        ClientsCommand::List { search, json } => {
            let all = list(target, search.as_deref()).await?;
            if json {
                say(&format!("{:#}", json!({"allowed_keys": all, "next": null})))
            } else {
                let none_fits = search.is_some() && all.is_empty();
                say(&if none_fits { "None of the access keys fits.".to_owned() } else { table(&all) })
            }
        }
        ClientsCommand::Set { id, said, json } => {
            let path = format!("/allowed_keys/{id}");
            let changed = target.call(Method::PUT, &path, Some(said.body().into())).await?;
            show(&changed, json, "changed")
        }
        ClientsCommand::Rotate { id, json, .. } => {
            let path = format!("/allowed_keys/{id}/rotate");
            let body = secret.map_or_else(|| json!({}), |secret| json!({"secret": secret}));
            let replaced = target.call(Method::POST, &path, Some(body)).await?;
            show(&replaced, json, "replaced")
        }
        ClientsCommand::Revoke { ids } => {
            for id in &ids {
                target.call(Method::DELETE, &format!("/allowed_keys/{id}"), None).await?;
                say(&format!("access key {id} revoked"))?;
            }
            Ok(())
        }
    }
}

/// All pages.
async fn list(target: &Target, search: Option<&str>) -> Result<Vec<Value>, Error> {
    let mut all = Vec::new();
    let mut cursor = String::new();
    let search = search.map(|search| format!("&search={}", escaped(search))).unwrap_or_default();
    loop {
        let path = format!("/allowed_keys?limit={PAGE}{search}{cursor}");
        let page = target.call(Method::GET, &path, None).await?;
        all.extend(page.get("allowed_keys").and_then(Value::as_array).cloned().unwrap_or_default());
        match text(&page, "next") {
            "" => return Ok(all),
            next => cursor = format!("&cursor={}", escaped(next)),
        }
    }
}

/// A text as it may stand in a query.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(char::from(byte))
            }
            byte => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

/// The secret alone on standard output, so that it can be piped; about it, on standard error.
fn show(client: &Value, json: bool, what: &str) -> Result<(), Error> {
    if json {
        return say(&format!("{client:#}"));
    }
    let told = format!("access key {} ({}) {what}", number(client, "id"), text(client, "name"));
    match text(client, "secret") {
        "" => say(&told),
        secret => {
            eprintln!("{told}; this is the only time it is shown:");
            say(secret)
        }
    }
}

fn table(clients: &[Value]) -> String {
    if clients.is_empty() {
        return "No access keys yet. Make one: gemini-pool clients create --name my-app".to_owned();
    }
    let mut rows = vec![["ID", "STATE", "KEY", "FROM", "NAME", "MAY", "USED"].map(str::to_owned).to_vec()];
    for client in clients {
        let flag = |name: &str| client.get(name).and_then(Value::as_bool).unwrap_or_default();
        let state = match (flag("enabled"), flag("expired")) {
            (false, _) => "disabled",
            (true, true) => "expired",
            (true, false) => "enabled",
        };
        let usage = client.get("usage").cloned().unwrap_or_default();
        let used = format!(
            "{} requests, {} tokens today",
            number(&usage, "requests_today"),
            number(&usage, "tokens_today")
        );
        rows.push(vec![
            number(client, "id").to_string(),
            state.to_owned(),
            format!("…{}", text(client, "tail")),
            text(client, "origin").to_owned(),
            text(client, "name").to_owned(),
            may(client),
            used,
        ]);
    }
    columns(&rows)
}

/// The limits that there are.
fn may(client: &Value) -> String {
    let rates = [
        ("requests_per_minute", "/min"),
        ("requests_per_day", "/day"),
        ("tokens_per_day", " tokens/day"),
        ("concurrent", " at once"),
    ];
    let rates =
        rates.iter().filter_map(|(name, unit)| Some(format!("{}{unit}", client.get(*name)?.as_u64()?)));
    let mut said: Vec<String> = rates.collect();
    for name in ["models", "addresses"] {
        let words =
            client.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        said.extend(words.map(str::to_owned));
    }
    let end = text(client, "expires_at");
    said.extend((!end.is_empty()).then(|| format!("until {end}")));
    if said.is_empty() { "all".to_owned() } else { said.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_who_may_what() {
        let client = json!({
            "id": 3, "name": "my app", "tail": "wxyz", "origin": "cli", "enabled": true, "expired": false,
            "requests_per_minute": 10, "requests_per_day": null, "tokens_per_day": 1_000_000, "concurrent": 2,
            "models": ["gemini-2.5-*"], "addresses": ["10.0.0.0/8"], "expires_at": "2027-01-31T12:00:00.000Z",
            "usage": {"requests_today": 7, "tokens_today": 1_234},
        });
        let free =
            json!({"id": 4, "name": "b", "tail": "abcd", "origin": "env", "enabled": false, "models": []});
        let wanted = "\
ID  STATE     KEY    FROM  NAME    MAY                                                                                             USED
3   enabled   …wxyz  cli   my app  10/min, 1000000 tokens/day, 2 at once, gemini-2.5-*, 10.0.0.0/8, until 2027-01-31T12:00:00.000Z  7 requests, 1234 tokens today
4   disabled  …abcd  env   b       all                                                                                              0 requests, 0 tokens today";
        let table = table(&[client, free]);
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(words(&table), words(wanted));
        assert!(super::table(&[]).starts_with("No access keys yet"));
        assert_eq!(escaped("a b&ü"), "a%20b%26%C3%BC");
    }
}
