//! How sessions end: by either side, by silence, by size, by the stop of the server.

use std::time::Instant;

use gemini_pool::simulated::{End, Failure, Fault};

use super::*;
use crate::support::{of_type, raw};

async fn good() -> (SimulatedGoogle, Server) {
    stage(world().key("alpha", "AIza-good-1"), &["AIza-good-1"]).await
}

#[tokio::test]
async fn close_codes_pass_both_ways() {
    for (code, reason) in [(1000, ""), (1001, "leaving"), (4321, "鑰匙")] {
        let (google, server) = good().await;
        let mut socket = open(&server).await;
        close(&mut socket, code, reason).await;
        let seen = seen(&google, |seen| seen.end != End::Open).await;
        assert_eq!((seen.end, seen.closed), (End::Whole, Some((code, reason.to_owned()))));
        assert_eq!(recorded(&server, 1).await.1["outcome"], "complete");
    }
    for (code, outcome) in [(1000, "complete"), (1001, "complete"), (1008, "truncated"), (4000, "truncated")]
    {
        let fault = Failure::CloseLive { after: 2, code, reason: "that is all".to_owned() };
        let world = world().key("alpha", "AIza-good-1").fault(Fault::always(fault));
        let (_google, server) = stage(world, &["AIza-good-1"]).await;
        let mut socket = open(&server).await;
        socket.send(turn("hello")).await.unwrap();
        hear(&mut socket).await;
        assert_eq!(closed(&mut socket).await, (code, "that is all".to_owned()));
        let (tries, answered) = recorded(&server, 1).await;
        assert_eq!(answered["outcome"], outcome);
        assert_eq!(tries[0]["finish_reason"], format!("GOOGLE_CLOSED_{code}"));
    }
}

/// All sessions together have the memory that bodies have, and no more.
#[tokio::test]
async fn sessions_are_held_to_the_memory_there_is() {
    let google = SimulatedGoogle::start(world().key("alpha", "AIza-good-1")).await.unwrap();
    let small = Setup::new(&google, &["AIza-good-1"]).with("MAX_BODY_BYTES", "1024");
    // Room for two.
    let server = small.with("BODY_MEMORY_BYTES", "262144").start();
    let (mut first, mut second) = (open(&server).await, open(&server).await);
    let Err(Error::Http(refused)) = dial(&server.origin, PATH, &[("x-goog-api-key", CLIENT_KEY)]).await
    else {
        panic!("a third one was let in")
    };
    assert_eq!(refused.status(), 503);
    first.send(turn(&"x".repeat(1 << 20))).await.unwrap();
    let (code, text) = closed(&mut first).await;
    assert!(code == 1013 && text.contains("BODY_MEMORY_FULL"), "{code} {text}");
    // The other one goes on, and what the first had is there again.
    talk(&mut second, "Hello").await;
    drop(first);
    let mut third = soon(async {
        loop {
            if let Ok((socket, _)) = dial(&server.origin, PATH, &[("x-goog-api-key", CLIENT_KEY)]).await {
                return socket;
            }
        }
    })
    .await;
    third.send(setup(LIVE)).await.unwrap();
    assert_eq!(hear(&mut third).await, json!({"setupComplete": {}}));
}

#[tokio::test]
async fn a_key_that_is_echoed_is_masked() {
    let (_google, server) = good().await;
    let mut socket = open(&server).await;
    let (answer, _) = talk(&mut socket, "say AIza-good-1").await;
    assert!(answer.contains("say ***********"), "{answer}");
}

