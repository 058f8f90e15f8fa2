//! The pool, without its doors: log, vault, scheduler and clients, opened together.
//!
//! What an operator can do to the pool is done here, once, whether it comes over
//! the admin API or from the command line of a stopped pool.

mod admins;
pub mod audit;
mod clients;
pub mod fill;
mod keys;
pub mod master;
pub mod restore;
pub mod salvage;
mod settings;
mod transfer;

use std::{
    fs::OpenOptions,
    io::{Read as _, Write as _},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use projections::{
    Millis,
    event::{Actor, AdminPasswordChanged},
};
use secrecy::{ExposeSecret, SecretString};

use crate::{
    access::Access,
    auth::{self, Admins, Attempts, Gatekeeper, Guesses, Signer},
    body_memory::BodyMemory,
    config::{Config, Database},
    feed::Feed,
    gauges::Gauges,
    gemini::{BadBase, Gemini},
    health::{checkup::Checkups, prober::Prober},
    journal::{self, Journal, fjall::FjallJournal, memory::MemoryJournal},
    ledger::{
        CommitError, Ledger, OpenError, View,
        clock::Clock,
        rules::{self, Decision, NewClient},
    },
    request_log::{self, RequestLog},
    scheduler::Scheduler,
    settings::Settings,
    shares::Shares,
    traces::Traces,
    vault::{self, Vault},
};

use self::audit::Audits;
pub use self::{
    admins::LoginError,
    clients::AccessKey,
    keys::{GivenKey, GivenResult, Revealed, Wanted},
    transfer::{ExportedKey, Imported},
};

/// A machine's clock that is so many milliseconds behind the log is worth a word.
const CLOCK_BEHIND: Millis = 60_000;
const MASTER_KEY_FILE: &str = "master.key";
const SECRET_KEY_FILE: &str = "secret.key";
/// Where the command line finds a running server, in DATA_DIR.
pub(crate) const ADDRESS_FILE: &str = "server.address";
/// The name under which the administrator's password that was made or set is sealed, as a hash.
const ADMIN_PASSWORD: &str = "meta/admin-password";
/// The name under which the hash of the environment's password is sealed, as it was at the last start.
const ADMIN_TOLD: &str = "meta/admin-told";

/// Why the pool does not open.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log.
    #[error(transparent)]
    Log(#[from] OpenError),
    /// The journal below it.
    #[error(transparent)]
    Journal(#[from] journal::Error),
    /// The sealed secrets.
    #[error(transparent)]
    Vault(#[from] vault::Error),
    /// A file with a secret.
    #[error("cannot read or make {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The administrator's password.
    #[error(transparent)]
    Password(#[from] auth::HashError),
    /// A new master key.
    #[error(transparent)]
    NewMaster(#[from] master::BadKey),
    /// The upstream address.
    #[error(transparent)]
    Base(#[from] BadBase),
    /// Nothing is there.
    #[error(
        "there is no pool in {}: name its folder by --data-dir, DATA_DIR or DATABASE_URL, or make one by \
         `gemini-pool serve`, `keys add`, `keys import` or `clients create`",
        folder.display()
    )]
    NoPool {
        /// Where.
        folder: PathBuf,
    },
    /// A pool was there, and its log is not.
    #[error(
        "{} is missing or empty, but {} is there: a pool was here, and its log is gone. Is its volume mounted? If the log \
         was lost, restore a backup (`gemini-pool restore FILE`). To begin a new one, start once with NEW_LOG=true",
        log.display(), secret.display()
    )]
    LogIsGone {
        /// Where it should be.
        log: PathBuf,
        /// What tells that it was there.
        secret: PathBuf,
    },
    /// The machine gives no thread.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
    /// The first events.
    #[error("cannot write the first events")]
    Commit(#[from] CommitError),
}

/// See the module.
pub struct Pool {
    /// Records, and holds the state.
    pub ledger: Ledger,
    /// Chooses keys.
    pub scheduler: Arc<Scheduler>,
    /// Keeps secrets.
    pub vault: Arc<Vault>,
    /// Lets apps in.
    pub gatekeeper: Arc<Gatekeeper>,
    /// Makes guessing slow, of access keys and of METRICS_TOKEN.
    pub guesses: Arc<Guesses>,
    /// Holds apps to their limits.
    pub access: Arc<Access>,
    /// Lets administrators in.
    pub admins: Arc<Admins>,
    /// Wrong logins.
    attempts: Arc<Attempts>,
    /// Calls Google.
    pub gemini: Gemini,
    /// Tells what is recorded.
    pub feed: Arc<Feed>,
    /// Checks keys.
    pub prober: Arc<Prober>,
    /// Checks many keys, as jobs.
    pub checkups: Checkups,
    /// Tells the time.
    pub clock: Clock,
    /// What is in force.
    pub settings: Arc<Settings>,
    /// What bodies of requests may take, whoever they come from (BODY_MEMORY_BYTES).
    pub body_memory: Arc<BodyMemory>,
    /// Exports of requests and of keys under way: 16, and 4 of one session.
    pub exports: Shares,
    /// Backups under way: 4, and 2 of one session.
    pub backups: Shares,
    /// Audits of the log.
    pub audits: Arc<Audits>,
    /// Finds requests.
    pub request_log: Arc<RequestLog>,
    /// Its thread.
    follows: request_log::Keeper,
    /// Tells a collector what ended; none: nobody asked for it.
    pub traces: Option<Arc<Traces>>,
    /// What goes on right now.
    pub gauges: Arc<Gauges>,
    /// The administrator's password, if it was made just now: to be told once.
    pub made_password: Option<SecretString>,
}

/// What an opener may do beside reading what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// A service: it makes the pool where there is none, and puts the environment's password in force.
    Serves,
    /// A command that may be the first one: it makes the pool where there is none. The password is a service's matter.
    Makes,
    /// Any other command: a folder without a pool stays one.
    Finds,
}

impl Pool {
    /// Opens the log and everything that follows it.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn open(config: &Config, clock: Clock, opening: Opening) -> Result<Self, Error> {
        if opening == Opening::Finds {
            refuse_without_a_pool(config)?;
        }
        refuse_a_lost_log(config)?;
        let gemini = Gemini::new(&config.gemini_base_url)?.through(config.outbound_proxy.clone());
        let journal: Arc<dyn Journal> = match &config.database {
            Database::Fjall(folder) => Arc::new(FjallJournal::open(&folder.join("log"))?),
            Database::Memory => Arc::new(MemoryJournal::new()),
        };
        if let Database::Fjall(folder) = &config.database {
            let left = restore::remove_what_a_restore_left(folder);
            left.map_err(|source| Error::File { path: folder.clone(), source })?;
        }
        // A killed server left it; whoever listens there now is somebody else.
        let _ = std::fs::remove_file(config.data_dir.join(ADDRESS_FILE));
        let sealed = journal.secrets()?;
        let (vault, mut fresh) = master::open_vault(config, &sealed)?;
        let password = match opening {
            Opening::Serves => admins::in_force(config, &vault, &sealed)?,
            Opening::Makes | Opening::Finds => admins::as_it_was(&vault, &sealed)?,
        };
        fresh.extend(password.secrets);
        let told = config.admin_password.is_some();
        let (name, lifetime) = (&config.admin_username, config.access_token_lifetime);
        let admins = Admins::new(name, &password.hash, told, signer(config)?, lifetime);
        let vault = Arc::new(vault);
        let scheduler = Arc::new(Scheduler::new(config.strategy));
        let gatekeeper = Arc::new(Gatekeeper::new(Arc::clone(&vault)));
        let access = Arc::<Access>::default();
        let traces = config.traces.clone().map(|collector| Arc::new(Traces::new(collector)));
        let settings = Arc::new(Settings::new(config.clone()));
        let request_log = Arc::new(RequestLog::new(Arc::clone(&settings)));
        // Whom the gatekeeper knows must have a door.
        let mut views: Vec<Arc<dyn View>> = vec![
            Arc::clone(&settings) as _,
            Arc::clone(&vault) as _,
            Arc::clone(&scheduler) as _,
            Arc::clone(&access) as _,
            Arc::clone(&gatekeeper) as _,
            Arc::clone(&request_log) as _,
        ];
        views.extend(traces.clone().map(|traces| traces as _));
        let opened = {
            let clock = clock.clone();
            let settings = Arc::clone(&settings);
            let failures = move || settings.now().max_failures_per_key;
            move || Ledger::open(journal, clock, failures, views)
        };
        // Reading a long log takes a while; the runtime's threads are for requests.
        let ledger = tokio::task::spawn_blocking(opened)
            .await
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        let last = ledger.state().at;
        let behind = clock.go_on_from(last);
        if behind > CLOCK_BEHIND {
            tracing::warn!(
                seconds = behind / 1_000,
                "the machine's clock is behind the log: time goes on from the log's last event until it has caught up"
            );
        }
        if !fresh.is_empty() {
            let changed = password.changed.then(|| AdminPasswordChanged { actor: Actor::Env }.into());
            let events = changed.into_iter().collect();
            ledger.commit(move |_| Ok(Decision { events, secrets: fresh, answer: () })).await?;
        }
        let prober = Prober::new(
            ledger.clone(),
            Arc::clone(&scheduler),
            Arc::clone(&vault),
            gemini.clone(),
            clock.clone(),
            Arc::clone(&settings),
        );
        let (admins, prober) = (Arc::new(admins), Arc::new(prober));
        let (chooses, signs) = (Arc::clone(&scheduler), Arc::clone(&admins));
        settings.follow(move |config| {
            chooses.set_strategy(config.strategy);
            signs.set_lifetime(config.access_token_lifetime);
        });
        let feed = Feed::new(ledger.clone());
        let follows = request_log::Keeper::start(Arc::clone(&request_log), ledger.reader(), clock.clone())?;
        let attempts = Arc::new(Attempts::new(&ledger.state().sessions, clock.now()));
        let gauges = Arc::new(Gauges::new(clock.now()));
        Ok(Self {
            ledger,
            feed,
            scheduler,
            vault,
            gatekeeper,
            guesses: Arc::default(),
            access,
            admins,
            attempts,
            gemini,
            checkups: Checkups::new(Arc::clone(&prober), clock.clone()),
            prober,
            clock,
            exports: Shares::new(16, 4),
            backups: Shares::new(4, 2),
            body_memory: BodyMemory::new(config.body_memory_bytes),
            settings,
            audits: Arc::default(),
            request_log,
            follows,
            traces,
            gauges,
            made_password: password.made,
        })
    }

    /// One that is nowhere but in memory: to tell what would become of something where there is no pool yet.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn imagined(config: &Config, clock: Clock) -> Result<Self, Error> {
        let secret = || vault::random::<32>().map(|bytes| Some(SecretString::from(hex(&bytes))));
        let config = Config {
            database: Database::Memory,
            // Given, they are in no file.
            master_key: secret()?,
            secret_key: secret()?,
            ..config.clone()
        };
        Self::open(&config, clock, Opening::Makes).await
    }

    /// Takes in the keys and clients that the environment names.
    ///
    /// # Errors
    /// [`Error::Commit`], [`Error::Vault`].
    pub async fn import_environment(&self, config: &Config) -> Result<(), Error> {
        let given = config
            .gemini_api_keys
            .iter()
            .map(|secret| GivenKey { secret: secret.clone(), wanted: Wanted::default() });
        let results = self.add_keys(given.collect(), Actor::Env).await?;
        for (_, entry) in results.iter().zip(1_u32..).filter(|(result, _)| **result == GivenResult::NotAKey) {
            tracing::warn!(entry, "this entry of GEMINI_API_KEYS cannot be a key, and is left out");
        }
        let clients: Vec<NewClient> = config
            .allowed_api_keys
            .iter()
            .map(|key| key.expose_secret().as_bytes())
            .map(|key| NewClient { digest: self.vault.client_digest(key), tail: vault::tail_of(key) })
            .collect();
        self.ledger.commit(move |state| rules::sync_env_clients(state, clients)).await?;
        Ok(())
    }

    /// Writes everything to the disk and lets go of the log.
    pub async fn close(self) {
        self.feed.stop();
        self.checkups.stop().await;
        // They hold on to the ledger too.
        drop((self.checkups, self.prober, self.feed));
        drop(self.follows);
        self.ledger.close().await;
    }
}

