//! Sessions that go well: what passes, and what does not.

use gemini_pool::simulated::{End, Outcome};

use super::*;
use crate::support::raw;

#[tokio::test]
async fn a_session_passes_both_ways_and_is_recorded_once() {
    let (google, server) = stage(world().key("alpha", "AIza-good-1"), &["AIza-good-1"]).await;
    let (mut socket, response) =
        dial(&server.origin, PATH, &[("x-goog-api-key", CLIENT_KEY), ("x-goog-api-client", "sdk/1")])
            .await
            .unwrap();
    assert!(response.headers().contains_key("x-request-id"));
    socket.send(setup(LIVE)).await.unwrap();
    assert_eq!(hear(&mut socket).await, json!({"setupComplete": {}}));
    talk(&mut socket, "one").await;
    let (answer, tokens) = talk(&mut socket, "鑰匙 two [goaway] [sound]").await;
    assert!(answer.contains("鑰匙 two"), "{answer}");
    close(&mut socket, 1000, "done").await;
    assert_eq!(closed(&mut socket).await, (1000, "done".to_owned()));
    let seen = seen(&google, |seen| seen.end != End::Open).await;
    assert_eq!((seen.end, seen.outcome, seen.status), (End::Whole, Outcome::Served, Some(101)));
    assert_eq!((seen.key.as_str(), seen.model.as_str(), seen.path.as_str()), ("AIza-good-1", LIVE, PATH));
    assert_eq!(seen.closed, Some((1000, "done".to_owned())));
    assert!(seen.violations.is_empty(), "{:?}", seen.violations);
    assert_eq!(seen.headers["x-goog-api-client"], "sdk/1");
    assert_eq!(seen.body.unwrap(), setup(LIVE).into_data());
    let (tries, answered) = recorded(&server, 1).await;
    let attempt = &tries[0];
    assert_eq!((&attempt["verdict"], &attempt["status"]), (&"success".into(), &101.into()), "{attempt}");
    assert_eq!((&attempt["method"], &attempt["model"]), (&"BidiGenerateContent".into(), &LIVE.into()));
    assert_eq!(
        (&attempt["tokens"]["total"], &attempt["bytes_sent"]),
        (&tokens.into(), &seen.body_len.into())
    );
    assert!(attempt["tokens"]["output"].as_u64().unwrap() > 0, "{attempt}");
    assert_eq!(attempt["bytes_received"], answered["bytes"]);
    assert!(answered["bytes"].as_u64().unwrap() > 2_000, "{answered}");
    assert_eq!(attempt["finish_reason"], "CLIENT_CLOSED_1000");
    assert!(attempt["first_byte_ms"].is_u64() && answered["first_byte_ms"].is_u64());
    assert_eq!((&answered["outcome"], &answered["status"]), (&"complete".into(), &101.into()), "{answered}");
    assert_eq!((&answered["model"], &answered["streamed"]), (&LIVE.into(), &true.into()));
}

#[tokio::test]
async fn binary_stays_binary_and_text_stays_text() {
    let (_google, server) = stage(world().key("alpha", "AIza-good-1"), &["AIza-good-1"]).await;
    let mut socket = session(&server).await;
    socket.send(Message::binary(setup(LIVE).into_data())).await.unwrap();
    assert!(next(&mut socket).await.is_binary());
    let sound = json!({"realtimeInput": {"audio": {"mimeType": "audio/pcm", "data": "QUJD".repeat(1_000)}}});
    socket.send(Message::binary(sound.to_string())).await.unwrap();
    let answer = next(&mut socket).await;
    assert!(answer.is_binary() && answer.to_text().unwrap().contains("4000 bytes of sound"), "{answer:?}");
    assert!(next(&mut socket).await.is_binary());
    socket.send(turn("words")).await.unwrap();
    assert!(next(&mut socket).await.is_text());
    assert!(next(&mut socket).await.is_text());
    // A message may have many frames, and pings between them.
    socket.send(Message::Ping("x".into())).await.unwrap();
    let long = "y".repeat(3 << 20);
    let (answer, _) = talk(&mut socket, &long).await;
    assert!(answer.contains("yyyy"));
}

