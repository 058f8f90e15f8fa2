//! Outbound proxies over real sockets: the pool's, keys' own, none, bad ones; and what they may know.

use gemini_pool::{
    journal::{Journal, fjall::FjallJournal},
    simulated::{SimulatedGoogle, World},
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    Operator, Server, Setup, of_type,
    proxy::{Mood, Speaks, TestProxy},
};

const MODEL: &str = "gemini-2.5-flash";
const ONE: &str = "AIza-first-0001";
const TWO: &str = "AIza-second-0002";

async fn google() -> SimulatedGoogle {
    SimulatedGoogle::start(World::new().key("alpha", ONE).key("beta", TWO)).await.unwrap()
}

/// Asks once with success; gives the key that Google saw.
async fn served_by(server: &Server, google: &SimulatedGoogle) -> String {
    let (status, answer) = server.app().generate(MODEL, "Hello").await;
    assert_eq!(status, 200, "{answer}");
    google.seen().last().unwrap().key.clone()
}

async fn patch(operator: &Operator, key: u32, body: Value) {
    let (status, answer) = operator.call(Method::PATCH, &format!("/keys/{key}"), Some(body)).await;
    assert_eq!(status, 200, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_goes_through_the_pools_proxy() {
    for (scheme, speaks, credentials, written) in [
        ("http", Speaks::Http, None, ""),
        ("http", Speaks::Http, Some("ann:p@ss:w\u{f6}rd%"), "ann:p@ss:w\u{f6}rd%25@"),
        ("socks5", Speaks::Socks5, None, ""),
        ("socks5", Speaks::Socks5, Some("a:nn:p@ss"), "a%3Ann:p@ss@"),
        ("socks5h", Speaks::Socks5, Some("ann:"), "ann@"),
        // It has a password, and a proxy that does not ask for it.
        ("socks5h", Speaks::Socks5, None, "ann:pass@"),
        ("http", Speaks::Http, None, "ann:pass@"),
    ] {
        let google = google().await;
        let proxy = TestProxy::start(speaks, credentials).await;
        let port = google.address().port();
        let server = Setup::new(&google, &[ONE])
            .with("GEMINI_BASE_URL", &format!("http://localhost:{port}"))
            .with("OUTBOUND_PROXY", &format!("{scheme}://{written}{}", proxy.address()))
            .start();
        assert_eq!(served_by(&server, &google).await, ONE);
        let (status, stream) = server.app().stream(MODEL, "Hello").await;
        assert!(status == 200 && !stream.is_empty());
        assert_eq!((proxy.requests(), google.seen_count()), (2, 2), "{scheme} {credentials:?}");
        let tunnels = proxy.tunnels();
        assert_eq!(tunnels.len(), 1, "the connection is used again");
        // Only socks5 looks the name up itself.
        let host = if scheme == "socks5" { "127.0.0.1" } else { "localhost" };
        assert_eq!(tunnels[0].to, format!("{host}:{port}"));
        if credentials.is_some() {
            assert_eq!(tunnels[0].credentials.as_deref(), credentials);
        }
        let seen = google.seen();
        assert!(seen.iter().all(|seen| !seen.headers.contains_key("proxy-authorization")));
        assert!(seen.iter().all(|seen| seen.violations.is_empty()), "{:?}", seen[0].violations);
    }
}

/// To an `https` upstream the proxy is asked for a tunnel by name, and what goes up is TLS and no key.
#[tokio::test(flavor = "multi_thread")]
async fn tls_is_spoken_with_google_and_not_with_the_proxy() {
    for (speaks, scheme) in [(Speaks::Http, "http"), (Speaks::Socks5, "socks5h")] {
        // It answers nothing that TLS knows.
        let google = google().await;
        let proxy = TestProxy::start(speaks, None).await;
        let server = Setup::new(&google, &[ONE])
            .with("GEMINI_BASE_URL", &format!("https://localhost:{}", google.address().port()))
            .with("OUTBOUND_PROXY", &format!("{scheme}://{}", proxy.address()))
            .with("MAX_ATTEMPTS", "1")
            .start();
        let (status, answer) = server.app().generate(MODEL, "Hello").await;
        assert_eq!(status, 503, "{answer}");
        let tunnels = proxy.tunnels();
        assert_eq!(tunnels[0].to, format!("localhost:{}", google.address().port()));
        let up = &tunnels[0].up;
        assert_eq!(up[..2], [0x16, 3], "a TLS handshake");
        assert!(memchr::memmem::find(up, b"localhost").is_some(), "for Google's name");
        assert!(memchr::memmem::find(up, ONE.as_bytes()).is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keys_own_way_wins_from_the_next_request_on_and_survives_a_kill() {
    let google = google().await;
    let pools = TestProxy::start(Speaks::Http, None).await;
    let own = TestProxy::start(Speaks::Socks5, Some("ann:s3cret")).await;
    let server =
        Setup::new(&google, &[ONE]).with("OUTBOUND_PROXY", &format!("http://{}", pools.address())).start();
    let counts = || (pools.requests(), own.requests(), google.seen_count());
    served_by(&server, &google).await;
    assert_eq!(counts(), (1, 0, 1));
    let operator = server.operator().await;
    let url = format!("socks5://ann:s3cret@{}", own.address());
    patch(&operator, 1, json!({"proxy": url})).await;
    served_by(&server, &google).await;
    assert_eq!(counts(), (1, 1, 2), "its own from now on");
    assert_eq!(operator.keys().await[0]["proxy"], json!(format!("socks5://{}", own.address())));

    let server = server.kill().start();
    served_by(&server, &google).await;
    assert_eq!(counts(), (1, 2, 3), "its own after a kill too, with its password");
    let operator = server.operator().await;
    patch(&operator, 1, json!({"proxy": url})).await;
    patch(&operator, 1, json!({"proxy": "direct"})).await;
    served_by(&server, &google).await;
    assert_eq!(counts(), (1, 2, 4), "straight, although the pool has a proxy");

    let server = server.kill().start();
    served_by(&server, &google).await;
    assert_eq!(counts(), (1, 2, 5), "straight after a kill too");
    patch(&server.operator().await, 1, json!({"proxy": null})).await;
    served_by(&server, &google).await;
    assert_eq!(counts(), (2, 2, 6), "the pool's way again");

    let server = server.kill().start();
    served_by(&server, &google).await;
    assert_eq!(counts(), (3, 2, 7));
    let (setup, _) = server.stop();
    let said: Vec<Value> =
        of_type(&setup.log(), "KeyUpdated").into_iter().map(|event| event["proxy"].clone()).collect();
    let shown = json!({"to": format!("socks5://{}", own.address())});
    assert_eq!(said, [shown, json!({"to": "direct"}), json!("cleared")], "what was so already is no event");
}

/// Names of the sealed secrets in a stopped pool that belong to keys.
fn sealed(setup: &Setup) -> Vec<String> {
    let journal = FjallJournal::open(&setup.data().join("log")).unwrap();
    let names = journal.secrets().unwrap().into_iter().map(|(name, _)| name);
    names.filter(|name| !name.starts_with("meta/")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxys_secret_goes_with_the_key_and_with_the_proxy() {
    let google = google().await;
    let server = Setup::new(&google, &[ONE, TWO]).start();
    let operator = server.operator().await;
    for key in [1, 2] {
        patch(&operator, key, json!({"proxy": "http://ann:s3cret@proxy.example:3128"})).await;
    }
    let (setup, _) = server.stop();
    let count = |names: &[String], start: &str| names.iter().filter(|name| name.starts_with(start)).count();
    let names = sealed(&setup);
    assert_eq!((count(&names, "key/"), count(&names, "proxy/")), (2, 2), "{names:?}");
    let server = setup.start();
    let operator = server.operator().await;
    patch(&operator, 1, json!({"proxy": ""})).await;
    assert_eq!(operator.call(Method::DELETE, "/keys/2", None).await.0, 200);
    let names = sealed(&server.stop().0);
    assert_eq!((count(&names, "key/"), count(&names, "proxy/")), (1, 0), "{names:?}");
}

/// The same address with another password is another proxy.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_counts_from_the_next_request_on() {
    let google = google().await;
    let proxy = TestProxy::start(Speaks::Http, Some("ann:right")).await;
    let server = Setup::new(&google, &[ONE]).start();
    let operator = server.operator().await;
    patch(&operator, 1, json!({"proxy": format!("http://ann:wrong@{}", proxy.address())})).await;
    let (status, answer) = server.app().generate(MODEL, "Hello").await;
    assert_eq!(status, 503);
    let text = answer.to_string();
    assert!(text.contains("the outbound proxy wants credentials, or others than it was given"), "{text}");
    assert!(!text.contains(&proxy.address()) && !text.contains("wrong"), "{text}");
    patch(&operator, 1, json!({"proxy": format!("http://ann:right@{}", proxy.address())})).await;
    assert_eq!(served_by(&server, &google).await, ONE);
    let given: Vec<_> = proxy.tunnels().into_iter().filter_map(|tunnel| tunnel.credentials).collect();
    assert_eq!(given, ["ann:wrong", "ann:right"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_a_keys_own_proxy_fails_another_key_answers() {
    // It has the port and does not listen, so nobody else gets it meanwhile.
    let mute = tokio::net::TcpSocket::new_v4().unwrap();
    mute.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let nobody = mute.local_addr().unwrap().to_string();
    let cases = [
        (Speaks::Http, None, "could not be reached"),
        (Speaks::Socks5, None, "could not be reached"),
        (Speaks::Http, Some(Mood::Refusing), "did not connect to Google: HTTP 403"),
        (Speaks::Socks5, Some(Mood::Refusing), "did not connect to Google: not allowed by its rules"),
        (Speaks::Http, Some(Mood::Babbling), "broke off, or does not speak the protocol"),
        (Speaks::Socks5, Some(Mood::Babbling), "broke off, or does not speak the protocol"),
        (Speaks::Http, Some(Mood::Closing), "broke off, or does not speak the protocol"),
        (Speaks::Socks5, Some(Mood::Closing), "broke off, or does not speak the protocol"),
        (Speaks::Http, Some(Mood::Silent), "did not answer in time"),
        (Speaks::Socks5, Some(Mood::Silent), "did not answer in time"),
    ];
    let mut silent = tokio::task::JoinSet::new();
    for (speaks, mood, reason) in cases {
        let case = another_key_answers(speaks, mood, nobody.clone(), reason);
        // Those take as long as the pool is patient, side by side.
        if mood == Some(Mood::Silent) { drop(silent.spawn(case)) } else { case.await }
    }
    while let Some(case) = silent.join_next().await {
        case.unwrap();
    }
}

/// The first of two keys has a bad proxy, or one at an address where nobody is.
async fn another_key_answers(speaks: Speaks, mood: Option<Mood>, nobody: String, reason: &str) {
    let google = google().await;
    let proxy = TestProxy::start(speaks, None).await;
    proxy.set(mood.unwrap_or(Mood::Willing));
    let address = if mood.is_some() { proxy.address() } else { nobody };
    let scheme = if speaks == Speaks::Http { "http" } else { "socks5" };
    // In turn: the one with the bad proxy is the first.
    let server = Setup::new(&google, &[ONE, TWO]).with("STRATEGY", "round-robin").start();
    let operator = server.operator().await;
    patch(&operator, 1, json!({"proxy": format!("{scheme}://{address}")})).await;
    assert_eq!(served_by(&server, &google).await, TWO, "{speaks:?} {mood:?}");
    let attempts = operator.events_of("Attempted", 2).await;
    assert_eq!((&attempts[0]["key"], &attempts[0]["verdict"]), (&json!(1), &json!("connect_failed")));
    let said = attempts[0]["reason"].as_str().unwrap();
    assert!(said.starts_with("the outbound proxy ") && said.contains(reason), "{speaks:?} {mood:?}: {said}");
    assert!(!said.contains(&address), "{said}");
    assert_eq!((&attempts[1]["key"], &attempts[1]["verdict"]), (&json!(2), &json!("success")));
    // The first rests, so it is not asked again at once.
    let closed = operator.events_of("GateClosed", 1).await;
    assert_eq!((&closed[0]["scope"], &closed[0]["cause"]), (&json!({"key": 1}), &json!("connect_failed")));
    assert!(closed[0]["until"].as_i64().is_some(), "{closed:?}");
    assert_eq!(served_by(&server, &google).await, TWO);
    operator.events_of("Attempted", 3).await;
    assert_eq!(google.seen_count(), 2, "nothing went another way");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_pools_proxy_is_gone_nothing_goes_straight() {
    let google = google().await;
    let proxy = TestProxy::start(Speaks::Http, None).await;
    let server = Setup::new(&google, &[ONE, TWO])
        .with("OUTBOUND_PROXY", &format!("http://{}", proxy.address()))
        .start();
    served_by(&server, &google).await;
    drop(proxy);
    let (status, answer) = server.app().generate(MODEL, "Hello").await;
    assert_eq!((status, &answer["error"]["details"][0]["reason"]), (503, &json!("UPSTREAM_UNAVAILABLE")));
    assert_eq!(google.seen_count(), 1);
    patch(&server.operator().await, 2, json!({"proxy": "direct"})).await;
    assert_eq!(served_by(&server, &google).await, TWO, "the one that goes straight answers");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_dies_in_the_midst_of_an_answer_truncates_it() {
    for speaks in [Speaks::Http, Speaks::Socks5] {
        let google = google().await;
        let proxy = TestProxy::start(speaks, None).await;
        let scheme = if speaks == Speaks::Http { "http" } else { "socks5" };
        let server = Setup::new(&google, &[ONE, TWO])
            .with("OUTBOUND_PROXY", &format!("{scheme}://{}", proxy.address()))
            .start();
        let (status, whole) = server.app().stream(MODEL, "Hello").await;
        assert_eq!(status, 200);
        let server = server.stop().0.start();
        proxy.set(Mood::Dying(whole.len() * 2 / 3));
        let (status, bytes) = server.app().stream(MODEL, "Hello").await;
        let text = String::from_utf8(bytes).unwrap();
        assert!(status == 200 && text.contains("\"error\"") && text.len() > 100, "{text}");
        assert_eq!(google.seen_count(), 2, "what has begun is not asked again");
        let log = server.stop().0.log();
        let last = |kind| of_type(&log, kind).last().unwrap().clone();
        assert_eq!(last("Attempted")["verdict"], "truncated");
        assert_eq!(last("Answered")["outcome"], "truncated");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_proxy_stops_the_start_and_a_file_may_hold_one() {
    let google = google().await;
    let setup = Setup::new(&google, &[ONE]);
    let (code, said) = setup.clone().with("OUTBOUND_PROXY", "https://ann:s3cret@proxy:443").start_in_vain();
    assert_eq!(code, Some(78));
    assert!(said.contains("OUTBOUND_PROXY: wants http://") && !said.contains("s3cret"), "{said}");
    let proxy = TestProxy::start(Speaks::Http, Some("ann:s3cret")).await;
    let file = setup.folder.path().join("proxy");
    std::fs::write(&file, format!("http://ann:s3cret@{}\n", proxy.address())).unwrap();
    let server = setup.with("OUTBOUND_PROXY_FILE", file.to_str().unwrap()).start();
    served_by(&server, &google).await;
    assert_eq!(proxy.requests(), 1);
    let shown = String::from_utf8(server.setup.run(&["config"], "").stdout).unwrap();
    let line = shown.lines().find(|line| line.starts_with("OUTBOUND_PROXY ")).unwrap();
    assert!(line.ends_with(&format!("file         http://{}", proxy.address())), "{line}");
}
