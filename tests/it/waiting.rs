//! Waiting for keys that are out, and what is told to those that do not wait.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use gemini_pool::simulated::{Failure, Fault, Limits, SimulatedGoogle, World};
use serde_json::{Value, json};

use crate::support::{App, Server, Setup, ask, http, of_type};

const KEY: &str = "AIza-only-0001";
const MODEL: &str = "gemini-2.5-flash";
const GENERATE: &str = "/v1beta/models/gemini-2.5-flash:generateContent";

/// Long enough for a slow machine to bring all that are to wait into the line.
const PATIENT: [(&str, &str); 1] = [("QUEUE_TIMEOUT", "30")];

/// What is left of the minute when the quota is used up: it goes on from there, or for ever.
#[derive(Clone, Copy)]
enum Left {
    GoesOn(Duration),
    StandsStill(Duration),
}

const fn seconds(seconds: u64) -> Left {
    Left::GoesOn(Duration::from_secs(seconds))
}

/// One project of so many requests a minute, all of them used up.
async fn out(left: Left, per_minute: u64, settings: &[(&str, &str)]) -> (SimulatedGoogle, Server) {
    out_with(World::new(), left, per_minute, settings).await
}

/// The same in a world where there is more.
async fn out_with(
    world: World,
    left: Left,
    per_minute: u64,
    settings: &[(&str, &str)],
) -> (SimulatedGoogle, Server) {
    let (Left::GoesOn(ms) | Left::StandsStill(ms)) = left;
    let at = 60_000_000 - i64::try_from(ms.as_millis()).unwrap();
    let began = Arc::new(OnceLock::<Instant>::new());
    let since = Arc::clone(&began);
    let passed = move || since.get().map_or(0, |began| i64::try_from(began.elapsed().as_millis()).unwrap());
    let mut world = world
        .clock(move || at + passed())
        .project("alpha", |project| project.limit(MODEL, Limits::none().per_minute(per_minute)))
        .key("alpha", KEY);
    world.keep_bodies = 4_096;
    let google = SimulatedGoogle::start(world).await.unwrap();
    let setup = Setup::new(&google, &[KEY]).with("DEBUG", "true");
    let server = settings.iter().fold(setup, |setup, (name, value)| setup.with(name, value)).start();
    for _ in 0..per_minute {
        assert_eq!(server.app().generate(MODEL, "used up").await.0, 200);
    }
    if matches!(left, Left::GoesOn(_)) {
        began.set(Instant::now()).unwrap();
    }
    (google, server)
}

type Asking = tokio::task::JoinHandle<(u16, Value)>;

/// Asks, and goes on when `nth` requests wait.
async fn asks_and_waits(server: &Server, text: &str, nth: usize) -> Asking {
    let (app, text): (App, String) = (server.app(), text.to_owned());
    let asking = tokio::spawn(async move { app.generate(MODEL, &text).await });
    tokio::task::block_in_place(|| server.wait_for_line(&format!("\"waiting\":{nth},")));
    asking
}

fn refused(google: &SimulatedGoogle) -> usize {
    google.seen().iter().filter(|seen| seen.status == Some(429)).count()
}

/// Seconds of RetryInfo.
fn retry_delay(body: &Value) -> f64 {
    let details = body["error"]["details"].as_array().unwrap();
    let delay = details.iter().find_map(|detail| detail["retryDelay"].as_str()).unwrap();
    delay.strip_suffix('s').unwrap().parse().unwrap()
}

