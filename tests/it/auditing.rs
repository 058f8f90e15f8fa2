//! The log's proof and its retention, on a real server's log.

use std::{process::Output, sync::Arc};

use gemini_pool::{
    journal::{Batch, Frame, Journal, fjall::FjallJournal},
    ledger::{Fact, Ledger, clock::Clock},
    simulated::{SimulatedGoogle, World},
};
use projections::{
    Millis, RequestId,
    event::{Answered, Outcome},
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Operator, Setup, of_type};

const KEY: &str = "AIza-first-0001";
const DAY: Millis = 24 * 3_600_000;

async fn google() -> SimulatedGoogle {
    SimulatedGoogle::start(World::new().key("alpha", KEY)).await.unwrap()
}

fn verify(setup: &Setup) -> (Option<i32>, Value) {
    let Output { status, stdout, stderr } = setup.run(&["audit", "verify", "--json"], "");
    let report = serde_json::from_slice(&stdout).unwrap_or_else(|error| {
        panic!("{error}: {} {}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr))
    });
    (status.code(), report)
}

/// The report of an audit over the admin API, once it has ended.
async fn audited(operator: &Operator) -> Value {
    let (status, view) = operator.call(Method::POST, "/audit", None).await;
    assert_eq!(status, 202, "{view}");
    loop {
        let (status, view) = operator.call(Method::GET, "/audit", None).await;
        assert_eq!(status, 200, "{view}");
        if view["running"].is_null() {
            return view["last"].clone();
        }
    }
}

/// The last two records of a stopped pool's log, the other way round.
fn swap_the_last_two(setup: &Setup) -> u64 {
    let journal = FjallJournal::open(&setup.data().join("log")).unwrap();
    let last = journal.last();
    let frames: Vec<Frame> =
        journal.read_back(last + 1, 2).unwrap().into_iter().map(|entry| entry.frame.into()).collect();
    journal.cut(last - 2).unwrap();
    journal.append(Batch { after: last - 2, frames: &frames, secrets: &[] }).unwrap();
    journal.sync().unwrap();
    last - 1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_proven_on_a_running_and_on_a_stopped_pool_and_damage_is_named() {
    let google = google().await;
    let server = Setup::new(&google, &[KEY]).start();
    let operator = server.operator().await;
    assert_eq!(operator.call(Method::GET, "/audit", None).await.1, json!({"running": null, "last": null}));
    for _ in 0..5 {
        assert_eq!(server.app().generate("gemini-2.5-flash", "hello").await.0, 200);
    }
    let answered = operator.events_of("Answered", 5).await.len() as u64;
    let report = audited(&operator).await;
    assert_eq!((&report["intact"], &report["findings"]), (&json!(true), &json!([])), "{report}");
    assert!(report["records"].as_u64().unwrap() > answered);
    assert_eq!(report["records"], report["through"]);
    let (code, report) = verify(&server.setup);
    assert_eq!((code, &report["findings"]), (Some(0), &json!([])), "{report}");

    let (setup, _) = server.stop();
    let (code, report) = verify(&setup);
    assert_eq!(
        (code, &report["findings"], &report["checkpoints"]),
        (Some(0), &json!([]), &json!(1)),
        "{report}"
    );
    let place = swap_the_last_two(&setup);
    let (code, report) = verify(&setup);
    let finding = &report["findings"][0];
    assert_eq!(
        (code, &report["intact"], &finding["seq"]),
        (Some(1), &json!(false), &json!(place)),
        "{report}"
    );
    assert!(finding["what"].as_str().unwrap().contains("in another one's place"), "{report}");
    let plain = setup.run(&["audit", "verify"], "");
    let told = String::from_utf8(plain.stdout).unwrap();
    assert!(told.contains(&format!("event {place} (ServerStopped, ")), "{told}");
    assert!(told.trim_end().ends_with("The log is damaged."), "{told}");
}

fn answered(request: RequestId, started: Millis) -> Answered {
    Answered {
        request,
        client: None,
        address: "::1".to_owned(),
        verb: "POST".to_owned(),
        path: "/v1beta/models/gemini-2.5-flash:generateContent".to_owned(),
        model: "gemini-2.5-flash".to_owned(),
        method: "generateContent".to_owned(),
        streamed: false,
        started,
        duration_ms: 1,
        first_byte_ms: None,
        status: 200,
        attempts: 1,
        outcome: Outcome::Complete,
        reason: None,
        bytes: 0,
        waited_ms: 0,
    }
}

/// Traffic of 40 days ago and of today in a log that nobody has open.
async fn history(setup: &Setup, now: Millis) {
    for at in [now - 40 * DAY, now - 35 * DAY, now - DAY] {
        let journal = Arc::new(FjallJournal::open(&setup.data().join("log")).unwrap());
        let ledger = Ledger::open(journal, Clock::driven(move || at), || 3, Vec::new()).unwrap();
        for number in 0..10 {
            let request = RequestId(at as u128 * 100 + number);
            let answered = answered(request, at);
            ledger.reserve().await.unwrap().record_and_fold(Fact::Answered(Box::new(answered))).await;
        }
        ledger.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn old_traffic_goes_when_its_days_are_over_and_the_rest_is_proven() {
    let google = google().await;
    let setup = Setup::new(&google, &[KEY]).with("LOG_RETENTION_DAYS", "30");
    std::fs::create_dir_all(setup.data()).unwrap();
    let now = Clock::system().now();
    history(&setup, now).await;
    let server = setup.start();
    server.wait_for_line("old traffic was dropped from the log");
    let operator = server.operator().await;
    let log = operator.events().await;
    let trim = &of_type(&log, "LogTrimmed")[0];
    assert_eq!(
        (&trim["after"], &trim["through"], &trim["dropped"], &trim["kept"]),
        (&json!(0), &json!(20), &json!(20), &json!(0)),
    );
    assert_eq!(of_type(&log, "Answered").len(), 10, "those of yesterday");
    assert!(log.windows(2).all(|pair| pair[0]["seq"].as_u64() < pair[1]["seq"].as_u64()));
    assert_eq!(server.app().generate("gemini-2.5-flash", "hello").await.0, 200);
    let report = audited(&operator).await;
    assert_eq!(
        (&report["intact"], &report["trims"], &report["dropped"]),
        (&json!(true), &json!(1), &json!(20)),
        "{report}"
    );

    let setup = server.kill();
    let (code, report) = verify(&setup);
    assert_eq!((code, &report["dropped"]), (Some(0), &json!(20)), "{report}");
    let server = setup.start();
    assert_eq!(server.app().generate("gemini-2.5-flash", "hello").await.0, 200);
    let (setup, _) = server.stop();
    assert_eq!(verify(&setup).0, Some(0));

    // What the pool had counted before the trim is in a backup too, and what is restored is as sound.
    let file = setup.folder.path().join("one.backup").display().to_string();
    let into = setup.folder.path().join("elsewhere");
    let there = into.to_str().unwrap();
    let well = |arguments: &[&str]| {
        let Output { status, stdout, stderr } = setup.run(arguments, "");
        let said = String::from_utf8_lossy(&stderr).into_owned();
        assert!(status.success() && !said.contains("is gone"), "{said}");
        serde_json::from_slice::<Value>(&stdout).unwrap_or_default()
    };
    well(&["backup", &file]);
    well(&["restore", &file, "--into", there]);
    std::fs::copy(setup.data().join("master.key"), into.join("master.key")).unwrap();
    let report = well(&["--data-dir", there, "audit", "verify", "--json"]);
    assert_eq!((&report["intact"], &report["dropped"]), (&json!(true), &json!(20)), "{report}");
    let [before, after] = [vec![], vec!["--data-dir", there]].map(|first: Vec<&str>| {
        let status = well(&[&first[..], &["status", "--range", "30d", "--json"]].concat());
        (status["traffic"]["requests"].clone(), status["keys"].clone())
    });
    assert_eq!(after, before);
}
