//! The command line's work, on a running or a stopped pool.
//!
//! Whoever has the log decides: if it can be opened here, the pool is stopped and
//! the command works on it directly; if another process has it, the command asks
//! that one over its admin API, with a token signed by the secret that both read.
//! Keys come from standard input or a file, never from arguments, which others
//! on the machine can read.

mod admin;
mod audit;
mod backup;
mod clients;
mod events;
mod export;
mod fill;
mod import;
mod master_key;
mod models;
mod new_file;
mod pages;
mod past;
mod progress;
mod projects;
mod remote;
mod requests;
mod said;
mod salvage;
mod settings;
mod simulate;
mod status;
mod testing;

use std::{
    io::{self, Write},
    path::PathBuf,
    sync::Arc,
};

use bytes::Bytes;
use clap::{Args, Subcommand};
use futures_util::{StreamExt, TryStreamExt, stream::BoxStream};
use http::Method;
use projections::keys::{PRIORITY, WEIGHT};
use serde_json::{Map, Value, json};

pub use self::admin::{AdminCommand, admin};
pub use self::audit::{AuditCommand, audit};
pub use self::backup::{BackupArgs, RestoreArgs, backup, restore};
pub use self::clients::{ClientsCommand, clients};
pub use self::events::{EventsCommand, events};
pub use self::export::ExportEvents;
pub use self::fill::{DevCommand, dev};
pub use self::import::{ExportArgs, ImportArgs};
pub use self::models::{ModelsArgs, ResourcesArgs, models, resources};
pub use self::past::{ExplainArgs, ReplayArgs, explain, replay};
pub use self::projects::projects;
pub use self::requests::{Filters, RequestsCommand, requests};
pub use self::salvage::{SalvageArgs, salvage};
pub use self::settings::{SettingsCommand, settings};
pub use self::simulate::{SimulateArgs, compare, simulate};
pub use self::status::{StatusArgs, healthcheck, status};
use self::{
    pages::{Query, columns},
    remote::Remote,
    said::{Said, read_keys},
};
use crate::{
    admin as api,
    config::Config,
    journal,
    ledger::{backup::Unreadable, clock::Clock},
    pool::{self, Opening, Pool, restore::RestoreError},
};

/// Upstream keys.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Add keys, read from standard input or a file: one a line, or separated by commas, or a JSON array
    ///
    /// An entry of the array is a text, or an object with `key` and what is said of this key alone, such as
    /// {"key": "…", "project": "my-project", "weight": 2, "models": ["gemini-2.5-*"], "proxy":
    /// "socks5://user:password@host:1080"}; that wins over what the arguments say of all.
    Add {
        /// Read them from this file
        #[arg(long)]
        file: Option<PathBuf>,
        /// What is said of them.
        #[command(flatten)]
        said: Box<Said>,
    },
    /// Add the keys of another program, and its access keys of apps; what is there already stays as it is
    Import(ImportArgs),
    /// Write every key with its secret, unsealed, as JSON that `keys import` reads
    Export(ExportArgs),
    /// Say something of keys: of all of them, or of none
    Set {
        /// Which.
        #[command(flatten)]
        ids: Ids,
        /// What is said of them.
        #[command(flatten)]
        said: Box<Said>,
    },
    /// List keys, without their secrets
    List {
        /// Which, and in which order.
        #[command(flatten)]
        which: Box<Which>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove keys and destroy their secrets
    Remove {
        /// Which
        #[command(flatten)]
        ids: Ids,
        /// Also where files and the like at Google could not be reached any more
        #[arg(long)]
        force: bool,
    },
    /// Use keys again
    Enable(Ids),
    /// Stop using keys
    Disable(Ids),
    /// Forgive keys: what holds them back is opened
    Reset(Ids),
    /// Test keys now, by a call that spends no quota; one that passes is used again at once
    Test {
        /// Which.
        #[command(flatten)]
        ids: Ids,
        /// Ask this model, by the smallest call there is
        #[arg(long)]
        model: Option<String>,
    },
}

/// Which keys a list shows.
#[derive(Debug, Default, Args)]
pub struct Which {
    /// Part of a label, tail, fingerprint, note, project or tag
    #[arg(long)]
    q: Option<String>,
    /// In this state: ready, cooling, failed or disabled
    #[arg(long, value_parser = ["ready", "cooling", "failed", "disabled"])]
    state: Option<String>,
    /// Of this project
    #[arg(long)]
    project: Option<String>,
    /// With this tag
    #[arg(long)]
    tag: Option<String>,
    /// That may be used for this model
    #[arg(long)]
    model: Option<String>,
    /// Of this tier
    #[arg(long)]
    priority: Option<u8>,
    /// Ordered by id, label, state, project, added or last_used
    #[arg(long, value_parser = ["id", "label", "state", "project", "added", "last_used"])]
    sort: Option<String>,
    /// The last first
    #[arg(long)]
    desc: bool,
    /// How many at most
    #[arg(long)]
    limit: Option<u32>,
}

