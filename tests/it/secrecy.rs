//! After a busy run over every kind of failure, no secret is anywhere that somebody could read it.

use std::{collections::BTreeMap, fs};

use gemini_pool::simulated::{ErrorForm, Failure, Fault, KeyState, ProjectState, SimulatedGoogle, World};
use serde_json::json;

use crate::support::{
    CLIENT_KEY, PASSWORD, Server, Setup, ask, files,
    proxy::{Speaks, TestProxy},
};

/// A key that an app presents by mistake: not ours, and a secret all the same.
const FOREIGN: &str = "AIzaForeign-0123456789-presented-by-mistake";
const MASTER_KEY: &str = "master-key-for-this-test-0123";
const SECRET_KEY: &str = "secret-key-for-this-test-0123";

/// The user names and passwords of outbound proxies: the pool's, a key's own, and one that is wrong. Letters and
/// digits alone, for they look the same escaped.
const PROXIES: [&str; 3] =
    ["ann:PoolsProxyPassword0123", "bob:OwnProxyPassword0123", "eve:WrongProxyPassword0123"];
/// The pool's and the wrong one as HTTP sends them.
const PACKED: [&str; 2] = ["YW5uOlBvb2xzUHJveHlQYXNzd29yZDAxMjM=", "ZXZlOldyb25nUHJveHlQYXNzd29yZDAxMjM="];

fn key(name: &str) -> String {
    format!("AIzaSecret-{name}-{:->20}", "x")
}

/// One key for each thing that Google makes of one, and a few good ones that misbehave.
fn world() -> (World, Vec<String>) {
    let states = [
        ("bad", KeyState::Bad),
        ("notfound", KeyState::NotFound),
        ("expired", KeyState::Expired),
        ("leaked", KeyState::Leaked),
        ("suspended", KeyState::Suspended),
        ("flapping", KeyState::Flapping401 { every: 2 }),
        ("address", KeyState::IpBlocked),
        ("referrer", KeyState::ReferrerBlocked),
        ("method", KeyState::MethodBlocked(vec!["StreamGenerateContent".to_owned()])),
        // One with all that a key may have beside letters and digits.
        ("AQ.odd_one-.", KeyState::Suspended),
    ];
    let mut world = World::new().seed(7);
    let mut keys = Vec::new();
    for (name, state) in states {
        keys.push(key(name));
        world = world.key_in(name, &key(name), state);
    }
    for (name, state) in [
        ("denied", ProjectState::Denied),
        ("disabled", ProjectState::ServiceDisabled),
        ("broke", ProjectState::CreditsGone(402)),
    ] {
        keys.push(key(name));
        world = world.project(name, |project| project.state = state).key(name, &key(name));
    }
    for (name, failure) in [
        ("stormy", Failure::HighDemand),
        ("bare", Failure::BareExhausted),
        ("gateway", Failure::BadGateway),
        ("cut", Failure::CutInside(1)),
        ("lost", Failure::CutBeforeHead),
        ("error", Failure::ErrorInStream { after: 1, form: ErrorForm::Bare, code: 500 }),
        ("empty", Failure::EmptyStream),
    ] {
        keys.push(key(name));
        world = world.key_with(name, &key(name), Fault::sometimes(0.6, failure));
    }
    keys.push(key("unknown-to-google"));
    keys.push(key("good"));
    (world.key("good", &key("good")), keys)
}

/// What is not to be seen, and by which name to tell of it.
fn secrets(keys: &[String]) -> BTreeMap<String, Vec<u8>> {
    let mut secrets: BTreeMap<String, Vec<u8>> =
        keys.iter().map(|key| (key.clone(), key.clone().into_bytes())).collect();
    let passwords = PROXIES.iter().filter_map(|text| text.split_once(':')).map(|(_, password)| password);
    let ours = [CLIENT_KEY, "second-client-key-0002", FOREIGN, PASSWORD, MASTER_KEY, SECRET_KEY];
    for text in ours.into_iter().chain(passwords).chain(PACKED) {
        secrets.insert(text.to_owned(), text.as_bytes().to_vec());
    }
    // Written as JSON the odd one looks different.
    let odd = serde_json::to_string(&key("odd\"<&'/\\+%")).unwrap();
    secrets.insert(format!("{odd} in JSON"), odd.trim_matches('"').as_bytes().to_vec());
    secrets
}

