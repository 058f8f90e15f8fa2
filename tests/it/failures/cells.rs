//! The cells of the matrix: for each operation what it comes to under each failure.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{Before, Failure, SLOW, Stage};
use crate::support::{http, of_type};

/// An operation for each failure, by name.
macro_rules! matrix {
    ($($operation:ident)*) => {$(
        mod $operation {
            use super::super::Failure;

            #[tokio::test(flavor = "multi_thread")]
            async fn without_descriptors() {
                super::$operation(Failure::Descriptors).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn without_room() {
                super::$operation(Failure::Room).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn on_a_disk_that_turned_read_only() {
                super::$operation(Failure::Writing).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn on_a_slow_disk() {
                super::$operation(Failure::Speed).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn with_a_log_that_nobody_reads() {
                super::$operation(Failure::Reader).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn with_the_clock_set_back() {
                super::$operation(Failure::Time).await;
            }
        }
    )*};
}

matrix!(start traffic change scrape backup stop);

/// A start under a failure serves, or names what is missing and where.
async fn start(failure: Failure) {
    let Some(before) = Before::of(failure).await else { return };
    // There is a log already, of a good day.
    let server = before.setup.clone().start();
    assert_eq!(server.app().generate("gemini-2.5-flash", "before").await.0, 200);
    let (setup, _) = server.stop();
    let last = times(&setup.log()).last().copied().unwrap().to_owned();
    before.trouble();
    let refused = |setup: crate::support::Setup, words: &[&str]| {
        let (code, said) = setup.start_in_vain();
        assert_eq!(code, Some(1), "{said}");
        assert!(!said.contains("panic"), "{said}");
        words.iter().for_each(|word| assert!(said.contains(word), "{word} is not in:\n{said}"));
    };
    match failure {
        Failure::Descriptors => {
            let server = setup.with_descriptors(64).start();
            assert_eq!(server.app().generate("gemini-2.5-flash", "Hello").await.0, 200);
            server.wait_for_line("ulimit -n");
        }
        // A start takes no room for a log that ended well.
        Failure::Room => {
            let server = setup.start();
            assert_eq!(server.app().generate("gemini-2.5-flash", "Hello").await.0, 200);
        }
        Failure::Writing => refused(setup, &["Read-only file system", "[folder]/data"]),
        Failure::Speed => {
            let began = Instant::now();
            let server = setup.start();
            assert!(began.elapsed() < 6 * SLOW, "{:?}", began.elapsed());
            assert_eq!(server.app().generate("gemini-2.5-flash", "Hello").await.0, 200);
        }
        Failure::Reader => start_unheard(&setup).await,
        Failure::Time => {
            let server = setup.start();
            assert_eq!(server.app().generate("gemini-2.5-flash", "Hello").await.0, 200);
            let log = server.stop().0.log();
            let times = times(&log);
            assert!(times.is_sorted() && last.as_str() <= *times.last().unwrap(), "time goes on: {times:?}");
        }
    }
}

/// A server whose standard error is a full pipe from its first word on.
async fn start_unheard(setup: &crate::support::Setup) {
    let mut child = Command::new("sh");
    // A pipe that is full, and whose reader only lives.
    let fill = "mkfifo full; sleep 60 <full & exec 3>full; \
                dd if=/dev/zero of=/proc/self/fd/3 bs=4096 count=64 oflag=nonblock 2>/dev/null; exec \"$0\" serve 2>&3";
    let mut server = setup.wrapped(child.args(["-c", fill])).stderr(Stdio::null()).spawn().unwrap();
    let began = Instant::now();
    let origin = loop {
        assert!(began.elapsed() < Duration::from_secs(30), "it does not listen");
        if let Ok(address) = std::fs::read_to_string(setup.data().join("server.address")) {
            break format!("http://{address}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let ready = http().get(format!("{origin}/readyz")).send().await.unwrap();
    assert_eq!(ready.status(), 200);
    server.kill().unwrap();
    server.wait().unwrap();
}

/// Requests go on, and what became of them is recorded, or counted where it cannot be.
async fn traffic(failure: Failure) {
    let Some(mut stage) = Stage::of(failure).await else { return };
    stage.until_it_shows().await;
    let began = Instant::now();
    for number in 0..20 {
        let (status, answer) = stage.app.generate("gemini-2.5-flash", &format!("Hello {number}")).await;
        assert_eq!(status, 200, "{answer}");
    }
    assert!(began.elapsed() < Duration::from_secs(5), "traffic does not wait: {:?}", began.elapsed());
    let lost = matches!(failure, Failure::Room | Failure::Writing);
    assert_eq!(stage.ready().await, !lost);
    stage.end();
    if failure != Failure::Writing {
        stage.until_ready().await;
    }
    let google = stage.google.seen_count();
    let (setup, said, _, _machine) = stage.stop().await;
    assert!(!said.contains("panic"), "{said}");
    if failure == Failure::Writing {
        return;
    }
    let log = setup.log();
    let times = times(&log);
    assert!(times.is_sorted(), "{times:?}");
    let recorded = of_type(&log, "Answered").len() as u64;
    let gaps = of_type(&log, "LogGap");
    assert_eq!(gaps.len(), usize::from(lost), "{gaps:?}");
    // Each request is two facts: a try, and an answer.
    let unrecorded: u64 = gaps.iter().map(|gap| gap["unrecorded"].as_u64().unwrap()).sum();
    let attempted = of_type(&log, "Attempted").len() as u64;
    assert_eq!(
        recorded + attempted + unrecorded,
        2 * google,
        "{recorded} {attempted} {unrecorded} of {google}"
    );
    let audit = setup.run(&["audit", "verify"], "");
    assert!(audit.status.success(), "{}", String::from_utf8_lossy(&audit.stderr));
}

/// A change is acknowledged when it is safe, in time, or refused with the reason, and then it does not happen later.
async fn change(failure: Failure) {
    let Some(mut stage) = Stage::of(failure).await else { return };
    stage.until_it_shows().await;
    let began = Instant::now();
    let mut answers = Vec::new();
    if failure == Failure::Descriptors {
        // There is one connection, and no other can be had.
        answers.push(stage.change().await);
    } else {
        let changes: [_; 6] = std::array::from_fn(|_| stage.change());
        answers.extend(futures_util::future::join_all(changes).await);
    }
    let took = began.elapsed();
    let lost = matches!(failure, Failure::Room | Failure::Writing);
    for (status, answer) in &answers {
        if lost {
            assert_eq!((*status, &answer["code"]), (503, &json!("log_unavailable")), "{answer}");
        } else {
            assert_eq!(*status, 200, "{answer}");
        }
    }
    // One sync that was under way, and one for all that waited.
    let most = if failure == Failure::Speed { 2 * SLOW } else { Duration::ZERO } + Duration::from_secs(2);
    assert!(took < most, "six changes took {took:?}");
    let label = stage.operator.keys().await[0]["label"].clone();
    assert_eq!(label == json!("changed"), !lost, "{label}");
    stage.end();
    if failure != Failure::Writing {
        stage.until_ready().await;
        assert_eq!(stage.change().await.0, 200, "and afterwards");
    }
}

/// The scraper is answered at once, and sees the failure.
async fn scrape(failure: Failure) {
    let Some(stage) = Stage::of(failure).await else { return };
    stage.until_it_shows().await;
    let began = Instant::now();
    let failed = stage.sample("gemini_pool_log_failed").await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    let lost = matches!(failure, Failure::Room | Failure::Writing);
    assert!((failed > 0.0) == lost, "{failed}");
    assert!((stage.sample("gemini_pool_unrecorded_total").await > 0.0) == lost);
    let dropped = stage.sample("gemini_pool_own_log_dropped_lines_total").await;
    // What waits for the reader is kept up to a mebibyte, which so few requests do not fill: `doors` fills it.
    assert!(dropped.abs() < f64::EPSILON, "{dropped}");
}

/// A backup is whole, or refused with the reason, and then leaves nothing behind.
async fn backup(failure: Failure) {
    let Some(mut stage) = Stage::of(failure).await else { return };
    stage.until_it_shows().await;
    let began = Instant::now();
    let lost = matches!(failure, Failure::Room | Failure::Writing);
    let url = format!("{}/api/backup", stage.server.origin);
    let answer = stage.app.http.get(url).bearer_auth(stage.operator.token()).send().await.unwrap();
    if lost {
        assert_eq!(answer.status(), 503);
        assert_eq!(answer.json::<Value>().await.unwrap()["code"], "log_unavailable");
        // Nor onto the disk itself.
        let target = stage.server.setup.data().join("here.backup");
        let output = stage.server.setup.run(&["backup", target.to_str().unwrap()], "");
        assert!(!output.status.success());
        let left = ["here.backup", "here.backup.part"].map(|name| target.with_file_name(name).exists());
        assert_eq!(left, [false; 2], "{}", String::from_utf8_lossy(&output.stderr));
        stage.end();
    } else {
        assert_eq!(answer.status(), 200);
        let bytes = answer.bytes().await.unwrap();
        assert!(began.elapsed() < 3 * SLOW, "{:?}", began.elapsed());
        let file = stage.server.setup.folder.path().join("one.backup");
        std::fs::write(&file, bytes).unwrap();
        // What is restored elsewhere is not this machine's trouble.
        stage.end();
        let into = stage.server.setup.folder.path().join("restored");
        let arguments = ["restore", file.to_str().unwrap(), "--into", into.to_str().unwrap()];
        let output = stage.server.setup.run(&arguments, "");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// The stop is in good order and in time, whatever is missing.
async fn stop(failure: Failure) {
    let Some(stage) = Stage::of(failure).await else { return };
    stage.until_it_shows().await;
    let (_, said, took, _machine) = stage.stop().await;
    // One sync that was under way, and those of the last event, the checkpoint and the end.
    let most = if failure == Failure::Speed { 4 * SLOW } else { Duration::ZERO } + Duration::from_secs(3);
    assert!(took < most, "{took:?}");
    assert!(!said.contains("panic"), "{said}");
}

/// When the events of a log were; the texts sort as the times do.
fn times(log: &[Value]) -> Vec<&str> {
    log.iter().map(|event| event["at"].as_str().unwrap()).collect()
}
