//! The running service: doors, routes, and the way down.
//!
//! Owns the HTTP edge's shape: which path goes where, who may listen where, and
//! the order of stopping (readiness red, no new connections, running requests to
//! their end or until time is up, the log last).

mod connections;
mod places;
mod socket;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures_util::FutureExt;
use http::StatusCode;
use poem::{Endpoint, EndpointExt, Request, Response, Route, endpoint::make};
use projections::event::{ServerStarted, ServerStopped};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{connections::Serving, places::Places};
use crate::{
    admin,
    auth::Open,
    bounds::CONNECTIONS,
    config::{Config, LogFailure},
    dashboard,
    descriptors::{self, Shares},
    health::Health,
    ledger::{CommitError, clock::Clock, retention},
    lifecycle::Lifecycle,
    metrics::{Metrics, Reader},
    pool::{self, ADDRESS_FILE, Opening, Pool},
    proxy::{Parts, Proxy},
    request_log,
    settings::Settings,
};

/// How long the last traces may take to leave.
const LAST_TRACES: Duration = Duration::from_secs(5);

/// How long running requests have to end where the log is lost and LOG_FAILURE=exit.
const LOST_DRAIN: Duration = Duration::from_secs(5);

/// Why the service does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The pool does not open.
    #[error(transparent)]
    Pool(#[from] pool::Error),
    /// The address would let everybody in.
    #[error(
        "HOST={host} would let everybody who reaches it use your keys. Set ALLOWED_API_KEYS, or say \
         ALLOW_ANONYMOUS=true if that is what you want, or leave HOST out to listen on this machine only"
    )]
    OpenToAll {
        /// The address.
        host: IpAddr,
    },
    /// The port is taken, or may not be used.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The server broke.
    #[error("the server stopped unexpectedly")]
    Serve(#[source] std::io::Error),
    /// The log is lost, and the operator wants no service without one.
    #[error("the log takes no writes, and LOG_FAILURE=exit")]
    LogLost,
    /// The log, at the beginning or the end.
    #[error("cannot record that the server {0}")]
    Record(&'static str, #[source] CommitError),
}

/// A service that is open and not yet listening.
pub struct Service {
    pool: Pool,
    config: Config,
}

impl Service {
    /// Opens the pool and takes in what the environment names.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn open(config: Config) -> Result<Self, Error> {
        Self::open_by(config, Clock::system()).await
    }

    /// The same, by another clock.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn open_by(config: Config, clock: Clock) -> Result<Self, Error> {
        let pool = Pool::open(&config, clock, Opening::Serves).await?;
        pool.import_environment(&config).await?;
        pool.ledger.tell_kept_gap().await.map_err(|error| Error::Record("started", error))?;
        let ledger = pool.ledger.clone();
        // Before anybody waits for it. A panic in there was reported when it happened.
        if let Ok(Err(error)) =
            tokio::task::spawn_blocking(move || ledger.prepare(&request_log::SPACES)).await
        {
            tracing::warn!(%error, "this day's place in the log is made with its first traffic");
        }
        Ok(Self { pool, config })
    }

    /// The administrator's password, if it was made just now.
    #[must_use]
    pub fn made_password(&self) -> Option<&secrecy::SecretString> {
        self.pool.made_password.as_ref()
    }

    /// What is in force.
    #[must_use]
    pub fn settings(&self) -> &Arc<crate::settings::Settings> {
        &self.pool.settings
    }

    /// Listens where the settings and the clients allow.
    ///
    /// # Errors
    /// [`Error::OpenToAll`], [`Error::Listen`].
    pub async fn listen(&self) -> Result<TcpListener, Error> {
        let guarded = self.pool.ledger.state().access.ever_had_one() || self.config.allow_anonymous;
        let host = match self.config.host {
            Some(host) if !guarded && !host.is_loopback() => return Err(Error::OpenToAll { host }),
            Some(host) => host,
            None if guarded => IpAddr::from(Ipv4Addr::UNSPECIFIED),
            None => IpAddr::from(Ipv4Addr::LOCALHOST),
        };
        let address = SocketAddr::new(host, self.config.port);
        TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })
    }

    /// Serves until `shutdown`, then stops in good order.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn run(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), Error> {
        let Self { pool, config } = self;
        let address = listener.local_addr().map_err(Error::Serve)?;
        pool.gatekeeper.open_when_without_clients(match address.ip().is_loopback() {
            _ if config.allow_anonymous => Open::ToAll,
            true => Open::ToThisMachine,
            false => Open::ToNobody,
        });
        warn_when_open(pool.gatekeeper.open(), address);
        let started =
            ServerStarted { version: env!("CARGO_PKG_VERSION").to_owned(), address: address.to_string() };
        pool.ledger.note(started).await.map_err(|error| Error::Record("started", error))?;
        let address_file = AddressFile::write(&config.data_dir, address);
        let (scheduler, gauges) = (Arc::clone(&pool.scheduler), Arc::clone(&pool.gauges));
        let health = Arc::new(Health::new(pool.ledger.clone(), scheduler, pool.clock.clone(), gauges));
        let parts = Parts {
            ledger: pool.ledger.clone(),
            scheduler: Arc::clone(&pool.scheduler),
            vault: Arc::clone(&pool.vault),
            gatekeeper: Arc::clone(&pool.gatekeeper),
            guesses: Arc::clone(&pool.guesses),
            access: Arc::clone(&pool.access),
            gemini: pool.gemini.clone(),
            clock: pool.clock.clone(),
            settings: Arc::clone(&pool.settings),
            request_log: Arc::clone(&pool.request_log),
            traces: pool.traces.clone(),
            memory: Arc::clone(&pool.body_memory),
        };
        let traces = pool.traces.as_ref().and_then(|traces| traces.start());
        let lifecycle = Lifecycle::default();
        let proxy = Arc::new(Proxy::new(parts, lifecycle.clone()));
        // Not held on to: the log is closed when nobody has it any more.
        let teller = Arc::downgrade(&proxy);
        pool.gauges.ask(move || teller.upgrade().map(|proxy| proxy.now()));
        let pool = Arc::new(pool);
        let app = app(Arc::clone(&pool), proxy, Arc::clone(&health), lifecycle.requests.clone());
        let no_more_checks = CancellationToken::new();
        let checks = tokio::spawn(Arc::clone(&pool.prober).run(no_more_checks.clone()));
        let trims = tokio::spawn(retention::run(
            pool.ledger.clone(),
            {
                let settings = Arc::clone(&pool.settings);
                move || settings.now().log_retention_days
            },
            pool.clock.clone(),
            no_more_checks.clone(),
        ));
        let logins = {
            let (pool, stop) = (Arc::clone(&pool), no_more_checks.clone());
            tokio::spawn(async move { pool.tell_of_logins_until(stop).await })
        };
        let lost = CancellationToken::new();
        let stopping = {
            let (health, feed, lost) = (Arc::clone(&health), Arc::clone(&pool.feed), lost.clone());
            let gives_up = gives_up(pool.ledger.failing(), Arc::clone(&pool.settings));
            async move {
                tokio::select! {
                    () = shutdown => {}
                    () = gives_up => lost.cancel(),
                }
                health.drain();
                feed.stop();
                no_more_checks.cancel();
            }
        };
        let places = Arc::new(Places::new(most_connections(&config)));
        pool.gauges.count_connections({
            let places = Arc::clone(&places);
            move || places.numbers()
        });
        let trusted = {
            let settings = Arc::clone(&pool.settings);
            move || settings.now().trusted_proxies.clone()
        };
        tracing::info!(%address, connections = places.numbers().most, "serving");
        let serving = Serving { app, lifecycle, places, trusted, timeout: config.shutdown_timeout };
        let served = tokio::select! {
            served = connections::serve(listener, serving, stopping) => served,
            () = async { lost.cancelled().await; tokio::time::sleep(LOST_DRAIN).await } => Ok(0),
        };
        let abandoned = u32::try_from(served.map_err(Error::Serve)?).unwrap_or(u32::MAX);
        drop(address_file);
        // They ended with the shutdown; a panic in them was reported when it happened.
        let _ = checks.await;
        let _ = trims.await;
        let _ = logins.await;
        let stopped = pool.ledger.note(ServerStopped { abandoned }).await;
        drop(health);
        if let Some(pool) = Arc::into_inner(pool) {
            pool.close().await;
        }
        if let Some(traces) = traces {
            // The collector is not waited for for ever; a panic in there was reported when it happened.
            let _ = tokio::time::timeout(LAST_TRACES, traces).await;
        }
        if lost.is_cancelled() {
            return Err(Error::LogLost);
        }
        match stopped {
            // A log that failed was reported when it did; stopping is not the time to fail again.
            Ok(()) | Err(CommitError::Log(_) | CommitError::NotDurable(_)) => Ok(()),
            Err(error) => Err(Error::Record("stopped", error)),
        }
    }
}

