//! The program: arguments, logging, and exit codes. Everything else is in the library.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal},
    process::ExitCode,
    sync::{Arc, atomic::AtomicBool},
};

use anyhow::Context;
use clap::{Args, CommandFactory, Parser, Subcommand};
use gemini_pool::{
    commands,
    config::{self, Config},
    demo, descriptors,
    logging::{self, Switch, Teller},
    server::Service,
    settings,
};
use secrecy::ExposeSecret;
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};
use tokio::signal::unix::{SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Settings that the command line says.
type Flagged = BTreeMap<&'static str, String>;

/// Exit code for settings that are wrong (sysexits.h, EX_CONFIG).
const EX_CONFIG: u8 = 78;

/// One pool of Google Gemini API keys behind Gemini's own API.
///
/// Settings come from the environment and `.env`; see `gemini-pool config` and .env.example.
#[derive(Parser)]
#[command(version, about, long_about)]
struct Cli {
    #[command(flatten)]
    settings: Flags,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Settings that are often given by hand; all others are in the environment.
#[derive(Args)]
struct Flags {
    /// Port to listen on (PORT)
    #[arg(long, global = true)]
    port: Option<String>,
    /// Address to listen on (HOST)
    #[arg(long, global = true)]
    host: Option<String>,
    /// Folder for the log and generated secrets (DATA_DIR; DATABASE_URL=fjall:DIR)
    #[arg(long, global = true)]
    data_dir: Option<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve requests (what happens without a command)
    Serve,
    /// Show a pool at work: a simulated Google, a dozen keys, some traffic; nothing is kept
    Demo,
    /// Compare ways to choose keys in a simulated day, from a seed; nothing is kept
    Simulate(commands::SimulateArgs),
    /// Upstream keys, of a running or a stopped pool
    #[command(subcommand)]
    Keys(commands::KeysCommand),
    /// Apps' access keys, of a running or a stopped pool
    #[command(subcommand)]
    Clients(commands::ClientsCommand),
    /// The administrator
    #[command(subcommand)]
    Admin(commands::AdminCommand),
    /// Google projects: what is left of their quotas, what is closed, and which may be one
    Projects {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Which key can serve which model, and if not, why and until when
    Models(commands::ModelsArgs),
    /// What lives at Google: files, caches and the like
    Resources(commands::ResourcesArgs),
    /// Settings, of a running or a stopped pool
    #[command(subcommand)]
    Settings(commands::SettingsCommand),
    /// What clients asked, and what was tried for them
    #[command(subcommand)]
    Requests(commands::RequestsCommand),
    /// The pool at a glance: who can serve, what was served, what needs attention
    Status(commands::StatusArgs),
    /// Whether the running server is ready: exit code 0, or 1 and why; for what watches containers
    Healthcheck,
    /// The log
    #[command(subcommand)]
    Events(commands::EventsCommand),
    /// Why a request was served as it was, or why a key was passed over at a time, from the log
    Explain(commands::ExplainArgs),
    /// The pool as it was after an event or at a time, and what changed since
    Replay(commands::ReplayArgs),
    /// Write the log and the sealed secrets into a file, also while the pool runs
    Backup(commands::BackupArgs),
    /// Make a data directory of a backup
    Restore(commands::RestoreArgs),
    /// Make a new data directory of all that can be proven of a damaged one, which stays as it is
    Salvage(commands::SalvageArgs),
    /// Whether the log is as it was written
    #[command(subcommand)]
    Audit(commands::AuditCommand),
    /// For those who work on this program
    #[command(subcommand, hide = true)]
    Dev(commands::DevCommand),
    /// Each setting as a start would use it (secrets masked), and where it came from; `settings list` shows what is in
    /// force
    Config {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// The admin API's OpenAPI document
    Openapi,
    /// What a shell needs to complete this program's commands, on standard output
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // From here on nothing waits for whoever reads standard error.
    let (logging, level) = logging::start("warn");
    let teller = logging.teller();
    match execute(cli, level, &teller) {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, text)) => {
            teller.say(&format!("gemini-pool: {text}"));
            code
        }
    }
}

/// Gives the exit code and what people are told where it comes to nothing.
fn execute(cli: Cli, level: Switch, teller: &Teller) -> Result<(), (ExitCode, String)> {
    let failed = |text: String| (ExitCode::FAILURE, text);
    if let Some(Command::Completions { shell }) = cli.command {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "gemini-pool", &mut script);
        return commands::say(String::from_utf8_lossy(&script).trim_end())
            .map_err(|error| failed(error.to_string()));
    }
    let mut flags = BTreeMap::new();
    let Flags { port, host, data_dir } = cli.settings;
    if let Some(folder) = data_dir {
        flags.insert("DATABASE_URL", format!("fjall:{folder}"));
        flags.insert("DATA_DIR", folder);
    }
    flags.extend(port.map(|port| ("PORT", port)));
    flags.extend(host.map(|host| ("HOST", host)));
    let config =
        config::load(flags.clone()).map_err(|mistakes| (ExitCode::from(EX_CONFIG), mistakes.to_string()))?;
    let command = cli.command.unwrap_or(Command::Serve);
    match &command {
        Command::Serve | Command::Demo => level.set(logging::level(config.debug)),
        _ if config.debug => level.set(logging::level(true)),
        _ => {}
    }
    descriptors::raise();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| failed(format!("cannot start: {error}")))?;
    // `anyhow` prints the chain of causes, each once.
    runtime.block_on(run(command, config, flags, level, teller)).map_err(|error| failed(format!("{error:#}")))
}

