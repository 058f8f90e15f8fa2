//! Keys that come back by themselves, what is remembered of quotas, and a storm that is sat out.

use std::time::Duration;

use gemini_pool::simulated::{
    Failure, Fault, KeyState, Limits, Outcome, ProjectState, SimulatedGoogle, World,
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Operator, Server, Setup, of_type};

const MODEL: &str = "gemini-2.5-flash";
const BAD: &str = "AIza-broken-0001";
const GOOD: &str = "AIza-good-000002";

/// Waits until the operator sees a key in a state.
async fn wait_for_state(operator: &Operator, id: u64, state: &str) {
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    loop {
        let keys = operator.keys().await;
        let key = keys.iter().find(|key| key["id"] == id).unwrap().clone();
        if key["state"] == state {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "{key} is not {state}");
        tokio::task::yield_now().await;
    }
}

fn checks(google: &SimulatedGoogle) -> usize {
    google.seen().iter().filter(|seen| seen.rpc.contains("ListModels")).count()
}

fn id_of(keys: &[Value], tail: &str) -> u64 {
    keys.iter().find(|key| key["tail"] == tail).unwrap()["id"].as_u64().unwrap()
}

async fn one_bad_one_good(interval: &str) -> (SimulatedGoogle, Server) {
    let world = World::new().key_in("alpha", BAD, KeyState::Bad).key("beta", GOOD);
    let google = SimulatedGoogle::start(world).await.unwrap();
    let server = Setup::new(&google, &[BAD, GOOD]).with("KEY_RECHECK_INTERVAL", interval).start();
    (google, server)
}