#[tokio::test]
async fn a_client_that_vanishes_ends_the_session_at_google() {
    let (google, server) = good().await;
    // In the middle of a session; before Google's first word; and before its own.
    let mut socket = open(&server).await;
    talk(&mut socket, "hello").await;
    drop(socket);
    let gone = seen(&google, |seen| seen.end != End::Open).await;
    assert_eq!(gone.closed, Some((1001, "Gemini-Pool: the client left".to_owned())));
    google.edit(|world| world.faults.push(Fault::times(1, Failure::HoldFirstByte)));
    let mut socket = session(&server).await;
    socket.send(setup(LIVE)).await.unwrap();
    soon(google.wait_for(|seen| seen.len() == 2)).await;
    drop(socket);
    drop(session(&server).await);
    let operator = server.operator().await;
    let answered = operator.events_of("Answered", 3).await;
    assert!(answered.iter().all(|answered| answered["outcome"] == "cancelled"), "{answered:?}");
    let tries = operator.events_of("Attempted", 2).await;
    assert!(tries.iter().all(|attempt| attempt["verdict"] == "cancelled"), "{tries:?}");
    assert!(tries[0]["tokens"]["total"].as_u64().unwrap() > 0, "what was counted counts");
    operator.events_of("GateClosed", 0).await;
}

#[tokio::test]
async fn silence_is_asked_after_and_ends_the_session_only_where_nobody_answers() {
    let google = SimulatedGoogle::start(world().key("alpha", "AIza-good-1")).await.unwrap();
    let server = Setup::new(&google, &["AIza-good-1"]).with("STREAM_IDLE_TIMEOUT", "2").start();
    // One that answers pings while it says nothing, which reading does by itself.
    let mut patient = open(&server).await;
    // And one that reads no more: to the server it is dead.
    let dead = open(&server).await;
    let began = Instant::now();
    let mut pings = 0;
    while pings < 4 {
        if soon(patient.next()).await.unwrap().unwrap().is_ping() {
            pings += 1;
        }
    }
    assert!(began.elapsed() >= Duration::from_secs(2), "longer than it may be silent");
    assert!(talk(&mut patient, "still here").await.0.contains("still here"));
    let operator = server.operator().await;
    let answered = operator.events_of("Answered", 1).await;
    assert_eq!(answered[0]["outcome"], "cancelled");
    drop((dead, patient));
}

#[tokio::test]
async fn messages_are_bounded() {
    let (google, server) = good().await;
    let large = "x".repeat(20 << 20);
    // The first message, and a later one.
    for opened in [false, true] {
        let address = server.origin.strip_prefix("http://").unwrap();
        let mut request = format!("ws://{address}{PATH}").into_client_request().unwrap();
        request.headers_mut().insert("x-goog-api-key", CLIENT_KEY.parse().unwrap());
        let socket = TcpStream::connect(address).await.unwrap();
        let connected = tokio_tungstenite::client_async_with_config(request, socket, no_limit()).await;
        let mut socket = connected.unwrap().0;
        if opened {
            socket.send(setup(LIVE)).await.unwrap();
            hear(&mut socket).await;
        }
        soon(socket.send(Message::text(large.as_str()))).await.unwrap();
        let (code, text) = closed(&mut socket).await;
        assert_eq!(code, 1009, "{text}");
        assert!(text.contains("MESSAGE_TOO_LARGE") && text.contains("16777216"), "{text}");
    }
    assert_eq!(google.seen_count(), 1);
    seen(&google, |seen| seen.end != End::Open).await;
    let answered = server.operator().await.events_of("Answered", 2).await;
    assert!(answered.iter().all(|answered| answered["reason"] == "MESSAGE_TOO_LARGE"), "{answered:?}");
}

#[tokio::test]
async fn broken_frames_are_told_as_such() {
    let (google, server) = good().await;
    let mut socket = session(&server).await;
    // A reserved operation, not masked.
    tokio::io::AsyncWriteExt::write_all(socket.get_mut(), &[0x8b, 0x00]).await.unwrap();
    assert_eq!(closed(&mut socket).await.0, 1002);
    assert_eq!(google.seen_count(), 0);
}

