//! `gemini-pool keys …`, on a running and on a stopped pool, and what the environment names.

use std::process::Output;

use gemini_pool::{
    journal::{Journal, fjall::FjallJournal},
    simulated::{SimulatedGoogle, World},
};
use serde_json::{Value, json};

use crate::support::{Server, Setup, of_type};

const KEYS: [&str; 3] = ["AIza-first-0001", "AIza-second-0002", "AIza-third-0003"];

async fn google() -> SimulatedGoogle {
    let mut world = World::new();
    for (project, key) in ["alpha", "beta", "gamma"].iter().zip(KEYS) {
        world = world.key(project, key);
    }
    SimulatedGoogle::start(world).await.unwrap()
}

/// A command's exit code and what it said, without what it logs.
fn said(output: &Output) -> (Option<i32>, String) {
    let text = [&output.stdout[..], &output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

fn keys(setup: &Setup, arguments: &[&str], input: &str) -> (Option<i32>, String) {
    said(&setup.run(&[&["keys"], arguments].concat(), input))
}

fn list(setup: &Setup) -> Vec<Value> {
    let (code, text) = keys(setup, &["list", "--json"], "");
    assert_eq!(code, Some(0), "{text}");
    serde_json::from_str::<Value>(&text).unwrap()["keys"].as_array().unwrap().clone()
}

fn states(setup: &Setup) -> Vec<String> {
    list(setup).iter().map(|key| format!("{} {}", key["id"], key["state"].as_str().unwrap())).collect()
}

/// Everything that can be done to keys, on a pool that runs or does not.
fn whole_life(setup: &Setup) -> String {
    let file = setup.folder.path().join("more.txt");
    std::fs::write(&file, format!("{}\n", KEYS[2])).unwrap();
    let mut told = String::new();
    let mut tell = |arguments: &[&str], input: &str| {
        let (code, text) = keys(setup, arguments, input);
        let line = arguments.join(" ").replace(&setup.folder.path().display().to_string(), "[folder]");
        told.push_str(&format!("> keys {line}\n{}\n{}\n", code.unwrap_or(-1), text.trim_end()));
    };
    tell(&["add"], &format!("{}\n{}\n", KEYS[0], KEYS[1]));
    tell(&["add", "--project", "gamma", "--file", file.to_str().unwrap()], "");
    tell(&["add"], &format!("[\"{}\", \"{}\"]", KEYS[0], KEYS[0]));
    tell(&["add"], "sch\u{f6}n AIza-fourth-0004");
    tell(&["add"], "\u{f6}");
    tell(&["add"], "  \n , ");
    tell(&["add"], "[1, 2]");
    tell(&["add", "--file", "no/such/file"], "");
    tell(&["disable", "1", "2"], "");
    tell(&["disable", "1"], "");
    tell(&["enable", "2"], "");
    tell(&["reset", "1", "2", "3"], "");
    tell(&["remove", "2"], "");
    tell(&["remove", "2"], "");
    tell(&["remove", "3", "99"], "");
    tell(&["enable", "99"], "");
    tell(&["reset", "99"], "");
    told.push_str(&format!("{:?}\n", states(setup)));
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_do_the_same_on_a_running_and_on_a_stopped_pool() {
    let google = google().await;
    let running = Setup::new(&google, &[]).start();
    let there = whole_life(&running.setup);
    let stopped = Setup::new(&google, &[]);
    let here = whole_life(&stopped);
    insta::with_settings!({snapshot_path => "../../snapshots", prepend_module_to_snapshot => false}, {
        insta::assert_snapshot!("keys_commands", there);
    });
    assert_eq!(here, there);
    let (setup, _) = running.stop();
    for (setup, about) in [(setup, "running"), (stopped, "stopped")] {
        let log = setup.log();
        let changes: Vec<Value> =
            log.iter().filter(|event| event["type"].as_str().unwrap().starts_with("Key")).cloned().collect();
        assert!(changes.iter().all(|event| event["event"]["actor"] == "cli"), "{about}: {changes:#?}");
        let kinds: Vec<&str> = changes.iter().map(|event| event["type"].as_str().unwrap()).collect();
        assert_eq!(kinds.iter().filter(|kind| **kind == "KeyAdded").count(), 4, "{about}: {kinds:?}");
        assert_eq!(kinds.iter().filter(|kind| **kind == "KeyRemoved").count(), 1, "{about}: {kinds:?}");
        assert_eq!(
            kinds.iter().filter(|kind| **kind == "KeyDisabled").count(),
            2,
            "{about}: what was so already is no event"
        );
    }
}

async fn served_by(google: &SimulatedGoogle, server: &Server) -> Vec<String> {
    let before = google.seen().len();
    for _ in 0..20 {
        server.app().generate("gemini-2.5-flash", "Hello").await;
    }
    let mut keys: Vec<String> = google.seen().into_iter().skip(before).map(|seen| seen.key).collect();
    keys.sort();
    keys.dedup();
    keys
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_on_a_running_pool_counts_from_the_next_request_on() {
    let google = google().await;
    let server = Setup::new(&google, &[]).with("STRATEGY", "round-robin").start();
    let (status, answer) = server.app().generate("gemini-2.5-flash", "Hello").await;
    assert_eq!((status, &answer["error"]["details"][0]["reason"]), (503, &json!("NO_KEYS")));
    assert_eq!(keys(&server.setup, &["add"], &KEYS.join(" ")).0, Some(0));
    assert_eq!(served_by(&google, &server).await, KEYS);
    assert_eq!(keys(&server.setup, &["disable", "1"], "").0, Some(0));
    assert_eq!(served_by(&google, &server).await, KEYS[1..]);
    assert_eq!(keys(&server.setup, &["remove", "2"], "").0, Some(0));
    assert_eq!(served_by(&google, &server).await, KEYS[2..]);
    assert_eq!(keys(&server.setup, &["enable", "1"], "").0, Some(0));
    assert_eq!(served_by(&google, &server).await, [KEYS[0], KEYS[2]]);
}

/// Names of the sealed upstream keys in a stopped pool's vault.
fn sealed(setup: &Setup) -> Vec<String> {
    let journal = FjallJournal::open(&setup.data().join("log")).unwrap();
    let names = journal.secrets().unwrap().into_iter().map(|(name, _)| name);
    names.filter(|name| name.starts_with("key/")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_key_stays_removed_until_somebody_adds_it_again() {
    let google = google().await;
    let server = Setup::new(&google, &KEYS).with("STRATEGY", "round-robin").start();
    assert_eq!(served_by(&google, &server).await, KEYS);
    let fingerprint = list(&server.setup)[1]["fingerprint"].as_str().unwrap().to_owned();
    assert_eq!(keys(&server.setup, &["remove", "2"], "").0, Some(0));
    let (setup, _) = server.stop();
    let names = sealed(&setup);
    assert_eq!(names.len(), 2, "its sealed secret was destroyed: {names:?}");
    assert!(!names.iter().any(|name| name.contains(&fingerprint)), "{names:?}");

    // GEMINI_API_KEYS still names it.
    let server = setup.start();
    assert_eq!(served_by(&google, &server).await, [KEYS[0], KEYS[2]]);
    let (setup, _) = server.stop();
    assert_eq!(states(&setup), ["1 ready", "3 ready"]);
    assert_eq!(sealed(&setup).len(), 2);

    assert_eq!(
        keys(&setup, &["add"], KEYS[1]),
        (Some(0), "1 added, 0 there already, 0 invalid\n".to_owned())
    );
    let server = setup.start();
    assert_eq!(served_by(&google, &server).await, KEYS);
    let (setup, _) = server.stop();
    assert_eq!(states(&setup), ["1 ready", "3 ready", "4 ready"], "a number is never given twice");
    assert_eq!(sealed(&setup).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn access_keys_come_and_go_with_the_environment() {
    let google = google().await;
    let opens = async |server: &Server, key: &str| {
        server.app_with(Some(key)).generate("gemini-2.5-flash", "Hello").await.0 == 200
    };
    let server =
        Setup::new(&google, &KEYS).with("ALLOWED_API_KEYS", "old-key-of-an-app,common-key-of-an-app").start();
    assert!(
        opens(&server, "old-key-of-an-app").await
            && opens(&server, "common-key-of-an-app").await
            && !opens(&server, "new-key-of-an-app").await
    );
    let server = server.stop().0.with("ALLOWED_API_KEYS", "common-key-of-an-app,new-key-of-an-app").start();
    assert!(
        !opens(&server, "old-key-of-an-app").await
            && opens(&server, "common-key-of-an-app").await
            && opens(&server, "new-key-of-an-app").await
    );
    let server = server.stop().0.with("ALLOWED_API_KEYS", "common-key-of-an-app,old-key-of-an-app").start();
    assert!(
        opens(&server, "old-key-of-an-app").await
            && opens(&server, "common-key-of-an-app").await
            && !opens(&server, "new-key-of-an-app").await
    );
    let log = server.stop().0.log();
    let ids: Vec<Value> = of_type(&log, "Answered")
        .into_iter()
        .filter(|event| event["outcome"] == "complete")
        .map(|event| event["client"].clone())
        .collect();
    assert_eq!(
        ids,
        [1, 2, 2, 3, 4, 2],
        "the common one kept its number, the one that came back has a new one"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_cannot_be_asked_is_told_as_such() {
    let google = google().await;
    let server = Setup::new(&google, &KEYS).start();
    assert_eq!(server.app().generate("gemini-2.5-flash", "Hello").await.0, 200, "it is wholly up");
    let address = server.setup.data().join("server.address");
    let told = std::fs::read_to_string(&address).unwrap();
    std::fs::remove_file(&address).unwrap();
    let (code, text) = keys(&server.setup, &["list"], "");
    assert_eq!(code, Some(1));
    assert!(text.contains("cannot be asked"), "{text}");
    // The address of nobody.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    std::fs::write(&address, free.to_string()).unwrap();
    let (code, text) = keys(&server.setup, &["list"], "");
    assert_eq!(code, Some(1));
    assert!(text.contains("does not answer"), "{text}");
    std::fs::write(&address, told).unwrap();
    // Another signing secret, so that the server does not know the command.
    let (code, text) =
        keys(&server.setup.clone().with("SECRET_KEY", "not the one it signs with"), &["list"], "");
    assert_eq!(code, Some(1));
    assert!(text.contains("log in"), "{text}");
}
