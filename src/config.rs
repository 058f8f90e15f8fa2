//! Settings: flags, environment and `.env`, read once at start-up.
//!
//! Owns every setting's name, default, meaning and check; the only place that
//! looks at the environment. Parsing is pure and reports every mistake at once,
//! each with the variable's name and what it wants. Later sources win:
//! defaults, then `.env`, then the environment, then flags, then what the log
//! says of those that may change while the pool runs ([`live`]). Its invariant: a
//! setting that is taken has an effect, and one that has none is refused or
//! warned about.

pub mod catalogue;
mod live;
pub(crate) mod read;
pub(crate) mod weak;

use std::{collections::BTreeMap, fmt, net::IpAddr, path::PathBuf, time::Duration};

use projections::event::Strategy;
use secrecy::SecretString;

pub use self::{
    catalogue::{SETTINGS, Setting},
    read::{Sources, parse},
};
use crate::{gemini::route::Proxy, network::Range, sites::Origins};

/// Where the log is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Database {
    /// An embedded database in a folder.
    Fjall(PathBuf),
    /// Nowhere: gone with the process.
    Memory,
}

/// What to do with requests when the log cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFailure {
    /// Serve them; what is not recorded is counted.
    Continue,
    /// Refuse them.
    Refuse,
    /// End the process, so that what watches it starts it anew.
    Exit,
}

/// Which bodies of requests and answers are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogBodies {
    /// None.
    Off,
    /// Those of requests that did not go well.
    Errors,
    /// All.
    All,
}

/// Every setting, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// GEMINI_API_KEYS
    pub gemini_api_keys: Vec<SecretString>,
    /// ALLOWED_API_KEYS
    pub allowed_api_keys: Vec<SecretString>,
    /// ALLOW_WEAK_KEYS
    pub allow_weak_keys: bool,
    /// DATABASE_URL
    pub database: Database,
    /// DATA_DIR
    pub data_dir: PathBuf,
    /// ADMIN_USERNAME
    pub admin_username: String,
    /// ADMIN_PASSWORD; none: one is made
    pub admin_password: Option<SecretString>,
    /// SECRET_KEY; none: one is made
    pub secret_key: Option<SecretString>,
    /// MASTER_KEY; none: one is made
    pub master_key: Option<SecretString>,
    /// METRICS_TOKEN; none: only this machine reads them
    pub metrics_token: Option<SecretString>,
    /// OTEL_EXPORTER_OTLP_ENDPOINT, where traces go to below it
    pub traces: Option<http::Uri>,
    /// ACCESS_TOKEN_EXPIRE_MINUTES
    pub access_token_lifetime: Duration,
    /// HOST; none: decided by who may come in
    pub host: Option<IpAddr>,
    /// PORT
    pub port: u16,
    /// ALLOW_ANONYMOUS
    pub allow_anonymous: bool,
    /// PUBLIC_URL, without a slash at its end
    pub public_url: Option<String>,
    /// TRUSTED_PROXIES
    pub trusted_proxies: Vec<Range>,
    /// ALLOWED_ORIGINS
    pub allowed_origins: Origins,
    /// GEMINI_BASE_URL, without a slash at its end
    pub gemini_base_url: String,
    /// OUTBOUND_PROXY
    pub outbound_proxy: Option<Proxy>,
    /// MAX_FAILURES_PER_KEY
    pub max_failures_per_key: u32,
    /// KEY_RECHECK_INTERVAL
    pub key_recheck_interval: Duration,
    /// MAX_ATTEMPTS
    pub max_attempts: u8,
    /// QUEUE_TIMEOUT: how long a request may wait for a key; zero: not at all
    pub queue_timeout: Duration,
    /// STRATEGY
    pub strategy: Strategy,
    /// REQUEST_TIMEOUT: to the first byte of an answer, all tries together
    pub request_timeout: Duration,
    /// STREAM_IDLE_TIMEOUT: between two pieces of an answer
    pub stream_idle_timeout: Duration,
    /// MAX_BODY_BYTES
    pub max_body_bytes: usize,
    /// BODY_MEMORY_BYTES
    pub body_memory_bytes: usize,
    /// MAX_CONNECTIONS; none: as many as there are file descriptors for
    pub max_connections: Option<usize>,
    /// SHUTDOWN_TIMEOUT
    pub shutdown_timeout: Duration,
    /// NEW_LOG
    pub new_log: bool,
    /// LOG_FAILURE
    pub log_failure: LogFailure,
    /// LOG_RETENTION_DAYS: full days that traffic stays in the log; 0: for ever
    pub log_retention_days: u32,
    /// LOG_BODIES
    pub log_bodies: LogBodies,
    /// LOG_BODIES_RETENTION_DAYS
    pub log_bodies_retention_days: u16,
    /// DEBUG
    pub debug: bool,
    /// Where each came from, for people.
    pub shown: Vec<Shown>,
    /// What people should know though it stops nothing.
    pub warnings: Vec<String>,
    /// What was said at the start, without secrets: what the log says is read beside it.
    pub(crate) told: Sources,
}

