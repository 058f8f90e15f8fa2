//! Whoever has no business at the admin API or at the pool's doors: asked who he is before anything else, held to
//! bounds, and never in the way of an administrator, of an app, or of the stop.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use gemini_pool::{
    auth::Signer,
    ledger::clock::Clock,
    simulated::{SimulatedGoogle, World},
};
use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, task::JoinSet};

use crate::support::{CLIENT_KEY, Operator, PASSWORD, Server, Setup, ask, http, of_type, raw};

const FLASH: &str = "gemini-2.5-flash";
const GENERATE: &str = "/v1beta/models/gemini-2.5-flash:generateContent";
const SECRET: &str = "a secret for these tests only";

async fn stage() -> (SimulatedGoogle, Setup) {
    let google = SimulatedGoogle::start(World::new().key("alpha", "AIza-good-1")).await.unwrap();
    let setup = Setup::new(&google, &["AIza-good-1"]).with("SECRET_KEY", SECRET);
    (google, setup)
}

fn resident(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap()
}

/// The reverse proxy's own address; what comes from it without a word is not of this machine either.
const PROXY: &str = "127.0.0.2";

/// A client whose requests the reverse proxy passes on.
fn passed_on() -> reqwest::Client {
    let address: std::net::IpAddr = PROXY.parse().unwrap();
    reqwest::Client::builder().no_proxy().local_address(address).build().unwrap()
}

/// A login, as it comes through a proxy for somebody at an address; none: from this machine.
async fn log_in(origin: &str, password: &str, address: Option<&str>, host: Option<&str>) -> u16 {
    let body = json!({"username": "admin", "password": password});
    let client = if address.is_some() { passed_on() } else { http() };
    let request = client.post(format!("{origin}/api/login")).json(&body);
    let request = match address {
        Some(address) => request.header("x-forwarded-for", address),
        None => request,
    };
    let request = match host {
        Some(host) => request.header("host", host),
        None => request,
    };
    request.send().await.unwrap().status().as_u16()
}

/// Before its parameters and before its body; none of them is even well-formed.
#[tokio::test]
async fn every_operation_asks_who_it_is_before_anything_else() {
    let (_google, setup) = stage().await;
    let server = setup.start();
    let operator = server.operator().await;
    let document: Value =
        http().get(format!("{}/api/openapi.json", server.origin)).send().await.unwrap().json().await.unwrap();
    let now = Clock::system().now();
    let signer = |secret: &str| Signer::new(&SecretString::from(secret.to_owned()));
    let hour = Duration::from_secs(3_600);
    let good = signer(SECRET).admin_token("admin", hour, 0, now).text;
    let expired = signer(SECRET).admin_token("admin", hour, 0, now - 2 * 3_600_000).text;
    let forged = signer("a very secret key, but another").admin_token("admin", hour, 0, now).text;
    let ended = {
        let other = server.operator().await;
        assert_eq!(other.call(Method::POST, "/logout", None).await.0, 204);
        other.token().to_owned()
    };
    let own = Operator::with_token(&server.origin, good.expose_secret());
    assert_eq!(own.call(Method::GET, "/session", None).await.0, 200, "the token is made as the server's are");
    let (expired, forged) = (expired.expose_secret(), forged.expose_secret());
    let mut asked = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (verb, operation) in item.as_object().unwrap() {
            if operation["security"].as_array().is_none_or(Vec::is_empty) {
                assert_eq!(path, "/login", "{verb} {path} is open to everybody");
                continue;
            }
            let there = path.replace(['{', '}'], "");
            let url = format!("{}/api{there}?from=yesterday&limit=-1&no_such_parameter=1", server.origin);
            for credential in [None, Some(CLIENT_KEY), Some(expired), Some(forged), Some(&ended)] {
                let verb = Method::from_bytes(verb.to_uppercase().as_bytes()).unwrap();
                let request = http().request(verb.clone(), &url).header("if-match", "nothing");
                let request = match credential {
                    Some(token) => request.bearer_auth(token),
                    None => request,
                };
                let request = if verb == Method::GET { request } else { request.body("{no json at all") };
                let answer = request.send().await.unwrap();
                let status = answer.status().as_u16();
                let body: Value = answer.json().await.unwrap_or_default();
                assert_eq!((status, &body["code"]), (401, &json!("not_logged_in")), "{verb} {there}: {body}");
                asked += 1;
            }
        }
    }
    assert!(asked > 200, "{asked}");
    assert_eq!(operator.call(Method::GET, "/session", None).await.0, 200);
}