#[tokio::test]
async fn credentials_stay_here_wherever_they_come_from_and_slashes_are_single() {
    let (google, server) = stage(world().key("alpha", "AIza-good-1"), &["AIza-good-1"]).await;
    let bearer = format!("Bearer {CLIENT_KEY}");
    for (path, headers) in [
        (format!("/{PATH}?key={CLIENT_KEY}"), vec![]),
        (format!("/{PATH}?alt=x&access_token={CLIENT_KEY}"), vec![]),
        (PATH.to_owned(), vec![("authorization", bearer.as_str()), ("origin", "http://localhost")]),
        (
            PATH.to_owned(),
            vec![("x-goog-api-key", CLIENT_KEY), ("sec-websocket-extensions", "permessage-deflate")],
        ),
    ] {
        let (mut socket, response) = dial(&server.origin, &path, &headers).await.unwrap();
        assert!(!response.headers().contains_key("sec-websocket-extensions"));
        socket.send(setup(LIVE)).await.unwrap();
        assert_eq!(hear(&mut socket).await, json!({"setupComplete": {}}));
        let seen = seen(&google, |seen| seen.status == Some(101)).await;
        assert!(seen.path == PATH || seen.path == format!("{PATH}?alt=x"), "{}", seen.path);
        assert!(seen.violations.is_empty() && !seen.headers.contains_key("origin"), "{seen:?}");
        assert!(!seen.headers.contains_key("sec-websocket-extensions"));
        assert_eq!(seen.headers["x-goog-api-key"], "AIza-good-1");
        assert!(!format!("{:?}", seen.headers).contains(CLIENT_KEY));
    }
}

#[tokio::test]
async fn who_may_not_come_in_is_told_before_the_upgrade() {
    let (google, server) = stage(world().key("alpha", "AIza-good-1"), &["AIza-good-1"]).await;
    let upgrade = "connection: close, Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                   sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
    let old = upgrade.replace("version: 13", "version: 8");
    let known = format!("x-goog-api-key: {CLIENT_KEY}\r\n");
    for (path, headers, status, reason) in [
        (PATH, upgrade.to_owned(), 401, "CLIENT_KEY_INVALID"),
        (PATH, format!("{upgrade}x-goog-api-key: AIza-good-1\r\n"), 401, "CLIENT_KEY_INVALID"),
        (PATH, format!("{upgrade}authorization: Token auth_tokens/abc\r\n"), 401, "EPHEMERAL_TOKEN"),
        (PATH, format!("{known}connection: close\r\n"), 426, "NO_WEBSOCKET"),
        (PATH, format!("{known}{old}"), 426, "NO_WEBSOCKET"),
        ("/ws/elsewhere", format!("{known}{upgrade}"), 400, "BAD_PATH"),
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: pool\r\n{headers}\r\n");
        let answer = raw::exchange(&server.origin, request.as_bytes()).await;
        assert_eq!(answer.status, status, "{headers}: {}", answer.text());
        assert!(answer.text().contains(reason), "{headers}: {}", answer.text());
        assert_eq!(answer.header("sec-websocket-version").is_some(), status == 426);
    }
    assert_eq!(google.seen_count(), 0);
    let operator = server.operator().await;
    assert!(operator.events_of("Answered", 6).await.iter().all(|answered| answered["outcome"] == "refused"));
}

/// A session is gone on with in its project, whichever keys the others have, and whatever happened meanwhile.
#[tokio::test]
async fn a_session_is_gone_on_with_in_the_project_where_it_began() {
    let world = world().key("alpha", "AIza-good-1").key("beta", "AIza-good-2").key("gamma", "AIza-good-3");
    let (google, server) = stage(world, &["AIza-good-1", "AIza-good-2", "AIza-good-3"]).await;
    let resume = |handle: Option<&str>| {
        let resumption = handle.map_or(json!({}), |handle| json!({"handle": handle}));
        Message::text(json!({"setup": {"model": LIVE, "sessionResumption": resumption}}).to_string())
    };
    let mut handle: Option<String> = None;
    let mut owner = String::new();
    for round in 0..8 {
        let mut socket = session(&server).await;
        socket.send(resume(handle.as_deref())).await.unwrap();
        assert_eq!(hear(&mut socket).await, json!({"setupComplete": {}}), "round {round}");
        let update = hear(&mut socket).await;
        handle = Some(update["sessionResumptionUpdate"]["newHandle"].as_str().unwrap().to_owned());
        let key = seen(&google, |seen| seen.status == Some(101)).await.key;
        assert!(round == 0 || key == owner, "round {round}: {key} instead of {owner}");
        owner = key;
        // Others are busy elsewhere meanwhile.
        drop(open(&server).await);
        close(&mut socket, 1000, "").await;
    }
    // A pulled plug forgets none, and the handle itself is nowhere.
    let handle = handle.unwrap();
    let server = server.kill().start();
    let mut socket = session(&server).await;
    socket.send(resume(Some(&handle))).await.unwrap();
    assert_eq!(hear(&mut socket).await, json!({"setupComplete": {}}));
    assert_eq!(seen(&google, |seen| seen.status == Some(101)).await.key, owner);
    let events = serde_json::to_string(&server.operator().await.events().await).unwrap();
    assert!(events.contains("sessions/") && !events.contains(&handle));
}
