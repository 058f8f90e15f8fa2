//! Settings that change while the pool runs: each is seen to change what happens, without a restart and after one.

use std::time::{Duration, Instant};

use gemini_pool::simulated::{Failure, Fault, KeyState, Limits, SimulatedGoogle, World};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Operator, Server, Setup, of_type};

const MODEL: &str = "gemini-2.5-flash";
const KEYS: [&str; 4] = ["AIza-one-0001", "AIza-two-0002", "AIza-three-0003", "AIza-four-0004"];

async fn stage() -> (SimulatedGoogle, Server) {
    let mut world = World::new();
    for (project, key) in ["alpha", "beta", "gamma", "delta"].iter().zip(KEYS) {
        world = world.key(project, key);
    }
    let google = SimulatedGoogle::start(world).await.unwrap();
    let server = Setup::new(&google, &KEYS).start();
    (google, server)
}

async fn set(operator: &Operator, settings: Value) -> Value {
    let (status, answer) = operator.call(Method::PATCH, "/settings", Some(settings.clone())).await;
    assert_eq!(status, 200, "{settings}: {answer}");
    answer
}

fn shown<'a>(answer: &'a Value, name: &str) -> &'a Value {
    let all = answer["settings"].as_array().unwrap();
    all.iter().find(|setting| setting["name"] == name).unwrap_or_else(|| panic!("no {name} in {answer}"))
}

fn faults(google: &SimulatedGoogle, faults: Vec<Fault>) {
    google.edit(|world| world.faults = faults);
}

/// How often Google is asked for one request that always fails.
async fn tries(google: &SimulatedGoogle, server: &Server) -> u64 {
    let before = google.seen_count();
    assert_eq!(server.app().generate(MODEL, "Hello").await.0, 503);
    google.seen_count() - before
}

