//! A server that must not start says why, and touches nothing.

use std::{
    fs,
    path::{Path, PathBuf},
};

use gemini_pool::{
    journal::{Batch, Journal, codec, fjall::FjallJournal},
    simulated::{SimulatedGoogle, World},
};
use projections::event::AdminLoginFailed;

use crate::support::{Setup, files};

fn snapshot(name: &str, text: &str) {
    insta::with_settings!({snapshot_path => "../../../snapshots", prepend_module_to_snapshot => false}, {
        insta::assert_snapshot!(name, text);
    });
}

/// The last thing it said, without the lines of its log before.
fn last_words(said: &str) -> &str {
    said.find("gemini-pool: ").map_or(said, |at| &said[at..])
}

async fn google() -> SimulatedGoogle {
    SimulatedGoogle::start(World::new().key("alpha", "AIza-good-1")).await.unwrap()
}

/// A pool that has run once.
async fn once(setup: Setup) -> Setup {
    let server = setup.start();
    assert_eq!(server.app().generate("gemini-2.5-flash", "Hello").await.0, 200);
    server.stop().0
}

/// A pool that has served a little and stopped, twice: the first stop leaves room in the log's file, the second
/// does not.
async fn used(google: &SimulatedGoogle) -> Setup {
    let server = Setup::new(google, &["AIza-good-1"]).start();
    for _ in 0..5 {
        assert_eq!(server.app().generate("gemini-2.5-flash", "Hello").await.0, 200);
    }
    let again = server.stop().0.start();
    // A request shows that it is wholly up.
    assert_eq!(again.app().generate("gemini-2.5-flash", "Hello").await.0, 200);
    again.stop().0
}

#[test]
fn every_mistake_in_the_settings_is_named_at_once() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(".env"), "PORTT=1\nMAX_ATTEMPTS=many\n").unwrap();
    let settings = [
        ("PORT", "-1"),
        ("HOST", "everywhere"),
        ("DATABASE_URL", "redis://x"),
        ("GEMINI_API_KEYS", "[\"a\", 2"),
        ("ALLOWED_API_KEYS", "gut, sch\u{f6}n"),
        ("REQUEST_TIMEOUT", "0"),
        ("ADMIN_PASSWORD", "short"),
        ("MASTER_KEY_FILE", "no/such/file"),
        ("LOG_BODIES", "true"),
    ];
    let mut command = std::process::Command::new(crate::support::program());
    let output = command.arg("serve").env_clear().envs(settings).current_dir(folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    snapshot("bad_settings", &String::from_utf8(output.stderr).unwrap());
    let left: Vec<_> = files(folder.path());
    assert_eq!(left.len(), 1, "nothing was made: {left:?}");
}

#[tokio::test]
async fn a_head_beyond_the_log_is_told_as_missing_events() {
    let google = google().await;
    let setup = used(&google).await;
    fs::write(setup.data().join("log/head"), "00000000000000009999\n").unwrap();
    let (code, said) = setup.start_in_vain();
    assert_eq!(code, Some(1));
    snapshot("log_is_short", last_words(&said));
    fs::remove_file(setup.data().join("log/head")).unwrap();
    assert!(setup.log().len() > 5, "as the message says, without `head` it goes on");
}

#[tokio::test]
async fn two_servers_do_not_share_a_data_directory() {
    let google = google().await;
    let server = Setup::new(&google, &["AIza-good-1"]).start();
    let (code, said) = server.setup.start_in_vain();
    assert_eq!(code, Some(1));
    snapshot("data_directory_in_use", last_words(&said));
    assert_eq!(server.app().generate("gemini-2.5-flash", "Hello").await.0, 200, "the first goes on");
    let address = fs::read_to_string(server.setup.data().join("server.address")).unwrap();
    assert!(server.origin.ends_with(&address), "the command line still finds the first");
}

