//! The dashboard over a socket: what browsers get and keep, and that nobody else notices it.

use dashboard_assets::{ASSETS, index};
use reqwest::{Method, Response};

use crate::support::{Server, Setup, http};

const POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'";

async fn ask(server: &Server, method: Method, path: &str, headers: &[(&str, &str)]) -> Response {
    let asked = http().request(method, format!("{}{path}", server.origin));
    headers.iter().fold(asked, |asked, (name, value)| asked.header(*name, *value)).send().await.unwrap()
}

fn header<'a>(answer: &'a Response, name: &str) -> &'a str {
    answer.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn every_file_is_served_packed_and_kept_as_long_as_it_may_be() {
    let server = Setup::alone().start();
    for asset in ASSETS {
        let mut tags = Vec::new();
        for (coding, bytes) in [("br", asset.brotli), ("gzip", asset.gzip), ("", Some(asset.plain))] {
            let Some(bytes) = bytes else { continue };
            let takes = [("accept-encoding", if coding.is_empty() { "identity" } else { coding })];
            let head = ask(&server, Method::HEAD, asset.path, &takes).await;
            let answer = ask(&server, Method::GET, asset.path, &takes).await;
            for answer in [&head, &answer] {
                assert_eq!(answer.status(), 200, "{}", asset.path);
                assert_eq!(header(answer, "content-length"), bytes.len().to_string());
                assert_eq!(header(answer, "content-encoding"), coding);
                assert_eq!(header(answer, "content-type"), asset.media);
                assert_eq!(header(answer, "content-security-policy"), POLICY);
                assert_eq!(header(answer, "x-content-type-options"), "nosniff");
                assert_eq!(header(answer, "referrer-policy"), "no-referrer");
                assert!(header(answer, "vary").contains("Accept-Encoding"));
                let forever = header(answer, "cache-control").contains("immutable");
                assert_eq!(forever, asset.immutable, "{}", asset.path);
            }
            let tag = header(&answer, "etag").to_owned();
            assert!(tag.starts_with('"') && tag.ends_with('"') && !tags.contains(&tag), "{tag} of {tags:?}");
            assert_eq!(answer.bytes().await.unwrap(), bytes);
            let known = [takes[0], ("if-none-match", tag.as_str())];
            let again = ask(&server, Method::GET, asset.path, &known).await;
            assert_eq!((again.status().as_u16(), header(&again, "etag")), (304, tag.as_str()));
            tags.push(tag);
        }
    }
}

#[tokio::test]
async fn an_address_of_a_page_is_the_page_for_browsers_alone() {
    let server = Setup::alone().start();
    let browser = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8");
    for path in ["/", "/status", "/keys/7?state=failed", "/nowhere"] {
        let answer = ask(&server, Method::GET, path, &[browser]).await;
        assert_eq!((answer.status().as_u16(), header(&answer, "cache-control")), (200, "no-cache"), "{path}");
        assert_eq!(answer.bytes().await.unwrap(), index().unwrap().plain, "{path}");
    }
    // Whatever a browser says it wants, these are the API's, the proxy's and the operations'.
    let paths = [
        "/api",
        "/api/nowhere",
        "/api/session",
        "/v1",
        "/v1beta/models",
        "/v1alpha/nothing",
        "/upload/v1beta/files",
        "/ws/nothing",
        "/healthz",
        "/readyz",
        "/metrics",
        "/assets/of-another-version.js",
        "/favicon.ico",
    ];
    for path in paths {
        let answer = ask(&server, Method::GET, path, &[browser]).await;
        assert_ne!(header(&answer, "content-type"), "text/html; charset=utf-8", "{path}");
        assert_eq!(header(&answer, "content-security-policy"), "", "{path}");
    }
    // Programs, and whoever changes something, hear what they always heard.
    for (method, accept) in
        [(Method::GET, "*/*"), (Method::GET, "application/json"), (Method::POST, browser.1)]
    {
        let answer = ask(&server, method.clone(), "/status", &[("accept", accept)]).await;
        assert!(answer.status().is_client_error(), "{method} {accept}");
        assert!(header(&answer, "content-type").starts_with("application/json"), "{method} {accept}");
    }
}

/// Nothing inline and nothing from elsewhere, as the policy wants it.
#[test]
fn the_page_is_as_its_policy_wants_it() {
    let page = std::str::from_utf8(index().unwrap().plain).unwrap();
    for never in ["<style", " style=", "javascript:", " onclick=", "http://", "https://"] {
        assert!(!page.contains(never), "{never}");
    }
    for script in page.split("<script").skip(1) {
        assert!(script.split('>').next().unwrap().contains(" src=\"/assets/"), "{script}");
    }
}
