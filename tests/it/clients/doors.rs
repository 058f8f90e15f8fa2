//! Who, from where, for which model; and what operators see of it.

use super::*;
use crate::support::{CLIENT_KEY, files, http};

#[tokio::test]
async fn each_dialect_is_told_in_its_own_shape_which_model_it_may_not_ask() {
    let (google, server, operator) = stage().await;
    let (_, secret) = make(&operator, json!({"models": ["gemini-2.5-flash*"]})).await;
    let app = server.app_with(Some(&secret));
    assert_eq!(app.generate("gemini-2.5-flash", "Hello").await.0, 200);
    let pro = "/v1beta/models/gemini-2.5-pro:generateContent";
    let native: Value = app.post(pro, &ask("x")).send().await.unwrap().json().await.unwrap();
    assert_eq!(
        (&native["error"]["code"], &native["error"]["status"]),
        (&json!(403), &json!("PERMISSION_DENIED"))
    );
    let chat = json!({"model": "gemini-2.5-pro", "messages": [{"role": "user", "content": "x"}]});
    let openai = app.post("/v1beta/openai/chat/completions", &chat).send().await.unwrap();
    assert_eq!(openai.status(), 403);
    let openai: Value = openai.json().await.unwrap();
    assert_eq!(openai[0]["error"]["status"], "PERMISSION_DENIED");
    let interaction = json!({"model": "gemini-2.5-pro", "input": "x"});
    let interactions = app.post("/v1beta/interactions", &interaction).send().await.unwrap();
    assert_eq!(interactions.status(), 403);
    let interactions: Value = interactions.json().await.unwrap();
    assert_eq!(interactions["error"]["code"], "permission_denied");
    let nameless =
        app.post("/v1beta/openai/chat/completions", &json!({"messages": []})).send().await.unwrap();
    assert_eq!(told(nameless).await.0, 403, "what names no model could ask any");
    let list = app.http.get(format!("{}/v1beta/models", server.origin)).header("x-goog-api-key", &secret);
    assert_eq!(list.send().await.unwrap().status(), 200, "the list of models is everybody's");
    assert_eq!(google.seen_count(), 2);
}

#[tokio::test]
async fn whose_time_is_over_or_who_is_turned_off_is_told_so() {
    let (google, server, operator) = stage().await;
    let (id, secret) = make(&operator, json!({"expires_at": "2020-01-01T00:00:00Z"})).await;
    let app = server.app_with(Some(&secret));
    let (status, reason, ..) = asks(&app).await;
    assert_eq!((status, reason.as_str()), (403, "CLIENT_EXPIRED"));
    let path = format!("/allowed_keys/{id}");
    operator.call(Method::PUT, &path, Some(json!({"expires_at": null, "enabled": false}))).await;
    assert_eq!(asks(&app).await.1, "CLIENT_DISABLED");
    operator.call(Method::PUT, &path, Some(json!({"enabled": true}))).await;
    assert_eq!(asks(&app).await.0, 200);
    assert_eq!(google.seen_count(), 1);
    let answered = operator.events_of("Answered", 3).await;
    assert_eq!(answered[0]["client"], json!(id), "it is known who was refused");
}

#[tokio::test]
async fn nobody_but_a_trusted_proxy_says_where_a_request_comes_from() {
    let google = google().await;
    let asks_from = async |server: &Server, secret: &str, forwarded: &[(&str, &str)]| {
        let request = server.app_with(Some(secret)).post(FLASH, &ask("Hello"));
        let request = forwarded.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        told(request.send().await.unwrap()).await.1
    };
    // Nobody is trusted: the header is a client's own invention.
    let server = Setup::new(&google, &["AIza-good-1"]).start();
    let operator = server.operator().await;
    let (_, secret) = make(&operator, json!({"addresses": ["203.0.113.0/24"]})).await;
    let spoofed = [("x-forwarded-for", "203.0.113.5")];
    assert_eq!(asks_from(&server, &secret, &spoofed).await, "CLIENT_ADDRESS");
    let (setup, _) = server.stop();
    // The peer is a proxy of ours: what it added last counts, and nothing before.
    let server = setup.with("TRUSTED_PROXIES", "127.0.0.0/8").start();
    for (forwarded, wanted) in [
        (&[("x-forwarded-for", "203.0.113.5")][..], ""),
        (&[("x-forwarded-for", "203.0.113.5, 198.51.100.1")], "CLIENT_ADDRESS"),
        (&[("x-forwarded-for", "198.51.100.1, 203.0.113.5, 127.0.0.2")], ""),
        (&[("forwarded", "for=203.0.113.5")], ""),
        (&[("x-forwarded-for", "198.51.100.1"), ("forwarded", "for=203.0.113.5")], "CLIENT_ADDRESS"),
        (&[], "CLIENT_ADDRESS"),
    ] {
        assert_eq!(asks_from(&server, &secret, forwarded).await, wanted, "{forwarded:?}");
    }
    let operator = server.operator().await;
    let answered = operator.events_of("Answered", 7).await;
    let addresses: Vec<_> = answered.iter().map(|answered| answered["address"].as_str().unwrap()).collect();
    let wanted = [
        "127.0.0.1",
        "203.0.113.5",
        "198.51.100.1",
        "203.0.113.5",
        "203.0.113.5",
        "198.51.100.1",
        "127.0.0.1",
    ];
    assert_eq!(addresses, wanted);
}

