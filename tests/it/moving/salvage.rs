//! A data directory that does not open, and what is made of it.

use std::{fs, process::Output};

use gemini_pool::simulated::{SimulatedGoogle, World};

use crate::support::{Setup, of_type};

const KEYS: [&str; 2] = ["AIza-to-salvage-0001", "AIza-to-salvage-0002"];

async fn google() -> SimulatedGoogle {
    let world = World::new().key("alpha", KEYS[0]).key("beta", KEYS[1]);
    SimulatedGoogle::start(world).await.unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_chain_proves_of_a_damaged_log_serves_again() {
    let google = google().await;
    let server = Setup::new(&google, &KEYS).start();
    for _ in 0..20 {
        assert_eq!(server.app().generate("gemini-2.5-flash", "Hello").await.0, 200);
    }
    let (setup, _) = server.stop();
    let before = setup.log();
    let file = setup.data().join("log/0.jnl");
    let mut bytes = fs::read(&file).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[used / 2] ^= 0x10;
    fs::write(&file, &bytes).unwrap();

    let (code, refused) = setup.start_in_vain();
    assert_eq!(code, Some(1), "{refused}");
    for words in ["`0.jnl`, from byte", "Restore a backup", "gemini-pool salvage"] {
        assert!(refused.contains(words), "{words}: {refused}");
    }
    let into = setup.folder.path().join("salvaged");
    let [from, to] = [setup.data(), into.clone()].map(|path| path.display().to_string());
    let output = setup.run(&["salvage", &from, &to], "");
    assert!(output.status.success() && told(&output).contains("kept "), "{}", told(&output));
    assert!(told(&output).contains("opens its secrets"), "{}", told(&output));
    assert_eq!(fs::read(&file).unwrap(), bytes, "the damaged one is as it was");
    let left: Vec<_> = fs::read_dir(&into).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "log, master.key and secret.key: {left:?}");

    let there = |arguments: &[&str]| setup.run(&[&["--data-dir", &to], arguments].concat(), "");
    let audit = there(&["audit", "verify"]);
    assert!(audit.status.success(), "{}", told(&audit));
    let output = there(&["events", "list", "--json"]);
    let log: Vec<serde_json::Value> =
        told(&output).lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let salvaged = &of_type(&log, "LogSalvaged")[0];
    let kept = salvaged["kept"].as_u64().unwrap() as usize;
    assert!(kept > 10 && kept < before.len(), "{salvaged}");
    assert_eq!(log[..5], before[..5]);
    assert!(told(&there(&["keys", "list"])).contains("…0001"));
    // It is not made twice, and not of nothing.
    let again = setup.run(&["salvage", &from, &to], "");
    assert!(!again.status.success() && told(&again).contains("is not empty"), "{}", told(&again));
    let nowhere = setup.folder.path().join("nowhere").display().to_string();
    let none = setup.run(&["salvage", &nowhere, &format!("{to}-2")], "");
    assert!(!none.status.success() && told(&none).contains("there is no log in"), "{}", told(&none));
    assert!(!setup.folder.path().join("salvaged-2").exists());

    // One that starts has its own settings' folder.
    fs::remove_dir_all(setup.data()).unwrap();
    fs::rename(&into, setup.data()).unwrap();
    let server = setup.start();
    assert_eq!(server.app().generate("gemini-2.5-flash", "Hello again").await.0, 200);
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_whose_volume_is_missing_is_not_begun_anew_by_itself() {
    let google = google().await;
    let (setup, _) = Setup::new(&google, &KEYS).start().stop();
    let log = setup.data().join("log");
    fs::rename(&log, setup.folder.path().join("elsewhere")).unwrap();
    for empty in [false, true] {
        if empty {
            fs::create_dir(&log).unwrap();
        }
        let (code, refused) = setup.start_in_vain();
        assert_eq!(code, Some(1), "{refused}");
        assert!(refused.contains("Is its volume mounted?") && refused.contains("NEW_LOG=true"), "{refused}");
        let output = setup.run(&["keys", "add"], "AIza-another-0003");
        assert!(
            !output.status.success() && told(&output).contains("master.key is there"),
            "{}",
            told(&output)
        );
        assert_eq!(log.exists(), empty);
    }
    let (setup, _) = setup.with("NEW_LOG", "true").start().stop();
    assert_eq!(of_type(&setup.with("NEW_LOG", "").log(), "ServerStarted").len(), 1);
}

/// A restore that was killed leaves a log that nobody takes for one, and the next start takes it away.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_restore_left_goes_with_the_next_start() {
    let google = google().await;
    let (setup, _) = Setup::new(&google, &KEYS).start().stop();
    let left = setup.data().join("log.restoring");
    fs::create_dir(&left).unwrap();
    fs::write(left.join("0.jnl"), b"half a log").unwrap();
    let (setup, _) = setup.start().stop();
    assert!(!left.exists());
    // One that is refused leaves nothing at all.
    let into = setup.folder.path().join("new");
    let bad = setup.folder.path().join("bad.backup");
    let good = setup.folder.path().join("good.backup");
    assert!(setup.run(&["backup", good.to_str().unwrap()], "").status.success());
    let bytes = fs::read(&good).unwrap();
    fs::write(&bad, &bytes[..bytes.len() - 10]).unwrap();
    let refused = setup.run(&["restore", bad.to_str().unwrap(), "--into", into.to_str().unwrap()], "");
    assert!(!refused.status.success() && !into.exists(), "{}", told(&refused));
}
