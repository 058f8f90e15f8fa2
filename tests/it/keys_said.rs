//! What operators say of keys: over the admin API and on the command line, and what becomes of it.

use gemini_pool::simulated::{SimulatedGoogle, World};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Operator, Server, Setup, of_type};

const ONE: &str = "AIza-first-0001";
const TWO: &str = "AIza-second-0002";
const THREE: &str = "AIza-third-0003";

async fn google() -> SimulatedGoogle {
    SimulatedGoogle::start(World::new().key("alpha", ONE).key("beta", TWO)).await.unwrap()
}

/// A key as it is listed, without what is always another.
fn plain(key: &Value) -> Value {
    let mut key = key.clone();
    for name in [
        "fingerprint",
        "added_at",
        "gates",
        "state",
        "last_used_at",
        "checked_at",
        "next_check_at",
        "failures",
        "revision",
        "heartbeat",
    ] {
        key.as_object_mut().unwrap().remove(name);
    }
    key
}

async fn listed(operator: &Operator) -> Vec<Value> {
    operator.keys().await.iter().map(plain).collect()
}

fn unsaid(id: u32, tail: &str) -> Value {
    json!({
        "id": id, "label": format!("key {id}"), "tail": tail, "note": "", "tags": [], "project": format!("key-{id}"),
        "declared": false, "weight": 1, "priority": 100, "models": [], "proxy": null,
    })
}