#[tokio::test]
async fn another_master_key_opens_nothing_and_harms_nothing() {
    let google = google().await;
    let setup = Setup::new(&google, &["AIza-good-1"]).with("MASTER_KEY", "the right master key");
    let setup = once(setup).await;
    let (code, said) = setup.clone().with("MASTER_KEY", "some other master key").start_in_vain();
    assert_eq!(code, Some(1));
    snapshot("wrong_master_key", last_words(&said));
    let server = setup.start();
    assert_eq!(server.app().generate("gemini-2.5-flash", "Hello").await.0, 200);
}

#[tokio::test]
async fn a_master_key_file_that_is_none_is_told_and_not_replaced() {
    let google = google().await;
    let setup = once(Setup::new(&google, &["AIza-good-1"])).await;
    let file = setup.data().join("master.key");
    let good = fs::read(&file).unwrap();
    let mut told = Vec::new();
    for bad in [&b""[..], b"\xff\xfe not text, but long enough to be a key", b"tooshort"] {
        fs::write(&file, bad).unwrap();
        let (code, said) = setup.start_in_vain();
        assert_eq!(code, Some(1));
        assert_eq!(fs::read(&file).unwrap(), bad, "left as it is");
        told.push(last_words(&said).to_owned());
    }
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    told.push(last_words(&setup.start_in_vain().1).to_owned());
    fs::remove_dir(&file).unwrap();
    snapshot("unreadable_master_key", &told.concat());
    fs::write(&file, good).unwrap();
    assert_eq!(setup.start().app().generate("gemini-2.5-flash", "Hello").await.0, 200);
}

#[tokio::test]
async fn a_lost_master_key_file_is_not_made_anew_over_sealed_secrets() {
    let google = google().await;
    let setup = once(Setup::new(&google, &["AIza-good-1"])).await;
    fs::remove_file(setup.data().join("master.key")).unwrap();
    let (code, said) = setup.start_in_vain();
    assert_eq!(code, Some(1));
    assert!(said.contains("MASTER_KEY"), "{said}");
    assert!(!setup.data().join("master.key").exists(), "a new one would only hide that the old one is gone");
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let google = google().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (code, said) = Setup::new(&google, &["AIza-good-1"]).with("PORT", &port).start_in_vain();
    assert_eq!(code, Some(1));
    snapshot("port_taken", &last_words(&said).replace(&port, "[port]"));
}

#[tokio::test]
async fn nobody_is_let_in_from_everywhere_without_a_key() {
    let google = google().await;
    let setup = Setup::new(&google, &["AIza-good-1"]).with("HOST", "0.0.0.0").with("ALLOWED_API_KEYS", "");
    let (code, said) = setup.start_in_vain();
    assert_eq!(code, Some(1));
    snapshot("open_to_all", last_words(&said));
    let server = setup.with("HOST", "").start();
    assert!(server.origin.starts_with("http://127.0.0.1:"), "without HOST it stays on this machine");
    assert_eq!(server.app_with(None).generate("gemini-2.5-flash", "Hello").await.0, 200);
}

#[tokio::test]
async fn a_second_start_complains_of_nothing() {
    let google = google().await;
    let setup = once(Setup::new(&google, &["AIza-good-1"])).await;
    let server = setup.start();
    assert_eq!(server.app().generate("gemini-2.5-flash", "Hello").await.0, 200);
    let said = server.stop().1;
    let complaints: Vec<&str> = said.lines().filter(|line| !line.contains("\"level\":\"INFO\"")).collect();
    assert_eq!(complaints, Vec::<&str>::new(), "it was stopped in good order");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target)
        } else {
            assert!(fs::copy(entry.path(), target).is_ok())
        }
    }
}

fn ending(setup: &Setup, end: &str) -> Vec<PathBuf> {
    let all = files(&setup.data().join("log"));
    all.into_iter().filter(|path| path.extension().is_some_and(|found| found == end)).collect()
}