#[tokio::test]
async fn who_comes_through_a_proxy_here_needs_an_access_key_and_so_does_everybody_once_there_was_one() {
    let google = google().await;
    let setup = Setup::new(&google, &["AIza-good-1"]).with("ALLOWED_API_KEYS", "");
    let server = setup.start();
    let through_a_proxy = async |server: &Server, key: Option<&str>| {
        let request =
            server.app_with(key).post(FLASH, &ask("Hello")).header("x-forwarded-for", "203.0.113.9");
        told(request.send().await.unwrap()).await.0
    };
    assert_eq!(asks(&server.app_with(None)).await.0, 200, "this machine's own, before there is a client");
    assert_eq!(through_a_proxy(&server, None).await, 401);
    assert_eq!(through_a_proxy(&server, Some("wrong")).await, 401);
    let operator = server.operator().await;
    let (id, secret) = make(&operator, json!({})).await;
    assert_eq!(through_a_proxy(&server, Some(&secret)).await, 200);
    assert_eq!(asks(&server.app_with(Some("wrong"))).await.0, 401);
    assert_eq!(operator.call(Method::DELETE, &format!("/allowed_keys/{id}"), None).await.0, 200);
    let (setup, _) = {
        for key in [None, Some(secret.as_str()), Some("wrong")] {
            assert_eq!(through_a_proxy(&server, key).await, 401, "the last key was taken away: {key:?}");
            assert_eq!(asks(&server.app_with(key)).await.0, 401);
        }
        server.stop()
    };
    let server = setup.clone().start();
    assert_eq!(asks(&server.app_with(None)).await.0, 401, "nor after a restart");
    let (setup, _) = server.stop();
    let server = setup.with("ALLOW_ANONYMOUS", "true").start();
    assert_eq!(through_a_proxy(&server, None).await, 200, "unless the operator says so");
    assert_eq!(google.seen_count(), 3);
}

#[tokio::test]
async fn access_keys_and_administrators_tokens_are_two_things() {
    let (_google, server, operator) = stage().await;
    let (_, secret) = make(&operator, json!({})).await;
    for key in [secret.as_str(), CLIENT_KEY] {
        let answer = http().get(format!("{}/api/allowed_keys", server.origin)).bearer_auth(key);
        assert_eq!(answer.send().await.unwrap().status(), 401);
        let answer = http().get(format!("{}/api/allowed_keys", server.origin)).header("x-goog-api-key", key);
        assert_eq!(answer.send().await.unwrap().status(), 401);
    }
    let token = operator.token();
    let answer = server.app_with(Some(token)).post(FLASH, &ask("x")).send().await.unwrap();
    assert_eq!(answer.status(), 401);
    let answer = server.app_with(None).post(FLASH, &ask("x")).bearer_auth(token).send().await.unwrap();
    assert_eq!(answer.status(), 401);
}

#[tokio::test]
async fn a_secret_is_shown_once_and_lies_nowhere() {
    let (google, server, operator) = stage().await;
    let (id, made) = make(&operator, json!({"name": "app"})).await;
    assert!(made.starts_with("gp-") && made.len() == 46, "{made}");
    let given = "an-access-key-of-my-own-0001";
    let (status, answer) = operator.call(Method::POST, "/allowed_keys", Some(json!({"secret": given}))).await;
    assert_eq!((status, &answer["secret"]), (201, &Value::Null));
    for (bad, wanted) in [
        (json!({"secret": "short"}), "bad_request"),
        (json!({"secret": "with a space in it"}), "bad_request"),
        (json!({"secret": given}), "secret_taken"),
        (json!({"secret": CLIENT_KEY}), "secret_taken"),
        (json!({"concurrent": 0}), "bad_request"),
        (json!({"addresses": ["10.0.0.1/8"]}), "bad_request"),
        (json!({"expires_at": "tomorrow"}), "bad_request"),
        (json!({"limit": 3}), "bad_body"),
    ] {
        let (status, answer) = operator.call(Method::POST, "/allowed_keys", Some(bad.clone())).await;
        assert!(status >= 400 && answer["code"] == wanted, "{bad}: {answer}");
        assert!(!answer.to_string().contains(given));
    }
    let (status, rotated) =
        operator.call(Method::POST, &format!("/allowed_keys/{id}/rotate"), Some(json!({}))).await;
    assert_eq!(status, 200);
    let next = rotated["secret"].as_str().unwrap().to_owned();
    assert_ne!(next, made);
    assert_eq!(asks(&server.app_with(Some(&made))).await.1, "CLIENT_KEY_INVALID");
    assert_eq!(asks(&server.app_with(Some(&next))).await.0, 200);
    assert_eq!(asks(&server.app_with(Some(given))).await.0, 200);
    assert_eq!(operator.call(Method::DELETE, &format!("/allowed_keys/{id}"), None).await.0, 200);
    assert_eq!(asks(&server.app_with(Some(&next))).await.1, "CLIENT_KEY_INVALID");
    assert_eq!(google.seen_count(), 2);
    let events = json!(operator.events().await).to_string();
    let (setup, said) = server.stop();
    let mut everything = vec![events.into_bytes(), said.into_bytes()];
    everything.extend(files(setup.folder.path()).iter().map(|file| std::fs::read(file).unwrap()));
    for secret in [made.as_str(), next.as_str(), given] {
        let found = everything
            .iter()
            .position(|bytes| bytes.windows(secret.len()).any(|window| window == secret.as_bytes()));
        assert_eq!(found, None, "{secret}");
    }
}

