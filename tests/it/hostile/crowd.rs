//! All strangers together: begun, counted, ended.

use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{net::TcpStream, task::JoinSet};

use super::strangers;

/// What every stranger holds.
#[derive(Clone)]
pub(super) struct Stranger {
    pub(super) server: SocketAddr,
    over: Arc<AtomicBool>,
    counts: Arc<Mutex<BTreeMap<&'static str, u64>>>,
}

impl Stranger {
    /// Whether it is to end.
    pub(super) fn over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// One more of these happened.
    pub(super) fn count(&self, what: &'static str) {
        *self.counts.lock().unwrap().entry(what).or_default() += 1;
    }

    pub(super) fn origin(&self) -> String {
        format!("http://{}", self.server)
    }

    /// A connection from an address of this machine's own: `127.0.a.b`.
    pub(super) async fn connect(&self, a: u8, b: u8) -> std::io::Result<TcpStream> {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from(([127, 0, a, b], 0)))?;
        tokio::time::timeout(Duration::from_secs(5), socket.connect(self.server)).await?
    }

    /// Waits, unless it is to end.
    pub(super) async fn pause(&self, pause: Duration) {
        let began = std::time::Instant::now();
        while !self.over() && began.elapsed() < pause {
            tokio::time::sleep(pause.min(Duration::from_millis(200))).await;
        }
    }
}

/// See the module.
pub(super) struct Crowd {
    stranger: Stranger,
    tasks: JoinSet<()>,
}

impl Crowd {
    pub(super) fn begin(origin: &str, greedy: &'static [&'static str]) -> Self {
        let server = origin.strip_prefix("http://").unwrap().parse().unwrap();
        let stranger = Stranger { server, over: Arc::default(), counts: Arc::default() };
        let mut tasks = JoinSet::new();
        for n in 0..200u8 {
            tasks.spawn(strangers::idles(stranger.clone(), n));
            tasks.spawn(strangers::sends_half_a_head(stranger.clone(), n));
            tasks.spawn(strangers::sends_a_huge_head(stranger.clone(), n));
        }
        for n in 0..60 {
            tasks.spawn(strangers::sends_half_an_admin_body(stranger.clone(), n));
        }
        for n in 0..30 {
            tasks.spawn(strangers::guesses_passwords(stranger.clone(), n));
        }
        for n in 0..4 {
            tasks.spawn(strangers::guesses_access_keys(stranger.clone(), n));
        }
        tasks.spawn(strangers::is_a_page_by_rebinding(stranger.clone()));
        for key in greedy {
            for n in 0..8 {
                tasks.spawn(strangers::trickles_a_body(stranger.clone(), key, n));
                tasks.spawn(strangers::reads_slowly(stranger.clone(), key, n));
            }
            for n in 0..60 {
                tasks.spawn(strangers::wants_what_is_spent(stranger.clone(), key, n));
            }
        }
        Self { stranger, tasks }
    }

    /// Ends them; gives what happened to them.
    pub(super) async fn end(self) -> Told {
        let Self { stranger, mut tasks } = self;
        stranger.over.store(true, Ordering::Relaxed);
        let all = async { while tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(Duration::from_secs(5), all).await;
        tasks.abort_all();
        let counts = stranger.counts.lock().unwrap().clone();
        assert!(counts.len() > 8, "too few of them did something: {counts:?}");
        Told(counts)
    }
}

/// What happened to strangers, by kind.
pub(super) struct Told(BTreeMap<&'static str, u64>);

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(what, count)| write!(f, "\n  {count} {what}"))
    }
}
