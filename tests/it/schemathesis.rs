//! The admin API under Schemathesis: what its document promises, asked thousands of times in ways nobody thinks of.
//!
//! With a token all checks, stateful ones among them; without one nothing is to be had. It lives in a virtual
//! environment that `tests/run` makes; where there is none, these tests are skipped and say so.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Stdio},
};

use gemini_pool::simulated::{SimulatedGoogle, World};
use serde_json::Value;

use crate::support::{Operator, Server, Setup};

/// The interpreter, where there is one. `tests/run` names it, and then it must be there.
fn python() -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "tests/run says where it installed what tests need")]
    let told = std::env::var("GEMINI_POOL_TEST_PY_SCHEMATHESIS");
    if let Ok(told) = told {
        return Some(told);
    }
    let usual = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venvs/schemathesis/bin/python");
    if usual.exists() {
        return Some(usual.display().to_string());
    }
    crate::support::skipped("Schemathesis is not installed here; tests/run does that");
    None
}

async fn stage() -> (SimulatedGoogle, Server) {
    let keys: Vec<String> = (1..=9).map(|number| format!("AIza-for-schemathesis-{number}")).collect();
    let mut world = World::new();
    for (number, key) in keys.iter().enumerate() {
        world = world.key(&format!("project-{}", number % 4), key);
    }
    let google = SimulatedGoogle::start(world).await.unwrap();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let server = Setup::new(&google, &keys).start();
    (google, server)
}

/// Runs some of its phases for so many seconds; panics with what it found, and where one of them asked nothing: it skips
/// phases that it has no time for, and calls that a success.
async fn run(python: &str, server: &Server, phases: &[&str], seconds: u32, more: &[&str]) {
    let report = server.setup.folder.path().join("schemathesis.ndjson");
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schemathesis.toml");
    let mut command = Command::new(python);
    command
        .args(["-m", "schemathesis.cli", "--config-file"])
        .arg(config)
        .arg("run")
        .arg(format!("{}/api/openapi.json", server.origin))
        .args(["--url", &format!("{}/api", server.origin)])
        // All checks, as long as none is named here: that would win over what the configuration says of an operation.
        .args(["--continue-on-failure", "--no-color", "--seed", "20261123"])
        .args(["--max-time", &seconds.to_string(), "--phases", &phases.join(",")])
        .args(["--report", "ndjson", "--report-ndjson-path"])
        .arg(&report)
        .args(more)
        .current_dir(server.setup.folder.path())
        .env("NO_PROXY", "*")
        .stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("Tested: "), "it asked nothing:\n{said}");
    let longest = longest_scenarios(&fs::read_to_string(report).unwrap());
    for phase in phases {
        // In a stateful one a call follows from the answer to another.
        let wanted = if *phase == "stateful" { 2 } else { 1 };
        let calls = longest.get(*phase).copied().unwrap_or_default();
        assert!(calls >= wanted, "{phase} asked {calls} calls at most in one go:\n{said}");
    }
}

/// By phase, how many calls the longest scenario that went well had; by its report, an event a line.
fn longest_scenarios(report: &str) -> BTreeMap<String, usize> {
    let mut longest = BTreeMap::<String, usize>::new();
    for line in report.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let scenario = &event["ScenarioFinished"];
        if scenario["status"] == "success" {
            let calls = scenario["recorder"]["cases"].as_object().map_or(0, |cases| cases.len());
            let most = longest.entry(scenario["phase"].as_str().unwrap().to_owned()).or_default();
            *most = calls.max(*most);
        }
    }
    longest
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_one_that_the_document_promises() {
    let Some(python) = python() else { return };
    let (_google, server) = stage().await;
    let operator = server.operator().await;
    let header = format!("Authorization: Bearer {}", operator.token());
    // It would end its own session.
    let more = ["--header", &header, "--max-examples", "20", "--exclude-path", "/logout"];
    run(&python, &server, &["examples", "coverage", "fuzzing"], 60, &more).await;
    // By itself, so that on a slow machine the others do not take its time.
    run(&python, &server, &["stateful"], 20, &more).await;
    // It asked for wrong logins too; whoever is in stays in, and the pool serves.
    let (status, _) = operator.call(reqwest::Method::GET, "/keys", None).await;
    assert_eq!(status, 200);
    let (_, said) = server.stop();
    assert!(!said.contains("panic"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_nothing_is_to_be_had() {
    let Some(python) = python() else { return };
    let (_google, server) = stage().await;
    let before = Operator::at(&server.origin).await.events().await.len();
    run(&python, &server, &["examples", "coverage", "fuzzing"], 30, &["--max-examples", "10"]).await;
    let (_, said) = (server.app(), server.output());
    assert!(!said.contains("panic"), "{said}");
    let log = server.stop().0.log();
    let more = log.iter().skip(before).map(|event| event["type"].as_str().unwrap().to_owned());
    let more: std::collections::BTreeSet<String> = more.collect();
    let expected = ["AdminLoggedIn", "AdminLoginFailed", "AdminLoginsDelayed", "ServerStopped"];
    assert!(more.iter().all(|kind| expected.contains(&kind.as_str())), "{more:?}");
}