fn find(secrets: &BTreeMap<String, Vec<u8>>, place: &str, bytes: &[u8], found: &mut Vec<String>) {
    for (name, secret) in secrets {
        if memchr::memmem::find(bytes, secret).is_some() {
            found.push(format!("{name} in {place}"));
        }
    }
}

/// Asks in every way that apps ask; gives all that came back, headers and bodies.
async fn busy(server: &Server) -> Vec<u8> {
    let mut all = Vec::new();
    let paths = [
        ("/v1beta/models/gemini-2.5-flash:generateContent", ask("Hello")),
        ("/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse", ask("Hello")),
        ("/v1beta/models/gemini-2.5-flash:streamGenerateContent", ask("Hello")),
        (
            "/v1beta/openai/chat/completions",
            json!({"model": "gemini-2.5-flash", "messages": [{"role": "user", "content": "x"}]}),
        ),
        ("/v1beta/interactions", json!({"model": "gemini-2.5-flash", "input": "Hello"})),
        ("/v1beta/models/none:generateContent", ask("Hello")),
        ("/v1beta/cachedContents/of-somebody-else", json!({})),
        ("/v1beta/models/../x", json!({})),
    ];
    for round in 0..12 {
        for (path, body) in &paths {
            let asks = [
                server.app().post(path, body),
                server.app_with(Some(FOREIGN)).post(path, body),
                server.app_with(None).post(
                    &format!("{path}{}key={FOREIGN}", if path.contains('?') { '&' } else { '?' }),
                    body,
                ),
                server
                    .app_with(None)
                    .post(path, body)
                    .header("authorization", "Bearer second-client-key-0002"),
            ];
            // More wrong access keys than this from one address are answered late.
            let asks = asks.into_iter().enumerate().filter(|(who, _)| round == 0 || !matches!(who, 1 | 2));
            for (_, ask) in asks {
                let answer = ask.send().await.unwrap();
                all.extend(format!("{:?}", answer.headers()).into_bytes());
                // A body that breaks off is one of the things tried here.
                all.extend(answer.bytes().await.unwrap_or_default());
            }
        }
    }
    all
}

