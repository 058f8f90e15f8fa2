//! `/metrics`: the pool in numbers, for Prometheus and its like (OpenMetrics text).
//!
//! Owns who may read it, and is told why the pool is not ready: this machine by its own name, an administrator, or
//! whoever brings METRICS_TOKEN. Counters come from the log's fold, so they go on after a restart and nothing on a
//! request's way counts for them; everything else is looked up when it is asked for. No label is a key, a client, or a
//! word that a client made up. Its invariant: closed to everybody else.

mod exposition;
mod process;

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use poem::{Request, Response};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use crate::{
    auth::Penalty,
    caller::Recognized,
    network::{Sender, client_address},
    pool::Pool,
};

/// See the module.
pub struct Metrics(pub Arc<Pool>);

impl Metrics {
    /// Who asks. The answer to a wrong token is held up ([`crate::auth::Guesses`]), to a right one never.
    pub async fn reader(&self, request: &Request) -> Reader {
        let settings = self.0.settings.now();
        let peer = request.remote_addr().as_socket_addr().map(std::net::SocketAddr::ip);
        let headers = request.headers();
        let sender = Sender { peer, version: request.version(), uri: request.uri(), headers };
        if sender.is_local(&settings.trusted_proxies) {
            return Reader::Known;
        }
        let Some(token) = bearer(headers) else { return Reader::Stranger };
        if is_token(token, settings.metrics_token.as_ref()) || self.0.session(token).is_some() {
            return Reader::Known;
        }
        let address = peer.map(|peer| client_address(peer, headers, &settings.trusted_proxies));
        match self.0.guesses.wrong(address, self.0.clock.now()) {
            Penalty::None => Reader::Stranger,
            Penalty::Wait(wait, _place) => {
                tokio::time::sleep(wait).await;
                Reader::Stranger
            }
            Penalty::TooMany => Reader::Guesser,
        }
    }

    /// Everything, or a refusal.
    pub async fn serve(&self, request: &Request) -> Response {
        let reader = self.reader(request).await;
        if reader != Reader::Known {
            let refusal = plain(StatusCode::UNAUTHORIZED).header(header::WWW_AUTHENTICATE, "Bearer").body(
                "Metrics are for programs on this machine that ask it by its own name, and for whoever sends \
                 METRICS_TOKEN or an administrator's token as a bearer token.\n",
            );
            return reader.told(refusal);
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

/// Who asks how the pool is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// May know everything.
    Known,
    /// May know little.
    Stranger,
    /// The same; and has brought so many wrong tokens that another guess wants another connection.
    Guesser,
}

impl Reader {
    /// The answer as this one gets it.
    #[must_use]
    pub fn told(self, mut answer: Response) -> Response {
        if self == Self::Guesser {
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        answer
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
