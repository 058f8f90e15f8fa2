//! Pages of other sites: what a browser tells of where a request comes from, and the name that it went to.
//!
//! Pure. Programs that are no browsers send neither `Origin` nor `Sec-Fetch-Site`, and are never judged by them. Its
//! invariant: what cannot be read counts as foreign.

use std::net::IpAddr;

use http::{
    HeaderMap, Uri,
    header::{HOST, ORIGIN},
};

/// Whether something that the browser says speaks against the request being of the pool's own page.
#[must_use]
pub fn is_foreign(headers: &HeaderMap, public_url: Option<&str>) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if text("sec-fetch-site").is_some_and(|site| !matches!(site, "same-origin" | "none")) {
        return true;
    }
    let Some(origin) = headers.get(ORIGIN) else { return false };
    // The scheme may be another one behind a proxy with TLS; the host is not.
    let host = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
    host.is_none_or(|host| text(HOST.as_str()) != Some(host) && public_url.and_then(authority) != Some(host))
}

/// Whether the name that a request went to is this machine's own, or that of PUBLIC_URL. Another site can have its
/// name lead here as well (DNS rebinding), and for a browser the pool is then that site: only the name tells.
#[must_use]
pub fn is_named_here(headers: &HeaderMap, uri: &Uri, public_url: Option<&str>) -> bool {
    let public = public_url.and_then(authority);
    let is_here = |name: &str| public == Some(name) || is_loopback(name);
    headers.get_all(HOST).iter().all(|name| name.to_str().is_ok_and(is_here))
        && uri.authority().is_none_or(|name| is_here(name.as_str()))
}

/// The host of a URL, with its port.
fn authority(url: &str) -> Option<&str> {
    url.split_once("://").and_then(|(_, rest)| rest.split('/').next())
}

/// A host, with or without a port, that leads to the machine that asks, whatever a name server says (RFC 6761 §6.3).
fn is_loopback(name: &str) -> bool {
    let host = match name.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, _)) => host,
        None => name.rsplit_once(':').map_or(name, |(host, _)| host),
    };
    if let Ok(address) = host.parse::<IpAddr>() {
        return address.to_canonical().is_loopback();
    }
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

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
        assert!(!is_foreign(&headers(&[("host", "pool.example")]), None));
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
            assert_eq!(is_foreign(&told, PUBLIC), wanted, "{name}: {value}");
        }
    }

    #[test]
    fn only_its_own_names_are_this_machine() {
        let uri = Uri::from_static("/v1/models");
        assert!(is_named_here(&HeaderMap::new(), &uri, None), "no browser leaves it out");
        for (host, wanted) in [
            ("localhost:8000", true),
            ("LOCALHOST", true),
            ("app.localhost.:8000", true),
            ("127.0.0.1:8000", true),
            ("127.1.2.3", true),
            ("[::1]:8000", true),
            ("gemini.example.org", true),
            ("evil.example:8000", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("192.0.2.1:8000", false),
            ("[2001:db8::1]:8000", false),
            ("", false),
        ] {
            assert_eq!(is_named_here(&headers(&[("host", host)]), &uri, PUBLIC), wanted, "{host}");
        }
        let elsewhere = Uri::from_static("http://evil.example/v1/models");
        assert!(!is_named_here(&headers(&[("host", "localhost")]), &elsewhere, None));
        let both = headers(&[("host", "localhost"), ("host", "evil.example")]);
        assert!(!is_named_here(&both, &uri, None));
    }
}
