//! Which headers pass, each way.
//!
//! What is about one connection, about the client's own identity, or about the
//! way it took to the pool stays here; all else passes, known or not.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{ACCEPT_ENCODING, CONNECTION},
};

use super::scrub::Forms;

/// Where the one upstream credential goes.
pub const API_KEY: HeaderName = HeaderName::from_static("x-goog-api-key");
/// Where a resumable upload goes on.
pub const UPLOAD_URL: HeaderName = HeaderName::from_static("x-goog-upload-url");
/// Where such an upload can be asked about and called off.
pub const UPLOAD_CONTROL_URL: HeaderName = HeaderName::from_static("x-goog-upload-control-url");

const PUBLIC_HOST: &str = "https://generativelanguage.googleapis.com";

/// Headers about one connection (RFC 9110 §7.6.1), beside those that `Connection` names.
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Headers that would tell Google who the client is, give it a second credential, or
/// meet a restriction meant for browsers. Length and host are set anew.
const STAY_HERE: &[&str] = &[
    "x-goog-api-key",
    "authorization",
    "cookie",
    "host",
    "content-length",
    "expect",
    "forwarded",
    "origin",
    "referer",
    "via",
    "x-goog-user-project",
    "x-gemini-api-privileged-user-id",
    "x-real-ip",
    "x-request-id",
];

/// What browsers and proxies add, by how it begins.
const STAY_HERE_PREFIXES: &[&str] = &["x-forwarded-", "sec-fetch-", "sec-ch-", "cf-"];

fn is_named_by_connection(headers: &HeaderMap, name: &HeaderName) -> bool {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|token| token.trim().eq_ignore_ascii_case(name.as_str()))
}

fn is_hop_by_hop(headers: &HeaderMap, name: &HeaderName) -> bool {
    HOP_BY_HOP.contains(&name.as_str())
        || (headers.contains_key(CONNECTION) && is_named_by_connection(headers, name))
}

/// A client's headers as they go upstream, without a credential.
///
/// Of the encodings that the client reads, only gzip is passed on: it is the one that Google uses and that
/// the pool reads too. In another, usage could not be counted nor an error understood.
#[must_use]
pub fn upstream(client: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(client.len());
    for (name, value) in client {
        let stays = STAY_HERE.contains(&name.as_str())
            || STAY_HERE_PREFIXES.iter().any(|prefix| name.as_str().starts_with(prefix))
            || is_hop_by_hop(client, name);
        if !stays {
            headers.append(name.clone(), value.clone());
        }
    }
    if let Some(offered) = headers.get(ACCEPT_ENCODING) {
        let gzip = offered.to_str().is_ok_and(takes_gzip);
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(if gzip { "gzip" } else { "identity" }));
    }
    headers
}

/// Whether a list of encodings (RFC 9110 §12.5.3) has gzip, by name or by `*`.
fn takes_gzip(offered: &str) -> bool {
    offered.split(',').any(|offer| {
        let (name, weight) = offer.split_once(';').unwrap_or((offer, ""));
        let refused = weight.trim().strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0));
        !refused && matches!(name.trim().to_ascii_lowercase().as_str(), "gzip" | "x-gzip" | "*")
    })
}

/// Google's headers as they go to the client, the key masked should one of them echo it.
#[must_use]
pub fn downstream(google: &HeaderMap, key: &Forms) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(google.len() + 1);
    for (name, value) in google {
        if is_hop_by_hop(google, name) {
            continue;
        }
        if key.are_in(value.as_bytes()) {
            let mut bytes = value.as_bytes().to_vec();
            key.mask(&mut bytes);
            headers.extend(HeaderValue::from_bytes(&bytes).map(|masked| (name.clone(), masked)));
        } else {
            headers.append(name.clone(), value.clone());
        }
    }
    headers
}

/// Puts the pool's own origin in the place of Google's in an address that clients
/// follow by themselves, and takes a key out of its query. None: leave it as it is.
#[must_use]
pub fn own_address(value: &HeaderValue, google: &str, own: &str) -> Option<HeaderValue> {
    let address = value.to_str().ok()?;
    // A simulated or regional upstream may name Google's public host.
    let rest = address.strip_prefix(google).or_else(|| address.strip_prefix(PUBLIC_HOST))?;
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let kept: Vec<&str> =
        query.split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("key=")).collect();
    let mark = if kept.is_empty() { "" } else { "?" };
    HeaderValue::from_str(&format!("{own}{path}{mark}{}", kept.join("&"))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        headers.keys().map(HeaderName::as_str).collect()
    }

    #[test]
    fn credentials_and_the_way_here_stay_here() {
        let sent = upstream(&headers(&[
            ("host", "pool"),
            ("authorization", "Bearer x"),
            ("x-goog-api-key", "client"),
            ("cookie", "a=b"),
            ("x-forwarded-for", "10.0.0.1"),
            ("forwarded", "for=10.0.0.1"),
            ("x-goog-user-project", "p"),
            ("content-length", "3"),
            ("connection", "close, x-hop"),
            ("x-hop", "1"),
            ("transfer-encoding", "chunked"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("origin", "http://localhost"),
            ("referer", "http://localhost/"),
            ("content-type", "application/json"),
            ("accept-encoding", "gzip"),
            ("x-goog-api-client", "sdk"),
            ("x-server-timeout", "60"),
            ("api-revision", "2026-05-20"),
            ("x-something-new", "1"),
        ]));
        assert_eq!(
            names(&sent),
            [
                "content-type",
                "accept-encoding",
                "x-goog-api-client",
                "x-server-timeout",
                "api-revision",
                "x-something-new"
            ]
        );
    }

    #[test]
    fn only_encodings_that_the_pool_reads_too_are_asked_for() {
        for (offered, asked) in [
            ("gzip, deflate, br, zstd", "gzip"),
            ("br;q=1.0, gzip;q=0.8", "gzip"),
            ("*", "gzip"),
            ("identity", "identity"),
            ("br", "identity"),
            ("gzip;q=0, deflate", "identity"),
        ] {
            assert_eq!(
                upstream(&headers(&[("accept-encoding", offered)]))["accept-encoding"],
                asked,
                "{offered}"
            );
        }
        assert!(upstream(&headers(&[("accept", "*/*")])).get("accept-encoding").is_none());
    }

    #[test]
    fn an_answer_keeps_all_but_what_is_about_the_connection() {
        let relayed = downstream(
            &headers(&[
                ("content-type", "text/event-stream"),
                ("transfer-encoding", "chunked"),
                ("connection", "keep-alive"),
                ("keep-alive", "timeout=5"),
                ("server-timing", "gfet4t7; dur=3"),
                ("content-encoding", "gzip"),
                ("x-echo", "the key is secret-key-1, you know"),
            ]),
            &Forms::new(b"secret-key-1"),
        );
        assert_eq!(names(&relayed), ["content-type", "server-timing", "content-encoding", "x-echo"]);
        assert_eq!(relayed["x-echo"], "the key is ************, you know");
    }

    #[test]
    fn an_upload_address_leads_back_to_the_pool_without_a_key() {
        let google = "https://generativelanguage.googleapis.com";
        let address = |text| own_address(&HeaderValue::from_static(text), google, "http://pool:8000");
        assert_eq!(
            address("https://generativelanguage.googleapis.com/upload/v1beta/files?upload_id=A&key=AIza&x=1")
                .unwrap(),
            "http://pool:8000/upload/v1beta/files?upload_id=A&x=1"
        );
        assert_eq!(address("https://storage.example/elsewhere?key=1"), None);
    }
}