/// The keys' project, weight and so on over `unsaid`.
fn said(id: u32, tail: &str, more: Value) -> Value {
    let mut key = unsaid(id, tail);
    key.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    key
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_over_the_api_is_shown_recorded_and_kept() {
    let google = google().await;
    let server = Setup::new(&google, &[ONE]).start();
    let operator = server.operator().await;
    assert_eq!(listed(&operator).await, [unsaid(1, "001")]);
    let all = json!({
        "label": "mine", "note": "of ann", "tags": ["paid", "eu"], "project": "alpha", "weight": 5, "priority": 0,
        "models": ["gemini-2.5-*"], "proxy": "direct",
    });
    let (status, shown) = operator.call(Method::PATCH, "/keys/1", Some(all.clone())).await;
    let expected = said(1, "001", {
        let mut more = all.clone();
        more["declared"] = json!(true);
        more
    });
    assert_eq!((status, plain(&shown)), (200, expected.clone()));
    // Once more, and with something that is another matter.
    let again = json!({"weight": 5, "enabled": false, "label": "mine"});
    let (status, shown) = operator.call(Method::PATCH, "/keys/1", Some(again)).await;
    assert_eq!((status, &shown["state"], plain(&shown)), (200, &json!("disabled"), expected.clone()));
    let server = server.kill().start();
    let operator = server.operator().await;
    assert_eq!(listed(&operator).await, [expected]);
    let clear = json!({"project": null, "proxy": null, "tags": [], "models": [], "label": "", "note": ""});
    let (status, shown) = operator.call(Method::PATCH, "/keys/1", Some(clear)).await;
    assert_eq!((status, plain(&shown)), (200, said(1, "001", json!({"weight": 5, "priority": 0}))));
    let log = server.stop().0.log();
    let updates = of_type(&log, "KeyUpdated");
    assert_eq!(updates.len(), 2, "{updates:#?}");
    assert_eq!((&updates[0]["weight"], &updates[0]["project"]), (&json!(5), &json!({"to": "alpha"})));
    assert_eq!((&updates[1]["weight"], &updates[1]["project"]), (&json!(null), &json!("cleared")));
    assert!(updates.iter().all(|event| event["actor"] == json!({"admin": "admin"})));
    assert_eq!(of_type(&log, "KeyDisabled").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_added_with_what_is_said_of_all_and_of_each() {
    let google = google().await;
    let server = Setup::new(&google, &[ONE]).start();
    let operator = server.operator().await;
    let body = json!({
        "keys": [
            ONE,
            TWO,
            {"key": THREE, "project": null, "weight": 9, "label": "third", "proxy": "http://ann:s3cret@proxy:80"},
            {"key": "no key"},
        ],
        "project": "shared", "weight": 3, "tags": ["new"], "proxy": "direct",
    });
    let (status, answer) = operator.call(Method::POST, "/keys/bulk_add", Some(body)).await;
    assert_eq!(status, 200, "{answer}");
    let results: Vec<_> =
        answer["results"].as_array().unwrap().iter().map(|one| one["result"].as_str().unwrap()).collect();
    assert_eq!(results, ["duplicate", "added", "added", "invalid"]);
    let common =
        json!({"project": "shared", "declared": true, "weight": 3, "tags": ["new"], "proxy": "direct"});
    let own = json!({"weight": 9, "label": "third", "tags": ["new"], "proxy": "http://proxy:80"});
    let keys = [unsaid(1, "001"), said(2, "0002", common), said(3, "003", own)];
    assert_eq!(listed(&operator).await, keys);
    let server = server.kill().start();
    assert_eq!(listed(&server.operator().await).await, keys);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_refused_and_nothing_is_changed() {
    let google = google().await;
    let server = Setup::new(&google, &[ONE, TWO]).start();
    let operator = server.operator().await;
    let before = (listed(&operator).await, operator.events().await.len());
    let one = |body: Value| (Method::PATCH, "/keys/1", body);
    let many = |body: Value| (Method::POST, "/keys/bulk_update", body);
    let add = |body: Value| (Method::POST, "/keys/bulk_add", body);
    for ((verb, path, body), status, wants) in [
        (one(json!({})), 400, "nothing to change"),
        (one(json!({"weight": 0})), 400, "`weight` wants a number from 1 to 1000"),
        (one(json!({"weight": 70_000})), 400, "`weight` wants a number from 0 to 65535"),
        (one(json!({"label": 7})), 400, "`label` wants a string"),
        (one(json!({"priority": 256})), 400, "`priority` wants a number from 0 to 255"),
        (one(json!({"label": "x".repeat(101)})), 400, "`label` wants at most 100"),
        (one(json!({"tags": [""]})), 400, "`tags` one of them is empty"),
        (one(json!({"models": ["a b"]})), 400, "`models` wants names"),
        (one(json!({"proxy": "https://ann:s3cret@proxy:1"})), 400, "`proxy` wants http://"),
        (one(json!({"proxy": "s3cret"})), 400, "or `direct`"),
        (one(json!({"wait": 1, "weight": 2})), 400, "`body` wants no other fields than enabled, label"),
        ((Method::PATCH, "/keys/9", json!({"weight": 2})), 404, "there is no key 9"),
        (many(json!({"ids": [1, 9], "set": {"weight": 2}})), 404, "there is no key 9"),
        (many(json!({"ids": [1, 2], "set": {}})), 400, "nothing to change"),
        (
            many(json!({"ids": [1, 2], "set": {"weight": 2, "wait": 1}})),
            400,
            "`set` wants no other fields than",
        ),
        (add(json!({"keys": [{"key": THREE, "weight": 0}]})), 400, "`weight` wants"),
        (add(json!({"keys": [{"key": THREE, "wait": 1}]})), 400, "`keys/0` wants no other fields than"),
        (add(json!({"keys": [{"weight": 1}]})), 400, "`keys/0/key` wants to be there"),
        (add(json!({"keys": [[THREE]]})), 400, "`keys/0` wants an object"),
        (add(json!({"keys": [THREE], "wait": 1})), 400, "`body` wants no other fields than"),
        (add(json!({"keys": [THREE, {"key": "AIza-x", "proxy": "s3cret"}]})), 400, "`proxy` wants"),
    ] {
        let told = format!("{path} {body}");
        let (found, answer) = operator.call(verb, path, Some(body)).await;
        assert_eq!(found, status, "{told}: {answer}");
        let detail = answer["detail"].as_str().unwrap();
        assert!(detail.contains(wants) && !detail.contains("s3cret"), "{told}: {detail}");
    }
    assert_eq!((listed(&operator).await, operator.events().await.len()), before);
}

/// Several keys move to one project: what one of them finds out holds for all.
#[tokio::test(flavor = "multi_thread")]
async fn keys_that_move_to_one_project_share_its_gates() {
    let day = |mut world: World| {
        world = world.project("alpha", |project| project.out_for_today("gemini-2.5-flash", 250));
        world.key("alpha", ONE).key("alpha", TWO)
    };
    let google = SimulatedGoogle::start(day(World::new())).await.unwrap();
    let server = Setup::new(&google, &[ONE, TWO]).start();
    let operator = server.operator().await;
    let body = json!({"ids": [1, 2], "set": {"project": "alpha"}});
    assert_eq!(operator.call(Method::POST, "/keys/bulk_update", Some(body)).await.0, 200);
    assert_eq!(server.app().generate("gemini-2.5-flash", "Hello").await.0, 429);
    assert_eq!(google.seen_count(), 1, "the second of them was not asked in vain");
    // One that goes to a project of its own finds no gate there.
    let body = json!({"project": "gamma"});
    assert_eq!(operator.call(Method::PATCH, "/keys/2", Some(body)).await.0, 200);
    assert_eq!(server.app().generate("gemini-2.5-flash", "Hello").await.0, 429);
    assert_eq!(google.seen()[1].key, TWO);
    operator.events_of("Attempted", 2).await;
}

fn run(setup: &Setup, arguments: &[&str], input: &str) -> (Option<i32>, String) {
    let output = setup.run(&[&["keys"], arguments].concat(), input);
    (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

fn whole_life(setup: &Setup) -> String {
    let folder = setup.folder.path().display().to_string();
    let file = setup.folder.path().join("proxy.txt");
    std::fs::write(&file, "socks5://ann:s3cret@proxy.example:1080\n").unwrap();
    let file = file.to_str().unwrap();
    let objects =
        json!([{"key": THREE, "label": "third", "proxy": "http://ann:s3cret@proxy:80"}, "AIza-fourth-0004"]);
    let mut told = String::new();
    for (arguments, input) in [
        (
            &["add", "--project", "alpha", "--tag", "a", "--tag", "b", "--weight", "2"][..],
            format!("{ONE}\n{TWO}\n"),
        ),
        (&["add", "--priority", "5", "--model", "gemini-*"], objects.to_string()),
        (&["add"], format!("[\"{ONE}\", {{\"key\": \"AIza-x\", \"wait\": 1}}]")),
        (&["set", "1", "2", "--project", "beta", "--note", "of ann", "--proxy-file", file], String::new()),
        (&["set", "2", "--no-project", "--no-tags", "--proxy", "direct"], String::new()),
        (&["set", "3", "--no-proxy", "--all-models", "--label", ""], String::new()),
        (&["set", "3"], String::new()),
        (&["set", "3", "--weight", "0"], String::new()),
        (&["set", "3", "99", "--weight", "4"], String::new()),
        (&["set", "3", "--proxy", "http://ann:s3cret@proxy:80"], String::new()),
        (&["set", "3", "--proxy", "proxy:80"], String::new()),
        (&["set", "3", "--proxy-file", "no/such/file"], String::new()),
        (&["list"], String::new()),
    ] {
        let (code, text) = run(setup, arguments, &input);
        let line = arguments.join(" ").replace(&folder, "[folder]");
        told.push_str(&format!("> keys {line}\n{}\n{}\n", code.unwrap(), text.trim_end()));
    }
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_says_the_same_of_a_running_and_of_a_stopped_pool() {
    let google = google().await;
    let running: Server = Setup::new(&google, &[]).start();
    let there = whole_life(&running.setup);
    let stopped = Setup::new(&google, &[]);
    let here = whole_life(&stopped);
    insta::with_settings!({snapshot_path => "../../snapshots", prepend_module_to_snapshot => false}, {
        insta::assert_snapshot!("keys_said", there);
    });
    assert_eq!(here, there);
    assert!(!there.replace("keys set 3 --proxy http://ann:s3cret@proxy:80", "").contains("s3cret"));
    let said = |setup: &Setup| of_type(&setup.log(), "KeyUpdated");
    assert_eq!(said(&running.stop().0), said(&stopped));
}
