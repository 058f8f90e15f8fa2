//! What is of this machine, and what only comes through it.

use gemini_pool::simulated::{SimulatedGoogle, World};
use reqwest::Method;

use super::stage;
use crate::support::{ask, http, raw};

const BODY: &str = r#"{"contents":[{"role":"user","parts":[{"text":"Hello"}]}]}"#;

/// What nginx sends with `proxy_pass http://127.0.0.1:8000;` and nothing more.
fn through_nginx(origin: &str, verb: &str, path: &str, body: &str) -> Vec<u8> {
    let host = origin.strip_prefix("http://").unwrap();
    let length = body.len();
    format!(
        "{verb} {path} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {length}\r\n\
         User-Agent: curl/8.5.0\r\nAccept: */*\r\nContent-Type: application/json\r\n\r\n{body}"
    )
    .into_bytes()
}

#[tokio::test]
async fn a_reverse_proxy_with_its_defaults_is_not_this_machine() {
    let google = SimulatedGoogle::start(World::new().key("alpha", "AIza-good-1")).await.unwrap();
    let setup = crate::support::Setup::new(&google, &["AIza-good-1"]).with("ALLOWED_API_KEYS", "");
    let server = setup.start();
    let path = "/v1beta/models/gemini-2.5-flash:generateContent";
    assert_eq!(server.app_with(None).generate("gemini-2.5-flash", "Hello").await.0, 200, "a local program");
    let refused = raw::exchange(&server.origin, &through_nginx(&server.origin, "POST", path, BODY)).await;
    assert_eq!(refused.status, 401, "{}", refused.text());
    for header in ["x-forwarded-proto: https", "cf-connecting-ip: 192.0.2.1", "true-client-ip: 192.0.2.1"] {
        let (name, value) = header.split_once(": ").unwrap();
        let request = server.app_with(None).post(path, &ask("Hello")).header(name, value);
        assert_eq!(request.send().await.unwrap().status(), 401, "{header}");
    }
    let metrics = raw::exchange(&server.origin, &through_nginx(&server.origin, "GET", "/metrics", "")).await;
    assert_eq!(metrics.status, 401);
    assert_eq!(google.seen_count(), 1);
    // The open door is told of.
    server.wait_for_line("there is no access key: every program on this machine may use the pool");
    let status = server.operator().await.call(Method::GET, "/status", None).await.1;
    assert_eq!(status["server"]["open_to"], "this_machine");
    let said = server.setup.run(&["status"], "");
    assert!(String::from_utf8_lossy(&said.stdout).contains("Open to every program on this machine"));
}

#[tokio::test]
async fn a_pool_that_is_open_to_all_says_so() {
    let (_google, setup) = stage().await;
    let server = setup.with("ALLOWED_API_KEYS", "").with("ALLOW_ANONYMOUS", "true").start();
    server.wait_for_line("ALLOW_ANONYMOUS=true: everybody who reaches");
    let operator = server.operator().await;
    let open_to = async || operator.call(Method::GET, "/status", None).await.1["server"]["open_to"].clone();
    assert_eq!(open_to().await, "everybody");
    let said = server.setup.run(&["clients", "create"], "");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    assert_eq!(open_to().await, "nobody");
}

/// Behind a trusted proxy on this machine nobody is of this machine.
#[tokio::test]
async fn strangers_learn_whether_the_pool_is_ready_and_no_more() {
    let (_google, setup) = stage().await;
    let server = setup.with("METRICS_TOKEN", "a token for scrapers in tests").start();
    let ask = async |headers: &[(&str, &str)]| {
        let mut request = http().get(format!("{}/readyz", server.origin));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json::<serde_json::Value>().await.unwrap())
    };
    let stranger = serde_json::json!({"status": "ready"});
    assert_eq!(ask(&[("x-forwarded-for", "192.0.2.1")]).await, (200, stranger.clone()));
    assert_eq!(ask(&[("host", "evil.example")]).await, (200, stranger.clone()));
    let through = raw::exchange(&server.origin, &through_nginx(&server.origin, "GET", "/readyz", "")).await;
    assert_eq!((through.status, through.text().trim()), (200, r#"{"status":"ready"}"#));
    assert_eq!(ask(&[]).await.1["keys"]["all"], 1);
    let operator = server.operator().await;
    let token = format!("Bearer {}", operator.token());
    let via = ("via", "1.1 x");
    assert_eq!(ask(&[via, ("authorization", &token)]).await.1["keys"]["all"], 1);
    assert_eq!(
        ask(&[via, ("authorization", "Bearer a token for scrapers in tests")]).await.1["keys"]["all"],
        1
    );
    assert_eq!(ask(&[via, ("authorization", "Bearer wrong")]).await.1, stranger);
    let said = server.setup.run(&["healthcheck"], "");
    assert!(said.status.success() && said.stdout == b"ready\n", "{}", String::from_utf8_lossy(&said.stderr));
    server.operator().await;
}

#[tokio::test]
async fn a_trusted_proxy_on_this_machine_is_not_this_machine() {
    let (_google, setup) = stage().await;
    let server = setup.with("TRUSTED_PROXIES", "127.0.0.1").start();
    let answer = http().get(format!("{}/metrics", server.origin)).send().await.unwrap();
    assert_eq!(answer.status(), 401);
    let operator = server.operator().await;
    let metrics = http().get(format!("{}/metrics", server.origin)).bearer_auth(operator.token());
    assert_eq!(metrics.send().await.unwrap().status(), 200, "an administrator may read them");
    for command in [&["healthcheck"][..], &["status"], &["keys", "list"]] {
        let said = server.setup.run(command, "");
        assert!(said.status.success(), "{command:?}: {}", String::from_utf8_lossy(&said.stderr));
    }
}