/// Stops the server; gives how long each request that had to wait has waited, as its log says.
fn waited(server: Server) -> Vec<u64> {
    let (_, output) = server.stop();
    let lines = output.lines().filter(|line| line.contains("gemini_pool::request"));
    let lines = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter_map(|line| line["waited_ms"].as_u64()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_waits_for_the_minute_to_turn_and_is_answered() {
    let (google, server) = out(seconds(2), 1, &[]).await;
    let began = Instant::now();
    let (status, body) = server.app().generate(MODEL, "patient").await;
    assert_eq!(status, 200, "{body}");
    assert!(began.elapsed() < Duration::from_secs(20), "it waited for more than the minute's turn");
    let statuses: Vec<_> = google.seen().into_iter().map(|seen| seen.status.unwrap()).collect();
    assert_eq!(statuses, [200, 429, 200]);
    let operator = server.operator().await;
    let answered = operator.events_of("Answered", 2).await;
    assert_eq!((&answered[1]["attempts"], &answered[1]["outcome"]), (&2.into(), &"complete".into()));
    let waited = waited(server);
    assert!(matches!(waited[..], [ms] if (100..5_000).contains(&ms)), "{waited:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn those_that_wait_go_in_order_and_no_more_than_the_quota_bears() {
    let (google, server) = out(seconds(6), 10, &PATIENT).await;
    let mut asking = Vec::new();
    for n in 0..10 {
        asking.push(asks_and_waits(&server, &format!("number {n}"), n + 1).await);
    }
    for asking in asking {
        let (status, body) = asking.await.unwrap();
        assert_eq!(status, 200, "{body}");
    }
    assert_eq!(refused(&google), 1, "the one that found out");
    let number = |seen: &gemini_pool::simulated::Seen| {
        let text = String::from_utf8_lossy(seen.body.as_ref().unwrap()).into_owned();
        let text = text.split_once("number ")?.1.to_owned();
        text[..1].parse::<usize>().ok()
    };
    let served = google.seen().into_iter().filter(|seen| seen.status == Some(200));
    let order: Vec<usize> = served.filter_map(|seen| number(&seen)).collect();
    assert_eq!(order.len(), 10);
    assert_eq!(order[0], 0, "{order:?}");
    // Those let go at the same time may arrive at Google in any order.
    for (place, number) in order.iter().enumerate() {
        assert!(place.abs_diff(*number) <= 4, "{order:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_opening_that_bears_nothing_costs_one_try() {
    // The minute never turns, and Google says that it will in a moment.
    let left = Left::StandsStill(Duration::from_millis(300));
    let (google, server) = out(left, 1, &[("QUEUE_TIMEOUT", "6")]).await;
    let mut asking = Vec::new();
    for n in 0..10 {
        asking.push(asks_and_waits(&server, "in vain", n + 1).await);
    }
    for asking in asking {
        let (status, body) = asking.await.unwrap();
        assert_eq!(status, 429, "{body}");
        assert_eq!(body["error"]["details"][0]["reason"], "ALL_KEYS_OUT", "{body}");
        assert!(retry_delay(&body) <= 1.0, "{body}");
    }
    let tried = refused(&google);
    let closings = of_type(&server.stop().0.log(), "GateClosed").len();
    assert!((3..=24).contains(&tried), "{tried} tries in six seconds");
    assert_eq!(tried, closings, "a try that closed no gate ran into one that another had closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_too_late_is_told_at_once_and_truly() {
    let (google, server) = out(seconds(40), 1, &[]).await;
    for (path, calls) in [(GENERATE, 2), (GENERATE, 2)] {
        let began = Instant::now();
        let answer = server.app().post(path, &ask("late")).send().await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(4), "it waited");
        assert_eq!(answer.status(), 429);
        let after: f64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert!(!answer.headers().contains_key("x-should-retry"));
        let body: Value = answer.json().await.unwrap();
        let delay = retry_delay(&body);
        assert!((20.0..=41.0).contains(&delay), "{body}");
        assert!((delay.ceil() - after).abs() < 0.5, "{delay} {after}");
        assert!(!body.to_string().contains("PerDay"), "{body}");
        assert_eq!(google.seen_count(), calls, "no key is tried through a closed gate");
    }
    assert!(waited(server).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_timeout_of_zero_is_no_waiting() {
    let (google, server) = out(seconds(3), 1, &[("QUEUE_TIMEOUT", "0")]).await;
    let (status, body) = server.app().generate(MODEL, "in a hurry").await;
    assert_eq!(status, 429);
    assert!(retry_delay(&body) <= 3.5, "{body}");
    assert_eq!(google.seen_count(), 2);
    assert!(waited(server).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_where_all_are_out_for_the_day_it_is_called_so() {
    let world = World::new().project("alpha", |alpha| alpha.out_for_today(MODEL, 5)).key("alpha", KEY);
    let google = SimulatedGoogle::start(world).await.unwrap();
    let server = Setup::new(&google, &[KEY]).start();
    let answer = server.app().post(GENERATE, &ask("Hello")).send().await.unwrap();
    let after = answer.headers()["retry-after"].to_str().unwrap().to_owned();
    let should_retry = answer.headers().get("x-should-retry").cloned();
    let body: Value = answer.json().await.unwrap();
    assert!(body.to_string().contains("GenerateRequestsPerDayPerProjectPerModel"), "{body}");
    if retry_delay(&body) > 60.0 {
        assert_eq!((after.as_str(), should_retry.unwrap().to_str().unwrap()), ("60", "false"));
    }
    let body = json!({"model": MODEL, "input": "Hello"});
    let answer = server.app().post("/v1beta/interactions", &body).send().await.unwrap();
    assert_eq!(answer.json::<Value>().await.unwrap()["error"]["code"], "quota_exceeded");

    let other =
        World::new().project("beta", |beta| beta.out_for_today(MODEL, 5)).key("beta", "AIza-other-0002");
    let keys = format!("{KEY},AIza-other-0002");
    let (_google, server) = out_with(other, seconds(40), 1, &[("GEMINI_API_KEYS", &keys)]).await;
    let (status, body) = server.app().generate(MODEL, "one more").await;
    assert_eq!(status, 429);
    assert!(!body.to_string().contains("PerDay"), "{body}");
    assert!(retry_delay(&body) <= 41.0, "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_gives_its_place_up() {
    let (google, server) = out(seconds(5), 1, &PATIENT).await;
    let first = asks_and_waits(&server, "first", 1).await;
    let second = asks_and_waits(&server, "second", 2).await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    let (status, body) = second.await.unwrap();
    assert_eq!(status, 200, "{body}");
    assert_eq!(google.seen_count(), 3);
    let operator = server.operator().await;
    let answered = operator.events_of("Answered", 3).await;
    let outcomes: Vec<_> = answered.iter().map(|event| event["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["complete", "cancelled", "complete"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_added_serves_those_that_wait() {
    let (google, server) = out(seconds(50), 1, &[("QUEUE_TIMEOUT", "600")]).await;
    let asking = asks_and_waits(&server, "patient", 1).await;
    google.edit(|world| {
        let known = std::mem::take(world);
        *world = known.key("beta", "AIza-other-0002");
    });
    let operator = server.operator().await;
    let began = Instant::now();
    let keys = json!({"keys": ["AIza-other-0002"]});
    let (status, answer) = operator.call(reqwest::Method::POST, "/keys/bulk_add", Some(keys)).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(asking.await.unwrap().0, 200);
    assert!(began.elapsed() < Duration::from_secs(20), "it waited for the minute to turn");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stop_lets_those_that_wait_be_answered_if_there_is_time() {
    let (_google, server) = out(seconds(4), 1, &PATIENT).await;
    let asking = asks_and_waits(&server, "patient", 1).await;
    server.ask_to_stop();
    assert_eq!(asking.await.unwrap().0, 200);
    let (well, setup) = tokio::task::spawn_blocking(move || server.wait()).await.unwrap();
    assert!(well);
    assert_eq!(of_type(&setup.log(), "Answered").last().unwrap()["outcome"], "complete");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stop_cuts_those_that_wait_when_the_time_is_up() {
    let settings = [("QUEUE_TIMEOUT", "600"), ("SHUTDOWN_TIMEOUT", "1")];
    let (_google, server) = out(seconds(50), 1, &settings).await;
    let request = server.app().post(GENERATE, &ask("patient"));
    let asking = tokio::spawn(request.send());
    tokio::task::block_in_place(|| server.wait_for_line("\"waiting\":1,"));
    server.ask_to_stop();
    assert!(asking.await.unwrap().is_err(), "there is no answer");
    let (well, setup) = tokio::task::spawn_blocking(move || server.wait()).await.unwrap();
    assert!(well);
    let answered = of_type(&setup.log(), "Answered").pop().unwrap();
    assert_eq!((&answered["outcome"], &answered["reason"]), (&"cancelled".into(), &"STOPPING".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_not_multiplied() {
    const REQUESTS: u64 = 200;
    let keys: Vec<String> = (0..20).map(|n| format!("AIza-many-{n:04}")).collect();
    let mut world = World::new().fault(Fault::always(Failure::Overloaded));
    for key in &keys {
        world = world.key(key, key);
    }
    let google = SimulatedGoogle::start(world).await.unwrap();
    let names: Vec<&str> = keys.iter().map(String::as_str).collect();
    let server = Setup::new(&google, &names).start();
    let began = Instant::now();
    let asking: Vec<_> = (0..REQUESTS)
        .map(|_| {
            let app = App { http: http(), ..server.app() };
            tokio::spawn(async move { app.generate(MODEL, "Hello").await })
        })
        .collect();
    for asking in asking {
        let (status, body) = asking.await.unwrap();
        assert_eq!(status, 503, "{body}");
        // Google's own word, until the model's circuit opens.
        let message = body["error"]["message"].as_str().unwrap();
        let (google, pool) = ("The model is overloaded.", "fails at Google for every key");
        assert!(message.contains(google) || message.contains(pool), "{body}");
    }
    let seconds = began.elapsed().as_secs_f64();
    let most = REQUESTS as f64 * 1.2 + 10.0 * seconds + 20.0;
    assert!((google.seen_count() as f64) <= most, "{} tries in {seconds} s", google.seen_count());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_twice_is_not_repeated_after_trouble() {
    let paths = [
        "/v1beta/interactions",
        "/v1beta/models/veo-3.0-generate-001:predictLongRunning",
        "/v1beta/models/gemini-2.5-flash:batchGenerateContent",
        "/v1beta/openai/batches",
        "/upload/v1beta/files",
    ];
    for failure in [Failure::Internal, Failure::Deadline, Failure::CutBeforeHead] {
        let world = World::new().key("alpha", KEY).key("beta", "AIza-other-0002");
        let google = SimulatedGoogle::start(world.fault(Fault::always(failure.clone()))).await.unwrap();
        let server = Setup::new(&google, &[KEY, "AIza-other-0002"]).start();
        for (path, seen) in paths.iter().zip(1..) {
            let body = json!({"model": MODEL, "input": "Hello"});
            let answer = server.app().post(path, &body).send().await.unwrap();
            assert!(answer.status().is_client_error() || answer.status().is_server_error());
            assert_eq!(google.seen_count(), seen, "{path} {failure:?}");
        }
    }
}