/// Asks until the bad key was tried.
async fn until_tried(google: &SimulatedGoogle, server: &Server) {
    while !google.seen().iter().any(|seen| seen.key == BAD) {
        assert_eq!(server.app().generate(MODEL, "hello").await.0, 200, "the other key answers");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_repaired_comes_back_by_itself() {
    let (google, server) = one_bad_one_good("1").await;
    let operator = server.operator().await;
    until_tried(&google, &server).await;
    let id = id_of(&operator.keys().await, "0001");
    wait_for_state(&operator, id, "failed").await;
    google.wait_for(|seen| seen.iter().filter(|seen| seen.rpc.contains("ListModels")).count() >= 2).await;
    wait_for_state(&operator, id, "failed").await;
    let asked =
        google.seen().iter().filter(|seen| seen.key == BAD && !seen.rpc.contains("ListModels")).count();
    assert_eq!(asked, 1, "no client's request goes to it meanwhile");

    google.edit(|world| world.keys.get_mut(BAD).unwrap().state = KeyState::Good);
    wait_for_state(&operator, id, "ready").await;
    let (_, log) = (server.app(), operator.events().await);
    let checked = of_type(&log, "KeyChecked");
    assert!(
        checked.len() >= 3 && checked.iter().all(|check| check["model"] == "" && check["actor"] == "system")
    );
    assert_eq!(checked.last().unwrap()["verdict"], "success");
    assert!(of_type(&log, "GateOpened").iter().any(|gate| gate["why"] == "checked"));
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_that_pays_again_comes_back_with_all_its_keys() {
    let world = World::new()
        .project("alpha", |project| project.state = ProjectState::ServiceDisabled)
        .key("alpha", BAD)
        .key("alpha", "AIza-broken-0003")
        .key("beta", GOOD);
    let google = SimulatedGoogle::start(world).await.unwrap();
    let server = Setup::new(&google, &[GOOD]).with("KEY_RECHECK_INTERVAL", "1").start();
    let operator = server.operator().await;
    let body = json!({"keys": [BAD, "AIza-broken-0003"], "project": "alpha"});
    assert_eq!(operator.call(Method::POST, "/keys/bulk_add", Some(body)).await.0, 200);
    while !google.seen().iter().any(|seen| seen.project == "alpha") {
        assert_eq!(server.app().generate(MODEL, "hello").await.0, 200);
    }
    let keys = operator.keys().await;
    let ids = [id_of(&keys, "0001"), id_of(&keys, "0003")];
    for id in ids {
        wait_for_state(&operator, id, "failed").await;
    }
    let tried = google
        .seen()
        .iter()
        .filter(|seen| seen.project == "alpha" && !seen.rpc.contains("ListModels"))
        .count();
    assert_eq!(tried, 1, "what one key of a project learned, its sibling need not try");
    google.edit(|world| world.projects.get_mut("alpha").unwrap().state = ProjectState::Good);
    for id in ids {
        wait_for_state(&operator, id, "ready").await;
    }
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_tests_a_key_and_brings_it_back() {
    let (google, server) = one_bad_one_good("3600").await;
    let operator = server.operator().await;
    until_tried(&google, &server).await;
    let id = id_of(&operator.keys().await, "0001");
    let test = |body: Value| {
        let (operator, path) = (&operator, format!("/keys/{id}/test"));
        async move { operator.call(Method::POST, &path, Some(body)).await }
    };
    let (status, fails) = test(json!({})).await;
    assert_eq!((status, &fails["passed"], &fails["verdict"]), (200, &json!(false), &json!("bad_key")));
    google.edit(|world| world.keys.get_mut(BAD).unwrap().state = KeyState::Good);
    let (status, passes) = test(json!({"model": MODEL})).await;
    assert_eq!((status, &passes["passed"], &passes["status"]), (200, &json!(true), &json!(200)), "{passes}");
    wait_for_state(&operator, id, "ready").await;
    let (status, problem) = test(json!({"model": "no/such"})).await;
    assert_eq!((status, problem["code"].is_string()), (400, true), "{problem}");
    assert_eq!(operator.call(Method::POST, "/keys/999/test", Some(json!({}))).await.0, 404);
    let log = operator.events().await;
    assert!(of_type(&log, "KeyChecked").iter().all(|check| check["actor"] == json!({"admin": "admin"})));

    let said = server.setup.run(&["keys", "test", &id.to_string()], "");
    assert!(said.status.success(), "{said:?}");
    assert!(String::from_utf8_lossy(&said.stdout).contains("success"));
    google.edit(|world| world.keys.get_mut(BAD).unwrap().state = KeyState::Leaked);
    let said = server.setup.run(&["keys", "test", &id.to_string(), "--model", MODEL], "");
    assert!(
        !said.status.success() && String::from_utf8_lossy(&said.stderr).contains("failed the test"),
        "{said:?}"
    );
    server.stop();
}

/// What Google told of a quota is counted ahead: no request is sent in vain a second time, also not after a restart.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_once_told_is_kept_without_asking_again() {
    // A Tuesday noon in California, so that the day does not turn under the test.
    let at = 1_795_032_000_000;
    let world = World::new()
        .at(at)
        .project("alpha", |project| project.limit(MODEL, Limits::none().per_minute(3)))
        .key("alpha", GOOD);
    let google = SimulatedGoogle::start(world).await.unwrap();
    let server = Setup::new(&google, &[GOOD]).with("QUEUE_TIMEOUT", "0").start();
    for _ in 0..3 {
        assert_eq!(server.app().generate(MODEL, "in").await.0, 200);
    }
    for _ in 0..5 {
        let (status, body) = server.app().generate(MODEL, "out").await;
        assert_eq!((status, &body["error"]["status"]), (429, &json!("RESOURCE_EXHAUSTED")));
    }
    let refused =
        |google: &SimulatedGoogle| google.seen().iter().filter(|seen| seen.status == Some(429)).count();
    assert_eq!(refused(&google), 1, "one refusal tells it all");
    let server = server.kill().start();
    assert_eq!(server.app().generate(MODEL, "out").await.0, 429);
    assert_eq!(refused(&google), 1, "a restart keeps every gate");
    server.stop();
}

/// A model that fails for every key opens its circuit: clients get Google's word, and then the pool's, at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_storm_is_not_multiplied_and_ends_by_itself() {
    let mut world = World::new().key("alpha", GOOD).key("beta", BAD);
    world = world.model(MODEL, |model| model.faults = vec![Fault::always(Failure::Overloaded)]);
    let google = SimulatedGoogle::start(world).await.unwrap();
    let server = Setup::new(&google, &[GOOD, BAD]).with("QUEUE_TIMEOUT", "0").start();
    let mut words = Vec::new();
    for _ in 0..30 {
        let (status, body) = server.app().generate(MODEL, "hello").await;
        assert_eq!(status, 503, "{body}");
        words.push(body["error"]["details"][0]["reason"].as_str().unwrap_or("google").to_owned());
    }
    assert!(
        words.iter().any(|word| word == "google") && words.iter().any(|word| word == "MODEL_DOWN"),
        "{words:?}"
    );
    let tried = google.seen_count();
    assert!(tried < 30, "{tried} tries for 30 requests");
    assert_eq!(server.app().generate("gemini-2.5-pro", "hello").await.0, 200, "other models are served");

    google.edit(|world| world.models.get_mut(MODEL).unwrap().faults.clear());
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while server.app().generate(MODEL, "hello").await.0 != 200 {
        assert!(std::time::Instant::now() < deadline, "the circuit does not close");
    }
    let log = server.operator().await.events().await;
    let circuits =
        of_type(&log, "GateClosed").into_iter().filter(|gate| !gate["scope"]["upstream"].is_null()).count();
    assert!(circuits >= 1);
    let keys = of_type(&log, "GateClosed").into_iter().filter(|gate| !gate["scope"]["key"].is_null()).count();
    assert_eq!(keys, 0, "no key rests for a storm");
    let served =
        google.seen().iter().filter(|seen| seen.model == MODEL && seen.outcome != Outcome::Arrived).count();
    assert!(served > 0 && checks(&google) == 0);
    server.stop();
}
