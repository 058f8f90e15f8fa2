//! What operators are shown of projects: what is left, what is closed, and which may be one.
//!
//! Days and minutes of quota pass here, so the service runs in this process, by a clock that the test turns
//! and that the simulated Google reads too; all else is real: sockets, log, command line.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use gemini_pool::{
    ledger::clock::Clock,
    server::Service,
    simulated::{Failure, Fault, Limits, SimulatedGoogle, World},
};
use serde_json::{Value, json};
use tokio::{sync::oneshot, task::JoinHandle};

use crate::support::{App, CLIENT_KEY, Operator, Setup, http};

const FLASH: &str = "gemini-2.5-flash";
const PRO: &str = "gemini-2.5-pro";
const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

/// A time that tests turn.
#[derive(Clone)]
struct Time(Arc<AtomicI64>);

impl Time {
    /// Five seconds into a minute about now: access tokens are checked by the machine's clock.
    fn new() -> Self {
        Self(Arc::new(AtomicI64::new(Clock::system().now() / MINUTE * MINUTE + 5_000)))
    }

    fn now(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }

    fn pass(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

/// A service in this process.
struct Running {
    setup: Setup,
    origin: String,
    stop: oneshot::Sender<()>,
    done: JoinHandle<()>,
}

impl Running {
    async fn start(setup: Setup, time: &Time) -> Self {
        let time = time.clone();
        let service = Service::open_by(setup.config(), Clock::driven(move || time.now())).await.unwrap();
        let listener = service.listen().await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        let done = tokio::spawn(async move {
            let until = async move { drop(stopped.await) };
            service.run(listener, until).await.unwrap();
        });
        Self { setup, origin, stop, done }
    }

    fn app(&self) -> App {
        App { http: http(), origin: self.origin.clone(), key: Some(CLIENT_KEY.to_owned()) }
    }

    async fn projects(&self) -> Value {
        let operator = Operator::at(&self.origin).await;
        let (status, answer) = operator.call(reqwest::Method::GET, "/projects", None).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    /// What the command line says; it finds the running service by itself.
    async fn command(&self, arguments: &'static [&'static str]) -> String {
        let setup = self.setup.clone();
        let output = tokio::task::spawn_blocking(move || setup.run(arguments, "")).await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.done.await.unwrap();
    }

    /// Asks until nobody is left; tells how often it was served.
    async fn use_up(&self, model: &str) -> usize {
        for served in 0..200 {
            let (status, answer) = self.app().generate(model, "more").await;
            if status == 429 {
                return served;
            }
            assert_eq!(status, 200, "{answer}");
        }
        panic!("{model} has no end")
    }
}

async fn google(time: &Time, world: World) -> SimulatedGoogle {
    let time = time.clone();
    SimulatedGoogle::start(world.clock(move || time.now())).await.unwrap()
}

fn setup(google: &SimulatedGoogle, keys: &[&str]) -> Setup {
    Setup::new(google, keys).with("QUEUE_TIMEOUT", "0").with("STRATEGY", "round-robin")
}

fn project<'a>(answer: &'a Value, name: &str) -> &'a Value {
    let all = answer["projects"].as_array().unwrap();
    all.iter().find(|project| project["name"] == name).unwrap_or_else(|| panic!("no {name} in {answer:#}"))
}

