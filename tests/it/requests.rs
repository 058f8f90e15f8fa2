//! The request log: every request that clients made is found by what is asked of it, whatever happened to the server.

use gemini_pool::{
    journal::{Derived, fjall::FjallJournal},
    simulated::{Failure, Fault, KeyState, SimulatedGoogle, World},
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{CLIENT_KEY, Operator, PASSWORD, Server, Setup, ask, http};

const FLASH: &str = "gemini-2.5-flash";
const BAD: &str = "AIza-bad-0001";
const GOOD: &str = "AIza-good-0002";

async fn google() -> SimulatedGoogle {
    let world = World::new().key_in("alpha", BAD, KeyState::Bad).key("beta", GOOD);
    SimulatedGoogle::start(world).await.unwrap()
}

async fn get(operator: &Operator, path: &str) -> Value {
    let (status, answer) = operator.call(Method::GET, path, None).await;
    assert_eq!(status, 200, "{path}: {answer}");
    answer
}

/// The requests that a query finds.
async fn found(operator: &Operator, query: &str) -> Vec<Value> {
    let answer = get(operator, &format!("/request_logs{query}")).await;
    assert_eq!(answer.get("indexing"), None, "{answer}");
    answer["request_logs"].as_array().unwrap().clone()
}

/// A request as an app makes it; gives the status and its id.
async fn request(server: &Server, key: Option<&str>, path: &str, body: &Value) -> (u16, String) {
    let answer = server.app_with(key).post(path, body).send().await.unwrap();
    let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
    let status = answer.status().as_u16();
    answer.bytes().await.unwrap();
    (status, id)
}

fn generate(model: &str) -> String {
    format!("/v1beta/models/{model}:generateContent")
}

#[tokio::test]
async fn every_request_is_found_by_what_is_asked_of_it() {
    let google = google().await;
    let server = Setup::new(&google, &[BAD, GOOD]).start();
    let operator = server.operator().await;
    let began = chrono_now(&operator).await;
    let mut ids = Vec::new();
    for number in 0..6 {
        let text = format!("Hello {number}");
        let (status, id) = request(&server, Some(CLIENT_KEY), &generate(FLASH), &ask(&text)).await;
        assert_eq!(status, 200);
        ids.push(id);
    }
    let stream = format!("/v1beta/models/{FLASH}:streamGenerateContent?alt=sse");
    let (status, streamed) = request(&server, Some(CLIENT_KEY), &stream, &ask("Hello")).await;
    assert_eq!(status, 200);
    let (status, missing) = request(&server, Some(CLIENT_KEY), &generate("no-such-model"), &ask("x")).await;
    assert_eq!(status, 404);
    let (status, stranger) = request(&server, Some("not-a-client-key"), &generate(FLASH), &ask("x")).await;
    assert_eq!(status, 401);

    let all = found(&operator, "").await;
    assert_eq!(all.len(), 9, "a request is there as soon as it is answered");
    assert_eq!(all[0]["id"], json!(stranger), "the newest first");
    assert_eq!(all[0]["client"], Value::Null);
    assert_eq!(all[0]["outcome"], "refused");
    let first = all.last().unwrap();
    assert_eq!(first["id"], json!(ids[0]));
    assert_eq!(first["client"]["name"].as_str().map(str::is_empty), Some(false), "{first}");
    assert_eq!(first["tokens"]["prompt"].as_u64().map(|tokens| tokens > 0), Some(true), "{first}");
    let ids_of = |found: &[Value]| -> Vec<String> {
        found.iter().map(|request| request["id"].as_str().unwrap().to_owned()).collect()
    };
    for (query, wanted) in [
        ("?streamed=true".to_owned(), vec![&streamed]),
        ("?status=404".to_owned(), vec![&missing]),
        ("?status=4xx".to_owned(), vec![&stranger, &missing]),
        ("?outcome=refused".to_owned(), vec![&stranger]),
        ("?model=no-such-model".to_owned(), vec![&missing]),
        ("?client=0".to_owned(), vec![&stranger]),
        (format!("?request={}", ids[3]), vec![&ids[3]]),
        ("?key=99".to_owned(), vec![]),
        ("?tries_min=1&status=401".to_owned(), vec![]),
        ("?min_latency_ms=3600000".to_owned(), vec![]),
        ("?to=2020-01-01T00:00:00Z".to_owned(), vec![]),
        (format!("?from={began}&status=401"), vec![&stranger]),
        ("?text=NO-SUCH".to_owned(), vec![]),
    ] {
        assert_eq!(ids_of(&found(&operator, &query).await).iter().collect::<Vec<_>>(), wanted, "{query}");
    }
    // One request ran into the bad key, and was served by the other.
    let twice = found(&operator, "?tries_min=2").await;
    assert!(twice.len() <= 1, "{twice:#?}");
    let bad = found(&operator, "?text=Bad_Key").await;
    assert_eq!(bad, twice, "a failed try's verdict is found as text");

    // Page by page it is the same list, while new requests arrive.
    let (mut paged, mut query) = (Vec::new(), "?limit=2".to_owned());
    loop {
        let page = get(&operator, &format!("/request_logs{query}")).await;
        paged.extend(page["request_logs"].as_array().unwrap().iter().cloned());
        let Some(next) = page["next"].as_str() else { break };
        query = format!("?limit=2&cursor={next}");
        request(&server, Some(CLIENT_KEY), &generate(FLASH), &ask("meanwhile")).await;
    }
    assert_eq!(paged, all);

    let counts = get(&operator, "/request_logs/counts?status=4xx").await;
    assert_eq!(counts["total"], 2);
    assert_eq!(counts["outcomes"].as_array().unwrap().len(), 2);
    assert_eq!(counts["models"].as_array().unwrap().len(), 2);
    let all = get(&operator, "/request_logs/counts").await;
    let listed = found(&operator, "?limit=1000").await;
    assert_eq!(all["total"], json!(listed.len()));
    let of_client = all["clients"].as_array().unwrap().iter().find(|one| !one["client"].is_null()).unwrap();
    assert_eq!(of_client["count"], json!(listed.len() - 1));
    assert_eq!(all["statuses"][0]["status"], 200);

    for (path, code) in [
        ("/request_logs?cursor=nonsense", "bad_cursor"),
        ("/request_logs?status=teapot", "bad_request"),
        ("/request_logs?from=yesterday", "bad_request"),
        ("/request_logs?request=7", "bad_request"),
        ("/request_logs?limit=1001", "bad_parameter"),
        ("/request_logs/nothing-like-it", "bad_request"),
        ("/request_logs/export?format=xml", "bad_parameter"),
    ] {
        let (status, answer) = operator.call(Method::GET, path, None).await;
        assert_eq!((status, &answer["code"]), (400, &json!(code)), "{path}: {answer}");
    }
    for path in ["/request_logs/999999", "/request_logs/019ab000-0000-7000-8000-000000000001"] {
        let (status, answer) = operator.call(Method::GET, path, None).await;
        assert_eq!((status, &answer["code"]), (404, &json!("not_found")), "{path}");
    }
    let plain = http().get(format!("{}/api/request_logs", server.origin)).send().await.unwrap();
    assert_eq!(plain.status(), 401);
}

/// The time of the log's last event.
async fn chrono_now(operator: &Operator) -> String {
    operator.events().await.last().unwrap()["at"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn one_request_is_shown_with_every_try() {
    let world = World::new()
        .key("alpha", "AIza-first-0001")
        .key("beta", "AIza-second-0002")
        .fault(Fault::times(1, Failure::Overloaded));
    let google = SimulatedGoogle::start(world).await.unwrap();
    let server = Setup::new(&google, &["AIza-first-0001", "AIza-second-0002"]).start();
    let (status, id) = request(&server, Some(CLIENT_KEY), &generate(FLASH), &ask("Hello")).await;
    assert_eq!(status, 200);
    let operator = server.operator().await;
    let shown = get(&operator, &format!("/request_logs/{id}")).await;
    let attempts = shown["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 2, "{shown:#}");
    assert_eq!(attempts[0]["verdict"], "overloaded");
    assert_eq!(attempts[0]["status"], 503);
    assert_eq!(attempts[1]["verdict"], "success");
    assert_ne!(attempts[0]["key"]["id"], attempts[1]["key"]["id"]);
    assert!(attempts[1]["why"]["eligible"].as_u64().unwrap() >= 1);
    assert_eq!(attempts[1]["why"]["strategy"], "least-loaded");
    assert_eq!(shown["tries"], 2);
    assert_eq!(shown["finish_reason"], "STOP");
    assert_eq!(shown["bodies"], Value::Null, "they are not kept unless somebody says so");
    // The same by the position of its end; and its events are where it says.
    let seq = shown["seq"].as_u64().unwrap();
    assert_eq!(get(&operator, &format!("/request_logs/{seq}")).await, shown);
    let events = operator.events().await;
    assert_eq!(events[seq as usize - 1]["event"]["request"], json!(id));
    for attempt in attempts {
        let event = &events[attempt["seq"].as_u64().unwrap() as usize - 1];
        assert_eq!((&event["type"], &event["event"]["request"]), (&json!("Attempted"), &json!(id)));
    }
    let answer = get(&operator, &format!("/request_logs?key={}", attempts[0]["key"]["id"])).await;
    assert_eq!(answer["request_logs"][0]["id"], json!(id), "also by the key that failed");
    assert_eq!(answer["bodies"], "off");
}

#[tokio::test]
async fn the_request_log_outlives_stop_kill_and_the_loss_of_its_index() {
    let google = google().await;
    let mut server = Setup::new(&google, &[GOOD]).start();
    let mut wanted = Vec::new();
    for round in 0..3 {
        for _ in 0..5 {
            let (_, id) = request(&server, Some(CLIENT_KEY), &generate(FLASH), &ask("Hello")).await;
            wanted.insert(0, id);
        }
        let operator = server.operator().await;
        let listed = found(&operator, "").await;
        let ids: Vec<_> = listed.iter().map(|request| request["id"].as_str().unwrap()).collect();
        assert_eq!(ids, wanted, "round {round}");
        let counts = get(&operator, "/request_logs/counts").await;
        assert_eq!(counts["total"], json!(wanted.len()), "round {round}");
        let setup = match round {
            0 => server.stop().0,
            1 => server.kill(),
            _ => {
                let setup = server.kill();
                // Nonsense where the index's rows are: of no version that there is.
                let journal = FjallJournal::open(&setup.data().join("log")).unwrap();
                journal.write("requests", &[(b"v".to_vec(), Some(b"nonsense".to_vec()))]).unwrap();
                setup
            }
        };
        server = setup.start();
    }
    let operator = server.operator().await;
    let listed = loop {
        let answer = get(&operator, "/request_logs").await;
        if answer.get("indexing").is_none() {
            break answer["request_logs"].as_array().unwrap().clone();
        }
    };
    let ids: Vec<_> = listed.iter().map(|request| request["id"].as_str().unwrap()).collect();
    assert_eq!(ids, wanted);
    server.wait_for_line("made anew from the log");
}

async fn exported(server: &Server, query: &str) -> (String, String) {
    let body = json!({"username": "admin", "password": PASSWORD});
    let token: Value = http()
        .post(format!("{}/api/login", server.origin))
        .json(&body)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let url = format!("{}/api/request_logs/export{query}", server.origin);
    let request = http().get(url).bearer_auth(token["access_token"].as_str().unwrap());
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
    assert!(answer.headers()["content-disposition"].to_str().unwrap().starts_with("attachment"));
    (kind, answer.text().await.unwrap())
}

#[tokio::test]
async fn requests_leave_as_a_file_with_the_same_conditions() {
    let google = google().await;
    let server = Setup::new(&google, &[GOOD]).start();
    // More than the export reads at once.
    let mut asks = Vec::new();
    for worker in 0..8 {
        let app = server.app();
        asks.push(tokio::spawn(async move {
            for turn in 0..70 {
                let (status, _) = app.generate(FLASH, &format!("{worker} {turn}")).await;
                assert_eq!(status, 200);
            }
        }));
    }
    for asked in asks {
        asked.await.unwrap();
    }
    request(&server, Some(CLIENT_KEY), &generate("=cmd,\"x"), &ask("x")).await;
    let operator = server.operator().await;
    let listed = found(&operator, "?limit=1000").await;
    assert_eq!(listed.len(), 561);
    let (kind, lines) = exported(&server, "?format=jsonl").await;
    assert_eq!(kind, "application/jsonl");
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines, listed);
    let (kind, table) = exported(&server, "?format=csv&status=200").await;
    assert_eq!(kind, "text/csv");
    let rows: Vec<&str> = table.split("\r\n").collect();
    assert_eq!(rows.len(), 1 + 560 + 1, "names, requests, and the end of the last line");
    assert!(rows[0].starts_with("time,id,seq,") && rows[1].contains("gemini-2.5-flash"), "{}", rows[1]);
    let commas = rows[0].matches(',').count();
    assert!(rows[1..561].iter().all(|row| row.matches(',').count() == commas));
}

#[tokio::test]
async fn bodies_are_kept_only_where_that_is_said_and_without_credentials() {
    let google = google().await;
    let server = Setup::new(&google, &[GOOD]).with("LOG_BODIES", "all").start();
    server.wait_for_line("LOG_BODIES keeps what people write");
    let operator = server.operator().await;
    let body = ask(&format!("my key is {CLIENT_KEY}, and the pool's is not told"));
    let (status, id) = request(&server, Some(CLIENT_KEY), &generate(FLASH), &body).await;
    assert_eq!(status, 200);
    let shown = get(&operator, &format!("/request_logs/{id}")).await;
    let (asked, answered) = (&shown["bodies"]["request"], &shown["bodies"]["answer"]);
    let text = asked["text"].as_str().unwrap();
    assert!(text.contains("my key is *****") && !text.contains(CLIENT_KEY), "{text}");
    assert_eq!((&asked["cut"], &asked["bytes"]), (&json!(false), &json!(body.to_string().len())));
    assert!(answered["text"].as_str().unwrap().contains("candidates"), "{answered}");
    assert!(!answered["text"].as_str().unwrap().contains(CLIENT_KEY), "Google's echo too");
    assert_eq!(get(&operator, "/request_logs?limit=1").await["bodies"], "all");
    // A stream, a long body, and a refusal of the pool's own.
    let stream = format!("/v1beta/models/{FLASH}:streamGenerateContent?alt=sse");
    let (_, id) = request(&server, Some(CLIENT_KEY), &stream, &ask(&"long ".repeat(20_000))).await;
    let shown = get(&operator, &format!("/request_logs/{id}")).await;
    assert_eq!(shown["bodies"]["request"]["cut"], true);
    assert_eq!(shown["bodies"]["request"]["text"].as_str().unwrap().len(), 64 << 10);
    assert!(shown["bodies"]["answer"]["text"].as_str().unwrap().starts_with("data: "), "{shown}");
    let (status, id) = request(&server, Some("a-stranger's-key"), &generate(FLASH), &ask("x")).await;
    assert_eq!(status, 401);
    let shown = get(&operator, &format!("/request_logs/{id}")).await;
    assert!(shown["bodies"]["answer"]["text"].as_str().unwrap().contains("401"), "{shown}");

    let setup = server.stop().0.with("LOG_BODIES", "errors");
    let server = setup.start();
    let operator = server.operator().await;
    assert_eq!(get(&operator, &format!("/request_logs/{id}")).await, shown, "they outlive a restart");
    let (_, good) = request(&server, Some(CLIENT_KEY), &generate(FLASH), &ask("good")).await;
    assert_eq!(get(&operator, &format!("/request_logs/{good}")).await["bodies"], Value::Null);
    let (_, bad) = request(&server, Some(CLIENT_KEY), &generate("no-such-model"), &ask("bad")).await;
    let shown = get(&operator, &format!("/request_logs/{bad}")).await;
    assert!(shown["bodies"]["request"]["text"].as_str().unwrap().contains("bad"), "{shown}");
    assert!(shown["bodies"]["answer"]["text"].as_str().unwrap().contains("no-such-model"), "{shown}");
}

#[tokio::test]
async fn the_command_line_lists_and_shows_requests_of_running_and_stopped_pools() {
    let google = google().await;
    let server = Setup::new(&google, &[GOOD]).start();
    let (_, good) = request(&server, Some(CLIENT_KEY), &generate(FLASH), &ask("Hello")).await;
    let (_, bad) = request(&server, Some(CLIENT_KEY), &generate("no-such-model"), &ask("Hello")).await;
    let run = |arguments: &[&str]| {
        let output = server.setup.run(arguments, "");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let (list, json) = (["requests", "list"], ["requests", "list", "--json"]);
    let (told, lines) = (run(&list), run(&json));
    assert_eq!(told.lines().count(), 3, "{told}");
    assert!(told.lines().nth(1).unwrap().ends_with(&bad), "{told}");
    let listed: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!([&listed[0]["id"], &listed[1]["id"]], [&json!(bad), &json!(good)]);
    let one = run(&["requests", "list", "--status", "4xx", "--model", "no-such-model", "--json"]);
    assert_eq!(one.lines().count(), 1);
    let shown = run(&["requests", "show", &good]);
    assert!(shown.contains("complete with status 200") && shown.contains("try 1 (event "), "{shown}");
    let failed = server.setup.run(&["requests", "show", "7"], "");
    assert!(!failed.status.success());
    let setup = server.stop().0;
    let again = |arguments: &[&str]| String::from_utf8(setup.run(arguments, "").stdout).unwrap();
    assert_eq!((again(&list), again(&json)), (told, lines), "the same of a stopped pool");
    assert_eq!(again(&["requests", "show", &good]), shown);
}
