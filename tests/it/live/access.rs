//! Limits of access keys hold for sessions too.

use super::*;

/// Says something of the one access key.
async fn limit(server: &Server, said: Value) {
    let operator = server.operator().await;
    let (status, answer) = operator.call(reqwest::Method::PUT, "/allowed_keys/1", Some(said)).await;
    assert_eq!(status, 200, "{answer}");
}

#[tokio::test]
async fn a_session_takes_a_place_as_long_as_it_runs() {
    let (google, server) = stage(world().key("alpha", "AIza-good-1"), &["AIza-good-1"]).await;
    limit(&server, json!({"concurrent": 1})).await;
    let mut first = open(&server).await;
    let Err(Error::Http(refused)) = dial(&server.origin, PATH, &[("x-goog-api-key", CLIENT_KEY)]).await
    else {
        panic!("a second one was let in")
    };
    assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (429, &"1".parse().unwrap()));
    talk(&mut first, "Hello").await;
    first.close(None).await.unwrap();
    while soon(first.next()).await.is_some() {}
    let operator = server.operator().await;
    let answered = operator.events_of("Answered", 2).await;
    assert_eq!(answered[0]["reason"], "CLIENT_CONCURRENT");
    open(&server).await;
    assert_eq!(google.seen_count(), 2);
}

/// Browsers ask nobody before they open a WebSocket from another site's page.
#[tokio::test]
async fn a_page_of_another_site_opens_no_session_without_an_access_key() {
    let google = SimulatedGoogle::start(world().key("alpha", "AIza-good-1")).await.unwrap();
    let server = Setup::new(&google, &["AIza-good-1"]).with("ALLOWED_API_KEYS", "").start();
    let Err(Error::Http(refused)) = dial(&server.origin, PATH, &[("origin", "https://evil.example")]).await
    else {
        panic!("it was let in")
    };
    assert_eq!(refused.status(), 403);
    assert!(dial(&server.origin, PATH, &[("origin", &server.origin.clone())]).await.is_ok());
}

#[tokio::test]
async fn a_session_for_a_model_that_it_may_not_ask_is_closed_with_a_reason() {
    let (google, server) = stage(world().key("alpha", "AIza-good-1"), &["AIza-good-1"]).await;
    limit(&server, json!({"models": ["gemini-2.5-*"], "requests_per_day": 1})).await;
    let mut socket = session(&server).await;
    socket.send(setup(LIVE)).await.unwrap();
    let (code, text) = closed(&mut socket).await;
    assert!(code == 1008 && text.contains("CLIENT_MODEL"), "{code} {text}");
    assert_eq!(google.seen_count(), 0);
    let operator = server.operator().await;
    let answered = operator.events_of("Answered", 1).await;
    assert_eq!(
        (&answered[0]["reason"], &answered[0]["outcome"]),
        (&json!("CLIENT_MODEL"), &json!("refused"))
    );
    limit(&server, json!({"models": [LIVE]})).await;
    let mut socket = open(&server).await;
    talk(&mut socket, "Hello").await;
    let Err(Error::Http(refused)) = dial(&server.origin, PATH, &[("x-goog-api-key", CLIENT_KEY)]).await
    else {
        panic!("a second one was let in")
    };
    assert_eq!(refused.status().as_u16(), 429);
}
