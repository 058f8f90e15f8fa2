//! The OpenAPI document as a contract: what is served is what is kept, and what was released is not broken.
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
