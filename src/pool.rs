//! The pool, without its doors: log, vault, scheduler and clients, opened together.
//!
//! What an operator can do to the pool is done here, once, whether it comes over
//! the admin API or from the command line of a stopped pool.

pub mod audit;
mod keys;
pub mod master;
pub mod restore;
mod settings;
mod transfer;

use std::{
    fs::OpenOptions,
    io::{Read as _, Write as _},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use projections::{Millis, event::Actor};
use secrecy::{ExposeSecret, SecretString};

use crate::{
    auth::{self, Admins, Gatekeeper},
    config::{Config, Database},
    feed::Feed,
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
    vault::{self, Vault},
};

use self::audit::Audits;
pub use self::{
    keys::{GivenKey, GivenResult, Revealed, Wanted},
    transfer::{ExportedKey, Imported},
};

/// A machine's clock that is so many milliseconds behind the log is worth a word.
const CLOCK_BEHIND: Millis = 60_000;
/// Where the command line finds a running server, in DATA_DIR.
pub(crate) const ADDRESS_FILE: &str = "server.address";
/// The name under which the made administrator's password is sealed, as a hash.
const ADMIN_PASSWORD: &str = "meta/admin-password";

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
    /// Lets administrators in.
    pub admins: Arc<Admins>,
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
    /// Audits of the log.
    pub audits: Arc<Audits>,
    /// Finds requests.
    pub request_log: Arc<RequestLog>,
    /// Its thread.
    follows: request_log::Keeper,
    /// The administrator's password, if it was made just now: to be told once.
    pub made_password: Option<SecretString>,
}

impl Pool {
    /// Opens the log and everything that follows it.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn open(config: &Config, clock: Clock) -> Result<Self, Error> {
        let gemini = Gemini::new(&config.gemini_base_url)?.through(config.outbound_proxy.clone());
        let journal: Arc<dyn Journal> = match &config.database {
            Database::Fjall(folder) => Arc::new(FjallJournal::open(&folder.join("log"))?),
            Database::Memory => Arc::new(MemoryJournal::new()),
        };
        // A killed server left it; whoever listens there now is somebody else.
        let _ = std::fs::remove_file(config.data_dir.join(ADDRESS_FILE));
        let sealed = journal.secrets()?;
        let (vault, mut fresh) = master::open_vault(config, &sealed)?;
        let kept = sealed.iter().find(|(name, _)| name == ADMIN_PASSWORD);
        let mut made_password = None;
        let hash = match kept {
            _ if config.admin_password.is_some() => String::new(),
            Some((name, sealed)) => String::from_utf8_lossy(&vault.unseal(name, sealed)?).into_owned(),
            None => {
                let password = made_up()?;
                let hash = auth::hash_password(&password)?;
                fresh.push(vault.seal(ADMIN_PASSWORD, hash.as_bytes())?);
                made_password = Some(password);
                hash
            }
        };
        let admins = admins(config, hash)?;
        let vault = Arc::new(vault);
        let scheduler = Arc::new(Scheduler::new(config.strategy));
        let gatekeeper = Arc::new(Gatekeeper::new(Arc::clone(&vault)));
        let settings = Arc::new(Settings::new(config.clone()));
        let request_log = Arc::new(RequestLog::new(Arc::clone(&settings)));
        let views: Vec<Arc<dyn View>> = vec![
            Arc::clone(&settings) as _,
            Arc::clone(&vault) as _,
            Arc::clone(&scheduler) as _,
            Arc::clone(&gatekeeper) as _,
            Arc::clone(&request_log) as _,
        ];
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
            ledger.commit(move |_| Ok(Decision { events: Vec::new(), secrets: fresh, answer: () })).await?;
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
        Ok(Self {
            ledger,
            feed,
            scheduler,
            vault,
            gatekeeper,
            admins,
            gemini,
            checkups: Checkups::new(Arc::clone(&prober), clock.clone()),
            prober,
            clock,
            settings,
            audits: Arc::default(),
            request_log,
            follows,
            made_password,
        })
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
        self.add_keys(given.collect(), Actor::Env).await?;
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

/// What administrators are checked with; the command line makes its tokens with it too.
///
/// # Errors
/// [`Error::File`], [`Error::Vault`].
pub fn admins(config: &Config, hash: String) -> Result<Admins, Error> {
    let secret = own_secret(config.secret_key.as_ref(), &config.data_dir, "secret.key", true)?;
    let (name, lifetime) = (&config.admin_username, config.access_token_lifetime);
    Ok(Admins::new(name, config.admin_password.clone(), hash, &secret, lifetime))
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
