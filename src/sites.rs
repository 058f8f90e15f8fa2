//! Pages of other sites: what a browser tells of where a request comes from, the name that it went to, and what it is
//! told of who may read the answer (CORS).
//!
//! Pure. Programs that are no browsers send neither `Origin` nor `Sec-Fetch-Site`, and are never judged by them. Its
//! invariant: what cannot be read counts as foreign.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Uri,
    header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
        ACCESS_CONTROL_REQUEST_METHOD, HOST, ORIGIN, VARY,
    },
};

/// ALLOWED_ORIGINS: the sites whose pages may use the pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins {
    all: bool,
    named: Vec<String>,
}

impl Origins {
    /// Adds one as it is written: `https://app.example.org`, or `*`. False: it is none.
    pub fn add(&mut self, text: &str) -> bool {
        self.all |= text == "*";
        let is_origin = text.parse::<Uri>().is_ok_and(|uri| {
            let (scheme, host) = (uri.scheme_str(), uri.authority());
            // Nothing follows the host, not even a slash.
            scheme.zip(host).is_some_and(|(scheme, host)| {
                text.len() == scheme.len() + 3 + host.as_str().len() && !host.as_str().contains('@')
            })
        });
        if is_origin {
            self.named.push(text.to_ascii_lowercase());
        }
        is_origin || text == "*"
    }

    /// Whether pages of an origin, as browsers write it, may.
    #[must_use]
    pub fn allow(&self, origin: &str) -> bool {
        self.all || self.named.iter().any(|named| named == origin)
    }

    /// The origin of a request that a page of one of these sent.
    #[must_use]
    pub fn of<'a>(&self, headers: &'a HeaderMap) -> Option<&'a HeaderValue> {
        headers.get(ORIGIN).filter(|origin| origin.to_str().is_ok_and(|origin| self.allow(origin)))
    }
}

/// What a browser asks before it sends a request for another site's page (Fetch §4.8, the CORS preflight).
#[must_use]
pub fn is_preflight(verb: &Method, headers: &HeaderMap) -> bool {
    *verb == Method::OPTIONS && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// Lets the page that asked beforehand send what it wants to.
pub fn grant(asked: &HeaderMap, answer: &mut HeaderMap) {
    for (wanted, granted) in [
        (ACCESS_CONTROL_REQUEST_METHOD, ACCESS_CONTROL_ALLOW_METHODS),
        (ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_ALLOW_HEADERS),
        (LOCAL_NETWORK.0, LOCAL_NETWORK.1),
    ] {
        if let Some(value) = asked.get(wanted) {
            answer.insert(granted, value.clone());
        }
    }
    // Chromium remembers it for no longer.
    answer.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("7200"));
}

/// Lets a page of this origin read an answer, headers and all.
pub fn show(origin: HeaderValue, answer: &mut HeaderMap) {
    answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("*"));
    answer.append(VARY, HeaderValue::from_static("Origin"));
}

/// What Chromium asks where a page from elsewhere reaches into a private network.
const LOCAL_NETWORK: (HeaderName, HeaderName) = (
    HeaderName::from_static("access-control-request-private-network"),
    HeaderName::from_static("access-control-allow-private-network"),
);

/// Whether something that the browser says speaks against the request being of the pool's own page, or of one that
/// may use it.
#[must_use]
pub fn is_foreign(headers: &HeaderMap, public_url: Option<&str>, allowed: &Origins) -> bool {
    if allowed.of(headers).is_some() {
        return false;
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if text("sec-fetch-site").is_some_and(|site| !matches!(site, "same-origin" | "none")) {
        return true;
    }
    let Some(origin) = headers.get(ORIGIN) else { return false };
    // The scheme may be another one behind a proxy with TLS; the host is not.
    let host = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
    host.is_none_or(|host| text(HOST.as_str()) != Some(host) && public_url.and_then(authority) != Some(host))
}

/// The host of a URL, with its port.
fn authority(url: &str) -> Option<&str> {
    url.split_once("://").and_then(|(_, rest)| rest.split('/').next())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLIC: Option<&str> = Some("https://gemini.example.org/x");

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (http::HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn what_a_browser_says_of_another_site_is_believed() {
        assert!(!is_foreign(&headers(&[("host", "pool.example")]), None, &Origins::default()));
        for (name, value, wanted) in [
            ("origin", "http://pool.example", false),
            ("origin", "https://gemini.example.org", false),
            ("origin", "http://evil.example", true),
            ("origin", "http://pool.example.evil.example", true),
            ("origin", "null", true),
            ("sec-fetch-site", "same-origin", false),
            ("sec-fetch-site", "none", false),
            ("sec-fetch-site", "same-site", true),
            ("sec-fetch-site", "cross-site", true),
        ] {
            let told = headers(&[("host", "pool.example"), (name, value)]);
            assert_eq!(is_foreign(&told, PUBLIC, &Origins::default()), wanted, "{name}: {value}");
        }
        let mut allowed = Origins::default();
        assert!(allowed.add("https://app.example"));
        let page = headers(&[("sec-fetch-site", "cross-site"), ("origin", "https://app.example")]);
        assert!(!is_foreign(&page, None, &allowed) && is_foreign(&page, None, &Origins::default()));
    }
}