#[tokio::test]
async fn what_is_left_and_what_is_closed_is_shown_and_returns_with_the_day() {
    let time = Time::new();
    let world = World::new()
        .project("alpha", |project| project.limit(FLASH, Limits::none().per_day(5)))
        .key("alpha", "AIza-alpha-1");
    let google = google(&time, world).await;
    let pool = Running::start(setup(&google, &["AIza-alpha-1"]), &time).await;
    let before = pool.projects().await;
    assert_eq!(project(&before, "key-1")["quotas"], json!([]), "Google named no limit yet");
    assert_eq!(before["models"], json!([]));
    assert_eq!(pool.use_up(FLASH).await, 5);

    let spent = pool.projects().await;
    // Some answers of Google's name its project, and it is that one's from then on.
    let spent = &spent["projects"][0];
    let quota = &spent["quotas"][0];
    assert_eq!((&quota["model"], &quota["window"]), (&json!(FLASH), &json!("day")), "{spent:#}");
    assert_eq!((&quota["limit"], &quota["used"], &quota["left"]), (&json!(5), &json!(5), &json!(0)));
    let turns = quota["turns_at"].as_str().unwrap();
    assert!(turns.ends_with("T08:00:00.000Z") || turns.ends_with("T07:00:00.000Z"), "{turns}");
    assert_eq!((&spent["declared"], &spent["keys"]), (&json!(false), &json!([1])));
    let gate = &spent["gates"][0];
    assert_eq!(
        (&gate["model"], &gate["window"], &gate["cause"]),
        (&json!(FLASH), &json!("day"), &json!("quota_day"))
    );
    assert!(gate["until"].is_string() && gate["probe"].is_string(), "{gate}");
    let operator = Operator::at(&pool.origin).await;
    let closed = operator.events().await;
    let closed = closed.iter().find(|event| event["seq"] == gate["seq"]).unwrap();
    assert_eq!(closed["type"], "GateClosed");
    let said = pool.command(&["projects"]).await;
    let line = format!("0 of 5 left today for {FLASH}, turns at {} UTC", &turns[11..16]);
    assert!(said.contains(&line), "{said}");
    assert!(said.contains(&format!("closed for {FLASH}: quota_day")), "{said}");
    let told: Value = serde_json::from_str(&pool.command(&["projects", "--json"]).await).unwrap();
    assert_eq!(told["projects"][0]["quotas"][0]["limit"], 5);

    // The day turns; two requests later three are left.
    time.pass(26 * HOUR);
    for _ in 0..2 {
        assert_eq!(pool.app().generate(FLASH, "again").await.0, 200);
    }
    operator_sees(&pool, "Answered", 8).await;
    let said = pool.command(&["projects"]).await;
    assert!(said.contains(&format!("3 of 5 left today for {FLASH}, turns at ")), "{said}");
    assert!(!said.contains("closed for"), "{said}");
    pool.stop().await;
}

/// Waits until so many events of a type are in the log.
async fn operator_sees(pool: &Running, kind: &str, count: usize) {
    Operator::at(&pool.origin).await.events_of(kind, count).await;
}

#[tokio::test]
async fn keys_that_run_dry_together_are_suggested_and_an_operator_confirms() {
    const KEYS: [&str; 4] = ["AIza-one-0001", "AIza-one-0002", "AIza-two-0003", "AIza-three-4"];
    let time = Time::new();
    let mut world = World::new();
    for (name, keys) in [("one", &KEYS[..2]), ("two", &KEYS[2..3]), ("three", &KEYS[3..])] {
        world = world.project(name, |project| project.limit(FLASH, Limits::none().per_minute(10)));
        for key in keys {
            world = world.key(name, key);
        }
    }
    let google = google(&time, world).await;
    let pool = Running::start(setup(&google, &KEYS), &time).await;
    let mut minutes = 0;
    let suggestions = loop {
        assert!(minutes < 12, "nothing is suggested");
        assert_eq!(pool.use_up(FLASH).await, 30, "in minute {minutes}");
        let suggestions = pool.projects().await["suggestions"].clone();
        if suggestions != json!([]) {
            break suggestions;
        }
        minutes += 1;
        time.pass(MINUTE);
    };
    assert!(minutes >= 3, "after {minutes} minutes already");
    let operator = Operator::at(&pool.origin).await;
    // They were added in their order.
    let pair = BTreeSet::from([1, 2]);
    let suggested: BTreeSet<u64> =
        suggestions[0]["keys"].as_array().unwrap().iter().map(|key| key.as_u64().unwrap()).collect();
    assert_eq!((suggested, suggestions.as_array().unwrap().len()), (pair.clone(), 1));
    let why = suggestions[0]["why"].as_str().unwrap();
    assert!(why.contains("10 requests a minute") && why.contains(FLASH), "{why}");
    let said = pool.command(&["projects"]).await;
    let words: Vec<String> = pair.iter().map(u64::to_string).collect();
    let advice = format!("gemini-pool keys set {} --project NAME", words.join(" "));
    assert!(said.contains(&advice), "{said}");

    // Confirmed, it is no suggestion any more, but one project.
    for key in &pair {
        let path = format!("/keys/{key}");
        let body = json!({"project": "shared"});
        assert_eq!(operator.call(reqwest::Method::PATCH, &path, Some(body)).await.0, 200);
    }
    let after = pool.projects().await;
    assert_eq!(after["suggestions"], json!([]));
    let shared = project(&after, "shared");
    assert_eq!((&shared["keys"], &shared["declared"]), (&json!(pair), &json!(true)));
    assert_eq!(after["projects"].as_array().unwrap().len(), 3);
    pool.stop().await;
}

