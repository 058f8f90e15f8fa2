//! `gemini-pool admin rotate-master-key`: the old one or the new one, never neither.

use std::{fs, os::unix::fs::PermissionsExt, process::Output};

use gemini_pool::simulated::{SimulatedGoogle, World};
use serde_json::json;

use crate::support::{Server, Setup, of_type};

const KEYS: [&str; 2] = ["AIza-sealed-0001", "AIza-sealed-0002"];
const OLD: &str = "the old master key of this pool";
const NEW: &str = "the new master key of this pool";

async fn google() -> SimulatedGoogle {
    let world = World::new().key("alpha", KEYS[0]).key("beta", KEYS[1]);
    SimulatedGoogle::start(world).await.unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

fn rotate(setup: &Setup, arguments: &[&str], input: &str) -> (bool, String) {
    let output = setup.run(&[&["admin", "rotate-master-key"], arguments].concat(), input);
    (output.status.success(), told(&output))
}

async fn serves(server: &Server) {
    for _ in 0..4 {
        assert_eq!(server.app().generate("gemini-2.5-flash", "Hello").await.0, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_the_pool_keeps_is_made_anew_while_it_serves() {
    let google = google().await;
    // A password of its own is among the secrets.
    let server = Setup::new(&google, &KEYS[..1]).with("ADMIN_PASSWORD", "").start();
    let file = server.setup.data().join("master.key");
    let old = fs::read_to_string(&file).unwrap();
    let (well, said) = rotate(&server.setup, &[], "");
    assert!(well && said.contains("3 secrets") && said.contains("keep a copy"), "{said}");
    let new = fs::read_to_string(&file).unwrap();
    assert!(new != old && new.len() == 64 && !said.contains(&new));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!server.setup.data().join("master.key.new").exists());
    // What is sealed from now on is sealed with it.
    let added = server.setup.run(&["keys", "add"], KEYS[1]);
    assert!(added.status.success(), "{}", told(&added));
    serves(&server).await;
    let (setup, _) = server.stop();
    let server = setup.start();
    serves(&server).await;
    let (setup, _) = server.stop();
    let log = setup.log();
    assert_eq!(
        of_type(&log, "MasterKeyChanged"),
        [json!({"type": "MasterKeyChanged", "secrets": 3, "actor": "cli"})]
    );
    fs::write(&file, old).unwrap();
    let (_, said) = setup.start_in_vain();
    assert!(said.contains("is not the one it was sealed with"), "{said}");
}

/// The two moments between which the file and the log are not at one.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_broke_off_is_completed_or_forgotten() {
    let google = google().await;
    let setup = Setup::new(&google, &KEYS).start().stop().0;
    let (file, next) = (setup.data().join("master.key"), setup.data().join("master.key.new"));
    let old = fs::read_to_string(&file).unwrap();
    // The new one was written, and the log does not know it.
    fs::write(&next, "0123456789abcdef0123456789abcdef").unwrap();
    let server = setup.start();
    serves(&server).await;
    assert!(server.output().contains("broken off before the log had it") && !next.exists());
    let (setup, _) = server.stop();
    // The log knows it, and it is not in its place yet.
    let (well, said) = rotate(&setup, &[], "");
    assert!(well, "{said}");
    let new = fs::read_to_string(&file).unwrap();
    fs::write(&next, &new).unwrap();
    fs::write(&file, &old).unwrap();
    let server = setup.start();
    serves(&server).await;
    assert!(server.output().contains("it is complete now") && !next.exists());
    assert_eq!(fs::read_to_string(&file).unwrap(), new);
    let (setup, _) = server.stop();
    // Neither of two strangers opens anything, and nothing is thrown away.
    fs::write(&next, "0123456789abcdef0123456789abcdef").unwrap();
    fs::write(&file, &old).unwrap();
    let (_, said) = setup.start_in_vain();
    assert!(said.contains("is not the one it was sealed with"), "{said}");
    assert!(next.exists() && file.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_told_is_changed_by_who_tells_it() {
    let google = google().await;
    let server = Setup::new(&google, &KEYS).with("MASTER_KEY", OLD).start();
    let setup = server.setup.clone();
    let (well, said) = rotate(&setup, &[], "");
    assert!(!well && said.contains("--new-key-file"), "{said}");
    for (input, wants) in [("too short", "16 characters"), (OLD, "already")] {
        let (well, said) = rotate(&setup, &["--new-key-file", "-"], input);
        assert!(!well && said.contains(wants), "{said}");
    }
    let path = setup.folder.path().join("new-key");
    fs::write(&path, format!("{NEW}\n")).unwrap();
    let (well, said) = rotate(&setup, &["--new-key-file", path.to_str().unwrap()], "");
    assert!(well && said.contains("Set MASTER_KEY to the new one NOW") && !said.contains(NEW), "{said}");
    assert!(!setup.data().join("master.key").exists());
    serves(&server).await;
    let (setup, log) = server.stop();
    assert!(!log.contains(NEW) && !log.contains(OLD));
    let (_, said) = setup.start_in_vain();
    assert!(said.contains("MASTER_KEY"), "{said}");
    let server = setup.with("MASTER_KEY", NEW).start();
    serves(&server).await;
}

/// Keys that are added while the master key changes open afterwards, whoever was first.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sealed_under_a_key_that_is_gone() {
    let google = google().await;
    let server = Setup::new(&google, &KEYS).start();
    let operator = server.operator().await;
    let other = server.operator().await;
    let add = async {
        for batch in 0..20 {
            let keys: Vec<String> = (0..50).map(|key| format!("AIza-{batch}-{key}")).collect();
            let body = json!({"keys": keys});
            assert_eq!(operator.call(reqwest::Method::POST, "/keys/bulk_add", Some(body)).await.0, 200);
        }
    };
    let rotate = async {
        for _ in 0..10 {
            let (status, answer) = other.call(reqwest::Method::POST, "/master_key", Some(json!({}))).await;
            assert_eq!(status, 200, "{answer}");
        }
    };
    tokio::join!(add, rotate);
    let server = server.stop().0.start();
    // It starts only if everything opens.
    let (_, answer) = server.operator().await.call(reqwest::Method::GET, "/keys", None).await;
    assert_eq!(answer["total"], 1_002);
}
