//! Nobody reads the program's own log: a stuck log driver, a paused terminal.

use std::{
    io::Read,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use super::{FLASH, stage};
use crate::support::{App, CLIENT_KEY, http};

fn app(origin: &str) -> App {
    App { http: http(), origin: origin.to_owned(), key: Some(CLIENT_KEY.to_owned()) }
}

/// Says more than the pipe and the buffer behind it hold.
async fn fill(origin: &str) {
    let path = format!("{origin}/v1beta/models/{}:generateContent", "m".repeat(600));
    let client = http();
    let mut said = 0;
    while dropped(origin).await < 100.0 {
        let ask = async || {
            let request = client.post(&path).header("x-goog-api-key", CLIENT_KEY);
            let request = request.header("x-request-id", "i".repeat(120)).body("{}").send();
            let answer = tokio::time::timeout(Duration::from_secs(20), request).await;
            assert!(answer.is_ok_and(|answer| answer.is_ok()), "requests hang, because nobody reads the log");
        };
        futures_util::future::join_all((0..40).map(|_| ask())).await;
        said += 40;
        assert!(said < 8_000, "nothing was dropped of {said} lines");
    }
    eprintln!("{said} requests were answered, and nobody read their lines");
}

async fn dropped(origin: &str) -> f64 {
    let text = http().get(format!("{origin}/metrics")).send().await.unwrap().text().await.unwrap();
    let name = "gemini_pool_own_log_dropped_lines_total ";
    text.lines().find_map(|line| line.strip_prefix(name)).unwrap().parse().unwrap()
}

fn ask_to_stop(child: &mut Child) -> Duration {
    let began = Instant::now();
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    let status = child.wait().unwrap();
    assert!(status.success(), "{status}");
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_go_on_when_nobody_reads_the_log() {
    let (google, setup) = stage().await;
    let (mut unread, stderr) = std::io::pipe().unwrap();
    let (mut child, origin) = setup.start_with_stderr(Stdio::from(stderr));
    fill(&origin).await;
    assert_eq!(http().get(format!("{origin}/readyz")).send().await.unwrap().status(), 200);
    assert_eq!(app(&origin).generate(FLASH, "Hello").await.0, 200);
    // A reader comes back: what waited is there, and then how much is missing.
    let (told, lines) = mpsc::channel::<String>();
    let reader = std::thread::spawn(move || {
        let (mut read, mut all) = (vec![0; 1 << 16], Vec::new());
        while let Ok(length @ 1..) = unread.read(&mut read) {
            all.extend_from_slice(&read[..length]);
            while let Some(end) = all.iter().position(|byte| *byte == b'\n') {
                let line = String::from_utf8(all.drain(..=end).collect()).unwrap();
                let _ = told.send(line);
            }
        }
    });
    let mut read = 0;
    let notice = loop {
        let line = lines.recv_timeout(Duration::from_secs(30)).expect("the log says what is missing");
        read += 1;
        if line.contains("were dropped because nobody read it") {
            break serde_json::from_str::<serde_json::Value>(&line).unwrap();
        }
    };
    assert!(read > 100, "only {read} lines had waited");
    let missing = notice["lines"].as_u64().unwrap();
    assert!(missing > 50 && missing as f64 <= dropped(&origin).await, "{notice}");
    assert_eq!(notice["level"], "WARN");
    // From now on every line is out at once again.
    assert_eq!(app(&origin).generate(FLASH, "Hello").await.0, 200);
    let line = lines.recv_timeout(Duration::from_secs(10)).unwrap();
    assert!(line.contains("\"status\":200"), "{line}");
    let stopped = ask_to_stop(&mut child);
    assert!(stopped < Duration::from_secs(10), "{stopped:?}");
    reader.join().unwrap();
    drop(google);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_ends_though_nobody_reads_its_log() {
    let (_google, setup) = stage().await;
    let (_unread, stderr) = std::io::pipe().unwrap();
    let (mut child, origin) = setup.start_with_stderr(Stdio::from(stderr));
    fill(&origin).await;
    let stopped = ask_to_stop(&mut child);
    assert!(stopped < Duration::from_secs(10), "{stopped:?}");
    let log = setup.log();
    assert_eq!(log.last().unwrap()["type"], "ServerStopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_is_gone_for_good_is_not_missed() {
    let (_google, setup) = stage().await;
    let (unread, stderr) = std::io::pipe().unwrap();
    let (mut child, origin) = setup.start_with_stderr(Stdio::from(stderr));
    drop(unread);
    for _ in 0..20 {
        assert_eq!(app(&origin).generate(FLASH, "Hello").await.0, 200);
    }
    let stopped = ask_to_stop(&mut child);
    assert!(stopped < Duration::from_secs(10), "{stopped:?}");
}
