//! A disk without room: the pool says so, goes on as it was told, and loses nothing that it acknowledged.

use std::time::{Duration, Instant};

use gemini_pool::simulated::{SimulatedGoogle, World};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Operator, Server, Setup, machine::SmallDisk, of_type};

/// The log's file is made 64 MiB long without taking room, so a few megabytes do.
const MEGABYTES: u32 = 4;

struct Stage {
    // Fields go in this order: the server before its disk, the disk before its folder.
    server: Server,
    disk: SmallDisk,
    google: SimulatedGoogle,
}

async fn stage(log_failure: &str) -> Option<Stage> {
    let google = SimulatedGoogle::start(World::new().key("alpha", "AIza-good-1").key("beta", "AIza-good-2"))
        .await
        .unwrap();
    let setup = Setup::new(&google, &["AIza-good-1"]).with("LOG_FAILURE", log_failure);
    let disk = SmallDisk::on(&setup.data(), MEGABYTES)?;
    Some(Stage { server: setup.start(), disk, google })
}

async fn ready(server: &Server) -> (u16, Value) {
    let answer = crate::support::http().get(format!("{}/readyz", server.origin)).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

fn unrecorded(ready: &Value) -> u64 {
    ready["reasons"][0]["unrecorded"].as_u64().unwrap_or(0)
}

/// Serves until the log has failed: the page that it writes on may still have room.
async fn serve_until_it_fails(server: &Server) -> u64 {
    for served in 1..1_000 {
        let (status, answer) = server.app().generate("gemini-2.5-flash", "Hello").await;
        assert!(status == 200 || answer["error"]["details"][0]["reason"] == "LOG_UNAVAILABLE", "{answer}");
        if ready(server).await.0 == 503 {
            return served;
        }
    }
    panic!("a thousand requests, and the full disk was not noticed")
}

/// Waits until the log has healed; gives the gap that stands in it.
async fn healed(server: &Server) -> Value {
    let until = Instant::now() + Duration::from_secs(60);
    while ready(server).await.0 != 200 {
        assert!(Instant::now() < until, "the log does not heal: {}", server.output());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    of_type(&server.operator().await.events().await, "LogGap").pop().expect("the gap stands in the log")
}

fn audited(setup: &Setup) {
    let audit = setup.run(&["audit", "verify"], "");
    let told = String::from_utf8_lossy(&audit.stdout).into_owned() + &String::from_utf8_lossy(&audit.stderr);
    assert!(audit.status.success(), "{told}");
}

async fn add(operator: &Operator, keys: &[&str]) -> (u16, Value) {
    operator.call(Method::POST, "/keys/bulk_add", Some(json!({"keys": keys}))).await
}

#[tokio::test]
async fn a_full_disk_stops_the_log_and_not_the_traffic() {
    let Some(Stage { server, disk, google }) = stage("continue").await else { return };
    let operator = server.operator().await;
    for _ in 0..5 {
        assert_eq!(server.app().generate("gemini-2.5-flash", "Hello").await.0, 200);
    }
    assert_eq!(add(&operator, &["AIza-good-2"]).await.0, 200);
    let acknowledged = {
        operator.events_of("Answered", 5).await;
        operator.events().await
    };
    disk.fill();
    serve_until_it_fails(&server).await;
    let (status, told) = ready(&server).await;
    assert_eq!(status, 503);
    assert_eq!(told["reasons"][0]["code"], "log_failed", "{told}");
    let before = unrecorded(&told);
    let seen = google.seen_count();
    for _ in 0..10 {
        assert_eq!(server.app().generate("gemini-2.5-flash", "Hello").await.0, 200, "traffic goes on");
    }
    assert_eq!(google.seen_count(), seen + 10);
    let mut after = before;
    for _ in 0..1_000 {
        after = unrecorded(&ready(&server).await.1);
        if after >= before + 20 {
            break;
        }
    }
    // The last one before the look may have been counted a moment after it.
    assert!(
        (before + 20..=before + 22).contains(&after),
        "each request and each try is counted: {before}, {after}"
    );
    for (verb, path, body) in [
        (Method::POST, "/keys/bulk_add", Some(json!({"keys": ["AIza-new"]}))),
        (Method::DELETE, "/keys/1", None),
        (Method::POST, "/keys/1/reset", None),
        (Method::PATCH, "/keys/1", Some(json!({"enabled": false}))),
    ] {
        let (status, problem) = operator.call(verb, path, body).await;
        assert_eq!((status, &problem["code"]), (503, &json!("log_unavailable")), "{path}: {problem}");
    }
    assert_eq!(operator.keys().await.len(), 2, "nothing was changed");
    let read = operator.events().await;
    assert!(read.len() >= acknowledged.len(), "what was recorded can still be read");
    assert_eq!(read[..acknowledged.len()], acknowledged[..]);
    // Room is enough.
    let counted = unrecorded(&ready(&server).await.1);
    disk.free();
    let gap = healed(&server).await;
    let told = gap["unrecorded"].as_u64().unwrap() + gap["late"].as_u64().unwrap();
    assert_eq!(told, counted, "what was counted is what the log tells: {gap}");
    assert!(gap["cause"].as_str().unwrap().contains("No space left on device"), "{gap}");
    assert!(gap["from"].as_i64() < gap["to"].as_i64(), "{gap}");
    assert_eq!(operator.events().await[..read.len()], read[..], "everything acknowledged is there");
    assert_eq!(operator.keys().await.len(), 2);
    assert_eq!(server.app().generate("gemini-2.5-flash", "Hello").await.0, 200);
    assert_eq!(add(&operator, &["AIza-new"]).await.0, 200);
    let metrics = crate::support::http().get(format!("{}/metrics", server.origin)).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(metrics.contains("gemini_pool_log_gaps_total 1\n"), "{metrics}");
    assert!(metrics.contains("gemini_pool_unrecorded_total 0\n"), "{metrics}");
    let (setup, said) = server.stop();
    assert!(said.contains("the log failed") && said.contains("goes on") && !said.contains("panic"), "{said}");
    assert_eq!(of_type(&setup.log(), "KeyAdded").len(), 3);
    audited(&setup);
    let server = setup.start();
    assert_eq!(ready(&server).await.0, 200);
    assert_eq!(server.operator().await.keys().await.len(), 3);
}

/// Who counts what is not recorded, who shows it and who asks why take their locks in one order.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_log_requests_and_metrics_and_the_stop_do_not_wait_for_each_other() {
    let Some(Stage { server, disk, google: _google }) = stage("continue").await else { return };
    disk.fill();
    serve_until_it_fails(&server).await;
    let until = Instant::now() + Duration::from_secs(4);
    let origin = server.origin.clone();
    let scrapes = tokio::spawn(async move {
        let (http, mut scrapes) = (crate::support::http(), 0);
        while Instant::now() < until {
            let asked = http.get(format!("{origin}/metrics")).timeout(Duration::from_secs(20)).send();
            assert_eq!(asked.await.expect("the metrics are answered").status(), 200);
            scrapes += 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        scrapes
    });
    let traffic: Vec<_> = (0..4)
        .map(|_| {
            let app = server.app();
            tokio::spawn(async move {
                while Instant::now() < until {
                    let asked = app.generate("gemini-2.5-flash", "Hello");
                    let answered = tokio::time::timeout(Duration::from_secs(20), asked).await;
                    assert_eq!(answered.expect("a request is answered").0, 200);
                }
            })
        })
        .collect();
    for task in traffic {
        task.await.unwrap();
    }
    assert!(scrapes.await.unwrap() >= 40, "ten a second at least");
    let stopping = tokio::task::spawn_blocking(move || server.stop());
    let stopped = tokio::time::timeout(Duration::from_secs(30), stopping).await;
    assert!(stopped.expect("it stops when it is asked to").is_ok());
}

#[tokio::test]
async fn a_full_disk_stops_the_traffic_where_nothing_may_go_unrecorded() {
    let Some(Stage { server, disk, google }) = stage("refuse").await else { return };
    assert_eq!(server.app().generate("gemini-2.5-flash", "Hello").await.0, 200);
    disk.fill();
    serve_until_it_fails(&server).await;
    let seen = google.seen_count();
    let mut told = String::new();
    let app = server.app();
    for path in [
        "/v1beta/models/gemini-2.5-flash:generateContent",
        "/v1beta/openai/chat/completions",
        "/v1beta/interactions",
    ] {
        let answer = app.post(path, &json!({})).send().await.unwrap();
        assert_eq!(answer.status(), 503, "{path}");
        told.push_str(&format!("> {path}\n{}\n", answer.text().await.unwrap()));
    }
    insta::with_settings!({snapshot_path => "../../../snapshots", prepend_module_to_snapshot => false}, {
        insta::assert_snapshot!("log_unavailable", told);
    });
    assert_eq!(google.seen_count(), seen, "nothing was sent");
    disk.free();
    healed(&server).await;
    assert_eq!(server.app().generate("gemini-2.5-flash", "Hello").await.0, 200, "it serves again, by itself");
}

#[tokio::test]
async fn a_full_disk_ends_the_process_where_its_supervisor_wants_to_know() {
    let Some(Stage { server, disk, google: _google }) = stage("exit").await else { return };
    assert_eq!(server.app().generate("gemini-2.5-flash", "Hello").await.0, 200);
    disk.fill();
    let app = server.app();
    let traffic = tokio::spawn(async move {
        let path = "/v1beta/models/gemini-2.5-flash:generateContent";
        while app.post(path, &crate::support::ask("Hello")).send().await.is_ok() {}
    });
    let ending = tokio::task::spawn_blocking(move || server.wait());
    let (well, setup) =
        tokio::time::timeout(Duration::from_secs(60), ending).await.expect("it ends").unwrap();
    assert!(!well, "with an exit code that says so");
    traffic.await.unwrap();
    disk.free();
    let server = setup.start();
    assert_eq!(server.app().generate("gemini-2.5-flash", "Hello").await.0, 200);
    // What the process that ended could not record, the next one tells; and only once.
    let (setup, _) = server.stop();
    let (setup, _) = setup.start().stop();
    let gaps = of_type(&setup.log(), "LogGap");
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert!(gaps[0]["unrecorded"].as_u64().unwrap() > 0, "{gaps:?}");
    assert!(gaps[0]["cause"].as_str().unwrap().contains("No space left on device"), "{gaps:?}");
    audited(&setup);
}

#[tokio::test]
async fn a_change_that_was_refused_for_want_of_room_does_not_happen_later() {
    // Part of the large one reaches the file at most. The small one waits in memory, whole, and is written when the
    // file is closed.
    refused_for_want_of_room(40).await;
    refused_for_want_of_room(22).await;
}

async fn refused_for_want_of_room(keys: usize) {
    let Some(Stage { server, disk, google: _google }) = stage("continue").await else { return };
    let operator = server.operator().await;
    disk.fill();
    // No other write may come between: the one that fails is this one. Large enough to need a new page.
    let many: Vec<String> = (0..keys).map(|n| format!("AIza-refused-{n:04}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let (status, problem) = add(&operator, &many).await;
    assert_eq!(status, 503, "{problem}");
    assert_eq!(operator.keys().await.len(), 1);
    disk.free();
    healed(&server).await;
    assert_eq!(operator.keys().await.len(), 1, "nor when the log heals");
    let (status, told) = add(&operator, &["AIza-refused-0001"]).await;
    assert_eq!((status, &told["results"][0]["result"]), (200, &json!("added")), "{told}");
    assert_eq!(operator.call(Method::DELETE, "/keys/2", None).await.0, 200);
    let (setup, _) = server.stop();
    audited(&setup);
    let added = of_type(&setup.log(), "KeyAdded");
    assert_eq!(added.len(), 2, "the operator was told that nothing was changed, but for the one after it");
}

#[tokio::test]
async fn a_disk_that_is_full_at_the_start_is_told_at_once() {
    let google = SimulatedGoogle::start(World::new().key("alpha", "AIza-good-1")).await.unwrap();
    let setup = Setup::new(&google, &["AIza-good-1"]);
    let Some(disk) = SmallDisk::on(&setup.data(), MEGABYTES) else { return };
    disk.fill();
    let (code, said) = setup.start_in_vain();
    assert_eq!(code, Some(1), "{said}");
    assert!(!said.contains("panic"), "{said}");
    assert!(said.contains("No space left on device") && said.contains("[folder]/data"), "{said}");
    disk.free();
    let server = setup.start();
    assert_eq!(server.app().generate("gemini-2.5-flash", "Hello").await.0, 200);
}

#[tokio::test]
async fn what_to_do_without_a_log_may_change_while_there_is_one() {
    let Some(Stage { server, disk, google: _google }) = stage("continue").await else { return };
    let operator = server.operator().await;
    let body = json!({"LOG_FAILURE": "refuse"});
    assert_eq!(operator.call(Method::PATCH, "/settings", Some(body)).await.0, 200);
    disk.fill();
    serve_until_it_fails(&server).await;
    let (status, answer) = server.app().generate("gemini-2.5-flash", "Hello").await;
    assert_eq!(
        (status, &answer["error"]["details"][0]["reason"]),
        (503, &json!("LOG_UNAVAILABLE")),
        "{answer}"
    );
    let body = json!({"LOG_FAILURE": "continue"});
    let (status, problem) = operator.call(Method::PATCH, "/settings", Some(body)).await;
    assert_eq!((status, &problem["code"]), (503, &json!("log_unavailable")));
}

/// An operator comes in to see why, and changes nothing; whoever guesses waits, also without a log.
#[tokio::test]
async fn without_a_log_an_operator_comes_in_and_reads() {
    let Some(Stage { server, disk, google: _google }) = stage("continue").await else { return };
    disk.fill();
    serve_until_it_fails(&server).await;
    let operator = server.operator().await;
    assert_eq!(operator.call(Method::GET, "/session", None).await.0, 200);
    let (status, told) = operator.call(Method::GET, "/status", None).await;
    assert_eq!(status, 200, "{told}");
    let (status, problem) = add(&operator, &["AIza-good-2"]).await;
    assert_eq!((status, &problem["code"]), (503, &json!("log_unavailable")), "nothing is changed");
    let mut seen = Vec::new();
    for _ in 0..6 {
        let body = json!({"username": "admin", "password": "a wrong password"});
        let answer = crate::support::http().post(format!("{}/api/login", server.origin)).json(&body);
        seen.push(answer.send().await.unwrap().status().as_u16());
    }
    assert_eq!(seen, [401, 401, 401, 401, 401, 429]);
}

/// The command line looks, with a server and without one; nothing that it reads is copied first.
#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_reads_on_a_full_disk() {
    let Some(Stage { server, disk, google: _google }) = stage("continue").await else { return };
    assert_eq!(server.app().generate("gemini-2.5-flash", "Hello").await.0, 200);
    disk.fill();
    let looks = |setup: &Setup| {
        for command in
            [&["status"][..], &["keys", "list"], &["events", "list", "--limit", "3"], &["audit", "verify"]]
        {
            let output = setup.run(command, "");
            let (out, err) =
                (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            assert!(output.status.success(), "{command:?}: {out}{err}");
            assert!(!out.is_empty() || command[0] == "audit", "{command:?} said nothing");
        }
    };
    looks(&server.setup);
    let (setup, said) = server.stop();
    assert!(!said.contains("panic"), "{said}");
    looks(&setup);
    drop(disk);
}
