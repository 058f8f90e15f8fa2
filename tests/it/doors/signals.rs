//! Signals: who asks twice, and who asks for the settings to be read again.

use std::{
    fs,
    os::unix::process::ExitStatusExt,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use gemini_pool::simulated::{End, Failure, Fault, SimulatedGoogle, World};
use reqwest::Method;
use serde_json::Value;

use super::stage;
use crate::support::{App, CLIENT_KEY, Setup, ask, http};

const SSE: &str = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse";

#[tokio::test(flavor = "multi_thread")]
async fn the_second_signal_ends_the_program_at_once() {
    for (first, second, code) in [("-TERM", "-TERM", 143), ("-INT", "-INT", 130), ("-TERM", "-INT", 130)] {
        let world = World::new().key("alpha", "AIza-good-1");
        let world = world.fault(Fault::always(Failure::Stall { after: 2, lasts: None }));
        let google = SimulatedGoogle::start(world).await.unwrap();
        let setup = Setup::new(&google, &["AIza-good-1"]).with("SHUTDOWN_TIMEOUT", "600");
        let (mut child, origin) = setup.start_with_stderr(Stdio::null());
        let app = App { http: http(), origin, key: Some(CLIENT_KEY.to_owned()) };
        let mut answer = app.post(SSE, &ask("Hello")).send().await.unwrap();
        answer.chunk().await.unwrap().unwrap();
        let pid = child.id().to_string();
        let send = |name: &str| Command::new("kill").args([name, &pid]).status().unwrap();
        assert!(send(first).success());
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(child.try_wait().unwrap().is_none(), "the first one waits for the stream");
        let began = Instant::now();
        assert!(send(second).success());
        let status = tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
        assert_eq!((status.code(), status.signal()), (Some(code), None), "{first} {second}");
        google.wait_for(|seen| seen[0].end == End::ClientLeft).await;
        // Nothing that was acknowledged is lost.
        let log = setup.log();
        assert!(log.iter().any(|event| event["type"] == "ServerStarted"), "{log:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_reads_the_settings_again() {
    let (_google, setup) = stage().await;
    let dot_env = setup.folder.path().join(".env");
    fs::write(&dot_env, "MAX_ATTEMPTS=5\n").unwrap();
    let server = setup.start();
    let operator = server.operator().await;
    let in_force = async || -> Value {
        let (_, answer) = operator.call(Method::GET, "/settings", None).await;
        let all = answer["settings"].as_array().unwrap().clone();
        all.into_iter().find(|setting| setting["name"] == "MAX_ATTEMPTS").unwrap()["value"].clone()
    };
    assert_eq!(in_force().await, "5");
    fs::write(&dot_env, "MAX_ATTEMPTS=7\nADMIN_USERNAME=root\n").unwrap();
    server.signal("-HUP");
    let line = server.wait_for_line("wait for the next start: ADMIN_USERNAME");
    assert!(line.contains("\"level\":\"WARN\""), "{line}");
    assert_eq!(in_force().await, "7");
    fs::write(&dot_env, "MAX_ATTEMPTS=none\n").unwrap();
    server.signal("-HUP");
    server.wait_for_line("the settings stay as they are");
    assert_eq!(in_force().await, "7");
    assert_eq!(server.app().generate("gemini-2.5-flash", "Hello").await.0, 200);
    server.stop();
}