/// Says loudly whom the pool serves without an access key.
fn warn_when_open(open: Open, address: SocketAddr) {
    match open {
        Open::ToNobody => {}
        Open::ToThisMachine => tracing::warn!(
            "there is no access key: every program on this machine may use the pool. Make one before a reverse proxy \
             passes requests on to it: gemini-pool clients create"
        ),
        Open::ToAll => tracing::warn!(
            %address,
            "there is no access key, and ALLOW_ANONYMOUS=true: everybody who reaches {address} may use the pool's keys. \
             Make an access key to close it: gemini-pool clients create"
        ),
    }
}

/// How many connections of clients there may be: as many as is said, if there are descriptors for them.
fn most_connections(config: &Config) -> usize {
    let limit = descriptors::limit();
    let room = Shares::of(limit).connections;
    if limit < descriptors::LEAST {
        let least = descriptors::LEAST;
        tracing::warn!(
            limit,
            "there are few file descriptors: let the process have {least} or more (ulimit -n)"
        );
    }
    match config.max_connections {
        Some(wanted) if wanted > room => {
            tracing::warn!(
                limit,
                "MAX_CONNECTIONS={wanted} is more than there are file descriptors for: {room} connections may be open; \
                 raise the limit (ulimit -n, LimitNOFILE=)"
            );
            room
        }
        Some(wanted) => wanted,
        None => room.min(CONNECTIONS),
    }
}

