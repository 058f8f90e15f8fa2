//! `gemini-pool backup` and `restore`, on a running and a stopped pool.

use std::{fs, os::unix::fs::PermissionsExt, process::Output};

use gemini_pool::simulated::{SimulatedGoogle, World};
use serde_json::Value;

use crate::support::{Operator, Setup, of_type};

const KEYS: [&str; 2] = ["AIza-backed-up-0001", "AIza-backed-up-0002"];

async fn google() -> SimulatedGoogle {
    let world = World::new().key("alpha", KEYS[0]).key("beta", KEYS[1]);
    SimulatedGoogle::start(world).await.unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

/// A backup of a pool, by name, in the folder of its settings.
fn backed_up(setup: &Setup, name: &str) -> String {
    let path = setup.folder.path().join(name).display().to_string();
    let output = setup.run(&["backup", &path], "");
    assert!(output.status.success(), "{}", told(&output));
    assert!(told(&output).contains("The master key is not in it"), "{}", told(&output));
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_running_pool_serves_on_another_machine() {
    let google = google().await;
    let server = Setup::new(&google, &KEYS).start();
    let app = server.app();
    // Traffic goes on while it is made.
    let busy = tokio::spawn(async move {
        for _ in 0..40 {
            assert_eq!(app.generate("gemini-2.5-flash", "Hello").await.0, 200);
        }
    });
    assert_eq!(server.app().generate("gemini-2.5-flash", "Hello").await.0, 200);
    let backup = backed_up(&server.setup, "one.backup");
    busy.await.unwrap();
    let bytes = fs::read(&backup).unwrap();
    for secret in KEYS {
        assert!(
            !bytes.windows(secret.len()).any(|window| window == secret.as_bytes()),
            "a key lies open in it"
        );
    }
    let made = server.operator().await.events_of("BackupMade", 1).await.remove(0);
    assert_eq!(made["actor"], "cli");
    let (old, _) = server.stop();
    let before = old.log();

    // Another machine: it has the backup and a copy of the master key, and nothing else.
    let new = Setup::new(&google, &[]);
    fs::create_dir(new.data()).unwrap();
    fs::copy(old.data().join("master.key"), new.data().join("master.key")).unwrap();
    let output = new.run(&["restore", &backup], "");
    assert!(output.status.success() && told(&output).contains("opens its secrets"), "{}", told(&output));
    let log = new.log();
    let through = made["through"].as_u64().unwrap() as usize;
    assert_eq!(log[..through], before[..through], "event by event what it was");
    assert_eq!(log[through]["type"], "BackupRestored");
    assert_eq!(
        (log[through]["event"]["through"].as_u64(), &log[through]["event"]["actor"]),
        (Some(through as u64), &Value::from("cli"))
    );
    let server = new.start();
    for _ in 0..4 {
        assert_eq!(server.app().generate("gemini-2.5-flash", "Hello again").await.0, 200);
    }
    assert_eq!(server.operator().await.keys().await.len(), 2);
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_stopped_pool_is_the_same() {
    let google = google().await;
    let setup = Setup::new(&google, &KEYS).start().stop().0;
    let before = setup.log();
    let backup = backed_up(&setup, "one.backup");
    let into = setup.folder.path().join("elsewhere");
    let output = setup.run(&["restore", &backup, "--into", into.to_str().unwrap()], "");
    assert!(output.status.success(), "{}", told(&output));
    assert!(told(&output).contains("set MASTER_KEY to the one that the pool had"), "{}", told(&output));
    let there = |arguments: &[&str]| {
        let data = ["--data-dir", into.to_str().unwrap()];
        setup.run(&[&data, arguments].concat(), "")
    };
    // Without the master key it says what is missing, and makes no other.
    let refused = there(&["events", "list", "--json"]);
    assert!(!refused.status.success() && told(&refused).contains("master.key"), "{}", told(&refused));
    assert!(!into.join("master.key").exists());
    fs::copy(setup.data().join("master.key"), into.join("master.key")).unwrap();
    let output = there(&["events", "list", "--json"]);
    let log: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(log[..before.len()], before);
    assert_eq!(of_type(&log, "BackupRestored").len(), 1);
    assert_eq!(log.len(), before.len() + 1, "the event of the backup itself is later than what is in it");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_whole_is_not_restored() {
    let google = google().await;
    let setup = Setup::new(&google, &KEYS).start().stop().0;
    let backup = backed_up(&setup, "one.backup");
    let whole = fs::read(&backup).unwrap();
    let into = setup.folder.path().join("elsewhere");
    let restore = |bytes: &[u8]| {
        let path = setup.folder.path().join("bad.backup");
        fs::write(&path, bytes).unwrap();
        let output = setup.run(&["restore", path.to_str().unwrap(), "--into", into.to_str().unwrap()], "");
        assert!(!output.status.success(), "{}", told(&output));
        assert!(!into.join("log").exists());
        told(&output)
    };
    assert!(restore(b"no backup at all").contains("this is no backup"));
    assert!(restore(&whole[..whole.len() - 10]).contains("breaks off after"));
    let mut flipped = whole.clone();
    let middle = whole.len() - 200;
    flipped[middle] ^= 1;
    assert!(restore(&flipped).contains("damaged"));
    // A data directory in use, or with anything else in it, is left alone.
    let output = setup.run(&["restore", &backup], "");
    assert!(!output.status.success() && told(&output).contains("is not empty"), "{}", told(&output));
    // What was left behind does not stand in the way.
    let output = setup.run(&["restore", &backup, "--into", into.to_str().unwrap()], "");
    assert!(output.status.success(), "{}", told(&output));
    // A file that is there is not overwritten.
    let output = setup.run(&["backup", &backup], "");
    assert!(!output.status.success() && told(&output).contains("it is there already"), "{}", told(&output));
    assert_eq!(fs::read(&backup).unwrap(), whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_wants_an_administrator() {
    let google = google().await;
    let server = Setup::new(&google, &KEYS).start();
    for (header, status) in [(None, 401), (Some("Bearer client-key-for-tests-0001"), 401)] {
        let mut request = crate::support::http().get(format!("{}/api/backup", server.origin));
        if let Some(header) = header {
            request = request.header("authorization", header);
        }
        assert_eq!(request.send().await.unwrap().status(), status);
    }
    assert!(Operator::at(&server.origin).await.events_of("BackupMade", 0).await.is_empty());
}
