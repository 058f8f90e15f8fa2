//! Those who must not notice: a good client, an administrator from here and one from afar, and a scraper.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{App, PASSWORD, Server, ask, http};

/// Good requests a second, each on its own: they do not wait for each other.
const EACH: Duration = Duration::from_millis(50);
/// Between two logins of an administrator, each followed by a look and a change.
const LOGINS: Duration = Duration::from_secs(2);
const SCRAPES: Duration = Duration::from_millis(500);
/// An administrator and a scraper wait so long at most.
const PATIENCE: Duration = Duration::from_secs(10);
/// Where administrators come from, behind the reverse proxy.
const HOME: &str = "203.0.113.77";

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Good answers: the request's id, and when it was there (Unix ms).
    pub(super) answered: Vec<(String, i64)>,
    took: Vec<Duration>,
    /// When each of them began, since the watch did.
    begun: Vec<Duration>,
    logins: u32,
    changes: u32,
    scrapes: u32,
    /// What should not have been.
    wrong: Vec<String>,
}

impl Watch {
    pub(super) fn p99(&self) -> Duration {
        let mut took = self.took.clone();
        took.sort_unstable();
        took[took.len() * 99 / 100]
    }

    pub(super) fn said(&self) -> String {
        let mut took = self.took.clone();
        took.sort_unstable();
        let at = |share: usize| took[(took.len() * share / 1_000).min(took.len() - 1)];
        format!(
            "{} requests, p50 {:?}, p99 {:?}, at most {:?}; {} logins, {} changes, {} scrapes",
            took.len(),
            at(500),
            at(990),
            took[took.len() - 1],
            self.logins,
            self.changes,
            self.scrapes
        )
    }

    /// In which seconds requests took longer than that, and how many.
    pub(super) fn slower_than(&self, bound: Duration) -> String {
        let mut seconds = std::collections::BTreeMap::<u64, u32>::new();
        for (begun, took) in self.begun.iter().zip(&self.took) {
            if *took > bound {
                *seconds.entry(begun.as_secs()).or_default() += 1;
            }
        }
        format!("{seconds:?}")
    }

    /// Everybody was served, each time.
    pub(super) fn was_served(&self) {
        assert!(self.wrong.is_empty(), "{} times: {:#?}", self.wrong.len(), self.wrong.first_chunk::<10>());
        assert!(
            self.took.len() > 100 && self.logins > 4 && self.changes > 0 && self.scrapes > 10,
            "{self:?}"
        );
    }
}

#[derive(Clone)]
struct Shared {
    origin: String,
    over: Arc<AtomicBool>,
    log_may_be_lost: Arc<AtomicBool>,
    began: Instant,
    watch: Arc<Mutex<Watch>>,
}

impl Shared {
    fn over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn note(&self, note: impl FnOnce(&mut Watch)) {
        note(&mut self.watch.lock().unwrap());
    }

    fn wrong(&self, what: String) {
        let what = format!("{:.1} s: {what}", self.began.elapsed().as_secs_f32());
        self.note(|watch| watch.wrong.push(what));
    }
}

/// Those who are at it.
pub(super) struct Good {
    shared: Shared,
    tasks: JoinSet<()>,
}

impl Good {
    /// An administrator logs in from afar; later ones come from there too.
    pub(super) async fn administrator_comes_from(origin: &str) -> &'static str {
        let (status, answer) = log_in(origin, Some(HOME)).await;
        assert_eq!(status, 200, "{answer}");
        HOME
    }

    pub(super) fn begin(server: &Server, home: &'static str) -> Self {
        let shared = Shared {
            origin: server.origin.clone(),
            over: Arc::default(),
            log_may_be_lost: Arc::default(),
            began: Instant::now(),
            watch: Arc::default(),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(client(shared.clone(), server.app()));
        tasks.spawn(administrator(shared.clone(), None));
        tasks.spawn(administrator(shared.clone(), Some(home)));
        tasks.spawn(scraper(shared.clone()));
        Self { shared, tasks }
    }

    /// Changes may be refused while there is no log.
    pub(super) fn log_may_be_lost(&self, lost: bool) {
        self.shared.log_may_be_lost.store(lost, Ordering::Relaxed);
    }

    /// For how long they have been at it.
    pub(super) fn since(&self) -> Duration {
        self.shared.began.elapsed()
    }

    pub(super) async fn run_for(self, time: Duration) -> Watch {
        tokio::time::sleep(time).await;
        self.end().await
    }

    pub(super) async fn end(mut self) -> Watch {
        self.shared.over.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        std::mem::take(&mut self.shared.watch.lock().unwrap())
    }
}

