//! The web dashboard: its files, and the page that every one of its addresses begins with.
//!
//! Owns which request is the dashboard's, and the headers of its answers: tags that tell encodings apart, how long
//! browsers keep what, and a policy under which the page runs no script, style or frame of anybody else's. Refuses
//! every path that the API, the proxy or the operations own. Its invariant: whoever does not ask for a page
//! (`Accept: text/html`) or for one of its files gets the answer that there was without a dashboard.

use dashboard_assets::{Asset, find, index};
use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{
        ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, ETAG,
        IF_NONE_MATCH, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
    },
};
use poem::{Body, Request, Response};

/// Nothing inline, nothing from elsewhere, in nobody's frame.
const POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'";

/// First segments of paths that are somebody else's, whatever comes after.
const OTHERS: [&str; 9] =
    ["api", "upload", "download", "ws", "healthz", "readyz", "metrics", "openai", "assets"];

/// The answer, if the request is for the dashboard.
#[must_use]
pub fn serve(request: &Request) -> Option<Response> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return None;
    }
    let path = request.uri().path();
    let asset = match find(path) {
        Some(asset) => asset,
        None if is_a_page(path) && wants_a_page(request.headers()) => index()?,
        None => return None,
    };
    Some(answer(asset, request))
}

/// Whether an address may be one of the dashboard's pages: which of them there are, the page itself knows.
fn is_a_page(path: &str) -> bool {
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    let version = first.strip_prefix('v').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    // Files have a dot, and so have actions of Google's a colon; addresses of pages have neither.
    !version && !OTHERS.contains(&first) && !path.contains(['.', ':']) && !path.starts_with("//")
}

/// Whether a browser asks for something to show.
fn wants_a_page(headers: &HeaderMap) -> bool {
    listed(headers, ACCEPT.as_str()).any(|(media, wanted)| wanted && media.eq_ignore_ascii_case("text/html"))
}

/// The items of a header, and whether each is wanted at all (`q=0` is not).
fn listed<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = (&'a str, bool)> {
    let lines = headers.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(|item| {
        let mut parts = item.split(';').map(str::trim);
        let word = parts.next().unwrap_or_default();
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        (word, weight.and_then(|weight| weight.parse::<f32>().ok()).is_none_or(|weight| weight > 0.0))
    })
}

fn answer(asset: &'static Asset, request: &Request) -> Response {
    let headers = request.headers();
    let takes = |coding: &str| {
        listed(headers, ACCEPT_ENCODING.as_str())
            .any(|(word, wanted)| wanted && word.eq_ignore_ascii_case(coding))
    };
    let packed = |coding: &'static str, bytes: Option<&'static [u8]>| {
        bytes.filter(|_| takes(coding)).map(|bytes| (Some(coding), bytes))
    };
    let (coding, bytes) =
        packed("br", asset.brotli).or_else(|| packed("gzip", asset.gzip)).unwrap_or((None, asset.plain));
    // A strong tag names bytes, and packed ones are other bytes.
    let tag = format!("\"{}-{}\"", asset.digest, coding.unwrap_or("plain"));
    let cache = if asset.immutable { "public, max-age=31536000, immutable" } else { "no-cache" };
    let mut response = Response::builder()
        .header(ETAG, &tag)
        .header(CACHE_CONTROL, cache)
        .header(VARY, "Accept-Encoding, Accept")
        .header(X_CONTENT_TYPE_OPTIONS, "nosniff")
        .header(REFERRER_POLICY, "no-referrer")
        .header(CONTENT_SECURITY_POLICY, POLICY)
        .content_type(asset.media)
        .finish();
    if listed(headers, IF_NONE_MATCH.as_str())
        .any(|(known, _)| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
    {
        response.set_status(StatusCode::NOT_MODIFIED);
        response.headers_mut().remove("content-type");
        return response;
    }
    if let Some(coding) = coding {
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static(coding));
    }
    response.headers_mut().insert("content-length", HeaderValue::from(bytes.len()));
    if request.method() == Method::GET {
        response.set_body(Body::from_bytes(bytes::Bytes::from_static(bytes)));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_somebody_elses_is_no_page() {
        for page in ["/", "/status", "/keys/7", "/requests/01a2", "/nowhere", "/video"] {
            assert!(is_a_page(page), "{page}");
        }
        for other in [
            "/api",
            "/api/",
            "/api/nowhere",
            "/v1",
            "/v1beta/models",
            "/v1alpha/x",
            "/v2/x",
            "/upload/v1beta/files",
            "/ws/google",
            "/healthz",
            "/metrics",
            "/assets/old.js",
            "/favicon.ico",
            "/models/a:generateContent",
            "//x",
        ] {
            assert!(!is_a_page(other), "{other}");
        }
    }

    #[test]
    fn only_browsers_want_pages() {
        let wants = |accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            wants_a_page(&headers)
        };
        assert!(wants("text/html") && wants("application/xml;q=0.9, TEXT/HTML;q=0.8"));
        assert!(
            !wants("*/*")
                && !wants("text/html;q=0")
                && !wants("application/json")
                && !wants_a_page(&HeaderMap::new())
        );
    }
}