#[tokio::test]
async fn lists_are_paged_and_changes_know_what_they_change() {
    let (_google, server, operator) = stage().await;
    for number in 0..5 {
        make(&operator, json!({"name": format!("App {number}"), "enabled": number != 3})).await;
    }
    let list = async |query: &str| {
        let (status, page) = operator.call(Method::GET, &format!("/allowed_keys?{query}"), None).await;
        assert_eq!(status, 200, "{page}");
        let ids = page["allowed_keys"].as_array().unwrap().iter().map(|key| key["id"].as_u64().unwrap());
        (ids.collect::<Vec<_>>(), page["next"].as_str().map(str::to_owned))
    };
    let (first, next) = list("limit=4").await;
    assert_eq!(first, [1, 2, 3, 4]);
    make(&operator, json!({"name": "in between"})).await;
    let (rest, end) = list(&format!("limit=4&cursor={}", next.unwrap())).await;
    assert_eq!((rest, end), (vec![5, 6, 7], None));
    assert_eq!(list("origin=env").await.0, [1]);
    assert_eq!(list("enabled=false").await.0, [5]);
    assert_eq!(list("search=aPP%203").await.0, [5]);
    assert_eq!(list("search=0001").await.0, [1], "by the end of the secret");
    assert_eq!(list("expired=true").await.0, Vec::<u64>::new());
    let (status, bad) = operator.call(Method::GET, "/allowed_keys?cursor=x", None).await;
    assert_eq!((status, &bad["code"]), (400, &json!("bad_cursor")));

    let path = format!("{}/api/allowed_keys/2", server.origin);
    let seen = http().get(&path).bearer_auth(operator.token()).send().await.unwrap();
    let tag = seen.headers()["etag"].to_str().unwrap().to_owned();
    let put = async |tag: &str, note: &str| {
        let request = http().put(&path).bearer_auth(operator.token()).header("if-match", tag);
        request.json(&json!({"note": note})).send().await.unwrap()
    };
    let first = put(&tag, "one").await;
    assert_eq!(first.status(), 200);
    assert_ne!(first.headers()["etag"].to_str().unwrap(), tag);
    let late = put(&tag, "two").await;
    assert_eq!(late.status(), 412);
    assert_eq!(late.json::<Value>().await.unwrap()["code"], "changed_meanwhile");
    let (_, client) = operator.call(Method::GET, "/allowed_keys/2", None).await;
    assert_eq!(client["note"], "one");
    let (status, none) = operator.call(Method::GET, "/allowed_keys/99", None).await;
    assert_eq!((status, &none["code"]), (404, &json!("not_found")));
    let (status, own) = operator.call(Method::POST, "/allowed_keys/1/rotate", Some(json!({}))).await;
    assert_eq!((status, &own["code"]), (409, &json!("of_environment")));
}

#[tokio::test]
async fn what_the_environment_names_keeps_its_limits_and_stays_revoked() {
    let (_google, server, operator) = stage().await;
    let said = json!({"models": ["gemini-2.5-pro"]});
    assert_eq!(operator.call(Method::PUT, "/allowed_keys/1", Some(said)).await.0, 200);
    assert_eq!(asks(&server.app()).await.1, "CLIENT_MODEL");
    let (setup, _) = server.stop();
    let server = setup.start();
    assert_eq!(asks(&server.app()).await.1, "CLIENT_MODEL");
    let operator = server.operator().await;
    assert_eq!(operator.call(Method::DELETE, "/allowed_keys/1", None).await.0, 200);
    let (_, _) = make(&operator, json!({})).await;
    let (setup, _) = server.stop();
    let server = setup.start();
    assert_eq!(asks(&server.app()).await.1, "CLIENT_KEY_INVALID");
}
