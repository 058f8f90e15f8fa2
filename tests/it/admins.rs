//! Administrators: coming in, going out, wrong logins, and the password.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use gemini_pool::{
    ledger::clock::Clock,
    server::Service,
    simulated::{SimulatedGoogle, World},
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Operator, PASSWORD, Server, Setup, http};

async fn google() -> SimulatedGoogle {
    SimulatedGoogle::start(World::new().key("alpha", "AIza-good-1")).await.unwrap()
}

async fn log_in(origin: &str, name: &str, password: &str) -> reqwest::Response {
    let body = json!({"username": name, "password": password});
    http().post(format!("{origin}/api/login")).json(&body).send().await.unwrap()
}

async fn token(origin: &str, password: &str) -> String {
    let answer = log_in(origin, "admin", password).await;
    assert_eq!(answer.status(), 200);
    answer.json::<Value>().await.unwrap()["access_token"].as_str().unwrap().to_owned()
}

/// What a token opens.
async fn status(server: &Server, token: &str) -> StatusCode {
    http().get(format!("{}/api/session", server.origin)).bearer_auth(token).send().await.unwrap().status()
}

#[tokio::test]
async fn a_session_that_was_ended_stays_ended_after_a_pulled_plug() {
    let google = google().await;
    let server = Setup::new(&google, &["AIza-good-1"]).start();
    let (one, other) = (token(&server.origin, PASSWORD).await, token(&server.origin, PASSWORD).await);
    let session =
        http().get(format!("{}/api/session", server.origin)).bearer_auth(&one).send().await.unwrap();
    let session: Value = session.json().await.unwrap();
    assert_eq!((&session["name"], &session["how"]), (&json!("admin"), &json!("bearer")));
    let out = http().post(format!("{}/api/logout", server.origin)).bearer_auth(&one).send().await.unwrap();
    assert_eq!(out.status(), 204);
    assert_eq!(status(&server, &one).await, 401);
    assert_eq!(status(&server, &other).await, 200);
    let server = server.kill().start();
    assert_eq!(status(&server, &one).await, 401);
    assert_eq!(status(&server, &other).await, 200);
    let operator = server.operator().await;
    let out = operator.events_of("AdminLoggedOut", 1).await;
    assert_eq!(out[0]["token"].as_str().unwrap().len(), 32, "JSON holds no such number");
}

#[tokio::test]
async fn a_browsers_cookie_reads_and_changes_only_what_its_own_page_asks() {
    let google = google().await;
    let server = Setup::new(&google, &["AIza-good-1"]).start();
    let answer = log_in(&server.origin, "admin", PASSWORD).await;
    let cookie = answer.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(cookie.ends_with("; Path=/api; Max-Age=1800; HttpOnly; SameSite=Strict"), "{cookie}");
    let pair = cookie.split(';').next().unwrap().to_owned();
    let get =
        http().get(format!("{}/api/session", server.origin)).header("cookie", &pair).send().await.unwrap();
    assert_eq!(get.json::<Value>().await.unwrap()["how"], "cookie");
    let patch = async |headers: &[(&str, &str)]| {
        let request = http().patch(format!("{}/api/keys/1", server.origin)).header("cookie", &pair);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let answer = request.json(&json!({"enabled": true})).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json::<Value>().await.unwrap()["code"].clone())
    };
    let ours = ("x-requested-with", "gemini-pool");
    assert_eq!(patch(&[]).await, (403, json!("cross_site")));
    let document: Value =
        http().get(format!("{}/api/openapi.json", server.origin)).send().await.unwrap().json().await.unwrap();
    let scheme = &document["components"]["securitySchemes"]["cookie"];
    assert_eq!((&scheme["type"], &scheme["in"]), (&json!("apiKey"), &json!("cookie")));
    assert_eq!(pair.split_once('=').unwrap().0, scheme["name"].as_str().unwrap());
    let operation = &document["paths"]["/keys/{key_id}"]["patch"];
    assert_eq!(operation["security"], json!([{"token": []}, {"cookie": []}]));
    for (status, name) in [("403", "CrossSite"), ("500", "Internal")] {
        assert_eq!(operation["responses"][status]["$ref"], format!("#/components/responses/{name}"));
        let content = &document["components"]["responses"][name]["content"];
        assert!(content["application/problem+json"]["schema"].is_object(), "{status}");
    }
    assert!(document["paths"]["/login"]["post"]["responses"]["403"].is_object());
    assert_eq!(patch(&[ours, ("origin", "https://evil.example")]).await, (403, json!("cross_site")));
    assert_eq!(patch(&[ours, ("sec-fetch-site", "cross-site")]).await, (403, json!("cross_site")));
    assert_eq!(patch(&[ours, ("origin", server.origin.as_str())]).await.0, 200);
    let out =
        http().post(format!("{}/api/logout", server.origin)).header("cookie", &pair).header(ours.0, ours.1);
    let out = out.send().await.unwrap();
    assert_eq!(out.status(), 204);
    assert!(out.headers()["set-cookie"].to_str().unwrap().contains("Max-Age=0"));
    assert_eq!(patch(&[ours]).await, (401, json!("not_logged_in")));
    let (setup, _) = server.stop();
    let server = setup.with("TRUSTED_PROXIES", "127.0.0.1").start();
    let body = json!({"username": "admin", "password": PASSWORD});
    let behind =
        http().post(format!("{}/api/login", server.origin)).header("x-forwarded-proto", "https").json(&body);
    let behind = behind.send().await.unwrap();
    assert!(behind.headers()["set-cookie"].to_str().unwrap().ends_with("; Secure"), "behind TLS");
}

