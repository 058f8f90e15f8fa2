//! How much: of ten at once exactly as many pass as may, and a restart forgets nothing.

use gemini_pool::simulated::{Failure, Fault};

use super::*;

#[tokio::test]
async fn of_ten_at_once_exactly_those_of_the_minute_pass_also_after_a_pulled_plug() {
    let (google, server, operator) = stage().await;
    let (_, secret) = make(&operator, json!({"name": "app", "requests_per_minute": 4})).await;
    let answers = ten(&server.app_with(Some(&secret))).await;
    assert_eq!(answers.iter().filter(|answer| answer.0 == 200).count(), 4, "{answers:?}");
    for (status, reason, after, delay) in answers.iter().filter(|answer| answer.0 != 200) {
        assert_eq!((*status, reason.as_str()), (429, "CLIENT_REQUESTS_PER_MINUTE"));
        let (after, delay) = (after.unwrap(), delay.unwrap());
        assert!(delay > 0.0 && delay <= 60.0 && after as f64 >= delay && after <= 60, "{after} {delay}");
    }
    assert_eq!(google.seen_count(), 4);
    assert_eq!(
        server.app().generate("gemini-2.5-flash", "Hello").await.0,
        200,
        "other clients are not held up"
    );
    let answered = operator.events_of("Answered", 11).await;
    let refused = answered.iter().filter(|answered| answered["reason"] == "CLIENT_REQUESTS_PER_MINUTE");
    assert_eq!(refused.count(), 6);
    let server = server.kill().start();
    let again = asks(&server.app_with(Some(&secret))).await;
    assert_eq!(again.1, "CLIENT_REQUESTS_PER_MINUTE", "{again:?}");
    assert_eq!(google.seen_count(), 5);
}

#[tokio::test]
async fn of_ten_at_once_exactly_those_of_the_day_pass_also_after_a_pulled_plug() {
    let (google, server, operator) = stage().await;
    let (id, secret) = make(&operator, json!({"requests_per_day": 3})).await;
    let answers = ten(&server.app_with(Some(&secret))).await;
    assert_eq!(answers.iter().filter(|answer| answer.0 == 200).count(), 3, "{answers:?}");
    let refused = answers.iter().find(|answer| answer.0 != 200).unwrap();
    assert_eq!((refused.0, refused.1.as_str()), (429, "CLIENT_REQUESTS_PER_DAY"));
    assert!(refused.2.unwrap() <= 60 && refused.3.unwrap() <= 86_400.0, "{refused:?}");
    let (_, client) = operator.call(Method::GET, &format!("/allowed_keys/{id}"), None).await;
    assert_eq!(client["usage"]["requests_today"], 3);
    assert!(client["usage"]["last_used_at"].is_string());
    operator.events_of("Answered", 10).await;
    let server = server.kill().start();
    assert_eq!(asks(&server.app_with(Some(&secret))).await.1, "CLIENT_REQUESTS_PER_DAY");
    assert_eq!(google.seen_count(), 3);
    let operator = server.operator().await;
    let more = json!({"requests_per_day": 4});
    assert_eq!(operator.call(Method::PUT, &format!("/allowed_keys/{id}"), Some(more)).await.0, 200);
    assert_eq!(asks(&server.app_with(Some(&secret))).await.0, 200);
    assert_eq!(asks(&server.app_with(Some(&secret))).await.1, "CLIENT_REQUESTS_PER_DAY");
}

#[tokio::test]
async fn the_request_that_crosses_the_tokens_of_the_day_is_served_and_the_next_is_not() {
    let (_google, server, operator) = stage().await;
    // An answer takes 21.
    let (id, secret) = make(&operator, json!({"tokens_per_day": 30})).await;
    let app = server.app_with(Some(&secret));
    assert_eq!(app.stream("gemini-2.5-flash", "Hello").await.0, 200);
    assert_eq!(asks(&app).await.0, 200);
    let refused = asks(&app).await;
    assert_eq!((refused.0, refused.1.as_str()), (429, "CLIENT_TOKENS_PER_DAY"));
    let (_, client) = operator.call(Method::GET, &format!("/allowed_keys/{id}"), None).await;
    assert_eq!(client["usage"]["tokens_today"], 42);
    let server = server.kill().start();
    assert_eq!(asks(&server.app_with(Some(&secret))).await.1, "CLIENT_TOKENS_PER_DAY");
}

#[tokio::test]
async fn of_ten_at_once_exactly_so_many_are_under_way() {
    let (google, server, operator) = stage().await;
    let (id, secret) = make(&operator, json!({"concurrent": 3})).await;
    let app = server.app_with(Some(&secret));
    assert_eq!(app.generate("gemini-2.5-flash", "Hello").await.0, 200, "the key has proven itself");
    google.edit(|world| world.faults = vec![Fault::always(Failure::HoldFirstByte)]);
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let app = app.clone();
        running.spawn(async move { asks(&app).await });
    }
    for _ in 0..7 {
        let refused = running.join_next().await.unwrap().unwrap();
        assert_eq!((refused.0, refused.1.as_str(), refused.2), (429, "CLIENT_CONCURRENT", Some(1)));
    }
    let (_, client) = operator.call(Method::GET, &format!("/allowed_keys/{id}"), None).await;
    assert_eq!(client["usage"]["running"], 3);
    google.edit(|world| world.faults.clear());
    google.release();
    for answer in running.join_all().await {
        assert_eq!(answer.0, 200);
    }
    assert_eq!(asks(&app).await.0, 200, "the places are free again");
}

#[tokio::test]
async fn what_was_never_sent_to_google_costs_nothing() {
    let (google, server, operator) = stage().await;
    let (id, secret) = make(&operator, json!({"requests_per_day": 1, "models": ["gemini-2.5-*"]})).await;
    let app = server.app_with(Some(&secret));
    let other = app.post("/v1beta/models/gemini-1.5-pro:generateContent", &ask("x")).send().await.unwrap();
    assert_eq!(told(other).await.1, "CLIENT_MODEL");
    operator.call(Method::PATCH, "/keys/1", Some(json!({"enabled": false}))).await;
    assert_eq!(asks(&app).await.1, "ALL_KEYS_OUT");
    operator.call(Method::PATCH, "/keys/1", Some(json!({"enabled": true}))).await;
    assert_eq!(asks(&app).await.0, 200);
    assert_eq!(asks(&app).await.1, "CLIENT_REQUESTS_PER_DAY");
    let (_, client) = operator.call(Method::GET, &format!("/allowed_keys/{id}"), None).await;
    assert_eq!((&client["usage"]["requests_today"], google.seen_count()), (&json!(1), 1));
}