fn now() -> i64 {
    gemini_pool::ledger::clock::Clock::system().now()
}

/// Asks at a steady pace, every other time on a new connection.
async fn client(shared: Shared, app: App) {
    let mut requests = JoinSet::new();
    let mut pace = tokio::time::interval(EACH);
    for number in 0u32.. {
        if shared.over() {
            break;
        }
        pace.tick().await;
        let app = if number % 2 == 0 { app.clone() } else { App { http: http(), ..app.clone() } };
        requests.spawn(ask_once(shared.clone(), app, number));
    }
    while requests.join_next().await.is_some() {}
}

async fn ask_once(shared: Shared, app: App, number: u32) {
    let began = Instant::now();
    let path = "/v1beta/models/gemini-2.5-flash:generateContent";
    let answer = match app.post(path, &ask(&format!("good {number}"))).send().await {
        Ok(answer) => answer,
        Err(error) => return shared.wrong(format!("a good request: {error:?}")),
    };
    let (status, id) = (answer.status(), answer.headers().get("x-request-id").cloned());
    let body = answer.text().await;
    let took = began.elapsed();
    if status != 200 || body.is_err() {
        return shared.wrong(format!("a good request: {status}, {body:?}"));
    }
    let id = id.unwrap().to_str().unwrap().to_owned();
    shared.note(|watch| {
        watch.answered.push((id, now()));
        watch.took.push(took);
        watch.begun.push(began - shared.began);
    });
}

async fn log_in(origin: &str, address: Option<&str>) -> (u16, Value) {
    let client = match address {
        // By way of the reverse proxy.
        Some(_) => reqwest::Client::builder()
            .no_proxy()
            .local_address(std::net::IpAddr::from([127, 0, 1, 1]))
            .build(),
        None => reqwest::Client::builder().no_proxy().build(),
    };
    let body = json!({"username": "admin", "password": PASSWORD});
    let mut request = client.unwrap().post(format!("{origin}/api/login")).json(&body).timeout(PATIENCE);
    if let Some(address) = address {
        request = request.header("x-forwarded-for", address);
    }
    match request.send().await {
        Ok(answer) => (answer.status().as_u16(), answer.json().await.unwrap_or_default()),
        Err(error) => (0, json!(format!("{error:?}"))),
    }
}

/// Logs in, looks, and changes something, each time anew.
async fn administrator(shared: Shared, address: Option<&'static str>) {
    let mut pace = tokio::time::interval(LOGINS);
    for turn in 0u32.. {
        if shared.over() {
            return;
        }
        pace.tick().await;
        let (status, answer) = log_in(&shared.origin, address).await;
        if status != 200 {
            shared.wrong(format!("a login from {address:?}: {status}, {answer}"));
            continue;
        }
        shared.note(|watch| watch.logins += 1);
        let token = answer["access_token"].as_str().unwrap().to_owned();
        let call = |verb: reqwest::Method, path: &str| {
            http().request(verb, format!("{}/api{path}", shared.origin)).bearer_auth(&token).timeout(PATIENCE)
        };
        match call(reqwest::Method::GET, "/status").send().await {
            Ok(answer) if answer.status() == 200 => {}
            other => shared.wrong(format!("a look at the status: {other:?}")),
        }
        let label = json!({"label": format!("turn {turn}")});
        let lost_before = shared.log_may_be_lost.load(Ordering::Relaxed);
        let changed = call(reqwest::Method::PATCH, "/keys/1").json(&label).send().await;
        let lost = lost_before || shared.log_may_be_lost.load(Ordering::Relaxed);
        match changed {
            Ok(answer) if answer.status() == 200 => shared.note(|watch| watch.changes += 1),
            Ok(answer) if answer.status() == 503 && lost => {}
            other => shared.wrong(format!("a change: {other:?}")),
        }
    }
}

async fn scraper(shared: Shared) {
    let client = http();
    let mut pace = tokio::time::interval(SCRAPES);
    while !shared.over() {
        pace.tick().await;
        let scraped = client.get(format!("{}/metrics", shared.origin)).timeout(PATIENCE).send().await;
        match scraped {
            Ok(answer) if answer.status() == 200 => match answer.text().await {
                Ok(_) => shared.note(|watch| watch.scrapes += 1),
                Err(error) => shared.wrong(format!("a scrape that broke: {error:?}")),
            },
            other => shared.wrong(format!("a scrape: {other:?}")),
        }
    }
}
