//! Ephemeral tokens: made with an access key, used by a browser that has none.

use super::*;
use crate::{
    scenario::{Sdk, call},
    support::files,
};

const CONSTRAINED: &str =
    "/ws/google.ai.generativelanguage.v1alpha.GenerativeService.BidiGenerateContentConstrained";

fn two_projects() -> World {
    world().key("alpha", "AIza-alpha-1").key("beta", "AIza-beta-2")
}

const KEYS: [&str; 2] = ["AIza-alpha-1", "AIza-beta-2"];

/// Has a token made by an app.
async fn make(server: &Server, wanted: Value) -> (u16, Value) {
    let app = server.app();
    let answer = app.post("/v1alpha/auth_tokens", &wanted).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn token(server: &Server, wanted: Value) -> String {
    let (status, answer) = make(server, wanted).await;
    assert_eq!(status, 200, "{answer}");
    answer["name"].as_str().unwrap().to_owned()
}

/// A browser's session, before its first message.
async fn browser(server: &Server, token: &str) -> Result<Socket, (u16, String)> {
    let path = format!("/{CONSTRAINED}?access_token={token}");
    match dial(&server.origin, &path, &[("origin", "https://an-app.example")]).await {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(refused)) => {
            let body = refused.body().as_deref().unwrap_or_default();
            Err((refused.status().as_u16(), String::from_utf8_lossy(body).into_owned()))
        }
        Err(error) => panic!("{error}"),
    }
}

async fn refused(server: &Server, token: &str) -> (u16, String) {
    browser(server, token).await.expect_err("it is not let in")
}

/// Every key may be used.
async fn all_ready(server: &Server) {
    let keys = server.operator().await.keys().await;
    assert!(keys.iter().all(|key| key["state"] == "ready"), "{keys:?}");
}

/// It goes up as it is, with no key beside it, in the project that made it; a pulled plug forgets none.
#[tokio::test]
async fn a_token_opens_sessions_where_it_was_made() {
    let (google, server) = stage(two_projects(), &KEYS).await;
    let mut made = Vec::new();
    for _ in 0..4 {
        let token = token(&server, json!({"uses": 2})).await;
        let key = google.seen().last().unwrap().key.clone();
        // What nobody has named is called after the key's number.
        made.push((token, format!("key-{}", 1 + KEYS.iter().position(|known| *known == key).unwrap())));
    }
    let server = server.kill().start();
    for (round, (token, project)) in made.iter().enumerate() {
        let mut socket = browser(&server, token).await.unwrap();
        socket.send(setup(LIVE)).await.unwrap();
        assert_eq!(hear(&mut socket).await, json!({"setupComplete": {}}));
        assert!(talk(&mut socket, "Hello").await.0.contains("Hello"));
        close(&mut socket, 1000, "").await;
        let seen = seen(&google, |seen| seen.closed.is_some()).await;
        assert_eq!(seen.headers["authorization"], format!("Token {token}").as_str());
        assert!(
            seen.key.is_empty() && seen.violations.is_empty() && !seen.path.contains("token"),
            "{seen:?}"
        );
        // As the Python SDK sends it.
        let named = format!("Token {token}");
        let headers = [("authorization", named.as_str()), ("x-goog-api-key", token.as_str())];
        let (mut socket, _) = dial(&server.origin, CONSTRAINED, &headers).await.unwrap();
        socket.send(setup(LIVE)).await.unwrap();
        assert_eq!(hear(&mut socket).await, json!({"setupComplete": {}}));
        close(&mut socket, 1000, "").await;
        let attempted = server.operator().await.events_of("Attempted", made.len() + 2 * (round + 1)).await;
        for tried in attempted.iter().rev().take(2) {
            assert_eq!((&tried["project"], &tried["client"]), (&json!(project), &json!(1)), "{tried}");
            assert_eq!(tried["verdict"], "success");
        }
    }
    let secret = made[0].0.strip_prefix("auth_tokens/").unwrap().to_owned();
    let (setup, output) = server.stop();
    assert!(!output.contains(&secret));
    for file in files(&setup.data()) {
        let bytes = std::fs::read(&file).unwrap();
        assert!(memchr::memmem::find(&bytes, secret.as_bytes()).is_none(), "{}", file.display());
    }
}

/// What is wrong with a token is Google's to say, is tried once, and no key suffers for it.
#[tokio::test]
async fn a_token_that_is_used_up_is_refused_in_googles_words() {
    let (google, server) = stage(two_projects(), &KEYS).await;
    let token = token(&server, json!({})).await;
    let mut socket = browser(&server, &token).await.unwrap();
    socket.send(setup(LIVE)).await.unwrap();
    assert_eq!(hear(&mut socket).await, json!({"setupComplete": {}}));
    for _ in 0..5 {
        let mut again = browser(&server, &token).await.unwrap();
        again.send(setup(LIVE)).await.unwrap();
        assert_eq!(closed(&mut again).await, (1008, "Token has been used too many times.".to_owned()));
    }
    assert_eq!(google.seen_count(), 1 + 1 + 5, "one try each");
    all_ready(&server).await;
    let operator = server.operator().await;
    let attempted = operator.events_of("Attempted", 6).await;
    assert_eq!(
        attempted.iter().filter(|tried| tried["verdict"] == "client_fault").count(),
        5,
        "{attempted:?}"
    );
    // The session that it did open runs on.
    assert!(talk(&mut socket, "Hello").await.0.contains("Hello"));
}

