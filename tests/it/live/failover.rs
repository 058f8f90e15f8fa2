//! Keys that fail before Google says its first word, and what is told when none is left.

use gemini_pool::simulated::{End, Failure, Fault, KeyState};

use super::*;
use crate::support::raw;

#[tokio::test]
async fn keys_that_fail_before_the_first_word_are_not_seen_by_the_client() {
    let bad = [
        ("AIza-bad-1", KeyState::Expired, "bad_key"),
        ("AIza-bad-2", KeyState::Suspended, "suspended_key"),
        ("AIza-bad-3", KeyState::Leaked, "leaked_key"),
    ];
    for (key, state, verdict) in bad {
        let world = world().key_in("alpha", key, state).key("beta", "AIza-good-1");
        let (google, server) = stage(world, &[key, "AIza-good-1"]).await;
        let mut tries = 0;
        // Until the bad one was chosen: after that it is chosen no more.
        while google.seen().iter().all(|seen| seen.key != key) {
            let mut socket = open(&server).await;
            talk(&mut socket, "hello").await;
            close(&mut socket, 1000, "").await;
            closed(&mut socket).await;
            tries += 1;
        }
        let mut socket = open(&server).await;
        talk(&mut socket, "again").await;
        close(&mut socket, 1000, "").await;
        closed(&mut socket).await;
        assert_eq!(google.seen().iter().filter(|seen| seen.key == key).count(), 1);
        assert_eq!(google.seen_count(), tries + 2, "the last but one needed two");
        let operator = server.operator().await;
        operator.events_of("Answered", tries as usize + 1).await;
        let failed = operator.events_of("Attempted", tries as usize + 2).await;
        let failed: Vec<_> = failed.iter().filter(|attempt| attempt["verdict"] != "success").collect();
        assert_eq!((failed.len(), &failed[0]["verdict"]), (1, &verdict.into()), "{failed:?}");
        assert_eq!(failed[0]["status"], 101);
        let gates = operator.events_of("GateClosed", 1).await;
        let (_, output) = server.stop();
        assert!(!format!("{failed:?} {gates:?} {output}").contains(key), "{failed:?}");
    }
}

#[tokio::test]
async fn a_refusal_at_the_upgrade_and_a_cut_go_to_the_next_key() {
    for (failure, verdict) in [
        (Failure::BareExhausted, "quota_unknown"),
        (Failure::Overloaded, "overloaded"),
        (Failure::CutBeforeHead, "connection_lost"),
        (Failure::CutAfter(0), "connection_lost"),
        (
            Failure::CloseLive { after: 0, code: 1011, reason: "Internal error encountered.".to_owned() },
            "server_error",
        ),
        (
            Failure::CloseLive {
                after: 0,
                code: 1011,
                reason: "You exceeded your current quota, please".to_owned(),
            },
            "quota_unknown",
        ),
    ] {
        // The fault meets whichever key is asked first.
        let world = world().key("alpha", "AIza-good-1").key("beta", "AIza-good-2");
        let (google, server) =
            stage(world.fault(Fault::times(1, failure.clone())), &["AIza-good-1", "AIza-good-2"]).await;
        let mut socket = open(&server).await;
        assert!(talk(&mut socket, "hello").await.0.contains("hello"));
        close(&mut socket, 1000, "").await;
        let seen = google.seen();
        assert_eq!(seen.len(), 2, "{failure:?}");
        assert_ne!(seen[0].key, seen[1].key);
        let (tries, answered) = recorded(&server, 2).await;
        assert_eq!(
            (&tries[0]["verdict"], &tries[1]["verdict"]),
            (&verdict.into(), &"success".into()),
            "{tries:?}"
        );
        assert_eq!((&answered["attempts"], &answered["outcome"]), (&2.into(), &"complete".into()));
    }
}

#[tokio::test]
async fn what_the_client_said_too_early_is_said_to_the_key_that_serves() {
    let reason = "Resource has been exhausted (e.g. check quota).".to_owned();
    let fault = Fault::times(1, Failure::CloseLive { after: 0, code: 1011, reason });
    let world = world().key("alpha", "AIza-good-1").key("beta", "AIza-good-2").fault(fault);
    let (_google, server) = stage(world, &["AIza-good-1", "AIza-good-2"]).await;
    let mut socket = session(&server).await;
    socket.send(setup(LIVE)).await.unwrap();
    socket.send(turn("in haste")).await.unwrap();
    assert_eq!(hear(&mut socket).await, json!({"setupComplete": {}}));
    assert!(hear(&mut socket).await.to_string().contains("in haste"));
}

