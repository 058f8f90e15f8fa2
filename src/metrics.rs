//! `/metrics`: the pool in numbers, for Prometheus and its like (OpenMetrics text).
//!
//! Owns who may read it, and is told why the pool is not ready: this machine by its own name, an administrator, or
//! whoever brings METRICS_TOKEN. Counters come from the log's fold, so they go on after a restart and nothing on a
//! request's way counts for them; everything else is looked up when it is asked for. No label is a key, a client, or a
//! word that a client made up. Its invariant: closed to everybody else.

mod exposition;
mod process;

use std::sync::Arc;

use http::{HeaderMap, StatusCode, header};
use poem::{Request, Response};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use crate::{caller::Recognized, network::Sender, pool::Pool};

/// See the module.
pub struct Metrics(pub Arc<Pool>);

impl Metrics {
    /// Whether a request is of somebody who may know how the pool is.
    #[must_use]
    pub fn lets_in(&self, request: &Request) -> bool {
        let settings = self.0.settings.now();
        let peer = request.remote_addr().as_socket_addr().map(std::net::SocketAddr::ip);
        let sender =
            Sender { peer, version: request.version(), uri: request.uri(), headers: request.headers() };
        let bearer = bearer(request.headers());
        sender.is_local(&settings.trusted_proxies)
            || bearer.is_some_and(|token| {
                is_token(token, settings.metrics_token.as_ref()) || self.0.session(token).is_some()
            })
    }

    /// Everything, or a refusal.
    #[must_use]
    pub fn serve(&self, request: &Request) -> Response {
        if !self.lets_in(request) {
            return plain(StatusCode::UNAUTHORIZED).header(header::WWW_AUTHENTICATE, "Bearer").body(
                "Metrics are for programs on this machine that ask it by its own name, and for whoever sends \
                 METRICS_TOKEN or an administrator's token as a bearer token.\n",
            );
        }
        if let Some(recognized) = request.extensions().get::<Recognized>() {
            recognized.mark();
        }
        match exposition::text(&self.0) {
            Ok(text) => Response::builder()
                .content_type("application/openmetrics-text; version=1.0.0; charset=utf-8")
                .header(header::CACHE_CONTROL, "no-store")
                .body(text),
            Err(std::fmt::Error) => {
                plain(StatusCode::INTERNAL_SERVER_ERROR).body("The metrics cannot be written down.\n")
            }
        }
    }
}

fn plain(status: StatusCode) -> poem::ResponseBuilder {
    Response::builder().status(status).content_type("text/plain; charset=utf-8")
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

fn is_token(brought: &str, wanted: Option<&SecretString>) -> bool {
    wanted.is_some_and(|wanted| bool::from(brought.as_bytes().ct_eq(wanted.expose_secret().as_bytes())))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_the_token_itself_is_the_token() {
        let wanted = SecretString::from("a token for scrapers");
        let with = |value| {
            let headers = [(header::AUTHORIZATION, HeaderValue::from_static(value))].into_iter().collect();
            bearer(&headers).is_some_and(|token| is_token(token, Some(&wanted)))
        };
        assert!(with("Bearer a token for scrapers"));
        for wrong in ["Bearer a token for scraper", "Bearer ", "Bearer", "a token for scrapers", "Basic YTpi"]
        {
            assert!(!with(wrong), "{wrong}");
        }
        assert!(!is_token("", None), "no token is no open door");
    }
}