#[tokio::test]
async fn no_secret_is_anywhere_after_a_busy_run() {
    let (world, keys) = world();
    let google = SimulatedGoogle::start(world).await.unwrap();
    let pools = TestProxy::start(Speaks::Http, Some(PROXIES[0])).await;
    let own = TestProxy::start(Speaks::Socks5, Some(PROXIES[1])).await;
    let named: Vec<&str> = keys.iter().map(String::as_str).collect();
    let setup = Setup::new(&google, &named)
        .with("GEMINI_API_KEYS", &json!(named).to_string())
        .with("ALLOWED_API_KEYS", &format!("{CLIENT_KEY},second-client-key-0002"))
        .with("MASTER_KEY", MASTER_KEY)
        .with("SECRET_KEY", SECRET_KEY)
        .with("OUTBOUND_PROXY", &format!("http://{}@{}", PROXIES[0], pools.address()))
        .with("MAX_ATTEMPTS", "10")
        .with("DEBUG", "true");
    let server = setup.start();
    let operator = server.operator().await;
    let proxied = json!({"keys": [
        {"key": key("at-the-wrong-door"), "proxy": format!("http://{}@{}", PROXIES[2], pools.address())},
        {"key": key("at-the-wrong-socks"), "proxy": format!("socks5://{}@{}", PROXIES[2], own.address())},
    ]});
    let (status, _) = operator.call(reqwest::Method::POST, "/keys/bulk_add", Some(proxied)).await;
    assert_eq!(status, 200);
    let socks = json!({"proxy": format!("socks5h://{}@{}", PROXIES[1], own.address())});
    let (status, shown) = operator.call(reqwest::Method::PATCH, "/keys/1", Some(socks)).await;
    assert_eq!(status, 200);
    let relayed = busy(&server).await;
    for id in 1..=keys.len() {
        let (status, _) = operator.call(reqwest::Method::POST, &format!("/keys/{id}/reset"), None).await;
        assert_eq!(status, 200);
    }
    let relayed = [relayed, busy(&server).await].concat();
    let wrong = json!({"username": "admin", "password": FOREIGN});
    let refused = crate::support::http()
        .post(format!("{}/api/login", server.origin))
        .json(&wrong)
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status(), 401);
    let tried: std::collections::BTreeSet<String> = google.seen().into_iter().map(|seen| seen.key).collect();
    assert_eq!(tried.len(), keys.len(), "every key was tried, so every echo was heard");

    for (proxy, credentials) in
        [(&pools, PROXIES[0]), (&pools, PROXIES[2]), (&own, PROXIES[1]), (&own, PROXIES[2])]
    {
        let heard = proxy.tunnels().iter().any(|tunnel| tunnel.credentials.as_deref() == Some(credentials));
        assert!(heard, "{credentials} was used");
    }

    let secrets = secrets(&keys);
    let mut found = Vec::new();
    find(&secrets, "what was relayed", &relayed, &mut found);
    assert!(relayed.len() > 10_000);
    find(&secrets, "the answer to a change", shown.to_string().as_bytes(), &mut found);
    find(&secrets, "the refusal of a login", refused.text().await.unwrap().as_bytes(), &mut found);
    find(&secrets, "/api/events", json!(operator.events().await).to_string().as_bytes(), &mut found);
    find(&secrets, "/api/keys", json!(operator.keys().await).to_string().as_bytes(), &mut found);
    for place in ["/readyz", "/healthz", "/api/openapi.json", "/api/none"] {
        let answer = crate::support::http().get(format!("{}{place}", server.origin)).send().await.unwrap();
        find(&secrets, place, &answer.bytes().await.unwrap(), &mut found);
    }
    find(
        &secrets,
        "the process's arguments",
        &fs::read(format!("/proc/{}/cmdline", server.pid())).unwrap(),
        &mut found,
    );
    for arguments in [
        &["config"][..],
        &["config", "--json"],
        &["keys", "list"],
        &["keys", "list", "--json"],
        &["events", "list", "--json"],
    ] {
        let output = server.setup.run(arguments, "");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        find(&secrets, &format!("{arguments:?}"), &[output.stdout, output.stderr].concat(), &mut found);
    }
    let (setup, said) = server.stop();
    assert!(said.contains("\"level\":\"DEBUG\""), "DEBUG=true says more");
    find(&secrets, "the program's own log", said.as_bytes(), &mut found);
    let everything = files(setup.folder.path());
    assert!(everything.iter().any(|file| file.extension().is_some_and(|end| end == "jnl")), "{everything:?}");
    for file in everything {
        find(&secrets, &file.display().to_string(), &fs::read(&file).unwrap(), &mut found);
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[tokio::test]
async fn what_lies_on_the_disk_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let google = SimulatedGoogle::start(World::new().key("alpha", "AIza-good-1")).await.unwrap();
    let server = Setup::new(&google, &["AIza-good-1"]).start();
    assert_eq!(server.app().generate("gemini-2.5-flash", "Hello").await.0, 200);
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let data = server.setup.data();
    for folder in [data.clone(), data.join("log")] {
        assert_eq!(mode(&folder) & 0o077, 0, "{}: {:o}", folder.display(), mode(&folder));
    }
    for name in ["master.key", "secret.key"] {
        assert_eq!(mode(&data.join(name)), 0o600, "{name}");
    }
}