#[tokio::test]
async fn a_session_without_a_first_message_does_not_last() {
    let google = SimulatedGoogle::start(world().key("alpha", "AIza-good-1")).await.unwrap();
    let server = Setup::new(&google, &["AIza-good-1"]).with("REQUEST_TIMEOUT", "2").start();
    let began = Instant::now();
    let mut socket = session(&server).await;
    let (code, text) = closed(&mut socket).await;
    assert_eq!((code, google.seen_count()), (1008, 0));
    assert!(text.contains("NO_SETUP") && text.contains("2 s"), "{text}");
    assert!(began.elapsed() >= Duration::from_secs(2));
    let answered = server.operator().await.events_of("Answered", 1).await;
    assert_eq!((&answered[0]["outcome"], &answered[0]["reason"]), (&"refused".into(), &"NO_SETUP".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stop_says_goodbye_to_every_session() {
    let google = SimulatedGoogle::start(world().key("alpha", "AIza-good-1")).await.unwrap();
    let server = Setup::new(&google, &["AIza-good-1"]).with("SHUTDOWN_TIMEOUT", "1").start();
    let mut running = open(&server).await;
    talk(&mut running, "hello").await;
    let mut waiting = session(&server).await;
    let origin = server.origin.clone();
    server.ask_to_stop();
    server.wait_for_line("stopping: running requests may end");
    // Until the time is up it goes on.
    assert!(talk(&mut running, "one more").await.0.contains("one more"));
    for socket in [&mut running, &mut waiting] {
        let Message::Close(Some(frame)) = next(socket).await else { panic!("no goodbye") };
        assert_eq!(u16::from(frame.code), 1001);
        assert!(frame.reason.contains("STOPPING"), "{frame}");
    }
    let (well, setup) = tokio::task::spawn_blocking(move || server.wait()).await.unwrap();
    assert!(well);
    let seen = seen(&google, |seen| seen.end != End::Open).await;
    assert_eq!(seen.closed.map(|(code, _)| code), Some(1001));
    let log = setup.log();
    let (tries, answered) = (of_type(&log, "Attempted"), of_type(&log, "Answered"));
    assert_eq!((tries.len(), answered.len()), (1, 2), "{log:#?}");
    assert!(answered.iter().all(|answered| answered["reason"] == "STOPPING"), "{answered:?}");
    assert_eq!(tries[0]["verdict"], "truncated");
    assert_eq!(log.last().unwrap()["event"]["abandoned"], 2);
    assert!(TcpStream::connect(origin.strip_prefix("http://").unwrap()).await.is_err());
}

/// Google that takes the session and says nothing: told in time, and no key suffers more than it should.
#[tokio::test]
async fn a_google_that_says_nothing_is_given_up_in_time() {
    let fault = Fault::always(Failure::Stall { after: 0, lasts: None });
    let google = SimulatedGoogle::start(world().key("alpha", "AIza-good-1").fault(fault)).await.unwrap();
    let server = Setup::new(&google, &["AIza-good-1"]).with("REQUEST_TIMEOUT", "2").start();
    let mut socket = session(&server).await;
    socket.send(setup(LIVE)).await.unwrap();
    let (code, text) = closed(&mut socket).await;
    assert!(code == 1011 && text.contains("UPSTREAM_TIMEOUT"), "{code} {text}");
    let (tries, answered) = recorded(&server, 1).await;
    assert_eq!((&tries[0]["verdict"], &answered["outcome"]), (&"timed_out".into(), &"refused".into()));
}

/// An upstream that answers the upgrade with something else.
#[tokio::test]
async fn an_upstream_without_websockets_is_told_as_such() {
    let google = SimulatedGoogle::start(world().key("alpha", "AIza-good-1")).await.unwrap();
    let bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi".to_vec();
    let origin = raw::google_of(vec![raw::Script { bytes, close: true }]).await;
    let server = Setup::new(&google, &["AIza-good-1"]).with("GEMINI_BASE_URL", &origin).start();
    let mut socket = session(&server).await;
    socket.send(setup(LIVE)).await.unwrap();
    let (code, text) = closed(&mut socket).await;
    assert!(code == 1011 && text.contains("UPSTREAM_UNAVAILABLE"), "{code} {text}");
    assert_eq!(recorded(&server, 1).await.0[0]["verdict"], "server_error");
}