/// Flips one byte of a copy and tries it: refused with a clear word, or unharmed.
fn try_flipped(setup: &Setup, whole: &[serde_json::Value], file: &Path, at: usize, wrong: &mut Vec<String>) {
    let mut spoiled = setup.clone().with("DATABASE_URL", "fjall:data");
    spoiled.folder = std::sync::Arc::new(tempfile::tempdir().unwrap());
    copy(&setup.data(), &spoiled.data());
    let path = spoiled.data().join(file.strip_prefix(setup.data()).unwrap());
    let mut bytes = fs::read(&path).unwrap();
    bytes[at] ^= 0xff;
    fs::write(&path, &bytes).unwrap();
    let output = spoiled.run(&["events", "list", "--json"], "");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let name = file.file_name().unwrap().display();
    if output.status.code() == Some(0) {
        let events: Vec<serde_json::Value> = String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        if events != whole {
            wrong.push(format!(
                "{name}, byte {at}: read without a word, with {} of {} events",
                events.len(),
                whole.len()
            ));
        }
        return;
    }
    if output.status.code() != Some(1)
        || told.contains("panicked")
        || !(told.contains("data/log") || told.contains("of the log"))
    {
        wrong.push(format!("{name}, byte {at}: exit {:?}: {told}", output.status.code()));
    }
    if fs::read(&path).is_ok_and(|now| now != bytes) {
        let left = fs::metadata(&path).unwrap().len();
        wrong.push(format!(
            "{name}, byte {at}: refused, but {left} of {} bytes are left: {told}",
            bytes.len()
        ));
    }
}

#[tokio::test]
async fn a_flipped_byte_in_the_log_is_refused_and_nothing_is_deleted() {
    let google = google().await;
    let setup = used(&google).await;
    let whole = setup.log();
    let [file] = &ending(&setup, "jnl")[..] else { panic!("one write-ahead file") };
    let length = usize::try_from(fs::metadata(file).unwrap().len()).unwrap();
    assert!(length < 100_000, "its room was cut off at the second start: {length}");
    let mut wrong = Vec::new();
    // A prime step, so that every part of a record is met.
    for at in (0..length).step_by(length / 60 + 1) {
        try_flipped(&setup, &whole, file, at, &mut wrong);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn a_flipped_byte_in_an_older_part_of_the_log_is_refused_too() {
    let google = google().await;
    let setup = once(Setup::new(&google, &["AIza-good-1"])).await;
    fill_a_table(&setup);
    let whole = setup.log();
    let mut wrong = Vec::new();
    for file in &tables(&setup) {
        let length = usize::try_from(fs::metadata(file).unwrap().len()).unwrap();
        for part in 1..6 {
            try_flipped(&setup, &whole, file, length * part / 6, &mut wrong);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Where the store keeps what it has sorted.
fn tables(setup: &Setup) -> Vec<PathBuf> {
    let all = files(&setup.data().join("log"));
    all.into_iter().filter(|path| path.components().any(|part| part.as_os_str() == "tables")).collect()
}

/// Appends to the log of a stopped pool until the store has written a table of it.
fn fill_a_table(setup: &Setup) {
    let journal = FjallJournal::open(&setup.data().join("log")).unwrap();
    let entries = journal.read(0, usize::MAX).unwrap();
    let mut hash = codec::ChainHash::START;
    for entry in &entries {
        hash = codec::decode(entry.seq, &entry.frame, Some(&hash)).unwrap().1;
    }
    let mut after = journal.last();
    for _ in 0..2_000 {
        let event = AdminLoginFailed { name: "x".repeat(100_000), address: String::new(), count: 1 };
        let (frame, next) = codec::encode(after + 1, 4_000_000_000_000, &event.into(), &hash).unwrap();
        journal.append(Batch { after, frames: &[frame.into()], secrets: &[] }).unwrap();
        (after, hash) = (after + 1, next);
        if after.is_multiple_of(50) && !tables(setup).is_empty() {
            break;
        }
    }
    assert!(!tables(setup).is_empty(), "{:?}", files(&setup.data()));
}