/// What strangers send of a body is not read, and what they have yet to send does not delay the stop.
#[tokio::test(flavor = "multi_thread")]
async fn the_bodies_of_strangers_hold_neither_memory_nor_the_stop() {
    let (_google, setup) = stage().await;
    let server = setup.start();
    assert_eq!(server.app().generate(FLASH, "Hello").await.0, 200);
    let before = resident(&server);
    let mut all = JoinSet::new();
    let heads = [
        "POST /api/keys/bulk_add HTTP/1.1\r\nauthorization: Bearer nobody\r\n".to_owned(),
        "POST /api/login HTTP/1.1\r\n".to_owned(),
        format!("POST {GENERATE} HTTP/1.1\r\nx-goog-api-key: a-key-that-is-none\r\n"),
    ];
    for head in heads.iter().cycle().take(60) {
        let (origin, length) = (server.origin.clone(), 8 << 20);
        let head = format!(
            "{head}host: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        );
        all.spawn(async move {
            let mut socket = raw::connect(&origin).await;
            socket.write_all(head.as_bytes()).await.unwrap();
            // All of it but a little; the server may hang up before.
            let piece = vec![b' '; 64 << 10];
            for _ in 0..(length / piece.len() - 1) {
                if tokio::time::timeout(Duration::from_secs(2), socket.write_all(&piece)).await.is_err() {
                    break;
                }
            }
            socket
        });
    }
    // And logins that begin, and go on no more.
    let mut held = Vec::new();
    for _ in 0..20 {
        let mut socket = raw::connect(&server.origin).await;
        let head = "POST /api/login HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n\
                    content-length: 60\r\n\r\n{\"username\": \"adm";
        socket.write_all(head.as_bytes()).await.unwrap();
        held.push(socket);
    }
    held.extend(all.join_all().await);
    let grown = resident(&server).saturating_sub(before);
    assert!(grown < 60_000, "{grown} kB more");
    assert_eq!(server.app().generate(FLASH, "Hello").await.0, 200);
    assert_eq!(log_in(&server.origin, PASSWORD, None, None).await, 200);
    server.ask_to_stop();
    let began = Instant::now();
    let (well, _) = tokio::task::spawn_blocking(move || server.wait()).await.unwrap();
    let took = began.elapsed();
    assert!(
        well && took < Duration::from_secs(8),
        "{took:?} although nobody who is known asked for anything"
    );
    drop(held);
}

#[tokio::test]
async fn a_body_larger_than_its_call_takes_is_refused_to_administrators_too() {
    let (_google, setup) = stage().await;
    let server = setup.start();
    let operator = server.operator().await;
    let long = json!({"ids": [1], "no": "x".repeat(600 << 10)});
    let (status, answer) = operator.call(Method::POST, "/keys/bulk_tag", Some(long)).await;
    assert_eq!((status, &answer["code"]), (413, &json!("too_large")));
    let login = json!({"username": "admin", "password": "x".repeat(20 << 10)});
    let answer = http().post(format!("{}/api/login", server.origin)).json(&login).send().await.unwrap();
    assert_eq!(answer.status(), 413);
}

/// Ninety wrong logins at a time from as many networks, and the administrator comes in each time, from where he came
/// before and from this machine. The log has the first few, and then a number.
#[tokio::test(flavor = "multi_thread")]
async fn an_attack_from_everywhere_keeps_no_administrator_out_and_fills_no_log() {
    let (_google, setup) = stage().await;
    let server = setup.with("TRUSTED_PROXIES", PROXY).start();
    let origin = server.origin.clone();
    assert_eq!(log_in(&origin, PASSWORD, Some("203.0.113.7"), None).await, 200);
    let began = Instant::now();
    let mut attack = JoinSet::new();
    for worker in 0..90_u32 {
        let origin = origin.clone();
        attack.spawn(async move {
            let mut counts = (0_u64, 0_u64);
            let mut number = 0_u32;
            while began.elapsed() < Duration::from_secs(8) {
                number += 1;
                // Another /48 each time.
                let address = format!("2a{:02x}:{:x}:{:x}::1", worker, number % 0x10000, worker);
                let body = json!({"username": format!("a{}", number % 7), "password": "a wrong password"});
                let request =
                    passed_on().post(format!("{origin}/api/login")).header("x-forwarded-for", address);
                match request.json(&body).send().await.unwrap().status().as_u16() {
                    401 => counts.0 += 1,
                    429 => counts.1 += 1,
                    other => panic!("{other}"),
                }
            }
            counts
        });
    }
    let mut slowest = Duration::ZERO;
    let mut logins = 0;
    while began.elapsed() < Duration::from_secs(7) {
        for address in [Some("203.0.113.7"), None] {
            let asked = Instant::now();
            assert_eq!(log_in(&origin, PASSWORD, address, None).await, 200, "{address:?}");
            slowest = slowest.max(asked.elapsed());
            logins += 1;
        }
    }
    let counts = attack.join_all().await.into_iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    println!("{logins} logins, the slowest {slowest:?}; {} wrong ones looked at, {} not", counts.0, counts.1);
    assert!(counts.0 > 20 && counts.1 > 90, "{counts:?}");
    assert!(slowest < Duration::from_secs(10), "{slowest:?}");
    // What was only counted is told at the end.
    let log = server.stop().0.log();
    let failed = of_type(&log, "AdminLoginFailed");
    let told: u64 = failed.iter().map(|event| event["count"].as_u64().unwrap()).sum();
    assert_eq!(told, counts.0, "all are told of");
    let delayed = of_type(&log, "AdminLoginsDelayed").len();
    assert!(failed.len() <= 22 && delayed <= 40, "{} and {delayed} events", failed.len());
}

/// A page of another site whose name leads to this machine (DNS rebinding), in the administrator's own browser.
#[tokio::test]
async fn a_page_by_a_foreign_name_does_not_lock_this_machine_out() {
    let (_google, setup) = stage().await;
    let server = setup.start();
    let mut seen = BTreeSet::new();
    for _ in 0..12 {
        seen.insert(log_in(&server.origin, "a wrong password", None, Some("evil.example:8000")).await);
    }
    assert_eq!(seen, [401, 429].into());
    assert_eq!(log_in(&server.origin, PASSWORD, None, Some("evil.example:8000")).await, 429);
    assert_eq!(
        log_in(&server.origin, PASSWORD, None, None).await,
        200,
        "the administrator at his own machine"
    );
    // What comes through a proxy that nobody trusts has this machine's address, and is not this machine.
    for _ in 0..12 {
        log_in(&server.origin, "a wrong password", Some("198.51.100.1"), None).await;
    }
    assert_eq!(log_in(&server.origin, PASSWORD, None, None).await, 200);
}

/// The refusals of wrong keys take longer and longer; a right key is never held up.
#[tokio::test(flavor = "multi_thread")]
async fn guessed_access_keys_cost_time_and_right_ones_none() {
    let (_google, setup) = stage().await;
    let server = setup.with("TRUSTED_PROXIES", "127.0.0.1").start();
    let client = http();
    let guess = async |client: &reqwest::Client, key: &str, address: &str| {
        let began = Instant::now();
        let request = client.post(format!("{}{GENERATE}", server.origin)).header("x-goog-api-key", key);
        let answer = request.header("x-forwarded-for", address).json(&ask("Hello")).send().await.unwrap();
        (answer.status().as_u16(), began.elapsed())
    };
    for number in 0..26 {
        let (status, _) = guess(&client, &format!("a-guess-at-a-key-{number}"), "192.0.2.66").await;
        assert_eq!(status, 401);
    }
    let (status, held) = guess(&client, "a-guess-at-a-key-26", "192.0.2.66").await;
    assert!(status == 401 && held >= Duration::from_secs(3), "{status} after {held:?}");
    // Seventy at once, from the same address: as many as may are held, and the others lose their connection.
    let mut all = JoinSet::new();
    for number in 0..70 {
        let (client, url) = (http(), format!("{}{GENERATE}", server.origin));
        all.spawn(async move {
            let request = client.post(url).header("x-goog-api-key", format!("another-guess-at-it-{number}"));
            let began = Instant::now();
            let answer =
                request.header("x-forwarded-for", "192.0.2.66").json(&ask("Hello")).send().await.unwrap();
            let closes = answer.headers().get("connection").is_some_and(|value| value == "close");
            (answer.status().as_u16(), closes, began.elapsed())
        });
    }
    // Meanwhile.
    let mut right = Vec::new();
    for address in ["192.0.2.66", "198.51.100.9"] {
        let (status, took) = guess(&client, CLIENT_KEY, address).await;
        assert_eq!(status, 200);
        right.push(took);
    }
    assert!(right.iter().all(|took| *took < Duration::from_secs(3)), "{right:?}");
    let answers = all.join_all().await;
    let held = answers.iter().filter(|(status, _, took)| *status == 401 && *took >= Duration::from_secs(4));
    let sent_away = answers.iter().filter(|(status, closes, _)| *status == 429 && *closes);
    assert_eq!((held.count(), sent_away.count()), (64, 6));
}

/// The same with METRICS_TOKEN, at whichever door: what waits there holds up no stop.
#[tokio::test(flavor = "multi_thread")]
async fn guesses_at_the_metrics_token_cost_time_and_the_right_one_none() {
    const TOKEN: &str = "a token for scrapers in tests";
    let (_google, setup) = stage().await;
    let server = setup.with("TRUSTED_PROXIES", "127.0.0.1").with("METRICS_TOKEN", TOKEN).start();
    let client = http();
    let guess = async |path: &str, token: &str| {
        let began = Instant::now();
        let request = client.get(format!("{}{path}", server.origin)).bearer_auth(token);
        let answer = request.header("x-forwarded-for", "192.0.2.66").send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap(), began.elapsed())
    };
    for number in 0..13 {
        let token = format!("a guess at the token {number}");
        assert_eq!(guess("/metrics", &token).await.0, 401);
        let (status, body, _) = guess("/readyz", &token).await;
        assert_eq!((status, body.trim()), (200, r#"{"status":"ready"}"#));
    }
    let (status, _, held) = guess("/metrics", "one more guess at the token").await;
    assert!(status == 401 && held >= Duration::from_secs(3), "{status} after {held:?}");
    let (status, body, took) = guess("/readyz", TOKEN).await;
    assert!(status == 200 && body.contains("events") && took < Duration::from_secs(3), "{took:?}: {body}");
    let url = format!("{}/readyz", server.origin);
    let waits = tokio::spawn(async move {
        let request = http().get(url).bearer_auth("the last guess at the token");
        let _ = request.header("x-forwarded-for", "192.0.2.66").send().await;
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    let began = Instant::now();
    server.stop();
    assert!(began.elapsed() < Duration::from_secs(3), "a guess held up the stop: {:?}", began.elapsed());
    waits.abort();
}

/// The original's published `.env`, and keys that are none: refused at the start, all at once and by name.
#[tokio::test]
async fn placeholders_and_weak_keys_are_refused_by_name() {
    let (google, _) = stage().await;
    let published = Setup::new(&google, &["YOUR_GEMINI_KEY_1", "YOUR_GEMINI_KEY_2"])
        .with("SECRET_KEY", "a_very_secret_key_please_change_me")
        .with("ADMIN_PASSWORD", "your_secure_password")
        .with("MASTER_KEY", "0123456789abcdef")
        .with("ALLOWED_API_KEYS", r#"["CLIENT_KEY_1", "x", "a-good-enough-access-key"]"#);
    let (code, said) = published.start_in_vain();
    assert_eq!(code, Some(78));
    insta::with_settings!({snapshot_path => "../../snapshots", prepend_module_to_snapshot => false}, {
        insta::assert_snapshot!("published_settings", said);
    });
    assert!(!published.data().exists(), "nothing was made");
    let weak = Setup::new(&google, &["AIza-good-1"]).with("ALLOWED_API_KEYS", "short-key");
    assert_eq!(weak.start_in_vain().0, Some(78));
    let server = weak.with("ALLOW_WEAK_KEYS", "true").start();
    assert_eq!(server.app_with(Some("short-key")).generate(FLASH, "Hello").await.0, 200);
    assert!(server.output().contains("can be guessed"), "{}", server.output());
    let operator = server.operator().await;
    let add = async |operator: &Operator, secret: &str| {
        operator.call(Method::POST, "/allowed_keys", Some(json!({"name": "app", "secret": secret}))).await.0
    };
    assert_eq!((add(&operator, "shorter").await, add(&operator, "your-api-key-here").await), (201, 400));
    let server = server.stop().0.with("ALLOW_WEAK_KEYS", "").with("ALLOWED_API_KEYS", CLIENT_KEY).start();
    assert_eq!(
        server.app_with(Some("shorter")).generate(FLASH, "Hello").await.0,
        200,
        "what there was goes on"
    );
    assert_eq!(add(&server.operator().await, "short").await, 400);
}

/// One session takes its share of the feed, and another still listens.
#[tokio::test(flavor = "multi_thread")]
async fn one_session_cannot_take_every_place_at_the_feed() {
    let (_google, setup) = stage().await;
    let server = setup.start();
    let (greedy, other) = (server.operator().await, server.operator().await);
    let client = http();
    let listen = async |operator: &Operator| {
        let url = format!("{}/api/events/stream", server.origin);
        client.get(url).bearer_auth(operator.token()).send().await.unwrap()
    };
    let mut held = Vec::new();
    for _ in 0..200 {
        held.push(listen(&greedy).await);
    }
    assert!(held.iter().all(|answer| answer.status() == 200));
    let refused = listen(&greedy).await;
    assert_eq!(refused.status(), 429);
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(refused.json::<Value>().await.unwrap()["code"], "too_many_readers");
    assert_eq!(listen(&other).await.status(), 200);
}