/// Ends when the log is lost and nothing is to be served without one.
async fn gives_up(mut failing: tokio::sync::watch::Receiver<bool>, settings: Arc<Settings>) {
    loop {
        // An error: the ledger is gone, and the service with it.
        if failing.wait_for(|failing| *failing).await.is_err() {
            return std::future::pending().await;
        }
        if settings.now().log_failure == LogFailure::Exit {
            tracing::error!("the log is lost, so the service stops (LOG_FAILURE=exit)");
            return;
        }
        if failing.wait_for(|failing| !*failing).await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// Which path goes where. The dashboard takes its files and what browsers ask for as a page; the proxy takes everything
/// else, below its own prefixes.
fn app(
    pool: Arc<Pool>,
    proxy: Arc<Proxy>,
    health: Arc<Health>,
    requests: TaskTracker,
) -> impl Endpoint<Output = Response> {
    let (alive, ready) = (Arc::clone(&health), health);
    let (measured, asked) = (Arc::clone(&pool), Arc::clone(&pool));
    let own = Route::new()
        .at(
            "/healthz",
            make(move |_| {
                let alive = Arc::clone(&alive);
                async move { alive.alive() }
            }),
        )
        .at(
            "/readyz",
            make(move |request| {
                let (ready, who) = (Arc::clone(&ready), Metrics(Arc::clone(&asked)));
                async move {
                    let reader = who.reader(&request).await;
                    reader.told(ready.ready(reader != Reader::Known))
                }
            }),
        )
        .at(
            "/metrics",
            make(move |request| {
                let metrics = Metrics(Arc::clone(&measured));
                async move { metrics.serve(&request).await }
            }),
        )
        .nest("/api", admin::endpoint(pool, requests))
        .map_to_response();
    let own = Arc::new(own);
    make(move |request: Request| {
        let (own, proxy) = (Arc::clone(&own), Arc::clone(&proxy));
        async move {
            if let Some(page) = dashboard::serve(&request) {
                return page;
            }
            let path = request.uri().path();
            let ours =
                matches!(path, "/healthz" | "/readyz" | "/metrics" | "/api") || path.starts_with("/api/");
            let of_api = path.starts_with("/api");
            // The proxy's requests and administrators' hold up a stop, once it is known whose they are; nothing else does.
            let answered = if ours {
                std::panic::AssertUnwindSafe(own.get_response(request)).catch_unwind().await
            } else {
                std::panic::AssertUnwindSafe(proxy.serve(request)).catch_unwind().await
            };
            answered.unwrap_or_else(|_| {
                tracing::error!("a handler panicked; its request was answered with 500");
                if of_api {
                    return admin::failed();
                }
                Response::builder().status(StatusCode::INTERNAL_SERVER_ERROR).content_type("application/json").body(
                    r#"{"error":{"code":500,"message":"Gemini-Pool failed at this request; its log says more.","status":"INTERNAL"}}"#,
                )
            })
        }
    })
    .map_to_response()
}

/// Tells the command line where the server listens; gone when the server is.
struct AddressFile(PathBuf);

impl AddressFile {
    fn write(folder: &Path, address: SocketAddr) -> Option<Self> {
        let path = folder.join(ADDRESS_FILE);
        match std::fs::write(&path, address.to_string()) {
            Ok(()) => Some(Self(path)),
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "the command line will not find this server");
                None
            }
        }
    }
}

impl Drop for AddressFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Where the running server of this data directory listens.
#[must_use]
pub fn running_address(folder: &Path) -> Option<SocketAddr> {
    let address: SocketAddr = std::fs::read_to_string(folder.join(ADDRESS_FILE)).ok()?.trim().parse().ok()?;
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::from(std::net::Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    Some(SocketAddr::new(ip, address.port()))
}