#[tokio::test]
async fn a_model_that_is_out_closes_its_gate_and_the_client_is_told_when() {
    let world = world()
        .project("alpha", |project| {
            project.limit(LIVE, limited(1));
        })
        .key("alpha", "AIza-good-1");
    let (google, server) = stage(world, &["AIza-good-1"]).await;
    let mut first = open(&server).await;
    close(&mut first, 1000, "").await;
    closed(&mut first).await;
    for _ in 0..2 {
        let mut socket = session(&server).await;
        socket.send(setup(LIVE)).await.unwrap();
        let (code, text) = closed(&mut socket).await;
        assert_eq!(code, 1013);
        assert!(text.contains("ALL_KEYS_OUT") && text.contains("retry in "), "{text}");
        // On a slow machine the first probe may be due, two seconds after the refusal.
        assert!(google.seen_count() <= 3, "the gate is closed, so Google is asked no more");
    }
    // Another model of the same key is not concerned.
    assert_eq!(server.app().generate("gemini-2.5-flash", "Hello").await.0, 200);
}

#[tokio::test]
async fn where_nobody_can_serve_at_all_the_upgrade_is_refused() {
    let world = world().key_in("alpha", "AIza-bad-1", KeyState::Expired);
    let (google, server) = stage(world, &["AIza-bad-1"]).await;
    let mut socket = session(&server).await;
    socket.send(setup(LIVE)).await.unwrap();
    assert_eq!(closed(&mut socket).await.0, 1013);
    let request = format!(
        "GET {PATH} HTTP/1.1\r\nhost: pool\r\nconnection: close, Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\nx-goog-api-key: {CLIENT_KEY}\r\n\r\n"
    );
    let answer = raw::exchange(&server.origin, request.as_bytes()).await;
    assert_eq!(answer.status, 429, "{}", answer.text());
    assert!(answer.text().contains("ALL_KEYS_OUT") && answer.text().contains("RESOURCE_EXHAUSTED"));
    assert_eq!(google.seen_count(), 1);
}

#[tokio::test]
async fn a_clients_mistake_goes_back_in_googles_words_and_hurts_nobody() {
    let world = world().key("alpha", "AIza-good-1").key("beta", "AIza-good-2");
    let (google, server) = stage(world, &["AIza-good-1", "AIza-good-2"]).await;
    for (first, code, words) in [
        (setup("no-such-model"), 1008, "models/no-such-model is not found for API version v1beta"),
        (Message::text("no JSON"), 1007, "Invalid JSON payload received."),
        (Message::binary(vec![0, 255, 254]), 1007, "Invalid JSON payload received."),
    ] {
        let mut socket = session(&server).await;
        let before = google.seen_count();
        socket.send(first).await.unwrap();
        let (told, text) = closed(&mut socket).await;
        assert!(told == code && text.starts_with(words), "{told} {text}");
        assert_eq!(google.seen_count(), before + 1, "asked once");
    }
    let operator = server.operator().await;
    let tries = operator.events_of("Attempted", 3).await;
    assert!(tries.iter().all(|attempt| attempt["verdict"] == "client_fault"), "{tries:?}");
    operator.events_of("GateClosed", 0).await;
    let answered = operator.events_of("Answered", 3).await;
    assert!(answered.iter().all(|answered| answered["outcome"] == "refused"), "{answered:?}");
    assert!(answered[0]["reason"].as_str().unwrap().starts_with("1008 models/no-such-model"), "{answered:?}");
}

#[tokio::test]
async fn after_the_first_word_nothing_is_repeated() {
    for failure in [
        Failure::CutAfter(1),
        Failure::CloseLive {
            after: 1,
            code: 1011,
            reason: "You exceeded your current quota of AIza-good-1".to_owned(),
        },
    ] {
        // The fault is the world's, and the session's own after that.
        let world = world().key("alpha", "AIza-good-1").fault(Fault::times(1, failure.clone()));
        let (google, server) = stage(world, &["AIza-good-1"]).await;
        let mut socket = open(&server).await;
        socket.send(turn("hello")).await.unwrap();
        let (code, text) = closed(&mut socket).await;
        assert_eq!(code, 1011);
        let verdict = if failure == Failure::CutAfter(1) {
            assert!(text.starts_with("Gemini-Pool: the session with Google broke off"), "{text}");
            "truncated"
        } else {
            assert_eq!(text, "You exceeded your current quota of ***********");
            assert_eq!(seen(&google, |seen| seen.end != End::Open).await.end, End::Whole);
            "stream_error"
        };
        let (tries, answered) = recorded(&server, 1).await;
        assert_eq!((&tries[0]["verdict"], &answered["outcome"]), (&verdict.into(), &"truncated".into()));
        assert!(tries[0]["reason"].is_string() && !tries[0].to_string().contains("AIza-good-1"), "{tries:?}");
        assert_eq!(google.seen_count(), 1);
    }
}