/// A browser that somebody left open gives no secrets away; a program's token is as good as ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_browser_is_shown_secrets_just_after_a_login() {
    let google = google().await;
    let time = Arc::new(AtomicI64::new(Clock::system().now()));
    let turned = Arc::clone(&time);
    let clock = Clock::driven(move || turned.load(Ordering::SeqCst));
    let setup = Setup::new(&google, &["AIza-good-1"]);
    let service = Service::open_by(setup.config(), clock).await.unwrap();
    let listener = service.listen().await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(service.run(listener, async move { drop(stopped.await) }));
    let cookie = async || {
        let answer = log_in(&origin, "admin", PASSWORD).await;
        answer.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned()
    };
    let reveal = async |name: &str, value: &str| {
        let url = format!("{origin}/api/keys/1");
        let answer = http().get(url).header(name, value).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap()["code"].clone())
    };
    let export = async |name: &str, value: &str| {
        let url = format!("{origin}/api/keys/export");
        let request = http().post(url).header(name, value).header("x-requested-with", "gemini-pool");
        request.json(&json!({})).send().await.unwrap().status().as_u16()
    };
    let (pair, bearer) = (cookie().await, format!("Bearer {}", token(&origin, PASSWORD).await));
    assert_eq!((reveal("cookie", &pair).await.0, export("cookie", &pair).await), (200, 200));
    time.fetch_add(5 * 60_000 + 1_000, Ordering::SeqCst);
    assert_eq!(reveal("cookie", &pair).await, (403, json!("login_needed_again")));
    assert_eq!(export("cookie", &pair).await, 403);
    assert_eq!(
        (reveal("authorization", &bearer).await.0, export("authorization", &bearer).await),
        (200, 200)
    );
    let session = http().get(format!("{origin}/api/session")).header("cookie", &pair).send().await.unwrap();
    assert_eq!(session.status(), 200, "all else goes on");
    let pair = cookie().await;
    assert_eq!((reveal("cookie", &pair).await.0, export("cookie", &pair).await), (200, 200));
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_thousand_wrong_logins_are_slowed_down_and_the_right_one_works_after() {
    let google = google().await;
    let server = Setup::new(&google, &["AIza-good-1"]).start();
    let resident = || -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").trim().parse().unwrap()
    };
    // Hashing takes its memory once.
    assert_eq!(log_in(&server.origin, "admin", PASSWORD).await.status(), 200);
    let before = resident();
    let began = std::time::Instant::now();
    let client = http();
    let mut counts = (0, 0);
    for round in 0..20 {
        let mut all = tokio::task::JoinSet::new();
        for number in 0..50 {
            let (client, url) = (client.clone(), format!("{}/api/login", server.origin));
            let name = if number % 2 == 0 { "admin".to_owned() } else { format!("name {round} {number}") };
            let body = json!({"username": name, "password": "a wrong password"});
            all.spawn(async move { client.post(url).json(&body).send().await.unwrap() });
        }
        for answer in all.join_all().await {
            match answer.status().as_u16() {
                401 => counts.0 += 1,
                429 => {
                    assert!(answer.headers().contains_key("retry-after"));
                    counts.1 += 1;
                }
                other => panic!("{other}"),
            }
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    assert_eq!(counts.0 + counts.1, 1_000);
    // Five, and then one after 1, 2, 4 … seconds.
    let most = 6 + (seconds + 1.0).log2().ceil() as usize;
    assert!((5..=most).contains(&counts.0), "{} of 1,000 were looked at in {seconds} s", counts.0);
    let grown = resident().saturating_sub(before);
    assert!(grown < 40_000, "{grown} kB more");
    // Not even the right one is looked at before its time.
    assert_eq!(log_in(&server.origin, "admin", PASSWORD).await.status(), 429);
    let server = server.kill().start();
    let early = log_in(&server.origin, "admin", PASSWORD).await;
    let deadline = std::time::Instant::now() + Duration::from_secs(330);
    if early.status() == 429 {
        loop {
            let answer = log_in(&server.origin, "admin", PASSWORD).await;
            if answer.status() == 200 {
                break;
            }
            assert!(answer.status() == 429 && std::time::Instant::now() < deadline, "{}", answer.status());
        }
    }
    let operator = server.operator().await;
    let wrong = operator.events_of("AdminLoginFailed", counts.0.min(10)).await;
    assert!(wrong.iter().all(|event| event["address"] == "127.0.0.1"));
    let delayed = operator.events_of("AdminLoginsDelayed", counts.0.min(10) - 4).await;
    assert_eq!(delayed[0]["failures"], 5);
}

#[tokio::test]
async fn another_password_in_the_environment_ends_every_session() {
    let google = google().await;
    let server = Setup::new(&google, &["AIza-good-1"]).start();
    let old = token(&server.origin, PASSWORD).await;
    let (setup, _) = server.stop();
    let server = setup.start();
    assert_eq!(status(&server, &old).await, 200, "the same password, the same sessions");
    let (setup, _) = server.stop();
    let server = setup.with("ADMIN_PASSWORD", "quite another one").start();
    assert_eq!(status(&server, &old).await, 401);
    let new = token(&server.origin, "quite another one").await;
    let (setup, _) = server.stop();
    let server = setup.with("ADMIN_PASSWORD", PASSWORD).start();
    assert_eq!(
        (status(&server, &old).await, status(&server, &new).await),
        (401.try_into().unwrap(), 401.try_into().unwrap())
    );
    let operator = server.operator().await;
    let changed = operator.events_of("AdminPasswordChanged", 2).await;
    assert_eq!(changed[0]["actor"], "env");
    let (reset, body) =
        operator.call(Method::POST, "/admin/password", Some(json!({"current_password": PASSWORD}))).await;
    assert_eq!((reset, &body["code"]), (409, &json!("of_environment")));
    let output = server.setup.run(&["admin", "reset-password"], "");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("ADMIN_PASSWORD"));
}

