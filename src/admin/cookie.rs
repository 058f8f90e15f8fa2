//! Sessions of browsers: the token in a cookie, and what keeps other sites from using it.
//!
//! A cookie comes with every request, whoever made the browser send it. So a change that is asked for by cookie wants
//! the header `X-Requested-With: gemini-pool`: another site's page cannot send it without asking first, which this
//! server never allows, and unlike a second token it needs no state and nothing to hand around. Besides, what the
//! browser itself says of the request's origin must not speak against it. Its invariant: a request with a bearer
//! token is never judged by its cookie.

use http::{
    HeaderMap, HeaderValue, Method,
    header::{AUTHORIZATION, COOKIE},
};
use poem::Request;

use super::problem::{Code, Problem};
use crate::sites;

/// The cookie's name.
pub(super) const NAME: &str = "gemini_pool_session";
/// What a change by cookie has to bring.
const WITH: (&str, &str) = ("x-requested-with", "gemini-pool");

/// A request that is let in by its cookie.
#[derive(Clone, Copy)]
pub(super) struct ByCookie;

/// Puts the cookie's token where a bearer token stands, unless there is one.
pub(super) fn accept(request: &mut Request, public_url: Option<&str>) -> Result<(), Problem> {
    let headers = request.headers();
    let logs_in = request.uri().path().ends_with("/login");
    let bearer = headers.get(AUTHORIZATION).and_then(|value| value.as_bytes().get(..7));
    let bearer = bearer.is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer "));
    let token = (!bearer && !logs_in).then(|| token(headers)).flatten();
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if changes && (token.is_some() || (logs_in && !bearer)) {
        if sites::is_foreign(headers, public_url, &sites::Origins::default()) {
            return Err(Problem::of(
                Code::CrossSite,
                "this request comes from another site's page; if it does not, set PUBLIC_URL to the pool's address \
                 as browsers see it",
            ));
        }
        let brings = headers.get(WITH.0).is_some_and(|value| value.as_bytes() == WITH.1.as_bytes());
        if !brings && !logs_in {
            return Err(Problem::of(
                Code::CrossSite,
                "a change by cookie wants the header X-Requested-With: gemini-pool (or send the token as \
                 Authorization: Bearer)",
            ));
        }
    }
    let header = token.and_then(|token| HeaderValue::from_str(&format!("Bearer {token}")).ok());
    if let Some(mut header) = header {
        header.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, header);
        request.extensions_mut().insert(ByCookie);
    }
    Ok(())
}

fn token(headers: &HeaderMap) -> Option<String> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, value)| *name == NAME && !value.is_empty()).map(|(_, value)| value.to_owned())
}

/// The header that gives a browser its cookie.
pub(super) fn set(token: &str, seconds: i64, secure: bool) -> String {
    let secure = if secure { "; Secure" } else { "" };
    format!("{NAME}={token}; Path=/api; Max-Age={}; HttpOnly; SameSite=Strict{secure}", seconds.max(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(verb: Method, headers: &[(&str, &str)]) -> Request {
        let request = Request::builder().method(verb).uri_str("/keys/1");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.header("host", "pool.example").finish()
    }

    fn code(verb: Method, headers: &[(&str, &str)]) -> (bool, bool) {
        let mut request = request(verb, headers);
        let accepted = accept(&mut request, Some("https://gemini.example.org/x")).is_ok();
        (accepted, request.extensions().get::<ByCookie>().is_some())
    }

    const OURS: (&str, &str) = ("cookie", "a=b; gemini_pool_session=t.o.k");
    const WITH: (&str, &str) = ("x-requested-with", "gemini-pool");

    #[test]
    fn a_cookie_reads_freely_and_changes_only_with_the_header() {
        assert_eq!(code(Method::GET, &[OURS]), (true, true));
        assert_eq!(code(Method::POST, &[OURS]), (false, false));
        assert_eq!(code(Method::POST, &[OURS, WITH]), (true, true));
        assert_eq!(code(Method::DELETE, &[OURS, ("x-requested-with", "XMLHttpRequest")]), (false, false));
        assert_eq!(code(Method::POST, &[OURS, ("authorization", "Bearer x")]), (true, false));
        assert_eq!(code(Method::POST, &[OURS, WITH, ("authorization", "Basic x")]), (true, true));
        assert_eq!(code(Method::POST, &[("cookie", "gemini_pool_session=")]), (true, false));
    }

    #[test]
    fn what_the_browser_says_of_another_site_is_believed() {
        for (origin, wanted) in [("http://pool.example", true), ("http://evil.example", false)] {
            assert_eq!(code(Method::PUT, &[OURS, WITH, ("origin", origin)]).0, wanted, "{origin}");
        }
    }

    #[test]
    fn the_cookie_is_for_the_api_and_no_script() {
        let wanted = "gemini_pool_session=t; Path=/api; Max-Age=60; HttpOnly; SameSite=Strict; Secure";
        assert_eq!(set("t", 60, true), wanted);
        assert!(!set("t", 60, false).contains("Secure"));
    }
}
