//! `gemini-pool events`: the log, for people and for pipes.

use std::{
    io::{self, Write},
    time::Duration,
};

use clap::{Args, Subcommand};
use http::Method;
use serde_json::Value;

use super::{
    Error, Target,
    export::{self, ExportEvents},
    number,
    remote::{Remote, query},
    say, text,
};
use crate::{config::Config, pool, server::running_address};

/// Events fetched at once.
const PAGE: u64 = 1_000;
/// How often a server that is gone is looked for again, and with which pause.
const TRIES: (u32, Duration) = (60, Duration::from_secs(1));

/// The log.
#[derive(Debug, Subcommand)]
pub enum EventsCommand {
    /// Write every event into a file, as JSON, one a line
    Export(ExportEvents),
    /// Print events, oldest first
    List {
        /// As JSON, one event a line
        #[arg(long)]
        json: bool,
        /// Begin after this event
        #[arg(long)]
        after: Option<u64>,
        /// End before this event
        #[arg(long)]
        before: Option<u64>,
        /// Begin at this time, such as 2026-11-24T08:00:00Z
        #[arg(long)]
        from: Option<String>,
        /// End before this time
        #[arg(long)]
        to: Option<String>,
        /// Newest first
        #[arg(long)]
        newest_first: bool,
        /// How many at most
        #[arg(long)]
        limit: Option<u64>,
        /// Which.
        #[command(flatten)]
        which: Which,
    },
    /// Print one event, whole
    Show {
        /// Its number
        seq: u64,
        /// As JSON in one line
        #[arg(long)]
        json: bool,
    },
    /// Print events of a running pool as they happen, until it is interrupted
    Tail {
        /// As JSON, one event a line
        #[arg(long)]
        json: bool,
        /// Begin after this event; without it, now
        #[arg(long)]
        after: Option<u64>,
        /// Which.
        #[command(flatten)]
        which: Which,
    },
}

/// Which events.
#[derive(Debug, Args)]
pub struct Which {
    /// Only events of this type, such as GateClosed; may be said several times
    #[arg(long = "type")]
    types: Vec<String>,
    /// Only this class: control, health or traffic
    #[arg(long, value_parser = ["control", "health", "traffic"])]
    class: Option<String>,
    /// Only events about this key
    #[arg(long)]
    key: Option<u32>,
    /// Only events about this client
    #[arg(long)]
    client: Option<u32>,
    /// Only events about this request
    #[arg(long)]
    request: Option<String>,
}

type Parameters = Vec<(&'static str, String)>;

impl Which {
    fn parameters(self) -> Parameters {
        let mut all: Parameters = self.types.into_iter().map(|name| ("type", name)).collect();
        all.extend(self.class.map(|class| ("class", class)));
        all.extend(self.key.map(|key| ("key", key.to_string())));
        all.extend(self.client.map(|client| ("client", client.to_string())));
        all.extend(self.request.map(|request| ("request_id", request)));
        all
    }
}

/// Carries out `gemini-pool events …`.
///
/// # Errors
/// [`Error`].
pub async fn events(command: EventsCommand, config: &Config) -> Result<(), Error> {
    match command {
        EventsCommand::Export(args) => export::export(&args, config).await,
        EventsCommand::Tail { json, after, which } => tail(json, after, which.parameters(), config).await,
        EventsCommand::Show { seq, json } => {
            let target = Target::open(config).await?;
            let answer = target.call(Method::GET, &format!("/events/{seq}"), None).await;
            target.close().await;
            let answer = answer?;
            say(&if json { answer.to_string() } else { format!("{answer:#}") })
        }
        EventsCommand::List { json, after, before, from, to, newest_first, limit, which } => {
            let mut parameters = which.parameters();
            parameters.extend(after.map(|after| ("after", after.to_string())));
            parameters.extend(before.map(|before| ("before", before.to_string())));
            parameters.extend(from.map(|from| ("from", from)));
            parameters.extend(to.map(|to| ("to", to)));
            parameters.extend(newest_first.then(|| ("order", "desc".to_owned())));
            let target = Target::open(config).await?;
            let done = list(&target, json, parameters, limit.unwrap_or(u64::MAX)).await;
            target.close().await;
            done
        }
    }
}

async fn list(target: &Target, json: bool, parameters: Parameters, mut left: u64) -> Result<(), Error> {
    let mut cursor = None;
    while left > 0 {
        let mut all = parameters.clone();
        all.push(("limit", left.min(PAGE).to_string()));
        all.extend(cursor.take().map(|cursor| ("cursor", cursor)));
        let answer = target.call(Method::GET, &format!("/events{}", query(&all)), None).await?;
        let events = answer.get("events").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        left -= events.len() as u64;
        events.iter().try_for_each(|event| say(&shown(event, json)))?;
        match answer.get("next").and_then(Value::as_str) {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    Ok(())
}

/// Follows the feed; comes back to a server that stopped, or sent it away.
async fn tail(
    json: bool,
    mut after: Option<u64>,
    parameters: Parameters,
    config: &Config,
) -> Result<(), Error> {
    // A server that was killed leaves its address behind.
    let nobody = || {
        let gone = running_address(&config.data_dir).is_none() || !pool::is_open(config);
        let folder = config.data_dir.display();
        gone.then(|| Error::NotRunning(format!("no gemini-pool is running on {folder}")))
    };
    if let Some(error) = nobody() {
        return Err(error);
    }
    let mut tries = 0;
    loop {
        let mut all = parameters.clone();
        all.extend(after.map(|after| ("after", after.to_string())));
        let path = format!("/events/stream{}", query(&all));
        let listened = match Remote::connect(config) {
            Ok(remote) => remote.listen(&path).await,
            Err(error) => Err(error),
        };
        let mut feed = match listened {
            Ok(feed) => feed,
            // What it said will not change; nor will a server come that never was.
            Err(error @ Error::Answer(_)) => return Err(error),
            Err(error) if after.is_none() || tries >= TRIES.0 => return Err(nobody().unwrap_or(error)),
            Err(_) => {
                tries += 1;
                tokio::time::sleep(TRIES.1).await;
                continue;
            }
        };
        tries = 0;
        // An error is an end like any other: what was missed comes with the next connection.
        while let Ok(Some(block)) = feed.block().await {
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
            if let Some(event) = field("data: ").and_then(|data| serde_json::from_str(data).ok()) {
                match writeln!(io::stdout().lock(), "{}", shown(&event, json)) {
                    // Whoever reads has seen enough (`| head`).
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                    said => said?,
                }
            }
            after = field("id: ").and_then(|id| id.parse().ok()).or(after);
        }
    }
}

fn shown(event: &Value, json: bool) -> String {
    if json { event.to_string() } else { line(event) }
}

fn line(event: &Value) -> String {
    let mut fields = event.get("event").cloned().unwrap_or_default();
    if let Some(fields) = fields.as_object_mut() {
        fields.remove("type");
    }
    format!("{:>8}  {}  {:16}  {fields}", number(event, "seq"), text(event, "at"), text(event, "type"))
}
