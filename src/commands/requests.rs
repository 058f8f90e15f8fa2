//! `gemini-pool requests`: what clients asked, and what was tried for them, for people.

use clap::{Args, Subcommand};
use http::Method;
use serde_json::Value;

use super::{Error, Target, number, say, text};
use crate::config::Config;

/// Requests fetched at once.
const PAGE: u64 = 1_000;

/// Requests.
#[derive(Debug, Subcommand)]
pub enum RequestsCommand {
    /// List requests, the newest first
    List {
        /// Which.
        #[command(flatten)]
        filters: Box<Filters>,
        /// How many at most
        #[arg(long, default_value_t = 100)]
        limit: u64,
        /// As JSON, one request a line
        #[arg(long)]
        json: bool,
    },
    /// Show one request with its tries
    Show {
        /// Its id, as `x-request-id` of its answer told it, or the position of its end in the log
        id: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

/// Conditions; all that are said must hold.
#[derive(Debug, Default, Args)]
pub struct Filters {
    /// Arrived then or later, such as 2026-11-24T08:00:00Z
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Arrived before
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Tried with this key
    #[arg(long, value_name = "NUMBER")]
    key: Option<u32>,
    /// Of this client; 0: of none
    #[arg(long, value_name = "NUMBER")]
    client: Option<u32>,
    /// For this model
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// With this status, such as 429, or one of a class, such as 4xx
    #[arg(long, value_name = "STATUS")]
    status: Option<String>,
    /// Ended so: complete, truncated, cancelled or refused
    #[arg(long, value_name = "OUTCOME", value_parser = ["complete", "truncated", "cancelled", "refused"])]
    outcome: Option<String>,
    /// Took so many milliseconds or more
    #[arg(long, value_name = "MS")]
    min_latency: Option<u32>,
    /// Took so many milliseconds or less
    #[arg(long, value_name = "MS")]
    max_latency: Option<u32>,
    /// With this in an error's text
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,
    /// A stream was asked for (true), or was not (false)
    #[arg(long, value_name = "BOOL")]
    streamed: Option<bool>,
    /// With so many upstream tries or more
    #[arg(long, value_name = "NUMBER")]
    tries_min: Option<u8>,
}

impl Filters {
    /// As the admin API takes them.
    fn query(&self) -> String {
        let number = |value: Option<u32>| value.map(|value| value.to_string());
        let said = [
            ("from", self.from.clone()),
            ("to", self.to.clone()),
            ("key", number(self.key)),
            ("client", number(self.client)),
            ("model", self.model.clone()),
            ("status", self.status.clone()),
            ("outcome", self.outcome.clone()),
            ("min_latency_ms", number(self.min_latency)),
            ("max_latency_ms", number(self.max_latency)),
            ("text", self.text.clone()),
            ("streamed", self.streamed.map(|streamed| streamed.to_string())),
            ("tries_min", self.tries_min.map(|tries| tries.to_string())),
        ];
        said.into_iter().filter_map(|(name, value)| Some(format!("&{name}={}", escaped(&value?)))).collect()
    }
}

/// A text as a part of a query.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(char::from(byte))
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

/// Carries out `gemini-pool requests …`.
///
/// # Errors
/// [`Error`].
pub async fn requests(command: RequestsCommand, config: &Config) -> Result<(), Error> {
    let target = Target::open(config).await?;
    let done = match command {
        RequestsCommand::List { filters, limit, json } => list(&filters, limit, json, &target).await,
        RequestsCommand::Show { id, json } => show(&id, json, &target).await,
    };
    target.close().await;
    done
}

async fn list(filters: &Filters, limit: u64, json: bool, target: &Target) -> Result<(), Error> {
    let (query, mut left, mut cursor) = (filters.query(), limit, None::<String>);
    let mut head = (!json).then_some(HEAD);
    while left > 0 {
        let page = left.min(PAGE);
        let from = cursor.as_deref().map(|cursor| format!("&cursor={}", escaped(cursor))).unwrap_or_default();
        let path = format!("/request_logs?limit={page}{query}{from}");
        let answer = whole(target, &path).await?;
        let requests = answer.get("request_logs").and_then(Value::as_array).cloned().unwrap_or_default();
        head.take().map_or(Ok(()), say)?;
        for request in &requests {
            say(&if json { request.to_string() } else { row(request) })?;
        }
        left = left.saturating_sub(page);
        cursor = answer.get("next").and_then(Value::as_str).map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    Ok(())
}

/// Asks until the index is whole; each answer takes the server a second while it is not.
async fn whole(target: &Target, path: &str) -> Result<Value, Error> {
    let mut told = false;
    loop {
        let answer = target.call(Method::GET, path, None).await?;
        let Some(progress) = answer.get("indexing").filter(|progress| progress.is_object()) else {
            return Ok(answer);
        };
        if !told {
            let (done, of) = (number(progress, "done"), number(progress, "of"));
            eprintln!("The index of requests is being made ({done} of {of} events); one moment.");
            told = true;
        }
    }
}

const HEAD: &str = "TIME\tSTATUS\tOUTCOME\tMODEL\tTRIES\tKEYS\tMS\tCLIENT\tREASON\tID";

fn keys(request: &Value) -> String {
    let keys = request.get("keys").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    keys.iter().map(|key| number(key, "id").to_string()).collect::<Vec<_>>().join(",")
}

fn reason(request: &Value) -> &str {
    [text(request, "reason"), text(request, "upstream_reason")]
        .into_iter()
        .find(|reason| !reason.is_empty())
        .unwrap_or("-")
}

fn client(request: &Value) -> String {
    match request.get("client").filter(|client| client.is_object()) {
        Some(client) => match text(client, "name") {
            "" => number(client, "id").to_string(),
            name => name.to_owned(),
        },
        None => "-".to_owned(),
    }
}

fn row(request: &Value) -> String {
    let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    let columns = [
        text(request, "time").to_owned(),
        number(request, "status").to_string(),
        text(request, "outcome").to_owned(),
        or_dash(text(request, "model").to_owned()),
        number(request, "tries").to_string(),
        or_dash(keys(request)),
        number(request, "duration_ms").to_string(),
        client(request),
        reason(request).to_owned(),
        text(request, "id").to_owned(),
    ];
    columns.map(|column| column.replace(['\t', '\n', '\r'], " ")).join("\t")
}

async fn show(id: &str, json: bool, target: &Target) -> Result<(), Error> {
    // Until the index is whole, a request may seem not to be there.
    whole(target, "/request_logs?limit=1").await?;
    let request = target.call(Method::GET, &format!("/request_logs/{}", escaped(id)), None).await?;
    say(&if json { format!("{request:#}") } else { told(&request) })
}

/// One request, for people.
fn told(request: &Value) -> String {
    let mut lines = vec![
        format!("Request {} (event {})", text(request, "id"), number(request, "seq")),
        format!(
            "  {} {} {}, client {}, from {}",
            text(request, "time"),
            text(request, "verb"),
            text(request, "path"),
            client(request),
            text(request, "address"),
        ),
        format!(
            "  {} with status {} after {} ms ({} ms in the queue), {} tries{}",
            text(request, "outcome"),
            number(request, "status"),
            number(request, "duration_ms"),
            number(request, "waited_ms"),
            number(request, "tries"),
            match reason(request) {
                "-" => String::new(),
                reason => format!(": {reason}"),
            },
        ),
    ];
    let attempts = request.get("attempts").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for attempt in attempts {
        let nothing = Value::Null;
        let (key, why) = (attempt.get("key").unwrap_or(&nothing), attempt.get("why").unwrap_or(&nothing));
        let reason = text(attempt, "reason");
        lines.push(format!(
            "  try {} (event {}): key {} of {}, status {}, {}{}, {} ms; one of {} keys by {}",
            number(attempt, "attempt"),
            number(attempt, "seq"),
            number(key, "id"),
            text(attempt, "project"),
            number(attempt, "status"),
            text(attempt, "verdict"),
            if reason.is_empty() { String::new() } else { format!(" ({reason})") },
            number(attempt, "latency_ms"),
            number(why, "eligible"),
            text(why, "strategy"),
        ));
    }
    for (side, name) in [("request", "sent"), ("answer", "got")] {
        let body = request.get("bodies").and_then(|bodies| bodies.get(side));
        if let Some(body) = body.filter(|body| !text(body, "text").is_empty()) {
            let cut = if body.get("cut") == Some(&Value::Bool(true)) { ", cut" } else { "" };
            lines.push(format!("  {name} ({} bytes{cut}):", number(body, "bytes")));
            lines.push(text(body, "text").to_owned());
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn conditions_become_a_query() {
        assert_eq!(Filters::default().query(), "");
        let filters = Filters {
            model: Some("a model/ü".to_owned()),
            key: Some(7),
            streamed: Some(true),
            ..Filters::default()
        };
        assert_eq!(filters.query(), "&key=7&model=a%20model%2F%C3%BC&streamed=true");
    }

    #[test]
    fn people_read_a_request_and_its_tries() {
        let request = json!({
            "id": "019ab", "seq": 12, "time": "2026-11-24T08:00:00.000Z", "verb": "POST", "path": "/v1beta/x",
            "client": {"id": 1, "name": "app"}, "address": "127.0.0.1", "outcome": "complete", "status": 200,
            "duration_ms": 150, "waited_ms": 0, "tries": 1, "reason": null, "upstream_reason": null,
            "model": "gemini-2.5-flash", "keys": [{"id": 3}],
            "attempts": [{"attempt": 1, "seq": 11, "key": {"id": 3}, "project": "alpha", "status": 200,
                "verdict": "success", "reason": null, "latency_ms": 140,
                "why": {"eligible": 4, "strategy": "least-loaded"}}],
            "bodies": {"request": {"bytes": 2, "cut": false, "text": "{}"}, "answer": {"bytes": 9, "cut": true, "text": "[…"}},
        });
        let wanted = "\
Request 019ab (event 12)
  2026-11-24T08:00:00.000Z POST /v1beta/x, client app, from 127.0.0.1
  complete with status 200 after 150 ms (0 ms in the queue), 1 tries
  try 1 (event 11): key 3 of alpha, status 200, success, 140 ms; one of 4 keys by least-loaded
  sent (2 bytes):
{}
  got (9 bytes, cut):
[…";
        assert_eq!(told(&request), wanted);
        let line = "2026-11-24T08:00:00.000Z\t200\tcomplete\tgemini-2.5-flash\t1\t3\t150\tapp\t-\t019ab";
        assert_eq!(row(&request), line);
    }
}