#[tokio::test]
async fn a_token_ends_with_the_access_key_that_made_it() {
    let (google, server) = stage(two_projects(), &KEYS).await;
    let operator = server.operator().await;
    let (status, answer) = refused(&server, "auth_tokens/never-made").await;
    assert!(
        status == 401 && answer.contains("EPHEMERAL_TOKEN") && answer.contains("not made through"),
        "{answer}"
    );
    let made = token(&server, json!({"uses": 9})).await;
    let say = |said| operator.call(reqwest::Method::PUT, "/allowed_keys/1", Some(said));
    assert_eq!(say(json!({"enabled": false})).await.0, 200);
    let (status, answer) = refused(&server, &made).await;
    assert!(status == 403 && answer.contains("CLIENT_DISABLED"), "{status} {answer}");
    assert_eq!(say(json!({"enabled": true})).await.0, 200);
    drop(browser(&server, &made).await.unwrap());
    let (status, answer) = operator.call(reqwest::Method::DELETE, "/allowed_keys/1", None).await;
    assert!(status < 300, "{answer}");
    assert_eq!(refused(&server, &made).await.0, 401);
    assert_eq!(google.seen_count(), 1);
}

/// It has its client's limits, and its project's.
#[tokio::test]
async fn a_token_opens_no_more_than_its_access_key_may() {
    let (google, server) = stage(two_projects(), &KEYS).await;
    let operator = server.operator().await;
    let say = |said| operator.call(reqwest::Method::PUT, "/allowed_keys/1", Some(said));
    let before = token(&server, json!({"uses": 9})).await;
    assert_eq!(say(json!({"models": ["gemini-2.5-*"]})).await.0, 200);
    assert_eq!(refused(&server, &before).await.0, 401, "it may be tied to another model");
    let tied = |model: &str| json!({"bidiGenerateContentSetup": {"model": format!("models/{model}")}});
    let (status, answer) = make(&server, tied(LIVE)).await;
    assert!(status == 403 && answer.to_string().contains("CLIENT_MODEL"), "{status} {answer}");
    assert_eq!(make(&server, tied("gemini-2.5-flash")).await.0, 200);
    let untied = token(&server, json!({"uses": 9})).await;
    let mut socket = browser(&server, &untied).await.unwrap();
    socket.send(setup(LIVE)).await.unwrap();
    let (code, text) = closed(&mut socket).await;
    assert!(code == 1008 && text.contains("CLIENT_MODEL"), "{code} {text}");
    assert_eq!(google.seen_count(), 3, "nothing of it went up");
    assert_eq!(say(json!({"models": []})).await.0, 200);
    // The other project could serve, and must not.
    let free = token(&server, json!({"uses": 9})).await;
    let owner = google.seen().last().unwrap().project.clone();
    google.edit(|world| world.projects.get_mut(&owner).unwrap().limit(LIVE, limited(0)));
    for (round, told) in ["You exceeded your current quota", "OWNER_KEYS_OUT"].into_iter().enumerate() {
        let mut socket = browser(&server, &free).await.unwrap();
        socket.send(setup(LIVE)).await.unwrap();
        let (_, text) = closed(&mut socket).await;
        assert!(text.contains(told), "round {round}: {text}");
    }
}

/// A session of another project is not gone on with by a token of this one.
#[tokio::test]
async fn a_token_and_a_session_of_two_projects_are_told_apart() {
    let (google, server) = stage(two_projects(), &KEYS).await;
    let made = token(&server, json!({"uses": 9})).await;
    let owner = google.seen()[0].project.clone();
    let resume = |handle: Value| {
        Message::text(json!({"setup": {"model": LIVE, "sessionResumption": handle}}).to_string())
    };
    let handle = loop {
        let mut socket = session(&server).await;
        socket.send(resume(json!({}))).await.unwrap();
        hear(&mut socket).await;
        let update = hear(&mut socket).await;
        close(&mut socket, 1000, "").await;
        if seen(&google, |seen| seen.status == Some(101)).await.project != owner {
            break update["sessionResumptionUpdate"]["newHandle"].clone();
        }
    };
    let mut socket = browser(&server, &made).await.unwrap();
    socket.send(resume(json!({"handle": handle}))).await.unwrap();
    let (code, text) = closed(&mut socket).await;
    assert!(code == 1008 && text.contains("TWO_PROJECTS"), "{code} {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_sdk_makes_a_token_and_a_browser_talks_with_it() {
    let (google, server) = stage(two_projects(), &KEYS).await;
    let calls: Vec<_> =
        (0..4).map(|id| call(id, "live_by_token", LIVE, &format!("session {id} 鑰匙"))).collect();
    let origin = server.origin.clone();
    let made = tokio::task::spawn_blocking(move || Sdk::JavaScript.make(&origin, &calls));
    let answers = made.await.unwrap();
    for (id, answer) in &answers {
        let text = answer["text"].as_str().unwrap_or_default();
        assert!(answer["ok"] == true && text.contains(&format!("session {id} 鑰匙")), "{answer}");
    }
    assert_eq!(answers.len(), 4);
    assert!(google.seen().iter().all(|seen| seen.violations.is_empty()), "{:?}", google.seen());
}
