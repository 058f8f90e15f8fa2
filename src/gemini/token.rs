//! Ephemeral tokens: what lets a browser into Live sessions for a short time, in the place of a key.
//!
//! Google gives them out (`POST /v1alpha/auth_tokens`) with limits of their own: how often, until when, for which
//! session. It enforces those itself, so a token goes up as it came, and no key with it. Owns where clients put a token
//! and how it is written upstream. One invariant: a token does not print.

use std::fmt;

use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use projections::resources::TOKENS;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{headers::API_KEY, scrub::Forms, target::query_credentials};

/// Longest token, in bytes.
const LONGEST: usize = 1 << 10;

/// A token as a client presents it.
#[derive(Clone)]
pub struct EphemeralToken {
    name: Zeroizing<String>,
    header: HeaderValue,
    forms: Forms,
}

impl fmt::Debug for EphemeralToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EphemeralToken(…)")
    }
}

impl EphemeralToken {
    /// The token among a request's credentials: in `Authorization: Token` as the Python SDK sends it, in
    /// `access_token` as the JavaScript one does, or in the place of a key.
    #[must_use]
    pub fn presented(headers: &HeaderMap, query: &str) -> Option<Self> {
        let texts = |name| headers.get_all(name).iter().filter_map(|value: &HeaderValue| value.to_str().ok());
        let authorization = texts(AUTHORIZATION).filter_map(|value| {
            let (scheme, token) = value.split_once(' ').unwrap_or(("", value));
            matches!(scheme.to_ascii_lowercase().as_str(), "" | "token" | "bearer").then(|| token.trim())
        });
        let found = authorization.chain(texts(API_KEY)).find_map(Self::new);
        found.or_else(|| query_credentials(query).find_map(|value| Self::new(&value)))
    }

    fn new(text: &str) -> Option<Self> {
        let secret = text.strip_prefix(TOKENS)?.strip_prefix('/')?;
        let fits = (1..=LONGEST).contains(&secret.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        let header = Zeroizing::new(format!("Token {text}"));
        let mut header = HeaderValue::from_str(&header).ok().filter(|_| fits)?;
        header.set_sensitive(true);
        Some(Self { name: Zeroizing::new(text.to_owned()), header, forms: Forms::new(secret.as_bytes()) })
    }

    /// Its name at Google, which is the token itself.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// For `Authorization` (ai.google.dev/gemini-api/docs/ephemeral-tokens).
    #[must_use]
    pub fn header(&self) -> HeaderValue {
        self.header.clone()
    }

    /// For masking it in what Google sends back.
    #[must_use]
    pub fn forms(&self) -> &Forms {
        &self.forms
    }
}

/// What is wrong with a request for a token: it cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("it is no JSON object")]
pub struct Unreadable;

/// The model that a request for a token ties its sessions to, without `models/`; none: any.
///
/// # Errors
/// [`Unreadable`].
pub fn tied_model(body: &[u8]) -> Result<Option<String>, Unreadable> {
    #[derive(Deserialize)]
    struct Wanted {
        #[serde(rename = "bidiGenerateContentSetup", alias = "bidi_generate_content_setup")]
        setup: Option<Setup>,
    }
    #[derive(Deserialize)]
    struct Setup {
        model: Option<String>,
    }
    if body.trim_ascii().is_empty() {
        return Ok(None);
    }
    let wanted: Wanted = serde_json::from_slice(body).map_err(|_| Unreadable)?;
    let model = wanted.setup.and_then(|setup| setup.model);
    Ok(model.map(|model| model.strip_prefix("models/").unwrap_or(&model).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_found_wherever_clients_put_them() {
        let headers = |name: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            headers
        };
        let name = |headers: &HeaderMap, query| {
            EphemeralToken::presented(headers, query).map(|token| token.name().to_owned())
        };
        let found = Some("auth_tokens/1".to_owned());
        assert_eq!(name(&headers("authorization", "Token auth_tokens/1"), ""), found);
        assert_eq!(name(&headers("authorization", "bearer auth_tokens/1"), ""), found);
        assert_eq!(name(&headers("authorization", "auth_tokens/1"), ""), found);
        assert_eq!(name(&headers("x-goog-api-key", "auth_tokens/1"), ""), found);
        assert_eq!(name(&HeaderMap::new(), "alt=x&access_token=auth_tokens%2F1"), found);
        assert_eq!(name(&HeaderMap::new(), "key=auth_tokens/1"), found);
        assert_eq!(name(&headers("authorization", "Bearer a-key"), "key=AQ.auth_tokens/1"), None);
        assert_eq!(name(&headers("authorization", "Basic auth_tokens/1"), "key=auth_tokens/"), None);
        assert_eq!(name(&HeaderMap::new(), "access_token=auth_tokens/1%0d%0ax:y"), None);
    }

    #[test]
    fn it_does_not_print() {
        let token =
            EphemeralToken::presented(&HeaderMap::new(), "access_token=auth_tokens/a-secret").unwrap();
        assert_eq!(token.header(), "Token auth_tokens/a-secret");
        assert!(!format!("{token:?} {:?}", token.header()).contains("a-secret"));
    }

    #[test]
    fn the_model_of_a_token_is_read() {
        let model = |body: &str| tied_model(body.as_bytes()).ok();
        assert_eq!(model(""), Some(None));
        assert_eq!(model(r#"{"uses": 1}"#), Some(None));
        assert_eq!(
            model(r#"{"bidiGenerateContentSetup": {"model": "models/flash"}}"#),
            Some(Some("flash".to_owned()))
        );
        assert_eq!(
            model(r#"{"bidi_generate_content_setup": {"model": "flash"}}"#),
            Some(Some("flash".to_owned()))
        );
        // Whichever of the two Google would read, the pool cannot know.
        assert_eq!(
            model(r#"{"bidiGenerateContentSetup": {}, "bidi_generate_content_setup": {"model": "flash"}}"#),
            None
        );
        assert_eq!(model("[]"), None);
    }
}