/// A folder that is named by mistake does not become a pool.
///
/// # Errors
/// [`Error::NoPool`], [`Error::LogIsGone`].
pub(crate) fn refuse_without_a_pool(config: &Config) -> Result<(), Error> {
    refuse_a_lost_log(config)?;
    match &config.database {
        Database::Fjall(folder) if FjallJournal::is_absent(&folder.join("log")) => {
            Err(Error::NoPool { folder: folder.clone() })
        }
        _ => Ok(()),
    }
}

/// Secrets of a pool without its log: a volume that is not mounted, or a log that was moved away. A new log beside them
/// would serve without a key, and hide that the old one is somewhere.
///
/// # Errors
/// [`Error::LogIsGone`].
fn refuse_a_lost_log(config: &Config) -> Result<(), Error> {
    let Database::Fjall(folder) = &config.database else { return Ok(()) };
    let log = folder.join("log");
    if config.new_log || !FjallJournal::is_absent(&log) {
        return Ok(());
    }
    let folders = [&config.data_dir, folder];
    let secrets = folders
        .into_iter()
        .flat_map(|folder| [MASTER_KEY_FILE, SECRET_KEY_FILE].map(|name| folder.join(name)));
    match secrets.into_iter().find(|path| path.exists()) {
        Some(secret) => Err(Error::LogIsGone { log, secret }),
        None => Ok(()),
    }
}