/// A setting as people see it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Shown {
    /// Its name.
    pub name: &'static str,
    /// Its value; a secret's is masked.
    pub value: String,
    /// Where it came from.
    pub origin: Origin,
    /// What it takes; none: anything, or a secret.
    #[serde(skip)]
    pub wants: Option<String>,
}

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Nobody said.
    Default,
    /// The file `.env`.
    DotEnv,
    /// The environment.
    Environment,
    /// The file that a variable ending in `_FILE` names.
    File,
    /// The command line.
    Flag,
    /// An operator, while the pool ran.
    Log,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Default => "default",
            Self::DotEnv => ".env",
            Self::Environment => "environment",
            Self::File => "file",
            Self::Flag => "flag",
            Self::Log => "log",
        })
    }
}

/// One thing wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Which setting.
    pub name: String,
    /// What it wants instead.
    pub wants: String,
}

/// Everything wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the settings have {} mistake(s):", self.0.len())?;
        self.0.iter().try_for_each(|mistake| writeln!(f, "  {}: {}", mistake.name, mistake.wants))?;
        write!(
            f,
            "Each setting is explained in .env.example; `gemini-pool config` shows what a start would use."
        )
    }
}

impl std::error::Error for Mistakes {}

/// Reads the process's environment and `.env`.
///
/// # Errors
/// [`Mistakes`], all of them.
pub fn load(flags: BTreeMap<&'static str, String>) -> Result<Config, Mistakes> {
    #[expect(clippy::disallowed_methods, reason = "this is the place where the environment comes in")]
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string())))
        .collect::<Vec<_>>();
    let mut mistakes = Vec::new();
    let mut dot_env = BTreeMap::new();
    match std::fs::read_to_string(".env") {
        Ok(text) => {
            for line in dotenvy::from_read_iter(quoted(&text).as_bytes()) {
                match line {
                    Ok((name, value)) => drop(dot_env.insert(name, value)),
                    // The cause would repeat the line, which may hold a secret.
                    Err(_) => mistakes.push(Mistake {
                        name: ".env".to_owned(),
                        wants: format!(
                            "line after `{}` cannot be read; write NAME=value, with quotes around spaces",
                            dot_env.last_key_value().map_or("the beginning", |(name, _)| name)
                        ),
                    }),
                }
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(_) => mistakes
            .push(Mistake { name: ".env".to_owned(), wants: "a file that can be read, or none".to_owned() }),
    }
    let mut variables = BTreeMap::new();
    for (name, value) in environment {
        match value {
            Ok(value) => drop(variables.insert(name, value)),
            Err(_) if SETTINGS.iter().any(|setting| setting.name == name) => {
                mistakes.push(Mistake { name, wants: "text in UTF-8".to_owned() });
            }
            Err(_) => {}
        }
    }
    let sources = Sources { flags, environment: variables, dot_env, ..Sources::default() };
    match parse(&sources, &|path| std::fs::read_to_string(path)) {
        Ok(config) if mistakes.is_empty() => Ok(config),
        Ok(_) => Err(Mistakes(mistakes)),
        Err(Mistakes(more)) => Err(Mistakes(mistakes.into_iter().chain(more).collect())),
    }
}

/// With quotes around JSON arrays, as which other programs read keys: `KEYS=["a", "b"]` would else lose its own.
fn quoted(dot_env: &str) -> String {
    let lines = dot_env.lines().map(|line| {
        let (name, value) = line.split_once('=').map_or((line, ""), |(name, value)| (name, value.trim()));
        let bare = value.starts_with('[') && value.ends_with(']') && !value.contains('\'');
        if bare { format!("{name}='{value}'\n") } else { format!("{line}\n") }
    });
    lines.collect()
}