#[tokio::test]
async fn a_command_in_another_shell_leaves_the_password_alone() {
    let google = google().await;
    let server = Setup::new(&google, &["AIza-good-1"]).start();
    let session = token(&server.origin, PASSWORD).await;
    let (setup, _) = server.stop();
    let log = setup.log();
    let bare = setup.clone().with("ADMIN_PASSWORD", "");
    let other = setup.clone().with("ADMIN_PASSWORD", "quite another one");
    for shell in [&bare, &other] {
        for arguments in [&["clients", "list"][..], &["keys", "list"], &["status"], &["settings", "list"]] {
            let output = shell.run(arguments, "");
            assert!(output.status.success(), "{arguments:?}");
            assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{arguments:?} tells of no password");
        }
        assert_eq!(shell.log(), log, "nothing was written");
    }
    let server = setup.start();
    assert_eq!(status(&server, &session).await, 200, "and no session ended");
}

#[test]
fn a_folder_that_is_named_by_mistake_does_not_become_a_pool() {
    let setup = Setup::alone();
    for arguments in [
        &["keys", "list"][..],
        &["clients", "list"],
        &["status"],
        &["settings", "list"],
        &["events", "list"],
        &["requests", "list"],
        &["explain", "--key", "1"],
        &["audit", "verify"],
        &["admin", "reset-password"],
    ] {
        let output = setup.run(arguments, "");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {told}");
        assert!(told.contains("there is no pool in ") && told.contains("keys add"), "{arguments:?}: {told}");
        assert!(!setup.data().exists(), "{arguments:?} made something");
    }
    assert!(setup.run(&["keys", "add"], "AIza-first-0001").status.success());
    assert!(setup.run(&["keys", "list"], "").status.success());
}

#[tokio::test]
async fn a_lost_password_is_replaced_by_hand_on_a_running_and_on_a_stopped_pool() {
    let google = google().await;
    let server = Setup::new(&google, &["AIza-good-1"]).with("ADMIN_PASSWORD", "").start();
    let line = server.wait_for_line("password  ");
    let first = line.trim().strip_prefix("password").unwrap().trim().to_owned();
    let session = token(&server.origin, &first).await;
    let reset = |arguments: &[&str], input: &str| {
        let output = server.setup.run(arguments, input);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let second = reset(&["admin", "reset-password"], "");
    assert_eq!(status(&server, &session).await, 401, "it ends every session");
    assert_eq!(log_in(&server.origin, "admin", &first).await.status(), 401);
    let session = token(&server.origin, &second).await;
    // Over the API, by who knows the one in force.
    let operator = Operator::with_token(&server.origin, &session);
    for (body, wanted) in [
        (json!({"new_password": "a third password"}), 400),
        (json!({"current_password": "wrong", "new_password": "a third password"}), 401),
        (json!({"current_password": second, "new_password": "short"}), 400),
        (json!({"current_password": second, "new_password": "a third password"}), 200),
    ] {
        let (status, answer) = operator.call(Method::POST, "/admin/password", Some(body)).await;
        assert_eq!(status, wanted, "{answer}");
    }
    assert_eq!(status(&server, &session).await, 401);
    token(&server.origin, "a third password").await;
    let (setup, said) = server.stop();
    assert!(!said.contains(&second) && !said.contains("a third password"));
    let output = setup.run(&["admin", "reset-password", "--stdin"], "a fourth password\n");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let server = setup.start();
    assert_eq!(log_in(&server.origin, "admin", "a third password").await.status(), 401);
    token(&server.origin, "a fourth password").await;
}
