//! Pages in a browser, which asks before it sends, and shows an answer to those alone that may see it.

use reqwest::header::HeaderMap;

use super::*;
use crate::support::{CLIENT_KEY, http};

const PAGE: &str = "https://app.example.org";

/// What a browser asks before a page of an origin may post with an access key.
async fn preflight(server: &Server, origin: &str) -> (u16, HeaderMap) {
    let request = http()
        .request(Method::OPTIONS, format!("{}{FLASH}", server.origin))
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "content-type,x-goog-api-key");
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.headers().clone())
}

async fn post(server: &Server, origin: &str, key: Option<&str>) -> (u16, Option<String>) {
    let request = server.app_with(key).post(FLASH, &ask("Hello"));
    let request = request.header("origin", origin).header("sec-fetch-site", "cross-site");
    let answer = request.send().await.unwrap();
    let shown = answer.headers().get("access-control-allow-origin");
    (answer.status().as_u16(), shown.map(|origin| origin.to_str().unwrap().to_owned()))
}

#[tokio::test]
async fn a_page_that_may_use_the_pool_can_ask_and_read() {
    let google = google().await;
    let server = Setup::new(&google, &["AIza-good-1"]).with("ALLOWED_ORIGINS", PAGE).start();
    let (status, granted) = preflight(&server, PAGE).await;
    assert_eq!(status, 204);
    for (name, value) in [
        ("access-control-allow-origin", PAGE),
        ("access-control-allow-methods", "POST"),
        ("access-control-allow-headers", "content-type,x-goog-api-key"),
        ("vary", "Origin"),
    ] {
        assert_eq!(granted[name], value, "{granted:?}");
    }
    let shown = Some(PAGE.to_owned());
    assert_eq!(post(&server, PAGE, Some(CLIENT_KEY)).await, (200, shown.clone()));
    // It reads why it may not, too.
    assert_eq!(post(&server, PAGE, Some("wrong")).await, (401, shown));
    let operator = server.operator().await;
    operator.events_of("Answered", 2).await;
}

#[tokio::test]
async fn other_pages_may_not_and_the_list_may_change() {
    let google = google().await;
    let server = Setup::new(&google, &["AIza-good-1"]).start();
    let (status, refused) = preflight(&server, PAGE).await;
    assert!(status == 401 && refused.get("access-control-allow-origin").is_none(), "{status} {refused:?}");
    // A browser shows nothing of it to the page; the access key is good all the same.
    assert_eq!(post(&server, PAGE, Some(CLIENT_KEY)).await, (200, None));
    let operator = server.operator().await;
    let said = json!({"ALLOWED_ORIGINS": format!("{PAGE} http://localhost:3000")});
    assert_eq!(operator.call(Method::PATCH, "/settings", Some(said)).await.0, 200);
    assert_eq!(preflight(&server, PAGE).await.0, 204);
    assert_eq!(preflight(&server, "https://app.example.org:444").await.0, 401);
    let (status, wrong) = operator
        .call(Method::PATCH, "/settings", Some(json!({"ALLOWED_ORIGINS": "https://app.example.org/path"})))
        .await;
    assert_eq!(status, 400, "{wrong}");
}

/// Where no access key is wanted, it is the list alone that lets a page in.
#[tokio::test]
async fn a_page_that_may_use_the_pool_needs_an_access_key_only_where_others_do() {
    let google = google().await;
    let setup = Setup::new(&google, &["AIza-good-1"]).with("ALLOWED_API_KEYS", "");
    let server = setup.with("ALLOWED_ORIGINS", PAGE).start();
    assert_eq!(post(&server, PAGE, None).await, (200, Some(PAGE.to_owned())));
    assert_eq!(post(&server, "https://evil.example", None).await, (403, None));
    let server = server.stop().0.with("ALLOWED_ORIGINS", "*").start();
    assert_eq!(post(&server, "null", None).await, (200, Some("null".to_owned())));
}
