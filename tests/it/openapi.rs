//! The OpenAPI document as a contract: what is served is what is kept, and what was released is not broken. And the page
//! to try it on.
//!
//! `snapshots/openapi.json` is the document of this program. Whoever changes the API writes it anew:
//! `gemini-pool openapi > snapshots/openapi.json`.
//!
//! `snapshots/openapi-released.json` is what callers of the last release rely on. It is never written to make a
//! test pass: [`breaking`] tells changes that break callers from those that do not. With a release, and only with
//! one whose notes tell callers what broke, copy `openapi.json` over it.

mod breaking;

use std::{fs, path::Path};

use gemini_pool::simulated::{SimulatedGoogle, World};
use serde_json::Value;

use crate::support::{Setup, http};

fn kept(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("snapshots").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[tokio::test]
async fn the_served_document_is_the_kept_one() {
    let google = SimulatedGoogle::start(World::new().key("alpha", "AIza-good-1")).await.unwrap();
    let server = Setup::new(&google, &["AIza-good-1"]).start();
    let answer = http().get(format!("{}/api/openapi.json", server.origin)).send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["content-type"]),
        (200, &"application/json".parse().unwrap())
    );
    let served = answer.text().await.unwrap();
    let kept = kept("openapi.json");
    let differs = served.lines().zip(kept.lines()).find(|(served, kept)| served != kept);
    assert!(
        served == kept,
        "the API is another than snapshots/openapi.json says, first at {differs:?}. If that is meant: \
         gemini-pool openapi > snapshots/openapi.json"
    );
    assert_eq!(String::from_utf8(server.setup.run(&["openapi"], "").stdout).unwrap(), served);
}

#[test]
fn no_caller_of_the_last_release_is_broken() {
    let [released, now] = ["openapi-released.json", "openapi.json"].map(|name| {
        serde_json::from_str::<Value>(&kept(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    });
    let breaks = breaking::breaks(&released, &now);
    assert!(breaks.is_empty(), "callers of the last release would break:\n  {}", breaks.join("\n  "));
}

/// It holds nothing secret, but it is no page for strangers either, and nothing on it may come from elsewhere.
#[tokio::test]
async fn the_page_to_try_it_is_for_administrators_and_stays_on_this_server() {
    let google = SimulatedGoogle::start(World::new().key("alpha", "AIza-good-1")).await.unwrap();
    let server = Setup::new(&google, &["AIza-good-1"]).start();
    let operator = server.operator().await;
    let get = |path: &str| http().get(format!("{}{path}", server.origin));
    let cookie = format!("gemini_pool_session={}", operator.token());
    let page = get("/api/docs").header("cookie", &cookie).send().await.unwrap().text().await.unwrap();
    let named = page.split(['"', '\'']).filter(|part| part.starts_with("/api/docs/")).map(str::to_owned);
    let mut files: Vec<String> = named.collect();
    assert_eq!(files.len(), 3, "{page}");
    files.push("/api/docs".to_owned());
    for path in &files {
        for stranger in [get(path), get(path).header("accept", "text/html"), get(path).bearer_auth("x")] {
            let answer = stranger.send().await.unwrap();
            assert_eq!(answer.status(), 401, "{path}");
            assert_eq!(answer.json::<Value>().await.unwrap()["code"], "not_logged_in", "{path}");
        }
        let answer = get(path).bearer_auth(operator.token()).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        assert_eq!((header("x-content-type-options"), header("referrer-policy")).1, "no-referrer");
        assert!(header("cache-control").starts_with("private"), "{path}");
        let (policy, tag) = (header("content-security-policy"), header("etag"));
        for directive in policy.split("; ") {
            let mut words = directive.split(' ');
            let name = words.next().unwrap();
            let fits = |word| matches!(word, "'none'" | "'self'") || (name, word) == ("img-src", "data:");
            assert!(words.all(fits), "{directive}");
        }
        for name in ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"]
        {
            assert!(policy.contains(name), "{policy}");
        }
        let plain = answer.bytes().await.unwrap();
        let known = get(path).bearer_auth(operator.token()).header("if-none-match", &tag);
        assert_eq!(known.send().await.unwrap().status(), 304, "{path}");
        let packed = get(path).bearer_auth(operator.token()).header("accept-encoding", "br, gzip");
        let packed = packed.send().await.unwrap();
        assert_eq!(packed.headers()["content-encoding"], "gzip", "{path}");
        assert_ne!(packed.headers()["etag"].to_str().unwrap(), tag);
        assert!(packed.bytes().await.unwrap().len() < plain.len(), "{path}");
    }
    assert_eq!(get("/api/docs/nothing").bearer_auth(operator.token()).send().await.unwrap().status(), 404);
    let posted = http().post(format!("{}/api/docs", server.origin)).send().await.unwrap();
    assert_eq!((posted.status().as_u16(), &posted.headers()["allow"]), (405, &"GET".parse().unwrap()));
}