/// Whether a process has the pool's log open; of one that is in memory alone nobody can tell, so: perhaps.
#[must_use]
pub fn is_open(config: &Config) -> bool {
    match &config.database {
        Database::Fjall(folder) => FjallJournal::is_open(&folder.join("log")),
        Database::Memory => true,
    }
}

/// What signs administrators' tokens; the command line makes its own with it.
///
/// # Errors
/// [`Error::File`], [`Error::Vault`].
pub fn signer(config: &Config) -> Result<Signer, Error> {
    own_secret(config.secret_key.as_ref(), &config.data_dir, SECRET_KEY_FILE, true)
        .map(|secret| Signer::new(&secret))
}

/// A secret of the pool's own: as told, or from its file, or made now and kept there for its owner alone.
///
/// Where things were sealed with it, a new one would open nothing: then `may_make` is false.
fn own_secret(
    told: Option<&SecretString>,
    folder: &Path,
    name: &str,
    may_make: bool,
) -> Result<SecretString, Error> {
    if let Some(told) = told {
        return Ok(told.clone());
    }
    let path = folder.join(name);
    let failed = |source| Error::File { path: path.clone(), source };
    if !may_make && !path.exists() {
        let lost = "it is gone, and the stored keys are sealed with it: restore it from a backup, or set MASTER_KEY; \
                    or move the data directory away and add the keys again";
        return Err(failed(std::io::Error::new(std::io::ErrorKind::NotFound, lost)));
    }
    private_folder(folder).map_err(failed)?;
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
        Ok(mut file) => {
            let secret = hex(&vault::random::<32>()?);
            file.write_all(secret.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
            Ok(SecretString::from(secret))
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let mut text = String::new();
            OpenOptions::new()
                .read(true)
                .open(&path)
                .and_then(|mut file| file.read_to_string(&mut text))
                .map_err(failed)?;
            let text = text.trim();
            if text.len() < 16 {
                let broken = "it holds no secret; restore it from a backup, or delete it if nothing was sealed with it";
                return Err(failed(std::io::Error::new(std::io::ErrorKind::InvalidData, broken)));
            }
            Ok(SecretString::from(text.to_owned()))
        }
        Err(error) => Err(failed(error)),
    }
}

/// Makes a folder for its owner alone, where there is none.
fn private_folder(folder: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// A password that nobody chose: 20 characters without look-alikes, 115 bits.
fn made_up() -> Result<SecretString, Error> {
    const LETTERS: &[u8; 56] = b"abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
    let mut password = String::new();
    while password.len() < 20 {
        // Numbers beyond the last whole multiple are dropped, or some letters would come more often.
        let [byte] = vault::random::<1>()?;
        if let Some(letter) = LETTERS.get(usize::from(byte) % LETTERS.len()).filter(|_| byte < 224) {
            password.push(char::from(*letter));
        }
    }
    Ok(SecretString::from(password))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