async fn run(
    command: Command,
    config: Config,
    flags: Flagged,
    level: Switch,
    teller: &Teller,
) -> anyhow::Result<()> {
    match command {
        Command::Serve => serve(config, flags, level, teller).await,
        Command::Demo => Ok(demo::run(config, stop_signal()?).await?),
        Command::Simulate(args) => Ok(commands::simulate(&args)?),
        Command::Keys(command) => Ok(commands::keys(command, &config).await?),
        Command::Clients(command) => Ok(commands::clients(command, &config).await?),
        Command::Projects { json } => Ok(commands::projects(json, &config).await?),
        Command::Models(args) => Ok(commands::models(args, &config).await?),
        Command::Resources(args) => Ok(commands::resources(args, &config).await?),
        Command::Settings(command) => Ok(commands::settings(command, &config).await?),
        Command::Requests(command) => Ok(commands::requests(command, &config).await?),
        Command::Status(args) => Ok(commands::status(args, &config).await?),
        Command::Healthcheck => Ok(commands::healthcheck(&config).await?),
        Command::Events(command) => Ok(commands::events(command, &config).await?),
        Command::Explain(args) => Ok(commands::explain(args, &config).await?),
        Command::Replay(args) => Ok(commands::replay(args, &config).await?),
        Command::Backup(args) => Ok(commands::backup(&args, &config).await?),
        Command::Restore(args) => Ok(commands::restore(&args, &config).await?),
        Command::Salvage(args) => Ok(commands::salvage(&args, &config).await?),
        Command::Audit(command) => Ok(commands::audit(command, &config).await?),
        Command::Dev(command) => Ok(commands::dev(command, &config).await?),
        Command::Config { json } => Ok(commands::show_config(&config, json)?),
        Command::Admin(command) => Ok(commands::admin(command, &config).await?),
        // Written before any setting was read.
        Command::Completions { .. } => Ok(()),
        Command::Openapi => Ok(commands::say(gemini_pool::admin::openapi().trim_end())?),
    }
}

async fn serve(config: Config, flags: Flagged, level: Switch, teller: &Teller) -> anyhow::Result<()> {
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    // Asked from here on, before anything says that it runs.
    let stop = stop_signal()?;
    let (name, port) = (config.admin_username.clone(), config.port);
    let service = Service::open(config).await?;
    service.settings().follow(move |config| level.set(logging::level(config.debug)));
    if let Some(password) = service.made_password() {
        teller.say(&format!(
            "\n  An administrator's password was made; this is the only time it is shown:\n\n    name      {name}\n    password  {}\n\n  for the dashboard, http://127.0.0.1:{port}\n",
            password.expose_secret()
        ));
    }
    let listener = service.listen().await?;
    let rereads = tokio::spawn(read_again_at_hangup(Arc::clone(service.settings()), flags)?);
    let served = service.run(listener, stop).await;
    rereads.abort();
    served?;
    tracing::info!("stopped");
    Ok(())
}

/// Reads `.env` again whenever SIGHUP comes. A terminal sends it when it closes: then it is a stop.
fn read_again_at_hangup(
    settings: Arc<settings::Settings>,
    flags: Flagged,
) -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
    let mut hangup = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
    Ok(async move {
        while hangup.recv().await.is_some() {
            if io::stderr().is_terminal() {
                return;
            }
            match config::load(flags.clone()).and_then(|fresh| settings.read_again(&fresh)) {
                Ok(waiting) if waiting.is_empty() => tracing::info!("the settings were read again"),
                Ok(waiting) => {
                    let waiting = waiting.join(", ");
                    tracing::warn!("the settings were read again; these wait for the next start: {waiting}");
                }
                Err(mistakes) => tracing::error!("the settings stay as they are: {mistakes}"),
            }
        }
    })
}

/// Ends when the system or the user asks the program to stop; hears it from the moment of the call. Who asks twice gets
/// it at once, whatever the program is doing, with the exit code that the signal would have given it (128 and its
/// number). A kill at any time costs no event that was acknowledged.
fn stop_signal() -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
    let asked = Arc::new(AtomicBool::new(false));
    for (signal, name) in [(SIGTERM, "SIGTERM"), (SIGINT, "SIGINT")] {
        let hear = || format!("cannot listen for {name}");
        // In this order: the first signal finds the flag down.
        flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&asked)).with_context(hear)?;
        flag::register(signal, Arc::clone(&asked)).with_context(hear)?;
    }
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let mut hangup = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
    let on_a_terminal = io::stderr().is_terminal();
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv(), if on_a_terminal => {}
        }
        tracing::info!(
            "stopping: running requests may end, new ones are not taken; a second signal ends the program at once"
        );
    })
}