impl Which {
    fn query(self) -> (Query, Option<u32>) {
        let Self { q, state, project, tag, model, priority, sort, desc, limit } = self;
        let query = vec![
            ("q", q),
            ("state", state),
            ("project", project),
            ("tag", tag),
            ("model", model),
            ("priority", priority.map(|priority| priority.to_string())),
            ("sort", sort),
            ("order", desc.then(|| "desc".to_owned())),
        ];
        (query, limit)
    }
}

/// Which keys.
#[derive(Debug, Args)]
pub struct Ids {
    /// Their numbers, as `keys list` shows them
    #[arg(required = true)]
    ids: Vec<u32>,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The pool does not open.
    #[error(transparent)]
    Pool(#[from] pool::Error),
    /// A server has the log, and it cannot be asked.
    #[error("a running gemini-pool has this data directory, but it cannot be asked: {0}")]
    Remote(String),
    /// There is no server to be asked.
    #[error(
        "{0}; only a running pool has a feed: start it (`gemini-pool serve`), or read what there is by `gemini-pool \
         events list`"
    )]
    NotRunning(String),
    /// A backup that ended too early.
    #[error("the backup broke off, so it was not kept")]
    BrokenOff(#[source] io::Error),
    /// What the running server said.
    #[error("{0}")]
    Answer(String),
    /// Keys to add.
    #[error("cannot read the keys")]
    Input(#[source] io::Error),
    /// Nothing given.
    #[error("no keys were given: pipe them in (`gemini-pool keys add < keys.txt`) or name a --file")]
    NoKeys,
    /// A file of another program without them.
    #[error("there is no key in it (read as {from}; --from says whose file it is)")]
    NothingToImport {
        /// How it was read.
        from: &'static str,
    },
    /// A list in another program's settings.
    #[error("{name} is no list of texts: it wants a JSON array, or keys separated by commas")]
    BadVariable {
        /// Its name.
        name: &'static str,
    },
    /// An export that nobody confirmed.
    #[error("this writes every upstream key as it is, unsealed; say --yes if that is what you want")]
    SayYes,
    /// None of them can be a key.
    #[error("none of these can be a key: a key has 8 to 512 letters, digits, `.`, `_` and `-`")]
    AllInvalid,
    /// The list makes no sense.
    #[error("the keys must be a JSON array, or separated by lines, spaces or commas")]
    BadList,
    /// A law of the pool does not hold.
    #[error("the simulation broke a law")]
    Simulation(#[from] crate::simulate::Failed),
    /// The picture.
    #[error("cannot write {}", path.display())]
    Plot {
        /// Where to.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A file to be read or written.
    #[error("cannot read or write {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A backup that was just written.
    #[error("the backup that was written is not whole, so it was not kept")]
    Backup(#[from] Unreadable),
    /// A backup that was to be restored.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// Something in it is no key.
    #[error(
        "entry {place} of the JSON array is no key: write a text, or an object with `key` and what else is said of it; \
         see /api/openapi.json, KeyEntry"
    )]
    BadEntry {
        /// Which, from 1 on.
        place: usize,
    },
    /// The file that was to have a proxy's address.
    #[error("cannot read the file with the proxy's address")]
    ProxyFile(#[source] io::Error),
    /// A secret in an argument.
    #[error(
        "others on this machine can read arguments: write the proxy's address with its user name and password into a \
         file, and say --proxy-file FILE"
    )]
    ProxyCredentials,
    /// A secret from standard input.
    #[error("nothing came in: pipe the secret in, on one line")]
    NoSecret,
    /// Some tests failed.
    #[error("these keys failed the test: {}", keys.iter().map(u32::to_string).collect::<Vec<_>>().join(", "))]
    Failed {
        /// Which.
        keys: Vec<u32>,
    },
    /// An audit found something.
    #[error("the log is damaged ({findings} findings); restore a backup of the data directory")]
    Damaged {
        /// How much.
        findings: usize,
    },
    /// A log of a newer version.
    #[error("a newer version of gemini-pool wrote part of the log: audit it with that version")]
    NewerLog,
    /// The terminal.
    #[error("cannot print")]
    Output(#[from] io::Error),
}

/// A stopped pool, opened here, or a running one: both answer the same admin API.
enum Target {
    Here(Arc<Pool>),
    There(Remote),
}

impl Target {
    /// One that is there.
    async fn open(config: &Config) -> Result<Self, Error> {
        Self::open_as(Opening::Finds, config).await
    }

    /// The same; where there is none, it is made.
    async fn open_or_make(config: &Config) -> Result<Self, Error> {
        Self::open_as(Opening::Makes, config).await
    }

    /// One that is there; where there is none, one that was never made.
    async fn open_or_imagine(config: &Config) -> Result<Self, Error> {
        match Self::open(config).await {
            Err(Error::Pool(pool::Error::NoPool { .. })) => {
                Ok(Self::Here(Arc::new(Pool::imagined(config, Clock::system()).await?)))
            }
            opened => opened,
        }
    }

    async fn open_as(opening: Opening, config: &Config) -> Result<Self, Error> {
        match Pool::open(config, Clock::system(), opening).await {
            Ok(pool) => Ok(Self::Here(Arc::new(pool))),
            Err(pool::Error::Journal(journal::Error::InUse { .. })) => {
                Remote::connect(config).map(Self::There)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn call(&self, verb: Method, path: &str, body: Option<Value>) -> Result<Value, Error> {
        let (status, answer) = match self {
            Self::There(remote) => remote.call(verb, path, body).await?,
            Self::Here(pool) => api::call(Arc::clone(pool), verb, path, body).await,
        };
        if (200..300).contains(&status) {
            return serde_json::from_slice(&answer)
                .map_err(|_| Error::Answer("the answer is no JSON".to_owned()));
        }
        Err(refusal(status, &answer))
    }

    /// Gets an answer too long to be held, piece by piece.
    async fn download(&self, path: &str) -> Result<BoxStream<'static, io::Result<Bytes>>, Error> {
        let (status, pieces) = match self {
            Self::There(remote) => {
                let (status, pieces) = remote.download(path).await?;
                (status, pieces.boxed())
            }
            Self::Here(pool) => {
                let (status, pieces) = api::download(Arc::clone(pool), path).await;
                (status, pieces.boxed())
            }
        };
        if (200..300).contains(&status) {
            return Ok(pieces);
        }
        let answer: Vec<Bytes> = pieces.try_collect().await?;
        Err(refusal(status, &answer.concat()))
    }

    async fn close(self) {
        if let Self::Here(pool) = self
            && let Some(pool) = Arc::into_inner(pool)
        {
            pool.close().await;
        }
    }
}

fn refusal(status: u16, answer: &[u8]) -> Error {
    let told = serde_json::from_slice::<Value>(answer).ok();
    let told = told.as_ref().and_then(|problem| problem.get("detail")?.as_str());
    Error::Answer(told.map_or_else(|| format!("the answer was HTTP {status}"), str::to_owned))
}

/// Carries out `gemini-pool keys …`.
///
/// # Errors
/// [`Error`].
pub async fn keys(command: KeysCommand, config: &Config) -> Result<(), Error> {
    // What is wrong with the input is told before anything is opened.
    let said = match &command {
        KeysCommand::Add { file, said } => {
            let mut body = said.body()?;
            body.insert("keys".to_owned(), read_keys(file.as_deref())?.into());
            body
        }
        KeysCommand::Set { said, .. } => said.body()?,
        KeysCommand::Export(args) => args.check().map(|()| Map::new())?,
        _ => Map::new(),
    };
    let imported = if let KeysCommand::Import(args) = &command { Some(args.read()?) } else { None };
    let target = match &command {
        KeysCommand::Import(args) if args.only_tells() => Target::open_or_imagine(config).await?,
        KeysCommand::Add { .. } | KeysCommand::Import(_) => Target::open_or_make(config).await?,
        _ => Target::open(config).await?,
    };
    let done = match (&command, imported) {
        (KeysCommand::Import(args), Some(found)) => args.run(found, &target).await,
        _ => on_keys(command, said, &target).await,
    };
    target.close().await;
    done
}

async fn on_keys(command: KeysCommand, said: Map<String, Value>, target: &Target) -> Result<(), Error> {
    match command {
        KeysCommand::Add { .. } => {
            let answer = target.call(Method::POST, "/keys/bulk_add", Some(said.into())).await?;
            let results = answer.get("results").and_then(Value::as_array).cloned().unwrap_or_default();
            let count =
                |word| results.iter().filter(|result| result.get("result") == Some(&json!(word))).count();
            say(&format!(
                "{} added, {} there already, {} invalid",
                count("added"),
                count("duplicate"),
                count("invalid")
            ))?;
            if count("invalid") == results.len() { Err(Error::AllInvalid) } else { Ok(()) }
        }
        KeysCommand::Export(args) => args.run(target).await,
        // Carried out before: it has read its file.
        KeysCommand::Import(_) => Ok(()),
        KeysCommand::Set { ids: Ids { ids }, .. } => {
            target.call(Method::POST, "/keys/bulk_update", Some(json!({"ids": ids, "set": said}))).await?;
            say(&format!("{} changed", ids.len()))
        }
        KeysCommand::List { which, json } => {
            let (query, limit) = which.query();
            let answer = pages::whole(target, "/keys", "keys", &query, limit).await?;
            if json { say(&format!("{answer:#}")) } else { say(&table(&answer)) }
        }
        KeysCommand::Remove { ids: Ids { ids }, force } => {
            let body = json!({"ids": ids, "force": force});
            target.call(Method::POST, "/keys/bulk_delete", Some(body)).await?;
            say(&format!("{} removed", ids.len()))
        }
        KeysCommand::Reset(Ids { ids }) => {
            target.call(Method::POST, "/keys/bulk_reset", Some(json!({"ids": ids}))).await?;
            say(&format!("{} reset", ids.len()))
        }
        KeysCommand::Test { ids: Ids { ids }, model } => testing::test(&ids, model.as_deref(), target).await,
        KeysCommand::Enable(Ids { ids }) => switch(target, &ids, true).await,
        KeysCommand::Disable(Ids { ids }) => switch(target, &ids, false).await,
    }
}

async fn switch(target: &Target, ids: &[u32], enabled: bool) -> Result<(), Error> {
    let path = if enabled { "/keys/bulk_enable" } else { "/keys/bulk_disable" };
    target.call(Method::POST, path, Some(json!({"ids": ids}))).await?;
    say(&format!("{} {}", ids.len(), if enabled { "enabled" } else { "disabled" }))
}

/// Prints every setting.
///
/// # Errors
/// [`Error::Output`].
pub fn show_config(config: &Config, json: bool) -> Result<(), Error> {
    if json {
        return say(&format!("{:#}", json!(config.shown)));
    }
    let width = config.shown.iter().map(|shown| shown.name.len()).max().unwrap_or_default();
    let lines = config.shown.iter().map(|shown| {
        let value = if shown.value.is_empty() { "-" } else { &shown.value };
        format!("{:width$}  {:11}  {value}", shown.name, shown.origin)
    });
    say(&lines.collect::<Vec<_>>().join("\n"))?;
    // Not among the values: scripts read those.
    eprintln!("So a start would use them. What is in force may be another thing: gemini-pool settings list");
    Ok(())
}

/// Prints a text and ends the line.
///
/// # Errors
/// [`Error::Output`]; none where whoever reads has seen enough.
pub fn say(text: &str) -> Result<(), Error> {
    match writeln!(io::stdout().lock(), "{text}") {
        // Whoever reads has seen enough (`| head`).
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        said => Ok(said?),
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn number(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::as_u64).unwrap_or_default()
}

/// One key a line, with what stands in its way.
fn table(answer: &Value) -> String {
    let keys = answer.get("keys").and_then(Value::as_array).cloned().unwrap_or_default();
    if keys.is_empty() && number(answer, "total") > 0 {
        return "None of the keys fits.".to_owned();
    }
    if keys.is_empty() {
        return "No keys yet. Add some: gemini-pool keys add < keys.txt".to_owned();
    }
    let mut rows = vec![
        ["ID", "STATE", "KEY", "PROJECT", "LABEL", "SAID OF IT", "CLOSED FOR"].map(str::to_owned).to_vec(),
    ];
    for key in &keys {
        let gates = key.get("gates").and_then(Value::as_array).cloned().unwrap_or_default();
        let gates = gates.iter().map(|gate| {
            let what = gate.get("model").and_then(Value::as_str).unwrap_or("everything");
            let until = gate.get("until").and_then(Value::as_str).map(|until| format!(" until {until}"));
            format!("{what}: {}{}", text(gate, "cause"), until.unwrap_or_default())
        });
        rows.push(vec![
            number(key, "id").to_string(),
            text(key, "state").to_owned(),
            format!("…{}", text(key, "tail")),
            text(key, "project").to_owned(),
            text(key, "label").to_owned(),
            said_of(key),
            gates.collect::<Vec<_>>().join("; "),
        ]);
    }
    columns(&rows)
}

/// What is not as it is where nobody said anything.
fn said_of(key: &Value) -> String {
    let numbers = [("weight", u64::from(WEIGHT)), ("priority", u64::from(PRIORITY))];
    let numbers = numbers.into_iter().filter(|(name, usual)| number(key, name) != *usual);
    let mut said: Vec<String> = numbers.map(|(name, _)| format!("{name} {}", number(key, name))).collect();
    for name in ["models", "tags"] {
        let words = key.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let words = words.collect::<Vec<_>>().join(" ");
        said.extend((!words.is_empty()).then(|| format!("{name} {words}")));
    }
    for name in ["proxy", "note"] {
        let word = text(key, name).replace('\n', " ");
        said.extend((!word.is_empty()).then(|| format!("{name} {word}")));
    }
    said.join(", ")
}