#[tokio::test(flavor = "multi_thread")]
async fn how_often_a_request_is_tried_follows_and_stays_after_a_restart() {
    let (google, server) = stage().await;
    faults(&google, vec![Fault::always(Failure::Overloaded)]);
    let operator = server.operator().await;
    set(&operator, json!({"MAX_FAILURES_PER_KEY": 1_000_000})).await;
    assert_eq!(tries(&google, &server).await, 3);
    let answer = set(&operator, json!({"MAX_ATTEMPTS": 1})).await;
    let said = shown(&answer, "MAX_ATTEMPTS");
    assert_eq!((&said["value"], &said["origin"], &said["live"]), (&json!("1"), &json!("log"), &json!(true)));
    assert_eq!((&said["default"], &said["wants"]), (&json!("3"), &json!("a whole number from 1 to 10")));
    assert_eq!(tries(&google, &server).await, 1);

    let server = server.stop().0.with("MAX_ATTEMPTS", "2").start();
    assert_eq!(
        tries(&google, &server).await,
        1,
        "what was said wins over the environment, after a restart too"
    );
    let operator = server.operator().await;
    let answer = set(&operator, json!({"MAX_ATTEMPTS": null})).await;
    assert_eq!(shown(&answer, "MAX_ATTEMPTS")["origin"], "environment");
    assert_eq!(tries(&google, &server).await, 2, "taken back, the environment counts again");
    let log = server.stop().0.log();
    let changes = of_type(&log, "SettingsChanged");
    assert_eq!(changes.len(), 3);
    assert_eq!(changes[2]["settings"], json!([{"name": "MAX_ATTEMPTS", "value": "cleared"}]));
    assert_eq!(changes[2]["actor"], json!({"admin": "admin"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn how_keys_are_chosen_and_when_one_rests_follows() {
    let (google, server) = stage().await;
    let operator = server.operator().await;
    set(&operator, json!({"STRATEGY": "round-robin", "MAX_FAILURES_PER_KEY": 1})).await;
    for _ in 0..8 {
        assert_eq!(server.app().generate(MODEL, "Hello").await.0, 200);
    }
    let keys: Vec<String> = google.seen().into_iter().map(|seen| seen.key).collect();
    assert_eq!(keys[..4], keys[4..8], "each in its turn");
    let attempts = operator.events_of("Attempted", 8).await;
    assert!(attempts.iter().all(|attempt| attempt["why"]["strategy"] == "round-robin"), "{attempts:#?}");
    google.edit(|world| {
        world.keys.get_mut(KEYS[1]).unwrap().faults = vec![Fault::times(1, Failure::Overloaded)]
    });
    for _ in 0..4 {
        assert_eq!(server.app().generate(MODEL, "Hello").await.0, 200);
    }
    let closed = operator.events_of("GateClosed", 1).await;
    assert_eq!(closed[0]["scope"], json!({"key": 2}), "one failure was enough");
}

#[tokio::test(flavor = "multi_thread")]
async fn how_long_requests_wait_follows() {
    let (google, server) = stage().await;
    let operator = server.operator().await;
    let only = json!({"ids": [2, 3, 4]});
    assert_eq!(operator.call(Method::POST, "/keys/bulk_disable", Some(only)).await.0, 200);
    google.edit(|world| {
        world.projects.get_mut("alpha").unwrap().limit(MODEL, Limits::none().per_minute(1));
    });
    set(&operator, json!({"QUEUE_TIMEOUT": 0})).await;
    assert_eq!(server.app().generate(MODEL, "Hello").await.0, 200);
    let began = Instant::now();
    assert_eq!(server.app().generate(MODEL, "Hello").await.0, 429);
    assert_eq!(server.app().generate(MODEL, "Hello").await.0, 429);
    assert!(began.elapsed() < Duration::from_secs(5));
    set(&operator, json!({"QUEUE_TIMEOUT": 600, "DEBUG": true})).await;
    let waits = {
        let app = server.app();
        tokio::spawn(async move { app.generate(MODEL, "Hello").await.0 })
    };
    // It says so now that it says more.
    let server = tokio::task::spawn_blocking(move || {
        server.wait_for_line("a request waits for a key");
        server
    });
    let server = server.await.unwrap();
    assert_eq!(operator.call(Method::POST, "/keys/bulk_enable", Some(json!({"ids": [2]}))).await.0, 200);
    assert_eq!(waits.await.unwrap(), 200);
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn how_long_answers_may_take_follows() {
    let (google, server) = stage().await;
    let operator = server.operator().await;
    set(&operator, json!({"REQUEST_TIMEOUT": 1, "STREAM_IDLE_TIMEOUT": "1"})).await;
    faults(&google, vec![Fault::always(Failure::HoldFirstByte)]);
    let (status, answer) = server.app().generate(MODEL, "Hello").await;
    assert_eq!(status, 504, "{answer}");
    faults(&google, vec![Fault::always(Failure::Stall { after: 1, lasts: None })]);
    let (status, body) = server.app().stream(MODEL, "Hello").await;
    assert_eq!(status, 200);
    assert!(String::from_utf8_lossy(&body).contains("it stalled"), "{}", String::from_utf8_lossy(&body));
    google.release();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_come_in_and_how_it_is_addressed_follows() {
    let (_google, server) = stage().await;
    let operator = server.operator().await;
    let long = "x".repeat(4_000);
    assert_eq!(server.app().generate(MODEL, &long).await.0, 200);
    let said = json!({"MAX_BODY_BYTES": 2_048, "PUBLIC_URL": "https://gemini.example.org/",
        "ACCESS_TOKEN_EXPIRE_MINUTES": 2});
    set(&operator, said).await;
    assert_eq!(server.app().generate(MODEL, &long).await.0, 413);
    assert_eq!(server.app().generate(MODEL, "short").await.0, 200);
    let begin = server
        .app()
        .post("/upload/v1beta/files", &json!({"file": {"displayName": "a file"}}))
        .header("x-goog-upload-protocol", "resumable")
        .header("x-goog-upload-command", "start")
        .header("x-goog-upload-header-content-length", 10)
        .header("x-goog-upload-header-content-type", "text/plain");
    let begun = begin.send().await.unwrap();
    let address = begun.headers()["x-goog-upload-url"].to_str().unwrap();
    assert!(address.starts_with("https://gemini.example.org/upload/"), "{address}");
    let login = json!({"username": "admin", "password": crate::support::PASSWORD});
    let (status, login) = operator.call(Method::POST, "/login", Some(login)).await;
    assert_eq!(status, 200);
    let ends = gemini_pool::ledger::clock::millis_of(login["expires_at"].as_str().unwrap()).unwrap();
    let left = ends - gemini_pool::ledger::clock::Clock::system().now();
    assert!((60_000..=120_000).contains(&left), "{left} ms");
}

#[tokio::test(flavor = "multi_thread")]
async fn how_often_failed_keys_are_checked_follows() {
    let (google, server) = stage().await;
    let operator = server.operator().await;
    google.edit(|world| world.keys.get_mut(KEYS[0]).unwrap().state = KeyState::Leaked);
    while !google.seen().iter().any(|seen| seen.key == KEYS[0]) {
        assert_eq!(server.app().generate(MODEL, "Hello").await.0, 200);
    }
    operator.events_of("GateClosed", 1).await;
    set(&operator, json!({"KEY_RECHECK_INTERVAL": 1})).await;
    google.wait_for(|seen| seen.iter().any(|seen| seen.rpc.contains("ListModels"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told_at_once_and_changes_nothing() {
    let (_google, server) = stage().await;
    let operator = server.operator().await;
    let before = operator.events().await.len();
    let all = json!({"MAX_ATTEMPTS": 0, "MAX_ATEMPTS": 1, "PORT": 1, "ADMIN_PASSWORD": "s3cret-word", "STRATEGY": "sticky",
        "DEBUG": [1]});
    let (status, answer) = operator.call(Method::PATCH, "/settings", Some(all)).await;
    assert_eq!((status, &answer["code"]), (400, &json!("bad_settings")), "{answer}");
    let all = json!({"MAX_ATTEMPTS": 0, "MAX_ATEMPTS": 1, "PORT": 1, "ADMIN_PASSWORD": "s3cret-word", "STRATEGY": "sticky"});
    let (status, answer) = operator.call(Method::PATCH, "/settings", Some(all)).await;
    let wrong: Vec<String> = answer["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|wrong| format!("{}: {}", wrong["name"].as_str().unwrap(), wrong["wants"].as_str().unwrap()))
        .collect();
    assert_eq!(status, 400);
    assert_eq!(
        wrong,
        [
            "ADMIN_PASSWORD: is read at the start alone: set it in the environment or `.env`, and start again",
            "MAX_ATEMPTS: is no setting; did you mean MAX_ATTEMPTS?",
            "PORT: is read at the start alone: set it in the environment or `.env`, and start again",
            "MAX_ATTEMPTS: wants a whole number from 1 to 10, not `0`",
        ]
    );
    assert!(!answer.to_string().contains("s3cret"), "{answer}");
    assert_eq!(operator.events().await.len(), before);
    let (_, list) = operator.call(Method::GET, "/settings", None).await;
    assert_eq!(shown(&list, "STRATEGY")["value"], "least-loaded");
    let password = shown(&list, "ADMIN_PASSWORD");
    assert_eq!((&password["value"], &password["secret"]), (&json!("(set)"), &json!(true)));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_operators_do_not_overwrite_each_other() {
    let (_google, server) = stage().await;
    let operator = server.operator().await;
    let (status, headers, list) = operator.send(Method::GET, "/settings", &[], None).await;
    let read = headers["etag"].to_str().unwrap().to_owned();
    assert_eq!((status, &read, &list["revision"]), (200, &"\"0\"".to_owned(), &json!(0)));
    let change = |attempts: u8| Some(json!({"MAX_ATTEMPTS": attempts}));
    let seen = [("if-match", read.as_str())];
    let (status, headers, _) = operator.send(Method::PATCH, "/settings", &seen, change(4)).await;
    let next = headers["etag"].to_str().unwrap().to_owned();
    assert!(status == 200 && next != read);
    let (status, _, answer) = operator.send(Method::PATCH, "/settings", &seen, change(5)).await;
    assert_eq!((status, &answer["code"]), (412, &json!("changed_meanwhile")), "{answer}");
    let seen = [("if-match", next.as_str())];
    assert_eq!(operator.send(Method::PATCH, "/settings", &seen, change(5)).await.0, 200);
    let (status, _, answer) =
        operator.send(Method::PATCH, "/settings", &[("if-match", "5")], change(6)).await;
    assert_eq!((status, &answer["code"]), (400, &json!("bad_parameter")), "{answer}");
}

/// The same on a running and on a stopped pool.
#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_says_and_shows_them() {
    let (_google, server) = stage().await;
    let said = |setup: &Setup, arguments: &[&str]| {
        let output = setup.run(&[&["settings"], arguments].concat(), "");
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    let (code, text) = said(&server.setup, &["set", "MAX_ATTEMPTS=5", "PUBLIC_URL=http://here"]);
    assert!(code == Some(0) && text.contains("MAX_ATTEMPTS  5") && text.contains("http://here"), "{text}");
    let (code, text) = said(&server.setup, &["set", "MAX_ATTEMPTS=11"]);
    assert!(code == Some(1) && text.contains("wants a whole number from 1 to 10"), "{text}");
    let (setup, _) = server.stop();
    let (_, text) = said(&setup, &["list"]);
    assert!(text.lines().any(|line| line.starts_with("MAX_ATTEMPTS") && line.contains(" 5 ")), "{text}");
    let (code, _) = said(&setup, &["set", "MAX_ATTEMPTS", "PUBLIC_URL"]);
    assert_eq!(code, Some(0));
    let (_, text) = said(&setup, &["list", "--json"]);
    let list: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(shown(&list, "MAX_ATTEMPTS")["origin"], "default");
    let actors = of_type(&setup.log(), "SettingsChanged");
    assert_eq!(actors.len(), 2);
    assert!(actors.iter().all(|event| event["actor"] == "cli"));
}