#[tokio::test]
async fn a_model_in_trouble_at_google_is_shown() {
    let time = Time::new();
    let world = World::new()
        .model(PRO, |model| model.faults.push(Fault::always(Failure::Overloaded)))
        .key("alpha", "AIza-alpha-1")
        .key("beta", "AIza-beta-01");
    let google = google(&time, world).await;
    let keys = ["AIza-alpha-1", "AIza-beta-01"];
    let pool = Running::start(setup(&google, &keys).with("MAX_ATTEMPTS", "1"), &time).await;
    let mut tries = 0;
    let models = loop {
        assert!(tries < 60, "no circuit opened");
        assert_ne!(pool.app().generate(PRO, "hello").await.0, 200);
        let models = pool.projects().await["models"].clone();
        if models != json!([]) {
            break models;
        }
        tries += 1;
        // Keys rest for a while after some failures in a row.
        time.pass(10_000);
    };
    assert_eq!(models.as_array().unwrap().len(), 1);
    assert_eq!((&models[0]["model"], &models[0]["cause"]), (&json!(PRO), &json!("overloaded")));
    assert!(models[0]["failures"].as_u64().unwrap() >= 10, "{models}");
    let said = pool.command(&["projects"]).await;
    assert!(said.contains(&format!("{PRO} is in trouble at Google")), "{said}");
    pool.stop().await;
}

/// Pages are stable while projects come and go, and a search finds them by their keys too.
#[tokio::test(flavor = "multi_thread")]
async fn projects_come_page_by_page() {
    let time = Time::new();
    let google = google(&time, World::new().key("alpha", "AIza-one-01")).await;
    let pool = Running::start(setup(&google, &[]), &time).await;
    let operator = Operator::at(&pool.origin).await;
    let add = async |name: &str, project: &str| {
        let body = json!({"key": format!("AIza-{name}-0001"), "label": name, "project": project});
        let (status, key) = operator.call(reqwest::Method::POST, "/keys", Some(body)).await;
        assert_eq!(status, 201, "{key}");
        key["id"].as_u64().unwrap()
    };
    let mut ids = Vec::new();
    for (name, project) in [("ann", "p1"), ("bob", "p2"), ("carl", "p4"), ("dora", "p5"), ("eve", "p5")] {
        ids.push(add(name, project).await);
    }
    let get = async |query: &str| {
        let (status, answer) = operator.call(reqwest::Method::GET, &format!("/projects?{query}"), None).await;
        assert_eq!(status, 200, "{answer}");
        let projects = answer["projects"].as_array().unwrap().iter();
        let names: Vec<_> = projects.map(|project| project["name"].as_str().unwrap().to_owned()).collect();
        (names, answer["next"].as_str().map(str::to_owned), answer)
    };
    let (all, next, answer) = get("").await;
    assert_eq!(
        (all, next, &answer["total"]),
        (["p1", "p2", "p4", "p5"].map(str::to_owned).into(), None, &json!(4))
    );
    let (first, next, _) = get("limit=2").await;
    assert_eq!(first, ["p1", "p2"]);
    let next = next.unwrap();
    // The last one shown goes, one comes before it and one behind.
    operator.call(reqwest::Method::DELETE, &format!("/keys/{}", ids[1]), None).await;
    add("fay", "p0").await;
    add("gus", "p3").await;
    let (second, next, answer) = get(&format!("limit=2&cursor={next}")).await;
    assert_eq!((second, &answer["total"]), (["p3", "p4"].map(str::to_owned).into(), &json!(5)));
    assert!(answer["suggestions"].is_array() && answer["models"].is_array());
    let (third, next, _) = get(&format!("limit=2&cursor={}", next.unwrap())).await;
    assert_eq!((third, next), (vec!["p5".to_owned()], None));
    for (q, found) in [
        ("P5", vec!["p5"]),
        ("EVE", vec!["p5"]),
        ("nobody", vec![]),
        ("", vec!["p0", "p1", "p3", "p4", "p5"]),
    ] {
        assert_eq!(get(&format!("q={q}")).await.0, found, "{q}");
    }
    for wrong in ["limit=0", "limit=1001", "cursor=x"] {
        let (status, problem) =
            operator.call(reqwest::Method::GET, &format!("/projects?{wrong}"), None).await;
        assert_eq!(status, 400, "{wrong}: {problem}");
    }
    pool.stop().await;
}

/// Nobody without a token.
#[tokio::test]
async fn projects_are_for_operators() {
    let time = Time::new();
    let google = google(&time, World::new().key("alpha", "AIza-alpha-1")).await;
    let pool = Running::start(setup(&google, &["AIza-alpha-1"]), &time).await;
    let address = format!("{}/api/projects", pool.origin);
    assert_eq!(http().get(&address).send().await.unwrap().status(), 401);
    let with_access = http().get(&address).bearer_auth(CLIENT_KEY).send().await.unwrap();
    assert_eq!(with_access.status(), 401);
    pool.stop().await;
}
